//! The operations as Python functions, in files named as in `src/ops/`.

mod attention;
mod concat;
mod cumsum;
pub(super) mod elementwise;
pub(super) mod matmul;
mod matmul_vec;
mod norm;
pub(super) mod reduce;
mod rope;
mod shape;
mod softmax;
mod take;

use pyo3::prelude::*;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    attention::register(module)?;
    concat::register(module)?;
    cumsum::register(module)?;
    elementwise::register(module)?;
    matmul::register(module)?;
    matmul_vec::register(module)?;
    norm::register(module)?;
    reduce::register(module)?;
    rope::register(module)?;
    shape::register(module)?;
    softmax::register(module)?;
    take::register(module)
}
