//! Sixteen lanes of AVX-512.
#![expect(unsafe_code, reason = "intrinsics need the features that `run` is entered with")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason, given at the type, is that of every block")]

use std::arch::x86_64::{
    __m128, __m256i, __m512, __m512bh, __mmask16, _CMP_EQ_OQ, _CMP_LE_OQ, _CMP_LT_OQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC,
    _MM_FROUND_TO_NEAREST_INT, _MM_FROUND_TO_NEG_INF, _MM_FROUND_TO_POS_INF, _MM_FROUND_TO_ZERO, _MM_MANT_NORM_P75_1P5,
    _MM_MANT_SIGN_SRC, _mm_mask_storeu_epi8, _mm_maskz_set1_epi8, _mm_sfence, _mm_storeu_si128, _mm256_loadu_si256,
    _mm256_mask_storeu_epi16, _mm256_maskz_loadu_epi16, _mm256_set_m128, _mm256_storeu_si256, _mm256_stream_si256,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_ps, _mm512_and_si512, _mm512_andnot_ps, _mm512_castps_si512,
    _mm512_castps256_ps512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi16, _mm512_cvtepu16_epi32,
    _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_div_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_getexp_ps,
    _mm512_getmant_ps, _mm512_insertf32x8, _mm512_loadu_ps, _mm512_mask_add_ps, _mm512_mask_blend_epi32,
    _mm512_mask_blend_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps,
    _mm512_or_ps, _mm512_or_si512, _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_reduce_min_ps,
    _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32, _mm512_sqrt_ps,
    _mm512_srli_epi32, _mm512_storeu_ps, _mm512_stream_ps, _mm512_sub_ps, _mm512_xor_ps,
};
use std::mem::transmute;

use half::{bf16, f16};

use super::{Kernel, Routine, Simd};

/// Runs a kernel compiled for AVX-512.
///
/// # Safety
/// The machine has the features named.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<F32x16>()
}

/// Runs a kernel compiled for AVX-512 with products of `bf16`.
///
/// # Safety
/// The machine has the features named.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")]
pub(super) unsafe fn run_dots<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<F32x16>()
}

/// A routine for 16 lanes.
///
/// # Safety
/// The machine has the features named, and what the routine asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")]
pub(super) unsafe extern "C" fn routine<R: Routine>(at: *mut u8) {
    unsafe { R::run::<F32x16>(at, 16) }
}

/// SAFETY of every block in this file: the type is private and only `run` hands it out, so the machine has the
/// features; pointers are what the callers of the functions of `Simd` promise.
#[derive(Clone, Copy)]
struct F32x16(__m512);

/// The mask of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    debug_assert!(count < 16);
    (1 << count) - 1
}

#[inline(always)]
fn from_f16(bits: __m256i) -> F32x16 {
    F32x16(unsafe { _mm512_cvtph_ps(bits) })
}

#[inline(always)]
fn from_bf16(bits: __m256i) -> F32x16 {
    F32x16(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))) })
}

#[inline(always)]
fn to_f16(vector: F32x16) -> __m256i {
    unsafe { _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(vector.0) }
}

/// Not `vcvtneps2bf16`, which flushes subnormal numbers to zero.
#[inline(always)]
fn to_bf16(vector: F32x16) -> __m256i {
    unsafe {
        let bits = _mm512_castps_si512(vector.0);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
        let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(vector.0, vector.0);
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(nan, rounded, quiet)))
    }
}

