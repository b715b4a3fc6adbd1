"""The engine under load and under failure: long runs, order, threads, fork, Ctrl-C, a lost device, full memory."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import gpukern as gk
from arrays import assert_same
from processes import INTERRUPTIBLE, clean_environment, run_script

STATM = Path("/proc/self/statm")


def resident_bytes():
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Order


def test_a_long_chain_is_recorded_and_right(device):
    """Longer than any batch that the engine records before it submits."""
    x = gk.zeros(100, device=device)
    for _ in range(3000):
        x = x + 1
    assert_same(x, np.full(100, 3000, np.float32))


def test_results_do_not_depend_on_when_they_are_read(device):
    x = np.arange(1000, dtype=np.float32)

    def steps(wait):
        tensor = gk.asarray(x, device=device)
        for i in range(50):
            tensor = gk.silu(tensor - i) * 2
            wait(tensor)
        return tensor.numpy()

    at_once = steps(lambda tensor: None)
    assert_same(steps(lambda tensor: tensor.numpy()), at_once)
    assert_same(steps(lambda tensor: device.synchronize()), at_once)
    assert_same(steps(lambda tensor: gk.synchronize(device)), at_once)


def test_memory_freed_before_its_work_has_run(device):
    """A freed buffer is used again at once, uploads into it included, and no recorded result may notice."""
    results = []
    for i in range(200):
        temporary = gk.asarray(np.full(5000, i, np.float32), device=device, copy=True)
        results.append(temporary + temporary)
        del temporary
        gk.asarray(np.full(5000, -1, np.float32), device=device, copy=True)
    for i, result in enumerate(results):
        assert_same(result, np.full(5000, 2 * i, np.float32))


def test_what_happens_later_does_not_change_what_was_recorded(device):
    source = np.ones(5000, np.float32)
    tensor = gk.asarray(np.ones(5000, np.float32), device=device, copy=True)
    results = []
    for i in range(20):
        results.append(tensor + source)
        source[:] = 2 * i
        tensor[:] = i
    want = [1 + 1] + [(i - 1) + 2 * (i - 1) for i in range(1, 20)]
    assert [result[4999].item() for result in results] == want


def test_an_upload_larger_than_the_staging_memory(plain_device):
    x = np.resize(np.random.default_rng(0).standard_normal(1_000_003, np.float32), 20_000_000)
    tensor = gk.asarray(x, device=plain_device)
    x = x.copy()
    assert_same(tensor.numpy(), x)
    assert_same(tensor[::-1].numpy(), x[::-1])


def test_synchronize(plain_device):
    gk.ones(3, device=plain_device)
    assert plain_device.synchronize() is None
    for device in (plain_device, plain_device.id, None):
        assert gk.synchronize(device) is None


# Memory


@pytest.mark.skipif(not STATM.exists(), reason="reads /proc")
def test_memory_does_not_grow(plain_device):
    """10,000 times upload, three operations, read back."""
    x = np.ones(16_384, np.float32)

    def run(times):
        for _ in range(times):
            tensor = gk.asarray(x, device=plain_device, copy=True)
            result = (gk.silu(tensor + tensor) * tensor).numpy()
        assert result[-1] == pytest.approx(2 / (1 + np.exp(-2)))
        gc.collect()
        return resident_bytes()

    before, hits = run(500), plain_device.memory.hits
    assert run(10_000) - before < 8e6
    assert plain_device.memory.hits - hits >= 10_000


@pytest.mark.parametrize("shape", [(2**38,), (2**20, 2**20), (2**40, 2**40)], ids=["1 TiB", "2^40", "2^80"])
@pytest.mark.parametrize("create", [gk.empty, gk.zeros, gk.ones], ids=lambda create: create.__name__)
def test_more_memory_than_there_is(device, create, shape):
    """Refused at once, because physical memory is asked first."""
    with pytest.raises(gk.OutOfMemoryError, match=create.__name__):
        create(shape, device=device)
    assert gk.add(gk.ones(3, device=device), 1).tolist() == [2, 2, 2]


def test_a_result_larger_than_memory(device):
    row = gk.ones((1, 2**20), device=device)
    with pytest.raises(gk.OutOfMemoryError, match="add"):
        gk.add(row, row.T)
    assert (row + 1)[0, -1].item() == 2


# Threads


def test_eight_threads(device):
    """Each with tensors of its own, and all with one that they share."""
    shared = gk.asarray(np.arange(5000, dtype=np.float32), device=device)

    def work(number):
        for i in range(20):
            x = np.full(5000, number + i, np.float32)
            result = gk.asarray(x, device=device) * 2 + shared
            assert_same(result, x * 2 + np.arange(5000, dtype=np.float32))
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))


def test_eight_threads_open_the_first_device():
    printed = run_script("""
        from concurrent.futures import ThreadPoolExecutor
        def work(number):
            device = gk.devices()[number % len(gk.devices())]
            return (gk.full(1000, number, "float32", device=device) * 2).tolist() == [2 * number] * 1000
        with ThreadPoolExecutor(8) as pool:
            print(list(pool.map(work, range(16))) == [True] * 16)
    """)
    assert printed == "True\n"


# Fork


FORK = """
    import gc, os, sys, warnings
    warnings.simplefilter("ignore")
    x = np.ones(1_000_000, np.float32)
    device = gk.get_device("{device}")
    tensor = gk.asarray(x, device=device)
    pending = tensor + tensor
    assert gk.add(x, x, device="cpu")[-1] == 2

    def child():
        for attempt in (tensor.numpy, lambda: tensor + 1, pending.numpy, lambda: gk.zeros(3, device=device).numpy()):
            try:
                attempt()
            except gk.DeviceError as error:
                print("spawn" in str(error))
        assert gk.add(x, x, device="cpu")[-1] == 2
        assert gk.matmul_vec(np.ones((1000, 1000), np.float32), x[:1000], device="cpu")[-1] == 1000

    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            child()
            tensor = pending = device = None
            gc.collect()
            sys.stdout.flush()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(process, 0)[1] == 0
    assert pending.numpy()[-1] == 2
    print("parent")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_gpu_after_fork(gpu):
    """The child is told to use spawn, its CPU device works, and the parent goes on."""
    assert run_script(FORK.format(device=gpu.id)).split() == ["True"] * 4 + ["parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_cpu_after_fork():
    assert run_script(FORK.format(device="cpu")).split() == ["parent"]


# Ctrl-C


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_control_c_ends_a_long_wait(gpu):
    """The script records work for some 20 seconds, and must be interrupted before half of it is done."""
    script = f"""
        import os, time
        device = gk.get_device("{gpu.id}")
        w, x = gk.zeros((4096, 4096), device=device), gk.zeros(4096, device=device)
        def chain(count):
            y = x
            for _ in range(count):
                y = gk.matmul_vec(w, y)
            return y
        chain(10).numpy()
        start = time.perf_counter()
        chain(50).numpy()
        count = min(int(50 * 20 / (time.perf_counter() - start)), 200_000)
        expected = count / 50 * (time.perf_counter() - start)
        print("waiting", flush=True)
        start = time.perf_counter()
        try:
            chain(count).numpy()
            print("finished", flush=True)
        except KeyboardInterrupt:
            early = time.perf_counter() - start < expected / 2
            print("interrupted", "early" if early else "late", flush=True)
        os._exit(0)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE + textwrap.dedent(script)],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "waiting\n"
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=120)
    assert printed == "interrupted early\n"
    assert errors == ""


# Loss


LOSS = """
    device = gk.get_device("{device}")
    tensor = gk.asarray(np.arange(100_000, dtype=np.float32), device=device)
    kept, pending = (tensor + 1).numpy(), tensor * 2
    device._lose()
"""


def lose(gpu, script):
    return run_script(textwrap.dedent(LOSS.format(device=gpu.id)) + textwrap.dedent(script))


def test_an_array_outlives_the_loss_of_its_device(gpu):
    lose(
        gpu,
        """
        del tensor, pending
        assert (kept == np.arange(1, 100_001)).all()
        kept[:] = 7
        assert kept.sum() == 700_000
        """,
    )


def test_a_lost_device_says_so(gpu):
    printed = lose(
        gpu,
        """
        attempts = [pending.numpy, tensor.numpy, lambda: (tensor + 1).numpy(), lambda: tensor.to("cpu")]
        for attempt in attempts:
            try:
                attempt()
            except gk.DeviceLostError as error:
                print(device.id in str(error))
        """,
    )
    assert printed.split() == ["True"] * 4


def test_a_fresh_device_works_after_a_loss(gpu):
    lose(
        gpu,
        """
        fresh = gk.get_device("{device}")
        for _ in range(2):
            assert (gk.asarray(kept, device=fresh) * 2)[-1].item() == 200_000
            assert gk.matmul_vec(np.eye(3, dtype=np.float32), np.float32([1, 2, 3]), device=fresh).tolist() == [1, 2, 3]
            fresh._lose()
            fresh = gk.get_device("{device}")
        assert gk.add(kept, kept, device="cpu")[-1] == 200_000
        """.replace("{device}", gpu.id),
    )


# Pipelines on disk


def test_a_damaged_cache_is_ignored(gpu, tmp_path):
    """Nothing of it reaches the user; without a cache, and without a place for one, things work as well."""
    script = f"assert (gk.ones(3, device='{gpu.id}') + 1).tolist() == [2, 2, 2]"
    run_script(script, GPUKERN_CACHE_DIR=str(tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    if gpu.backend == "vulkan":
        assert files
    for damage in (b"", b"damaged", os.urandom(10_000)):
        for path in files:
            path.write_bytes(damage)
        run_script(script, GPUKERN_CACHE_DIR=str(tmp_path))
    run_script(script, GPUKERN_CACHE_DIR="/dev/null/nowhere")


# Compiled kernels on disk

COMPILED = """
    for dtype in ("float32", "float16"):
        x = gk.asarray(np.float32([1, 2, 3]), dtype, device={device!r})
        assert (x * 2 + x).numpy().tolist() == [3, 6, 9]
    print("right")
"""


def test_compiled_kernels_are_kept_on_disk(gpu, tmp_path):
    """Where the driver gives them out; a damaged file is ignored and replaced."""
    script, folder = COMPILED.format(device=gpu.id), tmp_path / "cache"
    assert run_script(script, GPUKERN_CACHE_DIR=str(folder)) == "right\n"
    files = list(folder.iterdir()) if folder.exists() else []
    assert len(files) == ("pipeline-cache" in gpu.features)
    for file in files:
        whole = file.read_bytes()
        for damaged in (b"", whole[:20], whole[:-1] + bytes([whole[-1] ^ 1]), b"nonsense" * 100):
            file.write_bytes(damaged)
            assert run_script(script, GPUKERN_CACHE_DIR=str(folder)) == "right\n"
            assert file.read_bytes() not in (b"", damaged)
    assert len(list(folder.iterdir()) if folder.exists() else []) == len(files)


def test_a_folder_that_cannot_be_written_is_no_trouble(gpu, tmp_path):
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    script = COMPILED.format(device=gpu.id)
    assert run_script(script, GPUKERN_CACHE_DIR=str(blocked / "below")) == "right\n"
    assert run_script(script, GPUKERN_CACHE_DIR="off") == "right\n"


# Signal handlers that compute

HANDLER = """
    import signal
    device = gk.get_device({device!r})
    x, small = gk.ones(1 << 22, device=device), gk.ones(3, device=device)
    answers = []

    def handler(number, frame):
        try:
            answers.append(small.numpy().tolist() == [1, 1, 1])
        except gk.DeviceError as error:
            answers.append("signal handler" in str(error))

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    while len(answers) < 10:
        y = x
        for _ in range(30):
            y = gk.silu(y)
        y.numpy()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(all(answers), small.numpy().tolist())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no alarm signal")
def test_a_signal_handler_during_a_wait(gpu):
    """It gets its answer or is told why not; nothing hangs."""
    assert run_script(HANDLER.format(device=gpu.id)) == "True [1.0, 1.0, 1.0]\n"
