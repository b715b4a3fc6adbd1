//! Floats by their bits.

use super::build::Builder;
use super::types::Scalar;
use crate::cpu::wgsl::ir::{Binary, Kind, Unary, Value};

/// How a kind of floats is made of bits.
struct Parts {
    /// The unsigned and the signed integers of its size.
    unsigned: Kind,
    signed: Kind,
    /// How many bits the fraction has.
    fraction: u32,
    /// What is added to exponents, and the largest of them.
    bias: i64,
    /// The exponent of infinities and NaN.
    special: i64,
}

impl Parts {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::F64 => Self { unsigned: Kind::U64, signed: Kind::I64, fraction: 52, bias: 1023, special: 0x7ff },
            _ => Self { unsigned: Kind::U32, signed: Kind::I32, fraction: 23, bias: 127, special: 0xff },
        }
    }

    fn infinity(&self) -> i64 {
        self.special << self.fraction
    }
}

/// The bits without the sign.
fn magnitude(build: &mut Builder, parts: &Parts, x: Value) -> Value {
    let bits = build.unary(Unary::Bitcast(parts.unsigned), x);
    build.masked(bits, parts.infinity() | ((1 << parts.fraction) - 1))
}

pub(super) fn is_nan(build: &mut Builder, x: Value) -> Value {
    let parts = Parts::of(build.kind(x));
    let magnitude = magnitude(build, &parts, x);
    build.compare(Binary::Greater, magnitude, parts.infinity())
}

pub(super) fn is_infinite(build: &mut Builder, x: Value) -> Value {
    let parts = Parts::of(build.kind(x));
    let magnitude = magnitude(build, &parts, x);
    build.compare(Binary::Equal, magnitude, parts.infinity())
}

/// What is behind the point, and what is before it. Of infinities nothing is behind it.
pub(super) fn modf(build: &mut Builder, scalar: Scalar, x: Value) -> (Value, Value) {
    let whole = build.unary(Unary::Trunc, x);
    let fraction = build.subtract(scalar, x, whole);
    let infinite = is_infinite(build, x);
    let zero = build.zero(scalar.kind);
    (build.select(infinite, zero, fraction), whole)
}

/// A number in [0.5, 1) or (−1, −0.5], and the power of two that makes `x` of it. Zeros, infinities and NaN are left as
/// they are, with the power 0.
pub(super) fn frexp(build: &mut Builder, scalar: Scalar, x: Value) -> (Value, Value) {
    let kind = scalar.kind;
    let parts = Parts::of(kind);
    // What is too small for an exponent of its own is made larger.
    let size = magnitude(build, &parts, x);
    let is_small = build.compare(Binary::Less, size, 1 << parts.fraction);
    let raised = i64::from(parts.fraction) + 2;
    let factor = build.float(kind, (1_u64 << raised) as f64);
    let larger = build.binary(Binary::Multiply, x, factor);
    let normal = build.select(is_small, larger, x);
    let (lowered, unlowered) = (build.integer(parts.signed, -raised), build.zero(parts.signed));
    let lowered = build.select(is_small, lowered, unlowered);

    let bits = build.unary(Unary::Bitcast(parts.unsigned), normal);
    let exponent = build.shift_right(bits, parts.fraction);
    let exponent = build.masked(exponent, parts.special);
    let exponent = build.unary(Unary::Bitcast(parts.signed), exponent);
    let below_half = build.integer(parts.signed, 1 - parts.bias);
    let exponent = build.binary(Binary::Add, exponent, below_half);
    let exponent = build.binary(Binary::Add, exponent, lowered);

    let rest = build.masked(bits, !parts.infinity());
    let half = build.integer(parts.unsigned, (parts.bias - 1) << parts.fraction);
    let fraction = build.binary(Binary::Or, rest, half);
    let fraction = build.unary(Unary::Bitcast(kind), fraction);

    let is_zero = build.compare(Binary::Equal, size, 0);
    let is_special = build.compare(Binary::GreaterEqual, size, parts.infinity());
    let is_itself = build.binary(Binary::Or, is_zero, is_special);
    let none = build.zero(parts.signed);
    (build.select(is_itself, x, fraction), build.select(is_itself, none, exponent))
}

/// `x` times two to the power of an integer, rounded once.
pub(super) fn ldexp(build: &mut Builder, scalar: Scalar, x: Value, power: Value) -> Value {
    let kind = scalar.kind;
    let parts = Parts::of(kind);
    let (low, high) = (1 - parts.bias, parts.bias);
    // A first step down leaves so much to the last one that what is rounded on the way comes to zero anyway.
    let down = low + i64::from(parts.fraction) + 1;
    let power_kind = build.kind(power);
    let (least, most) = (build.integer(power_kind, 4 * low), build.integer(power_kind, 4 * high));
    let power = build.clamp(power, least, most);
    let mut power = build.unary(Unary::Convert(parts.signed), power);
    let mut x = x;
    let none = build.zero(parts.signed);
    let steps = if scalar.half { 0 } else { 2 };
    for _ in 0..steps {
        let is_high = build.compare(Binary::Greater, power, high);
        let is_low = build.compare(Binary::Less, power, low);
        let (up, down) = (build.integer(parts.signed, high), build.integer(parts.signed, down));
        let step = build.select(is_low, down, none);
        let step = build.select(is_high, up, step);
        x = scaled(build, kind, &parts, x, step);
        power = build.binary(Binary::Subtract, power, step);
    }
    let (least, most) = (build.integer(parts.signed, low), build.integer(parts.signed, high));
    let power = build.clamp(power, least, most);
    let result = scaled(build, kind, &parts, x, power);
    build.rounded(scalar, result)
}

/// Times a power of two that is a normal number.
fn scaled(build: &mut Builder, kind: Kind, parts: &Parts, x: Value, power: Value) -> Value {
    let bias = build.integer(parts.signed, parts.bias);
    let exponent = build.binary(Binary::Add, power, bias);
    let bits = build.shift_left(exponent, parts.fraction);
    let factor = build.unary(Unary::Bitcast(kind), bits);
    build.binary(Binary::Multiply, x, factor)
}
