"""Play Conway's game of life on a board whose edges meet."""

import argparse

import numpy as np
from numpy.typing import NDArray

import gpukern as gk

LIFE = gk.Kernel("""
    struct Board { now_shape: vec2<u32> }  // rows, columns: filled in from `now`

    @group(0) @binding(0) var<storage, read> now: array<u32>;
    @group(0) @binding(1) var<storage, read_write> next: array<u32>;
    @group(0) @binding(2) var<uniform> board: Board;

    override SIDE: u32 = 8;

    @compute @workgroup_size(SIDE, SIDE)
    fn life(@builtin(global_invocation_id) id: vec3<u32>) {
        let size = board.now_shape.yx;
        if (any(id.xy >= size)) { return; }
        var neighbours = 0u;
        for (var y = 0u; y < 3u; y++) {
            for (var x = 0u; x < 3u; x++) {
                // One to the left is size - 1 to the right, so that nothing goes below zero.
                let at = (id.xy + vec2(x, y) + size - 1u) % size;
                neighbours += now[at.y * size.x + at.x];
            }
        }
        let i = id.y * size.x + id.x;
        neighbours -= now[i];
        next[i] = select(0u, 1u, neighbours == 3u || (neighbours == 2u && now[i] == 1u));
    }
""")


def life(board: NDArray[np.uint32], generations: int, device: str | gk.Device = "auto") -> NDArray[np.uint32]:
    """Return the board after so many generations."""
    device = gk.get_device(device)
    kernel = LIFE.specialize(SIDE=8 if device.limits.get("workgroup", 64) >= 64 else 4)
    rows, columns = board.shape
    # Both tensors stay on the device. Calls only record work there, and nothing waits before the end.
    now, after = gk.asarray(board, "uint32", device=device), gk.zeros(board.shape, "uint32", device=device)
    for _ in range(generations):
        kernel(now=now, next=after, threads=(columns, rows))
        now, after = after, now
    result: NDArray[np.uint32] = now.numpy()
    return result


def main() -> None:
    """Play a random board, and show its corner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="such as vulkan or nvidia")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--generations", type=int, default=500)
    options = parser.parse_args()

    shape = (options.rows, options.columns)
    board = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint32)
    after = life(board, options.generations, options.device)
    print("\n".join("".join(".#"[cell] for cell in row) for row in after[:24, :72]))
    print(f"{board.sum()} cells lived at first, {after.sum()} after {options.generations} generations")


if __name__ == "__main__":
    main()
