//! From one kind of number to another, and halves.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I32, I64};
use cranelift_codegen::ir::{self, InstBuilder};

use super::Emitter;
use super::lanes::{Lanes, scalar_type, vector_type};
use crate::cpu::wgsl::ir::{Binary, Kind};

/// The bits of the largest integer of a kind that is a float of another: larger floats become that.
fn largest(from: Kind, to: Kind) -> u64 {
    let (bits, sign) = (if to.is_wide() { 64 } else { 32 }, u32::from(to.is_signed()));
    let precision = if from == Kind::F32 { 24 } else { 53 };
    let most = u64::MAX >> (64 - bits + sign);
    let lost = (bits - sign).saturating_sub(precision);
    most >> lost << lost
}

impl Emitter<'_> {
    pub(super) fn converted(&mut self, from: Kind, to: Kind, a: &Lanes) -> Lanes {
        match (from, to) {
            _ if from == to => a.clone(),
            // The same bits.
            (Kind::I32, Kind::U32) | (Kind::U32, Kind::I32) | (Kind::I64, Kind::U64) | (Kind::U64, Kind::I64) => {
                a.clone()
            }
            (_, Kind::Bool) => {
                let zero = Lanes::One(self.bits(scalar_type(from), 0));
                self.compared(Binary::NotEqual, from, a, &zero)
            }
            (Kind::Bool, _) => {
                let one = match to {
                    Kind::F32 => u64::from(1_f32.to_bits()),
                    Kind::F64 => 1_f64.to_bits(),
                    _ => 1,
                };
                let one = Lanes::One(self.bits(scalar_type(to), one));
                let zero = Lanes::One(self.bits(scalar_type(to), 0));
                self.selected(a, &one, &zero, to)
            }
            _ if from.is_wide() || to.is_wide() => {
                self.each_lane(&[(a, from)], to, |e, v| e.converted_scalar(from, to, v[0]))
            }
            _ => self.each(&[(a, from)], |e, v| {
                let is_vector = e.type_of(v[0]).is_vector();
                let ty = if is_vector { vector_type(to) } else { scalar_type(to) };
                match (from, to) {
                    (Kind::F32, _) => {
                        let number = if to.is_signed() {
                            e.b.ins().fcvt_to_sint_sat(ty, v[0])
                        } else {
                            e.b.ins().fcvt_to_uint_sat(ty, v[0])
                        };
                        let most = e.bits(ty, largest(from, to));
                        if to.is_signed() { e.b.ins().smin(number, most) } else { e.b.ins().umin(number, most) }
                    }
                    (Kind::I32, _) => e.b.ins().fcvt_from_sint(ty, v[0]),
                    _ => e.b.ins().fcvt_from_uint(ty, v[0]),
                }
            }),
        }
    }

    fn converted_scalar(&mut self, from: Kind, to: Kind, value: ir::Value) -> ir::Value {
        let ty = scalar_type(to);
        match (from, to) {
            (Kind::F32, Kind::F64) => self.b.ins().fpromote(F64, value),
            (Kind::F64, Kind::F32) => self.b.ins().fdemote(F32, value),
            (Kind::F32 | Kind::F64, _) => {
                let most = self.bits(ty, largest(from, to));
                if to.is_signed() {
                    let number = self.b.ins().fcvt_to_sint_sat(ty, value);
                    self.b.ins().smin(number, most)
                } else {
                    let number = self.b.ins().fcvt_to_uint_sat(ty, value);
                    self.b.ins().umin(number, most)
                }
            }
            (_, Kind::F32 | Kind::F64) if from.is_signed() => self.b.ins().fcvt_from_sint(ty, value),
            (_, Kind::F32 | Kind::F64) => self.b.ins().fcvt_from_uint(ty, value),
            _ if from.is_wide() => self.b.ins().ireduce(I32, value),
            _ if from.is_signed() => self.b.ins().sextend(I64, value),
            _ => self.b.ins().uextend(I64, value),
        }
    }

    /// The halves whose bits are the lower ones of numbers, as floats.
    pub(super) fn half_from_bits(&mut self, bits: ir::Value) -> ir::Value {
        let ty = self.type_of(bits);
        let float = if ty.is_vector() { vector_type(Kind::F32) } else { F32 };
        let number = |e: &mut Self, bits: u64| e.bits(ty, bits);
        let (magnitude, sign) = (number(self, 0x7fff), number(self, 0x8000));
        let magnitude = self.b.ins().band(bits, magnitude);
        let magnitude = self.b.ins().ishl_imm_u(magnitude, 13);
        let sign = self.b.ins().band(bits, sign);
        let sign = self.b.ins().ishl_imm_u(sign, 16);
        // The exponent's offset is 112 more. That of infinities and NaN is as large as can be.
        let more = number(self, 112 << 23);
        let normal = self.b.ins().iadd(magnitude, more);
        let endless = self.b.ins().iadd(normal, more);
        // A subnormal one is what it adds to the least normal one.
        let step = number(self, 1 << 23);
        let subnormal = self.b.ins().iadd(normal, step);
        let subnormal = self.cast(float, subnormal);
        let least = self.bits(float, 113 << 23);
        let subnormal = self.b.ins().fsub(subnormal, least);
        let subnormal = self.cast(ty, subnormal);
        let (first_normal, first_endless) = (number(self, 0x400 << 13), number(self, 0x7c00 << 13));
        let is_subnormal = self.b.ins().icmp(IntCC::SignedLessThan, magnitude, first_normal);
        let is_finite = self.b.ins().icmp(IntCC::SignedLessThan, magnitude, first_endless);
        let result = self.choose(is_subnormal, subnormal, normal);
        let result = self.choose(is_finite, result, endless);
        let result = self.b.ins().bor(result, sign);
        self.cast(float, result)
    }

    /// The bits of floats that halves can hold.
    pub(super) fn half_to_bits(&mut self, value: ir::Value) -> ir::Value {
        let ty = Self::integers(self.type_of(value));
        let float = self.type_of(value);
        let bits = self.cast(ty, value);
        let (mask, low) = (self.bits(ty, 0x7fff_ffff), self.bits(ty, 0x8000));
        let magnitude = self.b.ins().band(bits, mask);
        let sign = self.b.ins().ushr_imm_u(bits, 16);
        let sign = self.b.ins().band(sign, low);
        let less = self.bits(ty, 112 << 23);
        let normal = self.b.ins().isub(magnitude, less);
        let normal = self.b.ins().ushr_imm_u(normal, 13);
        let twice = self.bits(ty, 224 << 23);
        let endless = self.b.ins().isub(magnitude, twice);
        let endless = self.b.ins().ushr_imm_u(endless, 13);
        let half = self.bits(float, 0x3f00_0000);
        let positive = self.cast(float, magnitude);
        let subnormal = self.b.ins().fadd(positive, half);
        let subnormal = self.cast(ty, subnormal);
        let half = self.bits(ty, 0x3f00_0000);
        let subnormal = self.b.ins().isub(subnormal, half);
        let (first_normal, first_endless) = (self.bits(ty, 0x3880_0000), self.bits(ty, 0x7f80_0000));
        let is_subnormal = self.b.ins().icmp(IntCC::SignedLessThan, magnitude, first_normal);
        let is_finite = self.b.ins().icmp(IntCC::SignedLessThan, magnitude, first_endless);
        let result = self.choose(is_subnormal, subnormal, normal);
        let result = self.choose(is_finite, result, endless);
        self.b.ins().bor(result, sign)
    }

    /// The nearest floats that halves can hold.
    pub(super) fn round_to_half(&mut self, value: ir::Value) -> ir::Value {
        let float = self.type_of(value);
        let ty = Self::integers(float);
        let bits = self.cast(ty, value);
        let (mask, sign) = (self.bits(ty, 0x7fff_ffff), self.bits(ty, 0x8000_0000));
        let magnitude = self.b.ins().band(bits, mask);
        let sign = self.b.ins().band(bits, sign);
        // Ten bits of the fraction stay. Half of the last one is added, less a little where that one is even.
        let one = self.bits(ty, 1);
        let last = self.b.ins().ushr_imm_u(magnitude, 13);
        let last = self.b.ins().band(last, one);
        let almost_half = self.bits(ty, 0xfff);
        let normal = self.b.ins().iadd(magnitude, almost_half);
        let normal = self.b.ins().iadd(normal, last);
        let stays = self.bits(ty, !0x1fff);
        let normal = self.b.ins().band(normal, stays);
        // 65536 and more is infinite.
        let (too_large, infinity) = (self.bits(ty, 0x4780_0000), self.bits(ty, 0x7f80_0000));
        let is_large = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, normal, too_large);
        let normal = self.choose(is_large, infinity, normal);
        // A number near one half has steps as subnormal halves have.
        let positive = self.cast(float, magnitude);
        let half = self.bits(float, 0x3f00_0000);
        let subnormal = self.b.ins().fadd(positive, half);
        let subnormal = self.b.ins().fsub(subnormal, half);
        let subnormal = self.cast(ty, subnormal);
        let first_normal = self.bits(ty, 0x3880_0000);
        let is_subnormal = self.b.ins().icmp(IntCC::SignedLessThan, magnitude, first_normal);
        let result = self.choose(is_subnormal, subnormal, normal);
        let nan = self.bits(ty, 0x7fc0_0000);
        let is_nan = self.b.ins().fcmp(FloatCC::Unordered, value, value);
        let result = self.choose(is_nan, nan, result);
        let result = self.b.ins().bor(result, sign);
        debug_assert!(self.type_of(is_nan) == I8 || float.is_vector());
        self.cast(float, result)
    }
}
