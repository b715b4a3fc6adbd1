"""add, subtract, multiply and silu."""

import numpy as np
import pytest
from hypothesis import given
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
    UINT8,
    UINT32,
    assert_same,
    lay_out,
    layouts_of,
    sample,
)
from oracles import OPERATIONS, assert_right, check, promote

ELEMENTWISE = {name: len(operation.operands) for name, operation in OPERATIONS.items() if operation.elementwise}
BINARY = [name for name, operands in ELEMENTWISE.items() if operands == 2]
binary = pytest.mark.parametrize("op", BINARY)
floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
PAIRS = [pytest.param(left, right, id=f"{left}-{right}") for left in DTYPES for right in DTYPES]


def numbers_that_differ(dtype):
    """Where float arithmetic is special: zeros, infinities, NaN, the ends of the range, the smallest normal number."""
    ends = {FLOAT32: (3.4028235e38, 2.0**-126), FLOAT16: (65504, 2.0**-14), BFLOAT16: (3.3895314e38, 2.0**-126)}[dtype]
    positive = [0.0, *ends, 1.0, 1.5, 3.0, np.inf]
    return np.array([*positive, *(-value for value in positive), np.nan]).astype(dtype)


# Types


@binary
@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_every_pair_of_dtypes(device, op, left, right):
    x, y = sample(left, 37, seed=1), sample(right, 37, seed=2)
    result = promote(left, right)
    if result is not None and not (result == BOOL and op == "subtract"):
        check(device, op, x, y)
        return
    for operands in ((x, y), (gk.asarray(x, device=device), gk.asarray(y, device=device))):
        with pytest.raises(gk.DTypeError, match=op) as caught:
            getattr(gk, op)(*operands, device=device)
        message = str(caught.value)
        assert left.name in message
        assert right.name in message
        assert result is not None or "astype" in message


@pytest.mark.parametrize("dtype", [*INTEGERS, BOOL], ids=str)
def test_silu_is_for_floats(device, dtype):
    with pytest.raises(gk.DTypeError, match="silu") as caught:
        gk.silu(gk.zeros(3, dtype, device=device))
    assert dtype.name in str(caught.value)


WEAK_SCALARS = [
    # tensor, scalar, what the scalar counts as
    (FLOAT32, 2, FLOAT32),
    (FLOAT32, True, FLOAT32),
    (FLOAT16, 2.0, FLOAT16),
    (FLOAT16, 0.1, FLOAT16),
    (BFLOAT16, 2, BFLOAT16),
    (BFLOAT16, 0.1, BFLOAT16),
    (INT32, 2.0, FLOAT32),
    (INT32, 1, INT32),
    (INT32, True, BOOL),
    (UINT32, 2**32 - 1, UINT32),
    (INT8, -128, INT8),
    (UINT8, 255, UINT8),
    (UINT8, 0.5, FLOAT32),
    (BOOL, 1, INT32),
    (BOOL, 2.0, FLOAT32),
]


@pytest.mark.parametrize("order", ["tensor first", "scalar first"])
@pytest.mark.parametrize(("dtype", "scalar", "counts_as"), WEAK_SCALARS, ids=str)
def test_python_scalars_are_weak(device, dtype, scalar, counts_as, order):
    x, number = sample(dtype, 9), np.array(scalar).astype(counts_as)
    tensor = gk.asarray(x, device=device)
    for op in BINARY:
        call = getattr(gk, op)
        if order == "tensor first":
            assert_right(op, call(tensor, scalar).numpy(), x, number, device=device)
            assert_right(op, call(x, scalar, device=device), x, number, device=device)
        else:
            assert_right(op, call(scalar, tensor).numpy(), number, x, device=device)
            assert_right(op, call(scalar, x, device=device), number, x, device=device)


@pytest.mark.parametrize(
    ("dtype", "scalar"),
    [
        (UINT8, 300),
        (UINT8, -1),
        (INT8, 128),
        (INT8, -129),
        (INT32, 2**31),
        (UINT32, -1),
        (UINT32, 2**32),
        (INT32, 10**30),
    ],
    ids=str,
)
def test_a_scalar_that_the_dtype_cannot_hold(device, dtype, scalar):
    tensor = gk.zeros(3, dtype, device=device)
    for operands in ((tensor, scalar), (scalar, tensor)):
        with pytest.raises(gk.DTypeError, match="multiply") as caught:
            gk.multiply(*operands)
        assert str(scalar) in str(caught.value)
        assert dtype.name in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "scalar"),
    [(FLOAT16, np.float32(0.1)), (BFLOAT16, np.float16(0.1)), (INT8, np.int32(1000)), (UINT8, np.bool_(True))],
    ids=str,
)
def test_numpy_scalars_are_strong(device, dtype, scalar):
    x = sample(dtype, 9)
    for operands in ((x, scalar), (scalar, x)):
        check(device, "multiply", *operands)


