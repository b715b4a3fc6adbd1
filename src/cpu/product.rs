//! Products of matrices that were packed into panels.
//!
//! A panel is a few rows of the left matrix, or columns of the right one, that lie side by side: for each step along
//! the sum, one element of every row. A block of the result, as many rows and columns as its sums fit the registers,
//! is then a loop over two panels from their beginnings to their ends. Elements are converted while they are packed,
//! and any strides are gone afterwards.
//!
//! Panels consist of words of 32 bits: an `f32`, an `i32`, or a pair of `bf16` that are neighbours along the sum.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::cast_ptr_alignment, reason = "reads and writes need no alignment where there may be none")]
#![expect(clippy::needless_range_loop, reason = "one index goes through rows, columns and sums")]

use half::bf16;

use super::convert::{self, BLOCK, Block, Number};
use super::simd::{Kernel, Level, Simd};
use super::walk::tile::square;
use crate::dtype::{DType, Kind};

/// How many products are summed one after another, before that is added to the sums in memory: in a chain of equal
/// terms, rounding errors add up too.
const CHAIN: usize = 64;
/// So many steps of two panels stay in the nearest cache.
pub(crate) const STRETCH: usize = 256;

/// How many lines are turned around at a time.
const SIDE: usize = 4;

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
    level.run(Pack { arithmetic, lines, width, to, panel_step });
}

struct Pack<'a> {
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
                while i + SIDE <= whole {
                    to.add(i).cast::<[f32; SIDE]>().write_unaligned(from.add(i).cast::<[f32; SIDE]>().read_unaligned());
                    i += SIDE;
                }
                while i < whole {
                    to.add(i).write(from.add(i).read_unaligned());
                    i += 1;
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
        let (dtype, along) = (self.lines.dtype, self.lines.along);
        let size = dtype.size();
        // SAFETY: the caller's promise.
        unsafe {
            self.turn(1, T::is_stored_in(dtype), |mut from, count, words| {
                let mut raw = Block::new();
                if along != size as isize {
                    let to = if T::is_stored_in(dtype) { words.cast() } else { raw.as_mut_ptr() };
                    convert::gather(size, from, along, to, count);
                    from = to;
                }
                if !T::is_stored_in(dtype) || along == size as isize {
                    T::load::<V>(dtype, from, words.cast(), count, false);
                }
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
            self.turn(2, true, |from, count, words| {
                convert::gather(size_of::<bf16>(), from, self.lines.along, words.cast(), count);
                words.cast::<bf16>().add(count).write(bf16::ZERO);
            });
        }
    }

    /// Packs lines that `convert` makes words of: it gets where they begin, how many elements to take, and room for so
    /// many and one more. `elements` of a line make one. `already`: they are words if they lie one after another.
    ///
    /// # Safety
    /// The promise to [`pack`].
    #[inline(always)]
    unsafe fn turn(&self, elements: usize, already: bool, convert: impl Fn(*const u8, usize, *mut u32)) {
        let lines = self.lines;
        let direct = already && lines.along == lines.dtype.size() as isize;
        let mut blocks = [const { Block::new() }; SIDE];
        for panel in 0..lines.count.div_ceil(self.width) {
            for element in (0..lines.length).step_by(STRETCH) {
                let count = STRETCH.min(lines.length - element);
                for across in (0..self.width).step_by(SIDE) {
                    let first = panel * self.width + across;
                    let place = |line: usize| {
                        let start = lines.start.wrapping_offset(line as isize * lines.across);
                        start.wrapping_offset(element as isize * lines.along)
                    };
                    let (mut from, mut step) = (place(first), lines.across);
                    if !direct || !count.is_multiple_of(elements) || first + SIDE > lines.count {
                        for (i, block) in blocks.iter_mut().enumerate() {
                            let words = block.as_mut_ptr::<u32>();
                            if first + i < lines.count {
                                convert(place(first + i), count, words);
                            } else {
                                // SAFETY: there is room for so many.
                                unsafe { words.write_bytes(0, count) };
                            }
                        }
                        (from, step) = (blocks.as_ptr().cast(), size_of::<Block>() as isize);
                    }
                    // SAFETY: the caller's promise; there are as many words.
                    unsafe {
                        let to = self.to.add(panel * self.panel_step + element / elements * self.width + across);
                        self.columns(from, step, count.div_ceil(elements), to, SIDE.min(self.width - across));
                    }
                }
            }
        }
    }

    /// Writes rows of `count` words, `step` bytes apart, as columns, the first `across` of them.
    ///
    /// # Safety
    /// There are so many words in [`SIDE`] rows, and there is room for them.
    #[inline(always)]
    unsafe fn columns(&self, from: *const u8, step: isize, count: usize, to: *mut u32, across: usize) {
        let mut i = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while across == SIDE && i + SIDE <= count {
                square::words(from.add(4 * i), step, to.add(i * self.width).cast(), 4 * self.width);
                i += SIDE;
            }
            while i < count {
                for row in 0..across {
                    let word = from.wrapping_offset(row as isize * step).cast::<u32>().add(i).read_unaligned();
                    to.add(i * self.width + row).write(word);
                }
                i += 1;
            }
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
    /// Words from one step of the right one to the next: its width, or more where a row-major matrix serves as it is.
    pub(crate) b_row: usize,
    /// How many panels there are.
    pub(crate) a_count: usize,
    pub(crate) b_count: usize,
    /// How long they are.
    pub(crate) steps: usize,
    /// Where the sums go, or are added to what is there: as many rows and columns as the panels have.
    pub(crate) sums: *mut u32,
    /// Words from one row of sums to the next.
    pub(crate) sums_row: usize,
    pub(crate) add: bool,
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
        let mut first = 0;
        loop {
            let end = panels.steps.min(first + STRETCH);
            for i in 0..panels.a_count {
                for j in 0..panels.b_count {
                    let mut step = first;
                    loop {
                        let steps = CHAIN.min(end - step);
                        // SAFETY: the caller's promise.
                        unsafe {
                            let a = panels.a.add(i * panels.a_step + step * R);
                            let b = panels.b.add(j * panels.b_step + step * panels.b_row);
                            let sums = panels.sums.add(i * R * panels.sums_row + j * columns);
                            let (rows, add) = ([panels.b_row, panels.sums_row], panels.add || step > 0);
                            Self::block::<V, R, C>(a.cast(), b.cast(), steps, sums.cast(), rows, add);
                        }
                        step += steps;
                        if step == end {
                            break;
                        }
                    }
                }
            }
            first = end;
            if first == panels.steps {
                return;
            }
        }
    }

    /// Multiplies one panel with one, for some steps. `rows`: from one step of b to the next, and from one row of sums.
    ///
    /// # Safety
    /// They have so many, and there is room for the sums.
    #[inline(always)]
    unsafe fn block<V: Simd, const R: usize, const C: usize>(
        a: *const f32,
        b: *const f32,
        steps: usize,
        to: *mut f32,
        rows: [usize; 2],
        add: bool,
    ) {
        let mut sums = [[V::splat(0.0); C]; R];
        // SAFETY: the caller's promise.
        unsafe {
            for step in 0..steps {
                let (a, b) = (a.add(step * R), b.add(step * rows[0]));
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
                    let to = to.add(r * rows[1] + c * V::LANES);
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
                    let b = panels.b.add(j * panels.b_step);
                    let to = panels.sums.add(i * panels.sums_row + j * C).cast::<[i32; C]>();
                    let mut sums = if panels.add { to.read() } else { [0; C] };
                    for step in 0..panels.steps {
                        let row = a.add(step * R).read();
                        let columns = b.add(step * panels.b_row).cast::<[i32; C]>().read_unaligned();
                        for c in 0..C {
                            sums[c] = sums[c].wrapping_add(row.wrapping_mul(columns[c]));
                        }
                    }
                    to.write(sums);
                }
            }
        }
    }
}

