"""QuantTensor: quantize, from_blocks, dequantize, and matmul_vec, matmul, embedding on quantised weights."""

import copy
import gc
import mmap

import ml_dtypes
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType

import gpukern as gk
from conftest import elsewhere
from quants import ENCODED, FORMATS, decode, encode, random_blocks, sizes

formats = pytest.mark.parametrize("name", FORMATS)
FLOATS = ["float32", "float16", "bfloat16"]


@pytest.fixture
def exact_cpu():
    """The CPU device computes in float32."""
    gk.config.int8_activations = False
    yield
    gk.config.int8_activations = True


def weights(name, rows, length, device, seed=0):
    """Quantised weights, and their values."""
    blocks = random_blocks(name, rows, length, seed)
    return gk.from_blocks(blocks, name, (rows, length), device=device), decode(name, blocks).astype(np.float64)


def normal(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check_product(got, w, x, dtype="float32"):
    """`got` is x · wᵀ, as exact as a product in float32 is."""
    want = x.astype(np.float64) @ w.T
    magnitude = np.abs(x.astype(np.float64)) @ np.abs(w.T)
    allowed = 2e-6 * magnitude
    if dtype != "float32":
        allowed = allowed + np.abs(want) * (2.0**-11 if dtype == "float16" else 2.0**-8)
    assert got.dtype == dtype
    assert got.shape == want.shape
    error = np.abs(got.astype(np.float64) - want)
    assert (error <= allowed).all(), f"{(error / magnitude).max():.2e} of the magnitude"


def is_cpu(device):
    return device.backend == "cpu"


# Decoding and coding


@formats
def test_decoding_is_exact(device, name):
    rows, length = 61, 10 * 256
    blocks = random_blocks(name, rows, length, 3, extreme=True)
    w = gk.from_blocks(blocks, name, (rows, length), device=device)
    got = w.dequantize()
    assert got.dtype == "float32"
    want = decode(name, blocks)
    assert not np.isnan(want).any()
    np.testing.assert_array_equal(got.numpy().view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["q8_0", "q4_k", "nf4"])
def test_decoding_to_narrow_floats_rounds(device, name, dtype):
    w, values = weights(name, 33, 512, device)
    want = values.astype(np.float32).astype(np.float16 if dtype == "float16" else ml_dtypes.bfloat16)
    np.testing.assert_array_equal(w.dequantize(dtype).numpy().view(np.uint16), want.view(np.uint16))


@pytest.mark.parametrize("name", ENCODED)
def test_coding_is_that_of_ggml(any_device, name):
    values = normal((24, 1024)) * np.float32([[0.02], [1.0], [300.0]]).repeat(8, 0)
    w = gk.quantize(values, name, device=any_device)
    assert (w.dtype, w.shape, w.device) == (name, (24, 1024), any_device)
    np.testing.assert_array_equal(w.blocks.numpy(), encode(name, values))


# Of the normal distribution, by root mean squares, and somewhat above what was measured: less than ggml's own quantiser
# has.
ERRORS = {
    "q8_0": 0.0055, "q4_0": 0.087, "q4_1": 0.079, "q5_0": 0.043, "q5_1": 0.039, "q2_k": 0.265, "q3_k": 0.145,
    "q4_k": 0.071, "q5_k": 0.0351, "q6_k": 0.0172, "iq4_nl": 0.0745, "iq4_xs": 0.0752, "mxfp4": 0.119, "tq1_0": 0.81,
    "tq2_0": 0.81, "int8": 0.006, "nf4": 0.093,
}  # fmt: skip


@formats
@pytest.mark.parametrize("dtype", FLOATS)
def test_coding_comes_close(plain_device, name, dtype):
    values = gk.asarray(normal((16, 2048)), dtype, device=plain_device)
    w = gk.quantize(values, name)
    assert w.device == plain_device
    values = values.astype("float32").numpy().astype(np.float64)
    error = decode(name, w.blocks.numpy()) - values
    assert np.sqrt((error**2).sum() / (values**2).sum()) < ERRORS[name] + 1e-3
    assert w.nbytes == values.size // sizes(name)[0] * sizes(name)[1]


def test_scales_that_are_not_finite(any_device):
    """Every device makes the same of them, NaN aside."""
    for name, at in (("q8_0", 0), ("q4_k", 2), ("q6_k", 208), ("int8", 2), ("int8", 0), ("nf4", 0)):
        blocks = random_blocks(name, 4, 256)
        blocks[1, at : at + 2] = np.float16([np.inf]).view(np.uint8)
        blocks[2, at : at + 2] = np.float16([-np.inf]).view(np.uint8)
        blocks[3, at : at + 2] = np.float16([np.nan]).view(np.uint8)
        got = gk.from_blocks(blocks, name, (4, 256), device=any_device).dequantize().numpy()
        np.testing.assert_array_equal(got, decode(name, blocks))


# Products with vectors


@formats
def test_matmul_vec(device, exact_cpu, name):
    """Of one vector and of as many as are multiplied at once, of more, and of so many that tiles are used."""
    # More bytes than the smallest binding has.
    w, values = weights(name, 75, 2048, device)
    x = normal((18, 2048))
    check_product(gk.matmul_vec(w, x[0]).numpy()[None], values, x[:1])
    for count in (1, 2, 3, 8, 13, 16, 18):
        check_product(gk.matmul_vec(w, x[:count]).numpy(), values, x[:count])


@formats
@pytest.mark.parametrize("vectors", [1, 3, 16])
def test_the_cpu_rounds_vectors_to_bytes(name, vectors):
    for level in gk.get_device("cpu").features:
        if not level.startswith("simd-"):
            continue
        device = gk.get_device("cpu").with_caps(level.replace("-", "="))
        w, values = weights(name, 130, 4096, device, vectors)
        x = normal((vectors, 4096), vectors)
        want = x.astype(np.float64) @ values.T
        error = np.linalg.norm(gk.matmul_vec(w, x).numpy() - want, axis=1)
        assert (error <= 0.01 * np.linalg.norm(want, axis=1)).all()


@formats
def test_rows_longer_than_a_binding(device, exact_cpu, name):
    length = 1 << 18
    w, values = weights(name, 3, length, device)
    x = normal((2, length))
    check_product(gk.matmul_vec(w, x).numpy(), values, x)
    np.testing.assert_array_equal(w.dequantize().numpy(), values)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["q6_k", "nf4"])
