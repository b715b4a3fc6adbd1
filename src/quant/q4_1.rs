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

use super::Coding;
use super::bytes::{Half, join, nibbles, scale_and_add};
use super::search::by_range;

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
