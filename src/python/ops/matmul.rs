//! `matmul`, and the operator `@`.

use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::ops;
use crate::ops::activation::Activation;
use crate::ops::quantised::Either;
use crate::python::arrays::{Argument, argument};
use crate::python::call::{Any, Call, activation_argument, call_on_tensors, is_operand, tensor_argument};
use crate::python::quant::weights;
use crate::quant::QuantTensor;
use crate::tensor::Tensor;

const NAME: &str = "matmul";

/// `@`, with the tensor on the left, or on the right if `reflected`.
pub(in crate::python) fn call_matmul(
    py: Python<'_>,
    tensor: &Tensor,
    other: &Bound<'_, PyAny>,
    reflected: bool,
) -> PyResult<Py<PyAny>> {
    if let Some(w) = weights(other) {
        return multiply_quantised(py, w, Argument::Tensor(tensor.clone()), !reflected, None, None, None);
    }
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

/// `@`, with quantised weights on the left, or on the right if `reflected`.
pub(in crate::python) fn call_quantised(
    py: Python<'_>,
    w: &QuantTensor,
    other: &Bound<'_, PyAny>,
    reflected: bool,
) -> PyResult<Py<PyAny>> {
    if weights(other).is_none() && !is_operand(other)? {
        return Ok(py.NotImplemented());
    }
    let x = dense(other, if reflected { "a" } else { "b" })?;
    multiply_quantised(py, w, x, reflected, None, None, None)
}

/// The operand beside quantised weights.
fn dense(obj: Any<'_, '_>, label: &str) -> PyResult<Argument> {
    if weights(obj).is_some() {
        let message = format!("{NAME}: both operands are quantised; dequantize() one of them");
        return Err(Error::DType(message).into());
    }
    Ok(tensor_argument(argument(obj, NAME, label)?, NAME)?)
}

/// A product with quantised weights, which are on the right if `reflected`.
fn multiply_quantised(
    py: Python<'_>,
    w: &QuantTensor,
    x: Argument,
    reflected: bool,
    activation: Option<Activation>,
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
) -> PyResult<Py<PyAny>> {
    let arguments: SmallVec<[Argument; 2]> = SmallVec::from_iter([Argument::Tensor(w.blocks().clone()), x]);
    Call::new(py, NAME, &arguments, out, device)?.run(arguments, |ready, out| {
        let (w, x) = (Either::Quantised(w), Either::Dense(ready[1].tensor()));
        let (a, b) = if reflected { (x, w) } else { (w, x) };
        ops::quantised::matmul(a, b, activation, out)
    })
}

/// Matrix product, as NumPy's: ``a[..., m, k]`` times ``b[..., k, n]``, leading axes broadcast.
///
/// A vector on the left is a row, one on the right a column; that axis is not in the result. float16 and bfloat16 are
/// multiplied and summed in float32, integers in int32. Transposed and strided operands take no copy. With an
/// ``activation``, such as ``"silu"``, that is applied to the result.
///
/// One operand may be a `QuantTensor`, as in ``matmul(x, w.T)``. The product then has the dtype of the other one; if
/// that is float16, devices with matrix units round the weights to float16, too.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.matmul(np.float32([[1, 2], [3, 4]]), np.float32([[1, 0], [1, 1]]))
/// array([[3., 2.],
///        [7., 4.]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, b, /, *, activation = None, out = None, device = None))]
fn matmul(
    py: Python<'_>,
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    activation: Option<&Bound<'_, PyAny>>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let activation = activation_argument(NAME, activation)?;
    if let Some(w) = weights(a) {
        return multiply_quantised(py, w, dense(b, "b")?, false, activation, out, device);
    }
    if let Some(w) = weights(b) {
        return multiply_quantised(py, w, dense(a, "a")?, true, activation, out, device);
    }
    call_on_tensors(py, NAME, &[(a, "a"), (b, "b")], out, device, |t, out| {
        ops::activated(activation, NAME, t, || ops::matmul(t[0], t[1], out))
    })
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(matmul, module)?)
}
