//! IQ4_NL: 32 elements in 18 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..18 | q: of element i in the lower half of byte i, of element 16 + i in the upper |
//!
//! x = d · table[q]

use bytemuck::{Pod, Zeroable};

use super::bytes::{Half, byte_halves, four_halves, join, look_up, pairs, scale, unsigned};
use super::product::Form;
use super::search::{Levels, fit_scale, inverse, is_moderate};
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    q: [u8; 16],
}

/// What q stand for: close to each other around zero, where most weights are.
const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The same without signs.
pub(super) static BYTES: [u8; 16] = unsigned(TABLE, 127);

pub(super) static PAIRS: [[i8; 2]; 256] = pairs(TABLE);

#[derive(Clone, Copy)]
pub(super) struct Table;

impl Table {
    /// The q whose entry is nearest to `x`.
    #[inline(always)]
    pub(super) fn index(x: f32) -> u8 {
        let mut index = 0;
        for pair in TABLE.windows(2) {
            index += u8::from(x > f32::midpoint(f32::from(pair[0]), f32::from(pair[1])));
        }
        index
    }
}

impl Levels for Table {
    const PEAKS: &'static [f32] = &[
        -154.0, -148.0, -142.0, -136.0, -130.0, -127.0, -124.0, -118.0, -112.0, -108.0, -104.0, -100.0, 95.0, 101.0,
        107.0, 113.0, 119.0, 125.0, 131.0,
    ];

    #[inline(always)]
    fn nearest(self, x: f32) -> f32 {
        let mut level = f32::from(TABLE[0]);
        for pair in TABLE.windows(2) {
            let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
            level += if x > f32::midpoint(low, high) { high - low } else { 0.0 };
        }
        level
    }
}

impl Coding<32> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        for (q, values) in look_up(&PAIRS, &self.q).iter().zip(values.as_chunks_mut::<16>().0) {
            scale(q, self.d.get(), values);
        }
    }

    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        if !is_moderate(values) {
            return Self { d: Half::NAN, q: [0; 16] };
        }
        let d = Half::nearest(fit_scale(values, Table));
        let inverse = inverse(d.get());
        let q = values.map(|value| Table::index(value * inverse));
        Self { d, q: join(&q[..16], &q[16..]) }
    }
}

impl Integers<32> for Block {
    const FORM: Form = Form { blocks: 4, zero: 127, wide: true, ..Form::HALVES };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let [low, high] = byte_halves::<D>(D::quarters([&blocks[0].q, &blocks[1].q, &blocks[2].q, &blocks[3].q]));
        [D::look_up(&BYTES, low), D::look_up(&BYTES, high), D::bytes(0), D::bytes(0)]
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        [four_halves::<D>([blocks[0].d, blocks[1].d, blocks[2].d, blocks[3].d]), D::splat(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn decodes() {
        let mut block = [0; 18];
        block[0..3].copy_from_slice(&[0, 0x40, 0xf0]);
        block[17] = 0x87;
        check("iq4_nl", &block, &[(0, -254.0), (1, -254.0), (16, 226.0), (15, -20.0), (31, 2.0)]);
    }
}
