//! What a kernel becomes between naga's IR and machine code: scalars and structured control flow, nothing else.
//!
//! Vectors, matrices, structs and arrays are taken apart into scalars, calls are inlined, pointers are resolved to
//! places. There are two sorts of names. A [`Value`] is computed once, where it is defined, and may be used in what
//! follows in the same list of statements and inside of it. A [`Variable`] can be set and read anywhere, and is zero
//! before it is first set.
//!
//! All of it says what one invocation does. That several run at once, in the lanes of vectors and under masks, is the
//! business of whoever makes code from it.

use std::fmt;

/// What a value is. There is no f16: values of that type are `F32`, rounded after each operation, and only memory has
/// halves, by [`Format::F16`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Bool,
    I32,
    U32,
    F32,
    I64,
    U64,
    F64,
}

impl Kind {
    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    pub(super) fn is_signed(self) -> bool {
        matches!(self, Self::I32 | Self::I64)
    }

    /// Whether it takes eight bytes.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Self::I64 | Self::U64 | Self::F64)
    }
}

/// How a scalar lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Format {
    /// As it is: four or eight bytes. A `Bool` is four, all of whose bits are equal.
    Plain(Kind),
    /// A byte that is 0 or 1, for `Bool`, as naga lays it out in workgroup memory.
    Bool8,
    /// Two bytes, for an `F32` that a half can hold.
    F16,
}

impl Format {
    pub(super) fn size(self) -> u32 {
        match self {
            Self::Plain(kind) if kind.is_wide() => 8,
            Self::Plain(_) => 4,
            Self::Bool8 => 1,
            Self::F16 => 2,
        }
    }

    /// What is loaded from it.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Plain(kind) => kind,
            Self::Bool8 => Kind::Bool,
            Self::F16 => Kind::F32,
        }
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(super) struct $name(pub(super) u32);

        impl $name {
            pub(super) fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

names!(
    /// The result of one computation: an index of [`Body::values`].
    Value,
    /// A cell that every invocation has for itself: an index of [`Body::variables`].
    Variable,
    /// What [`Statement::Break`] leaves.
    Label
);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Builtin {
    /// `global_invocation_id`, along an axis; likewise the next three.
    GlobalId(u8),
    LocalId(u8),
    WorkgroupId(u8),
    Workgroups(u8),
    LocalIndex,
    /// `subgroup_invocation_id`.
    Lane,
    SubgroupSize,
    SubgroupId,
    Subgroups,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Unary {
    /// Wraps for the least integer.
    Negate,
    /// Of all bits; of a `Bool`, its opposite.
    Not,
    /// Wraps for the least integer.
    Abs,
    Floor,
    Ceil,
    Trunc,
    /// Ties go to the even number.
    Round,
    Sqrt,
    /// Of 32 or 64 bits; likewise the next three. Of zero, both counts of zeros are the number of bits.
    CountOnes,
    LeadingZeros,
    TrailingZeros,
    ReverseBits,
    /// The nearest number that a half can hold, ties to even, ±∞ beyond its range. `F32` to `F32`.
    RoundToHalf,
    /// The bits of an `F32` that a half can hold, as a `U32` of which the upper half is zero.
    HalfToBits,
    /// The half whose bits are the lower ones of a `U32`, as an `F32`.
    HalfFromBits,
    /// The number as another kind, as WGSL converts: integers wrap, floats go towards zero and stop at the ends of an
    /// integer's range (above at the largest integer that is such a float), NaN becomes zero, `Bool` is 0 or 1, and what is not zero is true.
    Convert(Kind),
    /// The same bits as another kind of the same size. None is `Bool`.
    Bitcast(Kind),
}

/// Both operands have one kind, which is the result's too, but for comparisons and shifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Binary {
    /// Integers wrap; likewise the next two.
    Add,
    Subtract,
    Multiply,
    /// Of integers, x / 0 = x, and the least one over −1 is itself.
    Divide,
    /// Of integers, x % 0 = 0, and the least one % −1 = 0. Of floats, x − y · trunc(x / y).
    Remainder,
    /// `Bool` or integers; likewise the next two.
    And,
    Or,
    Xor,
    /// The right operand is a `U32`, taken modulo the number of bits; likewise the next one, which keeps the sign of
    /// signed integers.
    ShiftLeft,
    ShiftRight,
    /// y where y < x, else x.
    Min,
    /// y where x < y, else x.
    Max,
    /// The result is `Bool`; likewise the next five, which are false where an operand is NaN, but for NotEqual.
    /// `Bool` knows only these two.
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Binary {
    pub(super) fn is_comparison(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }

    /// The comparison of integers that is true where this one is false.
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterEqual,
            Self::LessEqual => Self::Greater,
            Self::Greater => Self::LessEqual,
            Self::GreaterEqual => Self::Less,
            other => other,
        }
    }

    /// The comparison that is true where this one is with its operands exchanged.
    pub(super) fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            other => other,
        }
    }
}

