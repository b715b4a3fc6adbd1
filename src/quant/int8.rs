//! int8: 128 elements in 132 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | float16 minimum |
//! | 2..4 | float16 maximum |
//! | 4..132 | a uint8 q for each element |
//!
//! x = minimum + q · ((maximum − minimum) / 255)

use bytemuck::{Pod, Zeroable, cast_ref};

use super::bytes::{Half, scale_and_add};
use super::product::Form;
use super::search::{inverse, largest, magnitude, nearest_within, smallest};
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    minimum: Half,
    maximum: Half,
    q: [u8; 128],
}

impl Block {
    #[inline(always)]
    fn step(&self) -> f32 {
        (self.maximum.get() - self.minimum.get()) / 255.0
    }
}

impl Coding<128> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 128]) {
        scale_and_add(&self.q, self.step(), self.minimum.get(), values);
    }

    /// Both ends are rounded outwards, so that every value lies between them: they may be much closer to each other
    /// than neighbouring float16 are.
    #[inline(always)]
    fn encode(values: &[f32; 128]) -> Self {
        if !magnitude(values).is_finite() {
            return Self { minimum: Half::NAN, maximum: Half::NAN, q: [0; 128] };
        }
        let (minimum, maximum) = (Half::below(smallest(values)), Half::above(largest(values)));
        let mut block = Self { minimum, maximum, q: [0; 128] };
        let (minimum, inverse) = (minimum.get(), inverse(block.step()));
        for (q, value) in block.q.iter_mut().zip(values) {
            *q = nearest_within((value - minimum) * inverse, 0.0, 255.0) as u8;
        }
        block
    }
}

impl Integers<128> for Block {
    const FORM: Form = Form { wide: true, minima: true, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let q: &[[u8; 64]; 2] = cast_ref(&blocks[0].q);
        [D::load(&q[0]), D::load(&q[1]), D::bytes(0), D::bytes(0)]
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        [D::splat(blocks[0].step()), D::splat_half(blocks[0].minimum.bits())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, encoded};

    #[test]
    fn decodes() {
        let mut block = [0; 132];
        block[0..6].copy_from_slice(&[0, 0xbc, 0xf0, 0x5b, 0, 0xff]);
        block[131] = 3;
        check("int8", &block, &[(0, -1.0), (1, 254.0), (2, -1.0), (127, 2.0)]);
    }

    /// Float16 has no numbers between 1000 and 1000.5.
    #[test]
    fn keeps_what_lies_between_two_ends() {
        let mut block = [153; 132];
        block[..4].copy_from_slice(&[0xd0, 0x63, 0xd1, 0x63]);
        assert_eq!(encoded("int8", &[1000.3; 128]), block);
    }
}
