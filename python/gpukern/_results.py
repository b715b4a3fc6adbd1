"""Several results of a kernel, as a named tuple that can be pickled."""

from collections import namedtuple
from typing import Any

_CLASSES: dict[tuple[str, ...], type[tuple[Any, ...]]] = {}


def results_class(names: tuple[str, ...]) -> type[tuple[Any, ...]]:
    """Return the class of results of these names. One that a named tuple cannot have gives way to its number."""
    made = _CLASSES.get(names)
    if made is None:
        make: Any = namedtuple  # noqa: PYI024 - its fields are known at run time alone
        made = make("Results", names, rename=True, module="gpukern")
        made.__reduce__ = lambda results: (_remake, (names, tuple(results)))
        _CLASSES[names] = made
    return made


def _remake(names: tuple[str, ...], values: tuple[Any, ...]) -> tuple[Any, ...]:
    made: Any = results_class(names)
    again: tuple[Any, ...] = made(*values)
    return again
