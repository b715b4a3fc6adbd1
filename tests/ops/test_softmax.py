"""softmax and log_softmax."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import gpukern as gk
from arrays import BFLOAT16, FLOAT16, FLOAT32, FLOATS, assert_same, cycle, lay_out, layouts_of, sample
from oracles import assert_right, check

BOTH = ["softmax", "log_softmax"]
both = pytest.mark.parametrize("op", BOTH)
floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def test_in_numbers(device):
    """Neither large nor small numbers leave the range: the maximum is subtracted first."""
    for x in ([1000.0, 1001.0], [0.0, 1.0], [-1001.0, -1000.0], [3e38, 3e38]):
        want = [0.5, 0.5] if x[0] == x[1] else [0.26894142, 0.73105858]
        assert gk.softmax(gk.asarray(x, device=device)).tolist() == pytest.approx(want, rel=1e-5)
        assert gk.log_softmax(gk.asarray(x, device=device)).tolist() == pytest.approx(np.log(want), rel=1e-5)


@both
@floats
def test_every_axis(device, op, dtype):
    x = sample(dtype, (3, 4, 5))
    for axis in range(-3, 3):
        check(device, op, x, axis=axis)
    tensor = gk.asarray(x, device=device)
    assert_right(op, getattr(gk, op)(tensor).numpy(), x, device=device)
    assert_right(op, getattr(gk, op)(tensor, 0).numpy(), x, device=device, axis=0)


@both
@floats
@pytest.mark.parametrize("size", [1, 2, 3, 31, 255, 1000, 4097])
def test_every_length(device, op, dtype, size):
    """Rows and columns that leave a part of every vector, word, subgroup and workgroup."""
    x = (3 * sample(FLOAT32, (5, size))).astype(dtype)
    check(device, op, x)
    check(device, op, np.ascontiguousarray(x.T), axis=0)


@both
@floats
def test_rows_longer_than_a_workgroup_can_hold(device, op, dtype):
    """And longer than bindings of 64 KiB."""
    check(device, op, cycle(dtype, (3, 100_003)))
    check(device, op, cycle(dtype, (20_011, 3)), axis=0)


@both
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((100_003, 3), 1), ((3, 100_003), 0), ((70_001, 1), 1), ((2, 1025, 33), 1), ((300, 2, 51), 1), ((511, 257), 0)],
    ids=str,
)
def test_many_rows(device, op, shape, axis):
    check(device, op, cycle(FLOAT32, shape), axis=axis)


@both
def test_four_million_in_a_row(plain_device, op):
    check(plain_device, op, cycle(FLOAT32, (1, 4_000_000)))


@both
@given(data=st.data())
def test_any_shape_axis_and_layout(device, op, data):
    dtype = data.draw(st.sampled_from(FLOATS))
    shape = data.draw(array_shapes(max_dims=4, min_side=0, max_side=7))
    x = lay_out(sample(dtype, shape), data.draw(st.sampled_from(layouts_of(dtype))))
    check(device, op, x, axis=data.draw(st.integers(-len(shape), len(shape) - 1)))


@both
def test_views_of_tensors(device, op):
    for dtype in (FLOAT32, FLOAT16):
        x = sample(dtype, (7, 9, 33))
        for key in (np.s_[1:, 3:8, 2:9], np.s_[::-1, ::2, ::-3], np.s_[3], np.s_[:, 4], np.s_[..., 5], np.s_[2:2]):
            got = getattr(gk, op)(gk.asarray(x, device=device)[key])
            assert_right(op, got.numpy(), x[key], device=device)


@both
@floats
def test_special_values(device, op, dtype):
    """A row of -inf gives NaN, as the formula has it, and so does any NaN or +inf; a single -inf is a zero."""
    x = sample(dtype, (8, 70))
    x[0] = -np.inf
    x[1, 17] = -np.inf
    x[2, 69] = np.inf
    x[3, 0] = np.nan
    x[4, 1:] = -np.inf
    x[5, [3, 66]] = np.inf, -np.inf
    x[6] = np.finfo(np.float16).max * np.where(np.arange(70) % 2, 1, -1)
    check(device, op, x)
    check(device, op, np.ascontiguousarray(x.T), axis=0)
    got = gk.softmax(gk.asarray(x, device=device)).numpy().astype(float)
    assert np.isnan(got[[0, 2, 3, 5]]).all()
    assert got[1, 17] == 0
    assert got[4].tolist() == [1] + [0] * 69


def test_special_values_in_a_long_row(device):
    """The parts of a row that is cut may consist of -inf alone, and NaN may be in one part only."""
    x = np.full((4, 50_021), -np.inf, np.float32)
    x[0, 49_000] = 5
    x[1] = cycle(FLOAT32, 50_021)
    x[1, 12_345] = np.nan
    x[2, [10, 40_000]] = 1, 2
    for op in BOTH:
        check(device, op, x)


@both
def test_numbers_far_apart(device, op):
    """exp over its range, and beyond it: probabilities become subnormal, then zero; their logarithms do not."""
    x = np.float32([np.linspace(0, -80, 1001), np.linspace(-300, 0, 1001), np.geomspace(1e-3, 3e38, 1001)])
    check(device, op, x)
    check(device, op, np.float32([[-3.4e38, 3.4e38], [1e-45, 0], [0, -103.5]]))


@floats
def test_probabilities_sum_to_one(device, dtype):
    p = gk.softmax(gk.asarray(cycle(dtype, (7, 5003)), device=device)).numpy().astype(np.float64)
    np.testing.assert_allclose(p.sum(-1), 1, rtol={FLOAT32: 4e-6, FLOAT16: 2e-3, BFLOAT16: 8e-3}[dtype])


def test_composed_of_its_parts(device):
    """In twice the tolerance: each of the two may use it up."""
    x = gk.asarray(3 * sample(FLOAT32, (5, 333)), device=device)
    for axis in (0, 1):
        powers = gk.exp(x - gk.max(x, axis, keepdims=True))
        parts = powers / gk.sum(powers, axis, keepdims=True)
        np.testing.assert_allclose(gk.softmax(x, axis).numpy(), parts.numpy(), rtol=1e-5)
        np.testing.assert_allclose(gk.log_softmax(x, axis).numpy(), gk.log(parts).numpy(), rtol=1e-5, atol=1e-5)


@both
def test_empty_rows_and_no_rows(device, op):
    for shape in [(0,), (3, 0), (0, 3), (2, 0, 3)]:
        for axis in range(len(shape)):
            check(device, op, np.zeros(shape, np.float32), axis=axis)


@both
def test_no_axes(device, op):
    with pytest.raises((gk.BoundsError, gk.ShapeError), match=op):
        getattr(gk, op)(gk.ones((), device=device))


@both
@pytest.mark.parametrize("axis", [3, -4, 2**40])
def test_an_axis_out_of_range(device, op, axis):
    for x in (np.ones((2, 3, 4), np.float32), gk.ones((2, 3, 4), device=device)):
        with pytest.raises(gk.BoundsError, match=op) as caught:
            getattr(gk, op)(x, axis, device=device)
        for word in ("axis", str(axis), "(2, 3, 4)"):
            assert word in str(caught.value)


@both
@pytest.mark.parametrize("axis", [None, 1.0, "0", (0,), True], ids=repr)
def test_an_axis_that_is_no_axis(device, op, axis):
    with pytest.raises((TypeError, gk.ArgumentError), match="axis"):
        getattr(gk, op)(gk.ones((2, 3), device=device), axis)


@both
@floats
def test_in_place(device, op, dtype):
    """Rows in memory may be their own result, whether they fit a workgroup or not."""
    for shape in [(5, 33), (2, 20_011)]:
        for axis in (0, 1):
            x = cycle(dtype, shape)
            tensor = gk.asarray(x, device=device, copy=True)
            assert getattr(gk, op)(tensor, axis, out=tensor) is tensor
            assert_right(op, tensor.numpy(), x, device=device, axis=axis)


@both
@pytest.mark.parametrize("shape", [(50, 1021), (3, 100_003)], ids=str)
def test_the_same_bits_every_time(device, op, shape):
    x = cycle(FLOAT32, shape)
    first = getattr(gk, op)(gk.asarray(x, device=device)).numpy()
    gk.silu(gk.ones((333, 77), device=device)).numpy()
    assert_same(getattr(gk, op)(gk.asarray(x.copy(), device=device)), first)
