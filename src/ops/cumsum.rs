//! Running sums along an axis: `out[…, i, …] = x[…, 0, …] + … + x[…, i, …]`.
//!
//! Floats are summed in float32 at least, and rounded to their dtype once; `uint32` in itself, all other integers and
//! bools in `int32`, wrapping around.

pub(crate) mod cpu;

use super::elementwise::{dtype_module, vector_store_module};
use super::{Output, assign, check_axis, contiguous};
use crate::cpu::CpuDevice;
use crate::device::Device;
use crate::dtype::{DType, Kind};
use crate::error::Result;
use crate::gpu::context::Context;
use crate::gpu::pipeline::{Spec, lengths_param, shader_params, strides_param};
use crate::gpu::stream::{Binding, Dispatch};
use crate::gpu::wgsl::Slot;
use crate::shape::{Layout, Shape, Strides, merge_axes};
use crate::tensor::Tensor;

const NAME: &str = "cumsum";

/// The running sums along `axis`, or over the flattened tensor if that is none.
pub fn cumsum(x: &Tensor, axis: Option<isize>, out: Option<&Tensor>) -> Result<Tensor> {
    match axis {
        None => along(&x.reshape(&[x.len()])?, 0, out),
        Some(axis) => along(x, check_axis(NAME, axis, x.shape())?, out),
    }
}

fn along(x: &Tensor, axis: usize, out: Option<&Tensor>) -> Result<Tensor> {
    let dtype = match (x.dtype().kind(), x.dtype()) {
        (Kind::Float, dtype) | (_, dtype @ DType::UInt32) => dtype,
        _ => DType::Int32,
    };
    let output = Output::new(NAME, x.device(), Layout::contiguous(x.shape()), dtype, out, &[x], |_, _| false)?;
    if output.target.is_empty() {
        return output.finish();
    }
    // The axis goes last.
    let mut order: Shape = (0..x.shape().len()).filter(|&other| other != axis).collect();
    order.push(axis);
    let [from, to] = [x, &output.target].map(|tensor| tensor.with_layout(tensor.layout().permuted(&order)));
    match x.device() {
        Device::Cpu(device) => on_cpu(*device, &from, &to),
        Device::Gpu(_) => on_gpu(&from, &to)?,
    }
    output.finish()
}

fn on_cpu(device: CpuDevice, x: &Tensor, out: &Tensor) {
    #![expect(unsafe_code, reason = "the loops trust the shapes")]
    // SAFETY: both have one shape with an axis and with elements, and the output does not overlap the input.
    unsafe { cpu::cumsum(device, x.view(), out.view_mut()) }
}

shader_params! {
    /// The parameters of both shaders.
    struct Params {
        shape: [u32; 4],
        x_strides: [u32; 4],
        carry_strides: [u32; 4],
        out_strides: [u32; 4],
        x_offset: u32,
        carry_offset: u32,
        out_offset: u32,
        x_step: u32,
        carry_step: u32,
        out_step: u32,
        length: u32,
        chunk: u32,
        first: u32,
        chunks: u32,
        count: u32,
        unused: u32,
    }
}

/// The most axes that the shaders count rows through.
const AXES: usize = 4;
/// Elements that an invocation sums at a time.
const ELEMENTS: usize = 16;
/// The most tiles in a chunk: more steps from sum to sum would lose accuracy.
const TILES: usize = 16;
/// How many invocations are enough to keep a GPU busy.
const BUSY: usize = 1 << 17;
/// So few rows are not worth an invocation each.
const FEW: usize = 64;

/// What the elements of this type are summed in.
const fn sums_of(dtype: DType) -> DType {
    match dtype {
        DType::Float32 | DType::Float16 | DType::BFloat16 => DType::Float32,
        DType::UInt32 => DType::UInt32,
        DType::Int32 | DType::Int8 | DType::UInt8 | DType::Bool => DType::Int32,
    }
}

