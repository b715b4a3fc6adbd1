"""Model files: read back equal on every device, lazily, in little memory; what is damaged is refused, by its place."""

import builtins
import contextlib
import doctest
import functools
import gc
import inspect
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tempfile
import unicodedata
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import gpukern as gk
import gpukern.__main__ as command_line
from arrays import DTYPES, assert_same, sample
from gpukern import _files
from processes import run_python, run_script

BLOCKS = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4")
BLOCKS += ("tq1_0", "tq2_0")
# What GGUF has of plain kinds, and what becomes of them.
PLAIN = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F64": np.float64,
}
CONVERTED = {"int16": "int32", "uint16": "int32", "int64": "int32", "uint64": "uint32", "float64": "float32"}
STATUS = Path("/proc/self/status")


# Files by hand: what no package writes


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def scalar(kind, code, value):
    return struct.pack(f"<I{code}", kind, value)


def array(kind, count, elements):
    return struct.pack("<IIQ", 9, kind, count) + elements


def gguf_bytes(tensors=(), metadata=(), version=3, alignment=32):
    """A file of tensors (name, shape, kind's number, bytes), and metadata (key, type and value as they are written)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(text(key) + value for key, value in metadata)
    data = b""
    for name, shape, kind, content in tensors:
        head += text(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}QIQ", *reversed(shape), kind, len(data))
        data += content + bytes(-len(content) % alignment)
    return head + bytes(-len(head) % alignment) + data


def npz_bytes(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def safetensors_bytes(tensors, metadata=None, padding=""):
    """A file of tensors (name, dtype's name, shape, bytes), in this order, with a header of any length."""
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, shape, content in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(content)]}
        offset += len(content)
    encoded = json.dumps(header).encode() + padding.encode()
    return struct.pack("<Q", len(encoded)) + encoded + b"".join(content for *_, content in tensors)


def random_blocks(kind, shape, seed=0):
    """Blocks whose float16 scales are finite and small: no byte of theirs is above 0x3b."""
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.upper()]]
    row = shape[-1] // elements * size
    return np.random.default_rng(seed).integers(0, 0x3C, (*shape[:-1], row), dtype=np.uint8)


def write_gguf(path, tensors, metadata=(), **options):
    """Writes by the package: tensors by name, an array or a pair of blocks and their kind."""
    writer = gguf.GGUFWriter(path, "test", **options)
    for key, value, kind, *inner in metadata:
        writer.add_key_value(key, value, kind, *inner)
    for name, tensor in tensors.items():
        if isinstance(tensor, tuple):
            writer.add_tensor(name, tensor[0], raw_dtype=gguf.GGMLQuantizationType[tensor[1].upper()])
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def blocks_of(tensor):
    return np.asarray(tensor.blocks.numpy()).tobytes()


def both_ways(path, device, **options):
    """All tensors, lazily and at once."""
    with gk.open(path, device=device, **options) as model:
        lazily = {name: model[name] for name in model}
    at_once = gk.load(path, device=device, **options)
    assert list(lazily) == list(at_once)
    for tensors in (lazily, at_once):
        assert all(tensor.device == device for tensor in tensors.values())
    return lazily, at_once


# GGUF


def test_gguf_of_every_kind_of_blocks(tmp_path, plain_device):
    shapes = [(3, 512), (256,), (2, 1, 768), (0, 256)]
    written = {
        f"{kind}.{len(shape)}.{shape[0]}": (random_blocks(kind, shape), kind) for kind in BLOCKS for shape in shapes
    }
    path = write_gguf(tmp_path / "model.gguf", written)
    info = gk.open(path).tensors
    assert {entry.dtype for entry in info.values()} == set(BLOCKS)
    for tensors in both_ways(path, plain_device):
        assert list(tensors) == list(written)
        for name, (blocks, kind) in written.items():
            tensor = tensors[name]
            assert isinstance(tensor, gk.QuantTensor)
            assert tensor.dtype == info[name].dtype == kind
            assert tensor.nbytes == info[name].nbytes == blocks.nbytes
            assert tensor.shape == info[name].shape
            assert blocks_of(tensor) == blocks.tobytes()


def test_gguf_dequantised(tmp_path, plain_device):
    """Where blocks are not wanted float32 comes, with the values that the package gives them."""
    written = {kind: random_blocks(kind, (5, 512)) for kind in BLOCKS}
    path = write_gguf(tmp_path / "model.gguf", {kind: (blocks, kind) for kind, blocks in written.items()})
    for tensors in both_ways(path, plain_device, keep_quantised=False):
        for kind, blocks in written.items():
            want = gguf.dequantize(blocks, gguf.GGMLQuantizationType[kind.upper()])
            assert isinstance(tensors[kind], gk.Tensor)
            assert_same(tensors[kind].numpy(), want.reshape(5, 512))


def test_gguf_of_plain_kinds(tmp_path, plain_device, quiet_float64):
    written = {}
    for kind, dtype in PLAIN.items():
        written[kind] = np.arange(-7, 8).astype(dtype).reshape(5, 3)
        written[f"{kind} of one"] = np.arange(3, 4).astype(dtype)
    as_stored = {
        name: (x.view(np.uint8), "BF16") if x.dtype == ml_dtypes.bfloat16 else x for name, x in written.items()
    }
    path = write_gguf(tmp_path / "model.gguf", as_stored)
    info = gk.open(path).tensors
    for tensors in both_ways(path, plain_device):
        for name, x in written.items():
            assert info[name] == (name, x.shape, x.dtype.name, x.nbytes)
            assert_same(tensors[name].numpy(), x.astype(CONVERTED.get(x.dtype.name, x.dtype)))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [1, 8, 32, 4096])
