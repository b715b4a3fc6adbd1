//! TQ2_0: 256 elements of −1, 0 and 1 in 66 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..64 | q, of two bits: of element 128h + 32j + i in byte 32h + i, from bit 2j on |
//! | 64..66 | float16 d |
//!
//! x = d · (q − 1)

use bytemuck::{Pod, Zeroable};

use super::bytes::{Half, bits, pairs_of_bits, scale};
use super::product::Form;
use super::search::by_magnitude;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    q: [[u8; 32]; 2],
    d: Half,
}

impl Coding<256> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let d = self.d.get();
        for (row, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let q = bits(&self.q[row / 4], row % 4 * 2, 2).map(|q| q.cast_signed() - 1);
            scale(&q, d, values);
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let (d, levels) = by_magnitude(values, 1);
        let mut q = [[0; 32]; 2];
        for (part, levels) in levels.as_chunks::<32>().0.iter().enumerate() {
            for (q, level) in q[part / 4].iter_mut().zip(levels) {
                *q |= (level + 1).cast_unsigned() << (part % 4 * 2);
            }
        }
        Self { q, d }
    }
}

impl Integers<256> for Block {
    const FORM: Form = Form { planes: 4, zero: 1, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        pairs_of_bits::<D>(&blocks[0].q)
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        [D::splat_half(blocks[0].d.bits()), D::splat(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, decoded, encoded};

    #[test]
    fn decodes_and_encodes() {
        let mut block = [0; 66];
        (block[0], block[63]) = (0b1001_0010, 0b0100_0000);
        block[64..].copy_from_slice(&[0x00, 0x40]);
        let mut values = [-2.0; 256];
        (values[0], values[64], values[96], values[255]) = (2.0, 0.0, 2.0, 0.0);
        assert_eq!(decoded("tq2_0", &block), values);
        assert_eq!(encoded("tq2_0", &values), block);

        // No encoder makes a 3.
        block[63] = 0b1100_0000;
        check("tq2_0", &block, &[(255, 4.0)]);
    }
}
