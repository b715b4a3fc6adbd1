//! Elementwise operations: `out[i] = f(a[i], b[i], c[i])` over shapes that broadcast.
//!
//! One mechanism serves them all. An operation is a line of [`table`]: its name and, for each kind of number that it
//! takes, its formula in WGSL and in Rust.

pub(crate) mod cpu;
mod table;
mod whole;

use smallvec::SmallVec;

use super::pieces::{Piece, Walk};
use super::{Operand, Output, result_layout};
use crate::cpu::{CpuDevice, View};
use crate::device::Device;
use crate::device::caps::Caps;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::gpu::context::Context;
use crate::gpu::memory::GpuBuffer;
use crate::gpu::pipeline::{Spec, lengths_param, shader_params, strides_param};
use crate::gpu::stream::{Binding, Dispatch};
use crate::gpu::wgsl::Slot;
use crate::profile::timed;
use crate::shape::{Layout, Shape, Strides, broadcast_shapes, stored_bytes};
use crate::tensor::{Storage, Tensor};

pub use table::*;

/// The most operands of an operation.
const OPERANDS: usize = 3;

/// One elementwise operation.
pub struct Operation {
    pub name: &'static str,
    operands: Operands,
    formulas: Formulas,
    /// Whether the result is a truth, whatever the operands are.
    tests: bool,
    /// The loops on the CPU.
    loops: fn() -> Loops,
}

/// What the operands of an operation are called in messages, and which of them is a condition, which does not decide
/// the type of the result.
struct Operands {
    names: &'static [&'static str],
    condition: Option<usize>,
}

/// Formulas in WGSL of `a`, `b` and `c`, for the kinds of numbers that an operation takes: on `vec4<f32>` for floats of
/// every size, on `vec4<i32>` or `vec4<u32>` for integers, on zeros and ones in a `vec4<u32>` for bools.
struct Formulas {
    float: Option<&'static str>,
    int: Option<&'static str>,
    bool: Option<&'static str>,
    /// A formula for floats that is long.
    function: Option<&'static str>,
    /// One that takes integers and bools as well, as float32.
    number: Option<&'static str>,
}

impl Formulas {
    const NONE: Self = Self { float: None, int: None, bool: None, function: None, number: None };
}

/// The loops of an operation on the CPU, by its number of operands.
pub(crate) enum Loops {
    One(cpu::Loops<1>),
    Two(cpu::Loops<2>),
    Three(cpu::Loops<3>),
}

impl From<cpu::Loops<1>> for Loops {
    fn from(loops: cpu::Loops<1>) -> Self {
        Self::One(loops)
    }
}

impl From<cpu::Loops<2>> for Loops {
    fn from(loops: cpu::Loops<2>) -> Self {
        Self::Two(loops)
    }
}

impl From<cpu::Loops<3>> for Loops {
    fn from(loops: cpu::Loops<3>) -> Self {
        Self::Three(loops)
    }
}

fn find(name: &str) -> &'static Operation {
    OPERATIONS.iter().find(|operation| operation.name == name).expect("an operation in the table")
}

/// What an operation does to floats, in WGSL.
pub(super) fn float_formula(name: &str) -> &'static str {
    find(name).formula(DType::Float32).map_or_else(|error| unreachable!("{error}"), |(_, formula)| formula)
}

impl Operation {
    /// The type in which operands of this type are computed, and the formula for it; or why there is none.
    fn formula(&self, dtype: DType) -> Result<(DType, &'static str)> {
        let Formulas { float, int, bool, function, number } = self.formulas;
        let (own, kinds) = match dtype.kind() {
            Kind::Float => (float.or(function).or(number), "floats"),
            Kind::Int => (int, "integers"),
            Kind::Bool => (bool, "bools"),
        };
        let as_float = number.map(|formula| (DType::Float32, formula));
        own.map(|formula| (dtype, formula))
            .or(as_float)
            .ok_or_else(|| Error::DType(format!("there is no {} of {kinds}", self.name)))
    }

