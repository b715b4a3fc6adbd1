"""Tensors: where they come from, their views, what changes them, and how they become NumPy again."""

import pickle
import warnings

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices

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
    lay_out,
    sample,
    small,
)
from oracles import assert_close, is_gpu
from processes import run_script

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
packed_and_not = pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, INT8], ids=str)


def tensor_of(array, device):
    """A tensor with memory of its own."""
    return gk.asarray(array, device=device, copy=True)


# asarray


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 3), (3, 4, 5)], ids=str)
def test_there_and_back_in_every_layout(device, dtype, layout, shape):
    x = lay_out(sample(dtype, shape), layout)
    tensor = gk.asarray(x, device=device)
    assert (tensor.shape, tensor.dtype, tensor.ndim) == (x.shape, dtype, x.ndim)
    assert (tensor.size, tensor.nbytes, tensor.itemsize) == (x.size, x.nbytes, x.itemsize)
    assert tensor.device == device
    assert_same(tensor.numpy(), x)


@every_dtype
def test_every_bit_survives(device, dtype):
    """NaNs with their payloads, the sign of zero and subnormal numbers are data like any other."""
    bits = np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8)
    x = bits % 2 == 0 if dtype == BOOL else bits.view(dtype)
    tensor = gk.asarray(x, device=device)
    assert_same(tensor.numpy(), x)
    assert_same(tensor[::-3].reshape(-1).astype(dtype), x[::-3])
    assert_same(tensor.to("cpu").to(device), x)


FROM_PYTHON = [
    (3, INT32, ()),
    (2.5, FLOAT32, ()),
    (True, BOOL, ()),
    ([1, 2, 3], INT32, (3,)),
    ([1, 2.5], FLOAT32, (2,)),
    ([[True, False]], BOOL, (1, 2)),
    (((1.0, 2.0), (3.0, 4.0)), FLOAT32, (2, 2)),
    ([], FLOAT32, (0,)),
    ([[], []], FLOAT32, (2, 0)),
]


@pytest.mark.parametrize(("thing", "dtype", "shape"), FROM_PYTHON, ids=str)
def test_numbers_and_lists(device, thing, dtype, shape):
    """Python's numbers are not float64: they become float32 and int32 without a warning."""
    tensor = gk.asarray(thing, device=device)
    assert (tensor.dtype, tensor.shape) == (dtype, shape)
    assert_same(tensor, np.array(thing).astype(dtype))


def test_a_list_of_numpy_rows(device):
    rows = list(sample(FLOAT32, (3, 4)))
    assert_same(gk.asarray(rows, device=device), np.array(rows))


@pytest.mark.parametrize("dtype", ["float16", np.float16, np.dtype("float16")], ids=repr)
def test_names_of_a_dtype(device, dtype):
    assert gk.asarray([1, 2], dtype, device=device).dtype == np.float16
    assert gk.zeros(2, dtype, device=device).dtype == np.float16


@pytest.mark.parametrize("dtype", ["bfloat16", ml_dtypes.bfloat16, BFLOAT16], ids=repr)
def test_names_of_bfloat16(device, dtype):
    assert gk.asarray([1, 2], dtype, device=device).dtype == ml_dtypes.bfloat16


def test_asarray_converts(device):
    x = np.array([0.1, -2.5, 7], np.float32)
    assert_same(gk.asarray(x, "float16", device=device), x.astype(np.float16))
    assert_same(gk.asarray(gk.asarray(x, device=device), "bfloat16"), x.astype(BFLOAT16))


