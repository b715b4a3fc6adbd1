"""What profiles are shown as. It is imported only when one is shown."""

import html
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from . import _native
from ._profile import KernelTime, profile


@dataclass(frozen=True)
class _Kernel:
    """All calls of one kernel on one device."""

    name: str
    device: str
    seconds: list[float]
    bytes: int
    operations: int

    @property
    def total(self) -> float:
        return sum(self.seconds)

    @property
    def bandwidth(self) -> float | None:
        """Bytes a second, where the bytes are known."""
        return self._rate(self.bytes)

    @property
    def rate(self) -> float | None:
        """Operations a second, where these are known."""
        return self._rate(self.operations)

    # Launches that only finish what others began count no arithmetic, but their time counts.
    def _rate(self, count: int) -> float | None:
        return count / self.total if count and self.total else None


def _gathered(times: Iterable[KernelTime]) -> list[_Kernel]:
    """One for each name and device, the one that took longest first."""
    groups: dict[tuple[str, str], list[KernelTime]] = {}
    for time in times:
        groups.setdefault((time.name, time.device), []).append(time)
    kernels = [
        _Kernel(
            name,
            device,
            [time.seconds for time in group],
            sum(time.bytes or 0 for time in group),
            sum(time.operations or 0 for time in group),
        )
        for (name, device), group in groups.items()
    ]
    return sorted(kernels, key=lambda kernel: (-kernel.total, kernel.name, kernel.device))


# Tables

_HEADER = ("kernel", "device", "calls", "total", "share", "mean", "median", "min", "GB/s", "GFLOP/s")
# The first columns are text, which begins at the left.
_TEXT = 2


def _show_time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        # What would be rounded up to 1000 is shown in the larger unit.
        if seconds >= size * 0.9995:
            return f"{seconds / size:.4g} {unit}" if seconds < 1000 else f"{seconds:.0f} s"
    return f"{seconds * 1e9:.0f} ns"


def _show_rate(rate: float | None) -> str:
    """In thousand millions."""
    if rate is None:
        return "-"
    return f"{rate / 1e9:.3g}" if rate < 1e12 else f"{rate / 1e9:.0f}"


def _rows(times: Sequence[KernelTime]) -> list[tuple[str, ...]]:
    """Fill the cells of a table, with its header and a line for all together."""
    whole = sum(time.seconds for time in times)
    rows: list[tuple[str, ...]] = [_HEADER]
    for kernel in _gathered(times):
        seconds = kernel.seconds
        rows.append(
            (
                kernel.name,
                kernel.device,
                str(len(seconds)),
                _show_time(kernel.total),
                f"{kernel.total / whole:.1%}" if whole else "-",
                _show_time(statistics.fmean(seconds)),
                _show_time(statistics.median(seconds)),
                _show_time(min(seconds)),
                _show_rate(kernel.bandwidth),
                _show_rate(kernel.rate),
            )
        )
    rows.append(("total", "", str(len(times)), _show_time(whole), "100.0%" if whole else "-", *[""] * 5))
    return rows


def table(times: Sequence[KernelTime], notes: Sequence[str]) -> str:
    lines = []
    if times:
        rows = _rows(times)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [
                cell.ljust(width) if column < _TEXT else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, *notes])


