//! The inverse trigonometric functions.

use super::{Simd, polynomial};

/// π in two parts; those of its half are the halves of these.
const PI: [f32; 2] = [std::f32::consts::PI, -8.742_278e-8];

/// asin x, within 2 units; NaN beyond 1.
#[inline(always)]
pub fn asin<V: Simd>(x: V) -> V {
    let (large, s, rest) = near_arc(x.abs());
    let beyond = V::splat(PI[0] / 2.0).sub(s.add(s)).add(V::splat(PI[1] / 2.0).sub(rest.add(rest)));
    V::select(large, beyond, s.add(rest)).copysign(x)
}

/// acos x, within 2 units; NaN beyond 1.
#[inline(always)]
pub fn acos<V: Simd>(x: V) -> V {
    // π/2 − asin x, or for large |x| twice the arc, from zero or from π.
    let (large, s, rest) = near_arc(x.abs());
    let (s, rest) = (s.copysign(x), rest.copysign(x));
    let zero = V::splat(0.0);
    let negative = x.less(zero);
    let base = |part| V::select(negative, V::splat(part), zero);
    let wide = base(PI[0]).add(s.add(s)).add(base(PI[1]).add(rest.add(rest)));
    let narrow = V::splat(PI[0] / 2.0).sub(s).add(V::splat(PI[1] / 2.0).sub(rest));
    V::select(large, wide, narrow)
}

/// Whether a is above 1/2, and the arc sine of a, or there of √((1 − a)/2), as a sum: asin a is π/2 less twice that.
///
/// s + s³·p(s²), fitted up to 1/2 to a relative error of 4.9e-9.
#[inline(always)]
fn near_arc<V: Simd>(a: V) -> (V::Mask, V, V) {
    let half = V::splat(0.5);
    let large = half.less(a);
    let square = V::select(large, V::splat(1.0).sub(a).mul(half), a.mul(a));
    let s = V::select(large, square.sqrt(), a);
    let p = polynomial(square, [0.166_667_52, 0.074_953_094, 0.045_469_146, 0.024_184_827, 0.042_158_168]);
    (large, s, p.mul(square).mul(s))
}

/// atan x, within 2 units.
#[inline(always)]
pub fn atan<V: Simd>(x: V) -> V {
    let (one, a) = (V::splat(1.0), x.abs());
    let steep = one.less(a);
    let t = V::select(steep, one, a).div(V::select(steep, a, one));
    angle(t, steep).copysign(x)
}

/// The angle of the point (x, y), from −π to π, with the special values of C's `atan2`, within 2.5 units.
#[inline(always)]
pub fn atan2<V: Simd>(y: V, x: V) -> V {
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    let (a, b) = (x.abs(), y.abs());
    let steep = a.less(b);
    let (above, below) = (V::select(steep, a, b), V::select(steep, b, a));
    // Two zeros lie on the axis, and two infinities on the diagonal.
    let equal = V::select(below.equal(zero), zero, one);
    let t = V::select(above.equal(below), equal, above.div(below));
    let right = angle(t, steep);
    let left = V::splat(PI[0]).sub(right).add(V::splat(PI[1]));
    V::select(one.copysign(x).less(zero), left, right).copysign(y)
}

/// atan t for t from 0 to 1, or π/2 less that.
///
/// t + t³·p(t²), fitted to a relative error of 1.7e-8.
#[inline(always)]
fn angle<V: Simd>(t: V, steep: V::Mask) -> V {
    let square = t.mul(t);
    let p = polynomial(
        square,
        [
            -0.333_331_53,
            0.199_937_67,
            -0.142_110_02,
            0.106_657_706,
            -0.075_516_71,
            0.043_204_99,
            -0.016_363_46,
            0.002_919_523_5,
        ],
    );
    let flat = p.mul(square).fma(t, t);
    V::select(steep, V::splat(PI[0] / 2.0).sub(flat).add(V::splat(PI[1] / 2.0)), flat)
}
