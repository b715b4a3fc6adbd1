"""The tests' own measure: what it must let pass, and what it must not."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from arrays import (
    BFLOAT16,
    BOOL,
    DTYPES,
    FLOAT16,
    FLOAT32,
    FLOATS,
    LAYOUTS,
    WRITEABLE_LAYOUTS,
    assert_same,
    lay_out,
    layouts_of,
    native,
    sample,
)
from oracles import (
    OPERATIONS,
    assert_close,
    assert_right,
    common_dtype,
    operands_of,
    promote,
    round_to,
    to_float,
    ulp,
    widen,
)

floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
BITS = {FLOAT32: np.uint32, FLOAT16: np.uint16, BFLOAT16: np.uint16}


def next_after(values, dtype, steps):
    """The positive numbers that come so many places later in the dtype."""
    return (values.view(BITS[dtype]).astype(np.int64) + steps).astype(BITS[dtype]).view(dtype)


def is_close(got, want, op="add", **options):
    try:
        assert_close(got, want, op, got.dtype, **options)
    except AssertionError:
        return False
    return True


@floats
def test_ulp_is_the_distance_to_the_next_number(dtype):
    bits = np.arange(1, 0x7F00, 37) << (16 if dtype == FLOAT32 else 0)
    numbers = bits.astype(BITS[dtype]).view(dtype)
    numbers = np.concatenate([numbers, next_after(np.zeros(1, dtype), dtype, 1)])
    numbers = numbers[numbers < ml_dtypes.finfo(dtype).max / 2]
    steps = next_after(numbers, dtype, 1).astype(np.float64) - numbers.astype(np.float64)
    assert len(numbers) > 500
    np.testing.assert_array_equal(ulp(numbers.astype(np.float64), dtype), steps)
    assert ulp(0.0, dtype) == float(ml_dtypes.finfo(dtype).smallest_subnormal)


@floats
def test_one_place_is_close_and_three_are_not(dtype):
    want = np.array([1.1, 3.0, 777.0, 2.0**-130, 2.0**-149, 2.0**-20]).astype(dtype)
    want = want[want != 0]
    for number in want:
        place = np.array([number])
        assert is_close(place, place.astype(np.float64))
        assert is_close(next_after(place, dtype, 1), place.astype(np.float64))
        assert not is_close(next_after(place, dtype, 3), place.astype(np.float64))


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_every_oracle_is_within_its_own_tolerance(op, backend):
    """Rounded to the dtype of the result it passes, of the shape that the table says; one far off does not."""
    operation = OPERATIONS[op]
    device = SimpleNamespace(backend=backend)
    for dtype in filter(operation.accepts, DTYPES):
        operands = operands_of(op, dtype)
        common = common_dtype(op, operands)
        computed = to_float(common) if operation.result is to_float else common
        wide = [
            widen(operand, operand.dtype if operation.is_fixed(place) else computed)
            for place, operand in enumerate(operands)
        ]
        with np.errstate(all="ignore"):
            got = round_to(operation.oracle(*wide, **operation.arguments), operation.result(common))
        assert got.shape == operation.shape
        assert_right(op, got, *operands, device=device, **operation.arguments)
        wrong = ~got if got.dtype == BOOL else np.where(got.astype(float) == np.inf, 1, got * 2 + 1).astype(got.dtype)
        with pytest.raises(AssertionError, match=op):
            assert_right(op, wrong, *operands, device=device, **operation.arguments)


def test_a_gpu_may_flush_what_a_cpu_must_keep():
    x = np.float32([1e-40, -1e-40, 1.0])
    for backend, right in (("cpu", False), ("vulkan", True)):
        device = SimpleNamespace(backend=backend)
        for op, flushed in (("reciprocal", [np.inf, np.inf, 1]), ("rsqrt", [np.inf, np.nan, 1]), ("sign", [0, 0, 1])):
            got = np.float32(flushed)
            try:
                assert_right(op, got, x, device=device)
            except AssertionError:
                assert not right, op
            else:
                assert right, op
        with pytest.raises(AssertionError):
            assert_right("reciprocal", np.float32([0, 0, 1]), x, device=device)


def test_what_a_quotient_is_rounded_to():
    """A GPU may find the neighbour where the quotient is nearly whole, but nowhere else."""
    gpu, x, y = SimpleNamespace(backend="vulkan"), np.float32([2.1, 2.2]), np.float32([0.7, 0.7])
    assert_right("floor_divide", np.float32([2, 3]), x, y, device=gpu)
    assert_right("floor_divide", np.float32([3, 3]), x, y, device=gpu)
    for wrong in ([3, 4], [3, 2], [1, 3]):
        with pytest.raises(AssertionError):
            assert_right("floor_divide", np.float32(wrong), x, y, device=gpu)


@floats
@pytest.mark.parametrize("op", ["add", "silu", "matmul_vec", "astype"])
@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
def test_what_is_no_number_must_match(dtype, op, gpu):
    numbers = [np.nan, np.inf, -np.inf, 1.0]
    options = {"gpu": gpu, "operands": (np.ones(1),), "magnitude": np.array([np.inf])}
    for got in numbers:
        for want in numbers:
            same = got == want or (np.isnan(got) and np.isnan(want))
            if want == 1.0 and op == "matmul_vec":
                continue  # no finite sum has infinite terms
            assert is_close(np.array([got]).astype(dtype), np.array([want]), op, **options) == same


@floats
def test_the_end_of_the_range(dtype):
    largest = float(ml_dtypes.finfo(dtype).max)
    step = float(ulp(largest, dtype))
    infinite, finite = np.array([np.inf]).astype(dtype), np.array([largest]).astype(dtype)
    assert is_close(infinite, np.array([largest + step / 2]))
    assert is_close(infinite, np.array([10 * largest]))
    assert not is_close(finite, np.array([10 * largest]))
    assert not is_close(infinite, np.array([largest - 3 * step]))
    assert not is_close(-infinite, np.array([10 * largest]))


def test_dtype_and_shape_must_match():
    assert is_close(np.ones(3, np.float32), np.ones(3))
    for got in (np.ones(3, np.float16), np.ones((1, 3), np.float32)):
        with pytest.raises(AssertionError):
            assert_close(got, np.ones(3), "add", FLOAT32)


def test_integers_must_be_equal():
    assert is_close(np.array([-128], np.int8), np.array([128]))
    assert not is_close(np.array([-127], np.int8), np.array([128]))


def test_sums_are_measured_by_their_magnitude():
    got = np.array([1.001], np.float32)
    assert is_close(got, np.ones(1), "matmul_vec", magnitude=np.array([1000.0]))
    assert not is_close(got, np.ones(1), "matmul_vec", magnitude=np.array([100.0]))


def test_promotion_is_symmetric_and_follows_numpy():
    """NumPy's own answer, where it is one of ours and no integer meets a float."""
    for left in DTYPES:
        for right in DTYPES:
            assert promote(left, right) == promote(right, left)
            if BFLOAT16 not in (left, right) and (left in FLOATS) == (right in FLOATS):
                numpy = np.promote_types(left, right)
                if numpy in DTYPES:
                    assert promote(left, right) == numpy
                else:
                    assert promote(left, right) == {np.dtype(np.int16): np.int32}.get(numpy)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (6,), (3, 4), (2, 3, 4)], ids=str)
def test_layouts_hold_the_same_values(dtype, shape):
    x = sample(dtype, shape)
    for layout in layouts_of(dtype):
        if layout != "broadcast":
            assert_same(native(lay_out(x, layout)), x)


def test_layouts_are_what_they_say():
    x = sample(FLOAT32, (3, 4, 5))
    laid_out = {layout: lay_out(x, layout) for layout in LAYOUTS}
    assert laid_out["F"].strides == (4, 12, 48)
    assert laid_out["permuted"].strides == (16, 4, 48)
    assert laid_out["reversed"].strides == (-80, -20, -4)
    assert laid_out["step"].strides == (640, 80, 8)
    assert laid_out["broadcast"].strides[0] == 0
    assert not laid_out["misaligned"].flags.aligned
    assert not laid_out["big-endian"].dtype.isnative
    assert not laid_out["read-only"].flags.writeable
    assert all(laid_out[layout].flags.writeable for layout in WRITEABLE_LAYOUTS)
