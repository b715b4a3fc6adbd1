//! `gpukern.Device`, and the functions that find and choose devices.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFrozenSet, PyTuple};

use super::tensor::shape_argument;
use super::{ending, enter, errors};
use crate::cpu::memory;
use crate::cpu::simd::Level;
use crate::device::select::{self, machine};
use crate::device::{Device, placement};
use crate::error::Error;
use crate::kernel::launch;
use crate::ops::work;
use crate::profile::{Outcome, Session, Timing};
use crate::shape::{Shape, show};

/// A device that computes: a GPU, or the CPU.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> cpu = gk.get_device("cpu")
/// >>> cpu.id, cpu.backend, cpu.kind
/// ('cpu', 'cpu', 'cpu')
#[pyclass(frozen, eq, hash, module = "gpukern", name = "Device")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PyDevice(pub(super) Device);

#[pymethods]
impl PyDevice {
    /// The name by which `get_device` finds it again, such as ``vulkan:0``.
    #[getter]
    fn id(&self) -> String {
        self.0.id()
    }

    /// The hardware's name.
    #[getter]
    fn name(&self) -> String {
        self.0.name()
    }

    /// ``cpu``, ``vulkan``, ``metal``, ``dx12`` or ``gl``.
    #[getter]
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    /// ``cpu``, ``discrete``, ``integrated``, ``virtual``, ``software`` or ``other``.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind().name()
    }

    /// The driver and its version; for the CPU device how it computes.
    #[getter]
    fn driver(&self) -> String {
        match &self.0 {
            Device::Cpu(cpu) => format!("{}, threads: {}", cpu.level().name(), cpu.threads()),
            Device::Gpu(gpu) => format!("{} {}", gpu.info.driver, gpu.info.driver_info).trim().to_string(),
        }
    }

    /// What kernels are chosen by, and what users' own may use, as a set of words.
    #[getter]
    fn features<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        let levels = match &self.0 {
            Device::Cpu(_) => Level::available(),
            Device::Gpu(_) => Vec::new(),
        };
        let levels = levels.into_iter().map(|level| format!("simd-{}", level.name()));
        PyFrozenSet::new(py, levels.chain(self.0.caps().words().map(Into::into)).collect::<Vec<_>>())
    }

    /// Numbers that kernels are chosen by: bytes of a binding, of a buffer and of workgroup memory, invocations of a
    /// workgroup and of a subgroup, storage variables; for the CPU device its threads, and the others for users' kernels.
    #[getter]
    fn limits<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let limits = PyDict::new(py);
        match &self.0 {
            Device::Cpu(cpu) => limits.set_item("threads", cpu.threads())?,
            Device::Gpu(gpu) => limits.set_item("buffer", gpu.caps.buffer)?,
        }
        let caps = self.0.caps();
        limits.set_item("binding", caps.binding)?;
        limits.set_item("shared", caps.shared)?;
        limits.set_item("workgroup", caps.workgroup)?;
        limits.set_item("groups", caps.groups)?;
        limits.set_item("alignment", caps.alignment)?;
        limits.set_item("variables", caps.variables)?;
        limits.set_item("subgroup_min", caps.subgroup_size.0)?;
        limits.set_item("subgroup_max", caps.subgroup_size.1)?;
        Ok(limits)
    }

    /// Memory of the device: what is in use and what is kept for reuse.
    #[getter]
    fn memory(&self) -> Memory {
        Memory(self.0.clone())
    }

    /// The same hardware with lowered capabilities, for testing how kernels do on poorer devices.
    ///
    /// Words, separated by commas. GPUs: ``-subgroups``, ``-f16``, ``-coop``, ``-byte-products``, ``-int64``,
    /// ``-float-atomics``, ``-immediates``, ``-timestamps``, ``-pipeline-cache``, ``binding=64KiB``, ``buffer=``,
    /// ``shared=``, ``workgroup=64``, ``groups=``.
    /// The CPU: ``simd=avx512|avx2|neon|scalar``, ``threads=1``.
    ///
    /// Examples
    /// --------
    /// >>> import gpukern as gk
    /// >>> gk.get_device("cpu").with_caps("threads=1").driver.endswith("threads: 1")
    /// True
    fn with_caps(&self, py: Python<'_>, caps: &str) -> PyResult<Self> {
        enter(py, || self.0.with_caps(caps).map(Self))
    }

    /// Wait until everything that was started on this device has finished.
    fn synchronize(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, || self.0.synchronize())
    }

    /// Destroys the open device, as a driver's reset would. For tests.
    fn _lose(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, || match &self.0 {
            Device::Cpu(_) => Err(Error::Device("the CPU device cannot be lost".into())),
            Device::Gpu(gpu) => {
                gpu.context()?.lose();
                Ok(())
            }
        })
    }

    fn __repr__(&self) -> String {
        format!("<gpukern.Device {}: {}, {}>", self.0.id(), self.0.name(), self.0.kind().name())
    }
}

