//! The matrix product on a GPU: which kernel, in which parts, with which parameters.
//!
//! - *tiles*: a workgroup computes a tile of the result, the operands going through workgroup memory;
//! - *cooperative*: the same with cooperative matrices, for float16 on devices that have them;
//! - *narrow*: up to [`NARROW`] columns (or rows, since either operand may be the left one), each element of the large
//!   operand being read once.
//!
//! One operand may be quantised weights, which are decoded on their way into workgroup memory.
//!
//! What exceeds a binding is cut. Where the result has few tiles, workgroups share the inner axis, each writing a
//! partial result, and the partial results are added up.

use crate::device::caps::Caps;
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::context::Context;
use crate::gpu::pipeline::{Spec, shader_params};
use crate::gpu::stream::Dispatch;
use crate::gpu::wgsl::Slot;
use crate::ops::assign;
use crate::ops::elementwise::{dtype_module, vector_store_module};
use crate::ops::parts::{Window, accumulator, fit_units, halved, room, window, word};
use crate::ops::quantised::decoding;
use crate::ops::reduce::{Reduction, reduce};
use crate::ops::rows::Lanes;
use crate::quant::{Format, QuantTensor};
use crate::shape::{Layout, merge_axes};
use crate::tensor::Tensor;

/// Products of so few columns are computed column by column, not in tiles.
const NARROW: usize = 16;
/// A GPU is busy with so many workgroups of tiles, and with so many of the largest, of which a core runs one at a time.
const BUSY: usize = 192;
const BUSY_WITH_LARGE: usize = 96;
/// Workgroups share an inner axis of at least so many elements each.
const LEAST_CHUNK: usize = 256;

shader_params! {
    /// The parameters of all kernels here.
    struct Params {
        a_offset: u32,
        a_batch: u32,
        a_outer: u32,
        a_inner: u32,
        b_offset: u32,
        b_batch: u32,
        b_outer: u32,
        b_inner: u32,
        out_offset: u32,
        out_batch: u32,
        out_row: u32,
        out_column: u32,
        out_split: u32,
        batches: u32,
        rows: u32,
        columns: u32,
        inner: u32,
        splits: u32,
        chunk: u32,
        scale: f32,
    }
}

/// An operand: its strides over batches, over its outer axis (the rows of the left one, the columns of the right one),
/// and over the inner axis, which is summed over.
#[derive(Clone, Copy)]
struct Side<'a> {
    tensor: &'a Tensor,
    /// The blocks that lie along one of the axes, if the operand is quantised. Then the tensor has bytes, and the
    /// stride along that axis is from block to block.
    blocks: Option<Blocks>,
    offset: isize,
    batch: isize,
    outer: isize,
    inner: isize,
}

#[derive(Clone, Copy)]
struct Blocks {
    format: &'static Format,
    along_inner: bool,
}

impl Side<'_> {
    /// How many elements have to stay together along the outer axis, and along the inner one.
    fn units(&self) -> [usize; 2] {
        match self.blocks {
            None => [1, 1],
            Some(Blocks { format, along_inner: true }) => [1, format.elements],
            Some(Blocks { format, along_inner: false }) => [format.elements, 1],
        }
    }

    /// The strides over the outer and the inner axis from element to element; more than that within blocks.
    fn steps(&self) -> [isize; 2] {
        match self.blocks {
            None => [self.outer, self.inner],
            Some(Blocks { along_inner: true, .. }) => [self.outer, BLOCK_STEP],
            Some(Blocks { along_inner: false, .. }) => [BLOCK_STEP, self.inner],
        }
    }

    /// The operand from an element of each axis on, the first of a block where there are any.
    fn from(self, batch: usize, outer: usize, inner: usize) -> Self {
        let units = self.units();
        let offset = batch as isize * self.batch
            + (outer / units[0]) as isize * self.outer
            + (inner / units[1]) as isize * self.inner;
        Self { offset: self.offset + offset, ..self }
    }

    /// What decodes it, or the type of its elements.
    fn stored(&self) -> Stored {
        self.blocks.map_or_else(|| Stored::Dense(self.tensor.dtype()), |blocks| Stored::Blocks(blocks.format))
    }

    /// Whether the inner axis is the one that lies in memory.
    fn along_inner(&self, outer_length: usize, inner_length: usize) -> bool {
        if let Some(blocks) = self.blocks {
            return blocks.along_inner;
        }
        outer_length == 1 || inner_length > 1 && self.inner.unsigned_abs() <= self.outer.unsigned_abs()
    }

    /// Whether groups of four along the axis that lies in memory are aligned loads.
    fn in_quads(&self, offset: isize, along_inner: bool, outer_length: usize, inner_length: usize) -> bool {
        if self.blocks.is_some() {
            return true;
        }
        let (step, length, other) =
            if along_inner { (self.inner, inner_length, self.outer) } else { (self.outer, outer_length, self.inner) };
        step == 1 && length.is_multiple_of(4) && [offset, self.batch, other].iter().all(|value| value % 4 == 0)
    }

    fn window(&self, batches: usize, outer: usize, inner: usize, caps: &Caps) -> Window<'_> {
        let units = self.units();
        // Of blocks, all bytes.
        let bytes = self.blocks.map_or(1, |blocks| blocks.format.bytes);
        let lengths = [batches, outer / units[0], inner / units[1], bytes];
        window(self.tensor, self.offset, &lengths, &[self.batch, self.outer, self.inner, 1], caps.alignment)
    }
}

