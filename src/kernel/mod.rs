//! Users' own kernels: WGSL, what it binds, what it is called with, and its way onto a device.
//!
//! [`Kernel::new`] compiles a text as far as that goes without a device, so that mistakes show when the kernel is made.
//! What it declares is read from the compiler's own module ([`reflect`]); nothing is declared twice. A call checks and
//! prepares what it is given by the variables' names ([`bind`]), works out how many workgroups there are ([`grid`]), and
//! crosses one seam to a device ([`launch`]). Only behind that seam is wgpu known.

pub(crate) mod bind;
pub(crate) mod compile;
pub mod emit;
pub(crate) mod grid;
pub(crate) mod guards;
mod hints;
pub mod launch;
pub(crate) mod mistranslated;
pub mod reflect;
pub(crate) mod source;
pub mod types;

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::error::{Bytes, Error, Result};
use compile::{on_deep_stack, only, parse, resolve};
use reflect::{Binding, Constant, constants_of};
use source::Source;

/// What a kernel is made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The user's WGSL.
    pub source: String,
    /// None where there is only one.
    pub entry_point: Option<String>,
    /// Values for `override` constants, and types for aliases, by name.
    pub constants: Vec<(String, Value)>,
    /// What messages and profiles call it; else it is called as its entry point.
    pub name: Option<String>,
    /// Whether it is compiled without bounds checks on GPUs.
    pub trusted: bool,
}

/// Tells values of constants apart: of which sort one is, and which of them.
type ValueKey = (u8, u64);

/// The value of a constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Number(f64),
    Bool(bool),
    /// A type's name in WGSL, for an alias.
    Type(&'static str),
}

/// A user's kernel, on no device yet.
pub struct Kernel {
    pub options: Options,
    pub name: String,
    /// Of all compute entry points of the source.
    pub entry_points: Vec<String>,
    /// The entry point that runs.
    pub entry_point: String,
    /// The variables that the entry point uses, in the order of the source.
    pub bindings: Vec<Binding>,
    /// Variables that the source declares and the entry point does not use.
    pub unused: Vec<String>,
    pub constants: Vec<Constant>,
    source: Source,
    /// With the entry point alone, and what that needs.
    module: naga::Module,
    program: OnceLock<Result<Arc<Program>>>,
    /// The same kernel with other constants, for calls that name them.
    specialised: Mutex<Specialised>,
}

/// Kernels by the constants that they were specialised with.
type Specialised = FxHashMap<Vec<(String, ValueKey)>, Arc<Kernel>>;

/// A kernel whose constants all have values: what devices compile.
pub struct Program {
    pub(crate) identity: Identity,
    pub(crate) trusted: bool,
    /// One entry point; binding i of group 0 is the kernel's i-th.
    pub(crate) module: naga::Module,
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_memory: u64,
    /// Values of all constants that the entry point uses.
    pub constants: Vec<(String, Value)>,
    pub(crate) source: Source,
}

/// The most that a device has for a workgroup.
pub(crate) struct Workgroup {
    pub(crate) invocations: u32,
    pub(crate) axes: [u32; 3],
    /// Bytes.
    pub(crate) memory: u32,
}

/// What a program is compiled from. Equal ones are compiled once, whatever kernels they belong to.
#[derive(Clone)]
pub(crate) struct Identity(Arc<(u64, Compiled)>);

#[derive(PartialEq, Eq, Hash)]
struct Compiled {
    text: String,
    entry_point: String,
    constants: Vec<(String, ValueKey)>,
    trusted: bool,
}

impl Identity {
    pub(crate) fn new(text: &str, entry_point: &str, constants: &[Constant], trusted: bool) -> Self {
        let constants = constants.iter().filter_map(|c| Some((c.name.clone(), c.value?.key()))).collect();
        let compiled = Compiled { text: text.into(), entry_point: entry_point.into(), constants, trusted };
        Self(Arc::new((FxBuildHasher.hash_one(&compiled), compiled)))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.hash(state);
    }
}

/// Kept at most of the specialisations that calls ask for.
const SPECIALISATIONS: usize = 256;

/// A text put together, with the types among its constants in place of aliases.
fn source_of(text: &str, constants: &[(String, Value)], name: Option<&str>) -> Result<Source> {
    let what = name.map_or_else(|| "kernel".into(), |name| format!("kernel '{name}'"));
    let types: Vec<(String, &str)> = constants
        .iter()
        .filter_map(|(name, value)| match value {
            Value::Type(ty) => Some((name.clone(), *ty)),
            _ => None,
        })
        .collect();
    Source::new(what, name.unwrap_or("wgsl"), text, &types)
}

/// The names of the compute entry points of a text.
pub fn entry_points_of(text: &str, constants: &[(String, Value)], name: &str) -> Result<Vec<String>> {
    let source = source_of(text, constants, Some(name))?;
    on_deep_stack(&source.what, || Ok(reflect::entry_points(&parse(&source)?.0)))
}

impl Kernel {
    pub fn new(options: Options) -> Result<Self> {
        let source = source_of(&options.source, &options.constants, options.name.as_deref())?;
        Self::from_source(options, source)
    }

