//! Log messages: queued wherever they arise, and given to Python's `logging` where a call comes back.
//!
//! They arise on any thread and under any lock, where running Python code could deadlock. A panic's message takes the
//! same way, so that nothing is printed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

use crate::kernel::compile::COMPILER;

struct Queue {
    waiting: AtomicBool,
    messages: Mutex<VecDeque<(Level, String)>>,
}

static QUEUE: Queue = Queue { waiting: AtomicBool::new(false), messages: Mutex::new(VecDeque::new()) };

/// Older messages make room for newer ones.
const MAX_WAITING: usize = 256;

impl Queue {
    fn push(&self, level: Level, message: String) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() == MAX_WAITING {
            messages.pop_front();
        }
        messages.push_back((level, message));
        self.waiting.store(true, Ordering::Release);
    }
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Of other crates only what deserves attention: wgpu is talkative.
        metadata.level() <= if metadata.target().starts_with("gpukern") { Level::Info } else { Level::Warn }
    }

    fn log(&self, record: &Record<'_>) {
        // What the WGSL compiler has to say is in the error.
        if self.enabled(record.metadata()) && !record.target().starts_with("naga") {
            self.push(record.level(), format!("{}: {}", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// Makes the logger `gpukern` in Python and sends everything there.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    // Without a handler of its own, Python prints warnings of loggers that nobody listens to.
    let logging = py.import("logging")?;
    let logger = logging.call_method1("getLogger", ("gpukern",))?;
    logger.call_method1("addHandler", (logging.call_method0("NullHandler")?,))?;
    if log::set_logger(&QUEUE).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    std::panic::set_hook(Box::new(|panic| {
        if std::thread::current().name() != Some(COMPILER) {
            QUEUE.push(Level::Error, panic.to_string());
        }
    }));
    Ok(())
}

/// Gives the waiting messages to Python.
pub(super) fn hand_over(py: Python<'_>) -> PyResult<()> {
    if !QUEUE.waiting.swap(false, Ordering::Acquire) {
        return Ok(());
    }
    let messages = std::mem::take(&mut *QUEUE.messages.lock().unwrap_or_else(PoisonError::into_inner));
    let logger = py.import("logging")?.call_method1("getLogger", ("gpukern",))?;
    for (level, message) in messages {
        let level = match level {
            Level::Error => 40,
            Level::Warn => 30,
            Level::Info => 20,
            Level::Debug | Level::Trace => 10,
        };
        logger.call_method1("log", (level, "%s", message))?;
    }
    Ok(())
}
