//! Rows by shaders: what reductions, softmax and norms share on GPUs, and reductions by formulas everywhere.
//!
//! An operand is seen as rows: the axes that stay come first, the axis that is reduced last. Rows are handled in one of
//! two ways. Those that the registers of a workgroup hold are loaded once, reduced, mapped and stored ([`Map`]). Others
//! are reduced first, by as many workgroups as keep the GPU busy, each writing what it gathered ([`Reducer`]); that is
//! combined in further launches, and mapped in a last one.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::elementwise::dtype_module;
use super::parts::{Window, halved, window};
use super::shaders::{Runner, Work};
use super::{assign, contiguous};
use crate::device::caps::Caps;
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::align_up;
use crate::gpu::pipeline::{Spec, lengths_param, shader_params, strides_param};
use crate::gpu::stream::Binding;
use crate::gpu::wgsl::Slot;
use crate::shape::{Layout, Shape, Strides, merge_axes};
use crate::tensor::Tensor;

shader_params! {
    /// The parameters of every kernel here.
    struct Params {
        shape: [u32; 4],
        x_strides: [u32; 4],
        out_strides: [u32; 4],
        affine_strides: [u32; 4],
        x_offset: u32,
        out_offset: u32,
        weight_offset: u32,
        bias_offset: u32,
        x_stride: u32,
        out_stride: u32,
        length: u32,
        count: u32,
        splits: u32,
        chunk: u32,
        begin: u32,
        repeat: u32,
        divisor: f32,
        eps: f32,
        unused: [u32; 2],
    }
}

/// The most axes before the row that the shaders count through.
pub(super) const AXES: usize = 4;

/// x, the result and the weights as rows.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// The axes before the row.
    pub(super) shape: Shape,
    /// How many of them, the first ones, are reduced too.
    pub(super) folded: usize,
    /// The strides along them of x, the result and the weights, in elements.
    pub(super) strides: [Strides; 3],
    /// Where they begin.
    offsets: [isize; 3],
    /// A row's elements, and the steps between them in x and in the result.
    pub(super) length: usize,
    pub(super) steps: [isize; 2],
    /// Where in the whole row these elements begin.
    begin: usize,
    /// How many neighbouring elements share a weight.
    repeat: usize,
}

/// What a reduction gathers, and what it makes of it.
pub(super) struct Reducer {
    pub(super) label: Cow<'static, str>,
    /// Distinguishes it among all of them, in 32 bits.
    pub(super) index: u64,
    /// The module that gathers.
    pub(super) module: &'static str,
    /// The types, constants and functions that the module and the result need.
    pub(super) text: String,
    /// Functions of a user's that they call.
    pub(super) users: Option<Arc<str>>,
    /// Bytes of what a row gathers.
    pub(super) bytes: usize,
    /// What sums are divided by for means.
    pub(super) divisor: f32,
}

/// Where a reduction's outcome goes.
#[derive(Clone, Copy)]
pub(super) enum Goal<'a> {
    /// The results, each at its place in a tensor.
    Results(&'a Tensor),
    /// What was gathered, one row after another.
    Gathered(&'a Tensor),
}

/// How the shader reaches the elements of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Four at a time, and rows are whole groups of four.
    Whole,
    /// Four at a time, as memory lies.
    Quads,
    /// One by one.
    Elements,
}

/// How the shader reaches the weights of four neighbouring elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    Elements,
    Quads,
    /// One for all four.
    Shared,
}

/// How a workgroup is shared out among rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lanes {
    workgroup: u32,
    per_row: u32,
    rows_fastest: bool,
    subgroups: bool,
}

impl Lanes {
    /// All of a workgroup for one row.
    pub(super) const fn all(workgroup: u32, subgroups: bool) -> Self {
        Self { workgroup, per_row: workgroup, rows_fastest: false, subgroups }
    }

    pub(super) const fn rows(self) -> usize {
        (self.workgroup / self.per_row) as usize
    }

    pub(super) const fn workgroup(self) -> u32 {
        self.workgroup
    }

    /// How many invocations a row has.
    pub(super) const fn per_row(self) -> usize {
        self.per_row as usize
    }

    /// For rows whose elements lie side by side: about `wanted` lanes each, at most `most`.
    pub(super) fn along(caps: &Caps, wanted: usize, most: u32) -> Self {
        let usual = caps.workgroup_up_to(256);
        let wanted = (wanted.next_power_of_two() as u32).min(caps.workgroup_up_to(most));
        let smallest = 1 << caps.subgroup_size.0.max(1).ilog2();
        // Part of a subgroup, or the whole workgroup.
        let workgroup = if wanted > usual || (caps.subgroups && wanted > smallest) { wanted } else { usual };
        Self { workgroup, per_row: wanted, rows_fastest: false, subgroups: caps.subgroups }
    }

    /// For `count` rows that lie side by side themselves: at least `least` of them, where there are so many, with about
    /// `wanted` lanes each.
    fn across(caps: &Caps, count: usize, least: usize, wanted: usize, most: u32) -> Self {
        let workgroup = caps.workgroup_up_to(most);
        let power = |value: usize| value.next_power_of_two().min(workgroup as usize) as u32;
        let per_row = power(wanted).min(workgroup / power(least));
        let rows = power(count).min(workgroup / per_row);
        Self { workgroup: rows * per_row, per_row, rows_fastest: true, subgroups: false }
    }

