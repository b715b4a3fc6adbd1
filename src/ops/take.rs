//! Elements by their indices along an axis: `out[…, j, …] = x[…, indices[j], …]`, bit by bit.
//!
//! Indices count from the end where they are negative. Here they are taken to the nearest that there is: what is known
//! on the host is checked before it comes here, and a device cannot raise.

pub(crate) mod cpu;

use super::elementwise::raw_module;
use super::{Output, as_words, assign, astype, check_axis, contiguous, narrow};
use crate::cpu::CpuDevice;
use crate::device::Device;
use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::gpu::context::Context;
use crate::gpu::pipeline::{Spec, shader_params};
use crate::gpu::stream::{Binding, Dispatch};
use crate::gpu::wgsl::Slot;
use crate::shape::{Layout, Shape, show};
use crate::tensor::Tensor;

/// The elements of `x` at `indices` along `axis`, or along the flattened tensor if that is none.
pub fn take(x: &Tensor, indices: &Tensor, axis: Option<isize>, out: Option<&Tensor>) -> Result<Tensor> {
    let (axis, _) = target("take", x.shape(), axis)?;
    match axis {
        Some(axis) => along("take", x, indices, axis, out),
        None => along("take", &x.reshape(&[x.len()])?, indices, 0, out),
    }
}

/// The rows of `table` at `ids`.
pub fn embedding(table: &Tensor, ids: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
    target("embedding", table.shape(), Some(0))?;
    along("embedding", table, ids, 0, out)
}

/// The axis that an argument names, none for the flattened tensor, and how long it is.
pub fn target(name: &str, shape: &[usize], axis: Option<isize>) -> Result<(Option<usize>, usize)> {
    match axis {
        None => Ok((None, shape.iter().product())),
        Some(axis) => {
            let axis = check_axis(name, axis, shape)?;
            Ok((Some(axis), shape[axis]))
        }
    }
}

fn along(name: &'static str, x: &Tensor, indices: &Tensor, axis: usize, out: Option<&Tensor>) -> Result<Tensor> {
    let labels = if name == "embedding" { ["table", "ids"] } else { ["x", "indices"] };
    x.device().check_same(indices.device(), name, labels)?;
    check_indices(name, indices, x.shape(), axis)?;
    let (before, length, after) = (&x.shape()[..axis], x.shape()[axis], &x.shape()[axis + 1..]);
    let shape: Shape = before.iter().chain(indices.shape()).chain(after).copied().collect();
    let output =
        Output::new(name, x.device(), Layout::contiguous(&shape), x.dtype(), out, &[x, indices], |_, _| false)?;
    if output.target.is_empty() {
        return output.finish();
    }
    let (outer, inner) = (before.iter().product(), after.iter().product());
    let x = x.reshape(&[outer, length, inner])?;
    let indices = words_of_indices(indices)?;
    // Results lie one after another, and go from there to where they are wanted.
    let dense = output.target.layout().is_contiguous();
    let result = if dense { output.target.clone() } else { Tensor::empty(x.device(), &shape, x.dtype(), name)? };
    let rows = result.reshape(&[outer, indices.len(), inner])?;
    match x.device() {
        Device::Cpu(device) => on_cpu(*device, &x, &indices, &rows),
        Device::Gpu(_) => {
            // Small elements are moved in words where they come in whole ones.
            let words = as_words(&x).zip(as_words(&rows));
            let (x, rows) = words.as_ref().map_or((&x, &rows), |(x, rows)| (x, rows));
            gather(name, x, &indices, rows)?;
        }
    }
    if !dense {
        assign(&output.target, (&result).into())?;
    }
    output.finish()
}

/// Checks that indices may name elements along an axis.
pub(super) fn check_indices(name: &str, indices: &Tensor, shape: &[usize], axis: usize) -> Result<()> {
    if indices.dtype().kind() != Kind::Int {
        return Err(Error::DType(format!("{name}: indices are integers, but their dtype is {}", indices.dtype())));
    }
    if shape[axis] == 0 && !indices.is_empty() {
        return Err(Error::Bounds(format!(
            "{name}: axis {axis} of shape {} is empty, and there are {} indices",
            show(shape),
            indices.len()
        )));
    }
    Ok(())
}

