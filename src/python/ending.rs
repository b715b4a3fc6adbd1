//! The interpreter's end. Python does not wait for daemon threads: it just ends, and the drivers' libraries are taken
//! down. A thread that is inside a driver then takes the process with it, so they are called out first, and let in no
//! more.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::device::{fork, select};
use crate::error::{Error, Result};

/// The threads that work for Python.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static ENDS: AtomicBool = AtomicBool::new(false);
/// That what there is to do before the end is done.
static IS_DONE: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether it is this thread that ends the interpreter. It may go on using everything.
    static IS_LAST: Cell<bool> = const { Cell::new(false) };
}

/// A thread that does not come out by then, because its work does not ask whether to go on, is left where it is.
const PATIENCE: Duration = Duration::from_secs(3);
/// By then the process is gone, unless somebody waits for the thread.
const GONE: Duration = Duration::from_secs(1);

/// Whether this thread has to come to an end, since the interpreter does.
pub(super) fn concerns_this_thread() -> bool {
    ENDS.load(Ordering::SeqCst) && !IS_LAST.get()
}

/// Does something that may use a driver, without the interpreter lock; it does not panic. Once the interpreter ends,
/// daemon threads stay in here: what they would say then is of no use to anybody.
pub(super) fn work<T>(f: impl FnOnce() -> T) -> Result<T> {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let result = (!concerns_this_thread()).then(f);
    INSIDE.fetch_sub(1, Ordering::SeqCst);
    match result {
        Some(result) if !concerns_this_thread() => Ok(result),
        // A result is held meanwhile: to let go of it may need the driver too.
        _ => {
            while !IS_DONE.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(GONE);
            Err(Error::Device("the interpreter is ending, and threads that it does not wait for with it".into()))
        }
    }
}

/// Keeps other threads out from now on, waits for those that are inside, and lets go of devices, if there are drivers at
/// all. For the thread that ends the interpreter, which is inside itself.
pub(super) fn end() {
    if !select::has_looked() {
        return;
    }
    IS_LAST.set(true);
    ENDS.store(true, Ordering::SeqCst);
    let start = Instant::now();
    // After a fork there may be nobody of those who were inside before.
    while fork::generation() == 0 && INSIDE.load(Ordering::SeqCst) > 1 && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    select::close_all();
    IS_DONE.store(true, Ordering::SeqCst);
}
