"""How users' kernels are given their variables, and what becomes of these: arrays, tensors, values, results."""

import array
import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices

import gpukern as gk
from arrays import (
    FLOAT16,
    FLOAT32,
    INT32,
    LAYOUTS,
    UINT32,
    WRITEABLE_LAYOUTS,
    assert_same,
    lay_out,
    native,
    read_only,
    sample,
    small,
)
from conftest import elsewhere

ADD = gk.Kernel("""
    alias T = f32;
    @group(0) @binding(0) var<storage, read> x: array<T>;
    @group(0) @binding(1) var<storage, read_write> y: array<T>;
    @compute @workgroup_size(16) fn add(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&y)) { y[id.x] += x[id.x]; }
    }
""")
TYPES = {FLOAT32: ADD, INT32: ADD.specialize(T="i32"), UINT32: ADD.specialize(T="u32")}

# Packed halves, a word each. An odd one at the end shares its word with nobody.
FLIP = gk.Kernel("""
    @group(0) @binding(0) var<storage, read_write> y: array<u32>;
    @compute @workgroup_size(16) fn flip(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&y)) { y[id.x] ^= 0x80008000u; }
    }
""")


# NumPy arrays


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_arrays_of_every_layout(any_device, dtype, layout):
    """They come in as they are, in the order of their indices, and are left alone."""
    for shape in ((), (7,), (5, 3), (3, 4, 5)):
        x, y = lay_out(sample(dtype, shape), layout), lay_out(sample(dtype, shape, 1), layout)
        before = y.copy()
        result = TYPES[dtype](x=x, y=y, threads=max(y.size, 1), device=any_device)
        assert type(result) is np.ndarray
        assert_same(result, x + y)
        assert_same(native(y), before)
        assert result.flags.writeable


@pytest.mark.parametrize("layout", [*WRITEABLE_LAYOUTS, "big-endian"])
def test_arrays_in_place(any_device, layout):
    """inplace=True writes into the array that was given, wherever its elements lie, and returns that."""
    x, plain = sample(FLOAT32, (6, 5)), sample(FLOAT32, (6, 5), 1)
    y = lay_out(plain, layout)
    assert ADD(x=x, y=y, threads=30, inplace=True, device=any_device) is y
    assert_same(native(y), x + plain)


def test_arrays_in_place_leave_what_lies_between(any_device):
    whole = sample(FLOAT32, (8, 10))
    want = whole.copy()
    want[1:7:2, ::-3] += 1
    ADD(x=np.ones((3, 4), np.float32), y=whole[1:7:2, ::-3], threads=12, inplace=True, device=any_device)
    assert_same(whole, want)


def test_in_place_beside_a_tensor(any_device):
    """What was asked for holds: the array is written, and is the result."""
    x, y = sample(FLOAT32, 9), sample(FLOAT32, 9, 1)
    want = x + y
    assert ADD(x=gk.asarray(x, device=any_device), y=y, threads=9, inplace=True) is y
    assert_same(y, want)


def test_in_place_of_a_list(any_device):
    """Nothing could be written to it."""
    with pytest.raises(gk.KernelError, match=r"'y'.*inplace"):
        ADD(x=[1], y=[1], threads=1, inplace=True, device=any_device)


def test_read_only_arrays(any_device):
    """They may be given where they are not written to."""
    x = read_only(sample(FLOAT32, 9))
    assert_same(ADD(x=x, y=x.copy(), threads=9, device=any_device), x + x)
    assert_same(ADD(x=x, y=read_only(x), threads=9, device=any_device), x + x)
    with pytest.raises(gk.KernelError, match="'y' is read-only, and inplace=True writes it"):
        ADD(x=x, y=read_only(x), threads=9, device=any_device, inplace=True)


def test_one_array_for_two_variables(any_device):
    """What is refused of tensors is refused of arrays, too."""
    x = sample(FLOAT32, 9)
    for y in (x, x[::-1], x[:]):
        with pytest.raises(gk.KernelError, match="'y' is written, and 'x' is the same memory"):
            ADD(x=x, y=y, threads=9, device=any_device)
    assert_same(ADD(x=x, y=x.copy(), threads=9, device=any_device), x + x)


@given(data=st.data())
def test_random_views_of_arrays(any_device, data):
    whole = sample(FLOAT32, data.draw(array_shapes(max_dims=4, max_side=6)))
    x = whole[data.draw(basic_indices(whole.shape, allow_newaxis=True))]
    if not np.size(x):
        return
    x = np.asarray(x)
    x = np.transpose(x, data.draw(st.permutations(range(x.ndim))))
    y = sample(FLOAT32, x.shape, 1)
    assert_same(ADD(x=x, y=y, threads=x.size, device=any_device), x + y)