    pub(crate) const fn operands(&self) -> usize {
        self.operands.names.len()
    }

    /// About how many arithmetic operations an element takes. A function takes many.
    pub(crate) fn cost(&self) -> f64 {
        let Formulas { function, number, .. } = self.formulas;
        if function.is_some() || number.is_some_and(|formula| formula.contains('(')) { 25.0 } else { 1.0 }
    }

    /// The type of the operands taken together.
    fn promote(&self, name: &str, operands: &[Operand<'_>]) -> Result<DType> {
        let operands = operands.iter().enumerate().filter(|&(i, _)| self.operands.condition != Some(i));
        let deciding = || operands.clone().map(|(_, operand)| *operand);
        let common = promote(name, deciding())?;
        let dtype = common.expect("an operand that decides");
        match check_numbers(name, deciding(), dtype) {
            // In a comparison it lies beyond all elements.
            Err(_) if self.tests => Ok(DType::Float32),
            checked => checked.map(|()| dtype),
        }
    }
}

/// The type of operands taken together: that of the tensors, which numbers take as far as they can. Numbers alone have
/// their own types. None if there is no operand.
pub(super) fn promote<'a>(name: &str, operands: impl Iterator<Item = Operand<'a>> + Clone) -> Result<Option<DType>> {
    let mut common: Option<DType> = None;
    for operand in operands.clone() {
        if let Operand::Tensor(tensor) = operand {
            common = Some(common.map_or(Ok(tensor.dtype()), |dtype| dtype.promote(tensor.dtype(), name))?);
        }
    }
    for operand in operands {
        if let Operand::Scalar(scalar) = operand {
            common = Some(common.map_or(scalar.own_dtype(), |dtype| scalar.promote(dtype)));
        }
    }
    Ok(common)
}

/// Refuses integers among the operands that the type cannot hold.
pub(super) fn check_numbers<'a>(
    name: &str,
    mut operands: impl Iterator<Item = Operand<'a>>,
    dtype: DType,
) -> Result<()> {
    operands.try_for_each(|operand| match operand {
        Operand::Scalar(scalar) => scalar.check(dtype, name),
        Operand::Tensor(_) => Ok(()),
    })
}

/// [`clip`] by one bound: `x`, but at least `min`.
pub fn clip_below(x: Operand<'_>, min: Operand<'_>, out: Option<&Tensor>) -> Result<Tensor> {
    apply_as("clip", &["x", "min"], find("maximum"), &[x, min], out)
}

/// [`clip`] by one bound: `x`, but at most `max`.
pub fn clip_above(x: Operand<'_>, max: Operand<'_>, out: Option<&Tensor>) -> Result<Tensor> {
    apply_as("clip", &["x", "max"], find("minimum"), &[x, max], out)
}

/// [`gelu_tanh`], as the other way to compute [`gelu`].
pub fn gelu_by_tanh(x: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
    apply_as("gelu", &["x"], find("gelu_tanh"), &[x.into()], out)
}

fn apply(name: &'static str, operands: &[Operand<'_>], out: Option<&Tensor>) -> Result<Tensor> {
    let operation = find(name);
    apply_as(name, operation.operands.names, operation, operands, out)
}

