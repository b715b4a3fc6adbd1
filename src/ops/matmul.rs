//! Matrix product: `out[..., i, j] = sum over p of a[..., i, p] * b[..., p, j]`, leading axes broadcast.
//!
//! Floats are multiplied and summed in float32, whatever they are stored in; integers in int32, wrapping around.

mod cpu;
pub(super) mod gpu;

use super::matmul_vec::multiply_vectors;
use super::{Operand, Output, assign, astype};
use crate::device::Device;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::shape::{Layout, Shape, broadcast_shapes, show};
use crate::tensor::Tensor;

const NAME: &str = "matmul";

/// `a @ b` as in NumPy: a vector on the left is a row, one on the right a column, and that axis is not in the result.
pub fn matmul(a: &Tensor, b: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
    a.device().check_same(b.device(), NAME, ["a", "b"])?;
    for (operand, name) in [(a, "a"), (b, "b")] {
        if operand.shape().is_empty() {
            return Err(Error::Shape(format!(
                "{NAME}: {name} is a single number; a vector or a matrix is wanted, or use multiply"
            )));
        }
    }
    let (row, column) = (a.shape().len() == 1, b.shape().len() == 1);
    let (left, right) = (with_axis(a, row, 0), with_axis(b, column, 1));
    let (&[ref a_lead @ .., m, k], &[ref b_lead @ .., b_k, n]) = (left.shape(), right.shape()) else {
        unreachable!("both have two axes or more")
    };
    if k != b_k {
        return Err(Error::Shape(format!(
            "{NAME}: a has shape {} and b {}; the last axis of a must be as long as the {} of b, but {k} is not {b_k}",
            show(a.shape()),
            show(b.shape()),
            if column { "axis" } else { "last but one" }
        )));
    }
    let lead = broadcast_shapes(a_lead, b_lead, NAME, ["a", "b"]).map_err(|_| {
        Error::Shape(format!(
            "{NAME}: a has shape {} and b {}; the axes before the last two do not broadcast",
            show(a.shape()),
            show(b.shape())
        ))
    })?;
    let dtype = a.dtype().promote(b.dtype(), NAME)?;
    let (left, right) = (computable(&left, dtype)?, computable(&right, dtype)?);
    let extended = |tail: &[usize]| lead.iter().chain(tail).copied().collect::<Shape>();
    let tail = [m, n];
    let shape = extended(&tail[usize::from(row)..2 - usize::from(column)]);
    let output = Output::new(NAME, a.device(), Layout::contiguous(&shape), dtype, out, &[&left, &right], |_, _| false)?;
    let left = left.with_layout(left.layout().broadcast_to(&extended(&[m, k]), NAME)?);
    let right = right.with_layout(right.layout().broadcast_to(&extended(&[k, n]), NAME)?);
    let mut layout = output.target.layout().clone();
    for (missing, axis) in [(row, lead.len()), (column, lead.len() + 1)] {
        if missing {
            layout.shape.insert(axis, 1);
            layout.strides.insert(axis, 1);
        }
    }
    multiply(NAME, &left, &right, &output.target.with_layout(layout), 1.0)?;
    output.finish()
}

/// The operand as the loops and kernels take it: floats as they are stored, integers widened.
pub(crate) fn computable(operand: &Tensor, result: DType) -> Result<Tensor> {
    match (result.kind(), operand.dtype().kind()) {
        (Kind::Float, Kind::Float) => Ok(operand.clone()),
        (Kind::Float, _) => astype(operand, DType::Float32, false),
        (Kind::Int | Kind::Bool, _) => astype(operand, DType::Int32, false),
    }
}

/// The tensor with an axis of length 1 more at `axis`, if it lacks one.
fn with_axis(tensor: &Tensor, lacks: bool, axis: usize) -> Tensor {
    if lacks { tensor.with_layout(tensor.layout().with_axis(axis)) } else { tensor.clone() }
}

/// Writes `scale` times the product of `a[..., m, k]` and `b[..., k, n]` to `out[..., m, n]`.
///
/// Leading axes are equal; both operands are floats, or both int32, in which case the scale is 1. `out` has any dtype
/// of the same kind and overlaps neither operand. For operations that have checked all that.
pub(crate) fn multiply(name: &'static str, a: &Tensor, b: &Tensor, out: &Tensor, scale: f32) -> Result<()> {
    let axes = out.shape().len();
    if out.is_empty() {
        return Ok(());
    }
    if a.shape()[axes - 1] == 0 {
        return assign(out, Operand::Scalar(Scalar::Int(0)));
    }
    if let Device::Cpu(device) = a.device() {
        // SAFETY: the caller checked the shapes, and that the output overlaps neither operand.
        #[expect(unsafe_code, reason = "the loops trust the shapes")]
        return unsafe { cpu::multiply(*device, a.view(), b.view(), out.view_mut(), scale) };
    }
    let without = |tensor: &Tensor, axis: usize| tensor.with_layout(tensor.layout().without(axis));
    // A single column, or a single row: the matrix times a vector.
    if b.shape()[axes - 1] == 1 {
        return multiply_vectors(name, a, &without(b, axes - 1), &without(out, axes - 1), scale);
    }
    if a.shape()[axes - 2] == 1 {
        return multiply_vectors(name, &swapped(b), &without(a, axes - 2), &without(out, axes - 2), scale);
    }
    gpu::multiply(name, a, b, out, scale)
}

/// The last two axes in the other order, as a view.
pub(crate) fn swapped(tensor: &Tensor) -> Tensor {
    let axes = tensor.shape().len();
    let mut order: Shape = (0..axes).collect();
    order.swap(axes - 2, axes - 1);
    tensor.with_layout(tensor.layout().permuted(&order))
}

#[cfg(test)]
pub(crate) use gpu::all_specs;
