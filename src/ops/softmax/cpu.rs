//! Softmax and its logarithm on the CPU.
//!
//! A row, or a panel of columns, is fetched once and stays in a near cache for all that is done to it: its maximum, the
//! exponentials and their sum, and the result. Rows that are too long for that, or too few for many threads, are gone
//! through twice: they are reduced to a maximum and a sum, and then each element is computed by itself.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::cast_ptr_alignment, reason = "host memory is aligned to pages or cache lines")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "where nothing else is said it is the caller's promise")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays")]

use std::marker::PhantomData;

use half::{bf16, f16};

use crate::cpu::math;
use crate::cpu::memory::HostBuffer;
use crate::cpu::rows::{
    self, Cut, Float, FloatWork, Line, Lines, Operand, Panel, Plan, ROWS, Reducer, Values, Way, add_up, for_each_group,
    for_each_vector, load, load_filled,
};
use crate::cpu::simd::{Element, Kernel, MAX_LANES, Simd, prefetch};
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::DType;
use crate::error::Result;

/// Below so many elements other threads cost more than they bring.
const ALONE: usize = 1 << 15;
/// Longer rows do not stay in the second cache.
const LONGEST: usize = 1 << 17;
/// Rows up to this length are not worth sharing between threads, however few there are.
const SHORT: usize = 1 << 14;
/// With less rows than this, threads share longer ones.
const FEW: usize = 8;
/// How many vectors are computed side by side.
const WIDTH: usize = 4;
/// The most terms that a lane adds up before `f64` takes over.
const CHAIN: usize = 16;

/// `out = exp(x) / Σ exp(x)` along an axis, or the logarithm of that. The types are the same.
///
/// Fails only if there is no memory for what is known of long rows.
///
/// # Safety
/// The shapes are the same. The elements of x are readable; the output's are writable, each in a place of its own, and
/// share no memory with x.
pub(crate) unsafe fn softmax(
    device: CpuDevice,
    logarithm: bool,
    x: View<'_>,
    axis: usize,
    out: ViewMut<'_>,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let work = Work { device, logarithm, shape: &x.layout.shape, axis, operands: [x.into(), out.into()] };
    unsafe { rows::for_floats(work.shape, &[axis], work.operands, Cut::Whole, work) }
}

#[derive(Clone, Copy)]
struct Work<'a> {
    device: CpuDevice,
    logarithm: bool,
    shape: &'a [usize],
    axis: usize,
    operands: [Operand<'a>; 2],
}

impl FloatWork<2> for Work<'_> {
    unsafe fn run<X: Float, O: Element>(self, plan: &Plan<2>) -> Result<()> {
        let (rows, len) = (plan.rows(), plan.len());
        let is_long = match plan.way() {
            Way::Rows => len > LONGEST || (rows < FEW && len > SHORT),
            Way::Columns => len > rows::WHOLE / 64,
        };
        if is_long {
            return unsafe {
                match self.operands[0].dtype {
                    DType::Float16 => self.run_long::<f16>(),
                    DType::BFloat16 => self.run_long::<bf16>(),
                    _ => self.run_long::<f32>(),
                }
            };
        }
        let (level, logarithm, stream) = (self.device.level(), self.logarithm, plan.streams());
        // A row of exponentials, or lines of them that are made of whole vectors.
        let width = match plan.way() {
            Way::Rows => 1,
            Way::Columns => (plan.most() / len).next_multiple_of(MAX_LANES),
        };
        let room = len * width * size_of::<f32>();
        unsafe {
            plan.for_each_panel::<X>(self.device, ALONE, room, &|panel, room| {
                level.run(Whole::<X, O> { panel, logarithm, stream, powers: room.cast(), types: PhantomData });
            })
        }
    }
}

impl Work<'_> {
    /// # Safety
    /// As for [`softmax`]; x is of `E`.
    unsafe fn run_long<E: Float>(&self) -> Result<()> {
        let x = Plan::of_one::<E>(self.shape, &[self.axis], [self.operands[0]], Cut::Pieces);
        let (rows, logarithm) = (x.rows(), self.logarithm);
        // Three numbers for each row.
        let states = HostBuffer::alloc(3 * rows * size_of::<f32>())?;
        unsafe {
            let shared = Shared::new(states.as_mut_ptr().cast::<f32>());
            rows::fold(self.device, SumOfPowers::<E> { logarithm, elements: PhantomData }, &x, ALONE, &|found| {
                for i in 0..found.len() {
                    let [shift, exponent, sum] = found.get(i);
                    let [shift, exponent] = [shift, exponent].map(|part| part as f32);
                    let last = if logarithm { sum.ln() } else { 1.0 / sum } as f32;
                    let known = [shift, if logarithm { last } else { exponent }, last];
                    for (n, number) in known.into_iter().enumerate() {
                        shared.get().add(n * rows + found.first() + i).write(number);
                    }
                }
            })?;
            let each = EachWork { work: *self, rows, states: states.as_ptr().cast() };
            rows::for_floats(self.shape, &[self.axis], self.operands, Cut::Pieces, each)
        }
    }
}

