//! Products of matrices that were packed into panels.
//!
//! A panel is a few rows of the left matrix, or columns of the right one, that lie side by side: for each step along
//! the sum, one element of every row. A block of the result, as many rows and columns as its sums fit the registers,
//! is then a loop over two panels from their beginnings to their ends. Elements are converted while they are packed,
//! and any strides are gone afterwards.
//!
//! Panels consist of words of 32 bits: an `f32`, an `i32`, or a pair of `bf16` that are neighbours along the sum.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]

use half::bf16;

use super::convert::{self, BLOCK, Block, Number};
use super::simd::{Kernel, Level, Simd};
use crate::dtype::{DType, Kind};

/// How many steps are summed in registers, before that is added to the sums in memory: panels of so many stay in the
/// nearest caches, and a chain of additions has an end.
pub(crate) const CHAIN: usize = 256;

/// What panels hold, and how their products are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// In `f32`, as everything of floats is.
    Floats,
    /// Pairs of `bf16`, summed in `f32`.
    Pairs,
    /// In `i32`, which wraps around.
    Integers,
}

impl Arithmetic {
    /// How operands of two types are multiplied for a result of a third.
    pub(crate) fn new(level: Level, a: DType, b: DType, out: DType) -> Self {
        if out.kind() != Kind::Float {
            Self::Integers
        } else if a == DType::BFloat16 && b == DType::BFloat16 && level.has_dots() {
            Self::Pairs
        } else {
            Self::Floats
        }
    }

    /// How many words hold so many elements along the sum.
    pub(crate) fn steps(self, elements: usize) -> usize {
        if self == Self::Pairs { elements.div_ceil(2) } else { elements }
    }
}

/// The rows and columns of a block of sums in registers, which are those of the panels.
pub(crate) const fn block(level: Level) -> [usize; 2] {
    match level {
        Level::Avx512 => [12, 32],
        Level::Avx2 | Level::Neon => [6, 16],
        Level::Scalar => [4, 8],
    }
}

/// Lines of a matrix that is to be packed: rows of the left one, columns of the right one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) dtype: DType,
    pub(crate) start: *const u8,
    /// Bytes from one line to the next.
    pub(crate) across: isize,
    /// Bytes from one element of a line to the next.
    pub(crate) along: isize,
    pub(crate) count: usize,
    pub(crate) length: usize,
}

impl Lines {
    /// Part of them.
    pub(crate) fn part(&self, line: usize, count: usize, element: usize, length: usize) -> Self {
        let start =
            self.start.wrapping_offset(line as isize * self.across).wrapping_offset(element as isize * self.along);
        Self { start, count: count.min(self.count - line), length: length.min(self.length - element), ..*self }
    }
}

/// Packs lines into panels of `width` of them, `panel_step` words apart. The last one is filled up with zeros.
///
/// # Safety
/// The elements are readable, and there is room for the panels.
pub(crate) unsafe fn pack(
    level: Level,
    arithmetic: Arithmetic,
    lines: &Lines,
    width: usize,
    to: *mut u32,
    panel_step: usize,
) {
    level.run(Pack { level, arithmetic, lines, width, to, panel_step });
}

struct Pack<'a> {
    level: Level,
    arithmetic: Arithmetic,
    lines: &'a Lines,
    width: usize,
    to: *mut u32,
    panel_step: usize,
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let size = self.lines.dtype.size() as isize;
        let side_by_side = self.lines.across == size && self.lines.along != size;
        // SAFETY: the promise to `pack`.
        unsafe {
            match (self.arithmetic, side_by_side) {
                (Arithmetic::Floats, true) => self.steps::<V, f32>(),
                (Arithmetic::Integers, true) => self.steps::<V, i32>(),
                (Arithmetic::Pairs, true) => self.steps_of_pairs::<V>(),
                (Arithmetic::Floats, false) => self.lines::<V, f32>(),
                (Arithmetic::Integers, false) => self.lines::<V, i32>(),
                (Arithmetic::Pairs, false) => self.lines_of_pairs(),
            }
        }
    }
}

