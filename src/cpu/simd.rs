//! Vectors of `f32`, chosen at run time.
//!
//! An algorithm is written once, generic over [`Simd`], as a [`Kernel`]. [`Level::run`] enters it through a function
//! that is compiled for the machine's features, once for each chunk of work. Everything between that function and the
//! intrinsics has to be `#[inline(always)]`: code that is not inlined there is compiled for the baseline, which is
//! right but slow.
#![expect(unsafe_code, reason = "loads and stores go through pointers, and a level is entered on trust")]

use std::fmt;

use half::{bf16, f16};

use crate::dtype::DType;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod dots;
mod portable;

/// The most lanes that any level has.
pub const MAX_LANES: usize = 16;

/// A vector of `f32`.
///
/// Loads and stores need no alignment, except for `stream_*`, whose addresses are multiples of the bytes written.
/// A tail of `count` elements is shorter than a vector: its loads fill up with zeros, its stores leave the rest alone.
pub trait Simd: Copy {
    const LANES: usize;
    /// Whether [`Simd::fma`] rounds once.
    const FUSED: bool;
    /// One truth for each lane.
    type Mask: Copy;

    fn splat(value: f32) -> Self;

    /// # Safety
    /// `from` is readable for `LANES` elements; so it is for the other loads, and stores likewise.
    unsafe fn load_f32(from: *const f32) -> Self;
    /// # Safety
    /// As [`Simd::load_f32`].
    unsafe fn load_f16(from: *const f16) -> Self;
    /// # Safety
    /// As [`Simd::load_f32`].
    unsafe fn load_bf16(from: *const bf16) -> Self;
    /// # Safety
    /// `to` is writable for `LANES` elements.
    unsafe fn store_f32(self, to: *mut f32);
    /// Rounds to the nearest, ties to even.
    ///
    /// # Safety
    /// As [`Simd::store_f32`].
    unsafe fn store_f16(self, to: *mut f16);
    /// Rounds to the nearest, ties to even.
    ///
    /// # Safety
    /// As [`Simd::store_f32`].
    unsafe fn store_bf16(self, to: *mut bf16);

