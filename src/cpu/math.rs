//! Elementary functions over [`Simd`].
//!
//! Each is one straight line of arithmetic for all lanes: where it has cases, all are computed and one is selected.
//! Only what next to nobody asks for (a sine of millions, a remainder of huge ratios) leaves the line, lane by lane.
//!
//! Errors are given in units in the last place of the result. They hold at every level, also where `fma` rounds twice,
//! and the tests measure them over the whole range.

use super::simd::{MAX_LANES, Simd};

mod division;
mod exponential;
mod inverse;
mod logarithm;
mod normal;
mod power;
mod trigonometric;

pub use division::{floor_divide, remainder};
pub use exponential::{cosh, exp, exp2, expm1, gelu_tanh, sigmoid, silu, sinh, tanh};
pub use inverse::{acos, asin, atan, atan2};
pub use logarithm::{acosh, asinh, atanh, log, log1p, log2, softplus};
pub use normal::{erf, gelu};
pub use power::power;
pub use trigonometric::{cos, sin, tan};

/// The larger of the two; NaN if either is.
#[inline(always)]
pub fn maximum<V: Simd>(x: V, y: V) -> V {
    V::select(x.is_nan(), x, x.max(y))
}

/// The smaller of the two; NaN if either is.
#[inline(always)]
pub fn minimum<V: Simd>(x: V, y: V) -> V {
    V::select(x.is_nan(), x, x.min(y))
}

/// 1 / √x, within 1.5 units.
#[inline(always)]
pub fn rsqrt<V: Simd>(x: V) -> V {
    V::splat(1.0).div(x.sqrt())
}

/// −1, 0 or 1; NaN for NaN.
#[inline(always)]
pub fn sign<V: Simd>(x: V) -> V {
    let zero = V::splat(0.0);
    // The sum makes −0 a plain zero.
    let rest = V::select(zero.less(x), V::splat(1.0), x.add(zero));
    V::select(x.less(zero), V::splat(-1.0), rest)
}

/// `c[0] + c[1]·x + c[2]·x² + …`
#[inline(always)]
fn polynomial<V: Simd, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    let mut sum = V::splat(coefficients[N - 1]);
    for &coefficient in coefficients.iter().rev().skip(1) {
        sum = sum.fma(x, V::splat(coefficient));
    }
    sum
}

/// The whole number nearest to `x · factor`, for magnitudes of at most 2^22: adding and taking away 1.5·2^23 rounds to
/// one.
#[inline(always)]
fn nearest<V: Simd>(x: V, factor: f32) -> V {
    const ROUND: f32 = 12_582_912.0;
    x.fma(V::splat(factor), V::splat(ROUND)).sub(V::splat(ROUND))
}

/// `low` and `high` as bounds of x. NaN passes, being the second operand.
#[inline(always)]
fn clamp<V: Simd>(x: V, low: f32, high: f32) -> V {
    V::splat(high).min(V::splat(low).max(x))
}

/// `a + b` as its rounded value and the error of that, for |a| ≥ |b| or a = 0.
#[inline(always)]
fn exact_sum<V: Simd>(a: V, b: V) -> (V, V) {
    let sum = a.add(b);
    (sum, b.sub(sum.sub(a)))
}

/// `a · b` as its rounded value and the error of that, where neither comes near the ends of the range.
#[inline(always)]
fn exact_product<V: Simd>(a: V, b: V) -> (V, V) {
    let product = a.mul(b);
    if V::FUSED {
        return (product, a.fma(b, product.neg()));
    }
    let ((a, a_low), (b, b_low)) = (halves(a), halves(b));
    let error = a.mul(b).sub(product).add(a.mul(b_low)).add(a_low.mul(b)).add(a_low.mul(b_low));
    (product, error)
}

/// Two numbers of 12 bits whose sum is x: their products are exact.
#[inline(always)]
fn halves<V: Simd>(x: V) -> (V, V) {
    let large = x.mul(V::splat(4097.0));
    let high = large.sub(large.sub(x));
    (high, x.sub(high))
}

/// `y`, but in the lanes of the mask the function of `a` and `b`.
#[inline(always)]
#[expect(unsafe_code, reason = "lanes are reached through memory")]
fn replace<V: Simd>(y: V, mask: V::Mask, a: V, b: V, function: fn(f32, f32) -> f32) -> V {
    let mut chosen = [0; MAX_LANES];
    let [mut lanes, mut first, mut second] = [[0.0; MAX_LANES]; 3];
    // SAFETY: the arrays take any vector.
    unsafe {
        V::store_mask(mask, chosen.as_mut_ptr());
        y.store_f32(lanes.as_mut_ptr());
        a.store_f32(first.as_mut_ptr());
        b.store_f32(second.as_mut_ptr());
    }
    replace_lanes(&mut lanes, &chosen, &first, &second, function);
    // SAFETY: as above.
    unsafe { V::load_f32(lanes.as_ptr()) }
}

/// Not inlined: one copy serves all levels, and its loop stays out of theirs.
#[cold]
#[inline(never)]
fn replace_lanes(
    y: &mut [f32; MAX_LANES],
    chosen: &[u8; MAX_LANES],
    a: &[f32; MAX_LANES],
    b: &[f32; MAX_LANES],
    function: fn(f32, f32) -> f32,
) {
    for i in 0..MAX_LANES {
        if chosen[i] != 0 {
            y[i] = function(a[i], b[i]);
        }
    }
}

#[cfg(test)]
mod tests;