/// Where results go.
#[derive(Clone, Copy)]
struct Target<'a> {
    tensor: &'a Tensor,
    offset: isize,
    batch: isize,
    row: isize,
    column: isize,
    /// From one partial result to the next one.
    split: isize,
}

/// One product, or as many as there are batches.
#[derive(Clone, Copy)]
struct Product<'a> {
    name: &'static str,
    a: Side<'a>,
    b: Side<'a>,
    out: Target<'a>,
    batches: usize,
    rows: usize,
    columns: usize,
    inner: usize,
    scale: f32,
}

/// As `multiply` of the module above.
pub(super) fn multiply(name: &'static str, a: &Tensor, b: &Tensor, out: &Tensor, scale: f32) -> Result<()> {
    // Bytes are packed and unpacked by astype.
    if out.dtype().size() == 1 {
        let wide = Tensor::empty(out.device(), out.shape(), DType::Int32, name)?;
        multiply(name, a, b, &wide, scale)?;
        return assign(out, (&wide).into());
    }
    let lead = out.shape().len() - 2;
    let strides = [a, b, out].map(|tensor| &tensor.layout().strides[..]);
    let (batches, [a_batch, b_batch, out_batch]) =
        merge_axes(&out.shape()[..lead], &strides.map(|strides| &strides[..lead]));
    let side = |tensor, strides: &[isize], batch: isize, outer: usize, inner: usize| Side {
        tensor,
        blocks: None,
        offset: tensor.layout().offset,
        batch,
        outer: strides[outer],
        inner: strides[inner],
    };
    // What could not be merged into one axis is walked here.
    let (&merged, walked) = batches.split_last().expect("merging leaves one axis");
    let last = walked.len();
    let product = Product {
        name,
        a: side(a, strides[0], a_batch[last], lead, lead + 1),
        b: side(b, strides[1], b_batch[last], lead + 1, lead),
        out: Target {
            tensor: out,
            offset: out.layout().offset,
            batch: out_batch[last],
            row: strides[2][lead],
            column: strides[2][lead + 1],
            split: 0,
        },
        batches: merged,
        rows: out.shape()[lead],
        columns: out.shape()[lead + 1],
        inner: a.shape()[lead + 1],
        scale,
    };
    for index in 0..walked.iter().product() {
        let (mut rest, mut piece): (usize, _) = (index, product);
        for axis in (0..last).rev() {
            let at = (rest % walked[axis]) as isize;
            rest /= walked[axis];
            piece.a.offset += at * a_batch[axis];
            piece.b.offset += at * b_batch[axis];
            piece.out.offset += at * out_batch[axis];
        }
        piece.launch()?;
    }
    Ok(())
}

/// Writes the products of `x[m, inner]` and a matrix of quantised weights to `out[m, columns]`: with `along`, of its
/// rows, along which the blocks lie, and else of its columns. `x` lies one after another along its last axis.
///
/// Nothing is empty, `x` has floats, and `out` has any type of floats and does not overlap `x`. For operations that
/// have checked all that.
pub(crate) fn multiply_quantised(
    name: &'static str,
    x: &Tensor,
    w: &QuantTensor,
    along: bool,
    out: &Tensor,
) -> Result<()> {
    let (blocks, strides) = (w.blocks(), &w.blocks().layout().strides);
    let (x_strides, out_strides) = (&x.layout().strides, &out.layout().strides);
    let (row, block) = (strides[0], w.format().bytes as isize);
    Product {
        name,
        a: Side {
            tensor: x,
            blocks: None,
            offset: x.layout().offset,
            batch: 0,
            outer: x_strides[0],
            inner: x_strides[1],
        },
        b: Side {
            tensor: blocks,
            blocks: Some(Blocks { format: w.format(), along_inner: along }),
            offset: blocks.layout().offset,
            batch: 0,
            outer: if along { row } else { block },
            inner: if along { block } else { row },
        },
        out: Target {
            tensor: out,
            offset: out.layout().offset,
            batch: 0,
            row: out_strides[0],
            column: out_strides[1],
            split: 0,
        },
        batches: 1,
        rows: out.shape()[0],
        columns: out.shape()[1],
        inner: x.shape()[1],
        scale: 1.0,
    }
    .launch()
}

