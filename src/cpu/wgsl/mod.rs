//! Users' WGSL on the CPU: naga's IR is made machine code, several invocations at a time in the lanes of vectors.
//!
//! The way of a kernel: [`lower`] takes naga's IR apart into scalars and structured control flow ([`ir`]). Analyses
//! find out what is the same in all lanes, where lanes part, and what is alive where. [`emit`] makes code of it with
//! Cranelift, which calls [`math`] for elementary functions. [`run`] keeps the code and runs it: workgroups on all
//! threads, each with memory of its own, until they are done, out of time or interrupted.
//!
//! Nothing here knows of wgpu or Python.

#[cfg(test)]
mod check;
mod emit;
#[cfg(test)]
mod interpret;
mod ir;
mod liveness;
mod lower;
mod math;
mod range;
mod region;
mod run;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use run::{kernel_timeout, set_kernel_timeout};

use crate::cpu::CpuDevice;
use crate::cpu::simd::Level;
use crate::error::Result;

/// A kernel compiled for the CPU.
pub(crate) struct Code {
    /// Where `entry` is.
    _executable: run::Executable,
    entry: run::Entry,
    /// Bytes that every thread needs for values and variables while it runs a workgroup; a multiple of 64.
    scratch: usize,
    /// Bytes of workgroup memory.
    workgroup_memory: usize,
    /// Roughly how many instructions a workgroup takes; `None` where that depends on loops.
    cost: Option<u64>,
    /// Bytes that each binding has to have. Shorter ones are replaced by zeros that nobody sees.
    least: Vec<usize>,
}

/// How many invocations a subgroup has, where that can be seen.
const SUBGROUP: usize = 8;

/// How many invocations of a kernel run best at once.
///
/// More of them share what is done once for a group, and functions are faster over more lanes. But vectors take up
/// registers, and what does not lie side by side in memory is loaded lane by lane anyway.
fn fitting(body: &ir::Body) -> usize {
    let size = body.invocations();
    match size {
        1 => 1,
        2..=4 => 4,
        5..16 => 8,
        _ if is_dense(body) => 16,
        _ => 8,
    }
}

/// Whether groups share work, and have their data side by side.
fn is_dense(body: &ir::Body) -> bool {
    let shapes = shape::Shapes::new(body, &liveness::Liveness::new(body), 16);
    let (mut shares, mut is_scattered) = (false, false);
    for statement in &body.statements {
        statement.any(&mut |inner| {
            match inner {
                ir::Statement::Barrier => shares = true,
                ir::Statement::Let(value) => shares |= matches!(body.op(*value), ir::Op::Call(..)),
                ir::Statement::Load { place, parts } => {
                    let size = parts.first().map_or(4, |part| part.format.size());
                    is_scattered |= place.memory != ir::Memory::Private
                        && place.steps.iter().any(|step| match shapes.of(body, step.index) {
                            shape::Shape::Affine(stride) => stride.unsigned_abs().saturating_mul(step.stride) > size,
                            shape::Shape::Varying => true,
                            _ => false,
                        });
                }
                _ => {}
            }
            false
        });
    }
    shares && !is_scattered
}

/// Something that the CPU device does not compile, and where in the source it stands.
#[derive(Debug)]
pub(crate) struct Unsupported {
    pub(crate) what: String,
    pub(crate) span: naga::Span,
}

/// Memory that is bound: at least as much as the variable's type has, or for arrays at the end, elements.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Bound {
    pub(crate) start: *mut u8,
    pub(crate) bytes: usize,
}

impl Code {
    /// Compiles the only entry point of a valid module, whose bindings are 0 to n of group 0.
    ///
    /// `lanes` is how many invocations run at once: 1, 4, 8 or 16, or what suits the kernel. One that sees subgroups has
    /// 8. Indices are checked, also those of kernels that a user vouches for: lanes that take no part load too.
    pub(crate) fn compile(
        module: &naga::Module,
        info: &naga::valid::ModuleInfo,
        level: Level,
        lanes: Option<usize>,
    ) -> std::result::Result<Self, Unsupported> {
        let whole = |what| Unsupported { what, span: naga::Span::UNDEFINED };
        let body = lower::lower(module, info)?;
        // The size of subgroups is a promise, where it can be seen.
        let fixed = body.subgroups.then_some(SUBGROUP);
        let mut lanes = fixed.or(lanes).unwrap_or_else(|| fitting(&body));
        let emitted = loop {
            match emit::emit(&body, lanes, level) {
                Ok(emitted) => break emitted,
                Err(emit::Failure::TooLarge(_)) if lanes > 1 && fixed.is_none() => {
                    lanes /= if lanes == 4 { 4 } else { 2 };
                }
                Err(emit::Failure::TooLarge(what) | emit::Failure::Other(what)) => return Err(whole(what)),
            }
        };
        let executable = run::Executable::new(&emitted.code).map_err(whole)?;
        Ok(Self {
            entry: executable.entry(),
            _executable: executable,
            scratch: emitted.scratch,
            workgroup_memory: body.workgroup_memory as usize,
            cost: emitted.cost,
            least: emitted.least,
        })
    }

    /// Runs workgroups. `name` is the kernel's, for errors.
    ///
    /// # Safety
    /// What is bound stays where it is and is writable where the kernel writes it; nobody else writes it meanwhile.
    #[expect(unsafe_code, reason = "compiled code works on memory of the caller's")]
    pub(crate) unsafe fn run(&self, name: &str, device: CpuDevice, bound: &[Bound], groups: [u32; 3]) -> Result<()> {
        let is_short = |(bound, least): (&Bound, &usize)| bound.bytes < *least;
        let mut zeros = Vec::new();
        let mut replaced = Vec::new();
        let mut bound = bound;
        if bound.iter().zip(&self.least).any(is_short) {
            zeros = vec![0_u128; self.least.iter().max().copied().unwrap_or(0).div_ceil(16)];
            replaced = bound.to_vec();
            for (bound, least) in replaced.iter_mut().zip(&self.least) {
                if bound.bytes < *least {
                    bound.start = zeros.as_mut_ptr().cast();
                }
            }
            bound = &replaced;
        }
        // SAFETY: the caller's promise. What is too short is only read where it says that it has nothing.
        let result = unsafe { run::run(self, name, device, bound, groups) };
        drop((zeros, replaced));
        result
    }
}
