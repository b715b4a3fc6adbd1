//! Element types and how they combine.

use std::fmt;

use crate::error::{Error, Result};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    Float32,
    Float16,
    BFloat16,
    Int32,
    UInt32,
    Int8,
    UInt8,
    Bool,
}

/// What kind of number a type holds; arithmetic is chosen by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Float,
    Int,
    Bool,
}

impl DType {
    /// Every type, in the order in which they are documented.
    pub const ALL: [Self; 8] =
        [Self::Float32, Self::Float16, Self::BFloat16, Self::Int32, Self::UInt32, Self::Int8, Self::UInt8, Self::Bool];

    /// NumPy's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::BFloat16 => "bfloat16",
            Self::Int32 => "int32",
            Self::UInt32 => "uint32",
            Self::Int8 => "int8",
            Self::UInt8 => "uint8",
            Self::Bool => "bool",
        }
    }

    /// The type of this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes an element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Float32 | Self::Int32 | Self::UInt32 => 4,
            Self::Float16 | Self::BFloat16 => 2,
            Self::Int8 | Self::UInt8 | Self::Bool => 1,
        }
    }

    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Float32 | Self::Float16 | Self::BFloat16 => Kind::Float,
            Self::Int32 | Self::UInt32 | Self::Int8 | Self::UInt8 => Kind::Int,
            Self::Bool => Kind::Bool,
        }
    }

    /// Elements in one 32-bit word.
    #[must_use]
    pub const fn per_word(self) -> usize {
        4 / self.size()
    }

    /// The smallest and largest integer that an integer type holds.
    #[must_use]
    pub const fn int_range(self) -> (i64, i64) {
        match self {
            Self::Int32 => (i32::MIN as i64, i32::MAX as i64),
            Self::UInt32 => (0, u32::MAX as i64),
            Self::Int8 => (i8::MIN as i64, i8::MAX as i64),
            Self::UInt8 => (0, u8::MAX as i64),
            Self::Bool => (0, 1),
            Self::Float32 | Self::Float16 | Self::BFloat16 => (i64::MIN, i64::MAX),
        }
    }

    /// The type of an operation on two tensors: NumPy's rule, with float32 where NumPy would say float64.
    pub fn promote(self, other: Self, operation: &str) -> Result<Self> {
        use DType::{BFloat16, Bool, Float16, Float32, Int8, Int32, UInt8, UInt32};
        Ok(match (self, other) {
            (a, b) if a == b => a,
            (Bool, x) | (x, Bool) => x,
            (Float32, _) | (_, Float32) | (Float16, BFloat16) | (BFloat16, Float16) => Float32,
            (a, b) if a.kind() == Kind::Float || b.kind() == Kind::Float => Float32,
            (Int8 | Int32 | UInt8, Int8 | Int32 | UInt8) => Int32,
            (UInt8, UInt32) | (UInt32, UInt8) => UInt32,
            (a, b) => {
                return Err(Error::DType(format!(
                    "{operation}: {a} and {b} together need int64, which no device has; convert one of them with astype()"
                )));
            }
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A Python scalar: it takes the type of the tensor beside it where it can ("weak").
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    Bool(bool),
    Int(i128),
    /// An integer too large for 128 bits, as the nearest float64: no integer type holds it.
    Vast(f64),
    Float(f64),
}

impl Scalar {
    /// The type of an operation on a tensor of type `beside` and this scalar, which may be unable to hold the scalar.
    #[must_use]
    pub const fn promote(self, beside: DType) -> DType {
        match (self, beside.kind()) {
            (Self::Bool(_), _) | (_, Kind::Float) | (Self::Int(_) | Self::Vast(_), Kind::Int) => beside,
            (Self::Int(_) | Self::Vast(_), Kind::Bool) => DType::Int32,
            (Self::Float(_), Kind::Int | Kind::Bool) => DType::Float32,
        }
    }

    /// The type it has by itself.
    #[must_use]
    pub const fn own_dtype(self) -> DType {
        match self {
            Self::Bool(_) => DType::Bool,
            Self::Int(_) | Self::Vast(_) => DType::Int32,
            Self::Float(_) => DType::Float32,
        }
    }

    /// Refuses an integer that `dtype` cannot hold.
    pub fn check(self, dtype: DType, operation: &str) -> Result<()> {
        let (low, high) = dtype.int_range();
        let outside = match self {
            Self::Int(value) if !(i128::from(low)..=i128::from(high)).contains(&value) => value.to_string(),
            Self::Vast(value) if value.is_finite() => format!("{value:e}"),
            Self::Vast(value) => format!("beyond {:e}", f64::MAX.copysign(value)),
            _ => return Ok(()),
        };
        if dtype.kind() != Kind::Int {
            return Ok(());
        }
        Err(Error::DType(format!(
            "{operation}: the integer {outside} is outside the range of {dtype}, {low} to {high}"
        )))
    }

    #[must_use]
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Bool(value) => value as u8 as f64,
            Self::Int(value) => value as f64,
            Self::Vast(value) | Self::Float(value) => value,
        }
    }

    #[must_use]
    pub fn as_i64(self) -> i64 {
        match self {
            Self::Bool(value) => i64::from(value),
            Self::Int(value) if value < 0 => i64::try_from(value).unwrap_or(i64::MIN),
            Self::Int(value) => i64::try_from(value).unwrap_or(i64::MAX),
            Self::Vast(value) | Self::Float(value) => value as i64,
        }
    }

    /// The scalar as one element of `dtype`, in the low bytes of the array (little-endian, as everything here).
    #[must_use]
    pub fn to_bytes(self, dtype: DType) -> [u8; 4] {
        let low = |bytes: &[u8]| {
            let mut all = [0; 4];
            all[..bytes.len()].copy_from_slice(bytes);
            all
        };
        match dtype {
            DType::Float32 => (self.as_f64() as f32).to_le_bytes(),
            DType::Float16 => low(&half::f16::from_f32(rounded_to_odd(self.as_f64())).to_le_bytes()),
            DType::BFloat16 => low(&half::bf16::from_f32(rounded_to_odd(self.as_f64())).to_le_bytes()),
            // Floats become the nearest integer that the type holds, as in conversions; integers have been checked.
            DType::Int32 | DType::UInt32 | DType::Int8 | DType::UInt8 => {
                let (least, most) = dtype.int_range();
                low(&(self.as_i64().clamp(least, most) as u32).to_le_bytes()[..dtype.size()])
            }
            DType::Bool => low(&[u8::from(match self {
                Self::Bool(value) => value,
                Self::Int(value) => value != 0,
                Self::Vast(value) | Self::Float(value) => value != 0.0,
            })]),
        }
    }
}

