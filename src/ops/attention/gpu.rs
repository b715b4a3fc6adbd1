//! Attention on a GPU: which kernel, in which parts, with which parameters.
//!
//! - *blocks*: a workgroup has a block of queries and walks the keys;
//! - *matrices*: the same with cooperative matrices, for float16 on devices that have them;
//! - *decoding*: for few queries, all that share keys at once, so that keys and values are read once.
//!
//! Where there are too few workgroups, the keys are split, each part's sums are written, and merged. What exceeds a
//! binding is cut: batches and heads, then queries, and keys, whose sums are merged too.

use crate::device::caps::Caps;
use crate::dtype::{DType, Scalar};
use crate::error::{Bytes, Error, Result};
use crate::gpu::pipeline::{Spec, shader_params};
use crate::gpu::stream::{Binding, Dispatch};
use crate::gpu::wgsl::Slot;
use crate::ops::elementwise::{dtype_module, vector_store_module};
use crate::ops::parts::{halved, room};
use crate::ops::{assign, contiguous, full, narrow};
use crate::shape::show;
use crate::tensor::Tensor;

use super::{NAME, Problem, Reach};

shader_params! {
    /// The parameters of the kernels that attend.
    struct Params {
        q_offset: u32,
        q_batch: u32,
        q_head: u32,
        q_row: u32,
        q_column: u32,
        k_offset: u32,
        k_batch: u32,
        k_head: u32,
        k_row: u32,
        k_column: u32,
        v_offset: u32,
        v_batch: u32,
        v_head: u32,
        v_row: u32,
        v_column: u32,
        mask_offset: u32,
        mask_batch: u32,
        mask_head: u32,
        mask_row: u32,
        mask_column: u32,
        out_offset: u32,
        queries: u32,
        keys: u32,
        widths: u32,
        heads: u32,
        group: u32,
        count: u32,
        chunk: u32,
        left: i32,
        right: i32,
        scale: f32,
        softcap: f32,
    }
}

shader_params! {
    /// The parameters of the kernel that merges.
    struct MergeParams {
        partial_offset: u32,
        out_offset: u32,
        rows: u32,
        splits: u32,
        width: u32,
    }
}

/// A GPU is busy with so many workgroups that have blocks of queries, and with so many that decode.
const BUSY: usize = 264;
const BUSY_DECODING: usize = 1024;
/// Up to so many rows, the queries of the heads that share keys, are decoding.
const FEW: usize = 16;
/// Parts of the keys are multiples of this, and for decoding at least so long.
const BLOCK: usize = 64;
const LEAST_CHUNK: usize = 512;
/// Further than any key is away.
const UNLIMITED: i32 = 1 << 30;
/// Widths share a word of the parameters.
const MOST_COLUMNS: usize = (1 << 16) - 1;

impl Problem<'_> {
    /// Computes it into `out`, `[batch, heads, t, dv]` of any layout.
    pub(super) fn on_gpu(&self, out: &Tensor) -> Result<()> {
        let (d, dv) = (self.q.shape()[3], self.v.shape()[3]);
        if d.max(dv) > MOST_COLUMNS {
            return Err(Error::Shape(format!(
                "{NAME}: q has shape {} and v {}; a GPU takes up to {MOST_COLUMNS} elements along the last axes",
                show(self.q.shape()),
                show(self.v.shape())
            )));
        }
        let caps = out.gpu_buffer().context().caps().clone();
        if (d.max(dv) + 4) * 4 > room(&caps) {
            return Err(Error::Shape(format!(
                "{NAME}: q has shape {} and v {}; one row of them is more than the {} that this device can bind",
                show(self.q.shape()),
                show(self.v.shape()),
                Bytes(caps.binding)
            )));
        }
        // Rows whose elements lie far apart would fill a binding alone.
        let near = |tensor: &Tensor| {
            let reach = (tensor.shape()[3].max(1) - 1) * tensor.layout().strides[3].unsigned_abs();
            if reach * tensor.dtype().size() > room(&caps) / 4 { contiguous(tensor) } else { Ok(tensor.clone()) }
        };
        // Of no elements, all scores are zero: so they are of a single zero.
        let zero = |tensor: &Tensor| {
            let shape = [&tensor.shape()[..3], &[1]].concat();
            let zero = full(NAME, tensor.device(), &[1], Scalar::Int(0), tensor.dtype())?;
            Ok(zero.with_layout(zero.layout().broadcast_to(&shape, NAME)?))
        };
        let whole = Piece {
            q: if d == 0 { zero(&self.q)? } else { near(&self.q)? },
            k: if d == 0 { zero(&self.k)? } else { near(&self.k)? },
            v: near(&self.v)?,
            mask: self.mask.clone(),
            lengths: self.lengths.into(),
            first_query: 0,
            problem: self,
        };
        whole.cut(out, &caps)
    }
}

