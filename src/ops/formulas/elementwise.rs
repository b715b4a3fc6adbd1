//! A user's formula for each element: `z = a * x + y`, over shapes that broadcast.

mod launch;

use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Number, Variable, check_filled, check_names, check_text, refuse, title, titled, try_types, variables};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::kernel::Identity;
use crate::kernel::source::{Source, words};
use crate::ops::elementwise::{Source as From, check_numbers, promote};
use crate::ops::{Operand, Output, astype, result_layout};
use crate::shape::{Layout, Shape, broadcast_shapes};
use crate::tensor::Tensor;
use launch::Variant;

#[cfg(test)]
pub(crate) use launch::WALKS;

/// The most variables of a kernel, inputs and outputs together.
const VARIABLES: usize = 12;
/// Kept at most of the variants that calls ask for.
const VARIANTS: usize = 256;

/// An elementwise kernel of a user's.
pub struct ElementwiseKernel {
    pub name: String,
    pub inputs: Vec<Variable>,
    pub outputs: Vec<Variable>,
    pub body: String,
    pub preamble: String,
    /// Whether the body is a formula for the one output, and not statements that assign it.
    is_value: bool,
    /// What messages call the body.
    file: &'static str,
    /// Whether the body asks for the flat index.
    indexed: bool,
    /// What pipelines of the variants are found by.
    known: Mutex<FxHashMap<Variant, Identity>>,
}

/// The keywords of a call.
const KEYWORDS: [&str; 2] = ["out", "device"];

impl ElementwiseKernel {
    /// A kernel whose body assigns the outputs.
    pub fn new(name: &str, inputs: &str, outputs: &str, body: &str, preamble: &str) -> Result<Self> {
        let inputs = variables(name, "inputs", inputs)?;
        let outputs = variables(name, "outputs", outputs)?;
        check_names(name, inputs.iter().chain(&outputs), inputs.len(), &KEYWORDS)?;
        check_filled(name, "body", body, "z = x + y")?;
        let kernel = Self::of(name, inputs, outputs, body, preamble);
        kernel.check()?;
        Ok(kernel)
    }

    /// A kernel for what `formula`, which messages call `file`, gives. It has been checked.
    pub(super) fn value(
        name: &str,
        inputs: &[Variable],
        output: DType,
        (file, formula): (&'static str, &str),
        preamble: &str,
    ) -> Self {
        let output = Variable { name: "gpukern_value".into(), dtype: Some(output) };
        Self { is_value: true, file, ..Self::of(name, inputs.to_vec(), vec![output], formula, preamble) }
    }

    fn of(name: &str, inputs: Vec<Variable>, outputs: Vec<Variable>, body: &str, preamble: &str) -> Self {
        let named = inputs.iter().chain(&outputs).any(|variable| variable.name == "i");
        Self {
            name: name.into(),
            inputs,
            outputs,
            body: body.into(),
            preamble: preamble.into(),
            is_value: false,
            file: "body",
            indexed: !named && words(body).any(|(_, word)| word == "i"),
            known: Mutex::default(),
        }
    }

    fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.inputs.iter().chain(&self.outputs)
    }

    fn check(&self) -> Result<()> {
        let count = self.variables().count();
        if count > VARIABLES {
            return Err(refuse(&self.name, format!("it has {count} variables, but at most {VARIABLES} are possible")));
        }
        check_text(&self.name, self.file, &self.body)?;
        check_text(&self.name, "preamble", &self.preamble)?;
        try_types(|number| self.functions(&self.tried(number)), &self.name)
    }

    /// What the variables are where operands are such numbers.
    fn tried(&self, number: Number) -> SmallVec<[Number; 4]> {
        self.variables().map(|variable| variable.dtype.map_or(number, Number::of)).collect()
    }

    /// The user's functions alone, for variables of these types.
    fn functions(&self, numbers: &[Number]) -> Result<Source> {
        self.source(&self.template(numbers), numbers)
    }

    fn source(&self, template: &str, numbers: &[Number]) -> Result<Source> {
        let shown = if self.is_value { &self.inputs[..] } else { &[&self.inputs[..], &self.outputs].concat() };
        let what = titled(&self.name, shown, numbers);
        Source::from_template(what, template, &[(self.file, &self.body), ("preamble", &self.preamble)])
    }

