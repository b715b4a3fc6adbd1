//! Runs a body one invocation after the other, slowly and plainly, for tests. Barriers do nothing, and every invocation
//! is a subgroup.

use std::cmp::Ordering;

use half::f16;

use super::ir::{
    Atomic, Binary, Block, Body, Builtin, Count, Format, Function, Kind, Label, Memory, Op, Part, Place, Statement,
    Subgroup, Unary, Value,
};

/// Runs all invocations of a grid of workgroups over what is bound.
pub(super) fn run(body: &Body, buffers: &mut [Vec<u8>], groups: [u32; 3]) {
    let size = body.workgroup_size;
    let each = |sizes: [u32; 3]| {
        (0..sizes[2]).flat_map(move |z| (0..sizes[1]).flat_map(move |y| (0..sizes[0]).map(move |x| [x, y, z])))
    };
    for group in each(groups) {
        let mut workgroup = vec![0; body.workgroup_memory as usize];
        for local in each(size) {
            let mut machine = Invocation {
                body,
                buffers: &mut *buffers,
                workgroup: &mut workgroup,
                private: vec![0xa5; body.private_memory as usize],
                values: vec![0; body.values.len()],
                variables: vec![0; body.variables.len()],
                group,
                local,
                groups,
                steps: 0,
            };
            let left = machine.list(&body.statements);
            assert_eq!(left, None, "no label is around everything");
        }
    }
}

struct Invocation<'a> {
    body: &'a Body,
    buffers: &'a mut [Vec<u8>],
    workgroup: &'a mut [u8],
    private: Vec<u8>,
    values: Vec<u64>,
    variables: Vec<u64>,
    group: [u32; 3],
    local: [u32; 3],
    groups: [u32; 3],
    steps: usize,
}

