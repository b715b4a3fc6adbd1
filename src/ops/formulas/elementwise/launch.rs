//! The launch of an elementwise kernel of a user's, on any device.

use std::fmt::Write as _;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{ElementwiseKernel, Number, VARIABLES, memory, refuse};
use crate::device::caps::Caps;
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::pipeline::{BindingKind, lengths_param, strides_param};
use crate::gpu::stream::{Binding, fold};
use crate::gpu::wgsl::{Slot, USERS, assemble, imported, set_apart};
use crate::kernel::Identity;
use crate::kernel::source::Source;
use crate::ops::elementwise::{Access, Source as From, dtype_module, store_module};
use crate::ops::pieces::{Piece, Walk};
use crate::ops::shaders::{Compiled, Runner, grounded, used};
use crate::shape::Strides;
use crate::tensor::{Storage, Tensor};

/// Lines have so many elements at least; groups of four serve shorter ones better.
const LINE: usize = 16;
/// Elements that an invocation computes of a line.
const STEPS: u32 = 64;

/// All variables and, behind them, the flat index, which steps through the elements as an operand does.
const ALL: usize = VARIABLES + 1;
const INDEX: usize = VARIABLES;

/// What distinguishes the shaders of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    inputs: SmallVec<[Input; 4]>,
    outputs: SmallVec<[Stored; 2]>,
    workgroup: u32,
    course: Course,
}

/// What an invocation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Course {
    /// So many groups of four elements that follow each other.
    Quads(u32),
    /// Single elements along the last axis, [`STEPS`] of them. All tensors have words for elements.
    Lines,
}

/// The modules that lead through the elements: by groups of four, by lines.
pub(crate) const WALKS: [&str; 2] = ["formula/quads", "formula/lines"];

/// How an input is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Input {
    dtype: DType,
    /// What the formula sees.
    number: Number,
    access: Access,
    /// Which of the outputs it is, where it is one.
    output: usize,
    /// Whether it is the same all along the last axis.
    still: bool,
}

/// How an output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stored {
    dtype: DType,
    flat: bool,
}

/// A launch under way: what stays the same for all of its pieces.
struct Formula<'a> {
    kernel: &'a ElementwiseKernel,
    runner: &'a Runner,
    sources: &'a [From<'a>],
    numbers: &'a [Number],
    outputs: &'a [&'a Tensor],
}