    /// How many values workgroup memory holds on the way to a total: one for each subgroup, none of which is smaller
    /// than four, or one for each lane.
    const fn gathered(self) -> u32 {
        match (self.subgroups, self.per_row == self.workgroup) {
            (true, true) => self.workgroup.div_ceil(4),
            (true, false) => 1,
            (false, _) => self.workgroup,
        }
    }

    pub(super) fn constants(self) -> Vec<(&'static str, f64)> {
        vec![
            ("WORKGROUP", f64::from(self.workgroup)),
            ("ROW_LANES", f64::from(self.per_row)),
            ("ROWS", self.rows() as f64),
            ("GATHERED", f64::from(self.gathered())),
            ("ROWS_FASTEST", f64::from(u8::from(self.rows_fastest))),
        ]
    }

    pub(super) fn module(self) -> Slot {
        Slot::module(if self.subgroups { "reduce/subgroups" } else { "reduce/shared" })
    }

    pub(super) fn key(self) -> [(u64, u32); 4] {
        [
            (u64::from(self.workgroup.ilog2()), 4),
            (u64::from(self.per_row.ilog2()), 4),
            (u64::from(self.rows_fastest), 1),
            (u64::from(self.subgroups), 1),
        ]
    }
}

/// The number under which a pipeline is kept: fields of so many bits behind one another.
fn key(kind: u64, fields: &[(u64, u32)]) -> u64 {
    let packed = fields.iter().fold(0, |key, &(value, bits)| (key << bits) | value);
    debug_assert!(fields.iter().map(|field| field.1).sum::<u32>() <= 56);
    kind | packed
}

const REDUCE_KEY: u64 = 4 << 56;
const COMBINE_KEY: u64 = 5 << 56;
const WHOLE_KEY: u64 = 6 << 56;
const APPLY_KEY: u64 = 7 << 56;

/// Every block of at most `part` of the axes of `shape`: where it begins, and its lengths.
fn blocks(shape: &[usize], part: &[usize]) -> Vec<(Shape, Shape)> {
    let mut all: Vec<(Shape, Shape)> = vec![(Shape::new(), Shape::new())];
    for (&length, &step) in shape.iter().zip(part) {
        all = all
            .into_iter()
            .flat_map(|(start, lengths)| {
                (0..length).step_by(step).map(move |at| {
                    let (mut start, mut lengths) = (start.clone(), lengths.clone());
                    start.push(at);
                    lengths.push(step.min(length - at));
                    (start, lengths)
                })
            })
            .collect();
    }
    all
}

impl Rows {
    /// The last `axes` axes of x as rows, for a result of the same shape. `affine` has the strides of the weights along
    /// the axes of x, and `repeat` neighbours share one. None if a row does not merge into one axis, or the axes before
    /// it not into few enough.
    fn last(x: &Layout, out: &Layout, affine: &[isize], repeat: usize, axes: usize) -> Option<Self> {
        let outer = x.ndim() - axes;
        let (row, [x_row, out_row]) = merge_axes(&x.shape[outer..], &[&x.strides[outer..], &out.strides[outer..]]);
        let (&[length], &[x_step], &[out_step]) = (&row[..], &x_row[..], &out_row[..]) else { return None };
        let mut order: SmallVec<[usize; 6]> = (0..outer).collect();
        order.sort_by_key(|&axis| std::cmp::Reverse(x.strides[axis].unsigned_abs()));
        let pick = |strides: &[isize]| order.iter().map(|&axis| strides[axis]).collect::<Strides>();
        let shape: Shape = order.iter().map(|&axis| x.shape[axis]).collect();
        let (shape, strides) = merge_axes(&shape, &[&pick(&x.strides), &pick(&out.strides), &pick(affine)]);
        let rows = Self::new(shape, 0, strides, [x.offset, out.offset], length, [x_step, out_step]);
        (rows.shape.len() <= AXES).then_some(Self { repeat, ..rows })
    }

