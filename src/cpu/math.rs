//! Elementary functions over [`Simd`].

use super::simd::Simd;

/// e^x, within 2 units in the last place, subnormal results included.
#[inline(always)]
pub fn exp<V: Simd>(x: V) -> V {
    scaled_exp(x, V::splat(0.0))
}

/// e^x · 2^−shift, for a whole shift of at most 8.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r = 1 + r + r²·q(r), q being the best polynomial of degree 4 there, and the
/// result is e^r · 2^(n − shift).
#[inline(always)]
fn scaled_exp<V: Simd>(x: V, shift: V) -> V {
    // Adding and taking away 1.5·2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts. The first has so few bits that its product with n is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these the result is 0 or infinity, also after the shift. NaN passes, being the second operand.
    let x = V::splat(104.0).min(V::splat(-104.0).max(x));
    let n = x.fma(V::splat(std::f32::consts::LOG2_E), V::splat(ROUND)).sub(V::splat(ROUND));
    let r = n.fma(V::splat(-LN_2_LOW), n.fma(V::splat(-LN_2_HIGH), x));
    let q = polynomial(r, [Q0, Q1, Q2, Q3, Q4]);
    q.fma(r.mul(r), r).add(V::splat(1.0)).scale(n.sub(shift))
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

/// x / (1 + e^−x). Results that would be subnormal are as good as zero; −∞ gives NaN, as the formula does.
#[inline(always)]
pub fn silu<V: Simd>(x: V) -> V {
    // Below −88.7 e^−x overflows while the result is still a normal number: divide both by 2^8 there.
    let far = x.less(V::splat(-64.0));
    let factor = V::select(far, V::splat(1.0 / 256.0), V::splat(1.0));
    let shift = V::select(far, V::splat(8.0), V::splat(0.0));
    x.mul(factor).div(scaled_exp(x.neg(), shift).add(factor))
}

/// For |r| ≤ ln 2 / 2: fitted by the Remez algorithm to a relative error of 3.1e-9 in e^r.
const Q0: f32 = 0.499_999_94;
const Q1: f32 = 0.166_665_21;
const Q2: f32 = 0.041_668_39;
const Q3: f32 = 0.008_368_745;
const Q4: f32 = 0.001_381_453_8;

#[inline(always)]
pub fn exp2<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| x.exp2())
}
#[inline(always)]
pub fn expm1<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| x.exp_m1())
}
#[inline(always)]
pub fn log<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| x.ln())
}
#[inline(always)]
pub fn log1p<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| x.ln_1p())
}
#[inline(always)]
pub fn log2<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| x.log2())
}
#[inline(always)]
pub fn tanh<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| x.tanh())
}
#[inline(always)]
pub fn sigmoid<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| 1.0 / (1.0 + (-x).exp()))
}
#[inline(always)]
pub fn erf<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| erf64(x))
}
#[inline(always)]
pub fn gelu<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| 0.5 * x * (1.0 + erf64(x * std::f64::consts::FRAC_1_SQRT_2)))
}
#[inline(always)]
pub fn gelu_tanh<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x)).tanh()))
}
#[inline(always)]
pub fn softplus<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| (-x.abs()).exp().ln_1p() + x.max(0.0))
}
#[inline(always)]
pub fn sin<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| x.sin())
}
#[inline(always)]
pub fn cos<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| x.cos())
}
#[inline(always)]
pub fn rsqrt<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| 1.0 / x.sqrt())
}
#[inline(always)]
pub fn sign<V: Simd>(x: V) -> V {
    lanes(x, x, |x, _| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            x * 0.0
        }
    })
}
#[inline(always)]
pub fn power<V: Simd>(x: V, y: V) -> V {
    lanes(x, y, |x, y| x.powf(y))
}
#[inline(always)]
pub fn remainder<V: Simd>(x: V, y: V) -> V {
    lanes(x, y, |x, y| {
        let r = x % y;
        if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r.copysign(if r == 0.0 { y } else { r }) }
    })
}
#[inline(always)]
pub fn floor_divide<V: Simd>(x: V, y: V) -> V {
    lanes(x, y, |x, y| (x / y).floor())
}
#[inline(always)]
pub fn maximum<V: Simd>(x: V, y: V) -> V {
    lanes(x, y, |x, y| if x.is_nan() || x > y { x } else { y })
}
#[inline(always)]
pub fn minimum<V: Simd>(x: V, y: V) -> V {
    lanes(x, y, |x, y| if x.is_nan() || x < y { x } else { y })
}

