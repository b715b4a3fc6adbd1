//! Reductions: sums, products, extremes, means, variances and places of extremes over any axes.
//!
//! Floats are added up in float32, whatever they are stored in, and sums and products of integers in 32 bits, wrapping
//! around.

pub(crate) mod cpu;

use smallvec::SmallVec;

use super::elementwise::native;
use super::rows::{AXES, Reducer, Rows};
use super::shaders::{Runner, grounded};
use super::{Operand, Output, assign, check_axis, contiguous};
use crate::device::Device;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::shape::{Layout, Shape, Strides, merge_axes, show};
use crate::tensor::Tensor;

#[cfg(test)]
use crate::gpu::pipeline::Spec;

/// What a row of elements becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reduction {
    Sum,
    Mean,
    Prod,
    Max,
    Min,
    Any,
    All,
    ArgMax,
    ArgMin,
    Var { correction: f64 },
    Std { correction: f64 },
}

impl Reduction {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Prod => "prod",
            Self::Max => "max",
            Self::Min => "min",
            Self::Any => "any",
            Self::All => "all",
            Self::ArgMax => "argmax",
            Self::ArgMin => "argmin",
            Self::Var { .. } => "var",
            Self::Std { .. } => "std",
        }
    }

    /// The result's type.
    fn dtype(self, x: DType) -> DType {
        match self {
            Self::Max | Self::Min => x,
            Self::Any | Self::All => DType::Bool,
            Self::ArgMax | Self::ArgMin => DType::Int32,
            Self::Sum | Self::Prod => match x {
                DType::UInt32 => x,
                _ if x.kind() == Kind::Float => x,
                _ => DType::Int32,
            },
            Self::Mean | Self::Var { .. } | Self::Std { .. } if x.kind() == Kind::Float => x,
            Self::Mean | Self::Var { .. } | Self::Std { .. } => DType::Float32,
        }
    }

    /// What no elements at all become, if anything.
    const fn of_none(self) -> Option<Scalar> {
        match self {
            Self::Sum => Some(Scalar::Int(0)),
            Self::Prod => Some(Scalar::Int(1)),
            Self::Any => Some(Scalar::Bool(false)),
            Self::All => Some(Scalar::Bool(true)),
            Self::Mean | Self::Var { .. } | Self::Std { .. } => Some(Scalar::Float(f64::NAN)),
            Self::Max | Self::Min | Self::ArgMax | Self::ArgMin => None,
        }
    }
}

/// Reduces x over `axes`, or over all of them. With `keepdims` they stay, with length 1.
pub fn reduce(
    reduction: Reduction,
    x: &Tensor,
    axes: Option<&[isize]>,
    keepdims: bool,
    out: Option<&Tensor>,
) -> Result<Tensor> {
    let name = reduction.name();
    if let Reduction::Var { correction } | Reduction::Std { correction } = reduction
        && !correction.is_finite()
    {
        return Err(Error::Argument(format!("{name}: correction={correction} is not a finite number")));
    }
    let plan = Plan::new(name, x, axes, keepdims, reduction.dtype(x.dtype()), out)?;
    let Plan { axes, kept, target, .. } = &plan;
    if target.is_empty() {
        return plan.output.finish();
    }
    if x.is_empty() {
        let Some(value) = reduction.of_none() else {
            return Err(Error::Shape(format!(
                "{name}: x has shape {}, and no elements have no {name}; reduce over an axis that has some",
                show(x.shape())
            )));
        };
        assign(target, Operand::Scalar(value))?;
        return plan.output.finish();
    }
    let length: usize = axes.iter().map(|&axis| x.shape()[axis]).product();
    if matches!(reduction, Reduction::ArgMax | Reduction::ArgMin) && length > i32::MAX as usize {
        return Err(Error::Shape(format!(
            "{name}: x has shape {}; places among {length} elements do not fit int32, give an axis",
            show(x.shape())
        )));
    }
    match x.device() {
        Device::Cpu(_) => on_cpu(reduction, x, axes, target)?,
        Device::Gpu(_) => {
            let in_order = matches!(reduction, Reduction::ArgMax | Reduction::ArgMin);
            by_shader(&reducer(reduction, x.dtype(), target.dtype(), length), in_order, x, axes, kept, target)?;
        }
    }
    plan.output.finish()
}