/// Runs the kernel over all elements of its outputs, in as many dispatches as its bindings need. `numbers` are the
/// types that the formula sees.
pub(super) fn launch(
    kernel: &ElementwiseKernel,
    sources: &[From<'_>],
    numbers: &[Number],
    outputs: &[&Tensor],
) -> Result<()> {
    let own: SmallVec<[Tensor; 2]> = outputs.iter().map(|output| grounded(output)).collect();
    let outputs: &SmallVec<[&Tensor; 2]> = &own.iter().collect();
    let own: SmallVec<[Option<Tensor>; 4]> = sources
        .iter()
        .map(|source| match source {
            From::Tensor(tensor) => Some(grounded(tensor)),
            From::Scalar(..) => None,
        })
        .collect();
    let sources: &SmallVec<[From<'_>; 4]> =
        &sources.iter().zip(&own).map(|(source, tensor)| tensor.as_ref().map_or(*source, From::Tensor)).collect();
    let first = outputs[0];
    let runner = &Runner::of(first);
    let shape = first.shape();
    let still: Strides = SmallVec::from_elem(0, shape.len());
    let mut steps = still.clone();
    if kernel.indexed {
        let mut step = 1;
        for (to, &length) in steps.iter_mut().zip(shape).rev() {
            *to = step;
            step *= length as isize;
        }
    }
    let inputs = sources.len();
    let tensor = |i: usize| match sources.get(i) {
        Some(From::Tensor(tensor)) => Some(*tensor),
        Some(From::Scalar(..)) => None,
        None => outputs.get(i - inputs).copied(),
    };
    let strides: [&[isize]; ALL] = std::array::from_fn(|i| match tensor(i) {
        Some(tensor) => &tensor.layout().strides[..],
        None if i == INDEX => &steps[..],
        None => &still[..],
    });
    let offsets = std::array::from_fn(|i| tensor(i).map_or(0, |tensor| tensor.layout().offset));
    // Walk the first output in the order of its memory.
    let order = first.layout().dense_order().unwrap_or_else(|| (0..shape.len()).collect());
    let piece = Piece::whole(shape, &order, strides, offsets);
    Formula { kernel, runner, sources, numbers, outputs }.cut(&piece)
}

impl Formula<'_> {
    /// The tensor that variable `i` is, if it is one.
    fn tensor(&self, i: usize) -> Option<&Tensor> {
        match self.sources.get(i) {
            Some(From::Tensor(tensor)) => Some(tensor),
            Some(From::Scalar(..)) => None,
            None => self.outputs.get(i - self.sources.len()).copied(),
        }
    }

    /// The output that lies in the same buffer, which a GPU does not bind twice.
    fn output(&self, tensor: &Tensor) -> Option<usize> {
        let Storage::Gpu(buffer) = tensor.storage() else { return None };
        self.outputs.iter().position(|output| Arc::ptr_eq(output.gpu_buffer(), buffer))
    }

    fn compiled(&self, variant: &Variant) -> Result<Compiled> {
        let mut assembled = None;
        let identity = self.kernel.identity(variant, || {
            let source = variant.source(self.kernel, self.numbers)?;
            let identity = Identity::new(&source.text, "main", &[], false);
            assembled = Some(source);
            Ok(identity)
        })?;
        self.runner.kernel(identity, &self.kernel.name, || {
            let source = match assembled {
                Some(source) => source,
                None => variant.source(self.kernel, self.numbers)?,
            };
            let kinds = variant.kinds();
            if let Runner::Gpu(context) = self.runner {
                let most = context.limits().max_storage_buffers_per_shader_stage as usize;
                if kinds.len() - 1 > most {
                    let message = format!(
                        "it binds {} tensors, but {} takes at most {most}; put some together",
                        kinds.len() - 1,
                        context.device.id
                    );
                    return Err(refuse(&self.kernel.name, message));
                }
            }
            Ok((source, kinds))
        })
    }
}

impl Walk<ALL> for Formula<'_> {
    fn caps(&self) -> &Caps {
        self.runner.caps()
    }

    fn size(&self, i: usize) -> Option<usize> {
        if i == INDEX { None } else { self.tensor(i).map(|tensor| tensor.dtype().size()) }
    }

    fn dispatch(&self, piece: &Piece<ALL>, count: usize) -> Result<()> {
        let caps = self.runner.caps();
        let workgroup = caps.workgroup_up_to(256);
        if self.has_lines(piece) {
            let variant = self.variant(piece, workgroup, Course::Lines, |i| last_stride(piece, i) == 1);
            let columns = *piece.shape.last().unwrap_or(&1);
            let stretches = columns.div_ceil((workgroup * STEPS) as usize);
            return self.dispatch_groups(piece, count, &variant, (count / columns * stretches) as u32);
        }
        let inputs = self.sources.len();
        let flat: SmallVec<[bool; 2]> = (0..self.outputs.len()).map(|i| piece.is_flat(inputs + i)).collect();
        // The last store of four writes past the end unless there is only padding.
        let whole = |i: usize| {
            let tensor = self.outputs[i];
            let end = (piece.offsets[inputs + i] + count as isize) as u64 * tensor.dtype().size() as u64;
            count.is_multiple_of(4) || end >= used(tensor)
        };
        let some_rest = (0..self.outputs.len()).any(|i| flat[i] && !whole(i));
        if some_rest && count > 4 && piece.shape.len() == 1 {
            return self.halves(piece, 0, count & !3);
        }
        // On large pieces an invocation takes four groups, to have more loads under way.
        let quads: u32 = if count >= 1 << 18 { 4 } else { 1 };
        let is_flat = |i: usize| if i < inputs { piece.is_flat(i) } else { flat[i - inputs] && whole(i - inputs) };
        let variant = self.variant(piece, workgroup, Course::Quads(quads), is_flat);
        self.dispatch_groups(piece, count, &variant, (count as u32).div_ceil(4).div_ceil(workgroup * quads))
    }
}

/// How far apart operand `i` has the elements along the last axis.
fn last_stride(piece: &Piece<ALL>, i: usize) -> isize {
    piece.strides[i].last().copied().unwrap_or(0)
}

