//! `matmul`, and the operator `@`.

use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::error::Result;
use crate::ops;
use crate::python::arrays::{Argument, argument};
use crate::python::call::{Call, call_on_tensors, is_operand, tensor_argument};
use crate::tensor::Tensor;

const NAME: &str = "matmul";

/// `@`, with the tensor on the left, or on the right if `reflected`.
pub(in crate::python) fn call_matmul(
    py: Python<'_>,
    tensor: &Tensor,
    other: &Bound<'_, PyAny>,
    reflected: bool,
) -> PyResult<Py<PyAny>> {
    if !is_operand(other)? {
        return Ok(py.NotImplemented());
    }
    let label = if reflected { "a" } else { "b" };
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    arguments.push(Argument::Tensor(tensor.clone()));
    arguments.push(argument(other, NAME, label)?);
    if reflected {
        arguments.swap(0, 1);
    }
    let arguments: SmallVec<[Argument; 2]> =
        arguments.into_iter().map(|argument| tensor_argument(argument, NAME)).collect::<Result<_>>()?;
    Call::new(py, NAME, &arguments, None, None)?
        .run(arguments, |ready, out| ops::matmul(ready[0].tensor(), ready[1].tensor(), out))
}

/// Matrix product, as NumPy's: ``a[..., m, k]`` times ``b[..., k, n]``, leading axes broadcast.
///
/// A vector on the left is a row, one on the right a column; that axis is not in the result. float16 and bfloat16 are
/// multiplied and summed in float32, integers in int32. Transposed and strided operands take no copy.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.matmul(np.float32([[1, 2], [3, 4]]), np.float32([[1, 0], [1, 1]]))
/// array([[3., 2.],
///        [7., 4.]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, b, /, *, out = None, device = None))]
fn matmul(
    py: Python<'_>,
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    call_on_tensors(py, NAME, &[(a, "a"), (b, "b")], out, device, |t, out| ops::matmul(t[0], t[1], out))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(matmul, module)?)
}
