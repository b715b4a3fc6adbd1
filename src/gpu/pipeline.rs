//! Compute pipelines: compiled once, kept in memory, and on disk where the driver allows it.

use std::borrow::Cow;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::{FxHashMap, FxHasher};

use super::wgsl::{OURS, Slot, assemble, users};
use crate::device::caps::{Caps, IMMEDIATE_BYTES};
use crate::error::{Error, Result};
use crate::generations::{Generations, cached};
use crate::kernel::Identity;
use crate::kernel::compile::on_deep_stack;

/// What a pipeline is made from.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What error messages call it.
    pub label: Cow<'static, str>,
    /// The shader file's text.
    pub source: &'static str,
    pub slots: Vec<(&'static str, Slot)>,
    /// Values for the shader's `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// For each binding that is only read, whether the kernel uses it. One more follows them, which is written.
    pub inputs: Vec<bool>,
    pub params: ParamLayout,
}

impl Spec {
    /// The `override` constants by the names that they have in the assembled text.
    pub(crate) fn constants(&self) -> Vec<(Cow<'static, str>, f64)> {
        let apart = users(&self.slots).is_some();
        let name = |name: &'static str| if apart { format!("{OURS}{name}").into() } else { name.into() };
        self.constants.iter().map(|&(constant, value)| (name(constant), value)).collect()
    }
}

/// Where a kernel's parameters lie.
#[derive(Debug, Clone, Copy)]
pub struct ParamLayout {
    pub size: usize,
    /// The name and offset of each.
    pub fields: &'static [(&'static str, usize)],
}

/// Defines the Rust twin of a shader's `struct Params`. A test compares the two.
macro_rules! shader_params {
    ($(#[$document:meta])* struct $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$document])*
        #[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        struct $name {
            $($field: $type),*
        }

        impl $name {
            const LAYOUT: $crate::gpu::pipeline::ParamLayout = $crate::gpu::pipeline::ParamLayout {
                size: size_of::<Self>(),
                fields: &[$((stringify!($field), std::mem::offset_of!(Self, $field))),*],
            };
        }
    };
}
pub(crate) use shader_params;

/// Lengths of axes as a parameter: those that are missing in front are 1.
pub(crate) fn lengths_param<const AXES: usize>(lengths: &[usize]) -> [u32; AXES] {
    let mut all = [1; AXES];
    for (to, &from) in all[AXES - lengths.len()..].iter_mut().zip(lengths) {
        *to = from as u32;
    }
    all
}

/// Strides of axes as a parameter, which wrap around: those that are missing in front are 0.
pub(crate) fn strides_param<const AXES: usize>(strides: &[isize]) -> [u32; AXES] {
    let mut all = [0; AXES];
    for (to, &from) in all[AXES - strides.len()..].iter_mut().zip(strides) {
        *to = from as u32;
    }
    all
}

/// A compiled kernel.
pub(crate) struct Pipeline {
    /// No other pipeline ever has it.
    pub(crate) id: u64,
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) bindings: wgpu::BindGroupLayout,
    /// Bind groups of pipelines with the same number can be shared, if they bind the same.
    pub(crate) layout: u64,
}

/// How a user's kernel sees what is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BindingKind {
    Read,
    ReadWrite,
    /// A few values, somewhere in a buffer that many launches share.
    Uniform,
    /// A few values that have to be storage.
    Stored,
}

/// Counts pipelines, from 1 on.
static IDS: AtomicU64 = AtomicU64::new(1);

pub(crate) struct Pipelines {
    /// Drivers take a megabyte and more for each.
    by_key: Mutex<Generations<u64, Pipeline>>,
    /// Those of users' programs, with their grids as they are and folded.
    by_program: Mutex<Generations<(Identity, bool), Pipeline>>,
    /// The layouts of users' kernels, numbered from 1 on.
    layouts: Mutex<FxHashMap<Vec<BindingKind>, (u64, wgpu::BindGroupLayout)>>,
    /// The layout of the uniform buffer that stands in for immediates.
    pub(crate) uniforms: Option<wgpu::BindGroupLayout>,
    disk: Option<DiskCache>,
}

