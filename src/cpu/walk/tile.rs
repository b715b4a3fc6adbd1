//! Small transposed copies of a part of an operand.
#![expect(unsafe_code, reason = "operands are pointers with strides")]

use std::mem::MaybeUninit;

/// The bytes of each stretch of memory that goes into a tile: a cache line.
pub(crate) const TILE_BYTES: usize = 64;
/// How many stretches there are at most.
pub(crate) const TILE_COLUMNS: usize = 128;

/// Rows of [`TILE_COLUMNS`] elements. It lies in the nearest cache.
#[repr(C, align(64))]
pub(crate) struct Tile(MaybeUninit<[u8; TILE_BYTES * TILE_COLUMNS]>);

impl Tile {
    pub(crate) const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    pub(crate) const fn start(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }

    /// Copies elements that are `step` bytes apart in a row and `row_step` bytes apart in a column.
    ///
    /// # Safety
    /// There are so many elements of `size` bytes; `rows · size` is at most [`TILE_BYTES`] and `columns` at most
    /// [`TILE_COLUMNS`].
    pub(crate) unsafe fn fill(
        &mut self,
        size: usize,
        from: *const u8,
        step: isize,
        row_step: isize,
        rows: usize,
        columns: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match size {
                1 => transpose::<u8>(from, step, row_step, self.start(), rows, columns, square::bytes),
                2 => transpose::<u16>(from, step, row_step, self.start(), rows, columns, square::halves),
                _ => transpose::<u32>(from, step, row_step, self.start(), rows, columns, square::words),
            }
        }
    }
}

/// Transposes a square of 16 bytes by as many elements: lines `step` bytes apart into rows some other bytes apart.
type Square = unsafe fn(*const u8, isize, *mut u8, usize);

/// # Safety
/// As for [`Tile::fill`].
unsafe fn transpose<T: Copy>(
    from: *const u8,
    step: isize,
    row_step: isize,
    to: *mut u8,
    rows: usize,
    columns: usize,
    square: Square,
) {
    let side = 16 / size_of::<T>();
    for column in (0..columns).step_by(side) {
        let across = side.min(columns - column);
        for row in (0..rows).step_by(side) {
            let down = side.min(rows - row);
            let from = from.wrapping_offset(column as isize * step + row as isize * row_step);
            // SAFETY: the place lies in the tile.
            let to = unsafe { to.cast::<T>().add(row * TILE_COLUMNS + column) };
            if row_step == size_of::<T>() as isize && across == side && down == side {
                // SAFETY: the whole square is there.
                unsafe { square(from, step, to.cast(), TILE_COLUMNS * size_of::<T>()) };
                continue;
            }
            for j in 0..across {
                for i in 0..down {
                    let place = from.wrapping_offset(j as isize * step + i as isize * row_step).cast::<T>();
                    // SAFETY: the caller promises this element, and the tile has room for it.
                    unsafe { to.add(i * TILE_COLUMNS + j).write(place.read_unaligned()) };
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod square {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm_setzero_si128, _mm_storeu_si128, _mm_unpackhi_epi8, _mm_unpackhi_epi16,
        _mm_unpackhi_epi32, _mm_unpacklo_epi8, _mm_unpacklo_epi16, _mm_unpacklo_epi32,
    };

    /// Interleaving line i with line i + side/2, for all lines and log₂(side) times, transposes a square. SSE2 has
    /// that, and every x86-64 has SSE2.
    macro_rules! square {
        ($name:ident, $side:literal, $low:ident, $high:ident) => {
            /// # Safety
            /// Each of the lines is readable, and the rows are writable.
            #[inline(always)]
            pub(crate) unsafe fn $name(from: *const u8, step: isize, to: *mut u8, row: usize) {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut lines = [_mm_setzero_si128(); $side];
                    for (i, line) in lines.iter_mut().enumerate() {
                        *line = _mm_loadu_si128(from.wrapping_offset(i as isize * step).cast());
                    }
                    let mut done = 1;
                    while done < $side {
                        let old = lines;
                        for i in 0..$side / 2 {
                            lines[2 * i] = $low(old[i], old[i + $side / 2]);
                            lines[2 * i + 1] = $high(old[i], old[i + $side / 2]);
                        }
                        done *= 2;
                    }
                    for (i, line) in lines.into_iter().enumerate() {
                        _mm_storeu_si128(to.add(i * row).cast(), line);
                    }
                }
            }
        };
    }

    square!(bytes, 16, _mm_unpacklo_epi8, _mm_unpackhi_epi8);
    square!(halves, 8, _mm_unpacklo_epi16, _mm_unpackhi_epi16);
    square!(words, 4, _mm_unpacklo_epi32, _mm_unpackhi_epi32);
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) mod square {
    macro_rules! square {
        ($name:ident, $side:literal, $type:ty) => {
            /// # Safety
            /// Each of the lines is readable, and the rows are writable.
            #[inline(always)]
            pub(crate) unsafe fn $name(from: *const u8, step: isize, to: *mut u8, row: usize) {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut lines = [[0 as $type; $side]; $side];
                    for (i, line) in lines.iter_mut().enumerate() {
                        *line = from.wrapping_offset(i as isize * step).cast::<[$type; $side]>().read_unaligned();
                    }
                    for i in 0..$side {
                        let column: [$type; $side] = std::array::from_fn(|j| lines[j][i]);
                        to.add(i * row).cast::<[$type; $side]>().write_unaligned(column);
                    }
                }
            }
        };
    }

    square!(bytes, 16, u8);
    square!(halves, 8, u16);
    square!(words, 4, u32);
}