/// Functions that are not computed in line. Of `F32` or `F64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Function {
    Exp,
    Exp2,
    Log,
    Log2,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    /// Of y and x.
    Atan2,
    /// Of the base and the exponent.
    Pow,
}

/// For tests.
#[cfg(test)]
impl Function {
    pub(super) const ALL: [Self; 18] = [
        Self::Exp,
        Self::Exp2,
        Self::Log,
        Self::Log2,
        Self::Sin,
        Self::Cos,
        Self::Tan,
        Self::Asin,
        Self::Acos,
        Self::Atan,
        Self::Sinh,
        Self::Cosh,
        Self::Tanh,
        Self::Asinh,
        Self::Acosh,
        Self::Atanh,
        Self::Atan2,
        Self::Pow,
    ];

    pub(super) fn arguments(self) -> usize {
        if matches!(self, Self::Atan2 | Self::Pow) { 2 } else { 1 }
    }
}

/// What the active invocations of a subgroup compute together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subgroup {
    /// Bits 0 to 31 of who is active and true. Of a `Bool`, a `U32`.
    Ballot,
    /// The operation over all that are active: `Add`, `Multiply`, `Min`, `Max`, `And`, `Or` or `Xor`. Over `Bool`, `And`
    /// is "all" and `Or` is "any".
    Reduce(Binary),
    /// Over those up to the invocation, itself included; over those before it, or the neutral element. `Add` and
    /// `Multiply`.
    InclusiveScan(Binary),
    ExclusiveScan(Binary),
    /// The value of the first active invocation.
    BroadcastFirst,
    /// The value of the invocation whose number is the second operand, a `U32`; of the one whose number is the
    /// invocation's own, xor, minus, plus the operand. Zero where there is none.
    Shuffle,
    ShuffleXor,
    ShuffleUp,
    ShuffleDown,
}

/// How a value comes about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    /// The bits, in the lower half for kinds of 32; 0 or 1 for `Bool`. Constants and builtins need no statement: they may
    /// be used everywhere.
    Constant(u64),
    Builtin(Builtin),
    /// What the variable holds at this place.
    Get(Variable),
    Unary(Unary, Value),
    Binary(Binary, Value, Value),
    /// x · y + z of floats, rounded once where the machine can.
    Fma(Value, Value, Value),
    /// The second where the first, a `Bool`, is true, else the third.
    Select(Value, Value, Value),
    Call(Function, Vec<Value>),
    /// How many elements of `stride` bytes a buffer has behind its first `offset` bytes, as a `U32`.
    Length {
        buffer: u32,
        offset: u32,
        stride: u32,
    },
    /// The second operand only where the operation has one.
    Subgroup(Subgroup, Value, Option<Value>),
    /// Defined by a [`Statement::Load`] or [`Statement::Atomic`].
    FromMemory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Memory {
    /// The i-th binding: storage, a uniform or an immediate.
    Buffer { index: u32, writable: bool },
    /// Shared by the invocations of a workgroup, and zero when it begins.
    Workgroup,
    /// The invocation's own. Bytes are those of one invocation; how those of several are interleaved is not seen here.
    /// Scalars in it are `Plain`, at multiples of their size. It holds anything at first.
    Private,
}

