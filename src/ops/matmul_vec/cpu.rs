//! `out[…, n] = w[…, n, k] · x[…, k]` on the CPU.
//!
//! The matrix is read once and everything else stays in the caches, so memory sets the pace. Its order decides the way:
//! - *by rows*, when k runs along memory: each row's dot product with x;
//! - *by columns*, when n does (Fortran order, a transpose): columns times their elements of x are added up, for a
//!   block of rows that stays in the nearest cache;
//! - any other strides and types go through small blocks, by rows or by columns, whichever lies closer together.
//!
//! Products are added in `f32` for at most a few dozen steps, and what comes out of that in `f64`: the error stays below
//! 1e-6 of the sum of magnitudes for any length. Integers wrap around in 32 bits. How the work is cut depends on the
//! shapes alone, so that the result does not depend on the number of threads.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays of sums")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use half::{bf16, f16};

use crate::cpu::convert::{self, BLOCK, Block, Number};
use crate::cpu::memory::HostBuffer;
use crate::cpu::simd::{Element, Kernel, Level, Simd, prefetch};
use crate::cpu::threads::Shared;
use crate::cpu::walk::tile::{TILE_BYTES, TILE_COLUMNS, Tile};
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::{DType, Kind};
use crate::error::Result;
use crate::ops::elementwise;
use crate::shape::{Layout, Shape, Strides};

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
/// How many bytes of a row are fetched in advance.
const AHEAD: usize = 16 << 10;
/// Longer rows are cut, so that a part of x stays in the cache for several of them.
const LONG: usize = 1 << 15;
/// How many products are added one after another in `f32`.
const CHAIN: usize = 32;

/// Computes the products. The output's type decides how: floats in `f32`, all others in `i32`.
///
/// Fails only if there is no memory for a converted copy of x.
///
/// # Safety
/// The shapes are `[…, n, k]`, `[…, k]` and `[…, n]` with equal leading axes. The elements are readable; the output's
/// are writable, each in a place of its own, and share no memory with the operands.
pub(crate) unsafe fn matmul_vec(device: CpuDevice, w: View<'_>, x: View<'_>, out: ViewMut<'_>) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe {
        if out.dtype.kind() == Kind::Float {
            multiply::<f32>(device, w, x, out)
        } else {
            multiply::<i32>(device, w, x, out)
        }
    }
}

/// Numbers with the sums of their products.
trait Arithmetic: Number + Default {
    /// What x is converted to.
    const DTYPE: DType;
    type Sum: Copy + Default;

    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn widen(self) -> Self::Sum;
    fn finish(sum: Self::Sum) -> Self;

    /// Writes the sums of a part.
    ///
    /// # Safety
    /// The part's elements are readable, and there is room for as many sums as it has rows.
    unsafe fn sums(part: &Part<Self>, by: Way, sums: *mut Self::Sum);

    /// The sum of `len` products.
    ///
    /// # Safety
    /// Both have so many elements.
    unsafe fn dot<V: Simd>(w: *const Self, x: *const Self, len: usize) -> Self::Sum;

    /// Adds `len` elements times `x` to as many others.
    ///
    /// # Safety
    /// Both have so many elements.
    unsafe fn add_multiple<V: Simd>(w: *const Self, x: Self, to: *mut Self, len: usize);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Rows,
    Columns,
}

/// A part of one matrix, and of one x.
struct Part<T> {
    level: Level,
    dtype: DType,
    w: *const u8,
    /// Bytes from one row to the next.
    down: isize,
    /// Bytes from one column to the next.
    across: isize,
    rows: usize,
    columns: usize,
    x: *const T,
    /// Whether the matrix is probably in the caches.
    cached: bool,
}

/// Matrices, vectors and results, and how they are cut into tasks.
struct Plan {
    way: Way,
    dtypes: [DType; 2],
    w: *const u8,
    x: *const u8,
    out: *mut u8,
    /// The leading axes along which the matrix changes: lengths, and bytes to the next w, x and out.
    outer: Axes,
    /// Those along which it is the same.
    vectors: Axes,
    n: usize,
    k: usize,
    down: isize,
    across: isize,
    out_step: isize,
    rows_per_task: usize,
    columns_per_task: usize,
    vectors_per_task: usize,
}

#[derive(Default)]
struct Axes {
    lengths: Shape,
    steps: [Strides; 3],
}

