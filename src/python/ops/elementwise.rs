//! The elementwise operations as Python functions. A new one is a line of `elementwise_functions!`.

use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::error::Result;
use crate::ops::{Operand, elementwise};
use crate::python::arrays::{Argument, argument};
use crate::python::call::{Any, Call, call_on_tensors, is_operand, tensor_argument};
use crate::tensor::Tensor;

type Binary = fn(Operand<'_>, Operand<'_>, Option<&Tensor>) -> Result<Tensor>;

/// An operator on a tensor and something else; `NotImplemented` for what is no operand.
pub(in crate::python) fn call_binary(
    py: Python<'_>,
    name: &'static str,
    operation: Binary,
    tensor: &Tensor,
    other: &Bound<'_, PyAny>,
    reflected: bool,
) -> PyResult<Py<PyAny>> {
    if !is_operand(other)? {
        return Ok(py.NotImplemented());
    }
    let other = argument(other, name, "the other operand")?;
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    arguments.push(Argument::Tensor(tensor.clone()));
    arguments.push(other);
    if reflected {
        arguments.swap(0, 1);
    }
    Call::new(py, name, &arguments, None, None)?
        .run(arguments, |ready, out| operation(ready[0].operand(), ready[1].operand(), out))
}

/// Defines the Python functions of the elementwise operations.
macro_rules! elementwise_functions {
    ($($(#[$document:meta])* $kind:ident $name:ident;)*) => {
        $(elementwise_functions!(@$kind $name $(#[$document])*);)*

        pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
            Ok(())
        }
    };
    (@binary $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        #[pyfunction]
        #[pyo3(signature = (x1, x2, /, *, out = None, device = None))]
        fn $name(
            py: Python<'_>,
            x1: &Bound<'_, PyAny>,
            x2: &Bound<'_, PyAny>,
            out: Option<&Bound<'_, PyAny>>,
            device: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Py<PyAny>> {
            binary(py, stringify!($name), elementwise::$name, [(x1, "x1"), (x2, "x2")], out, device)
        }
    };
    (@unary $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        #[pyfunction]
        #[pyo3(signature = (x, /, *, out = None, device = None))]
        fn $name(
            py: Python<'_>,
            x: &Bound<'_, PyAny>,
            out: Option<&Bound<'_, PyAny>>,
            device: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Py<PyAny>> {
            unary(py, stringify!($name), elementwise::$name, x, out, device)
        }
    };
}

elementwise_functions! {
    /// The sum of two arrays or tensors, element by element; "or" on bools.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.add(np.float32([1, 2]), 0.5)
    /// array([1.5, 2.5], dtype=float32)
    binary add;

    /// The difference of two arrays or tensors, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.subtract(np.float32([[1], [2]]), np.float32([1, 2]))
    /// array([[ 0., -1.],
    ///        [ 1.,  0.]], dtype=float32)
    binary subtract;

    /// The product of two arrays or tensors, element by element; "and" on bools.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.multiply(np.int32([1, 2, 3]), 2)
    /// array([2, 4, 6], dtype=int32)
    binary multiply;

    /// ``x / (1 + exp(-x))``, element by element; also known as swish.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.silu(np.float32([0, 1, -1])).round(4)
    /// array([ 0.    ,  0.7311, -0.2689], dtype=float32)
    unary silu;
}

fn binary(
    py: Python<'_>,
    name: &'static str,
    operation: Binary,
    operands: [(&Bound<'_, PyAny>, &str); 2],
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    for (operand, label) in operands {
        arguments.push(argument(operand, name, label)?);
    }
    // Two Python numbers are computed like two arrays of their own types.
    if let [Argument::Scalar(scalar), Argument::Scalar(_)] = arguments[..] {
        arguments[0] = tensor_argument(Argument::Scalar(scalar), name)?;
    }
    Call::new(py, name, &arguments, out, device)?
        .run(arguments, |ready, out| operation(ready[0].operand(), ready[1].operand(), out))
}

fn unary(
    py: Python<'_>,
    name: &'static str,
    operation: fn(&Tensor, Option<&Tensor>) -> Result<Tensor>,
    x: Any<'_, '_>,
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
) -> PyResult<Py<PyAny>> {
    call_on_tensors(py, name, &[(x, "x")], out, device, |tensors, out| operation(tensors[0], out))
}