/// Indices as kernels read them: int32 or uint32, one after another.
pub(super) fn words_of_indices(indices: &Tensor) -> Result<Tensor> {
    let dtype = if indices.dtype() == DType::UInt32 { DType::UInt32 } else { DType::Int32 };
    contiguous(&astype(indices, dtype, false)?)?.reshape(&[indices.len()])
}

fn on_cpu(device: CpuDevice, x: &Tensor, indices: &Tensor, out: &Tensor) {
    #![expect(unsafe_code, reason = "the loops trust the shapes")]
    // SAFETY: the shapes were made above, all of them have elements, and the output overlaps no operand.
    unsafe { cpu::take(device, x.view(), indices.view(), out.view_mut()) }
}

shader_params! {
    /// The shader's parameters.
    struct Params {
        out_quad: u32,
        begin: u32,
        end: u32,
        first_row: u32,
        rows: u32,
        inner: u32,
        index_offset: u32,
        x_offset: u32,
        x_outer: u32,
        x_axis: u32,
        x_inner: u32,
        axis: u32,
        low: u32,
        high: u32,
        unused: [u32; 2],
    }
}

/// Records `out[o, j, i] = x[o, indices[j], i]`, in as many stretches and windows as the bindings need.
fn gather(name: &'static str, x: &Tensor, indices: &Tensor, out: &Tensor) -> Result<()> {
    let context = out.gpu_buffer().context().clone();
    let (&[outer, axis, inner], &[_, rows, _]) = (x.shape(), out.shape()) else { unreachable!("both have three axes") };
    // Windows begin at aligned places, so leave room for one step.
    let bytes = (context.caps().binding - u64::from(context.caps().alignment) - 64) as usize;
    let (room, index_room) = (bytes / x.dtype().size(), bytes / 4);
    let [x_outer, x_axis, x_inner] = [0, 1, 2].map(|axis| x.layout().strides[axis].unsigned_abs());
    let row = (inner - 1) * x_inner + 1;
    if row.max(inner) > room {
        // Parts of the rows.
        let part = (room / x_inner.max(1)).min(inner - 1).max(1);
        let part = if part > 64 { part & !63 } else { part };
        for first in (0..inner).step_by(part) {
            let count = part.min(inner - first);
            let result = Tensor::empty(out.device(), &[outer, rows, count], out.dtype(), name)?;
            gather(name, &narrow(x, 2, first, count), indices, &result)?;
            assign(&narrow(out, 2, first, count), (&result).into())?;
        }
        return Ok(());
    }
    let piece = Piece { name, context: &context, x, indices, out, axis, rows, inner };
    let plane = (axis - 1) * x_axis + row;
    if plane <= room && rows <= index_room && rows * inner <= room {
        let by_x = (room - plane).checked_div(x_outer).map_or(outer, |more| more + 1);
        let step = by_x.min(room / (rows * inner)).min(outer);
        for first in (0..outer).step_by(step) {
            piece.dispatch((first, step.min(outer - first)), (0, rows), (0, axis))?;
        }
        return Ok(());
    }
    let row_step = index_room.min(room / inner).min(rows);
    let axis_step = (room - row).checked_div(x_axis).map_or(axis, |more| more + 1).min(axis);
    for o in 0..outer {
        for first in (0..rows).step_by(row_step) {
            for low in (0..axis).step_by(axis_step) {
                piece.dispatch((o, 1), (first, row_step.min(rows - first)), (low, axis_step.min(axis - low)))?;
            }
        }
    }
    Ok(())
}

/// A gathering under way.
struct Piece<'a> {
    name: &'static str,
    context: &'a Context,
    x: &'a Tensor,
    indices: &'a Tensor,
    out: &'a Tensor,
    axis: usize,
    rows: usize,
    inner: usize,
}

