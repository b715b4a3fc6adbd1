"""The elementwise operations, and the operators of a tensor."""

import operator

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
    all_bits,
    assert_same,
    kind,
    lay_out,
    layouts_of,
    random_bits,
    sample,
    small,
    specials,
    subnormals,
)
from oracles import OPERATIONS, assert_close, assert_right, call, check, erf, operands_of, promote, tensors_of

ELEMENTWISE = [name for name, operation in OPERATIONS.items() if operation.elementwise]
UNARY = [name for name in ELEMENTWISE if len(OPERATIONS[name].operands) == 1]
BINARY = [name for name in ELEMENTWISE if len(OPERATIONS[name].operands) == 2]
OF_FLOATS = [name for name in ELEMENTWISE if "f" in OPERATIONS[name].takes]
OF_INTEGERS = [name for name in ELEMENTWISE if "i" in OPERATIONS[name].takes]
every_operation = pytest.mark.parametrize("op", ELEMENTWISE)
binary = pytest.mark.parametrize("op", BINARY)
floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
# One for each way in which operands become a result: float or integer, narrower, wider, of three.
A_FEW = ["add", "subtract", "multiply", "divide", "less", "maximum", "power"]


def grid(op, values):
    """Operands whose results are those of every combination of the values."""
    operation = OPERATIONS[op]
    count = len(operation.operands)
    parts = [np.array([False, True]) if operation.is_fixed(place) else values for place in range(count)]
    return [part.reshape(-1, *(1,) * (count - 1 - place)) for place, part in enumerate(parts)]


# Types


@pytest.mark.parametrize("op", [*UNARY, "clip", "where"])
def test_every_dtype(device, op):
    """The dtypes that it takes, and a DTypeError for the others that says which."""
    operation = OPERATIONS[op]
    for dtype in DTYPES:
        operands = operands_of(op, dtype)
        if operation.accepts(dtype):
            check(device, op, *operands)
        if operation.refuses(dtype):
            for attempt in (operands, tensors_of(operands, device)):
                with pytest.raises(gk.DTypeError, match=op) as caught:
                    call(op, attempt, device=device)
                assert dtype.name in str(caught.value)


def pairs_for(op):
    """All pairs for some operations; elsewhere every dtype with itself, and an eighth of the others in turn."""
    turn = BINARY.index(op)
    for i, left in enumerate(DTYPES):
        for j, right in enumerate(DTYPES):
            if op in ("add", "less") or i == j or (3 * i + j - turn) % 8 == 0:
                yield left, right


@binary
def test_pairs_of_dtypes(device, op):
    operation = OPERATIONS[op]
    for left, right in pairs_for(op):
        x, y = sample(left, 37, seed=1), (small if "shift" in op else sample)(right, 37, seed=2)
        result = promote(left, right)
        if result is not None and operation.accepts(result):
            check(device, op, x, y)
        elif result is None or operation.refuses(result):
            for operands in ((x, y), tensors_of((x, y), device)):
                with pytest.raises(gk.DTypeError, match=op) as caught:
                    getattr(gk, op)(*operands, device=device)
                message = str(caught.value)
                assert left.name in message
                assert right.name in message
                assert result is not None or "astype" in message


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
    for op in A_FEW:
        function = getattr(gk, op)
        if not OPERATIONS[op].accepts(promote(dtype, counts_as)):
            continue
        if order == "tensor first":
            assert_right(op, function(tensor, scalar).numpy(), x, number, device=device)
            assert_right(op, function(x, scalar, device=device), x, number, device=device)
        else:
            assert_right(op, function(scalar, tensor).numpy(), number, x, device=device)
            assert_right(op, function(scalar, x, device=device), number, x, device=device)


@binary
def test_a_python_scalar_on_either_side(device, op):
    dtype = OPERATIONS[op].dtypes[0]
    for x in (small(dtype, 9), gk.asarray(small(dtype, 9), device=device)):
        two = np.array(2, dtype)
        assert_right(op, np.asarray(call(op, (x, 2), device=device)), small(dtype, 9), two, device=device)
        assert_right(op, np.asarray(call(op, (2, x), device=device)), two, small(dtype, 9), device=device)


@pytest.mark.parametrize(
    ("arguments", "want", "dtype"),
    [
        (([1, 0, 5], 2, 1), [2, 1, 2], INT32),
        (([True, False], 2.5, 1), [2.5, 1], FLOAT32),
        (([True, False], np.float16([1, 2]), 0.5), [1, 0.5], FLOAT16),
        (([True, False], True, np.uint8([5, 7])), [1, 7], UINT8),
        (([True, False], np.int8([5, 7]), 0.5), [5, 0.5], FLOAT32),
        ((True, np.int8([5, 7]), 0), [5, 7], INT8),
    ],
    ids=str,
)
def test_scalars_of_where(device, arguments, want, dtype):
    condition, *values = arguments
    got = gk.where(np.array(condition), *values, device=device)
    assert (got.dtype, got.tolist()) == (dtype, want)
    tensors = [gk.asarray(part, device=device) if isinstance(part, np.ndarray) else part for part in values]
    got = gk.where(gk.asarray(condition, device=device), *tensors)
    assert (got.dtype, got.tolist()) == (dtype, want)


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
@pytest.mark.parametrize("op", ["multiply", "clip"])
def test_a_scalar_that_the_dtype_cannot_hold(device, op, dtype, scalar):
    tensor = gk.zeros(3, dtype, device=device)
    for operands in ((tensor, scalar), (scalar, tensor))[: 1 if op == "clip" else 2]:
        with pytest.raises(gk.DTypeError, match=op) as caught:
            call(op, operands)
        assert str(scalar) in str(caught.value)
        assert dtype.name in str(caught.value)


