//! Rotary position embedding: pairs of elements in each row are rotated by the angles of the row's position.
//!
//! `(a, b)` becomes `(a·cos − b·sin, a·sin + b·cos)`, in float32 whatever the elements are stored in. What lies beyond
//! `rotary_dim` in a row is copied bit by bit. The tables of cosines and sines come from [`rope_tables`].

pub(crate) mod cpu;
mod tables;

use smallvec::SmallVec;

use super::elementwise::{dtype_module, raw_module, vector_store_module};
use super::{Output, assign, astype, contiguous, narrow};
use crate::cpu::CpuDevice;
use crate::device::Device;
use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::gpu::align_up;
use crate::gpu::context::Context;
use crate::gpu::pipeline::{Spec, lengths_param, shader_params, strides_param};
use crate::gpu::stream::{Binding, Dispatch};
use crate::gpu::wgsl::Slot;
use crate::shape::{Layout, Shape, Strides, merge_axes, show};
use crate::tensor::Tensor;

pub use tables::{rope_tables, tables_shape};

const NAME: &str = "rope";

/// Rotates the first `rotary_dim` elements (all of them by default) along the last axis of `x`.
///
/// `cos` and `sin` have half as many, and broadcast over the axes before. Pairs are `(i, i + rotary_dim / 2)`, or
/// `(2i, 2i + 1)` if `interleaved` is set.
pub fn rope(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    interleaved: bool,
    rotary_dim: Option<isize>,
    out: Option<&Tensor>,
) -> Result<Tensor> {
    for (tensor, name) in [(x, "x"), (cos, "cos"), (sin, "sin")] {
        x.device().check_same(tensor.device(), NAME, ["x", name])?;
        if tensor.dtype().kind() != Kind::Float {
            return Err(Error::DType(format!(
                "{NAME}: {name} has dtype {}, but floats are rotated; convert it with astype()",
                tensor.dtype()
            )));
        }
    }
    let (&[.., dim], shape) = (x.shape(), x.shape()) else {
        return Err(Error::Shape(format!("{NAME}: x needs a last axis to rotate, but it has shape ()")));
    };
    let rotary = match rotary_dim {
        None => dim,
        Some(rotary) => usize::try_from(rotary).ok().filter(|&rotary| rotary <= dim).ok_or_else(|| {
            Error::Shape(format!(
                "{NAME}: rotary_dim is {rotary}; it must be from 0 to {dim}, the last axis of x of shape {}",
                show(shape)
            ))
        })?,
    };
    if rotary % 2 != 0 {
        let which = if rotary_dim.is_some() { "rotary_dim" } else { "the last axis of x" };
        return Err(Error::Shape(format!(
            "{NAME}: {which} is {rotary}, which is odd, but elements are rotated in pairs; x has shape {}",
            show(shape)
        )));
    }
    let mut table_shape = Shape::from_slice(shape);
    table_shape[shape.len() - 1] = rotary / 2;
    let table = |tensor: &Tensor, name: &str| {
        let fits = tensor.shape().last() == Some(&(rotary / 2));
        let layout = tensor.layout().broadcast_to(&table_shape, NAME).ok().filter(|_| fits).ok_or_else(|| {
            Error::Shape(format!(
                "{NAME}: {name} has shape {}, but for x of shape {} and a rotary_dim of {rotary} it must broadcast \
                 to {}, with {} on its last axis",
                show(tensor.shape()),
                show(shape),
                show(&table_shape),
                rotary / 2
            ))
        })?;
        Ok(tensor.with_layout(layout))
    };
    let (cos_view, sin_view) = (table(cos, "cos")?, table(sin, "sin")?);
    let output =
        Output::new(NAME, x.device(), Layout::contiguous(shape), x.dtype(), out, &[x, cos, sin], |_, _| false)?;
    if x.is_empty() {
        return output.finish();
    }
    if rotary == 0 {
        assign(&output.target, x.into())?;
        return output.finish();
    }
    match x.device() {
        Device::Cpu(device) => on_cpu(*device, x, [&cos_view, &sin_view], interleaved, &output.target)?,
        Device::Gpu(_) => {
            // The kernel has one type of tables.
            let dtype = if cos.dtype() == sin.dtype() { cos.dtype() } else { DType::Float32 };
            let (cos, sin) = (distinct(&cos_view, dtype)?, distinct(&sin_view, dtype)?);
            rotate(x, &cos, &sin, interleaved, &output.target)?;
        }
    }
    output.finish()
}

