//! Recording: dispatches and copies go into one open encoder, which is submitted when somebody wants a result.
//!
//! A submission costs tens of microseconds and a recorded dispatch well under one, so work is gathered: into one compute
//! pass, broken only by copies. It is submitted when a result is read, on `synchronize`, or after enough of it.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::context::Context;
use super::memory::GpuBuffer;
use super::pipeline::Pipeline;
use super::timestamps::Timestamps;
use super::transfer::Uploads;
use crate::device::caps::IMMEDIATE_BYTES;
use crate::error::Result;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// A stretch of a buffer that a kernel sees.
#[derive(Clone, Copy)]
pub(crate) struct Binding<'a> {
    pub(crate) buffer: &'a GpuBuffer,
    /// A multiple of the device's alignment.
    pub(crate) offset: u64,
    /// A multiple of 16, at most what the device can bind.
    pub(crate) size: u64,
}

impl<'a> Binding<'a> {
    /// What to bind of a tensor that has elements, and where in it the element at index zero is, counted in elements.
    pub(crate) fn window(tensor: &'a Tensor, alignment: u32) -> (Self, u32) {
        Self::window_of(tensor, tensor.layout(), alignment)
    }

    /// The same of some of its elements, which another layout of its storage has.
    pub(crate) fn window_of(tensor: &'a Tensor, layout: &Layout, alignment: u32) -> (Self, u32) {
        let (low, high) = layout.reach().expect("a layout with elements");
        let size = tensor.dtype().size() as u64;
        let offset = (low as u64 * size) & !(u64::from(alignment) - 1);
        let binding =
            Self { buffer: tensor.gpu_buffer(), offset, size: super::align_up((high as u64 + 1) * size - offset, 16) };
        (binding, (layout.offset as u64 - offset / size) as u32)
    }
}

/// One launch of a kernel.
pub(crate) struct Dispatch<'a> {
    /// What profiles call it.
    pub(crate) label: &'static str,
    pub(crate) pipeline: &'a Arc<Pipeline>,
    /// The inputs (none where the kernel uses none), then the output.
    pub(crate) bindings: &'a [Option<Binding<'a>>],
    pub(crate) params: &'a [u8],
    /// How many workgroups, in a row. Kernels get them folded over x and y.
    pub(crate) groups: u32,
    /// Bytes that it moves: what it reads, once, and what it writes. They decide when to submit.
    pub(crate) bytes: u64,
    /// How often it does the arithmetic of its operation, as `work.rs` counts it. Where an operation takes several
    /// launches, it counts in the main one, and the others have 0.
    pub(crate) steps: u64,
}

/// Submit after this many dispatches, or when they move this many bytes.
const MAX_DISPATCHES: u32 = 256;
const MAX_BYTES: u64 = 1 << 28;
/// Bind groups kept before all are let go.
const MAX_BIND_GROUPS: usize = 2048;

type BindKey = SmallVec<[(u64, u64, u64); 4]>;

/// The open recording of one context.
pub(crate) struct Stream {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    /// The id of the pipeline that the open pass has set, or 0.
    current: u64,
    dispatches: u32,
    bytes: u64,
    bind_groups: FxHashMap<BindKey, wgpu::BindGroup>,
    evictions: u64,
    uniforms: Option<Uniforms>,
    pub(super) uploads: Uploads,
    pub(super) profile: Option<Timestamps>,
}

impl Stream {
    pub(super) fn new(device: &wgpu::Device, uniforms: Option<&wgpu::BindGroupLayout>, stride: u64) -> Self {
        Self {
            encoder: None,
            pass: None,
            current: 0,
            dispatches: 0,
            bytes: 0,
            bind_groups: FxHashMap::default(),
            evictions: 0,
            uniforms: uniforms.map(|layout| Uniforms::new(device, layout, stride)),
            uploads: Uploads::default(),
            profile: None,
        }
    }