def test_comparisons_beside_a_scalar_that_the_dtype_cannot_hold(device):
    """They have an answer, as in NumPy: every element is less, or none is."""
    for dtype, scalar in ((UINT8, 300), (UINT8, -1), (INT8, 128), (INT32, 2**31), (UINT32, -1), (INT32, -(10**30))):
        tensor = gk.full(3, np.iinfo(dtype).max, dtype, device=device)
        more = scalar > 0
        for got, want in [
            (tensor < scalar, more),
            (tensor <= scalar, more),
            (tensor > scalar, not more),
            (tensor >= scalar, not more),
            (scalar > tensor, more),
            (scalar <= tensor, not more),
            (tensor == scalar, False),
            (scalar != tensor, True),
        ]:
            assert_same(got, np.full(3, want))
        assert_same(gk.less(tensor.numpy(), scalar, device=device), np.full(3, more))


@pytest.mark.parametrize(
    ("dtype", "scalar"),
    [(FLOAT16, np.float32(0.1)), (BFLOAT16, np.float16(0.1)), (INT8, np.int32(1000)), (UINT8, np.bool_(True))],
    ids=str,
)
@pytest.mark.parametrize("op", ["multiply", "greater"])
def test_numpy_scalars_are_strong(device, op, dtype, scalar):
    x = sample(dtype, 9)
    for operands in ((x, scalar), (scalar, x)):
        check(device, op, *operands)


@pytest.mark.usefixtures("quiet_float64")
def test_a_float64_scalar_is_strong(device):
    """It is also a Python float, which must not make it weak."""
    x = sample(FLOAT16, 9)
    product = gk.multiply(gk.asarray(x, device=device), np.float64(0.1))
    assert_right("multiply", product.numpy(), x, np.float32(0.1), device=device)


def test_a_condition_of_any_dtype(device):
    """What is not zero is true, NaN too."""
    x, y = sample(FLOAT32, 11, 1), sample(FLOAT32, 11, 2)
    for dtype in DTYPES:
        condition = small(dtype, 11)
        condition[:3] = 0
        if dtype in FLOATS:
            condition[3] = np.nan
        for parts in ((condition, x, y), tensors_of((condition, x, y), device)):
            assert_same(gk.where(*parts, device=device), np.where(condition != 0, x, y))


# Shapes


@pytest.mark.parametrize("op", ["add", "less", "where", "clip"])
@given(data=st.data())
def test_broadcasting(device, op, data):
    count = len(OPERATIONS[op].operands)
    shapes = data.draw(mutually_broadcastable_shapes(num_shapes=count, max_dims=4, min_side=0, max_side=5))
    operands = []
    for place, shape in enumerate(shapes.input_shapes):
        dtypes = (BOOL,) if OPERATIONS[op].is_fixed(place) else (FLOAT32, BFLOAT16 if place else FLOAT16, INT8)
        operand = sample(data.draw(st.sampled_from(dtypes)), shape, place)
        operands.append(lay_out(operand, data.draw(st.sampled_from(["C", "F", "reversed", "step", "broadcast"]))))
    check(device, op, *operands)


@pytest.mark.parametrize("op", [name for name in ELEMENTWISE if name not in UNARY])
def test_shapes_that_do_not_broadcast(device, op):
    """The message has the shapes, whichever operands they are."""
    dtype = OPERATIONS[op].dtypes[0]
    count = len(OPERATIONS[op].operands)
    for first, second in [((2, 3), (4,)), ((3,), (4,)), ((5, 1, 3), (4, 2, 3)), ((0,), (2,))]:
        for place in range(count):
            arrays = [np.zeros(second if i == place else first, dtype) for i in range(count)]
            for operands in (arrays, tensors_of(arrays, device)):
                with pytest.raises(gk.ShapeError, match=op) as caught:
                    getattr(gk, op)(*operands, device=device)
                for shape in (first, second):
                    assert str(shape) in str(caught.value)


@every_operation
def test_empty_and_single(device, op):
    for shape in [(), (0,), (3, 0), (0, 5, 2), (1, 1, 1, 1)]:
        operands = [sample(operand.dtype, shape, seed) for seed, operand in enumerate(operands_of(op))]
        check(device, op, *operands)


SIZES = [1, 2, 3, 5, 31, 64, 65, 255, 257, 4099, 65_537]


@pytest.mark.parametrize("op", ["subtract", "less", "divide", "where", "isnan"])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
def test_every_size(device, op, dtype):
    """Odd sizes leave a partial vector, a partial word and a partial workgroup, in operands and in the result."""
    for size in SIZES:
        operation = OPERATIONS[op]
        dtypes = [BOOL if operation.is_fixed(place) else dtype for place in range(len(operation.operands))]
        check(device, op, *(sample(each, size, seed) for seed, each in enumerate(dtypes)))


