//! Vectors of 512 bits, with the dot products of VNNI.
#![expect(unsafe_code, reason = "intrinsics need the features that `run` is entered with")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason, given at the type, is that of every block")]

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_cvtph_ps, _mm_loadl_epi64, _mm_loadu_ps, _mm_loadu_si128, _mm_set_epi16,
    _mm_set1_epi16, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_loadu_ps, _mm256_loadu_si256, _mm512_add_epi32,
    _mm512_add_ps, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_broadcast_i64x4, _mm512_broadcastss_ps,
    _mm512_castsi128_si512, _mm512_castsi256_si512, _mm512_castsi512_si128, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_dpbusd_epi32, _mm512_extracti32x4_epi32, _mm512_fmadd_ps, _mm512_inserti64x4,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_broadcast_i32x4, _mm512_maskz_set1_epi8, _mm512_mul_ps,
    _mm512_mulhi_epu16, _mm512_mullo_epi16, _mm512_or_si512, _mm512_permutexvar_ps, _mm512_reduce_add_ps,
    _mm512_rorv_epi64, _mm512_set_epi32, _mm512_set_epi64, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi16,
    _mm512_slli_epi32, _mm512_storeu_si512, _mm512_xor_si512, _mm512_zextps128_ps512, _mm512_zextps256_ps512,
};

use super::{DotKernel, Dots};

/// Runs a kernel compiled for AVX-512 with VNNI.
///
/// # Safety
/// The machine has the features named.
#[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")]
pub(super) unsafe fn run<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run::<Vnni>()
}

/// SAFETY of every block in this file: the type is private and only `run` hands it out, so the machine has the
/// features; pointers are what the callers of the functions of `Dots` promise, or references.
struct Vnni;

#[inline(always)]
fn sixteen_bytes(from: &[u8; 16]) -> __m128i {
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

impl Dots for Vnni {
    type Bytes = __m512i;
    type Sums = __m512i;
    type Floats = __m512;

    #[inline(always)]
    fn bytes(value: u8) -> __m512i {
        unsafe { _mm512_set1_epi8(value.cast_signed()) }
    }
    #[inline(always)]
    fn load(from: &[u8; 64]) -> __m512i {
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn twice(from: &[u8; 32]) -> __m512i {
        unsafe { _mm512_broadcast_i64x4(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn halves(from: [&[u8; 32]; 2]) -> __m512i {
        unsafe {
            let low = _mm512_castsi256_si512(_mm256_loadu_si256(from[0].as_ptr().cast()));
            _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(from[1].as_ptr().cast()))
        }
    }
    #[inline(always)]
    fn quarters(from: [&[u8; 16]; 4]) -> __m512i {
        // Broadcasts of which a part is kept need no shuffle.
        unsafe {
            let all = _mm512_castsi128_si512(sixteen_bytes(from[0]));
            let all = _mm512_mask_broadcast_i32x4(all, 0x00f0, sixteen_bytes(from[1]));
            let all = _mm512_mask_broadcast_i32x4(all, 0x0f00, sixteen_bytes(from[2]));
            _mm512_mask_broadcast_i32x4(all, 0xf000, sixteen_bytes(from[3]))
        }
    }
    #[inline(always)]
    fn where_set(bits: u64, value: u8) -> __m512i {
        unsafe { _mm512_maskz_set1_epi8(bits, value.cast_signed()) }
    }
    #[inline(always)]
    fn and(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn xor(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_xor_si512(a, b) }
    }
    #[inline(always)]
    fn thirds(a: __m512i, by: &[u16; 32]) -> __m512i {
        unsafe {
            let by = _mm512_loadu_si512(by.as_ptr().cast());
            let odd = _mm512_set1_epi16(0xff00_u16.cast_signed());
            // Both are multiplied in the upper halves of words.
            let upper = _mm512_mullo_epi16(_mm512_and_si512(a, odd), by);
            let lower = _mm512_mullo_epi16(a, _mm512_slli_epi16::<8>(by));
            let upper = _mm512_and_si512(_mm512_mulhi_epu16(upper, _mm512_set1_epi16(3 << 8)), odd);
            _mm512_or_si512(upper, _mm512_mulhi_epu16(lower, _mm512_set1_epi16(3)))
        }
    }
    #[inline(always)]
    fn shift(a: __m512i, right: [i32; 2]) -> __m512i {
        let [low, high] = right.map(|right| i64::from(right & 63));
        unsafe { _mm512_rorv_epi64(a, _mm512_set_epi64(high, high, high, high, low, low, low, low)) }
    }
    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: __m512i) -> __m512i {
        unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(sixteen_bytes(table)), indices) }
    }

    #[inline(always)]
    fn no_sums() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn load_sums(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    fn store_sums(sums: __m512i) -> [i32; 16] {
        let mut to = [0; 16];
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), sums) };
        to
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, bytes: __m512i, x: *const u8, _wide: bool) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, bytes, _mm512_loadu_si512(x.cast())) }
    }
    #[inline(always)]
    fn times_256(sums: __m512i) -> __m512i {
        unsafe { _mm512_slli_epi32::<8>(sums) }
    }

    #[inline(always)]
    fn convert(sums: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
    #[inline(always)]
    fn quarter(bytes: __m512i, quarter: usize) -> __m512 {
        unsafe {
            let bytes = match quarter {
                0 => _mm512_castsi512_si128(bytes),
                1 => _mm512_extracti32x4_epi32::<1>(bytes),
                2 => _mm512_extracti32x4_epi32::<2>(bytes),
                _ => _mm512_extracti32x4_epi32::<3>(bytes),
            };
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
        }
    }
    #[inline(always)]
    fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load_floats(from: *const u8, count: usize) -> __m512 {
        unsafe {
            match count {
                4 => _mm512_zextps128_ps512(_mm_loadu_ps(from.cast())),
                8 => _mm512_zextps256_ps512(_mm256_loadu_ps(from.cast())),
                _ => _mm512_loadu_ps(from.cast()),
            }
        }
    }
    #[inline(always)]
    fn splat_half(bits: u16) -> __m512 {
        unsafe { _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_set1_epi16(bits.cast_signed()))) }
    }
    #[inline(always)]
    fn four_halves(bits: [u16; 4]) -> __m512 {
        let [a, b, c, d] = bits.map(u16::cast_signed);
        unsafe { _mm512_zextps128_ps512(_mm_cvtph_ps(_mm_set_epi16(0, 0, 0, 0, d, c, b, a))) }
    }
    #[inline(always)]
    fn four(numbers: [f32; 4]) -> __m512 {
        unsafe { _mm512_zextps128_ps512(_mm_loadu_ps(numbers.as_ptr())) }
    }
    #[inline(always)]
    fn eight(numbers: [u8; 8]) -> __m512 {
        unsafe {
            let numbers = _mm_loadl_epi64(numbers.as_ptr().cast());
            _mm512_zextps256_ps512(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(numbers)))
        }
    }
    #[inline(always)]
    fn sixteen(numbers: [u8; 16]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(sixteen_bytes(&numbers))) }
    }
    #[inline(always)]
    fn sixteen_signed(numbers: [i8; 16]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(numbers.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn spread(a: __m512, first: usize, each: usize) -> __m512 {
        unsafe {
            let lanes = match each {
                4 => _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0),
                8 => _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0),
                _ => _mm512_setzero_epi32(),
            };
            _mm512_permutexvar_ps(_mm512_add_epi32(lanes, _mm512_set1_epi32(first as i32)), a)
        }
    }
    #[inline(always)]
    fn total(a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
}
