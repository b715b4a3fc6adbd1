//! A user's formulas that reduce rows: of each element something (`map`), of two such one (`reduce`), and of the last
//! the result (`finish`).
//!
//! Of one input they become a module of the shader that all reductions share (`accumulate/formulas`). Several inputs are
//! mapped by an elementwise kernel before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::{
    ElementwiseKernel, Number, Variable, check_filled, check_names, check_text, title, titled, try_types, variables,
};
use crate::dtype::{DType, Kind};
use crate::error::Result;
use crate::gpu::wgsl::USERS;
use crate::kernel::compile::{check, on_deep_stack, parse};
use crate::kernel::source::Source;
use crate::ops::elementwise::{native, promote};
use crate::ops::reduce::reduce_by;
use crate::ops::rows::Reducer;
use crate::ops::{Operand, astype};
use crate::tensor::Tensor;

#[cfg(test)]
use crate::gpu::pipeline::Spec;

/// A reduction of a user's.
pub struct ReductionKernel {
    pub name: String,
    pub inputs: Vec<Variable>,
    pub formulas: Formulas,
    /// What devices with these capabilities run for inputs of a type.
    reducers: Mutex<FxHashMap<(DType, u64), Arc<Reducer>>>,
    /// What maps several inputs, by the type of the results.
    maps: Mutex<FxHashMap<DType, Arc<ElementwiseKernel>>>,
}

/// The formulas of a reduction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formulas {
    /// Of the inputs.
    pub map: String,
    /// Of `a` and `b`.
    pub reduce: String,
    /// What changes nothing that it is reduced with.
    pub identity: String,
    /// Of `a`.
    pub finish: String,
    pub preamble: String,
}

/// How a call reduces.
#[derive(Debug, Clone, Copy)]
pub struct Reduced<'a> {
    /// None for all.
    pub axes: Option<&'a [isize]>,
    pub keepdims: bool,
}

/// The keywords of a call.
const KEYWORDS: [&str; 4] = ["axis", "keepdims", "out", "device"];

impl ReductionKernel {
    pub fn new(name: &str, inputs: &str, formulas: Formulas) -> Result<Self> {
        let inputs = variables(name, "inputs", inputs)?;
        check_names(name, &inputs, inputs.len(), &KEYWORDS)?;
        let examples = ["x * x", "a + b", "0", "sqrt(a)"];
        for ((file, text), example) in formulas.each().into_iter().zip(examples) {
            check_filled(name, file, text, example)?;
            check_text(name, file, text)?;
        }
        check_text(name, "preamble", &formulas.preamble)?;
        let kernel = Self { name: name.into(), inputs, formulas, reducers: Mutex::default(), maps: Mutex::default() };
        try_types(
            |number| kernel.functions(&kernel.tried(number), Number::of(result_dtype(sample(number))), false),
            name,
        )?;
        Ok(kernel)
    }

    /// What the inputs are where operands are such numbers.
    fn tried(&self, number: Number) -> Vec<Number> {
        self.inputs.iter().map(|variable| variable.dtype.map_or(number, Number::of)).collect()
    }

    /// The user's functions for inputs of these types, which gather `number`. What is `mapped` before has no formula
    /// for elements.
    fn functions(&self, inputs: &[Number], number: Number, mapped: bool) -> Result<Source> {
        let what = titled(&self.name, &self.inputs, inputs);
        let Formulas { map, reduce, identity, finish, preamble } = &self.formulas;
        let texts =
            [("map", map), ("reduce", reduce), ("identity", identity), ("finish", finish), ("preamble", preamble)];
        let texts = texts.map(|(file, text)| (file, text.as_str()));
        Source::from_template(what, &self.template(inputs, number, mapped), &texts)
    }