/// Some batches, heads and queries of a problem.
#[derive(Clone)]
struct Piece<'a> {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Tensor>,
    lengths: Vec<usize>,
    /// Which of all queries these are.
    first_query: usize,
    problem: &'a Problem<'a>,
}

impl Piece<'_> {
    fn batch(&self) -> usize {
        self.q.shape()[0]
    }

    fn heads(&self) -> usize {
        self.q.shape()[1]
    }

    fn queries(&self) -> usize {
        self.q.shape()[2]
    }

    /// Heads of queries for each head of keys.
    fn group(&self) -> usize {
        self.heads() / self.k.shape()[1]
    }

    /// As many of the keys as any batch counts.
    fn keys(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Bytes from the first to the last element.
    fn span(tensor: &Tensor) -> usize {
        tensor.layout().reach().map_or(0, |(low, high)| ((high - low) as usize + 4) * tensor.dtype().size())
    }

    /// Computes it at once, or halves along the axis that makes it too large and does the same with both halves.
    fn cut(&self, out: &Tensor, caps: &Caps) -> Result<()> {
        let room = room(caps);
        // Rows of partial results, of as many parts as the keys are cut into at least.
        let row = (out.shape()[3].next_multiple_of(4) + 4) * 4;
        let rows = self.batch() * self.heads() * self.queries();
        let keys = self.keys().max(1);
        let parts = keys.div_ceil(self.keys_that_fit(keys, room));
        let too_large = Self::span(&self.q) > room
            || rows * row * parts > room
            || Self::span(out) > room
            || self.mask.as_ref().is_some_and(|mask| Self::span(&narrow(mask, 3, 0, 1)) > room);
        let of_heads = |tensor: &Tensor| Self::span(&narrow(tensor, 2, 0, 1.min(tensor.shape()[2]))) > room;
        let keys_apart = of_heads(&self.k) || of_heads(&self.v);
        // Keys that are cut count from one length.
        let one_length = self.lengths.len() > 1
            && (Self::span(&self.k) > room || Self::span(&self.v) > room || {
                self.mask.as_ref().is_some_and(|mask| Self::span(mask) > room)
            });
        if too_large || keys_apart || one_length {
            if self.batch() > 1 {
                return self.halves(0, self.batch().div_ceil(2), out, caps);
            }
            let key_heads = self.k.shape()[1];
            if key_heads > 1 && (too_large || keys_apart) {
                return self.halves(1, key_heads.div_ceil(2) * self.group(), out, caps);
            }
            if too_large && self.heads() > 1 {
                return self.halves(1, self.heads().div_ceil(2), out, caps);
            }
            if too_large && self.queries() > 1 {
                return self.halves(2, halved(self.queries()), out, caps);
            }
        }
        self.compute(out, caps)
    }

    /// Both parts of it, cut at an index of an axis of `out`.
    fn halves(&self, axis: usize, at: usize, out: &Tensor, caps: &Caps) -> Result<()> {
        for (from, count) in [(0, at), (at, out.shape()[axis] - at)] {
            let mut part = self.clone();
            part.q = narrow(&self.q, axis, from, count);
            match axis {
                0 => {
                    part.k = narrow(&self.k, 0, from, count);
                    part.v = narrow(&self.v, 0, from, count);
                    if self.lengths.len() > 1 {
                        part.lengths = self.lengths[from..from + count].into();
                    }
                }
                1 => {
                    let group = self.group();
                    let (first, last) = (from / group, (from + count).div_ceil(group));
                    part.k = narrow(&self.k, 1, first, last - first);
                    part.v = narrow(&self.v, 1, first, last - first);
                }
                _ => part.first_query += from,
            }
            part.mask = self.mask.as_ref().map(|mask| narrow(mask, axis, from, count));
            part.cut(&narrow(out, axis, from, count), caps)?;
        }
        Ok(())
    }

    /// Computes it, perhaps in parts of its keys.
    fn compute(&self, out: &Tensor, caps: &Caps) -> Result<()> {
        let keys = self.keys();
        if keys == 0 {
            return assign(out, Scalar::Int(0).into());
        }
        // Dense results alone are written by kernels.
        let target = if out.layout().is_contiguous() {
            out.clone()
        } else {
            Tensor::empty(out.device(), out.shape(), out.dtype(), NAME)?
        };
        let part = self.keys_that_fit(keys, room(caps));
        let parts = keys.div_ceil(part);
        let way = Way::of(self, caps)?;
        let rows = self.batch() * self.heads() * self.queries();
        let width = out.shape()[3];
        let pitch = width.next_multiple_of(4) + 4;
        let most = room(caps) / (rows * pitch * 4 * parts);
        let chunk = way.chunk(self, part.min(keys), most.max(1));
        let splits = |count: usize| count.div_ceil(chunk);
        let total: usize = (0..parts).map(|i| splits(part.min(keys - i * part))).sum();
        let lengths = match self.lengths[..] {
            [_] => None,
            ref all => {
                let host = Tensor::empty(&crate::device::select::cpu()?, &[all.len()], DType::UInt32, NAME)?;
                host.fill_host(|i| Scalar::Int(all[i] as i128));
                Some(host.to(out.device())?)
            }
        };
        if total == 1 {
            self.dispatch(way, &target, false, lengths.as_ref(), (0, keys), chunk)?;
        } else {
            let partial = |splits| Tensor::empty(out.device(), &[rows, splits, pitch], DType::Float32, NAME);
            let all = partial(total)?;
            let mut first = 0;
            for from in (0..keys).step_by(part) {
                let count = part.min(keys - from);
                // Kernels write all parts that they know of side by side.
                let some = if parts == 1 { all.clone() } else { partial(splits(count))? };
                self.dispatch(way, &some, true, lengths.as_ref(), (from, count), chunk)?;
                if parts > 1 {
                    assign(&narrow(&all, 1, first, splits(count)), (&some).into())?;
                }
                first += splits(count);
            }
            merge(&all, &target, width)?;
        }
        if target.same_elements(out) { Ok(()) } else { assign(out, (&target).into()) }
    }

    /// How many keys at a time can be bound.
    fn keys_that_fit(&self, keys: usize, room: usize) -> usize {
        let mut part = keys;
        loop {
            let fits = |tensor: &Tensor, axis: usize| Self::span(&narrow(tensor, axis, 0, part)) <= room;
            if part <= 1 || fits(&self.k, 2) && fits(&self.v, 2) && self.mask.as_ref().is_none_or(|mask| fits(mask, 3))
            {
                return part;
            }
            part = halved(part);
        }
    }

    /// Records one launch over `count` keys from `from` on. Everything fits.
    fn dispatch(
        &self,
        way: Way,
        target: &Tensor,
        partial: bool,
        lengths: Option<&Tensor>,
        (from, count): (usize, usize),
        chunk: usize,
    ) -> Result<()> {
        let context = target.gpu_buffer().context();
        let alignment = context.caps().alignment;
        let (k, v) = (narrow(&self.k, 2, from, count), narrow(&self.v, 2, from, count));
        let mask = self.mask.as_ref().map(|mask| narrow(mask, 3, from, count));
        let operands = [&self.q, &k, &v];
        let windows = operands.map(|operand| Binding::window(operand, alignment));
        let mask_window = mask.as_ref().map(|mask| Binding::window(mask, alignment));
        let (out, out_offset) = Binding::window(target, alignment);
        let (d, dv) = (self.q.shape()[3], self.v.shape()[3]);
        let quads = [0, 1, 2].map(|i| {
            let layout = operands[i].layout();
            layout.strides[3] == 1
                && layout.shape[3].is_multiple_of(4)
                && windows[i].1.is_multiple_of(4)
                && layout.strides[..3].iter().all(|stride| stride % 4 == 0)
        });
        let out_quads = partial || dv.is_multiple_of(4) && out_offset.is_multiple_of(4);
        let variant = Variant {
            way,
            dtypes: operands.map(Tensor::dtype),
            quads,
            mask: mask.as_ref().map(Tensor::dtype),
            out: target.dtype(),
            out_quads,
            softcap: self.problem.softcap.is_some(),
            lengths: lengths.is_some(),
            partial,
            widths: [d, dv],
        };
        let pipeline = context.pipeline(variant.key(), || variant.spec())?;

        // Queries and keys that are part of more stand at other places among them than the kernel thinks.
        let counted = if lengths.is_some() { count } else { self.lengths[0] };
        let all_queries = self.problem.q.shape()[2];
        let shift = (counted - from - count) as i64 + (self.first_query + self.queries()) as i64 - all_queries as i64;
        let Reach { causal, before, after } = self.problem.reach;
        let limit = |side: Option<usize>| side.map_or(UNLIMITED, |side| side.min(UNLIMITED as usize) as i32);
        let right = if causal { limit(after).min(0) } else { limit(after) };
        let nearby = |value: i64| value.clamp(-i64::from(UNLIMITED), i64::from(UNLIMITED)) as i32;

        let groups = way.groups(self, count.div_ceil(chunk));
        let places = |&(_, offset): &(Binding<'_>, u32), tensor: &Tensor| {
            let [batch, head, row, column] = [0, 1, 2, 3].map(|axis| tensor.layout().strides[axis] as u32);
            [offset, batch, head, row, column]
        };
        let [q_offset, q_batch, q_head, q_row, q_column] = places(&windows[0], &self.q);
        let [k_offset, k_batch, k_head, k_row, k_column] = places(&windows[1], &k);
        let [v_offset, v_batch, v_head, v_row, v_column] = places(&windows[2], &v);
        let of_mask = mask_window.as_ref().zip(mask.as_ref()).map_or([0; 5], |(window, mask)| places(window, mask));
        let [mask_offset, mask_batch, mask_head, mask_row, mask_column] = of_mask;
        let params = Params {
            q_offset,
            q_batch,
            q_head,
            q_row,
            q_column,
            k_offset,
            k_batch,
            k_head,
            k_row,
            k_column,
            v_offset,
            v_batch,
            v_head,
            v_row,
            v_column,
            mask_offset,
            mask_batch,
            mask_head,
            mask_row,
            mask_column,
            out_offset,
            queries: self.queries() as u32,
            keys: count as u32,
            widths: (d | dv << 16) as u32,
            heads: self.heads() as u32,
            group: self.group() as u32,
            count: groups as u32,
            chunk: chunk as u32,
            left: nearby(i64::from(limit(before)) - shift),
            right: nearby(i64::from(right) + shift),
            scale: self.problem.scale,
            softcap: self.problem.softcap.unwrap_or(1.0),
        };
        let bindings = [
            Some(windows[0].0),
            Some(windows[1].0),
            Some(windows[2].0),
            mask_window.map(|window| window.0),
            lengths.map(|lengths| Binding::window(lengths, alignment).0),
            Some(out),
        ];
        context.record(&Dispatch {
            label: NAME,
            pipeline: &pipeline,
            bindings: &bindings,
            params: bytemuck::bytes_of(&params),
            groups: groups as u32,
            bytes: operands.into_iter().chain(&mask).chain(lengths).chain([target]).map(Tensor::stored_bytes).sum(),
            steps: self.problem.steps(
                self.batch() * self.heads(),
                self.first_query..self.first_query + self.queries(),
                &self.lengths,
                from..from + count,
            ),
        })
    }
}

