//! Division that leaves a remainder, as NumPy's `%` and `//` do it: the remainder has the sign of the divisor.
//!
//! Both are exact. That is easy while the quotient is small: its product with the divisor is within one divisor of the
//! dividend, so that the difference needs no rounding. Other quotients are found lane by lane.

use super::{Simd, exact_product, replace};

/// x − y·⌊x / y⌋. Zeros have the sign of y; a division by zero or of infinity gives NaN.
#[inline(always)]
pub fn remainder<V: Simd>(x: V, y: V) -> V {
    let (_, rest, far) = divide(x, y);
    let rest = V::select(rest.equal(V::splat(0.0)), rest.copysign(y), V::select(opposed(rest, y), rest.add(y), rest));
    if V::any(far) { replace(rest, far, x, y, one_remainder) } else { rest }
}

/// ⌊x / y⌋. A division by zero gives x / y, one of infinity NaN.
#[inline(always)]
pub fn floor_divide<V: Simd>(x: V, y: V) -> V {
    let (quotient, rest, far) = divide(x, y);
    let quotient = V::select(opposed(rest, y), quotient.sub(V::splat(1.0)), quotient);
    if V::any(far) { replace(quotient, far, x, y, one_floor_divide) } else { quotient }
}

/// x / y without its fraction, what that leaves of x, and where this is wrong. NaN is right.
#[inline(always)]
fn divide<V: Simd>(x: V, y: V) -> (V, V, V::Mask) {
    let exact = x.div(y);
    let quotient = exact.trunc();
    let (rest, far) = if V::FUSED {
        (quotient.fma(y.neg(), x), V::or(V::splat(4_194_304.0).less(exact.abs()), V::splat(f32::MAX).less(y.abs())))
    } else {
        // The product of a quotient of 12 bits is a sum of two exact ones, if the halves of the divisor are numbers.
        let (product, low) = exact_product(quotient, y);
        (x.sub(product).sub(low), V::or(V::splat(4096.0).less(exact.abs()), V::splat(1e30).less(y.abs())))
    };
    // The quotient may have been rounded up to the next whole number, which the remainder shows.
    let zero = V::splat(0.0);
    let over = V::xor(rest.less(zero), x.less(zero));
    let over = V::and(over, V::not(V::or(rest.equal(zero), quotient.equal(zero))));
    let step = V::splat(1.0).copysign(exact);
    (V::select(over, quotient.sub(step), quotient), V::select(over, step.fma(y, rest), rest), far)
}

/// Whether a remainder is not zero and has not the sign of the divisor.
#[inline(always)]
fn opposed<V: Simd>(rest: V, y: V) -> V::Mask {
    let zero = V::splat(0.0);
    V::and(V::xor(rest.less(zero), y.less(zero)), V::not(rest.equal(zero)))
}

fn one_remainder(x: f32, y: f32) -> f32 {
    let rest = x % y;
    if rest == 0.0 {
        rest.copysign(y)
    } else if (rest < 0.0) != (y < 0.0) {
        rest + y
    } else {
        rest
    }
}

fn one_floor_divide(x: f32, y: f32) -> f32 {
    if y == 0.0 {
        return x / y;
    }
    let rest = x % y;
    // In double precision, which the quotient of two floats does not leave.
    let quotient = ((f64::from(x) - f64::from(rest)) / f64::from(y)).round();
    let floor = if rest != 0.0 && (rest < 0.0) != (y < 0.0) { quotient - 1.0 } else { quotient };
    if floor == 0.0 { 0.0_f32.copysign(x / y) } else { floor as f32 }
}