impl Pack<'_> {
    /// Lines that lie side by side: a step after the other.
    ///
    /// # Safety
    /// The promise to [`pack`].
    #[inline(always)]
    unsafe fn steps<V: Simd, T: Number>(&self) {
        let lines = self.lines;
        for first in (0..lines.count).step_by(BLOCK / self.width * self.width) {
            let count = (BLOCK / self.width * self.width).min(lines.count - first);
            for step in 0..lines.length {
                let from = lines
                    .start
                    .wrapping_offset(first as isize * lines.across)
                    .wrapping_offset(step as isize * lines.along);
                let mut block = Block::new();
                // SAFETY: the caller's promise; a block has room for so many.
                unsafe {
                    let numbers = if T::is_stored_in(lines.dtype) {
                        from.cast()
                    } else {
                        let numbers = block.as_mut_ptr::<T>();
                        T::load::<V>(lines.dtype, from, numbers, count, false);
                        numbers.cast_const()
                    };
                    self.spread::<V>(numbers.cast(), first, count, step);
                }
            }
        }
    }

    /// As [`Pack::steps`], two steps at a time.
    ///
    /// # Safety
    /// The promise to [`pack`].
    #[inline(always)]
    unsafe fn steps_of_pairs<V: Simd>(&self) {
        let lines = self.lines;
        for first in (0..lines.count).step_by(BLOCK / self.width * self.width) {
            let count = (BLOCK / self.width * self.width).min(lines.count - first);
            for step in (0..lines.length).step_by(2) {
                let from = lines
                    .start
                    .wrapping_offset(first as isize * lines.across)
                    .wrapping_offset(step as isize * lines.along)
                    .cast::<u16>();
                let next = from.wrapping_byte_offset(lines.along);
                let mut block = Block::new();
                let pairs = block.as_mut_ptr::<u32>();
                // SAFETY: the caller's promise; a block has room for so many.
                unsafe {
                    if step + 1 < lines.length {
                        for i in 0..count {
                            let (low, high) = (from.add(i).read_unaligned(), next.add(i).read_unaligned());
                            pairs.add(i).write(u32::from(low) | u32::from(high) << 16);
                        }
                    } else {
                        for i in 0..count {
                            pairs.add(i).write(u32::from(from.add(i).read_unaligned()));
                        }
                    }
                    self.spread::<V>(pairs.cast(), first, count, step / 2);
                }
            }
        }
    }

    /// Puts a step of `count` lines into their panels, and zeros where the last one has none.
    ///
    /// # Safety
    /// There are so many words, and the promise to [`pack`].
    #[inline(always)]
    unsafe fn spread<V: Simd>(&self, words: *const f32, first: usize, count: usize, step: usize) {
        let (words, to) = (words.cast::<f32>(), self.to.cast::<f32>());
        for panel in 0..count.div_ceil(self.width) {
            let start = panel * self.width;
            // SAFETY: the caller's promise. A width is a few vectors, or less than one and the rest.
            unsafe {
                let from = words.add(start);
                let to = to.add((first / self.width + panel) * self.panel_step + step * self.width);
                let whole = self.width.min(count - start);
                let mut i = 0;
                while i + V::LANES <= whole {
                    V::load_f32(from.add(i)).store_f32(to.add(i));
                    i += V::LANES;
                }
                if i < whole {
                    V::load_f32_tail(from.add(i), whole - i).store_f32_tail(to.add(i), whole - i);
                }
                for i in whole..self.width {
                    to.add(i).write(0.0);
                }
            }
        }
    }

    /// Other lines: a few at a time, turned around.
    ///
    /// # Safety
    /// The promise to [`pack`].
    #[inline(always)]
    unsafe fn lines<V: Simd, T: Number>(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.turn(1, |from, count, block| {
                let lines = self.lines;
                let (mut place, mut raw) = (from, Block::new());
                if T::is_stored_in(lines.dtype) {
                    if lines.along == lines.dtype.size() as isize {
                        return place.cast();
                    }
                    convert::gather(lines.dtype.size(), from, lines.along, block.as_mut_ptr(), count);
                } else {
                    if lines.along != lines.dtype.size() as isize {
                        place = raw.as_mut_ptr();
                        convert::gather(lines.dtype.size(), from, lines.along, raw.as_mut_ptr(), count);
                    }
                    T::load::<V>(lines.dtype, place, block.as_mut_ptr::<T>(), count, false);
                }
                block.as_mut_ptr::<u32>().cast_const()
            });
        }
    }

    /// As [`Pack::lines`].
    ///
    /// # Safety
    /// The promise to [`pack`].
    #[inline(always)]
    unsafe fn lines_of_pairs(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.turn(2, |from, count, block| {
                if self.lines.along == size_of::<bf16>() as isize && count % 2 == 0 {
                    return from.cast();
                }
                convert::gather(size_of::<bf16>(), from, self.lines.along, block.as_mut_ptr(), count);
                block.as_mut_ptr::<bf16>().add(count).write(bf16::ZERO);
                block.as_mut_ptr::<u32>().cast_const()
            });
        }
    }

    /// Packs lines of which `words` makes words: it gets where they begin, how many elements to take, and a block for
    /// them if they are not words already. `elements` of a line make one.
    ///
    /// # Safety
    /// The promise to [`pack`].
    #[inline(always)]
    unsafe fn turn(&self, elements: usize, words: impl Fn(*const u8, usize, &mut Block) -> *const u32) {
        const STRETCH: usize = BLOCK / 2;
        let lines = self.lines;
        let zeros = [0_u32; STRETCH];
        for panel in 0..lines.count.div_ceil(self.width) {
            for element in (0..lines.length).step_by(STRETCH) {
                let count = STRETCH.min(lines.length - element);
                for line in (0..self.width).step_by(4) {
                    let mut blocks = [const { Block::new() }; 4];
                    let mut rows = [zeros.as_ptr(); 4];
                    for (i, (row, block)) in rows.iter_mut().zip(&mut blocks).enumerate() {
                        let line = panel * self.width + line + i;
                        if line < lines.count {
                            let start = lines.start.wrapping_offset(line as isize * lines.across);
                            *row = words(start.wrapping_offset(element as isize * lines.along), count, block);
                        }
                    }
                    // SAFETY: the caller's promise; there are as many words.
                    unsafe {
                        let to = self.to.add(panel * self.panel_step + element / elements * self.width + line);
                        transpose(rows, to, self.width, count.div_ceil(elements), 4.min(self.width - line));
                    }
                }
            }
        }
    }
}

