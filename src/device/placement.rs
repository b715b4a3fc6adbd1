//! Where NumPy arrays alone are computed: on the device that is estimated to have the answer back first.
//!
//! The figures are those of common machines, not of this one: an estimate has to be quick, and the same tomorrow. They
//! favour the CPU, so that a guess that is wrong costs little.

use std::fmt::Write as _;
use std::time::Duration;

use super::select::{self, machine};
use super::{Device, Kind};
use crate::cpu::CpuDevice;
use crate::cpu::simd::Level;
use crate::error::{Bytes, Result};
use crate::ops::work::Work;

/// Below this no GPU is looked for: finding and opening one takes as long.
const WORTH_LOOKING: f64 = 20e-3;
/// To hand work to a GPU and to hear that it is done.
const SUBMISSION: f64 = 60e-6;

/// How long a CPU computes.
fn cpu_seconds(work: &Work, device: CpuDevice) -> f64 {
    let threads = device.threads() as f64;
    let bandwidth = (12e9 * threads).min(40e9);
    let rate = threads
        * match device.level() {
            Level::Avx512 => 40e9,
            Level::Avx2 => 20e9,
            Level::Neon => 12e9,
            Level::Scalar => 5e9,
        };
    ((work.read + work.written) / bandwidth).max(work.effort / rate)
}

/// How long a GPU takes to get the operands, to compute, and to give the result back.
struct GpuSeconds {
    moving: f64,
    computing: f64,
}

fn gpu_seconds(work: &Work, kind: Kind) -> GpuSeconds {
    // Bytes a second between host and device, on the device, and operations a second.
    let (link, memory, rate) = match kind {
        Kind::Discrete => (12e9, 300e9, 5e12),
        Kind::Integrated | Kind::Virtual | Kind::Other => (10e9, 40e9, 0.5e12),
        Kind::Cpu | Kind::Software => (5e9, 5e9, 10e9),
    };
    let bytes = work.read + work.written;
    GpuSeconds { moving: SUBMISSION + bytes / link, computing: (bytes / memory).max(work.effort / rate) }
}

/// The device for this work on NumPy arrays. Small work looks for no GPU.
pub fn place(work: &Work) -> Result<Device> {
    let cpu = select::cpu()?;
    let Device::Cpu(device) = cpu else { unreachable!("the CPU device is a CPU") };
    let seconds = cpu_seconds(work, device);
    let on_best = gpu_seconds(work, Kind::Discrete);
    if seconds < WORTH_LOOKING || seconds <= on_best.moving + on_best.computing {
        return Ok(cpu);
    }
    let best = select::default_device()?;
    let on_gpu = gpu_seconds(work, best.kind());
    Ok(if on_gpu.moving + on_gpu.computing < seconds { best } else { cpu })
}

/// What [`place`] makes of this work, in words.
pub fn explain(name: &str, shapes: &str, work: &Work) -> Result<String> {
    let chosen = place(work)?;
    let cpu = select::cpu()?;
    let Device::Cpu(device) = &cpu else { unreachable!("the CPU device is a CPU") };
    let mut text = format!("{name} of NumPy arrays, float32 {shapes}: computed on {}\n", chosen.id());
    let seconds = cpu_seconds(work, *device);
    let _ = writeln!(text, "{}: about {:.3?}, {} of memory", cpu.id(), time(seconds), bytes(work));
    let best = machine()?.best()?;
    let (who, kind) = match best.kind() {
        Kind::Cpu => ("a discrete GPU, if there were one".to_string(), Kind::Discrete),
        kind => (best.id(), kind),
    };
    let GpuSeconds { moving, computing } = gpu_seconds(work, kind);
    let _ =
        write!(text, "{who}: about {:.3?}, {:.3?} of it to move the arrays", time(moving + computing), time(moving));
    if seconds < WORTH_LOOKING && moving + computing < seconds {
        text += "\nwork this short looks for no GPU";
    }
    Ok(text)
}

fn time(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn bytes(work: &Work) -> Bytes {
    Bytes((work.read + work.written) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_where_it_is_done_first() {
        let device = CpuDevice::new().unwrap().with_threads(2);
        // An addition moves twelve bytes for one operation, a matrix product of this size many operations a byte.
        let add = Work { read: 8e9, written: 4e9, operations: 1e9, effort: 1e9 };
        let product = Work { read: 512e6, written: 256e6, operations: 4e12, effort: 1e12 };
        let gpu = |work: &Work| {
            let seconds = gpu_seconds(work, Kind::Discrete);
            seconds.moving + seconds.computing
        };
        assert!(cpu_seconds(&add, device) < gpu(&add));
        assert!(cpu_seconds(&product, device) > gpu(&product));
    }
}
