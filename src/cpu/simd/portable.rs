//! Eight lanes in plain Rust, which the compiler turns into whatever vectors the target always has.
#![expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason is that of every block: the caller's promise")]

use half::{bf16, f16};

use super::{Routine, Simd};

/// An array of eight, made one by one: unlike `std::array::from_fn`, this is always inlined, and so becomes vectors.
#[inline(always)]
fn each<T: Copy + Default>(make: impl Fn(usize) -> T) -> [T; 8] {
    let mut all = [T::default(); 8];
    for (i, one) in all.iter_mut().enumerate() {
        *one = make(i);
    }
    all
}

/// Whether rounding to a whole number is an instruction and not a library call.
const ROUNDS: bool = cfg!(target_arch = "aarch64");

/// `FUSED`: multiply and add in one rounding, for targets where that is an instruction and not a library call.
#[derive(Clone, Copy)]
pub(super) struct F32x8<const FUSED: bool>([f32; 8]);

impl<const FUSED: bool> F32x8<FUSED> {
    #[inline(always)]
    fn map(self, operation: impl Fn(f32) -> f32) -> Self {
        Self(each(|i| operation(self.0[i])))
    }
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        Self(each(|i| operation(self.0[i], other.0[i])))
    }
    #[inline(always)]
    fn compare(self, other: Self, operation: impl Fn(f32, f32) -> bool) -> [u32; 8] {
        each(|i| u32::from(operation(self.0[i], other.0[i])).wrapping_neg())
    }
}

/// A routine for so many lanes.
///
/// # Safety
/// What the routine asks for.
pub(super) unsafe extern "C" fn routine<R: Routine, const LANES: usize>(at: *mut u8) {
    /// Compiled once for all numbers of lanes.
    #[inline(never)]
    unsafe extern "C" fn run<R: Routine>(at: *mut u8, lanes: usize) {
        unsafe { R::run::<F32x8<{ cfg!(target_arch = "aarch64") }>>(at, lanes) }
    }
    unsafe { run::<R>(at, LANES) }
}

