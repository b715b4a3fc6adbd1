//! Reductions on the CPU: any types, any strides, any axes.
//!
//! This file chooses what a row is reduced to and makes the result of it; [`floats`] and [`plain`] have the loops, and
//! [`crate::cpu::rows`] the way through the rows.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]

pub(crate) mod floats;
mod plain;

use std::marker::PhantomData;

use half::{bf16, f16};

use self::floats::{Extreme, Moments, Place, Sum};
use self::plain::{FloatProduct, IntExtreme, IntMoments, IntPlace, IntProduct, IntSum, Order, Plain, Total, Truths};
use super::Reduction;
use crate::cpu::convert::{self, BLOCK, Block, Number, Truth};
use crate::cpu::rows::{self, ALONE, Cut, Operand, Plan, ROWS, Reducer};
use crate::cpu::simd::Level;
use crate::cpu::{CpuDevice, View, ViewMut, walk};
use crate::dtype::{DType, Kind};
use crate::error::Result;

/// Reduces x along `axes`, which are different from each other. The output has x's shape with those of length 1. Its
/// type and x's are ones that the reduction takes; places are counted in row-major order of the reduced axes.
///
/// Fails only if there is no memory for results of parts of rows.
///
/// # Safety
/// The elements of x are readable; the output's are writable, each in a place of its own, and share no memory with x.
/// If there are any results, the rows of a maximum, a minimum or a place have elements.
pub(crate) unsafe fn reduce(
    device: CpuDevice,
    reduction: Reduction,
    x: View<'_>,
    axes: &[usize],
    out: ViewMut<'_>,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let signed = x.dtype != DType::UInt32;
    let count = axes.iter().map(|&axis| x.layout.shape[axis]).product::<usize>() as f64;
    let work = Work { device, x, axes, out, count, cut: Cut::Pieces };
    let ordered = Work { cut: Cut::Ordered, ..work };
    let max = matches!(reduction, Reduction::Max | Reduction::ArgMax);
    let order = Order::new(max, signed);
    // SAFETY: the caller's promise.
    unsafe {
        match (reduction, x.dtype.kind()) {
            (Reduction::Any, _) => work.truths::<true>(0.0, |[some], _| some),
            (Reduction::All, _) => work.truths::<false>(1.0, |[some], _| 1.0 - some),
            (Reduction::Sum, Kind::Float) => work.sum(0.0, |[sum], _| sum),
            (Reduction::Sum, _) => work.run(Plain(IntSum), 0.0, |[sum], _| sum),
            (Reduction::Mean, Kind::Float) => work.sum(f64::NAN, |[sum], count| sum / count),
            (Reduction::Mean, _) if signed => work.run(Plain(Total::<true>), f64::NAN, |[sum], count| sum / count),
            (Reduction::Mean, _) => work.run(Plain(Total::<false>), f64::NAN, |[sum], count| sum / count),
            (Reduction::Prod, Kind::Float) => work.run(Plain(FloatProduct), 1.0, |[product], _| product),
            (Reduction::Prod, _) => work.run(Plain(IntProduct), 1.0, |[product], _| product),
            (Reduction::Max, Kind::Float) => work.extreme::<true>(),
            (Reduction::Min, Kind::Float) => work.extreme::<false>(),
            (Reduction::Max | Reduction::Min, _) => work.run(Plain(IntExtreme(order)), 0.0, |[best], _| best),
            (Reduction::ArgMax, Kind::Float) => ordered.run(Place::<true>, 0.0, |[_, place], _| place),
            (Reduction::ArgMin, Kind::Float) => ordered.run(Place::<false>, 0.0, |[_, place], _| place),
            (Reduction::ArgMax | Reduction::ArgMin, _) => ordered.run(IntPlace(order), 0.0, |[_, place], _| place),
            (Reduction::Var { correction } | Reduction::Std { correction }, kind) => {
                let root = matches!(reduction, Reduction::Std { .. });
                let finish = move |[_, _, squares]: [f64; 3], count: f64| {
                    let variance = squares / (count - correction).max(0.0);
                    if root { variance.sqrt() } else { variance }
                };
                match kind {
                    Kind::Float => work.run(Moments::<f32>(PhantomData), f64::NAN, finish),
                    _ if signed => work.run(IntMoments::<true>, f64::NAN, finish),
                    _ => work.run(IntMoments::<false>, f64::NAN, finish),
                }
            }
        }
    }
}

/// One reduction.
#[derive(Clone, Copy)]
struct Work<'a> {
    device: CpuDevice,
    x: View<'a>,
    axes: &'a [usize],
    out: ViewMut<'a>,
    /// How many elements a row has.
    count: f64,
    cut: Cut,
}

