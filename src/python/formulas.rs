//! `gpukern.ElementwiseKernel` and `gpukern.ReductionKernel`: users' formulas, called as operations are.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use smallvec::SmallVec;

use super::arrays::{Argument, argument};
use super::call::{Given, Ready, axes_argument, chosen_device, fill_array, out_argument};
use super::enter;
use super::kernel::results_class;
use super::tensor::give;
use crate::device::Device;
use crate::device::select::{self, cpu};
use crate::error::{Error, Result};
use crate::ops::formulas::{ElementwiseKernel, Formulas, Reduced, ReductionKernel, Variable};
use crate::ops::{self, Operand};
use crate::tensor::Tensor;

/// A kernel that computes a formula for each element of arrays that broadcast.
///
/// It is called with its inputs, by position or by name, and with ``out=`` and ``device=``, as operations are: arrays
/// give arrays, and tensors give tensors. Several outputs are a named tuple.
///
/// Within the body floats of any size are f32, integers i32 or u32, and bools bool. ``i`` is the flat index of the
/// element, unless a variable is called so.
///
/// Parameters
/// ----------
/// inputs
///     The names of the inputs. Those without a dtype have that to which they promote together; Python numbers have it
///     too. ``"x, mask: bool"`` gives one a dtype.
/// outputs
///     The names of the outputs, which have the dtype of the inputs, or one of their own: ``"z: float32"``.
/// body
///     WGSL statements that assign the outputs. They may have variables, branches and loops.
/// name
///     What errors and profiles call it.
/// preamble
///     WGSL functions and constants for the body.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.ElementwiseKernel("x, y, a", "z", "z = a * x + y", name="axpy")
/// <gpukern.ElementwiseKernel axpy(x, y, a) -> z>
#[pyclass(frozen, module = "gpukern", name = "ElementwiseKernel")]
pub(super) struct PyElementwiseKernel {
    kernel: ElementwiseKernel,
    given: Texts,
    /// The named tuple of its results, made when there are first several.
    results: PyOnceLock<Py<PyType>>,
}

/// What a kernel was made from, beside its formulas.
struct Texts {
    name: Option<String>,
    inputs: String,
    outputs: String,
}

#[pymethods]
impl PyElementwiseKernel {
    #[new]
    #[pyo3(signature = (inputs, outputs, body, *, name=None, preamble=""))]
    #[pyo3(text_signature = "(inputs, outputs, body, *, name=None, preamble='')")]
    fn new(
        py: Python<'_>,
        inputs: String,
        outputs: String,
        body: &str,
        name: Option<String>,
        preamble: &str,
    ) -> PyResult<Self> {
        let called = name.as_deref().unwrap_or("elementwise_kernel");
        let kernel = enter(py, || ElementwiseKernel::new(called, &inputs, &outputs, body, preamble))?;
        Ok(Self { kernel, given: Texts { name, inputs, outputs }, results: PyOnceLock::new() })
    }

    /// What errors and profiles call it.
    #[getter]
    fn name(&self) -> &str {
        &self.kernel.name
    }

    /// The names of the inputs, with the dtypes that some have.
    #[getter]
    fn inputs(&self) -> &str {
        &self.given.inputs
    }

    /// The names of the outputs, with the dtypes that some have.
    #[getter]
    fn outputs(&self) -> &str {
        &self.given.outputs
    }

    /// The statements that it was made from.
    #[getter]
    fn body(&self) -> &str {
        &self.kernel.body
    }

    /// The functions and constants that it was made from.
    #[getter]
    fn preamble(&self) -> &str {
        &self.kernel.preamble
    }

    /// Compute the outputs.
    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kernel = &self.kernel;
        let call = Arguments::read(&kernel.name, &kernel.inputs, &[], arguments, keywords)?;
        let outs = self.outs(call.out.as_ref())?;
        let results = call.run(&outs, |operands, outs| kernel.call(operands, outs))?;
        if let [only] = &results[..] {
            return Ok(only.clone());
        }
        let names = || kernel.outputs.iter().map(|variable| variable.name.as_str()).collect();
        let class = self.results.get_or_try_init(py, || results_class(py, names()))?;
        class.bind(py).call1(PyTuple::new(py, results)?)
    }

    fn __repr__(&self) -> String {
        let outputs = shown(&self.kernel.outputs);
        let outputs = if self.kernel.outputs.len() == 1 { outputs } else { format!("({outputs})") };
        format!("<gpukern.ElementwiseKernel {}({}) -> {outputs}>", self.kernel.name, shown(&self.kernel.inputs))
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let Texts { name, inputs, outputs } = &self.given;
        let keywords = PyDict::new(py);
        keywords.set_item("name", name.as_deref())?;
        keywords.set_item("preamble", &self.kernel.preamble)?;
        Ok((PyTuple::new(py, [inputs, outputs, &self.kernel.body])?, keywords))
    }
}