/// Records the running sums along the last axis. Long rows are done in chunks, of which the sums come first.
fn on_gpu(x: &Tensor, out: &Tensor) -> Result<()> {
    let context = out.gpu_buffer().context().clone();
    let caps = context.caps();
    let (&length, outer) = x.shape().split_last().expect("there is an axis");
    let rows: usize = outer.iter().product();
    let workgroup = caps.workgroup_up_to(256);
    let step = |tensor: &Tensor| tensor.layout().strides[outer.len()];
    let is_alone = rows >= FEW && (step(x) != 1 || length <= TILES * ELEMENTS);
    let tile = ELEMENTS * if is_alone { 1 } else { workgroup as usize };
    // Windows begin at aligned places, so leave room for one step.
    let room = (caps.binding - u64::from(caps.alignment) - 64) as usize;
    let span = tile.min(length);
    let tiles_in = |tensor: &Tensor| room / (span * step(tensor).unsigned_abs().max(1) * tensor.dtype().size());
    if length > 1 && tiles_in(x) == 0 {
        return on_gpu(&contiguous(x)?, out);
    }
    if length > 1 && tiles_in(out) == 0 {
        let result = Tensor::empty(out.device(), out.shape(), out.dtype(), NAME)?;
        on_gpu(x, &result)?;
        return assign(out, (&result).into());
    }
    let most = if length == 1 { 1 } else { TILES.min(tiles_in(x)).min(tiles_in(out)) };
    let wanted = (rows * length).div_ceil(BUSY * ELEMENTS).max(4);
    let chunk = wanted.min(most) * tile;
    let chunks = length.div_ceil(chunk);
    let mut launch = Launch { context: &context, x, carry: None, out, chunk, workgroup, is_alone, is_last: true };
    if chunks == 1 {
        return launch.all();
    }
    let shape: Shape = outer.iter().copied().chain([chunks]).collect();
    // Sums of rows that lie beside one another do so too.
    let mut order: Shape = (0..outer.len()).collect();
    order.insert(if is_alone { 0 } else { outer.len() }, outer.len());
    let [sums, carry] =
        [(); 2].map(|()| Tensor::empty_like(x.device(), Layout::dense(&shape, &order), sums_of(x.dtype()), NAME));
    let (sums, carry) = (sums?, carry?);
    Launch { out: &sums, is_last: false, ..launch }.all()?;
    on_gpu(&sums, &carry)?;
    launch.carry = Some(&carry);
    launch.all()
}

/// A pass over all rows: of sums of chunks, or the last one, of running sums.
#[derive(Clone, Copy)]
struct Launch<'a> {
    context: &'a Context,
    x: &'a Tensor,
    /// The running sums of whole chunks.
    carry: Option<&'a Tensor>,
    out: &'a Tensor,
    chunk: usize,
    workgroup: u32,
    is_alone: bool,
    is_last: bool,
}

/// Rows, or a stretch of chunks of each. Operands: x, carry, out.
struct Piece {
    shape: Shape,
    strides: [Strides; 3],
    offsets: [isize; 3],
    first: usize,
    chunks: usize,
}