def test_more_workgroups_than_a_dispatch_may_have(device):
    """16 invocations a workgroup and 4 elements each make 78,126 workgroups."""
    x = np.resize(sample(INT32, 10_007), 5_000_011)
    assert_same(gk.bitwise_xor(gk.asarray(x, device=device), 77), x ^ 77)


def test_where_and_clip_of_many(device):
    x, y, condition = sample(FLOAT32, 1_000_003, 1), sample(FLOAT32, 1_000_003, 2), sample(BOOL, 1_000_003)
    check(device, "where", condition, x, y)
    check(device, "clip", x, -np.abs(y), np.float32(0.5))


# Layouts


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_layouts(device, dtype, layout):
    """Each layout beside another, and operands in the same."""
    layouts = layouts_of(dtype)
    another = layouts[layouts.index(layout) - 1]
    x = lay_out(sample(dtype, (5, 3, 7), 1), layout)
    check(device, "add", x, lay_out(sample(dtype, (5, 3, 7), 2), another))
    check(device, "multiply", x, lay_out(sample(dtype, (3, 7), 3), layout))
    check(device, "greater", lay_out(small(dtype, (5, 3, 7), 1), layout), lay_out(small(dtype, (5, 3, 7), 2), another))
    check(device, "exp", x)
    of_condition = layout if layout in layouts_of(BOOL) else "C"
    condition = lay_out(sample(BOOL, (5, 3, 7)), of_condition)
    check(device, "where", condition, x, lay_out(sample(dtype, (5, 1, 7), 2), another))


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
    other, of_array = (view.T, x[index].T) if view.ndim < 2 else (view, x[index])
    for op in ("add", "less_equal", "divide"):
        assert_right(op, getattr(gk, op)(view, other).numpy(), x[index], of_array, device=device)
    assert_right("clip", gk.clip(view, other, other).numpy(), x[index], of_array, of_array, device=device)


def test_a_tensor_beside_its_transpose(device):
    x = sample(FLOAT32, (33, 33))
    tensor = gk.asarray(x, device=device)
    assert_right("subtract", (tensor - tensor.T).numpy(), x, x.T, device=device)
    assert_right("where", gk.where(tensor > 0, tensor, tensor.T).numpy(), x > 0, x, x.T, device=device)


# Values


@pytest.mark.parametrize("op", OF_FLOATS)
def test_special_values(device, op):
    """Every combination of them: NaN goes through, infinities behave as in NumPy, too large becomes infinite."""
    for dtype in FLOATS:
        check(device, op, *grid(op, specials(dtype)))


@pytest.mark.parametrize("op", OF_FLOATS)
def test_subnormal_numbers(device, op):
    """A CPU keeps them; a GPU may flush those of float32, and of bfloat16 which is computed in it, to zero."""
    for dtype in FLOATS:
        check(device, op, *grid(op, subnormals(dtype)))
        if op in BINARY:
            check(device, op, subnormals(dtype), np.array(1, dtype))
            check(device, op, np.array(1, dtype), subnormals(dtype))


@pytest.mark.parametrize("op", OF_INTEGERS)
def test_integer_edges(device, op):
    """Every combination of the ends of the range: results wrap around, and division by zero gives zero."""
    for dtype in INTEGERS:
        check(device, op, *grid(op, specials(dtype)))


SIGN_OF_ZERO = ["negative", "floor", "ceil", "round", "trunc", "sqrt", "sin", "tanh", "expm1", "log1p", "abs",
                "add", "subtract", "multiply", "divide", "remainder", "floor_divide"]  # fmt: skip


@pytest.mark.parametrize("op", SIGN_OF_ZERO)
def test_the_sign_of_zero(op):
    """WGSL does not promise it, so this is asked of the CPU alone."""
    for level in (word for word in gk.get_device("cpu").features if word.startswith("simd-")):
        cpu = gk.get_device("cpu").with_caps(level.replace("-", "=", 1))
        for dtype in FLOATS:
            values = np.array([0.0, -0.0, 1.0, -1.0, 0.25, -0.25]).astype(dtype)
            operands = grid(op, np.resize(values, 37))
            with np.errstate(all="ignore"):
                want = getattr(np, op)(*(operand.astype(np.float32) for operand in operands))
            got = call(op, operands, device=cpu).astype(np.float32)
            np.testing.assert_array_equal(got == 0, want == 0)
            np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize("op", [name for name in UNARY if name in OF_FLOATS])
@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_every_number_of_16_bits(device, op, dtype):
    check(device, op, all_bits(dtype))


_far = np.geomspace(1e-38, 3e38, 5_001)
_near = np.concatenate([np.linspace(-110, 110, 40_001), np.linspace(-4, 4, 10_001), np.linspace(-1e4, 1e4, 3_001)])
RANGE = np.concatenate([_near, _far, -_far, 1 + np.geomspace(1e-7, 0.1, 501), 1 - np.geomspace(6e-8, 0.1, 501)])
RANGE = RANGE.astype(np.float32)


