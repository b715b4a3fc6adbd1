"""Kernels as people write them, each beside NumPy: sums of workgroups, tiles, scans, sorting, hashing, tracing rays."""

import hashlib
import struct

import numpy as np
import pytest

import gpukern as gk
from arrays import FLOAT16, FLOAT32, INT32, UINT32, assert_same, sample, small

pytestmark = pytest.mark.uncapped

HIGH = 0xFFFFFFFF


def random(seed=0):
    return np.random.default_rng(seed)


# Rows


SOFTMAX = """
    override WORKGROUP: u32 = 64;
    struct P { columns: u32 }
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<uniform> p: P;
    var<workgroup> partial: array<f32, WORKGROUP>;

    fn most(lane: u32, mine: f32) -> f32 {
        partial[lane] = mine;
        workgroupBarrier();
        for (var step = WORKGROUP / 2u; step > 0u; step >>= 1u) {
            if (lane < step) { partial[lane] = max(partial[lane], partial[lane + step]); }
            workgroupBarrier();
        }
        let result = partial[0];
        workgroupBarrier();
        return result;
    }

    fn total(lane: u32, mine: f32) -> f32 {
        partial[lane] = mine;
        workgroupBarrier();
        for (var step = WORKGROUP / 2u; step > 0u; step >>= 1u) {
            if (lane < step) { partial[lane] += partial[lane + step]; }
            workgroupBarrier();
        }
        let result = partial[0];
        workgroupBarrier();
        return result;
    }

    @compute @workgroup_size(WORKGROUP)
    fn softmax(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        let start = row.x * p.columns;
        var high = -3.0e38;
        for (var i = lane; i < p.columns; i += WORKGROUP) { high = max(high, x[start + i]); }
        high = most(lane, high);
        var sum = 0.0;
        for (var i = lane; i < p.columns; i += WORKGROUP) { sum += exp(x[start + i] - high); }
        sum = total(lane, sum);
        for (var i = lane; i < p.columns; i += WORKGROUP) { y[start + i] = exp(x[start + i] - high) / sum; }
    }
"""


@pytest.mark.parametrize(("columns", "workgroup"), [(1, 64), (10, 16), (64, 64), (77, 64), (300, 32)])
def test_softmax(device, columns, workgroup):
    x = sample(FLOAT32, (5, columns)) * 10
    kernel = gk.Kernel(SOFTMAX, constants={"WORKGROUP": workgroup})
    y = kernel(x=x, p={"columns": columns}, out={"y": x.shape}, workgroups=5, device=device)
    powers = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    # exp is 3 + 2 |x| ulp off.
    np.testing.assert_allclose(y, powers / powers.sum(1, keepdims=True), rtol=2e-5, atol=1e-7)


LAYER_NORM = """
    const LANES = 32u;
    struct P { n: u32, epsilon: f32 }
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read> weight: array<f32>;
    @group(0) @binding(2) var<storage, read> bias: array<f32>;
    @group(0) @binding(3) var<storage, read_write> y: array<f32>;
    @group(0) @binding(4) var<uniform> p: P;
    var<workgroup> sums: array<vec2<f32>, LANES>;

    @compute @workgroup_size(LANES)
    fn norm(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>) {
        let lane = id.x;
        let base = row.x * p.n;
        var acc = vec2<f32>(0.0);
        for (var i = lane; i < p.n; i += LANES) {
            let v = x[base + i];
            acc += vec2(v, v * v);
        }
        sums[lane] = acc;
        workgroupBarrier();
        if (lane == 0u) {
            var all = vec2<f32>();
            for (var i = 0u; i < LANES; i++) { all += sums[i]; }
            sums[0] = all / f32(p.n);
        }
        let moments = workgroupUniformLoad(&sums)[0];
        let mean = moments.x;
        let scale = inverseSqrt(moments.y - mean * mean + p.epsilon);
        for (var i = lane; i < p.n; i += LANES) {
            y[base + i] = (x[base + i] - mean) * scale * weight[i] + bias[i];
        }
    }
"""


@pytest.mark.parametrize("n", [1, 31, 100])
def test_layer_norm(device, n):
    x, weight, bias = sample(FLOAT32, (7, n)), sample(FLOAT32, n, 1), sample(FLOAT32, n, 2)
    call = {"p": {"n": n, "epsilon": 1e-5}, "out": {"y": x.shape}, "workgroups": 7, "device": device}
    y = gk.Kernel(LAYER_NORM)(x=x, weight=weight, bias=bias, **call)
    wide = x.astype(np.float64)
    want = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5) * weight + bias
    # The variance loses digits as E[x²] - E[x]²; of one number it is all that is left over.
    np.testing.assert_allclose(y, want, rtol=1e-3, atol=1e-2 if n == 1 else 1e-4)


# Products


MATVEC = """
    const ROWS = 4u;
    const LANES = 16u;
    @group(0) @binding(0) var<storage, read> m: array<vec4<f32>>;
    @group(0) @binding(1) var<storage, read> v: array<vec4<f32>>;
    @group(0) @binding(2) var<storage, read_write> y: array<f32>;
    var<workgroup> partial: array<array<f32, ROWS>, LANES>;

    @compute @workgroup_size(LANES)
    fn matvec(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        let columns = arrayLength(&v);
        let rows = arrayLength(&y);
        var sums: array<f32, ROWS>;
        for (var c = lane; c < columns; c += LANES) {
            let x = v[c];
            for (var r = 0u; r < ROWS; r++) {
                let row = group.x * ROWS + r;
                if (row >= rows) { break; }
                sums[r] += dot(m[row * columns + c], x);
            }
        }
        partial[lane] = sums;
        workgroupBarrier();
        let row = group.x * ROWS + lane;
        if (lane < ROWS && row < rows) {
            var sum = 0.0;
            for (var k = 0u; k < LANES; k++) { sum += partial[k][lane]; }
            y[row] = sum;
        }
    }
"""


@pytest.mark.parametrize("shape", [(1, 4), (9, 20), (64, 128), (30, 132)], ids=str)
def test_matrix_by_vector(device, shape):
    m, v = small(FLOAT32, shape), small(FLOAT32, shape[1], 1)
    groups = -(-shape[0] // 4)
    assert_same(gk.Kernel(MATVEC)(m=m, v=v, out={"y": shape[0]}, workgroups=groups, device=device), m @ v)


TRANSPOSE = """
    const TILE = 8u;
    struct P { x_shape: vec2<u32> }
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<uniform> p: P;
    var<workgroup> tile: array<array<f32, TILE + 1>, TILE>;

    @compute @workgroup_size(TILE, TILE)
    fn transpose(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) at: vec3<u32>) {
        let height = p.x_shape.x;
        let width = p.x_shape.y;
        let from_x = group.x * TILE + at.x;
        let from_y = group.y * TILE + at.y;
        if (from_x < width && from_y < height) { tile[at.y][at.x] = x[from_y * width + from_x]; }
        workgroupBarrier();
        let to_x = group.y * TILE + at.x;
        let to_y = group.x * TILE + at.y;
        if (to_x < height && to_y < width) { y[to_y * height + to_x] = tile[at.x][at.y]; }
    }
"""


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (9, 30), (33, 7)], ids=str)
def test_transpose_by_tiles(device, shape):
    x = sample(FLOAT32, shape)
    threads = shape[::-1]
    assert_same(gk.Kernel(TRANSPOSE)(x=x, out={"y": threads}, threads=threads, device=device), x.T.copy())


