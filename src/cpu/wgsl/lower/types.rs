//! Types as lists of scalars, and where those lie in memory.

use std::rc::Rc;

use naga::proc::IndexableLength;
use naga::{Module, ScalarKind, TypeInner, VectorSize};

use crate::cpu::wgsl::ir::{Format, Kind};

/// A scalar's type. What is `half` is an `F32` that a half can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scalar {
    pub(super) kind: Kind,
    pub(super) half: bool,
}

impl Scalar {
    pub(super) const BOOL: Self = Self::plain(Kind::Bool);
    pub(super) const U32: Self = Self::plain(Kind::U32);
    pub(super) const F32: Self = Self::plain(Kind::F32);

    pub(super) const fn plain(kind: Kind) -> Self {
        Self { kind, half: false }
    }

    pub(super) fn of(scalar: naga::Scalar) -> Result<Self, &'static str> {
        Ok(match (scalar.kind, scalar.width) {
            (ScalarKind::Bool, _) => Self::BOOL,
            (ScalarKind::Sint, 4) => Self::plain(Kind::I32),
            (ScalarKind::Sint, 8) => Self::plain(Kind::I64),
            (ScalarKind::Uint, 4) => Self::U32,
            (ScalarKind::Uint, 8) => Self::plain(Kind::U64),
            (ScalarKind::Float, 2) => Self { kind: Kind::F32, half: true },
            (ScalarKind::Float, 4) => Self::F32,
            (ScalarKind::Float, 8) => Self::plain(Kind::F64),
            (ScalarKind::Sint | ScalarKind::Uint, 2) => return Err("16-bit integers"),
            _ => return Err("numbers of this width"),
        })
    }

    fn format(self, layout: Layout) -> Format {
        match (layout, self) {
            (Layout::Shared, Self { half: true, .. }) => Format::F16,
            (Layout::Shared, Self { kind: Kind::Bool, .. }) => Format::Bool8,
            (_, Self { kind, .. }) => Format::Plain(kind),
        }
    }
}

/// By whose rules a type lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// WGSL's, for memory that others see too.
    Shared,
    /// Ours, for private memory: nothing is padded but to multiples of a scalar's size.
    Packed,
}

/// A type whose values are lists of scalars.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) shape: Shape,
    /// How many scalars a value has: none for arrays whose length only the buffer knows.
    pub(super) scalars: usize,
    /// Bytes in private memory, and the multiple of bytes at which it may begin.
    pub(super) packed: u64,
    alignment: u64,
}

#[derive(Debug)]
pub(super) enum Shape {
    /// Atomics too.
    Scalar(Scalar),
    /// Vectors, matrices and arrays.
    Series {
        element: Rc<Type>,
        /// None where only the buffer knows.
        count: Option<u32>,
        stride: u32,
    },
    Struct(Vec<Member>),
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) ty: Rc<Type>,
    /// The place of its first scalar among the struct's.
    pub(super) first: usize,
    offset: u32,
    packed: u64,
}

impl Member {
    pub(super) fn offset(&self, layout: Layout) -> u32 {
        match layout {
            Layout::Shared => self.offset,
            Layout::Packed => small(self.packed),
        }
    }
}

