//! Expressions: what they are computed from, and where those that are constant come from.

use std::rc::Rc;

use half::f16;
use naga::{Arena, Expression, Handle, Literal, Range, SwizzleComponent, TypeInner};

use super::facts::{by_choices, known_index};
use super::places::{Pointer, check_size};
use super::types::{Layout, Shape, Type};
use super::{Lowering, Result, Values, math, unsupported};
use crate::cpu::wgsl::ir::{Atomic, Binary, Kind, Op, Statement, Value};

/// What an expression comes to.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Values(Values),
    Pointer(Rc<Pointer>),
}

impl Lowering<'_> {
    /// Lowers expressions that are evaluated here.
    pub(super) fn emit(&mut self, range: Range<Expression>) -> Result<()> {
        for expression in range {
            self.visit()?;
            let span = self.frame.function.expressions.get_span(expression);
            let operand = self.expression(expression).map_err(|error| error.at(span))?;
            self.bind(expression, operand).map_err(|error| error.at(span))?;
        }
        Ok(())
    }

    /// Remembers what an expression came to.
    pub(super) fn bind(&mut self, expression: Handle<Expression>, operand: Operand) -> Result<()> {
        if let Operand::Values(values) = &operand
            && self.frame.facts.spilled.contains(&expression)
        {
            let ty = self.type_of(expression)?;
            let pointer = self.spill(&ty, values)?;
            self.frame.spills.insert(expression, Rc::new(pointer));
        }
        if let Operand::Values(values) = &operand {
            // Large values are lists that are copied.
            self.visited += values.len() / 16;
        }
        self.carry(expression, &operand);
        self.frame.known[expression.index()] = Some(operand);
        Ok(())
    }

    pub(super) fn bind_values(&mut self, expression: Handle<Expression>, values: Vec<Value>) -> Result<()> {
        self.bind(expression, Operand::Values(values.into()))
    }

    pub(super) fn inner(&self, expression: Handle<Expression>) -> &TypeInner {
        self.frame.info[expression].ty.inner_with(&self.module.types)
    }

    /// The type of a value.
    pub(super) fn type_of(&self, expression: Handle<Expression>) -> Result<Rc<Type>> {
        Ok(self.types.of(self.inner(expression))?)
    }

    pub(super) fn operand(&mut self, expression: Handle<Expression>) -> Result<Operand> {
        match &self.frame.known[expression.index()] {
            Some(operand) => Ok(operand.clone()),
            // Constants are evaluated nowhere in particular.
            None => self.expression(expression),
        }
    }

    pub(super) fn values(&mut self, expression: Handle<Expression>) -> Result<Values> {
        match self.operand(expression)? {
            Operand::Values(values) => Ok(values),
            Operand::Pointer(_) => unsupported("a pointer as a value"),
        }
    }

    /// The value of a scalar.
    pub(super) fn value(&mut self, expression: Handle<Expression>) -> Result<Value> {
        Ok(self.values(expression)?[0])
    }

    pub(super) fn pointer(&mut self, expression: Handle<Expression>) -> Result<Rc<Pointer>> {
        match self.operand(expression)? {
            Operand::Pointer(pointer) => Ok(pointer),
            Operand::Values(_) => unsupported("a pointer of this kind"),
        }
    }

    fn expression(&mut self, handle: Handle<Expression>) -> Result<Operand> {
        let function = self.frame.function;
        let values = match function.expressions[handle] {
            Expression::Literal(literal) => vec![self.literal(literal)?],
            Expression::Constant(constant) => {
                return Ok(Operand::Values(self.global_constant(self.module.constants[constant].init)?));
            }
            Expression::ZeroValue(ty) => {
                let ty = self.types.get(ty)?;
                return Ok(Operand::Values(self.zero(&ty)?));
            }
            Expression::Compose { ref components, .. } => {
                let mut all = Vec::new();
                for component in components {
                    all.extend_from_slice(&self.values(*component)?);
                }
                all
            }
            Expression::Splat { size, value } => vec![self.value(value)?; size as usize],
            Expression::Swizzle { size, vector, pattern } => {
                let vector = self.values(vector)?;
                swizzled(&vector, &pattern[..size as usize])
            }
            Expression::Access { base, index } => match known_index(self.module, function, index) {
                Some(index) => return self.part(base, index),
                None => return self.element(base, index),
            },
            Expression::AccessIndex { base, index } => return self.part(base, index),
            Expression::FunctionArgument(argument) => return Ok(self.frame.arguments[argument as usize].clone()),
            Expression::LocalVariable(variable) => {
                return Ok(Operand::Pointer(self.frame.locals[variable.index()].clone()));
            }
            Expression::GlobalVariable(variable) => match &self.globals[variable.index()] {
                Some(pointer) => return Ok(Operand::Pointer(pointer.clone())),
                None => return unsupported("a variable that is not bound"),
            },
            Expression::Load { pointer } => {
                let atomic = self.is_atomic(pointer);
                let pointer = self.pointer(pointer)?;
                if !atomic {
                    return Ok(Operand::Values(self.load(&pointer)?));
                }
                let (place, kind) = pointer.atomic()?;
                let old = self.build.define(kind, Op::FromMemory);
                self.build.push(Statement::Atomic { place, kind, op: Atomic::Load, operand: None, old: Some(old) });
                vec![old]
            }
            Expression::Unary { op, expr } => {
                let operand = self.values(expr)?;
                self.unary(op, &operand)
            }
            Expression::Binary { op, left, right } => self.binary(op, left, right)?,
            Expression::Select { condition, accept, reject } => {
                let (condition, accept, reject) = (self.values(condition)?, self.values(accept)?, self.values(reject)?);
                let both = accept.iter().zip(reject.iter()).enumerate();
                both.map(|(i, (x, y))| self.build.select(condition[i.min(condition.len() - 1)], *x, *y)).collect()
            }
            Expression::Relational { fun, argument } => {
                let argument = self.values(argument)?;
                self.relational(fun, &argument)
            }
            Expression::Math { fun, arg, arg1, arg2, arg3 } => {
                let mut arguments = vec![self.values(arg)?];
                for argument in [arg1, arg2, arg3].into_iter().flatten() {
                    arguments.push(self.values(argument)?);
                }
                let ty = self.inner(arg).clone();
                math::lower(&mut self.build, fun, &ty, &arguments)?
            }
            Expression::As { expr, kind, convert } => self.converted(expr, kind, convert)?,
            Expression::ArrayLength(pointer) => {
                let pointer = self.pointer(pointer)?;
                vec![self.length(&pointer)?]
            }
            Expression::ImageSample { .. } | Expression::ImageLoad { .. } | Expression::ImageQuery { .. } => {
                return unsupported("textures");
            }
            Expression::Derivative { .. } => return unsupported("derivatives"),
            Expression::CooperativeLoad { .. } | Expression::CooperativeMultiplyAdd { .. } => {
                return unsupported("cooperative matrices");
            }
            Expression::RayQueryVertexPositions { .. }
            | Expression::RayQueryProceedResult
            | Expression::RayQueryGetIntersection { .. } => return unsupported("ray queries"),
            Expression::Override(_) => return unsupported("a constant without a value"),
            // Their statements bind them.
            Expression::CallResult(_)
            | Expression::AtomicResult { .. }
            | Expression::WorkGroupUniformLoadResult { .. }
            | Expression::SubgroupBallotResult
            | Expression::SubgroupOperationResult { .. } => return unsupported("a result that nothing gives"),
        };
        Ok(Operand::Values(values.into()))
    }

    fn literal(&mut self, literal: Literal) -> Result<Value> {
        let (kind, bits) = match literal {
            Literal::Bool(is) => (Kind::Bool, is.into()),
            Literal::I32(number) => (Kind::I32, (number as u32).into()),
            Literal::U32(number) => (Kind::U32, number.into()),
            Literal::F32(number) => (Kind::F32, number.to_bits().into()),
            Literal::F16(number) => (Kind::F32, f16::to_f32(number).to_bits().into()),
            Literal::I64(number) => (Kind::I64, number as u64),
            Literal::U64(number) => (Kind::U64, number),
            Literal::F64(number) => (Kind::F64, number.to_bits()),
            Literal::I16(_) | Literal::U16(_) => return unsupported("16-bit integers"),
            Literal::AbstractInt(_) | Literal::AbstractFloat(_) => return unsupported("numbers without a type"),
        };
        Ok(self.build.constant(kind, bits))
    }

    pub(super) fn zero(&mut self, ty: &Type) -> Result<Values> {
        check_size(ty)?;
        Ok(ty.kinds().into_iter().map(|kind| self.build.zero(kind)).collect())
    }

    /// A constant of the module's.
    pub(super) fn global_constant(&mut self, handle: Handle<Expression>) -> Result<Values> {
        if let Some(values) = self.constants.get(&handle) {
            return Ok(values.clone());
        }
        let all: &Arena<Expression> = &self.module.global_expressions;
        let values: Values = match all[handle] {
            Expression::Literal(literal) => [self.literal(literal)?].into(),
            Expression::ZeroValue(ty) => {
                let ty = self.types.get(ty)?;
                self.zero(&ty)?
            }
            Expression::Constant(constant) => self.global_constant(self.module.constants[constant].init)?,
            Expression::Compose { ref components, .. } => {
                let mut values = Vec::new();
                for component in components {
                    values.extend_from_slice(&self.global_constant(*component)?);
                }
                values.into()
            }
            Expression::Splat { size, value } => {
                let value = self.global_constant(value)?[0];
                vec![value; size as usize].into()
            }
            Expression::Swizzle { size, vector, pattern } => {
                let vector = self.global_constant(vector)?;
                swizzled(&vector, &pattern[..size as usize]).into()
            }
            _ => return unsupported("a constant of this kind"),
        };
        self.constants.insert(handle, values.clone());
        Ok(values)
    }

    /// An element or a member whose number is known.
    fn part(&mut self, base: Handle<Expression>, index: u32) -> Result<Operand> {
        match self.operand(base)? {
            Operand::Pointer(pointer) => Ok(Operand::Pointer(Rc::new(self.part_of(&pointer, index)?))),
            Operand::Values(values) => {
                let ty = self.type_of(base)?;
                let Some((part, first, _)) = ty.part(index, Layout::Packed) else { return unsupported("this index") };
                Ok(Operand::Values(values[first..first + part.scalars].into()))
            }
        }
    }

    /// An element whose number is computed.
    fn element(&mut self, base: Handle<Expression>, index: Handle<Expression>) -> Result<Operand> {
        let index = self.value(index)?;
        let values = match self.operand(base)? {
            Operand::Pointer(pointer) => return Ok(Operand::Pointer(Rc::new(self.element_of(&pointer, index)?))),
            Operand::Values(values) => values,
        };
        let ty = self.type_of(base)?;
        if !by_choices(&ty) {
            let array = match self.frame.spills.get(&base) {
                Some(pointer) => pointer.clone(),
                None => Rc::new(self.spill(&ty, &values)?),
            };
            let element = self.element_of(&array, index)?;
            return Ok(Operand::Values(self.load(&element)?));
        }
        let Shape::Series { element, .. } = &ty.shape else { return unsupported("this index") };
        let mut chosen = self.zero(element)?.to_vec();
        for (i, candidates) in values.chunks(element.scalars).enumerate() {
            let is_it = self.build.compare(Binary::Equal, index, i as i64);
            for (chosen, candidate) in chosen.iter_mut().zip(candidates) {
                *chosen = self.build.select(is_it, *candidate, *chosen);
            }
        }
        Ok(Operand::Values(chosen.into()))
    }

    /// Whether a pointer leads to an atomic.
    pub(super) fn is_atomic(&self, pointer: Handle<Expression>) -> bool {
        self.inner(pointer).is_atomic_pointer(&self.module.types)
    }
}

fn swizzled(vector: &Values, pattern: &[SwizzleComponent]) -> Vec<Value> {
    pattern.iter().map(|component| vector[*component as usize]).collect()
}
