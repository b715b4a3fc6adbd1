//! `gpukern.Tensor`, and the functions that make tensors.

use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::basic::CompareOp;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyEllipsis, PyList, PySlice, PyTuple};
use smallvec::SmallVec;

use super::arrays::{
    self, Argument, argument_as, descriptor, dtype_argument, from_array, from_object, plain_array, python_scalar,
    to_array, to_new_array,
};
use super::call::{Given, axis_beyond};
use super::device::{PyDevice, device_argument, device_for_new, named_device};
use super::enter;
use super::ops::elementwise::call_binary;
use super::ops::matmul::call_matmul;
use super::ops::reduce::call as reduce;
use crate::device::Device;
use crate::device::select::cpu;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::ops::reduce::Reduction;
use crate::ops::views::{self, matrix_transposition, permutation};
use crate::ops::{self, elementwise};
use crate::shape::{Index, show};
use crate::tensor::{Storage, Tensor};

/// An array on a device. Made by `asarray`, `zeros` and the like, and by every operation on tensors.
///
/// Slicing gives views. Only ``out=``, slice assignment and kernels of your own change a tensor.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> t = gk.asarray([[1.0, 2.0], [3.0, 4.0]], device="cpu")
/// >>> (2 * t[1]).numpy()
/// array([6., 8.], dtype=float32)
#[pyclass(frozen, module = "gpukern", name = "Tensor")]
pub(super) struct PyTensor(pub(super) Tensor);

impl PyTensor {
    /// The only element as a Python number; `name` is what the caller called.
    fn only_element<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        if self.0.len() != 1 {
            return Err(Error::Shape(format!(
                "{name}: only a tensor of one element is a number; this one has shape {}",
                show(self.0.shape())
            ))
            .into());
        }
        let array = to_new_array(py, &self.0)?;
        // NumPy has no item() of its own for bfloat16.
        if self.0.dtype() == DType::BFloat16 {
            return array.call_method1("astype", ("float32",))?.call_method0("item");
        }
        array.call_method0(intern!(py, "item"))
    }
}

#[pymethods]
impl PyTensor {
    /// NumPy's operators leave it to the tensor to compute with an array.
    #[classattr]
    #[pyo3(name = "__array_ufunc__")]
    fn array_ufunc(py: Python<'_>) -> Py<PyAny> {
        py.None()
    }

