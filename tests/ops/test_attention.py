"""attention, and its halves attention_scores and weighted_sum."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpukern as gk
from arrays import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOATS, INT32, assert_same, cycle, lay_out, layouts_of, sample
from oracles import OPERATIONS, assert_right, check, is_gpu

floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
HALVES = ["attention_scores", "weighted_sum"]
halves = pytest.mark.parametrize("op", HALVES)


def tensors(device, *arrays):
    return [gk.asarray(array, device=device) for array in arrays]


def attention(device, *operands, **arguments):
    """On tensors, the mask among them, as an array."""
    if isinstance(arguments.get("mask"), np.ndarray):
        arguments["mask"] = gk.asarray(arguments["mask"], device=device)
    return gk.attention(*tensors(device, *operands), **arguments).numpy()


def assert_attention(device, *operands, **arguments):
    assert_right("attention", attention(device, *operands, **arguments), *operands, device=device, **arguments)


def operands(dtype, q_heads, kv_heads, t, s, d, dv=None, batch=()):
    """Random queries, keys and values of these sizes."""
    shapes = (*batch, q_heads, t, d), (*batch, kv_heads, s, d), (*batch, kv_heads, s, dv or d)
    return [sample(dtype, shape, seed) for seed, shape in enumerate(shapes)]


def random_mask(shape, kind, seed=9):
    """Bools, or float numbers with a -inf here and there."""
    shown = np.random.default_rng(seed).random(shape) < 0.7
    if kind == "bool":
        return shown
    numbers = sample(FLOAT32, shape, seed)
    return (numbers if kind == "bias" else np.where(shown, numbers, -np.inf)).astype(FLOAT32)


# The halves


@halves
def test_halves_in_numbers(device, op):
    q, k = tensors(device, np.float32([1, 2]), np.float32([[1, 0], [0, 1], [1, 1]]))
    if op == "attention_scores":
        assert gk.attention_scores(q, k, scale=1).tolist() == [1, 2, 3]
        assert gk.attention_scores(q, k).tolist() == pytest.approx([1 / 2**0.5, 2**0.5, 3 / 2**0.5])
        assert gk.attention_scores(q, k, scale=-2).tolist() == [-2, -4, -6]
        assert gk.attention_scores(q, k, scale=0).tolist() == [0, 0, 0]
    else:
        assert gk.weighted_sum(gk.asarray([0.5, 0.25, 2], device=device), k).tolist() == [2.5, 2.25]


SHAPES_OF_HALVES = [
    ((8,), (5, 8)),
    ((3, 8), (5, 8)),
    ((8,), (2, 5, 8)),
    ((2, 8), (2, 5, 8)),
    ((4, 8), (2, 5, 8)),
    ((4, 3, 8), (4, 5, 8)),
    ((4, 3, 8), (2, 5, 8)),
    ((4, 3, 8), (1, 5, 8)),
    ((1, 3, 8), (4, 5, 8)),
    ((6, 4, 8), (6, 2, 5, 8)),
    ((1, 4, 8), (6, 2, 5, 8)),
    ((6, 4, 3, 8), (6, 2, 5, 8)),
    ((6, 4, 3, 8), (1, 2, 5, 8)),
    ((2, 3, 8, 1, 8), (2, 3, 4, 5, 8)),
    ((2, 3, 1, 7, 8), (1, 3, 1, 5, 8)),
]


@pytest.mark.uncapped
@halves
@floats
@pytest.mark.parametrize(("rows", "matrices"), SHAPES_OF_HALVES, ids=str)
def test_halves_of_every_form(device, op, dtype, rows, matrices):
    """Single rows, or a matrix of them, for each head; and fewer heads on the right, if they divide."""
    matrices = matrices if op == "attention_scores" else (*matrices[:-2], matrices[-1], matrices[-2])
    check(device, op, sample(dtype, rows, 1), sample(dtype, matrices, 2))


@halves
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 130, 257])
def test_halves_at_the_edges_of_tiles(device, op, size):
    for dtype, turn in ((FLOAT32, 0), (FLOAT16, 1), (BFLOAT16, 2)):
        t, n, d = np.roll([size, 19, 34], turn)
        rows, matrices = sample(dtype, (2, t, d), 1), sample(dtype, (1, n, d) if op == HALVES[0] else (1, d, n), 2)
        got = getattr(gk, op)(*tensors(device, rows, matrices)).numpy()
        assert_right(op, got, rows, matrices, device=device)


@pytest.mark.uncapped
@halves
def test_halves_of_views(device, op):
    """Strided, transposed, of a larger cache, and of storage where the heads lie inside."""
    for dtype in (FLOAT32, FLOAT16):
        rows, store = sample(dtype, (2, 3, 4, 16), 1), sample(dtype, (2, 40, 2, 50), 2)
        q, cache = tensors(device, rows, store)
        for key, length in ((np.s_[..., 5:21], 16), (np.s_[..., 1:33:2], 16), (np.s_[..., 40:24:-1], 16)):
            matrices, view = store[key].transpose(0, 2, 1, 3), cache[key].transpose(0, 2, 1, 3)
            if op == "weighted_sum":
                matrices, view = matrices[..., 3 : 3 + length, :], view[..., 3 : 3 + length, :]
            for part in (np.s_[:, :, :], np.s_[:, :, 1]):
                left, tensor = rows.transpose(0, 2, 1, 3)[part], q.transpose(0, 2, 1, 3)[part]
                got = getattr(gk, op)(tensor, view).numpy()
                assert_right(op, got, left, matrices, device=device)


@halves
@floats
@settings(max_examples=5)
@given(data=st.data())
def test_halves_of_any_layout(device, op, dtype, data):
    batch, heads, group = (data.draw(st.integers(1, 3)) for _ in range(3))
    t, n, d = (data.draw(st.integers(1, 40)) for _ in range(3))
    shape = (batch, heads, n, d) if op == "attention_scores" else (batch, heads, d, n)
    shapes = (batch, heads * group, *((t,) if data.draw(st.booleans()) else ()), d), shape
    rows, matrices = (
        lay_out(sample(dtype, shape, seed), data.draw(st.sampled_from(layouts_of(dtype))))
        for seed, shape in enumerate(shapes)
    )
    check(device, op, rows, matrices)


@halves
def test_long_halves(device, op):
    """Many keys, and sums over many values."""
    for dtype in (FLOAT32, FLOAT16):
        rows = cycle(dtype, (2, 8) if op == "attention_scores" else (2, 30_011))
        check(device, op, rows, cycle(dtype, (2, 30_011, 8))[:, ::-1])


@halves
def test_empty_halves(device, op):
    for rows, k, v in (
        ((0, 8), (5, 8), (8, 5)),
        ((3, 0), (5, 0), (0, 5)),
        ((3, 8), (0, 8), (8, 0)),
        ((0, 3, 8), (0, 5, 8), (0, 8, 5)),
    ):
        check(device, op, np.zeros(rows, np.float32), np.zeros(k if op == "attention_scores" else v, np.float32))


@pytest.mark.uncapped
@halves
@pytest.mark.parametrize(
    ("rows", "matrices"),
    [
        ((3, 8), (5, 7)),
        ((7,), (5, 8)),
        ((3, 3, 8), (2, 5, 8)),
        ((2, 3, 8), (4, 5, 8)),
        ((5, 8), (2, 5, 8)),
        ((2, 4, 3, 8), (3, 4, 5, 8)),
        ((2, 3, 8), (8,)),
        ((), (5, 8)),
    ],
    ids=str,
)
def test_halves_that_do_not_fit(device, op, rows, matrices):
    if op == "weighted_sum" and len(matrices) > 1:
        matrices = (*matrices[:-2], matrices[-1], matrices[-2])
    arrays = np.zeros(rows, np.float32), np.zeros(matrices, np.float32)
    out = gk.full((3, 5), 7, device=device)
    for given_operands, into in ((arrays, None), (tensors(device, *arrays), out)):
        with pytest.raises(gk.ShapeError, match=op) as caught:
            getattr(gk, op)(*given_operands, out=into, device=device)
        assert str(matrices) in str(caught.value) or str(rows) in str(caught.value)
    assert (out.numpy() == 7).all()


@pytest.mark.uncapped
@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, 1e39])
def test_a_scale_that_is_no_number(device, scale):
    q, k, v = operands(FLOAT32, 2, 2, 3, 4, 5)
    for call in (
        lambda: gk.attention_scores(q, k, scale=scale, device=device),
        lambda: gk.attention(q, k, v, scale=scale, device=device),
    ):
        with pytest.raises(gk.ArgumentError, match=r"attention.*scale"):
            call()


@pytest.mark.uncapped
@pytest.mark.parametrize("op", ["attention", *HALVES])
def test_integers_are_refused(device, op):
    arrays = operands(FLOAT32, 2, 2, 4, 4, 4)[: 3 if op == "attention" else 2]
    for place in range(len(arrays)):
        for dtype in (INT32, BOOL):
            passed = [array.astype(dtype) if i == place else array for i, array in enumerate(arrays)]
            with pytest.raises(gk.DTypeError, match=op) as caught:
                getattr(gk, op)(*tensors(device, *passed))
            assert dtype.name in str(caught.value)


# The whole


@pytest.mark.uncapped
def test_in_numbers(device):
    """The first query sees the first key, the second one both; all scores are equal."""
    q, k, v = np.zeros((1, 2, 4), np.float32), np.ones((1, 2, 4), np.float32), np.float32([[[2], [4]]])
    assert attention(device, q, k, v, causal=True).tolist() == [[[2], [3]]]
    assert attention(device, q, k, v).tolist() == [[[3], [3]]]
    assert attention(device, q, k, v, mask=np.array([[False, True], [False, False]])).tolist() == [[[4], [0]]]
    assert attention(device, q, k, v, window=(0, 0)).tolist() == [[[2], [4]]]
    assert attention(device, q, k, v, kv_length=1).tolist() == [[[2], [2]]]
    assert attention(device, q, k, v, kv_length=1, causal=True).tolist() == [[[0], [2]]]
    bias = np.float32([0, np.log(3)])
    assert attention(device, q, k, v, mask=bias).ravel().tolist() == pytest.approx([3.5, 3.5])


WIDTHS = [(FLOAT32, d) for d in (1, 2, 3, 5, 8, 16, 20, 33, 64, 80, 96, 127, 128, 129, 256, 300)]
WIDTHS += [(FLOAT16, d) for d in (5, 16, 64, 128)] + [(BFLOAT16, d) for d in (3, 20, 130)]


@pytest.mark.parametrize(("dtype", "d"), WIDTHS, ids=str)
def test_every_width(device, dtype, d):
    """d that no vector divides, d beyond any tile, and values that are wider or narrower than keys."""
    for t, s, dv in ((5, 19, d), (1, 33, d), (17, 18, max(d // 2, 1)), (3, 20, d + 7)):
        assert_attention(device, *operands(dtype, 2, 1, t, s, d, dv), causal=t > 1)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 130])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
def test_edges_of_blocks(device, dtype, size):
    """As many queries, as many keys, or both; with and without what hides the last ones."""
    for t, s in ((size, 5), (3, size), (size, size + 1)):
        assert_attention(device, *operands(dtype, 1, 1, t, s, 16))
        assert_attention(device, *operands(dtype, 1, 1, t, s, 16), causal=True)


@pytest.mark.uncapped
@pytest.mark.parametrize("heads", [(q, k) for q in range(1, 9) for k in range(1, q + 1) if q % k == 0], ids=str)
def test_grouped_heads(device, heads):
    """Neighbouring heads of queries share one of keys and values."""
    q_heads, kv_heads = heads
    for dtype, t in ((FLOAT32, 1), (FLOAT16, 3), (BFLOAT16, 1)):
        assert_attention(device, *operands(dtype, q_heads, kv_heads, t, 21, 8, batch=(2,)), causal=True)


# Compiling a kernel for each of all 27 takes a software GPU longer than all else here.
MIXED = [
    (FLOAT32, FLOAT16, FLOAT16),
    (FLOAT32, BFLOAT16, BFLOAT16),
    (FLOAT16, FLOAT32, FLOAT32),
    (BFLOAT16, FLOAT16, FLOAT16),
    (FLOAT16, BFLOAT16, FLOAT32),
    (BFLOAT16, FLOAT32, FLOAT16),
]


@pytest.mark.uncapped
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_mixed_dtypes(device, dtypes):
    """The result is of the dtype to which all three promote; a mask has no part in that."""
    arrays = [
        sample(dtype, shape, i)
        for i, (dtype, shape) in enumerate(zip(dtypes, ((2, 5, 8), (1, 9, 8), (1, 9, 6)), strict=True))
    ]
    for mask in (FLOAT32, FLOAT16, BFLOAT16):
        assert_attention(device, *arrays, mask=sample(mask, (5, 9), 3))


AXES = [
    ((5, 8), (7, 8), (7, 3)),
    ((2, 5, 8), (2, 7, 8), (2, 7, 3)),
    ((4, 5, 8), (2, 7, 8), (2, 7, 3)),
    ((3, 2, 5, 8), (3, 1, 7, 8), (3, 1, 7, 3)),
    ((1, 2, 5, 8), (3, 2, 7, 8), (3, 2, 7, 3)),
    ((3, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 3)),
    ((3, 2, 5, 8), (3, 2, 7, 8), (1, 2, 7, 3)),
    ((2, 3, 4, 5, 8), (2, 3, 2, 7, 8), (2, 3, 2, 7, 3)),
    ((2, 1, 4, 5, 8), (1, 3, 2, 7, 8), (2, 3, 2, 7, 3)),
]


@pytest.mark.uncapped
@pytest.mark.parametrize(("q", "k", "v"), AXES, ids=str)
def test_axes_of_the_batch_broadcast(device, q, k, v):
    for dtype in (FLOAT32, FLOAT16):
        arrays = [sample(dtype, shape, i) for i, shape in enumerate((q, k, v))]
        check(device, "attention", *arrays, causal=True)
        batch = int(np.prod(np.broadcast_shapes(q[:-3], k[:-3], v[:-3])))
        assert_attention(device, *arrays, kv_length=[7 - i % 5 for i in range(batch)])


MASKS = [
    (),
    (7,),
    (1,),
    (5, 7),
    (5, 1),
    (1, 7),
    (4, 5, 7),
    (1, 5, 7),
    (4, 1, 1),
    (3, 4, 5, 7),
    (3, 1, 1, 7),
    (1, 4, 5, 1),
]


@pytest.mark.uncapped
@pytest.mark.parametrize("shape", MASKS, ids=str)
def test_masks_of_every_shape(device, shape):
    arrays = operands(FLOAT32, 4, 2, 5, 7, 8, batch=(3,))
    for kind in ("bool", "bias", "-inf"):
        assert_attention(device, *arrays, mask=random_mask(shape, kind))
        check(device, "attention", *arrays, mask=random_mask(shape, kind, 3), causal=True)


@pytest.mark.uncapped
@pytest.mark.parametrize("dtype", [BOOL, *FLOATS], ids=str)
def test_layouts_of_masks(device, dtype):
    arrays = operands(FLOAT16, 2, 2, 5, 7, 8)
    for layout in layouts_of(dtype):
        assert_attention(device, *arrays, mask=lay_out(sample(dtype, (2, 5, 7), 5), layout))
    store = sample(dtype, (30, 9, 4), 6)
    key = np.s_[1:15:2, 6:1:-1, 1:3]
    got = gk.attention(*tensors(device, *arrays), mask=gk.asarray(store, device=device)[key].transpose(2, 1, 0))
    assert_right("attention", got.numpy(), *arrays, device=device, mask=store[key].transpose(2, 1, 0))


@floats
def test_a_query_that_sees_no_key_gets_zeros(device, dtype):
    """By a mask of either kind, by the window, by causality, by no keys; the others get what they would."""
    arrays = operands(dtype, 2, 1, 6, 5, 8)
    shown = random_mask((6, 5), "bool")
    shown[[0, 3, 5]] = False
    for mask in (shown, np.where(shown, 0, -np.inf).astype(FLOAT32), np.where(shown, 0, -np.inf).astype(dtype)):
        assert_attention(device, *arrays, mask=mask)
        assert not attention(device, *arrays, mask=mask)[:, [0, 3, 5]].any()
    for hidden in ({"mask": np.zeros((), bool)}, {"kv_length": 0}, {"mask": np.float32(-np.inf)}):
        assert not attention(device, *arrays, **hidden).any()
    got = attention(device, *arrays, causal=True, kv_length=2)
    assert not got[:, :4].any()
    assert got[:, 4:].any(-1).all()
    got = attention(device, *arrays, window=(0, 1), kv_length=3)
    assert not got[:, :2].any()
    assert got[:, 2:].any(-1).all()


@pytest.mark.uncapped
def test_masks_that_are_very_negative(device):
    """A number hides a key only beside one that is not hidden: where all are, they are equal again."""
    for dtype, low in ((FLOAT32, -1e30), (FLOAT32, np.finfo(np.float32).min), (FLOAT16, -65504.0), (BFLOAT16, -3e38)):
        q, k, v = operands(FLOAT16, 2, 2, 6, 37, 8)
        mask = np.where(random_mask((6, 37), "bool"), 0, low).astype(dtype)
        mask[2] = low
        for of_q in (q, q.astype(np.float32)):
            got = attention(device, of_q, k, v, mask=mask)
            assert_right("attention", got, of_q, k, v, device=device, mask=mask)
            hidden = attention(device, of_q, k, v, mask=np.where(mask == 0, 0, -np.inf).astype(dtype))
            np.testing.assert_allclose(
                got[:, [0, 1, 3, 4, 5]].astype(float), hidden[:, [0, 1, 3, 4, 5]].astype(float), atol=2e-3
            )


@pytest.mark.uncapped
@pytest.mark.parametrize("window", list(itertools.product((-1, 0, 1, 3, 100), repeat=2)), ids=str)
def test_windows(device, window):
    """To either side of a query's own place, which is counted from the end."""
    for t, s in ((9, 9), (4, 21), (12, 5)):
        arrays = operands(FLOAT32, 2, 1, t, s, 4)
        assert_attention(device, *arrays, window=window)
        assert_attention(device, *arrays, window=window, causal=True)
    assert_attention(device, *operands(FLOAT16, 1, 1, 70, 70, 16), window=window)


