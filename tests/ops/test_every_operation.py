"""The rules that all operations share: what goes in and out, types, layouts, `out=`, bad operands, the same bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

import gpukern as gk
from arrays import (
    BOOL,
    DTYPES,
    FLOAT16,
    FLOAT32,
    INT8,
    WRITEABLE_LAYOUTS,
    assert_same,
    every,
    lay_out,
    layouts_of,
    sample,
    small,
)
from oracles import OPERATIONS, RESULT, assert_right, call, check, common_dtype, operands_of, tensors_of

every_operation = pytest.mark.parametrize("op", OPERATIONS)
NOT_ELEMENTWISE = [op for op, operation in OPERATIONS.items() if not operation.elementwise]
both_kinds = pytest.mark.parametrize("kind", ["ndarray", "tensor"])


def apply(op, operands, **arguments):
    """The operation as the shared tests call it."""
    return call(op, operands, **OPERATIONS[op].arguments, **arguments)


def assert_applied(op, got, operands, device):
    assert_right(op, got, *operands, device=device, **OPERATIONS[op].arguments)


def result_dtype(op, operands):
    return OPERATIONS[op].result(common_dtype(op, operands))


def typed_places(op):
    """The operands whose dtype has a part in the result's."""
    return [place for place in range(len(OPERATIONS[op].operands)) if not OPERATIONS[op].is_fixed(place)]


# In and out


@every_operation
def test_numpy_in_numpy_out(device, op):
    operands = operands_of(op)
    got = apply(op, operands, device=device)
    assert type(got) is np.ndarray
    assert got.flags.writeable
    assert_applied(op, got, operands, device)


@every_operation
def test_numpy_alone_with_no_device_named(op):
    operands = operands_of(op)
    got = apply(op, operands)
    assert type(got) is np.ndarray
    assert_same(got, apply(op, operands, device="cpu"))


@every_operation
def test_one_tensor_makes_the_result_a_tensor(device, op):
    operands = operands_of(op)
    for place in range(len(operands)):
        mixed = [gk.asarray(x, device=device) if i == place else x for i, x in enumerate(operands)]
        got = apply(op, mixed)
        assert type(got) is gk.Tensor
        assert got.device == device
        assert_applied(op, got.numpy(), operands, device)


@every_operation
def test_operands_stay_as_they_were(device, op):
    operands = operands_of(op)
    tensors = tensors_of(operands, device)
    apply(op, tensors).numpy()
    for tensor, operand in zip(tensors, operands_of(op), strict=True):
        assert_same(tensor, operand)
    for operand, before in zip(operands, operands_of(op), strict=True):
        assert_same(operand, before)


@every_operation
def test_the_same_bits_every_time(device, op):
    tensors = tensors_of(operands_of(op), device)
    assert_same(apply(op, tensors), apply(op, tensors).numpy())


@pytest.mark.usefixtures("quiet_float64")
@pytest.mark.parametrize("op", [op for op, operation in OPERATIONS.items() if "f" in operation.takes])
def test_float64_is_computed_in_float32(device, op):
    operands, typed = operands_of(op), typed_places(op)
    wide = [operand.astype(np.float64) if place in typed else operand for place, operand in enumerate(operands)]
    assert_applied(op, apply(op, wide, device=device), operands, device)


# Types and layouts


@pytest.mark.parametrize("op", NOT_ELEMENTWISE)
def test_every_dtype(device, op):
    """The dtypes that it takes, and a DTypeError for the others that says which. Elementwise ones test it in pairs."""
    operation = OPERATIONS[op]
    for dtype in DTYPES:
        operands = operands_of(op, dtype)
        if operation.accepts(dtype):
            check(device, op, *operands, **operation.arguments)
        if operation.refuses(dtype):
            for attempt in (operands, tensors_of(operands, device)):
                with pytest.raises(gk.DTypeError, match=op) as caught:
                    apply(op, attempt, device=device)
                assert dtype.name in str(caught.value)


