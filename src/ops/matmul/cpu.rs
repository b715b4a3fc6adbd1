//! `out[…, m, n] = scale · a[…, m, k] · b[…, k, n]` on the CPU.
//!
//! Both matrices are packed into panels (see [`product`]), on all threads; then tiles of the result are summed from
//! them, on all threads. What the panels of a large matrix need is bounded by going through it in bands and spans:
//!
//! ```text
//! for each band of columns, band of rows, span of k:
//!     pack the band of a and of b
//!     for each tile of the band, part of the span:      a task
//!         sums of the tile = panels of a · panels of b
//! ```
//!
//! A long k has several parts, whose sums are added up in `f64`. Small matrices are multiplied by one thread, many of
//! them by all. How it is all cut depends on the shapes alone, so that the result does not depend on the number of
//! threads.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::cast_ptr_alignment, reason = "buffers of our own begin at cache lines")]

use crate::cpu::axes::Axes;
use crate::cpu::convert::{BLOCK, Number};
use crate::cpu::memory::HostBuffer;
use crate::cpu::product::{self, Arithmetic, Lines, Panels, Results, STRETCH};
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::matmul_vec::cpu::matmul_vec;
use crate::shape::Layout;

/// Fewer products than this are not worth a second thread.
const ALONE: usize = 1 << 20;
/// So many batches keep all threads busy with a product each, if their panels take no more than so many words.
const BATCHES: (usize, usize) = (16, 1 << 18);
/// Up to so many rows use b as it is, if it has no more elements than so many.
const DIRECT: (usize, usize) = (256, 1 << 17);
/// Up to so many rows or columns are vectors to a matrix of at least so many elements.
const VECTORS: [(usize, usize); 2] = [(4, 1 << 12), (8, 1 << 20)];
/// The most rows and columns of a tile: its sums and as long a stretch of its panels fit the cache of a core. All are
/// multiples of what [`product::block`] gives for any level.
const TILE: [usize; 2] = [192, 256];
/// The fewest.
const LEAST_TILE: [usize; 2] = [48, 64];
/// As many tasks as this keep any number of cores busy.
const TASKS: usize = 32;
/// The most rows or columns of a band: whole tiles.
const BAND: usize = 3072;
/// The longest part of a sum that is summed in `f32`, in chains.
const PART: usize = 4096;
/// How many words the panels of one matrix may have, about.
const WORDS: usize = 12 << 20;

/// Computes the products. The output's type decides how: floats in `f32`, all others in `i32`, which `scale` is not for.
///
/// Fails only if there is no memory for panels.
///
/// # Safety
/// The shapes are `[…, m, k]`, `[…, k, n]` and `[…, m, n]` with equal leading axes. The elements are readable; the
/// output's are writable, each in a place of its own, and share no memory with the operands.
pub(crate) unsafe fn multiply(device: CpuDevice, a: View<'_>, b: View<'_>, out: ViewMut<'_>, scale: f32) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe {
        if let Some((w, x, out_layout)) = as_vectors(a, b, out) {
            let out = ViewMut { layout: &out_layout, ..out };
            return matmul_vec(device, View { layout: &w.1, ..w.0 }, View { layout: &x.1, ..x.0 }, out, scale);
        }
        Product::new(device, a, b, out, scale).perform(device)
    }
}

/// A large matrix and a few vectors, for [`matmul_vec`], which reads the matrix once and as it is. The vectors are an
/// axis along which the matrix repeats.
#[expect(clippy::type_complexity, reason = "views with layouts of their own")]
fn as_vectors<'a>(
    a: View<'a>,
    b: View<'a>,
    out: ViewMut<'_>,
) -> Option<((View<'a>, Layout), (View<'a>, Layout), Layout)> {
    let leading = out.layout.ndim() - 2;
    let [m, n] = [out.layout.shape[leading], out.layout.shape[leading + 1]];
    let k = a.layout.shape[leading + 1];
    let vectors = m.min(n);
    if k == 0 || !VECTORS.iter().any(|&(most, matrix)| vectors <= most && m.max(n) * k >= matrix) {
        return None;
    }
    let turned = |layout: &Layout| {
        let mut layout = layout.clone();
        layout.shape.swap(leading, leading + 1);
        layout.strides.swap(leading, leading + 1);
        layout
    };
    let repeated = |mut layout: Layout| {
        layout.shape.insert(leading, vectors);
        layout.strides.insert(leading, 0);
        layout
    };
    Some(if m <= n {
        ((b, repeated(turned(b.layout))), (a, a.layout.clone()), out.layout.clone())
    } else {
        ((a, repeated(a.layout.clone())), (b, turned(b.layout)), turned(out.layout))
    })
}

