//! Runs compiled code: workgroups on all threads, until they are done, out of time or interrupted.
//!
//! Threads take chunks of workgroups from the pool. Compiled code counts the rounds of its loops and calls [`poll`] now
//! and then, so that even an endless loop can be stopped. A caller that waits looks for what would stop the others.
#![expect(unsafe_code, reason = "compiled code is memory that is called")]

mod executable;
mod memory;

use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub(super) use executable::Executable;
use memory::Memory;

use super::{Bound, Code};
use crate::cpu::{CpuDevice, threads};
use crate::error::{Error, Result};
use crate::interrupt;

/// Chunks for each thread: enough for those that are done early to take some of the others'.
const CHUNKS: u64 = 16;
/// Fewer instructions than this are over before another thread has woken up.
const FEW: u64 = 20_000;
/// A chunk of fewer instructions than this is not worth taking.
const CHUNK: u64 = 5_000;
/// A workgroup takes as much fuel as a loop of so many instructions a round would, or this much if it has loops, which
/// take their own.
const ROUND: u64 = 64;
const LOOPS: u64 = 16;
/// How often a thread polls, about.
const POLL: Duration = Duration::from_millis(1);
/// How much fuel there is at first, and at most: rounds may suddenly take longer.
const FUEL: i32 = 1 << 12;
const MOST_FUEL: i32 = 1 << 16;
/// How often the caller is asked whether it wants to stop, for which Python's lock is taken.
const ASK: Duration = Duration::from_millis(50);

/// What compiled code finds at its first argument. One for each thread that runs workgroups.
#[repr(C)]
pub(super) struct Context {
    pub(super) bound: *const Bound,
    /// Workgroup memory, aligned to 64 bytes. The code makes it zero when a workgroup begins.
    pub(super) workgroup: *mut u8,
    /// `Code::scratch` bytes, aligned to 64.
    pub(super) scratch: *mut u8,
    pub(super) groups: [u32; 3],
    /// Taken down by one in each round of each loop. Below zero, the code calls [`poll`].
    pub(super) fuel: i32,
    /// What `poll` returned last.
    pub(super) answer: u32,
}

/// Compiled code: runs the workgroups (x, y, z) to (x + count − 1, y, z). Returns 0, or what `poll` returned if that
/// was not 0, at once.
pub(super) type Entry = unsafe extern "C" fn(context: *mut Context, x: u32, y: u32, z: u32, count: u32) -> u32;

/// Called by compiled code that has run for a while: gives it more fuel and returns 0, or tells it to stop by another
/// number.
pub(super) unsafe extern "C" fn poll(context: *mut Context) -> u32 {
    // SAFETY: every context is the beginning of a worker, which waits for the code that runs on it.
    let worker = unsafe { &mut *context.cast::<Worker<'_>>() };
    u32::from(!worker.goes_on())
}

/// The limit in nanoseconds; the largest number means none.
static TIMEOUT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets how long a call of a kernel may take on the CPU, from now on.
pub(crate) fn set_kernel_timeout(limit: Option<Duration>) {
    let nanoseconds = limit.and_then(|limit| u64::try_from(limit.as_nanos()).ok());
    TIMEOUT.store(nanoseconds.unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// How long a call of a kernel may take on the CPU.
pub(crate) fn kernel_timeout() -> Option<Duration> {
    let nanoseconds = TIMEOUT.load(Ordering::Relaxed);
    (nanoseconds != u64::MAX).then(|| Duration::from_nanos(nanoseconds))
}

/// One call of a kernel, as all of its threads see it.
struct Run<'a> {
    code: &'a Code,
    name: &'a str,
    bound: &'a [Bound],
    groups: [u32; 3],
    timeout: Option<Duration>,
    /// When somebody first looked at the clock; at the beginning if there is a timeout.
    start: OnceLock<Instant>,
    /// When the caller is to be asked again, in nanoseconds after the start.
    ask_at: AtomicU64,
    stopped: AtomicBool,
    /// Why.
    error: Mutex<Option<Error>>,
}

// SAFETY: what is bound is used by compiled code alone. If it races with itself there, so would it on a GPU.
unsafe impl Sync for Run<'_> {}

/// A thread's share of a run.
#[repr(C)]
struct Worker<'a> {
    /// At the beginning, where [`poll`] expects it.
    context: Context,
    run: &'a Run<'a>,
    /// Whether this is the thread that called [`run`].
    calls: bool,
    /// How much fuel the last poll gave, and when that was.
    quota: i32,
    polled: Option<Instant>,
}

/// Runs workgroups.
///
/// # Safety
/// That of [`Code::run`].
pub(super) unsafe fn run(code: &Code, name: &str, device: CpuDevice, bound: &[Bound], groups: [u32; 3]) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { run_within(kernel_timeout(), code, name, device, bound, groups) }
}

