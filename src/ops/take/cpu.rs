//! Gathering on the CPU: rows are copied whole, by as many threads as are worth it.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]

use crate::cpu::convert::gather;
use crate::cpu::memory::copy_streamed;
use crate::cpu::simd::{Level, prefetch};
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::DType;

/// Below so many bytes other threads cost more than they bring.
const ALONE: usize = 1 << 18;
/// About how many bytes a thread writes at a time.
const CHUNK: usize = 1 << 18;
/// Results of at least so many bytes go past the caches, which could not keep them.
const STREAM: usize = 16 << 20;
/// Rows shorter than this do not, unless they are whole cache lines.
const STREAM_ROW: usize = 4096;
/// How many rows ahead to ask for the next ones, and for short ones.
const AHEAD: usize = 4;
const FAR_AHEAD: usize = 32;

/// `out[o, j, i] = x[o, indices[j], i]`. Negative indices count from the end; those out of range become the nearest.
///
/// # Safety
/// `x` has shape `[outer, axis, inner]`, `out` `[outer, count, inner]` and the indices, which are `int32` or `uint32`,
/// `[count]`; none is empty. `out`, of the type of `x`, and the indices are row-major without gaps. Elements are
/// readable, those of the output writable, and the output shares no memory with the inputs.
pub(crate) unsafe fn take(device: CpuDevice, x: View<'_>, indices: View<'_>, out: ViewMut<'_>) {
    let size = x.dtype.size();
    let (count, inner) = (indices.layout.len(), x.layout.shape[2]);
    let bytes = x.layout.strides.iter().map(|&stride| stride * size as isize).collect::<Vec<_>>();
    let row = inner * size;
    let total = x.layout.shape[0] * count;
    let lines = row.is_multiple_of(64) && row >= 512 && out.start().addr().is_multiple_of(64);
    let rows = Rows {
        x: x.start(),
        indices: indices.start().cast(),
        out: out.start(),
        signed: indices.dtype == DType::Int32,
        axis: x.layout.shape[1],
        count,
        inner,
        size,
        strides: [bytes[0], bytes[1], bytes[2]],
        stream: total * row >= STREAM && (row >= STREAM_ROW || lines),
    };
    let chunk = (CHUNK / row).clamp(1, 1 << 14);
    let device = if total * row <= ALONE { device.with_threads(1) } else { device };
    // SAFETY: rows are written apart from each other.
    let shared = unsafe { Shared::new(&rows) };
    device.for_each_chunk(total.div_ceil(chunk), |index| {
        let first = index * chunk;
        // SAFETY: the caller's promise.
        unsafe { shared.get().copy(device.level(), first, chunk.min(total - first)) };
    });
}

/// The place that an index names along an axis of some length: counted from the end where it is negative, the nearest
/// where there is none.
#[inline(always)]
pub(crate) fn nearest(bits: u32, signed: bool, length: usize) -> usize {
    let (index, length) = (if signed { i64::from(bits.cast_signed()) } else { i64::from(bits) }, length as i64);
    (if index < 0 { index + length } else { index }).clamp(0, length - 1) as usize
}

/// Strides are in bytes.
struct Rows {
    x: *const u8,
    indices: *const u32,
    out: *mut u8,
    signed: bool,
    axis: usize,
    count: usize,
    inner: usize,
    size: usize,
    strides: [isize; 3],
    stream: bool,
}

impl Rows {
    /// Where the row is that a row of the output comes from.
    ///
    /// # Safety
    /// There is such an index.
    #[inline(always)]
    unsafe fn source(&self, outer: isize, row: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        let bits = unsafe { self.indices.add(row).read_unaligned() };
        let index = nearest(bits, self.signed, self.axis);
        self.x.wrapping_offset(outer * self.strides[0] + index as isize * self.strides[1])
    }

    /// # Safety
    /// The promise of [`take`], and there are so many rows.
    unsafe fn copy(&self, level: Level, first: usize, count: usize) {
        let unit = self.strides[2] == self.size as isize || self.inner == 1;
        let row = self.inner * self.size;
        // SAFETY: the caller's promise.
        unsafe {
            match row {
                _ if !unit => {
                    self.each(first, count, |from, to| gather(self.size, from, self.strides[2], to, self.inner));
                }
                1 => self.each(first, count, |from, to| copy::<1>(from, to)),
                2 => self.each(first, count, |from, to| copy::<2>(from, to)),
                4 => self.each(first, count, |from, to| copy::<4>(from, to)),
                8 => self.each(first, count, |from, to| copy::<8>(from, to)),
                16 => self.each(first, count, |from, to| copy::<16>(from, to)),
                _ if self.stream => self.each(first, count, |from, to| copy_streamed(level, to, from, row)),
                _ => self.each(first, count, |from, to| to.copy_from_nonoverlapping(from, row)),
            }
        }
    }

    /// # Safety
    /// As for [`Rows::copy`], and the function copies a row.
    #[inline(always)]
    unsafe fn each(&self, first: usize, count: usize, copy: impl Fn(*const u8, *mut u8)) {
        let row = self.inner * self.size;
        let ahead = if row < 256 { FAR_AHEAD } else { AHEAD };
        let (mut outer, mut index) = ((first / self.count) as isize, first % self.count);
        for place in first..first + count {
            // SAFETY: the caller's promise.
            unsafe {
                if index + ahead < self.count {
                    let next = self.source(outer, index + ahead);
                    for line in 0..(row / 64).clamp(1, 4) {
                        prefetch(next.wrapping_add(line * 64));
                    }
                }
                copy(self.source(outer, index), self.out.add(place * row));
            }
            index += 1;
            if index == self.count {
                index = 0;
                outer += 1;
            }
        }
    }
}

/// # Safety
/// So many bytes are readable and writable.
#[inline(always)]
unsafe fn copy<const N: usize>(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { to.cast::<[u8; N]>().write_unaligned(from.cast::<[u8; N]>().read_unaligned()) };
}
