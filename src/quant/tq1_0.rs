//! TQ1_0: 256 elements of −1, 0 and 1 in 54 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..32 | five q each: of elements 32j + i for j < 5 in byte i |
//! | 32..48 | five q each: of elements 160 + 16j + i for j < 5 in byte 32 + i |
//! | 48..52 | four q each: of elements 240 + 4j + i for j < 4 in byte 48 + i |
//! | 52..54 | float16 d |
//!
//! x = d · (q − 1). The q of a byte are digits of a fraction to the base of 3: of byte / 256, which is rounded up to
//! the next multiple of 1 / 256. Multiplied by 3 it shows the first one in what overflows, and has the others left.

use bytemuck::{Pod, Zeroable, cast, cast_ref};

use super::bytes::{Half, scale};
use super::product::Form;
use super::search::by_magnitude;
use super::{Coding, Integers};
use crate::cpu::simd::dots::Dots;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    fives: [u8; 32],
    more_fives: [u8; 16],
    fours: [u8; 4],
    d: Half,
}

/// What brings the digits of two elements to the front of their bytes.
static POWERS: [[u16; 32]; 4] = {
    let mut powers = [[0; 32]; 4];
    let mut element = 0;
    while element < 256 {
        let digit = match element {
            ..160 => element / 32,
            160..240 => (element - 160) / 16,
            _ => (element - 240) / 4,
        };
        powers[element / 64][element % 64 / 2] = 3u16.pow(digit as u32);
        element += 2;
    }
    powers
};

/// Takes a digit off each byte.
#[inline(always)]
fn take<const N: usize>(bytes: &mut [u8; N]) -> [i8; N] {
    let mut q = [0; N];
    for (q, byte) in q.iter_mut().zip(bytes) {
        *q = ((u16::from(*byte) * 3) >> 8) as i8 - 1;
        *byte = byte.wrapping_mul(3);
    }
    q
}

/// The way back, for levels of −1, 0 and 1.
#[inline(always)]
fn pack<const N: usize>(levels: &[i8]) -> [u8; N] {
    let mut numbers = [0u16; N];
    for digit in 0..5 {
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = *number * 3 + levels.get(digit * N + i).map_or(0, |&level| (level + 1).cast_unsigned().into());
        }
    }
    let mut bytes = [0; N];
    for (byte, number) in bytes.iter_mut().zip(numbers) {
        *byte = (number * 256).div_ceil(243) as u8;
    }
    bytes
}

impl Coding<256> for Block {
    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let d = self.d.get();
        let Self { mut fives, mut more_fives, mut fours, .. } = *self;
        let (first, rest) = values.split_at_mut(160);
        for values in first.as_chunks_mut::<32>().0 {
            scale(&take(&mut fives), d, values);
        }
        let (middle, last) = rest.split_at_mut(80);
        for values in middle.as_chunks_mut::<16>().0 {
            scale(&take(&mut more_fives), d, values);
        }
        let digits: [[i8; 4]; 4] = [(); 4].map(|()| take(&mut fours));
        scale(digits.as_flattened(), d, last);
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let (d, q) = by_magnitude(values, 1);
        Self { fives: pack(&q[..160]), more_fives: pack(&q[160..240]), fours: pack(&q[240..]), d }
    }
}

impl Integers<256> for Block {
    const FORM: Form = Form { planes: 4, zero: 1, ..Form::NATURAL };

    #[inline(always)]
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4] {
        let Self { fives, more_fives, fours, .. } = &blocks[0];
        let [first, second]: &[[u8; 16]; 2] = cast_ref(fives);
        let four_fours: [u8; 16] = cast([*fours; 4]);
        let digits = [
            (D::twice(fives), &POWERS[0]),
            (D::twice(fives), &POWERS[1]),
            (D::quarters([first, second, more_fives, more_fives]), &POWERS[2]),
            (D::quarters([more_fives, more_fives, more_fives, &four_fours]), &POWERS[3]),
        ];
        let mut q = [D::bytes(0); 4];
        for (q, (bytes, powers)) in q.iter_mut().zip(digits) {
            *q = D::thirds(bytes, powers);
        }
        q
    }

    #[inline(always)]
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2] {
        [D::splat_half(blocks[0].d.bits()), D::splat(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{decoded, encoded};

    #[test]
    fn decodes_and_encodes() {
        let mut block = [0; 54];
        // 178 is 20121 to the base of 3, and 178 · 256 / 243 is 187.5; 242 is 22222; 138 is 12010.
        (block[0], block[47], block[51]) = (188, 255, 146);
        block[52..].copy_from_slice(&[0x00, 0x38]);
        let mut values = [-0.5; 256];
        for i in [0, 96, 175, 191, 207, 223, 239, 247] {
            values[i] = 0.5;
        }
        for i in [64, 128, 243, 255] {
            values[i] = 0.0;
        }
        assert_eq!(decoded("tq1_0", &block), values);
        assert_eq!(encoded("tq1_0", &values), block);
    }
}
