//! Guards in kernels for GL, whose language leaves to drivers what WGSL defines: places outside of variables, integers
//! divided by zero, the rest of negative ones, bits beyond those that there are, and floats that an integer cannot hold.
//! naga puts such guards into what it writes for other backends, and hardly any for GL.

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{
    Arena, ArraySize, AtomicFunction, BinaryOperator, Block, Expression, Function, GatherMode, Handle, Literal,
    MathFunction, Module, Range, Scalar, ScalarKind, Span, Statement, TypeInner, VectorSize,
};
use smallvec::{SmallVec, smallvec};

/// The module with guards. A trusted one gets those alone without which naga's GLSL is wrong.
pub(crate) fn guarded(module: &Module, info: &ModuleInfo, trusted: bool) -> Module {
    let mut guarded = module.clone();
    for (handle, function) in guarded.functions.iter_mut() {
        guard(module, &info[handle], trusted, function);
    }
    for (i, entry) in guarded.entry_points.iter_mut().enumerate() {
        guard(module, info.get_entry_point(i), trusted, &mut entry.function);
    }
    guarded
}

/// Leaves functions alone that use what kernels cannot have: images, and rays.
fn guard(module: &Module, info: &FunctionInfo, trusted: bool, function: &mut Function) {
    let old = &function.expressions;
    let mut guards = Guards { module, info, trusted, old, new: Arena::new(), places: Vec::with_capacity(old.len()) };
    for (handle, expression) in old.iter() {
        let first = guards.new.len() as u32;
        let Some(handle) = guards.expression(expression, old.get_span(handle)) else { return };
        guards.places.push(Place { handle, first });
    }
    let Some(body) = guards.block(function.body.clone()) else { return };
    let Guards { new, places, .. } = guards;
    let moved = |handle: Handle<Expression>| places[handle.index()].handle;
    for (_, variable) in function.local_variables.iter_mut() {
        variable.init = variable.init.map(moved);
    }
    let names = std::mem::take(&mut function.named_expressions);
    function.named_expressions = names.into_iter().map(|(handle, name)| (moved(handle), name)).collect();
    function.body = body;
    function.expressions = new;
}

/// Where an expression has gone, and the number of the first one that was added for it.
struct Place {
    handle: Handle<Expression>,
    first: u32,
}

/// The expressions of a function on their way into a new arena, in which guards stand before what they guard.
struct Guards<'a> {
    module: &'a Module,
    info: &'a FunctionInfo,
    trusted: bool,
    old: &'a Arena<Expression>,
    new: Arena<Expression>,
    places: Vec<Place>,
}

