"""What is timed, as data."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import gpukern as gk
from shaders import SHADERS

Array = NDArray[Any]
_DTYPES = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
_MIB = 2**20
# Weights are used in turn, so many of them that no cache holds them all.
_ROTATED = 256 * _MIB
# After so many elements the input of gelu repeats.
_PERIOD = 4096
# The most elements, in units of 2^20, of a case for CPUs.
_BOTH = 16


@dataclass(frozen=True)
class Case:
    """One row of the table: an operation, its inputs, and how to time it."""

    name: str
    operation: str
    inputs: Callable[[np.random.Generator], tuple[Array, ...]] = lambda _: ()
    reference: Callable[..., Array] | None = None
    places: tuple[str, ...] = ("cpu", "gpu")
    out: bool = False
    bytes: int = 0
    """Memory that one call has to move: the rate is GB/s."""
    flops: int = 0
    """Arithmetic of one call, where that is the limit: the rate is GFLOP/s or TFLOP/s."""
    copies: int = 1
    """How many sets of inputs are used in turn."""
    number: int = 1
    """How many calls make one sample. The device is waited for at its end."""
    clock: Literal["wall", "processor", "own"] = "wall"
    """`processor`: the process's processor time, and the device is not waited for. `own`: the call returns seconds."""
    large: bool = False
    """Whether it needs ``--large``."""


def _random(random: np.random.Generator, shape: tuple[int, ...], dtype: str = "f32") -> Array:
    return random.standard_normal(shape, dtype=np.float32).astype(_DTYPES[dtype], copy=False)


def _silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-x)))


def _gelu(x: Array) -> Array:
    """Use the erf of Python, on a sample that repeats: NumPy has none."""
    rows = x.reshape(-1, _PERIOD)
    row = np.array([0.5 * value * math.erfc(-value / math.sqrt(2)) for value in rows[0].tolist()], np.float32)
    return np.broadcast_to(row, rows.shape).reshape(x.shape)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _rms_norm(x: Array, weight: Array) -> Array:
    return np.asarray(x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5) * weight)


def _layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    d = x - x.mean(-1, keepdims=True)
    return np.asarray(d / np.sqrt(np.square(d).mean(-1, keepdims=True) + 1e-5) * weight + bias)


def _rope(x: Array, cos: Array, sin: Array) -> Array:
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def _matmul_vec(w: Array, x: Array) -> Array:
    """Multiply in float32, some rows at a time, so that 16-bit weights are never all widened at once."""
    wide = x.astype(np.float32)
    return np.concatenate([w[row : row + 1024].astype(np.float32, copy=False) @ wide for row in range(0, len(w), 1024)])


