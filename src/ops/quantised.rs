//! Operations on quantised weights: quantise, dequantise, rows by their indices, products with vectors and matrices.
//!
//! Weights stay in blocks. Products decode them in registers, or on their way into workgroup memory; only the CPU
//! decodes parts of them into memory, when it multiplies them with a matrix. What is not said here is as for
//! other tensors: `matmul_vec`, `matmul` and `embedding` in the files of these names.

mod cpu;
mod gpu;

use std::sync::atomic::{AtomicBool, Ordering};

use super::activation::Activation;
use super::matmul::swapped;
use super::matmul_vec::Axes;
use super::take::{check_indices, words_of_indices};
use super::{Output, assign, astype, contiguous};
use crate::device::Device;
use crate::device::select;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::gpu::wgsl;
use crate::profile;
use crate::quant::{Format, QuantTensor};
use crate::shape::{Index, Layout, Shape, broadcast_shapes, show};
use crate::tensor::Tensor;

#[cfg(test)]
pub(crate) use gpu::all_specs;

/// Whether the CPU device may round vectors to bytes, which it multiplies with weights several times as fast.
static INT8_ACTIVATIONS: AtomicBool = AtomicBool::new(true);

/// Whether the CPU device may round vectors to bytes in products with quantised weights.
#[must_use]
pub fn int8_activations() -> bool {
    INT8_ACTIVATIONS.load(Ordering::Relaxed)
}

/// Lets the CPU device round vectors to bytes in products with quantised weights, or not.
pub fn set_int8_activations(allowed: bool) {
    INT8_ACTIVATIONS.store(allowed, Ordering::Relaxed);
}

/// Weights of a format that come close to `x`: blocks along its last axis.
pub fn quantize(x: &Tensor, format: &'static Format) -> Result<QuantTensor> {
    const NAME: &str = "quantize";
    if x.dtype().kind() != Kind::Float {
        return Err(Error::DType(format!(
            "{NAME}: the array has dtype {}; floats are quantised, so convert it with astype()",
            x.dtype()
        )));
    }
    let Device::Cpu(device) = x.device() else {
        let host = x.to_host(select::cpu()?)?;
        return quantize(&host, format)?.to(x.device());
    };
    let weights = QuantTensor::empty(NAME, x.device(), format, x.shape())?;
    match cpu::quantize(*device, &contiguous(x)?, &weights) {
        None => Ok(weights),
        Some(largest) => Err(Error::Argument(format!(
            "{NAME}: the array holds {largest:e}, which {} cannot: its scales are float16; divide the array first",
            format.name
        ))),
    }
}

/// The numbers that weights stand for.
pub fn dequantize(w: &QuantTensor, dtype: DType) -> Result<Tensor> {
    const NAME: &str = "dequantize";
    if dtype.kind() != Kind::Float {
        return Err(Error::DType(format!("{NAME}: weights become floats, but dtype={dtype} is none")));
    }
    let shape = w.stored_shape();
    let out = Tensor::empty(w.device(), &shape, dtype, NAME)?;
    decode_rows(NAME, &as_matrix(w, shape.len() - 1)?, None, &out)?;
    Ok(if w.is_transposed() { swapped(&out) } else { out })
}

/// The rows of `table` at `ids`, as float32.
pub fn embedding(table: &QuantTensor, ids: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "embedding";
    table.device().check_same(ids.device(), NAME, ["table", "ids"])?;
    let shape = table.shape();
    if table.is_transposed() || shape.len() < 2 {
        return Err(Error::Shape(format!(
            "{NAME}: a quantised table has rows of blocks, in two axes or more, and is not transposed; this one has \
             shape {}",
            show(&shape)
        )));
    }
    check_indices(NAME, ids, &shape, 0)?;
    let result: Shape = ids.shape().iter().chain(&shape[1..]).copied().collect();
    let layout = Layout::contiguous(&result);
    let output = Output::new(NAME, table.device(), layout, DType::Float32, out, &[table.blocks(), ids], |_, _| false)?;
    if output.target.is_empty() {
        return output.finish();
    }
    let (ids, entries) = (words_of_indices(ids)?, as_matrix(table, 1)?);
    let target = &output.target;
    if target.layout().is_contiguous() && target.layout().offset % 4 == 0 {
        decode_rows(NAME, &entries, Some(&ids), target)?;
    } else {
        let result = Tensor::empty(target.device(), &result, DType::Float32, NAME)?;
        decode_rows(NAME, &entries, Some(&ids), &result)?;
        assign(target, (&result).into())?;
    }
    output.finish()
}

/// Weights as a matrix: its rows are what so many of the first axes count.
fn as_matrix(w: &QuantTensor, axes: usize) -> Result<QuantTensor> {
    let merged = |shape: &[usize]| [shape[..axes].iter().product(), shape[axes..].iter().product()];
    let blocks = w.blocks().reshape(&merged(w.blocks().shape()))?;
    QuantTensor::new("reshape", w.format(), &blocks, &merged(&w.stored_shape()))
}

