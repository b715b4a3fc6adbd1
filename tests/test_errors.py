"""Every error: its class, its words, and that the library goes on working after it."""

import builtins
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import gpukern as gk
from arrays import read_only
from processes import run_script

CLASSES = {
    gk.Error: Exception,
    gk.ShapeError: ValueError,
    gk.DTypeError: TypeError,
    gk.DeviceError: RuntimeError,
    gk.DeviceNotFoundError: gk.DeviceError,
    gk.DeviceLostError: gk.DeviceError,
    gk.OutOfMemoryError: MemoryError,
    gk.KernelError: ValueError,
    gk.BoundsError: IndexError,
    gk.ArgumentError: ValueError,
    gk.FileError: ValueError,
}
# Nothing raises it: it is the base of all others.
NEVER_RAISED = {gk.Error}

F32 = np.float32
MATRIX, VECTOR = np.ones((2, 3), F32), np.ones(4, F32)


@dataclass(frozen=True)
class Case:
    """A call that must fail, and the words that its message must have."""

    error: type
    call: Callable
    words: tuple


def elsewhere(device):
    """Another device than this one."""
    return next(
        (other for other in gk.devices() if other != device), gk.get_device("cpu").with_caps("simd=scalar,threads=1")
    )


CASES = {
    "add of shapes": Case(gk.ShapeError, lambda d: gk.add(MATRIX, VECTOR, device=d), ("add", "(2, 3)", "(4,)")),
    "operator of shapes": Case(
        gk.ShapeError, lambda d: gk.ones((2, 3), device=d) * gk.ones(4, device=d), ("multiply", "(2, 3)", "(4,)")
    ),
    "inner length": Case(
        gk.ShapeError, lambda d: gk.matmul_vec(MATRIX, VECTOR, device=d), ("matmul_vec", "(2, 3)", "(4,)")
    ),
    "no matrix": Case(gk.ShapeError, lambda d: gk.matmul_vec(VECTOR, VECTOR, device=d), ("matmul_vec", "w", "(4,)")),
    "out shape": Case(
        gk.ShapeError, lambda d: gk.silu(MATRIX, out=VECTOR.copy(), device=d), ("silu", "out", "(2, 3)", "(4,)")
    ),
    "negative size": Case(gk.ShapeError, lambda d: gk.zeros((3, -1), device=d), ("zeros", "-1")),
    "ragged list": Case(gk.ShapeError, lambda d: gk.asarray([[1], [1, 2]], device=d), ("asarray",)),
    "reshape": Case(gk.ShapeError, lambda d: gk.ones((2, 3), device=d).reshape(4), ("reshape", "(2, 3)", "(4,)")),
    "item of many": Case(gk.ShapeError, lambda d: gk.ones(4, device=d).item(), ("item", "(4,)")),
    "complex": Case(gk.DTypeError, lambda d: gk.asarray(np.array([1j]), device=d), ("asarray", "complex128")),
    "text": Case(gk.DTypeError, lambda d: gk.add("text", VECTOR, device=d), ("add", "x1", "str")),
    "None": Case(gk.DTypeError, lambda d: gk.add(VECTOR, None, device=d), ("add", "x2")),
    "objects": Case(gk.DTypeError, lambda d: gk.silu(np.array([{}]), device=d), ("silu", "x", "object")),
    "silu of integers": Case(gk.DTypeError, lambda d: gk.silu(np.ones(3, np.int32), device=d), ("silu", "int32")),
    "subtract of bools": Case(
        gk.DTypeError, lambda d: gk.subtract(np.ones(3, bool), np.ones(3, bool), device=d), ("subtract", "bool")
    ),
    "no common type": Case(
        gk.DTypeError,
        lambda d: gk.add(np.ones(3, np.int32), np.ones(3, np.uint32), device=d),
        ("add", "int32", "uint32", "astype"),
    ),
    "int64 out of range": Case(
        gk.DTypeError, lambda d: gk.add(np.array([2**40]), VECTOR, device=d), ("add", "x1", "int64", "1099511627776")
    ),
    "weak scalar": Case(gk.DTypeError, lambda d: gk.ones(3, "uint8", device=d) + 300, ("add", "300", "uint8")),
    "out dtype": Case(
        gk.DTypeError,
        lambda d: gk.silu(VECTOR, out=np.ones(4, np.float16), device=d),
        ("silu", "out", "float16", "float32"),
    ),
    "no such device": Case(gk.DeviceNotFoundError, lambda d: gk.zeros(3, device="cuda"), ("cuda", "cpu")),
    "two devices": Case(
        gk.DeviceError, lambda d: gk.ones(3, device=d) + gk.ones(3, device=elsewhere(d)), ("add", "cpu", ".to(")
    ),
    "out on another device": Case(
        gk.DeviceError,
        lambda d: gk.silu(gk.ones(3, device=d), out=gk.ones(3, device=elsewhere(d))),
        ("silu", "out"),
    ),
    "too large": Case(gk.OutOfMemoryError, lambda d: gk.zeros(2**38, device=d), ("zeros", "1 TiB")),
    "index": Case(gk.BoundsError, lambda d: gk.ones(3, device=d)[5], ("5", "3")),
    "read-only out": Case(
        gk.ArgumentError, lambda d: gk.silu(VECTOR, out=read_only(VECTOR), device=d), ("silu", "out", "read-only")
    ),
    "no copy": Case(
        gk.ArgumentError, lambda d: gk.asarray([1.0], device=d, copy=False), ("asarray", "copy")
    ),
    "comparison of shapes": Case(
        gk.ShapeError, lambda d: gk.ones((2, 3), device=d) < gk.ones(4, device=d), ("less", "(2, 3)", "(4,)")
    ),
    "where of shapes": Case(
        gk.ShapeError, lambda d: gk.where(MATRIX > 0, MATRIX, VECTOR, device=d), ("where", "(2, 3)", "(4,)")
    ),
    "sum along an axis": Case(gk.BoundsError, lambda d: gk.sum(MATRIX, 2, device=d), ("sum", "axis", "2", "(2, 3)")),
    "max along axes": Case(gk.ShapeError, lambda d: gk.max(MATRIX, (0, -2), device=d), ("max", "axis", "0", "(2, 3)")),
    "max of nothing": Case(gk.ShapeError, lambda d: gk.max(MATRIX[:0], device=d), ("max", "(0, 3)")),
    "softmax along an axis": Case(
        gk.BoundsError, lambda d: gk.softmax(MATRIX, -3, device=d), ("softmax", "axis", "-3", "(2, 3)")
    ),
    "softmax of integers": Case(
        gk.DTypeError, lambda d: gk.softmax(np.ones(3, np.int32), device=d), ("softmax", "int32")
    ),
    "weight of a norm": Case(
        gk.ShapeError, lambda d: gk.rms_norm(MATRIX, VECTOR, device=d), ("rms_norm", "weight", "(4,)", "(3,)")
    ),
    "bias of a norm": Case(
        gk.ShapeError, lambda d: gk.layer_norm(MATRIX, None, VECTOR, device=d), ("layer_norm", "bias", "(4,)", "(3,)")
    ),
    "groups": Case(gk.Error, lambda d: gk.group_norm(MATRIX, 2, device=d), ("group_norm", "groups", "2", "3")),
    "odd dim": Case(
        gk.ShapeError,
        lambda d: gk.rope(MATRIX, MATRIX[:, :1], MATRIX[:, :1], device=d),
        ("rope", "x", "(2, 3)"),
    ),
    "length of tables": Case(
        gk.ShapeError,
        lambda d: gk.rope(np.ones((2, 4), F32), MATRIX, MATRIX, device=d),
        ("rope", "cos", "(2, 3)", "(2, 4)"),
    ),
    "dim of tables": Case(gk.Error, lambda d: gk.rope_tables([1, 2], 3, device=d), ("rope_tables", "dim", "3")),
    "index to take": Case(
        gk.BoundsError, lambda d: gk.take(MATRIX, [0, 3], axis=1, device=d), ("take", "index", "3", "axis", "1")
    ),
    "id of an embedding": Case(
        gk.BoundsError, lambda d: gk.embedding(MATRIX, [[-3]], device=d), ("embedding", "index", "-3", "2")
    ),
    "fraction as an index": Case(
        gk.DTypeError, lambda d: gk.take(MATRIX, F32([1]), axis=0, device=d), ("take", "indices", "float32")
    ),
    "concat of shapes": Case(
        gk.ShapeError, lambda d: gk.concat([MATRIX, np.ones((2, 4), F32)], device=d), ("concat", "(2, 3)", "(2, 4)")
    ),
    "stack of shapes": Case(gk.ShapeError, lambda d: gk.stack([MATRIX, VECTOR], device=d), ("stack", "(2, 3)", "(4,)")),
    "concat of nothing": Case(gk.Error, lambda d: gk.concat([], device=d), ("concat",)),
    "axes of a transpose": Case(
        gk.ShapeError, lambda d: gk.transpose(gk.ones((2, 3), device=d), (0, 0)), ("transpose", "axes", "(2, 3)")
    ),
    "function reshape": Case(
        gk.ShapeError, lambda d: gk.reshape(gk.ones((2, 3), device=d), (4,)), ("reshape", "(2, 3)", "(4,)")
    ),
    "broadcast": Case(
        gk.ShapeError,
        lambda d: gk.broadcast_to(gk.ones((2, 3), device=d), (3, 2)),
        ("broadcast_to", "(2, 3)", "(3, 2)"),
    ),
    "shift of floats": Case(
        gk.DTypeError, lambda d: gk.ones(3, device=d) << 1, ("bitwise_left_shift", "float32")
    ),
    "gelu of integers": Case(gk.DTypeError, lambda d: gk.gelu(np.ones(3, np.int32), device=d), ("gelu", "int32")),
    "kind of gelu": Case(
        gk.ArgumentError, lambda d: gk.gelu(VECTOR, approximate="sigmoid", device=d), ("gelu", "approximate", "sigmoid")
    ),
    "bound of clip": Case(
        gk.DTypeError, lambda d: gk.clip(gk.ones(3, "uint8", device=d), 0, 300), ("clip", "300", "uint8")
    ),
    "out of a reduction": Case(
        gk.ShapeError,
        lambda d: gk.sum(MATRIX, 0, out=np.zeros((1, 3), F32), device=d),
        ("sum", "out", "(3,)", "(1, 3)"),
    ),
    "out of a comparison": Case(
        gk.DTypeError,
        lambda d: gk.less(VECTOR, 1, out=VECTOR.copy(), device=d),
        ("less", "out", "bool", "float32"),
    ),
    "norm of two devices": Case(
        gk.DeviceError,
        lambda d: gk.rms_norm(gk.ones((2, 4), device=d), gk.ones(4, device=elsewhere(d))),
        ("rms_norm", "cpu", ".to("),
    ),
    "truth of a comparison": Case(gk.ShapeError, lambda d: bool(gk.ones(4, device=d) == 1), ("(4,)",)),
    "caps": Case(gk.ArgumentError, lambda d: d.with_caps("nonsense"), ("nonsense",)),
    "number beside a condition": Case(
        gk.DTypeError, lambda d: gk.where(VECTOR > 0, 2**40, 1, device=d), ("where", "1099511627776", "int32")
    ),
    "number beyond float64": Case(gk.DTypeError, lambda d: gk.ones(3, "int32", device=d) + 2**2000, ("add", "int32")),
    "eps beyond float32": Case(
        gk.ArgumentError, lambda d: gk.l2_norm(VECTOR, eps=1e39, device=d), ("l2_norm", "eps", "1e39", "float32")
    ),
    "operands of two devices": Case(
        gk.DeviceError,
        lambda d: gk.take(gk.ones(3, device=d), gk.asarray([1], device=elsewhere(d))),
        ("take", "x", "indices", ".to("),
    ),
    "masked array": Case(
        gk.ArgumentError,
        lambda d: gk.add(VECTOR, np.ma.masked_greater(VECTOR, 0), device=d),
        ("add", "x2", "mask", ".filled()"),
    ),
    "one table for both": Case(
        gk.ArgumentError,
        lambda d: gk.rope_tables([0, 1], 4, out=(table := gk.zeros((2, 2), device=d), table)),
        ("rope_tables", "out"),
    ),
    "arrays for tables": Case(
        gk.ArgumentError,
        lambda d: gk.rope_tables(gk.arange(2, device=d), 4, out=(np.zeros((2, 2), F32), np.zeros((2, 2), F32))),
        ("rope_tables", "out", "Tensors"),
    ),
    "base of tables": Case(
        gk.ArgumentError, lambda d: gk.rope_tables([0, 1], 4, theta=0.5, device=d), ("rope_tables", "theta", "0.5", "1")
    ),
    "axis beyond all": Case(gk.BoundsError, lambda d: gk.sum(MATRIX, 2**70, device=d), ("sum", "axis", str(2**70))),
    "axes beyond all": Case(
        gk.BoundsError,
        lambda d: gk.transpose(gk.ones((2, 3), device=d), (2**70, 0)),
        ("transpose", "axis", str(2**70)),
    ),
    "index beyond all": Case(gk.BoundsError, lambda d: gk.ones(3, device=d)[2**70], (str(2**70),)),
    "rotary_dim beyond all": Case(
        gk.ArgumentError,
        lambda d: gk.rope(MATRIX, MATRIX, MATRIX, rotary_dim=2**70, device=d),
        ("rope", "rotary_dim", str(2**70)),
    ),
    "dim that is no integer": Case(
        gk.ArgumentError, lambda d: gk.rope_tables([0, 1], 4.0, device=d), ("rope_tables", "dim", "4.0")
    ),
    "eps that is no number": Case(
        gk.ArgumentError, lambda d: gk.rms_norm(MATRIX, eps="a", device=d), ("rms_norm", "eps", "'a'")
    ),
    "correction that is no number": Case(
        gk.ArgumentError, lambda d: gk.var(MATRIX, correction="a", device=d), ("var", "correction", "'a'")
    ),
    "correction beyond float64": Case(
        gk.ArgumentError, lambda d: gk.std(MATRIX, correction=10**400, device=d), ("std", "correction", "float64")
    ),
    "keepdims that is no truth": Case(
        gk.ArgumentError, lambda d: gk.sum(MATRIX, keepdims="no", device=d), ("sum", "keepdims", "'no'", "True")
    ),
    "no kind of gelu": Case(
        gk.ArgumentError, lambda d: gk.gelu(VECTOR, approximate=None, device=d), ("gelu", "approximate", "None")
    ),
    "concat without a list": Case(gk.ArgumentError, lambda d: gk.concat(VECTOR, VECTOR, device=d), ("concat", "list")),
    "no model": Case(gk.FileError, lambda d: gk.load(__file__, device=d), ("load", "test_errors.py", "GGUF")),
    "no device to use": Case(gk.ArgumentError, lambda d: gk.use_device(3), ("use_device", "3")),
    "no device to profile": Case(gk.ArgumentError, lambda d: gk.profile(3), ("profile", "3")),
    "arange": Case(gk.ArgumentError, lambda d: gk.arange(0, 3, 0, device=d), ("arange", "step")),
    # Of which test_kernel_errors.py has many.
    "kernel": Case(gk.KernelError, lambda d: gk.Kernel("fn f() {}", name="f"), ("kernel", "f", "entry point")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_error_says_what_is_wrong(plain_device, name):
    case = CASES[name]
    with pytest.raises(case.error) as caught:
        case.call(plain_device)
    assert type(caught.value) is case.error or case.error is gk.Error
    message = str(caught.value)
    for word in case.words:
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message), f"{word!r} is not in: {message}"
    assert (gk.ones(3, device=plain_device) + 1).tolist() == [2, 2, 2]


def test_a_lost_device(gpu):
    """In a process of its own: see also test_engine.py."""
    printed = run_script(f"""
        device = gk.get_device("{gpu.id}")
        tensor = gk.ones(3, device=device)
        device._lose()
        try:
            gk.silu(tensor).numpy()
        except gk.DeviceLostError as error:
            print(error)
    """)
    assert gpu.id in printed


TESTED_ELSEWHERE_IN_THIS_FILE = {gk.DeviceLostError}


def exported_errors():
    exported = (getattr(gk, name) for name in gk.__all__)
    return {thing for thing in exported if isinstance(thing, type) and issubclass(thing, Exception)} - {
        gk.PrecisionWarning
    }


def test_every_error_class_is_tested():
    raised = {case.error for case in CASES.values()} - {gk.Error} | TESTED_ELSEWHERE_IN_THIS_FILE
    assert raised | NEVER_RAISED == exported_errors()
    assert not raised & NEVER_RAISED


def test_every_error_class_is_also_one_that_a_caller_expects():
    assert CLASSES.keys() == exported_errors()
    for error, base in CLASSES.items():
        assert issubclass(error, base)
        assert issubclass(error, gk.Error)
        assert error.__doc__
        assert error.__module__ == "gpukern"
        assert not hasattr(builtins, error.__name__)
    assert issubclass(gk.PrecisionWarning, UserWarning)


# Sizes that are none


@pytest.mark.parametrize("shape", [-1, (2, -3), (-(2**63),)], ids=str)
@pytest.mark.parametrize("name", ["empty", "zeros", "ones", "full"])
def test_negative_sizes(device, name, shape):
    arguments = (shape, 1.0) if name == "full" else (shape,)
    with pytest.raises(gk.ShapeError, match=name):
        getattr(gk, name)(*arguments, device=device)


@pytest.mark.parametrize("shape", [2.5, "3", None, (2, 2.5), (None,), ((2,),)], ids=repr)
@pytest.mark.parametrize("name", ["empty", "zeros", "ones"])
def test_sizes_that_are_no_numbers(device, name, shape):
    with pytest.raises((gk.Error, TypeError)):
        getattr(gk, name)(shape, device=device)


def test_more_elements_than_memory_has_room_for(device):
    for dtype in ("float32", "int8", "bool"):
        with pytest.raises(gk.OutOfMemoryError):
            gk.full(2**40, 1, dtype, device=device)


@pytest.mark.parametrize("ndim", [5, 33, 64])
def test_as_many_axes_as_numpy_has(device, ndim):
    x = np.ones((1,) * (ndim - 2) + (2, 3), F32)
    result = gk.add(x, x[..., 1:2], device=device)
    assert result.shape == x.shape
    assert result.ravel().tolist() == [2] * 6


def test_more_axes_than_numpy_has(device):
    with pytest.raises(gk.ShapeError, match="65"):
        gk.zeros((1,) * 65, device=device)
