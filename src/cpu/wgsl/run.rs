//! Keeps compiled code, and runs it.
#![expect(unsafe_code, reason = "compiled code is memory that is called")]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Bound, Code};
use crate::cpu::CpuDevice;
use crate::error::Result;

static TIMEOUT: Mutex<Option<Duration>> = Mutex::new(None);

/// Sets how long a launch may take, or that it may take any time.
pub(crate) fn set_kernel_timeout(timeout: Option<Duration>) {
    *TIMEOUT.lock().unwrap_or_else(PoisonError::into_inner) = timeout;
}

/// How long a launch may take, if that is limited.
pub(crate) fn kernel_timeout() -> Option<Duration> {
    *TIMEOUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What compiled code finds at its first argument. One for each thread that runs workgroups.
#[repr(C)]
pub(super) struct Context {
    pub(super) bound: *const Bound,
    /// Workgroup memory, aligned to 64 bytes. The code makes it zero when a workgroup begins.
    pub(super) workgroup: *mut u8,
    /// `Code::scratch` bytes, aligned to 64.
    pub(super) scratch: *mut u8,
    /// At least 4 KiB of zeros, which nobody writes.
    pub(super) zeros: *const u8,
    pub(super) groups: [u32; 3],
    /// Taken down by one in each round of each loop. Below zero, the code calls [`poll`].
    pub(super) fuel: i32,
}

/// Compiled code: runs the workgroups (x, y, z) to (x + count − 1, y, z). Returns 0, or what `poll` returned if that
/// was not 0, at once.
pub(super) type Entry = unsafe extern "C" fn(context: *mut Context, x: u32, y: u32, z: u32, count: u32) -> u32;

/// Called by compiled code that has run for a while: gives it more fuel and returns 0, or tells it to stop by another
/// number.
pub(super) unsafe extern "C" fn poll(context: *mut Context) -> u32 {
    let _ = context;
    0
}

/// Machine code in memory that can be executed, until it is dropped.
pub(super) struct Executable {
    memory: memmap2::Mmap,
}

impl Executable {
    pub(super) fn new(code: &[u8]) -> std::result::Result<Self, String> {
        let _ = code;
        Err("not yet".into())
    }

    pub(super) fn entry(&self) -> Entry {
        let _ = &self.memory;
        unimplemented!()
    }
}

pub(super) unsafe fn run(code: &Code, name: &str, device: CpuDevice, bound: &[Bound], groups: [u32; 3]) -> Result<()> {
    let _ = (code, name, device, bound, groups);
    unimplemented!()
}
