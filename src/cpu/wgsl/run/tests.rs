//! Functions in place of compiled code.
#![expect(clippy::cast_ptr_alignment, reason = "memory of workgroups is aligned, and so is what is bound here")]

use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::thread;

use super::*;

/// What a kernel is given in these tests: its only binding.
#[derive(Default)]
struct Seen {
    /// How often each workgroup was run.
    times: Vec<AtomicU32>,
    /// Calls of the entry.
    calls: AtomicUsize,
    /// Contexts that are in use.
    contexts: Mutex<Vec<usize>>,
    /// What endless loops wait for in vain, and the thread that is not to loop.
    caller: Option<thread::ThreadId>,
    polls: AtomicUsize,
}

impl Seen {
    fn of(total: usize) -> Self {
        Self { times: (0..total).map(|_| AtomicU32::new(0)).collect(), ..Self::default() }
    }

    /// What the context's kernel was given.
    unsafe fn at<'a>(context: *mut Context) -> &'a Self {
        // SAFETY: `call` binds one.
        unsafe { &*(*(*context).bound).start.cast::<Self>() }
    }
}

fn code(entry: Entry, workgroup_memory: usize, scratch: usize, cost: Option<u64>) -> Code {
    Code { _executable: Executable::new(&[]).unwrap(), entry, scratch, workgroup_memory, cost, least: Vec::new() }
}

fn call(code: &Code, seen: &Seen, threads: usize, groups: [u32; 3], timeout: Option<Duration>) -> Result<()> {
    let device = CpuDevice::new().unwrap().with_threads(threads);
    let bound = [Bound { start: std::ptr::from_ref(seen).cast_mut().cast(), bytes: size_of::<Seen>() }];
    // SAFETY: what is bound is a `Seen`, as the functions here expect, all of which is shared between threads.
    unsafe { run_within(timeout, code, "test", device, &bound, groups) }
}

/// Counts workgroups, and looks at what it is given.
unsafe extern "C" fn count(context: *mut Context, x: u32, y: u32, z: u32, count: u32) -> u32 {
    // SAFETY: as in `at`; memory is as large as the tests' code says.
    unsafe {
        let seen = Seen::at(context);
        seen.calls.fetch_add(1, Ordering::Relaxed);
        assert!(count > 0 && z < (*context).groups[2]);
        let Context { workgroup, scratch, groups, fuel, .. } = *context;
        assert!(workgroup.addr().is_multiple_of(64) && scratch.addr().is_multiple_of(64) && fuel >= 0);
        seen.contexts.lock().unwrap().push(workgroup.addr());
        for x in x..x + count {
            let number = (z * groups[1] + y) * groups[0] + x;
            // Nobody else writes here.
            workgroup.cast::<[u32; 25]>().write([number; 25]);
            scratch.cast::<[u32; 32]>().write([!number; 32]);
            thread::yield_now();
            assert_eq!(workgroup.cast::<[u32; 25]>().read(), [number; 25]);
            assert_eq!(scratch.cast::<[u32; 32]>().read(), [!number; 32]);
            seen.times[number as usize].fetch_add(1, Ordering::Relaxed);
        }
        let mut contexts = seen.contexts.lock().unwrap();
        let place = contexts.iter().position(|&other| other == workgroup.addr()).unwrap();
        contexts.swap_remove(place);
        assert!(!contexts.contains(&workgroup.addr()), "two at a time in one memory");
    }
    0
}

#[test]
fn every_workgroup_runs_once() {
    let grids = [[1, 1, 1], [7, 1, 1], [1, 7, 1], [1, 1, 7], [3, 5, 2], [1000, 1, 1], [1, 300, 2], [33, 9, 4]];
    for cost in [None, Some(0), Some(100), Some(1_000_000), Some(u64::MAX)] {
        let code = code(count, 100, 128, cost);
        for groups in grids {
            for threads in [1, 2, 5] {
                let total = groups.iter().product::<u32>() as usize;
                let seen = Seen::of(total);
                call(&code, &seen, threads, groups, None).unwrap();
                let right = seen.times.iter().all(|times| times.load(Ordering::Relaxed) == 1);
                assert!(right, "{groups:?} on {threads} threads, {cost:?}");
            }
        }
    }
}

#[test]
fn little_work_stays_on_this_thread_in_one_call() {
    for (groups, threads, cost) in [([1, 1, 1], 4, None), ([50, 1, 1], 4, Some(100)), ([50, 1, 1], 1, None)] {
        let seen = Seen::of(50);
        call(&code(count, 100, 128, cost), &seen, threads, groups, None).unwrap();
        assert_eq!(seen.calls.into_inner(), 1);
    }
    assert_eq!(chunk_count(None, 1, 8), 1);
    assert_eq!(chunk_count(None, 2, 8), 2);
    assert_eq!(chunk_count(Some(1000), 25, 8), 5);
    assert_eq!(chunk_count(Some(1000), 1_000_000, 8), 128);
    assert_eq!(chunk_count(Some(u64::MAX), u32::MAX.into(), 1), 1);
}

#[test]
fn calls_from_many_threads_and_large_memory() {
    thread::scope(|scope| {
        for size in [128, 1 << 20, 3 << 20, 64] {
            scope.spawn(move || {
                for _ in 0..20 {
                    let seen = Seen::of(40);
                    call(&code(count, size.max(100), 128.max(size), None), &seen, 3, [40, 1, 1], None).unwrap();
                    assert!(seen.times.iter().all(|times| times.load(Ordering::Relaxed) == 1));
                }
            });
        }
    });
    let seen = Seen::of(40);
    let Err(Error::OutOfMemory(message)) = call(&code(count, 64, 1 << 50, None), &seen, 2, [40, 1, 1], None) else {
        panic!("there was so much memory")
    };
    assert!(message.starts_with("kernel 'test': "), "{message}");
}