def test_gguf_by_hand(tmp_path, plain_device, version, alignment):
    x = sample(np.dtype(np.float32), (3, 5))
    half = sample(np.dtype(np.float16), (7,))
    blocks = random_blocks("q4_k", (2, 256))
    tensors = [
        ("odd", (3,), 24, b"\x01\x02\xff"),
        ("x", x.shape, 0, x.tobytes()),
        ("half", half.shape, 1, half.tobytes()),
        ("blocks", (2, 256), 12, blocks.tobytes()),
        ("none", (), 0, b"\0\0\xc0\x3f"),
        ("empty", (0, 3), 0, b""),
    ]
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(tensors, [("general.alignment", scalar(4, "I", alignment))], version, alignment))
    model = gk.open(path)
    assert (model.format, model.version) == ("gguf", version)
    for read in both_ways(path, plain_device):
        assert read["odd"].tolist() == [1, 2, -1]
        assert_same(read["x"].numpy(), x)
        assert_same(read["half"].numpy(), half)
        assert blocks_of(read["blocks"]) == blocks.tobytes()
        assert_same(read["none"].numpy(), np.float32(1.5))
        assert_same(read["empty"].numpy(), np.empty((0, 3), np.float32))


def test_metadata_of_every_type(tmp_path):
    kinds = gguf.GGUFValueType
    numbers = {
        kinds.UINT8: (0, 255),
        kinds.INT8: (-128, 127),
        kinds.UINT16: (0, 65535),
        kinds.INT16: (-32768, 32767),
        kinds.UINT32: (0, 2**32 - 1),
        kinds.INT32: (-(2**31), 2**31 - 1),
        kinds.FLOAT32: (1.5, -np.inf),
        kinds.BOOL: (True, False),
        kinds.STRING: ("", "Grüße\n\x1b[31m"),
        kinds.UINT64: (0, 2**64 - 1),
        kinds.INT64: (-(2**63), 2**63 - 1),
        kinds.FLOAT64: (0.1, 1e300),
    }
    metadata = []
    for kind, (low, high) in numbers.items():
        metadata += [(f"{kind.name}.low", low, kind), (f"{kind.name}.high", high, kind)]
        metadata.append((f"{kind.name}.all", [low, high, low], kinds.ARRAY, kind))
    metadata.append(("nested", [["a", "b"], ["c"]], kinds.ARRAY))
    path = write_gguf(tmp_path / "model.gguf", {}, metadata)
    with gk.open(path) as model:
        found = model.metadata
        assert list(found) == ["general.architecture", *(key for key, *_ in metadata)]
        assert len(found) == len(metadata) + 1
        for kind, (low, high) in numbers.items():
            for name, value in (("low", low), ("high", high)):
                got = found[f"{kind.name}.{name}"]
                assert got == value
                assert type(got) is type(value)
            elements = found[f"{kind.name}.all"]
            if kind == kinds.STRING:
                assert elements == [low, high, low]
            else:
                assert elements.tolist() == [low, high, low]
                assert not elements.flags.writeable
        assert found["nested"] == [["a", "b"], ["c"]]
        assert found["nested"] is found["nested"]
        assert "missing" not in found
        assert found.get("missing") is None
        with pytest.raises(KeyError):
            found["missing"]
        # What has been made stays, the rest goes with the file.
        model.close()
        assert found["nested"] == [["a", "b"], ["c"]]
        assert found["BOOL.low"] is True


def test_metadata_that_no_package_writes(tmp_path):
    metadata = [
        ("latin", struct.pack("<I", 8) + text(b"\xfc")),
        ("pieces", array(8, 3, text(b"\xe4") + text("ä") + text(b""))),
        ("no numbers", array(6, 0, b"")),
        ("no texts", array(8, 0, b"")),
        ("", scalar(7, "B", 1)),
        ("deep", array(9, 1, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 11, 2) + struct.pack("<qq", -1, 2))),
    ]
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes((), metadata))
    found = gk.open(path).metadata
    assert found["latin"] == b"\xfc"
    assert found["pieces"] == [b"\xe4", "ä", ""]
    assert found["no numbers"].dtype == np.float32
    assert found["no numbers"].size == 0
    assert found["no texts"] == []
    assert found[""] is True
    assert found["deep"][0][0].tolist() == [-1, 2]


def test_a_large_vocabulary(tmp_path):
    words = [f"word {i} ü" for i in range(150_000)]
    scores = np.arange(150_000, dtype=np.float32)
    metadata = [
        ("tokens", array(8, len(words), b"".join(map(text, words)))),
        ("scores", array(6, scores.size, scores.tobytes())),
    ]
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes((), metadata))
    found = gk.open(path).metadata
    assert found["tokens"] == words
    assert_same(found["scores"], scores)


# Safetensors


