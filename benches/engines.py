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
from shaders import SHADERS, Shader

Array = NDArray[Any]
Call = Callable[[], object]
Node = tuple[str, list[str], str, dict[str, int | float]]
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
    answers = True  # whether it computes what is asked, so that its answer can be checked
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
            function = self.operations.get(f"{operation} out", function)
            call = partial(function, *own, out=self.empty_like(call()))
            try:
                call()
            except TypeError as error:
                raise Unsupported(operation) from error
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


def numpy_softmax(x: Array, out: Array | None = None) -> Array:
    """Compute softmax in one array."""
    out = np.subtract(x, x.max(-1, keepdims=True), out=out)
    np.exp(out, out=out)
    return np.asarray(np.divide(out, out.sum(-1, keepdims=True), out=out))


def numpy_rms_norm(x: Array, weight: Array, out: Array | None = None) -> Array:
    """Compute rms_norm with no array but the result."""
    mean = np.einsum("ij,ij->i", x, x)[:, None] / x.shape[-1]
    out = np.multiply(x, 1 / np.sqrt(mean + np.float32(1e-5)), out=out)
    return np.multiply(out, weight, out=out)


def numpy_layer_norm(x: Array, weight: Array, bias: Array, out: Array | None = None) -> Array:
    """Compute layer_norm with no array but the result."""
    out = np.subtract(x, x.mean(-1, keepdims=True), out=out)
    variance = np.einsum("ij,ij->i", out, out)[:, None] / x.shape[-1]
    np.multiply(out, 1 / np.sqrt(variance + np.float32(1e-5)), out=out)
    np.multiply(out, weight, out=out)
    return np.add(out, bias, out=out)


def rope_halves(x: Any, cos: Any, sin: Any, out: Any) -> Any:
    """Rotate the halves of the last axis into `out`, with any library's arrays."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    out[..., :half] = a * cos - b * sin
    out[..., half:] = a * sin + b * cos
    return out


def numpy_matmul(a: Array, b: Array) -> Array:
    """Multiply by BLAS, which has float32, whatever the dtype is."""
    wide = a.astype(np.float32, copy=False) @ b.astype(np.float32, copy=False)
    return wide.astype(a.dtype, copy=False)


def numpy_attention(q: Array, k: Array, v: Array, causal: bool = False) -> Array:
    """Attend in float32, with a matrix of all scores."""
    q, k, v, dtype = *(x.astype(np.float32, copy=False) for x in (q, k, v)), q.dtype
    scores = q @ k.swapaxes(-1, -2)
    scores *= np.float32(q.shape[-1] ** -0.5)
    if causal:
        scores += np.triu(np.full(scores.shape[-2:], -np.inf, np.float32), 1 + scores.shape[-1] - scores.shape[-2])
    return np.asarray((numpy_softmax(scores, scores) @ v).astype(dtype, copy=False))


class Numpy(Engine):
    """NumPy, with the BLAS that it was built with."""

    name = "numpy"
    packages = ("numpy",)
    operations: Mapping[str, Callable[..., Any]] = {
        "add": np.add,
        "attention": numpy_attention,
        "attention_causal": partial(numpy_attention, causal=True),
        "matmul": numpy_matmul,
        "matmul_transposed": lambda a, b: numpy_matmul(a, b.T),
        "matmul_vec": np.matmul,
        "multiply": np.multiply,
        "silu": numpy_silu,
        "softmax": numpy_softmax,
        "rms_norm": numpy_rms_norm,
        "layer_norm": numpy_layer_norm,
        "sum": np.sum,
        "sum_rows": partial(np.sum, axis=1),
        "sum_columns": partial(np.sum, axis=0),
        "rope": lambda x, cos, sin, out=None: rope_halves(x, cos, sin, np.empty_like(x) if out is None else out),
    }

    def import_time(self) -> Call:
        return partial(import_seconds, "numpy")


class Gpukern(Engine):
    """The project itself: NumPy arrays in and out on the CPU device, tensors on a GPU."""

    operations: Mapping[str, Callable[..., Any]] = vars(gk) | {
        "attention_causal": partial(gk.attention, causal=True),
        "matmul_transposed": lambda a, b: gk.matmul(a, b.T),
        "matmul_vecs": gk.matmul_vec,
        "sum_rows": partial(gk.sum, axis=1),
        "sum_columns": partial(gk.sum, axis=0),
    }

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

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:
        if operation.startswith("shader "):
            return self.shader(SHADERS[operation.removeprefix("shader ")], arrays)
        if operation.startswith("blocks "):
            return self.blocks(operation.removeprefix("blocks "), *arrays)
        return super().call(operation, arrays, out)

    def blocks(self, name: str, blocks: Array, x: Array) -> Call:
        """Multiply quantised weights with a vector, which is a tensor as they are."""
        shape = (len(blocks), x.size)
        w = gk.from_blocks(blocks, name, shape, device=self.device)
        return partial(gk.matmul_vec, w, gk.asarray(x, device=self.device))

    def shader(self, shader: Shader, arrays: tuple[Array, ...]) -> Call:
        """Call a kernel on tensors, into one that is there already."""
        tensor = partial(gk.asarray, device=self.device)
        names = (name for name, _ in shader.inputs)
        given: dict[str, Any] = {name: tensor(array) for name, array in zip(names, arrays, strict=True)}
        z = gk.zeros(*shader.result, device=self.device)
        return partial(gk.Kernel(shader.source), **given, z=z, **shader.launch)

    def kernel_on_tensors(self, x: Array, y: Array) -> Call:
        """Call a user's kernel on tensors, and do not wait for it."""
        given = {"x": self.array(x), "y": self.array(y), "p": {"a": 2.0, "n": x.size}, "threads": x.size}
        return partial(gk.Kernel(_SAXPY), **given)

    def kernel_on_arrays(self, x: Array, y: Array) -> Call:
        """Call a user's kernel on NumPy arrays."""
        kernel, p = gk.Kernel(_SAXPY), {"a": 2.0, "n": x.size}
        return partial(kernel, x=x, y=y, p=p, threads=x.size, device=self.device)

    def import_time(self) -> Call:
        return partial(import_seconds, "numpy", "gpukern")


