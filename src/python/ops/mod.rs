//! The operations as Python functions, in files named as in `src/ops/`.

mod concat;
mod cumsum;
pub(super) mod elementwise;
pub(super) mod matmul_vec;
mod rope;
mod shape;
mod take;

use pyo3::prelude::*;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    elementwise::register(module)?;
    matmul_vec::register(module)?;
    concat::register(module)?;
    cumsum::register(module)?;
    rope::register(module)?;
    shape::register(module)?;
    take::register(module)
}
