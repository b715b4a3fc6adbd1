//! The way of a call from Python into an operation and back: arguments, device, `out=`, arrays in and out.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyOverflowError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};
use smallvec::SmallVec;

use super::arrays::{Argument, alias, argument, descriptor, on_device};
use super::device::{ambient_device, device_argument};
use super::enter;
use super::tensor::{PyTensor, give};
use crate::device::select::cpu;
use crate::device::{Device, placement};
use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::ops::activation::{ACTIVATIONS, Activation};
use crate::ops::{self, Operand};
use crate::profile::Watch;
use crate::tensor::Tensor;

pub(super) type Any<'a, 'py> = &'a Bound<'py, PyAny>;

/// Work on so few elements of the CPU device is done before another thread could take the interpreter.
const SMALL: usize = 1 << 14;

/// Where the result of a call goes, as its arguments say.
pub(super) struct Call<'a, 'py> {
    py: Python<'py>,
    name: &'static str,
    device: Device,
    /// What `out=` was, to be returned.
    out_object: Option<Any<'a, 'py>>,
    /// `out=` as a tensor; none for an array whose memory cannot be one, which gets a copy of the result.
    out: Option<Tensor>,
    /// Whether only arrays came in, so that an array goes out.
    as_array: bool,
}

/// An operand on the device of the call.
pub(super) enum Ready {
    Tensor(Tensor),
    Scalar(Scalar),
}

impl Ready {
    /// Moves what is no number to the device.
    pub(super) fn new(argument: Argument, device: &Device) -> Result<Self> {
        match argument {
            Argument::Scalar(scalar) => Ok(Self::Scalar(scalar)),
            other => on_device(other, device).map(Self::Tensor),
        }
    }

    pub(super) fn operand(&self) -> Operand<'_> {
        match self {
            Self::Tensor(tensor) => tensor.into(),
            Self::Scalar(scalar) => (*scalar).into(),
        }
    }

    /// The tensor, where no number was let in.
    pub(super) fn tensor(&self) -> &Tensor {
        match self {
            Self::Tensor(tensor) => tensor,
            Self::Scalar(_) => unreachable!("numbers were made tensors"),
        }
    }
}

impl<'a, 'py> Call<'a, 'py> {
    /// Chooses the device: the `device=` argument, that of the tensors, that of `use_device`, that of the environment,
    /// and else, with arrays alone, the one that is estimated to have the answer back first.
    pub(super) fn new(
        py: Python<'py>,
        name: &'static str,
        arguments: &[Argument],
        out: Option<Any<'a, 'py>>,
        device: Option<Any<'_, 'py>>,
    ) -> PyResult<Self> {
        let out = out.filter(|out| !out.is_none());
        let mut tensors = arguments.iter().filter_map(|argument| match argument {
            Argument::Tensor(tensor) => Some(tensor),
            _ => None,
        });
        let first = tensors.next();
        let (out_tensor, out_is_array) = match out {
            None => (None, false),
            Some(object) => out_argument(name, object, first.is_some())?,
        };
        let device = match chosen_device(py, name, first.or(out_tensor.as_ref().filter(|_| !out_is_array)), device)? {
            Some(device) => device,
            None => place_arrays(py, name, arguments)?,
        };
        let as_array = first.is_none() && (out.is_none() || out_is_array);
        Ok(Self { py, name, device, out_object: out, out: out_tensor, as_array })
    }