    /// The lengths of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.shape())
    }

    /// The NumPy dtype of the elements.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDescr>> {
        descriptor(py, self.0.dtype())
    }

    /// The number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.0.shape().len()
    }

    /// The number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.0.len()
    }

    /// Bytes of all elements together.
    #[getter]
    fn nbytes(&self) -> usize {
        self.0.nbytes()
    }

    /// Bytes of an element.
    #[getter]
    fn itemsize(&self) -> usize {
        self.0.dtype().size()
    }

    /// Where it lives.
    #[getter]
    fn device(&self) -> PyDevice {
        PyDevice(self.0.device().clone())
    }

    /// The tensor with its axes in reverse order, as a view.
    #[getter]
    #[pyo3(name = "T")]
    fn transposed(&self) -> Self {
        Self(self.0.transposed())
    }

    /// The tensor with its last two axes exchanged, as a view.
    #[getter]
    #[pyo3(name = "mT")]
    fn matrix_transposed(&self) -> PyResult<Self> {
        let order = matrix_transposition("mT", self.0.shape())?;
        Ok(Self(self.0.with_layout(self.0.layout().permuted(&order))))
    }

    /// A view with the axes in the given order, or in reverse order if none are given.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.zeros((2, 3, 4), device="cpu").transpose(1, 0, 2).shape
    /// (3, 2, 4)
    #[pyo3(signature = (*axes))]
    fn transpose(&self, axes: &Bound<'_, PyTuple>) -> PyResult<Self> {
        const NAME: &str = "transpose";
        let only = if axes.len() == 1 { Some(axes.get_item(0)?) } else { None };
        let axes = match only {
            None if axes.is_empty() => None,
            Some(only) if only.is_none() => None,
            Some(only) => Some(axes_of(&only, NAME)?),
            None => Some(axes_of(axes, NAME)?),
        };
        let order = permutation(NAME, self.0.shape(), axes.as_deref())?;
        Ok(Self(self.0.with_layout(self.0.layout().permuted(&order))))
    }

    /// Wait for the elements and return them as a NumPy array of their own.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.arange(3, device="cpu").numpy()
    /// array([0, 1, 2], dtype=int32)
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_new_array(py, &self.0)
    }

    /// The tensor on another device; itself if it is there already.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.ones(2, device="cpu").to("cpu").device.id
    /// 'cpu'
    fn to(&self, py: Python<'_>, device: &Bound<'_, PyAny>) -> PyResult<Self> {
        let device = named_device(py, device, "to: device")?;
        enter(py, || self.0.to(&device).map(Self))
    }

    /// The tensor in another dtype. With ``copy=False`` itself, if it has that dtype already.
    ///
    /// Floats lose their fraction when they become integers, integers wrap around when narrowed, and anything but zero
    /// becomes true.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.asarray([1.7, -1.7], device="cpu").astype("int8").numpy()
    /// array([ 1, -1], dtype=int8)
    #[pyo3(signature = (dtype, copy = true))]
    fn astype(&self, py: Python<'_>, dtype: &Bound<'_, PyAny>, copy: bool) -> PyResult<Self> {
        let dtype = dtype_argument(dtype, "astype")?;
        enter(py, || ops::astype(&self.0, dtype, copy).map(Self))
    }

    /// The same bytes as elements of another dtype, without a copy. Where its size differs, the last axis does too.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.asarray([1.0, 2.0], dtype="float32", device="cpu").view("uint32").numpy()
    /// array([1065353216, 1073741824], dtype=uint32)
    fn view(&self, dtype: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(views::viewed(&self.0, dtype_argument(dtype, "view")?)?))
    }

    /// The same elements under another shape, one length of which may be -1. A view where that is possible.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.arange(6, device="cpu").reshape(2, -1).shape
    /// (2, 3)
    #[pyo3(signature = (*shape))]
    fn reshape(&self, py: Python<'_>, shape: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let lengths: SmallVec<[isize; 6]> = match shape.len() {
            1 => lengths_of(&shape.get_item(0)?, "reshape")?,
            _ => lengths_of(shape, "reshape")?,
        };
        let shape = fill_in(&lengths, self.0.len(), self.0.shape())?;
        enter(py, || self.0.reshape(&shape).map(Self))
    }

    /// The sum over some axes, or over all; see ``gpukern.sum``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn sum(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::Sum, slf, axis, keepdims, out, None)
    }

    /// The mean over some axes, or over all; see ``gpukern.mean``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn mean(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::Mean, slf, axis, keepdims, out, None)
    }

    /// The product over some axes, or over all; see ``gpukern.prod``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn prod(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::Prod, slf, axis, keepdims, out, None)
    }

    /// The largest element over some axes, or over all; see ``gpukern.max``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn max(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::Max, slf, axis, keepdims, out, None)
    }

    /// The smallest element over some axes, or over all; see ``gpukern.min``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn min(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::Min, slf, axis, keepdims, out, None)
    }

    /// Whether any element is true over some axes, or over all; see ``gpukern.any``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn any(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::Any, slf, axis, keepdims, out, None)
    }

    /// Whether all elements are true over some axes, or over all; see ``gpukern.all``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn all(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::All, slf, axis, keepdims, out, None)
    }

    /// The place of the largest element along one axis, or in the flattened tensor; see ``gpukern.argmax``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn argmax(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::ArgMax, slf, axis, keepdims, out, None)
    }

    /// The place of the smallest element along one axis, or in the flattened tensor; see ``gpukern.argmin``.
    #[pyo3(
        signature = (axis = None, keepdims = Given::Default(false), *, out = None),
        text_signature = "($self, axis=None, keepdims=False, *, out=None)"
    )]
    fn argmin(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        reduce(slf.py(), Reduction::ArgMin, slf, axis, keepdims, out, None)
    }

    /// The variance over some axes, or over all; see ``gpukern.var``.
    #[pyo3(
        signature = (axis = None, *, correction = Given::Default(0.0), keepdims = Given::Default(false), out = None),
        text_signature = "($self, axis=None, *, correction=0.0, keepdims=False, out=None)"
    )]
    fn var(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        correction: Given<'_, f64>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let correction = correction.float("var", "correction")?;
        reduce(slf.py(), Reduction::Var { correction }, slf, axis, keepdims, out, None)
    }

    /// The standard deviation over some axes, or over all; see ``gpukern.std``.
    #[pyo3(
        signature = (axis = None, *, correction = Given::Default(0.0), keepdims = Given::Default(false), out = None),
        text_signature = "($self, axis=None, *, correction=0.0, keepdims=False, out=None)"
    )]
    fn std(
        slf: &Bound<'_, Self>,
        axis: Option<&Bound<'_, PyAny>>,
        correction: Given<'_, f64>,
        keepdims: Given<'_, bool>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let correction = correction.float("std", "correction")?;
        reduce(slf.py(), Reduction::Std { correction }, slf, axis, keepdims, out, None)
    }

    /// The only element, as a Python number.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.full((1, 1), 2.5, device="cpu").item()
    /// 2.5
    fn item<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.only_element(py, "item")
    }

    /// The elements as nested lists of Python numbers.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.zeros((2, 2), "int32", device="cpu").tolist()
    /// [[0, 0], [0, 0]]
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let array = to_new_array(py, &self.0)?;
        match self.0.dtype() {
            DType::BFloat16 => array.call_method1("astype", ("float32",))?.call_method0("tolist"),
            _ => array.call_method0("tolist"),
        }
    }

    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let own = descriptor(py, self.0.dtype())?;
        let wanted = match dtype {
            Some(dtype) => Some(PyArrayDescr::new(py, dtype)?),
            None => None,
        };
        let converts = wanted.as_ref().is_some_and(|wanted| !wanted.is_equiv_to(&own));
        if copy == Some(false) {
            let on_cpu = matches!(self.0.storage(), Storage::Host(_));
            if converts || !on_cpu {
                return Err(Error::Argument(format!(
                    "__array__: a tensor on {} becomes an array of this dtype only by a copy, and copy=False forbids it",
                    self.0.device().id()
                ))
                .into());
            }
            // Only named operations change a tensor, so the shared array is read-only.
            return to_array(py, &self.0, false);
        }
        let array = to_new_array(py, &self.0)?;
        match wanted {
            Some(wanted) if converts => array.call_method1("astype", (wanted,)),
            _ => Ok(array),
        }
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(self.0.index(&subscript(key)?)?))
    }

    fn __setitem__(&self, py: Python<'_>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let target = self.0.index(&subscript(key)?)?;
        match argument_as(value, "assignment", "the value", Some(target.dtype()))? {
            Argument::Scalar(scalar) => enter(py, || ops::assign(&target, scalar.into())),
            Argument::Tensor(source) => enter(py, || ops::assign(&target, (&source).into())),
            Argument::Array(source) => enter(py, || ops::assign(&target, (&source.to(target.device())?).into())),
        }
    }

    fn __len__(&self) -> PyResult<usize> {
        self.0.shape().first().copied().ok_or_else(|| PyTypeError::new_err("len() of a tensor without axes"))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.0.shape().is_empty() {
            return Err(PyTypeError::new_err("iteration over a tensor without axes"));
        }
        let rows = (0..self.0.shape()[0])
            .map(|at| Ok(Self(self.0.index(&[Index::At(at as isize)])?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(PyList::new(py, rows.into_iter().map(|row| Py::new(py, row)).collect::<PyResult<Vec<_>>>()?)?
            .try_iter()?
            .into_any())
    }

    fn __float__(&self, py: Python<'_>) -> PyResult<f64> {
        self.only_element(py, "float")?.extract()
    }

    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let item = self.only_element(py, "int")?;
        py.get_type::<pyo3::types::PyInt>().call1((item,))
    }

    /// What an integer without axes is as an index.
    fn __index__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.0.dtype().kind() != Kind::Int || !self.0.shape().is_empty() {
            return Err(Error::DType(format!(
                "index: only an integer without axes is an index; this tensor has dtype {} and shape {}",
                self.0.dtype(),
                show(self.0.shape())
            ))
            .into());
        }
        self.only_element(py, "index")
    }

    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        self.only_element(py, "bool")?.is_truthy()
    }

    fn __add__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "add", elementwise::add, &self.0, other, false)
    }

    fn __radd__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "add", elementwise::add, &self.0, other, true)
    }

    fn __sub__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "subtract", elementwise::subtract, &self.0, other, false)
    }

    fn __rsub__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "subtract", elementwise::subtract, &self.0, other, true)
    }

    fn __mul__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "multiply", elementwise::multiply, &self.0, other, false)
    }

    fn __rmul__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "multiply", elementwise::multiply, &self.0, other, true)
    }

    fn __truediv__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "divide", elementwise::divide, &self.0, other, false)
    }

    fn __rtruediv__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "divide", elementwise::divide, &self.0, other, true)
    }

    fn __floordiv__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "floor_divide", elementwise::floor_divide, &self.0, other, false)
    }

    fn __rfloordiv__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "floor_divide", elementwise::floor_divide, &self.0, other, true)
    }

    fn __mod__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "remainder", elementwise::remainder, &self.0, other, false)
    }

    fn __rmod__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "remainder", elementwise::remainder, &self.0, other, true)
    }

    fn __and__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_and", elementwise::bitwise_and, &self.0, other, false)
    }

    fn __rand__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_and", elementwise::bitwise_and, &self.0, other, true)
    }

    fn __or__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_or", elementwise::bitwise_or, &self.0, other, false)
    }

    fn __ror__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_or", elementwise::bitwise_or, &self.0, other, true)
    }

    fn __xor__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_xor", elementwise::bitwise_xor, &self.0, other, false)
    }

    fn __rxor__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_xor", elementwise::bitwise_xor, &self.0, other, true)
    }

    fn __lshift__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_left_shift", elementwise::bitwise_left_shift, &self.0, other, false)
    }

    fn __rlshift__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_left_shift", elementwise::bitwise_left_shift, &self.0, other, true)
    }

    fn __rshift__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_right_shift", elementwise::bitwise_right_shift, &self.0, other, false)
    }

    fn __rrshift__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_binary(py, "bitwise_right_shift", elementwise::bitwise_right_shift, &self.0, other, true)
    }

    fn __pow__(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        modulo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        match modulo {
            None => call_binary(py, "power", elementwise::power, &self.0, other, false),
            Some(_) => Ok(py.NotImplemented()),
        }
    }

    fn __rpow__(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        modulo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        match modulo {
            None => call_binary(py, "power", elementwise::power, &self.0, other, true),
            Some(_) => Ok(py.NotImplemented()),
        }
    }

    fn __neg__(&self, py: Python<'_>) -> PyResult<Self> {
        enter(py, || elementwise::negative(&self.0, None).map(Self))
    }

    fn __abs__(&self, py: Python<'_>) -> PyResult<Self> {
        enter(py, || elementwise::abs(&self.0, None).map(Self))
    }

    fn __invert__(&self, py: Python<'_>) -> PyResult<Self> {
        enter(py, || elementwise::bitwise_invert(&self.0, None).map(Self))
    }

    fn __pos__(&self, py: Python<'_>) -> PyResult<Self> {
        enter(py, || ops::copy(&self.0).map(Self))
    }

    /// Element by element, as in NumPy.
    fn __richcmp__(&self, py: Python<'_>, other: &Bound<'_, PyAny>, comparison: CompareOp) -> PyResult<Py<PyAny>> {
        match comparison {
            CompareOp::Eq => call_binary(py, "equal", elementwise::equal, &self.0, other, false),
            CompareOp::Ne => call_binary(py, "not_equal", elementwise::not_equal, &self.0, other, false),
            CompareOp::Lt => call_binary(py, "less", elementwise::less, &self.0, other, false),
            CompareOp::Le => call_binary(py, "less_equal", elementwise::less_equal, &self.0, other, false),
            CompareOp::Gt => call_binary(py, "greater", elementwise::greater, &self.0, other, false),
            CompareOp::Ge => call_binary(py, "greater_equal", elementwise::greater_equal, &self.0, other, false),
        }
    }

    /// Tensors compare element by element, so that they cannot be keys.
    #[classattr]
    #[pyo3(name = "__hash__")]
    fn hash(py: Python<'_>) -> Py<PyAny> {
        py.None()
    }

    fn __matmul__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_matmul(py, &self.0, other, false)
    }

    fn __rmatmul__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_matmul(py, &self.0, other, true)
    }

    /// Comparing by identity, as Python would, gives an answer that is silently wrong.
    #[expect(clippy::unused_self, reason = "Python passes it")]
    fn __contains__(&self, _value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Err(Error::DType("in: a tensor does not look for values; use `value in t.numpy()`".into()).into())
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        enter(py, || ops::copy(&self.0).map(Self))
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.__copy__(py)
    }

    /// A device is of this process, and so are its tensors.
    #[expect(clippy::unused_self, reason = "Python passes it")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("pickle: a tensor belongs to this process and its device; pickle its .numpy()"))
    }

    /// A tensor without axes is formatted as its number, as NumPy does it.
    fn __format__<'py>(slf: &Bound<'py, Self>, spec: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        if this.0.shape().is_empty() && spec.len()? > 0 {
            return this.only_element(slf.py(), "format")?.call_method1("__format__", (spec,));
        }
        slf.py().get_type::<PyAny>().call_method1("__format__", (slf, spec))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        py.import(intern!(py, "gpukern._repr"))?.call_method1(intern!(py, "show"), (slf,))?.extract()
    }
}

