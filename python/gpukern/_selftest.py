"""Every operation on every device, against NumPy: ``python -m gpukern selftest``.

The operations are found in the package by their signatures, so that a new elementwise one is tested as soon as it
exists: against NumPy's function of the same name, or the formula below where NumPy has none. The others have a case
each.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import gpukern as gk

Array = NDArray[Any]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


_erf = np.vectorize(math.erf, otypes=[np.float64])
_FORMULAS: dict[str, Callable[..., Array]] = {
    "clip": lambda x: x,
    "erf": _erf,
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "softplus": lambda x: np.logaddexp(0, x),
    "squared_relu": lambda x: np.square(np.maximum(x, 0)),
}


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _normal(x: Array, axes: tuple[int, ...] = (-1,), eps: float = 1e-5) -> Array:
    d = x - x.mean(axes, keepdims=True)
    return np.asarray(d / np.sqrt(np.square(d).mean(axes, keepdims=True) + eps))


def _grouped(x: Array, groups: int) -> Array:
    return _normal(x.reshape(len(x), groups, -1)).reshape(x.shape)


def _rope(x: Array, cos: Array, sin: Array) -> Array:
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def _attention(q: Array, k: Array, v: Array) -> Array:
    """Attend to the keys up to the query's own, each of which serves two heads of queries."""
    scores = _attention_scores(q, k)
    hidden = np.triu(np.ones(scores.shape[-2:], bool), 1 + scores.shape[-1] - scores.shape[-2])
    return np.asarray(_softmax(np.where(hidden, -np.inf, scores)) @ np.repeat(v, 2, 0))


def _attention_scores(q: Array, k: Array) -> Array:
    return np.asarray(q @ np.repeat(k, 2, 0).swapaxes(-1, -2) / math.sqrt(q.shape[-1]))


# The operations that are not elementwise: shapes of their float operands, what else they are given, and a formula.
_OTHERS: dict[str, tuple[tuple[tuple[int, ...], ...], dict[str, Any], Callable[..., Array]]] = {
    "all": (((50, 70),), {"axis": 1}, lambda x: x.all(1)),
    "any": (((50, 70),), {"axis": 0}, lambda x: x.any(0)),
    "argmax": (((50, 70),), {"axis": 1}, lambda x: x.argmax(1).astype(np.int32)),
    "argmin": (((50, 70),), {"axis": 0}, lambda x: x.argmin(0).astype(np.int32)),
    "attention": (((4, 33, 64), (2, 50, 64), (2, 50, 40)), {"causal": True}, _attention),
    "attention_scores": (((4, 33, 64), (2, 50, 64)), {}, _attention_scores),
    "cumsum": (((50, 70),), {"axis": 1}, lambda x: x.cumsum(1)),
    "group_norm": (((3, 8, 35),), {"groups": 4}, lambda x: _grouped(x, 4)),
    "l2_norm": (((50, 70),), {"eps": 1e-5}, lambda x: x / np.sqrt(np.square(x).sum(-1, keepdims=True) + 1e-5)),
    "layer_norm": (((50, 70), (70,), (70,)), {}, lambda x, w, b: _normal(x) * w + b),
    "log_softmax": (((50, 70),), {}, lambda x: np.log(_softmax(x))),
    "max": (((50, 70),), {}, np.max),
    "mean": (((50, 7001),), {"axis": (0, 1)}, np.mean),
    "min": (((50, 70),), {}, np.min),
    "prod": (((5, 7),), {"axis": 1}, lambda x: x.prod(1)),
    "rms_norm": (((50, 70), (70,)), {}, lambda x, w: x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5) * w),
    "rope": (((2, 5, 64), (5, 32), (5, 32)), {}, _rope),
    "softmax": (((50, 7001),), {}, _softmax),
    "std": (((50, 70),), {"axis": 0}, lambda x: x.std(0)),
    "sum": (((50, 7001),), {}, np.sum),
    "weighted_sum": (((4, 33, 50), (2, 50, 64)), {}, lambda w, v: w @ np.repeat(v, 2, 0)),
    "var": (((50, 70),), {"axis": 1, "correction": 1}, lambda x: x.var(1, ddof=1)),
}

