//! NumPy arrays as tensors, and tensors as NumPy arrays.

#![expect(unsafe_code, reason = "NumPy's memory is reached through its C interface")]

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use numpy::npyffi::{
    NPY_ARRAY_ALIGNED, NPY_ARRAY_WRITEABLE, NpyTypes, PY_ARRAY_API, PyArray_Descr, get_type_object, npy_intp,
};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};
use smallvec::SmallVec;

use super::errors;
use super::quant::weights;
use super::tensor::PyTensor;
use crate::cpu::memory::HostBuffer;
use crate::device::Device;
use crate::device::select::cpu;
use crate::dtype::{DType, Kind, Scalar, rounded_to_odd};
use crate::error::{Error, Result};
use crate::shape::Layout;
use crate::tensor::{Storage, Tensor};

/// What to do with float64 input: 0 warn once, 1 refuse, 2 convert quietly.
static FLOAT64: AtomicU8 = AtomicU8::new(0);
static WARNED: AtomicBool = AtomicBool::new(false);

pub(super) fn set_float64_policy(policy: &str) -> Result<()> {
    let code = match policy {
        "warn" => 0,
        "error" => 1,
        "cast" => 2,
        _ => return Err(Error::Argument(format!("config.float64 is 'warn', 'error' or 'cast', not '{policy}'"))),
    };
    FLOAT64.store(code, Ordering::Relaxed);
    Ok(())
}

/// Looks up everything of NumPy's that is looked up once. Done while the module is made: a signal handler that came in
/// between and asked for the same would wait for itself.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    descriptors(py)?;
    py.get_type::<HostMemory>();
    // Any function of NumPy's C interface fetches all of it.
    numpy::dtype::<f32>(py);
    // SAFETY: the interpreter lock is held.
    let _ = unsafe { get_type_object(py, NpyTypes::PyArray_Type) };
    Ok(())
}

/// NumPy's descriptors of our types, in the order of [`DType::ALL`].
fn descriptors(py: Python<'_>) -> PyResult<&[Py<PyArrayDescr>; 8]> {
    static DESCRIPTORS: PyOnceLock<[Py<PyArrayDescr>; 8]> = PyOnceLock::new();
    DESCRIPTORS.get_or_try_init(py, || {
        let mut all = Vec::with_capacity(8);
        for dtype in DType::ALL {
            let descriptor = match dtype {
                DType::BFloat16 => PyArrayDescr::new(py, py.import("ml_dtypes")?.getattr("bfloat16")?)?,
                other => PyArrayDescr::new(py, other.name())?,
            };
            all.push(descriptor.unbind());
        }
        Ok(all.try_into().unwrap_or_else(|_| unreachable!("one for each type")))
    })
}

/// NumPy's dtype object for a type.
pub(super) fn descriptor(py: Python<'_>, dtype: DType) -> PyResult<Bound<'_, PyArrayDescr>> {
    Ok(descriptors(py)?[dtype as usize].bind(py).clone())
}

/// Our type for a NumPy descriptor in native byte order, if it is one of ours.
fn native_dtype(descriptor: &Bound<'_, PyArrayDescr>) -> PyResult<Option<DType>> {
    if !matches!(descriptor.byteorder(), b'=' | b'|') {
        return Ok(None);
    }
    Ok(match (descriptor.kind(), descriptor.itemsize()) {
        (b'f', 4) => Some(DType::Float32),
        (b'f', 2) => Some(DType::Float16),
        (b'i', 4) => Some(DType::Int32),
        (b'u', 4) => Some(DType::UInt32),
        (b'i', 1) => Some(DType::Int8),
        (b'u', 1) => Some(DType::UInt8),
        (b'b', 1) => Some(DType::Bool),
        (b'V', 2) => {
            let bfloat16 = descriptors(descriptor.py())?[DType::BFloat16 as usize].bind(descriptor.py());
            (descriptor.num() == bfloat16.num()).then_some(DType::BFloat16)
        }
        _ => None,
    })
}

/// A `dtype=` argument.
pub(super) fn dtype_argument(obj: &Bound<'_, PyAny>, operation: &str) -> PyResult<DType> {
    let fail = || {
        let names = DType::ALL.map(DType::name).join(", ");
        let shown = obj.repr().map_or_else(|_| "this object".into(), |text| text.to_string());
        let wide =
            PyArrayDescr::new(obj.py(), obj).is_ok_and(|d| matches!(d.kind(), b'f' | b'i' | b'u') && d.itemsize() == 8);
        let hint = if wide { "; use the one of 32 bits" } else { "" };
        Error::DType(format!("{operation}: dtype={shown} is not one that devices share; the dtypes are {names}{hint}"))
    };
    let text = obj.extract::<&str>().ok();
    if let Some(dtype) = text.and_then(DType::from_name) {
        return Ok(dtype);
    }
    let descriptor = PyArrayDescr::new(obj.py(), obj).map_err(|_| fail())?;
    Ok(native_dtype(&descriptor)?.ok_or_else(fail)?)
}

/// An argument of an operation.
pub(super) enum Argument {
    /// A tensor of gpukern's.
    Tensor(Tensor),
    /// An array, or what NumPy made one of, as a tensor on the CPU device that shares its memory where it can.
    Array(Tensor),
    /// A Python number.
    Scalar(Scalar),
}

impl Argument {
    /// The tensor, unless it is a number.
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Tensor(tensor) | Self::Array(tensor) => Some(tensor),
            Self::Scalar(_) => None,
        }
    }
}