    /// What makes functions of the user's texts. Outputs are variables outside of functions, so that a body may return
    /// early.
    fn template(&self, numbers: &[Number]) -> String {
        let (inputs, outputs) = numbers.split_at(self.inputs.len());
        let each = || self.outputs.iter().map(|variable| variable.name.as_str()).zip(outputs);
        let declared: Vec<_> = each().map(|(name, n)| format!("var<private> {name}: {};\n", n.name())).collect();
        let reset: Vec<_> = each().map(|(name, n)| format!("    {name} = {}();\n", n.name())).collect();
        let results: Vec<_> = each().map(|(name, n)| n.packed(name)).collect();
        let members: Vec<_> =
            outputs.iter().enumerate().map(|(i, n)| format!("gpukern_{i}: {}", memory(*n).name())).collect();
        let index = if self.indexed { "i: u32" } else { "gpukern_index: u32" };
        let taken = self.inputs.iter().map(|variable| variable.name.as_str()).zip(inputs);
        let taken: Vec<_> = taken.map(|(name, n)| format!("{name}: {}, ", n.name())).collect();
        let element: Vec<_> = inputs.iter().enumerate().map(|(i, n)| format!("gpukern_{i}: {}, ", n.name())).collect();
        let given: Vec<_> = (0..inputs.len()).map(|i| format!("gpukern_{i}, ")).collect();
        let (before, after) = match (self.is_value, outputs) {
            (true, [number]) => (format!("gpukern_value = {}(\n", number.name()), ");"),
            // Statements end with a semicolon, which an empty one may follow.
            _ => (String::new(), ";"),
        };
        format!(
            "{declared}{{preamble}}\n\
             fn gpukern_user_body({taken}{index}) {{\n{before}{{{file}}}\n{after}\n}}\n\
             struct gpukern_user_Results {{ {members} }}\n\
             fn gpukern_user_element({element}gpukern_index: u32) -> gpukern_user_Results {{\n\
             {reset}    gpukern_user_body({given}gpukern_index);\n\
             \x20   return gpukern_user_Results({results});\n}}",
            declared = declared.concat(),
            taken = taken.concat(),
            file = self.file,
            members = members.join(", "),
            element = element.concat(),
            reset = reset.concat(),
            given = given.concat(),
            results = results.join(", "),
        )
    }

