//! `out = softmax(q · kᵀ · scale, masked) · v` on the CPU.
//!
//! With a few queries the cache of keys and values sets the pace, and [`few`] reads it once. With many it is the
//! arithmetic. Then a task is a block of queries of the heads that share keys, over a part of the keys:
//!
//! ```text
//! for each block of keys that one of the queries sees:
//!     pack keys and values
//!     for each panel of queries that sees one of them:
//!         scores  = keys · panel                      a row for each key, a column for each query
//!         weights = exp(scores − the largest so far)
//!         sums    = sums · (what the old largest means by the new) + valuesᵀ · weights
//! ```
//!
//! Queries are columns everywhere (see [`product`]), so the softmax runs down the columns, in all lanes at once, and
//! weights serve the second product as they are. Parts of the keys are merged in their order. How it is all cut depends
//! on the shapes alone, so that the result does not depend on the number of threads.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::cast_ptr_alignment, reason = "buffers of our own begin at cache lines")]

mod few;
mod panel;

use self::panel::{Edits, Merge, Weigh};
use super::Reach;
use crate::cpu::convert::{self, BLOCK, Block};
use crate::cpu::memory::HostBuffer;
use crate::cpu::product::{self, Arithmetic, Lines, Panels};
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::DType;
use crate::error::Result;

/// So many queries for the same keys are few.
const FEW: usize = 8;
/// The most queries for the same keys in a task: what is packed serves so many.
const QUERIES: usize = 256;
/// How many keys are taken at a time: scores of a panel of queries stay in the nearest cache.
const KEYS: usize = 128;
/// The most keys of a part, and the fewest if there are too few tasks otherwise.
const PART: (usize, usize) = (1 << 14, 1 << 10);
/// Parts of the keys are longer where their sums would take more than so many bytes.
const MEMORY: usize = 256 << 20;
/// As many tasks as this keep any number of cores busy.
const TASKS: usize = 32;

/// What goes with the operands.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    /// `[batch, heads, t, s]`: of bools, true where a key is visible, or numbers that are added to the scores.
    pub(crate) mask: Option<View<'a>>,
    pub(crate) reach: Reach,
    pub(crate) scale: f32,
    pub(crate) softcap: Option<f32>,
    /// How many keys count: one number, or one for each of the batch.
    pub(crate) lengths: &'a [usize],
}

/// Computes attention. A query that sees no key gets zeros.
///
/// Fails only if there is no memory for intermediate results.
///
/// # Safety
/// The shapes are `[batch, heads, t, d]`, `[batch, key heads, s, d]`, `[batch, key heads, s, dv]` and
/// `[batch, heads, t, dv]`, and key heads divide heads; no length exceeds s. The elements are readable; the output's are
/// writable, each in a place of its own, and share no memory with the operands. All are floats, but for the mask.
pub(crate) unsafe fn attention(
    device: CpuDevice,
    q: View<'_>,
    k: View<'_>,
    v: View<'_>,
    out: ViewMut<'_>,
    options: &Options<'_>,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe {
        if q.layout.shape[1] / k.layout.shape[1] * q.layout.shape[2] <= FEW {
            few::attention(device, q, k, v, out, options)
        } else {
            Plan::new(device, q, k, v, out, options).perform(device)
        }
    }
}

/// A tensor of four axes: batch, head, row, column.
#[derive(Clone, Copy)]
struct Heads {
    dtype: DType,
    start: *mut u8,
    /// In bytes.
    steps: [isize; 4],
}

impl Heads {
    fn new(view: View<'_>) -> Self {
        let steps = std::array::from_fn(|axis| view.layout.strides[axis] * view.dtype.size() as isize);
        Self { dtype: view.dtype, start: view.start().cast_mut(), steps }
    }

    fn at(&self, index: [usize; 3]) -> *mut u8 {
        let bytes = index.iter().zip(self.steps).map(|(&i, step)| i as isize * step).sum::<isize>();
        self.start.wrapping_offset(bytes)
    }

    /// Rows from one on, as lines to be packed.
    fn rows(&self, index: [usize; 3], count: usize, length: usize) -> Lines {
        let [.., across, along] = self.steps;
        Lines { dtype: self.dtype, start: self.at(index), across, along, count, length }
    }

    /// The columns of so many rows from one on, as lines to be packed.
    fn columns(&self, index: [usize; 3], rows: usize, columns: usize) -> Lines {
        let [.., along, across] = self.steps;
        Lines { dtype: self.dtype, start: self.at(index), across, along, count: columns, length: rows }
    }
}

