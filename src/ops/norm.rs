//! Norms: rows divided by their size, and for `layer_norm` and `group_norm` first freed of their mean.
//!
//! - `rms_norm`: `x / sqrt(mean(x²) + eps) · weight + bias`
//! - `layer_norm`: `(x - mean(x)) / sqrt(var(x) + eps) · weight + bias`
//! - `group_norm`: the same over groups of channels, with a weight for each channel
//! - `l2_norm`: `x / sqrt(Σ x² + eps)`
//!
//! Computed in float32, whatever the elements are stored in. Numbers far from 0 keep their variance. Squares neither
//! overflow nor vanish, except for those of the differences on GPUs.

pub(crate) mod cpu;

use super::rows::{Map, Reducer, map_rows};
use super::{Output, contiguous, result_layout};
use crate::cpu::View;
use crate::device::Device;
use crate::dtype::Kind;
use crate::error::{Error, Result};
use crate::gpu::wgsl::Slot;
use crate::shape::{Layout, Shape, show};
use crate::tensor::Tensor;

#[cfg(test)]
use crate::{dtype::DType, gpu::pipeline::Spec};

/// How a row is normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norm {
    Rms,
    Layer,
    L2,
}

/// What normalised rows are multiplied by, and what is added: views of x's full shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub(crate) weight: Option<View<'a>>,
    pub(crate) bias: Option<View<'a>>,
}

/// `x / sqrt(mean(x²) + eps) · weight + bias` over the last axis.
pub fn rms_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    out: Option<&Tensor>,
) -> Result<Tensor> {
    over_last_axis("rms_norm", Norm::Rms, x, [weight, bias], eps, out)
}

/// `(x - mean(x)) / sqrt(var(x) + eps) · weight + bias` over the last axis.
pub fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    out: Option<&Tensor>,
) -> Result<Tensor> {
    over_last_axis("layer_norm", Norm::Layer, x, [weight, bias], eps, out)
}

/// `x / sqrt(Σ x² + eps)` over the last axis.
pub fn l2_norm(x: &Tensor, eps: f64, out: Option<&Tensor>) -> Result<Tensor> {
    over_last_axis("l2_norm", Norm::L2, x, [None; 2], eps, out)
}

/// As [`layer_norm`], over the elements of each of `groups` groups of neighbouring channels, which are axis 1.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    out: Option<&Tensor>,
) -> Result<Tensor> {
    const NAME: &str = "group_norm";
    let &[batch, channels, ref rest @ ..] = x.shape() else {
        return Err(Error::Shape(format!(
            "{NAME}: x has shape {}, but needs two axes or more, with the channels on axis 1",
            show(x.shape())
        )));
    };
    if groups == 0 || channels % groups != 0 {
        return Err(Error::Shape(format!(
            "{NAME}: groups={groups} does not divide the {channels} channels of x, which has shape {}",
            show(x.shape())
        )));
    }
    let rows = RowShape {
        shape: [batch, groups, channels / groups].iter().chain(rest).copied().collect(),
        axes: 1 + rest.len(),
        affine: [groups, channels / groups].into_iter().chain(rest.iter().map(|_| 1)).collect(),
        repeat: rest.iter().product(),
    };
    run(NAME, Norm::Layer, x, &rows, [weight, bias], channels, eps, out)
}

fn over_last_axis(
    name: &'static str,
    norm: Norm,
    x: &Tensor,
    affine: [Option<&Tensor>; 2],
    eps: f64,
    out: Option<&Tensor>,
) -> Result<Tensor> {
    let Some(&length) = x.shape().last() else {
        return Err(Error::Shape(format!("{name}: x has shape (), but needs an axis to be normalised over")));
    };
    let rows = RowShape { shape: x.shape().into(), axes: 1, affine: Shape::from_slice(&[length]), repeat: 1 };
    run(name, norm, x, &rows, affine, length, eps, out)
}

/// How x is seen as rows.
struct RowShape {
    /// x's shape, with the channels perhaps split into groups.
    shape: Shape,
    /// How many of the last axes are a row.
    axes: usize,
    /// The shape in which weights broadcast to `shape`.
    affine: Shape,
    /// How many neighbouring elements share a weight.
    repeat: usize,
}