def test_windows_that_skip_whole_blocks(device):
    """Of which a kernel need not load most."""
    for t, s in ((150, 150), (3, 400), (70, 200)):
        for dtype, window, causal in (
            (FLOAT32, (20, -1), True),
            (FLOAT16, (0, 40), False),
            (BFLOAT16, (100, 1), False),
        ):
            assert_attention(device, *operands(dtype, 1, 1, t, s, 16), window=window, causal=causal)
            assert_attention(device, *operands(dtype, 1, 1, t, s, 16), window=window, causal=causal, kv_length=s // 2)


@pytest.mark.uncapped
@pytest.mark.parametrize("of", [int, np.int64, list, tuple, np.array, gk.asarray], ids=lambda of: of.__name__)
def test_kinds_of_kv_length(device, of):
    arrays = operands(FLOAT32, 2, 1, 3, 7, 4, batch=(2,))
    if of in (int, np.int64):
        for length in (0, 1, 6, 7):
            assert_right(
                "attention", attention(device, *arrays, kv_length=of(length)), *arrays, device=device, kv_length=length
            )
        return
    for lengths in ([7, 7], [3, 5], [0, 4], [7, 0], [1, 1], [0, 0], [4]):
        got = attention(device, *arrays, kv_length=of(lengths))
        assert_right("attention", got, *arrays, device=device, kv_length=lengths)
        causal = attention(device, *arrays, kv_length=of(lengths), causal=True)
        assert_right("attention", causal, *arrays, device=device, kv_length=lengths, causal=True)


@floats
@settings(max_examples=8)
@given(data=st.data())
def test_everything_at_once(device, dtype, data):
    draw = data.draw
    batch, kv_heads, group = (draw(st.integers(1, 3)) for _ in range(3))
    t, s = (draw(st.one_of(st.integers(1, 20), st.sampled_from((33, 64, 65)))) for _ in range(2))
    d, dv = (draw(st.sampled_from((1, 3, 4, 8, 16, 20, 64))) for _ in range(2))
    arrays = operands(dtype, kv_heads * group, kv_heads, t, s, d, dv, batch=(batch,))
    arrays = [lay_out(array, draw(st.sampled_from(layouts_of(dtype)))) for array in arrays]
    whole = (batch, kv_heads * group, t, s)
    shape = tuple(draw(st.sampled_from((1, length))) for length in whole)[draw(st.integers(0, 4)) :]
    kind = draw(st.sampled_from((None, "bool", "bias", "-inf")))
    lengths = st.integers(0, s)
    arguments = {
        "mask": kind and random_mask(shape, kind, draw(st.integers(0, 9))),
        "causal": draw(st.booleans()),
        "window": draw(st.one_of(st.none(), st.tuples(*[st.sampled_from((-1, 0, 1, 2, 7, 40))] * 2))),
        "scale": draw(st.sampled_from((None, 1.0, 0.1, -0.5, 0.0, 3.0))),
        "softcap": draw(st.sampled_from((None, 1.0, 5.0, 50.0))),
        "kv_length": draw(st.one_of(st.none(), lengths, st.lists(lengths, min_size=batch, max_size=batch))),
    }
    if draw(st.booleans()):
        check(device, "attention", *arrays, **arguments)
    else:
        assert_attention(device, *arrays, **arguments)


@pytest.mark.uncapped
@pytest.mark.parametrize("softcap", [0.01, 1, 30.0, 1e4])
def test_softcap(device, softcap):
    for dtype, t in ((FLOAT32, 5), (FLOAT16, 1)):
        q, k, v = operands(dtype, 2, 1, t, 33, 16)
        assert_attention(device, 4 * q, 4 * k, v, softcap=softcap)
        assert_attention(device, q, k, v, softcap=softcap, causal=True, mask=random_mask((t, 33), "-inf"))


@pytest.mark.uncapped
def test_one_of_its_parts_alone(device):
    """attention_scores, softmax, weighted_sum, on rows that see a key: in the tolerance of both."""
    for dtype in (FLOAT32, FLOAT16):
        q, k, v = tensors(device, *operands(dtype, 4, 2, 9, 33, 16, batch=(2,)))
        mask = gk.asarray(random_mask((9, 33), "bool"), device=device)
        scores = gk.where(mask, gk.attention_scores(q.astype("float32"), k.astype("float32")), -np.inf)
        parts = gk.weighted_sum(gk.softmax(scores), v.astype("float32")).numpy()
        got = gk.attention(q, k, v, mask=mask).numpy().astype(np.float32)
        np.testing.assert_allclose(got, parts, atol=2e-5 if dtype == FLOAT32 else 2e-3)


# Numbers


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
def test_100_003_keys(device, dtype):
    """Split among workgroups, and longer than bindings of 64 KiB."""
    keys = cycle(dtype, (1, 100_003, 4))
    arrays = sample(dtype, (2, 1, 4), 1), keys, keys[:, ::-1] + dtype.type(1)
    got = attention(device, *arrays, causal=True)
    assert_right("attention", got, *arrays, device=device, causal=True)
    if dtype == FLOAT32:
        want = OPERATIONS["attention"].oracle(*(array.astype(np.float64) for array in arrays))
        np.testing.assert_allclose(got, want, rtol=1e-5)
    assert_attention(
        device, *arrays, kv_length=70_001, window=(60_000, 0), mask=cycle(FLOAT32, (1, 100_003)), softcap=20.0
    )


def test_some_queries_of_30_011_keys(plain_device):
    for dtype in (FLOAT32, BFLOAT16):
        keys = cycle(dtype, (1, 30_011, 8))
        assert_attention(plain_device, sample(dtype, (2, 5, 8), 1), keys, keys[:, ::-1], causal=True)


def test_keys_and_partial_sums_larger_than_a_binding(device):
    """Of 64 KiB: keys are cut, and the sums of their parts would not fit either if queries were not."""
    for t, s, d in ((110, 1000, 64), (20, 5000, 32)):
        assert_attention(device, *operands(FLOAT32, 1, 1, t, s, d))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=str)
