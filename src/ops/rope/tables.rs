//! The cosines and sines of `position · theta^(−2i/dim)`, right for positions of any size.
//!
//! Frequencies are turned into 64-bit fractions of a turn. A position's product with one of them, in integers, is
//! exact, and drops whole turns without rounding. GPUs, which have no float64 in common, and the CPU compute alike.

use std::sync::Arc;

use crate::cpu::CpuDevice;
use crate::cpu::memory::HostBuffer;
use crate::device::Device;
use crate::device::select::cpu;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::gpu::pipeline::{Spec, shader_params};
use crate::gpu::stream::{Binding, Dispatch};
use crate::ops::rope::cpu::tables as on_cpu;
use crate::ops::{astype, contiguous, narrow};
use crate::shape::{Layout, Shape, show};
use crate::tensor::{Storage, Tensor};

const NAME: &str = "rope_tables";

/// The shape of either table.
pub fn tables_shape(positions: &[usize], dim: isize) -> Result<Shape> {
    if dim < 0 || dim % 2 != 0 {
        return Err(Error::Shape(format!(
            "{NAME}: dim is {dim}; it must be even and not negative, since elements are rotated in pairs \
             (positions have shape {})",
            show(positions)
        )));
    }
    Ok(positions.iter().copied().chain([dim as usize / 2]).collect())
}

/// Both tables in one tensor of float32, of shape `[2, …, dim / 2]`: cosines, then sines.
pub fn rope_tables(positions: &Tensor, dim: isize, theta: f64) -> Result<Tensor> {
    let shape = tables_shape(positions.shape(), dim)?;
    if !(theta.is_finite() && theta >= 1.0) {
        return Err(Error::Argument(format!("{NAME}: theta is {theta}; it must be a finite number of at least 1")));
    }
    let dtype = match (positions.dtype().kind(), positions.dtype()) {
        (Kind::Float, _) => DType::Float32,
        (Kind::Int, DType::UInt32) => DType::UInt32,
        (Kind::Int, _) => DType::Int32,
        (Kind::Bool, dtype) => {
            return Err(Error::DType(format!("{NAME}: positions are numbers, but their dtype is {dtype}")));
        }
    };
    let both: Shape = [2].iter().chain(&shape).copied().collect();
    let tables = Tensor::empty(positions.device(), &both, DType::Float32, NAME)?;
    if tables.is_empty() {
        return Ok(tables);
    }
    let positions = contiguous(&astype(positions, dtype, false)?)?;
    let frequencies: Vec<u64> = (0..dim).step_by(2).map(|i| turns(theta.powf(-(i as f64) / dim as f64))).collect();
    match positions.device() {
        Device::Cpu(device) => fill_on_cpu(*device, &positions, &frequencies, &tables),
        Device::Gpu(_) => on_gpu(&positions, &frequencies, &tables)?,
    }
    Ok(tables)
}

/// Radians, at most 1, as a fraction of a turn in 2^-64.
fn turns(radians: f64) -> u64 {
    /// 2^64 · 2/π.
    const TWO_BY_PI: u128 = 0xa2f9_836e_4e44_152a;
    let bits = radians.to_bits();
    let (significand, exponent) = (u128::from(bits & ((1 << 52) - 1) | 1 << 52), (bits >> 52) as i32 - 1075);
    // Radians over 2π are a quarter of their product with 2/π.
    let shift = (2 - exponent) as u32;
    if shift > 127 { 0 } else { ((significand * TWO_BY_PI + (1 << (shift - 1))) >> shift) as u64 }
}

fn fill_on_cpu(device: CpuDevice, positions: &Tensor, frequencies: &[u64], tables: &Tensor) {
    #![expect(unsafe_code, reason = "the loops trust the shapes")]
    // SAFETY: positions lie one after another in a type of four bytes; the tables are new, and there are two for all
    // positions and frequencies.
    unsafe { on_cpu(device, positions.view(), frequencies, tables.view_mut()) };
}

shader_params! {
    /// The shader's parameters.
    struct Params {
        position_offset: u32,
        frequency_offset: u32,
        out_offset: u32,
        out_row: u32,
        rows: u32,
        columns: u32,
        phase: u32,
        unused: u32,
    }
}

