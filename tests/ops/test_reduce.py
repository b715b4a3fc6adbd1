"""sum, prod, max, min, any, all, mean, var, std, argmax, argmin and cumsum."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import gpukern as gk
from arrays import (
    BFLOAT16,
    BOOL,
    DTYPES,
    FLOAT16,
    FLOAT32,
    FLOATS,
    INT8,
    INT32,
    INTEGERS,
    LAID_OUT,
    UINT8,
    UINT32,
    assert_same,
    cycle,
    lay_out,
    layouts_of,
    sample,
    small,
)
from oracles import assert_close, assert_right, axes_of, check, count, is_gpu

AXES = ["sum", "prod", "max", "min", "any", "all", "mean", "var", "std"]  # any number of axes go
INDEX = ["argmax", "argmin"]  # one axis goes, or all
ONE_AXIS = [*INDEX, "cumsum"]
KEEP = [*AXES, *INDEX]  # take keepdims
NO_EMPTY = ["max", "min", "argmax", "argmin"]  # have no result of nothing
ALL = [*AXES, *ONE_AXIS]
every_reduction = pytest.mark.parametrize("op", ALL)
floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def axes_for(op, ndim):
    """Every axis from both ends, none, and some sets of axes in any order."""
    single = [None, *range(-ndim, ndim)]
    if op in ONE_AXIS:
        return single
    sets = [axes for count in range(ndim + 1) for axes in itertools.combinations(range(ndim), count)]
    return [*single, *sets, (-1, 0)[:ndim], tuple(reversed(range(ndim)))]


# Types and axes


@every_reduction
def test_every_axis_and_dtype(device, op):
    """Every axis and set of axes of one dtype, with and without keepdims; rows and columns of every dtype."""
    for keepdims in (False, True) if op in KEEP else (None,):
        for axis in axes_for(op, 3):
            keep = {} if keepdims is None else {"keepdims": keepdims}
            check(device, op, sample(FLOAT32, (3, 4, 5)), axis=axis, **keep)
    for dtype in DTYPES[1:]:
        for axis in (0, -1):
            check(device, op, sample(dtype, (3, 4, 5)), axis=axis)


@every_reduction
def test_positions_and_defaults(device, op):
    """All elements, unless an axis is given, by position or by name."""
    x = sample(FLOAT32, (3, 4))
    tensor = gk.asarray(x, device=device)
    function = getattr(gk, op)
    assert_right(op, function(tensor).numpy(), x, device=device, axis=None)
    assert_right(op, function(tensor, 1).numpy(), x, device=device, axis=1)
    assert_right(op, function(x, axis=np.int64(1), device=device), x, device=device, axis=1)
    if op in KEEP:
        assert function(tensor, keepdims=True).shape == (1, 1)


RESULTS = {
    "sum": {INT8: INT32, UINT8: INT32, INT32: INT32, UINT32: UINT32, BOOL: INT32, FLOAT16: FLOAT16},
    "prod": {INT8: INT32, UINT8: INT32, INT32: INT32, UINT32: UINT32, BOOL: INT32, BFLOAT16: BFLOAT16},
    "cumsum": {INT8: INT32, UINT8: INT32, INT32: INT32, UINT32: UINT32, BOOL: INT32, FLOAT16: FLOAT16},
    "mean": {INT8: FLOAT32, UINT32: FLOAT32, BOOL: FLOAT32, FLOAT16: FLOAT16},
    "max": {dtype: dtype for dtype in DTYPES},
    "any": dict.fromkeys(DTYPES, BOOL),
    "argmin": dict.fromkeys(DTYPES, INT32),
}


@pytest.mark.parametrize("op", RESULTS)
def test_dtypes_of_results(device, op):
    """Also where there are none."""
    for dtype, result in RESULTS[op].items():
        for shape in [(3,), (3, 2), (3, 0)]:
            assert getattr(gk, op)(gk.ones(shape, dtype, device=device), 0).dtype == result


@every_reduction
def test_a_single_number(device, op):
    """Without axes there is only axis=None, and axis=() where sets are taken."""
    for dtype in (FLOAT32, UINT8):
        x = sample(dtype, ())
        check(device, op, x)
        if op in AXES:
            check(device, op, x, axis=())
    for axis in (0, -1):
        with pytest.raises(gk.BoundsError, match=op):
            getattr(gk, op)(gk.ones((), device=device), axis)


@pytest.mark.parametrize("op", AXES)
def test_no_axis_at_all(device, op):
    """axis=() reduces single elements."""
    check(device, op, sample(FLOAT32, (3, 5)), axis=())
    check(device, op, sample(UINT8, (3, 5)), axis=())
    x = gk.asarray([2.0, 3.0], device=device, copy=True)
    got = getattr(gk, op)(x, ())
    x[:] = 0
    assert got.tolist() == {"any": [1, 1], "all": [1, 1], "var": [0, 0], "std": [0, 0]}.get(op, [2, 3])


# Layouts and shapes


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_layouts(device, dtype, layout):
    x = lay_out(sample(dtype, (5, 3, 37), 1), layout)
    for axis in (0, 1, 2):
        for op in ("sum", "argmin", "cumsum"):
            check(device, op, x, axis=axis)
    check(device, "max", x)
    check(device, "sum", x, axis=(0, 2))
    if dtype == FLOAT32:
        check(device, "var", x, axis=0)
        check(device, "var", x, axis=-1)


@given(data=st.data())
def test_any_shape_axes_and_layout(device, data):
    op = data.draw(st.sampled_from(ALL))
    dtype = data.draw(st.sampled_from((FLOAT32, FLOAT16, INT8, BOOL)))
    shape = data.draw(array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
    axis = data.draw(st.sampled_from(axes_for(op, len(shape))))
    x = lay_out(sample(dtype, shape), data.draw(st.sampled_from(layouts_of(dtype))))
    arguments = {"axis": axis} | ({"keepdims": data.draw(st.booleans())} if op in KEEP else {})
    kept = [length for place, length in enumerate(shape) if place not in axes_of(x, axis)]
    if op not in NO_EMPTY or count(x, axis):
        check(device, op, x, **arguments)
    elif 0 in kept:  # NumPy raises here too, for no result
        assert getattr(gk, op)(x, axis, device=device).shape == tuple(kept)
    else:
        with pytest.raises(gk.ShapeError, match=op):
            getattr(gk, op)(x, **arguments, device=device)


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, INT8], ids=str)
def test_views_of_tensors(device, dtype):
    """Any offset, which for packed dtypes is inside a word, gaps, backwards, repeated rows."""
    x = sample(dtype, (7, 9, 11))
    tensor = gk.asarray(x, device=device)
    keys = (np.s_[1:, 3:8, 2:9], np.s_[::-1, ::2, ::-3], np.s_[3], np.s_[:, 4], np.s_[..., 5], np.s_[2:2], np.s_[None])
    for key in keys:
        for op in ("sum", "argmax", "cumsum"):
            for axis in (0, -1):
                if x[key].size or op != "argmax":
                    got = getattr(gk, op)(tensor[key], axis)
                    assert_right(op, got.numpy(), x[key], device=device, axis=axis)
    for axis in (0, 2, None):
        assert_right("sum", gk.sum(tensor.T, axis).numpy(), x.T, device=device, axis=axis)


SIZES = [1, 2, 3, 4, 5, 31, 33, 64, 65, 255, 1000, 1025, 4099]


@pytest.mark.parametrize("op", ["sum", "argmax", "all", "var", "cumsum", "prod"])
@pytest.mark.parametrize("dtype", [FLOAT32, INT8], ids=str)
def test_every_length(device, op, dtype):
    """Rows and columns of every length: partial vectors, words, subgroups, workgroups."""
    for size in SIZES:
        x = sample(dtype, (3, size), size)
        if op == "prod" and dtype == FLOAT32:
            x = np.exp(x / 20)  # neither overflows nor vanishes
        check(device, op, x, axis=1)
        check(device, op, np.ascontiguousarray(x.T), axis=0)


# Sizes


LARGE_SHAPES = [
    pytest.param((100_003,), None, id="one long row"),
    pytest.param((3, 100_003), 1, id="long rows"),
    pytest.param((100_003, 3), 1, id="many short rows"),
    pytest.param((100_003, 3), 0, id="few long columns"),
    pytest.param((3, 100_003), 0, id="many short columns"),
    pytest.param((70_001, 1), 1, id="many rows of one"),
    pytest.param((300, 2, 501), 1, id="a middle axis of two"),
    pytest.param((3, 20_001, 5), 1, id="a long middle axis"),
    pytest.param((511, 257), 0, id="a matrix by columns"),
    pytest.param((511, 257), 1, id="a matrix by rows"),
    pytest.param((50, 60, 70), (0, 2), id="the outer axes"),
    pytest.param((50, 60, 70), (0, 1), id="the first axes"),
]


@pytest.mark.parametrize("op", ["sum", "argmin", "any", "var", "cumsum"])
@pytest.mark.parametrize(("shape", "axis"), LARGE_SHAPES)
def test_large_shapes(device, op, shape, axis):
    if op in ONE_AXIS and isinstance(axis, tuple):
        axis = axis[-1]
    check(device, op, cycle(FLOAT32, shape), axis=axis)
    if op == "sum":
        check(device, op, cycle(INT8, shape), axis=axis)
        check(device, "max", cycle(BFLOAT16, shape), axis=axis)
    if op == "any":
        check(device, op, np.zeros(shape, BOOL), axis=axis)


@pytest.mark.parametrize("op", ["sum", "mean", "max", "argmax", "std", "all", "cumsum"])
def test_four_million_in_a_row(plain_device, op):
    x = cycle(FLOAT32, 4_000_037)
    x[3_999_999] = 77
    check(plain_device, op, x)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8, BOOL], ids=str)
def test_more_than_a_float_can_count(plain_device, dtype):
    """A running sum of ones in float32 would stop at 2^24; integers are exact."""
    count = 2**25
    ones = gk.ones(count, dtype, device=plain_device)
    assert gk.sum(ones).item() == (np.inf if dtype == FLOAT16 else count)
    assert gk.mean(ones).item() == 1


@pytest.mark.large
def test_300_megabytes(plain_device):
    """Larger than lavapipe's bindings of 128 MiB, along either axis."""
    x = cycle(FLOAT32, (9_161, 8_191))
    tensor = gk.asarray(x, device=plain_device)
    assert gk.argmax(tensor).item() == np.argmax(x)
    for axis in (0, 1):
        got = gk.sum(tensor, axis).numpy()
        want, magnitude = (np.sum(part, axis, dtype=np.float64) for part in (x, np.abs(x)))
        assert_close(got, want, "sum", FLOAT32, magnitude, gpu=is_gpu(plain_device))
    del tensor
    plain_device.memory.empty()


