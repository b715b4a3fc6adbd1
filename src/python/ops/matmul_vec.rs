//! `matmul_vec`.

use pyo3::prelude::*;

use crate::ops;
use crate::python::call::call_on_tensors;

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
    call_on_tensors(py, "matmul_vec", &[(w, "w"), (x, "x")], out, device, |t, out| ops::matmul_vec(t[0], t[1], out))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(matmul_vec, module)?)
}