def test_other_objects_that_are_arrays(any_device):
    """Lists, numbers, buffers, NumPy's scalars and subclasses, and whatever can turn itself into an array."""

    class Own:
        def __array__(self, dtype=None, copy=None):
            return np.float32([1, 2, 3])

    record = np.float32([1, 2, 3]).view(np.recarray)
    for x in ([1, 2, 3], (1.0, 2, 3), range(1, 4), array.array("f", [1, 2, 3]), Own(), np.ma.array(Own()), record):
        assert_same(ADD(x=x, y=np.zeros(3, np.float32), threads=3, device=any_device), np.float32([1, 2, 3]))
    for x in (5, 5.0, np.float32(5), np.array(5, np.float32)):
        assert_same(ADD(x=x, y=[1.5], threads=1, device=any_device), np.float32([6.5]))
    masked = np.ma.array(np.float32([1, 2, 3]), mask=[0, 1, 0])
    with pytest.raises(gk.Error, match="masked"):
        ADD(x=masked, y=[0, 0, 0], threads=3, device=any_device)
    for x in (None, "123", b"123", {"a": 1}, object()):
        with pytest.raises(gk.KernelError, match="'x'"):
            ADD(x=x, y=[0, 0, 0], threads=3, device=any_device)


def test_numbers_that_are_no_arrays(any_device):
    """A variable that is one number takes a number or an array without axes, and gives one back."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: f32;
        @group(0) @binding(1) var<storage, read_write> y: f32;
        @group(0) @binding(2) var<storage, read_write> v: vec3<f32>;
        @compute @workgroup_size(1) fn f() { y += x; v *= x; }
    """)
    for x in (
        2,
        2.0,
        np.float32(2),
        np.array(2, np.float32),
        np.array([2], np.float32),
        gk.asarray(2.0, device=any_device),
    ):
        y, v = kernel(x=x, y=np.array(3, np.float32), v=[1, 2, 3], threads=1, device=any_device)
        assert y.shape == ()
        assert float(y) == 5
        assert_same(np.asarray(v), np.float32([2, 4, 6]))
    y, _ = kernel(x=2, y=3, out={"v": 3}, threads=1, device=any_device)
    assert_same(y, np.array(5, np.float32))


@pytest.mark.parametrize(
    ("ty", "dtype", "words"),
    [
        ("f32", "float64", r"float64.*astype\('float32'\)"),
        ("f32", "float16", r"float16.*astype\('float32'\)"),
        ("f32", "int32", r"int32.*astype\('float32'\)"),
        ("i32", "int64", r"int64.*astype\('int32'\)"),
        ("i32", "uint32", r"uint32.*astype\('int32'\)"),
        ("u32", "int32", r"int32.*astype\('uint32'\)"),
        ("u32", "uint8", r"view\('uint32'\)"),
        ("u32", "bool", r"bool.*astype\('uint32'\)"),
        ("f32", "complex64", r"complex64.*array<f32> is float32"),
        ("f32", "datetime64[s]", r"datetime64.*array<f32> is float32"),
    ],
)
def test_nothing_is_converted(any_device, ty, dtype, words):
    """A kernel sees the memory that it is given, so that dtypes have to agree. The error says how."""
    with pytest.raises(gk.KernelError, match=words):
        ADD.specialize(T=ty)(x=np.zeros(4, dtype), y=[0, 0, 0, 0], threads=4, device=any_device)


@pytest.mark.parametrize("make", ["numpy", "tensor"])
def test_triples(any_device, make):
    """(n, 3) is padded on the way, (n, 4) goes as it is; both come back as they came."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<vec3<f32>>;
        @group(0) @binding(1) var<storage, read_write> y: array<vec3<f32>>;
        @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&x) && arrayLength(&x) == arrayLength(&y)) { y[id.x] = cross(x[id.x], y[id.x]); }
        }
    """)
    convert = np.asarray if make == "numpy" else lambda array: gk.asarray(array, device=any_device, copy=True)
    x, y = small(FLOAT32, (10, 3)), small(FLOAT32, (10, 3), 1)
    want = np.cross(x, y)
    assert_same(kernel(x=convert(x), y=convert(y), threads=10, device=any_device), want)
    wide = np.pad(y, ((0, 0), (0, 1)), constant_values=7)
    result = kernel(x=convert(x), y=convert(wide), threads=10, device=any_device)
    assert_same(np.asarray(result)[:, :3], want)
    assert result.shape == (10, 4)
    assert_same(kernel(x=convert(x.reshape(2, 5, 3)), y=convert(y), threads=10, device=any_device), want)
    assert_same(
        kernel(x=convert(np.asfortranarray(x)), y=convert(y[::-1]), threads=10, device=any_device), np.cross(x, y[::-1])
    )
    assert_same(kernel(x=convert(x[0]), y=convert(y[0]), threads=1, device=any_device), want[0])
    with pytest.raises(gk.KernelError, match="last axis"):
        kernel(x=convert(x.ravel()[:10]), y=convert(y), threads=10, device=any_device)


