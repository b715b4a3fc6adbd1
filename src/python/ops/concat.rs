//! `concat` and `stack`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString};
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::ops;
use crate::python::arrays::{Argument, argument};
use crate::python::call::{Any, Call, Ready, axis_argument, optional_axis_argument, tensor_argument};
use crate::tensor::Tensor;

/// Arrays or tensors one after another along an axis that they have, or all of them flattened if it is None.
///
/// Shapes may differ along that axis only. The result has the dtype to which all of theirs promote.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.concat([np.int32([[1, 2]]), np.int32([[3, 4], [5, 6]])])
/// array([[1, 2],
///        [3, 4],
///        [5, 6]], dtype=int32)
#[pyfunction]
#[pyo3(
    signature = (tensors, /, axis = Some(0), *, out = None, device = None),
    text_signature = "(tensors, /, axis=0, *, out=None, device=None)"
)]
fn concat(
    py: Python<'_>,
    tensors: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = concat_axis)] axis: Option<isize>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    call(py, "concat", tensors, out, device, move |tensors, out| ops::concat(tensors, axis, out))
}

/// Arrays or tensors of one shape along a new axis, which is at ``axis`` in the result.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.stack([np.int32([1, 2]), np.int32([3, 4])], axis=1)
/// array([[1, 3],
///        [2, 4]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (tensors, /, axis = 0, *, out = None, device = None))]
fn stack(
    py: Python<'_>,
    tensors: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = stack_axis)] axis: isize,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    call(py, "stack", tensors, out, device, move |tensors, out| ops::stack(tensors, axis, out))
}

fn call(
    py: Python<'_>,
    name: &'static str,
    tensors: Any<'_, '_>,
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
    compute: impl FnOnce(&[&Tensor], Option<&Tensor>) -> Result<Tensor> + Send,
) -> PyResult<Py<PyAny>> {
    let fail = || {
        let kind = tensors.get_type().name().map_or_else(|_| "object".into(), |name| name.to_string());
        PyErr::from(Error::DType(format!("{name}: tensors is a {kind}; give a list of arrays or tensors")))
    };
    let unordered =
        tensors.is_instance_of::<PyString>() || tensors.is_instance_of::<PyDict>() || tensors.is_instance_of::<PySet>();
    if unordered {
        return Err(fail());
    }
    let arguments = tensors
        .try_iter()
        .map_err(|_| fail())?
        .enumerate()
        .map(|(index, item)| Ok(tensor_argument(argument(&item?, name, &format!("tensors[{index}]"))?, name)?))
        .collect::<PyResult<SmallVec<[Argument; 2]>>>()?;
    Call::new(py, name, &arguments, out, device)?.run(arguments, |ready, out| {
        let tensors: Vec<&Tensor> = ready.iter().map(Ready::tensor).collect();
        compute(&tensors, out)
    })
}

fn concat_axis(axis: &Bound<'_, PyAny>) -> PyResult<Option<isize>> {
    optional_axis_argument("concat", axis)
}

fn stack_axis(axis: &Bound<'_, PyAny>) -> PyResult<isize> {
    axis_argument("stack", axis)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(concat, module)?)?;
    module.add_function(wrap_pyfunction!(stack, module)?)
}
