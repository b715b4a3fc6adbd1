//! Functions of the form of an array: views of tensors by our own means, of NumPy's arrays by NumPy's; and copies.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use crate::device::select::cpu;
use crate::error::Result;
use crate::ops;
use crate::ops::views::{check_reshape, expanded, matrix_transposition, permutation, squeezed};
use crate::python::arrays::{Argument, alias, argument, argument_as, check_dtype, dtype_argument, plain_array};
use crate::python::call::axis_argument;
use crate::python::enter;
use crate::python::tensor::{PyTensor, axes_of, fill_in, give, lengths_of, shape_argument};
use crate::shape::{Layout, checked_len};
use crate::tensor::Tensor;

/// What the functions here take: a tensor, or an array that NumPy deals with.
enum Form<'py> {
    Tensor(Tensor),
    Array(Bound<'py, PyUntypedArray>),
}

impl<'py> Form<'py> {
    fn new(x: &Bound<'py, PyAny>, name: &'static str) -> PyResult<Self> {
        if let Ok(tensor) = x.cast_exact::<PyTensor>() {
            return Ok(Self::Tensor(tensor.get().0.clone()));
        }
        let array = if let Some(array) = plain_array(x, name, "x")? {
            array
        } else {
            let tensor = match argument(x, name, "x")? {
                Argument::Scalar(scalar) => ops::full(name, &cpu()?, &[], scalar, scalar.own_dtype())?,
                Argument::Tensor(tensor) | Argument::Array(tensor) => tensor,
            };
            give(x.py(), tensor, true)?.into_bound(x.py()).cast_into()?
        };
        check_dtype(&array, name, "x")?;
        Ok(Self::Array(array))
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.shape(),
            Self::Array(array) => array.shape(),
        }
    }

    /// The axes in another order.
    fn permuted(&self, py: Python<'py>, order: &[usize]) -> PyResult<Py<PyAny>> {
        match self {
            Self::Tensor(tensor) => give(py, tensor.with_layout(tensor.layout().permuted(order)), false),
            Self::Array(array) => Ok(array.call_method1("transpose", (PyTuple::new(py, order)?,))?.unbind()),
        }
    }

    /// A view whose layout follows from that of `x`.
    fn view(&self, py: Python<'py>, layout: impl Fn(&Layout) -> Result<Layout>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Tensor(tensor) => give(py, tensor.with_layout(layout(tensor.layout())?), false),
            Self::Array(array) => {
                let shape = layout(&Layout::contiguous(array.shape()))?.shape;
                Ok(array.call_method1("reshape", (PyTuple::new(py, shape)?,))?.unbind())
            }
        }
    }
}

/// One integer or a sequence of them, if there is an argument.
fn axes_argument(axes: Option<&Bound<'_, PyAny>>, name: &str) -> PyResult<Option<SmallVec<[isize; 6]>>> {
    axes.map(|axes| axes_of(axes, name)).transpose()
}

/// A view with the axes in the order that ``axes`` gives; without it, in reverse order.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.transpose(np.zeros((2, 3, 4), np.int8), (1, 0, 2)).shape
/// (3, 2, 4)
#[pyfunction]
#[pyo3(signature = (x, /, axes = None))]
fn transpose(py: Python<'_>, x: &Bound<'_, PyAny>, axes: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
    let axes = axes_argument(axes, "transpose")?;
    let form = Form::new(x, "transpose")?;
    form.permuted(py, &permutation("transpose", form.shape(), axes.as_deref())?)
}

/// A view with the axes in the order that ``axes`` gives, as `transpose` makes it.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.permute_dims(np.zeros((2, 3, 4), np.int8), (2, 0, 1)).shape
/// (4, 2, 3)
#[pyfunction]
#[pyo3(signature = (x, /, axes))]
fn permute_dims(py: Python<'_>, x: &Bound<'_, PyAny>, axes: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let axes = axes_argument(Some(axes), "permute_dims")?;
    let form = Form::new(x, "permute_dims")?;
    form.permuted(py, &permutation("permute_dims", form.shape(), axes.as_deref())?)
}

/// A view in which the last two axes have changed places.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.matrix_transpose(np.zeros((2, 3, 4), np.int8)).shape
/// (2, 4, 3)
#[pyfunction]
#[pyo3(signature = (x, /))]
fn matrix_transpose(py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let form = Form::new(x, "matrix_transpose")?;
    form.permuted(py, &matrix_transposition("matrix_transpose", form.shape())?)
}

/// The same elements under another shape, one length of which may be -1. A view where that is possible.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.reshape(np.arange(6, dtype=np.int32), (2, -1))
/// array([[0, 1, 2],
///        [3, 4, 5]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (x, /, shape))]
fn reshape(py: Python<'_>, x: &Bound<'_, PyAny>, shape: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let lengths = lengths_of(shape, "reshape")?;
    let form = Form::new(x, "reshape")?;
    let shape = fill_in(&lengths, form.shape().iter().product(), form.shape())?;
    match form {
        Form::Tensor(tensor) => give(py, enter(py, || tensor.reshape(&shape))?, false),
        Form::Array(array) => {
            check_reshape(array.shape(), &shape, 8)?;
            Ok(array.call_method1("reshape", (PyTuple::new(py, shape)?,))?.unbind())
        }
    }
}

