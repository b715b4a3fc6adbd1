//! What a source declares, read from the compiler's module: entry points, variables, constants.

use naga::valid::{FunctionInfo, GlobalUse};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess, TypeInner};

use super::source::{Complaint, Source};
use super::types::Type;
use super::{Value, hints};
use crate::error::{Error, Result};

/// A variable that is given when the kernel is called.
#[derive(Debug, Clone)]
pub struct Binding {
    pub name: String,
    /// The group and the number by which the source binds it; none of an immediate.
    pub place: Option<(u32, u32)>,
    pub access: Access,
    pub ty: Type,
    /// Whether the kernel reads it, writes it or both, as how often its bytes are moved.
    pub(crate) moves: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
    Uniform,
    /// Given as a uniform is.
    Immediate,
}

impl Access {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadWrite => "read_write",
            Self::Uniform => "uniform",
            Self::Immediate => "immediate",
        }
    }

    /// Whether a buffer is bound, rather than a few values.
    #[must_use]
    pub const fn is_storage(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }
}

/// An `override` constant, or an alias that was given a type.
#[derive(Debug, Clone)]
pub struct Constant {
    pub name: String,
    /// `bool`, a scalar's name, or `type`.
    pub ty: &'static str,
    /// What was given, or else the default.
    pub value: Option<Value>,
    /// Whether there is no default.
    pub required: bool,
}

/// The names of all compute entry points.
pub(super) fn entry_points(module: &Module) -> Vec<String> {
    let all = module.entry_points.iter();
    all.filter(|entry| entry.stage == ShaderStage::Compute).map(|entry| entry.name.clone()).collect()
}

/// The place of the entry point to run.
pub(super) fn choose_entry_point(source: &Source, module: &Module, wanted: Option<&str>) -> Result<usize> {
    let names = entry_points(module);
    let wanted = match (wanted, &names[..]) {
        (_, []) => {
            let others: Vec<String> = module.entry_points.iter().map(|entry| entry.name.clone()).collect();
            let advice = hints::no_entry_point(&source.text, &others);
            return Err(Error::Kernel(format!("{} has no entry point: {advice}", source.what)));
        }
        (None, [only]) => only,
        (None, _) => {
            return Err(Error::Kernel(format!(
                "{} has several entry points; choose one with entry_point=: {}",
                source.what,
                names.join(", ")
            )));
        }
        (Some(wanted), _) if names.iter().any(|name| name == wanted) => wanted,
        (Some(wanted), _) => {
            return Err(Error::Kernel(format!(
                "{} has no entry point '{wanted}'; there is: {}",
                source.what,
                names.join(", ")
            )));
        }
    };
    let found = |entry: &naga::EntryPoint| entry.stage == ShaderStage::Compute && entry.name == wanted;
    Ok(module.entry_points.iter().position(found).expect("it is among them"))
}

/// The variables that an entry point uses, in the order of the source, and the names of those that it does not use.
pub(super) fn bindings_of(
    source: &Source,
    module: &Module,
    entry_point: &FunctionInfo,
) -> Result<(Vec<Binding>, Vec<String>)> {
    let mut variables: Vec<_> = module.global_variables.iter().collect();
    // The compiler has them in the order in which they need each other.
    variables.sort_by_key(|(handle, _)| module.global_variables.get_span(*handle).to_range().map(|range| range.start));
    let (mut bindings, mut unused) = (Vec::new(), Vec::new());
    for (handle, variable) in variables {
        let name = variable.name.clone().unwrap_or_default();
        let access = match variable.space {
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Access::ReadWrite,
            AddressSpace::Storage { .. } => Access::Read,
            AddressSpace::Uniform => Access::Uniform,
            AddressSpace::Immediate => Access::Immediate,
            AddressSpace::Handle if !entry_point[handle].is_empty() => {
                return Err(refuse_variable(
                    source,
                    module,
                    handle,
                    "kernels take buffers and uniforms; this is a texture or a sampler",
                ));
            }
            _ => continue,
        };
        let uses = entry_point[handle];
        if uses.is_empty() {
            unused.push(name);
            continue;
        }
        let array_of_bindings = matches!(module.types[variable.ty].inner, TypeInner::BindingArray { .. });
        let Some(ty) = Type::of(module, variable.ty) else {
            let what = if array_of_bindings { "arrays of bindings are not taken" } else { "no buffer holds this type" };
            return Err(refuse_variable(source, module, handle, what));
        };
        let place = variable.binding.map(|place| (place.group, place.binding));
        let moves = [GlobalUse::READ, GlobalUse::WRITE].into_iter().filter(|&kind| uses.contains(kind)).count() as u64;
        bindings.push(Binding { name, place, access, ty, moves });
    }
    Ok((bindings, unused))
}

