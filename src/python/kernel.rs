//! `gpukern.Kernel`: users' WGSL, called with arrays by the names of its variables.

mod call;
mod layout;
mod storage;
mod values;

use std::sync::Arc;

use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyMapping, PyString, PyTuple, PyType};

use super::call::{Any, Given};
use super::enter;
use crate::error::Error;
use crate::kernel::emit::{Language, emit};
use crate::kernel::reflect::{Access, Binding};
use crate::kernel::source::LIBRARY;
use crate::kernel::{self, Kernel, Options, Value};
use call::{Call, Keywords};
use values::shown;

/// A compute kernel written in WGSL, called with arrays by the names of its variables.
///
/// What the source declares is not declared again: variables, their types, constants, entry points and the size of
/// workgroups are read from it when the kernel is made, and so are its mistakes.
///
/// Parameters
/// ----------
/// source
///     WGSL. ``//! import NAME`` takes in a module of `shader_library`.
/// entry_point
///     The function to run, where the source has several that are marked ``@compute``.
/// constants
///     Values for ``override`` constants by name. For ``alias T = f32;`` a dtype under its name, ``{"T": "float16"}``,
///     takes the place of f32.
/// name
///     What errors and profiles call it; by default the name of the entry point.
/// trusted
///     Compile without bounds checks on GPUs. Faster, and wrong indices then read and write anything there.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> saxpy = gk.Kernel('''
/// ...     struct P { a: f32, n: u32 }
/// ...     @group(0) @binding(0) var<storage, read> x: array<f32>;
/// ...     @group(0) @binding(1) var<storage, read_write> y: array<f32>;
/// ...     @group(0) @binding(2) var<uniform> p: P;
/// ...     @compute @workgroup_size(64) fn saxpy(@builtin(global_invocation_id) id: vec3<u32>) {
/// ...         if (id.x < p.n) { y[id.x] += p.a * x[id.x]; }
/// ...     }''')
/// >>> saxpy
/// <gpukern.Kernel saxpy(x: read array<f32>, y: read_write array<f32>, p: uniform P), workgroups of 64 × 1 × 1>
#[pyclass(frozen, module = "gpukern", name = "Kernel")]
pub(super) struct PyKernel {
    kernel: Arc<Kernel>,
    /// The named tuple of its results, made when there are first several.
    results: PyOnceLock<Py<PyType>>,
}

/// A variable of a kernel: what is given by its name when the kernel is called.
#[pyclass(frozen, get_all, module = "gpukern", name = "Binding")]
pub(super) struct PyBinding {
    /// Its name in the source.
    name: String,
    /// The group in which the source binds it. Calls need not know it.
    group: Option<u32>,
    /// Its number in that group.
    binding: Option<u32>,
    /// ``read``, ``read_write``, ``uniform`` or ``immediate``.
    access: &'static str,
    /// Its type in WGSL.
    r#type: String,
    /// The dtype of its elements. Of structs a structured one, which lies in memory as WGSL says.
    dtype: Py<PyAny>,
}