impl Simd for F32x16 {
    const LANES: usize = 16;
    const FUSED: bool = true;
    type Mask = __mmask16;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load_f32(from: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        from_f16(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        from_bf16(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        unsafe { _mm256_storeu_si256(to.cast(), to_f16(self)) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        unsafe { _mm256_storeu_si256(to.cast(), to_bf16(self)) }
    }
    #[inline(always)]
    unsafe fn stream_f32(self, to: *mut f32) {
        unsafe { _mm512_stream_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn stream_f16(self, to: *mut f16) {
        unsafe { _mm256_stream_si256(to.cast(), to_f16(self)) }
    }
    #[inline(always)]
    unsafe fn stream_bf16(self, to: *mut bf16) {
        unsafe { _mm256_stream_si256(to.cast(), to_bf16(self)) }
    }
    #[inline(always)]
    fn fence() {
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    unsafe fn load_f32_tail(from: *const f32, count: usize) -> Self {
        Self(unsafe { _mm512_maskz_loadu_ps(first(count), from) })
    }
    #[inline(always)]
    unsafe fn load_f16_tail(from: *const f16, count: usize) -> Self {
        from_f16(unsafe { _mm256_maskz_loadu_epi16(first(count), from.cast()) })
    }
    #[inline(always)]
    unsafe fn load_bf16_tail(from: *const bf16, count: usize) -> Self {
        from_bf16(unsafe { _mm256_maskz_loadu_epi16(first(count), from.cast()) })
    }
    #[inline(always)]
    unsafe fn store_f32_tail(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
    }
    #[inline(always)]
    unsafe fn store_f16_tail(self, to: *mut f16, count: usize) {
        unsafe { _mm256_mask_storeu_epi16(to.cast(), first(count), to_f16(self)) }
    }
    #[inline(always)]
    unsafe fn store_bf16_tail(self, to: *mut bf16, count: usize) {
        unsafe { _mm256_mask_storeu_epi16(to.cast(), first(count), to_bf16(self)) }
    }

    #[inline(always)]
    unsafe fn store_mask(mask: Self::Mask, to: *mut u8) {
        unsafe { _mm_storeu_si128(to.cast(), _mm_maskz_set1_epi8(mask, 1)) }
    }
    #[inline(always)]
    unsafe fn store_mask_tail(mask: Self::Mask, to: *mut u8, count: usize) {
        unsafe { _mm_mask_storeu_epi8(to.cast(), first(count), _mm_maskz_set1_epi8(mask, 1)) }
    }

    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the caller's promise")]
    unsafe fn load_parts(from: *const f32, count: usize) -> Self {
        debug_assert!(count == 16);
        // Volatile, since the compiler would make one load of four.
        unsafe {
            let from = from.cast::<__m128>();
            let low = _mm256_set_m128(from.add(1).read_volatile(), from.read_volatile());
            let high = _mm256_set_m128(from.add(3).read_volatile(), from.add(2).read_volatile());
            Self(_mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high))
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn fma(self, factor: Self, term: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Self(unsafe { _mm512_xor_ps(self.0, _mm512_set1_ps(-0.0)) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(unsafe { _mm512_andnot_ps(_mm512_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        Self(unsafe { _mm512_or_ps(self.abs().0, _mm512_and_ps(sign.0, _mm512_set1_ps(-0.0))) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn floor(self) -> Self {
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn less_equal(self, other: Self) -> Self::Mask {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn equal(self, other: Self) -> Self::Mask {
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn is_nan(self) -> Self::Mask {
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0) }
    }
    #[inline(always)]
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a & b
    }
    #[inline(always)]
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a | b
    }
    #[inline(always)]
    fn xor(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a ^ b
    }
    #[inline(always)]
    fn not(mask: Self::Mask) -> Self::Mask {
        !mask
    }
    #[inline(always)]
    fn any(mask: Self::Mask) -> bool {
        mask != 0
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
    }
    #[inline(always)]
    fn scale(self, exponent: Self) -> Self {
        Self(unsafe { _mm512_scalef_ps(self.0, exponent.0) })
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        unsafe {
            let m = Self(_mm512_getmant_ps::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_SRC>(self.0));
            // The exponent of a number from 1 to 2, which is one too small where the number was halved.
            let e = _mm512_getexp_ps(self.0);
            let one = _mm512_set1_ps(1.0);
            (m, Self(_mm512_mask_add_ps(e, m.less(Self(one)), e, one)))
        }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        if Self::any(self.is_nan()) { f32::NAN } else { unsafe { _mm512_reduce_max_ps(self.0) } }
    }
    #[inline(always)]
    fn smallest(self) -> f32 {
        if Self::any(self.is_nan()) { f32::NAN } else { unsafe { _mm512_reduce_min_ps(self.0) } }
    }
    #[inline(always)]
    fn dot_bf16(self, other: Self, sum: Self) -> Self {
        // Vectors of 512 bits, whatever they hold.
        Self(unsafe {
            _mm512_dpbf16_ps(sum.0, transmute::<__m512, __m512bh>(self.0), transmute::<__m512, __m512bh>(other.0))
        })
    }
}
