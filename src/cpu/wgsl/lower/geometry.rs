//! Vectors and matrices as such.

use naga::TypeInner;

use super::build::Builder;
use super::types::Scalar;
use crate::cpu::wgsl::ir::{Binary, Unary, Value};

/// A matrix; its columns follow each other.
pub(super) struct Matrix<'a> {
    pub(super) columns: usize,
    pub(super) rows: usize,
    values: &'a [Value],
}

impl<'a> Matrix<'a> {
    pub(super) fn of(ty: &TypeInner, values: &'a [Value]) -> Option<Self> {
        match *ty {
            TypeInner::Matrix { columns, rows, .. } => {
                Some(Self { columns: columns as usize, rows: rows as usize, values })
            }
            _ => None,
        }
    }

    fn at(&self, column: usize, row: usize) -> Value {
        self.values[column * self.rows + row]
    }

    fn column(&self, column: usize) -> &[Value] {
        &self.values[column * self.rows..][..self.rows]
    }

    fn row(&self, row: usize) -> Vec<Value> {
        (0..self.columns).map(|column| self.at(column, row)).collect()
    }

    pub(super) fn transposed(&self) -> Vec<Value> {
        (0..self.rows).flat_map(|row| self.row(row)).collect()
    }

    /// What is left without a column and a row.
    fn without(&self, column: usize, row: usize) -> Vec<Value> {
        let columns = (0..self.columns).filter(|c| *c != column);
        columns.flat_map(|c| (0..self.rows).filter(|r| *r != row).map(move |r| self.at(c, r))).collect()
    }
}

/// `((x0 * y0 + x1 * y1) + x2 * y2) + x3 * y3`.
pub(super) fn dot(build: &mut Builder, scalar: Scalar, x: &[Value], y: &[Value]) -> Value {
    let mut sum = build.multiply(scalar, x[0], y[0]);
    for (x, y) in x.iter().zip(y).skip(1) {
        let product = build.multiply(scalar, *x, *y);
        sum = build.add(scalar, sum, product);
    }
    sum
}

pub(super) fn product(build: &mut Builder, scalar: Scalar, m: &Matrix<'_>, n: &Matrix<'_>) -> Vec<Value> {
    (0..n.columns).flat_map(|column| times_column(build, scalar, m, n.column(column))).collect()
}

/// The matrix times a column.
pub(super) fn times_column(build: &mut Builder, scalar: Scalar, m: &Matrix<'_>, x: &[Value]) -> Vec<Value> {
    (0..m.rows).map(|row| dot(build, scalar, &m.row(row), x)).collect()
}

/// A row times the matrix.
pub(super) fn times_row(build: &mut Builder, scalar: Scalar, x: &[Value], m: &Matrix<'_>) -> Vec<Value> {
    (0..m.columns).map(|column| dot(build, scalar, x, m.column(column))).collect()
}

pub(super) fn outer(build: &mut Builder, scalar: Scalar, x: &[Value], y: &[Value]) -> Vec<Value> {
    y.iter().flat_map(|y| x.iter().map(|x| build.multiply(scalar, *x, *y)).collect::<Vec<_>>()).collect()
}

/// By its first column.
pub(super) fn determinant(build: &mut Builder, scalar: Scalar, m: &Matrix<'_>) -> Value {
    if m.columns == 2 {
        let (x, y) = (build.multiply(scalar, m.at(0, 0), m.at(1, 1)), build.multiply(scalar, m.at(1, 0), m.at(0, 1)));
        return build.subtract(scalar, x, y);
    }
    let mut sum = None;
    for row in 0..m.rows {
        let minor = minor(build, scalar, m, 0, row);
        let term = build.multiply(scalar, m.at(0, row), minor);
        sum = Some(match sum {
            None => term,
            Some(sum) if row % 2 == 0 => build.add(scalar, sum, term),
            Some(sum) => build.subtract(scalar, sum, term),
        });
    }
    sum.unwrap_or_else(|| build.integer(scalar.kind, 1))
}

/// The determinant without a column and a row.
fn minor(build: &mut Builder, scalar: Scalar, m: &Matrix<'_>, column: usize, row: usize) -> Value {
    let values = m.without(column, row);
    if values.len() == 1 {
        return values[0];
    }
    determinant(build, scalar, &Matrix { columns: m.columns - 1, rows: m.rows - 1, values: &values })
}

