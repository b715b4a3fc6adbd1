//! `gpukern.QuantTensor`, and the functions that make such.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::arrays::{Argument, alias, argument, dtype_argument, plain_array};
use super::call::{Any, unfit};
use super::device::{PyDevice, device_argument, device_for_new, named_device};
use super::enter;
use super::ops::matmul::call_quantised;
use super::tensor::{PyTensor, shape_argument, subscript};
use crate::dtype::{DType, Kind};
use crate::error::Error;
use crate::ops::quantised;
use crate::quant::{Format, QuantTensor};
use crate::shape::{Index, show};
use crate::tensor::Tensor;

/// Quantised weights on a device: blocks of small integers with scales, as they lie in model files. Made by `quantize`,
/// `from_blocks`, `load` and `open`.
///
/// `matmul_vec`, `matmul` and `embedding` take them as they are. Slicing gives rows as views.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> w = gk.quantize(np.ones((2, 32), np.float32), "q8_0", device="cpu")
/// >>> w.shape, w.dtype, w.nbytes
/// ((2, 32), 'q8_0', 68)
/// >>> gk.matmul_vec(w, np.ones(32, np.float32)).numpy().round(2)
/// array([32., 32.], dtype=float32)
#[pyclass(frozen, module = "gpukern", name = "QuantTensor")]
pub(super) struct PyQuantTensor(pub(super) QuantTensor);

impl PyQuantTensor {
    fn no_arithmetic(&self, name: &str) -> PyErr {
        let format = self.0.format().name;
        Error::DType(format!("{name}: {format} weights have no arithmetic but products; dequantize() them first"))
            .into()
    }
}

#[pymethods]
impl PyQuantTensor {
    /// NumPy's operators leave it to the weights to compute with an array.
    #[classattr]
    #[pyo3(name = "__array_ufunc__")]
    fn array_ufunc(py: Python<'_>) -> Py<PyAny> {
        py.None()
    }

