//! `cumsum`.

use pyo3::prelude::*;

use crate::ops;
use crate::python::call::{call_on_tensors, optional_axis_argument};

/// Running sums along an axis, or over the flattened ``x`` if the axis is None.
///
/// Floats keep their dtype and are summed in float32 at least; uint32 stays uint32, and other integers and bools give
/// int32, which wraps around.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.cumsum(np.float32([[1, 2], [3, 4]]), axis=0)
/// array([[1., 2.],
///        [4., 6.]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, /, axis = None, *, out = None, device = None))]
fn cumsum(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = cumsum_axis)] axis: Option<isize>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    call_on_tensors(py, "cumsum", &[(x, "x")], out, device, |tensors, out| ops::cumsum(tensors[0], axis, out))
}

fn cumsum_axis(axis: &Bound<'_, PyAny>) -> PyResult<Option<isize>> {
    optional_axis_argument("cumsum", axis)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(cumsum, module)?)
}