/// Operands, and how they are cut.
struct Product {
    arithmetic: Arithmetic,
    /// Rows of a and columns of b.
    operands: [Lines; 2],
    out: *mut u8,
    dtype: DType,
    /// Bytes to the next row and column of the output.
    steps: [isize; 2],
    scale: f32,
    /// Whether b lies in such a way, and is used so little, that it need not be packed.
    direct: bool,
    /// The leading axes: bytes to the next a, b and out.
    batches: Axes<3>,
    /// How many lines the panels of a and b have.
    widths: [usize; 2],
    /// The rows and columns of a band, and those of a tile.
    band: [usize; 2],
    tile: [usize; 2],
    /// In words along k: all of it, what is packed at a time, what is summed at a time.
    length: usize,
    span: usize,
    part: usize,
}

impl Product {
    fn new(device: CpuDevice, a: View<'_>, b: View<'_>, out: ViewMut<'_>, scale: f32) -> Self {
        let leading = out.layout.ndim() - 2;
        let a_step = |axis: usize| a.layout.strides[axis] * a.dtype.size() as isize;
        let b_step = |axis: usize| b.layout.strides[axis] * b.dtype.size() as isize;
        let out_step = |axis: usize| out.layout.strides[axis] * out.dtype.size() as isize;
        let k = a.layout.shape[leading + 1];
        let mut operands = [
            Lines {
                dtype: a.dtype,
                start: a.start(),
                across: a_step(leading),
                along: a_step(leading + 1),
                count: a.layout.shape[leading],
                length: k,
            },
            Lines {
                dtype: b.dtype,
                start: b.start(),
                across: b_step(leading + 1),
                along: b_step(leading),
                count: b.layout.shape[leading + 1],
                length: k,
            },
        ];
        let mut batches = Axes::new();
        for axis in 0..leading {
            batches.push(out.layout.shape[axis], [a_step(axis), b_step(axis), out_step(axis)]);
        }
        let mut steps = [out_step(leading), out_step(leading + 1)];
        // Batches that share b are more rows of a.
        while let Some((count, [a_batch, 0, out_batch])) = batches.last()
            && a_batch == operands[0].across * operands[0].count as isize
            && out_batch == steps[0] * operands[0].count as isize
        {
            operands[0].count *= count;
            batches.pop();
        }
        // Rows of the output should lie in memory: the transpose of a product is that of the transposes.
        if steps[0].unsigned_abs() < steps[1].unsigned_abs() {
            operands.swap(0, 1);
            steps.swap(0, 1);
            batches.swap(0, 1);
        }
        let level = device.level();
        let arithmetic = Arithmetic::new(level, a.dtype, b.dtype, out.dtype);
        let mut product = Self {
            arithmetic,
            operands,
            out: out.start(),
            dtype: out.dtype,
            steps,
            scale,
            direct: false,
            batches,
            widths: product::block(level),
            band: [0; 2],
            tile: TILE,
            length: arithmetic.steps(k),
            span: 0,
            part: 0,
        };
        product.cut();
        product
    }

