"""The two context managers: which device to use, and how long its kernels take."""

from contextvars import ContextVar
from types import TracebackType
from typing import final

from . import _native
from ._native import Device

# The devices to come back to, innermost last. It is context-local, like the current device, so that one
# `use_device` object may be entered twice, and by several threads or tasks at once.
_outer: ContextVar[tuple[Device | None, ...]] = ContextVar("gpukern.outer_devices", default=())


@final
class use_device:  # noqa: N801 - it reads as a verb
    """Run what is inside the ``with`` block on this device, unless an argument or a tensor says otherwise.

    The choice holds for the current thread or task. It raises `DeviceNotFoundError` for a device that cannot be had.

    Examples
    --------
    >>> import gpukern as gk
    >>> with gk.use_device("cpu") as device:
    ...     print(device.id, gk.ones(3).device.id)
    cpu cpu
    """

    __slots__ = {"device": "The device that is used."}

    device: Device

    def __init__(self, device: Device | str, /) -> None:
        self.device = _native._resolve(device, "use_device: device")

    def __enter__(self) -> Device:
        _native._enable_context()
        _outer.set((*_outer.get(), _native._current_device.get(None)))
        _native._current_device.set(self.device)
        return self.device

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        *rest, device = _outer.get()
        _native._current_device.set(device)
        _outer.set(tuple(rest))

    def __repr__(self) -> str:
        return f"gpukern.use_device({self.device!r})"


@final
class profile:  # noqa: N801 - it reads as a verb
    """Measure the kernels that a device runs inside the ``with`` block, by the device's own clock.

    Without an argument it measures the default device. The times are there when the block has ended.

    Examples
    --------
    >>> import gpukern as gk
    >>> with gk.profile("cpu") as p:
    ...     y = gk.silu(gk.ones(1000, device="cpu"))
    >>> p.total == sum(seconds for name, seconds in p.kernels)
    True
    """

    __slots__ = {
        "device": "The device that is measured.",
        "kernels": "One ``(name, seconds)`` for each kernel, in the order in which they ran.",
    }

    device: Device
    kernels: list[tuple[str, float]]

    def __init__(self, device: Device | str | None = None, /) -> None:
        self.device = _native.default_device() if device is None else _native._resolve(device, "profile: device")
        self.kernels = []

    @property
    def total(self) -> float:
        """All kernels together, in seconds."""
        return sum(seconds for _, seconds in self.kernels)

    def __enter__(self) -> "profile":
        _native._profile_start(self.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.kernels = _native._profile_stop(self.device)

    def __repr__(self) -> str:
        return f"<gpukern.profile of {self.device.id}: {len(self.kernels)} kernels, {self.total:.3g} s>"


# Their home for readers, help() and tracebacks is the package.
use_device.__module__ = profile.__module__ = "gpukern"
