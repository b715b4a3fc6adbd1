//! Sine, cosine and tangent, for every finite number.
//!
//! x = m·π + r with |r| ≤ π/2 and a whole m, or for the cosine one that ends in ½. Then sin x is ± sin r, and cos x is
//! ∓ sin r: one polynomial serves both.

use super::{Simd, nearest, polynomial, replace};

/// Within 2.5 units.
#[inline(always)]
pub fn sin<V: Simd>(x: V) -> V {
    let n = nearest(x, std::f32::consts::FRAC_1_PI);
    // The sign of zero does not survive its reduction.
    let y = V::select(x.equal(V::splat(0.0)), x, signed(reduced(x, n), n));
    let large = V::splat(limit::<V>()).less(x.abs());
    if V::any(large) { replace(y, large, x, x, |x, _| f64::from(x).sin() as f32) } else { y }
}

/// Within 2.5 units.
#[inline(always)]
pub fn cos<V: Simd>(x: V) -> V {
    let n = nearest(x.fma(V::splat(std::f32::consts::FRAC_1_PI), V::splat(-0.5)), 1.0);
    let y = signed(reduced(x, n.add(V::splat(0.5))).neg(), n);
    let large = V::splat(limit::<V>()).less(x.abs());
    if V::any(large) { replace(y, large, x, x, |x, _| f64::from(x).cos() as f32) } else { y }
}

/// Within 4 units.
///
/// With |r| ≤ π/4, it is tan r, or −1 / tan r after odd multiples of π/2. tan r is a quotient: r + r³·p(r²), fitted to
/// a relative error of 4.1e-9, by 1 − r²/2 + r⁴·q(r²), fitted to 1.2e-10.
#[inline(always)]
pub fn tan<V: Simd>(x: V) -> V {
    let n = nearest(x, std::f32::consts::FRAC_2_PI);
    let r = reduced(x, n.mul(V::splat(0.5)));
    let square = r.mul(r);
    let p = polynomial(square, [-0.166_666_55, 0.008_332_187, -1.951_790_3e-4]);
    let q = polynomial(square, [-0.5, 0.041_666_646, -0.001_388_731, 2.443_232_7e-5]);
    let (sine, cosine) = (p.mul(square).fma(r, r), q.fma(square, V::splat(1.0)));
    let even = n.mul(V::splat(0.5)).equal(nearest(n, 0.5));
    let y = V::select(even, sine, cosine.neg()).div(V::select(even, cosine, sine));
    let y = V::select(x.equal(V::splat(0.0)), x, y);
    let large = V::splat(limit::<V>()).less(x.abs());
    if V::any(large) { replace(y, large, x, x, |x, _| f64::from(x).tan() as f32) } else { y }
}

/// How far [`reduced`] is exact enough.
#[inline(always)]
fn limit<V: Simd>() -> f32 {
    if V::FUSED { 1e6 } else { 2e4 }
}

/// x − m·π, with an error that is small beside the difference.
#[inline(always)]
fn reduced<V: Simd>(x: V, m: V) -> V {
    if V::FUSED {
        // The first difference is exact: it has no bit below those of x and of π rounded.
        const PI: [f32; 3] = [std::f32::consts::PI, -8.742_278e-8, -3.430_249e-15];
        let first = m.fma(V::splat(-PI[0]), x);
        m.fma(V::splat(-PI[2]), m.fma(V::splat(-PI[1]), first))
    } else {
        // All products but the last are of at most 9 and 15 bits.
        const PI: [f32; 4] = [3.140_625, 9.670_257_6e-4, 6.277_114e-7, 1.215_420_1e-10];
        let first = x.sub(m.mul(V::splat(PI[0]))).sub(m.mul(V::splat(PI[1])));
        first.sub(m.mul(V::splat(PI[2]))).sub(m.mul(V::splat(PI[3])))
    }
}

/// sin r, negated where n is odd: r + r³·p(r²), fitted up to 1.64 to a relative error of 9.7e-9.
#[inline(always)]
fn signed<V: Simd>(r: V, n: V) -> V {
    let square = r.mul(r);
    let p = polynomial(square, [-0.166_666_57, 0.008_332_989, -1.980_375_5e-4, 2.592_595_1e-6]);
    let y = p.mul(square).fma(r, r);
    V::select(n.mul(V::splat(0.5)).equal(nearest(n, 0.5)), y, y.neg())
}