@every_operation
def test_layouts(device, op):
    """Every layout of all operands; of an elementwise one those that differ most, since all share a mechanism."""
    elementwise = OPERATIONS[op].elementwise
    for dtype in OPERATIONS[op].dtypes[1:] if elementwise else OPERATIONS[op].dtypes:
        for layout in ("permuted", "reversed", "misaligned") if elementwise else layouts_of(dtype):
            operands = [
                lay_out(operand, layout) if layout in layouts_of(operand.dtype) else operand
                for operand in operands_of(op, dtype)
            ]
            if layout == "broadcast":  # which operands of fixed values cannot be
                operands = [
                    operand if place in typed_places(op) else operands_of(op)[place]
                    for place, operand in enumerate(operands)
                ]
            check(device, op, *operands, **OPERATIONS[op].arguments)


@every_operation
def test_no_elements(device, op):
    """Nothing along the first axis of the result."""
    first = OPERATIONS[op].shape[0]
    operands = [operand[:0] if operand.shape[0] == first else operand for operand in operands_of(op)]
    check(device, op, *operands, **OPERATIONS[op].arguments)


# out=


@every_operation
def test_out_is_an_ndarray(device, op):
    for dtype in OPERATIONS[op].dtypes:
        operands = operands_of(op, dtype)
        for layout in WRITEABLE_LAYOUTS:
            out = lay_out(np.full(OPERATIONS[op].shape, 9, result_dtype(op, operands)), layout)
            assert apply(op, operands, out=out, device=device) is out
            assert_applied(op, out, operands, device)


def test_out_leaves_the_gaps_of_an_ndarray_alone(device):
    out = lay_out(np.zeros(RESULT, np.float32), "step")
    gk.add(np.ones(RESULT, np.float32), np.float32(1), out=out, device=device)
    want = np.full(out.base.shape, 77, np.float32)
    want[every(RESULT, 2)] = 2
    assert_same(out.base, want)


@every_operation
def test_out_is_a_tensor(device, op):
    operands = operands_of(op)
    out = gk.full(OPERATIONS[op].shape, 9, result_dtype(op, operands), device=device)
    assert apply(op, tensors_of(operands, device), out=out) is out
    assert_applied(op, out.numpy(), operands, device)


def views_of(storage, shape):
    """Parts of this shape, of a larger tensor or array: with gaps, transposed, backwards."""
    yield storage[(slice(1, 1 + 2 * shape[0], 2), *(slice(1, 1 + length) for length in shape[1:]))]
    yield storage[tuple(slice(2, 2 + length) for length in reversed(shape))].T
    yield storage[tuple(slice(length - 1, None, -1) for length in shape)]


@every_operation
def test_out_is_a_view_of_a_tensor(device, op):
    """The view gets the result, what lies around it keeps its values."""
    operands = operands_of(op, OPERATIONS[op].dtypes[1])
    shape = OPERATIONS[op].shape
    canvas = np.full([2 * max(shape) + 2] * len(shape), 9, result_dtype(op, operands))
    for which in range(1 if OPERATIONS[op].elementwise else 3):  # elementwise ones share a mechanism
        storage = gk.asarray(canvas, device=device, copy=True)
        apply(op, tensors_of(operands, device), out=list(views_of(storage, shape))[which])
        got = storage.numpy()
        view = list(views_of(got, shape))[which]
        assert_applied(op, view, operands, device)
        view[...] = 9
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
@both_kinds
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


def overlapping(storage, shape, result):
    """An operand and a result of these shapes that begin one element apart, wherever both fit."""
    size, result_size = int(np.prod(shape)), int(np.prod(result))
    yield storage[1 : 1 + size].reshape(shape), storage[:result_size].reshape(result)
    yield storage[:size].reshape(shape), storage[1 : 1 + result_size].reshape(result)
    yield storage[:size].reshape(shape), storage[size - 1 : size - 1 + result_size].reshape(result)