_SAXPY = """
struct P { a: f32, n: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: P;
@compute @workgroup_size(64)
fn saxpy(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < p.n) { y[id.x] += p.a * x[id.x]; }
}
"""
# `compute_with_buffers` takes no uniforms.
_SAXPY_OF_BUFFERS = """
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&x)) { y[id.x] += 2.0 * x[id.x]; }
}
"""


class Reading(Engine):
    """What it takes every thread together to read weights, as a sum of their words does, and nothing more."""

    name = "reading"
    answers = False

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:  # noqa: ARG002
        if not operation.startswith("blocks "):
            raise Unsupported(operation)
        words = arrays[0].reshape(-1).view(np.float32)
        return partial(gk.sum, words, device="cpu")


class SoftwareGpu(Gpukern):
    """A driver that runs shaders on the CPU, such as lavapipe: a peer of the CPU device for users' kernels."""

    operations: Mapping[str, Callable[..., Any]] = {}

    def __init__(self, device: gk.Device) -> None:
        super().__init__(device)
        self.name = "lavapipe"
        self.place = "cpu"

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:
        if not operation.startswith("shader "):
            raise Unsupported(operation)
        return super().call(operation, arrays, out)

    def kernel_seconds(self, call: Call, repeat: int) -> float | None:  # noqa: ARG002
        return None

    def versions(self) -> dict[str, str]:
        return {"lavapipe": self.device.driver}


