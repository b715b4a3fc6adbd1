"""What is measured: each engine turns a case's operation and NumPy inputs into one call, as its user would write it.

An engine has a table of its library's functions. What is more than a function of arrays, as an upload is, has a
method of its own that gets the inputs as NumPy arrays and returns the call to time.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from itertools import cycle
from typing import Any, cast

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import gpukern as gk

Array = NDArray[Any]
Call = Callable[[], object]
Node = tuple[str, list[str], str]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class Unsupported(Exception):  # noqa: N818 - an answer, not an error
    """The engine's library does not have this operation, or not for these dtypes."""


def rotate(calls: Iterable[Call]) -> Call:
    """Return a call that makes the next of several calls each time, so that no input stays in a cache."""
    calls = list(calls)
    if len(calls) == 1:
        return calls[0]
    turn = cycle(calls)
    return lambda: next(turn)()


class Engine:
    """One library on one device."""

    name: str
    place = "cpu"  # engines are compared within a place: "cpu" or "gpu"
    packages: tuple[str, ...] = ()
    operations: Mapping[str, Callable[..., Any]]
    """What takes this engine's arrays and returns one. `"silu out"` stands in for `"silu"` where ``out=`` is given."""

    def array(self, array: Array) -> Any:
        """Return an input as this engine's user has it."""
        return array

    def empty_like(self, result: Any) -> Any:
        """Return an array for ``out=``."""
        return np.empty_like(result)

    def to_numpy(self, result: Any) -> Array:
        """Return a result as a NumPy array, to be checked."""
        return np.asarray(result)

    def synchronize(self) -> None:
        """Wait until the device has done what was asked of it."""

    def kernel_seconds(self, call: Call, repeat: int) -> float | None:  # noqa: ARG002
        """Return the time of one call by the device's own clock, where it has one."""
        return None

    def versions(self) -> dict[str, str]:
        """Return the version of each package that the engine stands on."""
        return {package: version(package) for package in self.packages}

    def prepare(self, operation: str, inputs: list[tuple[Array, ...]], out: bool) -> Call:
        """Return the call of an operation. Several tuples of inputs are used in turn."""
        return rotate([self.call(operation, arrays, out) for arrays in inputs])

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:
        """Return the call of an operation with these inputs: a method of that name makes it, or the table has it."""
        if method := getattr(self, operation, None):
            return cast("Call", method(*arrays))
        function = self.operations.get(operation)
        if function is None:
            raise Unsupported(operation)
        own = [self.array(array) for array in arrays]
        call = partial(function, *own)
        if out:
            call = partial(self.operations.get(f"{operation} out", function), *own, out=self.empty_like(call()))
        return call


def chain(operation: Callable[..., Any], first: Any, second: Any) -> Call:
    """Return a call that does the operation to its own last result."""
    last = first

    def link() -> object:
        nonlocal last
        last = operation(last, second)
        return last

    return link


def import_seconds(*modules: str) -> float:
    """Return how long the last of the modules takes to import, after the others, in a fresh interpreter."""
    *before, last = modules
    lines = [*(f"import {each}" for each in before), "import time", "start = time.perf_counter()"]
    lines += [f"import {last}", "print(time.perf_counter() - start)"]
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True)
    return float(run.stdout)


def numpy_silu(x: Array, out: Array | None = None) -> Array:
    """Compute silu in one array, as a careful user of NumPy would."""
    out = np.empty_like(x) if out is None else out
    np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    return np.divide(x, out, out=out)


class Numpy(Engine):
    """NumPy, with the BLAS that it was built with."""

    name = "numpy"
    packages = ("numpy",)
    operations: Mapping[str, Callable[..., Any]] = {
        "add": np.add,
        "matmul_vec": np.matmul,
        "multiply": np.multiply,
        "silu": numpy_silu,
    }

    def import_time(self) -> Call:
        return partial(import_seconds, "numpy")