/// Writes the rows of a matrix of weights, or those that indices name, to a tensor that has no gaps.
fn decode_rows(name: &'static str, w: &QuantTensor, ids: Option<&Tensor>, out: &Tensor) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let length = w.stored_shape()[1];
    let out = out.reshape(&[out.len() / length, length])?;
    match w.device() {
        Device::Cpu(device) => {
            cpu::decode_rows(*device, w, ids, &out);
            Ok(())
        }
        Device::Gpu(_) => gpu::decode_rows(name, w, ids, &out),
    }
}

/// `w @ x` for quantised weights `w[..., n, k]` and `x[..., k]`: leading axes broadcast.
pub fn matmul_vec(w: &QuantTensor, x: &Tensor, activation: Option<Activation>, out: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "matmul_vec";
    w.device().check_same(x.device(), NAME, ["w", "x"])?;
    let Axes { lead, n, k } = Axes::of(&w.shape(), x.shape())?;
    let extended = |last: usize| lead.iter().copied().chain([last]).collect::<Shape>();
    let x = float(x)?;
    let output = result(NAME, w, &x, &extended(n), out)?;
    let x = x.with_layout(x.layout().broadcast_to(&extended(k), NAME)?);
    multiply(NAME, w, &x, &output.target, activation)?;
    output.finish()
}

/// `a @ b`, one of which is quantised, the other a vector, a matrix or a stack of matrices.
pub fn matmul(a: Either<'_>, b: Either<'_>, activation: Option<Activation>, out: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "matmul";
    let (w, x, w_first) = match (a, b) {
        (Either::Quantised(w), Either::Dense(x)) => (w, x, true),
        (Either::Dense(x), Either::Quantised(w)) => (w, x, false),
        (Either::Quantised(_), Either::Quantised(_)) => {
            return Err(Error::DType(format!("{NAME}: both operands are quantised; dequantize() one of them")));
        }
        (Either::Dense(_), Either::Dense(_)) => unreachable!("one of them is quantised"),
    };
    w.device().check_same(x.device(), NAME, if w_first { ["a", "b"] } else { ["b", "a"] })?;
    let w_shape = w.shape();
    let fail = |why: String| {
        let (a, b) = if w_first { (&w_shape[..], x.shape()) } else { (x.shape(), &w_shape[..]) };
        Error::Shape(format!("{NAME}: a has shape {} and b {}; {why}", show(a), show(b)))
    };
    if w_shape.len() < 2 || x.shape().is_empty() {
        return Err(fail("quantised weights need two axes or more here, and the other operand one or more".into()));
    }
    // As products of rows of weights with vectors: x @ w is wᵀ with the rows of x, w @ x is w with the columns of x.
    let rows = if w_first { w.clone() } else { w.transposed(NAME)? };
    let rows_shape = rows.shape();
    let [ref w_lead @ .., n, k] = rows_shape[..] else { unreachable!("it has two axes or more") };
    let is_vector = x.shape().len() == 1;
    let x = float(x)?;
    let vectors = if w_first && !is_vector { swapped(&x) } else { x };
    let (&x_k, x_lead) = vectors.shape().split_last().expect("it has an axis");
    if x_k != k {
        let axes = match (w_first, is_vector) {
            (true, true) => "the last axis of a must be as long as the axis of b",
            _ => "the last axis of a must be as long as the last but one of b",
        };
        let (first, second) = if w_first { (k, x_k) } else { (x_k, k) };
        return Err(fail(format!("{axes}, but {first} is not {second}")));
    }
    // The axes before matrices broadcast; that of the vectors has nothing to do with the weights.
    let (x_lead, count) =
        if is_vector { (x_lead, None) } else { (&x_lead[..x_lead.len() - 1], x_lead.last().copied()) };
    let lead = broadcast_shapes(w_lead, x_lead, NAME, ["a", "b"])
        .map_err(|_| fail("the axes before the last two do not broadcast".into()))?;
    let extended = |tail: &[usize]| lead.iter().chain(tail).copied().collect::<Shape>();
    let count_axis = count.as_slice();
    let shape = match count {
        Some(count) if w_first => extended(&[n, count]),
        Some(count) => extended(&[count, n]),
        None => extended(&[n]),
    };
    let output = result(NAME, &rows, &vectors, &shape, out)?;
    let x_shape = extended(&[count_axis, &[k]].concat());
    let vectors = vectors.with_layout(vectors.layout().broadcast_to(&x_shape, NAME)?);
    let target = if w_first && !is_vector { swapped(&output.target) } else { output.target.clone() };
    // The weights have an axis for the vectors, along which they repeat.
    let rows = if is_vector { rows } else { rows.repeated() };
    multiply(NAME, &rows, &vectors, &target, activation)?;
    output.finish()
}

