"""What every operation should give: a line of NumPy in float64 each, and how far a result may be from it."""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

import gpukern as gk
from arrays import BOOL, DTYPES, FLOAT16, FLOAT32, FLOATS, INT32, UINT32, kind, native, sample, small

# The dtype of a result, by the dtypes of its operands. A dash: NumPy would say int64, which no device has.
PROMOTION = """
    .        float32  float16  bfloat16 int32    uint32   int8     uint8    bool
    float32  float32  float32  float32  float32  float32  float32  float32  float32
    float16  float32  float16  float32  float32  float32  float32  float32  float16
    bfloat16 float32  float32  bfloat16 float32  float32  float32  float32  bfloat16
    int32    float32  float32  float32  int32    -        int32    int32    int32
    uint32   float32  float32  float32  -        uint32   -        uint32   uint32
    int8     float32  float32  float32  int32    -        int8     int32    int8
    uint8    float32  float32  float32  int32    uint32   int32    uint8    uint8
    bool     float32  float16  bfloat16 int32    uint32   int8     uint8    bool
"""
_header, *_rows = (line.split() for line in PROMOTION.strip().splitlines())
_RESULTS = {(row[0], column): cell for row in _rows for column, cell in zip(_header[1:], row[1:], strict=True)}
assert {name for pair in _RESULTS for name in pair} == {dtype.name for dtype in DTYPES}


def promote(first, second):
    """The common dtype of two operands, or None where there is none."""
    name = _RESULTS[first.name, second.name]
    return None if name == "-" else np.dtype(name)


# The dtype of a result, by the common dtype of the operands.


def same(dtype):
    return dtype


def to_float(dtype):
    """Integers and bools are computed as float32."""
    return dtype if dtype in FLOATS else FLOAT32


def to_bool(dtype):
    return BOOL


def to_index(dtype):
    return INT32


def to_sum(dtype):
    """Sums of integers have 32 bits."""
    return dtype if dtype in FLOATS or dtype == UINT32 else INT32


def is_gpu(device):
    return device.backend != "cpu"


# WGSL lets a GPU flush subnormal numbers to zero, in operands and in results; two operands are flushed at most.
SMALLEST_NORMAL = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True)
class Tolerance:
    """How far a float result may be from the oracle's. Pairs are for the CPU and for GPUs.

    `ulps` and `floor` may be functions of the operands.
    """

    reason: str
    ulps: tuple = (0, 0)  # of the float32 result
    narrow_ulps: tuple = (1, 1)  # more, of float16 and bfloat16: the float32 result rounded once more
    share: float = 0.0  # of the operation's magnitude: for a sum, the magnitudes of all that was added up
    half_share: tuple = (0, 0)  # more of it, of a float16 result
    floor: tuple = (0.0, 0.0)  # an absolute amount

    def allowed(self, want, dtype, magnitude, gpu, operands, arguments):
        ulps, floor = (
            part[gpu](*operands, **arguments) if callable(part[gpu]) else part[gpu] for part in (self.ulps, self.floor)
        )
        narrow = 0 if dtype == FLOAT32 else self.narrow_ulps[gpu] * ulp(want, dtype)
        flushed = 2 * SMALLEST_NORMAL if gpu and dtype != FLOAT16 else 0
        share = self.share + (self.half_share[gpu] if dtype == FLOAT16 else 0)
        return ulps * ulp(want, FLOAT32) + narrow + share * magnitude + np.maximum(floor, flushed)


# Functions of the operands


def at_most(limit, x):
    return np.minimum(np.abs(x), limit)


def gelu_ulps(x, approximate="none"):
    """In the negative tail of that by tanh, exp(-t) magnifies the three roundings of t."""
    if approximate == "none":
        return 10
    return 12 + np.where(x < 0, 3 * at_most(100, 2 * gelu_argument(x)), 0)


def softmax_ulps(x, axis=-1):
    """exp(d) with d = x - max(x), rounded once: |d| half units."""
    return 14 + np.nan_to_num(at_most(110, x - np.max(x, axis, keepdims=True, initial=-np.inf)), nan=110)


