//! Pairs of vectors of 256 bits.
#![expect(unsafe_code, reason = "intrinsics need the features that `run` is entered with")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason, given at the type, is that of every block")]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32, _mm_loadl_epi64,
    _mm_loadu_ps, _mm_loadu_si128, _mm_movehdup_ps, _mm_movehl_ps, _mm_set_epi16, _mm_set1_epi16, _mm_unpackhi_epi64,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_broadcastss_ps,
    _mm256_castps256_ps128, _mm256_castsi256_si128, _mm256_cmpeq_epi8, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_mulhi_epu16, _mm256_mullo_epi16,
    _mm256_or_si256, _mm256_permutevar8x32_ps, _mm256_set_epi32, _mm256_set_epi64x, _mm256_set_m128i, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sll_epi64, _mm256_slli_epi16, _mm256_slli_epi32, _mm256_srl_epi64, _mm256_storeu_si256,
    _mm256_xor_si256, _mm256_zextps128_ps256,
};

use super::{DotKernel, Dots};

/// Runs a kernel compiled for AVX2, FMA and F16C.
///
/// # Safety
/// The machine has the features named.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run::<Pairs>()
}

/// SAFETY of every block in this file: the type is private and only `run` hands it out, so the machine has the
/// features; pointers are what the callers of the functions of `Dots` promise, or references.
struct Pairs;

#[inline(always)]
fn sixteen_bytes(from: &[u8; 16]) -> __m128i {
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

#[inline(always)]
fn half(from: &[u8; 32]) -> __m256i {
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline(always)]
fn zip(a: [__m256i; 2], b: [__m256i; 2], operation: impl Fn(__m256i, __m256i) -> __m256i) -> [__m256i; 2] {
    [operation(a[0], b[0]), operation(a[1], b[1])]
}

/// Sums of two products each are added up in pairs.
#[inline(always)]
fn add_pairs(sums: __m256i, pairs: __m256i) -> __m256i {
    unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))) }
}

#[inline(always)]
fn eight_floats(bytes: __m128i) -> __m256 {
    unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)) }
}

impl Dots for Pairs {
    type Bytes = [__m256i; 2];
    type Sums = [__m256i; 2];
    type Floats = [__m256; 2];

