//! Errors as Python exceptions. Each class is a `gpukern.Error` and the built-in class that a caller would expect.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::{
    PyException, PyIndexError, PyKeyboardInterrupt, PyMemoryError, PyRuntimeError, PyTypeError, PyUserWarning,
    PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::ending;
use crate::error::{Error, Result};

/// The classes, once the module has made them.
struct Classes {
    shape: Py<PyType>,
    dtype: Py<PyType>,
    bounds: Py<PyType>,
    argument: Py<PyType>,
    device: Py<PyType>,
    device_not_found: Py<PyType>,
    device_lost: Py<PyType>,
    out_of_memory: Py<PyType>,
    kernel: Py<PyType>,
    file: Py<PyType>,
    precision_warning: Py<PyType>,
}

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

thread_local! {
    /// Whether this thread runs signal handlers in the middle of a wait.
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
    /// What a signal handler raised while the engine waited.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Adds the exception classes to the module.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let make = |name: &str, document: &str, bases: &[Bound<'_, PyType>]| -> PyResult<Py<PyType>> {
        let members = PyDict::new(py);
        members.set_item("__module__", "gpukern")?;
        members.set_item("__doc__", document)?;
        let class = py.get_type::<PyType>().call1((name, PyTuple::new(py, bases)?, members))?.cast_into::<PyType>()?;
        module.add(name, &class)?;
        Ok(class.unbind())
    };
    let base = make("Error", "Everything that gpukern raises is one of these.", &[py.get_type::<PyException>()])?;
    let base = base.bind(py).clone();
    let with = |class: Bound<'_, PyType>| [base.clone(), class.clone()].map(|c| c.unbind().into_bound(py));
    let device = make(
        "DeviceError",
        "A device failed, or operands live on different devices.",
        &with(py.get_type::<PyRuntimeError>()),
    )?;
    let under_device = [device.bind(py).clone()];
    let classes = Classes {
        shape: make(
            "ShapeError",
            "Shapes that do not fit each other or the operation.",
            &with(py.get_type::<PyValueError>()),
        )?,
        dtype: make(
            "DTypeError",
            "A dtype that the operation does not take, or a value that its dtype cannot hold.",
            &with(py.get_type::<PyTypeError>()),
        )?,
        bounds: make("BoundsError", "An index outside its axis.", &with(py.get_type::<PyIndexError>()))?,
        argument: make(
            "ArgumentError",
            "An argument whose value makes no sense: a bad name, a read-only output, a malformed setting.",
            &with(py.get_type::<PyValueError>()),
        )?,
        device_not_found: make("DeviceNotFoundError", "A device that this machine does not have.", &under_device)?,
        device_lost: make("DeviceLostError", "The device went away, and everything on it.", &under_device)?,
        out_of_memory: make("OutOfMemoryError", "More memory than there is.", &with(py.get_type::<PyMemoryError>()))?,
        kernel: make(
            "KernelError",
            "WGSL that does not compile or does not bind.",
            &with(py.get_type::<PyValueError>()),
        )?,
        file: make(
            "FileError",
            "A file of a model that is damaged, or of a kind that gpukern does not read.",
            &with(py.get_type::<PyValueError>()),
        )?,
        precision_warning: make(
            "PrecisionWarning",
            "float64 input was computed in float32. See `gpukern.config.float64`.",
            &[py.get_type::<PyUserWarning>()],
        )?,
        device,
    };
    CLASSES.get_or_init(py, || classes);
    Ok(())
}

pub(super) fn is_not_found(py: Python<'_>, error: &PyErr) -> bool {
    CLASSES.get(py).is_some_and(|classes| error.is_instance(py, classes.device_not_found.bind(py)))
}

pub(super) fn precision_warning(py: Python<'_>) -> Bound<'_, PyType> {
    CLASSES.get(py).expect("made with the module").precision_warning.bind(py).clone()
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| {
            let Some(classes) = CLASSES.get(py) else { return PyRuntimeError::new_err(error.to_string()) };
            let class = match &error {
                Error::Shape(_) => &classes.shape,
                Error::DType(_) => &classes.dtype,
                Error::Bounds(_) => &classes.bounds,
                Error::Argument(_) => &classes.argument,
                Error::Device(_) => &classes.device,
                Error::DeviceNotFound(_) => &classes.device_not_found,
                Error::DeviceLost(_) => &classes.device_lost,
                Error::OutOfMemory(_) => &classes.out_of_memory,
                Error::Kernel(_) => &classes.kernel,
                Error::File(_) => &classes.file,
                Error::Interrupted => {
                    let raised = RAISED.with(|raised| raised.borrow_mut().take());
                    return raised.unwrap_or_else(|| PyKeyboardInterrupt::new_err(()));
                }
            };
            PyErr::from_type(class.bind(py).clone(), error.to_string())
        })
    }
}

/// Runs Python's signal handlers, and keeps what they raise for [`Error::Interrupted`].
pub(super) fn interrupted() -> bool {
    if ending::concerns_this_thread() {
        return true;
    }
    Python::attach(|py| {
        IN_HANDLER.set(true);
        let result = py.check_signals();
        IN_HANDLER.set(false);
        match result {
            Ok(()) => false,
            Err(error) => {
                RAISED.with(|raised| *raised.borrow_mut() = Some(error));
                true
            }
        }
    })
}

/// Refuses work that a signal handler asks for while this thread waits for a device, whose locks it holds.
pub(super) fn check_not_in_handler() -> Result<()> {
    if IN_HANDLER.get() {
        return Err(Error::Device(
            "this was called from a signal handler that interrupted a wait for a device; \
             let the handler only take note, and do the work afterwards"
                .into(),
        ));
    }
    Ok(())
}
