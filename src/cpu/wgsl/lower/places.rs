//! Pointers, and what is loaded and stored by them.

use std::rc::Rc;

use super::types::{Layout, Shape, Type};
use super::{Lowering, Result, Values, unsupported};
use crate::cpu::wgsl::ir::{Count, Format, Kind, Memory, Op, Part, Place, Statement, Step, Unary, Value, Variable};

/// The most scalars that are loaded or stored at once.
const LARGEST: usize = 1 << 16;

/// Variables of more scalars lie in memory.
const FEW: usize = 256;

/// The most bytes of private memory that an invocation needs.
const PRIVATE: u64 = 1 << 20;

/// Where something is. It is known but for the indices.
#[derive(Debug, Clone)]
pub(super) struct Pointer {
    pub(super) root: Root,
    /// Bytes, or scalars of variables.
    pub(super) offset: u32,
    pub(super) steps: Vec<Step>,
    /// What is there.
    pub(super) ty: Rc<Type>,
}

#[derive(Debug, Clone)]
pub(super) enum Root {
    /// One for each scalar.
    Variables(Rc<[Variable]>),
    Memory(Memory),
}

/// Private memory: a stack, since what a function has is free when it returns.
#[derive(Default)]
pub(super) struct Private {
    top: u32,
    /// As high as it got.
    pub(super) highest: u32,
    /// What lies below stays.
    kept: u32,
}

impl Private {
    fn allocate(&mut self, ty: &Type) -> Result<u32> {
        if ty.packed > PRIVATE || u64::from(self.top) + ty.packed > PRIVATE {
            return unsupported("more than 1 MiB of variables for each invocation");
        }
        let offset = self.top;
        self.top = (offset + ty.packed as u32).next_multiple_of(8);
        self.highest = self.highest.max(self.top);
        Ok(offset)
    }

    pub(super) fn mark(&self) -> u32 {
        self.top
    }

    pub(super) fn release(&mut self, mark: u32) {
        self.top = mark.max(self.kept);
    }
}

fn layout(memory: Memory) -> Layout {
    match memory {
        Memory::Private => Layout::Packed,
        Memory::Buffer { .. } | Memory::Workgroup => Layout::Shared,
    }
}

impl Pointer {
    pub(super) fn memory(memory: Memory, offset: u32, ty: Rc<Type>) -> Self {
        Self { root: Root::Memory(memory), offset, steps: Vec::new(), ty }
    }

    fn place(&self, memory: Memory) -> Place {
        Place { memory, offset: self.offset, steps: self.steps.clone() }
    }

    /// The place and the kind of an atomic.
    pub(super) fn atomic(&self) -> Result<(Place, Kind)> {
        match (&self.root, &self.ty.shape) {
            (Root::Memory(memory), Shape::Scalar(scalar)) => Ok((self.place(*memory), scalar.kind)),
            _ => unsupported("an atomic of this kind"),
        }
    }
}

