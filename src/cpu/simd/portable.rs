//! Eight lanes in plain Rust, which the compiler turns into whatever vectors the target always has.
#![expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason is that of every block: the caller's promise")]

use std::array::from_fn;

use half::{bf16, f16};

use super::Simd;

/// `FUSED`: multiply and add in one rounding, for targets where that is an instruction and not a library call.
#[derive(Clone, Copy)]
pub(super) struct F32x8<const FUSED: bool>([f32; 8]);

impl<const FUSED: bool> F32x8<FUSED> {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        Self(from_fn(|i| operation(self.0[i], other.0[i])))
    }
}

impl<const FUSED: bool> Simd for F32x8<FUSED> {
    const LANES: usize = 8;
    type Mask = [bool; 8];

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load_f32(from: *const f32) -> Self {
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        let bits = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        Self(from_fn(|i| f16_to_f32(bits[i])))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        let bits = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        Self(from_fn(|i| f32::from_bits(u32::from(bits[i]) << 16)))
    }
    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        let bits: [u16; 8] = from_fn(|i| f32_to_f16(self.0[i]));
        unsafe { to.cast::<[u16; 8]>().write_unaligned(bits) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        let bits: [u16; 8] = from_fn(|i| f32_to_bf16(self.0[i]));
        unsafe { to.cast::<[u16; 8]>().write_unaligned(bits) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, factor: Self, term: Self) -> Self {
        Self(from_fn(|i| {
            if FUSED { self.0[i].mul_add(factor.0[i], term.0[i]) } else { self.0[i] * factor.0[i] + term.0[i] }
        }))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0.map(|a| -a))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        from_fn(|i| self.0[i] < other.0[i])
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(from_fn(|i| if mask[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    fn scale(self, exponent: Self) -> Self {
        // Two factors: 2^exponent by itself may lie outside the range. The first product is exact.
        self.zip(exponent, |a, exponent| {
            let whole = exponent as i32;
            let half = whole >> 1;
            a * power_of_two(half) * power_of_two(whole - half)
        })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

/// 2^exponent, for exponents of normal numbers.
#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// Without branches, so that the compiler can do several at once. The arithmetic is on bit patterns: rebias the
/// exponent, and let a subtraction normalise what was subnormal.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    const EXPONENT: u32 = 0x7c00 << 13;
    let shifted = (u32::from(bits) & 0x7fff) << 13;
    let rebiased = shifted + ((127 - 15) << 23);
    let special = rebiased + ((128 - 16) << 23);
    let subnormal = (f32::from_bits(rebiased + (1 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let magnitude = match shifted & EXPONENT {
        EXPONENT => special,
        0 => subnormal,
        _ => rebiased,
    };
    f32::from_bits(magnitude | (u32::from(bits) & 0x8000) << 16)
}

/// Rounds to the nearest, ties to even; overflows to infinity.
#[inline(always)]
pub(crate) fn f32_to_f16(value: f32) -> u16 {
    const INFINITY: u32 = 255 << 23;
    const TOO_LARGE: u32 = (127 + 16) << 23;
    const SMALLEST_NORMAL: u32 = 113 << 23;
    // Adding this leaves a subnormal result in the low bits, rounded by the adder.
    const ALIGN: u32 = ((127 - 15) + (23 - 10) + 1) << 23;
    let sign = value.to_bits() & 0x8000_0000;
    let bits = value.to_bits() ^ sign;
    let special = if bits > INFINITY { 0x7e00 } else { 0x7c00 };
    let subnormal = (f32::from_bits(bits) + f32::from_bits(ALIGN)).to_bits().wrapping_sub(ALIGN);
    let odd = (bits >> 13) & 1;
    let normal = bits.wrapping_sub((127 - 15) << 23).wrapping_add(0xfff + odd) >> 13;
    let magnitude = if bits >= TOO_LARGE {
        special
    } else if bits < SMALLEST_NORMAL {
        subnormal
    } else {
        normal
    };
    (magnitude | sign >> 16) as u16
}

/// Rounds to the nearest, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let quiet = bits | 0x0040_0000;
    ((if value.is_nan() { quiet } else { rounded }) >> 16) as u16
}
