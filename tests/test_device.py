"""Which devices there are, how one is chosen, what it says of itself, and how it is made to look smaller."""

import asyncio
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gpukern as gk
from oracles import OPERATIONS
from processes import run_python, run_script

DEVICES = gk.devices()
SOFTWARE = [device for device in DEVICES if device.kind == "software"]
HARDWARE = [device for device in DEVICES if device.kind in ("discrete", "integrated", "virtual")]
NO_DRIVER = {"VK_DRIVER_FILES": "/nowhere.json", "VK_ICD_FILENAMES": "/nowhere.json"}
ABSENT = ("cuda", "metal:7", "vulkan:99", "no such adapter", "")

each_device = pytest.mark.parametrize("listed", DEVICES, ids=lambda device: device.id)


# What there is


def test_the_cpu_is_always_there():
    assert isinstance(DEVICES, tuple)
    assert [device.id for device in DEVICES].count("cpu") == 1
    assert len({device.id for device in DEVICES}) == len(DEVICES)
    assert gk.is_available("cpu")


@each_device
def test_a_device_describes_itself(listed):
    assert isinstance(listed, gk.Device)
    assert listed.name
    assert isinstance(listed.driver, str)
    assert listed.backend in {"cpu", "vulkan", "metal", "dx12", "gl"}
    assert listed.kind in {"cpu", "discrete", "integrated", "virtual", "software", "other"}
    assert re.fullmatch(r"cpu|(vulkan|metal|dx12|gl):\d+", listed.id)
    assert (listed.backend == "cpu") == (listed.kind == "cpu") == (listed.id == "cpu")
    assert isinstance(listed.features, frozenset)
    assert all(isinstance(word, str) for word in listed.features)
    assert all(isinstance(name, str) and isinstance(limit, int) for name, limit in listed.limits.items())
    assert listed.id in repr(listed)
    assert listed.name in repr(listed)


