//! WGSL's types as they lie in memory: what a buffer or a uniform has to hold.

use std::fmt;

use naga::{ArraySize, Handle, Module, ScalarKind, TypeInner};

/// A type of something that buffers hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Scalar(Scalar),
    Atomic(Scalar),
    Vector {
        size: usize,
        scalar: Scalar,
    },
    Matrix {
        columns: usize,
        rows: usize,
        scalar: Scalar,
    },
    Array {
        of: Box<Self>,
        /// None where the buffer decides.
        count: Option<usize>,
        /// Bytes from one element to the next.
        stride: usize,
    },
    Struct {
        name: String,
        fields: Vec<Field>,
        size: usize,
    },
}

/// A member of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// Bytes from the beginning of the struct.
    pub offset: usize,
    pub ty: Type,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    F16,
    F32,
    F64,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
}

/// Types nest no deeper than so: WGSL promises 15 levels.
const DEEPEST: usize = 64;

impl Scalar {
    fn of(scalar: naga::Scalar) -> Option<Self> {
        Some(match (scalar.kind, scalar.width) {
            (ScalarKind::Float, 2) => Self::F16,
            (ScalarKind::Float, 4) => Self::F32,
            (ScalarKind::Float, 8) => Self::F64,
            (ScalarKind::Sint, 2) => Self::I16,
            (ScalarKind::Uint, 2) => Self::U16,
            (ScalarKind::Sint, 4) => Self::I32,
            (ScalarKind::Uint, 4) => Self::U32,
            (ScalarKind::Sint, 8) => Self::I64,
            (ScalarKind::Uint, 8) => Self::U64,
            _ => return None,
        })
    }

    /// Its name in WGSL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// NumPy's name of it.
    #[must_use]
    pub const fn numpy(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I16 => "int16",
            Self::U16 => "uint16",
            Self::I32 => "int32",
            Self::U32 => "uint32",
            Self::I64 => "int64",
            Self::U64 => "uint64",
        }
    }
}

/// What an element of a buffer is made of, where all its numbers are of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    pub scalar: Scalar,
    /// How many there are.
    pub count: usize,
    /// Whether a fourth follows every three of them in memory, which is no part of the element.
    pub padded: bool,
}

impl Type {
    /// The type behind a handle, if buffers can hold it.
    pub(crate) fn of(module: &Module, handle: Handle<naga::Type>) -> Option<Self> {
        Self::within(module, handle, 0)
    }

    /// The same within so many other types.
    fn within(module: &Module, handle: Handle<naga::Type>, depth: usize) -> Option<Self> {
        if depth > DEEPEST {
            return None;
        }
        let ty = &module.types[handle];
        Some(match &ty.inner {
            TypeInner::Scalar(scalar) => Self::Scalar(Scalar::of(*scalar)?),
            TypeInner::Atomic(scalar) => Self::Atomic(Scalar::of(*scalar)?),
            TypeInner::Vector { size, scalar } => Self::Vector { size: *size as usize, scalar: Scalar::of(*scalar)? },
            TypeInner::Matrix { columns, rows, scalar } => {
                Self::Matrix { columns: *columns as usize, rows: *rows as usize, scalar: Scalar::of(*scalar)? }
            }
            TypeInner::Array { base, size, stride } => Self::Array {
                of: Box::new(Self::within(module, *base, depth + 1)?),
                count: match size {
                    ArraySize::Constant(count) => Some(count.get() as usize),
                    ArraySize::Dynamic => None,
                    // Only in workgroup memory.
                    ArraySize::Pending(_) => return None,
                },
                stride: *stride as usize,
            },
            TypeInner::Struct { members, span } => Self::Struct {
                name: ty.name.clone().unwrap_or_default(),
                fields: members
                    .iter()
                    .map(|member| {
                        Some(Field {
                            name: member.name.clone().unwrap_or_default(),
                            offset: member.offset as usize,
                            ty: Self::within(module, member.ty, depth + 1)?,
                        })
                    })
                    .collect::<Option<_>>()?,
                size: *span as usize,
            },
            _ => return None,
        })
    }

