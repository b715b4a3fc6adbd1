"""Kernels of users' formulas: one for each element, and reductions."""

import copy
import pickle
import threading

import numpy as np
import pytest

import gpukern as gk
from arrays import (
    BFLOAT16,
    BOOL,
    DTYPES,
    FLOAT16,
    FLOAT32,
    FLOATS,
    INT8,
    INT32,
    LAID_OUT,
    UINT8,
    UINT32,
    WRITEABLE_LAYOUTS,
    assert_same,
    cycle,
    kind,
    lay_out,
    sample,
    small,
)
from conftest import elsewhere, lowered

AXPY = gk.ElementwiseKernel("x, y, a", "z", "z = a * x + y", name="axpy")
TWICE = gk.ElementwiseKernel("x", "y", "y = x + x", name="twice")
LENGTH = gk.ReductionKernel("x * x", "a + b", "0.0", "sqrt(a)", name="length")
TOTAL = gk.ReductionKernel("x", "a + b", "0", name="total")
DOT = gk.ReductionKernel("x * y", "a + b", "0", inputs="x, y", name="dot")


def on(device, array):
    """A copy: on the CPU device it would share the array's memory."""
    return gk.asarray(array, device=device, copy=True)


def f64(array):
    return np.asarray(array).astype(np.float64)


# Types of elementwise kernels


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(device, dtype):
    body = {"f": "z = x * 2.0 + y", "i": "z = x * 2 + y", "b": "z = x && !y"}[kind(dtype)]
    if dtype in (UINT32, UINT8):
        body = body.replace("2", "2u")
    x, y = small(dtype, (3, 70), 1), small(dtype, (3, 70), 2)
    want = {"f": lambda: f64(x) * 2 + f64(y), "i": lambda: x * 2 + y, "b": lambda: x & ~y}[kind(dtype)]()
    got = gk.ElementwiseKernel("x, y", "z", body)(x, y, device=device)
    assert_same(got, np.asarray(want).astype(dtype))


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_every_layout(device, dtype, layout):
    x = lay_out(small(dtype, (3, 5, 7)), layout)
    body = "y = x" if dtype == BOOL else "y = x + x"
    want = np.asarray(x) if dtype == BOOL else (f64(x) * 2).astype(dtype.newbyteorder("="))
    kernel = gk.ElementwiseKernel("x", "y", body)
    assert_same(kernel(x, device=device), want)
    tensor = kernel(on(device, np.asarray(x)))
    assert isinstance(tensor, gk.Tensor)
    assert_same(tensor.numpy(), want)


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        (FLOAT32, INT32, FLOAT32),
        (FLOAT16, BFLOAT16, FLOAT32),
        (FLOAT16, BOOL, FLOAT16),
        (INT8, UINT8, INT32),
        (UINT8, UINT32, UINT32),
        (INT8, FLOAT16, FLOAT32),
    ],
    ids=str,
)
def test_operands_promote(device, first, second, want):
    x, y = small(first, 11, 1), small(second, 11, 2)
    got = gk.ElementwiseKernel("x, y", "z", "z = x * y")(x, y, device=device)
    assert_same(got, (f64(x) * f64(y)).astype(want))


def test_numbers_take_the_type_beside_them(device):
    x = small(FLOAT16, 9)
    assert_same(AXPY(x, 1, 0.5, device=device), (f64(x) * 0.5 + 1).astype(np.float16))
    n = small(INT32, 9)
    assert_same(TWICE(n, device=device), n * 2)
    assert_same(AXPY(n, 1, 3, device=device), n * 3 + 1)
    assert AXPY(n, 1, 0.5, device=device).dtype == np.float32
    with pytest.raises(gk.DTypeError, match="kernel 'axpy': the integer 300 is outside the range of uint8"):
        AXPY(small(UINT8, 3), 300, 1, device=device)


def test_integers_that_have_no_type_together_are_refused(device):
    with pytest.raises(gk.DTypeError, match="kernel 'axpy': int8 and uint32 together"):
        AXPY(small(INT8, 3), small(UINT32, 3), 1, device=device)