impl Lowering<'_> {
    /// A new variable that each invocation has for itself.
    pub(super) fn allocate(&mut self, ty: &Rc<Type>, indexed: bool) -> Result<Pointer> {
        if !indexed && ty.scalars <= FEW {
            let variables = ty.kinds().into_iter().map(|kind| self.build.variable(kind)).collect();
            return Ok(Pointer { root: Root::Variables(variables), offset: 0, steps: Vec::new(), ty: ty.clone() });
        }
        let offset = self.private.allocate(ty)?;
        Ok(Pointer::memory(Memory::Private, offset, ty.clone()))
    }

    /// Gives a new variable its first value, or zero; `again` if what it had before may be left there.
    pub(super) fn initialise(&mut self, pointer: &Pointer, values: Option<&Values>, again: bool) -> Result<()> {
        match (values, &pointer.root) {
            (Some(values), _) => self.store(pointer, values)?,
            (None, Root::Variables(variables)) if again => {
                for (variable, kind) in variables.iter().zip(pointer.ty.kinds()) {
                    let zero = self.build.zero(kind);
                    self.build.set(*variable, zero);
                }
            }
            (None, Root::Variables(_)) => {}
            (None, Root::Memory(_)) => self.clear(pointer),
        }
        Ok(())
    }

    /// Makes a variable in private memory zero.
    fn clear(&mut self, pointer: &Pointer) {
        self.build.push(Statement::Clear { offset: pointer.offset, size: pointer.ty.packed as u32 });
    }

    /// An array in private memory that holds the values, to be indexed there.
    pub(super) fn spill(&mut self, ty: &Rc<Type>, values: &Values) -> Result<Pointer> {
        if !values.iter().all(|value| self.build.known(*value).is_some()) {
            let pointer = self.allocate(ty, true)?;
            self.store(&pointer, values)?;
            return Ok(pointer);
        }
        // Constants are stored once, at the beginning, and stay.
        if let Some(offset) = self.tables.get(values) {
            return Ok(Pointer::memory(Memory::Private, *offset, ty.clone()));
        }
        let pointer = self.allocate(ty, true)?;
        self.private.kept = self.private.top;
        self.tables.insert(values.clone(), pointer.offset);
        self.build.open();
        self.store(&pointer, values)?;
        let stores = self.build.close();
        self.prologue.extend(stores);
        Ok(pointer)
    }

    /// A pointer to an element or a member whose number is known.
    pub(super) fn part_of(&mut self, pointer: &Pointer, index: u32) -> Result<Pointer> {
        if let Shape::Series { count: None, .. } = pointer.ty.shape {
            let index = self.build.u32(index);
            return self.element_of(pointer, index);
        }
        let layout = match pointer.root {
            Root::Variables(_) => Layout::Packed,
            Root::Memory(memory) => layout(memory),
        };
        let Some((ty, first, offset)) = pointer.ty.part(index, layout) else { return unsupported("this index") };
        let offset = match pointer.root {
            Root::Variables(_) => first as u32,
            Root::Memory(_) => offset,
        };
        Ok(Pointer { root: pointer.root.clone(), offset: pointer.offset + offset, steps: pointer.steps.clone(), ty })
    }

    /// A pointer to an element whose number is computed.
    pub(super) fn element_of(&mut self, pointer: &Pointer, index: Value) -> Result<Pointer> {
        let index = self.narrow_index(index);
        let (Root::Memory(memory), Shape::Series { element, count, .. }) = (&pointer.root, &pointer.ty.shape) else {
            return unsupported("this index");
        };
        if let (Some(count), Some(index)) = (count, self.build.known(index))
            && index < u64::from(*count)
        {
            return self.part_of(pointer, index as u32);
        }
        let count = match *count {
            Some(count) => Count::Fixed(count),
            None => Count::Runtime { offset: pointer.offset },
        };
        let mut steps = pointer.steps.clone();
        steps.push(Step { index, stride: pointer.ty.stride(layout(*memory)), count });
        Ok(Pointer { root: pointer.root.clone(), offset: pointer.offset, steps, ty: element.clone() })
    }

    /// An index of 32 bits that is too large if the index is.
    fn narrow_index(&mut self, index: Value) -> Value {
        let wide = match self.build.kind(index) {
            Kind::I64 => self.build.unary(Unary::Bitcast(Kind::U64), index),
            Kind::U64 => index,
            _ => return index,
        };
        let most = self.build.constant(Kind::U64, u32::MAX.into());
        let index = self.build.min(wide, most);
        self.build.unary(Unary::Convert(Kind::U32), index)
    }

    /// New values for what lies in memory.
    fn parts(&mut self, memory: Memory, ty: &Type) -> Result<Vec<Part>> {
        check_size(ty)?;
        let formats = ty.formats(layout(memory));
        let part = |(offset, format): (u32, Format)| Part {
            offset,
            format,
            value: self.build.define(format.kind(), Op::FromMemory),
        };
        Ok(formats.into_iter().map(part).collect())
    }

    pub(super) fn load(&mut self, pointer: &Pointer) -> Result<Values> {
        match &pointer.root {
            Root::Variables(variables) => {
                let some = &variables[pointer.offset as usize..][..pointer.ty.scalars];
                Ok(some.iter().map(|variable| self.build.get(*variable)).collect())
            }
            Root::Memory(memory) => {
                let parts = self.parts(*memory, &pointer.ty)?;
                let values = parts.iter().map(|part| part.value).collect();
                self.build.push(Statement::Load { place: pointer.place(*memory), parts });
                Ok(values)
            }
        }
    }

    /// A load between two barriers.
    pub(super) fn load_uniform(&mut self, pointer: &Pointer) -> Result<Values> {
        let Root::Memory(memory) = pointer.root else { return unsupported("a load from this memory") };
        let parts = self.parts(memory, &pointer.ty)?;
        let values = parts.iter().map(|part| part.value).collect();
        self.build.push(Statement::UniformLoad { place: pointer.place(memory), parts });
        Ok(values)
    }

    pub(super) fn store(&mut self, pointer: &Pointer, values: &Values) -> Result<()> {
        match &pointer.root {
            Root::Variables(variables) => {
                let some = &variables[pointer.offset as usize..];
                some.iter().zip(values.iter()).for_each(|(variable, value)| self.build.set(*variable, *value));
            }
            Root::Memory(Memory::Private)
                if pointer.steps.is_empty() && values.iter().all(|value| self.build.known(*value) == Some(0)) =>
            {
                self.clear(pointer);
            }
            Root::Memory(memory) => {
                check_size(&pointer.ty)?;
                let formats = pointer.ty.formats(layout(*memory)).into_iter();
                let parts =
                    formats.zip(values.iter()).map(|((offset, format), value)| Part { offset, format, value: *value });
                let parts = parts.collect();
                self.build.push(Statement::Store { place: pointer.place(*memory), parts });
            }
        }
        Ok(())
    }

    /// How many elements an array has of which only the buffer knows.
    pub(super) fn length(&mut self, pointer: &Pointer) -> Result<Value> {
        match (&pointer.root, &pointer.ty.shape) {
            (Root::Memory(Memory::Buffer { index, .. }), Shape::Series { stride, .. }) => {
                let length = Op::Length { buffer: *index, offset: pointer.offset, stride: *stride };
                Ok(self.build.compute(Kind::U32, length))
            }
            _ => unsupported("the length of this array"),
        }
    }
}

/// Refuses values of very many scalars.
pub(super) fn check_size(ty: &Type) -> Result<()> {
    if ty.scalars > LARGEST { unsupported("a value of more than 65,536 numbers") } else { Ok(()) }
}