/// Rows of sums, and where they go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Results {
    pub(crate) sums: *mut u32,
    /// Words from one row of sums to the next.
    pub(crate) row_step: usize,
    pub(crate) rows: usize,
    /// At most [`BLOCK`].
    pub(crate) columns: usize,
    pub(crate) dtype: DType,
    pub(crate) out: *mut u8,
    /// Bytes to the next row and column there.
    pub(crate) steps: [isize; 2],
    /// What sums in `f32` are multiplied with.
    pub(crate) scale: f32,
}

/// Scales and converts sums, and puts them where they belong.
///
/// # Safety
/// The sums are there, and there is room for them.
pub(crate) unsafe fn store(level: Level, arithmetic: Arithmetic, results: Results) {
    level.run(Store(arithmetic, results));
}

struct Store(Arithmetic, Results);

impl Kernel for Store {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self(arithmetic, results) = self;
        let size = results.dtype.size();
        let dense = results.steps[1] == size as isize;
        for row in 0..results.rows {
            let out = results.out.wrapping_offset(row as isize * results.steps[0]);
            let mut block = Block::new();
            // SAFETY: the promise to `store`; a block has room for so many.
            unsafe {
                let sums = results.sums.add(row * results.row_step);
                let to = if dense { out } else { block.as_mut_ptr() };
                if arithmetic == Arithmetic::Integers {
                    i32::store::<V>(results.dtype, sums.cast(), to, results.columns, false);
                } else {
                    let sums = sums.cast::<f32>();
                    for i in 0..if results.scale == 1.0 { 0 } else { results.columns } {
                        *sums.add(i) *= results.scale;
                    }
                    f32::store::<V>(results.dtype, sums, to, results.columns, false);
                }
                if !dense {
                    convert::scatter(size, to, out, results.steps[1], results.columns);
                }
            }
        }
    }
}