struct Plan<'a> {
    options: &'a Options<'a>,
    q: Heads,
    k: Heads,
    v: Heads,
    mask: Option<Heads>,
    out: Heads,
    batch: usize,
    key_heads: usize,
    /// Heads of queries for each head of keys.
    group: usize,
    t: usize,
    s: usize,
    d: usize,
    dv: usize,
    /// How keys and queries are multiplied.
    arithmetic: Arithmetic,
    /// Lines in panels of keys or values, and in those of queries.
    widths: [usize; 2],
    /// How many queries of each head are in a task.
    queries: usize,
    /// How many keys are in a part.
    part: usize,
    /// What a difference of scores is multiplied with to be a power of 2.
    factor: f32,
}

/// What a task works on.
struct Task {
    batch: usize,
    key_head: usize,
    /// The first query, and how many there are.
    first: usize,
    count: usize,
    /// The part of the keys.
    part: usize,
}

impl<'a> Plan<'a> {
    fn new(
        device: CpuDevice,
        q: View<'_>,
        k: View<'_>,
        v: View<'_>,
        out: ViewMut<'_>,
        options: &'a Options<'a>,
    ) -> Self {
        let (heads, key_heads) = (q.layout.shape[1], k.layout.shape[1]);
        let (t, s) = (q.layout.shape[2], k.layout.shape[2]);
        let level = device.level();
        let widths = product::block(level);
        let group = heads / key_heads;
        let queries = (QUERIES / group).clamp(widths[1], t.next_multiple_of(widths[1])).next_multiple_of(widths[1]);
        let batch = q.layout.shape[0];
        let tasks = batch * key_heads * t.div_ceil(queries);
        let part = s.div_ceil(TASKS.div_ceil(tasks)).next_multiple_of(KEYS).clamp(PART.1, PART.0);
        let mut plan = Self {
            options,
            q: Heads::new(q),
            k: Heads::new(k),
            v: Heads::new(v),
            mask: options.mask.map(Heads::new),
            out: Heads::new(View { origin: out.origin, dtype: out.dtype, layout: out.layout }),
            batch,
            key_heads,
            group,
            t,
            s,
            d: q.layout.shape[3],
            dv: v.layout.shape[3],
            arithmetic: Arithmetic::new(level, q.dtype, k.dtype, DType::Float32),
            widths,
            queries,
            part,
            factor: std::f32::consts::LOG2_E,
        };
        if !plan.edits_all() {
            plan.factor *= options.scale;
        }
        // What the parts have summed is kept until all are done.
        let states = plan.blocks() * plan.panels() * plan.state() * size_of::<f32>();
        let most = (MEMORY / states.max(1)).max(1);
        plan.part = plan.part.max(s.div_ceil(most).next_multiple_of(KEYS));
        plan
    }

    /// Whether all scores have to be scaled, capped or masked before they are compared. Otherwise the scale goes with
    /// [`Plan::factor`].
    fn edits_all(&self) -> bool {
        let options = self.options;
        let factor = options.scale * std::f32::consts::LOG2_E;
        options.mask.is_some() || options.softcap.is_some() || !factor.is_finite() || factor <= 0.0
    }

    /// The words of a panel's state: for each query the largest score and the sum of weights, and its sums of values.
    fn state(&self) -> usize {
        (2 + self.dv.next_multiple_of(self.widths[0])) * self.widths[1]
    }

    /// The panels of a task.
    fn panels(&self) -> usize {
        self.group * self.queries / self.widths[1]
    }

    fn blocks(&self) -> usize {
        self.batch * self.key_heads * self.t.div_ceil(self.queries)
    }

    fn parts(&self) -> usize {
        self.s.div_ceil(self.part).max(1)
    }

    /// The later blocks of queries come first: by cause, they see the most keys.
    fn task(&self, block: usize, part: usize) -> Task {
        let across = self.t.div_ceil(self.queries);
        let first = (across - 1 - block % across) * self.queries;
        let heads = block / across;
        Task {
            batch: heads / self.key_heads,
            key_head: heads % self.key_heads,
            first,
            count: self.queries.min(self.t - first),
            part,
        }
    }

    /// The keys that a query sees.
    fn keys(&self, batch: usize, query: usize) -> (usize, usize) {
        let lengths = self.options.lengths;
        self.options.reach.keys(query, self.t, lengths[batch % lengths.len()])
    }

