"""Move stars that attract each other, every one of them by all the others."""

import argparse

import numpy as np
from numpy.typing import NDArray

import gpukern as gk

# One source, two kernels. Each has those of the variables that its entry point uses.
SOURCE = """
    struct Settings {
        step: f32,
        softening: f32,  // keeps stars that nearly meet from being thrown away
    }

    @group(0) @binding(0) var<storage, read_write> stars: array<vec4<f32>>;  // a place, and a mass in w
    @group(0) @binding(1) var<storage, read_write> velocities: array<vec4<f32>>;
    @group(0) @binding(2) var<uniform> settings: Settings;

    override BLOCK: u32 = 128;

    // Stars that the invocations of a workgroup have read together.
    var<workgroup> tile: array<vec4<f32>, BLOCK>;

    @compute @workgroup_size(BLOCK)
    fn kick(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        let count = arrayLength(&stars);
        // Invocations beyond the last star help to fill tiles: barriers have to be reached by all of a workgroup.
        let self_at = stars[min(id.x, count - 1u)].xyz;
        var acceleration = vec3<f32>(0.0);
        for (var first = 0u; first < count; first += BLOCK) {
            let mine = first + lane;
            // A star without mass attracts nothing.
            tile[lane] = vec4<f32>(0.0);
            if (mine < count) { tile[lane] = stars[mine]; }
            workgroupBarrier();
            for (var i = 0u; i < BLOCK; i++) {
                let towards = tile[i].xyz - self_at;
                let square = dot(towards, towards) + settings.softening * settings.softening;
                acceleration += towards * (tile[i].w / (square * sqrt(square)));
            }
            workgroupBarrier();
        }
        if (id.x < count) {
            velocities[id.x] += vec4<f32>(acceleration * settings.step, 0.0);
        }
    }

    @compute @workgroup_size(BLOCK)
    fn drift(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&stars)) {
            stars[id.x] += vec4<f32>(velocities[id.x].xyz * settings.step, 0.0);
        }
    }
"""
KICK = gk.Kernel(SOURCE, entry_point="kick")
DRIFT = gk.Kernel(SOURCE, entry_point="drift")


def simulate(
    stars: NDArray[np.float32],
    velocities: NDArray[np.float32],
    steps: int,
    *,
    step: float = 0.01,
    softening: float = 0.05,
    device: str | gk.Device = "auto",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return places with masses, and velocities, after so many steps. Both are of shape (n, 4)."""
    device = gk.get_device(device)
    block = min(128, device.limits.get("workgroup", 128))
    kick, drift = KICK.specialize(BLOCK=block), DRIFT.specialize(BLOCK=block)
    settings = {"step": step, "softening": softening}
    # Tensors that a kernel writes change. A call on them is recorded, and returns at once.
    places, speeds = gk.asarray(stars, device=device, copy=True), gk.asarray(velocities, device=device, copy=True)
    for _ in range(steps):
        kick(stars=places, velocities=speeds, settings=settings, threads=len(stars))
        drift(stars=places, velocities=speeds, settings=settings, threads=len(stars))
    return places.numpy(), speeds.numpy()


def galaxy(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return stars in a disc that turns."""
    random = np.random.default_rng(0)
    radius, angle = np.sqrt(random.uniform(0.01, 1, count)), random.uniform(0, 2 * np.pi, count)
    x, y, z = radius * np.cos(angle), radius * np.sin(angle), 0.02 * random.standard_normal(count)
    nothing = np.zeros(count)
    stars = np.stack([x, y, z, np.full(count, 1 / count)], axis=1)
    velocities = np.stack([-y, x, nothing, nothing], axis=1) * 0.8
    return stars.astype(np.float32), velocities.astype(np.float32)


def main() -> None:
    """Let a galaxy turn, and say what became of its momentum, which no force within it can change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="such as vulkan or nvidia")
    parser.add_argument("--stars", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()

    stars, velocities = galaxy(options.stars)
    before = stars[:, 3] @ velocities[:, :3]
    stars, velocities = simulate(stars, velocities, options.steps, device=options.device)
    after = stars[:, 3] @ velocities[:, :3]
    radius = np.linalg.norm(stars[:, :3], axis=1).mean()
    print(f"{options.stars} stars, {options.steps} steps: they are {radius:.3f} from the centre on average")
    print(f"their momentum changed by {np.abs(after - before).max():.1e}")


if __name__ == "__main__":
    main()
