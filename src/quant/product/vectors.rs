//! Vectors rounded to int8, in the order in which blocks of a format want them.

#![expect(unsafe_code, reason = "vectors are written to places of their own")]

use super::GROUP;
use crate::cpu::CpuDevice;
use crate::cpu::memory::HostBuffer;
use crate::cpu::simd::dots::{DotKernel, Dots};
use crate::cpu::threads::Shared;
use crate::error::Result;

/// How many elements of a vector share a scale.
const ROUNDED: usize = 32;
/// The most elements that are multiplied at once.
pub(super) const MOST_ELEMENTS: usize = 256;
/// Blocks whose largest magnitude lies outside have products that float32 may not hold.
const MAGNITUDES: std::ops::RangeInclusive<f32> = 1e-30..=1e30;

/// How products with int8 take a format's blocks.
///
/// Some blocks at a time become vectors of 64 bytes, the planes. Sixteen integers are sums of the products of four
/// bytes each, and four or eight of those have one scale. What a rounded vector has for them is a record: its bytes in
/// the same planes; where the zero is not 0, what that takes off each of the sums; scales; and, where blocks have
/// minima, by what these are multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    /// How many blocks are multiplied at once.
    pub(crate) blocks: usize,
    /// Their vectors of 64 bytes: 2 or 4.
    pub(crate) planes: usize,
    /// How many elements have a scale in common: 16 or 32.
    pub(crate) part: usize,
    pub(crate) order: Order,
    /// The integer that stands for zero.
    pub(crate) zero: i32,
    /// Whether integers may be above 127.
    pub(crate) wide: bool,
    /// Whether parts have minima.
    pub(crate) minima: bool,
    /// Whether integers have a lower byte each, in planes of their own.
    pub(crate) fine: bool,
}

/// The order of elements in planes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As in the vector.
    Natural,
    /// The first plane of two has the first halves of four parts of 32, the second plane the second ones.
    Halves,
    /// The first plane of two has the elements with even numbers, the second plane those with odd ones.
    Alternating,
}

impl Form {
    /// A block of 128 elements, in their order.
    pub(crate) const NATURAL: Self = Self {
        blocks: 1,
        planes: 2,
        part: 32,
        order: Order::Natural,
        zero: 0,
        wide: false,
        minima: false,
        fine: false,
    };
    /// The same by halves.
    pub(crate) const HALVES: Self = Self { order: Order::Halves, ..Self::NATURAL };

    /// What is multiplied at once.
    pub(crate) const fn elements(self) -> usize {
        self.planes * 64
    }

    /// How often sixteen sums are made: for two planes together if the same parts are in both.
    pub(crate) const fn groups(self) -> usize {
        match self.order {
            Order::Natural => self.planes,
            Order::Halves | Order::Alternating => self.planes / 2,
        }
    }

    pub(crate) const fn scales(self) -> usize {
        self.elements() / self.part
    }

    pub(crate) const fn scales_in_group(self) -> usize {
        self.scales() / self.groups()
    }

    /// In which plane, and in which quarter of it, sixteen elements are whose order is not alternating.
    pub(crate) const fn place_of(self, sixteen: usize) -> (usize, usize) {
        match self.order {
            Order::Halves => (sixteen / 8 * 2 + sixteen % 2, sixteen / 2 % 4),
            Order::Natural | Order::Alternating => (sixteen / 4, sixteen % 4),
        }
    }

    /// Where a record has what its zero takes off the sums.
    pub(crate) const fn offsets_at(self) -> usize {
        self.elements()
    }

    pub(crate) const fn scales_at(self) -> usize {
        self.offsets_at() + if self.zero == 0 { 0 } else { self.groups() * 64 }
    }

    /// Where it has what minima are multiplied by.
    pub(crate) const fn sums_at(self) -> usize {
        self.scales_at() + self.scales() * 4
    }

    /// Bytes of a record: whole cache lines.
    pub(crate) const fn record(self) -> usize {
        (self.sums_at() + if self.minima { self.scales() * 4 } else { 0 }).next_multiple_of(64)
    }
}

/// Rounded vectors. Records of a [`GROUP`] of them that are needed at the same time lie one after another.
pub(super) struct Vectors {
    buffer: HostBuffer,
    count: usize,
    /// Bytes of a vector.
    size: usize,
    record: usize,
}

impl Vectors {
    pub(super) fn round(device: CpuDevice, form: Form, x: &[f32], count: usize, length: usize) -> Result<Self> {
        let record = form.record();
        let size = length.div_ceil(form.elements()) * record;
        let rounded = Self { buffer: HostBuffer::alloc(size * count)?, count, size, record };
        let level = device.level();
        // SAFETY: each vector has places of its own.
        let shared = unsafe { Shared::new((x.as_ptr(), &rounded)) };
        device.for_each_chunk(count, |v| {
            let (x, rounded) = shared.get();
            let (first, step) = rounded.records(v / GROUP * GROUP);
            let to = first.wrapping_add(v % GROUP * record);
            // SAFETY: there are so many elements of each vector.
            let x = unsafe { std::slice::from_raw_parts(x.add(v * length), length) };
            level.run_on_bytes(Round { form, x, to, step });
        });
        Ok(rounded)
    }

