"""Structured arrays in the layout that WGSL gives to structs, and back. Fields are matched by their names."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def to_layout(array: Array, dtype: "np.dtype[Any]", what: str) -> Array:
    """Return the array's elements in a structured dtype, or raise ValueError."""
    if array.dtype == dtype:
        return np.ascontiguousarray(array).reshape(array.shape)
    result = np.zeros(array.shape, dtype)
    _copy(array, result, what)
    return result


def from_layout(array: Array, dtype: "np.dtype[Any]") -> Array:
    """Return the elements of what `to_layout` made in the dtype that they had."""
    if array.dtype == dtype:
        return array
    result = np.zeros(array.shape, dtype)
    _copy(array, result, "")
    return result


def of_numbers(values: object, dtype: "np.dtype[Any]") -> Array:
    """Return an array of Python's numbers, or raise where the dtype does not hold them."""
    given = np.asarray(values)
    if given.dtype.kind not in ("biu" if dtype.kind in "iu" else "biuf"):
        raise ValueError(f"it is of {given.dtype}, not numbers for {dtype}")
    if dtype.kind in "iu" and given.size:
        limits = np.iinfo(dtype)
        if given.min() < limits.min or given.max() > limits.max:
            raise ValueError(f"{dtype} goes from {limits.min} to {limits.max}")
    with np.errstate(over="ignore"):
        result = given.astype(dtype)
    if dtype.kind == "f" and not np.array_equal(np.isfinite(result), np.isfinite(given)):
        raise ValueError(f"{dtype} holds no numbers so large")
    return result


def _copy(source: Array, target: Array, what: str) -> None:
    if source.dtype.names is None or target.dtype.names is None:
        _copy_numbers(source, target, what)
        return
    if sorted(source.dtype.names) != sorted(target.dtype.names):
        fields = ", ".join(source.dtype.names)
        raise ValueError(f"'{what}' has the fields {fields}, not {', '.join(target.dtype.names)}; rename or add fields")
    for name in target.dtype.names:
        _copy(np.asarray(source[name]), target[name], f"{what}.{name}")


def _copy_numbers(source: Array, target: Array, what: str) -> None:
    if source.dtype.newbyteorder("=") != target.dtype.newbyteorder("="):
        raise ValueError(f"'{what}' has dtype {source.dtype}, not {target.dtype}; convert it with .astype")
    # WGSL puts a fourth number behind every three of a vec3 in arrays and matrices.
    if target.shape != source.shape and target.ndim and source.ndim:
        if (source.shape[-1], target.shape[-1]) == (3, 4):
            target = target[..., :3]
        elif (source.shape[-1], target.shape[-1]) == (4, 3):
            source = source[..., :3]
    if source.shape != target.shape:
        raise ValueError(f"'{what}' has the shape {source.shape}, not {target.shape}")
    target[...] = source