impl Product<'_> {
    /// The same result as the product of the operands turned around.
    fn transposed(self) -> Self {
        Self {
            a: self.b,
            b: self.a,
            rows: self.columns,
            columns: self.rows,
            out: Target { row: self.out.column, column: self.out.row, ..self.out },
            ..self
        }
    }

    /// Records the product in as many parts as its bindings need.
    fn launch(self) -> Result<()> {
        let context = self.out.tensor.gpu_buffer().context();
        let parts = self.fit(room(context.caps()));
        for batch in (0..self.batches).step_by(parts[0]) {
            for row in (0..self.rows).step_by(parts[1]) {
                for column in (0..self.columns).step_by(parts[2]) {
                    let [at_batch, at_row, at_column] = [batch, row, column].map(|at| at as isize);
                    let mut piece = Product {
                        batches: parts[0].min(self.batches - batch),
                        rows: parts[1].min(self.rows - row),
                        columns: parts[2].min(self.columns - column),
                        a: self.a.from(batch, row, 0),
                        b: self.b.from(batch, column, 0),
                        ..self
                    };
                    piece.out.offset += at_batch * self.out.batch + at_row * self.out.row + at_column * self.out.column;
                    piece.launch_inner(context, parts[3])?;
                }
            }
        }
        Ok(())
    }

    /// The largest part whose operands can be bound: batches, rows, columns and inner elements.
    fn fit(&self, room: usize) -> [usize; 4] {
        let (a, b, out) = (&self.a, &self.b, &self.out);
        let ([a_outer, a_inner], [b_outer, b_inner]) = (a.steps(), b.steps());
        let operands = [
            ([a.batch, a_outer, 0, a_inner], a.tensor.dtype().size()),
            ([b.batch, 0, b_outer, b_inner], b.tensor.dtype().size()),
            ([out.batch, out.row, out.column, 0], out.tensor.dtype().size()),
        ];
        let lengths = [self.batches, self.rows, self.columns, self.inner];
        // Blocks are not cut.
        let ([a_outer, a_inner], [b_outer, b_inner]) = (a.units(), b.units());
        let units = [1, a_outer, b_outer, a_inner.max(b_inner)];
        let mut part = fit_units(lengths, units, &operands, room);
        // The partial results of all parts of the inner axis are bound together, to be added up.
        let parts = self.inner.div_ceil(part[3]);
        while parts > 1 && parts * part[..3].iter().product::<usize>() * 4 > room {
            let longest = (0..3).filter(|&axis| part[axis] > units[axis]).max_by_key(|&axis| part[axis]);
            let Some(longest) = longest else { break };
            part[longest] = halved(part[longest].div_ceil(units[longest])) * units[longest];
        }
        part
    }

    /// Records this piece over parts of the inner axis, and adds the parts up.
    fn launch_inner(self, context: &Context, part: usize) -> Result<()> {
        let count = self.batches * self.rows * self.columns;
        let parts = self.inner.div_ceil(part);
        let way = Way::of(&self, part, context.caps());
        let most = room(context.caps()) / 4 / (count * parts);
        let splits = way.splits(&self, part).min(most).max(1);
        if parts * splits == 1 {
            return self.dispatch(context, way, 1);
        }
        let shape = [parts * splits, self.batches, self.rows, self.columns];
        let partial = Tensor::empty(self.out.tensor.device(), &shape, word(self.out.tensor.dtype()), self.name)?;
        let strides = &partial.layout().strides;
        for i in 0..parts {
            let out = Target {
                tensor: &partial,
                offset: strides[0] * (i * splits) as isize,
                batch: strides[1],
                row: strides[2],
                column: strides[3],
                split: strides[0],
            };
            let (a, b) = (self.a.from(0, 0, i * part), self.b.from(0, 0, i * part));
            Product { a, b, out, inner: part.min(self.inner - i * part), ..self }.dispatch(context, way, splits)?;
        }
        let out = self.out.tensor.with_layout(Layout {
            shape: shape[1..].into(),
            strides: [self.out.batch, self.out.row, self.out.column][..].into(),
            offset: self.out.offset,
        });
        if out.dtype() == partial.dtype() {
            reduce(Reduction::Sum, &partial, Some(&[0]), false, Some(&out)).map(drop)
        } else {
            assign(&out, (&reduce(Reduction::Sum, &partial, Some(&[0]), false, None)?).into())
        }
    }

    /// Binds what a piece needs and records it. Everything fits.
    fn dispatch(self, context: &Context, way: Way, splits: usize) -> Result<()> {
        let this = way.turned(&self);
        let caps = context.caps();
        let (a, b) = (
            this.a.window(this.batches, this.rows, this.inner, caps),
            this.b.window(this.batches, this.columns, this.inner, caps),
        );
        let target = &this.out;
        let out = window(
            target.tensor,
            target.offset,
            &[splits, this.batches, this.rows, this.columns],
            &[target.split, target.batch, target.row, target.column],
            caps.alignment,
        );
        // Whole matrices, and what is moved into their tiles at once.
        let chunk = this.inner.div_ceil(splits).next_multiple_of(BLOCK as usize);
        let along = match way {
            Way::Narrow { lanes, .. } => [lanes.is_some(), true],
            _ => [this.a.along_inner(this.rows, this.inner), this.b.along_inner(this.columns, this.inner)],
        };
        let quads = [
            this.a.in_quads(a.offset, along[0], this.rows, this.inner),
            this.b.in_quads(b.offset, along[1], this.columns, this.inner),
        ];
        // Results are stored in groups of four along the columns, of narrow products along the rows.
        let (step, length, others) = match way {
            Way::Narrow { .. } => (target.row, this.rows, [target.column, target.batch]),
            _ => (target.column, this.columns, [target.row, target.batch]),
        };
        let out_quads = step == 1
            && length.is_multiple_of(4)
            && [out.offset, target.split].iter().chain(&others).all(|value| value % 4 == 0);
        let variant = Variant {
            way,
            a: this.a.stored(),
            b: this.b.stored(),
            out: target.tensor.dtype(),
            along,
            quads,
            out_quads,
        };
        let pipeline = context.pipeline(variant.key(), || variant.spec())?;
        let params = Params {
            a_offset: a.offset as u32,
            a_batch: this.a.batch as u32,
            a_outer: this.a.outer as u32,
            a_inner: this.a.inner as u32,
            b_offset: b.offset as u32,
            b_batch: this.b.batch as u32,
            b_outer: this.b.outer as u32,
            b_inner: this.b.inner as u32,
            out_offset: out.offset as u32,
            out_batch: target.batch as u32,
            out_row: target.row as u32,
            out_column: target.column as u32,
            out_split: target.split as u32,
            batches: this.batches as u32,
            rows: this.rows as u32,
            columns: this.columns as u32,
            inner: this.inner as u32,
            splits: splits as u32,
            chunk: chunk as u32,
            scale: this.scale,
        };
        context.record(&Dispatch {
            label: self.name,
            pipeline: &pipeline,
            bindings: &[Some(a.binding), Some(b.binding), Some(out.binding)],
            params: bytemuck::bytes_of(&params),
            groups: way.groups(&this, splits) as u32,
            bytes: a.bytes + b.bytes + out.bytes,
            steps: (this.batches * this.rows * this.columns * this.inner) as u64,
        })
    }
}

