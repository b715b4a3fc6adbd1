//! Finding the machine's devices, ranking them, choosing one, and saying why.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::caps::{self, Caps};
use super::{Device, GpuDevice, Kind, fork};
use crate::cpu::CpuDevice;
use crate::error::{Error, Result};
use crate::gpu::context::Context;

/// Every device of this machine. Made once, when something first asks for a device.
pub struct Machine {
    pub adapters: Vec<Adapter>,
    cpu: CpuDevice,
    /// Lowered capabilities from `GPUKERN_CAPS`, for GPUs.
    gpu_caps: String,
    gpus: Mutex<HashMap<(usize, String), Arc<GpuDevice>>>,
    low_power: bool,
    /// What went wrong while looking, if anything.
    trouble: Option<String>,
    generation: u32,
    _instance: Option<wgpu::Instance>,
}

/// One adapter as a driver presents it.
pub struct Adapter {
    /// `vulkan:0`
    pub id: String,
    pub info: wgpu::AdapterInfo,
    pub kind: Kind,
    /// Another adapter that is the same card through a better backend.
    pub same_as: Option<String>,
    raw: wgpu::Adapter,
    caps: Caps,
    /// Why it could not be opened, once that was tried.
    failure: Mutex<Option<String>>,
}

static MACHINE: OnceLock<Result<Machine>> = OnceLock::new();

/// The machine, looked at on first use. A malformed environment variable is reported by every call.
pub fn machine() -> Result<&'static Machine> {
    MACHINE.get_or_init(Machine::look).as_ref().map_err(Clone::clone)
}

/// The CPU device with its environment settings, without looking for GPUs.
pub fn cpu() -> Result<Device> {
    static CPU: OnceLock<Result<CpuDevice>> = OnceLock::new();
    CPU.get_or_init(|| {
        let (_, words) = caps::split(&environment("GPUKERN_CAPS"));
        match Device::Cpu(CpuDevice::new()?).with_caps(&words).map_err(|e| e.within("GPUKERN_CAPS"))? {
            Device::Cpu(cpu) => Ok(cpu),
            Device::Gpu(_) => unreachable!("capabilities do not change what a device is"),
        }
    })
    .clone()
    .map(Device::Cpu)
}

/// `cpu`, with what differs from the machine's own settings behind it: `cpu[simd=avx2]`.
pub(super) fn cpu_id(device: CpuDevice) -> String {
    let mut words = Vec::new();
    if let Ok(Device::Cpu(own)) = cpu() {
        if own.level() != device.level() {
            words.push(format!("simd={}", device.level().name()));
        }
        if own.threads() != device.threads() {
            words.push(format!("threads={}", device.threads()));
        }
    }
    if words.is_empty() { "cpu".into() } else { format!("cpu[{}]", words.join(",")) }
}

/// The device that `GPUKERN_DEVICE` names; none when it is unset or "auto".
pub fn environment_device() -> Result<Option<Device>> {
    static DEVICE: OnceLock<Result<Device>> = OnceLock::new();
    match environment_name() {
        None => Ok(None),
        Some(name) => {
            let device = DEVICE.get_or_init(|| resolve(name).map_err(|e| e.within("GPUKERN_DEVICE")));
            device.clone().map(Some)
        }
    }
}

/// The name in `GPUKERN_DEVICE`, read once; none when it is unset or "auto".
pub fn environment_name() -> Option<&'static str> {
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    NAME.get_or_init(|| Some(environment("GPUKERN_DEVICE")).filter(|n| !n.is_empty() && n != "auto")).as_deref()
}

/// The device that work goes to when nothing else is said: the environment's, or the best there is.
pub fn default_device() -> Result<Device> {
    match environment_device()? {
        Some(device) => Ok(device),
        None => machine()?.best(),
    }
}

/// The device of this name. "cpu" opens nothing.
pub fn resolve(name: &str) -> Result<Device> {
    match name {
        "cpu" => cpu(),
        _ => machine()?.find(name),
    }
}

/// Waits for every device that was used. Looks for none if none was.
pub fn synchronize_all() -> Result<()> {
    open_contexts().iter().try_for_each(|context| context.synchronize())
}

/// Every GPU that is open.
pub(crate) fn open_contexts() -> Vec<Arc<Context>> {
    opened().iter().filter_map(|gpu| gpu.opened()).collect()
}

/// Whether drivers were asked for devices.
pub fn has_looked() -> bool {
    MACHINE.get().is_some()
}

/// Saves what is worth keeping, and lets go of every device.
pub fn close_all() {
    for gpu in opened() {
        gpu.close();
    }
}

fn opened() -> Vec<Arc<GpuDevice>> {
    match MACHINE.get() {
        Some(Ok(machine)) if !machine.is_inherited() => {
            machine.gpus.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
        }
        _ => Vec::new(),
    }
}

