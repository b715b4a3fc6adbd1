//! Quantised weights on a GPU: rows decoded into memory, and products with a few vectors. Those with matrices go
//! through the tiles of [`matmul`](super::super::matmul).
//!
//! Products are computed in integers where the device multiplies bytes four at a time: the vectors are cut into three
//! digits of a byte before, which is as exact as float32 is.

use crate::device::caps::Caps;
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::context::Context;
use crate::gpu::pipeline::{Spec, shader_params};
use crate::gpu::stream::{Binding, Dispatch};
use crate::gpu::wgsl::{self, Slot};
use crate::ops::elementwise::{dtype_module, vector_store_module};
use crate::ops::matmul::gpu::multiply_quantised;
use crate::ops::parts::{Window, fit, room, window};
use crate::ops::reduce::{Reduction, reduce};
use crate::ops::rows::Lanes;
use crate::ops::{assign, contiguous, narrow};
use crate::quant::{Format, QuantTensor};
use crate::tensor::Tensor;

use super::decoding;
use crate::ops::activation::Activation;

/// Up to so many vectors are multiplied with blocks in registers, more in tiles.
const VECTORS: usize = 16;
/// So many of them at once, since each takes registers for its sums.
const TOGETHER: usize = 8;
/// Of float16 with cooperative matrices, these are tiles already.
const FEW_VECTORS: usize = 8;
/// Elements that are multiplied together: where vectors are digits, and where they are floats.
const DIGITS: usize = 32;
const FLOATS: usize = 8;
/// How many times so many an invocation takes at once. Two share what is loaded for a scale.
const STEPS: usize = 2;
/// Groups of four words that digits of [`DIGITS`] elements take: two for each digit, and one with what belongs to all.
const OF_DIGITS: usize = 7;
/// Rows that a group of invocations computes.
const ROWS: usize = 4;

shader_params! {
    /// The parameters of `dequantise.wgsl`.
    struct DecodeParams {
        w_offset: u32,
        w_row: u32,
        eights: u32,
        rows: u32,
        out_offset: u32,
        out_row: u32,
        index_offset: u32,
        length: u32,
        low: u32,
        high: u32,
        unused: [u32; 2],
    }
}

/// Records the decoding of a matrix of weights, or of the rows that indices name, to `out[rows, length]`, which has no
/// gaps, in as many parts as the bindings need.
pub(super) fn decode_rows(name: &'static str, w: &QuantTensor, ids: Option<&Tensor>, out: &Tensor) -> Result<()> {
    let context = out.gpu_buffer().context().clone();
    let room = room(context.caps());
    let format = w.format();
    let (length, rows) = (w.stored_shape()[0], out.shape()[0]);
    let blocks = out.shape()[1] / format.elements;
    // Along the rows of the result and of the weights, and along their blocks.
    let (result, stored) = (out.shape()[1] * out.dtype().size(), w.blocks().layout().strides[0].unsigned_abs());
    let of_block = (format.elements * out.dtype().size()).max(format.bytes);
    let block_step = (room / of_block).clamp(1, blocks);
    let decoder = Decoder { name, context: &context, w, ids, out };
    for first in (0..blocks).step_by(block_step) {
        let count = block_step.min(blocks - first);
        let within = count * of_block;
        let steps = |row: usize| (room - within).checked_div(row).map_or(usize::MAX, |more| more + 1);
        // Without indices there is a row for each row; else each launch takes the rows that lie in its part of the table.
        let step = if ids.is_none() { steps(result).min(steps(stored)) } else { steps(result).min(room / 4) }.min(rows);
        let table_step = if ids.is_none() { length } else { steps(stored).min(length) };
        for row in (0..rows).step_by(step) {
            let taken = (row, step.min(rows - row));
            for low in (0..length).step_by(table_step) {
                let bound = if ids.is_none() { taken } else { (low, table_step.min(length - low)) };
                decoder.dispatch(taken, bound, (first, count))?;
            }
        }
    }
    Ok(())
}

/// A decoding under way.
struct Decoder<'a> {
    name: &'static str,
    context: &'a Context,
    w: &'a QuantTensor,
    ids: Option<&'a Tensor>,
    out: &'a Tensor,
}