/// Computes an operation on operands of any types and shapes. The names are those of messages.
fn apply_as(
    name: &'static str,
    names: &[&str],
    operation: &'static Operation,
    operands: &[Operand<'_>],
    out: Option<&Tensor>,
) -> Result<Tensor> {
    let mut first: Option<(usize, &Tensor)> = None;
    let mut shape = Shape::new();
    for (i, operand) in operands.iter().enumerate() {
        let Operand::Tensor(tensor) = operand else { continue };
        match first {
            None => {
                first = Some((i, tensor));
                shape = tensor.shape().into();
            }
            Some((before, other)) => {
                other.device().check_same(tensor.device(), name, [names[before], names[i]])?;
                shape = broadcast_shapes(&shape, tensor.shape(), name, [names[before], names[i]])?;
            }
        }
    }
    let Some((_, first)) = first else {
        return Err(Error::Argument(format!("{name}: at least one operand must be a tensor or an array")));
    };
    let device = first.device().clone();
    let dtype = operation.promote(name, operands)?;
    let (dtype, formula) = operation.formula(dtype).map_err(|error| {
        let given: SmallVec<[&str; OPERANDS]> = operands
            .iter()
            .map(|operand| match operand {
                Operand::Tensor(tensor) => tensor.dtype().name(),
                Operand::Scalar(_) => "a number",
            })
            .collect();
        Error::DType(format!("{name}: {error}; the operands are {}; convert them with astype()", given.join(" and ")))
    })?;
    let out_dtype = if operation.tests { DType::Bool } else { dtype };

    let mut tensors: SmallVec<[Tensor; OPERANDS]> = SmallVec::new();
    for (i, operand) in operands.iter().enumerate() {
        if let Operand::Tensor(tensor) = operand {
            let view = tensor.with_layout(tensor.layout().broadcast_to(&shape, name)?);
            // A condition is not converted with the others: half of something is true, and no integer.
            let is_number = operation.operands.condition == Some(i) && view.dtype() != DType::Bool;
            tensors.push(if is_number { super::astype(&view, DType::Bool, false)? } else { view });
        }
    }
    let layouts: SmallVec<[&Layout; OPERANDS]> = tensors.iter().map(Tensor::layout).collect();
    let inputs: SmallVec<[&Tensor; OPERANDS]> = tensors.iter().collect();
    let layout = result_layout(&shape, &layouts);
    let output = Output::new(name, &device, layout, out_dtype, out, &inputs, Tensor::same_elements)?;
    if output.target.is_empty() {
        return output.finish();
    }
    let mut next = tensors.iter();
    let sources: SmallVec<[Source<'_>; OPERANDS]> = operands
        .iter()
        .enumerate()
        .map(|(i, operand)| match operand {
            Operand::Tensor(_) => Source::Tensor(next.next().expect("one for each tensor operand")),
            Operand::Scalar(scalar) if operation.operands.condition == Some(i) => Source::Scalar(*scalar, DType::Bool),
            Operand::Scalar(scalar) => Source::Scalar(beyond_range(*scalar, first.dtype(), operation.tests), dtype),
        })
        .collect();
    match &device {
        Device::Cpu(cpu) => {
            // Most calls are watched from outside already, but not those of Python's unary operators.
            let target = &output.target;
            let run = || on_cpu(*cpu, &(operation.loops)(), dtype, &sources, target);
            timed(name, inputs.iter().copied(), target, run);
        }
        Device::Gpu(_) => {
            let index = OPERATIONS.iter().position(|o| std::ptr::eq(o, operation)).expect("an operation in the table");
            launch(&operation.kernel(index as u64, dtype, formula), &sources, &output.target)?;
        }
    }
    output.finish()
}

/// A number that is compared with integers of a type too small for it lies beyond all of them.
fn beyond_range(scalar: Scalar, beside: DType, compares: bool) -> Scalar {
    if compares && scalar.check(beside, "").is_err() {
        return Scalar::Float(f64::INFINITY.copysign(scalar.as_f64()));
    }
    scalar
}

/// Runs loops on the CPU over all elements of `out`, computing in `dtype`.
pub(crate) fn on_cpu(device: CpuDevice, loops: &Loops, dtype: DType, sources: &[Source<'_>], out: &Tensor) {
    #![expect(unsafe_code, reason = "the loops trust that operands have the output's shape")]
    // A number is an element that every index shares.
    let still = Layout { shape: out.shape().into(), strides: SmallVec::from_elem(0, out.shape().len()), offset: 0 };
    let numbers: SmallVec<[[u8; 4]; OPERANDS]> = sources
        .iter()
        .map(|source| match source {
            Source::Scalar(scalar, dtype) => scalar.to_bytes(*dtype),
            Source::Tensor(_) => [0; 4],
        })
        .collect();
    let view = |i: usize| match sources[i] {
        Source::Tensor(tensor) => tensor.view(),
        Source::Scalar(_, dtype) => View { origin: numbers[i].as_ptr(), dtype, layout: &still },
    };
    // SAFETY: `apply` broadcast every operand to the output's shape, made or checked the output, and let an input lie in
    // the output only if both are the same elements.
    unsafe {
        match loops {
            Loops::One(loops) => cpu::unary(device, *loops, dtype, view(0), out.view_mut()),
            Loops::Two(loops) => cpu::binary(device, *loops, dtype, view(0), view(1), out.view_mut()),
            Loops::Three(loops) => cpu::ternary(device, *loops, dtype, [view(0), view(1), view(2)], out.view_mut()),
        }
    }
}

/// Whether nothing but padding follows a tensor without gaps in its buffer.
pub(crate) fn ends_buffer(tensor: &Tensor, buffer: &GpuBuffer) -> bool {
    (tensor.layout().offset as u64 + tensor.len() as u64) * tensor.dtype().size() as u64 >= buffer.used()
}

/// What the launch reads from: a tensor of the full shape, or a number in some type.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Tensor(&'a Tensor),
    Scalar(Scalar, DType),
}

impl<'a> Source<'a> {
    pub(crate) fn tensor(&self) -> Option<&'a Tensor> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            Self::Scalar(..) => None,
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Tensor(tensor) => tensor.dtype(),
            Self::Scalar(_, dtype) => *dtype,
        }
    }
}