impl Axes {
    fn push(&mut self, length: usize, steps: [isize; 3]) {
        self.lengths.push(length);
        for (all, step) in self.steps.iter_mut().zip(steps) {
            all.push(step);
        }
    }

    fn count(&self) -> usize {
        self.lengths.iter().product()
    }

    /// Bytes from the first w, x and out to those of an index.
    fn at(&self, mut index: usize) -> [isize; 3] {
        let mut places = [0; 3];
        for axis in (0..self.lengths.len()).rev() {
            let i = (index % self.lengths[axis]) as isize;
            index /= self.lengths[axis];
            for (place, steps) in places.iter_mut().zip(&self.steps) {
                *place += i * steps[axis];
            }
        }
        places
    }
}

/// # Safety
/// As for [`matmul_vec`].
unsafe fn multiply<T: Arithmetic>(device: CpuDevice, w: View<'_>, x: View<'_>, out: ViewMut<'_>) -> Result<()> {
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
    let plan = Plan::new(w, x, out);
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
    fn new(w: View<'_>, x: View<'_>, out: ViewMut<'_>) -> Self {
        let leading = out.layout.ndim() - 1;
        let bytes = |stride: isize, dtype: DType| stride * dtype.size() as isize;
        let (mut outer, mut vectors) = (Axes::default(), Axes::default());
        for axis in 0..leading {
            let length = out.layout.shape[axis];
            let steps = [
                bytes(w.layout.strides[axis], w.dtype),
                bytes(x.layout.strides[axis], x.dtype),
                bytes(out.layout.strides[axis], out.dtype),
            ];
            if length != 1 {
                if steps[0] == 0 { &mut vectors } else { &mut outer }.push(length, steps);
            }
        }
        let (n, k) = (w.layout.shape[leading], w.layout.shape[leading + 1]);
        let down = bytes(w.layout.strides[leading], w.dtype);
        let across = bytes(w.layout.strides[leading + 1], w.dtype);
        let size = w.dtype.size() as isize;
        let (along_rows, along_columns) = (across == size || k == 1, down == size || n == 1);
        let way = match (along_rows, along_columns) {
            (true, true) => {
                if n > k {
                    Way::Columns
                } else {
                    Way::Rows
                }
            }
            (true, false) => Way::Rows,
            _ if n < SHORT => Way::Rows,
            (false, true) => Way::Columns,
            (false, false) => {
                if across.abs() <= down.abs() {
                    Way::Rows
                } else {
                    Way::Columns
                }
            }
        };
        let mut plan = Self {
            way,
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
            cached: self.vectors_per_task > 1 || self.n * self.k * self.dtypes[0].size() <= CACHED,
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
                    numbers.add(i).write(T::finish(sums.add(start + i).read()));
                }
                let out = out.wrapping_offset(start as isize * self.out_step);
                convert::store::<T>(level, self.dtypes[1], numbers, out, self.out_step, count);
            }
        }
    }
}

impl Arithmetic for f32 {
    const DTYPE: DType = DType::Float32;
    type Sum = f64;

    fn add(a: f64, b: f64) -> f64 {
        a + b
    }

    fn widen(self) -> f64 {
        f64::from(self)
    }

    fn finish(sum: f64) -> Self {
        sum as Self
    }

    unsafe fn sums(part: &Part<Self>, by: Way, sums: *mut f64) {
        // SAFETY: the caller's promise.
        unsafe {
            match (part.dtype, by) {
                (DType::Float32, _) => float_sums::<f32>(part, by, sums),
                (DType::Float16, _) => float_sums::<f16>(part, by, sums),
                (DType::BFloat16, _) => float_sums::<bf16>(part, by, sums),
                _ => sums_through_blocks(part, by, sums),
            }
        }
    }

    #[inline(always)]
    unsafe fn dot<V: Simd>(w: *const Self, x: *const Self, len: usize) -> f64 {
        // SAFETY: the caller's promise.
        let [sum] = unsafe { dots::<V, f32, 1, 4>([w], x, len, None) };
        sum
    }

    #[inline(always)]
    unsafe fn add_multiple<V: Simd>(w: *const Self, x: Self, to: *mut Self, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { add_columns::<V, f32, 1>([w], [x], to, len) }
    }
}

