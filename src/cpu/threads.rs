//! The threads that share the CPU's loops.
//!
//! A pool of our own, where others would take rayon's: work arrives here as a few hundred equal chunks and nothing
//! else, and the caller does its share of them. On two cores, 16 empty chunks take 1 µs while the worker is awake and 9
//! when it has to be woken; in a scope of rayon they take 50, because that waits for a worker which finds nothing to do.
//!
//! Workers start when first wanted and never end. An idle one watches for work for some microseconds before it sleeps,
//! since one operation is often followed by another. After `fork` the child has none of its parent's threads, so a
//! pool belongs to one process and the child makes another.
#![expect(unsafe_code, reason = "work on the caller's stack is shared with threads that outlive it")]

#[cfg(target_os = "linux")]
mod placement;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// More threads than this are a mistake.
const MOST_THREADS: usize = 1024;
/// How long an idle worker watches for work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(50);
/// How often a caller that waits looks around, if it wants to.
const WATCH: Duration = Duration::from_millis(20);

/// How many threads to use: `GPUKERN_THREADS`, or as many as the process may run at once, by its affinity mask and by
/// its cgroup's quota.
pub fn default_count() -> Result<usize> {
    match std::env::var_os("GPUKERN_THREADS").filter(|value| !value.is_empty()) {
        None => Ok(thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS))),
        Some(text) => parse_count(&text.to_string_lossy()),
    }
}

fn parse_count(text: &str) -> Result<usize> {
    let count = text.trim().parse().ok().filter(|count| (1..=MOST_THREADS).contains(count));
    count.ok_or_else(|| {
        Error::Argument(format!("GPUKERN_THREADS is {text:?}; it must be a whole number from 1 to {MOST_THREADS}"))
    })
}

/// Calls `work` with every number below `count`, on up to `threads` threads of which the caller's is one.
///
/// Chunks go to whichever thread is free next. A panic in one of them reaches the caller when all are done.
pub fn for_each_chunk(threads: usize, count: usize, work: impl Fn(usize) + Sync) {
    if threads <= 1 || count <= 1 {
        (0..count).for_each(work);
    } else {
        Pool::of_this_process().run(threads.min(count), count, &work, None);
    }
}

/// As [`for_each_chunk`]. While the caller has nothing left to do but to wait for the others, it calls `watch` now and
/// then.
pub(crate) fn for_each_chunk_watched(threads: usize, count: usize, work: impl Fn(usize) + Sync, watch: impl Fn()) {
    if threads <= 1 || count <= 1 {
        (0..count).for_each(work);
    } else {
        Pool::of_this_process().run(threads.min(count), count, &work, Some(&watch));
    }
}

/// Something with raw pointers in it, for the threads that do chunks of one operation.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(T);

// SAFETY: the promise of `Shared::new`.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// # Safety
    /// Threads that use the pointers write to different places, and read none that another one writes.
    pub(crate) const unsafe fn new(value: T) -> Self {
        Self(value)
    }

    pub(crate) const fn get(&self) -> T {
        self.0
    }
}

struct Pool {
    process: u32,
    queue: Mutex<Queue>,
    /// Counts the jobs that were ever posted; idle workers watch it.
    posted: AtomicUsize,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<JobPointer>,
    workers: usize,
    asleep: usize,
    /// The system's numbers of the workers.
    #[cfg(target_os = "linux")]
    numbers: Vec<i32>,
    /// The processor that they keep away from, and how many of them do.
    #[cfg(target_os = "linux")]
    avoided: (i32, usize),
}