def html_table(times: Sequence[KernelTime], notes: Sequence[str]) -> str:
    parts = []
    if times:
        header, *rows = _rows(times)

        def line(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        parts = ["<table>", "<thead>", line("th", header), "</thead>", "<tbody>"]
        parts += [*(line("td", row) for row in rows), "</tbody>", "</table>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    return "\n".join(parts)


# Traces


def chrome_trace(times: Sequence[KernelTime], left_out: dict[str, str], path: str | PathLike[str]) -> None:
    events: list[dict[str, Any]] = []
    for process, device in enumerate(_devices(times), 1):
        name = f"{device} ({_native.get_device(device).name})"
        events.append({"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}})
        # What several threads compute at once overlaps, which a single row of a trace cannot show.
        ends: list[int] = []
        for time in times:
            if time.device != device:
                continue
            start, end = round(time.start * 1e9), round((time.start + time.seconds) * 1e9)
            row = next((row for row, before in enumerate(ends) if before <= start), len(ends))
            ends[row : row + 1] = [end]
            args: dict[str, Any] = {"bytes": time.bytes, "operations": time.operations}
            for key, count in (("GB/s", time.bytes), ("GFLOP/s", time.operations)):
                if count is not None and time.seconds:
                    args[key] = round(count / time.seconds / 1e9, 3)
            events.append(
                {
                    "ph": "X",
                    "name": time.name,
                    "cat": "kernel",
                    "pid": process,
                    "tid": row + 1,
                    "ts": start / 1e3,
                    "dur": (end - start) / 1e3,
                    "args": {key: value for key, value in args.items() if value is not None},
                }
            )
        for row in range(len(ends)):
            label = "kernels" if len(ends) == 1 else f"kernels, row {row + 1}"
            events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": row + 1, "args": {"name": label}})
    trace = {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"left out": left_out}}
    Path(path).write_text(json.dumps(trace), "utf-8")


def _devices(times: Iterable[KernelTime]) -> list[str]:
    """Those that computed, in the order in which they began."""
    return list(dict.fromkeys(time.device for time in times))


# Roofs

# A run that takes so long is long enough, and none is larger than this.
_LONG_ENOUGH = 0.02
_MOST_ELEMENTS = 1 << 26
_MOST_ROWS = 1 << 12


def _quickest(device: _native.Device, name: str, run: Callable[[], object]) -> _Kernel:
    """Find the quickest of a few runs of a kernel, after one that compiles what is needed and gets the memory."""
    run()
    runs = []
    for _ in range(3):
        with profile(device) as measured:
            run()
        # Products may take another kernel to add up their parts, which is not what is asked.
        runs += [kernel for kernel in _gathered(measured.kernels) if kernel.name == name]
    return min(runs, key=lambda kernel: kernel.total)


def _bandwidth(device: _native.Device) -> float:
    """Bytes a second of a copy, of an array so large that no cache holds it, if memory allows."""
    count, best = 1 << 18, 0.0
    while count <= _MOST_ELEMENTS:
        try:
            x = _native.zeros(count, "float32", device=device)
            copy = _quickest(device, "copy", partial(_native.copy, x))
        except _native.OutOfMemoryError:
            if best:
                break
            raise
        best = copy.bandwidth or best
        if copy.total >= _LONG_ENOUGH:
            break
        count *= 4
    return best


def _arithmetic(device: _native.Device) -> float:
    """Operations a second of a product of float32 matrices, in the size that suits the device best."""
    rows, best = 256, 0.0
    while rows <= _MOST_ROWS:
        a = _native.ones((rows, rows), "float32", device=device)
        product = _quickest(device, "matmul", partial(_native.matmul, a, a))
        best = max(best, product.rate or 0.0)
        if product.total >= _LONG_ENOUGH:
            break
        rows *= 2
    return best


# Pictures


def plot(times: Sequence[KernelTime], notes: Sequence[str], path: str | PathLike[str]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "profile.plot: it draws by matplotlib, which is not installed; pip install gpukern[plot]"
        raise ImportError(message, name=error.name) from error

    devices = _devices(times)
    # Without pyplot, so that neither a screen nor what the caller draws matters.
    figure = Figure(figsize=(12, 4.5 * max(len(devices), 1)), layout="constrained")
    formats = sorted(figure.canvas.get_supported_filetypes())
    if Path(path).suffix[1:].lower() not in formats:
        raise _native.ArgumentError(
            f"profile.plot: path={str(path)!r} must end in the name of a format: {', '.join(formats)}"
        )
    notes = list(notes)
    if devices:
        panels = figure.subplots(len(devices), 2, squeeze=False)
        for (left, right), device in zip(panels, devices, strict=True):
            kernels = _gathered(time for time in times if time.device == device)
            found = _native.get_device(device)
            bandwidth, arithmetic = _bandwidth(found), _arithmetic(found)
            _draw_roofline(left, kernels, bandwidth, arithmetic)
            left.set_title(f"{device} ({found.name})")
            _draw_bandwidths(right, kernels, bandwidth)
            unknown = [kernel.name for kernel in kernels if not kernel.bytes]
            if unknown:
                notes.append(f"not shown, since their bytes are not known, on {device}: {', '.join(unknown)}")
    if notes:
        figure.supxlabel("\n".join(notes), fontsize="small")
    figure.savefig(path)


def _draw_roofline(axes: Any, kernels: Sequence[_Kernel], bandwidth: float, arithmetic: float) -> None:
    points = [
        (kernel, kernel.operations / kernel.bytes, kernel.rate) for kernel in kernels if kernel.bytes and kernel.rate
    ]
    ridge = arithmetic / bandwidth
    low = min([ridge / 64, *(intensity / 4 for _, intensity, _ in points)])
    high = max([ridge * 16, *(intensity * 4 for _, intensity, _ in points)])
    axes.plot([low, ridge, high], [low * bandwidth, arithmetic, arithmetic], color="black")
    roofs = f"copy: {bandwidth / 1e9:.3g} GB/s", f"matmul, float32: {arithmetic / 1e9:.3g} GFLOP/s"
    axes.annotate(roofs[0], (low, low * bandwidth), (4, -2), textcoords="offset points", va="top", fontsize="small")
    axes.annotate(
        roofs[1], (high, arithmetic), (-2, 3), textcoords="offset points", ha="right", va="bottom", fontsize="small"
    )
    for number, (kernel, intensity, rate) in enumerate(points):
        axes.plot([intensity], [rate], marker="o", linestyle="none", color=f"C{number % 10}")
        axes.annotate(kernel.name, (intensity, rate), (5, 3), textcoords="offset points", fontsize="small")
    axes.set_xscale("log")
    axes.set_yscale("log")
    # Room for the words above the roof.
    axes.set_ylim(top=3 * max([arithmetic, *(rate for _, _, rate in points)]))
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("operations per second")
    axes.grid(visible=True, which="major", alpha=0.3)


def _draw_bandwidths(axes: Any, kernels: Sequence[_Kernel], bandwidth: float) -> None:
    shown = [(kernel, rate) for kernel in kernels if (rate := kernel.bandwidth) is not None]
    places = range(len(shown))
    axes.barh(places, [rate / 1e9 for _, rate in shown])
    axes.set_yticks(places, [kernel.name for kernel, _ in shown])
    axes.invert_yaxis()
    axes.axvline(bandwidth / 1e9, color="black")
    axes.annotate(
        "copy", (bandwidth / 1e9, 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points", va="top"
    )
    axes.set_xlim(right=1.15 * max([bandwidth, *(rate for _, rate in shown)]) / 1e9)
    axes.set_xlabel("GB/s, of what each kernel reads and writes")
    axes.set_title("bytes per second beside those of a copy")