impl Decoder<'_> {
    /// Records the decoding of rows of the result from rows of the weights, some blocks of each. All are given by the
    /// first and their number.
    fn dispatch(&self, row: (usize, usize), bound: (usize, usize), block: (usize, usize)) -> Result<()> {
        let (caps, format) = (self.context.caps(), self.w.format());
        // The window begins at whole rows, so that blocks are counted from there.
        let part = self.w.part(bound.0..bound.0 + bound.1, block.0..block.0 + block.1);
        let (w, w_offset) = Binding::window(part.blocks(), caps.alignment);
        let elements = block.1 * format.elements;
        let target = narrow(&narrow(self.out, 0, row.0, row.1), 1, block.0 * format.elements, elements);
        let (out, out_offset) = Binding::window(&target, caps.alignment);
        let at = self.ids.map(|ids| narrow(ids, 0, row.0, row.1));
        let indices = at.as_ref().map(|at| Binding::window(at, caps.alignment));
        let workgroup = caps.workgroup_up_to(256);
        let variant = DecodeVariant {
            format,
            out: self.out.dtype(),
            gathers: self.ids.is_some(),
            signed: self.ids.is_some_and(|ids| ids.dtype() == DType::Int32),
            workgroup,
        };
        let pipeline = self.context.pipeline(variant.key(), || variant.spec(self.name))?;
        let eights = (elements / 8) as u32;
        let params = DecodeParams {
            w_offset,
            w_row: part.blocks().layout().strides[0] as u32,
            eights,
            rows: row.1 as u32,
            out_offset,
            out_row: target.layout().strides[0] as u32,
            index_offset: indices.map_or(0, |(_, offset)| offset),
            length: self.w.stored_shape()[0] as u32,
            // Without indices, rows are counted from the window's first.
            low: if self.ids.is_some() { bound.0 as u32 } else { 0 },
            high: if self.ids.is_some() { (bound.0 + bound.1) as u32 } else { bound.1 as u32 },
            unused: [0; 2],
        };
        self.context.record(&Dispatch {
            label: self.name,
            pipeline: &pipeline,
            bindings: &[Some(w), indices.map(|(binding, _)| binding), Some(out)],
            params: bytemuck::bytes_of(&params),
            groups: (eights * params.rows).div_ceil(workgroup),
            bytes: part.blocks().stored_bytes().min((row.1 * format.bytes_of(elements)) as u64) + target.stored_bytes(),
            steps: 0,
        })
    }
}

/// Distinguishes these pipelines from those of other shaders.
const DECODE_KEY: u64 = 23 << 56;
const DIGITS_KEY: u64 = 24 << 56;
const PRODUCT_KEY: u64 = 25 << 56;

struct DecodeVariant {
    format: &'static Format,
    out: DType,
    gathers: bool,
    signed: bool,
    workgroup: u32,
}

impl DecodeVariant {
    fn key(&self) -> u64 {
        DECODE_KEY
            | (self.format.index() as u64) << 40
            | (self.out as u64) << 36
            | u64::from(self.gathers) << 33
            | u64::from(self.signed) << 32
            | u64::from(self.workgroup)
    }

    fn spec(&self, name: &'static str) -> Spec {
        let mut constants = vec![("WORKGROUP", f64::from(self.workgroup))];
        if self.gathers {
            constants.push(("SIGNED", f64::from(u8::from(self.signed))));
        }
        Spec {
            label: name.into(),
            source: include_str!("../../../shaders/dequantise.wgsl"),
            slots: vec![
                ("WEIGHTS", Slot::Text(decoding(self.format, ""))),
                ("ROWS", Slot::module(if self.gathers { "quant/named_rows" } else { "quant/every_row" })),
                ("OUT", Slot::module(dtype_module(self.out))),
            ],
            constants,
            inputs: vec![true, self.gathers],
            params: DecodeParams::LAYOUT,
        }
    }
}

