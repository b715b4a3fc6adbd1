//! Conversion and copying: `astype`, `copy`, slice assignment, and tensors full of one value.
//!
//! All of these are one elementwise operation, the identity, between two types and two layouts.
//!
//! Floats become integers by dropping the fraction; what does not fit becomes the nearest integer that does, and NaN
//! becomes 0. Integers wrap around when narrowed. Anything but zero becomes true.

use smallvec::SmallVec;

use super::elementwise::{Kernel, Source, cpu, launch, native};
use super::{Operand, Output, check_writable};
use crate::cpu::{CpuDevice, View};
use crate::device::Device;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::profile::timed;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// The tensor in another type. Returns the same tensor if it has that type already and `copy` is false.
pub fn astype(x: &Tensor, dtype: DType, copy: bool) -> Result<Tensor> {
    if x.dtype() == dtype && !copy {
        return Ok(x.clone());
    }
    let name = if x.dtype() == dtype { "copy" } else { "astype" };
    let layout = super::result_layout(x.shape(), &[x.layout()]);
    let target = Tensor::empty_like(x.device(), layout, dtype, name)?;
    convert(name, &Source::Tensor(x), &target)?;
    Ok(target)
}

/// A tensor of its own with the same elements.
pub fn copy(x: &Tensor) -> Result<Tensor> {
    astype(x, x.dtype(), true)
}

/// The same elements in row-major order without gaps: the tensor itself if it is so already.
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    if x.layout().is_contiguous() {
        return Ok(x.clone());
    }
    let target = Tensor::empty(x.device(), x.shape(), x.dtype(), "copy")?;
    convert("copy", &Source::Tensor(x), &target)?;
    Ok(target)
}

/// `target[...] = value`, with broadcasting and conversion. The value may overlap the target.
pub fn assign(target: &Tensor, value: Operand<'_>) -> Result<()> {
    const NAME: &str = "assignment";
    check_writable(NAME, "the tensor", target)?;
    match value {
        Operand::Scalar(scalar) => {
            scalar.check(target.dtype(), NAME)?;
            convert(NAME, &Source::Scalar(scalar, target.dtype()), target)
        }
        Operand::Tensor(source) => {
            source.device().check_same(target.device(), NAME, ["the value", "the tensor"])?;
            // Leading axes of length 1 do not count, as in NumPy.
            let mut layout = source.layout().clone();
            while layout.ndim() > target.shape().len() && layout.shape[0] == 1 {
                layout.shape.remove(0);
                layout.strides.remove(0);
            }
            let layout = layout.broadcast_to(target.shape(), NAME)?;
            let source = source.with_layout(layout);
            if source.same_elements(target) {
                return Ok(());
            }
            let output = Output::new(
                NAME,
                target.device(),
                Layout::contiguous(target.shape()),
                target.dtype(),
                Some(target),
                &[&source],
                |_, _| false,
            )?;
            convert(NAME, &Source::Tensor(&source), &output.target)?;
            output.finish().map(drop)
        }
    }
}

/// A tensor full of one value.
///
/// `name` is what the caller knows it as: `zeros`, `ones`, `full`.
pub fn full(name: &'static str, device: &Device, shape: &[usize], value: Scalar, dtype: DType) -> Result<Tensor> {
    value.check(dtype, name)?;
    let target = Tensor::empty(device, shape, dtype, name)?;
    convert(name, &Source::Scalar(value, dtype), &target)?;
    Ok(target)
}

/// The numbers from `start` to before `stop` in steps of `step`. Integers are counted exactly.
pub fn arange(device: &Device, start: Scalar, stop: Scalar, step: Scalar, dtype: DType) -> Result<Tensor> {
    const NAME: &str = "arange";
    let fail = |why: &str| Err(Error::Argument(format!("{NAME}: {why}")));
    for vast in [start, stop, step].into_iter().filter(|scalar| matches!(scalar, Scalar::Vast(_))) {
        vast.check(dtype, NAME)?;
    }
    let (count, value): (f64, Box<dyn Fn(usize) -> Scalar>) = match (start, stop, step) {
        (_, _, Scalar::Int(0)) => return fail("step is 0"),
        (Scalar::Int(first), Scalar::Int(last), Scalar::Int(by)) if dtype.kind() != Kind::Float => {
            // Divides rounding up, whichever way the numbers run.
            let distance = last.saturating_sub(first).max(-i128::MAX);
            let count = (distance / by + i128::from(distance % by != 0 && (distance > 0) == (by > 0))).max(0);
            if count > 0 {
                for end in [first, first + by * (count - 1)] {
                    Scalar::Int(end).check(dtype, NAME)?;
                }
            }
            (count as f64, Box::new(move |i| Scalar::Int(first + by * i as i128)))
        }
        _ => {
            let (first, last, by) = (start.as_f64(), stop.as_f64(), step.as_f64());
            if by == 0.0 {
                return fail("step is 0");
            }
            let count = ((last - first) / by).ceil();
            (if count < 0.0 { 0.0 } else { count }, Box::new(move |i| Scalar::Float(first + by * i as f64)))
        }
    };
    if !count.is_finite() {
        return fail("start, stop and step must be finite numbers");
    }
    if dtype == DType::Bool && count > 2.0 {
        return fail("bool holds only two numbers");
    }
    let cpu = crate::device::select::cpu()?;
    let host = Tensor::empty(&cpu, &[count as usize], dtype, NAME)?;
    timed(NAME, std::iter::empty(), &host, || host.fill_host(value));
    host.to(device)
}

