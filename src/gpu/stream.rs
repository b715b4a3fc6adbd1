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
use crate::tensor::{Storage, Tensor};

/// A stretch of a tensor's storage that a kernel sees.
#[derive(Clone, Copy)]
pub(crate) struct Binding<'a> {
    pub(crate) storage: &'a Storage,
    /// A multiple of the device's alignment.
    pub(crate) offset: u64,
    /// A multiple of 4 (of 16 in our own kernels), at most what the device can bind.
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
            Self { storage: tensor.storage(), offset, size: super::align_up((high as u64 + 1) * size - offset, 16) };
        (binding, (layout.offset as u64 - offset / size) as u32)
    }

    /// The buffer on a GPU.
    pub(super) fn buffer(&self) -> &'a GpuBuffer {
        let Storage::Gpu(buffer) = self.storage else { unreachable!("host memory is not bound on a GPU") };
        buffer
    }
}

/// One launch of a kernel.
pub(crate) struct Dispatch<'a> {
    /// What profiles call it.
    pub(crate) label: &'a str,
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

/// One launch of a user's kernel.
pub(crate) struct Launch<'a> {
    pub(crate) label: &'a str,
    pub(crate) pipeline: &'a Arc<Pipeline>,
    pub(crate) bound: &'a [Bound<'a>],
    /// Workgroups along x, y and z, no more than the device counts.
    pub(crate) groups: [u32; 3],
    /// Bytes that it will move, if it needs all that it is given.
    pub(crate) bytes: u64,
}

