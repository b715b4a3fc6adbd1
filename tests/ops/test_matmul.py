"""matmul(a, b): a[..., m, k] . b[..., k, n] -> [..., m, n], the operator @, and matmul_vec of stacks of vectors."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices, mutually_broadcastable_shapes

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
    UINT32,
    WRITEABLE_LAYOUTS,
    assert_same,
    cycle,
    lay_out,
    layouts_of,
    sample,
    small,
)
from oracles import assert_close, assert_right, check, is_gpu, promote

floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
PAIRS = [pytest.param(a, b, id=f"{a}-{b}") for a in DTYPES for b in DTYPES]
# Beside the sizes of tiles, of vectors and of workgroups.
EDGES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 130, 255, 256, 257)


def matmul(a, b, device):
    """On tensors, as an array."""
    return gk.matmul(gk.asarray(a, device=device), gk.asarray(b, device=device)).numpy()


def assert_matmul(device, a, b):
    assert_right("matmul", matmul(a, b, device), a, b, device=device)


# Types


@pytest.mark.uncapped
@pytest.mark.parametrize("dtype", DTYPES[:-1], ids=str)
def test_in_numbers(device, dtype):
    a = gk.asarray([[1, 2, 3], [4, 5, 6]], dtype, device=device)
    b = gk.asarray([[1, 0], [0, 2], [1, 1]], dtype, device=device)
    for got in (gk.matmul(a, b), a @ b):
        assert got.dtype == dtype
        assert got.tolist() == [[4, 7], [10, 16]]


@pytest.mark.uncapped
def test_bools(device):
    """Whether a sum of products is not 0: "or" of "and"."""
    a, b = sample(BOOL, (17, 33), 1) & sample(BOOL, (17, 33), 2), sample(BOOL, (33, 9), 3) & sample(BOOL, (33, 9), 4)
    check(device, "matmul", a, b)
    check(device, "matmul", np.ones((2, 256), bool), np.ones((256, 2), bool))


@pytest.mark.uncapped
@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_every_pair_of_dtypes(device, left, right):
    a, b = sample(left, (5, 37), 1), sample(right, (37, 6), 2)
    if promote(left, right) is not None:
        check(device, "matmul", a, b)
        return
    for a_and_b in ((a, b), (gk.asarray(a, device=device), gk.asarray(b, device=device))):
        with pytest.raises(gk.DTypeError, match="matmul") as caught:
            gk.matmul(*a_and_b, device=device)
        for word in (left.name, right.name, "astype"):
            assert word in str(caught.value)


@pytest.mark.uncapped
@pytest.mark.parametrize(("left", "right"), list(itertools.product(FLOATS, FLOATS)), ids=str)
@pytest.mark.parametrize("shape", [(65, 130, 67), (32, 64, 32)], ids=str)
def test_mixed_floats_in_tiles(device, left, right, shape):
    """The dtypes of a tile's two sides, and of its result, in either order of their elements."""
    m, k, n = shape
    a, b = sample(left, (m, k), 1), sample(right, (k, n), 2)
    for of_a, of_b in (("C", "C"), ("F", "C"), ("C", "F")):
        assert_matmul(device, lay_out(a, of_a), lay_out(b, of_b))


@pytest.mark.uncapped
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_wrap_around(device, dtype):
    high = np.iinfo(dtype).max
    check(device, "matmul", np.full((5, 130), high, dtype), np.full((130, 7), high, dtype))
    check(device, "matmul", sample(dtype, (33, 65), 1), sample(dtype, (65, 35), 2))


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_narrow_floats_are_summed_in_float32(device, dtype):
    """A sum of ones in float16 would stop at 2048, in bfloat16 at 256."""
    for m, n in ((2, 3), (16, 16), (64, 64)):
        got = matmul(np.ones((m, 4096), dtype), np.ones((4096, n), dtype), device)
        assert (got == 4096).all()
    # Products of float16 are not rounded before they are summed: 1 + 2^-10 + 2^-20, less 1.
    a, b = np.zeros((16, 32), FLOAT16), np.zeros((32, 16), FLOAT16)
    a[:, 0], b[0], a[:, 1], b[1] = 1 + 2**-10, 1 + 2**-10, -1, 1
    assert (matmul(a, b, device) == np.float16(2.0**-9 + 2.0**-20)).all()


