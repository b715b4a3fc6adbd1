//! MXFP4: 32 elements in 17 bytes, by the specification of OCP's microscaling formats.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | e: an exponent |
//! | 1..17 | q: of element i in the lower half of byte 1 + i, of element 16 + i in the upper |
//!
//! x = 2^(e − 128) · table[q]: q are numbers of one sign bit, two of exponent and one of mantissa, here doubled. There
//! is no negative zero, and no NaN among exponents either.

use bytemuck::{Pod, Zeroable};

use super::bytes::{byte_halves, join, look_up, pairs, scale, unsigned};
use super::product::Form;
use super::search::fold;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    e: u8,
    q: [u8; 16],
}

/// What q stand for, doubled.
const TABLE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The same without signs.
static BYTES: [u8; 16] = unsigned(TABLE, 12);

static PAIRS: [[i8; 2]; 256] = pairs(TABLE);

/// 2^(e − 128), of which the first two are subnormal.
#[inline(always)]
fn power(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 })
}

/// The same, or infinity where the largest numbers become infinite.
#[inline(always)]
fn scale_of(e: u8) -> f32 {
    if e > 252 { f32::INFINITY } else { power(e) }
}

/// The number nearest to `x`, ties to zero. NaN becomes zero.
#[inline(always)]
fn index(x: f32) -> u8 {
    let mut index = 0;
    for pair in TABLE[..8].windows(2) {
        index += u8::from(x.abs() > f32::midpoint(f32::from(pair[0]), f32::from(pair[1])));
    }
    if x < 0.0 && index > 0 { index + 8 } else { index }
}

impl Coding<32> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        for (q, values) in look_up(&PAIRS, &self.q).iter().zip(values.as_chunks_mut::<16>().0) {
            scale(q, power(self.e), values);
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let magnitude = fold::<32>(0.0, |i| values[i].abs(), f32::max);
        // The largest number, 6, has an exponent of 2. The logarithm is rounded, as everybody's is: right below a power
        // of two it is that of the power.
        let e = (f64::from(magnitude).log2() as f32).floor() + 125.0;
        let e = if magnitude > 0.0 { e as u8 } else { 0 };
        let power = power(e);
        let q = values.map(|value| index(value / power));
        Self { e, q: join(&q[..16], &q[16..]) }
    }
}

impl Integers<32> for Block {
    const FORM: Form = Form { blocks: 4, zero: 12, ..Form::HALVES };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let [low, high] = byte_halves::<D>(D::quarters([&blocks[0].q, &blocks[1].q, &blocks[2].q, &blocks[3].q]));
        [D::look_up(&BYTES, low), D::look_up(&BYTES, high), D::bytes(0), D::bytes(0)]
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        [
            D::four([scale_of(blocks[0].e), scale_of(blocks[1].e), scale_of(blocks[2].e), scale_of(blocks[3].e)]),
            D::splat(0.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, encoded};

    #[test]
    fn decodes() {
        let mut block = [0; 17];
        block[0..2].copy_from_slice(&[0x80, 0x9f]);
        block[16] = 0x72;
        check("mxfp4", &block, &[(0, -12.0), (16, -1.0), (15, 2.0), (31, 12.0), (1, 0.0)]);

        // The smallest exponents give subnormal numbers.
        block[..2].copy_from_slice(&[0, 0x21]);
        check("mxfp4", &block, &[(0, f32::from_bits(0x0020_0000)), (16, f32::from_bits(0x0040_0000))]);
        block[0] = 1;
        check("mxfp4", &block, &[(0, f32::from_bits(0x0040_0000)), (16, f32::from_bits(0x0080_0000))]);
    }

    #[test]
    fn encodes() {
        let mut values = [0.0; 32];
        // The second is halfway between two numbers.
        (values[0], values[1], values[2], values[31]) = (6.0, -0.25, -0.26, 1.0);
        let mut block = [0; 17];
        block[..4].copy_from_slice(&[127, 0x07, 0x00, 0x09]);
        block[16] = 0x20;
        assert_eq!(encoded("mxfp4", &values), block);
    }
}