fn refuse_variable(
    source: &Source,
    module: &Module,
    handle: naga::Handle<naga::GlobalVariable>,
    message: &str,
) -> Error {
    let name = module.global_variables[handle].name.as_deref().unwrap_or_default();
    let place = module.global_variables.get_span(handle).to_range();
    source.refuse(Complaint {
        message: format!("variable '{name}': {message}"),
        labels: place.into_iter().map(|place| (place, String::new())).collect(),
        notes: Vec::new(),
    })
}

/// All constants, with the values that were given.
pub(super) fn constants_of(source: &Source, module: &Module, given: &[(String, Value)]) -> Result<Vec<Constant>> {
    let mut constants = Vec::new();
    for (_, declared) in module.overrides.iter() {
        let Some(name) = declared.name.clone() else { continue };
        let ty = match module.types[declared.ty].inner {
            TypeInner::Scalar(naga::Scalar { kind: naga::ScalarKind::Bool, .. }) => "bool",
            _ => Type::of(module, declared.ty)
                .and_then(|ty| ty.numbers())
                .map_or("number", |numbers| numbers.scalar.name()),
        };
        let value = given.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        if let Some(value) = value {
            check_constant(&name, ty, value).map_err(|why| Error::Kernel(format!("{}: {why}", source.what)))?;
        }
        constants.push(Constant { name, ty, value, required: declared.init.is_none() });
    }
    for (name, value) in given {
        if matches!(value, Value::Type(_)) {
            constants.push(Constant { name: name.clone(), ty: "type", value: Some(*value), required: false });
        } else if !constants.iter().any(|constant| constant.name == *name) {
            let known: Vec<&str> = constants.iter().map(|constant| constant.name.as_str()).collect();
            let known =
                if known.is_empty() { "it declares none".into() } else { format!("it has {}", known.join(", ")) };
            return Err(Error::Kernel(format!(
                "{}: there is no constant '{name}' (`override {name}: u32 = 64;`); {known}",
                source.what
            )));
        }
    }
    Ok(constants)
}

/// Why a constant of this type cannot have this value.
fn check_constant(name: &str, ty: &str, value: Value) -> Result<(), String> {
    let range = match ty {
        "u32" => 0.0..=f64::from(u32::MAX),
        "i32" => f64::from(i32::MIN)..=f64::from(i32::MAX),
        "f32" => f64::from(f32::MIN)..=f64::from(f32::MAX),
        "f16" => -65504.0..=65504.0,
        _ => f64::MIN..=f64::MAX,
    };
    match (ty, value) {
        ("bool", Value::Bool(_)) => Ok(()),
        ("bool", _) => Err(format!("the constant '{name}' is a bool: give True or False")),
        (_, Value::Bool(_)) => Err(format!("the constant '{name}' is a {ty}, not a bool")),
        ("f16" | "f32" | "f64", Value::Number(number)) if range.contains(&number) => Ok(()),
        (_, Value::Number(number)) if range.contains(&number) && number.fract() == 0.0 => Ok(()),
        (_, Value::Number(number)) => Err(format!("the constant '{name}' is a {ty}, which cannot be {number}")),
        (_, Value::Type(_)) => Err(format!("the constant '{name}' is a {ty}, not a type")),
    }
}