/// Merges the sums of parts of the keys, `[rows, splits, pitch]`, into dense rows of `width` elements.
fn merge(partial: &Tensor, target: &Tensor, width: usize) -> Result<()> {
    let &[rows, splits, _] = partial.shape() else { unreachable!("partial sums have three axes") };
    let context = target.gpu_buffer().context();
    let caps = context.caps();
    let (from, partial_offset) = Binding::window(partial, caps.alignment);
    let (to, out_offset) = Binding::window(target, caps.alignment);
    let quads = width.is_multiple_of(4) && out_offset.is_multiple_of(4);
    let workgroup = caps.workgroup_up_to(256);
    let lanes = (width.div_ceil(4).next_power_of_two() as u32).min(32).min(workgroup);
    let key = MERGE_KEY
        | (target.dtype() as u64) << 24
        | u64::from(quads) << 20
        | u64::from(lanes.ilog2()) << 10
        | u64::from(workgroup.ilog2());
    let pipeline = context.pipeline(key, || merge_spec(target.dtype(), quads, workgroup, lanes))?;
    let params =
        MergeParams { partial_offset, out_offset, rows: rows as u32, splits: splits as u32, width: width as u32 };
    context.record(&Dispatch {
        label: MERGE_LABEL,
        pipeline: &pipeline,
        bindings: &[Some(from), Some(to)],
        params: bytemuck::bytes_of(&params),
        groups: rows as u32,
        bytes: partial.stored_bytes() + target.stored_bytes(),
        steps: 0,
    })
}

