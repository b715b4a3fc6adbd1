//! From naga's IR to ours.
//!
//! Types become lists of scalars ([`types`]), pointers become places ([`places`]), expressions become values
//! ([`expressions`], and by their sorts [`operators`], [`math`], [`geometry`], [`floats`], [`bits`], [`packing`]),
//! and statements become ours ([`control`], [`calls`], [`atomics`], [`subgroups`]). What a function does to its
//! variables is found out before ([`facts`]), since only variables that are never indexed by what is not known can do
//! without memory.

mod atomics;
mod bits;
mod build;
mod calls;
mod control;
mod expressions;
mod facts;
mod floats;
mod geometry;
mod math;
mod operators;
mod packing;
mod places;
mod subgroups;
#[cfg(test)]
mod tests;
mod types;

use std::rc::Rc;

use naga::valid::ModuleInfo;
use naga::{AddressSpace, Expression, GlobalVariable, Handle, Module, Span, StorageAccess, TypeInner};
use rustc_hash::FxHashMap;

use super::Unsupported;
use super::ir::{Block, Body, Memory, Value};
use build::Builder;
use calls::Frame;
use facts::AllFacts;
use places::{Pointer, Private};
use types::Types;

type Result<T> = std::result::Result<T, Unsupported>;

/// The scalars of a value.
type Values = Rc<[Value]>;

/// The most values, variables or statements of a kernel.
const LARGEST: usize = 200_000;

/// The most statements and expressions of the source that are looked at, those of calls once for each call.
const LONGEST: usize = 2_000_000;

/// How deep statements and calls are nested at most.
const DEEPEST: usize = 1000;

/// What an invocation of the module's only entry point does.
pub(super) fn lower(module: &Module, info: &ModuleInfo) -> Result<Body> {
    let types = Types::new(module);
    let facts = AllFacts::new(module, info, &types);
    let entry = &module.entry_points[0];
    let frame = Frame::new(&entry.function, info.get_entry_point(0), facts.entry_point.clone(), Vec::new());
    let mut lowering = Lowering {
        module,
        info,
        types,
        facts,
        build: Builder::default(),
        globals: Vec::new(),
        private: Private::default(),
        prologue: Block::new(),
        constants: FxHashMap::default(),
        tables: FxHashMap::default(),
        frame,
        depth: 0,
        visited: 0,
    };
    let workgroup_memory = lowering.globals()?;
    let statements = lowering.entry_point()?;
    let mut body = Body {
        values: Vec::new(),
        variables: Vec::new(),
        labels: 0,
        statements,
        workgroup_size: entry.workgroup_size,
        workgroup_memory,
        private_memory: lowering.private.highest,
        subgroups: false,
    };
    lowering.build.finish(&mut body);
    Ok(body)
}

/// What becomes of a module.
struct Lowering<'a> {
    module: &'a Module,
    info: &'a ModuleInfo,
    types: Types<'a>,
    facts: AllFacts,
    build: Builder,
    /// Where each variable of the module lies, if it is used.
    globals: Vec<Option<Rc<Pointer>>>,
    private: Private,
    /// What comes before everything else.
    prologue: Block,
    constants: FxHashMap<Handle<Expression>, Values>,
    /// Where constant arrays lie in private memory.
    tables: FxHashMap<Values, u32>,
    /// The function that is being lowered.
    frame: Frame<'a>,
    depth: usize,
    /// How many statements and expressions were looked at.
    visited: usize,
}

fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(Unsupported { what: what.into(), span: Span::UNDEFINED })
}

impl From<&'static str> for Unsupported {
    fn from(what: &'static str) -> Self {
        Self { what: what.into(), span: Span::UNDEFINED }
    }
}

impl Unsupported {
    /// It stands here, unless its place is known better.
    fn at(mut self, span: Span) -> Self {
        if !self.span.is_defined() {
            self.span = span;
        }
        self
    }
}

impl Lowering<'_> {
    /// Gives every variable of the module that is used its place. Returns the bytes of workgroup memory.
    fn globals(&mut self) -> Result<u32> {
        let mut workgroup = 0;
        let used = self.info.get_entry_point(0);
        for (handle, variable) in self.module.global_variables.iter() {
            let pointer = if used[handle].is_empty() {
                None
            } else {
                let span = self.module.global_variables.get_span(handle);
                Some(Rc::new(self.global(handle, variable, &mut workgroup).map_err(|error| error.at(span))?))
            };
            self.globals.push(pointer);
        }
        Ok(workgroup)
    }

    fn global(
        &mut self,
        handle: Handle<GlobalVariable>,
        variable: &GlobalVariable,
        workgroup: &mut u32,
    ) -> Result<Pointer> {
        let name = variable.name.as_deref().unwrap_or_default();
        let what = match self.module.types[variable.ty].inner {
            TypeInner::Image { .. } => Some("texture"),
            TypeInner::Sampler { .. } => Some("sampler"),
            TypeInner::AccelerationStructure { .. } => Some("acceleration structure"),
            TypeInner::BindingArray { .. } => Some("array of bindings"),
            _ => None,
        };
        if let Some(what) = what {
            return unsupported(format!("{what} '{name}'"));
        }
        let ty = self.types.get(variable.ty)?;
        let buffer = |writable| match variable.binding {
            Some(binding) if binding.group == 0 => Ok(Memory::Buffer { index: binding.binding, writable }),
            _ => unsupported(format!("variable '{name}', which is not bound")),
        };
        match variable.space {
            AddressSpace::Storage { access } => {
                Ok(Pointer::memory(buffer(access.contains(StorageAccess::STORE))?, 0, ty))
            }
            AddressSpace::Uniform | AddressSpace::Immediate => Ok(Pointer::memory(buffer(false)?, 0, ty)),
            AddressSpace::WorkGroup => {
                let size = self.module.types[variable.ty].inner.size(self.module.to_ctx());
                let offset = *workgroup;
                *workgroup = offset
                    .checked_add(size.next_multiple_of(16))
                    .filter(|end| *end < 1 << 31)
                    .ok_or("workgroup memory of this size")?;
                Ok(Pointer::memory(Memory::Workgroup, offset, ty))
            }
            AddressSpace::Private => {
                let pointer = self.allocate(&ty, self.facts.globals.contains(&handle))?;
                let values = variable.init.map(|init| self.global_constant(init)).transpose()?;
                self.build.open();
                self.initialise(&pointer, values.as_ref(), false)?;
                let statements = self.build.close();
                self.prologue.extend(statements);
                Ok(pointer)
            }
            _ => unsupported(format!("variable '{name}' of this address space")),
        }
    }

    /// Notes that a statement or an expression is looked at, and stops where there are too many.
    fn visit(&mut self) -> Result<()> {
        self.visited += 1;
        if self.build.size() > LARGEST || self.visited > LONGEST {
            return unsupported("a kernel that is so large once its calls are inlined");
        }
        Ok(())
    }
}
