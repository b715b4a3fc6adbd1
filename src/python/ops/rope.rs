//! `rope` and `rope_tables`.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use crate::dtype::DType;
use crate::error::Error;
use crate::ops;
use crate::ops::rope::tables_shape;
use crate::python::arrays::{Argument, argument, descriptor};
use crate::python::call::{Any, Call, Given, call_on_tensors, fail_out, int_argument, tensor_argument};
use crate::python::device::PyDevice;
use crate::python::enter;
use crate::python::tensor::PyTensor;
use crate::tensor::Tensor;

/// Rotary position embedding: rotate pairs of elements along the last axis of ``x[..., seq, dim]``.
///
/// ``cos`` and ``sin`` are tables of shape ``[..., seq, rotary_dim / 2]``, as `rope_tables` makes them, which broadcast
/// over the axes of ``x`` before the last. Pair i is ``(x[i], x[i + rotary_dim / 2])``, or ``(x[2 * i], x[2 * i + 1])``
/// with ``interleaved=True``, and ``(a, b)`` becomes ``(a * cos - b * sin, a * sin + b * cos)``. Elements beyond
/// ``rotary_dim`` (by default all are rotated) stay as they are. The result has the dtype of ``x``; arithmetic is in
/// float32.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> cos, sin = gk.rope_tables(np.arange(2), 4)
/// >>> gk.rope(np.float32([[1, 2, 3, 4], [1, 2, 3, 4]]), cos, sin).round(4)
/// array([[ 1.    ,  2.    ,  3.    ,  4.    ],
///        [-1.9841,  1.9599,  2.4624,  4.0198]], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (
        x, cos, sin, /, *, interleaved = Given::Default(false), rotary_dim = None, out = None, device = None
    ),
    text_signature = "(x, cos, sin, /, *, interleaved=False, rotary_dim=None, out=None, device=None)"
)]
#[expect(clippy::too_many_arguments, reason = "they are Python's")]
fn rope(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    cos: &Bound<'_, PyAny>,
    sin: &Bound<'_, PyAny>,
    interleaved: Given<'_, bool>,
    rotary_dim: Option<&Bound<'_, PyAny>>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let interleaved = interleaved.flag("rope", "interleaved")?;
    let rotary_dim = rotary_dim.map(|dim| int_argument("rope", "rotary_dim", dim)).transpose()?;
    call_on_tensors(py, "rope", &[(x, "x"), (cos, "cos"), (sin, "sin")], out, device, |t, out| {
        ops::rope(t[0], t[1], t[2], interleaved, rotary_dim, out)
    })
}

const TABLES: &str = "rope_tables";

/// The tables of `rope`: ``(cos, sin)`` of ``position * theta ** (-2 * i / dim)`` for i below ``dim / 2``.
///
/// Both are float32 and have the shape of ``positions`` and one more axis, of length ``dim / 2``. Positions are
/// integers or floats, also negative ones; up to 2**32 the tables are right to 1e-6. ``out=`` is a tuple of both.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> cos, sin = gk.rope_tables([0, 1_000_000], 4)
/// >>> cos.round(4)
/// array([[ 1.    ,  1.    ],
///        [ 0.9368, -0.9522]], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (positions, dim, /, *, theta = Given::Default(10000.0), out = None, device = None),
    text_signature = "(positions, dim, /, *, theta=10000.0, out=None, device=None)"
)]
fn rope_tables<'py>(
    py: Python<'py>,
    positions: &Bound<'py, PyAny>,
    dim: &Bound<'py, PyAny>,
    theta: Given<'_, f64>,
    out: Option<&Bound<'py, PyAny>>,
    device: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let dim = int_argument(TABLES, "dim", dim)?;
    let theta = theta.float(TABLES, "theta")?;
    let mut positions = tensor_argument(argument(positions, TABLES, "positions")?, TABLES)?;
    let out = match out.filter(|out| !out.is_none()) {
        None => None,
        Some(out) => {
            let (Argument::Tensor(tensor) | Argument::Array(tensor)) = &positions else {
                unreachable!("numbers were made tensors")
            };
            let outputs = Outputs::new(out, &tables_shape(tensor.shape(), dim)?)?;
            if matches!((&positions, &outputs), (Argument::Tensor(_), Outputs::Arrays(_))) {
                return Err(fail_out(TABLES, "a tuple of two Tensors, since an operand is one, not of NumPy arrays"));
            }
            Some((out.cast::<PyTuple>()?.clone(), outputs))
        }
    };
    let own;
    let mut device = device;
    if let Some((_, Outputs::Tensors(tensors))) = &out {
        let cos = &tensors[0];
        // The result goes where the outputs are.
        if let Argument::Array(tensor) = positions {
            positions = Argument::Tensor(enter(py, || tensor.to(cos.device()))?);
        }
        if device.is_none() {
            own = Py::new(py, PyDevice(cos.device().clone()))?.into_bound(py).into_any();
            device = Some(&own);
        }
    }
    let arguments = SmallVec::from_iter([positions]);
    let tables = Call::new(py, TABLES, &arguments, None, device)?
        .run(arguments, |ready, _| ops::rope_tables(ready[0].tensor(), dim, theta))?
        .into_bound(py);
    let [cos, sin] = [tables.get_item(0)?, tables.get_item(1)?];
    match out {
        None => PyTuple::new(py, [cos, sin]),
        Some((object, outputs)) => {
            outputs.fill(py, &[cos, sin])?;
            Ok(object)
        }
    }
}

