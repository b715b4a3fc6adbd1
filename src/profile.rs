//! Profiles: which devices are measured at the moment, and how long their kernels took.
//!
//! GPUs time their kernels themselves (`gpu/timestamps.rs`). The CPU device has its operations timed from outside, by
//! a [`Watch`]. Both report to the [`Session`] that a profile opens. While none is open a kernel costs one look at an
//! `Option`, and an operation on the CPU the load of a flag.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::device::{Device, fork, select};
use crate::error::{Error, Result};
use crate::gpu::context::Context;
use crate::ops::work;
use crate::tensor::Tensor;

/// One kernel that ran on a GPU, or one operation on the CPU device.
#[derive(Debug, Clone)]
pub struct Timing {
    pub name: Cow<'static, str>,
    pub device: Device,
    /// In seconds, by the clock of [`now`]; of what [`Session::end`] returns, since the session began.
    pub start: f64,
    pub seconds: f64,
    /// What it read, once, and what it wrote, where that is known.
    pub bytes: Option<u64>,
    /// Arithmetic operations, where they are known.
    pub operations: Option<u64>,
}

/// What a session found out.
#[derive(Debug)]
pub struct Outcome {
    /// In the order in which they began.
    pub timings: Vec<Timing>,
    /// Devices of which something is missing, and why.
    pub left_out: Vec<(String, String)>,
}

/// A profile that is open: of one device or of all.
pub struct Session {
    scope: Option<Device>,
    begun: OnceLock<f64>,
    watched: Mutex<Watched>,
    timings: Mutex<Vec<Timing>>,
    /// The process that began it, among forks.
    generation: u32,
}

/// The GPUs of a session.
#[derive(Default)]
struct Watched {
    contexts: Vec<Arc<Context>>,
    left_out: Vec<(String, String)>,
    is_over: bool,
}

/// All sessions that are open. It is held for moments only, so that it may be taken while holding the interpreter.
static OPEN: Mutex<Vec<Arc<Session>>> = Mutex::new(Vec::new());
/// Whether one of them measures the CPU device.
static CPU: AtomicBool = AtomicBool::new(false);

/// Seconds since some moment in the life of this process.
pub(crate) fn now() -> f64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_secs_f64()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Measures a device from now on; without one the CPU device and every GPU that is open or will be opened.
    pub fn begin(scope: Option<Device>) -> Result<Arc<Self>> {
        let context = match &scope {
            Some(Device::Gpu(gpu)) => Some(gpu.context()?),
            _ => None,
        };
        if let Some(context) = context.as_ref().filter(|context| !context.caps().timestamps) {
            let id = &context.device.id;
            return Err(Error::Device(format!("profile: {id} cannot time kernels, since it has no timestamps")));
        }
        let session = Arc::new(Self {
            scope,
            begun: OnceLock::new(),
            watched: Mutex::default(),
            timings: Mutex::default(),
            generation: fork::generation(),
        });
        session.enlist()?;
        let contexts: Vec<Arc<Context>> = match &session.scope {
            Some(_) => context.into_iter().collect(),
            None => select::open_contexts().into_iter().filter(|context| !context.is_lost()).collect(),
        };
        for context in contexts {
            if let Err(error) = session.watch(&context) {
                let _ = session.end();
                return Err(error);
            }
        }
        let _ = session.begun.set(now());
        Ok(session)
    }

    /// Puts it among the open ones, unless one of those measures the same device.
    fn enlist(self: &Arc<Self>) -> Result<()> {
        let mut open = lock(&OPEN);
        // A fork's parent goes on measuring, and the child does not.
        open.retain(|other| other.generation == fork::generation());
        let clash = open.iter().find(|other| match (&self.scope, &other.scope) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => true,
        });
        if let Some(other) = clash {
            let shown = match self.scope.as_ref().or(other.scope.as_ref()) {
                Some(device) => device.id(),
                None => "every device".into(),
            };
            return Err(Error::Device(format!("profile: {shown} is being profiled already; end that profile first")));
        }
        open.push(self.clone());
        note_cpu(&open);
        Ok(())
    }

    fn covers(&self, device: &Device) -> bool {
        self.scope.as_ref().is_none_or(|own| own == device)
    }

    /// Measures an open GPU too. Does nothing if it is measured already.
    fn watch(&self, context: &Arc<Context>) -> Result<()> {
        let mut watched = lock(&self.watched);
        if watched.is_over || watched.contexts.iter().any(|known| Arc::ptr_eq(known, context)) {
            return Ok(());
        }
        let id = || context.device.id.clone();
        if !context.caps().timestamps {
            watched.left_out.push((id(), "it cannot time kernels, since it has no timestamps".into()));
            return Ok(());
        }
        match context.start_profile() {
            Ok(()) => watched.contexts.push(context.clone()),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) if self.scope.is_some() => return Err(error),
            Err(error) => watched.left_out.push((id(), error.to_string())),
        }
        Ok(())
    }

    /// Stops measuring. What was measured before a device was lost stays. Fails only when interrupted.
    pub fn end(self: &Arc<Self>) -> Result<Outcome> {
        let Watched { contexts, mut left_out, .. } =
            std::mem::replace(&mut *lock(&self.watched), Watched { is_over: true, ..Watched::default() });
        let mut timings = std::mem::take(&mut *lock(&self.timings));
        let mut interrupted = false;
        for context in contexts {
            // A fork's parent has it now.
            if context.is_inherited() {
                continue;
            }
            let (mut times, trouble) = context.stop_profile();
            timings.append(&mut times);
            match trouble {
                Ok(()) => {}
                Err(Error::Interrupted) => interrupted = true,
                Err(error) => {
                    left_out.push((context.device.id.clone(), format!("its last times are missing: {error}")));
                }
            }
        }
        // Only now, since another that began on one of these devices meanwhile would take its times.
        let mut open = lock(&OPEN);
        open.retain(|other| !Arc::ptr_eq(self, other));
        note_cpu(&open);
        drop(open);
        if interrupted {
            return Err(Error::Interrupted);
        }
        let begun = self.begun.get().copied().unwrap_or_else(now);
        for timing in &mut timings {
            // The clocks of GPUs are known to some microseconds, but nothing is measured before the beginning.
            timing.start = (timing.start - begun).max(0.0);
        }
        timings.sort_by(|a, b| a.start.total_cmp(&b.start));
        Ok(Outcome { timings, left_out })
    }
}