def test_safetensors_of_every_dtype(tmp_path, any_device, quiet_float64):
    dtypes = [*DTYPES, *map(np.dtype, CONVERTED)]
    written = {}
    for dtype in dtypes:
        for shape in [(), (0,), (1,), (3, 5), (2, 3, 4), (4, 0, 2), (257,)]:
            # What is converted fits what it becomes.
            values = sample(np.dtype(np.uint8), shape) if dtype.name in CONVERTED else sample(dtype, shape)
            written[f"{dtype}{shape}"] = np.array(values, dtype)
    path = tmp_path / "model.safetensors"
    save_file(written, path, {"format": "np", "Grüße": "\n"})
    model = gk.open(path)
    assert (model.format, model.version) == ("safetensors", None)
    assert dict(model.metadata) == {"format": "np", "Grüße": "\n"}
    assert set(model) == set(written)
    for tensors in both_ways(path, any_device):
        for name, x in written.items():
            assert model.tensors[name] == (name, x.shape, x.dtype.name, x.nbytes)
            assert_same(tensors[name].numpy(), x.astype(CONVERTED.get(x.dtype.name, x.dtype)))


@pytest.mark.parametrize("odd", range(1, 8))
def test_safetensors_anywhere_in_memory(tmp_path, plain_device, odd):
    """Nothing makes tensors begin where processors like it: neither the header's length nor the tensors before."""
    names = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int32": "I32", "uint32": "U32", "int64": "I64"}
    written = {dtype: np.arange(1000).astype(_files._DTYPES[dtype]) for dtype in names}
    entries = [(dtype, names[dtype], [1000], x.tobytes()) for dtype, x in written.items()]
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes([("odd", "BOOL", [odd], b"\1" * odd), *entries]))
    for tensors in both_ways(path, plain_device):
        for dtype, x in written.items():
            assert_same(tensors[dtype].numpy(), x.astype(CONVERTED.get(dtype, x.dtype)))


@pytest.mark.parametrize("piece", [64, 4096])
def test_large_tensors_go_in_pieces(tmp_path, any_device, monkeypatch, quiet_float64, piece):
    monkeypatch.setattr(_files, "_PIECE", piece)
    written = {}
    for dtype in [*DTYPES, *map(np.dtype, CONVERTED)]:
        for count in (1, piece // 8, piece // 8 + 1, 2 * piece + 3, 20_001):
            written[f"{dtype} {count}"] = (np.arange(count) % 100).astype(dtype)
    path = tmp_path / "model.safetensors"
    save_file(written, path)
    for tensors in both_ways(path, any_device):
        for name, x in written.items():
            assert_same(tensors[name].numpy(), x.astype(CONVERTED.get(x.dtype.name, x.dtype)))
    blocks = {kind: random_blocks(kind, (37, 1280)) for kind in BLOCKS}
    path = write_gguf(tmp_path / "model.gguf", {kind: (each, kind) for kind, each in blocks.items()})
    for tensors in both_ways(path, any_device):
        for kind, each in blocks.items():
            assert blocks_of(tensors[kind]) == each.tobytes()


# What is shared, and with whom


def test_the_cpu_device_shares_the_file(tmp_path):
    path = tmp_path / "model.gguf"
    write_gguf(path, {"x": np.ones((4, 8), np.float32), "q": (random_blocks("q8_0", (2, 64)), "q8_0")})
    for tensors in (gk.open(path, device="cpu"), gk.load(path, device="cpu")):
        x = np.asarray(tensors["x"], copy=False)
        q = np.asarray(tensors["q"].blocks, copy=False)
        with pytest.raises(gk.ArgumentError, match="read-only"):
            tensors["x"][0] = 1
        assert not x.flags.owndata
        assert not q.flags.owndata
    model = gk.open(path)
    assert np.shares_memory(np.asarray(model["x"], copy=False), model.raw("x"))
    assert np.shares_memory(np.asarray(model["q"].blocks, copy=False), model.raw("q"))
    assert np.shares_memory(model.raw("x"), model.raw("x"))
    assert not model.raw("x").flags.writeable


def test_tensors_outlive_their_file(tmp_path, plain_device):
    path = tmp_path / "model.safetensors"
    x = sample(np.dtype(np.float32), (1000, 100))
    save_file({"x": x, "y": x}, path, {"a": "b"})
    with gk.open(path, device=plain_device) as model:
        tensor = model["x"]
        assert "ModelFile" in repr(model)
    del model
    loaded = gk.load(path, device=plain_device)
    path.unlink()
    gc.collect()
    assert_same(tensor.numpy(), x)
    assert_same(loaded["y"].numpy(), x)


def test_a_closed_file(tmp_path):
    path = write_gguf(tmp_path / "model.gguf", {"x": np.ones(3, np.float32)}, [("k", ["a"], gguf.GGUFValueType.ARRAY)])
    model = gk.open(path)
    model.close()
    model.close()
    assert list(model) == ["x"]
    assert model.tensors["x"].shape == (3,)
    for take in (lambda: model["x"], lambda: model.raw("x"), lambda: model.metadata["k"]):
        with pytest.raises(gk.ArgumentError, match=r"open: .*model\.gguf has been closed; open it again"):
            take()
    assert repr(model).endswith("1 tensors, 12 bytes, device=cpu, closed>")


def test_names_that_are_not_there(tmp_path):
    metadata = [("k.rope", 1, gguf.GGUFValueType.UINT32)]
    path = write_gguf(tmp_path / "model.gguf", {"blk.0.attn_q.weight": np.ones(3, np.float32)}, metadata)
    model = gk.open(path)
    for take, message in [
        (lambda: model["blk.0.attn_q.weigth"], "has no tensor 'blk.0.attn_q.weigth'; did you mean"),
        (lambda: model.raw("output"), r"has no tensor 'output'; \.tensors lists what it has"),
        (lambda: model.metadata["k.rop"], r"open: .*model\.gguf has no metadata 'k.rop'; did you mean 'k.rope'\?"),
        (lambda: model.metadata["name"], r"has no metadata 'name'; \.metadata lists what it has"),
        (lambda: model.metadata[3], "has no metadata 3"),
    ]:
        with pytest.raises(KeyError, match=message):
            take()
    assert model.metadata.get("name") is None
    assert "name" not in model.metadata
    with pytest.raises(KeyError) as caught:
        model["blk"]
    assert str(pickle.loads(pickle.dumps(caught.value)).args[0]) == str(caught.value)


def test_a_warning_points_to_the_caller(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"x": np.ones(3)}, path)
    printed = run_script(f"""
        import os, warnings
        with warnings.catch_warnings(record=True) as caught:
            gk.load({str(path)!r}, device="cpu")
        print([(each.category.__name__, "gpukern" in os.path.dirname(each.filename)) for each in caught])
    """)
    assert printed.strip() == "[('PrecisionWarning', False)]"


