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