impl Arithmetic for i32 {
    const DTYPE: DType = DType::Int32;
    type Sum = i32;

    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    fn widen(self) -> i32 {
        self
    }

    fn finish(sum: i32) -> Self {
        sum
    }

    unsafe fn sums(part: &Part<Self>, by: Way, sums: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { sums_through_blocks(part, by, sums) }
    }

    #[inline(always)]
    unsafe fn dot<V: Simd>(w: *const Self, x: *const Self, len: usize) -> i32 {
        let mut sum = 0_i32;
        for i in 0..len {
            // SAFETY: the caller's promise.
            let product = unsafe { w.add(i).read().wrapping_mul(x.add(i).read()) };
            sum = sum.wrapping_add(product);
        }
        sum
    }

    #[inline(always)]
    unsafe fn add_multiple<V: Simd>(w: *const Self, x: Self, to: *mut Self, len: usize) {
        for i in 0..len {
            // SAFETY: the caller's promise.
            unsafe { to.add(i).write(to.add(i).read().wrapping_add(w.add(i).read().wrapping_mul(x))) };
        }
    }
}

/// Floats that are where they should be need no blocks.
///
/// # Safety
/// As for [`Arithmetic::sums`]; the matrix is of `E`.
unsafe fn float_sums<E: Element>(part: &Part<f32>, by: Way, sums: *mut f64) {
    let unit = size_of::<E>() as isize;
    if by == Way::Rows && part.columns <= TILE_BYTES / size_of::<E>() && part.rows >= SHORT {
        // SAFETY: the caller's promise.
        unsafe { sums_of_short_rows::<E>(part, sums) };
    } else if by == Way::Rows && (part.across == unit || part.columns == 1) {
        part.level.run(ByRows::<E>(part, sums, PhantomData));
    } else if by == Way::Columns && (part.down == unit || part.rows == 1) {
        part.level.run(ByColumns::<E>(part, sums, PhantomData));
    } else {
        // SAFETY: the caller's promise.
        unsafe { sums_through_blocks(part, by, sums) }
    }
}

/// Rows of a few elements are turned around in small tiles, and go by columns.
///
/// # Safety
/// As for [`Arithmetic::sums`]; the matrix is of `E`, and a row has at most [`TILE_BYTES`].
unsafe fn sums_of_short_rows<E: Element>(part: &Part<f32>, sums: *mut f64) {
    let mut tile = Tile::new();
    for row in (0..part.rows).step_by(TILE_COLUMNS) {
        let rows = TILE_COLUMNS.min(part.rows - row);
        let start = part.w.wrapping_offset(row as isize * part.down);
        let size = size_of::<E>();
        // SAFETY: the caller's promise. What are rows to us are columns to the tile.
        unsafe { tile.fill(size, start, part.down, part.across, part.columns, rows) };
        let turned =
            Part { w: tile.start(), down: size as isize, across: (TILE_COLUMNS * size) as isize, rows, ..*part };
        // SAFETY: as above.
        part.level.run(ByColumns::<E>(&turned, unsafe { sums.add(row) }, PhantomData));
    }
}

struct ByRows<'a, E>(&'a Part<f32>, *mut f64, PhantomData<E>);

impl<E: Element> Kernel for ByRows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self(part, sums, _) = self;
        let mut row = 0;
        // SAFETY: the promise to `float_sums`.
        unsafe {
            while part.cached && row + 4 <= part.rows {
                let mut rows = [std::ptr::null::<E>(); 4];
                for (i, place) in rows.iter_mut().enumerate() {
                    *place = part.w.wrapping_offset((row + i) as isize * part.down).cast();
                }
                sums.add(row).cast::<[f64; 4]>().write(dots::<V, E, 4, 2>(rows, part.x, part.columns, None));
                row += 4;
            }
            while row < part.rows {
                let start = part.w.wrapping_offset(row as isize * part.down).cast::<E>();
                sums.add(row).cast::<[f64; 1]>().write(dots::<V, E, 1, 4>(
                    [start],
                    part.x,
                    part.columns,
                    Some(part.down),
                ));
                row += 1;
            }
        }
    }
}

