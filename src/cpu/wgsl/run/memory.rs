//! What a thread needs while it runs workgroups.
#![expect(unsafe_code, reason = "memory is allocated")]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ptr::NonNull;

use crate::cpu::memory::HostBuffer;
use crate::error::{Bytes, Error, Result};

/// Each thread keeps as much as this for the next kernel. More comes from the pool of host memory, and goes back.
const KEPT: usize = 1 << 20;
const ALIGNMENT: usize = 64;

thread_local! {
    static MINE: Cell<Option<Block>> = const { Cell::new(None) };
}

/// A number that no other thread has that is alive.
pub(super) fn thread_mark() -> usize {
    MINE.with(|mine| std::ptr::from_ref(mine).addr())
}

/// Bytes of unspecified content that one thread has for itself, aligned to 64.
pub(super) enum Memory {
    Small(Block),
    Large(HostBuffer),
}

impl Memory {
    pub(super) fn take(size: usize) -> Result<Self> {
        if size > KEPT {
            return HostBuffer::alloc(size).map(Self::Large);
        }
        // Taken, so that a kernel that a signal handler runs in the middle of another one gets a block of its own.
        let kept = MINE.take().filter(|block| block.0.size() >= size);
        kept.map_or_else(|| Block::new(size), Ok).map(Self::Small)
    }

    pub(super) fn start(&self) -> *mut u8 {
        match self {
            Self::Small(block) => block.1.as_ptr(),
            Self::Large(buffer) => buffer.as_mut_ptr(),
        }
    }

    /// Ends its use.
    pub(super) fn keep(self) {
        if let Self::Small(block) = self {
            MINE.set(Some(block));
        }
    }
}

pub(super) struct Block(Layout, NonNull<u8>);

impl Block {
    fn new(size: usize) -> Result<Self> {
        // Some kilobytes at least, so that it serves many kernels.
        let size = size.next_power_of_two().max(16 << 10);
        let layout = Layout::from_size_align(size, ALIGNMENT).ok();
        // SAFETY: the size is not zero.
        let block = layout.and_then(|layout| Some(Self(layout, NonNull::new(unsafe { alloc(layout) })?)));
        block.ok_or_else(|| Error::OutOfMemory(format!("{} of memory wanted for a thread", Bytes(size as u64))))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout, and it is used no more.
        unsafe { dealloc(self.1.as_ptr(), self.0) };
    }
}