def test_the_result_has_the_dtype_of_the_vector(device, exact_cpu, name, dtype):
    w, values = weights(name, 50, 512, device)
    x = gk.asarray(normal((3, 512)), dtype, device=device)
    check_product(gk.matmul_vec(w, x).numpy(), values, x.numpy(), dtype)
    whole = gk.asarray(np.arange(512, dtype=np.int32) % 7, device=device)
    check_product(gk.matmul_vec(w, whole).numpy(), values, whole.numpy().astype(np.float32))


@pytest.mark.parametrize("name", ["q4_0", "q5_k", "nf4"])
def test_vectors_and_results_of_any_layout(device, exact_cpu, name):
    w, values = weights(name, 37, 256, device)
    x = normal((5, 2, 256))
    for view in (
        x[:, 0],
        x[::-2, 1],
        x[:, :, ::-1][:, 0],
        np.asfortranarray(x[:, 1]),
        np.broadcast_to(x[0, 0], (5, 256)),
    ):
        check_product(gk.matmul_vec(w, gk.asarray(view, device=device)).numpy(), values, view)
    odd = gk.asarray(np.concatenate([np.zeros(1, np.float32), x[0, 0]]), device=device)[1:]
    check_product(gk.matmul_vec(w, odd).numpy()[None], values, x[:1, 0])
    room = gk.zeros((5, 80), device=device)
    out = room[:, 1:75:2]
    assert gk.matmul_vec(w, gk.asarray(x[:, 0], device=device), out=out) is out
    check_product(out.numpy(), values, x[:, 0])
    assert not room[:, ::2].numpy().any()
    columns = gk.zeros((37, 5), device=device).T
    gk.matmul_vec(w, gk.asarray(x[:, 0], device=device), out=columns)
    check_product(columns.numpy(), values, x[:, 0])