def test_triples_in_a_part_of_a_tensor(any_device):
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read_write> y: array<vec3<i32>>;
        @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&y)) { y[id.x] = -y[id.x].zyx; }
        }
    """)
    whole = sample(INT32, (9, 7))
    tensor = gk.asarray(whole, device=any_device, copy=True)
    kernel(y=tensor[1:8:2, 6:3:-1], threads=4)
    want = whole.copy()
    want[1:8:2, 6:3:-1] = -want[1:8:2, 4:7]
    assert_same(tensor, want)


# Tensors


def test_a_tensor_changes_and_is_returned(device):
    """The same object, so that calls can follow each other without names for results."""
    x, y = sample(FLOAT32, (5, 7)), sample(FLOAT32, (5, 7), 1)
    a, b = gk.asarray(x, device=device), gk.asarray(y, device=device, copy=True)
    assert ADD(x=a, y=b, threads=35) is b
    assert_same(b, x + y)
    assert_same(a, x)
    assert ADD(x=a, y=b, threads=35, inplace=True) is b
    assert_same(b, x + y + x)


def test_one_tensor_makes_results_tensors(any_device):
    """Arrays beside it go to its device, and are left alone."""
    x, y = sample(FLOAT32, 20), sample(FLOAT32, 20, 1)
    result = ADD(x=gk.asarray(x, device=any_device), y=y, threads=20)
    assert isinstance(result, gk.Tensor)
    assert result.device == any_device
    assert_same(result, x + y)
    tensor = gk.asarray(y, device=any_device, copy=True)
    assert ADD(x=x, y=tensor, threads=20) is tensor
    assert_same(tensor, x + y)
    assert isinstance(ADD(x=gk.asarray(x, device=any_device), out={"y": 20}, threads=20), gk.Tensor)


VIEWS = {
    "whole": lambda t: t,
    "aligned": lambda t: t[8:16],
    "unaligned": lambda t: t[3:11],
    "odd": lambda t: t[1:2, 5:12],
    "steps": lambda t: t[::3, 1::2],
    "transposed": lambda t: t[4:20].T,
    "reversed": lambda t: t[::-1, ::-1],
    "one": lambda t: t[7, 7],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_views_of_tensors(any_device, dtype, view):
    """As read and as read_write variables. What lies around a view stays as it was."""
    kernel, take = TYPES[dtype], VIEWS[view]
    x, y = sample(dtype, (24, 16)), sample(dtype, (24, 16), 1)
    a, b = gk.asarray(x, device=any_device, copy=True), gk.asarray(y, device=any_device, copy=True)
    part = take(b)
    assert kernel(x=take(a), y=part, threads=max(part.size, 1)) is part
    want = y.copy()
    change = take(want)
    want_part = take(x) + change
    if change.ndim:
        change[...] = want_part
    else:
        want[7, 7] = want_part
    assert_same(part, want_part)
    assert_same(b, want)
    assert_same(a, x)


@pytest.mark.parametrize("view", VIEWS)
def test_views_of_packed_tensors(any_device, view):
    """Where a word holds elements of the view and others, only those of the view change."""
    y = sample(FLOAT16, (24, 16))
    tensor = gk.asarray(y, device=any_device, copy=True)
    part = VIEWS[view](tensor)
    FLIP(y=part, threads=max(part.size, 1))
    want = y.copy()
    if view == "one":
        want[7, 7] *= -1
    else:
        VIEWS[view](want)[...] *= -1
    assert_same(tensor, want)


@pytest.mark.parametrize("name", ["int8", "uint8", "bool"])
def test_bytes_as_words(any_device, name):
    """`view` makes words of them, and the tensor changes through it."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&y)) { y[id.x] ^= 0x01010101u; }
        }
    """)
    x = sample(np.dtype(name), (5, 8))
    tensor = gk.asarray(x, device=any_device, copy=True)
    kernel(y=tensor.view("uint32"), threads=10)
    assert_same(tensor, (x.view(np.uint8) ^ 1).view(name))
    part = tensor[1:3]
    kernel(y=part.view("uint32"), threads=4)
    assert_same(tensor[1:3], x[1:3])
    words = kernel(y=x.view(np.uint32), threads=10, device=any_device)
    assert_same(words.view(name), (x.view(np.uint8) ^ 1).view(name))


@given(data=st.data())
def test_random_views_of_tensors(any_device, data):
    dtype = data.draw(st.sampled_from([FLOAT32, FLOAT16]))
    whole = sample(dtype, data.draw(array_shapes(max_dims=4, max_side=9)))
    index = data.draw(basic_indices(whole.shape, allow_newaxis=False))
    if not whole[index].size:
        return
    tensor = gk.asarray(whole, device=any_device, copy=True)
    want = whole.copy()
    axes = data.draw(st.permutations(range(whole[index].ndim)))
    part = gk.transpose(tensor[index], axes) if axes else tensor[index]
    if dtype == FLOAT16:
        FLIP(y=part, threads=part.size)
        want[index] *= -1
    else:
        change = small(FLOAT32, part.shape)
        ADD(x=change, y=part, threads=part.size)
        want[index] += np.transpose(change, np.argsort(axes)) if axes else change
    assert_same(tensor, want)


def test_a_broadcast_tensor_can_be_read(any_device):
    x = gk.broadcast_to(gk.asarray(np.float32([1, 2, 3]), device=any_device), (4, 3))
    result = ADD(x=x, y=gk.zeros((4, 3), device=any_device), threads=12)
    assert_same(result, np.tile(np.float32([1, 2, 3]), (4, 1)))


def test_parts_of_one_tensor(any_device):
    """One is read and the other is written; or both are written."""
    whole = sample(FLOAT32, (4, 16))
    tensor = gk.asarray(whole, device=any_device, copy=True)
    ADD(x=tensor[0], y=tensor[2], threads=16)
    ADD(x=tensor[:, 1], y=tensor[:, 2], threads=4)
    want = whole.copy()
    want[2] += want[0]
    want[:, 2] += want[:, 1]
    assert_same(tensor, want)
    swap = gk.Kernel("""
        @group(0) @binding(0) var<storage, read_write> a: array<f32>;
        @group(0) @binding(1) var<storage, read_write> b: array<f32>;
        @compute @workgroup_size(16) fn swap(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&a)) { let t = a[id.x]; a[id.x] = b[id.x]; b[id.x] = t; }
        }
    """)
    swap(a=tensor[0], b=tensor[3], threads=16)
    swap(a=tensor[:, 4], b=tensor[:, 5], threads=4)
    want[[0, 3]] = want[[3, 0]]
    want[:, [4, 5]] = want[:, [5, 4]]
    assert_same(tensor, want)


def test_what_is_written_is_given_once(any_device):
    tensor = gk.zeros(32, device=any_device)
    for x, y in ((tensor, tensor), (tensor[:20], tensor[10:30]), (tensor[::2], tensor[:16])):
        with pytest.raises(gk.KernelError, match="'y' is written, and 'x' is the same memory"):
            ADD(x=x, y=y, threads=16)
    ADD(x=tensor[:16], y=tensor[16:], threads=16)
    both = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read> z: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn f() { y[0] = x[0] + z[1]; }
    """)
    assert both(x=tensor, z=tensor, out={"y": 1}, threads=1).tolist() == [0]