    /// Bytes, without the elements whose number the buffer decides.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Scalar(scalar) | Self::Atomic(scalar) => scalar.size(),
            Self::Vector { size, scalar } => size * scalar.size(),
            Self::Matrix { columns, rows, scalar } => columns * column_stride(*rows) * scalar.size(),
            Self::Array { count, stride, .. } => count.unwrap_or(0) * stride,
            // The end of a struct is rounded up as for one element behind it.
            Self::Struct { fields, size, .. } => match self.tail() {
                None => *size,
                Some(_) => fields.last().expect("the tail").offset,
            },
        }
    }

    /// Bytes of the largest number in it.
    #[must_use]
    pub fn largest_scalar(&self) -> usize {
        match self {
            Self::Scalar(scalar) | Self::Atomic(scalar) | Self::Vector { scalar, .. } | Self::Matrix { scalar, .. } => {
                scalar.size()
            }
            Self::Array { of, .. } => of.largest_scalar(),
            Self::Struct { fields, .. } => fields.iter().map(|field| field.ty.largest_scalar()).max().unwrap_or(1),
        }
    }

    /// The type and the stride of the elements whose number the buffer decides.
    #[must_use]
    pub fn tail(&self) -> Option<(&Self, usize)> {
        match self {
            Self::Array { of, count: None, stride } => Some((of, *stride)),
            Self::Struct { fields, .. } => fields.last()?.ty.tail(),
            _ => None,
        }
    }

    /// What one element is made of, unless there are structs in it.
    #[must_use]
    pub fn numbers(&self) -> Option<Numbers> {
        let plain = |scalar: &Scalar, count| Numbers { scalar: *scalar, count, padded: false };
        Some(match self {
            Self::Scalar(scalar) | Self::Atomic(scalar) => plain(scalar, 1),
            Self::Vector { size, scalar } => plain(scalar, *size),
            Self::Matrix { columns, rows, scalar } => Numbers { padded: *rows == 3, ..plain(scalar, columns * rows) },
            Self::Array { of, count, stride } => {
                let of = of.numbers()?;
                Numbers {
                    count: of.count * count.unwrap_or(1),
                    padded: of.padded || *stride != of.count * of.scalar.size(),
                    ..of
                }
            }
            Self::Struct { .. } => return None,
        })
    }
}

/// From the beginning of a matrix' column to that of the next, in numbers.
#[must_use]
pub const fn column_stride(rows: usize) -> usize {
    if rows == 3 { 4 } else { rows }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => write!(f, "{scalar}"),
            Self::Atomic(scalar) => write!(f, "atomic<{scalar}>"),
            Self::Vector { size, scalar } => write!(f, "vec{size}<{scalar}>"),
            Self::Matrix { columns, rows, scalar } => write!(f, "mat{columns}x{rows}<{scalar}>"),
            Self::Array { of, count: None, .. } => write!(f, "array<{of}>"),
            Self::Array { of, count: Some(count), .. } => write!(f, "array<{of}, {count}>"),
            Self::Struct { name, .. } => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(text: &str) -> Type {
        let module = naga::front::wgsl::parse_str(&format!("{text}\nvar<private> x: T;")).unwrap();
        Type::of(&module, module.global_variables.iter().next().unwrap().1.ty).unwrap()
    }

    #[test]
    fn layouts_are_wgsl_s() {
        let inner = "struct I { a: vec3<f32>, b: f32, c: mat3x3<f32>, d: array<vec3<u32>, 2> }";
        let ty = type_of(&format!("{inner} struct T {{ i: I, m: mat2x2<f32>, last: f32 }}"));
        let Type::Struct { fields, size, .. } = &ty else { panic!("{ty:?}") };
        // By hand: 12 + 4, 3 columns of 16, 2 elements of 16; then 16 and 4, rounded up to 16.
        assert_eq!((fields[1].offset, fields[2].offset, *size), (96, 112, 128));
        let Type::Struct { fields, .. } = &fields[0].ty else { panic!("{ty:?}") };
        assert_eq!(fields.iter().map(|field| field.offset).collect::<Vec<_>>(), [0, 12, 16, 64]);
        assert_eq!(fields.iter().map(|field| field.ty.size()).collect::<Vec<_>>(), [12, 4, 48, 32]);
    }

    #[test]
    fn elements_say_what_they_are_made_of() {
        let numbers = |text: &str| type_of(&format!("alias T = {text};")).numbers().map(|n| (n.count, n.padded));
        assert_eq!(numbers("vec3<f32>"), Some((3, false)));
        assert_eq!(numbers("array<vec3<f32>, 2>"), Some((6, true)));
        assert_eq!(numbers("mat3x3<f32>"), Some((9, true)));
        assert_eq!(numbers("mat3x2<f32>"), Some((6, false)));
        assert_eq!(numbers("array<mat2x3<f32>, 5>"), Some((30, true)));
        assert_eq!(numbers("array<array<vec4<u32>, 2>, 5>"), Some((40, false)));
    }

    #[test]
    fn types_read_as_they_were_written() {
        for text in ["array<vec4<f32>, 3>", "mat3x2<f32>", "atomic<u32>", "array<array<i32, 2>, 4>"] {
            assert_eq!(type_of(&format!("alias T = {text};")).to_string(), text);
        }
    }
}
