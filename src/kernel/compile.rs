//! From a source to a program: parsed, checked, its constants resolved, its bindings renumbered.

use std::error::Error as _;

use naga::back::pipeline_constants::{PipelineConstantError, process_overrides};
use naga::compact::{KeepUnused, compact};
use naga::valid::{Capabilities, ModuleInfo, ValidationError, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Handle, Literal, Module, ResourceBinding, StorageAccess, TypeInner, WithSpan};

use super::source::{Complaint, Source};
use super::{Identity, Kernel, Program, Value, reflect};
use crate::device::select::panic_message;
use crate::error::{Error, Result};

/// Runs the compiler with enough stack for deeply nested texts. What makes it panic is refused as a text.
pub(crate) fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    const STACK: usize = 64 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(COMPILER.into()).stack_size(STACK).spawn_scoped(scope, work);
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| {
                Err(Error::Kernel(format!("the WGSL compiler fails on this source: {}", panic_message(&*panic))))
            }),
            Err(error) => Err(Error::Kernel(format!("no thread for the WGSL compiler: {error}"))),
        }
    })
}

/// The name of the threads that compile.
const COMPILER: &str = "gpukern-wgsl";

/// The module of a source, if it is right by WGSL's rules. What a device can do is not asked yet.
pub(super) fn parse(source: &Source) -> Result<(Module, ModuleInfo)> {
    let module = naga::front::wgsl::parse_str(&source.text).map_err(|error| {
        source.refuse(Complaint {
            message: error.message().into(),
            labels: error
                .labels()
                .filter_map(|(span, text)| span.to_range().map(|range| (range, text.to_string())))
                .collect(),
            notes: error.notes().map(Into::into).collect(),
        })
    })?;
    let info = check(source, &module, Capabilities::all())?;
    Ok((module, info))
}

/// Whether a device with these capabilities can run the module.
pub(crate) fn check(source: &Source, module: &Module, capabilities: Capabilities) -> Result<ModuleInfo> {
    Validator::new(ValidationFlags::all(), capabilities).validate(module).map_err(|error| invalid(source, &error))
}

fn invalid(source: &Source, error: &WithSpan<ValidationError>) -> Error {
    let mut notes = Vec::new();
    let mut cause = error.as_inner().source();
    while let Some(error) = cause {
        notes.push(error.to_string());
        cause = error.source();
    }
    let mut labels: Vec<_> =
        error.spans().filter_map(|(span, text)| span.to_range().map(|range| (range, text.clone()))).collect();
    let mut message = error.as_inner().to_string();
    if let ValidationError::EntryPoint { name, .. } = error.as_inner() {
        message = format!("entry point '{name}' is invalid");
        if labels.is_empty() {
            labels.extend(source.function(name).map(|range| (range, String::new())));
        }
    }
    source.refuse(Complaint { message, labels, notes })
}

impl Program {
    /// Whether a device with these capabilities can run it.
    pub(crate) fn check(&self, capabilities: Capabilities) -> Result<()> {
        check(&self.source, &self.module, capabilities).map(drop)
    }
}

/// The module with one entry point and only what that needs.
fn only(mut module: Module, entry_point: &str) -> Module {
    module.entry_points.retain(|entry| entry.stage == naga::ShaderStage::Compute && entry.name == entry_point);
    compact(&mut module, KeepUnused::No);
    module
}

/// The names of the constants that an entry point uses.
pub(super) fn used_overrides(module: &Module, entry_point: &str) -> Vec<String> {
    let module = only(module.clone(), entry_point);
    module.overrides.iter().filter_map(|(_, declared)| declared.name.clone()).collect()
}