impl Formula<'_> {
    /// Whether a piece is gone through by lines: on the CPU, unless that needs words to be taken apart, or they are short.
    fn has_lines(&self, piece: &Piece<ALL>) -> bool {
        let words = |i: usize| self.tensor(i).is_none_or(|tensor| tensor.dtype().size() == 4);
        matches!(self.runner, Runner::Cpu(_))
            && piece.shape.last().is_some_and(|columns| *columns >= LINE)
            && (0..INDEX).all(words)
    }

    /// The shader for a piece, where `is_flat` says which variables have their elements side by side.
    fn variant(&self, piece: &Piece<ALL>, workgroup: u32, course: Course, is_flat: impl Fn(usize) -> bool) -> Variant {
        let input = |i: usize| {
            let (access, output) = match self.sources[i] {
                From::Scalar(..) => (Access::Scalar, 0),
                From::Tensor(tensor) => match self.output(tensor) {
                    Some(output) => (Access::InPlace, output),
                    None if is_flat(i) => (Access::Contiguous, 0),
                    None => (Access::Strided, 0),
                },
            };
            let still = matches!(course, Course::Lines) && last_stride(piece, i) == 0;
            Input { dtype: self.sources[i].dtype(), number: self.numbers[i], access, output, still }
        };
        let inputs = self.sources.len();
        let stored = |i: usize| Stored { dtype: self.outputs[i].dtype(), flat: is_flat(inputs + i) };
        Variant {
            inputs: (0..inputs).map(input).collect(),
            outputs: (0..self.outputs.len()).map(stored).collect(),
            workgroup,
            course,
        }
    }

    /// Launches a shader over a piece, in so many workgroups.
    fn dispatch_groups(&self, piece: &Piece<ALL>, count: usize, variant: &Variant, groups: u32) -> Result<()> {
        let caps = self.runner.caps();
        let compiled = self.compiled(variant)?;
        let in_quads = matches!(variant.course, Course::Quads(_));
        let inputs = self.sources.len();
        let variables = inputs + self.outputs.len();
        let mut params: SmallVec<[u32; 64]> = SmallVec::new();
        params.extend(lengths_param::<4>(&piece.shape));
        params.extend(strides_param::<4>(&piece.strides[INDEX]));
        for strides in &piece.strides[..variables] {
            params.extend(strides_param::<4>(strides));
        }
        let mut bindings: SmallVec<[Binding<'_>; 4]> = SmallVec::new();
        let mut bytes = 0;
        for i in 0..variables {
            let (bound, is_flat) = match variant.inputs.get(i) {
                Some(input) => (input.access.is_bound(), input.access == Access::Contiguous),
                None => (true, variant.outputs[i - inputs].flat),
            };
            let (mut offset, mut scalar) = (0, 0);
            if let (true, Some(tensor)) = (bound, self.tensor(i)) {
                let element = tensor.dtype().size();
                let (start, size) = piece.window(i, element, caps);
                bindings.push(Binding { storage: tensor.storage(), offset: start, size });
                bytes += size;
                let from_start = piece.offsets[i] - (start / element as u64) as isize;
                offset = if is_flat && in_quads { from_start / 4 } else { from_start } as u32;
            } else if let Some(From::Scalar(number, dtype)) = self.sources.get(i) {
                scalar = u32::from_le_bytes(number.to_bytes(*dtype));
            }
            params.extend([offset, scalar]);
        }
        params.extend([piece.offsets[INDEX] as u32, count as u32]);
        params.resize(params.len().next_multiple_of(4), 0);
        let (x, y) = fold(groups, caps.groups);
        let params = bytemuck::cast_slice(&params);
        self.runner.launch(&compiled, &self.kernel.name, params, &bindings, [x, y, 1], bytes)
    }
}

impl Variant {
    /// What is bound, in order: the parameters, the inputs that are read from bindings of their own, the outputs.
    fn kinds(&self) -> Vec<BindingKind> {
        let read = self.inputs.iter().filter(|input| input.access.is_bound()).map(|_| BindingKind::Read);
        let written = self.outputs.iter().map(|_| BindingKind::ReadWrite);
        std::iter::once(BindingKind::Uniform).chain(read).chain(written).collect()
    }

