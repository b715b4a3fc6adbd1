//! From a source to a program: parsed, checked, its constants resolved, its bindings renumbered.

use std::error::Error as _;

use naga::back::pipeline_constants::{PipelineConstantError, process_overrides};
use naga::compact::{KeepUnused, compact};
use naga::valid::{Capabilities, ModuleInfo, ValidationError, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ResourceBinding, Span, StorageAccess, TypeInner, WithSpan};

use super::hints::plain;
use super::reflect::{self, Access};
use super::source::{Complaint, Source, words};
use super::{Identity, Kernel, Program, Value};
use crate::device::select::panic_message;
use crate::error::{Bytes, Error, Result};

/// Runs the compiler with enough stack for deeply nested texts. What makes it panic is refused as a text.
pub(crate) fn on_deep_stack<T: Send>(what: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    const STACK: usize = 64 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(COMPILER.into()).stack_size(STACK).spawn_scoped(scope, work);
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| {
                Err(Error::Kernel(format!(
                    "{what}: the WGSL compiler fails on this source: {}",
                    plain(&panic_message(&*panic))
                )))
            }),
            Err(error) => Err(Error::Kernel(format!("{what}: no thread for the WGSL compiler: {error}"))),
        }
    })
}

/// The name of the threads that compile. Their panics are errors of sources.
pub(crate) const COMPILER: &str = "gpukern-wgsl";

/// The module of a source, if it is right by WGSL's rules. What a device can do is not asked yet.
pub(crate) fn parse(source: &Source) -> Result<(Module, ModuleInfo)> {
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
    Validator::new(ValidationFlags::all(), capabilities).validate(module).map_err(|error| invalid(source, &error, None))
}

fn invalid(source: &Source, error: &WithSpan<ValidationError>, note: Option<&str>) -> Error {
    let mut notes: Vec<String> = note.map(Into::into).into_iter().collect();
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
    // Types are shared, and have no place: the first mention of what is wrong will do.
    let mentioned = ["f16", "f64", "i64", "u64"]
        .into_iter()
        .find(|ty| notes.iter().any(|note| note.contains(&format!("`{ty}` values"))));
    if let (Some(ty), true) = (mentioned, labels.is_empty()) {
        let suffixed = if ty == "f64" { "lf" } else { "h" };
        let is_it =
            |word: &str| word == ty || word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with(suffixed);
        labels.extend(
            words(&source.text)
                .filter(|(_, word)| is_it(word))
                .map(|(at, word)| (at..at + word.len(), String::new()))
                .take(1),
        );
    }
    source.refuse(Complaint { message, labels, notes })
}

/// The error for something in a source that the CPU device does not run.
pub(crate) fn refuse_on_cpu(source: &Source, what: &str, place: Span) -> Error {
    source.refuse(Complaint {
        message: format!("the CPU device does not run {what}"),
        labels: place.to_range().map(|place| (place, String::new())).into_iter().collect(),
        notes: vec!["name a GPU with device=; gpukern.devices() lists what this machine has".into()],
    })
}

impl Program {
    /// Whether a device with these capabilities can run it.
    pub(crate) fn check(&self, capabilities: Capabilities) -> Result<ModuleInfo> {
        check(&self.source, &self.module, capabilities)
    }

    /// The error for something that the CPU device does not run.
    pub(crate) fn refuse_on_cpu(&self, what: &str, place: Span) -> Error {
        refuse_on_cpu(&self.source, what, place)
    }
}

/// The module with one entry point and only what that needs.
pub(super) fn only(mut module: Module, entry_point: &str) -> Module {
    module.entry_points.retain(|entry| entry.stage == naga::ShaderStage::Compute && entry.name == entry_point);
    compact(&mut module, KeepUnused::No);
    module
}

/// Gives every constant its value, and every variable the number by which it is bound.
pub(super) fn resolve(kernel: &Kernel) -> Result<Program> {
    let source = &kernel.source;
    let mut module = kernel.module.clone();
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
        PipelineConstantError::ValidationError(error) => invalid(source, &error, Some(&in_force(kernel))),
        error => kernel.refuse(format!("its constants do not fit: {error}; {}", in_force(kernel))),
    })?;
    let resolved = resolved.into_owned();
    let entry = &resolved.entry_points[0];
    let used = info.get_entry_point(0);
    let workgroup_memory = resolved
        .global_variables
        .iter()
        .filter(|(handle, variable)| variable.space == AddressSpace::WorkGroup && !used[*handle].is_empty())
        .map(|(_, variable)| u64::from(resolved.types[variable.ty].inner.size(resolved.to_ctx())).next_multiple_of(16))
        .sum();
    if workgroup_memory > WORKGROUP {
        return Err(
            kernel.refuse(format!("its workgroup memory is {}, and no device has so much", Bytes(workgroup_memory)))
        );
    }
    check_private_memory(source, &resolved)?;
    Ok(Program {
        identity: Identity::new(&source.text, &kernel.entry_point, &kernel.constants, kernel.options.trusted),
        trusted: kernel.options.trusted,
        workgroup_size: entry.workgroup_size,
        workgroup_memory,
        constants: values_of(&resolved, &names),
        source: source.clone(),
        module: resolved,
    })
}