    /// # Safety
    /// The promise to [`attention`].
    unsafe fn perform(&self, device: CpuDevice) -> Result<()> {
        let (blocks, parts) = (self.blocks(), self.parts());
        let words = self.panels() * self.state();
        let partial =
            if parts > 1 { Some(HostBuffer::alloc(blocks * parts * words * size_of::<f32>())?) } else { None };
        let states = partial.as_ref().map(|buffer| buffer.as_mut_ptr().cast::<f32>());
        // SAFETY: tasks write to states and results of their own.
        let shared = unsafe { Shared::new((self, states)) };
        device.try_for_each_chunk(blocks * parts, |index| {
            let (plan, states) = shared.get();
            let task = plan.task(index / parts, index % parts);
            let states = states.map(|states| states.wrapping_add(index * words));
            // SAFETY: the caller's promise.
            unsafe { plan.perform_task(device, &task, states) }
        })?;
        if states.is_some() {
            device.for_each_chunk(blocks, |block| {
                let (plan, Some(states)) = shared.get() else { return };
                let states = states.wrapping_add(block * parts * words);
                let task = plan.task(block, 0);
                for panel in 0..plan.group * task.count.div_ceil(plan.widths[1]) {
                    let into = states.wrapping_add(panel * plan.state());
                    for part in 1..parts {
                        let from = into.wrapping_add(part * words);
                        let (rows, width) = (plan.dv, plan.widths[1]);
                        device.level().run(Merge { into, from, rows, width, factor: plan.factor });
                    }
                }
                // SAFETY: the caller's promise; all parts are done and merged.
                unsafe { plan.store(device, &task, states) };
            });
        }
        Ok(())
    }

