//! Host memory: blocks that are used again, and memory that belongs to somebody else.
//!
//! Fresh pages cost more than most operations that fill them, so a block that is dropped goes to a pool that the whole
//! process shares, and the next request of about its size gets it. Sizes are rounded up by at most an eighth.
#![expect(unsafe_code, reason = "this is where memory comes from")]

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::error::{Bytes, Error, Result};

mod copy;
mod physical;
mod system;

pub use copy::copy_bytes;
pub(crate) use copy::{copy_streamed, fill_streamed};

/// Blocks begin at multiples of this: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;
/// Requests of at least this size ask first how much memory there is. Touching so much takes far longer than asking.
const LARGE: usize = 16 << 20;
/// Longer requests are answered without asking: no processor addresses more.
const LONGEST: usize = 1 << 47;
const CLASSES: usize = class_of(LONGEST) + 1;

/// Bytes in host memory, either a block of the pool or foreign memory with its owner.
///
/// It is a handle, like a pointer: whoever writes through it sees to it that nobody else does at the time.
pub struct HostBuffer {
    pointer: NonNull<u8>,
    len: usize,
    source: Source,
}

enum Source {
    Pool,
    Foreign {
        writable: bool,
        /// Keeps the memory alive, and is dropped with the buffer.
        _owner: Box<dyn Send + Sync>,
    },
}

// SAFETY: the memory is owned, or kept alive by an owner that is itself Send and Sync. Access to the bytes is by raw
// pointer, and the duty of whoever does it.
unsafe impl Send for HostBuffer {}
// SAFETY: as above.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    /// `len` bytes of unspecified content. Large ones begin at a page.
    pub fn alloc(len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(Self { pointer: system::DANGLING, len, source: Source::Pool });
        }
        if len > LONGEST {
            return Err(Error::OutOfMemory(format!("{} of memory are more than any machine has", Bytes(len as u64))));
        }
        let size = block_size(len);
        let pooled = lock().take(size);
        let pointer = match pooled {
            Some(pointer) => pointer,
            None => fresh(len).inspect(|_| lock().count(size))?,
        };
        Ok(Self { pointer, len, source: Source::Pool })
    }

    /// Memory that somebody else owns. `owner` is dropped with the buffer, on whatever thread that happens.
    ///
    /// # Safety
    /// For as long as `owner` lives, every place that a view of this buffer reaches is readable, and writable if
    /// `writable` says so. Views may reach below `pointer`, as NumPy's do.
    #[must_use]
    pub unsafe fn foreign(pointer: NonNull<u8>, len: usize, writable: bool, owner: Box<dyn Send + Sync>) -> Self {
        Self { pointer, len, source: Source::Foreign { writable, _owner: owner } }
    }

    #[must_use]
    pub const fn as_ptr(&self) -> *const u8 {
        self.pointer.as_ptr()
    }

    /// For writing, by whoever knows that nobody else reads or writes at the time, and that it is writable.
    #[must_use]
    pub const fn as_mut_ptr(&self) -> *mut u8 {
        self.pointer.as_ptr()
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it belongs to somebody else.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        matches!(self.source, Source::Foreign { .. })
    }

    #[must_use]
    pub const fn is_writable(&self) -> bool {
        match self.source {
            Source::Pool => true,
            Source::Foreign { writable, .. } => writable,
        }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        if self.len > 0 && matches!(self.source, Source::Pool) {
            let surplus = lock().give(self.pointer, block_size(self.len));
            release(surplus);
        }
    }
}

/// What the pool has done so far, in bytes and in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// In blocks that are in use.
    pub in_use: usize,
    /// In blocks that wait to be used again.
    pub pooled: usize,
    /// The most that was ever in use.
    pub peak: usize,
    /// What the process may have altogether: the machine's memory, or its cgroup's limit if that is lower.
    pub limit: usize,
    /// Requests that the pool could answer.
    pub hits: u64,
    /// Requests that went to the system.
    pub misses: u64,
}

/// How things stand.
#[must_use]
pub fn usage() -> Usage {
    let limit = physical::total();
    let pool = lock();
    Usage { in_use: pool.in_use, pooled: pool.pooled, peak: pool.peak, limit, hits: pool.hits, misses: pool.misses }
}

/// Gives all waiting blocks back to the system.
pub fn empty() {
    let surplus = lock().drain();
    release(surplus);
}

