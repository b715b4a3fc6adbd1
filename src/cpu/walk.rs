//! The way through strided operands: which elements are done together, in what order, and by which thread.
//!
//! Operands of one shape are cut into runs along one axis. The axes are put into the order of the output's memory, and
//! joined where every operand allows it, so that most work is one long run. Two shapes of work need more:
//! - an operand whose memory runs along another axis (a transpose) is read tile by tile, each through a small
//!   transposed copy, so that every cache line is fetched once;
//! - a last axis of a few elements (adding three numbers to each of a million rows) is exchanged with the one before.
#![expect(unsafe_code, reason = "operands are pointers with strides")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays of operands")]

pub(crate) mod tile;

use smallvec::SmallVec;

use self::tile::{TILE_BYTES, TILE_COLUMNS, Tile};
use super::CpuDevice;
use super::threads::Shared;
use crate::shape::{Shape, Strides, merge_axes};

/// Below so many elements other threads cost more than they bring.
const ALONE: usize = 1 << 18;
/// About how many elements a thread takes at a time, at least and at most.
const CHUNK: std::ops::RangeInclusive<usize> = 1 << 15..=1 << 18;
/// A last axis shorter than this is better exchanged.
const SHORT: usize = 16;

/// One operand of a walk.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    /// The element at index zero of every axis.
    pub(crate) start: *mut u8,
    /// In elements.
    pub(crate) strides: &'a [isize],
    /// Bytes of an element.
    pub(crate) size: usize,
}

/// Elements of all operands that are `steps` bytes apart.
pub(crate) struct Run<const M: usize> {
    pub(crate) places: [*mut u8; M],
    pub(crate) steps: [isize; M],
    pub(crate) len: usize,
}

