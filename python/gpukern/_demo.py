"""What the library does, in ten lines of output: ``python -m gpukern demo``."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpukern as gk


def _say(topic: str, text: str) -> None:
    print(f"{topic:<14} {text}")


def _fastest(call: Callable[[], object]) -> float:
    """Return the least of five times, in seconds, after a first run that does not count."""
    call()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _error(got: NDArray[Any], want: NDArray[np.float64], scale: NDArray[np.float64]) -> float:
    return float(np.max(np.abs(got.astype(np.float64) - want) / scale))


def demo(name: str | None = None) -> int:
    """Run the demonstration on one device. The exit code is 1 when an answer differs from NumPy's."""
    device = gk.default_device() if name is None else gk.get_device(name)
    others = ", ".join(other.id for other in gk.devices() if other != device)
    agreed = []
    _say("device", f"{device.id}: {device.name}; also here: {others or 'no other'}")

    digits = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    small = gk.matmul_vec(digits, digits[0], device=device).tolist()
    agreed.append(small == [14, 32])
    _say("matmul_vec", f"[[1, 2, 3], [4, 5, 6]] . [1, 2, 3] = {small}")

    random = np.random.default_rng(0)
    w = random.standard_normal((4096, 4096), dtype=np.float32)
    x = random.standard_normal(4096, dtype=np.float32)
    magnitude = (np.abs(w) @ np.abs(x)).astype(np.float64)

    error = _error(gk.matmul_vec(w, x), w.astype(np.float64) @ x, magnitude)
    agreed.append(error < 2e-6)
    times = f"{_fastest(lambda: gk.matmul_vec(w, x)) * 1e3:.2f} ms, NumPy {_fastest(lambda: w @ x) * 1e3:.2f} ms"
    _say("NumPy in, out", f"4096 x 4096 float32: {times}, error {error:.0e} of the sum of magnitudes")

    # A result is rounded once, to the dtype of its operands.
    for dtype, bound in (("float32", 2e-6), ("float16", 2**-10), ("bfloat16", 2**-7)):
        weights, vector = gk.asarray(w, dtype, device=device), gk.asarray(x, dtype, device=device)

        def run(weights: gk.Tensor = weights, vector: gk.Tensor = vector) -> None:
            gk.matmul_vec(weights, vector)
            device.synchronize()

        exact = weights.numpy().astype(np.float64) @ vector.numpy().astype(np.float64)
        error = _error((weights @ vector).numpy(), exact, magnitude)
        agreed.append(error < bound)
        seconds = _fastest(run)
        speed = f"{seconds * 1e3:.2f} ms, {weights.nbytes / seconds / 1e9:.1f} GB/s"
        _say(dtype, f"the same with weights kept on {device.id}: {speed}, error {error:.0e}")

    t = gk.asarray(x, device=device, copy=True)
    inner = x.astype(np.float64) * 2 + 1
    want = inner / (1 + np.exp(-inner)) - x
    error = _error((gk.silu(t * 2 + 1) - t).numpy(), want, 1 + np.abs(want))
    agreed.append(error < 1e-5)
    _say("operators", f"(silu(t * 2 + 1) - t).numpy(), error {error:.0e}")

    t[:4] = [10, 20, 30, 40]
    part = t[3::-1].tolist()
    agreed.append(part == [40, 30, 20, 10])
    _say("views", f"t[:4] = [10, 20, 30, 40] makes t[3::-1] {part}")

    try:
        gk.matmul_vec(w, x[:-1])
    except gk.ShapeError as problem:
        _say("errors", f"ShapeError: {problem}")
    else:
        agreed.append(False)

    _say("verdict", "every answer agrees with NumPy" if all(agreed) else "AN ANSWER DIFFERS FROM NUMPY'S")
    return 0 if all(agreed) else 1