@pytest.mark.parametrize("op", [name for name in UNARY if name in OF_FLOATS])
def test_the_range_of_float32(device, op):
    check(device, op, RANGE)
    check(device, op, random_bits(20_011))


@pytest.mark.parametrize("op", [name for name in BINARY if name in OF_FLOATS])
def test_pairs_over_the_range_of_float32(device, op):
    check(device, op, random_bits(20_011, 1), random_bits(20_011, 2))
    random = np.random.default_rng(0)
    x, y = np.exp(3 * random.standard_normal((2, 10_007))) * random.choice([-1, 1], (2, 10_007))
    check(device, op, np.abs(x).astype(np.float32) if op == "power" else x.astype(np.float32), y.astype(np.float32))
    check(device, op, x.astype(np.float32), np.round(y).astype(np.float32))


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_large_arguments_of_waves(device, op):
    """Powers of two, numbers beside multiples of pi/2, and the largest there are: only all bits of pi will do."""
    near_zeros = np.arange(1, 100_000, 7) * (np.pi / 2)
    powers = np.ldexp(1.0, np.arange(-126, 128))
    far = [1e5, 1e10, 1e20, 1e30, 3.4028235e38, np.ldexp(16_367_173.0, 72), np.ldexp(13_195_149.0, 104)]
    x = np.concatenate([near_zeros, powers, 3 * powers[:-1], far, np.geomspace(1e4, 3e38, 5_001)])
    check(device, op, np.concatenate([x, -x]).astype(np.float32))


def test_the_ends_of_exp(device):
    """Where it overflows, where it becomes subnormal, and where zero."""
    ends = np.array([88.72283, 88.722839, 88.72284, 89, 1e4, 3e38, -87.33654, -87.33655, -103.97, -103.98, -104, -1e30])
    steps = np.linspace(-1e-3, 1e-3, 201)
    for op in ("exp", "exp2", "expm1"):
        x = np.concatenate([ends, *(end + steps for end in ends[:11] if abs(end) < 200)])
        with np.errstate(over="ignore"):
            check(device, op, (x * (np.log2(np.e) if op == "exp2" else 1)).astype(np.float32))
    check(device, "exp2", np.arange(-150, 130, dtype=np.float32))


IN_NUMBERS = {
    "silu": ([0, 1, -1, -100, 100], [0, 0.7310586, -0.2689414, 0, 100]),
    "gelu": ([0, 1, -1, -100, 100], [0, 0.8413447, -0.1586553, 0, 100]),
    "sigmoid": ([0, 1, -1, -100, 100], [0.5, 0.7310586, 0.2689414, 0, 1]),
    "softplus": ([0, 1, -1, -100, 100], [0.6931472, 1.3132617, 0.3132617, 0, 100]),
    "relu": ([0, 1, -1, -100, 100], [0, 1, 0, 0, 100]),
    "squared_relu": ([0, 3, -3, -100, 100], [0, 9, 0, 0, 10_000]),
    "erf": ([0, 1, -1, 5, -5], [0, 0.8427008, -0.8427008, 1, -1]),
    "rsqrt": ([4, 0.25, 1, np.inf, 0], [0.5, 2, 1, 0, np.inf]),
    "reciprocal": ([4, -0.25, 1, np.inf, -np.inf], [0.25, -4, 1, 0, 0]),
    "round": ([0.5, 1.5, 2.5, -0.5, -1.5], [0, 2, 2, 0, -2]),
    "floor": ([0.5, 1.5, 2, -0.5, -1.5], [0, 1, 2, -1, -2]),
    "ceil": ([0.5, 1.5, 2, -0.5, -1.5], [1, 2, 2, 0, -1]),
    "trunc": ([0.5, 1.5, 2, -0.5, -1.5], [0, 1, 2, 0, -1]),
    "sign": ([0, 7, -7, np.inf, -np.inf], [0, 1, -1, 1, -1]),
    "exp2": ([0, 1, -1, 10, -10], [1, 2, 0.5, 1024, 2**-10]),
    "log2": ([1, 2, 0.5, 1024, 0], [0, 1, -1, 10, -np.inf]),
}


