//! Running sums on the CPU, through small blocks: floats in `f64`, all others in `i32`.
//!
//! Where other rows lie beside a row in memory, a block holds one element of each of many rows. Otherwise it holds
//! neighbours of one row, and long rows are cut into chunks, whose sums are found first. How rows are cut depends on
//! shapes alone, so that the result does not depend on the number of threads.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]

use crate::cpu::convert::{self, BLOCK, Block, Number};
use crate::cpu::simd::{Kernel, Level, Simd};
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::{DType, Kind};
use crate::shape::{Layout, Shape};

/// Below so many elements other threads cost more than they bring.
const ALONE: usize = 1 << 16;
/// About how many elements a thread takes at a time.
const CHUNK: usize = 1 << 16;
/// So few rows are better done one by one.
const SHORT: usize = 16;

/// Running sums along the last axis.
///
/// # Safety
/// Both have one shape, with an axis and with elements. The output's type is a float if the input's is, and otherwise
/// `int32` or `uint32`. Elements are readable; the output's are writable, each in a place of its own, and share no
/// memory with the input.
pub(crate) unsafe fn cumsum(device: CpuDevice, x: View<'_>, out: ViewMut<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        if out.dtype.kind() == Kind::Float {
            sum::<f32>(device, x, out);
        } else {
            sum::<i32>(device, x, out);
        }
    }
}

/// How numbers are summed.
trait Summed: Number {
    type Sum: Copy + Default + Send + Sync;
    fn add(sum: Self::Sum, other: Self::Sum) -> Self::Sum;
    fn widened(self) -> Self::Sum;
    fn narrowed(sum: Self::Sum) -> Self;
}

impl Summed for f32 {
    type Sum = f64;
    #[inline(always)]
    fn add(sum: f64, other: f64) -> f64 {
        sum + other
    }
    #[inline(always)]
    fn widened(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn narrowed(sum: f64) -> Self {
        sum as Self
    }
}

impl Summed for i32 {
    type Sum = Self;
    #[inline(always)]
    fn add(sum: Self, other: Self) -> Self {
        sum.wrapping_add(other)
    }
    #[inline(always)]
    fn widened(self) -> Self {
        self
    }
    #[inline(always)]
    fn narrowed(sum: Self) -> Self {
        sum
    }
}

/// # Safety
/// As for [`cumsum`].
unsafe fn sum<T: Summed>(device: CpuDevice, x: View<'_>, out: ViewMut<'_>) {
    let last = x.layout.ndim() - 1;
    let [x_bytes, out_bytes] = [(x.layout, x.dtype), (out.layout, out.dtype)].map(|(layout, dtype)| {
        let size = dtype.size() as isize;
        Layout { offset: 0, strides: layout.strides.iter().map(|&s| s * size).collect(), shape: layout.shape.clone() }
    });
    // The axis along which other rows lie nearest, if they are nearer than the next element of the same row.
    let beside = (0..last)
        .filter(|&axis| x_bytes.shape[axis] >= SHORT)
        .min_by_key(|&axis| out_bytes.strides[axis].unsigned_abs())
        .filter(|&axis| out_bytes.strides[axis].unsigned_abs() < out_bytes.strides[last].unsigned_abs());
    let outer: Shape = (0..last).filter(|&axis| Some(axis) != beside).collect();
    let work = Work {
        level: device.level(),
        dtypes: [x.dtype, out.dtype],
        starts: (x.start(), out.start()),
        shape: outer.iter().map(|&axis| x_bytes.shape[axis]).collect(),
        strides: outer.iter().map(|&axis| [x_bytes.strides[axis], out_bytes.strides[axis]]).collect(),
        length: x_bytes.shape[last],
        steps: [x_bytes.strides[last], out_bytes.strides[last]],
    };
    let device = if x.layout.len() <= ALONE { device.with_threads(1) } else { device };
    // SAFETY: the caller's promise.
    unsafe {
        match beside {
            Some(axis) => {
                work.columns::<T>(device, x_bytes.shape[axis], [x_bytes.strides[axis], out_bytes.strides[axis]]);
            }
            None => work.rows::<T>(device),
        }
    }
}

/// Strides and steps are in bytes; pairs are of the input and the output.
struct Work {
    level: Level,
    dtypes: [DType; 2],
    starts: (*const u8, *mut u8),
    shape: Shape,
    strides: Vec<[isize; 2]>,
    length: usize,
    steps: [isize; 2],
}

impl Work {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Where a row begins.
    fn places(&self, mut row: usize) -> (*const u8, *mut u8) {
        let (mut x, mut out) = self.starts;
        for axis in (0..self.shape.len()).rev() {
            let at = (row % self.shape[axis]) as isize;
            row /= self.shape[axis];
            x = x.wrapping_offset(at * self.strides[axis][0]);
            out = out.wrapping_offset(at * self.strides[axis][1]);
        }
        (x, out)
    }

