//! Elementary functions that compiled code calls.
//!
//! Those of `f32` are the vectors' functions of [`crate::cpu::math`], those of `f64` Rust's own, lane by lane.
#![expect(unsafe_code, reason = "arguments and results lie at a pointer")]
#![expect(clippy::cast_ptr_alignment, reason = "16 bytes are aligned there")]

use std::marker::PhantomData;

use super::ir::{Function, Kind};
use crate::cpu::math;
use crate::cpu::simd::{Level, Routine, Simd};

/// A function over as many numbers as there are lanes. They lie at the pointer, one argument's after another's, and
/// the results take the place of the first argument's. 16 bytes are aligned there.
pub(super) type Lanes = unsafe extern "C" fn(*mut u8);

/// A function of one or two arguments; one of one argument ignores the second.
trait Formula {
    const ARGUMENTS: usize;
    fn narrow<V: Simd>(x: V, y: V) -> V;
    fn wide(x: f64, y: f64) -> f64;
}

macro_rules! formulas {
    ($($name:ident: $arguments:tt, $narrow:path, $wide:expr;)*) => {
        $(
            struct $name;

            impl Formula for $name {
                const ARGUMENTS: usize = $arguments;
                #[inline(always)]
                fn narrow<V: Simd>(x: V, y: V) -> V {
                    formulas!($arguments, $narrow, x, y)
                }
                #[inline]
                fn wide(x: f64, y: f64) -> f64 {
                    formulas!($arguments, $wide, x, y)
                }
            }
        )*

        /// The function for `F32` or `F64`, and for 1, 4, 8 or 16 lanes.
        pub(super) fn function(function: Function, kind: Kind, lanes: usize, level: Level) -> Lanes {
            debug_assert!(kind.is_float() && matches!(lanes, 1 | 4 | 8 | 16));
            match function {
                $(Function::$name if kind == Kind::F64 => wide::<$name>(lanes),
                Function::$name => level.routine::<Narrow<$name>>(lanes),)*
            }
        }
    };
    (1, $function:expr, $x:ident, $y:ident) => {{
        let _ = $y;
        $function($x)
    }};
    (2, $function:expr, $x:ident, $y:ident) => {
        $function($x, $y)
    };
}

formulas! {
    Exp: 1, math::exp, f64::exp;
    Exp2: 1, math::exp2, f64::exp2;
    Log: 1, math::log, f64::ln;
    Log2: 1, math::log2, f64::log2;
    Sin: 1, math::sin, f64::sin;
    Cos: 1, math::cos, f64::cos;
    Tan: 1, math::tan, f64::tan;
    Asin: 1, math::asin, f64::asin;
    Acos: 1, math::acos, f64::acos;
    Atan: 1, math::atan, f64::atan;
    Sinh: 1, math::sinh, f64::sinh;
    Cosh: 1, math::cosh, f64::cosh;
    Tanh: 1, math::tanh, f64::tanh;
    Asinh: 1, math::asinh, f64::asinh;
    Acosh: 1, math::acosh, f64::acosh;
    Atanh: 1, math::atanh, f64::atanh;
    Atan2: 2, math::atan2, f64::atan2;
    Pow: 2, math::power, f64::powf;
}

/// The routine of a formula of `f32`.
struct Narrow<F>(PhantomData<F>);

impl<F: Formula> Routine for Narrow<F> {
    #[inline(always)]
    unsafe fn run<V: Simd>(at: *mut u8, lanes: usize) {
        let (x, y) = (at.cast::<f32>(), at.cast::<f32>().wrapping_add(lanes));
        let count = lanes.min(V::LANES);
        for i in (0..lanes).step_by(count) {
            // SAFETY: the arguments lie there, aligned; lanes are a multiple of the vector's or fill a part of it.
            unsafe {
                let first = V::load_parts(x.add(i), count);
                let second = if F::ARGUMENTS == 2 { V::load_parts(y.add(i), count) } else { first };
                F::narrow(first, second).store_parts(x.add(i), count);
            }
        }
    }
}

