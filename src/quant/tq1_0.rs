//! TQ1_0: 256 elements of −1, 0 and 1 in 54 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..32 | five q each: of elements 32j + i for j < 5 in byte i |
//! | 32..48 | five q each: of elements 160 + 16j + i for j < 5 in byte 32 + i |
//! | 48..52 | four q each: of elements 240 + 4j + i for j < 4 in byte 48 + i |
//! | 52..54 | float16 d |
//!
//! x = d · (q − 1). A byte has its q as digits of a fraction: byte / 256 is, rounded up, 0.q₀q₁q₂q₃q₄ to the base of 3.
//! Multiplied by 3^j without what overflows, and by 3 with it, it shows digit j.

use bytemuck::{Pod, Zeroable};

use super::Coding;
use super::bytes::{Half, scale};
use super::search::by_magnitude;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    fives: [u8; 32],
    more_fives: [u8; 16],
    fours: [u8; 4],
    d: Half,
}

/// Decodes elements of which so many bytes have a digit each, one digit behind the other.
#[inline(always)]
fn unpack<const N: usize>(bytes: &[u8; N], d: f32, values: &mut [f32]) {
    let mut bytes = *bytes;
    for values in values.chunks_exact_mut(N) {
        let mut q = [0; N];
        for (q, byte) in q.iter_mut().zip(&mut bytes) {
            *q = (u16::from(*byte) * 3 >> 8) as i8 - 1;
            *byte = byte.wrapping_mul(3);
        }
        scale(&q, d, values);
    }
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
        unpack(&self.fives, d, &mut values[..160]);
        unpack(&self.more_fives, d, &mut values[160..240]);
        unpack(&self.fours, d, &mut values[240..]);
    }

    #[inline(always)]
    fn encode(values: &[f32; 256]) -> Self {
        let (d, q) = by_magnitude(values, 1);
        Self { fives: pack(&q[..160]), more_fives: pack(&q[160..240]), fours: pack(&q[240..]), d }
    }
}