@each_device
def test_a_device_is_found_by_each_of_its_names(listed):
    """The CPU is "cpu" alone; an adapter is also found by its name, whole or in part, in any case."""
    if listed.backend != "cpu":
        for name in (listed.name, listed.name.upper(), listed.name[: len(listed.name) // 2].lower()):
            assert name.lower() in gk.get_device(name).name.lower()
    assert gk.get_device(listed.id) == listed
    assert hash(gk.get_device(listed.id)) == hash(listed)
    assert gk.is_available(listed.id)


def test_devices_differ():
    assert len(set(DEVICES)) == len(DEVICES)
    assert gk.get_device("cpu") != "cpu"
    assert gk.get_device("cpu").with_caps("simd=scalar,threads=1") != gk.get_device("cpu")


@pytest.mark.parametrize("backend", ["vulkan", "metal", "dx12", "gl"])
def test_a_backend_is_a_name(backend):
    # A backend that only repeats another one's cards is not listed, but can be asked for.
    there = gk.is_available(backend)
    assert there or not any(device.backend == backend for device in DEVICES)
    if there:
        assert gk.get_device(backend).backend == backend
    else:
        with pytest.raises(gk.DeviceNotFoundError, match=backend):
            gk.get_device(backend)


def test_gpu_means_no_software():
    assert gk.is_available("gpu") == bool(HARDWARE)
    if HARDWARE:
        assert gk.get_device("gpu").kind in ("discrete", "integrated", "virtual")
    else:
        with pytest.raises(gk.DeviceNotFoundError, match="gpu"):
            gk.get_device("gpu")


@pytest.mark.parametrize("name", ABSENT)
def test_a_device_that_is_not_there(name):
    """The message lists what there is."""
    assert not gk.is_available(name)
    with pytest.raises(gk.DeviceNotFoundError) as caught:
        gk.get_device(name)
    assert name in str(caught.value)
    for device in DEVICES:
        assert device.id in str(caught.value)
        assert device.name in str(caught.value) or device.backend == "cpu"


@pytest.mark.parametrize("name", [3, 1.5, b"cpu", ["cpu"]], ids=repr)
def test_a_name_of_another_kind(name):
    with pytest.raises((gk.Error, TypeError)):
        gk.get_device(name)
    with pytest.raises((gk.Error, TypeError)):
        gk.zeros(3, device=name)


# Choosing


def test_auto_never_takes_a_software_gpu():
    best = gk.default_device()
    assert best == gk.get_device("auto")
    assert best.kind == (gk.get_device("gpu").kind if HARDWARE else "cpu")


def test_explain_names_every_device():
    text = gk.explain()
    for device in DEVICES:
        assert device.name in text
    assert gk.default_device().name in text


@pytest.mark.skipif(not SOFTWARE, reason="there is no software adapter")
def test_explain_says_why_a_software_adapter_was_passed_over():
    for device in SOFTWARE:
        lines = [line for line in gk.explain().splitlines() if device.name in line]
        assert any("software" in line.lower() for line in lines)


def test_explain_of_an_operation():
    """Where NumPy arrays of these shapes would be computed, and how long the CPU and a GPU are thought to take."""
    text = gk.explain("softmax", (4096, 4096))
    first, *estimates = text.splitlines()
    assert "softmax" in first
    assert "(4096, 4096)" in first
    assert any(device.id in first for device in DEVICES)
    timed = [line for line in estimates if re.search(r"\d ?(ns|µs|us|ms|s)\b", line)]
    assert any("cpu" in line for line in timed), text
    assert any("GPU" in line or re.search(r"(vulkan|metal|dx12|gl):\d", line) for line in timed), text
    assert gk.explain("softmax", (4, 4)) != text
    assert "(4096,)" in gk.explain("matmul_vec", (4096, 4096), (4096,))


def test_explain_of_an_operation_says_who_asked(plain_device):
    with gk.use_device(plain_device):
        assert plain_device.id in gk.explain("add", (3, 4), (4,)).splitlines()[0]


def test_every_operation_can_be_explained():
    for name, operation in OPERATIONS.items():
        shapes = [item if isinstance(item, tuple) else item.shape for item in operation.operands]
        assert name in gk.explain(name, *shapes)


@pytest.mark.parametrize("name", ["sotfmax", "", "asarray", "explain", "Tensor"])
def test_explain_of_no_operation(name):
    with pytest.raises(gk.ArgumentError, match="explain") as caught:
        gk.explain(name, (3, 4))
    for word in (name, "softmax", "matmul_vec", "add"):
        assert word in str(caught.value)


@pytest.mark.parametrize(("name", "shapes"), [("softmax", 0), ("matmul_vec", 1), ("where", 2), ("rope", 2)])
def test_explain_without_an_operand(name, shapes):
    with pytest.raises(gk.ArgumentError, match=f"explain: {name}.*{shapes}"):
        gk.explain(name, *[(3, 4)] * shapes)


def test_explain_knows_the_public_names():
    with pytest.raises(gk.ArgumentError) as caught:
        gk.explain("gelu_tanh", (3, 4))
    names = str(caught.value).partition("there are ")[2].split(", ")
    assert all(callable(getattr(gk, name)) for name in names)
    assert "rope_tables" in gk.explain("rope_tables", (4096,))


@pytest.mark.parametrize("shape", [(-1, 4), "text", None, 2.5, ((2, 3), "x")], ids=repr)
def test_explain_of_no_shape(shape):
    with pytest.raises((gk.ShapeError, gk.ArgumentError, TypeError)):
        gk.explain("softmax", shape)


def test_the_environment_chooses(plain_device):
    printed = run_script(
        """
        print(gk.default_device().id, gk.zeros(3).device.id, gk.asarray([1.0]).device.id)
        assert gk.add(np.float32([1, 2]), np.float32(3)).tolist() == [4, 5]
        with gk.use_device("cpu"):
            print(gk.default_device().id)
        print(gk.explain())
        """,
        GPUKERN_DEVICE=plain_device.id,
    )
    first, second, *explanation = printed.splitlines()
    assert first.split() == [plain_device.id] * 3
    assert second == "cpu"
    assert any("GPUKERN_DEVICE" in line for line in explanation)


def test_the_environment_names_a_device_that_is_not_there():
    """Import does not fail, and neither does naming another device; it never falls back."""
    printed = run_script(
        """
        for attempt in (gk.default_device, lambda: gk.zeros(3), lambda: gk.add(np.float32([1]), np.float32([2]))):
            try:
                attempt()
            except gk.DeviceNotFoundError as error:
                print(str(error).replace("\\n", " "))
        assert gk.zeros(3, device="cpu").tolist() == [0, 0, 0]
        gk.explain()
        """,
        GPUKERN_DEVICE="cuda",
    )
    messages = printed.splitlines()
    assert len(messages) == 3
    for message in messages:
        for word in ("cuda", *(device.id for device in DEVICES)):
            assert word in message


@pytest.mark.parametrize("power", ["low", "high"])
def test_a_power_preference(power):
    kind = run_script("print(gk.default_device().kind)", GPUKERN_POWER=power).strip()
    there = {device.kind for device in HARDWARE} or {"cpu"}
    if {"discrete", "integrated"} <= there:
        assert kind == {"low": "integrated", "high": "discrete"}[power]
    else:
        assert kind in there


def test_use_device(plain_device):
    before = gk.default_device()
    with gk.use_device(plain_device):
        assert gk.default_device() == plain_device
        assert gk.zeros(3).device == plain_device
        with gk.use_device("cpu"):
            assert gk.zeros(3).device.id == "cpu"
            assert gk.zeros(3, device=plain_device).device == plain_device
        assert gk.asarray([1, 2]).device == plain_device
    assert gk.default_device() == before


def test_tensors_come_before_use_device(device):
    tensor = gk.ones(3, device=device)
    with gk.use_device("cpu"):
        assert (tensor + tensor).device == device
        assert gk.silu(tensor).device == device


def test_use_device_ends_with_an_error(plain_device):
    before = gk.default_device()
    with pytest.raises(KeyError), gk.use_device(plain_device):
        raise KeyError
    assert gk.default_device() == before


def test_use_device_of_a_device_that_is_not_there():
    before = gk.default_device()
    with pytest.raises(gk.DeviceNotFoundError, match="cuda"), gk.use_device("cuda"):
        pytest.fail("the block ran")
    assert gk.default_device() == before


def test_use_device_is_for_this_thread_alone():
    single = gk.get_device("cpu").with_caps("simd=scalar,threads=1")
    before = gk.default_device()
    with ThreadPoolExecutor(1) as pool, gk.use_device(single):
        assert gk.default_device() == single
        assert pool.submit(gk.default_device).result() == before


def test_use_device_is_for_this_task_alone():
    before = gk.default_device()

    async def with_threads(count):
        device = gk.get_device("cpu").with_caps(f"threads={count}")
        with gk.use_device(device):
            for _ in range(3):
                await asyncio.sleep(0)
                assert gk.default_device() == device

    async def both():
        await asyncio.gather(with_threads(1), with_threads(2))
        assert gk.default_device() == before

    asyncio.run(both())


# Capability caps


def test_caps_take_features_away(gpu):
    capped = gpu.with_caps("-subgroups,-f16,-immediates")
    assert capped.features == gpu.features - {"subgroups", "f16", "immediates"}
    assert capped != gpu


@pytest.mark.parametrize(
    ("caps", "limit"),
    [("binding=64KiB", 65_536), ("workgroup=64", 64), ("buffer=1MiB", 2**20), ("shared=16KiB", 16_384)],
)
def test_caps_lower_limits(gpu, caps, limit):
    capped = gpu.with_caps(caps)
    assert limit in capped.limits.values()
    assert all(capped.limits[name] <= gpu.limits[name] for name in gpu.limits)


@pytest.mark.parametrize("caps", ["binding=4096GiB", "workgroup=1048576", "buffer=4096GiB", "shared=1GiB"])
def test_caps_never_raise_limits(gpu, caps):
    assert gpu.with_caps(caps).limits == gpu.limits


def test_caps_of_the_cpu():
    cpu = gk.get_device("cpu")
    levels = {word for word in cpu.features if word.startswith("simd-")}
    assert "simd-scalar" in levels
    assert levels <= {"simd-avx512", "simd-avx2", "simd-neon", "simd-scalar"}
    x = np.arange(1000, dtype=np.float32)
    for level in levels:
        assert gk.add(x, x, device=cpu.with_caps(f"{level.replace('-', '=')},threads=1")).tolist() == (x + x).tolist()
    for absent in {"simd-avx512", "simd-avx2", "simd-neon"} - levels:
        with pytest.raises(gk.Error, match=absent.removeprefix("simd-")):
            cpu.with_caps(absent.replace("-", "="))


@pytest.mark.parametrize(
    "caps",
    ["nonsense", "-nonsense", "+f16", "binding", "binding=", "binding=much", "binding=-1", "binding=0", "workgroup=0",
     "workgroup=1.5", "simd=mmx", "threads=0", "-f16;-subgroups", "binding=64XiB"],
)  # fmt: skip
def test_caps_that_make_no_sense(plain_device, caps):
    with pytest.raises(gk.ArgumentError) as caught:
        plain_device.with_caps(caps)
    assert caps in str(caught.value)


def test_caps_from_the_environment(gpu):
    printed = run_script(
        f"""
        device = gk.get_device("{gpu.id}")
        print("subgroups" in device.features, 65_536 in device.limits.values())
        w = np.float32([[1, 2, 3], [4, 5, 6]])
        assert gk.matmul_vec(w, w[0], device=device).tolist() == [14, 32]
        """,
        GPUKERN_CAPS="-subgroups,binding=64KiB",
    )
    assert printed.split() == ["False", "True"]


def test_caps_from_the_environment_that_make_no_sense():
    """Import does not fail; the first use of a device says what is wrong."""
    printed = run_script(
        """
        try:
            gk.zeros(3).numpy()
        except gk.ArgumentError as error:
            print(error)
        """,
        GPUKERN_CAPS="nonsense",
    )
    assert "GPUKERN_CAPS" in printed
    assert "nonsense" in printed


MATMUL_VEC_IS_RIGHT = """
    w = np.arange(3001 * 301, dtype=np.float32).reshape(3001, 301) % 7
    x = np.arange(301, dtype=np.float32) % 5
    assert (gk.matmul_vec(w, x, device="cpu") == w @ x).all()
    print("right")
"""


@pytest.mark.parametrize("level", sorted(word for word in gk.get_device("cpu").features if word.startswith("simd-")))
def test_simd_from_the_environment(level):
    assert run_script(MATMUL_VEC_IS_RIGHT, GPUKERN_SIMD=level.removeprefix("simd-")) == "right\n"


@pytest.mark.parametrize("threads", ["1", "3"])
def test_threads_from_the_environment(threads):
    assert run_script(MATMUL_VEC_IS_RIGHT, GPUKERN_THREADS=threads) == "right\n"


# Nothing there


def test_no_driver_leaves_the_cpu():
    """With no Vulkan driver: import, devices and every operation work, and the explanation is there."""
    printed = run_script(
        """
        assert not any(device.backend == "vulkan" for device in gk.devices())
        assert not gk.is_available("vulkan")
        x = np.float32([[1, 2, 3], [4, 5, 6]])
        for device in (None, "cpu"):
            assert gk.matmul_vec(x, x[0], device=device).tolist() == [14, 32]
            assert gk.add(x, x, device=device).tolist() == (x + x).tolist()
            assert gk.subtract(x, x, device=device).tolist() == (x - x).tolist()
            assert gk.multiply(x, x, device=device).tolist() == (x * x).tolist()
            assert np.allclose(gk.silu(x, device=device), x / (1 + np.exp(-x)))
            assert (gk.asarray(x, device=device) @ x[0]).tolist() == [14, 32]
        try:
            gk.get_device("vulkan")
        except gk.DeviceNotFoundError as error:
            print(error)
        print(gk.explain())
        """,
        **NO_DRIVER,
    )
    assert "cpu" in printed
    assert len(printed.splitlines()) > 1


def test_selftest_without_a_driver():
    printed = run_python("-m", "gpukern", "selftest", **NO_DRIVER)
    assert "matmul_vec" in printed
    assert "vulkan:" not in printed


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_import_touches_no_device():
    """No driver and no loader is mapped into the process before a device is asked for."""
    mapped = """
        import pathlib
        DRIVERS = ("libvulkan", "libEGL", "libGL", "libcuda", "libdrm")
        def drivers():
            lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
            return sorted({line.rpartition("/")[2] for line in lines if line.rpartition("/")[2].startswith(DRIVERS)})
        print(drivers())
        gk.add(np.float32([1]), np.float32([2]))
        print(drivers())
        gk.devices()
        print(drivers())
    """
    after_import, after_numpy, after_devices = run_script(mapped).splitlines()
    assert after_import == "[]"
    assert after_numpy == "[]"
    if any(device.backend == "vulkan" for device in DEVICES):
        assert "libvulkan" in after_devices


# Memory


def test_memory_is_counted(plain_device):
    """A tensor is in use, then pooled, then gone."""
    size = 32 * 2**20
    plain_device.synchronize()
    before = plain_device.memory.in_use
    tensor = gk.zeros(size, "uint8", device=plain_device)
    tensor[:2].numpy()
    assert plain_device.memory.in_use >= before + size
    assert plain_device.memory.peak >= plain_device.memory.in_use
    assert plain_device.memory.limit >= plain_device.memory.in_use
    del tensor
    plain_device.synchronize()
    assert plain_device.memory.in_use < before + size
    assert plain_device.memory.pooled >= size
    plain_device.memory.empty()
    assert plain_device.memory.pooled == 0
    assert plain_device.memory.peak >= before + size


def test_memory_is_used_again(plain_device):
    x = gk.ones(2**20, device=plain_device)
    (x + x).numpy()
    hits = plain_device.memory.hits
    for _ in range(10):
        (x + x).numpy()
    assert plain_device.memory.hits >= hits + 10
    plain_device.memory.empty()
    misses = plain_device.memory.misses
    assert (x + x).numpy()[-1] == 2
    assert plain_device.memory.misses > misses


def test_the_id_of_a_lowered_device_finds_it_again(gpu):
    lowered = gpu.with_caps("workgroup=64, binding=64KiB,-f16")
    assert gk.get_device(lowered.id) == lowered
    assert gpu.with_caps("-f16,binding=64KiB,workgroup=64,-f16") == lowered


def test_empty_variables_are_as_good_as_none():
    names = ("GPUKERN_DEVICE", "GPUKERN_CAPS", "GPUKERN_POWER", "GPUKERN_SIMD", "GPUKERN_THREADS")
    assert run_script("print(gk.default_device().kind != '')", **dict.fromkeys(names, "")) == "True\n"
