//! Users' kernels on a GPU: compiled with wgpu's checks, and recorded in the stream with everything else.

use std::borrow::Cow;
use std::sync::Arc;

use naga::Module;

use super::context::Context;
use super::pipeline::{BindingKind, Pipeline};
use super::stream::{Binding, Bound, Launch, Ring};
use crate::error::{Bytes, Result};
use crate::kernel::bind::{self, Ready};
use crate::kernel::compile::{check, on_deep_stack, parse};
use crate::kernel::grid::{self, Grid};
use crate::kernel::guards::guarded;
use crate::kernel::mistranslated;
use crate::kernel::reflect::Access;
use crate::kernel::source::Source;
use crate::kernel::{Kernel, Program, Workgroup};

/// A program that a GPU can run.
pub(crate) struct Compiled {
    context: Arc<Context>,
    pipeline: Arc<Pipeline>,
    folded: bool,
}

impl Compiled {
    /// Compiles a program, unless that was done before, and refuses what the device cannot run.
    pub(crate) fn new(context: &Arc<Context>, kernel: &Kernel, program: &Program, grid: Option<Grid>) -> Result<Self> {
        context.check()?;
        let most = context.caps().groups;
        let folded = grid.is_some_and(|grid| grid.is_folded(most));
        let launched = grid.map_or(1, |grid| u64::from(grid.total()));
        if launched > u64::from(most) * u64::from(most) {
            return Err(kernel.refuse(format!(
                "{launched} workgroups are more than {most} times {most}, which is what {} launches; let each \
                 invocation do more, in a loop",
                context.device.id
            )));
        }
        let compile = || compile(context, kernel, program, folded);
        let pipeline = context.program_pipeline(&(program.identity.clone(), folded), compile)?;
        Ok(Self { context: context.clone(), pipeline, folded })
    }

    pub(crate) fn alignment(&self) -> usize {
        self.context.caps().alignment as usize
    }

    /// Refuses what is too large to be bound.
    pub(crate) fn check_sizes(&self, kernel: &Kernel, bytes: impl Iterator<Item = u64>) -> Result<()> {
        bind::check_sizes(kernel, &self.context.device.id, self.context.caps().binding, bytes)
    }

    /// Records a launch.
    pub(crate) fn launch(&self, kernel: &Kernel, ready: &[Ready], grid: Grid) -> Result<()> {
        let uniform = grid.uniform();
        let mut bound: Vec<Bound<'_>> = Vec::with_capacity(ready.len() + 1);
        let mut moved = 0;
        for (binding, ready) in kernel.bindings.iter().zip(ready) {
            bound.push(match ready {
                Ready::Values(values) => Bound::Values(values),
                Ready::Buffer { tensor, bytes, .. } => {
                    moved += bytes * binding.moves;
                    let offset = tensor.layout().offset as u64 * tensor.dtype().size() as u64;
                    Bound::Buffer(Binding { storage: tensor.storage(), offset, size: *bytes })
                }
            });
        }
        if self.folded {
            bound.push(Bound::Values(bytemuck::bytes_of(&uniform)));
        }
        self.context.record_launch(&Launch {
            label: &kernel.name,
            pipeline: &self.pipeline,
            bound: &bound,
            groups: grid.launched(self.context.caps().groups),
            bytes: moved,
        })
    }
}

fn compile(context: &Context, kernel: &Kernel, program: &Program, folded: bool) -> Result<Pipeline> {
    let info = program.check(context.caps().wgsl(program.trusted))?;
    refuse_mistranslated(context, &program.source, &program.module)?;
    check_limits(context, kernel, program, folded)?;
    let mut kinds: Vec<BindingKind> = kernel
        .bindings
        .iter()
        .map(|binding| match binding.access {
            Access::Read => BindingKind::Read,
            Access::ReadWrite => BindingKind::ReadWrite,
            Access::Uniform | Access::Immediate if binding.stored => BindingKind::Stored,
            Access::Uniform | Access::Immediate => BindingKind::Uniform,
        })
        .collect();
    let mut module = Cow::Borrowed(&program.module);
    if is_gl(context) {
        module = Cow::Owned(guarded(&module, &info, program.trusted));
    }
    if folded {
        module = Cow::Owned(grid::folded(&module, kinds.len() as u32));
        kinds.push(BindingKind::Uniform);
    }
    context.compile_module(module.into_owned(), &kernel.name, &kinds, program.trusted)
}