def test_lengths_are_those_of_the_arguments(device):
    """arrayLength counts what was given, whatever the memory behind it."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> a: array<f32>;
        @group(0) @binding(1) var<storage, read> b: array<vec2<f32>>;
        @group(0) @binding(2) var<storage, read> c: array<vec3<f32>>;
        @group(0) @binding(3) var<storage, read> d: array<u32>;
        @group(0) @binding(4) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn f() {
            y[0] = arrayLength(&a);
            y[1] = arrayLength(&b);
            y[2] = arrayLength(&c);
            y[3] = arrayLength(&d);
            y[4] = arrayLength(&y);
        }
    """)
    numbers = gk.zeros(1000, device=device)
    halves = gk.zeros(1000, "float16", device=device)
    for n in (1, 2, 5, 33):
        given = {"a": numbers[:n], "b": numbers[8 : 8 + 2 * n], "c": numbers[1 : 1 + 3 * n].reshape(n, 3)}
        result = kernel(**given, d=halves[:n], out={"y": 5}, threads=1)
        assert result.tolist() == [n, n, n, -(-n // 2), 5]


# Devices


def test_the_device_of_a_call(any_device, monkeypatch):
    x = sample(FLOAT32, 5)
    with gk.use_device(any_device):
        assert_same(ADD(x=x, y=x.copy(), threads=5), x + x)
    tensor = gk.asarray(x, device=any_device)
    assert ADD(x=tensor, out={"y": 5}, threads=5, device=any_device.id).device == any_device
    with pytest.raises(gk.DeviceError, match="lives on"):
        ADD(x=tensor, out={"y": 5}, threads=5, device=elsewhere())
    with pytest.raises(gk.DeviceNotFoundError):
        ADD(x=x, out={"y": 5}, threads=5, device="voodoo2")


@pytest.mark.parametrize("other", ["x", "y", "z"])
def test_tensors_of_two_devices(any_device, other):
    """As for every operation: nothing is moved behind one's back."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @group(0) @binding(2) var<storage, read> z: array<f32>;
        @compute @workgroup_size(1) fn f() { y[0] = x[0] + z[0]; }
    """)
    tensors = {name: gk.zeros(5, device=any_device) for name in "xyz"}
    other_caps = "threads=1024" if any_device.backend == "cpu" else "workgroup=64"
    for device in (elsewhere(), any_device.with_caps(other_caps)):
        tensors[other] = gk.zeros(5, device=device)
        with pytest.raises(gk.DeviceError, match=r"^kernel 'f': . is on .* and . on .*; move one with \.to\(\)"):
            kernel(**tensors, threads=5)


# Results


def test_new_results(device):
    """Of zeros, whatever memory they get."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @group(0) @binding(1) var<storage, read_write> n: array<u32>;
        @compute @workgroup_size(1) fn f() { y[0] += 1.0; n[0] += 1u; }
    """)
    for _ in range(3):
        dirty = [gk.full(64, 7.0, device=device) for _ in range(3)]
        device.synchronize()
        del dirty
        out = {"y": ((8, 8), "float32"), "n": 64}
        y, n = kernel(out=out, threads=1, device=device)
        assert_same(y, np.pad(np.float32([[1]]), ((0, 7), (0, 7))))
        assert_same(n, np.pad(np.uint32([1]), (0, 63)))