impl Invocation<'_> {
    fn get(&self, value: Value) -> u64 {
        match self.body.op(value) {
            Op::Constant(bits) => *bits,
            Op::Builtin(builtin) => self.builtin(*builtin).into(),
            _ => self.values[value.index()],
        }
    }

    fn builtin(&self, builtin: Builtin) -> u32 {
        let (size, local) = (self.body.workgroup_size, self.local);
        let index = (local[2] * size[1] + local[1]) * size[0] + local[0];
        match builtin {
            Builtin::GlobalId(i) => self.group[i as usize] * size[i as usize] + local[i as usize],
            Builtin::LocalId(i) => local[i as usize],
            Builtin::WorkgroupId(i) => self.group[i as usize],
            Builtin::Workgroups(i) => self.groups[i as usize],
            Builtin::LocalIndex | Builtin::SubgroupId => index,
            Builtin::Lane => 0,
            Builtin::SubgroupSize => 1,
            Builtin::Subgroups => size.iter().product(),
        }
    }

    /// Returns the label that something breaks to.
    fn list(&mut self, list: &Block) -> Option<Label> {
        list.iter().find_map(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Statement) -> Option<Label> {
        self.steps += 1;
        assert!(self.steps < 10_000_000, "it does not end");
        match statement {
            Statement::Let(value) => self.values[value.index()] = self.compute(*value),
            Statement::Set(variable, value) => self.variables[variable.index()] = self.get(*value),
            Statement::Load { place, parts } | Statement::UniformLoad { place, parts } => {
                let at = self.find(place);
                for part in parts {
                    let bits = at.map_or(0, |at| self.read(place.memory, at, part));
                    self.values[part.value.index()] = bits;
                }
            }
            Statement::Store { place, parts } => {
                if let Some(at) = self.find(place) {
                    for part in parts {
                        let bits = self.get(part.value);
                        self.write(place.memory, at, part, bits);
                    }
                }
            }
            Statement::Clear { offset, size } => {
                self.private[*offset as usize..][..*size as usize].fill(0);
            }
            Statement::Atomic { place, kind, op, operand, old } => {
                let at = self.find(place);
                let value = operand.or(*old).unwrap_or(Value(0));
                let part = Part { offset: 0, format: Format::Plain(*kind), value };
                let before = at.map_or(0, |at| self.read(place.memory, at, &part));
                let operand = operand.map(|operand| self.get(operand));
                if let (Some(at), Some(operand)) = (at, operand) {
                    let after = match op {
                        Atomic::Store | Atomic::Exchange => operand,
                        Atomic::Add => binary(Binary::Add, *kind, before, operand),
                        Atomic::Subtract => binary(Binary::Subtract, *kind, before, operand),
                        Atomic::And => before & operand,
                        Atomic::Or => before | operand,
                        Atomic::Xor => before ^ operand,
                        Atomic::Min => binary(Binary::Min, *kind, before, operand),
                        Atomic::Max => binary(Binary::Max, *kind, before, operand),
                        Atomic::CompareExchange(expected) if self.get(*expected) == before => operand,
                        Atomic::Load | Atomic::CompareExchange(_) => before,
                    };
                    self.write(place.memory, at, &part, after);
                }
                if let Some(old) = old {
                    self.values[old.index()] = before;
                }
            }
            Statement::If { condition, accept, reject } => {
                return self.list(if self.get(*condition) == 0 { reject } else { accept });
            }
            Statement::Block { label, body } => return self.list(body).filter(|left| left != label),
            Statement::Loop { body } => loop {
                if let Some(left) = self.list(body) {
                    return Some(left);
                }
            },
            Statement::Break(label) => return Some(*label),
            Statement::Barrier => {}
        }
        None
    }

    /// The first byte of a place, unless an index is too large.
    fn find(&self, place: &Place) -> Option<usize> {
        let mut at = place.offset as usize;
        for step in &place.steps {
            let bits = self.get(step.index) as u32;
            let count = match (step.count, place.memory) {
                (Count::Fixed(count), _) => count,
                (Count::Runtime { offset }, Memory::Buffer { index, .. }) => self.length(index, offset, step.stride),
                (Count::Runtime { .. }, _) => unreachable!("only buffers know the length of an array"),
            };
            if bits >= count || self.body.kind(step.index) == Kind::I32 && (bits as i32) < 0 {
                return None;
            }
            at += bits as usize * step.stride as usize;
        }
        Some(at)
    }

    fn length(&self, buffer: u32, offset: u32, stride: u32) -> u32 {
        ((self.buffers[buffer as usize].len() - offset as usize) / stride as usize) as u32
    }

    fn bytes(&mut self, memory: Memory) -> &mut [u8] {
        match memory {
            Memory::Buffer { index, .. } => &mut self.buffers[index as usize],
            Memory::Workgroup => self.workgroup,
            Memory::Private => &mut self.private,
        }
    }

    fn read(&mut self, memory: Memory, at: usize, part: &Part) -> u64 {
        let size = part.format.size() as usize;
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.bytes(memory)[at + part.offset as usize..][..size]);
        let bits = u64::from_le_bytes(bytes);
        match part.format {
            Format::Plain(Kind::Bool) => {
                assert!(bits == 0 || bits == 0xffff_ffff, "a bool that was never written");
                bits & 1
            }
            Format::F16 => f16::from_bits(bits as u16).to_f32().to_bits().into(),
            Format::Plain(_) | Format::Bool8 => bits,
        }
    }

    fn write(&mut self, memory: Memory, at: usize, part: &Part, bits: u64) {
        let bits = match part.format {
            Format::Plain(Kind::Bool) => bits * 0xffff_ffff,
            Format::F16 => to_half(bits).to_bits().into(),
            Format::Plain(_) | Format::Bool8 => bits,
        };
        let size = part.format.size() as usize;
        self.bytes(memory)[at + part.offset as usize..][..size].copy_from_slice(&bits.to_le_bytes()[..size]);
    }

    fn compute(&self, value: Value) -> u64 {
        let kind = self.body.kind(value);
        match self.body.op(value) {
            Op::Constant(_) | Op::Builtin(_) | Op::FromMemory => unreachable!("nothing to compute"),
            Op::Get(variable) => self.variables[variable.index()],
            Op::Unary(op, x) => unary(*op, self.body.kind(*x), self.get(*x)),
            Op::Binary(op, x, y) => binary(*op, self.body.kind(*x), self.get(*x), self.get(*y)),
            Op::Fma(x, y, z) => match kind {
                Kind::F64 => double(self.get(*x)).mul_add(double(self.get(*y)), double(self.get(*z))).to_bits(),
                _ => single(self.get(*x)).mul_add(single(self.get(*y)), single(self.get(*z))).to_bits().into(),
            },
            Op::Select(condition, x, y) => self.get(if self.get(*condition) == 0 { *y } else { *x }),
            Op::Call(function, arguments) => {
                let argument = |i: usize| match kind {
                    Kind::F64 => double(self.get(arguments[i])),
                    _ => single(self.get(arguments[i])).into(),
                };
                let second = if arguments.len() > 1 { argument(1) } else { 0.0 };
                let result = call(*function, argument(0), second);
                if kind == Kind::F64 { result.to_bits() } else { (result as f32).to_bits().into() }
            }
            Op::Length { buffer, offset, stride } => self.length(*buffer, *offset, *stride).into(),
            Op::Subgroup(op, x, y) => {
                let x = self.get(*x);
                let other = y.map_or(0, |y| self.get(y));
                match op {
                    Subgroup::ExclusiveScan(Binary::Add) => 0,
                    Subgroup::ExclusiveScan(_) => match kind {
                        Kind::F32 => 1_f32.to_bits().into(),
                        Kind::F64 => 1_f64.to_bits(),
                        _ => 1,
                    },
                    Subgroup::Shuffle | Subgroup::ShuffleXor | Subgroup::ShuffleUp | Subgroup::ShuffleDown => {
                        if other == 0 { x } else { 0 }
                    }
                    _ => x,
                }
            }
        }
    }
}

fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn double(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn to_half(bits: u64) -> f16 {
    let half = f16::from_f32(single(bits));
    let exact = half.to_f32() == single(bits) || single(bits).is_nan();
    assert!(exact, "{} is no half", single(bits));
    half
}

/// The bits of an integer that is cut to the kind's size.
fn cut(kind: Kind, bits: u64) -> u64 {
    if kind.is_wide() { bits } else { u64::from(bits as u32) }
}

/// An integer as it is.
fn whole(kind: Kind, bits: u64) -> i128 {
    match kind {
        Kind::I32 => (bits as u32 as i32).into(),
        Kind::I64 => (bits as i64).into(),
        _ => bits.into(),
    }
}

fn range(kind: Kind) -> (i128, i128) {
    match kind {
        Kind::I32 => (i32::MIN.into(), i32::MAX.into()),
        Kind::I64 => (i64::MIN.into(), i64::MAX.into()),
        Kind::U64 => (0, u64::MAX.into()),
        _ => (0, u32::MAX.into()),
    }
}

fn unary(op: Unary, kind: Kind, x: u64) -> u64 {
    let bits = if kind.is_wide() { 64 } else { 32 };
    match (op, kind) {
        (Unary::Bitcast(_), _) => x,
        (Unary::Convert(to), _) => convert(kind, to, x),
        (Unary::RoundToHalf, _) => f16::from_f32(single(x)).to_f32().to_bits().into(),
        (Unary::HalfToBits, _) => to_half(x).to_bits().into(),
        (Unary::HalfFromBits, _) => f16::from_bits(x as u16).to_f32().to_bits().into(),
        (Unary::Not, Kind::Bool) => x ^ 1,
        (Unary::Not, _) => cut(kind, !x),
        (Unary::CountOnes, _) => x.count_ones().into(),
        (Unary::LeadingZeros, _) => u64::from(x.leading_zeros()) - (64 - bits),
        (Unary::TrailingZeros, _) => u64::from(x.trailing_zeros()).min(bits),
        (Unary::ReverseBits, _) => x.reverse_bits() >> (64 - bits),
        (Unary::Negate, Kind::F32) => x ^ 1 << 31,
        (Unary::Negate, Kind::F64) => x ^ 1 << 63,
        (Unary::Abs, Kind::F32) => x & !(1 << 31),
        (Unary::Abs, Kind::F64) => x & !(1 << 63),
        (_, Kind::F32) => rounded(op, single(x).into()).map_or_else(|| single(x).sqrt(), |x| x as f32).to_bits().into(),
        (_, Kind::F64) => rounded(op, double(x)).unwrap_or_else(|| double(x).sqrt()).to_bits(),
        (Unary::Negate, _) => cut(kind, x.wrapping_neg()),
        (Unary::Abs, _) => cut(kind, whole(kind, x).unsigned_abs() as u64),
        _ => unreachable!("{op:?} of {kind:?}"),
    }
}

fn rounded(op: Unary, x: f64) -> Option<f64> {
    Some(match op {
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Trunc => x.trunc(),
        Unary::Round => x.round_ties_even(),
        _ => return None,
    })
}

fn convert(from: Kind, to: Kind, x: u64) -> u64 {
    if to == Kind::Bool {
        return match from {
            Kind::F32 => (single(x) != 0.0).into(),
            Kind::F64 => (double(x) != 0.0).into(),
            _ => (x != 0).into(),
        };
    }
    match (from, to) {
        (Kind::F32, Kind::F64) => f64::from(single(x)).to_bits(),
        (Kind::F64, Kind::F32) => (double(x) as f32).to_bits().into(),
        (Kind::F32 | Kind::F64, _) => {
            let number = if from == Kind::F32 { single(x).into() } else { double(x) };
            let (least, most) = range(to);
            cut(to, (number as i128).clamp(least, most) as u64)
        }
        (_, Kind::F32) => (whole(from, x) as f32).to_bits().into(),
        (_, Kind::F64) => (whole(from, x) as f64).to_bits(),
        _ => cut(to, whole(from, x) as u64),
    }
}

/// An operation on floats of either size.
macro_rules! float_operation {
    ($op:expr, $x:expr, $y:expr) => {
        match $op {
            Binary::Add => $x + $y,
            Binary::Subtract => $x - $y,
            Binary::Multiply => $x * $y,
            Binary::Divide => $x / $y,
            Binary::Remainder => $x - $y * ($x / $y).trunc(),
            Binary::Min if $y < $x => $y,
            Binary::Max if $x < $y => $y,
            Binary::Min | Binary::Max => $x,
            _ => return compare($op, $x.partial_cmp(&$y)),
        }
    };
}

fn binary(op: Binary, kind: Kind, x: u64, y: u64) -> u64 {
    match kind {
        Kind::F32 => {
            let (x, y) = (single(x), single(y));
            let result = float_operation!(op, x, y);
            result.to_bits().into()
        }
        Kind::F64 => {
            let (x, y) = (double(x), double(y));
            let result = float_operation!(op, x, y);
            result.to_bits()
        }
        _ => {
            let bits = if kind.is_wide() { 64 } else { 32 };
            let (a, b) = (whole(kind, x), whole(kind, y));
            let result = match op {
                Binary::Add => a + b,
                Binary::Subtract => a - b,
                Binary::Multiply => return cut(kind, x.wrapping_mul(y)),
                Binary::Divide => a.checked_div(b).unwrap_or(a),
                Binary::Remainder => a.checked_rem(b).unwrap_or(0),
                Binary::And => return x & y,
                Binary::Or => return x | y,
                Binary::Xor => return x ^ y,
                Binary::ShiftLeft => return cut(kind, x << (y % bits)),
                Binary::ShiftRight => a >> (y % bits),
                Binary::Min => a.min(b),
                Binary::Max => a.max(b),
                _ => return compare(op, Some(a.cmp(&b))),
            };
            cut(kind, result as u64)
        }
    }
}

fn compare(op: Binary, order: Option<Ordering>) -> u64 {
    let is = match op {
        Binary::Equal => order.is_some_and(Ordering::is_eq),
        Binary::NotEqual => order.is_none_or(Ordering::is_ne),
        Binary::Less => order.is_some_and(Ordering::is_lt),
        Binary::LessEqual => order.is_some_and(Ordering::is_le),
        Binary::Greater => order.is_some_and(Ordering::is_gt),
        Binary::GreaterEqual => order.is_some_and(Ordering::is_ge),
        _ => unreachable!("{op:?} does not compare"),
    };
    is.into()
}

fn call(function: Function, x: f64, y: f64) -> f64 {
    match function {
        Function::Exp => x.exp(),
        Function::Exp2 => x.exp2(),
        Function::Log => x.ln(),
        Function::Log2 => x.log2(),
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
        Function::Tan => x.tan(),
        Function::Asin => x.asin(),
        Function::Acos => x.acos(),
        Function::Atan => x.atan(),
        Function::Sinh => x.sinh(),
        Function::Cosh => x.cosh(),
        Function::Tanh => x.tanh(),
        Function::Asinh => x.asinh(),
        Function::Acosh => x.acosh(),
        Function::Atanh => x.atanh(),
        Function::Atan2 => x.atan2(y),
        Function::Pow => x.powf(y),
    }
}
