"""Several results of a kernel, as a named tuple that can be pickled."""

from collections import namedtuple
from functools import cache
from typing import Any


@cache
def results_class(names: tuple[str, ...]) -> type[tuple[Any, ...]]:
    """Return the class of results of these names. One that a named tuple cannot have gives way to its number."""
    made = namedtuple("Results", names, rename=True, module="gpukern")  # type: ignore[misc]  # noqa: PYI024

    def reduce(self: tuple[Any, ...]) -> tuple[Any, ...]:
        return _remake, (names, tuple(self))

    made.__reduce__ = reduce  # type: ignore[method-assign, assignment]
    return made


def _remake(names: tuple[str, ...], values: tuple[Any, ...]) -> tuple[Any, ...]:
    return results_class(names)(*values)
