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

use super::Coding;
use super::bytes::{Half, join, look_up, scale};
use super::iq4_nl::{PAIRS, Table};
use super::search::Scales;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    scales_high: [u8; 2],
    scales_low: [u8; 4],
    q: [[u8; 16]; 8],
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