/// Writes four rows of words as columns, the first `across` of them, in rows of `width` words.
///
/// # Safety
/// There are `count` words in each row, and there is room for them.
#[inline(always)]
unsafe fn transpose(rows: [*const u32; 4], to: *mut u32, width: usize, count: usize, across: usize) {
    let mut i = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while across == 4 && i + 4 <= count {
            let square = rows.map(|row| row.add(i).cast::<[u32; 4]>().read_unaligned());
            for j in 0..4 {
                let column = [square[0][j], square[1][j], square[2][j], square[3][j]];
                to.add((i + j) * width).cast::<[u32; 4]>().write_unaligned(column);
            }
            i += 4;
        }
        while i < count {
            for (r, row) in rows[..across].iter().enumerate() {
                to.add(i * width + r).write(row.add(i).read_unaligned());
            }
            i += 1;
        }
    }
}

/// Panels of the left and the right matrix that are multiplied with each other, each with each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels {
    pub(crate) a: *const u32,
    pub(crate) b: *const u32,
    /// Words from one panel to the next.
    pub(crate) a_step: usize,
    pub(crate) b_step: usize,
    /// How many panels there are.
    pub(crate) a_count: usize,
    pub(crate) b_count: usize,
    /// How long they are.
    pub(crate) steps: usize,
    /// Where the sums go: row-major, as many rows and columns as the panels have.
    pub(crate) sums: *mut u32,
}

/// Multiplies panels.
///
/// # Safety
/// The panels were packed, and there is room for the sums.
pub(crate) unsafe fn multiply(level: Level, arithmetic: Arithmetic, panels: Panels) {
    match arithmetic {
        Arithmetic::Floats => level.run(Floats::<false>(panels)),
        Arithmetic::Pairs => level.run_dots(Floats::<true>(panels)),
        Arithmetic::Integers => level.run(Integers(panels)),
    }
}

