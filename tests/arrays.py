"""Test arrays: every dtype, the values where they are special, and every memory layout that NumPy can hand over."""

import ml_dtypes
import numpy as np
import pytest

FLOATS = tuple(np.dtype(dtype) for dtype in (np.float32, np.float16, ml_dtypes.bfloat16))
INTEGERS = tuple(np.dtype(dtype) for dtype in (np.int32, np.uint32, np.int8, np.uint8))
BOOL = np.dtype(bool)
DTYPES = (*FLOATS, *INTEGERS, BOOL)
FLOAT32, FLOAT16, BFLOAT16 = FLOATS
INT32, UINT32, INT8, UINT8 = INTEGERS


def kind(dtype):
    """f, i or b: float, integer or bool."""
    return "f" if dtype in FLOATS else "b" if dtype == BOOL else "i"


def sample(dtype, shape, seed=0):
    """Random values: normal floats, integers from their whole range, both booleans."""
    random = np.random.default_rng(seed)
    if dtype in FLOATS:
        return np.asarray(random.standard_normal(shape)).astype(dtype)
    low, high = (0, 1) if dtype == BOOL else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.asarray(random.integers(low, high, shape, endpoint=True)).astype(dtype)


def small(dtype, shape, seed=0):
    """Random whole numbers from 0 to 5: sums and products of two are exact in every dtype, and dtypes keep them."""
    return np.asarray(np.random.default_rng(seed).integers(0, 5, shape, endpoint=True)).astype(dtype)


def cycle(dtype, shape):
    """A large random array, quickly: a sample of prime length over and over, so that no two rows are alike."""
    return np.resize(sample(dtype, 1_000_003), shape)


def specials(dtype):
    """Where arithmetic is special: zeros, infinities, NaN, halves, the ends of the range; all bools."""
    if dtype == BOOL:
        return np.array([False, True])
    if dtype in INTEGERS:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        numbers = [low, low + 1, 0, 1, 2, 3, 7, 8, 9, 31, 32, 100, high // 2, high // 2 + 1, high - 1, high]
        return np.array(numbers + ([-1, -2, -3, -7, -8, -31] if low else []), dtype)
    info = ml_dtypes.finfo(dtype)
    positive = [0.0, float(info.max), float(info.smallest_normal), 0.5, 1.0, 1.5, 2.5, 3.0, np.inf]
    return np.array([*positive, *(-value for value in positive), np.nan]).astype(dtype)


def subnormals(dtype):
    """Among them zero and the largest; every subnormal number of float16 is a normal one of float32."""
    info = ml_dtypes.finfo(dtype)
    count = 2**info.nmant - 1
    return (float(info.smallest_subnormal) * np.array([0, 1, 2, 3, 5, 100, count, -1, -7, -count])).astype(dtype)


def all_bits(dtype):
    """Every number that 16 bits can be."""
    return np.arange(65_536, dtype=np.uint16).view(dtype)


def random_bits(count, seed=0):
    """float32 numbers of every size, NaNs with payloads among them."""
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32).view(np.float32)


def every(shape, step):
    """The index that takes every step-th element of each axis."""
    return (slice(None, None, step),) * len(shape) + (...,)


def stepped(array):
    """Every second element of a larger array, whose gaps hold something else."""
    wide = np.full([2 * length for length in array.shape], 77, array.dtype)
    wide[every(array.shape, 2)] = array
    return wide[every(array.shape, 2)]


def permuted(array):
    """The last axis outermost in memory."""
    return np.moveaxis(np.moveaxis(array, -1, 0).copy(), 0, -1) if array.ndim else array


def misaligned(array):
    """One byte past every alignment."""
    view = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


LAYOUTS = {
    "C": lambda array: array.copy("C"),
    "F": lambda array: array.copy("F"),
    "permuted": permuted,
    "reversed": lambda array: array[every(array.shape, -1)].copy()[every(array.shape, -1)],
    "step": stepped,
    "broadcast": lambda array: np.broadcast_to(array[:1], array.shape) if array.ndim else array,
    "misaligned": misaligned,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "read-only": read_only,
}
WRITEABLE_LAYOUTS = ("C", "F", "permuted", "reversed", "step", "misaligned")


def lay_out(array, layout):
    """The array in the named layout. `broadcast` repeats the first row: take what comes back as the truth."""
    return LAYOUTS[layout](array)


def layouts_of(dtype):
    """The layouts that the dtype has: one byte has no order, and bfloat16 only the machine's."""
    has_order = dtype.itemsize > 1 and dtype != BFLOAT16
    return [layout for layout in LAYOUTS if layout != "big-endian" or has_order]


LAID_OUT = [pytest.param(dtype, layout, id=f"{dtype}-{layout}") for dtype in DTYPES for layout in layouts_of(dtype)]


def native(array):
    """The array in the machine's byte order."""
    array = np.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def assert_same(got, want):
    """Equal in dtype, shape and every bit, NaNs and the sign of zero included."""
    got, want = np.asarray(got), native(want)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if got.tobytes() != want.tobytes():
        np.testing.assert_array_equal(got, want)
        raise AssertionError(f"equal values, other bits:\n{got!r}\n{want!r}")
