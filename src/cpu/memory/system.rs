//! Blocks from the operating system.
#![expect(unsafe_code, reason = "this is where memory comes from")]

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use super::ALIGNMENT;

/// Smaller blocks are aligned to a cache line, larger ones to a page, so that a GPU could import them.
const PAGED: usize = 64 << 10;
const PAGE: usize = 4096;
/// Larger blocks are mapped by themselves, on large pages where the system has them.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Where empty buffers point.
pub(super) const DANGLING: NonNull<u8> = NonNull::<CacheLine>::dangling().cast();

#[repr(align(64))]
struct CacheLine;

/// `size` bytes, or none if the system says no.
pub(super) fn allocate(size: usize) -> Option<NonNull<u8>> {
    #[cfg(target_os = "linux")]
    if size >= HUGE_PAGE {
        return map(size);
    }
    // SAFETY: sizes here are never zero.
    NonNull::new(unsafe { alloc(layout(size)?) })
}

/// # Safety
/// The block came from [`allocate`] with the same size, and nobody uses it any more.
pub(super) unsafe fn free(pointer: NonNull<u8>, size: usize) {
    #[cfg(target_os = "linux")]
    if size >= HUGE_PAGE {
        // SAFETY: `allocate` mapped exactly this.
        unsafe { libc::munmap(pointer.as_ptr().cast(), size) };
        return;
    }
    if let Some(layout) = layout(size) {
        // SAFETY: `allocate` got it with this layout.
        unsafe { dealloc(pointer.as_ptr(), layout) };
    }
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, if size < PAGED { ALIGNMENT } else { PAGE }).ok()
}

/// Maps memory that begins at a large page, and asks for large pages: a sixteenth of the time of first touch.
#[cfg(target_os = "linux")]
fn map(size: usize) -> Option<NonNull<u8>> {
    let reserved = size.checked_add(HUGE_PAGE)?;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping touches nothing that exists.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), reserved, access, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.cast::<u8>();
    let before = start.align_offset(HUGE_PAGE);
    let after = reserved - before - size;
    // SAFETY: all of these lie inside the new mapping; what is unmapped is what nobody will use.
    unsafe {
        let block = start.add(before);
        if before > 0 {
            libc::munmap(start.cast(), before);
        }
        if after > 0 {
            libc::munmap(block.add(size).cast(), after);
        }
        // A kernel without large pages refuses, and loses nothing.
        libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE);
        NonNull::new(block)
    }
}

/// From now on `fork` holds the pool's lock in the parent and lets go of it on both sides.
#[cfg(unix)]
pub(super) fn lock_across_fork() {
    use std::cell::Cell;
    use std::sync::MutexGuard;

    thread_local! {
        static HELD: Cell<Option<MutexGuard<'static, super::Pool>>> = const { Cell::new(None) };
    }
    extern "C" fn before() {
        let _ = HELD.try_with(|held| held.set(Some(super::lock())));
    }
    extern "C" fn after() {
        let _ = HELD.try_with(Cell::take);
    }
    // SAFETY: the handlers are ordinary functions of this library, which is never unloaded.
    unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
}

#[cfg(not(unix))]
pub(super) fn lock_across_fork() {}
