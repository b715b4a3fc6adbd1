//! An open GPU: wgpu's device and queue, and the caches around them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::memory::{GpuBuffer, Pool};
use super::pipeline::{BindingKind, ParamLayout, Pipeline, Pipelines, Spec};
use super::stream::{Binding, Bound, Dispatch, Launch, Stream};
use super::timestamps::Timestamps;
use super::transfer::Readback;
use crate::cpu::memory::{self, Usage};
use crate::device::caps::{Caps, MIN_BUFFER};
use crate::device::fork;
use crate::device::{GpuDevice, Kind};
use crate::error::{Bytes, Error, Result};
use crate::interrupt;
use crate::kernel::Identity;
use crate::profile::Timing;

/// One open GPU. Tensors on it keep it alive.
pub struct Context {
    pub(crate) device: Arc<GpuDevice>,
    pub(super) raw: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) memory: Pool,
    pipelines: Pipelines,
    stream: Mutex<Stream>,
    readback: Mutex<Readback>,
    last_submission: Mutex<Option<wgpu::SubmissionIndex>>,
    trouble: Arc<Trouble>,
    generation: u32,
}

/// What wgpu's callbacks report, from whatever thread.
#[derive(Default)]
struct Trouble {
    lost: OnceLock<String>,
    any: AtomicBool,
    error: Mutex<Option<Error>>,
}

/// Spin this long for a result before blocking. To be woken by a driver takes some hundred microseconds, so that it
/// pays to wait awake for all but long work; but a software GPU needs the processor itself.
const SPIN: Duration = Duration::from_millis(2);
const SPIN_SOFTWARE: Duration = Duration::from_micros(50);
/// While blocked, look this often whether the caller wants to stop.
const SLICE: Duration = Duration::from_millis(20);

/// The smallest kernel there is.
fn probe() -> Spec {
    Spec {
        label: "probe".into(),
        source: "@group(0) @binding(0) var<storage, read_write> data: array<u32>;\n\
                 @compute @workgroup_size(1) fn main() { data[0] = 1u; }",
        slots: Vec::new(),
        constants: Vec::new(),
        inputs: Vec::new(),
        params: ParamLayout { size: 0, fields: &[] },
    }
}

const PROBE_KEY: u64 = u64::MAX;