def test_asarray_of_a_tensor(device):
    tensor = tensor_of(np.ones(3, np.float32), device)
    gk.asarray(tensor)[0] = 5
    assert tensor.tolist() == [5, 1, 1]
    gk.asarray(tensor, copy=True)[0] = 7
    assert tensor.tolist() == [5, 1, 1]


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_the_cpu_shares_memory_with_numpy(dtype, layout):
    """Any strides do; what it cannot share (another byte order, a misaligned address) it copies."""
    x = lay_out(small(dtype, (4, 6)), layout)
    tensor = gk.asarray(x, device="cpu")
    before = x.copy()
    if layout in ("read-only", "broadcast"):
        with pytest.raises(gk.ArgumentError):
            tensor[1:3, 2] = 1
        assert_same(x, before)
        return
    x[0, 0] = not x[0, 0]
    assert (tensor.tolist() == x.tolist()) == shares(layout, dtype)
    if shares(layout, dtype):
        tensor[1:3, 2] = 1
        assert x[1:3, 2].tolist() == [1, 1]
        assert_same(gk.asarray(x, device="cpu", copy=False), x)
    else:
        with pytest.raises(gk.ArgumentError):
            gk.asarray(x, device="cpu", copy=False)


def shares(layout, dtype):
    return layout != "big-endian" and (layout != "misaligned" or dtype.itemsize == 1)


def test_a_gpu_takes_a_snapshot(gpu):
    x = np.ones(1000, np.float32)
    tensor = gk.asarray(x, device=gpu)
    x[:] = 7
    assert_same(tensor, np.ones(1000, np.float32))
    with pytest.raises(gk.ArgumentError, match="copy"):
        gk.asarray(x, device=gpu, copy=False)


def test_copy_true_takes_a_snapshot(device):
    x = np.ones(1000, np.float32)
    tensor = gk.asarray(x, device=device, copy=True)
    x[:] = 7
    assert_same(tensor, np.ones(1000, np.float32))


def test_memory_outlives_the_array_it_came_from():
    tensor = gk.asarray(np.arange(100_000, dtype=np.float32)[::2], device="cpu")
    np.full(100_000, 7, np.float32)
    assert_same(tensor, np.arange(0, 100_000, 2, dtype=np.float32))


# NumPy types that no device has


@pytest.mark.parametrize(
    ("given", "becomes"), [(np.int64, INT32), (np.int16, INT32), (np.uint16, INT32), (np.uint64, UINT32)]
)
def test_integers_that_no_device_has(device, given, becomes):
    x = np.array([0, 1, 30_000], given)
    assert_same(gk.asarray(x, device=device), x.astype(becomes))


@pytest.mark.parametrize(
    ("dtype", "number"),
    [(np.int64, 2**31), (np.int64, -(2**31) - 1), (np.uint64, 2**32), (np.uint64, 2**64 - 1)],
    ids=str,
)
def test_integers_out_of_range(device, dtype, number):
    x = np.zeros(1000, dtype)
    x[777] = number
    with pytest.raises(gk.DTypeError) as caught:
        gk.asarray(x, device=device)
    assert str(number) in str(caught.value)
    assert np.dtype(dtype).name in str(caught.value)


def test_the_ends_of_the_range_of_int64(device):
    assert gk.asarray(np.array([-(2**31), 2**31 - 1]), device=device).tolist() == [-(2**31), 2**31 - 1]
    assert gk.asarray(np.array([2**32 - 1], np.uint64), device=device).tolist() == [2**32 - 1]
    with pytest.raises(gk.DTypeError):
        gk.asarray([2**31], device=device)


@pytest.mark.usefixtures("quiet_float64")
def test_float64_quietly(device):
    x = np.array([0.1, 1e300, -1e-300, np.nan, np.inf])
    with np.errstate(over="ignore"):
        want = x.astype(np.float32)
    assert_same(gk.asarray(x, device=device), want)


def test_float64_as_an_error(device, monkeypatch):
    monkeypatch.setattr(gk.config, "float64", "error")
    with pytest.raises(gk.DTypeError, match="float64"):
        gk.asarray(np.zeros(3), device=device)
    with pytest.raises(gk.DTypeError, match="float64"):
        gk.add(np.zeros(3), np.float32(1), device=device)


def test_float64_warns_once_a_process():
    printed = run_script("""
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                assert gk.asarray(np.zeros(3)).dtype == np.float32
                assert gk.add(np.zeros(3), np.ones(3)).dtype == np.float32
        print([(warning.category.__name__, "float64" in str(warning.message)) for warning in caught])
    """)
    assert printed.strip() == "[('PrecisionWarning', True)]"


