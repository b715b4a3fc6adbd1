//! Every function at every level, over the whole range, against double precision.
#![expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")]

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};
use std::marker::PhantomData;

use super::*;
use crate::cpu::simd::{Kernel, Level};

/// A function of two operands, of which those of one ignore the second.
trait Function {
    fn at<V: Simd>(x: V, y: V) -> V;
}

struct Apply<'a, F>(&'a [f32], &'a [f32], &'a mut [f32], PhantomData<F>);

impl<F: Function> Kernel for Apply<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        let places = self.0.chunks_exact(V::LANES).zip(self.1.chunks_exact(V::LANES));
        for ((x, y), to) in places.zip(self.2.chunks_exact_mut(V::LANES)) {
            // SAFETY: the chunks are as long as a vector.
            unsafe { F::at(V::load_f32(x.as_ptr()), V::load_f32(y.as_ptr())).store_f32(to.as_mut_ptr()) }
        }
    }
}

fn apply<F: Function>(level: Level, x: &[f32], y: &[f32]) -> Vec<f32> {
    let padded = |from: &[f32]| {
        let mut padded = from.to_vec();
        padded.resize(from.len().next_multiple_of(MAX_LANES), 1.0);
        padded
    };
    let mut to = vec![0.0; x.len().next_multiple_of(MAX_LANES)];
    level.run(Apply::<F>(&padded(x), &padded(y), &mut to, PhantomData));
    to.truncate(x.len());
    to
}

/// Floats of either sign and every exponent, a dense part of where functions bend, and the special ones.
fn sweep() -> Vec<f32> {
    let mut all: Vec<f32> = (0..=u32::MAX).step_by(16_381).map(f32::from_bits).collect();
    for width in [2.0, 20.0, 110.0] {
        all.extend((-(1 << 14)..1 << 14).map(|i| i as f32 / (1 << 14) as f32 * width));
    }
    for special in
        [0.0, f32::from_bits(1), f32::MIN_POSITIVE, 1.0, 2.0, 16_777_216.0, f32::MAX, f32::INFINITY, f32::NAN]
    {
        all.extend([special, -special]);
    }
    all
}

/// The distance in units in the last place of the result. Subnormal numbers are all of one unit, and infinity is what
/// follows the largest number. A zero of the other sign is wrong; one for a subnormal number is right if `flush` says
/// so.
fn units(got: f32, want: f64, flush: bool) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got == 0.0 && got.is_sign_negative() != want.is_sign_negative() {
        return f64::INFINITY;
    }
    if flush && got == 0.0 && want.abs() < f32::MIN_POSITIVE.into() {
        return 0.0;
    }
    let number = |x: f64| x.clamp(-(2.0_f64.powi(128)), 2.0_f64.powi(128));
    let exponent = ((want as f32).abs().to_bits() >> 23).clamp(1, 254) as i32 - 127 - 23;
    (number(got.into()) - number(want)).abs() / 2.0_f64.powi(exponent)
}

fn check<F: Function>(name: &str, (x, y): (&[f32], &[f32]), limit: f64, flush: bool, exact: impl Fn(f64, f64) -> f64) {
    let want: Vec<f64> = x.iter().zip(y).map(|(&x, &y)| exact(x.into(), y.into())).collect();
    for level in Level::available() {
        let mut worst = (0.0, 0);
        let all = apply::<F>(level, x, y);
        for (i, (&got, &want)) in all.iter().zip(&want).enumerate() {
            let error = units(got, want, flush);
            if error > worst.0 {
                worst = (error, i);
            }
        }
        let (error, i) = worst;
        let message = format!("{name}({:e}, {:e}) is {:e}, not {:e}, at {level}", x[i], y[i], all[i], want[i]);
        assert!(error <= limit, "{message}: {error} units");
    }
}