const MERGE_LABEL: &str = "attention: merging parts";

fn merge_spec(out: DType, quads: bool, workgroup: u32, lanes: u32) -> Spec {
    Spec {
        label: MERGE_LABEL.into(),
        source: include_str!("../../../shaders/attention_merge.wgsl"),
        slots: vec![
            ("OUT", Slot::module(dtype_module(out))),
            ("OUT_ACCESS", Slot::module(vector_store_module(quads, out.size()))),
        ],
        constants: vec![("WORKGROUP", f64::from(workgroup)), ("LANES", f64::from(lanes))],
        inputs: vec![true],
        params: MergeParams::LAYOUT,
    }
}

/// Distinguishes these pipelines from those of other shaders.
const KEY: u64 = 21 << 56;
const MERGE_KEY: u64 = 22 << 56;

/// Which kernel, and in which shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// An index of [`BLOCKS`].
    Blocks(usize),
    Matrices {
        subgroups: u32,
        keys: u32,
    },
    Decoding {
        lanes: u32,
        workgroup: u32,
        /// How many rows are taken together.
        rows: u32,
        /// Whether teams lie in subgroups.
        subgroups: bool,
    },
}

/// The rectangle of invocations that has a block of queries and keys, and what each of them has.
struct Blocks {
    across: u32,
    down: u32,
    rows: u32,
    keys: u32,
    /// Groups of four columns of the result.
    quads: u32,
    /// A block's probabilities go through workgroup memory in so many parts.
    parts: u32,
    /// How many values are loaded at a time.
    values: u32,
}