def test_many_queries_of_few_keys(device, dtype):
    assert_attention(device, *operands(dtype, 1, 1, 5_003, 3, 4))
    assert_attention(device, *operands(dtype, 300, 300, 1, 3, 4))
    assert_attention(device, *operands(dtype, 3, 1, 2, 5, 4, batch=(301,)), causal=True)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16], ids=str)
def test_as_in_a_model(plain_device, dtype):
    """Heads of 64 and 128 that share keys: a prompt, then a word."""
    assert_attention(plain_device, *operands(dtype, 4, 2, 100, 100, 64), causal=True)
    assert_attention(plain_device, *operands(dtype, 8, 2, 1, 1_500, 64), causal=True)
    assert_attention(plain_device, *operands(dtype, 4, 2, 20, 200, 128), causal=True, window=(200, 0))


@pytest.mark.uncapped
@floats
def test_large_scores_do_not_overflow(device, dtype):
    """Up to 1e4, where exp is infinite, and far below, where it is 0."""
    q, k, v = operands(dtype, 2, 1, 5, 40, 16)
    for factor in (50, 2500):
        got = attention(device, q, k, v, scale=factor)
        assert np.isfinite(got.astype(np.float32)).all()
        assert_right("attention", got, q, k, v, device=device, scale=factor)
    # Blocks of keys whose scores rise, or fall, so that what came before counts no more, or all.
    place = np.linspace(-1, 1, 300)[None, :, None]
    for rising in (place, place[:, ::-1]):
        keys = np.broadcast_to(rising, (1, 300, 4)).astype(dtype)
        values = sample(dtype, (1, 300, 4), 3)
        for scale in (1.0, 30.0, 2500.0, -2500.0):
            assert_attention(device, np.ones((1, 3, 4), dtype), keys, values, scale=scale)