#[pymethods]
impl PyBinding {
    fn __repr__(&self) -> String {
        format!("<gpukern.Binding {}: {} {}>", self.name, self.access, self.r#type)
    }
}

#[pymethods]
impl PyKernel {
    #[new]
    #[pyo3(
        signature = (source, /, *, entry_point=None, constants=None, name=None, trusted=Given::Default(false)),
        text_signature = "(source, /, *, entry_point=None, constants=None, name=None, trusted=False)"
    )]
    fn new(
        py: Python<'_>,
        source: Any<'_, '_>,
        entry_point: Option<Any<'_, '_>>,
        constants: Option<Any<'_, '_>>,
        name: Option<Any<'_, '_>>,
        trusted: Given<'_, bool>,
    ) -> PyResult<Self> {
        let entry_point = text_argument("entry_point", entry_point)?;
        let name = text_argument("name", name)?;
        let trusted = trusted.flag("Kernel", "trusted").map_err(as_kernel_error(py))?;
        if source.is_instance_of::<PyString>() && source.extract::<String>().is_err() {
            return Err(
                Error::Kernel("kernel: the source has a character (a surrogate) that UTF-8 has not".into()).into()
            );
        }
        let Ok(source) = source.extract::<String>() else {
            let kind = source.get_type().name()?.to_string();
            return Err(Error::Kernel(format!(
                "kernel: the source is a {kind}, not a str; read a file with pathlib.Path(...).read_text()"
            ))
            .into());
        };
        let constants = match constants.filter(|constants| !constants.is_none()) {
            None => Vec::new(),
            Some(constants) => constants_argument("kernel", constants)?,
        };
        let options = Options { source, entry_point, constants, name, trusted };
        enter(py, || Kernel::new(options)).map(Self::of)
    }

    /// The variables that the entry point uses, by name, in the order of the source.
    #[getter]
    fn bindings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for binding in &self.kernel.bindings {
            let variable = PyBinding {
                name: binding.name.clone(),
                group: binding.place.map(|(group, _)| group),
                binding: binding.place.map(|(_, number)| number),
                access: binding.access.name(),
                r#type: binding.ty.to_string(),
                dtype: layout::element_dtype(py, &binding.ty, 0)?.unbind(),
            };
            all.set_item(&binding.name, Py::new(py, variable)?)?;
        }
        Ok(all)
    }

    /// The ``override`` constants and their values; None where a value has still to be given.
    #[getter]
    fn constants<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for constant in &self.kernel.constants {
            let value = match (constant.value, constant.ty) {
                (None, _) => py.None(),
                (Some(Value::Bool(value)), _) => PyBool::new(py, value).to_owned().into_any().unbind(),
                (Some(Value::Type(name)), _) => PyString::new(py, name).into_any().unbind(),
                (Some(Value::Number(number)), "f16" | "f32" | "f64") => number.into_pyobject(py)?.into_any().unbind(),
                (Some(Value::Number(number)), _) => (number as i64).into_pyobject(py)?.into_any().unbind(),
            };
            all.set_item(&constant.name, value)?;
        }
        Ok(all)
    }

    /// The names of all functions that are marked ``@compute``.
    #[getter]
    fn entry_points<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.kernel.entry_points)
    }

    /// The one of them that runs.
    #[getter]
    fn entry_point(&self) -> &str {
        &self.kernel.entry_point
    }

    /// Invocations of a workgroup along x, y and z; None while a constant that it depends on has no value.
    #[getter]
    fn workgroup_size(&self) -> Option<(u32, u32, u32)> {
        self.kernel.known_program().map(|program| program.workgroup_size.into())
    }

    /// Bytes of workgroup memory; None while a constant that it depends on has no value.
    #[getter]
    fn workgroup_memory(&self) -> Option<u64> {
        self.kernel.known_program().map(|program| program.workgroup_memory)
    }

    /// The WGSL that it was made from.
    #[getter]
    fn source(&self) -> &str {
        &self.kernel.options.source
    }

    /// What errors and profiles call it.
    #[getter]
    fn name(&self) -> &str {
        &self.kernel.name
    }

    /// Whether it is compiled without bounds checks on GPUs.
    #[getter]
    fn trusted(&self) -> bool {
        self.kernel.options.trusted
    }

    /// Return the same kernel with other values for constants, and other types for aliases.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> k = gk.Kernel("override N: u32 = 64; @compute @workgroup_size(N) fn f() {}")
    /// >>> k.specialize(N=128).workgroup_size
    /// (128, 1, 1)
    #[pyo3(signature = (**constants))]
    fn specialize(&self, py: Python<'_>, constants: Option<Any<'_, '_>>) -> PyResult<Self> {
        let what = format!("kernel '{}'", self.kernel.name);
        let constants = constants.map_or_else(|| Ok(Vec::new()), |constants| constants_argument(&what, constants))?;
        enter(py, || self.kernel.specialise(&constants)).map(Self::of)
    }

    /// Return the kernel in another shading language: ``spirv`` (a listing), ``msl``, ``hlsl`` or ``glsl``.
    ///
    /// Variables are numbered in the order of `bindings`, in one group, as devices get them.
    #[pyo3(signature = (language, /))]
    fn translate(&self, language: Any<'_, '_>) -> PyResult<String> {
        let py = language.py();
        let text = language.extract::<String>().ok();
        let Some(known) = Language::ALL.into_iter().find(|known| text.as_deref() == Some(known.name())) else {
            let names = Language::ALL.map(Language::name).join(", ");
            return Err(self.kernel.refuse(format!("language={} is none of {names}", shown(language))).into());
        };
        enter(py, || emit(&self.kernel, known)).map(|emitted| emitted.text)
    }

    /// The kernel as SPIR-V.
    #[getter]
    fn spirv<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let words = enter(py, || emit(&self.kernel, Language::Spirv))?.words;
        Ok(PyBytes::new(py, bytemuck::cast_slice(&words)))
    }

    /// Run the kernel.
    ///
    /// Every variable is given by its name: arrays or tensors for storage, dicts, numbers or arrays for uniforms. Exactly
    /// one of ``threads`` (invocations, up to three numbers) and ``workgroups`` says how much runs. Returns what the
    /// kernel writes: one result, or a named tuple of several; tensors if a tensor came in, and else arrays.
    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        if !arguments.is_empty() {
            let names: Vec<String> = this.kernel.bindings.iter().map(|b| format!("{}=", b.name)).collect();
            return Err(this
                .kernel
                .refuse(format!("arguments are given by the variables' names: {}", names.join(", ")))
                .into());
        }
        let Some(keywords) = keywords else {
            return Call::new(&this.kernel, slf.py())?.run(this);
        };
        let given = Keywords::read(&this.kernel, keywords)?;
        if given.constants.is_empty() {
            return Call::read(&this.kernel, &given)?.run(this);
        }
        let specialised = enter(slf.py(), || this.kernel.specialised(&given.constants))?;
        Call::read(&specialised, &given)?.run(this)
    }

    fn __repr__(&self) -> String {
        let kernel = &self.kernel;
        let variables: Vec<String> =
            kernel.bindings.iter().map(|b| format!("{}: {} {}", b.name, b.access.name(), b.ty)).collect();
        let size = match kernel.known_program().map(|program| program.workgroup_size) {
            Some([x, y, z]) => format!("workgroups of {x} × {y} × {z}"),
            None => "workgroups of a size to be given".into(),
        };
        let trusted = if kernel.options.trusted { ", trusted: no bounds checks" } else { "" };
        format!("<gpukern.Kernel {}({}), {size}{trusted}>", kernel.name, variables.join(", "))
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Ok(slf.py().import("gpukern._repr")?.call_method1("kernel_html", (slf,))?.unbind())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let options = &slf.get().kernel.options;
        let keywords = PyDict::new(py);
        keywords.set_item("entry_point", options.entry_point.as_deref())?;
        keywords.set_item("name", options.name.as_deref())?;
        keywords.set_item("trusted", options.trusted)?;
        let constants = PyDict::new(py);
        for (name, value) in &options.constants {
            match value {
                Value::Number(number) => constants.set_item(name, number)?,
                Value::Bool(value) => constants.set_item(name, value)?,
                Value::Type(ty) => constants.set_item(name, ty)?,
            }
        }
        keywords.set_item("constants", constants)?;
        let make = py.import("gpukern._native")?.getattr("_make_kernel")?;
        Ok((make, PyTuple::new(py, [options.source.as_str().into_pyobject(py)?.into_any(), keywords.into_any()])?))
    }
}

