//! IQ4_XS: 256 elements in 136 bytes, in 8 parts of 32.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..4 | the upper two bits of each s: of part p from bit 2p on of these 16 |
//! | 4..8 | the lower four bits of each s: of part 2k in the lower half of byte 4 + k, of part 2k + 1 in the upper |
//! | 8..136 | q: of element 32p + i in the lower half of byte 8 + 16p + i, of element 32p + 16 + i in the upper |
//!
//! x = (d · (s − 32)) · table[q], with the table of IQ4_NL.

use bytemuck::{Pod, Zeroable, cast_ref};

use super::bytes::{Half, byte_halves, join, look_up, scale};
use super::iq4_nl::{BYTES, PAIRS, Table};
use super::product::Form;
use super::search::Scales;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    scales_high: [u8; 2],
    scales_low: [u8; 4],
    q: [[u8; 16]; 8],
}

impl Block {
    /// The s of all parts: their bits are moved apart until a byte has those of one.
    #[inline(always)]
    fn multiples(&self) -> [u8; 8] {
        let mut low = u64::from(u32::from_le_bytes(self.scales_low));
        low = (low | low << 16) & 0x0000_ffff_0000_ffff;
        low = (low | low << 8) & 0x00ff_00ff_00ff_00ff;
        low = (low | low << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let mut high = u64::from(u16::from_le_bytes(self.scales_high));
        high = (high | high << 24) & 0x0000_00ff_0000_00ff;
        high = (high | high << 12) & 0x000f_000f_000f_000f;
        high = (high | high << 6) & 0x0303_0303_0303_0303;
        (low | high << 4).to_le_bytes()
    }
}

impl Coding<256> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let d = self.d.get();
        let scales_high = u16::from_le_bytes(self.scales_high);
        for (part, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = self.scales_low[part / 2] >> (part % 2 * 4) & 15;
            let high = (scales_high >> (2 * part) & 3) as u8;
            let d = d * f32::from((low | high << 4).cast_signed() - 32);
            for (q, values) in look_up(&PAIRS, &self.q[part]).iter().zip(values.as_chunks_mut::<16>().0) {
                scale(q, d, values);
            }
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let parts: &[[f32; 32]; 8] = cast_ref(values);
        let scales = Scales::fit(parts, 32.0, Table);
        let (mut scales_high, mut scales_low, mut q) = (0, [0; 4], [[0; 16]; 8]);
        for (part, values) in parts.iter().enumerate() {
            let s = (scales.multiples[part] + 32).cast_unsigned();
            scales_low[part / 2] |= (s & 15) << (part % 2 * 4);
            scales_high |= u16::from(s >> 4) << (2 * part);
            let inverse = scales.inverse(part);
            let levels = values.map(|value| Table::index(value * inverse));
            q[part] = join(&levels[..16], &levels[16..]);
        }
        Self { d: scales.unit, scales_high: scales_high.to_le_bytes(), scales_low, q }
    }
}

impl Integers<256> for Block {
    const FORM: Form = Form { planes: 4, zero: 127, wide: true, ..Form::HALVES };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let q: &[[u8; 64]; 2] = cast_ref(&blocks[0].q);
        let [[a, b], [c, d]] = [byte_halves::<D>(D::load(&q[0])), byte_halves::<D>(D::load(&q[1]))];
        [D::look_up(&BYTES, a), D::look_up(&BYTES, b), D::look_up(&BYTES, c), D::look_up(&BYTES, d)]
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        let block = &blocks[0];
        let s = D::add(D::eight(block.multiples()), D::splat(-32.0));
        [D::mul(s, D::splat_half(block.d.bits())), D::splat(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn decodes() {
        let mut block = [0; 136];
        block[0..5].copy_from_slice(&[0, 0x3c, 2, 0xc0, 1]);
        block[7] = 0xf0;
        block[8] = 0x98;
        block[135] = 0x50;
        check("iq4_xs", &block, &[(0, 1.0), (1, -127.0), (16, 13.0), (32, 4064.0), (239, -3937.0), (255, -1085.0)]);
    }
}
