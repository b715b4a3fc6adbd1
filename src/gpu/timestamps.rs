//! Timing of single kernels: each gets a compute pass of its own with a timestamp at either end.

use std::borrow::Cow;

use super::context::Context;
use crate::device::Device;
use crate::error::Result;
use crate::ops::work;
use crate::profile::{Timing, now};

/// The timestamps of a GPU that is profiled.
pub(super) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
    /// Seconds a tick.
    period: f64,
    /// A tick, and when it was by the host's clock.
    anchor: (u64, f64),
    pending: Vec<Pending>,
    pub(super) finished: Vec<Timing>,
}

/// A kernel whose times are not read yet.
struct Pending {
    name: Cow<'static, str>,
    bytes: Option<u64>,
    operations: Option<u64>,
}

const MAX_PENDING: u32 = 1024;
/// The clocks are compared so often, and the quickest answer counts.
const COMPARISONS: usize = 4;

/// A buffer for the times of as many kernels.
fn buffer(context: &Context, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    context.raw.create_buffer(&wgpu::BufferDescriptor {
        label: Some("timestamps"),
        size: u64::from(MAX_PENDING) * 16,
        usage,
        mapped_at_creation: false,
    })
}

fn readable(context: &Context) -> wgpu::Buffer {
    buffer(context, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
}

/// The ticks of the two ends of each pass.
fn ticks(data: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let tick = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    data.chunks_exact(16).map(move |pair| (tick(&pair[..8]), tick(&pair[8..])))
}

impl Timestamps {
    /// Starts timing. Everything that was recorded before has been submitted.
    pub(super) fn new(context: &Context) -> Result<Self> {
        let mut timestamps = Self {
            queries: context.raw.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: MAX_PENDING * 2,
            }),
            resolved: buffer(context, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            readable: readable(context),
            period: f64::from(context.queue.get_timestamp_period()) * 1e-9,
            anchor: (0, 0.0),
            pending: Vec::new(),
            finished: Vec::new(),
        };
        timestamps.compare_clocks(context)?;
        Ok(timestamps)
    }

    /// Asks the GPU for the time. Its answer lies between question and arrival; the middle is at most half of that off.
    fn compare_clocks(&mut self, context: &Context) -> Result<()> {
        let mut quickest = f64::INFINITY;
        for _ in 0..COMPARISONS {
            let mut encoder = context.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            drop(encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(self.writes(0)),
            }));
            self.resolve(&mut encoder, 1);
            let commands = encoder.finish();
            let asked = now();
            context.note_submission(context.queue.submit([commands]));
            let mut tick = 0;
            context.with_mapped(&self.readable, 16, |data| tick = ticks(data).next().map_or(0, |pair| pair.1))?;
            let answered = now();
            if answered - asked < quickest {
                quickest = answered - asked;
                self.anchor = (tick, f64::midpoint(asked, answered));
            }
        }
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() as u32 == MAX_PENDING
    }

    /// Takes note of a kernel that is about to be recorded: its name, the bytes that it moves where they are known, and
    /// how often it does the arithmetic of the operation of that name. Returns its place for [`Self::writes`].
    pub(super) fn next(&mut self, name: impl Into<Cow<'static, str>>, bytes: Option<u64>, steps: u64) -> u32 {
        let name = name.into();
        let operations = if steps == 0 { None } else { work::operations(&name, steps) };
        self.pending.push(Pending { name, bytes, operations });
        self.pending.len() as u32 - 1
    }

    /// Where the pass of a kernel notes its times.
    pub(super) fn writes(&self, place: u32) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(place * 2),
            end_of_pass_write_index: Some(place * 2 + 1),
        }
    }

    /// How many kernels have times that are not read yet.
    pub(super) fn waiting(&self) -> u32 {
        self.pending.len() as u32
    }

    /// Records that the times of the first `count` kernels are to be made readable.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder, count: u32) {
        encoder.resolve_query_set(&self.queries, 0..count * 2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, u64::from(count) * 16);
    }

    /// Waits for the times of all kernels so far. What resolves them has been submitted.
    pub(super) fn read(&mut self, context: &Context) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        let (finished, period, (tick, time)) = (&mut self.finished, self.period, self.anchor);
        let read = context.with_mapped(&self.readable, pending.len() as u64 * 16, |data| {
            for (Pending { name, bytes, operations }, (from, to)) in pending.into_iter().zip(ticks(data)) {
                finished.push(Timing {
                    name,
                    device: Device::Gpu(context.device.clone()),
                    start: time + from.wrapping_sub(tick).cast_signed() as f64 * period,
                    seconds: to.saturating_sub(from) as f64 * period,
                    bytes,
                    operations,
                });
            }
        });
        if read.is_err() {
            // Still mapped, or about to be.
            self.readable = readable(context);
        }
        read
    }
}
