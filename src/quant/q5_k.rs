//! Q5_K: 256 elements in 176 bytes, in 8 parts of 32.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..4 | float16 m |
//! | 4..16 | for each part s and t, of six bits: see [`Pairs`] |
//! | 16..48 | the highest bit of each q: of element 32k + i in bit k of byte 16 + i |
//! | 48..176 | the rest of q: of element 64k + i in the lower half of byte 48 + 32k + i, of 64k + 32 + i in the upper |
//!
//! x = (d · s) · q − m · t

use bytemuck::{Pod, Zeroable, cast_ref};

use super::bytes::{Half, bits, join, low_bits, scale_and_add};
use super::product::Form;
use super::q4_k::Pairs;
use super::search::Ranges;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    m: Half,
    pairs: Pairs,
    high: [u8; 32],
    low: [[u8; 32]; 4],
}

/// The numbers of levels over which values are tried to reach.
const SPANS: &[f32] = &[29.0, 29.4, 29.8, 30.2, 30.6, 31.0, 31.4, 31.8, 32.2, 32.6, 33.0];

impl Coding<256> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let (d, m) = (self.d.get(), self.m.get());
        let (s, t) = self.pairs.unpack();
        for (part, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let mut q = bits(&self.low[part / 2], part % 2 * 4, 4);
            for (q, high) in q.iter_mut().zip(bits(&self.high, part, 1)) {
                *q |= high << 4;
            }
            scale_and_add(&q, d * f32::from(s[part]), -(m * f32::from(t[part])), values);
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let parts: &[[f32; 32]; 8] = cast_ref(values);
        let ranges = Ranges::fit(parts, 31.0, 63.0, SPANS);
        let (mut high, mut low) = ([0; 32], [[0; 32]; 4]);
        for (k, low) in low.iter_mut().enumerate() {
            let levels = [2 * k, 2 * k + 1].map(|part| ranges.levels(part, &parts[part], 31.0));
            *low = join(&levels[0], &levels[1]);
            for (i, high) in high.iter_mut().enumerate() {
                *high |= (levels[0][i] >> 4 | levels[1][i] >> 4 << 1) << (2 * k);
            }
        }
        let pairs = Pairs::pack(ranges.multiples, ranges.minima);
        Self { d: ranges.unit, m: ranges.minimum, pairs, high, low }
    }
}

impl Integers<256> for Block {
    const FORM: Form = Form { planes: 4, minima: true, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let Self { high, low, .. } = &blocks[0];
        let (mut q, high) = (low_bits::<D>(low), D::twice(high));
        for (plane, q) in q.iter_mut().enumerate() {
            let place = 2 * plane as i32;
            *q = D::or(*q, D::and(D::shift(high, [place - 4, place - 3]), D::bytes(16)));
        }
        q
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
        let mut block = [0; 176];
        block[0..5].copy_from_slice(&[0, 0x3c, 0, 0x38, 0x83]);
        block[8] = 0x42;
        block[12] = 0x15;
        block[15] = 0x04;
        block[16] = 0x11;
        block[47] = 0x80;
        block[48] = 0x7a;
        block[112] = 0x0f;
        block[175] = 0xf0;
        check("q5_k", &block, &[(0, 77.0), (1, -1.0), (32, 0.0), (128, 1138.5), (129, -8.5), (254, 0.0), (255, 124.0)]);
    }
}