@pytest.mark.large
def test_more_than_two_gigabytes_of_bytes():
    """On the CPU: the count itself passes 31 bits."""
    assert gk.sum(gk.ones(2**31 + 5, "int8", device="cpu")).item() == -(2**31) + 5  # int32 wraps around
    gk.get_device("cpu").memory.empty()


# Values


@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "mean", "var", "std", "argmax", "argmin", "cumsum"])
@floats
def test_special_values(device, op, dtype):
    """NaN and infinities, each in its own row, wherever in the row they stand."""
    x = np.ones((9, 70), dtype)
    x[1, 0], x[2, 69], x[3, 17], x[4, 33] = np.nan, np.nan, np.inf, -np.inf
    x[5, [3, 66]] = np.inf, -np.inf
    x[6, [66, 3, 50]] = np.inf, np.nan, np.nan
    x[7] = -np.inf
    x[8] = np.nan
    check(device, op, x, axis=1)
    check(device, op, x.T, axis=0)
    check(device, op, x[[0, 3]], axis=None)


@floats
def test_the_largest_number_beside_infinity(device, dtype):
    """What a maximum starts from must not be taken for an element."""
    for values in ([-np.inf], [-np.inf, -np.inf], [np.inf, np.inf], [float(ml_dtypes.finfo(dtype).min)], [-0.0, 0.0]):
        x = np.array(values).astype(dtype)
        for op in ("max", "min", "argmax", "argmin"):
            check(device, op, x)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_the_ends_of_integers(device, dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    for values in ([low], [high], [low, high], [high, low], [0, high // 2 + 1, 1]):
        for op in ("max", "min", "argmax", "argmin", "sum", "prod", "any", "all"):
            check(device, op, np.array(values, dtype))


@pytest.mark.parametrize("op", INDEX)
def test_ties_give_the_first(device, op):
    for dtype in DTYPES:
        for size in (2, 5, 64, 1000, 70_001):
            assert getattr(gk, op)(gk.ones(size, dtype, device=device)).item() == 0
    x = np.zeros((3, 5000), np.float32)
    best = 1 if op == "argmax" else -1
    x[0, [4999, 17, 300]] = best
    x[1, [4998, 4999]] = best
    x[2, [2048, 1024, 4096]] = np.nan
    assert getattr(gk, op)(gk.asarray(x, device=device), 1).tolist() == [17, 4998, 1024]
    assert getattr(gk, op)(gk.asarray(x.T, device=device), 0).tolist() == [17, 4998, 1024]
    zeros = gk.asarray([-0.0, 0.0, -0.0] if op == "argmax" else [0.0, -0.0, 0.0], device=device)
    assert getattr(gk, op)(zeros).item() == 0  # zeros are equal, whatever their sign


def test_any_and_all_of_what_is_not_one(device):
    """Whatever is not zero is true, NaN too."""
    for dtype in DTYPES:
        low = np.array([-1]).astype(dtype)[0]
        x = np.array([[0, 0, 0], [0, low, 0], [low, low, low]]).astype(dtype)
        if dtype in FLOATS:
            x[2] = np.nan, np.inf, 0.5
        for got, want in ((gk.any, [False, True, True]), (gk.all, [False, False, True])):
            assert got(gk.asarray(x, device=device), 1).tolist() == want


@pytest.mark.parametrize("op", ["sum", "prod", "cumsum"])
def test_integer_sums_wrap_around(device, op):
    for dtype in (INT32, UINT32):
        check(device, op, sample(dtype, 1000))
        check(device, op, np.full(1001, np.iinfo(dtype).max, dtype))
    assert gk.sum(gk.full(2, 2**31 - 1, "int32", device=device)).item() == -2
    assert gk.sum(gk.full(2, 2**32 - 1, "uint32", device=device)).item() == 2**32 - 2


def test_sums_of_bytes_have_32_bits(device):
    assert gk.sum(gk.full(1000, 255, "uint8", device=device)).item() == 255_000
    assert gk.sum(gk.full(1000, -128, "int8", device=device)).item() == -128_000
    assert gk.sum(gk.ones(1000, "bool", device=device)).item() == 1000
    assert gk.cumsum(gk.full(3, 100, "int8", device=device)).tolist() == [100, 200, 300]
    assert gk.prod(gk.full(4, 100, "int8", device=device)).item() == 10**8


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_narrow_floats_are_summed_in_float32(device, dtype):
    """Sums of ones in float16 would stop at 2048, in bfloat16 at 256; what is too large becomes infinite at the end."""
    ones = gk.ones(30_000, dtype, device=device)
    assert gk.sum(ones).item() == np.array(30_000).astype(dtype)
    assert gk.mean(ones).item() == 1
    assert gk.var(ones).item() == pytest.approx(0, abs=1e-12)
    assert gk.cumsum(ones).tolist()[-1] == np.array(30_000).astype(dtype)
    large = gk.full((2, 1000), 1000, dtype, device=device)
    assert gk.sum(large).item() == (np.inf if dtype == FLOAT16 else np.array(2e6).astype(dtype))
    assert gk.mean(large).item() == 1000
    assert gk.std(large * gk.asarray([[1], [-1]], device=device).astype(dtype)).item() == 1000
    assert gk.sum(large * gk.asarray([[1], [-1]], device=device).astype(dtype)).item() == 0


@floats
def test_a_sum_near_the_end_of_the_range(device, dtype):
    largest = {FLOAT32: 3.4e38, FLOAT16: 65504, BFLOAT16: 3.38e38}[dtype]
    for values in ([largest, largest], [-largest, -largest], [largest, -largest]):
        check(device, "sum", np.array(values).astype(dtype))
    if dtype == FLOAT16:  # whose sums are float32, which no order of these leaves
        check(device, "sum", np.array([largest, -largest, largest]).astype(dtype))


@pytest.mark.parametrize("size", [1000, 100_003])
def test_sums_that_cancel(device, size):
    """What is left is small beside the magnitudes, which the tolerance is of."""
    x = cycle(FLOAT32, size)
    check(device, "sum", np.concatenate([1e6 * x, -1e6 * x[::-1], x]))
    check(device, "cumsum", np.concatenate([1e6 * x, -1e6 * x[::-1], x]))


# mean, var and std


@pytest.mark.parametrize("shape", [(1000,), (7, 333), (100_003,), (3, 40_001)], ids=str)
@pytest.mark.parametrize("offset", [1e4, -1e4, 3e3, 1e6])
def test_a_mean_far_from_zero_keeps_its_variance(device, shape, offset):
    """1e4 ± 1: the difference of E[x²] and E[x]² would have lost it."""
    x = (offset + np.where(cycle(FLOAT32, shape) > 0, 1, -1)).astype(np.float32)
    for op in ("var", "std", "mean"):
        check(device, op, x, axis=-1)
        check(device, op, x.T, axis=0)
    if abs(offset) <= 1e4:
        got = gk.var(gk.asarray(x, device=device), -1).numpy()
        np.testing.assert_allclose(got, x.astype(float).var(-1), rtol=1e-5)


@pytest.mark.parametrize("correction", [0, 1, 0.5, 1.5])
def test_correction(device, correction):
    x = sample(FLOAT32, (5, 7))
    for op in ("var", "std"):
        for axis in (None, 0, 1, (0, 1)):
            check(device, op, x, axis=axis, correction=correction)
            check(device, op, x, axis=axis, correction=float(correction), keepdims=True)
        with pytest.raises(TypeError):
            getattr(gk, op)(x, 0, correction)  # by name alone


def test_as_many_corrections_as_elements(device):
    """Nothing is left to divide by: 0 / 0."""
    x = gk.ones((3, 1), device=device)
    assert np.isnan(gk.var(x, 1, correction=1).tolist()).all()
    assert np.isnan(gk.std(x, 1, correction=1).tolist()).all()


def test_equal_numbers_have_no_variance(device):
    for value in (0, 1, -3.5, 65504):
        x = np.full((3, 4097), value, np.float32)
        assert gk.var(x, 1, device=device) == pytest.approx(0, abs=1e-12 * value**2)
        assert gk.std(x, 1, device=device) == pytest.approx(0, abs=1e-6 * abs(value))


def test_large_and_small_numbers(device):
    """Squares of differences that float32 can still hold."""
    for scale in (1e-15, 1e-6, 1e6, 1e15):
        for op in ("mean", "var", "std"):
            check(device, op, (scale * sample(FLOAT32, (5, 100))).astype(np.float32), axis=1)


# cumsum


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, UINT8, BOOL], ids=str)
def test_cumsum_along_any_axis(device, dtype):
    x = cycle(dtype, (37, 41, 29))
    for axis in (None, 0, 1, 2, -1):
        check(device, "cumsum", x, axis=axis)


def test_a_long_cumsum_of_ones_is_exact(device):
    got = gk.cumsum(gk.ones(1_000_003, device=device)).numpy()
    assert_same(got, np.arange(1, 1_000_004, dtype=np.float32))


def test_a_cumsum_goes_on_after_nan_and_infinity(device):
    for value in (np.nan, np.inf):
        x = np.ones(5000, np.float32)
        x[1234] = value
        check(device, "cumsum", x)


# Nothing to reduce


EMPTY = {"sum": 0, "prod": 1, "any": False, "all": True, "mean": np.nan, "var": np.nan, "std": np.nan}


@pytest.mark.parametrize("op", EMPTY)
def test_results_of_nothing(device, op):
    for dtype in (FLOAT32, FLOAT16, INT8, BOOL):
        for shape, axis, result in [((0,), None, ()), ((3, 0), 1, (3,)), ((0, 3), 0, (3,)), ((2, 0, 3), (1, 2), (2,))]:
            got = getattr(gk, op)(gk.zeros(shape, dtype, device=device), axis)
            want = np.full(result, EMPTY[op]).astype(got.dtype)
            np.testing.assert_array_equal(got.numpy(), want)
            check(device, op, np.zeros(shape, dtype), axis=axis)
        check(device, op, np.zeros((0, 3), dtype), axis=1)
        check(device, op, np.zeros((0, 3), dtype), axis=1, keepdims=True)


@pytest.mark.parametrize("op", NO_EMPTY)
def test_nothing_has_no_largest_element(device, op):
    """But where there are no results either, none is missing."""
    function = getattr(gk, op)
    for shape, axis in [((0,), None), ((3, 0), 1), ((0, 3), 0), ((0, 3), None), ((2, 0), None)]:
        for x in (np.zeros(shape, np.float32), gk.zeros(shape, device=device)):
            with pytest.raises(gk.ShapeError, match=op) as caught:
                function(x, axis, device=device)
            assert str(shape) in str(caught.value)
    for x in (np.zeros((0, 3), np.float32), np.zeros((3, 0), np.int8).T):
        assert function(x, 1, device=device).shape == (0,)
    assert function(gk.zeros((0, 3), device=device), 1, keepdims=True).shape == (0, 1)


def test_cumsum_of_nothing(device):
    assert gk.cumsum(gk.zeros((0,), device=device)).shape == (0,)
    assert gk.cumsum(gk.zeros((3, 0), "int8", device=device)).shape == (0,)
    assert gk.cumsum(gk.zeros((3, 0), "int8", device=device), 0).shape == (3, 0)


# Bits


@pytest.mark.parametrize("op", ["sum", "prod", "mean", "var", "cumsum"])
@pytest.mark.parametrize(("shape", "axis"), [((1021, 50), 1), ((50, 1021), 0), ((300_007,), None)], ids=str)
def test_the_same_bits_every_time(device, op, shape, axis):
    """Whatever ran before, and wherever the operand lies."""
    x = cycle(FLOAT32, shape)
    if op == "prod":
        x = np.exp(x / 100)
    first = getattr(gk, op)(gk.asarray(x, device=device), axis).numpy()
    gk.max(gk.ones((333, 77), device=device), 0).numpy()
    assert_same(getattr(gk, op)(gk.asarray(x.copy(), device=device), axis), first)
    shifted = gk.zeros(x.size + 4, device=device)
    shifted[4:] = x.reshape(-1)
    assert_same(getattr(gk, op)(shifted[4:].reshape(shape), axis), first)


# Errors


@every_reduction
@pytest.mark.parametrize("axis", [2, -3, 100, 2**31, -(2**63)])
def test_an_axis_out_of_range(device, op, axis):
    for x in (np.ones((3, 4), np.float32), gk.ones((3, 4), device=device)):
        with pytest.raises(gk.BoundsError, match=op) as caught:
            getattr(gk, op)(x, axis, device=device)
        for word in ("axis", str(axis), "(3, 4)"):
            assert word in str(caught.value)


@pytest.mark.parametrize("op", AXES)
def test_axes_that_repeat_or_are_out_of_range(device, op):
    x = gk.ones((3, 4), device=device)
    for axes in ((0, 0), (1, -1), (0, 1, 0)):
        with pytest.raises(gk.ShapeError, match=op) as caught:
            getattr(gk, op)(x, axes)
        assert "axis" in str(caught.value)
    for axes in ((0, 2), (-3,), (5, 5)):
        with pytest.raises(gk.BoundsError, match=op):
            getattr(gk, op)(x, axes)


@every_reduction
@pytest.mark.parametrize("axis", [1.0, "0", True, (0, 1.5), (True,), {}, np.float32(1), 2**70], ids=repr)
def test_an_axis_that_is_no_axis(device, op, axis):
    """A bool is an integer to Python, but no axis; a number beyond 64 bits is out of any range."""
    with pytest.raises((TypeError, gk.ArgumentError, gk.BoundsError)) as caught:
        getattr(gk, op)(gk.ones((3, 4), device=device), axis)
    assert "axis" in str(caught.value)


@pytest.mark.parametrize("op", ONE_AXIS)
def test_one_axis_only(device, op):
    with pytest.raises((TypeError, gk.ArgumentError)) as caught:
        getattr(gk, op)(gk.ones((3, 4), device=device), (0, 1))
    assert "axis" in str(caught.value)


@pytest.mark.parametrize("op", ["var", "std"])
@pytest.mark.parametrize("correction", ["1", None, [1]], ids=repr)
def test_a_correction_that_is_no_number(device, op, correction):
    with pytest.raises((TypeError, gk.ArgumentError), match="correction"):
        getattr(gk, op)(gk.ones(3, device=device), correction=correction)


@pytest.mark.parametrize("op", KEEP)
def test_an_out_without_the_axis_that_is_kept(device, op):
    x = sample(FLOAT32, (3, 4))
    dtype = getattr(gk, op)(x).dtype
    out = gk.zeros((3, 1), dtype, device=device)
    assert getattr(gk, op)(gk.asarray(x, device=device), 1, keepdims=True, out=out) is out
    assert_right(op, out.numpy(), x, device=device, axis=1, keepdims=True)
    with pytest.raises(gk.ShapeError, match="out") as caught:
        getattr(gk, op)(gk.asarray(x, device=device), 1, out=out)
    for shape in ("(3,)", "(3, 1)"):
        assert shape in str(caught.value)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, UINT8], ids=str)
