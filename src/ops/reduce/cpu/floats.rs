//! Reductions of floats, in vectors of `f32`.
//!
//! A lane of `f32` never adds up more than [`CHAIN`] terms; what comes after that is `f64`. So the error stays below
//! 2e-6 of the sum of the magnitudes, whatever the length. If squares leave the range of `f32`, or its precision at the
//! small end, they are computed again, of elements that are scaled by a power of two.
#![expect(unsafe_code, reason = "elements are behind pointers")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason is that of every block: the caller's promise")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays")]

use std::marker::PhantomData;

use crate::cpu::rows::{
    Float, LINES, Line, Lines, ROWS, Reducer, add_up, for_each_group, for_each_vector, load, load_filled,
};
use crate::cpu::simd::{Element, MAX_LANES, Simd, prefetch};

/// The most terms that a lane adds up.
const CHAIN: usize = 32;
/// How many vectors add up terms side by side.
const WIDTH: usize = 8;
/// Lines that are loaded side by side.
const GROUP: usize = 8;
/// A pivot may be this much nearer or further away, in proportion.
const NEAR: f32 = 1.0 / (1 << 20) as f32;
/// How many elements are enough to find a number near their mean.
const SAMPLE: usize = 128;
/// A sum of squares below this may have lost something to terms that are too small for `f32`.
const SMALLEST: f64 = 1e-32;

/// What is added up of each element.
trait Term {
    /// Whether elements are first multiplied with a scale.
    const SCALED: bool;
    fn add<V: Simd>(sum: V, x: V, scale: V) -> V;
}

macro_rules! terms {
    ($($name:ident: $scaled:literal, |$sum:ident, $x:ident, $scale:ident| $result:expr;)+) => {$(
        struct $name;

        impl Term for $name {
            const SCALED: bool = $scaled;
            #[inline(always)]
            fn add<V: Simd>($sum: V, $x: V, $scale: V) -> V {
                $result
            }
        }
    )+};
}
terms! {
    Plain: false, |sum, x, _scale| sum.add(x);
    Square: false, |sum, x, _scale| x.fma(x, sum);
    ScaledPlain: true, |sum, x, scale| x.fma(scale, sum);
    ScaledSquare: true, |sum, x, scale| {
        let x = x.mul(scale);
        x.fma(x, sum)
    };
}

/// The sum of the terms of a stretch.
///
/// # Safety
/// `x` has `len` elements.
#[inline(always)]
unsafe fn total<V: Simd, E: Element, T: Term>(x: *const E, len: usize, scale: f32) -> f64 {
    let (step, scale) = (WIDTH * V::LANES, V::splat(scale));
    let (mut total, mut i) = (0.0, 0);
    unsafe {
        while i + step <= len {
            let end = len.min(i + CHAIN * step);
            let mut sums = [V::splat(0.0); WIDTH];
            while i + step <= end {
                for a in 0..WIDTH {
                    sums[a] = T::add(sums[a], E::load(x.add(i + a * V::LANES)), scale);
                }
                i += step;
            }
            total += f64::from(add_up(sums).sum());
        }
        if i < len {
            let mut sum = V::splat(0.0);
            while i < len {
                sum = T::add(sum, load(x.add(i), len - i), scale);
                i += V::LANES;
            }
            total += f64::from(sum.sum());
        }
    }
    total
}

/// The sums of terms of each column. At most [`LINES`] lines, a group at a time.
///
/// # Safety
/// The lines are as long as they say, and there is room for a [`Line`] of sums. If terms are scaled there is a [`Line`]
/// of scales, in whole vectors.
#[inline(always)]
unsafe fn column_totals<V: Simd, E: Element, T: Term>(lines: &Lines<E>, scales: *const f32, sums: *mut f32) {
    debug_assert!(lines.count <= LINES);
    for_each_group!(lines, GROUP, |line, places| unsafe {
        for_each_vector!(V, lines.columns, |i, left| {
            // The stretches of lines are too short for the processor to see the pattern by itself.
            for next in 0..places.len() {
                prefetch(lines.line(line + places.len() + next).wrapping_add(i).cast());
            }
            let scale = if T::SCALED { V::load_f32(scales.add(i)) } else { V::splat(0.0) };
            let sum = group_total::<V, E, T, _>(places, i, left, scale);
            let before = if line == 0 { V::splat(0.0) } else { V::load_f32(sums.add(i)) };
            before.add(sum).store_f32(sums.add(i));
        });
    });
}

