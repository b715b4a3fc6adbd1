//! Shaders that have formulas of a user's, wherever their operands are: recorded on a GPU, run at once on the CPU.
//!
//! The CPU device compiles the same text, and its memory is bound as a GPU's is. So all that is said about pieces, rows
//! and windows holds on both.
#![expect(unsafe_code, reason = "compiled shaders work on memory of tensors")]

use std::ptr::NonNull;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cpu::memory::HostBuffer;
use crate::cpu::wgsl::{Bound as HostBound, Code};
use crate::cpu::{CpuDevice, program};
use crate::device::Device;
use crate::device::caps::Caps;
use crate::error::Result;
use crate::gpu::context::Context;
use crate::gpu::pipeline::{BindingKind, Pipeline, Spec};
use crate::gpu::program::compile_formulas;
use crate::gpu::stream::{Binding, Bound, Dispatch, Launch};
use crate::gpu::wgsl::assemble;
use crate::kernel::Identity;
use crate::kernel::compile::on_deep_stack;
use crate::kernel::source::Source;
use crate::shape::Layout;
use crate::tensor::{Storage, Tensor};

/// What runs shaders.
pub(super) enum Runner {
    Cpu(CpuDevice),
    Gpu(Arc<Context>),
}

/// What the shaders find on the CPU device. A few invocations fill its lanes, and wait for each other at no cost.
const CPU: Caps = Caps { workgroup: 16, ..Caps::CPU };

/// A kernel of a user's formulas, compiled for a device.
pub(super) enum Compiled {
    Cpu(Arc<Code>),
    Gpu(Arc<Pipeline>),
}

/// One launch of a shader over rows, as [`Dispatch`] has it.
pub(super) struct Work<'a> {
    pub(super) label: &'a str,
    pub(super) bindings: &'a [Option<Binding<'a>>],
    pub(super) params: &'a [u8],
    pub(super) groups: u32,
    pub(super) bytes: u64,
    pub(super) steps: u64,
}

impl Runner {
    /// What runs shaders where a tensor is.
    pub(super) fn of(tensor: &Tensor) -> Self {
        match tensor.device() {
            Device::Cpu(device) => Self::Cpu(*device),
            Device::Gpu(_) => Self::Gpu(tensor.gpu_buffer().context().clone()),
        }
    }

    pub(super) fn caps(&self) -> &Caps {
        match self {
            Self::Cpu(_) => &CPU,
            Self::Gpu(context) => context.caps(),
        }
    }

    /// Launches the shader of this key over rows. `spec` describes it when it is not compiled yet.
    pub(super) fn run(&self, key: u64, spec: impl FnOnce() -> Spec, work: &Work<'_>) -> Result<()> {
        let Work { label, bindings, params, groups, bytes, steps } = *work;
        match self {
            Self::Cpu(device) => {
                let compile = |lanes| {
                    let spec = spec();
                    let text = assemble(spec.source, &spec.slots, false)?;
                    let what = format!("kernel '{}'", spec.label);
                    on_deep_stack(&what, || {
                        let source = Source::from_template(what.clone(), &text, &[])?;
                        program::compile_formulas(*device, &source, &spec.constants(), lanes)
                    })
                };
                let code = program::code(*device, program::Source::Shader(key), compile)?;
                // Parameters are in a group of their own, behind the others.
                let values = program::Values::of(params);
                let bound: SmallVec<[HostBound; 4]> =
                    bindings.iter().flatten().map(in_memory).chain([values.bound(params.len())]).collect();
                // SAFETY: windows lie within their tensors, up to the padding of a group of four, and nobody else
                // writes a tensor that an operation writes.
                unsafe { program::run(&code, label, *device, &bound, [groups, 1, 1], bytes) }
            }
            Self::Gpu(context) => {
                let pipeline = &context.pipeline(key, spec)?;
                context.record(&Dispatch { label, pipeline, bindings, params, groups, bytes, steps })
            }
        }
    }

