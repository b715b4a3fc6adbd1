"""rms_norm, layer_norm, group_norm and l2_norm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import gpukern as gk
from arrays import BFLOAT16, FLOAT16, FLOAT32, FLOATS, assert_same, cycle, lay_out, layouts_of, sample
from oracles import assert_right, call, check, promote, tensors_of

ROWS = ["rms_norm", "layer_norm", "l2_norm"]
SCALED = ["rms_norm", "layer_norm", "group_norm"]
NORMS = [*ROWS, "group_norm"]
rows = pytest.mark.parametrize("op", ROWS)
norms = pytest.mark.parametrize("op", NORMS)
floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def arguments_of(op):
    return {"l2_norm": {"eps": 1e-6}, "group_norm": {"groups": 1}}.get(op, {})


def scales(op, dtype, n):
    """Weight and bias of as many elements."""
    return () if op == "l2_norm" else (sample(dtype, n, 11), sample(dtype, n, 12))


# Values


def test_rms_norm_in_numbers(device):
    x = gk.asarray([1.0, 2, 3, 4], device=device)
    assert gk.rms_norm(x, eps=1e-5).tolist() == pytest.approx(np.arange(1, 5) / np.sqrt(7.5 + 1e-5), rel=2e-6)
    assert gk.rms_norm(x, eps=0.5).tolist() == pytest.approx(np.arange(1, 5) / np.sqrt(8), rel=2e-6)
    got = gk.rms_norm(x, gk.asarray([1.0, 2, 3, 4], device=device), bias=gk.ones(4, device=device), eps=1e-5)
    assert got.tolist() == pytest.approx(1 + np.arange(1, 5) ** 2 / np.sqrt(7.5 + 1e-5), rel=2e-6)


def test_layer_norm_in_numbers(device):
    x = gk.asarray([1.0, 2, 3, 4], device=device)
    want = np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25 + 1e-5)
    assert gk.layer_norm(x).tolist() == pytest.approx(want, rel=4e-6)
    got = gk.layer_norm(x, gk.full(4, 2.0, device=device), gk.ones(4, device=device))
    assert got.tolist() == pytest.approx(1 + 2 * want, rel=4e-6)


def test_group_norm_in_numbers(device):
    """Two groups of two channels, each with two places."""
    x = gk.asarray([[[1.0, 2], [3, 4], [10, 20], [30, 40]]], device=device)
    small = np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25 + 1e-5)
    large = np.array([-15, -5, 5, 15]) / np.sqrt(125 + 1e-5)
    want = np.concatenate([small, large])
    assert gk.group_norm(x, 2).numpy().ravel().tolist() == pytest.approx(want, rel=4e-6)
    weight, bias = gk.asarray([1.0, 2, 3, 4], device=device), gk.asarray([0.0, 0, 1, 1], device=device)
    want = want * np.repeat([1, 2, 3, 4], 2) + np.repeat([0, 0, 1, 1], 2)
    assert gk.group_norm(x, 2, weight, bias).numpy().ravel().tolist() == pytest.approx(want, rel=4e-6)


def test_l2_norm_in_numbers(device):
    assert gk.l2_norm(gk.asarray([3.0, 4.0], device=device)).tolist() == pytest.approx([0.6, 0.8], rel=4e-6)
    assert gk.l2_norm(gk.asarray([3.0, 4.0], device=device), eps=11).tolist() == pytest.approx([0.5, 2 / 3], rel=4e-6)


@norms
def test_a_default_eps(device, op):
    """It is small beside ordinary numbers, and keeps zeros from becoming NaN."""
    groups = (2,) if op == "group_norm" else ()
    assert getattr(gk, op)(gk.zeros((3, 4), device=device), *groups).tolist() == [[0] * 4] * 3
    x = 100 * sample(FLOAT32, (3, 4))
    got = getattr(gk, op)(gk.asarray(x, device=device), *groups)
    named = {"groups": 2} if groups else {}
    assert_right(op, got.numpy(), x, device=device, eps=1e-5 if op != "l2_norm" else 1e-12, **named)


@norms
def test_eps_of_zero(device, op):
    x = sample(FLOAT32, (3, 8))
    check(device, op, x, **(arguments_of(op) | {"eps": 0.0}))


@rows
@floats
def test_large_numbers_do_not_overflow(device, op, dtype):
    """Their squares leave the range of float32, and their sums that of float16: 1e19 and 65504.

    Layer norm is asked for less: its variance has to be a float32.
    """
    for n in (4, 333, 20_011):
        x = cycle(dtype, (3, n))
        for largest in (65_504,) if dtype == FLOAT16 else (1e15,) if op == "layer_norm" else (1e19, 1e30, 1e38):
            far = (np.clip(x.astype(float), -1, 1) * largest).astype(dtype)
            for operand in (far, np.full((2, n), largest, dtype)):
                if op == "layer_norm" and operand is not far:
                    continue  # what is left of equal numbers is an error of the mean
                got = call(op, tensors_of([operand, *scales(op, FLOAT32, n)], device), **arguments_of(op)).numpy()
                assert np.isfinite(got.astype(float)).all()
                check(device, op, operand, **arguments_of(op))


@rows
@floats
def test_small_numbers_are_scaled_up(device, op, dtype):
    """As far as eps lets them: their squares underflow."""
    tiny = 2.0**-14 if dtype == FLOAT16 else 1e-18
    for scale in (1, tiny):
        x = (scale * (1 + np.abs(sample(FLOAT32, (3, 100))))).astype(dtype)
        for eps in (1e-5, 1e-12):
            check(device, op, x, eps=eps)


@floats
def test_small_numbers_with_a_small_eps(device, dtype):
    """Where eps is nothing, the result is of ordinary size however small the numbers are."""
    for scale in (2.0**-14,) if dtype == FLOAT16 else (1e-10, 1e-15):
        x = (scale * (1 + np.abs(sample(FLOAT32, (3, 100))))).astype(dtype)
        for op in ("rms_norm", "l2_norm"):
            for eps in (1e-37, 0.0):
                check(device, op, x, eps=eps)


@pytest.mark.parametrize("n", [4, 100, 1000, 4097, 100_003])
def test_a_mean_far_from_zero_keeps_its_variance(device, n):
    """1e4 ± 1: the difference of E[x²] and E[x]² would be noise."""
    x = (1e4 + np.where(np.arange(3 * n).reshape(3, n) * 7 % 3 == 0, 1, -1)).astype(np.float32)
    check(device, "layer_norm", x)
    check(device, "group_norm", x[:, :, None] if n > 4 else x.reshape(3, 2, 2), groups=1)
    got = gk.layer_norm(gk.asarray(x, device=device)).numpy()
    wide = x.astype(float)
    want = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(got, want, atol=3e-3)


@norms
@floats
def test_special_values(device, op, dtype):
    """NaN and infinities stay in their rows, and there they do what the formula says."""
    x = sample(dtype, (6, 8))
    x[1, 3] = np.nan
    x[2, 0] = np.inf
    x[3, 7] = -np.inf
    x[4, [2, 5]] = np.inf, -np.inf
    x[5] = 0
    check(device, op, x, **arguments_of(op))
    check(device, op, x, *scales(op, dtype, 8), **arguments_of(op))


def test_special_values_of_the_scales(device):
    x, weight = sample(FLOAT32, (3, 5)), np.float32([np.nan, np.inf, 0, -0.0, 1])
    for op in ("rms_norm", "layer_norm"):
        check(device, op, x, weight)
        check(device, op, x, np.ones(5, np.float32), weight)


# Shapes and layouts


@rows
@floats
@pytest.mark.parametrize("n", [1, 2, 3, 31, 255, 1000, 4097])
def test_every_length(device, op, dtype, n):
    x = sample(dtype, (5, n))
    check(device, op, x, **arguments_of(op))
    check(device, op, x, *scales(op, dtype, n), **arguments_of(op))


@rows
@floats
def test_rows_longer_than_a_workgroup_can_hold(device, op, dtype):
    check(device, op, cycle(dtype, (3, 100_003)), *scales(op, dtype, 100_003), **arguments_of(op))


@rows
@pytest.mark.parametrize("shape", [(70_001, 3), (100_003, 1), (4, 300, 65), (2, 3, 4, 5), (7,)], ids=str)
def test_many_rows_and_leading_axes(device, op, shape):
    check(device, op, cycle(FLOAT32, shape), *scales(op, FLOAT32, shape[-1]), **arguments_of(op))


@rows
def test_four_million_in_a_row(plain_device, op):
    check(plain_device, op, cycle(FLOAT32, (1, 4_000_000)), **arguments_of(op))


@rows
@given(data=st.data())
def test_any_shape_and_layout(device, op, data):
    dtype = data.draw(st.sampled_from(FLOATS))
    shape = data.draw(array_shapes(max_dims=4, min_side=0, max_side=7))
    operands = [sample(dtype, shape), *scales(op, dtype, shape[-1])]
    operands = [lay_out(operand, data.draw(st.sampled_from(layouts_of(dtype)))) for operand in operands]
    check(device, op, *operands[: data.draw(st.integers(1, len(operands)))], **arguments_of(op))


@given(data=st.data())
def test_any_shape_and_layout_of_group_norm(device, data):
    """Channels are axis 1, with any number of axes behind it."""
    dtype = data.draw(st.sampled_from(FLOATS))
    groups, per_group = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    rest = data.draw(array_shapes(min_dims=0, max_dims=2, max_side=6))
    x = sample(dtype, (data.draw(st.integers(0, 3)), groups * per_group, *rest))
    operands = [lay_out(x, data.draw(st.sampled_from(layouts_of(dtype)))), *scales("group_norm", dtype, x.shape[1])]
    check(device, "group_norm", *operands[: data.draw(st.integers(1, 3))], groups=groups)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((2, 32, 7, 7), 8), ((3, 6, 1031), 3), ((1, 4, 300, 67), 2), ((2, 5, 20_011), 1), ((5000, 4), 2), ((2, 64), 64)],
    ids=str,
)
@floats
def test_group_norm_of_images(device, shape, groups, dtype):
    check(device, "group_norm", cycle(dtype, shape), *scales("group_norm", dtype, shape[1]), groups=groups)


@norms
def test_views_of_tensors(device, op):
    for dtype in (FLOAT32, FLOAT16):
        x = sample(dtype, (7, 9, 33))
        for key in (np.s_[1:, 3:8, 2:9], np.s_[::-1, ::2, ::-3], np.s_[3], np.s_[:, 4], np.s_[..., 5], np.s_[2:2]):
            got = call(op, [gk.asarray(x, device=device)[key]], **arguments_of(op))
            assert_right(op, got.numpy(), x[key], device=device, **arguments_of(op))


@norms
def test_scales_in_any_layout(device, op):
    if op == "l2_norm":
        return  # it has none
    x = sample(FLOAT32, (3, 10))
    for layout in layouts_of(FLOAT32):
        weight, bias = (lay_out(part, layout) for part in scales(op, FLOAT32, 10))
        check(device, op, x, weight, bias, **arguments_of(op))
        check(device, op, x, None, bias, **arguments_of(op))
    wide = gk.asarray(sample(FLOAT32, (10, 4)), device=device)
    got = call(op, [gk.asarray(x, device=device), wide[:, 2], wide[::-1, 0]], **arguments_of(op))
    numbers = wide.numpy()
    assert_right(op, got.numpy(), x, numbers[:, 2], numbers[::-1, 0], device=device, **arguments_of(op))


@norms
def test_nothing_to_normalise(device, op):
    for shape in [(0, 4), (3, 0), (2, 0, 4), (2, 4, 0)]:
        if op != "group_norm" or shape[1] % 2 == 0:
            named = {"groups": 2} if op == "group_norm" else arguments_of(op)
            check(device, op, np.zeros(shape, np.float32), **named)


# Types


@pytest.mark.parametrize("op", SCALED)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_scales_of_other_dtypes(device, op, dtype):
    """The result's dtype is the common one: a float32 weight makes float32 of a float16."""
    for of_weight, of_bias in ((FLOAT32, FLOAT32), (FLOAT16, FLOAT16), (FLOAT16, BFLOAT16)):
        operands = sample(dtype, (3, 8)), sample(of_weight, 8, 1), sample(of_bias, 8, 2)
        check(device, op, *operands, **arguments_of(op))
        check(device, op, *operands[:2], **arguments_of(op))
    got = call(op, tensors_of((sample(FLOAT16, (3, 8)), sample(FLOAT32, 8)), device), **arguments_of(op))
    assert got.dtype == promote(FLOAT16, FLOAT32) == FLOAT32


