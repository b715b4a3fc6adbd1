//! Stretches of rows, and lines with one element of each row, in vectors.
#![expect(unsafe_code, reason = "elements are behind pointers")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason is that of every block: the caller's promise")]

use std::mem::MaybeUninit;

use super::ROWS;
use crate::cpu::simd::{Element, MAX_LANES, Simd};

/// Lines of elements, each of another row.
#[derive(Clone, Copy)]
pub(crate) struct Lines<T> {
    pub(crate) start: *const T,
    /// In bytes.
    pub(crate) step: isize,
    pub(crate) count: usize,
    pub(crate) columns: usize,
}

impl<T> Lines<T> {
    #[inline(always)]
    pub(crate) fn line(&self, number: usize) -> *const T {
        self.start.wrapping_byte_offset(number as isize * self.step)
    }

    /// Some lines in sequence.
    #[inline(always)]
    pub(crate) fn group<const N: usize>(&self, first: usize) -> [*const T; N] {
        let mut places = [std::ptr::null(); N];
        for (n, place) in places.iter_mut().enumerate() {
            *place = self.line(first + n);
        }
        places
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

/// Does something for each vector of a line: where it begins, and how many elements of it there are. All vectors but the
/// last are whole, which the compiler knows.
macro_rules! for_each_vector {
    ($vector:ident, $columns:expr, |$i:ident, $left:ident| $body:expr) => {{
        let columns = $columns;
        let mut $i = 0;
        while $i + $vector::LANES <= columns {
            let $left = $vector::LANES;
            $body;
            $i += $vector::LANES;
        }
        if $i < columns {
            let $left = columns - $i;
            $body;
        }
    }};
}
pub(crate) use for_each_vector;

/// Does something for each group of lines: which line is its first, and where its lines are. After the groups of so many
/// come groups of one, which the compiler knows.
macro_rules! for_each_group {
    ($lines:expr, $size:ident, |$line:ident, $places:ident| $body:expr) => {{
        let mut $line = 0;
        while $line + $size <= $lines.count {
            let $places = $lines.group::<$size>($line);
            $body;
            $line += $size;
        }
        while $line < $lines.count {
            let $places = $lines.group::<1>($line);
            $body;
            $line += 1;
        }
    }};
}
pub(crate) use for_each_group;

/// Numbers one after another that are computed when they are wanted.
pub(crate) trait Values {
    /// The vector that begins with number `i`, after which there are `left` numbers with it. If these are less than a
    /// vector, the rest may be anything.
    ///
    /// # Safety
    /// There are so many.
    unsafe fn vector<V: Simd>(&self, i: usize, left: usize) -> V;
}

/// Writes `len` values, past the caches if `stream` says so. A [`Simd::fence`] must follow then.
///
/// # Safety
/// There are so many values, and there is room for them.
#[inline(always)]
pub(crate) unsafe fn write<V: Simd, E: Element>(values: &impl Values, out: *mut E, len: usize, stream: bool) {
    let mut i = 0;
    // SAFETY: the caller's promise.
    unsafe {
        let before = out.align_offset(size_of::<E>() * V::LANES);
        if stream && before < V::LANES.min(len) {
            if before > 0 {
                E::store_tail(values.vector::<V>(0, before), out, before);
                i = before;
            }
            while i + V::LANES <= len {
                E::stream(values.vector::<V>(i, len - i), out.add(i));
                i += V::LANES;
            }
        }
        while i + V::LANES <= len {
            E::store(values.vector::<V>(i, len - i), out.add(i));
            i += V::LANES;
        }
        if i < len {
            E::store_tail(values.vector::<V>(i, len - i), out.add(i), len - i);
        }
    }
}