@pytest.mark.parametrize("given", DTYPES, ids=str)
@pytest.mark.parametrize("fixed", DTYPES, ids=str)
def test_a_dtype_may_be_fixed(any_device, given, fixed):
    """What the variable has is what a conversion gives."""
    x = small(given, (2, 9))
    got = gk.ElementwiseKernel(f"x: {fixed}", "z", "z = x")(x, device=any_device)
    assert_same(got, x.astype(bool) if fixed == BOOL else f64(x).astype(fixed))


def test_a_mask_decides(device):
    kernel = gk.ElementwiseKernel("x, y, mask: bool", "z", "if (mask) { z = x; } else { z = y; }")
    x, y = sample(FLOAT16, (5, 9), 1), sample(FLOAT16, (5, 9), 2)
    mask = sample(BOOL, (5, 1))
    assert_same(kernel(x, y, mask, device=device), np.where(mask, x, y))
    assert_same(kernel(x, y, True, device=device), x)
    numbers = np.float32([[0.5], [0], [-1], [np.nan], [0.0]])
    assert_same(kernel(x, y, numbers, device=device), np.where(numbers != 0, x, y))


# Their results, shapes and sizes


def test_several_outputs_are_a_named_tuple(device):
    kernel = gk.ElementwiseKernel(
        "x, y", "q, r, big: bool, whole: int8", "q = floor(x / y); r = x - q * y; big = q > 2.0; whole = i32(q);"
    )
    x, y = sample(FLOAT32, (4, 33)), small(FLOAT32, (4, 33)) + 1
    got = kernel(x * 9, y, device=device)
    assert got._fields == ("q", "r", "big", "whole")
    quotient = np.floor((x * 9) / y)
    np.testing.assert_array_equal(got.q, quotient)
    np.testing.assert_allclose(got.r, f64(x * 9) - f64(quotient) * y, atol=1e-5)
    assert_same(got.big, quotient > 2)
    assert_same(got.whole, quotient.astype(np.int8))


@pytest.mark.parametrize(
    "shapes", [[(7,), (3, 1)], [(), (5,)], [(4, 1, 3), (1, 6, 1)], [(2, 3, 1, 5), (3, 4, 1)]], ids=str
)
def test_shapes_broadcast(device, shapes):
    x, y = (small(FLOAT32, shape, seed) for seed, shape in enumerate(shapes))
    assert_same(AXPY(x, y, 2.0, device=device), x * 2 + y)
    assert_same(AXPY(x=x, a=y, y=1.0, device=device), x * y + 1)


@pytest.mark.parametrize("shape", [0, 1, 2, 3, 5, 1023, 70_001, (3, 0, 2), (), (257, 65), (1,) * 12], ids=str)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
def test_every_size(device, shape, dtype):
    x = small(dtype, shape)
    assert_same(TWICE(x, device=device), (f64(x) * 2).astype(dtype))
    wide = gk.ElementwiseKernel("x", "y: float32, z", "y = f32(x) * 0.5; z = x")(x, device=device)
    assert_same(wide.y, np.asarray(x.astype(np.float32) * np.float32(0.5)))
    assert_same(wide.z, x)


def test_strided_in_four_dimensions(device):
    base = sample(FLOAT32, (6, 10, 8, 14))
    x, y = on(device, base)[::2, ::-1, 1:7, ::3], base[::2, ::-1, 1:7, ::3]
    other = on(device, base).transpose(3, 2, 1, 0)[:5, :6, :, :3].transpose(3, 2, 1, 0)
    want = base.transpose(3, 2, 1, 0)[:5, :6, :, :3].transpose(3, 2, 1, 0)
    assert_same(AXPY(x, other, 1.0).numpy(), y + want)


def test_many_axes_that_do_not_merge(device):
    base = small(FLOAT32, (4,) * 7)
    x = on(device, base)[(slice(None, None, 2),) * 7]
    want = base[(slice(None, None, 2),) * 7]
    index = gk.ElementwiseKernel("x", "z: uint32", "z = i")(x)
    assert_same(TWICE(x).numpy(), want * 2)
    assert_same(index.numpy(), np.arange(want.size, dtype=np.uint32).reshape(want.shape))


