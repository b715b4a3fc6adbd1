//! Norms.

use pyo3::prelude::*;
use pyo3::types::PyBool;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::ops::norm;
use crate::python::call::{Any, Given, call_on_tensors};
use crate::tensor::Tensor;

/// ``x * weight / sqrt(mean(x²) + eps) + bias`` over the last axis.
///
/// Computed in float32; the squares neither overflow nor vanish. The result has the dtype that x, weight and bias
/// promote to.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.rms_norm(np.float32([1, 2, 3, 4])).round(4)
/// array([0.3651, 0.7303, 1.0954, 1.4606], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (x, /, weight = None, *, bias = None, eps = Given::Default(1e-5), out = None, device = None),
    text_signature = "(x, /, weight=None, *, bias=None, eps=1e-05, out=None, device=None)"
)]
fn rms_norm(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    bias: Option<&Bound<'_, PyAny>>,
    eps: Given<'_, f64>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let eps = eps.float("rms_norm", "eps")?;
    call(py, "rms_norm", x, weight, bias, out, device, |x, weight, bias, out| norm::rms_norm(x, weight, bias, eps, out))
}

/// ``(x - mean(x)) / sqrt(var(x) + eps) * weight + bias`` over the last axis.
///
/// Computed in float32 from differences, so that numbers far from 0 keep their variance.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.layer_norm(np.float32([10001, 10002, 10003])).round(4)
/// array([-1.2247,  0.    ,  1.2247], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (x, /, weight = None, bias = None, *, eps = Given::Default(1e-5), out = None, device = None),
    text_signature = "(x, /, weight=None, bias=None, *, eps=1e-05, out=None, device=None)"
)]
fn layer_norm(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    bias: Option<&Bound<'_, PyAny>>,
    eps: Given<'_, f64>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let eps = eps.float("layer_norm", "eps")?;
    call(py, "layer_norm", x, weight, bias, out, device, |x, weight, bias, out| {
        norm::layer_norm(x, weight, bias, eps, out)
    })
}

/// As ``layer_norm``, over the elements of each of ``groups`` groups of neighbouring channels.
///
/// The channels are axis 1 of x, and weight and bias have an element for each channel.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.group_norm(np.float32([[1, 3, 10, 30]]), 2).round(4)
/// array([[-1.,  1., -1.,  1.]], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (x, /, groups, weight = None, bias = None, *, eps = Given::Default(1e-5), out = None, device = None),
    text_signature = "(x, /, groups, weight=None, bias=None, *, eps=1e-05, out=None, device=None)"
)]
#[expect(clippy::too_many_arguments, reason = "the arguments in Python")]
fn group_norm(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    groups: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    bias: Option<&Bound<'_, PyAny>>,
    eps: Given<'_, f64>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let count = match groups.extract::<usize>() {
        Ok(count) if count > 0 && !groups.is_instance_of::<PyBool>() => count,
        _ => {
            let shown = groups.repr()?;
            return Err(Error::Argument(format!("group_norm: groups={shown} must be a positive integer")).into());
        }
    };
    let eps = eps.float("group_norm", "eps")?;
    call(py, "group_norm", x, weight, bias, out, device, |x, weight, bias, out| {
        norm::group_norm(x, count, weight, bias, eps, out)
    })
}

/// ``x / sqrt(sum(x²) + eps)`` over the last axis.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.l2_norm(np.float32([3, 4])).round(4)
/// array([0.6, 0.8], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (x, /, *, eps = Given::Default(1e-12), out = None, device = None),
    text_signature = "(x, /, *, eps=1e-12, out=None, device=None)"
)]
fn l2_norm(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    eps: Given<'_, f64>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let eps = eps.float("l2_norm", "eps")?;
    call_on_tensors(py, "l2_norm", &[(x, "x")], out, device, |t, out| norm::l2_norm(t[0], eps, out))
}

/// Calls an operation on x and on those of weight and bias that are there.
#[expect(clippy::too_many_arguments, reason = "the arguments in Python, and what to call")]
fn call(
    py: Python<'_>,
    name: &'static str,
    x: Any<'_, '_>,
    weight: Option<Any<'_, '_>>,
    bias: Option<Any<'_, '_>>,
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
    compute: impl FnOnce(&Tensor, Option<&Tensor>, Option<&Tensor>, Option<&Tensor>) -> Result<Tensor> + Send,
) -> PyResult<Py<PyAny>> {
    let mut operands: SmallVec<[(Any<'_, '_>, &str); 3]> = SmallVec::new();
    operands.push((x, "x"));
    operands.extend(weight.map(|weight| (weight, "weight")));
    operands.extend(bias.map(|bias| (bias, "bias")));
    let has_weight = weight.is_some();
    call_on_tensors(py, name, &operands, out, device, |tensors, out| {
        let (weight, bias) = match (tensors, has_weight) {
            ([_, weight, rest @ ..], true) => (Some(*weight), rest.first().copied()),
            ([_, rest @ ..], _) => (None, rest.first().copied()),
            ([], _) => unreachable!("x is there"),
        };
        compute(tensors[0], weight, bias, out)
    })
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(rms_norm, module)?)?;
    module.add_function(wrap_pyfunction!(layer_norm, module)?)?;
    module.add_function(wrap_pyfunction!(group_norm, module)?)?;
    module.add_function(wrap_pyfunction!(l2_norm, module)?)
}
