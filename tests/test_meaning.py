"""The oracle of users' kernels, where WGSL's words are clear and Python's operators are others."""

import meaning


def test_what_wgsl_says_of_integers():
    i32, u32 = meaning.i32, meaning.u32
    low = -(2**31)
    assert (i32.divide(low, -1), i32.remainder(low, -1)) == (low, 0)
    assert (i32.divide(5, 0), i32.remainder(5, 0), u32.divide(5, 0), u32.remainder(5, 0)) == (5, 0, 5, 0)
    assert (i32.divide(-7, 2), i32.remainder(-7, 2), i32.remainder(7, -2)) == (-3, -1, 1)
    assert (i32.absolute(low), i32.negate(low), i32.add(2**31 - 1, 1)) == (low, low, low)
    assert (u32.left(1, 33), i32.right(-8, 33), u32.right(2**31, 31)) == (2, -4, 1)
    assert (u32.first_leading_bit(0), i32.first_leading_bit(0), i32.first_leading_bit(-1)) == (2**32 - 1, -1, -1)
    assert (i32.first_leading_bit(-2), i32.first_leading_bit(low), i32.first_leading_bit(1)) == (0, 30, 0)
    assert (u32.first_trailing_bit(0), i32.first_trailing_bit(0), i32.first_trailing_bit(low)) == (2**32 - 1, -1, 31)
    assert (u32.count_leading_zeros(0), u32.count_trailing_zeros(0), i32.count_leading_zeros(-1)) == (32, 32, 0)
    assert (i32.extract_bits(-1, 3, 4), u32.extract_bits(2**32 - 1, 30, 9), i32.extract_bits(8, 0, 4)) == (-1, 3, -8)
    assert (u32.extract_bits(5, 32, 3), u32.extract_bits(5, 0, 0), u32.extract_bits(5, 0, 40)) == (0, 0, 5)
    assert (u32.insert_bits(0, 2**32 - 1, 28, 8), u32.insert_bits(7, 0, 40, 3)) == (0xF0000000, 7)
    assert (u32.from_float(-1.5), u32.from_float(1e20), i32.from_float(1e20)) == (0, 4294967040, 2147483520)


def test_what_wgsl_says_of_floats():
    f32 = meaning.Float()
    assert (f32.round(2.5), f32.round(-0.5), f32.round(3.5), f32.fract(-0.25)) == (2, 0, 4, 0.75)
    assert (f32.add(2.0**24, 1), f32.multiply(1 + 2.0**-23, 1 + 2.0**-23)) == (2.0**24, 1 + 2.0**-22)
    assert (f32.sign(-0.5), f32.step(1, 1), f32.clamp(5, 0, 1), f32.bits(-0.0)) == (-1, 1, 1, 0)
