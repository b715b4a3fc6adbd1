//! Elementwise operations on the CPU: any types, any strides, broadcasting included.
//!
//! An operation says what it does to vectors of `f32`, to an `i32`, a `u32` and a `bool` ([`Elementwise`]). For these, and for
//! `f16` and `bf16` in memory, a loop is compiled at every SIMD level ([`Loops`]). All the rest is shared by every
//! operation: the way through strides ([`crate::cpu::walk`]), and conversion through small blocks where an operand is
//! of another type, or not one element after another ([`crate::cpu::convert`]).
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]

mod loops;

use self::loops::{Fence, Loop, STEP};
use crate::cpu::convert::{self, BLOCK, Block, Number, Truth};
use crate::cpu::memory::{copy_streamed, fill_streamed};
use crate::cpu::simd::Level;
use crate::cpu::walk::{self, Operand, Run};
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::{DType, Kind};

pub(crate) use self::loops::{Elementwise, Loops};

/// Results of at least so many bytes go past the caches, which could not keep them.
const STREAM: usize = 16 << 20;
/// Shorter runs do not: the cache lines at both ends would be written in parts.
const STREAM_RUN: usize = 4096;

/// `out[i] = f(x[i])`, computed in `dtype`, which is that of the output unless `f` gives truths.
///
/// # Safety
/// Inputs have the output's shape. Their elements are readable; the output's are writable, each in a place of its own.
/// An input shares memory with the output only if both are the same elements of the same type.
pub(crate) unsafe fn unary(device: CpuDevice, loops: Loops<1>, dtype: DType, x: View<'_>, out: ViewMut<'_>) {
    // SAFETY: the caller's promise.
    unsafe { apply::<1, 2>(device, loops, dtype, [x], out) }
}

/// `out[i] = f(a[i], b[i])`, computed likewise.
///
/// # Safety
/// As for [`unary`].
pub(crate) unsafe fn binary(
    device: CpuDevice,
    loops: Loops<2>,
    dtype: DType,
    a: View<'_>,
    b: View<'_>,
    out: ViewMut<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe { apply::<2, 3>(device, loops, dtype, [a, b], out) }
}

