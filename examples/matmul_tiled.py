"""Multiply matrices of any size, by tiles in workgroup memory.

This shows how it is done. For work use gpukern.matmul, which is many times as fast.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

import gpukern as gk

# Each workgroup computes a tile of the result. It reads tiles of a and b together, so that every number is read from
# memory once for TILE sums, and not once for each of them.
MATMUL = gk.Kernel("""
    struct Sizes { a_shape: vec2<u32>, b_shape: vec2<u32> }  // filled in from the arrays

    @group(0) @binding(0) var<storage, read> a: array<f32>;
    @group(0) @binding(1) var<storage, read> b: array<f32>;
    @group(0) @binding(2) var<storage, read_write> product: array<f32>;
    @group(0) @binding(3) var<uniform> sizes: Sizes;

    override TILE: u32 = 16;

    var<workgroup> tile_a: array<f32, TILE * TILE>;
    var<workgroup> tile_b: array<f32, TILE * TILE>;

    @compute @workgroup_size(TILE, TILE)
    fn matmul(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
        let rows = sizes.a_shape.x;
        let inner = sizes.a_shape.y;
        let columns = sizes.b_shape.y;
        let at = lane.y * TILE + lane.x;
        var sum = 0.0;
        for (var first = 0u; first < inner; first += TILE) {
            // Beyond the edges tiles hold zeros, which add nothing.
            let k_a = first + lane.x;
            let k_b = first + lane.y;
            tile_a[at] = 0.0;
            tile_b[at] = 0.0;
            if (id.y < rows && k_a < inner) { tile_a[at] = a[id.y * inner + k_a]; }
            if (k_b < inner && id.x < columns) { tile_b[at] = b[k_b * columns + id.x]; }
            workgroupBarrier();
            for (var k = 0u; k < TILE; k++) {
                sum += tile_a[lane.y * TILE + k] * tile_b[k * TILE + lane.x];
            }
            // Nobody may fill the next tiles before all have used these.
            workgroupBarrier();
        }
        if (id.y < rows && id.x < columns) {
            product[id.y * columns + id.x] = sum;
        }
    }
""")


def tile_for(device: gk.Device) -> int:
    """Return the largest tile that the device's workgroups have the invocations and the memory for."""
    invocations, memory = device.limits.get("workgroup", 256), device.limits.get("shared", 16384)
    return next(tile for tile in (16, 8, 4, 2, 1) if tile * tile <= invocations and 2 * 4 * tile * tile <= memory)


def matmul(
    a: NDArray[np.float32], b: NDArray[np.float32], tile: int | None = None, device: str | gk.Device = "auto"
) -> NDArray[np.float32]:
    """Return a @ b."""
    device = gk.get_device(device)
    (rows, inner), (other, columns) = a.shape, b.shape
    if inner != other:
        raise ValueError(f"a has {inner} columns, and b {other} rows")
    product: NDArray[np.float32] = MATMUL(
        a=a,
        b=b,
        out={"product": ((rows, columns), "float32")},
        threads=(columns, rows),
        TILE=tile or tile_for(device),
        device=device,
    )
    return product


def main() -> None:
    """Multiply random matrices, and compare with NumPy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="such as vulkan or nvidia")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--inner", type=int, default=700)
    parser.add_argument("--columns", type=int, default=300)
    options = parser.parse_args()

    random = np.random.default_rng(0)
    a = random.standard_normal((options.rows, options.inner), np.float32)
    b = random.standard_normal((options.inner, options.columns), np.float32)
    difference = np.abs(matmul(a, b, device=options.device) - a @ b).max()
    print(f"{a.shape} @ {b.shape}, at most {difference:.2g} from NumPy's")


if __name__ == "__main__":
    main()