/// The sum of the terms of a group of lines, in one vector of columns.
///
/// # Safety
/// The lines have `left` elements at `i`.
#[inline(always)]
unsafe fn group_total<V: Simd, E: Element, T: Term, const N: usize>(
    places: [*const E; N],
    i: usize,
    left: usize,
    scale: V,
) -> V {
    let mut sums = [V::splat(0.0); 4];
    for n in 0..N {
        sums[n % 4] = T::add(sums[n % 4], unsafe { load(places[n].add(i), left) }, scale);
    }
    add_up(sums)
}

/// The largest magnitude. NaN counts for nothing.
///
/// # Safety
/// `x` has `len` elements.
#[inline(always)]
unsafe fn magnitude<V: Simd, E: Element>(x: *const E, len: usize) -> f32 {
    let mut most = V::splat(0.0);
    for i in (0..len).step_by(V::LANES) {
        most = unsafe { load::<V, E>(x.add(i), len - i) }.abs().max(most);
    }
    most.largest()
}

/// The largest magnitude of each column, in whole vectors.
///
/// # Safety
/// The lines are as long as they say, and there is room for a [`Line`].
#[inline(always)]
unsafe fn column_magnitudes<V: Simd, E: Element>(lines: &Lines<E>, most: *mut f32) {
    for_each_vector!(V, lines.columns, |i, left| unsafe {
        let mut all = V::splat(0.0);
        for line in 0..lines.count {
            all = load::<V, E>(lines.line(line).add(i), left).abs().max(all);
        }
        all.store_f32(most.add(i));
    });
}

/// A power of two that makes a magnitude one of about 1, or not much less.
#[inline(always)]
fn scale_of(magnitude: f32) -> f32 {
    if magnitude > 0.0 && magnitude < f32::INFINITY {
        let exponent = (magnitude.to_bits() >> 23) as i32 - 127;
        f32::from_bits(((127 - exponent.clamp(-126, 126)) as u32) << 23)
    } else {
        1.0
    }
}

/// Whether a sum of squares lost nothing to the range of `f32`.
#[inline(always)]
fn is_good(squares: f64) -> bool {
    (SMALLEST..=f64::from(f32::MAX)).contains(&squares)
}

/// The sum of elements.
#[derive(Clone, Copy)]
pub(crate) struct Sum<E>(pub(crate) PhantomData<fn(E)>);

impl<E: Float> Reducer<1> for Sum<E> {
    type Item = E;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const E, len: usize, _first: usize) -> [f64; 1] {
        unsafe { [total::<V, E, Plain>(x, len, 1.0)] }
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<E>, _first: usize, states: *mut f64) {
        let mut sums = Line::<f32>::new();
        let sums = sums.start();
        unsafe {
            column_totals::<V, E, Plain>(lines, std::ptr::null(), sums);
            for i in 0..lines.columns {
                states.add(i).write(f64::from(sums.add(i).read()));
            }
        }
    }

    #[inline(always)]
    fn merge(self, [a]: [f64; 1], [b]: [f64; 1]) -> [f64; 1] {
        [a + b]
    }
}

/// The sum of the squares of elements.
#[derive(Clone, Copy)]
pub(crate) struct Squares<E>(pub(crate) PhantomData<fn(E)>);

impl<E: Float> Reducer<1> for Squares<E> {
    type Item = E;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const E, len: usize, _first: usize) -> [f64; 1] {
        unsafe {
            let sum = total::<V, E, Square>(x, len, 1.0);
            if is_good(sum) {
                return [sum];
            }
            let scale = scale_of(magnitude::<V, E>(x, len));
            [total::<V, E, ScaledSquare>(x, len, scale) / f64::from(scale) / f64::from(scale)]
        }
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<E>, _first: usize, states: *mut f64) {
        let (mut sums, mut scales) = (Line::<f32>::new(), Line::<f32>::new());
        let (sums, scales) = (sums.start(), scales.start());
        unsafe {
            column_magnitudes::<V, E>(lines, scales);
            for i in 0..lines.columns.next_multiple_of(V::LANES) {
                scales.add(i).write(scale_of(scales.add(i).read()));
            }
            column_totals::<V, E, ScaledSquare>(lines, scales, sums);
            for i in 0..lines.columns {
                let scale = f64::from(scales.add(i).read());
                states.add(i).write(f64::from(sums.add(i).read()) / scale / scale);
            }
        }
    }

    #[inline(always)]
    fn merge(self, [a]: [f64; 1], [b]: [f64; 1]) -> [f64; 1] {
        [a + b]
    }
}