@pytest.mark.parametrize(
    ("what", "shape", "dtype"),
    [
        (5, (5,), UINT32),
        ((5,), (5,), UINT32),
        ([2, 3], (2, 3), UINT32),
        ((2, 3), (2, 3), UINT32),
        ((2, 3, 4), (2, 3, 4), UINT32),
        ((), (), UINT32),
        (np.int64(5), (5,), UINT32),
        ((np.int8(2), np.uint8(3)), (2, 3), UINT32),
        ((5, "uint32"), (5,), UINT32),
        (((2, 3), np.uint32), (2, 3), UINT32),
        (((7,), np.dtype("float16")), (7,), FLOAT16),
        ((4, "float16"), (4,), FLOAT16),
    ],
    ids=str,
)
def test_shapes_and_dtypes_of_new_results(any_device, what, shape, dtype):
    result = FLIP(out={"y": what}, threads=100, device=any_device)
    assert (result.shape, result.dtype) == (shape, dtype)
    assert_same(result, np.full(shape, -0.0, FLOAT16) if dtype == FLOAT16 else np.full(shape, 0x80008000, np.uint32))


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ({"x": 5}, "only read_write variables are written"),
        ({"z": 5}, "out= names 'z'; the variables that it writes are: y"),
        ({"y": "float32"}, "a shape"),
        ({"y": (5, "float64")}, "float64"),
        ({"y": (5, "int32")}, "int32"),
        ({"y": (5, "no such dtype")}, "no such dtype"),
        ({"y": -5}, "shape"),
        ({"y": 2**40}, "4 TiB, but a binding"),
        ({"y": (2**40, 2**40)}, "'y'|shape"),
        ({"y": None}, "a shape"),
        ({"y": (2.5, "float32")}, "a shape"),
        (["y"], "out= is a dict"),
        ("y", "out= is a dict"),
    ],
    ids=str,
)
def test_new_results_that_make_no_sense(any_device, out, words):
    with pytest.raises(gk.Error, match=words):
        ADD(x=[1], out=out, threads=1, device=any_device)


def test_a_variable_is_given_once(any_device):
    with pytest.raises(gk.KernelError, match="'y' is given as an argument and in out= too"):
        ADD(x=[1], y=[1], out={"y": 1}, threads=1, device=any_device)
    with pytest.raises(gk.KernelError, match="'x' is given twice"):
        ADD(x=[1], bindings={"x": [1]}, out={"y": 1}, threads=1, device=any_device)


def test_several_results(any_device):
    """A named tuple, in the order of the source and not of the numbers."""
    kernel = gk.Kernel("""
        @group(0) @binding(9) var<storage, read_write> second: array<f32>;
        @group(0) @binding(5) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> first: array<i32>;
        @compute @workgroup_size(1) fn f() { second[0] = x[0]; first[0] = -1; }
    """)
    tensor = gk.zeros(1, "int32", device=any_device)
    result = kernel(first=tensor, x=np.float32([3]), out={"second": 2}, threads=1)
    assert isinstance(result, tuple)
    assert result._fields == ("second", "first")
    assert result.first is tensor
    second, first = result
    assert second.tolist() == [3, 0]
    assert first.tolist() == [-1]
    assert repr(result).startswith("Results(second=")