@pytest.mark.uncapped
def test_float16_that_is_too_large(device):
    """Sums beyond 65504 are infinite, but not if they come back."""
    a = np.zeros((17, 40), FLOAT16)
    a[0, [0, 39]], a[1, [3, 30]], a[2] = (300, 300), (300, -300), -300
    got = matmul(a, np.full((40, 19), 300, FLOAT16), device)
    assert (got[0] == np.inf).all()
    assert (got[1] == 0).all()
    assert (got[2] == -np.inf).all()
    assert (got[3:] == 0).all()


@pytest.mark.uncapped
@floats
@pytest.mark.parametrize("shape", [(6, 37, 5), (70, 70, 70)], ids=str)
def test_special_values_stay_in_their_rows_and_columns(device, dtype, shape):
    m, k, n = shape
    a, b = np.ones((m, k), dtype), np.ones((k, n), dtype)
    a[1, 0], a[2, k - 1], a[3, 17] = np.nan, np.inf, -np.inf
    a[4, [3, 30]] = np.inf, -np.inf
    check(device, "matmul", a, b)
    check(device, "matmul", np.ones((n, m), dtype), a)
    b[k - 1, n - 1], b[5, 2] = np.nan, np.inf
    check(device, "matmul", np.ones((m, k), dtype), b)
    got = matmul(np.ones((m, k), dtype), b, device)
    assert np.isnan(got[:, n - 1]).all()
    assert np.isfinite(got[:, 3 : n - 1].astype(np.float32)).all()


def test_what_lies_beside_a_view_has_no_part(device):
    """NaN all around: tiles reach beyond the matrix, but nothing of that counts, not even as 0 * NaN."""
    for dtype in (FLOAT32, FLOAT16):
        for m, k, n in ((5, 7, 3), (33, 65, 17), (70, 20, 66)):
            a, b = np.full((m + 9, k + 11), np.nan, dtype), np.full((k + 9, n + 11), np.nan, dtype)
            a[4 : 4 + m, 3 : 3 + k], b[2 : 2 + k, 5 : 5 + n] = sample(dtype, (m, k), 1), sample(dtype, (k, n), 2)
            left = gk.asarray(a, device=device)[4 : 4 + m, 3 : 3 + k]
            right = gk.asarray(b, device=device)[2 : 2 + k, 5 : 5 + n]
            operands = a[4 : 4 + m, 3 : 3 + k], b[2 : 2 + k, 5 : 5 + n]
            assert_right("matmul", gk.matmul(left, right).numpy(), *operands, device=device)
            turned = operands[1].T, operands[0].T
            assert_right("matmul", gk.matmul(right.T, left.T).numpy(), *turned, device=device)


# Shapes


@pytest.mark.uncapped
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((2, 3), (3, 4)),
        ((3,), (5, 3, 4)),
        ((5, 2, 3), (3,)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (6, 3, 4)),
        ((1, 6, 2, 3), (5, 1, 3, 4)),
        ((2, 1, 3, 1, 2, 3), (2, 1, 2, 3, 4)),
    ],
    ids=str,
)
def test_the_shape_rules_of_numpy(device, a, b):
    """A vector on the left is a row, on the right a column; that axis is not in the result."""
    for dtype in (FLOAT32, FLOAT16, INT8):
        left, right = sample(dtype, a, 1), sample(dtype, b, 2)
        check(device, "matmul", left, right)
        assert matmul(left, right, device).shape == np.matmul(left, right).shape


@pytest.mark.parametrize("edge", EDGES)
def test_every_edge_of_a_tile(device, edge):
    """One of m, n and k at the edge, in each dtype of tiles, the other two beside edges of their own."""
    for place, dtype in enumerate((FLOAT32, FLOAT16, BFLOAT16)):
        for turn in range(3):
            m, k, n = np.roll([edge, (33, 5, 66)[place], (17, 70, 8)[place]], turn)
            assert_matmul(device, sample(dtype, (m, k), 1), sample(dtype, (k, n), 2))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129])
def test_square_matrices(device, size):
    """Of which those beyond one tile have neighbours on both sides, in every order of elements."""
    for dtype, layouts in ((FLOAT32, "CC FF"), (FLOAT16, "CC FC"), (BFLOAT16, "CF"), (INT32, "CC")):
        a, b = sample(dtype, (size, size), 1), sample(dtype, (size, size), 2)
        for of_a, of_b in layouts.split():
            assert_matmul(device, lay_out(a, of_a), lay_out(b, of_b))