/// The dot products of R rows with x, each in A sums that are added up every [`CHAIN`] steps.
///
/// Four rows at a time, which share the loads of x, are the fastest way through the caches. Through memory it is one
/// row, with what comes [`AHEAD`] bytes later fetched in advance; `next` says how far it is to the row after it.
///
/// # Safety
/// The rows and x have `len` elements.
#[inline(always)]
unsafe fn dots<V: Simd, E: Element, const R: usize, const A: usize>(
    rows: [*const E; R],
    x: *const f32,
    len: usize,
    next: Option<isize>,
) -> [f64; R] {
    let mut totals = [0.0; R];
    let mut i = 0;
    while i < len {
        let end = len.min(i + CHAIN * A * V::LANES);
        let mut sums = [[V::splat(0.0); A]; R];
        // SAFETY: the caller's promise; `end` is at most `len`.
        unsafe {
            while i + A * V::LANES <= end {
                if let Some(next) = next {
                    let bytes = len * size_of::<E>();
                    let far = i * size_of::<E>() + if next == bytes as isize { AHEAD } else { AHEAD.min(bytes) };
                    let row = rows[0].cast::<u8>();
                    let place = if far < bytes { row } else { row.wrapping_offset(next).wrapping_sub(bytes) };
                    for line in 0..A * V::LANES * size_of::<E>() / 64 {
                        prefetch(place.wrapping_add(far + line * 64));
                    }
                }
                for a in 0..A {
                    let x = V::load_f32(x.add(i + a * V::LANES));
                    for r in 0..R {
                        sums[r][a] = E::load::<V>(rows[r].add(i + a * V::LANES)).fma(x, sums[r][a]);
                    }
                }
                i += A * V::LANES;
            }
            while i + V::LANES <= end {
                let x = V::load_f32(x.add(i));
                for r in 0..R {
                    sums[r][0] = E::load::<V>(rows[r].add(i)).fma(x, sums[r][0]);
                }
                i += V::LANES;
            }
            if i < end {
                let x = V::load_f32_tail(x.add(i), end - i);
                for r in 0..R {
                    sums[r][1] = E::load_tail::<V>(rows[r].add(i), end - i).fma(x, sums[r][1]);
                }
                i = end;
            }
        }
        for r in 0..R {
            let mut sum = sums[r][0];
            for a in 1..A {
                sum = sum.add(sums[r][a]);
            }
            totals[r] += f64::from(sum.sum());
        }
    }
    totals
}

struct ByColumns<'a, E>(&'a Part<f32>, *mut f64, PhantomData<E>);

impl<E: Element> Kernel for ByColumns<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        const GROUP: usize = 8;
        let Self(part, totals, _) = self;
        let mut sums = MaybeUninit::<[f32; ROWS]>::uninit();
        let sums = sums.as_mut_ptr().cast::<f32>();
        // SAFETY: the promise to `float_sums`; a part has at most `ROWS` rows.
        unsafe {
            clear(totals, part.rows);
            let mut column = 0;
            while column < part.columns {
                let end = part.columns.min(column + CHAIN * GROUP);
                clear(sums, part.rows);
                while column + GROUP <= end {
                    let mut columns = [std::ptr::null::<E>(); GROUP];
                    for (i, place) in columns.iter_mut().enumerate() {
                        *place = part.w.wrapping_offset((column + i) as isize * part.across).cast();
                    }
                    let x = part.x.add(column).cast::<[f32; GROUP]>().read();
                    add_columns::<V, E, GROUP>(columns, x, sums, part.rows);
                    column += GROUP;
                }
                while column < end {
                    let start = part.w.wrapping_offset(column as isize * part.across).cast::<E>();
                    add_columns::<V, E, 1>([start], [part.x.add(column).read()], sums, part.rows);
                    column += 1;
                }
                add_up(sums, totals, part.rows);
            }
        }
    }
}

/// # Safety
/// There is room for `count` of them.
#[inline(always)]
unsafe fn clear<T: Default>(to: *mut T, count: usize) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        unsafe { to.add(i).write(T::default()) };
    }
}

/// # Safety
/// There are so many numbers and sums.
#[inline(always)]
unsafe fn add_up<T: Arithmetic>(numbers: *const T, sums: *mut T::Sum, count: usize) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        unsafe { sums.add(i).write(T::add(sums.add(i).read(), numbers.add(i).read().widen())) };
    }
}

