//! A call of a kernel: its keywords sorted out, its uniforms as bytes, its results.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyTuple};
use smallvec::SmallVec;

use super::storage::{Return, new_output, storage_argument};
use super::values::{self, shown};
use super::{PyKernel, constant_value, mapping_argument, written};
use crate::device::Device;
use crate::device::select::{self, cpu};
use crate::kernel::bind::Input;
use crate::kernel::grid::Size;
use crate::kernel::reflect::{Access, Binding};
use crate::kernel::types::Type;
use crate::kernel::{Kernel, Value, launch};
use crate::ops;
use crate::python::call::{Any, chosen_device};
use crate::python::enter;
use crate::python::tensor::PyTensor;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The names in a call that are no variables.
const RESERVED: [&str; 6] = ["threads", "workgroups", "out", "device", "inplace", "bindings"];

/// The keywords of a call, sorted by what they are.
pub(super) struct Keywords<'py> {
    py: Python<'py>,
    variables: SmallVec<[(String, Bound<'py, PyAny>); 8]>,
    pub(super) constants: Vec<(String, Value)>,
    threads: Option<Bound<'py, PyAny>>,
    workgroups: Option<Bound<'py, PyAny>>,
    out: Option<Bound<'py, PyAny>>,
    device: Option<Bound<'py, PyAny>>,
    inplace: bool,
}

impl<'py> Keywords<'py> {
    fn none(py: Python<'py>) -> Self {
        Self {
            py,
            variables: SmallVec::new(),
            constants: Vec::new(),
            threads: None,
            workgroups: None,
            out: None,
            device: None,
            inplace: false,
        }
    }

    pub(super) fn read(kernel: &Kernel, keywords: &Bound<'py, PyDict>) -> PyResult<Self> {
        let mut all = Self::none(keywords.py());
        let mut more = None;
        for (name, value) in keywords {
            let Ok(name) = name.extract::<String>() else {
                return Err(kernel.refuse(format!("it has no {}", shown(&name))).into());
            };
            match name.as_str() {
                "threads" => all.threads = Some(value).filter(|value| !value.is_none()),
                "workgroups" => all.workgroups = Some(value).filter(|value| !value.is_none()),
                "out" => all.out = Some(value).filter(|value| !value.is_none()),
                "device" => all.device = Some(value).filter(|value| !value.is_none()),
                "inplace" => {
                    let wrong = |_| kernel.refuse(format!("inplace={} must be True or False", shown(&value)));
                    all.inplace = value.extract().map_err(wrong)?;
                }
                "bindings" => more = Some(value).filter(|value| !value.is_none()),
                _ => all.argument(kernel, name, value)?,
            }
        }
        let Some(more) = more else { return Ok(all) };
        let Some(more) = mapping_argument(&more)? else {
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
        } else if kernel.constants.iter().any(|constant| constant.name == name) || kernel.has_alias(&name) {
            let value = constant_value(&format!("kernel '{}'", kernel.name), &name, &value)?;
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
pub(super) struct Call<'k, 'py> {
    kernel: &'k Kernel,
    py: Python<'py>,
    inputs: Vec<Input>,
    returns: SmallVec<[Return<'py>; 2]>,
    device: Option<Device>,
    size: Size,
    /// Whether no tensor came in, so that arrays go out.
    as_arrays: bool,
}

impl<'k, 'py> Call<'k, 'py> {
    pub(super) fn new(kernel: &'k Kernel, py: Python<'py>) -> PyResult<Self> {
        Self::read(kernel, &Keywords::none(py))
    }

    pub(super) fn read(kernel: &'k Kernel, given: &Keywords<'py>) -> PyResult<Self> {
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
        let what = format!("kernel '{}'", kernel.name);
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
            match (&input, &first_tensor) {
                (Input::Tensor(tensor), None) => first_tensor = Some((name, tensor.clone())),
                (Input::Tensor(tensor), Some((first, other))) => {
                    other.device().check_same(tensor.device(), &what, [first, name])?;
                }
                _ => {}
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
        let tensor = first_tensor.as_ref().map(|(_, tensor)| tensor);
        let device = chosen_device(py, &what, tensor, given.device.as_ref())?;
        Ok(Self { kernel, py, inputs, returns, device, size, as_arrays: first_tensor.is_none() })
    }

    pub(super) fn run(self, owner: &PyKernel) -> PyResult<Py<PyAny>> {
        let Self { kernel, py, inputs, returns, device, size, as_arrays } = self;
        let in_place: SmallVec<[bool; 2]> =
            returns.iter().map(|becomes| matches!(becomes, Return::InPlace(_))).collect();
        let results = enter(py, || {
            let device = device.map_or_else(select::default_device, Ok)?;
            let results = launch::run(kernel, &device, inputs, size)?;
            if !as_arrays {
                return Ok(results);
            }
            let host = cpu()?;
            let to_host = |(result, in_place): (Tensor, bool)| match result.device() {
                Device::Gpu(_) => result.to_host(host.clone()),
                Device::Cpu(_) if in_place => Ok(result),
                Device::Cpu(_) => ops::contiguous(&result)?.to(&host),
            };
            results.into_iter().zip(in_place).map(to_host).collect()
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

/// How many along x, y and z: an integer, or up to three.
fn extents(kernel: &Kernel, label: &str, value: Any<'_, '_>) -> PyResult<[u64; 3]> {
    let wrong = || kernel.refuse(format!("{label}={} must be an integer, or up to three of them", shown(value)));
    let one = |value: Any<'_, '_>| -> PyResult<u64> {
        let is_bool = value.is_instance_of::<PyBool>();
        match (value.extract::<i64>(), value.is_instance_of::<PyInt>()) {
            (Ok(number), _) if !is_bool && number >= 0 => Ok(number as u64),
            (Ok(number), _) if !is_bool => Err(kernel.refuse(format!("{label}={number} is negative")).into()),
            (Err(_), true) if value.gt(0)? => {
                Err(kernel.refuse(format!("{label}={} is more than 32-bit ids count", shown(value))).into())
            }
            (Err(_), true) => Err(kernel.refuse(format!("{label}={} is negative", shown(value))).into()),
            _ => Err(wrong().into()),
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
        return Err(wrong().into());
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
    let Some(out) = mapping_argument(out)? else {
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
        (_, Input::Tensor(tensor) | Input::Array(tensor) | Input::InPlace(tensor) | Input::Bytes(tensor)) => {
            tensor.shape().into()
        }
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