@settings(max_examples=10)
@given(
    leading=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3),
    sizes=st.tuples(*[st.one_of(st.integers(1, 20), st.sampled_from((31, 33, 64, 65, 66, 129)))] * 3),
    dtypes=st.tuples(st.sampled_from(FLOATS), st.sampled_from((*FLOATS, INT8))),
    data=st.data(),
)
def test_leading_axes_broadcast(device, leading, sizes, dtypes, data):
    (first, second), (m, k, n) = leading.input_shapes, sizes
    a, b = sample(dtypes[0], (*first, m, k), 1), sample(dtypes[1], (*second, k, n), 2)
    a, b = (lay_out(operand, data.draw(st.sampled_from(layouts_of(operand.dtype)))) for operand in (a, b))
    check(device, "matmul", a, b)


@pytest.mark.uncapped
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((0, 3), (3, 4)),
        ((2, 3), (3, 0)),
        ((2, 0), (0, 4)),
        ((0, 0), (0, 0)),
        ((0,), (0,)),
        ((0,), (0, 4)),
        ((2, 0), (0,)),
        ((0, 2, 3), (3, 4)),
        ((2, 0, 3), (2, 3, 4)),
        ((5, 2, 0), (1, 0, 3)),
    ],
    ids=str,
)
def test_nothing_to_multiply(device, a, b):
    """Sums of nothing are 0, also where something else was before."""
    for dtype in (FLOAT32, FLOAT16, INT8, BOOL):
        left, right = np.zeros(a, dtype), np.zeros(b, dtype)
        check(device, "matmul", left, right)
        want = np.matmul(left, right)
        out = gk.ones(want.shape, dtype, device=device)
        gk.matmul(gk.asarray(left, device=device), gk.asarray(right, device=device), out=out)
        assert_same(out, np.zeros(want.shape, dtype))


# Layouts


@pytest.mark.uncapped
@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_layouts(device, dtype, layout):
    """Each layout of either matrix, beside a dense one and beside its like."""
    a, b = lay_out(sample(dtype, (2, 11, 37), 1), layout), lay_out(sample(dtype, (2, 37, 9), 2), layout)
    check(device, "matmul", a, b)
    check(device, "matmul", a[1], sample(dtype, (37, 9), 3))
    check(device, "matmul", sample(dtype, (11, 37), 4), b[1])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16, INT8], ids=str)
@settings(max_examples=8)
@given(data=st.data())
def test_views_of_tensors(device, dtype, data):
    """Any views of two or more axes are matrices, whatever their offsets and strides."""
    store, other = sample(dtype, (4, 19, 50), 1), sample(dtype, (50, 3, 40), 2)
    index = data.draw(basic_indices(store.shape, min_dims=2, max_dims=4, allow_newaxis=True, allow_ellipsis=True))
    k = store[index].shape[-1]
    start, step = data.draw(st.integers(0, 50 - k)), data.draw(st.sampled_from((1, 2, 3, -1)))
    key = np.s_[start : start + k, data.draw(st.integers(0, 2)), ::step]
    got = gk.matmul(gk.asarray(store, device=device)[index], gk.asarray(other, device=device)[key])
    assert_right("matmul", got.numpy(), store[index], other[key], device=device)


@pytest.mark.uncapped
@floats
@pytest.mark.parametrize("shape", [(70, 65, 130), (64, 128, 64), (1, 129, 66), (66, 129, 1), (130, 3, 70)], ids=str)
def test_transposed_tensors(device, dtype, shape):
    """Neither matrix, one, or both as `.T` of a tensor, and a result whose transpose is dense."""
    m, k, n = shape
    a, b = sample(dtype, (m, k), 1), sample(dtype, (k, n), 2)
    for turn_a, turn_b, turn_out in itertools.product((False, True), repeat=3):
        left = gk.asarray(a.T.copy(), device=device).T if turn_a else gk.asarray(a, device=device)
        right = gk.asarray(b.T.copy(), device=device).T if turn_b else gk.asarray(b, device=device)
        out = gk.zeros((n, m), dtype, device=device).T if turn_out else gk.zeros((m, n), dtype, device=device)
        assert gk.matmul(left, right, out=out) is out
        assert_right("matmul", out.numpy(), a, b, device=device)