fn on_gpu(positions: &Tensor, frequencies: &[u64], tables: &Tensor) -> Result<()> {
    let context = tables.gpu_buffer().context().clone();
    let caps = context.caps();
    let (count, columns) = (positions.len(), frequencies.len());
    let host = HostBuffer::alloc(columns * 8).map_err(|error| error.within(NAME))?;
    let halves =
        Tensor::from_parts(cpu()?, Storage::Host(Arc::new(host)), Layout::contiguous(&[2 * columns]), DType::UInt32);
    halves.fill_host(|i| Scalar::Int(i128::from((frequencies[i / 2] >> (32 * (i % 2))) as u32)));
    let frequencies = halves.to(tables.device())?;
    let tables = tables.with_layout(Layout::contiguous(&[2, count, columns]));
    // Windows begin at aligned places, so leave room for one step.
    let room = (caps.binding - u64::from(caps.alignment) - 16) as usize;
    let most_columns = columns.min(room / 8);
    let most_rows = (room / 4 / columns).clamp(1, count);
    let workgroup = caps.workgroup_up_to(256);
    let (float, signed) = (positions.dtype() == DType::Float32, positions.dtype() == DType::Int32);
    let key = KEY | u64::from(float) << 33 | u64::from(signed) << 32 | u64::from(workgroup);
    let pipeline = context.pipeline(key, || spec(float, signed, workgroup))?;
    // The cosine of an angle is the sine of a quarter more.
    for (table, phase) in [(0, 1 << 30), (1, 0)] {
        for row in (0..count).step_by(most_rows) {
            for column in (0..columns).step_by(most_columns) {
                let (rows, width) = (most_rows.min(count - row), most_columns.min(columns - column));
                let out = narrow(&narrow(&narrow(&tables, 0, table, 1), 1, row, rows), 2, column, width);
                let layout = Layout::contiguous(&[count]);
                let at = narrow(
                    &positions.with_layout(Layout { offset: positions.layout().offset, ..layout }),
                    0,
                    row,
                    rows,
                );
                let of = narrow(&frequencies, 0, 2 * column, 2 * width);
                let windows = [&at, &of, &out].map(|tensor| Binding::window(tensor, caps.alignment));
                let params = Params {
                    position_offset: windows[0].1,
                    frequency_offset: windows[1].1,
                    out_offset: windows[2].1,
                    out_row: columns as u32,
                    rows: rows as u32,
                    columns: width as u32,
                    phase,
                    unused: 0,
                };
                context.record(&Dispatch {
                    label: NAME,
                    pipeline: &pipeline,
                    bindings: &windows.map(|(binding, _)| Some(binding)),
                    params: bytemuck::bytes_of(&params),
                    groups: (rows * width).div_ceil(workgroup as usize) as u32,
                    bytes: [&at, &of, &out].map(Tensor::stored_bytes).iter().sum(),
                    steps: 0,
                })?;
            }
        }
    }
    Ok(())
}

/// Distinguishes these pipelines from those of other shaders.
const KEY: u64 = 17 << 56;

fn spec(float: bool, signed: bool, workgroup: u32) -> Spec {
    Spec {
        label: NAME.into(),
        source: include_str!("../../../shaders/rope_tables.wgsl"),
        slots: Vec::new(),
        constants: vec![
            ("WORKGROUP", f64::from(workgroup)),
            ("FLOAT", f64::from(u8::from(float))),
            ("SIGNED", f64::from(u8::from(signed))),
        ],
        inputs: vec![true; 2],
        params: Params::LAYOUT,
    }
}

#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    [(true, false), (false, true), (false, false)].map(|(float, signed)| spec(float, signed, 64)).into()
}

#[cfg(test)]
mod tests {
    use super::turns;

    #[test]
    fn turns_are_fractions_of_a_circle() {
        let circle = std::f64::consts::TAU;
        for radians in [1.0, 0.5, 0.999, 1e-3, 1.234_567e-5, 1e-12, 3e-19] {
            let want = radians / circle * 2.0_f64.powi(64);
            assert!((turns(radians) as f64 / want - 1.0).abs() < 4e-16 + 1.0 / want, "{radians}");
        }
        assert_eq!(turns(1.0), 0x28be_60db_9391_054b);
        assert_eq!(turns(1e-30), 0);
    }
}