/// Reduces x by formulas of a user's to a result of this type.
pub(super) fn reduce_by(
    reducer: &Reducer,
    name: &str,
    x: &Tensor,
    dtype: DType,
    (axes, keepdims): (Option<&[isize]>, bool),
    out: Option<&Tensor>,
) -> Result<Tensor> {
    let plan = Plan::new(name, x, axes, keepdims, dtype, out)?;
    if plan.target.is_empty() {
        return plan.output.finish();
    }
    if x.is_empty() {
        let one = Tensor::empty(x.device(), &[1], dtype, name)?;
        reducer.run_empty(&one)?;
        assign(&plan.target, (&one).into())?;
    } else {
        by_shader(reducer, false, &grounded(x), &plan.axes, &plan.kept, &grounded(&plan.target))?;
    }
    plan.output.finish()
}

/// What a reduction is checked to be: the axes that are reduced, those that are kept, and where the result goes.
struct Plan {
    axes: Axes,
    kept: Axes,
    output: Output,
    /// The result as it is with `keepdims`.
    target: Tensor,
}

impl Plan {
    fn new(
        name: &str,
        x: &Tensor,
        axes: Option<&[isize]>,
        keepdims: bool,
        dtype: DType,
        out: Option<&Tensor>,
    ) -> Result<Self> {
        let axes = check_axes(name, axes, x.shape())?;
        let kept: Axes = (0..x.shape().len()).filter(|axis| !axes.contains(axis)).collect();
        let layout = result_layout(x.layout(), &kept, keepdims);
        let output = Output::new(name, x.device(), layout, dtype, out, &[x], |_, _| false)?;
        let target = if keepdims { output.target.clone() } else { with_axes(&output.target, &kept, x.shape().len()) };
        Ok(Self { axes, kept, output, target })
    }
}

type Axes = SmallVec<[usize; 6]>;

/// The axes that are reduced, in order.
fn check_axes(name: &str, axes: Option<&[isize]>, shape: &[usize]) -> Result<Axes> {
    let Some(given) = axes else { return Ok((0..shape.len()).collect()) };
    let mut axes = given.iter().map(|&axis| check_axis(name, axis, shape)).collect::<Result<Axes>>()?;
    axes.sort_unstable();
    if let Some(&[twice, _]) = axes.array_windows().find(|[axis, next]| axis == next) {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        return Err(Error::Shape(format!(
            "{name}: axis=({}) names axis {} of x, of shape {}, twice",
            given.join(", "),
            twice,
            show(shape)
        )));
    }
    Ok(axes)
}

/// A dense layout for the result, with the axes that are kept in the order in which x has them in memory.
fn result_layout(x: &Layout, kept: &[usize], keepdims: bool) -> Layout {
    let axes: Axes = if keepdims { (0..x.ndim()).collect() } else { kept.into() };
    let shape: Shape = axes.iter().map(|axis| if kept.contains(axis) { x.shape[*axis] } else { 1 }).collect();
    let mut order: Axes = (0..axes.len()).collect();
    order.sort_by_key(|&axis| std::cmp::Reverse(x.strides[axes[axis]].unsigned_abs()));
    Layout::dense(&shape, &order)
}

/// The view of a result that has the axes that were reduced, too, with length 1.
fn with_axes(result: &Tensor, kept: &[usize], count: usize) -> Tensor {
    let mut layout = Layout {
        shape: SmallVec::from_elem(1, count),
        strides: SmallVec::from_elem(0, count),
        offset: result.layout().offset,
    };
    for (i, &axis) in kept.iter().enumerate() {
        layout.shape[axis] = result.shape()[i];
        layout.strides[axis] = result.layout().strides[i];
    }
    result.with_layout(layout)
}

