//! WGSL's functions of numbers.

use naga::{MathFunction, TypeInner};

use super::build::Builder;
use super::geometry::{self, Matrix};
use super::types::Scalar;
use super::{Result, Values, bits, floats, packing, unsupported};
use crate::cpu::wgsl::ir::{Binary, Function, Kind, Op, Unary, Value};

/// What a function gives; `ty` is its first argument's.
pub(super) fn lower(
    build: &mut Builder,
    function: MathFunction,
    ty: &TypeInner,
    arguments: &[Values],
) -> Result<Vec<Value>> {
    use MathFunction as F;

    let Some(scalar) = ty.scalar() else { return unsupported("this function of such values") };
    let scalar = Scalar::of(scalar)?;
    if let Some(function) = elementary(function) {
        return Ok(components(arguments).map(|arguments| build.call(scalar, function, arguments)).collect());
    }
    let x = &arguments[0];
    let y = arguments.get(1).unwrap_or(x);
    let matrix = Matrix::of(ty, x);
    Ok(match (function, matrix) {
        (F::Transpose, Some(m)) => m.transposed(),
        (F::Determinant, Some(m)) => vec![geometry::determinant(build, scalar, &m)],
        (F::Inverse, Some(m)) => geometry::inverse(build, scalar, &m),
        (F::Transpose | F::Determinant | F::Inverse, None) => return unsupported("this function of such values"),
        (F::Dot, _) => vec![geometry::dot(build, scalar, x, y)],
        (F::Outer, _) => geometry::outer(build, scalar, x, y),
        (F::Cross, _) => geometry::cross(build, scalar, x, y),
        (F::Length, _) => vec![geometry::length(build, scalar, x)],
        (F::Distance, _) => vec![geometry::distance(build, scalar, x, y)],
        (F::Normalize, _) => geometry::normalize(build, scalar, x),
        (F::FaceForward, _) => geometry::face_forward(build, scalar, x, y, &arguments[2]),
        (F::Reflect, _) => geometry::reflect(build, scalar, x, y),
        (F::Refract, _) => geometry::refract(build, scalar, x, y, arguments[2][0]),
        (F::Modf, _) => in_two(x, |x| floats::modf(build, scalar, x)),
        (F::Frexp, _) => in_two(x, |x| floats::frexp(build, scalar, x)),
        (F::Dot4I8Packed, _) => vec![packing::dot(build, x[0], y[0], Kind::I32)],
        (F::Dot4U8Packed, _) => vec![packing::dot(build, x[0], y[0], Kind::U32)],
        (_, None) if let Some(packed) = packing::lower(build, function, x) => packed,
        _ => components(arguments).map(|arguments| one(build, function, scalar, &arguments)).collect::<Result<_>>()?,
    })
}

/// The arguments component by component; scalars stand beside every one.
fn components(arguments: &[Values]) -> impl Iterator<Item = Vec<Value>> {
    let most = arguments.iter().map(|values| values.len()).max().unwrap_or(0);
    (0..most).map(|i| arguments.iter().map(|values| values[i.min(values.len() - 1)]).collect())
}

/// A struct of two: all first results, then all second ones.
fn in_two(x: &Values, split: impl FnMut(Value) -> (Value, Value)) -> Vec<Value> {
    let (mut first, second): (Vec<_>, Vec<_>) = x.iter().copied().map(split).unzip();
    first.extend(second);
    first
}

fn elementary(function: MathFunction) -> Option<Function> {
    Some(match function {
        MathFunction::Exp => Function::Exp,
        MathFunction::Exp2 => Function::Exp2,
        MathFunction::Log => Function::Log,
        MathFunction::Log2 => Function::Log2,
        MathFunction::Sin => Function::Sin,
        MathFunction::Cos => Function::Cos,
        MathFunction::Tan => Function::Tan,
        MathFunction::Asin => Function::Asin,
        MathFunction::Acos => Function::Acos,
        MathFunction::Atan => Function::Atan,
        MathFunction::Sinh => Function::Sinh,
        MathFunction::Cosh => Function::Cosh,
        MathFunction::Tanh => Function::Tanh,
        MathFunction::Asinh => Function::Asinh,
        MathFunction::Acosh => Function::Acosh,
        MathFunction::Atanh => Function::Atanh,
        MathFunction::Atan2 => Function::Atan2,
        MathFunction::Pow => Function::Pow,
        _ => return None,
    })
}