#[expect(clippy::too_many_arguments, reason = "the arguments of the operation, and what it is")]
fn run(
    name: &'static str,
    norm: Norm,
    x: &Tensor,
    rows: &RowShape,
    affine: [Option<&Tensor>; 2],
    weights: usize,
    eps: f64,
    out: Option<&Tensor>,
) -> Result<Tensor> {
    let labels = ["weight", "bias"];
    let mut dtype = x.dtype();
    for (tensor, label) in [(Some(x), "x"), (affine[0], labels[0]), (affine[1], labels[1])] {
        let Some(tensor) = tensor else { continue };
        if tensor.dtype().kind() != Kind::Float {
            return Err(Error::DType(format!(
                "{name} takes floats, but {label} has dtype {}; convert it with astype()",
                tensor.dtype()
            )));
        }
        dtype = dtype.promote(tensor.dtype(), name)?;
        if label != "x" {
            x.device().check_same(tensor.device(), name, ["x", label])?;
            if tensor.shape() != [weights] {
                return Err(Error::Shape(format!(
                    "{name}: {label} has shape {}, but x, of shape {}, needs one of shape ({weights},)",
                    show(tensor.shape()),
                    show(x.shape())
                )));
            }
        }
    }
    if !(eps >= 0.0 && eps.is_finite()) {
        return Err(Error::Argument(format!("{name}: eps={eps} must be a finite number that is not negative")));
    }
    if (eps as f32).is_infinite() {
        return Err(Error::Argument(format!("{name}: eps={eps:e} is a float32, whose largest is {:e}", f32::MAX)));
    }
    let inputs: Vec<&Tensor> = [Some(x), affine[0], affine[1]].into_iter().flatten().collect();
    let layout = result_layout(x.shape(), &[x.layout()]);
    let output = Output::new(name, x.device(), layout, dtype, out, &inputs, |_, _| false)?;
    if output.target.is_empty() {
        return output.finish();
    }
    // Splitting an axis never needs a copy.
    let seen = |tensor: &Tensor, shape: &[usize]| tensor.reshape(shape);
    let (x, target) = (seen(x, &rows.shape)?, seen(&output.target, &rows.shape)?);
    let affine = [affine[0].map(contiguous).transpose()?, affine[1].map(contiguous).transpose()?];
    let spread = |tensor: &Tensor| seen(tensor, &rows.affine)?.layout().broadcast_to(&rows.shape, name);
    match x.device() {
        Device::Cpu(_) => {
            let spread = |tensor: Option<Tensor>| -> Result<Option<Tensor>> {
                tensor.map(|tensor| Ok(tensor.with_layout(spread(&tensor)?))).transpose()
            };
            let [weight, bias] = affine;
            on_cpu(norm, &x, rows.axes, &[spread(weight)?, spread(bias)?], eps, &target)?;
        }
        Device::Gpu(_) => {
            let strides = Layout::contiguous(&rows.affine).broadcast_to(&rows.shape, name)?.strides;
            let length: usize = rows.shape[rows.shape.len() - rows.axes..].iter().product();
            let affine = [affine[0].as_ref(), affine[1].as_ref()];
            map_rows(&map(name, norm, length, affine, rows.repeat, eps), &x, rows.axes, &target, &strides)?;
        }
    }
    output.finish()
}

fn on_cpu(
    norm: Norm,
    x: &Tensor,
    axes: usize,
    [weight, bias]: &[Option<Tensor>; 2],
    eps: f64,
    out: &Tensor,
) -> Result<()> {
    #![expect(unsafe_code, reason = "the loops trust the shapes")]
    let Device::Cpu(device) = x.device() else { unreachable!("the caller looked") };
    let affine = Affine { weight: weight.as_ref().map(Tensor::view), bias: bias.as_ref().map(Tensor::view) };
    // SAFETY: result, weight and bias have x's shape and are floats; the result has elements, and is new or overlaps no
    // operand.
    unsafe { cpu::norm(*device, norm, x.view(), axes, affine, eps as f32, out.view_mut()) }
}

fn map<'a>(
    name: &'static str,
    norm: Norm,
    length: usize,
    affine: [Option<&'a Tensor>; 2],
    repeat: usize,
    eps: f64,
) -> Map<'a> {
    let (module, formula, bytes) = match norm {
        Norm::Layer => ("accumulate/moments", "rows/mean_free", 16),
        Norm::Rms | Norm::L2 => ("accumulate/squares", "rows/mean_square", 16),
    };
    Map {
        reducer: Reducer {
            label: name.into(),
            index: 72 + u64::from(norm == Norm::Layer),
            module,
            text: "alias Number = f32;\nalias Numbers = vec4<f32>;".into(),
            users: None,
            bytes,
            divisor: if norm == Norm::L2 { 1.0 } else { length as f32 },
        },
        source: include_str!("../../shaders/norm.wgsl"),
        slots: vec![("ACCUMULATE", Slot::module(module)), ("NORM", Slot::module(formula))],
        constants: Vec::new(),
        affine: Some(affine),
        repeat,
        eps: eps as f32,
    }
}

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let floats = [DType::Float32, DType::Float16, DType::BFloat16];
    let pairs = floats.into_iter().flat_map(|x| floats.map(|weight| (x, weight)));
    pairs
        .flat_map(|(x, weight)| {
            [Norm::Rms, Norm::Layer].map(|norm| {
                let out = x.promote(weight, "norm").expect("floats promote");
                super::rows::map_specs(&map("norm", norm, 8, [None; 2], 1, 0.0), x, Some(weight), out)
            })
        })
        .flatten()
        .collect()
}