/// How the elements of an operand are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Dense(DType),
    Blocks(&'static Format),
}

impl Stored {
    /// The type that they have when they are loaded.
    const fn dtype(self) -> DType {
        match self {
            Self::Dense(dtype) => dtype,
            Self::Blocks(_) => DType::Float32,
        }
    }

    /// What loads four of them, or eight of blocks on their way to cooperative matrices.
    fn access(self, quads: bool, way: Way) -> Slot {
        match (self, way) {
            (Self::Dense(_), _) if quads => Slot::module("access/vector_quads"),
            (Self::Dense(_), _) => Slot::module("access/vector_elements"),
            (Self::Blocks(format), Way::Cooperative { .. }) => Slot::Text(decoding(format, "")),
            (Self::Blocks(format), _) => Slot::Text(decoding(format, "access/vector_blocks")),
        }
    }

    /// How many of them an invocation moves into a tile for cooperative matrices at once, and what does that.
    const fn filling(self) -> (u32, &'static str) {
        match self {
            Self::Dense(_) => (4, "tiles/halves_by_four"),
            Self::Blocks(_) => (8, "tiles/halves_by_eight"),
        }
    }
}

/// Which kernel, and in which shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tiles {
        /// Invocations along the rows and along the columns of a tile.
        threads: [u32; 2],
    },
    Cooperative {
        /// Subgroups along the rows and along the columns of a tile, and their invocations.
        subgroups: [u32; 2],
        subgroup: u32,
        /// Matrices along the rows and along the columns of what a subgroup computes.
        blocks: [u32; 2],
        /// How much of the inner axis is in workgroup memory at a time.
        step: u32,
    },
    Narrow {
        /// How many columns are computed at once.
        vectors: u32,
        /// The lanes of each four rows; without, an invocation has them alone, which suits rows that lie side by side.
        lanes: Option<Lanes>,
        workgroup: u32,
    },
}

