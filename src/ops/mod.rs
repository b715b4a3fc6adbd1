//! The operations. One file each, but the elementwise ones, which share theirs.
//!
//! An operation's file reads top to bottom: the formula, the shape and type rules (all checks are here, so that what is
//! below may trust its arguments), the launch on a GPU, and the way to its loops on the CPU.

pub mod activation;
pub mod astype;
pub mod attention;
pub mod concat;
pub mod cumsum;
pub mod elementwise;
pub mod formulas;
pub mod matmul;
pub mod matmul_vec;
pub mod norm;
mod parts;
pub(crate) mod pieces;
pub mod quantised;
pub mod reduce;
pub mod rope;
mod rows;
mod shaders;
pub mod softmax;
pub mod take;
pub mod views;
pub mod work;

use crate::device::Device;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::shape::{Layout, show};
use crate::tensor::{Storage, Tensor};

use activation::Activation;

pub use astype::{arange, assign, astype, contiguous, copy, full};
pub use attention::{attention, attention_scores, weighted_sum};
pub use concat::{concat, stack};
pub use cumsum::cumsum;
pub use matmul::matmul;
pub use matmul_vec::matmul_vec;
pub use rope::{rope, rope_tables};
pub use take::{embedding, take};

/// An operand: a tensor, or a number that takes the type of the tensor beside it.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    Tensor(&'a Tensor),
    Scalar(Scalar),
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl From<Scalar> for Operand<'_> {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

/// A product, with an activation applied to it if there is one.
pub fn activated(
    activation: Option<Activation>,
    name: &str,
    operands: &[&Tensor],
    product: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    let Some(activation) = activation else { return product() };
    activation.check(name, operands)?;
    let result = product()?;
    activation.apply(&result)?;
    Ok(result)
}

/// Where an operation computes its result, and where the result goes from there.
pub(crate) struct Output {
    /// What the operation writes: the caller's `out` where that is safe, otherwise a new tensor.
    pub(crate) target: Tensor,
    /// The caller's `out`, if the target is not it.
    copy_to: Option<Tensor>,
}

impl Output {
    /// A new tensor, or the caller's `out` after checking it.
    ///
    /// `in_place` says which input, if it is the very same elements as `out`, the operation can read while it writes.
    /// Any other overlap goes through a new tensor, so that the result is as if the inputs had been copied first.
    pub(crate) fn new(
        operation: &str,
        device: &Device,
        layout: Layout,
        dtype: DType,
        out: Option<&Tensor>,
        inputs: &[&Tensor],
        in_place: impl Fn(&Tensor, &Tensor) -> bool,
    ) -> Result<Self> {
        let Some(out) = out else {
            return Ok(Self { target: Tensor::empty_like(device, layout, dtype, operation)?, copy_to: None });
        };
        check_out(operation, out.shape(), out.dtype().name(), &layout.shape, dtype)?;
        check_writable(operation, "out=", out)?;
        out.device().check_same(device, operation, ["out=", "the result"])?;
        let conflict = inputs.iter().any(|input| shares_storage(input, out) && !in_place(input, out));
        if conflict {
            let target = Tensor::empty_like(device, layout, dtype, operation)?;
            return Ok(Self { target, copy_to: Some(out.clone()) });
        }
        Ok(Self { target: out.clone(), copy_to: None })
    }

    /// The result, in the caller's `out` if there is one.
    pub(crate) fn finish(self) -> Result<Tensor> {
        match self.copy_to {
            None => Ok(self.target),
            Some(out) => {
                assign(&out, (&self.target).into())?;
                Ok(out)
            }
        }
    }
}

/// Refuses an `out=` that is not exactly of the result's shape and dtype.
pub(crate) fn check_out(
    operation: &str,
    out_shape: &[usize],
    out_dtype: &str,
    shape: &[usize],
    dtype: DType,
) -> Result<()> {
    if out_shape != shape {
        return Err(Error::Shape(format!(
            "{operation}: out= has shape {}, but the result has shape {}",
            show(out_shape),
            show(shape)
        )));
    }
    if out_dtype != dtype.name() {
        return Err(Error::DType(format!("{operation}: out= has dtype {out_dtype}, but the result has dtype {dtype}")));
    }
    Ok(())
}