impl<const FUSED: bool> Simd for F32x8<FUSED> {
    const LANES: usize = 8;
    const FUSED: bool = FUSED;
    /// All ones or all zeros, as vector instructions have it.
    type Mask = [u32; 8];

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
        Self(f16_to_f32(unsafe { from.cast::<[u16; 8]>().read_unaligned() }))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        let bits = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        Self(each(|i| f32::from_bits(u32::from(bits[i]) << 16)))
    }
    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        unsafe { to.cast::<[u16; 8]>().write_unaligned(f32_to_f16(self.0)) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        let bits: [u16; 8] = each(|i| f32_to_bf16(self.0[i]));
        unsafe { to.cast::<[u16; 8]>().write_unaligned(bits) }
    }

    #[inline(always)]
    unsafe fn store_mask(mask: Self::Mask, to: *mut u8) {
        let bytes: [u8; 8] = each(|i| (mask[i] & 1) as u8);
        unsafe { to.cast::<[u8; 8]>().write_unaligned(bytes) }
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
        Self(each(
            |i| {
                if FUSED { self.0[i].mul_add(factor.0[i], term.0[i]) } else { self.0[i] * factor.0[i] + term.0[i] }
            },
        ))
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
        self.map(|a| -a)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.map(f32::abs)
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        self.zip(sign, f32::copysign)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }
    #[inline(always)]
    fn floor(self) -> Self {
        if ROUNDS {
            return self.map(f32::floor);
        }
        let near = self.round();
        near.sub(Self::select(self.less(near), Self::splat(1.0), Self::splat(0.0))).copysign(self)
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        self.neg().floor().neg()
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        self.abs().floor().copysign(self)
    }
    #[inline(always)]
    fn round(self) -> Self {
        if ROUNDS {
            return self.map(f32::round_ties_even);
        }
        // From here on there are only whole numbers, and below it the sum is rounded to one.
        let whole = Self::splat(8_388_608.0);
        let near = self.abs().add(whole).sub(whole).copysign(self);
        Self::select(self.abs().less(whole), near, self)
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        self.compare(other, |a, b| a < b)
    }
    #[inline(always)]
    fn less_equal(self, other: Self) -> Self::Mask {
        self.compare(other, |a, b| a <= b)
    }
    #[inline(always)]
    fn equal(self, other: Self) -> Self::Mask {
        self.compare(other, |a, b| a == b)
    }
    #[inline(always)]
    fn is_nan(self) -> Self::Mask {
        self.compare(self, |a, _| a.is_nan())
    }
    #[inline(always)]
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        each(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        each(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn xor(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        each(|i| a[i] ^ b[i])
    }
    #[inline(always)]
    fn not(mask: Self::Mask) -> Self::Mask {
        each(|i| !mask[i])
    }
    #[inline(always)]
    fn any(mask: Self::Mask) -> bool {
        mask.iter().fold(0, |all, one| all | one) != 0
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(each(|i| f32::from_bits((yes.0[i].to_bits() & mask[i]) | (no.0[i].to_bits() & !mask[i]))))
    }
    #[inline(always)]
    fn scale(self, exponent: Self) -> Self {
        // Two factors: 2^exponent by itself may lie outside the range. The first product is exact. A whole number is in
        // the low bits of its sum with 1.5·2^23; a conversion would check for NaN.
        self.zip(exponent, |a, exponent| {
            let whole = (exponent + 12_582_912.0).to_bits().wrapping_sub(12_582_912.0_f32.to_bits()) as i32;
            let half = whole >> 1;
            a * power_of_two(half) * power_of_two(whole - half)
        })
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        let subnormal = self.less(Self::splat(f32::MIN_POSITIVE));
        let normal = Self::select(subnormal, self.mul(Self::splat(16_777_216.0)), self);
        let e: [i32; 8] = each(|i| (normal.0[i].to_bits() as i32).wrapping_sub(0.75_f32.to_bits() as i32) >> 23);
        let m = Self(each(|i| f32::from_bits(normal.0[i].to_bits().wrapping_sub((e[i] << 23) as u32))));
        let less = Self::select(subnormal, Self::splat(24.0), Self::splat(0.0));
        (m, Self(each(|i| e[i] as f32)).sub(less))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        let mut largest = self.0[0];
        for value in self.0 {
            largest = if largest >= value || largest.is_nan() { largest } else { value };
        }
        largest
    }
    #[inline(always)]
    fn smallest(self) -> f32 {
        -self.neg().largest()
    }
}

/// 2^exponent, for exponents of normal numbers.
#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// `yes` if the condition holds, as arithmetic: a branch would keep the compiler from doing several at once.
#[inline(always)]
fn choose(condition: bool, yes: u32, no: u32) -> u32 {
    let mask = u32::from(condition).wrapping_neg();
    (yes & mask) | (no & !mask)
}

/// The compiler has no name for these instructions, which every 64-bit ARM has.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn f16_to_f32(bits: [u16; 8]) -> [f32; 8] {
    use std::arch::aarch64::{float32x4_t, uint16x8_t};
    let (low, high): (float32x4_t, float32x4_t);
    unsafe {
        let bits: uint16x8_t = std::mem::transmute(bits);
        std::arch::asm!(
            "fcvtl {low:v}.4s, {bits:v}.4h",
            "fcvtl2 {high:v}.4s, {bits:v}.8h",
            low = out(vreg) low, high = lateout(vreg) high, bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags),
        );
        std::mem::transmute([low, high])
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn f32_to_f16(values: [f32; 8]) -> [u16; 8] {
    use std::arch::aarch64::{float32x4_t, uint16x8_t};
    let bits: uint16x8_t;
    unsafe {
        let [low, high]: [float32x4_t; 2] = std::mem::transmute(values);
        std::arch::asm!(
            "fcvtn {bits:v}.4h, {low:v}.4s",
            "fcvtn2 {bits:v}.8h, {high:v}.4s",
            bits = out(vreg) bits, low = in(vreg) low, high = in(vreg) high,
            options(pure, nomem, nostack, preserves_flags),
        );
        std::mem::transmute(bits)
    }
}

#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
fn f16_to_f32(bits: [u16; 8]) -> [f32; 8] {
    each(|i| one_f16_to_f32(bits[i]))
}

#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
fn f32_to_f16(values: [f32; 8]) -> [u16; 8] {
    each(|i| one_f32_to_f16(values[i]))
}

/// The exponent is rebiased, and a subtraction normalises what was subnormal.
#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
fn one_f16_to_f32(bits: u16) -> f32 {
    const EXPONENT: u32 = 0x7c00 << 13;
    let shifted = (u32::from(bits) & 0x7fff) << 13;
    let rebiased = shifted + ((127 - 15) << 23);
    let special = rebiased + ((128 - 16) << 23);
    let subnormal = (f32::from_bits(rebiased + (1 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let normal = choose(shifted & EXPONENT == EXPONENT, special, rebiased);
    let magnitude = choose(shifted & EXPONENT == 0, subnormal, normal);
    f32::from_bits(magnitude | (u32::from(bits) & 0x8000) << 16)
}

/// Rounds to the nearest, ties to even; overflows to infinity.
#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
fn one_f32_to_f16(value: f32) -> u16 {
    const INFINITY: u32 = 255 << 23;
    const TOO_LARGE: u32 = (127 + 16) << 23;
    const SMALLEST_NORMAL: u32 = 113 << 23;
    // Adding this leaves a subnormal result in the low bits, rounded by the adder.
    const ALIGN: u32 = ((127 - 15) + (23 - 10) + 1) << 23;
    let sign = value.to_bits() & 0x8000_0000;
    let bits = value.to_bits() ^ sign;
    let special = choose(bits > INFINITY, 0x7e00, 0x7c00);
    let subnormal = (f32::from_bits(bits) + f32::from_bits(ALIGN)).to_bits().wrapping_sub(ALIGN);
    let odd = (bits >> 13) & 1;
    let normal = bits.wrapping_sub((127 - 15) << 23).wrapping_add(0xfff + odd) >> 13;
    let finite = choose(bits < SMALLEST_NORMAL, subnormal, normal);
    (choose(bits >= TOO_LARGE, special, finite) | sign >> 16) as u16
}

/// Rounds to the nearest, ties to even; NaN stays NaN.
#[inline(always)]
fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let quiet = bits | 0x0040_0000;
    (choose(value.is_nan(), quiet, rounded) >> 16) as u16
}