def test_an_unknown_word_for_float64(monkeypatch):
    assert gk.config.float64 == "warn"
    with pytest.raises(gk.ArgumentError, match="perhaps"):
        monkeypatch.setattr(gk.config, "float64", "perhaps")
    assert gk.config.float64 == "warn"


# Creation


@pytest.mark.parametrize("shape", [(), 3, (3,), [2, 3], (2, 0, 3), (4, 1, 5), np.int64(3)], ids=repr)
@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_zeros_and_ones(device, name, shape):
    for dtype in (None, "float16", "int8", "bool"):
        tensor = getattr(gk, name)(shape, dtype, device=device)
        assert tensor.device == device
        assert_same(tensor, getattr(np, name)(shape, dtype or np.float32))


def test_empty_has_a_shape_and_a_type(device):
    tensor = gk.empty((3, 5), "bfloat16", device=device)
    assert (tensor.shape, tensor.dtype, tensor.device) == ((3, 5), BFLOAT16, device)
    assert gk.empty(4, device=device).dtype == FLOAT32


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(7, INT32), (2.5, FLOAT32), (True, BOOL), (-np.inf, FLOAT32), (np.float16(1.5), FLOAT16)],
    ids=str,
)
def test_full_takes_its_type_from_the_value(device, value, dtype):
    assert_same(gk.full((3, 5), value, device=device), np.full((3, 5), value, dtype))


@every_dtype
def test_full_of_every_dtype(device, dtype):
    assert_same(gk.full((3, 5), 1, dtype, device=device), np.full((3, 5), 1, dtype))


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 256), ("uint8", -1), ("int8", 200), ("int32", 2**31)])
def test_full_of_a_value_that_the_dtype_cannot_hold(device, dtype, value):
    with pytest.raises(gk.DTypeError, match=str(value)):
        gk.full(3, value, dtype, device=device)


@pytest.mark.parametrize(
    "arguments",
    [(5,), (0,), (2, 9), (9, 2, -3), (-5, 5, 3), (5, 2), (0, 1, 0.25), (1.0, 4.0), (2.5,), (3, 0, -0.5), (100_003,)],
    ids=str,
)
def test_arange(device, arguments):
    """Whole numbers give int32, others float32."""
    dtype = INT32 if all(isinstance(argument, int) for argument in arguments) else FLOAT32
    assert_same(gk.arange(*arguments, device=device), np.arange(*arguments).astype(dtype))


def test_arange_of_a_dtype(device):
    assert_same(gk.arange(7, dtype="float16", device=device), np.arange(7, dtype=np.float16))
    assert_same(gk.arange(-3, 4, dtype="int8", device=device), np.arange(-3, 4, dtype=np.int8))


# Views


@packed_and_not
@given(data=st.data())
def test_slices(device, dtype, data):
    x = sample(dtype, data.draw(array_shapes(max_dims=4, max_side=6)))
    index = data.draw(basic_indices(x.shape, allow_newaxis=True, allow_ellipsis=True))
    view = gk.asarray(x, device=device)[index]
    assert isinstance(view, gk.Tensor)
    assert_same(view.numpy(), x[index])


@given(data=st.data())
def test_slices_of_slices(device, data):
    x = np.arange(420, dtype=np.int32).reshape(4, 5, 3, 7)
    tensor = gk.asarray(x, device=device)
    for _ in range(3):
        index = data.draw(basic_indices(x.shape, allow_ellipsis=True))
        x, tensor = np.asarray(x[index]), tensor[index]
    assert_same(tensor, x)


@packed_and_not
def test_a_slice_is_a_view(device, dtype):
    tensor = tensor_of(np.zeros((4, 5), dtype), device)
    tensor[1:3][:, ::-2][0] = 1
    assert_same(tensor, np.array([[0] * 5, [1, 0, 1, 0, 1], [0] * 5, [0] * 5], dtype))