def test_leading_axes_broadcast(device, exact_cpu):
    blocks = random_blocks("q8_0", 3 * 7, 64)
    w = gk.from_blocks(blocks, "q8_0", (3, 7, 64), device=device)
    values = decode("q8_0", blocks).reshape(3, 7, 64).astype(np.float64)
    for shape in [(64,), (3, 64), (4, 3, 64), (4, 1, 64), (1, 64)]:
        x = normal(shape)
        want = np.einsum("...nk,...k->...n", values, x.astype(np.float64))
        got = gk.matmul_vec(w, x)
        assert got.shape == want.shape
        np.testing.assert_allclose(got.numpy(), want, atol=1e-5)
    one = gk.from_blocks(blocks[:7], "q8_0", (1, 7, 64), device=device)
    x = normal((4, 5, 64))
    np.testing.assert_allclose(gk.matmul_vec(one, x).numpy(), x @ values[0].T, atol=1e-5)


@formats
def test_what_is_not_finite_or_uneven(any_device, name):
    """Infinities, NaN, and numbers far larger or smaller than their neighbours come out as in float32."""
    w, values = weights(name, 40, 512, any_device)
    x = normal((6, 512))
    x[0, 5] = np.inf
    x[1, 100] = np.nan
    x[2, 7] = 1e30
    x[3] *= np.float32(1e-38)
    x[4] = 0
    x[5, ::3] *= 1e-6
    got = gk.matmul_vec(w, x).numpy()
    with np.errstate(all="ignore"):
        want = x.astype(np.float64) @ values.T
    assert np.isnan(got[1]).all()
    assert not np.isfinite(got[0]).any()
    zero = values[:, 5] == 0
    np.testing.assert_array_equal(np.sign(got[0][~zero]), np.sign(values[~zero, 5]))
    assert np.isnan(got[0][zero]).all()
    for i in (2, 3, 4, 5):
        magnitude = np.abs(x[i].astype(np.float64)) @ np.abs(values.T)
        # What is smaller than any normal float may become zero, before it is multiplied and after.
        lost = 2.0**-126 * (np.abs(values).sum(1) + 512)
        rounding = 0.01 * np.linalg.norm(want[i]) if is_cpu(any_device) else 2e-6 * magnitude + lost
        assert (np.abs(got[i] - want[i]) <= rounding).all()


@pytest.mark.parametrize("activation", ["relu", "squared_relu", "silu", "gelu", "gelu_tanh", "sigmoid", "tanh"])
def test_activations(any_device, activation):
    w, _ = weights("q5_0", 45, 256, any_device)
    dense = w.dequantize()
    x = gk.asarray(normal((3, 256)), device=any_device)
    function = {"gelu_tanh": lambda y: gk.gelu(y, approximate="tanh")}.get(activation) or getattr(gk, activation)
    for product, a, b in [
        (gk.matmul_vec, w, x),
        (gk.matmul, x, w.T),
        (gk.matmul_vec, dense, x),
        (gk.matmul, x, dense.T),
        (gk.matmul_vec, w, gk.asarray(normal((40, 256)), device=any_device)),
        (
            gk.matmul_vec,
            gk.from_blocks(random_blocks("q8_0", 2, 1 << 16), "q8_0", (2, 1 << 16), device=any_device),
            gk.ones(1 << 16, device=any_device),
        ),
    ]:
        want = function(product(a, b)).numpy()
        np.testing.assert_allclose(product(a, b, activation=activation).numpy(), want, rtol=1e-5, atol=1e-6)
        out = gk.zeros(want.shape, device=any_device)
        product(a, b, activation=activation, out=out)
        np.testing.assert_allclose(out.numpy(), want, rtol=1e-5, atol=1e-6)


# Products with matrices