def test_a_model_is_a_mapping(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes([("b", "U8", [1], b"1"), ("a", "U8", [2], b"23")]))
    model = gk.open(str(path))
    assert (list(model), len(model)) == (["b", "a"], 2)
    assert "a" in model
    assert 3 not in model
    assert model.get("c") is None
    assert [tensor.tolist() for tensor in model.values()] == [[49], [50, 51]]
    assert model == model
    assert model != gk.open(path)
    assert {model: 1}[model] == 1
    with pytest.raises(KeyError, match=r"has no tensor 'c'; \.tensors lists what it has"):
        model["c"]
    with pytest.raises(KeyError, match="has no tensor"):
        model.raw(3)
    assert repr(model) == f"<gpukern.ModelFile '{path}': safetensors, 2 tensors, 3 bytes, device=cpu>"


def test_where_tensors_are_made(tmp_path, plain_device):
    """`open` keeps them where the file is, `load` brings them to the default device."""
    path = tmp_path / "model.safetensors"
    save_file({"x": np.ones(3, np.float32)}, path)
    with gk.use_device(plain_device):
        assert gk.open(path).device.id == "cpu"
        assert gk.load(path)["x"].device == plain_device
    assert gk.open(path, device=plain_device).device == plain_device
    for call in (gk.open, gk.load):
        with pytest.raises(gk.DeviceNotFoundError, match="cuda"):
            call(path, device="cuda")


def test_names():
    assert gk.open is not builtins.open
    assert "open" not in gk.__all__
    assert {"load", "ModelFile", "TensorInfo", "FileError"} <= set(gk.__all__)


@pytest.mark.parametrize("function", [gk.open, gk.load, gk.ModelFile.raw, gk.TensorInfo], ids=lambda f: f.__name__)
def test_examples(function):
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(function), {}, function.__name__, None, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


# Values that devices do not have, and kinds that nobody here has


def test_integers_that_do_not_fit(tmp_path, plain_device):
    path = tmp_path / "model.safetensors"
    values = np.array([1, 2**40])
    save_file({"steps": values}, path)
    for call in (lambda: gk.load(path, device=plain_device), lambda: gk.open(path, device=plain_device)["steps"]):
        with pytest.raises(gk.DTypeError) as error:
            call()
        for word in ("model.safetensors", "'steps'", "int64", "1099511627776", ".raw(name)"):
            assert word in str(error.value)
    assert_same(gk.open(path).raw("steps").view("int64"), values)


def test_float64_goes_by_the_policy(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_file({"x": np.array([0.1])}, path)
    monkeypatch.setattr(gk.config, "float64", "error")
    with pytest.raises(gk.DTypeError, match=r"tensor 'x': .*float64"):
        gk.load(path, device="cpu")
    monkeypatch.setattr(gk.config, "float64", "cast")
    assert_same(gk.load(path, device="cpu")["x"].numpy(), np.float32([0.1]))


def test_unknown_kinds(tmp_path, plain_device):
    plain = np.ones(4, np.float32).tobytes()
    tensors = [("x", (4,), 0, plain), ("new", (7,), 1000, bytes(40)), ("old", (2, 256), 16, bytes(132))]
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(tensors))
    other = tmp_path / "model.safetensors"
    # A type of this name is none of the format's, though NumPy has one.
    eights = [("x", "F32", [4], plain), ("new", "F8_E4M3", [3], b"abc"), ("old", "float32", [4], b"x")]
    other.write_bytes(safetensors_bytes(eights))
    for file, kinds in ((path, ("GGUF type 1000", "iq2_xxs")), (other, ("F8_E4M3", "float32"))):
        model = gk.open(file, device=plain_device)
        assert tuple(model.tensors[name].dtype for name in ("new", "old")) == kinds
        assert model["x"].tolist() == [1, 1, 1, 1]
        advice = "which gpukern does not have; convert the file"
        for name, kind in zip(("new", "old"), kinds, strict=True):
            take = functools.partial(model.__getitem__, name)
            refused(take, f"open: {file}: tensor '{name}'", kind, advice, error=gk.DTypeError)
            assert model.raw(name).nbytes == model.tensors[name].nbytes
        load = functools.partial(gk.load, file, device=plain_device)
        refused(load, f"load: {file}: tensor 'new'", kinds[0], advice, error=gk.DTypeError)
    assert bytes(gk.open(other).raw("new")) == b"abc"


# Models in several files


