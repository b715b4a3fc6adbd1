//! Reductions of integers and truths, and products: plain loops, which the compiler turns into vectors.
#![expect(unsafe_code, reason = "elements are behind pointers")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason is that of every block: the caller's promise")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays")]

use std::ops::{BitAnd, BitOr};

use crate::cpu::rows::{Item, Lines, ROWS, Reducer, for_each_group};
use crate::cpu::simd::Simd;

/// How many results are computed side by side.
const WIDTH: usize = 32;
/// Lines that are read side by side.
const GROUP: usize = 4;

/// A reduction that takes one element after another, in any order.
pub(crate) trait Scalar: Copy + Send + Sync {
    type Item: Item;
    type Sum: Copy;
    /// What nothing is reduced to.
    const NONE: Self::Sum;
    /// Whether the order matters, if only to rounding.
    const ROUNDS: bool = false;
    fn add(self, sum: Self::Sum, x: Self::Item) -> Self::Sum;
    fn join(self, a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn to_state(self, sum: Self::Sum) -> f64;
    fn of_state(self, state: f64) -> Self::Sum;
}

#[derive(Clone, Copy)]
pub(crate) struct Plain<S>(pub(crate) S);

impl<S: Scalar> Reducer<1> for Plain<S> {
    type Item = S::Item;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const S::Item, len: usize, _first: usize) -> [f64; 1] {
        let (mut sum, mut i) = (S::NONE, 0);
        if S::ROUNDS {
            let mut sums = [S::NONE; WIDTH];
            while i + WIDTH <= len {
                // All are read before any is used, which the compiler makes vectors of.
                let items = unsafe { x.add(i).cast::<[S::Item; WIDTH]>().read_unaligned() };
                for j in 0..WIDTH {
                    sums[j] = self.0.add(sums[j], items[j]);
                }
                i += WIDTH;
            }
            for part in sums {
                sum = self.0.join(sum, part);
            }
        }
        // If the order does not matter, the compiler finds a better one.
        for i in i..len {
            sum = self.0.add(sum, unsafe { x.add(i).read_unaligned() });
        }
        [self.0.to_state(sum)]
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<S::Item>, _first: usize, states: *mut f64) {
        unsafe {
            let mut sums = [S::NONE; ROWS];
            for_each_group!(lines, GROUP, |_line, places| {
                for i in 0..lines.columns {
                    for place in places {
                        sums[i] = self.0.add(sums[i], place.add(i).read_unaligned());
                    }
                }
            });
            for i in 0..lines.columns {
                states.add(i).write(self.0.to_state(sums[i]));
            }
        }
    }

    #[inline(always)]
    fn merge(self, [a]: [f64; 1], [b]: [f64; 1]) -> [f64; 1] {
        [self.0.to_state(self.0.join(self.0.of_state(a), self.0.of_state(b)))]
    }
}

/// The product of floats. That of a few could leave the range of `f32` on its way to a result that does not.
#[derive(Clone, Copy)]
pub(crate) struct FloatProduct;

impl Scalar for FloatProduct {
    type Item = f32;
    type Sum = f64;
    const NONE: f64 = 1.0;
    const ROUNDS: bool = true;
    #[inline(always)]
    fn add(self, product: f64, x: f32) -> f64 {
        product * f64::from(x)
    }
    #[inline(always)]
    fn join(self, a: f64, b: f64) -> f64 {
        a * b
    }
    #[inline(always)]
    fn to_state(self, product: f64) -> f64 {
        product
    }
    #[inline(always)]
    fn of_state(self, state: f64) -> f64 {
        state
    }
}

/// The conversions of states that are an `i32`.
macro_rules! words {
    () => {
        #[inline(always)]
        fn to_state(self, sum: i32) -> f64 {
            f64::from(sum)
        }
        #[inline(always)]
        fn of_state(self, state: f64) -> i32 {
            state as i32
        }
    };
}

/// The wrapping sum of integers, signed or not.
#[derive(Clone, Copy)]
pub(crate) struct IntSum;

