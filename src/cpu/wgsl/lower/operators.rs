//! Operators, conversions, and comparisons of whole values.

use naga::{BinaryOperator, Expression, Handle, RelationalFunction, ScalarKind, TypeInner, UnaryOperator};

use super::build::Builder;
use super::floats::{is_infinite, is_nan};
use super::geometry::{Matrix, product, times_column, times_row};
use super::types::Scalar;
use super::{Lowering, Result, Values, unsupported};
use crate::cpu::wgsl::ir::{Binary, Kind, Unary, Value};

impl Lowering<'_> {
    pub(super) fn unary(&mut self, op: UnaryOperator, operand: &Values) -> Vec<Value> {
        let op = match op {
            UnaryOperator::Negate => Unary::Negate,
            UnaryOperator::LogicalNot | UnaryOperator::BitwiseNot => Unary::Not,
        };
        operand.iter().map(|x| self.build.unary(op, *x)).collect()
    }

    pub(super) fn binary(
        &mut self,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Result<Vec<Value>> {
        let (x, y) = (self.values(left)?, self.values(right)?);
        let (left, right) = (self.inner(left).clone(), self.inner(right).clone());
        let scalar = match left.scalar() {
            Some(scalar) => Scalar::of(scalar)?,
            // Arrays and structs are compared as a whole.
            None => Scalar::BOOL,
        };
        let build = &mut self.build;
        let op = match op {
            BinaryOperator::Multiply => return Ok(multiply(build, scalar, (&left, &x), (&right, &y))),
            BinaryOperator::Add => Binary::Add,
            BinaryOperator::Subtract => Binary::Subtract,
            BinaryOperator::Divide => Binary::Divide,
            BinaryOperator::Modulo => Binary::Remainder,
            BinaryOperator::And | BinaryOperator::LogicalAnd => Binary::And,
            BinaryOperator::InclusiveOr | BinaryOperator::LogicalOr => Binary::Or,
            BinaryOperator::ExclusiveOr => Binary::Xor,
            BinaryOperator::ShiftLeft => Binary::ShiftLeft,
            BinaryOperator::ShiftRight => Binary::ShiftRight,
            BinaryOperator::Equal => Binary::Equal,
            BinaryOperator::NotEqual => Binary::NotEqual,
            BinaryOperator::Less => Binary::Less,
            BinaryOperator::LessEqual => Binary::LessEqual,
            BinaryOperator::Greater => Binary::Greater,
            BinaryOperator::GreaterEqual => Binary::GreaterEqual,
        };
        let results = pairs(&x, &y).map(|(x, y)| match op {
            Binary::ShiftLeft | Binary::ShiftRight => {
                let by = build.unary(Unary::Convert(Kind::U32), y);
                build.binary(op, x, by)
            }
            _ if op.is_comparison() => build.binary(op, x, y),
            Binary::And | Binary::Or | Binary::Xor => build.binary(op, x, y),
            _ => build.arithmetic(scalar, op, x, y),
        });
        let results: Vec<Value> = results.collect();
        Ok(match (op, left) {
            (_, TypeInner::Scalar(_) | TypeInner::Vector { .. }) => results,
            (Binary::Equal, _) => vec![fold(build, Binary::And, &results)],
            (Binary::NotEqual, _) => vec![fold(build, Binary::Or, &results)],
            _ => results,
        })
    }

    pub(super) fn relational(&mut self, fun: RelationalFunction, argument: &Values) -> Vec<Value> {
        let build = &mut self.build;
        match fun {
            RelationalFunction::All => vec![fold(build, Binary::And, argument)],
            RelationalFunction::Any => vec![fold(build, Binary::Or, argument)],
            RelationalFunction::IsNan => argument.iter().map(|x| is_nan(build, *x)).collect(),
            RelationalFunction::IsInf => argument.iter().map(|x| is_infinite(build, *x)).collect(),
        }
    }

    /// Scalars as another type, or their bits as another.
    pub(super) fn converted(
        &mut self,
        expression: Handle<Expression>,
        kind: ScalarKind,
        width: Option<u8>,
    ) -> Result<Vec<Value>> {
        let values = self.values(expression)?;
        let Some(from) = self.inner(expression).scalar() else { return unsupported("this conversion") };
        let to = Scalar::of(naga::Scalar { kind, width: width.unwrap_or(from.width) })?;
        let from = Scalar::of(from)?;
        let build = &mut self.build;
        Ok(values.iter().map(|x| convert(build, from, to, *x, width.is_some())).collect())
    }
}

fn convert(build: &mut Builder, from: Scalar, to: Scalar, x: Value, number: bool) -> Value {
    if !number {
        return build.unary(Unary::Bitcast(to.kind), x);
    }
    let x = build.unary(Unary::Convert(to.kind), x);
    if from.half || from == Scalar::BOOL { x } else { build.rounded(to, x) }
}

/// The results of an operation of two scalars over all of them.
pub(super) fn fold(build: &mut Builder, op: Binary, values: &[Value]) -> Value {
    match values.split_first() {
        Some((first, rest)) => rest.iter().fold(*first, |x, y| build.binary(op, x, *y)),
        None => build.bool(op == Binary::And),
    }
}

/// Components beside each other; a scalar stands beside every component.
pub(super) fn pairs<'a>(x: &'a [Value], y: &'a [Value]) -> impl Iterator<Item = (Value, Value)> + 'a {
    (0..x.len().max(y.len())).map(|i| (x[i.min(x.len() - 1)], y[i.min(y.len() - 1)]))
}

fn multiply(build: &mut Builder, scalar: Scalar, x: (&TypeInner, &Values), y: (&TypeInner, &Values)) -> Vec<Value> {
    match (Matrix::of(x.0, x.1), Matrix::of(y.0, y.1)) {
        (Some(m), Some(n)) => product(build, scalar, &m, &n),
        (Some(m), None) if y.1.len() > 1 => times_column(build, scalar, &m, y.1),
        (None, Some(n)) if x.1.len() > 1 => times_row(build, scalar, x.1, &n),
        _ => pairs(x.1, y.1).map(|(x, y)| build.multiply(scalar, x, y)).collect(),
    }
}
