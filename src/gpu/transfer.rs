//! Moving bytes between the host and a GPU, through staging memory that is made once and used again.
//!
//! Uploads are copied into mapped chunks by several threads, and recorded in order with everything else. Results are
//! copied by the GPU into mapped chunks, and from there by several threads into memory of our own: a mapped pointer would
//! dangle once the device is lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::align_up;
use super::context::Context;
use super::memory::GpuBuffer;
use crate::cpu::memory::copy_bytes;
use crate::error::{Error, Result};

/// Bytes of one staging chunk. Large enough that its copy outweighs its submission.
const CHUNK: u64 = 8 << 20;
/// Chunks in flight at most, each way.
const MAX_CHUNKS: usize = 4;
/// Results up to this size come back through a small chunk of their own.
const SMALL: u64 = 64 << 10;

/// A mapped chunk that takes bytes for the GPU.
struct Chunk {
    buffer: wgpu::Buffer,
    view: Option<wgpu::BufferViewMut>,
    used: u64,
}

/// The staging memory of uploads.
#[derive(Default)]
pub(super) struct Uploads {
    /// Takes small uploads, one after another, until the next submission.
    open: Option<Chunk>,
    /// Mapped again, and thus free. The GPU's completion callbacks put chunks here.
    ready: Arc<Mutex<Vec<wgpu::Buffer>>>,
    /// How many chunks there are.
    made: usize,
}

impl Uploads {
    /// Ends the open chunk, since a mapped buffer cannot be read by a submission.
    pub(super) fn close_open(&mut self) -> Option<wgpu::Buffer> {
        let mut chunk = self.open.take()?;
        chunk.view = None;
        chunk.buffer.unmap();
        Some(chunk.buffer)
    }

    /// Maps a chunk again as soon as the GPU has read it.
    pub(super) fn recycle(&mut self, buffer: Option<wgpu::Buffer>) {
        let Some(buffer) = buffer else { return };
        let (ready, again) = (self.ready.clone(), buffer.clone());
        buffer.map_async(wgpu::MapMode::Write, .., move |result| {
            if result.is_ok() {
                ready.lock().unwrap_or_else(PoisonError::into_inner).push(again);
            }
        });
    }

    /// Lets go of the chunks that are free.
    pub(super) fn release(&mut self) {
        let free = std::mem::take(&mut *self.ready.lock().unwrap_or_else(PoisonError::into_inner));
        self.made -= free.len();
    }

    fn take_ready(&self) -> Option<wgpu::Buffer> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// The staging memory of results.
#[derive(Default)]
pub(super) struct Readback {
    small: Option<wgpu::Buffer>,
    large: Vec<wgpu::Buffer>,
}

const PENDING: u8 = 0;
const MAPPED: u8 = 1;
const FAILED: u8 = 2;

impl Context {
    /// Records the upload of `bytes` at `from` to the beginning of `to`.
    ///
    /// # Safety
    /// `from` must be readable for `bytes`. It is read before this returns.
    #[expect(unsafe_code, reason = "reads memory through a pointer")]
    pub(crate) unsafe fn upload(&self, to: &GpuBuffer, from: *const u8, bytes: usize) -> Result<()> {
        self.check()?;
        let mut stream = self.stream();
        let mut done = 0;
        while done < bytes {
            self.open_chunk(&mut stream)?;
            let chunk = stream.uploads.open.as_mut().expect("opened above");
            let room = (CHUNK - chunk.used) as usize;
            let part = room.min(bytes - done);
            let view = chunk.view.as_mut().expect("an open chunk is mapped");
            let target = view.slice(chunk.used as usize..chunk.used as usize + part).as_raw_element_ptr();
            // SAFETY: the target is `part` bytes of mapped memory that nothing else refers to; the source is the
            // caller's promise.
            unsafe { copy_bytes(target.as_ptr(), from.add(done), part) };
            let (buffer, at) = (chunk.buffer.clone(), chunk.used);
            // Copies move whole words. A tensor's buffer has room for the last one.
            let padded = align_up(part as u64, 4);
            chunk.used = align_up(chunk.used + padded, 16).min(CHUNK);
            let full = chunk.used == CHUNK;
            stream.copy(self, (&buffer, at), (to.raw(), done as u64), padded);
            done += part;
            if full {
                stream.submit(self);
            }
        }
        Ok(())
    }

    /// Makes sure that a mapped chunk with room is open, waiting for one if all are under way.
    fn open_chunk(&self, stream: &mut super::stream::Stream) -> Result<()> {
        if stream.uploads.open.is_some() {
            return Ok(());
        }
        let buffer = match stream.uploads.take_ready() {
            Some(buffer) => buffer,
            None if stream.uploads.made < MAX_CHUNKS => {
                stream.uploads.made += 1;
                self.create_staging(CHUNK, wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC, true)
                    .inspect_err(|_| stream.uploads.made -= 1)?
            }
            None => {
                let ready = stream.uploads.ready.clone();
                self.wait_until(|| !ready.lock().unwrap_or_else(PoisonError::into_inner).is_empty())?;
                stream.uploads.take_ready().expect("waited for it")
            }
        };
        let view = buffer
            .get_mapped_range_mut(..)
            .map_err(|error| Error::Device(format!("{}: staging memory is not mapped: {error}", self.device.id)))?;
        stream.uploads.open = Some(Chunk { buffer, view: Some(view), used: 0 });
        Ok(())
    }