SPARSE = """
    @group(0) @binding(0) var<storage, read> starts: array<u32>;
    @group(0) @binding(1) var<storage, read> columns: array<u32>;
    @group(0) @binding(2) var<storage, read> values: array<f32>;
    @group(0) @binding(3) var<storage, read> x: array<f32>;
    @group(0) @binding(4) var<storage, read_write> y: array<f32>;

    @compute @workgroup_size(32)
    fn sparse(@builtin(global_invocation_id) id: vec3<u32>) {
        let row = id.x;
        if (row >= arrayLength(&y)) { return; }
        var sum = 0.0;
        for (var k = starts[row]; k < starts[row + 1u]; k++) {
            sum += values[k] * x[columns[k]];
        }
        y[row] = sum;
    }
"""


def test_sparse_matrix_by_vector(device):
    """Rows of very different lengths, some of them empty."""
    dense = small(FLOAT32, (100, 40)) * (random().random((100, 40)) < random(1).random((100, 1)) ** 3)
    rows, columns = np.nonzero(dense)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=100))]).astype(np.uint32)
    x = small(FLOAT32, 40, 2)
    given = {"starts": starts, "columns": columns.astype(np.uint32), "values": dense[rows, columns], "x": x}
    assert_same(gk.Kernel(SPARSE)(**given, out={"y": 100}, threads=100, device=device), (dense @ x).astype(np.float32))


HALF_DOT = """
    enable f16;
    const LANES = 16u;
    @group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
    @group(0) @binding(1) var<storage, read> y: array<vec4<f16>>;
    @group(0) @binding(2) var<storage, read_write> z: array<f32>;
    var<workgroup> sums: array<f32, LANES>;

    @compute @workgroup_size(LANES)
    fn half_dot(@builtin(local_invocation_index) lane: u32) {
        var sum = 0.0;
        for (var i = lane; i < arrayLength(&x); i += LANES) { sum += dot(vec4<f32>(x[i]), vec4<f32>(y[i])); }
        sums[lane] = sum;
        workgroupBarrier();
        if (lane > 0u) { return; }
        var all = 0.0;
        for (var i = 0u; i < LANES; i++) { all += sums[i]; }
        z[0] = all;
        z[1] = f32(x[0].x * y[0].x + x[0].y);
    }
"""


def test_dot_product_of_halves(device):
    if "f16" not in device.features:
        pytest.skip(f"{device.id} has no f16")
    x, y = small(FLOAT16, 400), small(FLOAT16, 400, 1)
    z = gk.Kernel(HALF_DOT)(x=x, y=y, out={"z": 2}, workgroups=1, device=device)
    assert z.tolist() == [float(x.astype(np.float32) @ y.astype(np.float32)), float(x[0] * y[0] + x[1])]


DEQUANTISE = """
    struct Block { scale: f32, low: f32, words: array<u32, 4> }
    @group(0) @binding(0) var<storage, read> blocks: array<Block>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;

    @compute @workgroup_size(64)
    fn dequantise(@builtin(global_invocation_id) id: vec3<u32>) {
        let i = id.x;
        if (i >= arrayLength(&y)) { return; }
        let block = &blocks[i / 32u];
        let within = i % 32u;
        let nibble = extractBits((*block).words[within / 8u], (within % 8u) * 4u, 4u);
        y[i] = f32(nibble) * (*block).scale + (*block).low;
    }
"""


def test_four_bit_blocks(device):
    nibbles = random().integers(0, 16, (9, 32), dtype=np.uint32)
    blocks = np.zeros(9, [("scale", "f4"), ("low", "f4"), ("words", "u4", 4)])
    blocks["scale"], blocks["low"] = 2.0 ** np.arange(9), -np.arange(9)
    blocks["words"] = (nibbles.reshape(9, 4, 8) << (4 * np.arange(8, dtype=np.uint32))).sum(2)
    y = gk.Kernel(DEQUANTISE)(blocks=blocks, out={"y": 288}, threads=288, device=device)
    assert_same(y, (nibbles * blocks["scale"][:, None] + blocks["low"][:, None]).astype(np.float32).reshape(-1))


# Sorting and scans


BITONIC = """
    override SIZE: u32 = 64;
    @group(0) @binding(0) var<storage, read_write> x: array<i32>;
    var<workgroup> keys: array<i32, SIZE>;

    fn swap_if(i: u32, j: u32, ascending: bool) {
        let a = keys[i];
        let b = keys[j];
        if ((a > b) == ascending) {
            keys[i] = b;
            keys[j] = a;
        }
    }

    @compute @workgroup_size(SIZE)
    fn bitonic(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        keys[lane] = x[id.x];
        workgroupBarrier();
        for (var run = 2u; run <= SIZE; run = run << 1u) {
            for (var gap = run / 2u; gap > 0u; gap /= 2u) {
                let other = lane ^ gap;
                if (other > lane) { swap_if(lane, other, (lane & run) == 0u); }
                workgroupBarrier();
            }
        }
        x[id.x] = keys[lane];
    }
"""


@pytest.mark.parametrize("size", [1, 2, 16, 64, 256])
def test_bitonic_sort(device, size):
    x = random(size).integers(-100, 100, (3, size)).astype(np.int32)
    kernel = gk.Kernel(BITONIC).specialize(SIZE=size)
    assert_same(kernel(x=x, workgroups=3, device=device), np.sort(x, axis=1))


RADIX = """
    struct P { shift: u32 }
    @group(0) @binding(0) var<storage, read> keys: array<u32>;
    @group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;
    @group(0) @binding(2) var<uniform> p: P;
    var<workgroup> bins: array<atomic<u32>, 16>;

    @compute @workgroup_size(64)
    fn histogram(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        if (id.x < arrayLength(&keys)) {
            atomicAdd(&bins[(keys[id.x] >> p.shift) & 15u], 1u);
        }
        workgroupBarrier();
        if (lane < 16u) {
            let count = atomicLoad(&bins[lane]);
            if (count > 0u) { atomicAdd(&counts[lane], count); }
        }
    }
"""


@pytest.mark.parametrize("shift", [0, 12, 28])
def test_radix_histogram(device, shift):
    keys = sample(UINT32, 1000)
    counts = gk.Kernel(RADIX)(keys=keys, p={"shift": shift}, out={"counts": 16}, threads=1000, device=device)
    assert_same(counts, np.bincount(keys >> shift & 15, minlength=16).astype(np.uint32))