@pytest.mark.parametrize("op", IN_NUMBERS)
def test_in_numbers(device, op):
    x, want = IN_NUMBERS[op]
    assert getattr(gk, op)(gk.asarray(x, "float32", device=device)).tolist() == pytest.approx(want, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("op", ["silu", "gelu", "swiglu"])
def test_minus_infinity_is_what_the_formula_makes_of_it(device, op):
    """As in PyTorch: -inf times 0 is NaN, while every finite number gives one."""
    for dtype in FLOATS:
        x = gk.asarray([-np.inf, -1e4, float(np.finfo(np.float16).min)], dtype, device=device)
        for got in (gk.swiglu(x, 1),) if op == "swiglu" else (getattr(gk, op)(x),):
            assert np.isnan(got.tolist()[0])
            assert got.tolist()[1:] == [0, 0]


# gelu


@floats
def test_gelu_of_tanh(device, dtype):
    check(device, "gelu", specials(dtype), approximate="tanh")
    check(device, "gelu", specials(dtype), approximate="none")
    check(device, "gelu", all_bits(dtype) if dtype != FLOAT32 else RANGE, approximate="tanh")
    x = gk.asarray([1.0, -2.0], dtype, device=device)
    assert gk.gelu(x, "tanh").tolist() == gk.gelu(x, approximate="tanh").tolist()
    assert gk.gelu(x, "tanh").tolist() == pytest.approx([0.841192, -0.0454023], rel=1e-2)


@pytest.mark.parametrize("word", ["erf", "Tanh", "", None, 1, True], ids=repr)
def test_gelu_of_something_else(device, word):
    with pytest.raises((gk.ArgumentError, TypeError), match="approximate") as caught:
        gk.gelu(gk.ones(2, device=device), approximate=word)
    assert not isinstance(word, str) or isinstance(caught.value, gk.ArgumentError)
    if isinstance(word, str):
        for shown in (word, "gelu", "none", "tanh"):
            assert shown in str(caught.value)


# clip


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8, UINT32], ids=str)
def test_clip_by_one_bound_or_none(device, dtype):
    x = specials(dtype)
    for low, high in ((1, None), (None, 2), (None, None), (1, 2), (2, 1)):
        bounds = [bound if bound is None else np.array(bound, dtype) for bound in (low, high)]
        check(device, "clip", x, *bounds)
        tensor = gk.asarray(x, device=device)
        named = {"min": low, "max": high}
        for got in (gk.clip(tensor, **named), gk.clip(tensor, low, high), gk.clip(x, **named, device=device)):
            assert_right("clip", np.asarray(got), x, *bounds, device=device)
    assert_same(gk.clip(gk.asarray(x, device=device), max=2), gk.clip(gk.asarray(x, device=device), None, 2))


def test_clip_is_no_alias(device):
    tensor = gk.asarray([1.0, 2.0], device=device, copy=True)
    got = gk.clip(tensor)
    tensor[:] = 7
    assert got.tolist() == [1, 2]


def test_nan_among_the_bounds(device):
    """It goes through, as in NumPy."""
    nan, x = np.float32(np.nan), np.float32([-5, 0, 5, np.nan])
    for bounds in ((nan, None), (None, nan), (nan, nan), (np.float32([0, np.nan, 1, 2]), np.float32(3))):
        check(device, "clip", x, *bounds)


def test_a_lower_bound_above_the_upper_one(device):
    assert gk.clip(gk.asarray([0.0, 1.5, 9.0], device=device), 2, 1).tolist() == [1, 1, 1]


# Integers


def test_wrapping_in_numbers(device):
    assert (gk.full(1, 127, "int8", device=device) + 1).tolist() == [-128]
    assert (gk.full(1, 0, "uint32", device=device) - 1).tolist() == [4294967295]
    assert (gk.full(1, -(2**31), "int32", device=device) * -1).tolist() == [-(2**31)]
    assert abs(gk.full(1, -128, "int8", device=device)).tolist() == [-128]
    assert (-gk.full(1, 1, "uint8", device=device)).tolist() == [255]
    assert gk.squared_relu(gk.full(1, 16, "int8", device=device)).tolist() == [0]