    /// What makes functions of the user's formulas. Each result is converted to the type that is gathered.
    fn template(&self, inputs: &[Number], number: Number, mapped: bool) -> String {
        let ty = number.name();
        let function = |name: &str, parameters: &str, before: &str| {
            format!("fn gpukern_user_{name}({parameters}) -> {ty} {{\n{before}return {ty}(\n{{{name}}}\n);\n}}\n")
        };
        let map = if mapped {
            format!("fn gpukern_user_map(element: {ty}) -> {ty} {{ return element; }}\n")
        } else {
            let memory = |n: Number| if n == Number::Bool { Number::U32 } else { n };
            let each = || self.inputs.iter().zip(inputs).enumerate();
            let parameters: Vec<String> =
                each().map(|(i, (_, n))| format!("gpukern_{i}: {}", memory(*n).name())).collect();
            let before: Vec<String> = each()
                .map(|(i, (variable, n))| format!("let {} = {};\n", variable.name, n.unpacked(&format!("gpukern_{i}"))))
                .collect();
            function("map", &parameters.join(", "), &before.concat())
        };
        let rest = [("identity", ""), ("reduce", &*format!("a: {ty}, b: {ty}")), ("finish", &*format!("a: {ty}"))]
            .map(|(name, parameters)| function(name, parameters, ""));
        format!("{{preamble}}\n{map}{}", rest.concat())
    }

    /// Reduces operands, one for each input.
    pub fn call(
        &self,
        operands: &[Operand<'_>],
        Reduced { axes, keepdims }: Reduced<'_>,
        out: Option<&Tensor>,
    ) -> Result<Tensor> {
        let title = title(&self.name);
        let (x, mapped) = if let [Operand::Tensor(x)] = operands {
            (astype(x, self.inputs[0].dtype.unwrap_or(x.dtype()), false)?, None)
        } else {
            let dtype = result_dtype(self.common(&title, operands)?);
            let mapped = self.map(wide(dtype)).call(operands, &[None])?;
            (mapped.into_iter().next().expect("one result"), Some(dtype))
        };
        let dtype = mapped.unwrap_or_else(|| result_dtype(x.dtype()));
        let reducer = self.reducer(&x, dtype, mapped.is_some())?;
        reduce_by(&reducer, &title, &x, dtype, (axes, keepdims), out)
    }

    /// The type of all operands together.
    fn common(&self, title: &str, operands: &[Operand<'_>]) -> Result<DType> {
        let open = self.inputs.iter().zip(operands).filter(|(variable, _)| variable.dtype.is_none());
        let open = promote(title, open.map(|(_, operand)| *operand))?;
        let mut all = open.into_iter().chain(self.inputs.iter().filter_map(|variable| variable.dtype));
        let first = all.next().expect("a kernel has inputs");
        all.try_fold(first, |common, dtype| common.promote(dtype, title))
    }

    /// What maps several inputs to numbers of this type.
    fn map(&self, dtype: DType) -> Arc<ElementwiseKernel> {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let Formulas { map, preamble, .. } = &self.formulas;
            Arc::new(ElementwiseKernel::value(&self.name, &self.inputs, dtype, ("map", map), preamble))
        };
        maps.entry(dtype).or_insert_with(make).clone()
    }

    /// What reduces x to results of this type on its device.
    fn reducer(&self, x: &Tensor, dtype: DType, mapped: bool) -> Result<Arc<Reducer>> {
        let capabilities = x.device().caps().wgsl(false);
        let key = (x.dtype(), capabilities.bits() << 1 | u64::from(mapped));
        let known = || self.reducers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reducer) = known().get(&key) {
            return Ok(reducer.clone());
        }
        let functions = self.functions(&[Number::of(x.dtype())], Number::of(wide(dtype)), mapped)?;
        on_deep_stack(&functions.what, || {
            let (module, _) = parse(&functions)?;
            check(&functions, &module, capabilities)
        })?;
        let reducer = Arc::new(reducer(&self.name, x.dtype(), dtype, functions.text));
        known().insert(key, reducer.clone());
        Ok(reducer)
    }
}