def test_the_flat_index_follows_the_shape(device):
    kernel = gk.ElementwiseKernel("x", "z: int32", "z = i32(i)")
    for shape in [(5,), (4, 7), (3, 5, 6)]:
        want = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        for x in (np.zeros(shape, np.float32), np.zeros(shape, np.float32, order="F")):
            assert_same(kernel(x, device=device), want)
            assert_same(
                kernel(on(device, x).transpose()).numpy(), np.arange(want.size, dtype=np.int32).reshape(shape[::-1])
            )
    large = kernel(gk.zeros((3, 50_001), device=device))
    assert_same(large.numpy(), np.arange(150_003, dtype=np.int32).reshape(3, -1))
    own = gk.ElementwiseKernel("i", "z", "z = i")(np.float32([3, 4]), device=device)
    assert_same(own, np.float32([3, 4]))


def test_larger_than_a_binding(gpu):
    """On GPUs, whose bindings can be made small. On the CPU device one spans gigabytes."""
    small_gpu = gpu.with_caps("binding=64KiB,groups=1024")
    x, row = cycle(FLOAT32, (301, 997)), sample(FLOAT32, 997)
    got = gk.ElementwiseKernel("x, y, a", "z, n: uint8, at: uint32", "z = a * x + y; n = u32(x > 0.0); at = i;")(
        on(small_gpu, x), on(small_gpu, row), 2.0
    )
    np.testing.assert_allclose(got.z.numpy(), x * 2 + row, rtol=1e-6, atol=1e-6)
    assert_same(got.n.numpy(), (x > 0).astype(np.uint8))
    assert_same(got.at.numpy(), np.arange(x.size, dtype=np.uint32).reshape(x.shape))
    across = on(small_gpu, x).transpose()
    assert_same(TWICE(across).numpy(), x.T * 2)


def test_beyond_65535_workgroups(any_device):
    few = lowered(any_device, "groups=1024,workgroup=16")
    count = 1024 * 16 * 4 * 4 + 70_001
    x = cycle(INT8, count)
    assert_same(TWICE(on(few, x)).numpy(), x * np.int8(2))


# What bodies can do


def test_bodies_have_control_flow(device):
    collatz = gk.ElementwiseKernel(
        "n",
        "steps",
        """
        var value = n;
        while (value != 1) {  // would not end for 0, of which padding is full
            if (value % 2 == 0) { value = value / 2; } else { value = 3 * value + 1; }
            steps += 1;
        }
        """,
        name="collatz",
    )

    def steps(n):
        count = 0
        while n != 1:
            n, count = (n // 2 if n % 2 == 0 else 3 * n + 1), count + 1
        return count

    numbers = np.arange(1, 30, dtype=np.int32)
    assert_same(collatz(numbers, device=device), np.int32([steps(int(n)) for n in numbers]))
    assert_same(collatz(on(device, numbers)[::3]).numpy(), np.int32([steps(int(n)) for n in numbers[::3]]))


def test_bodies_may_return_early_and_begin_with_zeros(device):
    kernel = gk.ElementwiseKernel("x", "y", "if (x < 0.0) { return; }\nlet root = sqrt(x);\ny = root")
    x = np.float32([4, -1, 9, -4, 16])
    assert_same(kernel(x, device=device), np.float32([2, 0, 3, 0, 4]))


def test_preambles_have_functions_and_constants(device):
    kernel = gk.ElementwiseKernel(
        "x",
        "y",
        "y = horner(x) // the last line, a comment",
        preamble="const PARTS = array(1.0, -2.0, 3.0);\n"
        "fn horner(x: f32) -> f32 { var y = 0.0; for (var n = 0; n < 3; n++) { y = y * x + PARTS[n]; } return y; }\n"
        "fn main() {}\nconst params = 1;\nfn place(x: f32) -> f32 { return x; }",
    )
    x = small(FLOAT32, 100)
    assert_same(kernel(x, device=device), x * x - 2 * x + 3)


def test_a_wrong_index_stays_within_its_array(any_device):
    kernel = gk.ElementwiseKernel("n", "y", "var own = array(1, 2, 3); y = own[n]")
    got = kernel(np.int32([0, 2, 1 << 30, -5]), device=any_device)
    assert_same(got[:2], np.int32([1, 3]))
    assert set(got[2:].tolist()) <= {0, 1, 2, 3}


# Where results go


@pytest.mark.parametrize("layout", WRITEABLE_LAYOUTS)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, UINT8], ids=str)
def test_out_of_any_layout(device, dtype, layout):
    x = small(dtype, (5, 7))
    out = lay_out(np.zeros((5, 7), dtype), layout)
    assert TWICE(x, out=out, device=device) is out
    assert_same(np.asarray(out), (f64(x) * 2).astype(dtype))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