def test_uint32_above_half_of_its_range(device):
    """Where a signed comparison, division or shift would go wrong."""
    x = gk.asarray([2**31 - 1, 2**31, 2**32 - 1], "uint32", device=device)
    assert (x > 2**31 - 1).tolist() == [False, True, True]
    assert gk.maximum(x, 1).tolist() == [2**31 - 1, 2**31, 2**32 - 1]
    assert gk.minimum(x, 2**31).tolist() == [2**31 - 1, 2**31, 2**31]
    assert (x // 2).tolist() == [2**30 - 1, 2**30, 2**31 - 1]
    assert (x % 10).tolist() == [7, 8, 5]
    assert (x >> 1).tolist() == [2**30 - 1, 2**30, 2**31 - 1]
    assert (x / 1).tolist() == [2.0**31, 2.0**31, 2.0**32]
    assert gk.sign(x).tolist() == [1, 1, 1]
    assert gk.relu(x).tolist() == [2**31 - 1, 2**31, 2**32 - 1]
    assert gk.clip(x, 1, 2**31).tolist() == [2**31 - 1, 2**31, 2**31]
    assert gk.exp(x - (2**32 - 1)).tolist()[2] == 1


def test_division_of_integers_in_numbers(device):
    """Rounded down, with the remainder's sign that of the divisor; by zero it is zero, as in NumPy."""
    x = gk.asarray([7, -7, 7, -7, 7, -(2**31), 0], device=device)
    y = gk.asarray([2, 2, -2, -2, 0, -1, 5], device=device)
    assert (x // y).tolist() == [3, -4, -4, 3, 0, -(2**31), 0]
    assert (x % y).tolist() == [1, 1, -1, -1, 0, 0, 0]
    assert (x / y).tolist() == [3.5, -3.5, -3.5, 3.5, np.inf, 2.0**31, 0]


def test_division_of_floats_in_numbers(device):
    x = gk.asarray([7.5, -7.5, 7.5, -7.5, 1e10, -1, 1, 5], "float32", device=device)
    y = gk.asarray([2, 2, -2, -2, 3, np.inf, -np.inf, 0], "float32", device=device)
    assert (x // y).tolist() == pytest.approx([3, -4, -4, 3, 3333333248, -1, -1, np.inf])
    assert (x % y).tolist()[:4] == [1.5, 0.5, -0.5, -1.5]
    assert (x % y).tolist()[5:7] == [np.inf, -np.inf]
    assert np.isnan((x % y).tolist()[7])


def test_power_of_integers_in_numbers(device):
    """A negative exponent leaves what is whole of the fraction; NumPy raises there, which a device cannot."""
    x = gk.asarray([2, -2, 3, 10, 7, 0, 1, -1, -1, 2, 0, 2], device=device)
    y = gk.asarray([10, 3, 0, 9, 100, 0, -5, -5, -4, -1, -1, 31], device=device)
    want = [1024, -8, 1, 10**9, np.array(7**100 % 2**32, np.uint32).view(np.int32), 1, 1, -1, 1, 0, 0, -(2**31)]
    assert (x**y).tolist() == want


def test_shifts_in_numbers(device):
    """By the width or more, or by a negative number, all bits are lost, and the sign alone is left."""
    x = gk.asarray([1, -1, -8, 2**31 - 1, 5, -5, 5], device=device)
    y = gk.asarray([31, 4, 1, 30, 32, 100, -1], device=device)
    assert (x << y).tolist() == [-(2**31), -16, -16, -(2**30), 0, 0, 0]
    assert (x >> y).tolist() == [0, -1, -4, 1, 0, -1, 0]
    narrow = gk.asarray([200, 255, 1], "uint8", device=device)
    assert (narrow << 1).tolist() == [144, 254, 2]
    assert (narrow >> 7).tolist() == [1, 1, 0]
    assert (narrow << 8).tolist() == [0, 0, 0]


def test_bools(device):
    x, y = gk.asarray([False, False, True, True], device=device), gk.asarray([False, True, False, True], device=device)
    for either in (x + y, x | y, gk.logical_or(x, y), gk.maximum(x, y)):
        assert_same(either, np.array([False, True, True, True]))
    for both in (x * y, x & y, gk.logical_and(x, y), gk.minimum(x, y)):
        assert_same(both, np.array([False, False, False, True]))
    for one in (x ^ y, gk.logical_xor(x, y), x != y):
        assert_same(one, np.array([False, True, True, False]))
    for neither in (~x, gk.logical_not(x), gk.bitwise_invert(x)):
        assert_same(neither, np.array([True, True, False, False]))
    assert_same(x < y, np.array([False, True, False, False]))
    assert_same(abs(x), np.array([False, False, True, True]))
    np.testing.assert_array_equal((x / y).numpy(), np.float32([np.nan, 0, np.inf, 1]))


def test_whole_numbers_as_floats(device):
    """Operations that NumPy has for floats alone compute float32 of integers."""
    x = np.array([0, 1, 2, 100], np.uint8)
    assert gk.sqrt(x, device=device).dtype == gk.exp(x, device=device).dtype == FLOAT32
    assert gk.sqrt(x, device=device).tolist() == pytest.approx([0, 1, np.sqrt(2), 10])
    assert gk.tanh(np.array([True, False]), device=device).tolist() == pytest.approx([np.tanh(1), 0])
    assert gk.log2(np.array([2**31], np.uint32), device=device).tolist() == pytest.approx([31])


# Fused operations beside their parts


@floats
@pytest.mark.parametrize("shape", [(7,), (5, 33), (3, 1, 1025)], ids=str)
def test_swiglu_is_silu_and_multiply(device, dtype, shape):
    """In float32 both are within twice the tolerance of swiglu; narrow ones round the silu in between."""
    gate, up = 4 * sample(FLOAT32, shape, 1), sample(FLOAT32, shape, 2)
    gate, up = (gk.asarray(each.astype(dtype), device=device) for each in (gate, up))
    fused, parts = gk.swiglu(gate, up).numpy(), gk.multiply(gk.silu(gate), up).numpy()
    assert fused.dtype == parts.dtype == dtype
    relative = {FLOAT32: 1e-5, FLOAT16: 2**-9, BFLOAT16: 2**-6}[dtype]
    np.testing.assert_allclose(fused.astype(float), parts.astype(float), relative, 1e-6 if dtype == FLOAT16 else 0)


def test_identities(device):
    """What mathematics says of one operation by another."""
    x = gk.asarray(np.linspace(-8, 8, 1001, dtype=np.float32), device=device)
    close = {"rtol": 2e-5, "atol": 2e-6}
    np.testing.assert_allclose(gk.silu(x).numpy(), (x * gk.sigmoid(x)).numpy(), **close)
    np.testing.assert_allclose(gk.gelu(x).numpy(), (0.5 * x * (1 + gk.erf(x / 2**0.5))).numpy(), **close)
    np.testing.assert_allclose(gk.softplus(x).numpy(), gk.log1p(gk.exp(x)).numpy(), **close)
    np.testing.assert_allclose(gk.tanh(x).numpy(), (2 * gk.sigmoid(2 * x) - 1).numpy(), **close)
    np.testing.assert_allclose((gk.sin(x) ** 2 + gk.cos(x) ** 2).numpy(), np.ones(1001), **close)
    np.testing.assert_allclose(gk.expm1(gk.log1p(abs(x))).numpy(), abs(x).numpy(), **close)
    assert_same(gk.squared_relu(x), gk.relu(x) * gk.relu(x))


def test_the_oracle_of_erf():
    """By its series."""
    x = np.linspace(-2, 2, 41)
    term, total = x, x
    for n in range(1, 60):
        term = -term * x * x / n
        total = total + term / (2 * n + 1)
    np.testing.assert_allclose(erf(x), 2 / np.sqrt(np.pi) * total, rtol=1e-12, atol=1e-15)


# Operators


OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "bitwise_left_shift": operator.lshift,
    "bitwise_right_shift": operator.rshift,
}
every_operator = pytest.mark.parametrize("op", OPERATORS)


@every_operator
def test_operators(device, op):
    function, apply = getattr(gk, op), OPERATORS[op]
    for dtype in OPERATIONS[op].dtypes:
        a, b = tensors_of((small(dtype, 5, 1), small(dtype, 5, 2)), device)
        assert_same(apply(a, b), function(a, b))
        assert_same(apply(a, 2), function(a, 2))
        assert_same(apply(2, a), function(2, a))
        assert apply(2, a).dtype == OPERATIONS[op].result(dtype)


@every_operator
@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, INT8], ids=str)
def test_operators_beside_ndarrays(device, op, dtype):
    """In either order the result is a tensor on the tensor's device."""
    if not OPERATIONS[op].accepts(dtype):
        dtype = INT32
    x, y = small(dtype, (2, 5), 1), small(dtype, 5, 2)
    tensor = gk.asarray(y, device=device)
    array_first, tensor_first = OPERATORS[op](x, tensor), OPERATORS[op](tensor, x)
    for got in (array_first, tensor_first):
        assert type(got) is gk.Tensor
        assert got.device == device
    assert_right(op, array_first.numpy(), x, y, device=device)
    assert_right(op, tensor_first.numpy(), y, x, device=device)


