//! Matrix times vector: `out[..., i] = sum over j of w[..., i, j] * x[..., j]`, leading axes broadcast.
//!
//! Floats are multiplied and summed in float32, whatever they are stored in; integers in int32, wrapping around.

pub(crate) mod cpu;

use super::elementwise::{dtype_module, ends_buffer};
use super::matmul::{self, computable, swapped};
use super::parts::{accumulator, fit, halved, room, window, word};
use super::reduce::{Reduction, reduce};
use super::rows::Lanes;
use super::{Operand, Output, assign};
use crate::device::Device;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::gpu::context::Context;
use crate::gpu::pipeline::{Spec, shader_params};
use crate::gpu::stream::Dispatch;
use crate::gpu::wgsl::Slot;
use crate::shape::{Layout, Shape, broadcast_shapes, merge_axes, show};
use crate::tensor::Tensor;

const NAME: &str = "matmul_vec";

/// `w @ x` for a matrix, or a stack of them, and a vector, or a stack of them.
pub fn matmul_vec(w: &Tensor, x: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
    w.device().check_same(x.device(), NAME, ["w", "x"])?;
    let Axes { lead, n, k } = Axes::of(w.shape(), x.shape())?;
    let dtype = w.dtype().promote(x.dtype(), NAME)?;
    let extended = |tail: &[usize]| lead.iter().chain(tail).copied().collect::<Shape>();
    let shape = extended(&[n]);
    let (w, x) = (computable(w, dtype)?, computable(x, dtype)?);
    let output = Output::new(NAME, w.device(), Layout::contiguous(&shape), dtype, out, &[&w, &x], |_, _| false)?;
    if output.target.is_empty() {
        return output.finish();
    }
    if k == 0 {
        assign(&output.target, Operand::Scalar(Scalar::Int(0)))?;
        return output.finish();
    }
    let w = w.with_layout(w.layout().broadcast_to(&extended(&[n, k]), NAME)?);
    let x = x.with_layout(x.layout().broadcast_to(&extended(&[k]), NAME)?);
    let last = lead.len().wrapping_sub(1);
    if lead.last().is_some_and(|&count| count > 1) && w.layout().strides[last] == 0 {
        // One matrix meets several vectors, and is read once for all of them.
        let matrix = w.with_layout(w.layout().without(last));
        matmul::multiply(NAME, &x, &swapped(&matrix), &output.target, 1.0)?;
    } else {
        multiply_vectors(NAME, &w, &x, &output.target, 1.0)?;
    }
    output.finish()
}

/// The axes of a product of `w[..., n, k]` and `x[..., k]`: the leading ones after broadcasting, and these two.
pub(super) struct Axes {
    pub(super) lead: Shape,
    pub(super) n: usize,
    pub(super) k: usize,
}

impl Axes {
    pub(super) fn of(w: &[usize], x: &[usize]) -> Result<Self> {
        let fail = |why: &str| Error::Shape(format!("{NAME}: w has shape {} and x {}; {why}", show(w), show(x)));
        let (&[ref w_lead @ .., n, k], &[ref x_lead @ .., x_k]) = (w, x) else {
            return Err(fail("w needs two axes or more and x one or more"));
        };
        if k != x_k {
            return Err(fail(&format!("their last axes must be equal, but {k} is not {x_k}")));
        }
        let lead = broadcast_shapes(w_lead, x_lead, NAME, ["w", "x"])
            .map_err(|_| fail("the axes before the last two of w and the last one of x do not broadcast"))?;
        Ok(Self { lead, n, k })
    }
}

/// Writes `scale` times the products of `w[..., n, k]` and `x[..., k]` to `out[..., n]`.
///
/// Leading axes are equal and nothing is empty; both operands are floats, or both int32, in which case the scale is 1.
/// `out` overlaps neither operand. For operations that have checked all that.
pub(super) fn multiply_vectors(name: &'static str, w: &Tensor, x: &Tensor, out: &Tensor, scale: f32) -> Result<()> {
    match w.device() {
        #[expect(unsafe_code, reason = "the loops trust the shapes")]
        // SAFETY: the shapes were checked and broadcast above, k is not zero, and the output overlaps neither operand.
        Device::Cpu(device) => unsafe { cpu::matmul_vec(*device, w.view(), x.view(), out.view_mut(), scale) },
        Device::Gpu(_) => on_gpu(name, w, x, out, scale),
    }
}