impl Launch<'_> {
    fn operands(&self) -> [&Tensor; 3] {
        // Without a carry anything will do in its place.
        [self.x, self.carry.unwrap_or(self.x), self.out]
    }

    fn length(&self) -> usize {
        self.x.shape()[self.x.shape().len() - 1]
    }

    fn all(&self) -> Result<()> {
        let axes = self.x.shape().len() - 1;
        let operands = self.operands();
        let (shape, strides) =
            merge_axes(&self.x.shape()[..axes], &operands.map(|operand| &operand.layout().strides[..axes]));
        let offsets = operands.map(|operand| operand.layout().offset);
        self.cut(&Piece { shape, strides, offsets, first: 0, chunks: self.length().div_ceil(self.chunk) })
    }

    /// How many elements along the last axis belong to so many chunks, and the distance between them.
    fn along(&self, piece: &Piece, i: usize) -> (usize, isize) {
        let operand = self.operands()[i];
        let step = operand.layout().strides[operand.shape().len() - 1];
        if i == 0 || i == 2 && self.is_last {
            let from = piece.first * self.chunk;
            ((piece.chunks * self.chunk).min(self.length() - from), step)
        } else {
            (piece.chunks, step)
        }
    }

    /// How many chunks before the first one of a piece are wanted too: the carry of a chunk is that of the one before.
    fn before(&self, piece: &Piece, i: usize) -> usize {
        usize::from(i == 1 && self.carry.is_some() && piece.first > 0)
    }

    /// What a piece needs of an operand, as a tensor.
    fn part(&self, piece: &Piece, i: usize) -> Tensor {
        let (length, step) = self.along(piece, i);
        let mut layout =
            Layout { shape: piece.shape.clone(), strides: piece.strides[i].clone(), offset: piece.offsets[i] };
        let before = self.before(piece, i);
        layout.offset -= step * before as isize;
        layout.shape.push(length + before);
        layout.strides.push(step);
        self.operands()[i].with_layout(layout)
    }

    fn is_bound(&self, i: usize) -> bool {
        i != 1 || self.carry.is_some()
    }

    /// Records a piece, or halves it along what makes it too large and does the same with both halves.
    fn cut(&self, piece: &Piece) -> Result<()> {
        let caps = self.context.caps();
        let too_large = (0..3)
            .filter(|&i| self.is_bound(i))
            .find(|&i| Binding::window(&self.part(piece, i), caps.alignment).0.size > caps.binding);
        let reach = |i: usize, axis: usize| piece.strides[i][axis].unsigned_abs() * (piece.shape[axis] - 1);
        let axis = match too_large {
            Some(i) => (0..piece.shape.len()).max_by_key(|&axis| reach(i, axis)).filter(|&axis| reach(i, axis) > 0),
            // The shortest axis makes the fewest pieces.
            None if piece.shape.len() > AXES => (0..piece.shape.len()).min_by_key(|&axis| piece.shape[axis]),
            None => return self.dispatch(piece),
        };
        let Some(axis) = axis else {
            let half = piece.chunks.div_ceil(2);
            for (from, chunks) in [(0, half), (half, piece.chunks - half)] {
                let offsets = std::array::from_fn(|i| {
                    let (_, step) = self.along(piece, i);
                    let elements = if i == 0 || i == 2 && self.is_last { from * self.chunk } else { from };
                    piece.offsets[i] + step * elements as isize
                });
                let (shape, strides) = (piece.shape.clone(), piece.strides.clone());
                self.cut(&Piece { shape, strides, offsets, first: piece.first + from, chunks })?;
            }
            return Ok(());
        };
        let half = piece.shape[axis].div_ceil(2);
        for (from, length) in [(0, half), (half, piece.shape[axis] - half)] {
            let mut shape = piece.shape.clone();
            shape[axis] = length;
            let offsets = std::array::from_fn(|i| piece.offsets[i] + piece.strides[i][axis] * from as isize);
            let (shape, strides) = merge_axes(&shape, &piece.strides.each_ref().map(|strides| &strides[..]));
            self.cut(&Piece { shape, strides, offsets, ..*piece })?;
        }
        Ok(())
    }

    /// Records one dispatch. Everything fits.
    fn dispatch(&self, piece: &Piece) -> Result<()> {
        let caps = self.context.caps();
        let parts: [Tensor; 3] = std::array::from_fn(|i| self.part(piece, i));
        let windows = parts.each_ref().map(|part| Binding::window(part, caps.alignment));
        let steps = [0, 1, 2].map(|i| self.along(piece, i).1);
        let (length, _) = self.along(piece, 0);
        let quads = |i: usize| {
            steps[i] == 1
                && length.is_multiple_of(4)
                && windows[i].1.is_multiple_of(4)
                && piece.strides[i].iter().all(|stride| stride % 4 == 0)
        };
        let variant = Variant {
            x: self.x.dtype(),
            out: self.out.dtype(),
            x_quads: quads(0),
            out_quads: self.is_last && quads(2),
            is_alone: self.is_alone,
            is_last: self.is_last,
            workgroup: self.workgroup,
        };
        let pipeline = self.context.pipeline(variant.key(), || variant.spec())?;
        let count: usize = piece.shape.iter().product();
        let params = Params {
            shape: lengths_param(&piece.shape),
            x_strides: strides_param(&piece.strides[0]),
            carry_strides: strides_param(&piece.strides[1]),
            out_strides: strides_param(&piece.strides[2]),
            x_offset: windows[0].1,
            carry_offset: windows[1].1 + (self.before(piece, 1) as isize * steps[1]) as u32,
            out_offset: windows[2].1,
            x_step: steps[0] as u32,
            carry_step: steps[1] as u32,
            out_step: steps[2] as u32,
            length: length as u32,
            chunk: self.chunk as u32,
            first: piece.first as u32,
            chunks: piece.chunks as u32,
            count: count as u32,
            unused: 0,
        };
        let [x, carry, out] = windows.map(|(binding, _)| Some(binding));
        let bindings = if self.is_last { &[x, carry, out][..] } else { &[x, out] };
        self.context.record(&Dispatch {
            label: NAME,
            pipeline: &pipeline,
            bindings,
            params: bytemuck::bytes_of(&params),
            groups: (count * piece.chunks).div_ceil(if self.is_alone { self.workgroup as usize } else { 1 }) as u32,
            bytes: (0..3).filter(|&i| self.is_bound(i)).map(|i| parts[i].stored_bytes()).sum(),
            steps: if self.is_last { (count * length) as u64 } else { 0 },
        })
    }
}