def test_operators_of_one_operand(device):
    x = np.array([-3, 0, 5], np.int32)
    tensor = gk.asarray(x, device=device)
    assert_same(-tensor, -x)
    assert_same(+tensor, x)
    assert_same(abs(tensor), abs(x))
    assert_same(~tensor, ~x)
    assert_same(-tensor.astype("float16"), -x.astype(np.float16))
    with pytest.raises(gk.DTypeError, match="bitwise_invert"):
        operator.invert(tensor.astype("float32"))
    with pytest.raises(gk.DTypeError, match="negative"):
        operator.neg(tensor > 0)


@every_operator
def test_an_operator_and_an_object_it_does_not_know(device, op):
    """Python compares what no type compares by identity, and raises for everything else."""
    tensor = gk.ones(2, "int32", device=device)
    for thing in (None, "text", object(), {}):
        if op in ("equal", "not_equal"):
            assert OPERATORS[op](tensor, thing) is (op == "not_equal")
            assert OPERATORS[op](thing, tensor) is (op == "not_equal")
            continue
        with pytest.raises(TypeError):
            OPERATORS[op](tensor, thing)
        if not (op == "remainder" and thing == "text"):  # text % x formats
            with pytest.raises(TypeError):
                OPERATORS[op](thing, tensor)


@every_operator
def test_assignment_operators_make_a_new_tensor(device, op):
    """Only `out=` and slice assignment change a tensor."""
    in_place = getattr(operator, f"i{OPERATORS[op].__name__.strip('_')}", None)
    if in_place is None:
        assert op in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
        return
    tensor = gk.full(3, 5, OPERATIONS[op].dtypes[0], device=device)
    changed = in_place(tensor, 2)
    assert_same(changed, OPERATORS[op](tensor, 2))
    assert tensor.tolist() == [5, 5, 5]


def test_a_tensor_has_no_hash(device):
    """As a NumPy array has none: equality is a tensor, not an answer."""
    with pytest.raises(TypeError, match="hash"):
        hash(gk.ones(2, device=device))
    with pytest.raises(TypeError):
        {gk.ones(2, device=device)}


def test_equality_is_a_tensor_of_bools(device):
    x, nan = gk.asarray([1, 2, 3], device=device), gk.asarray([np.nan], device=device)
    for got, want in [
        (x == 2, [False, True, False]),
        (operator.eq(2, x), [False, True, False]),
        (x != 2, [True, False, True]),
        (x == x.numpy(), [True, True, True]),
        (np.int32([1, 0, 3]) == x, [True, False, True]),
        (x == 2.5, [False, False, False]),
        (operator.eq(nan, nan), [False]),
        (operator.ne(nan, nan), [True]),
    ]:
        assert type(got) is gk.Tensor
        assert (got.dtype, got.device, got.tolist()) == (BOOL, device, want)
    with pytest.raises(gk.ShapeError, match="equal"):
        _ = x == gk.ones(2, device=device)
    with pytest.raises(gk.ShapeError):
        bool(x == 2)