/// Leave to use what wgpu calls experimental.
fn experiments() -> wgpu::ExperimentalFeatures {
    #![expect(unsafe_code, reason = "wgpu does not check all of what it calls experimental")]
    // SAFETY: it is cooperative matrices. Ours have a shape that the adapter lists, and are loaded and stored in workgroup
    // memory, whole and where the workgroup has room for them. Users' kernels may have them only if they are trusted, by
    // which their authors vouch for the same.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

impl Context {
    /// Opens the adapter with exactly the capabilities that the device claims.
    pub(crate) fn open(device: Arc<GpuDevice>, adapter: &wgpu::Adapter) -> Result<Arc<Self>> {
        let caps = &device.caps;
        let (required_features, required_limits) = caps.requirements(adapter);
        let experimental_features =
            if caps.cooperative { experiments() } else { wgpu::ExperimentalFeatures::disabled() };
        let (raw, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("gpukern"),
            required_features,
            required_limits,
            experimental_features,
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        }))
        .map_err(|error| Error::Device(format!("{}: the device does not open: {error}", device.id)))?;

        let trouble = Arc::new(Trouble::default());
        let (lost, failed, id) = (trouble.clone(), trouble.clone(), device.id.clone());
        raw.set_device_lost_callback(move |reason, message| {
            let _ = lost.lost.set(if message.is_empty() { format!("{reason:?}") } else { message });
            lost.any.store(true, Ordering::Release);
        });
        raw.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let error = match error {
                wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory(format!("{id}: the driver is out of memory")),
                error => Error::Device(format!("{id}: the driver refused a command, please report this: {error}")),
            };
            failed.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            failed.any.store(true, Ordering::Release);
        }));

        log::info!("opened {} ({}, {} {})", device.id, device.info.name, device.info.driver, device.info.driver_info);
        let pipelines = Pipelines::new(&raw, caps, &device.info);
        let alignment = u64::from(adapter.limits().min_uniform_buffer_offset_alignment);
        let stream = Stream::new(&raw, pipelines.uniforms.as_ref(), alignment);
        let limit = memory_limit(adapter, &device);
        let context = Arc::new(Self {
            memory: Pool::new(limit, caps.buffer),
            pipelines,
            stream: Mutex::new(stream),
            readback: Mutex::default(),
            last_submission: Mutex::default(),
            trouble,
            generation: fork::generation(),
            device,
            raw,
            queue,
        });
        // Some GL drivers list compute shaders and have none: better to find out now than at the first operation.
        context.pipeline(PROBE_KEY, probe).map_err(|error| {
            Error::Device(format!("{}: the device does not open, since it runs no kernel: {error}", context.device.id))
        })?;
        Ok(context)
    }

    pub(crate) fn caps(&self) -> &Caps {
        &self.device.caps
    }

    /// Whether the device is gone. What was on it cannot be read any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.trouble.lost.get().is_some()
    }

    /// Whether this is a parent process' context, seen from its fork.
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Refuses work on a device that is lost or a parent's, and reports what the driver complained about since.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_inherited() {
            return Err(fork::inherited(&self.device.id));
        }
        if !self.trouble.any.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(reason) = self.trouble.lost.get() {
            return Err(Error::DeviceLost(format!(
                "{}: the device was lost ({reason}), and what was on it with it; new tensors get a fresh device",
                self.device.id
            )));
        }
        self.trouble.any.store(false, Ordering::Release);
        match self.trouble.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(super) fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn readback(&self) -> MutexGuard<'_, Readback> {
        self.readback.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least `bytes`.
    pub(crate) fn alloc(self: &Arc<Self>, bytes: u64) -> Result<Arc<GpuBuffer>> {
        self.check()?;
        self.memory.alloc(self, bytes)
    }

    /// The pipeline of this key, compiled from `spec` on first use.
    pub(crate) fn pipeline(&self, key: u64, spec: impl FnOnce() -> Spec) -> Result<Arc<Pipeline>> {
        self.pipelines.get(&self.raw, key, spec)
    }

    /// The pipeline of a user's program, from `compile` on first use. Others go on meanwhile.
    pub(crate) fn program_pipeline(
        &self,
        key: &(Identity, bool),
        compile: impl FnOnce() -> Result<Pipeline>,
    ) -> Result<Arc<Pipeline>> {
        self.pipelines.of_program(key, compile)
    }

    /// Compiles a user's module, whose entry point binds all in group 0, numbered from 0 on.
    pub(crate) fn compile_module(
        &self,
        module: naga::Module,
        label: &str,
        kinds: &[BindingKind],
        trusted: bool,
    ) -> Result<Pipeline> {
        self.pipelines.compile_module(&self.raw, module, label, kinds, trusted)
    }

    pub(crate) fn limits(&self) -> wgpu::Limits {
        self.raw.limits()
    }

    /// Records a launch of a user's kernel.
    pub(crate) fn record_launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.check()?;
        for bound in launch.bound {
            if let Bound::Buffer(binding) = bound {
                self.check_owner(binding)?;
            }
        }
        self.stream().launch(self, launch)
    }

    /// Records a launch.
    pub(crate) fn record(&self, dispatch: &Dispatch<'_>) -> Result<()> {
        self.check()?;
        for binding in dispatch.bindings.iter().flatten() {
            self.check_owner(binding)?;
        }
        self.stream().dispatch(self, dispatch)
    }

    /// Refuses a tensor from before the device was lost, beside one from after.
    fn check_owner(&self, binding: &Binding<'_>) -> Result<()> {
        let owner = binding.buffer().context();
        if std::ptr::eq(&raw const **owner, self) { Ok(()) } else { owner.check() }
    }

    pub(super) fn note_submission(&self, index: wgpu::SubmissionIndex) {
        *self.last_submission.lock().unwrap_or_else(PoisonError::into_inner) = Some(index);
    }

    /// Waits so long for what was submitted. Whether all of it has run.
    pub(crate) fn is_idle_within(&self, limit: Duration) -> bool {
        let submission_index = self.last_submission.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.raw.poll(wgpu::PollType::Wait { submission_index, timeout: Some(limit) }).is_ok()
    }

    /// Submits what is recorded and waits until all of it has run.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.check()?;
        self.stream().submit(self);
        let done = Arc::new(AtomicBool::new(false));
        let signal = done.clone();
        self.queue.on_submitted_work_done(move || signal.store(true, Ordering::Release));
        self.wait_until(|| done.load(Ordering::Acquire))?;
        self.check()
    }

    /// Lets callbacks run until `done` says so: spins a little, then blocks, and gives up when interrupted.
    pub(super) fn wait_until(&self, done: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        let spin = if self.device.kind == Kind::Software { SPIN_SOFTWARE } else { SPIN };
        loop {
            // A lost device answers its callbacks too, so `done` comes true.
            let polled = if start.elapsed() < spin {
                self.raw.poll(wgpu::PollType::Poll)
            } else {
                interrupt::check()?;
                let submission_index = self.last_submission.lock().unwrap_or_else(PoisonError::into_inner).clone();
                self.raw.poll(wgpu::PollType::Wait { submission_index, timeout: Some(SLICE) })
            };
            if done() {
                return Ok(());
            }
            match polled {
                Ok(_) | Err(wgpu::PollError::Timeout) => {}
                Err(error) => return Err(Error::Device(format!("{}: waiting failed: {error}", self.device.id))),
            }
            if self.is_lost() {
                self.check()?;
            }
        }
    }

    /// A new buffer from the driver, or an error where it has no memory left.
    pub(super) fn create_buffer(&self, size: u64, usage: wgpu::BufferUsages, mapped: bool) -> Result<wgpu::Buffer> {
        let memory = self.raw.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.raw.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer =
            self.raw.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: mapped });
        let refused = pollster::block_on(validation.pop());
        let exhausted = pollster::block_on(memory.pop());
        match (exhausted, refused) {
            (None, None) => Ok(buffer),
            (Some(_), _) => Err(Error::OutOfMemory(format!(
                "{} wanted on {}, which has not that much left",
                Bytes(size),
                self.device.id
            ))),
            (None, Some(error)) => {
                self.check()?;
                Err(Error::Device(format!("{}: a buffer of {} was refused: {error}", self.device.id, Bytes(size))))
            }
        }
    }

    /// Staging memory, which no capability may make too small to work.
    pub(super) fn create_staging(&self, size: u64, usage: wgpu::BufferUsages, mapped: bool) -> Result<wgpu::Buffer> {
        debug_assert!(size <= MIN_BUFFER);
        self.create_buffer(size, usage, mapped)
    }

    /// Runs everything recorded and gives all pooled memory back to the driver.
    pub fn release_memory(&self) -> Result<()> {
        self.synchronize()?;
        self.memory.empty();
        *self.readback() = Readback::default();
        self.stream().release();
        // The driver frees what was dropped when it is polled next.
        let _ = self.raw.poll(wgpu::PollType::Poll);
        Ok(())
    }

    pub fn usage(&self) -> Usage {
        self.memory.usage()
    }

    /// From now on every kernel is timed. Only for devices with timestamps.
    pub(crate) fn start_profile(&self) -> Result<()> {
        self.check()?;
        let mut stream = self.stream();
        stream.submit(self);
        stream.profile = Some(Timestamps::new(self)?);
        Ok(())
    }

    /// The kernels since [`Self::start_profile`]: those whose times were to be had, and why any were not.
    pub(crate) fn stop_profile(&self) -> (Vec<Timing>, Result<()>) {
        let mut stream = self.stream();
        let collected = self.check().and_then(|()| stream.collect_profile(self));
        // Whatever happened, it is over.
        let profile = stream.profile.take();
        (profile.map(|profile| profile.finished).unwrap_or_default(), collected)
    }

    /// Writes newly compiled pipelines to disk.
    pub(crate) fn save_pipelines(&self) {
        if !self.is_inherited() && !self.is_lost() {
            self.pipelines.save();
        }
    }

    /// Destroys the device, as a driver reset would.
    pub fn lose(&self) {
        self.raw.destroy();
        let _ = self.raw.poll(wgpu::PollType::Poll);
        // Destroying is reported through the callback only on some backends.
        let _ = self.trouble.lost.set("it was destroyed".into());
        self.trouble.any.store(true, Ordering::Release);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.is_inherited() {
            self.memory.forget();
            self.stream.get_mut().unwrap_or_else(PoisonError::into_inner).forget();
            std::mem::forget(std::mem::take(self.readback.get_mut().unwrap_or_else(PoisonError::into_inner)));
        } else {
            self.save_pipelines();
        }
    }
}

/// How much memory tensors on this device can take together.
fn memory_limit(adapter: &wgpu::Adapter, device: &GpuDevice) -> u64 {
    #![expect(unsafe_code, reason = "asks the Vulkan driver directly")]
    let host = memory::usage().limit as u64;
    if device.info.backend == wgpu::Backend::Vulkan {
        // SAFETY: the adapter is only asked for its memory's size.
        let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() };
        if let Some(vulkan) = vulkan {
            // SAFETY: the physical device belongs to this instance, and both outlive the call.
            let memory = unsafe {
                vulkan
                    .shared_instance()
                    .raw_instance()
                    .get_physical_device_memory_properties(vulkan.raw_physical_device())
            };
            let heaps = &memory.memory_heaps[..memory.memory_heap_count as usize];
            let local = heaps.iter().filter(|heap| heap.flags.as_raw() & 1 != 0).map(|heap| heap.size).max();
            if let Some(size) = local {
                return if device.kind == Kind::Software { size.min(host) } else { size };
            }
        }
    }
    host
}
