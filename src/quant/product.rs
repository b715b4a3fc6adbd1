//! `out[v, n] = w[n, k] · x[v, k]` on the CPU, of quantised rows.
//!
//! Memory sets the pace, so blocks are taken apart in registers, beside the products. Vectors are rounded to int8 in
//! blocks of 32 with a scale each, and the products of q and int8 are added up by integer instructions. Where that is
//! not wanted, the q become float32 and are scaled. Where machines lack such instructions, some elements at a time are
//! decoded and multiplied in float32.
//!
//! A result that is not finite is computed again in that last way. That is what infinities and NaN come out of as they
//! should, and what comes of vectors with numbers that int8 cannot be scaled to: their scales are NaN.
#![expect(unsafe_code, reason = "rows are where they lie in memory, at any address")]

mod vectors;

use std::marker::PhantomData;

pub(super) use self::vectors::{Form, Order};
use self::vectors::{MOST_ELEMENTS, Vectors};
use super::{Format, Integers};
use crate::cpu::CpuDevice;
use crate::cpu::simd::dots::{DotKernel, Dots};
use crate::cpu::simd::{Kernel, Level, Simd};
use crate::cpu::threads::Shared;
use crate::error::Result;

/// Fewer products than this are not worth a second thread.
const ALONE: usize = 1 << 18;
/// At most how many bytes of rows make a task. Shorter ones end before memory has been fetched at full speed, longer
/// ones do not stay in the cache for more vectors.
const TASK: usize = 1 << 19;
/// As many tasks for each thread keep all of them busy. No result depends on how rows are shared out.
const TASKS: usize = 16;
/// The most vectors that a block is multiplied with before the next one.
const GROUP: usize = 16;
/// How many elements are decoded at a time: whole blocks of every format.
const DECODED: usize = 1024;
/// How often exact products are added to sums in float32 before these are to ones in float64.
const CHAIN: usize = 32;
/// The most blocks that are multiplied at once.
const MOST_BLOCKS: usize = 4;

/// Rows of quantised weights as they lie in memory.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) format: &'static Format,
    pub(crate) start: *const u8,
    /// Bytes from row to row.
    pub(crate) step: isize,
    pub(crate) count: usize,
    /// Elements of a row, whole blocks.
    pub(crate) length: usize,
}

/// `out[v * out_step + r]` = the sum over j of `w[r, j] * x[v * length + j]`, for `vectors` vectors that lie one after
/// another.
///
/// `exact`: in float32, as also where the machine has no products of bytes. Otherwise vectors are rounded to int8 in
/// blocks of 32, by a 127th of the largest magnitude, which makes an error of about 0.6 % of the result's norm
/// for numbers of the normal distribution. NF4's entries are rounded to 16 bits then, too.
/// Fails only if there is no memory for the rounded vectors.
///
/// # Safety
/// The rows are readable. The results are writable, each in a place of its own, and share no memory with the operands.
pub(crate) unsafe fn multiply(
    device: CpuDevice,
    rows: Rows,
    x: &[f32],
    vectors: usize,
    out: *mut f32,
    out_step: usize,
    exact: bool,
) -> Result<()> {
    debug_assert_eq!(rows.length % rows.format.elements, 0);
    debug_assert_eq!(x.len(), vectors * rows.length);
    if rows.count == 0 || vectors == 0 {
        return Ok(());
    }
    let products = rows.count.saturating_mul(rows.length).saturating_mul(vectors);
    let device = if products <= ALONE { device.with_threads(1) } else { device };
    let format = rows.format;
    // The entries of NF4 are not as exact in bytes as in float32.
    let decode = !device.level().has_dots_of_bytes() || exact && format.form.fine;
    let rounded =
        if exact || decode { None } else { Some(Vectors::round(device, format.form, x, vectors, rows.length)?) };
    let bytes = (rows.length / format.elements * format.bytes).max(1);
    let rows_per_task = (TASK / bytes).min(rows.count.div_ceil(TASKS * device.threads())).max(1);
    // SAFETY: tasks write to rows of their own.
    let shared = unsafe { Shared::new((rows, x.as_ptr(), out, rounded.as_ref())) };
    device.for_each_chunk(rows.count.div_ceil(rows_per_task), |task| {
        let (rows, x, out, rounded) = shared.get();
        let first = task * rows_per_task;
        let count = rows_per_task.min(rows.count - first);
        let rows = Rows { start: rows.start.wrapping_offset(first as isize * rows.step), count, ..rows };
        for group in (0..vectors).step_by(GROUP) {
            let part = Part {
                rows,
                x: x.wrapping_add(group * rows.length),
                records: rounded.map_or((std::ptr::null_mut(), 0), |rounded| rounded.records(group)),
                vectors: GROUP.min(vectors - group),
                out: out.wrapping_add(group * out_step + first),
                out_step,
            };
            if decode {
                // SAFETY: the caller's promise.
                unsafe { part.decode_and_multiply(device.level(), |_| true) };
            } else {
                (format.multiply)(device.level(), &part, exact);
                // SAFETY: the caller's promise; the results have been written.
                unsafe { part.decode_and_multiply(device.level(), |result| !result.read().is_finite()) };
            }
        }
    });
    Ok(())
}