/// A block from the system: asks how much there is, then asks for it, then empties the pool and tries again.
#[cold]
fn fresh(len: usize) -> Result<NonNull<u8>> {
    if len >= LARGE && room() < len {
        empty();
        if room() < len {
            return Err(refusal(len));
        }
    }
    let size = block_size(len);
    system::allocate(size)
        .or_else(|| {
            empty();
            system::allocate(size)
        })
        .ok_or_else(|| refusal(len))
}

/// How much can be had. The system promises more than it has, so what it has promised us counts as taken.
fn room() -> usize {
    let in_use = lock().in_use;
    physical::available().min(physical::total().saturating_sub(in_use))
}

fn refusal(len: usize) -> Error {
    let [wanted, room, total] = [len, room(), physical::total()].map(|count| Bytes(count as u64));
    Error::OutOfMemory(format!("{wanted} of memory wanted, and {room} of {total} are available"))
}

/// The blocks of one size.
struct Class {
    blocks: Vec<Block>,
    /// When one was last asked for.
    wanted: u64,
}

struct Block(NonNull<u8>, usize);
// SAFETY: memory that nobody uses can be used by any thread.
unsafe impl Send for Block {}

struct Pool {
    classes: [Class; CLASSES],
    in_use: usize,
    pooled: usize,
    peak: usize,
    hits: u64,
    misses: u64,
    /// The most bytes that may wait; zero means not known yet.
    most: usize,
}

/// The pool. It is locked across `fork`, so that a child never finds it locked by a thread that it does not have.
fn lock() -> MutexGuard<'static, Pool> {
    static POOL: Mutex<Pool> = Mutex::new(Pool {
        classes: [const { Class { blocks: Vec::new(), wanted: 0 } }; CLASSES],
        in_use: 0,
        pooled: 0,
        peak: 0,
        hits: 0,
        misses: 0,
        most: 0,
    });
    static READY: Once = Once::new();
    let lock_it = || POOL.lock().unwrap_or_else(PoisonError::into_inner);
    READY.call_once(|| {
        lock_it().most = (physical::total() / 8).max(64 << 20);
        system::lock_across_fork();
    });
    lock_it()
}

impl Pool {
    /// Counts a block as in use.
    fn count(&mut self, size: usize) {
        self.in_use += size;
        self.peak = self.peak.max(self.in_use);
    }

    /// Finds a block if there is any.
    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        let class = &mut self.classes[class_of(size)];
        class.wanted = self.hits + self.misses;
        let Some(Block(pointer, _)) = class.blocks.pop() else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        self.pooled -= size;
        self.count(size);
        Some(pointer)
    }

    /// Takes a block back. What there is no room for is the caller's to release, after the lock.
    #[must_use]
    fn give(&mut self, pointer: NonNull<u8>, size: usize) -> Vec<Block> {
        self.in_use -= size;
        let mut surplus = Vec::new();
        if size > self.most {
            surplus.push(Block(pointer, size));
            return surplus;
        }
        // Sizes that nobody asked for lately make room.
        while self.pooled + size > self.most {
            let filled = self.classes.iter_mut().filter(|class| !class.blocks.is_empty());
            let Some(block) = filled.min_by_key(|class| class.wanted).and_then(|class| class.blocks.pop()) else {
                break;
            };
            self.pooled -= block.1;
            surplus.push(block);
        }
        self.pooled += size;
        self.classes[class_of(size)].blocks.push(Block(pointer, size));
        surplus
    }

    #[must_use]
    fn drain(&mut self) -> Vec<Block> {
        self.pooled = 0;
        self.classes.iter_mut().flat_map(|class| std::mem::take(&mut class.blocks)).collect()
    }
}

fn release(blocks: Vec<Block>) {
    for Block(pointer, size) in blocks {
        // SAFETY: the block came from `allocate` with this size, and nobody has it now.
        unsafe { system::free(pointer, size) };
    }
}

/// A request rounded up: to a multiple of a cache line, and to one of eight steps between powers of two.
const fn block_size(len: usize) -> usize {
    let step = step(len);
    len.div_ceil(step) * step
}

/// The number of a block size: 0 for 64 bytes.
const fn class_of(size: usize) -> usize {
    let step = step(size);
    // Below 512 bytes there is one step; above, each doubling of the step begins at eight steps.
    size.div_ceil(step) - 1 + 8 * (step / ALIGNMENT).ilog2() as usize
}