def test_safetensors_with_an_index(tmp_path, plain_device):
    x, y = sample(np.dtype(np.float32), (3, 4)), sample(np.dtype(np.float16), (5,))
    save_file({"x": x, "left out": y}, tmp_path / "model-00001-of-00002.safetensors", {"format": "pt"})
    (tmp_path / "sub").mkdir()
    save_file({"y": y}, tmp_path / "sub" / "model-00002-of-00002.safetensors", {"format": "np", "more": "1"})
    names = {"y": "sub/model-00002-of-00002.safetensors", "x": "model-00001-of-00002.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 58}, "weight_map": names}))
    (tmp_path / "consolidated.safetensors").write_bytes(b"")
    for path in (index, tmp_path):
        for tensors in both_ways(path, plain_device):
            assert list(tensors) == ["y", "x"]
            assert_same(tensors["x"].numpy(), x)
            assert_same(tensors["y"].numpy(), y)
    assert dict(gk.open(index).metadata) == {"format": "np", "more": "1"}
    # A part is a file as any other.
    assert set(gk.open(tmp_path / "model-00001-of-00002.safetensors")) == {"x", "left out"}


def test_safetensors_in_parts_without_an_index(tmp_path):
    for number, name in enumerate("abc", 1):
        save_file({name: np.full(3, number, np.int32)}, tmp_path / f"m-{number:05}-of-00003.safetensors")
    assert [tensor.tolist() for tensor in gk.load(tmp_path, device="cpu").values()] == [[1] * 3, [2] * 3, [3] * 3]
    (tmp_path / "m-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="m-00002-of-00003"):
        gk.open(tmp_path)


def test_an_index_of_nothing(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {}}')
    assert gk.load(index, device="cpu") == {}
    assert gk.open(index).format == "safetensors"


def split_gguf(folder, count=5):
    written = {f"t{i}": np.full((2, 3), i, np.float32) for i in range(count)}
    write_gguf(folder / "model.gguf", written, split_max_tensors=2)
    parts = sorted(folder.glob("*.gguf"))
    assert [part.name for part in parts] == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    return written, parts


def test_split_gguf(tmp_path, plain_device):
    written, parts = split_gguf(tmp_path)
    for path in (*parts, tmp_path):
        for tensors in both_ways(path, plain_device):
            assert list(tensors) == list(written)
            for name, x in written.items():
                assert_same(tensors[name].numpy(), x)
    metadata = gk.open(parts[2]).metadata
    assert metadata["general.architecture"] == "test"
    assert metadata["split.no"] == 0


def refused(call, *words, error=gk.FileError):
    """The call fails, in these words."""
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value), caught.value
    return str(caught.value)


def test_parts_that_do_not_fit(tmp_path):
    _, parts = split_gguf(tmp_path)
    spare = tmp_path / "spare"
    spare.mkdir()
    shutil.copy(parts[1], spare / "alone.gguf")
    refused(lambda: gk.open(spare), "alone.gguf", "'split.count'", "name the parts NAME-00001-of-00003.gguf")
    parts[1].rename(spare / "part")
    message = refused(lambda: gk.open(parts[0]), "this part of the model is missing", error=FileNotFoundError)
    assert str(parts[1]) in message
    shutil.copy(parts[2], parts[1])
    refused(lambda: gk.open(parts[0]), parts[1].name, "'split.no'", "part 2 (from 0) of 3")
    # Two parts with a tensor of the same name, and parts of which one has lost a tensor.
    for number in (1, 2):
        (spare / f"x-0000{number}-of-00002.gguf").write_bytes(gguf_bytes([("same", (1,), 0, bytes(4))]))
    refused(lambda: gk.open(spare / "x-00001-of-00002.gguf"), "x-00002-of-00002.gguf", "'same'", "fetch")
    (spare / "x-00002-of-00002.gguf").write_bytes(gguf_bytes([("other", (1,), 0, bytes(4))]))
    assert set(gk.open(spare / "x-00002-of-00002.gguf")) == {"same", "other"}
    total = [("split.tensors.count", scalar(5, "i", 3))]
    (spare / "x-00001-of-00002.gguf").write_bytes(gguf_bytes([("same", (1,), 0, bytes(4))], total))
    refused(lambda: gk.open(spare / "x-00001-of-00002.gguf"), "'split.tensors.count' is 3", "have 2 tensors")
    # Names that count to nowhere.
    (spare / "y-00000-of-00000.gguf").write_bytes(gguf_bytes())
    assert len(gk.open(spare / "y-00000-of-00000.gguf")) == 0
    refused(lambda: gk.open(spare / "z-00001-of-99999.gguf"), "missing", error=FileNotFoundError)


def test_an_index_that_does_not_fit(tmp_path):
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "a.safetensors")
    index = tmp_path / "model.safetensors.index.json"

    def write(names):
        index.write_text(json.dumps({"weight_map": names}))

    write({"y": "a.safetensors"})
    refused(lambda: gk.open(tmp_path), "tensor 'y' is to be in a.safetensors, which does not have it; fetch")
    write({"x": "b.safetensors"})
    refused(lambda: gk.open(tmp_path), "missing", "b.safetensors", error=FileNotFoundError)
    for path in ("../a.safetensors", "/etc/passwd", "C:/x", "", "a\0b"):
        write({"x": path})
        refused(lambda: gk.load(index), "index.json", "the file of tensor 'x'", "at byte", "fetch or convert")
    for content in (b"", b"[]", b"{}", b'{"weight_map": 3}', b'{"weight_map": {"x": ', b"\xff"):
        index.write_bytes(content)
        refused(lambda: gk.load(index), "index.json", "the index at byte")