/// Adds C columns times their x to sums.
///
/// # Safety
/// The columns and the sums have `len` elements.
#[inline(always)]
unsafe fn add_columns<V: Simd, E: Element, const C: usize>(
    columns: [*const E; C],
    x: [f32; C],
    sums: *mut f32,
    len: usize,
) {
    let mut i = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while i + V::LANES <= len {
            let mut sum = E::load::<V>(columns[0].add(i)).mul(V::splat(x[0]));
            for c in 1..C {
                sum = E::load::<V>(columns[c].add(i)).fma(V::splat(x[c]), sum);
            }
            V::load_f32(sums.add(i)).add(sum).store_f32(sums.add(i));
            i += V::LANES;
        }
        if i < len {
            let mut sum = V::load_f32_tail(sums.add(i), len - i);
            for c in 0..C {
                sum = E::load_tail::<V>(columns[c].add(i), len - i).fma(V::splat(x[c]), sum);
            }
            sum.store_f32_tail(sums.add(i), len - i);
        }
    }
}

/// Any strides and types: a stretch of a row or column at a time is gathered and converted.
///
/// # Safety
/// As for [`Arithmetic::sums`].
unsafe fn sums_through_blocks<T: Arithmetic>(part: &Part<T>, by: Way, sums: *mut T::Sum) {
    // SAFETY: the caller's promise.
    unsafe {
        match by {
            Way::Rows => {
                for row in 0..part.rows {
                    let start = part.w.wrapping_offset(row as isize * part.down);
                    let mut sum = T::Sum::default();
                    for column in (0..part.columns).step_by(BLOCK) {
                        let len = BLOCK.min(part.columns - column);
                        let mut block = Block::new();
                        let w = part.stretch(
                            start.wrapping_offset(column as isize * part.across),
                            part.across,
                            len,
                            &mut block,
                        );
                        sum = T::add(sum, part.level.run(Dot(w, part.x.add(column), len)));
                    }
                    sums.add(row).write(sum);
                }
            }
            Way::Columns => {
                for row in (0..part.rows).step_by(BLOCK) {
                    let len = BLOCK.min(part.rows - row);
                    let start = part.w.wrapping_offset(row as isize * part.down);
                    let sums = sums.add(row);
                    clear(sums, len);
                    let mut partial = Block::new();
                    let partial = partial.as_mut_ptr::<T>();
                    for first in (0..part.columns).step_by(CHAIN) {
                        clear(partial, len);
                        for column in first..part.columns.min(first + CHAIN) {
                            let mut block = Block::new();
                            let w = part.stretch(
                                start.wrapping_offset(column as isize * part.across),
                                part.down,
                                len,
                                &mut block,
                            );
                            part.level.run(AddMultiple(w, part.x.add(column).read(), partial, len));
                        }
                        part.level.run(AddUp(partial, sums, len));
                    }
                }
            }
        }
    }
}

impl<T: Arithmetic> Part<T> {
    /// `len` elements of the matrix as numbers one after another: where they are, or in the block.
    ///
    /// # Safety
    /// There are so many elements at that step, and at most [`BLOCK`].
    unsafe fn stretch(&self, start: *const u8, step: isize, len: usize, block: &mut Block) -> *const T {
        if T::is_stored_in(self.dtype) && step == size_of::<T>() as isize {
            return start.cast();
        }
        let numbers = block.as_mut_ptr::<T>();
        // SAFETY: the caller's promise.
        unsafe { convert::load::<T>(self.level, self.dtype, start, step, numbers, len) };
        numbers
    }
}

struct Dot<T>(*const T, *const T, usize);

impl<T: Arithmetic> Kernel for Dot<T> {
    type Output = T::Sum;
    #[inline(always)]
    fn run<V: Simd>(self) -> T::Sum {
        // SAFETY: made in `sums_through_blocks` with that many elements.
        unsafe { T::dot::<V>(self.0, self.1, self.2) }
    }
}

struct AddMultiple<T>(*const T, T, *mut T, usize);

impl<T: Arithmetic> Kernel for AddMultiple<T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        // SAFETY: made in `sums_through_blocks` with that many elements.
        unsafe { T::add_multiple::<V>(self.0, self.1, self.2, self.3) }
    }
}

struct AddUp<T: Arithmetic>(*const T, *mut T::Sum, usize);

impl<T: Arithmetic> Kernel for AddUp<T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        // SAFETY: made in `sums_through_blocks` with that many elements.
        unsafe { add_up(self.0, self.1, self.2) }
    }
}

#[cfg(test)]
mod tests;
