"""``python -m gpukern inspect``: what a model file says of itself."""

import io
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._files import Metadata, ModelFile, TensorInfo, first_elements, is_place, printable

# What is shown of a long array, and of a long string.
_ELEMENTS = 6
_CHARACTERS = 200


def inspect_file(path: str, as_json: bool) -> int:
    """Print what a file says of itself, and return the exit code."""
    # Names may have characters that the terminal's encoding lacks.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with ModelFile._for("inspect", path, "cpu", True) as model:
        tensors = list(model.tensors.values())
        if as_json:
            print(json.dumps(_document(model, tensors), allow_nan=False))
        else:
            print(_head(model), end="")
            for line in _lines(tensors):
                print(line)
    return 0


def _size(tensor: TensorInfo) -> int:
    return math.prod(tensor.shape)


def _head(model: ModelFile) -> str:
    version = "" if model.version is None else f" version {model.version}"
    name = {"gguf": "GGUF"}.get(model.format, model.format)
    lines = [f"{name}{version}", "", f"metadata ({len(model.metadata)})"]
    # What opens the file makes nothing else.
    assert isinstance(model.metadata, Metadata)  # noqa: S101
    place = model.metadata.place
    lines += [f"  {printable(key, 100)}: {_shown(*place(key))}" for key in model.metadata]
    return "\n".join(lines) + "\n\n"


def _shown(file: Any, value: Any) -> str:
    if is_place(value):
        shown = [_shown(file, element) for element in first_elements(file, value, _ELEMENTS)]
        count = value[1]
        return f"[{', '.join(shown)}{f', ... ({count:,} in all)' if count > len(shown) else ''}]"
    if isinstance(value, str):
        more = f" ({len(value):,} characters)" if len(value) > _CHARACTERS else ""
        return f"'{printable(value, _CHARACTERS)}'{more}"
    if isinstance(value, bytes):
        more = f"... ({len(value):,} bytes)" if len(value) > _CHARACTERS else ""
        return f"{value[:_CHARACTERS]!r}{more}"
    if isinstance(value, float):
        # Most are float32, and their digits beyond those that it has say nothing.
        with np.errstate(over="ignore", under="ignore"):
            short = np.float32(value)
        return str(short) if float(short) == value else repr(value)
    return str(value)


def _lines(tensors: list[TensorInfo]) -> Iterator[str]:
    """Tell of the tensors in a table, and what they come to."""
    rows = [("tensor", "shape", "dtype", "bytes")]
    rows += [
        (
            printable(each.name, 100),
            " × ".join(map(str, each.shape)) or "-",
            printable(each.dtype, 40),
            f"{each.nbytes:,}",
        )
        for each in tensors
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, shape, dtype, size in rows:
        yield f"{name.ljust(widths[0])}  {shape.ljust(widths[1])}  {dtype.ljust(widths[2])}  {size.rjust(widths[3])}"
    yield ""
    by_dtype: dict[str, list[TensorInfo]] = {}
    for each in tensors:
        by_dtype.setdefault(each.dtype, []).append(each)
    if len(by_dtype) > 1:
        for dtype, some in by_dtype.items():
            yield f"{printable(dtype, 40)}: {_total(some)}"
    yield f"in all: {_total(tensors)}"


def _total(tensors: list[TensorInfo]) -> str:
    count, size = sum(map(_size, tensors)), sum(each.nbytes for each in tensors)
    return ", ".join(_counted(*each) for each in ((len(tensors), "tensor"), (count, "element"), (size, "byte")))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _document(model: ModelFile, tensors: list[TensorInfo]) -> dict[str, Any]:
    return {
        "format": model.format,
        "version": model.version,
        "metadata": {key: _plain(value) for key, value in model.metadata.items()},
        "tensors": [each._asdict() for each in tensors],
        "elements": sum(map(_size, tensors)),
        "nbytes": sum(each.nbytes for each in tensors),
    }


def _plain(value: Any) -> Any:
    """Make of a value what JSON has: of an infinity or NaN its name, of bytes that are no text an escaped one."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