impl Formulas {
    /// Each but the preamble, with the name of its argument.
    fn each(&self) -> [(&'static str, &str); 4] {
        [("map", &self.map), ("reduce", &self.reduce), ("identity", &self.identity), ("finish", &self.finish)]
    }
}

/// A type of such numbers.
const fn sample(number: Number) -> DType {
    match number {
        Number::F32 => DType::Float32,
        Number::I32 => DType::Int32,
        Number::U32 => DType::UInt32,
        Number::Bool => DType::Bool,
    }
}

/// The type of results, as `sum` has it.
fn result_dtype(x: DType) -> DType {
    match x {
        DType::UInt32 => x,
        _ if x.kind() == Kind::Float => x,
        _ => DType::Int32,
    }
}

/// The type in which results of this type are gathered.
const fn wide(dtype: DType) -> DType {
    match dtype.kind() {
        Kind::Float => DType::Float32,
        Kind::Int | Kind::Bool => dtype,
    }
}

/// Numbers of the texts that reducers were made of, which pipelines are found by.
static INDICES: Mutex<Option<FxHashMap<Arc<str>, u64>>> = Mutex::new(None);
/// The first of them; those of our own reductions are less.
static NEXT: AtomicU64 = AtomicU64::new(1 << 10);
/// Kept at most of them.
const TEXTS: usize = 1024;

fn reducer(name: &str, x: DType, out: DType, functions: String) -> Reducer {
    let functions: Arc<str> = functions.into();
    let number = Number::of(wide(out)).name();
    let mut indices = INDICES.lock().unwrap_or_else(PoisonError::into_inner);
    let indices = indices.get_or_insert_default();
    if indices.len() >= TEXTS {
        indices.clear();
    }
    let index = *indices.entry(functions.clone()).or_insert_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    Reducer {
        label: name.to_string().into(),
        index,
        module: "accumulate/formulas",
        text: format!(
            "alias Number = {number};\nalias Numbers = {};\n\
             fn result(total: Accumulator) -> {number} {{ return gpukern_user_finish(total); }}\n{USERS}",
            native(x)
        ),
        users: Some(functions),
        bytes: 4,
        divisor: 1.0,
    }
}

/// Reductions by formulas of every type, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let formulas = Formulas {
        map: "x".into(),
        reduce: "a + b".into(),
        identity: "0.0".into(),
        finish: "a".into(),
        preamble: "const params = 1;".into(),
    };
    let kernel = ReductionKernel::new("formulas", "x", formulas).unwrap_or_else(|error| panic!("{error}"));
    DType::ALL
        .into_iter()
        .flat_map(|x| {
            let out = result_dtype(x);
            let functions = kernel.functions(&[Number::of(x)], Number::of(wide(out)), false);
            let functions = functions.unwrap_or_else(|error| panic!("{error}"));
            crate::ops::rows::reduce_specs(&reducer("formulas", x, out, functions.text), x, Some(out))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(inputs: &str, map: &str, reduce: &str, identity: &str, finish: &str) -> Result<ReductionKernel> {
        let [map, reduce, identity, finish] = [map, reduce, identity, finish].map(String::from);
        ReductionKernel::new("k", inputs, Formulas { map, reduce, identity, finish, preamble: String::new() })
    }

    #[test]
    fn formulas_of_every_kind_compile() {
        for (inputs, map, reduce, identity, finish) in [
            ("x", "x * x", "a + b", "0.0", "sqrt(a)"),
            ("x", "x & 1", "a ^ b", "0", "a"),
            ("x", "x", "max(a, b)", "-1e30 // least", "a"),
            ("x", "x > 1.0", "a + b", "0", "a"),
            ("x, y", "x * y", "a + b", "0", "a"),
            ("flag: bool, y", "select(y, -y, flag)", "a + b", "0", "a"),
        ] {
            assert!(kernel(inputs, map, reduce, identity, finish).is_ok(), "{map}");
        }
    }

    #[test]
    fn mistakes_are_shown_in_the_formula() {
        for (map, reduce, identity, finish, words) in [
            ("x * w", "a + b", "0", "a", "map:1:5"),
            ("x *", "a + b", "0", "a", "map:1:4"),
            ("x", "a + c", "0", "a", "reduce:1:5"),
            ("x", "a + b", "zero", "a", "identity:1:1"),
            ("x", "a + b", "0", "sqrt(b)", "finish:1:6"),
            ("x; x", "a + b", "0", "a", "map:1:2"),
            ("vec2(x)", "a + b", "0", "a", "map:1:1"),
            ("x)", "a + b", "0", "a", "map:1:2"),
            ("", "a + b", "0", "a", "map=\"\" is empty"),
        ] {
            let message = match kernel("x", map, reduce, identity, finish) {
                Ok(_) => panic!("{map} {reduce} {identity} {finish} compile"),
                Err(error) => error.to_string(),
            };
            assert!(message.contains(words) && !message.contains("gpukern_user"), "{words}: {message}");
        }
    }
}
