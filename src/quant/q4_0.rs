//! Q4_0: 32 elements in 18 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..18 | q: of element i in the lower half of byte i, of element 16 + i in the upper |
//!
//! x = d · (q − 8)

use bytemuck::{Pod, Zeroable};

use super::Coding;
use super::bytes::{Half, join, nibbles, scale};
use super::search::by_peak;

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