/// Writes `w[n, k] · x[v, k]` to `out[v, n]`, floats all of them. Whether the activation was applied comes back.
pub(super) fn multiply(
    name: &'static str,
    w: &QuantTensor,
    x: &Tensor,
    out: &Tensor,
    activation: Option<Activation>,
) -> Result<bool> {
    let context = out.gpu_buffer().context().clone();
    // Elements of a vector lie one after another, so that whole blocks of them can be named by their first.
    let x = if x.layout().strides[1] == 1 { x.clone() } else { contiguous(x)? };
    let matrices = context.caps().cooperative && x.dtype() == DType::Float16;
    let most = if matrices { FEW_VECTORS } else { VECTORS };
    if w.is_transposed() {
        // Whole blocks of columns are computed together, which lie close in rows alone.
        let in_rows = out.layout().strides[1] == 1;
        let target = if in_rows { out.clone() } else { Tensor::empty(out.device(), out.shape(), out.dtype(), name)? };
        multiply_quantised(name, &x, &w.transposed(name)?, false, &target)?;
        if !in_rows {
            assign(out, (&target).into())?;
        }
        return Ok(false);
    }
    if x.shape()[0] > most {
        multiply_quantised(name, &x, w, true, out)?;
        return Ok(false);
    }
    Product { name, context: &context, w, x: &x, activation }.launch(out)
}

shader_params! {
    /// The parameters of `matmul_vec_blocks.wgsl`.
    struct Params {
        w_offset: u32,
        w_row: u32,
        x_offset: u32,
        x_vector: u32,
        out_offset: u32,
        out_row: u32,
        out_vector: u32,
        out_split: u32,
        rows: u32,
        vectors: u32,
        columns: u32,
        splits: u32,
        chunk: u32,
        unused: [u32; 3],
    }
}

shader_params! {
    /// The parameters of `matmul_vec_digits.wgsl`.
    struct DigitParams {
        x_offset: u32,
        x_vector: u32,
        columns: u32,
        vectors: u32,
    }
}

/// A product with a few vectors.
struct Product<'a> {
    name: &'static str,
    context: &'a Context,
    w: &'a QuantTensor,
    x: &'a Tensor,
    activation: Option<Activation>,
}

/// Where results go: a tensor, its first place, and the steps over vectors, rows and splits.
#[derive(Clone, Copy)]
struct Target<'a> {
    tensor: &'a Tensor,
    offset: isize,
    steps: [isize; 2],
    split: isize,
}

