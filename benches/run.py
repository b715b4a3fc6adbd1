"""Run cases x engines x devices, interleaved, and print medians beside the best peer's.

``python benches/run.py --help`` says how; benches/README.md how to read what comes out.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from itertools import repeat
from pathlib import Path
from typing import Any

# Before any library starts its threads: a pool that spins while another engine is timed would slow it down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

import gpukern as gk
from cases import CASES, Array, Case
from engines import CORES, Call, Engine, Unsupported, engines

HERE = Path(__file__).parent


@dataclass
class Run:
    """One engine in one case: its call, and what was measured of it."""

    engine: Engine
    call: Call
    samples: list[float] = field(default_factory=list)
    """Seconds a call, one for each repetition."""
    kernel: list[float] = field(default_factory=list)
    """Seconds a call by the device's own clock."""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def kernel_median(self) -> float | None:
        return statistics.median(self.kernel) if self.kernel else None


def measure(case: Case, run: Run) -> None:
    """Take one sample."""
    # A pause lets other engines' threads go to sleep, for which OpenBLAS takes some 30 ms; a first call, which does
    # not count, wakes this engine's.
    time.sleep(0.04)
    own = run.call()
    run.engine.synchronize()
    if case.clock == "own":
        run.samples.append(float(own))  # type: ignore[arg-type]
        return
    del own
    call, clock = run.call, time.process_time if case.clock == "processor" else time.perf_counter
    start = clock()
    for _ in repeat(None, case.number):
        call()
    if case.clock == "wall":
        run.engine.synchronize()
    run.samples.append((clock() - start) / case.number)
    run.engine.synchronize()
    if (case.bytes or case.flops) and (seconds := run.engine.kernel_seconds(call, max(case.copies, 4))):
        run.kernel.append(seconds)


def check(case: Case, run: Run, want: Array | None) -> None:
    """Refuse to time an answer that is wrong."""
    result = run.call()
    if want is None or not run.engine.answers:
        return
    got = run.engine.to_numpy(result).astype(np.float32, copy=False)
    worst = float(np.max(np.abs(got - want))) if got.shape == want.shape else float("inf")
    if not worst <= 0.02 * float(np.max(np.abs(want))):
        raise SystemExit(f"{case.name}: the answer of {run.engine.name} is wrong by {worst:g}")


def run_case(case: Case, chosen: Iterable[Engine], repetitions: int) -> list[Run]:
    """Time every engine in one case, one sample of each in turn."""
    arrays = case.inputs(np.random.default_rng(0))
    inputs = [arrays, *(tuple(array.copy() for array in arrays) for _ in range(case.copies - 1))]
    want = case.reference(*arrays).astype(np.float32, copy=False) if case.reference else None
    runs = []
    for engine in chosen:
        try:
            run = Run(engine, engine.prepare(case.operation, inputs, case.out))
        except Unsupported:
            continue
        check(case, run, want)
        runs.append(run)
    if not any(run.engine.name.startswith("gpukern") for run in runs):
        return []
    for _ in range(repetitions):
        for run in runs:
            measure(case, run)
    return runs


def best_peer(runs: list[Run]) -> Run | None:
    """Return the fastest of the other libraries."""
    peers = [run for run in runs if not run.engine.name.startswith("gpukern")]
    return min(peers, key=lambda run: run.median, default=None)


def rate(case: Case, seconds: float | None) -> str:
    """Return GB/s, GFLOP/s or TFLOP/s, as the case has it."""
    if not seconds or not (case.bytes or case.flops):
        return ""
    if case.bytes:
        return f"{case.bytes / seconds / 1e9:.1f} GB/s"
    flops = case.flops / seconds
    return f"{flops / 1e12:.1f} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.0f} GFLOP/s"


def duration(seconds: float | None) -> str:
    """Return a time with the unit that suits it."""
    if seconds is None:
        return ""
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.2f} us"


_COLUMNS = "{:<34} {:<18} {:>12} {:>14} {:>12} {:>14} {:>8} {:>8}"