/// Reads an operand: a tensor, an array, a Python number, or anything that NumPy understands.
pub(super) fn argument(obj: &Bound<'_, PyAny>, operation: &str, name: &str) -> PyResult<Argument> {
    argument_as(obj, operation, name, None)
}

/// The same for one that will have the dtype `wanted` in the end.
pub(super) fn argument_as(
    obj: &Bound<'_, PyAny>,
    operation: &str,
    name: &str,
    wanted: Option<DType>,
) -> PyResult<Argument> {
    if let Ok(tensor) = obj.cast_exact::<PyTensor>() {
        return Ok(Argument::Tensor(tensor.get().0.clone()));
    }
    if let Some(array) = plain_array(obj, operation, name)? {
        return Ok(Argument::Array(from_array(&array, operation, name, true, wanted)?));
    }
    if let Some(scalar) = python_scalar(obj)? {
        return Ok(Argument::Scalar(scalar));
    }
    Ok(Argument::Array(from_object(obj, operation, name, wanted)?))
}

/// An array, if the object is one: of NumPy's own class, whatever it was of, since matrices have shapes of their own.
/// A mask that hides something would be lost, and is refused.
pub(super) fn plain_array<'py>(
    obj: &Bound<'py, PyAny>,
    operation: &str,
    name: &str,
) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let Ok(array) = obj.cast::<PyUntypedArray>() else { return Ok(None) };
    let py = obj.py();
    if obj.is_exact_instance_of::<PyUntypedArray>() {
        return Ok(Some(array.clone()));
    }
    let numpy = py.import(intern!(py, "numpy"))?;
    if obj.is_instance(&numpy.getattr("ma")?.getattr("MaskedArray")?)?
        && numpy.call_method1("any", (obj.getattr("mask")?,))?.is_truthy()?
    {
        return Err(Error::Argument(format!(
            "{operation}: {name} is a masked array, whose mask would be lost; fill it with .filled()"
        ))
        .into());
    }
    Ok(Some(numpy.call_method1(intern!(py, "asarray"), (obj,))?.cast_into()?))
}

/// A Python bool, int or float; not NumPy's scalars, of which float64 is a subclass of float.
pub(super) fn python_scalar(obj: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    if obj.is_exact_instance_of::<PyFloat>() {
        return Ok(Some(Scalar::Float(obj.extract()?)));
    }
    if obj.is_exact_instance_of::<PyBool>() {
        return Ok(Some(Scalar::Bool(obj.extract()?)));
    }
    if obj.is_exact_instance_of::<PyInt>() {
        return Ok(Some(match obj.extract::<i128>() {
            Ok(value) => Scalar::Int(value),
            // Beyond float64, too, conversion fails.
            Err(_) => Scalar::Vast(match obj.extract::<f64>() {
                Ok(value) => value,
                Err(_) if obj.lt(0)? => f64::NEG_INFINITY,
                Err(_) => f64::INFINITY,
            }),
        }));
    }
    Ok(None)
}

