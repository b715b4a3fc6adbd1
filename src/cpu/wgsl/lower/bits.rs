//! Integers by their bits.

use super::build::Builder;
use crate::cpu::wgsl::ir::{Binary, Kind, Unary, Value};

fn width(build: &Builder, x: Value) -> u32 {
    if build.kind(x).is_wide() { 64 } else { 32 }
}

/// The place of the lowest bit that is set, or −1.
pub(super) fn first_trailing(build: &mut Builder, x: Value) -> Value {
    let place = build.unary(Unary::TrailingZeros, x);
    let is_zero = build.compare(Binary::Equal, x, 0);
    let none = build.integer(build.kind(x), -1);
    build.select(is_zero, none, place)
}

/// The place of the highest bit that is set, for negative numbers that is not set; or −1.
pub(super) fn first_leading(build: &mut Builder, x: Value) -> Value {
    let mut bits = x;
    if build.kind(x).is_signed() {
        let opposite = build.unary(Unary::Not, x);
        let is_negative = build.compare(Binary::Less, x, 0);
        bits = build.select(is_negative, opposite, x);
    }
    let zeros = build.unary(Unary::LeadingZeros, bits);
    let highest = build.integer(build.kind(x), i64::from(width(build, x)) - 1);
    build.binary(Binary::Subtract, highest, zeros)
}

/// Offset and count so that they stay within the bits, and how many bits are above.
fn within(build: &mut Builder, x: Value, offset: Value, count: Value) -> (Value, Value, Value) {
    let width = build.u32(width(build, x));
    let offset = build.min(offset, width);
    let rest = build.binary(Binary::Subtract, width, offset);
    let count = build.min(count, rest);
    let above = build.binary(Binary::Subtract, rest, count);
    (offset, count, above)
}

/// Bits as a number, of the sign that the type has.
pub(super) fn extract(build: &mut Builder, x: Value, offset: Value, count: Value) -> Value {
    let (offset, count, above) = within(build, x, offset, count);
    let high = build.binary(Binary::ShiftLeft, x, above);
    let beside = build.binary(Binary::Add, above, offset);
    let low = build.binary(Binary::ShiftRight, high, beside);
    let is_empty = build.compare(Binary::Equal, count, 0);
    let zero = build.zero(build.kind(x));
    build.select(is_empty, zero, low)
}

/// Bits replaced by the lowest ones of another number.
pub(super) fn insert(build: &mut Builder, x: Value, bits: Value, offset: Value, count: Value) -> Value {
    let kind = build.kind(x);
    let unsigned = if kind.is_wide() { Kind::U64 } else { Kind::U32 };
    let (offset, count, above) = within(build, x, offset, count);
    let all = build.integer(unsigned, -1);
    let beside = build.binary(Binary::Add, above, offset);
    let ones = build.binary(Binary::ShiftRight, all, beside);
    let mask = build.binary(Binary::ShiftLeft, ones, offset);
    let mask = build.unary(Unary::Bitcast(kind), mask);
    let placed = build.binary(Binary::ShiftLeft, bits, offset);
    let others = build.unary(Unary::Not, mask);
    let kept = build.binary(Binary::And, x, others);
    let new = build.binary(Binary::And, placed, mask);
    let inserted = build.binary(Binary::Or, kept, new);
    let is_empty = build.compare(Binary::Equal, count, 0);
    build.select(is_empty, x, inserted)
}
