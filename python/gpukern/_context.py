"""The context manager that says which device to use."""

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


# Its home for readers, help() and tracebacks is the package.
use_device.__module__ = "gpukern"