/// Anything that NumPy makes an array of: lists, NumPy's scalars, objects with `__array__`.
///
/// `wanted` is the dtype that it will have in the end, if the caller named one.
pub(super) fn from_object(
    obj: &Bound<'_, PyAny>,
    operation: &str,
    name: &str,
    wanted: Option<DType>,
) -> PyResult<Tensor> {
    let array = as_array(obj, operation, name)?;
    // A list of Python numbers did not choose float64; an array-like object did.
    let chosen = !obj.is_instance_of::<pyo3::types::PyList>() && !obj.is_instance_of::<pyo3::types::PyTuple>();
    from_array(&array, operation, name, chosen, wanted)
}

/// What NumPy makes of an object that is no array yet.
pub(super) fn as_array<'py>(
    obj: &Bound<'py, PyAny>,
    operation: &str,
    name: &str,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = obj.py();
    if let Some(weights) = weights(obj) {
        return Err(Error::DType(format!(
            "{operation}: {name} is quantised ({}); that are only w of matmul_vec, an operand of matmul and the table of \
             embedding: dequantize() it first",
            weights.format().name
        ))
        .into());
    }
    if obj.is_none() || obj.is_instance_of::<PyString>() || obj.is_instance_of::<PyBytes>() {
        return Err(Error::DType(format!(
            "{operation}: {name} is a {}, and no number, array or tensor",
            type_name(obj)
        ))
        .into());
    }
    let numpy = py.import(intern!(py, "numpy"))?;
    let array = numpy.call_method1(intern!(py, "asarray"), (obj,)).map_err(|error| {
        let message = format!("{operation}: {name}: NumPy makes no array of this {}: {error}", type_name(obj));
        // Lists of uneven lengths.
        PyErr::from(if error.is_instance_of::<PyValueError>(py) {
            Error::Shape(message)
        } else {
            Error::DType(message)
        })
    })?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

fn type_name(obj: &Bound<'_, PyAny>) -> String {
    obj.get_type().name().map_or_else(|_| "object".into(), |name| name.to_string())
}

/// An array as a tensor on the CPU device. Shares its memory if its type and alignment allow, converts it otherwise.
pub(super) fn from_array(
    array: &Bound<'_, PyUntypedArray>,
    operation: &str,
    name: &str,
    warn: bool,
    wanted: Option<DType>,
) -> PyResult<Tensor> {
    if let Some(tensor) = alias(array)? {
        return Ok(tensor);
    }
    let converted = convert(array, operation, name, warn, wanted)?;
    Ok(alias(&converted)?.expect("converted to one of our types, aligned and in native order"))
}

/// The array's own memory as a tensor, if its elements can be read in place.
pub(super) fn alias(array: &Bound<'_, PyUntypedArray>) -> PyResult<Option<Tensor>> {
    let Some(dtype) = native_dtype(&array.dtype())? else { return Ok(None) };
    let pointer = array.as_array_ptr();
    // SAFETY: `array` is alive and the interpreter lock is held.
    let (flags, data) = unsafe { ((*pointer).fields.flags, (*pointer).fields.data) };
    if flags & NPY_ARRAY_ALIGNED == 0 {
        return Ok(None);
    }
    let size = dtype.size() as isize;
    let mut layout = Layout { shape: array.shape().into(), strides: SmallVec::new(), offset: 0 };
    for (&stride, &length) in array.strides().iter().zip(array.shape()) {
        if stride % size != 0 && length > 1 {
            return Ok(None);
        }
        layout.strides.push(stride / size);
    }
    let bytes = layout.len() * dtype.size();
    let owner: Box<dyn Send + Sync> = Box::new(array.clone().unbind());
    let data = NonNull::new(data.cast::<u8>()).unwrap_or(NonNull::dangling());
    // SAFETY: NumPy says where the elements are, and the owner keeps them there.
    let buffer = unsafe { HostBuffer::foreign(data, bytes, flags & NPY_ARRAY_WRITEABLE != 0, owner) };
    Ok(Some(Tensor::from_parts(cpu()?, Storage::Host(Arc::new(buffer)), layout, dtype)))
}

/// Refuses an array of what is no real number.
pub(super) fn check_dtype(array: &Bound<'_, PyUntypedArray>, operation: &str, name: &str) -> PyResult<()> {
    let dtype = array.dtype();
    let number = matches!((dtype.kind(), dtype.itemsize()), (b'f', 2 | 4 | 8) | (b'i' | b'u' | b'b', _));
    if number || native_dtype(&dtype)?.is_some() { Ok(()) } else { Err(no_dtype(&dtype, operation, name)?) }
}