def test_out_of_tensors(device, dtype):
    x, base = small(dtype, (4, 6)), gk.zeros((8, 12), dtype=dtype, device=device)
    out = base[1::2, ::-2]
    assert TWICE(on(device, x), out=out) is out
    want = np.zeros((8, 12), dtype)
    want[1::2, ::-2] = (f64(x) * 2).astype(dtype)
    assert_same(base.numpy(), want)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8], ids=str)
@pytest.mark.parametrize("index", [np.s_[:, :], np.s_[1::2, ::-1], np.s_[:3, :5]], ids=str)
def test_in_place(device, dtype, index):
    base = small(dtype, (6, 10))
    t = on(device, base)
    x = t[index]
    assert AXPY(x, x, 2, out=x) is x
    want = base.copy()
    want[index] = (f64(base[index]) * 3).astype(dtype)
    assert_same(t.numpy(), want)


def test_in_place_with_several_outputs(device):
    swap = gk.ElementwiseKernel("x, y", "u, v", "u = y; v = x")
    x, y = sample(FLOAT32, (5, 9), 1), sample(FLOAT32, (5, 9), 2)
    a, b = on(device, x), on(device, y)
    got = swap(a, b, out=(a, b))
    assert got.u is a
    assert got.v is b
    assert_same(a.numpy(), y)
    assert_same(b.numpy(), x)
    # Two outputs, and an input, that lie in one buffer.
    both = on(device, np.stack([x, y]))
    swap(both[0], both[1], out=(both[0], both[1]))
    assert_same(both.numpy(), np.stack([y, x]))


def test_out_that_overlaps_an_input(device):
    x = sample(FLOAT32, 100)
    t = on(device, x)
    TWICE(t[:-1], out=t[1:])
    assert_same(t.numpy(), np.concatenate([x[:1], x[:-1] * 2]))


def test_outs_that_do_not_fit(any_device):
    x, two = gk.zeros(3, device=any_device), gk.ElementwiseKernel("x", "u, v", "u = x; v = x", name="two")
    with pytest.raises(gk.ShapeError, match=r"kernel 'twice': out= has shape \(4,\)"):
        TWICE(x, out=gk.zeros(4, device=any_device))
    with pytest.raises(gk.DTypeError, match="kernel 'twice': out= has dtype int32"):
        TWICE(x, out=gk.zeros(3, dtype="int32", device=any_device))
    with pytest.raises(gk.ArgumentError, match="kernel 'twice': out= must be a Tensor"):
        TWICE(x, out=np.zeros(3, np.float32))
    with pytest.raises(gk.KernelError, match="kernel 'two': out= must be a tuple of 2, for u, v"):
        two(x, out=gk.zeros(3, device=any_device))
    with pytest.raises(gk.KernelError, match="kernel 'two': out= has the same memory for 'u' and for 'v'"):
        two(x, out=(y := gk.zeros(3, device=any_device), y))
    with pytest.raises(gk.ArgumentError, match="kernel 'two': out= has arrays and tensors"):
        two(np.zeros(3, np.float32), out=(y, np.zeros(3, np.float32)), device=any_device)
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(gk.ArgumentError, match="read-only"):
        TWICE(np.zeros(3, np.float32), out=frozen, device=any_device)
    part = np.zeros(3, np.float32)
    assert two(np.float32([1, 2, 3]), out=(None, part), device=any_device).v is part
    assert_same(part, np.float32([1, 2, 3]))