impl Product<'_> {
    /// Records the product in as many parts as its bindings need. Whether the activation was applied comes back.
    fn launch(&self, out: &Tensor) -> Result<bool> {
        let (caps, format) = (self.context.caps(), self.w.format());
        let room = room(caps);
        let (vectors, columns, rows) = (self.x.shape()[0], self.x.shape()[1], out.shape()[1]);
        let (w, x, to) = (self.w.blocks().layout(), self.x.layout(), out.layout());
        let elements = format.elements;
        // Of vectors, rows, and blocks along them: what is bound, and the digits.
        let operands = [
            ([0, w.strides[0], format.bytes as isize], 1),
            ([x.strides[0], 0, elements as isize], self.x.dtype().size()),
            ([columns as isize, 0, elements as isize], 4),
            ([to.strides[0], to.strides[1], 0], out.dtype().size()),
        ];
        // The last block of each window is whole.
        let margin = elements * 4;
        let part = fit([vectors, rows, columns / elements], &operands, room - margin);
        let span = part[2] * elements;
        let parts = columns.div_ceil(span);
        // The partial sums of a split lie behind those of the one before, and are bound together.
        let most = room / (vectors * rows * 4);
        let splits = self.splits(vectors.min(part[0]), rows.min(part[1]), span).min(most).max(1);
        let total = parts * splits;
        let partial = match total {
            1 => None,
            _ => Some(Tensor::empty(out.device(), &[total, vectors, rows], DType::Float32, self.name)?),
        };
        for vector in (0..vectors).step_by(part[0]) {
            for (i, column) in (0..columns).step_by(span).enumerate() {
                let x = narrow(
                    &narrow(self.x, 0, vector, part[0].min(vectors - vector)),
                    1,
                    column,
                    span.min(columns - column),
                );
                let digits = self.digits(&x)?;
                for row in (0..rows).step_by(part[1]) {
                    let blocks = column / elements..(column + x.shape()[1]) / elements;
                    let w = self.w.part(row..row + part[1].min(rows - row), blocks);
                    let target = match &partial {
                        None => Target {
                            tensor: out,
                            offset: to.offset + vector as isize * to.strides[0] + row as isize * to.strides[1],
                            steps: [to.strides[0], to.strides[1]],
                            split: 0,
                        },
                        Some(partial) => Target {
                            tensor: partial,
                            offset: ((i * splits * vectors + vector) * rows + row) as isize,
                            steps: [rows as isize, 1],
                            split: (vectors * rows) as isize,
                        },
                    };
                    self.dispatch(&w, &x, digits.as_ref(), &target, splits)?;
                }
            }
        }
        let Some(partial) = partial else { return Ok(true) };
        if out.dtype() == DType::Float32 {
            reduce(Reduction::Sum, &partial, Some(&[0]), false, Some(out))?;
        } else {
            assign(out, (&reduce(Reduction::Sum, &partial, Some(&[0]), false, None)?).into())?;
        }
        Ok(false)
    }

    /// How many groups of invocations share rows, so that a matrix of few rows keeps the whole GPU busy.
    fn splits(&self, vectors: usize, rows: usize, columns: usize) -> usize {
        let groups = rows.div_ceil(ROWS) * vectors.div_ceil(Self::together(vectors));
        let wanted = (1_usize << 16).div_ceil(groups * self.lanes(columns, 1).per_row());
        wanted.min(columns / 2048).max(1)
    }

    /// How many vectors are multiplied at once.
    fn together(vectors: usize) -> usize {
        vectors.next_power_of_two().min(TOGETHER)
    }

    /// How many elements an invocation takes at once.
    fn span(&self) -> usize {
        if by_digits(self.w.format(), self.context.caps()) { DIGITS } else { FLOATS * STEPS }
    }

    fn lanes(&self, columns: usize, splits: usize) -> Lanes {
        let wanted = columns.div_ceil(splits).div_ceil(self.span());
        Lanes::along(self.context.caps(), wanted.clamp(4, 128), 128)
    }

    /// The digits of vectors, on devices that multiply such.
    fn digits(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let caps = self.context.caps();
        if !by_digits(self.w.format(), caps) {
            return Ok(None);
        }
        let (vectors, columns) = (x.shape()[0], x.shape()[1]);
        let units = columns / DIGITS * vectors;
        let digits = Tensor::empty(x.device(), &[OF_DIGITS, units, 4], DType::UInt32, self.name)?;
        let (input, offset) = Binding::window(x, caps.alignment);
        let (output, _) = Binding::window(&digits, caps.alignment);
        let workgroup = caps.workgroup_up_to(64);
        let variant = DigitVariant { x: x.dtype(), quads: in_quads(x, offset as isize), workgroup };
        let pipeline = self.context.pipeline(variant.key(), || variant.spec(self.name))?;
        let params = DigitParams {
            x_offset: offset,
            x_vector: x.layout().strides[0] as u32,
            columns: columns as u32,
            vectors: vectors as u32,
        };
        self.context.record(&Dispatch {
            label: self.name,
            pipeline: &pipeline,
            bindings: &[Some(input), Some(output)],
            params: bytemuck::bytes_of(&params),
            groups: (units as u32 * 8).div_ceil(workgroup),
            bytes: x.stored_bytes() + digits.stored_bytes(),
            steps: 0,
        })?;
        Ok(Some(digits))
    }

    /// Binds what a part needs and records it. Everything fits.
    fn dispatch(
        &self,
        w: &QuantTensor,
        x: &Tensor,
        digits: Option<&Tensor>,
        target: &Target<'_>,
        splits: usize,
    ) -> Result<()> {
        let caps = self.context.caps();
        let (vectors, columns, rows) = (x.shape()[0], x.shape()[1], w.blocks().shape()[0]);
        let (weights, w_offset) = Binding::window(w.blocks(), caps.alignment);
        let (input, x_offset) = Binding::window(x, caps.alignment);
        let out: Window<'_> = window(
            target.tensor,
            target.offset,
            &[splits, vectors, rows],
            &[target.split, target.steps[0], target.steps[1]],
            caps.alignment,
        );
        let out_quads = target.steps[1] == 1
            && rows.is_multiple_of(4)
            && [out.offset, target.split, target.steps[0]].iter().all(|value| value % 4 == 0);
        let lanes = self.lanes(columns, splits);
        let together = Self::together(vectors);
        let variant = Variant {
            format: w.format(),
            x: x.dtype(),
            out: target.tensor.dtype(),
            x_quads: in_quads(x, x_offset as isize),
            out_quads,
            by_digits: digits.is_some(),
            vectors: together as u32,
            lanes,
            activation: self.activation.filter(|_| target.split == 0 && splits == 1),
        };
        let pipeline = self.context.pipeline(variant.key(), || variant.spec())?;
        let params = Params {
            w_offset,
            w_row: w.blocks().layout().strides[0] as u32,
            x_offset,
            x_vector: x.layout().strides[0] as u32,
            out_offset: out.offset as u32,
            out_row: target.steps[1] as u32,
            out_vector: target.steps[0] as u32,
            out_split: target.split as u32,
            rows: rows as u32,
            vectors: vectors as u32,
            columns: columns as u32,
            splits: splits as u32,
            chunk: columns.div_ceil(splits).next_multiple_of(DIGITS) as u32,
            unused: [0; 3],
        };
        let groups = rows.div_ceil(ROWS) * splits * vectors.div_ceil(together);
        self.context.record(&Dispatch {
            label: self.name,
            pipeline: &pipeline,
            bindings: &[
                Some(weights),
                Some(input),
                digits.map(|digits| Binding::window(digits, caps.alignment).0),
                digits.and_then(|_| wide(w.format())).map(|_| weights),
                Some(out.binding),
            ],
            params: bytemuck::bytes_of(&params),
            groups: groups.div_ceil(lanes.rows()) as u32,
            bytes: w.blocks().stored_bytes() + x.stored_bytes() + out.bytes,
            steps: (rows * columns * vectors) as u64,
        })
    }
}