fn on_cpu(reduction: Reduction, x: &Tensor, axes: &[usize], out: &Tensor) -> Result<()> {
    #![expect(unsafe_code, reason = "the loops trust the shapes")]
    let Device::Cpu(device) = x.device() else { unreachable!("the caller looked") };
    // SAFETY: the result has x's shape with the reduced axes of length 1 and the reduction's type, and is new or does
    // not overlap x; what has no value without elements is only computed of some.
    unsafe { cpu::reduce(*device, reduction, x.view(), axes, out.view_mut()) }
}

fn by_shader(
    reducer: &Reducer,
    in_order: bool,
    x: &Tensor,
    axes: &[usize],
    kept: &[usize],
    out: &Tensor,
) -> Result<()> {
    let runner = Runner::of(x);
    let caps = runner.caps();
    let direct = rows(x.layout(), axes, kept, out.layout(), in_order);
    if let Some(rows) = direct.filter(|rows| rows.has_room(caps, x.dtype().size(), reducer.bytes)) {
        return reducer.run(x, &rows, out);
    }
    // Laid out so that what is reduced becomes one axis.
    let order: Axes = kept.iter().chain(axes).copied().collect();
    let dense = contiguous(&x.with_layout(x.layout().permuted(&order)))?;
    let mut back: Axes = SmallVec::from_elem(0, order.len());
    for (place, &axis) in order.iter().enumerate() {
        back[axis] = place;
    }
    let dense = dense.with_layout(dense.layout().permuted(&back));
    if let Some(rows) = rows(dense.layout(), axes, kept, out.layout(), in_order) {
        return reducer.run(&dense, &rows, out);
    }
    // The result has so many separate axes that a dense one has to come between.
    let result = Tensor::empty(x.device(), out.shape(), out.dtype(), &reducer.label)?;
    by_shader(reducer, in_order, &dense, axes, kept, &result)?;
    assign(out, (&result).into())
}

/// x as rows, if it merges into few enough axes. The order of what is reduced matters only to places.
fn rows(x: &Layout, axes: &[usize], kept: &[usize], out: &Layout, in_order: bool) -> Option<Rows> {
    let mut x = x.clone();
    let mut reduced: Axes = axes.into();
    if !in_order {
        for &axis in axes {
            if x.strides[axis] < 0 {
                x.offset += x.strides[axis] * (x.shape[axis] as isize - 1);
                x.strides[axis] = -x.strides[axis];
            }
        }
        reduced.sort_by_key(|&axis| std::cmp::Reverse(x.strides[axis]));
    }
    let mut kept: Axes = kept.into();
    kept.sort_by_key(|&axis| std::cmp::Reverse(x.strides[axis].unsigned_abs()));
    let lengths = |axes: &[usize]| axes.iter().map(|&axis| x.shape[axis]).collect::<Shape>();
    let pick = |axes: &[usize], strides: &[isize]| axes.iter().map(|&axis| strides[axis]).collect::<Strides>();
    let (folded, [folded_strides]) = merge_axes(&lengths(&reduced), &[&pick(&reduced, &x.strides)]);
    let (shape, [x_strides, out_strides]) =
        merge_axes(&lengths(&kept), &[&pick(&kept, &x.strides), &pick(&kept, &out.strides)]);
    let (&length, folded) = folded.split_last()?;
    let (&step, folded_strides) = folded_strides.split_last()?;
    if folded.len() + shape.len() > AXES || (in_order && !folded.is_empty()) {
        return None;
    }
    let zeros = |count: usize| SmallVec::from_elem(0, count);
    let strides = [
        folded_strides.iter().chain(&x_strides).copied().collect(),
        folded_strides.iter().map(|_| &0).chain(&out_strides).copied().collect(),
        zeros(folded.len() + shape.len()),
    ];
    let outer: Shape = folded.iter().chain(&shape).copied().collect();
    Some(Rows::new(outer, folded.len(), strides, [x.offset, out.offset], length, [step, 0]))
}