    pub(super) fn new(
        shape: Shape,
        folded: usize,
        strides: [Strides; 3],
        [x, out]: [isize; 2],
        length: usize,
        steps: [isize; 2],
    ) -> Self {
        // A row of one element is a group of four that reaches out of its row.
        let steps = if length == 1 { [1; 2] } else { steps };
        Self { shape, folded, strides, offsets: [x, out, 0], length, steps, begin: 0, repeat: 1 }
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// A part of these rows: a block of the axes before them, and `length` elements from `from` on.
    fn block(&self, start: &[usize], lengths: &[usize], from: usize, length: usize) -> Self {
        let offset = |operand: usize| {
            let before: isize =
                start.iter().zip(&self.strides[operand]).map(|(&at, stride)| at as isize * stride).sum();
            self.offsets[operand] + before
        };
        let along = |operand: usize| offset(operand) + from as isize * self.steps[operand];
        Self {
            shape: lengths.into(),
            offsets: [along(0), along(1), offset(2)],
            length,
            begin: self.begin + from,
            ..self.clone()
        }
    }

    /// How operand `i` can be reached.
    fn access(&self, i: usize) -> Access {
        let whole = |value: isize| value % 4 == 0;
        if self.steps[i] != 1 {
            Access::Elements
        } else if whole(self.offsets[i])
            && whole(self.length as isize)
            && self.shape.iter().zip(&self.strides[i]).all(|(&length, &stride)| length == 1 || whole(stride))
        {
            Access::Whole
        } else {
            Access::Quads
        }
    }

    /// How both x and the result can be reached: in groups only if those of each row lie alike in both.
    fn common_access(&self) -> Access {
        let alike = |a: isize, b: isize| (a - b) % 4 == 0;
        let [x, out] = [&self.strides[0], &self.strides[1]];
        match (self.access(0), self.access(1)) {
            (Access::Whole, Access::Whole) => Access::Whole,
            (Access::Elements, _) | (_, Access::Elements) => Access::Elements,
            _ if alike(self.offsets[0], self.offsets[1])
                && (0..self.shape.len()).all(|axis| self.shape[axis] == 1 || alike(x[axis], out[axis])) =>
            {
                Access::Quads
            }
            _ => Access::Elements,
        }
    }

    /// How many rows lie side by side, where the elements of each do not.
    fn neighbours(&self) -> Option<usize> {
        let (&stride, &length) = (self.strides[0].last()?, self.shape.last()?);
        (self.steps[0] != 1 && stride.unsigned_abs() == 1 && length > 1).then_some(length)
    }

    /// Bytes that a block of operand `i` spans.
    fn span(&self, i: usize, part: &[usize], length: usize, size: usize) -> usize {
        let reach = |(&length, stride): (&usize, &isize)| (length - 1) * stride.unsigned_abs();
        let outer: usize = part.iter().zip(&self.strides[i]).map(reach).sum();
        (outer + self.row_reach(i, length) + 8) * size
    }

    /// How far `length` elements of a row of operand `i` reach.
    fn row_reach(&self, i: usize, length: usize) -> usize {
        if i == 2 { length / self.repeat } else { (length - 1) * self.steps[i].unsigned_abs() }
    }

    /// The largest part whose operands can be bound: lengths of the axes before the row, and of the row. The axes that
    /// reach farthest are cut first.
    fn fit(&self, caps: &Caps, sizes: [usize; 3], bytes: usize) -> (Shape, usize) {
        // Windows begin at aligned places, so leave room for one step.
        let room = (caps.binding - u64::from(caps.alignment) - 16) as usize;
        let (mut part, mut length) = (self.shape.clone(), self.length);
        loop {
            let large = |i: usize| sizes[i] > 0 && self.span(i, &part, length, sizes[i]) > room;
            let Some(i) = (0..3).find(|&i| large(i)) else { break };
            let reach = |axis: usize| (part[axis] - 1) * self.strides[i][axis].unsigned_abs();
            let axis = (0..part.len()).max_by_key(|&axis| reach(axis)).expect("there is an axis");
            if reach(axis) >= self.row_reach(i, length) {
                part[axis] = halved(part[axis]);
            } else {
                length = halved(length);
            }
        }
        // What is gathered is bound together. Flat indices must stay inside 32 bits, too.
        let parts = |part: &[usize], length: usize| {
            let folded: usize = self.shape[..self.folded].iter().product();
            folded * self.length.div_ceil(length) * part[self.folded..].iter().product::<usize>()
        };
        while parts(&part, length) * bytes > room || part.iter().product::<usize>() * length.div_ceil(4) > 1 << 30 {
            let Some(axis) = (self.folded..part.len()).max_by_key(|&axis| part[axis]).filter(|&axis| part[axis] > 1)
            else {
                break;
            };
            part[axis] = halved(part[axis]);
        }
        (part, length)
    }

    /// Whether partial results of all that is reduced can be bound together.
    pub(super) fn has_room(&self, caps: &Caps, size: usize, bytes: usize) -> bool {
        let folded: usize = self.shape[..self.folded].iter().product();
        let columns = self.length * self.steps[0].unsigned_abs() * size * 4 / caps.binding as usize + 1;
        self.folded == 0 || folded * columns * bytes * 2 < caps.binding as usize
    }

    fn window<'a>(&self, tensor: &'a Tensor, i: usize, caps: &Caps) -> Window<'a> {
        let mut lengths = self.shape.clone();
        let mut strides = self.strides[i].clone();
        lengths.push(self.length);
        strides.push(self.steps[i]);
        window(tensor, self.offsets[i], &lengths, &strides, caps.alignment)
    }

    /// What every launch over these rows says of them.
    fn params(&self) -> Params {
        Params {
            shape: lengths_param(&self.shape),
            x_strides: strides_param(&self.strides[0]),
            out_strides: strides_param(&self.strides[1]),
            affine_strides: strides_param(&self.strides[2]),
            x_stride: self.steps[0] as u32,
            out_stride: self.steps[1] as u32,
            length: self.length as u32,
            count: self.count() as u32,
            begin: self.begin as u32,
            splits: 1,
            repeat: self.repeat as u32,
            ..bytemuck::Zeroable::zeroed()
        }
    }
}

/// Groups of four in a row, wherever it begins.
fn quads(length: usize, access: Access) -> usize {
    match access {
        Access::Quads => (length + 6) / 4,
        Access::Whole | Access::Elements => length.div_ceil(4),
    }
}

