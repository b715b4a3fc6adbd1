"""Users' kernels among everything else: grids, order, neighbours, threads, memory, and kernels as Python objects."""

import copy
import gc
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpukern as gk
from arrays import FLOAT32, UINT32, assert_same, sample, small
from conftest import lowered
from processes import run_script

ADD_ONE = """
    override BLOCK: u32 = 16;
    @group(0) @binding(0) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(BLOCK) fn add_one(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&y)) { y[id.x] += 1.0; }
    }
"""


# Grids


COUNT = gk.Kernel("""
    override BLOCK: u32 = 16;
    @group(0) @binding(0) var<storage, read_write> y: array<u32>;
    @group(0) @binding(1) var<storage, read_write> runs: atomic<u32>;
    @compute @workgroup_size(BLOCK) fn count(@builtin(global_invocation_id) id: vec3<u32>) {
        atomicAdd(&runs, 1u);
        if (id.x < arrayLength(&y)) { y[id.x] += id.x + 1u; }
    }
""")


@given(threads=st.integers(0, 300), block=st.sampled_from([1, 7, 16]), length=st.integers(1, 300))
def test_as_many_invocations_as_asked_for(any_device, threads, block, length):
    """Rounded up to whole workgroups; elements beyond them and beyond the array are not touched."""
    out = {"y": length, "runs": ()}
    y, runs = COUNT(out=out, threads=threads, device=any_device, BLOCK=block)
    all_runs = -(-threads // block) * block
    assert runs == all_runs
    numbers = np.arange(1, length + 1, dtype=np.uint32)
    assert_same(y, np.where(numbers <= all_runs, numbers, np.uint32(0)))


NONE = [{"threads": 0}, {"workgroups": 0}, {"threads": (5, 0)}, {"workgroups": (1, 2, 0)}]


@pytest.mark.parametrize("zero", NONE, ids=str)
def test_no_invocations(any_device, zero):
    """Nothing runs; what is returned is as for any call."""
    tensor = gk.full(5, 3, dtype="uint32", device=any_device)
    y, runs = COUNT(y=tensor, out={"runs": ()}, **zero)
    assert y is tensor
    assert tensor.tolist() == [3] * 5
    assert int(runs) == 0
    # What has no elements is fine, where nothing runs.
    y, runs = COUNT(y=np.zeros((0, 3), np.uint32), out={"runs": ()}, device=any_device, **zero)
    assert (y.shape, runs) == ((0, 3), 0)
    y, _ = COUNT(y=tensor[:0], out={"runs": ()}, **zero)
    assert y.shape == (0,)
    y, runs = COUNT(y=np.full(5, 3, np.uint32), out={"runs": ()}, device=any_device, **zero)
    assert y.tolist() == [3] * 5


# Writes, for each invocation, its place in the grid as computed from every id, if they agree.
IDS = gk.Kernel("""
    struct Ids { @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32 }
    @group(0) @binding(0) var<storage, read_write> y: array<u32>;
    @group(0) @binding(1) var<storage, read_write> groups: vec3<u32>;
    @group(0) @binding(2) var<storage, read_write> runs: atomic<u32>;
    override X: u32;
    override Y: u32;
    override Z: u32;
    var<workgroup> first: u32;
    @compute @workgroup_size(X, Y, Z) fn ids(
        @builtin(global_invocation_id) id: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>,
        @builtin(num_workgroups) count: vec3<u32>,
        more: Ids,
    ) {
        let size = vec3(X, Y, Z);
        let extent = count * size;
        let at = id.x + extent.x * (id.y + extent.y * id.z);
        if (more.lane == 0u) { first = at; atomicAdd(&runs, 1u); }
        workgroupBarrier();
        let from_first = local.x + extent.x * (local.y + extent.y * local.z);
        let lane = local.x + X * (local.y + Y * local.z);
        let agree = all(id == more.group * size + local) && at == first + from_first && lane == more.lane;
        if (at < arrayLength(&y)) { y[at] += select(0u, at + 1u, agree); }
        if (at == 0u) { groups = count; }
    }
""")


@pytest.mark.parametrize(
    ("size", "groups"),
    [
        ((1, 1, 1), (1024, 1, 1)),
        ((1, 1, 1), (1025, 1, 1)),
        ((4, 1, 1), (16_000, 1, 1)),
        ((1, 1, 1), (70_000, 1, 1)),
        ((2, 2, 1), (1100, 3, 1)),
        ((1, 4, 1), (3, 1200, 1)),
        ((2, 2, 2), (3, 2, 1033)),
        ((1, 1, 1), (1500, 2, 5)),
        ((1, 1, 4), (1, 1, 2000)),
    ],
    ids=str,
)
def test_folded_grids(any_device, size, groups):
    """More workgroups than a GPU counts are folded. A kernel does not see it, nor do its barriers."""
    device = lowered(any_device, "groups=1024")
    shape = tuple(count * lanes for count, lanes in zip(groups, size, strict=True))[::-1]
    x, y, z = size
    out = {"y": shape, "groups": 3, "runs": ()}
    result = IDS(out=out, workgroups=groups, device=device, X=x, Y=y, Z=z)
    assert_same(result.y, np.arange(1, np.prod(shape) + 1, dtype=np.uint32).reshape(shape))
    assert result.groups.tolist() == list(groups)
    assert result.runs == np.prod(groups)


def test_more_workgroups_than_any_device_counts(any_device):
    """70,000, and 300,000 along y."""
    for groups in ((70_000, 1, 1), (2, 140_000, 1)):
        count = groups[0] * groups[1]
        result = IDS(out={"y": count, "groups": 3, "runs": ()}, workgroups=groups, device=any_device, X=1, Y=1, Z=1)
        assert_same(result.y, np.arange(1, count + 1, dtype=np.uint32))
        assert (result.groups.tolist(), result.runs) == (list(groups), count)


def test_folded_grids_of_subgroups(any_device):
    """Builtins that folding does not change come through, beside those that it does."""
    if "subgroups" not in any_device.features:
        pytest.skip(f"{any_device.id} has no subgroups")
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(16) fn f(
            @builtin(subgroup_invocation_id) within: u32,
            @builtin(global_invocation_id) id: vec3<u32>,
            @builtin(subgroup_size) size: u32,
        ) {
            let sum = subgroupAdd(x[id.x]);
            if (within == 0u) { y[id.x / 16u * 16u + id.x % 16u / size] = sum; }
        }
    """)
    x = small(UINT32, (5000, 16))
    y = kernel(x=x, out={"y": x.shape}, workgroups=5000, device=lowered(any_device, "groups=1024"))
    assert_same(y.sum(1, dtype=np.uint32), x.sum(1, dtype=np.uint32))


def test_trusted_kernels_are_folded(any_device):
    kernel = gk.Kernel(ADD_ONE, trusted=True)
    y = kernel(out={"y": 20_000}, threads=20_000, device=lowered(any_device, "groups=1024"))
    assert_same(y, np.ones(20_000, np.float32))


def test_one_kernel_folded_and_not(any_device):
    device = lowered(any_device, "groups=1024")
    for count in (3, 5000, 3, 20_000, 1024 * 16):
        y, runs = COUNT(out={"y": count, "runs": ()}, threads=count, device=device)
        assert_same(y, np.arange(1, count + 1, dtype=np.uint32))
        assert runs == -(-count // 16) * 16


# Out of bounds


WILD = gk.Kernel("""
    struct P { offset: u32 }
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<storage, read_write> z: array<vec4<u32>, 4>;
    @group(0) @binding(3) var<uniform> p: P;
    var<workgroup> w: array<f32, 8>;
    var<private> q: array<f32, 8>;
    @compute @workgroup_size(16) fn wild(@builtin(global_invocation_id) id: vec3<u32>) {
        let i = id.x * 7919u + p.offset;
        var local = array<f32, 3>(1.0, 2.0, 3.0);
        var v = vec4<f32>(1.0);
        w[i] = 1.0;
        q[i] = w[i + 1u];
        local[i] = q[i * 3u];
        v[i] = local[i];
        y[i] = x[i] + v[i];
        y[i - 1000000u] = x[0u - i];
        z[i][i] = 77u;
    }
""")


def test_wild_indices_hurt_nobody(device):
    """Neighbours in the same buffer, in other buffers and in later calls are as they were."""
    x = sample(FLOAT32, 1000)
    around = [gk.asarray(x, device=device, copy=True) for _ in range(6)]
    whole = gk.asarray(np.resize(x, 3000), device=device, copy=True)
    for offset in (0, 1, 1000, 2**31, 2**32 - 1):
        WILD(x=around[2], y=whole[1024:2024], out={"z": (4, 4)}, p={"offset": offset}, threads=1600)
    assert_same(whole[:1024], np.resize(x, 3000)[:1024])
    assert_same(whole[2024:], np.resize(x, 3000)[2024:])
    for tensor in around:
        assert_same(tensor, x)
    y = gk.Kernel(ADD_ONE)(y=around[0], threads=1000)
    assert_same(y, x + 1)


# Order, among kernels and operations


def test_kernels_and_operations_in_turn(device):
    """Each sees what all before it wrote, through tensors and views of them, without any wait."""
    kernel = gk.Kernel(ADD_ONE)
    x = small(FLOAT32, (40, 50))
    tensor = gk.asarray(x, device=device, copy=True)
    want = x.copy()
    for i in range(60):
        kernel(y=tensor[i % 40 :], threads=2000)
        want[i % 40 :] += 1
        tensor[:, i % 50] = gk.sum(tensor[:, :2], axis=1) * 0.25
        want[:, i % 50] = want[:, :2].sum(1) * 0.25
        kernel(y=tensor[::2, 1::3], threads=2000)
        want[::2, 1::3] += 1
        tensor[i % 40] = gk.minimum(tensor[i % 40], 50) - tensor[0]
        want[i % 40] = np.minimum(want[i % 40], 50) - want[0]
    np.testing.assert_allclose(tensor.numpy(), want, rtol=1e-5)


ADD = gk.Kernel("""
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(16) fn add(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&y)) { y[id.x] += x[id.x]; }
    }
