//! Q3_K: 256 elements in 110 bytes, in 16 parts of 16.
//!
//! | bytes | what |
//! |---|---|
//! | 0..32 | the highest bit of each q: of element 32k + i in bit k of byte i |
//! | 32..96 | the lower two bits of each q: of element 128h + 32j + i in byte 32 + 32h + i, from bit 2j on |
//! | 96..104 | the lower four bits of each s: of part p in the lower half of byte 96 + p, of part 8 + p in the upper |
//! | 104..108 | the upper two bits of each s: of part 4k + p in byte 104 + p, from bit 2k on |
//! | 108..110 | float16 d |
//!
//! x = (d · (s − 32)) · (q − 4)

use bytemuck::{Pod, Zeroable, cast, cast_ref};

use super::bytes::{Half, bits, join, pairs_of_bits, scale};
use super::product::Form;
use super::search::{Levels, Scales, nearest_within};
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    high: [u8; 32],
    low: [[u8; 32]; 2],
    scales_low: [u8; 8],
    scales_high: [u8; 4],
    d: Half,
}

impl Block {
    /// The s of all parts.
    #[inline(always)]
    fn multiples(&self) -> [u8; 16] {
        let (low, high) = (u64::from_le_bytes(self.scales_low), u64::from(u32::from_le_bytes(self.scales_high)));
        let mut s = [0; 2];
        for (k, s) in s.iter_mut().enumerate() {
            let four = |k: usize| high >> (2 * k) & 0x0303_0303;
            *s = low >> (4 * k) & 0x0f0f_0f0f_0f0f_0f0f | (four(2 * k) | four(2 * k + 1) << 32) << 4;
        }
        cast(s.map(u64::to_le_bytes))
    }
}

#[derive(Clone, Copy)]
struct Eight;

impl Levels for Eight {
    const PEAKS: &'static [f32] =
        &[-2.8, -3.0, -3.2, -3.4, -3.6, -3.8, -4.0, -4.2, -4.4, -4.6, -4.8, -5.0, -5.2, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6];

    #[inline(always)]
    fn nearest(self, x: f32) -> f32 {
        nearest_within(x, -4.0, 3.0)
    }
}

impl Coding<256> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let d = self.d.get();
        for (row, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let mut q = bits(&self.low[row / 4], row % 4 * 2, 2);
            for (q, high) in q.iter_mut().zip(bits(&self.high, row, 1)) {
                *q |= high << 2;
            }
            let q = q.map(|q| q.cast_signed() - 4);
            for (half, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let part = 2 * row + half;
                let low = self.scales_low[part % 8] >> (part / 8 * 4) & 15;
                let high = self.scales_high[part % 4] >> (part / 4 * 2) & 3;
                scale(&q[16 * half..][..16], d * f32::from((low | high << 4).cast_signed() - 32), values);
            }
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let parts: &[[f32; 16]; 16] = cast_ref(values);
        let scales = Scales::fit(parts, 32.0, Eight);
        let (mut high, mut low) = ([0; 32], [[0; 32]; 2]);
        for (part, values) in parts.iter().enumerate() {
            let (h, j, half) = (part / 8, part / 2 % 4, part % 2);
            let inverse = scales.inverse(part);
            for (i, value) in values.iter().enumerate() {
                let q = (Eight.nearest(value * inverse) + 4.0) as u8;
                low[h][half * 16 + i] |= (q & 3) << (2 * j);
                high[half * 16 + i] |= (q >> 2) << (part / 2);
            }
        }
        let s = scales.multiples.map(|s| (s + 32).cast_unsigned());
        let mut scales_high = [0; 4];
        for (part, s) in s.iter().enumerate() {
            scales_high[part % 4] |= (s >> 4) << (part / 4 * 2);
        }
        Self { high, low, scales_low: join(&s[..8], &s[8..]), scales_high, d: scales.unit }
    }
}

impl Integers<256> for Block {
    const FORM: Form = Form { planes: 4, part: 16, zero: 4, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let Self { high, low, .. } = &blocks[0];
        let (mut q, high) = (pairs_of_bits::<D>(low), D::twice(high));
        for (plane, q) in q.iter_mut().enumerate() {
            let place = 2 * plane as i32;
            *q = D::or(*q, D::and(D::shift(high, [place - 2, place - 1]), D::bytes(4)));
        }
        q
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        let block = &blocks[0];
        let s = D::add(D::sixteen(block.multiples()), D::splat(-32.0));
        [D::mul(s, D::splat_half(block.d.bits())), D::splat(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn decodes() {
        let mut block = [0; 110];
        block[0] = 0x01;
        block[31] = 0x80;
        block[32] = 0x03;
        block[64] = 0x02;
        block[95] = 0x40;
        block[96] = 0x15;
        block[103] = 0x70;
        block[104] = 0x22;
        block[107] = 0x40;
        block[108..110].copy_from_slice(&[0, 0x3c]);
        check(
            "q3_k",
            &block,
            &[(0, 15.0), (1, -20.0), (16, 128.0), (128, -2.0), (129, -4.0), (254, 36.0), (255, -9.0)],
        );
    }
}