@pytest.mark.uncapped
def test_scores_far_apart(device):
    """One key that outweighs all others stands anywhere; its value is the answer."""
    for s, at in itertools.product((2, 17, 64, 129, 300), (0, 1, -1)):
        k = np.zeros((1, s, 8), np.float32)
        k[0, at] = 100
        v = sample(FLOAT32, (1, s, 5), 2)
        got = attention(device, np.ones((1, 2, 8), np.float32), k, v)
        np.testing.assert_allclose(got, np.broadcast_to(v[:, at], got.shape), rtol=1e-6)


@pytest.mark.uncapped
@floats
def test_nan_stays_where_it_is_seen(device, dtype):
    q, k, v = operands(dtype, 2, 2, 20, 20, 8)
    q[0, 3, 2] = np.nan
    got = np.isnan(attention(device, q, k, v, causal=True))
    assert got[0, 3].all()
    assert got.sum() == 8

    q, k, v = operands(dtype, 2, 2, 20, 20, 8)
    k[1, 15, 0] = np.nan
    got = np.isnan(attention(device, q, k, v, causal=True))
    assert got[1, 15:].all()
    assert got.sum() == 5 * 8
    shown = np.ones(20, bool)
    shown[15] = False
    assert not np.isnan(attention(device, q, k, v, mask=shown)).any()
    assert np.isnan(attention(device, q, k, v, window=(2, 0)))[1].any(-1).tolist() == [15 <= i <= 17 for i in range(20)]

    q, k, v = operands(dtype, 2, 2, 20, 20, 8)
    v[0, 4, 6] = np.nan
    got = np.isnan(attention(device, q, k, v))
    assert got[0, :, 6].all()
    assert got.sum() == 20

    mask = np.zeros((20, 20), np.float32)
    mask[7, 9] = np.nan
    got = np.isnan(attention(device, *operands(dtype, 2, 2, 20, 20, 8), mask=mask))
    assert got[:, 7].all()
    assert got.sum() == 2 * 8


