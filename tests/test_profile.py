"""Profiles: what is measured, on which devices, and what it is shown as."""

import gc
import json
import os
import re
import sys
import threading
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

import gpukern as gk
from processes import run_script

# How far the clocks of GPU and host may seem apart on a machine that has much else to do.
CLOCKS = 0.05


@pytest.fixture
def timed(device):
    """Every device variant that can time kernels. One that cannot says so."""
    if device.kind != "cpu" and "timestamps" not in device.features:
        with pytest.raises(gk.DeviceError, match=f"profile: {re.escape(device.id)} cannot time kernels"):
            gk.profile(device).__enter__()
        pytest.skip(f"{device.id} has no timestamps, and says so")
    return device


def measure(device, work):
    with gk.profile(device) as p:
        work()
    return p


def of_name(p, name):
    """The bytes and operations of all kernels of this name together."""
    kernels = [kernel for kernel in p.kernels if kernel.name == name]
    assert kernels, [kernel.name for kernel in p.kernels]
    return sum(kernel.bytes for kernel in kernels), sum(kernel.operations or 0 for kernel in kernels)


# What a kernel moves and computes


@pytest.mark.parametrize("n", [1, 1000, 1001, 300_001])
def test_an_addition(timed, n):
    x, y = gk.ones(n, device=timed), gk.ones(n, device=timed)
    p = measure(timed, lambda: x + y)
    assert of_name(p, "add") == (12 * n, n)
    assert {(kernel.name, kernel.device) for kernel in p.kernels} == {("add", timed.id)}
    assert all(kernel.seconds >= 0 and kernel.start >= 0 for kernel in p.kernels)


def test_operands_count_once_and_by_what_is_used(timed):
    """Elements that are repeated are read once, and those between the elements of a slice are not read."""
    row, column = gk.ones((1, 100), device=timed), gk.ones((60, 1), device=timed)
    assert of_name(measure(timed, lambda: row + column), "add")[0] == 4 * (100 + 60 + 6000)
    x = gk.ones(4000, device=timed)
    assert of_name(measure(timed, lambda: x[::4] * 2), "multiply")[0] == 4 * (1000 + 1000)
    small = gk.ones(4000, "int8", device=timed)
    assert of_name(measure(timed, lambda: small + small), "add")[0] == 3 * 4000
    out = gk.zeros(1000, device=timed)
    assert of_name(measure(timed, lambda: gk.add(out, 1, out=out)), "add")[0] == 2 * 4000


def test_products(timed):
    a, b = gk.ones((30, 40), device=timed), gk.ones((40, 50), device=timed)
    assert of_name(measure(timed, lambda: a @ b), "matmul") == (4 * (1200 + 2000 + 1500), 2 * 30 * 40 * 50)
    w, x = gk.ones((100, 120), device=timed), gk.ones(120, device=timed)
    assert of_name(measure(timed, lambda: gk.matmul_vec(w, x)), "matmul_vec") == (
        4 * (12_000 + 120 + 100),
        2 * 12_000,
    )


@pytest.mark.parametrize("causal", [False, True])
def test_attention_counts_the_keys_that_are_seen(timed, causal):
    heads, queries, d = 2, 33, 8
    q = gk.ones((heads, queries, d), device=timed)
    p = measure(timed, lambda: gk.attention(q, q, q, causal=causal))
    pairs = sum(i + 1 for i in range(queries)) if causal else queries**2
    assert of_name(p, "attention")[1] == 2 * 2 * heads * pairs * d


@pytest.mark.parametrize("shape", [(50, 64), (1, 300_000)], ids=["short rows", "a long row"])
def test_rows_count_their_arithmetic_once(timed, shape):
    """Also where a long row takes several launches."""
    x = gk.ones(shape, device=timed)
    size = shape[0] * shape[1]
    total, operations = of_name(measure(timed, lambda: gk.sum(x, axis=-1)), "sum")
    assert operations == size
    assert 4 * (size + shape[0]) <= total < 4.1 * (size + shape[0])
    moved, _ = of_name(measure(timed, lambda: gk.softmax(x)), "softmax")
    assert moved >= 8 * size
    if shape[0] > 1:
        assert moved < 8.1 * size


def test_only_what_is_gathered_is_read(timed):
    table = gk.ones((1000, 16), device=timed)
    indices = gk.asarray([1, 5, 7], device=timed)
    assert of_name(measure(timed, lambda: gk.take(table, indices, axis=0)), "take")[0] == 4 * (48 + 3 + 48)


