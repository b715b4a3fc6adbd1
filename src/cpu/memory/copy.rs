//! Copies of large blocks by several threads.
#![expect(unsafe_code, reason = "it copies from pointer to pointer")]

use std::sync::OnceLock;

use crate::cpu::simd::{Kernel, Level, Simd};
use crate::cpu::threads::{self, Shared};

/// Shorter copies are not worth a second thread.
const ALONE: usize = 1 << 20;
/// Longer copies leave the caches alone: what they write would not stay there.
const STREAM: usize = 16 << 20;
const CHUNK: usize = 1 << 20;

/// `memcpy`, by all of the CPU's threads when the block is large.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`].
pub unsafe fn copy_bytes(destination: *mut u8, source: *const u8, len: usize) {
    static MACHINE: OnceLock<(Level, usize)> = OnceLock::new();
    if len < ALONE {
        // SAFETY: the caller's promise.
        unsafe { destination.copy_from_nonoverlapping(source, len) };
        return;
    }
    let &(level, threads) = MACHINE.get_or_init(|| (Level::available()[0], threads::default_count().unwrap_or(1)));
    // SAFETY: chunks lie apart from each other, and the blocks do too.
    let blocks = unsafe { Shared::new((destination, source)) };
    threads::for_each_chunk(threads, len.div_ceil(CHUNK), |chunk| {
        let start = chunk * CHUNK;
        let part = CHUNK.min(len - start);
        let (destination, source) = blocks.get();
        // SAFETY: chunks lie inside the blocks.
        unsafe {
            let (destination, source) = (destination.add(start), source.add(start));
            if len < STREAM {
                destination.copy_from_nonoverlapping(source, part);
            } else {
                copy_streamed(level, destination, source, part);
            }
        }
    });
}

/// `memcpy` past the caches, by this thread.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`].
pub(crate) unsafe fn copy_streamed(level: Level, destination: *mut u8, source: *const u8, len: usize) {
    level.run(Streamed { destination, source, len, repeat: false });
}

/// Fills memory with a pattern, past the caches, by this thread.
///
/// # Safety
/// The pattern is 64 bytes long, and `destination` has room for `len` bytes and the alignment of an element of which the
/// pattern consists.
pub(crate) unsafe fn fill_streamed(level: Level, destination: *mut u8, pattern: *const u8, len: usize) {
    level.run(Streamed { destination, source: pattern, len, repeat: true });
}

struct Streamed {
    destination: *mut u8,
    source: *const u8,
    len: usize,
    /// The source is a pattern as long as the widest vector.
    repeat: bool,
}

impl Kernel for Streamed {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { destination, source, len, repeat } = self;
        let width = size_of::<V>();
        let before = destination.align_offset(width).min(len);
        let whole = (len - before) / width * width;
        let step = usize::from(!repeat);
        // SAFETY: the parts before, in and after the aligned middle make up `len` bytes. None but the middle is longer
        // than a pattern, and the middle reads one vector of it at a time.
        unsafe {
            destination.copy_from_nonoverlapping(source, before);
            let mut place = before;
            while place < before + whole {
                V::load_f32(source.add(place * step).cast()).stream_f32(destination.add(place).cast());
                place += width;
            }
            destination.add(place).copy_from_nonoverlapping(source.add(place * step), len - place);
        }
        V::fence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_every_kind() {
        for len in [0, 1, 1000, ALONE - 1, ALONE + 7, STREAM + 12_345] {
            for (from, to) in [(0, 0), (1, 3), (64, 5)] {
                let source: Vec<u8> = (0..len + from).map(|i| (i * 7 / 8) as u8).collect();
                let mut target = vec![0xee; len + to + 9];
                // SAFETY: both vectors have so many bytes.
                unsafe { copy_bytes(target.as_mut_ptr().add(to), source.as_ptr().add(from), len) };
                assert!(target[to..to + len] == source[from..], "{len} bytes from {from} to {to}");
                assert!(target[..to].iter().chain(&target[to + len..]).all(|&byte| byte == 0xee));
            }
        }
    }
}