    /// # Safety
    /// The promise to [`attention`]. There is room for the states, if they are not stored at once.
    unsafe fn perform_task(&self, device: CpuDevice, task: &Task, states: Option<*mut f32>) -> Result<()> {
        let [rows, width] = self.widths;
        let steps = self.arithmetic.steps(self.d);
        let (panels, state) = (self.panels(), self.state());
        let keys = KEYS.next_multiple_of(rows);
        let sizes = [
            if states.is_none() { panels * state } else { 0 },
            panels * width * steps,
            keys * steps,
            self.dv.next_multiple_of(rows) * KEYS,
            keys * width,
            if self.mask.is_some() { KEYS * width } else { 0 },
            2 * width,
        ];
        let scratch = HostBuffer::alloc(sizes.iter().sum::<usize>() * size_of::<f32>())?;
        let mut start = scratch.as_mut_ptr().cast::<f32>();
        let [own, queries, key_panels, value_panels, scores, mask, reach] = sizes.map(|size| {
            let place = start;
            start = start.wrapping_add(size);
            place
        });
        let level = device.level();
        let states = states.unwrap_or(own);
        let per_head = task.count.div_ceil(width);
        // SAFETY: the caller's promise; everything has room as above.
        unsafe {
            for panel in 0..self.group * per_head {
                let (head, first) = self.place(task, panel, per_head);
                let state = states.add(panel * state);
                for i in 0..self.state() {
                    state.add(i).write(if i < width { f32::NEG_INFINITY } else { 0.0 });
                }
                let lines = self.q.rows([task.batch, head, first], width.min(self.t - first), self.d);
                product::pack(level, self.arithmetic, &lines, width, queries.add(panel * width * steps).cast(), 0);
            }
            let (from, _) = self.keys(task.batch, task.first);
            let (_, to) = self.keys(task.batch, task.first + task.count - 1);
            let (from, to) = (from.max(task.part * self.part), to.min((task.part + 1) * self.part));
            for key in (from..to).step_by(KEYS) {
                let count = KEYS.min(to - key);
                let index = [task.batch, task.key_head, key];
                let lines = self.k.rows(index, count, self.d);
                product::pack(level, self.arithmetic, &lines, rows, key_panels.cast(), rows * steps);
                let lines = self.v.columns(index, count, self.dv);
                product::pack(level, Arithmetic::Floats, &lines, rows, value_panels.cast(), rows * count);
                for panel in 0..self.group * per_head {
                    let (head, first) = self.place(task, panel, per_head);
                    let last = self.t.min(first + width) - 1;
                    let (first_keys, last_keys) = (self.keys(task.batch, first), self.keys(task.batch, last));
                    // Of the block, what any of these queries sees, from a whole panel of keys on.
                    let skipped = first_keys.0.saturating_sub(key) / rows * rows;
                    let end = count.min(last_keys.1.saturating_sub(key));
                    if skipped >= end {
                        continue;
                    }
                    let seen = end - skipped;
                    let partly = last_keys.0 > key + skipped || first_keys.1 < key + end;
                    product::multiply(
                        level,
                        self.arithmetic,
                        Panels {
                            a: key_panels.add(skipped * steps).cast(),
                            b: queries.add(panel * width * steps).cast(),
                            a_step: rows * steps,
                            b_step: 0,
                            b_row: width,
                            a_count: seen.div_ceil(rows),
                            b_count: 1,
                            steps,
                            sums: scores.cast(),
                            sums_row: width,
                            add: false,
                        },
                    );
                    let mut edits = None;
                    if partly || self.edits_all() {
                        let edits = edits.insert(Edits {
                            scale: if self.edits_all() { self.options.scale } else { 1.0 },
                            softcap: self.options.softcap,
                            mask: None,
                            reach: None,
                        });
                        let queries = width.min(self.t - first);
                        if let Some(heads) = &self.mask {
                            let mut lines = heads.rows([task.batch, head, first], queries, seen);
                            lines.start = lines.start.wrapping_offset((key + skipped) as isize * heads.steps[3]);
                            product::pack(level, Arithmetic::Floats, &lines, width, mask.cast(), 0);
                            edits.mask = Some((mask, heads.dtype == DType::Bool));
                        }
                        if partly {
                            for i in 0..width {
                                let seen = self.keys(task.batch, last.min(first + i));
                                let relative =
                                    [seen.0, seen.1].map(|seen| seen.saturating_sub(key + skipped).min(KEYS));
                                reach.add(i).write(relative[0] as f32);
                                reach.add(width + i).write(relative[1] as f32);
                            }
                            edits.reach = Some(reach);
                        }
                    }
                    let state = states.add(panel * state);
                    level.run(Weigh { scores, keys: seen, state, rows: self.dv, width, factor: self.factor, edits });
                    product::multiply(
                        level,
                        Arithmetic::Floats,
                        Panels {
                            a: value_panels.add(skipped * rows).cast(),
                            b: scores.cast(),
                            a_step: rows * count,
                            b_step: 0,
                            b_row: width,
                            a_count: self.dv.div_ceil(rows),
                            b_count: 1,
                            steps: seen,
                            sums: state.add(2 * width).cast(),
                            sums_row: width,
                            add: true,
                        },
                    );
                }
            }
            if sizes[0] > 0 {
                self.store(device, task, states);
            }
        }
        Ok(())
    }

    /// The head and the first query of a panel.
    fn place(&self, task: &Task, panel: usize, per_head: usize) -> (usize, usize) {
        (task.key_head * self.group + panel / per_head, task.first + panel % per_head * self.widths[1])
    }

    /// Divides the sums of values by those of weights, and puts them where they belong.
    ///
    /// # Safety
    /// The promise to [`attention`], and these are the states of a task.
    unsafe fn store(&self, device: CpuDevice, task: &Task, states: *mut f32) {
        let width = self.widths[1];
        let per_head = task.count.div_ceil(width);
        let mut block = Block::new();
        let numbers = block.as_mut_ptr::<f32>();
        for panel in 0..self.group * per_head {
            let (head, first) = self.place(task, panel, per_head);
            let state = states.wrapping_add(panel * self.state());
            for i in 0..width.min(self.t - first) {
                let out = self.out.at([task.batch, head, first + i]);
                // SAFETY: the caller's promise; a block has room for so many.
                unsafe {
                    let weight = state.add(width + i).read();
                    let share = if weight == 0.0 { 0.0 } else { 1.0 / weight };
                    let sums = state.add(2 * width + i);
                    for column in (0..self.dv).step_by(BLOCK) {
                        let count = BLOCK.min(self.dv - column);
                        let step = width * size_of::<f32>();
                        let from = sums.add(column * width).cast::<u8>();
                        convert::gather(size_of::<f32>(), from, step as isize, numbers.cast(), count);
                        for j in 0..count {
                            *numbers.add(j) *= share;
                        }
                        let out = out.wrapping_offset(column as isize * self.out.steps[3]);
                        convert::store::<f32>(device.level(), self.out.dtype, numbers, out, self.out.steps[3], count);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