shader_params! {
    /// The parameters of both shaders.
    struct Params {
        w_offset: u32,
        w_batch: u32,
        w_row: u32,
        w_column: u32,
        x_offset: u32,
        x_batch: u32,
        x_column: u32,
        out_offset: u32,
        out_split: u32,
        rows: u32,
        batches: u32,
        columns: u32,
        splits: u32,
        chunk: u32,
        scale: f32,
        unused: u32,
    }
}

/// The product with all leading axes merged into one: `[batches, rows, columns]` times `[batches, columns]`.
#[derive(Clone, Copy)]
struct Product<'a> {
    name: &'static str,
    w: &'a Tensor,
    x: &'a Tensor,
    batches: usize,
    rows: usize,
    columns: usize,
    /// Strides of w over batches, rows and columns, and of x over batches and columns, in elements.
    w_strides: [isize; 3],
    x_strides: [isize; 2],
    w_offset: isize,
    x_offset: isize,
    scale: f32,
}

fn on_gpu(name: &'static str, w: &Tensor, x: &Tensor, out: &Tensor, scale: f32) -> Result<()> {
    let lead = w.shape().len() - 2;
    let (batches, [w_batch, x_batch]) =
        merge_axes(&w.shape()[..lead], &[&w.layout().strides[..lead], &x.layout().strides[..lead]]);
    // What could not be merged into one axis is walked here.
    let (&inner, outer) = batches.split_last().expect("merging leaves one axis");
    let product = Product {
        name,
        w,
        x,
        batches: inner,
        rows: w.shape()[lead],
        columns: w.shape()[lead + 1],
        w_strides: [w_batch[outer.len()], w.layout().strides[lead], w.layout().strides[lead + 1]],
        x_strides: [x_batch[outer.len()], x.layout().strides[lead]],
        w_offset: w.layout().offset,
        x_offset: x.layout().offset,
        scale,
    };
    let walks: usize = outer.iter().product();
    // A result that the kernel cannot store as it is comes from one in words.
    let result = if product.can_store(out, walks) {
        out.clone()
    } else {
        Tensor::empty(out.device(), out.shape(), word(out.dtype()), name)?
    };
    let mut first_row = result.layout().offset as usize;
    for index in 0..walks {
        let (mut rest, mut piece) = (index, product);
        for axis in (0..outer.len()).rev() {
            let at = (rest % outer[axis]) as isize;
            rest /= outer[axis];
            piece.w_offset += at * w_batch[axis];
            piece.x_offset += at * x_batch[axis];
        }
        piece.launch(&result, first_row)?;
        first_row += inner * product.rows;
    }
    if !result.same_elements(out) {
        assign(out, (&result).into())?;
    }
    Ok(())
}

/// How a product is cut so that everything fits its binding: into equal parts of each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    batches: usize,
    rows: usize,
    columns: usize,
}

