//! Q2_K: 256 elements in 84 bytes, in 16 parts of 16.
//!
//! | bytes | what |
//! |---|---|
//! | 0..16 | a byte for each part: its s in the lower half, its t in the upper |
//! | 16..80 | q, of two bits: of element 128h + 32j + i in byte 32h + i, from bit 2j on |
//! | 80..82 | float16 d |
//! | 82..84 | float16 m |
//!
//! x = (d · s) · q − m · t

use bytemuck::{Pod, Zeroable, cast_ref};

use super::bytes::{Half, bits, join, nibbles, pairs_of_bits, scale_and_add};
use super::product::Form;
use super::search::Ranges;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    scales: [u8; 16],
    q: [[u8; 32]; 2],
    d: Half,
    m: Half,
}

/// The numbers of levels over which values are tried to reach.
const SPANS: &[f32] = &[2.4, 2.6, 2.8, 2.9, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7, 3.8, 4.0, 4.2];

impl Coding<256> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let (d, m) = (self.d.get(), self.m.get());
        for (row, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let q = bits(&self.q[row / 4], row % 4 * 2, 2);
            for (half, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scales = self.scales[2 * row + half];
                let (d, m) = (d * f32::from(scales & 15), m * f32::from(scales >> 4));
                scale_and_add(&q[16 * half..][..16], d, -m, values);
            }
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let parts: &[[f32; 16]; 16] = cast_ref(values);
        let ranges = Ranges::fit(parts, 3.0, 15.0, SPANS);
        let mut q = [[0; 32]; 2];
        for (part, values) in parts.iter().enumerate() {
            let (h, j, half) = (part / 8, part / 2 % 4, part % 2);
            for (i, level) in ranges.levels(part, values, 3.0).into_iter().enumerate() {
                q[h][half * 16 + i] |= level << (2 * j);
            }
        }
        Self { scales: join(&ranges.multiples, &ranges.minima), q, d: ranges.unit, m: ranges.minimum }
    }
}

impl Integers<256> for Block {
    const FORM: Form = Form { planes: 4, part: 16, minima: true, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        pairs_of_bits::<D>(&blocks[0].q)
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        let Self { scales, d, m, .. } = &blocks[0];
        let [s, t] = nibbles(scales);
        let minus_m = D::splat_half(m.bits() ^ 0x8000);
        [D::mul(D::sixteen(s), D::splat_half(d.bits())), D::mul(D::sixteen(t), minus_m)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn decodes() {
        let mut block = [0; 84];
        block[0..3].copy_from_slice(&[0x21, 3, 1]);
        block[15] = 0x12;
        block[16] = 0b1110_0100;
        block[32] = 0b10;
        block[79] = 0b1100_0000;
        block[80..84].copy_from_slice(&[0, 0x3c, 0, 0x38]);
        check(
            "q2_k",
            &block,
            &[(0, -1.0), (1, -1.0), (16, 6.0), (17, 0.0), (32, 1.0), (64, 0.0), (254, -0.5), (255, 5.5)],
        );
    }
}
