"""Compute a * x + y for arrays of any length: the smallest kernel that is of use."""

import argparse

import numpy as np
from numpy.typing import NDArray

import gpukern as gk

# Variables are given by their names, so their @binding numbers only have to differ.
# `threads=` is rounded up to whole workgroups. Those beyond the end have nothing to do.
SAXPY = gk.Kernel("""
    struct Parameters { a: f32 }

    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<uniform> p: Parameters;

    override BLOCK: u32 = 64;

    @compute @workgroup_size(BLOCK)
    fn saxpy(@builtin(global_invocation_id) id: vec3<u32>) {
        let i = id.x;
        if (i < arrayLength(&y)) {
            y[i] = p.a * x[i] + y[i];
        }
    }
""")


def saxpy(
    a: float, x: NDArray[np.float32], y: NDArray[np.float32], device: str | gk.Device = "auto"
) -> NDArray[np.float32]:
    """Return a * x + y. The array y is left alone, since NumPy arrays are only read unless inplace=True."""
    device = gk.get_device(device)
    # Every GPU allows 64 invocations in a workgroup; a device made smaller for tests may not.
    block = min(64, device.limits.get("workgroup", 64))
    result: NDArray[np.float32] = SAXPY(x=x, y=y, p={"a": a}, threads=y.size, BLOCK=block, device=device)
    return result


def main() -> None:
    """Run it on random numbers, and compare with NumPy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="such as vulkan or nvidia")
    parser.add_argument("--n", type=int, default=1_000_000, help="how many numbers")
    options = parser.parse_args()

    random = np.random.default_rng(0)
    x, y = random.standard_normal((2, options.n), np.float32)
    result = saxpy(2.0, x, y, options.device)
    print(f"{options.n} numbers, at most {np.abs(result - (2 * x + y)).max():.2g} from NumPy's")


if __name__ == "__main__":
    main()