/// From rich devices to poor ones.
const BLOCKS: [Blocks; 6] = [
    Blocks { across: 16, down: 16, rows: 8, keys: 8, quads: 2, parts: 4, values: 16 },
    Blocks { across: 16, down: 16, rows: 8, keys: 8, quads: 1, parts: 4, values: 16 },
    Blocks { across: 16, down: 8, rows: 8, keys: 4, quads: 2, parts: 1, values: 16 },
    Blocks { across: 16, down: 8, rows: 8, keys: 4, quads: 1, parts: 1, values: 16 },
    Blocks { across: 8, down: 8, rows: 4, keys: 4, quads: 2, parts: 1, values: 16 },
    Blocks { across: 4, down: 4, rows: 4, keys: 4, quads: 2, parts: 1, values: 4 },
];
/// Groups of four columns of queries and keys that are loaded at a time.
const STEP_QUADS: u32 = 4;

impl Blocks {
    const fn workgroup(&self) -> u32 {
        self.across * self.down
    }

    const fn block_rows(&self) -> u32 {
        self.down * self.rows
    }

    const fn block_keys(&self) -> u32 {
        self.across * self.keys
    }

    const fn slice_quads(&self) -> u32 {
        self.across * self.quads
    }

    const fn probabilities(&self) -> u32 {
        self.block_rows() * (self.block_keys() / self.parts / 4 + 1)
    }

    fn stage(&self) -> u32 {
        ((self.block_rows() + self.block_keys()) * STEP_QUADS)
            .max(self.values * self.slice_quads())
            .max(self.block_rows() * self.across / 4)
    }

    fn fits(&self, caps: &Caps) -> bool {
        let bytes = (self.probabilities() + self.stage()) * 16 + self.block_rows() * 8;
        self.workgroup() <= caps.workgroup && bytes <= caps.shared
    }
}

/// With several rows decoded together, registers are better spent on keys than on queries.
const fn queries_are_shared(rows: u32) -> bool {
    rows > 2
}

/// Columns of values that a workgroup with cooperative matrices computes at most, in matrices of 16.
const MOST_MATRICES: usize = 8;

/// Vectors of four in workgroup memory, where matrices are multiplied: of keys and values, of scores, of probabilities.
fn matrices_memory([d, dv]: [usize; 2], subgroups: u32, keys: u32) -> [u32; 3] {
    let quads = d / 4 + dv.div_ceil(16).min(MOST_MATRICES) * 4;
    [keys * (quads as u32 + 4), 16 * (keys / 4 + 1).max(5) * subgroups, 16 * (keys / 4 + 2) * subgroups]
}

impl Way {
    fn of(piece: &Piece<'_>, caps: &Caps) -> Result<Self> {
        let (d, dv) = (piece.q.shape()[3], piece.v.shape()[3]);
        let rows = piece.queries() * piece.group();
        if rows <= FEW
            && let Some(way) = Self::decoding(piece, rows, caps)
        {
            return Ok(way);
        }
        let halves = [&piece.q, &piece.k, &piece.v].iter().all(|tensor| tensor.dtype() == DType::Float16);
        if caps.cooperative
            && caps.subgroup_size == (32, 32)
            && halves
            && d % 16 == 0
            && dv % 16 == 0
            && d > 0
            && d <= 256
        {
            for (subgroups, keys) in [(8, 32), (8, 16), (4, 16)] {
                let [tiles, scores, probabilities] = matrices_memory([d, dv], subgroups, keys);
                if subgroups * 32 <= caps.workgroup && tiles * 8 + scores * 16 + probabilities * 8 <= caps.shared {
                    return Ok(Self::Matrices { subgroups, keys });
                }
            }
        }
        // Narrow values leave a block of its usual width half empty, and few queries one of its usual height.
        let (narrow, few) = (dv <= 64, piece.queries() <= 32);
        BLOCKS
            .iter()
            .position(|blocks| {
                let suits = if few {
                    blocks.block_rows() <= 32
                } else {
                    (blocks.quads == 1) == (narrow && blocks.across == 16)
                };
                suits && blocks.fits(caps)
            })
            .map(Self::Blocks)
            .ok_or_else(|| Error::Device(format!("{NAME}: workgroups of this device are too small")))
    }