/// The most elements that one invocation adds up: longer sums are split, so that roundings do not build up.
const MOST_A_LANE: usize = 4096;
/// The most workgroup's worth of partial results that an invocation combines.
const MOST_PARTIALS: usize = 16;
/// So many workgroups keep any GPU busy.
const BUSY: usize = 1024;

/// How a launch over rows is divided.
struct Division {
    lanes: Lanes,
    splits: usize,
    chunk: usize,
    groups: usize,
}

impl Division {
    /// Of rows too long for registers, or of reductions. `most` splits have room.
    fn of(caps: &Caps, rows: &Rows, access: Access, most: usize) -> Self {
        let quads = quads(rows.length, access);
        let lanes = match rows.neighbours() {
            Some(neighbours) => Lanes::across(caps, rows.count(), neighbours.min(32), quads.div_ceil(4), 256),
            None => Lanes::along(caps, quads.div_ceil(4).max(quads.min(8)), 256),
        };
        let row_groups = rows.count().div_ceil(lanes.rows());
        // A lane has 16 elements under way at once.
        let useful = quads.div_ceil(lanes.per_row as usize * 8);
        let needed = rows.length.div_ceil(lanes.per_row as usize * MOST_A_LANE);
        let splits = BUSY.div_ceil(row_groups).min(useful).max(needed).min(most).max(1);
        let chunk = quads.div_ceil(splits) * 4;
        let splits = (quads * 4).div_ceil(chunk);
        Self { lanes, splits, chunk, groups: row_groups * splits }
    }
}

impl Reducer {
    /// Reduces rows of x to elements of `out`.
    pub(super) fn run(&self, x: &Tensor, rows: &Rows, out: &Tensor) -> Result<()> {
        let runner = Runner::of(x);
        let (part, length) = rows.fit(runner.caps(), [x.dtype().size(), out.dtype().size(), 0], self.bytes);
        let kept = &rows.shape[rows.folded..];
        for (start, lengths) in blocks(kept, &part[rows.folded..]) {
            let whole: Shape = rows.shape[..rows.folded].iter().chain(&lengths).copied().collect();
            let begin: Shape = std::iter::repeat_n(0, rows.folded).chain(start.iter().copied()).collect();
            let block = rows.block(&begin, &whole, 0, rows.length);
            self.run_block(&runner, x, &block, &part[..rows.folded], length, Goal::Results(out))?;
        }
        Ok(())
    }

    /// Reduces a block of rows, in parts of `folded` of the axes that are reduced too, and of `length` elements.
    fn run_block(
        &self,
        runner: &Runner,
        x: &Tensor,
        rows: &Rows,
        folded: &[usize],
        length: usize,
        goal: Goal<'_>,
    ) -> Result<()> {
        let caps = runner.caps();
        let kept: usize = rows.shape[rows.folded..].iter().product();
        let fold_blocks = blocks(&rows.shape[..rows.folded], folded);
        let whole_fold: usize = rows.shape[..rows.folded].iter().product();
        let columns = rows.length.div_ceil(length);
        let room = (caps.binding - u64::from(caps.alignment) - 16) as usize;
        let most_splits = room / self.bytes / (kept * whole_fold * columns);
        let mut launches = Vec::new();
        let mut parts = 0;
        for (start, lengths) in fold_blocks {
            let start: Shape = start.iter().copied().chain(rows.shape[rows.folded..].iter().map(|_| 0)).collect();
            let shape: Shape = lengths.iter().chain(&rows.shape[rows.folded..]).copied().collect();
            for from in (0..rows.length).step_by(length) {
                let piece = rows.block(&start, &shape, from, length.min(rows.length - from));
                let division = Division::of(caps, &piece, piece.access(0), most_splits);
                let first = parts;
                parts += division.splits * lengths.iter().product::<usize>();
                launches.push((piece, division, first));
            }
        }
        if parts == 1 {
            let (piece, division, _) = &launches[0];
            return self.dispatch(runner, x, piece, division, goal, 0);
        }
        let partial = self.scratch(x, parts * kept)?;
        for (piece, division, first) in &launches {
            self.dispatch(runner, x, piece, division, Goal::Gathered(&partial), first * kept)?;
        }
        let mut results = rows.clone();
        results.shape.drain(..rows.folded);
        for strides in &mut results.strides {
            strides.drain(..rows.folded);
        }
        results.folded = 0;
        if results.shape.is_empty() {
            results.shape.push(1);
            for strides in &mut results.strides {
                strides.push(0);
            }
        }
        self.combine(runner, partial, &results, parts, goal)
    }

    /// What a row without elements gives, as the one element of `out`.
    pub(super) fn run_empty(&self, out: &Tensor) -> Result<()> {
        let strides = || SmallVec::from_elem(0, 1);
        let none = Rows::new(SmallVec::from_elem(1, 1), 0, [strides(), strides(), strides()], [0; 2], 1, [1; 2]);
        let gathered = self.scratch(out, 1)?;
        self.combine(&Runner::of(out), gathered, &none, 0, Goal::Results(out))
    }