def test_no_result(any_device):
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        var<workgroup> w: f32;
        @compute @workgroup_size(1) fn f() { w = x[0]; }
    """)
    assert kernel(x=[1.0], threads=1, device=any_device) is None
    assert gk.Kernel("@compute @workgroup_size(1) fn f() {}")(threads=1, device=any_device) is None


def test_structs_beside_tensors(any_device):
    """Tensors have no structs. So a structured array comes back as one, with a tensor beside it or without."""
    kernel = gk.Kernel("""
        struct S { a: f32, n: u32 }
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> s: array<S>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&s)) { s[id.x].a += x[id.x]; y[id.x] = s[id.x].a; }
        }
    """)
    s = np.zeros(6, [("n", "u4"), ("a", "f4")])
    x = sample(FLOAT32, 6)
    result = kernel(x=gk.asarray(x, device=any_device), s=s, out={"y": 6}, threads=6)
    assert isinstance(result.y, gk.Tensor)
    assert result.s.dtype == s.dtype
    assert_same(result.s["a"], x)


def test_structs_as_words_in_tensors(any_device):
    """What stays on the device is words, as they lie; or floats, where all fields are."""
    kernel = gk.Kernel("""
        struct S { a: vec3<f32>, b: f32 }
        @group(0) @binding(0) var<storage, read_write> s: array<S>;
        @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&s)) { s[id.x].b = s[id.x].a.y; }
        }
    """)
    x = sample(FLOAT32, (5, 4))
    want = x.copy()
    want[:, 3] = x[:, 1]
    for array_ in (x, x.view(np.uint32)):
        tensor = gk.asarray(array_, device=any_device, copy=True)
        assert kernel(s=tensor, threads=5) is tensor
        assert_same(tensor, want.view(array_.dtype))
    with pytest.raises(gk.KernelError, match="structured array"):
        kernel(s=np.zeros((5, 4), np.int32), threads=5, device=any_device)


# Fields that fill themselves in


SHAPES = gk.Kernel("""
    struct P {
        factor: u32,
        x_shape: vec4<u32>,
        x_strides: vec4<u32>,
        x_size: u32,
        y_shape: vec2<u32>,
        y_size: f32,
        s_shape: u32,
        v_shape: array<vec4<u32>, 2>,
    }
    struct S { a: f32, b: u32 }
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read> s: array<S>;
    @group(0) @binding(2) var<storage, read> v: array<vec3<f32>>;
    @group(0) @binding(3) var<storage, read_write> y: array<u32>;
    @group(0) @binding(4) var<uniform> p: P;
    @compute @workgroup_size(1) fn f() {
        for (var i = 0u; i < 4u; i++) {
            y[i] = p.factor * p.x_shape[i];
            y[4u + i] = p.x_strides[i];
            y[12u + i] = p.v_shape[0][i];
            y[16u + i] = p.v_shape[1][i];
        }
        y[8] = p.x_size;
        y[9] = p.y_shape.x * 100u + p.y_shape.y;
        y[10] = u32(p.y_size);
        y[11] = p.s_shape + u32(x[0] * f32(s[0].b) * v[0].x);
    }