fn wide<F: Formula>(lanes: usize) -> Lanes {
    /// # Safety
    /// That of [`Lanes`].
    unsafe extern "C" fn of<F: Formula, const LANES: usize>(at: *mut u8) {
        let at = at.cast::<f64>();
        for i in 0..LANES {
            // SAFETY: the arguments lie there, aligned.
            unsafe {
                let second = if F::ARGUMENTS == 2 { *at.add(LANES + i) } else { 0.0 };
                *at.add(i) = F::wide(*at.add(i), second);
            }
        }
    }
    match lanes {
        1 => of::<F, 1>,
        4 => of::<F, 4>,
        8 => of::<F, 8>,
        _ => of::<F, 16>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Aligned<T>([T; 40]);

    /// Applies a function to pairs of numbers, as many at once as there are lanes. What lies behind is left alone.
    fn apply<T: Copy + PartialEq + Default>(
        function: Lanes,
        arguments: usize,
        lanes: usize,
        pairs: &[(T, T)],
        guard: T,
    ) -> Vec<T> {
        let mut results = Vec::new();
        for some in pairs.chunks(lanes) {
            let mut at = Aligned([guard; 40]);
            for (i, &(x, y)) in some.iter().enumerate() {
                at.0[i] = x;
                if arguments == 2 {
                    at.0[lanes + i] = y;
                }
            }
            // SAFETY: there is room for the arguments of 16 lanes, aligned.
            unsafe { function(at.0.as_mut_ptr().cast()) };
            results.extend_from_slice(&at.0[..some.len()]);
            assert!(at.0[arguments * lanes..].iter().all(|&other| other == guard));
        }
        results
    }

    fn exact(function: Function) -> fn(f64, f64) -> f64 {
        match function {
            Function::Exp => |x, _| x.exp(),
            Function::Exp2 => |x, _| x.exp2(),
            Function::Log => |x, _| x.ln(),
            Function::Log2 => |x, _| x.log2(),
            Function::Sin => |x, _| x.sin(),
            Function::Cos => |x, _| x.cos(),
            Function::Tan => |x, _| x.tan(),
            Function::Asin => |x, _| x.asin(),
            Function::Acos => |x, _| x.acos(),
            Function::Atan => |x, _| x.atan(),
            Function::Sinh => |x, _| x.sinh(),
            Function::Cosh => |x, _| x.cosh(),
            Function::Tanh => |x, _| x.tanh(),
            Function::Asinh => |x, _| x.asinh(),
            Function::Acosh => |x, _| x.acosh(),
            Function::Atanh => |x, _| x.atanh(),
            Function::Atan2 => f64::atan2,
            Function::Pow => f64::powf,
        }
    }

    /// Special numbers with each other, and others of either sign and every size.
    fn pairs() -> Vec<(f32, f32)> {
        let some =
            [0.0, f32::from_bits(1), 1e-20, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 20.0, 1e4, 3e7, f32::MAX, f32::INFINITY];
        let some: Vec<f32> = some.into_iter().flat_map(|x| [x, -x]).chain([f32::NAN]).collect();
        let mut pairs: Vec<_> = some.iter().flat_map(|&x| some.iter().map(move |&y| (x, y))).collect();
        pairs.extend((0..2000_u32).map(|i| {
            let bits = i.wrapping_mul(2_654_435_761);
            (f32::from_bits(bits), f32::from_bits(bits.rotate_left(11)))
        }));
        pairs.extend((-1000..1000_i16).map(|i| (f32::from(i) / 256.0, f32::from(i.wrapping_mul(77) % 100) / 8.0)));
        pairs
    }

    /// The limits are those that the tests of [`crate::cpu::math`] find over the whole range, and far within WGSL's.
    #[test]
    fn narrow_functions_are_right_everywhere() {
        let pairs = pairs();
        for of in Function::ALL {
            let limit = if of == Function::Tan { 4.0 } else { 3.0 };
            let want: Vec<f64> = pairs.iter().map(|&(x, y)| exact(of)(x.into(), y.into())).collect();
            for level in Level::available() {
                for lanes in [1, 4, 8, 16] {
                    let got = apply(function(of, Kind::F32, lanes, level), of.arguments(), lanes, &pairs, 7.0);
                    for ((got, want), pair) in got.iter().zip(&want).zip(&pairs) {
                        let unit = 2_f64.powi(((*want as f32).abs().to_bits() >> 23).clamp(1, 254) as i32 - 150);
                        let near = (f64::from(*got) - want).abs() <= limit * unit;
                        let same = got.to_bits() == (*want as f32).to_bits() || got.is_nan() && want.is_nan();
                        let signed = *got != 0.0 || got.is_sign_negative() == want.is_sign_negative();
                        assert!(
                            same || near && signed,
                            "{of:?}{pair:?} is {got:e}, not {want:e}: {level}, {lanes} lanes"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn wide_functions_are_those_of_rust() {
        let pairs: Vec<(f64, f64)> = pairs().into_iter().map(|(x, y)| (x.into(), y.into())).collect();
        for of in Function::ALL {
            for lanes in [1, 4, 8, 16] {
                let got = apply(function(of, Kind::F64, lanes, Level::Scalar), of.arguments(), lanes, &pairs, 7.0);
                for (got, &(x, y)) in got.iter().zip(&pairs) {
                    let want = exact(of)(x, y);
                    assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{of:?}({x}, {y})");
                }
            }
        }
    }
}