    fn encoder(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    /// Opens a pass if none is open, and times it where a kernel has a place in a profile.
    fn begin_pass(&mut self, context: &Context, place: Option<u32>) {
        if self.pass.is_none() {
            // Out of the way while the encoder is borrowed.
            let profile = self.profile.take();
            let timestamp_writes = profile.as_ref().zip(place).map(|(profile, place)| profile.writes(place));
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            self.pass = Some(self.encoder(&context.raw).begin_compute_pass(&descriptor).forget_lifetime());
            self.profile = profile;
        }
    }

    fn end_pass(&mut self) {
        self.pass = None;
        self.current = 0;
    }

    /// Records a launch.
    pub(super) fn dispatch(&mut self, context: &Context, dispatch: &Dispatch<'_>) -> Result<()> {
        if self.uniforms.as_ref().is_some_and(Uniforms::is_full) {
            self.submit(context);
        }
        if self.profile.as_ref().is_some_and(Timestamps::is_full) {
            self.collect_profile(context)?;
        }
        let group = self.bind_group(context, dispatch);
        let uniform_offset = self.uniforms.as_mut().map(|uniforms| uniforms.push(dispatch.params));
        let place = self.profile.as_mut().map(|p| p.next(dispatch.label, Some(dispatch.bytes), dispatch.steps));
        self.begin_pass(context, place);
        let pass = self.pass.as_mut().expect("begun above");
        if self.current != dispatch.pipeline.id {
            pass.set_pipeline(&dispatch.pipeline.raw);
            self.current = dispatch.pipeline.id;
        }
        pass.set_bind_group(0, &group, &[]);
        match (uniform_offset, &self.uniforms) {
            (Some(offset), Some(uniforms)) => pass.set_bind_group(1, &uniforms.group, &[offset]),
            _ => pass.set_immediates(0, dispatch.params),
        }
        let (x, y) = fold(dispatch.groups, context.caps().groups);
        pass.dispatch_workgroups(x, y, 1);
        if self.profile.is_some() {
            self.end_pass();
        }
        self.dispatches += 1;
        self.bytes += dispatch.bytes;
        if self.dispatches >= MAX_DISPATCHES || self.bytes >= MAX_BYTES {
            self.submit(context);
        }
        Ok(())
    }

    fn bind_group(&mut self, context: &Context, dispatch: &Dispatch<'_>) -> wgpu::BindGroup {
        let evictions = context.memory.evictions();
        if evictions != self.evictions || self.bind_groups.len() >= MAX_BIND_GROUPS {
            self.bind_groups.clear();
            self.evictions = evictions;
        }
        let key: BindKey = dispatch
            .bindings
            .iter()
            .map(|binding| binding.map_or((u64::MAX, 0, 0), |b| (b.buffer.id(), b.offset, b.size)))
            .collect();
        self.bind_groups
            .entry(key)
            .or_insert_with(|| {
                let entries: SmallVec<[wgpu::BindGroupEntry<'_>; 4]> = dispatch
                    .bindings
                    .iter()
                    .enumerate()
                    .filter_map(|(i, binding)| binding.map(|binding| (i, binding)))
                    .map(|(i, binding)| wgpu::BindGroupEntry {
                        binding: i as u32,
                        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer: binding.buffer.raw(),
                            offset: binding.offset,
                            size: wgpu::BufferSize::new(binding.size),
                        }),
                    })
                    .collect();
                context.raw.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout: &dispatch.pipeline.bindings,
                    entries: &entries,
                })
            })
            .clone()
    }

    /// Records a copy between buffers. Offsets and length are multiples of 4.
    pub(super) fn copy(&mut self, context: &Context, from: (&wgpu::Buffer, u64), to: (&wgpu::Buffer, u64), bytes: u64) {
        self.end_pass();
        self.encoder(&context.raw).copy_buffer_to_buffer(from.0, from.1, to.0, to.1, bytes);
        self.bytes += bytes;
    }

    /// Hands everything recorded to the GPU.
    pub(super) fn submit(&mut self, context: &Context) {
        self.end_pass();
        let staged = self.uploads.close_open();
        if let Some(uniforms) = &mut self.uniforms {
            uniforms.flush(&context.queue);
        }
        if let Some(encoder) = self.encoder.take() {
            let index = context.queue.submit([encoder.finish()]);
            context.note_submission(index);
        }
        self.uploads.recycle(staged);
        self.dispatches = 0;
        self.bytes = 0;
    }

    /// Lets go of everything that holds buffers.
    pub(super) fn release(&mut self) {
        self.bind_groups.clear();
        self.uploads.release();
    }

    /// Reads the times of the profiled kernels so far.
    pub(super) fn collect_profile(&mut self, context: &Context) -> Result<()> {
        let Some(mut profile) = self.profile.take() else { return Ok(()) };
        self.end_pass();
        if profile.waiting() > 0 {
            profile.resolve(self.encoder(&context.raw), profile.waiting());
            self.submit(context);
        }
        let read = profile.read(context);
        self.profile = Some(profile);
        read
    }

    /// After a fork: forgets everything without touching it.
    pub(super) fn forget(&mut self) {
        std::mem::forget(self.pass.take());
        std::mem::forget(self.encoder.take());
        std::mem::forget(std::mem::take(&mut self.bind_groups));
        std::mem::forget(self.uniforms.take());
        std::mem::forget(self.profile.take());
        std::mem::forget(std::mem::take(&mut self.uploads));
    }
}

/// A count of workgroups as a rectangle whose sides the device takes. Kernels ignore the few too many.
fn fold(groups: u32, most: u32) -> (u32, u32) {
    if groups <= most {
        return (groups, 1);
    }
    let y = groups.div_ceil(most);
    (groups.div_ceil(y), y)
}

/// Parameters for devices without immediates: a buffer that each batch fills from the start.
struct Uniforms {
    buffer: wgpu::Buffer,
    group: wgpu::BindGroup,
    data: Vec<u8>,
    stride: u64,
}

const UNIFORM_BYTES: u64 = 64 << 10;

impl Uniforms {
    fn new(device: &wgpu::Device, layout: &wgpu::BindGroupLayout, alignment: u64) -> Self {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: UNIFORM_BYTES,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("parameters"),
            layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffer,
                    offset: 0,
                    size: wgpu::BufferSize::new(u64::from(IMMEDIATE_BYTES)),
                }),
            }],
        });
        let stride = super::align_up(u64::from(IMMEDIATE_BYTES), alignment);
        Self { buffer, group, data: Vec::with_capacity(UNIFORM_BYTES as usize), stride }
    }

    fn is_full(&self) -> bool {
        self.data.len() as u64 + self.stride > UNIFORM_BYTES
    }

    fn push(&mut self, params: &[u8]) -> u32 {
        let offset = self.data.len();
        self.data.extend_from_slice(params);
        self.data.resize(offset + self.stride as usize, 0);
        offset as u32
    }

    /// The queue writes before the batch that is submitted next, and after the ones submitted before.
    fn flush(&mut self, queue: &wgpu::Queue) {
        if !self.data.is_empty() {
            queue.write_buffer(&self.buffer, 0, &self.data);
            self.data.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn folding_covers_every_group_with_few_to_spare() {
        for groups in [1, 2, 65535, 65536, 65537, 100_001, 1 << 20, u32::MAX / 4] {
            let (x, y) = fold(groups, 65535);
            assert!(x <= 65535 && y <= 65535);
            let launched = u64::from(x) * u64::from(y);
            assert!(launched >= u64::from(groups) && launched < u64::from(groups) + u64::from(y));
        }
    }
}
