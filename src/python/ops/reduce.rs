//! Reductions as Python functions.

use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::ops::reduce::{Reduction, reduce};
use crate::python::call::{Any, Given, axes_argument, call_on_tensors, optional_axis_argument};

/// Defines the Python functions of the reductions: those that take any axes, those that divide by a number of degrees
/// of freedom, and those that find a place along one axis.
macro_rules! reductions {
    ($($(#[$document:meta])* $kind:ident $name:ident $($python:literal)? $reduction:ident;)*) => {
        $(reductions!(@$kind $name $($python)? $reduction $(#[$document])*);)*

        pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
            Ok(())
        }
    };
    (@plain $name:ident $reduction:ident $(#[$document:meta])*) => {
        $(#[$document])*
        #[pyfunction]
        #[pyo3(
            signature = (x, /, axis = None, keepdims = Given::Default(false), *, out = None, device = None),
            text_signature = "(x, /, axis=None, keepdims=False, *, out=None, device=None)"
        )]
        fn $name(
            py: Python<'_>,
            x: &Bound<'_, PyAny>,
            axis: Option<&Bound<'_, PyAny>>,
            keepdims: Given<'_, bool>,
            out: Option<&Bound<'_, PyAny>>,
            device: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Py<PyAny>> {
            call(py, Reduction::$reduction, x, axis, keepdims, out, device)
        }
    };
    (@spread $name:ident $python:literal $reduction:ident $(#[$document:meta])*) => {
        $(#[$document])*
        #[pyfunction(name = $python)]
        #[pyo3(
            signature = (
                x, /, axis = None, *,
                correction = Given::Default(0.0), keepdims = Given::Default(false), out = None, device = None
            ),
            text_signature = "(x, /, axis=None, *, correction=0.0, keepdims=False, out=None, device=None)"
        )]
        fn $name(
            py: Python<'_>,
            x: &Bound<'_, PyAny>,
            axis: Option<&Bound<'_, PyAny>>,
            correction: Given<'_, f64>,
            keepdims: Given<'_, bool>,
            out: Option<&Bound<'_, PyAny>>,
            device: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Py<PyAny>> {
            let correction = correction.float($python, "correction")?;
            call(py, Reduction::$reduction { correction }, x, axis, keepdims, out, device)
        }
    };
    (@place $name:ident $reduction:ident $(#[$document:meta])*) => {
        $(#[$document])*
        #[pyfunction]
        #[pyo3(
            signature = (x, /, axis = None, keepdims = Given::Default(false), *, out = None, device = None),
            text_signature = "(x, /, axis=None, keepdims=False, *, out=None, device=None)"
        )]
        fn $name(
            py: Python<'_>,
            x: &Bound<'_, PyAny>,
            axis: Option<&Bound<'_, PyAny>>,
            keepdims: Given<'_, bool>,
            out: Option<&Bound<'_, PyAny>>,
            device: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Py<PyAny>> {
            call(py, Reduction::$reduction, x, axis, keepdims, out, device)
        }
    };
}

reductions! {
    /// The sum over some axes, or over all.
    ///
    /// Floats are summed in float32; bools and integers in int32, uint32 in uint32, wrapping around.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.sum(np.float32([[1, 2], [3, 4]]), axis=1)
    /// array([3., 7.], dtype=float32)
    plain sum Sum;

    /// The product over some axes, or over all. Types as for ``sum``.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.prod(np.int32([[1, 2], [3, 4]]), axis=0)
    /// array([3, 8], dtype=int32)
    plain prod Prod;

    /// The largest element along some axes, or of all. NaN if one is NaN.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.max(np.float32([[1, 4], [3, 2]]), axis=1)
    /// array([4., 3.], dtype=float32)
    plain max Max;

    /// The smallest element along some axes, or of all. NaN if one is NaN.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.min(np.float32([[1, 4], [3, 2]]), axis=1)
    /// array([1., 2.], dtype=float32)
    plain min Min;

    /// Whether any element along some axes, or of all, is true: not zero. NaN is true.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.any(np.array([[False, True], [False, False]]), axis=1)
    /// array([ True, False])
    plain any Any;

    /// Whether all elements along some axes, or all there are, are true: not zero. NaN is true.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.all(np.array([[True, True], [False, True]]), axis=1)
    /// array([ True, False])
    plain all All;

    /// The mean over some axes, or over all. Integers and bools give float32.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.mean(np.int32([[1, 2], [3, 5]]), axis=1, keepdims=True)
    /// array([[1.5],
    ///        [4. ]], dtype=float32)
    plain mean Mean;

    /// The variance over some axes, or over all: the sum of squared differences from the mean, divided by the count
    /// less ``correction``.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.var(np.float32([10001, 10002, 10003]), correction=1)
    /// array(1., dtype=float32)
    spread variance "var" Var;

    /// The standard deviation over some axes, or over all: the square root of ``var``.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.std(np.float32([[1, 3], [2, 10]]), axis=1)
    /// array([1., 4.], dtype=float32)
    spread deviation "std" Std;

    /// Where the largest element is, along an axis or in the flattened array: the first of equal ones, the first NaN
    /// before all others. The place is an int32.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.argmax(np.float32([[1, 4, 4], [3, 2, 1]]), axis=1)
    /// array([1, 0], dtype=int32)
    place argmax ArgMax;

    /// Where the smallest element is, along an axis or in the flattened array: the first of equal ones, the first NaN
    /// before all others. The place is an int32.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.argmin(np.float32([[1, 4, 4], [3, 2, 1]]), axis=1)
    /// array([0, 2], dtype=int32)
    place argmin ArgMin;
}

/// Reduces `x`, for the functions here and for the methods of `Tensor`.
pub(in crate::python) fn call(
    py: Python<'_>,
    reduction: Reduction,
    x: Any<'_, '_>,
    axis: Option<Any<'_, '_>>,
    keepdims: Given<'_, bool>,
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
) -> PyResult<Py<PyAny>> {
    let name = reduction.name();
    let axes = match (reduction, axis) {
        (Reduction::ArgMax | Reduction::ArgMin, Some(axis)) => {
            optional_axis_argument(name, axis)?.map(|axis| SmallVec::from_slice(&[axis]))
        }
        _ => axes_argument(name, axis)?,
    };
    let keepdims = keepdims.flag(name, "keepdims")?;
    call_on_tensors(py, name, &[(x, "x")], out, device, |tensors, out| {
        reduce(reduction, tensors[0], axes.as_deref(), keepdims, out)
    })
}