/// The names of the compute entry points of a source.
#[pyfunction]
fn _entry_points(py: Python<'_>, source: &str, constants: Any<'_, '_>, name: &str) -> PyResult<Vec<String>> {
    let constants = constants_argument(name, constants)?;
    enter(py, || kernel::entry_points_of(source, &constants, name))
}

/// Makes a kernel again that was pickled.
#[pyfunction]
fn _make_kernel<'py>(source: Any<'_, 'py>, keywords: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    source.py().get_type::<PyKernel>().call((source,), Some(keywords))
}

impl PyKernel {
    fn of(kernel: Kernel) -> Self {
        Self { kernel: Arc::new(kernel), results: PyOnceLock::new() }
    }

    /// The class of its results, where there are several.
    fn results<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyType>> {
        let names = || written(&self.kernel).map(|binding| binding.name.as_str()).collect();
        let class = self.results.get_or_try_init(py, || results_class(py, names()))?;
        Ok(class.bind(py))
    }
}

/// The class of several results of these names.
pub(super) fn results_class(py: Python<'_>, names: Vec<&str>) -> PyResult<Py<PyType>> {
    let make = py.import("gpukern._results")?.getattr("results_class")?;
    Ok(make.call1((PyTuple::new(py, names)?,))?.cast_into::<PyType>()?.unbind())
}