/// The tensor in another type. Axes that only repeat do so afterwards.
fn distinct(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.dtype() == dtype {
        return Ok(tensor.clone());
    }
    on_distinct(tensor, |tensor| astype(tensor, dtype, false))
}

/// A copy of the tensor in which axes that only repeat are there once, seen as they were before.
fn on_distinct(tensor: &Tensor, copy: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let mut once = tensor.layout().clone();
    for (length, &stride) in once.shape.iter_mut().zip(&tensor.layout().strides) {
        if stride == 0 {
            *length = 1;
        }
    }
    let copied = copy(&tensor.with_layout(once))?;
    Ok(copied.with_layout(copied.layout().broadcast_to(tensor.shape(), NAME)?))
}

fn on_cpu(device: CpuDevice, x: &Tensor, tables: [&Tensor; 2], interleaved: bool, out: &Tensor) -> Result<()> {
    #![expect(unsafe_code, reason = "the loops trust the shapes")]
    let prepare = |table: &Tensor| {
        let table = distinct(table, DType::Float32)?;
        let unit = table.layout().strides.last() == Some(&1) || table.shape().last() == Some(&1);
        if unit { Ok(table) } else { on_distinct(&table, contiguous) }
    };
    let (cos, sin) = (prepare(tables[0])?, prepare(tables[1])?);
    // SAFETY: the shapes were checked and broadcast, tables are float32 and run along memory, x is not empty, and the
    // output overlaps no operand.
    unsafe { cpu::rope(device, interleaved, x.view(), [cos.view(), sin.view()], out.view_mut()) };
    Ok(())
}

shader_params! {
    /// The shader's parameters.
    struct Params {
        shape: [u32; 4],
        x_strides: [u32; 4],
        cos_strides: [u32; 4],
        sin_strides: [u32; 4],
        out_strides: [u32; 4],
        x_offset: u32,
        cos_offset: u32,
        sin_offset: u32,
        out_offset: u32,
        x_step: u32,
        cos_step: u32,
        sin_step: u32,
        out_step: u32,
        pairs: u32,
        rest: u32,
        count: u32,
        unused: u32,
    }
}

/// The most axes that the shader counts rows through.
const AXES: usize = 4;

/// Records the rotation of all of `x`, which has elements. Rows that no binding can hold are taken apart first.
fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor, interleaved: bool, out: &Tensor) -> Result<()> {
    let context = out.gpu_buffer().context().clone();
    // Windows begin at aligned places, so leave room for one step.
    let room = (context.caps().binding - u64::from(context.caps().alignment) - 16) as usize;
    let fits = |tensor: &Tensor| {
        let last = tensor.shape().len() - 1;
        let reach = (tensor.shape()[last] - 1) * tensor.layout().strides[last].unsigned_abs();
        (reach + 4) * tensor.dtype().size() <= room
    };
    if [x, cos, sin, out].into_iter().all(fits) {
        return Rows::new([x, cos, sin, out], interleaved).cut(&context);
    }
    let last = x.shape().len() - 1;
    let (dim, pairs) = (x.shape()[last], cos.shape()[last]);
    if dim * x.dtype().size().max(cos.dtype().size()) + 64 <= room {
        // Only the strides make the rows too large.
        let result = Tensor::empty(out.device(), out.shape(), out.dtype(), NAME)?;
        let [cos, sin] = [cos, sin].map(|table| on_distinct(table, contiguous));
        rotate(&contiguous(x)?, &cos?, &sin?, interleaved, &result)?;
        return assign(out, (&result).into());
    }
    let rest = dim - 2 * pairs;
    assign(&narrow(out, last, 2 * pairs, rest), (&narrow(x, last, 2 * pairs, rest)).into())?;
    // Parts of the rows, gathered so that pairs lie together.
    let most = (room / 64 - 8).min(pairs.next_multiple_of(4)) & !3;
    for first in (0..pairs).step_by(most) {
        let count = most.min(pairs - first);
        let part = |table: &Tensor| on_distinct(&narrow(table, last, first, count), contiguous);
        let mut shape = Shape::from_slice(x.shape());
        shape[last] = 2 * count;
        let gathered = Tensor::empty(x.device(), &shape, x.dtype(), NAME)?;
        let rotated = Tensor::empty(x.device(), &shape, x.dtype(), NAME)?;
        for half in 0..2 {
            assign(
                &narrow(&gathered, last, half * count, count),
                (&members(x, pairs, interleaved, half, first, count)).into(),
            )?;
        }
        rotate(&gathered, &part(cos)?, &part(sin)?, false, &rotated)?;
        for half in 0..2 {
            assign(
                &members(out, pairs, interleaved, half, first, count),
                (&narrow(&rotated, last, half * count, count)).into(),
            )?;
        }
    }
    Ok(())
}

