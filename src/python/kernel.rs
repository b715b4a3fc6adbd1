//! `gpukern.Kernel`: users' WGSL, called with arrays by the names of its variables.

mod layout;
mod values;

use std::sync::Arc;

use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyString, PyTuple, PyType};
use smallvec::SmallVec;

use super::arrays::{alias, as_array, descriptor, plain_array, to_array};
use super::call::{Any, chosen_device};
use super::enter;
use super::tensor::{PyTensor, shape_argument};
use crate::device::Device;
use crate::device::select::{self, cpu};
use crate::dtype::DType;
use crate::error::Error;
use crate::kernel::bind::Input;
use crate::kernel::emit::{Language, emit};
use crate::kernel::grid::Size;
use crate::kernel::reflect::{Access, Binding};
use crate::kernel::source::LIBRARY;
use crate::kernel::types::Type;
use crate::kernel::{self, Kernel, Options, Value, launch};
use crate::shape::Shape;
use crate::tensor::Tensor;

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
///     Compile without bounds checks. Faster, and wrong indices then read and write anything.
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

/// The names in a call that are no variables.
const RESERVED: [&str; 6] = ["threads", "workgroups", "out", "device", "inplace", "bindings"];

#[pymethods]
impl PyKernel {
    #[new]
    #[pyo3(signature = (source, /, *, entry_point=None, constants=None, name=None, trusted=false))]
    fn new(
        py: Python<'_>,
        source: Any<'_, '_>,
        entry_point: Option<String>,
        constants: Option<Any<'_, '_>>,
        name: Option<String>,
        trusted: bool,
    ) -> PyResult<Self> {
        if source.is_instance_of::<PyString>() && source.extract::<String>().is_err() {
            return Err(
                Error::Kernel("Kernel: the source has a character (a surrogate) that UTF-8 has not".into()).into()
            );
        }
        let Ok(source) = source.extract::<String>() else {
            let kind = source.get_type().name()?.to_string();
            return Err(Error::Kernel(format!(
                "Kernel: the source is a {kind}, not a str; read a file with pathlib.Path(...).read_text()"
            ))
            .into());
        };
        let constants = match constants.filter(|constants| !constants.is_none()) {
            None => Vec::new(),
            Some(constants) => constants_argument(constants)?,
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
    fn workgroup_memory(&self) -> Option<u32> {
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

    /// Whether it is compiled without bounds checks.
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
        let constants = constants.map_or_else(|| Ok(Vec::new()), constants_argument)?;
        enter(py, || self.kernel.specialise(&constants)).map(Self::of)
    }

    /// Return the kernel in another shading language: ``spirv`` (a listing), ``msl``, ``hlsl`` or ``glsl``.
    ///
    /// Variables are numbered in the order of `bindings`, in one group, as devices get them.
    #[pyo3(signature = (language, /))]
    fn translate(&self, py: Python<'_>, language: &str) -> PyResult<String> {
        let Some(known) = Language::ALL.into_iter().find(|known| known.name() == language) else {
            let names = Language::ALL.map(Language::name).join(", ");
            return Err(self.kernel.refuse(format!("language='{language}' is none of {names}")).into());
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
    let constants = constants_argument(constants)?;
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
        let class = self.results.get_or_try_init(py, || {
            let names: Vec<&str> = written(&self.kernel).map(|binding| binding.name.as_str()).collect();
            let keywords = PyDict::new(py);
            // A name that a named tuple cannot have gives way to its number.
            keywords.set_item("rename", true)?;
            keywords.set_item("module", "gpukern")?;
            let make = py.import("collections")?.getattr("namedtuple")?;
            PyResult::Ok(make.call(("Results", names), Some(&keywords))?.cast_into::<PyType>()?.unbind())
        })?;
        Ok(class.bind(py))
    }
}

fn written(kernel: &Kernel) -> impl Iterator<Item = &Binding> {
    kernel.bindings.iter().filter(|binding| binding.access == Access::ReadWrite)
}

/// Values of constants, by name.
fn constants_argument(constants: Any<'_, '_>) -> PyResult<Vec<(String, Value)>> {
    let Ok(constants) = constants.cast::<PyDict>() else {
        return Err(
            Error::Kernel("Kernel: constants= is a dict of names and values, such as {'BLOCK': 128}".into()).into()
        );
    };
    let mut all = constants
        .iter()
        .map(|(name, value)| {
            let name = name.str()?.to_string();
            let value = constant_value(&name, &value)?;
            Ok((name, value))
        })
        .collect::<PyResult<Vec<_>>>()?;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn constant_value(name: &str, value: Any<'_, '_>) -> PyResult<Value> {
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
    let dtype = PyArrayDescr::new(value.py(), value).ok().map(|dtype| (dtype.kind(), dtype.itemsize()));
    let ty = match dtype.filter(|_| !value.is_none()) {
        Some((b'f', 2)) => "f16",
        Some((b'f', 4)) => "f32",
        Some((b'i', 4)) => "i32",
        Some((b'u', 4)) => "u32",
        _ => {
            let shown = value.repr().map_or_else(|_| "this object".into(), |text| text.to_string());
            return Err(Error::Kernel(format!(
                "Kernel: the constant {name}={shown} is a number, a bool, or for an alias one of the types float16, \
                 float32, int32, uint32"
            ))
            .into());
        }
    };
    Ok(Value::Type(ty))
}

/// The keywords of a call, sorted by what they are.
struct Keywords<'py> {
    py: Python<'py>,
    variables: SmallVec<[(String, Bound<'py, PyAny>); 8]>,
    constants: Vec<(String, Value)>,
    threads: Option<Bound<'py, PyAny>>,
    workgroups: Option<Bound<'py, PyAny>>,
    out: Option<Bound<'py, PyAny>>,
    device: Option<Bound<'py, PyAny>>,
    inplace: bool,
}

impl<'py> Keywords<'py> {
    fn read(kernel: &Kernel, keywords: &Bound<'py, PyDict>) -> PyResult<Self> {
        let mut all = Self {
            py: keywords.py(),
            variables: SmallVec::new(),
            constants: Vec::new(),
            threads: None,
            workgroups: None,
            out: None,
            device: None,
            inplace: false,
        };
        let mut more = None;
        for (name, value) in keywords {
            let name = name.cast::<PyString>()?.to_str()?.to_string();
            match name.as_str() {
                "threads" => all.threads = Some(value).filter(|value| !value.is_none()),
                "workgroups" => all.workgroups = Some(value).filter(|value| !value.is_none()),
                "out" => all.out = Some(value).filter(|value| !value.is_none()),
                "device" => all.device = Some(value).filter(|value| !value.is_none()),
                "inplace" => {
                    all.inplace =
                        value.extract().map_err(|_| kernel.refuse(format!("inplace={value} must be True or False")))?;
                }
                "bindings" => more = Some(value).filter(|value| !value.is_none()),
                _ => all.argument(kernel, name, value)?,
            }
        }
        let Some(more) = more else { return Ok(all) };
        let Ok(more) = more.cast::<PyDict>() else {
            return Err(kernel.refuse("bindings= is a dict of variables' names and what they are given").into());
        };
        for (name, value) in more {
            let name = name.str()?.to_string();
            if all.variables.iter().any(|(other, _)| *other == name) {
                return Err(kernel.refuse(format!("'{name}' is given twice, in bindings= too")).into());
            }
            all.argument(kernel, name, value)?;
        }
        Ok(all)
    }

    /// An argument that is a variable or a constant.
    fn argument(&mut self, kernel: &Kernel, name: String, value: Bound<'py, PyAny>) -> PyResult<()> {
        if kernel.bindings.iter().any(|binding| binding.name == name) {
            self.variables.push((name, value));
        } else if kernel.constants.iter().any(|constant| constant.name == name) {
            let value = constant_value(&name, &value)?;
            self.constants.push((name, value));
        } else if !kernel.unused.contains(&name) {
            let mut known: Vec<&str> = kernel.bindings.iter().map(|binding| binding.name.as_str()).collect();
            known.extend(kernel.constants.iter().map(|constant| constant.name.as_str()));
            known.extend(RESERVED);
            return Err(kernel.refuse(format!("it has no '{name}'; its arguments are {}", known.join(", "))).into());
        }
        Ok(())
    }
}

/// One call under way.
struct Call<'k, 'py> {
    kernel: &'k Kernel,
    py: Python<'py>,
    inputs: Vec<Input>,
    returns: SmallVec<[Return<'py>; 2]>,
    device: Option<Device>,
    size: Size,
    /// Whether no tensor came in, so that arrays go out.
    as_arrays: bool,
}

/// What becomes of a variable that the kernel writes.
enum Return<'py> {
    /// It is returned as it is.
    New,
    /// The tensor that was given.
    Tensor(Bound<'py, PyAny>),
    /// It is copied into the array that was given.
    InPlace(Bound<'py, PyAny>),
    /// Words that are structs: an array of this shape and dtype, and the dtype that its giver had.
    Structs {
        shape: Vec<usize>,
        dtype: Bound<'py, PyAny>,
        given: Option<Bound<'py, PyAny>>,
        into: Option<Bound<'py, PyAny>>,
    },
}

impl<'k, 'py> Call<'k, 'py> {
    fn new(kernel: &'k Kernel, py: Python<'py>) -> PyResult<Self> {
        let given = Keywords {
            py,
            variables: SmallVec::new(),
            constants: Vec::new(),
            threads: None,
            workgroups: None,
            out: None,
            device: None,
            inplace: false,
        };
        Self::read(kernel, &given)
    }

    fn read(kernel: &'k Kernel, given: &Keywords<'py>) -> PyResult<Self> {
        let py = given.py;
        let size = match (&given.threads, &given.workgroups) {
            (Some(threads), None) => Size::Threads(extents(kernel, "threads", threads)?),
            (None, Some(groups)) => Size::Workgroups(extents(kernel, "workgroups", groups)?),
            _ => {
                return Err(kernel
                    .refuse("give exactly one of threads= (invocations) and workgroups=, an int or up to three")
                    .into());
            }
        };
        let outs = outs(kernel, given.out.as_ref(), &given.variables)?;
        let find = |name: &str| given.variables.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        let mut first_tensor = None;
        let mut read = Vec::with_capacity(kernel.bindings.len());
        // Uniforms may be filled in from what storage is given.
        for binding in kernel.bindings.iter().filter(|binding| binding.access.is_storage()) {
            let name = &binding.name;
            let (input, becomes) = match (find(name), outs.iter().find(|(other, _)| other == name)) {
                (Some(value), _) => storage_argument(kernel, binding, value, given.inplace)?,
                (None, Some((_, out))) => new_output(kernel, binding, out)?,
                (None, None) => return Err(missing(kernel, binding)),
            };
            if let (Input::Tensor(tensor), None) = (&input, &first_tensor) {
                first_tensor = Some(tensor.clone());
            }
            read.push((name, input, becomes));
        }
        let shapes: SmallVec<[(&str, Shape); 8]> =
            read.iter().map(|(name, input, becomes)| (name.as_str(), shape_of(input, becomes))).collect();
        let automatic = |field: &str| automatic(&shapes, field);
        let nothing = PyDict::new(py);
        let mut inputs = Vec::with_capacity(kernel.bindings.len());
        let mut returns = SmallVec::new();
        let mut read = read.into_iter();
        for binding in &kernel.bindings {
            if binding.access.is_storage() {
                let (_, input, becomes) = read.next().expect("one for each storage variable");
                inputs.push(input);
                if binding.access == Access::ReadWrite {
                    returns.push(becomes);
                }
                continue;
            }
            let value = match (find(&binding.name), &binding.ty) {
                (Some(value), _) if value.is_instance_of::<PyTensor>() => {
                    return Err(kernel
                        .refuse(format!("'{}' is a uniform, which takes values: give .numpy()", binding.name))
                        .into());
                }
                (Some(value), _) => value.clone(),
                (None, Type::Struct { fields, .. }) if fields.iter().all(|field| automatic(&field.name).is_some()) => {
                    nothing.clone().into_any()
                }
                (None, _) => return Err(missing(kernel, binding)),
            };
            inputs.push(Input::Values(values::pack(kernel, &binding.name, &binding.ty, &value, &automatic)?));
        }
        let what = format!("kernel '{}'", kernel.name);
        let device = chosen_device(py, &what, first_tensor.as_ref(), given.device.as_ref())?;
        Ok(Self { kernel, py, inputs, returns, device, size, as_arrays: first_tensor.is_none() })
    }

    fn run(self, owner: &PyKernel) -> PyResult<Py<PyAny>> {
        let Self { kernel, py, inputs, returns, device, size, as_arrays } = self;
        let results = enter(py, || {
            let device = device.map_or_else(select::default_device, Ok)?;
            let results = launch::run(kernel, &device, inputs, size)?;
            if !as_arrays {
                return Ok(results);
            }
            let host = cpu()?;
            results.into_iter().map(|result| result.to_host(host.clone())).collect()
        })?;
        let mut objects = SmallVec::<[Bound<'py, PyAny>; 2]>::new();
        for (result, becomes) in results.into_iter().zip(returns) {
            objects.push(becomes.give(py, result, as_arrays)?);
        }
        match objects.len() {
            0 => Ok(py.None()),
            1 => Ok(objects.remove(0).unbind()),
            _ => Ok(owner.results(py)?.call1(PyTuple::new(py, objects)?)?.unbind()),
        }
    }
}

impl<'py> Return<'py> {
    fn give(self, py: Python<'py>, result: Tensor, as_array: bool) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Tensor(given) => Ok(given),
            _ if !as_array => Ok(Py::new(py, PyTensor(result))?.into_bound(py).into_any()),
            Self::New => to_array(py, &result, true),
            Self::InPlace(array) => {
                py.import(intern!(py, "numpy"))?.call_method1("copyto", (&array, to_array(py, &result, true)?))?;
                Ok(array)
            }
            Self::Structs { shape, dtype, given, into } => {
                let bytes = to_array(py, &result, true)?.call_method1("reshape", (-1,))?;
                let structs = bytes.call_method1("view", ("uint8",))?.call_method1("view", (dtype,))?;
                let structs = structs.call_method1("reshape", (PyTuple::new(py, shape)?,))?;
                let structs = match given {
                    Some(given) => py.import("gpukern._structs")?.call_method1("from_layout", (structs, given))?,
                    None => structs,
                };
                let Some(array) = into else { return Ok(structs) };
                py.import(intern!(py, "numpy"))?.call_method1("copyto", (&array, structs))?;
                Ok(array)
            }
        }
    }
}

/// How many along x, y and z: an integer, or up to three.
fn extents(kernel: &Kernel, label: &str, value: Any<'_, '_>) -> PyResult<[u64; 3]> {
    let one = |value: Any<'_, '_>| -> PyResult<u64> {
        let number = value.extract::<i64>().ok().filter(|_| !value.is_instance_of::<PyBool>());
        match number.map(u64::try_from) {
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(kernel.refuse(format!("{label}={value} is negative")).into()),
            None => Err(kernel.refuse(format!("{label}={} is an integer or up to three", value.repr()?)).into()),
        }
    };
    let is_sequence = value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PyList>()
        || value.cast::<PyUntypedArray>().is_ok_and(|array| array.ndim() == 1);
    if !is_sequence {
        return Ok([one(value)?, 1, 1]);
    }
    let all: Vec<Bound<'_, PyAny>> = value.try_iter()?.collect::<PyResult<_>>()?;
    if all.is_empty() || all.len() > 3 {
        return Err(kernel.refuse(format!("{label}={} is an integer or up to three", value.repr()?)).into());
    }
    let mut extents = [1; 3];
    for (to, from) in extents.iter_mut().zip(&all) {
        *to = one(from)?;
    }
    Ok(extents)
}

/// The variables that `out=` makes, and as what.
fn outs<'py>(
    kernel: &Kernel,
    out: Option<&Bound<'py, PyAny>>,
    given: &[(String, Bound<'py, PyAny>)],
) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    let Some(out) = out else { return Ok(Vec::new()) };
    let example = written(kernel).next().map_or("y", |binding| &binding.name);
    let Ok(out) = out.cast::<PyDict>() else {
        return Err(kernel
            .refuse(format!("out= is a dict of shapes and dtypes, such as {{'{example}': ((100,), 'float32')}}"))
            .into());
    };
    let mut all = Vec::with_capacity(out.len());
    for (name, what) in out {
        let name = name.str()?.to_string();
        match kernel.bindings.iter().find(|binding| binding.name == name) {
            Some(binding) if binding.access == Access::ReadWrite => {}
            Some(binding) => {
                let access = binding.access.name();
                return Err(kernel
                    .refuse(format!("out= names '{name}', which is {access}: only read_write variables are written"))
                    .into());
            }
            None if kernel.unused.contains(&name) => continue,
            None => {
                let known: Vec<&str> = written(kernel).map(|binding| binding.name.as_str()).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                return Err(kernel
                    .refuse(format!("out= names '{name}'; the variables that it writes are: {known}"))
                    .into());
            }
        }
        if given.iter().any(|(other, _)| *other == name) {
            return Err(kernel.refuse(format!("'{name}' is given as an argument and in out= too")).into());
        }
        all.push((name, what));
    }
    Ok(all)
}

fn missing(kernel: &Kernel, binding: &Binding) -> PyErr {
    let Binding { name, access, ty, .. } = binding;
    let advice = match access {
        Access::ReadWrite => format!("give {name}=, or a shape and a dtype for a new one in out={{'{name}': ...}}"),
        Access::Read => format!("give {name}= an array or a tensor"),
        Access::Uniform | Access::Immediate => format!("give {name}= a value"),
    };
    kernel.refuse(format!("'{name}' ({}, {ty}) is missing; {advice}", access.name())).into()
}

/// A shape for [`automatic`]: that of what was given.
fn shape_of(input: &Input, becomes: &Return<'_>) -> Shape {
    match (becomes, input) {
        (Return::Structs { shape, .. }, _) => shape.as_slice().into(),
        (_, Input::Tensor(tensor) | Input::Array(tensor) | Input::Bytes(tensor)) => tensor.shape().into(),
        (_, Input::New(shape, _)) => shape.clone(),
        (_, Input::Values(_)) => Shape::new(),
    }
}

/// What a field is filled in with: `x_shape`, `x_strides` and `x_size` of the argument `x`, as it is bound.
fn automatic(shapes: &[(&str, Shape)], field: &str) -> Option<Vec<usize>> {
    let (name, what) = field.rsplit_once('_')?;
    let (_, shape) = shapes.iter().find(|(other, _)| *other == name)?;
    Some(match what {
        "shape" => shape.to_vec(),
        "size" => vec![shape.iter().product()],
        "strides" => {
            let mut strides: Vec<usize> = shape
                .iter()
                .rev()
                .scan(1, |stride, &length| {
                    let this = *stride;
                    *stride *= length;
                    Some(this)
                })
                .collect();
            strides.reverse();
            strides
        }
        _ => return None,
    })
}

/// A variable that `out=` makes: a shape, or a shape and a dtype.
fn new_output<'py>(kernel: &Kernel, binding: &Binding, what: Any<'_, 'py>) -> PyResult<(Input, Return<'py>)> {
    let py = what.py();
    let wrong = || {
        let shown = what.repr().map_or_else(|_| "this".into(), |text| text.to_string());
        kernel.refuse(format!(
            "out={{'{}': {shown}}} is a shape and a dtype, such as ((100,), 'float32'), or a shape alone",
            binding.name
        ))
    };
    // A shape of two lengths has no dtype at its end.
    let pair = what.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
    let pair = pair.map(|pair| PyResult::Ok((pair.get_item(0)?, pair.get_item(1)?))).transpose()?;
    let (shape, dtype) = match pair {
        Some((shape, dtype)) if dtype.extract::<isize>().is_err() => (shape, Some(dtype)),
        _ => (what.clone(), None),
    };
    let shape = shape_argument(&shape, "out").map_err(|_| wrong())?;
    let own = layout::element_dtype(py, &binding.ty, 0)?;
    if !own.getattr("names")?.is_none() {
        let size: usize = own.getattr("itemsize")?.extract()?;
        let words = shape.iter().product::<usize>() * size / 4;
        let returns =
            Return::Structs { shape: shape.to_vec(), dtype: own, given: dtype_object(py, dtype)?, into: None };
        return Ok((Input::New(SmallVec::from_slice(&[words]), DType::UInt32), returns));
    }
    let dtype = dtype_object(py, dtype)?.unwrap_or(own);
    let dtype = DType::ALL
        .into_iter()
        .find(|&known| descriptor(py, known).is_ok_and(|known| known.eq(&dtype).unwrap_or(false)))
        .ok_or_else(|| kernel.refuse(format!("out= makes '{}' of dtype {dtype}, which no device has", binding.name)))?;
    Ok((Input::New(shape, dtype), Return::New))
}

fn dtype_object<'py>(py: Python<'py>, dtype: Option<Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyAny>>> {
    dtype
        .filter(|dtype| !dtype.is_none())
        .map(|dtype| py.import("numpy")?.getattr("dtype")?.call1((dtype,)))
        .transpose()
}

/// What a call gives for a storage variable.
fn storage_argument<'py>(
    kernel: &Kernel,
    binding: &Binding,
    value: &Bound<'py, PyAny>,
    inplace: bool,
) -> PyResult<(Input, Return<'py>)> {
    let name = &binding.name;
    if let Ok(tensor) = value.cast_exact::<PyTensor>() {
        return Ok((Input::Tensor(tensor.get().0.clone()), Return::Tensor(value.clone())));
    }
    let what = format!("kernel '{}'", kernel.name);
    let Some(array) = plain_array(value, &what, name)? else { return other_argument(kernel, binding, value) };
    let into = (inplace && binding.access == Access::ReadWrite).then(|| value.clone());
    if into.is_some() && !value.getattr("flags")?.getattr("writeable")?.is_truthy()? {
        return Err(kernel
            .refuse(format!("'{name}' is read-only, and inplace=True writes it; give a writable array"))
            .into());
    }
    if array.dtype().has_fields() {
        return structured_argument(kernel, binding, &array, into);
    }
    let tensor = array_tensor(kernel, binding, &array)?;
    Ok((Input::Array(tensor), into.map_or(Return::New, Return::InPlace)))
}

/// An array of a dtype that devices have, as a tensor over its memory, or over a copy where it does not lie right.
fn array_tensor(kernel: &Kernel, binding: &Binding, array: &Bound<'_, PyUntypedArray>) -> PyResult<Tensor> {
    if let Some(tensor) = alias(array)? {
        return Ok(tensor);
    }
    let py = array.py();
    let native = array.dtype().call_method1("newbyteorder", ("=",))?;
    let keywords = PyDict::new(py);
    keywords.set_item("dtype", &native)?;
    let copy = py.import("numpy")?.getattr("array")?.call((array,), Some(&keywords))?.cast_into::<PyUntypedArray>()?;
    match alias(&copy)? {
        Some(tensor) => Ok(tensor),
        None => Err(kernel
            .refuse(format!(
                "'{}' has dtype {}, which no device has; {} is {}",
                binding.name,
                array.dtype().str()?,
                binding.ty,
                layout::element_dtype(py, &binding.ty, 0)?.str()?
            ))
            .into()),
    }
}

/// A structured array, by the names of its fields.
fn structured_argument<'py>(
    kernel: &Kernel,
    binding: &Binding,
    array: &Bound<'py, PyUntypedArray>,
    into: Option<Bound<'py, PyAny>>,
) -> PyResult<(Input, Return<'py>)> {
    let py = array.py();
    let dtype = layout::element_dtype(py, &binding.ty, tail_of(&binding.ty, array)?)?;
    if dtype.getattr("names")?.is_none() {
        return Err(kernel
            .refuse(format!("'{}' is a structured array, but {} has no fields", binding.name, binding.ty))
            .into());
    }
    let laid_out = py
        .import("gpukern._structs")?
        .call_method1("to_layout", (array, &dtype, &binding.name))
        .map_err(|error| kernel.refuse(error.value(py)))?;
    let shape = array.shape().to_vec();
    let bytes = bytes_tensor(&laid_out)?;
    let given = Some(array.dtype().into_any());
    Ok((Input::Bytes(bytes), Return::Structs { shape, dtype, given, into }))
}

/// How many elements a structured array has at the end of a struct that leaves their number open.
fn tail_of(ty: &Type, array: &Bound<'_, PyUntypedArray>) -> PyResult<usize> {
    let (Type::Struct { fields, .. }, Some(_)) = (ty, ty.tail()) else { return Ok(0) };
    let name = &fields.last().expect("a struct with a tail has fields").name;
    let Ok(field) = array.as_any().get_item(&**name) else { return Ok(0) };
    field.getattr("shape")?.get_item(array.ndim()).and_then(|count| count.extract()).or(Ok(0))
}

/// The memory of an array as a tensor of bytes.
fn bytes_tensor(array: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let bytes = array.call_method1("reshape", (-1,))?.call_method1("view", ("uint8",))?;
    Ok(alias(bytes.cast::<PyUntypedArray>()?)?.expect("bytes lie as they are"))
}

/// Anything else that a storage variable may be given: dicts, numbers, lists, and what NumPy makes arrays of.
fn other_argument<'py>(
    kernel: &Kernel,
    binding: &Binding,
    value: &Bound<'py, PyAny>,
) -> PyResult<(Input, Return<'py>)> {
    let py = value.py();
    if !value.is_instance_of::<PyDict>() && value.hasattr("__array__")? && !value.hasattr("dtype")? {
        let array = as_array(value, &format!("kernel '{}'", kernel.name), &binding.name)?;
        return Ok((Input::Array(array_tensor(kernel, binding, &array)?), Return::New));
    }
    if value.is_none() || value.is_instance_of::<PyString>() {
        return Err(kernel.refuse(format!("'{}' is {}, and no array or tensor", binding.name, value.repr()?)).into());
    }
    let bytes = values::pack(kernel, &binding.name, &binding.ty, value, &|_| None)?;
    let count = match (&binding.ty, binding.ty.tail()) {
        (_, Some((_, stride))) => (bytes.len() - binding.ty.size()) / stride,
        (Type::Array { count, .. }, None) => count.unwrap_or(0),
        _ => 0,
    };
    let shape = if matches!(binding.ty, Type::Array { .. }) { vec![count] } else { Vec::new() };
    let dtype = layout::packed_dtype(py, &binding.ty, count)?;
    let array = py.import("numpy")?.call_method1("frombuffer", (pyo3::types::PyByteArray::new(py, &bytes), "uint8"))?;
    Ok((Input::Bytes(bytes_tensor(&array)?), Return::Structs { shape, dtype, given: None, into: None }))
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