/// As [`run`], with a limit of its own.
///
/// # Safety
/// That of [`run`].
unsafe fn run_within(
    timeout: Option<Duration>,
    code: &Code,
    name: &str,
    device: CpuDevice,
    bound: &[Bound],
    groups: [u32; 3],
) -> Result<()> {
    let run = Run {
        code,
        name,
        bound,
        groups,
        timeout,
        start: timeout.map_or_else(OnceLock::new, |_| Instant::now().into()),
        ask_at: AtomicU64::new(ASK.as_nanos() as u64),
        stopped: AtomicBool::new(false),
        error: Mutex::new(None),
    };
    let total = groups.iter().map(|&count| u64::from(count)).product();
    let chunks = chunk_count(code.cost, total, device.threads());
    if chunks <= 1 {
        run.do_groups(0..total, true);
    } else {
        let caller = memory::thread_mark();
        let bound = |chunk: usize| total * chunk as u64 / chunks;
        let work = |chunk| {
            let calls = memory::thread_mark() == caller;
            if run.goes_on(calls) {
                run.do_groups(bound(chunk)..bound(chunk + 1), calls);
            }
        };
        threads::for_each_chunk_watched(device.threads(), chunks as usize, work, || _ = run.goes_on(true));
    }
    run.error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// How many chunks so many workgroups are divided into. One chunk stays on the calling thread.
fn chunk_count(cost: Option<u64>, total: u64, threads: usize) -> u64 {
    let work = cost.map_or(u64::MAX, |cost| cost.max(1).saturating_mul(total));
    if threads == 1 || work < FEW { 1 } else { total.min(CHUNKS * threads as u64).min(work / CHUNK) }
}

impl Run<'_> {
    /// Runs the workgroups of these numbers, of which x counts first.
    fn do_groups(&self, numbers: Range<u64>, calls: bool) {
        let (workgroup, scratch) = (self.code.workgroup_memory.next_multiple_of(64), self.code.scratch);
        let memory = match Memory::take(workgroup + scratch) {
            Ok(memory) => memory,
            Err(error) => return self.stop(error.within(&format!("kernel '{}'", self.name))),
        };
        let context = Context {
            bound: self.bound.as_ptr(),
            workgroup: memory.start(),
            scratch: memory.start().wrapping_add(workgroup),
            groups: self.groups,
            fuel: FUEL,
            answer: 0,
        };
        let mut worker = Worker { context, run: self, calls, quota: FUEL, polled: None };
        let [columns, rows, _] = self.groups.map(u64::from);
        let (mut x, mut y, mut z) =
            (numbers.start % columns, numbers.start / columns % rows, numbers.start / columns / rows);
        let fuel = self.code.cost.map_or(LOOPS, |cost| 1 + cost / ROUND).min(MOST_FUEL as u64);
        let mut left = numbers.end - numbers.start;
        while left > 0 {
            let mut count = left.min(columns - x);
            if count > 1 {
                count = count.min((worker.context.fuel as u64 / fuel).max(1));
            }
            let context = (&raw mut worker).cast::<Context>();
            // SAFETY: the code finds the memory that it was compiled for, and the workgroups exist.
            if unsafe { (self.code.entry)(context, x as u32, y as u32, z as u32, count as u32) } != 0 {
                break;
            }
            worker.context.fuel = worker.context.fuel.saturating_sub((count * fuel) as i32);
            if worker.context.fuel < 0 && !worker.goes_on() {
                break;
            }
            left -= count;
            x += count;
            if x == columns {
                x = 0;
                y += 1;
            }
            if y == rows {
                y = 0;
                z += 1;
            }
        }
        memory.keep();
    }

    /// Whether there is no reason to stop. The calling thread, which waits or works, is asked now and then.
    fn goes_on(&self, calls: bool) -> bool {
        if self.stopped.load(Ordering::Relaxed) {
            return false;
        }
        if !calls && self.timeout.is_none() {
            return true;
        }
        let passed = self.start.get_or_init(Instant::now).elapsed();
        if let Some(limit) = self.timeout.filter(|&limit| passed > limit) {
            self.stop(Error::Kernel(format!(
                "kernel '{}': it ran for longer than gpukern.config.kernel_timeout = {} seconds; its results are \
                 incomplete. Look for a loop that does not end, or set more seconds, or None for no limit",
                self.name,
                limit.as_secs_f64()
            )));
        } else if calls && passed.as_nanos() as u64 >= self.ask_at.load(Ordering::Relaxed) {
            // A panic must not cross compiled code.
            if let Err(error) = catch_unwind(interrupt::check).unwrap_or(Err(Error::Interrupted)) {
                self.stop(error);
            }
            let passed = self.start.get_or_init(Instant::now).elapsed();
            self.ask_at.store((passed + ASK).as_nanos() as u64, Ordering::Relaxed);
        }
        !self.stopped.load(Ordering::Relaxed)
    }

    /// Makes all threads stop. The first reason counts.
    fn stop(&self, why: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl Worker<'_> {
    /// Fills up the fuel, by what suits the time that the last filling took. Whether there is no reason to stop.
    fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        if let Some(polled) = self.polled {
            let passed = now.duration_since(polled).as_nanos().max(1);
            let fits = self.quota as u128 * POLL.as_nanos() / passed;
            self.quota = fits.clamp(1, (2 * self.quota).min(MOST_FUEL) as u128) as i32;
        }
        self.polled = Some(now);
        self.context.fuel = self.quota;
        self.run.goes_on(self.calls)
    }
}

#[cfg(test)]
mod tests;