/// Rows and columns of a tile of which each invocation has one register, in vectors of four.
const QUADS: u32 = 2;
/// Bytes from one quantised element to the next one at most, where a bound will do.
const BLOCK_STEP: isize = 2;
/// How much of the inner axis the tiles have in workgroup memory at a time.
const STEP: u32 = 8;
/// Rows and columns of a cooperative matrix.
const BLOCK: u32 = 16;
/// Subgroups of a tile, matrices of a subgroup, and steps: tiles of 128 × 256, of 128 × 128 and of 64 × 64.
const MATRICES: [([u32; 2], [u32; 2], u32); 3] = [([2, 4], [4, 4], 32), ([4, 2], [2, 4], 32), ([2, 2], [2, 2], 32)];
/// For up to 16 rows: tiles of 16 × 128.
const NARROW_MATRICES: ([u32; 2], [u32; 2], u32) = ([1, 4], [1, 2], 64);

impl Way {
    /// The best way for this product over inner parts of this length.
    fn of(product: &Product<'_>, inner: usize, caps: &Caps) -> Self {
        let (rows, columns) = (product.rows.max(product.columns), product.rows.min(product.columns));
        let quantised = product.a.blocks.is_some() || product.b.blocks.is_some();
        // Weights are rounded to float16 to meet what has that type.
        let half = |side: &Side<'_>| side.blocks.is_some() || side.tensor.dtype() == DType::Float16;
        let halves = half(&product.a) && half(&product.b);
        let (smallest, largest) = caps.subgroup_size;
        let cooperative = caps.cooperative && caps.subgroups && halves && smallest == largest;
        let with_matrices =
            |(subgroups, blocks, step)| Self::Cooperative { subgroups, subgroup: smallest, blocks, step };
        let is_busy = |way: &Self| way.tiles(&way.turned(product)) >= way.busy();
        let suits = |way: &Self| way.fits(caps) && way.is_filled_evenly(product);
        if (9..=NARROW).contains(&columns) && cooperative && suits(&with_matrices(NARROW_MATRICES)) {
            return with_matrices(NARROW_MATRICES);
        }
        if columns <= NARROW && !quantised {
            let large = if product.rows >= product.columns { &product.a } else { &product.b };
            let vectors = (columns.next_power_of_two() as u32).min(8);
            return if large.outer == 1 && !large.along_inner(rows, inner) {
                Self::Narrow { vectors, lanes: None, workgroup: caps.workgroup_up_to(64) }
            } else {
                let lanes = if vectors < 8 && inner >= 1024 {
                    Lanes::all(caps.workgroup_up_to(64), caps.subgroups)
                } else {
                    Lanes::along(caps, (inner / 4).clamp(4, 32), 256)
                };
                Self::Narrow { vectors, lanes: Some(lanes), workgroup: lanes.workgroup() }
            };
        }
        if cooperative {
            let ways = MATRICES.into_iter().map(|matrices| with_matrices(matrices).longer_along_vectors(product));
            let mut possible = ways.filter(suits);
            if let Some(way) = possible.clone().find(is_busy).or(possible.next_back()) {
                return way;
            }
        }
        let mut possible =
            [[16, 16], [8, 8]].map(|threads| Self::Tiles { threads }).into_iter().filter(|way| way.fits(caps));
        let best = possible.clone().find(is_busy).or(possible.next_back());
        // Every device takes 16 invocations.
        best.unwrap_or(Self::Tiles { threads: [4, 4] })
    }

    /// Whether a device has invocations and workgroup memory enough.
    fn fits(self, caps: &Caps) -> bool {
        let bytes: f64 = match self {
            Self::Tiles { threads } => f64::from(2 * STEP * (threads[0] * QUADS + 1 + threads[1] * QUADS + 1) * 16),
            Self::Cooperative { .. } => {
                let tiles: u32 = (0..2)
                    .map(|i| [true, false].map(|along| self.matrix_tile(i, along)[1]))
                    .map(|[a, b]| a.max(b))
                    .sum();
                f64::from(tiles * 8 + self.subgroups() * 80 * 16)
            }
            Self::Narrow { .. } => 0.0,
        };
        self.threads() <= caps.workgroup && bytes <= f64::from(caps.shared)
    }

    /// Quantised weights are decoded for each tile anew, so that tiles are longer along the other operand, unless that
    /// is too short for it.
    fn longer_along_vectors(mut self, product: &Product<'_>) -> Self {
        let (turned, [rows, columns]) = (self.turned(product), self.lines().map(|lines| lines as usize));
        let Self::Cooperative { subgroups, .. } = &mut self else { return self };
        if rows == columns {
            return self;
        }
        let shorter = rows.min(columns);
        if turned.a.blocks.is_some() && turned.columns <= shorter || turned.b.blocks.is_some() && turned.rows > shorter
        {
            subgroups.reverse();
        }
        self
    }