@every_operation
@both_kinds
def test_out_overlaps_each_operand(device, op, kind):
    """A little before it, a little behind it, and beginning in its last element."""
    operation = OPERATIONS[op]
    dtype = operation.dtypes[1]
    for place in typed_places(op) if operation.result(dtype) == dtype else ():
        for which in range(3):
            operands = operands_of(op, dtype)
            storage = small(dtype, 400, 7)
            part, _ = list(overlapping(storage, operands[place].shape, operation.shape))[which]
            part[...] = operands[place]
            canvas = storage.copy() if kind == "ndarray" else gk.asarray(storage, device=device, copy=True)
            part, out = list(overlapping(canvas, operands[place].shape, operation.shape))[which]
            passed = [part if i == place else operand for i, operand in enumerate(operands)]
            assert apply(op, passed, out=out, device=device) is out
            got = np.array(canvas)
            _, got_out = list(overlapping(got, operands[place].shape, operation.shape))[which]
            _, old_out = list(overlapping(storage, operands[place].shape, operation.shape))[which]
            assert_applied(op, got_out, operands, device)
            got_out[...] = old_out
            assert_same(got, storage)


@every_operation
@both_kinds
def test_out_is_an_operand_itself(device, op, kind):
    operation = OPERATIONS[op]
    for dtype in operation.dtypes:
        for place in typed_places(op):
            operands = operands_of(op, dtype)
            if operands[place].shape == operation.shape and operation.result(dtype) == dtype:
                passed = operands_of(op, dtype) if kind == "ndarray" else tensors_of(operands, device)
                if kind == "tensor":
                    passed[place] = gk.asarray(passed[place], copy=True)
                assert apply(op, passed, out=passed[place], device=device) is passed[place]
                assert_applied(op, np.asarray(passed[place]), operands, device)


@both_kinds
@pytest.mark.parametrize("part", [lambda w: w[:, 3], lambda w: w[5], lambda w: w[::-1, 0]], ids=["column", "row", "up"])
def test_out_of_matmul_vec_overlaps_the_matrix(device, kind, part):
    before, x = sample(FLOAT32, (40, 40), 1), sample(FLOAT32, 40, 2)
    w = before.copy() if kind == "ndarray" else gk.asarray(before, device=device, copy=True)
    gk.matmul_vec(w, x, out=part(w), device=device)
    got = np.asarray(w).copy()
    assert_right("matmul_vec", part(got), before, x, device=device)
    part(got)[...] = part(before)
    assert_same(got, before)


@both_kinds
def test_out_of_matmul_vec_is_the_vector(device, kind):
    w, before = sample(FLOAT32, (40, 40), 1), sample(FLOAT32, 40, 2)
    x = before.copy() if kind == "ndarray" else gk.asarray(before, device=device, copy=True)
    gk.matmul_vec(w, x, out=x, device=device)
    assert_right("matmul_vec", np.asarray(x), w, before, device=device)


WRONG_SHAPES = {
    "too small": lambda shape: (*shape[:-1], shape[-1] - 1),
    "too large": lambda shape: (shape[0] + 1, *shape[1:]),
    "one axis too many": lambda shape: (1, *shape),
    "flat": lambda shape: (int(np.prod(shape)),),
    "transposed": lambda shape: shape[::-1],
}
WRONG_DTYPES = [np.dtype(dtype) for dtype in (FLOAT16, FLOAT32, np.float64, np.int32, INT8, BOOL, np.uint32)]


@every_operation
def test_an_out_of_the_wrong_shape_is_refused_and_left_alone(device, op):
    operands, shape = operands_of(op), OPERATIONS[op].shape
    for change in WRONG_SHAPES.values():
        wrong = change(shape)
        for passed in (operands, tensors_of(operands, device)):
            out = np.zeros(wrong, result_dtype(op, operands))
            out = out if passed is operands else gk.asarray(out, device=device)
            with pytest.raises(gk.ShapeError, match=op) as caught:
                apply(op, passed, out=out, device=device)
            for word in ("out", str(shape), str(wrong)):
                assert word in str(caught.value)
            assert not np.asarray(out).any()