impl Machine {
    fn look() -> Result<Self> {
        let Device::Cpu(cpu) = cpu()? else { unreachable!("the CPU device is a CPU") };
        let (gpu_caps, _) = caps::split(&environment("GPUKERN_CAPS"));
        let low_power = match environment("GPUKERN_POWER").to_lowercase().as_str() {
            "" | "high" => false,
            "low" => true,
            other => {
                return Err(Error::Argument(format!("GPUKERN_POWER: '{other}' is neither 'low' nor 'high'")));
            }
        };
        // A broken driver may make wgpu panic; the machine then simply has no GPU, and says why.
        let (instance, adapters, trouble) = match catch_unwind(AssertUnwindSafe(enumerate)) {
            Ok((instance, adapters)) => (Some(instance), adapters, None),
            Err(panic) => (None, Vec::new(), Some(format!("looking for GPUs failed: {}", panic_message(&*panic)))),
        };
        let machine = Self {
            adapters: number(adapters),
            cpu,
            gpu_caps,
            gpus: Mutex::default(),
            low_power,
            trouble,
            generation: fork::generation(),
            _instance: instance,
        };
        // A malformed GPUKERN_CAPS is reported even where there is no GPU to apply it to.
        Caps::ANY.lowered(&machine.gpu_caps).map_err(|e| e.within("GPUKERN_CAPS"))?;
        Ok(machine)
    }