/// Types of which anything has more than four billion bytes are refused before any offset in them is asked for.
fn small(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Type {
    pub(super) fn scalar(scalar: Scalar) -> Rc<Self> {
        let bytes = if scalar.kind.is_wide() { 8 } else { 4 };
        Rc::new(Self { shape: Shape::Scalar(scalar), scalars: 1, packed: bytes, alignment: bytes })
    }

    fn series(element: Rc<Self>, count: Option<u32>, stride: u32) -> Rc<Self> {
        let many = count.unwrap_or(0);
        Rc::new(Self {
            scalars: element.scalars.saturating_mul(many as usize),
            packed: element.packed_stride().saturating_mul(many.into()),
            alignment: element.alignment,
            shape: Shape::Series { element, count, stride },
        })
    }

    fn vector(size: VectorSize, scalar: naga::Scalar) -> Result<Rc<Self>, &'static str> {
        Ok(Self::series(Self::scalar(Scalar::of(scalar)?), Some(size as u32), scalar.width.into()))
    }

    fn packed_stride(&self) -> u64 {
        self.packed.next_multiple_of(self.alignment)
    }

    /// Bytes from one element of a series to the next.
    pub(super) fn stride(&self, layout: Layout) -> u32 {
        match (&self.shape, layout) {
            (Shape::Series { stride, .. }, Layout::Shared) => *stride,
            (Shape::Series { element, .. }, Layout::Packed) => small(element.packed_stride()),
            _ => 0,
        }
    }

    /// The type, the first scalar and the place of an element or a member.
    pub(super) fn part(&self, index: u32, layout: Layout) -> Option<(Rc<Self>, usize, u32)> {
        match &self.shape {
            Shape::Scalar(_) => None,
            Shape::Series { element, .. } => Some((
                element.clone(),
                element.scalars.checked_mul(index as usize)?,
                self.stride(layout).checked_mul(index)?,
            )),
            Shape::Struct(members) => {
                let member = members.get(index as usize)?;
                Some((member.ty.clone(), member.first, member.offset(layout)))
            }
        }
    }

    /// Calls `f` with each scalar's offset and type, in order.
    pub(super) fn scalars(&self, layout: Layout, offset: u32, f: &mut dyn FnMut(u32, Scalar)) {
        match &self.shape {
            Shape::Scalar(scalar) => f(offset, *scalar),
            Shape::Series { element, count, .. } => {
                for i in 0..count.unwrap_or(0) {
                    element.scalars(layout, offset + i * self.stride(layout), f);
                }
            }
            Shape::Struct(members) => {
                for member in members {
                    member.ty.scalars(layout, offset + member.offset(layout), f);
                }
            }
        }
    }

    /// The kinds of a value's scalars.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let mut kinds = Vec::with_capacity(self.scalars);
        self.scalars(Layout::Packed, 0, &mut |_, scalar| kinds.push(scalar.kind));
        kinds
    }

    /// Where the scalars of a value lie, and how.
    pub(super) fn formats(&self, layout: Layout) -> Vec<(u32, Format)> {
        let mut formats = Vec::with_capacity(self.scalars);
        self.scalars(layout, 0, &mut |offset, scalar| formats.push((offset, scalar.format(layout))));
        formats
    }
}

/// All types of a module, by their handles.
pub(super) struct Types<'a> {
    module: &'a Module,
    all: Vec<Result<Rc<Type>, &'static str>>,
}

impl<'a> Types<'a> {
    pub(super) fn new(module: &'a Module) -> Self {
        let mut types = Self { module, all: Vec::with_capacity(module.types.len()) };
        for (_, ty) in module.types.iter() {
            let ty = types.of(&ty.inner);
            types.all.push(ty);
        }
        types
    }

    pub(super) fn get(&self, handle: naga::Handle<naga::Type>) -> Result<Rc<Type>, &'static str> {
        self.all[handle.index()].clone()
    }

    /// The type, or what about it is not supported.
    pub(super) fn of(&self, inner: &TypeInner) -> Result<Rc<Type>, &'static str> {
        match *inner {
            TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => Ok(Type::scalar(Scalar::of(scalar)?)),
            TypeInner::Vector { size, scalar } => Type::vector(size, scalar),
            TypeInner::Matrix { columns, rows, scalar } => {
                let padded = if rows == VectorSize::Bi { 2 } else { 4 };
                let column = Type::vector(rows, scalar)?;
                Ok(Type::series(column, Some(columns as u32), padded * u32::from(scalar.width)))
            }
            TypeInner::Array { base, size, stride } => {
                let count = match size.resolve(self.module.to_ctx()) {
                    Ok(IndexableLength::Known(count)) => Some(count),
                    Ok(IndexableLength::Dynamic) => None,
                    Err(_) => return Err("arrays whose length is not known"),
                };
                Ok(Type::series(self.get(base)?, count, stride))
            }
            TypeInner::Struct { ref members, .. } => {
                let (mut first, mut packed, mut alignment) = (0_usize, 0_u64, 4);
                let mut all = Vec::with_capacity(members.len());
                for member in members {
                    let ty = self.get(member.ty)?;
                    packed = packed.next_multiple_of(ty.alignment);
                    all.push(Member { first, packed, offset: member.offset, ty: ty.clone() });
                    first = first.saturating_add(ty.scalars);
                    packed = packed.saturating_add(ty.packed);
                    alignment = alignment.max(ty.alignment);
                }
                Ok(Rc::new(Type { shape: Shape::Struct(all), scalars: first, packed, alignment }))
            }
            TypeInner::Image { .. } => Err("textures"),
            TypeInner::Sampler { .. } => Err("samplers"),
            TypeInner::CooperativeMatrix { .. } => Err("cooperative matrices"),
            TypeInner::AccelerationStructure { .. } | TypeInner::RayQuery { .. } => Err("ray queries"),
            TypeInner::BindingArray { .. } => Err("arrays of bindings"),
            TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. } => Err("pointers to pointers"),
        }
    }
}