def test_folders(tmp_path):
    refused(lambda: gk.open(tmp_path), str(tmp_path), "this folder has no model", "give the file's own name")
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "one.safetensors")
    assert list(gk.open(tmp_path)) == ["x"]
    write_gguf(tmp_path / "two.gguf", {})
    refused(lambda: gk.load(tmp_path), "several models; name one of them: one.safetensors, two.gguf")
    for i in range(20):
        (tmp_path / f"x{i}.gguf").touch()
    assert refused(lambda: gk.load(tmp_path), "name one of them").endswith(", ...")


# What is refused


def test_files_that_are_not_there(tmp_path):
    for path in (tmp_path / "none.gguf", str(tmp_path / "none.safetensors")):
        with pytest.raises(FileNotFoundError, match="none"):
            gk.open(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_what_is_no_file(tmp_path):
    """A pipe would be waited for, and a device never end."""
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in (tmp_path / "pipe.gguf", "/dev/zero"):
        refused(lambda path=path: gk.open(path), "this is no regular file", "copy it")


def test_arguments(tmp_path):
    for path in (3, b"model.gguf", None, "a\0b"):
        refused(lambda path=path: gk.open(path), "open: path=", "a str or a Path", error=gk.ArgumentError)
    path = write_gguf(tmp_path / "model.gguf", {})
    for keep in ("float16", 2, None):
        refused(
            lambda keep=keep: gk.load(path, keep_quantised=keep),
            "load: keep_quantised=",
            "True or False",
            error=gk.ArgumentError,
        )


GOOD = gguf_bytes([("x", (4,), 0, bytes(16)), ("y", (2, 32), 8, bytes(68))], [("k", scalar(4, "I", 7))])
DAMAGED = {
    "empty": (b"", "the file at byte 0", "the file is empty"),
    "something else": (b"hello, world", "the file at byte 0", "neither GGUF"),
    "a PyTorch checkpoint": (b"PK\x03\x04" + bytes(40), "the file at byte 0", "convert it to safetensors"),
    "NumPy arrays": (npz_bytes(w=np.ones(3)), "the file at byte 0", "numpy.load() reads it"),
    "a NumPy array": (b"\x93NUMPY\x01\x00" + bytes(40), "the file at byte 0", "numpy.load() reads it"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "the file at byte 0", "git lfs pull"),
    "cut in the header": (GOOD[:50], "the header at byte 8", "has room for 1 at most"),
    "cut in a key": (gguf_bytes((), [("k" * 99, b"")])[:60], "metadata entry 1 of 1 at byte 32", "truncated"),
    "cut in the data": (GOOD[:-1][:-60], "tensor 'y'", "truncated"),
    "a count of tensors": (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "the header at byte 8", "count of tensors"),
    "a count of metadata": (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "the header at byte 16", "count of metadata"),
    "an array": (gguf_bytes((), [("k", array(8, 2**60, b""))]), "metadata 'k'", "count of elements"),
    "a long text": (gguf_bytes((), [("k", struct.pack("<IQ", 8, 2**60))]), "metadata 'k'", "needs"),
    "nested arrays": (gguf_bytes((), [("k", array(9, 1, struct.pack("<IQ", 9, 1) * 99))]), "metadata 'k'", "arrays"),
    "an alignment": (gguf_bytes((), [("general.alignment", scalar(4, "I", 3))]), "'general.alignment'", "power of two"),
    "a shape": (gguf_bytes([("x", (2**40, 2**40), 0, b"")]), "tensor 'x'", "more elements than any memory"),
    "a row": (gguf_bytes([("x", (33,), 8, bytes(68))]), "tensor 'x'", "blocks of 32"),
    "version 1": (gguf_bytes(version=1), "the header at byte 4", "convert"),
    "big-endian": (gguf_bytes(version=3 << 24), "the header at byte 4", "convert"),
    "a header's length": (struct.pack("<Q", 2**62) + b"{}" + bytes(9), "the header at byte 0", "length"),
    "no JSON": (struct.pack("<Q", 5) + b"{....", "the header at byte", ""),
    "an offset": (safetensors_bytes([("x", "F32", [4], bytes(16))])[:-1], "tensor 'x'", "truncated"),
    "a length": (safetensors_bytes([("x", "F32", [5], bytes(16))]), "tensor 'x'", "takes 20 bytes"),
    "a negative axis": (safetensors_bytes([("x", "F32", [-1], b"")]), "tensor 'x'", ""),
    "data of nobody": (safetensors_bytes([("x", "F32", [4], bytes(16))]) + b"more", "the data", "no tensor claims"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(tmp_path, name):
    content, place, problem = DAMAGED[name]
    path = tmp_path / "model"
    path.write_bytes(content)
    for call in (gk.open, gk.load):
        message = refused(lambda call=call: call(path), f"{call.__name__}: {path}: ", place, problem)
        assert any(word in message for word in ("fetch", "convert", "numpy.load")), "nothing says what to do"


def test_overlaps(tmp_path):
    content = bytearray(gguf_bytes([("x", (64,), 0, bytes(256)), ("y", (64,), 0, bytes(256))]))
    at = content.rindex(struct.pack("<IQ", 0, 256))
    content[at : at + 12] = struct.pack("<IQ", 0, 32)
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    refused(lambda: gk.open(path), "tensor 'y' at byte", "belong to tensor 'x'")


def harmless(words):
    """Whether nothing in it controls a terminal, or the order of what is read."""
    return not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in words)


HOSTILE = "\x1b[2J\x1b]0;title\x07\n\r\u202e\u2028name"


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path, capsys, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes([(HOSTILE, HOSTILE, [1], b"x")], {HOSTILE: HOSTILE}))
    model = gk.open(path)
    shown = [refused(lambda: model[HOSTILE], error=gk.DTypeError), repr(model), repr(model.metadata)]
    monkeypatch.setattr(sys, "argv", ["gpukern", "inspect", str(path)])
    assert command_line._guarded() == 0
    shown.append(capsys.readouterr().out.replace("\n", ""))
    path.write_bytes(safetensors_bytes([(HOSTILE, "F32", [1], b"x")]))
    shown.append(refused(lambda: gk.open(path)))
    for words in shown:
        assert harmless(words), words
        assert "[2J" in words or "ModelFile" in words


SAMPLES = (
    gguf_bytes(
        [
            ("a", (2, 256), 12, bytes(288)),
            ("b", (3,), 30, bytes(6)),
            ("c", (5,), 27, bytes(40)),
            ("d", (), 28, bytes(8)),
        ],
        [("k", scalar(10, "Q", 7)), ("s", array(8, 2, text("x") + text("yz"))), ("n", array(9, 1, bytes(12)))],
    ),
    safetensors_bytes(
        [
            ("a", "F32", [2, 3], bytes(24)),
            ("b", "BOOL", [1], b"\1"),
            ("c", "I64", [], bytes(8)),
            ("d", "F8", [2], b"ab"),
        ],
        {"k": "v"},
    ),
)
ODD = (0, 1, 7, 255, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1)
CHANGES = st.tuples(st.integers(0, 2**16), st.sampled_from(ODD), st.sampled_from([1, 2, 4, 8]))


@pytest.mark.filterwarnings("ignore::gpukern.PrecisionWarning")
@settings(max_examples=150)
@given(st.sampled_from(SAMPLES), st.lists(CHANGES, max_size=4), st.none() | st.integers(0, 2**16))
def test_whatever_a_file_holds(content, changes, end):
    """It is read, or refused by an error that is ours."""
    damaged = bytearray(content)
    for place, value, size in changes:
        at = place % len(damaged)
        damaged[at : at + size] = value.to_bytes(8, "little")[:size]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(damaged[: None if end is None else end % (len(damaged) + 1)])
        use_everything(path)


@pytest.mark.filterwarnings("ignore::gpukern.PrecisionWarning")
@settings(max_examples=100)
@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda x: st.dictionaries(st.text(max_size=3), x)))
def test_whatever_a_header_says(header):
    encoded = json.dumps(header).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(encoded)) + encoded)
        use_everything(path)
        index = Path(folder) / "model.safetensors.index.json"
        index.write_bytes(encoded)
        with contextlib.suppress(gk.FileError, FileNotFoundError):
            gk.open(index)


