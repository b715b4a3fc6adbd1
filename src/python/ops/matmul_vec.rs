//! `matmul_vec`.

use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::ops;
use crate::python::arrays::{Argument, argument};
use crate::python::call::{Call, activation_argument, call_on_tensors, tensor_argument};
use crate::python::quant::weights;

const NAME: &str = "matmul_vec";

/// Matrix times vector, ``w[..., n, k]`` times ``x[..., k]``: leading axes broadcast.
///
/// float16, bfloat16 and quantised matrices are read as they are and summed in float32; integers are summed in int32.
/// With an ``activation``, such as ``"silu"``, that is applied to the result. The product of a quantised matrix has the
/// dtype of x. On the CPU device it rounds x to 8 bits, which changes it by about 0.6 % of its length, unless
/// ``config.int8_activations`` is False.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.matmul_vec(np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([1, 2, 3]))
/// array([14., 32.], dtype=float32)
#[pyfunction]
#[pyo3(signature = (w, x, /, *, activation = None, out = None, device = None))]
fn matmul_vec(
    py: Python<'_>,
    w: &Bound<'_, PyAny>,
    x: &Bound<'_, PyAny>,
    activation: Option<&Bound<'_, PyAny>>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let activation = activation_argument(NAME, activation)?;
    if let Some(w) = weights(w) {
        let x = tensor_argument(argument(x, NAME, "x")?, NAME)?;
        let arguments: SmallVec<[Argument; 2]> = SmallVec::from_iter([Argument::Tensor(w.blocks().clone()), x]);
        return Call::new(py, NAME, &arguments, out, device)?
            .run(arguments, |ready, out| ops::quantised::matmul_vec(w, ready[1].tensor(), activation, out));
    }
    call_on_tensors(py, NAME, &[(w, "w"), (x, "x")], out, device, |t, out| {
        ops::activated(activation, NAME, t, || ops::matmul_vec(t[0], t[1], out))
    })
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(matmul_vec, module)?)
}