""")


def test_shapes_strides_and_sizes(device):
    """Axes that an argument has not are in front, as NumPy has it. Strides are those that the kernel sees."""
    x = np.zeros((3, 2, 5), np.float32).transpose(2, 0, 1)
    s, v = np.zeros(7, [("b", "u4"), ("a", "f4")]), np.zeros((2, 4, 3), np.float32)
    y = SHAPES(x=x, s=s, v=v, p={"factor": 1}, out={"y": (2, 10)}, threads=1, device=device)
    want = [1, 5, 3, 2, 0, 6, 2, 1, 30, 210, 20, 7, 1, 1, 1, 1, 1, 2, 4, 3]
    assert y.ravel().tolist() == want
    # A value that is given holds. Tensors and their views have shapes too.
    tensor = gk.zeros((9, 9), device=device)[::4, 1:]
    given = {"factor": 2, "x_size": 99, "s_shape": 1}
    y = SHAPES(x=tensor, s=s, v=v[0], p=given, out={"y": (20, 1)}, threads=1)
    want = [2, 2, 6, 16, 0, 0, 8, 1, 99, 2001, 20, 1, 1, 1, 1, 1, 1, 1, 4, 3]
    assert y.numpy().ravel().tolist() == want


def test_more_axes_than_a_field_has_room_for(any_device):
    given = {"s": np.zeros(1, [("b", "u4"), ("a", "f4")]), "v": np.zeros((1, 3), np.float32)}
    with pytest.raises(gk.KernelError, match=r"p\.x_shape.*no room"):
        SHAPES(x=np.zeros((1,) * 5, "f4"), p={"factor": 1}, out={"y": (20, 1)}, threads=1, device=any_device, **given)


def test_a_uniform_that_fills_itself_in_is_left_out(any_device):
    kernel = gk.Kernel("""
        struct P { x_shape: vec2<i32>, y_size: u32 }
        @group(0) @binding(0) var<uniform> p: P;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn f() { y[0] = f32(p.x_shape.y) + x[0] + f32(p.y_size); }
    """)
    assert kernel(x=np.zeros((2, 30), np.float32), out={"y": 5}, threads=1, device=any_device)[0] == 35


# Uniforms that do not fit


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1, "n": 2}, "lacks the field 'v'"),
        ({"a": 1, "n": 2, "v": [1, 2, 3], "w": 1}, "no field 'w'"),
        ({"a": "1", "n": 2, "v": [1, 2, 3]}, r"p\.a.*a number is wanted"),
        ({"a": 1, "n": -2, "v": [1, 2, 3]}, r"p\.n.*-2 is beyond what u32 holds"),
        ({"a": 1, "n": 2.5, "v": [1, 2, 3]}, r"p\.n.*an integer is wanted"),
        ({"a": 1e300, "n": 2, "v": [1, 2, 3]}, r"p\.a.*beyond what f32 holds"),
        ({"a": 1, "n": 2, "v": [1, 2]}, r"p\.v.*sequence of 3"),
        ({"a": 1, "n": 2, "v": [1, 2, "3"]}, r"p\.v\[2\]"),
        ({"a": 1, "n": 2, "v": 3}, r"p\.v.*sequence of 3"),
        ([1, 2, 3], "a dict with a: f32, n: u32, v: vec3<f32> is wanted"),
        (5, "a dict with"),
        (None, "'p'"),
    ],
    ids=str,
)
def test_uniforms_that_do_not_fit(any_device, value, words):
    """The message names the place within what was given."""
    kernel = gk.Kernel("""
        struct P { a: f32, n: u32, v: vec3<f32> }
        @group(0) @binding(0) var<uniform> p: P;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn f() { y[0] = p.a + f32(p.n) + p.v.x; }
    """)
    with pytest.raises(gk.KernelError, match=words):
        kernel(p=value, out={"y": 1}, threads=1, device=any_device)


def test_any_mapping_is_a_dict(any_device):
    kernel = gk.Kernel("""
        struct P { a: f32, b: f32 }
        @group(0) @binding(0) var<uniform> p: P;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn f() { y[0] = p.a - p.b; }
    """)
    for value in ({"b": 2, "a": 5}, collections.ChainMap({"a": 5}, {"b": 2}), collections.OrderedDict(b=2, a=5)):
        assert kernel(p=value, out={"y": 1}, threads=1, device=any_device).tolist() == [3]


# Calls that make no sense


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"threads": 1}, r"'x' \(read, array<f32>\) is missing; give x="),
        ({"x": [1], "threads": 1}, r"'y' \(read_write, array<f32>\) is missing.*out={'y'"),
        ({"x": [1], "y": [1]}, "exactly one of threads= .* and workgroups="),
        ({"x": [1], "y": [1], "threads": 1, "workgroups": 1}, "exactly one of threads="),
        ({"x": [1], "y": [1], "threads": 1, "z": [1]}, "it has no 'z'; its arguments are x, y"),
        ({"x": [1], "y": [1], "threads": -1}, "threads=-1 is negative"),
        ({"x": [1], "y": [1], "threads": 2.5}, "threads=2.5 .*an integer"),
        ({"x": [1], "y": [1], "threads": True}, "threads=True"),
        ({"x": [1], "y": [1], "threads": "8"}, "threads='8'"),
        ({"x": [1], "y": [1], "threads": ()}, r"threads=\(\)"),
        ({"x": [1], "y": [1], "threads": (1, 2, 3, 4)}, "threads="),
        ({"x": [1], "y": [1], "workgroups": (1, -2)}, "workgroups=-2 is negative"),
        ({"x": [1], "y": [1], "workgroups": 2**33}, "32-bit"),
        ({"x": [1], "y": [1], "threads": (2**31, 64, 64)}, "32-bit"),
        ({"x": [1], "y": [1], "threads": 2**70}, "threads="),
        ({"x": np.zeros(0, "f4"), "y": [1], "threads": 1}, "'x'.*no element"),
        ({"x": [1], "y": [1], "threads": 1, "inplace": "yes"}, "inplace=.*yes.* must be True or False"),
        ({"x": [1], "y": [1], "threads": 1, "bindings": [1]}, "bindings= is a dict"),
    ],
    ids=str,
)
def test_calls_that_make_no_sense(any_device, arguments, words):
    with pytest.raises(gk.KernelError, match=f"kernel 'add': .*{words}"):
        ADD(**arguments, device=any_device)


def test_arguments_without_names(any_device):
    with pytest.raises(gk.KernelError, match="arguments are given by the variables' names: x=, y="):
        ADD(np.zeros(1), np.zeros(1), threads=1, device=any_device)


def test_what_is_larger_than_a_binding(gpu):
    """On GPUs, whose bindings can be made small. On the CPU device one spans gigabytes."""
    device = gpu.with_caps("binding=64KiB")
    x = np.ones(16385, np.float32)
    assert_same(ADD(x=x[1:], out={"y": 16384}, threads=16384, device=device), x[1:])
    with pytest.raises(gk.KernelError, match=r"'x' has .* binding on .* spans at most 64 KiB; give it in parts"):
        ADD(x=x, out={"y": 1}, threads=1, device=device)


def test_a_part_of_what_is_larger_than_a_binding(gpu):
    """It is the part that is bound, however far into the tensor it is. On GPUs, as above."""
    tensor = gk.zeros(200_000, device=gpu.with_caps("binding=64KiB"))
    ADD(x=np.ones(1000, np.float32), y=tensor[150_000:151_000], threads=1000)
    want = np.zeros(200_000, np.float32)
    want[150_000:151_000] = 1
    assert_same(tensor, want)


THREADS = [21, (21,), [21], (21, 1), np.int64(21), np.array([21, 1, 1]), np.uint8(21)]


@pytest.mark.parametrize("threads", THREADS, ids=repr)
def test_numbers_of_threads(any_device, threads):
    x = sample(FLOAT32, 21)
    assert_same(ADD(x=x, out={"y": 21}, threads=threads, device=any_device), x)


def test_numbers_of_workgroups(any_device):
    x = sample(FLOAT32, 100)
    for workgroups in (2, (2,), [2, 1, 1], np.int32(2)):
        assert_same(ADD(x=x, out={"y": 100}, workgroups=workgroups, device=any_device)[:32], x[:32])
        assert not ADD(x=x, out={"y": 100}, workgroups=workgroups, device=any_device)[32:].any()


# Ends of words, and of devices


def test_packed_halves_that_end_within_a_word(any_device):
    """What is beside the last one is zero, not what lies in memory."""
    words = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn f(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = x[id.x]; }
    """)
    whole = gk.ones(8, FLOAT16, device=any_device)
    for x in (np.ones(5, FLOAT16), gk.ones(5, FLOAT16, device=any_device), whole[:5], whole[3:]):
        result = np.asarray(words(x=x, out={"y": 3}, threads=3, device=any_device))
        assert result.tolist() == [0x3C003C00, 0x3C003C00, 0x3C00]