/// Whether kernels have to be given guards.
fn is_gl(context: &Context) -> bool {
    context.device.info.backend == wgpu::Backend::Gl
}

/// Refuses what would mean something else on this backend.
fn refuse_mistranslated(context: &Context, source: &Source, module: &Module) -> Result<()> {
    if context.device.info.backend != wgpu::Backend::Vulkan {
        mistranslated::refuse_loops(source, module)?;
    }
    if is_gl(context) { mistranslated::refuse_layouts(source, module) } else { Ok(()) }
}

/// Compiles a shader of ours that has formulas of a user's, with checks.
pub(crate) fn compile_formulas(
    context: &Context,
    source: &Source,
    label: &str,
    kinds: &[BindingKind],
) -> Result<Pipeline> {
    let module = on_deep_stack(&source.what, || {
        let (module, _) = parse(source)?;
        let info = check(source, &module, context.caps().wgsl(false))?;
        refuse_mistranslated(context, source, &module)?;
        Ok(if is_gl(context) { guarded(&module, &info, false) } else { module })
    })?;
    context.compile_module(module, label, kinds, false)
}

/// Refuses a kernel that is larger than the device allows.
fn check_limits(context: &Context, kernel: &Kernel, program: &Program, folded: bool) -> Result<()> {
    let limits = context.limits();
    let id = &context.device.id;
    let most = Workgroup {
        invocations: limits.max_compute_invocations_per_workgroup,
        axes: [
            limits.max_compute_workgroup_size_x,
            limits.max_compute_workgroup_size_y,
            limits.max_compute_workgroup_size_z,
        ],
        memory: limits.max_compute_workgroup_storage_size,
    };
    program.check_workgroup(kernel, id, &most)?;
    let storage = kernel.bindings.iter().filter(|b| b.access.is_storage() || b.stored).count() as u32;
    let stored = kernel.bindings.iter().filter(|b| b.stored).count() as u32;
    let uniforms = kernel.bindings.len() as u32 - storage + u32::from(folded);
    let most_uniforms =
        limits.max_uniform_buffers_per_shader_stage.min(limits.max_dynamic_uniform_buffers_per_pipeline_layout);
    for (what, count, most) in [
        ("storage buffers", storage, limits.max_storage_buffers_per_shader_stage),
        ("uniforms", uniforms, most_uniforms),
        ("immediates and uniforms as storage", stored, limits.max_dynamic_storage_buffers_per_pipeline_layout),
    ] {
        if count > most {
            return Err(
                kernel.refuse(format!("it binds {count} {what}, but {id} takes at most {most}; put some together"))
            );
        }
    }
    let values = || kernel.bindings.iter().filter(|binding| !binding.access.is_storage());
    for binding in values() {
        let size = binding.ty.size() as u64;
        let most = if binding.stored { Ring::MOST } else { limits.max_uniform_buffer_binding_size.min(Ring::MOST) };
        if size > most {
            return Err(kernel.refuse(format!(
                "the {} '{}' has {}, but {id} takes at most {}; declare it as var<storage, read>",
                binding.access.name(),
                binding.name,
                Bytes(size),
                Bytes(most)
            )));
        }
    }
    let all: u64 = values().map(|binding| Ring::room(binding.ty.size(), &limits)).sum();
    if all > Ring::MOST {
        return Err(kernel.refuse(format!(
            "its uniforms and immediates have {}, and a launch takes at most {}; declare large ones as var<storage, read>",
            Bytes(all),
            Bytes(Ring::MOST)
        )));
    }
    Ok(())
}