/// Cofactors over the determinant.
pub(super) fn inverse(build: &mut Builder, scalar: Scalar, m: &Matrix<'_>) -> Vec<Value> {
    let determinant = determinant(build, scalar, m);
    let mut result = Vec::with_capacity(m.values.len());
    for column in 0..m.columns {
        for row in 0..m.rows {
            let minor = minor(build, scalar, m, row, column);
            let cofactor = if (column + row) % 2 == 0 { minor } else { build.unary(Unary::Negate, minor) };
            result.push(build.divide(scalar, cofactor, determinant));
        }
    }
    result
}

pub(super) fn cross(build: &mut Builder, scalar: Scalar, x: &[Value], y: &[Value]) -> Vec<Value> {
    let component = |(i, j): (usize, usize)| {
        let (a, b) = (build.multiply(scalar, x[i], y[j]), build.multiply(scalar, x[j], y[i]));
        build.subtract(scalar, a, b)
    };
    [(1, 2), (2, 0), (0, 1)].into_iter().map(component).collect()
}

/// The Euclidean norm.
pub(super) fn length(build: &mut Builder, scalar: Scalar, x: &[Value]) -> Value {
    if let [x] = x {
        return build.unary(Unary::Abs, *x);
    }
    let squares = dot(build, scalar, x, x);
    build.sqrt(scalar, squares)
}

pub(super) fn distance(build: &mut Builder, scalar: Scalar, x: &[Value], y: &[Value]) -> Value {
    let between: Vec<Value> = x.iter().zip(y).map(|(x, y)| build.subtract(scalar, *x, *y)).collect();
    length(build, scalar, &between)
}

pub(super) fn normalize(build: &mut Builder, scalar: Scalar, x: &[Value]) -> Vec<Value> {
    let length = length(build, scalar, x);
    x.iter().map(|x| build.divide(scalar, *x, length)).collect()
}

/// `x` where `dot(y, z) < 0`, else `-x`.
pub(super) fn face_forward(build: &mut Builder, scalar: Scalar, x: &[Value], y: &[Value], z: &[Value]) -> Vec<Value> {
    let along = dot(build, scalar, y, z);
    let is_negative = build.compare(Binary::Less, along, 0);
    let chosen = |x: &Value| {
        let opposite = build.unary(Unary::Negate, *x);
        build.select(is_negative, *x, opposite)
    };
    x.iter().map(chosen).collect()
}

/// `x - 2 * dot(y, x) * y`.
pub(super) fn reflect(build: &mut Builder, scalar: Scalar, x: &[Value], y: &[Value]) -> Vec<Value> {
    let along = dot(build, scalar, y, x);
    let two = build.integer(scalar.kind, 2);
    let twice = build.multiply(scalar, two, along);
    let component = |(x, y): (&Value, &Value)| {
        let away = build.multiply(scalar, twice, *y);
        build.subtract(scalar, *x, away)
    };
    x.iter().zip(y).map(component).collect()
}

/// With `k = 1 - z * z * (1 - dot(y, x) * dot(y, x))`: zero where `k < 0`, else
/// `z * x - (z * dot(y, x) + sqrt(k)) * y`.
pub(super) fn refract(build: &mut Builder, scalar: Scalar, x: &[Value], y: &[Value], z: Value) -> Vec<Value> {
    let (zero, one) = (build.integer(scalar.kind, 0), build.integer(scalar.kind, 1));
    let along = dot(build, scalar, y, x);
    let square = build.multiply(scalar, along, along);
    let rest = build.subtract(scalar, one, square);
    let ratio = build.multiply(scalar, z, z);
    let bent = build.multiply(scalar, ratio, rest);
    let k = build.subtract(scalar, one, bent);
    let is_negative = build.binary(Binary::Less, k, zero);
    let root = build.sqrt(scalar, k);
    let straight = build.multiply(scalar, z, along);
    let normal = build.add(scalar, straight, root);
    let component = |(x, y): (&Value, &Value)| {
        let (x, y) = (build.multiply(scalar, z, *x), build.multiply(scalar, normal, *y));
        let refracted = build.subtract(scalar, x, y);
        build.select(is_negative, zero, refracted)
    };
    x.iter().zip(y).map(component).collect()
}