/// Some rows, and at most [`GROUP`] vectors. Made by [`multiply`] alone, whose caller's promise it holds.
pub(super) struct Part {
    rows: Rows,
    x: *const f32,
    /// What the vectors were rounded to for the first blocks, and bytes to that for the next ones.
    records: (*mut u8, usize),
    vectors: usize,
    out: *mut f32,
    out_step: usize,
}

impl Part {
    /// From decoded elements, the results that are `wanted`.
    ///
    /// # Safety
    /// That of [`multiply`].
    unsafe fn decode_and_multiply(&self, level: Level, wanted: impl Fn(*const f32) -> bool) {
        let Rows { format, length, .. } = self.rows;
        let mut decoded = [0.0; DECODED];
        for row in 0..self.rows.count {
            let place = |v: usize| self.out.wrapping_add(v * self.out_step + row);
            let mut chosen = [false; GROUP];
            for (v, chosen) in chosen.iter_mut().enumerate().take(self.vectors) {
                *chosen = wanted(place(v));
            }
            if !chosen.contains(&true) {
                continue;
            }
            let start = self.rows.start.wrapping_offset(row as isize * self.rows.step);
            let mut sums = [0.0; GROUP];
            for from in (0..length).step_by(DECODED) {
                let values = &mut decoded[..DECODED.min(length - from)];
                let [before, size] = [from, values.len()].map(|count| count / format.elements * format.bytes);
                // SAFETY: the caller's promise.
                let blocks = unsafe { std::slice::from_raw_parts(start.wrapping_add(before), size) };
                format.decode(level, blocks, values);
                for (v, sum) in sums.iter_mut().enumerate().filter(|(v, _)| chosen[*v]) {
                    // SAFETY: the caller's promise.
                    let x = unsafe { std::slice::from_raw_parts(self.x.add(v * length + from), values.len()) };
                    *sum += level.run(Dot(values, x));
                }
            }
            for (v, sum) in sums.into_iter().enumerate().filter(|(v, _)| chosen[*v]) {
                // SAFETY: the caller's promise.
                unsafe { place(v).write(sum as f32) };
            }
        }
    }
}

/// The dot product of at most [`DECODED`] numbers, a multiple of 32 of them.
struct Dot<'a>(&'a [f32], &'a [f32]);

impl Kernel for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Simd>(self) -> f64 {
        const CHAINS: usize = 4;
        let (w, x, len) = (self.0.as_ptr(), self.1.as_ptr(), self.0.len().min(self.1.len()));
        let mut sums = [V::splat(0.0); CHAINS];
        let mut i = 0;
        // SAFETY: both have so many elements.
        unsafe {
            while i + CHAINS * V::LANES <= len {
                for (chain, sum) in sums.iter_mut().enumerate() {
                    let at = i + chain * V::LANES;
                    *sum = V::load_f32(w.add(at)).fma(V::load_f32(x.add(at)), *sum);
                }
                i += CHAINS * V::LANES;
            }
            while i < len {
                sums[0] = V::load_f32(w.add(i)).fma(V::load_f32(x.add(i)), sums[0]);
                i += V::LANES;
            }
        }
        f64::from(sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum())
    }
}