    /// A kernel, compiled unless that was done before; `source` is its text, and what it binds.
    pub(super) fn kernel(
        &self,
        identity: Identity,
        name: &str,
        source: impl FnOnce() -> Result<(Source, Vec<BindingKind>)>,
    ) -> Result<Compiled> {
        match self {
            Self::Cpu(device) => {
                let compile = |lanes| {
                    let (source, _) = source()?;
                    on_deep_stack(&source.what, || program::compile_formulas(*device, &source, &[], lanes))
                };
                program::code(*device, program::Source::Program(identity), compile).map(Compiled::Cpu)
            }
            Self::Gpu(context) => {
                let compile = || {
                    let (source, kinds) = source()?;
                    compile_formulas(context, &source, name, &kinds)
                };
                context.program_pipeline(&(identity, false), compile).map(Compiled::Gpu)
            }
        }
    }

    /// Launches a kernel that this has compiled, which binds parameters first.
    pub(super) fn launch(
        &self,
        compiled: &Compiled,
        label: &str,
        params: &[u8],
        bindings: &[Binding<'_>],
        groups: [u32; 3],
        bytes: u64,
    ) -> Result<()> {
        match (self, compiled) {
            (Self::Cpu(device), Compiled::Cpu(code)) => {
                let values = program::Values::of(params);
                let bound: SmallVec<[HostBound; 8]> =
                    std::iter::once(values.bound(params.len())).chain(bindings.iter().map(in_memory)).collect();
                // SAFETY: as in `run`.
                unsafe { program::run(code, label, *device, &bound, groups, bytes) }
            }
            (Self::Gpu(context), Compiled::Gpu(pipeline)) => {
                let mut bound: SmallVec<[Bound<'_>; 8]> = SmallVec::new();
                bound.push(Bound::Values(params));
                bound.extend(bindings.iter().copied().map(Bound::Buffer));
                context.record_launch(&Launch { label, pipeline, bound: &bound, groups, bytes })
            }
            _ => unreachable!("compiled by another"),
        }
    }
}

fn in_memory(binding: &Binding<'_>) -> HostBound {
    let Storage::Host(buffer) = binding.storage else { unreachable!("a GPU's memory is not bound on the CPU") };
    HostBound { start: buffer.as_mut_ptr().wrapping_add(binding.offset as usize), bytes: binding.size as usize }
}

/// From which byte on a tensor's storage has nothing but padding.
pub(super) fn used(tensor: &Tensor) -> u64 {
    match tensor.storage() {
        Storage::Gpu(buffer) => buffer.used(),
        Storage::Host(buffer) if buffer.is_foreign() => u64::MAX,
        Storage::Host(buffer) => buffer.len() as u64,
    }
}

/// What shaders load at once, in bytes.
const GROUP: isize = 16;

/// The tensor as windows can be cut from: one whose storage begins with a whole group of four, at its first element or
/// before. NumPy's views may begin anywhere, and reach backwards.
///
/// What is read of such a group beyond the elements lies beside one of them, in the same 16 bytes.
pub(super) fn grounded(tensor: &Tensor) -> Tensor {
    let (Storage::Host(buffer), Some((low, high))) = (tensor.storage(), tensor.layout().reach()) else {
        return tensor.clone();
    };
    let (origin, size) = (buffer.as_ptr() as isize, tensor.dtype().size() as isize);
    if low >= 0 && origin % GROUP == 0 {
        return tensor.clone();
    }
    let before = (origin + low * size) & !(GROUP - 1);
    let start = buffer.as_mut_ptr().wrapping_offset(before - origin);
    let bytes = origin + (high + 1) * size - before;
    // SAFETY: every element lies in it, the storage keeps it alive, and it can be written if that can.
    let whole = unsafe {
        let start = NonNull::new(start).unwrap_or(NonNull::dangling());
        HostBuffer::foreign(start, bytes as usize, buffer.is_writable(), Box::new(buffer.clone()))
    };
    let layout = Layout { offset: tensor.layout().offset + (origin - before) / size, ..tensor.layout().clone() };
    Tensor::from_parts(tensor.device().clone(), Storage::Host(Arc::new(whole)), layout, tensor.dtype())
}