class WgpuPy(Engine):
    """wgpu-py's own shortcut for a compute shader, on the GPU that it chooses."""

    name = "wgpu-py"
    place = "gpu"
    packages = ("wgpu",)
    operations: Mapping[str, Callable[..., Any]] = {}

    def __init__(self) -> None:
        self.compute = importlib.import_module("wgpu.utils.compute").compute_with_buffers

    def kernel_on_arrays(self, x: Array, y: Array) -> Call:
        """Call a shader on NumPy arrays. It takes no others, so that this is its way on tensors too."""
        groups = -(-x.size // 64)
        return lambda: self.compute({0: x, 1: y}, {1: (x.size, "f")}, _SAXPY_OF_BUFFERS, n=groups)[1]

    kernel_on_tensors = kernel_on_arrays


class Torch(Engine):
    """PyTorch, eager, on the CPU or on the first CUDA device."""

    def __init__(self, torch: Any, device: str) -> None:
        self.torch = torch
        self.device = device
        self.name, self.place = ("torch", "cpu") if device == "cpu" else ("torch-cuda", "gpu")
        torch.set_grad_enabled(False)
        torch.set_num_threads(CORES)
        torch.set_float32_matmul_precision("highest")  # without TF32
        self.operations = {
            "add": torch.add,
            "attention": self.attend,
            "attention_causal": partial(self.attend, is_causal=True),
            "matmul": torch.matmul,
            "matmul_transposed": lambda a, b: torch.matmul(a, b.T),
            "matmul_vec": torch.mv,
            "matmul_vecs": lambda w, x: torch.nn.functional.linear(x, w),
            "multiply": torch.mul,
            "silu": torch.nn.functional.silu,
            "silu out": torch.ops.aten.silu.out,
            "gelu": torch.nn.functional.gelu,
            "gelu out": torch.ops.aten.gelu.out,
            "softmax": partial(torch.softmax, dim=-1),
            "rms_norm": lambda x, weight: torch.nn.functional.rms_norm(x, weight.shape, weight, 1e-5),
            "layer_norm": lambda x, weight, bias: torch.nn.functional.layer_norm(x, weight.shape, weight, bias, 1e-5),
            "sum": torch.sum,
            "sum_rows": partial(torch.sum, dim=1),
            "sum_columns": partial(torch.sum, dim=0),
            "rope": lambda x, cos, sin, out=None: rope_halves(x, cos, sin, torch.empty_like(x) if out is None else out),
        }

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:
        if self.place == "cpu" and operation == "blocks q8_0":
            return self.eight_bits(*arrays)
        if self.place == "cpu" and operation == "blocks q4_0":
            return self.four_bits(*arrays)
        return super().call(operation, arrays, out)

    def four_bits(self, blocks: Array, x: Array) -> Call:
        """Multiply weights of 4 bits with a scale for each 32 elements, in bfloat16."""
        torch = self.torch
        each = blocks.reshape(len(blocks), -1, 18)
        codes = np.concatenate([each[..., 2:] & 15, each[..., 2:] >> 4], axis=-1).reshape(len(blocks), -1)
        packed = torch._convert_weight_to_int4pack_for_cpu(torch.from_numpy(codes.astype(np.int32)), 1)
        scales = np.ascontiguousarray(each[..., :2]).view(np.float16)[..., 0].T
        # Of each group and row the scale, and what is added. It is taken to lie in this order.
        about = torch.from_numpy(np.stack([scales, np.zeros_like(scales)], axis=-1)).to(torch.bfloat16).contiguous()
        vector = torch.from_numpy(x)[None].to(torch.bfloat16)
        return lambda: torch._weight_int4pack_mm_for_cpu(vector, packed, 32, about)[0]

    def eight_bits(self, blocks: Array, x: Array) -> Call:
        """Multiply weights of 8 bits with a scale for each row, in bfloat16."""
        torch = self.torch
        wide = gk.from_blocks(blocks, "q8_0", (len(blocks), x.size), device="cpu").dequantize().numpy()
        vector = torch.from_numpy(x)[None].to(torch.bfloat16)
        scales = np.abs(wide).max(1, keepdims=True) / 127
        packed = torch.from_numpy(np.round(wide / scales).astype(np.int8))
        own = torch.from_numpy(scales[:, 0]).to(torch.bfloat16)
        return lambda: torch._weight_int8pack_mm(vector, packed, own)[0]

    def attend(self, q: Any, k: Any, v: Any, **arguments: bool) -> Any:
        grouped = q.shape[1] != k.shape[1]
        return self.torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=grouped, **arguments)

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
    # Each node as (operator, inputs, result, attributes). Its optimiser makes one kernel, QuickGelu, of silu's two.
    models: Mapping[str, list[Node]] = {
        "add": [("Add", ["0", "1"], "result", {})],
        "attention": [("Attention", ["0", "1", "2"], "result", {})],
        "attention_causal": [("Attention", ["0", "1", "2"], "result", {"is_causal": 1})],
        "matmul": [("MatMul", ["0", "1"], "result", {})],
        "matmul_transposed": [("Gemm", ["0", "1"], "result", {"transB": 1})],
        "matmul_vec": [("MatMul", ["0", "1"], "result", {})],
        "multiply": [("Mul", ["0", "1"], "result", {})],
        "silu": [("Sigmoid", ["0"], "gate", {}), ("Mul", ["0", "gate"], "result", {})],
        "gelu": [("Gelu", ["0"], "result", {})],
        "softmax": [("Softmax", ["0"], "result", {"axis": -1})],
        "rms_norm": [("RMSNormalization", ["0", "1"], "result", {"axis": -1, "epsilon": 1e-5})],
        "layer_norm": [("LayerNormalization", ["0", "1", "2"], "result", {"axis": -1, "epsilon": 1e-5})],
        "sum": [("ReduceSum", ["0"], "result", {"keepdims": 0})],
        "rope": [("RotaryEmbedding", ["0", "1", "2"], "result", {})],
    }

    def __init__(self, onnxruntime: Any) -> None:
        self.onnxruntime = onnxruntime

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:
        if operation not in self.models:
            raise Unsupported(operation)
        inputs = {str(place): array for place, array in enumerate(arrays)}
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = CORES
        options.log_severity_level = 4
        # Threads that spin after a run would slow whatever is timed next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = onnx_model(self.models[operation], inputs, arrays[0].dtype)
        try:
            session = self.onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's exceptions have no common base
            raise Unsupported(str(error)) from error
        (result,) = session.run(None, inputs)
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
            "attention": self.attend,
            "attention_causal": partial(self.attend, is_causal=True),
            "matmul": jax.numpy.matmul,
            "matmul_transposed": lambda a, b: jax.numpy.matmul(a, b.T),
            "matmul_vec": jax.numpy.matmul,
            "multiply": jax.numpy.multiply,
            "silu": jax.nn.silu,
            "gelu": partial(jax.nn.gelu, approximate=False),
            "softmax": jax.nn.softmax,
            "rms_norm": self.rms_norm,
            "layer_norm": self.layer_norm,
            "sum": jax.numpy.sum,
            "sum_rows": partial(jax.numpy.sum, axis=1),
            "sum_columns": partial(jax.numpy.sum, axis=0),
            "rope": self.rope,
        }

    def attend(self, q: Any, k: Any, v: Any, **arguments: bool) -> Any:
        """Attend with heads behind places, as JAX has them."""
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
        return self.jax.nn.dot_product_attention(q, k, v, **arguments).swapaxes(1, 2)

    def rms_norm(self, x: Any, weight: Any) -> Any:
        return x * self.jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight

    def layer_norm(self, x: Any, weight: Any, bias: Any) -> Any:
        d = x - x.mean(-1, keepdims=True)
        return d * self.jax.lax.rsqrt((d * d).mean(-1, keepdims=True) + 1e-5) * weight + bias

    def rope(self, x: Any, cos: Any, sin: Any) -> Any:
        a, b = self.jax.numpy.split(x, 2, -1)
        return self.jax.numpy.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def call(self, operation: str, arrays: tuple[Array, ...], out: bool) -> Call:
        if out or operation not in self.operations:
            raise Unsupported(operation)
        jitted = self.jax.jit(self.operations[operation])
        inputs = [self.jax.device_put(array) for array in arrays]
        try:
            jitted(*inputs)
        except ValueError as error:  # its attention of float16 does not run on CPUs
            raise Unsupported(operation) from error
        return lambda: jitted(*inputs).block_until_ready()


