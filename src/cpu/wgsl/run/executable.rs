//! Machine code in memory.
#![expect(unsafe_code, reason = "memory becomes a function")]

use memmap2::{Mmap, MmapMut};

use super::Entry;

/// Machine code in memory that can be executed, until it is dropped.
pub(in super::super) struct Executable {
    memory: Mmap,
}

impl Executable {
    pub(in super::super) fn new(code: &[u8]) -> Result<Self, String> {
        let memory = MmapMut::map_anon(code.len().max(1)).and_then(|mut memory| {
            memory[..code.len()].copy_from_slice(code);
            memory.make_exec()
        });
        let memory = memory.map_err(|error| {
            format!(
                "this system gives no memory for machine code ({error}), which the CPU device makes of kernels; run \
                 them on a GPU"
            )
        })?;
        make_coherent(&memory);
        Ok(Self { memory })
    }

    /// The code as a function, for as long as `self` lives.
    pub(in super::super) fn entry(&self) -> Entry {
        // SAFETY: a pointer becomes one of the same size. Whoever calls it knows that the code is such a function.
        unsafe { std::mem::transmute::<*const u8, Entry>(self.memory.as_ptr()) }
    }
}

/// Sees to it that what was written is what is executed. On x86-64 it always is.
#[cfg(not(target_arch = "aarch64"))]
fn make_coherent(_: &[u8]) {}

#[cfg(all(target_arch = "aarch64", target_vendor = "apple"))]
fn make_coherent(code: &[u8]) {
    unsafe extern "C" {
        fn sys_icache_invalidate(start: *mut std::ffi::c_void, len: usize);
    }
    // SAFETY: a range of memory that is there.
    unsafe { sys_icache_invalidate(code.as_ptr().cast_mut().cast(), code.len()) }
}

#[cfg(all(target_arch = "aarch64", windows))]
fn make_coherent(code: &[u8]) {
    use std::ffi::c_void;

    unsafe extern "system" {
        fn GetCurrentProcess() -> *mut c_void;
        fn FlushInstructionCache(process: *mut c_void, start: *const c_void, len: usize) -> i32;
    }
    // SAFETY: a range of memory that is there, of this process. It does not fail then.
    unsafe { FlushInstructionCache(GetCurrentProcess(), code.as_ptr().cast(), code.len()) };
}

/// Writes the data cache back to where instructions come from, and drops the instructions that are cached.
#[cfg(all(target_arch = "aarch64", not(windows), not(target_vendor = "apple")))]
fn make_coherent(code: &[u8]) {
    use std::arch::asm;
    use std::ops::Range;

    let kinds: u64;
    // SAFETY: a register that programs may read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) kinds, options(nomem, nostack, preserves_flags)) };
    // Words in a cache line, as powers of two: of data and of instructions.
    let (data, instructions) = (4_usize << (kinds >> 16 & 15), 4_usize << (kinds & 15));
    let Range { start, end } = code.as_ptr_range();
    let lines = |size: usize| (start.addr() / size * size..end.addr()).step_by(size);
    // SAFETY: cache maintenance, of memory that is there, changes no value.
    unsafe {
        lines(data).for_each(|line| asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)));
        asm!("dsb ish", options(nostack, preserves_flags));
        lines(instructions).for_each(|line| asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)));
        asm!("dsb ish", "isb", options(nostack, preserves_flags));
    }
}
