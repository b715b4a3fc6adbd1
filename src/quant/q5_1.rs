//! Q5_1: 32 elements in 24 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..4 | float16 m |
//! | 4..8 | the highest bit of each q: of element i in bit i of these 32 |
//! | 8..24 | the rest of q: of element i in the lower half of byte i, of element 16 + i in the upper |
//!
//! x = d · q + m

use bytemuck::{Pod, Zeroable};

use super::bytes::{Half, four_halves, scale_and_add};
use super::product::Form;
use super::q5_0::{five_bits, fives, split};
use super::search::by_range;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    m: Half,
    high: [u8; 4],
    low: [u8; 16],
}

impl Coding<32> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        scale_and_add(&fives(&self.low, self.high), self.d.get(), self.m.get(), values);
    }

    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let (d, m, q) = by_range(values, 31);
        let (low, high) = split(&q);
        Self { d, m, high, low }
    }
}

impl Integers<32> for Block {
    const FORM: Form = Form { blocks: 4, minima: true, ..Form::HALVES };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let low = D::quarters([&blocks[0].low, &blocks[1].low, &blocks[2].low, &blocks[3].low]);
        let [low, high] = five_bits::<D>(low, [blocks[0].high, blocks[1].high, blocks[2].high, blocks[3].high]);
        [low, high, D::bytes(0), D::bytes(0)]
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        [
            four_halves::<D>([blocks[0].d, blocks[1].d, blocks[2].d, blocks[3].d]),
            four_halves::<D>([blocks[0].m, blocks[1].m, blocks[2].m, blocks[3].m]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, encoded};

    #[test]
    fn decodes_and_encodes() {
        let mut block = [0; 24];
        block[..9].copy_from_slice(&[0x00, 0x38, 0x00, 0xbc, 0, 0, 1, 0x80, 0x32]);
        block[23] = 0xf0;
        check("q5_1", &block, &[(0, 0.0), (16, 8.5), (15, -1.0), (31, 14.5)]);

        let mut values = [-1.0; 32];
        (values[0], values[16], values[31]) = (0.0, 8.5, 14.5);
        assert_eq!(encoded("q5_1", &values), block);
    }
}
