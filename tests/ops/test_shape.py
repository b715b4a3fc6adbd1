"""concat, stack, take, embedding, transpose, reshape, broadcast_to, astype and copy."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

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
from oracles import check, promote, tensors_of

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
packed_and_not = pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, INT8], ids=str)


def any_bits(dtype, shape, seed=0):
    """NaNs with payloads, the sign of zero and subnormal numbers among them."""
    bits = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8)
    return (bits % 2 == 0 if dtype == BOOL else bits.view(dtype)).reshape(shape)


def assert_views(view, base, want):
    """The view shows `want`, and what is written to it is seen in the base."""
    assert_same(view, want)
    view[...] = 1
    assert np.count_nonzero(base.numpy() == 1) == want.size


# Copies change no bit


@every_dtype
def test_every_bit_survives(device, dtype):
    x, y = any_bits(dtype, (7, 5)), any_bits(dtype, (3, 5), 1)
    a, b = gk.asarray(x, device=device), gk.asarray(y, device=device)
    assert_same(gk.concat([a, b]), np.concatenate([x, y]))
    assert_same(gk.concat([a.T, b.T], axis=1), np.concatenate([x, y]).T)
    assert_same(gk.stack([b, b], axis=2), np.stack([y, y], 2))
    assert_same(gk.take(a, np.array([6, 0, 0]), axis=0), x[[6, 0, 0]])
    assert_same(gk.take(a, gk.asarray([4, 1], device=device), axis=1), x[:, [4, 1]])
    assert_same(gk.embedding(a, gk.asarray([[6], [2]], device=device)), x[[[6], [2]]])
    assert_same(gk.transpose(a), x.T)
    assert_same(gk.reshape(a.T, (7, 5)), x.T.reshape(7, 5))
    assert_same(gk.broadcast_to(a, (2, 7, 5)), np.broadcast_to(x, (2, 7, 5)))
    assert_same(gk.copy(a[::-2]), x[::-2])
    assert_same(gk.astype(a, dtype), x)


# concat and stack


@packed_and_not
@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        ([(3,), (4,)], 0),
        ([(3, 5), (1, 5), (4, 5)], 0),
        ([(3, 5), (3, 1), (3, 4)], 1),
        ([(3, 5), (3, 1), (3, 4)], -1),
        ([(2, 3, 5), (2, 4, 5)], -2),
        ([(2, 3), (0, 3), (1, 3)], 0),
        ([(0,), (0,)], 0),
        ([(3, 0), (2, 0)], 0),
        ([(3, 5), (2,), (1, 1, 2)], None),
        ([(2, 2), ()], None),
        ([(5, 7)], 1),
    ],
    ids=str,
)
def test_concat(device, dtype, shapes, axis):
    check(device, "concat", *(sample(dtype, shape, seed) for seed, shape in enumerate(shapes)), axis=axis)


@packed_and_not
def test_stack(device, dtype):
    for shape in [(), (5,), (3, 5), (2, 0)]:
        operands = [sample(dtype, shape, seed) for seed in range(3)]
        for axis in range(-len(shape) - 1, len(shape) + 1):
            check(device, "stack", *operands, axis=axis)


def test_default_axes(device):
    x, y = tensors_of((sample(FLOAT32, (2, 3), 1), sample(FLOAT32, (2, 3), 2)), device)
    assert_same(gk.concat([x, y]), np.concatenate([x.numpy(), y.numpy()]))
    assert_same(gk.concat((x, y), 1), np.concatenate([x.numpy(), y.numpy()], 1))
    assert_same(gk.stack([x, y]), np.stack([x.numpy(), y.numpy()]))


@given(data=st.data())
def test_concat_of_anything(device, data):
    """Tensors of any dtypes and layouts, whose parts begin anywhere in a word of the result."""
    shape = data.draw(array_shapes(max_dims=3, max_side=6))
    axis = data.draw(st.integers(0, len(shape) - 1))
    family = data.draw(st.sampled_from([FLOATS, (INT8, UINT8, INT32, BOOL), (BOOL, INT8), (FLOAT16, INT8)]))
    operands = []
    for seed in range(data.draw(st.integers(1, 5))):
        dtype = data.draw(st.sampled_from(family))
        part = (*shape[:axis], data.draw(st.integers(0, 7)), *shape[axis + 1 :])
        operands.append(lay_out(sample(dtype, part, seed), data.draw(st.sampled_from(layouts_of(dtype)))))
    check(device, "concat", *operands, axis=axis - data.draw(st.sampled_from([0, len(shape)])))


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_layouts(device, dtype, layout):
    x = lay_out(sample(dtype, (5, 3, 7)), layout)
    for axis in (0, 1, 2):
        check(device, "concat", x, sample(dtype, (5, 3, 7), 1), axis=axis)
        check(device, "take", x, np.array([2, 0, -1, 1], np.int32), axis=axis)
    check(device, "stack", x, x, axis=1)
    for ids in (np.int32([4, 0, 4]), lay_out(np.int32([[4, 0], [1, 1]]), layout if layout != "broadcast" else "C")):
        check(device, "embedding", x[:, 0], ids)


def test_many_tensors(device):
    """More than a kernel has bindings."""
    for dtype in (FLOAT32, INT8):
        parts = [sample(dtype, (3, 1 + i % 4), i) for i in range(100)]
        check(device, "concat", *parts, axis=1)
        check(device, "stack", *parts[::4], axis=0)


def test_large_tensors(device):
    for dtype in (FLOAT32, INT8):
        check(device, "concat", cycle(dtype, (3, 100_003)), cycle(dtype, (3, 7)), cycle(dtype, (3, 50_001)), axis=1)
        check(device, "concat", cycle(dtype, 300_007), cycle(dtype, 1), cycle(dtype, 300_007))
        check(device, "stack", cycle(dtype, 100_003), cycle(dtype, 100_003)[::-1], axis=1)


def test_arrays_beside_tensors(device):
    x, y = sample(FLOAT32, (2, 3), 1), sample(FLOAT32, (2, 3), 2)
    for operands in ([gk.asarray(x, device=device), y], [x, gk.asarray(y, device=device)]):
        got = gk.concat(operands)
        assert type(got) is gk.Tensor
        assert got.device == device
        assert_same(got, np.concatenate([x, y]))
    assert type(gk.stack([x, y], device=device)) is np.ndarray


def test_concat_is_no_alias(device):
    tensor = gk.asarray(np.zeros(3, np.float32), device=device, copy=True)
    got = gk.concat([tensor])
    tensor[:] = 7
    assert got.tolist() == [0, 0, 0]


def test_out_of_concat_is_one_of_its_tensors(device):
    """As if all had been copied first: parts trade places."""
    for dtype in (FLOAT32, INT8):
        before = small(dtype, 101)
        tensor = gk.asarray(before, device=device, copy=True)
        gk.concat([tensor[50:], tensor[:50]], out=tensor)
        assert_same(tensor, np.concatenate([before[50:], before[:50]]))


@pytest.mark.parametrize("op", ["concat", "stack"])
def test_tensors_that_do_not_fit(device, op):
    for first, second, axis in [((2, 3), (2, 4), 0), ((2, 3), (3,), 0), ((2, 3), (3, 4), 1), ((2, 3), (2, 3, 1), -1)]:
        arrays = [np.ones(first, np.float32), np.ones(second, np.float32)]
        for operands in (arrays, tensors_of(arrays, device)):
            with pytest.raises(gk.ShapeError, match=op) as caught:
                getattr(gk, op)(operands, axis, device=device)
            assert str(first) in str(caught.value)
            assert str(second) in str(caught.value)


@pytest.mark.parametrize(("op", "shape", "axis"), [("concat", (2, 3), 2), ("concat", (2, 3), -3), ("stack", (2, 3), 3),
                                                   ("stack", (2, 3), -4)])  # fmt: skip
def test_an_axis_out_of_range_of_all(device, op, shape, axis):
    with pytest.raises(gk.BoundsError, match=op) as caught:
        getattr(gk, op)([gk.ones(shape, device=device)] * 2, axis)
    for word in ("axis", str(axis), "(2, 3"):
        assert word in str(caught.value)


def test_concat_of_what_has_no_axes(device):
    with pytest.raises((gk.ShapeError, gk.BoundsError), match="concat"):
        gk.concat([gk.ones((), device=device)] * 2)


@pytest.mark.parametrize("op", ["concat", "stack"])
@pytest.mark.parametrize("tensors", [[], (), None, 3, "text"], ids=repr)
def test_no_tensors(device, op, tensors):
    with pytest.raises((gk.ArgumentError, gk.ShapeError, gk.DTypeError, TypeError)):
        getattr(gk, op)(tensors, device=device)


@pytest.mark.parametrize("op", ["concat", "stack"])
def test_dtypes_of_all(device, op):
    """Their common dtype, in whatever order they come."""
    for dtypes in ([FLOAT16, FLOAT32], [INT8, UINT8, BOOL], [BFLOAT16, FLOAT16], [BOOL, BOOL], [INT32, FLOAT16, BOOL]):
        check(device, op, *(small(dtype, (2, 3), seed) for seed, dtype in enumerate(dtypes)))
    assert promote(INT32, UINT32) is None
    with pytest.raises(gk.DTypeError, match=op) as caught:
        getattr(gk, op)([gk.ones(2, "int32", device=device), gk.ones(2, "uint32", device=device)])
    for word in ("int32", "uint32"):
        assert word in str(caught.value)


# take and embedding


@packed_and_not
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_take(device, dtype, axis):
    x = sample(dtype, (4, 3, 5))
    n = x.shape[axis]
    for indices in ([0], [n - 1, 0, 1], [-1, -n, 0], [1] * 9, [[0, 1], [2, 0]], 2, np.zeros((0,), int)):
        for dtype_of_indices in (np.int32, np.int8):
            check(device, "take", x, np.array(indices, dtype_of_indices), axis=axis)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_indices_of_every_dtype(device, dtype):
    x, indices = sample(FLOAT32, (100, 3)), np.array([99, 0, 42], dtype)
    for each in (indices, gk.asarray(indices, device=device), lay_out(np.repeat(indices, 2), "C")[::2]):
        assert_same(gk.take(gk.asarray(x, device=device), each, axis=0), x[indices])
        assert_same(gk.embedding(gk.asarray(x, device=device), each), x[indices])


def test_indices_in_python(device):
    x = sample(FLOAT32, (5, 3))
    for t in (x, gk.asarray(x, device=device)):
        assert_same(np.asarray(gk.take(t, [1, -1], axis=0, device=device)), x[[1, -1]])
        assert_same(np.asarray(gk.take(t, 2, axis=1, device=device)), x[:, 2])
        assert_same(np.asarray(gk.embedding(t, [[1], [4]], device=device)), x[[[1], [4]]])
    assert_same(gk.take(gk.asarray(x[:, 0], device=device), [3, 3]), x[[3, 3], 0])


@pytest.mark.parametrize("op", ["take", "embedding"])
@pytest.mark.parametrize("index", [5, -6, 100, 2**31 - 1, -(2**31), 2**40, -(2**63)])
def test_an_index_from_the_host_out_of_range(device, op, index):
    """It raises, whatever it is an index of, and says which."""
    x = sample(FLOAT32, (5, 3))
    for t in (x, gk.asarray(x, device=device)):
        for indices in ([0, index], np.array([[1, index]]), np.array([4, index], np.int64)[::-1]):
            with pytest.raises(gk.BoundsError, match=op) as caught:
                getattr(gk, op)(t, indices, **({"axis": 0} if op == "take" else {}), device=device)
            assert str(index) in str(caught.value)
            assert "5" in str(caught.value)


@pytest.mark.parametrize("op", ["take", "embedding"])
def test_indices_on_a_device_are_clamped(device, op):
    """They cannot raise. Negative ones count from the end, as from the host."""
    x = sample(FLOAT32, (5, 3))
    given = np.array([5, -6, 100, 2**31 - 1, -(2**31), 4, -5, -1], np.int32)
    want = x[[4, 0, 4, 4, 0, 4, 0, 4]]
    axis = {"axis": 0} if op == "take" else {}
    for t in (x, gk.asarray(x, device=device)):
        got = getattr(gk, op)(t, gk.asarray(given, device=device), **axis)
        assert type(got) is gk.Tensor
        assert_same(got, want)
    unsigned = gk.asarray([5, 2**31, 2**32 - 1, 0], "uint32", device=device)
    assert_same(getattr(gk, op)(gk.asarray(x, device=device), unsigned, **axis), x[[4, 4, 4, 0]])
    narrow = gk.asarray([127, -128, -5], "int8", device=device)
    assert_same(getattr(gk, op)(gk.asarray(x, device=device), narrow, **axis), x[[4, 0, 0]])


@pytest.mark.parametrize("op", ["take", "embedding"])
def test_indices_that_are_none(device, op):
    axis = {"axis": 0} if op == "take" else {}
    for indices in (np.float32([0]), [0.5], np.array([True, False]), "text", None, gk.ones(2, device=device)):
        with pytest.raises(gk.DTypeError, match=op) as caught:
            getattr(gk, op)(gk.ones((5, 3), device=device), indices, **axis)
        assert "ind" in str(caught.value) or "ids" in str(caught.value)


@pytest.mark.parametrize("axis", [2, -3])
def test_take_along_an_axis_out_of_range(device, axis):
    with pytest.raises(gk.BoundsError, match="take") as caught:
        gk.take(gk.ones((5, 3), device=device), [0], axis=axis)
    for word in ("axis", str(axis), "(5, 3)"):
        assert word in str(caught.value)


def test_take_from_nothing(device):
    """No index is in range of an empty axis, but no index need be."""
    x = gk.zeros((0, 3), device=device)
    assert gk.take(x, np.zeros(0, np.int32), axis=0).shape == (0, 3)
    assert gk.take(x, [0, 2], axis=1).shape == (0, 2)
    with pytest.raises(gk.BoundsError, match="take"):
        gk.take(x, [0], axis=0)


@packed_and_not
def test_embedding(device, dtype):
    """Rows of a table, by ids of any shape."""
    for n, d in ((7, 5), (1, 1), (1000, 64), (3, 1025), (20, 0)):
        table = sample(dtype, (n, d))
        for shape in [(), (4,), (2, 3), (0,), (2, 0, 3), (1, 1, 1)]:
            ids = np.random.default_rng(1).integers(-n, n, shape).astype(np.int32)
            check(device, "embedding", table, np.asarray(ids))


def test_embedding_of_another_number_of_axes(device):
    """A row may be a number or a matrix, but there must be rows."""
    for shape in [(5,), (5, 2, 3), (5, 2, 0, 3)]:
        check(device, "embedding", sample(FLOAT32, shape), np.int32([[4, -5], [0, 1]]))
    with pytest.raises((gk.ShapeError, gk.BoundsError), match="embedding") as caught:
        gk.embedding(gk.ones((), device=device), [0])
    assert "()" in str(caught.value)


def test_a_large_table(device):
    """Larger than small bindings, as is what is taken from it."""
    for dtype in (FLOAT32, FLOAT16, INT8):
        table = cycle(dtype, (30_011, 33))
        ids = np.random.default_rng(0).integers(0, 30_011, 5003).astype(np.int32)
        check(device, "embedding", table, ids)
        check(device, "take", table.T, ids, axis=1)
        check(device, "take", table[:5000], np.arange(32, -1, -1, dtype=np.int32), axis=1)


@given(data=st.data())
def test_take_of_anything(device, data):
    dtype = data.draw(st.sampled_from([FLOAT32, FLOAT16, UINT8]))
    shape = data.draw(array_shapes(max_dims=3, max_side=6))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    n = shape[axis]
    indices = data.draw(st.lists(st.integers(-n, n - 1), max_size=8))
    x = lay_out(sample(dtype, shape), data.draw(st.sampled_from(layouts_of(dtype))))
    check(device, "take", x, np.array(indices, np.int32), axis=axis)


def test_out_of_take_overlaps_what_it_takes_from(device):
    for dtype in (FLOAT32, INT8):
        before = sample(dtype, (40, 7))
        tensor = gk.asarray(before, device=device, copy=True)
        order = np.random.default_rng(0).permutation(40)
        assert gk.take(tensor, order, axis=0, out=tensor) is tensor
        assert_same(tensor, before[order])


# transpose


@packed_and_not
def test_transpose(device, dtype):
    x = sample(dtype, (2, 3, 4))
    for axes in (None, (0, 1, 2), (2, 0, 1), (1, -1, 0), [2, 1, 0]):
        want = np.transpose(x, axes)
        assert_same(gk.transpose(gk.asarray(x, device=device), axes), want)
        assert_same(np.asarray(gk.transpose(x, axes)), want)
    for shape in [(), (5,), (0, 3)]:
        assert_same(gk.transpose(gk.zeros(shape, dtype, device=device)), np.zeros(shape, dtype).T)


def test_a_transposed_tensor_is_a_view(device):
    base = gk.zeros((2, 3, 4), device=device)
    assert_views(gk.transpose(base, (1, 0, 2))[1:], base, np.zeros((2, 2, 4), np.float32))


@pytest.mark.parametrize(
    ("axes", "error"),
    [
        ((0, 0, 1), gk.ShapeError),
        ((0, 1), gk.ShapeError),
        ((0, 1, 2, 1), gk.ShapeError),
        ((0, 1, -2), gk.ShapeError),
        ((), gk.ShapeError),
        ((0, 1, 3), gk.BoundsError),
        ((0, 1, -4), gk.BoundsError),
    ],
    ids=str,
)
def test_axes_that_are_no_permutation(device, axes, error):
    with pytest.raises(error, match="transpose") as caught:
        gk.transpose(gk.ones((2, 3, 4), device=device), axes)
    assert "axes" in str(caught.value) or "axis" in str(caught.value)


# reshape


def test_reshape(device):
    x = sample(FLOAT16, (4, 6))
    for shape in ((24,), 24, -1, (2, 12), (-1, 8), (1, 4, 6, 1), [3, 8], (np.int64(6), 4)):
        assert_same(gk.reshape(gk.asarray(x, device=device), shape), x.reshape(shape))
        assert_same(np.asarray(gk.reshape(x, shape)), x.reshape(shape))
        assert_same(gk.reshape(gk.asarray(x, device=device).T, shape), x.T.reshape(shape))
    assert gk.reshape(gk.zeros((0, 3), device=device), (3, 0, 7)).shape == (3, 0, 7)
    assert gk.reshape(gk.ones(1, device=device), ()).shape == ()


def test_a_reshaped_tensor_is_a_view_where_it_can_be(device):
    base = gk.zeros((4, 6), device=device)
    assert_views(gk.reshape(base[1:3], (3, 4)), base, np.zeros((3, 4), np.float32))
    transposed = gk.reshape(base.T, (24,))
    transposed[...] = 7
    assert np.count_nonzero(base.numpy() == 7) == 0


@pytest.mark.parametrize("shape", [(7,), (2, 2), (-1, 4), (-1, -1), (0, -1), (), (2, -3), (-2, 3)], ids=str)
def test_a_reshape_that_cannot_be(device, shape):
    for x in (np.zeros((2, 3), np.float32), gk.zeros((2, 3), device=device)):
        with pytest.raises(gk.ShapeError, match="reshape") as caught:
            gk.reshape(x, shape)
        assert "(2, 3)" in str(caught.value)


# broadcast_to


@given(data=st.data())
def test_broadcast_to(device, data):
    shapes = data.draw(mutually_broadcastable_shapes(num_shapes=1, base_shape=(2, 3, 1, 4), min_side=0, max_side=4))
    x = sample(FLOAT16, shapes.input_shapes[0])
    want = np.broadcast_to(x, shapes.result_shape)
    assert_same(gk.broadcast_to(gk.asarray(x, device=device), shapes.result_shape), want)
    assert_same(np.asarray(gk.broadcast_to(x, shapes.result_shape)), want)


def test_a_broadcast_tensor_is_a_view(device):
    """It shows what becomes of its base, but cannot be written to: its elements share memory."""
    base = gk.zeros((1, 3), device=device)
    view = gk.broadcast_to(base, (4, 3))
    base[:, 1] = 5
    assert view.tolist() == [[0, 5, 0]] * 4
    with pytest.raises(gk.ArgumentError):
        view[...] = 1
    with pytest.raises(gk.ArgumentError):
        view[:, 0] = 1
    with pytest.raises(gk.ArgumentError, match="out"):
        gk.add(view, 1, out=view)
    assert (view + 1).tolist() == [[1, 6, 1]] * 4
    assert gk.sum(view).item() == 20


def test_broadcasting_to_a_size(device):
    assert gk.broadcast_to(gk.ones((), device=device), 3).tolist() == [1, 1, 1]
    assert gk.broadcast_to(gk.ones((1, 1), device=device), (0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("shape", "target"),
    [((3,), (4,)), ((2, 3), (3,)), ((2, 3), (2, 1)), ((3,), (3, 1)), ((2,), ()), ((0,), (2,))],
    ids=str,
)
def test_a_shape_that_it_does_not_broadcast_to(device, shape, target):
    for x in (np.zeros(shape, np.float32), gk.zeros(shape, device=device)):
        with pytest.raises(gk.ShapeError, match="broadcast_to") as caught:
            gk.broadcast_to(x, target)
        assert str(shape) in str(caught.value)
        assert str(target) in str(caught.value)


# expand_dims, squeeze, permute_dims and matrix_transpose


def test_axes_of_length_one(device):
    x = sample(FLOAT16, (1, 3, 1, 4))
    for t in (x, gk.asarray(x, device=device)):
        for axis in range(-5, 5):
            assert_same(np.asarray(gk.expand_dims(t, axis)), np.expand_dims(x, axis))
        assert_same(np.asarray(gk.expand_dims(t)), x[None])
        for axis in (None, 0, -2, (0, 2), (-4,), ()):
            assert_same(np.asarray(gk.squeeze(t, axis)), np.squeeze(x, axis))
        for call, wrong, error in [
            (gk.expand_dims, 5, gk.BoundsError),
            (gk.expand_dims, -6, gk.BoundsError),
            (gk.squeeze, 4, gk.BoundsError),
            (gk.squeeze, 1, gk.ShapeError),
            (gk.squeeze, (0, -4), gk.ShapeError),
        ]:
            with pytest.raises(error, match=call.__name__) as caught:
                call(t, wrong)
            assert "(1, 3, 1, 4" in str(caught.value)
    base = gk.zeros((2, 1, 3), device=device)
    assert_views(gk.expand_dims(gk.squeeze(base, 1), -1), base, np.zeros((2, 3, 1), np.float32))


def test_other_names_of_transpose(device):
    x = sample(INT8, (2, 3, 4))
    for t in (x, gk.asarray(x, device=device)):
        assert_same(np.asarray(gk.permute_dims(t, (1, -1, 0))), np.transpose(x, (1, -1, 0)))
        assert_same(np.asarray(gk.matrix_transpose(t)), np.swapaxes(x, 1, 2))
    with pytest.raises(gk.ShapeError, match="matrix_transpose"):
        gk.matrix_transpose(gk.ones(3, device=device))
    with pytest.raises(TypeError):
        gk.permute_dims(gk.ones((2, 3), device=device))
    tensor = gk.asarray(x, device=device)
    assert_same(tensor.mT, np.swapaxes(x, 1, 2))
    for axes in ((), (None,), (2, 0, 1), ((2, 0, 1),)):
        assert_same(tensor.transpose(*axes), x.transpose(*axes))


# Views of arrays


def test_views_of_arrays():
    """Where NumPy gives a view of an array, so do these."""
    x = np.zeros((4, 6), np.float32)
    for got in (gk.transpose(x), gk.reshape(x, (3, 8)), gk.broadcast_to(x, (2, 4, 6))):
        assert isinstance(got, np.ndarray)
        assert np.shares_memory(got, x)
    for got in (gk.copy(x), gk.astype(x, "float32"), gk.astype(x, "float16"), gk.reshape(x.T, (24,))):
        assert isinstance(got, np.ndarray)
        assert not np.shares_memory(got, x)


# astype and copy


@every_dtype
def test_astype(device, dtype):
    """The function does as the method."""
    x = small(dtype, (5, 7))
    for target in DTYPES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            want = x.astype(target)
        assert_same(gk.astype(gk.asarray(x, device=device), target), want)
        assert_same(np.asarray(gk.astype(x, target)), want)


def test_astype_copies_unless_told_not_to(device):
    tensor = gk.zeros(3, device=device)
    gk.astype(tensor, "float32")[0] = 1
    assert tensor.tolist() == [0, 0, 0]
    gk.astype(tensor, "float32", copy=False)[0] = 1
    assert tensor.tolist() == [1, 0, 0]


@pytest.mark.parametrize("dtype", ["complex64", "object", "no such type", 7], ids=str)
def test_astype_of_what_no_device_has(device, dtype):
    with pytest.raises(gk.DTypeError):
        gk.astype(gk.zeros(3, device=device), dtype)


@packed_and_not
def test_copy(device, dtype):
    x = sample(dtype, (5, 7))
    tensor = gk.asarray(x, device=device, copy=True)
    for view, want in ((tensor, x), (tensor.T, x.T), (tensor[1::2, ::-1], x[1::2, ::-1]), (tensor[2:2], x[2:2])):
        got = gk.copy(view)
        assert_same(got, want)
        if want.size:
            got[...] = 0
            assert_same(tensor, x)
    assert_same(np.asarray(gk.copy(x)), x)


@pytest.mark.parametrize("op", ["transpose", "reshape", "broadcast_to", "astype", "copy"])
def test_what_is_no_array(device, op):
    more = {"reshape": (3,), "broadcast_to": (3,), "astype": ("float32",)}.get(op, ())
    for thing in (None, "text", np.array(["a"]), object()):
        with pytest.raises(gk.DTypeError, match=op):
            getattr(gk, op)(thing, *more)


def test_matrices_become_arrays():
    """They have two axes whatever is done to them; a NumPy result is an ndarray."""
    matrix = np.arange(4, dtype=np.float32).reshape(2, 2).view(np.matrix)
    for result, shape in [
        (gk.reshape(matrix, 4), (4,)),
        (gk.squeeze(matrix[0]), (2,)),
        (gk.expand_dims(matrix, 0), (1, 2, 2)),
        (gk.transpose(matrix), (2, 2)),
        (gk.broadcast_to(matrix, (3, 2, 2)), (3, 2, 2)),
        (gk.astype(matrix, "float32", copy=False), (2, 2)),
    ]:
        assert type(result) is np.ndarray
        assert result.shape == shape
    assert np.shares_memory(gk.reshape(matrix, 4), matrix)


@pytest.mark.parametrize(
    "call",
    [gk.copy, gk.transpose, gk.asarray, gk.sum, lambda x: gk.reshape(x, 2), lambda x: gk.astype(x, "int8")],
    ids=["copy", "transpose", "asarray", "sum", "reshape", "astype"],
)
def test_masks_are_not_lost(call):
    values = np.float32([1, 2])
    with pytest.raises(gk.ArgumentError, match=r"mask.*filled"):
        call(np.ma.array(values, mask=[False, True]))
    assert type(call(np.ma.array(values))) is type(call(values))


def test_arrays_as_shapes_and_axes(device):
    t = gk.zeros(np.array([2, 3, 4]), device=device)
    assert t.shape == (2, 3, 4)
    assert gk.zeros(np.array(3), device=device).shape == (3,)
    assert gk.transpose(t, np.argsort([2, 0, 1])).shape == t.transpose(np.array([1, 2, 0])).shape == (3, 4, 2)
    assert gk.reshape(t, np.array([6, -1])).shape == t.reshape(np.array([6, -1])).shape == (6, 4)
    with pytest.raises(gk.ShapeError):
        gk.zeros(np.array([2.0, 3.0]), device=device)