/// What gathers the elements on a GPU.
fn reducer(reduction: Reduction, x: DType, out: DType, length: usize) -> Reducer {
    let scalar = |dtype: DType| &native(dtype)[5..8];
    let number = match reduction {
        Reduction::Sum | Reduction::Prod => scalar(out),
        Reduction::Mean | Reduction::Var { .. } | Reduction::Std { .. } => "f32",
        _ => scalar(x),
    };
    let float = number == "f32";
    let divisor = match reduction {
        Reduction::Var { correction } | Reduction::Std { correction } => (length as f64 - correction).max(0.0),
        _ => length as f64,
    };
    let best = |larger: bool| {
        let extreme = match (number, larger) {
            ("f32", true) => "u32 = 0xff800000u",
            ("f32", false) => "u32 = 0x7f800000u",
            ("i32", true) => "i32 = -0x7fffffff - 1",
            ("i32", false) => "i32 = 0x7fffffff",
            (_, true) => "u32 = 0u",
            (_, false) => "u32 = 0xffffffffu",
        };
        let function = if larger { "max" } else { "min" };
        format!("const EXTREME: {extreme};\nfn better(a: Number, b: Number) -> Number {{ return {function}(a, b); }}\n")
    };
    let truth = |all: bool| {
        let mask = if float { "0x7fffffffu" } else { "0xffffffffu" };
        format!("const ALL: bool = {all};\nconst MASK: u32 = {mask};\n")
    };
    let place = |smallest: bool| {
        let kind = match number {
            "f32" => "FLOAT",
            "i32" => "SIGNED",
            _ => "UNSIGNED",
        };
        format!(
            "const FLOAT: u32 = 0u;\nconst SIGNED: u32 = 1u;\nconst UNSIGNED: u32 = 2u;\nconst KIND: u32 = {kind};\n\
             const SMALLEST: bool = {smallest};\n"
        )
    };
    // NaN is recognised by its bits, because a compiler may assume that there is none.
    let extreme_float = "bitcast<f32>(select(total.x, total.y, total.y > 0x7f800000u))";
    let (index, module, text, result, words) = match reduction {
        Reduction::Sum => (0, "accumulate/sum", String::new(), "total", 1),
        Reduction::Mean => (1, "accumulate/sum", String::new(), "total / params.divisor", 1),
        Reduction::Prod => (2, "accumulate/product", String::new(), "total", 1),
        Reduction::Max if float => (3, "accumulate/extreme_float", best(true), extreme_float, 2),
        Reduction::Min if float => (4, "accumulate/extreme_float", best(false), extreme_float, 2),
        Reduction::Max => (5, "accumulate/extreme", best(true), "total", 1),
        Reduction::Min => (6, "accumulate/extreme", best(false), "total", 1),
        Reduction::Any => (7, "accumulate/truth", truth(false), "total", 1),
        Reduction::All => (8, "accumulate/truth", truth(true), "total", 1),
        Reduction::ArgMax => (9, "accumulate/place", place(false), "i32(total.y)", 2),
        Reduction::ArgMin => (10, "accumulate/place", place(true), "i32(total.y)", 2),
        Reduction::Var { .. } => (11, "accumulate/moments", String::new(), "total.w / params.divisor", 4),
        Reduction::Std { .. } => (12, "accumulate/moments", String::new(), "sqrt(total.w / params.divisor)", 4),
    };
    let kind = ["f32", "i32", "u32"].iter().position(|&name| name == number).expect("one of them") as u64;
    Reducer {
        label: reduction.name().into(),
        index: index * 4 + kind,
        module,
        text: format!(
            "alias Number = {number};\nalias Numbers = vec4<{number}>;\n{text}\
             fn result(total: Accumulator) -> {} {{ return {result}; }}",
            scalar(out)
        ),
        users: None,
        bytes: words * 4,
        divisor: divisor as f32,
    }
}

/// Every variant, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    use Reduction::{All, Any, ArgMax, ArgMin, Max, Mean, Min, Prod, Std, Sum, Var};
    let all = [Sum, Mean, Prod, Max, Min, Any, All, ArgMax, ArgMin, Var { correction: 0.0 }, Std { correction: 0.0 }];
    let pairs = all.into_iter().flat_map(|reduction| DType::ALL.map(|x| (reduction, x)));
    pairs
        .flat_map(|(reduction, x)| {
            let out = reduction.dtype(x);
            super::rows::reduce_specs(&reducer(reduction, x, out, 8), x, Some(out))
        })
        .collect()
}