macro_rules! sweeps {
    ($($test:ident: $function:ident, $limit:literal, $flush:literal, $exact:expr;)+) => {$(
        #[test]
        fn $test() {
            struct This;
            impl Function for This {
                #[inline(always)]
                fn at<V: Simd>(x: V, _: V) -> V {
                    $function(x)
                }
            }
            let (x, exact): (_, fn(f64) -> f64) = (sweep(), $exact);
            check::<This>(stringify!($function), (&x, &x), $limit, $flush, |x, _| exact(x));
        }
    )+};
}

// The function, how many units it may be off, and whether subnormal results may be zero.
sweeps! {
    exp_is_right_everywhere: exp, 1.5, false, f64::exp;
    exp2_is_right_everywhere: exp2, 1.5, false, f64::exp2;
    expm1_is_right_everywhere: expm1, 2.0, false, f64::exp_m1;
    log_is_right_everywhere: log, 1.5, false, f64::ln;
    log1p_is_right_everywhere: log1p, 1.5, false, f64::ln_1p;
    log2_is_right_everywhere: log2, 2.5, false, f64::log2;
    tanh_is_right_everywhere: tanh, 3.0, false, f64::tanh;
    sigmoid_is_right_everywhere: sigmoid, 3.0, true, |x| 1.0 / (1.0 + (-x).exp());
    silu_is_right_everywhere: silu, 3.0, true, |x| gated_by(x, (-x).exp());
    softplus_is_right_everywhere: softplus, 2.0, false, |x| (-x.abs()).exp().ln_1p() + if x < 0.0 { 0.0 } else { x };
    erf_is_right_everywhere: erf, 1.5, false, exact_erf;
    gelu_is_right_everywhere: gelu, 4.0, true, |x| x * (0.5 * exact_erfc(-x * FRAC_1_SQRT_2));
    gelu_tanh_is_right_everywhere: gelu_tanh, 3.0, true, exact_gelu_tanh;
    sin_is_right_everywhere: sin, 2.5, false, f64::sin;
    cos_is_right_everywhere: cos, 2.5, false, f64::cos;
    tan_is_right_everywhere: tan, 4.0, false, f64::tan;
    asin_is_right_everywhere: asin, 2.0, false, f64::asin;
    acos_is_right_everywhere: acos, 2.0, false, f64::acos;
    atan_is_right_everywhere: atan, 2.0, false, f64::atan;
    sinh_is_right_everywhere: sinh, 2.0, false, f64::sinh;
    cosh_is_right_everywhere: cosh, 2.0, false, f64::cosh;
    asinh_is_right_everywhere: asinh, 3.0, false, f64::asinh;
    acosh_is_right_everywhere: acosh, 3.0, false, f64::acosh;
    atanh_is_right_everywhere: atanh, 3.0, false, f64::atanh;
    rsqrt_is_right_everywhere: rsqrt, 1.5, false, |x| 1.0 / x.sqrt();
    sign_is_right_everywhere: sign, 0.0, false, |x| if x == 0.0 { 0.0 } else { x.signum() };
}

fn exact_gelu_tanh(x: f64) -> f64 {
    gated_by(x, (-(8.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))).exp())
}

/// x / (1 + power), which leaves no NaN where the power overflows.
fn gated_by(x: f64, power: f64) -> f64 {
    if power.is_infinite() && x.is_finite() { -0.0 } else { x / (1.0 + power) }
}

