//! Arrays in plain Rust, which the compiler turns into whatever vectors the target always has.
#![expect(unsafe_code, reason = "vectors are loaded from pointers")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason is that of every block: the caller's promise")]

use half::f16;

#[cfg(target_arch = "aarch64")]
use super::DotKernel;
use super::{BYTES, Dots, LANES};

/// Runs a kernel compiled for the dot products of ARM.
///
/// # Safety
/// The machine has the feature named.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "dotprod")]
pub(super) unsafe fn run_dotprod<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run::<Arrays<true, true>>()
}

/// `FUSED`: multiply and add in one rounding, for targets where that is an instruction and not a library call.
/// `DOTPROD`: the machine is an ARM that has products of bytes; only `run_dotprod` hands that out.
pub(super) struct Arrays<const FUSED: bool, const DOTPROD: bool>;

/// An array made one by one: unlike `std::array::from_fn`, this is always inlined, and so becomes vectors.
#[inline(always)]
fn each<T: Copy + Default, const N: usize>(make: impl Fn(usize) -> T) -> [T; N] {
    let mut all = [T::default(); N];
    for (i, one) in all.iter_mut().enumerate() {
        *one = make(i);
    }
    all
}

impl<const FUSED: bool, const DOTPROD: bool> Dots for Arrays<FUSED, DOTPROD> {
    type Bytes = [u8; BYTES];
    type Sums = [i32; LANES];
    type Floats = [f32; LANES];

    #[inline(always)]
    fn bytes(value: u8) -> Self::Bytes {
        [value; BYTES]
    }
    #[inline(always)]
    fn load(from: &[u8; 64]) -> Self::Bytes {
        *from
    }
    #[inline(always)]
    fn twice(from: &[u8; 32]) -> Self::Bytes {
        each(|i| from[i % 32])
    }
    #[inline(always)]
    fn halves(from: [&[u8; 32]; 2]) -> Self::Bytes {
        each(|i| from[i / 32][i % 32])
    }
    #[inline(always)]
    fn quarters(from: [&[u8; 16]; 4]) -> Self::Bytes {
        each(|i| from[i / 16][i % 16])
    }
    #[inline(always)]
    fn where_set(bits: u64, value: u8) -> Self::Bytes {
        let bytes = bits.to_le_bytes();
        each(|i| if bytes[i / 8] & 1 << (i % 8) == 0 { 0 } else { value })
    }
    #[inline(always)]
    fn and(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        each(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        each(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        each(|i| a[i] ^ b[i])
    }
    #[inline(always)]
    fn thirds(a: Self::Bytes, by: &[u16; 32]) -> Self::Bytes {
        each(|i| ((u16::from(a[i].wrapping_mul(by[i / 2] as u8)) * 3) >> 8) as u8)
    }
    #[inline(always)]
    fn shift(a: Self::Bytes, right: [i32; 2]) -> Self::Bytes {
        each(|i| {
            let right = right[i / 32];
            if right < 0 { a[i] << -right } else { a[i] >> right }
        })
    }
    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes {
        each(|i| table[usize::from(indices[i] & 15)])
    }

    #[inline(always)]
    fn no_sums() -> Self::Sums {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn load_sums(from: *const u8) -> Self::Sums {
        unsafe { from.cast::<Self::Sums>().read_unaligned() }
    }
    #[inline(always)]
    fn store_sums(sums: Self::Sums) -> [i32; 16] {
        sums
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, bytes: Self::Bytes, x: *const u8, wide: bool) -> Self::Sums {
        #[cfg(target_arch = "aarch64")]
        if DOTPROD {
            return unsafe { dotprod(sums, bytes, x, wide) };
        }
        let _ = wide;
        let x = unsafe { x.cast::<[i8; BYTES]>().read() };
        each(|lane| {
            let mut sum = sums[lane];
            for i in 4 * lane..4 * lane + 4 {
                sum += i32::from(i16::from(bytes[i]) * i16::from(x[i]));
            }
            sum
        })
    }
    #[inline(always)]
    fn times_256(sums: Self::Sums) -> Self::Sums {
        each(|i| sums[i] << 8)
    }

    #[inline(always)]
    fn convert(sums: Self::Sums) -> Self::Floats {
        each(|i| sums[i] as f32)
    }
    #[inline(always)]
    fn quarter(bytes: Self::Bytes, quarter: usize) -> Self::Floats {
        each(|i| f32::from(bytes[16 * quarter + i]))
    }
    #[inline(always)]
    fn splat(value: f32) -> Self::Floats {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load_floats(from: *const u8, count: usize) -> Self::Floats {
        each(|i| if i < count { f32::from_ne_bytes(unsafe { from.add(4 * i).cast::<[u8; 4]>().read() }) } else { 0.0 })
    }
    #[inline(always)]
    fn splat_half(bits: u16) -> Self::Floats {
        Self::splat(f16::from_bits(bits).to_f32_const())
    }
    #[inline(always)]
    fn four_halves(bits: [u16; 4]) -> Self::Floats {
        each(|i| if i < 4 { f16::from_bits(bits[i]).to_f32_const() } else { 0.0 })
    }
    #[inline(always)]
    fn four(numbers: [f32; 4]) -> Self::Floats {
        each(|i| if i < 4 { numbers[i] } else { 0.0 })
    }
    #[inline(always)]
    fn eight(numbers: [u8; 8]) -> Self::Floats {
        each(|i| if i < 8 { f32::from(numbers[i]) } else { 0.0 })
    }
    #[inline(always)]
    fn sixteen(numbers: [u8; 16]) -> Self::Floats {
        each(|i| f32::from(numbers[i]))
    }
    #[inline(always)]
    fn sixteen_signed(numbers: [i8; 16]) -> Self::Floats {
        each(|i| f32::from(numbers[i]))
    }
    #[inline(always)]
    fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        each(|i| if FUSED { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] })
    }
    #[inline(always)]
    fn spread(a: Self::Floats, first: usize, each: usize) -> Self::Floats {
        self::each(|i| a[first + i / each])
    }
    #[inline(always)]
    fn total(a: Self::Floats) -> f32 {
        let eight: [f32; 8] = each(|i| a[i] + a[i + 8]);
        let four: [f32; 4] = each(|i| eight[i] + eight[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
}

/// # Safety
/// The machine has the instruction, and what [`Dots::dot`] asks for.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn dotprod(sums: [i32; LANES], bytes: [u8; BYTES], x: *const u8, wide: bool) -> [i32; LANES] {
    use std::arch::aarch64::{
        int8x16_t, int32x4_t, vdupq_n_s8, veorq_s8, vld1q_s8, vld1q_s32, vld1q_u8, vreinterpretq_s8_u8, vst1q_s32,
    };
    use std::arch::asm;

    /// The intrinsic is younger than the compiler that we ask for.
    #[inline(always)]
    unsafe fn add_products(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
                sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }

    let mut results = [0; LANES];
    unsafe {
        for quarter in 0..4 {
            let mut sum = vld1q_s32(sums.as_ptr().add(4 * quarter));
            let mut w = vreinterpretq_s8_u8(vld1q_u8(bytes.as_ptr().add(16 * quarter)));
            let x = vld1q_s8(x.add(16 * quarter).cast());
            if wide {
                // Bytes less 128 are signed; what they lack is added in two halves.
                w = veorq_s8(w, vdupq_n_s8(-128));
                sum = add_products(sum, vdupq_n_s8(64), x);
                sum = add_products(sum, vdupq_n_s8(64), x);
            }
            vst1q_s32(results.as_mut_ptr().add(4 * quarter), add_products(sum, w, x));
        }
    }
    results
}
