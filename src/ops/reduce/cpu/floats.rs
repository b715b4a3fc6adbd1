//! Reductions of floats, in vectors of `f32`.
//!
//! A lane of `f32` never adds up more than [`CHAIN`] terms; what comes after that is `f64`. So the error stays below
//! 2e-6 of the sum of the magnitudes, whatever the length. Squares that leave the range of `f32`, or its precision at
//! the small end, are computed again in `f64`.
#![expect(unsafe_code, reason = "elements are behind pointers")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason is that of every block: the caller's promise")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::cpu::rows::{Float, LINES, Lines, ROWS, Reducer};
use crate::cpu::simd::{Element, MAX_LANES, Simd};

/// The most terms that a lane adds up.
const CHAIN: usize = 32;
/// How many vectors add up terms side by side.
const WIDTH: usize = 8;
/// Lines that are loaded side by side.
const GROUP: usize = 8;
/// A sum of squares below this may have lost something to terms that are too small for `f32`.
const SMALLEST: f64 = 1e-32;

/// What is added up of each element.
pub(crate) trait Term: Copy + Send + Sync {
    /// Whether that is a square.
    const SQUARE: bool;
    fn add<V: Simd>(self, sum: V, x: V) -> V;
}

#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Term for Plain {
    const SQUARE: bool = false;
    #[inline(always)]
    fn add<V: Simd>(self, sum: V, x: V) -> V {
        sum.add(x)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Square;

impl Term for Square {
    const SQUARE: bool = true;
    #[inline(always)]
    fn add<V: Simd>(self, sum: V, x: V) -> V {
        x.fma(x, sum)
    }
}

/// Working memory for a line: whole vectors of it may be written.
pub(crate) struct Line<T>(MaybeUninit<[T; ROWS]>);

impl<T> Line<T> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        const { assert!(ROWS.is_multiple_of(MAX_LANES)) };
        Self(MaybeUninit::uninit())
    }

    #[inline(always)]
    pub(crate) fn start(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }
}

/// A vector of the `left` elements that there are, and zeros after them.
///
/// # Safety
/// There are so many.
#[inline(always)]
pub(crate) unsafe fn load<V: Simd, E: Element>(from: *const E, left: usize) -> V {
    unsafe { if left >= V::LANES { E::load(from) } else { E::load_tail(from, left) } }
}

/// A vector of the `left` elements that there are, and `fill` after them.
///
/// # Safety
/// There are so many.
#[inline(always)]
pub(crate) unsafe fn load_filled<V: Simd, E: Element>(from: *const E, left: usize, fill: f32) -> V {
    if left >= V::LANES {
        return unsafe { E::load(from) };
    }
    unsafe { V::select(first_lanes::<V>(left), E::load_tail(from, left), V::splat(fill)) }
}