/// Memory of a device, in bytes: what tensors use, what is kept for reuse, and how often it was reused.
#[pyclass(frozen, module = "gpukern", name = "Memory")]
struct Memory(Device);

impl Memory {
    fn usage(&self, py: Python<'_>) -> PyResult<memory::Usage> {
        match &self.0 {
            Device::Cpu(_) => Ok(memory::usage()),
            Device::Gpu(gpu) => enter(py, || Ok(gpu.context()?.usage())),
        }
    }
}

#[pymethods]
impl Memory {
    /// Bytes of tensors that are alive.
    #[getter]
    fn in_use(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.usage(py)?.in_use)
    }

    /// Bytes kept for reuse.
    #[getter]
    fn pooled(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.usage(py)?.pooled)
    }

    /// The most bytes that were ever in use.
    #[getter]
    fn peak(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.usage(py)?.peak)
    }

    /// Bytes that the device has.
    #[getter]
    fn limit(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.usage(py)?.limit)
    }

    /// How often memory was reused.
    #[getter]
    fn hits(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.usage(py)?.hits)
    }

    /// How often new memory was needed.
    #[getter]
    fn misses(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.usage(py)?.misses)
    }

    /// Give all memory that is kept for reuse back to the system.
    fn empty(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, || match &self.0 {
            Device::Cpu(_) => {
                memory::empty();
                Ok(())
            }
            Device::Gpu(gpu) => gpu.context()?.release_memory(),
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        use crate::error::Bytes;
        let usage = self.usage(py)?;
        let show = |bytes: usize| Bytes(bytes as u64);
        Ok(format!(
            "<gpukern.Memory of {}: {} in use, {} pooled, {} peak, {} in all>",
            self.0.id(),
            show(usage.in_use),
            show(usage.pooled),
            show(usage.peak),
            show(usage.limit)
        ))
    }
}

/// Set once `use_device` is used at all; until then no call needs to look.
static CONTEXT_ENABLED: AtomicBool = AtomicBool::new(false);
static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// A `device=` argument.
pub(super) fn device_argument(py: Python<'_>, device: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Device>> {
    device.map(|device| named_device(py, device, "device=")).transpose()
}

/// A device, or the name of one.
pub(super) fn named_device(py: Python<'_>, device: &Bound<'_, PyAny>, argument: &str) -> PyResult<Device> {
    if let Ok(device) = device.cast::<PyDevice>() {
        return Ok(device.get().0.clone());
    }
    let Ok(name) = device.extract::<String>() else {
        let shown = device.repr()?;
        return Err(Error::Argument(format!("{argument} takes a Device or the name of one, not {shown}")).into());
    };
    enter(py, move || select::resolve(&name))
}

/// The device that `use_device` asks for, if any.
fn context_device(py: Python<'_>) -> PyResult<Option<Device>> {
    if CONTEXT_ENABLED.load(Ordering::Relaxed)
        && let Some(current) = CURRENT.get(py)
    {
        let device = current.bind(py).call_method0(pyo3::intern!(py, "get"))?;
        return Ok(device.cast::<PyDevice>().ok().map(|device| device.get().0.clone()));
    }
    Ok(None)
}

/// The device that `use_device` or the environment asks for, if any.
pub(super) fn ambient_device(py: Python<'_>) -> PyResult<Option<Device>> {
    match (context_device(py)?, select::environment_name()) {
        (Some(device), _) => Ok(Some(device)),
        (None, None) => Ok(None),
        (None, Some(_)) => enter(py, select::environment_device),
    }
}

