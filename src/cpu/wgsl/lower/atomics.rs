//! Operations on what other invocations change too.

use naga::{AtomicFunction, Expression, Handle};

use super::places::Pointer;
use super::{Lowering, Result};
use crate::cpu::wgsl::ir::{Atomic, Binary, Op, Statement, Value};

impl Lowering<'_> {
    pub(super) fn atomic_store(&mut self, pointer: &Pointer, value: Value) -> Result<()> {
        let (place, kind) = pointer.atomic()?;
        self.build.push(Statement::Atomic { place, kind, op: Atomic::Store, operand: Some(value), old: None });
        Ok(())
    }

    pub(super) fn atomic_update(
        &mut self,
        pointer: Handle<Expression>,
        function: AtomicFunction,
        value: Handle<Expression>,
        result: Option<Handle<Expression>>,
    ) -> Result<()> {
        let pointer = self.pointer(pointer)?;
        let (place, kind) = pointer.atomic()?;
        let operand = self.value(value)?;
        let mut expected = None;
        let op = match function {
            AtomicFunction::Add => Atomic::Add,
            AtomicFunction::Subtract => Atomic::Subtract,
            AtomicFunction::And => Atomic::And,
            AtomicFunction::InclusiveOr => Atomic::Or,
            AtomicFunction::ExclusiveOr => Atomic::Xor,
            AtomicFunction::Min => Atomic::Min,
            AtomicFunction::Max => Atomic::Max,
            AtomicFunction::Exchange { compare: None } => Atomic::Exchange,
            AtomicFunction::Exchange { compare: Some(compare) } => {
                let compare = self.value(compare)?;
                expected = Some(compare);
                Atomic::CompareExchange(compare)
            }
        };
        let result = result.filter(|result| self.frame.info[*result].ref_count > 0);
        let old = result.map(|result| (result, self.build.define(kind, Op::FromMemory)));
        let defined = old.map(|(_, old)| old);
        self.build.push(Statement::Atomic { place, kind, op, operand: Some(operand), old: defined });
        let Some((result, old)) = old else { return Ok(()) };
        let mut values = vec![old];
        if let Some(expected) = expected {
            values.push(self.build.binary(Binary::Equal, old, expected));
        }
        self.bind_values(result, values)
    }
}
