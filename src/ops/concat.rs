//! Tensors put beside one another: `concat` along an axis that they have, `stack` along a new one.

use smallvec::SmallVec;

use super::astype::convert;
use super::elementwise::Source;
use super::views::expanded;
use super::{Output, as_words, check_axis, check_new_axis, narrow};
use crate::device::Device;
use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::shape::{Layout, Shape, show};
use crate::tensor::Tensor;

/// The tensors one after another along `axis`, or all of them flattened if that is none.
///
/// Their shapes may differ along that axis only. The result has the dtype to which all of theirs promote.
pub fn concat(tensors: &[&Tensor], axis: Option<isize>, out: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "concat";
    let first = *first(NAME, tensors)?;
    let Some(axis) = axis else {
        let flat = tensors.iter().map(|tensor| tensor.reshape(&[tensor.len()])).collect::<Result<Vec<_>>>()?;
        return join(NAME, &flat.iter().collect::<Vec<_>>(), 0, out);
    };
    if let Some(index) = tensors.iter().position(|tensor| tensor.shape().is_empty()) {
        return Err(Error::Shape(format!(
            "{NAME}: tensors[{index}] has no axes to join along; use stack, or axis=None"
        )));
    }
    let axis = check_axis(NAME, axis, first.shape())?;
    for (index, tensor) in tensors.iter().enumerate() {
        let mut shape = Shape::from_slice(tensor.shape());
        let same_axes = shape.len() == first.shape().len();
        if same_axes {
            shape[axis] = first.shape()[axis];
        }
        if shape.as_slice() != first.shape() {
            return Err(Error::Shape(format!(
                "{NAME}: tensors[0] has shape {} and tensors[{index}] {}; they may differ along axis {axis} only",
                show(first.shape()),
                show(tensor.shape())
            )));
        }
    }
    join(NAME, tensors, axis, out)
}

/// Tensors of one shape along a new axis, which will be at `axis` in the result.
pub fn stack(tensors: &[&Tensor], axis: isize, out: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "stack";
    let first = *first(NAME, tensors)?;
    for (index, tensor) in tensors.iter().enumerate() {
        if tensor.shape() != first.shape() {
            return Err(Error::Shape(format!(
                "{NAME}: tensors[0] has shape {} and tensors[{index}] {}; all shapes must be equal",
                show(first.shape()),
                show(tensor.shape())
            )));
        }
    }
    let axis = check_new_axis(NAME, axis, first.shape())?;
    let widen = |tensor: &&Tensor| Ok(tensor.with_layout(expanded(NAME, tensor.layout(), axis as isize)?));
    let widened = tensors.iter().map(widen).collect::<Result<Vec<Tensor>>>()?;
    join(NAME, &widened.iter().collect::<Vec<_>>(), axis, out)
}

fn first<'a>(name: &str, tensors: &'a [&'a Tensor]) -> Result<&'a &'a Tensor> {
    tensors.first().ok_or_else(|| Error::Argument(format!("{name}: there are no tensors; give one at least")))
}

/// Joins tensors whose shapes differ along `axis` at most.
fn join(name: &'static str, tensors: &[&Tensor], axis: usize, out: Option<&Tensor>) -> Result<Tensor> {
    let first = tensors[0];
    for (index, tensor) in tensors.iter().enumerate() {
        first.device().check_same(tensor.device(), name, ["tensors[0]", &format!("tensors[{index}]")])?;
    }
    let dtype = common_dtype(name, tensors)?;
    let mut shape = Shape::from_slice(first.shape());
    shape[axis] = tensors.iter().map(|tensor| tensor.shape()[axis]).sum();
    let output = Output::new(name, first.device(), Layout::contiguous(&shape), dtype, out, tensors, |_, _| false)?;
    let mut from = 0;
    for tensor in tensors {
        let length = tensor.shape()[axis];
        let target = narrow(&output.target, axis, from, length);
        from += length;
        let on_gpu = matches!(target.device(), Device::Gpu(_));
        match as_words(tensor).zip(as_words(&target)) {
            // Whole words share none with their neighbours, so that nothing need be atomic.
            Some((words, target)) if on_gpu && tensor.dtype() == dtype => {
                convert(name, &Source::Tensor(&words), &target)?;
            }
            _ => convert(name, &Source::Tensor(tensor), &target)?,
        }
    }
    output.finish()
}

/// The dtype to which all promote, whatever their order. Floats come first: beside them every integer is float32.
fn common_dtype(name: &str, tensors: &[&Tensor]) -> Result<DType> {
    let kind = |tensor: &Tensor| match tensor.dtype().kind() {
        Kind::Float => 0,
        Kind::Int => 1,
        Kind::Bool => 2,
    };
    let mut order: SmallVec<[usize; 8]> = (0..tensors.len()).collect();
    order.sort_by_key(|&index| kind(tensors[index]));
    let mut dtype = tensors[order[0]].dtype();
    for index in order {
        dtype = dtype.promote(tensors[index].dtype(), name).map_err(|_| {
            Error::DType(format!(
                "{name}: tensors[{index}] has dtype {}, which together with the {dtype} of others needs int64, which \
                 no device has; convert one of them with astype()",
                tensors[index].dtype()
            ))
        })?;
    }
    Ok(dtype)
}
