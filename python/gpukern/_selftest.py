"""Every operation on every device, against NumPy: ``python -m gpukern selftest``.

The operations are found in the package by their signatures, so that a new elementwise one is tested as soon as it
exists: against NumPy's function of the same name, or the formula below where NumPy has none.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import gpukern as gk

Array = NDArray[Any]

_FORMULAS: dict[str, Callable[..., Array]] = {"silu": lambda x: x / (1 + np.exp(-x))}
_DTYPES = ("float32", "float16", "bfloat16", "int32", "uint32", "int8", "uint8", "bool")
_FLOATS = _DTYPES[:3]
# Odd, one, empty, several axes, and more than a row of workgroups can hold.
_SHAPES = ((1,), (0,), (7, 33), (3, 1, 129), (70_001,))

# What a shader language allows its exp is wider than a unit in the last place; a 16-bit result is rounded once more.
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
                if dtype in _FLOATS:
                    raise
                break
            want = formula(*map(_wide, operands))
            like = operands[0] if want.dtype == np.float64 else want
            _expect(got, want, like, f"{dtype} {shape}")
            into = gk.empty(shape, like.dtype, device=device)
            if operation(*tensors, out=into) is not into:
                raise _Mismatch(f"{dtype} {shape}: out= was not returned")
            _expect(into, want, like, f"{dtype} {shape} with out=")
        else:
            taken.append(dtype)
    return " ".join(taken)


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
    return "+ - * @ beside ndarrays and scalars"


def _checks(device: gk.Device) -> Iterator[tuple[str, Callable[[np.random.Generator], str]]]:
    yield "transfer", lambda random: _transfer(device, random)
    yield "views", lambda random: _views(device, random)
    yield "operators", lambda random: _operators(device, random)
    for name, arity in _operations().items():
        if name == "matmul_vec":
            yield name, lambda random: _matmul_vec(device, random)
        else:
            yield name, lambda random, name=name, arity=arity: _elementwise(name, arity, device, random)  # type: ignore[misc]


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
            print(f"{verdict} {device.id:<{width}}  {name:<12} {note}", flush=True)
    print(f"{passed} passed, {failed} failed on {len(devices)} devices")
    return 1 if failed else 0