/// A subscript in brackets.
pub(super) fn subscript(key: &Bound<'_, PyAny>) -> PyResult<SmallVec<[Index; 4]>> {
    match key.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().map(|entry| subscript_entry(&entry)).collect(),
        Err(_) => Ok(SmallVec::from_slice(&[subscript_entry(key)?])),
    }
}

fn subscript_entry(entry: &Bound<'_, PyAny>) -> PyResult<Index> {
    if let Ok(slice) = entry.cast::<PySlice>() {
        let part = |name| -> PyResult<Option<isize>> {
            let value = slice.getattr(name)?;
            match value.is_none() {
                true => Ok(None),
                false if value.hasattr("__index__")? => clipped(&value).map(Some),
                false => Err(no_index(&value)?),
            }
        };
        return Ok(Index::Slice { start: part("start")?, stop: part("stop")?, step: part("step")?.unwrap_or(1) });
    }
    if entry.is_none() {
        return Ok(Index::NewAxis);
    }
    if entry.is_instance_of::<PyEllipsis>() {
        return Ok(Index::Ellipsis);
    }
    if entry.is_instance_of::<pyo3::types::PyBool>() {
        return Err(no_index(entry)?);
    }
    // Arrays and tensors without axes are integers, if their dtype is one.
    match entry.call_method0(intern!(entry.py(), "__index__")) {
        Ok(value) => value.extract::<isize>().map(Index::At).map_err(|_| {
            Error::Bounds(format!("indexing: index {value} is out of range for an axis of any length")).into()
        }),
        Err(_) => Err(no_index(entry)?),
    }
}

