"""Random kernels in WGSL, and what each of them computes, worked out in Python.

    python tests/programs.py SEED                 prints a program; --python prints its twin
    python tests/programs.py --run 100            runs programs on devices, beside the twin

A program is written twice at the same time: as WGSL, and as Python that does for one invocation what the WGSL means
(tests/meaning.py). The twin knows nothing of compilers, lanes or masks. Its invocations are generators that stop at
barriers and are run one after another between them.

Programs end, and are free of races and of what WGSL leaves open:

- Loops count. A budget bounds how often anything runs.
- Indices are within bounds: of arrays by `%`.
- Memory that invocations share has a mode from one barrier to the next: each has a slot of its own, or all only read,
  or all change it by one commutative atomic operation.
- Barriers stand where control flow is uniform: under conditions made of uniform values.
- Floats never round, if they are "exact": each expression carries a bound of its magnitude and of its fraction's
  bits, and is cut down where 24 bits would not hold it. So no reordering, no fusion and no division shows. "rounded"
  floats round in every operation, as IEEE says, which GPUs need not do. Neither has NaN, infinities or subnormal
  numbers; zeros are written without their sign.
"""

import argparse
import contextlib
import functools
import itertools
import math
import os
import random
import sys
import time
from dataclasses import dataclass, field, replace

import numpy as np

import gpukern as gk
import meaning

# Types. Scalars are their names.


@dataclass(frozen=True)
class Vector:
    kind: str
    size: int

    def __str__(self):
        return f"vec{self.size}<{self.kind}>"


@dataclass(frozen=True)
class Matrix:
    columns: int
    rows: int

    def __str__(self):
        return f"mat{self.columns}x{self.rows}<f32>"


@dataclass(frozen=True)
class Array:
    element: object
    length: int

    def __str__(self):
        return f"array<{self.element}, {self.length}>"


@dataclass(frozen=True)
class Struct:
    name: str
    fields: tuple

    def __str__(self):
        return self.name

    def declaration(self):
        return f"struct {self.name} {{ {', '.join(f'{name}: {ty}' for name, ty in self.fields)} }}"


INTEGERS = ("u32", "i32")
SCALARS = ("u32", "i32", "f32", "bool")
DTYPES = {"u32": np.uint32, "i32": np.int32, "f32": np.float32}


def kind_of(ty):
    """The scalar of a scalar or vector; None for other types."""
    return ty if isinstance(ty, str) else ty.kind if isinstance(ty, Vector) else None


def shaped(kind, like):
    """A scalar or vector of another kind."""
    return Vector(kind, like.size) if isinstance(like, Vector) else kind


def parts_of(ty):
    """What a type is made of: how each part is reached, and its type. None stands for any index."""
    if isinstance(ty, Vector):
        return [(None, ty.size, ty.kind)]
    if isinstance(ty, Matrix):
        return [(None, ty.columns, Vector("f32", ty.rows))]
    if isinstance(ty, Array):
        return [(None, ty.length, ty.element)]
    if isinstance(ty, Struct):
        return [(name, i, part) for i, (name, part) in enumerate(ty.fields)]
    return []


@functools.cache
def paths(ty, wanted):
    """The ways from a type to parts of the wanted one."""
    found = [()] if ty == wanted else []
    for name, at, part in parts_of(ty):
        found += [((name, at), *rest) for rest in paths(part, wanted)]
    return found


@functools.cache
def addressable(ty, wanted):
    """Those that a pointer may take: all but into vectors."""
    if ty == wanted:
        return [()]
    if isinstance(ty, Vector):
        return []
    return [((name, at), *rest) for name, at, part in parts_of(ty) for rest in addressable(part, wanted)]


def leaves(ty):
    """All scalars of a type, as indices and names."""
    if isinstance(ty, str):
        return [((), ty)]
    found = []
    for name, at, part in parts_of(ty):
        steps = [(f".{name}", at)] if name else [(f"[{i}]", i) for i in range(at)]
        found += [((step, *rest), scalar) for step in steps for rest, scalar in leaves(part)]
    return found


# Texts


@dataclass(frozen=True)
class Expression:
    """In both languages. Of floats it is known that |x| <= 2**magnitude, and that x is a multiple of 2**-grain."""

    wgsl: str
    python: str
    type: object
    constant: bool = False
    magnitude: int = 0
    grain: int = 0
    partly: bool = False  # a vector with constants among its components


@dataclass(frozen=True)
class Variable:
    """What has a name: in Python memory, which is `parent[index]`, or a value."""

    name: str
    type: object
    parent: str | None = None
    index: str = "0"
    value: str | None = None
    writable: bool = False
    uniform: bool = False
    pointer: str | None = None  # what is passed to a function that takes a pointer to it
    space: str = "function"

    @property
    def python(self):
        return self.value or f"{self.parent}[{self.index}]"


@dataclass
class Block:
    """Statements, and how much deeper than usual they stand."""

    nodes: list = field(default_factory=list)
    deeper: int = 0


@dataclass
class Node:
    """A statement: pairs of texts, and blocks between them."""

    parts: list
    fixed: bool = False  # without it others would race
    alive: bool = True


def render(block, language, depth):
    """A block as lines. A Python block is never empty."""
    lines = []
    for node in block.nodes:
        for part in node.parts if node.alive else ():
            if isinstance(part, Block):
                lines += render(part, language, depth + 1 + part.deeper)
            elif part[language]:
                lines += [f"{'    ' * depth}{line}" for line in part[language].splitlines()]
    return lines if lines or language == 0 else [f"{'    ' * depth}pass"]


@dataclass
class Function:
    name: str
    parameters: list  # (type, "value" or the space of a pointer)
    result: object
    work: int
    touches: frozenset = frozenset()  # private variables


@dataclass
class Shared:
    """Memory of a workgroup with a slot for each invocation."""

    name: str
    element: object
    atomic: bool
    space: str
    mode: tuple = ("own", 0)


# Operations: WGSL, and the method of meaning.Integer or meaning.Float.
INTEGER_BINARY = {
    "({0} + {1})": "add",
    "({0} - {1})": "subtract",
    "({0} * {1})": "multiply",
    "({0} / {1})": "divide",
    "({0} % {1})": "remainder",
    "({0} & {1})": "both",
    "({0} | {1})": "either",
    "({0} ^ {1})": "differ",
    "min({0}, {1})": "least",
    "max({0}, {1})": "most",
}
INTEGER_UNARY = {
    "(~{0})": "complement",
    "abs({0})": "absolute",
    "countOneBits({0})": "count_one_bits",
    "countLeadingZeros({0})": "count_leading_zeros",
    "countTrailingZeros({0})": "count_trailing_zeros",
    "firstLeadingBit({0})": "first_leading_bit",
    "firstTrailingBit({0})": "first_trailing_bit",
    "reverseBits({0})": "reverse_bits",
}
SIGNED_UNARY = {"(-{0})": "negate", "sign({0})": "sign"}
COMPARE = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
COMPOUND = {"+": "add", "-": "subtract", "*": "multiply", "&": "both", "|": "either", "^": "differ"}
# From the magnitudes and grains of the operands to the result's.
FLOAT_BINARY = {
    "({0} + {1})": ("add", lambda a, b: (max(a.magnitude, b.magnitude) + 1, max(a.grain, b.grain))),
    "({0} - {1})": ("subtract", lambda a, b: (max(a.magnitude, b.magnitude) + 1, max(a.grain, b.grain))),
    "({0} * {1})": ("multiply", lambda a, b: (a.magnitude + b.magnitude, a.grain + b.grain)),
    "min({0}, {1})": ("least", lambda a, b: (max(a.magnitude, b.magnitude), max(a.grain, b.grain))),
    "max({0}, {1})": ("most", lambda a, b: (max(a.magnitude, b.magnitude), max(a.grain, b.grain))),
    "step({0}, {1})": ("step", lambda a, b: (0, 0)),
}
FLOAT_UNARY = {
    "(-{0})": ("negate", lambda a: (a.magnitude, a.grain)),
    "abs({0})": ("absolute", lambda a: (a.magnitude, a.grain)),
    "sign({0})": ("sign", lambda a: (0, 0)),
    "floor({0})": ("floor", lambda a: (max(a.magnitude, 0), 0)),
    "ceil({0})": ("ceil", lambda a: (max(a.magnitude, 0), 0)),
    "trunc({0})": ("trunc", lambda a: (max(a.magnitude, 0), 0)),
    "round({0})": ("round", lambda a: (max(a.magnitude, 0), 0)),
    "fract({0})": ("fract", lambda a: (0, a.grain)),
}
FLOAT_TERNARY = {
    "fma({0}, {1}, {2})": (
        "fma",
        lambda a, b, c: (max(a.magnitude + b.magnitude, c.magnitude) + 1, max(a.grain + b.grain, c.grain)),
    ),
    "mix({0}, {1}, {2})": (
        "mix",
        lambda a, b, t: (max(a.magnitude, b.magnitude) + t.magnitude + 2, max(a.grain, b.grain) + t.grain),
    ),
}
ATOMIC_OPERATIONS = {"Add": "add", "Sub": "subtract", "And": "both", "Or": "either", "Xor": "differ", "Min": "least"}
ATOMIC_OPERATIONS["Max"] = "most"

WORKGROUP_SIZES = [(1,), (3,), (7,), (8,), (16,), (64,), (33,), (1, 9), (5, 3), (8, 3), (32, 2), (4, 4, 4), (2, 3, 4)]
WORKGROUP_SIZES += [(1, 1, 12), (1, 1, 40)]
# Floats in variables, for each kind of program: their magnitude and grain, and how expressions are made such.
FITS = {
    "exact": (6, 2, "clamp(floor(x * 4.0) * 0.25, {0}(-64.0), {0}(64.0))"),
    "rounded": (10, 44, "select(clamp(x, {0}(-1000.0), {0}(1000.0)), {0}(0.0), abs(x) < {0}(0.00001))"),
}


@dataclass(frozen=True)
class Options:
    size: int = 30  # statements, roughly
    floats: str | None = "exact"  # or "rounded", or None for programs without any
    portable: bool = False  # without what GL leaves to its drivers
    barriers: bool = True
    # Workgroups that fill vectors of eight invocations wherever there are barriers. Mesa 22's lavapipe loses those of
    # a vector that is not full when a loop with a barrier in it ends by a condition with && in it.
    whole: bool = False