def test_out_of_a_reduction_is_part_of_its_operand(device, dtype):
    """As if it had been copied first."""
    before = small(dtype, (40, 40))
    for op, part in itertools.product(("max", "min"), (np.s_[:, 3], np.s_[5], np.s_[::-1, 0])):
        tensor = gk.asarray(before, device=device, copy=True)
        getattr(gk, op)(tensor, 1, out=tensor[part])
        want = before.copy()
        want[part] = getattr(np, op)(before, 1)
        assert_same(tensor, want)


# Methods of Tensor


@pytest.mark.parametrize("op", KEEP)
def test_the_method_is_the_function(device, op):
    """By position or by name."""
    x = sample(FLOAT32, (3, 4, 5))
    tensor = gk.asarray(x, device=device)
    method = getattr(tensor, op)
    assert_right(op, method().numpy(), x, device=device, axis=None)
    assert_right(op, method(-1).numpy(), x, device=device, axis=-1)
    assert_right(op, method(axis=0, keepdims=True).numpy(), x, device=device, axis=0, keepdims=True)
    if op in AXES:
        assert_right(op, method((0, 2)).numpy(), x, device=device, axis=(0, 2))
    if op in ("var", "std"):
        assert_right(op, method(1, correction=1).numpy(), x, device=device, axis=1, correction=1)