@pytest.mark.parametrize("index", [3, -4, (0, 5), (0, -6), (slice(None), 5), (3, slice(None))], ids=str)
def test_an_index_out_of_range(device, index):
    tensor = gk.zeros((3, 5), device=device)
    with pytest.raises(gk.BoundsError) as caught:
        tensor[index]
    bad = next(i for i in (index if isinstance(index, tuple) else (index,)) if isinstance(i, int) and i != 0)
    assert str(bad) in str(caught.value)
    with pytest.raises(gk.BoundsError):
        tensor[index] = 1


@pytest.mark.parametrize("index", ["a", 1.5, [0, 1], (0, 0, 0), np.array([True, False, True])], ids=str)
def test_an_index_of_another_kind(device, index):
    tensor = gk.zeros((3, 5), device=device)
    with pytest.raises(gk.Error):
        tensor[index]


def test_a_step_of_zero(device):
    with pytest.raises(gk.ArgumentError, match="step"):
        gk.zeros(3, device=device)[::0]


@pytest.mark.parametrize("shape", [(), (5,), (3, 5), (2, 3, 5)], ids=str)
def test_transpose(device, shape):
    x = sample(FLOAT16, shape)
    assert_same(gk.asarray(x, device=device).T, x.T)


def test_a_transpose_is_a_view(device):
    tensor = tensor_of(np.zeros((2, 3), np.float32), device)
    tensor.T[2] = 1
    assert tensor.tolist() == [[0, 0, 1], [0, 0, 1]]


RESHAPES = [
    # shape of the base, what to take of it, the new shape
    ((4, 6), lambda x: x, (24,)),
    ((4, 6), lambda x: x, (2, 2, 3, 2)),
    ((4, 6), lambda x: x, (-1, 8)),
    ((4, 6), lambda x: x[1:3], (12,)),
    ((4, 6), lambda x: x[:, ::2], (4, 3, 1)),
    ((4, 6), lambda x: x[:, ::2], (12,)),
    ((4, 6), lambda x: x[::2], (2, 2, 3)),
    ((4, 6), lambda x: x[::-1], (4, 2, 3)),
    ((4, 6), lambda x: x[::-1], (24,)),
    ((4, 6), lambda x: x.T, (24,)),
    ((4, 6), lambda x: x.T, (6, 2, 2)),
    ((2, 3, 4), lambda x: x[:, :, 1], (6,)),
    ((2, 3, 4), lambda x: x[:, 1], (8,)),
    ((1, 5), lambda x: x.T, (5,)),
    ((1,), lambda x: x, ()),
    ((0, 3), lambda x: x, (3, 0, 7)),
]


@packed_and_not
@pytest.mark.parametrize(("base", "take", "shape"), RESHAPES)
def test_reshape(device, dtype, base, take, shape):
    """A view where NumPy would give one, a copy elsewhere."""
    x = np.ones(base, dtype)
    tensor = tensor_of(x, device)
    want, got = take(x).reshape(shape), take(tensor).reshape(shape)
    assert got.shape == want.shape
    want[...] = 0
    got[...] = 0
    assert_same(tensor, x)


@given(data=st.data())
def test_reshape_keeps_the_order(device, data):
    x = np.arange(120, dtype=np.int8).reshape(4, 5, 6)
    index = data.draw(basic_indices(x.shape, allow_ellipsis=True, min_dims=1))
    view = x[index]
    shape = data.draw(st.permutations(view.shape))
    assert_same(gk.asarray(x, device=device)[index].reshape(shape), view.reshape(shape))
    assert_same(gk.asarray(x, device=device)[index].T.reshape(*shape), view.T.reshape(shape))


@pytest.mark.parametrize("shape", [(7,), (2, 2), (-1, 4), (-1, -1), (0, -1), ()], ids=str)
def test_a_reshape_that_cannot_be(device, shape):
    with pytest.raises(gk.ShapeError, match="reshape") as caught:
        gk.zeros((2, 3), device=device).reshape(shape)
    assert "(2, 3)" in str(caught.value)


