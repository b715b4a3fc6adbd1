"""The rules that all operations share: who is in and out, `out=`, aliases, bad operands, the same bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

import gpukern as gk
from arrays import DTYPES, FLOAT16, FLOAT32, INT8, WRITEABLE_LAYOUTS, assert_same, every, lay_out, sample, small
from oracles import OPERATIONS, RESULT, assert_right

every_operation = pytest.mark.parametrize("op", OPERATIONS)


def operands_of(op, dtype=FLOAT32):
    return [sample(dtype, shape, seed) for seed, shape in enumerate(OPERATIONS[op].operands)]


def on(device, arrays):
    return [gk.asarray(array, device=device) for array in arrays]


# In and out


@every_operation
def test_numpy_in_numpy_out(device, op):
    operands = operands_of(op)
    got = getattr(gk, op)(*operands, device=device)
    assert type(got) is np.ndarray
    assert got.flags.writeable
    assert_right(op, got, *operands, device=device)


@every_operation
def test_numpy_alone_with_no_device_named(op):
    operands = operands_of(op)
    got = getattr(gk, op)(*operands)
    assert type(got) is np.ndarray
    assert_same(got, getattr(gk, op)(*operands, device="cpu"))


@every_operation
def test_one_tensor_makes_the_result_a_tensor(device, op):
    operands = operands_of(op)
    for place in range(len(operands)):
        mixed = [gk.asarray(x, device=device) if i == place else x for i, x in enumerate(operands)]
        got = getattr(gk, op)(*mixed)
        assert type(got) is gk.Tensor
        assert got.device == device
        assert_right(op, got.numpy(), *operands, device=device)


@every_operation
def test_operands_stay_as_they_were(device, op):
    operands = operands_of(op)
    tensors = on(device, operands)
    getattr(gk, op)(*tensors).numpy()
    for tensor, operand in zip(tensors, operands_of(op), strict=True):
        assert_same(tensor, operand)
    for operand, before in zip(operands, operands_of(op), strict=True):
        assert_same(operand, before)


@every_operation
def test_the_same_bits_every_time(device, op):
    tensors = on(device, operands_of(op))
    assert_same(getattr(gk, op)(*tensors), getattr(gk, op)(*tensors).numpy())


@pytest.mark.usefixtures("quiet_float64")
@every_operation
def test_float64_is_computed_in_float32(device, op):
    operands = [operand.astype(np.float64) for operand in operands_of(op)]
    got = getattr(gk, op)(*operands, device=device)
    assert_right(op, got, *(operand.astype(np.float32) for operand in operands), device=device)


# out=


@every_operation
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
@pytest.mark.parametrize("layout", WRITEABLE_LAYOUTS)
def test_out_is_an_ndarray(device, op, dtype, layout):
    operands = operands_of(op, dtype)
    out = lay_out(np.full(RESULT, 9, dtype), layout)
    assert getattr(gk, op)(*operands, out=out, device=device) is out
    assert_right(op, out, *operands, device=device)


def test_out_leaves_the_gaps_of_an_ndarray_alone(device):
    out = lay_out(np.zeros(RESULT, np.float32), "step")
    gk.add(np.ones(RESULT, np.float32), np.float32(1), out=out, device=device)
    want = np.full(out.base.shape, 77, np.float32)
    want[every(RESULT, 2)] = 2
    assert_same(out.base, want)


@every_operation
def test_out_is_a_tensor(device, op):
    operands = operands_of(op)
    out = gk.full(RESULT, 9.0, device=device)
    assert getattr(gk, op)(*on(device, operands), out=out) is out
    assert_right(op, out.numpy(), *operands, device=device)


@every_operation
@pytest.mark.parametrize(
    "view",
    [
        lambda storage: storage[1:7, 2:7],
        lambda storage: storage[1:13:2, 9:14],
        lambda storage: storage[5::-1, 4::-1],
        lambda storage: storage[3:8, 5:11].T,
    ],
    ids=["inner", "strided", "reversed", "transposed"],
)
def test_out_is_a_view_of_a_tensor(device, op, view):
    """The view gets the result, what lies around it keeps its values."""
    operands = operands_of(op, FLOAT16)
    canvas = np.full((14, 15), 9, FLOAT16)
    storage = gk.asarray(canvas, device=device, copy=True)
    getattr(gk, op)(*on(device, operands), out=view(storage))
    got = storage.numpy()
    assert_right(op, view(got), *operands, device=device)
    view(got)[...] = 9
    assert_same(got, canvas)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(data=st.data())
def test_out_is_any_view_of_any_dtype(device, dtype, data):
    canvas = small(dtype, (5, 6, 7))
    index = data.draw(basic_indices(canvas.shape, allow_ellipsis=True, allow_newaxis=True))
    x = small(dtype, canvas[index].shape, seed=1)
    storage = gk.asarray(canvas, device=device, copy=True)
    gk.multiply(gk.asarray(x, device=device), gk.asarray(x, device=device), out=storage[index])
    want = canvas.copy()
    want[index] = x * x
    assert_same(storage, want)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
@pytest.mark.parametrize("kind", ["ndarray", "tensor"])
@pytest.mark.parametrize(
    "operands_and_out",
    [
        lambda x: (x, x, x),
        lambda x: (x, x[0], x),
        lambda x: (x, x[:, :1], x),
        lambda x: (x, x.T, x),
        lambda x: (x, x, x.T),
        lambda x: (x, x, x[::-1]),
        lambda x: (x, x[::-1, ::-1], x),
        lambda x: (x[1:], x[:-1], x[:-1]),
        lambda x: (x[1:], x[:-1], x[1:]),
        lambda x: (x[:, 2:], x[:, 1:-1], x[:, :-2]),
        lambda x: (x[:25], x[25:], x[:50:2]),
    ],
    ids=["itself", "a row", "a column", "x.T in", "x.T out", "rows backwards", "all backwards", "down", "up", "left",
         "interleaved"],
)  # fmt: skip
def test_out_overlaps_an_operand(device, dtype, kind, operands_and_out):
    """As if every operand had been copied first."""
    before = small(dtype, (50, 50))
    want = before.copy()
    first, second, into = operands_and_out(want)
    into[...] = first.copy() + second.copy()

    x = before.copy() if kind == "ndarray" else gk.asarray(before, device=device, copy=True)
    *operands, out = operands_and_out(x)
    gk.add(*operands, out=out, device=device)
    assert_same(x, want)


@pytest.mark.parametrize("kind", ["ndarray", "tensor"])
def test_out_of_silu_is_its_operand(device, kind):
    before = sample(FLOAT32, 1000)
    x = before.copy() if kind == "ndarray" else gk.asarray(before, device=device, copy=True)
    assert gk.silu(x, out=x, device=device) is x
    assert_right("silu", np.asarray(x), before, device=device)


@pytest.mark.parametrize("kind", ["ndarray", "tensor"])
@pytest.mark.parametrize("part", [lambda w: w[:, 3], lambda w: w[5], lambda w: w[::-1, 0]], ids=["column", "row", "up"])
def test_out_of_matmul_vec_overlaps_the_matrix(device, kind, part):
    before, x = sample(FLOAT32, (40, 40), 1), sample(FLOAT32, 40, 2)
    w = before.copy() if kind == "ndarray" else gk.asarray(before, device=device, copy=True)
    gk.matmul_vec(w, x, out=part(w), device=device)
    got = np.asarray(w).copy()
    assert_right("matmul_vec", part(got), before, x, device=device)
    part(got)[...] = part(before)
    assert_same(got, before)


@pytest.mark.parametrize("kind", ["ndarray", "tensor"])
def test_out_of_matmul_vec_is_the_vector(device, kind):
    w, before = sample(FLOAT32, (40, 40), 1), sample(FLOAT32, 40, 2)
    x = before.copy() if kind == "ndarray" else gk.asarray(before, device=device, copy=True)
    gk.matmul_vec(w, x, out=x, device=device)
    assert_right("matmul_vec", np.asarray(x), w, before, device=device)


WRONG_OUT = {
    "too small": (gk.ShapeError, lambda: np.zeros((6, 4), np.float32)),
    "too large": (gk.ShapeError, lambda: np.zeros((7, 5), np.float32)),
    "one axis too many": (gk.ShapeError, lambda: np.zeros((1, 6, 5), np.float32)),
    "flat": (gk.ShapeError, lambda: np.zeros(30, np.float32)),
    "narrower": (gk.DTypeError, lambda: np.zeros(RESULT, np.float16)),
    "wider": (gk.DTypeError, lambda: np.zeros(RESULT, np.float64)),
    "whole numbers": (gk.DTypeError, lambda: np.zeros(RESULT, np.int32)),
    "read-only": (gk.ArgumentError, lambda: lay_out(np.zeros(RESULT, np.float32), "read-only")),
    "broadcast": (gk.ArgumentError, lambda: np.broadcast_to(np.zeros(5, np.float32), RESULT)),
}


@every_operation
@pytest.mark.parametrize("wrong", WRONG_OUT)
def test_a_wrong_out_is_refused_and_left_alone(device, op, wrong):
    error, make = WRONG_OUT[wrong]
    out = make()
    with pytest.raises(error, match=op) as caught:
        getattr(gk, op)(*operands_of(op), out=out, device=device)
    assert "out" in str(caught.value)
    if error is gk.ShapeError:
        assert str(RESULT) in str(caught.value)
        assert str(out.shape) in str(caught.value)
    assert not out.any()


@every_operation
@pytest.mark.parametrize("wrong", sorted(WRONG_OUT.keys() - {"wider", "read-only", "broadcast"}))
def test_a_wrong_out_tensor_is_refused_and_left_alone(device, op, wrong):
    error, make = WRONG_OUT[wrong]
    out = gk.asarray(make(), device=device)
    with pytest.raises(error, match=op):
        getattr(gk, op)(*on(device, operands_of(op)), out=out)
    assert not out.numpy().any()


@every_operation
def test_an_ndarray_cannot_be_out_of_tensors(device, op):
    out = np.zeros(RESULT, np.float32)
    with pytest.raises(gk.ArgumentError, match=op) as caught:
        getattr(gk, op)(*on(device, operands_of(op)), out=out)
    assert "out" in str(caught.value)
    assert not out.any()


@every_operation
@pytest.mark.parametrize("thing", [[0.0] * 30, "out", 3.0, np.float32(0)], ids=lambda thing: type(thing).__name__)
def test_out_is_no_array_at_all(device, op, thing):
    with pytest.raises((gk.Error, TypeError)):
        getattr(gk, op)(*operands_of(op), out=thing, device=device)


# Bad operands


@every_operation
@pytest.mark.parametrize(
    "bad",
    [None, "text", object(), np.array([None]), np.array(["a"]), np.array([1j]), np.array(["2020"], "datetime64[D]"),
     np.zeros(1, [("a", "i4")])],
    ids=["None", "str", "object", "object array", "str array", "complex", "datetime", "structured"],
)  # fmt: skip
def test_an_operand_that_no_device_understands(device, op, bad):
    for place in range(len(OPERATIONS[op].operands)):
        operands = [bad if i == place else x for i, x in enumerate(operands_of(op))]
        with pytest.raises(gk.DTypeError, match=op):
            getattr(gk, op)(*operands, device=device)


@every_operation
def test_operands_are_positional_and_the_rest_is_named(op):
    operands = operands_of(op)
    for positional, named in (((), {}), ((*operands, *operands), {}), (operands, {"output": None})):
        with pytest.raises(TypeError):
            getattr(gk, op)(*positional, **named)


@every_operation
def test_a_device_that_is_not_there(op):
    with pytest.raises(gk.DeviceNotFoundError, match="cuda"):
        getattr(gk, op)(*operands_of(op), device="cuda")
