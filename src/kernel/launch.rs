//! The seam between kernels and devices: a program, what is bound, a grid.

use std::time::Duration;

use super::bind::{self, Input, Ready};
use super::grid::{Grid, Size};
use super::types::Type;
use super::{Kernel, Program};
use crate::device::Device;
use crate::error::Result;
use crate::tensor::Tensor;

/// Runs a kernel on a device. The inputs are those of its bindings, in their order; the results are the tensors that
/// it writes, in theirs.
pub fn run(kernel: &Kernel, device: &Device, mut inputs: Vec<Input>, size: Size) -> Result<Vec<Tensor>> {
    let program = kernel.program()?;
    let grid = Grid::new(kernel, program, size)?;
    let fits = kernel
        .bindings
        .iter()
        .zip(&inputs)
        .map(|(binding, input)| bind::check(kernel, binding, input, grid.is_some()))
        .collect::<Result<Vec<_>>>()?;
    bind::check_aliases(kernel, &inputs)?;
    // Everything that can be refused is refused before anything is recorded.
    let ready_to_run = Compiled::new(kernel, program, device, grid)?;
    ready_to_run.check_sizes(kernel, inputs.iter().zip(&fits).map(|(input, fit)| bind::bytes(input, *fit)))?;
    let ready = bind::prepare(kernel, device, |ty| ready_to_run.alignment(ty), &mut inputs, &fits)?;
    if let Some(grid) = grid {
        ready_to_run.launch(kernel, &ready, grid)?;
    }
    bind::results(kernel, &inputs, &ready)
}

/// Sets how long a launch may take on the CPU device, which can stop one; none for any time.
pub fn set_timeout(timeout: Option<Duration>) {
    crate::cpu::wgsl::set_kernel_timeout(timeout);
}

/// How long a launch may take on the CPU device, if that is limited.
#[must_use]
pub fn timeout() -> Option<Duration> {
    crate::cpu::wgsl::kernel_timeout()
}

/// A program compiled for a device.
enum Compiled {
    Cpu(crate::cpu::program::Compiled),
    Gpu(crate::gpu::program::Compiled),
}

impl Compiled {
    fn new(kernel: &Kernel, program: &Program, device: &Device, grid: Option<Grid>) -> Result<Self> {
        match device {
            Device::Cpu(cpu) => crate::cpu::program::Compiled::new(*cpu, kernel, program).map(Self::Cpu),
            Device::Gpu(gpu) => {
                crate::gpu::program::Compiled::new(&gpu.context()?, kernel, program, grid).map(Self::Gpu)
            }
        }
    }

    /// What the place of something that is bound, of a type, is a multiple of, in bytes.
    fn alignment(&self, ty: &Type) -> usize {
        match self {
            Self::Cpu(_) => crate::cpu::program::Compiled::alignment(ty),
            Self::Gpu(compiled) => compiled.alignment(),
        }
    }

    fn check_sizes(&self, kernel: &Kernel, bytes: impl Iterator<Item = u64>) -> Result<()> {
        match self {
            Self::Cpu(compiled) => compiled.check_sizes(kernel, bytes),
            Self::Gpu(compiled) => compiled.check_sizes(kernel, bytes),
        }
    }

    fn launch(&self, kernel: &Kernel, ready: &[Ready], grid: Grid) -> Result<()> {
        match self {
            Self::Cpu(compiled) => compiled.launch(kernel, ready, grid),
            Self::Gpu(compiled) => compiled.launch(kernel, ready, grid),
        }
    }
}
