"""What WGSL's operations on numbers mean, in plain Python: the oracle of whatever computes with a user's kernel.

Integers are ints within their type's range, floats are Python's, which hold every f32 and f16, and vectors are tuples.
"""

import ctypes
import math
import operator  # noqa: F401 (for texts in Python that name it)
import struct

# Of vectors, component by component


def each(function, *operands):
    """A function of scalars on vectors."""
    return tuple(map(function, *operands))


def splat(value, size):
    return (value,) * size


def select(reject, accept, condition):
    return accept if condition else reject


def select_each(reject, accept, condition):
    return each(select, reject, accept, condition)


# Integers


def quotient(a, b):
    """Towards zero, as Python's is not."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


class Integer:
    """The operations of an integer type."""

    def __init__(self, name, bits, signed):
        self.name, self.bits, self.signed = name, bits, signed
        self.mask = 2**bits - 1
        self.low = -(2 ** (bits - 1)) if signed else 0
        self.high = self.low + self.mask

    def __repr__(self):
        return self.name

    def wrap(self, number):
        """Any integer, modulo the size of the type; so also what a bitcast gives, and a conversion."""
        return (number - self.low & self.mask) + self.low

    def unsigned(self, a):
        return a & self.mask

    def add(self, a, b):
        return self.wrap(a + b)

    def subtract(self, a, b):
        return self.wrap(a - b)

    def multiply(self, a, b):
        return self.wrap(a * b)

    def divide(self, a, b):
        return self.wrap(quotient(a, b)) if b else a

    def remainder(self, a, b):
        return self.wrap(a - quotient(a, b) * b) if b else 0

    def negate(self, a):
        return self.wrap(-a)

    def both(self, a, b):
        return a & b

    def either(self, a, b):
        return a | b

    def differ(self, a, b):
        return a ^ b

    def complement(self, a):
        return self.wrap(~a)

    def left(self, a, by):
        return self.wrap(a << by % self.bits)

    def right(self, a, by):
        """Of signed ones the sign moves in, as Python has it."""
        return a >> by % self.bits

    def absolute(self, a):
        return self.wrap(abs(a))

    def sign(self, a):
        return (a > 0) - (a < 0)

    def least(self, a, b):
        return min(a, b)

    def most(self, a, b):
        return max(a, b)

    def clamp(self, a, low, high):
        return min(max(a, low), high)

    def dot(self, a, b):
        return self.wrap(sum(x * y for x, y in zip(a, b, strict=True)))

    def count_one_bits(self, a):
        return self.unsigned(a).bit_count()

    def count_leading_zeros(self, a):
        return self.bits - self.unsigned(a).bit_length()

    def count_trailing_zeros(self, a):
        return self.first_trailing_bit(a) if a else self.bits

    def first_leading_bit(self, a):
        """The highest bit that differs from the sign; the greatest number, or -1, where there is none."""
        return self.wrap((~a if a < 0 else a).bit_length() - 1)

    def first_trailing_bit(self, a):
        return self.wrap((a & -a).bit_length() - 1)

    def reverse_bits(self, a):
        return self.wrap(int(f"{self.unsigned(a):0{self.bits}b}"[::-1], 2))

    def extract_bits(self, a, offset, count):
        offset = min(offset, self.bits)
        count = min(count, self.bits - offset)
        field = a >> offset & 2**count - 1
        return field - 2**count if self.signed and count and field >> count - 1 else field

    def insert_bits(self, a, new, offset, count):
        offset = min(offset, self.bits)
        count = min(count, self.bits - offset)
        field = 2**count - 1 << offset
        return self.wrap(a & ~field | new << offset & field)

    def from_float(self, x):
        """Towards zero; what is too large becomes the nearest integer that an f32 is."""
        high = 2 ** (self.bits - self.signed) - 2 ** (self.bits - self.signed - 24)
        return int(min(max(x, self.low), high))


u32, i32 = Integer("u32", 32, signed=False), Integer("i32", 32, signed=True)
u64, i64 = Integer("u64", 64, signed=False), Integer("i64", 64, signed=True)
INTEGERS = {"u32": u32, "i32": i32, "u64": u64, "i64": i64}


def pieces(word, signed=False):
    """The four bytes of a word, the lowest first."""
    return struct.unpack("<4b" if signed else "<4B", struct.pack("<I", word))


def from_pieces(numbers):
    """A word of the lower eight bits of four numbers."""
    return sum((number & 255) << 8 * i for i, number in enumerate(numbers))


def from_clamped_pieces(numbers, signed=False):
    low, high = (-128, 127) if signed else (0, 255)
    return from_pieces([min(max(number, low), high) for number in numbers])


def dot_of_pieces(a, b, signed=False):
    return sum(x * y for x, y in zip(pieces(a, signed), pieces(b, signed), strict=True))


# Floats


def f32(x):
    """The nearest f32, or infinity."""
    return ctypes.c_float(x).value


def float_bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def from_float_bits(word):
    return struct.unpack("<f", struct.pack("<I", word))[0]


def round_half_even(x):
    return float(round(x))


class Float:
    """The operations of f32, each result rounded to the nearest."""

    @staticmethod
    def rounded(x):
        return f32(x)

    def add(self, a, b):
        return self.rounded(a + b)

    def subtract(self, a, b):
        return self.rounded(a - b)

    def multiply(self, a, b):
        """Of two f32 the product is exact before it is rounded."""
        return self.rounded(a * b)

    def divide(self, a, b):
        return self.rounded(a / b)

    def fma(self, a, b, c):
        return self.rounded(a * b + c)

    def mix(self, a, b, t):
        return self.rounded(a * (1 - t) + b * t)

    def dot(self, a, b):
        return self.rounded(sum(x * y for x, y in zip(a, b, strict=True)))

    def fract(self, a):
        return self.rounded(a - math.floor(a))

    def floor(self, a):
        return float(math.floor(a))

    def ceil(self, a):
        return float(math.ceil(a))

    def trunc(self, a):
        return float(math.trunc(a))

    def round(self, a):
        return round_half_even(a)

    def negate(self, a):
        return -a

    def absolute(self, a):
        return abs(a)

    def sign(self, a):
        return float((a > 0) - (a < 0))

    def least(self, a, b):
        return min(a, b)

    def most(self, a, b):
        return max(a, b)

    def clamp(self, a, low, high):
        return min(max(a, low), high)

    def step(self, edge, a):
        return float(a >= edge)

    def scale(self, a, exponent):
        return self.rounded(math.ldexp(a, exponent))

    def from_integer(self, a):
        return self.rounded(a)

    def transform(self, columns, vector):
        """A matrix by a vector."""
        return tuple(self.dot(row, vector) for row in zip(*columns, strict=True))

    def bits(self, a):
        """Both zeros are one."""
        return float_bits(a) if a else 0


class ExactFloat(Float):
    """The same where nothing is ever rounded, so that neither the order of operations nor their fusion matters."""

    @staticmethod
    def rounded(x):
        assert ctypes.c_float(x).value == x, f"{x!r} is no f32"
        return float(x)


# Memory: scalars in lists in lists, where values are tuples


def frozen(memory):
    """What is in memory now, as a value."""
    return tuple(map(frozen, memory)) if isinstance(memory, list) else memory


def thawed(value):
    """New memory with a value in it."""
    return list(map(thawed, value)) if isinstance(value, tuple) else value


def store(memory, index, value):
    """A value into memory; pointers into that stay what they are."""
    if isinstance(value, tuple):
        for i, part in enumerate(value):
            store(memory[index], i, part)
    else:
        memory[index] = value