    /// Whether all invocations move equally much into the tiles of cooperative matrices.
    fn is_filled_evenly(self, product: &Product<'_>) -> bool {
        let Self::Cooperative { step, .. } = self else { return true };
        let turned = self.turned(product);
        let units = [turned.a, turned.b].map(|side| side.stored().filling().0);
        self.lines().iter().zip(units).all(|(lines, unit)| (lines * step / unit).is_multiple_of(self.threads()))
    }

    fn threads(self) -> u32 {
        match self {
            Self::Tiles { threads } => threads[0] * threads[1],
            Self::Cooperative { subgroup, .. } => self.subgroups() * subgroup,
            Self::Narrow { workgroup, .. } => workgroup,
        }
    }

    fn subgroups(self) -> u32 {
        match self {
            Self::Cooperative { subgroups, .. } => subgroups[0] * subgroups[1],
            _ => 0,
        }
    }

    /// Rows and columns of a tile.
    fn lines(self) -> [u32; 2] {
        match self {
            Self::Tiles { threads } => threads.map(|threads| threads * 4 * QUADS),
            Self::Cooperative { subgroups, blocks, .. } => [0, 1].map(|i| subgroups[i] * blocks[i] * BLOCK),
            Self::Narrow { vectors, .. } => [4 * self.row_quads(), vectors],
        }
    }

    /// How many groups of four rows are computed at once in narrow products. Two share the vectors' loads, but take
    /// registers for twice as many sums.
    fn row_quads(self) -> u32 {
        match self {
            Self::Narrow { vectors, lanes: Some(_), .. } if vectors >= 8 => 2,
            _ => 1,
        }
    }

    /// How many workgroups keep a GPU busy.
    fn busy(self) -> usize {
        if self.subgroups() >= 8 { BUSY_WITH_LARGE } else { BUSY }
    }

    /// How many tiles the results have.
    fn tiles(self, product: &Product<'_>) -> usize {
        let [rows, columns] = self.lines().map(|lines| lines as usize);
        product.rows.div_ceil(rows) * product.columns.div_ceil(columns) * product.batches
    }

    /// Whether the product has to be turned around: rows are the longer axis of narrow ones, and columns the one that
    /// lies in memory of others.
    fn turns(self, product: &Product<'_>) -> bool {
        match self {
            Self::Narrow { .. } => product.rows < product.columns,
            Self::Cooperative { .. } if self.lines()[0] < self.lines()[1] / 4 => product.rows > product.columns,
            _ => product.out.column != 1 && product.out.row == 1,
        }
    }

    /// The product as it is computed.
    fn turned<'a>(self, product: &Product<'a>) -> Product<'a> {
        if self.turns(product) { product.transposed() } else { *product }
    }

    /// How many workgroups share the inner axis, so that a small result keeps the whole GPU busy.
    fn splits(self, product: &Product<'_>, inner: usize) -> usize {
        let tiles = self.tiles(&self.turned(product));
        let (wanted, least): (usize, usize) = match self {
            // So many invocations keep enough loads under way.
            Self::Narrow { lanes: None, .. } => ((1_usize << 17).div_ceil(tiles), 64),
            Self::Narrow { lanes: Some(lanes), .. } => {
                let each = lanes.workgroup() as usize / lanes.rows();
                ((1_usize << 16).div_ceil(tiles * each), 1024)
            }
            _ => (self.busy().div_ceil(tiles), LEAST_CHUNK),
        };
        wanted.min(inner / least).max(1)
    }

    /// How many workgroups are launched for a product that has been turned as it has to be.
    fn groups(self, product: &Product<'_>, splits: usize) -> usize {
        match self {
            Self::Narrow { lanes, workgroup, .. } => {
                (self.tiles(product) * splits).div_ceil(lanes.map_or(workgroup as usize, Lanes::rows))
            }
            _ => self.tiles(product) * splits,
        }
    }

    /// Vectors of workgroup memory from one stretch of an operand's tile to the next one, and in the tile, where
    /// matrices are multiplied.
    fn matrix_tile(self, i: usize, along_inner: bool) -> [u32; 2] {
        let Self::Cooperative { step, .. } = self else { return [0; 2] };
        let lines = self.lines()[i];
        let (length, stretches) = if along_inner { (step, lines) } else { (lines, step) };
        let pitch = length / 4 + 2;
        [pitch, pitch * stretches]
    }

    /// Distinguishes the ways from each other.
    fn key(self) -> u64 {
        let pack = |numbers: &[u32]| numbers.iter().fold(0, |key, &number| key << 5 | u64::from(number.ilog2() + 1));
        match self {
            Self::Tiles { threads } => pack(&threads),
            Self::Cooperative { subgroups, subgroup, blocks, step } => {
                1 << 40 | pack(&[subgroups[0], subgroups[1], subgroup, blocks[0], blocks[1], step])
            }
            Self::Narrow { vectors, lanes, workgroup } => {
                let lanes =
                    lanes.map_or(1, |lanes| lanes.key().iter().fold(1, |key, &(part, bits)| key << bits | part));
                2 << 40 | lanes << 10 | pack(&[vectors, workgroup])
            }
        }
    }
}

