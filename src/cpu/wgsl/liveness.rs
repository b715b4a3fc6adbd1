//! Which variables are alive where: those that are read later on some way from there, before they are set.

use rustc_hash::{FxHashMap, FxHashSet};

use super::ir::{Block, Body, Label, Op, Statement, Variable};

/// A set of variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Variables(Vec<u64>);

impl Variables {
    fn none(body: &Body) -> Self {
        Self(vec![0; body.variables.len().div_ceil(64)])
    }

    pub(super) fn contains(&self, variable: Variable) -> bool {
        self.0.get(variable.index() / 64).is_some_and(|word| word >> (variable.index() % 64) & 1 == 1)
    }

    fn insert(&mut self, variable: Variable) {
        self.0[variable.index() / 64] |= 1 << (variable.index() % 64);
    }

    fn remove(&mut self, variable: Variable) {
        self.0[variable.index() / 64] &= !(1 << (variable.index() % 64));
    }

    /// Adds those of another set. Whether it grew.
    fn merge(&mut self, other: &Self) -> bool {
        let mut grew = false;
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            grew |= other & !*own != 0;
            *own |= other;
        }
        grew
    }
}

/// Tells statements apart: they stay where they are while a body is compiled.
pub(super) type Key = *const Statement;

/// What is alive at the places where other invocations may wait.
pub(super) struct Liveness {
    /// Behind each `If` and `Block`.
    after: FxHashMap<Key, Variables>,
    /// Before what an `If` does otherwise.
    reject: FxHashMap<Key, Variables>,
    /// Before the first statement.
    pub(super) entry: Variables,
    /// Behind the block of each label.
    labels: Vec<Variables>,
    /// At the head of each loop.
    loops: FxHashMap<Key, Variables>,
}

impl Liveness {
    pub(super) fn new(body: &Body) -> Self {
        let mut walk = Walk {
            body,
            wanted: FxHashSet::default(),
            before: FxHashMap::default(),
            grew: true,
            found: Self {
                after: FxHashMap::default(),
                reject: FxHashMap::default(),
                entry: Variables::none(body),
                labels: vec![Variables::none(body); body.labels as usize],
                loops: FxHashMap::default(),
            },
        };
        // What is alive at the head of a loop is found out by going round, until nothing is added anywhere.
        while std::mem::take(&mut walk.grew) {
            walk.found.entry = walk.list(&body.statements, Variables::none(body));
        }
        walk.found
    }

    /// What is alive before these statements.
    pub(super) fn before(&mut self, body: &Body, wanted: FxHashSet<Key>) -> FxHashMap<Key, Variables> {
        let found = Self {
            after: std::mem::take(&mut self.after),
            reject: std::mem::take(&mut self.reject),
            entry: std::mem::take(&mut self.entry),
            labels: std::mem::take(&mut self.labels),
            loops: std::mem::take(&mut self.loops),
        };
        let mut walk = Walk { body, wanted, before: FxHashMap::default(), grew: false, found };
        walk.list(&body.statements, Variables::none(body));
        *self = walk.found;
        walk.before
    }

    pub(super) fn after(&self, statement: &Statement) -> &Variables {
        &self.after[&std::ptr::from_ref(statement)]
    }

    pub(super) fn before_reject(&self, statement: &Statement) -> &Variables {
        &self.reject[&std::ptr::from_ref(statement)]
    }
}

struct Walk<'a> {
    body: &'a Body,
    /// The statements of which it is asked what is alive before them, and the answers.
    wanted: FxHashSet<Key>,
    before: FxHashMap<Key, Variables>,
    grew: bool,
    found: Liveness,
}

/// Whether invocations wait for each other inside.
pub(super) fn has_barrier(statement: &Statement) -> bool {
    statement.any(&mut |inner| matches!(inner, Statement::Barrier | Statement::UniformLoad { .. }))
}

impl Walk<'_> {
    /// What is alive before a list, where `alive` is so behind it.
    fn list(&mut self, block: &Block, mut alive: Variables) -> Variables {
        for statement in block.iter().rev() {
            alive = self.statement(statement, alive);
            if self.wanted.contains(&std::ptr::from_ref(statement)) {
                self.before.insert(statement, alive.clone());
            }
        }
        alive
    }

    fn statement(&mut self, statement: &Statement, mut alive: Variables) -> Variables {
        match statement {
            Statement::Let(value) => {
                if let Op::Get(variable) = self.body.op(*value) {
                    alive.insert(*variable);
                }
            }
            Statement::Set(variable, _) => alive.remove(*variable),
            Statement::If { accept, reject, .. } => {
                let after = alive.clone();
                let other = self.list(reject, alive.clone());
                let mut before = self.list(accept, alive);
                before.merge(&other);
                self.found.after.insert(statement, after);
                self.found.reject.insert(statement, other);
                return before;
            }
            Statement::Block { label, body } => {
                self.set_label(*label, &alive);
                self.found.after.insert(statement, alive.clone());
                return self.list(body, alive);
            }
            Statement::Loop { body } => {
                let head = self.found.loops.get(&std::ptr::from_ref(statement)).cloned();
                let head = head.unwrap_or_else(|| Variables::none(self.body));
                let before = self.list(body, head.clone());
                let mut merged = head;
                if merged.merge(&before) {
                    self.grew = true;
                }
                self.found.loops.insert(statement, merged);
                return before;
            }
            Statement::Break(label) => return self.found.labels[label.index()].clone(),
            Statement::Load { .. }
            | Statement::Store { .. }
            | Statement::Clear { .. }
            | Statement::Atomic { .. }
            | Statement::Barrier
            | Statement::UniformLoad { .. } => {}
        }
        alive
    }

    fn set_label(&mut self, label: Label, alive: &Variables) {
        self.found.labels[label.index()].clone_from(alive);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ir::{Definition, Kind, Value};
    use super::*;

    fn body(statements: Block) -> Body {
        let get = |i| Definition { kind: Kind::U32, op: Op::Get(Variable(i)) };
        Body {
            values: vec![get(0), get(1), Definition { kind: Kind::Bool, op: Op::Constant(1) }],
            variables: vec![Kind::U32; 2],
            labels: 2,
            statements,
            workgroup_size: [8, 1, 1],
            workgroup_memory: 0,
            private_memory: 0,
            subgroups: false,
        }
    }

    #[test]
    fn what_a_loop_carries_is_alive_in_it() {
        let (a, b) = (Variable(0), Variable(1));
        let turn = vec![
            Statement::Let(Value(0)),
            Statement::Set(b, Value(0)),
            Statement::If { condition: Value(2), accept: vec![Statement::Break(Label(0))], reject: vec![] },
            Statement::Set(a, Value(0)),
            Statement::Barrier,
        ];
        let all = body(vec![
            Statement::Set(a, Value(2)),
            Statement::Block { label: Label(0), body: vec![Statement::Loop { body: turn }] },
            Statement::Let(Value(1)),
        ]);
        let mut found = Liveness::new(&all);
        let Statement::Block { body: inner, .. } = &all.statements[1] else { unreachable!() };
        let Statement::Loop { body: turn } = &inner[0] else { unreachable!() };
        let before = found.before(&all, turn.iter().map(std::ptr::from_ref).collect());
        let before = |i: usize| &before[&std::ptr::from_ref(&turn[i])];
        assert!(before(0).contains(a) && !before(0).contains(b));
        assert!(before(2).contains(b) && !before(3).contains(b));
        assert!(found.after(&all.statements[1]).contains(b) && !found.after(&all.statements[1]).contains(a));
        assert!(!found.entry.contains(a) && !found.entry.contains(b));
    }
}
