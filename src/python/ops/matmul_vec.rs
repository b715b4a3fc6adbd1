//! `matmul_vec`, and the operator `@`.

use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::ops;
use crate::python::arrays::{Argument, argument};
use crate::python::call::{Call, call_on_tensors, is_operand, tensor_argument};
use crate::shape::show;
use crate::tensor::Tensor;

/// `@`: a matrix, or a stack of them, times a vector.
pub(in crate::python) fn call_matmul(
    py: Python<'_>,
    tensor: &Tensor,
    other: &Bound<'_, PyAny>,
    reflected: bool,
) -> PyResult<Py<PyAny>> {
    const NAME: &str = "matmul_vec";
    if !is_operand(other)? {
        return Ok(py.NotImplemented());
    }
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    arguments.push(Argument::Tensor(tensor.clone()));
    arguments.push(argument(other, NAME, "the other operand")?);
    if reflected {
        arguments.swap(0, 1);
    }
    let axes = |argument: &Argument| match argument {
        Argument::Tensor(tensor) | Argument::Array(tensor) => tensor.shape().len(),
        Argument::Scalar(_) => 0,
    };
    if axes(&arguments[0]) == 1 && axes(&arguments[1]) == 1 {
        return Err(Error::Shape(
            "@: a vector times a vector is not offered; make the left one a matrix of one row, x.reshape(1, -1)".into(),
        )
        .into());
    }
    if let Argument::Tensor(right) | Argument::Array(right) = &arguments[1]
        && right.shape().len() != 1
    {
        return Err(Error::Shape(format!(
            "@: the right operand has shape {}; only a vector can stand there. For stacks of vectors use matmul_vec",
            show(right.shape())
        ))
        .into());
    }
    let arguments: SmallVec<[Argument; 2]> =
        arguments.into_iter().map(|argument| tensor_argument(argument, NAME)).collect::<Result<_>>()?;
    Call::new(py, NAME, &arguments, None, None)?
        .run(arguments, |ready, out| ops::matmul_vec(ready[0].tensor(), ready[1].tensor(), out))
}

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