""")


def view_of(data, shape):
    """An index that takes two rows and three columns of a board."""
    parts = []
    for length, wanted in zip(shape, (2, 3), strict=True):
        step = data.draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        first = data.draw(st.integers(0, length - 1 - (wanted - 1) * abs(step)))
        places = [first + i * abs(step) for i in range(wanted)][:: 1 if step > 0 else -1]
        stop = places[-1] + step
        parts.append(slice(places[0], stop if stop >= 0 else None, step))
    return tuple(parts)


@settings(max_examples=30)
@given(data=st.data())
def test_random_steps(any_device, data):
    """Kernels, operations and assignments on parts of two boards, as NumPy does them.

    A kernel refuses parts that share elements if it writes one of them. It may refuse those that lie in between, too.
    """
    shape = (6, 9)
    arrays = [small(FLOAT32, shape, seed) for seed in (0, 1)]
    tensors = [gk.asarray(array, device=any_device, copy=True) for array in arrays]
    for _ in range(data.draw(st.integers(1, 12))):
        source, target = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 1))
        from_, to = view_of(data, shape), view_of(data, shape)
        of_array = small(FLOAT32, (2, 3), 7)
        x, a = (of_array, of_array) if source == 2 else (arrays[source][from_], tensors[source][from_])
        y, b = arrays[target][to], tensors[target][to]
        match data.draw(st.sampled_from(["kernel", "kernel", "operation", "assignment"])):
            case "kernel" if np.shares_memory(x, y):
                with pytest.raises(gk.KernelError, match="same memory"):
                    ADD(x=a, y=b, threads=6)
            case "kernel":
                try:
                    assert ADD(x=a, y=b, threads=6) is b
                except gk.KernelError:
                    assert np.may_share_memory(x, y)
                else:
                    y += x
            case "operation":
                tensors[target][to] = gk.minimum(a, b) + 1
                y[...] = np.minimum(x, y) + 1
            case "assignment":
                tensors[target][to] = a
                y[...] = x.copy()
    for array, tensor in zip(arrays, tensors, strict=True):
        assert_same(tensor, array)


def test_large_uniforms_of_many_calls(any_device):
    """Each call has its own values, however many are recorded before any runs."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<uniform> p: array<vec4<f32>, 1000>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            y[id.x] += p[999u * id.x].w;
        }
    """)
    y, p = gk.zeros(2, device=any_device), np.zeros((1000, 4), np.float32)
    for i in range(300):
        p[0, 3], p[999, 3] = i, 2 * i
        kernel(p=p, y=y, threads=2)
    assert y.tolist() == [sum(range(300)), 2 * sum(range(300))]


def test_a_long_chain_of_calls(device):
    """Longer than any batch. No call waits for another, and none is lost."""
    kernel = gk.Kernel(ADD_ONE)
    tensor = gk.zeros(100, device=device)
    for _ in range(2000):
        kernel(y=tensor, threads=100)
    assert_same(tensor, np.full(100, 2000, np.float32))


def test_arguments_may_go_at_once(any_device):
    """A call has taken what it needs when it returns, from arrays, tensors and uniforms alike."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @group(0) @binding(2) var<uniform> p: array<vec4<f32>, 8>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&y)) { y[id.x] += x[id.x] * p[7].w; }
        }
    """)
    y = gk.zeros(5000, device=any_device)
    x, p = np.ones(5000, np.float32), np.ones((8, 4))
    for i in range(100):
        x[:], p[7, 3] = i, 2
        kernel(x=x, y=y, p=p, threads=5000)
        x[:], p[7, 3] = -1, -1
        kernel(x=gk.full(5000, 1.0, device=any_device), y=y, p=[[0] * 3 + [i]] * 8, threads=5000)
    assert_same(y, np.full(5000, 3 * sum(range(100)), np.float32))


def test_two_devices_at_once(any_device):
    """A kernel belongs to none."""
    other = any_device.with_caps("threads=3" if any_device.backend == "cpu" else "-f16,workgroup=64")
    kernel = gk.Kernel(ADD_ONE)
    a, b = gk.zeros(10, device=any_device), gk.ones(10, device=other)
    for _ in range(3):
        kernel(y=a, threads=10)
        kernel(y=b, threads=10)
    assert (a.tolist(), b.tolist()) == ([3] * 10, [4] * 10)


# What a device cannot do


def test_workgroups_that_are_too_large(gpu):
    """The error names the limit. The device is as good as before, and a smaller one runs.

    On GPUs, whose limits can be lowered. Those of the CPU device are in test_kernel_cpu.py.
    """
    kernel, device = gk.Kernel(ADD_ONE), gpu.with_caps("workgroup=64,shared=16KiB")
    with pytest.raises(gk.KernelError, match=r"128.*64"):
        kernel(out={"y": 10}, threads=10, device=device, BLOCK=128)
    assert kernel(out={"y": 10}, threads=10, device=device, BLOCK=64).tolist() == [1] * 10


def test_more_workgroup_memory_than_there_is(gpu):
    """On GPUs, as above."""
    kernel = gk.Kernel("""
        override N: u32 = 4096;
        var<workgroup> memory: array<f32, N>;
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn f() { memory[N - 1u] = 3.0; y[0] = memory[N - 1u]; }
    """)
    device = gpu.with_caps("shared=16KiB")
    assert kernel.workgroup_memory == 16384
    assert kernel(out={"y": 1}, threads=1, device=device).tolist() == [3]
    with pytest.raises(gk.KernelError, match="workgroup memory"):
        kernel(out={"y": 1}, threads=1, device=device, N=4097)


def test_a_failed_call_changes_nothing(any_device):
    kernel = gk.Kernel(ADD_ONE)
    tensor = gk.zeros(10, device=any_device)
    for arguments in ({"threads": -1}, {"threads": 10, "BLOCK": 0}, {"threads": 10, "BLOCK": 1 << 20}, {"z": 1}):
        with pytest.raises(gk.KernelError):
            kernel(y=tensor, **arguments)
    assert tensor.tolist() == [0] * 10
    assert kernel(y=tensor, threads=10).tolist() == [1] * 10


# Threads and memory


def test_eight_threads_call_one_kernel(any_device):
    """With constants of their own, on tensors of their own, and one of them with arrays."""
    kernel = gk.Kernel(ADD_ONE)

    def work(i):
        tensor = gk.full(1000, float(i), device=any_device)
        for _ in range(50):
            kernel(y=tensor, threads=1000, BLOCK=1 + i)
        array = kernel(y=np.full(100, i, np.float32), threads=100, device=any_device)
        return tensor.numpy(), array

    with ThreadPoolExecutor(8) as pool:
        for i, (got, array) in enumerate(pool.map(work, range(8))):
            assert_same(got, np.full(1000, i + 50, np.float32))
            assert_same(array, np.full(100, i + 1, np.float32))


def test_threads_make_kernels(any_device):
    """Compiling does not need the interpreter's lock, nor the same thread as the calls."""
    x = small(FLOAT32, 100)

    def work(i):
        source = ADD_ONE.replace("1.0", f"{i}.0")
        return gk.Kernel(source, name=f"add_{i}")(y=x, threads=100, device=any_device)

    with ThreadPoolExecutor(8) as pool:
        for i, got in enumerate(pool.map(work, range(16))):
            assert_same(got, x + i)