/// An operand of a product.
#[derive(Clone, Copy)]
pub enum Either<'a> {
    Dense(&'a Tensor),
    Quantised(&'a QuantTensor),
}

/// The dense operand as floats.
fn float(x: &Tensor) -> Result<Tensor> {
    if x.dtype().kind() == Kind::Float { Ok(x.clone()) } else { astype(x, DType::Float32, false) }
}

/// Where a product goes: it has the type of the dense operand.
fn result(name: &str, w: &QuantTensor, x: &Tensor, shape: &[usize], out: Option<&Tensor>) -> Result<Output> {
    Output::new(name, w.device(), Layout::contiguous(shape), x.dtype(), out, &[w.blocks(), x], |_, _| false)
}

/// Writes `w[..., n, k] · x[..., k]` to `out[..., n]`, where the leading axes of x and out are equal, and those of w
/// broadcast to them. `out` overlaps neither operand.
fn multiply(
    name: &'static str,
    w: &QuantTensor,
    x: &Tensor,
    out: &Tensor,
    activation: Option<Activation>,
) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    if x.is_empty() {
        assign(out, super::Operand::Scalar(Scalar::Int(0)))?;
        return activation.map_or(Ok(()), |activation| activation.apply(out));
    }
    let shape = w.shape();
    let (k, n) = (shape[shape.len() - 1], shape[shape.len() - 2]);
    let lead = &out.shape()[..out.shape().len() - 1];
    // The axes along which the weights change, and those of the vectors that meet the same weights.
    let w_lead = &shape[..shape.len() - 2];
    let missing = lead.len() - w_lead.len();
    let changes = |axis: usize| axis >= missing && w_lead[axis - missing] > 1;
    let outer: Vec<usize> = (0..lead.len()).filter(|&axis| changes(axis)).collect();
    let mut order: Shape = outer.iter().copied().chain((0..lead.len()).filter(|&axis| !changes(axis))).collect();
    order.push(lead.len());
    let [x, out_view] = [x, out].map(|tensor| tensor.with_layout(tensor.layout().permuted(&order)));
    let matrices: usize = outer.iter().map(|&axis| lead[axis]).product();
    let vectors = lead.iter().product::<usize>() / matrices;
    for number in 0..matrices {
        let (mut index, mut w_index) = (vec![Index::At(0); outer.len()], vec![Index::At(0); w_lead.len()]);
        let mut rest = number;
        for (at, &axis) in index.iter_mut().zip(&outer).rev() {
            *at = Index::At((rest % lead[axis]) as isize);
            w_index[axis - missing] = *at;
            rest /= lead[axis];
        }
        let (matrix, target) = (w.matrix(&w_index)?, out_view.index(&index)?);
        let x = x.index(&index)?.reshape(&[vectors, k])?;
        if let Some(layout) = target.layout().reshaped(&[vectors, n]) {
            multiply_matrix(name, &matrix, &x, &target.with_layout(layout), activation)?;
        } else {
            // What cannot be seen as a matrix goes through one.
            let whole = Tensor::empty(out.device(), &[vectors, n], out.dtype(), name)?;
            multiply_matrix(name, &matrix, &x, &whole, activation)?;
            assign(&target, (&whole.reshape(target.shape())?).into())?;
        }
    }
    Ok(())
}

/// Writes `w[n, k] · x[v, k]` to `out[v, n]`.
fn multiply_matrix(
    name: &'static str,
    w: &QuantTensor,
    x: &Tensor,
    out: &Tensor,
    activation: Option<Activation>,
) -> Result<()> {
    let activated = match w.device() {
        Device::Cpu(device) => {
            profile::count(|| (w.len() * x.shape()[0]) as u64);
            cpu::multiply(*device, name, w, x, out, !int8_activations())?;
            false
        }
        Device::Gpu(_) => gpu::multiply(name, w, x, out, activation)?,
    };
    match activation {
        Some(activation) if !activated => activation.apply(out),
        _ => Ok(()),
    }
}

/// The text that decodes blocks of a format in a shader: `decode_eight` and `decode_four`; `ELEMENTS` and `BYTES` of a
/// block, and how many elements share a scale; then a module that makes use of them.
pub(super) fn decoding(format: &Format, module: &str) -> String {
    let shared = |name: &str| wgsl::imported(name, &[]).map_or_else(|_| unreachable!("{name} is there"), String::from);
    let (elements, bytes, group) = (format.elements, format.bytes, format.group());
    let mut text = format!("const ELEMENTS = {elements}u;\nconst BYTES = {bytes}u;\nconst GROUP = {group}u;\n");
    text += &shared("quant/bytes");
    text += format.wgsl;
    let decodes = format.wgsl.contains("fn decode_eight(");
    text += &shared(if decodes { "quant/own" } else { "quant/integers" });
    if !module.is_empty() {
        text += &shared(module);
    }
    text
}