    /// A kernel whose text was put together before.
    pub(crate) fn from_source(options: Options, source: Source) -> Result<Self> {
        let what = source.what.clone();
        on_deep_stack(&what, move || {
            let (module, info) = parse(&source)?;
            let chosen = reflect::choose_entry_point(&source, &module, options.entry_point.as_deref())?;
            let mut source = source;
            let entry_point = module.entry_points[chosen].name.clone();
            let name = options.name.clone().unwrap_or_else(|| entry_point.clone());
            source.what = format!("kernel '{name}'");
            let declared = constants_of(&source, &module, &options.constants)?;
            reflect::check_arguments(&source, &module, chosen)?;
            let (bindings, unused) = reflect::bindings_of(&source, &module, info.get_entry_point(chosen))?;
            let mut kernel = Self {
                name,
                entry_points: reflect::entry_points(&module),
                module: only(module, &entry_point),
                entry_point,
                bindings,
                unused,
                constants: declared,
                source,
                program: OnceLock::new(),
                specialised: Mutex::default(),
                options,
            };
            // With all constants known, what is wrong with them is said now, and expressions have values.
            if let Some(resolved) = kernel.resolved_now() {
                let program = resolved?;
                for constant in &mut kernel.constants {
                    if let Some((_, value)) = program.constants.iter().find(|(name, _)| *name == constant.name) {
                        constant.value = Some(*value);
                    }
                }
                kernel.program = Ok(program).into();
            }
            Ok(kernel)
        })
    }

    /// The program, unless a constant has no value yet.
    fn resolved_now(&self) -> Option<Result<Arc<Program>>> {
        let is_used = |name| self.module.overrides.iter().any(|(_, declared)| declared.name.as_ref() == Some(name));
        let missing = self.constants.iter().any(|c| c.required && c.value.is_none() && is_used(&c.name));
        (!missing).then(|| resolve(self).map(Arc::new))
    }

    /// The program to compile for a device.
    pub fn program(&self) -> Result<&Arc<Program>> {
        self.program
            .get_or_init(|| on_deep_stack(&self.source.what, || resolve(self).map(Arc::new)))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The program if all its constants have values.
    #[must_use]
    pub fn known_program(&self) -> Option<&Arc<Program>> {
        self.program.get().and_then(|program| program.as_ref().ok())
    }

    /// The same kernel with other values of these constants.
    pub fn specialise(&self, constants: &[(String, Value)]) -> Result<Self> {
        let mut options = self.options.clone();
        options.constants.retain(|(name, _)| constants.iter().all(|(other, _)| other != name));
        options.constants.extend_from_slice(constants);
        options.constants.sort_by(|a, b| a.0.cmp(&b.0));
        Self::new(options)
    }

    /// [`Self::specialise`], remembered.
    pub fn specialised(&self, constants: &[(String, Value)]) -> Result<Arc<Self>> {
        let mut key: Vec<(String, ValueKey)> =
            constants.iter().map(|(name, value)| (name.clone(), value.key())).collect();
        key.sort_unstable();
        let remembered = || self.specialised.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = remembered().get(&key) {
            return Ok(kernel.clone());
        }
        let kernel = Arc::new(self.specialise(constants)?);
        let mut all = remembered();
        if all.len() >= SPECIALISATIONS {
            all.clear();
        }
        all.insert(key, kernel.clone());
        Ok(kernel)
    }

    /// Whether the source has an alias of this name, for which a constant can be a type.
    #[must_use]
    pub fn has_alias(&self, name: &str) -> bool {
        source::has_alias(&self.options.source, name)
    }

    /// An error about a call of this kernel.
    pub(crate) fn refuse(&self, message: impl std::fmt::Display) -> Error {
        // Names that are part of a message may be of any length.
        Error::Kernel(source::shortened(&format!("kernel '{}': {message}", self.name)))
    }
}

impl Program {
    /// Refuses a program whose workgroups are larger than the device `id` takes.
    pub(crate) fn check_workgroup(&self, kernel: &Kernel, id: &str, most: &Workgroup) -> Result<()> {
        let [x, y, z] = self.workgroup_size;
        let invocations = u64::from(x) * u64::from(y) * u64::from(z);
        let Workgroup { invocations: most_invocations, axes, memory } = *most;
        if invocations > u64::from(most_invocations) || x > axes[0] || y > axes[1] || z > axes[2] {
            return Err(kernel.refuse(format!(
                "@workgroup_size({x}, {y}, {z}) has {invocations} invocations, but {id} takes at most \
                 {most_invocations}, and ({}, {}, {}) along each axis",
                axes[0], axes[1], axes[2]
            )));
        }
        if self.workgroup_memory > memory.into() {
            return Err(kernel.refuse(format!(
                "its workgroup memory is {}, but {id} has {}",
                Bytes(self.workgroup_memory),
                Bytes(memory.into())
            )));
        }
        Ok(())
    }
}

impl Value {
    /// What only equal values share.
    fn key(self) -> ValueKey {
        match self {
            Self::Number(number) => (0, number.to_bits()),
            Self::Bool(value) => (1, value.into()),
            Self::Type(name) => (2, name.bytes().fold(0, |key, byte| key << 8 | u64::from(byte))),
        }
    }
}