/// What to launch: one formula of one operation.
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    /// Distinguishes formulas among all kernels of this template.
    pub(crate) index: u64,
    /// Moves bits: elements are seen as unsigned integers of their size.
    pub(crate) raw: bool,
    /// The WGSL type in which the formula computes.
    pub(crate) value: &'static str,
    /// A WGSL expression of `a`, `b` and `c`, of the output's type as it is unpacked.
    pub(crate) formula: String,
}

impl Operation {
    fn kernel(&self, index: u64, dtype: DType, formula: &str) -> Kernel {
        let zeros = "vec4<u32>(0u), vec4<u32>(1u)";
        Kernel {
            name: self.name,
            index,
            raw: false,
            value: native(dtype),
            formula: if self.tests { format!("select({zeros}, {formula})") } else { formula.into() },
        }
    }
}

/// The WGSL type that elements of this type are unpacked to.
pub(crate) const fn native(dtype: DType) -> &'static str {
    match dtype {
        DType::Float32 | DType::Float16 | DType::BFloat16 => "vec4<f32>",
        DType::Int32 | DType::Int8 => "vec4<i32>",
        DType::UInt32 | DType::UInt8 | DType::Bool => "vec4<u32>",
    }
}

/// The module that reads and writes elements of this type.
pub(crate) const fn dtype_module(dtype: DType) -> &'static str {
    match dtype {
        DType::Float32 => "dtype/float32",
        DType::Float16 => "dtype/float16",
        DType::BFloat16 => "dtype/bfloat16",
        DType::Int32 => "dtype/int32",
        DType::UInt32 => "dtype/uint32",
        DType::Int8 => "dtype/int8",
        DType::UInt8 => "dtype/uint8",
        DType::Bool => "dtype/bool",
    }
}

/// The module that moves the bits of elements of so many bytes.
pub(crate) const fn raw_module(size: usize) -> &'static str {
    match size {
        4 => "dtype/uint32",
        2 => "dtype/raw16",
        _ => "dtype/uint8",
    }
}