    /// The whole shader.
    fn source(&self, kernel: &ElementwiseKernel, numbers: &[Number]) -> Result<Source> {
        let outputs = &numbers[self.inputs.len()..];
        let (compute, walk, times) = match self.course {
            Course::Quads(n) => (self.quad(kernel.indexed, outputs), WALKS[0], format!("QUADS: u32 = {n}")),
            Course::Lines => (self.line(kernel.indexed), WALKS[1], format!("STEPS: u32 = {STEPS}")),
        };
        let slots = [
            ("VARIABLES", Slot::Text((self.inputs.len() + self.outputs.len()).to_string())),
            ("ACCESS", Slot::Text(self.access()?)),
            ("SIZES", Slot::Text(format!("const WORKGROUP: u32 = {}u;\nconst {times}u;", self.workgroup))),
            ("USERS", Slot::Text(USERS.into())),
            ("COMPUTE", Slot::Text(compute)),
            ("WALK", Slot::module(walk)),
        ];
        let text = assemble(include_str!("../../../../shaders/formula.wgsl"), &slots, true)?;
        kernel.source(&set_apart(&text).replace(USERS, &kernel.template(numbers)), numbers)
    }

    /// The modules of each variable, and the bindings.
    fn access(&self) -> Result<String> {
        let mut text = String::new();
        let mut bindings = 0;
        let mut variable = |dtype: DType, module: &str, output: usize, i: usize, access: Option<&str>| -> Result<()> {
            text.push_str(&imported(&format!("{} as v_{i}", dtype_module(dtype)), &[])?);
            // A module of an input that is an output reads that one.
            match self.course {
                Course::Quads(_) => {
                    let module = imported(&format!("{module} as v_{i}"), &[])?;
                    text.push_str(&module.replace("out_", &format!("v_{output}_")));
                }
                Course::Lines => _ = writeln!(text, "alias v_{i}_Stored = u32;"),
            }
            if let Some(access) = access {
                bindings += 1;
                let _ = writeln!(
                    text,
                    "@group(0) @binding({bindings}) var<storage, {access}> v_{i}_data: array<v_{i}_Stored>;"
                );
            }
            Ok(())
        };
        for (i, input) in self.inputs.iter().enumerate() {
            let flat = input.access == Access::InPlace && self.outputs[input.output].flat;
            let module = input.access.module(flat, input.dtype.size());
            let access = input.access.is_bound().then_some("read");
            variable(input.dtype, module, self.inputs.len() + input.output, i, access)?;
        }
        for (i, output) in self.outputs.iter().enumerate() {
            let module = store_module(output.flat, output.dtype.size());
            variable(output.dtype, module, 0, self.inputs.len() + i, Some("read_write"))?;
        }
        Ok(text)
    }

    /// The function that computes four neighbouring results. The formula sees no element that is not there, since a loop
    /// over it might not end.
    fn quad(&self, indexed: bool, outputs: &[Number]) -> String {
        let inputs = self.inputs.len();
        let mut text = String::from(
            "fn compute(quad: u32) {\n    let four = four_coordinates(quad * 4u, params.count, params.shape);\n    \
             let left = params.count - quad * 4u;\n",
        );
        for i in 0..inputs {
            let _ = writeln!(text, "    let from_{i} = v_{i}_load(quad, four);");
        }
        for (i, number) in outputs.iter().enumerate() {
            let _ = writeln!(text, "    var to_{i} = vec4<{}>();", memory(*number).name());
        }
        for (n, lane) in ["x", "y", "z", "w"].into_iter().enumerate() {
            let _ = writeln!(text, "    if (left > {n}u) {{\n        let results = gpukern_user_element(");
            for (i, input) in self.inputs.iter().enumerate() {
                let _ = writeln!(text, "            {},", input.number.unpacked(&format!("from_{i}.{lane}")));
            }
            let index =
                if indexed { &format!("params.index_offset + place(four.{lane}, params.index_strides)") } else { "0u" };
            let _ = writeln!(text, "            {index},\n        );");
            for i in 0..outputs.len() {
                let _ = writeln!(text, "        to_{i}.{lane} = results.gpukern_{i};");
            }
            text.push_str("    }\n");
        }
        for i in 0..outputs.len() {
            let _ = writeln!(text, "    v_{}_store(quad, four, to_{i});", inputs + i);
        }
        text + "}\n"
    }

