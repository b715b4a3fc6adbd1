//! The table of elementwise operations, and a function for each.
//!
//! A new operation is a line here, a binding, a stub and a test.

use super::whole::Whole;
use super::{Formulas, Operands, Operation, apply, cpu};
use crate::cpu::math;
use crate::cpu::simd::Simd;
use crate::error::Result;
use crate::ops::Operand;
use crate::tensor::Tensor;

/// Makes the table of operations, and a function for each.
///
/// A line says what form the operation has, its name, and the formula of each kind of number in WGSL and in Rust.
/// - Forms: `unary`, `binary`, `gated` (a gate and what it lets through), `choice` (a condition and two operands) and
///   `clamp` (three operands) give the operands' type; `predicate` (of one) and `comparison` (of two) give a bool.
/// - Kinds: `float`; `function`, a longer formula of floats; `number`, one that takes integers and bools as well, as
///   float32; `int`, whose formula is compiled for `i32` and `u32`; `bool`. A kind that is left out is one that the
///   operation refuses.
macro_rules! operations {
    ($($(#[$document:meta])* $form:ident $name:ident:
        $($kind:ident $wgsl:literal |$($operand:ident),+| $formula:expr),+;)+) => {
        /// Every elementwise operation.
        pub static OPERATIONS: &[Operation] = &[$(Operation {
            name: public_name(stringify!($name)),
            operands: operations!(@operands $form),
            formulas: Formulas { $($kind: Some($wgsl),)+ ..Formulas::NONE },
            tests: operations!(@tests $form),
            loops: || {
                struct This;
                impl cpu::Elementwise<{ operations!(@count $form) }> for This {
                    const LONG: bool = $(operations!(@long $kind))||+;
                    $(operations!(@method $form $kind [$($operand),+] $formula);)+
                }
                operations!(@loops $form This)
            },
        }),+];
        $(operations!(@function $form $name $(#[$document])*);)+
    };

    (@long function) => { true };
    (@long number) => { true };
    (@long $kind:ident) => { false };

    (@count unary) => { 1 };
    (@count predicate) => { 1 };
    (@count binary) => { 2 };
    (@count gated) => { 2 };
    (@count comparison) => { 2 };
    (@count choice) => { 3 };
    (@count clamp) => { 3 };

    (@tests predicate) => { true };
    (@tests comparison) => { true };
    (@tests $form:ident) => { false };

    (@operands unary) => { Operands { names: &["x"], condition: None } };
    (@operands predicate) => { Operands { names: &["x"], condition: None } };
    (@operands choice) => { Operands { names: &["condition", "x1", "x2"], condition: Some(0) } };
    (@operands gated) => { Operands { names: &["gate", "up"], condition: None } };
    (@operands clamp) => { Operands { names: &["x", "min", "max"], condition: None } };
    (@operands $form:ident) => { Operands { names: &["x1", "x2"], condition: None } };

    (@loops predicate $this:ident) => { cpu::Loops::testing::<$this>().into() };
    (@loops comparison $this:ident) => { cpu::Loops::testing::<$this>().into() };
    (@loops $form:ident $this:ident) => { cpu::Loops::of::<$this>().into() };

    (@method predicate $kind:ident $operands:tt $formula:expr) => {
        operations!(@test predicate $kind $operands $formula);
    };
    (@method comparison $kind:ident $operands:tt $formula:expr) => {
        operations!(@test comparison $kind $operands $formula);
    };
    (@method $form:ident float $operands:tt $formula:expr) => {
        #[inline(always)]
        fn float<V: Simd>($operands: [V; operations!(@count $form)]) -> V { $formula }
    };
    (@method $form:ident number $operands:tt $formula:expr) => { operations!(@method $form float $operands $formula); };
    (@method $form:ident function $operands:tt $formula:expr) => {
        operations!(@method $form float $operands $formula);
    };
    (@method $form:ident int $operands:tt $formula:expr) => {
        #[inline(always)]
        fn int($operands: [i32; operations!(@count $form)]) -> i32 { $formula }
        #[inline(always)]
        fn uint($operands: [u32; operations!(@count $form)]) -> u32 { $formula }
    };
    (@method $form:ident bool $operands:tt $formula:expr) => {
        #[inline(always)]
        fn boolean($operands: [bool; operations!(@count $form)]) -> bool { $formula }
    };
    (@test $form:ident float $operands:tt $formula:expr) => {
        #[inline(always)]
        fn float_test<V: Simd>($operands: [V; operations!(@count $form)]) -> V::Mask { $formula }
    };
    (@test $form:ident int $operands:tt $formula:expr) => {
        #[inline(always)]
        fn int_test($operands: [i32; operations!(@count $form)]) -> bool { $formula }
        #[inline(always)]
        fn uint_test($operands: [u32; operations!(@count $form)]) -> bool { $formula }
    };
    (@test $form:ident bool $operands:tt $formula:expr) => {
        #[inline(always)]
        fn boolean($operands: [bool; operations!(@count $form)]) -> bool { $formula }
    };

    (@function unary $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        pub fn $name(x: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
            apply(public_name(stringify!($name)), &[x.into()], out)
        }
    };
    (@function predicate $name:ident $(#[$document:meta])*) => {
        operations!(@function unary $name $(#[$document])*);
    };
    (@function binary $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        pub fn $name(a: Operand<'_>, b: Operand<'_>, out: Option<&Tensor>) -> Result<Tensor> {
            apply(public_name(stringify!($name)), &[a, b], out)
        }
    };
    (@function gated $name:ident $(#[$document:meta])*) => {
        operations!(@function binary $name $(#[$document])*);
    };
    (@function comparison $name:ident $(#[$document:meta])*) => {
        operations!(@function binary $name $(#[$document])*);
    };
    (@function $form:ident $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        pub fn $name(a: Operand<'_>, b: Operand<'_>, c: Operand<'_>, out: Option<&Tensor>) -> Result<Tensor> {
            apply(public_name(stringify!($name)), &[a, b, c], out)
        }
    };
}

/// A name that is a keyword of Rust has an underscore behind it here.
const fn public_name(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [.., b'_'] => name.split_at(name.len() - 1).0,
        _ => name,
    }
}

operations! {
    // Arithmetic

    /// `a + b`; "or" on bools.
    binary add: float "a + b" |a, b| a.add(b), int "a + b" |a, b| a.wrapping_add(b), bool "a | b" |a, b| a | b;
    /// `a - b`.
    binary subtract: float "a - b" |a, b| a.sub(b), int "a - b" |a, b| a.wrapping_sub(b);
    /// `a * b`; "and" on bools.
    binary multiply: float "a * b" |a, b| a.mul(b), int "a * b" |a, b| a.wrapping_mul(b), bool "a & b" |a, b| a & b;
    /// `a / b`, always of floats.
    binary divide: number "a / b" |a, b| a.div(b);
    /// The largest whole number up to `a / b`. Of integers, 0 where b is 0.
    binary floor_divide:
        function "floor_divide(a, b)" |a, b| math::floor_divide(a, b),
        int "floor_divide(a, b)" |a, b| a.floor_divide(b);
    /// What a division rounded down leaves, with the sign of b. Of integers, 0 where b is 0.
    binary remainder:
        function "remainder(a, b)" |a, b| math::remainder(a, b),
        int "remainder(a, b)" |a, b| a.remainder(b);
    /// `a` to the power of `b`. Of integers it wraps around, and negative powers are rounded towards zero.
    binary power: function "power(a, b)" |a, b| math::power(a, b), int "power(a, b)" |a, b| a.power(b);
    /// The larger of two; NaN if either is.
    binary maximum:
        float "larger(a, b)" |a, b| math::maximum(a, b), int "max(a, b)" |a, b| a.max(b), bool "a | b" |a, b| a | b;
    /// The smaller of two; NaN if either is.
    binary minimum:
        float "smaller(a, b)" |a, b| math::minimum(a, b), int "min(a, b)" |a, b| a.min(b), bool "a & b" |a, b| a & b;
    /// `a`, but at least `b` and at most `c`.
    clamp clip:
        float "smaller(larger(a, b), c)" |a, b, c| math::minimum(math::maximum(a, b), c),
        int "min(max(a, b), c)" |a, b, c| a.max(b).min(c),
        bool "(a | b) & c" |a, b, c| (a | b) & c;
    /// `-x`.
    unary negative: float "-a" |a| a.neg(), int "Value(0) - a" |a| a.wrapping_neg();
    /// `|x|`.
    unary abs: float "abs(a)" |a| a.abs(), int "absolute(a)" |a| a.absolute(), bool "a" |a| a;
    /// -1, 0 or 1 by the sign of x; NaN stays NaN.
    unary sign: float "sign_of(a)" |a| math::sign(a), int "sign_of(a)" |a| a.sign();
    /// `1 / x`, always of floats.
    unary reciprocal: number "1.0 / a" |a| V::splat(1.0).div(a);

    // Rounding

    /// The largest whole number up to x.
    unary floor: float "floor(a)" |a| a.floor(), int "a" |a| a;
    /// The smallest whole number from x on.
    unary ceil: float "ceil(a)" |a| a.ceil(), int "a" |a| a;
    /// The nearest whole number, the even one of two.
    unary round: float "round(a)" |a| a.round(), int "a" |a| a;
    /// The whole number next to x towards zero.
    unary trunc: float "trunc(a)" |a| a.trunc(), int "a" |a| a;

    // Exponential and trigonometric functions

    /// `e^x`.
    unary exp: number "exponential(a)" |a| math::exp(a);
    /// `2^x`.
    unary exp2: number "exponential_base_2(a)" |a| math::exp2(a);
    /// `e^x - 1`, precise around zero.
    unary expm1: number "exponential_minus_one(a)" |a| math::expm1(a);
    /// The natural logarithm.
    unary log: number "logarithm(a)" |a| math::log(a);
    /// `ln(1 + x)`, precise around zero.
    unary log1p: number "logarithm_of_one_plus(a)" |a| math::log1p(a);
    /// The logarithm to base 2.
    unary log2: number "logarithm_base_2(a)" |a| math::log2(a);
    /// The square root.
    unary sqrt: number "sqrt(a)" |a| a.sqrt();
    /// `1 / √x`.
    unary rsqrt: float "inverseSqrt(a)" |a| math::rsqrt(a);
    /// The sine of an angle in radians.
    unary sin: number "sine(a)" |a| math::sin(a);
    /// The cosine of an angle in radians.
    unary cos: number "cosine(a)" |a| math::cos(a);
    /// The hyperbolic tangent.
    unary tanh: number "hyperbolic_tangent(a)" |a| math::tanh(a);
    /// The error function.
    unary erf: function "error_function(a)" |a| math::erf(a);

    // Activations of neural networks

    /// `1 / (1 + e^-x)`.
    unary sigmoid: function "sigmoid(a)" |a| math::sigmoid(a);
    /// `x / (1 + e^-x)`.
    unary silu: function "a * sigmoid(a)" |a| math::silu(a);
    /// `x·Φ(x)`, with the normal distribution Φ.
    unary gelu: function "gelu(a)" |a| math::gelu(a);
    /// `½x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`.
    unary gelu_tanh: function "gelu_tanh(a)" |a| math::gelu_tanh(a);
    /// `max(x, 0)`.
    unary relu:
        float "positive_part(a)" |a| V::select(a.less(V::splat(0.0)), V::splat(0.0), a),
        int "max(a, Value(0))" |a| a.positive_part();
    /// `max(x, 0)²`.
    unary squared_relu:
        float "positive_part(a) * positive_part(a)"
            |a| V::select(a.less(V::splat(0.0)), V::splat(0.0), a.mul(a)),
        int "max(a, Value(0)) * max(a, Value(0))" |a| a.positive_part().wrapping_mul(a);
    /// `ln(1 + e^x)`.
    unary softplus: function "softplus(a)" |a| math::softplus(a);
    /// `silu(a)·b`.
    gated swiglu: function "a * sigmoid(a) * b" |a, b| math::silu(a).mul(b);

    // Comparisons

    /// `a == b`.
    comparison equal:
        float "a == b" |a, b| a.equal(b), int "a == b" |a, b| a == b, bool "a == b" |a, b| a == b;
    /// `a != b`.
    comparison not_equal:
        float "!(a == b)" |a, b| V::not(a.equal(b)), int "a != b" |a, b| a != b, bool "a != b" |a, b| a != b;
    /// `a < b`.
    comparison less:
        float "a < b" |a, b| a.less(b), int "a < b" |a, b| a < b, bool "a < b" |a, b| !a && b;
    /// `a <= b`.
    comparison less_equal:
        float "a <= b" |a, b| a.less_equal(b), int "a <= b" |a, b| a <= b, bool "a <= b" |a, b| !a || b;
    /// `a > b`.
    comparison greater:
        float "a > b" |a, b| b.less(a), int "a > b" |a, b| a > b, bool "a > b" |a, b| a && !b;
    /// `a >= b`.
    comparison greater_equal:
        float "a >= b" |a, b| b.less_equal(a), int "a >= b" |a, b| a >= b, bool "a >= b" |a, b| a || !b;
    /// Whether x is NaN.
    predicate isnan:
        float "is_nan(a)" |a| a.is_nan(), int "vec4<bool>(false)" |_a| false, bool "vec4<bool>(false)" |_a| false;
    /// Whether x is infinite, of either sign.
    predicate isinf:
        float "is_infinite(a)" |a| a.abs().equal(V::splat(f32::INFINITY)),
        int "vec4<bool>(false)" |_a| false,
        bool "vec4<bool>(false)" |_a| false;
    /// Whether x is neither infinite nor NaN.
    predicate isfinite:
        float "is_finite(a)" |a| a.abs().less(V::splat(f32::INFINITY)),
        int "vec4<bool>(true)" |_a| true,
        bool "vec4<bool>(true)" |_a| true;

    // Logic. Anything but zero is true, NaN too.

    /// Whether both are true.
    comparison logical_and:
        float "is_true(a) & is_true(b)" |a, b| V::and(is_true(a), is_true(b)),
        int "(a != Value(0)) & (b != Value(0))" |a, b| a != 0 && b != 0,
        bool "(a & b) != Value(0)" |a, b| a & b;
    /// Whether either is true.
    comparison logical_or:
        float "is_true(a) | is_true(b)" |a, b| V::or(is_true(a), is_true(b)),
        int "(a | b) != Value(0)" |a, b| a | b != 0,
        bool "(a | b) != Value(0)" |a, b| a | b;
    /// Whether just one is true.
    comparison logical_xor:
        float "is_true(a) != is_true(b)" |a, b| V::xor(is_true(a), is_true(b)),
        int "(a != Value(0)) != (b != Value(0))" |a, b| (a != 0) != (b != 0),
        bool "a != b" |a, b| a != b;
    /// Whether x is not true.
    predicate logical_not:
        float "!is_true(a)" |a| V::not(is_true(a)), int "a == Value(0)" |a| a == 0, bool "a == Value(0)" |a| !a;
    /// `x1` where the condition is true, `x2` elsewhere.
    choice where_:
        float "select(c, b, is_true(a))" |a, b, c| V::select(is_true(a), b, c),
        int "select(c, b, a != Value(0))" |a, b, c| if a != 0 { b } else { c },
        bool "select(c, b, a != Value(0))" |a, b, c| if a { b } else { c };

    // Bits

    /// `a & b`, bit by bit.
    binary bitwise_and: int "a & b" |a, b| a & b, bool "a & b" |a, b| a & b;
    /// `a | b`, bit by bit.
    binary bitwise_or: int "a | b" |a, b| a | b, bool "a | b" |a, b| a | b;
    /// `a ^ b`, bit by bit.
    binary bitwise_xor: int "a ^ b" |a, b| a ^ b, bool "a ^ b" |a, b| a ^ b;
    /// `!x`, bit by bit.
    unary bitwise_invert: int "~a" |a| !a, bool "Value(1) - a" |a| !a;
    /// `a << b`. By the width or more, everything is shifted out.
    binary bitwise_left_shift: int "shift_left(a, b)" |a, b| a.shift_left(b);
    /// `a >> b`, which keeps the sign.
    binary bitwise_right_shift: int "shift_right(a, b)" |a, b| a.shift_right(b);
}

/// Anything but zero: NaN is true.
#[inline(always)]
fn is_true<V: Simd>(x: V) -> V::Mask {
    V::not(x.equal(V::splat(0.0)))
}