fn no_index(entry: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    Ok(Error::DType(format!(
        "indexing: a tensor takes integers, slices of integers, '...' and None as indices, not {}; \
         for lists and arrays of indices use .numpy()",
        entry.get_type().name()?
    ))
    .into())
}

/// An integer of any size, cut to what an index can be.
fn clipped(value: &Bound<'_, PyAny>) -> PyResult<isize> {
    let value = value.call_method0(intern!(value.py(), "__index__"))?;
    match value.extract::<isize>() {
        Ok(value) => Ok(value),
        Err(_) => Ok(if value.lt(0)? { isize::MIN / 2 } else { isize::MAX / 2 }),
    }
}

/// One integer or a sequence of them, such as a list or an array; `beyond` says what is wrong with one that is far too
/// large.
fn integers(
    obj: &Bound<'_, PyAny>,
    operation: &str,
    beyond: impl Fn(&Bound<'_, PyAny>) -> PyErr,
) -> PyResult<SmallVec<[isize; 6]>> {
    let fail = |what: &Bound<'_, PyAny>| {
        let shown = what.repr().map_or_else(|_| "this object".into(), |text| text.to_string());
        PyErr::from(Error::Shape(format!("{operation}: an integer or a tuple of integers is wanted, not {shown}")))
    };
    let one = |obj: &Bound<'_, PyAny>| match obj.call_method0(intern!(obj.py(), "__index__")) {
        Ok(value) => value.extract::<isize>().map_err(|_| beyond(&value)),
        Err(_) => Err(fail(obj)),
    };
    let is_sequence = obj.cast::<PyUntypedArray>().is_ok_and(|array| !array.shape().is_empty());
    if !is_sequence && obj.hasattr("__index__")? {
        return Ok(SmallVec::from_slice(&[one(obj)?]));
    }
    if obj.is_instance_of::<pyo3::types::PyString>() {
        return Err(fail(obj));
    }
    obj.try_iter().map_err(|_| fail(obj))?.map(|length| one(&length?)).collect()
}

