//! Normalisations on the CPU.
//!
//! A row is fetched once and stays in a near cache while it is reduced and then written. Rows that are too long for
//! that, or too few for many threads, are gone through twice. Weights and biases are `f32` before the loops begin.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::cast_ptr_alignment, reason = "host memory is aligned to pages or cache lines")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "where nothing else is said it is the caller's promise")]

use std::marker::PhantomData;

use half::{bf16, f16};
use smallvec::SmallVec;

use super::{Affine, Norm};
use crate::cpu::memory::HostBuffer;
use crate::cpu::rows::{self, Cut, Float, FloatWork, Operand, Panel, Plan, Reducer, Values, load};
use crate::cpu::simd::{Element, Kernel, MAX_LANES, Simd, prefetch};
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::elementwise;
use crate::ops::reduce::cpu::floats::{Moments, Squares};
use crate::shape::{Layout, Strides};

/// Below so many elements other threads cost more than they bring.
const ALONE: usize = 1 << 17;
/// Longer rows do not stay in the second cache.
const LONGEST: usize = 1 << 17;
/// Rows up to this length are not worth sharing between threads, however few there are.
const SHORT: usize = 1 << 15;
/// With less rows than this, threads share longer ones.
const FEW: usize = 8;
/// A weight that is that of less elements than this in sequence is written out for each of them.
const RUN: usize = 32;

/// `(x − m) · r · weight + bias` for rows of the last `axes` axes of x, with m the mean if the kind has one, and r one
/// over the root of `eps` and the mean or the sum of the squares.
///
/// Fails only if there is no memory for converted weights, or for what is known of long rows.
///
/// # Safety
/// All shapes are the same. Inputs are readable; the output's elements are writable, each in a place of its own, and
/// share no memory with the inputs.
pub(crate) unsafe fn norm(
    device: CpuDevice,
    kind: Norm,
    x: View<'_>,
    axes: usize,
    affine: Affine<'_>,
    eps: f32,
    out: ViewMut<'_>,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let shape = &x.layout.shape[..];
    let axes: SmallVec<[usize; 6]> = (shape.len() - axes..shape.len()).collect();
    unsafe {
        let weight = Side::new(device, affine.weight, shape, axes.len(), &1.0)?;
        // Unlike zero, minus zero changes nothing that it is added to.
        let bias = Side::new(device, affine.bias, shape, axes.len(), &-0.0)?;
        let operands = [x.into(), out.into(), weight.operand(), bias.operand()];
        let work = Work { device, kind, shape, axes: &axes, operands, runs: [weight.run, bias.run], eps };
        rows::for_floats(shape, &axes, operands, Cut::WholeRows, work)
    }
}

/// A weight or a bias, as `f32`.
struct Side {
    /// If it had to be converted.
    _buffer: Option<HostBuffer>,
    start: *const f32,
    /// Along the axes that count rows.
    strides: Strides,
    /// How many elements of a row in sequence have the same one. Within rows they lie one after another.
    run: usize,
}

impl Side {
    /// # Safety
    /// The view is readable, and has the shape.
    unsafe fn new(
        device: CpuDevice,
        view: Option<View<'_>>,
        shape: &[usize],
        axes: usize,
        default: &'static f32,
    ) -> Result<Self> {
        let rows = shape.len() - axes;
        let Some(view) = view else {
            let strides = Strides::from_elem(0, shape.len());
            return Ok(Self { _buffer: None, start: default, strides, run: usize::MAX });
        };
        let varies = |axis: usize| shape[axis] > 1 && view.layout.strides[axis] != 0;
        let run = match (rows..shape.len()).rev().find(|&axis| varies(axis)) {
            None => usize::MAX,
            Some(last) => {
                let whole = (rows..last).all(|axis| shape[axis] == 1 || varies(axis));
                let run = shape[last + 1..].iter().product();
                if whole && run >= RUN { run } else { 1 }
            }
        };
        // The elements that are different, or have to be written out.
        let mut distinct = view.layout.clone();
        for axis in 0..shape.len() {
            let repeats = if run == 1 && axis >= rows { shape[axis] == 1 } else { !varies(axis) };
            if repeats {
                (distinct.shape[axis], distinct.strides[axis]) = (1, 0);
            }
        }
        let own = Layout { offset: 0, ..distinct.clone() };
        let within = Layout { shape: own.shape[rows..].into(), strides: own.strides[rows..].into(), offset: 0 };
        if view.dtype == DType::Float32 && within.is_contiguous() {
            return Ok(Self { _buffer: None, start: view.start().cast(), strides: distinct.strides, run });
        }
        let target = Layout::contiguous(&distinct.shape);
        let buffer = HostBuffer::alloc(target.len() * size_of::<f32>())?;
        let start = buffer.as_mut_ptr();
        let to = ViewMut { origin: start, dtype: DType::Float32, layout: &target };
        unsafe { elementwise::cpu::cast(device, View { layout: &distinct, ..view }, to) };
        let mut strides = target.strides.clone();
        for axis in 0..rows {
            if target.shape[axis] == 1 {
                strides[axis] = 0;
            }
        }
        Ok(Self { _buffer: Some(buffer), start: start.cast_const().cast(), strides, run })
    }