@pytest.mark.parametrize("op", KEEP)
def test_wrong_calls_of_methods(plain_device, op):
    """Are told as the function's are."""
    tensor = gk.ones((2, 3), device=plain_device)
    with pytest.raises(gk.BoundsError, match=f"{op}: axis 2 is out of range for shape"):
        getattr(tensor, op)(2)
    with pytest.raises(gk.ArgumentError, match=f"{op}: axis='rows' must be"):
        getattr(tensor, op)("rows")


def test_numpy_functions_reduce_on_the_device(device):
    x = np.float32([[1, 2, 3], [4, 5, 7]])
    t = gk.asarray(x, device=device)
    for function in (np.sum, np.prod, np.max, np.min, np.any, np.all, np.argmax, np.argmin):
        got = function(t, axis=1)
        assert got.device == device
        np.testing.assert_array_equal(got.numpy(), function(x, axis=1))


@pytest.mark.parametrize("op", KEEP)
def test_methods_write_to_out(device, op):
    t = gk.asarray(np.float32([[1, 2, 3], [4, 5, 7]]), device=device)
    want = getattr(gk, op)(t, 1)
    out = gk.empty(want.shape, want.dtype, device=device)
    assert getattr(t, op)(1, out=out) is out
    assert out.tolist() == want.tolist()


def test_what_keepdims_takes(device):
    t = gk.ones((2, 3), device=device)
    for true, false in [(True, False), (1, 0), (np.True_, np.False_)]:
        assert gk.sum(t, keepdims=true).shape == t.sum(keepdims=true).shape == (1, 1)
        assert gk.sum(t, keepdims=false).shape == ()