impl Work<'_> {
    /// Reduces by the sums of floats.
    ///
    /// # Safety
    /// As for [`reduce`].
    unsafe fn sum(&self, none: f64, finish: impl Fn([f64; 1], f64) -> f64 + Sync) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe {
            match self.x.dtype {
                DType::Float16 => self.run(Sum::<f16>(PhantomData), none, finish),
                DType::BFloat16 => self.run(Sum::<bf16>(PhantomData), none, finish),
                _ => self.run(Sum::<f32>(PhantomData), none, finish),
            }
        }
    }

    /// Reduces floats to the largest or smallest.
    ///
    /// # Safety
    /// As for [`reduce`].
    unsafe fn extreme<const MAX: bool>(&self) -> Result<()> {
        let finish = |[best]: [f64; 1], _| best;
        // SAFETY: the caller's promise.
        unsafe {
            match self.x.dtype {
                DType::Float16 => self.run(Extreme::<f16, MAX>(PhantomData), 0.0, finish),
                DType::BFloat16 => self.run(Extreme::<bf16, MAX>(PhantomData), 0.0, finish),
                _ => self.run(Extreme::<f32, MAX>(PhantomData), 0.0, finish),
            }
        }
    }

    /// Reduces to whether there is some element that is true, or false.
    ///
    /// # Safety
    /// As for [`reduce`].
    unsafe fn truths<const SOME: bool>(&self, none: f64, finish: impl Fn([f64; 1], f64) -> f64 + Sync) -> Result<()> {
        let float = self.x.dtype.kind() == Kind::Float;
        // SAFETY: the caller's promise.
        unsafe {
            match self.x.dtype.size() {
                1 => self.run(Plain(Truths::<u8, SOME>::new(float)), none, finish),
                2 => self.run(Plain(Truths::<u16, SOME>::new(float)), none, finish),
                _ => self.run(Plain(Truths::<u32, SOME>::new(float)), none, finish),
            }
        }
    }

    /// Reduces rows to states, and makes results of these and of the number of elements in a row. `none` is the result
    /// for none.
    ///
    /// # Safety
    /// As for [`reduce`].
    unsafe fn run<R: Reducer<F>, const F: usize>(
        &self,
        reducer: R,
        none: f64,
        finish: impl Fn([f64; F], f64) -> f64 + Sync,
    ) -> Result<()> {
        let (level, dtype, elements) = (self.device.level(), self.out.dtype, self.count);
        if elements == 0.0 {
            let out = walk::Operand { start: self.out.start(), strides: &self.out.layout.strides, size: dtype.size() };
            // SAFETY: the caller's promise.
            unsafe {
                walk::for_each_run(self.device, &self.out.layout.shape, [out], &|run| {
                    for first in (0..run.len).step_by(BLOCK) {
                        let place = run.places[0].wrapping_offset(first as isize * run.steps[0]);
                        store(level, dtype, |_| none, BLOCK.min(run.len - first), place, run.steps[0]);
                    }
                });
            }
            return Ok(());
        }
        let mut strides = self.out.layout.strides.clone();
        for &axis in self.axes {
            strides[axis] = 0;
        }
        let out = Operand { strides: &strides, ..self.out.into() };
        let plan = Plan::of_one::<R::Item>(&self.x.layout.shape, self.axes, [self.x.into(), out], self.cut);
        // SAFETY: the caller's promise.
        unsafe {
            rows::fold(self.device, reducer, &plan, ALONE, &|states| {
                states.for_each_run(1, |row, count, place, step| {
                    store(level, dtype, |i| finish(states.get(row + i), elements), count, place, step);
                });
            })
        }
    }
}

/// Stores results, at most [`BLOCK`], `step` bytes apart.
///
/// # Safety
/// The output has room for `count` elements of its type.
unsafe fn store(level: Level, dtype: DType, result: impl Fn(usize) -> f64, count: usize, place: *mut u8, step: isize) {
    /// # Safety
    /// As above.
    unsafe fn of<T: Number>(
        level: Level,
        dtype: DType,
        number: impl Fn(usize) -> T,
        count: usize,
        place: *mut u8,
        step: isize,
    ) {
        let mut block = Block::new();
        let numbers = block.as_mut_ptr::<T>();
        // SAFETY: the caller's promise; a block has room for `BLOCK` numbers.
        unsafe {
            for i in 0..count {
                numbers.add(i).write(number(i));
            }
            convert::store(level, dtype, numbers, place, step, count);
        }
    }
    const { assert!(ROWS <= BLOCK) };
    // SAFETY: the caller's promise.
    unsafe {
        match dtype.kind() {
            Kind::Float => of(level, dtype, |i| result(i) as f32, count, place, step),
            Kind::Int => of(level, dtype, |i| result(i) as i64 as i32, count, place, step),
            Kind::Bool => of(level, dtype, |i| Truth(u8::from(result(i) != 0.0)), count, place, step),
        }
    }
}

#[cfg(test)]
mod tests;