class Gpukern(Engine):
    """The project itself: NumPy arrays in and out on the CPU device, tensors on a GPU."""

    operations: Mapping[str, Callable[..., Any]] = vars(gk)

    def __init__(self, device: gk.Device) -> None:
        self.device = device
        self.name = f"gpukern:{device.id}"
        self.place = "cpu" if device.kind == "cpu" else "gpu"

    def array(self, array: Array) -> Any:
        return array if self.place == "cpu" else gk.asarray(array, device=self.device)

    def empty_like(self, result: Any) -> Any:
        if self.place == "cpu":
            return np.empty_like(result)
        return gk.empty(result.shape, result.dtype, device=self.device)

    def synchronize(self) -> None:
        self.device.synchronize()

    def kernel_seconds(self, call: Call, repeat: int) -> float | None:
        if self.place == "cpu":
            return None
        with gk.profile(self.device) as profile:
            for _ in range(repeat):
                call()
        return profile.total / repeat

    def versions(self) -> dict[str, str]:
        return {"gpukern": gk.__version__}

    def chain(self, x1: Array, x2: Array) -> Call:
        return chain(gk.add, self.array(x1), self.array(x2))

    def round_trip(self, x: Array) -> Call:
        return partial(gk.silu, x, device=self.device)

    def upload(self, x: Array) -> Call:
        return partial(gk.asarray, x, device=self.device)

    def read_back(self, x: Array) -> Call:
        return gk.asarray(x, device=self.device).numpy

    def import_time(self) -> Call:
        return partial(import_seconds, "numpy", "gpukern")


class Torch(Engine):
    """PyTorch, eager, on the CPU or on the first CUDA device."""

    def __init__(self, torch: Any, device: str) -> None:
        self.torch = torch
        self.device = device
        self.name, self.place = ("torch", "cpu") if device == "cpu" else ("torch-cuda", "gpu")
        torch.set_grad_enabled(False)
        torch.set_num_threads(CORES)
        self.operations = {
            "add": torch.add,
            "matmul_vec": torch.mv,
            "multiply": torch.mul,
            "silu": torch.nn.functional.silu,
            "silu out": torch.ops.aten.silu.out,
        }

    def array(self, array: Array) -> Any:
        if array.dtype == BFLOAT16:
            return self.torch.from_numpy(array.view(np.uint16)).view(self.torch.bfloat16).to(self.device)
        return self.torch.from_numpy(array).to(self.device)

    def empty_like(self, result: Any) -> Any:
        return self.torch.empty_like(result)

    def to_numpy(self, result: Any) -> Array:
        return np.asarray(result if isinstance(result, np.ndarray) else result.float().cpu().numpy())

    def synchronize(self) -> None:
        if self.place == "gpu":
            self.torch.cuda.synchronize()

    def kernel_seconds(self, call: Call, repeat: int) -> float | None:
        if self.place == "cpu":
            return None
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeat):
            call()
        end.record()
        self.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / repeat

    def versions(self) -> dict[str, str]:
        found = {"torch": str(self.torch.__version__)}
        if self.place == "gpu":
            found["cuda"] = f"{self.torch.version.cuda} on {self.torch.cuda.get_device_name(0)}"
        return found

    def chain(self, x1: Array, x2: Array) -> Call:
        return chain(self.torch.add, self.array(x1), self.array(x2))

    def round_trip(self, x: Array) -> Call:
        silu = self.operations["silu"]
        return lambda: silu(self.torch.from_numpy(x).to(self.device)).cpu().numpy()

    def upload(self, x: Array) -> Call:
        return lambda: self.torch.from_numpy(x).to(self.device)

    def read_back(self, x: Array) -> Call:
        tensor = self.array(x)
        return lambda: tensor.cpu().numpy()