    #[inline(always)]
    fn bytes(value: u8) -> Self::Bytes {
        [unsafe { _mm256_set1_epi8(value.cast_signed()) }; 2]
    }
    #[inline(always)]
    fn load(from: &[u8; 64]) -> Self::Bytes {
        let halves = from.as_chunks::<32>().0;
        [half(&halves[0]), half(&halves[1])]
    }
    #[inline(always)]
    fn twice(from: &[u8; 32]) -> Self::Bytes {
        [half(from); 2]
    }
    #[inline(always)]
    fn halves(from: [&[u8; 32]; 2]) -> Self::Bytes {
        [half(from[0]), half(from[1])]
    }
    #[inline(always)]
    fn quarters(from: [&[u8; 16]; 4]) -> Self::Bytes {
        let [a, b, c, d] = from.map(sixteen_bytes);
        unsafe { [_mm256_set_m128i(b, a), _mm256_set_m128i(d, c)] }
    }
    #[inline(always)]
    fn where_set(bits: u64, value: u8) -> Self::Bytes {
        let half = |bits: u32| unsafe {
            let bytes = _mm256_set_epi64x(
                0x0303_0303_0303_0303,
                0x0202_0202_0202_0202,
                0x0101_0101_0101_0101,
                0x0000_0000_0000_0000,
            );
            let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
            let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(bits.cast_signed()), bytes);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, own), own);
            _mm256_and_si256(set, _mm256_set1_epi8(value.cast_signed()))
        };
        [half(bits as u32), half((bits >> 32) as u32)]
    }
    #[inline(always)]
    fn and(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        zip(a, b, |a, b| unsafe { _mm256_and_si256(a, b) })
    }
    #[inline(always)]
    fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        zip(a, b, |a, b| unsafe { _mm256_or_si256(a, b) })
    }
    #[inline(always)]
    fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        zip(a, b, |a, b| unsafe { _mm256_xor_si256(a, b) })
    }
    #[inline(always)]
    fn thirds(a: Self::Bytes, by: &[u16; 32]) -> Self::Bytes {
        let by = bytemuck::cast_ref::<_, [[u8; 32]; 2]>(by);
        zip(a, [half(&by[0]), half(&by[1])], |a, by| unsafe {
            let odd = _mm256_set1_epi16(0xff00_u16.cast_signed());
            // Both are multiplied in the upper halves of words.
            let upper = _mm256_mullo_epi16(_mm256_and_si256(a, odd), by);
            let lower = _mm256_mullo_epi16(a, _mm256_slli_epi16::<8>(by));
            let upper = _mm256_and_si256(_mm256_mulhi_epu16(upper, _mm256_set1_epi16(3 << 8)), odd);
            _mm256_or_si256(upper, _mm256_mulhi_epu16(lower, _mm256_set1_epi16(3)))
        })
    }
    #[inline(always)]
    fn shift(a: Self::Bytes, right: [i32; 2]) -> Self::Bytes {
        let half = |a, right: i32| unsafe {
            if right < 0 {
                _mm256_sll_epi64(a, _mm_cvtsi32_si128(-right))
            } else {
                _mm256_srl_epi64(a, _mm_cvtsi32_si128(right))
            }
        };
        [half(a[0], right[0]), half(a[1], right[1])]
    }
    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes {
        let table = unsafe { _mm256_broadcastsi128_si256(sixteen_bytes(table)) };
        indices.map(
            #[inline(always)]
            |indices| unsafe { _mm256_shuffle_epi8(table, indices) },
        )
    }

    #[inline(always)]
    fn no_sums() -> Self::Sums {
        [unsafe { _mm256_setzero_si256() }; 2]
    }
    #[inline(always)]
    unsafe fn load_sums(from: *const u8) -> Self::Sums {
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }
    #[inline(always)]
    fn store_sums(sums: Self::Sums) -> [i32; 16] {
        let mut to = [0; 16];
        unsafe {
            _mm256_storeu_si256(to.as_mut_ptr().cast(), sums[0]);
            _mm256_storeu_si256(to[8..].as_mut_ptr().cast(), sums[1]);
        }
        to
    }
    /// Two products fit into 16 bits if bytes are below 128. The highest bit of others has a sum of its own.
    #[inline(always)]
    unsafe fn dot(mut sums: Self::Sums, bytes: Self::Bytes, x: *const u8, wide: bool) -> Self::Sums {
        unsafe {
            for i in 0..2 {
                let x = _mm256_loadu_si256(x.add(32 * i).cast());
                if wide {
                    let low = _mm256_and_si256(bytes[i], _mm256_set1_epi8(0x7f));
                    let high = _mm256_and_si256(bytes[i], _mm256_set1_epi8(-0x80));
                    sums[i] = add_pairs(sums[i], _mm256_maddubs_epi16(low, x));
                    sums[i] = add_pairs(sums[i], _mm256_maddubs_epi16(high, x));
                } else {
                    sums[i] = add_pairs(sums[i], _mm256_maddubs_epi16(bytes[i], x));
                }
            }
        }
        sums
    }
    #[inline(always)]
    fn times_256(sums: Self::Sums) -> Self::Sums {
        unsafe { [_mm256_slli_epi32::<8>(sums[0]), _mm256_slli_epi32::<8>(sums[1])] }
    }

    #[inline(always)]
    fn convert(sums: Self::Sums) -> Self::Floats {
        unsafe { [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])] }
    }
    #[inline(always)]
    fn quarter(bytes: Self::Bytes, quarter: usize) -> Self::Floats {
        unsafe {
            let half = bytes[quarter / 2];
            let bytes = if quarter.is_multiple_of(2) {
                _mm256_castsi256_si128(half)
            } else {
                _mm256_extracti128_si256::<1>(half)
            };
            [eight_floats(bytes), eight_floats(_mm_unpackhi_epi64(bytes, bytes))]
        }
    }
    #[inline(always)]
    fn splat(value: f32) -> Self::Floats {
        [unsafe { _mm256_set1_ps(value) }; 2]
    }
    #[inline(always)]
    unsafe fn load_floats(from: *const u8, count: usize) -> Self::Floats {
        unsafe {
            match count {
                4 => [_mm256_zextps128_ps256(_mm_loadu_ps(from.cast())), _mm256_setzero_ps()],
                8 => [_mm256_loadu_ps(from.cast()), _mm256_setzero_ps()],
                _ => [_mm256_loadu_ps(from.cast()), _mm256_loadu_ps(from.add(32).cast())],
            }
        }
    }
    #[inline(always)]
    fn splat_half(bits: u16) -> Self::Floats {
        [unsafe { _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_set1_epi16(bits.cast_signed()))) }; 2]
    }
    #[inline(always)]
    fn four_halves(bits: [u16; 4]) -> Self::Floats {
        let [a, b, c, d] = bits.map(u16::cast_signed);
        unsafe { [_mm256_zextps128_ps256(_mm_cvtph_ps(_mm_set_epi16(0, 0, 0, 0, d, c, b, a))), _mm256_setzero_ps()] }
    }
    #[inline(always)]
    fn four(numbers: [f32; 4]) -> Self::Floats {
        unsafe { [_mm256_zextps128_ps256(_mm_loadu_ps(numbers.as_ptr())), _mm256_setzero_ps()] }
    }
    #[inline(always)]
    fn eight(numbers: [u8; 8]) -> Self::Floats {
        unsafe {
            let numbers = _mm_loadl_epi64(numbers.as_ptr().cast());
            [eight_floats(numbers), _mm256_setzero_ps()]
        }
    }
    #[inline(always)]
    fn sixteen(numbers: [u8; 16]) -> Self::Floats {
        let half = |from: *const u8| unsafe { eight_floats(_mm_loadl_epi64(from.cast())) };
        [half(numbers.as_ptr()), half(numbers[8..].as_ptr())]
    }
    #[inline(always)]
    fn sixteen_signed(numbers: [i8; 16]) -> Self::Floats {
        let half = |from: *const i8| unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) };
        [half(numbers.as_ptr()), half(numbers[8..].as_ptr())]
    }
    #[inline(always)]
    fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn spread(a: Self::Floats, first: usize, each: usize) -> Self::Floats {
        let (from, lane) = (a[first / 8], (first % 8) as i32);
        unsafe {
            match each {
                4 => {
                    let lanes = _mm256_add_epi32(_mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0), _mm256_set1_epi32(lane));
                    let next = _mm256_add_epi32(lanes, _mm256_set1_epi32(2));
                    [_mm256_permutevar8x32_ps(from, lanes), _mm256_permutevar8x32_ps(from, next)]
                }
                8 => [
                    _mm256_permutevar8x32_ps(from, _mm256_set1_epi32(lane)),
                    _mm256_permutevar8x32_ps(from, _mm256_set1_epi32(lane + 1)),
                ],
                _ => [_mm256_permutevar8x32_ps(from, _mm256_set1_epi32(lane)); 2],
            }
        }
    }
    #[inline(always)]
    fn total(a: Self::Floats) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(a[0], a[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}