/// Where in memory something lies: at `offset` and, for each step, its index times its stride further.
///
/// An index that is too large makes loads give zero and stores do nothing, in every kind of memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub(super) memory: Memory,
    pub(super) offset: u32,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// An `I32` or `U32`; negative ones are too large.
    pub(super) index: Value,
    pub(super) stride: u32,
    pub(super) count: Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Fixed(u32),
    /// Of an array that begins `offset` bytes into the buffer and has elements of the step's stride.
    Runtime {
        offset: u32,
    },
}

/// A scalar at `offset` bytes from a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) offset: u32,
    pub(super) format: Format,
    pub(super) value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Atomic {
    Load,
    Store,
    Add,
    Subtract,
    And,
    Or,
    Xor,
    Min,
    Max,
    Exchange,
    /// Stores the operand if what is there equals this value.
    CompareExchange(Value),
}

pub(super) type Block = Vec<Statement>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    /// Computes a value.
    Let(Value),
    Set(Variable, Value),
    /// Defines the parts' values.
    Load {
        place: Place,
        parts: Vec<Part>,
    },
    Store {
        place: Place,
        parts: Vec<Part>,
    },
    /// Makes bytes of private memory zero, where a variable begins that lies there. Nobody needs what any invocation
    /// had there before.
    Clear {
        offset: u32,
        size: u32,
    },
    /// One operation on a scalar that other invocations change too. `old` is what was there; it is defined where it is
    /// wanted. `Load` has no operand. Plain 32 or 64 bits, and `F32`, for which there are `Load`, `Store`, `Add`,
    /// `Subtract` and `Exchange`.
    Atomic {
        place: Place,
        kind: Kind,
        op: Atomic,
        operand: Option<Value>,
        old: Option<Value>,
    },
    If {
        condition: Value,
        accept: Block,
        reject: Block,
    },
    /// Runs the body once; what breaks to the label goes on behind it.
    Block {
        label: Label,
        body: Block,
    },
    /// Runs the body again and again. Only a break to a label around the loop leaves it.
    Loop {
        body: Block,
    },
    /// Nothing follows it in its list.
    Break(Label),
    /// All invocations of the workgroup wait for each other here, and see what the others wrote.
    Barrier,
    /// A load from a place that is the same for all invocations of the workgroup, between two barriers: all get the
    /// same.
    UniformLoad {
        place: Place,
        parts: Vec<Part>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Definition {
    pub(super) kind: Kind,
    pub(super) op: Op,
}

impl Definition {
    /// Whether computing it in vain costs less than a jump.
    fn is_cheap(&self) -> bool {
        match self.op {
            // Lane by lane.
            Op::Unary(Unary::CountOnes | Unary::LeadingZeros | Unary::TrailingZeros | Unary::ReverseBits, _) => false,
            Op::Constant(_) | Op::Builtin(_) | Op::Get(_) | Op::Unary(..) | Op::Select(..) | Op::Fma(..) => true,
            Op::Binary(op, ..) => self.kind.is_float() || !matches!(op, Binary::Divide | Binary::Remainder),
            _ => false,
        }
    }
}

/// Ways of so few statements, all of them cheap, are gone in vain rather than jumped over.
pub(super) const SHORT: usize = 12;

/// Whether a list only computes and sets what is cheap.
pub(super) fn is_cheap(values: &[Definition], list: &[Statement]) -> bool {
    list.iter().all(|statement| match statement {
        Statement::Set(..) => true,
        Statement::Let(value) => values[value.index()].is_cheap(),
        _ => false,
    })
}

/// What every invocation of a kernel does.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) values: Vec<Definition>,
    pub(super) variables: Vec<Kind>,
    /// How many labels there are.
    pub(super) labels: u32,
    pub(super) statements: Block,
    pub(super) workgroup_size: [u32; 3],
    /// In bytes, a multiple of 16. Scalars lie at multiples of their size.
    pub(super) workgroup_memory: u32,
    /// In bytes for each invocation, a multiple of 8.
    pub(super) private_memory: u32,
    /// Whether the size of a subgroup can be seen: by a builtin or a [`Subgroup`] operation.
    pub(super) subgroups: bool,
}

