//! Statements, above all those that decide which others run.

use std::collections::BTreeSet;
use std::rc::Rc;

use naga::{Barrier, Block, Expression, Handle, Statement as From, SwitchCase, SwitchValue};

use super::expressions::Operand;
use super::facts::{has_continue, used};
use super::operators::fold;
use super::places::Pointer;
use super::{DEEPEST, Lowering, Result, unsupported};
use crate::cpu::wgsl::ir::{self, Binary, Label, Statement, Step, Value, Variable};

/// Where breaks and continues of a function lead, and what loops hand over to their continuing blocks.
#[derive(Default)]
pub(super) struct Targets {
    /// Of the loops and switches around, the innermost last.
    around: Vec<Target>,
    carries: Vec<Carry>,
}

struct Target {
    exit: Exit,
    /// The continuing block of a loop.
    next: Option<Exit>,
}

struct Exit {
    label: Label,
    used: bool,
}

/// What of a loop's body its continuing block uses. Values of the body are out of sight there if something skips to it.
struct Carry {
    wanted: BTreeSet<Handle<Expression>>,
    taken: Vec<(Handle<Expression>, Operand, Vec<Option<Variable>>)>,
}

/// What would happen anyway at the end of a list of statements.
#[derive(Debug, Clone, Copy, Default)]
struct Fall {
    returns: bool,
    breaks: bool,
    continues: bool,
}

impl Fall {
    /// Whether a list ends by what would happen anyway.
    fn is_end_of(self, list: &Block) -> bool {
        match list.last() {
            Some(From::Return { .. }) => self.returns,
            Some(From::Break) => self.breaks,
            Some(From::Continue) => self.continues,
            _ => false,
        }
    }
}

impl<'a> Lowering<'a> {
    pub(super) fn body(&mut self, block: &'a Block) -> Result<()> {
        self.block(block, Fall { returns: true, ..Fall::default() })
    }