    /// Moves the operands to the device, computes, and gives the result the form that the caller expects.
    pub(super) fn run(
        self,
        arguments: SmallVec<[Argument; 2]>,
        compute: impl FnOnce(&[Ready], Option<&Tensor>) -> Result<Tensor> + Send,
    ) -> PyResult<Py<PyAny>> {
        let (py, name) = (self.py, self.name);
        let size = |argument: &Argument| match argument {
            Argument::Tensor(tensor) | Argument::Array(tensor) => tensor.len(),
            Argument::Scalar(_) => 0,
        };
        let small = matches!(self.device, Device::Cpu(_)) && arguments.iter().map(size).sum::<usize>() <= SMALL;
        // A NumPy `out` of a computation on a GPU is filled from the result.
        let (direct, indirect) = match (&self.out, &self.device) {
            (Some(out), device) if self.as_array && out.device() != device => (None, self.out.clone()),
            (out, _) => (out.clone(), None),
        };
        let device = self.device;
        let watch = Watch::start(name, &device, arguments.iter().filter_map(Argument::tensor));
        let to_host = self.as_array;
        let work = move || -> Result<Tensor> {
            let ready = arguments
                .into_iter()
                .map(|argument| Ready::new(argument, &device))
                .collect::<Result<SmallVec<[Ready; 2]>>>()?;
            let result = match &indirect {
                None => compute(&ready, direct.as_ref())?,
                Some(out) => {
                    ops::check_writable(name, "out=", out)?;
                    let result = compute(&ready, None)?;
                    ops::check_out(name, out.shape(), out.dtype().name(), result.shape(), result.dtype())?;
                    ops::assign(out, (&result.to(out.device())?).into())?;
                    return Ok(out.clone());
                }
            };
            match result.device() {
                Device::Gpu(_) if to_host => result.to_host(cpu()?),
                _ => Ok(result),
            }
        };
        let result = if small { work()? } else { enter(py, work)? };
        if let Some(watch) = watch {
            watch.finish(&result);
        }
        let Some(object) = self.out_object else { return give(py, result, self.as_array) };
        if self.out.is_none() {
            fill_array(name, object, &result)?;
        }
        Ok(object.clone().unbind())
    }
}

/// What `out=` is: a tensor, or that of an array's memory where it can be one; and whether it is an array.
pub(super) fn out_argument(name: &str, out: Any<'_, '_>, beside_tensor: bool) -> PyResult<(Option<Tensor>, bool)> {
    match (out.cast_exact::<PyTensor>(), out.cast::<PyUntypedArray>()) {
        (Ok(tensor), _) => Ok((Some(tensor.get().0.clone()), false)),
        (_, Ok(_)) if beside_tensor => Err(fail_out(name, "a Tensor, since an operand is one, not a NumPy array")),
        (_, Ok(array)) => Ok((alias(array)?, true)),
        _ => {
            let kind = out.get_type().name()?;
            Err(fail_out(name, &format!("a Tensor or a NumPy array, not {kind}")))
        }
    }
}

/// The device that a call names: by its `device=` argument, by a tensor that is among its operands, by `use_device` or
/// the environment; none where nothing does.
pub(super) fn chosen_device(
    py: Python<'_>,
    name: &str,
    tensor: Option<&Tensor>,
    device: Option<Any<'_, '_>>,
) -> PyResult<Option<Device>> {
    match (device_argument(py, device)?, tensor.map(Tensor::device)) {
        (Some(asked), Some(theirs)) if asked != *theirs => Err(Error::Device(format!(
            "{name}: a tensor lives on {}, but device={} was asked for; move it with .to()",
            theirs.id(),
            asked.id()
        ))
        .into()),
        (Some(device), _) => Ok(Some(device)),
        (None, Some(device)) => Ok(Some(device.clone())),
        (None, None) => ambient_device(py),
    }
}

/// The device for arrays alone.
fn place_arrays(py: Python<'_>, name: &str, arguments: &[Argument]) -> PyResult<Device> {
    let arrays = || {
        arguments.iter().filter_map(|argument| match argument {
            Argument::Array(array) => Some(array),
            Argument::Tensor(_) | Argument::Scalar(_) => None,
        })
    };
    // An estimate takes longer than this work does.
    if arrays().map(Tensor::nbytes).sum::<usize>() < 16 << 20 {
        return Ok(cpu()?);
    }
    let operands: SmallVec<[(&[usize], usize); 4]> =
        arrays().map(|array| (array.shape(), array.dtype().size())).collect();
    match ops::work::work(name, &operands) {
        Some(work) => enter(py, || placement::place(&work)),
        None => Ok(cpu()?),
    }
}