/// `out[i] = f(a[i], b[i], c[i])`, computed likewise.
///
/// # Safety
/// As for [`unary`].
pub(crate) unsafe fn ternary(
    device: CpuDevice,
    loops: Loops<3>,
    dtype: DType,
    operands: [View<'_>; 3],
    out: ViewMut<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe { apply::<3, 4>(device, loops, dtype, operands, out) }
}

/// `out[i] = x[i]`, converted to the output's type: to integers towards zero, saturating, NaN as 0; to narrower
/// integers by dropping high bits; to `bool` as whether it is not zero; to floats by rounding to the nearest.
///
/// # Safety
/// As for [`unary`].
pub(crate) unsafe fn cast(device: CpuDevice, x: View<'_>, out: ViewMut<'_>) {
    let level = device.level();
    let stream = streams([x], out);
    let (from, to) = (x.dtype, out.dtype);
    let same_bits = from == to || from.kind() == Kind::Int && to.kind() == Kind::Int && from.size() == to.size();
    let floats = from.kind() == Kind::Float || to.kind() == Kind::Float;
    // SAFETY: the caller's promise; runs lie inside the operands.
    unsafe {
        walk_views::<1, 2>(device, [x], out, &|run| {
            if same_bits {
                copy_run(level, to.size(), run, stream);
            } else if floats {
                convert_run::<f32>(level, from, to, run, stream);
            } else {
                convert_run::<i32>(level, from, to, run, stream);
            }
        });
    }
}

/// # Safety
/// As for [`unary`].
unsafe fn apply<const N: usize, const M: usize>(
    device: CpuDevice,
    loops: Loops<N>,
    dtype: DType,
    inputs: [View<'_>; N],
    out: ViewMut<'_>,
) {
    let work = Work {
        level: device.level(),
        loops,
        dtype,
        dtypes: inputs.map(|input| input.dtype),
        out: out.dtype,
        stream: streams(inputs, out),
    };
    // SAFETY: the caller's promise; runs lie inside the operands.
    unsafe { walk_views::<N, M>(device, inputs, out, &|run| work.run(run)) }
}

/// Whether results are so large that the caches could not keep them. What was just read is there already.
fn streams<const N: usize>(inputs: [View<'_>; N], out: ViewMut<'_>) -> bool {
    out.layout.len() * out.dtype.size() >= STREAM
        && inputs.iter().all(|input| input.start() != out.start().cast_const())
}

/// # Safety
/// As for [`unary`].
unsafe fn walk_views<const N: usize, const M: usize>(
    device: CpuDevice,
    inputs: [View<'_>; N],
    out: ViewMut<'_>,
    visit: &(dyn Fn(&Run<M>) + Sync),
) {
    const { assert!(M == N + 1) };
    let last = Operand { start: out.start(), strides: &out.layout.strides, size: out.dtype.size() };
    let operands: [Operand<'_>; M] = std::array::from_fn(|n| {
        inputs.get(n).map_or(last, |input| Operand {
            start: input.start().cast_mut(),
            strides: &input.layout.strides,
            size: input.dtype.size(),
        })
    });
    // SAFETY: the caller's promise.
    unsafe { walk::for_each_run(device, &out.layout.shape, operands, visit) }
}

/// One operation in progress.
struct Work<const N: usize> {
    level: Level,
    loops: Loops<N>,
    /// In which it computes.
    dtype: DType,
    dtypes: [DType; N],
    out: DType,
    stream: bool,
}

impl<const N: usize> Work<N> {
    /// # Safety
    /// The run lies inside operands of these types.
    unsafe fn run<const M: usize>(&self, run: &Run<M>) {
        let is_dense = |step: isize, dtype: DType| step == dtype.size() as isize;
        let direct = self.dtypes == [self.dtype; N]
            && is_dense(run.steps[N], self.out)
            && run.steps[..N].iter().all(|&step| step == 0 || is_dense(step, self.dtype));
        // SAFETY: the caller's promise.
        unsafe {
            match self.dtype {
                dtype if direct && let Some(f) = self.loops.of_dtype(dtype) => self.direct(f, run),
                DType::UInt32 | DType::UInt8 => self.through_blocks::<i32, M>(self.loops.u32, run),
                dtype => match dtype.kind() {
                    Kind::Float => self.through_blocks::<f32, M>(self.loops.f32, run),
                    Kind::Int => self.through_blocks::<i32, M>(self.loops.i32, run),
                    Kind::Bool => self.through_blocks::<Truth, M>(self.loops.bool, run),
                },
            }
        }
    }

    /// Operands of the loop's own type, one element after another or the same element throughout.
    ///
    /// # Safety
    /// As for [`Work::run`].
    unsafe fn direct<const M: usize>(&self, f: Loop<N>, run: &Run<M>) {
        let (size, len, out) = (self.dtype.size(), run.len, run.places[N]);
        let stream = self.stream && len * self.out.size() >= STREAM_RUN;
        let mut inputs: [*const u8; N] = std::array::from_fn(|n| run.places[n].cast_const());
        let mut steps = [1; N];
        let mut repeated: [Block; N] = std::array::from_fn(|_| Block::new());
        for n in 0..N {
            if run.steps[n] == 0 {
                steps[n] = 0;
                // SAFETY: the caller's promise; a block is longer than a step.
                unsafe { convert::gather(size, inputs[n], 0, repeated[n].as_mut_ptr(), STEP) };
                inputs[n] = repeated[n].as_mut_ptr();
            }
        }
        // SAFETY: the caller's promise.
        unsafe { f(self.level, inputs, steps, out, len, stream) };
        if stream {
            self.level.run(Fence);
        }
    }

    /// Operands of any type with any step.
    ///
    /// # Safety
    /// As for [`Work::run`].
    unsafe fn through_blocks<T: Number, const M: usize>(&self, f: Loop<N>, run: &Run<M>) {
        let mut blocks: [Block; N] = std::array::from_fn(|_| Block::new());
        let mut result = Block::new();
        let is_own = |dtype: DType, step: isize| T::is_stored_in(dtype) && step == dtype.size() as isize;
        for start in (0..run.len).step_by(BLOCK) {
            let count = BLOCK.min(run.len - start);
            let place = |n: usize| run.places[n].wrapping_offset(run.steps[n] * start as isize);
            let mut inputs = [std::ptr::null(); N];
            // SAFETY: the caller's promise; blocks have room for `BLOCK` numbers.
            unsafe {
                for n in 0..N {
                    let (dtype, step) = (self.dtypes[n], run.steps[n]);
                    inputs[n] = if is_own(dtype, step) { place(n) } else { blocks[n].as_mut_ptr::<u8>() };
                    // A repeated element is there since the first block.
                    if !is_own(dtype, step) && (step != 0 || start == 0) {
                        convert::load::<T>(self.level, dtype, place(n), step, blocks[n].as_mut_ptr(), count);
                    }
                }
                if self.loops.tests && run.steps[N] == 1 {
                    f(self.level, inputs, [1; N], place(N), count, false);
                } else if self.loops.tests {
                    f(self.level, inputs, [1; N], result.as_mut_ptr(), count, false);
                    convert::scatter(1, result.as_mut_ptr(), place(N), run.steps[N], count);
                } else if is_own(self.out, run.steps[N]) {
                    f(self.level, inputs, [1; N], place(N), count, false);
                } else {
                    f(self.level, inputs, [1; N], result.as_mut_ptr(), count, false);
                    convert::store::<T>(self.level, self.out, result.as_mut_ptr(), place(N), run.steps[N], count);
                }
            }
        }
    }
}

/// # Safety
/// The run lies inside operands of these types.
unsafe fn convert_run<T: Number>(level: Level, from: DType, to: DType, run: &Run<2>, stream: bool) {
    let [from_step, to_step] = run.steps;
    let unit = from_step == from.size() as isize && to_step == to.size() as isize;
    if unit && (T::is_stored_in(from) || T::is_stored_in(to)) {
        let stream = stream && run.len * to.size() >= STREAM_RUN;
        // SAFETY: the caller's promise.
        unsafe { convert::between::<T>(level, (from, run.places[0]), (to, run.places[1]), run.len, stream) };
        return;
    }
    let mut block = Block::new();
    for start in (0..run.len).step_by(BLOCK) {
        let count = BLOCK.min(run.len - start);
        let [source, target] = [0, 1].map(|n| run.places[n].wrapping_offset(run.steps[n] * start as isize));
        // SAFETY: the caller's promise; the block has room for `BLOCK` numbers.
        unsafe {
            convert::load::<T>(level, from, source, from_step, block.as_mut_ptr(), count);
            convert::store::<T>(level, to, block.as_mut_ptr(), target, to_step, count);
        }
    }
}

/// # Safety
/// The run lies inside two operands with elements of `size` bytes.
unsafe fn copy_run(level: Level, size: usize, run: &Run<2>, stream: bool) {
    let [source, target] = run.places;
    let [from_step, to_step] = run.steps;
    let unit = size as isize;
    let stream = stream && run.len * size >= STREAM_RUN;
    // SAFETY: the caller's promise; the block has room for `BLOCK` elements.
    unsafe {
        if from_step == unit && to_step == unit {
            if stream {
                copy_streamed(level, target, source, run.len * size);
            } else {
                // The same elements may be copied onto themselves.
                target.copy_from(source, run.len * size);
            }
        } else if to_step == unit && from_step == 0 && stream {
            let mut pattern = Block::new();
            convert::gather(size, source, 0, pattern.as_mut_ptr(), STEP);
            fill_streamed(level, target, pattern.as_mut_ptr(), run.len * size);
        } else if to_step == unit {
            convert::gather(size, source, from_step, target, run.len);
        } else if from_step == unit {
            convert::scatter(size, source, target, to_step, run.len);
        } else {
            let mut block = Block::new();
            for start in (0..run.len).step_by(BLOCK) {
                let count = BLOCK.min(run.len - start);
                let [source, target] = [0, 1].map(|n| run.places[n].wrapping_offset(run.steps[n] * start as isize));
                convert::gather(size, source, from_step, block.as_mut_ptr(), count);
                convert::scatter(size, block.as_mut_ptr(), target, to_step, count);
            }
        }
    }
}

#[cfg(test)]
mod tests;