@formats
@pytest.mark.parametrize("count", [20, 130])
def test_matmul(device, name, count):
    w, values = weights(name, 70, 1024, device)
    x = normal((count, 1024))
    check_product((x @ w.T).numpy(), values, x)
    check_product((w @ np.ascontiguousarray(x.T)).numpy().T, values, x)
    y = normal((count, 70), 2)
    check_product((y @ w).numpy(), values.T, y)
    check_product((w.T @ np.ascontiguousarray(y.T)).numpy().T, values.T, y)


def check_halves(got, w, x):
    """`got` is x · wᵀ of float16 vectors, with weights that were rounded to float16."""
    x = x.astype(np.float64)
    want, magnitude = x @ w.T, np.abs(x) @ np.abs(w.T)
    assert (got.dtype, got.shape) == (np.float16, want.shape)
    # The weights may be subnormal in float16.
    allowed = 2.0**-11 * (np.abs(want) + magnitude) + 2.0**-25 * np.abs(x).sum(1, keepdims=True)
    wrong = np.argwhere(~(np.abs(got.astype(np.float64) - want) <= allowed))
    assert not len(wrong), f"{len(wrong)} of {got.size}, the first at {wrong[:9].tolist()}"


@formats
def test_matmul_in_float16(device, exact_cpu, name):
    w, values = weights(name, 70, 1024, device)
    for count in (12, 70):
        x, y = normal((count, 1024)).astype(np.float16), normal((count, 70), 2).astype(np.float16)
        check_halves((x @ w.T).numpy(), values, x)
        check_halves((w @ np.ascontiguousarray(x.T)).numpy().T, values, x)
        check_halves((y @ w).numpy(), values.T, y)
        check_halves((w.T @ np.ascontiguousarray(y.T)).numpy().T, values.T, y)


@pytest.mark.parametrize("name", ["q8_0", "nf4"])
def test_matmul_in_large_tiles(plain_device, exact_cpu, name):
    """Of the largest, a few fill the device: of 256 by 128, some of them not full."""
    w, values = weights(name, 12500, 64, plain_device)
    for count in (100, 300):
        x = normal((count, 64)).astype(np.float16)
        check_halves((x @ w.T).numpy(), values, x)
        check_halves((w @ np.ascontiguousarray(x.T)).numpy().T, values, x)
    w, values = weights(name, 70, 12544, plain_device)
    y = normal((300, 70), 2).astype(np.float16)
    check_halves((y @ w).numpy(), values.T, y)


@pytest.mark.parametrize("name", ["q8_0", "q4_k", "int8"])
def test_cuts_keep_blocks_whole(device, exact_cpu, name):
    """Few vectors and many, rows of lengths that are no powers of two, and many long rows."""
    for rows, length in ((1024, 768), (700, 384 * 4), (6000, 8192)):
        w, values = weights(name, rows, length, device)
        for count in (1, 4, 64) if rows < 6000 else (1, 4):
            x, y = normal((count, length)), normal((count, rows), 2)
            check_product(gk.matmul(x, w.T).numpy(), values, x)
            if rows < 6000:
                check_product(gk.matmul(y, w).numpy(), values.T, y)