_EXACT = Tolerance("nothing is rounded", narrow_ulps=(0, 0))
_ROUNDED_ONCE = Tolerance("correct rounding is half a unit; WGSL promises one", ulps=(1, 1))
_DIVISION = Tolerance("correct rounding is half a unit; WGSL promises two and a half", ulps=(1, 2.5))
_SQUARE_ROOT = Tolerance("correct rounding; WGSL takes it as 1 / inverseSqrt(x), of 2 and 2.5 ulp", ulps=(1, 5))
_INVERSE_ROOT = Tolerance("a root and a division; WGSL promises 2", ulps=(2, 2))
_FUNCTION = Tolerance("polynomials, fitted to less than a unit", ulps=(4, 4))
# Where exp(-x) overflows, from x = -88.7 on, or comes out subnormal. A GPU may divide by way of the reciprocal, which
# is subnormal, and flushed, for divisors above 2^126: from x = -87.3 on, where x / (1 + exp(-x)) is above -1.1e-36.
_CLOSE_TO_ZERO = (1.2e-38, 1.2e-36)
_SIGMOID = Tolerance("exp and a division; close to 0 it may be 0", ulps=(4, 6), floor=_CLOSE_TO_ZERO)
_SWIGLU = Tolerance(
    "silu, whose units are up to twice as wide after a product, and one rounding more",
    ulps=(9, 13),
    floor=tuple(lambda gate, up, least=least: least * np.abs(up) for least in _CLOSE_TO_ZERO),
)
_SINE = Tolerance("an argument reduced exactly, then a polynomial", ulps=(4, 4))
_SUM = Tolerance("a sum in float32, of any length and in any order", share=2e-6)
_PRODUCT = Tolerance(
    "each factor rounds once, by a unit at most; of results below 1e-36 a part may have been subnormal",
    share=2.0**-23,
    floor=(1e-36, 1e-36),
)
_SPREAD = Tolerance("its magnitude says why", share=1.0)
_SOFTMAX = Tolerance("exp, a division, and 2e-6 of the sum", ulps=(softmax_ulps, softmax_ulps), share=2e-6)
_LOG_SOFTMAX = Tolerance(
    "two subtractions, and a logarithm of a sum, whose 2e-6 are absolute here",
    ulps=(4, 6),
    floor=(2.5e-6, 3e-6),
)
_NORM = Tolerance("2e-6 for a sum, of which the root keeps half, and for the scaling of the result", share=2e-6)
_ROTATION = Tolerance("two products and a sum, of a unit each", share=2.0**-22)
_ATTENTION = Tolerance(
    "2e-6 for each of two sums, and 4 ulp of exp; an error in a score multiplies its probability. Cooperative matrices "
    "of float16 take probabilities of float16, which is off by 2^-11 at most.",
    share=5e-6,
    half_share=(0, 2.0**-11),
    floor=(lambda *operands, **arguments: score_errors(*operands, **arguments),) * 2,
)
CONVERSION = Tolerance(
    "a CPU rounds to nearest; WGSL lets a GPU take either neighbour", ulps=(0.5, 1), narrow_ulps=(0.5, 1)
)


class Whole(tuple):
    """The shape of an operand of small whole numbers."""

    __slots__ = ()


RESULT = (6, 5)


@dataclass(frozen=True)
class Operation:
    """What its tests need to know of an operation."""

    oracle: Callable  # of float64, or of wide integers
    tolerance: Tolerance
    operands: tuple  # their shapes, or arrays whose dtype has no part in the result's; they give a result of `shape`
    takes: str = "fib"  # floats, integers, bools; the others are a DTypeError,
    unspoken: str = ""  # but for these, of which nothing is said
    result: Callable = same
    arguments: dict = field(default_factory=dict)  # with which the shared tests call it
    shape: tuple = RESULT
    elementwise: bool = True
    passed: Callable = lambda function, operands, **arguments: function(*operands, **arguments)
    magnitude: Callable | None = None  # what `share` is of; by default the oracle of the operands' magnitudes
    tiny: float = SMALLEST_NORMAL  # below this a GPU may compute with zero
    divides: bool = False  # by its last operand, perhaps by way of the reciprocal
    quotient: bool = False  # rounds a quotient to a whole number, so that the last unit of an operand may decide

    def is_fixed(self, place):
        return place < len(self.operands) and not isinstance(self.operands[place], tuple)

    @property
    def dtypes(self):
        """What the shared tests use: a dtype of 32 bits, and a narrow one."""
        return (FLOAT32, FLOAT16) if "f" in self.takes else (INT32, np.dtype(np.int8))

    def accepts(self, dtype):
        return kind(dtype) in self.takes

    def refuses(self, dtype):
        return kind(dtype) not in self.takes + self.unspoken


def operands_of(op, dtype=None):
    """Operands that give a result of shape `OPERATIONS[op].shape`."""
    operation = OPERATIONS[op]
    dtype = dtype or operation.dtypes[0]
    return [
        item if not isinstance(item, tuple) else (small if isinstance(item, Whole) else sample)(dtype, item, seed)
        for seed, item in enumerate(operation.operands)
    ]