/// Writes `source`, which has the target's shape, into the target.
pub(crate) fn convert(name: &'static str, source: &Source<'_>, target: &Tensor) -> Result<()> {
    if target.is_empty() {
        return Ok(());
    }
    match target.device() {
        Device::Cpu(device) => {
            timed(name, source.tensor().into_iter(), target, || cast_on_cpu(*device, source, target));
            Ok(())
        }
        Device::Gpu(_) => launch(&cast(name, source.dtype(), target.dtype()), &[*source], target),
    }
}

fn cast_on_cpu(device: CpuDevice, source: &Source<'_>, target: &Tensor) {
    #![expect(unsafe_code, reason = "the loops trust that both have the same shape")]
    let still = Layout { strides: SmallVec::from_elem(0, target.shape().len()), ..Layout::contiguous(target.shape()) };
    let number;
    let view = match source {
        Source::Tensor(tensor) => tensor.view(),
        Source::Scalar(scalar, dtype) => {
            number = scalar.to_bytes(*dtype);
            View { origin: number.as_ptr(), dtype: *dtype, layout: &still }
        }
    };
    // SAFETY: every caller gives the source the target's shape, and a target that is new or does not overlap it.
    unsafe { cpu::cast(device, view, target.view_mut()) }
}

/// The kernel that converts between two types. Equal types are copied as bits, since arithmetic could change NaNs and
/// subnormals.
fn cast(name: &'static str, from: DType, to: DType) -> Kernel {
    let clamped = |low: &str, high: &str| {
        // NaN is recognised by its bits, because a compiler may assume that there is none.
        format!(
            "select(vec4<i32>(clamp(a, vec4<f32>({low}), vec4<f32>({high}))), vec4<i32>(0), \
             (bitcast<vec4<u32>>(a) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u))"
        )
    };
    let formula = match (from.kind(), to) {
        _ if from == to => "a".into(),
        (Kind::Float, DType::Bool) => {
            "select(vec4<u32>(0u), vec4<u32>(1u), (bitcast<vec4<u32>>(a) & vec4<u32>(0x7fffffffu)) != vec4<u32>(0u))"
                .into()
        }
        (_, DType::Bool) => "select(vec4<u32>(0u), vec4<u32>(1u), a != Value())".into(),
        (Kind::Float, DType::Int8) => clamped("-128.0", "127.0"),
        (Kind::Float, DType::UInt8) => format!("vec4<u32>({})", clamped("0.0", "255.0")),
        // The largest float below 2^31 is 2^31 - 128: what is above it must be named.
        (Kind::Float, DType::Int32) => format!(
            "select({}, vec4<i32>(2147483647), a >= vec4<f32>(2147483648.0))",
            clamped("-2147483648.0", "2147483520.0")
        ),
        (Kind::Float, DType::UInt32) => {
            // In two halves, since the conversion to signed integers reaches only half as far.
            let low = clamped("0.0", "2147483520.0");
            format!(
                "select(select(vec4<u32>({low}), vec4<u32>(clamp(a, vec4<f32>(0.0), vec4<f32>(4294967040.0))), \
                 a >= vec4<f32>(2147483648.0)), vec4<u32>(4294967295u), a >= vec4<f32>(4294967296.0))"
            )
        }
        _ => format!("{}(a)", native(to)),
    };
    Kernel {
        name,
        index: if from == to { COPY } else { CAST },
        raw: from == to,
        value: if from == to { "vec4<u32>" } else { native(from) },
        formula,
    }
}

/// Where these kernels stand among the pipelines of the elementwise template, behind the operations.
const CAST: u64 = 1 << 10;
const COPY: u64 = CAST + 1;

#[cfg(test)]
pub(crate) fn all_kernels() -> Vec<(Kernel, DType, DType)> {
    DType::ALL.into_iter().flat_map(|from| DType::ALL.map(|to| (cast("astype", from, to), from, to))).collect()
}