/// Calls `visit` for runs that together make up all elements, from the device's threads. The last operand is the
/// output; the others are only read, and a run may show a copy of them.
///
/// # Safety
/// Every element of every operand is readable, those of the output are writable, and no place of the output belongs to
/// two elements. An input shares memory with the output only if it is the same elements.
pub(crate) unsafe fn for_each_run<const M: usize>(
    device: CpuDevice,
    shape: &[usize],
    operands: [Operand<'_>; M],
    visit: &(dyn Fn(&Run<M>) + Sync),
) {
    let len: usize = shape.iter().product();
    if len == 0 {
        return;
    }
    if len <= *CHUNK.start()
        && let Some(steps) = flat_steps(shape, &operands)
    {
        // The most frequent case of all, and the one where every nanosecond counts.
        visit(&Run { places: operands.map(|operand| operand.start), steps, len });
        return;
    }
    let threads = if len <= ALONE { 1 } else { device.threads() };
    let chunk = (len / threads / 16).clamp(*CHUNK.start(), *CHUNK.end());
    let plan = Plan::new(shape, operands, chunk);
    let tasks = plan.tasks();
    let group = (chunk / (plan.rows * plan.columns)).clamp(1, tasks);
    // SAFETY: tasks write apart from each other.
    let plan = unsafe { Shared::new(&plan) };
    device.with_threads(threads).for_each_chunk(tasks.div_ceil(group), |chunk| {
        for task in chunk * group..tasks.min((chunk + 1) * group) {
            // SAFETY: the caller's promise.
            unsafe { plan.get().perform(task, visit) };
        }
    });
}

/// If each operand is row-major without gaps, or one element throughout: the bytes from one element to the next.
fn flat_steps<const M: usize>(shape: &[usize], operands: &[Operand<'_>; M]) -> Option<[isize; M]> {
    let mut steps = [0; M];
    for (step, operand) in steps.iter_mut().zip(operands) {
        let (mut dense, mut still, mut expected) = (true, true, 1);
        for (&length, &stride) in shape.iter().zip(operand.strides).rev() {
            if length != 1 {
                dense &= stride == expected;
                still &= stride == 0;
                expected *= length as isize;
            }
        }
        if dense {
            *step = operand.size as isize;
        } else if !still {
            return None;
        }
    }
    (steps[M - 1] != 0).then_some(steps)
}

struct Plan<const M: usize> {
    shape: Shape,
    /// In bytes.
    strides: [Strides; M],
    starts: [*mut u8; M],
    sizes: [usize; M],
    /// Which operands are read through tiles.
    tiled: [bool; M],
    /// How much of the last axis but one, and of the last, makes a task.
    rows: usize,
    columns: usize,
}

impl<const M: usize> Plan<M> {
    fn new(shape: &[usize], operands: [Operand<'_>; M], chunk: usize) -> Self {
        let mut starts = operands.map(|operand| operand.start);
        let sizes = operands.map(|operand| operand.size);
        let output = operands[M - 1].strides;

        let mut axes: SmallVec<[usize; 6]> = (0..shape.len()).collect();
        if !axes.is_sorted_by_key(|&axis| std::cmp::Reverse(output[axis].unsigned_abs())) {
            axes.sort_by_key(|&axis| std::cmp::Reverse(output[axis].unsigned_abs()));
        }
        let mut ordered: [Strides; M] =
            std::array::from_fn(|n| axes.iter().map(|&axis| operands[n].strides[axis] * sizes[n] as isize).collect());
        let lengths: Shape = axes.iter().map(|&axis| shape[axis]).collect();
        // The output's memory is walked upwards.
        for axis in 0..lengths.len() {
            if ordered[M - 1][axis] < 0 {
                for n in 0..M {
                    starts[n] = starts[n].wrapping_offset(ordered[n][axis] * (lengths[axis] as isize - 1));
                    ordered[n][axis] = -ordered[n][axis];
                }
            }
        }
        let (shape, strides) = merge_axes(&lengths, &ordered.each_ref().map(|strides| &strides[..]));
        let mut plan = Self { shape, strides, starts, sizes, tiled: [false; M], rows: 1, columns: 1 };
        if let [len] = plan.shape[..] {
            plan.columns = len.min(chunk);
            if len == 1 {
                // A single element is one after another.
                plan.strides = std::array::from_fn(|n| Strides::from_slice(&[sizes[n] as isize]));
            }
        } else {
            plan.arrange(chunk);
        }
        plan
    }

    /// Chooses what the last two axes are and how much of them makes a task.
    fn arrange(&mut self, chunk: usize) {
        let last = self.shape.len() - 1;
        let turned = self.turn();
        let (rows, columns) = (self.shape[last - 1], self.shape[last]);
        if columns < SHORT && rows > columns {
            self.shape.swap(last - 1, last);
            for strides in &mut self.strides {
                strides.swap(last - 1, last);
            }
            // One thread does all of a stretch of memory.
            self.rows = columns;
            self.columns = (chunk / columns).min(rows);
        } else if let Some(size) = turned {
            for n in 0..M - 1 {
                let (along, down) = (self.strides[n][last].unsigned_abs(), self.strides[n][last - 1].unsigned_abs());
                self.tiled[n] = down != 0 && along > down;
            }
            self.rows = (TILE_BYTES / size).min(rows);
            self.columns = (chunk / self.rows).next_multiple_of(TILE_COLUMNS).min(columns);
        } else {
            self.columns = columns.min(chunk);
            self.rows = (chunk / self.columns).clamp(1, rows);
        }
    }

    /// If an input's memory runs along another axis than the last: puts that one before the last, and returns the size
    /// of the input's elements.
    fn turn(&mut self) -> Option<usize> {
        let last = self.shape.len() - 1;
        let (axis, size) = (0..M - 1).find_map(|n| {
            let strides = &self.strides[n];
            let moving = (0..last).filter(|&axis| strides[axis] != 0);
            let nearest = moving.min_by_key(|&axis| strides[axis].unsigned_abs())?;
            let far = strides[last].unsigned_abs() > strides[nearest].unsigned_abs().max(self.sizes[n]);
            far.then_some((nearest, self.sizes[n]))
        })?;
        self.shape[axis..last].rotate_left(1);
        for strides in &mut self.strides {
            strides[axis..last].rotate_left(1);
        }
        Some(size)
    }

    /// The lengths of the last two axes.
    fn inner(&self) -> (usize, usize) {
        match self.shape[..] {
            [.., rows, columns] => (rows, columns),
            [columns] => (1, columns),
            [] => (1, 1),
        }
    }

    fn tasks(&self) -> usize {
        let (rows, columns) = self.inner();
        let outer: usize = self.shape[..self.shape.len().saturating_sub(2)].iter().product();
        outer * rows.div_ceil(self.rows) * columns.div_ceil(self.columns)
    }

    /// # Safety
    /// The promise of [`for_each_run`].
    unsafe fn perform(&self, task: usize, visit: &(dyn Fn(&Run<M>) + Sync)) {
        let (all_rows, all_columns) = self.inner();
        let across = all_columns.div_ceil(self.columns);
        let down = all_rows.div_ceil(self.rows);
        let (column, row) = (task % across * self.columns, task / across % down * self.rows);
        let columns = self.columns.min(all_columns - column);
        let rows = self.rows.min(all_rows - row);

        let last = self.shape.len() - 1;
        let steps: [isize; M] = std::array::from_fn(|n| self.strides[n][last]);
        let row_steps: [isize; M] = std::array::from_fn(|n| if last > 0 { self.strides[n][last - 1] } else { 0 });
        let mut places: [*mut u8; M] = std::array::from_fn(|n| {
            self.starts[n].wrapping_offset(row as isize * row_steps[n] + column as isize * steps[n])
        });
        let mut outer = task / across / down;
        for axis in (0..last.saturating_sub(1)).rev() {
            let index = (outer % self.shape[axis]) as isize;
            outer /= self.shape[axis];
            for n in 0..M {
                places[n] = places[n].wrapping_offset(index * self.strides[n][axis]);
            }
        }
        if self.tiled.contains(&true) {
            // SAFETY: the caller's promise.
            unsafe { self.perform_tiles(places, steps, row_steps, rows, columns, visit) };
        } else {
            visit_rows(Run { places, steps, len: columns }, row_steps, rows, visit);
        }
    }

    /// # Safety
    /// The promise of [`for_each_run`].
    unsafe fn perform_tiles(
        &self,
        mut places: [*mut u8; M],
        steps: [isize; M],
        row_steps: [isize; M],
        rows: usize,
        columns: usize,
        visit: &(dyn Fn(&Run<M>) + Sync),
    ) {
        let mut tiles: [Tile; M] = std::array::from_fn(|_| Tile::new());
        for column in (0..columns).step_by(TILE_COLUMNS) {
            let len = TILE_COLUMNS.min(columns - column);
            let mut run = Run { places, steps, len };
            let mut run_row_steps = row_steps;
            for n in 0..M {
                // The height of tiles was chosen for the first operand that needs them; another may be wider.
                if self.tiled[n] && rows * self.sizes[n] <= TILE_BYTES {
                    // SAFETY: the caller's promise, and the tile is as large as the test says.
                    unsafe { tiles[n].fill(self.sizes[n], places[n], steps[n], row_steps[n], rows, len) };
                    run.places[n] = tiles[n].start();
                    run.steps[n] = self.sizes[n] as isize;
                    run_row_steps[n] = (TILE_COLUMNS * self.sizes[n]) as isize;
                }
            }
            visit_rows(run, run_row_steps, rows, visit);
            for n in 0..M {
                places[n] = places[n].wrapping_offset(steps[n] * TILE_COLUMNS as isize);
            }
        }
    }
}

fn visit_rows<const M: usize>(mut run: Run<M>, row_steps: [isize; M], rows: usize, visit: &(dyn Fn(&Run<M>) + Sync)) {
    for _ in 0..rows {
        visit(&run);
        for n in 0..M {
            run.places[n] = run.places[n].wrapping_offset(row_steps[n]);
        }
    }
}
