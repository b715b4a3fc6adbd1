"""Settings of the whole process."""

import numbers
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
    >>> gk.config.kernel_timeout is None
    True
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

    @property
    def kernel_timeout(self) -> float | None:
        """How many seconds a launch of a user's kernel may take on the CPU device; None (the default) for any time.

        One that takes longer raises `KernelError`, with what it wrote half done. Drivers stop kernels of GPUs by rules
        of their own.
        """
        return _native._kernel_timeout()

    @kernel_timeout.setter
    def kernel_timeout(self, seconds: float | None) -> None:
        given: object = seconds
        if given is not None and (isinstance(given, bool) or not isinstance(given, numbers.Real)):
            message = f"config.kernel_timeout is a number of seconds above 0, or None, not {given!r}"
            raise _native.ArgumentError(message)
        _native._set_kernel_timeout(seconds)

    @property
    def int8_activations(self) -> bool:
        """Whether the CPU device may round vectors to 8 bits when it multiplies them with quantised weights.

        True (the default) is several times as fast where the machine multiplies bytes, and changes a product by about
        0.6 % of its length, more where a few numbers are far larger than those beside them. False computes in float32,
        as GPUs do.
        """
        return _native._int8_activations()

    @int8_activations.setter
    def int8_activations(self, allowed: bool) -> None:
        given: object = allowed
        if not isinstance(given, bool):
            raise _native.ArgumentError(f"config.int8_activations is True or False, not {given!r}")
        _native._set_int8_activations(given)

    def __repr__(self) -> str:
        return (
            f"<gpukern.config float64={self._float64!r} kernel_timeout={self.kernel_timeout!r} "
            f"int8_activations={self.int8_activations}>"
        )


config: Config = Config()