impl Guards<'_> {
    fn at(&self, old: Handle<Expression>) -> Handle<Expression> {
        self.places[old.index()].handle
    }

    fn add(&mut self, expression: Expression) -> Handle<Expression> {
        self.new.append(expression, Span::UNDEFINED)
    }

    fn binary(
        &mut self,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Handle<Expression> {
        self.add(Expression::Binary { op, left, right })
    }

    /// 1 where two integers are equal, and 0 elsewhere. Selecting by vectors takes a later GLSL.
    fn equal(&mut self, left: Handle<Expression>, right: Handle<Expression>, kind: ScalarKind) -> Handle<Expression> {
        let expr = self.binary(BinaryOperator::Equal, left, right);
        self.add(Expression::As { expr, kind, convert: Some(4) })
    }

    fn smaller(&mut self, arg: Handle<Expression>, other: Handle<Expression>) -> Handle<Expression> {
        self.add(Expression::Math { fun: MathFunction::Min, arg, arg1: Some(other), arg2: None, arg3: None })
    }

    /// A number, as often as it is wanted.
    fn constant(&mut self, size: Option<VectorSize>, literal: Literal) -> Handle<Expression> {
        let value = self.add(Expression::Literal(literal));
        size.map_or(value, |size| self.add(Expression::Splat { size, value }))
    }

    /// What numbers an expression of the function is, and how many, if it is numbers.
    fn numbers(&self, old: Handle<Expression>) -> Option<(Option<VectorSize>, Scalar)> {
        match *self.info[old].ty.inner_with(&self.module.types) {
            TypeInner::Scalar(scalar) => Some((None, scalar)),
            TypeInner::Vector { size, scalar } => Some((Some(size), scalar)),
            _ => None,
        }
    }

    /// The last place in what an index goes into.
    fn last(&mut self, old: Handle<Expression>) -> Option<Handle<Expression>> {
        let types = &self.module.types;
        let inner = match self.info[old].ty.inner_with(types) {
            TypeInner::Pointer { base, .. } => &types[*base].inner,
            inner => inner,
        };
        let length = match *inner {
            TypeInner::Array { size: ArraySize::Constant(length), .. } => length.get(),
            TypeInner::Vector { size, .. } | TypeInner::ValuePointer { size: Some(size), .. } => size as u32,
            TypeInner::Matrix { columns, .. } => columns as u32,
            TypeInner::Array { size: ArraySize::Dynamic, .. } => {
                let length = self.add(Expression::ArrayLength(self.at(old)));
                let one = self.constant(None, Literal::U32(1));
                return Some(self.binary(BinaryOperator::Subtract, length, one));
            }
            _ => return None,
        };
        Some(self.constant(None, Literal::U32(length - 1)))
    }

    /// Adds an expression, with guards where it needs some.
    fn expression(&mut self, old: &Expression, span: Span) -> Option<Handle<Expression>> {
        let guarded = match *old {
            Expression::Math { fun: MathFunction::Abs, arg, .. } => self.absolute(arg),
            Expression::Math { fun: fun @ (MathFunction::Pack4xU8 | MathFunction::Pack4xU8Clamp), arg, .. } => {
                Some(self.packed(fun, arg))
            }
            _ if self.trusted => None,
            Expression::Access { base, index } => self.access(base, index),
            Expression::AccessIndex { base, index: 1.. } => self.place(base, old),
            Expression::Binary { op: op @ (BinaryOperator::Divide | BinaryOperator::Modulo), left, right } => {
                self.quotient(op, left, right)
            }
            Expression::Binary { op: op @ (BinaryOperator::ShiftLeft | BinaryOperator::ShiftRight), left, right } => {
                self.shift(op, left, right)
            }
            Expression::As { expr, kind, convert: Some(4) } => self.conversion(expr, kind),
            Expression::Math {
                fun: fun @ MathFunction::ExtractBits,
                arg,
                arg1: Some(first),
                arg2: Some(count),
                ..
            } => {
                let [arg1, arg2] = self.field(first, count).map(Some);
                Some(Expression::Math { fun, arg: self.at(arg), arg1, arg2, arg3: None })
            }
            Expression::Math {
                fun: fun @ MathFunction::InsertBits,
                arg,
                arg1: Some(bits),
                arg2: Some(first),
                arg3: Some(count),
            } => {
                let [arg2, arg3] = self.field(first, count).map(Some);
                Some(Expression::Math { fun, arg: self.at(arg), arg1: Some(self.at(bits)), arg2, arg3 })
            }
            _ => None,
        };
        let expression = if let Some(expression) = guarded {
            expression
        } else {
            let mut expression = old.clone();
            for operand in operands(&mut expression)? {
                *operand = self.at(*operand);
            }
            expression
        };
        Some(self.new.append(expression, span))
    }

    /// The last place there is, for those behind it.
    fn access(&mut self, base: Handle<Expression>, index: Handle<Expression>) -> Option<Expression> {
        let (_, scalar) = self.numbers(index)?;
        let last = self.last(base)?;
        let mut arg = self.at(index);
        if scalar.kind == ScalarKind::Sint {
            // Negative ones are behind it, too.
            arg = self.add(Expression::As { expr: arg, kind: ScalarKind::Uint, convert: None });
        }
        let index = self.smaller(arg, last);
        Some(Expression::Access { base: self.at(base), index })
    }

    /// A place in an array of any length, by a number that is none of the function's expressions.
    fn place(&mut self, base: Handle<Expression>, old: &Expression) -> Option<Expression> {
        let types = &self.module.types;
        let (TypeInner::Pointer { base: ty, .. }, &Expression::AccessIndex { index, .. }) =
            (self.info[base].ty.inner_with(types), old)
        else {
            return None;
        };
        let TypeInner::Array { size: ArraySize::Dynamic, .. } = types[*ty].inner else { return None };
        let last = self.last(base)?;
        let index = self.constant(None, Literal::U32(index));
        let index = self.smaller(index, last);
        Some(Expression::Access { base: self.at(base), index })
    }

    /// As if divided by 1 where there is no quotient. The rest has the sign of the dividend.
    fn quotient(
        &mut self,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Option<Expression> {
        let (size, scalar) = self.numbers(left).filter(|numbers| self.numbers(right) == Some(*numbers))?;
        let number: fn(i32) -> Literal = match scalar {
            Scalar::I32 => Literal::I32,
            Scalar::U32 => |number| Literal::U32(number.cast_unsigned()),
            _ => return None,
        };
        let signed = scalar == Scalar::I32;
        let harmless = matches!(self.old[right], Expression::Literal(Literal::U32(1..) | Literal::I32(..=-2 | 1..)));
        let (left, mut right) = (self.at(left), self.at(right));
        if !harmless {
            let zero = self.constant(size, number(0));
            let is_zero = self.equal(right, zero, scalar.kind);
            if signed {
                let [least, minus_one, two] = [i32::MIN, -1, 2].map(|value| self.constant(size, number(value)));
                let is_least = self.equal(left, least, scalar.kind);
                let is_minus_one = self.equal(right, minus_one, scalar.kind);
                let overflows = self.binary(BinaryOperator::And, is_least, is_minus_one);
                let more = self.binary(BinaryOperator::Multiply, overflows, two);
                right = self.binary(BinaryOperator::Add, right, more);
            }
            right = self.binary(BinaryOperator::Add, right, is_zero);
        }
        if op == BinaryOperator::Divide || !signed {
            return Some(Expression::Binary { op, left, right });
        }
        let quotient = self.binary(BinaryOperator::Divide, left, right);
        let right = self.binary(BinaryOperator::Multiply, quotient, right);
        Some(Expression::Binary { op: BinaryOperator::Subtract, left, right })
    }

    /// By the lowest five bits.
    fn shift(&mut self, op: BinaryOperator, left: Handle<Expression>, right: Handle<Expression>) -> Option<Expression> {
        let (size, scalar) = self.numbers(right)?;
        if scalar != Scalar::U32 || matches!(self.old[right], Expression::Literal(Literal::U32(..32))) {
            return None;
        }
        let most = self.constant(size, Literal::U32(31));
        let right = self.binary(BinaryOperator::And, self.at(right), most);
        Some(Expression::Binary { op, left: self.at(left), right })
    }

    /// The nearest integer that a float can be.
    fn conversion(&mut self, expr: Handle<Expression>, kind: ScalarKind) -> Option<Expression> {
        let (size, _) = self.numbers(expr).filter(|(_, scalar)| *scalar == Scalar::F32)?;
        let bounds = match kind {
            ScalarKind::Sint => [-2_147_483_648.0, 2_147_483_520.0],
            ScalarKind::Uint => [0.0, 4_294_967_040.0],
            _ => return None,
        };
        let [low, high] = bounds.map(|bound| self.constant(size, Literal::F32(bound)));
        let mut expr = self.at(expr);
        for (fun, bound) in [(MathFunction::Max, low), (MathFunction::Min, high)] {
            expr = self.add(Expression::Math { fun, arg: bound, arg1: Some(expr), arg2: None, arg3: None });
        }
        Some(Expression::As { expr, kind, convert: Some(4) })
    }

    /// The first bit and the number of bits that there are, the latter 0 where the first is none.
    fn field(&mut self, first: Handle<Expression>, count: Handle<Expression>) -> [Handle<Expression>; 2] {
        let [last, bits] = [31, 32].map(|value| self.constant(None, Literal::U32(value)));
        let before = self.smaller(self.at(first), bits);
        let left = self.binary(BinaryOperator::Subtract, bits, before);
        [self.smaller(self.at(first), last), self.smaller(self.at(count), left)]
    }

    /// In parentheses, which naga's GLSL leaves out around ORs.
    fn packed(&mut self, fun: MathFunction, arg: Handle<Expression>) -> Expression {
        let left = self.add(Expression::Math { fun, arg: self.at(arg), arg1: None, arg2: None, arg3: None });
        let right = self.constant(None, Literal::U32(0));
        Expression::Binary { op: BinaryOperator::InclusiveOr, left, right }
    }

    /// Of unsigned integers themselves: naga's GLSL takes that of signed ones, which are others.
    fn absolute(&mut self, arg: Handle<Expression>) -> Option<Expression> {
        self.numbers(arg).filter(|(_, scalar)| *scalar == Scalar::U32)?;
        let arg = self.at(arg);
        Some(Expression::Math { fun: MathFunction::Max, arg, arg1: Some(arg), arg2: None, arg3: None })
    }

    /// The statements with what they refer to in its new places.
    fn block(&mut self, old: Block) -> Option<Block> {
        let mut block = Block::with_capacity(old.len());
        for (mut statement, span) in old.span_into_iter() {
            let inner: SmallVec<[&mut Block; 2]> = match &mut statement {
                Statement::Emit(range) => {
                    for range in self.emitted(range) {
                        block.push(Statement::Emit(range), span);
                    }
                    continue;
                }
                Statement::Block(inner) => smallvec![inner],
                Statement::If { accept, reject, .. } => smallvec![accept, reject],
                Statement::Switch { cases, .. } => cases.iter_mut().map(|case| &mut case.body).collect(),
                Statement::Loop { body, continuing, .. } => smallvec![body, continuing],
                _ => smallvec![],
            };
            for inner in inner {
                *inner = self.block(std::mem::take(inner))?;
            }
            let subtracted = match statement {
                Statement::Atomic { fun: AtomicFunction::Subtract, value, .. } => self.numbers(value),
                _ => None,
            };
            for handle in named(&mut statement)? {
                *handle = self.at(*handle);
            }
            if let Statement::Atomic { fun, value, .. } = &mut statement
                && subtracted == Some((None, Scalar::I32))
            {
                // naga's GLSL writes a minus before the number, which may begin with another.
                let zero = self.constant(None, Literal::I32(0));
                *value = self.binary(BinaryOperator::Subtract, zero, *value);
                *fun = AtomicFunction::Add;
                let at = value.index() as u32;
                block.push(Statement::Emit(Range::from_index_range(at..at + 1, &self.new)), span);
            }
            block.push(statement, span);
        }
        Some(block)
    }

    /// What is evaluated where some expressions were: also their guards, but no constants, which need not be.
    fn emitted(&self, old: &Range<Expression>) -> Vec<Range<Expression>> {
        let old = old.index_range();
        if old.is_empty() {
            return Vec::new();
        }
        let mut start = self.places[old.start as usize].first;
        let end = self.places[old.end as usize - 1].handle.index() as u32 + 1;
        let mut ranges = Vec::new();
        for handle in Range::from_index_range(start..end, &self.new) {
            if self.new[handle].needs_pre_emit() {
                let at = handle.index() as u32;
                ranges.push(start..at);
                start = at + 1;
            }
        }
        ranges.push(start..end);
        ranges.retain(|range| !range.is_empty());
        ranges.into_iter().map(|range| Range::from_index_range(range, &self.new)).collect()
    }
}

pub(super) type Handles<'a> = SmallVec<[&'a mut Handle<Expression>; 4]>;