    /// The lengths of the axes, in elements.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.shape())
    }

    /// The name of the format.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.format().name
    }

    /// The number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.0.stored_shape().len()
    }

    /// The number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.0.len()
    }

    /// Bytes of all blocks together.
    #[getter]
    fn nbytes(&self) -> usize {
        self.0.nbytes()
    }

    /// Where they live.
    #[getter]
    fn device(&self) -> PyDevice {
        PyDevice(self.0.device().clone())
    }

    /// The bytes of the blocks as a uint8 tensor, without a copy: the last axis counts the bytes of a row. Of
    /// transposed weights they are those of the weights as they were before.
    #[getter]
    fn blocks(&self) -> PyTensor {
        PyTensor(self.0.blocks().clone())
    }

    /// The weights of a matrix with rows and columns exchanged, as a view: for ``x @ w.T``.
    #[getter]
    #[pyo3(name = "T")]
    fn transposed(&self) -> PyResult<Self> {
        match self.0.stored_shape().len() {
            1 => Ok(Self(self.0.clone())),
            2 => Ok(Self(self.0.transposed("T")?)),
            _ => Err(Error::Shape(format!(
                "T: the weights have shape {}; of more than two axes only the last two can be exchanged: use mT",
                show(&self.0.shape())
            ))
            .into()),
        }
    }

    /// The weights with the last two axes exchanged, as a view.
    #[getter]
    #[pyo3(name = "mT")]
    fn matrix_transposed(&self) -> PyResult<Self> {
        Ok(Self(self.0.transposed("mT")?))
    }

    /// The numbers that the weights stand for, as a tensor of float32, float16 or bfloat16.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> w = gk.quantize(np.linspace(-1, 1, 32, dtype=np.float32), "q4_0", device="cpu")
    /// >>> w.dequantize().numpy()[:3]
    /// array([-1.   , -0.875, -0.875], dtype=float32)
    #[pyo3(signature = (dtype = None), text_signature = "($self, dtype='float32')")]
    fn dequantize(&self, py: Python<'_>, dtype: Option<&Bound<'_, PyAny>>) -> PyResult<PyTensor> {
        let dtype = match dtype {
            None => DType::Float32,
            Some(dtype) => dtype_argument(dtype, "dequantize")
                .ok()
                .filter(|dtype| dtype.kind() == Kind::Float)
                .ok_or_else(|| unfit("dequantize", "dtype", dtype, "float32, float16 or bfloat16"))?,
        };
        enter(py, || quantised::dequantize(&self.0, dtype).map(PyTensor))
    }

    /// The weights on another device; themselves if they are there already.
    fn to(&self, py: Python<'_>, device: &Bound<'_, PyAny>) -> PyResult<Self> {
        let device = named_device(py, device, "to: device")?;
        enter(py, || self.0.to(&device).map(Self))
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Self> {
        if key.is_instance_of::<PyList>() || key.cast::<PyUntypedArray>().is_ok_and(|array| !array.shape().is_empty()) {
            return Err(Error::DType(
                "indexing: quantised weights take integers and slices; for rows by a list of indices use embedding()"
                    .into(),
            )
            .into());
        }
        Ok(Self(self.0.index(&subscript(key)?)?))
    }

    fn __setitem__(&self, _key: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("assignment"))
    }

    fn __add__(&self, _other: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("add"))
    }

    fn __radd__(&self, _other: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("add"))
    }

    fn __sub__(&self, _other: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("subtract"))
    }

    fn __rsub__(&self, _other: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("subtract"))
    }

    fn __mul__(&self, _other: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("multiply"))
    }

    fn __rmul__(&self, _other: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("multiply"))
    }

    fn __truediv__(&self, _other: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("divide"))
    }

    fn __rtruediv__(&self, _other: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(self.no_arithmetic("divide"))
    }

    fn __neg__(&self) -> PyResult<()> {
        Err(self.no_arithmetic("negative"))
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        enter(py, || self.0.copied().map(Self))
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.__copy__(py)
    }

    fn __len__(&self) -> usize {
        self.0.shape()[0]
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.0.stored_shape().len() < 2 {
            return Err(PyTypeError::new_err("iteration over quantised weights of one axis; dequantize() them first"));
        }
        let rows = (0..self.0.shape()[0])
            .map(|at| Py::new(py, Self(self.0.index(&[Index::At(at as isize)])?)))
            .collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, rows)?.try_iter()?.into_any())
    }

    fn __matmul__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_quantised(py, &self.0, other, false)
    }

    fn __rmatmul__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        call_quantised(py, &self.0, other, true)
    }

    /// So that NumPy makes no array of objects.
    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__(&self, dtype: Option<&Bound<'_, PyAny>>, copy: Option<bool>) -> PyResult<()> {
        let _ = (dtype, copy);
        Err(PyTypeError::new_err(format!(
            "{} weights are no array of numbers; dequantize() makes a tensor of them, and .numpy() of that an array",
            self.0.format().name
        )))
    }

    /// A device is of this process, and so are its tensors.
    #[expect(clippy::unused_self, reason = "Python passes it")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "pickle: weights belong to this process and its device; pickle their .blocks.numpy(), shape and dtype",
        ))
    }

    fn __repr__(&self) -> String {
        let (name, shape) = (self.0.format().name, show(&self.0.shape()));
        format!("QuantTensor({name}, shape={shape}, device={})", self.0.device().id())
    }
}

/// The weights that an object is, if it is such.
pub(super) fn weights<'a>(obj: Any<'a, '_>) -> Option<&'a QuantTensor> {
    obj.cast_exact::<PyQuantTensor>().ok().map(|weights| &weights.get().0)
}

/// A format by its name.
fn format_argument(obj: Any<'_, '_>, operation: &str) -> PyResult<&'static Format> {
    // Types of the package gguf have a name.
    let named = || obj.getattr(intern!(obj.py(), "name"))?.extract::<String>();
    let name = obj.extract::<String>().or_else(|_| named()).unwrap_or_default().to_ascii_lowercase();
    Format::find(&name).ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.name).collect();
        // What files are called by is a mixture of formats.
        let mixture = ["_s", "_m", "_l", "_xl"].iter().find_map(|size| Format::find(name.strip_suffix(size)?));
        let hint = mixture.map_or_else(String::new, |format| {
            format!("; files called so have tensors of several formats, most of them {}", format.name)
        });
        unfit(operation, "format", obj, &format!("one of {}{hint}", names.join(", ")))
    })
}

