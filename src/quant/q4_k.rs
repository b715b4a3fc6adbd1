//! Q4_K: 256 elements in 144 bytes, in 8 parts of 32.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..4 | float16 m |
//! | 4..16 | for each part s and t, of six bits: see [`Pairs`] |
//! | 16..144 | q: of element 64k + i in the lower half of byte 16 + 32k + i, of element 64k + 32 + i in the upper |
//!
//! x = (d · s) · q − m · t

use bytemuck::{Pod, Zeroable, cast, cast_ref};

use super::bytes::{Half, bits, join, low_bits, scale_and_add};
use super::product::Form;
use super::search::Ranges;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    m: Half,
    pairs: Pairs,
    q: [[u8; 32]; 4],
}

/// Two numbers s and t of six bits for each of eight parts.
///
/// | bytes | lower bits | upper bits |
/// |---|---|---|
/// | 0..4 | six: s of parts 0..4 | two: the upper ones of s of parts 4..8 |
/// | 4..8 | six: t of parts 0..4 | two: the upper ones of t of parts 4..8 |
/// | 8..12 | four: the lower ones of s of parts 4..8 | four: the lower ones of t of parts 4..8 |
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Pairs {
    s: [u8; 4],
    t: [u8; 4],
    rest: [u8; 4],
}

impl Pairs {
    #[inline(always)]
    pub(super) fn unpack(self) -> ([u8; 8], [u8; 8]) {
        let [s, t, rest] = [self.s, self.t, self.rest].map(u32::from_le_bytes);
        let join = |low: u32, high: u32| cast([(low & 0x3f3f_3f3f).to_le_bytes(), high.to_le_bytes()]);
        (join(s, rest & 0x0f0f_0f0f | s >> 2 & 0x3030_3030), join(t, rest >> 4 & 0x0f0f_0f0f | t >> 2 & 0x3030_3030))
    }

    #[inline(always)]
    pub(super) fn pack(s: [u8; 8], t: [u8; 8]) -> Self {
        let mut pairs = Self { s: [0; 4], t: [0; 4], rest: join(&s[4..], &t[4..]) };
        for i in 0..4 {
            pairs.s[i] = s[i] | s[4 + i] >> 4 << 6;
            pairs.t[i] = t[i] | t[4 + i] >> 4 << 6;
        }
        pairs
    }

    /// The scales d · s and the minima -m · t.
    #[inline(always)]
    pub(super) fn scales<D: Dots>(self, d: Half, m: Half) -> [D::Floats; 2] {
        let (s, t) = self.unpack();
        let (d, minus_m) = (D::splat_half(d.bits()), D::splat_half(m.bits() ^ 0x8000));
        [D::mul(D::eight(s), d), D::mul(D::eight(t), minus_m)]
    }
}

/// The numbers of levels over which values are tried to reach.
const SPANS: &[f32] =
    &[13.4, 13.6, 13.8, 14.0, 14.2, 14.4, 14.6, 14.8, 15.0, 15.2, 15.4, 15.6, 15.8, 16.0, 16.2, 16.4, 16.6, 16.8, 17.0];

impl Coding<256> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let (d, m) = (self.d.get(), self.m.get());
        let (s, t) = self.pairs.unpack();
        for (part, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let q = bits(&self.q[part / 2], part % 2 * 4, 4);
            scale_and_add(&q, d * f32::from(s[part]), -(m * f32::from(t[part])), values);
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let parts: &[[f32; 32]; 8] = cast_ref(values);
        let ranges = Ranges::fit(parts, 15.0, 63.0, SPANS);
        let mut q = [[0; 32]; 4];
        for (k, q) in q.iter_mut().enumerate() {
            let levels = |part: usize| ranges.levels(part, &parts[part], 15.0);
            *q = join(&levels(2 * k), &levels(2 * k + 1));
        }
        let pairs = Pairs::pack(ranges.multiples, ranges.minima);
        Self { d: ranges.unit, m: ranges.minimum, pairs, q }
    }
}

impl Integers<256> for Block {
    const FORM: Form = Form { planes: 4, minima: true, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        low_bits::<D>(&blocks[0].q)
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        let Self { d, m, pairs, .. } = blocks[0];
        pairs.scales::<D>(d, m)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn decodes() {
        let mut block = [0; 144];
        block[0..5].copy_from_slice(&[0, 0x3c, 0, 0x38, 0x83]);
        block[8] = 0x42;
        block[12] = 0x15;
        block[15] = 0x04;
        block[16] = 0x7a;
        block[80] = 0x0f;
        block[143] = 0xf0;
        check("q4_k", &block, &[(0, 29.0), (1, -1.0), (32, 0.0), (128, 546.5), (129, -8.5), (254, 0.0), (255, 60.0)]);
    }
}