/// A function of one component of each argument.
fn one(build: &mut Builder, function: MathFunction, scalar: Scalar, arguments: &[Value]) -> Result<Value> {
    use MathFunction as F;

    let kind = scalar.kind;
    let x = arguments[0];
    let y = arguments.get(1).copied().unwrap_or(x);
    let z = arguments.get(2).copied().unwrap_or(x);
    Ok(match function {
        F::Abs if kind.is_float() || kind.is_signed() => build.unary(Unary::Abs, x),
        F::Abs => x,
        F::Min => build.min(x, y),
        F::Max => build.max(x, y),
        F::Clamp => build.clamp(x, y, z),
        F::Saturate => unit(build, kind, x),
        F::Radians => scaled(build, scalar, x, std::f64::consts::PI / 180.0),
        F::Degrees => scaled(build, scalar, x, 180.0 / std::f64::consts::PI),
        F::Ceil => build.unary(Unary::Ceil, x),
        F::Floor => build.unary(Unary::Floor, x),
        F::Round => build.unary(Unary::Round, x),
        F::Trunc => build.unary(Unary::Trunc, x),
        F::Fract => {
            let whole = build.unary(Unary::Floor, x);
            build.subtract(scalar, x, whole)
        }
        F::Ldexp => floats::ldexp(build, scalar, x, y),
        F::Sign => sign(build, kind, x),
        F::Fma => {
            let result = build.compute(kind, Op::Fma(x, y, z));
            build.rounded(scalar, result)
        }
        F::Mix => {
            let one = build.integer(kind, 1);
            let rest = build.subtract(scalar, one, z);
            let (x, y) = (build.multiply(scalar, x, rest), build.multiply(scalar, y, z));
            build.add(scalar, x, y)
        }
        F::Step => {
            let reached = build.binary(Binary::LessEqual, x, y);
            let (one, zero) = (build.integer(kind, 1), build.integer(kind, 0));
            build.select(reached, one, zero)
        }
        F::SmoothStep => smooth_step(build, scalar, x, y, z),
        F::Sqrt => build.sqrt(scalar, x),
        F::InverseSqrt => {
            // Rounded once, for halves too.
            let root = build.unary(Unary::Sqrt, x);
            let one = build.integer(kind, 1);
            build.divide(scalar, one, root)
        }
        F::QuantizeToF16 => build.unary(Unary::RoundToHalf, x),
        F::CountTrailingZeros => build.unary(Unary::TrailingZeros, x),
        F::CountLeadingZeros => build.unary(Unary::LeadingZeros, x),
        F::CountOneBits => build.unary(Unary::CountOnes, x),
        F::ReverseBits => build.unary(Unary::ReverseBits, x),
        F::FirstTrailingBit => bits::first_trailing(build, x),
        F::FirstLeadingBit => bits::first_leading(build, x),
        F::ExtractBits => bits::extract(build, x, y, z),
        F::InsertBits => bits::insert(build, x, y, z, arguments.get(3).copied().unwrap_or(x)),
        _ => return unsupported("this function of such values"),
    })
}

/// Within 0 and 1.
fn unit(build: &mut Builder, kind: Kind, x: Value) -> Value {
    let (zero, one) = (build.integer(kind, 0), build.integer(kind, 1));
    build.clamp(x, zero, one)
}

fn scaled(build: &mut Builder, scalar: Scalar, x: Value, by: f64) -> Value {
    let by = build.float(scalar.kind, by);
    build.multiply(scalar, x, by)
}

/// −1, 0 or 1.
fn sign(build: &mut Builder, kind: Kind, x: Value) -> Value {
    let (zero, one, less) = (build.integer(kind, 0), build.integer(kind, 1), build.integer(kind, -1));
    let is_positive = build.binary(Binary::Greater, x, zero);
    let is_negative = build.binary(Binary::Less, x, zero);
    let below = build.select(is_negative, less, zero);
    build.select(is_positive, one, below)
}

/// `t * t * (3 - 2 * t)` with `t` the place of `x` between `low` and `high`, within 0 and 1.
fn smooth_step(build: &mut Builder, scalar: Scalar, low: Value, high: Value, x: Value) -> Value {
    let above = build.subtract(scalar, x, low);
    let width = build.subtract(scalar, high, low);
    let ratio = build.divide(scalar, above, width);
    let t = unit(build, scalar.kind, ratio);
    let (two, three) = (build.integer(scalar.kind, 2), build.integer(scalar.kind, 3));
    let twice = build.multiply(scalar, two, t);
    let rest = build.subtract(scalar, three, twice);
    let square = build.multiply(scalar, t, t);
    build.multiply(scalar, square, rest)
}
