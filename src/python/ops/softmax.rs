//! `softmax` and `log_softmax`.

use pyo3::prelude::*;

use crate::ops;
use crate::python::call::{axis_argument, call_on_tensors};

/// ``exp(x)`` along an axis, divided by its sum there, with the largest element subtracted first.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.softmax(np.float32([1000, 1001])).round(4)
/// array([0.2689, 0.7311], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = -1, *, out = None, device = None),
    text_signature = "(x, /, axis=-1, *, out=None, device=None)"
)]
fn softmax(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = softmax_axis)] axis: isize,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    call_on_tensors(py, "softmax", &[(x, "x")], out, device, |t, out| ops::softmax::softmax(t[0], axis, out))
}

/// The logarithm of ``softmax``, without its rounding of small results to 0.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.log_softmax(np.float32([0, 1000]))
/// array([-1000.,     0.], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (x, /, axis = -1, *, out = None, device = None),
    text_signature = "(x, /, axis=-1, *, out=None, device=None)"
)]
fn log_softmax(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = log_softmax_axis)] axis: isize,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    call_on_tensors(py, "log_softmax", &[(x, "x")], out, device, |t, out| ops::softmax::log_softmax(t[0], axis, out))
}

fn softmax_axis(axis: &Bound<'_, PyAny>) -> PyResult<isize> {
    axis_argument("softmax", axis)
}

fn log_softmax_axis(axis: &Bound<'_, PyAny>) -> PyResult<isize> {
    axis_argument("log_softmax", axis)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(softmax, module)?)?;
    module.add_function(wrap_pyfunction!(log_softmax, module)?)
}