@pytest.mark.parametrize("offset", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16, INT8], ids=str)
def test_matrices_that_begin_in_the_middle_of_a_vector(device, dtype, offset):
    """At odd places of a tensor, with rows whose length no vector divides, or every vector."""
    for m, k, n in ((20, 64, 68), (20, 65, 67)):
        a, b = sample(dtype, offset + m * k, 1), sample(dtype, offset + k * n, 2)
        left = gk.asarray(a, device=device)[offset:].reshape(m, k)
        right = gk.asarray(b, device=device)[offset:].reshape(k, n)
        out = gk.zeros(offset + m * n + 4, dtype, device=device)
        gk.matmul(left, right, out=out[offset : offset + m * n].reshape(m, n))
        operands = a[offset:].reshape(m, k), b[offset:].reshape(k, n)
        got = out.numpy()
        assert_right("matmul", got[offset : offset + m * n].reshape(m, n), *operands, device=device)
        assert not got[:offset].any()
        assert not got[offset + m * n :].any()


def test_batches_in_any_order_of_memory(device):
    """The axes of a batch behind those of the matrix, repeated, backwards, or in several strides."""
    for dtype in (FLOAT32, FLOAT16):
        a, b = sample(dtype, (17, 3, 20, 4), 1), sample(dtype, (20, 4, 3, 9), 2)
        left, right = gk.asarray(a, device=device), gk.asarray(b, device=device)
        for of_a, of_b in (((1, 3, 0, 2), (2, 1, 0, 3)), ((3, 1, 0, 2), (1, 2, 0, 3)), ((1, 3, 0, 2), (2, 1, 0, 3))):
            got = gk.matmul(left.transpose(*of_a), right.transpose(*of_b)).numpy()
            assert_right("matmul", got, a.transpose(of_a), b.transpose(of_b), device=device)
        got = gk.matmul(left.transpose(1, 3, 0, 2)[::-1, 1:], right.transpose(2, 1, 0, 3)[:1, 1:]).numpy()
        want = a.transpose(1, 3, 0, 2)[::-1, 1:], b.transpose(2, 1, 0, 3)[:1, 1:]
        assert_right("matmul", got, *want, device=device)
        repeated = gk.broadcast_to(right[:, 0, 0], (5, 20, 9))
        got = gk.matmul(left[:, 0, :, 0], repeated).numpy()
        assert_right("matmul", got, a[:, 0, :, 0], np.broadcast_to(b[:, 0, 0], (5, 20, 9)), device=device)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
@pytest.mark.parametrize("shape", [(5, 7, 6), (65, 33, 67)], ids=str)
def test_out_of_every_layout(device, dtype, shape):
    """Of arrays, whose gaps stay as they were, and of parts of tensors, whose surroundings do."""
    m, k, n = shape
    a, b = small(dtype, (m, k), 1), small(dtype, (k, n), 2)
    for layout in WRITEABLE_LAYOUTS:
        out = lay_out(np.full((m, n), 9, dtype), layout)
        assert gk.matmul(a, b, out=out, device=device) is out
        assert_right("matmul", out, a, b, device=device)
    left, right = gk.asarray(a, device=device), gk.asarray(b, device=device)
    for key in (np.s_[3 : 3 + m, 1 : 1 + n], np.s_[: 2 * m : 2, 2 * n : 0 : -2], np.s_[m - 1 :: -1, 1 : 1 + 3 * n : 3]):
        storage = gk.full((2 * m + 5, 3 * n + 5), 9, dtype, device=device)
        gk.matmul(left, right, out=storage[key])
        got = storage.numpy()
        assert_right("matmul", got[key], a, b, device=device)
        got[key] = 9
        assert (got == 9).all()


@pytest.mark.uncapped
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
def test_out_is_an_operand(device, dtype):
    """As if the operands had been copied first."""
    for size in (5, 70):
        a, b = sample(dtype, (size, size), 1), sample(dtype, (size, size), 2)
        for into in ("a", "b", "a.T", "both"):
            left = gk.asarray(a, device=device, copy=True)
            right = left if into == "both" else gk.asarray(b, device=device, copy=True)
            out = {"a": left, "b": right, "a.T": left.T, "both": left}[into]
            gk.matmul(left, right, out=out)
            assert_right("matmul", out.numpy(), a, a if into == "both" else b, device=device)


# The operator