/// The module that stores four neighbours of a row of elements of so many bytes, perhaps as one word.
pub(crate) const fn vector_store_module(quads: bool, size: usize) -> &'static str {
    match (quads, size) {
        (true, _) => "access/vector_store_quads",
        (false, 4) => "access/vector_store_words",
        (false, _) => "access/vector_store_packed",
    }
}

shader_params! {
    /// The shader's parameters.
    struct Params {
        shape: [u32; 4],
        a_strides: [u32; 4],
        b_strides: [u32; 4],
        c_strides: [u32; 4],
        out_strides: [u32; 4],
        a_offset: u32,
        b_offset: u32,
        c_offset: u32,
        out_offset: u32,
        a_scalar: u32,
        b_scalar: u32,
        c_scalar: u32,
        count: u32,
    }
}

/// How the shader reaches an operand's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Contiguous,
    Strided,
    Scalar,
    InPlace,
}

impl Access {
    /// Whether the shader reads it from a binding of its own.
    pub(super) fn is_bound(self) -> bool {
        matches!(self, Self::Contiguous | Self::Strided)
    }

    /// The module that loads so, beside a result that is stored flat or not.
    pub(super) const fn module(self, store_flat: bool, size: usize) -> &'static str {
        match (self, store_flat, size) {
            (Self::Contiguous, ..) => "access/contiguous",
            (Self::Strided, ..) => "access/strided",
            (Self::Scalar, ..) => "access/scalar",
            (Self::InPlace, true, _) => "access/in_place",
            (Self::InPlace, false, 4) => "access/in_place_scattered",
            (Self::InPlace, false, _) => "access/in_place_scattered_packed",
        }
    }
}

/// The module that stores results of so many bytes.
pub(super) const fn store_module(flat: bool, size: usize) -> &'static str {
    match (flat, size) {
        (true, _) => "access/store_contiguous",
        (false, 4) => "access/store_scattered",
        (false, _) => "access/store_scattered_packed",
    }
}

/// All operands and, behind them, the output.
const ALL: usize = OPERANDS + 1;
const OUT: usize = OPERANDS;

/// A launch under way: what stays the same for all of its pieces.
struct Launch<'a> {
    kernel: &'a Kernel,
    context: &'a Context,
    sources: [Source<'a>; OPERANDS],
    out: &'a Tensor,
}