/// What powers are taken over, `e^shift · 2^exponent`, so that that of the largest element is about 1.
///
/// For the logarithm it is 1, because then no result is more than 0. Otherwise the shift is 0 if that can be, because
/// distances from the largest element would have to be rounded, which powers magnify.
#[inline(always)]
fn base(largest: f32, logarithm: bool) -> [f32; 2] {
    if largest == f32::NEG_INFINITY {
        // All powers are 0, and so is their sum. Nothing can be divided by that.
        [0.0, 0.0]
    } else if logarithm || largest.abs() >= 16384.0 {
        // So large an exponent would not multiply with ln 2 exactly; but then distances are exact.
        [largest, 0.0]
    } else {
        [0.0, (largest * std::f32::consts::LOG2_E).round_ties_even()]
    }
}

/// The natural logarithm of a base.
#[inline(always)]
fn log_of(shift: f64, exponent: f64) -> f64 {
    shift + exponent * std::f64::consts::LN_2
}

/// `e^(x − shift) · 2^−exponent`, for a base that is not much less, within 1.5 units in the last place.
///
/// As [`math::exp`], but what makes the result small is taken from the whole exponent, which is exact.
#[inline(always)]
fn power<V: Simd>(x: V, [shift, exponent]: [V; 2]) -> V {
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // What is further away than this gives 0. NaN passes, being the second operand.
    let lowest = exponent.fma(V::splat(std::f32::consts::LN_2), V::splat(-106.0));
    let x = lowest.max(x.sub(shift));
    let n = x.fma(V::splat(std::f32::consts::LOG2_E), V::splat(ROUND)).sub(V::splat(ROUND));
    let r = n.fma(V::splat(-LN_2_LOW), n.fma(V::splat(-LN_2_HIGH), x));
    let mut q = V::splat(0.001_381_453_8);
    for coefficient in [0.008_368_745, 0.041_668_39, 0.166_665_21, 0.499_999_94] {
        q = q.fma(r, V::splat(coefficient));
    }
    q.fma(r.mul(r), r).add(V::splat(1.0)).scale(n.sub(exponent))
}

/// The largest of a stretch, or any of its elements if there is a NaN.
///
/// # Safety
/// `x` has `len` elements.
#[inline(always)]
unsafe fn largest<V: Simd, E: Element>(x: *const E, len: usize) -> f32 {
    let mut best = [V::splat(f32::NEG_INFINITY); WIDTH];
    let mut i = 0;
    unsafe {
        while i + WIDTH * V::LANES <= len {
            for a in 0..WIDTH {
                best[a] = E::load::<V>(x.add(i + a * V::LANES)).max(best[a]);
            }
            i += WIDTH * V::LANES;
        }
        while i < len {
            best[0] = load_filled::<V, E>(x.add(i), len - i, f32::NEG_INFINITY).max(best[0]);
            i += V::LANES;
        }
    }
    best[0].max(best[1]).max(best[2].max(best[3])).largest()
}

/// Where exponentials are put for later.
trait Keep {
    unsafe fn keep<V: Simd>(&self, powers: V, i: usize, left: usize);
}

struct Forget;

impl Keep for Forget {
    #[inline(always)]
    unsafe fn keep<V: Simd>(&self, _powers: V, _i: usize, _left: usize) {}
}

impl Keep for *mut f32 {
    #[inline(always)]
    unsafe fn keep<V: Simd>(&self, powers: V, i: usize, left: usize) {
        unsafe {
            if left >= V::LANES { powers.store_f32(self.add(i)) } else { powers.store_f32_tail(self.add(i), left) }
        }
    }
}

