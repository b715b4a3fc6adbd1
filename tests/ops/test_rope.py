"""rope and rope_tables: rotary position embedding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpukern as gk
from arrays import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOATS, INT32, INTEGERS, assert_same, cycle, lay_out, layouts_of
from arrays import sample as sample_of
from oracles import assert_right, check, tensors_of

floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def tables(*shape, seed=0):
    """Cosines and sines of random angles."""
    angles = 3 * sample_of(FLOAT32, shape, seed)
    return np.cos(angles), np.sin(angles)


# Tables


def assert_tables(got, positions, dim, theta=10_000.0):
    """Within 1e-5, wherever the position is: the angle is reduced before it is rounded to float32."""
    positions = np.asarray(positions).astype(np.float64)
    angles = positions[..., None] * theta ** (-2 * np.arange(dim // 2) / dim)
    assert len(got) == 2
    for table, want in zip(got, (np.cos(angles), np.sin(angles)), strict=True):
        assert table.dtype == FLOAT32
        assert table.shape == want.shape
        np.testing.assert_allclose(np.asarray(table), want, rtol=0, atol=1e-5)


POSITIONS = {
    "the first": np.arange(100, dtype=np.int32),
    "around 2^20": np.arange(2**20 - 50, 2**20 + 50, dtype=np.int32),
    "around 2^24": np.arange(2**24 - 50, 2**24 + 50, dtype=np.int32),
    "the last": np.array([2**31 - 1, 2**31 - 2, 2**30 + 1], np.int32),
    "negative": np.array([-1, -2, -1000, -(2**20) - 1, -(2**31)], np.int32),
    "unsigned": np.array([0, 2**31, 2**32 - 1], np.uint32),
    "bytes": np.array([0, 1, 100, 255], np.uint8),
    "wide": np.array([0, 5, 123_456_789]),
    "fractions": np.float32([0.5, 1.25, -7.75, 1_048_577.5, 123_456.78]),
    "float16": np.float16([0.5, 1.25, -7.75, 2047, 60_000]),
    "a matrix": np.arange(24, dtype=np.int32).reshape(4, 6),
    "one": np.array(17, np.int32),
    "none": np.zeros((3, 0), np.int32),
    "in steps": np.arange(100, dtype=np.int32)[::-3],
}


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("dim", [2, 64, 10, 128])
def test_tables(device, name, dim):
    positions = POSITIONS[name]
    from_numpy = gk.rope_tables(positions, dim, device=device)
    assert all(type(table) is np.ndarray for table in from_numpy)
    assert_tables(from_numpy, positions, dim)
    from_tensor = gk.rope_tables(gk.asarray(positions, device=device), dim)
    assert all(type(table) is gk.Tensor for table in from_tensor)
    assert all(table.device == device for table in from_tensor)
    assert_tables(from_tensor, positions, dim)


@pytest.mark.parametrize("theta", [10_000, 500_000.0, 1e6, 10.0, 1.0], ids=str)
def test_theta(device, theta):
    positions = np.array([0, 1, 7, 4095, 2**20 + 3], np.int32)
    assert_tables(gk.rope_tables(positions, 64, theta=theta, device=device), positions, 64, theta)


def test_position_zero(device):
    cos, sin = gk.rope_tables(gk.zeros(1, "int32", device=device), 8)
    assert cos.tolist() == [[1] * 4]
    assert sin.tolist() == [[0] * 4]


def test_numbers_and_lists_as_positions(device):
    assert_tables(gk.rope_tables(3, 8, device=device), 3, 8)
    assert_tables(gk.rope_tables([0, 1, 2], 8, device=device), [0, 1, 2], 8)


def test_many_positions(device):
    positions = np.arange(50_021, dtype=np.int32)
    assert_tables(gk.rope_tables(positions, 14, device=device), positions, 14)


@pytest.mark.parametrize("dim", [1, 3, 65, -2, -1])
def test_a_dim_that_has_no_half(device, dim):
    with pytest.raises((gk.ShapeError, gk.ArgumentError), match="rope_tables") as caught:
        gk.rope_tables(gk.arange(3, device=device), dim)
    assert "dim" in str(caught.value)
    assert str(dim) in str(caught.value)


@pytest.mark.parametrize("dim", [2.0, "2", None], ids=repr)
def test_a_dim_that_is_no_number(device, dim):
    with pytest.raises((TypeError, gk.ArgumentError), match="dim"):
        gk.rope_tables(gk.arange(3, device=device), dim)


@pytest.mark.parametrize("theta", [0.0, -1.0, np.nan, np.inf], ids=str)
def test_a_theta_that_has_no_powers(device, theta):
    with pytest.raises(gk.ArgumentError, match="rope_tables") as caught:
        gk.rope_tables(gk.arange(3, device=device), 8, theta=theta)
    assert "theta" in str(caught.value)


def test_theta_is_named(device):
    with pytest.raises(TypeError):
        gk.rope_tables(gk.arange(3, device=device), 8, 500.0)


@pytest.mark.parametrize("positions", [None, "text", np.array([1j]), np.array([True])], ids=lambda x: type(x).__name__)
def test_positions_that_are_none(device, positions):
    with pytest.raises(gk.DTypeError, match="rope_tables") as caught:
        gk.rope_tables(positions, 8, device=device)
    assert "positions" in str(caught.value)


# What rope gives


def test_in_numbers(device):
    """A quarter turn takes (a, b) to (-b, a): pairs from both halves, or neighbours."""
    x = gk.asarray([[1.0, 2, 3, 4]], device=device)
    cos, sin = gk.asarray([[0.0, 1.0]], device=device), gk.asarray([[1.0, 0.0]], device=device)
    assert gk.rope(x, cos, sin).tolist() == [[-3, 2, 1, 4]]
    assert gk.rope(x, cos, sin, interleaved=True).tolist() == [[-2, 1, 3, 4]]
    cos, sin = cos[:, :1], sin[:, :1]
    assert gk.rope(x, cos, sin, rotary_dim=2).tolist() == [[-2, 1, 3, 4]]


@floats
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "neighbours"])
def test_position_zero_is_the_identity(device, dtype, interleaved):
    x = sample_of(dtype, (2, 3, 1, 64))
    cos, sin = gk.rope_tables(np.zeros(1, np.int32), 64, device=device)
    for operands in ((x, cos, sin), tensors_of((x, cos, sin), device)):
        assert_same(gk.rope(*operands, interleaved=interleaved, device=device), x)


SHAPES = [
    # x, tables
    ((5, 8), (5, 4)),
    ((1, 2), (1, 1)),
    ((7, 128), (7, 64)),
    ((2, 3, 5, 8), (5, 4)),
    ((2, 3, 5, 8), (1, 1, 5, 4)),
    ((2, 3, 5, 8), (2, 1, 5, 4)),
    ((2, 3, 5, 8), (2, 3, 5, 4)),
    ((2, 3, 5, 8), (3, 5, 4)),
    ((4, 32, 1, 128), (1, 64)),
    ((2, 1031, 6), (1031, 3)),
    ((5, 8), (1, 4)),
    ((5, 8), (4,)),
    ((8,), (4,)),
    ((3, 2, 257, 10), (2, 257, 5)),
]


@floats
@pytest.mark.parametrize(("shape", "of_tables"), SHAPES, ids=str)
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "neighbours"])
def test_shapes(device, dtype, shape, of_tables, interleaved):
    """Tables of one sequence, of each, and of a single position: they broadcast, but for their last axis."""
    check(device, "rope", sample_of(dtype, shape), *tables(*of_tables), interleaved=interleaved)


@floats
@pytest.mark.parametrize("rotary_dim", [2, 4, 6, 10, 12])
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "neighbours"])
def test_a_part_of_dim_is_rotated(device, dtype, rotary_dim, interleaved):
    """The rest is copied bit by bit."""
    x = sample_of(dtype, (2, 3, 7, 12))
    x[..., -2:] = -0.0, np.nan
    operands = x, *tables(7, rotary_dim // 2)
    check(device, "rope", *operands, interleaved=interleaved, rotary_dim=rotary_dim)
    got = gk.rope(*tensors_of(operands, device), interleaved=interleaved, rotary_dim=rotary_dim)
    assert_same(got.numpy()[..., rotary_dim:], x[..., rotary_dim:])


def test_the_dtype_is_that_of_x(device):
    """Tables are float32, and are no reason to make x so; they may be narrower themselves."""
    for dtype in FLOATS:
        for of_tables in FLOATS:
            x, cos, sin = sample_of(dtype, (5, 8)), *(table.astype(of_tables) for table in tables(5, 4))
            check(device, "rope", x, cos, sin)
            assert gk.rope(*tensors_of((x, cos, sin), device)).dtype == dtype


def test_rotations_keep_lengths_and_add_up(device):
    """Whatever pairs there are; and position 5 after position 7 is position 12."""
    x = gk.asarray(sample_of(FLOAT32, (1, 64)), device=device)
    five, seven, twelve = (gk.rope_tables([position], 64, device=device) for position in (5, 7, 12))
    for interleaved in (False, True):
        turn = lambda x, table, interleaved=interleaved: gk.rope(  # noqa: E731
            x, *tensors_of(table, device), interleaved=interleaved
        )
        np.testing.assert_allclose(turn(turn(x, five), seven).numpy(), turn(x, twelve).numpy(), atol=1e-5)
        lengths = np.linalg.norm(turn(x, twelve).numpy()), np.linalg.norm(x.numpy())
        assert lengths[0] == pytest.approx(lengths[1], rel=1e-5)


def test_both_orders_of_pairs_agree(device):
    """Interleaved is the same rotation of the dims in another order."""
    x, (cos, sin) = sample_of(FLOAT32, (3, 5, 8)), tables(5, 4)
    order = np.array([0, 4, 1, 5, 2, 6, 3, 7])
    halves = gk.rope(x, cos, sin, device=device)
    neighbours = gk.rope(x[..., order], cos, sin, interleaved=True, device=device)
    np.testing.assert_allclose(neighbours, halves[..., order], rtol=1e-6, atol=1e-6)


@floats
def test_special_values(device, dtype):
    """NaN and infinities spread to their partners alone."""
    x = sample_of(dtype, (4, 8))
    x[0, 1], x[1, 6], x[2, 3] = np.nan, np.inf, -np.inf
    for interleaved in (False, True):
        check(device, "rope", x, *tables(4, 4), interleaved=interleaved)


# Layouts and sizes


@given(data=st.data())
def test_any_layout(device, data):
    dtype = data.draw(st.sampled_from(FLOATS))
    batch, seq, half = (data.draw(st.integers(low, high)) for low, high in ((0, 3), (0, 6), (1, 9)))
    rest = data.draw(st.sampled_from((0, 2, 4)))
    operands = sample_of(dtype, (batch, seq, 2 * half + rest)), *tables(seq, half)
    x, cos, sin = (lay_out(each, data.draw(st.sampled_from(layouts_of(each.dtype)))) for each in operands)
    check(device, "rope", x, cos, sin, interleaved=data.draw(st.booleans()), rotary_dim=2 * half)


def test_views_of_tensors(device):
    """Heads are an axis that was moved, and part of a wider projection."""
    for dtype in (FLOAT32, FLOAT16):
        wide = sample_of(dtype, (2, 5, 3 * 4 * 8))
        tensor = gk.asarray(wide, device=device)
        heads = np.moveaxis(wide[..., 32:64].reshape(2, 5, 4, 8), 1, 2)
        moved = gk.transpose(tensor[..., 32:64].reshape(2, 5, 4, 8), (0, 2, 1, 3))
        cos, sin = tables(9, 4)
        got = gk.rope(moved, *(gk.asarray(table, device=device)[2:7] for table in (cos, sin)))
        assert_right("rope", got.numpy(), heads, cos[2:7], sin[2:7], device=device)


@pytest.mark.parametrize("shape", [(70_001, 2), (3, 20_011, 8), (2, 100_002)], ids=str)
@floats
def test_large_shapes(device, dtype, shape):
    check(device, "rope", cycle(dtype, shape), *tables(shape[-2], shape[-1] // 2))


@floats
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "neighbours"])
def test_in_place(device, dtype, interleaved):
    x, (cos, sin) = sample_of(dtype, (3, 70, 66)), tables(70, 32)
    tensor = gk.asarray(x, device=device, copy=True)
    arguments = {"interleaved": interleaved, "rotary_dim": 64}
    assert gk.rope(tensor, *tensors_of((cos, sin), device), out=tensor, **arguments) is tensor
    assert_right("rope", tensor.numpy(), x, cos, sin, device=device, **arguments)


def test_nothing_to_rotate(device):
    for shape in [(0, 8), (3, 0, 8), (0, 3, 8)]:
        check(device, "rope", np.zeros(shape, np.float32), *tables(shape[-2], 4))


# Errors of rope


def fails(device, error, words, x, cos, sin, **arguments):
    """Of arrays and of tensors."""
    operands = [np.ones(shape, np.float32) for shape in (x, cos, sin)]
    for each in (operands, tensors_of(operands, device)):
        with pytest.raises(error, match="rope") as caught:
            gk.rope(*each, device=device, **arguments)
        for word in words:
            assert str(word) in str(caught.value)


@pytest.mark.parametrize("dim", [1, 3, 7])
def test_an_odd_dim(device, dim):
    fails(device, gk.ShapeError, [(5, dim)], (5, dim), (5, dim // 2), (5, dim // 2))


@pytest.mark.parametrize("of_tables", [(5, 3), (5, 5), (5, 8), (4, 4), (6, 4), (5, 1), (2, 5, 4), ()], ids=str)
def test_tables_that_do_not_fit(device, of_tables):
    """Another length, another half of dim, more axes than x, or none."""
    fails(device, gk.ShapeError, [(5, 8), of_tables], (5, 8), of_tables, of_tables)


def test_leading_axes_that_do_not_fit(device):
    fails(device, gk.ShapeError, [(2, 3, 5, 8), (2, 5, 4)], (2, 3, 5, 8), (2, 5, 4), (2, 5, 4))


def test_tables_of_two_shapes(device):
    fails(device, gk.ShapeError, ["sin", (5, 3)], (2, 5, 8), (5, 4), (5, 3))


@pytest.mark.parametrize("rotary_dim", [1, 3, 10, -2, -1])
def test_a_rotary_dim_that_cannot_be(device, rotary_dim):
    """Odd, negative, or more than there is."""
    half = abs(rotary_dim) // 2
    words = ["rotary_dim", rotary_dim]
    fails(device, (gk.ShapeError, gk.ArgumentError), words, (5, 8), (5, half), (5, half), rotary_dim=rotary_dim)


def test_too_few_axes(device):
    fails(device, gk.ShapeError, [(8,), (1, 4)], (8,), (1, 4), (1, 4))
    fails(device, gk.ShapeError, [()], (), (5, 4), (5, 4))


@pytest.mark.parametrize("dtype", [*INTEGERS, BOOL], ids=str)
def test_rope_is_for_floats(device, dtype):
    cos, sin = tables(5, 4)
    with pytest.raises(gk.DTypeError, match="rope") as caught:
        gk.rope(sample_of(dtype, (5, 8)), cos, sin, device=device)
    assert dtype.name in str(caught.value)
    with pytest.raises(gk.DTypeError, match="rope"):
        gk.rope(sample_of(FLOAT32, (5, 8)), cos.astype(INT32), sin, device=device)


def test_options_are_named(device):
    with pytest.raises(TypeError):
        gk.rope(gk.ones((5, 8), device=device), *tensors_of(tables(5, 4), device), True)


def test_the_same_bits_every_time(device):
    for dtype in (FLOAT32, BFLOAT16, FLOAT16):
        operands = tensors_of((sample_of(dtype, (3, 70, 64)), *tables(70, 32)), device)
        assert_same(gk.rope(*operands), gk.rope(*operands).numpy())


def test_tables_into_parts_of_one_tensor(device):
    """They may lie between each other, but not share an element."""
    cos, sin = gk.rope_tables([0, 1, 2], 4)
    for make in (lambda shape: gk.zeros(shape, device=device), lambda shape: np.zeros(shape, FLOAT32)):
        for axis in range(3):
            shape = [3, 2]
            shape.insert(axis, 2)
            both = make(tuple(shape))
            parts = tuple(both[(slice(None),) * axis + (i,)] for i in range(2))
            assert gk.rope_tables([0, 1, 2], 4, out=parts) is parts
            np.testing.assert_allclose(np.asarray(parts[0]), cos, atol=1e-6)
            np.testing.assert_allclose(np.asarray(parts[1]), sin, atol=1e-6)
        whole = make((4, 2))
        with pytest.raises(gk.ArgumentError, match=r"rope_tables: .*out="):
            gk.rope_tables([0, 1, 2], 4, out=(whole[:3], whole[1:]))
        assert not np.asarray(whole).any()