@floats
def test_keys_and_values_that_do_not_count_may_be_anything(device, dtype):
    """What lies in a cache behind kv_length, or around a view, even NaN, which 0 does not cancel."""
    for t, s, length in ((1, 40, 17), (3, 70, 33), (20, 64, 20), (1, 9, 8)):
        q, k, v = operands(dtype, 4, 2, t, s, 16)
        want = attention(device, q, k[:, :length], v[:, :length], causal=True).astype(np.float32)
        k[:, length:], v[:, length:] = np.nan, np.nan
        got = attention(device, q, k, v, causal=True, kv_length=length)
        np.testing.assert_allclose(got.astype(np.float32), want, atol=2e-6 if dtype == FLOAT32 else 2e-2)
        whole = tensors(device, q, k, v)
        got = gk.attention(whole[0], whole[1][:, :length], whole[2][:, :length], causal=True).numpy()
        np.testing.assert_allclose(got.astype(np.float32), want, atol=2e-6 if dtype == FLOAT32 else 2e-2)


# Layouts


@floats
def test_a_cache_that_fills(device, dtype):
    """Views of a cache that is larger, and kv_length on the whole of it, give what the parts alone would."""
    batch, heads, size, d = 2, 2, 40, 16
    caches = gk.zeros((2, batch, heads, size, d), dtype, device=device)
    cache_k, cache_v = caches[0], caches[1]
    q, k, v = operands(dtype, 2 * heads, heads, size, size, d, batch=(batch,))
    n = 0
    for step in (13, 1, 1, 7, 1, 17):
        new = np.s_[:, :, n : n + step]
        cache_k[new], cache_v[new] = k[new], v[new]
        n += step
        queries = gk.asarray(q[new], device=device)
        want = q[new], k[:, :, :n], v[:, :, :n]
        for got in (
            gk.attention(queries, cache_k[:, :, :n], cache_v[:, :, :n], causal=True),
            gk.attention(queries, cache_k, cache_v, causal=True, kv_length=n),
            gk.attention(queries, cache_k, cache_v, causal=True, kv_length=[n] * batch),
        ):
            assert_right("attention", got.numpy(), *want, device=device, causal=True)