impl PyElementwiseKernel {
    /// The `out=` of each output: of several a tuple.
    fn outs<'py>(&self, out: Option<&Bound<'py, PyAny>>) -> PyResult<Outs<'py>> {
        let outputs = &self.kernel.outputs;
        let Some(out) = out else { return Ok(outputs.iter().map(|_| None).collect()) };
        let several = match out.cast::<PyTuple>() {
            Ok(several) => several.iter().map(|out| Some(out).filter(|out| !out.is_none())).collect(),
            Err(_) => Outs::from_iter([Some(out.clone())]),
        };
        if several.len() != outputs.len() {
            let (count, names) = (outputs.len(), shown(outputs));
            let kind = if count == 1 { "one array or tensor".into() } else { format!("a tuple of {count}") };
            return Err(refuse(&self.kernel.name, &format!("out= must be {kind}, for {names}")));
        }
        Ok(several)
    }
}

/// A kernel that reduces rows by formulas: of each element something, of two such one, and of the last the result.
///
/// It is called with its inputs and with ``axis=``, ``keepdims=``, ``out=`` and ``device=``, as reductions are. The
/// order in which elements are reduced is open. Floats are computed in float32; results have the dtype that `sum` gives.
///
/// Parameters
/// ----------
/// map
///     WGSL of the inputs: what is reduced of an element.
/// reduce
///     WGSL of ``a`` and ``b``: one of two. It has to be associative and commutative.
/// identity
///     WGSL of a value that changes nothing it is reduced with: 0 for sums, 1 for products.
/// finish
///     WGSL of ``a``: the result of what has been reduced. No elements give that of the identity.
/// inputs
///     The names of the inputs. Several broadcast, and are mapped to memory first.
/// name
///     What errors and profiles call it.
/// preamble
///     WGSL functions and constants for the formulas.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.ReductionKernel("x * x", "a + b", "0.0", "sqrt(a)", name="length")
/// <gpukern.ReductionKernel length(x): map x * x, reduce a + b, identity 0.0, finish sqrt(a)>
#[pyclass(frozen, module = "gpukern", name = "ReductionKernel")]
pub(super) struct PyReductionKernel {
    kernel: ReductionKernel,
    given: Texts,
}