    /// Waits for everything recorded, and copies `bytes` from `offset` in `from` to `to`.
    ///
    /// # Safety
    /// `to` must be writable for `bytes`.
    #[expect(unsafe_code, reason = "writes memory through a pointer")]
    pub(crate) unsafe fn read_back(&self, from: &GpuBuffer, offset: u64, to: *mut u8, bytes: usize) -> Result<()> {
        self.check()?;
        let mut readback = self.readback();
        // SAFETY: the caller's promise.
        let result = unsafe { self.read_chunks(&mut readback, from, offset, to, bytes) };
        if result.is_err() {
            // What is still mapped or under way is not used again.
            *readback = Readback::default();
        }
        result
    }

    /// # Safety
    /// As for [`Self::read_back`].
    #[expect(unsafe_code, reason = "writes memory through a pointer")]
    unsafe fn read_chunks(
        &self,
        readback: &mut Readback,
        from: &GpuBuffer,
        offset: u64,
        to: *mut u8,
        bytes: usize,
    ) -> Result<()> {
        // Copies move whole words: begin at the word that the first byte is in.
        let skip = (offset % 4) as usize;
        let (start, total) = (offset - skip as u64, bytes + skip);
        let chunk = if total as u64 <= SMALL { SMALL } else { CHUNK };
        let mut flying: VecDeque<(wgpu::Buffer, usize, usize, Arc<AtomicU8>)> = VecDeque::new();
        let (mut sent, mut landed) = (0, 0);
        while landed < total {
            while sent < total && flying.len() < MAX_CHUNKS {
                let part = (total - sent).min(chunk as usize);
                let buffer = self.readback_chunk(readback, chunk, flying.len())?;
                let state = self.send(from, start + sent as u64, &buffer, part)?;
                flying.push_back((buffer, sent, part, state));
                sent += part;
            }
            let (buffer, at, part, state) = flying.pop_front().expect("something is under way");
            self.wait_until(|| state.load(Ordering::Acquire) != PENDING)?;
            if state.load(Ordering::Acquire) == FAILED {
                self.check()?;
                return Err(Error::Device(format!("{}: a result could not be mapped", self.device.id)));
            }
            let view = buffer
                .get_mapped_range(..align_up(part as u64, 4))
                .map_err(|error| Error::Device(format!("{}: a result is not mapped: {error}", self.device.id)))?;
            let skip_here = if at == 0 { skip } else { 0 };
            // SAFETY: the view holds `part` bytes, and `to` has room for all of them but the skipped ones.
            unsafe { copy_bytes(to.add(at + skip_here - skip), view[skip_here..].as_ptr(), part - skip_here) };
            drop(view);
            buffer.unmap();
            landed += part;
            if chunk != SMALL {
                // Keeps the order of use: the chunk that landed first is free first.
                readback.large.rotate_left(1);
            }
        }
        Ok(())
    }

    fn readback_chunk(&self, readback: &mut Readback, chunk: u64, index: usize) -> Result<wgpu::Buffer> {
        let make = || self.create_staging(chunk, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST, false);
        if chunk == SMALL {
            if readback.small.is_none() {
                readback.small = Some(make()?);
            }
            return Ok(readback.small.clone().expect("made above"));
        }
        if index == readback.large.len() {
            readback.large.push(make()?);
        }
        Ok(readback.large[index].clone())
    }

    /// Submits the copy of a stretch to a chunk, behind everything recorded, and asks for the chunk to be mapped.
    fn send(&self, from: &GpuBuffer, offset: u64, chunk: &wgpu::Buffer, bytes: usize) -> Result<Arc<AtomicU8>> {
        let padded = align_up(bytes as u64, 4);
        {
            let mut stream = self.stream();
            stream.copy(self, (from.raw(), offset), (chunk, 0), padded);
            stream.submit(self);
        }
        self.check()?;
        let state = Arc::new(AtomicU8::new(PENDING));
        let mapped = state.clone();
        chunk.map_async(wgpu::MapMode::Read, ..padded, move |result| {
            mapped.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        Ok(state)
    }

    /// Maps a buffer that the GPU has been told to fill, and shows its first `bytes`.
    pub(super) fn with_mapped(&self, buffer: &wgpu::Buffer, bytes: u64, show: impl FnOnce(&[u8])) -> Result<()> {
        let state = Arc::new(AtomicU8::new(PENDING));
        let mapped = state.clone();
        buffer.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
            mapped.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        self.wait_until(|| state.load(Ordering::Acquire) != PENDING)?;
        match buffer.get_mapped_range(..bytes) {
            Ok(view) => show(&view),
            Err(error) => return Err(Error::Device(format!("{}: {error}", self.device.id))),
        }
        buffer.unmap();
        Ok(())
    }
}
