//! The Python module `gpukern._native`. Everything that knows Python is in this folder.

mod arrays;
mod device;
mod errors;
mod logging;
mod ops;
mod tensor;

use pyo3::prelude::*;

use crate::error::Result;

/// The one door through which work leaves Python: releases the interpreter lock while the engine computes or waits,
/// and hands over what was logged meanwhile.
fn enter<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    let result = py.detach(work);
    logging::hand_over(py)?;
    Ok(result?)
}

#[pymodule]
#[pyo3(name = "_native")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // Registers bfloat16 with NumPy.
    py.import("ml_dtypes")?;
    logging::install(py)?;
    crate::interrupt::install(errors::interrupted);
    errors::register(module)?;
    device::register(module)?;
    tensor::register(module)?;
    ops::register(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