    /// Computes the outputs of operands, one for each input. `outs` has one for each output.
    pub fn call(&self, operands: &[Operand<'_>], outs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let title = title(&self.name);
        let tensors = operands.iter().zip(&self.inputs).filter_map(|(operand, variable)| match operand {
            Operand::Tensor(tensor) => Some((*tensor, variable.name.as_str())),
            Operand::Scalar(_) => None,
        });
        let mut first: Option<(&Device, &str)> = None;
        let mut shape = Shape::new();
        for (tensor, name) in tensors {
            let (device, before) = *first.get_or_insert((tensor.device(), name));
            device.check_same(tensor.device(), &title, [before, name])?;
            shape = broadcast_shapes(&shape, tensor.shape(), &title, [before, name])?;
        }
        let Some((device, _)) = first else {
            return Err(Error::Argument(format!("{title}: at least one input must be a tensor or an array")));
        };
        let common = self.common(&title, operands)?;
        let dtypes: SmallVec<[DType; 4]> = self.variables().map(|variable| variable.dtype.unwrap_or(common)).collect();

        let mut views: SmallVec<[Tensor; 4]> = SmallVec::new();
        for (operand, &dtype) in operands.iter().zip(&dtypes) {
            let Operand::Tensor(tensor) = operand else { continue };
            // What the type holds is converted as it is loaded, and the rest before.
            let held = tensor.dtype().promote(dtype, &title).is_ok_and(|together| together == dtype);
            let tensor = if held { (*tensor).clone() } else { astype(tensor, dtype, false)? };
            let layout = tensor.layout().broadcast_to(&shape, &title)?;
            views.push(tensor.with_layout(layout));
        }
        let targets = self.targets(&title, device, &shape, &views, &dtypes[operands.len()..], outs)?;
        if targets.iter().all(|output| !output.target.is_empty()) {
            let mut next = views.iter();
            let sources: SmallVec<[From<'_>; 4]> = operands
                .iter()
                .zip(&dtypes)
                .map(|(operand, &dtype)| match operand {
                    Operand::Tensor(_) => From::Tensor(next.next().expect("one for each tensor")),
                    Operand::Scalar(scalar) => From::Scalar(*scalar, dtype),
                })
                .collect();
            let numbers: SmallVec<[Number; 4]> = dtypes.iter().map(|&dtype| Number::of(dtype)).collect();
            let results: SmallVec<[&Tensor; 4]> = targets.iter().map(|output| &output.target).collect();
            launch::launch(self, &sources, &numbers, &results)?;
        }
        targets.into_iter().map(Output::finish).collect()
    }

    /// The type of operands whose variables leave it open; where none does, that of all of them.
    fn common(&self, title: &str, operands: &[Operand<'_>]) -> Result<DType> {
        let open = self.inputs.iter().zip(operands).filter(|(variable, _)| variable.dtype.is_none());
        let open = open.map(|(_, operand)| *operand);
        let common = match promote(title, open.clone())? {
            Some(common) => Some(common),
            None if self.outputs.iter().any(|variable| variable.dtype.is_none()) => {
                let mut known = self.inputs.iter().filter_map(|variable| variable.dtype);
                let first = known.next();
                known.try_fold(first, |common, dtype| common.map(|c| c.promote(dtype, title)).transpose())?
            }
            None => None,
        };
        let common = common.unwrap_or(DType::Float32);
        check_numbers(title, open, common)?;
        for (variable, operand) in self.inputs.iter().zip(operands) {
            if let Some(dtype) = variable.dtype {
                check_numbers(title, std::iter::once(*operand), dtype)?;
            }
        }
        Ok(common)
    }

    /// Where the results go.
    fn targets(
        &self,
        title: &str,
        device: &Device,
        shape: &[usize],
        views: &[Tensor],
        dtypes: &[DType],
        outs: &[Option<&Tensor>],
    ) -> Result<SmallVec<[Output; 2]>> {
        let given = || outs.iter().zip(&self.outputs).filter_map(|(out, variable)| Some(((*out)?, &variable.name)));
        for (i, (out, name)) in given().enumerate() {
            if let Some((_, before)) = given().take(i).find(|(other, _)| out.shares_elements(other)) {
                let message =
                    format!("out= has the same memory for '{before}' and for '{name}'; give one of them a copy");
                return Err(refuse(&self.name, message));
            }
        }
        let layouts: SmallVec<[&Layout; 4]> = views.iter().map(Tensor::layout).collect();
        let layout = result_layout(shape, &layouts);
        let mut targets: SmallVec<[Output; 2]> = SmallVec::new();
        for (&dtype, &out) in dtypes.iter().zip(outs) {
            let target = {
                // Two outputs in one buffer cannot be bound together.
                let before = targets.iter().map(|output| &output.target);
                let taken: SmallVec<[&Tensor; 4]> = views.iter().chain(before).collect();
                Output::new(title, device, layout.clone(), dtype, out, &taken, Tensor::same_elements)?
            };
            targets.push(target);
        }
        Ok(targets)
    }

    /// What the pipeline of a variant is found by; `make` says it the first time.
    fn identity(&self, variant: &Variant, make: impl FnOnce() -> Result<Identity>) -> Result<Identity> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = known().get(variant) {
            return Ok(identity.clone());
        }
        let identity = make()?;
        let mut known = known();
        if known.len() >= VARIANTS {
            known.clear();
        }
        match known.entry(variant.clone()) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => Ok(entry.insert(identity).clone()),
        }
    }
}

/// The type in which a number of this type is unpacked from memory.
const fn memory(number: Number) -> Number {
    match number {
        Number::Bool => Number::U32,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(inputs: &str, outputs: &str, body: &str, preamble: &str) -> String {
        match ElementwiseKernel::new("k", inputs, outputs, body, preamble) {
            Ok(_) => panic!("'{body}' compiles"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn bodies_of_every_kind_compile() {
        for (inputs, outputs, body, preamble) in [
            ("x, y, a", "z", "z = a * x + y", ""),
            ("x, y", "z", "z = x & y", ""),
            ("x, y", "z", "z = x && y", ""),
            ("x, mask: bool", "z: float32, n: int32", "if (mask) { z = f32(x); return; } n = i32(i);", ""),
            ("x", "z", "z = f(x) // ü", "fn f(x: f32) -> f32 { return x * PLACE; }\nconst PLACE = 2.0;"),
            // Names that the shader has, too.
            ("params, place", "count", "count = params + place", "fn coordinates() {}\nfn main() {}"),
            ("i, v_0", "one", "one = i + v_0", ""),
        ] {
            let kernel = ElementwiseKernel::new("k", inputs, outputs, body, preamble);
            kernel.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn mistakes_are_shown_in_the_users_text() {
        for (inputs, outputs, body, preamble, words) in [
            ("x", "z", "z = x +", "", "body:1:8"),
            ("x", "z", "z = x * w", "", "body:1:9"),
            ("x", "z", "x = z", "", "body:1:1"),
            ("x", "z", "z = x }", "", "body:1:7"),
            ("x", "z", "z = (x", "", "body:1:5"),
            ("x", "z", "z = f(x)", "fn f(x: f32) -> f32 { return y; }", "preamble:1:30"),
            ("x", "z", "z = gpukern_x", "", "body:1:5"),
            ("x", "z", "z = x", "fn select() {}", "preamble:1:4"),
            ("x", "z", "\n  z = vec2(x)", "", "body:2:"),
            ("x", "z", "z = x", "@compute @workgroup_size(1) fn f() {}", "'f'"),
            ("x", "z", "z = x", "override N: u32 = 1u;", "'N'"),
            ("x", "z", "z = x", "@group(0) @binding(7) var<storage> b: u32;", "'b'"),
            ("x", "z", " ", "", "empty"),
            ("x, x", "z", "z = x", "", "two variables"),
            ("out", "z", "z = out", "", "out="),
        ] {
            let message = fails(inputs, outputs, body, preamble);
            assert!(message.contains(words), "{body}: {words}: {message}");
            assert!(!message.contains("gpukern_user"), "{body}: {message}");
        }
    }
}