@every_operator
def test_an_operator_of_shapes_that_do_not_broadcast(device, op):
    with pytest.raises(gk.ShapeError, match=op) as caught:
        OPERATORS[op](gk.ones((2, 3), "int32", device=device), gk.ones(4, "int32", device=device))
    assert "(2, 3)" in str(caught.value)
    assert "(4,)" in str(caught.value)


# In place


@pytest.mark.parametrize("op", ["subtract", "maximum", "where"])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
@pytest.mark.parametrize("other", [(7,), (5, 1), (1, 1), (5, 7)], ids=str)
@pytest.mark.parametrize("view", [np.s_[:], np.s_[1:6, 2:9], np.s_[:10:2, ::-1]], ids=["whole", "inner", "step"])
def test_in_place_beside_any_operand(device, op, dtype, other, view):
    """Whether the result lies without gaps or not, and on either side of the operator."""
    y = sample(dtype, other, 2)
    condition = [sample(BOOL, 7)] * (op == "where")
    for swapped in (False, True):
        storage = sample(dtype, (5, 7) if view == np.s_[:] else (11, 9) if view == np.s_[1:6, 2:9] else (10, 7), 1)
        tensor = gk.asarray(storage, device=device, copy=True)
        x, out = storage[view].copy(), tensor[view]
        operands, arrays = (out, gk.asarray(y, device=device)), (x, y)
        if swapped:
            operands, arrays = operands[::-1], arrays[::-1]
        assert getattr(gk, op)(*condition, *operands, out=out) is out
        assert_right(op, out.numpy(), *condition, *arrays, device=device)
        rest = np.ones(storage.shape, bool)
        rest[view] = False
        assert_same(tensor.numpy()[rest], storage[rest])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16], ids=str)
def test_out_of_another_width_than_the_operands(device, dtype):
    """A comparison writes bytes, a division of bytes writes words: out= beside operands of other sizes."""
    x, y = sample(dtype, (33, 7), 1), sample(dtype, (33, 7), 2)
    storage = gk.zeros((35, 9), "bool", device=device)
    gk.less(*tensors_of((x, y), device), out=storage[1:34, 1:8])
    want = np.zeros((35, 9), bool)
    want[1:34, 1:8] = x < y
    assert_same(storage, want)
    whole = small(INT8, (33, 7), 1), small(INT8, (33, 7), 2)
    quotient = gk.zeros((7, 33), device=device)
    gk.divide(*tensors_of(whole, device), out=quotient.T)
    assert_right("divide", quotient.T.numpy(), *whole, device=device)


@pytest.mark.parametrize("left", DTYPES, ids=str)
def test_comparing_every_pair_of_dtypes(device, left):
    """In their common dtype: beside a float32 a large integer is rounded."""
    for right in DTYPES:
        if promote(left, right) is None:
            continue
        x, y = np.resize(specials(left), 23)[:, None], np.resize(specials(right), 23)
        check(device, "less", x, y)


def test_kinds_are_as_the_table_says():
    """That no operation takes nothing, and that the neural ones take floats alone."""
    assert all(OPERATIONS[op].takes for op in ELEMENTWISE)
    assert {op for op in ELEMENTWISE if OPERATIONS[op].takes == "f"} == {
        "erf", "gelu", "rsqrt", "sigmoid", "silu", "softplus", "swiglu",
    }  # fmt: skip
    assert kind(BFLOAT16) == "f"
    assert_close(np.float32([1]), np.ones(1), "relu", FLOAT32)


@pytest.mark.parametrize("beyond", [2**40, 2**126, 2**200, 2**2000], ids=lambda value: f"2**{value.bit_length() - 1}")
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "uint32", "float16", "float32"])
def test_comparison_with_an_integer_beyond_the_dtype(device, dtype, beyond):
    """It lies beyond all elements; of float32, as the infinity that it is rounded to."""
    t = gk.asarray([0, 1], dtype, device=device)
    assert (t < beyond).tolist() == (t > -beyond).tolist() == (t != beyond).tolist() == [True, True]
    assert (t >= beyond).tolist() == (t <= -beyond).tolist() == (t == beyond).tolist() == [False, False]


def test_integers_beyond_128_bits_beside_floats(device):
    for dtype in ("float32", "float16", "bfloat16"):
        for value in (10**38, 10**39, 2**127, 10**400):
            with np.errstate(over="ignore"):
                want = np.float64(min(value, 10**300)).astype(np.float32).astype(gk.zeros(0, dtype).dtype)
            assert gk.add(gk.zeros(1, dtype, device=device), value).tolist() == [float(want)]
            assert gk.add(gk.zeros(1, dtype, device=device), -value).tolist() == [-float(want)]


def test_numbers_beside_a_condition_are_checked_against_what_they_become(device):
    condition = gk.asarray([True, False], device=device)
    for numbers in [(2**40, 1), (1, 10**10), (-(2**31) - 1, 0), (True, 2**31)]:
        with pytest.raises(gk.DTypeError, match=r"where.*int32"):
            gk.where(condition, *numbers)
    assert gk.where(condition, 2**40, 1.0).tolist() == [2.0**40, 1]
    assert gk.where(condition, 1.0, 2**40).tolist() == [1, 2.0**40]