impl Pipelines {
    pub(crate) fn new(device: &wgpu::Device, caps: &Caps, info: &wgpu::AdapterInfo) -> Self {
        let uniforms = (!caps.immediates).then(|| {
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some("parameters"),
                entries: &[entry(
                    0,
                    wgpu::BufferBindingType::Uniform,
                    true,
                    wgpu::BufferSize::new(u64::from(IMMEDIATE_BYTES)),
                )],
            })
        });
        let disk = if caps.pipeline_cache { DiskCache::open(device, info) } else { None };
        Self { by_key: Mutex::default(), by_program: Mutex::default(), layouts: Mutex::default(), uniforms, disk }
    }

    /// The pipeline of this key. `spec` describes it when it is not compiled yet.
    pub(crate) fn get(&self, device: &wgpu::Device, key: u64, spec: impl FnOnce() -> Spec) -> Result<Arc<Pipeline>> {
        cached(&self.by_key, &key, || self.compile(device, &spec()))
    }

    /// What has functions of a user's is compiled with checks, and with room for deeply nested ones.
    fn compile(&self, device: &wgpu::Device, spec: &Spec) -> Result<Pipeline> {
        match users(&spec.slots) {
            None => self.compile_spec(device, spec, false),
            Some(_) => on_deep_stack(&format!("kernel '{}'", spec.label), || self.compile_spec(device, spec, true)),
        }
    }

    fn compile_spec(&self, device: &wgpu::Device, spec: &Spec, checked: bool) -> Result<Pipeline> {
        let text = assemble(spec.source, &spec.slots, self.uniforms.is_none())?;
        self.create(device, &spec.label, || {
            let bindings = storage_layout(device, &spec.inputs);
            let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&spec.label),
                bind_group_layouts: &[Some(&bindings), self.uniforms.as_ref()][..=usize::from(self.uniforms.is_some())],
                immediate_size: if self.uniforms.is_none() { spec.params.size as u32 } else { 0 },
            });
            let source = wgpu::ShaderSource::Wgsl(text.into());
            let descriptor = wgpu::ShaderModuleDescriptor { label: Some(&spec.label), source };
            let module = if checked { device.create_shader_module(descriptor) } else { unchecked(device, descriptor) };
            let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&spec.label),
                layout: Some(&layout),
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &spec.constants().iter().map(|(name, value)| (&**name, *value)).collect::<Vec<_>>(),
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.disk.as_ref().map(|disk| &disk.cache),
            });
            (raw, bindings, 0)
        })
    }

    /// What `make` makes (a pipeline, its bindings and the number of their layout), or why the device refuses it.
    fn create(
        &self,
        device: &wgpu::Device,
        label: &str,
        make: impl FnOnce() -> (wgpu::ComputePipeline, wgpu::BindGroupLayout, u64),
    ) -> Result<Pipeline> {
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let (raw, bindings, layout) = make();
        let errors = [pollster::block_on(internal.pop()), pollster::block_on(scope.pop())];
        if let Some(error) = errors.into_iter().flatten().next() {
            return Err(Error::Kernel(format!("kernel '{label}' does not compile on this device: {error}")));
        }
        if let Some(disk) = &self.disk {
            disk.changed.store(true, Ordering::Relaxed);
        }
        Ok(Pipeline { id: IDS.fetch_add(1, Ordering::Relaxed), raw, bindings, layout })
    }

    /// The pipeline of a user's program.
    pub(crate) fn of_program(
        &self,
        key: &(Identity, bool),
        compile: impl FnOnce() -> Result<Pipeline>,
    ) -> Result<Arc<Pipeline>> {
        cached(&self.by_program, key, compile)
    }

    /// Compiles a user's module, with wgpu's checks unless it is trusted.
    pub(crate) fn compile_module(
        &self,
        device: &wgpu::Device,
        module: naga::Module,
        label: &str,
        kinds: &[BindingKind],
        trusted: bool,
    ) -> Result<Pipeline> {
        let make = || {
            let (layout, bindings) = self.layout_of(device, kinds);
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(label),
                bind_group_layouts: &[Some(&bindings)],
                immediate_size: 0,
            });
            let source = wgpu::ShaderSource::Naga(Cow::Owned(module));
            let descriptor = wgpu::ShaderModuleDescriptor { label: Some(label), source };
            let module = if trusted { unchecked(device, descriptor) } else { device.create_shader_module(descriptor) };
            let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: self.disk.as_ref().map(|disk| &disk.cache),
            });
            (raw, bindings, layout)
        };
        on_deep_stack(&format!("kernel '{label}'"), || self.create(device, label, make))
    }

    /// The layout of a user's kernel and its number. Kernels that see theirs alike share it.
    fn layout_of(&self, device: &wgpu::Device, kinds: &[BindingKind]) -> (u64, wgpu::BindGroupLayout) {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        let number = layouts.len() as u64 + 1;
        let make = || {
            let entries: Vec<_> = kinds
                .iter()
                .enumerate()
                .map(|(i, kind)| {
                    let (ty, moves) = match kind {
                        BindingKind::Read => (wgpu::BufferBindingType::Storage { read_only: true }, false),
                        BindingKind::ReadWrite => (wgpu::BufferBindingType::Storage { read_only: false }, false),
                        BindingKind::Uniform => (wgpu::BufferBindingType::Uniform, true),
                        BindingKind::Stored => (wgpu::BufferBindingType::Storage { read_only: true }, true),
                    };
                    entry(i as u32, ty, moves, None)
                })
                .collect();
            let descriptor = wgpu::BindGroupLayoutDescriptor { label: Some("arguments"), entries: &entries };
            (number, device.create_bind_group_layout(&descriptor))
        };
        layouts.entry(kinds.to_vec()).or_insert_with(make).clone()
    }

    /// Writes what the driver compiled to disk, if that is new.
    pub(crate) fn save(&self) {
        if let Some(disk) = &self.disk
            && let Err(error) = disk.save()
        {
            log::info!("the pipeline cache was not saved: {error}");
        }
    }
}