def test_arrays_and_tensors(any_device, quiet_float64):
    x = sample(FLOAT32, 5)
    assert isinstance(TWICE(x, device=any_device), np.ndarray)
    assert isinstance(AXPY(on(any_device, x), x, 1.0), gk.Tensor)
    assert TWICE(x.astype(np.float64), device=any_device).dtype == np.float32
    assert_same(TWICE([1.0, 2.0], device=any_device), np.float32([2, 4]))
    with gk.use_device(any_device):
        assert_same(TWICE(x), x + x)
    with pytest.raises(gk.DeviceError, match="kernel 'axpy': a tensor lives on"):
        AXPY(on(any_device, x), x, 1.0, device=elsewhere())
    with pytest.raises(gk.DeviceError, match="kernel 'axpy'"):
        AXPY(on(any_device, x), gk.zeros(5, device=elsewhere()), 1.0)


# Reductions


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (), (0, 1, 2)], ids=str)
def test_reductions_over_axes(device, dtype, axis):
    x = small(dtype, (3, 17, 5))
    want = np.sum(f64(x), axis=axis)
    want_dtype = dtype if dtype in (*FLOATS, UINT32) else np.int32
    for keepdims in (False, True):
        got = TOTAL(x, axis=axis, keepdims=keepdims, device=device)
        assert_same(got, np.sum(f64(x), axis=axis, keepdims=keepdims).astype(want_dtype))
    assert_same(TOTAL(on(device, x), axis).numpy(), np.asarray(want).astype(want_dtype))


@pytest.mark.parametrize(("dtype", "layout"), LAID_OUT)
def test_reductions_of_every_layout(device, dtype, layout):
    x = lay_out(small(dtype, (6, 5, 9)), layout)
    want_dtype = dtype if dtype in (*FLOATS, UINT32) else np.int32
    assert_same(TOTAL(x, axis=1, device=device), np.sum(f64(x), axis=1).astype(want_dtype))


@pytest.mark.parametrize("shape", [(1,), (3,), (1023,), (70_001,), (257, 65), (2, 40_000), (40_000, 3)], ids=str)
def test_lengths_of_every_size(device, shape):
    x = sample(FLOAT32, shape)
    for axis in (None, 0, -1):
        want = np.sqrt(np.sum(f64(x) ** 2, axis=axis))
        np.testing.assert_allclose(LENGTH(x, axis=axis, device=device), want, rtol=2e-6)