    /// Decides how large everything is, from the shapes alone.
    fn cut(&mut self) {
        let [a, b] = &self.operands;
        let words = match self.arithmetic {
            Arithmetic::Floats => f32::is_stored_in(b.dtype),
            Arithmetic::Pairs => false,
            Arithmetic::Integers => i32::is_stored_in(b.dtype),
        };
        self.direct = words
            && b.across == size_of::<u32>() as isize
            && b.along > 0
            && b.count.is_multiple_of(self.widths[1])
            && a.count <= DIRECT.0
            && b.count * b.length <= DIRECT.1;
        self.band = [0, 1].map(|side| self.operands[side].count.next_multiple_of(self.widths[side]).min(BAND));
        self.tile = [0, 1].map(|side| TILE[side].min(self.band[side]));
        let mut wanted = TASKS;
        if self.alone() {
            wanted = 1;
        }
        let tiles = |tile: [usize; 2]| self.band[0].div_ceil(tile[0]) * self.band[1].div_ceil(tile[1]);
        while tiles(self.tile) < wanted && (0..2).any(|side| self.tile[side] > LEAST_TILE[side]) {
            let side = usize::from(self.tile[1] * LEAST_TILE[0] > self.tile[0] * LEAST_TILE[1]);
            self.tile[side] = (self.tile[side] / 2).next_multiple_of(self.widths[side]);
        }
        let wanted = (self.length / TASKS.div_ceil(tiles(self.tile))).next_multiple_of(STRETCH);
        self.part = wanted.clamp(2 * STRETCH, PART).min(self.length);
        let parts = WORDS / self.band[0].max(self.band[1]) / self.part.max(1);
        self.span = (parts.max(1) * self.part).min(self.length);
    }

    /// Whether a product is one thread's work.
    fn alone(&self) -> bool {
        self.products() <= ALONE
            || self.batches.count() >= BATCHES.0 && self.length * (self.band[0] + self.band[1]) <= BATCHES.1
    }

    fn products(&self) -> usize {
        self.operands.iter().fold(self.length, |product, lines| product.saturating_mul(lines.count))
    }

    /// # Safety
    /// The promise to [`multiply`].
    unsafe fn perform(&self, device: CpuDevice) -> Result<()> {
        let batches = self.batches.count();
        let alone = device.with_threads(1);
        if batches < BATCHES.0 || self.span * (self.band[0] + self.band[1]) > BATCHES.1 {
            let device = if self.products() <= ALONE { alone } else { device };
            // SAFETY: the caller's promise.
            return unsafe { self.perform_batches(device, 0, batches) };
        }
        let group = (ALONE / self.products().max(1)).clamp(1, batches.div_ceil(TASKS));
        // SAFETY: batches are written to places of their own.
        let shared = unsafe { Shared::new(self) };
        device.try_for_each_chunk(batches.div_ceil(group), |task| {
            let first = task * group;
            // SAFETY: the caller's promise.
            unsafe { shared.get().perform_batches(alone, first, group.min(batches - first)) }
        })
    }

    /// # Safety
    /// The promise to [`multiply`].
    unsafe fn perform_batches(&self, device: CpuDevice, first: usize, count: usize) -> Result<()> {
        let several = self.length > self.part;
        // One thread has its sums behind the panels.
        let sums = if several || device.threads() > 1 { 0 } else { self.tile[0] * self.tile[1] };
        let words = [self.span * self.band[0], if self.direct { 0 } else { self.span * self.band[1] }, sums];
        let scratch = HostBuffer::alloc(words.iter().sum::<usize>() * size_of::<u32>())?;
        let start = scratch.as_mut_ptr().cast::<u32>();
        let panels = [start, start.wrapping_add(words[0])];
        let sums = (sums > 0).then(|| panels[1].wrapping_add(words[1]));
        // In several parts: the sums of each, and their sum so far.
        let area = self.band[0].next_multiple_of(self.tile[0]) * self.band[1].next_multiple_of(self.tile[1]);
        let partial = if several {
            let parts = self.span.div_ceil(self.part);
            Some((HostBuffer::alloc(area * parts * size_of::<f32>())?, HostBuffer::alloc(area * size_of::<f64>())?))
        } else {
            None
        };
        for batch in first..first + count {
            let places = self.batches.at(batch);
            for column in (0..self.operands[1].count).step_by(self.band[1]) {
                for row in (0..self.operands[0].count).step_by(self.band[0]) {
                    let mut band = Band {
                        product: self,
                        lines: [
                            self.operands[0].part(row, self.band[0], 0, usize::MAX),
                            self.operands[1].part(column, self.band[1], 0, usize::MAX),
                        ],
                        out: self.out.wrapping_offset(
                            places[2] + row as isize * self.steps[0] + column as isize * self.steps[1],
                        ),
                        panels,
                        sums,
                        partial: partial.as_ref().map(|(sums, total)| (sums.as_mut_ptr(), total.as_mut_ptr())),
                    };
                    for (lines, place) in band.lines.iter_mut().zip(places) {
                        lines.start = lines.start.wrapping_offset(place);
                    }
                    // SAFETY: the caller's promise.
                    unsafe { band.perform(device)? };
                }
            }
        }
        Ok(())
    }
}