    /// The way to decode, unless rows are too wide for it.
    fn decoding(piece: &Piece<'_>, rows: usize, caps: &Caps) -> Option<Self> {
        let quads = piece.q.shape()[3].max(piece.v.shape()[3]).div_ceil(4) as u32;
        let wanted = quads.div_ceil(4).next_power_of_two().max(8);
        let wanted = if rows > 1 && piece.k.dtype() == DType::Float32 { wanted.max(16) } else { wanted };
        let subgroups = caps.subgroups && wanted <= caps.subgroup_size.0.max(1);
        let most = caps.workgroup_up_to(if rows > 1 { 64 } else { 128 });
        // Wider rows take more registers than there are.
        if wanted > 32 || wanted > most {
            return None;
        }
        let workgroup = most.max(wanted);
        let per_lane = quads.div_ceil(wanted);
        let bytes = |rows: u32| {
            // The sums of all teams and their account, what is reduced, and the queries.
            let queries = if queries_are_shared(rows) { rows * per_lane * wanted } else { 1 };
            16 * (rows * per_lane * workgroup + workgroup + queries) + 8 * rows * (workgroup / wanted)
        };
        let mut together = (rows.next_power_of_two() as u32).min(8);
        while bytes(together) > caps.shared {
            if together == 1 {
                return None;
            }
            together /= 2;
        }
        Some(Self::Decoding { lanes: wanted, workgroup, rows: together, subgroups })
    }

    /// How many workgroups there are for a piece whose keys are split.
    fn groups(self, piece: &Piece<'_>, splits: usize) -> usize {
        let dv = piece.v.shape()[3];
        let key_heads = piece.batch() * piece.k.shape()[1];
        let rows = piece.queries() * piece.group();
        match self {
            Self::Blocks(index) => {
                let blocks = &BLOCKS[index];
                let slices = dv.div_ceil(4 * blocks.slice_quads() as usize);
                piece.queries().div_ceil(blocks.block_rows() as usize) * slices * splits * piece.batch() * piece.heads()
            }
            Self::Matrices { subgroups, .. } => {
                rows.div_ceil(16 * subgroups as usize) * dv.div_ceil(16 * MOST_MATRICES) * splits * key_heads
            }
            Self::Decoding { rows: together, .. } => rows.div_ceil(together as usize) * splits * key_heads,
        }
    }

    /// How many keys a workgroup walks, with at most so many parts of them.
    fn chunk(self, piece: &Piece<'_>, keys: usize, most: usize) -> usize {
        let groups = self.groups(piece, 1);
        let (busy, least) = match self {
            Self::Decoding { .. } => (BUSY_DECODING, LEAST_CHUNK),
            _ => (BUSY, 4 * BLOCK),
        };
        let splits = busy.div_ceil(groups).min(keys / least).min(most).max(1);
        keys.div_ceil(splits).next_multiple_of(BLOCK)
    }

    fn key(self) -> u64 {
        let log = |number: u32| u64::from(number.ilog2());
        match self {
            Self::Blocks(index) => index as u64,
            Self::Matrices { subgroups, keys } => 1 << 14 | log(subgroups) << 4 | log(keys),
            Self::Decoding { lanes, workgroup, rows, subgroups } => {
                2 << 14 | log(lanes) << 10 | log(workgroup) << 6 | log(rows) << 1 | u64::from(subgroups)
            }
        }
    }
}

/// What distinguishes the pipelines of this operation.
struct Variant {
    way: Way,
    /// Of q, k and v, and whether four neighbours are one load.
    dtypes: [DType; 3],
    quads: [bool; 3],
    mask: Option<DType>,
    out: DType,
    out_quads: bool,
    softcap: bool,
    /// Whether every batch has its own number of keys.
    lengths: bool,
    /// Whether sums over a part of the keys are written.
    partial: bool,
    /// Elements along the last axes of queries and keys, and of values.
    widths: [usize; 2],
}