/// A read-only view stretched to a shape, by the rules of broadcasting.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.broadcast_to(np.int32([1, 2]), (2, 2))
/// array([[1, 2],
///        [1, 2]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (x, /, shape))]
fn broadcast_to(py: Python<'_>, x: &Bound<'_, PyAny>, shape: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    const NAME: &str = "broadcast_to";
    let shape = shape_argument(shape, NAME)?;
    match Form::new(x, NAME)? {
        Form::Tensor(tensor) => {
            checked_len(&shape, tensor.dtype().size(), NAME)?;
            give(py, tensor.with_layout(tensor.layout().broadcast_to(&shape, NAME)?), false)
        }
        Form::Array(array) => {
            checked_len(&shape, 8, NAME)?;
            Layout::contiguous(array.shape()).broadcast_to(&shape, NAME)?;
            Ok(py.import("numpy")?.call_method1("broadcast_to", (array, PyTuple::new(py, shape)?))?.unbind())
        }
    }
}

/// A view with an axis of length 1 more, which is at ``axis`` in the result.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.expand_dims(np.zeros((2, 3), np.int8), axis=1).shape
/// (2, 1, 3)
#[pyfunction]
#[pyo3(signature = (x, /, axis = 0))]
fn expand_dims(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = expand_dims_axis)] axis: isize,
) -> PyResult<Py<PyAny>> {
    Form::new(x, "expand_dims")?.view(py, |layout| expanded("expand_dims", layout, axis))
}

/// A view without axes of length 1: the named ones, or all of them.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.squeeze(np.zeros((1, 3, 1), np.int8), axis=0).shape
/// (3, 1)
#[pyfunction]
#[pyo3(signature = (x, /, axis = None))]
fn squeeze(py: Python<'_>, x: &Bound<'_, PyAny>, axis: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
    let axes = axes_argument(axis, "squeeze")?;
    Form::new(x, "squeeze")?.view(py, |layout| squeezed("squeeze", layout, axes.as_deref()))
}

/// The elements in another dtype. With ``copy=False`` ``x`` itself, if it has that dtype already.
///
/// Floats become integers by dropping the fraction; what does not fit becomes the nearest that does, and NaN becomes 0.
/// Integers wrap around when narrowed, and anything but zero becomes true.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.astype(np.float32([1.7, -1.7, 1000]), "int8")
/// array([  1,  -1, 127], dtype=int8)
#[pyfunction]
#[pyo3(signature = (x, dtype, /, *, copy = true))]
fn astype(py: Python<'_>, x: &Bound<'_, PyAny>, dtype: &Bound<'_, PyAny>, copy: bool) -> PyResult<Py<PyAny>> {
    const NAME: &str = "astype";
    let dtype = dtype_argument(dtype, NAME)?;
    let array = plain_array(x, NAME, "x")?;
    let shared = array.as_ref().map(alias).transpose()?.flatten();
    match (shared, argument_as(x, NAME, "x", Some(dtype))?) {
        (Some(tensor), _) if tensor.dtype() == dtype && !copy => {
            Ok(array.map_or_else(|| x.clone(), Bound::into_any).unbind())
        }
        (shared, Argument::Array(tensor)) => {
            // What NumPy converted is a copy already.
            let copy = copy && shared.is_some();
            give(py, enter(py, || ops::astype(&tensor, dtype, copy))?, true)
        }
        (_, Argument::Tensor(tensor)) if tensor.dtype() == dtype && !copy => Ok(x.clone().unbind()),
        (_, Argument::Tensor(tensor)) => give(py, enter(py, || ops::astype(&tensor, dtype, copy))?, false),
        (_, Argument::Scalar(scalar)) => {
            scalar.check(dtype, NAME)?;
            give(py, ops::full(NAME, &cpu()?, &[], scalar, dtype)?, true)
        }
    }
}

/// A copy of an array or tensor, with memory of its own.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> x = np.float32([1, 2])
/// >>> gk.copy(x) is x
/// False
#[pyfunction]
#[pyo3(signature = (x, /))]
fn copy(py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    const NAME: &str = "copy";
    match argument(x, NAME, "x")? {
        Argument::Tensor(tensor) => give(py, enter(py, || ops::copy(&tensor))?, false),
        Argument::Array(tensor) => give(py, enter(py, || ops::copy(&tensor))?, true),
        Argument::Scalar(scalar) => give(py, ops::full(NAME, &cpu()?, &[], scalar, scalar.own_dtype())?, true),
    }
}

fn expand_dims_axis(axis: &Bound<'_, PyAny>) -> PyResult<isize> {
    axis_argument("expand_dims", axis)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for function in [
        wrap_pyfunction!(transpose, module)?,
        wrap_pyfunction!(permute_dims, module)?,
        wrap_pyfunction!(matrix_transpose, module)?,
        wrap_pyfunction!(reshape, module)?,
        wrap_pyfunction!(broadcast_to, module)?,
        wrap_pyfunction!(expand_dims, module)?,
        wrap_pyfunction!(squeeze, module)?,
        wrap_pyfunction!(astype, module)?,
        wrap_pyfunction!(copy, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}
