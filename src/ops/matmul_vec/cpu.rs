//! `out[…, n] = scale · w[…, n, k] · x[…, k]` on the CPU.
//!
//! The matrix is read once and everything else stays in the caches, so memory sets the pace. Its order decides the way:
//! - *by rows*, when k runs along memory: each row's dot product with x;
//! - *by columns*, when n does (Fortran order, a transpose): columns times their elements of x are added up, for a
//!   block of rows that stays in the nearest cache;
//! - any other strides and types go through small blocks, by rows or by columns, whichever lies closer together.
//!
//! This file cuts the work into tasks; [`sums`] does them. How it is cut depends on the shapes alone, so that the result
//! does not depend on the number of threads.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]

mod sums;

use std::mem::MaybeUninit;

use self::sums::{Arithmetic, Part, Way};
use crate::cpu::axes::Axes;
use crate::cpu::convert::{self, BLOCK, Block};
use crate::cpu::memory::HostBuffer;
use crate::cpu::simd::Level;
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::{DType, Kind};
use crate::error::Result;
use crate::ops::elementwise;
use crate::shape::Layout;

/// Fewer products than this are not worth a second thread.
const ALONE: usize = 1 << 18;
/// About how many products make a task, at least and at most.
const TASK: (usize, usize) = (1 << 14, 1 << 18);
/// As many tasks as this keep any number of cores busy; rows are cut when there are fewer.
const TASKS: usize = 64;
/// Matrices up to this many bytes are taken to be in the caches.
const CACHED: usize = 8 << 20;
/// The most rows in a task.
const ROWS: usize = 1024;
/// An axis shorter than this is no way to go along.
const SHORT: usize = 16;
/// Longer rows are cut, so that a part of x stays in the cache for several of them.
const LONG: usize = 1 << 15;

/// Computes the products. The output's type decides how: floats in `f32`, all others in `i32`, which `scale` is not for.
///
/// Fails only if there is no memory for a converted copy of x.
///
/// # Safety
/// The shapes are `[…, n, k]`, `[…, k]` and `[…, n]` with equal leading axes. The elements are readable; the output's
/// are writable, each in a place of its own, and share no memory with the operands.
pub(crate) unsafe fn matmul_vec(
    device: CpuDevice,
    w: View<'_>,
    x: View<'_>,
    out: ViewMut<'_>,
    scale: f32,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe {
        if out.dtype.kind() == Kind::Float {
            multiply::<f32>(device, w, x, out, scale)
        } else {
            multiply::<i32>(device, w, x, out, scale)
        }
    }
}

/// Matrices, vectors and results, and how they are cut into tasks.
struct Plan {
    way: Way,
    dtypes: [DType; 2],
    w: *const u8,
    x: *const u8,
    out: *mut u8,
    /// The leading axes along which the matrix changes: lengths, and bytes to the next w, x and out.
    outer: Axes<3>,
    /// Those along which it is the same.
    vectors: Axes<3>,
    n: usize,
    k: usize,
    down: isize,
    across: isize,
    out_step: isize,
    scale: f32,
    rows_per_task: usize,
    columns_per_task: usize,
    vectors_per_task: usize,
}

/// # Safety
/// As for [`matmul_vec`].
unsafe fn multiply<T: Arithmetic>(
    device: CpuDevice,
    w: View<'_>,
    x: View<'_>,
    out: ViewMut<'_>,
    scale: f32,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let (mut w_layout, mut x_layout, mut out_layout) = (w.layout.clone(), x.layout.clone(), out.layout.clone());
    let rows = out.layout.ndim() - 1;
    run_upwards(&mut w_layout, rows + 1, &mut x_layout);
    run_upwards(&mut w_layout, rows, &mut out_layout);
    let (w, x, out) =
        (View { layout: &w_layout, ..w }, View { layout: &x_layout, ..x }, ViewMut { layout: &out_layout, ..out });
    // SAFETY: the caller's promise; the views are of the same elements as before.
    let converted = unsafe { converted::<T>(device, x)? };
    let x = converted.as_ref().map_or(x, |(buffer, layout)| View { origin: buffer.as_ptr(), dtype: T::DTYPE, layout });
    let plan = Plan::new(w, x, out, scale);
    let chunks = plan.chunks();
    let alone = plan.n.saturating_mul(plan.k).saturating_mul(plan.outer.count() * plan.vectors.count()) <= ALONE;
    let device = if alone { device.with_threads(1) } else { device };
    // Each chunk of columns leaves its sums here, to be added up in their order.
    let partial =
        if chunks > 1 { Some(HostBuffer::alloc(out.layout.len() * chunks * size_of::<T::Sum>())?) } else { None };
    let partial_sums = partial.as_ref().map(|buffer| buffer.as_mut_ptr().cast::<T::Sum>());
    // SAFETY: tasks write to rows and to partial sums of their own.
    let shared = unsafe { Shared::new((&plan, partial_sums)) };
    device.for_each_chunk(plan.tasks(), |task| {
        let (plan, partial_sums) = shared.get();
        // SAFETY: the caller's promise; the partial sums are as many as there are rows and chunks.
        unsafe { plan.perform::<T>(device.level(), task, chunks, partial_sums) };
    });
    if let Some(partial_sums) = partial_sums {
        // SAFETY: as above, and all of them were written.
        unsafe { plan.merge::<T>(device.level(), chunks, partial_sums) };
    }
    Ok(())
}