class Onnxruntime(Engine):
    """ONNX Runtime on its CPU provider: NumPy arrays in and out, or bound where the result's array is given."""

    name = "onnxruntime"
    packages = ("onnxruntime",)
    # Each node as (operator, inputs, result). Its optimiser makes one kernel, QuickGelu, of silu's two.
    models: Mapping[str, list[Node]] = {
        "add": [("Add", ["0", "1"], "result")],
        "matmul_vec": [("MatMul", ["0", "1"], "result")],
        "multiply": [("Mul", ["0", "1"], "result")],
        "silu": [("Sigmoid", ["0"], "gate"), ("Mul", ["0", "gate"], "result")],
    }

    def __init__(self, onnxruntime: Any) -> None:
        self.onnxruntime = onnxruntime

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:
        if operation not in self.models:
            raise Unsupported(operation)
        inputs = {str(place): array for place, array in enumerate(arrays)}
        # The result of each of these operations has the shape of its first operand without what the others contract.
        result = np.empty(arrays[0].shape[:1], arrays[0].dtype)
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = CORES
        options.log_severity_level = 4
        # Threads that spin after a run would slow whatever is timed next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = onnx_model(self.models[operation], inputs, result)
        try:
            session = self.onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's exceptions have no common base
            raise Unsupported(str(error)) from error
        if not out:
            return partial(session.run, None, inputs)
        value = self.onnxruntime.OrtValue.ortvalue_from_numpy
        binding, into = session.io_binding(), value(result)
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, value(array))
        binding.bind_ortvalue_output("result", into)

        def run() -> object:
            session.run_with_iobinding(binding)
            return into

        return run

    def to_numpy(self, result: Any) -> Array:
        return np.asarray(result[0] if isinstance(result, list) else result.numpy())


class Jax(Engine):
    """JAX, jitted, on its CPU backend. Its arrays do not change, so it has no ``out=``."""

    name = "jax"
    packages = ("jax", "jaxlib")

    def __init__(self, jax: Any) -> None:
        self.jax = jax
        self.operations = {
            "add": jax.numpy.add,
            "matmul_vec": jax.numpy.matmul,
            "multiply": jax.numpy.multiply,
            "silu": jax.nn.silu,
        }

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:
        if out or operation not in self.operations:
            raise Unsupported(operation)
        jitted = self.jax.jit(self.operations[operation])
        inputs = [self.jax.device_put(array) for array in arrays]
        return lambda: jitted(*inputs).block_until_ready()


def engines(devices: list[gk.Device]) -> Iterator[Engine]:
    """Yield gpukern on each device, then every peer that is installed."""
    for device in devices:
        yield Gpukern(device)
    yield Numpy()
    if torch := _installed("torch"):
        yield Torch(torch, "cpu")
        if torch.cuda.is_available():
            yield Torch(torch, "cuda")
    if onnxruntime := _installed("onnxruntime"):
        yield Onnxruntime(onnxruntime)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if jax := _installed("jax"):
        yield Jax(jax)


def _installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


# ONNX models are Protocol Buffers. The few fields needed here are written by hand, so that the package `onnx` is not.


def onnx_model(nodes: list[Node], inputs: dict[str, Array], result: Array) -> bytes:
    """Return a model of these nodes, for inputs and a result with these arrays' dtypes and shapes."""
    graph = b""
    for operator, names, output in nodes:
        operands = b"".join(_field(1, name.encode()) for name in names)
        graph += _field(1, operands, _field(2, output.encode()), _field(4, operator.encode()))
    graph += _field(2, b"graph")
    graph += b"".join(_field(11, _value(name, array)) for name, array in inputs.items())
    graph += _field(12, _value("result", result))
    return _number(1, 9) + _field(7, graph) + _field(8, _field(1, b""), _number(2, 18))


def _value(name: str, array: Array) -> bytes:
    element = {"float32": 1, "float16": 10}.get(array.dtype.name)
    if element is None:
        raise Unsupported(array.dtype.name)
    shape = b"".join(_field(1, _number(1, size)) for size in array.shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, element), _field(2, shape)))


def _field(number: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