def test_threads_do_everything_at_once(any_device):
    """Calls, specialisations, new kernels, operations, and memory given back under them."""
    kernel = gk.Kernel(ADD_ONE)
    shared = gk.zeros(1000, device=any_device)
    # A GPU runs one after another. On the CPU device calls run in the threads that make them, and one tensor is
    # changed by one of them at a time, as one array of NumPy's.
    turn = threading.Lock() if any_device.backend == "cpu" else nullcontext()

    def work(i):
        random = np.random.default_rng(i)
        for step in random.integers(6, size=60):
            match step:
                case 0:
                    with turn:
                        kernel(y=shared, threads=1000)
                case 1:
                    block = int(random.integers(1, 6))
                    y = kernel(y=np.full(100, i, np.float32), threads=100, BLOCK=block, device=any_device)
                    assert_same(y, np.full(100, i + 1, np.float32))
                case 2:
                    tensor = gk.full(500, float(i), device=any_device)
                    kernel(y=tensor[3:400], threads=397)
                    assert gk.sum(tensor).item() == 500 * i + 397
                case 3:
                    any_device.memory.empty()
                case 4:
                    new = gk.Kernel(ADD_ONE.replace("1.0", f"{i}.0"))
                    assert new(out={"y": 3}, threads=3, device=any_device).tolist() == [i] * 3
                case 5:
                    gk.max(shared).item()
        return np.count_nonzero(np.random.default_rng(i).integers(6, size=60) == 0)

    with ThreadPoolExecutor(8) as pool:
        calls = sum(pool.map(work, range(8)))
    assert_same(shared, np.full(1000, calls, np.float32))


STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists(), reason="this system has no /proc/self/statm")
def test_a_thousand_calls_leak_nothing(any_device):
    """With arrays, copies of views, padding, uniforms and results: neither memory of the host nor of the device."""
    printed = run_script(f"""
        from pathlib import Path
        kernel = gk.Kernel('''
            struct P {{ a: f32, x_size: u32 }}
            @group(0) @binding(0) var<storage, read> x: array<vec3<f32>>;
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;
            @group(0) @binding(2) var<storage, read_write> z: array<f32>;
            @group(0) @binding(3) var<uniform> p: P;
            @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{
                if (id.x < arrayLength(&x)) {{ y[id.x] += p.a * x[id.x].y; z[id.x] = f32(p.x_size); }}
            }}
        ''')
        device = gk.get_device("{any_device.id}")
        tensor = gk.zeros((3000, 2), device=device)
        x, column = np.ones((3000, 3), np.float32), np.zeros((3000, 2), np.float32)
        def resident():
            device.synchronize()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return pages * 4096, device.memory.in_use
        def calls(count):
            for i in range(count):
                kernel(x=x, y=tensor[:, 1], out={{"z": 3000}}, p={{"a": i}}, threads=3000)
                kernel(x=x, y=column[:, 1], out={{"z": 3000}}, p={{"a": i}}, threads=3000, device=device)
                kernel.specialize()
        calls(100)
        before = resident()
        calls(1000)
        after = resident()
        print(after[0] - before[0], after[1] - before[1])
    """)
    host, device = map(int, printed.split())
    assert device == 0
    # Each of the calls moves 36 KB and more.
    assert host < 8 << 20


