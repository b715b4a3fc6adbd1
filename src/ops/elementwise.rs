//! Elementwise operations: `out[i] = f(a[i], b[i])` over shapes that broadcast.
//!
//! One mechanism serves them all. An operation is a line of the table below: its name and, for each kind of number that
//! it takes, its formula in WGSL and in Rust.

pub(crate) mod cpu;

use smallvec::SmallVec;

use super::{Operand, Output, result_layout};
use crate::cpu::simd::Simd;
use crate::cpu::{CpuDevice, View, math};
use crate::device::Device;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::gpu::align_up;
use crate::gpu::context::Context;
use crate::gpu::memory::GpuBuffer;
use crate::gpu::pipeline::{Spec, shader_params};
use crate::gpu::stream::{Binding, Dispatch};
use crate::gpu::wgsl::Slot;
use crate::shape::{Layout, Shape, Strides, broadcast_shapes, merge_axes};
use crate::tensor::Tensor;

/// One elementwise operation.
pub struct Operation {
    pub name: &'static str,
    /// The formulas in WGSL, for the kinds that the operation takes: on `vec4<f32>` for floats of every size, on
    /// `vec4<i32>` or `vec4<u32>` for integers, on zeros and ones in a `vec4<u32>` for bools.
    float: Option<&'static str>,
    int: Option<&'static str>,
    boolean: Option<&'static str>,
    /// The loops on the CPU.
    loops: fn() -> Loops,
}