/// Gives every constant its value, and every variable the number by which it is bound.
pub(super) fn resolve(module: Module, source: &Source, entry_point: &str, kernel: &Kernel) -> Result<Program> {
    let mut module = only(module, entry_point);
    renumber(&mut module, kernel);
    let info = check(source, &module, Capabilities::all())?;
    let mut values = naga::back::PipelineConstants::default();
    let mut names = Vec::new();
    for (_, declared) in module.overrides.iter() {
        let Some(name) = &declared.name else { continue };
        names.push(name.clone());
        let constant = kernel.constants.iter().find(|constant| constant.name == *name);
        match constant.and_then(|constant| constant.value) {
            Some(Value::Number(value)) => {
                values.insert(declared.id.map_or_else(|| name.clone(), |id| id.to_string()), value);
            }
            Some(Value::Bool(value)) => {
                values
                    .insert(declared.id.map_or_else(|| name.clone(), |id| id.to_string()), f64::from(u8::from(value)));
            }
            _ if declared.init.is_none() => {
                return Err(kernel.refuse(format!(
                    "the constant '{name}' has no default; give it in the call, by specialize({name}=...) or by constants="
                )));
            }
            _ => {}
        }
    }
    let (resolved, info) = process_overrides(&module, &info, None, &values).map_err(|error| match error {
        PipelineConstantError::ValidationError(error) => invalid(source, &error),
        error => kernel.refuse(format!("its constants: {error}")),
    })?;
    let resolved = resolved.into_owned();
    let entry = &resolved.entry_points[0];
    let used = info.get_entry_point(0);
    let workgroup_memory = resolved
        .global_variables
        .iter()
        .filter(|(handle, variable)| variable.space == AddressSpace::WorkGroup && !used[*handle].is_empty())
        .map(|(_, variable)| resolved.types[variable.ty].inner.size(resolved.to_ctx()).next_multiple_of(16))
        .sum();
    Ok(Program {
        identity: Identity::new(&source.text, entry_point, &kernel.constants, kernel.options.trusted),
        trusted: kernel.options.trusted,
        workgroup_size: entry.workgroup_size,
        workgroup_memory,
        constants: values_of(&resolved, &names),
        source: source.clone(),
        module: resolved,
    })
}

/// Binds the i-th variable of the kernel at binding i of group 0, whatever the source says. Immediates become buffers,
/// which every device has.
fn renumber(module: &mut Module, kernel: &Kernel) {
    let storage = AddressSpace::Storage { access: StorageAccess::LOAD };
    for (_, variable) in module.global_variables.iter_mut() {
        let name = variable.name.as_deref().unwrap_or_default();
        if let Some(i) = kernel.bindings.iter().position(|binding| binding.name == name) {
            variable.binding = Some(ResourceBinding { group: 0, binding: i as u32 });
            if variable.space == AddressSpace::Immediate {
                variable.space = storage;
            }
        }
    }
    if !kernel.bindings.iter().any(|binding| binding.access == reflect::Access::Immediate) {
        return;
    }
    // Pointers to immediates are types of their own.
    let pointers: Vec<_> = module.types.iter().map(|(handle, ty)| (handle, ty.clone())).collect();
    for (handle, mut ty) in pointers {
        if let TypeInner::Pointer { space, .. } | TypeInner::ValuePointer { space, .. } = &mut ty.inner
            && *space == AddressSpace::Immediate
        {
            *space = storage;
            module.types.replace(handle, ty);
        }
    }
}

/// The values that constants came to have.
fn values_of(module: &Module, names: &[String]) -> Vec<(String, Value)> {
    let value = |handle: Handle<Expression>| match module.global_expressions[handle] {
        Expression::Literal(Literal::Bool(value)) => Some(Value::Bool(value)),
        Expression::Literal(literal) => number(literal).map(Value::Number),
        Expression::ZeroValue(ty) => match module.types[ty].inner {
            TypeInner::Scalar(naga::Scalar { kind: naga::ScalarKind::Bool, .. }) => Some(Value::Bool(false)),
            _ => Some(Value::Number(0.0)),
        },
        _ => None,
    };
    let named = module.constants.iter().filter_map(|(_, constant)| Some((constant.name.clone()?, constant.init)));
    named.filter(|(name, _)| names.contains(name)).filter_map(|(name, init)| Some((name, value(init)?))).collect()
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
