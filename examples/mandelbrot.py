"""Draw the Mandelbrot set, and write it as a PNG file."""

import argparse
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import gpukern as gk

# `counts_shape` is no argument: fields called after a variable fill themselves in, here with the array's shape.
MANDELBROT = gk.Kernel("""
    struct View {
        centre: vec2<f32>,
        step: f32,  // from one pixel to the next
        most: u32,  // iterations
        counts_shape: vec2<u32>,  // rows, columns
    }

    @group(0) @binding(0) var<storage, read_write> counts: array<u32>;
    @group(0) @binding(1) var<uniform> view: View;

    override SIDE: u32 = 8;

    @compute @workgroup_size(SIDE, SIDE)
    fn mandelbrot(@builtin(global_invocation_id) id: vec3<u32>) {
        let size = view.counts_shape.yx;
        if (any(id.xy >= size)) { return; }
        let c = view.centre + (vec2<f32>(id.xy) - 0.5 * vec2<f32>(size - 1u)) * view.step;
        // z = z² + c, until it is farther than 2 from 0 and will not come back.
        var z = vec2<f32>(0.0);
        var count = 0u;
        while (count < view.most && dot(z, z) <= 4.0) {
            z = vec2<f32>(z.x * z.x - z.y * z.y, 2.0 * z.x * z.y) + c;
            count += 1u;
        }
        counts[id.y * size.x + id.x] = count;
    }
""")


def mandelbrot(
    width: int,
    height: int,
    *,
    centre: tuple[float, float] = (-0.7, 0.0),
    span: float = 3.0,
    iterations: int = 200,
    device: str | gk.Device = "auto",
) -> NDArray[np.uint32]:
    """Return how many iterations each pixel took; `iterations` of those that never left."""
    device = gk.get_device(device)
    side = 8 if device.limits.get("workgroup", 64) >= 64 else 4
    # out= makes the array: nothing is uploaded but the few numbers of the view.
    counts: NDArray[np.uint32] = MANDELBROT(
        out={"counts": ((height, width), "uint32")},
        view={"centre": centre, "step": span / width, "most": iterations},
        threads=(width, height),
        SIDE=side,
        device=device,
    )
    return counts


def colours(counts: NDArray[np.uint32], iterations: int) -> NDArray[np.uint8]:
    """Return a picture: red, green and blue for each pixel, black where the iterations never left."""
    phases = 0.15 * counts[..., None] + np.array([0.0, 0.6, 1.0])
    shades = np.uint8(255) * (0.5 - 0.5 * np.cos(phases))
    return np.where(counts[..., None] < iterations, shades, 0).astype(np.uint8)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture of shape (height, width, 3)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = picture.shape
    # Eight bits for each of three colours. A zero before every row says that it is stored as it is.
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = np.pad(picture.reshape(height, width * 3), ((0, 0), (1, 0)))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="such as vulkan or nvidia")
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("mandelbrot.png"))
    options = parser.parse_args()

    counts = mandelbrot(options.width, options.height, iterations=options.iterations, device=options.device)
    write_png(options.output, colours(counts, options.iterations))
    print(f"{options.output}: {options.width} x {options.height} pixels, {counts.sum()} iterations")


if __name__ == "__main__":
    main()