    /// The records of the first vector of a group, and bytes from one to the next. Between them are the others'.
    pub(super) fn records(&self, first: usize) -> (*mut u8, usize) {
        (self.buffer.as_mut_ptr().wrapping_add(first * self.size), GROUP.min(self.count - first) * self.record)
    }
}

struct Round<'a> {
    form: Form,
    x: &'a [f32],
    /// Room for a record, and bytes to the next one.
    to: *mut u8,
    step: usize,
}

impl DotKernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dots>(self) {
        let elements = self.form.elements();
        for (unit, x) in self.x.chunks(elements).enumerate() {
            let mut bytes = [0; MOST_ELEMENTS];
            let mut scales = [0.0; MOST_ELEMENTS / ROUNDED];
            for ((x, bytes), scale) in x.as_chunks().0.iter().zip(bytes.as_chunks_mut().0).zip(&mut scales) {
                *scale = round(x, bytes);
            }
            let to = self.to.wrapping_add(unit * self.step);
            // SAFETY: made in `Vectors::round`, with room for a record for each of these.
            let record = unsafe { std::slice::from_raw_parts_mut(to, self.form.record()) };
            self.form.arrange::<D>(&bytes[..elements], &scales, record);
        }
    }
}

/// Rounds to multiples of a scale, which it returns: NaN for numbers that are too large, too small or not finite.
#[inline(always)]
fn round(x: &[f32; ROUNDED], bytes: &mut [i8; ROUNDED]) -> f32 {
    /// Numbers that this is added to lose all that is not whole.
    const WHOLE: f32 = 12_582_912.0;
    // The bits of infinity and NaN are above those of all numbers.
    let mut bits = 0;
    for x in x {
        bits = bits.max(x.to_bits() & 0x7fff_ffff);
    }
    let magnitude = f32::from_bits(bits);
    if magnitude == 0.0 {
        return 0.0;
    }
    if !MAGNITUDES.contains(&magnitude) {
        return f32::NAN;
    }
    let inverse = 127.0 / magnitude;
    for (byte, x) in bytes.iter_mut().zip(x) {
        *byte = (x * inverse + WHOLE).to_bits().wrapping_sub(WHOLE.to_bits()) as i8;
    }
    magnitude / 127.0
}

impl Form {
    /// Makes a record.
    #[inline(always)]
    fn arrange<D: Dots>(self, bytes: &[i8], scales: &[f32; MOST_ELEMENTS / ROUNDED], record: &mut [u8]) {
        let (planes, rest) = record.split_at_mut(self.offsets_at());
        let (offsets, rest) = rest.split_at_mut(self.scales_at() - self.offsets_at());
        let (scales_to, rest) = rest.split_at_mut(self.scales() * 4);
        for (to, from) in planes.as_chunks_mut::<128>().0.iter_mut().zip(bytes.as_chunks().0) {
            self.order.arrange(from, to);
        }
        let planes = planes.chunks_exact(64 * self.planes / self.groups());
        for (planes, offsets) in planes.zip(offsets.as_chunks_mut::<64>().0) {
            for (sum, offset) in sums_of_four::<D>(planes).iter().zip(offsets.as_chunks_mut().0) {
                *offset = (-self.zero * sum).to_ne_bytes();
            }
        }
        for (part, to) in scales_to.as_chunks_mut().0.iter_mut().enumerate() {
            *to = scales[part * self.part / ROUNDED].to_ne_bytes();
        }
        if self.minima {
            let mut sums = [0; MOST_ELEMENTS / 4];
            for (sums, bytes) in sums.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks::<64>().0) {
                *sums = sums_of_four::<D>(bytemuck::cast_slice(bytes));
            }
            for (part, (sums, to)) in sums.chunks(self.part / 4).zip(rest.as_chunks_mut().0).enumerate() {
                *to = (scales[part * self.part / ROUNDED] * sums.iter().sum::<i32>() as f32).to_ne_bytes();
            }
        }
    }
}

impl Order {
    /// Two planes.
    #[inline(always)]
    fn arrange(self, from: &[i8; 128], to: &mut [u8; 128]) {
        let from: &[u8; 128] = bytemuck::cast_ref(from);
        match self {
            Self::Natural => *to = *from,
            Self::Halves => {
                let (first, second) = to.split_at_mut(64);
                for (i, part) in from.as_chunks::<32>().0.iter().enumerate() {
                    first[16 * i..][..16].copy_from_slice(&part[..16]);
                    second[16 * i..][..16].copy_from_slice(&part[16..]);
                }
            }
            Self::Alternating => {
                for i in 0..64 {
                    to[i] = from[2 * i];
                    to[64 + i] = from[2 * i + 1];
                }
            }
        }
    }
}

/// Sums of four neighbouring int8 of each of some planes.
#[inline(always)]
fn sums_of_four<D: Dots>(planes: &[u8]) -> [i32; 16] {
    let mut sums = D::no_sums();
    for plane in planes.as_chunks::<64>().0 {
        // SAFETY: an array of 64 bytes.
        sums = unsafe { D::dot(sums, D::bytes(1), plane.as_ptr(), false) };
    }
    D::store_sums(sums)
}
