//! Powers with any base and exponent.

use super::exponential::near_exp2;
use super::{Simd, clamp, exact_product, exact_sum, nearest, polynomial};

/// x^y with the special values of C's `pow`, within 2 units.
///
/// It is 2^(y·log2 |x|). The relative error of the logarithm is multiplied by as much as 104, so it is a pair of
/// numbers, of which the second is small beside the first.
#[inline(always)]
pub fn power<V: Simd>(x: V, y: V) -> V {
    let (zero, one, infinity) = (V::splat(0.0), V::splat(1.0), V::splat(f32::INFINITY));
    let a = x.abs();
    let (log, log_low) = log2_pair(a);
    let log = V::select(a.equal(zero), V::splat(f32::NEG_INFINITY), V::select(a.less(infinity), log, a));
    // Larger exponents lead to 0, 1 or infinity as this one does.
    let bounded = clamp(y, -4e9, 4e9);
    let (exponent, low) = exact_product(bounded, log);
    let low = V::select(exponent.abs().less(V::splat(160.0)), bounded.fma(log_low, low), zero);
    let exponent = clamp(exponent, -160.0, 160.0);
    let n = nearest(exponent, 1.0);
    let magnitude = near_exp2(exponent.sub(n).add(low)).scale(n);

    let half = y.mul(V::splat(0.5));
    let whole = y.equal(y.trunc());
    let odd = V::and(whole, V::not(half.equal(half.trunc())));
    let signed = V::select(odd, magnitude.copysign(x), magnitude);
    let no_power = V::and(V::and(x.less(zero), a.less(infinity)), V::not(whole));
    let always_one = V::or(x.equal(one), y.equal(zero));
    V::select(always_one, one, V::select(no_power, V::splat(f32::NAN), signed))
}

/// log2 a for positive finite numbers, as a sum whose relative error is below 2^−32.
///
/// a = 2^e·m, and m is compared with the nearest c of three: log2 m = log2 c + 2/ln 2·artanh s with
/// s = (m − c)/(m + c). That is at most 0.07, so all of artanh but its first term may be rounded once.
#[inline(always)]
fn log2_pair<V: Simd>(a: V) -> (V, V) {
    /// The bounds between them are near the geometric means.
    const CENTRE: [f32; 3] = [0.8125, 1.0, 1.3125];
    const BOUND: [f32; 2] = [0.901, 1.1455];
    /// log2 of the centres. The first parts have so few bits that their sums with e are exact.
    const LOG: [f32; 3] = [-0.299_560_55, 0.0, 0.392_333_98];
    const LOG_LOW: [f32; 3] = [2.650_161e-7, 0.0, -1.656_159_7e-5];
    /// 2 / ln 2.
    const FACTOR: [f32; 2] = [2.885_39, 3.851_926e-8];
    let (m, e) = a.split();
    let (below, above) = (m.less(V::splat(BOUND[0])), V::splat(BOUND[1]).less(m));
    let centre = one_of(below, above, CENTRE);

    let (divisor, divisor_low) = exact_sum(centre, m);
    let difference = m.sub(centre);
    let inverse = V::splat(1.0).div(divisor);
    let s = difference.mul(inverse);
    let (product, product_low) = exact_product(s, divisor);
    let remainder = difference.sub(product).sub(s.fma(divisor_low, product_low));
    let s_low = remainder.mul(inverse);

    let square = s.mul(s);
    let rest = polynomial(square, [0.961_796_7, 0.577_069_1, 0.415_302_52]).mul(square).mul(s);
    let (first, first_low) = exact_product(s, V::splat(FACTOR[0]));
    let first_low = s.fma(V::splat(FACTOR[1]), s_low.fma(V::splat(FACTOR[0]), first_low));
    let (sum, sum_low) = exact_sum(e.add(one_of(below, above, LOG)), first);
    exact_sum(sum, rest.add(one_of(below, above, LOG_LOW)).add(first_low).add(sum_low))
}

/// The first, the third, or the one between.
#[inline(always)]
fn one_of<V: Simd>(first: V::Mask, third: V::Mask, of: [f32; 3]) -> V {
    V::select(first, V::splat(of[0]), V::select(third, V::splat(of[2]), V::splat(of[1])))
}
