//! The elementwise operations as Python functions. A new one is a line of `elementwise_functions!`.

use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::error::Result;
use crate::ops::{Operand, elementwise};
use crate::python::arrays::{Argument, argument};
use crate::python::call::{Any, Call, Given, Ready, call_on_tensors, is_operand, tensor_argument};
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
            $(module.add_function(wrap_pyfunction!(self::$name, module)?)?;)*
            module.add_function(wrap_pyfunction!(gelu, module)?)?;
            module.add_function(wrap_pyfunction!(clip, module)?)?;
            module.add_function(wrap_pyfunction!(where_, module)?)
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
    (@gated $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        #[pyfunction]
        #[pyo3(signature = (gate, up, /, *, out = None, device = None))]
        fn $name(
            py: Python<'_>,
            gate: &Bound<'_, PyAny>,
            up: &Bound<'_, PyAny>,
            out: Option<&Bound<'_, PyAny>>,
            device: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Py<PyAny>> {
            binary(py, stringify!($name), elementwise::$name, [(gate, "gate"), (up, "up")], out, device)
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

    /// The quotient ``x1 / x2``, element by element, always of floats.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.divide(np.int32([1, 2, 3]), 2)
    /// array([0.5, 1. , 1.5], dtype=float32)
    binary divide;

    /// The largest whole number up to ``x1 / x2``. Of integers, 0 where ``x2`` is 0.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.floor_divide(np.int32([7, -7]), 2)
    /// array([ 3, -4], dtype=int32)
    binary floor_divide;

    /// What a division rounded down leaves, with the sign of ``x2``. Of integers, 0 where ``x2`` is 0.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.remainder(np.int32([7, -7]), 3)
    /// array([1, 2], dtype=int32)
    binary remainder;

    /// ``x1`` to the power of ``x2``. Of integers it wraps around, and negative powers are rounded towards zero.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.power(np.float32([1, 2, 3]), 2)
    /// array([1., 4., 9.], dtype=float32)
    binary power;

    /// The larger of two, element by element; NaN if either is.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.maximum(np.float32([1, 5]), np.float32([3, 2]))
    /// array([3., 5.], dtype=float32)
    binary maximum;

    /// The smaller of two, element by element; NaN if either is.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.minimum(np.float32([1, 5]), np.float32([3, 2]))
    /// array([1., 2.], dtype=float32)
    binary minimum;

    /// ``-x``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.negative(np.float32([1, -2]))
    /// array([-1.,  2.], dtype=float32)
    unary negative;

    /// The absolute value, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.abs(np.float32([1, -2]))
    /// array([1., 2.], dtype=float32)
    unary abs;

    /// -1, 0 or 1 by the sign of each element; NaN stays NaN.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.sign(np.float32([3, -2, 0]))
    /// array([ 1., -1.,  0.], dtype=float32)
    unary sign;

    /// ``1 / x``, element by element, always of floats.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.reciprocal(np.float32([2, 4]))
    /// array([0.5 , 0.25], dtype=float32)
    unary reciprocal;

    /// The largest whole number up to each element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.floor(np.float32([1.5, -1.5]))
    /// array([ 1., -2.], dtype=float32)
    unary floor;

    /// The smallest whole number from each element on.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.ceil(np.float32([1.5, -1.5]))
    /// array([ 2., -1.], dtype=float32)
    unary ceil;

    /// The whole number nearest to each element, the even one of two.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.round(np.float32([0.5, 1.5, 2.4]))
    /// array([0., 2., 2.], dtype=float32)
    unary round;

    /// Each element without its fraction.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.trunc(np.float32([1.5, -1.5]))
    /// array([ 1., -1.], dtype=float32)
    unary trunc;

    /// ``e`` to the power of each element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.exp(np.float32([0, 1])).round(4)
    /// array([1.    , 2.7183], dtype=float32)
    unary exp;

    /// 2 to the power of each element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.exp2(np.float32([0, 3]))
    /// array([1., 8.], dtype=float32)
    unary exp2;

    /// ``exp(x) - 1``, precise around zero.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.expm1(np.float32([0, 1e-10]))
    /// array([0.e+00, 1.e-10], dtype=float32)
    unary expm1;

    /// The natural logarithm of each element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.log(np.float32([1, 10])).round(4)
    /// array([0.    , 2.3026], dtype=float32)
    unary log;

    /// ``log(1 + x)``, precise around zero.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.log1p(np.float32([0, 1e-10]))
    /// array([0.e+00, 1.e-10], dtype=float32)
    unary log1p;

    /// The logarithm to base 2 of each element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.log2(np.float32([1, 8]))
    /// array([0., 3.], dtype=float32)
    unary log2;

    /// The square root of each element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.sqrt(np.float32([4, 9]))
    /// array([2., 3.], dtype=float32)
    unary sqrt;

    /// ``1 / sqrt(x)``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.rsqrt(np.float32([4, 16]))
    /// array([0.5 , 0.25], dtype=float32)
    unary rsqrt;

    /// The sine of each element, an angle in radians of any size.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.sin(np.float32([0, 1, 1e6])).round(4)
    /// array([ 0.    ,  0.8415, -0.35  ], dtype=float32)
    unary sin;

    /// The cosine of each element, an angle in radians of any size.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.cos(np.float32([0, 1, 1e6])).round(4)
    /// array([1.    , 0.5403, 0.9368], dtype=float32)
    unary cos;

    /// The hyperbolic tangent of each element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.tanh(np.float32([0, 1])).round(4)
    /// array([0.    , 0.7616], dtype=float32)
    unary tanh;

    /// The error function of each element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.erf(np.float32([0, 1])).round(4)
    /// array([0.    , 0.8427], dtype=float32)
    unary erf;

    /// ``1 / (1 + exp(-x))``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.sigmoid(np.float32([0, 1])).round(4)
    /// array([0.5   , 0.7311], dtype=float32)
    unary sigmoid;

    /// ``x / (1 + exp(-x))``, element by element; also known as swish.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.silu(np.float32([0, 1, -1])).round(4)
    /// array([ 0.    ,  0.7311, -0.2689], dtype=float32)
    unary silu;

    /// ``max(x, 0)``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.relu(np.float32([-1, 2]))
    /// array([0., 2.], dtype=float32)
    unary relu;

    /// ``max(x, 0) ** 2``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.squared_relu(np.float32([-1, 2]))
    /// array([0., 4.], dtype=float32)
    unary squared_relu;

    /// ``log(1 + exp(x))``, element by element, without overflow.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.softplus(np.float32([0, 100])).round(4)
    /// array([  0.6931, 100.    ], dtype=float32)
    unary softplus;

    /// ``silu(gate) * up``, element by element, in one step.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.swiglu(np.float32([1, 2]), np.float32([2, 2])).round(4)
    /// array([1.4621, 3.5232], dtype=float32)
    gated swiglu;

    /// Whether ``x1 == x2``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.equal(np.int32([1, 2]), 2)
    /// array([False,  True])
    binary equal;

    /// Whether ``x1 != x2``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.not_equal(np.int32([1, 2]), 2)
    /// array([ True, False])
    binary not_equal;

    /// Whether ``x1 < x2``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.less(np.int32([1, 2]), 2)
    /// array([ True, False])
    binary less;

    /// Whether ``x1 <= x2``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.less_equal(np.int32([1, 2]), 1)
    /// array([ True, False])
    binary less_equal;

    /// Whether ``x1 > x2``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.greater(np.int32([1, 2]), 1)
    /// array([False,  True])
    binary greater;

    /// Whether ``x1 >= x2``, element by element.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.greater_equal(np.int32([1, 2]), 2)
    /// array([False,  True])
    binary greater_equal;

    /// Whether each element is NaN.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.isnan(np.float32([1, np.nan]))
    /// array([False,  True])
    unary isnan;

    /// Whether each element is infinite, of either sign.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.isinf(np.float32([1, -np.inf]))
    /// array([False,  True])
    unary isinf;

    /// Whether each element is neither infinite nor NaN.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.isfinite(np.float32([1, np.inf]))
    /// array([ True, False])
    unary isfinite;

    /// Whether both are true, element by element; anything but zero is.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.logical_and(np.int32([0, 2]), True)
    /// array([False,  True])
    binary logical_and;

    /// Whether either is true, element by element; anything but zero is.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.logical_or(np.int32([0, 2]), False)
    /// array([False,  True])
    binary logical_or;

    /// Whether just one is true, element by element; anything but zero is.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.logical_xor(np.int32([0, 2]), True)
    /// array([ True, False])
    binary logical_xor;

    /// Whether each element is zero.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.logical_not(np.int32([0, 2]))
    /// array([ True, False])
    unary logical_not;

    /// ``x1 & x2`` of integers, bit by bit; "and" on bools.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.bitwise_and(np.int32([6, 5]), 3)
    /// array([2, 1], dtype=int32)
    binary bitwise_and;

    /// ``x1 | x2`` of integers, bit by bit; "or" on bools.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.bitwise_or(np.int32([6, 5]), 3)
    /// array([7, 7], dtype=int32)
    binary bitwise_or;

    /// ``x1 ^ x2`` of integers, bit by bit; whether just one is true on bools.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.bitwise_xor(np.int32([6, 5]), 3)
    /// array([5, 6], dtype=int32)
    binary bitwise_xor;

    /// ``~x`` of integers, bit by bit; "not" on bools.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.bitwise_invert(np.int32([0, 5]))
    /// array([-1, -6], dtype=int32)
    unary bitwise_invert;

    /// ``x1 << x2`` of integers. By the width or more, everything is shifted out.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.bitwise_left_shift(np.int32([1, 3]), 2)
    /// array([ 4, 12], dtype=int32)
    binary bitwise_left_shift;

    /// ``x1 >> x2`` of integers, which keeps the sign.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, gpukern as gk
    /// >>> gk.bitwise_right_shift(np.int32([8, -8]), 2)
    /// array([ 2, -2], dtype=int32)
    binary bitwise_right_shift;
}

/// ``x`` times the share of a normal distribution that lies below it, element by element.
///
/// ``approximate="tanh"`` computes ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3)))`` instead.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.gelu(np.float32([0, 1, -1])).round(4)
/// array([ 0.    ,  0.8413, -0.1587], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (x, /, approximate = Given::Default("none"), *, out = None, device = None),
    text_signature = "(x, /, approximate='none', *, out=None, device=None)"
)]
fn gelu(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    approximate: Given<'_, &'static str>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    const NAME: &str = "gelu";
    let operation = match approximate.choice(NAME, "approximate", &["none", "tanh"])? {
        "tanh" => elementwise::gelu_by_tanh,
        _ => elementwise::gelu,
    };
    call_on_tensors(py, NAME, &[(x, "x")], out, device, |x, out| operation(x[0], out))
}