fn no_dtype(dtype: &Bound<'_, PyArrayDescr>, operation: &str, name: &str) -> PyResult<PyErr> {
    Ok(Error::DType(format!(
        "{operation}: {name} has dtype {}, which no device has; the dtypes are {}",
        dtype.str()?,
        DType::ALL.map(DType::name).join(", ")
    ))
    .into())
}

/// A copy of the array in one of our types, made by NumPy.
fn convert<'py>(
    array: &Bound<'py, PyUntypedArray>,
    operation: &str,
    name: &str,
    warn: bool,
    wanted: Option<DType>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = array.py();
    let from = array.dtype();
    let target = match (from.kind(), from.itemsize()) {
        // A dtype that was asked for is no surprise: nothing is said, and nothing goes through a narrower one.
        (b'f', 8) if let Some(dtype) = wanted => match dtype {
            DType::BFloat16 => return rounded_once(array),
            _ if dtype.kind() == Kind::Int => return saturated(array, dtype),
            _ => dtype,
        },
        (b'f', 8) => {
            float64_policy(py, operation, name, warn)?;
            DType::Float32
        }
        (b'i' | b'u', 8) if let Some(dtype) = wanted => {
            if dtype.kind() == Kind::Int {
                check_range(array, operation, name, dtype)?;
            }
            dtype
        }
        (b'f', 4) => DType::Float32,
        (b'f', 2) => DType::Float16,
        (b'i', 8) => {
            check_range(array, operation, name, DType::Int32)?;
            DType::Int32
        }
        (b'u', 8) => {
            check_range(array, operation, name, DType::UInt32)?;
            DType::UInt32
        }
        (b'i' | b'u', 2) | (b'i', 4) => DType::Int32,
        (b'u', 4) => DType::UInt32,
        (b'i', 1) => DType::Int8,
        (b'u', 1) => DType::UInt8,
        (b'b', 1) => DType::Bool,
        _ => match native_dtype(&from)? {
            Some(dtype) => dtype,
            None => return Err(no_dtype(&from, operation, name)?),
        },
    };
    let keywords = pyo3::types::PyDict::new(py);
    keywords.set_item("casting", "unsafe")?;
    keywords.set_item("copy", true)?;
    let numpy = py.import(intern!(py, "numpy"))?;
    // What is too large for float32 becomes infinite and what is too small 0; the warning about float32 has been given.
    let quiet = pyo3::types::PyDict::new(py);
    quiet.set_item("all", "ignore")?;
    let state = numpy.call_method(intern!(py, "errstate"), (), Some(&quiet))?;
    state.call_method0("__enter__")?;
    let converted = array.call_method("astype", (descriptor(py, target)?,), Some(&keywords));
    state.call_method1("__exit__", (py.None(), py.None(), py.None()))?;
    Ok(converted?.cast_into::<PyUntypedArray>()?)
}

/// A float64 array as bfloat16, to which ml_dtypes would round by way of float32.
fn rounded_once<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = array.py();
    let double = numpy::dtype::<f64>(py);
    let aligned = py.import(intern!(py, "numpy"))?.call_method1("require", (array, double, "A"))?;
    let double = aligned
        .cast::<PyArrayDyn<f64>>()?
        .try_readonly()
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let bits = double.as_array().mapv(|value| half::bf16::from_f32(rounded_to_odd(value)).to_bits());
    let bits = PyArrayDyn::from_owned_array(py, bits);
    Ok(bits.call_method1("view", (descriptor(py, DType::BFloat16)?,))?.cast_into()?)
}

/// A float64 array as integers, converted as everywhere: towards zero, to the nearest that there is, NaN to 0.
fn saturated<'py>(array: &Bound<'py, PyUntypedArray>, dtype: DType) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = array.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let (low, high) = dtype.int_range();
    let numbers = numpy.call_method1("nan_to_num", (array, true, 0.0, high as f64, low as f64))?;
    let fitting = numpy.call_method1("clip", (numbers, low as f64, high as f64))?;
    Ok(fitting.call_method1("astype", (descriptor(py, dtype)?,))?.cast_into::<PyUntypedArray>()?)
}