/// A float64 as a float32 that rounds to the same 16-bit float as itself: what does not fit is cut off, and leaves its
/// mark in the last bit, so that no tie is made of what was none.
#[must_use]
pub fn rounded_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if value.is_nan() || back == value {
        return nearest;
    }
    f32::from_bits((nearest.to_bits() - u32::from(back.abs() > value.abs())) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_is_symmetric_and_idempotent() {
        for a in DType::ALL {
            assert_eq!(a.promote(a, "op").unwrap(), a);
            for b in DType::ALL {
                assert_eq!(
                    a.promote(b, "op"),
                    b.promote(a, "op").map_err(|e| match e {
                        Error::DType(m) => Error::DType(m.replace(&format!("{b} and {a}"), &format!("{a} and {b}"))),
                        e => e,
                    })
                );
            }
        }
    }

    #[test]
    fn weak_scalars_keep_the_tensors_type_where_they_can() {
        assert_eq!(Scalar::Float(2.0).promote(DType::Float16), DType::Float16);
        assert_eq!(Scalar::Float(2.0).promote(DType::Int32), DType::Float32);
        assert_eq!(Scalar::Int(2).promote(DType::Bool), DType::Int32);
        assert!(Scalar::Int(300).check(DType::UInt8, "op").is_err());
        assert!(Scalar::Int(-1).check(DType::UInt32, "op").is_err());
        assert!(Scalar::Vast(1e60).check(DType::Int32, "op").is_err());
        assert!(Scalar::Vast(1e60).check(DType::Float16, "op").is_ok());
    }

    #[test]
    fn numbers_are_rounded_to_16_bits_once() {
        let (f16, bf16) = (DType::Float16, DType::BFloat16);
        for (value, dtype, bits) in [
            // A tie in float16 but for a bit that float32 has no room for, and the tie itself.
            (1.0 + 2_f64.powi(-11) + 2_f64.powi(-45), f16, 0x3c01),
            (1.0 + 2_f64.powi(-11), f16, 0x3c00),
            (1.0 + 3.0 * 2_f64.powi(-11) - 2_f64.powi(-45), f16, 0x3c01),
            (-1.0 - 2_f64.powi(-8) - 2_f64.powi(-45), bf16, 0xbf81),
            (1.0 + 2_f64.powi(-8), bf16, 0x3f80),
            (2_f64.powi(-25), f16, 0),
            (2_f64.powi(-25) * (1.0 + 2_f64.powi(-40)), f16, 1),
            (1e-320, bf16, 0),
            (1e300, bf16, 0x7f80),
            (f64::NEG_INFINITY, f16, 0xfc00),
            (65_519.999_999_999, f16, 0x7bff),
        ] {
            assert_eq!(Scalar::Float(value).to_bytes(dtype), u32::to_le_bytes(bits), "{value:e} {dtype}");
        }
        assert!(rounded_to_odd(f64::NAN).is_nan());
    }
}