/// `out=` of two tables, after all checks.
enum Outputs<'py> {
    Tensors(Vec<Tensor>),
    Arrays([Bound<'py, PyAny>; 2]),
}

impl<'py> Outputs<'py> {
    fn new(out: Any<'_, 'py>, shape: &[usize]) -> PyResult<Self> {
        let overlap =
            || PyErr::from(Error::Argument(format!("{TABLES}: the two of out= share memory; give each table its own")));
        let fail = || {
            PyErr::from(Error::Argument(format!(
                "{TABLES}: out= must be a tuple (cos, sin) of two tensors or two NumPy arrays"
            )))
        };
        let items: SmallVec<[Bound<'py, PyAny>; 2]> = out.cast::<PyTuple>().map_err(|_| fail())?.iter().collect();
        let [cos, sin] = items.into_inner().map_err(|_| fail())?;
        if let (Ok(cos), Ok(sin)) = (cos.cast_exact::<PyTensor>(), sin.cast_exact::<PyTensor>()) {
            let tensors = vec![cos.get().0.clone(), sin.get().0.clone()];
            for tensor in &tensors {
                ops::check_out(TABLES, tensor.shape(), tensor.dtype().name(), shape, DType::Float32)?;
                ops::check_writable(TABLES, "out=", tensor)?;
            }
            tensors[0].device().check_same(tensors[1].device(), TABLES, ["out[0]", "out[1]"])?;
            if tensors[0].shares_elements(&tensors[1]) {
                return Err(overlap());
            }
            return Ok(Self::Tensors(tensors));
        }
        for item in [&cos, &sin] {
            let array = item.cast::<PyUntypedArray>().map_err(|_| fail())?;
            let own = array.dtype().is_equiv_to(&descriptor(out.py(), DType::Float32)?);
            let dtype = if own { "float32".into() } else { array.dtype().str()?.to_string() };
            ops::check_out(TABLES, array.shape(), &dtype, shape, DType::Float32)?;
            if !item.getattr("flags")?.getattr("writeable")?.is_truthy()? {
                return Err(Error::Argument(format!("{TABLES}: out= is read-only; give a writable array")).into());
            }
        }
        if out.py().import("numpy")?.call_method1("shares_memory", (&cos, &sin))?.is_truthy()? {
            return Err(overlap());
        }
        Ok(Self::Arrays([cos, sin]))
    }

    /// Copies the results into the outputs.
    fn fill(self, py: Python<'py>, results: &[Bound<'py, PyAny>; 2]) -> PyResult<()> {
        match self {
            Self::Tensors(tensors) => {
                for (tensor, result) in tensors.iter().zip(results) {
                    let result = result.cast_exact::<PyTensor>()?.get().0.clone();
                    enter(py, || ops::assign(tensor, (&result).into()))?;
                }
            }
            Self::Arrays(arrays) => {
                for (array, result) in arrays.iter().zip(results) {
                    py.import("numpy")?.call_method1("copyto", (array, result))?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(rope, module)?)?;
    module.add_function(wrap_pyfunction!(rope_tables, module)?)
}