/// Turns an axis of the matrix around if it runs backwards in memory, and with it the last axis of x or of the output.
fn run_upwards(w: &mut Layout, axis: usize, other: &mut Layout) {
    if w.strides[axis] < 0 {
        let last = other.ndim() - 1;
        for (layout, axis) in [(w, axis), (other, last)] {
            layout.offset += layout.strides[axis] * (layout.shape[axis] as isize - 1).max(0);
            layout.strides[axis] = -layout.strides[axis];
        }
    }
}

/// x one after another in the type to compute with, unless it is that already. Axes that only repeat stay as they are.
///
/// # Safety
/// As for [`matmul_vec`].
unsafe fn converted<T: Arithmetic>(device: CpuDevice, x: View<'_>) -> Result<Option<(HostBuffer, Layout)>> {
    let (Some(&k), Some(&step)) = (x.layout.shape.last(), x.layout.strides.last()) else { return Ok(None) };
    if T::is_stored_in(x.dtype) && (step == 1 || k <= 1) {
        return Ok(None);
    }
    let mut distinct = x.layout.clone();
    let axes = distinct.shape.len() - 1;
    for axis in 0..axes {
        if distinct.strides[axis] == 0 {
            distinct.shape[axis] = 1;
        }
    }
    let target = Layout::contiguous(&distinct.shape);
    let buffer = HostBuffer::alloc(target.len() * T::DTYPE.size())?;
    let (from, to) =
        (View { layout: &distinct, ..x }, ViewMut { origin: buffer.as_mut_ptr(), dtype: T::DTYPE, layout: &target });
    // SAFETY: the caller's promise; the buffer is new and has room for the layout.
    unsafe { elementwise::cpu::cast(device, from, to) };
    let mut layout = Layout { shape: x.layout.shape.clone(), ..target };
    for axis in 0..axes {
        if x.layout.strides[axis] == 0 {
            layout.strides[axis] = 0;
        }
    }
    Ok(Some((buffer, layout)))
}

impl Plan {
    fn new(w: View<'_>, x: View<'_>, out: ViewMut<'_>, scale: f32) -> Self {
        let leading = out.layout.ndim() - 1;
        let bytes = |stride: isize, dtype: DType| stride * dtype.size() as isize;
        let (mut outer, mut vectors) = (Axes::new(), Axes::new());
        for axis in 0..leading {
            let length = out.layout.shape[axis];
            let steps = [
                bytes(w.layout.strides[axis], w.dtype),
                bytes(x.layout.strides[axis], x.dtype),
                bytes(out.layout.strides[axis], out.dtype),
            ];
            if steps[0] == 0 { &mut vectors } else { &mut outer }.push(length, steps);
        }
        let (n, k) = (w.layout.shape[leading], w.layout.shape[leading + 1]);
        let down = bytes(w.layout.strides[leading], w.dtype);
        let across = bytes(w.layout.strides[leading + 1], w.dtype);
        let size = w.dtype.size() as isize;
        let (along_rows, along_columns) = (across == size || k == 1, down == size || n == 1);
        let by_rows = match (along_rows, along_columns) {
            (true, true) => n <= k,
            (true, false) => true,
            _ if n < SHORT => true,
            (false, true) => false,
            (false, false) => across.abs() <= down.abs(),
        };
        let mut plan = Self {
            way: if by_rows { Way::Rows } else { Way::Columns },
            dtypes: [w.dtype, out.dtype],
            w: w.start(),
            x: x.start(),
            out: out.start(),
            outer,
            vectors,
            n,
            k,
            down,
            across,
            scale,
            out_step: bytes(out.layout.strides[leading], out.dtype),
            rows_per_task: n,
            columns_per_task: k,
            vectors_per_task: 1,
        };
        plan.cut();
        plan
    }

