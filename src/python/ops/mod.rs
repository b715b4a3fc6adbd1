//! The operations as Python functions, in files named as in `src/ops/`.

pub(super) mod elementwise;
pub(super) mod matmul_vec;
mod norm;
mod reduce;
mod softmax;

use pyo3::prelude::*;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    elementwise::register(module)?;
    matmul_vec::register(module)?;
    norm::register(module)?;
    reduce::register(module)?;
    softmax::register(module)
}
