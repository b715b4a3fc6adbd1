"""Settings of the whole process."""

from typing import Literal

from . import _native

_FLOAT64 = ("warn", "error", "cast")


class Config:
    """Settings of the whole process, as attributes of ``gpukern.config``.

    Examples
    --------
    >>> import gpukern as gk
    >>> gk.config.float64
    'warn'
    >>> gk.config.float64 = "cast"
    >>> gk.config.float64 = "warn"
    """

    __slots__ = ("_float64",)

    def __init__(self) -> None:
        self._float64: Literal["warn", "error", "cast"] = "warn"

    @property
    def float64(self) -> Literal["warn", "error", "cast"]:
        """What happens to float64 input, which no device shares.

        ``"warn"``: it becomes float32, with one `PrecisionWarning` a process. ``"cast"``: the same, quietly.
        ``"error"``: it raises `DTypeError`.
        """
        return self._float64

    @float64.setter
    def float64(self, policy: Literal["warn", "error", "cast"]) -> None:
        if policy not in _FLOAT64:
            raise _native.ArgumentError(f"config.float64 is one of {', '.join(map(repr, _FLOAT64))}, not {policy!r}")
        _native._set_float64_policy(policy)
        self._float64 = policy

    def __repr__(self) -> str:
        return f"<gpukern.config float64={self._float64!r}>"


config: Config = Config()
