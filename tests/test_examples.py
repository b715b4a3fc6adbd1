"""The scripts of examples/: what their functions return, on every device variant, and that they run from anywhere."""

import zlib
from pathlib import Path

import numpy as np
import pytest

import game_of_life
import histogram
import mandelbrot
import matmul_tiled
import nbody
import prefix_sum
import saxpy
from arrays import FLOAT32, INT32, UINT32, assert_same, sample, small
from processes import run_python

EXAMPLES = Path(__file__).parent.parent / "examples"
SIZES = {
    "saxpy": ["--n=1000"],
    "mandelbrot": ["--width=30", "--height=20", "--iterations=50"],
    "game_of_life": ["--rows=20", "--columns=30", "--generations=5"],
    "nbody": ["--stars=300", "--steps=3"],
    "matmul_tiled": ["--rows=20", "--inner=30", "--columns=10"],
    "prefix_sum": ["--n=70000"],
    "histogram": ["--n=10000", "--bins=16"],
}


@pytest.mark.parametrize("n", [1, 63, 64, 1000])
def test_saxpy(device, n):
    x, y = small(FLOAT32, (2, n))
    before = y.copy()
    assert_same(saxpy.saxpy(3.0, x, y, device), 3 * x + y)
    assert_same(y, before)


@pytest.mark.parametrize("shape", [(1, 1), (17, 31)], ids=str)
def test_mandelbrot(device, shape):
    """By complex numbers. Rounding decides few pixels, all of them at the border."""
    height, width = shape
    centre, span, most = (-0.6, 0.1), 2.5, 40
    got = mandelbrot.mandelbrot(width, height, centre=centre, span=span, iterations=most, device=device)
    x = centre[0] + (np.arange(width) - 0.5 * (width - 1)) * span / width
    y = centre[1] + (np.arange(height) - 0.5 * (height - 1)) * span / width
    c = x + 1j * y[:, None]
    z, want = np.zeros(shape, complex), np.zeros(shape, np.uint32)
    for _ in range(most):
        inside = abs(z) <= 2
        want += inside
        z = np.where(inside, z * z + c, z)
    assert got.dtype == UINT32
    assert got.shape == shape
    assert np.count_nonzero(got != want) <= 0.02 * got.size


def test_a_png(tmp_path):
    """Its chunks and its rows, read back by hand."""
    picture = sample(np.dtype(np.uint8), (5, 7, 3))
    mandelbrot.write_png(tmp_path / "picture.png", picture)
    data = (tmp_path / "picture.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert int.from_bytes(data[at + 8 + length : at + 12 + length], "big") == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert chunks[b"IHDR"] == bytes([0, 0, 0, 7, 0, 0, 0, 5, 8, 2, 0, 0, 0])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(5, 22)
    assert not rows[:, 0].any()
    assert_same(rows[:, 1:].reshape(5, 7, 3), picture)


def test_colours():
    picture = mandelbrot.colours(np.array([[3, 50]], np.uint32), 50)
    assert picture.dtype == np.uint8
    assert picture[0, 0].any()
    assert not picture[0, 1].any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (19, 33)], ids=str)
def test_game_of_life(device, shape):
    board = sample(np.dtype(bool), shape).astype(np.uint32)
    want = board
    for _ in range(5):
        turns = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
        neighbours = sum(np.roll(want, turn, (0, 1)) for turn in turns)
        want = ((neighbours == 3) | ((neighbours == 2) & (want == 1))).astype(np.uint32)
    assert_same(game_of_life.life(board, 5, device), want)


@pytest.mark.parametrize("count", [1, 100, 129])
def test_nbody(device, count):
    stars, velocities = nbody.galaxy(count)
    places, speeds = stars[:, :3].astype(float), velocities[:, :3].astype(float)
    masses = stars[:, 3].astype(float)
    for _ in range(4):
        towards = places[None] - places[:, None]
        distance = np.sqrt((towards**2).sum(-1) + 0.05**2)
        speeds += 0.02 * (towards * (masses / distance**3)[..., None]).sum(1)
        places += 0.02 * speeds
    got_stars, got_velocities = nbody.simulate(stars, velocities, 4, step=0.02, device=device)
    np.testing.assert_allclose(got_stars[:, :3], places, atol=1e-5)
    np.testing.assert_allclose(got_velocities[:, :3], speeds, atol=1e-4)
    assert_same(got_stars[:, 3], stars[:, 3])


@pytest.mark.parametrize("sizes", [(1, 1, 1), (16, 16, 16), (33, 17, 5)], ids=str)
def test_matmul(device, sizes):
    rows, inner, columns = sizes
    a, b = small(FLOAT32, (rows, inner)), small(FLOAT32, (inner, columns), 1)
    assert_same(matmul_tiled.matmul(a, b, device=device), a @ b)


def test_matmul_of_any_tile(any_device):
    a, b = small(FLOAT32, (10, 11)), small(FLOAT32, (11, 12), 1)
    for tile in (1, 3, 8):
        assert_same(matmul_tiled.matmul(a, b, tile, any_device), a @ b)
    with pytest.raises(ValueError, match="11 columns"):
        matmul_tiled.matmul(a, a, device=any_device)


@pytest.mark.parametrize("n", [0, 1, 16, 17, 256, 257, 10_007])
def test_prefix_sum(device, n):
    x = sample(INT32, n)
    assert_same(prefix_sum.prefix_sum(x, device), np.cumsum(x, dtype=np.int32))


@pytest.mark.parametrize("dtype", [INT32, UINT32, FLOAT32], ids=str)
def test_prefix_sum_of_millions(any_device, dtype):
    """In three rounds. Sums of small numbers are exact in float32 too."""
    x = small(dtype, 3_000_017)
    assert_same(prefix_sum.prefix_sum(x, any_device), np.cumsum(x, dtype=dtype))


@pytest.mark.parametrize("bins", [1, 10, 300])
def test_histogram(device, bins):
    """Numbers in the middle of their bins, some of them outside, and no numbers at all."""
    places = np.random.default_rng(0).integers(-3, bins + 3, 16_000)
    x = (10 + (places + 0.5) * 0.25).astype(np.float32)
    x[::100] = np.nan
    got = histogram.histogram(x, bins, 10, 10 + bins * 0.25, device)
    kept = places[(np.arange(places.size) % 100 != 0) & (places >= 0) & (places < bins)]
    assert_same(got, np.bincount(kept, minlength=bins).astype(np.uint32))


@pytest.mark.parametrize("name", SIZES)
def test_a_script_runs_from_another_folder(any_device, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = run_python(str(EXAMPLES / f"{name}.py"), f"--device={any_device.id}", *SIZES[name])
    assert printed
    assert "NOT" not in printed
    assert [path.name for path in tmp_path.iterdir()] == (["mandelbrot.png"] if name == "mandelbrot" else [])


def test_every_example_is_run_and_listed():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(SIZES)
    text = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"[{name}.py]({name}.py)" in text for name in names)