/// Refuses to write where that is not allowed or has no clear meaning.
pub(crate) fn check_writable(operation: &str, what: &str, out: &Tensor) -> Result<()> {
    if !out.is_writable() {
        return Err(Error::Argument(format!("{operation}: {what} is read-only; give a writable array")));
    }
    if out.layout().repeats() {
        return Err(Error::Argument(format!(
            "{operation}: {what} repeats its elements (a broadcast view) and cannot be written; give a copy"
        )));
    }
    Ok(())
}

/// Part of a tensor along one axis, as a view.
pub(crate) fn narrow(tensor: &Tensor, axis: usize, from: usize, length: usize) -> Tensor {
    let mut layout = tensor.layout().clone();
    layout.shape[axis] = length;
    if length > 0 {
        layout.offset += layout.strides[axis] * from as isize;
    }
    tensor.with_layout(layout)
}

/// The same memory seen as words of four bytes, if the last axis lies one after another and everything is whole words.
pub(crate) fn as_words(tensor: &Tensor) -> Option<Tensor> {
    let per_word = tensor.dtype().per_word();
    let layout = tensor.layout();
    let (&length, outer) = layout.shape.split_last()?;
    let whole = |value: isize| value % per_word as isize == 0;
    let strides = &layout.strides[..outer.len()];
    let fits = length.is_multiple_of(per_word)
        && (layout.strides[outer.len()] == 1 || per_word == 1)
        && whole(layout.offset)
        && outer.iter().zip(strides).all(|(&length, &stride)| length == 1 || whole(stride));
    if !fits {
        return None;
    }
    let mut words = layout.clone();
    words.offset /= per_word as isize;
    words.shape[outer.len()] /= per_word;
    for stride in &mut words.strides[..outer.len()] {
        *stride /= per_word as isize;
    }
    Some(Tensor::from_parts(tensor.device().clone(), tensor.storage().clone(), words, DType::UInt32))
}

/// An axis as an argument names it, counted from the end where it is negative.
pub(crate) fn check_axis(operation: &str, axis: isize, shape: &[usize]) -> Result<usize> {
    let count = shape.len() as isize;
    if axis < -count || axis >= count {
        return Err(Error::Bounds(format!("{operation}: axis {axis} is out of range for shape {}", show(shape))));
    }
    Ok(if axis < 0 { axis + count } else { axis } as usize)
}

/// Where an axis that is new goes in the result.
pub(crate) fn check_new_axis(operation: &str, axis: isize, shape: &[usize]) -> Result<usize> {
    let count = shape.len() as isize + 1;
    if axis < -count || axis >= count {
        return Err(Error::Bounds(format!(
            "{operation}: axis {axis} is out of range for a result of {count} axes, one more than shape {} has",
            show(shape)
        )));
    }
    Ok(if axis < 0 { axis + count } else { axis } as usize)
}

/// Whether writing `out` could disturb reading `input`. A GPU cannot bind one buffer for both, even where the elements
/// differ.
fn shares_storage(input: &Tensor, out: &Tensor) -> bool {
    match (input.storage(), out.storage()) {
        (Storage::Gpu(a), Storage::Gpu(b)) => std::sync::Arc::ptr_eq(a, b),
        _ => input.may_overlap(out),
    }
}

/// The layout for a new result of this shape: dense, with the axes in the order in which the first input of the full
/// shape has them, so that operations on transposed tensors stay without gaps. NumPy does the same.
pub(crate) fn result_layout(shape: &[usize], inputs: &[&Layout]) -> Layout {
    let model = inputs.iter().find(|layout| layout.shape.as_slice() == shape && !layout.is_contiguous());
    let Some(order) = model.and_then(|layout| layout.dense_order()) else { return Layout::contiguous(shape) };
    if inputs.iter().any(|layout| layout.shape.as_slice() == shape && layout.is_contiguous()) {
        return Layout::contiguous(shape);
    }
    Layout::dense(shape, &order)
}