/// The first `count` lanes.
#[inline(always)]
fn first_lanes<V: Simd>(count: usize) -> V::Mask {
    const NUMBERS: [f32; MAX_LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    const { assert!(V::LANES <= MAX_LANES) };
    unsafe { V::load_f32(NUMBERS.as_ptr()) }.less(V::splat(count as f32))
}

/// The sum of vectors, in pairs.
#[inline(always)]
pub(crate) fn add_up<V: Simd, const N: usize>(mut vectors: [V; N]) -> V {
    let mut count = N;
    while count > 1 {
        for i in 0..count / 2 {
            vectors[i] = vectors[i].add(vectors[count - 1 - i]);
        }
        count = count.div_ceil(2);
    }
    vectors[0]
}

/// The sum of the terms of a stretch.
///
/// # Safety
/// `x` has `len` elements.
#[inline(always)]
pub(crate) unsafe fn total<V: Simd, E: Element, T: Term>(term: T, x: *const E, len: usize) -> f64 {
    let step = WIDTH * V::LANES;
    let (mut total, mut i) = (0.0, 0);
    unsafe {
        while i + step <= len {
            let end = len.min(i + CHAIN * step);
            let mut sums = [V::splat(0.0); WIDTH];
            while i + step <= end {
                for a in 0..WIDTH {
                    sums[a] = term.add(sums[a], E::load(x.add(i + a * V::LANES)));
                }
                i += step;
            }
            total += f64::from(add_up(sums).sum());
        }
        if i < len {
            let mut sum = V::splat(0.0);
            while i + V::LANES <= len {
                sum = term.add(sum, E::load(x.add(i)));
                i += V::LANES;
            }
            if i < len {
                sum = term.add(sum, E::load_tail(x.add(i), len - i));
            }
            total += f64::from(sum.sum());
        }
    }
    total
}

/// Calls `f` with each element in `f64`: for what is rare.
///
/// # Safety
/// `x` has `len` elements.
#[inline(always)]
unsafe fn each_wide<V: Simd, E: Element>(x: *const E, len: usize, mut f: impl FnMut(f64)) {
    let mut lanes = [0.0_f32; MAX_LANES];
    for i in (0..len).step_by(V::LANES) {
        unsafe { load::<V, E>(x.add(i), len - i).store_f32(lanes.as_mut_ptr()) };
        for &lane in &lanes[..V::LANES.min(len - i)] {
            f(f64::from(lane));
        }
    }
}

/// The sum of the squares of a stretch.
///
/// # Safety
/// `x` has `len` elements.
#[inline(always)]
unsafe fn square_total<V: Simd, E: Element>(x: *const E, len: usize) -> f64 {
    let mut sum = unsafe { total::<V, E, Square>(Square, x, len) };
    if !is_good(sum) {
        sum = 0.0;
        unsafe { each_wide::<V, E>(x, len, |x| sum += x * x) };
    }
    sum
}

/// Whether a sum of squares lost nothing to the range of `f32`.
#[inline(always)]
fn is_good(squares: f64) -> bool {
    (SMALLEST..=f64::from(f32::MAX)).contains(&squares)
}

/// Sums of elements or of their squares.
#[derive(Clone, Copy)]
pub(crate) struct Sum<E, T>(pub(crate) T, pub(crate) PhantomData<fn(E)>);

impl<E: Float, T: Term> Reducer<1> for Sum<E, T> {
    type Item = E;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const E, len: usize, _first: usize) -> [f64; 1] {
        unsafe { [if T::SQUARE { square_total::<V, E>(x, len) } else { total::<V, E, T>(self.0, x, len) }] }
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<E>, _first: usize, states: *mut f64) {
        let mut sums = Line::<f32>::new();
        let sums = sums.start();
        unsafe {
            column_totals::<V, E, T>(self.0, lines, sums);
            let mut good = true;
            for i in 0..lines.columns {
                let sum = f64::from(sums.add(i).read());
                good &= is_good(sum);
                states.add(i).write(sum);
            }
            if T::SQUARE && !good {
                for i in 0..lines.columns {
                    let mut sum = 0.0;
                    for line in 0..lines.count {
                        each_wide::<V, E>(lines.line(line).add(i), 1, |x| sum += x * x);
                    }
                    states.add(i).write(sum);
                }
            }
        }
    }

    #[inline(always)]
    fn merge(self, [a]: [f64; 1], [b]: [f64; 1]) -> [f64; 1] {
        [a + b]
    }
}

/// The sums of terms of each column. At most [`LINES`] lines, a group at a time.
///
/// # Safety
/// The lines are as long as they say, and there is room for a [`Line`] of sums.
#[inline(always)]
unsafe fn column_totals<V: Simd, E: Element, T: Term>(term: T, lines: &Lines<E>, sums: *mut f32) {
    debug_assert!(lines.count <= LINES);
    let zero = V::splat(0.0);
    let mut line = 0;
    unsafe {
        while line + GROUP <= lines.count {
            let places: [*const E; GROUP] = group(lines, line);
            let mut i = 0;
            while i < lines.columns {
                let left = lines.columns - i;
                let mut pairs = [zero; GROUP / 2];
                for g in 0..GROUP {
                    let x = load::<V, E>(places[g].add(i), left);
                    pairs[g / 2] = term.add(pairs[g / 2], x);
                }
                let sum = add_up(pairs);
                let before = if line == 0 { zero } else { V::load_f32(sums.add(i)) };
                before.add(sum).store_f32(sums.add(i));
                i += V::LANES;
            }
            line += GROUP;
        }
        while line < lines.count {
            let place = lines.line(line);
            let mut i = 0;
            while i < lines.columns {
                let before = if line == 0 { zero } else { V::load_f32(sums.add(i)) };
                term.add(before, load::<V, E>(place.add(i), lines.columns - i)).store_f32(sums.add(i));
                i += V::LANES;
            }
            line += 1;
        }
    }
}