/// Whether products with weights of a format are computed in integers.
fn by_digits(format: &Format, caps: &Caps) -> bool {
    caps.byte_products && format.has_bytes()
}

/// What loads sixteen elements of a format at once, where blocks begin at multiples of 16 bytes.
fn wide(format: &Format) -> Option<&'static str> {
    match format.name {
        "q4_k" => Some(include_str!("../../../shaders/quant/wide/q4_k.wgsl")),
        "q5_k" => Some(include_str!("../../../shaders/quant/wide/q5_k.wgsl")),
        _ => None,
    }
}

/// Whether four neighbours of every vector are one load.
fn in_quads(x: &Tensor, offset: isize) -> bool {
    offset % 4 == 0 && x.layout().strides[0] % 4 == 0
}

struct DigitVariant {
    x: DType,
    quads: bool,
    workgroup: u32,
}

impl DigitVariant {
    fn key(&self) -> u64 {
        DIGITS_KEY | (self.x as u64) << 33 | u64::from(self.quads) << 32 | u64::from(self.workgroup)
    }

    fn spec(&self, name: &'static str) -> Spec {
        Spec {
            label: name.into(),
            source: include_str!("../../../shaders/matmul_vec_digits.wgsl"),
            slots: vec![("X", Slot::module(dtype_module(self.x))), ("X_ACCESS", vectors_access(self.quads))],
            constants: vec![("WORKGROUP", f64::from(self.workgroup))],
            inputs: vec![true],
            params: DigitParams::LAYOUT,
        }
    }
}

fn vectors_access(quads: bool) -> Slot {
    Slot::module(if quads { "access/vector_quads" } else { "access/vector_elements" })
}

/// What distinguishes the kernels of products.
struct Variant {
    format: &'static Format,
    x: DType,
    out: DType,
    x_quads: bool,
    out_quads: bool,
    by_digits: bool,
    vectors: u32,
    lanes: Lanes,
    activation: Option<Activation>,
}

