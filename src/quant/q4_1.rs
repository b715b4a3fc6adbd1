//! Q4_1: 32 elements in 20 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..4 | float16 m |
//! | 4..20 | q: of element i in the lower half of byte i, of element 16 + i in the upper |
//!
//! x = d · q + m

use bytemuck::{Pod, Zeroable};

use super::bytes::{Half, byte_halves, four_halves, join, nibbles, scale_and_add};
use super::product::Form;
use super::search::by_range;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    m: Half,
    q: [u8; 16],
}

impl Coding<32> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        for (q, values) in nibbles(&self.q).iter().zip(values.as_chunks_mut::<16>().0) {
            scale_and_add(q, self.d.get(), self.m.get(), values);
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let (d, m, q) = by_range(values, 15);
        Self { d, m, q: join(&q[..16], &q[16..]) }
    }
}

impl Integers<32> for Block {
    const FORM: Form = Form { blocks: 4, minima: true, ..Form::HALVES };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let [low, high] = byte_halves::<D>(D::quarters([&blocks[0].q, &blocks[1].q, &blocks[2].q, &blocks[3].q]));
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
    fn decodes() {
        let mut block = [0; 20];
        block[0..5].copy_from_slice(&[0, 0x38, 0, 0x3c, 0xf1]);
        check("q4_1", &block, &[(0, 1.5), (16, 8.5), (1, 1.0), (31, 1.0)]);
    }

    #[test]
    fn encodes() {
        let mut values = [-1.0; 32];
        (values[1], values[31]) = (3.5, 14.0);
        let mut block = [0; 20];
        block[..6].copy_from_slice(&[0x00, 0x3c, 0x00, 0xbc, 0x00, 0x05]);
        block[19] = 0xf0;
        assert_eq!(encoded("q4_1", &values), block);
    }
}