/// By its series of positive terms, or by what is left of 1.
fn exact_erf(x: f64) -> f64 {
    if x.abs() > 2.0 {
        return (1.0 - exact_erfc(x.abs())).copysign(x);
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// By its continued fraction, or by what is left of 1.
fn exact_erfc(x: f64) -> f64 {
    if x < 2.0 || x.is_nan() {
        return 1.0 - exact_erf(x);
    }
    let mut fraction = x;
    for n in (1..120).rev() {
        fraction = x + f64::from(n) / 2.0 / fraction;
    }
    FRAC_2_SQRT_PI / 2.0 * (-x * x).exp() / fraction
}

#[test]
fn the_oracle_of_the_error_function_is_right() {
    // From tables of 20 digits.
    for (x, want) in [(0.1, 0.112_462_916_018_284_89), (0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9)] {
        assert!((exact_erf(x) / want - 1.0).abs() < 1e-15, "{x} {}", exact_erf(x));
    }
    for (x, want) in
        [(2.0, 0.004_677_734_981_047_266), (3.0, 2.209_049_699_858_544e-5), (5.0, 1.537_459_794_428_035e-12)]
    {
        assert!((exact_erfc(x) / want - 1.0).abs() < 1e-13, "{x} {}", exact_erfc(x));
    }
}

macro_rules! of_two {
    ($($name:ident: $function:ident;)+) => {$(
        struct $name;
        impl Function for $name {
            #[inline(always)]
            fn at<V: Simd>(x: V, y: V) -> V {
                $function(x, y)
            }
        }
    )+};
}

of_two! {
    Power: power;
    Atan2: atan2;
    Remainder: remainder;
    FloorDivide: floor_divide;
    Maximum: maximum;
    Minimum: minimum;
}

/// Every pair of some special numbers and some of every size.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    let mut some = vec![0.0, f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NAN];
    some.extend([0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 127.0, 128.0, 149.0, 150.0]);
    some.extend([8_388_607.0, 8_388_609.0, 16_777_215.0, 16_777_216.0, 1e9, 2e9, 4e9, 1e10]);
    for near in [1.0_f32, 0.75, 1.5] {
        some.extend([near.next_down(), near.next_up()]);
    }
    let mut bits = 12_345_u32;
    for _ in 0..400 {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // A third of any size, a third of about 1, a third of whole numbers.
        some.push(match bits % 3 {
            0 => f32::from_bits(bits & 0x7fff_ffff),
            1 => f32::from_bits(0x3f80_0000 + (bits >> 6) - (1 << 25)),
            _ => (bits >> 20) as f32,
        });
    }
    some.extend(some.clone().iter().map(|x| -x));
    let grid = || some.iter().flat_map(|&x| some.iter().map(move |&y| (x, y)));
    grid().unzip()
}

#[test]
fn power_is_right_everywhere() {
    let (x, y) = pairs();
    check::<Power>("power", (&x, &y), 2.0, false, f64::powf);
}

#[test]
fn atan2_is_right_everywhere() {
    let (y, x) = pairs();
    check::<Atan2>("atan2", (&y, &x), 2.5, false, f64::atan2);
}

#[test]
fn remainder_is_that_of_numpy() {
    // What is not exact is a sum with the divisor, rounded once.
    let (x, y) = pairs();
    check::<Remainder>("remainder", (&x, &y), 0.5, false, |x, y| {
        let rest = x % y;
        if rest == 0.0 {
            rest.copysign(y)
        } else if (rest < 0.0) != (y < 0.0) {
            rest + y
        } else {
            rest
        }
    });
}

#[test]
fn floor_divide_is_that_of_numpy() {
    let (x, y) = pairs();
    check::<FloorDivide>("floor_divide", (&x, &y), 0.5, false, |x, y| {
        let rest = x % y;
        if y == 0.0 || rest.is_nan() {
            return if y == 0.0 { x / y } else { rest };
        }
        let floor = ((x - rest) / y).round() - if rest != 0.0 && (rest < 0.0) != (y < 0.0) { 1.0 } else { 0.0 };
        if floor == 0.0 { 0.0_f64.copysign(x / y) } else { floor }
    });
}

#[test]
fn maximum_and_minimum_let_nan_through() {
    let (x, y) = pairs();
    check::<Maximum>("maximum", (&x, &y), 0.0, false, |x, y| if x.is_nan() || x > y { x } else { y });
    check::<Minimum>("minimum", (&x, &y), 0.0, false, |x, y| if x.is_nan() || x < y { x } else { y });
}