BLELLOCH = """
    const LANES = 32u;
    const COUNT = 2u * LANES;
    @group(0) @binding(0) var<storage, read_write> x: array<u32>;
    @group(0) @binding(1) var<storage, read_write> sums: array<u32>;
    var<workgroup> t: array<u32, COUNT>;

    @compute @workgroup_size(LANES)
    fn scan(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>) {
        let i = id.x;
        let base = group.x * COUNT;
        let n = arrayLength(&x);
        t[2u * i] = select(0u, x[min(base + 2u * i, n - 1u)], base + 2u * i < n);
        t[2u * i + 1u] = select(0u, x[min(base + 2u * i + 1u, n - 1u)], base + 2u * i + 1u < n);
        var offset = 1u;
        for (var d = LANES; d > 0u; d >>= 1u) {
            workgroupBarrier();
            if (i < d) {
                let a = offset * (2u * i + 1u) - 1u;
                let b = offset * (2u * i + 2u) - 1u;
                t[b] += t[a];
            }
            offset *= 2u;
        }
        if (i == 0u) {
            sums[group.x] = t[COUNT - 1u];
            t[COUNT - 1u] = 0u;
        }
        for (var d = 1u; d < COUNT; d *= 2u) {
            offset >>= 1u;
            workgroupBarrier();
            if (i < d) {
                let a = offset * (2u * i + 1u) - 1u;
                let b = offset * (2u * i + 2u) - 1u;
                let old = t[a];
                t[a] = t[b];
                t[b] += old;
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < 2u; k++) {
            let at = base + 2u * i + k;
            if (at < n) { x[at] = t[2u * i + k]; }
        }
    }
"""


@pytest.mark.parametrize("n", [1, 63, 64, 200])
def test_exclusive_scan(device, n):
    """Of blocks of 64, with their sums."""
    x = sample(UINT32, n)
    groups = -(-n // 64)
    result = gk.Kernel(BLELLOCH)(x=x, out={"sums": groups}, workgroups=groups, device=device)
    padded = np.pad(x, (0, groups * 64 - n)).reshape(groups, 64)
    sums = np.cumsum(padded, axis=1, dtype=np.uint32)
    assert_same(result.x, (sums - padded).reshape(-1)[:n])
    assert_same(result.sums, sums[:, -1].copy())


STRUCT_SCAN = """
    struct Span { low: i32, high: i32, sum: i32 }
    @group(0) @binding(0) var<storage, read> x: array<i32>;
    @group(0) @binding(1) var<storage, read_write> spans: array<Span>;
    var<workgroup> a: array<Span, 16>;

    fn merge(left: Span, right: Span) -> Span {
        return Span(min(left.low, left.sum + right.low), max(left.high, left.sum + right.high), left.sum + right.sum);
    }

    @compute @workgroup_size(16)
    fn walk(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        let step = x[id.x];
        a[lane] = Span(min(step, 0), max(step, 0), step);
        for (var gap = 1u; gap < 16u; gap *= 2u) {
            workgroupBarrier();
            var mine = a[lane];
            if (lane >= gap) { mine = merge(a[lane - gap], mine); }
            workgroupBarrier();
            a[lane] = mine;
        }
        spans[id.x] = a[lane];
    }
"""


def test_prefixes_of_structs(device):
    """How far a walk has strayed to either side, after every step."""
    x = random().integers(-9, 10, (4, 16)).astype(np.int32)
    spans = gk.Kernel(STRUCT_SCAN)(x=x, out={"spans": (4, 16)}, workgroups=4, device=device)
    sums = np.cumsum(x, axis=1)
    np.testing.assert_array_equal(spans["sum"], sums)
    np.testing.assert_array_equal(spans["low"], np.minimum(np.minimum.accumulate(sums, axis=1), 0))
    np.testing.assert_array_equal(spans["high"], np.maximum(np.maximum.accumulate(sums, axis=1), 0))


SEARCH = """
    @group(0) @binding(0) var<storage, read> sorted: array<f32>;
    @group(0) @binding(1) var<storage, read> wanted: array<f32>;
    @group(0) @binding(2) var<storage, read_write> at: array<u32>;

    fn lower_bound(value: f32) -> u32 {
        var low = 0u;
        var high = arrayLength(&sorted);
        while (low < high) {
            let middle = (low + high) / 2u;
            if (sorted[middle] < value) { low = middle + 1u; } else { high = middle; }
        }
        return low;
    }

    @compute @workgroup_size(24)
    fn search(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&wanted)) { return; }
        at[id.x] = lower_bound(wanted[id.x]);
    }
"""


@pytest.mark.parametrize("n", [1, 2, 77, 1000])
def test_binary_search(device, n):
    numbers, wanted = np.sort(sample(FLOAT32, n)), sample(FLOAT32, 101, 1)
    wanted[:5] = numbers[[0, -1, n // 2, n // 3, 0]]
    at = gk.Kernel(SEARCH)(sorted=numbers, wanted=wanted, out={"at": 101}, threads=101, device=device)
    assert_same(at, np.searchsorted(numbers, wanted).astype(np.uint32))


SUBGROUP_SUM = """
    @group(0) @binding(0) var<storage, read> x: array<u32>;
    @group(0) @binding(1) var<storage, read_write> total: atomic<u32>;
    var<workgroup> parts: array<u32, 64>;

    @compute @workgroup_size(64)
    fn sum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32,
           @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) within: u32,
           @builtin(subgroup_size) size: u32) {
        var mine = 0u;
        for (var i = id.x; i < arrayLength(&x); i += groups.x * 64u) { mine += x[i]; }
        let all = subgroupAdd(mine);
        if (within == 0u) { parts[lane / size] = all; }
        workgroupBarrier();
        if (lane == 0u) {
            var sum = 0u;
            for (var k = 0u; k < 64u / size; k++) { sum += parts[k]; }
            atomicAdd(&total, sum);
        }
    }
"""


def test_sum_by_subgroups(device):
    """The device's subgroups have 64 invocations at most, and fill workgroups."""
    if "subgroups" not in device.features:
        pytest.skip(f"{device.id} has no subgroups")
    x = sample(UINT32, 1001)
    total = gk.Kernel(SUBGROUP_SUM)(x=x, total=0, workgroups=3, device=device)
    assert int(total) == int(x.sum(dtype=np.uint32))


# Grids


STENCIL = """
    const TILE = 8;
    const EDGE = TILE + 2;
    struct P { x_shape: vec2<i32>, rate: f32 }
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<uniform> p: P;
    var<workgroup> tile: array<f32, EDGE * EDGE>;

    fn cell(row: i32, column: i32) -> f32 {
        let r = clamp(row, 0, p.x_shape.x - 1);
        let c = clamp(column, 0, p.x_shape.y - 1);
        return x[r * p.x_shape.y + c];
    }

    @compute @workgroup_size(TILE, TILE)
    fn diffuse(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
        let corner = vec2<i32>(group.xy) * TILE - 1;
        for (var k = i32(lane); k < EDGE * EDGE; k += TILE * TILE) {
            tile[k] = cell(corner.y + k / EDGE, corner.x + k % EDGE);
        }
        workgroupBarrier();
        let at = vec2<i32>(id.xy) + 1;
        let row = corner.y + at.y;
        let column = corner.x + at.x;
        if (row >= p.x_shape.x || column >= p.x_shape.y) { return; }
        let k = at.y * EDGE + at.x;
        let around = tile[k - 1] + tile[k + 1] + tile[k - EDGE] + tile[k + EDGE];
        y[row * p.x_shape.y + column] = tile[k] + p.rate * (around - 4.0 * tile[k]);
    }
"""


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (9, 21), (30, 5)], ids=str)
def test_stencil_with_a_halo(device, shape):
    x = small(FLOAT32, shape)
    threads = shape[::-1]
    y = gk.Kernel(STENCIL)(x=x, p={"rate": 0.25}, out={"y": shape}, threads=threads, device=device)
    wide = np.pad(x, 1, mode="edge")
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    assert_same(y, x + np.float32(0.25) * (around - 4 * x))


CONVOLUTION = """
    struct P { image_shape: vec2<u32>, weights_shape: vec2<u32>, y_shape: vec2<u32> }
    @group(0) @binding(0) var<storage, read> image: array<i32>;
    @group(0) @binding(1) var<storage, read> weights: array<i32>;
    @group(0) @binding(2) var<storage, read_write> y: array<i32>;
    @group(0) @binding(3) var<uniform> p: P;

    @compute @workgroup_size(4, 4)
    fn convolve(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= p.y_shape.y || id.y >= p.y_shape.x) { return; }
        var sum = 0;
        for (var i = 0u; i < p.weights_shape.x; i++) {
            for (var j = 0u; j < p.weights_shape.y; j++) {
                let weight = weights[i * p.weights_shape.y + j];
                if (weight == 0) { continue; }
                sum += weight * image[(id.y + i) * p.image_shape.y + id.x + j];
            }
        }
        y[id.y * p.y_shape.y + id.x] = sum;
    }
"""


@pytest.mark.parametrize("size", [1, 3, 4])
def test_convolution(device, size):
    image, weights = random().integers(-9, 10, (13, 17)), random(1).integers(-2, 3, (size, size))
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))
    want = (windows * weights).sum((2, 3)).astype(np.int32)
    given = {"image": image.astype(np.int32), "weights": weights.astype(np.int32)}
    y = gk.Kernel(CONVOLUTION)(**given, p={}, out={"y": want.shape}, threads=want.shape[::-1], device=device)
    assert_same(y, want)