/// Where new tensors go when the call does not say.
pub(super) fn device_for_new(py: Python<'_>, device: Option<&Bound<'_, PyAny>>) -> PyResult<Device> {
    match device_argument(py, device)? {
        Some(device) => Ok(device),
        None => match ambient_device(py)? {
            Some(device) => Ok(device),
            None => enter(py, select::default_device),
        },
    }
}

/// Every device of this machine, the best first. A card that several backends offer is listed once.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> "cpu" in [device.id for device in gk.devices()]
/// True
#[pyfunction]
fn devices(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    let all = enter(py, || machine()?.devices())?;
    PyTuple::new(py, all.into_iter().map(PyDevice))
}

/// The device on which new tensors are made when nothing else is said.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> with gk.use_device("cpu"):
/// ...     gk.default_device().id
/// 'cpu'
#[pyfunction]
fn default_device(py: Python<'_>) -> PyResult<PyDevice> {
    device_for_new(py, None).map(PyDevice)
}

/// The device of this name: ``auto``, ``cpu``, ``gpu`` (the best one that is hardware), a backend (``vulkan``,
/// ``metal``, ``dx12``, ``gl``), a backend and a number (``vulkan:1``), or a part of the adapter's name.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.get_device("cpu").kind
/// 'cpu'
#[pyfunction]
fn get_device(py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<PyDevice> {
    named_device(py, name, "get_device: name").map(PyDevice)
}

/// Whether `get_device` finds a device of this name.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.is_available("cpu"), gk.is_available("abacus")
/// (True, False)
#[pyfunction]
fn is_available(py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
    match named_device(py, name, "is_available: name") {
        Ok(_) => Ok(true),
        Err(error) if errors::is_not_found(py, &error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Which device is chosen when nothing is said, and why each of the others is not.
///
/// With the name of an operation and the shapes of its operands: where it is computed for NumPy arrays, and how long it
/// is estimated to take there and elsewhere.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.explain().startswith("chosen: ")
/// True
/// >>> gk.explain("add", (1000, 1000), (1000,)).splitlines()[0]
/// 'add of NumPy arrays, float32 (1000, 1000) and (1000,): computed on cpu'
#[pyfunction]
#[pyo3(signature = (operation = None, /, *shapes))]
fn explain(py: Python<'_>, operation: Option<&str>, shapes: &Bound<'_, PyTuple>) -> PyResult<String> {
    const NAME: &str = "explain";
    let context = context_device(py)?;
    let Some(operation) = operation else { return enter(py, || machine()?.explain(context)) };
    if !work::names().any(|name| name == operation) {
        let names = work::names().collect::<Vec<_>>().join(", ");
        let message = format!("{NAME}: there is no operation '{operation}'; there are {names}");
        return Err(Error::Argument(message).into());
    }
    let (given, needed) = (shapes.len(), work::operands(operation));
    if given < needed {
        let message = format!("{NAME}: {operation} needs the shapes of {needed} operands or more, not of {given}");
        return Err(Error::Argument(message).into());
    }
    let shapes: Vec<Shape> = shapes.iter().map(|shape| shape_argument(&shape, NAME)).collect::<PyResult<_>>()?;
    let shown = shapes.iter().map(|shape| show(shape)).collect::<Vec<_>>().join(" and ");
    let operands: Vec<(&[usize], usize)> = shapes.iter().map(|shape| (&shape[..], 4)).collect();
    let work = work::work(operation, &operands).ok_or_else(|| {
        let shown = if shown.is_empty() { "none" } else { &shown };
        Error::Shape(format!("{NAME}: {operation} does not take operands of these shapes: {shown}"))
    })?;
    if let Some(device) = ambient_device(py)? {
        let id = device.id();
        return Ok(format!("{operation} of NumPy arrays, float32 {shown}: computed on {id}, because it is asked for"));
    }
    enter(py, || placement::explain(operation, &shown, &work))
}

/// Wait until everything that was started has finished, on one device or on all.
///
/// Examples
/// --------
/// >>> import gpukern as gk
/// >>> gk.synchronize()
#[pyfunction]
#[pyo3(signature = (device = None))]
fn synchronize(py: Python<'_>, device: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match device_argument(py, device)? {
        Some(device) => enter(py, || device.synchronize()),
        None => enter(py, select::synchronize_all),
    }
}

/// The device that an argument of a function of Python's names.
#[pyfunction]
#[pyo3(signature = (device, argument, /))]
fn _resolve(py: Python<'_>, device: &Bound<'_, PyAny>, argument: &str) -> PyResult<PyDevice> {
    named_device(py, device, argument).map(PyDevice)
}

#[pyfunction]
fn _enable_context() {
    CONTEXT_ENABLED.store(true, Ordering::Relaxed);
}

#[pyfunction]
fn _set_float64_policy(policy: &str) -> PyResult<()> {
    Ok(super::arrays::set_float64_policy(policy)?)
}

/// Limits how long kernels run on the CPU device, in seconds.
#[pyfunction]
#[pyo3(signature = (seconds, /))]
fn _set_kernel_timeout(seconds: Option<f64>) -> PyResult<()> {
    let limit = seconds.map(|seconds| match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => {
            let message = format!("config.kernel_timeout is a number of seconds above 0, or None, not {seconds}");
            Err(Error::Argument(message))
        }
    });
    launch::set_timeout(limit.transpose()?);
    Ok(())
}

/// The limit in force.
#[pyfunction]
fn _kernel_timeout() -> Option<f64> {
    launch::timeout().map(|limit| limit.as_secs_f64())
}

/// A profile that is open.
#[pyclass(frozen, module = "gpukern._native", name = "_Session")]
struct PySession(Arc<Session>);

/// One kernel: its name, device, start, seconds, bytes and operations.
type Times = (Cow<'static, str>, String, f64, f64, Option<u64>, Option<u64>);
/// Devices, and why something of them is missing.
type LeftOut = Vec<(String, String)>;

#[pymethods]
impl PySession {
    /// Ends it. The times, and the devices of which something is missing, each with the reason.
    fn end(&self, py: Python<'_>) -> PyResult<(Vec<Times>, LeftOut)> {
        let Outcome { timings, left_out } = enter(py, || self.0.end())?;
        let times = timings.into_iter().map(|Timing { name, device, start, seconds, bytes, operations }| {
            (name, device.id(), start, seconds, bytes, operations)
        });
        Ok((times.collect(), left_out))
    }
}

/// What was never ended would measure for ever.
impl Drop for PySession {
    fn drop(&mut self) {
        let _ = self.0.end();
    }
}

#[pyfunction]
#[pyo3(signature = (device, /))]
fn _profile(py: Python<'_>, device: Option<&PyDevice>) -> PyResult<PySession> {
    enter(py, || Session::begin(device.map(|device| device.0.clone())).map(PySession))
}

#[pyfunction]
fn _shutdown(py: Python<'_>) -> PyResult<()> {
    enter(py, || {
        ending::end();
        Ok(())
    })
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<PyDevice>()?;
    module.add_class::<Memory>()?;
    module.add_class::<PySession>()?;
    for function in [
        wrap_pyfunction!(devices, module)?,
        wrap_pyfunction!(default_device, module)?,
        wrap_pyfunction!(get_device, module)?,
        wrap_pyfunction!(is_available, module)?,
        wrap_pyfunction!(explain, module)?,
        wrap_pyfunction!(synchronize, module)?,
        wrap_pyfunction!(_resolve, module)?,
        wrap_pyfunction!(_enable_context, module)?,
        wrap_pyfunction!(_set_float64_policy, module)?,
        wrap_pyfunction!(_set_kernel_timeout, module)?,
        wrap_pyfunction!(_kernel_timeout, module)?,
        wrap_pyfunction!(_profile, module)?,
        wrap_pyfunction!(_shutdown, module)?,
    ] {
        module.add_function(function)?;
    }
    let keywords = PyDict::new(py);
    keywords.set_item("default", py.None())?;
    let current = py.import("contextvars")?.call_method("ContextVar", ("gpukern.device",), Some(&keywords))?;
    module.add("_current_device", &current)?;
    CURRENT.get_or_init(py, || current.unbind());
    Ok(())
}