# Slice assignment


@every_dtype
@given(data=st.data())
def test_slice_assignment(device, dtype, data):
    """Every neighbour keeps its value, inside a word too."""
    canvas = sample(dtype, data.draw(array_shapes(max_dims=3, max_side=7)))
    index = data.draw(basic_indices(canvas.shape, allow_newaxis=True, allow_ellipsis=True))
    value = small(dtype, np.shape(canvas[index]), seed=1)
    if data.draw(st.booleans(), "broadcast the value"):
        value = value[..., :1] if value.ndim else value
    tensor, from_tensor = tensor_of(canvas, device), tensor_of(canvas, device)
    tensor[index] = value
    from_tensor[index] = gk.asarray(value, device=device)
    canvas[index] = value
    assert_same(tensor, canvas)
    assert_same(from_tensor, canvas)


@every_dtype
def test_assigning_a_number(device, dtype):
    tensor = tensor_of(np.zeros((3, 7), dtype), device)
    tensor[1, 2:5] = 1
    tensor[2, 6] = True
    tensor[0, ::-3] = gk.ones((), dtype, device=device)
    want = np.zeros((3, 7), dtype)
    want[1, 2:5] = want[2, 6] = want[0, ::-3] = 1
    assert_same(tensor, want)


OVERLAPS = {
    "down": lambda x: (x[1:], x[:-1]),
    "up": lambda x: (x[:-1], x[1:]),
    "right": lambda x: (x[:, 1:], x[:, :-1]),
    "reversed": lambda x: (x, x[::-1, ::-1]),
    "transposed": lambda x: (x, x.T),
    "spread": lambda x: (x[::2], x[:25]),
    "a row everywhere": lambda x: (x, x[7]),
    "itself": lambda x: (x, x),
}


@packed_and_not
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_assigning_a_tensor_to_itself(device, dtype, overlap):
    """As if the right side had been copied first."""
    x = sample(dtype, (50, 50))
    tensor = tensor_of(x, device)
    into, value = OVERLAPS[overlap](x)
    into[...] = value.copy()
    into, value = OVERLAPS[overlap](tensor)
    into[...] = value
    assert_same(tensor, x)


def test_assignment_converts_to_the_dtype_of_the_tensor(device):
    tensor = gk.zeros(4, "float16", device=device)
    tensor[1:] = np.array([1.5, -2, 70_000], np.float32)
    assert tensor.tolist() == [0, 1.5, -2, np.inf]
    whole = gk.zeros(3, "int8", device=device)
    whole[:] = gk.asarray([1.9, -1.9, 100.0], device=device)
    assert whole.tolist() == [1, -1, 100]


@pytest.mark.parametrize("shape", [(4,), (3, 5), (3, 1, 5), (0,)], ids=str)
def test_assigning_a_value_that_does_not_fit(device, shape):
    tensor = gk.ones((2, 5), device=device)
    with pytest.raises(gk.ShapeError) as caught:
        tensor[:, :] = np.zeros(shape, np.float32)
    assert str(shape) in str(caught.value)
    assert "(2, 5)" in str(caught.value)
    assert tensor.tolist() == [[1] * 5] * 2


@pytest.mark.parametrize("value", [300, -1, 2**40])
def test_assigning_a_number_that_the_dtype_cannot_hold(device, value):
    tensor = gk.zeros(3, "uint8", device=device)
    with pytest.raises(gk.DTypeError, match=str(value)):
        tensor[1] = value
    assert tensor.tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", ["text", None, object(), 1j], ids=["str", "None", "object", "complex"])
def test_assigning_what_is_no_number(device, value):
    tensor = gk.zeros(3, device=device)
    with pytest.raises(gk.DTypeError):
        tensor[1] = value
    assert tensor.tolist() == [0, 0, 0]


def test_a_result_is_not_changed_by_what_is_assigned_later(device):
    tensor = tensor_of(np.ones(1000, np.float32), device)
    total = tensor + tensor
    tensor[...] = 7
    assert_same(total, np.full(1000, 2, np.float32))


