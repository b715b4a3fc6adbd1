//! Dot products of bytes, chosen at run time.
//!
//! An algorithm is written once, generic over [`Dots`], as a [`DotKernel`], and entered through
//! [`Level::run_on_bytes`]. Vectors are of one size at every level, so that what is prepared for them is alike: 64
//! bytes, and sixteen lanes of sums and floats, to each of which four neighbouring bytes contribute.

use super::Level;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// How many bytes a vector has.
pub(crate) const BYTES: usize = 64;
/// How many sums and floats.
pub(crate) const LANES: usize = 16;

/// Vectors of 64 bytes, sixteen integers and sixteen floats. Implementations are `#[inline(always)]`.
pub(crate) trait Dots {
    type Bytes: Copy;
    type Sums: Copy;
    type Floats: Copy;

    fn bytes(value: u8) -> Self::Bytes;
    fn load(from: &[u8; 64]) -> Self::Bytes;
    /// The same 32 bytes twice.
    fn twice(from: &[u8; 32]) -> Self::Bytes;
    fn halves(from: [&[u8; 32]; 2]) -> Self::Bytes;
    fn quarters(from: [&[u8; 16]; 4]) -> Self::Bytes;
    /// `value` where a bit is set, the lowest one being that of the first byte.
    fn where_set(bits: u64, value: u8) -> Self::Bytes;
    fn and(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// What overflows when three times the lower byte of a product is taken: 0, 1 or 2. Two bytes each are multiplied
    /// by one number, which is below 256.
    fn thirds(a: Self::Bytes, by: &[u16; 32]) -> Self::Bytes;
    /// Moves the bits of the lower 32 bytes and of the upper ones right by so many places, left if negative, fewer than
    /// 8. What comes into a byte is any of its neighbours' bits.
    fn shift(a: Self::Bytes, right: [i32; 2]) -> Self::Bytes;
    /// The entries of a table; `indices` are below 16.
    fn look_up(table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes;

    fn no_sums() -> Self::Sums;
    /// # Safety
    /// `from` is readable for 16 numbers, at any address.
    unsafe fn load_sums(from: *const u8) -> Self::Sums;
    fn store_sums(sums: Self::Sums) -> [i32; 16];
    /// Adds the products with 64 int8 from −127 to 127. Unless `wide`, bytes are below 128.
    ///
    /// # Safety
    /// `x` is readable for 64 bytes.
    unsafe fn dot(sums: Self::Sums, bytes: Self::Bytes, x: *const u8, wide: bool) -> Self::Sums;
    /// 256 times as much.
    fn times_256(sums: Self::Sums) -> Self::Sums;

    fn convert(sums: Self::Sums) -> Self::Floats;
    /// Sixteen bytes as numbers, from four times as many.
    fn quarter(bytes: Self::Bytes, quarter: usize) -> Self::Floats;
    fn splat(value: f32) -> Self::Floats;
    /// As many as `count`, which is 4, 8 or 16, and zeros after them.
    ///
    /// # Safety
    /// `from` is readable for so many, at any address.
    unsafe fn load_floats(from: *const u8, count: usize) -> Self::Floats;
    /// A float16 by its bits.
    fn splat_half(bits: u16) -> Self::Floats;
    /// Four float16 by their bits, and zeros.
    fn four_halves(bits: [u16; 4]) -> Self::Floats;
    /// Four numbers, and zeros.
    fn four(numbers: [f32; 4]) -> Self::Floats;
    /// Eight numbers, and zeros.
    fn eight(numbers: [u8; 8]) -> Self::Floats;
    fn sixteen(numbers: [u8; 16]) -> Self::Floats;
    fn sixteen_signed(numbers: [i8; 16]) -> Self::Floats;
    fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b + c`
    fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Lanes from `first` on, each of them `each` times: 4, 8 or 16. `first` is a multiple of their number.
    fn spread(a: Self::Floats, first: usize, each: usize) -> Self::Floats;
    /// The sum of all lanes, in a fixed order.
    fn total(a: Self::Floats) -> f32;
}

/// Work that is written over [`Dots`]. Implementations of `run` are `#[inline(always)]`.
pub(crate) trait DotKernel {
    type Output;
    fn run<D: Dots>(self) -> Self::Output;
}

impl Level {
    /// Whether there are instructions that multiply bytes and add neighbouring products.
    pub(crate) fn has_dots_of_bytes(self) -> bool {
        match self {
            Self::Avx512 | Self::Avx2 => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
            _ => false,
        }
    }

    /// Runs `kernel` compiled for this level, which must be one that the machine has.
    #[inline]
    pub(crate) fn run_on_bytes<K: DotKernel>(self, kernel: K) -> K::Output {
        debug_assert!(self.is_available());
        match self {
            // SAFETY: the machine has the features of the level, and the one that was asked about.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if std::arch::is_x86_feature_detected!("avx512vnni") => unsafe { avx512::run(kernel) },
            // SAFETY: the machine has the features of the level.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx2 => unsafe { avx2::run(kernel) },
            // SAFETY: the machine has the features.
            #[cfg(target_arch = "aarch64")]
            Self::Neon if self.has_dots_of_bytes() => unsafe { portable::run_dotprod(kernel) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => kernel.run::<portable::Arrays<true, false>>(),
            _ => kernel.run::<portable::Arrays<false, false>>(),
        }
    }
}

#[cfg(test)]
mod tests;