/// What distinguishes the pipelines of this operation.
struct Variant {
    way: Way,
    a: Stored,
    b: Stored,
    out: DType,
    /// Whether the inner axis lies in memory, and whether four neighbours are one load.
    along: [bool; 2],
    quads: [bool; 2],
    out_quads: bool,
}

/// Distinguishes these pipelines from those of other shaders.
const KEY: u64 = 20 << 56;
/// Those with a quantised operand: two for each format, by its side.
const BLOCKS_KEY: u64 = 128 << 56;

impl Variant {
    fn key(&self) -> u64 {
        let bits = [self.along[0], self.along[1], self.quads[0], self.quads[1], self.out_quads];
        let bits = bits.iter().fold(0, |key, &bit| key << 1 | u64::from(bit));
        let kind = match (self.a, self.b) {
            (Stored::Blocks(format), _) => BLOCKS_KEY + ((2 * format.index() as u64) << 56),
            (_, Stored::Blocks(format)) => BLOCKS_KEY + ((2 * format.index() as u64 + 1) << 56),
            _ => KEY,
        };
        let dtypes = (self.a.dtype() as u64) << 11 | (self.b.dtype() as u64) << 8 | (self.out as u64) << 5;
        kind | self.way.key() << 14 | dtypes | bits
    }