/// Multiplies rows of this block with vectors as they are, or as they were rounded.
pub(super) fn multiply_part<B: Integers<N>, const N: usize>(level: Level, part: &Part, exact: bool) {
    if exact {
        level.run_on_bytes(ExactProducts::<B, N>(part, PhantomData));
    } else if part.vectors == 1 {
        level.run_on_bytes(Products::<B, N, true>(part, PhantomData));
    } else {
        level.run_on_bytes(Products::<B, N, false>(part, PhantomData));
    }
}

/// `SINGLE`: there is but one vector, and its sums stay in a register.
struct Products<'a, B, const N: usize, const SINGLE: bool>(&'a Part, PhantomData<B>);

impl<B: Integers<N>, const N: usize, const SINGLE: bool> Products<'_, B, N, SINGLE> {
    /// Multiplies some blocks with what the vectors have in their place.
    ///
    /// # Safety
    /// There are as many sums as vectors, and records for them.
    #[inline(always)]
    unsafe fn add<D: Dots>(blocks: &[B], records: *const u8, sums: &mut [D::Floats]) {
        let form = B::FORM;
        let (groups, scales_in_group) = (form.groups(), form.scales_in_group());
        let [scales, minima] = B::scales::<D>(blocks);
        let integers = B::integers::<D>(blocks);
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise; a record is as `Form` says.
            unsafe {
                let record = records.add(v * form.record());
                let scales = D::mul(scales, D::load_floats(record.add(form.scales_at()), form.scales()));
                // Added up by itself, since one sum of everything would be a long wait from each group to the next.
                let mut own = if form.minima {
                    D::mul(minima, D::load_floats(record.add(form.sums_at()), form.scales()))
                } else {
                    D::splat(0.0)
                };
                for group in 0..groups {
                    let mut dots = if form.zero == 0 {
                        D::no_sums()
                    } else {
                        D::load_sums(record.add(form.offsets_at() + group * 64))
                    };
                    let planes = group * form.planes / groups..(group + 1) * form.planes / groups;
                    for plane in planes.clone() {
                        dots = D::dot(dots, integers[plane], record.add(plane * 64), form.wide);
                    }
                    if form.fine {
                        dots = D::times_256(dots);
                        for plane in planes {
                            dots = D::dot(dots, integers[form.planes + plane], record.add(plane * 64), true);
                        }
                    }
                    let dots = D::convert(dots);
                    let scale = D::spread(scales, group * scales_in_group, 16 / scales_in_group);
                    if groups == 1 && !form.minima {
                        *sum = D::fma(dots, scale, *sum);
                    } else if group == 0 && !form.minima {
                        own = D::mul(dots, scale);
                    } else {
                        own = D::fma(dots, scale, own);
                    }
                }
                if groups > 1 || form.minima {
                    *sum = D::add(*sum, own);
                }
            }
        }
    }
}

impl<B: Integers<N>, const N: usize, const SINGLE: bool> DotKernel for Products<'_, B, N, SINGLE> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dots>(self) {
        const { assert!(B::FORM.elements() == N * B::FORM.blocks && B::FORM.blocks <= MOST_BLOCKS) };
        let Part { rows, records: (records, step), vectors, out, out_step, .. } = *self.0;
        let vectors = if SINGLE { 1 } else { vectors };
        let (count, size) = (B::FORM.blocks, B::FORM.blocks * size_of::<B>());
        let all = rows.length / N;
        for row in 0..rows.count {
            let start = rows.start.wrapping_offset(row as isize * rows.step);
            let mut sums = [D::splat(0.0); GROUP];
            let sums = &mut sums[..vectors];
            let mut records = records;
            // SAFETY: what a part holds.
            unsafe {
                for unit in 0..all / count {
                    let place = start.wrapping_add(unit * size);
                    let blocks = std::slice::from_raw_parts(place.cast::<B>(), count);
                    Self::add::<D>(blocks, records, sums);
                    records = records.wrapping_add(step);
                }
                if !all.is_multiple_of(count) {
                    // Blocks of zeros come after the last ones.
                    let mut blocks = [B::zeroed(); MOST_BLOCKS];
                    let first = start.wrapping_add(all / count * size).cast::<B>();
                    blocks.as_mut_ptr().copy_from_nonoverlapping(first, all % count);
                    Self::add::<D>(&blocks[..count], records, sums);
                }
                for (v, sum) in sums.iter().enumerate() {
                    out.add(v * out_step + row).write(D::total(*sum));
                }
            }
        }
    }
}