class Generator:
    """Writes a program. What it decides depends on the seed and the options alone."""

    def __init__(self, seed, options):
        self.random = random.Random(f"{seed} {options}")
        self.options = options
        self.names = itertools.count()
        self.scope, self.functions, self.privates, self.shared, self.buffers = [], [], [], [], []
        self.block = Block()
        self.nesting = 0
        self.weight, self.work, self.budget = 1, 0, 20 * options.size
        self.uniform = False  # whether all invocations of the workgroup are here
        self.only_uniform = False  # whether expressions have to be
        self.collective = False  # whether barriers may stand here
        self.breakable, self.continuable, self.switches = False, False, []
        self.returns = None  # the type that a return has to give; "void" for an entry point
        self.private_access = False
        self.main = False
        self.touched = set()
        self.slots = 0
        self.tickets = 0
        self.indexing = False  # whether expressions are the index of something
        self.needs = set()  # helpers
        whole = options.whole and options.barriers
        self.size = self.pick(size for size in WORKGROUP_SIZES if not whole or math.prod(size) % 8 == 0)
        self.lanes = math.prod(self.size)
        shapes = [(1,), (2,), (3,), (2, 2), (1, 3), (1, 2, 2)]
        self.groups = self.random.choice([shape for shape in shapes if math.prod(shape) * self.lanes <= 130])
        self.make_types()

    # Chance

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, choices):
        return self.random.choice(list(choices))

    def name(self, prefix):
        return f"{prefix}{next(self.names)}"

    # Types

    def make_types(self):
        scalars = [kind for kind in SCALARS if kind != "f32" or self.options.floats]
        self.kinds = scalars
        numbers = [kind for kind in scalars if kind != "bool"]
        self.vectors = [Vector(self.pick(scalars), self.pick((2, 3, 4))) for _ in range(3)]
        self.matrices = [Matrix(self.pick((2, 3, 4)), self.pick((2, 3, 4)))] if self.options.floats == "exact" else []
        inner = Struct("Inner", (("a", self.pick(numbers)), ("b", Vector(self.pick(numbers), self.pick((2, 3, 4))))))
        kinds = [*numbers, inner, Vector(self.pick(numbers), self.pick((2, 3, 4))), Array(self.pick(numbers), 3)]
        kinds += self.matrices
        count = self.random.randint(2, 4)
        self.item = Struct("Item", tuple((f"m{i}", self.pick(kinds)) for i in range(count)))
        self.structs = [inner, self.item]
        elements = [*scalars, *self.vectors, inner]
        self.arrays = [Array(self.pick(elements), self.pick((2, 3, 4, 5, 8))) for _ in range(2)]
        self.arrays.append(Array(Array(self.pick(numbers), 2), 3))

    def any_type(self):
        if self.chance(0.65):
            return self.pick([kind for kind in ("u32", "u32", "i32", "f32", "bool") if kind in self.kinds])
        if self.chance(0.6):
            return self.pick(self.vectors)
        return self.pick([*self.structs, *self.arrays, *self.matrices])

    # Expressions

    def literal(self, ty, *, nonzero=False, below=None):
        if isinstance(ty, Vector):
            return self.construct(ty, [self.literal(ty.kind, nonzero=nonzero, below=below) for _ in range(ty.size)])
        if ty == "bool":
            value = self.chance(0.5)
            return Expression(str(value).lower(), str(value), ty, constant=True)
        if ty == "f32":
            return self.float_literal()
        number = self.pick([self.random.randint(0, 9), self.random.getrandbits(8), self.random.getrandbits(32)])
        if below:
            number = self.random.randrange(below)
        if ty == "i32":
            number = max(meaning.i32.wrap(number), -(2**31) + 1) * (1 if below else self.pick((1, -1)))
        if nonzero and number == 0:
            number = 5
        suffix = ty[0]
        return Expression(
            f"({number}{suffix})" if number < 0 else f"{number}{suffix}", f"({number})", ty, constant=True
        )

    def float_literal(self):
        if self.options.floats == "exact":
            value = self.random.randint(-64, 64) / 4
        else:
            value = meaning.f32(self.random.uniform(0.01, 100) * self.pick((1, -1)))
        return self.float_leaf(f"({value!r}f)", f"({value!r})", "f32", constant=True)

    def float_leaf(self, wgsl, python, ty, *, constant=False):
        magnitude, grain, _ = FITS[self.options.floats]
        return Expression(wgsl, python, ty, constant, magnitude, grain)

    def leaf_expression(self, wgsl, python, ty):
        """What is in a variable."""
        if kind_of(ty) == "f32" or isinstance(ty, Matrix):
            return self.float_leaf(wgsl, python, ty)
        return Expression(wgsl, python, ty)

    def construct(self, ty, parts):
        """A value from its parts, which are fitted where they have to be."""
        constant = all(part.constant for part in parts)
        partly = any(part.constant or part.partly for part in parts)
        comma = "," if len(parts) == 1 else ""
        wgsl = f"{ty}({', '.join(part.wgsl for part in parts)})"
        python = f"({', '.join(part.python for part in parts)}{comma})"
        magnitude, grain = max(part.magnitude for part in parts), max(part.grain for part in parts)
        return Expression(wgsl, python, ty, constant, magnitude, grain, partly)

    def runtime(self, ty):
        """Something uniform that no compiler knows."""
        if kind_of(ty) == "bool" and isinstance(ty, str):
            return Expression("(params.u > 3u)", "(params[0][0] > 3)", "bool")
        if isinstance(ty, str):
            at = ("u32", "i32", "f32").index(ty)
            return self.leaf_expression(f"params.{ty[0]}", f"params[0][{at}]", ty)
        if isinstance(ty, Struct):
            return self.construct(ty, [self.runtime(part) for _, part in ty.fields])
        _, count, part = parts_of(ty)[0]
        return self.construct(ty, [self.runtime(part) for _ in range(count)])

    def apply(self, wgsl, python, ty, *operands, magnitude=0, grain=0):
        """An operation. Python's may be the name of a function of scalars, which is applied to each component."""
        if all(operand.constant for operand in operands):
            operands = (self.runtime(operands[0].type), *operands[1:])
        if "{" not in python:
            texts = ", ".join(operand.python for operand in operands)
            vector = any(isinstance(operand.type, Vector) for operand in operands)
            python = f"each({python}, {texts})" if vector else f"{python}({texts})"
        else:
            python = python.format(*[operand.python for operand in operands])
        wgsl = wgsl.format(*[operand.wgsl for operand in operands])
        return Expression(wgsl, python, ty, False, magnitude, grain)

    def expression(self, ty, depth=None):
        """Anything of a type, of at most so many operations in a row."""
        if depth is None:
            depth = self.pick((1, 2, 2, 3))
        if depth <= 0 or self.chance(0.12):
            return self.leaf(ty)
        if self.chance(0.07):
            called = self.call_pure(ty)
            if called:
                return called
        kind = kind_of(ty)
        if kind in INTEGERS:
            return self.integer(ty, depth - 1)
        if kind == "f32":
            return self.float(ty, depth - 1)
        if kind == "bool":
            return self.bool(ty, depth - 1)
        if isinstance(ty, Matrix):
            return self.matrix(ty, depth - 1)
        return self.composite(ty, depth - 1)

    def fitted(self, ty, depth=None):
        """An expression that a variable can take."""
        return self.fit(self.expression(ty, depth))

    def fit(self, expression):
        if kind_of(expression.type) != "f32" and not isinstance(expression.type, Matrix):
            return expression
        magnitude, grain, _ = FITS[self.options.floats]
        if expression.magnitude <= magnitude and expression.grain <= grain:
            return expression
        ty = expression.type
        name = f"fit_{str(ty).replace('<f32>', '')}"
        if isinstance(ty, Matrix):
            self.needs.add(("matrix", ty))
            python = f"tuple(each(fit, column) for column in {expression.python})"
        else:
            self.needs.add(("fit", ty))
            python = f"each(fit, {expression.python})" if isinstance(ty, Vector) else f"fit({expression.python})"
        return self.float_leaf(f"{name}({expression.wgsl})", python, ty)

    def is_legal(self, magnitude, grain):
        return magnitude + grain <= 24 if self.options.floats == "exact" else magnitude <= 60 and grain <= 100

    def floating(self, wgsl, method, measure, ty, *operands):
        """An operation on floats, with its operands cut down if it would be too exact."""
        magnitude, grain = measure(*operands)
        if not self.is_legal(magnitude, grain):
            operands = tuple(self.fit(operand) for operand in operands)
            magnitude, grain = measure(*operands)
        return self.apply(wgsl, f"floats.{method}", ty, *operands, magnitude=magnitude, grain=grain)

    # Leaves

    def leaf(self, ty):
        for _ in range(3):
            found = self.pick((self.from_scope, self.from_scope, self.from_buffer, self.from_shared))(ty)
            if found:
                return found
        if isinstance(ty, str) and self.chance(0.6):
            return self.literal(ty)
        if isinstance(ty, Vector) and self.chance(0.4):
            return self.literal(ty)
        if isinstance(ty, str):
            return self.runtime(ty)
        return self.composite(ty, 0)

    def visible(self, ty):
        """Variables with parts of a type."""
        return [v for v in self.scope if (v.uniform or not self.only_uniform) and paths(v.type, ty)]

    def from_scope(self, ty):
        variables = self.visible(ty)
        return self.read(self.pick(variables), ty) if variables else None

    def read(self, variable, ty):
        """A part of a variable."""
        if variable.space == "private":
            self.touched.add(variable.name)
        wgsl, python, parent, _ = self.follow(variable, self.pick(paths(variable.type, ty)))
        if parent and not isinstance(ty, str):
            python = f"frozen({python})"
        if variable.space == "constant":
            return Expression(wgsl, python, ty, constant=True)
        return self.leaf_expression(wgsl, python, ty)

    def follow(self, variable, path):
        """The way to a part: in WGSL, in Python, and there as memory and the index in it."""
        wgsl, python, parent, index = variable.name, variable.python, variable.parent, variable.index
        of = variable.type
        for name, at in path:
            if name:
                wgsl, step = f"{wgsl}.{name}", str(at)
                of = dict(of.fields)[name]
            else:
                chosen = self.index(at)
                letter = isinstance(of, Vector) and chosen.constant and self.chance(0.8)
                wgsl = f"{wgsl}.{'xyzw'[int(chosen.python[1:-1])]}" if letter else f"{wgsl}[{chosen.wgsl}]"
                step = chosen.python
                of = parts_of(of)[0][2]
            parent, index = (python, step) if parent else (None, step)
            python = f"{python}[{step}]"
        return wgsl, python, parent, index

    def index(self, length, *, dynamic=0.6):
        """Something from 0 to the length."""
        if length == 1 or not self.chance(dynamic):
            return (
                self.literal(self.pick(INTEGERS), below=length) if length > 1 else Expression("0u", "(0)", "u32", True)
            )
        if length & (length - 1) == 0 and self.chance(0.5):
            ty = self.pick(INTEGERS)
            return self.apply(f"({{0}} & {length - 1}{ty[0]})", f"({{0}} & {length - 1})", ty, self.number(ty))
        wide = self.number("u32")
        if self.chance(0.2):
            return self.apply(f"i32({{0}} % {length}u)", f"({{0}} % {length})", "i32", wide)
        return self.apply(f"({{0}} % {length}u)", f"({{0}} % {length})", "u32", wide)

    def number(self, ty):
        """A short expression."""
        found = self.from_scope(ty) if self.chance(0.8) else None
        if found:
            return found if self.chance(0.7) else self.apply("({0} + {1})", f"{ty}.add", ty, found, self.literal(ty))
        return self.runtime(ty)

    def from_buffer(self, ty):
        """From an element of an array that is only read."""
        buffers = [buffer for buffer in self.buffers if paths(buffer.type, ty)]
        if not buffers or self.indexing:
            return None
        buffer = self.pick(buffers)
        texts = f"({{0}} % arrayLength(&{buffer.name}))", f"({{0}} % len({buffer.name}[0]))"
        at = self.apply(*texts, "u32", self.anywhere())
        element = replace(
            buffer, name=f"{buffer.name}[{at.wgsl}]", parent=f"{buffer.name}[0]", index=at.python, space="storage"
        )
        return self.read(element, ty)

    def anywhere(self):
        """An index before it is brought within bounds. Indices have no indices in them."""
        before, self.indexing = self.indexing, True
        found = self.expression("u32", 1)
        self.indexing = before
        return found

    def from_shared(self, ty):
        """From memory of the workgroup, as its mode allows."""
        if self.only_uniform or self.indexing or not (self.main or self.collective):
            return None
        candidates = [one for one in self.shared if one.mode[0] != "collect" and paths(one.element, ty)]
        if not candidates:
            return None
        one = self.pick(candidates)
        element = self.element(one)
        if one.atomic:
            return Expression(f"atomicLoad(&{element.name})", element.python, ty)
        return self.read(element, ty)

    def element(self, one):
        """An element of shared memory that may be read now."""
        if one.mode[0] == "own":
            slot = self.slot(one.mode[1])
        else:
            slot = self.apply(f"({{0}} % {self.lanes}u)", f"({{0}} % {self.lanes})", "u32", self.anywhere())
        wgsl, python = slot.wgsl, slot.python
        if one.space == "storage":
            wgsl, python = f"group * {self.lanes}u + {wgsl}", f"group * {self.lanes} + {python}"
        writable = one.mode[0] == "own" and not one.atomic
        return Variable(f"{one.name}[{wgsl}]", one.element, f"{one.name}[0]", python, writable=writable, space="shared")

    def slot(self, turn):
        """The slot of this invocation, for one of several ways to share slots out."""
        if turn == 0:
            return Expression("lane", "lane", "u32")
        if turn < 0:
            return Expression(f"({self.lanes - 1}u - lane)", f"({self.lanes - 1} - lane)", "u32")
        return Expression(f"((lane + {turn}u) % {self.lanes}u)", f"((lane + {turn}) % {self.lanes})", "u32")

    # Integers

    def integer(self, ty, depth):
        kind = kind_of(ty)
        makers = [self.integer_binary] * 6 + [self.integer_unary] * 2 + [self.shift, self.choice, self.converted]
        makers += [self.bits, self.bounded]
        makers += [self.integer_scalar, self.component] if isinstance(ty, str) else [self.built, self.built]
        return self.pick(makers)(ty, kind, depth)

    def integer_binary(self, ty, kind, depth):
        wgsl, method = self.pick(INTEGER_BINARY.items())
        a, b = self.expression(ty, depth), self.expression(ty, depth)
        if method in ("divide", "remainder"):
            return self.division(wgsl, method, ty, kind, a, b)
        if isinstance(ty, Vector) and method in COMPOUND.values() and self.chance(0.25):
            scalar = self.expression(kind, depth)
            pair = (a, scalar) if self.chance(0.5) else (scalar, a)
            if all(operand.constant for operand in pair):
                pair = (a, self.runtime(kind)) if pair[0] is a else (self.runtime(kind), a)
            texts = [f"splat({one.python}, {ty.size})" if isinstance(one.type, str) else one.python for one in pair]
            if method not in ("both", "either", "differ"):
                return Expression(
                    wgsl.format(*[one.wgsl for one in pair]), f"each({kind}.{method}, {', '.join(texts)})", ty
                )
        return self.apply(wgsl, f"{kind}.{method}", ty, a, b)

    def division(self, wgsl, method, ty, kind, a, b):
        """By anything, zero included, which may not stand there as a constant."""
        if b.constant or b.partly:
            b = self.literal(ty, nonzero=True)
        if not self.options.portable:
            return self.apply(wgsl, f"{kind}.{method}", ty, a, b)
        # Neither zero nor negative numbers.
        one = self.filled(ty, 1)
        if kind == "u32":
            return self.apply(wgsl, f"u32.{method}", ty, a, self.apply("({0} | {1})", "u32.either", ty, b, one))
        positive = self.filled(ty, 0x7FFF)
        a, b = (self.apply("({0} & {1})", "i32.both", ty, x, positive) for x in (a, b))
        return self.apply(wgsl, f"i32.{method}", ty, a, self.apply("({0} | {1})", "i32.either", ty, b, one))

    def filled(self, ty, number):
        """A constant, the same in all components."""
        kind = kind_of(ty)
        if isinstance(ty, str):
            return Expression(f"{number}{kind[0]}", f"({number})", ty, constant=True)
        return Expression(f"{ty}({number}{kind[0]})", f"splat({number}, {ty.size})", ty, constant=True)

    def integer_unary(self, ty, kind, depth):
        table = INTEGER_UNARY | (SIGNED_UNARY if kind == "i32" else {})
        wgsl, method = self.pick(table.items())
        return self.apply(wgsl, f"{kind}.{method}", ty, self.expression(ty, depth))

    def shift(self, ty, kind, depth):
        by = self.expression(shaped("u32", ty), depth)
        if by.constant:
            by = self.literal(shaped("u32", ty), below=32)
        elif self.options.portable or by.partly or self.chance(0.3):
            by = self.apply("({0} & {1})", "u32.both", by.type, by, self.filled(by.type, 31))
        wgsl, method = self.pick([("({0} << {1})", "left"), ("({0} >> {1})", "right")])
        return self.apply(wgsl, f"{kind}.{method}", ty, self.expression(ty, depth), by)

    def choice(self, ty, kind, depth):
        """`select`, by one condition or by one for each component."""
        operands = [self.expression(ty, depth), self.expression(ty, depth)]
        vector = isinstance(ty, Vector) and self.chance(0.6)
        operands.append(self.expression(Vector("bool", ty.size) if vector else "bool", depth))
        measures = {"magnitude": max(one.magnitude for one in operands), "grain": max(one.grain for one in operands)}
        python = "select_each({0}, {1}, {2})" if vector else "select({0}, {1}, {2})"
        return self.apply("select({0}, {1}, {2})", python, ty, *operands, **measures)

    def converted(self, ty, kind, depth):
        """From another kind: by value, or by bits."""
        others = [other for other in ("u32", "i32", "bool", "f32") if other != kind and other in self.kinds]
        other = self.pick(others)
        source = self.expression(shaped(other, ty), depth)
        if other == "f32":
            if source.magnitude > 30:
                source = self.fit(source)
            if self.options.portable:
                source = self.apply("abs({0})", "floats.absolute", source.type, source)
            return self.apply(f"{ty}({{0}})", f"{kind}.from_float", ty, source)
        if other == "bool":
            return self.apply(f"{ty}({{0}})", "int", ty, source)
        wgsl = self.pick([f"{ty}({{0}})", f"bitcast<{ty}>({{0}})"])
        return self.apply(wgsl, f"{kind}.wrap", ty, source)

    def bits(self, ty, kind, depth):
        """Fields of bits, anywhere."""
        offset, count = (self.runtime_number(depth, 40) for _ in range(2))
        a = self.expression(ty, depth)
        python = f"{kind}.extract_bits" if isinstance(ty, str) else None
        if self.chance(0.5):
            python = python or f"tuple({kind}.extract_bits(a, {{1}}, {{2}}) for a in {{0}})"
            return self.apply("extractBits({0}, {1}, {2})", python, ty, a, offset, count)
        new = self.expression(ty, depth)
        python = (
            f"{kind}.insert_bits"
            if isinstance(ty, str)
            else (f"tuple({kind}.insert_bits(a, b, {{2}}, {{3}}) for a, b in zip({{0}}, {{1}}))")
        )
        return self.apply("insertBits({0}, {1}, {2}, {3})", python, ty, a, new, offset, count)

    def runtime_number(self, depth, below):
        """A u32 below something small, and no constant."""
        if self.options.portable:
            below = 16
        return self.apply(f"({{0}} % {below}u)", f"({{0}} % {below})", "u32", self.expression("u32", min(depth, 1)))

    def bounded(self, ty, kind, depth):
        """`clamp` between constants."""
        low, high = sorted(self.random.randint(0 if kind == "u32" else -1000, 1000) for _ in range(2))
        a = self.expression(ty, depth)
        ends = [self.filled(ty, number) for number in (low, high)]
        return self.apply("clamp({0}, {1}, {2})", f"{kind}.clamp", ty, a, *ends)

    def integer_scalar(self, ty, kind, depth):
        """What makes one number of several."""
        if self.chance(0.4):
            vector = Vector(kind, self.pick((2, 3, 4)))
            a, b = self.expression(vector, depth), self.expression(vector, depth)
            return self.apply("dot({0}, {1})", f"{kind}.dot({{0}}, {{1}})", ty, a, b)
        a, b = self.expression("u32", depth), self.expression("u32", depth)
        if kind == "i32":
            return self.apply("dot4I8Packed({0}, {1})", "dot_of_pieces({0}, {1}, True)", ty, a, b)
        signed = self.chance(0.5)
        letter = "I" if signed else "U"
        four = self.expression(Vector("i32" if signed else "u32", 4), depth)
        maker = self.random.randrange(3)
        if maker == 0:
            return self.apply("dot4U8Packed({0}, {1})", "dot_of_pieces({0}, {1})", ty, a, b)
        if maker == 1:
            return self.apply(f"pack4x{letter}8({{0}})", "from_pieces({0})", ty, four)
        return self.apply(f"pack4x{letter}8Clamp({{0}})", f"from_clamped_pieces({{0}}, {signed})", ty, four)

    def component(self, ty, kind, depth):
        """Of a vector."""
        size = self.pick((2, 3, 4))
        vector = self.expression(Vector(kind, size), depth)
        if vector.constant:
            vector = self.runtime(vector.type)
        at = self.index(size)
        wgsl = f"{vector.wgsl}[{at.wgsl}]"
        if at.constant:
            wgsl = f"{vector.wgsl}.{'xyzw'[int(at.python[1:-1])]}"
        python = f"{vector.python}[{at.python}]"
        return Expression(wgsl, python, ty, False, vector.magnitude, vector.grain)

    def built(self, ty, kind, depth):
        """A vector of its components, of shorter vectors, of one number, or of another's components."""
        way = self.random.randrange(4)
        if way == 0:
            return self.construct(ty, [self.expression(kind, depth) for _ in range(ty.size)])
        if way == 1:
            one = self.expression(kind, depth)
            python = f"splat({one.python}, {ty.size})"
            return replace(one, wgsl=f"{ty}({one.wgsl})", python=python, type=ty)
        if way == 2 and ty.size > 2:
            head, last = self.expression(Vector(kind, ty.size - 1), depth), self.expression(kind, depth)
            python = f"(*{head.python}, {last.python})"
            whole = self.construct(ty, [head, last])
            return replace(whole, python=python)
        if kind in INTEGERS and ty.size == 4 and self.chance(0.4):
            word = self.expression("u32", depth)
            signed = kind == "i32"
            return self.apply(f"unpack4x{'I' if signed else 'U'}8({{0}})", f"pieces({{0}}, {signed})", ty, word)
        source = self.expression(Vector(kind, self.pick((2, 3, 4))), depth)
        if source.constant:
            source = self.runtime(source.type)
        places = [self.random.randrange(source.type.size) for _ in range(ty.size)]
        letters = self.pick(("xyzw", "rgba"))
        wgsl = f"{source.wgsl}.{''.join(letters[i] for i in places)}"
        python = f"tuple(map({source.python}.__getitem__, {tuple(places)}))"
        return replace(source, wgsl=wgsl, python=python, type=ty)

    # Floats

    def float(self, ty, depth):
        exact = self.options.floats == "exact"
        makers = [self.float_binary] * 5 + [self.float_unary] * 3 + [self.choice, self.to_float, self.float_bounded]
        makers += [self.float_ternary] if exact else [self.float_quotient] * 2
        if isinstance(ty, str):
            makers += [self.component] + ([self.float_dot] if exact else [])
        else:
            makers += [self.built, self.built] + ([self.product] if exact else [])
        return self.pick(makers)(ty, "f32", depth)

    def float_binary(self, ty, kind, depth):
        wgsl, (method, measure) = self.pick(FLOAT_BINARY.items())
        return self.floating(wgsl, method, measure, ty, self.expression(ty, depth), self.expression(ty, depth))

    def float_unary(self, ty, kind, depth):
        wgsl, (method, measure) = self.pick(FLOAT_UNARY.items())
        return self.floating(wgsl, method, measure, ty, self.expression(ty, depth))

    def float_ternary(self, ty, kind, depth):
        wgsl, (method, measure) = self.pick(FLOAT_TERNARY.items())
        return self.floating(wgsl, method, measure, ty, *[self.expression(ty, depth) for _ in range(3)])

    def float_quotient(self, ty, kind, depth):
        """By numbers from 1/2 to 1001."""
        a, b = self.fitted(ty, depth), self.fitted(ty, depth)
        half = Expression(f"{ty}(0.5)", "0.5" if isinstance(ty, str) else f"splat(0.5, {ty.size})", ty, constant=True)
        b = self.apply("(abs({0}) + {1})", "above", ty, b, half)
        return self.apply("({0} / {1})", "floats.divide", ty, a, b, magnitude=a.magnitude + 1, grain=a.grain + 11 + 24)

    def float_bounded(self, ty, kind, depth):
        low, high = sorted(self.random.randint(-40, 40) for _ in range(2))
        ends = []
        for number in (low, high):
            wgsl = f"{float(number)}f" if isinstance(ty, str) else f"{ty}({float(number)}f)"
            python = f"({float(number)})" if isinstance(ty, str) else f"splat({float(number)}, {ty.size})"
            ends.append(Expression(wgsl, python, ty, constant=True))
        a = self.expression(ty, depth)
        return self.apply(
            "clamp({0}, {1}, {2})", "floats.clamp", ty, a, *ends, magnitude=max(6, a.magnitude), grain=a.grain
        )

    def to_float(self, ty, kind, depth):
        """From integers of eight bits, which products leave exact; or from any, which may round."""
        other = self.pick((*INTEGERS, "bool"))
        source = self.expression(shaped(other, ty), depth)
        if other == "bool":
            return self.apply(f"{ty}({{0}})", "float", ty, source)
        if self.options.floats == "rounded" and self.chance(0.5):
            return self.apply(f"{ty}({{0}})", "floats.from_integer", ty, source, magnitude=32)
        byte = self.filled(source.type, 255)
        source = self.apply("({0} & {1})", f"{other}.both", source.type, source, byte)
        return self.apply(f"{ty}({{0}})", "float", ty, source, magnitude=8)

    def float_dot(self, ty, kind, depth):
        vector = Vector("f32", self.pick((2, 3, 4)))
        a, b = self.fitted(vector, depth), self.fitted(vector, depth)
        measures = {"magnitude": a.magnitude + b.magnitude + 2, "grain": a.grain + b.grain}
        return self.apply("dot({0}, {1})", "floats.dot({0}, {1})", ty, a, b, **measures)

    def product(self, ty, kind, depth):
        """A matrix by a vector, or a vector by a matrix."""
        other = self.pick((2, 3, 4))
        vector = self.fitted(Vector("f32", other), depth)
        left = self.chance(0.5)
        matrix = self.fitted(Matrix(other, ty.size) if left else Matrix(ty.size, other), 0)
        measures = {"magnitude": matrix.magnitude + vector.magnitude + 2, "grain": matrix.grain + vector.grain}
        if left:
            return self.apply("({0} * {1})", "floats.transform({0}, {1})", ty, matrix, vector, **measures)
        python = "tuple(floats.dot(column, {0}) for column in {1})"
        return self.apply("({0} * {1})", python, ty, vector, matrix, **measures)

    def matrix(self, ty, depth):
        """Each operation is exact for two matrices as variables hold them."""
        way = self.random.randrange(5)
        if way == 0:
            other = self.fitted(Matrix(ty.rows, ty.columns), 0)
            return self.apply(
                "transpose({0})", "tuple(zip(*{0}))", ty, other, magnitude=other.magnitude, grain=other.grain
            )
        a = self.fitted(ty, depth - 1)
        if way == 1:
            b = self.fitted(ty, depth - 1)
            sign, method = self.pick([("+", "add"), ("-", "subtract")])
            python = f"tuple(each(floats.{method}, a, b) for a, b in zip({{0}}, {{1}}))"
            return self.apply(f"({{0}} {sign} {{1}})", python, ty, a, b, magnitude=a.magnitude + 1, grain=a.grain)
        if way == 2:
            b = self.fitted("f32", depth)
            python = f"tuple(each(floats.multiply, a, splat({{1}}, {ty.rows})) for a in {{0}})"
            measures = {"magnitude": a.magnitude + b.magnitude, "grain": a.grain + b.grain}
            return self.apply("({0} * {1})", python, ty, a, b, **measures)
        if way == 3:
            inner = self.pick((2, 3, 4))
            a, b = self.fitted(Matrix(inner, ty.rows), 0), self.fitted(Matrix(ty.columns, inner), 0)
            measures = {"magnitude": a.magnitude + b.magnitude + 2, "grain": a.grain + b.grain}
            python = "tuple(floats.transform({0}, column) for column in {1})"
            return self.apply("({0} * {1})", python, ty, a, b, **measures)
        return self.construct(ty, [self.fitted(Vector("f32", ty.rows), depth) for _ in range(ty.columns)])

    def composite(self, ty, depth):
        if isinstance(ty, Struct):
            return self.construct(ty, [self.fitted(part, depth) for _, part in ty.fields])
        _, count, part = parts_of(ty)[0]
        return self.construct(ty, [self.fitted(part, depth) for _ in range(count)])

    # Truth

    def bool(self, ty, depth):
        kinds = [kind for kind in ("u32", "i32", "f32") if kind in self.kinds]
        way = self.random.randrange(10)
        if way < 6:
            source = shaped(self.pick(kinds), ty)
            sign = self.pick(COMPARE)
            a, b = self.expression(source, depth), self.expression(source, depth)
            return self.apply(f"({{0}} {sign} {{1}})", f"operator.{COMPARE[sign]}", ty, a, b)
        if way == 6:
            return self.apply("(!{0})", "operator.not_", ty, self.expression(ty, depth))
        if way == 7 and isinstance(ty, str):
            vector = self.expression(Vector("bool", self.pick((2, 3, 4))), depth)
            function = self.pick(("all", "any"))
            return self.apply(f"{function}({{0}})", f"{function}({{0}})", ty, vector)
        if isinstance(ty, Vector) and way == 7:
            return self.built(ty, "bool", depth)
        a, b = self.expression(ty, depth), self.expression(ty, depth)
        if isinstance(ty, str) and self.chance(0.7):
            sign, word = self.pick([("&&", "and"), ("||", "or")])
            return self.apply(f"({{0}} {sign} {{1}})", f"({{0}} {word} {{1}})", ty, a, b)
        ways = [("==", "eq"), ("!=", "ne")]
        if not self.options.portable:  # GLSL has no & and | of vectors of bools, and naga writes them.
            ways += [("&", "and_"), ("|", "or_")]
        sign, function = self.pick(ways)
        return self.apply(f"({{0}} {sign} {{1}})", f"operator.{function}", ty, a, b)

    # Calls

    def call_pure(self, ty):
        """A function of values alone. It may be called anywhere."""
        pure = [
            f for f in self.functions if f.result == ty and not f.touches and self.is_pure(f) and self.affordable(f)
        ]
        return self.call(self.pick(pure)) if pure else None

    @staticmethod
    def is_pure(function):
        return all(way == "value" for _, way in function.parameters) and "collective" not in function.touches

    def affordable(self, function):
        return self.work + self.weight * function.work <= self.budget

    def call(self, function):
        """A call, or None where there is nothing to point to."""
        wgsl, python, taken = [], [], set()
        for ty, way in function.parameters:
            if way == "value":
                given = self.fitted(ty, 1)
                wgsl.append(given.wgsl)
                python.append(given.python)
                continue
            choices = [v for v in self.scope if v.pointer and v.type == ty and v.space == way and v.name not in taken]
            choices = [v for v in choices if v.name not in function.touches and v.writable]
            if not choices:
                return None
            chosen = self.pick(choices)
            taken.add(chosen.name)
            if chosen.space == "private":
                self.touched.add(chosen.name)
            wgsl.append(chosen.pointer)
            python.append(f"({chosen.parent}, {chosen.index})")
        self.work += self.weight * function.work
        self.touched |= function.touches
        texts = f"{function.name}({', '.join(wgsl)})", f"{function.name}({', '.join(python)})"
        return self.leaf_expression(*texts, function.result)

    # Statements

    def emit(self, *parts, fixed=False):
        self.block.nodes.append(Node(list(parts), fixed))
        self.work += self.weight

    @contextlib.contextmanager
    def inside(self, weight=1, deeper=0, **changes):
        """A block of its own: what is declared there is gone behind it, and settings are as before."""
        before = {name: getattr(self, name) for name in ("block", "weight", "nesting", *changes)}
        count = len(self.scope)
        self.block, self.weight, self.nesting = Block(deeper=deeper), self.weight * weight, self.nesting + 1
        for name, value in changes.items():
            setattr(self, name, value)
        yield self.block
        del self.scope[count:]
        for name, value in before.items():
            setattr(self, name, value)

    @contextlib.contextmanager
    def uniformly(self, uniform=True):
        """Expressions that are the same for the workgroup."""
        before, self.only_uniform = self.only_uniform, uniform
        yield
        self.only_uniform = before

    def statements(self, count):
        """So many, and then what was declared among them has its effect on the total."""
        before = len(self.scope)
        ended = False
        for _ in range(4 * count):
            if len(self.block.nodes) >= count or ended:
                break
            ended = self.statement() == "end"
        declared = [v for v in self.scope[before:] if len(leaves(v.type)) <= 8]
        for variable in self.random.sample(declared, min(len(declared), self.random.randint(0, 2))):
            wgsl, python = self.word_of(variable, "total", "total[0]")
            self.emit((f"total = {wgsl};", f"total[0] = {python} & 0xffffffff"))
            if ended:
                self.block.nodes.insert(-1, self.block.nodes.pop())

    def statement(self):
        room = self.work + self.weight < self.budget
        makers = [(6, self.let), (6, self.var), (9, self.assign), (5, self.compound), (3, self.write)]
        if self.nesting < 4 and room:
            makers += [
                (5, self.branch),
                (3, self.choose),
                (3, self.switch),
                (4, self.count),
                (2, self.repeat),
                (2, self.loop),
            ]
            makers += [(1, self.scoped)]
        if room:
            makers += [(3, self.call_impure)]
        if self.breakable or self.continuable:
            makers += [(4, self.jump)]
        if self.returns and self.nesting > 1:
            makers += [(2, self.leave)]
        if self.main:
            makers += [(2, self.tally), (1, self.ticket)]
        makers += [(2, self.point)]
        if self.main or self.collective:
            makers += [(3, self.own_atomic), (3, self.collect), (3, self.write_shared)]
        if self.uniform and self.collective and room:
            makers += [(5, self.barrier), (2, self.uniform_load), (3, self.call_collective)]
        weights, choices = zip(*makers, strict=True)
        return self.random.choices(choices, weights)[0]()

    def declare(self, prefix, ty, **more):
        variable = Variable(self.name(prefix), ty, **more)
        self.scope.append(variable)
        return variable

    def let(self):
        ty = self.any_type()
        uniform = self.uniform and self.chance(0.3)
        with self.uniformly(uniform or self.only_uniform):
            value = self.fitted(ty)
        if value.constant and not isinstance(ty, str):
            value = self.runtime(ty)  # naga fails on `let v = vec2(1u, 2u);` and `v[0u]` beside an `override`.
        name = self.name("c")
        annotation = f": {ty}" if self.chance(0.2) else ""
        self.emit((f"let {name}{annotation} = {value.wgsl};", f"{name} = {value.python}"))
        self.scope.append(Variable(name, ty, value=name, uniform=uniform))

    def var(self):
        """With a value, or zero each time."""
        ty = self.any_type()
        name = self.name("v")
        if self.chance(0.15):
            self.emit((f"var {name}: {ty};", f"{name} = [{thawed_zero(ty)}]"))
        else:
            value = self.fitted(ty)
            thaw = "{0}" if isinstance(ty, str) else "thawed({0})"
            self.emit((f"var {name} = {value.wgsl};", f"{name} = [{thaw.format(value.python)}]"))
        self.scope.append(Variable(name, ty, parent=name, writable=True, pointer=f"&{name}"))

    def place(self, ty, ways=paths):
        """Something to write to: WGSL, the memory in Python, and the index there."""
        variables = [v for v in self.scope if v.writable and ways(v.type, ty)]
        if self.main or self.collective:
            owned = [one for one in self.shared if one.mode[0] == "own" and not one.atomic and ways(one.element, ty)]
            variables += [self.element(one) for one in owned]
        if not variables:
            return None
        variable = self.pick(variables)
        if variable.space == "private":
            self.touched.add(variable.name)
        wgsl, _, parent, index = self.follow(variable, self.pick(ways(variable.type, ty)))
        return wgsl, parent, index

    def assign(self):
        ty = self.any_type()
        found = self.place(ty)
        if not found:
            return
        wgsl, parent, index = found
        value = self.fitted(ty)
        python = f"{parent}[{index}] = {value.python}"
        if not isinstance(ty, str):
            python = f"store({parent}, {index}, {value.python})"
        self.emit((f"{wgsl} = {value.wgsl};", python))

    def compound(self):
        """`+=` and the like, `++` and `--`."""
        ty = self.pick(["u32", "i32", *[v for v in self.vectors if v.kind in INTEGERS]])
        found = self.place(ty)
        if not found:
            return
        wgsl, parent, index = found
        kind = kind_of(ty)
        if isinstance(ty, str) and self.chance(0.3):
            sign, method = self.pick([("++", "add"), ("--", "subtract")])
            self.emit((f"{wgsl}{sign};", f"{parent}[{index}] = {kind}.{method}({parent}[{index}], 1)"))
            return
        sign, method = self.pick(COMPOUND.items())
        value = self.expression(ty)
        if isinstance(ty, str):
            python = f"{parent}[{index}] = {kind}.{method}({parent}[{index}], {value.python})"
        else:
            python = f"store({parent}, {index}, each({kind}.{method}, frozen({parent}[{index}]), {value.python}))"
        self.emit((f"{wgsl} {sign}= {value.wgsl};", python))

    def words(self, expression):
        """An expression of a scalar as a u32."""
        if expression.type == "f32":
            self.needs.add(("word",))
            return Expression(f"word({expression.wgsl})", f"floats.bits({expression.python})", "u32")
        if expression.type == "i32":
            return Expression(f"bitcast<u32>({expression.wgsl})", f"({expression.python} & 0xffffffff)", "u32")
        if expression.type == "bool":
            return Expression(f"u32({expression.wgsl})", f"int({expression.python})", "u32")
        return expression

    def next_slot(self):
        self.slots += 1
        return self.slots - 1

    def write(self):
        """A value among the results."""
        if not self.main:
            return
        word = self.words(self.expression(self.pick(self.kinds)))
        at = self.next_slot()
        self.emit((f"results[base + {at}u] = {word.wgsl};", f"results[0][base + {at}] = {word.python}"))

    def word_of(self, variable, wgsl, python):
        """All of a variable in one word, after what is there before."""
        for path, scalar in leaves(variable.type):
            text = variable.name + "".join(step for step, _ in path)
            twin = variable.python + "".join(f"[{at}]" for _, at in path)
            word = self.words(Expression(text, twin, scalar))
            wgsl, python = f"({wgsl} * 31u + {word.wgsl})", f"({python} * 31 + {word.python})"
        return wgsl, python

    def dump(self, variable):
        """All of a variable in one word."""
        wgsl, python = self.word_of(variable, "0u", "0")
        at = self.next_slot()
        self.emit((f"results[base + {at}u] = {wgsl};", f"results[0][base + {at}] = {python} & 0xffffffff"))

    # Control flow

    def condition(self):
        """Whether it is uniform, and what it is."""
        uniform = self.uniform and self.chance(0.4)
        with self.uniformly(uniform or self.only_uniform):
            return uniform, self.expression("bool", 2)

    def body(self, count, **changes):
        """A block of random statements."""
        modes = self.modes()
        with self.inside(**changes) as block:
            self.statements(count)
            if self.uniform and self.collective:
                self.restore(modes)
        return block

    def few(self):
        return self.pick((1, 1, 2, 3, 4))

    def branch(self):
        uniform, condition = self.condition()
        uniform = uniform and self.uniform
        parts = [(f"if ({condition.wgsl}) {{", f"if {condition.python}:"), self.body(self.few(), uniform=uniform)]
        if self.chance(0.25):
            with self.uniformly(uniform or self.only_uniform):
                other = self.expression("bool", 2)
            parts += [(f"}} else if ({other.wgsl}) {{", f"elif {other.python}:")]
            parts += [self.body(self.few(), uniform=uniform)]
        if self.chance(0.5):
            parts += [("} else {", "else:"), self.body(self.few(), uniform=uniform)]
        self.emit(*parts, ("}", None))

    def choose(self):
        """Ways of little arithmetic on one variable, some inside others: what becomes a selection without a jump."""
        kind, name = self.pick(INTEGERS), self.name("v")
        first = self.expression(kind, 1)
        self.emit((f"var {name} = {first.wgsl};", f"{name} = [{first.python}]"))
        self.scope.append(Variable(name, kind, parent=name, writable=True, pointer=f"&{name}"))

        def change():
            value = self.expression(kind, 1)
            self.emit((f"{name} = {value.wgsl};", f"{name}[0] = {value.python}"))

        def way(depth):
            with self.inside(uniform=False) as block:
                change()
                if depth and self.chance(0.6):
                    ways(depth - 1)
                if self.chance(0.3):
                    change()
            return block

        def ways(depth):
            condition = self.expression("bool", 1)
            parts = [(f"if ({condition.wgsl}) {{", f"if {condition.python}:"), way(depth)]
            if self.chance(0.4):
                parts += [("} else {", "else:"), way(depth)]
            self.emit(*parts, ("}", None))

        ways(2)

    def scoped(self):
        self.emit(("{", "if True:"), self.body(self.few()), ("}", None))

    def switch(self):
        uniform = self.uniform and self.chance(0.4)
        kind = self.pick(INTEGERS)
        with self.uniformly(uniform or self.only_uniform):
            selector = self.expression(kind, 2)
        span = self.random.randint(2, 6)
        if self.chance(0.8):
            wgsl = f"({{0}} & {(1 << span.bit_length()) - 1}{kind[0]})"
            selector = self.apply(wgsl, wgsl.replace(f"{kind[0]})", ")"), kind, selector)
        labels = list(range(-1 if kind == "i32" else 0, span))
        self.random.shuffle(labels)
        chosen, flag = self.name("s"), self.name("g")
        cases = []
        while labels:
            count = self.random.randint(1, min(3, len(labels)))
            cases.append([labels.pop() for _ in range(count)])
        cases = cases[: self.random.randint(1, 4)]
        default = self.random.randrange(len(cases) + 1)
        parts = [(f"switch ({selector.wgsl}) {{", f"{flag} = False\n{chosen} = {selector.python}\nfor _ in ONCE:")]
        state = {"uniform": uniform and self.uniform, "breakable": not (uniform and self.uniform), "deeper": 1}
        state["switches"] = [*self.switches, flag]
        bodies = []
        for i, case in enumerate([*cases, None]):
            shares = i < len(cases) and i == default and self.chance(0.4)
            if case is None and any(share for *_, share in bodies):
                continue
            bodies.append((case, self.body(self.few(), **state), shares))
        order = [entry for entry in bodies if entry[0] is not None and not entry[2]]
        python = []
        for word, (case, block, _) in zip(itertools.chain(["if"], itertools.repeat("elif")), order, strict=False):
            python.append((f"    {word} {chosen} in {tuple(case)}:", block, case, False))
        rest = next(entry for entry in bodies if entry[0] is None or entry[2])
        python.append(("    else:" if order else "    if True:", rest[1], rest[0], True))
        parts += self.cases(python, kind)
        after = "continue" if not self.switches else f"{self.switches[-1]} = True; break"
        tail = f"if {flag}: {after}" if self.continuable else None
        self.emit(*parts, ("}", tail))

    def cases(self, entries, kind):
        """The clauses of a switch. WGSL's default may be another's label too."""
        parts = []
        for opening, block, case, default in entries:
            labels = [f"{number}{kind[0]}" for number in case or ()]
            if default and labels:
                labels.insert(self.random.randrange(len(labels) + 1), "default")
            wgsl = f"case {', '.join(labels)}: {{" if labels else "default: {"
            parts += [(f"    {wgsl}", opening), block, ("    }", None)]
        return parts

    def trips(self):
        """How often a loop runs at most: its bound."""
        most = self.pick((1, 2, 3, 4, 5, 7))
        while most > 1 and self.weight * most > 40:
            most -= 1
        if self.chance(0.4):
            return most, Expression(f"{most}u", f"({most})", "u32", constant=True)
        return most, self.apply(f"({{0}} % {most + 1}u)", f"({{0}} % {most + 1})", "u32", self.expression("u32", 1))

    def count(self):
        """`for`."""
        uniform = self.uniform and self.chance(0.6)
        with self.uniformly(uniform or self.only_uniform):
            most, bound = self.trips()
        i, first = self.name("j"), self.name("z")
        limit = bound
        if not bound.constant:  # What is written in the loop may change what it is computed from.
            name = self.name("n")
            self.emit((f"let {name} = {bound.wgsl};", f"{name} = {bound.python}"))
            limit = Expression(name, name, "u32")
        if self.chance(0.3):
            header = f"for (var {i} = i32({limit.wgsl}) - 1i; {i} >= 0i; {i}--)"
            start, step, test, ty = f"{limit.python} - 1", f"{i}[0] -= 1", f"{i}[0] >= 0", "i32"
        else:
            stride = self.pick((1, 1, 1, 2, 3))
            update = f"{i}++" if stride == 1 else f"{i} += {stride}u"
            header = f"for (var {i} = 0u; {i} < {limit.wgsl}; {update})"
            start, step, test, ty = "0", f"{i}[0] += {stride}", f"{i}[0] < {limit.python}", "u32"
        python = f"{i} = [{start}]\n{first} = True\nwhile True:\n    if {first}: {first} = False\n    else: {step}\n"
        counter = Variable(i, ty, parent=i, uniform=uniform)
        block = self.looped(counter, uniform, most)
        self.emit((f"{header} {{", f"{python}    if not {test}: break"), block, ("}", None))

    def looped(self, counter, uniform, most):
        """The body of a loop."""
        flow = {"breakable": not uniform, "continuable": not uniform, "switches": []}
        modes = self.modes()
        with self.inside(weight=max(most, 1), uniform=uniform, **flow) as block:
            self.scope.append(counter)
            self.statements(self.few())
            if self.uniform and self.collective:
                self.restore(modes)
        return block

    def repeat(self):
        """`while`."""
        uniform = self.uniform and self.chance(0.5)
        with self.uniformly(uniform or self.only_uniform):
            most, _ = self.trips()
            condition = self.expression("bool", 2)
        n = self.name("w")
        counter = Variable(n, "u32", parent=n, uniform=uniform)
        sign = self.pick(("&&", "||"))
        limit = f"{most}u" if sign == "&&" else "2u"
        test = f"({condition.wgsl} && {n} < {limit})", f"({condition.python} and {n}[0] < {limit[:-1]})"
        if sign == "||":
            test = f"({n} < 1u || {test[0]})", f"({n}[0] < 1 or {test[1]})"
        block = self.looped(counter, uniform, most)
        opening = f"var {n} = 0u;\nwhile {test[0]} {{\n    {n} += 1u;"
        self.emit((opening, f"{n} = [0]\nwhile {test[1]}:\n    {n}[0] += 1"), block, ("}", None))

    def loop(self):
        """`loop`, whose end may stand in `continuing`."""
        uniform = self.uniform and self.chance(0.5)
        most = self.pick((1, 2, 3, 4)) if self.weight < 10 else 1
        n, first = self.name("l"), self.name("z")
        counter = Variable(n, "u32", parent=n, uniform=uniform)
        with self.uniformly(uniform or self.only_uniform):
            condition = self.expression("bool", 2)
        python = (
            f"{n} = [0]\n{first} = True\nwhile True:\n    if {first}: {first} = False\n    else:\n        {n}[0] += 1\n"
        )
        if self.chance(0.6):
            ending = f"continuing {{\n        {n} += 1u;\n        break if {n} > {most}u || {condition.wgsl};\n    }}"
            python += f"        if {n}[0] > {most} or {condition.python}: break"
            opening = "loop {"
        else:
            ending = f"continuing {{\n        {n}++;\n    }}"
            opening = f"loop {{\n    if ({n} > {most}u || {condition.wgsl}) {{ break; }}"
            python += f"    if {n}[0] > {most} or {condition.python}: break"
        block = self.looped(counter, uniform, most + 1)
        self.emit((f"var {n} = 0u;\n{opening}", python), block, (f"    {ending}\n}}", None))

    def jump(self):
        """`break` or `continue`, mostly under a condition."""
        ways = (["break"] if self.breakable else []) + (["continue"] if self.continuable else [])
        way = self.pick(ways)
        python = way
        if way == "continue" and self.switches:
            python = f"{self.switches[-1]} = True; break"
        if self.nesting > 1 and self.chance(0.15):
            self.emit((f"{way};", python))
            return "end"
        condition = self.expression("bool", 2)
        self.emit((f"if ({condition.wgsl}) {{ {way}; }}", f"if {condition.python}: {python}"))
        return None

    def start_total(self):
        """What all that is computed in a function has its effect on."""
        self.emit(("var total = 0u;", "total = [0]"), fixed=True)

    def finish(self, ty):
        """The end of a function: one of two results."""
        other, value = self.fitted(ty, 1), self.fitted(ty)
        wgsl = f"if ((total & 1u) == 1u) {{ return {other.wgsl}; }}"
        self.emit((wgsl, f"if total[0] & 1: return {other.python}"))
        if ty == "u32":
            value = self.apply("({0} ^ {1})", "u32.differ", ty, value, Expression("total", "total[0]", "u32"))
        self.emit((f"return {value.wgsl};", f"return {value.python}"), fixed=True)

    def leave(self):
        """An early return."""
        condition = self.expression("bool", 2)
        if self.returns == "void":
            at = self.next_slot()
            wgsl, python = f"results[base + {at}u] = total; return;", f"results[0][base + {at}] = total[0]; return"
        else:
            value = self.fitted(self.returns, 1)
            wgsl, python = f"return {value.wgsl};", f"return {value.python}"
        if self.chance(0.2):
            self.emit((wgsl, python))
            return "end"
        self.emit((f"if ({condition.wgsl}) {{ {wgsl} }}", f"if {condition.python}: {python}"))
        return None

    def point(self):
        """A pointer to a part of a variable."""
        ty = self.any_type()
        found = self.place(ty, addressable)
        if not found:
            return
        wgsl, parent, index = found
        name = self.name("p")
        self.emit((f"let {name} = &{wgsl};", f"{name} = ({parent}, {index})"))
        shared = any(wgsl.startswith(f"{one.name}[") for one in self.shared)
        if not shared:  # Its memory may have another mode behind the next barrier.
            space = "part"
            self.scope.append(Variable(f"(*{name})", ty, f"{name}[0]", f"{name}[1]", writable=True, space=space))

    def call_impure(self):
        functions = [f for f in self.functions if self.affordable(f) and "collective" not in f.touches]
        if not self.private_access:
            functions = [f for f in functions if not f.touches and all(way != "private" for _, way in f.parameters)]
        called = self.call(self.pick(functions)) if functions else None
        if not called:
            return
        if self.chance(0.15):
            self.emit((f"_ = {called.wgsl};", called.python))
            return
        name = self.name("r")
        wgsl, python = called.wgsl, called.python
        if called.type in INTEGERS and self.chance(0.4):
            # What stands to the left is evaluated first.
            left = self.leaf(called.type)
            wgsl, python = f"({left.wgsl} ^ {wgsl})", f"({left.python} ^ {python})"
        self.emit((f"let {name} = {wgsl};", f"{name} = {python}"))
        self.scope.append(Variable(name, called.type, value=name))

    # What invocations share

    def modes(self):
        return [one.mode for one in self.shared]

    def wait(self):
        """The barriers that all shared memory needs."""
        spaces = {one.space for one in self.shared}
        names = (["storageBarrier();"] if "storage" in spaces else []) + (
            ["workgroupBarrier();"] if spaces != {"storage"} or self.chance(0.3) else []
        )
        self.emit((" ".join(names), f"yield {next(self.names)}"), fixed=True)

    def restore(self, modes):
        if self.modes() != modes:
            self.wait()
            for one, mode in zip(self.shared, modes, strict=True):
                one.mode = mode

    def barrier(self):
        if not self.shared and self.chance(0.7):
            return
        self.wait()
        for one in self.shared:
            if self.chance(0.75):
                one.mode = self.other_mode(one)

    def other_mode(self, one):
        ways = [("own", self.pick((0, 0, -1, self.random.randint(1, 5)))), ("all",), ("all",)]
        if one.atomic:
            ways += [("collect", self.pick(("Add", "And", "Or", "Xor", "Min", "Max")))] * 2
        return self.pick(ways)

    def write_shared(self):
        """To the invocation's own slot."""
        owned = [one for one in self.shared if one.mode[0] == "own" and not one.atomic]
        if not owned:
            return
        element = self.element(self.pick(owned))
        value = self.fitted(element.type)
        python = f"{element.python} = {value.python}"
        if not isinstance(element.type, str):
            python = f"store({element.parent}, {element.index}, {value.python})"
        self.emit((f"{element.name} = {value.wgsl};", python))

    def own_atomic(self):
        """With its old value, where nobody else is."""
        owned = [one for one in self.shared if one.mode[0] == "own" and one.atomic]
        if not owned:
            return
        one = self.pick(owned)
        element = self.element(one)
        value = self.expression(one.element)
        way = self.pick(("Store", "Exchange", *ATOMIC_OPERATIONS))
        new = value.python
        if way in ATOMIC_OPERATIONS:
            new = f"{one.element}.{ATOMIC_OPERATIONS[way]}({element.python}, {new})"
        if way == "Store":
            self.emit((f"atomicStore(&{element.name}, {value.wgsl});", f"{element.python} = {new}"))
            return
        old = self.name("o")
        python = f"{old} = {element.python}\n{element.python} = {new}"
        self.emit((f"let {old} = atomic{way}(&{element.name}, {value.wgsl});", python))
        self.scope.append(Variable(old, one.element, value=old))

    def collect(self):
        """All invocations change the same, in any order."""
        collecting = [one for one in self.shared if one.mode[0] == "collect"]
        if not collecting:
            return
        one = self.pick(collecting)
        value = self.expression(one.element)
        at = self.apply(f"({{0}} % {self.lanes}u)", f"({{0}} % {self.lanes})", "u32", self.expression("u32", 1))
        wgsl, python = at.wgsl, at.python
        if one.space == "storage":
            wgsl, python = f"group * {self.lanes}u + {wgsl}", f"group * {self.lanes} + {python}"
        way = one.mode[1]
        name, method = self.name("k"), f"{one.element}.{ATOMIC_OPERATIONS[way]}"
        python = f"{name} = {python}\n{one.name}[0][{name}] = {method}({one.name}[0][{name}], {value.python})"
        self.emit((f"atomic{way}(&{one.name}[{wgsl}], {value.wgsl});", python))

    def tally(self):
        """A result that all workgroups change, each of its elements by one operation."""
        kind = self.pick(INTEGERS)
        name, operations = ("hits", HITS) if kind == "u32" else ("tallies", TALLIES)
        value = self.expression(kind)
        at = self.random.randrange(len(operations))
        method = ATOMIC_OPERATIONS[operations[at]]
        python = f"{name}[0][{at}] = {kind}.{method}({name}[0][{at}], {value.python})"
        self.emit((f"atomic{operations[at]}(&{name}[{at}], {value.wgsl});", python))

    def ticket(self):
        """Who comes first is open, but all numbers are given out: what is made of them is added up."""
        if self.tickets == TICKETS:
            return
        at, name = self.tickets, self.name("t")
        self.tickets += 1
        python = (
            f"{name} = tickets[0][{at}]\ntickets[0][{at}] += 1\nhits[0][0] = u32.add(hits[0][0], {name} * {name} ^ 5)"
        )
        wgsl = f"let {name} = atomicAdd(&tickets[{at}], 1u);\natomicAdd(&hits[0], ({name} * {name}) ^ 5u);"
        self.emit((wgsl, python))

    def uniform_load(self):
        """One invocation says something to all."""
        kind = self.pick(INTEGERS)
        value = self.expression(kind)
        who = self.runtime("u32")
        name, variable = self.name("q"), f"said_{kind}"
        self.needs.add(("said", kind))
        wgsl = f"if (lane == {who.wgsl} % {self.lanes}u) {{ {variable} = {value.wgsl}; }}\n"
        wgsl += f"let {name} = workgroupUniformLoad(&{variable});"
        python = f"if lane == {who.python} % {self.lanes}: {variable}[0] = {value.python}\n"
        python += f"yield {next(self.names)}\n{name} = {variable}[0]\nyield {next(self.names)}"
        self.emit((wgsl, python), fixed=True)
        self.scope.append(Variable(name, kind, value=name, uniform=True))

    def call_collective(self):
        functions = [f for f in self.functions if "collective" in f.touches and self.affordable(f)]
        if not functions or not self.main:
            return
        function = self.pick(functions)
        self.restore([("own", 0)] * len(self.shared))
        (ty, _), *_ = function.parameters
        value = self.fitted(ty, 1)
        name = self.name("r")
        self.work += self.weight * function.work
        texts = f"{function.name}({value.wgsl}, lane, group)", f"{function.name}({value.python}, lane, group)"
        self.emit((f"let {name} = {texts[0]};", f"{name} = yield from {texts[1]}"), fixed=True)
        self.scope.append(Variable(name, function.result, value=name))

    # The whole

    def globals(self):
        """What every function sees."""
        fields = [("u", "u32"), ("i", "i32")] + ([("f", "f32")] if self.options.floats else [])
        fields += [("v", Vector("u32", 4)), ("w", Vector("i32", 3))]
        fields += [("m", Matrix(3, self.pick((3, 4))))] if self.options.floats == "exact" else []
        self.params = Struct("Params", tuple(fields))
        self.scope.append(Variable("params", self.params, parent="params", uniform=True, space="uniform"))
        self.quick = Struct("Quick", (("a", "u32"), ("b", Vector("i32", 2))))
        self.scope.append(Variable("quick", self.quick, parent="quick", uniform=True, space="immediate"))
        self.constants = {f"K{i}": self.random.randint(1, 31) for i in range(2)}
        for name in self.constants:
            self.scope.append(Variable(name, "u32", value=name, uniform=True, space="constant"))
        numbers = [kind for kind in self.kinds if kind != "bool"]
        elements = [("data", "u32"), ("ints", "i32"), ("quads", Vector(self.pick(numbers), 4))]
        elements += [("triples", Vector(self.pick(numbers), 3)), ("items", self.item)]
        if self.options.floats:
            elements.append(("reals", "f32"))
        self.random.shuffle(elements)
        self.buffers = [Variable(name, ty, parent=name) for name, ty in elements[: self.random.randint(2, 3)]]

    def private_variables(self):
        """Each with its value at first, in both languages."""
        self.firsts = {}
        for _ in range(self.random.randint(1, 3)):
            ty, name = self.any_type(), self.name("private_")
            self.privates.append(Variable(name, ty, name, writable=True, pointer=f"&{name}", space="private"))
            plain = ty if kind_of(ty) not in (None, "bool") or ty == "bool" else None
            value = self.literal(ty) if plain and self.chance(0.6) else None
            self.firsts[name] = value

    def shared_variables(self):
        if not self.options.barriers:
            return
        numbers = [*self.kinds, *self.vectors, self.item, *self.arrays[:1]]
        for _ in range(self.random.randint(0, 3)):
            atomic = self.chance(0.4)
            element = self.pick(INTEGERS) if atomic else self.pick(numbers)
            one = Shared(self.name("shared_"), element, atomic, "workgroup")
            one.mode = self.pick((("own", 0), ("all",)))
            self.shared.append(one)
        if self.chance(0.3):
            atomic = self.chance(0.5)
            one = Shared("scratch", self.pick(INTEGERS), atomic, "storage")
            self.shared.append(one)

    def function(self, pure):
        """A function of values, or one that changes what it has pointers to, and private variables."""
        parameters = [(self.any_type(), "value") for _ in range(self.random.randint(1, 3))]
        if not pure:
            spaces = self.pick((["function"], ["function", "function"], ["private"], []))
            types = {"private": [v.type for v in self.privates], "function": [self.any_type() for _ in range(2)]}
            parameters += [(self.pick(types[space]), space) for space in spaces if types[space]]
        function = Function(self.name("h"), parameters, self.any_type(), 0)
        work, budget, slots = self.work, self.budget, self.slots
        self.work, self.budget, self.touched = 0, max(30, budget // 8), set()
        names, twins = [], []
        before = list(self.scope)
        pointed = any(way == "private" for _, way in parameters)
        self.private_access = not pure and not pointed
        if self.private_access:
            self.scope += self.privates
        for ty, way in parameters:
            name = self.name("a")
            twins.append(name)
            if way == "value":
                names.append(f"{name}: {ty}")
                self.scope.append(Variable(name, ty, value=name))
            else:
                names.append(f"{name}: ptr<{way}, {ty}>")
                pointed_at = Variable(
                    f"(*{name})", ty, f"{name}[0]", f"{name}[1]", writable=True, pointer=name, space=way
                )
                self.scope.append(pointed_at)
        # Nobody but the pointer reaches what it points to.
        with self.inside(returns=function.result, main=False) as block:
            self.start_total()
            self.statements(self.random.randint(2, 6))
            self.finish(function.result)
        function.work, function.touches = self.work, frozenset(self.touched & {v.name for v in self.privates})
        if pointed:
            function.touches |= {"private pointer"}
        self.work, self.budget, self.slots, self.scope = work, budget, slots, before
        self.private_access = False
        self.functions.append(function)
        opening = f"fn {function.name}({', '.join(names)}) -> {function.result} {{"
        return Node([(opening, f"def {function.name}({', '.join(twins)}):"), block, ("}", None)])

    def collective_function(self):
        """One with barriers, which all invocations of a workgroup call together."""
        ty, result = self.any_type(), self.any_type()
        name, given = self.name("g"), self.name("a")
        work, budget = self.work, self.budget
        self.work, self.budget = 0, max(30, budget // 6)
        before, modes = list(self.scope), self.modes()
        home = [("own", 0)] * len(self.shared)
        for one in self.shared:
            one.mode = ("own", 0)
        self.scope += [Variable(given, ty, value=given), Variable("lane", "u32", value="lane")]
        with self.inside(uniform=True, collective=True, main=False) as block:
            self.start_total()
            self.statements(self.random.randint(3, 6))
            self.restore(home)
            self.finish(result)
            self.emit((None, "yield"), fixed=True)
        for one, mode in zip(self.shared, modes, strict=True):
            one.mode = mode
        self.functions.append(Function(name, [(ty, "value")], result, self.work, frozenset({"collective"})))
        self.work, self.budget, self.scope = work, budget, before
        opening = f"fn {name}({given}: {ty}, lane: u32, group: u32) -> {result} {{"
        return Node([(opening, f"def {name}({given}, lane, group):"), block, ("}", None)])

    def entry(self):
        """The entry point: first what has barriers, then what may return."""
        self.scope += self.privates
        for name, ty, uniform in BUILTINS:
            self.scope.append(Variable(name, ty, value=name, uniform=uniform))
        self.scope += [Variable(name, "u32", value=name) for name in ("flat",)]
        self.scope.append(Variable("group", "u32", value="group", uniform=True))
        state = Variable("states[flat]", self.item, "states[0]", "flat", writable=True, space="storage")
        self.scope.append(state)
        self.main, self.private_access, self.touched = True, True, set()
        with self.inside() as block:
            self.guard()
            self.start_total()
            self.scope.append(Variable("total", "u32", parent="total"))
            if self.options.barriers and self.chance(0.8):
                self.uniform = self.collective = True
                self.statements(self.options.size // 2)
                self.uniform = self.collective = False
            self.returns = "void"
            self.statements(self.options.size // 2)
            self.returns = None
            for variable in self.scope:
                if variable.space in ("function", "private", "part") and (variable.parent or variable.value):
                    self.dump(variable)
        self.main = False
        return Node([("", None), block])

    def guard(self):
        """Where there are no barriers, invocations may leave at once."""
        if not self.options.barriers and self.chance(0.5):
            count = self.random.randint(1, self.lanes * math.prod(self.groups))
            self.emit((f"if (flat >= {count}u) {{ return; }}", f"if flat >= {count}: return"))

    def program(self, seed):
        self.globals()
        self.private_variables()
        functions = Block()
        for _ in range(self.random.randint(0, 3)):
            functions.nodes.append(self.function(pure=True))
        for _ in range(self.random.randint(0, 2)):
            functions.nodes.append(self.function(pure=False))
        self.shared_variables()
        if self.shared and self.chance(0.5):
            functions.nodes.append(self.collective_function())
        entry = self.entry()
        return Program(seed, self.options, self, functions, entry, self.inputs(seed))

    # What is given

    def inputs(self, seed):
        values = random.Random(f"inputs {seed}")
        count = math.prod(self.groups) * self.lanes
        given = {"params": self.value(self.params, values), "quick": self.value(self.quick, values)}
        for buffer in self.buffers:
            length = values.randint(1, 40)
            given[buffer.name] = tuple(self.value(buffer.type, values) for _ in range(length))
        given["states"] = tuple(self.value(self.item, values) for _ in range(count))
        given["hits"] = tuple(self.value("u32", values) for _ in HITS)
        given["tallies"] = tuple(self.value("i32", values) for _ in TALLIES)
        given["tickets"] = (0,) * TICKETS
        for one in self.shared:
            if one.space == "storage":
                given[one.name] = tuple(self.value(one.element, values) for _ in range(count))
        return given

    def value(self, ty, values):
        """A random value of a type."""
        if isinstance(ty, Struct):
            return tuple(self.value(part, values) for _, part in ty.fields)
        if not isinstance(ty, str):
            _, count, part = parts_of(ty)[0]
            return tuple(self.value(part, values) for _ in range(count))
        if ty == "f32":
            if self.options.floats == "exact":
                return values.randint(-256, 256) / 4
            return meaning.f32(values.uniform(0.001, 900) * values.choice((1, -1)))
        edges = [0, 1, 2, 31, 32, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 7]
        number = values.choice([values.choice(edges), values.randrange(100), values.getrandbits(32)])
        return meaning.INTEGERS[ty].wrap(number)


HITS = ("Add", "Sub", "And", "Or", "Xor", "Min", "Max", "Add")
TALLIES = ("Min", "Max", "Add", "Xor")
TICKETS = 3
BUILTINS = [
    ("ids", Vector("u32", 3), False),
    ("local", Vector("u32", 3), False),
    ("group_id", Vector("u32", 3), True),
    ("groups", Vector("u32", 3), True),
    ("lane", "u32", False),
]
BUILTIN_NAMES = {
    "ids": "global_invocation_id",
    "local": "local_invocation_id",
    "group_id": "workgroup_id",
    "groups": "num_workgroups",
    "lane": "local_invocation_index",
}


def thawed_zero(ty):
    """Python's text for memory of zeros."""
    if isinstance(ty, str):
        return {"bool": "False", "f32": "0.0"}.get(ty, "0")
    if isinstance(ty, Struct):
        return f"[{', '.join(thawed_zero(part) for _, part in ty.fields)}]"
    _, count, part = parts_of(ty)[0]
    return f"[{', '.join([thawed_zero(part)] * count)}]"


@dataclass
class Program:
    """A kernel, what it is given, and what it does."""

    seed: int
    options: Options
    generator: Generator
    functions: Block
    entry: Node
    inputs: dict

    @property
    def invocations(self):
        return math.prod(self.generator.groups) * self.generator.lanes

    @property
    def source(self):
        made = self.generator
        lines = [f"// {self.seed}, {self.options}"]
        lines += [struct.declaration() for struct in (*made.structs, made.params, made.quick)]
        lines += [f"override {name}: u32 = {7 + i};" for i, name in enumerate(made.constants)]
        lines.append(f"const SLOTS = {max(made.slots, 1)}u;")
        reads = [f"var<storage, read> {buffer.name}: array<{buffer.type}>;" for buffer in made.buffers]
        writes = ["results: array<u32>", "hits: array<atomic<u32>>", "tallies: array<atomic<i32>>"]
        writes += [f"tickets: array<atomic<u32>, {TICKETS}>", f"states: array<{made.item}>"]
        for one in made.shared:
            element = f"atomic<{one.element}>" if one.atomic else one.element
            if one.space == "storage":
                writes.append(f"{one.name}: array<{element}>")
            else:
                lines.append(f"var<workgroup> {one.name}: array<{element}, {made.lanes}>;")
        variables = ["var<uniform> params: Params;", *reads, *[f"var<storage, read_write> {text};" for text in writes]]
        lines += [f"@group(0) @binding({i}) {text}" for i, text in enumerate(variables)]
        lines.append("var<immediate> quick: Quick;")
        for variable in made.privates:
            first = made.firsts[variable.name]
            lines.append(f"var<private> {variable.name}: {variable.type}{f' = {first.wgsl}' if first else ''};")
        lines += self.helpers()
        lines += render(self.functions, 0, 0)
        arguments = ", ".join(f"@builtin({BUILTIN_NAMES[name]}) {name}: {ty}" for name, ty, _ in BUILTINS)
        lines += [f"@compute @workgroup_size({', '.join(map(str, made.size))})", f"fn main({arguments}) {{"]
        lines.append("    let group = group_id.x + groups.x * (group_id.y + groups.y * group_id.z);")
        lines += [f"    let flat = group * {made.lanes}u + lane;", "    let base = flat * SLOTS;"]
        return "\n".join([*lines, *render(self.entry.parts[1], 0, 1), "}", ""])

    def helpers(self):
        """Functions of ours that the program calls."""
        lines = []
        needs = self.generator.needs | {("fit", Vector("f32", need[1].rows)) for need in self.matrices()}
        for need in sorted(needs, key=str):
            if need[0] == "word":
                lines.append("fn word(x: f32) -> u32 { return select(bitcast<u32>(x), 0u, x == 0.0); }")
            elif need[0] == "said":
                lines.append(f"var<workgroup> said_{need[1]}: {need[1]};")
            elif need[0] == "fit":
                text = FITS[self.options.floats][2].format(need[1])
                lines.append(f"fn fit_{short(need[1])}(x: {need[1]}) -> {need[1]} {{ return {text}; }}")
            else:
                columns = ", ".join(f"fit_vec{need[1].rows}(x[{i}])" for i in range(need[1].columns))
                lines.append(f"fn fit_{short(need[1])}(x: {need[1]}) -> {need[1]} {{ return {need[1]}({columns}); }}")
        return lines

    def matrices(self):
        return [need for need in self.generator.needs if need[0] == "matrix"]

    @property
    def python(self):
        """The twin: a function of a workgroup, which gives one that gives an invocation."""
        made = self.generator
        lines = [f"{name} = {value}" for name, value in made.constants.items()]
        lines += ["def workgroup(group_id, groups, group):"]
        for one in made.shared:
            if one.space == "workgroup":
                zeros = f"[{thawed_zero(one.element)} for _ in range({made.lanes})]"
                lines.append(f"    {one.name} = [{zeros}]")
        lines += [f"    said_{need[1]} = [0]" for need in sorted(made.needs, key=str) if need[0] == "said"]
        lines.append("    def invocation(local, ids, lane):")
        for variable in made.privates:
            first = made.firsts[variable.name]
            thaw = f"thawed({first.python})" if first else thawed_zero(variable.type)
            lines.append(f"        {variable.name} = [{thaw}]")
        lines += render(self.functions, 1, 2)
        lines += ["        def main():", "            yield"]
        lines.append(f"            flat = group * {made.lanes} + lane")
        lines.append(f"            base = flat * {max(made.slots, 1)}")
        lines += render(self.entry.parts[1], 1, 3)
        return "\n".join([*lines, "        return main()", "    return invocation", ""])

    def expected(self, order=1):
        """What the results are, by the twin. Invocations run forwards, or backwards if the order is -1."""
        made = self.generator
        floats = meaning.ExactFloat() if self.options.floats == "exact" else meaning.Float()
        memory = {name: [meaning.thawed(value)] for name, value in self.inputs.items()}
        memory["results"] = [[0] * (self.invocations * max(made.slots, 1))]
        names = dict(vars(meaning)) | {"floats": floats, "ONCE": (0,), "fit": FIT[self.options.floats]}
        names |= {"above": lambda a, b: floats.add(abs(a), b)} | memory
        exec(compile(self.python, f"program {self.seed}", "exec"), names)
        groups = (*made.groups, 1, 1)[:3]
        size = (*made.size, 1, 1)[:3]
        for number, (z, y, x) in enumerate(itertools.product(*map(range, groups[::-1]))):
            make = names["workgroup"]((x, y, z), groups, number)
            invocations = []
            for lane, (k, j, i) in enumerate(itertools.product(*map(range, size[::-1]))):
                place = (i + x * size[0], j + y * size[1], k + z * size[2])
                invocations.append(make((i, j, k), place, lane))
            run_together(invocations[::order])
        written = ("results", "hits", "tallies", "tickets", "states", "scratch")
        return {name: flat_words(memory[name][0]) for name in written if name in memory}

    def arguments(self):
        """What a call is given."""
        made = self.generator
        types = {"params": made.params, "quick": made.quick, "hits": "u32", "tallies": "i32", "states": made.item}
        types |= {"tickets": "u32"} | {buffer.name: buffer.type for buffer in made.buffers}
        types |= {one.name: one.element for one in made.shared if one.space == "storage"}
        given = {}
        for name, value in self.inputs.items():
            ty = types[name]
            if name in ("params", "quick"):
                given[name] = as_dict(value, ty)
            elif isinstance(ty, Struct):
                given[name] = [as_dict(one, ty) for one in value]
            else:
                given[name] = np.array(value, DTYPES[kind_of(ty)])
        return given

    def computed(self, device):
        """What a device makes of it."""
        made = self.generator
        kernel = gk.Kernel(self.source)
        groups = made.groups if len(made.groups) > 1 else made.groups[0]
        count = self.invocations * max(made.slots, 1)
        call = {"out": {"results": count}, "workgroups": groups, "device": device}
        used = {name: value for name, value in self.arguments().items() if name in kernel.bindings}
        call["out"] = {name: size for name, size in call["out"].items() if name in kernel.bindings}
        constants = {name: value for name, value in made.constants.items() if name in kernel.constants}
        given = kernel(**used, **call, **constants)
        types = {"states": made.item}
        results = given._asdict() if isinstance(given, tuple) else {}
        for name, binding in kernel.bindings.items():
            if not results and binding.access == "read_write":
                results = {name: given}
        return {name: array_words(result, types.get(name)).reshape(-1).tolist() for name, result in results.items()}


def short(ty):
    return str(ty).replace("<f32>", "")


def fit_exact(x):
    return min(max(math.floor(x * 4) / 4, -64.0), 64.0)


def fit_rounded(x):
    return 0.0 if abs(x) < meaning.f32(0.00001) else min(max(x, -1000.0), 1000.0)


FIT = {"exact": fit_exact, "rounded": fit_rounded, None: None}


def run_together(invocations):
    """Runs invocations up to each barrier. All have to meet the same ones."""
    while invocations:
        met = [next(one, "end") for one in invocations]
        assert len(set(met)) == 1, f"invocations stand at different barriers: {sorted(set(map(str, met)))}"
        if met[0] == "end":
            return


def flat_words(value):
    """All numbers in memory as words."""
    if isinstance(value, list | tuple):
        return [word for part in value for word in flat_words(part)]
    if isinstance(value, float):
        return [meaning.float_bits(value) if value else 0]
    return [int(value) & 0xFFFFFFFF]


def array_words(array, ty):
    """The same of an array of the type. There is one zero, and nothing of what matrices have between their columns."""
    if isinstance(ty, Struct):
        parts = [array_words(array[name], part).reshape(len(array), -1) for name, part in ty.fields]
        return np.concatenate(parts, axis=1)
    if isinstance(ty, Matrix):
        array = array[..., : ty.rows]
    if array.dtype.kind == "f":
        array = array + np.float32(0)
    return np.ascontiguousarray(array).view(np.uint32)


def as_dict(value, ty):
    """A struct as a dict."""
    return {
        name: as_dict(part, of) if isinstance(of, Struct) else part
        for (name, of), part in zip(ty.fields, value, strict=True)
    }


def generate(seed, **options):
    """The program of a seed."""
    options = Options(**options)
    return Generator(seed, options).program(seed)


# Running them


def mismatch(program, device, expected=None):
    """What differs, in words; None where nothing does."""
    expected = expected or program.expected()
    for name, got in program.computed(device).items():
        wrong = [i for i, (a, b) in enumerate(zip(got, expected[name], strict=True)) if a != b]
        if wrong:
            i = wrong[0]
            texts = f"{len(wrong)} of {len(got)} words of {name}"
            return f"{texts}, first {name}[{i}]: {got[i]:#x} instead of {expected[name][i]:#x}"
    return None


def nodes_in(block):
    for node in block.nodes:
        yield node
        for part in node.parts:
            if isinstance(part, Block):
                yield from nodes_in(part)


def minimise(program, device):
    """Leaves out statements while the results still differ, and no race comes in."""

    def still_differs():
        try:
            expected = program.expected()
            return expected == program.expected(-1) and mismatch(program, device, expected)
        except (gk.KernelError, NameError, AssertionError, UnboundLocalError):
            return False

    nodes = [*nodes_in(program.functions), *nodes_in(program.entry.parts[1])]
    changed = True
    while changed:
        changed = False
        for node in reversed(nodes):
            if not node.alive or node.fixed:
                continue
            node.alive = False
            if still_differs():
                changed = True
            else:
                node.alive = True
    return program


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def variants(devices, lanes):
    """Devices with the number of lanes for each, which only the CPU device has."""
    for device in devices:
        for number in lanes if device.startswith("cpu") else [None]:
            yield device, number


@contextlib.contextmanager
def lanes_set(number):
    """How many invocations the CPU device runs at once, for kernels that are compiled meanwhile."""
    before = os.environ.get("GPUKERN_LANES")
    if number:
        os.environ["GPUKERN_LANES"] = str(number)
    yield
    os.environ.pop("GPUKERN_LANES", None)
    if before is not None:
        os.environ["GPUKERN_LANES"] = before


def run_all(arguments, options):
    """Runs programs, and says which seeds are wrong where."""
    bad, spent = 0, {}
    for seed in range(arguments.start, arguments.start + arguments.run):
        program = generate(seed, **options)
        begin = time.perf_counter()
        expected = program.expected()
        spent["Python"] = spent.get("Python", 0) + time.perf_counter() - begin
        if arguments.check and expected != program.expected(-1):
            say(f"seed {seed}: the order of invocations shows")
            bad += 1
        for device, number in variants(arguments.devices.split(","), arguments.lanes.split(",")):
            label = f"{device} with {number} lanes" if number else device
            begin = time.perf_counter()
            with lanes_set(number):
                wrong = failure(program, device, expected)
                spent[label] = spent.get(label, 0) + time.perf_counter() - begin
                if wrong and arguments.minimise and not wrong.startswith("error"):
                    say(minimise(program, device).source)
            if wrong:
                bad += 1
                say(f"seed {seed} on {label}: {wrong}")
    times = ", ".join(f"{label} {seconds:.1f} s" for label, seconds in spent.items())
    say(f"{arguments.run} programs, {bad} failures; {times}")
    return bad


def failure(program, device, expected):
    """A mismatch or an error, in words."""
    try:
        return mismatch(program, device, expected)
    except gk.Error as error:
        return f"error: {error}"


def main():
    parser = argparse.ArgumentParser(description="Random kernels, beside what they should compute.")
    parser.add_argument("seed", nargs="?", type=int, help="print this program")
    parser.add_argument("--python", action="store_true", help="print its twin in Python")
    parser.add_argument("--run", type=int, metavar="N", help="run N programs")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument("--devices", default="vulkan:0,cpu")
    parser.add_argument("--lanes", default="1,4,8,16", help="of the CPU device")
    parser.add_argument("--minimise", action="store_true", help="print a shorter program that is wrong too")
    parser.add_argument("--check", action="store_true", help="also that the order of invocations does not show")
    parser.add_argument("--size", type=int, default=30, help="statements, roughly")
    parser.add_argument("--floats", default="exact", choices=["exact", "rounded", "none"])
    parser.add_argument("--portable", action="store_true", help="without what GL leaves to drivers")
    parser.add_argument("--no-barriers", action="store_true")
    parser.add_argument("--whole", action="store_true", help="no workgroups on which lavapipe is wrong")
    arguments = parser.parse_args()
    options = {"size": arguments.size, "portable": arguments.portable, "barriers": not arguments.no_barriers}
    options["whole"] = arguments.whole
    options["floats"] = None if arguments.floats == "none" else arguments.floats
    if arguments.run:
        return 1 if run_all(arguments, options) else 0
    program = generate(arguments.seed or 0, **options)
    say(program.python if arguments.python else program.source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