/// How many there are, their mean, and the sum of the squares of their distances from it.
///
/// A stretch that stays in the nearest cache is gone through twice, first for a pivot, about its mean, then for the
/// distances from that. Stretches are joined by Chan's formula, in `f64`.
#[derive(Clone, Copy)]
pub(crate) struct Moments<E>(pub(crate) PhantomData<fn(E)>);

impl<E: Float> Reducer<3> for Moments<E> {
    type Item = E;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const E, len: usize, _first: usize) -> [f64; 3] {
        let block = CHAIN * WIDTH * V::LANES;
        let mut state = [0.0; 3];
        for start in (0..len).step_by(block) {
            unsafe {
                let (x, len) = (x.add(start), block.min(len - start));
                let mut next = moments::<V, E>(x, len, 1.0);
                if !is_good(next[2]) {
                    next = moments::<V, E>(x, len, scale_of(magnitude::<V, E>(x, len)));
                }
                state = if start == 0 { next } else { merge_moments(state, next) };
            }
        }
        state
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<E>, _first: usize, states: *mut f64) {
        let mut scales = Line::<f32>::new();
        let scales = scales.start();
        let width = lines.columns.next_multiple_of(V::LANES);
        unsafe {
            for i in 0..width {
                scales.add(i).write(1.0);
            }
            if !column_moments::<V, E>(lines, scales, states) {
                column_magnitudes::<V, E>(lines, scales);
                for i in 0..width {
                    scales.add(i).write(scale_of(scales.add(i).read()));
                }
                column_moments::<V, E>(lines, scales, states);
            }
        }
    }

    #[inline(always)]
    fn merge(self, a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
        merge_moments(a, b)
    }
}

/// Chan's formula.
#[inline(always)]
pub(crate) fn merge_moments([n, mean, squares]: [f64; 3], [next_n, next_mean, next_squares]: [f64; 3]) -> [f64; 3] {
    let count = n + next_n;
    let share = next_n / count;
    let apart = next_mean - mean;
    [count, mean + apart * share, squares + next_squares + apart * apart * n * share]
}

/// A state, from sums over scaled elements; `unit` is what one of these is unscaled.
#[inline(always)]
fn state_of(count: f64, pivot: f32, sum: f64, squares: f64, unit: f64) -> [f64; 3] {
    let apart = sum / count;
    let squares = squares - sum * apart;
    // If all elements are equal, rounding may leave less than nothing.
    let squares = if squares < 0.0 { 0.0 } else { squares };
    [count, (f64::from(pivot) + apart) * unit, squares * unit * unit]
}

/// A number near the mean. It is the first element if that is as near, so that equal elements have no variance.
#[inline(always)]
fn pivot_of(mean: f32, first: f32) -> f32 {
    if (mean - first).abs() <= first.abs() * NEAR { first } else { mean }
}