/// Records `kernel` over all elements of `out`, in as many dispatches as its bindings need.
pub(crate) fn launch(kernel: &Kernel, sources: &[Source<'_>], out: &Tensor) -> Result<()> {
    let context = out.gpu_buffer().context().clone();
    // A kernel of fewer operands has numbers for the others, which its formula does not mention.
    let none = Source::Scalar(Scalar::Int(0), DType::UInt32);
    let sources: [Source<'_>; OPERANDS] = std::array::from_fn(|i| sources.get(i).copied().unwrap_or(none));
    let still: Strides = SmallVec::from_elem(0, out.shape().len());
    // Walk the output in the order of its memory.
    let order = out.layout().dense_order().unwrap_or_else(|| (0..out.shape().len()).collect());
    let strides: [&[isize]; ALL] = std::array::from_fn(|i| match sources.get(i) {
        None => &out.layout().strides[..],
        Some(Source::Tensor(tensor)) => &tensor.layout().strides[..],
        Some(Source::Scalar(..)) => &still[..],
    });
    let offsets = std::array::from_fn(|i| match sources.get(i) {
        None => out.layout().offset,
        Some(Source::Tensor(tensor)) => tensor.layout().offset,
        Some(Source::Scalar(..)) => 0,
    });
    let piece = Piece::whole(out.shape(), &order, strides, offsets);
    Launch { kernel, context: &context, sources, out }.cut(&piece)
}

impl Launch<'_> {
    /// The type of operand `i`.
    fn dtype(&self, i: usize) -> DType {
        self.sources.get(i).map_or(self.out.dtype(), Source::dtype)
    }

    /// The buffer of operand `i`, if it has one.
    fn storage(&self, i: usize) -> Option<&Storage> {
        match (i, self.sources.get(i)) {
            (OUT, _) => Some(self.out.storage()),
            (_, Some(Source::Tensor(tensor))) => Some(tensor.storage()),
            _ => None,
        }
    }
}

impl Walk<ALL> for Launch<'_> {
    fn caps(&self) -> &Caps {
        self.context.caps()
    }

    fn size(&self, i: usize) -> Option<usize> {
        self.storage(i).map(|_| self.dtype(i).size())
    }

    fn dispatch(&self, piece: &Piece<ALL>, count: usize) -> Result<()> {
        let caps = self.context.caps();
        let flat = |i: usize| piece.is_flat(i);
        // The last store of four writes past the end unless there is only padding.
        let end = (piece.offsets[OUT] + count as isize) as u64 * self.out.dtype().size() as u64;
        let whole = count.is_multiple_of(4) || end >= self.out.gpu_buffer().used();
        if flat(OUT) && !whole && count > 4 && piece.shape.len() == 1 {
            return self.halves(piece, 0, count & !3);
        }
        let store_flat = flat(OUT) && whole;
        let access: [Access; OPERANDS] = std::array::from_fn(|i| match &self.sources[i] {
            Source::Scalar(..) => Access::Scalar,
            Source::Tensor(tensor)
                if std::ptr::eq(&raw const **tensor.gpu_buffer(), &raw const **self.out.gpu_buffer()) =>
            {
                Access::InPlace
            }
            Source::Tensor(_) if flat(i) => Access::Contiguous,
            Source::Tensor(_) => Access::Strided,
        });

        // On large pieces an invocation takes four groups, to have more loads under way.
        let quads: u32 = if count >= 1 << 18 { 4 } else { 1 };
        let workgroup = caps.workgroup_up_to(256);
        let dtypes: [DType; ALL] = std::array::from_fn(|i| self.dtype(i));
        let key = access.iter().map(|&access| (access as u64, 2)).chain(dtypes.iter().map(|&dtype| (dtype as u64, 4)));
        let key = key.chain([(u64::from(store_flat), 1), (u64::from(quads), 3)]);
        let key = KEY | key.fold(self.kernel.index, |key, (value, bits)| (key << bits) | value);
        let pipeline = self.context.pipeline(key, || self.kernel.spec(dtypes, access, store_flat, workgroup, quads))?;

        let mut bindings = [None; ALL];
        let mut offsets = [0; ALL];
        let mut bytes = 0;
        for i in 0..ALL {
            let Some(storage) = self.storage(i) else { continue };
            bytes += stored_bytes(&piece.shape, &piece.strides[i], dtypes[i].size());
            if i < OUT && !access[i].is_bound() {
                continue;
            }
            let (start, size) = piece.window(i, dtypes[i].size(), caps);
            bindings[i] = Some(Binding { storage, offset: start, size });
            let from_start = piece.offsets[i] - (start / dtypes[i].size() as u64) as isize;
            let in_quads = if i == OUT { store_flat } else { access[i] == Access::Contiguous };
            offsets[i] = if in_quads { from_start / 4 } else { from_start } as u32;
        }
        let scalar = |source: &Source<'_>| match source {
            Source::Scalar(scalar, dtype) => u32::from_le_bytes(scalar.to_bytes(*dtype)),
            Source::Tensor(_) => 0,
        };
        let params = Params {
            shape: lengths_param(&piece.shape),
            a_strides: strides_param(&piece.strides[0]),
            b_strides: strides_param(&piece.strides[1]),
            c_strides: strides_param(&piece.strides[2]),
            out_strides: strides_param(&piece.strides[OUT]),
            a_offset: offsets[0],
            b_offset: offsets[1],
            c_offset: offsets[2],
            out_offset: offsets[OUT],
            a_scalar: scalar(&self.sources[0]),
            b_scalar: scalar(&self.sources[1]),
            c_scalar: scalar(&self.sources[2]),
            count: count as u32,
        };
        self.context.record(&Dispatch {
            label: self.kernel.name,
            pipeline: &pipeline,
            bindings: &bindings,
            params: bytemuck::bytes_of(&params),
            groups: (count as u32).div_ceil(4).div_ceil(workgroup * quads),
            bytes,
            steps: count as u64,
        })
    }
}