/// The values of constants, for messages.
fn in_force(kernel: &Kernel) -> String {
    let all: Vec<String> = kernel
        .constants
        .iter()
        .filter_map(|constant| match constant.value? {
            Value::Number(number) => Some(format!("{} = {number}", constant.name)),
            Value::Bool(value) => Some(format!("{} = {value}", constant.name)),
            Value::Type(name) => Some(format!("{} = {name}", constant.name)),
        })
        .collect();
    format!("they are {}; lengths and sizes are at least 1", all.join(", "))
}

/// The most bytes of workgroup memory that a kernel is translated with.
const WORKGROUP: u64 = 16 << 20;

/// The most bytes of variables that each invocation has for itself. WGSL promises 8 KiB; drivers that are given
/// hundreds of megabytes take them for every invocation at once.
const PRIVATE: u64 = 64 << 10;

/// Refuses variables of invocations that no device has room for.
fn check_private_memory(source: &Source, module: &Module) -> Result<()> {
    let size = |ty| u64::from(module.types[ty].inner.size(module.to_ctx()));
    let private = module.global_variables.iter().filter(|(_, variable)| variable.space == AddressSpace::Private);
    let globals =
        private.map(|(handle, variable)| (&variable.name, size(variable.ty), module.global_variables.get_span(handle)));
    let mut all = vec![globals.collect::<Vec<_>>()];
    let functions = module.functions.iter().map(|(_, function)| function);
    for function in functions.chain(module.entry_points.iter().map(|entry| &entry.function)) {
        let locals = function
            .local_variables
            .iter()
            .map(|(handle, variable)| (&variable.name, size(variable.ty), function.local_variables.get_span(handle)));
        all.push(locals.collect());
    }
    for variables in all {
        let total: u64 = variables.iter().map(|(_, size, _)| size).sum();
        let Some((name, size, span)) = variables.into_iter().max_by_key(|(_, size, _)| *size) else { continue };
        if total > PRIVATE {
            let name = name.as_deref().unwrap_or_default();
            return Err(source.refuse(Complaint {
                message: format!(
                    "variable '{name}' has {}, and each invocation has room for {}",
                    Bytes(size),
                    Bytes(PRIVATE)
                ),
                labels: span.to_range().map(|place| (place, String::new())).into_iter().collect(),
                notes: vec!["keep large arrays in storage, or in workgroup memory that invocations share".into()],
            }));
        }
    }
    Ok(())
}

/// Binds the i-th variable of the kernel at binding i of group 0, whatever the source says. Immediates become buffers,
/// which every device has.
fn renumber(module: &mut Module, kernel: &Kernel) {
    let storage = AddressSpace::Storage { access: StorageAccess::LOAD };
    for (_, variable) in module.global_variables.iter_mut() {
        let name = variable.name.as_deref().unwrap_or_default();
        if let Some(i) = kernel.bindings.iter().position(|binding| binding.name == name) {
            variable.binding = Some(ResourceBinding { group: 0, binding: i as u32 });
            if kernel.bindings[i].stored {
                variable.space = storage;
            }
        }
    }
    let stored: Vec<AddressSpace> = kernel
        .bindings
        .iter()
        .filter(|binding| binding.stored)
        .map(|binding| match binding.access {
            Access::Immediate => AddressSpace::Immediate,
            _ => AddressSpace::Uniform,
        })
        .collect();
    // Pointers to them are types of their own.
    let pointers: Vec<_> = module.types.iter().map(|(handle, ty)| (handle, ty.clone())).collect();
    for (handle, mut ty) in pointers {
        if let TypeInner::Pointer { space, .. } | TypeInner::ValuePointer { space, .. } = &mut ty.inner
            && stored.contains(space)
        {
            *space = storage;
            module.types.replace(handle, ty);
        }
    }
}

/// The values that constants came to have.
fn values_of(module: &Module, names: &[String]) -> Vec<(String, Value)> {
    let named = module.constants.iter().filter_map(|(_, constant)| Some((constant.name.clone()?, constant.init)));
    let named = named.filter(|(name, _)| names.contains(name));
    named.filter_map(|(name, init)| Some((name, reflect::literal(module, init)?))).collect()
}
