//! Q5_0: 32 elements in 22 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..6 | the highest bit of each q: of element i in bit i of these 32 |
//! | 6..22 | the rest of q: of element i in the lower half of byte i, of element 16 + i in the upper |
//!
//! x = d · (q − 16)

use bytemuck::{Pod, Zeroable};

use super::Coding;
use super::bytes::{Half, join, nibbles, scale};
use super::search::by_peak;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    high: [u8; 4],
    low: [u8; 16],
}

/// The five bits of each element.
#[inline(always)]
pub(super) fn fives(low: &[u8; 16], high: [u8; 4]) -> [u8; 32] {
    let mut q = [0; 32];
    for ((q, low), high) in q.as_chunks_mut::<16>().0.iter_mut().zip(nibbles(low)).zip(high.as_chunks::<2>().0) {
        let high = [spread(high[0]), spread(high[1])];
        for (i, (q, low)) in q.iter_mut().zip(low).enumerate() {
            *q = low | high[i / 8][i % 8];
        }
    }
    q
}

/// Bytes of 16 or 0 for the bits of one.
#[inline(always)]
fn spread(bits: u8) -> [u8; 8] {
    // Each of eight copies keeps one bit, which is carried to its top by a sum that never carries into the next.
    let own = u64::from(bits) * 0x0101_0101_0101_0101 & 0x8040_2010_0804_0201;
    ((own + 0x7f7f_7f7f_7f7f_7f7f & 0x8080_8080_8080_8080) >> 3).to_le_bytes()
}

/// As they lie in a block: the lower four bits of each element, and the highest.
#[inline(always)]
pub(super) fn split(q: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
    let mut high = 0;
    for (i, &q) in q.iter().enumerate() {
        high |= u32::from(q >> 4) << i;
    }
    (join(&q[..16], &q[16..]), high.to_le_bytes())
}

impl Coding<32> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        scale(&fives(&self.low, self.high).map(|q| q.cast_signed() - 16), self.d.get(), values);
    }

    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let (d, q) = by_peak(values, 16);
        let (low, high) = split(&q);
        Self { d, high, low }
    }
}
