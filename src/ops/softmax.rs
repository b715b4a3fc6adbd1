//! Softmax along an axis, `out[i] = exp(x[i] - m) / Σ exp(x[j] - m)` where m is the largest element, and its logarithm.
//!
//! Computed in float32, whatever the elements are stored in.

pub(crate) mod cpu;

use smallvec::SmallVec;

use super::rows::{Map, Reducer, map_rows};
use super::{Output, check_axis, result_layout};
use crate::device::Device;
use crate::dtype::Kind;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

#[cfg(test)]
use crate::{dtype::DType, gpu::pipeline::Spec};

/// `exp(x)` along an axis, divided by its sum there.
pub fn softmax(x: &Tensor, axis: isize, out: Option<&Tensor>) -> Result<Tensor> {
    run("softmax", false, x, axis, out)
}

/// The logarithm of [`softmax`].
pub fn log_softmax(x: &Tensor, axis: isize, out: Option<&Tensor>) -> Result<Tensor> {
    run("log_softmax", true, x, axis, out)
}

fn run(name: &'static str, logarithm: bool, x: &Tensor, axis: isize, out: Option<&Tensor>) -> Result<Tensor> {
    let dtype = x.dtype();
    if dtype.kind() != Kind::Float {
        return Err(Error::DType(format!("{name} takes floats, but x has dtype {dtype}; convert it with astype()")));
    }
    let axis = check_axis(name, axis, x.shape())?;
    let layout = result_layout(x.shape(), &[x.layout()]);
    let output = Output::new(name, x.device(), layout, dtype, out, &[x], |_, _| false)?;
    if !output.target.is_empty() {
        match x.device() {
            Device::Cpu(_) => on_cpu(logarithm, x, axis, &output.target)?,
            Device::Gpu(_) => on_gpu(name, logarithm, x, axis, &output.target)?,
        }
    }
    output.finish()
}

fn on_cpu(logarithm: bool, x: &Tensor, axis: usize, out: &Tensor) -> Result<()> {
    #![expect(unsafe_code, reason = "the loops trust the shapes")]
    let Device::Cpu(device) = x.device() else { unreachable!("the caller looked") };
    // SAFETY: the result has x's shape and dtype, has elements, and is new or does not overlap x.
    unsafe { cpu::softmax(*device, logarithm, x.view(), axis, out.view_mut()) }
}

fn on_gpu(name: &'static str, logarithm: bool, x: &Tensor, axis: usize, out: &Tensor) -> Result<()> {
    let mut order: SmallVec<[usize; 6]> = (0..x.shape().len()).filter(|&other| other != axis).collect();
    order.push(axis);
    let last = |tensor: &Tensor| tensor.with_layout(tensor.layout().permuted(&order));
    map_rows(&map(name, logarithm), &last(x), 1, &last(out), &vec![0; order.len()])
}

fn map(name: &'static str, logarithm: bool) -> Map<'static> {
    Map {
        reducer: Reducer {
            label: name.into(),
            index: 64 + u64::from(logarithm),
            module: "accumulate/exponentials",
            text: "alias Number = f32;\nalias Numbers = vec4<f32>;".into(),
            users: None,
            bytes: 8,
            divisor: 1.0,
        },
        source: include_str!("../../shaders/softmax.wgsl"),
        slots: Vec::new(),
        constants: vec![("LOGARITHM", f64::from(u8::from(logarithm)))],
        affine: None,
        repeat: 1,
        eps: 0.0,
    }
}

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let floats = [DType::Float32, DType::Float16, DType::BFloat16];
    floats.into_iter().flat_map(|dtype| super::rows::map_specs(&map("softmax", true), dtype, None, dtype)).collect()
}