#[pymethods]
impl PyReductionKernel {
    #[new]
    #[pyo3(signature = (
        map, reduce, identity, finish=String::from("a"), *,
        inputs=String::from("x"), name=None, preamble=String::new()
    ))]
    #[pyo3(text_signature = "(map, reduce, identity, finish='a', *, inputs='x', name=None, preamble='')")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument in Python")]
    fn new(
        py: Python<'_>,
        map: String,
        reduce: String,
        identity: String,
        finish: String,
        inputs: String,
        name: Option<String>,
        preamble: String,
    ) -> PyResult<Self> {
        let formulas = Formulas { map, reduce, identity, finish, preamble };
        let called = name.as_deref().unwrap_or("reduction_kernel");
        let kernel = enter(py, || ReductionKernel::new(called, &inputs, formulas))?;
        Ok(Self { kernel, given: Texts { name, inputs, outputs: String::new() } })
    }

    /// What errors and profiles call it.
    #[getter]
    fn name(&self) -> &str {
        &self.kernel.name
    }

    /// The names of the inputs, with the dtypes that some have.
    #[getter]
    fn inputs(&self) -> &str {
        &self.given.inputs
    }

    /// The formula for each element.
    #[getter]
    fn map(&self) -> &str {
        &self.kernel.formulas.map
    }

    /// The formula that makes one of two.
    #[getter]
    fn reduce(&self) -> &str {
        &self.kernel.formulas.reduce
    }

    /// The formula of what changes nothing.
    #[getter]
    fn identity(&self) -> &str {
        &self.kernel.formulas.identity
    }

    /// The formula for the result.
    #[getter]
    fn finish(&self) -> &str {
        &self.kernel.formulas.finish
    }

    /// The functions and constants that it was made from.
    #[getter]
    fn preamble(&self) -> &str {
        &self.kernel.formulas.preamble
    }

    /// Reduce the inputs over some axes, or over all.
    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kernel = &self.kernel;
        let mut call = Arguments::read(&kernel.name, &kernel.inputs, &["axis", "keepdims"], arguments, keywords)?;
        let mut options = std::mem::take(&mut call.options).into_iter();
        let axes = axes_argument(&call.what, options.next().flatten().as_ref())?;
        let keepdims = options.next().flatten().map_or(Given::Default(false), Given::Object);
        let keepdims = keepdims.flag(&call.what, "keepdims")?;
        let outs = Outs::from_iter([call.out.take()]);
        let results = call.run(&outs, |operands, outs| {
            let how = Reduced { axes: axes.as_deref(), keepdims };
            kernel.call(operands, how, outs[0]).map(|result| vec![result])
        })?;
        Ok(results[0].clone())
    }

    fn __repr__(&self) -> String {
        let Formulas { map, reduce, identity, finish, .. } = &self.kernel.formulas;
        format!(
            "<gpukern.ReductionKernel {}({}): map {map}, reduce {reduce}, identity {identity}, finish {finish}>",
            self.kernel.name,
            shown(&self.kernel.inputs),
        )
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let Formulas { map, reduce, identity, finish, preamble } = &self.kernel.formulas;
        let keywords = PyDict::new(py);
        keywords.set_item("inputs", &self.given.inputs)?;
        keywords.set_item("name", self.given.name.as_deref())?;
        keywords.set_item("preamble", preamble)?;
        Ok((PyTuple::new(py, [map, reduce, identity, finish])?, keywords))
    }
}

fn refuse(kernel: &str, message: &str) -> PyErr {
    Error::Kernel(format!("kernel '{kernel}': {message}")).into()
}

/// Variables as they are listed.
fn shown(variables: &[Variable]) -> String {
    let all = variables.iter().map(|variable| match variable.dtype {
        None => variable.name.clone(),
        Some(dtype) => format!("{}: {dtype}", variable.name),
    });
    all.collect::<Vec<_>>().join(", ")
}

/// The `out=` of each result.
type Outs<'py> = SmallVec<[Option<Bound<'py, PyAny>>; 2]>;

/// The arguments of a call.
struct Arguments<'py> {
    py: Python<'py>,
    /// The kernel, as messages call it.
    what: String,
    inputs: SmallVec<[Argument; 4]>,
    /// What was given for the options, in their order.
    options: SmallVec<[Option<Bound<'py, PyAny>>; 2]>,
    out: Option<Bound<'py, PyAny>>,
    device: Option<Bound<'py, PyAny>>,
}