impl Scalar for IntSum {
    type Item = i32;
    type Sum = i32;
    const NONE: i32 = 0;
    #[inline(always)]
    fn add(self, sum: i32, x: i32) -> i32 {
        sum.wrapping_add(x)
    }
    #[inline(always)]
    fn join(self, a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    words!();
}

/// The wrapping product of integers, signed or not.
#[derive(Clone, Copy)]
pub(crate) struct IntProduct;

impl Scalar for IntProduct {
    type Item = i32;
    type Sum = i32;
    const NONE: i32 = 1;
    #[inline(always)]
    fn add(self, product: i32, x: i32) -> i32 {
        product.wrapping_mul(x)
    }
    #[inline(always)]
    fn join(self, a: i32, b: i32) -> i32 {
        a.wrapping_mul(b)
    }
    words!();
}

/// The exact sum of integers, for their mean.
#[derive(Clone, Copy)]
pub(crate) struct Total<const SIGNED: bool>;

/// An integer as the number that it is.
#[inline(always)]
fn widen<const SIGNED: bool>(x: i32) -> i64 {
    if SIGNED { i64::from(x) } else { i64::from(x.cast_unsigned()) }
}

impl<const SIGNED: bool> Scalar for Total<SIGNED> {
    type Item = i32;
    type Sum = i64;
    const NONE: i64 = 0;
    #[inline(always)]
    fn add(self, sum: i64, x: i32) -> i64 {
        sum + widen::<SIGNED>(x)
    }
    #[inline(always)]
    fn join(self, a: i64, b: i64) -> i64 {
        a + b
    }
    #[inline(always)]
    fn to_state(self, sum: i64) -> f64 {
        sum as f64
    }
    #[inline(always)]
    fn of_state(self, state: f64) -> i64 {
        state as i64
    }
}

/// Turns integers into others whose order as `i32` says which is better.
#[derive(Clone, Copy)]
pub(crate) struct Order(i32);

impl Order {
    pub(crate) const fn new(max: bool, signed: bool) -> Self {
        let turned = if max { 0 } else { -1 };
        Self(if signed { turned } else { turned ^ i32::MIN })
    }

    #[inline(always)]
    fn key(self, x: i32) -> i32 {
        x ^ self.0
    }
}

/// The largest integer, or the smallest.
#[derive(Clone, Copy)]
pub(crate) struct IntExtreme(pub(crate) Order);

impl Scalar for IntExtreme {
    type Item = i32;
    type Sum = i32;
    const NONE: i32 = i32::MIN;
    #[inline(always)]
    fn add(self, best: i32, x: i32) -> i32 {
        best.max(self.0.key(x))
    }
    #[inline(always)]
    fn join(self, a: i32, b: i32) -> i32 {
        a.max(b)
    }
    #[inline(always)]
    fn to_state(self, best: i32) -> f64 {
        f64::from(self.0.key(best))
    }
    #[inline(always)]
    fn of_state(self, state: f64) -> i32 {
        self.0.key(state as i32)
    }
}

/// Elements as the bits that they are.
pub(crate) trait Bits: Item + Send + Sync + PartialEq + BitAnd<Output = Self> + BitOr<Output = Self> {
    const ZERO: Self;
    const ONE: Self;
    const ALL: Self;
    /// All bits but the highest.
    const MAGNITUDE: Self;
}

macro_rules! bits {
    ($($type:ty),+) => {$(
        impl Bits for $type {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const ALL: Self = Self::MAX;
            const MAGNITUDE: Self = Self::MAX >> 1;
        }
    )+};
}
bits!(u8, u16, u32);

/// Whether some element is true, if `SOME`, or whether some is false: has some or none of the bits.
#[derive(Clone, Copy)]
pub(crate) struct Truths<T, const SOME: bool>(T);

impl<T: Bits, const SOME: bool> Truths<T, SOME> {
    /// Minus zero is false too.
    pub(crate) const fn new(float: bool) -> Self {
        Self(if float { T::MAGNITUDE } else { T::ALL })
    }
}

impl<T: Bits, const SOME: bool> Scalar for Truths<T, SOME> {
    type Item = T;
    type Sum = T;
    const NONE: T = T::ZERO;
    #[inline(always)]
    fn add(self, some: T, x: T) -> T {
        let bits = x & self.0;
        some | if SOME {
            bits
        } else if bits == T::ZERO {
            T::ONE
        } else {
            T::ZERO
        }
    }
    #[inline(always)]
    fn join(self, a: T, b: T) -> T {
        a | b
    }
    #[inline(always)]
    fn to_state(self, some: T) -> f64 {
        if some == T::ZERO { 0.0 } else { 1.0 }
    }
    #[inline(always)]
    fn of_state(self, state: f64) -> T {
        if state == 0.0 { T::ZERO } else { T::ONE }
    }
}

/// As [`super::floats::Moments`], of integers in `f64`.
#[derive(Clone, Copy)]
pub(crate) struct IntMoments<const SIGNED: bool>;

impl<const SIGNED: bool> Reducer<3> for IntMoments<SIGNED> {
    type Item = i32;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const i32, len: usize, _first: usize) -> [f64; 3] {
        const BLOCK: usize = 2048;
        let mut state = [0.0; 3];
        for start in (0..len).step_by(BLOCK) {
            let count = BLOCK.min(len - start);
            let mut squares = [0.0; WIDTH];
            unsafe {
                let x = x.add(start);
                let [total] = Plain(Total::<SIGNED>).row::<V>(x, count, 0);
                let mean = total / count as f64;
                let mut i = 0;
                while i + WIDTH <= count {
                    let items = x.add(i).cast::<[i32; WIDTH]>().read_unaligned();
                    for j in 0..WIDTH {
                        let distance = widen::<SIGNED>(items[j]) as f64 - mean;
                        squares[j] += distance * distance;
                    }
                    i += WIDTH;
                }
                while i < count {
                    let distance = widen::<SIGNED>(x.add(i).read_unaligned()) as f64 - mean;
                    squares[i % WIDTH] += distance * distance;
                    i += 1;
                }
                let next = [count as f64, mean, squares.iter().sum()];
                state = if start == 0 { next } else { self.merge(state, next) };
            }
        }
        state
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<i32>, first: usize, states: *mut f64) {
        let count = lines.count as f64;
        unsafe {
            Plain(Total::<SIGNED>).columns::<V>(lines, first, states.add(ROWS));
            for i in 0..lines.columns {
                let mean = states.add(ROWS + i);
                mean.write(mean.read() / count);
                states.add(i).write(count);
                states.add(2 * ROWS + i).write(0.0);
            }
            for line in 0..lines.count {
                let place = lines.line(line);
                for i in 0..lines.columns {
                    let squares = states.add(2 * ROWS + i);
                    let x = widen::<SIGNED>(place.add(i).read_unaligned()) as f64;
                    let distance = x - states.add(ROWS + i).read();
                    squares.write(squares.read() + distance * distance);
                }
            }
        }
    }