# Composed of their parts


def test_rms_norm_composed_of_its_parts(device):
    x, weight, bias = tensors_of((sample(FLOAT32, (5, 333)), *scales("rms_norm", FLOAT32, 333)), device)
    parts = x * gk.rsqrt(gk.mean(x * x, -1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(gk.rms_norm(x, weight, bias=bias).numpy(), parts.numpy(), rtol=1e-5, atol=1e-5)


def test_layer_norm_composed_of_its_parts(device):
    x, weight, bias = tensors_of((3 + sample(FLOAT32, (5, 333)), *scales("layer_norm", FLOAT32, 333)), device)
    centred = x - gk.mean(x, -1, keepdims=True)
    parts = centred / gk.sqrt(gk.var(x, -1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(gk.layer_norm(x, weight, bias).numpy(), parts.numpy(), rtol=1e-5, atol=1e-5)


def test_group_norm_composed_of_its_parts(device):
    """One group of a single place is layer norm; as many groups as channels normalise every channel by itself."""
    x, weight, bias = tensors_of((sample(FLOAT32, (5, 24)), *scales("layer_norm", FLOAT32, 24)), device)
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(
        gk.group_norm(x, 1, weight, bias).numpy(), gk.layer_norm(x, weight, bias).numpy(), **close
    )
    image = x.reshape(5, 4, 6)
    np.testing.assert_allclose(gk.group_norm(image, 4).numpy(), gk.layer_norm(image).numpy(), **close)


def test_l2_norm_composed_of_its_parts(device):
    x = gk.asarray(sample(FLOAT32, (5, 333)), device=device)
    parts = x / gk.sqrt(gk.sum(x * x, -1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(gk.l2_norm(x, eps=1e-6).numpy(), parts.numpy(), rtol=1e-5)


# out= and bits


@norms
@floats
def test_in_place(device, op, dtype):
    for shape in [(5, 33), (2, 20_011)]:
        x, weight_and_bias = cycle(dtype, shape), scales(op, dtype, shape[1])
        tensor = gk.asarray(x, device=device, copy=True)
        tensors = [tensor, *tensors_of(weight_and_bias, device)]
        assert call(op, tensors, out=tensor, **arguments_of(op)) is tensor
        assert_right(op, tensor.numpy(), x, *weight_and_bias, device=device, **arguments_of(op))


@norms
@pytest.mark.parametrize("shape", [(50, 1021), (3, 100_003)], ids=str)
def test_the_same_bits_every_time(device, op, shape):
    x = cycle(FLOAT32, shape)
    first = call(op, [gk.asarray(x, device=device)], **arguments_of(op)).numpy()
    gk.silu(gk.ones((333, 77), device=device)).numpy()
    assert_same(call(op, [gk.asarray(x.copy(), device=device)], **arguments_of(op)), first)


# Errors


@pytest.mark.parametrize("op", ["rms_norm", "layer_norm"])
@pytest.mark.parametrize("shape", [(3,), (1,), (4, 4), (1, 4), (), (0,), (5,)], ids=str)
def test_scales_of_the_wrong_shape(device, op, shape):
    x, wrong, right = np.ones((2, 4), np.float32), np.ones(shape, np.float32), np.ones(4, np.float32)
    for label, operands in (("weight", (x, wrong)), ("bias", (x, right, wrong))):
        for each in (operands, tensors_of(operands, device)):
            with pytest.raises(gk.ShapeError, match=op) as caught:
                call(op, each, device=device)
            for word in (label, str(shape), "(4,)"):
                assert word in str(caught.value)


@pytest.mark.parametrize("shape", [(3,), (5,), (1,), (4, 1), ()], ids=str)
def test_scales_of_the_wrong_shape_for_group_norm(device, shape):
    """There is one for each channel, whatever the last axis is."""
    x = gk.ones((2, 4, 5), device=device)
    for label, named in (("weight", (gk.ones(shape, device=device),)), ("bias", (None, gk.ones(shape, device=device)))):
        with pytest.raises(gk.ShapeError, match="group_norm") as caught:
            gk.group_norm(x, 2, *named)
        for word in (label, str(shape), "4"):
            assert word in str(caught.value)


@pytest.mark.parametrize("groups", [3, 0, -1, 5, 8])
def test_groups_that_do_not_divide_the_channels(device, groups):
    with pytest.raises((gk.ShapeError, gk.ArgumentError), match="group_norm") as caught:
        gk.group_norm(gk.ones((2, 4, 5), device=device), groups)
    for word in ("groups", str(groups)):
        assert word in str(caught.value)


@pytest.mark.parametrize("groups", [1.0, "2", None], ids=repr)
def test_groups_that_are_no_number(device, groups):
    with pytest.raises((TypeError, gk.ArgumentError), match="groups"):
        gk.group_norm(gk.ones((2, 4, 5), device=device), groups)


@norms
def test_too_few_axes(device, op):
    """There is no last axis, or no axis 1."""
    for shape in [(), (4,)] if op == "group_norm" else [()]:
        with pytest.raises((gk.ShapeError, gk.BoundsError), match=op) as caught:
            call(op, [gk.ones(shape, device=device)], **arguments_of(op))
        assert str(shape) in str(caught.value)


@norms
@pytest.mark.parametrize("eps", ["1", None, [1]], ids=repr)
def test_an_eps_that_is_no_number(device, op, eps):
    with pytest.raises((TypeError, gk.ArgumentError), match="eps"):
        call(op, [gk.ones((2, 4), device=device)], **(arguments_of(op) | {"eps": eps}))


@norms
def test_bias_and_eps_are_named(device, op):
    """As the signatures say: what is easily confused has a name."""
    x, w = gk.ones((2, 4), device=device), gk.ones(4, device=device)
    too_many = {"rms_norm": (x, w, w), "layer_norm": (x, w, w, 1e-5), "group_norm": (x, 2, w, w, 1e-5)}
    with pytest.raises(TypeError):
        getattr(gk, op)(*too_many.get(op, (x, 1e-5)))


@pytest.mark.parametrize("op", SCALED)
def test_a_weight_on_another_device(plain_device, op):
    elsewhere = gk.get_device("cpu").with_caps("simd=scalar,threads=1")
    with pytest.raises(gk.DeviceError, match=op):
        call(op, [gk.ones((2, 4), device=plain_device), gk.ones(4, device=elsewhere)], **arguments_of(op))


def test_eps_beside_bfloat16(device):
    """It is a float32 however narrow the operand: 1e-12 is no bfloat16 number beside 1."""
    x = np.full((2, 64), 1e-4).astype(BFLOAT16)
    check(device, "rms_norm", x, eps=1e-9)
    check(device, "rms_norm", x.astype(FLOAT16), eps=1e-9)


@pytest.mark.parametrize("eps", [1e37, 3e38])
@pytest.mark.parametrize("op", ["rms_norm", "l2_norm"])
def test_an_eps_as_large_as_float32_has(device, op, eps):
    for size in (1, 1e19, 1e30, 3e38):
        check(device, op, np.float32([[1, 2, 3], [-1, 0.5, 0]]) / 3 * np.float32(size), eps=eps)


@norms
@pytest.mark.parametrize("eps", [3.5e38, 1e39, 1e300])
def test_an_eps_beyond_float32(device, op, eps):
    with pytest.raises(gk.ArgumentError, match=f"{op}.*eps.*float32"):
        call(op, [gk.ones((2, 4), device=device)], **(arguments_of(op) | {"eps": eps}))