impl<'py> Arguments<'py> {
    /// Reads the arguments of a kernel that takes inputs, then options, and `out=` and `device=` by name.
    fn read(
        kernel: &str,
        inputs: &[Variable],
        options: &[&str],
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Self> {
        let py = arguments.py();
        let names: SmallVec<[&str; 8]> =
            inputs.iter().map(|variable| variable.name.as_str()).chain(options.iter().copied()).collect();
        if arguments.len() > names.len() {
            let message = format!(
                "it takes {} ({}), but {} are given; out= and device= are given by name",
                names.len(),
                names.join(", "),
                arguments.len()
            );
            return Err(refuse(kernel, &message));
        }
        let mut given: SmallVec<[Option<Bound<'py, PyAny>>; 6]> = arguments.iter().map(Some).collect();
        given.resize(names.len(), None);
        let (mut out, mut device) = (None, None);
        for (name, value) in keywords.into_iter().flatten() {
            let name = name.cast::<PyString>()?.to_str()?;
            match (name, names.iter().position(|known| *known == name)) {
                (_, Some(place)) if given[place].is_some() => {
                    return Err(refuse(kernel, &format!("'{name}' is given twice, by position and by name")));
                }
                (_, Some(place)) => given[place] = Some(value),
                ("out", _) => out = Some(value).filter(|value| !value.is_none()),
                ("device", _) => device = Some(value).filter(|value| !value.is_none()),
                _ => {
                    let known = names.join(", ");
                    return Err(refuse(kernel, &format!("it has no '{name}'; its arguments are {known}, out, device")));
                }
            }
        }
        let what = format!("kernel '{kernel}'");
        let options = given.drain(inputs.len()..).collect();
        let inputs = given
            .iter()
            .zip(&names)
            .map(|(given, name)| match given {
                Some(given) => argument(given, &what, name),
                None => Err(refuse(kernel, &format!("'{name}' is missing; its arguments are {}", names.join(", ")))),
            })
            .collect::<PyResult<_>>()?;
        Ok(Self { py, what, inputs, options, out, device })
    }

    /// Moves the inputs to the device, computes, and gives the results the form that the caller expects.
    fn run(
        self,
        outs: &[Option<Bound<'py, PyAny>>],
        compute: impl FnOnce(&[Operand<'_>], &[Option<&Tensor>]) -> Result<Vec<Tensor>> + Send,
    ) -> PyResult<SmallVec<[Bound<'py, PyAny>; 2]>> {
        let Self { py, what, inputs, .. } = self;
        let first = inputs.iter().find_map(|input| match input {
            Argument::Tensor(tensor) => Some(tensor),
            _ => None,
        });
        let read = outs
            .iter()
            .map(|out| out.as_ref().map(|out| out_argument(&what, out, first.is_some())).transpose())
            .collect::<PyResult<SmallVec<[_; 2]>>>()?;
        let arrays = read.iter().flatten().any(|(_, is_array)| *is_array);
        let tensor = read.iter().flatten().find(|(_, is_array)| !is_array).and_then(|(tensor, _)| tensor.as_ref());
        if arrays && tensor.is_some() {
            let message = format!("{what}: out= has arrays and tensors; give either");
            return Err(Error::Argument(message).into());
        }
        let as_arrays = first.is_none() && tensor.is_none();
        let device = chosen_device(py, &what, first.or(tensor), self.device.as_ref())?;
        let targets: SmallVec<[Option<Tensor>; 2]> =
            read.into_iter().map(|out| out.and_then(|(tensor, _)| tensor)).collect();
        let name = &what;
        let given = &targets;
        let results = enter(py, move || {
            let device = device.map_or_else(select::default_device, Ok)?;
            // The results for arrays elsewhere are copied into them.
            let is_direct = |out: &&Tensor| !as_arrays || *out.device() == device;
            for out in given.iter().flatten().filter(|out| !is_direct(out)) {
                ops::check_writable(name, "out=", out)?;
            }
            let ready: SmallVec<[Ready; 4]> =
                inputs.into_iter().map(|input| Ready::new(input, &device)).collect::<Result<_>>()?;
            let operands: SmallVec<[Operand<'_>; 4]> = ready.iter().map(Ready::operand).collect();
            let direct: SmallVec<[Option<&Tensor>; 2]> =
                given.iter().map(|out| out.as_ref().filter(is_direct)).collect();
            let results = compute(&operands, &direct)?;
            let finish = |(result, out): (Tensor, &Option<Tensor>)| match out {
                Some(out) if !is_direct(&out) => {
                    ops::check_out(name, out.shape(), out.dtype().name(), result.shape(), result.dtype())?;
                    ops::assign(out, (&result.to(out.device())?).into())?;
                    Ok(out.clone())
                }
                _ if as_arrays && matches!(result.device(), Device::Gpu(_)) => result.to_host(cpu()?),
                _ => Ok(result),
            };
            results.into_iter().zip(given).map(finish).collect::<Result<SmallVec<[Tensor; 2]>>>()
        })?;
        let mut objects = SmallVec::new();
        for ((result, out), target) in results.into_iter().zip(outs).zip(&targets) {
            objects.push(match (out, target) {
                (None, _) => give(py, result, as_arrays)?.into_bound(py),
                (Some(object), Some(_)) => object.clone(),
                (Some(object), None) => {
                    fill_array(&what, object, &result)?;
                    object.clone()
                }
            });
        }
        Ok(objects)
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyElementwiseKernel>()?;
    module.add_class::<PyReductionKernel>()
}