def test_what_has_no_arithmetic_says_so(timed):
    x = gk.ones(1000, device=timed)
    p = measure(timed, lambda: (gk.copy(x), gk.astype(x, "int32"), gk.zeros(1000, device=timed)))
    assert [(kernel.name, kernel.bytes, kernel.operations) for kernel in p.kernels] == [
        ("copy", 8000, None),
        ("astype", 8000, None),
        ("zeros", 4000, None),
    ]


def test_operators_and_assignments(timed):
    x = gk.ones(1000, device=timed)

    def work():
        y = -abs(x)
        y[:] = 3
        y[:500] = x[500:]
        return y + y

    assert [kernel.name for kernel in measure(timed, work).kernels] == [
        "abs",
        "negative",
        "assignment",
        "assignment",
        "add",
    ]


def test_an_operation_is_one_on_the_cpu():
    """Whatever it consists of."""
    x = gk.ones((40, 30), device="cpu").T
    p = measure("cpu", lambda: (gk.concat([x, x]), gk.softmax(x), gk.layer_norm(x)))
    assert [kernel.name for kernel in p.kernels] == ["concat", "softmax", "layer_norm"]


def test_more_kernels_than_are_read_at_a_time(timed):
    x = gk.ones(10, device=timed)

    def work():
        y = x
        for _ in range(3000):
            y = y + 1

    p = measure(timed, work)
    assert len(p.kernels) == 3000
    starts = [kernel.start for kernel in p.kernels]
    assert starts == sorted(starts)


# Kernels of users

SCALE = """
    struct Scale { by: f32 }
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<uniform> scale: Scale;
    @compute @workgroup_size(16) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&y)) { y[id.x] = scale.by * x[id.x]; }
    }
"""
ACCUMULATE = SCALE.replace("y[id.x] =", "y[id.x] +=")


@pytest.mark.parametrize(("source", "moved"), [(SCALE, 2), (ACCUMULATE, 3)], ids=["written", "read and written"])
def test_a_kernel_of_a_user(any_device, source, moved):
    """It has the name that was given, and moves what it reads and writes; its arithmetic nobody knows."""
    if "timestamps" not in any_device.features:
        pytest.skip(f"{any_device.id} has no timestamps")
    kernel = gk.Kernel(source, name="mine, at run time")
    x, y = gk.ones(1000, device=any_device), gk.zeros(1000, device=any_device)
    with gk.profile(any_device) as p:
        kernel(x=x, y=y, scale={"by": 3.0}, threads=1000, inplace=True)
    assert of_name(p, "mine, at run time") == (moved * 4000, 0)
    assert [time.operations for time in p.kernels if time.name == "mine, at run time"] == [None]
    assert y[-1].item() == 3


def test_values_of_a_kernel_are_kept_while_times_are_read(any_device):
    """Reading the times of many kernels submits, and what is recorded then still gets its own values."""
    kernel = gk.Kernel(ACCUMULATE)
    x, y = gk.ones(4, device=any_device), gk.zeros(4, device=any_device)
    if "timestamps" not in any_device.features:
        pytest.skip(f"{any_device.id} has no timestamps")
    with gk.profile(any_device) as p:
        for i in range(3000):
            kernel(x=x, y=y, scale={"by": float(i % 7)}, threads=4, inplace=True)
    assert y.tolist() == [sum(i % 7 for i in range(3000))] * 4
    assert len(p.kernels) == 3000


# When


def test_clocks_agree(timed):
    x = gk.ones(1000, device=timed)
    (x + 1).numpy()
    gk.silu(x).numpy()
    with gk.profile(timed) as p:
        begun = time.perf_counter()
        (x + 1).numpy()
        between = time.perf_counter() - begun
        time.sleep(4 * CLOCKS)
        again = time.perf_counter() - begun
        gk.silu(x).numpy()
        end = time.perf_counter() - begun
    first, second = (kernel for kernel in p.kernels if kernel.name in ("add", "silu"))
    assert 0 <= first.start <= first.start + first.seconds <= between + CLOCKS
    assert again - CLOCKS <= second.start <= second.start + second.seconds <= end + CLOCKS


# Which devices


def test_every_device_is_measured(gpu):
    on_gpu, on_cpu = gk.ones(1000, device=gpu), gk.ones(1000, device="cpu")
    with gk.profile() as p:
        on_gpu + 1
        on_cpu * 2
        gk.silu(np.ones(1000, np.float32), device=gpu)
    if "timestamps" in gpu.features:
        assert {(kernel.name, kernel.device) for kernel in p.kernels} == {
            ("add", gpu.id),
            ("multiply", "cpu"),
            ("silu", gpu.id),
        }
        assert gpu.id not in p.left_out
    else:
        assert gpu.id in p.left_out
    assert p.device is None