/// What a user's kernel sees at a binding.
pub(crate) enum Bound<'a> {
    Buffer(Binding<'a>),
    /// A few values, which are copied.
    Values(&'a [u8]),
}

/// Submit after this many dispatches, or when they move this many bytes.
const MAX_DISPATCHES: u32 = 256;
const MAX_BYTES: u64 = 1 << 28;
/// Bind groups kept before all are let go.
const MAX_BIND_GROUPS: usize = 2048;

/// The layout's number, and what is bound: a buffer, an offset, a size.
type BindKey = (u64, SmallVec<[(u64, u64, u64); 4]>);

/// Stands for no buffer in a [`BindKey`].
const NONE: u64 = u64::MAX;
/// Stands for the buffer of values.
const VALUES: u64 = u64::MAX - 1;

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
    /// The values that users' kernels are given, made when the first of them is.
    values: Option<Ring>,
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
            values: None,
            uploads: Uploads::default(),
            profile: None,
        }
    }

    fn encoder(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    fn end_pass(&mut self) {
        self.pass = None;
        self.current = 0;
    }

    /// Records a launch.
    pub(super) fn dispatch(&mut self, context: &Context, dispatch: &Dispatch<'_>) -> Result<()> {
        if self.uniforms.as_ref().is_some_and(|uniforms| !uniforms.ring.has_room([dispatch.params.len()])) {
            self.submit(context);
        }
        if self.profile.as_ref().is_some_and(Timestamps::is_full) {
            self.collect_profile(context)?;
        }
        let group = self.bind_group(context, dispatch);
        let uniform_offset = self.uniforms.as_mut().map(|uniforms| uniforms.ring.push(dispatch.params));
        let place =
            self.profile.as_mut().map(|p| p.next(dispatch.label.to_string(), Some(dispatch.bytes), dispatch.steps));
        let timing = self.profile.as_ref().zip(place);
        let pass = begin(&mut self.pass, &mut self.encoder, &context.raw, timing);
        set_pipeline(pass, &mut self.current, dispatch.pipeline);
        pass.set_bind_group(0, &group, &[]);
        match (uniform_offset, &self.uniforms) {
            (Some(offset), Some(uniforms)) => pass.set_bind_group(1, &uniforms.group, &[offset]),
            _ => pass.set_immediates(0, dispatch.params),
        }
        let (x, y) = fold(dispatch.groups, context.caps().groups);
        pass.dispatch_workgroups(x, y, 1);
        self.count(context, dispatch.bytes);
        Ok(())
    }

    /// Records a launch of a user's kernel.
    pub(super) fn launch(&mut self, context: &Context, launch: &Launch<'_>) -> Result<()> {
        // Before values are pushed, since it submits, and they belong to the batch of their kernel.
        if self.profile.as_ref().is_some_and(Timestamps::is_full) {
            self.collect_profile(context)?;
        }
        let values = || {
            launch.bound.iter().filter_map(|bound| match bound {
                Bound::Values(values) => Some(*values),
                Bound::Buffer(_) => None,
            })
        };
        let mut offsets: SmallVec<[u32; 4]> = SmallVec::new();
        if values().next().is_some() {
            let ring = match &self.values {
                Some(ring) => ring,
                None => self.values.insert(Ring::for_values(context)?),
            };
            if !ring.has_room(values().map(<[u8]>::len)) {
                self.submit(context);
            }
            let ring = self.values.as_mut().expect("made above");
            offsets.extend(values().map(|values| ring.push(values)));
        }
        let group = self.launch_group(context, launch);
        let place = self.profile.as_mut().map(|p| p.next(launch.label.to_string(), Some(launch.bytes), 0));
        let timing = self.profile.as_ref().zip(place);
        let pass = begin(&mut self.pass, &mut self.encoder, &context.raw, timing);
        set_pipeline(pass, &mut self.current, launch.pipeline);
        pass.set_bind_group(0, &group, &offsets);
        let [x, y, z] = launch.groups;
        pass.dispatch_workgroups(x, y, z);
        self.count(context, launch.bytes);
        Ok(())
    }

    /// After a launch was recorded: ends its pass if it is timed, and submits if there is enough.
    fn count(&mut self, context: &Context, bytes: u64) {
        if self.profile.is_some() {
            self.end_pass();
        }
        self.dispatches += 1;
        self.bytes += bytes;
        if self.dispatches >= MAX_DISPATCHES || self.bytes >= MAX_BYTES {
            self.submit(context);
        }
    }

    /// Lets bind groups go when buffers that they hold were, or when there are too many.
    fn tidy_bind_groups(&mut self, context: &Context) {
        let evictions = context.memory.evictions();
        if evictions != self.evictions || self.bind_groups.len() >= MAX_BIND_GROUPS {
            self.bind_groups.clear();
            self.evictions = evictions;
        }
    }

    fn launch_group(&mut self, context: &Context, launch: &Launch<'_>) -> wgpu::BindGroup {
        self.tidy_bind_groups(context);
        let parts = launch.bound.iter().map(|bound| match bound {
            Bound::Buffer(binding) => Some(Part::of(binding)),
            Bound::Values(given) => {
                let ring = self.values.as_ref().expect("made before they were pushed");
                Some(Part { id: VALUES, buffer: &ring.buffer, offset: 0, size: Ring::bound_size(given.len()) })
            }
        });
        kept_group(&mut self.bind_groups, &context.raw, launch.pipeline, parts)
    }

    fn bind_group(&mut self, context: &Context, dispatch: &Dispatch<'_>) -> wgpu::BindGroup {
        self.tidy_bind_groups(context);
        let parts = dispatch.bindings.iter().map(|binding| binding.as_ref().map(Part::of));
        kept_group(&mut self.bind_groups, &context.raw, dispatch.pipeline, parts)
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
        for ring in self.uniforms.iter_mut().map(|uniforms| &mut uniforms.ring).chain(&mut self.values) {
            ring.flush(&context.queue);
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
        std::mem::forget(self.values.take());
        std::mem::forget(self.profile.take());
        std::mem::forget(std::mem::take(&mut self.uploads));
    }
}

/// What is bound at one place.
struct Part<'a> {
    /// Distinguishes buffers.
    id: u64,
    buffer: &'a wgpu::Buffer,
    offset: u64,
    size: u64,
}

impl<'a> Part<'a> {
    fn of(binding: &Binding<'a>) -> Self {
        let (Binding { offset, size, .. }, buffer) = (*binding, binding.buffer());
        Self { id: buffer.id(), buffer: buffer.raw(), offset, size }
    }
}