/// The sum of the powers over a base. What is `next` will be wanted after this.
///
/// # Safety
/// `x` has `len` elements, and there is room for as many exponentials.
#[inline(always)]
unsafe fn sum_of_powers<V: Simd, E: Element>(
    x: *const E,
    len: usize,
    base: [f32; 2],
    keep: &impl Keep,
    next: Option<*const E>,
) -> f64 {
    let base = [V::splat(base[0]), V::splat(base[1])];
    let (mut total, mut i) = (0.0, 0);
    while i < len {
        let end = len.min(i + CHAIN * WIDTH * V::LANES);
        let mut sums = [V::splat(0.0); WIDTH];
        unsafe {
            while i + WIDTH * V::LANES <= end {
                if let Some(next) = next {
                    for line in 0..WIDTH * V::LANES * size_of::<E>() / 64 {
                        prefetch(next.wrapping_add(i).cast::<u8>().wrapping_add(line * 64));
                    }
                }
                for a in 0..WIDTH {
                    let place = i + a * V::LANES;
                    let power = power(E::load::<V>(x.add(place)), base);
                    keep.keep(power, place, V::LANES);
                    sums[a] = sums[a].add(power);
                }
                i += WIDTH * V::LANES;
            }
            while i < end {
                let power = power(load_filled::<V, E>(x.add(i), end - i, f32::NEG_INFINITY), base);
                keep.keep(power, i, end - i);
                sums[0] = sums[0].add(power);
                i += V::LANES.min(end - i);
            }
        }
        total += f64::from(add_up(sums).sum());
    }
    total
}

/// Panels of whole rows.
struct Whole<'a, X, O> {
    panel: &'a Panel<2>,
    logarithm: bool,
    stream: bool,
    powers: *mut f32,
    types: PhantomData<(X, O)>,
}

impl<X: Element, O: Element> Kernel for Whole<'_, X, O> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        unsafe {
            match self.panel.way {
                Way::Rows => self.rows::<V>(),
                Way::Columns => self.columns::<V>(),
            }
        }
        if self.stream {
            V::fence();
        }
    }
}

impl<X: Element, O: Element> Whole<'_, X, O> {
    /// # Safety
    /// The panel has elements of these types, and there is room for a row of powers.
    #[inline(always)]
    unsafe fn rows<V: Simd>(&self) {
        let &Panel { places: [x, out], steps: [x_step, out_step], rows, len, .. } = self.panel;
        for row in 0..rows as isize {
            let x = x.cast_const().cast::<X>().wrapping_byte_offset(row * x_step);
            let out = out.cast::<O>().wrapping_byte_offset(row * out_step);
            let next = Some(x.wrapping_byte_offset(x_step));
            unsafe {
                if self.logarithm {
                    let base = base(largest::<V, X>(x, len), true);
                    let sum = sum_of_powers::<V, X>(x, len, base, &Forget, next);
                    let distances = Distances { x, max: One(base[0]), log: One(sum.ln() as f32) };
                    rows::write::<V, O>(&distances, out, len, self.stream);
                    continue;
                }
                // Powers may lie where the result will be.
                let here = size_of::<O>() == size_of::<f32>() && !self.stream;
                let powers = if here { out.cast() } else { self.powers };
                let base = base(largest::<V, X>(x, len), false);
                let sum = sum_of_powers::<V, X>(x, len, base, &powers, next);
                let (factor, sum) = (One((1.0 / sum) as f32), One(sum as f32));
                let shares = Shares::<_, O> { powers, factor, sum, exact: PhantomData };
                rows::write::<V, O>(&shares, out, len, self.stream);
            }
        }
    }

    /// # Safety
    /// The panel has elements of these types, and there is room for as many lines of exponentials.
    #[inline(always)]
    unsafe fn columns<V: Simd>(&self) {
        let &Panel { places: [x, out], steps: [step, out_step], rows: columns, len, .. } = self.panel;
        let width = columns.next_multiple_of(MAX_LANES);
        let mut known: [Line<f32>; 2] = [Line::new(), Line::new()];
        let [first, second] = &mut known;
        let known = [first.start(), second.start()];
        let x = Lines { start: x.cast_const().cast::<X>(), step, count: len, columns };
        let step = (width * size_of::<f32>()) as isize;
        let powers = Lines { start: self.powers.cast_const(), step, count: len, columns };
        let mut sums = Line::<f64>::new();
        let sums = sums.start();
        unsafe {
            maxima::<V, X>(&x, Some(self.powers), known[0]);
            to_bases(known, columns, self.logarithm);
            let kept = (!self.logarithm).then_some(self.powers);
            sums_of_powers::<V, f32>(&powers, known.map(<*mut f32>::cast_const), kept, sums);
            for i in 0..columns {
                let sum = sums.add(i).read();
                if self.logarithm {
                    known[1].add(i).write(sum.ln() as f32);
                } else {
                    known[0].add(i).write((1.0 / sum) as f32);
                    known[1].add(i).write(sum as f32);
                }
            }
            for line in 0..len {
                let out = out.cast::<O>().wrapping_byte_offset(line as isize * out_step);
                let powers = powers.line(line);
                let [first, second] = known.map(|known| Each(known));
                if self.logarithm {
                    let distances = Distances { x: powers, max: first, log: second };
                    rows::write::<V, O>(&distances, out, columns, self.stream);
                } else {
                    let shares = Shares::<_, O> { powers, factor: first, sum: second, exact: PhantomData };
                    rows::write::<V, O>(&shares, out, columns, self.stream);
                }
            }
        }
    }
}

