//! `attention`, `attention_scores` and `weighted_sum`.

use pyo3::prelude::*;
use pyo3::types::PyBool;
use smallvec::SmallVec;

use crate::ops::{self, attention::Options};
use crate::python::call::{Any, Given, call_on_tensors, optional_float_argument, unfit};

/// How well queries match keys: ``scale * (q @ k.T)``, of ``q[..., heads, t, d]`` and ``k[..., heads, n, d]``.
///
/// With fewer axes than ``k``, ``q[..., heads, d]`` has one query for each head. There may be fewer heads of keys than of
/// queries, if they divide. ``scale`` is ``1 / sqrt(d)`` unless given.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.attention_scores(np.float32([1, 2]), np.float32([[1, 0], [0, 1], [1, 1]]), scale=1)
/// array([1., 2., 3.], dtype=float32)
#[pyfunction]
#[pyo3(signature = (q, k, /, *, scale = None, out = None, device = None))]
fn attention_scores(
    py: Python<'_>,
    q: &Bound<'_, PyAny>,
    k: &Bound<'_, PyAny>,
    scale: Option<&Bound<'_, PyAny>>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let scale = optional_float_argument("attention_scores", "scale", scale)?;
    call_on_tensors(py, "attention_scores", &[(q, "q"), (k, "k")], out, device, |t, out| {
        ops::attention_scores(t[0], t[1], scale, out)
    })
}

/// Values added up by weights: ``weights[..., heads, t, n] @ values[..., heads, n, d]``.
///
/// With fewer axes than ``values``, ``weights[..., heads, n]`` has one row for each head. There may be fewer heads of
/// values than of weights, if they divide.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.weighted_sum(np.float32([0.25, 0.75]), np.float32([[0, 4], [8, 0]]))
/// array([6., 1.], dtype=float32)
#[pyfunction]
#[pyo3(signature = (weights, values, /, *, out = None, device = None))]
fn weighted_sum(
    py: Python<'_>,
    weights: &Bound<'_, PyAny>,
    values: &Bound<'_, PyAny>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    call_on_tensors(py, "weighted_sum", &[(weights, "weights"), (values, "values")], out, device, |t, out| {
        ops::weighted_sum(t[0], t[1], out)
    })
}

const NAME: &str = "attention";

/// ``softmax(scale * (q @ k.T)) @ v`` without a matrix of all scores in memory.
///
/// ``q`` is ``[..., heads, t, d]``, ``k`` is ``[..., heads, s, d]`` and ``v`` is ``[..., heads, s, dv]``; there may be
/// fewer heads of keys and values than of queries, if they divide. ``k`` and ``v`` may be views into a larger cache.
/// A query that sees no key gets zeros. All of these combine:
///
/// - ``mask``, which broadcasts to ``[..., heads, t, s]``: bools, True where a key is visible, or floats to be added.
/// - ``causal``: query i sees the keys up to ``s - t + i``, so that the last query sees all of them.
/// - ``window=(left, right)``: a query sees so many keys to either side of its own place; -1 for no limit.
/// - ``scale``: ``1 / sqrt(d)`` unless given. ``softcap``: scores become ``softcap * tanh(score / softcap)``.
/// - ``kv_length``: how many of the keys count, a number or one for each of the batch; ``causal`` and ``window`` count
///   from there.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> q, k = np.zeros((1, 2, 4), np.float32), np.ones((1, 2, 4), np.float32)
/// >>> gk.attention(q, k, np.float32([[[2], [4]]]), causal=True)
/// array([[[2.],
///         [3.]]], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (
        q, k, v, /, *, mask = None, causal = Given::Default(false), window = None, scale = None, softcap = None,
        kv_length = None, out = None, device = None
    ),
    text_signature = "(q, k, v, /, *, mask=None, causal=False, window=None, scale=None, softcap=None, kv_length=None, out=None, device=None)"
)]
#[expect(clippy::too_many_arguments, reason = "they are Python's")]
fn attention(
    py: Python<'_>,
    q: &Bound<'_, PyAny>,
    k: &Bound<'_, PyAny>,
    v: &Bound<'_, PyAny>,
    mask: Option<&Bound<'_, PyAny>>,
    causal: Given<'_, bool>,
    window: Option<&Bound<'_, PyAny>>,
    scale: Option<&Bound<'_, PyAny>>,
    softcap: Option<&Bound<'_, PyAny>>,
    kv_length: Option<&Bound<'_, PyAny>>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let causal = causal.flag(NAME, "causal")?;
    let scale = optional_float_argument(NAME, "scale", scale)?;
    let softcap = optional_float_argument(NAME, "softcap", softcap)?;
    let window = window.filter(|window| !window.is_none()).map_or(Ok([None; 2]), window_argument)?;
    let lengths = kv_length.filter(|lengths| !lengths.is_none()).map(lengths_argument).transpose()?;
    let mut operands: SmallVec<[(Any<'_, '_>, &str); 4]> = SmallVec::from_slice(&[(q, "q"), (k, "k"), (v, "v")]);
    operands.extend(mask.filter(|mask| !mask.is_none()).map(|mask| (mask, "mask")));
    call_on_tensors(py, NAME, &operands, out, device, |t, out| {
        let kv_length = lengths.as_deref();
        let options = Options { mask: t.get(3).copied(), causal, window, scale, softcap, kv_length };
        ops::attention(t[0], t[1], t[2], &options, out)
    })
}

/// `window=`: a pair of whole numbers, of which -1 is none.
fn window_argument(window: Any<'_, '_>) -> PyResult<[Option<usize>; 2]> {
    let sides = window.extract::<(isize, isize)>().ok().filter(|&(left, right)| left >= -1 && right >= -1);
    let Some((left, right)) = sides else {
        let wanted = "two whole numbers (left, right), -1 where there is no limit";
        return Err(unfit(NAME, "window", window, wanted));
    };
    Ok([left, right].map(|side| usize::try_from(side).ok()))
}

/// `kv_length=`: a whole number, or a sequence of them.
fn lengths_argument(lengths: Any<'_, '_>) -> PyResult<SmallVec<[usize; 4]>> {
    let number = |number: Any<'_, '_>| {
        let found = number.extract::<usize>().ok().filter(|_| !number.is_instance_of::<PyBool>());
        found.ok_or_else(|| unfit(NAME, "kv_length", lengths, "a whole number from 0 on, or one for each of the batch"))
    };
    // What arrays and tensors hold, as a list or a number of Python's.
    let plain = if lengths.hasattr("tolist")? { lengths.call_method0("tolist")? } else { lengths.clone() };
    match plain.try_iter() {
        Ok(items) => items.map(|item| number(&item?)).collect(),
        Err(_) => Ok(SmallVec::from_slice(&[number(&plain)?])),
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(attention, module)?)?;
    module.add_function(wrap_pyfunction!(attention_scores, module)?)?;
    module.add_function(wrap_pyfunction!(weighted_sum, module)?)
}