_DTYPES = ("float32", "float16", "bfloat16", "int32", "uint32", "int8", "uint8", "bool")
_FLOATS = _DTYPES[:3]
# Odd, one, empty, several axes, and more than a row of workgroups can hold.
_SHAPES = ((1,), (0,), (7, 33), (3, 1, 129), (70_001,))

# Sums and powers are the least exact (see docs/operations.md); a 16-bit result is rounded once more.
_TOLERANCE = {"float32": 1e-5, "float16": 2**-10, "bfloat16": 2**-7}


class _Mismatch(Exception):  # noqa: N818 - a finding, not an error
    pass


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def _random(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    if dtype in _FLOATS:
        return (random.standard_normal(shape) * 3).astype(_dtype(dtype))
    return random.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


def _wide(array: Array) -> Array:
    """Return what NumPy computes with: float64 for floats, the dtype itself for the others, which wrap around."""
    return array if array.dtype.name not in _FLOATS else array.astype(np.float64)


def _expect(got: object, want: Array, like: Array, what: str, magnitude: Array | None = None) -> None:
    """Compare a tensor with what NumPy computed, within the tolerance of the result's dtype."""
    result = np.asarray(got)
    if result.shape != want.shape or result.dtype != like.dtype:
        raise _Mismatch(f"{what}: {result.dtype} {result.shape}, where {like.dtype} {want.shape} was due")
    if like.dtype.name in _FLOATS:
        scale = np.abs(want) + 1e-3 if magnitude is None else magnitude
        error = np.abs(result.astype(np.float64) - want)
        right = (error <= _TOLERANCE[like.dtype.name] * scale) | (np.isnan(result) & np.isnan(want))
        # Infinities, and what is too large for a short float.
        right |= result == want.astype(like.dtype)
    else:
        right = result == want.astype(like.dtype)
    if not right.all():
        place = tuple(int(axis[0]) for axis in np.nonzero(~right))
        raise _Mismatch(f"{what}: {result[place]} at {place}, where {want[place]} was due")


def _operations() -> dict[str, int]:
    """Return the names of the functions that take ``out=``, with their numbers of operands."""
    found = {}
    for name, function in sorted(vars(gk).items()):
        if not name.startswith("_") and inspect.isroutine(function):
            parameters = inspect.signature(function).parameters
            if "out" in parameters:
                found[name] = sum(each.kind is each.POSITIONAL_ONLY for each in parameters.values())
    return found


def _elementwise(name: str, arity: int, device: gk.Device, random: np.random.Generator) -> str:
    operation = getattr(gk, name)
    formula = _FORMULAS.get(name) or getattr(np, name)
    taken = []
    for dtype in _DTYPES:
        for shape in _SHAPES:
            operands = [_random(random, shape, dtype) for _ in range(arity)]
            tensors = [gk.asarray(operand, device=device) for operand in operands]
            try:
                got = operation(*tensors)
            except gk.DTypeError:
                break
            if got.dtype == np.float32:
                want = formula(*(operand.astype(np.float64) for operand in operands))
            else:
                want = formula(*map(_wide, operands))
            like = np.empty(0, got.dtype if want.dtype == np.float64 else want.dtype)
            _expect(got, want, like, f"{dtype} {shape}")
            into = gk.empty(shape, like.dtype, device=device)
            if operation(*tensors, out=into) is not into:
                raise _Mismatch(f"{dtype} {shape}: out= was not returned")
            _expect(into, want, like, f"{dtype} {shape} with out=")
        else:
            taken.append(dtype)
    if not taken:
        raise _Mismatch("it takes no dtype at all")
    return " ".join(taken)


def _other(name: str, device: gk.Device, random: np.random.Generator) -> str:
    shapes, arguments, formula = _OTHERS[name]
    for dtype in _FLOATS:
        operands = [_random(random, shape, dtype) for shape in shapes]
        want = np.asarray(formula(*map(_wide, operands)))
        like = operands[0] if want.dtype == np.float64 else want
        got = getattr(gk, name)(*(gk.asarray(operand, device=device) for operand in operands), **arguments)
        # Results that are near zero for all that went into them are as good as their operands.
        _expect(got, want, like, dtype, np.maximum(np.abs(want), np.abs(want).mean()) + 1e-3)
    return " ".join(_FLOATS)


def _swiglu(device: gk.Device, random: np.random.Generator) -> str:
    for dtype in _FLOATS:
        gate, up = _random(random, (33, 7), dtype), _random(random, (7,), dtype)
        got = gk.swiglu(gk.asarray(gate, device=device), up)
        _expect(got, _FORMULAS["silu"](_wide(gate)) * _wide(up), gate, dtype)
    return " ".join(_FLOATS)


def _where(device: gk.Device, random: np.random.Generator) -> str:
    for dtype in _DTYPES:
        condition, a = _random(random, (33, 1), "bool"), _random(random, (33, 7), dtype)
        b = _random(random, (7,), dtype)
        got = gk.where(gk.asarray(condition, device=device), a, b)
        _expect(got, np.where(condition, _wide(a), _wide(b)), a, dtype)
    return " ".join(_DTYPES)


def _rope_tables(device: gk.Device, random: np.random.Generator) -> str:
    positions = np.append(random.integers(0, 2**20, 30), [0, 2**20]).astype(np.int32)
    tables = gk.rope_tables(gk.asarray(positions, device=device), 64)
    angle = positions[:, None] * 10000.0 ** (-np.arange(0, 64, 2) / 64)
    for got, want in zip(tables, (np.cos(angle), np.sin(angle)), strict=True):
        _expect(got, want, np.empty(0, np.float32), "positions up to 2^20", np.ones(()))
    return "positions up to 2^20"


def _gather(name: str, device: gk.Device, random: np.random.Generator) -> str:
    for dtype in _DTYPES:
        table = _random(random, (50, 7), dtype)
        rows = random.integers(-50, 50, (3, 5))
        got = getattr(gk, name)(gk.asarray(table, device=device), rows, **({"axis": 0} if name == "take" else {}))
        _expect(got, _wide(table)[rows], table, dtype)
    return " ".join(_DTYPES)


def _join(name: str, device: gk.Device, random: np.random.Generator) -> str:
    for dtype in _DTYPES:
        parts = [_random(random, (5, 7), dtype) for _ in range(3)]
        got = getattr(gk, name)([gk.asarray(part, device=device) for part in parts], axis=1)
        want = (np.concatenate if name == "concat" else np.stack)([_wide(part) for part in parts], axis=1)
        _expect(got, want, parts[0], dtype)
    return " ".join(_DTYPES)


def _matmul(device: gk.Device, random: np.random.Generator) -> str:
    for dtype in _FLOATS:
        for m, k, n in ((2, 3, 4), (1, 1001, 1), (33, 1, 67), (65, 129, 130), (256, 512, 64)):
            a, b = _random(random, (m, k), dtype), _random(random, (k, n), dtype)
            for order, left, right in (("C", a, b), ("Fortran", np.asfortranarray(a), np.asfortranarray(b))):
                got = gk.matmul(gk.asarray(left, device=device), right)
                magnitude = np.abs(_wide(a)) @ np.abs(_wide(b))
                _expect(got, _wide(a) @ _wide(b), a, f"{dtype} {m} x {k} x {n}, {order} order", magnitude)
        stack, other = _random(random, (3, 1, 5, 7), dtype), _random(random, (2, 7, 6), dtype)
        magnitude = np.abs(_wide(stack)) @ np.abs(_wide(other))
        got = gk.matmul(gk.asarray(stack, device=device), other)
        _expect(got, _wide(stack) @ _wide(other), stack, f"{dtype} stacks", magnitude)
    return " ".join(_FLOATS)


def _matmul_vec(device: gk.Device, random: np.random.Generator) -> str:
    for dtype in _FLOATS:
        for rows, columns in ((2, 3), (1, 1), (1, 1001), (1001, 1), (67, 259), (512, 4096)):
            w, x = _random(random, (rows, columns), dtype), _random(random, (columns,), dtype)
            for order, matrix in (("C", w), ("Fortran", np.asfortranarray(w)), ("reversed", w[::-1, ::-1])):
                got = gk.matmul_vec(gk.asarray(matrix, device=device), x)
                wide, vector = _wide(matrix), _wide(x)
                magnitude = np.abs(wide) @ np.abs(vector)
                _expect(got, wide @ vector, w, f"{dtype} {rows} x {columns}, {order} order", magnitude)
    return " ".join(_FLOATS)


def _transfer(device: gk.Device, random: np.random.Generator) -> str:
    for dtype in _DTYPES:
        for shape in _SHAPES:
            array = _random(random, shape, dtype)
            tensor = gk.asarray(array, device=device, copy=True)
            for what, got, want in (
                ("there and back", tensor, array),
                ("transposed", tensor.T, array.T),
                ("sliced", tensor[::-2], array[::-2]),
            ):
                if got.numpy().tobytes() != want.tobytes():
                    raise _Mismatch(f"{dtype} {shape}, {what}: the bytes differ")
    return " ".join(_DTYPES)


def _views(device: gk.Device, random: np.random.Generator) -> str:
    array = _random(random, (40, 30), "float32")
    tensor = gk.asarray(array, device=device, copy=True)
    changed = array.copy()
    tensor[3:30:2, ::-3] = changed[3:30:2, ::-3] = array[:14, :10]
    _expect(tensor, changed, array, "slice assignment")
    _expect(tensor.T.reshape(-1)[7::5], changed.T.reshape(-1)[7::5], array, "reshape of a transposed view")
    _expect(tensor.astype("float16"), changed.astype(np.float64), array.astype(np.float16), "astype")
    _expect(gk.arange(5, device=device), np.arange(5), np.arange(5, dtype=np.int32), "arange")
    return "slices, slice assignment, reshape, astype, arange"


def _operators(device: gk.Device, random: np.random.Generator) -> str:
    array, other = _random(random, (17, 5), "float32"), _random(random, (5,), "float32")
    tensor = gk.asarray(array, device=device)
    wide = _wide(array)
    _expect((2 * tensor + other) - 1, (2 * wide + other) - 1, array, "2 * t + a - 1")
    _expect(other - tensor, other - wide, array, "a - t")
    _expect(tensor @ other, wide @ other, array, "t @ a", np.abs(wide) @ np.abs(other))
    _expect(array.T @ tensor, wide.T @ wide, array, "a.T @ t", np.abs(wide.T) @ np.abs(wide))
    _expect(-((tensor / 2) ** 2) // 3, -((wide / 2) ** 2) // 3, array, "-(t / 2) ** 2 // 3")
    _expect((tensor > other) & ~(tensor >= 1), (wide > other) & ~(wide >= 1), np.empty(0, bool), "t > a & ~(t >= 1)")
    return "arithmetic, comparisons and @ beside ndarrays and scalars"


def _checks(device: gk.Device) -> Iterator[tuple[str, Callable[[np.random.Generator], str]]]:
    yield "transfer", lambda random: _transfer(device, random)
    yield "views", lambda random: _views(device, random)
    yield "operators", lambda random: _operators(device, random)
    special: dict[str, Callable[..., str]] = {
        "concat": partial(_join, "concat"),
        "embedding": partial(_gather, "embedding"),
        "matmul": _matmul,
        "matmul_vec": _matmul_vec,
        "rope_tables": _rope_tables,
        "stack": partial(_join, "stack"),
        "swiglu": _swiglu,
        "take": partial(_gather, "take"),
        "where": _where,
    }
    for name, arity in _operations().items():
        check = special.get(name) or (partial(_other, name) if name in _OTHERS else partial(_elementwise, name, arity))
        yield name, partial(check, device)


def selftest(names: list[str] | None = None) -> int:
    """Test the named devices, or all. The exit code is 1 when an answer was wrong."""
    devices = [gk.get_device(name) for name in names] if names else list(gk.devices())
    width = max(len(device.id) for device in devices)
    passed = failed = 0
    for device in devices:
        for name, check in _checks(device):
            try:
                with np.errstate(all="ignore"):
                    verdict, note = "ok    ", check(np.random.default_rng(0))
                passed += 1
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is a line of the report
                verdict, note = (
                    "FAILED",
                    str(error) if isinstance(error, _Mismatch) else f"{type(error).__name__}: {error}",
                )
                failed += 1
            print(f"{verdict} {device.id:<{width}}  {name:<16} {note}", flush=True)
    print(f"{passed} passed, {failed} failed on {len(devices)} devices")
    return 1 if failed else 0
