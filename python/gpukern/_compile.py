"""``python -m gpukern compile``: what a WGSL kernel declares, its mistakes, its translations."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from . import _native
from ._native import Kernel


def compile_file(
    path: str, entry_point: str | None, constants: list[str], language: str | None, output: str | None
) -> int:
    """Compile a file, print what it declares or its translation, and return the exit code."""
    try:
        source = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _native.ArgumentError(f"compile: {path} cannot be read: {error}") from None
    if output is not None and language is None:
        raise _native.ArgumentError("compile: -o writes what --emit makes; give --emit too")
    values = dict(map(_constant, constants))
    name = Path(path).name
    entry_points: Sequence[str | None]
    entry_points = [entry_point] if entry_point else _native._entry_points(source, values, name) or (None,)
    if language is not None and len(entry_points) > 1:
        names = ", ".join(map(str, entry_points))
        raise _native.ArgumentError(f"compile: {path} has several entry points; choose one with --entry-point: {names}")
    for entry in entry_points:
        kernel = Kernel(source, entry_point=entry, constants=values, name=name)
        if language is None:
            print(_describe(kernel))
        elif output is None:
            print(kernel.translate(language), end="")
        else:
            _write(kernel, language, Path(output))
    return 0


def _write(kernel: Kernel, language: str, output: Path) -> None:
    try:
        if language == "spirv":
            output.write_bytes(kernel.spirv)
        else:
            output.write_text(kernel.translate(language), encoding="utf-8")
    except OSError as error:
        raise _native.ArgumentError(f"compile: {output} cannot be written: {error}") from None


def _constant(text: str) -> tuple[str, float | bool | str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise _native.ArgumentError(f"compile: -D {text} is not of the form NAME=VALUE")
    if value in {"true", "false"}:
        return name, value == "true"
    for number in (partial(int, base=0), float):
        try:
            return name, number(value)
        except ValueError:
            continue
    return name, value


def _describe(kernel: Kernel) -> str:
    """Tell what a kernel declares."""
    size = kernel.workgroup_size
    lines = [f"{kernel.name}, entry point {kernel.entry_point}"]
    lines.append(f"  workgroup  {' × '.join(map(str, size))}" if size else "  workgroup  of a size to be given")
    if kernel.workgroup_memory:
        lines.append(f"  workgroup memory  {kernel.workgroup_memory} bytes")
    rows = [
        (each.name, each.access, each.type, str(each.dtype), f"@group({each.group}) @binding({each.binding})")
        for each in kernel.bindings.values()
    ]
    lines += ["  variables"] * bool(rows) + _table(rows)
    constants = [(name, "to be given" if value is None else str(value)) for name, value in kernel.constants.items()]
    lines += ["  constants"] * bool(constants) + _table(constants)
    return "\n".join(lines)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["    " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