def test_very_long_rows_and_very_many():
    """The CPU decodes what it multiplies with matrices in parts."""
    blocks = random_blocks("q8_0", 1, 2_200_000 // 32 * 32)
    length = blocks.shape[1] // 34 * 32
    w = gk.from_blocks(blocks, "q8_0", (1, length), device="cpu")
    values = w.dequantize().numpy()
    x = normal((17, length))
    np.testing.assert_allclose(gk.matmul_vec(w, x).numpy(), x @ values.T, atol=0.05)
    tall = gk.from_blocks(blocks, "q8_0", (length // 32, 32), device="cpu")
    y = normal((2, length // 32))
    np.testing.assert_allclose((y @ tall).numpy(), y @ tall.dequantize().numpy(), atol=0.05)


@pytest.mark.parametrize("dtype", FLOATS)
def test_matmul_of_vectors_and_stacks(device, exact_cpu, dtype):
    blocks = random_blocks("q4_1", 2 * 48, 96)
    w = gk.from_blocks(blocks, "q4_1", (2, 48, 96), device=device)
    values = decode("q4_1", blocks).reshape(2, 48, 96)
    for a, b in [
        (normal(96), w.mT),
        (normal((3, 96)), w.mT),
        (normal((2, 3, 96)), w.mT),
        (normal((5, 1, 40, 96)), w.mT),
        (w, normal(96)),
        (w, normal((96, 3))),
        (w, normal((2, 96, 33))),
        (normal(48), w),
        (normal((7, 48)), w),
        (w.mT, normal((48, 2))),
        (w[1], normal(96)),
        (normal((4, 96)), w[0].T),
        (normal((4, 48)), w[0]),
    ]:
        dense = [values if each is w else each for each in (a, b)]
        for i, each in enumerate((a, b)):
            if isinstance(each, gk.QuantTensor):
                dense[i] = each.dequantize().numpy()
            else:
                dense[i] = gk.asarray(each, dtype, device=device)
        operands = [each if isinstance(each, gk.QuantTensor) else dense[i] for i, each in enumerate((a, b))]
        got = gk.matmul(*operands)
        wide = [np.asarray(each.numpy() if isinstance(each, gk.Tensor) else each).astype(np.float64) for each in dense]
        want = np.matmul(*wide)
        assert (got.dtype, got.shape) == (dtype, want.shape)
        tolerance = {"float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
        magnitude = np.matmul(np.abs(wide[0]), np.abs(wide[1]))
        assert (np.abs(got.numpy().astype(np.float64) - want) <= tolerance * magnitude).all()


# Rows


@formats
def test_embedding(device, name):
    w, values = weights(name, 150, 512, device)
    for ids in ([3, 149, -1, -150, 3], [[0], [7]], np.int64(5), np.arange(150, dtype=np.uint32)):
        got = gk.embedding(w, ids)
        assert got.dtype == "float32"
        np.testing.assert_array_equal(got.numpy(), values[np.asarray(ids)])
    on_device = gk.asarray([0, 149, 150, 10**6, -1, -151], device=device)
    np.testing.assert_array_equal(gk.embedding(w, on_device).numpy(), values[[0, 149, 149, 149, 149, 0]])
    out = gk.zeros((2, 1024), device=device)[:, ::2]
    gk.embedding(w, [1, 2], out=out)
    np.testing.assert_array_equal(out.numpy(), values[1:3])
    assert gk.embedding(w, []).shape == (0, 512)


def test_embedding_of_entries_with_several_axes(device):
    blocks = random_blocks("q8_0", 5 * 3, 64)
    w = gk.from_blocks(blocks, "q8_0", (5, 3, 64), device=device)
    np.testing.assert_array_equal(gk.embedding(w, [4, 0]).numpy(), decode("q8_0", blocks).reshape(5, 3, 64)[[4, 0]])


@formats
def test_rows_are_views(device, exact_cpu, name):
    w, values = weights(name, 40, 512, device)
    x = normal(512)
    for key in [
        slice(3, 20),
        slice(None, None, 3),
        slice(None, None, -1),
        (slice(7, 8), slice(None)),
        ...,
        (None, ...),
        slice(5, 5),
    ]:
        part = w[key]
        assert part.shape == values[key].shape
        np.testing.assert_array_equal(part.dequantize().numpy(), values[key])
        assert part.nbytes == part.size // sizes(name)[0] * sizes(name)[1]
        if values[key].ndim == 2:
            check_product(gk.matmul_vec(part, x[None]).numpy(), values[key], x[None])
    row = w[-1]
    assert (row.shape, row.ndim) == ((512,), 1)
    np.testing.assert_array_equal(row.dequantize().numpy(), values[-1])
    assert len(w) == 40
    assert [each.shape for each in w][:2] == [(512,)] * 2
    np.testing.assert_array_equal(w.T.dequantize().numpy(), values.T)


# Bytes


def test_the_cpu_device_takes_bytes_where_they_are():
    blocks = random_blocks("q4_k", 4, 512)
    flat = blocks.reshape(-1)
    for source in (blocks, flat, flat.view(np.uint16), memoryview(flat), flat.reshape(2, -1)):
        w = gk.from_blocks(source, "q4_k", (4, 512), device="cpu")
        shared = np.asarray(w.blocks, copy=False)
        assert np.shares_memory(shared, blocks)
        assert (w.blocks.shape, w.blocks.dtype) == ((4, 288), "uint8")
    again = gk.from_blocks(w.blocks, "q4_k", (2, 2, 512))
    assert np.shares_memory(np.asarray(again.blocks, copy=False), blocks)
    assert np.shares_memory(np.asarray(w[1:].blocks, copy=False), blocks)


@formats
def test_bytes_of_any_kind_and_alignment(any_device, name):
    blocks = random_blocks(name, 6, 256)
    want = decode(name, blocks)
    raw = blocks.tobytes()
    with mmap.mmap(-1, len(raw) + 3) as memory:
        memory[3:] = raw
        sources = [
            raw,
            bytearray(raw),
            memoryview(memory)[3:],
            np.frombuffer(b"x" + raw, np.uint8)[1:],
            blocks[:, ::-1][:, ::-1],
        ]
        for source in sources:
            w = gk.from_blocks(source, name, (6, 256), device=any_device)
            np.testing.assert_array_equal(w.dequantize().numpy(), want)
            one = np.eye(1, 256, 9, np.float32)[0]
            np.testing.assert_allclose(gk.matmul_vec(w, one).numpy(), want[:, 9], rtol=1e-5, atol=1e-6)
        del w, source, sources
        gc.collect()
    tensor = gk.asarray(np.concatenate([np.zeros(5, np.uint8), blocks.reshape(-1)]), device=any_device)[5:]
    np.testing.assert_array_equal(gk.from_blocks(tensor, name, (6, 256)).dequantize().numpy(), want)
    for gaps in (blocks.repeat(2, axis=1), blocks.repeat(2, axis=0)):
        columns, rows = gaps.shape[1] // blocks.shape[1], gaps.shape[0] // blocks.shape[0]
        tensor = gk.asarray(gaps, device=any_device)[::rows, ::columns]
        np.testing.assert_array_equal(gk.from_blocks(tensor, name, (6, 256)).dequantize().numpy(), want)
    tensor = gk.asarray(np.ascontiguousarray(blocks.T), device=any_device).T
    np.testing.assert_array_equal(gk.from_blocks(tensor, name, (6, 256)).dequantize().numpy(), want)


def test_other_devices(any_device):
    w, values = weights("q5_1", 9, 64, "cpu")
    there = w.to(any_device)
    assert there.device == any_device
    np.testing.assert_array_equal(there.dequantize().numpy(), values)
    np.testing.assert_array_equal(there[2:5].to("cpu").dequantize().numpy(), values[2:5])
    np.testing.assert_array_equal(there[::2].to("cpu").blocks.numpy(), w.blocks.numpy()[::2])
    assert there.to(any_device).device == any_device


def test_nothing(any_device):
    empty = gk.quantize(np.zeros((0, 64), np.float32), "q4_0", device=any_device)
    assert (empty.shape, empty.nbytes, empty.size) == ((0, 64), 0, 0)
    assert empty.dequantize().shape == (0, 64)
    assert gk.matmul_vec(empty, np.ones(64, np.float32)).shape == (0,)
    assert gk.from_blocks(b"", "q8_0", (3, 0), device=any_device).dequantize().shape == (3, 0)
    thin = gk.from_blocks(b"", "q8_0", (3, 0), device=any_device)
    assert gk.matmul_vec(thin, np.ones((2, 0), np.float32)).tolist() == [[0] * 3] * 2
    w, _ = weights("q8_0", 4, 64, any_device)
    assert gk.matmul_vec(w, np.ones((0, 64), np.float32)).shape == (0, 4)


def test_what_is_said_of_it():
    w, _ = weights("q6_k", 4, 256, "cpu")
    assert repr(w) == "QuantTensor(q6_k, shape=(4, 256), device=cpu)"
    assert (w.ndim, w.size, w.T.shape, w.mT.shape) == (2, 1024, (256, 4), (256, 4))
    assert w.T.T.shape == w.shape
    assert gk.quantize(np.zeros(32, np.float32), "Q8_0", device="cpu").dtype == "q8_0"
    assert gk.quantize(np.zeros(256, np.float32), GGMLQuantizationType.Q5_K, device="cpu").dtype == "q5_k"


def test_copies(any_device):
    w, values = weights("q4_0", 4, 64, any_device)
    for twin in (copy.copy(w[1:]), copy.deepcopy(w[1:])):
        assert (twin.shape, twin.dtype, twin.device) == ((3, 64), "q4_0", any_device)
        np.testing.assert_array_equal(twin.dequantize().numpy(), values[1:])


@formats
def test_large_numbers(name):
    """Either they are held, or it is said that they are not."""
    for largest in (6e4, 1e6, 1e30):
        values = np.linspace(-largest, largest, 512, dtype=np.float32)
        try:
            decoded = gk.quantize(values, name, device="cpu").dequantize().numpy()
        except gk.ArgumentError as error:
            assert largest > 65504, str(error)
        else:
            assert np.abs(decoded - values).max() < 0.6 * largest


def mistakes():
    w = gk.quantize(np.ones((4, 256), np.float32), "q4_k", device="cpu")
    x = np.ones(256, np.float32)
    far = elsewhere()
    return {
        "a length that is no multiple": (
            lambda: gk.quantize(np.ones((2, 100), np.float32), "q4_k"),
            gk.ShapeError,
            "quantize: q4_k has blocks of 256 elements along the last axis, and 100 is not",
        ),
        "an unknown format": (
            lambda: gk.quantize(x, "q4"),
            gk.ArgumentError,
            "quantize: format='q4' must be one of q8_0, q4_0",
        ),
        "no format": (lambda: gk.quantize(x, 4), gk.ArgumentError, "quantize: format=4 must be one of"),
        "integers": (
            lambda: gk.quantize(np.arange(256), "q8_0"),
            gk.DTypeError,
            "quantize: the array has dtype int32; floats are quantised",
        ),
        "a number": (lambda: gk.quantize(1.0, "q8_0"), gk.ShapeError, "a number has no blocks"),
        "twice": (lambda: gk.quantize(w, "q8_0"), gk.DTypeError, "quantised already; dequantize"),
        "too few bytes": (
            lambda: gk.from_blocks(bytes(33), "q8_0", (32,)),
            gk.ShapeError,
            "takes 34 bytes (blocks of 34 for 32 elements), but there are 33",
        ),
        "a list": (
            lambda: gk.from_blocks([1, 2], "q8_0", (32,)),
            gk.ArgumentError,
            "the blocks are a list; give their bytes",
        ),
        "a float tensor": (
            lambda: gk.from_blocks(gk.zeros(34, device="cpu"), "q8_0", (32,)),
            gk.DTypeError,
            "blocks are bytes, of dtype uint8, not float32",
        ),
        "no axes": (lambda: gk.from_blocks(b"", "q8_0", ()), gk.ShapeError, "an axis or more"),
        "a huge shape": (
            lambda: gk.from_blocks(b"", "q8_0", (1 << 40, 1 << 40)),
            gk.OutOfMemoryError,
            "larger than any memory",
        ),
        "a wrong vector": (
            lambda: gk.matmul_vec(w, x[:255]),
            gk.ShapeError,
            "w has shape (4, 256) and x (255,); their last axes must be equal",
        ),
        "a wrong matrix": (
            lambda: x[None] @ w,
            gk.ShapeError,
            "a has shape (1, 256) and b (4, 256); the last axis of a must be as long as the last but one of b",
        ),
        "another device": (
            lambda: gk.matmul_vec(w, gk.ones(256, device=far)),
            gk.DeviceError,
            "matmul_vec: w is on cpu",
        ),
        "both quantised": (lambda: w @ w.T, gk.DTypeError, "both operands are quantised; dequantize() one"),
        "an unknown activation": (
            lambda: gk.matmul_vec(w, x, activation="swish"),
            gk.ArgumentError,
            "activation='swish' must be 'relu' or",
        ),
        "an activation of integers": (
            lambda: gk.matmul(np.eye(2, dtype=np.int32), np.eye(2, dtype=np.int32), activation="relu"),
            gk.DTypeError,
            "activation='relu' is for floats",
        ),
        "a cut through blocks": (
            lambda: w[:, :128],
            gk.ShapeError,
            "the last axis of q4_k weights of shape (4, 256) lies in blocks and stays whole",
        ),
        "an element": (lambda: w[0, 0], gk.ShapeError, "stays whole"),
        "a row that is not there": (lambda: w[4], gk.BoundsError, "index 4 is out of range"),
        "rows of what is transposed": (lambda: w.T[0], gk.ShapeError, "slice the rows first"),
        "an index that is not there": (
            lambda: gk.embedding(w, [4]),
            gk.BoundsError,
            "embedding: index 4 is out of range",
        ),
        "a transposed table": (lambda: gk.embedding(w.T, [0]), gk.ShapeError, "is not transposed"),
        "an operation that takes none": (lambda: gk.add(w, 1), gk.DTypeError, "add: x1 is quantised (q4_k)"),
        "operands in the wrong order": (
            lambda: gk.matmul_vec(x, w),
            gk.DTypeError,
            "x is quantised (q4_k); that are only w",
        ),
        "arithmetic": (lambda: w + 1, gk.DTypeError, "add: q4_k weights have no arithmetic but products; dequantize()"),
        "arithmetic with an array": (lambda: x * w, gk.DTypeError, "multiply: q4_k weights have no arithmetic"),
        "a negative": (lambda: -w, gk.DTypeError, "negative: q4_k weights"),
        "an assignment": (lambda: w.__setitem__(0, 1), gk.DTypeError, "assignment: q4_k weights"),
        "a list of rows": (lambda: w[[0, 1]], gk.DTypeError, "for rows by a list of indices use embedding()"),
        "a mixture": (
            lambda: gk.quantize(x, "Q4_K_M"),
            gk.ArgumentError,
            "have tensors of several formats, most of them q4_k",
        ),
        "too large a number": (
            lambda: gk.quantize(1e6 * x, "q4_0"),
            gk.ArgumentError,
            "the array holds 1e6, which q4_0 cannot",
        ),
        "NumPy": (lambda: np.asarray(w), TypeError, "dequantize() makes a tensor"),
        "integers of it": (
            lambda: w.dequantize("int32"),
            gk.ArgumentError,
            "dtype='int32' must be float32, float16 or bfloat16",
        ),
        "an out of another dtype": (
            lambda: gk.matmul_vec(w, x, out=gk.zeros(4, "float16", device="cpu")),
            gk.DTypeError,
            "out= has dtype float16",
        ),
        "the vector as out": (
            lambda: gk.matmul_vec(w, x, out=np.zeros(4, np.float32)),
            gk.ArgumentError,
            "out= must be a Tensor",
        ),
    }


@pytest.mark.parametrize("what", mistakes())
def test_mistakes(what):
    call, error, message = mistakes()[what]
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_the_setting():
    assert gk.config.int8_activations is True
    with pytest.raises(gk.ArgumentError, match="int8_activations is True or False, not 1"):
        gk.config.int8_activations = 1


def test_results_do_not_depend_on_company(any_device):
    """A vector gives the same bits alone and with others, and so do repeated calls."""
    w, _ = weights("q4_k", 90, 1024, any_device)
    x = gk.asarray(normal((16, 1024)), device=any_device)
    first = gk.matmul_vec(w, x).numpy()
    np.testing.assert_array_equal(first, gk.matmul_vec(w, x).numpy())
    if is_cpu(any_device):
        for i in (0, 15):
            np.testing.assert_array_equal(gk.matmul_vec(w, x[i]).numpy(), first[i])