/// Copies a result into an array whose memory is no tensor: misaligned, or of another dtype, which is refused.
pub(super) fn fill_array(name: &str, out: Any<'_, '_>, result: &Tensor) -> PyResult<()> {
    let py = out.py();
    let array = out.cast::<PyUntypedArray>().map_err(PyErr::from)?;
    // A misaligned array of the right dtype is equivalent to it; big-endian ones are not.
    let own = array.dtype().is_equiv_to(&descriptor(py, result.dtype())?);
    let shown = if own { result.dtype().name().to_string() } else { array.dtype().str()?.to_string() };
    ops::check_out(name, array.shape(), &shown, result.shape(), result.dtype())?;
    if !out.getattr("flags")?.getattr("writeable")?.is_truthy()? {
        return Err(Error::Argument(format!("{name}: out= is read-only; give a writable array")).into());
    }
    let values = give(py, result.clone(), true)?;
    py.import("numpy")?.call_method1("copyto", (out, values)).map(drop)
}

pub(super) fn fail_out(name: &str, wanted: &str) -> PyErr {
    Error::Argument(format!("{name}: out= must be {wanted}")).into()
}

/// Whether an operator should try: an array-like or a number, not a string or some foreign object.
pub(super) fn is_operand(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    use pyo3::types::{PyFloat, PyInt, PyList, PyTuple};
    Ok(obj.is_instance_of::<PyTensor>()
        || obj.is_instance_of::<PyFloat>()
        || obj.is_instance_of::<PyInt>()
        || obj.cast::<PyUntypedArray>().is_ok()
        || obj.is_instance_of::<PyList>()
        || obj.is_instance_of::<PyTuple>()
        || obj.hasattr("__array__")?)
}

/// Calls an operation on tensors only: an operand that is a number becomes one without axes.
pub(super) fn call_on_tensors(
    py: Python<'_>,
    name: &'static str,
    operands: &[(Any<'_, '_>, &str)],
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
    compute: impl FnOnce(&[&Tensor], Option<&Tensor>) -> Result<Tensor> + Send,
) -> PyResult<Py<PyAny>> {
    let arguments = operands
        .iter()
        .map(|(operand, label)| Ok(tensor_argument(argument(operand, name, label)?, name)?))
        .collect::<PyResult<SmallVec<[Argument; 2]>>>()?;
    Call::new(py, name, &arguments, out, device)?.run(arguments, |ready, out| {
        let tensors: SmallVec<[&Tensor; 4]> = ready.iter().map(Ready::tensor).collect();
        compute(&tensors, out)
    })
}

/// The argument, with a number made an array without axes.
pub(super) fn tensor_argument(argument: Argument, name: &'static str) -> Result<Argument> {
    match argument {
        Argument::Scalar(scalar) => Ok(Argument::Array(ops::full(name, &cpu()?, &[], scalar, scalar.own_dtype())?)),
        other => Ok(other),
    }
}

/// An `axis=` argument that names one axis.
pub(super) fn axis_argument(name: &str, axis: Any<'_, '_>) -> PyResult<isize> {
    // A bool is an integer to Python, but no axis.
    match axis.extract::<isize>() {
        Ok(number) if !axis.is_instance_of::<PyBool>() => Ok(number),
        Err(error) if error.is_instance_of::<PyOverflowError>(axis.py()) => Err(axis_beyond(name, axis)),
        _ => Err(no_axis(name, axis, "an integer")),
    }
}

/// What becomes of an axis so large that no tensor has it.
pub(super) fn axis_beyond(name: &str, axis: Any<'_, '_>) -> PyErr {
    Error::Bounds(format!("{name}: axis {axis} is out of range for a tensor of any shape")).into()
}

/// An `axis=` argument that names any number of axes; none for all of them.
pub(super) fn axes_argument(name: &str, axis: Option<Any<'_, '_>>) -> PyResult<Option<SmallVec<[isize; 6]>>> {
    let Some(axis) = axis.filter(|axis| !axis.is_none()) else { return Ok(None) };
    let Ok(axes) = axis.cast::<PyTuple>() else {
        return match axis_argument(name, axis) {
            Ok(axis) => Ok(Some(SmallVec::from_slice(&[axis]))),
            Err(error) if error.is_instance_of::<PyIndexError>(axis.py()) => Err(error),
            Err(_) => Err(no_axis(name, axis, "None, an integer or a tuple of integers")),
        };
    };
    axes.iter().map(|axis| axis_argument(name, &axis)).collect::<PyResult<_>>().map(Some)
}

