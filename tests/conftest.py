"""The devices that the tests run on: every GPU x capability caps, and the CPU x SIMD level."""

import functools
import os
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

import gpukern as gk

# Every test names its device, so none may be chosen from outside.
for _name in ("GPUKERN_DEVICE", "GPUKERN_POWER"):
    os.environ.pop(_name, None)

# What a smaller GPU lacks. Every shader variant and every cut runs under one of these.
GPU_CAPS = (
    "",
    "-subgroups,-f16",
    "binding=64KiB,workgroup=64",
    "-subgroups,-f16,-immediates,-byte-products,binding=64KiB,workgroup=16,shared=16KiB",
)
REQUIRE_GPU = os.environ.get("GPUKERN_REQUIRE_GPU") == "1"

_shared = {"deadline": None, "max_examples": 25, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, database=None, print_blob=True, **_shared)
settings.register_profile("dev", **_shared)
settings.load_profile("ci" if REQUIRE_GPU or "CI" in os.environ else "dev")


@dataclass(frozen=True)
class Variant:
    """A device, perhaps made to look smaller than it is."""

    base: str
    caps: str = ""

    def __str__(self):
        return f"{self.base}[{self.caps.removeprefix('simd=')}]" if self.caps else self.base

    @functools.cached_property
    def device(self):
        return _open(self.base, self.caps)


@functools.cache
def _open(base, caps):
    device = gk.get_device(base)
    return device.with_caps(caps) if caps else device


def _gpus():
    """One of each kind of adapter: a second identical card would test nothing new."""
    found = [device for device in gk.devices() if device.backend != "cpu"]
    # GL, where another backend offers the same card and so keeps it off the list.
    found += [gk.get_device("gl")] if gk.is_available("gl") and _opens("gl") else []
    adapters = {(device.backend, device.name): device for device in reversed(found)}
    return sorted(adapters.values(), key=lambda device: device.id)


def _opens(name):
    """Some drivers offer GL without the compute shaders that they list. Such a device says so when it is opened."""
    try:
        gk.zeros(1, device=name)
    except gk.DeviceError as error:
        assert "does not open" in str(error)
        return False
    return True


def _caps_of(gpu):
    """GL has no subgroups, f16 or immediates to begin with: it is a variant of its own."""
    return GPU_CAPS[:1] if gpu.backend == "gl" else GPU_CAPS


GPUS = [Variant(gpu.id) for gpu in _gpus()]
CAPPED_GPUS = [Variant(gpu.id, caps) for gpu in _gpus() for caps in _caps_of(gpu)]
SIMD_LEVELS = sorted(word for word in gk.get_device("cpu").features if word.startswith("simd-"))
CPUS = [Variant("cpu", level.replace("-", "=")) for level in SIMD_LEVELS]
assert CPUS, "the CPU device names no SIMD level, not even scalar"


@pytest.fixture(scope="session", params=CAPPED_GPUS + CPUS, ids=str)
def device(request):
    """Every device variant."""
    return request.param.device


def pytest_collection_modifyitems(config, items):
    """Tests marked `uncapped` run on GPUs only as these are: where capabilities decide nothing that is tested, to
    compile large kernels for each of them takes a software GPU too long."""
    capped = {item for item in items if item.get_closest_marker("uncapped") and _is_capped_gpu(item)}
    if capped:
        config.hook.pytest_deselected(items=list(capped))
        items[:] = [item for item in items if item not in capped]


def elsewhere():
    """A device that is none of the variants."""
    cpu = gk.get_device("cpu")
    return cpu.with_caps(f"threads={cpu.limits['threads'] + 1}")


def lowered(device, caps):
    """A GPU with less. The CPU device has no such words."""
    return device if device.backend == "cpu" else device.with_caps(caps)


def _is_capped_gpu(item):
    return item.callspec.params["device"] in set(CAPPED_GPUS) - set(GPUS)


@pytest.fixture(scope="session", params=CAPPED_GPUS, ids=str)
def capped_gpu(request):
    """Every GPU, also with fewer capabilities."""
    return request.param.device


@pytest.fixture(scope="session", params=[*GPUS, Variant("cpu")], ids=str)
def plain_device(request):
    """Every device as it is."""
    return request.param.device


@pytest.fixture(scope="session", params=GPUS + CPUS, ids=str)
def any_device(request):
    """Every GPU as it is, and the CPU at each SIMD level."""
    return request.param.device


@pytest.fixture(scope="session", params=GPUS, ids=str)
def gpu(request):
    """Every GPU as it is."""
    return request.param.device


@pytest.fixture
def quiet_float64(monkeypatch):
    """float64 input becomes float32 without a warning."""
    monkeypatch.setattr(gk.config, "float64", "cast")


def pytest_sessionstart():
    if REQUIRE_GPU and not GPUS:
        pytest.exit(f"GPUKERN_REQUIRE_GPU=1, but no GPU adapter was found:\n{gk.explain()}", returncode=1)


def pytest_runtest_setup(item):
    """Notes the device of each test in its report, which also travels from a worker process."""
    if hasattr(item, "callspec"):
        variants = (value for value in item.callspec.params.values() if isinstance(value, Variant))
        item.user_properties += [("device", str(variant)) for variant in variants]


def pytest_terminal_summary(terminalreporter):
    """Which devices the tests ran on, and how many tests each had."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    tests = Counter(value for report in reports for name, value in report.user_properties if name == "device")
    terminalreporter.section("devices")
    for label, count in sorted(tests.items()):
        name = gk.get_device(label.partition("[")[0]).name
        terminalreporter.write_line(f"{count:6} tests on {label}  {name}")
    if not GPUS:
        terminalreporter.write_line("No GPU adapter was found: no GPU kernel was tested.")
