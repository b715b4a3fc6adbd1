//! WGSL's types as NumPy's dtypes.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::kernel::types::{Field, Type, column_stride};

/// The dtype of a variable's elements: a plain one where they are numbers, and else a structured one that lies as WGSL
/// says. `tail` is how many elements follow where the type leaves that open.
pub(super) fn element_dtype<'py>(py: Python<'py>, ty: &Type, tail: usize) -> PyResult<Bound<'py, PyAny>> {
    let element = match ty {
        Type::Array { of, .. } => of,
        other => other,
    };
    match (element, element.numbers()) {
        (_, Some(numbers)) => dtype(py, numbers.scalar.numpy()),
        (Type::Struct { fields, size, .. }, None) => {
            let size = if element.tail().is_some() { element.size() + tail_bytes(element, tail) } else { *size };
            struct_dtype(py, fields, size, tail)
        }
        _ => Ok(base(py, element, tail)?.0),
    }
}

/// The dtype of a variable as it lies in memory, with padding: for an array of its elements.
pub(super) fn packed_dtype<'py>(py: Python<'py>, ty: &Type, tail: usize) -> PyResult<Bound<'py, PyAny>> {
    let (element, is_array) = match ty {
        Type::Array { of, .. } => (&**of, true),
        other => (other, false),
    };
    if let Type::Struct { .. } = element {
        return element_dtype(py, ty, tail);
    }
    let (base, mut shape) = base(py, element, tail)?;
    if is_array && matches!(element, Type::Vector { size: 3, .. }) {
        shape = vec![4];
    }
    dtype(py, (base, PyTuple::new(py, shape)?))
}

fn tail_bytes(ty: &Type, count: usize) -> usize {
    ty.tail().map_or(0, |(_, stride)| stride * count)
}

fn dtype<'py>(py: Python<'py>, what: impl IntoPyObject<'py>) -> PyResult<Bound<'py, PyAny>> {
    py.import("numpy")?.getattr("dtype")?.call1((what,))
}

fn struct_dtype<'py>(py: Python<'py>, fields: &[Field], size: usize, tail: usize) -> PyResult<Bound<'py, PyAny>> {
    let (names, formats, offsets) = (PyList::empty(py), PyList::empty(py), PyList::empty(py));
    for field in fields {
        names.append(&field.name)?;
        let (base, shape) = base(py, &field.ty, tail)?;
        formats.append((base, PyTuple::new(py, shape)?))?;
        offsets.append(field.offset)?;
    }
    let what = PyDict::new(py);
    what.set_item("names", names)?;
    what.set_item("formats", formats)?;
    what.set_item("offsets", offsets)?;
    what.set_item("itemsize", size)?;
    dtype(py, what)
}

/// The dtype of what a type is made of, and its axes, with the padding that it has in memory.
fn base<'py>(py: Python<'py>, ty: &Type, tail: usize) -> PyResult<(Bound<'py, PyAny>, Vec<usize>)> {
    Ok(match ty {
        Type::Scalar(scalar) | Type::Atomic(scalar) => (dtype(py, scalar.numpy())?, Vec::new()),
        Type::Vector { size, scalar } => (dtype(py, scalar.numpy())?, vec![*size]),
        Type::Matrix { columns, rows, scalar } => (dtype(py, scalar.numpy())?, vec![*columns, column_stride(*rows)]),
        Type::Array { of, count, .. } => {
            let (base, mut shape) = base(py, of, 0)?;
            if let Type::Vector { size: 3, .. } = **of {
                shape = vec![4];
            }
            shape.insert(0, count.unwrap_or(tail));
            (base, shape)
        }
        Type::Struct { fields, size, .. } => (struct_dtype(py, fields, *size, 0)?, Vec::new()),
    })
}
