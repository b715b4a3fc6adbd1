//! Eight lanes of AVX2, with FMA and F16C.
#![expect(unsafe_code, reason = "intrinsics need the features that `run` is entered with")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason, given at the type, is that of every block")]

use std::arch::x86_64::{
    __m128, __m128i, __m256, __m256i, _CMP_EQ_OQ, _CMP_LE_OQ, _CMP_LT_OQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC,
    _MM_FROUND_TO_NEAREST_INT, _MM_FROUND_TO_NEG_INF, _MM_FROUND_TO_POS_INF, _MM_FROUND_TO_ZERO, _mm_add_ps,
    _mm_add_ss, _mm_and_si128, _mm_cvtss_f32, _mm_load_ss, _mm_loadu_si128, _mm_max_ps, _mm_max_ss, _mm_movehdup_ps,
    _mm_movehl_ps, _mm_packs_epi16, _mm_packs_epi32, _mm_packus_epi32, _mm_set1_epi8, _mm_sfence, _mm_store_ss,
    _mm_storel_epi64, _mm_storeu_ps, _mm_storeu_si128, _mm_stream_si128, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_ps, _mm256_and_si256, _mm256_andnot_ps, _mm256_blendv_epi8, _mm256_blendv_ps, _mm256_castps_si256,
    _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvtepi32_ps,
    _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_cvtps_ph, _mm256_div_ps, _mm256_extractf128_ps,
    _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_movemask_ps,
    _mm256_mul_ps, _mm256_or_ps, _mm256_or_si256, _mm256_round_ps, _mm256_set_m128, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_slli_epi32, _mm256_sqrt_ps, _mm256_srai_epi32, _mm256_srli_epi32, _mm256_storeu_ps, _mm256_stream_ps,
    _mm256_sub_epi32, _mm256_sub_ps, _mm256_xor_ps, _mm256_zextps128_ps256,
};

use half::{bf16, f16};

use super::{Kernel, Routine, Simd};

/// Runs a kernel compiled for AVX2, FMA and F16C.
///
/// # Safety
/// The machine has the features named.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<F32x8>()
}

/// A routine for so many lanes.
///
/// # Safety
/// The machine has the features named below, and what the routine asks for.
pub(super) unsafe extern "C" fn routine<R: Routine, const LANES: usize>(at: *mut u8) {
    /// Compiled once for all numbers of lanes.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline(never)]
    unsafe extern "C" fn run<R: Routine>(at: *mut u8, lanes: usize) {
        unsafe { R::run::<F32x8>(at, lanes) }
    }
    unsafe { run::<R>(at, LANES) }
}

/// SAFETY of every block in this file: the type is private and only `run` hands it out, so the machine has the
/// features; pointers are what the callers of the functions of `Simd` promise.
#[derive(Clone, Copy)]
struct F32x8(__m256);

#[inline(always)]
fn to_f16(vector: F32x8) -> __m128i {
    unsafe { _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(vector.0) }
}

#[inline(always)]
fn to_bf16(vector: F32x8) -> __m128i {
    unsafe {
        let bits = _mm256_castps_si256(vector.0);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(vector.0, vector.0));
        let high = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
        _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256::<1>(high))
    }
}

/// 2^exponent, for exponents of normal numbers.
#[inline(always)]
fn power_of_two(exponent: __m256i) -> __m256 {
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)))) }
}