    /// Whether a parent process looked, and this one is its fork.
    pub fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Every device: GPUs from the best to the worst, each card once, and the CPU device in its place.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let mut ranked: Vec<(u8, Option<usize>)> = (0..self.adapters.len())
            .filter(|&index| self.adapters[index].same_as.is_none())
            .map(|index| (self.rank(self.adapters[index].kind), Some(index)))
            .chain([(self.rank(Kind::Cpu), None)])
            .collect();
        ranked.sort();
        ranked
            .into_iter()
            .map(|(_, index)| match index {
                Some(index) => self.gpu(index, &self.gpu_caps).map(Device::Gpu),
                None => Ok(Device::Cpu(self.cpu)),
            })
            .collect()
    }

    /// The device for an adapter with capabilities lowered by `text`.
    pub fn gpu(&self, index: usize, text: &str) -> Result<Arc<GpuDevice>> {
        let text = caps::canonical(text);
        let mut gpus = self.gpus.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = gpus.get(&(index, text.clone())) {
            return Ok(gpu.clone());
        }
        let adapter = &self.adapters[index];
        let gpu = Arc::new(GpuDevice {
            id: if text.is_empty() { adapter.id.clone() } else { format!("{}[{text}]", adapter.id) },
            info: adapter.info.clone(),
            kind: adapter.kind,
            caps: adapter.caps.lowered(&text)?,
            caps_text: text.clone(),
            index,
            adapter: adapter.raw.clone(),
            opened: Mutex::new(None),
        });
        gpus.insert((index, text), gpu.clone());
        Ok(gpu)
    }

    /// The best device that opens. Software adapters are never taken: the CPU device is faster.
    pub fn best(&self) -> Result<Device> {
        if self.is_inherited() && self.adapters.iter().any(|adapter| adapter.kind != Kind::Software) {
            return Err(fork::inherited("auto"));
        }
        for device in self.devices()? {
            match &device {
                Device::Cpu(_) => return Ok(device),
                Device::Gpu(gpu) => {
                    let failure = &self.adapters[gpu.index].failure;
                    if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        continue;
                    }
                    match gpu.context() {
                        Ok(_) => return Ok(device),
                        Err(error) => {
                            log::warn!("{} does not open and is passed over: {error}", gpu.id);
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                        }
                    }
                }
            }
        }
        Ok(Device::Cpu(self.cpu))
    }

    /// The device of this name; see the README for the names there are.
    pub fn find(&self, name: &str) -> Result<Device> {
        let name = name.trim();
        // "vulkan:0[-subgroups]", as `Device.id` gives it.
        if let Some((base, words)) = name.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
            return self.find(base)?.with_caps(words);
        }
        let wanted = name.to_lowercase();
        match wanted.as_str() {
            "auto" => return self.best(),
            "cpu" => return Ok(Device::Cpu(self.cpu)),
            _ => {}
        }
        let matches = |adapter: &Adapter| match wanted.as_str() {
            "gpu" => adapter.kind != Kind::Software,
            backend @ ("vulkan" | "metal" | "dx12" | "gl") => backend_name(adapter.info.backend) == backend,
            other => adapter.id == other || (!other.is_empty() && adapter.info.name.to_lowercase().contains(other)),
        };
        (0..self.adapters.len())
            .filter(|&index| matches(&self.adapters[index]))
            .min_by_key(|&index| (self.adapters[index].same_as.is_some(), self.rank(self.adapters[index].kind), index))
            .map_or_else(|| Err(self.not_found(name)), |index| self.gpu(index, &self.gpu_caps).map(Device::Gpu))
    }

    fn not_found(&self, name: &str) -> Error {
        let list = self
            .adapters
            .iter()
            .map(|adapter| format!("{} ({}, {})", adapter.id, adapter.info.name, adapter.kind.name()))
            .chain(["cpu".to_string()])
            .collect::<Vec<_>>()
            .join(", ");
        let hint = if name == "gpu" && self.adapters.iter().any(|a| a.kind == Kind::Software) {
            "; 'gpu' leaves out software adapters, which can be asked for by name"
        } else {
            ""
        };
        Error::DeviceNotFound(format!("no device '{name}' on this machine; there are: {list}{hint}"))
    }

    fn rank(&self, kind: Kind) -> u8 {
        match kind {
            Kind::Integrated if self.low_power => 0,
            Kind::Discrete => 1,
            Kind::Integrated => 2,
            Kind::Virtual => 3,
            Kind::Other => 4,
            Kind::Cpu => 5,
            Kind::Software => 6,
        }
    }

    /// What is chosen when nothing is said, and why each of the others is not.
    /// `context` is the device that a surrounding block asks for, if any.
    pub fn explain(&self, context: Option<Device>) -> Result<String> {
        let (environment, missing) = match environment_device() {
            Ok(environment) => (environment, None),
            Err(error) => (None, Some(error)),
        };
        let (chosen, why) = match (context, &environment) {
            (Some(device), _) => (device, "because use_device asks for it"),
            (None, Some(device)) => (device.clone(), "because GPUKERN_DEVICE asks for it"),
            (None, None) => {
                let best = self.best()?;
                let why = match &best {
                    Device::Gpu(_) if self.low_power => "the best GPU for low power (GPUKERN_POWER=low)",
                    Device::Gpu(_) => "the best GPU there is",
                    Device::Cpu(_) => "because there is no hardware GPU to use",
                };
                (best, why)
            }
        };
        let asked = why.ends_with("asks for it");
        let mut text = match &missing {
            Some(missing) => format!("nothing is chosen, and calls raise: {missing}\nwithout that: "),
            None => "chosen: ".to_string(),
        };
        let _ = writeln!(text, "{} ({}, {}), {why}", chosen.id(), chosen.name(), chosen.kind().name());
        for adapter in &self.adapters {
            if matches!(&chosen, Device::Gpu(gpu) if self.adapters[gpu.index].id == adapter.id) {
                continue;
            }
            let failure = adapter.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let why = if let Some(failure) = failure {
                format!("it does not open: {failure}")
            } else if let Some(better) = &adapter.same_as {
                format!("the same card as {better}")
            } else if asked {
                "another is asked for".to_string()
            } else if adapter.kind == Kind::Software {
                "a software adapter, slower than the CPU device; ask for it by name to use it".to_string()
            } else {
                format!("ranked after {}", chosen.id())
            };
            let _ =
                writeln!(text, "passed over: {} ({}, {}): {why}", adapter.id, adapter.info.name, adapter.kind.name());
        }
        if !matches!(chosen, Device::Cpu(_)) {
            let why = if asked { "another is asked for" } else { "ranked after every GPU" };
            let _ = writeln!(text, "passed over: cpu ({}, cpu): {why}", processor_name());
        }
        if let Some(trouble) = &self.trouble {
            let _ = writeln!(text, "trouble: {trouble}");
        } else if self.adapters.is_empty() {
            text += "no GPU driver was found: no Vulkan, Metal, DX12 or GL adapter answers on this machine\n";
        }
        if !asked {
            text += "NumPy arrays alone, with no device named, are computed where the answer is estimated to come back \
                     first: explain(operation, *shapes) says where\n";
        }
        text.truncate(text.trim_end().len());
        Ok(text)
    }
}

/// Asks every backend for its adapters.
fn enumerate() -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    let _quiet = quiet::NoDeviceSelect::new();
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12 | wgpu::Backends::GL;
    descriptor.flags = wgpu::InstanceFlags::empty();
    descriptor.memory_budget_thresholds.for_resource_creation = Some(95);
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    (instance, adapters)
}