JACOBI = """
    const N = 16u;
    const ROUNDS = 20;
    @group(0) @binding(0) var<storage, read> right: array<f32>;
    @group(0) @binding(1) var<storage, read_write> x: array<f32>;
    var<workgroup> now: array<f32, N>;
    var<workgroup> next: array<f32, N>;

    @compute @workgroup_size(N)
    fn jacobi(@builtin(local_invocation_index) i: u32) {
        for (var round = 0; round < ROUNDS; round++) {
            var around = 0.0;
            if (i > 0u) { around += now[i - 1u]; }
            if (i < N - 1u) { around += now[i + 1u]; }
            next[i] = (right[i] + around) * 0.25;
            workgroupBarrier();
            now[i] = next[i];
            workgroupBarrier();
        }
        x[i] = now[i];
    }
"""


def test_jacobi_iteration(device):
    """4 x[i] - x[i - 1] - x[i + 1] = right[i]."""
    right = sample(FLOAT32, 16)
    x = gk.Kernel(JACOBI)(right=right, out={"x": 16}, workgroups=1, device=device)
    matrix = 4 * np.eye(16) - np.eye(16, k=1) - np.eye(16, k=-1)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, right), atol=1e-5)


# Graphs


BREADTH_FIRST = """
    struct P { level: u32 }
    @group(0) @binding(0) var<storage, read> starts: array<u32>;
    @group(0) @binding(1) var<storage, read> edges: array<u32>;
    @group(0) @binding(2) var<storage, read_write> levels: array<atomic<u32>>;
    @group(0) @binding(3) var<storage, read_write> found: atomic<u32>;
    @group(0) @binding(4) var<uniform> p: P;

    @compute @workgroup_size(16)
    fn visit(@builtin(global_invocation_id) id: vec3<u32>) {
        let node = id.x;
        if (node + 1u >= arrayLength(&starts)) { return; }
        if (atomicLoad(&levels[node]) != p.level) { return; }
        for (var k = starts[node]; k < starts[node + 1u]; k++) {
            let old = atomicMin(&levels[edges[k]], p.level + 1u);
            if (old == 0xffffffffu) { atomicAdd(&found, 1u); }
        }
    }
"""


def test_breadth_first_search(device):
    """A level of a graph with each call, until there is nothing new."""
    n = 200
    edges = random().integers(0, n, (300, 2))
    pairs = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    starts = np.concatenate([[0], np.cumsum(np.bincount(pairs[:, 0], minlength=n))]).astype(np.uint32)
    levels = np.full(n, HIGH, np.uint32)
    levels[0] = 0
    given = {"starts": starts, "edges": pairs[:, 1].astype(np.uint32)}
    want, frontier, level = levels.copy(), {0}, 0
    while frontier:
        level += 1
        neighbours = {int(b) for a in frontier for b in pairs[pairs[:, 0] == a, 1]}
        frontier = {node for node in neighbours if want[node] == HIGH}
        want[list(frontier)] = level
    kernel = gk.Kernel(BREADTH_FIRST)
    for step in range(n):
        result = kernel(**given, levels=levels, found=0, p={"level": step}, threads=n, device=device)
        levels = result.levels
        if int(result.found) == 0:
            break
    assert_same(levels, want)


KMEANS = """
    struct Centre { place: vec2<f32>, weight: f32 }
    struct Sum { x: atomic<i32>, y: atomic<i32>, count: atomic<u32> }
    @group(0) @binding(0) var<storage, read> points: array<vec2<f32>>;
    @group(0) @binding(1) var<storage, read> centres: array<Centre>;
    @group(0) @binding(2) var<storage, read_write> sums: array<Sum>;
    @group(0) @binding(3) var<storage, read_write> nearest: array<u32>;

    @compute @workgroup_size(32)
    fn assign(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&points)) { return; }
        let point = points[id.x];
        var best = 0u;
        var least = 1e30;
        for (var k = 0u; k < arrayLength(&centres); k++) {
            let to = point - centres[k].place;
            let far = dot(to, to) * centres[k].weight;
            if (far < least) {
                least = far;
                best = k;
            }
        }
        nearest[id.x] = best;
        atomicAdd(&sums[best].x, i32(point.x));
        atomicAdd(&sums[best].y, i32(point.y));
        atomicAdd(&sums[best].count, 1u);
    }
"""


