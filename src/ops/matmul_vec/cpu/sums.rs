//! The sums of products of a part of a matrix with a part of x.
//!
//! Floats are multiplied and added in `f32` for a few dozen steps, and what comes out of that is added in `f64`: the
//! error stays below 1e-6 of the sum of magnitudes for any length. Integers wrap around in 32 bits.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays of sums")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use half::{bf16, f16};

use super::{ROWS, SHORT};
use crate::cpu::convert::{self, BLOCK, Block, Number};
use crate::cpu::simd::{Element, Kernel, Level, Simd, prefetch};
use crate::cpu::walk::tile::{TILE_BYTES, TILE_COLUMNS, Tile};
use crate::dtype::DType;

/// How many bytes of a row are fetched in advance.
const AHEAD: usize = 16 << 10;
/// Columns of at most so many bytes that come from memory are read one by one: memory likes one stream, but of long
/// columns eight together need fewer sums.
const SHORT_COLUMN: usize = 2 << 10;
/// How many products are added one after another in `f32`.
const CHAIN: usize = 32;

/// Numbers with the sums of their products.
pub(super) trait Arithmetic: Number + Default {
    /// What x is converted to.
    const DTYPE: DType;
    type Sum: Copy + Default;

    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn widen(self) -> Self::Sum;
    fn finish(sum: Self::Sum, scale: f32) -> Self;

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
pub(super) enum Way {
    Rows,
    Columns,
}

/// A part of one matrix, and of one x.
pub(super) struct Part<T> {
    pub(super) level: Level,
    pub(super) dtype: DType,
    pub(super) w: *const u8,
    /// Bytes from one row to the next.
    pub(super) down: isize,
    /// Bytes from one column to the next.
    pub(super) across: isize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) x: *const T,
    /// Whether the matrix is probably in the caches.
    pub(super) cached: bool,
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

    fn finish(sum: f64, scale: f32) -> Self {
        (sum * f64::from(scale)) as Self
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

    fn finish(sum: i32, _scale: f32) -> Self {
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
        let group = if !part.cached && part.rows * size_of::<E>() <= SHORT_COLUMN { 1 } else { GROUP };
        // SAFETY: the promise to `float_sums`; a part has at most `ROWS` rows.
        unsafe {
            clear(totals, part.rows);
            let mut column = 0;
            while column < part.columns {
                let end = part.columns.min(column + CHAIN * group);
                clear(sums, part.rows);
                while group == GROUP && column + GROUP <= end {
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
            let mut sum = E::load_tail::<V>(columns[0].add(i), len - i).mul(V::splat(x[0]));
            for c in 1..C {
                sum = E::load_tail::<V>(columns[c].add(i), len - i).fma(V::splat(x[c]), sum);
            }
            V::load_f32_tail(sums.add(i), len - i).add(sum).store_f32_tail(sums.add(i), len - i);
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