/// Each element, but at least ``min`` and at most ``max``. NaN goes through, from any of the three.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.clip(np.float32([-2, 0.5, 2]), 0, 1)
/// array([0. , 0.5, 1. ], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, /, min = None, max = None, *, out = None, device = None))]
fn clip(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    min: Option<&Bound<'_, PyAny>>,
    max: Option<&Bound<'_, PyAny>>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let bounds = [(min, "min"), (max, "max")];
    let given = bounds.iter().filter_map(|&(bound, label)| bound.map(|bound| (bound, label)));
    let operands: SmallVec<[_; 3]> = std::iter::once((x, "x")).chain(given).collect();
    let (below, above) = (min.is_some(), max.is_some());
    call(py, "clip", &operands, out, device, |x, out| match (below, above) {
        (true, true) => elementwise::clip(x[0], x[1], x[2], out),
        (true, false) => elementwise::clip_below(x[0], x[1], out),
        (false, true) => elementwise::clip_above(x[0], x[1], out),
        // A copy.
        (false, false) => elementwise::clip_below(x[0], x[0], out),
    })
}

/// Elements of ``x1`` where the condition is true, and of ``x2`` elsewhere.
///
/// Examples
/// --------
/// >>> import numpy as np, gpukern as gk
/// >>> gk.where(np.array([True, False]), np.float32([1, 2]), 0)
/// array([1., 0.], dtype=float32)
#[pyfunction]
#[pyo3(name = "where", signature = (condition, x1, x2, /, *, out = None, device = None))]
fn where_(
    py: Python<'_>,
    condition: &Bound<'_, PyAny>,
    x1: &Bound<'_, PyAny>,
    x2: &Bound<'_, PyAny>,
    out: Option<&Bound<'_, PyAny>>,
    device: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let operands = [(condition, "condition"), (x1, "x1"), (x2, "x2")];
    call(py, "where", &operands, out, device, |x, out| elementwise::where_(x[0], x[1], x[2], out))
}