/// The axes of an argument.
pub(super) fn axes_of(obj: &Bound<'_, PyAny>, operation: &str) -> PyResult<SmallVec<[isize; 6]>> {
    integers(obj, operation, |axis| axis_beyond(operation, axis))
}

/// The lengths of a shape, which may be negative.
pub(super) fn lengths_of(obj: &Bound<'_, PyAny>, operation: &str) -> PyResult<SmallVec<[isize; 6]>> {
    integers(obj, operation, |length| {
        PyErr::from(match length.lt(0) {
            Ok(true) => Error::Shape(format!("{operation}: the length {length} is negative")),
            _ => Error::OutOfMemory(format!("{operation}: a length of {length} is larger than any memory")),
        })
    })
}

pub(super) fn shape_argument(obj: &Bound<'_, PyAny>, operation: &str) -> PyResult<SmallVec<[usize; 6]>> {
    let lengths = lengths_of(obj, operation)?;
    lengths
        .iter()
        .map(|&length| {
            usize::try_from(length).map_err(|_| {
                Error::Shape(format!("{operation}: the length {length} is negative, in shape {lengths:?}")).into()
            })
        })
        .collect()
}

/// Replaces a -1 in a new shape by what the number of elements leaves for it.
pub(super) fn fill_in(lengths: &[isize], count: usize, from: &[usize]) -> Result<SmallVec<[usize; 6]>> {
    let fail =
        |why: &str| Err(Error::Shape(format!("reshape: {lengths:?} {why}; the tensor has shape {}", show(from))));
    let known = lengths
        .iter()
        .filter(|&&length| length != -1)
        .try_fold(1_usize, |product, &length| product.checked_mul(usize::try_from(length).ok()?));
    let Some(known) = known else { return fail("has a negative length other than one -1, or is far too large") };
    let open = lengths.iter().filter(|&&length| length == -1).count();
    if open > 1 {
        return fail("has more than one -1");
    }
    if open == 1 && (known == 0 || !count.is_multiple_of(known)) {
        return fail("leaves no whole number for -1");
    }
    Ok(lengths.iter().map(|&length| if length == -1 { count / known } else { length as usize }).collect())
}

