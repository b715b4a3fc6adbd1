"""What every operation should give: one line of NumPy in float64 each, and how far a result may be from it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

import gpukern as gk
from arrays import BOOL, DTYPES, FLOAT16, FLOAT32, FLOATS, native

# The dtype of a result, by the dtypes of its operands. A dash: NumPy would say int64, which no device has.
PROMOTION = """
    .        float32  float16  bfloat16 int32    uint32   int8     uint8    bool
    float32  float32  float32  float32  float32  float32  float32  float32  float32
    float16  float32  float16  float32  float32  float32  float32  float32  float16
    bfloat16 float32  float32  bfloat16 float32  float32  float32  float32  bfloat16
    int32    float32  float32  float32  int32    -        int32    int32    int32
    uint32   float32  float32  float32  -        uint32   -        uint32   uint32
    int8     float32  float32  float32  int32    -        int8     int32    int8
    uint8    float32  float32  float32  int32    uint32   int32    uint8    uint8
    bool     float32  float16  bfloat16 int32    uint32   int8     uint8    bool
"""
_header, *_rows = (line.split() for line in PROMOTION.strip().splitlines())
_RESULTS = {(row[0], column): cell for row in _rows for column, cell in zip(_header[1:], row[1:], strict=True)}
assert {name for pair in _RESULTS for name in pair} == {dtype.name for dtype in DTYPES}


def promote(first, second):
    """The dtype of a result, or None where there is none."""
    name = _RESULTS[first.name, second.name]
    return None if name == "-" else np.dtype(name)


def is_gpu(device):
    return device.backend != "cpu"


# WGSL lets a GPU flush subnormal numbers to zero, in operands and in results; two operands are flushed at most.
SMALLEST_NORMAL = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True)
class Tolerance:
    """How far a float result may be from the oracle's. Pairs are for the CPU and for GPUs."""

    reason: str
    ulps: tuple  # of the float32 result: a number, or a function of the operands
    narrow_ulps: tuple = (1, 1)  # more, of float16 and bfloat16: the float32 result rounded once more
    share: float = 0.0  # of the sum of the magnitudes of all that was added up
    floor: tuple = (0.0, 0.0)  # an absolute amount

    def allowed(self, want, dtype, magnitude, gpu, operands):
        ulps = self.ulps[gpu](*operands) if callable(self.ulps[gpu]) else self.ulps[gpu]
        narrow = 0 if dtype == FLOAT32 else self.narrow_ulps[gpu] * ulp(want, dtype)
        flushed = 2 * SMALLEST_NORMAL if gpu and dtype != FLOAT16 else 0
        return ulps * ulp(want, FLOAT32) + narrow + self.share * magnitude + max(self.floor[gpu], flushed)


def silu_ulps_of_gpu(x):
    """4 for the division (2.5) and additions, and 3 + 2|x| of exp(-x) by its share in 1 + exp(-x)."""
    return 4 + np.where(np.abs(x) < 1e4, (3 + 2 * np.abs(x)) / (1 + np.exp(x)), 0)


_ROUNDED_ONCE = Tolerance("correct rounding is half a unit; WGSL promises one", ulps=(1, 1))
_BUILT_ON_EXP = Tolerance(
    "4 ulp for functions built on exp, of which WGSL promises less. From x = -88.7 on exp(-x) overflows and the "
    "result is -0, where the true value is above -3e-37. A GPU may divide by way of the reciprocal, which is "
    "subnormal, and flushed, for divisors above 2^126: from x = -87.3 on, where the true value is above -1.1e-36.",
    ulps=(4, silu_ulps_of_gpu),
    floor=(3e-37, 1.1e-36),
)
_SUM = Tolerance("a sum in float32, of any length and in any order", ulps=(0, 0), share=2e-6)
CONVERSION = Tolerance(
    "a CPU rounds to nearest; WGSL lets a GPU take either neighbour", ulps=(0.5, 1), narrow_ulps=(0.5, 1)
)


@dataclass(frozen=True)
class Operation:
    """What its tests need to know of an operation."""

    oracle: Callable  # of float64, or of wide integers
    tolerance: Tolerance
    operands: tuple  # shapes of operands that give a result of shape RESULT
    elementwise: bool = True