/// Replaces maxima by bases, as whole vectors.
///
/// # Safety
/// Both are a [`Line`], and the first has maxima of whole vectors.
#[inline(always)]
unsafe fn to_bases([max, exponents]: [*mut f32; 2], columns: usize, logarithm: bool) {
    for i in 0..columns.next_multiple_of(MAX_LANES) {
        unsafe {
            let [shift, exponent] = if i < columns { base(max.add(i).read(), logarithm) } else { [0.0; 2] };
            max.add(i).write(shift);
            exponents.add(i).write(exponent);
        }
    }
}

/// The maximum of each column, or any of its elements if there is a NaN. Whole vectors of maxima are written. Lines may
/// be kept as `f32`, in whole vectors.
///
/// # Safety
/// The lines are as long as they say, and there is room for all.
#[inline(always)]
unsafe fn maxima<V: Simd, E: Element>(lines: &Lines<E>, keep: Option<*mut f32>, max: *mut f32) {
    let width = lines.columns.next_multiple_of(MAX_LANES);
    for_each_group!(lines, WIDTH, |line, places| unsafe {
        for_each_vector!(V, lines.columns, |i, left| {
            let mut best = if line == 0 { V::splat(f32::NEG_INFINITY) } else { V::load_f32(max.add(i)) };
            for (n, place) in places.iter().enumerate() {
                let x = load::<V, E>(place.add(i), left);
                best = x.max(best);
                if let Some(keep) = keep {
                    x.store_f32(keep.add((line + n) * width + i));
                }
            }
            best.store_f32(max.add(i));
        });
    });
}

/// The sum of the powers of each column over its base. They may be kept, in whole vectors.
///
/// # Safety
/// The lines are as long as they say, there are bases in whole vectors, and there is room for the sums and for what is
/// kept.
#[inline(always)]
unsafe fn sums_of_powers<V: Simd, E: Element>(
    lines: &Lines<E>,
    bases: [*const f32; 2],
    keep: Option<*mut f32>,
    totals: *mut f64,
) {
    let width = lines.columns.next_multiple_of(MAX_LANES);
    let mut sums = Line::<f32>::new();
    let sums = sums.start();
    for start in (0..lines.count).step_by(CHAIN) {
        let some = Lines { start: lines.line(start), count: CHAIN.min(lines.count - start), ..*lines };
        for_each_group!(some, WIDTH, |line, places| unsafe {
            for_each_vector!(V, lines.columns, |i, left| {
                let base = [V::load_f32(bases[0].add(i)), V::load_f32(bases[1].add(i))];
                let mut powers = [V::splat(0.0); WIDTH];
                for (n, place) in places.iter().enumerate() {
                    powers[n] = power(load::<V, E>(place.add(i), left), base);
                    if let Some(keep) = keep {
                        powers[n].store_f32(keep.add((start + line + n) * width + i));
                    }
                }
                let before = if line == 0 { V::splat(0.0) } else { V::load_f32(sums.add(i)) };
                before.add(add_up(powers)).store_f32(sums.add(i));
            });
        });
        for i in 0..lines.columns {
            unsafe {
                let before = if start == 0 { 0.0 } else { totals.add(i).read() };
                totals.add(i).write(before + f64::from(sums.add(i).read()));
            }
        }
    }
}

/// What a row has one of: the same number throughout, or one for each column of a line.
trait Known {
    unsafe fn vector<V: Simd>(&self, i: usize) -> V;
}

struct One(f32);