def use_everything(path):
    try:
        model = gk.open(path)
    except gk.FileError as error:
        assert str(path) in str(error)
        assert harmless(str(error)), error
        return
    with model:
        for value in model.metadata.values():
            assert value is not None
        for name in model:
            assert model.raw(name).nbytes == model.tensors[name].nbytes
            # What float64 is said to hold may be anything, and int64 too much.
            with contextlib.suppress(gk.DTypeError):
                assert model[name].shape == model.tensors[name].shape


# Memory

BIG = """
    import os, re, struct, threading, time
    def memory(name="VmRSS"):
        return 1024 * int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1])
    def text(value):
        return struct.pack("<Q", len(value)) + value
    def write(path, count):
        # {count} tensors of 32 MiB, of which the disk has nothing, and a vocabulary.
        words = b"".join(text(b"word %d" % i) for i in range(150_000))
        head = b"GGUF" + struct.pack("<IQQ", 3, count, 1)
        head += text(b"tokens") + struct.pack("<IIQ", 9, 8, 150_000) + words
        for i in range(count):
            head += text(b"t%d" % i) + struct.pack("<IQQIQ", 2, 4096, 2048, 0, i << 25)
        with open(path, "wb") as file:
            file.write(head + bytes(-len(head) % 32))
            file.truncate(file.tell() + (count << 25))
    path = {path!r}
    write(path, {count})
    gk.zeros(3, device="cpu").numpy()
"""


@pytest.mark.skipif(not STATUS.exists(), reason="reads /proc/self/status")
def test_a_file_takes_no_memory_until_it_is_used(tmp_path):
    """2 GiB of tensors and a vocabulary of 150,000 words."""
    script = """
    before = memory()
    model = gk.open(path)
    tensors = [model[name] for name in model]
    loaded = gk.load(path, device="cpu")
    assert len(tensors) == len(loaded) == 64
    assert memory() - before < 4e6, memory() - before
    assert tensors[5].sum().item() == 0
    assert 32e6 < memory() - before < 40e6, memory() - before
    assert len(model.metadata["tokens"]) == 150_000
    """
    run_script(BIG.format(path=str(tmp_path / "model.gguf"), count=64) + script)