def test_a_step_of_k_means(device):
    points = random().integers(-50, 50, (150, 2)).astype(np.float32)
    centres = np.zeros(5, [("place", "f4", 2), ("weight", "f4")])
    centres["place"], centres["weight"] = random(1).integers(-50, 50, (5, 2)), [1, 2, 1, 4, 1]
    new = {"sums": 5, "nearest": 150}
    result = gk.Kernel(KMEANS)(points=points, centres=centres, out=new, threads=150, device=device)
    far = ((points[:, None] - centres["place"]) ** 2).sum(2) * centres["weight"]
    best = far.argmin(1)
    assert_same(result.nearest, best.astype(np.uint32))
    for axis, name in enumerate("xy"):
        assert result.sums[name].tolist() == np.bincount(best, points[:, axis], 5).tolist()
    assert result.sums["count"].tolist() == np.bincount(best, minlength=5).tolist()


# Pictures


TRACER = """
    struct Sphere { centre: vec3<f32>, radius: f32 }
    struct Hit { distance: f32, index: i32, normal: vec3<f32> }
    struct P { y_shape: vec2<u32>, light: vec3<f32>, far: f32 }
    @group(0) @binding(0) var<storage, read> spheres: array<Sphere>;
    @group(0) @binding(1) var<storage, read_write> y: array<vec2<f32>>;
    @group(0) @binding(2) var<uniform> p: P;

    fn intersect(from_: vec3<f32>, direction: vec3<f32>, sphere: Sphere) -> f32 {
        let to = from_ - sphere.centre;
        let b = dot(to, direction);
        let c = dot(to, to) - sphere.radius * sphere.radius;
        let h = b * b - c;
        if (h < 0.0) { return -1.0; }
        return -b - sqrt(h);
    }

    fn trace(from_: vec3<f32>, direction: vec3<f32>) -> Hit {
        var hit = Hit(p.far, -1, vec3<f32>());
        for (var k = 0u; k < arrayLength(&spheres); k++) {
            let distance = intersect(from_, direction, spheres[k]);
            if (distance <= 0.001 || distance >= hit.distance) { continue; }
            hit.distance = distance;
            hit.index = i32(k);
        }
        if (hit.index >= 0) {
            hit.normal = normalize(from_ + hit.distance * direction - spheres[hit.index].centre);
        }
        return hit;
    }

    @compute @workgroup_size(8, 4)
    fn render(@builtin(global_invocation_id) id: vec3<u32>) {
        if (any(id.xy >= p.y_shape.yx)) { return; }
        let place = (vec2<f32>(id.xy) + 0.5) / vec2<f32>(p.y_shape.yx) * 2.0 - 1.0;
        let direction = normalize(vec3(place, 2.0));
        let hit = trace(vec3<f32>(), direction);
        var shade = 0.0;
        if (hit.index >= 0) {
            let there = hit.distance * direction;
            let light = normalize(p.light);
            shade = max(dot(hit.normal, light), 0.0);
            if (shade > 0.0 && trace(there, light).index >= 0) { shade = 0.0; }
        }
        y[id.y * p.y_shape.y + id.x] = vec2(f32(hit.index), shade);
    }
"""


def trace(spheres, start, direction):
    """The nearest sphere that each ray meets, or -1, and how far away it is."""
    to = start[:, None] - spheres["centre"]
    b = (to * direction[:, None]).sum(2)
    h = b * b - (to * to).sum(2) + spheres["radius"] ** 2
    distance = np.where(h < 0, np.inf, -b - np.sqrt(np.maximum(h, 0)))
    distance = np.where(distance <= 0.001, np.inf, distance)
    least = distance.min(1)
    return np.where(least < 100, distance.argmin(1), -1), least


def test_rays_and_spheres(device):
    """Rounding decides few pixels, at the borders of spheres and shadows."""
    shape = (20, 30)
    spheres = np.zeros(6, [("centre", "f8", 3), ("radius", "f8")])
    spheres["centre"] = random().uniform([-3, -3, 4], [3, 3, 9], (6, 3)).astype(np.float32)
    spheres["radius"] = np.float32([1, 0.5, 1.5, 0.8, 1, 0.3])
    given = spheres.astype([("centre", "f4", 3), ("radius", "f4")])
    light = np.array([1, -2, -1.0])
    call = {"p": {"light": light, "far": 100.0, "y_shape": shape}, "threads": shape[::-1], "device": device}
    y = gk.Kernel(TRACER)(spheres=given, out={"y": (*shape, 2)}, **call)
    rows, columns = np.indices(shape).reshape(2, -1)
    place = np.stack([(columns + 0.5) / shape[1] * 2 - 1, (rows + 0.5) / shape[0] * 2 - 1, 0 * rows + 2], axis=1)
    direction = place / np.linalg.norm(place, axis=1, keepdims=True)
    index, distance = trace(spheres, np.zeros((1, 3)) + 0 * direction, direction)
    there = np.where(index >= 0, distance, 0)[:, None] * direction
    normal = there - spheres["centre"][index]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    towards = light / np.linalg.norm(light)
    shade = np.where(index >= 0, np.maximum(normal @ towards, 0), 0)
    shade[trace(spheres, there, np.zeros_like(there) + towards)[0] >= 0] = 0
    wrong = (y[..., 0].reshape(-1) != index) | (abs(y[..., 1].reshape(-1) - shade) > 1e-3)
    assert (index >= 0).sum() > 50
    assert wrong.sum() <= 0.02 * wrong.size


JULIA = """
    struct P { y_shape: vec2<u32>, c: vec2<f32>, most: u32 }
    @group(0) @binding(0) var<storage, read_write> y: array<u32>;
    @group(0) @binding(1) var<uniform> p: P;

    fn square(z: vec2<f32>) -> vec2<f32> { return vec2(z.x * z.x - z.y * z.y, 2.0 * z.x * z.y); }

    @compute @workgroup_size(8, 8)
    fn julia(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= p.y_shape.y || id.y >= p.y_shape.x) { return; }
        var z = vec2<f32>(id.xy) / vec2<f32>(p.y_shape.yx) * 3.0 - 1.5;
        var steps = 0u;
        loop {
            if (dot(z, z) > 4.0) { break; }
            z = square(z) + p.c;
            continuing {
                steps++;
                break if steps >= p.most;
            }
        }
        y[id.y * p.y_shape.y + id.x] = steps;
    }
"""


def test_julia_set(device):
    shape, c, most = (25, 40), complex(-0.4, 0.6), 60
    call = {"p": {"c": (c.real, c.imag), "most": most, "y_shape": shape}, "threads": shape[::-1], "device": device}
    y = gk.Kernel(JULIA)(out={"y": shape}, **call)
    z = (np.arange(40) / 40 * 3 - 1.5) + 1j * (np.arange(25) / 25 * 3 - 1.5)[:, None]
    steps = np.zeros(shape, np.uint32)
    for _ in range(most):
        inside = abs(z) <= 2
        steps += inside
        z = np.where(inside, z * z + c, z)
    assert (y != steps).sum() <= 0.03 * y.size