impl Known for One {
    #[inline(always)]
    unsafe fn vector<V: Simd>(&self, _i: usize) -> V {
        V::splat(self.0)
    }
}

/// Whole vectors of numbers.
struct Each(*const f32);

impl Known for Each {
    #[inline(always)]
    unsafe fn vector<V: Simd>(&self, i: usize) -> V {
        unsafe { V::load_f32(self.0.add(i)) }
    }
}

/// Powers, each divided by their sum.
struct Shares<K, O> {
    powers: *const f32,
    factor: K,
    sum: K,
    /// The result's type: halves are exact enough after the multiplication.
    exact: PhantomData<O>,
}

impl<K: Known, O> Values for Shares<K, O> {
    #[inline(always)]
    unsafe fn vector<V: Simd>(&self, i: usize, left: usize) -> V {
        unsafe {
            let power = load::<V, f32>(self.powers.add(i), left);
            let factor = self.factor.vector::<V>(i);
            let share = power.mul(factor);
            if size_of::<O>() < size_of::<f32>() {
                return share;
            }
            // What the division would give, at a third of the time.
            share.neg().fma(self.sum.vector(i), power).fma(factor, share)
        }
    }
}

/// `(x − max) − log`
struct Distances<E, K> {
    x: *const E,
    max: K,
    log: K,
}

impl<E: Element, K: Known> Values for Distances<E, K> {
    #[inline(always)]
    unsafe fn vector<V: Simd>(&self, i: usize, left: usize) -> V {
        unsafe { load::<V, E>(self.x.add(i), left).sub(self.max.vector(i)).sub(self.log.vector(i)) }
    }
}

/// Powers over a base, each multiplied with a factor.
struct Powers<E, K> {
    x: *const E,
    base: [K; 2],
    factor: K,
}

impl<E: Element, K: Known> Values for Powers<E, K> {
    #[inline(always)]
    unsafe fn vector<V: Simd>(&self, i: usize, left: usize) -> V {
        unsafe {
            let base = [self.base[0].vector(i), self.base[1].vector(i)];
            power(load::<V, E>(self.x.add(i), left), base).mul(self.factor.vector(i))
        }
    }
}

/// A base, in two parts, and the sum of the powers over it. The base is 0 if there is nothing but −∞.
#[derive(Clone, Copy)]
struct SumOfPowers<E> {
    logarithm: bool,
    elements: PhantomData<fn(E)>,
}

impl<E> SumOfPowers<E> {
    /// The base for powers of which this is the largest, and what the state has for it.
    #[inline(always)]
    fn bases(self, largest: f32) -> ([f32; 2], [f64; 2]) {
        let base = base(largest, self.logarithm);
        let [shift, exponent] = base.map(f64::from);
        (base, [if largest == f32::NEG_INFINITY { f64::NEG_INFINITY } else { shift }, exponent])
    }
}

impl<E: Float> Reducer<3> for SumOfPowers<E> {
    type Item = E;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const E, len: usize, _first: usize) -> [f64; 3] {
        const STRETCH: usize = 1 << 12;
        let mut state = [f64::NEG_INFINITY, 0.0, 0.0];
        for start in (0..len).step_by(STRETCH) {
            unsafe {
                let (x, len) = (x.add(start), STRETCH.min(len - start));
                let (base, [shift, exponent]) = self.bases(largest::<V, E>(x, len));
                let sum = sum_of_powers::<V, E>(x, len, base, &Forget, None);
                state = self.merge(state, [shift, exponent, sum]);
            }
        }
        state
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<E>, _first: usize, states: *mut f64) {
        let mut known: [Line<f32>; 2] = [Line::new(), Line::new()];
        let [first, second] = &mut known;
        let known = [first.start(), second.start()];
        unsafe {
            maxima::<V, E>(lines, None, known[0]);
            for i in 0..lines.columns {
                let (_, [shift, exponent]) = self.bases(known[0].add(i).read());
                states.add(i).write(shift);
                states.add(ROWS + i).write(exponent);
            }
            to_bases(known, lines.columns, self.logarithm);
            sums_of_powers::<V, E>(lines, known.map(<*mut f32>::cast_const), None, states.add(2 * ROWS));
        }
    }

    #[inline(always)]
    fn merge(self, a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
        let [log_a, log_b] = [a, b].map(|[shift, exponent, _]| log_of(shift, exponent));
        let factor = if log_a == log_b { 1.0 } else { (-(log_a - log_b).abs()).exp() };
        join(a, b, log_a >= log_b, factor)
    }

    #[inline(always)]
    unsafe fn merge_columns<V: Simd>(self, states: *mut f64, next: *const f64, rows: usize) {
        let mut factors = Line::<f32>::new();
        let factors = factors.start();
        unsafe {
            let state = |from: *const f64, i: usize| [0, 1, 2].map(|f| from.add(f * ROWS + i).read());
            for i in 0..rows {
                let [log, next_log] =
                    [state(states, i), state(next, i)].map(|[shift, exponent, _]| log_of(shift, exponent));
                factors.add(i).write(if log == next_log { 0.0 } else { -(log - next_log).abs() as f32 });
            }
            for i in (0..rows).step_by(V::LANES) {
                math::exp(load::<V, f32>(factors.add(i), rows - i)).store_f32(factors.add(i));
            }
            for i in 0..rows {
                let (a, b) = (state(states, i), state(next, i));
                let first = log_of(a[0], a[1]) >= log_of(b[0], b[1]);
                let joined = join(a, b, first, f64::from(factors.add(i).read()));
                for f in 0..3 {
                    states.add(f * ROWS + i).write(joined[f]);
                }
            }
        }
    }
}