impl Variant {
    /// What of the widths the kernel is made for.
    fn shape(&self) -> (u64, bool) {
        let [d, dv] = self.widths;
        match self.way {
            Way::Blocks(index) => {
                let blocks = &BLOCKS[index];
                let whole = d % (4 * STEP_QUADS as usize) == 0 && dv % (4 * blocks.slice_quads() as usize) == 0;
                (0, whole)
            }
            Way::Matrices { .. } => ((d / 16) as u64 * 16 + dv.div_ceil(16).min(MOST_MATRICES) as u64, true),
            Way::Decoding { lanes, .. } => {
                let quads = [d, dv].map(|width| width.div_ceil(4 * lanes as usize).max(1));
                (quads[0] as u64 * 16 + quads[1] as u64, quads.map(|quads| quads * 4 * lanes as usize) == [d, dv])
            }
        }
    }

    fn key(&self) -> u64 {
        let (shape, whole) = self.shape();
        let mask = self.mask.map_or(15, |dtype| dtype as u64);
        let bits = [
            self.quads[0],
            self.quads[1],
            self.quads[2],
            self.out_quads,
            self.softcap,
            self.lengths,
            self.partial,
            whole,
        ];
        let bits = bits.iter().fold(0, |key, &bit| key << 1 | u64::from(bit));
        let dtypes = self.dtypes.iter().fold(self.out as u64, |key, &dtype| key << 3 | dtype as u64);
        KEY | (((shape << 16 | self.way.key()) << 4 | mask) << 12 | dtypes) << 8 | bits
    }