def test_a_gpu_that_is_opened_inside(gpu):
    printed = run_script(f"""
        with gk.profile() as p:
            (gk.ones(1000, device="{gpu.id}") + 1).numpy()
        print([kernel.name for kernel in p.kernels], list(p.left_out))
    """)
    assert printed.strip() == ("['ones', 'add'] []" if "timestamps" in gpu.features else f"[] ['{gpu.id}']")


def test_one_device_alone(gpu):
    x = gk.ones(1000, device=gpu)
    with gk.profile("cpu") as p:
        x + 1
        gk.ones(1000, device="cpu")
    assert [kernel.device for kernel in p.kernels] == ["cpu"]
    assert p.device == gk.get_device("cpu")


def test_a_variant_of_the_cpu_is_a_device_of_its_own():
    slow = gk.get_device("cpu").with_caps("simd=scalar,threads=1")
    with gk.profile(slow) as p:
        gk.ones(1000, device=slow)
        gk.zeros(1000, device="cpu")
    assert [(kernel.name, kernel.device) for kernel in p.kernels] == [("ones", slow.id)]


def test_a_device_without_timestamps(gpu):
    poor = gpu.with_caps("-timestamps")
    x = gk.ones(1000, device=poor)
    with pytest.raises(gk.DeviceError, match=rf"profile: {re.escape(poor.id)} cannot time kernels"), gk.profile(poor):
        pass
    with gk.profile() as p:
        x + 1
    assert "timestamps" in p.left_out[poor.id]
    assert poor.id in p.table()
    assert poor.id in p._repr_html_()
    assert not any(kernel.device == poor.id for kernel in p.kernels)


def test_one_profile_of_a_device_at_a_time(timed):
    x = gk.ones(1000, device=timed)
    with gk.profile(timed) as outer:
        for again in (gk.profile(timed), gk.profile(), outer):
            with pytest.raises(gk.DeviceError, match=f"profile: {re.escape(timed.id)} is being profiled already"):
                again.__enter__()
        x + 1
    assert [kernel.name for kernel in outer.kernels] == ["add"]
    with gk.profile() as whole:
        for device in (timed, None):
            with pytest.raises(gk.DeviceError, match="is being profiled already"):
                gk.profile(device).__enter__()
        x * 2
    assert ("multiply", timed.id) in {(kernel.name, kernel.device) for kernel in whole.kernels}


def test_what_runs_before_and_after_is_not_measured(timed):
    x = gk.ones(1000, device=timed)
    gk.silu(x)
    with gk.profile(timed) as p:
        x + 1
    gk.silu(x).numpy()
    assert [kernel.name for kernel in p.kernels] == ["add"]
    assert p.total == sum(kernel.seconds for kernel in p.kernels)
    assert 0 < p.total < 60


def test_profiles_of_two_devices(gpu):
    if "timestamps" not in gpu.features:
        pytest.skip(f"{gpu.id} has no timestamps")
    x, y = gk.ones(1000, device=gpu), gk.ones(1000, device="cpu")
    with gk.profile(gpu) as p, gk.profile("cpu") as q:
        x + 1
        y * 2
    assert [kernel.name for kernel in p.kernels] == ["add"]
    assert [kernel.name for kernel in q.kernels] == ["multiply"]


# Blocks that end in other ways


def test_a_profile_is_used_again(timed):
    x = gk.ones(1000, device=timed)
    p = gk.profile(timed)
    for name in ("add", "multiply"):
        with p:
            getattr(gk, name)(x, 2)
        assert [kernel.name for kernel in p.kernels] == [name]


def test_an_exception_inside(timed):
    x = gk.ones(1000, device=timed)
    p = gk.profile(timed)

    def fail():
        with p:
            x + 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [kernel.name for kernel in p.kernels] == ["add"]
    with gk.profile(timed):
        pass


def test_an_operation_that_fails_is_not_measured():
    with gk.profile("cpu") as p:
        with pytest.raises(gk.ShapeError):
            gk.add(gk.ones(3, device="cpu"), gk.ones(4, device="cpu"))
        gk.negative(gk.ones(3, device="cpu"))
    assert [kernel.name for kernel in p.kernels] == ["ones", "ones", "ones", "negative"]