/// The first (`half` is 0) or second elements of some of the pairs, as a view.
fn members(tensor: &Tensor, pairs: usize, interleaved: bool, half: usize, first: usize, count: usize) -> Tensor {
    let last = tensor.shape().len() - 1;
    if !interleaved {
        return narrow(tensor, last, half * pairs + first, count);
    }
    let mut layout = tensor.layout().clone();
    layout.offset += layout.strides[last] * (2 * first + half) as isize;
    layout.shape[last] = count;
    layout.strides[last] *= 2;
    tensor.with_layout(layout)
}

/// Rows to be rotated. Operands: x, cos, sin, out.
#[derive(Clone)]
struct Rows<'a> {
    operands: [&'a Tensor; 4],
    interleaved: bool,
    /// The axes before the last one.
    shape: Shape,
    strides: [Strides; 4],
    offsets: [isize; 4],
}

impl<'a> Rows<'a> {
    fn new(operands: [&'a Tensor; 4], interleaved: bool) -> Self {
        let axes = operands[0].shape().len() - 1;
        let (shape, strides) =
            merge_axes(&operands[0].shape()[..axes], &operands.map(|operand| &operand.layout().strides[..axes]));
        Self { operands, interleaved, shape, strides, offsets: operands.map(|operand| operand.layout().offset) }
    }

    /// From one element of a row to the next.
    fn step(&self, i: usize) -> isize {
        self.operands[i].layout().strides[self.operands[i].shape().len() - 1]
    }

    /// Elements in a row.
    fn length(&self, i: usize) -> usize {
        self.operands[i].shape()[self.operands[i].shape().len() - 1]
    }

    /// What these rows are of an operand.
    fn layout(&self, i: usize) -> Layout {
        let mut layout =
            Layout { shape: self.shape.clone(), strides: self.strides[i].clone(), offset: self.offsets[i] };
        layout.shape.push(self.length(i));
        layout.strides.push(self.step(i));
        layout
    }

    /// The stretch of its buffer that an operand needs bound: where it starts and how long it is.
    fn window(&self, context: &Context, i: usize) -> (u64, u64) {
        let (low, high) = self.layout(i).reach().expect("a piece has elements");
        let size = self.operands[i].dtype().size() as u64;
        let start = (low as u64 * size) & !(u64::from(context.caps().alignment) - 1);
        (start, align_up((high as u64 + 1) * size - start, 16))
    }

    /// Records the rows, or halves them along the axis that makes them too large and does the same with both halves.
    fn cut(&self, context: &Context) -> Result<()> {
        let too_large = (0..4).find(|&i| self.window(context, i).1 > context.caps().binding);
        let axis = match too_large {
            Some(i) => (0..self.shape.len())
                .max_by_key(|&axis| self.strides[i][axis].unsigned_abs() * (self.shape[axis] - 1))
                .expect("merging leaves one axis"),
            // The shortest axis makes the fewest pieces.
            None if self.shape.len() > AXES => {
                (0..self.shape.len()).min_by_key(|&axis| self.shape[axis]).expect("merging leaves one axis")
            }
            None => return self.dispatch(context),
        };
        let half = self.shape[axis].div_ceil(2);
        for (from, length) in [(0, half), (half, self.shape[axis] - half)] {
            let mut shape = self.shape.clone();
            shape[axis] = length;
            let offsets = std::array::from_fn(|i| self.offsets[i] + self.strides[i][axis] * from as isize);
            let (shape, strides) = merge_axes(&shape, &self.strides.each_ref().map(|strides| &strides[..]));
            Self { shape, strides, offsets, ..self.clone() }.cut(context)?;
        }
        Ok(())
    }

    /// Records one dispatch. Everything fits.
    fn dispatch(&self, context: &Context) -> Result<()> {
        let [x, cos, ..] = self.operands;
        let (dim, pairs) = (self.length(0), self.length(1));
        let rest = dim - 2 * pairs;
        let whole = |value: isize| value % 4 == 0;
        let windows: [(u64, u64); 4] = std::array::from_fn(|i| self.window(context, i));
        let offsets: [isize; 4] =
            std::array::from_fn(|i| self.offsets[i] - (windows[i].0 / self.operands[i].dtype().size() as u64) as isize);
        // Is each group of four of a row one aligned load or store?
        let quads = |i: usize| {
            pairs.is_multiple_of(4)
                && rest.is_multiple_of(4)
                && self.step(i) == 1
                && whole(offsets[i])
                && self.strides[i].iter().all(|&stride| whole(stride))
        };
        let workgroup = context.caps().workgroup_up_to(256);
        let variant = Variant {
            x: x.dtype(),
            table: cos.dtype(),
            x_quads: quads(0),
            table_quads: quads(1) && quads(2),
            out_quads: quads(3),
            interleaved: self.interleaved,
            workgroup,
        };
        let pipeline = context.pipeline(variant.key(), || variant.spec())?;
        let count: usize = self.shape.iter().product();
        let params = Params {
            shape: lengths_param(&self.shape),
            x_strides: strides_param(&self.strides[0]),
            cos_strides: strides_param(&self.strides[1]),
            sin_strides: strides_param(&self.strides[2]),
            out_strides: strides_param(&self.strides[3]),
            x_offset: offsets[0] as u32,
            cos_offset: offsets[1] as u32,
            sin_offset: offsets[2] as u32,
            out_offset: offsets[3] as u32,
            x_step: self.step(0) as u32,
            cos_step: self.step(1) as u32,
            sin_step: self.step(2) as u32,
            out_step: self.step(3) as u32,
            pairs: pairs as u32,
            rest: rest as u32,
            count: count as u32,
            unused: 0,
        };
        let bindings: SmallVec<[Option<Binding<'_>>; 4]> = self
            .operands
            .iter()
            .zip(windows)
            .map(|(operand, (offset, size))| Some(Binding { storage: operand.storage(), offset, size }))
            .collect();
        context.record(&Dispatch {
            label: NAME,
            pipeline: &pipeline,
            bindings: &bindings,
            params: bytemuck::bytes_of(&params),
            groups: (count * (pairs.div_ceil(4) + rest.div_ceil(4))).div_ceil(workgroup as usize) as u32,
            bytes: (0..4).map(|i| self.layout(i).stored_bytes(self.operands[i].dtype().size())).sum(),
            steps: (count * dim) as u64,
        })
    }
}

/// What distinguishes the pipelines of this operation.
struct Variant {
    x: DType,
    table: DType,
    x_quads: bool,
    table_quads: bool,
    out_quads: bool,
    interleaved: bool,
    workgroup: u32,
}

/// Distinguishes these pipelines from those of other shaders.
const KEY: u64 = 16 << 56;

impl Variant {
    fn key(&self) -> u64 {
        KEY | (self.x as u64) << 40
            | (self.table as u64) << 36
            | u64::from(self.x_quads) << 35
            | u64::from(self.table_quads) << 34
            | u64::from(self.out_quads) << 33
            | u64::from(self.interleaved) << 32
            | u64::from(self.workgroup)
    }

    fn spec(&self) -> Spec {
        let load = |quads| Slot::module(if quads { "access/vector_quads" } else { "access/vector_elements" });
        Spec {
            label: NAME.into(),
            source: include_str!("../../shaders/rope.wgsl"),
            slots: vec![
                ("RAW", Slot::module(raw_module(self.x.size()))),
                ("VALUE", Slot::module(dtype_module(self.x))),
                ("TABLE", Slot::module(dtype_module(self.table))),
                ("X_ACCESS", load(self.x_quads)),
                ("TABLE_ACCESS", load(self.table_quads)),
                ("OUT_ACCESS", Slot::module(vector_store_module(self.out_quads, self.x.size()))),
            ],
            constants: vec![
                ("WORKGROUP", f64::from(self.workgroup)),
                ("INTERLEAVED", f64::from(u8::from(self.interleaved))),
            ],
            inputs: vec![true; 3],
            params: Params::LAYOUT,
        }
    }
}

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let floats = [DType::Float32, DType::Float16, DType::BFloat16];
    let mut specs = tables::all_specs();
    for (x, table) in floats.iter().flat_map(|&x| floats.map(|table| (x, table))) {
        for bits in 0..16 {
            let [x_quads, table_quads, out_quads, interleaved] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            specs.push(Variant { x, table, x_quads, table_quads, out_quads, interleaved, workgroup: 64 }.spec());
        }
    }
    specs
}
