//! The Python module `gpukern._native`. Everything that knows Python is in this folder.

mod arrays;
mod call;
mod device;
mod ending;
mod errors;
mod files;
mod formulas;
mod kernel;
mod logging;
mod ops;
mod quant;
mod tensor;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use crate::device::select;
use crate::error::{Error, Result};

/// The one door through which work leaves Python: releases the interpreter lock while the engine computes or waits,
/// and hands over what was logged meanwhile. A panic, which would be our mistake, ends here as an exception.
fn enter<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    errors::check_not_in_handler()?;
    let result = py.detach(|| ending::work(|| catch_unwind(AssertUnwindSafe(work))));
    logging::hand_over(py)?;
    let result = result?.unwrap_or_else(|panic| {
        let reason = select::panic_message(&*panic);
        Err(Error::Device(format!("gpukern made a mistake, please report it: {reason}")))
    });
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
    // So that a forked child knows that it is one.
    crate::device::fork::generation();
    errors::register(module)?;
    arrays::prepare(py)?;
    device::register(module)?;
    tensor::register(module)?;
    quant::register(module)?;
    ops::register(module)?;
    kernel::register(module)?;
    formulas::register(module)?;
    files::register(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