@pytest.mark.uncapped
def test_the_operator_beside_ndarrays(device):
    """Whichever side the tensor is on, and for vectors, matrices and stacks."""
    for a, b in (
        ((5, 7), (7, 3)),
        ((7,), (7, 3)),
        ((5, 7), (7,)),
        ((7,), (7,)),
        ((2, 5, 7), (7, 3)),
        ((7,), (2, 7, 3)),
    ):
        left, right = sample(FLOAT32, a, 1), sample(FLOAT32, b, 2)
        tensors = gk.asarray(left, device=device), gk.asarray(right, device=device)
        for got in (left @ tensors[1], tensors[0] @ right, tensors[0] @ tensors[1]):
            assert type(got) is gk.Tensor
            assert got.device == device
            assert_right("matmul", got.numpy(), left, right, device=device)


@pytest.mark.uncapped
def test_the_operator_beside_lists_and_numbers(device):
    t = gk.asarray([[1.0, 2.0], [3.0, 4.0]], device=device)
    for number in (2, 2.0, True, np.float32(2)):
        for expression in (lambda number=number: t @ number, lambda number=number: number @ t):
            with pytest.raises((TypeError, gk.ShapeError)):
                expression()
    for thing in (None, "text", object()):
        with pytest.raises(TypeError):
            t @ thing
        with pytest.raises(TypeError):
            thing @ t


@pytest.mark.uncapped
def test_the_operator_in_place(device):
    t = before = gk.asarray([[1.0, 2.0], [3.0, 4.0]], device=device)
    t @= gk.asarray([[0.0, 1.0], [1.0, 0.0]], device=device)
    assert t.tolist() == [[2, 1], [4, 3]]
    assert before.tolist() == [[1, 2], [3, 4]]


# Sizes


@pytest.mark.parametrize("layouts", ["CC", "CF", "FC"])
@floats
def test_long_sums(device, dtype, layouts):
    """k = 100,003: cut where bindings are small, split where too few results would keep a device busy."""
    a, b = lay_out(cycle(dtype, (3, 100_003)), layouts[0]), lay_out(cycle(dtype, (100_003, 5))[::-1].copy(), layouts[1])
    assert_matmul(device, a, b)
    a = sample(FLOAT32, (2, 100_003), 3) + 1
    got = matmul(a, a.T.copy(), device)
    want = a.astype(np.float64) @ a.T.astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        (2049, 3, 2),
        (2, 3, 2049),
        (1, 4099, 1),
        (5001, 1, 3),
        (3, 1, 5001),
        (1, 2, 9_001),
        (9_001, 2, 1),
        (130, 8, 140),
        (9, 2053, 9),
        (1, 300, 259),
        (259, 300, 1),
    ],
    ids=str,
)
def test_tall_and_wide_and_thin(device, shape):
    m, k, n = shape
    for dtype in (FLOAT32, FLOAT16):
        a, b = cycle(dtype, (m, k)), cycle(dtype, (k, n))[::-1].copy()
        assert_matmul(device, a, b)
    for of_a, of_b in (("F", "C"), ("C", "F")):
        assert_matmul(device, lay_out(cycle(FLOAT32, (m, k)), of_a), lay_out(cycle(FLOAT32, (k, n)), of_b))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
def test_matrices_larger_than_a_binding_of_64_kib(device, dtype):
    """Along each axis, and in the result."""
    for m, k, n in ((5, 3001, 17), (130, 140, 129)):
        a, b = cycle(dtype, (m, k)), cycle(dtype, (k, n))[::-1].copy()
        assert_matmul(device, a, b)
        assert_matmul(device, lay_out(a, "F"), lay_out(b, "F"))


def test_elements_farther_apart_than_a_binding_of_4_kib(gpu):
    """Every product is a part of its own."""
    device = gpu.with_caps("binding=4KiB")
    a = gk.ones((2, 40 * 2000), device=device)[:, ::2000]
    assert (gk.matmul(a, gk.ones((40, 2), device=device)).numpy() == 40).all()


def test_many_matrices_of_several_tiles(device):
    """So many that a GPU gets the largest tiles it can hold, and beyond their edges."""
    for dtype in (FLOAT32, FLOAT16):
        assert_matmul(device, sample(dtype, (200, 65, 20), 1), sample(dtype, (200, 20, 130), 2))


