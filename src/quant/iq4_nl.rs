//! IQ4_NL: 32 elements in 18 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 d |
//! | 2..18 | q: of element i in the lower half of byte i, of element 16 + i in the upper |
//!
//! x = d · table[q]

use bytemuck::{Pod, Zeroable};

use super::Coding;
use super::bytes::{Half, join, look_up, pairs, scale};
use super::search::{Levels, fit_scale, inverse, is_moderate};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: Half,
    q: [u8; 16],
}

/// What q stand for: close to each other around zero, where most weights are.
const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

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