# astype


def numbers_of(dtype, target):
    """Numbers of a dtype that the target can hold or wraps around: what is neither, NumPy leaves open as well."""
    if dtype == BOOL:
        return np.array([False, True, True])
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        edges = [info.min, info.min + 1, info.max - 1, info.max, 0, 1, 2, 100]
        whole_range = sample(dtype, 50)
        return np.concatenate([np.array(edges, dtype), whole_range, whole_range >> (16 if dtype.itemsize == 4 else 0)])
    random = np.random.default_rng(0).standard_normal(50)
    if target in FLOATS:
        far = [65_504, 65_519, 65_520, 1e-7, 6e-8, 2.0**-14, 1e30, -1e38, np.inf, -np.inf, np.nan]
        return np.array([0, -0.0, 1, 0.1, -0.3, 3.5, *far, *random]).astype(dtype)
    if target == BOOL:
        return np.array([0, -0.0, 0.5, -1, 6e-8, np.inf, 100]).astype(dtype)
    low, high = max(np.iinfo(target).min, -60_000), min(np.iinfo(target).max, 60_000)
    within = [low / 2, high / 2, 0.99, 1.5, 2.5] if low == 0 else [low / 2, high / 2, -0.99, 0.99, -1.5, 1.5, -2.5]
    return np.array([*within, *np.abs(random * 20)]).astype(dtype)