#[inline(always)]
#[expect(unsafe_code, reason = "for the moment")]
fn lanes<V: Simd>(x: V, y: V, f: fn(f64, f64) -> f64) -> V {
    let (mut a, mut b) = ([0.0_f32; 16], [0.0_f32; 16]);
    // SAFETY: the arrays take any vector.
    unsafe {
        x.store_f32(a.as_mut_ptr());
        y.store_f32(b.as_mut_ptr());
        for i in 0..V::LANES {
            a[i] = f(a[i].into(), b[i].into()) as f32;
        }
        V::load_f32(a.as_ptr())
    }
}

fn erf64(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - p * (-x * x).exp()).copysign(x)
}

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")]

    use super::*;
    use crate::cpu::simd::{Kernel, Level};

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Silu,
    }

    struct Apply<'a>(Function, &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: Simd>(self) {
            for values in self.1.chunks_exact_mut(V::LANES) {
                // SAFETY: the chunk is as long as a vector.
                unsafe {
                    let x = V::load_f32(values.as_ptr());
                    let y = match self.0 {
                        Function::Exp => exp(x),
                        Function::Silu => silu(x),
                    };
                    y.store_f32(values.as_mut_ptr());
                }
            }
        }
    }

    /// Every 389th float of either sign, with the special ones: about eleven million.
    fn sweep() -> Vec<f32> {
        let mut all: Vec<f32> = (0..=u32::MAX).step_by(389).map(f32::from_bits).collect();
        all.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -100.0, 88.722_84, -103.972_08, -87.336_55]);
        all.extend((0..1 << 20).map(|i| i as f32 / (1 << 20) as f32 * 210.0 - 105.0));
        all.resize(all.len().next_multiple_of(64), 1.0);
        all
    }

    /// The largest error in units in the last place, which are those of the smallest normal number at least if
    /// `flush` says so. Values that are not finite must agree.
    fn worst(level: Level, function: Function, flush: bool, exact: impl Fn(f64) -> f64) -> f64 {
        let from = sweep();
        let mut to = from.clone();
        level.run(Apply(function, &mut to));
        let mut worst = 0.0_f64;
        for (&x, &got) in from.iter().zip(&to) {
            let want = exact(f64::from(x));
            let rounded = want as f32;
            if got.is_finite() && rounded.is_finite() {
                let exponent = (rounded.abs().to_bits() >> 23).max(1) as i32 - 127 - 23;
                let unit = 2.0_f64.powi(exponent);
                let error = (f64::from(got) - want).abs();
                let error = if flush && rounded.abs() < f32::MIN_POSITIVE && got == 0.0 { 0.0 } else { error / unit };
                assert!(error < 100.0, "{level}: f({x:e}) is {got:e}, not {want:e}");
                worst = worst.max(error);
            } else {
                assert!(
                    got == rounded || got.is_nan() && rounded.is_nan(),
                    "{level}: f({x:e}) is {got:e}, not {want:e}"
                );
            }
        }
        worst
    }

    #[test]
    fn exp_is_right_everywhere() {
        for level in Level::available() {
            let worst = worst(level, Function::Exp, false, f64::exp);
            assert!(worst < 2.0, "{level}: {worst} units");
        }
    }

    #[test]
    fn silu_is_right_everywhere() {
        for level in Level::available() {
            let worst = worst(level, Function::Silu, true, |x| {
                if x < -700.0 && x.is_finite() { -0.0 } else { x / (1.0 + (-x).exp()) }
            });
            assert!(worst < 4.0, "{level}: {worst} units");
        }
    }
}
