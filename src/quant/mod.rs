//! Formats of quantised weights: blocks of small integers and their scales, as they lie in files and on devices.
//!
//! A format is one file of this room, which says how a block lies in memory, what it decodes to and how numbers become
//! one; one shader under `shaders/quant/`, which decodes it too; and one line of the manifest.

mod bytes;
pub(crate) mod product;
mod search;
mod tensor;

use std::fmt;
use std::hint::black_box;

use bytemuck::Pod;

use self::product::{Form, Part};
use crate::cpu::simd::dots::Dots;
use crate::cpu::simd::{Kernel, Level, Simd};

pub use tensor::QuantTensor;

/// A format of quantised weights: blocks of so many elements in so many bytes, one after another along the last axis.
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
    /// How products with int8 take it.
    form: Form,
    multiply: fn(Level, &Part, bool),
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
    const fn of<B: Integers<N>, const N: usize>(name: &'static str, gguf: Option<u32>, wgsl: &'static str) -> Self {
        Self {
            name,
            elements: N,
            bytes: size_of::<B>(),
            gguf,
            decode: decode::<B, N>,
            encode: encode::<B, N>,
            form: B::FORM,
            multiply: product::multiply_part::<B, N>,
            wgsl,
        }
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

    /// Its place in [`Format::ALL`].
    #[must_use]
    pub fn index(&self) -> usize {
        Self::ALL.iter().position(|format| format == self).unwrap_or_default()
    }

    /// How many elements share a scale at least: 16 or 32.
    #[must_use]
    pub const fn group(&self) -> usize {
        self.form.part
    }

    /// Whether its elements are integers of a byte and a scale, without loss.
    #[must_use]
    pub const fn has_bytes(&self) -> bool {
        !self.form.fine
    }

    /// Bytes of so many elements, which are whole blocks.
    #[must_use]
    pub const fn bytes_of(&self, elements: usize) -> usize {
        elements / self.elements * self.bytes
    }

    /// What whole blocks stand for. The same bits come out at every level, which has to be one that the machine has.
    pub fn decode(&self, level: Level, blocks: &[u8], values: &mut [f32]) {
        debug_assert_eq!(blocks.len() % self.bytes, 0);
        debug_assert_eq!(blocks.len() / self.bytes * self.elements, values.len());
        (self.decode)(level, blocks, values);
    }

    /// The blocks that come close to `values`: the same at every level, which has to be one that the machine has.
    ///
    /// A block with an infinity or NaN in it decodes to no finite number, if the format has scales that can say so.
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

/// What a few blocks that are multiplied at once, [`Form::blocks`], are made of: in each part of the elements,
/// x = scale · (q − [`Form::zero`]) + minimum.
trait Integers<const N: usize>: Coding<N> {
    const FORM: Form;

    /// Their q: as many vectors as [`Form::planes`], and after them as many finer ones if it has any. The rest is not
    /// looked at.
    fn integers<D: Dots>(blocks: &[Self]) -> [D::Bytes; 4];

    /// The scales and the minima of the parts. Scales of blocks that hold infinities are not finite.
    fn scales<D: Dots>(blocks: &[Self]) -> [D::Floats; 2];
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What blocks decode to, at every level.
    pub(super) fn decoded(name: &str, blocks: &[u8]) -> Vec<f32> {
        let format = Format::find(name).unwrap();
        assert_eq!(blocks.len() % format.bytes, 0);
        alike(|level| {
            let mut values = vec![f32::NAN; blocks.len() / format.bytes * format.elements];
            format.decode(level, blocks, &mut values);
            values
        })
    }

    /// The blocks that values become, at every level.
    pub(super) fn encoded(name: &str, values: &[f32]) -> Vec<u8> {
        let format = Format::find(name).unwrap();
        assert_eq!(values.len() % format.elements, 0);
        alike(|level| {
            let mut blocks = vec![0xaa; values.len() / format.elements * format.bytes];
            format.encode(level, values, &mut blocks);
            blocks
        })
    }

    /// Checks some elements of a block.
    pub(super) fn check(name: &str, block: &[u8], elements: &[(usize, f32)]) {
        let decoded = decoded(name, block);
        for &(i, value) in elements {
            assert_eq!(decoded[i], value, "element {i}");
        }
    }

    fn alike<T: PartialEq + fmt::Debug>(run: impl Fn(Level) -> Vec<T>) -> Vec<T> {
        let first = run(Level::Scalar);
        for level in Level::available() {
            // NaN is unlike itself.
            assert_eq!(format!("{:?}", run(level)), format!("{first:?}"), "{level:?}");
        }
        first
    }

    /// Numbers of the normal distribution, nearly: sums of evenly distributed ones.
    pub(super) fn normal(count: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        };
        (0..count).map(|_| (0..12).map(|_| next()).sum()).collect()
    }

    /// Relative, by root mean squares.
    fn error(values: &[f32], decoded: &[f32]) -> f32 {
        let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
        let errors = squares(&mut values.iter().zip(decoded).map(|(x, y)| x - y));
        (errors / squares(&mut values.iter().copied())).sqrt()
    }

    #[test]
    fn is_found() {
        for format in Format::ALL {
            assert_eq!(Format::find(format.name), Some(format));
            if let Some(number) = format.gguf {
                assert_eq!(Format::of_gguf(number), Some(format));
            }
        }
        assert_eq!(Format::find("q4"), None);
        assert_eq!(Format::of_gguf(0), None);
    }

    #[test]
    fn bytes_are_given_in_shaders_too() {
        for format in Format::ALL {
            assert_eq!(format.has_bytes(), format.wgsl.contains("fn packed_eight("), "{format:?}");
        }
    }

    #[test]
    fn errors_are_small() {
        let most = [
            ("q8_0", 0.0055),
            ("q4_0", 0.087),
            ("q4_1", 0.079),
            ("q5_0", 0.043),
            ("q5_1", 0.039),
            ("q2_k", 0.265),
            ("q3_k", 0.145),
            ("q4_k", 0.071),
            ("q5_k", 0.0351),
            ("q6_k", 0.0172),
            ("iq4_nl", 0.0745),
            ("iq4_xs", 0.0752),
            ("mxfp4", 0.119),
            ("tq1_0", 0.81),
            ("tq2_0", 0.81),
            ("int8", 0.006),
            ("nf4", 0.093),
        ];
        assert!(most.iter().map(|(name, _)| *name).eq(Format::ALL.iter().map(|format| format.name)));
        let values = normal(256 * 64);
        for (name, most) in most {
            for scale in [0.01, 100.0] {
                let values: Vec<f32> = values.iter().map(|x| x * scale).collect();
                let error = error(&values, &decoded(name, &encoded(name, &values)));
                assert!(error < most, "{name}: {error}");
            }
        }
    }

    #[test]
    fn constants_stay() {
        for format in Format::ALL {
            for value in [0.0, 0.75, -3.0] {
                let decoded = decoded(format.name, &encoded(format.name, &[value; 256]));
                assert!(decoded.iter().all(|x| (x - value).abs() <= 0.002 * value.abs()), "{format:?}: {decoded:?}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for format in Format::ALL {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = normal(3 * format.elements);
                values[format.elements + 5] = value;
                let decoded = decoded(format.name, &encoded(format.name, &values));
                let (first, rest) = decoded.split_at(format.elements);
                let (second, third) = rest.split_at(format.elements);
                assert!(first.iter().chain(third).all(|x| x.is_finite()), "{format:?}");
                if format.name == "mxfp4" {
                    // It has no NaN: that becomes zero.
                    assert_eq!(second[5], if value.is_nan() { 0.0 } else { value });
                } else {
                    assert!(second.iter().all(|x| !x.is_finite()), "{format:?}: {second:?}");
                }
            }
        }
    }

    #[test]
    fn very_large_and_very_small_values_do_no_harm() {
        for format in Format::ALL {
            for value in [1e-45, 1e-38, 1e-20, 1e20, f32::MAX] {
                let mut values = normal(format.elements);
                values[0] = value;
                decoded(format.name, &encoded(format.name, &values));
                let decoded = decoded(format.name, &encoded(format.name, &vec![value; format.elements]));
                assert!(value >= 1.0 || decoded.iter().all(|x| (x - value).abs() <= 1e-20), "{format:?}: {decoded:?}");
            }
        }
    }
}