    /// Rows one by one.
    ///
    /// # Safety
    /// The promise of [`cumsum`].
    unsafe fn rows<T: Summed>(&self, device: CpuDevice) {
        let (rows, chunks) = (self.count(), self.length.div_ceil(CHUNK));
        // What goes before each chunk.
        let mut sums = vec![T::Sum::default(); if chunks > 1 { rows * chunks } else { 0 }];
        // SAFETY: each task writes a place of its own.
        let shared = unsafe { Shared::new((self, sums.as_mut_ptr())) };
        if chunks > 1 {
            device.for_each_chunk(rows * chunks, |task| {
                let (work, sums) = shared.get();
                let (row, chunk) = (task / chunks, task % chunks);
                // SAFETY: the caller's promise. The last chunk goes before none, and a chunk's sum goes to the next.
                unsafe {
                    if chunk + 1 < chunks {
                        let (x, _) = work.places(row);
                        sums.add(task + 1).write(work.total::<T>(x, chunk * CHUNK, CHUNK));
                    }
                }
            });
            for row in sums.chunks_exact_mut(chunks) {
                let mut sum = T::Sum::default();
                for (chunk, place) in row.iter_mut().enumerate() {
                    if chunk > 0 {
                        sum = T::add(sum, *place);
                    }
                    *place = sum;
                }
            }
        }
        // SAFETY: tasks write rows, or chunks of them, of their own.
        let shared = unsafe { Shared::new((self, sums.as_ptr())) };
        let group = if chunks > 1 { 1 } else { (CHUNK / self.length).clamp(1, rows) };
        device.for_each_chunk((rows * chunks).div_ceil(group), |index| {
            let (work, sums) = shared.get();
            for task in index * group..(rows * chunks).min((index + 1) * group) {
                let (row, chunk) = (task / chunks, task % chunks);
                let (x, out) = work.places(row);
                let from = chunk * CHUNK;
                // SAFETY: the caller's promise; there is a sum for each task if there are several chunks.
                unsafe {
                    let before = if chunks > 1 { sums.add(task).read() } else { T::Sum::default() };
                    work.run::<T>(x, out, from, CHUNK.min(work.length - from), before);
                }
            }
        });
    }

    /// The sum of a part of a row.
    ///
    /// # Safety
    /// The row has these elements.
    unsafe fn total<T: Summed>(&self, x: *const u8, first: usize, count: usize) -> T::Sum {
        let mut block = Block::new();
        let numbers = block.as_mut_ptr::<T>();
        let mut sum = T::Sum::default();
        for start in (first..first + count).step_by(BLOCK) {
            let part = BLOCK.min(first + count - start);
            let from = x.wrapping_offset(start as isize * self.steps[0]);
            // SAFETY: the caller's promise; the block has room for `BLOCK` numbers.
            unsafe {
                convert::load::<T>(self.level, self.dtypes[0], from, self.steps[0], numbers, part);
                sum = T::add(sum, self.level.run(Total { numbers, count: part }));
            }
        }
        sum
    }

    /// The running sums of a part of a row.
    ///
    /// # Safety
    /// The row has these elements, in the input and the output.
    unsafe fn run<T: Summed>(&self, x: *const u8, out: *mut u8, first: usize, count: usize, mut before: T::Sum) {
        let mut block = Block::new();
        let numbers = block.as_mut_ptr::<T>();
        for start in (first..first + count).step_by(BLOCK) {
            let part = BLOCK.min(first + count - start);
            let from = x.wrapping_offset(start as isize * self.steps[0]);
            let to = out.wrapping_offset(start as isize * self.steps[1]);
            // SAFETY: the caller's promise; the block has room for `BLOCK` numbers.
            unsafe {
                convert::load::<T>(self.level, self.dtypes[0], from, self.steps[0], numbers, part);
                before = self.level.run(Running { numbers, count: part, before });
                convert::store::<T>(self.level, self.dtypes[1], numbers, to, self.steps[1], part);
            }
        }
    }