@pytest.mark.parametrize(
    ("formulas", "want"),
    [
        (("x", "max(a, b)", "-3e38"), lambda x: np.max(x, axis=1)),
        (("x", "min(a, b)", "3e38"), lambda x: np.min(x, axis=1)),
        (("abs(x)", "max(a, b)", "0.0", "a * 2.0"), lambda x: np.max(np.abs(x), axis=1) * 2),
        (("x > 0.5", "a + b", "0"), lambda x: np.sum(x > 0.5, axis=1).astype(np.float32)),
        (("1.0 + x * 0.01", "a * b", "1.0"), lambda x: np.prod(1 + f64(x) * 0.01, axis=1)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_other_reductions(device, formulas, want):
    x = sample(FLOAT32, (37, 300))
    np.testing.assert_allclose(gk.ReductionKernel(*formulas)(x, axis=1, device=device), want(x), rtol=1e-5)
    np.testing.assert_allclose(gk.ReductionKernel(*formulas)(on(device, x.T), axis=0).numpy(), want(x), rtol=1e-5)


def test_nothing_becomes_the_identity(device):
    kernel = gk.ReductionKernel("x", "a + b", "0.0", "a + 3.0", name="three")
    for shape, axis in [((0,), None), ((3, 0), 1), ((2, 0, 2), (0, 1))]:
        got = kernel(np.zeros(shape, np.float32), axis=axis, device=device)
        assert_same(got, np.sum(np.zeros(shape, np.float32), axis=axis) + np.float32(3))
    assert_same(kernel(np.zeros((3, 0), np.float32), axis=0, device=device), np.zeros(0, np.float32))
    assert_same(TOTAL(np.zeros((2, 0), np.int8), axis=1, keepdims=True, device=device), np.zeros((2, 1), np.int32))


def test_padding_is_not_mapped(device):
    """A formula that would not end for an element that is not there."""
    kernel = gk.ReductionKernel(
        "halvings(x)",
        "a + b",
        "0",
        preamble="fn halvings(x: i32) -> i32 { var v = x; var n = 0; while (v % 2 == 0) { v /= 2; n++; } return n; }",
    )
    for count in (1, 3, 5, 1001):
        x = np.arange(1, count + 1, dtype=np.int32)
        assert kernel(x, device=device) == sum((int(n) & -int(n)).bit_length() - 1 for n in x)
        assert kernel(on(device, np.repeat(x, 2))[::2]).numpy() == kernel(x, device=device)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
def test_long_sums_are_accurate(any_device, dtype):
    x = cycle(dtype, 5_000_000)
    magnitudes = np.sum(np.abs(f64(x)))
    wide = gk.ReductionKernel("x * 1.0", "a + b", "0", inputs="x: float32")
    assert abs(float(wide(x, device=any_device)) - np.sum(f64(x))) <= 2e-6 * magnitudes
    assert_same(TOTAL(np.ones(3_000_001, np.float32), device=any_device), np.float32(3_000_001))


def test_reductions_larger_than_a_binding(gpu):
    """On GPUs, whose bindings can be made small."""
    x = cycle(FLOAT32, (300, 997))
    t = on(gpu.with_caps("binding=64KiB"), x)
    for axis in (None, 0, 1):
        want, magnitudes = np.sum(f64(x) ** 2, axis=axis), np.sum(f64(x) ** 2, axis=axis)
        np.testing.assert_allclose(f64(LENGTH(t, axis=axis).numpy()) ** 2, want, atol=1e-5 * np.max(magnitudes))


def test_several_inputs(device):
    x, y = sample(FLOAT32, (23, 50), 1), sample(FLOAT32, (23, 1), 2)
    np.testing.assert_allclose(DOT(x, y, axis=1, device=device), np.sum(f64(x) * y, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(DOT(on(device, x), y=2.0).numpy(), np.sum(f64(x) * 2), rtol=1e-5, atol=1e-4)
    n, m = small(INT8, 70, 1), small(BOOL, 70, 2)
    assert_same(DOT(n, m, device=device), np.asarray(np.sum(n.astype(np.int32) * m), np.int32))
    half = small(FLOAT16, 20)
    assert DOT(half, half, device=device).dtype == np.float16
    where = gk.ReductionKernel("select(0.0, x, mask)", "a + b", "0", inputs="x, mask: bool")
    mask = x > 0
    np.testing.assert_allclose(
        where(x, mask, axis=0, device=device), np.sum(np.where(mask, f64(x), 0), axis=0), rtol=1e-5
    )


def test_reductions_into_out(device):
    x = small(FLOAT32, (4, 6))
    out = np.zeros((6,), np.float32)
    assert TOTAL(x, axis=0, out=out, device=device) is out
    assert_same(out, x.sum(axis=0))
    base = gk.zeros((4, 2), device=device)
    column = base[:, 1]
    assert TOTAL(on(device, x), axis=1, out=column) is column
    assert_same(base.numpy()[:, 1], x.sum(axis=1))
    with pytest.raises(gk.ShapeError, match="kernel 'total': out= has shape"):
        TOTAL(x, out=out, device=device)


def test_axes_are_checked(any_device):
    x = gk.zeros((2, 3), device=any_device)
    with pytest.raises(gk.BoundsError, match="kernel 'total': axis 2 is out of range"):
        TOTAL(x, axis=2)
    with pytest.raises(gk.ShapeError, match="kernel 'total': axis="):
        TOTAL(x, axis=(0, -2))
    with pytest.raises(gk.ArgumentError, match="kernel 'total': axis='x'"):
        TOTAL(x, axis="x")
    with pytest.raises(gk.ArgumentError, match="kernel 'total': keepdims=3"):
        TOTAL(x, keepdims=3)


# Mistakes


@pytest.mark.parametrize(
    ("body", "preamble", "line"),
    [
        ("z = x * w", "", ["body:1:9", "z = x * w", "^"]),
        ("z = x +", "", ["body:1:8"]),
        ("let v = x;\nz = v +* 2.0", "", ["body:2:8", "z = v +* 2.0"]),
        ("z = (x", "", ["body:1:5", "not closed"]),
        ("z = x }", "", ["body:1:7", "closes nothing"]),
        ("x = 1.0; z = x", "", ["body:1:1"]),
        ("z = f(x)", "fn f(x: f32) -> f32 {\n  return x * y;\n}", ["preamble:2:14"]),
        ("z = gpukern_thing", "", ["body:1:5", "gpukern_ are taken"]),
        ("z = x /* never ends", "", ["body:1:7", "does not end"]),
        ("z = vec2(x).xyz", "", ["body:1:"]),
        ("workgroupBarrier(); z = x", "", ["body:1:1", "wait for each other"]),
        ("z = 1u; z = 1.5", "", ["body:1:"]),
        ("return x;", "", ["body:1:1"]),
    ],
)
def test_mistakes_are_shown_where_they_are(body, preamble, line):
    with pytest.raises(gk.KernelError) as raised:
        gk.ElementwiseKernel("x", "z", body, name="wrong", preamble=preamble)
    message = str(raised.value)
    assert message.startswith("kernel 'wrong'")
    for words in line:
        assert words in message, message
    assert "gpukern_user" not in message


def test_mistakes_that_depend_on_types(any_device):
    kernel = gk.ElementwiseKernel("x, y", "z", "z = x & y", name="both")
    assert_same(kernel(np.int32([6]), np.int32([3]), device=any_device), np.int32([2]))
    for _ in range(2):
        with pytest.raises(gk.KernelError) as raised:
            kernel(np.float32([6]), np.float32([3]), device=any_device)
        assert "kernel 'both' with x: f32, y: f32, z: f32 does not compile" in str(raised.value)
        assert "body:1:5" in str(raised.value)
    total = gk.ReductionKernel("x & 1", "a + b", "0", name="odd")
    assert total(np.int32([6, 3]), device=any_device) == 1
    with pytest.raises(gk.KernelError, match=r"kernel 'odd' with x: f32 does not compile[^$]*map:1:1"):
        total(np.float32([6]), device=any_device)
    dot = gk.ReductionKernel("x & y", "a + b", "0", name="dot", inputs="x, y")
    with pytest.raises(gk.KernelError, match=r"kernel 'dot' with x: f32, y: f32 does not compile[^$]*map:1:1"):
        dot(np.float32([6]), np.float32([6]), device=any_device)


@pytest.mark.parametrize(
    ("formulas", "place"),
    [
        (("x * w", "a + b", "0"), "map:1:5"),
        (("x", "a + c", "0"), "reduce:1:5"),
        (("x", "a + b", "none"), "identity:1:1"),
        (("x", "a + b", "0", "a +"), "finish:1:4"),
        (("x) + (x", "a + b", "0"), "map:1:2"),
    ],
)
def test_mistakes_in_reductions(formulas, place):
    with pytest.raises(gk.KernelError) as raised:
        gk.ReductionKernel(*formulas, name="wrong")
    assert place in str(raised.value)
    assert "gpukern_user" not in str(raised.value)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ("x-y", "z", "inputs: 'x-y' cannot be a name"),
        ("x, fn", "z", "inputs: 'fn' is a word of WGSL's own"),
        ("x, vec4", "z", "'vec4' is a word of WGSL's own"),
        ("x, x", "z", "'x' is the name of two variables"),
        ("x", "x", "'x' is the name of two variables"),
        ("", "z", "inputs: a name is missing"),
        ("x", "", "outputs: a name is missing"),
        ("x: float64", "z", "'x' has the dtype 'float64'; the dtypes are float32"),
        ("float32 x", "z", "write 'x: float32'"),
        ("device", "z", "'device' cannot be an input"),
        (", ".join(f"x{n}" for n in range(12)), "z", "13 variables"),
    ],
)
def test_bad_names(inputs, outputs, words):
    with pytest.raises(gk.KernelError, match=f"kernel 'named': .*{words}"):
        gk.ElementwiseKernel(inputs, outputs, "z = 1", name="named")


def test_bad_calls(any_device):
    x = gk.zeros(3, device=any_device)
    for call, words in [
        (lambda: AXPY(x, x), r"'a' is missing; its arguments are x, y, a"),
        (lambda: AXPY(x, x, 1.0, x), r"it takes 3 \(x, y, a\), but 4 are given"),
        (lambda: AXPY(x, x, b=1.0), "it has no 'b'; its arguments are x, y, a, out, device"),
        (lambda: AXPY(x, x, 1.0, x=x), "'x' is given twice"),
    ]:
        with pytest.raises(gk.KernelError, match=f"kernel 'axpy': {words}"):
            call()
    with pytest.raises(gk.ShapeError, match=r"kernel 'axpy': x of shape \(3,\) and y of shape \(4,\)"):
        AXPY(x, gk.zeros(4, device=any_device), 1.0)
    with pytest.raises(gk.ArgumentError, match="kernel 'axpy': at least one input must be a tensor"):
        AXPY(1.0, 2.0, 3.0, device=any_device)
    with pytest.raises(gk.DTypeError, match="kernel 'twice': x is a str"):
        TWICE("x", device=any_device)
    with pytest.raises(gk.DTypeError, match="complex"):
        TWICE(np.zeros(3, complex), device=any_device)


def test_preambles_declare_nothing_that_is_bound():
    for preamble, name in [
        ("@group(0) @binding(3) var<storage> b: u32;", "b"),
        ("override N: u32 = 1u;", "N"),
        ("@compute @workgroup_size(1) fn f() {}", "f"),
        ("var<workgroup> shared_memory: array<f32, 4>;", "shared_memory"),
    ]:
        with pytest.raises(gk.KernelError, match=f"preamble: '{name}' cannot be declared here"):
            gk.ElementwiseKernel("x", "z", "z = x", preamble=preamble)


# Kernels as objects


def test_names_are_in_profiles(any_device):
    if "timestamps" not in any_device.features:
        pytest.skip("the device times no kernels")
    x = gk.zeros(100, device=any_device)
    with gk.profile(any_device) as profile:
        AXPY(x, x, 1.0)
        LENGTH(x)
    assert {"axpy", "length"} <= {kernel[0] for kernel in profile.kernels}


def test_kernels_are_pickled_and_copied(any_device):
    for kernel in (AXPY, gk.ElementwiseKernel("x, m: bool", "u, v: int8", "u = x", preamble="const ONE = 1;")):
        for other in (pickle.loads(pickle.dumps(kernel)), copy.deepcopy(kernel)):
            assert repr(other) == repr(kernel)
            for name in ("name", "inputs", "outputs", "body", "preamble"):
                assert getattr(other, name) == getattr(kernel, name)
    for kernel in (LENGTH, DOT):
        other = pickle.loads(pickle.dumps(kernel))
        for name in ("name", "inputs", "map", "reduce", "identity", "finish", "preamble"):
            assert getattr(other, name) == getattr(kernel, name)
    x = sample(FLOAT32, 9)
    assert_same(pickle.loads(pickle.dumps(TWICE))(x, device=any_device), x + x)


def test_kernels_show_what_they_are():
    assert repr(AXPY) == "<gpukern.ElementwiseKernel axpy(x, y, a) -> z>"
    two = gk.ElementwiseKernel("x, m: bool", "u, v: int8", "u = x")
    assert repr(two) == "<gpukern.ElementwiseKernel elementwise_kernel(x, m: bool) -> (u, v: int8)>"
    assert repr(DOT) == "<gpukern.ReductionKernel dot(x, y): map x * y, reduce a + b, identity 0, finish a>"


def test_kernels_are_called_from_threads(any_device):
    kernel = gk.ElementwiseKernel("x", "y", "y = x * 3.0 + 1.0")
    x = [sample(FLOAT32, 1000 + n, n) for n in range(8)]
    got = [None] * 8

    def work(n):
        for _ in range(20):
            got[n] = kernel(on(any_device, x[n])), LENGTH(on(any_device, x[n]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(8):
        np.testing.assert_allclose(got[n][0].numpy(), x[n] * 3 + 1, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(got[n][1].numpy(), np.linalg.norm(f64(x[n])), rtol=1e-6)


def test_many_kernels_come_and_go(any_device):
    x = gk.asarray(np.float32([1, 2]), device=any_device)
    for n in range(40):
        kernel = gk.ElementwiseKernel("x", "y", f"y = x + {n % 3}.0")
        assert_same(kernel(x).numpy(), np.float32([1, 2]) + np.float32(n % 3))