/// Work that waits in the queue, or is being done. It lives on the stack of the thread that posted it.
struct Job<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    count: usize,
    /// The first chunk that nobody has taken yet.
    next: AtomicUsize,
    /// How many more workers may join. Only touched under the queue's lock.
    openings: AtomicUsize,
    /// Workers inside. Grows only while the job is in the queue, and under its lock.
    helpers: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    caller: Thread,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct JobPointer(*const Job<'static>);
// SAFETY: a `Job` may be shared between threads; `Pool::run` keeps it alive for as long as one can reach it.
unsafe impl Send for JobPointer {}

impl Pool {
    /// The pool of this process: made on first use, and again in the child of a `fork`, where the parent's is left
    /// as it is because its threads are gone and its locks may be held.
    fn of_this_process() -> &'static Self {
        static CURRENT: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());
        let process = std::process::id();
        let mut current = CURRENT.load(Ordering::Acquire);
        loop {
            // SAFETY: a pool that was published here is never freed.
            if let Some(pool) = unsafe { current.as_ref() }
                && pool.process == process
            {
                return pool;
            }
            let new = Box::into_raw(Box::new(Self {
                process,
                queue: Mutex::default(),
                posted: AtomicUsize::new(0),
                wake: Condvar::new(),
            }));
            match CURRENT.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: just made, and from now on never freed.
                Ok(_) => return unsafe { &*new },
                Err(other) => {
                    // SAFETY: just made, and nobody else has seen it.
                    drop(unsafe { Box::from_raw(new) });
                    current = other;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No user code runs under the lock; the queue is whole even if some thread died.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&'static self, threads: usize, count: usize, work: &(dyn Fn(usize) + Sync), watch: Option<&dyn Fn()>) {
        let job = Job {
            work,
            count,
            next: AtomicUsize::new(0),
            openings: AtomicUsize::new(threads - 1),
            helpers: AtomicUsize::new(0),
            panic: Mutex::new(None),
            caller: thread::current(),
        };
        let pointer = JobPointer((&raw const job).cast());
        self.post(pointer, threads - 1);
        job.work_on();
        // From here on no worker can join, and those inside find no more chunks.
        self.lock().jobs.retain(|&other| other != pointer);
        let start = Instant::now();
        while job.helpers.load(Ordering::Acquire) != 0 {
            if start.elapsed() < PATIENCE {
                std::hint::spin_loop();
            } else if let Some(watch) = watch {
                thread::park_timeout(WATCH);
                if job.helpers.load(Ordering::Acquire) != 0
                    && let Err(panic) = catch_unwind(AssertUnwindSafe(watch))
                {
                    job.fail(panic);
                }
            } else {
                thread::park();
            }
        }
        if let Some(panic) = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }

    /// Puts a job into the queue and sees to it that enough workers look.
    fn post(&'static self, job: JobPointer, helpers: usize) {
        let mut queue = self.lock();
        queue.jobs.push(job);
        self.posted.fetch_add(1, Ordering::Release);
        while queue.workers < helpers {
            let name = format!("gpukern-cpu-{}", queue.workers + 1);
            // A system that refuses more threads gets the same answer from fewer.
            if thread::Builder::new().name(name).spawn(|| self.serve()).is_err() {
                break;
            }
            queue.workers += 1;
        }
        #[cfg(target_os = "linux")]
        queue.place_workers();
        let wake = queue.asleep.min(helpers);
        drop(queue);
        (0..wake).for_each(|_| self.wake.notify_one());
    }

    /// A worker's life.
    fn serve(&self) {
        #[cfg(target_os = "linux")]
        self.lock().numbers.push(placement::thread_number());
        loop {
            let posted = self.posted.load(Ordering::Acquire);
            let mut queue = self.lock();
            let mut job = queue.join();
            if job.is_none() {
                drop(queue);
                if self.watch(posted) {
                    continue;
                }
                queue = self.lock();
                job = queue.join();
            }
            while job.is_none() {
                queue.asleep += 1;
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.asleep -= 1;
                job = queue.join();
            }
            drop(queue);
            if let Some(JobPointer(job)) = job {
                // SAFETY: `join` counted this thread as a helper, so the caller waits for `leave`.
                unsafe {
                    (*job).work_on();
                    Job::leave(job);
                }
            }
        }
    }

    /// Waits a little for another job to be posted. Whether one was.
    fn watch(&self, posted: usize) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..32 {
                if self.posted.load(Ordering::Acquire) != posted {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > PATIENCE {
                return false;
            }
        }
    }
}

impl Queue {
    /// Sees to it that no worker wakes up on the processor of this thread, whose job is the only one.
    #[cfg(target_os = "linux")]
    fn place_workers(&mut self) {
        let wanted = (placement::processor(), self.numbers.len());
        if self.jobs.len() == 1 && self.avoided != wanted {
            self.avoided = wanted;
            placement::keep_away(self.numbers.iter().copied(), wanted.0);
        }
    }

    /// Takes a place in a job that has one and has chunks left.
    fn join(&self) -> Option<JobPointer> {
        self.jobs.iter().copied().find(|&JobPointer(job)| {
            // SAFETY: jobs in the queue are alive.
            let job = unsafe { &*job };
            let openings = job.openings.load(Ordering::Relaxed);
            let joins = openings > 0 && job.next.load(Ordering::Relaxed) < job.count;
            if joins {
                job.openings.store(openings - 1, Ordering::Relaxed);
                job.helpers.fetch_add(1, Ordering::Relaxed);
            }
            joins
        })
    }
}

impl Job<'_> {
    /// Takes chunks until none is left.
    fn work_on(&self) {
        let work = || {
            loop {
                let chunk = self.next.fetch_add(1, Ordering::Relaxed);
                if chunk >= self.count {
                    break;
                }
                (self.work)(chunk);
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.next.store(self.count, Ordering::Relaxed);
            self.fail(panic);
        }
    }

    fn fail(&self, panic: Box<dyn Any + Send>) {
        *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
    }

    /// The last thing that a helper does with a job: the caller may free it at once.
    ///
    /// # Safety
    /// The calling thread joined this job and has not left it yet.
    unsafe fn leave(job: *const Self) {
        // SAFETY: the job is alive until the count of helpers says that nobody is inside.
        let (caller, last) = unsafe { ((*job).caller.clone(), (*job).helpers.fetch_sub(1, Ordering::Release) == 1) };
        if last {
            caller.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn counts_are_checked() {
        assert_eq!(parse_count(" 3 ").unwrap(), 3);
        for text in ["0", "-1", "many", "", "4096", "1.5"] {
            let Err(Error::Argument(message)) = parse_count(text) else { panic!("{text:?} was taken") };
            assert!(message.contains("GPUKERN_THREADS") && message.contains("from 1 to 1024"), "{message}");
        }
    }

    #[test]
    fn every_chunk_is_done_once() {
        for threads in [1, 2, 5] {
            for count in [0, 1, 2, 7, 1000] {
                let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                for_each_chunk(threads, count, |chunk| {
                    done[chunk].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    done.iter().all(|times| times.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {count} chunks"
                );
            }
        }
    }

    #[test]
    fn threads_work_at_the_same_time() {
        let inside = AtomicUsize::new(0);
        // Each of the two waits for the other.
        for_each_chunk(2, 2, |_| {
            inside.fetch_add(1, Ordering::SeqCst);
            while inside.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
        });
    }

    #[test]
    fn a_caller_that_waits_looks_around() {
        let (caller, waiting) = (thread::current().id(), AtomicBool::new(true));
        let work = |_| {
            while thread::current().id() != caller && waiting.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        };
        // Over when the caller looks, if the other thread gets a chunk at all.
        for _ in 0..3 {
            for_each_chunk_watched(2, 2, work, || waiting.store(false, Ordering::Relaxed));
            waiting.store(true, Ordering::Relaxed);
        }
        let watched = || {
            for_each_chunk_watched(2, 2, work, || {
                waiting.store(false, Ordering::Relaxed);
                panic!("seen");
            });
        };
        while catch_unwind(AssertUnwindSafe(watched)).is_ok() {}
    }

    #[test]
    fn many_callers_and_nested_calls() {
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        for_each_chunk(3, 10, |_| for_each_chunk(2, 3, |_| _ = total.fetch_add(1, Ordering::Relaxed)));
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 8 * 200 * 30);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        for _ in 0..20 {
            let panic = catch_unwind(|| for_each_chunk(4, 100, |chunk| assert!(chunk != 50, "chunk fifty")));
            let message = *panic.unwrap_err().downcast::<&str>().unwrap();
            assert_eq!(message, "chunk fifty");
        }
        let done = AtomicBool::new(false);
        for_each_chunk(2, 2, |_| done.store(true, Ordering::Relaxed));
        assert!(done.into_inner());
    }

    #[cfg(unix)]
    #[test]
    fn a_child_process_gets_its_own_threads_and_memory() {
        use crate::cpu::memory::HostBuffer;

        for_each_chunk(3, 100, |_| ());
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            // Locks that are often held at the time of the fork.
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        drop(HostBuffer::alloc(100).unwrap());
                        for_each_chunk(2, 2, |_| ());
                    }
                });
            }
            for _ in 0..50 {
                // SAFETY: the child only does what is meant to work there, and leaves without cleaning up.
                let child = unsafe { libc::fork() };
                assert!(child >= 0);
                if child == 0 {
                    let done = AtomicUsize::new(0);
                    for_each_chunk(3, 100, |_| _ = done.fetch_add(1, Ordering::Relaxed));
                    drop(HostBuffer::alloc(100));
                    // SAFETY: it does not return.
                    unsafe { libc::_exit(i32::from(done.into_inner() != 100)) };
                }
                let (start, mut status) = (Instant::now(), 0);
                // SAFETY: a child of ours, and a place for its status.
                while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
                    if start.elapsed() > Duration::from_secs(20) {
                        // SAFETY: a child of ours.
                        unsafe { libc::kill(child, libc::SIGKILL) };
                        stop.store(true, Ordering::Relaxed);
                        panic!("the child hangs");
                    }
                    thread::yield_now();
                }
                assert_eq!(status, 0);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