/// Some lines after one.
#[inline(always)]
pub(crate) fn group<E, const N: usize>(lines: &Lines<E>, line: usize) -> [*const E; N] {
    let mut places = [std::ptr::null(); N];
    for (g, place) in places.iter_mut().enumerate() {
        *place = lines.line(line + g);
    }
    places
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
        let mut state = unsafe { moments::<V, E>(x, len.min(block)) };
        for start in (block..len).step_by(block) {
            let next = unsafe { moments::<V, E>(x.add(start), block.min(len - start)) };
            state = self.merge(state, next);
        }
        state
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<E>, _first: usize, states: *mut f64) {
        let mut arrays: [Line<f32>; 3] = [Line::new(), Line::new(), Line::new()];
        let [pivots, sums, squares] = &mut arrays;
        let [pivots, sums, squares] = [pivots.start(), sums.start(), squares.start()];
        let count = lines.count as f64;
        unsafe {
            column_totals::<V, E, Plain>(Plain, lines, pivots);
            let share = V::splat(1.0 / lines.count as f32);
            for i in (0..lines.columns).step_by(V::LANES) {
                V::load_f32(pivots.add(i)).mul(share).store_f32(pivots.add(i));
                V::splat(0.0).store_f32(sums.add(i));
                V::splat(0.0).store_f32(squares.add(i));
            }
            let mut line = 0;
            while line + GROUP <= lines.count {
                distances::<V, E, GROUP>(group(lines, line), pivots, sums, squares, lines.columns);
                line += GROUP;
            }
            while line < lines.count {
                distances::<V, E, 1>(group(lines, line), pivots, sums, squares, lines.columns);
                line += 1;
            }
            let mut good = true;
            for i in 0..lines.columns {
                let [pivot, sum, square] = [pivots, sums, squares].map(|from| f64::from(from.add(i).read()));
                good &= is_good(square);
                states.add(i).write(count);
                states.add(ROWS + i).write(pivot + sum / count);
                states.add(2 * ROWS + i).write(square - sum * sum / count);
            }
            if !good {
                for i in 0..lines.columns {
                    let (mut mean, mut squares) = (0.0, 0.0);
                    for line in 0..lines.count {
                        each_wide::<V, E>(lines.line(line).add(i), 1, |x| mean += x / count);
                    }
                    for line in 0..lines.count {
                        each_wide::<V, E>(lines.line(line).add(i), 1, |x| squares += (x - mean) * (x - mean));
                    }
                    states.add(ROWS + i).write(mean);
                    states.add(2 * ROWS + i).write(squares);
                }
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

/// Adds the distances of some lines from the pivots, and their squares, to sums.
///
/// # Safety
/// The lines have `columns` elements, and the others are each a [`Line`].
#[inline(always)]
unsafe fn distances<V: Simd, E: Element, const N: usize>(
    places: [*const E; N],
    pivots: *const f32,
    sums: *mut f32,
    squares: *mut f32,
    columns: usize,
) {
    for i in (0..columns).step_by(V::LANES) {
        unsafe {
            let pivot = V::load_f32(pivots.add(i));
            let (mut sum, mut square) = ([V::splat(0.0); 2], [V::splat(0.0); 2]);
            for n in 0..N {
                let distance = load::<V, E>(places[n].add(i), columns - i).sub(pivot);
                sum[n % 2] = sum[n % 2].add(distance);
                square[n % 2] = distance.fma(distance, square[n % 2]);
            }
            V::load_f32(sums.add(i)).add(add_up(sum)).store_f32(sums.add(i));
            V::load_f32(squares.add(i)).add(add_up(square)).store_f32(squares.add(i));
        }
    }
}

/// The state of a block that stays in the nearest cache.
///
/// # Safety
/// `x` has `len` elements, at least one.
#[inline(always)]
unsafe fn moments<V: Simd, E: Element>(x: *const E, len: usize) -> [f64; 3] {
    const HALF: usize = WIDTH / 2;
    let count = len as f64;
    let pivot = unsafe { total::<V, E, Plain>(Plain, x, len) / count } as f32;
    let center = V::splat(pivot);
    let (mut sums, mut squares) = ([V::splat(0.0); HALF], [V::splat(0.0); HALF]);
    let (mut sum, mut square) = (0.0, 0.0);
    let mut i = 0;
    unsafe {
        let step = HALF * V::LANES;
        while i + step <= len {
            let end = len.min(i + CHAIN * step);
            while i + step <= end {
                for a in 0..HALF {
                    let distance = E::load::<V>(x.add(i + a * V::LANES)).sub(center);
                    sums[a] = sums[a].add(distance);
                    squares[a] = distance.fma(distance, squares[a]);
                }
                i += step;
            }
            sum += f64::from(add_up(sums).sum());
            square += f64::from(add_up(squares).sum());
            (sums, squares) = ([V::splat(0.0); HALF], [V::splat(0.0); HALF]);
        }
        if i < len {
            while i < len {
                let distance = load_filled::<V, E>(x.add(i), len - i, pivot).sub(center);
                sums[0] = sums[0].add(distance);
                squares[0] = distance.fma(distance, squares[0]);
                i += V::LANES;
            }
            sum += f64::from(sums[0].sum());
            square += f64::from(squares[0].sum());
        }
        if !is_good(square) {
            let (mut mean, mut squares) = (0.0, 0.0);
            each_wide::<V, E>(x, len, |x| mean += x / count);
            each_wide::<V, E>(x, len, |x| squares += (x - mean) * (x - mean));
            return [count, mean, squares];
        }
    }
    [count, f64::from(pivot) + sum / count, square - sum * sum / count]
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
            for i in (0..lines.columns).step_by(V::LANES) {
                V::splat(worst::<MAX>()).store_f32(best.add(i));
            }
            let mut line = 0;
            while line + GROUP <= lines.count {
                better_of::<V, E, GROUP, MAX>(group(lines, line), best, lines.columns);
                line += GROUP;
            }
            while line < lines.count {
                better_of::<V, E, 1, MAX>(group(lines, line), best, lines.columns);
                line += 1;
            }
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
    best: *mut f32,
    columns: usize,
) {
    for i in (0..columns).step_by(V::LANES) {
        unsafe {
            let before = V::load_f32(best.add(i));
            let mut nan = before.is_nan();
            let mut value = before;
            for n in 0..N {
                let x = load::<V, E>(places[n].add(i), columns - i);
                nan = V::or(nan, x.is_nan());
                value = better::<V, MAX>(x, value);
            }
            V::select(nan, V::splat(f32::NAN), value).store_f32(best.add(i));
        }
    }
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
        let (mut best, mut places) = (Line::<f32>::new(), Line::<f32>::new());
        let (best, places) = (best.start(), places.start());
        unsafe {
            for i in (0..lines.columns).step_by(V::LANES) {
                load::<V, f32>(lines.start.add(i), lines.columns - i).store_f32(best.add(i));
                V::splat(0.0).store_f32(places.add(i));
            }
            let mut line = 1;
            while line + GROUP <= lines.count {
                first_of::<V, GROUP, MAX>(group(lines, line), line, best, places, lines.columns);
                line += GROUP;
            }
            while line < lines.count {
                first_of::<V, 1, MAX>(group(lines, line), line, best, places, lines.columns);
                line += 1;
            }
            for i in 0..lines.columns {
                states.add(i).write(f64::from(best.add(i).read()));
                states.add(ROWS + i).write(first as f64 + f64::from(places.add(i).read()));
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
    lines: [*const f32; N],
    first: usize,
    best: *mut f32,
    places: *mut f32,
    columns: usize,
) {
    for i in (0..columns).step_by(V::LANES) {
        unsafe {
            let (mut value, mut place) = (V::load_f32(best.add(i)), V::load_f32(places.add(i)));
            for n in 0..N {
                let x = load::<V, f32>(lines[n].add(i), columns - i);
                // Not false for x that is NaN.
                let worse = if MAX { x.less_equal(value) } else { value.less_equal(x) };
                let stays = V::or(worse, value.is_nan());
                value = V::select(stays, value, x);
                place = V::select(stays, place, V::splat((first + n) as f32));
            }
            value.store_f32(best.add(i));
            place.store_f32(places.add(i));
        }
    }
}