@every_operation
def test_an_out_of_the_wrong_dtype_is_refused_and_left_alone(device, op):
    operands, shape = operands_of(op), OPERATIONS[op].shape
    right = result_dtype(op, operands)
    for wrong in WRONG_DTYPES:
        for passed in (operands, tensors_of(operands, device)):
            if wrong == right or (wrong == np.float64 and passed is not operands):
                continue
            out = np.zeros(shape, wrong) if passed is operands else gk.zeros(shape, wrong, device=device)
            with pytest.raises(gk.DTypeError, match=op) as caught:
                apply(op, passed, out=out, device=device)
            for word in ("out", right.name, wrong.name):
                assert word in str(caught.value)
            assert not np.asarray(out).any()


@every_operation
def test_an_out_that_cannot_be_written_is_refused_and_left_alone(device, op):
    operands = operands_of(op)
    zeros = np.zeros(OPERATIONS[op].shape, result_dtype(op, operands))
    for out in (lay_out(zeros, "read-only"), np.broadcast_to(zeros[0], zeros.shape)):
        with pytest.raises(gk.ArgumentError, match=op) as caught:
            apply(op, operands, out=out, device=device)
        assert "out" in str(caught.value)
        assert not out.any()


@every_operation
def test_an_ndarray_cannot_be_out_of_tensors(device, op):
    operands = operands_of(op)
    out = np.zeros(OPERATIONS[op].shape, result_dtype(op, operands))
    with pytest.raises(gk.ArgumentError, match=op) as caught:
        apply(op, tensors_of(operands, device), out=out)
    assert "out" in str(caught.value)
    assert not out.any()


@every_operation
def test_out_is_no_array_at_all(device, op):
    for thing in ([0.0] * 30, "out", 3.0, np.float32(0), object()):
        with pytest.raises((gk.Error, TypeError)):
            apply(op, operands_of(op), out=thing, device=device)


# Bad operands


BAD = [None, "text", object(), np.array([None]), np.array(["a"]), np.array([1j]),
       np.array(["2020"], "datetime64[D]"), np.zeros(1, [("a", "i4")])]  # fmt: skip


@every_operation
def test_an_operand_that_no_device_understands(device, op):
    """None may stand for an operand that is left out, but never for the first."""
    for bad in BAD:
        for place in range(1 if bad is None else len(OPERATIONS[op].operands)):
            operands = [bad if i == place else x for i, x in enumerate(operands_of(op))]
            with pytest.raises(gk.DTypeError, match=op):
                apply(op, operands, device=device)


@every_operation
def test_tensors_of_two_devices(plain_device, op):
    one_thread = gk.get_device("cpu").with_caps("simd=scalar,threads=1")
    elsewhere = next((each for each in gk.devices() if each != plain_device), one_thread)
    tensors = tensors_of(operands_of(op), plain_device)
    if len(tensors) > 1:
        tensors[-1] = tensors[-1].to(elsewhere)
        with pytest.raises(gk.DeviceError, match=op) as caught:
            apply(op, tensors)
        assert ".to(" in str(caught.value)
    with pytest.raises(gk.DeviceError, match=op):
        apply(op, tensors_of(operands_of(op), plain_device), device=elsewhere)


@every_operation
def test_operands_are_positional_and_the_rest_is_named(op):
    operands = operands_of(op)
    with pytest.raises(TypeError):
        getattr(gk, op)()
    with pytest.raises(TypeError):
        apply(op, operands, output=None)
    with pytest.raises((TypeError, gk.Error)):
        getattr(gk, op)(*operands, *operands, *operands)
    with pytest.raises(TypeError):
        getattr(gk, op)(x=operands[0], out=None)


@every_operation
def test_a_device_that_is_not_there(op):
    with pytest.raises(gk.DeviceNotFoundError, match="cuda"):
        apply(op, operands_of(op), device="cuda")