@pytest.mark.parametrize("argument", ["", "device"])
def test_a_device_is_lost_inside(gpu, argument):
    if "timestamps" not in gpu.features:
        pytest.skip(f"{gpu.id} has no timestamps")
    printed = run_script(f"""
        device = gk.get_device("{gpu.id}")
        x = gk.ones(1000, device=device)
        with gk.profile({argument}) as p:
            for _ in range(1500):
                y = x + 1
            device._lose()
            z = gk.ones(1000, device=device) * 2
        print(len([kernel for kernel in p.kernels if kernel.name == "add"]))
        print(["multiply" in kernel.name for kernel in p.kernels][-1], "lost" in p.left_out[device.id])
        assert "lost" in p.table()
        with gk.profile({argument}) as p:
            z + 1
        print([kernel.name for kernel in p.kernels], p.left_out)
    """)
    # Times are read for 1024 kernels together; those of the others went with the device.
    assert printed.splitlines() == ["1024", "True True", "['add'] {}"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_inside(plain_device):
    printed = run_script(f"""
        import os, warnings
        warnings.simplefilter("ignore")
        x = gk.ones(1000, device="{plain_device.id}")
        with gk.profile() as p:
            x + 1
            process = os.fork()
        if process == 0:
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), len(p.kernels) + len(p.left_out))
    """)
    assert printed == "7 1\n"


def test_threads_inside(timed):
    x = gk.ones(1000, device=timed)

    def work():
        for _ in range(50):
            gk.silu(x).numpy()

    with gk.profile(timed) as p:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(kernel.name == "silu" for kernel in p.kernels) == 200


# What it is shown as


@pytest.fixture
def example(timed):
    """A profile with several calls of several kernels, and one whose bytes are not known, as a user's may be."""
    x = gk.ones((64, 64), device=timed)
    with gk.profile(timed) as p:
        for _ in range(3):
            gk.silu(x @ x)
        gk.copy(x)
    p.kernels.append(gk.KernelTime("<mine>", timed.id, 1.5, 0.25, None, None))
    return p


SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def cells(line):
    """What a line of a table says, with times in seconds."""
    read = [part.strip() for part in re.split(r"  +", line)]
    shown = [re.fullmatch(r"([\d.]+) (s|ms|µs|ns)", cell) for cell in read]
    return [float(time[1]) * SECONDS[time[2]] if time else cell for time, cell in zip(shown, read, strict=True)]


def test_the_table(example):
    lines = example.table().splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1
    header, *rows, total = map(cells, lines)
    assert header == ["kernel", "device", "calls", "total", "share", "mean", "median", "min", "GB/s", "GFLOP/s"]
    totals = [row[3] for row in rows]
    assert totals == sorted(totals, reverse=True)
    assert {row[0] for row in rows} == {kernel.name for kernel in example.kernels}
    for name, _, calls, seconds, share, mean, median, least, bandwidth, rate in rows:
        kernels = [kernel for kernel in example.kernels if kernel.name == name]
        times = [kernel.seconds for kernel in kernels]
        assert int(calls) == len(kernels)
        shown = np.array([seconds, mean, median, least])
        assert shown == pytest.approx([sum(times), np.mean(times), np.median(times), min(times)], rel=1e-3, abs=1e-9)
        assert float(share.rstrip("%")) == pytest.approx(100 * sum(times) / example.total, abs=0.06)
        for cell, counts in ((bandwidth, [k.bytes for k in kernels]), (rate, [k.operations for k in kernels])):
            if counts[0] is None:
                assert cell == "-"
            else:
                assert float(cell) == pytest.approx(sum(counts) / sum(times) / 1e9, rel=0.01)
    assert total[0] == "total"
    assert int(total[1]) == len(example.kernels)
    assert total[2] == pytest.approx(example.total, rel=1e-3)
    assert total[3] == "100.0%"


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.found = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.found.append(data)


def test_a_notebook_shows_the_table(example):
    parsed = Cells(example._repr_html_())
    assert not parsed.open
    words = [word for word in re.split(r"  +|\n", example.table()) if word]
    assert parsed.found == words
    assert "<mine>" in parsed.found


def test_the_trace(example, tmp_path):
    path = tmp_path / "trace.json"
    example.chrome_trace(path)
    trace = json.loads(path.read_text("utf-8"))
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert {event["ph"] for event in trace["traceEvents"]} == {"X", "M"}
    assert len(events) == len(example.kernels)
    names = {
        (event["name"], event["pid"]): event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"
    }
    (device,) = {kernel.device for kernel in example.kernels}
    for event, kernel in zip(events, example.kernels, strict=True):
        assert event["name"] == kernel.name
        assert event["ts"] == pytest.approx(kernel.start * 1e6, abs=2e-3)
        assert event["dur"] == pytest.approx(kernel.seconds * 1e6, abs=2e-3)
        assert event["args"].get("bytes") == kernel.bytes
        if kernel.bytes and kernel.seconds:
            assert event["args"]["GB/s"] == pytest.approx(kernel.bytes / kernel.seconds / 1e9, abs=1e-3)
        assert names["process_name", event["pid"]].startswith(device)
    assert_rows_nest(events)


def assert_rows_nest(events):
    """Events of one row do not overlap: importers refuse such."""
    rows = {}
    for event in sorted(events, key=lambda event: event["ts"]):
        row = event["pid"], event["tid"]
        assert event["dur"] >= 0
        assert event["ts"] >= rows.get(row, 0) - 1e-6
        rows[row] = event["ts"] + event["dur"]


def test_what_overlaps_has_rows_of_its_own(tmp_path):
    p = measure("cpu", lambda: None)
    starts = [(0.0, 0.5), (0.25, 0.5), (0.5, 0.5), (0.6, 0.01), (0.75, 0.5)]
    p.kernels = [gk.KernelTime("add", "cpu", start, seconds, 1, 1) for start, seconds in starts]
    p.chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text("utf-8"))["traceEvents"]
    events = [event for event in events if event["ph"] == "X"]
    assert_rows_nest(events)
    assert [event["tid"] for event in events] == [1, 2, 1, 3, 2]