/// `PAIRS`: of `bf16`.
struct Floats<const PAIRS: bool>(Panels);

impl<const PAIRS: bool> Kernel for Floats<PAIRS> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        // As `block` has it.
        // SAFETY: the promise to `multiply`.
        unsafe {
            if V::LANES == 16 {
                self.blocks::<V, 12, 2>();
            } else if V::FUSED {
                self.blocks::<V, 6, 2>();
            } else {
                self.blocks::<V, 4, 1>();
            }
        }
    }
}

impl<const PAIRS: bool> Floats<PAIRS> {
    /// # Safety
    /// The promise to [`multiply`]; R rows and C vectors are a block.
    #[inline(always)]
    unsafe fn blocks<V: Simd, const R: usize, const C: usize>(&self) {
        let panels = &self.0;
        let columns = C * V::LANES;
        let mut step = 0;
        loop {
            let steps = CHAIN.min(panels.steps - step);
            for i in 0..panels.a_count {
                for j in 0..panels.b_count {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let a = panels.a.add(i * panels.a_step + step * R);
                        let b = panels.b.add(j * panels.b_step + step * columns);
                        let sums = panels.sums.add((i * R * panels.b_count + j) * columns);
                        let row_step = panels.b_count * columns;
                        Self::block::<V, R, C>(a.cast(), b.cast(), steps, sums.cast(), row_step, step > 0);
                    }
                }
            }
            step += steps;
            if step == panels.steps {
                return;
            }
        }
    }

    /// Multiplies one panel with one, for some steps.
    ///
    /// # Safety
    /// They have so many, and there is room for the sums.
    #[inline(always)]
    unsafe fn block<V: Simd, const R: usize, const C: usize>(
        a: *const f32,
        b: *const f32,
        steps: usize,
        to: *mut f32,
        row_step: usize,
        add: bool,
    ) {
        let mut sums = [[V::splat(0.0); C]; R];
        // SAFETY: the caller's promise.
        unsafe {
            for step in 0..steps {
                let (a, b) = (a.add(step * R), b.add(step * C * V::LANES));
                let mut columns = [V::splat(0.0); C];
                for c in 0..C {
                    columns[c] = V::load_f32(b.add(c * V::LANES));
                }
                for r in 0..R {
                    let row = V::splat(a.add(r).read());
                    for c in 0..C {
                        sums[r][c] =
                            if PAIRS { row.dot_bf16(columns[c], sums[r][c]) } else { row.fma(columns[c], sums[r][c]) };
                    }
                }
            }
            for r in 0..R {
                for c in 0..C {
                    let to = to.add(r * row_step + c * V::LANES);
                    let sum = if add { sums[r][c].add(V::load_f32(to)) } else { sums[r][c] };
                    sum.store_f32(to);
                }
            }
        }
    }
}

struct Integers(Panels);

impl Kernel for Integers {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        // SAFETY: the promise to `multiply`.
        unsafe {
            if V::LANES == 16 {
                self.blocks::<12, 32>();
            } else if V::FUSED {
                self.blocks::<6, 16>();
            } else {
                self.blocks::<4, 8>();
            }
        }
    }
}

impl Integers {
    /// Row by row: the compiler makes vectors of it.
    ///
    /// # Safety
    /// The promise to [`multiply`]; R rows and C columns are a block.
    #[inline(always)]
    unsafe fn blocks<const R: usize, const C: usize>(&self) {
        let panels = &self.0;
        for i in 0..panels.a_count * R {
            for j in 0..panels.b_count {
                // SAFETY: the caller's promise.
                unsafe {
                    let a = panels.a.cast::<i32>().add(i / R * panels.a_step + i % R);
                    let b = panels.b.cast::<[i32; C]>().byte_add(4 * j * panels.b_step);
                    let mut sums = [0_i32; C];
                    for step in 0..panels.steps {
                        let (row, columns) = (a.add(step * R).read(), b.add(step).read());
                        for c in 0..C {
                            sums[c] = sums[c].wrapping_add(row.wrapping_mul(columns[c]));
                        }
                    }
                    panels.sums.cast::<[i32; C]>().add(i * panels.b_count + j).write(sums);
                }
            }
        }
    }
}