/// An `axis=` argument that may be None.
pub(super) fn optional_axis_argument(name: &str, axis: Any<'_, '_>) -> PyResult<Option<isize>> {
    if axis.is_none() { Ok(None) } else { axis_argument(name, axis).map(Some) }
}

fn no_axis(name: &str, axis: Any<'_, '_>, wanted: &str) -> PyErr {
    // Where a tensor or an array stands, a list of them was forgotten.
    let tensor = axis.is_instance_of::<PyTensor>() || axis.cast::<PyUntypedArray>().is_ok();
    if tensor && matches!(name, "concat" | "stack") {
        return Error::Argument(format!("{name}: axis must be {wanted}; give the tensors as one list")).into();
    }
    unfit(name, "axis", axis, wanted)
}

/// Refuses the value of an argument.
pub(super) fn unfit(name: &str, label: &str, value: Any<'_, '_>, wanted: &str) -> PyErr {
    let shown = if value.is_instance_of::<PyTensor>() || value.cast::<PyUntypedArray>().is_ok() {
        format!("a {}", value.get_type().name().map_or_else(|_| "tensor".into(), |kind| kind.to_string()))
    } else {
        value.repr().map_or_else(|_| "this object".into(), |text| text.to_string())
    };
    Error::Argument(format!("{name}: {label}={shown} must be {wanted}")).into()
}

/// An argument besides the operands: what the caller gave, or the default. It is read by what knows the operation's
/// name, so that errors have it.
pub(super) enum Given<'py, T> {
    Default(T),
    Object(Bound<'py, PyAny>),
}

impl<'py, T> FromPyObject<'_, 'py> for Given<'py, T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::Object(object.to_owned()))
    }
}

impl Given<'_, bool> {
    /// A truth: Python's or NumPy's, or 0 or 1.
    pub(super) fn flag(self, name: &str, label: &str) -> PyResult<bool> {
        let object = match self {
            Self::Default(value) => return Ok(value),
            Self::Object(object) => object,
        };
        match (object.extract::<bool>(), object.extract::<isize>()) {
            (Ok(value), _) => Ok(value),
            (_, Ok(number @ (0 | 1))) => Ok(number == 1),
            _ => Err(unfit(name, label, &object, "True or False")),
        }
    }
}

impl Given<'_, f64> {
    pub(super) fn float(self, name: &str, label: &str) -> PyResult<f64> {
        match self {
            Self::Default(value) => Ok(value),
            Self::Object(object) => {
                object.extract::<f64>().map_err(|_| unfit(name, label, &object, "a number that float64 can hold"))
            }
        }
    }
}

impl Given<'_, &'static str> {
    /// One of a few words.
    pub(super) fn choice(self, name: &str, label: &str, words: &[&'static str]) -> PyResult<&'static str> {
        match self {
            Self::Default(value) => Ok(value),
            Self::Object(object) => {
                let given = object.extract::<String>().ok();
                words.iter().copied().find(|word| given.as_deref() == Some(word)).ok_or_else(|| {
                    let words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" or ");
                    unfit(name, label, &object, &words)
                })
            }
        }
    }
}

/// An `activation=` argument.
pub(super) fn activation_argument(name: &str, value: Option<Any<'_, '_>>) -> PyResult<Option<Activation>> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(None) };
    let word =
        Given::<&'static str>::Object(value.clone()).choice(name, "activation", &ACTIVATIONS.map(|each| each.name))?;
    Ok(ACTIVATIONS.into_iter().find(|each| each.name == word))
}

/// An argument that is a number or None.
pub(super) fn optional_float_argument(name: &str, label: &str, value: Option<Any<'_, '_>>) -> PyResult<Option<f64>> {
    let given = value.filter(|value| !value.is_none());
    given.map(|value| Given::<f64>::Object(value.clone()).float(name, label)).transpose()
}

/// An argument that is an integer.
pub(super) fn int_argument(name: &str, label: &str, value: Any<'_, '_>) -> PyResult<isize> {
    match value.extract::<isize>() {
        Ok(number) if !value.is_instance_of::<PyBool>() => Ok(number),
        _ => Err(unfit(name, label, value, "an integer of at most 64 bits")),
    }
}
