//! Users' formulas as operations: one for each element ([`ElementwiseKernel`]), or one that reduces rows
//! ([`ReductionKernel`]).
//!
//! A formula is WGSL over variables that are named when the kernel is made. It becomes a function in a shader of ours,
//! whose own names get out of its way, and mistakes are shown in the user's text. It is tried when the kernel is made,
//! and compiled for the types and layouts of its operands when it is first called with such.

mod elementwise;
mod reduction;

use std::borrow::Cow;

use naga::AddressSpace;
use naga::keywords::wgsl::{BUILTIN_IDENTIFIERS, RESERVED};

use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::gpu::wgsl::OURS;
use crate::kernel::compile::{on_deep_stack, parse};
use crate::kernel::source::{Source, unpaired, words};

pub use elementwise::ElementwiseKernel;
pub use reduction::{Formulas, Reduced, ReductionKernel};

#[cfg(test)]
pub(crate) use elementwise::WALKS;
#[cfg(test)]
pub(crate) use reduction::all_specs;

/// A variable of a formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// None where the operands decide.
    pub dtype: Option<DType>,
}

/// What a formula computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Number {
    F32,
    I32,
    U32,
    Bool,
}

impl Number {
    const ALL: [Self; 4] = [Self::F32, Self::I32, Self::U32, Self::Bool];

    const fn of(dtype: DType) -> Self {
        match (dtype.kind(), dtype) {
            (Kind::Float, _) => Self::F32,
            (Kind::Bool, _) => Self::Bool,
            (Kind::Int, DType::UInt32 | DType::UInt8) => Self::U32,
            (Kind::Int, _) => Self::I32,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::Bool => "bool",
        }
    }

    /// The WGSL for an element as a `dtype/` module unpacks it, as this type.
    fn unpacked(self, element: &str) -> String {
        match self {
            // Zeros and ones.
            Self::Bool => format!("({element} != 0u)"),
            _ => format!("{}({element})", self.name()),
        }
    }

    /// The WGSL for a value of this type as a `dtype/` module packs it.
    fn packed(self, value: &str) -> Cow<'_, str> {
        match self {
            Self::Bool => format!("select(0u, 1u, {value})").into(),
            _ => value.to_string().into(),
        }
    }
}

/// An error about a kernel or a call of it.
fn refuse(kernel: &str, message: impl std::fmt::Display) -> Error {
    Error::Kernel(format!("kernel '{kernel}': {message}"))
}

/// What messages call a kernel.
fn title(kernel: &str) -> String {
    format!("kernel '{kernel}'")
}

/// The same for variables of these types.
fn titled(kernel: &str, variables: &[Variable], numbers: &[Number]) -> String {
    let types = variables.iter().zip(numbers);
    let types: Vec<String> = types.map(|(variable, n)| format!("{}: {}", variable.name, n.name())).collect();
    format!("{} with {}", title(kernel), types.join(", "))
}

/// Variables as a user lists them: `x, mask: bool`. `label` is the argument that does.
fn variables(kernel: &str, label: &str, text: &str) -> Result<Vec<Variable>> {
    let list = text.trim().strip_suffix(',').unwrap_or(text);
    let all: Vec<Variable> = list.split(',').map(|item| variable(kernel, label, item)).collect::<Result<_>>()?;
    Ok(all)
}

fn variable(kernel: &str, label: &str, item: &str) -> Result<Variable> {
    let fail = |why: &str| Err(refuse(kernel, format!("{label}: {why}")));
    let (name, dtype) = match item.split_once(':') {
        None => (item.trim(), None),
        Some((name, dtype)) => {
            let dtype = dtype.trim();
            let Some(known) = DType::from_name(dtype) else {
                let names = DType::ALL.map(DType::name).join(", ");
                return fail(&format!("'{}' has the dtype '{dtype}'; the dtypes are {names}", name.trim()));
            };
            (name.trim(), Some(known))
        }
    };
    if name.is_empty() {
        return fail("a name is missing; write names with commas between them, such as \"x, y: float32\"");
    }
    if let Some((dtype, name)) = name.split_once(char::is_whitespace)
        && DType::from_name(dtype).is_some()
    {
        return fail(&format!("write '{}: {dtype}' instead of '{dtype} {}'", name.trim(), name.trim()));
    }
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || name == "_" || name.starts_with("__")
    {
        return fail(&format!(
            "'{name}' cannot be a name; names have letters, digits and underscores, and begin with a letter"
        ));
    }
    if RESERVED.contains(&name) || BUILTIN_IDENTIFIERS.contains(&name) {
        return fail(&format!("'{name}' is a word of WGSL's own; call it something else"));
    }
    if name.starts_with(OURS) {
        return fail(&format!("'{name}': names that begin with {OURS} are taken; call it something else"));
    }
    Ok(Variable { name: name.into(), dtype })
}

