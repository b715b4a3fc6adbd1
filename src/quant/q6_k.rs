//! Q6_K: 256 elements in 210 bytes, in 16 parts of 16.
//!
//! | bytes | what |
//! |---|---|
//! | 0..128 | the lower four bits of q: of element 128h + i in the lower half of byte 64h + i, of 64 later in the upper |
//! | 128..192 | the upper two bits of q: of element 128h + 32j + i in byte 128 + 32h + i, from bit 2j on |
//! | 192..208 | an int8 s for each part |
//! | 208..210 | float16 d |
//!
//! x = (d · s) · (q − 32)

use bytemuck::{Pod, Zeroable, cast_ref};

use super::bytes::{Half, bits, byte_halves, scale};
use super::product::Form;
use super::search::{Levels, Scales, nearest_within};
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    low: [[[u8; 32]; 2]; 2],
    high: [[u8; 32]; 2],
    scales: [i8; 16],
    d: Half,
}

#[derive(Clone, Copy)]
struct SixtyFour;

impl Levels for SixtyFour {
    const PEAKS: &'static [f32] = &[-30.4, -30.8, -31.2, -31.6, -32.0, -32.4, -32.8, -33.2, -33.6];

    #[inline(always)]
    fn nearest(self, x: f32) -> f32 {
        nearest_within(x, -32.0, 31.0)
    }
}

impl Coding<256> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let d = self.d.get();
        for (row, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (h, j) = (row / 4, row % 4);
            let mut q = bits(&self.low[h][j % 2], j / 2 * 4, 4);
            for (q, high) in q.iter_mut().zip(bits(&self.high[h], 2 * j, 2)) {
                *q |= high << 4;
            }
            let q = q.map(|q| q.cast_signed() - 32);
            for (half, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                scale(&q[16 * half..][..16], d * f32::from(self.scales[2 * row + half]), values);
            }
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let parts: &[[f32; 16]; 16] = cast_ref(values);
        let scales = Scales::fit(parts, 128.0, SixtyFour);
        let (mut low, mut high) = ([[[0; 32]; 2]; 2], [[0; 32]; 2]);
        for (part, values) in parts.iter().enumerate() {
            let (h, j, half) = (part / 8, part / 2 % 4, part % 2);
            let inverse = scales.inverse(part);
            for (i, value) in values.iter().enumerate() {
                let q = (SixtyFour.nearest(value * inverse) + 32.0) as u8;
                low[h][j % 2][half * 16 + i] |= (q & 15) << (j / 2 * 4);
                high[h][half * 16 + i] |= (q >> 4) << (2 * j);
            }
        }
        Self { low, high, scales: scales.multiples, d: scales.unit }
    }
}

impl Integers<256> for Block {
    const FORM: Form = Form { planes: 4, part: 16, zero: 32, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let Self { low, high, .. } = &blocks[0];
        let mut q = [D::bytes(0); 4];
        for (h, q) in q.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let high = D::twice(&high[h]);
            let [first, second] = byte_halves::<D>(D::load(cast_ref(&low[h])));
            q[0] = D::or(first, D::and(D::shift(high, [-4, -2]), D::bytes(48)));
            q[1] = D::or(second, D::and(D::shift(high, [0, 2]), D::bytes(48)));
        }
        q
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        let Self { scales, d, .. } = &blocks[0];
        [D::mul(D::sixteen_signed(*scales), D::splat_half(d.bits())), D::splat(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn decodes() {
        let mut block = [0; 210];
        block[0] = 0x21;
        block[32] = 0x04;
        block[127] = 0xf0;
        block[128] = 0x32;
        block[191] = 0xc0;
        block[192..197].copy_from_slice(&[2, 0, 3, 0, 1]);
        block[207] = 0xff;
        block[208..210].copy_from_slice(&[0, 0x38]);
        check("q6_k", &block, &[(0, 1.0), (1, -32.0), (16, 0.0), (32, -42.0), (64, 9.0), (254, 16.0), (255, -15.5)]);
    }
}