/// Calls an operation on tensors and numbers. Numbers alone are computed like arrays of their own types.
fn call(
    py: Python<'_>,
    name: &'static str,
    operands: &[(Any<'_, '_>, &str)],
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
    operation: impl FnOnce(&[Operand<'_>], Option<&Tensor>) -> Result<Tensor> + Send,
) -> PyResult<Py<PyAny>> {
    let mut arguments: SmallVec<[Argument; 2]> = SmallVec::new();
    for (operand, label) in operands {
        arguments.push(argument(operand, name, label)?);
    }
    if arguments.iter().all(|argument| matches!(argument, Argument::Scalar(_))) {
        let numbers = std::mem::take(&mut arguments);
        for number in numbers {
            arguments.push(tensor_argument(number, name)?);
        }
    }
    Call::new(py, name, &arguments, out, device)?.run(arguments, |ready, out| {
        let operands: SmallVec<[Operand<'_>; 3]> = ready.iter().map(Ready::operand).collect();
        operation(&operands, out)
    })
}

fn binary(
    py: Python<'_>,
    name: &'static str,
    operation: Binary,
    operands: [(Any<'_, '_>, &str); 2],
    out: Option<Any<'_, '_>>,
    device: Option<Any<'_, '_>>,
) -> PyResult<Py<PyAny>> {
    call(py, name, &operands, out, device, |operands, out| operation(operands[0], operands[1], out))
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