    /// Memory for what `count` rows gather.
    pub(super) fn scratch(&self, x: &Tensor, count: usize) -> Result<Tensor> {
        Tensor::empty(x.device(), &[count * self.bytes / 4], DType::UInt32, &self.label)
    }

    fn dispatch(
        &self,
        runner: &Runner,
        x: &Tensor,
        rows: &Rows,
        division: &Division,
        goal: Goal<'_>,
        first: usize,
    ) -> Result<()> {
        let access = rows.access(0);
        let variant = ReduceVariant { x: Some((x.dtype(), access)), out: goal.dtype(), lanes: division.lanes };
        let caps = runner.caps();
        let from = rows.window(x, 0, caps);
        let (to, out_offset, written) = target(rows, goal, first, division.splits * self.bytes, caps);
        let params = Params {
            x_offset: from.offset as u32,
            out_offset,
            splits: division.splits as u32,
            chunk: division.chunk as u32,
            divisor: self.divisor,
            ..rows.params()
        };
        let work = Work {
            label: &self.label,
            bindings: &[Some(from.binding), Some(to)],
            params: bytemuck::bytes_of(&params),
            groups: division.groups as u32,
            bytes: from.bytes + written,
            // Nobody knows the arithmetic of formulas.
            steps: if self.users.is_some() { 0 } else { (rows.count() * rows.length) as u64 },
        };
        runner.run(variant.key(self), || variant.spec(self), &work)
    }

    /// Combines `parts` partial results of each row.
    fn combine(
        &self,
        runner: &Runner,
        mut partial: Tensor,
        rows: &Rows,
        mut parts: usize,
        goal: Goal<'_>,
    ) -> Result<()> {
        let (caps, count) = (runner.caps(), rows.count());
        loop {
            let lanes = if count >= 32 {
                Lanes::across(caps, count, 32, parts.div_ceil(MOST_PARTIALS / 2), 256)
            } else {
                Lanes::along(caps, parts, 256)
            };
            let most = lanes.per_row as usize * MOST_PARTIALS;
            let splits = parts.div_ceil(most).max(1);
            let next = if splits > 1 { Some(self.scratch(&partial, splits * count)?) } else { None };
            let goal = next.as_ref().map_or(goal, Goal::Gathered);
            let variant = ReduceVariant { x: None, out: goal.dtype(), lanes };
            let from = whole_binding(&partial);
            let (to, out_offset, written) = target(rows, goal, 0, splits * self.bytes, caps);
            let params = Params {
                out_offset,
                length: parts as u32,
                splits: splits as u32,
                chunk: most as u32,
                divisor: self.divisor,
                ..rows.params()
            };
            let work = Work {
                label: &self.label,
                bindings: &[Some(from), Some(to)],
                params: bytemuck::bytes_of(&params),
                groups: (count.div_ceil(lanes.rows()) * splits) as u32,
                bytes: partial.stored_bytes() + written,
                steps: 0,
            };
            runner.run(variant.key(self), || variant.spec(self), &work)?;
            match next {
                None => return Ok(()),
                Some(next) => (partial, parts) = (next, splits),
            }
        }
    }
}

impl Goal<'_> {
    /// The type of results; none where what was gathered is stored as it is.
    fn dtype(self) -> Option<DType> {
        match self {
            Self::Results(out) => Some(out.dtype()),
            Self::Gathered(_) => None,
        }
    }
}

/// What to bind for the outcome, where in it to begin, and how many bytes are written: `gathered` of each row where
/// the results are not there yet.
fn target<'a>(rows: &Rows, goal: Goal<'a>, first: usize, gathered: usize, caps: &Caps) -> (Binding<'a>, u32, u64) {
    match goal {
        Goal::Results(out) => {
            let row = Rows { length: 1, ..rows.clone() };
            let to = row.window(out, 1, caps);
            (to.binding, to.offset as u32, to.bytes)
        }
        Goal::Gathered(words) => (whole_binding(words), first as u32, (rows.count() * gathered) as u64),
    }
}

fn whole_binding(words: &Tensor) -> Binding<'_> {
    Binding { storage: words.storage(), offset: 0, size: align_up(words.nbytes() as u64, 16) }
}

/// What distinguishes the pipelines of a reduction.
struct ReduceVariant {
    /// None where partial results are combined.
    x: Option<(DType, Access)>,
    out: Option<DType>,
    lanes: Lanes,
}

impl ReduceVariant {
    fn key(&self, reducer: &Reducer) -> u64 {
        let (dtype, access) = self.x.unwrap_or((DType::Float32, Access::Elements));
        let [a, b, c, d] = self.lanes.key();
        let kind = if self.x.is_some() { REDUCE_KEY } else { COMBINE_KEY };
        let out = self.out.map_or(15, |dtype| dtype as u64);
        key(kind, &[(reducer.index, 32), (dtype as u64, 4), (access as u64, 2), (out, 4), a, b, c, d])
    }

