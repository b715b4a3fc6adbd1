//! Q8_0: 32 elements in 34 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..34 | an int8 q for each element |
//!
//! x = d · q

use bytemuck::{Pod, Zeroable, cast_ref};

use super::bytes::{Half, four_halves, scale};
use super::product::Form;
use super::search::by_magnitude;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    q: [i8; 32],
}

impl Coding<32> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        scale(&self.q, self.d.get(), values);
    }

    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let (d, q) = by_magnitude(values, 127);
        Self { d, q }
    }
}

impl Integers<32> for Block {
    const FORM: Form = Form { blocks: 4, zero: 128, wide: true, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let [a, b] = [
            D::halves([cast_ref(&blocks[0].q), cast_ref(&blocks[1].q)]),
            D::halves([cast_ref(&blocks[2].q), cast_ref(&blocks[3].q)]),
        ];
        [D::xor(a, D::bytes(128)), D::xor(b, D::bytes(128)), D::bytes(0), D::bytes(0)]
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
        let mut block = [0; 34];
        block[..4].copy_from_slice(&[0x00, 0x38, 3, 0xff]);
        block[33] = 0x80;
        check("q8_0", &block, &[(0, 1.5), (1, -0.5), (2, 0.0), (31, -64.0)]);
    }

    #[test]
    fn encodes() {
        let mut values = [0.0; 32];
        values[..4].copy_from_slice(&[127.0, -63.5, 0.5, 0.49]);
        let mut block = [0; 34];
        block[..5].copy_from_slice(&[0x00, 0x3c, 127, (-64i8).cast_unsigned(), 1]);
        assert_eq!(encoded("q8_0", &values), block);
    }
}