/// What an expression is made of, unless it is one that kernels cannot have.
pub(super) fn operands(expression: &mut Expression) -> Option<Handles<'_>> {
    Some(match expression {
        Expression::Literal(_)
        | Expression::Constant(_)
        | Expression::Override(_)
        | Expression::ZeroValue(_)
        | Expression::FunctionArgument(_)
        | Expression::GlobalVariable(_)
        | Expression::LocalVariable(_)
        | Expression::CallResult(_)
        | Expression::AtomicResult { .. }
        | Expression::WorkGroupUniformLoadResult { .. }
        | Expression::SubgroupBallotResult
        | Expression::SubgroupOperationResult { .. } => smallvec![],
        Expression::AccessIndex { base: only, .. }
        | Expression::Splat { value: only, .. }
        | Expression::Swizzle { vector: only, .. }
        | Expression::Load { pointer: only }
        | Expression::Unary { expr: only, .. }
        | Expression::Relational { argument: only, .. }
        | Expression::As { expr: only, .. }
        | Expression::ArrayLength(only) => smallvec![only],
        Expression::Compose { components, .. } => components.iter_mut().collect(),
        Expression::Access { base, index } => smallvec![base, index],
        Expression::Binary { left, right, .. } => smallvec![left, right],
        Expression::Select { condition, accept, reject } => smallvec![condition, accept, reject],
        Expression::Math { arg, arg1, arg2, arg3, .. } => {
            [Some(arg), arg1.as_mut(), arg2.as_mut(), arg3.as_mut()].into_iter().flatten().collect()
        }
        _ => return None,
    })
}

