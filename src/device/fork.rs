//! Knowing that the process was forked: a GPU driver does not survive it, so a child must not touch its parent's GPU.

#![cfg_attr(unix, expect(unsafe_code, reason = "registering a fork handler is a C call"))]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Error;

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A number that differs between a process and its forked children. Costs one load.
pub fn generation() -> u32 {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        #[cfg(unix)]
        {
            extern "C" fn in_child() {
                GENERATION.fetch_add(1, Ordering::Relaxed);
            }
            // SAFETY: the handler only adds to an atomic, which is allowed after fork in any process.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        }
    });
    GENERATION.load(Ordering::Relaxed)
}

/// What to say to a child that uses its parent's GPU.
pub fn inherited(device: &str) -> Error {
    Error::Device(format!(
        "{device}: this process was forked from one that had opened the GPU, and a GPU cannot be used across a fork; \
         start processes with multiprocessing's 'spawn' method, or use device='cpu'"
    ))
}