/// Refuses variables that share a name, or have that of a keyword of calls.
fn check_names<'a>(
    kernel: &str,
    all: impl IntoIterator<Item = &'a Variable>,
    inputs: usize,
    keywords: &[&str],
) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    for variable in all {
        let name = variable.name.as_str();
        if seen.contains(&name) {
            return Err(refuse(kernel, format!("'{name}' is the name of two variables; call one something else")));
        }
        if seen.len() < inputs && keywords.contains(&name) {
            return Err(refuse(kernel, format!("'{name}' cannot be an input, since calls have an argument {name}=")));
        }
        seen.push(name);
    }
    Ok(())
}

/// Refuses a user's text that would not stay within the function that it becomes, or takes names of ours.
fn check_text(kernel: &str, file: &'static str, text: &str) -> Result<()> {
    let fail = |place: &std::ops::Range<usize>, message: &str| {
        let source = Source::from_template(title(kernel), &format!("{{{file}}}"), &[(file, text)])?;
        Err(source.refuse_at(file, place, message))
    };
    if let Some((place, message)) = unpaired(text) {
        return fail(&place, message);
    }
    let mut before = "";
    for (at, word) in words(text) {
        let place = at..at + word.len();
        if word.starts_with(OURS) {
            return fail(&place, &format!("names that begin with {OURS} are taken"));
        }
        // What is around the formula calls WGSL's functions.
        if matches!(before, "fn" | "struct" | "alias") && BUILTIN_IDENTIFIERS.contains(&word) {
            return fail(&place, &format!("`{word}` is a word of WGSL's own; call it something else"));
        }
        // Some of the invocations of a workgroup compute nothing, and the others would wait for them.
        if word.ends_with("Barrier") || word == "workgroupUniformLoad" {
            return fail(&place, "formulas are computed each by itself, and cannot wait for each other");
        }
        before = word;
    }
    Ok(())
}

/// Refuses a formula that is nothing.
fn check_filled(kernel: &str, file: &str, text: &str, example: &str) -> Result<()> {
    if words(text).next().is_none() {
        return Err(refuse(kernel, format!("{file}={text:?} is empty; write a formula, such as {file}={example:?}")));
    }
    Ok(())
}

/// Functions of a user's, put together by `template`, as they stand without the rest of the shader. They are right by
/// WGSL's rules, and declare nothing that only a whole shader can.
fn check_functions(kernel: &str, source: &Source) -> Result<()> {
    let (module, _) = parse(source)?;
    let bound = module.global_variables.iter().filter(|(handle, variable)| {
        // Outputs are private variables of ours. One of a user's would keep its value from element to element.
        let place = module.global_variables.get_span(*handle).to_range();
        let is_ours = place.is_none_or(|place| source.is_ours(place.start));
        variable.space != AddressSpace::Private || !is_ours
    });
    let bound = bound.map(|(_, variable)| variable);
    let overrides = module.overrides.iter().filter_map(|(_, declared)| declared.name.clone());
    let entry_points = module.entry_points.iter().map(|entry_point| entry_point.name.clone());
    let unfit: Vec<String> =
        bound.filter_map(|variable| variable.name.clone()).chain(overrides).chain(entry_points).collect();
    match unfit.first() {
        None => Ok(()),
        Some(name) => Err(refuse(
            kernel,
            format!(
                "preamble: '{name}' cannot be declared here; a preamble has functions, constants, structs and aliases. \
                 gpukern.Kernel takes shaders with bindings and entry points of their own"
            ),
        )),
    }
}

/// Tries functions with each type of numbers: they are right if they are so with one of them. What is wrong with them
/// is said of the first.
fn try_types(functions: impl Fn(Number) -> Result<Source> + Send + Sync, kernel: &str) -> Result<()> {
    on_deep_stack(&title(kernel), || {
        let mut first = None;
        for number in Number::ALL {
            match functions(number).and_then(|source| check_functions(kernel, &source)) {
                Ok(()) => return Ok(()),
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        first.map_or(Ok(()), Err)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_names_and_perhaps_dtypes() {
        let parsed = variables("k", "inputs", "x, mask: bool,y :float16").unwrap();
        let expected = [("x", None), ("mask", Some(DType::Bool)), ("y", Some(DType::Float16))];
        assert!(parsed.iter().map(|v| (v.name.as_str(), v.dtype)).eq(expected));
        for (text, words) in [
            ("x-y", "letters, digits"),
            ("", "missing"),
            ("x,,y", "missing"),
            ("1x", "begin with a letter"),
            ("_", "cannot be a name"),
            ("fn", "WGSL"),
            ("vec4", "WGSL"),
            ("gpukern_x", "taken"),
            ("x: float64", "float32"),
            ("float32 x", "'x: float32'"),
        ] {
            let message = variables("k", "inputs", text).unwrap_err().to_string();
            assert!(message.contains("kernel 'k': inputs: ") && message.contains(words), "{text}: {message}");
        }
    }
}
