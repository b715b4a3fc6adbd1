//! How large indices can become, so that some need no check.
//!
//! A statement at a time, it is noted how large every variable can be at most, as an unsigned number: from what it is
//! set to, and from the conditions that let an invocation come by. The counter of a loop that goes on while it is below
//! sixteen is at most fifteen inside.
//!
//! That holds for variables that all lanes of a group share. Of the others nothing is noted: lanes that take no part in
//! what is done load and compute too.

use rustc_hash::FxHashMap;

use super::ir::{Binary, Block, Body, Builtin, Kind, Label, Op, Statement, Unary, Value, Variable};
use super::shape::{Level, Shapes};

/// Loops deeper than this are not gone through twice.
const DEEPEST: usize = 5;

/// What is known of variables: none may be larger, and those of signed kinds are not negative. None at all where no
/// invocation comes by.
type State = Option<FxHashMap<Variable, u64>>;

/// The largest number, without a sign, that values of 32 bits can be in any lane.
pub(super) struct Ranges {
    values: Vec<Option<u64>>,
}

impl Ranges {
    pub(super) fn new(body: &Body, shapes: &Shapes, lanes: usize) -> Self {
        let mut walk = Walk {
            body,
            shapes,
            lanes,
            set: vec![0; body.variables.len()],
            read: vec![0; body.values.len()],
            times: 0,
            values: vec![None; body.values.len()],
            state: Some(FxHashMap::default()),
            labels: vec![None; body.labels as usize],
            depth: 0,
        };
        walk.list(&body.statements);
        Self { values: walk.values }
    }

    /// None if it can be any.
    pub(super) fn upper(&self, body: &Body, value: Value, lanes: usize) -> Option<u64> {
        direct(body, value, lanes).or(self.values[value.index()])
    }
}