    fn spec(&self, reducer: &Reducer) -> Spec {
        let none = || Slot::Text(String::new());
        let mut constants = self.lanes.constants();
        let (x, x_access, row) = match self.x {
            Some((dtype, access)) => {
                constants.extend(access.constants());
                (Slot::module(dtype_module(dtype)), access.load(), "rows/elements")
            }
            None => (none(), none(), "rows/partials"),
        };
        let (out, put, store) = match self.out {
            Some(dtype) => (Slot::module(dtype_module(dtype)), Slot::module(put(dtype)), "rows/store_result"),
            None => (none(), none(), "rows/store_partial"),
        };
        let mut slots = vec![
            ("NUMBERS", Slot::Text(reducer.text.clone())),
            ("X", x),
            ("X_ACCESS", x_access),
            ("OUT", out),
            ("OUT_ACCESS", put),
            ("ACCUMULATE", Slot::module(reducer.module)),
            ("REDUCE", self.lanes.module()),
            ("ROW", Slot::module(row)),
            ("STORE", Slot::module(store)),
        ];
        slots.extend(reducer.users.clone().map(|functions| ("USERS", Slot::Users(functions))));
        Spec {
            label: reducer.label.clone(),
            source: include_str!("../../shaders/reduce.wgsl"),
            slots,
            constants,
            inputs: vec![true],
            params: Params::LAYOUT,
        }
    }
}

impl Access {
    fn load(self) -> Slot {
        Slot::module(if self == Self::Elements { "access/vector_elements" } else { "access/vector_quads" })
    }