def _matmul_vec_case(rows: int, columns: int, dtype: str, places: tuple[str, ...]) -> Case:
    size = rows * columns * _DTYPES[dtype].itemsize
    return Case(
        name=f"matmul_vec {dtype} {rows}x{columns}",
        operation="matmul_vec",
        inputs=lambda random: (_random(random, (rows, columns), dtype), _random(random, (columns,), dtype)),
        reference=_matmul_vec,
        places=places,
        bytes=size + (rows + columns) * _DTYPES[dtype].itemsize,
        copies=-(-_ROTATED // size),
    )


def _vectors(w: Array, x: Array) -> Array:
    return _matmul_vec(w, x.T).T


def _vectors_case(rows: int, columns: int, count: int, dtype: str) -> Case:
    """Multiply some vectors by one matrix, as a model does that answers several at once."""
    size = rows * columns * _DTYPES[dtype].itemsize
    return Case(
        name=f"matmul_vec {dtype} {rows}x{columns} of {count}",
        operation="matmul_vecs",
        inputs=lambda random: (_random(random, (rows, columns), dtype), _random(random, (count, columns), dtype)),
        reference=_vectors,
        places=("gpu",),
        bytes=size + count * (rows + columns) * _DTYPES[dtype].itemsize,
        copies=-(-_ROTATED // size),
    )


def _blocks_case(name: str, rows: int, columns: int, place: str) -> Case:
    """Multiply a vector by quantised weights, of which some rows are repeated."""

    def inputs(random: np.random.Generator) -> tuple[Array, ...]:
        some = gk.quantize(_random(random, (64, columns)), name, device="cpu").blocks.numpy()
        return np.tile(some, (-(-rows // 64), 1))[:rows], _random(random, (columns,))

    def reference(blocks: Array, x: Array) -> Array:
        some = gk.from_blocks(blocks[:64], name, (64, columns), device="cpu").dequantize().numpy() @ x
        return np.tile(some, -(-rows // 64))[:rows]

    size = gk.quantize(np.zeros((1, columns), np.float32), name, device="cpu").nbytes * rows
    return Case(
        name=f"matmul_vec {name} {rows}x{columns}",
        operation=f"blocks {name}",
        inputs=inputs,
        reference=reference,
        places=(place,),
        bytes=size + (rows + columns) * 4,
        copies=-(-_ROTATED // size),
    )


def _matmul(a: Array, b: Array) -> Array:
    return np.asarray(a.astype(np.float32, copy=False) @ b.astype(np.float32, copy=False))


def _matmul_case(size: int, dtype: str, place: str, transposed: bool = False) -> Case:
    return Case(
        name=f"matmul {dtype} {size}^3{' b.T' if transposed else ''}",
        operation="matmul_transposed" if transposed else "matmul",
        inputs=lambda random: (_random(random, (size, size), dtype), _random(random, (size, size), dtype)),
        reference=(lambda a, b: _matmul(a, b.T)) if transposed else _matmul,
        places=(place,),
        flops=2 * size**3,
    )


def _attention(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """Attend in float32, one head at a time."""
    heads, t, d = q.shape[1:]
    shared = heads // k.shape[1]
    result = np.empty((*q.shape[:-1], v.shape[-1]), np.float32)
    for head in range(heads):
        scores = _matmul(q[0, head], k[0, head // shared].T) / math.sqrt(d)
        if causal:
            scores[np.triu_indices(t, 1 + len(scores[0]) - t, len(scores[0]))] = -np.inf
        result[0, head] = _matmul(_softmax(scores), v[0, head // shared])
    return result


def _attention_case(heads: int, size: int, dtype: str, place: str) -> Case:
    """Attend to what came before: half of all products of queries and keys."""
    return Case(
        name=f"attention {dtype} {heads}x{size}x128 causal",
        operation="attention_causal",
        inputs=lambda random: tuple(_random(random, (1, heads, size, 128), dtype) for _ in range(3)),
        reference=lambda q, k, v: _attention(q, k, v, causal=True),
        places=(place,),
        flops=2 * heads * size * size * 128,
    )


def _decode_case(heads: int, size: int, dtype: str, place: str, kv_heads: int = 32) -> Case:
    """Attend from one query, which is to read all keys and values once."""
    length = kv_heads * size * 128 * _DTYPES[dtype].itemsize
    shared = f"/{kv_heads}" if kv_heads != heads else ""

    def inputs(random: np.random.Generator) -> tuple[Array, ...]:
        q = _random(random, (1, heads, 1, 128), dtype)
        return q, *(_random(random, (1, kv_heads, size, 128), dtype) for _ in range(2))

    return Case(
        name=f"decode {dtype} {heads}{shared}x{size}x128",
        operation="attention",
        inputs=inputs,
        reference=lambda q, k, v: _attention(q, k, v, causal=False),
        places=(place,),
        bytes=2 * length,
        copies=-(-_ROTATED // (2 * length)),
    )


def _kernel_case(name: str, operation: str, number: int, clock: Literal["wall", "processor"]) -> Case:
    """Run saxpy as a user's own kernel on 1,024 elements."""
    return Case(
        name=name,
        operation=operation,
        inputs=lambda random: (_random(random, (1024,)), _random(random, (1024,))),
        reference=lambda x, y: 2 * x + y,
        places=("gpu",),
        number=number,
        clock=clock,
    )


def _shader_case(name: str) -> Case:
    """Run a user's kernel on tensors of the CPU device, beside a driver that runs it on the CPU."""
    shader = SHADERS[name]
    return Case(
        name=f"kernel: {name}",
        operation=f"shader {name}",
        inputs=lambda random: tuple(_random(random, shape) for _, shape in shader.inputs),
        reference=shader.reference,
        places=("cpu",),
        bytes=shader.bytes,
        flops=shader.flops,
        number=shader.number,
    )


def _elementwise_case(operation: str, reference: Callable[..., Array], arity: int, out: bool, mebi: int) -> Case:
    size = mebi * _MIB
    return Case(
        name=f"{operation} f32 {mebi}M{' out=' if out else ''}",
        operation=operation,
        inputs=lambda random: tuple(np.tile(_random(random, (_PERIOD,)), size // _PERIOD) for _ in range(arity)),
        reference=reference,
        places=("cpu", "gpu") if mebi <= _BOTH else ("gpu",),
        out=out,
        bytes=(arity + 1) * size * 4,
    )


def _rows_case(operation: str, reference: Callable[..., Array], vectors: int, out: bool, size: int) -> Case:
    """Take an operation on the rows of a square matrix, with weights that all rows share."""
    return Case(
        name=f"{operation} f32 {size}x{size}{' out=' if out else ''}",
        operation=operation,
        inputs=lambda random: (_random(random, (size, size)), *(_random(random, (size,)) for _ in range(vectors))),
        reference=reference,
        places=("cpu",) if size * size <= _BOTH * _MIB else ("gpu",),
        out=out,
        bytes=2 * size * size * 4,
    )


def _sum_case(operation: str, axis: int | None, size: int, places: tuple[str, ...]) -> Case:
    return Case(
        name=f"{operation.replace('_', ' ')} f32 {size}x{size}",
        operation=operation,
        inputs=lambda random: (_random(random, (size, size)) + 1,),
        reference=lambda x: x.sum(axis, dtype=np.float64),
        places=places,
        bytes=size * size * 4,
    )


def _rope_case(batch: int, out: bool, places: tuple[str, ...]) -> Case:
    shape, table = (1, batch, 2048, 128), (1, 2048, 64)
    size = batch * 2048 * 128

    def inputs(random: np.random.Generator) -> tuple[Array, ...]:
        angle = random.standard_normal(table, dtype=np.float32)
        return _random(random, shape), np.cos(angle), np.sin(angle)

    return Case(
        name=f"rope f32 {batch}x2048x128{' out=' if out else ''}",
        operation="rope",
        inputs=inputs,
        reference=_rope,
        places=places,
        out=out,
        bytes=2 * size * 4,
    )


def _call_case(name: str, operation: str, reference: Callable[..., Array], *shapes: tuple[int, ...]) -> Case:
    return Case(
        name=f"{name}, one call",
        operation=operation,
        inputs=lambda random: tuple(_random(random, shape) for shape in shapes),
        reference=reference,
        places=("cpu",),
        number=2000,
    )


def _transfer_cases(mebibytes: int, large: bool) -> Iterator[Case]:
    for operation, name in (("upload", "upload"), ("read_back", "read back")):
        yield Case(
            name=f"{name} {mebibytes} MiB",
            operation=operation,
            inputs=lambda random: (_random(random, (mebibytes * _MIB // 4,)),),
            reference=np.asarray,
            places=("gpu",),
            bytes=mebibytes * _MIB,
            large=large,
        )


CASES: tuple[Case, ...] = (
    *(
        _matmul_vec_case(rows, 4096, dtype, ("cpu", "gpu") if rows == 4096 else ("cpu",))
        for rows in (4096, 11008)
        for dtype in _DTYPES
    ),
    *(_matmul_vec_case(16384, 16384, dtype, ("gpu",)) for dtype in ("f32", "f16")),
    *(_vectors_case(4096, 14336, count, "f16") for count in (1, 2, 4, 8, 16)),
    *(_blocks_case(name, 11008, 4096, "cpu") for name in ("q8_0", "q4_0", "q4_k", "q6_k")),
    *(_blocks_case(name, 16384, 16384, "gpu") for name in ("q8_0", "q4_0", "q4_k", "q6_k", "mxfp4", "nf4")),
    _matmul_case(1024, "f32", "cpu"),
    _matmul_case(2048, "f32", "cpu"),
    _matmul_case(2048, "f32", "cpu", transposed=True),
    _matmul_case(2048, "bf16", "cpu"),
    *(_matmul_case(8192, dtype, "gpu") for dtype in _DTYPES),
    *(_attention_case(32, 1024, dtype, "cpu") for dtype in ("f32", "bf16")),
    *(_attention_case(32, 4096, dtype, "gpu") for dtype in ("f32", "f16")),
    *(_decode_case(32, 4096, dtype, "cpu") for dtype in _DTYPES),
    *(_decode_case(32, 32768, dtype, "gpu", heads) for heads in (32, 8) for dtype in ("f32", "f16")),
    *(
        _elementwise_case(operation, reference, arity, out, mebi)
        for operation, reference, arity in (
            ("add", np.add, 2),
            ("multiply", np.multiply, 2),
            ("silu", _silu, 1),
            ("gelu", _gelu, 1),
        )
        for out, mebi in ((False, 16), (True, 16), (False, 256))
    ),
    *(
        _rows_case(operation, reference, vectors, out, size)
        for operation, reference, vectors in (
            ("softmax", _softmax, 0),
            ("rms_norm", _rms_norm, 1),
            ("layer_norm", _layer_norm, 2),
        )
        for out, size in ((False, 4096), (True, 4096), (False, 8192))
    ),
    *(
        _sum_case(operation, axis, size, places)
        for operation, axis in (("sum", None), ("sum_rows", 1), ("sum_columns", 0))
        for size, places in ((4096, ("cpu",)), (16384, ("gpu",)))
    ),
    _rope_case(32, False, ("cpu",)),
    _rope_case(32, True, ("cpu",)),
    _rope_case(256, False, ("gpu",)),
    _call_case("add 64", "add", np.add, (64,), (64,)),
    _call_case("add 1024", "add", np.add, (1024,), (1024,)),
    _call_case("silu 64", "silu", _silu, (64,)),
    _call_case("sum 64", "sum", np.sum, (64,)),
    _call_case("softmax 1x64", "softmax", _softmax, (1, 64)),
    _call_case("rms_norm 1x64", "rms_norm", _rms_norm, (1, 64), (64,)),
    _call_case("matmul_vec 8x8", "matmul_vec", np.matmul, (8, 8), (8,)),
    _call_case("matmul_vec 64x64", "matmul_vec", np.matmul, (64, 64), (64,)),
    Case(
        name="add 1024 in a chain",
        operation="chain",
        inputs=lambda random: (_random(random, (1024,)), _random(random, (1024,))),
        reference=np.add,
        places=("gpu",),
        number=1000,
        clock="processor",
    ),
    Case(
        name="NumPy 1024, silu, NumPy",
        operation="round_trip",
        inputs=lambda random: (_random(random, (1024,)),),
        reference=_silu,
        places=("gpu",),
        number=100,
    ),
    _kernel_case("kernel 1024 on tensors", "kernel_on_tensors", 100, "processor"),
    _kernel_case("kernel 1024, NumPy to NumPy", "kernel_on_arrays", 20, "wall"),
    *map(_shader_case, SHADERS),
    *_transfer_cases(256, large=False),
    *_transfer_cases(1024, large=True),
    Case(name="import, beyond NumPy's own", operation="import_time", places=("cpu",), clock="own"),
)
