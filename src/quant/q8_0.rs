//! Q8_0: 32 elements in 34 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..34 | an int8 q for each element |
//!
//! x = d · q

use bytemuck::{Pod, Zeroable};

use super::Coding;
use super::bytes::{Half, scale};
use super::search::by_magnitude;

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