/// Keeps the flag in step with the open sessions.
fn note_cpu(open: &[Arc<Session>]) {
    CPU.store(open.iter().any(|session| !matches!(session.scope, Some(Device::Gpu(_)))), Ordering::Relaxed);
}

/// To be called with every GPU that was just opened.
pub(crate) fn opened(context: &Arc<Context>) -> Result<()> {
    let device = Device::Gpu(context.device.clone());
    let session = lock(&OPEN).iter().find(|session| session.covers(&device)).cloned();
    session.map_or(Ok(()), |session| session.watch(context))
}

thread_local! {
    /// Whether this thread is in an operation that is timed, so that what it consists of is not timed again.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// What that operation says of its arithmetic, as [`work::operations`] takes it, or 0.
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// What an operation on the CPU device says of its arithmetic where its operands do not tell.
pub(crate) fn count(steps: impl FnOnce() -> u64) {
    if CPU.load(Ordering::Relaxed) && INSIDE.get() {
        STEPS.set(steps());
    }
}

/// The timing of one operation on the CPU device.
pub(crate) struct Watch {
    name: &'static str,
    device: Device,
    /// Bytes of each operand.
    read: smallvec::SmallVec<[u64; 4]>,
    operations: Option<u64>,
    started: f64,
}

impl Watch {
    /// None if the device is not measured, or what is to be timed is part of something that is timed.
    #[inline]
    pub(crate) fn start<'a>(
        name: &'static str,
        device: &Device,
        operands: impl Iterator<Item = &'a Tensor>,
    ) -> Option<Self> {
        if !CPU.load(Ordering::Relaxed) {
            return None;
        }
        Self::start_now(name, device, operands)
    }

    #[cold]
    fn start_now<'a>(name: &'static str, device: &Device, operands: impl Iterator<Item = &'a Tensor>) -> Option<Self> {
        if !matches!(device, Device::Cpu(_)) || INSIDE.replace(true) {
            return None;
        }
        let operands: Vec<&Tensor> = operands.collect();
        let shapes: Vec<(&[usize], usize)> =
            operands.iter().map(|operand| (operand.shape(), operand.dtype().size())).collect();
        Some(Self {
            name,
            device: device.clone(),
            read: operands.iter().map(|operand| operand.stored_bytes()).collect(),
            operations: work::work(name, &shapes).and_then(|work| work::whole(work.operations)),
            started: now(),
        })
    }

    /// It is done, and this came out.
    pub(crate) fn finish(self, result: &Tensor) {
        let seconds = now() - self.started;
        report(Timing {
            name: self.name.into(),
            device: self.device.clone(),
            start: self.started,
            seconds,
            bytes: Some(work::moved(self.name, &self.read, result.stored_bytes())),
            operations: work::operations(self.name, STEPS.take()).or(self.operations),
        });
    }
}

/// Gives a timing to the session that measures its device, if one does.
fn report(timing: Timing) {
    let open = lock(&OPEN);
    if let Some(session) = open.iter().find(|session| session.covers(&timing.device)) {
        lock(&session.timings).push(timing);
    }
}

/// Runs a launch of a user's kernel on the CPU device, and times it if that is wanted. `moved` is what it moves, in
/// bytes. One that fails has no time.
pub(crate) fn timed_launch(name: &str, device: &Device, moved: u64, run: impl FnOnce() -> Result<()>) -> Result<()> {
    if !CPU.load(Ordering::Relaxed) {
        return run();
    }
    let start = now();
    run()?;
    report(Timing {
        name: name.to_string().into(),
        device: device.clone(),
        start,
        seconds: now() - start,
        bytes: Some(moved),
        operations: None,
    });
    Ok(())
}

/// Does work on the CPU device that fills a tensor, and times it if that is wanted.
pub(crate) fn timed<'a>(
    name: &'static str,
    operands: impl Iterator<Item = &'a Tensor>,
    result: &Tensor,
    work: impl FnOnce(),
) {
    let watch = Watch::start(name, result.device(), operands);
    work();
    if let Some(watch) = watch {
        watch.finish(result);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        INSIDE.set(false);
        STEPS.set(0);
    }
}