impl Piece<'_> {
    /// Records one dispatch, of several `o` or of one, with all rows or some, from a part of the indexed axis. Each is
    /// given by its first and their number. Everything fits.
    fn dispatch(&self, o: (usize, usize), row: (usize, usize), axis: (usize, usize)) -> Result<()> {
        let caps = self.context.caps();
        let size = self.out.dtype().size();
        let part = narrow(&narrow(self.x, 0, o.0, o.1), 1, axis.0, axis.1);
        let (x, x_offset) = Binding::window(&part, caps.alignment);
        let at = narrow(self.indices, 0, row.0, row.1);
        let (indices, index_offset) = Binding::window(&at, caps.alignment);
        let stretch = narrow(&narrow(self.out, 0, o.0, o.1), 1, row.0, row.1);
        let (out, out_offset) = Binding::window(&stretch, caps.alignment);
        let count = stretch.len();
        let begin = out_offset % 4;
        let ends = (stretch.layout().offset as usize + count) * size;
        let whole = begin == 0
            && axis.1 == self.axis
            && (count.is_multiple_of(4) || ends as u64 >= self.out.gpu_buffer().used());
        let strides = [0, 1, 2].map(|axis| self.x.layout().strides[axis]);
        let quads = begin == 0
            && self.inner.is_multiple_of(4)
            && strides[2] == 1
            && x_offset.is_multiple_of(4)
            && strides[..2].iter().all(|stride| stride % 4 == 0);
        let workgroup = caps.workgroup_up_to(256);
        let signed = self.indices.dtype() == DType::Int32;
        let variant = Variant { size, signed, quads, whole, workgroup };
        let pipeline = self.context.pipeline(variant.key(), || variant.spec(self.name))?;
        let params = Params {
            out_quad: out_offset / 4,
            begin,
            end: begin + count as u32,
            first_row: row.0 as u32,
            rows: self.rows as u32,
            inner: self.inner as u32,
            // The shader counts rows from the first of all.
            index_offset: index_offset.wrapping_sub(row.0 as u32),
            x_offset,
            x_outer: strides[0] as u32,
            x_axis: strides[1] as u32,
            x_inner: strides[2] as u32,
            axis: self.axis as u32,
            low: axis.0 as u32,
            high: (axis.0 + axis.1) as u32,
            unused: [0; 2],
        };
        self.context.record(&Dispatch {
            label: self.name,
            pipeline: &pipeline,
            bindings: &[Some(x), Some(indices), Some(out)],
            params: bytemuck::bytes_of(&params),
            groups: params.end.div_ceil(4).div_ceil(workgroup),
            bytes: part.stored_bytes().min(stretch.stored_bytes()) + at.stored_bytes() + stretch.stored_bytes(),
            steps: 0,
        })
    }
}

/// What distinguishes the pipelines of this operation.
struct Variant {
    size: usize,
    signed: bool,
    quads: bool,
    whole: bool,
    workgroup: u32,
}

/// Distinguishes these pipelines from those of other shaders.
const KEY: u64 = 18 << 56;

impl Variant {
    fn key(&self) -> u64 {
        KEY | (self.size as u64) << 36
            | u64::from(self.signed) << 34
            | u64::from(self.quads) << 33
            | u64::from(self.whole) << 32
            | u64::from(self.workgroup)
    }

    fn spec(&self, name: &'static str) -> Spec {
        let flag = |value: bool| f64::from(u8::from(value));
        Spec {
            label: name.into(),
            source: include_str!("../../shaders/take.wgsl"),
            slots: vec![
                ("RAW", Slot::module(raw_module(self.size))),
                ("X_ACCESS", Slot::module(if self.quads { "access/vector_quads" } else { "access/vector_elements" })),
            ],
            constants: vec![
                ("WORKGROUP", f64::from(self.workgroup)),
                ("SIGNED", flag(self.signed)),
                ("QUADS", flag(self.quads)),
                ("WHOLE", flag(self.whole)),
            ],
            inputs: vec![true; 2],
            params: Params::LAYOUT,
        }
    }
}

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let sizes = [1, 2, 4].into_iter().flat_map(|size| (0..8).map(move |bits| (size, bits)));
    sizes
        .map(|(size, bits)| {
            let [signed, quads, whole] = [1, 2, 4].map(|bit| bits & bit != 0);
            Variant { size, signed, quads, whole, workgroup: 64 }.spec("take")
        })
        .collect()
}