NOISE = """
    @group(0) @binding(0) var<storage, read> at: array<vec2<f32>>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    const DIRECTIONS = array<vec2<f32>, 4>(vec2(1.0, 1.0), vec2(-1.0, 1.0), vec2(1.0, -1.0), vec2(-1.0, -1.0));

    fn hash(p: vec2<i32>) -> u32 {
        var h = bitcast<u32>(p.x) * 374761393u + bitcast<u32>(p.y) * 668265263u;
        h = (h ^ (h >> 13u)) * 1274126177u;
        return h ^ (h >> 16u);
    }

    fn corner(cell: vec2<i32>, within: vec2<f32>, offset: vec2<i32>) -> f32 {
        let directions = DIRECTIONS;
        return dot(directions[hash(cell + offset) & 3u], within - vec2<f32>(offset));
    }

    fn noise(p: vec2<f32>) -> f32 {
        let cell = vec2<i32>(floor(p));
        let f = fract(p);
        let u = f * f * f * (f * (f * 6.0 - 15.0) + 10.0);
        let low = mix(corner(cell, f, vec2(0, 0)), corner(cell, f, vec2(1, 0)), u.x);
        let high = mix(corner(cell, f, vec2(0, 1)), corner(cell, f, vec2(1, 1)), u.x);
        return mix(low, high, u.y);
    }

    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&at)) { return; }
        var p = at[id.x];
        var sum = 0.0;
        var weight = 0.5;
        for (var octave = 0; octave < 4; octave++) {
            sum += weight * noise(p);
            p *= 2.0;
            weight *= 0.5;
        }
        y[id.x] = sum;
    }
"""


def noise(p):
    """The same in float64."""
    cell = np.floor(p)
    f = p - cell
    u = f**3 * (f * (f * 6 - 15) + 10)

    def corner(i, j):
        x, y = (cell + np.array([i, j])).astype(np.int64).T
        h = (x * 374761393 + y * 668265263) & HIGH
        h = ((h ^ h >> 13) * 1274126177) & HIGH
        h = h ^ h >> 16
        directions = np.array([[1, 1], [-1, 1], [1, -1], [-1, -1]])
        return (directions[h & 3] * (f - [i, j])).sum(1)

    low = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * u[:, 0]
    high = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * u[:, 0]
    return low + (high - low) * u[:, 1]


def test_gradient_noise(device):
    at = random().uniform(-20, 20, (300, 2)).astype(np.float32)
    y = gk.Kernel(NOISE)(at=at, out={"y": 300}, threads=300, device=device)
    want = sum(0.5 ** (k + 1) * noise(at.astype(np.float64) * 2**k) for k in range(4))
    np.testing.assert_allclose(y, want, atol=1e-4)


# Points in space


TRANSFORM = """
    struct P { m: mat4x4<f32> }
    @group(0) @binding(0) var<storage, read_write> points: array<vec3<f32>>;
    @group(0) @binding(1) var<uniform> p: P;

    @compute @workgroup_size(16)
    fn transform(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&points)) { return; }
        let h = p.m * vec4(points[id.x], 1.0);
        points[id.x] = h.xyz / h.w;
    }
"""


@pytest.mark.parametrize("n", [1, 16, 35])
def test_points_by_a_matrix(device, n):
    points, m = sample(FLOAT32, (n, 3)), np.eye(4) + random().uniform(-0.2, 0.2, (4, 4))
    m[3] = [0, 0, 0.01, 2]
    got = gk.Kernel(TRANSFORM)(points=points, p={"m": m.T}, threads=n, device=device)
    h = np.concatenate([points, np.ones((n, 1))], axis=1) @ m.T
    np.testing.assert_allclose(got, h[:, :3] / h[:, 3:], rtol=1e-4, atol=1e-5)


QUATERNIONS = """
    struct Pose { turn: vec4<f32>, shift: vec3<f32> }
    @group(0) @binding(0) var<storage, read> poses: array<Pose>;
    @group(0) @binding(1) var<storage, read_write> points: array<vec3<f32>>;

    fn rotate(q: vec4<f32>, v: vec3<f32>) -> vec3<f32> {
        let t = 2.0 * cross(q.xyz, v);
        return v + q.w * t + cross(q.xyz, t);
    }

    fn move_(pose: ptr<function, Pose>, point: ptr<function, vec3<f32>>) {
        (*pose).turn = normalize((*pose).turn);
        *point = rotate((*pose).turn, *point) + (*pose).shift;
    }

    @compute @workgroup_size(16)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&points)) { return; }
        var point = points[id.x];
        for (var k = 0u; k < arrayLength(&poses); k++) {
            var pose = poses[k];
            move_(&pose, &point);
        }
        points[id.x] = point;
    }
"""


def test_rotation_by_quaternions(device):
    poses = np.zeros(3, [("turn", "f4", 4), ("shift", "f4", 3)])
    poses["turn"], poses["shift"] = random().uniform(-1, 1, (3, 4)), random(1).uniform(-1, 1, (3, 3))
    points = sample(FLOAT32, (20, 3))
    got = gk.Kernel(QUATERNIONS)(poses=poses, points=points, threads=20, device=device)
    want = points.astype(np.float64)
    for pose in poses:
        x, y, z, w = pose["turn"].astype(np.float64) / np.linalg.norm(pose["turn"].astype(np.float64))
        matrix = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        want = want @ matrix.T + pose["shift"]
    np.testing.assert_allclose(got, want, atol=1e-4)


# Integers


SHA = """
    @group(0) @binding(0) var<storage, read> k: array<u32>;
    @group(0) @binding(1) var<storage, read> messages: array<array<u32, 16>>;
    @group(0) @binding(2) var<storage, read_write> digests: array<array<u32, 8>>;

    fn rotate(x: u32, n: u32) -> u32 { return (x >> n) | (x << (32u - n)); }

    @compute @workgroup_size(8)
    fn sha(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&messages)) { return; }
        var w: array<u32, 64>;
        for (var i = 0u; i < 16u; i++) { w[i] = messages[id.x][i]; }
        for (var i = 16u; i < 64u; i++) {
            let a = rotate(w[i - 15u], 7u) ^ rotate(w[i - 15u], 18u) ^ (w[i - 15u] >> 3u);
            let b = rotate(w[i - 2u], 17u) ^ rotate(w[i - 2u], 19u) ^ (w[i - 2u] >> 10u);
            w[i] = w[i - 16u] + a + w[i - 7u] + b;
        }
        let first = array<u32, 8>(0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                                  0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u);
        var s = first;
        for (var i = 0u; i < 64u; i++) {
            let e1 = rotate(s[4], 6u) ^ rotate(s[4], 11u) ^ rotate(s[4], 25u);
            let choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
            let t1 = s[7] + e1 + choice + k[i] + w[i];
            let e0 = rotate(s[0], 2u) ^ rotate(s[0], 13u) ^ rotate(s[0], 22u);
            let majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
            s = array<u32, 8>(t1 + e0 + majority, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]);
        }
        for (var i = 0u; i < 8u; i++) { digests[id.x][i] = s[i] + first[i]; }
    }
"""


