//! What a source declares, read from the compiler's module: entry points, variables, constants.

use naga::valid::{FunctionInfo, GlobalUse};
use naga::{AddressSpace, Expression, Handle, Literal, Module, ShaderStage, StorageAccess, TypeInner};

use super::source::{Complaint, Source, has_alias};
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
    /// Whether values are bound as storage that is read. Immediates are, whose layout rules are those of storage, and
    /// so are uniforms where one has a matrix of two rows, whose columns GL takes for columns of four.
    pub(crate) stored: bool,
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

/// Whether there is a matrix of two rows in a type.
fn has_narrow_matrix(ty: &Type) -> bool {
    match ty {
        Type::Matrix { rows, .. } => *rows == 2,
        Type::Array { of, .. } => has_narrow_matrix(of),
        Type::Struct { fields, .. } => fields.iter().any(|field| has_narrow_matrix(&field.ty)),
        Type::Scalar(_) | Type::Atomic(_) | Type::Vector { .. } => false,
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

/// Names for a message, the first dozen of them.
fn listed(names: &[String]) -> String {
    let more = if names.len() > 12 { format!(", and {} more", names.len() - 12) } else { String::new() };
    names.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ") + &more
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
                listed(&names)
            )));
        }
        (Some(wanted), _) if names.iter().any(|name| name == wanted) => wanted,
        (Some(wanted), _) => {
            return Err(Error::Kernel(format!(
                "{} has no entry point '{wanted}'; there is: {}",
                source.what,
                listed(&names)
            )));
        }
    };
    let found = |entry: &naga::EntryPoint| entry.stage == ShaderStage::Compute && entry.name == wanted;
    Ok(module.entry_points.iter().position(found).expect("it is among them"))
}

/// Refuses an entry point whose arguments no dispatch gives.
pub(super) fn check_arguments(source: &Source, module: &Module, chosen: usize) -> Result<()> {
    let entry = &module.entry_points[chosen];
    let is_location = |binding: &Option<naga::Binding>| matches!(binding, Some(naga::Binding::Location { .. }));
    let wrong = entry.function.arguments.iter().find(|argument| match &module.types[argument.ty].inner {
        TypeInner::Struct { members, .. } => members.iter().any(|member| is_location(&member.binding)),
        _ => is_location(&argument.binding),
    });
    let Some(argument) = wrong else { return Ok(()) };
    let name = argument.name.as_deref().unwrap_or_default();
    Err(source.refuse(Complaint {
        message: format!(
            "the argument '{name}' of entry point '{}' has a @location, which belongs to drawing",
            entry.name
        ),
        labels: source.function(&entry.name).map(|place| (place, String::new())).into_iter().collect(),
        notes: vec!["arguments of a kernel have builtins, as in `@builtin(global_invocation_id) id: vec3<u32>`".into()],
    }))
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
            let what = if array_of_bindings {
                "arrays of bindings are not taken"
            } else {
                "no buffer holds a type like this, or one that is nested so deeply"
            };
            return Err(refuse_variable(source, module, handle, what));
        };
        let place = variable.binding.map(|place| (place.group, place.binding));
        let moves = [GlobalUse::READ, GlobalUse::WRITE].into_iter().filter(|&kind| uses.contains(kind)).count() as u64;
        bindings.push(Binding { name, place, access, ty, stored: access == Access::Immediate, moves });
    }
    // Functions that take a pointer to a uniform take one to each of them.
    if bindings.iter().any(|binding| binding.access == Access::Uniform && has_narrow_matrix(&binding.ty)) {
        let uniforms = bindings.iter_mut().filter(|binding| binding.access == Access::Uniform);
        uniforms.for_each(|binding| binding.stored = true);
    }
    Ok((bindings, unused))
}

/// The error for a variable, in its place.
pub(super) fn refuse_variable(
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
        // A default that is more than a number is known once the constants before it are.
        let default = declared.init.and_then(|init| literal(module, init));
        if let Some(value) = value {
            check_constant(&name, ty, value).map_err(|why| Error::Kernel(format!("{}: {why}", source.what)))?;
        }
        constants.push(Constant { name, ty, value: value.or(default), required: declared.init.is_none() });
    }
    for (name, value) in given {
        if matches!(value, Value::Type(_)) {
            constants.push(Constant { name: name.clone(), ty: "type", value: Some(*value), required: false });
        } else if !constants.iter().any(|constant| constant.name == *name) {
            if has_alias(&source.text, name) {
                let message = format!("the constant '{name}' is an alias: give a type, such as 'float16'");
                return Err(Error::Kernel(format!("{}: {message}", source.what)));
            }
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

/// The value of an expression that is a number or a bool.
pub(super) fn literal(module: &Module, expression: Handle<Expression>) -> Option<Value> {
    Some(match module.global_expressions[expression] {
        Expression::Literal(Literal::Bool(value)) => Value::Bool(value),
        Expression::Literal(literal) => Value::Number(number(literal)?),
        Expression::ZeroValue(ty) => match module.types[ty].inner {
            TypeInner::Scalar(naga::Scalar { kind: naga::ScalarKind::Bool, .. }) => Value::Bool(false),
            _ => Value::Number(0.0),
        },
        _ => return None,
    })
}

fn number(literal: Literal) -> Option<f64> {
    Some(match literal {
        Literal::F64(value) | Literal::AbstractFloat(value) => value,
        Literal::F32(value) => f64::from(value),
        Literal::F16(value) => f64::from(value),
        Literal::U16(value) => f64::from(value),
        Literal::I16(value) => f64::from(value),
        Literal::U32(value) => f64::from(value),
        Literal::I32(value) => f64::from(value),
        Literal::U64(value) => value as f64,
        Literal::I64(value) | Literal::AbstractInt(value) => value as f64,
        Literal::Bool(_) => return None,
    })
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