    /// Decides what makes a task, from the shapes alone.
    fn cut(&mut self) {
        let (n, k) = (self.n, self.k.max(1));
        let vectors = self.vectors.count();
        let matrix = n.saturating_mul(k);
        let total = matrix.saturating_mul(self.outer.count() * vectors);
        // A block of the matrix that stays in the cache is used for all vectors.
        let task = (total / TASKS).clamp(TASK.0, if vectors == 1 { TASK.1 } else { TASK.1 / 4 });
        self.vectors_per_task = if matrix > task { vectors } else { (task / matrix).min(vectors) };
        if total <= ALONE {
            self.rows_per_task = n.min(ROWS);
            return;
        }
        if self.way == Way::Rows && k > 2 * LONG {
            self.columns_per_task = LONG;
        }
        let most = match self.way {
            Way::Rows => (task / self.columns_per_task.max(1)).next_multiple_of(4).clamp(1, ROWS),
            Way::Columns => ROWS,
        };
        self.rows_per_task = most.min(n);
        let tasks = self.tasks();
        if tasks < TASKS {
            let least = task / self.rows_per_task;
            self.columns_per_task =
                k.div_ceil(TASKS / tasks).max(least).next_multiple_of(BLOCK).min(self.columns_per_task);
        }
    }

    fn tasks(&self) -> usize {
        self.outer.count()
            * self.vectors.count().div_ceil(self.vectors_per_task)
            * self.n.div_ceil(self.rows_per_task)
            * self.chunks()
    }

    /// How many parts each row is cut into.
    fn chunks(&self) -> usize {
        self.k.div_ceil(self.columns_per_task.max(1)).max(1)
    }

    /// # Safety
    /// The promise of [`matmul_vec`]. The partial sums, if there are any, have room for all results of every chunk.
    unsafe fn perform<T: Arithmetic>(&self, level: Level, task: usize, chunks: usize, partial: Option<*mut T::Sum>) {
        let (chunk, task) = (task % chunks, task / chunks);
        let row_tasks = self.n.div_ceil(self.rows_per_task);
        let (row, task) = (task % row_tasks * self.rows_per_task, task / row_tasks);
        let groups = self.vectors.count().div_ceil(self.vectors_per_task);
        let (first_vector, outer) = (task % groups * self.vectors_per_task, task / groups);
        let column = chunk * self.columns_per_task;
        let rows = self.rows_per_task.min(self.n - row);
        let start = self.outer.at(outer);
        let mut part = Part {
            level,
            dtype: self.dtypes[0],
            w: self.w.wrapping_offset(start[0] + row as isize * self.down + column as isize * self.across),
            down: self.down,
            across: self.across,
            rows,
            columns: self.columns_per_task.min(self.k - column),
            x: std::ptr::null(),
            cached: self.vectors_per_task > 1
                || self.n.saturating_mul(self.k).saturating_mul(self.outer.count() * self.dtypes[0].size()) <= CACHED,
        };
        let mut sums = MaybeUninit::<[T::Sum; ROWS]>::uninit();
        for vector in first_vector..self.vectors.count().min(first_vector + self.vectors_per_task) {
            let place = self.vectors.at(vector);
            part.x = self.x.wrapping_offset(start[1] + place[1]).cast::<T>().wrapping_add(column);
            // SAFETY: the caller's promise.
            unsafe {
                if let Some(partial) = partial {
                    let result = (outer * self.vectors.count() + vector) * chunks + chunk;
                    T::sums(&part, self.way, partial.add(result * self.n + row));
                } else {
                    let sums = sums.as_mut_ptr().cast();
                    T::sums(&part, self.way, sums);
                    let out = self.out.wrapping_offset(start[2] + place[2] + row as isize * self.out_step);
                    self.store::<T>(level, sums, rows, out);
                }
            }
        }
    }

    /// Adds up the sums of the chunks, first to last.
    ///
    /// # Safety
    /// As for [`Plan::perform`], and all partial sums were written.
    unsafe fn merge<T: Arithmetic>(&self, level: Level, chunks: usize, partial: *mut T::Sum) {
        let vectors = self.vectors.count();
        for result in 0..self.outer.count() * vectors {
            let [start, place] = [self.outer.at(result / vectors)[2], self.vectors.at(result % vectors)[2]];
            // SAFETY: the caller's promise.
            unsafe {
                let total = partial.add(result * chunks * self.n);
                for chunk in 1..chunks {
                    let sums = total.add(chunk * self.n);
                    for row in 0..self.n {
                        total.add(row).write(T::add(total.add(row).read(), sums.add(row).read()));
                    }
                }
                self.store::<T>(level, total, self.n, self.out.wrapping_offset(start + place));
            }
        }
    }

    /// # Safety
    /// There are so many sums, and there is room for them in the output.
    unsafe fn store<T: Arithmetic>(&self, level: Level, sums: *const T::Sum, count: usize, out: *mut u8) {
        let mut block = Block::new();
        for start in (0..count).step_by(BLOCK) {
            let count = BLOCK.min(count - start);
            let numbers = block.as_mut_ptr::<T>();
            // SAFETY: the caller's promise; the block has room for `BLOCK` numbers.
            unsafe {
                for i in 0..count {
                    numbers.add(i).write(T::finish(sums.add(start + i).read(), self.scale));
                }
                let out = out.wrapping_offset(start as isize * self.out_step);
                convert::store::<T>(level, self.dtypes[1], numbers, out, self.out_step, count);
            }
        }
    }
}

#[cfg(test)]
mod tests;