/// Make a tensor of an array, a nested list, a number or a tensor.
///
/// On the CPU device the tensor shares an array's memory where dtype and alignment allow it; ``copy=True`` makes a
/// snapshot, ``copy=False`` raises where a copy is needed. On a GPU it is always a copy.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.asarray(np.arange(3, dtype=np.int32), device="cpu")
/// Tensor([0, 1, 2], shape=(3,), dtype=int32, device=cpu)
#[pyfunction]
#[pyo3(signature = (obj, dtype = None, *, device = None, copy = None))]
fn asarray(
    py: Python<'_>,
    obj: &Bound<'_, PyAny>,
    dtype: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
    copy: Option<bool>,
) -> PyResult<PyTensor> {
    const NAME: &str = "asarray";
    let wanted = dtype.map(|dtype| dtype_argument(dtype, NAME)).transpose()?;
    if let Ok(tensor) = obj.cast_exact::<PyTensor>() {
        let tensor = tensor.get().0.clone();
        let device = device_argument(py, device)?.unwrap_or_else(|| tensor.device().clone());
        let dtype = wanted.unwrap_or_else(|| tensor.dtype());
        let both_host = matches!((&device, tensor.device()), (Device::Cpu(_), Device::Cpu(_)));
        let stays = dtype == tensor.dtype() && (both_host || device == *tensor.device());
        if !stays && copy == Some(false) {
            return Err(copy_needed(&format!(
                "{} on {} from {} on {}",
                dtype,
                device.id(),
                tensor.dtype(),
                tensor.device().id()
            )));
        }
        return enter(py, move || {
            let moved = ops::astype(&tensor, dtype, false)?.to(&device)?;
            if stays && copy == Some(true) { ops::copy(&moved) } else { Ok(moved) }
        })
        .map(PyTensor);
    }
    let device = device_for_new(py, device)?;
    let (host, shares) = match plain_array(obj, NAME, "obj")? {
        Some(array) => match arrays::alias(&array)? {
            Some(alias) => (alias, true),
            None => (from_array(&array, NAME, "obj", true, wanted)?, false),
        },
        None => match python_scalar(obj)? {
            Some(scalar) => {
                let dtype = wanted.unwrap_or_else(|| scalar.own_dtype());
                scalar.check(dtype, NAME)?;
                return enter(py, || ops::full(NAME, &device, &[], scalar, dtype)).map(PyTensor);
            }
            None => (from_object(obj, NAME, "obj", wanted)?, false),
        },
    };
    let dtype = wanted.unwrap_or_else(|| host.dtype());
    let stays = matches!(device, Device::Cpu(_));
    if copy == Some(false) && !(shares && stays && dtype == host.dtype()) {
        return Err(copy_needed(&format!("a tensor of dtype {dtype} on {} from this object", device.id())));
    }
    let snapshot = stays && dtype == host.dtype() && shares && copy == Some(true);
    enter(py, move || {
        let converted = ops::astype(&host, dtype, snapshot)?;
        converted.to(&device)
    })
    .map(PyTensor)
}