@pytest.mark.usefixtures("quiet_float64")
def test_a_float64_scalar_is_strong(device):
    """It is also a Python float, which must not make it weak."""
    x = sample(FLOAT16, 9)
    product = gk.multiply(gk.asarray(x, device=device), np.float64(0.1))
    assert_right("multiply", product.numpy(), x, np.float32(0.1), device=device)


# Shapes


@binary
@given(
    shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=5),
    dtypes=st.tuples(st.sampled_from((FLOAT32, BFLOAT16, INT8)), st.sampled_from((FLOAT32, FLOAT16, UINT8))),
)
def test_broadcasting(device, op, shapes, dtypes):
    check(device, op, *map(sample, dtypes, shapes.input_shapes, (1, 2)))


@binary
@pytest.mark.parametrize(
    ("first", "second"), [((2, 3), (4,)), ((3,), (4,)), ((5, 1, 3), (4, 2, 3)), ((0,), (2,))], ids=str
)
def test_shapes_that_do_not_broadcast(device, op, first, second):
    x, y = np.zeros(first, np.float32), np.zeros(second, np.float32)
    for operands in ((x, y), (gk.asarray(x, device=device), gk.asarray(y, device=device))):
        with pytest.raises(gk.ShapeError, match=op) as caught:
            getattr(gk, op)(*operands, device=device)
        for shape in (first, second):
            assert str(shape) in str(caught.value)


@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 5, 2), (1, 1, 1, 1)], ids=str)
def test_empty_and_single(device, op, shape):
    operands = [sample(FLOAT32, shape, seed) for seed in range(ELEMENTWISE[op])]
    check(device, op, *operands)


SIZES = [1, 2, 3, 5, 31, 64, 65, 255, 257, 4099, 65_537]


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_every_size(device, dtype, size):
    """Odd sizes leave a partial vector, a partial word and a partial workgroup."""
    check(device, "subtract", sample(dtype, size, 1), sample(dtype, size, 2))


def test_more_workgroups_than_a_dispatch_may_have(device):
    """16 invocations a workgroup and 4 elements each make 78,126 workgroups."""
    x = np.resize(sample(FLOAT32, 10_007), 5_000_011)
    check(device, "add", x, np.float32(1))


# Layouts


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_layouts(device, dtype, layout):
    """Each layout beside another, and both operands in the same."""
    layouts = layouts_of(dtype)
    another = layouts[layouts.index(layout) - 1]
    x = lay_out(sample(dtype, (5, 3, 7), 1), layout)
    check(device, "add", x, lay_out(sample(dtype, (5, 3, 7), 2), another))
    check(device, "multiply", x, lay_out(sample(dtype, (3, 7), 3), layout))


@floats
@pytest.mark.parametrize("layout", layouts_of(FLOAT32))
def test_silu_of_layouts(device, dtype, layout):
    if layout in layouts_of(dtype):
        check(device, "silu", lay_out(sample(dtype, (5, 3, 7)), layout))


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, UINT8], ids=str)
@given(data=st.data())
def test_views_of_tensors(device, dtype, data):
    """Slices begin at any offset, which for packed dtypes is inside a word."""
    x = sample(dtype, (5, 6, 7))
    index = data.draw(basic_indices(x.shape, allow_newaxis=True, allow_ellipsis=True))
    view = gk.asarray(x, device=device)[index]
    assert_right(
        "add",
        gk.add(view, view.T).numpy() if view.ndim < 2 else gk.add(view, view).numpy(),
        x[index],
        x[index],
        device=device,
    )


def test_a_tensor_beside_its_transpose(device):
    x = sample(FLOAT32, (33, 33))
    tensor = gk.asarray(x, device=device)
    assert_right("subtract", (tensor - tensor.T).numpy(), x, x.T, device=device)


# Values


@binary
@floats
def test_special_values(device, op, dtype):
    """Every pair of them: NaN goes through, infinities behave as in NumPy, too large becomes infinite."""
    values = numbers_that_differ(dtype)
    check(device, op, values[:, None], values)


@binary
@floats
def test_subnormal_numbers(device, op, dtype):
    """A CPU keeps them; a GPU may flush those of float32, and of bfloat16 which is computed in it, to zero."""
    smallest = {FLOAT32: 2.0**-149, FLOAT16: 2.0**-24, BFLOAT16: 2.0**-133}[dtype]
    values = (smallest * np.array([0, 1, 2, 3, 5, 100, -1, -7])).astype(dtype)
    assert np.count_nonzero(values) == 7
    check(device, op, values[:, None], values)
    check(device, op, values, np.array(1, dtype))


@binary
@floats
def test_the_sign_of_zero(op, dtype):
    """WGSL does not promise it, so this is asked of the CPU alone."""
    values = np.array([0.0, -0.0, 1.0, -1.0]).astype(dtype)
    want = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply}[op](values[:, None], values)
    for level in (word for word in gk.get_device("cpu").features if word.startswith("simd-")):
        cpu = gk.get_device("cpu").with_caps(level.replace("-", "=", 1))
        assert_same(getattr(gk, op)(values[:, None], values, device=cpu), want)


