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

use super::bytes::{Half, byte_halves, four_halves, join, nibbles, scale};
use super::product::Form;
use super::search::by_peak;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

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
    for (half, (q, low)) in q.as_chunks_mut::<16>().0.iter_mut().zip(nibbles(low)).enumerate() {
        for (i, (q, low)) in q.iter_mut().zip(low).enumerate() {
            // Each byte has those of its eight at hand, and keeps its own.
            *q = if high[2 * half + i / 8] & 1 << (i % 8) == 0 { low } else { low + 16 };
        }
    }
    q
}

/// The same of four blocks, of which the lower bits come as bytes: the first halves of the blocks, and the second ones.
#[inline(always)]
pub(super) fn five_bits<D: Dots>(low: D::Bytes, high: [[u8; 4]; 4]) -> [D::Bytes; 2] {
    let mut set = [0; 2];
    for (i, high) in high.into_iter().enumerate() {
        let high = u32::from_le_bytes(high);
        set[0] |= u64::from(high & 0xffff) << (16 * i);
        set[1] |= u64::from(high >> 16) << (16 * i);
    }
    let [first, second] = byte_halves::<D>(low);
    [D::or(first, D::where_set(set[0], 16)), D::or(second, D::where_set(set[1], 16))]
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

impl Integers<32> for Block {
    const FORM: Form = Form { blocks: 4, zero: 16, ..Form::HALVES };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let low = D::quarters([&blocks[0].low, &blocks[1].low, &blocks[2].low, &blocks[3].low]);
        let [low, high] = five_bits::<D>(low, [blocks[0].high, blocks[1].high, blocks[2].high, blocks[3].high]);
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
    fn decodes_and_encodes() {
        let mut block = [0; 22];
        block[..7].copy_from_slice(&[0x00, 0x3c, 1, 0, 0, 0x80, 0x21]);
        block[21] = 0xf0;
        check("q5_0", &block, &[(0, 1.0), (16, -14.0), (15, -16.0), (31, 15.0)]);

        let mut values = [-16.0; 32];
        (values[0], values[16], values[31]) = (1.0, -14.0, 15.0);
        assert_eq!(encoded("q5_0", &values), block);
    }
}