impl Product<'_> {
    /// Whether the kernels can write `out` themselves: words at any place, smaller elements in groups of four when a
    /// single dispatch computes them all.
    fn can_store(&self, out: &Tensor, walks: usize) -> bool {
        if !out.layout().is_contiguous() {
            return false;
        }
        if out.dtype().size() == 4 {
            return true;
        }
        let buffer = out.gpu_buffer();
        let context = buffer.context();
        let groups_of_four = self.rows.is_multiple_of(4) || (self.batches == 1 || !self.by_columns());
        let to_the_end = out.len().is_multiple_of(4) || ends_buffer(out, buffer);
        let whole = Cut { batches: self.batches, rows: self.rows, columns: self.columns };
        walks == 1
            && groups_of_four
            && to_the_end
            && out.layout().offset % 4 == 0
            && self.fit(context) == whole
            && self.splits(context, self.columns, 1) == 1
    }

    /// Whether the matrix lies in memory column by column.
    fn by_columns(&self) -> bool {
        self.w_strides[1] == 1 && self.w_strides[2] != 1 && self.rows > 1
    }

    /// Records the product, writing one word for each row from `first_row` on.
    fn launch(&self, result: &Tensor, first_row: usize) -> Result<()> {
        let context = result.gpu_buffer().context().clone();
        let part = self.fit(&context);
        for batch in (0..self.batches).step_by(part.batches) {
            for row in (0..self.rows).step_by(part.rows) {
                let piece = Product {
                    batches: part.batches.min(self.batches - batch),
                    rows: part.rows.min(self.rows - row),
                    w_offset: self.w_offset + batch as isize * self.w_strides[0] + row as isize * self.w_strides[1],
                    x_offset: self.x_offset + batch as isize * self.x_strides[0],
                    ..*self
                };
                piece.columns_in_parts(&context, result, first_row + batch * self.rows + row, part.columns)?;
            }
        }
        Ok(())
    }

    /// The largest part of the product whose operands can be bound. Axes of the largest stride are cut first.
    fn fit(&self, context: &Context) -> Cut {
        let room = room(context.caps());
        let [x_batch, x_column] = self.x_strides;
        let operands = [
            (self.w_strides, self.w.dtype().size()),
            ([x_batch, 0, x_column], self.x.dtype().size()),
            ([self.rows as isize, 1, 0], 4),
        ];
        let [batches, rows, columns] = fit([self.batches, self.rows, self.columns], &operands, room);
        let mut part = Cut { batches, rows, columns };
        // The sums of all parts of the columns are bound together, to be added up.
        let parts = self.columns.div_ceil(part.columns);
        while parts > 1 && parts * part.batches * part.rows * 4 > room && part.batches * part.rows > 4 {
            let length = if part.batches > 1 { &mut part.batches } else { &mut part.rows };
            *length = halved(*length);
        }
        // Rows of several batches are only neighbours in the result if the batches are whole.
        if part.rows < self.rows {
            part.batches = 1;
        }
        part
    }

    /// Records this piece over parts of the columns, and adds the parts up.
    fn columns_in_parts(&self, context: &Context, result: &Tensor, first_row: usize, part: usize) -> Result<()> {
        let count = self.batches * self.rows;
        let parts = self.columns.div_ceil(part);
        let splits = self.splits(context, part, parts);
        let total = parts * splits;
        let partial = match total {
            1 => None,
            _ => Some(Tensor::empty(result.device(), &[total, count], word(self.w.dtype()), self.name)?),
        };
        for i in 0..parts {
            let from = i * part;
            let piece = Product {
                columns: part.min(self.columns - from),
                w_offset: self.w_offset + from as isize * self.w_strides[2],
                x_offset: self.x_offset + from as isize * self.x_strides[1],
                ..*self
            };
            match &partial {
                None => piece.dispatch(context, result, first_row, splits)?,
                Some(partial) => piece.dispatch(context, partial, i * splits * count, splits)?,
            }
        }
        match &partial {
            None => Ok(()),
            Some(partial) => {
                let sums = Layout { offset: first_row as isize, ..Layout::contiguous(&[count]) };
                reduce(Reduction::Sum, partial, Some(&[0]), false, Some(&result.with_layout(sums))).map(drop)
            }
        }
    }

    /// How many workgroups share a row, so that a matrix of few rows keeps the whole GPU busy.
    fn splits(&self, context: &Context, columns: usize, parts: usize) -> usize {
        let count = self.batches * self.rows;
        let (wanted, least) = if self.by_columns() {
            ((1_usize << 17).div_ceil(count.div_ceil(4)), 64)
        } else {
            (1024_usize.div_ceil(count.div_ceil(4)), 4096)
        };
        let most = (context.caps().binding as usize - 512) / 4 / (count * parts);
        wanted.min(columns / least).min(most).max(1)
    }

    /// Binds what a piece needs and records it, with results in `out` from `out_offset` on. Everything fits.
    fn dispatch(&self, context: &Context, out: &Tensor, out_offset: usize, splits: usize) -> Result<()> {
        let (caps, by_columns) = (context.caps(), self.by_columns());
        let w =
            window(self.w, self.w_offset, &[self.batches, self.rows, self.columns], &self.w_strides, caps.alignment);
        let x = window(self.x, self.x_offset, &[self.batches, self.columns], &self.x_strides, caps.alignment);
        let chunk = self.columns.div_ceil(splits).next_multiple_of(4);
        let count = self.batches * self.rows;
        let out_window = window(out, out_offset as isize, &[splits * count], &[1], caps.alignment);

        let whole = |value: isize| value % 4 == 0;
        // Groups of four along the axis that lies in memory: is each of them one aligned load?
        let w_quads = whole(w.offset)
            && whole(self.w_strides[0])
            && if by_columns {
                whole(self.w_strides[2]) && whole(self.rows as isize)
            } else {
                self.w_strides[2] == 1 && whole(self.w_strides[1]) && whole(self.columns as isize)
            };
        let x_quads =
            self.x_strides[1] == 1 && whole(x.offset) && whole(self.x_strides[0]) && whole(self.columns as isize);
        let workgroup = if by_columns {
            caps.workgroup_up_to(64)
        } else {
            // Short rows do not need many invocations; no subgroup is larger than 128.
            caps.workgroup_up_to((chunk as u32 / 4).next_power_of_two().clamp(32, 256))
        };
        let variant = Variant {
            w: self.w.dtype(),
            x: self.x.dtype(),
            out: out.dtype(),
            w_quads,
            x_quads,
            by_columns,
            subgroups: caps.subgroups,
            workgroup,
        };
        let pipeline = context.pipeline(variant.key(), || variant.spec())?;
        let params = Params {
            w_offset: w.offset as u32,
            w_batch: self.w_strides[0] as u32,
            w_row: self.w_strides[1] as u32,
            w_column: self.w_strides[2] as u32,
            x_offset: x.offset as u32,
            x_batch: self.x_strides[0] as u32,
            x_column: self.x_strides[1] as u32,
            out_offset: out_window.offset as u32,
            out_split: count as u32,
            rows: self.rows as u32,
            batches: self.batches as u32,
            columns: self.columns as u32,
            splits: splits as u32,
            chunk: chunk as u32,
            scale: self.scale,
            unused: 0,
        };
        let groups = if by_columns {
            (self.rows.div_ceil(4) * splits * self.batches).div_ceil(workgroup as usize)
        } else {
            count.div_ceil(4) * splits
        };
        context.record(&Dispatch {
            label: self.name,
            pipeline: &pipeline,
            bindings: &[Some(w.binding), Some(x.binding), Some(out_window.binding)],
            params: bytemuck::bytes_of(&params),
            groups: groups as u32,
            bytes: w.bytes + x.bytes + out_window.bytes,
            steps: (count * self.columns) as u64,
        })
    }
}