/// The expressions that a statement names outside of the blocks in it, unless it is one that kernels cannot have.
pub(super) fn named(statement: &mut Statement) -> Option<Handles<'_>> {
    Some(match statement {
        Statement::Emit(_)
        | Statement::Block(_)
        | Statement::Break
        | Statement::Continue
        | Statement::Kill
        | Statement::ControlBarrier(_)
        | Statement::MemoryBarrier(_) => smallvec![],
        Statement::If { condition: only, .. } | Statement::Switch { selector: only, .. } => smallvec![only],
        Statement::Loop { break_if: maybe, .. } | Statement::Return { value: maybe } => {
            maybe.as_mut().into_iter().collect()
        }
        Statement::Store { pointer, value } => smallvec![pointer, value],
        Statement::Atomic { pointer, fun, value, result } => {
            let compared = match fun {
                AtomicFunction::Exchange { compare } => compare.as_mut(),
                _ => None,
            };
            [Some(pointer), compared, Some(value), result.as_mut()].into_iter().flatten().collect()
        }
        Statement::WorkGroupUniformLoad { pointer, result } => smallvec![pointer, result],
        Statement::Call { arguments, result, .. } => arguments.iter_mut().chain(result).collect(),
        Statement::SubgroupBallot { result, predicate } => {
            [Some(result), predicate.as_mut()].into_iter().flatten().collect()
        }
        Statement::SubgroupGather { mode, argument, result } => {
            let mut handles: Handles<'_> = smallvec![argument, result];
            match mode {
                GatherMode::BroadcastFirst | GatherMode::QuadSwap(_) => {}
                GatherMode::Broadcast(at)
                | GatherMode::Shuffle(at)
                | GatherMode::ShuffleDown(at)
                | GatherMode::ShuffleUp(at)
                | GatherMode::ShuffleXor(at)
                | GatherMode::QuadBroadcast(at) => handles.push(at),
            }
            handles
        }
        Statement::SubgroupCollectiveOperation { argument, result, .. } => smallvec![argument, result],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;

    fn checked(text: &str) -> (Module, ModuleInfo) {
        let module = naga::front::wgsl::parse_str(text).unwrap();
        let info = validated(&module);
        (module, info)
    }

    fn validated(module: &Module) -> ModuleInfo {
        Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(module)
            .unwrap_or_else(|error| panic!("{:?}", error.as_inner()))
    }

    /// How often it has each of these words in GLSL, with guards.
    fn counts<const N: usize>(text: &str, words: [&str; N]) -> [usize; N] {
        counts_if(false, text, words)
    }

    fn counts_if<const N: usize>(trusted: bool, text: &str, words: [&str; N]) -> [usize; N] {
        use naga::back::glsl;
        let (module, info) = checked(text);
        let module = guarded(&module, &info, trusted);
        let info = validated(&module);
        let options = glsl::Options { version: glsl::Version::Desktop(430), ..glsl::Options::default() };
        let pipeline = glsl::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: "main".into(),
            multiview: None,
        };
        let mut text = String::new();
        let policies = naga::proc::BoundsCheckPolicies::default();
        glsl::Writer::new(&mut text, &module, &info, &options, &pipeline, policies).unwrap().write().unwrap();
        words.map(|word| text.matches(word).count())
    }

    fn kernel(body: &str) -> String {
        format!(
            "var<workgroup> w: array<i32, 8>; var<workgroup> total: atomic<u32>; var<workgroup> balance: atomic<i32>;
             @group(0) @binding(0) var<storage, read_write> y: array<i32>;
             @group(0) @binding(1) var<storage, read> x: array<f32>;
             fn twice(v: i32) -> i32 {{ return v + v; }}
             @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ let i = id.x; {body} }}"
        )
    }

    #[test]
    fn what_needs_a_guard_gets_one() {
        assert_eq!(counts(&kernel("w[i] = 1; y[0] = w[y[0]];"), ["min("]), [2]);
        assert_eq!(counts(&kernel("y[i] = y[0];"), ["min(i, (uint(", ".length()"]), [1, 1]);
        assert_eq!(counts(&kernel("y[0] = y[0] / y[1];"), ["== 0", "== -1", "-2147483648"]), [1, 1, 1]);
        assert_eq!(counts(&kernel("atomicSub(&balance, -1);"), ["(balance, (0 - -1))"]), [1]);
        assert_eq!(counts(&kernel("y[5] = y[0];"), [".length()"]), [1]);
        assert_eq!(counts(&kernel("y[0] = y[0] % y[1];"), ["%", "/"]), [0, 1]);
        assert_eq!(counts(&kernel("y[0] = i32(x[0]) + i32(u32(x[0]));"), ["max(", "min("]), [2, 2]);
        assert_eq!(counts(&kernel("y[0] = y[0] << i;"), ["& 31u"]), [1]);
        assert_eq!(counts(&kernel("y[0] = i32(abs(i));"), ["abs("]), [0]);
        assert_eq!(counts(&kernel("y[0] = i32(pack4xU8(vec4(i)) * 3u);"), ["<< 24) | 0u)"]), [1]);
        // Three of them are naga's own.
        assert_eq!(counts(&kernel("y[0] = extractBits(y[0], i, i + 1u);"), ["min("]), [6]);
    }

    #[test]
    fn what_needs_none_is_left_alone() {
        assert_eq!(counts(&kernel("w[3] = 1; y[0] = y[0];"), ["min("]), [0]);
        assert_eq!(counts(&kernel("y[0] = y[0] / 7 + y[1] % -3;"), ["== 0", "%"]), [0, 0]);
        assert_eq!(counts(&kernel("y[0] = i32(i % 7u);"), ["% 7u", "== 0u"]), [1, 0]);
        assert_eq!(counts(&kernel("y[0] = y[0] << 3u; y[1] = i32(i) + abs(y[2]);"), ["& 31u", "abs("]), [0, 1]);
        assert_eq!(counts(&kernel("y[0] = i32(x[0] / x[1]);"), ["== 0"]), [0]);
        let text = kernel("w[3] = y[0] % y[1] + i32(abs(i)) + i32(pack4xU8(vec4(i)) * 3u);");
        assert_eq!(counts_if(true, &text, ["min(", "== 0", "%", "abs(", "<< 24) | 0u)"]), [0, 0, 1, 0, 1]);
    }

    #[test]
    fn every_statement_keeps_its_operands() {
        let text = kernel(
            "var m = mat3x3<f32>(); var v = vec4<i32>(y[0]); var list = array<array<vec2<u32>, 3>, 5>();
            let p = &list[i][v.x];
            *p = vec2<u32>(i / u32(v.y), 2u) % vec2<u32>(v.zw);
            loop {
                if (v[i] > 3 && y[i] / v[y[0]] > 2) { break; }
                v[i % 4u] += twice(v.x / y[2]) % y[3];
                m[i][i + 1u] = x[i % arrayLength(&x)];
                switch (y[i] % 5) {
                    case 1: { v.x = 1 << u32(v.y); }
                    case 2, 3: { continue; }
                    default: { v = v / v.wzyx; }
                }
                continuing { v.y += 1; break if v.y / y[1] > 7; }
            }
            let old = atomicAdd(&total, i / u32(v.x));
            let changed = atomicCompareExchangeWeak(&total, old / i, i % old);
            let alike = workgroupUniformLoad(&w);
            for (var k = 0; k < 9; k += 1) {
                v.z += alike[k] / k + i32(select(list[k % 5][i].x, old, changed.exchanged));
            }
            y[i] = v.x + v.z + i32(m[2].y) + vec3<i32>(m[v.x])[i];",
        );
        // The module is validated: types and order would not fit if operands had been mixed up.
        let [guards] = counts(&text, ["min("]);
        assert!(guards >= 8, "{guards}");
    }
}