    fn spec(&self) -> Spec {
        let number = f64::from;
        let flag = |value: bool| f64::from(u8::from(value));
        let (shape, whole) = self.shape();
        let mask = match self.mask {
            None => ("mask/none", DType::Float32),
            Some(DType::Bool) => ("mask/boolean", DType::Bool),
            Some(dtype) => ("mask/added", dtype),
        };
        let mut slots = vec![
            ("LENGTHS", Slot::module(if self.lengths { "attention/lengths" } else { "attention/one_length" })),
            ("MASK", Slot::module(mask.0)),
            ("MASK_DTYPE", Slot::module(dtype_module(mask.1))),
            ("OUT", Slot::module(dtype_module(self.out))),
            ("OUT_ACCESS", Slot::module(vector_store_module(self.out_quads, self.out.size()))),
        ];
        let names = [("Q", "Q_ACCESS", "Q_FETCH"), ("K", "K_ACCESS", "K_FETCH"), ("V", "V_ACCESS", "V_FETCH")];
        for (i, (name, access, fetch)) in names.into_iter().enumerate() {
            let quads = self.quads[i];
            slots.push((name, Slot::module(dtype_module(self.dtypes[i]))));
            slots.push((access, Slot::module(if quads { "access/vector_quads" } else { "access/vector_elements" })));
            slots.push((fetch, Slot::module(if quads { "attention/fetch_quads" } else { "attention/fetch_elements" })));
        }
        let mut counts = |names: &[(&'static str, u32)]| {
            slots.extend(names.iter().map(|&(name, count)| (name, Slot::Text(count.to_string()))));
        };
        let mut constants = vec![("SOFTCAP", flag(self.softcap)), ("PARTIAL", flag(self.partial))];
        let source = match self.way {
            Way::Blocks(index) => {
                let blocks = &BLOCKS[index];
                let workgroup = blocks.workgroup();
                counts(&[
                    ("ROWS", blocks.rows),
                    ("KEYS", blocks.keys),
                    ("QUADS", blocks.quads),
                    ("PARTS", blocks.parts),
                    ("Q_LOADS", blocks.block_rows() * STEP_QUADS / workgroup),
                    ("K_LOADS", blocks.block_keys() * STEP_QUADS / workgroup),
                    ("V_LOADS", blocks.values * blocks.slice_quads() / workgroup),
                ]);
                constants.extend([
                    ("WORKGROUP", number(workgroup)),
                    ("ACROSS", number(blocks.across)),
                    ("DOWN", number(blocks.down)),
                    ("INTERLEAVED", flag(blocks.across.is_multiple_of(8) && blocks.down.is_multiple_of(4))),
                    ("BLOCK_ROWS", number(blocks.block_rows())),
                    ("BLOCK_KEYS", number(blocks.block_keys())),
                    ("PART", number(blocks.block_keys() / blocks.parts)),
                    ("SLICE_QUADS", number(blocks.slice_quads())),
                    ("STEP_QUADS", number(STEP_QUADS)),
                    ("STEP_VALUES", number(blocks.values)),
                    ("PROBABILITIES", number(blocks.probabilities())),
                    ("STAGE", number(blocks.stage())),
                    ("WHOLE", flag(whole)),
                ]);
                include_str!("../../../shaders/attention.wgsl")
            }
            Way::Matrices { subgroups, keys } => {
                let [d, dv] = self.widths;
                let (k_quads, v_blocks) = ((d / 4) as u32, dv.div_ceil(16).min(MOST_MATRICES) as u32);
                let workgroup = subgroups * 32;
                let [tiles, scores, probabilities] = matrices_memory(self.widths, subgroups, keys);
                counts(&[
                    ("KEY_BLOCKS", keys / 16),
                    ("K_BLOCKS", k_quads / 4),
                    ("V_BLOCKS", v_blocks),
                    ("LANE_QUADS", keys / 8),
                    ("K_LOADS", (keys * k_quads).div_ceil(workgroup)),
                    ("V_LOADS", (keys * v_blocks * 4).div_ceil(workgroup)),
                ]);
                constants.extend([
                    ("WORKGROUP", number(workgroup)),
                    ("BLOCK_ROWS", number(subgroups * 16)),
                    ("KEYS", number(keys)),
                    ("K_QUADS", number(k_quads)),
                    ("V_QUADS", number(v_blocks * 4)),
                    ("TILES", number(tiles)),
                    ("SCORES", number(scores)),
                    ("PROBABILITIES", number(probabilities)),
                ]);
                include_str!("../../../shaders/attention_cooperative.wgsl")
            }
            Way::Decoding { lanes, workgroup, rows, subgroups } => {
                let (k_quads, v_quads) = ((shape / 16) as u32, (shape % 16) as u32);
                let (teams, shared) = (workgroup / lanes, queries_are_shared(rows));
                counts(&[("ROWS", rows), ("STEPS", STEPS), ("K_QUADS", k_quads), ("V_QUADS", v_quads)]);
                slots.push((
                    "STEP_TYPES",
                    Slot::Text(format!("alias Accumulator = vec{STEPS}<f32>;\nalias Keys = vec{STEPS}<i32>;")),
                ));
                slots.push(("REDUCE", Slot::module(if subgroups { "reduce/subgroups" } else { "reduce/shared" })));
                constants.extend([
                    ("WORKGROUP", number(workgroup)),
                    ("BLOCK_ROWS", number(rows)),
                    ("WHOLE", flag(whole)),
                    ("SUBGROUPS", flag(subgroups)),
                    ("TEAM_STATS", number(teams * rows)),
                    ("ROW_LANES", number(lanes)),
                    ("ROWS", number(teams)),
                    ("GATHERED", number(if subgroups { 1 } else { workgroup })),
                    ("STEPS", number(STEPS)),
                    ("Q_SHARED", flag(shared)),
                    ("K_QUADS", number(k_quads)),
                    ("V_QUADS", number(v_quads)),
                    ("TEAM_SUMS", number(rows * v_quads * workgroup)),
                    ("Q_ROWS", number(if shared { rows * k_quads * lanes } else { 1 })),
                ]);
                include_str!("../../../shaders/attention_decode.wgsl")
            }
        };
        let inputs = vec![true, true, true, self.mask.is_some(), self.lengths];
        Spec { label: NAME.into(), source, slots, constants, inputs, params: Params::LAYOUT }
    }
}

/// How many keys a team reads at once.
const STEPS: u32 = 4;

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    use DType::{BFloat16, Bool, Float16, Float32};
    let mut specs = vec![merge_spec(Float32, true, 256, 32), merge_spec(BFloat16, false, 16, 1)];
    let decoding = [(8, 128, 1, true), (16, 64, 4, true), (8, 16, 2, false)]
        .map(|(lanes, workgroup, rows, subgroups)| Way::Decoding { lanes, workgroup, rows, subgroups });
    let ways = (0..BLOCKS.len()).map(Way::Blocks).chain(decoding).chain([Way::Matrices { subgroups: 8, keys: 32 }]);
    for way in ways {
        let matrices = matches!(way, Way::Matrices { .. });
        let all_dtypes: &[[DType; 3]] =
            if matrices { &[[Float16; 3]] } else { &[[Float32; 3], [Float16; 3], [Float32, BFloat16, Float16]] };
        for &dtypes in all_dtypes {
            for mask in [None, Some(Bool), Some(Float16)] {
                for bits in 0..4 {
                    let [quads, partial] = [1, 2].map(|bit| bits & bit != 0);
                    specs.push(
                        Variant {
                            way,
                            dtypes,
                            quads: [quads; 3],
                            mask,
                            out: if partial { Float32 } else { dtypes[0] },
                            out_quads: quads || partial,
                            softcap: quads,
                            lengths: !quads,
                            partial,
                            widths: if matrices { [64, 128] } else { [128, 96] },
                        }
                        .spec(),
                    );
                }
            }
        }
    }
    specs
}