@pytest.mark.parametrize("target", DTYPES, ids=lambda dtype: f"to {dtype}")
@every_dtype
def test_astype(device, dtype, target):
    """Integers wrap around, floats are rounded to floats and cut off to integers, and what is not 0 is true."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = numbers_of(dtype, target)
        want = x.astype(target)
    got = gk.asarray(x, device=device).astype(target)
    assert (got.dtype, got.device) == (target, device)
    if target in FLOATS:
        assert_close(got.numpy(), x.astype(np.float64), "astype", target, gpu=is_gpu(device))
    else:
        assert_same(got, want)


@packed_and_not
def test_astype_copies_unless_told_not_to(device, dtype):
    tensor = tensor_of(np.ones(5, dtype), device)
    tensor.astype(dtype)[0] = 0
    assert tensor.tolist() == [1] * 5
    tensor.astype(dtype, copy=False)[0] = 0
    assert tensor.tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", ["complex64", "object", "str", "datetime64[s]", "no such type", 7], ids=str)
def test_astype_of_what_no_device_has(device, dtype):
    with pytest.raises(gk.DTypeError):
        gk.zeros(3, device=device).astype(dtype)
    with pytest.raises(gk.DTypeError):
        gk.zeros(3, dtype, device=device)


# Python's protocols


@pytest.mark.parametrize(
    ("dtype", "number", "kind"),
    [(FLOAT32, 2.5, float), (BFLOAT16, -1.5, float), (INT32, -7, int), (UINT32, 2**32 - 1, int), (UINT8, 200, int),
     (BOOL, True, bool)],
    ids=str,
)  # fmt: skip
def test_one_number(device, dtype, number, kind):
    for shape in ((), (1,), (1, 1)):
        tensor = gk.full(shape, number, dtype, device=device)
        assert type(tensor.item()) is kind
        assert tensor.item() == number
        assert float(tensor) == number
        assert int(tensor) == int(number)
        assert bool(tensor) is True
    assert bool(gk.zeros((), dtype, device=device)) is False
    assert gk.full((), number, dtype, device=device).tolist() == number


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 3)], ids=str)
@pytest.mark.parametrize(
    "convert", [float, int, bool, lambda tensor: tensor.item()], ids=["float", "int", "bool", "item"]
)
def test_not_one_number(device, convert, shape):
    with pytest.raises(gk.ShapeError) as caught:
        convert(gk.zeros(shape, device=device))
    assert str(shape) in str(caught.value)


def test_len_and_iteration(device):
    tensor = gk.asarray([[1, 2], [3, 4], [5, 6]], device=device)
    assert len(tensor) == 3
    assert [row.tolist() for row in tensor] == [[1, 2], [3, 4], [5, 6]]
    assert all(isinstance(row, gk.Tensor) for row in tensor)
    first, *_ = tensor
    assert first.shape == (2,)
    assert list(gk.zeros((0, 3), device=device)) == []


def test_a_single_number_has_no_length(device):
    tensor = gk.zeros((), device=device)
    for attempt in (len, list):
        with pytest.raises(TypeError):
            attempt(tensor)


def test_tolist(device):
    assert gk.asarray([[1, 2], [3, 4]], device=device).tolist() == [[1, 2], [3, 4]]
    assert gk.asarray([[True], [False]], device=device).tolist() == [[True], [False]]
    assert gk.zeros((2, 0), device=device).tolist() == [[], []]


def test_repr_shows_values_shape_dtype_and_device(device):
    text = repr(gk.asarray([[1.5, -2.5, 3.5]], "float16", device=device))
    for word in ("1.5", "-2.5", "3.5", "(1, 3)", "float16", device.id):
        assert word in text


@every_dtype
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1000, 1000)], ids=str)
def test_repr_of_any_size(device, dtype, shape):
    text = repr(gk.zeros(shape, dtype, device=device))
    assert dtype.name in text
    assert str(shape) in text
    assert len(text) < 2000


def test_a_tensor_tells_numpy_to_step_back():
    assert gk.Tensor.__array_ufunc__ is None


# Back to NumPy


@every_dtype
def test_numpy_gives_an_array_of_its_own(device, dtype):
    tensor = tensor_of(np.zeros(1000, dtype), device)
    first, second = tensor.numpy(), tensor.numpy()
    assert type(first) is np.ndarray
    assert first.flags.writeable
    assert first.flags.c_contiguous
    assert not np.shares_memory(first, second)
    first[:] = 1
    assert not tensor.numpy().any()
    tensor[:] = 1
    assert not second.any()


def test_numpy_does_not_alias_what_asarray_shares():
    x = np.zeros(1000, np.float32)
    assert not np.shares_memory(gk.asarray(x, device="cpu").numpy(), x)


def test_an_array_outlives_its_tensor(device):
    arrays = [gk.full(10_007, i, "float32", device=device).numpy() for i in range(20)]
    for i, array in enumerate(arrays):
        assert_same(array, np.full(10_007, i, np.float32))


@every_dtype
def test_numpy_asks_for_an_array(device, dtype):
    x = small(dtype, (3, 5))
    tensor = gk.asarray(x, device=device)
    assert_same(np.asarray(tensor), x)
    assert_same(np.asarray(tensor.T), x.T)
    assert_same(np.asarray(tensor, dtype=np.float64), x.astype(np.float64))
    assert_same(np.array(tensor, copy=True), x)
    assert_same(np.asarray(tensor, dtype=dtype), x)


def test_numpy_asks_for_a_copy(device):
    tensor = tensor_of(np.zeros(3, np.float32), device)
    np.array(tensor, copy=True)[0] = 1
    assert tensor.tolist() == [0, 0, 0]


def test_numpy_asks_for_no_copy(gpu):
    with pytest.raises(ValueError, match="copy"):
        np.asarray(gk.zeros(3, device=gpu), copy=False)


# Devices


@every_dtype
def test_to_another_device_and_back(plain_device, dtype):
    x = sample(dtype, (5, 7))
    tensor = gk.asarray(x, device=plain_device)
    for device in gk.devices():
        moved = tensor.T[1:].to(device)
        assert moved.device == device
        assert_same(moved, x.T[1:])
        assert_same(moved.to(plain_device), x.T[1:])
    assert tensor.to("cpu").device.id == "cpu"


def test_to_a_device_that_is_not_there(device):
    with pytest.raises(gk.DeviceNotFoundError, match="cuda"):
        gk.zeros(3, device=device).to("cuda")


# A dtype that is asked for is converted to directly


def test_wide_input_goes_straight_to_the_dtype(device):
    """Not by way of int32 or float32, which would refuse it or round it."""
    for values, dtype, want in [
        (np.array([2**32 - 1]), "uint32", 2**32 - 1),
        (np.array([3_000_000_000]), "float32", 3e9),
        ([2**32 - 1], "uint32", 2**32 - 1),
        (np.array([16_777_217.0]), "int32", 16_777_217),
    ]:
        assert gk.asarray(values, dtype, device=device).tolist() == [want]
    with pytest.raises(gk.DTypeError, match="300"):
        gk.asarray([300], "uint8", device=device)


def test_numbers_too_large_for_an_integer_dtype(device):
    """A float becomes the nearest integer that there is, as in `astype`; an integer raises."""
    assert gk.full(2, 1e10, "int32", device=device).tolist() == [2**31 - 1] * 2
    tensor = gk.zeros(2, "uint8", device=device)
    tensor[:] = -1e9
    tensor[1:] = 1e9
    assert tensor.tolist() == [0, 255]
    for value in (300, 10**30):
        with pytest.raises(gk.DTypeError, match="uint8"):
            tensor[:] = value
    with pytest.raises(gk.DTypeError, match="int32"):
        gk.arange(2**64, 2**64 + 3, device=device)
    assert (gk.ones(1, device=device) * 10**30).item() == np.float32(1e30)


def test_copy_between_settings_of_the_cpu():
    one = gk.get_device("cpu").with_caps("threads=1")
    tensor = gk.asarray(np.float32([1, 2]), device="cpu")
    shared, copied = gk.asarray(tensor, device=one, copy=False), gk.asarray(tensor, device=one, copy=True)
    tensor[:] = 0
    assert shared.tolist() == [0, 0]
    assert copied.tolist() == [1, 2]


def test_assignment_takes_what_numpy_takes(device):
    """Leading axes of length 1, and wide integers that the tensor's dtype can hold."""
    tensor = gk.zeros(3, device=device)
    tensor[:] = np.float32([[[1, 2, 3]]])
    assert tensor.tolist() == [1, 2, 3]
    tensor[:] = np.array([2**40, 1, 1])
    assert tensor.tolist() == [2**40, 1, 1]
    with pytest.raises(gk.ShapeError, match="axes"):
        tensor[(None,) * 70]


