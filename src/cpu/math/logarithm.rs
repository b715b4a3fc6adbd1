//! Logarithms.

use super::{Simd, exp, polynomial};

/// The natural logarithm, within 1.5 units. That of 0 is −∞, that of a negative number NaN.
#[inline(always)]
pub fn log<V: Simd>(x: V) -> V {
    let (m, e) = x.split();
    with_ends(x, natural(m.sub(V::splat(1.0)), e))
}

/// The logarithm to the base 2, within 2.5 units.
#[inline(always)]
pub fn log2<V: Simd>(x: V) -> V {
    let (m, e) = x.split();
    let f = m.sub(V::splat(1.0));
    with_ends(x, f.add(beyond_linear(f)).fma(V::splat(std::f32::consts::LOG2_E), e))
}

/// log(1 + x), within 1.5 units.
#[inline(always)]
pub fn log1p<V: Simd>(x: V) -> V {
    let one = V::splat(1.0);
    let sum = x.add(one);
    // What rounding lost of the sum.
    let lost = x.min(one).sub(sum.sub(x.max(one)));
    let (m, e) = sum.split();
    let f = lost.scale(e.neg()).add(m.sub(one));
    with_ends(sum, natural(f, e)).copysign(x)
}

/// log(1 + e^x), within 2 units.
#[inline(always)]
pub fn softplus<V: Simd>(x: V) -> V {
    // max(x, 0) + log(1 + y), where y = e^−|x| is at most 1 and so 1 + y needs no splitting.
    let y = exp(x.abs().neg());
    let large = V::splat(0.5).less(y);
    let f = V::select(large, y.sub(V::splat(1.0)).mul(V::splat(0.5)), y);
    let e = V::select(large, V::splat(1.0), V::splat(0.0));
    natural(f, e).add(x.max(V::splat(0.0)))
}

/// From here on squares may overflow, and 1 is nothing beside them.
const FAR: f32 = 1e9;

/// log(x + √(x² + 1)), within 3 units.
#[inline(always)]
pub fn asinh<V: Simd>(x: V) -> V {
    let (one, a) = (V::splat(1.0), x.abs());
    let square = a.mul(a);
    let rest = square.div(square.add(one).sqrt().add(one));
    far_log1p(a, a.add(rest)).copysign(x)
}

/// log(x + √(x² − 1)), within 3 units; NaN below 1.
#[inline(always)]
pub fn acosh<V: Simd>(x: V) -> V {
    let one = V::splat(1.0);
    let t = x.sub(one);
    let y = far_log1p(x, t.add(t.mul(t.add(V::splat(2.0))).sqrt()));
    V::select(x.less(one), V::splat(f32::NAN), y)
}

/// log((1 + x) / (1 − x)) / 2, within 3 units; ±∞ for ±1, and NaN beyond.
#[inline(always)]
pub fn atanh<V: Simd>(x: V) -> V {
    let a = x.abs();
    log1p(a.add(a).div(V::splat(1.0).sub(a))).mul(V::splat(0.5)).copysign(x)
}

/// log(1 + u), or log 2a where that is far.
#[inline(always)]
fn far_log1p<V: Simd>(a: V, u: V) -> V {
    let far = V::splat(FAR).less(a);
    log1p(V::select(far, a, u)).add(V::select(far, V::splat(std::f32::consts::LN_2), V::splat(0.0)))
}

/// log(1 + f) + e·ln 2, for whole e and f from −0.25 to 0.5.
#[inline(always)]
fn natural<V: Simd>(f: V, e: V) -> V {
    // ln 2 in two parts. The first has so few bits that its product with e is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let rest = e.fma(V::splat(LN_2_LOW), beyond_linear(f));
    e.fma(V::splat(LN_2_HIGH), f.add(rest))
}

/// log(1 + f) − f for f from −0.25 to 0.5: f²·p(f), fitted to a relative error of 5.3e-9 in log(1 + f).
#[inline(always)]
fn beyond_linear<V: Simd>(f: V) -> V {
    let p = polynomial(
        f,
        [
            -0.5,
            0.333_334_62,
            -0.250_001_94,
            0.199_903_76,
            -0.166_425_45,
            0.144_754_47,
            -0.132_096_54,
            0.105_921_63,
            -0.046_045_296,
        ],
    );
    p.mul(f.mul(f))
}

/// `y`, or what a logarithm is where x is not positive and finite.
#[inline(always)]
fn with_ends<V: Simd>(x: V, y: V) -> V {
    let zero = V::splat(0.0);
    let below = V::select(x.equal(zero), V::splat(f32::NEG_INFINITY), V::splat(f32::NAN));
    // Infinity and NaN are their own logarithms.
    V::select(x.less_equal(zero), below, V::select(x.less(V::splat(f32::INFINITY)), y, x))
}