def test_kernels_and_specialisations_come_and_go(any_device):
    """More of them than are kept. Calls that are refused compile nothing, and so are quick."""
    kernel = gk.Kernel("""
        override N: u32 = 1;
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn f() { y[0] = N; }
    """)
    out = gk.zeros(1, "uint32", device=any_device)
    for i in range(20):
        assert kernel(y=out, threads=1, N=i) is out
        assert out.tolist() == [i]
    for i in range(400):
        with pytest.raises(gk.KernelError, match="float32"):
            kernel(y=np.zeros(1, np.float32), threads=1, N=i, device=any_device)
    gc.collect()
    assert kernel(y=out, threads=1, N=7).tolist() == [7]
    assert kernel(y=out, threads=1).tolist() == [1]


# Kernels as objects


def test_specialize_gives_another_kernel(any_device):
    kernel = gk.Kernel(ADD_ONE, name="plus")
    other = kernel.specialize(BLOCK=8)
    assert (kernel.workgroup_size, other.workgroup_size) == ((16, 1, 1), (8, 1, 1))
    assert (kernel.constants, other.constants) == ({"BLOCK": 16}, {"BLOCK": 8})
    assert other.name == "plus"
    assert other.source == kernel.source
    assert kernel.specialize().workgroup_size == (16, 1, 1)
    with pytest.raises(gk.KernelError, match=r"there is no constant 'BLOK'.*it has BLOCK"):
        kernel.specialize(BLOK=8)
    with pytest.raises(gk.KernelError, match="it has no 'BLOK'; its arguments are y, BLOCK"):
        kernel(y=[1], threads=1, BLOK=8, device=any_device)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.5, "u32, which cannot be 0.5"),
        (-1, "cannot be -1"),
        (2**32, "cannot be"),
        (True, "not a bool"),
        ("f32", "f32"),
    ],
)
def test_constants_that_do_not_fit(any_device, value, words):
    kernel = gk.Kernel(ADD_ONE)
    for attempt in (
        lambda: kernel.specialize(BLOCK=value),
        lambda: gk.Kernel(ADD_ONE, constants={"BLOCK": value}),
        lambda: kernel(y=[1], threads=1, BLOCK=value, device=any_device),
    ):
        with pytest.raises(gk.KernelError, match=f"'BLOCK'.*{words}"):
            attempt()