/// Gives adapters their ids and marks those that are another one's card again.
fn number(adapters: Vec<wgpu::Adapter>) -> Vec<Adapter> {
    let mut numbered: Vec<Adapter> = Vec::new();
    let mut counts: HashMap<&'static str, usize> = HashMap::new();
    // Backends that know more about a card come first, so that the others can be recognised as the same.
    let mut adapters = adapters;
    adapters.sort_by_key(|adapter| adapter.get_info().backend == wgpu::Backend::Gl);
    for adapter in adapters {
        let info = adapter.get_info();
        let downlevel = adapter.get_downlevel_capabilities();
        if !downlevel.flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
            log::info!("{} ({:?}) has no compute shaders and is left out", info.name, info.backend);
            continue;
        }
        let caps = Caps::of(&adapter);
        if caps.binding < MIN_BINDING || caps.workgroup < 16 {
            log::info!("{} ({:?}) is left out: {caps}", info.name, info.backend);
            continue;
        }
        let count = counts.entry(backend_name(info.backend)).or_default();
        let id = format!("{}:{count}", backend_name(info.backend));
        *count += 1;
        let same_as = numbered.iter().find(|other| is_same_card(&other.info, &info)).map(|other| other.id.clone());
        numbered.push(Adapter {
            kind: kind_of(&info),
            id,
            same_as,
            info,
            raw: adapter,
            caps,
            failure: Mutex::new(None),
        });
    }
    numbered
}

/// Below this no kernel of ours could bind anything useful.
const MIN_BINDING: u64 = 4096;

fn kind_of(info: &wgpu::AdapterInfo) -> Kind {
    let name = info.name.to_lowercase();
    if ["llvmpipe", "swiftshader", "softpipe", "basic render"].iter().any(|software| name.contains(software)) {
        return Kind::Software;
    }
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::VirtualGpu => Kind::Virtual,
        wgpu::DeviceType::Cpu => Kind::Software,
        wgpu::DeviceType::Other => Kind::Other,
    }
}

/// Whether `later` is the card of `known` again, through another backend.
fn is_same_card(known: &wgpu::AdapterInfo, later: &wgpu::AdapterInfo) -> bool {
    if known.backend == later.backend {
        return false;
    }
    let by_bus = !later.device_pci_bus_id.is_empty() && known.device_pci_bus_id == later.device_pci_bus_id;
    let by_number = later.device != 0 && (known.vendor, known.device) == (later.vendor, later.device);
    // GL gives no numbers, but names the card: "NVIDIA H200/PCIe/SSE2".
    let plain = |name: &str| name.split(['(', '/']).next().unwrap_or("").trim().to_lowercase();
    let (a, b) = (plain(&known.name), plain(&later.name));
    by_bus || by_number || (!a.is_empty() && !b.is_empty() && (a.contains(&b) || b.contains(&a)))
}

pub(super) const fn backend_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        wgpu::Backend::BrowserWebGpu => "webgpu",
        wgpu::Backend::Noop => "noop",
    }
}

/// The processor's own name, where the system tells it.
pub fn processor_name() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        std::fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with("model name"))?;
                Some(line.split_once(':')?.1.trim().to_string())
            })
            .unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
    })
    .clone()
}

fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_default().trim().to_string()
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a driver failed".into())
}

/// Mesa's device-select layer prints to stderr where there is no desktop session. It reorders adapters, which is our
/// own business, so it is switched off while they are enumerated.
mod quiet {
    #![expect(unsafe_code, reason = "changing the environment is unsafe")]

    pub(super) struct NoDeviceSelect(bool);

    const VARIABLE: &str = "NODEVICE_SELECT";

    impl NoDeviceSelect {
        pub(super) fn new() -> Self {
            let wanted = cfg!(target_os = "linux") && std::env::var_os(VARIABLE).is_none();
            if wanted {
                // SAFETY: only C code that reads the environment on another thread at this very moment could be
                // disturbed; the same is true of every assignment to Python's os.environ.
                unsafe { std::env::set_var(VARIABLE, "1") };
            }
            Self(wanted)
        }
    }

    impl Drop for NoDeviceSelect {
        fn drop(&mut self) {
            if self.0 {
                // SAFETY: as above.
                unsafe { std::env::remove_var(VARIABLE) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, backend: wgpu::Backend) -> wgpu::AdapterInfo {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::DiscreteGpu, backend);
        info.name = name.into();
        info
    }

    #[test]
    fn one_card_through_two_backends_is_one_choice() {
        let vulkan = info("NVIDIA H200", wgpu::Backend::Vulkan);
        assert!(is_same_card(&vulkan, &info("NVIDIA H200/PCIe/SSE2", wgpu::Backend::Gl)));
        assert!(!is_same_card(&vulkan, &info("NVIDIA H200", wgpu::Backend::Vulkan)), "two cards of one make");
        assert!(!is_same_card(&vulkan, &info("Mesa Intel(R) UHD", wgpu::Backend::Gl)));
    }

    #[test]
    fn software_is_recognised_by_name_too() {
        assert_eq!(kind_of(&info("llvmpipe (LLVM 15.0.6, 256 bits)", wgpu::Backend::Gl)), Kind::Software);
        assert_eq!(kind_of(&info("AMD Radeon RX 7900", wgpu::Backend::Vulkan)), Kind::Discrete);
    }
}
