"""Kernels as users write them, for the comparison of the devices that run them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_ADD = """
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> z: array<f32>;
@compute @workgroup_size(256)
fn add(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&z)) { z[id.x] = x[id.x] + y[id.x]; }
}
"""
_SILU = """
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> z: array<f32>;
@compute @workgroup_size(256)
fn silu(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&z)) { z[id.x] = x[id.x] / (1.0 + exp(-x[id.x])); }
}
"""
_SOFTMAX = """
const COLUMNS = 1024u;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> z: array<f32>;
var<workgroup> shared_values: array<f32, 256>;
@compute @workgroup_size(256)
fn softmax(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = row.x * COLUMNS;
    var largest = -3.4e38;
    for (var i = lane; i < COLUMNS; i += 256u) { largest = max(largest, x[start + i]); }
    shared_values[lane] = largest;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if (lane < half) { shared_values[lane] = max(shared_values[lane], shared_values[lane + half]); }
        workgroupBarrier();
    }
    largest = shared_values[0];
    workgroupBarrier();
    var sum = 0.0;
    for (var i = lane; i < COLUMNS; i += 256u) {
        let power = exp(x[start + i] - largest);
        z[start + i] = power;
        sum += power;
    }
    shared_values[lane] = sum;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if (lane < half) { shared_values[lane] += shared_values[lane + half]; }
        workgroupBarrier();
    }
    let scale = 1.0 / shared_values[0];
    for (var i = lane; i < COLUMNS; i += 256u) { z[start + i] *= scale; }
}
"""
_MATVEC = """
const COLUMNS = 4096u;
@group(0) @binding(0) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> z: array<f32>;
@compute @workgroup_size(64)
fn matvec(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= arrayLength(&z)) { return; }
    var sum = 0.0;
    for (var i = 0u; i < COLUMNS; i++) { sum += w[id.x * COLUMNS + i] * x[i]; }
    z[id.x] = sum;
}
"""
_MATMUL = """
const N = 1024u;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> z: array<f32>;
var<workgroup> tile_a: array<array<f32, 16>, 16>;
var<workgroup> tile_b: array<array<f32, 16>, 16>;
@compute @workgroup_size(16, 16)
fn matmul(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    var sum = 0.0;
    for (var tile = 0u; tile < N / 16u; tile++) {
        tile_a[local.y][local.x] = a[id.y * N + tile * 16u + local.x];
        tile_b[local.y][local.x] = b[(tile * 16u + local.y) * N + id.x];
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) { sum += tile_a[local.y][k] * tile_b[k][local.x]; }
        workgroupBarrier();
    }
    z[id.y * N + id.x] = sum;
}
"""
_MANDELBROT = """
const N = 1024u;
@group(0) @binding(0) var<storage, read_write> z: array<u32>;
@compute @workgroup_size(16, 16)
fn mandelbrot(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = vec2<f32>(-2.25, -1.5) + vec2<f32>(id.xy) * (3.0 / f32(N));
    var p = vec2<f32>();
    var count = 0u;
    while (count < 256u && dot(p, p) <= 4.0) {
        p = vec2<f32>(p.x * p.x - p.y * p.y, 2.0 * p.x * p.y) + c;
        count++;
    }
    z[id.y * N + id.x] = count;
}
"""
_SMALL = """
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> z: array<f32>;
@compute @workgroup_size(64)
fn twice(@builtin(local_invocation_index) i: u32) { z[i] = 2.0 * x[i]; }
"""


@dataclass(frozen=True)
class Shader:
    """A kernel, the names of its inputs, how it is launched, and what NumPy says."""

    source: str
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    result: tuple[tuple[int, ...], str]
    launch: dict[str, Any]
    reference: Callable[..., Array] | None
    bytes: int = 0
    flops: int = 0
    number: int = 1


_N = 2**24
_ROWS = (4096, 1024)


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


SHADERS: dict[str, Shader] = {
    "add 16M": Shader(_ADD, (("x", (_N,)), ("y", (_N,))), ((_N,), "float32"), {"threads": _N}, np.add, bytes=12 * _N),
    "silu 16M": Shader(
        _SILU, (("x", (_N,)),), ((_N,), "float32"), {"threads": _N}, lambda x: x / (1 + np.exp(-x)), bytes=8 * _N
    ),
    "softmax 4096x1024": Shader(
        _SOFTMAX, (("x", _ROWS),), (_ROWS, "float32"), {"workgroups": _ROWS[0]}, _softmax, bytes=8 * 2**22
    ),
    "matvec 3900x4096": Shader(
        _MATVEC,
        (("w", (3900, 4096)), ("x", (4096,))),
        ((3900,), "float32"),
        {"threads": 3900},
        np.matmul,
        bytes=3900 * 4096 * 4,
    ),
    "tiled matmul 1024": Shader(
        _MATMUL,
        (("a", (1024, 1024)), ("b", (1024, 1024))),
        ((1024, 1024), "float32"),
        {"threads": (1024, 1024)},
        np.matmul,
        flops=2 * 1024**3,
    ),
    "Mandelbrot 1024x1024": Shader(_MANDELBROT, (), ((1024, 1024), "uint32"), {"threads": (1024, 1024)}, None),
    "one workgroup": Shader(
        _SMALL, (("x", (64,)),), ((64,), "float32"), {"workgroups": 1}, lambda x: 2 * x, number=1000
    ),
}
