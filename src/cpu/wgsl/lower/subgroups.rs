//! What the invocations of a subgroup compute together.

use naga::{CollectiveOperation, Direction, Expression, GatherMode, Handle, SubgroupOperation};

use super::types::Scalar;
use super::{Lowering, Result, unsupported};
use crate::cpu::wgsl::ir::{Binary, Builtin, Kind, Subgroup, Unary, Value};

impl Lowering<'_> {
    pub(super) fn ballot(&mut self, result: Handle<Expression>, predicate: Option<Handle<Expression>>) -> Result<()> {
        let predicate = match predicate {
            Some(predicate) => self.value(predicate)?,
            None => self.build.bool(true),
        };
        let low = self.build.subgroup(Subgroup::Ballot, predicate, None);
        let none = self.build.u32(0);
        self.bind_values(result, vec![low, none, none, none])
    }

    pub(super) fn collective(
        &mut self,
        op: SubgroupOperation,
        collective: CollectiveOperation,
        argument: Handle<Expression>,
        result: Handle<Expression>,
    ) -> Result<()> {
        let op = match op {
            SubgroupOperation::All | SubgroupOperation::And => Binary::And,
            SubgroupOperation::Any | SubgroupOperation::Or => Binary::Or,
            SubgroupOperation::Add => Binary::Add,
            SubgroupOperation::Mul => Binary::Multiply,
            SubgroupOperation::Min => Binary::Min,
            SubgroupOperation::Max => Binary::Max,
            SubgroupOperation::Xor => Binary::Xor,
        };
        let scans = matches!(op, Binary::Add | Binary::Multiply);
        let op = match collective {
            CollectiveOperation::Reduce => Subgroup::Reduce(op),
            CollectiveOperation::InclusiveScan if scans => Subgroup::InclusiveScan(op),
            CollectiveOperation::ExclusiveScan if scans => Subgroup::ExclusiveScan(op),
            _ => return unsupported("a scan by this operation"),
        };
        let scalar = self.inner(argument).scalar().map(Scalar::of).transpose()?.unwrap_or(Scalar::F32);
        let values = self.values(argument)?;
        let results = values.iter().map(|x| {
            let result = self.build.subgroup(op, *x, None);
            self.build.rounded(scalar, result)
        });
        let results = results.collect();
        self.bind_values(result, results)
    }

    pub(super) fn gather(
        &mut self,
        mode: GatherMode,
        argument: Handle<Expression>,
        result: Handle<Expression>,
    ) -> Result<()> {
        let (op, operand) = match mode {
            GatherMode::BroadcastFirst => (Subgroup::BroadcastFirst, None),
            GatherMode::Broadcast(index) | GatherMode::Shuffle(index) => (Subgroup::Shuffle, Some(self.number(index)?)),
            GatherMode::ShuffleDown(index) => (Subgroup::ShuffleDown, Some(self.number(index)?)),
            GatherMode::ShuffleUp(index) => (Subgroup::ShuffleUp, Some(self.number(index)?)),
            GatherMode::ShuffleXor(index) => (Subgroup::ShuffleXor, Some(self.number(index)?)),
            GatherMode::QuadBroadcast(index) => {
                let index = self.number(index)?;
                let lane = self.build.builtin(Builtin::Lane);
                let quad = self.build.masked(lane, !3);
                (Subgroup::Shuffle, Some(self.build.binary(Binary::Add, quad, index)))
            }
            GatherMode::QuadSwap(direction) => {
                let other = match direction {
                    Direction::X => 1,
                    Direction::Y => 2,
                    Direction::Diagonal => 3,
                };
                (Subgroup::ShuffleXor, Some(self.build.u32(other)))
            }
        };
        let values = self.values(argument)?;
        let results = values.iter().map(|x| self.build.subgroup(op, *x, operand)).collect();
        self.bind_values(result, results)
    }

    /// The number of an invocation, or between two.
    fn number(&mut self, expression: Handle<Expression>) -> Result<Value> {
        let number = self.value(expression)?;
        Ok(self.build.unary(Unary::Bitcast(Kind::U32), number))
    }
}
