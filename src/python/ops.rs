//! The operations as Python functions. A new one is a function here and its name in [`register`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use smallvec::SmallVec;

use super::arrays::{Argument, alias, argument, descriptor, on_device};
use super::device::{ambient_device, device_argument};
use super::enter;
use super::tensor::{PyTensor, give};
use crate::device::Device;
use crate::device::select::cpu;
use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::ops::{self, Operand, elementwise};
use crate::shape::show;
use crate::tensor::Tensor;

type Any<'a, 'py> = &'a Bound<'py, PyAny>;
type Binary = fn(Operand<'_>, Operand<'_>, Option<&Tensor>) -> Result<Tensor>;

/// Work on so few elements of the CPU device is done before another thread could take the interpreter.
const SMALL: usize = 1 << 14;

/// Operations on the CPU device while it is profiled, each with its seconds.
static CPU_PROFILE: Mutex<Option<Vec<(&'static str, f64)>>> = Mutex::new(None);
static CPU_PROFILED: AtomicBool = AtomicBool::new(false);

pub(super) fn start_cpu_profile() -> Result<()> {
    let mut profile = CPU_PROFILE.lock().unwrap_or_else(PoisonError::into_inner);
    if profile.is_some() {
        return Err(Error::Device("profile: cpu is being profiled already".into()));
    }
    *profile = Some(Vec::new());
    CPU_PROFILED.store(true, Ordering::Relaxed);
    Ok(())
}

pub(super) fn stop_cpu_profile() -> Vec<(&'static str, f64)> {
    CPU_PROFILED.store(false, Ordering::Relaxed);
    CPU_PROFILE.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
}

fn note_cpu_time(name: &'static str, elapsed: Duration) {
    if let Some(profile) = &mut *CPU_PROFILE.lock().unwrap_or_else(PoisonError::into_inner) {
        profile.push((name, elapsed.as_secs_f64()));
    }
}

/// Where the result of a call goes, as its arguments say.
struct Call<'a, 'py> {
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
enum Ready {
    Tensor(Tensor),
    Scalar(Scalar),
}

impl Ready {
    fn operand(&self) -> Operand<'_> {
        match self {
            Self::Tensor(tensor) => tensor.into(),
            Self::Scalar(scalar) => (*scalar).into(),
        }
    }
}

impl<'a, 'py> Call<'a, 'py> {
    /// Chooses the device: the `device=` argument, that of the tensors, that of `use_device`, that of the environment,
    /// and else, with arrays alone, the CPU device: these operations take less time than moving arrays to a GPU.
    fn new(
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
            Some(object) => match (object.cast_exact::<PyTensor>(), object.cast::<PyUntypedArray>()) {
                (Ok(tensor), _) => (Some(tensor.get().0.clone()), false),
                (_, Ok(array)) => {
                    if first.is_some() {
                        return Err(fail_out(name, "a Tensor, since an operand is one, not a NumPy array"));
                    }
                    (alias(array)?, true)
                }
                _ => {
                    let kind = object.get_type().name()?;
                    return Err(fail_out(name, &format!("a Tensor or a NumPy array, not {kind}")));
                }
            },
        };
        let asked = device_argument(py, device)?;
        let by_tensors = first.or(out_tensor.as_ref().filter(|_| !out_is_array)).map(|tensor| tensor.device().clone());
        let device = match (asked, by_tensors) {
            (Some(asked), Some(theirs)) if asked != theirs => {
                return Err(Error::Device(format!(
                    "{name}: a tensor lives on {}, but device={} was asked for; move it with .to()",
                    theirs.id(),
                    asked.id()
                ))
                .into());
            }
            (Some(device), _) | (None, Some(device)) => device,
            (None, None) => match ambient_device(py)? {
                Some(device) => device,
                None => cpu()?,
            },
        };
        let as_array = first.is_none() && (out.is_none() || out_is_array);
        Ok(Self { py, name, device, out_object: out, out: out_tensor, as_array })
    }

    /// Moves the operands to the device, computes, and gives the result the form that the caller expects.
    fn run(
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
        let to_host = self.as_array;
        let work = move || -> Result<Tensor> {
            let ready = arguments
                .into_iter()
                .map(|argument| match argument {
                    Argument::Scalar(scalar) => Ok(Ready::Scalar(scalar)),
                    other => on_device(other, &device, name).map(Ready::Tensor),
                })
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
        let started = CPU_PROFILED.load(Ordering::Relaxed).then(Instant::now);
        let result = if small { work()? } else { enter(py, work)? };
        if let (Some(started), Device::Cpu(_)) = (started, result.device()) {
            note_cpu_time(name, started.elapsed());
        }
        let Some(object) = self.out_object else { return give(py, result, self.as_array) };
        if self.out.is_none() {
            fill_array(name, object, &result)?;
        }
        Ok(object.clone().unbind())
    }
}

/// Copies a result into an array whose memory is no tensor: misaligned, or of another dtype, which is refused.
fn fill_array(name: &str, out: Any<'_, '_>, result: &Tensor) -> PyResult<()> {
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

fn fail_out(name: &str, wanted: &str) -> PyErr {
    Error::Argument(format!("{name}: out= must be {wanted}")).into()
}

/// An operator on a tensor and something else; `NotImplemented` for what is no operand.
pub(super) fn call_binary(
    py: Python<'_>,
    name: &'static str,
    operation: Binary,
    tensor: &Tensor,
    other: &Bound<'_, PyAny>,
    reflected: bool,
) -> PyResult<Py<PyAny>> {
    if !is_operand(other)? {
        return Ok(py.NotImplemented());
    }
    let other = argument(other, name, "the other operand")?;
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    arguments.push(Argument::Tensor(tensor.clone()));
    arguments.push(other);
    if reflected {
        arguments.swap(0, 1);
    }
    Call::new(py, name, &arguments, None, None)?
        .run(arguments, |ready, out| operation(ready[0].operand(), ready[1].operand(), out))
}

/// `@`: a matrix, or a stack of them, times a vector.
pub(super) fn call_matmul(
    py: Python<'_>,
    tensor: &Tensor,
    other: &Bound<'_, PyAny>,
    reflected: bool,
) -> PyResult<Py<PyAny>> {
    const NAME: &str = "matmul_vec";
    if !is_operand(other)? {
        return Ok(py.NotImplemented());
    }
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    arguments.push(Argument::Tensor(tensor.clone()));
    arguments.push(argument(other, NAME, "the other operand")?);
    if reflected {
        arguments.swap(0, 1);
    }
    let axes = |argument: &Argument| match argument {
        Argument::Tensor(tensor) | Argument::Array(tensor) => tensor.shape().len(),
        Argument::Scalar(_) => 0,
    };
    if axes(&arguments[0]) == 1 && axes(&arguments[1]) == 1 {
        return Err(Error::Shape(
            "@: a vector times a vector is not offered; make the left one a matrix of one row, x.reshape(1, -1)".into(),
        )
        .into());
    }
    if let Argument::Tensor(right) | Argument::Array(right) = &arguments[1]
        && right.shape().len() != 1
    {
        return Err(Error::Shape(format!(
            "@: the right operand has shape {}; only a vector can stand there. For stacks of vectors use matmul_vec",
            show(right.shape())
        ))
        .into());
    }
    matmul_vec_of(py, arguments, None, None)
}

/// Whether an operator should try: an array-like or a number, not a string or some foreign object.
fn is_operand(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    use pyo3::types::{PyFloat, PyInt, PyList, PyTuple};
    Ok(obj.is_instance_of::<PyTensor>()
        || obj.is_instance_of::<PyFloat>()
        || obj.is_instance_of::<PyInt>()
        || obj.cast::<PyUntypedArray>().is_ok()
        || obj.is_instance_of::<PyList>()
        || obj.is_instance_of::<PyTuple>()
        || obj.hasattr("__array__")?)
}

fn matmul_vec_of(
    py: Python<'_>,
    mut arguments: SmallVec<[Argument; 2]>,
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
) -> PyResult<Py<PyAny>> {
    for argument in &mut arguments {
        // A number has no axes; the operation says so.
        if let Argument::Scalar(scalar) = argument {
            *argument = Argument::Array(ops::full("matmul_vec", &cpu()?, &[], *scalar, scalar.own_dtype())?);
        }
    }
    Call::new(py, "matmul_vec", &arguments, out, device)?.run(arguments, |ready, out| match ready {
        [Ready::Tensor(w), Ready::Tensor(x)] => ops::matmul_vec(w, x, out),
        _ => unreachable!("two tensors"),
    })
}

/// Defines the Python functions of the elementwise operations.
macro_rules! elementwise_functions {
    ($($(#[$document:meta])* $kind:ident $name:ident;)*) => {
        $(elementwise_functions!(@$kind $name $(#[$document])*);)*

        fn register_elementwise(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
            Ok(())
        }
    };
    (@binary $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        #[pyfunction]
        #[pyo3(signature = (x1, x2, /, *, out = None, device = None))]
        fn $name(
            py: Python<'_>,
            x1: &Bound<'_, PyAny>,
            x2: &Bound<'_, PyAny>,
            out: Option<&Bound<'_, PyAny>>,
            device: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Py<PyAny>> {
            binary(py, stringify!($name), elementwise::$name, [(x1, "x1"), (x2, "x2")], out, device)
        }
    };
    (@unary $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        #[pyfunction]
        #[pyo3(signature = (x, /, *, out = None, device = None))]
        fn $name(
            py: Python<'_>,
            x: &Bound<'_, PyAny>,
            out: Option<&Bound<'_, PyAny>>,
            device: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Py<PyAny>> {
            unary(py, stringify!($name), elementwise::$name, x, out, device)
        }
    };
}

elementwise_functions! {
    /// The sum of two arrays or tensors, element by element; "or" on bools.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.add(np.float32([1, 2]), 0.5)
    /// array([1.5, 2.5], dtype=float32)
    binary add;

    /// The difference of two arrays or tensors, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.subtract(np.float32([[1], [2]]), np.float32([1, 2]))
    /// array([[ 0., -1.],
    ///        [ 1.,  0.]], dtype=float32)
    binary subtract;

    /// The product of two arrays or tensors, element by element; "and" on bools.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.multiply(np.int32([1, 2, 3]), 2)
    /// array([2, 4, 6], dtype=int32)
    binary multiply;

    /// ``x / (1 + exp(-x))``, element by element; also known as swish.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.silu(np.float32([0, 1, -1])).round(4)
    /// array([ 0.    ,  0.7311, -0.2689], dtype=float32)
    unary silu;
}

fn binary(
    py: Python<'_>,
    name: &'static str,
    operation: Binary,
    operands: [(&Bound<'_, PyAny>, &str); 2],
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    for (operand, label) in operands {
        arguments.push(argument(operand, name, label)?);
    }
    // Two Python numbers are computed like two arrays of their own types.
    if let [Argument::Scalar(scalar), Argument::Scalar(_)] = arguments[..] {
        arguments[0] = Argument::Array(ops::full(name, &cpu()?, &[], scalar, scalar.own_dtype())?);
    }
    Call::new(py, name, &arguments, out, device)?
        .run(arguments, |ready, out| operation(ready[0].operand(), ready[1].operand(), out))
}

fn unary(
    py: Python<'_>,
    name: &'static str,
    operation: fn(&Tensor, Option<&Tensor>) -> Result<Tensor>,
    x: &Bound<'_, PyAny>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let x = match argument(x, name, "x")? {
        Argument::Scalar(scalar) => Argument::Array(ops::full(name, &cpu()?, &[], scalar, scalar.own_dtype())?),
        other => other,
    };
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    arguments.push(x);
    Call::new(py, name, &arguments, out, device)?.run(arguments, |ready, out| match ready {
        [Ready::Tensor(x)] => operation(x, out),
        _ => unreachable!("one tensor"),
    })
}

/// Matrix times vector, ``w[..., n, k]`` times ``x[..., k]``: leading axes broadcast.
///
/// float16 and bfloat16 are read as they are and summed in float32; integers are summed in int32.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.matmul_vec(np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([1, 2, 3]))
/// array([14., 32.], dtype=float32)
#[pyfunction]
#[pyo3(signature = (w, x, /, *, out = None, device = None))]
fn matmul_vec(
    py: Python<'_>,
    w: &Bound<'_, PyAny>,
    x: &Bound<'_, PyAny>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    arguments.push(argument(w, "matmul_vec", "w")?);
    arguments.push(argument(x, "matmul_vec", "x")?);
    matmul_vec_of(py, arguments, out, device)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    register_elementwise(module)?;
    module.add_function(wrap_pyfunction!(matmul_vec, module)?)
}