/// Loops as compiled code does, for ever, but on the thread that is excepted.
unsafe extern "C" fn endless(context: *mut Context, _: u32, _: u32, _: u32, _: u32) -> u32 {
    // SAFETY: as in `at`.
    unsafe {
        let seen = Seen::at(context);
        while seen.caller != Some(thread::current().id()) {
            (*context).fuel -= 1;
            if (*context).fuel < 0 {
                seen.polls.fetch_add(1, Ordering::Relaxed);
                let stop = poll(context);
                if stop != 0 {
                    return stop;
                }
                assert!((*context).fuel > 0);
            }
        }
    }
    0
}

#[test]
fn an_endless_loop_is_out_of_time() {
    let limit = Duration::from_millis(60);
    let code = code(endless, 0, 64, None);
    for (threads, caller) in [(1, None), (3, None), (2, Some(thread::current().id()))] {
        let start = Instant::now();
        let seen = Seen { caller, ..Seen::default() };
        let outcome = loop {
            let outcome = call(&code, &seen, threads, [2, 3, 4], Some(limit));
            // Another thread is not always quick enough to get any of them.
            if outcome.is_err() || caller.is_none() {
                break outcome;
            }
        };
        let Err(Error::Kernel(message)) = outcome else { panic!("it ended: {outcome:?}") };
        assert!(
            message.starts_with("kernel 'test': it ran for longer than gpukern.config.kernel_timeout = 0.06 seconds")
        );
        assert!(start.elapsed() >= limit && seen.polls.into_inner() > 3);
    }
}

#[test]
fn a_caller_that_is_interrupted_stops_all() {
    thread_local!(static WANTS: AtomicBool = const { AtomicBool::new(false) });
    interrupt::install(|| WANTS.with(|wants| wants.load(Ordering::Relaxed)));
    WANTS.with(|wants| wants.store(true, Ordering::Relaxed));
    let code = code(endless, 0, 64, None);
    for (threads, caller) in [(1, None), (3, None), (2, Some(thread::current().id()))] {
        let seen = Seen { caller, ..Seen::default() };
        // Until another thread gets some of them.
        while call(&code, &seen, threads, [2, 3, 4], None) != Err(Error::Interrupted) {
            assert!(caller.is_some());
        }
    }
}

#[test]
fn fuel_suits_the_time() {
    let code = code(endless, 0, 64, None);
    let run = Run {
        code: &code,
        name: "test",
        bound: &[],
        groups: [1; 3],
        timeout: None,
        start: OnceLock::new(),
        ask_at: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        error: Mutex::new(None),
    };
    let null = std::ptr::null_mut();
    let context =
        Context { bound: null, workgroup: null.cast(), scratch: null.cast(), groups: [1; 3], fuel: -1, answer: 0 };
    let mut worker = Worker { context, run: &run, calls: true, quota: FUEL, polled: None };
    let poll_it = |worker: &mut Worker| {
        // SAFETY: the beginning of a worker.
        assert_eq!(unsafe { poll((&raw mut *worker).cast()) }, u32::from(run.stopped.load(Ordering::Relaxed)));
        worker.context.fuel
    };
    assert_eq!(poll_it(&mut worker), FUEL);
    let quick = (0..20).map(|_| poll_it(&mut worker)).max();
    assert!(quick > Some(FUEL) && quick <= Some(MOST_FUEL));
    worker.quota = FUEL;
    worker.polled = Instant::now().checked_sub(Duration::from_millis(10));
    let slow = poll_it(&mut worker);
    assert!((1..=FUEL / 10).contains(&slow), "{slow}");
    run.stop(Error::Interrupted);
    run.stop(Error::Device("later".into()));
    poll_it(&mut worker);
    assert_eq!(run.error.into_inner().unwrap(), Some(Error::Interrupted));
}

#[test]
fn the_timeout_is_a_setting() {
    assert_eq!(kernel_timeout(), None);
    for limit in [Some(Duration::MAX), Some(Duration::from_secs(100_000)), None] {
        set_kernel_timeout(limit);
        assert_eq!(kernel_timeout(), limit.filter(|&limit| limit < Duration::MAX));
    }
}

#[test]
fn machine_code_runs() {
    #[cfg(target_arch = "x86_64")]
    const CODE: [u8; 6] = [0xb8, 0x2a, 0, 0, 0, 0xc3]; // mov eax, 42; ret
    #[cfg(target_arch = "aarch64")]
    const CODE: [u8; 8] = [0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6]; // mov w0, #42; ret
    for _ in 0..100 {
        let executable = Executable::new(&CODE).unwrap();
        // SAFETY: it looks at no argument.
        assert_eq!(unsafe { executable.entry()(std::ptr::null_mut(), 0, 0, 0, 1) }, 42);
    }
    let mut long = vec![0x90; 100_000];
    if cfg!(target_arch = "aarch64") {
        long = [0x1f, 0x20, 0x03, 0xd5].repeat(25_000); // nop
    }
    long.extend(CODE);
    // SAFETY: as above.
    assert_eq!(unsafe { Executable::new(&long).unwrap().entry()(std::ptr::null_mut(), 0, 0, 0, 1) }, 42);
}