/// What distinguishes the pipelines of this operation.
struct Variant {
    w: DType,
    x: DType,
    out: DType,
    w_quads: bool,
    x_quads: bool,
    by_columns: bool,
    subgroups: bool,
    workgroup: u32,
}

/// Distinguishes these pipelines from those of other shaders.
const KEY: u64 = 2 << 56;

impl Variant {
    fn key(&self) -> u64 {
        KEY | (self.out as u64) << 44
            | (self.w as u64) << 40
            | (self.x as u64) << 36
            | u64::from(self.w_quads) << 35
            | u64::from(self.x_quads) << 34
            | u64::from(self.by_columns) << 33
            | u64::from(self.subgroups) << 32
            | u64::from(self.workgroup)
    }

    fn spec(&self) -> Spec {
        let access = |quads| Slot::module(if quads { "access/vector_quads" } else { "access/vector_elements" });
        let mut slots = vec![
            ("ACCUMULATOR", accumulator(self.w)),
            ("W", Slot::module(dtype_module(self.w))),
            ("W_ACCESS", access(self.w_quads)),
            ("X", Slot::module(dtype_module(self.x))),
            ("X_ACCESS", access(self.x_quads)),
            ("OUT", Slot::module(dtype_module(self.out))),
            ("OUT_ACCESS", Slot::module(if self.out.size() == 4 { "access/rows_words" } else { "access/rows_quads" })),
        ];
        let (source, constants) = if self.by_columns {
            let constants = vec![("WORKGROUP", f64::from(self.workgroup))];
            (include_str!("../../shaders/matmul_vec_columns.wgsl"), constants)
        } else {
            let lanes = Lanes::all(self.workgroup, self.subgroups);
            let mut constants = lanes.constants();
            constants.push(("TWO_STEPS", if self.w.size() == 2 { 1.0 } else { 0.0 }));
            slots.push(("REDUCE", lanes.module()));
            (include_str!("../../shaders/matmul_vec.wgsl"), constants)
        };
        Spec { label: NAME.into(), source, slots, constants, inputs: vec![true, true], params: Params::LAYOUT }
    }
}

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let mut specs = Vec::new();
    let floats = [DType::Float32, DType::Float16, DType::BFloat16];
    let pairs = floats.iter().flat_map(|&w| floats.map(|x| (w, x))).chain([(DType::Int32, DType::Int32)]);
    for (w, x) in pairs {
        for bits in 0..16 {
            let [w_quads, x_quads, by_columns, subgroups] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            for out in [w, x, word(w), DType::Int8] {
                specs.push(Variant { w, x, out, w_quads, x_quads, by_columns, subgroups, workgroup: 64 }.spec());
            }
        }
    }
    specs
}