@pytest.mark.uncapped
@floats
def test_heads_inside(device, dtype):
    """Storage as [b, t, h, d], as a projection leaves it, all three side by side, and as [b, h, d, t]."""
    t, heads, d = 19, 4, 8
    packed = sample(dtype, (2, t, 3, heads, d), 1)
    arrays = [packed[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    views = [gk.asarray(packed, device=device)[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    out = gk.zeros((2, t, heads, d), dtype, device=device)
    gk.attention(*views, causal=True, out=out.transpose(0, 2, 1, 3))
    assert_right("attention", out.numpy().transpose(0, 2, 1, 3), *arrays, device=device, causal=True)
    turned = sample(dtype, (3, 2, heads, d, t), 2)
    arrays = list(turned.swapaxes(-1, -2))
    views = [gk.asarray(turned, device=device)[i].mT for i in range(3)]
    assert_right("attention", gk.attention(*views).numpy(), *arrays, device=device)


@pytest.mark.uncapped
@floats
def test_views_of_tensors(device, dtype):
    """Offsets, steps and reversed axes, in each operand."""
    store = sample(dtype, (3, 7, 70, 40), 1)
    tensor = gk.asarray(store, device=device)
    keys = [
        np.s_[:, 1:5, 3:12, 5:21],
        np.s_[::-1, :4, 20:2:-2, 1:33:2],
        np.s_[:1, 6:2:-1, 60:69, 20:4:-1],
        np.s_[1, :4, ::8, :16],
    ]
    for q, k, v in ((0, 1, 1), (1, 0, 0), (2, 1, 0), (0, 2, 1), (3, 3, 3)):
        got = gk.attention(tensor[keys[q]], tensor[keys[k]], tensor[keys[v]], causal=True).numpy()
        assert_right("attention", got, store[keys[q]], store[keys[k]], store[keys[v]], device=device, causal=True)


def test_out_of_every_layout(device):
    for dtype in (FLOAT32, FLOAT16):
        for batch in ((), (2,), (2, 3)):
            arrays = operands(dtype, 2, 1, 5, 9, 8, 6, batch=batch)
            shape = (*batch, 2, 5, 6)
            canvas = gk.full([2 * length + 1 for length in shape], 9, dtype, device=device)
            for key in (tuple(slice(1, 1 + n) for n in shape), tuple(slice(2 * n - 1, None, -2) for n in shape)):
                out = canvas[key]
                assert gk.attention(*tensors(device, *arrays), out=out) is out
                got = canvas.numpy()
                assert_right("attention", got[key], *arrays, device=device)
                got[key] = 9
                assert (got == 9).all()
                canvas[...] = 9


@pytest.mark.uncapped
def test_out_is_an_operand(device):
    for dtype, place in itertools.product((FLOAT32, FLOAT16), range(3)):
        arrays = operands(dtype, 2, 2, 33, 33, 8)
        passed = [gk.asarray(array, device=device, copy=True) for array in arrays]
        assert gk.attention(*passed, causal=True, out=passed[place]) is passed[place]
        assert_right("attention", passed[place].numpy(), *arrays, device=device, causal=True)


@pytest.mark.uncapped
def test_out_is_the_mask(device):
    arrays = operands(FLOAT32, 2, 2, 8, 8, 8)
    mask = random_mask((2, 8, 8), "-inf")
    tensor = gk.asarray(mask, device=device, copy=True)
    gk.attention(*tensors(device, *arrays), mask=tensor, out=tensor)
    assert_right("attention", tensor.numpy(), *arrays, device=device, mask=mask)


@pytest.mark.uncapped
def test_nothing_to_attend_to(device):
    """No keys give zeros, no queries nothing; keys of no length are all alike."""
    for shapes in (
        ((2, 5, 8), (2, 0, 8), (2, 0, 3)),
        ((2, 0, 8), (2, 7, 8), (2, 7, 3)),
        ((0, 5, 8), (0, 7, 8), (0, 7, 3)),
        ((2, 5, 0), (2, 7, 0), (2, 7, 3)),
        ((2, 5, 8), (2, 7, 8), (2, 7, 0)),
        ((0, 2, 5, 8), (0, 1, 7, 8), (0, 1, 7, 3)),
    ):
        arrays = [sample(FLOAT32, shape, i) for i, shape in enumerate(shapes)]
        check(device, "attention", *arrays)
        check(device, "attention", *arrays, causal=True)
        if shapes[0][-1] == 0:
            got = attention(device, *arrays)
            np.testing.assert_allclose(
                got, np.broadcast_to(arrays[2].mean(1, keepdims=True), got.shape), rtol=1e-5, atol=1e-6
            )


# Bits


@floats
@pytest.mark.parametrize("sizes", [(5, 300), (1, 5_003), (70, 70)], ids=str)
def test_the_same_bits_every_time(device, dtype, sizes):
    arrays = operands(dtype, 4, 2, *sizes, 16)
    first = attention(device, *arrays, causal=True)
    gk.silu(gk.ones((333, 77), device=device)).numpy()
    assert_same(attention(device, *(array.copy() for array in arrays), causal=True), first)


# Errors


Q, K, V = (2, 4, 3, 8), (2, 2, 5, 8), (2, 2, 5, 6)


@pytest.mark.uncapped
@pytest.mark.parametrize(
    ("q", "k", "v", "said"),
    [
        ((2, 4, 3, 7), K, V, "last axes of q and k"),
        (Q, (2, 2, 6, 8), V, "rows"),
        (Q, (2, 3, 5, 8), (2, 3, 5, 6), "multiple"),
        (Q, (2, 0, 5, 8), (2, 0, 5, 6), "multiple"),
        (Q, K, (2, 1, 5, 6), "heads"),
        ((2, 2, 3, 8), (2, 4, 5, 8), (2, 4, 5, 6), "multiple"),
        (Q, (3, 2, 5, 8), (3, 2, 5, 6), "broadcast"),
        (Q, K, (3, 2, 5, 6), "broadcast"),
        (Q, (2, 5, 8), (2, 5, 6), "axes"),
        (Q, K, (5, 6), "axes"),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(device, q, k, v, said):
    arrays = [np.zeros(shape, np.float32) for shape in (q, k, v)]
    out = gk.full((2, 4, 3, 6), 7, device=device)
    for passed, into in ((arrays, None), (tensors(device, *arrays), out)):
        with pytest.raises(gk.ShapeError, match=r"^attention: .*" + said) as caught:
            gk.attention(*passed, out=into, device=device)
        for shape in (q, k, v):
            assert str(shape) in str(caught.value)
    assert (out.numpy() == 7).all()


@pytest.mark.uncapped
@pytest.mark.parametrize("place", range(3))
def test_too_few_axes(device, place):
    arrays = [np.zeros(shape, np.float32) for shape in ((3, 8), (5, 8), (5, 6))]
    for flat in (np.zeros(8, np.float32), np.float32(1)):
        passed = [flat if i == place else array for i, array in enumerate(arrays)]
        with pytest.raises(gk.ShapeError, match="^attention: " + "qkv"[place]) as caught:
            gk.attention(*passed, device=device)
        assert str(flat.shape) in str(caught.value)


@pytest.mark.uncapped
@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"mask": np.zeros((4, 5), bool)}, gk.ShapeError, r"mask .*\(4, 5\).*\(2, 4, 3, 5\)"),
        ({"mask": np.zeros((3, 4, 3, 5), np.float32)}, gk.ShapeError, r"mask .*\(3, 4, 3, 5\).*\(2, 4, 3, 5\)"),
        ({"mask": np.zeros((1, 2, 4, 3, 5), bool)}, gk.ShapeError, r"mask .*\(1, 2, 4, 3, 5\)"),
        ({"mask": np.zeros(6, bool)}, gk.ShapeError, r"mask .*\(6,\)"),
        ({"mask": np.zeros((3, 0), bool)}, gk.ShapeError, r"mask .*\(3, 0\)"),
        ({"mask": np.zeros((3, 5), np.int32)}, gk.DTypeError, "mask .*int32"),
        ({"mask": np.zeros((3, 5), np.uint8)}, gk.DTypeError, "mask .*uint8"),
        ({"window": (-2, 0)}, gk.ArgumentError, r"window=\(-2, 0\)"),
        ({"window": (0, -5)}, gk.ArgumentError, r"window=\(0, -5\)"),
        ({"window": 3}, gk.ArgumentError, "window=3"),
        ({"window": (1,)}, gk.ArgumentError, r"window=\(1,\)"),
        ({"window": (1, 2, 3)}, gk.ArgumentError, r"window=\(1, 2, 3\)"),
        ({"window": (1.5, 2)}, gk.ArgumentError, r"window=\(1.5, 2\)"),
        ({"window": (None, 2)}, gk.ArgumentError, r"window=\(None, 2\)"),
        ({"window": "11"}, gk.ArgumentError, "window='11'"),
        ({"softcap": 0.0}, gk.ArgumentError, "softcap is 0"),
        ({"softcap": -1.0}, gk.ArgumentError, "softcap is -1"),
        ({"softcap": np.nan}, gk.ArgumentError, "softcap is NaN"),
        ({"softcap": np.inf}, gk.ArgumentError, "softcap is inf"),
        ({"softcap": 1e-60}, gk.ArgumentError, "softcap is"),
        ({"softcap": 1e60}, gk.ArgumentError, "softcap is"),
        ({"kv_length": 6}, gk.BoundsError, "kv_length is 6.* 5 keys"),
        ({"kv_length": [2, 6]}, gk.BoundsError, "kv_length is 6.* 5 keys"),
        ({"kv_length": 2**40}, gk.BoundsError, "kv_length"),
        ({"kv_length": -1}, gk.ArgumentError, "kv_length=-1"),
        ({"kv_length": [3, -1]}, gk.ArgumentError, r"kv_length=\[3, -1\]"),
        ({"kv_length": 2**70}, gk.ArgumentError, "kv_length="),
        ({"kv_length": 2.5}, gk.ArgumentError, "kv_length=2.5"),
        ({"kv_length": True}, gk.ArgumentError, "kv_length=True"),
        ({"kv_length": "3"}, gk.ArgumentError, "kv_length='3'"),
        ({"kv_length": [[1], [2]]}, gk.ArgumentError, r"kv_length=\[\[1\], \[2\]\]"),
        ({"kv_length": [1, 2, 3]}, gk.ShapeError, "kv_length has 3 numbers.* 2"),
        ({"kv_length": []}, gk.ShapeError, "kv_length has 0 numbers"),
        ({"out": "float16"}, gk.DTypeError, "out= .*float16"),
        ({"out": (2, 4, 3, 8)}, gk.ShapeError, r"out= .*\(2, 4, 3, 8\)"),
        ({"out": (4, 3, 6)}, gk.ShapeError, r"out= .*\(4, 3, 6\)"),
    ],
    ids=str,
)
def test_options_that_make_no_sense(device, arguments, error, said):
    arrays = [np.ones(shape, np.float32) for shape in (Q, K, V)]
    wanted = arguments.get("out", (2, 4, 3, 6))
    shape, dtype = (wanted, "float32") if isinstance(wanted, tuple) else ((2, 4, 3, 6), wanted)
    for out in (np.full(shape, 7, dtype), gk.full(shape, 7, dtype, device=device)):
        passed = arrays if isinstance(out, np.ndarray) else tensors(device, *arrays)
        with pytest.raises(error, match="^attention: .*" + said):
            gk.attention(*passed, **{**arguments, "out": out}, device=device)
        assert (np.asarray(out) == 7).all()


@pytest.mark.uncapped
@pytest.mark.parametrize("arguments", [{"causal": "yes"}, {"causal": 2}, {"scale": "1"}, {"softcap": "1"}], ids=str)
def test_options_of_another_type(device, arguments):
    arrays = [np.ones(shape, np.float32) for shape in (Q, K, V)]
    ((name, value),) = arguments.items()
    with pytest.raises(gk.ArgumentError, match=f"attention: {name}={value!r} must be"):
        gk.attention(*arrays, **arguments, device=device)
    with pytest.raises(gk.DTypeError, match="attention: mask is a str"):
        gk.attention(*arrays, mask="text", device=device)


def test_tensors_of_two_devices(plain_device):
    other = gk.get_device("cpu").with_caps("simd=scalar,threads=1")
    other = other if is_gpu(plain_device) else next((gpu for gpu in gk.devices() if is_gpu(gpu)), other)
    here = tensors(plain_device, *(np.ones(shape, np.float32) for shape in (Q, K, V)))
    for place in range(3):
        passed = [tensor.to(other) if i == place else tensor for i, tensor in enumerate(here)]
        with pytest.raises(gk.DeviceError, match="attention") as caught:
            gk.attention(*passed)
        assert ".to(" in str(caught.value)
    with pytest.raises(gk.DeviceError, match="attention"):
        gk.attention(*here, mask=gk.ones((3, 5), device=other))
    with pytest.raises(gk.DeviceError, match="attention_scores"):
        gk.attention_scores(here[0], here[1].to(other))
    with pytest.raises(gk.DeviceError, match="weighted_sum"):
        gk.weighted_sum(gk.ones((2, 4, 3, 5), device=other), here[2])