def test_many_small_matrices(device):
    for dtype in (FLOAT32, FLOAT16):
        for m, k, n in ((4, 4, 4), (3, 5, 2)):
            assert_matmul(device, cycle(dtype, (1000, m, k)), cycle(dtype, (1000, k, n)))
    assert_matmul(device, cycle(FLOAT32, (1000, 4, 4)), cycle(FLOAT32, (4, 4)))
    assert_matmul(device, cycle(FLOAT32, (4, 4)), cycle(FLOAT32, (1000, 4, 4)))


def test_more_matrices_than_a_dispatch_has_workgroups(plain_device):
    assert_matmul(plain_device, cycle(FLOAT32, (65_537, 2, 1)), cycle(FLOAT32, (65_537, 1, 1)))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
def test_matrices_of_several_megabytes(plain_device, dtype):
    """Enough for every thread, and for many workgroups; NumPy's float32 product is near enough to compare."""
    m, k, n = 270, 400, 390
    a, b = cycle(dtype, (m, k)), cycle(dtype, (k, n))[::-1].copy()
    got = matmul(a, b, plain_device)
    want, magnitude = (f(a.astype(float)) @ f(b.astype(float)) for f in (np.asarray, np.abs))
    assert_close(got, want, "matmul", dtype, magnitude, gpu=is_gpu(plain_device))


@pytest.mark.large
def test_a_matrix_of_150_megabytes(plain_device):
    """Larger than lavapipe's bindings of 128 MiB, on the left and, transposed, on the right."""
    m, k, n = 4_099, 9_161, 2
    a, b = cycle(FLOAT32, (m, k)), sample(FLOAT32, (k, n))
    wide = b.astype(np.float64)
    blocks = [a[start : start + 512].astype(np.float64) for start in range(0, m, 512)]
    want = np.concatenate([block @ wide for block in blocks])
    magnitude = np.concatenate([np.abs(block) @ np.abs(wide) for block in blocks])
    del blocks
    tensor = gk.asarray(a, device=plain_device)
    gpu = is_gpu(plain_device)
    assert_close((tensor @ b).numpy(), want, "matmul", FLOAT32, magnitude, gpu=gpu)
    assert_close((b.T @ tensor.T).numpy(), want.T, "matmul", FLOAT32, magnitude.T, gpu=gpu)


# Bits


@floats
@pytest.mark.parametrize("shape", [(50, 521, 33), (3, 50_021, 2), (70, 70, 131)], ids=str)
def test_the_same_bits_every_time(device, dtype, shape):
    """Whatever ran before, and wherever the matrices lie."""
    m, k, n = shape
    a, b = cycle(dtype, (m, k)), cycle(dtype, (k, n))[::-1].copy()
    first = matmul(a, b, device)
    gk.silu(gk.ones((333, 77), device=device)).numpy()
    assert_same(matmul(a.copy(), b.copy(), device), first)


# matmul_vec of stacks of vectors


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 65])
def test_one_matrix_and_many_vectors(device, count):
    """x[count, k] beside one w[n, k]: as x @ w.T, in one pass over w."""
    for dtype, of_x in ((FLOAT32, FLOAT32), (FLOAT16, FLOAT16), (BFLOAT16, FLOAT32), (INT8, INT8)):
        for n, k in ((67, 130), (5, 521)):
            w, x = sample(dtype, (n, k), 1), sample(of_x, (count, k), 2)
            tensors = gk.asarray(w, device=device), gk.asarray(x, device=device)
            got = gk.matmul_vec(*tensors).numpy()
            assert_right("matmul_vec", got, w, x, device=device)
            assert_right("matmul", gk.matmul(tensors[1], tensors[0].T).numpy(), x, w.T, device=device)


@pytest.mark.uncapped
@pytest.mark.parametrize("layout", ["F", "permuted", "reversed", "step", "broadcast"])
def test_layouts_of_many_vectors(device, layout):
    for dtype in (FLOAT32, FLOAT16):
        w, x = sample(dtype, (33, 70), 1), sample(dtype, (2, 5, 70), 2)
        check(device, "matmul_vec", lay_out(w, layout), x)
        check(device, "matmul_vec", w, lay_out(x, layout))
        out = gk.zeros((33, 2, 5), dtype, device=device).transpose(1, 2, 0)
        gk.matmul_vec(gk.asarray(w, device=device), gk.asarray(x, device=device), out=out)
        assert_right("matmul_vec", out.numpy(), w, x, device=device)