fn copy_needed(what: &str) -> PyErr {
    Error::Argument(format!("asarray: copy=False, but making {what} needs a copy")).into()
}

/// A tensor with unspecified elements.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.empty((2, 3), device="cpu").shape
/// (2, 3)
#[pyfunction]
#[pyo3(signature = (shape, dtype = None, *, device = None))]
fn empty(
    py: Python<'_>,
    shape: &Bound<'_, PyAny>,
    dtype: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyTensor> {
    let shape = shape_argument(shape, "empty")?;
    let dtype = dtype.map_or(Ok(DType::Float32), |dtype| dtype_argument(dtype, "empty"))?;
    let device = device_for_new(py, device)?;
    enter(py, || Tensor::empty(&device, &shape, dtype, "empty")).map(PyTensor)
}

/// A tensor of zeros.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.zeros(2, "int8", device="cpu").numpy()
/// array([0, 0], dtype=int8)
#[pyfunction]
#[pyo3(signature = (shape, dtype = None, *, device = None))]
fn zeros(
    py: Python<'_>,
    shape: &Bound<'_, PyAny>,
    dtype: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyTensor> {
    filled(py, "zeros", shape, Scalar::Int(0), dtype, DType::Float32, device)
}

/// A tensor of ones.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.ones(2, device="cpu").numpy()
/// array([1., 1.], dtype=float32)
#[pyfunction]
#[pyo3(signature = (shape, dtype = None, *, device = None))]
fn ones(
    py: Python<'_>,
    shape: &Bound<'_, PyAny>,
    dtype: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyTensor> {
    filled(py, "ones", shape, Scalar::Int(1), dtype, DType::Float32, device)
}

/// A tensor full of one value. Without a dtype the value decides: float32, int32 or bool.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.full((2,), 0.5, device="cpu").numpy()
/// array([0.5, 0.5], dtype=float32)
#[pyfunction]
#[pyo3(signature = (shape, fill_value, dtype = None, *, device = None))]
fn full(
    py: Python<'_>,
    shape: &Bound<'_, PyAny>,
    fill_value: &Bound<'_, PyAny>,
    dtype: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyTensor> {
    let value = number(fill_value, "full", "fill_value")?;
    // A scalar of NumPy's brings its dtype along.
    let own = match python_scalar(fill_value)? {
        Some(scalar) => scalar.own_dtype(),
        None if dtype.is_none() => from_object(fill_value, "full", "fill_value", None)?.dtype(),
        None => value.own_dtype(),
    };
    filled(py, "full", shape, value, dtype, own, device)
}

fn filled(
    py: Python<'_>,
    name: &'static str,
    shape: &Bound<'_, PyAny>,
    value: Scalar,
    dtype: Option<&Bound<'_, PyAny>>,
    default: DType,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyTensor> {
    let shape = shape_argument(shape, name)?;
    let dtype = dtype.map_or(Ok(default), |dtype| dtype_argument(dtype, name))?;
    let device = device_for_new(py, device)?;
    enter(py, || ops::full(name, &device, &shape, value, dtype)).map(PyTensor)
}

/// A number: Python's or NumPy's.
fn number(obj: &Bound<'_, PyAny>, operation: &str, name: &str) -> PyResult<Scalar> {
    if let Some(scalar) = python_scalar(obj)? {
        return Ok(scalar);
    }
    let numpy = obj.py().import(intern!(obj.py(), "numpy"))?;
    if obj.is_instance(&numpy.getattr("generic")?)?
        && let Some(scalar) = python_scalar(&obj.call_method0("item")?)?
    {
        return Ok(scalar);
    }
    Err(Error::DType(format!("{operation}: {name} is a number, not {}", obj.get_type().name()?)).into())
}

/// The numbers from ``start`` (0 if only one number is given) to before ``stop``, in steps of ``step``.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.arange(1, 2, 0.25, device="cpu").numpy()
/// array([1.  , 1.25, 1.5 , 1.75], dtype=float32)
#[pyfunction]
#[pyo3(signature = (start, stop = None, step = None, dtype = None, *, device = None), text_signature = "(start, stop=None, step=1, dtype=None, *, device=None)")]
fn arange(
    py: Python<'_>,
    start: &Bound<'_, PyAny>,
    stop: Option<&Bound<'_, PyAny>>,
    step: Option<&Bound<'_, PyAny>>,
    dtype: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyTensor> {
    let first = number(start, "arange", "start")?;
    let (start, stop) = match stop {
        Some(stop) => (first, number(stop, "arange", "stop")?),
        None => (Scalar::Int(0), first),
    };
    let step = step.map_or(Ok(Scalar::Int(1)), |step| number(step, "arange", "step"))?;
    let whole = [start, stop, step].iter().all(|scalar| !matches!(scalar, Scalar::Float(_)));
    let default = if whole { DType::Int32 } else { DType::Float32 };
    let dtype = dtype.map_or(Ok(default), |dtype| dtype_argument(dtype, "arange"))?;
    if dtype.kind() != Kind::Float && !whole {
        return Err(Error::Argument(format!("arange: start, stop and step must be integers for dtype {dtype}")).into());
    }
    let device = device_for_new(py, device)?;
    enter(py, || ops::arange(&device, start, stop, step, dtype)).map(PyTensor)
}

/// A result as Python gets it: an array if only arrays came in.
pub(super) fn give(py: Python<'_>, tensor: Tensor, as_array: bool) -> PyResult<Py<PyAny>> {
    if !as_array {
        return Ok(Py::new(py, PyTensor(tensor))?.into_any());
    }
    let array = match tensor.storage() {
        Storage::Host(_) => to_array(py, &tensor, true)?,
        Storage::Gpu(_) => {
            let host = enter(py, move || tensor.to_host(cpu()?))?;
            to_array(py, &host, true)?
        }
    };
    Ok(array.unbind())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyTensor>()?;
    for function in [
        wrap_pyfunction!(asarray, module)?,
        wrap_pyfunction!(empty, module)?,
        wrap_pyfunction!(zeros, module)?,
        wrap_pyfunction!(ones, module)?,
        wrap_pyfunction!(full, module)?,
        wrap_pyfunction!(arange, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}