    fn spec(&self) -> Spec {
        let mut slots = vec![
            ("A_ACCESS", self.a.access(self.quads[0], self.way)),
            ("B_ACCESS", self.b.access(self.quads[1], self.way)),
            ("OUT", Slot::module(dtype_module(self.out))),
            ("OUT_ACCESS", Slot::module(vector_store_module(self.out_quads, self.out.size()))),
        ];
        if !matches!(self.way, Way::Cooperative { .. }) {
            slots.push(("ACCUMULATOR", accumulator(self.out)));
            slots.push(("A", Slot::module(dtype_module(self.a.dtype()))));
            slots.push(("B", Slot::module(dtype_module(self.b.dtype()))));
        }
        let mut counts = |names: &[(&'static str, u32)]| {
            slots.extend(names.iter().map(|&(name, count)| (name, Slot::Text(count.to_string()))));
        };
        let lines = self.way.lines();
        let along = self.along.map(|along| f64::from(u8::from(along)));
        let number = f64::from;
        let threads = self.way.threads();
        let (source, constants) = match self.way {
            Way::Tiles { threads: [thread_rows, thread_columns] } => {
                // Four elements at a time, shared out among the invocations.
                let loads = lines.map(|lines| lines * STEP / 4 / threads);
                counts(&[
                    ("ROW_QUADS", QUADS),
                    ("COLUMN_QUADS", QUADS),
                    ("STEP", STEP),
                    ("A_LOADS", loads[0]),
                    ("B_LOADS", loads[1]),
                ]);
                let pitch = lines.map(|lines| lines / 4 + 1);
                let constants = vec![
                    ("THREAD_ROWS", number(thread_rows)),
                    ("THREAD_COLUMNS", number(thread_columns)),
                    ("THREADS", number(threads)),
                    ("NEIGHBOURS", number(thread_columns.min(8))),
                    ("STEP", number(STEP)),
                    ("a_ALONG_INNER", along[0]),
                    ("a_LINES", number(lines[0])),
                    ("a_PITCH", number(pitch[0])),
                    ("a_BUFFER", number(pitch[0] * STEP)),
                    ("a_BUFFERS", number(pitch[0] * STEP * 2)),
                    ("b_ALONG_INNER", along[1]),
                    ("b_LINES", number(lines[1])),
                    ("b_PITCH", number(pitch[1])),
                    ("b_BUFFER", number(pitch[1] * STEP)),
                    ("b_BUFFERS", number(pitch[1] * STEP * 2)),
                ];
                (include_str!("../../../shaders/matmul.wgsl"), constants)
            }
            Way::Cooperative { subgroups, blocks, step, .. } => {
                let [(a_unit, a_filling), (b_unit, b_filling)] = [self.a, self.b].map(Stored::filling);
                counts(&[
                    ("ROW_BLOCKS", blocks[0]),
                    ("COLUMN_BLOCKS", blocks[1]),
                    ("STEP_BLOCKS", step / BLOCK),
                    ("A_LOADS", lines[0] * step / a_unit / threads),
                    ("B_LOADS", lines[1] * step / b_unit / threads),
                ]);
                slots.extend([("A_FILLING", Slot::module(a_filling)), ("B_FILLING", Slot::module(b_filling))]);
                let [[a_pitch, a_tile], [b_pitch, b_tile]] = [0, 1].map(|i| self.way.matrix_tile(i, self.along[i]));
                let constants = vec![
                    ("THREADS", number(threads)),
                    ("SUBGROUP_COLUMNS", number(subgroups[1])),
                    ("ROW_BLOCKS", number(blocks[0])),
                    ("COLUMN_BLOCKS", number(blocks[1])),
                    ("STEP", number(step)),
                    ("TILES", number(a_tile + b_tile)),
                    ("RESULTS", number(self.way.subgroups() * 80)),
                    ("a_ALONG_INNER", along[0]),
                    ("a_LINES", number(lines[0])),
                    ("a_PITCH", number(a_pitch)),
                    ("a_FIRST", 0.0),
                    ("b_ALONG_INNER", along[1]),
                    ("b_LINES", number(lines[1])),
                    ("b_PITCH", number(b_pitch)),
                    ("b_FIRST", number(a_tile)),
                ];
                (include_str!("../../../shaders/matmul_cooperative.wgsl"), constants)
            }
            Way::Narrow { vectors, lanes, workgroup } => {
                counts(&[("VECTORS", vectors)]);
                let mut constants = vec![("VECTORS", number(vectors))];
                match lanes {
                    None => {
                        constants.push(("WORKGROUP", number(workgroup)));
                        (include_str!("../../../shaders/matmul_narrow_columns.wgsl"), constants)
                    }
                    Some(lanes) => {
                        counts(&[("ROW_QUADS", self.way.row_quads())]);
                        slots.push(("REDUCE", lanes.module()));
                        constants.push(("ROW_QUADS", number(self.way.row_quads())));
                        constants.extend(lanes.constants());
                        constants.push(("TWO_STEPS", if self.a.dtype().size() == 2 { 1.0 } else { 0.0 }));
                        (include_str!("../../../shaders/matmul_narrow.wgsl"), constants)
                    }
                }
            }
        };
        Spec { label: "matmul".into(), source, slots, constants, inputs: vec![true, true], params: Params::LAYOUT }
    }
}

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let mut specs = Vec::new();
    let tiles = [[16, 16], [4, 4]].map(|threads| Way::Tiles { threads });
    let cooperative = [MATRICES[0], MATRICES[2], NARROW_MATRICES].map(|(subgroups, blocks, step)| Way::Cooperative {
        subgroups,
        subgroup: 32,
        blocks,
        step,
    });
    let lanes = [32, 8].map(|wanted| Lanes::along(&Caps::ANY, wanted, 256));
    let narrow = [(4, Some(lanes[0])), (8, Some(lanes[1])), (4, None)].map(|(vectors, lanes)| Way::Narrow {
        vectors,
        lanes,
        workgroup: 64,
    });
    let floats = [DType::Float32, DType::Float16, DType::BFloat16];
    let pairs = floats.iter().flat_map(|&a| floats.map(|b| (a, b))).chain([(DType::Int32, DType::Int32)]);
    for (a, b) in pairs {
        for way in tiles.into_iter().chain(cooperative).chain(narrow) {
            if matches!(way, Way::Cooperative { .. }) && (a, b) != (DType::Float16, DType::Float16) {
                continue;
            }
            let all = [DType::Float32, DType::Float16, DType::Int32].contains(&a) && a == b;
            for bits in (0..32).filter(|&bits| all || bits == 0 || bits == 31) {
                let [a_along, b_along, a_quads, b_quads, out_quads] = [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
                let (along, quads) = ([a_along, b_along], [a_quads, b_quads]);
                let (a, b, out) = (Stored::Dense(a), Stored::Dense(b), a);
                specs.push(Variant { way, a, b, out, along, quads, out_quads }.spec());
            }
        }
    }
    for (i, format) in Format::ALL.iter().enumerate() {
        for way in tiles.into_iter().take(1).chain(cooperative.into_iter().take(1)) {
            let dense = if way == tiles[0] { floats[i % 3] } else { DType::Float16 };
            let mut operands = [Stored::Dense(dense), Stored::Blocks(format)];
            operands.rotate_left(i % 2);
            let [a, b] = operands;
            for along in [[true, true], [false, false]] {
                specs.push(Variant { way, a, b, out: dense, along, quads: [true; 2], out_quads: true }.spec());
            }
        }
    }
    specs
}
