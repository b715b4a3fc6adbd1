//! What blocks are made of: halves of bytes, and numbers of two bytes at any address.

use bytemuck::{Pod, Zeroable};
use half::f16;

use crate::cpu::simd::dots::Dots;

/// A float16 as it lies in a block.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Half([u8; 2]);

impl Half {
    pub(super) const NAN: Self = Self(f16::NAN.to_le_bytes());

    /// Rounds to the nearest, ties to even. What is too large becomes infinite.
    #[inline(always)]
    pub(super) fn nearest(value: f32) -> Self {
        Self(f16::from_f32_const(value).to_le_bytes())
    }

    /// The largest that is not above a finite value; what is too large becomes the largest there is.
    #[inline(always)]
    pub(super) fn below(value: f32) -> Self {
        let value = value.clamp(f16::MIN.to_f32_const(), f16::MAX.to_f32_const());
        let nearest = f16::from_f32_const(value);
        let bits = nearest.to_bits();
        let next = match bits {
            0 | 0x8000 => 0x8001,
            ..0x8000 => bits - 1,
            _ => bits + 1,
        };
        Self((if nearest.to_f32_const() > value { next } else { bits }).to_le_bytes())
    }

    /// The smallest that is not below a finite value; what is too large becomes the largest there is.
    #[inline(always)]
    pub(super) fn above(value: f32) -> Self {
        let [low, high] = Self::below(-value).0;
        Self([low, high ^ 0x80])
    }

    #[inline(always)]
    pub(super) fn bits(self) -> u16 {
        u16::from_le_bytes(self.0)
    }

    /// Its value, without a branch or a call.
    #[inline(always)]
    pub(super) fn get(self) -> f32 {
        /// What the exponents of the two types differ by.
        const SCALE: f32 = f32::from_bits((127 + 127 - 15) << 23);
        let bits = u32::from(self.bits());
        // Subnormal numbers come out right too, since the product is exact.
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * SCALE;
        let infinite = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | infinite | (bits & 0x8000) << 16)
    }
}

/// The lower halves of bytes, and the upper ones.
#[inline(always)]
pub(super) fn nibbles<const N: usize>(bytes: &[u8; N]) -> [[u8; N]; 2] {
    let mut halves = [[0; N]; 2];
    for i in 0..N {
        halves[0][i] = bytes[i] & 15;
        halves[1][i] = bytes[i] >> 4;
    }
    halves
}

/// Bytes of which these are the lower halves, and those the upper ones.
#[inline(always)]
pub(super) fn join<const N: usize>(lower: &[u8], upper: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for ((byte, lower), upper) in bytes.iter_mut().zip(lower).zip(upper) {
        *byte = lower & 15 | upper << 4;
    }
    bytes
}

/// Values of a multiple of 16 elements. Several are made before they are stored: compilers make vectors of that, while
/// they take single stores for ones that might change what is loaded next.
#[inline(always)]
fn each<T: Copy>(q: &[T], values: &mut [f32], value: impl Fn(T) -> f32) {
    for (values, q) in values.as_chunks_mut::<16>().0.iter_mut().zip(q.as_chunks::<16>().0) {
        let mut all = [0.0; 16];
        for (one, &q) in all.iter_mut().zip(q) {
            *one = value(q);
        }
        *values = all;
    }
}

/// `scale · q`
#[inline(always)]
pub(super) fn scale<T: Copy + Into<f32>>(q: &[T], scale: f32, values: &mut [f32]) {
    each(q, values, |q| scale * q.into());
}

/// `scale · q + offset`, rounded twice.
#[inline(always)]
pub(super) fn scale_and_add<T: Copy + Into<f32>>(q: &[T], scale: f32, offset: f32, values: &mut [f32]) {
    each(q, values, |q| scale * q.into() + offset);
}

/// So many bits of each byte, from one on.
#[inline(always)]
pub(super) fn bits<const N: usize>(bytes: &[u8; N], from: usize, count: usize) -> [u8; N] {
    let mut all = [0; N];
    for (bits, byte) in all.iter_mut().zip(bytes) {
        *bits = byte >> from & ((1 << count) - 1);
    }
    all
}

/// The entries of a table for both halves of every byte: the lower one's in the lower half.
pub(super) const fn pairs(table: [i8; 16]) -> [[i8; 2]; 256] {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [table[byte % 16], table[byte / 16]];
        byte += 1;
    }
    pairs
}

/// The entries for the lower halves of bytes, and for the upper ones.
#[inline(always)]
pub(super) fn look_up(pairs: &[[i8; 2]; 256], bytes: &[u8; 16]) -> [[i8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    for (i, byte) in bytes.iter().enumerate() {
        let pair = pairs[usize::from(*byte)];
        halves[0][i] = pair[0];
        halves[1][i] = pair[1];
    }
    halves
}

/// The entries of a table, and how far they are above the lowest that there may be.
pub(super) const fn unsigned(table: [i8; 16], lowest: i8) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut index = 0;
    while index < 16 {
        bytes[index] = (table[index] as i16 + lowest as i16) as u8;
        index += 1;
    }
    bytes
}

/// As [`nibbles`].
#[inline(always)]
pub(super) fn byte_halves<D: Dots>(bytes: D::Bytes) -> [D::Bytes; 2] {
    [D::and(bytes, D::bytes(15)), D::and(D::shift(bytes, [4, 4]), D::bytes(15))]
}

/// Element 64k + i from the lower half of byte 32k + i, element 64k + 32 + i from the upper one.
#[inline(always)]
pub(super) fn low_bits<D: Dots>(bytes: &[[u8; 32]; 4]) -> [D::Bytes; 4] {
    let mut q = [D::bytes(0); 4];
    for (q, bytes) in q.iter_mut().zip(bytes) {
        *q = D::and(D::shift(D::twice(bytes), [0, 4]), D::bytes(15));
    }
    q
}

/// Two bits each: element 128h + 32j + i from bit 2j on of byte 32h + i.
#[inline(always)]
pub(super) fn pairs_of_bits<D: Dots>(bytes: &[[u8; 32]; 2]) -> [D::Bytes; 4] {
    let mut q = [D::bytes(0); 4];
    for (plane, q) in q.iter_mut().enumerate() {
        let right = plane as i32 % 2 * 4;
        *q = D::and(D::shift(D::twice(&bytes[plane / 2]), [right, right + 2]), D::bytes(3));
    }
    q
}

#[inline(always)]
pub(super) fn four_halves<D: Dots>(halves: [Half; 4]) -> D::Floats {
    D::four_halves(halves.map(Half::bits))
}