fn written(kernel: &Kernel) -> impl Iterator<Item = &Binding> {
    kernel.bindings.iter().filter(|binding| binding.access == Access::ReadWrite)
}

/// A dict, or another mapping as one, that nothing else changes: to read its values may run code of its own.
fn mapping_argument<'py>(value: Any<'_, 'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
    if let Ok(dict) = value.cast::<PyDict>() {
        return dict.copy().map(Some);
    }
    let Ok(mapping) = value.cast::<PyMapping>() else { return Ok(None) };
    Ok(Some(value.py().get_type::<PyDict>().call1((mapping,))?.cast_into()?))
}

/// An argument that is a name, or None.
fn text_argument(label: &str, value: Option<Any<'_, '_>>) -> PyResult<Option<String>> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(None) };
    match value.extract::<String>() {
        Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => Ok(Some(text)),
        _ => Err(Error::Kernel(format!("kernel: {label}={} must be a name, a str of one line", shown(value))).into()),
    }
}

/// Makes a KernelError of what another part of the package refuses on a kernel's behalf.
fn as_kernel_error(py: Python<'_>) -> impl Fn(PyErr) -> PyErr {
    move |error| Error::Kernel(error.value(py).to_string()).into()
}

/// Values of constants, by name.
fn constants_argument(what: &str, constants: Any<'_, '_>) -> PyResult<Vec<(String, Value)>> {
    let Some(constants) = mapping_argument(constants)? else {
        return Err(Error::Kernel(
            "kernel: constants= must be a dict of names and values, such as {'BLOCK': 128}".into(),
        )
        .into());
    };
    let mut all = constants
        .iter()
        .map(|(name, value)| {
            let name = name.str()?.to_string();
            let value = constant_value(what, &name, &value)?;
            Ok((name, value))
        })
        .collect::<PyResult<Vec<_>>>()?;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn constant_value(what: &str, name: &str, value: Any<'_, '_>) -> PyResult<Value> {
    if let Ok(flag) = value.extract::<bool>() {
        return Ok(Value::Bool(flag));
    }
    // Types of NumPy's are no numbers, whatever they define.
    let is_text = value.is_instance_of::<PyString>() || value.is_instance_of::<PyType>();
    if !is_text && let Ok(number) = value.extract::<f64>() {
        return Ok(Value::Number(number));
    }
    let text = value.extract::<String>().ok();
    if let Some(ty) = ["f16", "f32", "i32", "u32"].into_iter().find(|ty| text.as_deref() == Some(ty)) {
        return Ok(Value::Type(ty));
    }
    // None is the default dtype to NumPy.
    let dtype = (!value.is_none()).then(|| PyArrayDescr::new(value.py(), value).ok()).flatten();
    let ty = match dtype.map(|dtype| (dtype.kind(), dtype.itemsize())) {
        Some((b'f', 2)) => "f16",
        Some((b'f', 4)) => "f32",
        Some((b'i', 4)) => "i32",
        Some((b'u', 4)) => "u32",
        _ => {
            return Err(Error::Kernel(format!(
                "{what}: the constant {name}={} must be a number or a bool, or for an alias one of the types float16, \
                 float32, int32, uint32",
                shown(value)
            ))
            .into());
        }
    };
    Ok(Value::Type(ty))
}

/// The names of the modules that kernels can import, and their texts.
fn library(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let all = PyDict::new(py);
    for name in LIBRARY {
        all.set_item(name, crate::gpu::wgsl::imported(name, &[])?.as_ref())?;
    }
    py.import("types")?.getattr("MappingProxyType")?.call1((all,))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<PyKernel>()?;
    module.add_class::<PyBinding>()?;
    module.add_function(wrap_pyfunction!(_make_kernel, module)?)?;
    module.add_function(wrap_pyfunction!(_entry_points, module)?)?;
    module.add("shader_library", library(py)?)
}