/// Quantise an array or a tensor of floats, in blocks along its last axis.
///
/// The formats are those of GGUF files, such as ``"q8_0"``, ``"q4_k"`` and ``"mxfp4"``, and ``"int8"`` and ``"nf4"``.
/// Values are chosen to come close to the array's; the last axis has to be whole blocks.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.quantize(np.zeros((4, 256), np.float32), "q4_k", device="cpu")
/// QuantTensor(q4_k, shape=(4, 256), device=cpu)
#[pyfunction]
#[pyo3(signature = (array, format, /, *, device = None))]
fn quantize(
    py: Python<'_>,
    array: &Bound<'_, PyAny>,
    format: &Bound<'_, PyAny>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyQuantTensor> {
    const NAME: &str = "quantize";
    let format = format_argument(format, NAME)?;
    if weights(array).is_some() {
        return Err(Error::DType(format!("{NAME}: the array is quantised already; dequantize() it first")).into());
    }
    let (source, device) = match argument(array, NAME, "array")? {
        Argument::Tensor(tensor) => {
            let device = device_argument(py, device)?.unwrap_or_else(|| tensor.device().clone());
            (tensor, device)
        }
        Argument::Array(tensor) => (tensor, device_for_new(py, device)?),
        Argument::Scalar(_) => {
            return Err(Error::Shape(format!("{NAME}: a number has no blocks; give an array of floats")).into());
        }
    };
    enter(py, || quantised::quantize(&source, format)?.to(&device)).map(PyQuantTensor)
}

/// Quantised weights of bytes that exist: blocks of a format, one after another, as they lie in a file.
///
/// The bytes are an object such as ``bytes`` or ``mmap``, an array, or a uint8 `Tensor`. On the CPU device they are not
/// copied.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.from_blocks(bytes(2 * 34), "q8_0", (2, 32), device="cpu")
/// QuantTensor(q8_0, shape=(2, 32), device=cpu)
#[pyfunction]
#[pyo3(signature = (blocks, format, shape, /, *, device = None))]
fn from_blocks(
    py: Python<'_>,
    blocks: &Bound<'_, PyAny>,
    format: &Bound<'_, PyAny>,
    shape: &Bound<'_, PyAny>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyQuantTensor> {
    const NAME: &str = "from_blocks";
    let format = format_argument(format, NAME)?;
    let shape = shape_argument(shape, NAME)?;
    let (bytes, device) = match blocks.cast_exact::<PyTensor>() {
        Ok(tensor) => {
            let tensor = tensor.get().0.clone();
            let device = device_argument(py, device)?.unwrap_or_else(|| tensor.device().clone());
            (tensor, device)
        }
        Err(_) => (bytes_of(blocks)?, device_for_new(py, device)?),
    };
    enter(py, || QuantTensor::new(NAME, format, &bytes, &shape)?.to(&device)).map(PyQuantTensor)
}

/// The bytes of an array or of an object with a buffer, where they are.
fn bytes_of(obj: Any<'_, '_>) -> PyResult<Tensor> {
    let py = obj.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let array = match plain_array(obj, "from_blocks", "blocks")? {
        Some(array) if array.dtype().kind() == b'O' => None,
        Some(array) => {
            let array = numpy.call_method1(intern!(py, "ascontiguousarray"), (array,))?;
            Some(array.call_method1("reshape", (-1,))?.call_method1("view", ("uint8",))?)
        }
        None => py
            .import("builtins")?
            .call_method1("memoryview", (obj,))
            .and_then(|view| match view.getattr("nbytes")?.extract::<usize>()? {
                0 => numpy.call_method1("empty", (0, "uint8")),
                _ => numpy.call_method1("frombuffer", (view, "uint8")),
            })
            .ok(),
    };
    let unfit = || {
        let kind = obj.get_type().name().map_or_else(|_| "object".into(), |name| name.to_string());
        Error::Argument(format!(
            "from_blocks: the blocks are a {kind}; give their bytes: a contiguous object such as bytes or mmap, an array, \
             or a uint8 tensor"
        ))
    };
    let array = array.ok_or_else(unfit)?;
    alias(array.cast::<PyUntypedArray>().map_err(|_| unfit())?)?.ok_or_else(|| unfit().into())
}

/// Whether the CPU device may round vectors to bytes in products with quantised weights.
#[pyfunction]
fn _int8_activations() -> bool {
    quantised::int8_activations()
}

#[pyfunction]
fn _set_int8_activations(allowed: bool) {
    quantised::set_int8_activations(allowed);
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyQuantTensor>()?;
    for function in [
        wrap_pyfunction!(quantize, module)?,
        wrap_pyfunction!(from_blocks, module)?,
        wrap_pyfunction!(_int8_activations, module)?,
        wrap_pyfunction!(_set_int8_activations, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}
