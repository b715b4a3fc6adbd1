"""Every operator and function of WGSL that computes with numbers, on chosen and random operands, on every device.

Integers are compared exactly, with tests/meaning.py. Floats are compared with float64 to what WGSL promises: where it
says "correctly rounded" the nearest float is wanted, elsewhere a number of units in the last place (ulp) or an absolute
error stands beside the formula. An "inherited" error is worked out of the formula that WGSL gives.

Operands that WGSL leaves open are left out: NaN, infinities, subnormal numbers. Zeros may have any sign.
"""

import itertools

import numpy as np
import pytest

import gpukern as gk
import meaning
from arrays import FLOAT16, FLOAT32, INT32, UINT32

pytestmark = pytest.mark.uncapped

DTYPES = {"u32": UINT32, "i32": INT32, "f32": FLOAT32, "f16": FLOAT16}
GROUP = 16


def width(ty):
    """How many numbers a type has, and their kind."""
    if ty.startswith("vec"):
        return int(ty[3]), ty[5:-1]
    return 1, ty


def compute(device, formulas, operands, result, *, before="", header=""):
    """What each formula gives for each row of the operands: an array of rows, formulas and components.

    Operands are called by their names, which have a type and an array each.
    """
    size, kind = width(result)
    arguments, lines = {}, []
    for i, (name, (ty, array)) in enumerate(operands.items()):
        lines.append(f"@group(0) @binding({i}) var<storage, read> all_{name}: array<{ty}>;")
        arguments[f"all_{name}"] = np.ascontiguousarray(array, DTYPES[width(ty)[1]])
    count = len(next(iter(arguments.values())))
    reads = "\n".join(f"let {name} = all_{name}[i];" for name in operands)
    writes = "\n".join(f"results[i * {len(formulas)}u + {k}u] = {text};" for k, text in enumerate(formulas))
    kernel = gk.Kernel(
        "\n".join([*(["enable f16;"] if "f16" in f"{result} {operands} {header}" else []), header, *lines])
        + f"""
        @group(0) @binding({len(operands)}) var<storage, read_write> results: array<{result}>;
        @compute @workgroup_size({GROUP}) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{
            let i = id.x;
            if (i >= {count}u) {{ return; }}
            {reads}
            {before}
            {writes}
        }}
        """
    )
    shape = (count, len(formulas), size)
    return kernel(**arguments, out={"results": (shape, DTYPES[kind])}, threads=count, device=device)


def assert_table(got, want, formulas):
    """Exactly, formula by formula. `want` has a row for each row of the operands."""
    want = np.array(want).reshape(got.shape)
    for k, text in enumerate(formulas):
        np.testing.assert_array_equal(got[:, k], want[:, k], text)


def is_gl(device):
    return device.backend == "gl"


# Integers