struct ExactProducts<'a, B, const N: usize>(&'a Part, PhantomData<B>);

impl<B: Integers<N>, const N: usize> ExactProducts<'_, B, N> {
    /// Multiplies some blocks with what the vectors have in their place.
    ///
    /// # Safety
    /// There are as many sums as vectors, and elements for all blocks at that step.
    #[inline(always)]
    unsafe fn add<D: Dots>(blocks: &[B], x: *const f32, step: usize, sums: &mut [D::Floats]) {
        let form = B::FORM;
        let [scales, minima] = B::scales::<D>(blocks);
        let integers = B::integers::<D>(blocks);
        // This product is exact, and so the weights are what they are decoded to.
        let offsets = if form.minima { minima } else { D::mul(scales, D::splat(-form.zero as f32)) };
        // Loops in loops, since compilers unroll these where they do not unroll one of sixteen steps.
        let mut weights = [[D::splat(0.0); 4]; 4];
        let weights = &mut weights[..form.planes];
        for (i, weights) in weights.iter_mut().enumerate() {
            for (j, weights) in weights.iter_mut().enumerate() {
                let (plane, quarter) = form.place_of(4 * i + j);
                let q = D::quarter(integers[plane], quarter);
                let part = (4 * i + j) * 16 / form.part;
                let (scale, offset) = (D::spread(scales, part, 16), D::spread(offsets, part, 16));
                *weights = if form.minima { D::add(D::mul(q, scale), offset) } else { D::fma(q, scale, offset) };
            }
        }
        for (v, sum) in sums.iter_mut().enumerate() {
            let mut chains = [D::splat(0.0); 4];
            for (i, weights) in weights.iter().enumerate() {
                for (j, weights) in weights.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    let x = unsafe { D::load_floats(x.add(v * step + 64 * i + 16 * j).cast(), 16) };
                    chains[j] = D::fma(*weights, x, chains[j]);
                }
            }
            let [a, b, c, d] = chains;
            *sum = D::add(*sum, D::add(D::add(a, b), D::add(c, d)));
        }
    }
}

impl<B: Integers<N>, const N: usize> DotKernel for ExactProducts<'_, B, N> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dots>(self) {
        let Part { rows, x, vectors, out, out_step, .. } = *self.0;
        let (count, elements) = (B::FORM.blocks, B::FORM.elements());
        let all = rows.length / N;
        for row in 0..rows.count {
            let start = rows.start.wrapping_offset(row as isize * rows.step).cast::<B>();
            let mut sums = [D::splat(0.0); GROUP];
            let mut totals = [0.0; GROUP];
            // SAFETY: what a part holds.
            unsafe {
                for unit in 0..all / count {
                    let place = start.wrapping_add(unit * count);
                    let blocks = std::slice::from_raw_parts(place, count);
                    Self::add::<D>(blocks, x.wrapping_add(unit * elements), rows.length, &mut sums[..vectors]);
                    if unit % CHAIN == CHAIN - 1 {
                        for (sum, total) in sums.iter_mut().zip(&mut totals).take(vectors) {
                            *total += f64::from(D::total(*sum));
                            *sum = D::splat(0.0);
                        }
                    }
                }
                if !all.is_multiple_of(count) {
                    // Zeros come after the last blocks and elements.
                    let mut blocks = [B::zeroed(); MOST_BLOCKS];
                    blocks.as_mut_ptr().copy_from_nonoverlapping(start.wrapping_add(all / count * count), all % count);
                    for (v, sum) in sums.iter_mut().enumerate().take(vectors) {
                        let mut last = [0.0; MOST_ELEMENTS];
                        let from = x.wrapping_add(v * rows.length + all / count * elements);
                        last.as_mut_ptr().copy_from_nonoverlapping(from, all % count * N);
                        Self::add::<D>(&blocks[..count], last.as_ptr(), 0, std::slice::from_mut(sum));
                    }
                }
                for (v, (sum, total)) in sums.iter().zip(totals).enumerate().take(vectors) {
                    out.add(v * out_step + row).write((total + f64::from(D::total(*sum))) as f32);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