impl Simd for F32x8 {
    const LANES: usize = 8;
    const FUSED: bool = true;
    type Mask = __m256;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load_f32(from: *const f32) -> Self {
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        Self(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        Self(unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        })
    }
    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        unsafe { _mm_storeu_si128(to.cast(), to_f16(self)) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        unsafe { _mm_storeu_si128(to.cast(), to_bf16(self)) }
    }
    #[inline(always)]
    unsafe fn stream_f32(self, to: *mut f32) {
        unsafe { _mm256_stream_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn stream_f16(self, to: *mut f16) {
        unsafe { _mm_stream_si128(to.cast(), to_f16(self)) }
    }
    #[inline(always)]
    unsafe fn stream_bf16(self, to: *mut bf16) {
        unsafe { _mm_stream_si128(to.cast(), to_bf16(self)) }
    }
    #[inline(always)]
    fn fence() {
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    unsafe fn store_mask(mask: Self::Mask, to: *mut u8) {
        unsafe {
            let wide = _mm256_castps_si256(mask);
            let words = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
            _mm_storel_epi64(to.cast(), _mm_and_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(1)));
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the caller's promise")]
    unsafe fn load_parts(from: *const f32, count: usize) -> Self {
        // Volatile, since the compiler would make one load of two.
        unsafe {
            let from = from.cast::<__m128>();
            Self(match count {
                1 => _mm256_zextps128_ps256(_mm_load_ss(from.cast())),
                4 => _mm256_zextps128_ps256(from.read()),
                _ => _mm256_set_m128(from.add(1).read_volatile(), from.read_volatile()),
            })
        }
    }
    #[inline(always)]
    unsafe fn store_parts(self, to: *mut f32, count: usize) {
        let low = unsafe { _mm256_castps256_ps128(self.0) };
        unsafe {
            match count {
                1 => _mm_store_ss(to, low),
                4 => _mm_storeu_ps(to, low),
                _ => self.store_f32(to),
            }
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn fma(self, factor: Self, term: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, term.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Self(unsafe { _mm256_xor_ps(self.0, _mm256_set1_ps(-0.0)) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        Self(unsafe { _mm256_or_ps(self.abs().0, _mm256_and_ps(sign.0, _mm256_set1_ps(-0.0))) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn floor(self) -> Self {
        Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn less_equal(self, other: Self) -> Self::Mask {
        unsafe { _mm256_cmp_ps::<_CMP_LE_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn equal(self, other: Self) -> Self::Mask {
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn is_nan(self) -> Self::Mask {
        unsafe { _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0) }
    }
    #[inline(always)]
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        unsafe { _mm256_and_ps(a, b) }
    }
    #[inline(always)]
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        unsafe { _mm256_or_ps(a, b) }
    }
    #[inline(always)]
    fn xor(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        unsafe { _mm256_xor_ps(a, b) }
    }
    #[inline(always)]
    fn not(mask: Self::Mask) -> Self::Mask {
        unsafe { _mm256_xor_ps(mask, _mm256_castsi256_ps(_mm256_set1_epi32(-1))) }
    }
    #[inline(always)]
    fn any(mask: Self::Mask) -> bool {
        unsafe { _mm256_movemask_ps(mask) != 0 }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(unsafe { _mm256_blendv_ps(no.0, yes.0, mask) })
    }
    #[inline(always)]
    fn scale(self, exponent: Self) -> Self {
        // Two factors: 2^exponent by itself may lie outside the range. The first product is exact.
        unsafe {
            let whole = _mm256_cvtps_epi32(exponent.0);
            let half = _mm256_srai_epi32::<1>(whole);
            let first = _mm256_mul_ps(self.0, power_of_two(half));
            Self(_mm256_mul_ps(first, power_of_two(_mm256_sub_epi32(whole, half))))
        }
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        unsafe {
            let subnormal = self.less(Self::splat(f32::MIN_POSITIVE));
            let normal = Self::select(subnormal, self.mul(Self::splat(16_777_216.0)), self);
            let bits = _mm256_castps_si256(normal.0);
            let e = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(0.75_f32.to_bits() as i32)));
            let m = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(e)));
            let less = Self::select(subnormal, Self::splat(24.0), Self::splat(0.0));
            (Self(m), Self(_mm256_cvtepi32_ps(e)).sub(less))
        }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            let one = _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
            if Self::any(self.is_nan()) { f32::NAN } else { one }
        }
    }
    #[inline(always)]
    fn smallest(self) -> f32 {
        -self.neg().largest()
    }
}