/// A band of rows times a band of columns.
struct Band<'a> {
    product: &'a Product,
    lines: [Lines; 2],
    out: *mut u8,
    panels: [*mut u32; 2],
    /// Where the only thread has its sums.
    sums: Option<*mut u32>,
    /// For several parts: room for the sums of each, and for what they add up to.
    partial: Option<(*mut u8, *mut u8)>,
}

impl Band<'_> {
    /// # Safety
    /// The promise to [`multiply`].
    unsafe fn perform(&self, device: CpuDevice) -> Result<()> {
        let product = self.product;
        let tiles = self.lines.iter().zip(product.tile).map(|(lines, tile)| lines.count.div_ceil(tile)).product();
        // SAFETY: tasks write to panels, sums and results of their own.
        let shared = unsafe { Shared::new(self) };
        let mut first = 0;
        loop {
            let steps = product.span.min(product.length - first);
            let groups = [0, 1].map(|side| self.groups(side, steps));
            let last = first + steps == product.length;
            device.for_each_chunk(groups[0] + groups[1], |task| {
                let (side, group) = if task < groups[0] { (0, task) } else { (1, task - groups[0]) };
                // SAFETY: the caller's promise.
                unsafe { shared.get().pack(device, side, group, first, steps) };
            });
            let part_length = product.part;
            let parts = steps.div_ceil(part_length.max(1)).max(1);
            device.try_for_each_chunk(tiles * parts, |task| {
                let (tile, part) = (task / parts, task % parts);
                // SAFETY: the caller's promise; everything was packed.
                unsafe { shared.get().sum(device, tile, tiles * part + tile, [first, part * part_length, steps]) }
            })?;
            if self.partial.is_some() {
                device.for_each_chunk(tiles, |tile| {
                    // SAFETY: the caller's promise; all parts were summed.
                    unsafe { shared.get().merge(device, tile, tiles, parts, first == 0, last) };
                });
            }
            first += steps;
            if last {
                return Ok(());
            }
        }
    }

    /// How many lines and steps are packed at a time.
    fn group(&self, side: usize) -> [usize; 2] {
        [BLOCK / self.product.widths[side] * self.product.widths[side], BLOCK]
    }

    fn groups(&self, side: usize, steps: usize) -> usize {
        if side == 1 && self.product.direct {
            return 0;
        }
        let [lines, length] = self.group(side);
        self.lines[side].count.div_ceil(lines) * steps.div_ceil(length)
    }

    /// # Safety
    /// The promise to [`multiply`].
    unsafe fn pack(&self, device: CpuDevice, side: usize, task: usize, first: usize, steps: usize) {
        let product = self.product;
        let [count, length] = self.group(side);
        let across = self.lines[side].count.div_ceil(count);
        let (line, step) = (task % across * count, task / across * length);
        let elements = if product.arithmetic == Arithmetic::Pairs { 2 } else { 1 };
        let length = length.min(steps - step);
        let part = self.lines[side].part(line, count, (first + step) * elements, length * elements);
        let width = product.widths[side];
        // SAFETY: the caller's promise; the panels have room for a span of the band.
        unsafe {
            let to = self.panels[side].add(line * steps + step * width);
            product::pack(device.level(), product.arithmetic, &part, width, to, width * steps);
        }
    }

    /// The rows and columns of a tile: where they begin, and how many there are.
    fn tile(&self, tile: usize) -> [(usize, usize); 2] {
        let across = self.lines[1].count.div_ceil(self.product.tile[1]);
        let numbers = [tile / across, tile % across];
        [0, 1].map(|side| {
            let start = numbers[side] * self.product.tile[side];
            (start, self.product.tile[side].min(self.lines[side].count - start))
        })
    }

    fn area(&self) -> usize {
        self.product.tile[0] * self.product.tile[1]
    }

    /// Sums a part of a tile, for a part of the result or for the result itself.
    ///
    /// # Safety
    /// The promise to [`multiply`], and everything was packed.
    unsafe fn sum(&self, device: CpuDevice, tile: usize, place: usize, part: [usize; 3]) -> Result<()> {
        let product = self.product;
        let [first, step, steps] = part;
        let [rows, columns] = self.tile(tile);
        let mut own = None;
        let sums = match (self.partial, self.sums) {
            (Some((sums, _)), _) => sums.cast::<u32>().wrapping_add(place * self.area()),
            (None, Some(sums)) => sums,
            (None, None) => own.insert(HostBuffer::alloc(self.area() * size_of::<u32>())?).as_mut_ptr().cast(),
        };
        let [a_width, b_width] = product.widths;
        let (mut b, mut b_step, mut b_row) =
            (self.panels[1].wrapping_add(columns.0 * steps + step * b_width), b_width * steps, b_width);
        if product.direct {
            let matrix = self.lines[1].part(columns.0, columns.1, first + step, usize::MAX);
            (b, b_step, b_row) = (matrix.start.cast_mut().cast(), b_width, matrix.along as usize / size_of::<u32>());
        }
        // SAFETY: the caller's promise.
        unsafe {
            let panels = Panels {
                a: self.panels[0].add(rows.0 * steps + step * a_width),
                b,
                a_step: a_width * steps,
                b_step,
                b_row,
                a_count: rows.1.div_ceil(a_width),
                b_count: columns.1.div_ceil(b_width),
                steps: product.part.min(steps - step),
                sums,
                sums_row: columns.1.next_multiple_of(b_width),
                add: false,
            };
            product::multiply(device.level(), product.arithmetic, panels);
            if self.partial.is_none() {
                self.store(device, rows, columns, sums);
            }
        }
        Ok(())
    }

    /// Adds up the parts of a tile, first to last.
    ///
    /// # Safety
    /// The promise to [`multiply`], and all parts were summed.
    unsafe fn merge(&self, device: CpuDevice, tile: usize, tiles: usize, parts: usize, new: bool, last: bool) {
        let Some((sums, total)) = self.partial else { return };
        let area = self.area();
        // SAFETY: there is room for so many sums.
        unsafe {
            let sums = sums.cast::<u32>().add(tile * area);
            for i in 0..area {
                let parts = (0..parts).map(|part| sums.add(part * tiles * area + i).read());
                let finished = if self.product.arithmetic == Arithmetic::Integers {
                    let total = total.cast::<u32>().add(tile * area + i);
                    let sum = parts.fold(if new { 0 } else { total.read() }, u32::wrapping_add);
                    total.write(sum);
                    sum
                } else {
                    let total = total.cast::<f64>().add(tile * area + i);
                    let start = if new { 0.0 } else { total.read() };
                    let sum = parts.fold(start, |sum, part| sum + f64::from(f32::from_bits(part)));
                    total.write(sum);
                    (sum as f32).to_bits()
                };
                if last {
                    sums.add(i).write(finished);
                }
            }
            if last {
                let [rows, columns] = self.tile(tile);
                self.store(device, rows, columns, sums);
            }
        }
    }

    /// Puts the sums of a tile where they belong.
    ///
    /// # Safety
    /// The promise to [`multiply`], and these are the sums.
    unsafe fn store(&self, device: CpuDevice, rows: (usize, usize), columns: (usize, usize), sums: *mut u32) {
        let product = self.product;
        let [down, across] = product.steps;
        let out = self.out.wrapping_offset(rows.0 as isize * down).wrapping_offset(columns.0 as isize * across);
        let results = Results {
            sums,
            row_step: columns.1.next_multiple_of(product.widths[1]),
            rows: rows.1,
            columns: columns.1,
            dtype: product.dtype,
            out,
            steps: product.steps,
            scale: product.scale,
        };
        // SAFETY: the caller's promise.
        unsafe { product::store(device.level(), product.arithmetic, results) };
    }
}

#[cfg(test)]
mod tests;