def size_of_png(path):
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[12:16] == b"IHDR"
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


@pytest.fixture
def plain_example(plain_device):
    if plain_device.kind != "cpu" and "timestamps" not in plain_device.features:
        pytest.skip(f"{plain_device.id} has no timestamps")
    x = gk.ones((64, 64), device=plain_device)
    with gk.profile(plain_device) as p:
        gk.silu(x @ x)
        gk.copy(x)
    p.kernels.append(gk.KernelTime("mine", plain_device.id, 1.5, 0.25, None, None))
    return p


def test_the_picture(plain_example, tmp_path):
    path = tmp_path / "roofs.png"
    plain_example.plot(path)
    width, height = size_of_png(path)
    assert width > height > 300
    assert "matplotlib.pyplot" not in sys.modules


def test_the_picture_names_the_kernels(plain_example, tmp_path, monkeypatch):
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")
    path = tmp_path / "roofs.svg"
    plain_example.plot(str(path))
    texts = ["".join(text.itertext()) for text in ET.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("silu") == 2, "a point and a bar"
    assert texts.count("copy") == 2, "a bar, and the roof beside the bars"
    assert any(re.match(r"copy: [\d.e+]+ GB/s", text) for text in texts)
    assert any(re.match(r"matmul, float32: [\d.e+]+ GFLOP/s", text) for text in texts)
    assert any("not known" in text and "mine" in text for text in texts)


def test_a_picture_of_no_known_format(tmp_path):
    p = measure("cpu", lambda: None)
    for name in ("roofs.xyz", "roofs"):
        with pytest.raises(gk.ArgumentError, match=rf"profile\.plot: path='.*{name}' must end .*png"):
            p.plot(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install gpukern\[plot\]"):
        measure("cpu", lambda: None).plot(tmp_path / "roofs.png")


def test_nothing_ran(timed, tmp_path):
    p = measure(timed, lambda: None)
    assert (p.kernels, p.total) == ([], 0)
    assert p.table() == "no kernel ran"
    assert "no kernel ran" in p._repr_html_()
    p.chrome_trace(tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text("utf-8"))["traceEvents"] == []
    p.plot(tmp_path / "roofs.png")
    assert size_of_png(tmp_path / "roofs.png")


def test_before_the_end(tmp_path):
    p = gk.profile("cpu")

    def check(state):
        assert p.kernels == []
        assert p.total == 0
        assert state in p.table()
        assert state in p._repr_html_()
        assert state in repr(p)
        for method in ("chrome_trace", "plot"):
            with pytest.raises(gk.ArgumentError, match=rf"profile\.{method}: the block {state}"):
                getattr(p, method)(tmp_path / "file.png")

    check("has not begun")
    with p:
        gk.ones(3, device="cpu")
        check("has not ended")
    assert [kernel.name for kernel in p.kernels] == ["ones"]
    assert repr(p).startswith("<gpukern.profile of cpu: 1 kernels, ")


def test_a_profile_that_is_forgotten(timed):
    """It ends with its object."""
    forgotten = gk.profile(timed)
    forgotten.__enter__()
    del forgotten
    gc.collect()
    with gk.profile(timed) as p:
        gk.silu(gk.ones(10, device=timed))
    assert [kernel.name for kernel in p.kernels].count("silu") == 1
