//! What a call gives for storage variables, and what becomes of what the kernel writes.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyString, PyTuple};
use smallvec::SmallVec;

use super::values::{self, shown};
use super::{as_kernel_error, layout};
use crate::dtype::DType;
use crate::kernel::Kernel;
use crate::kernel::bind::Input;
use crate::kernel::reflect::{Access, Binding};
use crate::kernel::types::Type;
use crate::python::arrays::{alias, as_array, descriptor, plain_array, to_array, to_new_array};
use crate::python::call::Any;
use crate::python::tensor::{PyTensor, shape_argument};
use crate::shape::checked_len;
use crate::tensor::{Storage, Tensor};

/// What becomes of a variable that the kernel writes.
pub(super) enum Return<'py> {
    /// It is returned as it is.
    New,
    /// The tensor that was given.
    Tensor(Bound<'py, PyAny>),
    /// It is in the array that was given, or is copied there.
    InPlace(Bound<'py, PyAny>),
    /// Words that are structs: an array of this shape and dtype, and the dtype that its giver had.
    Structs {
        shape: Vec<usize>,
        dtype: Bound<'py, PyAny>,
        given: Option<Bound<'py, PyAny>>,
        into: Option<Bound<'py, PyAny>>,
    },
}

impl<'py> Return<'py> {
    pub(super) fn give(self, py: Python<'py>, result: Tensor, as_array: bool) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Tensor(given) => Ok(given),
            Self::New if !as_array => Ok(Py::new(py, PyTensor(result))?.into_bound(py).into_any()),
            Self::New => to_array(py, &result, true),
            Self::InPlace(array) => {
                let own = alias(array.cast()?)?;
                if own.is_none_or(|own| !own.same_elements(&result)) {
                    py.import(intern!(py, "numpy"))?.call_method1("copyto", (&array, read_array(py, &result)?))?;
                }
                Ok(array)
            }
            // No tensor holds structs.
            Self::Structs { shape, dtype, given, into } => {
                let bytes = read_array(py, &result)?.call_method1("reshape", (-1,))?;
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

/// The elements of a result as an array, of the memory that they are in where the CPU sees it.
fn read_array<'py>(py: Python<'py>, result: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    match result.storage() {
        Storage::Host(_) => to_array(py, result, true),
        Storage::Gpu(_) => to_new_array(py, result),
    }
}

/// A variable that `out=` makes: a shape, or a shape and a dtype.
pub(super) fn new_output<'py>(
    kernel: &Kernel,
    binding: &Binding,
    what: Any<'_, 'py>,
) -> PyResult<(Input, Return<'py>)> {
    let py = what.py();
    let wrong = || {
        kernel.refuse(format!(
            "out={{'{}': {}}} must be a shape and a dtype, such as ((100,), 'float32'), or a shape alone",
            binding.name,
            shown(what)
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
    let dtype = dtype_object(py, dtype).map_err(|_| wrong())?;
    let tail = dtype.as_ref().map_or(Ok(0), |dtype| tail_of(&binding.ty, dtype))?;
    let own = layout::element_dtype(py, &binding.ty, tail)?;
    let size: usize = own.getattr("itemsize")?.extract()?;
    checked_len(&shape, size.max(4), &format!("kernel '{}': '{}'", kernel.name, binding.name))?;
    // Plain words may be asked for in place of structs and of numbers of 64 bits, which no tensor holds.
    let as_words = match &dtype {
        None => false,
        Some(dtype) => dtype.getattr("names")?.is_none() && !dtype.eq(&own)?,
    };
    let has_no_tensors = !own.getattr("names")?.is_none() || is_wide(&own)?;
    if has_no_tensors && !as_words {
        let words = shape.iter().product::<usize>() * size / 4;
        if let Some(dtype) = &dtype {
            // Whether it can be had of what the kernel writes.
            let none = py.import("numpy")?.call_method1("zeros", (0, &own))?;
            let tried = py.import("gpukern._structs")?.call_method1("from_layout", (none, dtype));
            tried.map_err(|_| wrong())?;
        }
        let returns = Return::Structs { shape: shape.to_vec(), dtype: own, given: dtype, into: None };
        return Ok((Input::New(SmallVec::from_slice(&[words]), DType::UInt32), returns));
    }
    let dtype = dtype.unwrap_or(own);
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
pub(super) fn storage_argument<'py>(
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
    let array = plain_array(value, &what, name).map_err(as_kernel_error(value.py()))?;
    let into = (inplace && binding.access == Access::ReadWrite).then(|| value.clone());
    let Some(array) = array else {
        if into.is_some() {
            let why = format!("'{name}' is {}, and inplace=True writes arrays", shown(value));
            return Err(kernel.refuse(why).into());
        }
        return other_argument(kernel, binding, value);
    };
    if into.is_some() && !value.getattr("flags")?.getattr("writeable")?.is_truthy()? {
        return Err(kernel
            .refuse(format!("'{name}' is read-only, and inplace=True writes it; give a writable array"))
            .into());
    }
    if array.dtype().has_fields() {
        return structured_argument(kernel, binding, &array, into);
    }
    array_argument(kernel, binding, &array, into)
}

/// An array without fields, and the one that is written in its place.
fn array_argument<'py>(
    kernel: &Kernel,
    binding: &Binding,
    array: &Bound<'py, PyUntypedArray>,
    into: Option<Bound<'py, PyAny>>,
) -> PyResult<(Input, Return<'py>)> {
    let own = layout::element_dtype(array.py(), &binding.ty, 0)?;
    let native = array.dtype().call_method1("newbyteorder", ("=",))?;
    if is_wide(&own)? && native.eq(&own)? {
        // No tensor has numbers so large.
        let bytes = array.py().import("numpy")?.call_method1("ascontiguousarray", (array, &own))?;
        let (shape, given) = (array.shape().to_vec(), Some(array.dtype().into_any()));
        return Ok((Input::Bytes(bytes_tensor(&bytes)?), Return::Structs { shape, dtype: own, given, into }));
    }
    let tensor = array_tensor(kernel, binding, array)?;
    Ok(match into {
        None => (Input::Array(tensor), Return::New),
        Some(array) => (Input::InPlace(tensor), Return::InPlace(array)),
    })
}

/// Whether a dtype is one of numbers of 64 bits.
fn is_wide(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(dtype.getattr("names")?.is_none() && dtype.getattr("itemsize")?.extract::<usize>()? == 8)
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
    let own = layout::element_dtype(py, &binding.ty, 0)?;
    match alias(&copy)? {
        Some(tensor) => Ok(tensor),
        None => Err(kernel
            .refuse(format!(
                "'{}' has dtype {}, which no device has, and {} is {own}; convert it with .astype('{own}')",
                binding.name,
                array.dtype().str()?,
                binding.ty
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
    let dtype = layout::element_dtype(py, &binding.ty, tail_of(&binding.ty, array.dtype().as_any())?)?;
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

/// How many elements a structured dtype has at the end of a struct that leaves their number open.
fn tail_of(ty: &Type, dtype: &Bound<'_, PyAny>) -> PyResult<usize> {
    let (Type::Struct { fields, .. }, Some(_)) = (ty, ty.tail()) else { return Ok(0) };
    let name = &fields.last().expect("a struct with a tail has fields").name;
    let Ok(field) = dtype.get_item(&**name) else { return Ok(0) };
    field.getattr("shape")?.get_item(0).and_then(|count| count.extract()).or(Ok(0))
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
    let Binding { name, ty, .. } = binding;
    if value.is_none() || value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
        return Err(kernel.refuse(format!("'{name}' is {}, and no array or tensor", shown(value))).into());
    }
    let element = layout::element_dtype(py, ty, 0)?;
    if element.getattr("names")?.is_none() {
        let is_array = value.hasattr("__array__")?;
        let wrong = |error: PyErr| {
            let (shown, why) = (shown(value), error.value(py));
            kernel.refuse(format!("'{name}' ({ty}): an array, a tensor or a list is wanted, not {shown}: {why}"))
        };
        let array = if is_array {
            as_array(value, &format!("kernel '{}'", kernel.name), name).map_err(as_kernel_error(py))?
        } else {
            values::check_length(kernel, name, ty, element.getattr("itemsize")?.extract()?, value)?;
            // Python's own numbers take the variable's dtype.
            let make = py.import("gpukern._structs")?.getattr("of_numbers")?;
            make.call1((value, element)).map_err(wrong)?.cast_into::<PyUntypedArray>()?
        };
        return array_argument(kernel, binding, &array, None);
    }
    if value.hasattr("dtype")? {
        // A struct of NumPy's is an array of one.
        let array = py.import("numpy")?.call_method1("asarray", (value,))?.cast_into::<PyUntypedArray>()?;
        return structured_argument(kernel, binding, &array, None);
    }
    let bytes = values::pack(kernel, name, ty, value, &|_| None)?;
    let count = match (ty, ty.tail()) {
        (_, Some((_, stride))) => (bytes.len() - ty.size()) / stride,
        (Type::Array { count, .. }, None) => count.unwrap_or(0),
        _ => 0,
    };
    let shape = if matches!(ty, Type::Array { .. }) { vec![count] } else { Vec::new() };
    let dtype = layout::element_dtype(py, ty, count)?;
    let array = py.import("numpy")?.call_method1("frombuffer", (PyByteArray::new(py, &bytes), "uint8"))?;
    Ok((Input::Bytes(bytes_tensor(&array)?), Return::Structs { shape, dtype, given: None, into: None }))
}