def roots_of_primes():
    """The first 32 bits behind the point of the cube roots of the first 64 primes."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, int(n**0.5) + 1))]
    roots = []
    for prime in primes:
        root = round((prime << 96) ** (1 / 3))
        while root**3 > prime << 96:
            root -= 1
        while (root + 1) ** 3 <= prime << 96:
            root += 1
        roots.append(root & HIGH)
    return np.array(roots, np.uint32)


def test_sha256(device):
    """Of texts that fit into one block."""
    texts = [b"x" * n + bytes([n]) for n in range(0, 54, 3)]
    blocks = [text + b"\x80" + bytes(55 - len(text)) + struct.pack(">Q", 8 * len(text)) for text in texts]
    messages = np.array([struct.unpack(">16I", block) for block in blocks], np.uint32)
    call = {"out": {"digests": (len(texts), 8)}, "threads": len(texts), "device": device}
    digests = gk.Kernel(SHA)(k=roots_of_primes(), messages=messages, **call)
    want = [struct.unpack(">8I", hashlib.sha256(text).digest()) for text in texts]
    assert digests.tolist() == [list(digest) for digest in want]


XORSHIFT = """
    @group(0) @binding(0) var<storage, read_write> states: array<vec4<u32>>;
    @group(0) @binding(1) var<storage, read_write> y: array<u32>;
    var<private> state: vec4<u32>;

    fn next() -> u32 {
        var t = state.w;
        let s = state.x;
        state = vec4(s, state.xyz);
        t ^= t << 11u;
        t ^= t >> 8u;
        state.x = t ^ s ^ (s >> 19u);
        return state.x;
    }

    fn die(sides: u32) -> u32 {
        let limit = 0xffffffffu - 0xffffffffu % sides;
        for (var tries = 0; tries < 20; tries++) {
            let number = next();
            if (number < limit) { return number % sides; }
        }
        return 0u;
    }

    @compute @workgroup_size(32)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&states)) { return; }
        state = states[id.x];
        var sum = 0u;
        for (var k = 0u; k <= id.x % 7u; k++) { sum = sum * 7u + die(6u) + die(0x80000001u); }
        y[id.x] = sum;
        states[id.x] = state;
    }
"""


def test_random_numbers(device):
    """Numbers that do not fit are drawn again, by some invocations and not by others."""
    states = random().integers(1, 2**32, (45, 4), dtype=np.uint32)

    def draw(state, sides):
        limit = HIGH - HIGH % sides
        while True:
            t, s = state[3], state[0]
            t ^= t << 11 & HIGH
            t ^= t >> 8
            state[:] = [t ^ s ^ s >> 19, s, state[1], state[2]]
            if state[0] < limit:
                return state[0] % sides

    want, after = [], states.tolist()
    for i, state in enumerate(after):
        total = 0
        for _ in range(i % 7 + 1):
            total = (total * 7 + draw(state, 6) + draw(state, 0x80000001)) & HIGH
        want.append(total)
    result = gk.Kernel(XORSHIFT)(states=states, out={"y": 45}, threads=45, device=device)
    assert result.y.tolist() == want
    assert result.states.tolist() == after


COLLATZ = """
    @group(0) @binding(0) var<storage, read_write> x: array<u32>;

    fn steps(first: u32) -> u32 {
        var n = first;
        var count = 0u;
        if (n == 0u) { return 0xffffffffu; }
        while (n != 1u) {
            if (n % 2u == 0u) {
                n = n / 2u;
            } else {
                if (n >= 1431655765u) { return 0xfffffffeu; }
                n = 3u * n + 1u;
            }
            count++;
        }
        return count;
    }

    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&x)) { return; }
        x[id.x] = steps(x[id.x]);
    }
"""


def test_collatz(device):
    """Loops of very different lengths, some of them left by a return."""

    def steps(n):
        count = 0
        if n == 0:
            return HIGH
        while n != 1:
            if n % 2 and n >= 1431655765:
                return HIGH - 1
            n, count = (3 * n + 1 if n % 2 else n // 2), count + 1
        return count

    x = np.concatenate([np.arange(200), [97, 871, 6171, 77031, 113383, 159487, HIGH, 1431655765]]).astype(np.uint32)
    got = gk.Kernel(COLLATZ)(x=x, threads=len(x), device=device)
    assert got.tolist() == [steps(int(n)) for n in x]


FIND = """
    struct P { text_bytes: u32, word_bytes: u32 }
    @group(0) @binding(0) var<storage, read> text: array<u32>;
    @group(0) @binding(1) var<storage, read> word: array<u32>;
    @group(0) @binding(2) var<storage, read_write> found: array<atomic<u32>>;
    @group(0) @binding(3) var<storage, read_write> count: atomic<u32>;
    @group(0) @binding(4) var<uniform> p: P;

    fn letter(i: u32) -> u32 { return (text[i / 4u] >> (8u * (i % 4u))) & 0xffu; }
    fn wanted(i: u32) -> u32 { return unpack4xU8(word[i / 4u])[i % 4u]; }

    @compute @workgroup_size(32)
    fn find(@builtin(global_invocation_id) id: vec3<u32>) {
        let start = id.x;
        if (start + p.word_bytes > p.text_bytes) { return; }
        for (var i = 0u; i < p.word_bytes; i++) {
            let c = wanted(i);
            switch (c) {
                case 63u: { continue; }
                case 35u: {
                    if (letter(start + i) < 48u || letter(start + i) > 57u) { return; }
                }
                default: {
                    if (letter(start + i) != c) { return; }
                }
            }
        }
        atomicOr(&found[start / 32u], 1u << (start % 32u));
        atomicAdd(&count, 1u);
    }
"""


@pytest.mark.parametrize("word", [b"a", b"ab", b"a?b", b"b##", b"abcabc"])
def test_search_in_text(device, word):
    """? is any letter, and # any digit."""
    text = bytes(random().choice(list(b"aabbc01"), 500).tolist()) + b"abcabc"
    size = len(text) - len(word) + 1

    def fits(c, wanted):
        return wanted == ord("?") or (chr(c).isdigit() if wanted == ord("#") else c == wanted)

    places = [i for i in range(size) if all(fits(text[i + j], c) for j, c in enumerate(word))]
    given = {
        name: np.frombuffer(data + bytes(-len(data) % 4), np.uint32) for name, data in (("text", text), ("word", word))
    }
    sizes = {"text_bytes": len(text), "word_bytes": len(word)}
    result = gk.Kernel(FIND)(**given, p=sizes, count=0, out={"found": 16}, threads=len(text), device=device)
    bits = np.unpackbits(result.found.view(np.uint8), bitorder="little")
    assert np.flatnonzero(bits).tolist() == places
    assert int(result.count) == len(places)


# Ways out