def engines(devices: list[gk.Device]) -> Iterator[Engine]:
    """Yield gpukern on each device, then every peer that is installed."""
    for device in devices:
        yield Gpukern(device)
    yield from (SoftwareGpu(each) for each in gk.devices() if (each.kind, each.backend) == ("software", "vulkan"))
    yield Numpy()
    yield Reading()
    if torch := _installed("torch"):
        yield Torch(torch, "cpu")
        if torch.cuda.is_available():
            yield Torch(torch, "cuda")
    if onnxruntime := _installed("onnxruntime"):
        yield Onnxruntime(onnxruntime)
    if _installed("wgpu"):
        yield WgpuPy()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if jax := _installed("jax"):
        yield Jax(jax)


def _installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


# ONNX models are Protocol Buffers. The few fields needed here are written by hand, so that the package `onnx` is not.


def onnx_model(nodes: list[Node], inputs: dict[str, Array], result: np.dtype[Any]) -> bytes:
    """Return a model of these nodes, for inputs with these arrays' dtypes and shapes, and a result of this dtype."""
    graph = b""
    for operator, names, output, attributes in nodes:
        operands = b"".join(_field(1, name.encode()) for name in names)
        settings = b"".join(_field(5, _attribute(name, value)) for name, value in attributes.items())
        graph += _field(1, operands, _field(2, output.encode()), _field(4, operator.encode()), settings)
    graph += _field(2, b"graph")
    graph += b"".join(_field(11, _value(name, array.dtype, array.shape)) for name, array in inputs.items())
    graph += _field(12, _value("result", result, None))
    return _number(1, 11) + _field(7, graph) + _field(8, _field(1, b""), _number(2, 23))


def _attribute(name: str, value: float) -> bytes:
    if isinstance(value, int):
        return _field(1, name.encode()) + _number(3, value % 2**64) + _number(20, 2)
    return _field(1, name.encode()) + _varint(2 << 3 | 5) + np.float32(value).tobytes() + _number(20, 1)


def _value(name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> bytes:
    element = {"float32": 1, "float16": 10}.get(dtype.name)
    if element is None:
        raise Unsupported(dtype.name)
    sizes = b"" if shape is None else _field(2, b"".join(_field(1, _number(1, size)) for size in shape))
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, element), sizes))


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