/// The states of columns. Whether none of them lost anything to the range of `f32`.
///
/// # Safety
/// The lines are as long as they say, scales are a [`Line`] of whole vectors, and there is room for the states.
#[inline(always)]
unsafe fn column_moments<V: Simd, E: Element>(lines: &Lines<E>, scales: *const f32, states: *mut f64) -> bool {
    let mut arrays: [Line<f32>; 3] = [Line::new(), Line::new(), Line::new()];
    let [pivots, sums, squares] = &mut arrays;
    let [pivots, sums, squares] = [pivots.start(), sums.start(), squares.start()];
    let some = Lines { count: lines.count.min(GROUP), ..*lines };
    let count = lines.count as f64;
    unsafe {
        column_totals::<V, E, ScaledPlain>(&some, scales, pivots);
        let share = V::splat(1.0 / some.count as f32);
        for i in (0..lines.columns).step_by(V::LANES) {
            let mean = V::load_f32(pivots.add(i)).mul(share);
            let first = load::<V, E>(lines.start.add(i), lines.columns - i).mul(V::load_f32(scales.add(i)));
            let near = mean.sub(first).abs().less_equal(first.abs().mul(V::splat(NEAR)));
            V::select(near, first, mean).store_f32(pivots.add(i));
        }
        column_distances::<V, E>(lines, pivots, scales, sums, squares);
        let share = V::splat(1.0 / lines.count as f32);
        let mut far = share.is_nan();
        for i in (0..lines.columns).step_by(V::LANES) {
            let sum = V::load_f32(sums.add(i));
            let limit = V::load_f32(squares.add(i)).mul(V::splat(0.5 * lines.count as f32));
            far = V::or(far, limit.less(sum.mul(sum)));
        }
        if V::any(far) {
            for i in (0..lines.columns).step_by(V::LANES) {
                V::load_f32(sums.add(i)).fma(share, V::load_f32(pivots.add(i))).store_f32(pivots.add(i));
            }
            column_distances::<V, E>(lines, pivots, scales, sums, squares);
        }
        let mut good = true;
        for first in (0..lines.columns).step_by(MAX_LANES) {
            let known = [pivots, sums, squares, scales.cast_mut()];
            let mut all = [[1.0_f32; MAX_LANES]; 4];
            if V::LANES == MAX_LANES || first + MAX_LANES <= lines.columns {
                for n in 0..4 {
                    all[n] = known[n].add(first).cast::<[f32; MAX_LANES]>().read();
                }
            } else {
                for n in 0..4 {
                    all[n].as_mut_ptr().copy_from_nonoverlapping(known[n].add(first), lines.columns - first);
                }
            }
            let mut results = [[0.0; MAX_LANES]; 3];
            for i in 0..MAX_LANES {
                let [pivot, sum, squares, scale] = [all[0][i], all[1][i], all[2][i], all[3][i]];
                let unit = 1.0 / f64::from(scale);
                let state = state_of(count, pivot, f64::from(sum), f64::from(squares), unit);
                (results[0][i], results[1][i], results[2][i]) = (state[0], state[1], state[2]);
            }
            for i in 0..MAX_LANES.min(lines.columns - first) {
                good &= is_good(results[2][i]);
            }
            for f in 0..3 {
                states.add(f * ROWS + first).cast::<[f64; MAX_LANES]>().write(results[f]);
            }
        }
        good
    }
}

/// The sums of the scaled distances of each column from its pivot, and of their squares.
///
/// # Safety
/// The lines are as long as they say; the others are each a [`Line`], the first two of whole vectors.
#[inline(always)]
unsafe fn column_distances<V: Simd, E: Element>(
    lines: &Lines<E>,
    pivots: *const f32,
    scales: *const f32,
    sums: *mut f32,
    squares: *mut f32,
) {
    for_each_group!(lines, GROUP, |line, places| unsafe {
        for_each_vector!(V, lines.columns, |i, left| {
            let (pivot, scale) = (V::load_f32(pivots.add(i)).neg(), V::load_f32(scales.add(i)));
            let (mut sum, mut square) = ([V::splat(0.0); 2], [V::splat(0.0); 2]);
            for (n, place) in places.iter().enumerate() {
                let distance = load::<V, E>(place.add(i), left).fma(scale, pivot);
                sum[n % 2] = sum[n % 2].add(distance);
                square[n % 2] = distance.fma(distance, square[n % 2]);
            }
            let (mut sum, mut square) = (add_up(sum), add_up(square));
            if line > 0 {
                sum = V::load_f32(sums.add(i)).add(sum);
                square = V::load_f32(squares.add(i)).add(square);
            }
            sum.store_f32(sums.add(i));
            square.store_f32(squares.add(i));
        });
    });
}

/// The state of a block that stays in the nearest cache.
///
/// # Safety
/// `x` has `len` elements, at least one.
#[inline(always)]
unsafe fn moments<V: Simd, E: Element>(x: *const E, len: usize, scale: f32) -> [f64; 3] {
    let count = len as f64;
    unsafe {
        // The mean of some is mostly as good a pivot as that of all.
        let some = len.min(SAMPLE);
        let mut first = [0.0; MAX_LANES];
        E::load_tail::<V>(x, 1).store_f32(first.as_mut_ptr());
        let mean = total::<V, E, ScaledPlain>(x, some, scale) / some as f64;
        let mut pivot = pivot_of(mean as f32, first[0] * scale);
        let (mut sum, mut squares) = distances::<V, E>(x, len, scale, pivot);
        if is_far(sum, squares, count) {
            pivot += (sum / count) as f32;
            (sum, squares) = distances::<V, E>(x, len, scale, pivot);
        }
        state_of(count, pivot, sum, squares, 1.0 / f64::from(scale))
    }
}