TAIL = """
    @group(0) @binding(0) var<storage, read> x: array<i32>;
    @group(0) @binding(1) var<storage, read_write> y: array<i32>;
    var<workgroup> shared_: array<i32, 24>;

    @compute @workgroup_size(24)
    fn tail(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        let inside = id.x < arrayLength(&x);
        var mine = 0;
        if (inside) {
            mine = x[id.x];
            for (var k = 0; k < 10; k++) {
                if (mine < 0) { break; }
                if (mine % 3 == 0) { mine -= 7; continue; }
                mine -= k;
            }
        }
        shared_[lane] = mine;
        workgroupBarrier();
        // From here on invocations may leave.
        if (!inside) { return; }
        let left = shared_[(lane + 23u) % 24u];
        if (left == mine) { return; }
        for (var k = 1u; k < 24u; k++) {
            let other = shared_[(lane + k) % 24u];
            if (other > mine) {
                y[id.x] = i32(k);
                return;
            }
            if (other == -1000) { break; }
        }
        y[id.x] = -1;
    }
"""


@pytest.mark.parametrize("n", [1, 24, 50, 100])
def test_returns_behind_the_last_barrier(device, n):
    """A number of elements that fills no workgroup; what is never written stays zero."""
    x = random(n).integers(-5, 40, n).astype(np.int32)
    x[::9] = -1000
    y = gk.Kernel(TAIL)(x=x, out={"y": n}, threads=n, device=device)
    want = np.zeros(n, np.int32)
    for start in range(0, n, 24):
        group = [0] * 24
        for lane in range(min(24, n - start)):
            mine = int(x[start + lane])
            for k in range(10):
                if mine < 0:
                    break
                mine -= 7 if mine % 3 == 0 else k
            group[lane] = mine
        for lane in range(min(24, n - start)):
            mine = group[lane]
            if group[lane - 1] == mine:
                continue
            want[start + lane] = -1
            for k in range(1, 24):
                other = group[(lane + k) % 24]
                if other > mine:
                    want[start + lane] = k
                    break
                if other == -1000:
                    break
    assert_same(y, want)


LAST_BLOCK = """
    @group(0) @binding(0) var<storage, read> x: array<i32>;
    @group(0) @binding(1) var<storage, read_write> y: array<i32>;
    var<private> calls: i32 = 100;

    fn classify(n: i32) -> i32 {
        calls++;
        if (n < 0) { return -1; }
        switch (n % 10) {
            case 0, 1: { return 10; }
            case 2: {
                if (n > 50) { break; }
                return 20;
            }
            case 3, default, 9: {
                var sum = 0;
                for (var k = n; ; k -= 3) {
                    if (k <= 0) { return sum; }
                    sum += k;
                    if (sum > 200) { break; }
                }
                return 30;
            }
            case 5: {}
        }
        return classify_rest(n);
    }

    fn classify_rest(n: i32) -> i32 {
        loop {
            if (n % 2 == 0) { return n; }
            loop {
                calls += 2;
                if (calls > 120) { return calls; }
            }
        }
        return 0;
    }

    @compute @workgroup_size(16)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&x)) { return; }
        y[id.x] = classify(x[id.x]) + 1000 * calls;
    }
"""


def test_returns_from_everywhere(device):
    """Out of loops in switches in functions."""

    def classify(n):
        calls = 101
        if n < 0:
            return -1 + 1000 * calls
        if n % 10 in (0, 1):
            return 10 + 1000 * calls
        if n % 10 == 2 and n <= 50:
            return 20 + 1000 * calls
        if n % 10 not in (2, 5):
            total = 0
            for k in range(n, 0, -3):
                total += k
                if total > 200:
                    return 30 + 1000 * calls
            return total + 1000 * calls
        if n % 2 == 0:
            return n + 1000 * calls
        return 121 + 1000 * 121

    x = np.arange(-3, 97, dtype=np.int32)
    y = gk.Kernel(LAST_BLOCK)(x=x, out={"y": x.shape}, threads=x.size, device=device)
    assert y.tolist() == [classify(int(n)) for n in x]


def test_game_on_a_torus(device):
    """Rows of bits: a cell looks at its neighbours by shifts and counts them by full adders."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        struct Sum { low: u32, high: u32 }
        fn add(a: u32, b: u32, c: u32) -> Sum { return Sum(a ^ b ^ c, (a & b) | (c & (a ^ b))); }
        fn turned(row: u32) -> array<u32, 3> {
            return array<u32, 3>((row << 1u) | (row >> 31u), row, (row >> 1u) | (row << 31u));
        }
        @compute @workgroup_size(16) fn life(@builtin(global_invocation_id) id: vec3<u32>) {
            let n = arrayLength(&x);
            if (id.x >= n) { return; }
            let above = turned(x[(id.x + n - 1u) % n]);
            let here = turned(x[id.x]);
            let below = turned(x[(id.x + 1u) % n]);
            let a = add(above[0], above[1], above[2]);
            let b = add(below[0], below[1], below[2]);
            let c = add(here[0], here[2], a.low);
            let ones = c.low ^ b.low;
            let d = add(a.high, b.high, c.high);
            let carry = c.low & b.low;
            let twos = d.low ^ carry;
            let fours = d.high | (d.low & carry);
            y[id.x] = twos & ~fours & (ones | here[1]);
        }
    """)
    x = random().integers(0, 2**32, 21, dtype=np.uint32)
    cells = x[:, None] >> np.arange(32, dtype=np.uint32) & 1
    around = sum(np.roll(cells, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) - cells
    alive = (around == 3) | ((around == 2) & (cells == 1))
    want = (alive.astype(np.uint32) << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)
    assert_same(kernel(x=x, out={"y": 21}, threads=21, device=device), want)


def test_integers_of_every_size(device):
    """Whole numbers as text: digits from the last to the first, in a private array."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<i32>;
        @group(0) @binding(1) var<storage, read_write> text: array<array<u32, 3>>;
        @compute @workgroup_size(8) fn print(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x >= arrayLength(&x)) { return; }
            var bytes: array<u32, 12>;
            var at = 12u;
            var rest = u32(abs(x[id.x]));
            loop {
                at -= 1u;
                bytes[at] = 48u + rest % 10u;
                rest /= 10u;
                if (rest == 0u) { break; }
            }
            if (x[id.x] < 0) {
                at--;
                bytes[at] = 45u;
            }
            var words: array<u32, 3>;
            for (var i = at; i < 12u; i++) {
                let to = i - at;
                words[to / 4u] |= bytes[i] << (8u * (to % 4u));
            }
            text[id.x] = words;
        }
    """)
    x = np.array([0, 5, -7, 10, 99, -100, 123456789, 2**31 - 1, -(2**31), *sample(INT32, 30)], np.int32)
    text = kernel(x=x, out={"text": (len(x), 3)}, threads=len(x), device=device)
    assert [row.tobytes().rstrip(b"\0").decode() for row in text] == [str(int(n)) for n in x]