fn float64_policy(py: Python<'_>, operation: &str, name: &str, warn: bool) -> PyResult<()> {
    match FLOAT64.load(Ordering::Relaxed) {
        1 if warn => Err(Error::DType(format!(
            "{operation}: {name} has dtype float64, which no device shares, and gpukern.config.float64 is 'error'; \
             convert it with .astype('float32')"
        ))
        .into()),
        0 if warn && !WARNED.swap(true, Ordering::Relaxed) => {
            let message = format!(
                "{operation}: {name} is float64 and is computed in float32, since GPUs have no float64 in common. \
                 Convert it beforehand, or set gpukern.config.float64 to 'cast' or 'error'. This is said once."
            );
            PyErr::warn(py, &errors::precision_warning(py), &CString::new(message)?, callers_frame(py).unwrap_or(1))
        }
        _ => Ok(()),
    }
}

/// How many frames up the caller of this package is, which warnings point to: 1 for the innermost frame.
fn callers_frame(py: Python<'_>) -> PyResult<i32> {
    let mut level = 1;
    let mut frame = py.import(intern!(py, "sys"))?.call_method0(intern!(py, "_getframe"))?;
    loop {
        let module = frame.getattr(intern!(py, "f_globals"))?.get_item(intern!(py, "__name__"));
        let inside = module.is_ok_and(|name| name.to_string().split('.').next() == Some("gpukern"));
        frame = frame.getattr(intern!(py, "f_back"))?;
        if !inside || frame.is_none() {
            return Ok(level);
        }
        level += 1;
    }
}

/// Refuses integers that the narrower type cannot hold.
fn check_range(array: &Bound<'_, PyUntypedArray>, operation: &str, name: &str, dtype: DType) -> PyResult<()> {
    if array.is_empty() {
        return Ok(());
    }
    let (low, high) = dtype.int_range();
    for end in ["min", "max"] {
        let value = array.call_method0(end)?;
        if value.lt(low)? || value.gt(high)? {
            return Err(Error::DType(format!(
                "{operation}: {name} has dtype {} and holds {value}, which {dtype} cannot; it goes from {low} to {high}",
                array.dtype().str()?
            ))
            .into());
        }
    }
    Ok(())
}

/// Keeps a tensor's host memory alive for an array that lies in it.
#[pyclass(frozen, module = "gpukern._native", name = "_HostMemory")]
struct HostMemory {
    _buffer: Arc<HostBuffer>,
}

/// A tensor in host memory as an array over the same memory.
pub(super) fn to_array<'py>(py: Python<'py>, tensor: &Tensor, writable: bool) -> PyResult<Bound<'py, PyAny>> {
    let Storage::Host(buffer) = tensor.storage() else {
        unreachable!("only tensors in host memory become arrays");
    };
    let size = tensor.dtype().size() as isize;
    let layout = tensor.layout();
    let mut shape: SmallVec<[npy_intp; 6]> = layout.shape.iter().map(|&length| length as npy_intp).collect();
    let mut strides: SmallVec<[npy_intp; 6]> = layout.strides.iter().map(|&stride| stride * size).collect();
    let descriptor = descriptor(py, tensor.dtype())?;
    let owner = Bound::new(py, HostMemory { _buffer: buffer.clone() })?;
    // SAFETY: the layout describes elements inside the buffer, which the array's base keeps alive. NumPy takes over
    // one reference to the descriptor and one to the base, both of which are given away here.
    unsafe {
        let data = buffer.as_ptr().cast_mut().offset(layout.offset * size);
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            get_type_object(py, NpyTypes::PyArray_Type),
            descriptor.into_ptr().cast::<PyArray_Descr>(),
            shape.len() as i32,
            shape.as_mut_ptr(),
            strides.as_mut_ptr(),
            data.cast(),
            if writable { NPY_ARRAY_WRITEABLE } else { 0 },
            std::ptr::null_mut(),
        );
        let array = Bound::from_owned_ptr_or_err(py, array)?;
        if PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), owner.into_ptr()) < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(array)
    }
}

/// The tensor's elements as an array of their own. Waits for them.
pub(super) fn to_new_array<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let tensor = tensor.clone();
    let host = super::enter(py, move || tensor.to_host(cpu()?))?;
    to_array(py, &host, true)
}

/// The tensor that holds an argument on a device.
pub(super) fn on_device(argument: Argument, device: &Device) -> Result<Tensor> {
    match argument {
        // Where it lives elsewhere, the operation says so, by the names of its operands.
        Argument::Tensor(tensor) => Ok(tensor),
        Argument::Array(tensor) => tensor.to(device),
        Argument::Scalar(scalar) => crate::ops::full("full", device, &[], scalar, scalar.own_dtype()),
    }
}