def test_halves_that_end_within_a_word(any_device):
    """WGSL's arrays are whole words, so that it counts one more. That is zero, and nobody else's."""
    if "f16" not in any_device.features:
        pytest.skip(f"{any_device.id} has no f16")
    kernel = gk.Kernel("""
        enable f16;
        @group(0) @binding(0) var<storage, read_write> x: array<f16>;
        @group(0) @binding(1) var<storage, read_write> sums: array<f32>;
        @compute @workgroup_size(1) fn f() {
            sums[0] = f32(arrayLength(&x));
            for (var i = 0u; i < arrayLength(&x); i += 1u) { sums[1] += f32(x[i]); x[i] += 1h; }
        }
    """)
    whole = gk.ones(8, FLOAT16, device=any_device)
    for x in (np.ones(3, FLOAT16), gk.ones(3, FLOAT16, device=any_device), whole[:3], whole[4:7]):
        result = kernel(x=x, sums=np.zeros(2, FLOAT32), threads=1, device=any_device)
        assert np.asarray(result.sums).tolist() == [4, 3]
        assert np.asarray(result.x).tolist() == [2, 2, 2]
    assert whole.numpy().tolist() == [2, 2, 2, 1, 2, 2, 2, 1]


def test_grids_that_no_device_launches(gpu):
    """On GPUs, which count workgroups along axes. The CPU device counts as far as ids do, and would run them all."""
    before = gk.ones(4, device=gpu) + 1
    for workgroups in (2**32 - 1, (65_536, 65_535), (2**16, 2**15, 2)):
        with pytest.raises(gk.KernelError, match="workgroups"):
            ADD(x=[1], y=[1], workgroups=workgroups, device=gpu)
    assert before.numpy().tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("space", ["immediate", "uniform"])
def test_values_that_no_launch_takes(gpu, space):
    """On GPUs, where values have little room. On the CPU device they are memory like any other."""
    place = "" if space == "immediate" else "@group(0) @binding(1) "
    kernel = gk.Kernel(f"""
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        {place}var<{space}> p: array<vec4<f32>, 100000>;
        @compute @workgroup_size(1) fn f() {{ y[0] = p[99999].x; }}
    """)
    with pytest.raises(gk.KernelError, match="var<storage, read>"):
        kernel(y=[0], p=np.zeros((100_000, 4)), threads=1, device=gpu)
    assert_same(ADD(x=[1], y=[1], threads=1, device=gpu), np.float32([2]))


def test_structs_as_words_stay_on_the_device(any_device):
    kernel = gk.Kernel("""
        struct S { n: u32, x: f32 }
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> s: array<S>;
        @compute @workgroup_size(1) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            s[id.x] = S(id.x, x[id.x]);
        }
    """)
    x = np.float32([0.5, 1.5, 2.5])
    words = kernel(x=gk.asarray(x, device=any_device), out={"s": ((3, 2), "uint32")}, threads=3)
    assert type(words) is gk.Tensor
    assert words[:, 0].numpy().tolist() == [0, 1, 2]
    assert_same(words.numpy()[:, 1].copy().view(FLOAT32), x)


def test_any_mapping(any_device):
    """Not dicts alone."""
    given = collections.ChainMap({"x": np.float32([1])}, {"y": np.float32([2])})
    assert_same(ADD(bindings=given, threads=1, device=any_device), np.float32([3]))
    out = collections.UserDict({"y": 1})
    assert_same(ADD(x=np.float32([4]), out=out, threads=1, device=any_device), np.float32([4]))
    assert gk.Kernel(ADD.source, constants=collections.UserDict({"T": "i32"})).bindings["x"].dtype == INT32