/// What distinguishes the pipelines of this operation.
struct Variant {
    x: DType,
    out: DType,
    x_quads: bool,
    out_quads: bool,
    is_alone: bool,
    is_last: bool,
    workgroup: u32,
}

/// Distinguishes these pipelines from those of other shaders.
const KEY: u64 = 19 << 56;

impl Variant {
    fn key(&self) -> u64 {
        KEY | (self.x as u64) << 44
            | (self.out as u64) << 40
            | u64::from(self.is_alone) << 35
            | u64::from(self.x_quads) << 34
            | u64::from(self.out_quads) << 33
            | u64::from(self.is_last) << 32
            | u64::from(self.workgroup)
    }

    fn spec(&self) -> Spec {
        let element = match sums_of(self.x) {
            DType::UInt32 => "u32",
            DType::Int32 => "i32",
            _ => "f32",
        };
        let (scan, position) = if self.is_alone {
            ("scan/alone", "let index = (group.y * groups.x + group.x) * WORKGROUP + local;\nlet lane = 0u;")
        } else {
            ("scan/workgroup", "let index = group.y * groups.x + group.x;\nlet lane = local;")
        };
        let mut slots = vec![
            ("SCAN", Slot::module(scan)),
            ("POSITION", Slot::Text(position.into())),
            ("X", Slot::module(dtype_module(self.x))),
            ("X_ACCESS", Slot::module(if self.x_quads { "access/vector_quads" } else { "access/vector_elements" })),
            (
                "ELEMENT",
                Slot::Text(format!(
                    "alias Element = {element};\nfn four(x: x_Native) -> vec4<Element> {{ return vec4<Element>(x); }}"
                )),
            ),
        ];
        if self.is_last {
            slots.push(("OUT", Slot::module(dtype_module(self.out))));
            slots.push(("OUT_ACCESS", Slot::module(vector_store_module(self.out_quads, self.out.size()))));
        }
        Spec {
            label: NAME.into(),
            source: if self.is_last {
                include_str!("../../shaders/cumsum.wgsl")
            } else {
                include_str!("../../shaders/cumsum_chunks.wgsl")
            },
            slots,
            constants: vec![("WORKGROUP", f64::from(self.workgroup))],
            inputs: vec![true; if self.is_last { 2 } else { 1 }],
            params: Params::LAYOUT,
        }
    }
}

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let mut specs = Vec::new();
    for x in DType::ALL {
        let out = if x.kind() == Kind::Float { x } else { sums_of(x) };
        for bits in 0..16 {
            let [x_quads, out_quads, is_alone, is_last] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            specs.push(Variant { x, out, x_quads, out_quads, is_alone, is_last, workgroup: 64 }.spec());
        }
    }
    specs
}
