//! Q4_0: 32 elements in 18 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..18 | q: of element i in the lower half of byte i, of element 16 + i in the upper |
//!
//! x = d · (q − 8)

use bytemuck::{Pod, Zeroable};

use super::bytes::{Half, byte_halves, four_halves, join, nibbles, scale};
use super::product::Form;
use super::search::by_peak;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    q: [u8; 16],
}

impl Coding<32> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        for (q, values) in nibbles(&self.q).iter().zip(values.as_chunks_mut::<16>().0) {
            scale(&q.map(|q| q.cast_signed() - 8), self.d.get(), values);
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let (d, q) = by_peak(values, 8);
        Self { d, q: join(&q[..16], &q[16..]) }
    }
}

impl Integers<32> for Block {
    const FORM: Form = Form { blocks: 4, zero: 8, ..Form::HALVES };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let [low, high] = byte_halves::<D>(D::quarters([&blocks[0].q, &blocks[1].q, &blocks[2].q, &blocks[3].q]));
        [low, high, D::bytes(0), D::bytes(0)]
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        [four_halves::<D>([blocks[0].d, blocks[1].d, blocks[2].d, blocks[3].d]), D::splat(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, encoded};

    #[test]
    fn decodes() {
        let mut block = [0; 18];
        block[0..3].copy_from_slice(&[0, 0xc0, 0x9f]);
        block[17] = 0x08;
        check("q4_0", &block, &[(0, -14.0), (16, -2.0), (15, 0.0), (31, 16.0), (1, 16.0)]);
    }

    #[test]
    fn encodes() {
        let mut values = [0.0; 32];
        (values[0], values[1], values[16]) = (-8.0, 8.0, 0.4);
        let mut block = [0x88; 18];
        block[..4].copy_from_slice(&[0x00, 0x3c, 0x80, 0x8f]);
        assert_eq!(encoded("q4_0", &values), block);
    }
}