def test_stacks_of_matrices_that_several_vectors_share(device):
    """Each of two matrices meets three vectors, as experts do; and matrices that are one, repeated."""
    w, x = sample(FLOAT32, (2, 1, 9, 37), 1), sample(FLOAT32, (2, 3, 37), 2)
    check(device, "matmul_vec", w, x)
    check(device, "matmul_vec", np.broadcast_to(w[0], (3, 9, 37)), x[0])
    check(device, "matmul_vec", w[:, 0, None], x[:, None])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
def test_many_vectors_longer_than_a_binding(device, dtype):
    check(device, "matmul_vec", cycle(dtype, (3, 40_009)), cycle(dtype, (4, 40_009))[::-1])


# Errors


@pytest.mark.uncapped
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (4, 5)),
        ((3,), (4,)),
        ((3,), (4, 3)),
        ((2, 3), (2,)),
        ((2, 2, 3), (3, 3, 4)),
        ((4, 1, 2, 3), (3, 5, 3, 2)),
        ((2, 0), (1, 4)),
        ((0, 2, 3), (2, 3, 4)),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(device, a, b):
    operands = np.zeros(a, np.float32), np.zeros(b, np.float32)
    out = np.full((2, 2), 7, np.float32)
    for a_and_b, into in (
        (operands, out),
        ([gk.asarray(operand, device=device) for operand in operands], gk.asarray(out, device=device)),
    ):
        with pytest.raises(gk.ShapeError, match="matmul") as caught:
            gk.matmul(*a_and_b, out=into, device=device)
        for shape in (a, b):
            assert str(shape) in str(caught.value)
        assert (np.asarray(into) == 7).all()
    for left, right in itertools.product(*zip(operands, a_and_b, strict=True)):
        if isinstance(left, gk.Tensor) or isinstance(right, gk.Tensor):
            with pytest.raises(gk.ShapeError, match="matmul"):
                left @ right


@pytest.mark.uncapped
@pytest.mark.parametrize(("a", "b", "which"), [((2, 3), (), "b"), ((), (3, 4), "a"), ((), (), "a")], ids=str)
def test_single_numbers(device, a, b, which):
    operands = np.zeros(a, np.float32), np.zeros(b, np.float32)
    for a_and_b in (operands, [gk.asarray(operand, device=device) for operand in operands]):
        with pytest.raises(gk.ShapeError, match=f"matmul: {which} .*multiply"):
            gk.matmul(*a_and_b, device=device)


@pytest.mark.uncapped
@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.zeros((5, 3), np.float32), gk.ShapeError),
        (np.zeros((3, 5, 1), np.float32), gk.ShapeError),
        (np.zeros((3, 5), np.float16), gk.DTypeError),
        (np.zeros((3, 5), np.float64), gk.DTypeError),
        (lay_out(np.zeros((3, 5), np.float32), "read-only"), gk.ArgumentError),
    ],
    ids=["transposed", "an axis more", "float16", "float64", "read-only"],
)
def test_a_wrong_out_is_refused_and_left_alone(device, out, error):
    with pytest.raises(error, match=r"matmul.*out"):
        gk.matmul(np.ones((3, 4), np.float32), np.ones((4, 5), np.float32), out=out, device=device)
    assert not out.any()


@pytest.mark.uncapped
def test_dtypes_without_a_common_one_leave_out_alone(device):
    out = gk.full((2, 2), 7, "int32", device=device)
    with pytest.raises(gk.DTypeError, match="matmul"):
        gk.matmul(gk.ones((2, 2), "int32", device=device), gk.ones((2, 2), UINT32, device=device), out=out)
    assert (out.numpy() == 7).all()


def test_tensors_of_two_devices(plain_device):
    other = gk.get_device("cpu").with_caps("simd=scalar,threads=1")
    other = other if is_gpu(plain_device) else next((gpu for gpu in gk.devices() if is_gpu(gpu)), other)
    a, b = gk.ones((2, 3), device=plain_device), gk.ones((3, 2), device=other)
    for expression in (lambda: gk.matmul(a, b), lambda: a @ b, lambda: gk.matmul_vec(a, b.T)):
        with pytest.raises(gk.DeviceError, match="matmul") as caught:
            expression()
        assert ".to(" in str(caught.value)
