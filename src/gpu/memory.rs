//! GPU buffers, pooled: a new buffer costs an allocation and a pass of zeros, a pooled one nothing.
//!
//! One queue runs everything in order, so that a buffer whose tensor is gone can be handed out again at once: whatever
//! still reads it was recorded before whatever will write it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::align_up;
use super::context::Context;
use crate::cpu::memory::Usage;
use crate::error::{Bytes, Error, Result};

/// A buffer on a GPU. Dropping it gives it back to its pool.
pub struct GpuBuffer {
    raw: Option<wgpu::Buffer>,
    /// Distinguishes buffers for the life of their context, so that bind groups can be kept by it.
    id: u64,
    size: u64,
    /// Bytes that were asked for. What follows is padding.
    used: u64,
    context: Arc<Context>,
}

impl GpuBuffer {
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        self.raw.as_ref().expect("present until dropped")
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Bytes that were asked for. Kernels may write whole groups of elements into the padding behind them.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        let raw = self.raw.take().expect("dropped once");
        if self.context.is_inherited() {
            // A forked child: the driver's state is the parent's, so nothing of it may be touched.
            std::mem::forget(raw);
        } else {
            self.context.memory.give_back(raw, self.id, self.size);
        }
    }
}

/// The buffers of one context: those in use counted, the others kept by size.
pub(crate) struct Pool {
    free: Mutex<Free>,
    next_id: AtomicU64,
    in_use: AtomicU64,
    peak: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Device memory, where the driver tells; otherwise the largest buffer.
    limit: u64,
    largest: u64,
}

#[derive(Default)]
struct Free {
    by_size: FxHashMap<u64, Shelf>,
    bytes: u64,
    /// Counts requests, to tell which sizes were asked for long ago.
    requests: u64,
    /// Counts the times that buffers were let go, so that bind groups that hold them can be let go too.
    evictions: u64,
}

/// The free buffers of one size.
#[derive(Default)]
struct Shelf {
    buffers: Vec<(wgpu::Buffer, u64)>,
    last_request: u64,
}

impl Pool {
    pub(crate) fn new(limit: u64, largest: u64) -> Self {
        Self {
            free: Mutex::default(),
            next_id: AtomicU64::new(0),
            in_use: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            limit,
            largest,
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least `bytes`, from the pool or new.
    pub(crate) fn alloc(&self, context: &Arc<Context>, bytes: u64) -> Result<Arc<GpuBuffer>> {
        if bytes > self.largest {
            return Err(Error::OutOfMemory(format!(
                "{} wanted, but one tensor on {} can have at most {}; split it, or use device='cpu'",
                Bytes(bytes),
                context.device.id,
                Bytes(self.largest)
            )));
        }
        let size = size_class(bytes).min(self.largest);
        let pooled = {
            let mut free = self.free();
            free.requests += 1;
            let now = free.requests;
            let shelf = free.by_size.entry(size).or_default();
            shelf.last_request = now;
            let found = shelf.buffers.pop();
            if found.is_some() {
                free.bytes -= size;
            }
            found
        };
        let counter = if pooled.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        let (raw, id) = match pooled {
            Some(found) => found,
            None => (self.create(context, size)?, self.next_id.fetch_add(1, Ordering::Relaxed)),
        };
        let in_use = self.in_use.fetch_add(size, Ordering::Relaxed) + size;
        self.peak.fetch_max(in_use, Ordering::Relaxed);
        Ok(Arc::new(GpuBuffer { raw: Some(raw), id, size, used: bytes, context: context.clone() }))
    }

    /// A new buffer from the driver; when it has no memory left, after everything pooled was let go.
    fn create(&self, context: &Arc<Context>, size: u64) -> Result<wgpu::Buffer> {
        let held = || self.in_use.load(Ordering::Relaxed) + self.free().bytes;
        if held() + size > self.limit {
            context.release_memory()?;
        }
        if self.in_use.load(Ordering::Relaxed) + size <= self.limit {
            for attempt in 0..2 {
                match context.create_buffer(size, STORAGE, false) {
                    Ok(raw) => return Ok(raw),
                    Err(Error::OutOfMemory(_)) if attempt == 0 => context.release_memory()?,
                    Err(Error::OutOfMemory(_)) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Err(Error::OutOfMemory(format!(
            "{} wanted on {}, where {} of {} are in use",
            Bytes(size),
            context.device.id,
            Bytes(self.in_use.load(Ordering::Relaxed)),
            Bytes(self.limit)
        )))
    }

    fn give_back(&self, raw: wgpu::Buffer, id: u64, size: u64) {
        self.in_use.fetch_sub(size, Ordering::Relaxed);
        let mut free = self.free();
        // At most half of the memory waits for reuse. Sizes that nobody asked for lately make room.
        let mut dropped = Vec::new();
        while free.bytes + size > self.limit / 2 {
            let oldest = free.by_size.iter().filter(|(_, shelf)| !shelf.buffers.is_empty());
            let Some(oldest) = oldest.min_by_key(|(_, shelf)| shelf.last_request).map(|(&size, _)| size) else { break };
            let shelf = free.by_size.remove(&oldest).expect("found above");
            free.bytes -= oldest * shelf.buffers.len() as u64;
            dropped.push(shelf);
            free.evictions += 1;
        }
        free.bytes += size;
        free.by_size.entry(size).or_default().buffers.push((raw, id));
        drop(free);
        drop(dropped);
    }

    /// Lets go of every pooled buffer.
    pub(crate) fn empty(&self) {
        let dropped = {
            let mut free = self.free();
            free.bytes = 0;
            free.evictions += 1;
            std::mem::take(&mut free.by_size)
        };
        drop(dropped);
    }

    /// How often buffers were let go.
    pub(crate) fn evictions(&self) -> u64 {
        self.free().evictions
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            in_use: self.in_use.load(Ordering::Relaxed) as usize,
            pooled: self.free().bytes as usize,
            peak: self.peak.load(Ordering::Relaxed) as usize,
            limit: self.limit as usize,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// After a fork: forgets the buffers without touching them.
    pub(crate) fn forget(&self) {
        std::mem::forget(std::mem::take(&mut self.free().by_size));
    }
}

const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// Sizes are rounded up to one of eight steps between powers of two, so that at most an eighth is wasted and tensors of
/// nearly the same size share buffers. Every size is a multiple of 256, so that whole groups of elements always fit.
fn size_class(bytes: u64) -> u64 {
    let step = (bytes.max(1).next_power_of_two() / 16).max(256);
    align_up(bytes.max(256), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_little() {
        for bytes in (0..100_000).chain([1 << 30, (1 << 30) + 1]) {
            let size = size_class(bytes);
            assert!(size >= bytes && size.is_multiple_of(256));
            assert!(size <= (bytes + bytes / 8).max(bytes + 256), "{bytes} became {size}");
        }
    }
}