    /// A store past the caches, for results that are larger than they are. Ends with a [`Simd::fence`].
    ///
    /// # Safety
    /// As [`Simd::store_f32`], and `to` is aligned to the vector.
    #[inline(always)]
    unsafe fn stream_f32(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.store_f32(to) }
    }
    /// # Safety
    /// As [`Simd::stream_f32`].
    #[inline(always)]
    unsafe fn stream_f16(self, to: *mut f16) {
        // SAFETY: the caller's promise.
        unsafe { self.store_f16(to) }
    }
    /// # Safety
    /// As [`Simd::stream_f32`].
    #[inline(always)]
    unsafe fn stream_bf16(self, to: *mut bf16) {
        // SAFETY: the caller's promise.
        unsafe { self.store_bf16(to) }
    }
    /// Makes streamed stores visible to other threads in the usual order.
    #[inline(always)]
    fn fence() {}

    /// # Safety
    /// `from` is readable for `count` elements, fewer than `LANES`.
    #[inline(always)]
    unsafe fn load_f32_tail(from: *const f32, count: usize) -> Self {
        // SAFETY: `padded` reads what the caller promises, and returns enough for any vector.
        unsafe { Self::load_f32(padded(from, count).as_ptr()) }
    }
    /// # Safety
    /// As [`Simd::load_f32_tail`].
    #[inline(always)]
    unsafe fn load_f16_tail(from: *const f16, count: usize) -> Self {
        // SAFETY: as above.
        unsafe { Self::load_f16(padded(from, count).as_ptr()) }
    }
    /// # Safety
    /// As [`Simd::load_f32_tail`].
    #[inline(always)]
    unsafe fn load_bf16_tail(from: *const bf16, count: usize) -> Self {
        // SAFETY: as above.
        unsafe { Self::load_bf16(padded(from, count).as_ptr()) }
    }
    /// # Safety
    /// `to` is writable for `count` elements, fewer than `LANES`.
    #[inline(always)]
    unsafe fn store_f32_tail(self, to: *mut f32, count: usize) {
        let mut whole = [0.0; MAX_LANES];
        // SAFETY: the array takes any vector, and the caller promises room for `count`.
        unsafe {
            self.store_f32(whole.as_mut_ptr());
            to.copy_from_nonoverlapping(whole.as_ptr(), count);
        }
    }
    /// # Safety
    /// As [`Simd::store_f32_tail`].
    #[inline(always)]
    unsafe fn store_f16_tail(self, to: *mut f16, count: usize) {
        let mut whole = [f16::ZERO; MAX_LANES];
        // SAFETY: as above.
        unsafe {
            self.store_f16(whole.as_mut_ptr());
            to.copy_from_nonoverlapping(whole.as_ptr(), count);
        }
    }
    /// # Safety
    /// As [`Simd::store_f32_tail`].
    #[inline(always)]
    unsafe fn store_bf16_tail(self, to: *mut bf16, count: usize) {
        let mut whole = [bf16::ZERO; MAX_LANES];
        // SAFETY: as above.
        unsafe {
            self.store_bf16(whole.as_mut_ptr());
            to.copy_from_nonoverlapping(whole.as_ptr(), count);
        }
    }

    /// Ones and zeros as bytes.
    ///
    /// # Safety
    /// `to` is writable for `LANES` bytes.
    unsafe fn store_mask(mask: Self::Mask, to: *mut u8);
    /// # Safety
    /// `to` is writable for `count` bytes, fewer than `LANES`.
    #[inline(always)]
    unsafe fn store_mask_tail(mask: Self::Mask, to: *mut u8, count: usize) {
        let mut whole = [0; MAX_LANES];
        // SAFETY: as above.
        unsafe {
            Self::store_mask(mask, whole.as_mut_ptr());
            to.copy_from_nonoverlapping(whole.as_ptr(), count);
        }
    }

    /// The first `count` lanes, 1, 4 or `LANES`, and zeros after them. For what was just stored in parts of 16 bytes: a
    /// longer load would have to wait until those have arrived in the cache.
    ///
    /// # Safety
    /// `from` is readable for `count` elements and aligned to 16 bytes.
    #[inline(always)]
    unsafe fn load_parts(from: *const f32, count: usize) -> Self {
        let mut parts = [[0.0; 4]; MAX_LANES / 4];
        // SAFETY: the caller's promise; the parts take any vector.
        unsafe {
            if count == 1 {
                parts[0][0] = *from;
            } else {
                for (i, part) in parts.iter_mut().take(count / 4).enumerate() {
                    *part = from.cast::<[f32; 4]>().add(i).read();
                }
            }
            Self::load_f32(parts.as_ptr().cast())
        }
    }
    /// Stores the first `count` lanes, 1, 4 or `LANES`.
    ///
    /// # Safety
    /// `to` is writable for `count` elements.
    #[inline(always)]
    unsafe fn store_parts(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if count == Self::LANES {
                return self.store_f32(to);
            }
            let mut whole = [0.0; MAX_LANES];
            self.store_f32(whole.as_mut_ptr());
            if count == 1 {
                *to = whole[0];
            } else {
                to.cast::<[f32; 4]>().write_unaligned([whole[0], whole[1], whole[2], whole[3]]);
            }
        }
    }

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self · factor + term`, rounded once where the machine can.
    fn fma(self, factor: Self, term: Self) -> Self;
    /// The smaller of the two; `other` if either is NaN.
    fn min(self, other: Self) -> Self;
    /// The larger of the two; `other` if either is NaN.
    fn max(self, other: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    /// The magnitude of `self` with the sign of `sign`, which counts for zeros and NaN too.
    fn copysign(self, sign: Self) -> Self;
    fn sqrt(self) -> Self;
    /// These four keep the sign of zeros, also of those that they make.
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn trunc(self) -> Self;
    /// Ties go to the even number.
    fn round(self) -> Self;
    /// False where either is NaN; so are the other comparisons.
    fn less(self, other: Self) -> Self::Mask;
    fn less_equal(self, other: Self) -> Self::Mask;
    fn equal(self, other: Self) -> Self::Mask;
    fn is_nan(self) -> Self::Mask;
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    fn xor(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    fn not(mask: Self::Mask) -> Self::Mask;
    /// Whether the mask is true in any lane.
    fn any(mask: Self::Mask) -> bool;
    /// `yes` where the mask is true, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// `self · 2^exponent`, rounded once, for whole exponents from −250 to 250 and `self` of about 1.
    fn scale(self, exponent: Self) -> Self;
    /// `(m, e)`, of which `self` is `m · 2^e`, with m from 0.75 to below 1.5 and e whole. For positive finite numbers,
    /// subnormal ones included; the others give anything.
    fn split(self) -> (Self, Self);
    /// The sum of all lanes, in a fixed order.
    fn sum(self) -> f32;
    /// The largest of all lanes; NaN if any of them is.
    fn largest(self) -> f32;
    /// The smallest of all lanes; NaN if any of them is.
    fn smallest(self) -> f32;

    /// Products of `bf16`, of which each lane holds two: adds both products to the lane of `sum`. Where this is an
    /// instruction, which [`Level::has_dots`] tells, subnormal numbers count as zeros.
    #[inline(always)]
    fn dot_bf16(self, other: Self, sum: Self) -> Self {
        let (mut a, mut b) = ([bf16::ZERO; 2 * MAX_LANES], [bf16::ZERO; 2 * MAX_LANES]);
        let mut sums = [0.0; MAX_LANES];
        // SAFETY: the arrays take any vector.
        unsafe {
            self.store_f32(a.as_mut_ptr().cast());
            other.store_f32(b.as_mut_ptr().cast());
            sum.store_f32(sums.as_mut_ptr());
            for lane in 0..2 * Self::LANES {
                sums[lane / 2] += a[lane].to_f32_const() * b[lane].to_f32_const();
            }
            Self::load_f32(sums.as_ptr())
        }
    }
}

/// Asks for a cache line that will be wanted soon. Any address will do.
#[inline(always)]
pub(crate) fn prefetch(place: *const u8) {
    // SAFETY: a hint that never fails, and that every x86-64 has.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// `count` elements and zeros after them.
///
/// # Safety
/// `from` is readable for `count` elements, at most `MAX_LANES`.
#[inline(always)]
unsafe fn padded<E: Element>(from: *const E, count: usize) -> [E; MAX_LANES] {
    let mut whole = [E::ZERO; MAX_LANES];
    // SAFETY: the caller's promise.
    unsafe { whole.as_mut_ptr().copy_from_nonoverlapping(from, count) };
    whole
}

/// What memory can hold that is computed with as `f32`.
///
/// The functions are those of [`Simd`] for this type, and ask for the same of their caller.
#[expect(clippy::missing_safety_doc, reason = "they forward to the functions of Simd, which say it")]
pub trait Element: Copy + Send + Sync + 'static {
    const DTYPE: DType;
    const ZERO: Self;
    unsafe fn load<V: Simd>(from: *const Self) -> V;
    unsafe fn load_tail<V: Simd>(from: *const Self, count: usize) -> V;
    unsafe fn store<V: Simd>(vector: V, to: *mut Self);
    unsafe fn store_tail<V: Simd>(vector: V, to: *mut Self, count: usize);
    unsafe fn stream<V: Simd>(vector: V, to: *mut Self);
}

macro_rules! element {
    (
        $type:ty, $dtype:ident, $zero:expr,
        $load:ident, $load_tail:ident, $store:ident, $store_tail:ident, $stream:ident
    ) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            const ZERO: Self = $zero;
            #[inline(always)]
            unsafe fn load<V: Simd>(from: *const Self) -> V {
                // SAFETY: the caller's promise.
                unsafe { V::$load(from) }
            }
            #[inline(always)]
            unsafe fn load_tail<V: Simd>(from: *const Self, count: usize) -> V {
                // SAFETY: the caller's promise.
                unsafe { V::$load_tail(from, count) }
            }
            #[inline(always)]
            unsafe fn store<V: Simd>(vector: V, to: *mut Self) {
                // SAFETY: the caller's promise.
                unsafe { vector.$store(to) }
            }
            #[inline(always)]
            unsafe fn store_tail<V: Simd>(vector: V, to: *mut Self, count: usize) {
                // SAFETY: the caller's promise.
                unsafe { vector.$store_tail(to, count) }
            }
            #[inline(always)]
            unsafe fn stream<V: Simd>(vector: V, to: *mut Self) {
                // SAFETY: the caller's promise.
                unsafe { vector.$stream(to) }
            }
        }
    };
}

element!(f32, Float32, 0.0, load_f32, load_f32_tail, store_f32, store_f32_tail, stream_f32);
element!(f16, Float16, f16::ZERO, load_f16, load_f16_tail, store_f16, store_f16_tail, stream_f16);
element!(bf16, BFloat16, bf16::ZERO, load_bf16, load_bf16_tail, store_bf16, store_bf16_tail, stream_bf16);

/// Work that is written over [`Simd`]. Implementations of `run` are `#[inline(always)]`.
pub trait Kernel {
    type Output;
    fn run<V: Simd>(self) -> Self::Output;
}