/// A module without wgpu's checks, whose absence makes some kernels ten times faster.
///
/// It is for our own kernels and for those that their authors vouch for.
fn unchecked(device: &wgpu::Device, descriptor: wgpu::ShaderModuleDescriptor<'_>) -> wgpu::ShaderModule {
    #![expect(unsafe_code, reason = "shaders without bounds checks")]
    // SAFETY: every kernel of ours compares its index with the counts it is given before it touches memory, loops
    // only over such counts, and operations check shapes before they launch anything. Whoever says `trusted=True` of a
    // kernel promises the same of it.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// Layouts are explicit, and equal for equal inputs, so that bind groups can be shared between pipelines.
fn storage_layout(device: &wgpu::Device, inputs: &[bool]) -> wgpu::BindGroupLayout {
    let storage =
        |binding: usize, read_only| entry(binding as u32, wgpu::BufferBindingType::Storage { read_only }, false, None);
    let entries: Vec<_> = inputs
        .iter()
        .enumerate()
        .filter(|&(_, &used)| used)
        .map(|(binding, _)| storage(binding, true))
        .chain([storage(inputs.len(), false)])
        .collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some("operands"), entries: &entries })
}

fn entry(
    binding: u32,
    ty: wgpu::BufferBindingType,
    has_dynamic_offset: bool,
    min_binding_size: Option<wgpu::BufferSize>,
) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size },
        count: None,
    }
}

/// What a driver compiled, kept between processes.
///
/// The file is named for adapter and driver, begins with a checksum, is replaced in one step, and is ignored when it
/// is damaged.
struct DiskCache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    changed: AtomicBool,
}

const MAGIC: &[u8; 16] = b"gpukern-cache-1\n";

impl DiskCache {
    fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        #![expect(unsafe_code, reason = "a driver's cache is taken on trust")]
        let key = wgpu::util::pipeline_cache_key(info)?;
        let driver = checksum(format!("{}{}{}", info.name, info.driver, info.driver_info).as_bytes());
        let path = directory()?.join(format!("{key}_{driver:016x}"));
        let data = fs::read(&path).ok().and_then(|file| unwrap(&file).map(<[u8]>::to_vec));
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        // SAFETY: the data came from `get_data` for an adapter and driver of this name, unless somebody forged both
        // file and checksum in the user's own cache directory; drivers validate its header once more.
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("pipelines"),
                data: data.as_deref(),
                fallback: true,
            })
        };
        pollster::block_on(scope.pop()).is_none().then(|| Self { cache, path, changed: AtomicBool::new(false) })
    }

    fn save(&self) -> std::io::Result<()> {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let Some(data) = self.cache.get_data() else { return Ok(()) };
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        let temporary = self.path.with_extension(format!("{}.part", std::process::id()));
        fs::write(&temporary, wrap(&data))?;
        fs::rename(&temporary, &self.path).inspect_err(|_| drop(fs::remove_file(&temporary)))
    }
}

fn wrap(data: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &checksum(data).to_le_bytes(), data].concat()
}

fn unwrap(file: &[u8]) -> Option<&[u8]> {
    let (sum, data) = file.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    (checksum(data).to_le_bytes() == *sum).then_some(data)
}

fn checksum(data: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(data);
    hasher.write_usize(data.len());
    hasher.finish()
}

/// Where caches belong on this system; `GPUKERN_CACHE_DIR` overrides it, and `off` there switches the cache off.
fn directory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match variable("GPUKERN_CACHE_DIR") {
        Some(path) if path.as_os_str() == "off" => return None,
        Some(path) => return Some(path),
        None => {}
    }
    let base = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
    };
    base.map(|base| base.join("gpukern"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_caches_are_ignored() {
        let file = wrap(b"compiled");
        assert_eq!(unwrap(&file), Some(&b"compiled"[..]));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert_eq!(unwrap(&damaged), None, "byte {at}");
            assert_eq!(unwrap(&file[..at]), None, "cut at {at}");
        }
    }
}
