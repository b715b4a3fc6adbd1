"""Count how many numbers fall into each of many bins."""

import argparse

import numpy as np
from numpy.typing import NDArray

import gpukern as gk

# Everyone adding to the same few counters in storage would wait for each other. So each workgroup counts in memory of
# its own, and adds to storage once for each bin.
HISTOGRAM = gk.Kernel("""
    struct Range { low: f32, per_bin: f32 }  // the width of a bin is 1 / per_bin

    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;
    @group(0) @binding(2) var<uniform> range: Range;

    override BLOCK: u32 = 256;
    override BINS: u32 = 256;

    var<workgroup> own: array<atomic<u32>, BINS>;

    @compute @workgroup_size(BLOCK)
    fn histogram(
        @builtin(global_invocation_id) id: vec3<u32>,
        @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32,
    ) {
        // Workgroup memory is zero at first.
        // Invocations walk through the array together, in steps of as many as there are.
        for (var i = id.x; i < arrayLength(&x); i += groups.x * BLOCK) {
            let bin = floor((x[i] - range.low) * range.per_bin);
            if (bin >= 0.0 && bin < f32(BINS)) {
                atomicAdd(&own[u32(bin)], 1u);
            }
        }
        workgroupBarrier();
        for (var bin = lane; bin < BINS; bin += BLOCK) {
            let count = atomicLoad(&own[bin]);
            if (count > 0u) { atomicAdd(&counts[bin], count); }
        }
    }
""")


def histogram(
    x: NDArray[np.float32], bins: int, low: float, high: float, device: str | gk.Device = "auto"
) -> NDArray[np.uint32]:
    """Return counts of the numbers from low to below high, in bins of equal width. Others are not counted."""
    device = gk.get_device(device)
    block = min(256, device.limits.get("workgroup", 256))
    counts: NDArray[np.uint32] = HISTOGRAM(
        x=x,
        out={"counts": ((bins,), "uint32")},
        range={"low": low, "per_bin": bins / (high - low)},
        workgroups=min(-(-x.size // block), 128),
        BLOCK=block,
        BINS=bins,
        device=device,
    )
    return counts


def main() -> None:
    """Draw the histogram of normal numbers with characters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="such as vulkan or nvidia")
    parser.add_argument("--n", type=int, default=4_000_000, help="how many numbers")
    parser.add_argument("--bins", type=int, default=32)
    options = parser.parse_args()

    x = np.random.default_rng(0).standard_normal(options.n, np.float32)
    counts = histogram(x, options.bins, -4.0, 4.0, options.device)
    for bin_, count in enumerate(counts):
        print(f"{-4 + 8 * bin_ / options.bins:6.2f} {'#' * round(60 * count / counts.max())}")
    print(f"{counts.sum()} of {options.n} numbers are between -4 and 4")


if __name__ == "__main__":
    main()
