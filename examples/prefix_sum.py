"""Compute running sums of a long array, such as numpy.cumsum gives.

Workgroups cannot wait for each other. So each sums up a block of its own and notes the block's total, the totals are
summed up the same way, and what came before a block is added to it. Blocks of 256 need three rounds for 16 million.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpukern as gk

# The module brings `scan_lanes`, and wants two names from its user: WORKGROUP and Element.
SOURCE = """
    //! import scan/workgroup
    override WORKGROUP: u32 = 256;
    alias Element = i32;

    @group(0) @binding(0) var<storage, read> x: array<Element>;
    @group(0) @binding(1) var<storage, read_write> sums: array<Element>;
    @group(0) @binding(2) var<storage, read_write> totals: array<Element>;

    @compute @workgroup_size(WORKGROUP)
    fn scan(
        @builtin(global_invocation_id) id: vec3<u32>,
        @builtin(workgroup_id) block: vec3<u32>,
        @builtin(local_invocation_index) lane: u32,
    ) {
        // There are barriers in scan_lanes, so everyone calls it. Those beyond the end bring zero.
        var value = Element(0);
        if (id.x < arrayLength(&x)) { value = x[id.x]; }
        let scan = scan_lanes(value, lane);
        if (id.x < arrayLength(&x)) { sums[id.x] = scan.before + value; }
        if (lane == 0u) { totals[block.x] = scan.total; }
    }

    // `totals` are running sums by now: the one of the block before is all that came before.
    @compute @workgroup_size(WORKGROUP)
    fn add(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) block: vec3<u32>) {
        if (block.x > 0u && id.x < arrayLength(&sums)) {
            sums[id.x] += totals[block.x - 1u];
        }
    }
"""
SCAN = gk.Kernel(SOURCE, entry_point="scan")
ADD = gk.Kernel(SOURCE, entry_point="add")


def prefix_sum(x: NDArray[Any], device: str | gk.Device = "auto") -> NDArray[Any]:
    """Return the running sums of an array of int32, uint32 or float32."""
    device = gk.get_device(device)
    workgroup = min(256, device.limits.get("workgroup", 256))
    # `alias Element = i32;` is a type that can be chosen, as constants are.
    kernels = [kernel.specialize(WORKGROUP=workgroup, Element=x.dtype) for kernel in (SCAN, ADD)]

    def summed(x: gk.Tensor) -> gk.Tensor:
        blocks = -(-x.size // workgroup)
        new = {"sums": (x.shape, x.dtype), "totals": ((blocks,), x.dtype)}
        scanned = kernels[0](x=x, out=new, workgroups=blocks)
        sums: gk.Tensor = scanned.sums
        if blocks > 1:
            kernels[1](sums=sums, totals=summed(scanned.totals), workgroups=blocks)
        return sums

    result: NDArray[Any] = summed(gk.asarray(x, device=device)).numpy() if x.size else x.copy()
    return result


def main() -> None:
    """Sum up random numbers, and compare with NumPy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="such as vulkan or nvidia")
    parser.add_argument("--n", type=int, default=3_000_000, help="how many numbers")
    options = parser.parse_args()

    x = np.random.default_rng(0).integers(-100, 100, options.n).astype(np.int32)
    sums = prefix_sum(x, options.device)
    equal = np.array_equal(sums, np.cumsum(x, dtype=np.int32))
    print(f"{options.n} running sums, the last is {sums[-1]}: {'as' if equal else 'NOT as'} NumPy's")


if __name__ == "__main__":
    main()