    fn operand(&self) -> Operand<'_> {
        Operand { start: self.start.cast_mut().cast(), dtype: DType::Float32, strides: &self.strides }
    }
}

#[derive(Clone, Copy)]
struct Work<'a> {
    device: CpuDevice,
    kind: Norm,
    shape: &'a [usize],
    axes: &'a [usize],
    operands: [Operand<'a>; 4],
    runs: [usize; 2],
    eps: f32,
}

impl FloatWork<4> for Work<'_> {
    unsafe fn run<X: Float, O: Element>(self, plan: &Plan<4>) -> Result<()> {
        let (rows, len) = (plan.rows(), plan.len());
        if len > LONGEST || (rows < FEW && len > SHORT) {
            return unsafe {
                match self.operands[0].dtype {
                    DType::Float16 => self.run_long::<f16>(),
                    DType::BFloat16 => self.run_long::<bf16>(),
                    _ => self.run_long::<f32>(),
                }
            };
        }
        let (level, kind, eps, runs, stream) = (self.device.level(), self.kind, self.eps, self.runs, plan.streams());
        unsafe {
            plan.for_each_panel::<X>(self.device, ALONE, 0, &|panel, _| {
                let types = PhantomData;
                if kind == Norm::Layer {
                    level.run(Whole::<X, O, true> { panel, kind, eps, runs, stream, types });
                } else {
                    level.run(Whole::<X, O, false> { panel, kind, eps, runs, stream, types });
                }
            })
        }
    }
}

impl Work<'_> {
    /// # Safety
    /// As for [`norm`]; x is of `E`.
    unsafe fn run_long<E: Float>(&self) -> Result<()> {
        let x = Plan::of_one::<E>(self.shape, self.axes, [self.operands[0]], Cut::Pieces);
        let (rows, kind, eps, len) = (x.rows(), self.kind, self.eps, x.len());
        let states = HostBuffer::alloc(rows * size_of::<Scale>())?;
        let scales = states.as_mut_ptr().cast::<Scale>();
        unsafe {
            let shared = Shared::new(scales);
            if kind == Norm::Layer {
                rows::fold(self.device, Moments::<E>(PhantomData), &x, ALONE, &|found| {
                    for i in 0..found.len() {
                        let [_, mean, squares] = found.get(i);
                        shared.get().add(found.first() + i).write(Scale::new(kind, mean, squares, len, eps));
                    }
                })?;
            } else {
                rows::fold(self.device, Squares::<E>(PhantomData), &x, ALONE, &|found| {
                    for i in 0..found.len() {
                        let [squares] = found.get(i);
                        shared.get().add(found.first() + i).write(Scale::new(kind, 0.0, squares, len, eps));
                    }
                })?;
            }
            let each = EachWork { work: *self, scales };
            rows::for_floats(self.shape, self.axes, self.operands, Cut::Rows, each)
        }
    }
}

/// What a row's elements become: `(x − mean) · factor`.
#[derive(Clone, Copy)]
struct Scale {
    /// In two parts, of which the second is what the first rounds away.
    mean: [f32; 2],
    /// In two parts, for it may leave the range of `f32`. One of them is a power of two.
    factor: [f32; 2],
}

impl Scale {
    #[inline(always)]
    fn new(kind: Norm, mean: f64, squares: f64, len: usize, eps: f32) -> Self {
        let squares = if kind == Norm::L2 { squares } else { squares / len as f64 };
        let factor = 1.0 / (squares + f64::from(eps)).sqrt();
        let power = if (1e-30..1e30).contains(&factor) {
            1.0
        } else if factor < 1.0 {
            1.0 / (1_u64 << 62) as f32
        } else {
            (1_u64 << 62) as f32
        };
        let high = mean as f32;
        Self { mean: [high, (mean - f64::from(high)) as f32], factor: [power, (factor / f64::from(power)) as f32] }
    }
}

/// What a row becomes, from one place in it on.
struct Normal<X, const MEAN: bool> {
    x: *const X,
    /// What will be wanted next.
    next: *const X,
    scale: Scale,
    /// One after another, or copies of one.
    weight: (*const f32, usize),
    bias: (*const f32, usize),
}

impl<X: Element, const MEAN: bool> Values for Normal<X, MEAN> {
    #[inline(always)]
    unsafe fn vector<V: Simd>(&self, i: usize, left: usize) -> V {
        unsafe {
            prefetch(self.next.wrapping_add(i).cast());
            let mut x = load::<V, X>(self.x.add(i), left);
            if MEAN {
                x = x.sub(V::splat(self.scale.mean[0])).sub(V::splat(self.scale.mean[1]));
            }
            let x = x.mul(V::splat(self.scale.factor[0])).mul(V::splat(self.scale.factor[1]));
            let weight = load::<V, f32>(self.weight.0.add(i * self.weight.1), left);
            x.fma(weight, load::<V, f32>(self.bias.0.add(i * self.bias.1), left))
        }
    }
}