/// Whether a pivot is so far from the mean that the squares of distances from the mean cannot be made of those from it.
#[inline(always)]
fn is_far(sum: f64, squares: f64, count: f64) -> bool {
    sum * sum > 0.5 * squares * count
}

/// The sums of scaled distances from a pivot, and of their squares.
///
/// # Safety
/// `x` has `len` elements.
#[inline(always)]
unsafe fn distances<V: Simd, E: Element>(x: *const E, len: usize, scale: f32, pivot: f32) -> (f64, f64) {
    const HALF: usize = WIDTH / 2;
    let (step, scales, center) = (HALF * V::LANES, V::splat(scale), V::splat(-pivot));
    let (mut sum, mut square, mut i) = (0.0, 0.0, 0);
    unsafe {
        while i + step <= len {
            let end = len.min(i + CHAIN * step);
            let (mut sums, mut squares) = ([V::splat(0.0); HALF], [V::splat(0.0); HALF]);
            while i + step <= end {
                for a in 0..HALF {
                    let distance = E::load::<V>(x.add(i + a * V::LANES)).fma(scales, center);
                    sums[a] = sums[a].add(distance);
                    squares[a] = distance.fma(distance, squares[a]);
                }
                i += step;
            }
            sum += f64::from(add_up(sums).sum());
            square += f64::from(add_up(squares).sum());
        }
        if i < len {
            let (mut sums, mut squares) = (V::splat(0.0), V::splat(0.0));
            while i < len {
                let x = load_filled::<V, E>(x.add(i), len - i, pivot / scale);
                let distance = x.fma(scales, center);
                sums = sums.add(distance);
                squares = distance.fma(distance, squares);
                i += V::LANES;
            }
            sum += f64::from(sums.sum());
            square += f64::from(squares.sum());
        }
    }
    (sum, square)
}

/// The largest element, or the smallest; NaN if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Extreme<E, const MAX: bool>(pub(crate) PhantomData<fn(E)>);

/// Worse than any other.
const fn worst<const MAX: bool>() -> f32 {
    if MAX { f32::NEG_INFINITY } else { f32::INFINITY }
}

/// The better of two vectors; `b` where either is NaN.
#[inline(always)]
fn better<V: Simd, const MAX: bool>(a: V, b: V) -> V {
    if MAX { a.max(b) } else { a.min(b) }
}

/// # Safety
/// `x` has `len` elements.
#[inline(always)]
unsafe fn extreme<V: Simd, E: Element, const MAX: bool>(x: *const E, len: usize) -> f32 {
    const SIDE: usize = 4;
    let mut best = [V::splat(worst::<MAX>()); SIDE];
    let mut nan = best[0].is_nan();
    let step = SIDE * V::LANES;
    let mut i = 0;
    unsafe {
        while i + step <= len {
            for a in 0..SIDE {
                let x = E::load::<V>(x.add(i + a * V::LANES));
                nan = V::or(nan, x.is_nan());
                best[a] = better::<V, MAX>(x, best[a]);
            }
            i += step;
        }
        while i < len {
            let x = load_filled::<V, E>(x.add(i), len - i, worst::<MAX>());
            nan = V::or(nan, x.is_nan());
            best[0] = better::<V, MAX>(x, best[0]);
            i += V::LANES;
        }
    }
    let best = better::<V, MAX>(better::<V, MAX>(best[0], best[1]), better::<V, MAX>(best[2], best[3]));
    match V::any(nan) {
        true => f32::NAN,
        false if MAX => best.largest(),
        false => best.smallest(),
    }
}

impl<E: Float, const MAX: bool> Reducer<1> for Extreme<E, MAX> {
    type Item = E;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const E, len: usize, _first: usize) -> [f64; 1] {
        unsafe { [f64::from(extreme::<V, E, MAX>(x, len))] }
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<E>, _first: usize, states: *mut f64) {
        let mut best = Line::<f32>::new();
        let best = best.start();
        unsafe {
            for_each_group!(lines, GROUP, |line, places| {
                better_of::<V, E, _, MAX>(places, line == 0, best, lines.columns);
            });
            for i in 0..lines.columns {
                states.add(i).write(f64::from(best.add(i).read()));
            }
        }
    }

    #[inline(always)]
    fn merge(self, [a]: [f64; 1], [b]: [f64; 1]) -> [f64; 1] {
        let second = if MAX { b > a } else { b < a };
        [if second || b.is_nan() { b } else { a }]
    }
}