def edges(kind):
    """Numbers where integers are special, and others."""
    ty = meaning.INTEGERS[kind]
    numbers = [ty.low, ty.low + 1, ty.high, ty.high - 1, ty.high // 2, ty.high // 2 + 1, 0, 1, 2, 3, 7, 31, 32, 33, 255]
    numbers += [ty.wrap(number) for number in (-1, -2, -7, -32, 0x55555555, 0x12345678)]
    return numbers


def integer_operands(kind, count=150):
    """All pairs of edges, and random ones. The third operand is a u32 of any size."""
    ty = meaning.INTEGERS[kind]
    random = np.random.default_rng(1)
    rows = list(itertools.product(edges(kind), edges(kind)))
    rows += [tuple(int(ty.wrap(int(n))) for n in random.integers(0, 2**ty.bits, 2, np.uint64)) for _ in range(count)]
    shifts = [0, 1, 2, 5, 8, 15, 16, 24, 30, 31, 32, 33, 40, 63, 64, 2**31, 2**32 - 1]
    return [(a, b, shifts[i % len(shifts)]) for i, (a, b) in enumerate(rows)]


BINARY = {
    "a + b": lambda t, a, b: t.add(a, b),
    "a - b": lambda t, a, b: t.subtract(a, b),
    "a * b": lambda t, a, b: t.multiply(a, b),
    "a / b": lambda t, a, b: t.divide(a, b),
    "a % b": lambda t, a, b: t.remainder(a, b),
    "a & b": lambda t, a, b: a & b,
    "a | b": lambda t, a, b: a | b,
    "a ^ b": lambda t, a, b: a ^ b,
    "min(a, b)": lambda t, a, b: min(a, b),
    "max(a, b)": lambda t, a, b: max(a, b),
    "clamp(a, min(b, T(7)), max(b, T(7)))": lambda t, a, b: min(max(a, min(b, 7)), max(b, 7)),
}
UNARY = {
    "~a": lambda t, a: t.complement(a),
    "abs(a)": lambda t, a: t.absolute(a),
    "countOneBits(a)": lambda t, a: f"{a & t.mask:b}".count("1"),
    "countLeadingZeros(a)": lambda t, a: t.bits if a == 0 else t.bits - (a & t.mask).bit_length(),
    "countTrailingZeros(a)": lambda t, a: t.bits if a == 0 else len(bin(a & t.mask)) - len(bin(a & t.mask).rstrip("0")),
    "firstLeadingBit(a)": lambda t, a: t.first_leading_bit(a),
    "firstTrailingBit(a)": lambda t, a: t.first_trailing_bit(a),
    "reverseBits(a)": lambda t, a: t.reverse_bits(a),
    "select(a, ~a, a < T(100))": lambda t, a: t.complement(a) if a < 100 else a,
}
SIGNED = {"-a": lambda t, a: t.negate(a), "sign(a)": lambda t, a: t.sign(a)}
SHIFTS = {"a << c": lambda t, a, c: t.left(a, c), "a >> c": lambda t, a, c: t.right(a, c)}


def integer_table(kind):
    """All operations as functions of a, b and c."""
    table = {text: lambda t, a, b, c, f=f: f(t, a, b) for text, f in BINARY.items()}
    unary = UNARY | (SIGNED if kind[0] == "i" else {})
    table |= {text: lambda t, a, b, c, f=f: f(t, a) for text, f in unary.items()}
    return table | {text: lambda t, a, b, c, f=f: f(t, a, c) for text, f in SHIFTS.items()}


@pytest.mark.parametrize("kind", ["i32", "u32"])
def test_integers(device, kind):
    table = integer_table(kind)
    rows = integer_operands(kind)
    a, b, c = zip(*rows, strict=True)
    operands = {"a": (kind, a), "b": (kind, b), "c": ("u32", np.array(c, np.uint32))}
    got = compute(device, table, operands, kind, header=f"alias T = {kind};")
    ty = meaning.INTEGERS[kind]
    assert_table(got, [[f(ty, *row) for f in table.values()] for row in rows], table)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("kind", ["i32", "u32"])
def test_vectors_of_integers(device, kind, size):
    """The same, component by component, also where one operand is a number."""
    table = integer_table(kind)
    mixed = {"a + k": "add", "k - a": "subtract", "a * k": "multiply"}
    rows = integer_operands(kind)
    rows = rows[: len(rows) // size * size]
    vector = f"vec{size}<{kind}>"
    a, b, c = (np.array(column).reshape(-1, size) for column in zip(*rows, strict=True))
    operands = {"a": (vector, a), "b": (vector, b), "c": (f"vec{size}<u32>", c), "k": (kind, b[:, 0])}
    ty = meaning.INTEGERS[kind]
    got = compute(device, [*table, *mixed], operands, vector, header=f"alias T = {vector};")
    want = [[f(ty, *row) for f in table.values()] for row in rows]
    want = np.array(want).reshape(len(a), size, len(table)).transpose(0, 2, 1)
    assert_table(got[:, : len(table)], want, table)
    for column, (text, method) in enumerate(mixed.items(), len(table)):
        for row, numbers in enumerate(a.tolist()):
            k = int(b[row, 0])
            pairs = [(k, x) if text.startswith("k") else (x, k) for x in numbers]
            assert got[row, column].tolist() == [getattr(ty, method)(*pair) for pair in pairs], text


@pytest.mark.parametrize("kind", ["i32", "u32"])
def test_comparisons_of_integers(device, kind):
    table = {f"u32(a {sign} b)": sign for sign in ("==", "!=", "<", "<=", ">", ">=")}
    rows = integer_operands(kind)
    a, b, _ = zip(*rows, strict=True)
    got = compute(device, table, {"a": (kind, a), "b": (kind, b)}, "u32")
    truth = {"==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater}
    truth[">="] = np.greater_equal
    assert_table(got, np.stack([truth[sign](a, b) for sign in table.values()], axis=1).astype(np.uint32), table)


@pytest.mark.parametrize("kind", ["i32", "u32"])
def test_fields_of_bits(device, kind):
    """Also where they reach beyond the number."""
    ty = meaning.INTEGERS[kind]
    places = [0, 1, 5, 8, 16, 30, 31, 32, 33, 100, 2**32 - 1]
    counts = [0, 1, 3, 8, 16, 31, 32, 33, 2**32 - 1]
    numbers = [ty.wrap(number) for number in (0x12345678, -1, 0, 0x80000001, 0x7FFF0F0F)]
    rows = [(*pair, i, j) for pair in itertools.product(numbers, numbers[:3]) for i in places for j in counts]
    a, b, i, j = zip(*rows, strict=True)
    table = ["extractBits(a, i0, j0)", "insertBits(a, b, i0, j0)"]
    table += ["extractBits(vec3(b, a, b), i0, j0).y", "insertBits(vec2(a), vec2(b), i0, j0).y"]
    operands = {
        "a": (kind, a),
        "b": (kind, b),
        "i0": ("u32", np.array(i, np.uint32)),
        "j0": ("u32", np.array(j, np.uint32)),
    }
    got = compute(device, table, operands, kind)
    pairs = [[ty.extract_bits(a, i, j), ty.insert_bits(a, b, i, j)] for a, b, i, j in rows]
    assert_table(got, [pair * 2 for pair in pairs], table)


def words(count, seed=0):
    """Random words, and some that are special."""
    special = [0, 2**32 - 1, 0x80808080, 0x7F7F7F7F, 0x01FF807F, 0xFF00FF00]
    random = np.random.default_rng(seed).integers(0, 2**32, count, np.uint64)
    return np.array([*special, *random], np.uint32)


def test_packed_integers(device):
    """Dot products of bytes, and bytes in and out of words."""
    a, b = words(100), words(100, 1)[::-1].copy()
    table = {
        "dot4U8Packed(a, b)": lambda a, b: meaning.dot_of_pieces(a, b),
        "bitcast<u32>(dot4I8Packed(a, b))": lambda a, b: meaning.dot_of_pieces(a, b, True) & 0xFFFFFFFF,
        "pack4xU8(unpack4xU8(a) + unpack4xU8(b))": lambda a, b: meaning.from_pieces(
            [x + y for x, y in zip(meaning.pieces(a), meaning.pieces(b), strict=True)]
        ),
        "pack4xI8(unpack4xI8(a) * unpack4xI8(b))": lambda a, b: meaning.from_pieces(
            [x * y for x, y in zip(meaning.pieces(a, True), meaning.pieces(b, True), strict=True)]
        ),
        "pack4xI8Clamp(unpack4xI8(a) * 2 + unpack4xI8(b))": lambda a, b: meaning.from_clamped_pieces(
            [2 * x + y for x, y in zip(meaning.pieces(a, True), meaning.pieces(b, True), strict=True)], True
        ),
        "pack4xU8Clamp(unpack4xU8(a) * 2 + unpack4xU8(b))": lambda a, b: meaning.from_clamped_pieces(
            [2 * x + y for x, y in zip(meaning.pieces(a), meaning.pieces(b), strict=True)]
        ),
        "pack4xI8(vec4<i32>(-1, 1, -128, 300))": lambda a, b: 0x2C8001FF,
    }
    got = compute(device, table, {"a": ("u32", a), "b": ("u32", b)}, "u32")
    assert_table(got, [[f(x, y) for f in table.values()] for x, y in zip(a.tolist(), b.tolist(), strict=True)], table)
    got = compute(device, ["unpack4xI8(a)", "bitcast<vec4<i32>>(unpack4xU8(a))"], {"a": ("u32", a)}, "vec4<i32>")
    assert_table(got, [[meaning.pieces(x, True), meaning.pieces(x)] for x in a.tolist()], ["unpack4xI8", "unpack4xU8"])


@pytest.mark.parametrize("kind", ["i32", "u32"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_dot_of_integers(device, kind, size):
    ty = meaning.INTEGERS[kind]
    rows = integer_operands(kind)
    rows = rows[: len(rows) // size * size]
    a, b, _ = (np.array(column).reshape(-1, size) for column in zip(*rows, strict=True))
    vector = f"vec{size}<{kind}>"
    got = compute(device, ["dot(a, b)"], {"a": (vector, a), "b": (vector, b)}, kind)
    assert_table(got, [ty.dot(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)], ["dot"])


def wide(kind, name):
    """WGSL that makes a 64-bit integer of two words, and two words of it."""
    return f"let {name} = {kind}(u64({name}_.x) | (u64({name}_.y) << 32u));"


def halves(numbers):
    """The words of 64-bit integers, the lower one first."""
    return np.array([[n & 0xFFFFFFFF, n >> 32 & 0xFFFFFFFF] for n in numbers], np.uint32)


@pytest.mark.parametrize("kind", ["i64", "u64"])
def test_wide_integers(device, kind):
    if "int64" not in device.features:
        pytest.skip(f"{device.id} has no int64")
    ty = meaning.INTEGERS[kind]
    short, other = (meaning.i32, meaning.u32) if kind == "i64" else (meaning.u32, meaning.i32)
    # WGSL says nothing of 64 bits. Functions that count and move bits are those of 32.
    table = {text: lambda a, b, c, f=f: f(ty, a, b) for text, f in BINARY.items()}
    table |= {"abs(a)": lambda a, b, c: ty.absolute(a), "~a": lambda a, b, c: ty.complement(a)}
    table |= {text: lambda a, b, c, f=f: f(ty, a, c) for text, f in SHIFTS.items()}
    if kind == "i64":
        table |= {"-a": lambda a, b, c: ty.negate(a), "sign(a)": lambda a, b, c: ty.sign(a)}
    table |= {f"select({kind}(0), {kind}(1), a {sign} b)": test for sign, test in COMPARED.items()}
    table |= {"i64(i32(a))" if kind == "i64" else "u64(u32(a))": lambda a, b, c: short.wrap(a)}
    if device.backend == "cpu":  # For GPUs naga takes the sign of what is wanted, not of what is given.
        table |= {"i64(u32(a))" if kind == "i64" else "u64(i32(a))": lambda a, b, c: other.wrap(a)}
    table |= {f"bitcast<{kind}>(bitcast<{'u64' if kind == 'i64' else 'i64'}>(a))": lambda a, b, c: a}
    table |= {f"(vec2<{kind}>(a, b) + vec2<{kind}>(b, a)).y": lambda a, b, c: ty.add(a, b)}
    table |= {f"dot(vec2<{kind}>(a, b), vec2<{kind}>(b, a))": lambda a, b, c: ty.wrap(2 * a * b)}
    rows = [(a, b, c % 64) for a, b, c in integer_operands(kind)]
    a, b, c = zip(*rows, strict=True)
    operands = {"a_": ("vec2<u32>", halves(a)), "b_": ("vec2<u32>", halves(b)), "c": ("u32", np.array(c, np.uint32))}
    got = compute(
        device,
        [f"parts(u64({text}))" for text in table],
        operands,
        "vec2<u32>",
        before=wide(kind, "a") + wide(kind, "b"),
        header=f"alias T = {kind}; fn parts(x: u64) -> vec2<u32> {{ return vec2<u32>(u32(x), u32(x >> 32u)); }}",
    )
    want = [halves([f(*row) for f in table.values()]) for row in rows]
    assert_table(got, want, table)


COMPARED = {
    "==": lambda a, b, c: int(a == b),
    "!=": lambda a, b, c: int(a != b),
    "<": lambda a, b, c: int(a < b),
    "<=": lambda a, b, c: int(a <= b),
    ">": lambda a, b, c: int(a > b),
    ">=": lambda a, b, c: int(a >= b),
}


# Floats whose results are exact


def float_numbers(count=300, seed=0):
    """Halves, ends of ranges where numbers become whole, and random ones of many sizes; no subnormal ones."""
    chosen = [
        0,
        0.25,
        0.5,
        0.75,
        1,
        1.5,
        2,
        2.5,
        3,
        3.5,
        4.5,
        1e-3,
        0.1,
        np.pi,
        100.7,
        0.49999997,
        0.99999994,
        1.0000001,
    ]
    chosen += [2.0**k for k in (-126, -100, -24, -1, 10, 22, 23, 24, 31, 32, 63, 100, 126)]
    chosen += [8388607.5, 8388608.0, 4194303.75, 16777215.0, 2147483520.0, 4294967040.0, 3e38]
    random = np.random.default_rng(seed)
    scales = 2.0 ** random.integers(-20, 40, count)
    numbers = np.concatenate([chosen, random.standard_normal(count) * scales])
    return np.concatenate([numbers, -numbers]).astype(np.float32)


EXACT_OF_ONE = {
    "floor(x)": np.floor,
    "ceil(x)": np.ceil,
    "trunc(x)": np.trunc,
    "round(x)": np.rint,
    "abs(x)": np.abs,
    "sign(x)": np.sign,
    "-x": np.negative,
    "saturate(x)": lambda x: np.clip(x, 0, 1),
    "modf(x).whole": np.trunc,
    "modf(x).fract": lambda x: x - np.trunc(x),
    "frexp(x).fract": lambda x: np.frexp(x)[0],
    "f32(frexp(x).exp)": lambda x: np.frexp(x)[1],
    "select(x, 0.0, x < 0.5)": lambda x: np.where(x < 0.5, 0, x),
    "clamp(x, -2.5, 3.0)": lambda x: np.clip(x, -2.5, 3),
}
EXACT_OF_TWO = {
    "min(x, y)": np.minimum,
    "max(x, y)": np.maximum,
    "step(x, y)": lambda x, y: (y >= x).astype(float),
    "clamp(x, min(y, 0.0), max(y, 0.0))": lambda x, y: np.clip(x, np.minimum(y, 0), np.maximum(y, 0)),
    "select(x, y, x < y)": np.maximum,
    "f32(x == y)": lambda x, y: x == y,
    "f32(x != y)": lambda x, y: x != y,
    "f32(x < y)": lambda x, y: x < y,
    "f32(x <= y)": lambda x, y: x <= y,
    "f32(x > y)": lambda x, y: x > y,
    "f32(x >= y)": lambda x, y: x >= y,
}
# To the nearest. WGSL names no direction, but there is no device that rounds another way.
ROUNDED = {
    "x + y": np.add,
    "x - y": np.subtract,
    "x * y": np.multiply,
}


def nearest(numbers):
    """float64 to float32; what overflows is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(numbers, np.float64).astype(np.float32)


def test_exact_functions_of_floats(device):
    x = float_numbers()
    got = compute(device, EXACT_OF_ONE, {"x": ("f32", x)}, "f32")[..., 0]
    for k, (text, function) in enumerate(EXACT_OF_ONE.items()):
        np.testing.assert_array_equal(got[:, k], nearest(function(x.astype(np.float64))), text)


def float_pairs():
    x = float_numbers()
    y = float_numbers(seed=1)[::-1]
    small = np.float32([-2.5, -1, 0, 0.5, 1, 1.25, 3, 1e10])
    grid = np.array(list(itertools.product(small, small)), np.float32)
    return np.concatenate([x, grid[:, 0], x]), np.concatenate([y, grid[:, 1], x])


def test_exact_functions_of_two_floats(device):
    x, y = float_pairs()
    got = compute(device, EXACT_OF_TWO, {"x": ("f32", x), "y": ("f32", y)}, "f32")[..., 0]
    for k, (text, function) in enumerate(EXACT_OF_TWO.items()):
        np.testing.assert_array_equal(got[:, k], nearest(function(x.astype(np.float64), y.astype(np.float64))), text)


def test_sums_and_products_are_rounded_once(device):
    """Where the result is neither subnormal nor too large."""
    x, y = float_pairs()
    got = compute(device, ROUNDED, {"x": ("f32", x), "y": ("f32", y)}, "f32")[..., 0]
    for k, (text, function) in enumerate(ROUNDED.items()):
        want = nearest(function(x.astype(np.float64), y.astype(np.float64)))
        normal = np.isfinite(want) & ((abs(want) >= 2.0**-126) | (want == 0))
        np.testing.assert_array_equal(got[normal, k], want[normal], text)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_vectors_of_floats(device, size):
    """The same, component by component, also where one operand is a number."""
    x, y = (array[: len(array) // size * size].reshape(-1, size) for array in float_pairs())
    keep = (abs(x) < 1e18) & (abs(y) < 1e18) & ((abs(x) > 1e-18) | (x == 0)) & ((abs(y) > 1e-18) | (y == 0))
    x, y = x[keep.all(1)], y[keep.all(1)]
    vector = f"vec{size}<f32>"
    table = {text: f for text, f in EXACT_OF_TWO.items() if text.startswith(("min", "max", "step"))} | ROUNDED
    table |= {
        f"{name}(x)": lambda x, y, f=EXACT_OF_ONE[f"{name}(x)"]: f(x) for name in ("floor", "round", "sign", "abs")
    }
    table |= {f"{vector}(x < y)": lambda x, y: x < y, f"{vector}(x == y.{'yxzw'[:size]})": swapped_equal}
    table |= {"select(x, y, x < y)": np.maximum, "x * k": lambda x, y: x * y[:, :1], "k - x": lambda x, y: y[:, :1] - x}
    operands = {"x": (vector, x), "y": (vector, y), "k": ("f32", y[:, 0])}
    got = compute(device, table, operands, vector)
    for k, (text, function) in enumerate(table.items()):
        np.testing.assert_array_equal(got[:, k], nearest(function(x.astype(np.float64), y.astype(np.float64))), text)


def swapped_equal(x, y):
    y = y.copy()
    y[:, [0, 1]] = y[:, [1, 0]]
    return x == y


def test_fused_or_not(device):
    """fma rounds once or twice, and so may a product that is added."""
    x, y = float_pairs()
    keep = (abs(x) < 1e15) & (abs(y) < 1e15) & (abs(x) > 1e-15) & (abs(y) > 1e-15)
    x, y = x[keep], y[keep]
    z = np.roll(x, 7)
    got = compute(device, ["fma(x, y, z)", "x * y + z"], {"x": ("f32", x), "y": ("f32", y), "z": ("f32", z)}, "f32")
    product = x.astype(np.float64) * y
    once = nearest(product + z)
    twice = nearest(nearest(product).astype(np.float64) + z)
    for k in range(2):
        assert ((got[:, k, 0] == once) | (got[:, k, 0] == twice)).all()


def test_scaling_by_powers_of_two(device):
    """Where the result is neither subnormal nor too large."""
    x = np.repeat(float_numbers(50), 9)
    exponents = np.resize([-40, -10, -1, 0, 1, 3, 10, 50, 100], len(x))
    want = np.ldexp(x.astype(np.float64), exponents)
    keep = (abs(want) < 2.0**127) & ((abs(want) >= 2.0**-126) | (want == 0))
    x, exponents, want = x[keep], exponents[keep], want[keep]
    # Drivers compute x * exp2(e) by one power of two, which is no number beyond 2**127 or below 2**-126.
    got = compute(
        device, ["ldexp(x, e)", "ldexp(vec2(x), vec2(e)).y"], {"x": ("f32", x), "e": ("i32", exponents)}, "f32"
    )
    assert_table(got, np.stack([want, want], axis=1), ["ldexp", "ldexp of vec2"])


def test_parts_of_vectors_of_floats(device):
    """modf and frexp give structs of vectors."""
    x = float_numbers(101)[:-2].reshape(-1, 3)
    formulas = ["modf(x).fract", "modf(x).whole", "frexp(x).fract", "vec3<f32>(frexp(x).exp)"]
    got = compute(device, formulas, {"x": ("vec3<f32>", x)}, "vec3<f32>")
    fraction, exponent = np.frexp(x)
    assert_table(got, np.stack([x - np.trunc(x), np.trunc(x), fraction, exponent], axis=1), formulas)


# Floats to within a number of units in the last place


def ulp(number):
    """The distance of neighbouring float32 numbers."""
    return np.spacing(np.maximum(abs(np.asarray(number, np.float64)), 2.0**-126).astype(np.float32)).astype(np.float64)


def assert_within(got, want, error, text):
    """An array, what it should be in float64, and how far each may be away."""
    wrong = ~(abs(got - want) <= error)
    i = int(np.argmax(abs(got - want) / np.maximum(error, 1e-300)))
    assert not wrong.any(), (
        f"{text}: {wrong.sum()} of {got.size}; {got.flat[i]!r} is not {want.flat[i]!r} ± {error.flat[i]!r}"
    )


def log_error(x):
    """Of log and log2."""
    want = np.log2(x)
    return np.where((x >= 0.5) & (x <= 2), 2.0**-21, 3 * ulp(want))


def exp_error(x, want):
    return (3 + 2 * abs(x)) * ulp(want)


def division_error(want):
    return 2.5 * ulp(want)


def tan_error(x):
    """sin(x) / cos(x), each of which may be 2**-11 off."""
    sine, cosine, e = abs(np.sin(x)), abs(np.cos(x)), 2.0**-11
    return (sine + e) / np.maximum(cosine - e, 1e-9) - sine / cosine + division_error(np.tan(x))


def pow_error(x, y):
    """exp2(y * log2(x))."""
    exponent = y * np.log2(x)
    error = abs(y) * log_error(x) + ulp(exponent)
    want = x**y
    return want * (2**error - 1) + 2**error * exp_error(exponent, want)


def sum_log_error(argument, relative):
    """A logarithm of what has a relative error already."""
    want = np.log(argument)
    return np.where((argument >= 0.5) & (argument <= 2), 2.0**-21, 3 * ulp(want)) + 2 * relative + ulp(want)


EPSILON = 2.0**-23
ranges = {
    "any": (-80.0, 80.0),
    "small": (-10.0, 10.0),
    "pi": (-np.pi, np.pi),
    "unit": (-1.0, 1.0),
    "inner": (-0.99, 0.99),
    "positive": (1e-6, 1e6),
    "one": (1.0, 1e6),
}


def arc_error(x, want):
    """Of atan2 with sqrt(1 - x * x), which loses what 1 and x * x have in common."""
    return 4096 * ulp(want) + np.minimum(np.sqrt(2 * EPSILON), EPSILON / np.sqrt(np.maximum(1 - x * x, EPSILON)))


def sinh_error(x):
    return 0.5 * (exp_error(x, np.exp(x)) + exp_error(x, np.exp(-x))) + ulp(np.cosh(x))


def tanh_error(x):
    """The worse of 1e-5 and what sinh(x) / cosh(x) inherits."""
    inherited = 2 * sinh_error(x) / np.cosh(x) + division_error(np.tanh(x))
    return np.maximum(1e-5, inherited)


# A formula with the range of x, its value, and the error that WGSL allows.
FUNCTIONS = {
    "exp(x)": ("any", np.exp, lambda x: exp_error(x, np.exp(x))),
    "exp2(x)": ("any", np.exp2, lambda x: exp_error(x, np.exp2(x))),
    "log(x)": ("positive", np.log, lambda x: np.where((x >= 0.5) & (x <= 2), 2.0**-21, 3 * ulp(np.log(x)))),
    "log2(x)": ("positive", np.log2, log_error),
    "sqrt(x)": ("positive", np.sqrt, lambda x: 5 * ulp(np.sqrt(x))),  # 1 / inverseSqrt(x): 2 and 2.5
    "inverseSqrt(x)": ("positive", lambda x: 1 / np.sqrt(x), lambda x: 2 * ulp(1 / np.sqrt(x))),
    "sin(x)": ("pi", np.sin, lambda x: np.full_like(x, 2.0**-11)),
    "cos(x)": ("pi", np.cos, lambda x: np.full_like(x, 2.0**-11)),
    "tan(x)": ("pi", np.tan, tan_error),
    "asin(x)": ("unit", np.arcsin, lambda x: np.maximum(6.81e-5, arc_error(x, np.arcsin(x)))),
    "acos(x)": ("unit", np.arccos, lambda x: np.maximum(6.77e-5, arc_error(x, np.arccos(x)))),
    "atan(x)": ("any", np.arctan, lambda x: 4096 * ulp(np.arctan(x))),
    "sinh(x)": ("small", np.sinh, sinh_error),
    "cosh(x)": ("small", np.cosh, sinh_error),
    "tanh(x)": ("any", np.tanh, tanh_error),
    # log(x + sqrt(x * x + 1)): for negative x the sum loses what they have in common.
    "asinh(x)": (
        "small",
        np.arcsinh,
        lambda x: sum_log_error(x + np.sqrt(x * x + 1), 8 * EPSILON * (1 + abs(x)) / (x + np.sqrt(x * x + 1))),
    ),
    # log(x + sqrt(x * x - 1)): near 1 the root loses what x * x and 1 have in common.
    "acosh(x)": (
        "one",
        np.arccosh,
        lambda x: sum_log_error(x + np.sqrt(x * x - 1), 8 * EPSILON) + np.sqrt(2 * EPSILON) * (x < 1.01),
    ),
    "atanh(x)": ("inner", np.arctanh, lambda x: 0.5 * sum_log_error((1 + x) / (1 - x), 6 * EPSILON)),
    "fract(x)": ("any", lambda x: x - np.floor(x), lambda x: ulp(x - np.floor(x))),
    "degrees(x)": ("any", np.degrees, lambda x: 2 * ulp(np.degrees(x))),
    "radians(x)": ("any", np.radians, lambda x: 2 * ulp(np.radians(x))),
    "1.0 / x": ("positive", np.reciprocal, lambda x: division_error(1 / x)),
    "length(x)": ("any", np.abs, lambda x: 6 * ulp(x)),
    "quantizeToF16(x)": (
        "small",
        lambda x: x.astype(np.float16).astype(np.float64),
        lambda x: half_step(x) + (abs(x) < 2.0**-14) * abs(x),
    ),
}


def half_step(x):
    """The distance of neighbouring halves, subnormal ones too: WGSL lets either neighbour be chosen."""
    exponents = np.floor(np.log2(np.maximum(abs(x), 2.0**-14)))
    return 2.0 ** (exponents - 10) * (x.astype(np.float16) != x)


def numbers_in(name, count=1000):
    """Evenly, near zero, at the ends, and whole ones."""
    low, high = ranges[name]
    random = np.random.default_rng(0)
    if low > 0:
        numbers = np.exp(random.uniform(np.log(low), np.log(high), count))
    else:
        numbers = np.concatenate([random.uniform(low, high, count), random.uniform(low, high, count // 4) * 1e-3])
    whole = np.arange(max(np.ceil(low), -20), min(high, 20) + 1)
    numbers = np.concatenate([numbers, [low, high], whole]).astype(np.float32)
    numbers = numbers[(numbers >= low) & (numbers <= high)]
    if name == "pi":  # np.float32(np.pi) is beyond pi.
        numbers = numbers[abs(numbers) < 3.1415926]
    return numbers


@pytest.mark.parametrize("name", ranges)
def test_functions_of_floats(device, name):
    table = {text: entry for text, entry in FUNCTIONS.items() if entry[0] == name}
    x = numbers_in(name)
    got = compute(device, table, {"x": ("f32", x)}, "f32")[..., 0].astype(np.float64)
    exact = x.astype(np.float64)
    for k, (text, (_, function, error)) in enumerate(table.items()):
        # GLSL says nothing of these two, and Mesa's are 5e-4 off.
        more = 5e-4 if is_gl(device) and text in ("asin(x)", "acos(x)") else 0
        assert_within(got[:, k], function(exact), error(exact) + more, text)


def test_functions_of_two_floats(device):
    random = np.random.default_rng(0)
    x = np.concatenate([random.uniform(0.01, 10, 1000), np.arange(1, 8)]).astype(np.float32)
    y = np.concatenate([random.uniform(-8, 8, 1000), [-3, -2, -1, 1, 2, 3, 4]]).astype(np.float32)
    sign = random.choice([-1, 1], len(x)).astype(np.float32)
    wide = (x * sign).astype(np.float32)
    a, b, w = (array.astype(np.float64) for array in (x, y, wide))
    table = {
        "x / y": (a / b, division_error(a / b)),
        "pow(x, y)": (a**b, pow_error(a, b)),
        "atan2(y, w)": (np.arctan2(b, w), 4096 * ulp(np.arctan2(b, w))),
        "distance(x, y)": (abs(a - b), 8 * ulp(a - b) + ulp(np.maximum(a, abs(b)))),
        "mix(x, y, 0.3)": (
            a * (1 - np.float64(np.float32(0.3))) + b * np.float64(np.float32(0.3)),
            2 * ulp(a + abs(b)),
        ),
        "smoothstep(-8.0, 8.0, y)": (smooth((b + 8) / 16), 16 * EPSILON * np.ones_like(b)),
        "length(vec2(x, y))": (np.hypot(a, b), 8 * ulp(np.hypot(a, b))),
    }
    got = compute(device, table, {"x": ("f32", x), "y": ("f32", y), "w": ("f32", wide)}, "f32")[..., 0].astype(
        np.float64
    )
    for k, (text, (want, error)) in enumerate(table.items()):
        assert_within(got[:, k], want, error, text)


def smooth(t):
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def test_remainders_of_floats(device):
    """x - y * trunc(x / y): exact while the quotient is small; its sign is that of x. A quotient that is nearly whole
    may be rounded to the next whole number."""
    random = np.random.default_rng(0)
    x = random.integers(-400, 400, 500).astype(np.float32) / 8
    y = random.choice([-4.0, -2.0, 0.5, 1.0, 2.0, 8.0], 500).astype(np.float32)
    got = compute(
        device, ["x % y", "(vec2(x) % vec2(y)).y", "(vec2(x) % y).y"], {"x": ("f32", x), "y": ("f32", y)}, "f32"
    )
    want = np.fmod(x, y)
    assert_table(got, np.stack([want] * 3, axis=1), ["x % y"] * 3)
    y = random.uniform(0.5, 5, 500).astype(np.float32)
    got = compute(device, ["x % y"], {"x": ("f32", x), "y": ("f32", y)}, "f32")[:, 0, 0].astype(np.float64)
    want = np.fmod(x.astype(np.float64), y)
    error = abs(got - want)
    assert (np.minimum(error, abs(error - y)) <= 4 * ulp(x)).all()


# Vectors and matrices of floats


def vectors(size, count=200, seed=0):
    return np.random.default_rng(seed).uniform(-4, 4, (count, size)).astype(np.float32)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_geometry(device, size):
    vector = f"vec{size}<f32>"
    a, b, c = (vectors(size, seed=seed) for seed in range(3))
    x, y, z = (array.astype(np.float64) for array in (a, b, c))
    dot = (x * y).sum(1)
    norm = np.linalg.norm(x, axis=1)
    # Every term may be off by a unit of the greatest sum on the way.
    scale = 8 * EPSILON
    magnitude = (abs(x) * abs(y)).sum(1)
    operands = {"x": (vector, a), "y": (vector, b), "z": (vector, c)}
    table = {
        "dot(x, y)": (dot, scale * magnitude),
        "length(x)": (norm, 8 * ulp(norm)),
        "distance(x, y)": (np.linalg.norm(x - y, axis=1), scale * (norm + np.linalg.norm(y, axis=1))),
    }
    got = compute(device, table, operands, "f32")[..., 0].astype(np.float64)
    for k, (text, (want, error)) in enumerate(table.items()):
        assert_within(got[:, k], want, error, text)
    toward = np.where((dot_of(z, y) < 0)[:, None], x, -x)
    table = {
        "normalize(x)": (x / norm[:, None], np.full_like(x, scale)),
        "reflect(x, y)": (x - 2 * dot[:, None] * y, 2 * scale * (abs(x) + 2 * magnitude[:, None] * abs(y))),
        "faceForward(x, z, y)": (np.where((dot_of(y, z) < 0)[:, None], x, -x), np.zeros_like(x)),
        "-faceForward(-x, y, z)": (toward * 1.0, np.zeros_like(x)),
    }
    got = compute(device, table, operands, vector).astype(np.float64)
    for k, (text, (want, error)) in enumerate(table.items()):
        assert_within(got[:, k], want, error, text)


def dot_of(x, y):
    return (x * y).sum(1)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_refraction(device, size):
    """Of unit vectors. Where there is total reflection, nothing: exactly zero."""
    a, b = vectors(size), vectors(size, seed=1)
    x, y = (array.astype(np.float64) / np.linalg.norm(array, axis=1, keepdims=True) for array in (a, b))
    a, b = x.astype(np.float32), y.astype(np.float32)
    ratio = np.random.default_rng(2).uniform(0.5, 2, len(a)).astype(np.float32)
    x, y, r = (array.astype(np.float64) for array in (a, b, ratio))
    d = dot_of(x, y)
    k = 1 - r * r * (1 - d * d)
    want = np.where((k < 0)[:, None], 0, r[:, None] * x - (r * d + np.sqrt(np.maximum(k, 0)))[:, None] * y)
    keep = abs(k) > 1e-3
    vector = f"vec{size}<f32>"
    operands = {"x": (vector, a), "y": (vector, b), "r": ("f32", ratio)}
    got = compute(device, ["refract(x, y, r)"], operands, vector)[:, 0]
    assert_within(got[keep].astype(np.float64), want[keep], np.full_like(want[keep], 2e-5), "refract")
    assert (got[k < -1e-3] == 0).all()


def test_cross_products(device):
    a, b = vectors(3), vectors(3, seed=1)
    got = compute(device, ["cross(x, y)"], {"x": ("vec3<f32>", a), "y": ("vec3<f32>", b)}, "vec3<f32>")[:, 0]
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert_within(got.astype(np.float64), np.cross(x, y), np.full_like(x, 4 * EPSILON * 32), "cross")


@pytest.mark.parametrize("columns", [2, 3, 4])
@pytest.mark.parametrize("rows", [2, 3, 4])
def test_matrices(device, columns, rows):
    """Of small whole numbers, so that all is exact. Those that are given are columns of rows."""
    random = np.random.default_rng(columns * 5 + rows)
    count = 40
    m, n = (random.integers(-9, 9, (count, columns, rows)) for _ in range(2))
    v, w = random.integers(-9, 9, (count, columns)), random.integers(-9, 9, (count, rows))

    def columns_of(name, columns, rows):
        return f"let {name} = mat{columns}x{rows}<f32>({', '.join(f'{name}{i}' for i in range(columns))});"

    operands = {f"m{i}": (f"vec{rows}<f32>", m[:, i]) for i in range(columns)}
    operands |= {f"n{i}": (f"vec{rows}<f32>", n[:, i]) for i in range(columns)}
    if len(operands) + 6 > 8:  # The fewest storage variables that devices have.
        operands = {k: entry for k, entry in operands.items() if k.startswith("m")}
        lines = columns_of("m", columns, rows) + f"let n = m + m * 2.0 - mat{columns}x{rows}<f32>(m);"
        n = 2 * m
    else:
        lines = columns_of("m", columns, rows) + columns_of("n", columns, rows)
    operands |= {"v": (f"vec{columns}<f32>", v), "w": (f"vec{rows}<f32>", w)}
    table = {
        "m * v": np.einsum("icr,ic->ir", m, v),
        "(m + n) * v": np.einsum("icr,ic->ir", m + n, v),
        "(m - n * 3.0) * v": np.einsum("icr,ic->ir", m - 3 * n, v),
        "m[1] + n[0]": m[:, 1] + n[:, 0],
        "(2.0 * m)[1]": 2 * m[:, 1],
        "(m * transpose(n))[1]": np.einsum("icr,ic->ir", m, n[:, :, 1]),
        f"m[u32(abs(v.x)) % {columns}u]": m[np.arange(count), abs(v[:, 0]) % columns],
    }
    got = compute(device, table, operands, f"vec{rows}<f32>", before=lines)
    assert_table(got, np.stack(list(table.values()), axis=1), table)
    table = {
        "w * m": np.einsum("icr,ir->ic", m, w),
        "transpose(m)[1]": m[:, :, 1],
        "transpose(m) * w": np.einsum("icr,ir->ic", m, w),
        "(transpose(n) * m)[0]": np.einsum("icr,ir->ic", n, m[:, 0]),
    }
    got = compute(device, table, operands, f"vec{columns}<f32>", before=lines)
    assert_table(got, np.stack(list(table.values()), axis=1), table)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_determinants(device, size):
    """Of small whole numbers. WGSL promises nothing, but exactly these come out everywhere."""
    m = np.random.default_rng(size).integers(-5, 5, (60, size, size))
    operands = {f"m{i}": (f"vec{size}<f32>", m[:, i]) for i in range(size)}
    text = f"determinant(mat{size}x{size}<f32>({', '.join(operands)}))"
    got = compute(device, [text], operands, "f32")[:, 0, 0]
    np.testing.assert_allclose(got, np.linalg.det(m), rtol=1e-5, atol=1e-3)


# Truth


def test_truth(device):
    """select, all, any and the operators, on numbers and vectors."""
    rows = np.array(list(itertools.product([0, 1], repeat=4)), np.uint32)
    a, b, c, d = rows.astype(bool).T
    table = {
        "p && q": a & b,
        "p || q": a | b,
        "p & q": a & b,
        "p | q": a | b,
        "p == q": a == b,
        "p != q": a != b,
        "!p": ~a,
        "all(four)": a & b & c & d,
        "any(four)": a | b | c | d,
        "all(four.xyz)": a & b & c,
        "any(four.zw)": c | d,
        "all(p)": a,
        "any(q)": b,
        "any(four.xy & four.zw)": (a & c) | (b & d),
        "all(four.xy | four.zw)": (a | c) & (b | d),
        "all(four.xy == four.zw)": (a == c) & (b == d),
        "any(four.xy != four.zw)": (a != c) | (b != d),
        "all(!four)": ~(a | b | c | d),
        "select(p, q, four.z)": np.where(c, b, a),
        "all(select(four.xy, four.zw, four.yx))": np.where(b, c, a) & np.where(a, d, b),
        "any(select(four.xy, four.zw, p))": np.where(a, c | d, a | b),
    }
    texts = [f"u32({text})" for text in table]
    before = "let four = x != vec4<u32>(0u); let p = four.x; let q = four.y;"
    got = compute(device, texts, {"x": ("vec4<u32>", rows)}, "u32", before=before)
    assert_table(got, np.stack(list(table.values()), axis=1), table)


def test_what_is_not_evaluated(device):
    """The right operand of && and ||, where the left one decides. Functions are called from left to right."""
    header = """
        var<private> calls: u32;
        fn note(digit: u32, answer: bool) -> bool { calls = calls * 10u + digit; return answer; }
        fn digit(value: u32) -> u32 { calls = calls * 10u + value; return value; }
    """
    before = """
        let p = x.x != 0u;
        let q = x.y != 0u;
        calls = 0u;
        let first = note(1u, p) && note(2u, q);
        let after_and = calls * 2u + u32(first);
        calls = 0u;
        let second = note(1u, p) || note(2u, q);
        let after_or = calls * 2u + u32(second);
        calls = 0u;
        let third = note(1u, p) && (note(2u, q) || note(3u, true)) && note(4u, q);
        let after_both = calls * 2u + u32(third);
        calls = 0u;
        let strict = note(1u, p) & note(2u, q) | note(3u, p);
        let after_strict = calls * 2u + u32(strict);
        calls = 0u;
        let sum = digit(1u) - digit(2u) * digit(3u);
        let after_sum = calls + sum * 0u;
        calls = 5u;
        let around = calls + digit(7u) + calls;
        calls = 1u;
        calls += digit(2u);
        let after_compound = calls;
        var rounds = 0u;
        while (rounds < 3u && note(9u, p)) { rounds += 1u; }
        let after_while = calls * 10u + rounds;
    """
    names = ["and", "or", "both", "strict", "sum", "compound", "while"]
    texts = [f"after_{name}" for name in names] + ["around"]
    rows = [(0, 0), (0, 1), (1, 0), (1, 1)]
    got = compute(device, texts, {"x": ("vec2<u32>", np.uint32(rows))}, "u32", before=before, header=header)[..., 0]

    def both(p, q):
        calls = 1
        if p:
            calls = calls * 10 + 2
            if not q:
                calls = calls * 10 + 3
            calls = calls * 10 + 4
        return calls * 2 + (p and q)

    want = [
        [
            (12 if p else 1) * 2 + (p and q),
            (1 if p else 12) * 2 + (p or q),
            both(p, q),
            123 * 2 + ((p and q) or p),
            123,
            3,
            (3999 * 10 + 3) if p else 390,
            5 + 7 + 57,
        ]
        for p, q in rows
    ]
    assert_table(got[..., None], want, texts)


# Conversions


def test_conversions_to_integers(device):
    """Towards zero. What is too large becomes the nearest integer that is an f32: no device says 2147483647."""
    x = np.concatenate([float_numbers(), np.float32([1e20, -1e20, 2.0**31, 2.0**32, -(2.0**31), -2147483904, 3e9])])
    texts = ["i32(x)", "bitcast<i32>(u32(x))", "vec2<i32>(vec2(x)).y", "bitcast<vec3<i32>>(vec3<u32>(vec3(x))).z"]
    got = compute(device, texts, {"x": ("f32", x)}, "i32")
    pairs = [(meaning.i32.from_float(value), meaning.i32.wrap(meaning.u32.from_float(value))) for value in x.tolist()]
    assert_table(got, [pair * 2 for pair in pairs], texts)


def test_conversions_to_floats(device):
    """To one of the two nearest."""
    numbers = np.array([*edges("u32"), 2**24 + 1, 2**25 + 3, 2**31 + 129, *words(200).tolist()], np.uint32)
    texts = ["f32(n)", "f32(bitcast<i32>(n))", "vec3<f32>(vec3(n)).y", "vec2<f32>(vec2(bitcast<i32>(n))).y"]
    got = compute(device, texts, {"n": ("u32", numbers)}, "f32")[..., 0].astype(np.float64)
    for k, whole in enumerate([numbers.astype(np.float64), numbers.view(np.int32).astype(np.float64)] * 2):
        nearest_one = whole.astype(np.float32)
        error = np.where(nearest_one == whole, 0, ulp(whole))
        assert_within(got[:, k], whole, error, texts[k])


def test_other_conversions(device):
    rows = np.array([*edges("u32"), *words(50).tolist()], np.uint32)
    signed = rows.view(np.int32)
    table = {
        "u32(bitcast<i32>(n))": rows,
        "bitcast<u32>(i32(n))": rows,
        "u32(bool(n))": rows != 0,
        "u32(bool(bitcast<i32>(n)))": rows != 0,
        "u32(bool(f32(n)))": rows != 0,
        "bitcast<u32>(i32(n > 7u))": rows > 7,
        "bitcast<u32>(f32(n > 7u))": (rows > 7) * 0x3F800000,
        "bitcast<u32>(-i32(n > 7u))": -(rows > 7).astype(np.int32),
        "u32(all(vec3<bool>(vec3(n, n, 1u))))": rows != 0,
        "bitcast<u32>(max(bitcast<i32>(n), 5))": np.maximum(signed, 5),
        "bitcast<vec2<u32>>(vec2<i32>(vec2(n, 1u))).x": rows,
        "bitcast<u32>(bitcast<f32>((n & 0x3fffffffu) | 0x3f000000u))": (rows & 0x3FFFFFFF) | 0x3F000000,
        "bitcast<vec3<u32>>(bitcast<vec3<f32>>(vec3((n & 0x3fffffffu) | 0x3f000000u))).y": (rows & 0x3FFFFFFF)
        | 0x3F000000,
    }
    got = compute(device, table, {"n": ("u32", rows)}, "u32")
    assert_table(
        got, np.stack([np.asarray(column).astype(np.int64) & 0xFFFFFFFF for column in table.values()], 1), table
    )


# Packed floats


def test_packing_of_floats(device):
    """Rounded to the nearest step. Where two are as near, either will do, as WGSL's arithmetic may be a bit off."""
    random = np.random.default_rng(0)
    x = np.concatenate([random.uniform(-1.2, 1.2, (300, 4)), [[0, 1, -1, 0.5]], [[2, -2, 1e9, -1e9]]]).astype(
        np.float32
    )
    texts = ["pack4x8snorm(x)", "pack4x8unorm(x)", "pack2x16snorm(x.xy)", "pack2x16unorm(x.xy)"]
    got = compute(device, texts, {"x": ("vec4<f32>", x)}, "u32")[..., 0].copy()
    exact = x.astype(np.float64)
    for k, (low, steps, dtype) in enumerate(
        [(-1, 127, np.int8), (0, 255, np.uint8), (-1, 32767, np.int16), (0, 65535, np.uint16)]
    ):
        numbers = got[:, [k]].copy().view(dtype)
        want = np.clip(exact[:, : numbers.shape[1]], low, 1) * steps
        assert_within(numbers.astype(np.float64), want, np.full_like(want, 0.5 + steps * EPSILON), texts[k])


def test_unpacking_of_floats(device):
    """To 3 ulp."""
    w = words(300)
    texts = ["unpack4x8snorm(w)", "unpack4x8unorm(w)", "vec4(unpack2x16snorm(w), 0.0, 0.0)"]
    texts.append("vec4(unpack2x16unorm(w), 0.0, 0.0)")
    got = compute(device, texts, {"w": ("u32", w)}, "vec4<f32>").astype(np.float64)
    for k, (steps, dtype) in enumerate([(127, np.int8), (255, np.uint8), (32767, np.int16), (65535, np.uint16)]):
        want = np.maximum(w.view(dtype).reshape(len(w), -1) / steps, -1)
        assert_within(got[:, k, : want.shape[1]], want, 3 * ulp(want), texts[k])


def normal_halves():
    """All halves but subnormal ones, infinities and NaN."""
    bits = np.arange(65_536, dtype=np.uint16)
    exponent = bits >> 10 & 31
    return bits[(exponent < 31) & ((exponent > 0) | (bits & 0x3FF == 0))]


def test_halves_in_words(device):
    """Every half is unpacked exactly, subnormal ones too, which become normal: but WGSL lets these be zero."""
    bits = np.arange(65_536, dtype=np.uint16)
    bits = bits[bits >> 10 & 31 < 31]
    word = bits.astype(np.uint32) | (bits[::-1].astype(np.uint32) << 16)
    got = compute(device, ["unpack2x16float(w)"], {"w": ("u32", word)}, "vec2<f32>")[:, 0]
    for k, halves_ in enumerate((bits, bits[::-1])):
        want = halves_.view(np.float16).astype(np.float32)
        flushed = (got[:, k] == 0) & (abs(want) < 2.0**-14)
        assert ((got[:, k] == want) | flushed).all()


def test_packing_of_halves(device):
    """To one of the two nearest. A half that is given comes back, a subnormal one perhaps as zero."""
    random = np.random.default_rng(0)
    x = np.concatenate([random.standard_normal(2000) * 2.0 ** random.integers(-12, 13, 2000), [0, 65504, -65504, 1]])
    x = x.astype(np.float32)
    x = x[: len(x) // 2 * 2].reshape(-1, 2)
    got = compute(device, ["pack2x16float(x)"], {"x": ("vec2<f32>", x)}, "u32")[:, 0].copy().view(np.float16)
    assert_within(got.astype(np.float64), x.astype(np.float64), half_step(x.astype(np.float64)), "pack2x16float")
    halves_ = normal_halves()
    halves_ = halves_[: len(halves_) // 2 * 2].view(np.float16).astype(np.float32).reshape(-1, 2)
    got = compute(device, ["pack2x16float(x)"], {"x": ("vec2<f32>", halves_)}, "u32")[:, 0].copy().view(np.float16)
    np.testing.assert_array_equal(got.astype(np.float32), halves_)


# Half precision


def needs(device, feature):
    if feature not in device.features:
        pytest.skip(f"{device.id} has no {feature}")


HALF_OPERATIONS = {
    "x + y": np.add,
    "x - y": np.subtract,
    "x * y": np.multiply,
    "min(x, y)": np.minimum,
    "max(x, y)": np.maximum,
    "abs(x)": lambda x, y: np.abs(x),
    "-x": lambda x, y: -x,
    "floor(x)": lambda x, y: np.floor(x),
    "ceil(x)": lambda x, y: np.ceil(x),
    "trunc(x)": lambda x, y: np.trunc(x),
    "round(x)": lambda x, y: np.rint(x),
    "sign(x)": lambda x, y: np.sign(x),
    "step(x, y)": lambda x, y: y >= x,
    "clamp(x, -1.0h, 2.0h)": lambda x, y: np.clip(x, -1, 2),
    "saturate(x)": lambda x, y: np.clip(x, 0, 1),
    "select(x, y, x < y)": np.maximum,
    "f16(x == y)": lambda x, y: x == y,
    "vec3<f16>(x, y, x).y": lambda x, y: y,
    "(vec2<f16>(x, y) + vec2<f16>(y, x)).y": np.add,
    "f16(f32(x) * 0.5)": lambda x, y: x * 0.5,
    "f16(i32(x))": lambda x, y: np.trunc(x),
    "f16(bool(x))": lambda x, y: x != 0,
    "modf(x).whole": lambda x, y: np.trunc(x),
    "ldexp(x, 2)": lambda x, y: 4 * x,
}


def half_pairs():
    """Whole numbers, fractions and random ones whose products are normal halves."""
    random = np.random.default_rng(0)
    small = np.array([0, 0.5, 1, 1.5, 2.5, 3, 0.1, 7.25, 100, 2047, 1 / 3], np.float16)
    grid = np.array(list(itertools.product([*small, *-small], repeat=2)), np.float16)
    spread = random.standard_normal((500, 2)) * 2.0 ** random.integers(-4, 6, (500, 2))
    pairs = np.concatenate([grid, spread.astype(np.float16)])
    product = abs(pairs[:, 0].astype(np.float64) * pairs[:, 1])
    keep = (product < 60000) & ((product > 2.0**-14) | (product == 0))
    return pairs[keep]


def test_half_precision(device):
    """Each operation is rounded to a half."""
    needs(device, "f16")
    pairs = half_pairs()
    x, y = pairs.astype(np.float64).T
    operands = {"x": ("f16", pairs[:, 0]), "y": ("f16", pairs[:, 1])}
    got = compute(device, HALF_OPERATIONS, operands, "f16")[..., 0]
    for k, (text, function) in enumerate(HALF_OPERATIONS.items()):
        want = np.asarray(function(x, y), np.float64).astype(np.float16)
        subnormal = (abs(want) < 2.0**-14) & (got[:, k] == 0)  # which may be flushed
        np.testing.assert_array_equal(got[~subnormal, k], want[~subnormal], text)


def test_half_precision_is_rounded_on_the_way(device):
    """2048 + 1 is 2048 in halves, and 2048 + 1 + 1 too. WGSL lets no more be kept."""
    needs(device, "f16")
    x = np.float16([[2048, 1, 1], [1, 2.0**-11, 2.0**-11], [1024, 0.5, 0.5], [60000, 30, 30]])
    one, two, three = (x[:, i] for i in range(3))
    operands = {"x": ("f16", one), "y": ("f16", two), "z": ("f16", three)}
    header = "var<private> keep: f16;"
    before = "var sum = x; sum += y; sum += z; keep = x; keep = keep + y; let k = keep + z;"
    got = compute(device, ["(x + y) + z", "sum", "k"], operands, "f16", header=header, before=before)
    want = (one + two) + three
    assert_table(got, np.stack([want] * 3, axis=1), ["(x + y) + z", "sum", "k"])


def half_ulp(number):
    return np.spacing(np.maximum(abs(np.asarray(number, np.float64)), 2.0**-14).astype(np.float16)).astype(np.float64)


def test_functions_of_halves(device):
    needs(device, "f16")
    random = np.random.default_rng(0)
    x = random.uniform(0.1, 4, 400).astype(np.float16)
    y = random.uniform(-3, 3, 400).astype(np.float16)
    a, b = x.astype(np.float64), y.astype(np.float64)
    near_one = (a >= 0.5) & (a <= 2)
    table = {
        "x / y": (a / b, 2.5 * half_ulp(a / b)),
        "sqrt(x)": (np.sqrt(a), 5 * half_ulp(np.sqrt(a))),
        "inverseSqrt(x)": (1 / np.sqrt(a), 2 * half_ulp(1 / np.sqrt(a))),
        "exp(y)": (np.exp(b), (1 + 2 * abs(b)) * half_ulp(np.exp(b))),
        "exp2(y)": (np.exp2(b), (1 + 2 * abs(b)) * half_ulp(np.exp2(b))),
        "log(x)": (np.log(a), np.where(near_one, 2.0**-7, 3 * half_ulp(np.log(a)))),
        "log2(x)": (np.log2(a), np.where(near_one, 2.0**-7, 3 * half_ulp(np.log2(a)))),
        "sin(y)": (np.sin(b), np.full_like(b, 2.0**-7)),
        "cos(y)": (np.cos(b), np.full_like(b, 2.0**-7)),
        "atan(y)": (np.arctan(b), 5 * half_ulp(np.arctan(b))),
        "fma(x, y, x)": (a * b + a, half_ulp(a * b) + half_ulp(a * b + a)),
        "mix(x, y, 0.25h)": (0.75 * a + 0.25 * b, 3 * half_ulp(a + abs(b))),
        "dot(vec2(x, y), vec2(y, x))": (2 * a * b, 3 * half_ulp(2 * a * b)),
        "length(vec2(x, y))": (np.hypot(a, b), 8 * half_ulp(np.hypot(a, b))),
        "fract(y)": (b - np.floor(b), half_ulp(b - np.floor(b))),
        "(mat2x2<f16>(x, y, y, x) * vec2(x, y)).y": (2 * a * b, 3 * half_ulp(2 * a * b)),
    }
    got = compute(device, table, {"x": ("f16", x), "y": ("f16", y)}, "f16")[..., 0].astype(np.float64)
    for k, (text, (want, error)) in enumerate(table.items()):
        assert_within(got[:, k], want, error, text)


def test_conversions_of_halves(device):
    """Every half is an f32. An f32 becomes one of the two nearest halves."""
    needs(device, "f16")
    halves_ = normal_halves().view(np.float16)
    got = compute(device, ["f32(x)"], {"x": ("f16", halves_)}, "f32")[:, 0, 0]
    np.testing.assert_array_equal(got, halves_.astype(np.float32))
    x = np.random.default_rng(0).uniform(-1000, 1000, 500).astype(np.float32)
    got = compute(device, ["f16(x)"], {"x": ("f32", x)}, "f16")[:, 0, 0].astype(np.float64)
    assert_within(got, x.astype(np.float64), half_step(x.astype(np.float64)), "f16(x)")
    n = np.arange(-3000, 3000, 7).astype(np.int32)
    got = compute(device, ["f16(n)", "f16(u32(abs(n)))"], {"n": ("i32", n)}, "f16")[..., 0].astype(np.float64)
    assert_within(got[:, 0], n.astype(np.float64), half_step(n.astype(np.float64)), "f16(n)")
    assert_within(got[:, 1], abs(n).astype(np.float64), half_step(n.astype(np.float64)), "f16(u32(n))")


# Double precision


def test_double_precision(device):
    """Which WGSL has not, but naga: operands and results are sums of two f32."""
    needs(device, "f64")
    random = np.random.default_rng(0)
    x, y = random.uniform(-100, 100, (2, 300))
    table = {
        "x + y": x + y,
        "x - y": x - y,
        "x * y": x * y,
        "x / y": x / y,
        "floor(x)": np.floor(x),
        "round(x)": np.rint(x),
        "abs(x)": abs(x),
        "sqrt(abs(x))": np.sqrt(abs(x)),
        "min(x, y)": np.minimum(x, y),
        "max(x, y)": np.maximum(x, y),
        "f64(i32(x))": np.trunc(x),
        "select(x, y, x < y)": np.maximum(x, y),
        "fma(x, y, x)": x * y + x,
    }
    texts = [f"parts({text})" for text in table]
    header = """
        fn parts(x: f64) -> vec3<f32> {
            let a = f32(x);
            let b = f32(x - f64(a));
            return vec3<f32>(a, b, f32(x - f64(a) - f64(b)));
        }
    """
    before = "let x = f64(u.x) + f64(u.y) + f64(u.z); let y = f64(v.x) + f64(v.y) + f64(v.z);"
    operands = {"u": ("vec3<f32>", thirds(x)), "v": ("vec3<f32>", thirds(y))}
    got = compute(device, texts, operands, "vec3<f32>", before=before, header=header).astype(np.float64).sum(2)
    for k, (text, want) in enumerate(table.items()):
        assert_within(got[:, k], want, 4 * np.spacing(abs(want)), text)


def thirds(x):
    """Three f32 whose sum is the float64."""
    a = x.astype(np.float32)
    b = (x - a).astype(np.float32)
    return np.stack([a, b, (x - a - b).astype(np.float32)], axis=1)


# Statements


def test_compound_assignment(device):
    """Every operator, on numbers, components, elements and fields."""
    source = """
        struct S { n: i32, v: vec3<i32>, list: array<i32, 4> }
        @group(0) @binding(0) var<storage, read> x: array<i32>;
        @group(0) @binding(1) var<storage, read_write> y: array<i32>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            let i = id.x;
            if (i >= arrayLength(&x)) { return; }
            let k = x[i];
            let at = i * 16u;
            var a = k;
            a += 3; y[at] = a;
            a -= 5; y[at + 1u] = a;
            a *= 7; y[at + 2u] = a;
            a /= 3; y[at + 3u] = a;
            a %= 100; y[at + 4u] = a;
            a &= 0x5f; y[at + 5u] = a;
            a |= 0x20; y[at + 6u] = a;
            a ^= k; y[at + 7u] = a;
            a <<= 3u; y[at + 8u] = a;
            a >>= 1u; y[at + 9u] = a;
            a++;
            a--;
            a--; y[at + 10u] = a;
            var s: S;
            s.n -= k;
            s.v += vec3<i32>(1, 2, 3) * k;
            s.v[i % 3u] *= 2;
            s.v.y--;
            s.list[i % 4u] += k;
            s.list[i % 4u]++;
            s.list[(i + 1u) % 4u] ^= s.v.x;
            let p = &s.list[2];
            *p += 10;
            (*p)++;
            y[at + 11u] = s.n;
            y[at + 12u] = dot(s.v, vec3<i32>(1, 100, 10000));
            y[at + 13u] = s.list[0] + 3 * s.list[1];
            y[at + 14u] = s.list[2] - s.list[3];
            y[at + 15u] = 1;
            y[at + 15u] += y[at + 14u];
        }
    """
    x = [0, 1, -1, 5, 77, -1000, 12345, -99999]
    got = gk.Kernel(source)(x=np.int32(x), out={"y": (len(x), 16)}, threads=len(x), device=device)
    t = meaning.i32
    want = []
    for i, k in enumerate(x):
        a = [k + 3]
        a.append(a[-1] - 5)
        a.append(a[-1] * 7)
        a.append(t.divide(a[-1], 3))
        a.append(t.remainder(a[-1], 100))
        a.append(a[-1] & 0x5F)
        a.append(a[-1] | 0x20)
        a.append(a[-1] ^ k)
        a.append(t.left(a[-1], 3))
        a.append(t.right(a[-1], 1))
        a.append(a[-1] - 1)
        v, lists = [k, 2 * k, 3 * k], [0] * 4
        v[i % 3] *= 2
        v[1] -= 1
        lists[i % 4] += k + 1
        lists[(i + 1) % 4] ^= v[0]
        lists[2] += 11
        a += [-k, v[0] + 100 * v[1] + 10000 * v[2], lists[0] + 3 * lists[1], lists[2] - lists[3]]
        want.append([t.wrap(number) for number in (*a, 1 + a[-1])])
    np.testing.assert_array_equal(got, want)


def test_swizzles(device):
    """Every order of components, by both sets of letters."""
    x = np.arange(1, 41, dtype=np.int32).reshape(-1, 4)
    orders = [order for size in (2, 3, 4) for order in itertools.product(range(4), repeat=size)][::7]
    texts, columns = [], []
    for k, order in enumerate(orders):
        letters = "".join(("xyzw", "rgba")[k % 2][i] for i in order)
        padding = ", 0" * (4 - len(order))
        texts.append(f"vec4<i32>(x.{letters}{padding})")
        columns.append(np.pad(x[:, list(order)], [(0, 0), (0, 4 - len(order))]))
    got = compute(device, texts, {"x": ("vec4<i32>", x)}, "vec4<i32>")
    assert_table(got, np.stack(columns, axis=1), texts)


def test_constructors(device):
    x = np.arange(1, 41, dtype=np.int32).reshape(-1, 4)
    a, b, c, d = x.T
    table = {
        "vec4<i32>(x.x)": (a, a, a, a),
        "vec4<i32>(x.xy, x.zw)": (a, b, c, d),
        "vec4<i32>(x.x, x.yz, 7)": (a, b, c, 7 + 0 * a),
        "vec4<i32>(x.xyz, x.x)": (a, b, c, a),
        "vec4(x.w, x.x, vec2(x.y))": (d, a, b, b),
        "vec4<i32>()": (0 * a,) * 4,
        "vec4<i32>(vec4<u32>(x))": (a, b, c, d),
        "vec4<i32>(vec4<f32>(x))": (a, b, c, d),
        "vec4<i32>(array<i32, 4>(x.x, x.y, x.z, x.w)[1], 0, 0, 0)": (b, 0 * a, 0 * a, 0 * a),
        "array<vec4<i32>, 2>(x, -x)[u32(x.x) % 2u]": tuple(np.where(a % 2 == 1, -n, n) for n in (a, b, c, d)),
        "S(x.x, vec2(x.y, x.z)).v.xyxy": (b, c, b, c),
        "vec4(S(x.x, vec2(x.y, x.z)).n, S().v, 5)": (a, 0 * a, 0 * a, 5 + 0 * a),
    }
    header = "struct S { n: i32, v: vec2<i32> }"
    got = compute(device, table, {"x": ("vec4<i32>", x)}, "vec4<i32>", header=header)
    assert_table(got, np.stack([np.stack(entry, axis=1) for entry in table.values()], axis=1), table)


# Atomics


ATOMICS = {
    "Add": lambda t, old, new: t.add(old, new),
    "Sub": lambda t, old, new: t.subtract(old, new),
    "Max": lambda t, old, new: max(old, new),
    "Min": lambda t, old, new: min(old, new),
    "And": lambda t, old, new: old & new,
    "Or": lambda t, old, new: old | new,
    "Xor": lambda t, old, new: old ^ new,
    "Exchange": lambda t, old, new: new,
}


@pytest.mark.parametrize("space", ["storage", "workgroup"])
@pytest.mark.parametrize("kind", ["u32", "i32"])
def test_atomics_alone(device, kind, space):
    """What each function stores and returns, where no other invocation is."""
    calls = "\n".join(
        f"y[at + {2 * k}u] = atomic{name}(&m[slot], b); y[at + {2 * k + 1}u] = atomicLoad(&m[slot]);"
        for k, name in enumerate(ATOMICS)
    )
    count = 2 * len(ATOMICS) + 5
    memory = {
        "storage": f"@group(0) @binding(3) var<storage, read_write> m: array<atomic<{kind}>>;",
        "workgroup": f"var<workgroup> m: array<atomic<{kind}>, {GROUP}>;",
    }[space]
    kernel = gk.Kernel(f"""
        @group(0) @binding(0) var<storage, read> all_a: array<{kind}>;
        @group(0) @binding(1) var<storage, read> all_b: array<{kind}>;
        @group(0) @binding(2) var<storage, read_write> y: array<{kind}>;
        {memory}
        @compute @workgroup_size({GROUP}) fn f(
            @builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{
            let i = id.x;
            if (i >= arrayLength(&all_a)) {{ return; }}
            let slot = {"i" if space == "storage" else "lane"};
            let b = all_b[i];
            let at = i * {count}u;
            atomicStore(&m[slot], all_a[i]);
            {calls}
            // It may fail for no reason, so often enough.
            var exchange = atomicCompareExchangeWeak(&m[slot], b, {kind}(5));
            for (var tries = 0; tries < 100 && !exchange.exchanged; tries++) {{
                exchange = atomicCompareExchangeWeak(&m[slot], b, {kind}(5));
            }}
            y[at + {count - 5}u] = exchange.old_value;
            y[at + {count - 4}u] = {kind}(exchange.exchanged);
            let other = atomicCompareExchangeWeak(&m[slot], {kind}(6), {kind}(7));
            y[at + {count - 3}u] = other.old_value;
            y[at + {count - 2}u] = {kind}(other.exchanged);
            y[at + {count - 1}u] = atomicLoad(&m[slot]);
        }}
    """)
    ty = meaning.INTEGERS[kind]
    rows = list(itertools.product(edges(kind), edges(kind)))[::3]
    a, b = np.array(rows, DTYPES[kind]).T.copy()
    given = {"m": np.zeros(len(a), DTYPES[kind])} if space == "storage" else {}
    results = kernel(all_a=a, all_b=b, **given, out={"y": (len(a), count)}, threads=len(a), device=device)
    got = results.y if space == "storage" else results
    for row, (old, new) in zip(got.tolist(), rows, strict=True):
        want, now = [], old
        for function in ATOMICS.values():
            want += [now, function(ty, now, new)]
            now = want[-1]
        # The last one was an exchange, so what is compared is there.
        assert row == [*want, new, 1, 5, 0, 5], (old, new)


@pytest.mark.parametrize("space", ["storage", "workgroup"])
@pytest.mark.parametrize("kind", ["u32", "i32"])
def test_atomics_of_many(device, kind, space):
    """All invocations on the same words: nothing is lost. What was there before is a different number for each that
    counts."""
    names = [name for name in ATOMICS if name != "Exchange"]
    n = 1000
    calls = "\n".join(f"atomic{name}(&m[{k}], b);" for k, name in enumerate(names))
    if space == "storage":
        memory, before, after = f"@group(0) @binding(3) var<storage, read_write> m: array<atomic<{kind}>>;", "", ""
    else:
        memory = f"var<workgroup> m: array<atomic<{kind}>, 8>;"
        before = f"if (lane == 0u) {{ atomicStore(&m[4], {kind}(-1)); }} workgroupBarrier();".replace("u32(-1)", "~0u")
        after = "workgroupBarrier(); if (lane < 8u) { sums[id.x / 16u * 8u + lane] = atomicLoad(&m[lane]); }"
    kernel = gk.Kernel(f"""
        @group(0) @binding(0) var<storage, read> all_b: array<{kind}>;
        @group(0) @binding(1) var<storage, read_write> tickets: array<u32>;
        @group(0) @binding(2) var<storage, read_write> counter: atomic<u32>;
        @group(0) @binding(4) var<storage, read_write> sums: array<{kind}>;
        {memory}
        @compute @workgroup_size({GROUP}) fn f(
            @builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{
            {before}
            if (id.x < arrayLength(&all_b)) {{
                let b = all_b[id.x];
                tickets[id.x] = atomicAdd(&counter, 1u);
                {calls}
            }}
            {after}
        }}
    """)
    ty = meaning.INTEGERS[kind]
    b = np.random.default_rng(0).integers(ty.low, ty.high, n, endpoint=True).astype(DTYPES[kind])
    first = [0] * 8
    first[names.index("And")] = ty.wrap(-1)
    call = {"all_b": b, "counter": 0, "threads": n, "device": device}
    groups = [b.tolist()]
    if space == "storage":
        results = kernel(**call, m=np.array(first, DTYPES[kind]), out={"tickets": n})
        got = [results.m.tolist()]
    else:
        groups = [b[i : i + GROUP].tolist() for i in range(0, n, GROUP)]
        results = kernel(**call, out={"tickets": n, "sums": (len(groups), 8)})
        got = results.sums.tolist()
    assert sorted(results.tickets.tolist()) == list(range(n))
    assert int(results.counter) == n
    for row, numbers in zip(got, groups, strict=True):
        for k, name in enumerate(names):
            want = first[k]
            for number in numbers:
                want = ATOMICS[name](ty, want, number)
            assert row[k] == want, name


def test_atomic_sums_of_floats(device):
    """Which WGSL has not, but naga, on devices that have them."""
    needs(device, "float-atomics")
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> m: array<atomic<f32>>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x >= arrayLength(&x)) { return; }
            atomicAdd(&m[0], x[id.x]);
            atomicSub(&m[1], x[id.x]);
            atomicExchange(&m[id.x + 2u], x[id.x]);
        }
    """)
    x = np.random.default_rng(0).integers(-50, 50, 500).astype(np.float32)
    m = kernel(x=x, m=np.zeros(502, np.float32), threads=500, device=device)
    assert (m[0], m[1]) == (x.sum(), -x.sum())
    np.testing.assert_array_equal(m[2:], x)


# Subgroups


def subgroup_kernel(formulas, kind, *, condition=""):
    """Each formula of `x` in every invocation, with the numbers of the subgroup and of the invocation in it."""
    writes = "\n".join(f"y[at + {k}u] = {text};" for k, text in enumerate(formulas))
    return gk.Kernel(f"""
        @group(0) @binding(0) var<storage, read> all_x: array<{kind}>;
        @group(0) @binding(1) var<storage, read_write> y: array<{kind}>;
        @group(0) @binding(2) var<storage, read_write> who: array<vec4<u32>>;
        override SIZE: u32 = 64;
        @compute @workgroup_size(SIZE) fn f(
            @builtin(workgroup_id) group: vec3<u32>,
            @builtin(local_invocation_index) lane: u32,
            @builtin(subgroup_size) size: u32,
            @builtin(subgroup_id) subgroup: u32,
            @builtin(num_subgroups) subgroups: u32,
            @builtin(subgroup_invocation_id) within: u32,
        ) {{
            let i = group.x * SIZE + lane;
            let at = i * {len(formulas)}u;
            let x = all_x[i];
            who[i] = vec4<u32>(subgroup, within, size, subgroups);
            {condition}
            {writes}
        }}
    """)


def members(who, workgroup):
    """The invocations of each subgroup, in the order of their numbers in it."""
    found = {}
    for i, (subgroup, within, _, _) in enumerate(who.tolist()):
        found.setdefault((i // workgroup, subgroup), []).append((within, i))
    return [[i for _, i in sorted(group)] for group in found.values()]


def reductions(t):
    """Of a list of numbers, for each of them."""

    def over(function):
        def all_of(x):
            total = x[0]
            for number in x[1:]:
                total = function(total, number)
            return [total] * len(x)

        return all_of

    def scan(function, first, inclusive):
        def each_of(x):
            sums = [first]
            for number in x:
                sums.append(function(sums[-1], number))
            return sums[1:] if inclusive else sums[:-1]

        return each_of

    return {
        "subgroupAdd(x)": over(t.add),
        "subgroupMul(x)": over(t.multiply),
        "subgroupMin(x)": over(min),
        "subgroupMax(x)": over(max),
        "subgroupAnd(x)": over(lambda a, b: a & b),
        "subgroupOr(x)": over(lambda a, b: a | b),
        "subgroupXor(x)": over(lambda a, b: a ^ b),
        "subgroupInclusiveAdd(x)": scan(t.add, 0, True),
        "subgroupExclusiveAdd(x)": scan(t.add, 0, False),
        "subgroupInclusiveMul(x)": scan(t.multiply, 1, True),
        "subgroupExclusiveMul(x)": scan(t.multiply, 1, False),
        "subgroupBroadcastFirst(x)": lambda x: [x[0]] * len(x),
    }


@pytest.mark.parametrize("size", [1, 5, 16, 33, 64])
@pytest.mark.parametrize("kind", ["u32", "i32"])
def test_subgroups_of_integers(device, kind, size):
    needs(device, "subgroups")
    ty = meaning.INTEGERS[kind]
    table = reductions(ty)
    x = np.random.default_rng(size).integers(ty.low, ty.high, 3 * size, endpoint=True).astype(DTYPES[kind])
    new = {"y": (len(x), len(table)), "who": (len(x), 4)}
    y, who = subgroup_kernel(table, kind)(all_x=x, out=new, workgroups=3, SIZE=size, device=device)
    check_numbering(device, who, size)
    for group in members(who, size):
        for k, (text, function) in enumerate(table.items()):
            assert y[group, k].tolist() == function(x[group].tolist()), text


def check_numbering(device, who, size):
    """Subgroups are as large as the device says, and their invocations are numbered from 0."""
    low, high = device.limits["subgroup_min"], device.limits["subgroup_max"]
    assert ((who[:, 2] >= low) & (who[:, 2] <= high)).all()
    for group in members(who, size):
        assert who[group, 1].tolist() == list(range(len(group)))
        assert len(group) <= who[group[0], 2]
    if "llvmpipe" not in device.name:  # Mesa 22's counts only those that are full.
        assert len(members(who, size)) == len(who) // size * who[0, 3]


def test_subgroups_of_floats(device):
    """Of small whole numbers, which are added in any order."""
    needs(device, "subgroups")
    texts = ["subgroupAdd(x)", "subgroupMin(x)", "subgroupMax(x)", "subgroupInclusiveAdd(x)", "subgroupExclusiveAdd(x)"]
    texts += ["subgroupBroadcastFirst(x)", "subgroupShuffleXor(x, 1u)", "subgroupMul(select(1.0, 2.0, x > 0.0))"]
    x = np.random.default_rng(0).integers(-50, 50, 128).astype(np.float32)
    new = {"y": (128, len(texts)), "who": (128, 4)}
    y, who = subgroup_kernel(texts, "f32")(all_x=x, out=new, workgroups=2, device=device)
    for group in members(who, 64):
        mine = x[group]
        sums = np.cumsum(mine)
        want = [mine.sum(), mine.min(), mine.max(), sums, sums - mine, mine[0], mine[np.arange(len(mine)) ^ 1]]
        want.append(2.0 ** (mine > 0).sum())
        np.testing.assert_array_equal(y[group], np.stack([column + 0 * mine for column in want], axis=1))


def test_subgroup_shuffles(device):
    """Where there is somebody to ask."""
    needs(device, "subgroups")
    texts = ["subgroupShuffle(x, 3u)", "subgroupShuffle(x, (within * 5u + 1u) % size)", "subgroupShuffleXor(x, 2u)"]
    texts += ["subgroupShuffleUp(x, 1u)", "subgroupShuffleDown(x, 2u)", "subgroupBroadcast(x, 2u)"]
    x = words(122).astype(np.uint32)
    new = {"y": (128, len(texts)), "who": (128, 4)}
    y, who = subgroup_kernel(texts, "u32")(all_x=x, out=new, workgroups=2, device=device)
    for group in members(who, 64):
        n = len(group)
        lanes = np.arange(n)
        assert n == who[group[0], 2], "64 invocations fill all subgroups of at most 64"
        sources = [0 * lanes + 3, (lanes * 5 + 1) % n, lanes ^ 2, lanes - 1, lanes + 2, 0 * lanes + 2]
        for k, source in enumerate(sources):
            there = (source >= 0) & (source < n)
            np.testing.assert_array_equal(y[group, k][there], x[group][source[there]], texts[k])


def test_subgroup_votes(device):
    """all, any and ballots."""
    needs(device, "subgroups")
    texts = ["u32(subgroupAll(x > 100u))", "u32(subgroupAny(x > 4000000000u))"]
    texts += [f"subgroupBallot(x % 3u == 0u)[{k}]" for k in range(4)]
    x = words(122).astype(np.uint32)
    x[64:] |= 0x80000000
    new = {"y": (128, len(texts)), "who": (128, 4)}
    y, who = subgroup_kernel(texts, "u32")(all_x=x, out=new, workgroups=2, device=device)
    for group in members(who, 64):
        ballot = sum(1 << lane for lane, i in enumerate(group) if x[i] % 3 == 0)
        want = [int((x[group] > 100).all()), int((x[group] > 4000000000).any())]
        want += [ballot >> 32 * k & 0xFFFFFFFF for k in range(4)]
        assert (y[group] == np.array(want, np.uint32)).all()


def test_subgroups_where_some_have_left(device):
    """Who is not there does not take part."""
    needs(device, "subgroups")
    texts = ["subgroupAdd(x)", "subgroupMax(x)", "subgroupExclusiveAdd(x)", "subgroupBroadcastFirst(x)"]
    texts += ["subgroupBallot(true).x"]
    x = words(122).astype(np.uint32)
    new = {"y": (128, len(texts)), "who": (128, 4)}
    kernel = subgroup_kernel(texts, "u32", condition="if (x % 3u == 0u) { return; }")
    y, who = kernel(all_x=x, out=new, workgroups=2, device=device)
    for group in members(who, 64):
        present = [i for i in group if x[i] % 3]
        assert not y[[i for i in group if x[i] % 3 == 0]].any()
        sums = np.cumsum(x[present], dtype=np.uint32)
        ballot = sum(1 << int(who[i, 1]) for i in present) & 0xFFFFFFFF
        for k, i in enumerate(present):
            want = [sums[-1], x[present].max(), int(sums[k]) - int(x[i]), x[present[0]], ballot]
            assert y[i].tolist() == [int(number) & 0xFFFFFFFF for number in want]


def test_subgroups_of_vectors(device):
    needs(device, "subgroups")
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<vec3<i32>>;
        @group(0) @binding(1) var<storage, read_write> y: array<vec3<i32>>;
        @group(0) @binding(2) var<storage, read_write> who: array<vec4<u32>>;
        @compute @workgroup_size(64) fn f(
            @builtin(local_invocation_index) i: u32, @builtin(subgroup_size) size: u32, @builtin(subgroup_id) id: u32,
            @builtin(num_subgroups) count: u32, @builtin(subgroup_invocation_id) within: u32) {
            who[i] = vec4<u32>(id, within, size, count);
            y[i * 2u] = subgroupAdd(x[i]);
            y[i * 2u + 1u] = subgroupShuffleXor(x[i], 1u) - subgroupMin(x[i]);
        }
    """)
    x = np.random.default_rng(0).integers(-100, 100, (64, 3)).astype(np.int32)
    y, who = kernel(x=x, out={"y": (64, 2, 3), "who": (64, 4)}, workgroups=1, device=device)
    for group in members(who, 64):
        mine = x[group]
        assert (y[group, 0] == mine.sum(0)).all()
        np.testing.assert_array_equal(y[group, 1], mine[np.arange(len(mine)) ^ 1] - mine.min(0))


# Barriers


def test_uniform_loads(device):
    """What one invocation wrote, for all, of every type."""
    kernel = gk.Kernel("""
        struct S { n: u32, v: vec3<f32>, list: array<i32, 3> }
        var<workgroup> said: S;
        var<workgroup> counted: atomic<u32>;
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(16) fn f(
            @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
            var sum = 0.0;
            for (var k = 0u; k < 3u; k++) {
                if (lane == (group.x * 5u + k) % 16u) {
                    said.n = lane + k;
                    said.v.y = f32(lane) * 0.5;
                    said.list[k] = -i32(lane);
                }
                atomicAdd(&counted, lane);
                let all = workgroupUniformLoad(&said);
                sum += f32(all.n) + all.v.y + f32(all.list[k]) * 100.0 + f32(workgroupUniformLoad(&counted)) * 1000.0;
            }
            y[group.x * 16u + lane] = sum;
        }
    """)
    y = kernel(out={"y": (4, 16)}, workgroups=4, device=device)
    for group in range(4):
        speakers = [(group * 5 + k) % 16 for k in range(3)]
        want = sum(s + k + s * 0.5 - 100 * s + 1000 * 120 * (k + 1) for k, s in enumerate(speakers))
        assert y[group].tolist() == [want] * 16