impl Variant {
    fn key(&self) -> u64 {
        let activation = self.activation.map_or(0, |activation| 1 + activation.index() as u64);
        let fields = [
            (self.format.index() as u64, 6),
            (self.x as u64, 4),
            (self.out as u64, 4),
            (u64::from(self.x_quads), 1),
            (u64::from(self.out_quads), 1),
            (u64::from(self.by_digits), 1),
            (u64::from(self.vectors.ilog2()), 3),
            (activation, 4),
        ];
        let packed = fields.into_iter().chain(self.lanes.key()).fold(0, |key, (value, bits)| key << bits | value);
        PRODUCT_KEY | packed
    }

    fn spec(&self) -> Spec {
        let steps = if self.by_digits { 1 } else { STEPS };
        let wide = wide(self.format).filter(|_| self.by_digits);
        let sixteens = match wide {
            Some(text) => Slot::Text(text.into()),
            None if self.by_digits => Slot::module("quant/sixteens"),
            None => Slot::Text(String::new()),
        };
        let mut constants = vec![("VECTORS", f64::from(self.vectors)), ("STEPS", steps as f64)];
        constants.extend(self.lanes.constants());
        Spec {
            label: "matmul_vec".into(),
            source: include_str!("../../../shaders/matmul_vec_blocks.wgsl"),
            slots: vec![
                ("WEIGHTS", Slot::Text(decoding(self.format, ""))),
                ("X", Slot::module(dtype_module(self.x))),
                ("X_ACCESS", vectors_access(self.x_quads)),
                ("SIXTEENS", sixteens),
                ("PRODUCTS", Slot::module(if self.by_digits { "quant/by_digits" } else { "quant/by_floats" })),
                ("OUT", Slot::module(dtype_module(self.out))),
                ("OUT_ACCESS", Slot::module(vector_store_module(self.out_quads, self.out.size()))),
                ("ACTIVATION", Slot::Text(activated(self.activation))),
                ("REDUCE", self.lanes.module()),
                ("VECTORS", Slot::Text(self.vectors.to_string())),
                ("STEPS", Slot::Text(steps.to_string())),
            ],
            constants,
            inputs: vec![true, true, self.by_digits, wide.is_some()],
            params: Params::LAYOUT,
        }
    }
}

/// The function through which results go.
fn activated(activation: Option<Activation>) -> String {
    let Some(activation) = activation else {
        return "fn activated(a: vec4<f32>) -> vec4<f32> { return a; }".into();
    };
    let functions = wgsl::imported("math/floats", &[]).unwrap_or_default();
    format!("{functions}\nfn activated(a: vec4<f32>) -> vec4<f32> {{ return {}; }}", activation.formula())
}

#[cfg(test)]
use crate::ops::activation::ACTIVATIONS;

/// Variants for checking shaders: every format each way, and each of the others with one of them.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let floats = [DType::Float32, DType::Float16, DType::BFloat16];
    let mut specs = Vec::new();
    for (x, quads) in floats.into_iter().flat_map(|x| [(x, true), (x, false)]) {
        specs.push(DigitVariant { x, quads, workgroup: 64 }.spec("matmul_vec"));
    }
    let lanes = [Lanes::along(&Caps::ANY, 128, 128), Lanes::along(&Caps { subgroups: false, ..Caps::ANY }, 16, 128)];
    for (i, format) in Format::ALL.iter().enumerate() {
        for gathers in [true, false] {
            let variant = DecodeVariant { format, out: floats[i % 3], gathers, signed: i % 2 == 0, workgroup: 64 };
            specs.push(variant.spec("dequantize"));
        }
        for by_digits in [true, false] {
            if by_digits && !self::by_digits(format, &Caps::ANY) {
                continue;
            }
            for (j, lanes) in lanes.into_iter().enumerate() {
                let variant = Variant {
                    format,
                    x: floats[i % 3],
                    out: floats[(i + j) % 3],
                    x_quads: j == 0,
                    out_quads: j == 0,
                    by_digits,
                    vectors: 1 << (i % 4),
                    lanes,
                    activation: ACTIVATIONS.get((2 * i + j) % 8).copied(),
                };
                specs.push(variant.spec());
            }
        }
    }
    specs
}