const fn step(len: usize) -> usize {
    let power = 1 << ((len - 1) | 1).ilog2();
    if power / 8 > ALIGNMENT { power / 8 } else { ALIGNMENT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_waste_little_and_classes_are_distinct() {
        let mut last = (0, usize::MAX);
        for len in (1..200_000).chain((17..47).flat_map(|power| [-1, 0, 1].map(|d| ((1_i64 << power) + d) as usize))) {
            let size = block_size(len);
            assert!(size >= len && size.is_multiple_of(ALIGNMENT) && block_size(size) == size);
            assert!(size - len < ALIGNMENT.max(len / 8 + 1), "{len} -> {size}");
            let class = class_of(size);
            assert_eq!(class, class_of(len));
            if size > last.0 {
                assert!(last.1 == usize::MAX || class > last.1, "{size}");
                last = (size, class);
            }
        }
        assert_eq!(class_of(64), 0);
        assert_eq!(class_of(576), class_of(512) + 1);
        assert_eq!(block_size(64 << 20), 64 << 20);
    }

    /// One test, since refusing empties the pool.
    #[test]
    fn blocks_come_back_and_too_much_is_refused() {
        // A size that no other test uses.
        let len = 5_000_001;
        let first = HostBuffer::alloc(len).unwrap();
        let place = first.as_ptr();
        assert_eq!(place as usize % 4096, 0);
        // SAFETY: the buffer has that many bytes, all of them ours.
        unsafe { first.as_mut_ptr().write_bytes(7, len) };
        let before = usage();
        drop(first);
        let again = HostBuffer::alloc(len - 1).unwrap();
        assert_eq!(again.as_ptr(), place);
        assert!(usage().hits > before.hits && usage().peak >= len && usage().limit > len);

        for len in [1 << 40, 1 << 46, usize::MAX] {
            let Err(Error::OutOfMemory(message)) = HostBuffer::alloc(len) else { panic!("{len} bytes were given") };
            assert!(message.contains("TiB") || message.contains("more than any"), "{message}");
        }
        assert!(usage().in_use < 1 << 40);
        assert_eq!(HostBuffer::alloc(3).unwrap().len(), 3);
        assert_eq!(HostBuffer::alloc(0).unwrap().as_ptr() as usize % ALIGNMENT, 0);
    }

    #[test]
    fn many_threads_share_the_pool() {
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                scope.spawn(move || {
                    for round in 0..300 {
                        let sizes = [10, 4000, 70_000 + round * 64];
                        let buffers = sizes.map(|len| HostBuffer::alloc(len).unwrap());
                        // SAFETY: the buffers have so many bytes, and nobody else has them.
                        unsafe {
                            for buffer in &buffers {
                                buffer.as_mut_ptr().write_bytes(thread, buffer.len());
                            }
                            assert!(buffers.iter().all(|buffer| *buffer.as_ptr().add(buffer.len() - 1) == thread));
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn foreign_memory_is_kept_and_let_go() {
        struct Owner {
            _alive: std::sync::Arc<()>,
            bytes: [u8; 4],
        }
        let alive = std::sync::Arc::new(());
        let mut owner = Box::new(Owner { _alive: alive.clone(), bytes: [1; 4] });
        let pointer = NonNull::from(&mut owner.bytes).cast();
        // SAFETY: the owner holds the bytes.
        let buffer = unsafe { HostBuffer::foreign(pointer, 4, false, owner) };
        assert!(buffer.is_foreign() && !buffer.is_writable());
        assert_eq!(std::sync::Arc::strong_count(&alive), 2);
        drop(buffer);
        assert_eq!(std::sync::Arc::strong_count(&alive), 1);
    }

    #[test]
    fn the_pool_is_bounded_and_the_stalest_go_first() {
        let mut pool = Pool {
            classes: [const { Class { blocks: Vec::new(), wanted: 0 } }; CLASSES],
            in_use: 0,
            pooled: 0,
            peak: 0,
            hits: 0,
            misses: 0,
            most: 1000,
        };
        let place = |n: usize| NonNull::new((n * 64) as *mut u8).unwrap();
        for (n, size) in [(1, 384), (2, 448), (3, 128)] {
            assert_eq!(pool.take(size), None);
            pool.count(size);
            assert!(pool.give(place(n), size).is_empty());
        }
        assert_eq!(pool.take(512), None);
        pool.count(512);
        let surplus = pool.give(place(4), 512);
        assert_eq!(surplus.iter().map(|block| block.1).collect::<Vec<_>>(), [384, 448]);
        assert_eq!((pool.pooled, pool.in_use), (640, 0));
        assert_eq!(pool.take(512), Some(place(4)));
        pool.count(2048);
        assert_eq!(pool.give(place(5), 2048).len(), 1);
        assert_eq!(pool.drain().len(), 1);
    }
}