/// Distinguishes this template's pipelines from those of other shaders.
const KEY: u64 = 1 << 56;

impl Kernel {
    fn spec(
        &self,
        dtypes: [DType; ALL],
        access: [Access; OPERANDS],
        store_flat: bool,
        workgroup: u32,
        quads: u32,
    ) -> Spec {
        let [a, b, c, out] = dtypes;
        let store = store_module(store_flat, out.size());
        let module = |dtype: DType| Slot::module(if self.raw { raw_module(dtype.size()) } else { dtype_module(dtype) });
        let (signed, math) = match self.value {
            "vec4<f32>" => (true, Slot::module("math/floats")),
            "vec4<i32>" => (true, Slot::module("math/integers")),
            _ => (false, Slot::module("math/integers")),
        };
        let function = format!("fn apply(a: Value, b: Value, c: Value) -> out_Native {{ return {}; }}", self.formula);
        Spec {
            label: self.name.into(),
            source: include_str!("../../shaders/elementwise.wgsl"),
            slots: vec![
                ("A", module(a)),
                ("A_ACCESS", Slot::module(access[0].module(store_flat, a.size()))),
                ("B", module(b)),
                ("B_ACCESS", Slot::module(access[1].module(store_flat, b.size()))),
                ("C", module(c)),
                ("C_ACCESS", Slot::module(access[2].module(store_flat, c.size()))),
                ("OUT", module(out)),
                ("OUT_ACCESS", Slot::module(store)),
                ("VALUE", Slot::Text(format!("alias Value = {};\nconst SIGNED = {signed};", self.value))),
                ("MATH", math),
                ("OPERATION", Slot::Text(function)),
            ],
            constants: vec![("WORKGROUP", f64::from(workgroup)), ("QUADS", f64::from(quads))],
            inputs: access.map(Access::is_bound).to_vec(),
            params: Params::LAYOUT,
        }
    }
}

/// Every operation with every type, each way of reaching operands with each type, and the conversions, for checking
/// shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let mut specs = Vec::new();
    let accesses = [Access::Contiguous, Access::Strided, Access::Scalar, Access::InPlace];
    for (index, operation) in OPERATIONS.iter().enumerate() {
        for dtype in DType::ALL {
            let Ok((computed, formula)) = operation.formula(dtype) else { continue };
            let kernel = operation.kernel(index as u64, computed, formula);
            let mut dtypes = [dtype; ALL];
            dtypes[OUT] = if operation.tests { DType::Bool } else { computed };
            if let Some(condition) = operation.operands.condition {
                dtypes[condition] = DType::Bool;
            }
            specs.push(kernel.spec(dtypes, [Access::Contiguous; OPERANDS], true, 64, 4));
            if !matches!(operation.name, "add" | "where") {
                continue;
            }
            for access in accesses.into_iter().flat_map(|a| accesses.map(|b| [a, b, a])) {
                // Only an operand of the output's own type can be the output.
                let access = std::array::from_fn(|i| match access[i] {
                    Access::InPlace if dtypes[i] != dtypes[OUT] => Access::Strided,
                    access => access,
                });
                specs.extend([true, false].map(|store_flat| kernel.spec(dtypes, access, store_flat, 64, 1)));
            }
        }
    }
    specs.extend(super::astype::all_kernels().into_iter().flat_map(|(kernel, from, to)| {
        let access = [Access::Strided, Access::Scalar, Access::Scalar];
        [true, false].map(|flat| kernel.spec([from, DType::UInt32, DType::UInt32, to], access, flat, 64, 1))
    }));
    specs
}
