//! What comes of the normal distribution: its error function, and GELU.

use super::exponential::{near_exp2, near_expm1, reduce};
use super::{Simd, exact_product, nearest, polynomial};

/// The error function, within 1.5 units.
///
/// x + x·p(x²) below 0.9, fitted to a relative error of 1.4e-8, and 1 − 2^q(x) from there on, fitted to 1.7e-9.
#[inline(always)]
pub fn erf<V: Simd>(x: V) -> V {
    // From 4 on it is 1.
    let a = V::splat(4.0).min(x.abs());
    let square = a.mul(a);
    let p =
        polynomial(square, [0.128_379_15, -0.376_125_04, 0.112_819_22, -0.026_770_493, 0.004_998_959, -6.020_799_6e-4]);
    let q = polynomial(
        a,
        [-2.401_392_3e-4, -1.627_067_4, -0.918_962_36, -0.150_204_1, 0.032_193_907, -0.004_422_513, 2.859_622e-4],
    );
    let n = nearest(q, 1.0);
    let beyond = V::splat(1.0).sub(near_exp2(q.sub(n)).scale(n));
    V::select(a.less(V::splat(0.9)), p.fma(a, a), beyond).copysign(x)
}

/// x·Φ(x) with the normal distribution Φ, within 4 units. Subnormal results may be zero; −∞ gives NaN, as the formula
/// does.
///
/// With a = |x|, Φ(−a) is e^(−a²/2)·g(a), where g falls slowly from 1/2. The result is max(x, 0) − a·Φ(−a) for either
/// sign: never a difference of numbers that are nearly equal. 1/g is √(2π)·a + P/Q, fitted up to 14.3, where results
/// end, to a relative error of 2.3e-9. All coefficients are positive, and for large a the fraction counts little, and so
/// do its errors.
#[inline(always)]
pub fn gelu<V: Simd>(x: V) -> V {
    let a = V::splat(15.0).min(x.abs());
    let p = polynomial(a, [3.174_802, 2.000_421_3, 0.660_739_8, 0.118_672_67, 0.009_922_81]);
    let q = polynomial(a, [1.587_401, 1.723_160_1, 0.898_276_3, 0.271_082_13, 0.047_363_326, 0.003_958_231_3]);
    let above = a.mul(q);
    let factor = above.div(above.fma(V::splat(2.506_628_3), p));
    // An error of the exponent is a relative error of the power, so the square's own error counts.
    let (square, square_low) = exact_product(a, a);
    let half = V::splat(-0.5);
    let (n, r) = reduce(square.mul(half));
    let power = near_expm1(square_low.fma(half, r));
    let tail = power.fma(factor, factor).scale(n);
    // Of two zeros, and if one is NaN, `max` gives the second.
    let y = V::splat(-0.0).max(x).sub(tail);
    V::select(x.equal(V::splat(f32::NEG_INFINITY)), V::splat(f32::NAN), y)
}