RESULT = (6, 5)
# An entry here puts an operation under the tests that all of its kind share.
OPERATIONS = {
    "add": Operation(np.add, _ROUNDED_ONCE, ((6, 5), (5,))),
    "subtract": Operation(np.subtract, _ROUNDED_ONCE, ((6, 1), (1, 5))),
    "multiply": Operation(np.multiply, _ROUNDED_ONCE, ((6, 5), (6, 5))),
    "silu": Operation(lambda x: x / (1 + np.exp(-x)), _BUILT_ON_EXP, ((6, 5),)),
    "matmul_vec": Operation(
        lambda w, x: np.matmul(w, x[..., None])[..., 0], _SUM, ((6, 5, 3), (3,)), elementwise=False
    ),
}


def ulp(value, dtype):
    """The distance between neighbouring numbers of the dtype at this value; subnormals all have the same."""
    info = ml_dtypes.finfo(dtype)
    exponent = np.frexp(np.abs(value))[1] - 1
    exponent = np.clip(np.where(value == 0, info.minexp, exponent), info.minexp, info.maxexp - 1)
    return np.ldexp(1.0, exponent - info.nmant)


def round_to(value, dtype):
    with np.errstate(all="ignore"):
        return np.asarray(value).astype(dtype)


def assert_close(got, want, op, dtype, magnitude=0.0, *, gpu=False, operands=()):
    """`got`, of this dtype, is `want` (float64, or wide integers) but for the tolerance of the operation."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == dtype, f"{op}: {got.dtype}, not {dtype}"
    assert got.shape == want.shape, f"{op}: shape {got.shape}, not {want.shape}"
    rounded = round_to(want, dtype)
    if dtype not in FLOATS:
        np.testing.assert_array_equal(got, rounded, err_msg=f"{op} of {dtype}")
        return

    finite = np.where(np.isfinite(want), want, 0)
    largest = float(ml_dtypes.finfo(dtype).max)
    with np.errstate(all="ignore"):
        tolerance = CONVERSION if op == "astype" else OPERATIONS[op].tolerance
        allowed = np.broadcast_to(tolerance.allowed(finite, dtype, magnitude, gpu, operands), want.shape)
        value = got.astype(np.float64)
        # Beside a finite true value an infinity counts as the number one step above the largest.
        error = np.abs(np.where(np.isinf(value), np.copysign(largest + ulp(largest, dtype), value), value) - want)
        right = (value == rounded.astype(np.float64)) | (np.isnan(value) & np.isnan(want))
        right |= np.isfinite(want) & (error <= allowed)
    if not right.all():
        unit = ulp(finite, dtype)
        first = np.unravel_index(np.argmin(right), right.shape)
        raise AssertionError(
            f"{op} of {dtype}: {np.count_nonzero(~right)} of {right.size} wrong, the first at {list(map(int, first))}: "
            f"{value[first]!r}, not {want[first]!r}: off by {error[first] / unit[first]:.3g} ulp, where "
            f"{allowed[first] / unit[first]:.3g} are allowed ({tolerance.reason})"
        )


def widen(operand, dtype):
    """The operand as the operation sees it, in a type where the oracle is exact or nearly so."""
    operand = native(operand)
    if dtype == BOOL:
        return operand
    return round_to(round_to(operand, dtype), np.float64) if dtype in FLOATS else operand.astype(np.int64)


def assert_right(op, got, *operands, device):
    """`got` is what the operation gives for these NumPy operands: its dtype, its shape, its values."""
    dtype = functools.reduce(promote, (native(operand).dtype for operand in operands))
    wide = [widen(operand, dtype) for operand in operands]
    with np.errstate(all="ignore"):
        want = OPERATIONS[op].oracle(*wide)
        magnitude = OPERATIONS[op].oracle(*map(np.abs, wide)) if OPERATIONS[op].tolerance.share else 0.0
    assert_close(got, want, op, dtype, magnitude, gpu=is_gpu(device), operands=wide)


def check(device, op, *operands):
    """Runs the operation on NumPy arrays and on tensors made of them; both must be right, each in its own type."""
    call = getattr(gk, op)
    from_numpy = call(*operands, device=device)
    assert isinstance(from_numpy, np.ndarray | np.generic)
    assert_right(op, from_numpy, *operands, device=device)

    from_tensors = call(*(gk.asarray(operand, device=device) for operand in operands))
    assert isinstance(from_tensors, gk.Tensor)
    assert from_tensors.device == device
    assert_right(op, from_tensors.numpy(), *operands, device=device)