    #[inline(always)]
    fn merge(self, a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
        super::floats::merge_moments(a, b)
    }
}

/// As [`super::floats::Place`], of integers.
#[derive(Clone, Copy)]
pub(crate) struct IntPlace(pub(crate) Order);

impl Reducer<2> for IntPlace {
    type Item = i32;

    #[inline(always)]
    unsafe fn row<V: Simd>(self, x: *const i32, len: usize, first: usize) -> [f64; 2] {
        const STRETCH: usize = 1 << 10;
        let order = self.0;
        let (mut best, mut place) = (i32::MIN, 0);
        for start in (0..len).step_by(STRETCH) {
            let count = STRETCH.min(len - start);
            unsafe {
                let x = x.add(start);
                let mut keys = [i32::MIN; WIDTH];
                let mut i = 0;
                while i + WIDTH <= count {
                    let items = x.add(i).cast::<[i32; WIDTH]>().read_unaligned();
                    for j in 0..WIDTH {
                        keys[j] = keys[j].max(order.key(items[j]));
                    }
                    i += WIDTH;
                }
                while i < count {
                    keys[i % WIDTH] = keys[i % WIDTH].max(order.key(x.add(i).read_unaligned()));
                    i += 1;
                }
                let mut key = keys[0];
                for j in 1..WIDTH {
                    key = key.max(keys[j]);
                }
                if key > best || start == 0 {
                    let mut i = 0;
                    while order.key(x.add(i).read_unaligned()) != key {
                        i += 1;
                    }
                    (best, place) = (key, start + i);
                }
            }
        }
        [f64::from(best), (first + place) as f64]
    }

    #[inline(always)]
    unsafe fn columns<V: Simd>(self, lines: &Lines<i32>, first: usize, states: *mut f64) {
        let order = self.0;
        let (mut best, mut places) = ([i32::MIN; ROWS], [0_i32; ROWS]);
        unsafe {
            for line in 0..lines.count {
                let place = lines.line(line);
                for i in 0..lines.columns {
                    let key = order.key(place.add(i).read_unaligned());
                    let wins = key > best[i];
                    best[i] = if wins { key } else { best[i] };
                    places[i] = if wins { line as i32 } else { places[i] };
                }
            }
            for i in 0..lines.columns {
                states.add(i).write(f64::from(best[i]));
                states.add(ROWS + i).write(first as f64 + f64::from(places[i]));
            }
        }
    }

    #[inline(always)]
    fn merge(self, a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        let second = b[0] > a[0];
        [if second { b[0] } else { a[0] }, if second { b[1] } else { a[1] }]
    }
}