/// A function that machine code can call, written over [`Simd`]. Implementations are `#[inline(always)]`.
pub(crate) trait Routine {
    /// # Safety
    /// What the routine asks for.
    unsafe fn run<V: Simd>(at: *mut u8, lanes: usize);
}

/// An instruction set that the loops are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// AVX-512 F, BW, DQ and VL, with everything of [`Level::Avx2`].
    Avx512,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// The baseline of 64-bit ARM.
    Neon,
    /// Whatever the compiler may assume: SSE2 on x86-64.
    Scalar,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];

    /// The name by which `GPUKERN_SIMD` knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Scalar => "scalar",
        }
    }

    /// What this machine can run, best first. `Scalar` is always among them.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| level.is_available()).collect()
    }

    /// Whether this machine can run it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
                    && std::arch::is_x86_feature_detected!("f16c")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Neon => cfg!(target_arch = "aarch64"),
            Self::Scalar => true,
        }
    }

    /// Runs `kernel` compiled for this level, which must be one that the machine has: [`super::CpuDevice`] sees to it.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        debug_assert!(self.is_available());
        match self {
            // SAFETY: the machine has the features of the level.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::run(kernel) },
            // SAFETY: the machine has the features of the level.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::run(kernel) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => kernel.run::<portable::F32x8<true>>(),
            _ => kernel.run::<portable::F32x8<false>>(),
        }
    }

    /// A routine for 1, 4, 8 or 16 lanes, compiled for this level.
    pub(crate) fn routine<R: Routine>(self, lanes: usize) -> unsafe extern "C" fn(*mut u8) {
        macro_rules! of {
            ($module:ident) => {
                match lanes {
                    1 => $module::routine::<R, 1>,
                    4 => $module::routine::<R, 4>,
                    8 => $module::routine::<R, 8>,
                    _ => $module::routine::<R, 16>,
                }
            };
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if lanes == 16 => avx512::routine::<R>,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx2 => of!(avx2),
            _ => of!(portable),
        }
    }

    /// Whether [`Simd::dot_bf16`] is an instruction.
    pub(crate) fn has_dots(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let detected = std::arch::is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        let detected = false;
        self == Self::Avx512 && detected
    }

    /// As [`Level::run`], for kernels that live on [`Simd::dot_bf16`]; only where that is an instruction.
    pub(crate) fn run_dots<K: Kernel>(self, kernel: K) -> K::Output {
        debug_assert!(self.has_dots());
        // SAFETY: the machine has the features.
        #[cfg(target_arch = "x86_64")]
        return unsafe { avx512::run_dots(kernel) };
        #[cfg(not(target_arch = "x86_64"))]
        self.run(kernel)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests;
