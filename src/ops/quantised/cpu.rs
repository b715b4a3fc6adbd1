//! Quantised weights on the CPU: blocks are coded by all threads, a piece that fits the nearest cache at a time.
//! Products with a few vectors are the business of [`product`]; for those with matrices, rows are decoded before.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::cast_ptr_alignment, reason = "tensors of words begin at words")]

use std::slice;
use std::sync::{Mutex, PoisonError};

use half::f16;

use crate::cpu::CpuDevice;
use crate::cpu::convert::{self, BLOCK, Block};
use crate::cpu::threads::Shared;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::matmul::{self, swapped};
use crate::ops::take::cpu::nearest;
use crate::ops::{assign, astype, contiguous, elementwise, narrow};
use crate::quant::product::{self, Rows};
use crate::quant::{Format, QuantTensor};
use crate::tensor::Tensor;

/// How many pieces of [`BLOCK`] elements, which are whole blocks of every format, make a task.
const TASK: usize = 64;
/// Up to so many vectors are multiplied with the blocks themselves; for more of them it pays to decode these first.
const VECTORS: usize = 16;
/// About so many elements are decoded at a time for products with matrices.
const DECODED: usize = 1 << 21;

/// Writes the blocks that come close to `x`, floats without gaps, to new weights of its shape. What comes back is a
/// finite number that is too large for them, if there is one.
pub(super) fn quantize(device: CpuDevice, x: &Tensor, w: &QuantTensor) -> Option<f32> {
    let (from, to) = (x.view(), w.blocks().view_mut());
    let (dtype, format) = (x.dtype(), w.format());
    let length = x.shape().last().copied().unwrap_or_default();
    let pieces = Pieces { format, length, rows: x.len().checked_div(length).unwrap_or_default() };
    let too_large = Mutex::new(None);
    // SAFETY: each task writes blocks of its own.
    let shared = unsafe { Shared::new((from.start(), to.start())) };
    pieces.each(device, |at, element, count| {
        let (from, to) = shared.get();
        let mut block = Block::new();
        let (numbers, first) = (block.as_mut_ptr::<f32>(), at * length + element);
        // SAFETY: the tensors have so many elements and blocks, without gaps; a block has room for a piece.
        unsafe {
            let from = from.add(first * dtype.size());
            convert::load::<f32>(device.level(), dtype, from, dtype.size() as isize, numbers, count);
            let blocks = slice::from_raw_parts_mut(to.add(format.bytes_of(first)), format.bytes_of(count));
            let numbers = slice::from_raw_parts(numbers, count);
            format.encode(device.level(), numbers, blocks);
            // What float16 can scale needs no second look.
            let largest = numbers.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            if largest > f16::MAX.to_f32_const() && numbers.iter().all(|x| x.is_finite()) {
                let mut decoded = Block::new();
                let decoded = slice::from_raw_parts_mut(decoded.as_mut_ptr::<f32>(), count);
                format.decode(device.level(), blocks, decoded);
                let reached = decoded.iter().fold(0.0_f32, |reached, x| reached.max(x.abs()));
                if !(0.5 * largest..=2.0 * largest).contains(&reached) || decoded.iter().any(|x| x.is_nan()) {
                    *too_large.lock().unwrap_or_else(PoisonError::into_inner) = Some(largest);
                }
            }
        }
    });
    too_large.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the rows of a matrix of weights, or those that indices name, to `out[rows, length]`, which has no gaps.
pub(super) fn decode_rows(device: CpuDevice, w: &QuantTensor, ids: Option<&Tensor>, out: &Tensor) {
    let (blocks, to, dtype, format) = (w.blocks().view(), out.view_mut(), out.dtype(), w.format());
    let (&[rows, length], &[count, _]) = (&w.stored_shape()[..], w.blocks().shape()) else {
        unreachable!("weights are a matrix here")
    };
    debug_assert_eq!(rows, count);
    let signed = ids.is_some_and(|ids| ids.dtype() == DType::Int32);
    let ids = ids.map(|ids| ids.view().start().cast::<u32>());
    let pieces = Pieces { format, length, rows: out.shape()[0] };
    let step = w.blocks().layout().strides[0];
    // SAFETY: each task writes elements of its own.
    let shared = unsafe { Shared::new((blocks.start(), to.start(), ids)) };
    pieces.each(device, |at, element, count| {
        let (from, to, ids) = shared.get();
        let mut block = Block::new();
        // SAFETY: there is an index for each row of the output; indices are taken to the nearest row that there is,
        // whose blocks lie one after another; a block has room for a piece.
        unsafe {
            let row = ids.map_or(at, |ids| nearest(ids.add(at).read(), signed, rows));
            let from = from.offset(row as isize * step).add(format.bytes_of(element));
            let to = to.add((at * length + element) * dtype.size());
            let numbers = block.as_mut_ptr::<f32>();
            let blocks = slice::from_raw_parts(from, format.bytes_of(count));
            format.decode(device.level(), blocks, slice::from_raw_parts_mut(numbers, count));
            convert::store::<f32>(device.level(), dtype, numbers, to, dtype.size() as isize, count);
        }
    });
}

/// Rows of elements in pieces that are whole blocks.
#[derive(Clone, Copy)]
struct Pieces {
    format: &'static Format,
    length: usize,
    rows: usize,
}

impl Pieces {
    /// Calls `work` with the row, the first element and the number of elements of each piece, on all threads.
    fn each(self, device: CpuDevice, work: impl Fn(usize, usize, usize) + Sync) {
        debug_assert!(BLOCK.is_multiple_of(self.format.elements));
        let of_row = self.length.div_ceil(BLOCK);
        let all = of_row * self.rows;
        let device = if all < TASK { device.with_threads(1) } else { device };
        device.for_each_chunk(all.div_ceil(TASK), |task| {
            for piece in task * TASK..all.min((task + 1) * TASK) {
                let element = piece % of_row * BLOCK;
                work(piece / of_row, element, BLOCK.min(self.length - element));
            }
        });
    }
}

/// Writes `w[n, k] · x[v, k]` to `out[v, n]`, floats all of them. Without `exact`, vectors may be rounded to bytes.
pub(super) fn multiply(
    device: CpuDevice,
    name: &'static str,
    w: &QuantTensor,
    x: &Tensor,
    out: &Tensor,
    exact: bool,
) -> Result<()> {
    let (vectors, n) = (out.shape()[0], out.shape()[1]);
    if w.is_transposed() {
        return multiply_columns(name, w, x, out);
    }
    if vectors > VECTORS {
        return multiply_decoded(name, w, x, out);
    }
    let x = contiguous(&astype(x, DType::Float32, false)?)?;
    let layout = out.layout();
    let direct = out.dtype() == DType::Float32 && layout.strides[1] == 1 && layout.strides[0] >= n as isize;
    let result = if direct { out.clone() } else { Tensor::empty(out.device(), out.shape(), DType::Float32, name)? };
    let rows = Rows {
        format: w.format(),
        start: w.blocks().view().start(),
        step: w.blocks().layout().strides[0],
        count: n,
        length: x.shape()[1],
    };
    // SAFETY: the weights are `n` rows of the length of the vectors, which lie one after another; the result has a
    // place for each row and vector, and shares no memory with them.
    unsafe {
        let x = slice::from_raw_parts(x.view().start().cast::<f32>(), x.len());
        let step = result.layout().strides[0] as usize;
        product::multiply(device, rows, x, vectors, result.view_mut().start().cast(), step, exact)?;
    }
    if direct { Ok(()) } else { assign(out, (&result).into()) }
}

/// The same for many vectors: rows are decoded some at a time.
fn multiply_decoded(name: &'static str, w: &QuantTensor, x: &Tensor, out: &Tensor) -> Result<()> {
    let (n, k) = (out.shape()[1], x.shape()[1]);
    let step = (DECODED / k).clamp(1, n);
    let decoded = Tensor::empty(out.device(), &[step, k], DType::Float32, name)?;
    for first in (0..n).step_by(step) {
        let count = step.min(n - first);
        let rows = narrow(&decoded, 0, 0, count);
        super::decode_rows(name, &w.part(first..first + count, 0..k / w.format().elements), None, &rows)?;
        matmul::multiply(name, x, &swapped(&rows), &narrow(out, 1, first, count), 1.0)?;
    }
    Ok(())
}

/// The same for weights whose blocks lie along `n`: some blocks of some rows are decoded at a time, and what comes of
/// them is added up.
fn multiply_columns(name: &'static str, w: &QuantTensor, x: &Tensor, out: &Tensor) -> Result<()> {
    let (vectors, n, k) = (out.shape()[0], out.shape()[1], x.shape()[1]);
    let elements = w.format().elements;
    let step = (DECODED / k).max(1).next_multiple_of(elements).min(n);
    let rows = (DECODED / step).clamp(1, k);
    let w = w.transposed(name)?;
    let new = |shape: &[usize]| Tensor::empty(out.device(), shape, DType::Float32, name);
    let decoded = new(&[rows * step])?;
    for first in (0..n).step_by(step) {
        let count = step.min(n - first);
        let blocks = first / elements..(first + count) / elements;
        let mut total: Option<Tensor> = None;
        for row in (0..k).step_by(rows) {
            let of_part = rows.min(k - row);
            let part = narrow(&decoded, 0, 0, of_part * count).reshape(&[of_part, count])?;
            super::decode_rows(name, &w.part(row..row + of_part, blocks.clone()), None, &part)?;
            let sums = new(&[vectors, count])?;
            matmul::multiply(name, &narrow(x, 1, row, of_part), &part, &sums, 1.0)?;
            total = Some(match total {
                None => sums,
                Some(total) => elementwise::add((&total).into(), (&sums).into(), Some(&total))?,
            });
        }
        if let Some(total) = total {
            assign(&narrow(out, 1, first, count), (&total).into())?;
        }
    }
    Ok(())
}
