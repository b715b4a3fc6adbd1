//! Devices: the CPU device, which is always there, and the GPUs that the machine offers.

pub mod caps;
pub mod fork;
pub mod placement;
pub mod select;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cpu::CpuDevice;
use crate::error::{Error, Result};
use crate::gpu::context::Context;
use crate::profile;
use caps::Caps;

pub use select::{Machine, machine};

/// So long the end of the process waits for a device.
const CLOSING: Duration = Duration::from_secs(3);

/// Something that computes. Cheap to clone and to compare.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Device {
    Cpu(CpuDevice),
    Gpu(Arc<GpuDevice>),
}

/// One adapter with one set of capabilities. There is one object for each such pair in a process.
pub struct GpuDevice {
    /// `vulkan:0`, with the lowered capabilities behind it if there are any: `vulkan:0[-subgroups]`.
    pub id: String,
    pub info: wgpu::AdapterInfo,
    pub kind: Kind,
    pub caps: Caps,
    /// The words by which the capabilities were lowered.
    pub caps_text: String,
    /// The adapter's place in [`Machine::adapters`].
    pub index: usize,
    adapter: wgpu::Adapter,
    opened: Mutex<Option<Arc<Context>>>,
}

/// What sort of hardware a device is, from the one to prefer to the one never chosen silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Discrete,
    Integrated,
    Virtual,
    Other,
    Cpu,
    Software,
}

impl Kind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Other => "other",
            Self::Cpu => "cpu",
            Self::Software => "software",
        }
    }
}

impl GpuDevice {
    /// The open device. Opens it on first use, and again after it was lost.
    pub fn context(self: &Arc<Self>) -> Result<Arc<Context>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = opened.as_ref() {
            if context.is_inherited() {
                return Err(fork::inherited(&self.id));
            }
            if !context.is_lost() {
                return Ok(context.clone());
            }
        }
        if machine()?.is_inherited() {
            return Err(fork::inherited(&self.id));
        }
        let context = Context::open(self.clone(), &self.adapter)?;
        *opened = Some(context.clone());
        profile::opened(&context)?;
        Ok(context)
    }

    /// The open device, if it is open.
    #[must_use]
    pub fn opened(&self) -> Option<Arc<Context>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the open device, before the process ends. Tensors on it keep it alive until they are gone. One that
    /// is busy is left as it is, since to let it go would be to wait for it.
    pub(crate) fn close(&self) {
        let context = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(context) = context {
            context.save_pipelines();
            if !context.is_idle_within(CLOSING) {
                std::mem::forget(context);
            }
        }
    }
}

impl Device {
    /// The name by which it can be asked for again.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Cpu(cpu) => select::cpu_id(*cpu),
            Self::Gpu(gpu) => gpu.id.clone(),
        }
    }

    /// The hardware's name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(_) => select::processor_name(),
            Self::Gpu(gpu) => gpu.info.name.clone(),
        }
    }

    #[must_use]
    pub fn backend(&self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            Self::Gpu(gpu) => select::backend_name(gpu.info.backend),
        }
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cpu(_) => Kind::Cpu,
            Self::Gpu(gpu) => gpu.kind,
        }
    }

    /// What kernels find on it.
    #[must_use]
    pub fn caps(&self) -> &Caps {
        match self {
            Self::Cpu(_) => &Caps::CPU,
            Self::Gpu(gpu) => &gpu.caps,
        }
    }

    /// The same hardware with lowered capabilities.
    pub fn with_caps(&self, text: &str) -> Result<Self> {
        match self {
            Self::Cpu(cpu) => {
                let (level, threads) = caps::cpu_settings(text)?;
                let mut cpu = *cpu;
                if let Some(level) = level {
                    cpu = cpu.with_level(level)?;
                }
                if let Some(threads) = threads {
                    cpu = cpu.with_threads(threads);
                }
                Ok(Self::Cpu(cpu))
            }
            Self::Gpu(gpu) => machine()?.gpu(gpu.index, &format!("{},{text}", gpu.caps_text)).map(Self::Gpu),
        }
    }

    /// Waits until everything recorded on it has run.
    pub fn synchronize(&self) -> Result<()> {
        match self {
            Self::Cpu(_) => Ok(()),
            Self::Gpu(gpu) => gpu.opened().map_or(Ok(()), |context| context.synchronize()),
        }
    }

    /// Refuses operands that live on different devices. `names` are what the operation calls them.
    pub fn check_same(&self, other: &Self, operation: &str, names: [&str; 2]) -> Result<()> {
        if self == other {
            return Ok(());
        }
        Err(Error::Device(format!(
            "{operation}: {} is on {} and {} on {}; move one with .to()",
            names[0],
            self.id(),
            names[1],
            other.id()
        )))
    }
}

impl PartialEq for GpuDevice {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for GpuDevice {}

impl Hash for GpuDevice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.id())
    }
}