/// # Safety
/// The lines have `columns` elements, and `best` is a [`Line`].
#[inline(always)]
unsafe fn better_of<V: Simd, E: Element, const N: usize, const MAX: bool>(
    places: [*const E; N],
    begins: bool,
    best: *mut f32,
    columns: usize,
) {
    for_each_vector!(V, columns, |i, left| unsafe {
        let mut value = if begins { V::splat(worst::<MAX>()) } else { V::load_f32(best.add(i)) };
        let mut nan = value.is_nan();
        for place in places {
            let x = load::<V, E>(place.add(i), left);
            nan = V::or(nan, x.is_nan());
            value = better::<V, MAX>(x, value);
        }
        V::select(nan, V::splat(f32::NAN), value).store_f32(best.add(i));
    });
}

/// The largest or smallest element and where it is: the first of those that are equal, or the first NaN.
#[derive(Clone, Copy)]
pub(crate) struct Place<const MAX: bool>;

impl<const MAX: bool> Reducer<2> for Place<MAX> {
    type Item = f32;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const f32, len: usize, first: usize) -> [f64; 2] {
        const STRETCH: usize = 1 << 10;
        let (mut best, mut place) = (f32::NAN, 0);
        for start in (0..len).step_by(STRETCH) {
            unsafe {
                let count = STRETCH.min(len - start);
                let value = extreme::<V, f32, MAX>(x.add(start), count);
                let is_better = if MAX { value > best } else { value < best };
                if is_better || value.is_nan() || start == 0 {
                    (best, place) = (value, start + position::<V>(x.add(start), count, value));
                }
                if value.is_nan() {
                    break;
                }
            }
        }
        [f64::from(best), (first + place) as f64]
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<f32>, first: usize, states: *mut f64) {
        let (mut best, mut numbers) = (Line::<f32>::new(), Line::<f32>::new());
        let (best, numbers) = (best.start(), numbers.start());
        unsafe {
            for_each_group!(lines, GROUP, |line, places| {
                first_of::<V, _, MAX>(places, line, best, numbers, lines.columns);
            });
            for i in 0..lines.columns {
                states.add(i).write(f64::from(best.add(i).read()));
                states.add(ROWS + i).write(first as f64 + f64::from(numbers.add(i).read()));
            }
        }
    }

    #[inline(always)]
    fn merge(self, a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        let second = if MAX { b[0] > a[0] } else { b[0] < a[0] };
        let second = second || (b[0].is_nan() && !a[0].is_nan());
        [if second { b[0] } else { a[0] }, if second { b[1] } else { a[1] }]
    }
}

/// The first place of a value, which is there.
///
/// # Safety
/// `x` has `len` elements.
#[inline(always)]
unsafe fn position<V: Simd>(x: *const f32, len: usize, value: f32) -> usize {
    let wanted = V::splat(value);
    let mut i = 0;
    unsafe {
        while i + V::LANES <= len {
            let x = V::load_f32(x.add(i));
            if V::any(if value.is_nan() { x.is_nan() } else { x.equal(wanted) }) {
                break;
            }
            i += V::LANES;
        }
        while i < len {
            let x = x.add(i).read();
            if x == value || x.is_nan() {
                break;
            }
            i += 1;
        }
    }
    i
}

/// # Safety
/// The lines have `columns` elements, and the others are each a [`Line`].
#[inline(always)]
unsafe fn first_of<V: Simd, const N: usize, const MAX: bool>(
    places: [*const f32; N],
    line: usize,
    best: *mut f32,
    numbers: *mut f32,
    columns: usize,
) {
    for_each_vector!(V, columns, |i, left| unsafe {
        let first = V::splat(line as f32);
        let (mut value, mut number) = if line == 0 {
            (load::<V, f32>(places[0].add(i), left), first)
        } else {
            (V::load_f32(best.add(i)), V::load_f32(numbers.add(i)))
        };
        for (n, place) in places.iter().enumerate() {
            let x = load::<V, f32>(place.add(i), left);
            // Not true for x that is NaN.
            let worse = if MAX { x.less_equal(value) } else { value.less_equal(x) };
            let stays = V::or(worse, value.is_nan());
            value = V::select(stays, value, x);
            number = V::select(stays, number, first.add(V::splat(n as f32)));
        }
        value.store_f32(best.add(i));
        number.store_f32(numbers.add(i));
    });
}