/// The bind group of these parts, none where the kernel uses none, made on first use.
fn kept_group<'a>(
    kept: &mut FxHashMap<BindKey, wgpu::BindGroup>,
    device: &wgpu::Device,
    pipeline: &Pipeline,
    parts: impl Iterator<Item = Option<Part<'a>>> + Clone,
) -> wgpu::BindGroup {
    let key = parts.clone().map(|part| part.map_or((NONE, 0, 0), |part| (part.id, part.offset, part.size)));
    let make = || {
        let entries: SmallVec<[wgpu::BindGroupEntry<'_>; 4]> = parts
            .enumerate()
            .filter_map(|(i, part)| part.map(|part| (i, part)))
            .map(|(i, Part { buffer, offset, size, .. })| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: wgpu::BufferSize::new(size),
                }),
            })
            .collect();
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.bindings,
            entries: &entries,
        })
    };
    kept.entry((pipeline.layout, key.collect())).or_insert_with(make).clone()
}

/// A count of workgroups as a rectangle whose sides the device takes. Kernels ignore the few too many.
pub(crate) fn fold(groups: u32, most: u32) -> (u32, u32) {
    if groups <= most {
        return (groups, 1);
    }
    let y = groups.div_ceil(most);
    (groups.div_ceil(y), y)
}

/// The compute pass that is open, or a new one, which is timed where a kernel has a place in a profile.
fn begin<'a>(
    pass: &'a mut Option<wgpu::ComputePass<'static>>,
    encoder: &mut Option<wgpu::CommandEncoder>,
    device: &wgpu::Device,
    timing: Option<(&Timestamps, u32)>,
) -> &'a mut wgpu::ComputePass<'static> {
    pass.get_or_insert_with(|| {
        let encoder =
            encoder.get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()));
        let timestamp_writes = timing.map(|(profile, place)| profile.writes(place));
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes }).forget_lifetime()
    })
}

fn set_pipeline(pass: &mut wgpu::ComputePass<'_>, current: &mut u64, pipeline: &Pipeline) {
    if *current != pipeline.id {
        pass.set_pipeline(&pipeline.raw);
        *current = pipeline.id;
    }
}

/// A buffer of small values that each batch fills from the start.
pub(super) struct Ring {
    buffer: wgpu::Buffer,
    data: Vec<u8>,
    size: u64,
    alignment: u64,
}

impl Ring {
    /// The ring of what users' kernels are given: uniforms, and what stands in for immediates.
    fn for_values(context: &Context) -> Result<Self> {
        let alignment = Self::alignment(&context.limits());
        let size = Self::SIZE;
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = context.create_buffer(size, usage, false)?;
        Ok(Self { buffer, data: Vec::new(), size, alignment })
    }

    /// Bytes of the ring of what users' kernels are given.
    const SIZE: u64 = 1 << 20;
    /// The most bytes of them that one launch takes.
    pub(super) const MOST: u64 = Self::SIZE / 2;

    fn alignment(limits: &wgpu::Limits) -> u64 {
        limits.min_uniform_buffer_offset_alignment.max(limits.min_storage_buffer_offset_alignment).into()
    }

    /// The room that values of so many bytes take.
    pub(super) fn room(bytes: usize, limits: &wgpu::Limits) -> u64 {
        super::align_up(bytes as u64, Self::alignment(limits))
    }

    /// The bytes that are bound of values: a struct may end after them.
    fn bound_size(bytes: usize) -> u64 {
        (bytes as u64).next_multiple_of(16)
    }

    fn has_room(&self, sizes: impl IntoIterator<Item = usize>) -> bool {
        let wanted: u64 = sizes.into_iter().map(|bytes| super::align_up(bytes as u64, self.alignment)).sum();
        self.data.len() as u64 + wanted <= self.size
    }

    /// Where the values will be. There is room for them.
    fn push(&mut self, values: &[u8]) -> u32 {
        let offset = self.data.len();
        self.data.extend_from_slice(values);
        self.data.resize(super::align_up(self.data.len() as u64, self.alignment) as usize, 0);
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

/// Parameters of our own kernels on devices without immediates.
struct Uniforms {
    ring: Ring,
    group: wgpu::BindGroup,
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
        // Each is bound with room for the largest.
        let alignment = super::align_up(u64::from(IMMEDIATE_BYTES), alignment);
        Self { ring: Ring { buffer, data: Vec::new(), size: UNIFORM_BYTES, alignment }, group }
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
