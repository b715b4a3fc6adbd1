//! The invocations of a group in the lanes of vectors.
//!
//! Cranelift has vectors of 128 bits, so a value is several of them. What is the same for all lanes stays one scalar,
//! and so does what grows by the same from lane to lane.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8, I16, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{self, Endianness, InstBuilder, MemFlagsData, Type};
use smallvec::SmallVec;

use super::Emitter;
use crate::cpu::wgsl::ir::Kind;

/// One vector for four lanes, or for two of 64 bits.
pub(super) type Vectors = SmallVec<[ir::Value; 8]>;

/// A value in all lanes of a group.
#[derive(Debug, Clone)]
pub(super) enum Lanes {
    /// The same in all of them. A `Bool` is a byte, 0 or 1.
    One(ir::Value),
    /// That of the first lane, and as much more for each further one.
    Affine(ir::Value, i32),
    /// In a `Bool`, all bits of a lane are equal.
    Many(Vectors),
}

pub(super) fn scalar_type(kind: Kind) -> Type {
    match kind {
        Kind::Bool => I8,
        Kind::I32 | Kind::U32 => I32,
        Kind::F32 => F32,
        Kind::I64 | Kind::U64 => I64,
        Kind::F64 => F64,
    }
}

pub(super) fn vector_type(kind: Kind) -> Type {
    match kind {
        Kind::Bool | Kind::I32 | Kind::U32 => I32X4,
        Kind::F32 => F32X4,
        Kind::I64 | Kind::U64 => I64X2,
        Kind::F64 => F64X2,
    }
}

/// How many lanes one vector has.
pub(super) fn width(kind: Kind) -> usize {
    if kind.is_wide() { 2 } else { 4 }
}

