//! Several small numbers in one integer.

use naga::MathFunction;

use super::build::Builder;
use crate::cpu::wgsl::ir::{Binary, Kind, Unary, Value};

/// What a function packs or unpacks, if it does.
pub(super) fn lower(build: &mut Builder, function: MathFunction, x: &[Value]) -> Option<Vec<Value>> {
    use MathFunction as F;

    let byte_within = |low, high| {
        move |build: &mut Builder, x| {
            let (low, high) = (build.integer(build.kind(x), low), build.integer(build.kind(x), high));
            build.clamp(x, low, high)
        }
    };
    Some(match function {
        F::Pack4x8snorm => vec![pack(build, x, 8, |build, x| scaled(build, x, -1, 127))],
        F::Pack4x8unorm => vec![pack(build, x, 8, |build, x| scaled(build, x, 0, 255))],
        F::Pack2x16snorm => vec![pack(build, x, 16, |build, x| scaled(build, x, -1, 32767))],
        F::Pack2x16unorm => vec![pack(build, x, 16, |build, x| scaled(build, x, 0, 65535))],
        F::Pack2x16float => vec![pack(build, x, 16, |build, x| {
            let half = build.unary(Unary::RoundToHalf, x);
            build.unary(Unary::HalfToBits, half)
        })],
        F::Pack4xI8 | F::Pack4xU8 => vec![pack(build, x, 8, |_, x| x)],
        F::Pack4xI8Clamp => vec![pack(build, x, 8, byte_within(-128, 127))],
        F::Pack4xU8Clamp => vec![pack(build, x, 8, byte_within(0, 255))],
        F::Unpack4x8snorm => normalized(build, x[0], 8, Kind::I32, 127),
        F::Unpack4x8unorm => normalized(build, x[0], 8, Kind::U32, 255),
        F::Unpack2x16snorm => normalized(build, x[0], 16, Kind::I32, 32767),
        F::Unpack2x16unorm => normalized(build, x[0], 16, Kind::U32, 65535),
        F::Unpack2x16float => {
            unpack(build, x[0], 16, Kind::U32).into_iter().map(|x| build.unary(Unary::HalfFromBits, x)).collect()
        }
        F::Unpack4xI8 => unpack(build, x[0], 8, Kind::I32),
        F::Unpack4xU8 => unpack(build, x[0], 8, Kind::U32),
        _ => return None,
    })
}

/// The products of bytes, added up.
pub(super) fn dot(build: &mut Builder, x: Value, y: Value, kind: Kind) -> Value {
    let (x, y) = (unpack(build, x, 8, kind), unpack(build, y, 8, kind));
    super::geometry::dot(build, super::types::Scalar::plain(kind), &x, &y)
}

/// Numbers beside each other in a `U32`, the first one lowest, so many bits of each.
fn pack(build: &mut Builder, x: &[Value], bits: u32, mut number: impl FnMut(&mut Builder, Value) -> Value) -> Value {
    let mut packed = build.u32(0);
    for (i, x) in (0..).zip(x) {
        let x = number(build, *x);
        let x = build.unary(Unary::Bitcast(Kind::U32), x);
        let x = build.masked(x, (1 << bits) - 1);
        let x = build.shift_left(x, i * bits);
        packed = build.binary(Binary::Or, packed, x);
    }
    packed
}

/// The numbers in a `U32`, with the sign that the kind has.
fn unpack(build: &mut Builder, x: Value, bits: u32, kind: Kind) -> Vec<Value> {
    let x = build.unary(Unary::Bitcast(kind), x);
    let number = |i| {
        let high = build.shift_left(x, 32 - bits * (i + 1));
        build.shift_right(high, 32 - bits)
    };
    (0..32 / bits).map(number).collect()
}

/// `floor(0.5 + most * x)` with `x` at least `low` and at most 1, as an integer.
fn scaled(build: &mut Builder, x: Value, low: i64, most: i64) -> Value {
    let (low, one) = (build.integer(Kind::F32, low), build.integer(Kind::F32, 1));
    let x = build.clamp(x, low, one);
    let most = build.integer(Kind::F32, most);
    let x = build.binary(Binary::Multiply, most, x);
    let half = build.float(Kind::F32, 0.5);
    let x = build.binary(Binary::Add, half, x);
    let x = build.unary(Unary::Floor, x);
    build.unary(Unary::Convert(Kind::I32), x)
}

/// The numbers in a `U32` over the largest one; signed ones are at least −1.
fn normalized(build: &mut Builder, x: Value, bits: u32, kind: Kind, most: i64) -> Vec<Value> {
    let (most, least) = (build.integer(Kind::F32, most), build.integer(Kind::F32, -1));
    let numbers = unpack(build, x, bits, kind);
    let number = |x| {
        let x = build.unary(Unary::Convert(Kind::F32), x);
        let x = build.binary(Binary::Divide, x, most);
        if kind == Kind::I32 { build.max(x, least) } else { x }
    };
    numbers.into_iter().map(number).collect()
}