@pytest.mark.skipif(not STATUS.exists(), reason="reads /proc/self/status")
def test_loading_takes_little_memory_of_the_host(tmp_path, plain_device):
    """Beyond what the device takes, where that has its memory there too."""
    script = """
    device = gk.get_device({device!r})
    gk.zeros(3, device=device).numpy()
    before, peak, done = memory(), 0, False
    def watch():
        global peak
        while not done:
            peak = max(peak, memory())
            time.sleep(0.0005)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        loaded = gk.load(path, device=device, keep_quantised=False)
        device.synchronize()
    finally:
        done = True
        watcher.join()
    of_tensors = sum(tensor.nbytes for tensor in loaded.values())
    assert of_tensors == 8 << 25
    extra = peak - before - (of_tensors if device.kind == "software" else 0)
    assert extra <= 64e6, extra
    print(round(extra / 1e6))
    """
    path = str(tmp_path / "model.gguf")
    run_script(BIG.format(path=path, count=8) + script.format(device=plain_device.id))


# The bar


@pytest.fixture
def some_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"x": np.ones(1000, np.float32), "y": np.ones(24, np.int8)}, path)
    return path


def test_progress(some_file, plain_device, capsys, monkeypatch):
    gk.load(some_file, device=plain_device, progress=True)
    shown = capsys.readouterr().err
    assert "model.safetensors: 100%" in shown
    assert "3.93k/3.93k" in shown
    for quiet in (None, False):
        gk.load(some_file, device=plain_device, progress=quiet)
    # What is quick needs none in a terminal either.
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    gk.load(some_file, device=plain_device)
    assert capsys.readouterr().err == ""


def test_progress_without_tqdm(some_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert len(gk.load(some_file, device="cpu")) == 2
    refused(
        lambda: gk.load(some_file, device="cpu", progress=True),
        "progress=True",
        "pip install tqdm",
        error=gk.ArgumentError,
    )


# The command line


def test_inspect(tmp_path):
    path = tmp_path / "model.gguf"
    metadata = [
        ("tokens", array(8, 1000, text("x") * 1000)),
        ("scores", array(6, 7, np.float32([0.1, 2, 3, 4, 5, 6, 7]).tobytes())),
        ("eps", scalar(6, "f", 1e-6)),
        ("bad", scalar(12, "d", float("nan"))),
        ("latin", struct.pack("<I", 8) + text(b"\xfc")),
        ("template", struct.pack("<I", 8) + text("{%\n" * 1000)),
        ("nested", array(9, 1, struct.pack("<IQ", 0, 9) + bytes(9))),
    ]
    tensors = [("out.weight", (2, 256), 14, bytes(420)), ("n", (), 0, bytes(4)), ("new", (3,), 77, bytes(32))]
    path.write_bytes(gguf_bytes(tensors, metadata))
    printed = run_python("-m", "gpukern", "inspect", str(path)).splitlines()
    for line in (
        "GGUF version 3",
        "metadata (7)",
        "  tokens: ['x', 'x', 'x', 'x', 'x', 'x', ... (1,000 in all)]",
        "  scores: [0.1, 2.0, 3.0, 4.0, 5.0, 6.0, ... (7 in all)]",
        "  eps: 1e-06",
        "  bad: nan",
        r"  latin: b'\xfc'",
        "  nested: [[0, 0, 0, 0, 0, 0, ... (9 in all)]]",
        "out.weight  2 × 256  q6_k            420",
        "n           -        float32           4",
        "new         3        GGUF type 77     32",
        "in all: 3 tensors, 516 elements, 456 bytes",
    ):
        assert line in printed, "\n".join(printed)
    assert any(line.startswith("  template: '{%\\n{%\\n") and "(3,000 characters)" in line for line in printed)

    document = json.loads(run_python("-m", "gpukern", "inspect", "--json", str(path)))
    assert document["metadata"]["tokens"] == ["x"] * 1000
    assert document["metadata"]["bad"] == "nan"
    assert document["metadata"]["latin"] == "\\xfc"
    assert document["metadata"]["nested"] == [[0] * 9]
    assert document["tensors"][0] == {"name": "out.weight", "shape": [2, 256], "dtype": "q6_k", "nbytes": 420}
    assert (document["format"], document["version"]) == ("gguf", 3)
    assert (document["elements"], document["nbytes"]) == (516, 456)


def test_inspect_of_nothing_special(tmp_path, capsys, monkeypatch):
    path = write_gguf(tmp_path / "model.gguf", {})
    monkeypatch.setattr(sys, "argv", ["gpukern", "inspect", str(path)])
    assert command_line._guarded() == 0
    assert capsys.readouterr().out.endswith("in all: 0 tensors, 0 elements, 0 bytes\n")


def test_inspect_refuses_in_a_line(tmp_path, capsys, monkeypatch):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(GOOD[:40])
    for path, word in ((damaged, "at byte 8"), (tmp_path / "none.gguf", "No such file"), (tmp_path, "")):
        monkeypatch.setattr(sys, "argv", ["gpukern", "inspect", str(path)])
        if path == tmp_path:
            damaged.unlink()
        assert command_line._guarded() == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("gpukern: ")
        assert err.count("\n") == 1
        assert word in err


def test_very_many_bytes_in_a_table_of_contents(tmp_path):
    """A count that a large file could hold takes no memory."""
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(1 << 34)
        file.write(b"GGUF" + np.uint32([3]).tobytes() + np.uint64([0, (1 << 34) // 13 - 10]).tobytes())
    with pytest.raises(gk.FileError, match="metadata"):
        gk.open(path)
