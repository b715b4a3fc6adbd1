//! The operations as Python functions, in files named as in `src/ops/`.

pub(super) mod elementwise;
pub(super) mod matmul_vec;
mod rope;
mod take;

use pyo3::prelude::*;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    elementwise::register(module)?;
    matmul_vec::register(module)?;
    rope::register(module)?;
    take::register(module)
}
