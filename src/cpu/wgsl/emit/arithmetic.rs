//! What values are computed from.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{I8, I32, I32X4, I64};
use cranelift_codegen::ir::{self, InstBuilder, Type};

use super::Emitter;
use super::lanes::{Lanes, Vectors, memory, scalar_type, vector_type};
use crate::cpu::wgsl::ir::{Binary, Builtin, Function, Kind, Op, Unary, Value};
use crate::cpu::wgsl::math;
use crate::cpu::wgsl::run;
use crate::cpu::wgsl::shape::group_axis;

impl Emitter<'_> {
    pub(super) fn compute(&mut self, value: Value) -> Lanes {
        let kind = self.kind(value);
        match self.body.op(value).clone() {
            Op::Constant(_) | Op::Builtin(_) | Op::FromMemory => self.value(value),
            Op::Get(variable) => self.get(variable),
            Op::Unary(op, a) => {
                let (from, a) = (self.kind(a), self.value(a));
                self.unary(op, from, &a)
            }
            Op::Binary(op, a, b) => {
                let of = self.kind(a);
                let (a, b) = (self.value(a), self.value(b));
                self.binary(op, of, &a, &b)
            }
            Op::Fma(a, b, c) => {
                let [a, b, c] = [a, b, c].map(|value| self.value(value));
                self.each(&[(&a, kind), (&b, kind), (&c, kind)], |e, v| {
                    if e.machine.has_fma {
                        return e.b.ins().fma(v[0], v[1], v[2]);
                    }
                    let product = e.b.ins().fmul(v[0], v[1]);
                    e.b.ins().fadd(product, v[2])
                })
            }
            Op::Select(condition, a, b) => {
                let [condition, a, b] = [condition, a, b].map(|value| self.value(value));
                self.selected(&condition, &a, &b, kind)
            }
            Op::Call(function, arguments) => {
                let arguments: Vec<Lanes> = arguments.iter().map(|argument| self.value(*argument)).collect();
                self.called(function, kind, &arguments)
            }
            Op::Length { buffer, offset, stride } => Lanes::One(self.array_length(buffer, offset, stride)),
            Op::Subgroup(op, a, b) => {
                let of = self.kind(a);
                let (a, b) = (self.value(a), b.map(|b| self.value(b)));
                self.subgroup(op, of, &a, b.as_ref())
            }
        }
    }

    /// `yes` where a condition holds, else `no`.
    pub(super) fn selected(&mut self, condition: &Lanes, yes: &Lanes, no: &Lanes, kind: Kind) -> Lanes {
        match condition {
            Lanes::One(condition) => match (yes, no) {
                (Lanes::Affine(a, stride), Lanes::Affine(b, other)) if stride == other => {
                    Lanes::Affine(self.b.ins().select(*condition, *a, *b), *stride)
                }
                _ => self.each(&[(yes, kind), (no, kind)], |e, v| e.b.ins().select(*condition, v[0], v[1])),
            },
            parted => {
                let mask = self.vectors(parted, Kind::Bool);
                let mask = self.mask_for(&mask, kind);
                let (yes, no) = (self.vectors(yes, kind), self.vectors(no, kind));
                Lanes::Many(self.blend(&mask, &yes, &no))
            }
        }
    }

    // ---- Builtins

    pub(super) fn builtin(&mut self, builtin: Builtin) -> Lanes {
        let constant = |e: &mut Self, number: u32| Lanes::One(e.b.ins().iconst(I32, i64::from(number)));
        match builtin {
            Builtin::LocalIndex => {
                let first = self.b.ins().imul_imm_u(self.group, self.lanes as i64);
                self.counting(first)
            }
            Builtin::Lane => {
                let zero = self.b.ins().iconst(I32, 0);
                self.counting(zero)
            }
            Builtin::SubgroupSize => constant(self, self.lanes as u32),
            Builtin::Subgroups => constant(self, self.groups),
            Builtin::SubgroupId => Lanes::One(self.group),
            Builtin::WorkgroupId(axis) => Lanes::One(self.workgroup[usize::from(axis)]),
            Builtin::Workgroups(axis) => {
                let offset = std::mem::offset_of!(run::Context, groups) + 4 * usize::from(axis);
                Lanes::One(self.field(I32, offset))
            }
            Builtin::LocalId(axis) => self.local_id(axis.into()),
            Builtin::GlobalId(axis) => {
                let axis = usize::from(axis);
                let size = i64::from(self.body.workgroup_size[axis]);
                let start = self.b.ins().imul_imm_u(self.workgroup[axis], size);
                match self.local_id(axis) {
                    Lanes::One(id) => Lanes::One(self.b.ins().iadd(start, id)),
                    Lanes::Affine(id, stride) => Lanes::Affine(self.b.ins().iadd(start, id), stride),
                    many @ Lanes::Many(_) => self.binary(Binary::Add, Kind::U32, &Lanes::One(start), &many),
                }
            }
        }
    }

    /// A number for the first lane, and one more for each further one.
    fn counting(&mut self, first: ir::Value) -> Lanes {
        if self.lanes == 1 { Lanes::One(first) } else { Lanes::Affine(first, 1) }
    }

    fn local_id(&mut self, axis: usize) -> Lanes {
        let size = self.body.workgroup_size;
        if size[axis] == 1 {
            return Lanes::One(self.b.ins().iconst(I32, 0));
        }
        let index = self.builtin(Builtin::LocalIndex);
        let before: u32 = size[..axis].iter().product();
        let is_last = size[axis + 1..].iter().all(|&length| length == 1);
        let within = |e: &mut Self, index: ir::Value| {
            let mut id = index;
            if before > 1 {
                id = e.b.ins().udiv_imm_u(id, i64::from(before));
            }
            if is_last { id } else { e.b.ins().urem_imm_u(id, i64::from(size[axis])) }
        };
        match (group_axis(size, self.lanes), &index) {
            // Along this axis lanes follow each other, and along the others they are the same.
            (Some(own), Lanes::Affine(first, _)) => {
                let first = within(self, *first);
                if own == axis { Lanes::Affine(first, 1) } else { Lanes::One(first) }
            }
            _ => self.each_lane(&[(&index, Kind::U32)], Kind::U32, |e, v| within(e, v[0])),
        }
    }

    // ---- Operators

    pub(super) fn unary(&mut self, op: Unary, kind: Kind, a: &Lanes) -> Lanes {
        match (op, a) {
            (Unary::Negate, Lanes::Affine(first, stride)) => {
                return Lanes::Affine(self.b.ins().ineg(*first), stride.wrapping_neg());
            }
            (Unary::Not, Lanes::Affine(first, stride)) => {
                return Lanes::Affine(self.b.ins().bnot(*first), stride.wrapping_neg());
            }
            (Unary::Convert(Kind::I32 | Kind::U32) | Unary::Bitcast(Kind::I32 | Kind::U32), Lanes::Affine(..)) => {
                return a.clone();
            }
            _ => {}
        }
        let is_float = kind.is_float();
        match op {
            Unary::Convert(to) => self.converted(kind, to, a),
            Unary::Bitcast(to) => self.each(&[(a, kind)], |e, v| {
                let ty = if e.type_of(v[0]).is_vector() { vector_type(to) } else { scalar_type(to) };
                e.cast(ty, v[0])
            }),
            Unary::CountOnes | Unary::LeadingZeros | Unary::TrailingZeros | Unary::ReverseBits => {
                self.each_lane(&[(a, kind)], kind, |e, v| match op {
                    Unary::CountOnes => e.b.ins().popcnt(v[0]),
                    Unary::LeadingZeros => e.b.ins().clz(v[0]),
                    Unary::TrailingZeros => e.b.ins().ctz(v[0]),
                    _ => e.b.ins().bitrev(v[0]),
                })
            }
            _ => self.each(&[(a, kind)], |e, v| match op {
                Unary::Negate if is_float => e.b.ins().fneg(v[0]),
                Unary::Negate => e.b.ins().ineg(v[0]),
                Unary::Not if e.type_of(v[0]) == I8 => e.b.ins().bxor_imm_u(v[0], 1),
                Unary::Not => e.b.ins().bnot(v[0]),
                Unary::Abs if is_float => e.b.ins().fabs(v[0]),
                Unary::Abs if kind.is_signed() => e.absolute(v[0]),
                Unary::Floor => e.b.ins().floor(v[0]),
                Unary::Ceil => e.b.ins().ceil(v[0]),
                Unary::Trunc => e.b.ins().trunc(v[0]),
                Unary::Round => e.b.ins().nearest(v[0]),
                Unary::Sqrt => e.b.ins().sqrt(v[0]),
                Unary::RoundToHalf => e.round_to_half(v[0]),
                Unary::HalfToBits => e.half_to_bits(v[0]),
                Unary::HalfFromBits => e.half_from_bits(v[0]),
                _ => v[0],
            }),
        }
    }

    fn absolute(&mut self, value: ir::Value) -> ir::Value {
        let ty = self.type_of(value);
        let zero = self.bits(ty, 0);
        let negated = self.b.ins().ineg(value);
        let is_negative = self.b.ins().icmp(IntCC::SignedLessThan, value, zero);
        self.choose(is_negative, negated, value)
    }

    /// `yes` or `no`, as a comparison of the same type says.
    pub(super) fn choose(&mut self, condition: ir::Value, yes: ir::Value, no: ir::Value) -> ir::Value {
        let ty = self.type_of(yes);
        if ty.is_vector() {
            let mask = self.cast(ty, condition);
            self.b.ins().bitselect(mask, yes, no)
        } else {
            self.b.ins().select(condition, yes, no)
        }
    }

    pub(super) fn binary(&mut self, op: Binary, kind: Kind, a: &Lanes, b: &Lanes) -> Lanes {
        if let Some(lanes) = self.affine(op, kind, a, b) {
            return lanes;
        }
        if op.is_comparison() {
            return self.compared(op, kind, a, b);
        }
        let operands = [(a, kind), (b, kind)];
        if kind.is_float() {
            return self.each(&operands, |e, v| e.float_operation(op, v[0], v[1]));
        }
        match op {
            Binary::Divide | Binary::Remainder => self.divided(op, kind, a, b),
            Binary::ShiftLeft | Binary::ShiftRight => self.shifted(op, kind, a, b),
            _ => self.each(&operands, |e, v| e.integer_operation(op, kind, v[0], v[1])),
        }
    }

    /// Sums and multiples of numbers that follow each other from lane to lane do so too.
    fn affine(&mut self, op: Binary, kind: Kind, a: &Lanes, b: &Lanes) -> Option<Lanes> {
        if !matches!(kind, Kind::I32 | Kind::U32) {
            return None;
        }
        let parts = |lanes: &Lanes| match lanes {
            Lanes::One(first) => Some((*first, 0)),
            Lanes::Affine(first, stride) => Some((*first, *stride)),
            Lanes::Many(_) => None,
        };
        let ((a, more_a), (b, more_b)) = (parts(a)?, parts(b)?);
        if more_a == 0 && more_b == 0 {
            return None;
        }
        let made = |first, stride| Some(if stride == 0 { Lanes::One(first) } else { Lanes::Affine(first, stride) });
        match op {
            Binary::Add => made(self.b.ins().iadd(a, b), more_a.wrapping_add(more_b)),
            Binary::Subtract => made(self.b.ins().isub(a, b), more_a.wrapping_sub(more_b)),
            Binary::Multiply => {
                let factor = |e: &Self, value: ir::Value| e.constant_of(value).map(|factor| factor as i32);
                let stride = match (more_a, more_b) {
                    (stride, 0) => factor(self, b)?.wrapping_mul(stride),
                    (0, stride) => factor(self, a)?.wrapping_mul(stride),
                    _ => return None,
                };
                made(self.b.ins().imul(a, b), stride)
            }
            Binary::ShiftLeft if more_b == 0 => {
                let by = self.constant_of(b)? % 32;
                made(self.b.ins().ishl_imm_u(a, by as i64), more_a.wrapping_shl(by as u32))
            }
            _ => None,
        }
    }

    /// The number that a scalar always is.
    pub(super) fn constant_of(&self, value: ir::Value) -> Option<u64> {
        let inst = self.b.func.dfg.value_def(value).inst()?;
        match self.b.func.dfg.insts[inst] {
            ir::InstructionData::UnaryImm { opcode: ir::Opcode::Iconst, imm } => Some(imm.bits() as u64 & 0xffff_ffff),
            _ => None,
        }
    }

    fn float_operation(&mut self, op: Binary, a: ir::Value, b: ir::Value) -> ir::Value {
        match op {
            Binary::Add => self.b.ins().fadd(a, b),
            Binary::Subtract => self.b.ins().fsub(a, b),
            Binary::Multiply => self.b.ins().fmul(a, b),
            Binary::Divide => self.b.ins().fdiv(a, b),
            Binary::Remainder => {
                let quotient = self.b.ins().fdiv(a, b);
                let whole = self.b.ins().trunc(quotient);
                let product = self.b.ins().fmul(b, whole);
                self.b.ins().fsub(a, product)
            }
            Binary::Min => {
                let is_less = self.b.ins().fcmp(FloatCC::LessThan, b, a);
                self.choose(is_less, b, a)
            }
            Binary::Max => {
                let is_less = self.b.ins().fcmp(FloatCC::LessThan, a, b);
                self.choose(is_less, b, a)
            }
            _ => a,
        }
    }

    fn integer_operation(&mut self, op: Binary, kind: Kind, a: ir::Value, b: ir::Value) -> ir::Value {
        match op {
            Binary::Add => self.b.ins().iadd(a, b),
            Binary::Subtract => self.b.ins().isub(a, b),
            Binary::Multiply => self.b.ins().imul(a, b),
            Binary::And => self.b.ins().band(a, b),
            Binary::Or => self.b.ins().bor(a, b),
            Binary::Xor => self.b.ins().bxor(a, b),
            Binary::Min | Binary::Max if kind.is_wide() => {
                let less = self.integer_less(kind, a, b);
                if op == Binary::Min { self.choose(less, a, b) } else { self.choose(less, b, a) }
            }
            Binary::Min if kind.is_signed() => self.b.ins().smin(a, b),
            Binary::Min => self.b.ins().umin(a, b),
            Binary::Max if kind.is_signed() => self.b.ins().smax(a, b),
            Binary::Max => self.b.ins().umax(a, b),
            _ => a,
        }
    }

    /// a < b.
    fn integer_less(&mut self, kind: Kind, a: ir::Value, b: ir::Value) -> ir::Value {
        if !kind.is_signed() && kind.is_wide() && self.type_of(a).is_vector() {
            // Vectors of 64 bits are compared with a sign only.
            let sign = self.bits(self.type_of(a), 1 << 63);
            let (a, b) = (self.b.ins().bxor(a, sign), self.b.ins().bxor(b, sign));
            return self.b.ins().icmp(IntCC::SignedLessThan, a, b);
        }
        let code = if kind.is_signed() { IntCC::SignedLessThan } else { IntCC::UnsignedLessThan };
        self.b.ins().icmp(code, a, b)
    }

    pub(super) fn compared(&mut self, op: Binary, kind: Kind, a: &Lanes, b: &Lanes) -> Lanes {
        if let (Kind::U32, Lanes::Affine(..) | Lanes::Many(_), Lanes::One(bound)) = (kind, a, b)
            && let Some(bound) = self.constant_of(*bound)
        {
            // With equality it is one instruction for the smaller and one for whether that is it.
            let near = match op {
                Binary::Less if bound > 0 => Some((Binary::LessEqual, bound - 1)),
                Binary::Greater if bound < u64::from(u32::MAX) => Some((Binary::GreaterEqual, bound + 1)),
                _ => None,
            };
            if let Some((op, bound)) = near {
                let bound = Lanes::One(self.bits(I32, bound));
                return self.each(&[(a, kind), (&bound, kind)], |e, v| e.comparison(op, kind, v[0], v[1]));
            }
        }
        let result = self.each(&[(a, kind), (b, kind)], |e, v| e.comparison(op, kind, v[0], v[1]));
        match result {
            Lanes::Many(vectors) if kind.is_wide() => Lanes::Many(self.narrow_mask(&vectors)),
            result => result,
        }
    }

    fn comparison(&mut self, op: Binary, kind: Kind, a: ir::Value, b: ir::Value) -> ir::Value {
        if kind.is_float() {
            let mask = match op {
                Binary::Equal => self.b.ins().fcmp(FloatCC::Equal, a, b),
                Binary::NotEqual => self.b.ins().fcmp(FloatCC::NotEqual, a, b),
                Binary::Less => self.b.ins().fcmp(FloatCC::LessThan, a, b),
                Binary::LessEqual => self.b.ins().fcmp(FloatCC::LessThanOrEqual, a, b),
                Binary::Greater => self.b.ins().fcmp(FloatCC::LessThan, b, a),
                _ => self.b.ins().fcmp(FloatCC::LessThanOrEqual, b, a),
            };
            return mask;
        }
        match op {
            Binary::Equal => self.b.ins().icmp(IntCC::Equal, a, b),
            Binary::NotEqual => self.b.ins().icmp(IntCC::NotEqual, a, b),
            Binary::Less => self.integer_less(kind, a, b),
            Binary::Greater => self.integer_less(kind, b, a),
            _ => {
                let (a, b) = if op == Binary::LessEqual { (a, b) } else { (b, a) };
                if self.type_of(a).is_vector() && kind.is_wide() {
                    let is_beyond = self.integer_less(kind, b, a);
                    return self.b.ins().bnot(is_beyond);
                }
                let is_signed = kind.is_signed();
                let code = if is_signed { IntCC::SignedLessThanOrEqual } else { IntCC::UnsignedLessThanOrEqual };
                self.b.ins().icmp(code, a, b)
            }
        }
    }

    fn shifted(&mut self, op: Binary, kind: Kind, a: &Lanes, b: &Lanes) -> Lanes {
        let shift = |e: &mut Self, value: ir::Value, by: ir::Value| match op {
            Binary::ShiftLeft => e.b.ins().ishl(value, by),
            _ if kind.is_signed() => e.b.ins().sshr(value, by),
            _ => e.b.ins().ushr(value, by),
        };
        match b {
            // The instructions take the amount modulo the number of bits.
            Lanes::One(by) => self.each(&[(a, kind)], |e, v| shift(e, v[0], *by)),
            _ => self.each_lane(&[(a, kind), (b, Kind::U32)], kind, |e, v| shift(e, v[0], v[1])),
        }
    }

    /// Quotients and remainders of integers. The machine would stop at a division by zero.
    fn divided(&mut self, op: Binary, kind: Kind, a: &Lanes, b: &Lanes) -> Lanes {
        let divisor = match b {
            Lanes::One(divisor) => self.constant_of(*divisor).filter(|_| !kind.is_wide()),
            _ => None,
        };
        let is_safe = divisor.is_some_and(|divisor| divisor != 0 && divisor as u32 != u32::MAX);
        if let (Some(by), Kind::U32) = (divisor, kind)
            && by.is_power_of_two()
        {
            return self.each(&[(a, kind)], |e, v| {
                let ty = e.type_of(v[0]);
                if op == Binary::Remainder {
                    let low = e.bits(ty, by - 1);
                    return e.b.ins().band(v[0], low);
                }
                e.b.ins().ushr_imm_u(v[0], i64::from(by.trailing_zeros()))
            });
        }
        self.each_lane(&[(a, kind), (b, kind)], kind, |e, v| {
            let ty = e.type_of(v[0]);
            let (x, mut y) = (v[0], v[1]);
            let one = e.bits(ty, 1);
            if !is_safe {
                // Divide by one instead: that is the quotient already, and the remainder is zero.
                let zero = e.bits(ty, 0);
                let mut unfit = e.b.ins().icmp(IntCC::Equal, y, zero);
                if kind.is_signed() {
                    let least = e.bits(ty, if kind.is_wide() { 1 << 63 } else { 1 << 31 });
                    let minus_one = e.bits(ty, u64::MAX);
                    let is_least = e.b.ins().icmp(IntCC::Equal, x, least);
                    let by_minus_one = e.b.ins().icmp(IntCC::Equal, y, minus_one);
                    let overflows = e.b.ins().band(is_least, by_minus_one);
                    unfit = e.b.ins().bor(unfit, overflows);
                }
                y = e.b.ins().select(unfit, one, y);
            }
            match (op, kind.is_signed()) {
                (Binary::Divide, true) => e.b.ins().sdiv(x, y),
                (Binary::Divide, false) => e.b.ins().udiv(x, y),
                (_, true) => e.b.ins().srem(x, y),
                (_, false) => e.b.ins().urem(x, y),
            }
        })
    }

    // ---- Functions

    fn called(&mut self, function: Function, kind: Kind, arguments: &[Lanes]) -> Lanes {
        let is_one = arguments.iter().all(|argument| matches!(argument, Lanes::One(_)));
        let lanes = if is_one { 1 } else { self.lanes };
        let size = if kind.is_wide() { 8 } else { 4 };
        let room = self.b.ins().stack_addr(I64, self.operands, 0);
        for (i, argument) in arguments.iter().enumerate() {
            let offset = (i * lanes * size) as i32;
            if is_one {
                let scalar = self.first(argument, kind);
                self.b.ins().store(memory(), scalar, room, offset);
            } else {
                for (j, vector) in self.vectors(argument, kind).into_iter().enumerate() {
                    self.b.ins().store(memory(), vector, room, offset + 16 * j as i32);
                }
            }
        }
        let address = math::function(function, kind, lanes, self.machine.level) as *const () as usize;
        self.call(address, &[room], &[]);
        if is_one {
            return Lanes::One(self.b.ins().load(scalar_type(kind), memory(), room, 0));
        }
        let vectors: Vectors = (0..self.count(kind))
            .map(|j| self.b.ins().load(vector_type(kind), memory(), room, 16 * j as i32))
            .collect();
        Lanes::Many(vectors)
    }

    /// The type of integers that has the bits of another type.
    pub(super) fn integers(ty: Type) -> Type {
        if ty.is_vector() { I32X4 } else { I32 }
    }
}