    /// The function that computes a stretch of a line, from a column on.
    fn line(&self, indexed: bool) -> String {
        let inputs = self.inputs.len();
        let mut text = String::from("fn compute(line: vec4<u32>, first: u32, lane: u32) {\n");
        let bound = |input: &Input| input.access.is_bound();
        let starting = (0..inputs).filter(|&i| bound(&self.inputs[i])).chain(inputs..inputs + self.outputs.len());
        for i in starting {
            let _ = writeln!(text, "    let start_{i} = params.v_{i}_offset + place(line, params.v_{i}_strides);");
        }
        text.push_str(
            "    let stop = min(first + WORKGROUP * STEPS, params.shape.w);\n    \
             for (var from_column = first; from_column < stop; from_column += WORKGROUP) {\n        \
             let column = from_column + lane;\n        \
             if (column < stop) {\n            let results = gpukern_user_element(\n",
        );
        let place = |i: usize, flat: bool| {
            let step = if flat { String::new() } else { format!(" * params.v_{i}_strides.w") };
            format!("v_{i}_data[start_{i} + column{step}]")
        };
        for (i, input) in self.inputs.iter().enumerate() {
            let word = match input.access {
                Access::Scalar => format!("params.v_{i}_scalar"),
                _ if input.still => format!("v_{i}_data[start_{i}]"),
                access => place(i, access == Access::Contiguous),
            };
            let _ = writeln!(text, "                {},", input.number.unpacked(&format!("v_{i}_element({word}, 0u)")));
        }
        let index = "params.index_offset + place(line, params.index_strides) + column * params.index_strides.w";
        let _ = writeln!(text, "                {},\n            );", if indexed { index } else { "0u" });
        for (i, output) in self.outputs.iter().enumerate() {
            let to = place(inputs + i, output.flat);
            let _ = writeln!(text, "            {to} = v_{}_bits(results.gpukern_{i});", inputs + i);
        }
        text + "        }\n    }\n}\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::compile::parse;

    /// Every dtype and every way to reach an operand and a result, without a GPU.
    #[test]
    fn every_variant_is_valid() {
        let kernel = ElementwiseKernel::new("k", "x, a", "z, n: int8", "z = select(x, a, i == 0u); n = 1;", "");
        let kernel = kernel.unwrap_or_else(|error| panic!("{error}"));
        for dtype in DType::ALL {
            let number = Number::of(dtype);
            for (access, flat) in [
                (Access::Contiguous, true),
                (Access::Strided, false),
                (Access::Scalar, true),
                (Access::InPlace, true),
                (Access::InPlace, false),
            ] {
                let is_line = dtype.size() == 4 && access != Access::InPlace;
                let of_line = is_line.then_some(Course::Lines);
                for course in [Course::Quads(4)].into_iter().chain(of_line) {
                    let input = |access| Input { dtype, number, access, output: 0, still: !flat };
                    let other = if is_line { DType::Int32 } else { DType::Int8 };
                    let variant = Variant {
                        inputs: [input(access), input(Access::Scalar)].into_iter().collect(),
                        outputs: [Stored { dtype, flat }, Stored { dtype: other, flat: !flat }].into_iter().collect(),
                        workgroup: 64,
                        course,
                    };
                    let source = variant.source(&kernel, &[number, number, number, Number::I32]).unwrap();
                    let (module, _) = parse(&source).unwrap_or_else(|error| panic!("{error}\n{}", source.text));
                    let bound =
                        module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some()).count();
                    assert_eq!(bound, variant.kinds().len());
                    let params = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("gpukern_Params"));
                    let Some(naga::TypeInner::Struct { members, .. }) = params.map(|(_, ty)| &ty.inner) else {
                        panic!("no struct of parameters");
                    };
                    // As `dispatch` writes them: 4 variables.
                    let offset = |name: &str| {
                        let member = members.iter().find(|member| member.name.as_deref() == Some(name));
                        member.unwrap_or_else(|| panic!("no {name}")).offset
                    };
                    assert_eq!(offset("v_3_strides"), 16 * 5);
                    assert_eq!(offset("v_1_offset"), 16 * 6 + 8);
                    assert_eq!(offset("count"), 16 * 6 + 8 * 4 + 4);
                }
            }
        }
    }
}
