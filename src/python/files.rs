//! What model files say of themselves, for `_files.py`, which maps them and makes tensors of what lies in them.

use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::enter;
use crate::error::Error;
use crate::files::{self, Array, Element, FileError, FileFormat, Kind, TensorInfo, Value};
use crate::quant::Format;

/// A whole file, mapped.
type File<'a, 'py> = &'a Bound<'py, PyArray1<u8>>;

/// What is wrong with a file, where, and what to do about it where that has not been said.
fn damaged(name: &str, error: &FileError) -> Error {
    let told = ["convert", "fetch", "numpy.load"].iter().any(|word| error.problem.contains(word));
    let advice = if told { "" } else { "; fetch or convert the file again" };
    Error::File(format!("{name}: {error}{advice}"))
}

/// The format, its version, the metadata by their keys, and the tensors; `name` begins the message of an error.
///
/// An array among the metadata is left where it lies: it is a tuple of what its elements are, their count, where they
/// begin and where they end. A tensor has a name, a shape, what its elements are in a word, how they are to be read,
/// and where its bytes begin and end.
#[pyfunction]
fn _read_header<'py>(name: &str, file: File<'_, 'py>) -> PyResult<Bound<'py, PyTuple>> {
    let py = file.py();
    let file = file.try_readonly()?;
    let bytes = file.as_slice()?;
    let contents = enter(py, || files::read(bytes).map_err(|error| damaged(name, &error)))?;
    let (format, version) = match contents.format {
        FileFormat::Gguf { version } => ("gguf", Some(version)),
        FileFormat::Safetensors => ("safetensors", None),
    };
    let metadata = PyDict::new(py);
    for (key, value) in &contents.metadata {
        metadata.set_item(key, value_of(py, value)?)?;
    }
    let tensors = PyList::empty(py);
    for tensor in &contents.tensors {
        tensors.append(tensor_of(py, tensor)?)?;
    }
    (format, version, metadata, tensors).into_pyobject(py)
}

fn tensor_of<'py>(py: Python<'py>, tensor: &TensorInfo) -> PyResult<Bound<'py, PyTuple>> {
    // A file may call a type of its own as it likes, so that names alone do not tell these apart.
    let reading = match &tensor.kind {
        Kind::Quantised(number) if Format::of_gguf(*number).is_some() => "blocks",
        Kind::Quantised(_) | Kind::Unknown(_) => "unknown",
        _ => "numbers",
    };
    let shape = PyTuple::new(py, &tensor.shape)?;
    (&tensor.name, shape, tensor.kind.to_string(), reading, tensor.data.start, tensor.data.end).into_pyobject(py)
}

fn value_of<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    let int = |value: i64| PyInt::new(py, value).into_any();
    Ok(match value {
        Value::U8(value) => int((*value).into()),
        Value::I8(value) => int((*value).into()),
        Value::U16(value) => int((*value).into()),
        Value::I16(value) => int((*value).into()),
        Value::U32(value) => int((*value).into()),
        Value::I32(value) => int((*value).into()),
        Value::I64(value) => int(*value),
        Value::U64(value) => PyInt::new(py, *value).into_any(),
        Value::F32(value) => PyFloat::new(py, (*value).into()).into_any(),
        Value::F64(value) => PyFloat::new(py, *value).into_any(),
        Value::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::Array(array) => array_of(py, array)?.into_any(),
    })
}

/// Where an array lies.
fn array_of<'py>(py: Python<'py>, array: &Array) -> PyResult<Bound<'py, PyTuple>> {
    let element = match array.element {
        Element::U8 => "uint8",
        Element::I8 => "int8",
        Element::U16 => "uint16",
        Element::I16 => "int16",
        Element::U32 => "uint32",
        Element::I32 => "int32",
        Element::F32 => "float32",
        Element::Bool => "bool",
        Element::String => "string",
        Element::Array => "array",
        Element::U64 => "uint64",
        Element::I64 => "int64",
        Element::F64 => "float64",
    };
    (element, array.count, array.data.start, array.data.end).into_pyobject(py)
}

/// The first `count` elements of an array of strings that lies at `start..end`; those that are not UTF-8 as bytes.
#[pyfunction]
fn _header_strings<'py>(file: File<'_, 'py>, start: usize, end: usize, count: usize) -> PyResult<Bound<'py, PyList>> {
    let (py, file) = (file.py(), file.try_readonly()?);
    let list = PyList::empty(py);
    for bytes in (Array { element: Element::String, count, data: start..end }).strings(file.as_slice()?) {
        match std::str::from_utf8(bytes) {
            Ok(text) => list.append(PyString::new(py, text))?,
            Err(_) => list.append(PyBytes::new(py, bytes))?,
        }
    }
    Ok(list)
}

/// Where the first `count` elements of an array of arrays lie.
#[pyfunction]
fn _header_arrays<'py>(file: File<'_, 'py>, start: usize, end: usize, count: usize) -> PyResult<Bound<'py, PyList>> {
    let (py, file) = (file.py(), file.try_readonly()?);
    let list = PyList::empty(py);
    for array in (Array { element: Element::Array, count, data: start..end }).arrays(file.as_slice()?) {
        list.append(array_of(py, &array)?)?;
    }
    Ok(list)
}

/// The tensors of a model in several files, each with the name of the file in which it lies.
#[pyfunction]
fn _read_index(name: &str, file: File<'_, '_>) -> PyResult<Vec<(String, String)>> {
    let py = file.py();
    let file = file.try_readonly()?;
    let bytes = file.as_slice()?;
    enter(py, || files::read_index(bytes).map_err(|error| damaged(name, &error)))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for function in [
        wrap_pyfunction!(_read_header, module)?,
        wrap_pyfunction!(_header_strings, module)?,
        wrap_pyfunction!(_header_arrays, module)?,
        wrap_pyfunction!(_read_index, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}
