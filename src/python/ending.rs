//! The interpreter's end. Python does not wait for daemon threads: it just ends, and the drivers' libraries are taken
//! down. A thread that is inside a driver then takes the process with it, so they are called out first, and let in no
//! more.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::device::fork;
use crate::error::{Error, Result};

/// The threads that work for Python.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static ENDS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether it is this thread that ends the interpreter. It may go on using everything.
    static IS_LAST: Cell<bool> = const { Cell::new(false) };
}

/// A thread that does not come out by then, because a driver does not return, is left where it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// By then the process is gone.
const FOR_GOOD: Duration = Duration::from_mins(1);

/// Whether this thread has to come to an end, since the interpreter does.
pub(super) fn concerns_this_thread() -> bool {
    ENDS.load(Ordering::SeqCst) && !IS_LAST.get()
}

/// Does something that may use a driver, without the interpreter lock. Once the interpreter ends, daemon threads do not
/// come back from here: what they would say then is of no use to anybody.
pub(super) fn work<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    /// Counts out, also after a panic.
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let result = {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let _inside = Inside;
        if concerns_this_thread() { None } else { Some(f()) }
    };
    match result {
        Some(result) if !concerns_this_thread() => result,
        _ => {
            std::thread::sleep(FOR_GOOD);
            Err(Error::Device("the interpreter has ended, and with it every device".into()))
        }
    }
}

/// Keeps other threads out from now on, and waits for those that are inside. For the thread that ends the interpreter,
/// which is inside itself.
pub(super) fn begin() {
    IS_LAST.set(true);
    ENDS.store(true, Ordering::SeqCst);
    let start = Instant::now();
    // A forked child has one thread, whatever its parent had.
    while fork::generation() == 0 && INSIDE.load(Ordering::SeqCst) > 1 && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
}