def test_a_kernel_describes_itself():
    kernel = gk.Kernel("""
        struct P { a: f32 }
        @group(0) @binding(3) var<storage, read> x: array<vec3<f32>>;
        @group(1) @binding(0) var<storage, read_write> y: array<u32>;
        @group(0) @binding(2) var<uniform> p: P;
        override LANES: u32;
        @compute @workgroup_size(LANES, 2) fn main() { y[0] = u32(x[0].x * p.a); }
    """)
    assert repr(kernel) == (
        "<gpukern.Kernel main(x: read array<vec3<f32>>, y: read_write array<u32>, p: uniform P), "
        "workgroups of a size to be given>"
    )
    assert "workgroups of 8 × 2 × 1>" in repr(kernel.specialize(LANES=8))
    x, y, p = kernel.bindings.values()
    assert repr(x) == "<gpukern.Binding x: read array<vec3<f32>>>"
    assert (x.name, x.group, x.binding, x.access, x.type, x.dtype) == ("x", 0, 3, "read", "array<vec3<f32>>", FLOAT32)
    assert (y.group, y.access, y.dtype) == (1, "read_write", UINT32)
    assert (p.access, p.type, p.dtype.names) == ("uniform", "P", ("a",))
    assert (kernel.name, kernel.entry_point, kernel.entry_points) == ("main", "main", ("main",))
    assert gk.Kernel(kernel.source, name="mine").name == "mine"


