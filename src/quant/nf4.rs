//! NF4: 64 elements in 34 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..34 | q: of element 2i in the lower half of byte 2 + i, of element 2i + 1 in the upper |
//!
//! x = d · table[q]

use bytemuck::{Pod, Zeroable};

use super::bytes::{Half, byte_halves, four_halves};
use super::product::{Form, Order};
use super::search::{inverse, magnitude};
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    q: [u8; 32],
}

/// Quantiles of the normal distribution, from QLoRA. Their last digits are those of a computation in float32.
const TABLE: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The table's entries in steps of 1 / 32767 from −32768 on, so close that products with int8 are as good as those with
/// the table itself.
const fn level(index: usize) -> u16 {
    (TABLE[index] * 32767.0 + 32768.5) as u16
}

/// The upper byte of each, and the lower one.
static COARSE: [u8; 16] = bytes_of_levels(8);
static FINE: [u8; 16] = bytes_of_levels(0);

const fn bytes_of_levels(shift: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut index = 0;
    while index < 16 {
        bytes[index] = (level(index) >> shift) as u8;
        index += 1;
    }
    bytes
}

/// The values of both halves of each byte.
const PAIRS: [[f32; 2]; 256] = {
    let mut pairs = [[0.0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [TABLE[byte & 15], TABLE[byte >> 4]];
        byte += 1;
    }
    pairs
};

/// The q whose entry is nearest to `x`.
#[inline(always)]
fn index(x: f32) -> u8 {
    let mut index = 0;
    for pair in TABLE.windows(2) {
        index += u8::from(x > f32::midpoint(pair[0], pair[1]));
    }
    index
}

impl Coding<64> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 64]) {
        let d = self.d.get();
        for (values, q) in values.as_chunks_mut::<2>().0.iter_mut().zip(self.q) {
            *values = PAIRS[usize::from(q)].map(|value| d * value);
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 64]) -> Self {
        let magnitude = magnitude(values);
        let d = if magnitude.is_finite() { Half::nearest(magnitude) } else { Half::NAN };
        let inverse = inverse(d.get());
        let mut q = [0; 32];
        for (q, values) in q.iter_mut().zip(values.as_chunks::<2>().0) {
            let [low, high] = values.map(|value| index(value * inverse));
            *q = low | high << 4;
        }
        Self { d, q }
    }
}

impl Integers<64> for Block {
    const FORM: Form = Form { blocks: 2, order: Order::Alternating, zero: 128, wide: true, fine: true, ..Form::HALVES };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let [even, odd] = byte_halves::<D>(D::halves([&blocks[0].q, &blocks[1].q]));
        [D::look_up(&COARSE, even), D::look_up(&COARSE, odd), D::look_up(&FINE, even), D::look_up(&FINE, odd)]
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        let [a, b] = [blocks[0].d, blocks[1].d];
        [D::mul(four_halves::<D>([a, a, b, b]), D::splat(1.0 / 32767.0)), D::splat(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, encoded};

    #[test]
    fn decodes() {
        let mut block = [0; 34];
        block[0..3].copy_from_slice(&[0, 0x40, 0x70]);
        block[33] = 0xf8;
        check("nf4", &block, &[(0, -2.0), (1, 0.0), (2, -2.0), (62, 0.159_160_6), (63, 2.0)]);
    }

    #[test]
    fn encodes() {
        let mut values = [0.0; 64];
        (values[0], values[1], values[63]) = (-0.5, 0.29, 0.11);
        let mut block = [0x77; 34];
        block[..3].copy_from_slice(&[0x00, 0x38, 0xd0]);
        block[33] = 0xa7;
        assert_eq!(encoded("nf4", &values), block);
    }
}