/// The loops of an operation on the CPU, by its number of operands.
pub(crate) enum Loops {
    One(cpu::Loops<1>),
    Two(cpu::Loops<2>),
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

/// Makes the table of operations, and a function for each.
///
/// A line says whether the operation is `unary` or `binary`, its name, and the formula of each kind of number in WGSL
/// and in Rust. A kind that is left out is one that the operation does not take.
macro_rules! operations {
    ($($(#[$document:meta])* $arity:ident $name:ident:
        $(float $float_wgsl:literal |$($f:ident),+| $float:expr)?
        $(, int $int_wgsl:literal |$($i:ident),+| $int:expr)?
        $(, bool $bool_wgsl:literal |$($b:ident),+| $bool:expr)?;)+) => {
        /// Every elementwise operation.
        pub static OPERATIONS: &[Operation] = &[$(Operation {
            name: stringify!($name),
            float: [$(Some($float_wgsl),)? None][0],
            int: [$(Some($int_wgsl),)? None][0],
            boolean: [$(Some($bool_wgsl),)? None][0],
            loops: || {
                const COUNT: usize = operations!(@count $arity);
                struct This;
                impl cpu::Elementwise<COUNT> for This {
                    $(#[inline(always)]
                    fn float<V: Simd>([$($f),+]: [V; COUNT]) -> V { $float })?
                    $(#[inline(always)]
                    fn int([$($i),+]: [i32; COUNT]) -> i32 { $int })?
                    $(#[inline(always)]
                    fn boolean([$($b),+]: [bool; COUNT]) -> bool { $bool })?
                }
                cpu::Loops::of::<This>().into()
            },
        }),+];
        $(operations!(@function $arity $name $(#[$document])*);)+
    };
    (@count unary) => { 1 };
    (@count binary) => { 2 };
    (@function unary $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        pub fn $name(x: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
            apply_unary(stringify!($name), x, out)
        }
    };
    (@function binary $name:ident $(#[$document:meta])*) => {
        $(#[$document])*
        pub fn $name(a: Operand<'_>, b: Operand<'_>, out: Option<&Tensor>) -> Result<Tensor> {
            apply_binary(stringify!($name), a, b, out)
        }
    };
}

// A new operation is one line here, a binding, a stub and a test.
operations! {
    /// `a + b`; "or" on bools.
    binary add: float "a + b" |a, b| a.add(b), int "a + b" |a, b| a.wrapping_add(b), bool "a | b" |a, b| a | b;
    /// `a - b`.
    binary subtract: float "a - b" |a, b| a.sub(b), int "a - b" |a, b| a.wrapping_sub(b);
    /// `a * b`; "and" on bools.
    binary multiply: float "a * b" |a, b| a.mul(b), int "a * b" |a, b| a.wrapping_mul(b), bool "a & b" |a, b| a & b;
    /// `x / (1 + exp(-x))`.
    unary silu: float "a / (1.0 + exp(-a))" |a| math::silu(a);
}

fn apply_binary(name: &'static str, a: Operand<'_>, b: Operand<'_>, out: Option<&Tensor>) -> Result<Tensor> {
    let operation = find(name);
    let (dtype, shape, device) = match (a, b) {
        (Operand::Tensor(a), Operand::Tensor(b)) => {
            a.device().check_same(b.device(), name, ["x1", "x2"])?;
            let shape = broadcast_shapes(a.shape(), b.shape(), name, ["x1", "x2"])?;
            (a.dtype().promote(b.dtype(), name)?, shape, a.device())
        }
        (Operand::Tensor(t), Operand::Scalar(s)) | (Operand::Scalar(s), Operand::Tensor(t)) => {
            (s.promote(t.dtype(), name)?, t.shape().into(), t.device())
        }
        (Operand::Scalar(_), Operand::Scalar(_)) => {
            return Err(Error::Argument(format!("{name}: at least one operand must be a tensor or an array")));
        }
    };
    run(operation, device, &[a, b], &shape, dtype, out)
}

fn apply_unary(name: &'static str, x: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
    run(find(name), x.device(), &[x.into()], x.shape(), x.dtype(), out)
}

fn find(name: &str) -> &'static Operation {
    OPERATIONS.iter().find(|operation| operation.name == name).expect("an operation in the table")
}

impl Operation {
    /// The formula for a type, or why there is none.
    fn formula(&self, dtype: DType) -> Result<&'static str> {
        let (formula, kinds) = match dtype.kind() {
            Kind::Float => (self.float, "floats"),
            Kind::Int => (self.int, "integers"),
            Kind::Bool => (self.boolean, "bools"),
        };
        formula.ok_or_else(|| {
            let name = self.name;
            Error::DType(format!(
                "{name}: there is no {name} of {kinds}; convert the operand of dtype {dtype} with astype()"
            ))
        })
    }
}

/// Computes `operation` on operands that are known to broadcast to `shape`.
fn run(
    operation: &'static Operation,
    device: &Device,
    operands: &[Operand<'_>],
    shape: &[usize],
    dtype: DType,
    out: Option<&Tensor>,
) -> Result<Tensor> {
    let name = operation.name;
    let formula = operation.formula(dtype)?;
    let mut tensors: SmallVec<[Tensor; 2]> = SmallVec::new();
    for operand in operands {
        if let Operand::Tensor(tensor) = operand {
            tensors.push(tensor.with_layout(tensor.layout().broadcast_to(shape, name)?));
        }
    }
    let layouts: SmallVec<[&Layout; 2]> = tensors.iter().map(Tensor::layout).collect();
    let inputs: SmallVec<[&Tensor; 2]> = tensors.iter().collect();
    let output = Output::new(name, device, result_layout(shape, &layouts), dtype, out, &inputs, Tensor::same_elements)?;
    if output.target.is_empty() {
        return output.finish();
    }
    let mut next = tensors.iter();
    let sources: SmallVec<[Source<'_>; 2]> = operands
        .iter()
        .map(|operand| match operand {
            Operand::Tensor(_) => Source::Tensor(next.next().expect("one for each tensor operand")),
            Operand::Scalar(scalar) => Source::Scalar(*scalar, dtype),
        })
        .collect();
    match device {
        Device::Cpu(device) => on_cpu(*device, &(operation.loops)(), &sources, &output.target),
        Device::Gpu(_) => {
            let index = OPERATIONS.iter().position(|o| std::ptr::eq(o, operation)).expect("an operation in the table");
            let kernel =
                Kernel { name, index: index as u64, raw: false, value: native(dtype), formula: formula.into() };
            launch(&kernel, &sources, &output.target)?;
        }
    }
    output.finish()
}

/// Runs loops on the CPU over all elements of `out`.
pub(crate) fn on_cpu(device: CpuDevice, loops: &Loops, sources: &[Source<'_>], out: &Tensor) {
    #![expect(unsafe_code, reason = "the loops trust that operands have the output's shape")]
    // A number is an element that every index shares.
    let still = Layout { shape: out.shape().into(), strides: SmallVec::from_elem(0, out.shape().len()), offset: 0 };
    let numbers: SmallVec<[[u8; 4]; 2]> = sources
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
    // SAFETY: `run` and its like broadcast every operand to the output's shape, made or checked the output, and let an
    // input lie in the output only if both are the same elements.
    unsafe {
        match loops {
            Loops::One(loops) => cpu::unary(device, *loops, view(0), out.view_mut()),
            Loops::Two(loops) => cpu::binary(device, *loops, view(0), view(1), out.view_mut()),
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

impl Source<'_> {
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
    /// A WGSL expression of `a` and `b`, of the output's type as it is unpacked.
    pub(crate) formula: String,
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

shader_params! {
    /// The shader's parameters.
    struct Params {
        shape: [u32; 4],
        a_strides: [u32; 4],
        b_strides: [u32; 4],
        out_strides: [u32; 4],
        a_offset: u32,
        b_offset: u32,
        out_offset: u32,
        a_scalar: u32,
        b_scalar: u32,
        count: u32,
        unused: [u32; 2],
    }
}

/// How the shader reaches an operand's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Contiguous,
    Strided,
    Scalar,
    InPlace,
}

impl Access {
    /// Whether the shader reads it from a binding of its own.
    fn is_bound(self) -> bool {
        matches!(self, Self::Contiguous | Self::Strided)
    }

    /// The module that loads so, beside a result that is stored flat or not.
    const fn module(self, store_flat: bool, size: usize) -> &'static str {
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

/// A stretch of the work: what remains of the shape, and where each operand begins. Operands: a, b, out.
struct Piece {
    shape: Shape,
    strides: [Strides; 3],
    offsets: [isize; 3],
}

/// A launch under way: what stays the same for all of its pieces.
struct Launch<'a> {
    kernel: &'a Kernel,
    context: &'a Context,
    sources: [Source<'a>; 2],
    out: &'a Tensor,
}

/// The most axes that the shader counts through; pieces with more are cut.
const AXES: usize = 4;
/// The most elements of one dispatch, so that flat indices stay well inside 32 bits.
const MAX_COUNT: usize = 1 << 31;

/// Records `kernel` over all elements of `out`, in as many dispatches as its bindings need.
pub(crate) fn launch(kernel: &Kernel, sources: &[Source<'_>], out: &Tensor) -> Result<()> {
    let context = out.gpu_buffer().context().clone();
    // A kernel of one operand has a number for the other, which its formula does not mention.
    let second = sources.get(1).copied().unwrap_or(Source::Scalar(Scalar::Int(0), DType::UInt32));
    let sources = [sources[0], second];
    let still: Strides = SmallVec::from_elem(0, out.shape().len());
    let strides = |source: &Source<'_>| match source {
        Source::Tensor(tensor) => tensor.layout().strides.clone(),
        Source::Scalar(..) => still.clone(),
    };
    let offset = |source: &Source<'_>| match source {
        Source::Tensor(tensor) => tensor.layout().offset,
        Source::Scalar(..) => 0,
    };
    // Walk the output in the order of its memory.
    let order = out.layout().dense_order().unwrap_or_else(|| (0..out.shape().len()).collect());
    let sorted = |strides: &Strides| order.iter().map(|&axis| strides[axis]).collect::<Strides>();
    let shape: Shape = order.iter().map(|&axis| out.shape()[axis]).collect();
    let [a, b] = [sorted(&strides(&sources[0])), sorted(&strides(&sources[1]))];
    let (shape, strides) = merge_axes(&shape, &[&a, &b, &sorted(&out.layout().strides)]);
    let piece = Piece { shape, strides, offsets: [offset(&sources[0]), offset(&sources[1]), out.layout().offset] };
    Launch { kernel, context: &context, sources, out }.cut(&piece)
}

impl Launch<'_> {
    /// Bytes an element of operand `i`.
    fn size(&self, i: usize) -> usize {
        if i == 2 { self.out.dtype().size() } else { self.sources[i].dtype().size() }
    }

    /// The buffer of operand `i`, if it has one.
    fn buffer(&self, i: usize) -> Option<&GpuBuffer> {
        match (i, self.sources.get(i)) {
            (2, _) => Some(self.out.gpu_buffer()),
            (_, Some(Source::Tensor(tensor))) => Some(tensor.gpu_buffer()),
            _ => None,
        }
    }

    /// The stretch of its buffer that operand `i` needs bound for a piece: where it starts and how long it is.
    fn window(&self, piece: &Piece, i: usize) -> (u64, u64) {
        let layout = Layout { shape: piece.shape.clone(), strides: piece.strides[i].clone(), offset: piece.offsets[i] };
        let (low, high) = layout.reach().expect("a piece has elements");
        let size = self.size(i) as u64;
        let start = (low as u64 * size) & !(u64::from(self.context.caps().alignment) - 1);
        (start, align_up((high as u64 + 1) * size - start, 16))
    }

    /// Records a piece, or halves it along the axis that makes it too large and does the same with both halves.
    fn cut(&self, piece: &Piece) -> Result<()> {
        let binding = self.context.caps().binding;
        let too_large = (0..3).find(|&i| self.buffer(i).is_some() && self.window(piece, i).1 > binding);
        let count: usize = piece.shape.iter().product();
        let axis = match too_large {
            Some(i) => (0..piece.shape.len())
                .max_by_key(|&axis| piece.strides[i][axis].unsigned_abs() * (piece.shape[axis] - 1))
                .expect("a piece has axes"),
            // The shortest axis makes the fewest pieces.
            None if piece.shape.len() > AXES => {
                (0..piece.shape.len()).min_by_key(|&axis| piece.shape[axis]).expect("a piece has axes")
            }
            None if count > MAX_COUNT => 0,
            None => return self.dispatch(piece, count),
        };
        let length = piece.shape[axis];
        // Halves that begin at whole groups keep the operands aligned.
        let half = if length >= 128 { (length / 2).next_multiple_of(64) } else { length.div_ceil(2) };
        self.halves(piece, axis, half)
    }

    fn halves(&self, piece: &Piece, axis: usize, first: usize) -> Result<()> {
        let part = |from: usize, length: usize| {
            let mut shape = piece.shape.clone();
            shape[axis] = length;
            let offsets = std::array::from_fn(|i| piece.offsets[i] + piece.strides[i][axis] * from as isize);
            let [a, b, out] = &piece.strides;
            let (shape, strides) = merge_axes(&shape, &[a, b, out]);
            Piece { shape, strides, offsets }
        };
        self.cut(&part(0, first))?;
        self.cut(&part(first, piece.shape[axis] - first))
    }

    /// Records one dispatch. Everything fits.
    fn dispatch(&self, piece: &Piece, count: usize) -> Result<()> {
        let caps = self.context.caps();
        // Without gaps, in the order in which the piece is walked, and from a whole group of four on.
        let flat = |i: usize| {
            let layout = Layout { shape: piece.shape.clone(), strides: piece.strides[i].clone(), offset: 0 };
            piece.offsets[i] % 4 == 0 && layout.is_contiguous()
        };
        // The last store of four writes past the end unless there is only padding.
        let end = (piece.offsets[2] + count as isize) as u64 * self.size(2) as u64;
        let whole = count.is_multiple_of(4) || end >= self.out.gpu_buffer().used();
        if flat(2) && !whole && count > 4 && piece.shape.len() == 1 {
            return self.halves(piece, 0, count & !3);
        }
        let store_flat = flat(2) && whole;
        let access: [Access; 2] = std::array::from_fn(|i| match &self.sources[i] {
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
        let dtypes = [self.sources[0].dtype(), self.sources[1].dtype(), self.out.dtype()];
        let key = [
            (dtypes[0] as u64, 4),
            (dtypes[1] as u64, 4),
            (dtypes[2] as u64, 4),
            (access[0] as u64, 2),
            (access[1] as u64, 2),
            (u64::from(store_flat), 1),
            (u64::from(quads), 3),
        ]
        .iter()
        .fold(self.kernel.index, |key, (value, bits)| (key << bits) | value)
            | KEY;
        let pipeline = self.context.pipeline(key, || self.kernel.spec(dtypes, access, store_flat, workgroup, quads))?;

        let mut bindings = [None; 3];
        let mut offsets = [0; 3];
        let mut bytes = 0;
        for i in 0..3 {
            if i < 2 && !access[i].is_bound() {
                continue;
            }
            let Some(buffer) = self.buffer(i) else { continue };
            let (start, size) = self.window(piece, i);
            bindings[i] = Some(Binding { buffer, offset: start, size });
            bytes += size;
            let from_start = piece.offsets[i] - (start / self.size(i) as u64) as isize;
            let in_quads = if i == 2 { store_flat } else { access[i] == Access::Contiguous };
            offsets[i] = if in_quads { from_start / 4 } else { from_start } as u32;
        }
        let spread = |strides: &Strides| {
            let mut all = [0; AXES];
            for (to, &from) in all[AXES - strides.len()..].iter_mut().zip(strides) {
                *to = from as u32;
            }
            all
        };
        let mut shape = [1; AXES];
        for (to, &from) in shape[AXES - piece.shape.len()..].iter_mut().zip(&piece.shape) {
            *to = from as u32;
        }
        let scalar = |source: &Source<'_>| match source {
            Source::Scalar(scalar, dtype) => u32::from_le_bytes(scalar.to_bytes(*dtype)),
            Source::Tensor(_) => 0,
        };
        let params = Params {
            shape,
            a_strides: spread(&piece.strides[0]),
            b_strides: spread(&piece.strides[1]),
            out_strides: spread(&piece.strides[2]),
            a_offset: offsets[0],
            b_offset: offsets[1],
            out_offset: offsets[2],
            a_scalar: scalar(&self.sources[0]),
            b_scalar: scalar(&self.sources[1]),
            count: count as u32,
            unused: [0; 2],
        };
        self.context.record(&Dispatch {
            label: self.kernel.name,
            pipeline: &pipeline,
            bindings: &bindings,
            params: bytemuck::bytes_of(&params),
            groups: (count as u32).div_ceil(4).div_ceil(workgroup * quads),
            bytes,
        })
    }
}

/// Distinguishes this template's pipelines from those of other shaders.
const KEY: u64 = 1 << 56;

impl Kernel {
    fn spec(&self, [a, b, out]: [DType; 3], access: [Access; 2], store_flat: bool, workgroup: u32, quads: u32) -> Spec {
        let store = match (store_flat, out.size()) {
            (true, _) => "access/store_contiguous",
            (false, 4) => "access/store_scattered",
            (false, _) => "access/store_scattered_packed",
        };
        let module = |dtype: DType| {
            Slot::module(match (self.raw, dtype.size()) {
                (false, _) => dtype_module(dtype),
                (true, 4) => "dtype/uint32",
                (true, 2) => "dtype/raw16",
                (true, _) => "dtype/uint8",
            })
        };
        let function = format!(
            "alias Value = {};\nfn apply(a: Value, b: Value) -> out_Native {{ return {}; }}",
            self.value, self.formula
        );
        Spec {
            label: self.name,
            source: include_str!("../../shaders/elementwise.wgsl"),
            slots: vec![
                ("A", module(a)),
                ("A_ACCESS", Slot::module(access[0].module(store_flat, a.size()))),
                ("B", module(b)),
                ("B_ACCESS", Slot::module(access[1].module(store_flat, b.size()))),
                ("OUT", module(out)),
                ("OUT_ACCESS", Slot::module(store)),
                ("OPERATION", Slot::Text(function)),
            ],
            constants: vec![("WORKGROUP", f64::from(workgroup)), ("QUADS", f64::from(quads))],
            inputs: access.map(Access::is_bound).to_vec(),
            params: Params::LAYOUT,
        }
    }
}

/// Every variant of the template that can occur with an operation's own types, for checking shaders.
#[cfg(test)]
pub(crate) fn all_specs() -> Vec<Spec> {
    let mut specs = Vec::new();
    let accesses = [Access::Contiguous, Access::Strided, Access::Scalar, Access::InPlace];
    for operation in OPERATIONS {
        for dtype in DType::ALL {
            let Ok(formula) = operation.formula(dtype) else { continue };
            let kernel =
                Kernel { name: operation.name, index: 0, raw: false, value: native(dtype), formula: formula.into() };
            for a in accesses {
                for b in accesses {
                    for store_flat in [true, false] {
                        specs.push(kernel.spec([dtype; 3], [a, b], store_flat, 64, 4));
                    }
                }
            }
        }
    }
    specs.extend(super::astype::all_kernels().into_iter().flat_map(|(kernel, from, to)| {
        [true, false].map(|flat| kernel.spec([from, DType::UInt32, to], [Access::Strided, Access::Scalar], flat, 64, 1))
    }));
    specs
}