def test_kernels_are_pickled(any_device):
    """As their source, with all that was chosen: to other processes too."""
    source = "alias T = f32; override U: bool = true; @compute @workgroup_size(1) fn other() {}"
    source += ADD_ONE.replace("array<f32>", "array<T>").replace("1.0", "T(1)")
    constants = {"T": "uint32", "BLOCK": 4, "U": False}
    kernel = gk.Kernel(source, entry_point="add_one", constants=constants, name="mine", trusted=True)
    again = pickle.loads(pickle.dumps(kernel))
    assert type(again) is gk.Kernel
    assert repr(again) == repr(kernel)
    assert (again.name, again.trusted, again.constants) == ("mine", True, kernel.constants)
    assert again.entry_point == "add_one"
    assert_same(again(y=np.zeros(9, np.uint32), threads=9, device=any_device), np.ones(9, np.uint32))
    printed = run_script(f"""
        import pickle
        kernel = pickle.loads({pickle.dumps(kernel.specialize(BLOCK=2))!r})
        print(kernel(y=np.zeros(3, np.uint32), threads=3, device="{any_device.id}"), kernel.workgroup_size)
    """)
    assert printed == "[1 1 1] (2, 1, 1)\n"


def test_kernels_are_copied():
    kernel = gk.Kernel(ADD_ONE, constants={"BLOCK": 5})
    assert repr(copy.copy(kernel)) == repr(copy.deepcopy(kernel)) == repr(kernel)


def test_kernels_show_up_in_profiles(any_device):
    if "timestamps" not in any_device.features:
        pytest.skip(f"{any_device.id} has no timestamps")
    kernel = gk.Kernel(ADD_ONE, name="my own kernel")
    with gk.profile(any_device) as profile:
        kernel(out={"y": 100}, threads=100, device=any_device)
    assert any("my own kernel" in str(name) for name in profile.kernels)


def test_a_fresh_process_compiles_again(any_device):
    """Kernels kept on disk for the next process compute the same there."""
    script = f"""
        kernel = gk.Kernel({ADD_ONE!r})
        print(kernel(y=np.arange(3, dtype=np.float32), threads=3, device="{any_device.id}"))
    """
    assert run_script(script) == run_script(script) == "[1. 2. 3.]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_kernels_do_not_cross_a_fork(gpu):
    """They say so in the child. The parent's go on. The CPU device's do: see test_kernel_cpu.py."""
    printed = run_script(f"""
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        kernel = gk.Kernel({ADD_ONE!r})
        tensor = gk.zeros(3, device="{gpu.id}")
        kernel(y=tensor, threads=3)
        child = os.fork()
        if not child:
            try:
                kernel(y=[1], threads=1, device="{gpu.id}")
            except gk.DeviceError as error:
                os._exit(7 if "fork" in str(error) else 8)
            os._exit(9)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), kernel(y=tensor, threads=3).numpy())
    """)
    assert printed == "7 [2. 2. 2.]\n"


def test_kernels_of_a_lost_device(gpu):
    """They are compiled again for the next one."""
    printed = run_script(f"""
        device = gk.get_device("{gpu.id}")
        kernel = gk.Kernel({ADD_ONE!r})
        tensor = gk.zeros(3, device=device)
        kernel(y=tensor, threads=3)
        device._lose()
        try:
            kernel(y=tensor, threads=3).numpy()
        except gk.DeviceLostError:
            print("lost")
        print(kernel(y=np.zeros(3, np.float32), threads=3, device=device))
    """)
    assert printed == "lost\n[1. 1. 1.]\n"


def test_results_can_be_pickled(any_device):
    """A named tuple, whose class is made for them."""
    results = COUNT(y=np.zeros(3, UINT32), runs=np.zeros((), UINT32), threads=3, device=any_device)
    again = pickle.loads(pickle.dumps(results))
    assert type(again) is type(results)
    assert again._fields == ("y", "runs")
    assert_same(again.y, results.y)
    assert copy.copy(results).runs == results.runs
