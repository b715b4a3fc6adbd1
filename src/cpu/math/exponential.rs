//! Powers of e and of 2, and what is a quotient of them.

use super::{Simd, clamp, exact_product, exact_sum, nearest, polynomial};

/// e^x, within 1.5 units, subnormal results included.
#[inline(always)]
pub fn exp<V: Simd>(x: V) -> V {
    let (n, r) = reduce(clamp(x, -104.0, 104.0));
    near_expm1(r).add(V::splat(1.0)).scale(n)
}

/// 2^x, within 1.5 units, subnormal results included.
#[inline(always)]
pub fn exp2<V: Simd>(x: V) -> V {
    let x = clamp(x, -160.0, 160.0);
    let n = nearest(x, 1.0);
    near_exp2(x.sub(n)).scale(n)
}

/// e^x − 1, within 2 units.
#[inline(always)]
pub fn expm1<V: Simd>(x: V) -> V {
    // (1 + q)·2^n − 1, in halves, because 2^n may be too large by one binary order.
    let (n, r) = reduce(clamp(x, -104.0, 89.0));
    let half = V::splat(0.5).scale(n);
    let y = near_expm1(r).fma(half, half.sub(V::splat(0.5)));
    // What is smaller than this is its own result; halves would lose the sign of zero and the last bit of subnormals.
    V::select(x.abs().less(V::splat(1.0 / 67_108_864.0)), x, y.add(y))
}

/// (e^2x − 1) / (e^2x + 1), within 3 units.
#[inline(always)]
pub fn tanh<V: Simd>(x: V) -> V {
    // By the magnitude, and with −2x, so that the power neither overflows nor cancels. Beyond 10 it is 1.
    let (n, r) = reduce(V::splat(10.0).min(x.abs()).mul(V::splat(-2.0)));
    let power = V::splat(1.0).scale(n);
    let less_one = near_expm1(r).fma(power, power.sub(V::splat(1.0)));
    less_one.div(less_one.add(V::splat(2.0))).copysign(x)
}

/// (e^x − e^−x) / 2, within 2 units.
///
/// Below 1 that is x + x³·p(x²), fitted to a relative error of 3e-10.
#[inline(always)]
pub fn sinh<V: Simd>(x: V) -> V {
    let a = x.abs();
    let square = a.mul(a);
    let p = polynomial(square, [0.166_666_67, 0.008_333_31, 1.984_289_6e-4, 2.782_213_2e-6]);
    let half = half_exp(a);
    V::select(a.less(V::splat(1.0)), p.mul(square).fma(a, a), half.sub(V::splat(0.25).div(half))).copysign(x)
}

/// (e^x + e^−x) / 2, within 2 units.
#[inline(always)]
pub fn cosh<V: Simd>(x: V) -> V {
    let half = half_exp(x.abs());
    half.add(V::splat(0.25).div(half))
}

/// e^a / 2 for positive numbers, also where e^a is too large.
#[inline(always)]
fn half_exp<V: Simd>(a: V) -> V {
    let (n, r) = reduce(V::splat(100.0).min(a));
    near_expm1(r).add(V::splat(1.0)).scale(n.sub(V::splat(1.0)))
}

/// 1 / (1 + e^−x), within 3 units. Subnormal results may be zero.
#[inline(always)]
pub fn sigmoid<V: Simd>(x: V) -> V {
    V::splat(1.0).div(exp(x.neg()).add(V::splat(1.0)))
}

/// x / (1 + e^−x), within 3 units. Subnormal results may be zero; −∞ gives NaN, as the formula does.
#[inline(always)]
pub fn silu<V: Simd>(x: V) -> V {
    let (n, r) = reduce(clamp(x.neg(), -104.0, 104.0));
    gated(x, near_expm1(r).add(V::splat(1.0)), n)
}

/// x · (1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2, within 3 units. Subnormal results may be zero; −∞ gives NaN, as the
/// formula does.
///
/// That is x / (1 + 2^−v) with v = x·(K + L·x²). An error of v is a relative error of the result where x is negative,
/// so v is computed in pairs of numbers, of which the second is the rounding error of the first.
#[inline(always)]
pub fn gelu_tanh<V: Simd>(x: V) -> V {
    // √(8/π) / ln 2, and 0.044715 of it.
    const K: [f32; 2] = [2.302_208_2, 1.294_840_2e-8];
    const L: [f32; 2] = [0.102_943_24, -2.016_198_5e-9];
    // Beyond 11 the result is zero or x.
    let minus_x = clamp(x, -11.0, 11.0).neg();
    let (square, square_low) = exact_product(minus_x, minus_x);
    let (cubic, cubic_low) = exact_product(square, V::splat(L[0]));
    let low = square.fma(V::splat(L[1]), square_low.fma(V::splat(L[0]), cubic_low.add(V::splat(K[1]))));
    let (factor, factor_low) = exact_sum(cubic.max(V::splat(K[0])), cubic.min(V::splat(K[0])));
    let (v, v_low) = exact_product(minus_x, factor);
    let n = nearest(v, 1.0);
    let r = minus_x.fma(factor_low.add(low), v_low).add(v.sub(n));
    gated(x, near_exp2(r), n)
}

/// x / (1 + power·2^n).
#[inline(always)]
fn gated<V: Simd>(x: V, power: V, n: V) -> V {
    // 2^n may overflow while the result is still a normal number: divide both by 2^8 then.
    let far = V::splat(96.0).less(n);
    let factor = V::select(far, V::splat(1.0 / 256.0), V::splat(1.0));
    let shift = V::select(far, V::splat(8.0), V::splat(0.0));
    x.mul(factor).div(power.scale(n.sub(shift)).add(factor))
}

/// `(n, r)` with x = n·ln 2 + r, n whole and |r| ≤ ln 2 / 2, for |x| ≤ 128.
#[inline(always)]
pub(super) fn reduce<V: Simd>(x: V) -> (V, V) {
    // ln 2 in two parts. The first has so few bits that its product with n is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let n = nearest(x, std::f32::consts::LOG2_E);
    (n, n.fma(V::splat(-LN_2_LOW), n.fma(V::splat(-LN_2_HIGH), x)))
}

/// e^r − 1 for |r| ≤ ln 2 / 2: r + r²·q(r), with a polynomial fitted by the Remez algorithm to a relative error of
/// 3.1e-9 in e^r.
#[inline(always)]
pub(super) fn near_expm1<V: Simd>(r: V) -> V {
    let q = polynomial(r, [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_453_8]);
    q.fma(r.mul(r), r)
}

/// 2^r for |r| ≤ 1/2 and a little more, by a polynomial fitted to a relative error of 1.4e-8.
#[inline(always)]
pub(super) fn near_exp2<V: Simd>(r: V) -> V {
    polynomial(r, [1.0, std::f32::consts::LN_2, 0.240_226_5, 0.055_503_78, 0.009_617_589, 0.001_338_61, 1.572_732_6e-4])
}