@binary
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_wrap_around(device, op, dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = np.array([low, low + 1, 0, 1, 2, high - 1, high], dtype)
    check(device, op, values[:, None], values)


def test_wrapping_in_numbers(device):
    assert (gk.full(1, 127, "int8", device=device) + 1).tolist() == [-128]
    assert (gk.full(1, 0, "uint32", device=device) - 1).tolist() == [4294967295]
    assert (gk.full(1, -(2**31), "int32", device=device) * -1).tolist() == [-(2**31)]


def test_bool_adds_as_or_and_multiplies_as_and(device):
    x, y = gk.asarray([False, False, True, True], device=device), gk.asarray([False, True, False, True], device=device)
    assert (x + y).dtype == (x * y).dtype == BOOL
    assert (x + y).tolist() == [False, True, True, True]
    assert (x * y).tolist() == [False, False, False, True]


# silu


@floats
def test_silu_in_numbers(device, dtype):
    """Minus infinity gives what PyTorch gives, which is what the formula gives: NaN."""
    x = gk.asarray([0.0, 1.0, -1.0, -100.0, np.inf, -np.inf, np.nan], dtype, device=device)
    zero, one, minus_one, minus_hundred, infinity, *nans = gk.silu(x).tolist()
    assert zero == 0
    assert one == pytest.approx(0.7311, rel=5e-3)
    assert minus_one == pytest.approx(-0.2689, rel=5e-3)
    assert minus_hundred == pytest.approx(0, abs=1e-37)
    assert infinity == np.inf
    assert np.isnan(nans).all()


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_silu_of_every_number(device, dtype):
    check(device, "silu", np.arange(65_536, dtype=np.uint16).view(dtype))


def test_silu_over_the_range_of_float32(device):
    small_and_large = np.geomspace(1e-38, 3e38, 5_001)
    x = np.concatenate(
        [np.linspace(-110, 110, 50_001), small_and_large, -small_and_large, numbers_that_differ(FLOAT32)]
    )
    check(device, "silu", x.astype(np.float32))


# Operators


def test_operators(device):
    x, y = sample(FLOAT32, 5, 1), sample(FLOAT32, 5, 2)
    a, b = gk.asarray(x, device=device), gk.asarray(y, device=device)
    for got, want in [(a + b, gk.add(a, b)), (a - b, gk.subtract(a, b)), (a * b, gk.multiply(a, b))]:
        assert_same(got, want)
    for got, want in [(2 + a, gk.add(2, a)), (2 - a, gk.subtract(2, a)), (2 * a, gk.multiply(2, a))]:
        assert_same(got, want)


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, INT8], ids=str)
def test_operators_beside_ndarrays(device, dtype):
    """In either order the result is a tensor on the tensor's device."""
    x, y = sample(dtype, (2, 5), 1), sample(dtype, 5, 2)
    tensor = gk.asarray(y, device=device)
    results = {
        "add": (x + tensor, tensor + x),
        "subtract": (x - tensor, tensor - x),
        "multiply": (x * tensor, tensor * x),
    }
    for op, (array_first, tensor_first) in results.items():
        for got in (array_first, tensor_first):
            assert type(got) is gk.Tensor
            assert got.device == device
        assert_right(op, array_first.numpy(), x, y, device=device)
        assert_right(op, tensor_first.numpy(), y, x, device=device)


def test_an_operator_and_an_object_it_does_not_know(device):
    tensor = gk.ones(2, device=device)
    for thing in (None, "text", object(), {}):
        with pytest.raises(TypeError):
            tensor + thing
        with pytest.raises(TypeError):
            thing * tensor


def test_assignment_operators_make_a_new_tensor(device):
    """Only `out=` and slice assignment change a tensor."""
    tensor = alias = gk.ones(3, device=device)
    tensor += 1
    assert tensor.tolist() == [2, 2, 2]
    assert alias.tolist() == [1, 1, 1]


# In place


@binary
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
@pytest.mark.parametrize("other", [(7,), (5, 1), (1, 1), (5, 7)], ids=str)
@pytest.mark.parametrize("view", [np.s_[:], np.s_[1:6, 2:9], np.s_[:10:2, ::-1]], ids=["whole", "inner", "step"])
def test_in_place_beside_any_operand(device, op, dtype, other, view):
    """Whether the result lies without gaps or not, and on either side of the operator."""
    y = sample(dtype, other, 2)
    for swapped in (False, True):
        storage = sample(dtype, (5, 7) if view == np.s_[:] else (11, 9) if view == np.s_[1:6, 2:9] else (10, 7), 1)
        tensor = gk.asarray(storage, device=device, copy=True)
        x, out = storage[view].copy(), tensor[view]
        operands, arrays = (out, gk.asarray(y, device=device)), (x, y)
        if swapped:
            operands, arrays = operands[::-1], arrays[::-1]
        assert getattr(gk, op)(*operands, out=out) is out
        assert_right(op, out.numpy(), *arrays, device=device)
        rest = np.ones(storage.shape, bool)
        rest[view] = False
        assert_same(tensor.numpy()[rest], storage[rest])