    fn constants(self) -> [(&'static str, f64); 2] {
        [("SKIP", if self == Self::Elements { 0.0 } else { 3.0 }), ("WHOLE", f64::from(u8::from(self == Self::Whole)))]
    }
}

/// An operation that maps each row by what reducing it gave.
pub(super) struct Map<'a> {
    pub(super) reducer: Reducer,
    pub(super) source: &'static str,
    /// The modules that the operation's own file needs beside those of all.
    pub(super) slots: Vec<(&'static str, Slot)>,
    pub(super) constants: Vec<(&'static str, f64)>,
    /// The weights and the bias of a row, laid out without gaps, where the operation takes such.
    pub(super) affine: Option<[Option<&'a Tensor>; 2]>,
    /// How many neighbouring elements share a weight.
    pub(super) repeat: usize,
    pub(super) eps: f32,
}

/// Maps the last `axes` axes of x, as rows, to those of `out`. What does not merge into rows is laid out anew before,
/// and where it is the result that does not, afterwards. `affine` has the strides of the weights.
pub(super) fn map_rows(map: &Map<'_>, x: &Tensor, axes: usize, out: &Tensor, affine: &[isize]) -> Result<()> {
    if let Some(rows) = Rows::last(x.layout(), out.layout(), affine, map.repeat, axes) {
        return map.run(x, &rows, out);
    }
    if !x.layout().is_contiguous() {
        return map_rows(map, &contiguous(x)?, axes, out, affine);
    }
    let dense = Tensor::empty(x.device(), x.shape(), out.dtype(), &map.reducer.label)?;
    let rows =
        Rows::last(x.layout(), dense.layout(), affine, map.repeat, axes).expect("dense tensors merge into few axes");
    map.run(x, &rows, &dense)?;
    assign(out, (&dense).into())
}

/// The most groups of four that an invocation holds, and the most invocations that share a row.
const MOST_QUADS: usize = 8;
const MOST_LANES: u32 = 1024;

impl Map<'_> {
    /// Maps rows of x to rows of `out`.
    pub(super) fn run(&self, x: &Tensor, rows: &Rows, out: &Tensor) -> Result<()> {
        let runner = Runner::of(x);
        let caps = runner.caps();
        let affine = self.affine.unwrap_or_default().map(|tensor| tensor.map_or(0, |tensor| tensor.dtype().size()));
        let sizes = [x.dtype().size(), out.dtype().size(), affine[0].max(affine[1])];
        let (part, length) = rows.fit(caps, sizes, self.reducer.bytes);
        for (start, lengths) in blocks(&rows.shape, &part) {
            let block = rows.block(&start, &lengths, 0, rows.length);
            let whole = if length == rows.length { Whole::of(caps, &block) } else { None };
            match whole {
                Some(whole) => self.whole(&runner, x, &block, out, &whole)?,
                None => self.in_steps(&runner, x, &block, out, length)?,
            }
        }
        Ok(())
    }

    fn whole(&self, runner: &Runner, x: &Tensor, rows: &Rows, out: &Tensor, whole: &Whole) -> Result<()> {
        let step = whole.quads * whole.lanes.per_row as usize * 4;
        let variant = MapVariant {
            x: x.dtype(),
            out: out.dtype(),
            weights: self.weights(rows, whole.access),
            access: whole.access,
            lanes: whole.lanes,
            whole: Some((whole.quads, whole.access == Access::Whole && rows.length == step)),
        };
        let groups = rows.count().div_ceil(whole.lanes.rows());
        self.dispatch(runner, &variant, [x, out], None, rows, [1, 0, groups])
    }

    /// Reduces, and maps in parts of at most `length` elements.
    fn in_steps(&self, runner: &Runner, x: &Tensor, rows: &Rows, out: &Tensor, length: usize) -> Result<()> {
        let gathered = self.reducer.scratch(x, rows.count())?;
        self.reducer.run_block(runner, x, rows, &[], length, Goal::Gathered(&gathered))?;
        let none = Shape::from_elem(0, rows.shape.len());
        for from in (0..rows.length).step_by(length) {
            let piece = rows.block(&none, &rows.shape, from, length.min(rows.length - from));
            let access = piece.common_access();
            let division = Division::of(runner.caps(), &piece, access, usize::MAX);
            let variant = MapVariant {
                x: x.dtype(),
                out: out.dtype(),
                weights: self.weights(&piece, access),
                access,
                lanes: Lanes { subgroups: false, ..division.lanes },
                whole: None,
            };
            let numbers = [division.splits, division.chunk, division.groups];
            self.dispatch(runner, &variant, [x, out], Some(&gathered), &piece, numbers)?;
        }
        Ok(())
    }

    /// How weights and bias are reached beside rows that are reached so.
    fn weights(&self, rows: &Rows, access: Access) -> [Option<(DType, Weights)>; 2] {
        let quads = rows.offsets[2] % 4 == 0
            && rows.shape.iter().zip(&rows.strides[2]).all(|(&length, &stride)| length == 1 || stride % 4 == 0);
        self.affine.unwrap_or_default().map(|tensor| {
            let tensor = tensor?;
            let weights = match (access, self.repeat) {
                (Access::Whole, 1) if quads && tensor.layout().offset % 4 == 0 => Weights::Quads,
                (Access::Whole, repeat) if repeat % 4 == 0 => Weights::Shared,
                _ => Weights::Elements,
            };
            Some((tensor.dtype(), weights))
        })
    }

    fn dispatch(
        &self,
        runner: &Runner,
        variant: &MapVariant,
        [x, out]: [&Tensor; 2],
        gathered: Option<&Tensor>,
        rows: &Rows,
        [splits, chunk, groups]: [usize; 3],
    ) -> Result<()> {
        let caps = runner.caps();
        let [from, to] = [rows.window(x, 0, caps), rows.window(out, 1, caps)];
        let [weight, bias] = self.affine.unwrap_or_default();
        // The weights of these rows, seen from the one that the whole row begins with.
        let first = rows.begin / rows.repeat;
        let mut lengths = rows.shape.clone();
        let mut strides = rows.strides[2].clone();
        lengths.push((rows.begin + rows.length - 1) / rows.repeat + 1 - first);
        strides.push(1);
        let windows = [weight, bias].map(|tensor| {
            let begin = tensor?.layout().offset + rows.offsets[2] + first as isize;
            Some(window(tensor?, begin, &lengths, &strides, caps.alignment))
        });
        let weights: u64 = windows.iter().flatten().map(|window| window.bytes).sum();
        let offset =
            |window: &Option<Window<'_>>| window.as_ref().map_or(0, |window| (window.offset - first as isize) as u32);
        let params = Params {
            x_offset: from.offset as u32,
            out_offset: to.offset as u32,
            weight_offset: offset(&windows[0]),
            bias_offset: offset(&windows[1]),
            splits: splits as u32,
            chunk: chunk as u32,
            divisor: self.reducer.divisor,
            eps: self.eps,
            ..rows.params()
        };
        let mut bindings: SmallVec<[Option<Binding<'_>>; 5]> = SmallVec::new();
        bindings.push(Some(from.binding));
        if self.affine.is_some() {
            bindings.extend(windows.iter().map(|window| window.as_ref().map(|window| window.binding)));
        }
        bindings.push(gathered.map(whole_binding));
        bindings.push(Some(to.binding));
        let work = Work {
            label: &self.reducer.label,
            bindings: &bindings,
            params: bytemuck::bytes_of(&params),
            groups: groups as u32,
            bytes: from.bytes + weights + gathered.map_or(0, Tensor::stored_bytes) + to.bytes,
            // Where statistics were gathered before, the arithmetic was counted there.
            steps: if gathered.is_some() { 0 } else { (rows.count() * rows.length) as u64 },
        };
        runner.run(variant.key(self), || variant.spec(self), &work)
    }
}

/// How rows lie in registers.
struct Whole {
    lanes: Lanes,
    /// Groups of four of each lane.
    quads: usize,
    access: Access,
}

impl Whole {
    /// None where they are too long.
    fn of(caps: &Caps, rows: &Rows) -> Option<Self> {
        let access = rows.common_access();
        let total = quads(rows.length, access);
        let lanes = match rows.neighbours() {
            // Fewer neighbours side by side make room for longer rows, down to those that one fetch of memory has.
            Some(neighbours) => [(32, 256), (32, 1024), (16, 1024), (8, 1024)]
                .into_iter()
                .map(|(least, workgroup)| {
                    Lanes::across(caps, rows.count(), neighbours.min(least), total.div_ceil(4), workgroup)
                })
                .find(|lanes| lanes.per_row as usize * MOST_QUADS >= total)?,
            None => Lanes::along(caps, total.div_ceil(4).max(total.min(8)), MOST_LANES),
        };
        let quads = total.div_ceil(lanes.per_row as usize);
        // A GPU without much workgroup memory has smaller workgroups, too; but nothing promises it.
        (quads <= MOST_QUADS && lanes.gathered() * 16 <= caps.shared).then_some(Self { lanes, quads, access })
    }
}

/// What distinguishes the pipelines that map rows.
struct MapVariant {
    x: DType,
    out: DType,
    /// Of weights and bias.
    weights: [Option<(DType, Weights)>; 2],
    access: Access,
    lanes: Lanes,
    /// Rows in registers: how many groups of four a lane has, and whether they are all there. None where what was
    /// gathered is read.
    whole: Option<(usize, bool)>,
}

impl MapVariant {
    fn key(&self, map: &Map<'_>) -> u64 {
        let [a, b, c, d] = self.lanes.key();
        let [weight, bias] =
            self.weights.map(|weights| weights.map_or(15, |(dtype, weights)| dtype as u64 * 3 + weights as u64));
        let (kind, quads, exact) = match self.whole {
            Some((quads, exact)) => (WHOLE_KEY, quads as u64, u64::from(exact)),
            None => (APPLY_KEY, 0, 0),
        };
        let operation = (map.reducer.index, 10);
        let types = [(self.x as u64, 4), (self.out as u64, 4), (weight, 4), (bias, 4)];
        let rest = [(self.access as u64, 2), (quads, 4), (exact, 1), a, b, c, d];
        let fields: SmallVec<[(u64, u32); 12]> = [operation].into_iter().chain(types).chain(rest).collect();
        key(kind, &fields)
    }

    fn spec(&self, map: &Map<'_>) -> Spec {
        let (out_put, out_access) = match (self.access, self.out.size()) {
            (Access::Whole, _) => (None, "access/row_quads"),
            (Access::Quads, 4) => (None, "access/row_edges"),
            (Access::Quads, _) => (None, "access/row_edges_packed"),
            (Access::Elements, _) => (Some(put(self.out)), "access/row_elements"),
        };
        let mut slots = vec![
            ("X", Slot::module(dtype_module(self.x))),
            ("X_ACCESS", self.access.load()),
            ("OUT", Slot::module(dtype_module(self.out))),
            ("OUT_PUT", out_put.map_or(Slot::Text(String::new()), Slot::module)),
            ("OUT_ACCESS", Slot::module(out_access)),
            ("REDUCE", self.lanes.module()),
            ("ROWS", Slot::module(if self.whole.is_some() { "rows/whole" } else { "rows/apply" })),
        ];
        slots.extend(map.slots.iter().cloned());
        let mut inputs = vec![true];
        if map.affine.is_some() {
            for (names, weights) in [["WEIGHT", "WEIGHT_ACCESS"], ["BIAS", "BIAS_ACCESS"]].into_iter().zip(self.weights)
            {
                let (dtype, module) = match weights {
                    None => (DType::Float32, "access/affine_none"),
                    Some((dtype, Weights::Quads)) => (dtype, "access/affine_quads"),
                    Some((dtype, Weights::Shared)) => (dtype, "access/affine_shared"),
                    Some((dtype, Weights::Elements)) => (dtype, "access/affine_elements"),
                };
                slots.push((names[0], Slot::module(dtype_module(dtype))));
                slots.push((names[1], Slot::module(module)));
                inputs.push(weights.is_some());
            }
        }
        inputs.push(self.whole.is_none());
        let mut constants = self.lanes.constants();
        constants.extend(&map.constants);
        constants.push(("SKIP", if self.access == Access::Elements { 0.0 } else { 3.0 }));
        if let Some((quads, exact)) = self.whole {
            constants.push(("QUADS", quads as f64));
            constants.push(("WHOLE", f64::from(u8::from(exact))));
        }
        Spec { label: map.reducer.label.clone(), source: map.source, slots, constants, inputs, params: Params::LAYOUT }
    }
}

/// The module that stores single elements.
fn put(dtype: DType) -> &'static str {
    if dtype.size() == 4 { "access/put_words" } else { "access/put_packed" }
}

/// Every variant of a reduction of this type, for checking shaders.
#[cfg(test)]
pub(super) fn reduce_specs(reducer: &Reducer, x: DType, out: Option<DType>) -> Vec<Spec> {
    let mut specs = Vec::new();
    for subgroups in [true, false] {
        let lanes = Lanes { workgroup: 64, per_row: 16, rows_fastest: !subgroups, subgroups };
        for out in [out, None] {
            let accesses = [Access::Whole, Access::Quads, Access::Elements];
            for x in accesses.map(|access| Some((x, access))).into_iter().chain([None]) {
                specs.push(ReduceVariant { x, out, lanes }.spec(reducer));
            }
        }
    }
    specs
}

/// Variants of a map of this type, for checking shaders.
#[cfg(test)]
pub(super) fn map_specs(map: &Map<'_>, x: DType, weights: Option<DType>, out: DType) -> Vec<Spec> {
    let mut specs = reduce_specs(&map.reducer, x, None);
    for access in [Access::Whole, Access::Quads, Access::Elements] {
        for (subgroups, whole) in [(true, Some((8, false))), (false, Some((1, true))), (false, None)] {
            let lanes = Lanes { workgroup: 64, per_row: 16, rows_fastest: !subgroups, subgroups };
            for kind in [Weights::Elements, Weights::Quads, Weights::Shared] {
                let weights = [weights.map(|dtype| (dtype, kind)), None];
                specs.push(MapVariant { x, out, weights, access, lanes, whole }.spec(map));
            }
        }
    }
    specs
}