# Oracles of more than a line


erf = np.vectorize(math.erf, otypes=[float])
erfc = np.vectorize(math.erfc, otypes=[float])


def gelu_argument(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def gelu(x, approximate="none"):
    """With 1 + tanh(u) as 2 / (1 + exp(-2u)), and 1 + erf(x) as erfc(-x), which keep the negative tail."""
    return x * 0.5 * erfc(-x / math.sqrt(2)) if approximate == "none" else x / (1 + np.exp(-2 * gelu_argument(x)))


def silu(x):
    return x / (1 + np.exp(-x))


def power(x1, x2):
    """Of integers with a negative exponent: what is left of the fraction when it is cut off, as 1 / 0 is 0."""
    if x1.dtype.kind == "f":
        return np.power(x1, x2)
    of_fraction = np.where(np.abs(x1) == 1, np.power(x1, x2 % 2), 0)
    return np.where(x2 < 0, of_fraction, np.power(x1, np.maximum(x2, 0)))


def left_shift(x1, x2):
    return np.where((x2 >= 0) & (x2 < 63), x1 << np.clip(x2, 0, 62), 0)


def right_shift(x1, x2):
    return x1 >> np.where((x2 >= 0) & (x2 < 63), x2, 63)


def clip(x, low=None, high=None, **bounds):
    low, high = bounds.get("min", low), bounds.get("max", high)
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def axes_of(x, axis):
    return tuple(range(x.ndim)) if axis is None else tuple(np.atleast_1d(np.array(axis, int)) % max(x.ndim, 1))


def count(x, axis):
    """How many elements are reduced to one."""
    return math.prod(x.shape[axis] for axis in axes_of(x, axis))


def mean(x, axis=None, keepdims=False):
    return np.sum(x, axis, keepdims=keepdims) / np.float64(count(x, axis))


def var(x, axis=None, correction=0.0, keepdims=False):
    square = np.square(x - mean(x, axis, keepdims=True))
    return np.sum(square, axis, keepdims=keepdims) / np.float64(max(count(x, axis) - correction, 0))


def std(x, **arguments):
    return np.sqrt(var(x, **arguments))


def of_mean(x, axis, keepdims):
    """An error of four half units in the mean, and in the differences from it."""
    return 2.0**-22 * np.max(np.abs(x), axis, keepdims=keepdims, initial=0)


def var_error(x, axis=None, correction=0.0, keepdims=False):
    """1e-5, as for a sum and squares of differences, and the square of what is off in each difference."""
    lost = count(x, axis) / np.float64(max(count(x, axis) - correction, 0))
    return 1e-5 * var(x, axis, correction, keepdims) + lost * of_mean(x, axis, keepdims) ** 2


def std_error(x, axis=None, correction=0.0, keepdims=False):
    lost = count(x, axis) / np.float64(max(count(x, axis) - correction, 0))
    return 1e-5 * std(x, axis=axis, correction=correction, keepdims=keepdims) + (
        np.sqrt(lost) * of_mean(x, axis, keepdims)
    )


def prod_error(x, axis=None, keepdims=False):
    return count(x, axis) * np.abs(np.prod(x, axis, keepdims=keepdims))


def softmax(x, axis=-1):
    powers = np.exp(x - np.max(x, axis, keepdims=True, initial=-np.inf))
    return powers / np.sum(powers, axis, keepdims=True)


def log_softmax(x, axis=-1):
    difference = x - np.max(x, axis, keepdims=True, initial=-np.inf)
    return difference - np.log(np.sum(np.exp(difference), axis, keepdims=True))


def scaled(x, weight, bias):
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def rms_norm(x, weight=None, bias=None, eps=1e-5):
    return scaled(x / np.sqrt(mean(np.square(x), -1, keepdims=True) + eps), weight, bias)


def layer_norm(x, weight=None, bias=None, eps=1e-5):
    return scaled((x - mean(x, -1, keepdims=True)) / np.sqrt(var(x, -1, keepdims=True) + eps), weight, bias)


def layer_norm_error(x, weight=None, bias=None, eps=1e-5):
    """2e-6 of what is added up, in units of which the error of the mean is 1/8."""
    size = np.abs(layer_norm(x, eps=eps)) + of_mean(x, -1, True) / 2e-6 / np.sqrt(var(x, -1, keepdims=True) + eps)
    return scaled(size, *(part if part is None else np.abs(part) for part in (weight, bias)))


def grouped(norm):
    """Layer norm of the groups of channels, which are axis 1."""

    def oracle(x, weight=None, bias=None, groups=1, eps=1e-5):
        channels = x.shape[1]
        of_groups = norm(x.reshape(x.shape[0], groups, math.prod(x.shape[1:]) // groups), eps=eps).reshape(x.shape)
        per_channel = [
            part if part is None else part.reshape(channels, *(1,) * (x.ndim - 2)) for part in (weight, bias)
        ]
        if norm is layer_norm_error:
            per_channel = [part if part is None else np.abs(part) for part in per_channel]
        return scaled(of_groups, *per_channel)

    return oracle


def rotated(minus):
    """(a, b) becomes (a cos - b sin, a sin + b cos)."""

    def oracle(x, cos, sin, interleaved=False, rotary_dim=None):
        dim = x.shape[-1] if rotary_dim is None else rotary_dim
        turning, rest = x[..., :dim], x[..., dim:]
        a, b = (turning[..., ::2], turning[..., 1::2]) if interleaved else np.split(turning, 2, axis=-1)
        pair = minus(a * cos, b * sin), a * sin + b * cos
        turned = np.stack(pair, -1).reshape(x[..., :dim].shape) if interleaved else np.concatenate(pair, -1)
        return np.concatenate([turned, rest], -1)

    return oracle


def shared(matrices, heads):
    """Each matrix as often as there are heads of queries that share it."""
    of_one_head = matrices.ndim < 3 or matrices.shape[-3] <= 1 or heads == 1
    return matrices if of_one_head else np.repeat(matrices, heads // matrices.shape[-3], -3)


def by_heads(rows, matrices):
    """`rows @ matrices`, where rows with fewer axes are single ones."""
    single = rows.ndim < matrices.ndim
    rows = rows[..., None, :] if single else rows
    product = rows @ shared(matrices, rows.shape[-3] if rows.ndim > 2 else 1)
    return product[..., 0, :] if single else product


def attention_scores(q, k, scale=None):
    return by_heads(q, np.swapaxes(k, -1, -2)) * (1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale)


def weights_and_errors(q, k, v, mask, causal, window, scale, softcap, kv_length):
    """The probabilities, all 0 where no key is seen; how far off the score of each may be; and the values."""
    t, heads, batch = q.shape[-2], q.shape[-3], np.broadcast_shapes(*(x.shape[:-3] for x in (q, k, v)))
    k, v = shared(k, heads), shared(v, heads)
    scores = attention_scores(q, k, scale)
    errors = 2e-6 * attention_scores(np.abs(q), np.abs(k), scale if scale is None else abs(scale))
    if softcap is not None:
        scores = softcap * np.tanh(scores / softcap)
    length = k.shape[-2] if kv_length is None else np.asarray(kv_length)
    length = np.broadcast_to(np.ravel(length), math.prod(batch)).reshape(*batch, 1, 1, 1)
    key, place = np.arange(k.shape[-2]), length - t + np.arange(t)[:, None]
    visible = key < length
    left, right = window or (-1, -1)
    visible = visible & ((key <= place) | (not causal))
    visible = visible & ((key >= place - left) | (left == -1)) & ((key <= place + right) | (right == -1))
    if mask is not None:
        mask = np.asarray(mask)
        visible, scores = (visible & mask, scores) if mask.dtype == bool else (visible, scores + mask.astype(float))
    scores = np.where(visible, scores, -np.inf)
    best = np.max(scores, -1, keepdims=True, initial=-np.inf)
    powers = np.exp(scores - np.where(best == -np.inf, 0, best))
    total = np.sum(powers, -1, keepdims=True)
    rounded = 2.0**-21 * (np.where(powers > 0, np.abs(scores), 0) + np.where(np.isfinite(best), np.abs(best), 0))
    return np.where(total == 0, 0, powers / total), errors + rounded, v


def of_attention(finish):
    """What is made of the probabilities, how far off scores may be, and the values."""

    def oracle(q, k, v, *, mask=None, causal=False, window=None, scale=None, softcap=None, kv_length=None):
        q, k, v, one_head = *((x[None] if x.ndim == 2 else x) for x in (q, k, v)), q.ndim == 2
        found = finish(*weights_and_errors(q, k, v, mask, causal, window, scale, softcap, kv_length))
        return found[0] if one_head else found

    return oracle


attention = of_attention(lambda p, errors, v: p @ v)
attention_magnitude = of_attention(lambda p, errors, v: p @ np.abs(v))
# To first order: (p e) @ v, less what the sum of all weights is off by.
score_errors = of_attention(
    lambda p, errors, v: (p * errors) @ np.abs(v) + np.sum(p * errors, -1, keepdims=True) * (p @ np.abs(v))
)


# The table. An entry here puts an operation under the tests that all of its kind share.


def _unary(oracle, tolerance, **rest):
    return Operation(oracle, tolerance, ((6, 5),), **rest)


def _binary(oracle, tolerance, **rest):
    return Operation(oracle, tolerance, ((6, 5), (5,)), **rest)


def _along(oracle, tolerance=_EXACT, **rest):
    """The middle of three axes goes."""
    return Operation(oracle, tolerance, ((6, 4, 5),), arguments={"axis": 1}, elementwise=False, **rest)


def _rows(oracle, tolerance, operands=((6, 5),), **rest):
    """Every row by itself."""
    return Operation(oracle, tolerance, operands, takes="f", elementwise=False, **rest)


_FLOATING = {"result": to_float}
_NEURAL = {"takes": "f"}
_ANSWER = {"result": to_bool}


def as_list(function, operands, **arguments):
    return function(list(operands), **arguments)


def groups_second(function, operands, *, groups, **arguments):
    return function(operands[0], groups, *operands[1:], **arguments)


def bias_named(function, operands, **arguments):
    return function(*operands[:2], bias=operands[2] if len(operands) > 2 else None, **arguments)


OPERATIONS = {
    # One operand
    "abs": _unary(np.abs, _EXACT),
    "bitwise_invert": _unary(np.invert, _EXACT, takes="ib"),
    "ceil": _unary(np.ceil, _EXACT, takes="fi", unspoken="b"),
    "cos": _unary(np.cos, _SINE, **_FLOATING),
    "erf": _unary(erf, _FUNCTION, **_NEURAL),
    "exp": _unary(np.exp, _FUNCTION, **_FLOATING),
    "exp2": _unary(np.exp2, _FUNCTION, **_FLOATING),
    "expm1": _unary(np.expm1, _FUNCTION, **_FLOATING),
    "floor": _unary(np.floor, _EXACT, takes="fi", unspoken="b"),
    "gelu": _unary(
        gelu,
        Tolerance("exp in the tails; close to 0 it may be 0", ulps=(4, gelu_ulps), floor=_CLOSE_TO_ZERO),
        **_NEURAL,
    ),
    "isfinite": _unary(np.isfinite, _EXACT, **_ANSWER),
    "isinf": _unary(np.isinf, _EXACT, **_ANSWER),
    "isnan": _unary(np.isnan, _EXACT, **_ANSWER),
    "log": _unary(np.log, _FUNCTION, **_FLOATING),
    "log1p": _unary(np.log1p, _FUNCTION, **_FLOATING),
    "log2": _unary(np.log2, _FUNCTION, **_FLOATING),
    "logical_not": _unary(np.logical_not, _EXACT, **_ANSWER),
    "negative": _unary(np.negative, _EXACT, takes="fi"),
    "reciprocal": _unary(lambda x: 1 / x, _DIVISION, divides=True, **_FLOATING),
    "relu": _unary(lambda x: np.maximum(x, 0), _EXACT, takes="fi"),
    "round": _unary(np.round, _EXACT, takes="fi", unspoken="b"),
    "rsqrt": _unary(lambda x: 1 / np.sqrt(x), _INVERSE_ROOT, **_NEURAL),
    "sigmoid": _unary(lambda x: 1 / (1 + np.exp(-x)), _SIGMOID, **_NEURAL),
    "sign": _unary(np.sign, _EXACT, takes="fi"),
    "silu": _unary(silu, _SIGMOID, **_NEURAL),
    "sin": _unary(np.sin, _SINE, **_FLOATING),
    "softplus": _unary(lambda x: np.logaddexp(0, x), _FUNCTION, **_NEURAL),
    "sqrt": _unary(np.sqrt, _SQUARE_ROOT, **_FLOATING),
    "squared_relu": _unary(lambda x: np.maximum(x, 0) ** 2, _ROUNDED_ONCE, takes="fi"),
    "tanh": _unary(np.tanh, _FUNCTION, **_FLOATING),
    "trunc": _unary(np.trunc, _EXACT, takes="fi", unspoken="b"),
    # Two operands
    "add": _binary(np.add, _ROUNDED_ONCE),
    "bitwise_and": _binary(np.bitwise_and, _EXACT, takes="ib"),
    "bitwise_left_shift": Operation(left_shift, _EXACT, ((6, 5), Whole((5,))), takes="i"),
    "bitwise_or": _binary(np.bitwise_or, _EXACT, takes="ib"),
    "bitwise_right_shift": Operation(right_shift, _EXACT, ((6, 5), Whole((5,))), takes="i"),
    "bitwise_xor": _binary(np.bitwise_xor, _EXACT, takes="ib"),
    "divide": _binary(np.divide, _DIVISION, divides=True, **_FLOATING),
    "equal": Operation(np.equal, _EXACT, (Whole((6, 5)), Whole((5,))), **_ANSWER),
    "floor_divide": _binary(np.floor_divide, _DIVISION, takes="fi", divides=True, quotient=True),
    "greater": _binary(np.greater, _EXACT, **_ANSWER),
    "greater_equal": Operation(np.greater_equal, _EXACT, (Whole((6, 5)), Whole((5,))), **_ANSWER),
    "less": _binary(np.less, _EXACT, **_ANSWER),
    "less_equal": Operation(np.less_equal, _EXACT, (Whole((6, 5)), Whole((5,))), **_ANSWER),
    "logical_and": Operation(np.logical_and, _EXACT, (Whole((6, 5)), Whole((5,))), **_ANSWER),
    "logical_or": Operation(np.logical_or, _EXACT, (Whole((6, 5)), Whole((5,))), **_ANSWER),
    "logical_xor": Operation(np.logical_xor, _EXACT, (Whole((6, 5)), Whole((5,))), **_ANSWER),
    "maximum": _binary(np.maximum, _EXACT),
    "minimum": _binary(np.minimum, _EXACT),
    "multiply": Operation(np.multiply, _ROUNDED_ONCE, ((6, 5), (6, 5))),
    "not_equal": Operation(np.not_equal, _EXACT, (Whole((6, 5)), Whole((5,))), **_ANSWER),
    "power": _binary(
        power,
        Tolerance(
            "4 ulp; on GPUs exp2(x2 log2 |x1|), which magnifies the error of the logarithm",
            ulps=(4, 0),
            floor=(0, lambda x1, x2: 1e-5 * np.abs(power(x1, x2))),
        ),
        takes="fi",
    ),
    "remainder": _binary(
        np.remainder,
        Tolerance("a remainder is exact, and the divisor may be added to it", ulps=(1, 1)),
        takes="fi",
        divides=True,
        quotient=True,
    ),
    "subtract": Operation(np.subtract, _ROUNDED_ONCE, ((6, 1), (1, 5)), takes="fi"),
    "swiglu": _binary(lambda gate, up: silu(gate) * up, _SWIGLU, tiny=4 * SMALLEST_NORMAL, **_NEURAL),
    # Three
    "clip": Operation(clip, _EXACT, ((6, 5), (6, 1), (5,)), takes="fi", unspoken="b"),
    "where": Operation(np.where, _EXACT, (sample(BOOL, (6, 1)), (6, 5), (5,))),
    # Along axes
    "all": _along(np.all, **_ANSWER),
    "any": _along(np.any, **_ANSWER),
    "argmax": _along(np.argmax, result=to_index),
    "argmin": _along(np.argmin, result=to_index),
    "cumsum": Operation(np.cumsum, _SUM, ((6, 5),), arguments={"axis": 1}, result=to_sum, elementwise=False),
    "max": _along(np.max),
    "mean": _along(mean, _SUM, **_FLOATING),
    "min": _along(np.min),
    "prod": _along(np.prod, _PRODUCT, result=to_sum, magnitude=prod_error),
    "std": _along(std, _SPREAD, magnitude=std_error, **_FLOATING),
    "sum": _along(np.sum, _SUM, result=to_sum),
    "var": _along(var, _SPREAD, magnitude=var_error, **_FLOATING),
    # Rows
    "group_norm": Operation(
        grouped(layer_norm), _NORM, ((6, 4, 3), (4,), (4,)), arguments={"groups": 2}, takes="f", shape=(6, 4, 3),
        elementwise=False, magnitude=grouped(layer_norm_error), passed=groups_second,
    ),
    "l2_norm": _rows(
        lambda x, eps: x / np.sqrt(np.sum(np.square(x), -1, keepdims=True) + eps), _NORM, arguments={"eps": 1e-6}
    ),
    "layer_norm": _rows(layer_norm, _NORM, ((6, 5), (5,), (5,)), magnitude=layer_norm_error),
    "log_softmax": _rows(log_softmax, _LOG_SOFTMAX),
    "rms_norm": _rows(rms_norm, _NORM, ((6, 5), (5,), (5,)), passed=bias_named),
    "softmax": _rows(softmax, _SOFTMAX, magnitude=softmax),
    "matmul_vec": Operation(
        lambda w, x: np.matmul(w, x[..., None])[..., 0], _SUM, ((6, 5, 3), (3,)), elementwise=False
    ),
    "rope": Operation(
        rotated(np.subtract), _ROTATION, ((6, 4), sample(FLOAT32, (6, 2), 1), sample(FLOAT32, (6, 2), 2)),
        takes="f", shape=(6, 4), elementwise=False,
        magnitude=lambda x, cos, sin, **arguments: rotated(np.add)(*map(np.abs, (x, cos, sin)), **arguments),
    ),
    # Matrices
    "attention": Operation(
        attention, _ATTENTION, ((6, 4, 3), (2, 7, 3), (2, 7, 5)), arguments={"causal": True}, takes="f",
        shape=(6, 4, 5), elementwise=False, magnitude=attention_magnitude,
    ),
    "attention_scores": Operation(
        attention_scores, _SUM, ((6, 4, 3), (1, 5, 3)), takes="f", shape=(6, 4, 5), elementwise=False,
        magnitude=lambda q, k, scale=None: np.abs(attention_scores(np.abs(q), np.abs(k), scale)),
    ),
    "matmul": Operation(np.matmul, _SUM, ((6, 3), (3, 5)), elementwise=False),
    "weighted_sum": Operation(
        by_heads, _SUM, ((6, 4, 3), (1, 3, 5)), takes="f", shape=(6, 4, 5), elementwise=False
    ),
    # Shapes
    "concat": Operation(
        lambda *tensors, axis=0: np.concatenate(tensors, axis), _EXACT, ((2, 5), (1, 5), (3, 5)), elementwise=False,
        passed=as_list,
    ),
    "embedding": Operation(
        lambda table, ids: table[ids], _EXACT, ((7, 5), np.array([3, 0, 6, 6, -1, 2], np.int32)), elementwise=False
    ),
    "stack": Operation(
        lambda *tensors, axis=0: np.stack(tensors, axis), _EXACT, ((6,),) * 5, arguments={"axis": 1},
        elementwise=False, passed=as_list,
    ),
    "take": Operation(
        np.take, _EXACT, ((6, 7), np.array([3, 0, 6, -7, 3], np.int32)), arguments={"axis": 1}, elementwise=False
    ),
}  # fmt: skip


def call(op, operands, **arguments):
    """The operation of operands as they are given."""
    return OPERATIONS[op].passed(getattr(gk, op), operands, **arguments)


def ulp(value, dtype):
    """The distance between neighbouring numbers of the dtype at this value; subnormals all have the same."""
    info = ml_dtypes.finfo(dtype)
    exponent = np.frexp(np.abs(value))[1] - 1
    exponent = np.clip(np.where(value == 0, info.minexp, exponent), info.minexp, info.maxexp - 1)
    return np.ldexp(1.0, exponent - info.nmant)


def round_to(value, dtype):
    with np.errstate(all="ignore"):
        return np.asarray(value).astype(dtype)


def readings(op, operands):
    """What a GPU may take the operands of an elementwise operation for.

    Subnormal numbers of float32 for zero, and zero for zero of the other sign. Where it divides by way of the
    reciprocal, divisors whose reciprocal is subnormal for infinity. And a quotient that is rounded may be any other
    within its error.
    """
    operation = OPERATIONS[op]
    choices = []
    for operand in operands:
        choices.append([operand])
        if operand is not None and operand.dtype.kind == "f" and (zeros := np.abs(operand) < operation.tiny).any():
            choices[-1] += [np.where(zeros, zero, operand) for zero in (0.0, -0.0)]
    divisor = operands[-1]
    if operation.divides and (huge := np.abs(divisor) > 2.0**126).any():
        choices[-1].append(np.where(huge, np.copysign(np.inf, divisor), divisor))
    if operation.quotient:
        choices[0] += [operands[0] * (1 + error) for error in (2.0**-22, -(2.0**-22))]
    return list(itertools.product(*choices))[1:]


def compare(got, want, op, dtype, magnitude, gpu, operands, arguments):
    """Where `got` is right, how far it is off, and how far it may be."""
    rounded = round_to(want, dtype)
    if dtype not in FLOATS:
        return got == rounded, np.zeros(got.shape), np.zeros(got.shape)
    finite = np.where(np.isfinite(want), want, 0)
    largest = float(ml_dtypes.finfo(dtype).max)
    tolerance = CONVERSION if op == "astype" else OPERATIONS[op].tolerance
    allowed = tolerance.allowed(finite, dtype, magnitude, gpu, operands, arguments)
    allowed = np.nan_to_num(np.broadcast_to(allowed, want.shape), nan=0, posinf=np.inf)
    value = got.astype(np.float64)
    # Beside a finite true value an infinity counts as the number one step above the largest.
    error = np.abs(np.where(np.isinf(value), np.copysign(largest + ulp(largest, dtype), value), value) - want)
    right = (value == rounded.astype(np.float64)) | (np.isnan(value) & np.isnan(want))
    return right | (np.isfinite(want) & (error <= allowed)), error, allowed


def assert_close(got, want, op, dtype, magnitude=0.0, *, gpu=False, operands=(), arguments=None):
    """`got`, of this dtype, is `want` (float64, or wide integers) but for the tolerance of the operation."""
    got, want, arguments = np.asarray(got), np.asarray(want), arguments or {}
    assert got.dtype == dtype, f"{op}: {got.dtype}, not {dtype}"
    assert got.shape == want.shape, f"{op}: shape {got.shape}, not {want.shape}"
    with np.errstate(all="ignore"):
        right, error, allowed = compare(got, want, op, dtype, magnitude, gpu, operands, arguments)
        if not right.all() and gpu and op != "astype" and OPERATIONS[op].elementwise:
            for reading in readings(op, operands):
                other = OPERATIONS[op].oracle(*reading, **arguments)
                right = right | compare(got, other, op, dtype, magnitude, gpu, reading, arguments)[0]
    if right.all():
        return
    first = np.unravel_index(np.argmin(right), right.shape)
    message = (
        f"{op} of {dtype}: {np.count_nonzero(~right)} of {right.size} wrong, the first at {list(map(int, first))}: "
        f"{got[first]!r}, not {want[first]!r}"
    )
    if len(operands) and all(operand is None or operand.dtype.kind in "fiub" for operand in operands):
        message += f"; {describe(op, operands, arguments, want.shape, first)}"
    if dtype in FLOATS:
        unit = ulp(np.where(np.isfinite(want), want, 0), dtype)
        tolerance = CONVERSION if op == "astype" else OPERATIONS[op].tolerance
        message += (
            f"; off by {error[first] / unit[first]:.3g} ulp, where {allowed[first] / unit[first]:.3g} are allowed "
            f"({tolerance.reason})"
        )
    raise AssertionError(message)


def describe(op, operands, arguments, shape, place):
    """The operands of an element, or their shapes."""
    if op in OPERATIONS and OPERATIONS[op].elementwise:
        return f"of {[None if x is None else np.broadcast_to(x, shape)[place].item() for x in operands]} {arguments}"
    return f"of shapes {[None if x is None else x.shape for x in operands]} {arguments}"


def widen(operand, dtype):
    """The operand as the operation sees it, in a type where the oracle is exact or nearly so."""
    if operand is None:
        return None
    operand = native(operand)
    if dtype == BOOL:
        return operand
    return round_to(round_to(operand, dtype), np.float64) if dtype in FLOATS else operand.astype(np.int64)


def common_dtype(op, operands):
    """By promotion of all that has a part in it."""
    taking_part = [
        native(operand).dtype
        for place, operand in enumerate(operands)
        if operand is not None and not OPERATIONS[op].is_fixed(place)
    ]
    return functools.reduce(promote, taking_part)


def assert_right(op, got, *operands, device, **arguments):
    """`got` is what the operation gives for these NumPy operands: its dtype, its shape, its values."""
    operation = OPERATIONS[op]
    dtype = common_dtype(op, operands)
    computed = to_float(dtype) if operation.result is to_float else dtype
    wide = [
        widen(operand, native(operand).dtype if operation.is_fixed(place) else computed)
        for place, operand in enumerate(operands)
    ]
    with np.errstate(all="ignore"):
        want = operation.oracle(*wide, **arguments)
        magnitude = 0.0
        if operation.magnitude:
            magnitude = operation.magnitude(*wide, **arguments)
        elif operation.tolerance.share:
            magnitude = operation.oracle(*(x if x is None else np.abs(x) for x in wide), **arguments)
    gpu = is_gpu(device)
    assert_close(got, want, op, operation.result(dtype), magnitude, gpu=gpu, operands=wide, arguments=arguments)


def check(device, op, *operands, **arguments):
    """Runs the operation on NumPy arrays and on tensors made of them; both must be right, each in its own type."""
    from_numpy = call(op, operands, **arguments, device=device)
    assert isinstance(from_numpy, np.ndarray)
    assert_right(op, from_numpy, *operands, device=device, **arguments)

    from_tensors = call(op, tensors_of(operands, device), **arguments)
    assert isinstance(from_tensors, gk.Tensor)
    assert from_tensors.device == device
    assert_right(op, from_tensors.numpy(), *operands, device=device, **arguments)


def tensors_of(operands, device):
    return [operand if operand is None else gk.asarray(operand, device=device) for operand in operands]