/// What is known of constants and builtins.
fn direct(body: &Body, value: Value, lanes: usize) -> Option<u64> {
    let kind = body.kind(value);
    match body.op(value) {
        Op::Constant(bits) => fits(kind, u64::from(*bits as u32)),
        Op::Builtin(builtin) => {
            let size = body.workgroup_size;
            // Lanes without an invocation have ids too.
            let is_full = size.iter().product::<u32>().is_multiple_of(lanes as u32);
            match builtin {
                Builtin::LocalId(axis) if is_full => Some(u64::from(size[usize::from(*axis)] - 1)),
                Builtin::LocalIndex if is_full => Some(u64::from(size.iter().product::<u32>() - 1)),
                Builtin::Lane => Some(lanes as u64 - 1),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A bound, if numbers of the kind can have it: what could be negative is as large as can be.
fn fits(kind: Kind, upper: u64) -> Option<u64> {
    match kind {
        Kind::I32 => i32::try_from(upper).is_ok().then_some(upper),
        Kind::U32 => (upper < u64::from(u32::MAX)).then_some(upper),
        _ => None,
    }
}

struct Walk<'a> {
    body: &'a Body,
    shapes: &'a Shapes,
    /// When each variable was last set, and each value read from one: by a clock that counts what was set.
    set: Vec<u32>,
    read: Vec<u32>,
    times: u32,
    lanes: usize,
    values: Vec<Option<u64>>,
    state: State,
    /// What is known behind the block of each label of those that broke to it.
    labels: Vec<State>,
    depth: usize,
}

impl Walk<'_> {
    fn of(&self, value: Value) -> Option<u64> {
        direct(self.body, value, self.lanes).or(self.values[value.index()])
    }

    fn list(&mut self, block: &Block) {
        for statement in block {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Let(value) => {
                self.values[value.index()] = self.computed(*value);
                self.read[value.index()] = self.times;
            }
            Statement::Set(variable, value) => {
                self.note_set(*variable);
                let upper = self.of(*value).filter(|_| self.is_shared(*variable));
                if let Some(state) = &mut self.state {
                    match upper {
                        Some(upper) => _ = state.insert(*variable, upper),
                        None => _ = state.remove(variable),
                    }
                }
            }
            Statement::If { condition, accept, reject } => {
                let before = self.state.clone();
                self.assume(*condition, true);
                self.list(accept);
                let after = std::mem::replace(&mut self.state, before);
                self.assume(*condition, false);
                self.list(reject);
                join(&mut self.state, after);
            }
            Statement::Block { label, body } => {
                self.labels[label.index()] = None;
                self.list(body);
                let broken = self.labels[label.index()].take();
                join(&mut self.state, broken);
            }
            Statement::Loop { body } => self.turns(statement, body),
            Statement::Break(label) => self.leave(*label),
            _ => {}
        }
    }

    fn is_shared(&self, variable: Variable) -> bool {
        self.shapes.variable(variable).level() < Level::Varying
    }

    fn note_set(&mut self, variable: Variable) {
        self.times += 1;
        self.set[variable.index()] = self.times;
    }

    fn leave(&mut self, label: Label) {
        let state = self.state.take();
        join(&mut self.labels[label.index()], state);
    }

    /// Goes through a loop. Numbers that are not negative before it are taken for such in every round, and if that
    /// turns out to be wrong, nothing is known of them.
    fn turns(&mut self, statement: &Statement, body: &Block) {
        let mut set = Vec::new();
        statement.any(&mut |inner| {
            if let Statement::Set(variable, _) = inner {
                set.push(*variable);
            }
            false
        });
        for variable in &set {
            self.note_set(*variable);
        }
        self.depth += 1;
        let Some(mut head) = self.state.take() else {
            self.list(body);
            self.depth -= 1;
            return;
        };
        let labels = self.labels.clone();
        for variable in set {
            let is_number = self.body.variables[variable.index()] == Kind::I32;
            match head.get_mut(&variable) {
                Some(upper) if is_number && self.depth <= DEEPEST => *upper = i32::MAX as u64,
                _ => _ = head.remove(&variable),
            }
        }
        loop {
            self.state = Some(head.clone());
            self.list(body);
            let Some(end) = self.state.take() else { break };
            let count = head.len();
            head.retain(|variable, upper| end.get(variable).is_some_and(|end| end <= upper));
            if head.len() == count {
                break;
            }
            self.labels.clone_from(&labels);
        }
        self.depth -= 1;
    }

    /// Notes what follows from a condition.
    fn assume(&mut self, condition: Value, holds: bool) {
        match self.body.op(condition) {
            Op::Unary(Unary::Not, inner) => self.assume(*inner, !holds),
            Op::Binary(Binary::And, a, b) if holds && self.body.kind(*a) == Kind::Bool => {
                self.assume(*a, true);
                self.assume(*b, true);
            }
            Op::Binary(Binary::Or, a, b) if !holds && self.body.kind(*a) == Kind::Bool => {
                self.assume(*a, false);
                self.assume(*b, false);
            }
            Op::Binary(op, a, b) => {
                // Either a is below b, or a is at most b.
                let (low, high, strictly) = match if holds { *op } else { op.opposite() } {
                    Binary::Less => (*a, *b, true),
                    Binary::LessEqual => (*a, *b, false),
                    Binary::Greater => (*b, *a, true),
                    Binary::GreaterEqual => (*b, *a, false),
                    _ => return,
                };
                let Some(most) = self.of(high).and_then(|most| most.checked_sub(strictly.into())) else { return };
                self.at_most(low, most);
            }
            _ => {}
        }
    }

    /// Notes that a value, and the variable that it was read from, are not above a number.
    fn at_most(&mut self, value: Value, most: u64) {
        let Op::Get(variable) = *self.body.op(value) else { return };
        let was_known = self.values[value.index()];
        let is_number = match self.body.kind(value) {
            Kind::U32 => true,
            // It must be known already that it is not negative.
            Kind::I32 => was_known.is_some(),
            _ => false,
        };
        let is_still_there = self.set[variable.index()] <= self.read[value.index()];
        if is_number
            && is_still_there
            && self.is_shared(variable)
            && let Some(state) = &mut self.state
        {
            state.insert(variable, most.min(was_known.unwrap_or(most)));
        }
    }

    fn computed(&self, value: Value) -> Option<u64> {
        let (body, kind) = (self.body, self.body.kind(value));
        let of = |value| self.of(value);
        let is_number = matches!(kind, Kind::I32 | Kind::U32);
        match body.op(value) {
            Op::Get(variable) => self.state.as_ref()?.get(variable).copied(),
            Op::Unary(Unary::Convert(Kind::I32 | Kind::U32) | Unary::Bitcast(Kind::I32 | Kind::U32), inner)
                if matches!(body.kind(*inner), Kind::I32 | Kind::U32) =>
            {
                fits(kind, of(*inner)?)
            }
            Op::Unary(Unary::Convert(Kind::I32 | Kind::U32), inner) if body.kind(*inner) == Kind::Bool => Some(1),
            Op::Select(_, a, b) if is_number => Some(of(*a)?.max(of(*b)?)),
            Op::Binary(op, a, b) if is_number => match op {
                Binary::And => match (of(*a), of(*b)) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                },
                Binary::Min => match (of(*a), of(*b)) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    // The other could be negative.
                    (a, b) if kind == Kind::U32 => a.or(b),
                    _ => None,
                },
                Binary::Max => Some(of(*a)?.max(of(*b)?)),
                Binary::Add => fits(kind, of(*a)?.checked_add(of(*b)?)?),
                Binary::Multiply => fits(kind, of(*a)?.checked_mul(of(*b)?)?),
                Binary::Or | Binary::Xor => fits(kind, (of(*a)? | of(*b)?).checked_add(1)?.next_power_of_two() - 1),
                Binary::Remainder => {
                    let most = body.constant(*b).and_then(|bits| u64::from(bits as u32).checked_sub(1));
                    match (most, of(*a)) {
                        (Some(most), Some(a)) => Some(a.min(most)),
                        (Some(most), None) if kind == Kind::U32 => Some(most),
                        (_, a) => a,
                    }
                }
                Binary::Divide => {
                    let by = body.constant(*b).map(|bits| u64::from(bits as u32)).filter(|by| *by > 0)?;
                    if kind == Kind::I32 && by > i32::MAX as u64 {
                        return None;
                    }
                    match of(*a) {
                        Some(a) => Some(a / by),
                        None => (kind == Kind::U32).then(|| u64::from(u32::MAX) / by),
                    }
                }
                Binary::ShiftRight => {
                    let by = body.constant(*b)? % 32;
                    match of(*a) {
                        Some(a) => Some(a >> by),
                        None => (kind == Kind::U32).then(|| u64::from(u32::MAX) >> by),
                    }
                }
                Binary::ShiftLeft => {
                    let by = body.constant(*b)? % 32;
                    fits(kind, of(*a)?.checked_shl(by as u32)?)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// What is known where two ways join.
fn join(state: &mut State, other: State) {
    match (state.as_mut(), other) {
        (_, None) => {}
        (None, other) => *state = other,
        (Some(own), Some(other)) => own.retain(|variable, upper| match other.get(variable) {
            Some(more) => {
                *upper = (*upper).max(*more);
                true
            }
            None => false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ir::Definition;
    use super::super::liveness::Liveness;
    use super::*;

    #[test]
    fn what_is_cut_off_is_bounded() {
        let number = |kind, op| Definition { kind, op };
        let local = Op::Builtin(Builtin::LocalIndex);
        let mut body = Body {
            values: vec![
                number(Kind::U32, local),
                number(Kind::U32, Op::Constant(15)),
                number(Kind::U32, Op::FromMemory),
                number(Kind::U32, Op::Binary(Binary::And, Value(2), Value(1))),
                number(Kind::U32, Op::Binary(Binary::Multiply, Value(3), Value(1))),
                number(Kind::U32, Op::Binary(Binary::Add, Value(4), Value(0))),
                number(Kind::U32, Op::Binary(Binary::Remainder, Value(2), Value(1))),
                number(Kind::I32, Op::FromMemory),
                number(Kind::I32, Op::Constant(15)),
                number(Kind::I32, Op::Binary(Binary::Remainder, Value(7), Value(8))),
                number(Kind::I32, Op::Binary(Binary::Min, Value(7), Value(8))),
                number(Kind::U32, Op::Binary(Binary::Subtract, Value(0), Value(1))),
            ],
            variables: Vec::new(),
            labels: 0,
            statements: Vec::new(),
            workgroup_size: [64, 1, 1],
            workgroup_memory: 0,
            private_memory: 0,
            subgroups: false,
        };
        body.statements = (0..12).map(|i| Statement::Let(Value(i))).collect();
        let bounds = |body: &Body| {
            let shapes = Shapes::new(body, &Liveness::new(body), 8);
            let ranges = Ranges::new(body, &shapes, 8);
            (0..12).map(|i| ranges.upper(body, Value(i), 8)).collect::<Vec<_>>()
        };
        let expected =
            [Some(63), Some(15), None, Some(15), Some(225), Some(288), Some(14), None, Some(15), None, None, None];
        assert_eq!(bounds(&body), expected);
        body.workgroup_size = [60, 1, 1];
        assert_eq!(bounds(&body)[0], None);
    }
}
