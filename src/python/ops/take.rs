//! `take` and `embedding`.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::device::select::cpu;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::ops;
use crate::ops::take::target;
use crate::python::arrays::{Argument, argument, argument_as, as_array, plain_array, python_scalar};
use crate::python::call::{Any, Call, optional_axis_argument, tensor_argument};
use crate::python::quant::weights;
use crate::python::tensor::PyTensor;
use crate::shape::show;
use crate::tensor::Tensor;

/// The elements of ``x`` at ``indices`` along an axis, or of the flattened ``x`` if the axis is None.
///
/// Indices are integers and may have any shape, which takes the place of the axis. Negative ones count from the end. An
/// index out of range raises `BoundsError`; indices in a `Tensor` are not looked at, and the nearest in range is taken.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.take(np.int32([[1, 2, 3], [4, 5, 6]]), [2, 0, -1], axis=1)
/// array([[3, 1, 3],
///        [6, 4, 6]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (x, indices, /, axis = None, *, out = None, device = None))]
fn take(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    indices: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = take_axis)] axis: Option<isize>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    call(py, "take", (x, "x"), (indices, "indices"), axis, out, device, move |x, indices, out| {
        ops::take(x, indices, axis, out)
    })
}

/// The rows of a table at ``ids``, which may have any shape: ``take(table, ids, axis=0)``. Of a `QuantTensor` they are
/// float32.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.embedding(np.float32([[0, 1], [2, 3], [4, 5]]), [2, 0])
/// array([[4., 5.],
///        [0., 1.]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (table, ids, /, *, out = None, device = None))]
fn embedding(
    py: Python<'_>,
    table: &Bound<'_, PyAny>,
    ids: &Bound<'_, PyAny>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    if let Some(table) = weights(table) {
        let ids = checked("embedding", ids, "ids", &table.shape(), Some(0))?;
        let arguments = SmallVec::from_iter([Argument::Tensor(table.blocks().clone()), ids]);
        return Call::new(py, "embedding", &arguments, out, device)?
            .run(arguments, |ready, out| ops::quantised::embedding(table, ready[1].tensor(), out));
    }
    call(py, "embedding", (table, "table"), (ids, "ids"), Some(0), out, device, ops::embedding)
}

#[expect(clippy::too_many_arguments, reason = "all but two are Python's")]
fn call(
    py: Python<'_>,
    name: &'static str,
    x: (Any<'_, '_>, &str),
    indices: (Any<'_, '_>, &str),
    axis: Option<isize>,
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
    compute: impl FnOnce(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor> + Send,
) -> PyResult<Py<PyAny>> {
    let x = tensor_argument(argument(x.0, name, x.1)?, name)?;
    let (Argument::Tensor(tensor) | Argument::Array(tensor)) = &x else { unreachable!("numbers were made tensors") };
    let indices = checked(name, indices.0, indices.1, tensor.shape(), axis)?;
    let arguments = SmallVec::from_iter([x, indices]);
    Call::new(py, name, &arguments, out, device)?
        .run(arguments, |ready, out| compute(ready[0].tensor(), ready[1].tensor(), out))
}

/// Indices, of which those that the host knows are in range.
fn checked(
    name: &'static str,
    obj: Any<'_, '_>,
    label: &str,
    shape: &[usize],
    axis: Option<isize>,
) -> PyResult<Argument> {
    let (axis, length) = target(name, shape, axis)?;
    let check = |low: i128, high: i128| {
        let length = length as i128;
        match [low, high].into_iter().find(|&index| index < -length || index >= length) {
            None => Ok(()),
            Some(index) => {
                let of = axis.map_or("the flattened x".into(), |axis| format!("axis {axis}"));
                Err(Error::Bounds(format!(
                    "{name}: index {index} is out of range for {of} of length {length}, shape {}",
                    show(shape)
                )))
            }
        }
    };
    let no_integers =
        |what: &str| PyErr::from(Error::DType(format!("{name}: {label} are integers, but their dtype is {what}")));
    if obj.cast_exact::<PyTensor>().is_ok() {
        return argument(obj, name, label);
    }
    if let Some(scalar) = python_scalar(obj)? {
        let index = match scalar {
            Scalar::Int(index) => index,
            Scalar::Vast(_) => {
                let message = format!("{name}: index {obj} is out of range for an axis of any length");
                return Err(Error::Bounds(message).into());
            }
            Scalar::Bool(_) | Scalar::Float(_) => return Err(no_integers(scalar.own_dtype().name())),
        };
        check(index, index)?;
        let dtype = if index > i128::from(i32::MAX) { DType::UInt32 } else { DType::Int32 };
        return Ok(Argument::Array(ops::full(name, &cpu()?, &[], scalar, dtype)?));
    }
    let array = match plain_array(obj, name, label)? {
        Some(array) => array,
        None => as_array(obj, name, label)?,
    };
    if array.is_empty() && array.dtype().kind() == b'f' && obj.cast::<PyUntypedArray>().is_err() {
        // An empty list.
        return Ok(Argument::Array(Tensor::empty(&cpu()?, array.shape(), DType::Int32, name)?));
    }
    if !matches!(array.dtype().kind(), b'i' | b'u') {
        return Err(no_integers(&array.dtype().str()?.to_string()));
    }
    let mut wanted = None;
    if !array.is_empty() {
        let end = |end: &str| array.call_method0(end)?.call_method0("item")?.extract::<i128>();
        let (low, high) = (end("min")?, end("max")?);
        check(low, high)?;
        if array.dtype().itemsize() == 8 {
            wanted = Some(if high > i128::from(i32::MAX) { DType::UInt32 } else { DType::Int32 });
        }
    }
    argument_as(&array, name, label, wanted)
}

fn take_axis(axis: &Bound<'_, PyAny>) -> PyResult<Option<isize>> {
    optional_axis_argument("take", axis)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(take, module)?)?;
    module.add_function(wrap_pyfunction!(embedding, module)?)
}