    /// Many rows that lie beside one another, so many bytes apart.
    ///
    /// # Safety
    /// The promise of [`cumsum`].
    unsafe fn columns<T: Summed>(&self, device: CpuDevice, width: usize, across: [isize; 2]) {
        let parts = width.div_ceil(BLOCK);
        // SAFETY: tasks write rows of their own.
        let shared = unsafe { Shared::new(self) };
        device.for_each_chunk(self.count() * parts, |task| {
            let work = shared.get();
            let (x, out) = work.places(task / parts);
            let first = task % parts * BLOCK;
            let count = BLOCK.min(width - first);
            let mut from = x.wrapping_offset(first as isize * across[0]);
            let mut to = out.wrapping_offset(first as isize * across[1]);
            let mut block = Block::new();
            let numbers = block.as_mut_ptr::<T>();
            let mut sums = [T::Sum::default(); BLOCK];
            for _ in 0..work.length {
                // SAFETY: the caller's promise; the block has room for `BLOCK` numbers.
                unsafe {
                    convert::load::<T>(work.level, work.dtypes[0], from, across[0], numbers, count);
                    work.level.run(Beside { numbers, sums: &mut sums[..count] });
                    convert::store::<T>(work.level, work.dtypes[1], numbers, to, across[1], count);
                }
                from = from.wrapping_offset(work.steps[0]);
                to = to.wrapping_offset(work.steps[1]);
            }
        });
    }
}

struct Total<T> {
    numbers: *const T,
    count: usize,
}

impl<T: Summed> Kernel for Total<T> {
    type Output = T::Sum;

    #[inline(always)]
    fn run<V: Simd>(self) -> T::Sum {
        // SAFETY: `total` loaded so many.
        let numbers = unsafe { std::slice::from_raw_parts(self.numbers, self.count) };
        // Several sums in turn, so that none waits for another.
        let mut sums = [T::Sum::default(); 16];
        let mut groups = numbers.chunks_exact(16);
        for group in &mut groups {
            for (sum, &number) in sums.iter_mut().zip(group) {
                *sum = T::add(*sum, number.widened());
            }
        }
        let rest = groups.remainder().iter().map(|&number| number.widened());
        sums.into_iter().chain(rest).fold(T::Sum::default(), T::add)
    }
}

struct Running<T: Summed> {
    numbers: *mut T,
    count: usize,
    before: T::Sum,
}

impl<T: Summed> Kernel for Running<T> {
    type Output = T::Sum;

    #[inline(always)]
    fn run<V: Simd>(self) -> T::Sum {
        // SAFETY: `run` loaded so many.
        let numbers = unsafe { std::slice::from_raw_parts_mut(self.numbers, self.count) };
        let mut before = self.before;
        let mut groups = numbers.chunks_exact_mut(4);
        for group in &mut groups {
            // Only one addition of four waits for those before.
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| group[i].widened());
            let (ab, cd) = (T::add(a, b), T::add(c, d));
            group[0] = T::narrowed(T::add(before, a));
            group[1] = T::narrowed(T::add(before, ab));
            group[2] = T::narrowed(T::add(before, T::add(ab, c)));
            before = T::add(before, T::add(ab, cd));
            group[3] = T::narrowed(before);
        }
        for number in groups.into_remainder() {
            before = T::add(before, number.widened());
            *number = T::narrowed(before);
        }
        before
    }
}

struct Beside<'a, T: Summed> {
    numbers: *mut T,
    sums: &'a mut [T::Sum],
}

impl<T: Summed> Kernel for Beside<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        // SAFETY: `columns` loaded one for each sum.
        let numbers = unsafe { std::slice::from_raw_parts_mut(self.numbers, self.sums.len()) };
        for (number, sum) in numbers.iter_mut().zip(self.sums) {
            *sum = T::add(*sum, number.widened());
            *number = T::narrowed(*sum);
        }
    }
}