/// For access to memory that is there.
pub(super) fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Emitter<'_> {
    /// How many vectors a value is.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.lanes.div_ceil(width(kind))
    }

    pub(super) fn type_of(&self, value: ir::Value) -> Type {
        self.b.func.dfg.value_type(value)
    }

    /// The bits as another type of the same size.
    pub(super) fn cast(&mut self, to: Type, value: ir::Value) -> ir::Value {
        if self.type_of(value) == to {
            return value;
        }
        let flags = MemFlagsData::new();
        let is_vector = to.is_vector() || self.type_of(value).is_vector();
        let flags = if is_vector { flags.with_endianness(Endianness::Little) } else { flags };
        self.b.ins().bitcast(to, flags, value)
    }

    /// The same bits in all lanes of a vector or scalar type, of 32 or 64 bits each.
    pub(super) fn bits(&mut self, ty: Type, bits: u64) -> ir::Value {
        let wide = ty.lane_type().bits() == 64;
        if ty.is_vector() {
            let data: Vec<u8> = if wide {
                [bits; 2].iter().flat_map(|lane| lane.to_le_bytes()).collect()
            } else {
                [bits as u32; 4].iter().flat_map(|lane| lane.to_le_bytes()).collect()
            };
            return self.constant_vector(ty, &data);
        }
        match ty {
            F32 => self.b.ins().f32const(f32::from_bits(bits as u32)),
            F64 => self.b.ins().f64const(f64::from_bits(bits)),
            I64 => self.b.ins().iconst(I64, bits as i64),
            I32 => self.b.ins().iconst(I32, i64::from(bits as u32)),
            I16 => self.b.ins().iconst(I16, i64::from(bits as u16)),
            _ => self.b.ins().iconst(I8, i64::from(bits as u8)),
        }
    }

    pub(super) fn constant_vector(&mut self, ty: Type, data: &[u8]) -> ir::Value {
        let constant = self.b.func.dfg.constants.insert(data.into());
        self.b.ins().vconst(ty, constant)
    }

    /// A scalar that is the value of the first lane.
    pub(super) fn first(&mut self, lanes: &Lanes, kind: Kind) -> ir::Value {
        match lanes {
            Lanes::One(value) | Lanes::Affine(value, _) => *value,
            Lanes::Many(_) => self.lane(lanes, kind, 0),
        }
    }

    /// The value of a lane.
    pub(super) fn lane(&mut self, lanes: &Lanes, kind: Kind, lane: usize) -> ir::Value {
        match lanes {
            Lanes::One(value) => *value,
            Lanes::Affine(first, stride) => {
                self.b.ins().iadd_imm_s(*first, i64::from(stride.wrapping_mul(lane as i32)))
            }
            Lanes::Many(vectors) => {
                let width = width(kind);
                let value = self.b.ins().extractlane(vectors[lane / width], (lane % width) as u8);
                if kind == Kind::Bool { self.b.ins().icmp_imm_s(IntCC::NotEqual, value, 0) } else { value }
            }
        }
    }

    /// A value as vectors.
    pub(super) fn vectors(&mut self, lanes: &Lanes, kind: Kind) -> Vectors {
        match lanes {
            Lanes::Many(vectors) => vectors.clone(),
            Lanes::One(value) => {
                let vector = self.splat(*value, kind);
                SmallVec::from_elem(vector, self.count(kind))
            }
            Lanes::Affine(first, stride) => {
                let vector = self.splat(*first, kind);
                (0..self.count(kind))
                    .map(|i| {
                        let more: Vec<u8> = (4 * i..4 * i + 4)
                            .flat_map(|lane| stride.wrapping_mul(lane as i32).to_le_bytes())
                            .collect();
                        let more = self.constant_vector(I32X4, &more);
                        self.b.ins().iadd(vector, more)
                    })
                    .collect()
            }
        }
    }

    pub(super) fn splat(&mut self, value: ir::Value, kind: Kind) -> ir::Value {
        if let (Kind::Bool | Kind::I32 | Kind::U32, Some(bits)) = (kind, self.constant_of(value)) {
            let is_true = kind == Kind::Bool && bits != 0;
            return self.bits(I32X4, if is_true { u64::MAX } else { bits });
        }
        let value = self.widened(value, kind);
        self.b.ins().splat(vector_type(kind), value)
    }

    /// A scalar as it stands in a lane.
    fn widened(&mut self, value: ir::Value, kind: Kind) -> ir::Value {
        if kind == Kind::Bool { self.b.ins().bmask(I32, value) } else { value }
    }

    /// One scalar for each lane, put together.
    pub(super) fn gathered(&mut self, scalars: &[ir::Value], kind: Kind) -> Lanes {
        if self.lanes == 1 {
            return Lanes::One(scalars[0]);
        }
        let ty = vector_type(kind);
        let vectors = scalars.chunks(width(kind)).map(|chunk| {
            let first = self.widened(chunk[0], kind);
            let mut vector = self.b.ins().scalar_to_vector(ty, first);
            for (lane, scalar) in chunk.iter().enumerate().skip(1) {
                let scalar = self.widened(*scalar, kind);
                vector = self.b.ins().insertlane(vector, scalar, lane as u8);
            }
            vector
        });
        Lanes::Many(vectors.collect())
    }

    /// Does the same with every vector, or with the scalars where all operands are the same in all lanes.
    pub(super) fn each(
        &mut self,
        operands: &[(&Lanes, Kind)],
        mut f: impl FnMut(&mut Self, &[ir::Value]) -> ir::Value,
    ) -> Lanes {
        let ones: Option<SmallVec<[ir::Value; 3]>> = operands
            .iter()
            .map(|(lanes, _)| match lanes {
                Lanes::One(value) => Some(*value),
                _ => None,
            })
            .collect();
        if let Some(ones) = ones {
            return Lanes::One(f(self, &ones));
        }
        let all: SmallVec<[Vectors; 3]> = operands.iter().map(|(lanes, kind)| self.vectors(lanes, *kind)).collect();
        let count = all.iter().map(SmallVec::len).max().unwrap_or(0);
        let vectors = (0..count)
            .map(|i| {
                let operands: SmallVec<[ir::Value; 3]> = all.iter().map(|vectors| vectors[i]).collect();
                f(self, &operands)
            })
            .collect();
        Lanes::Many(vectors)
    }

    /// Does the same with every lane, one after another.
    pub(super) fn each_lane(
        &mut self,
        operands: &[(&Lanes, Kind)],
        result: Kind,
        mut f: impl FnMut(&mut Self, &[ir::Value]) -> ir::Value,
    ) -> Lanes {
        if operands.iter().all(|(lanes, _)| matches!(lanes, Lanes::One(_))) {
            return self.each(operands, f);
        }
        let scalars: Vec<ir::Value> = (0..self.lanes)
            .map(|lane| {
                let operands: SmallVec<[ir::Value; 3]> =
                    operands.iter().map(|(lanes, kind)| self.lane(lanes, *kind, lane)).collect();
                f(self, &operands)
            })
            .collect();
        self.gathered(&scalars, result)
    }

    /// A mask of 32 bits a lane as one of 64 bits, for vectors of 64-bit kinds.
    pub(super) fn widen_mask(&mut self, mask: &[ir::Value]) -> Vectors {
        let mut wide = Vectors::new();
        for &half in mask {
            wide.push(self.b.ins().swiden_low(half));
            wide.push(self.b.ins().swiden_high(half));
        }
        wide
    }

    /// The mask that fits vectors of a kind.
    pub(super) fn mask_for(&mut self, mask: &[ir::Value], kind: Kind) -> Vectors {
        if kind.is_wide() { self.widen_mask(mask) } else { mask.into() }
    }

    /// A mask of 64 bits a lane as one of 32.
    pub(super) fn narrow_mask(&mut self, mask: &[ir::Value]) -> Vectors {
        mask.chunks(2).map(|pair| self.low_halves(pair[0], pair[1])).collect()
    }

    /// The lower halves of the four lanes of two vectors of 64 bits a lane.
    pub(super) fn low_halves(&mut self, low: ir::Value, high: ir::Value) -> ir::Value {
        use cranelift_codegen::ir::types::I8X16;
        let bytes: Vec<u8> = [0, 8, 16, 24].iter().flat_map(|start| *start..start + 4).collect();
        let (low, high) = (self.cast(I8X16, low), self.cast(I8X16, high));
        let mask = self.b.func.dfg.immediates.push(bytes.into());
        let halves = self.b.ins().shuffle(low, high, mask);
        self.cast(I32X4, halves)
    }

    /// `yes` in the lanes of a mask, `no` in the others.
    pub(super) fn blend(&mut self, mask: &[ir::Value], yes: &[ir::Value], no: &[ir::Value]) -> Vectors {
        (0..yes.len()).map(|i| self.blend_vector(mask[i], yes[i], no[i])).collect()
    }

    fn blend_vector(&mut self, mask: ir::Value, yes: ir::Value, no: ir::Value) -> ir::Value {
        let ty = self.type_of(yes);
        if self.is_one_more(yes, no) {
            // The mask is −1.
            return self.b.ins().isub(no, mask);
        }
        if cfg!(target_arch = "x86_64") {
            // One instruction, which looks at the highest bit of each lane; bit by bit it would be three.
            let integers = if ty.lane_bits() == 64 { I64X2 } else { I32X4 };
            let [mask, yes, no] = [mask, yes, no].map(|value| self.cast(integers, value));
            let blended = self.b.ins().blendv(mask, yes, no);
            return self.cast(ty, blended);
        }
        let mask = self.cast(ty, mask);
        self.b.ins().bitselect(mask, yes, no)
    }

    /// Whether vectors of 32 bits a lane are `before` + 1, as where lanes count for themselves.
    fn is_one_more(&self, value: ir::Value, before: ir::Value) -> bool {
        let dfg = &self.b.func.dfg;
        let defined = |value: ir::Value| dfg.value_def(value).inst().map(|inst| &dfg.insts[inst]);
        if self.type_of(value) != I32X4 {
            return false;
        }
        let Some(ir::InstructionData::Binary { opcode: ir::Opcode::Iadd, args }) = defined(value) else { return false };
        let Some(ir::InstructionData::UnaryConst { constant_handle, .. }) = defined(args[1]) else { return false };
        args[0] == before && dfg.constants.get(*constant_handle).as_slice() == [1u32.to_le_bytes(); 4].as_flattened()
    }

    /// Whether a mask has any lane, as a scalar.
    pub(super) fn any(&mut self, mask: &[ir::Value]) -> ir::Value {
        let whole = self.fold(mask, |b, a, c| b.ins().bor(a, c));
        self.b.ins().vany_true(whole)
    }

    /// Whether a mask has all lanes.
    pub(super) fn all(&mut self, mask: &[ir::Value]) -> ir::Value {
        let whole = self.fold(mask, |b, a, c| b.ins().band(a, c));
        self.b.ins().vall_true(whole)
    }

    fn fold(
        &mut self,
        mask: &[ir::Value],
        mut f: impl FnMut(&mut cranelift_frontend::FunctionBuilder<'_>, ir::Value, ir::Value) -> ir::Value,
    ) -> ir::Value {
        let mut whole = mask[0];
        for &part in &mask[1..] {
            whole = f(&mut self.b, whole, part);
        }
        whole
    }

    pub(super) fn and(&mut self, a: &[ir::Value], b: &[ir::Value]) -> Vectors {
        a.iter().zip(b).map(|(a, b)| self.b.ins().band(*a, *b)).collect()
    }

    pub(super) fn or(&mut self, a: &[ir::Value], b: &[ir::Value]) -> Vectors {
        a.iter().zip(b).map(|(a, b)| self.b.ins().bor(*a, *b)).collect()
    }

    /// The lanes of `a` without those of `b`.
    pub(super) fn without(&mut self, a: &[ir::Value], b: &[ir::Value]) -> Vectors {
        a.iter()
            .zip(b)
            .map(|(a, b)| {
                let not = self.b.ins().bnot(*b);
                self.b.ins().band(*a, not)
            })
            .collect()
    }

    /// The mask of all lanes, or of none.
    pub(super) fn whole_mask(&mut self, set: bool) -> Vectors {
        let vector = self.bits(I32X4, if set { u64::MAX } else { 0 });
        SmallVec::from_elem(vector, self.count(Kind::Bool))
    }
}