def test_integers_without_axes_are_indices(device):
    t = gk.arange(12, device=device).reshape(4, 3)
    two = gk.asarray([1, 2], device=device)[1]
    assert t[two].tolist() == t[np.array(2)].tolist() == t[np.int8(2)].tolist() == [6, 7, 8]
    assert t[two:, np.array(0)].tolist() == [6, 9]
    assert "abc"[two] == "c"
    for wrong in (gk.asarray([1], device=device), gk.asarray(1.0, device=device), np.array([1]), np.array(True)):
        with pytest.raises(gk.DTypeError, match="index"):
            t[wrong]


def test_tensors_are_not_pickled(device):
    with pytest.raises(TypeError, match=r"\.numpy\(\)"):
        pickle.dumps(gk.ones(2, device=device))


def test_float64_is_rounded_to_16_bits_once(device):
    """By way of float32 the first of these would be a tie, and end at 1."""
    for dtype, bits in (("float16", 10), ("bfloat16", 7)):
        half = 2.0 ** -(bits + 1)
        values = [1 + half + 2.0**-45, 1 + half, 1 + 3 * half - 2.0**-45, -1 - half - 2.0**-45]
        want = [1 + 2 * half, 1, 1 + 2 * half, -1 - 2 * half]
        assert gk.asarray(np.array(values), dtype, device=device).tolist() == want
        assert gk.asarray(np.array(values, ">f8")[::-1], dtype, device=device).tolist() == want[::-1]
        assert [gk.full((), value, dtype, device=device).item() for value in values] == want


def test_conversions_say_nothing(device):
    with np.errstate(all="raise"):
        assert gk.asarray(np.array([1e-50, 1e300, np.nan]), "float32", device=device).tolist()[:2] == [0, np.inf]
