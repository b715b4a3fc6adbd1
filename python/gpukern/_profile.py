"""How long kernels take: what is measured in a ``with`` block, as a list, a table, a trace and a picture."""

from os import PathLike
from types import TracebackType
from typing import NamedTuple, final

from . import _native
from ._native import Device


class KernelTime(NamedTuple):
    """One kernel that ran on a GPU, or one operation on the CPU device.

    Examples
    --------
    >>> import gpukern as gk
    >>> with gk.profile("cpu") as p:
    ...     y = gk.negative(gk.zeros(1000, device="cpu"))
    >>> p.kernels[-1].name, p.kernels[-1].device, p.kernels[-1].bytes
    ('negative', 'cpu', 8000)
    """

    name: str
    device: str
    start: float
    seconds: float
    bytes: int | None
    operations: int | None


KernelTime.name.__doc__ = "What the operation or the kernel is called."
KernelTime.device.__doc__ = "The id of the device on which it ran."
KernelTime.start.__doc__ = "When it began, in seconds since the block began."
KernelTime.seconds.__doc__ = "How long it took."
KernelTime.bytes.__doc__ = "What it read, each operand once, and wrote; None where that is not known."
KernelTime.operations.__doc__ = (
    "Its arithmetic, a multiplication with an addition being two; None where that is not known."
)


@final
class profile:  # noqa: N801 - it reads as a verb
    """Measure every kernel that runs inside the ``with`` block, an operation's or one of your own.

    Without an argument the CPU device and every GPU are measured, also GPUs that are opened inside the block; with a
    device that one alone. GPUs time kernels by their own clocks. On the CPU device whole operations are timed. A GPU
    that cannot time kernels raises if it is named, and is listed in ``left_out`` if it is not.

    What all threads compute is measured; moving arrays to a GPU and back is not. The times are there when the block has
    ended, by an exception too. A device can be in one open profile only. The same object may be used again, and then
    starts afresh.

    Each kernel waits for the one before while it is measured, so that the whole takes somewhat longer than else.

    Examples
    --------
    >>> import gpukern as gk
    >>> with gk.profile("cpu") as p:
    ...     y = gk.silu(gk.ones(1000, device="cpu"))
    >>> [kernel.name for kernel in p.kernels]
    ['ones', 'silu']
    >>> p.total == sum(kernel.seconds for kernel in p.kernels)
    True
    >>> print(p.table())  # doctest: +ELLIPSIS
    kernel  device  calls ...
    """

    __slots__ = {
        "_session": "",
        "_state": "",
        "device": "The device that is measured; None for all of them.",
        "kernels": "A `KernelTime` for each kernel, in the order in which they ran.",
        "left_out": "Devices of which something is missing, by their ids, and why.",
    }

    device: Device | None
    kernels: list[KernelTime]
    left_out: dict[str, str]
    _session: _native._Session | None
    _state: str

    def __init__(self, device: Device | str | None = None) -> None:
        self.device = None if device is None else _native._resolve(device, "profile: device")
        self.kernels = []
        self.left_out = {}
        self._session = None
        self._state = "has not begun"

    @property
    def total(self) -> float:
        """All kernels together, in seconds."""
        return sum(kernel.seconds for kernel in self.kernels)

    def __enter__(self) -> "profile":
        self._session = _native._profile(self.device)
        self.kernels = []
        self.left_out = {}
        self._state = "has not ended"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        session, self._session = self._session, None
        self._state = ""
        if session is not None:
            kernels, left_out = session.end()
            self.kernels = [KernelTime(*kernel) for kernel in kernels]
            self.left_out = dict(left_out)

    def table(self) -> str:
        """Show the kernels as text: a line for each name and device, the one that took longest first.

        Bytes and operations a second are those of all calls together. Shares are of the time of all kernels.
        """
        from . import _report

        return _report.table(self.kernels, self._notes())

    def chrome_trace(self, path: str | PathLike[str]) -> None:
        """Write what ran when into a JSON file, which ui.perfetto.dev and chrome://tracing show.

        Parameters
        ----------
        path
            The file, which is replaced if it is there.
        """
        from . import _report

        self._check_ended("chrome_trace")
        _report.chrome_trace(self.kernels, self.left_out, path)

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw how near each kernel comes to what its device can do, as a roofline.

        The roofs, bytes and operations a second, are measured now: by copies, and by products of float32 matrices. A
        kernel whose arithmetic is known is a point below them. The bars beside have the bytes a second of every kernel
        whose bytes are known. It needs matplotlib: ``pip install gpukern[plot]``.

        Parameters
        ----------
        path
            The picture, of a format that matplotlib writes, such as ``.png``, ``.svg`` or ``.pdf``.
        """
        from . import _report

        self._check_ended("plot")
        _report.plot(self.kernels, self._notes(), path)

    def _check_ended(self, method: str) -> None:
        if self._state:
            raise _native.ArgumentError(
                f"profile.{method}: the block {self._state}, and its times are there when it has; call it afterwards"
            )

    def _notes(self) -> list[str]:
        """Say what a reader of the times has to know."""
        notes = [f"left out: {device}: {why}" for device, why in self.left_out.items()]
        if self._state:
            notes.insert(0, f"the block {self._state}; its times are there when it has")
        elif not self.kernels:
            notes.insert(0, "no kernel ran")
        return notes

    def __repr__(self) -> str:
        which = "every device" if self.device is None else self.device.id
        if self._state:
            return f"<gpukern.profile of {which}: the block {self._state}>"
        return f"<gpukern.profile of {which}: {len(self.kernels)} kernels, {self.total:.3g} s>"

    def _repr_html_(self) -> str:
        from . import _report

        return _report.html_table(self.kernels, self._notes())


# Their home for readers, help() and tracebacks is the package.
KernelTime.__module__ = profile.__module__ = "gpukern"