    fn block(&mut self, block: &'a Block, fall: Fall) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return unsupported("calls and statements that are nested so deeply");
        }
        self.statements(block, 0, fall)?;
        self.depth -= 1;
        Ok(())
    }

    /// The statements of a block from one on.
    fn statements(&mut self, block: &'a Block, from: usize, fall: Fall) -> Result<()> {
        for (i, (statement, span)) in block.span_iter().enumerate().skip(from) {
            let is_last = i + 1 == block.len();
            if let From::If { condition, accept, reject } = statement
                && !is_last
                && self.depth < DEEPEST / 2
                && let Some(way) = [accept, reject].iter().position(|list| fall.is_end_of(list))
            {
                return self.leave_early(*condition, [accept, reject], way, (block, i + 1), fall);
            }
            let fall = if is_last { fall } else { Fall::default() };
            self.visit().and_then(|()| self.statement(statement, fall)).map_err(|error| error.at(*span))?;
        }
        Ok(())
    }

    /// An `If` of which one way leads to where the statements behind it end anyway: those belong to the other way.
    fn leave_early(
        &mut self,
        condition: Handle<Expression>,
        ways: [&'a Block; 2],
        leaving: usize,
        (block, behind): (&'a Block, usize),
        fall: Fall,
    ) -> Result<()> {
        self.visit()?;
        let condition = self.value(condition)?;
        if let Some(known) = self.build.known(condition) {
            let way = usize::from(known == 0);
            if way == leaving {
                return self.block(ways[way], fall);
            }
            self.block(ways[way], Fall::default())?;
            return self.statements(block, behind, fall);
        }
        let mut lists = [ir::Block::new(), ir::Block::new()];
        self.depth += 1;
        for (way, list) in lists.iter_mut().enumerate() {
            self.build.open();
            if way == leaving {
                self.block(ways[way], fall)?;
            } else {
                self.block(ways[way], Fall::default())?;
                self.statements(block, behind, fall)?;
            }
            *list = self.build.close();
        }
        self.depth -= 1;
        let [accept, reject] = lists;
        self.build.branch(condition, accept, reject);
        Ok(())
    }

    /// The statements of a block, in a list of their own.
    fn list(&mut self, block: &'a Block, fall: Fall) -> Result<ir::Block> {
        self.build.open();
        self.block(block, fall)?;
        Ok(self.build.close())
    }

    fn statement(&mut self, statement: &'a From, fall: Fall) -> Result<()> {
        match statement {
            From::Emit(range) => self.emit(range.clone()),
            From::Block(block) => self.block(block, fall),
            From::If { condition, accept, reject } => {
                let condition = self.value(*condition)?;
                if let Some(known) = self.build.known(condition) {
                    return self.block(if known == 0 { reject } else { accept }, fall);
                }
                let (accept, reject) = (self.list(accept, fall)?, self.list(reject, fall)?);
                self.build.branch(condition, accept, reject);
                Ok(())
            }
            From::Switch { selector, cases } => self.switch(*selector, cases, fall),
            From::Loop { body, continuing, break_if } => self.repeat(body, continuing, *break_if),
            From::Break => {
                if !fall.breaks
                    && let Some(target) = self.frame.targets.around.last_mut()
                {
                    target.exit.used = true;
                    self.build.push(Statement::Break(target.exit.label));
                }
                Ok(())
            }
            From::Continue => {
                let mut loops = self.frame.targets.around.iter_mut().rev().filter_map(|target| target.next.as_mut());
                if !fall.continues
                    && let Some(next) = loops.next()
                {
                    next.used = true;
                    self.build.push(Statement::Break(next.label));
                }
                Ok(())
            }
            From::Return { value } => self.leave(*value, fall.returns),
            From::Store { pointer, value } => {
                let is_atomic = self.is_atomic(*pointer);
                let (pointer, values) = (self.pointer(*pointer)?, self.values(*value)?);
                if is_atomic { self.atomic_store(&pointer, values[0]) } else { self.store(&pointer, &values) }
            }
            From::Atomic { pointer, fun, value, result } => self.atomic_update(*pointer, *fun, *value, *result),
            From::ControlBarrier(flags) => {
                // Invocations of a subgroup run together.
                if *flags != Barrier::SUB_GROUP {
                    self.build.push(Statement::Barrier);
                }
                Ok(())
            }
            From::MemoryBarrier(_) => Ok(()),
            From::WorkGroupUniformLoad { pointer, result } => {
                let pointer = self.pointer(*pointer)?;
                let values = self.load_uniform(&pointer)?;
                self.bind(*result, Operand::Values(values))
            }
            From::Call { function, arguments, result } => self.call(*function, arguments, *result),
            From::SubgroupBallot { result, predicate } => self.ballot(*result, *predicate),
            From::SubgroupCollectiveOperation { op, collective_op, argument, result } => {
                self.collective(*op, *collective_op, *argument, *result)
            }
            From::SubgroupGather { mode, argument, result } => self.gather(*mode, *argument, *result),
            From::ImageStore { .. } | From::ImageAtomic { .. } => unsupported("textures"),
            From::RayQuery { .. } | From::RayPipelineFunction(_) => unsupported("ray queries"),
            From::CooperativeStore { .. } => unsupported("cooperative matrices"),
            From::Kill => unsupported("discarding an invocation"),
        }
    }

    fn target(&mut self, is_loop: bool) {
        let mut exit = || Exit { label: self.build.label(), used: false };
        let target = Target { exit: exit(), next: is_loop.then(exit) };
        self.frame.targets.around.push(target);
    }

    /// Adds statements, in a block if something breaks out of them.
    fn push_list(&mut self, list: ir::Block, exit: Option<&Exit>) {
        match exit {
            Some(Exit { label, used: true }) => self.build.push(Statement::Block { label: *label, body: list }),
            _ => list.into_iter().for_each(|statement| self.build.push(statement)),
        }
    }

    fn repeat(&mut self, body: &'a Block, continuing: &'a Block, break_if: Option<Handle<Expression>>) -> Result<()> {
        self.target(true);
        let skips = has_continue(body);
        if skips {
            let mut wanted = used(self.frame.function, continuing);
            wanted.extend(break_if);
            self.frame.targets.carries.push(Carry { wanted, taken: Vec::new() });
        }
        self.build.open();
        let first = self.list(body, Fall { continues: true, ..Fall::default() })?;
        let next = self.frame.targets.around.last_mut().and_then(|target| target.next.take());
        self.push_list(first, next.as_ref());
        if skips && let Some(carry) = self.frame.targets.carries.pop() {
            self.hand_over(carry);
        }
        self.block(continuing, Fall::default())?;
        let target = self.frame.targets.around.pop();
        let Some(Target { mut exit, .. }) = target else { return Ok(()) };
        if let Some(condition) = break_if {
            let condition = self.value(condition)?;
            exit.used = true;
            self.build.push(Statement::If {
                condition,
                accept: vec![Statement::Break(exit.label)],
                reject: ir::Block::new(),
            });
        }
        let body = self.build.close();
        self.push_list(vec![Statement::Loop { body }], Some(&exit));
        Ok(())
    }

    /// Keeps what an expression came to in variables, if a continuing block wants it.
    pub(super) fn carry(&mut self, expression: Handle<Expression>, operand: &Operand) {
        let carries = &mut self.frame.targets.carries;
        let Some(carry) = carries.iter_mut().rev().find(|carry| carry.wanted.contains(&expression)) else { return };
        let values = values_of(operand);
        let mut variables = Vec::with_capacity(values.len());
        for value in values {
            variables.push((!self.build.is_everywhere(value)).then(|| {
                let variable = self.build.variable(self.build.kind(value));
                self.build.set(variable, value);
                variable
            }));
        }
        carry.taken.push((expression, operand.clone(), variables));
    }

    /// Reads what a loop's body kept.
    fn hand_over(&mut self, carry: Carry) {
        for (expression, operand, variables) in carry.taken {
            let values = values_of(&operand).into_iter().zip(variables).map(|(value, variable)| match variable {
                Some(variable) => self.build.get(variable),
                None => value,
            });
            let values = values.collect();
            self.frame.known[expression.index()] = Some(with_values(&operand, values));
        }
    }

    fn switch(&mut self, selector: Handle<Expression>, cases: &'a [SwitchCase], fall: Fall) -> Result<()> {
        /// Of so many bodies each stands in the other branch of the one before; more stand behind each other.
        const NESTED: usize = 16;

        let selector = self.value(selector)?;
        let mut bodies = Vec::new();
        let mut group = (Vec::new(), false);
        for case in cases {
            match case.value {
                SwitchValue::I32(number) => group.0.push(i64::from(number)),
                SwitchValue::U32(number) => group.0.push(number.into()),
                SwitchValue::Default => group.1 = true,
            }
            if !case.fall_through {
                let (numbers, default) = std::mem::take(&mut group);
                bodies.push((numbers, default, &case.body));
            } else if !case.body.is_empty() {
                return unsupported("a case that falls through to the next");
            }
        }
        // The default is what is left when nothing else was it.
        bodies.sort_by_key(|(_, default, _)| *default);
        let default = bodies.pop_if(|(_, default, _)| *default);
        self.target(false);
        self.build.open();
        if bodies.len() <= NESTED {
            let fall = Fall { breaks: true, ..fall };
            let mut opened = Vec::new();
            for (numbers, _, body) in bodies {
                let condition = self.is_one_of(selector, &numbers);
                let accept = self.list(body, fall)?;
                opened.push((condition, accept));
                self.build.open();
            }
            if let Some((_, _, body)) = default {
                self.block(body, fall)?;
            }
            for (condition, accept) in opened.into_iter().rev() {
                let reject = self.build.close();
                self.build.branch(condition, accept, reject);
            }
        } else {
            for (numbers, _, body) in bodies {
                let condition = self.is_one_of(selector, &numbers);
                self.build.open();
                self.block(body, Fall::default())?;
                self.statement(&From::Break, Fall::default())?;
                let accept = self.build.close();
                self.build.push(Statement::If { condition, accept, reject: ir::Block::new() });
            }
            if let Some((_, _, body)) = default {
                self.block(body, Fall { breaks: true, ..fall })?;
            }
        }
        let list = self.build.close();
        let target = self.frame.targets.around.pop();
        self.push_list(list, target.map(|target| target.exit).as_ref());
        Ok(())
    }

    fn is_one_of(&mut self, selector: Value, numbers: &[i64]) -> Value {
        let equal: Vec<Value> =
            numbers.iter().map(|number| self.build.compare(Binary::Equal, selector, *number)).collect();
        fold(&mut self.build, Binary::Or, &equal)
    }
}

/// The values that an operand consists of.
fn values_of(operand: &Operand) -> Vec<Value> {
    match operand {
        Operand::Values(values) => values.to_vec(),
        Operand::Pointer(pointer) => pointer.steps.iter().map(|step| step.index).collect(),
    }
}

/// The operand with other values in the same places.
fn with_values(operand: &Operand, values: Vec<Value>) -> Operand {
    match operand {
        Operand::Values(_) => Operand::Values(values.into()),
        Operand::Pointer(pointer) => {
            let steps = pointer.steps.iter().zip(values).map(|(step, index)| Step { index, ..step.clone() }).collect();
            Operand::Pointer(Rc::new(Pointer { steps, ..(**pointer).clone() }))
        }
    }
}