def print_case(case: Case, runs: list[Run]) -> None:
    """Print a row for each engine: gpukern first, then its peers from the fastest on."""
    peer = best_peer(runs)
    title = case.name
    for run in sorted(runs, key=lambda run: (not run.engine.name.startswith("gpukern"), run.median)):
        kernel = run.kernel_median
        print(
            _COLUMNS.format(
                title,
                run.engine.name,
                duration(run.median),
                rate(case, run.median),
                duration(kernel),
                rate(case, kernel),
                f"{peer.median / run.median:.2f}" if peer else "",
                f"{peer.kernel_median / kernel:.2f}" if peer and peer.kernel_median and kernel else "",
            ).rstrip(),
            flush=True,
        )
        title = ""


def record(case: Case, place: str, runs: list[Run]) -> dict[str, Any]:
    """Return what the JSON file keeps of a case."""
    peer = best_peer(runs)
    return {
        "case": case.name,
        "place": place,
        "clock": case.clock,
        "bytes": case.bytes,
        "flops": case.flops,
        "best_peer": peer.engine.name if peer else None,
        "engines": {
            run.engine.name: {
                "median_s": run.median,
                "least_s": min(run.samples),
                "kernel_median_s": run.kernel_median,
                "ratio_to_best_peer": peer.median / run.median if peer else None,
                "samples_s": run.samples,
            }
            for run in runs
        },
    }


def machine() -> dict[str, Any]:
    """Return what the results depend on."""
    name = platform.processor()
    memory = 0
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": name,
        "cores": CORES,
        "memory_bytes": memory,
        "system": f"{platform.system()} {platform.machine()} {'-'.join(platform.libc_ver())}",
    }


def commit() -> str:
    """Return the git commit, marked when the working tree differs from it."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
            cwd=HERE, check=True, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()


def header(devices: list[gk.Device], chosen: list[Engine], repetitions: int) -> dict[str, Any]:
    """Return what stands above the results."""
    versions = {"python": platform.python_version()}
    for engine in chosen:
        versions |= engine.versions()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "devices": [
            {"id": each.id, "name": each.name, "backend": each.backend, "kind": each.kind, "driver": each.driver}
            for each in devices
        ],
        "versions": versions,
        "repetitions": repetitions,
    }


def selected_devices(names: list[str] | None) -> list[gk.Device]:
    """Return the named devices; without names the CPU and every GPU that is not a software one."""
    if names == ["all"]:
        return list(gk.devices())
    if names:
        return [gk.get_device(name) for name in names]
    return [device for device in gk.devices() if device.kind != "software"]


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="benches/run.py", description="Time gpukern beside its peers.")
    option = parser.add_argument
    option("--cases", nargs="+", metavar="PART", help="cases whose name has one of these parts, or matches it")
    option("--engines", nargs="+", metavar="NAME", help="peers to run (default: all that are installed)")
    option("--devices", nargs="+", metavar="NAME", help="gpukern's devices, or all (default: no software GPU)")
    option("--repeat", type=int, default=15, metavar="N", help="samples of each engine (default: %(default)s)")
    option("--json-dir", type=Path, default=HERE / "results", help="where the results go (default: benches/results)")
    option("--quick", action="store_true", help="three samples, and nothing written: to see that it works")
    option("--large", action="store_true", help="also the cases that need several GB")
    option("--list", action="store_true", help="print the names of the cases")
    return parser.parse_args()


def main() -> int:
    """Run what the command line asks for."""
    options = parse()
    cases = [
        case
        for case in CASES
        if (options.large or not case.large)
        and (not options.cases or any(part in case.name or fnmatch(case.name, part) for part in options.cases))
    ]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    devices = selected_devices(options.devices)
    chosen = [
        engine
        for engine in engines(devices)
        if not options.engines or engine.name.startswith("gpukern") or engine.name in options.engines
    ]
    repetitions = 3 if options.quick else options.repeat
    report = header(devices, chosen, repetitions)
    print(f"{report['machine']['cpu']}, {CORES} cores; " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()))
    print(_COLUMNS.format("case", "engine", "call", "", "kernel", "", "ratio", "kernel"))
    report["results"] = []
    for case in cases:
        for place in case.places:
            runs = run_case(case, [engine for engine in chosen if engine.place == place], repetitions)
            if runs:
                print_case(case, runs)
                report["results"].append(record(case, place, runs))
    if not options.quick:
        options.json_dir.mkdir(parents=True, exist_ok=True)
        path = options.json_dir / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(f"\nwritten to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