/// Two sums over the base of the first or of the second, with the factor that the other one's has then.
#[inline(always)]
fn join(a: [f64; 3], b: [f64; 3], first: bool, factor: f64) -> [f64; 3] {
    let [base, other] = if first { [a, b] } else { [b, a] };
    [base[0], base[1], base[2] + other[2] * factor]
}

/// The second time through long rows.
struct EachWork<'a> {
    work: Work<'a>,
    rows: usize,
    states: *const f32,
}

impl FloatWork<2> for EachWork<'_> {
    unsafe fn run<X: Float, O: Element>(self, plan: &Plan<2>) -> Result<()> {
        let (level, logarithm, stream) = (self.work.device.level(), self.work.logarithm, plan.streams());
        unsafe {
            let shared = Shared::new([0, 1, 2].map(|n| self.states.add(n * self.rows)));
            plan.for_each_panel::<X>(self.work.device, ALONE, 0, &|panel, _| {
                let known = shared.get().map(|known| known.add(panel.first_row));
                level.run(EachOf::<X, O> { panel, logarithm, stream, known, types: PhantomData });
            })
        }
    }
}

struct EachOf<'a, X, O> {
    panel: &'a Panel<2>,
    logarithm: bool,
    stream: bool,
    known: [*const f32; 3],
    types: PhantomData<(X, O)>,
}

impl<X: Element, O: Element> Kernel for EachOf<'_, X, O> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        // SAFETY: the promise to `EachWork`.
        unsafe {
            if self.panel.way == Way::Rows {
                for row in 0..self.panel.rows {
                    let [a, b, c] = self.known;
                    let known = [One(a.add(row).read()), One(b.add(row).read()), One(c.add(row).read())];
                    self.line::<V, One>(row, known, self.panel.len);
                }
            } else {
                let mut lines: [Line<f32>; 3] = [Line::new(), Line::new(), Line::new()];
                let [a, b, c] = &mut lines;
                let lines = [a.start(), b.start(), c.start()];
                for n in 0..3 {
                    lines[n].copy_from_nonoverlapping(self.known[n], self.panel.rows);
                }
                for line in 0..self.panel.len {
                    let [a, b, c] = lines;
                    self.line::<V, Each>(line, [Each(a), Each(b), Each(c)], self.panel.rows);
                }
            }
        }
        if self.stream {
            V::fence();
        }
    }
}

impl<X: Element, O: Element> EachOf<'_, X, O> {
    /// # Safety
    /// The panel has such a row or line, with so many elements.
    #[inline(always)]
    unsafe fn line<V: Simd, K: Known>(&self, number: usize, [a, b, c]: [K; 3], len: usize) {
        let &Panel { places: [x, out], steps: [x_step, out_step], .. } = self.panel;
        let x = x.cast_const().cast::<X>().wrapping_byte_offset(number as isize * x_step);
        let out = out.cast::<O>().wrapping_byte_offset(number as isize * out_step);
        unsafe {
            if self.logarithm {
                rows::write::<V, O>(&Distances { x, max: a, log: b }, out, len, self.stream);
            } else {
                rows::write::<V, O>(&Powers { x, base: [a, b], factor: c }, out, len, self.stream);
            }
        }
    }
}

#[cfg(test)]
mod tests;