/// Writes a stretch of a row, of which `first` is the first element.
///
/// # Safety
/// There are `len` elements, and room for them; the sides are those of the row.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a row of four operands")]
unsafe fn write_row<V: Simd, X: Element, O: Element, const MEAN: bool>(
    x: *const X,
    next: *const X,
    out: *mut O,
    sides: [*const f32; 2],
    runs: [usize; 2],
    scale: Scale,
    (first, len): (usize, usize),
    stream: bool,
) {
    let mut done = 0;
    while done < len {
        let place = first + done;
        let mut count = len - done;
        let mut blocks = [[0.0_f32; MAX_LANES]; 2];
        let mut steps = [(std::ptr::null(), 1); 2];
        unsafe {
            for (n, block) in blocks.iter_mut().enumerate() {
                if runs[n] == 1 {
                    steps[n].0 = sides[n].add(place);
                } else {
                    *block = [sides[n].add(place / runs[n]).read_unaligned(); MAX_LANES];
                    steps[n] = (block.as_ptr(), 0);
                    count = count.min(runs[n] - place % runs[n]);
                }
            }
            let [weight, bias] = steps;
            let values = Normal::<X, MEAN> { x: x.add(done), next: next.wrapping_add(done), scale, weight, bias };
            rows::write::<V, O>(&values, out.add(done), count, stream);
        }
        done += count;
    }
}

/// Panels of whole rows.
struct Whole<'a, X, O, const MEAN: bool> {
    panel: &'a Panel<4>,
    kind: Norm,
    eps: f32,
    runs: [usize; 2],
    stream: bool,
    types: PhantomData<(X, O)>,
}

impl<X: Float, O: Element, const MEAN: bool> Kernel for Whole<'_, X, O, MEAN> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { panel, kind, eps, runs, stream, .. } = self;
        let len = panel.len;
        for row in 0..panel.rows {
            // SAFETY: the promise to `Work`.
            unsafe {
                let (x, next, out, sides) = at_row::<X, O>(panel, row);
                let (mean, squares) = if MEAN {
                    let [_, mean, squares] = Moments::<X>(PhantomData).row::<V>(x, len, 0);
                    (mean, squares)
                } else {
                    let [squares] = Squares::<X>(PhantomData).row::<V>(x, len, 0);
                    (0.0, squares)
                };
                let scale = Scale::new(kind, mean, squares, len, eps);
                write_row::<V, X, O, MEAN>(x, next, out, sides, runs, scale, (0, len), stream);
            }
        }
        if stream {
            V::fence();
        }
    }
}

/// Where the elements of a row are, and those of the one after it; and where its sides begin.
#[inline(always)]
fn at_row<X, O>(panel: &Panel<4>, row: usize) -> (*const X, *const X, *mut O, [*const f32; 2]) {
    let place = |n: usize| panel.places[n].wrapping_offset(row as isize * panel.steps[n]);
    let x = place(0).cast_const().cast::<X>();
    let sides = [place(2).cast_const().cast(), place(3).cast_const().cast()];
    (x, x.wrapping_byte_offset(panel.steps[0]), place(1).cast(), sides)
}

/// The second time through long rows.
struct EachWork<'a> {
    work: Work<'a>,
    scales: *const Scale,
}

impl FloatWork<4> for EachWork<'_> {
    unsafe fn run<X: Float, O: Element>(self, plan: &Plan<4>) -> Result<()> {
        let (level, kind, runs, stream) = (self.work.device.level(), self.work.kind, self.work.runs, plan.streams());
        unsafe {
            let scales = Shared::new(self.scales);
            plan.for_each_panel::<X>(self.work.device, ALONE, 0, &|panel, _| {
                let (scales, types) = (scales.get().add(panel.first_row), PhantomData);
                if kind == Norm::Layer {
                    level.run(EachOf::<X, O, true> { panel, scales, runs, stream, types });
                } else {
                    level.run(EachOf::<X, O, false> { panel, scales, runs, stream, types });
                }
            })
        }
    }
}

struct EachOf<'a, X, O, const MEAN: bool> {
    panel: &'a Panel<4>,
    scales: *const Scale,
    runs: [usize; 2],
    stream: bool,
    types: PhantomData<(X, O)>,
}

impl<X: Element, O: Element, const MEAN: bool> Kernel for EachOf<'_, X, O, MEAN> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { panel, scales, runs, stream, .. } = self;
        for row in 0..panel.rows {
            // SAFETY: the promise to `EachWork`.
            unsafe {
                let (x, next, out, sides) = at_row::<X, O>(panel, row);
                let part = (panel.first, panel.len);
                write_row::<V, X, O, MEAN>(x, next, out, sides, runs, scales.add(row).read(), part, stream);
            }
        }
        if stream {
            V::fence();
        }
    }
}

#[cfg(test)]
mod tests;
