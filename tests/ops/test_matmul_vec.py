"""matmul_vec(w, x): w[..., n, k] . x[..., k] -> [..., n]."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices, mutually_broadcastable_shapes

import gpukern as gk
from arrays import (
    BFLOAT16,
    DTYPES,
    FLOAT16,
    FLOAT32,
    FLOATS,
    INT8,
    INTEGERS,
    LAID_OUT,
    assert_same,
    cycle,
    lay_out,
    layouts_of,
    sample,
)
from oracles import assert_close, assert_right, check, is_gpu, promote

floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
PAIRS = [pytest.param(w, x, id=f"{w}-{x}") for w in DTYPES for x in DTYPES]


# Types


@pytest.mark.parametrize("dtype", DTYPES[:-1], ids=str)
def test_in_numbers(device, dtype):
    w, x = gk.asarray([[1, 2, 3], [4, 5, 6]], dtype, device=device), gk.asarray([1, 2, 3], dtype, device=device)
    for y in (gk.matmul_vec(w, x), w @ x):
        assert y.dtype == dtype
        assert y.tolist() == [14, 32]


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_every_pair_of_dtypes(device, left, right):
    w, x = sample(left, (5, 67), 1), sample(right, 67, 2)
    if promote(left, right) is not None:
        check(device, "matmul_vec", w, x)
        return
    with pytest.raises(gk.DTypeError, match="matmul_vec") as caught:
        gk.matmul_vec(w, x, device=device)
    for word in (left.name, right.name, "astype"):
        assert word in str(caught.value)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_narrow_floats_are_summed_in_float32(device, dtype):
    """A sum of ones in float16 would stop at 2048, in bfloat16 at 256."""
    assert gk.matmul_vec(gk.ones((2, 4096), dtype, device=device), gk.ones(4096, dtype, device=device)).tolist() == [
        4096,
        4096,
    ]


def test_a_float16_sum_that_is_too_large(device):
    w = gk.asarray([[300, 300], [300, -300], [-300, -300]], "float16", device=device)
    assert gk.matmul_vec(w, gk.full(2, 300, "float16", device=device)).tolist() == [np.inf, 0, -np.inf]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_sums_wrap_around(device, dtype):
    high = np.iinfo(dtype).max
    check(device, "matmul_vec", np.full((3, 130), high, dtype), np.full(130, high, dtype))


@floats
def test_special_values(device, dtype):
    """NaN and infinities go through, each in its own row, wherever in the row they stand."""
    w = np.zeros((6, 37), dtype)
    w[1, 0], w[2, 36], w[3, 17] = np.nan, np.inf, -np.inf
    w[4, [3, 30]] = np.inf, -np.inf
    w[5, 5] = 1
    check(device, "matmul_vec", w, np.ones(37, dtype))
    check(device, "matmul_vec", np.eye(37, dtype=np.float32), w[4])


# Shapes


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7, 13, 31, 61, 127, 251, 509, 1021, 4099])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
def test_rows_of_prime_length(device, dtype, k):
    """No vector width, word or workgroup divides them."""
    check(device, "matmul_vec", sample(dtype, (7, k), 1), sample(dtype, k, 2))


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (1000, 1), (0, 5), (5, 0), (0, 0), (2, 0, 3), (2, 3, 0)], ids=str)
def test_thin_and_empty_matrices(device, shape):
    check(device, "matmul_vec", sample(FLOAT32, shape, 1), sample(FLOAT32, shape[-1], 2))


@given(
    leading=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3),
    n=st.integers(1, 40),
    k=st.integers(1, 150),
    dtypes=st.tuples(st.sampled_from(FLOATS), st.sampled_from((FLOAT32, FLOAT16, INT8))),
    data=st.data(),
)
def test_leading_axes_broadcast(device, leading, n, k, dtypes, data):
    first, second = leading.input_shapes
    w, x = sample(dtypes[0], (*first, n, k), 1), sample(dtypes[1], (*second, k), 2)
    w, x = (lay_out(operand, data.draw(st.sampled_from(layouts_of(operand.dtype)))) for operand in (w, x))
    check(device, "matmul_vec", w, x)


@pytest.mark.parametrize(
    ("w", "x"),
    [((2, 3), (4,)), ((3,), (3,)), ((2, 3), ()), ((), (3,)), ((2, 5, 3), (4, 3)), ((2, 3), (3, 1)), ((2, 3), (0,))],
    ids=str,
)
def test_shapes_that_do_not_fit(device, w, x):
    operands = np.zeros(w, np.float32), np.zeros(x, np.float32)
    for w_and_x in (operands, [gk.asarray(operand, device=device) for operand in operands]):
        with pytest.raises(gk.ShapeError, match="matmul_vec") as caught:
            gk.matmul_vec(*w_and_x, device=device)
        assert str(w) in str(caught.value)
        assert str(x) in str(caught.value)


# Layouts


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_layouts(device, dtype, layout):
    """Each layout of the matrix, beside each layout of the vector and beside a batch of vectors."""
    w = lay_out(sample(dtype, (3, 11, 37), 1), layout)
    for of_x in layouts_of(dtype):
        check(device, "matmul_vec", w[1], lay_out(sample(dtype, 37, 2), of_x))
    check(device, "matmul_vec", w, lay_out(sample(dtype, (2, 1, 37), 3), layout))


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, INT8], ids=str)
@given(data=st.data())
def test_views_of_tensors(device, dtype, data):
    """Any view of two or more axes is a matrix, whatever its offset and strides."""
    w = sample(dtype, (4, 9, 50))
    index = data.draw(basic_indices(w.shape, min_dims=2, allow_newaxis=True, allow_ellipsis=True))
    x = sample(dtype, w[index].shape[-1], 2)
    got = gk.matmul_vec(gk.asarray(w, device=device)[index], gk.asarray(x, device=device))
    assert_right("matmul_vec", got.numpy(), w[index], x, device=device)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16, INT8], ids=str)
@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (257, 129), (1, 500), (500, 1)], ids=str)
def test_a_transposed_tensor(device, dtype, shape):
    w, x = sample(dtype, shape, 1), sample(dtype, shape[0], 2)
    got = gk.asarray(w, device=device).T @ gk.asarray(x, device=device)
    assert_right("matmul_vec", got.numpy(), w.T, x, device=device)


def test_the_operator_beside_ndarrays(device):
    w, x = sample(FLOAT32, (5, 7), 1), sample(FLOAT32, 7, 2)
    for got in (w @ gk.asarray(x, device=device), gk.asarray(w, device=device) @ x):
        assert type(got) is gk.Tensor
        assert got.device == device
        assert_right("matmul_vec", got.numpy(), w, x, device=device)


# Sizes


@floats
def test_100_001_rows(device, dtype):
    """More rows than a dispatch has workgroups."""
    check(device, "matmul_vec", cycle(dtype, (100_001, 7)), sample(dtype, 7))


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, INT8], ids=str)
@pytest.mark.parametrize("layout", ["C", "F"])
def test_rows_longer_than_a_binding(device, dtype, layout):
    """A row of 64 KiB bindings is cut into partial sums, and so is the vector."""
    check(device, "matmul_vec", lay_out(cycle(dtype, (3, 300_007)), layout), cycle(dtype, 300_007)[::-1])


def test_a_long_sum_stays_accurate(device):
    assert gk.matmul_vec(gk.ones((1, 2**22), device=device), gk.ones(2**22, device=device)).tolist() == [2**22]


def test_many_small_matrices(device):
    check(device, "matmul_vec", cycle(FLOAT32, (70_001, 2, 3)), cycle(FLOAT32, (70_001, 3)))


@pytest.mark.large
@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("face", ["NumPy", "tensor"])
def test_a_matrix_of_300_megabytes(plain_device, layout, face):
    """Larger than lavapipe's bindings of 128 MiB, in both orders: F is a transposed view."""
    n, k = 8_191, 9_161
    w = cycle(FLOAT32, (n, k)) if layout == "C" else cycle(FLOAT32, (k, n)).T
    assert w.nbytes > 300e6
    x = sample(FLOAT32, k)
    if face == "NumPy":
        got = gk.matmul_vec(w, x, device=plain_device)
    elif layout == "C":
        got = gk.matmul_vec(gk.asarray(w, device=plain_device), gk.asarray(x, device=plain_device)).numpy()
    else:
        got = gk.matmul_vec(gk.asarray(w.T, device=plain_device).T, gk.asarray(x, device=plain_device)).numpy()

    rows = [slice(start, start + 512) for start in range(0, n, 512)]
    wide = x.astype(np.float64)
    want = np.concatenate([w[block].astype(np.float64) @ wide for block in rows])
    magnitude = np.concatenate([np.abs(w[block]).astype(np.float64) @ np.abs(wide) for block in rows])
    assert_close(got, want, "matmul_vec", FLOAT32, magnitude, gpu=is_gpu(plain_device))


# Bits


@floats
@pytest.mark.parametrize("shape", [(50, 1021), (3, 100_003)], ids=str)
def test_the_same_bits_every_time(device, dtype, shape):
    """Whatever ran before, and wherever the matrix lies."""
    w, x = cycle(dtype, shape), cycle(dtype, shape[1])[::-1].copy()
    first = gk.matmul_vec(gk.asarray(w, device=device), gk.asarray(x, device=device)).numpy()
    gk.silu(gk.ones((333, 77), device=device)).numpy()
    second = gk.matmul_vec(gk.asarray(w.copy(), device=device), gk.asarray(x, device=device)).numpy()
    assert_same(second, first)


@pytest.mark.parametrize("shape", [(10_000, 7), (3, 10_001, 5), (2, 4_097, 64)], ids=str)
def test_tall_matrices_in_fortran_order(device, shape):
    """Their columns are cut first where bindings are small, and the sums of all parts must fit one, too."""
    w, x = sample(FLOAT32, shape, 1), sample(FLOAT32, shape[-1], 2)
    columns_first = np.swapaxes(np.ascontiguousarray(np.swapaxes(w, -1, -2)), -1, -2)
    check(device, "matmul_vec", columns_first, x)
