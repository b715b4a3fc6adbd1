//! Formats of quantised weights: blocks of small integers and their scales, as they lie in files and on devices.
//!
//! A format is one file of this room, which says how a block lies in memory, what it decodes to and how numbers become
//! one; one shader under `shaders/quant/`, which decodes it too; and one line of the manifest.

mod bytes;
mod search;

use std::fmt;
use std::hint::black_box;

use bytemuck::Pod;

use crate::cpu::simd::{Kernel, Level, Simd};

/// A format of quantised weights: blocks of so many elements in so many bytes, one behind the other along the last axis.
pub struct Format {
    pub name: &'static str,
    /// Of a block.
    pub elements: usize,
    /// Of a block.
    pub bytes: usize,
    /// Its number in GGUF files.
    pub gguf: Option<u32>,
    decode: fn(Level, &[u8], &mut [f32]),
    encode: fn(Level, &[f32], &mut [u8]),
    /// What decodes eight elements on a device.
    pub wgsl: &'static str,
}

/// A line makes a module of a format's file, and an entry of [`Format::ALL`]: its name, and its number in GGUF files.
macro_rules! manifest {
    ($($name:ident $gguf:expr,)*) => {
        $(mod $name;)*

        impl Format {
            /// Every format, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::of::<$name::Block, _>(
                stringify!($name),
                $gguf,
                include_str!(concat!("../../shaders/quant/", stringify!($name), ".wgsl")),
            )),*];
        }
    };
}

manifest! {
    q8_0 Some(8),
    q4_0 Some(2),
    q4_1 Some(3),
    q5_0 Some(6),
    q5_1 Some(7),
    q2_k Some(10),
    q3_k Some(11),
    q4_k Some(12),
    q5_k Some(13),
    q6_k Some(14),
    iq4_nl Some(20),
    iq4_xs Some(23),
    mxfp4 Some(39),
    tq1_0 Some(34),
    tq2_0 Some(35),
    int8 None,
    nf4 None,
}

impl Format {
    const fn of<B: Coding<N>, const N: usize>(name: &'static str, gguf: Option<u32>, wgsl: &'static str) -> Self {
        Self { name, elements: N, bytes: size_of::<B>(), gguf, decode: decode::<B, N>, encode: encode::<B, N>, wgsl }
    }

    /// The format of this name, if there is one.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|format| format.name == name)
    }

    /// The format that has this number in GGUF files, if there is one.
    #[must_use]
    pub fn of_gguf(number: u32) -> Option<&'static Self> {
        Self::ALL.iter().find(|format| format.gguf == Some(number))
    }

    /// What whole blocks stand for. The same bits come out at every level, which has to be one that the machine has.
    pub fn decode(&self, level: Level, blocks: &[u8], values: &mut [f32]) {
        debug_assert_eq!(blocks.len() % self.bytes, 0);
        debug_assert_eq!(blocks.len() / self.bytes * self.elements, values.len());
        (self.decode)(level, blocks, values);
    }

    /// The blocks that come close to `values`: the same at every level, which has to be one that the machine has.
    ///
    /// A block with an infinity or NaN in it decodes to no number at all, wherever the format has scales that can say so.
    pub fn encode(&self, level: Level, values: &[f32], blocks: &mut [u8]) {
        debug_assert_eq!(values.len() % self.elements, 0);
        debug_assert_eq!(values.len() / self.elements * self.bytes, blocks.len());
        (self.encode)(level, values, blocks);
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Names are unique.
impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}

/// A block of `N` elements as it lies in memory. Implementations are `#[inline(always)]`, so that they are compiled for
/// the level at which they run.
trait Coding<const N: usize>: Pod {
    fn decode(&self, values: &mut [f32; N]);
    fn encode(values: &[f32; N]) -> Self;
}

fn decode<B: Coding<N>, const N: usize>(level: Level, blocks: &[u8], values: &mut [f32]) {
    struct Decode<'a, B, const N: usize>(&'a [B], &'a mut [[f32; N]]);

    impl<B: Coding<N>, const N: usize> Kernel for Decode<'_, B, N> {
        type Output = ();

        #[inline(always)]
        fn run<V: Simd>(self) {
            for (block, values) in self.0.iter().zip(self.1) {
                // Otherwise compilers make vectors of the same byte of several blocks.
                black_box(block).decode(values);
            }
        }
    }

    level.run(Decode(bytemuck::cast_slice::<_, B>(blocks), values.as_chunks_mut().0));
}

fn encode<B: Coding<N>, const N: usize>(level: Level, values: &[f32], blocks: &mut [u8]) {
    struct Encode<'a, B, const N: usize>(&'a [[f32; N]], &'a mut [B]);

    impl<B: Coding<N>, const N: usize> Kernel for Encode<'_, B, N> {
        type Output = ();

        #[inline(always)]
        fn run<V: Simd>(self) {
            for (values, block) in self.0.iter().zip(self.1) {
                *block = B::encode(values);
            }
        }
    }

    level.run(Encode(values.as_chunks().0, bytemuck::cast_slice_mut::<_, B>(blocks)));
}