impl Body {
    /// How many invocations a workgroup has.
    pub(super) fn invocations(&self) -> u32 {
        self.workgroup_size.iter().product()
    }

    pub(super) fn kind(&self, value: Value) -> Kind {
        self.values[value.index()].kind
    }

    pub(super) fn op(&self, value: Value) -> &Op {
        &self.values[value.index()].op
    }

    /// The bits of a constant.
    pub(super) fn constant(&self, value: Value) -> Option<u64> {
        match self.op(value) {
            Op::Constant(bits) => Some(*bits),
            _ => None,
        }
    }
}

impl Op {
    /// Calls `f` with every value that it is computed from.
    pub(super) fn operands(&self, mut f: impl FnMut(Value)) {
        match self {
            Self::Constant(_) | Self::Builtin(_) | Self::Get(_) | Self::Length { .. } | Self::FromMemory => {}
            Self::Unary(_, a) => f(*a),
            Self::Binary(_, a, b) => [a, b].into_iter().for_each(|v| f(*v)),
            Self::Fma(a, b, c) | Self::Select(a, b, c) => [a, b, c].into_iter().for_each(|v| f(*v)),
            Self::Call(_, arguments) => arguments.iter().for_each(|v| f(*v)),
            Self::Subgroup(_, a, b) => {
                f(*a);
                if let Some(b) = b {
                    f(*b);
                }
            }
        }
    }
}

impl Statement {
    /// Calls `f` with every list of statements inside.
    pub(super) fn blocks<'a>(&'a self, mut f: impl FnMut(&'a Block)) {
        match self {
            Self::If { accept, reject, .. } => {
                f(accept);
                f(reject);
            }
            Self::Block { body, .. } | Self::Loop { body } => f(body),
            _ => {}
        }
    }

    /// Whether it is, or has inside, something that this is true of.
    pub(super) fn any(&self, is: &mut dyn FnMut(&Self) -> bool) -> bool {
        let mut found = is(self);
        self.blocks(|block| found = found || block.iter().any(|statement| statement.any(is)));
        found
    }
}

/// The statements as text, for tests and for whoever looks for an error in them.
impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list(f, &self.statements, 0)
    }
}

impl Body {
    fn list(&self, f: &mut fmt::Formatter<'_>, block: &Block, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        for statement in block {
            match statement {
                Statement::Let(value) => {
                    let Definition { kind, op } = &self.values[value.index()];
                    writeln!(f, "{indent}v{}: {kind:?} = {op:?}", value.0)?;
                }
                Statement::If { condition, accept, reject } => {
                    writeln!(f, "{indent}if v{}", condition.0)?;
                    self.list(f, accept, depth + 1)?;
                    writeln!(f, "{indent}else")?;
                    self.list(f, reject, depth + 1)?;
                }
                Statement::Block { label, body } => {
                    writeln!(f, "{indent}block {}", label.0)?;
                    self.list(f, body, depth + 1)?;
                }
                Statement::Loop { body } => {
                    writeln!(f, "{indent}loop")?;
                    self.list(f, body, depth + 1)?;
                }
                other => writeln!(f, "{indent}{other:?}")?,
            }
        }
        Ok(())
    }
}
