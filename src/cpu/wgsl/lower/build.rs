//! Values and statements, as they come about.

use rustc_hash::FxHashMap;

use super::types::Scalar;
use crate::cpu::wgsl::ir::{
    Binary, Block, Body, Builtin, Definition, Function, Kind, Label, Op, SHORT, Statement, Subgroup, Unary, Value,
    Variable, is_cheap,
};

/// The values so far, and the lists of statements that are open, the innermost last.
#[derive(Default)]
pub(super) struct Builder {
    values: Vec<Definition>,
    variables: Vec<Kind>,
    labels: u32,
    /// How many statements there are, and how many scalars they load and store.
    statements: usize,
    parts: usize,
    constants: FxHashMap<(Kind, u64), Value>,
    builtins: FxHashMap<Builtin, Value>,
    lists: Vec<Block>,
    /// What variables hold at the end of the innermost list, of those that were set since its last jump.
    held: FxHashMap<Variable, Value>,
    pub(super) subgroups: bool,
}

impl Builder {
    /// How much there is of what there is most.
    pub(super) fn size(&self) -> usize {
        self.values.len().max(self.variables.len()).max(self.statements).max(self.parts / 4)
    }

    /// Puts everything into a body.
    pub(super) fn finish(self, body: &mut Body) {
        body.values = self.values;
        body.variables = self.variables;
        body.labels = self.labels;
        body.subgroups = self.subgroups;
    }

    pub(super) fn open(&mut self) {
        self.held.clear();
        self.lists.push(Block::new());
    }

    pub(super) fn close(&mut self) -> Block {
        self.held.clear();
        self.lists.pop().unwrap_or_default()
    }

    /// Adds a statement to the innermost list, unless nothing gets there.
    pub(super) fn push(&mut self, statement: Statement) {
        if let Some(list) = self.lists.last_mut()
            && !matches!(list.last(), Some(Statement::Break(_)))
        {
            match &statement {
                Statement::Load { parts, .. } | Statement::Store { parts, .. } => self.parts += parts.len(),
                Statement::Set(variable, value) => _ = self.held.insert(*variable, *value),
                Statement::If { .. } | Statement::Block { .. } | Statement::Loop { .. } => self.held.clear(),
                _ => {}
            }
            list.push(statement);
            self.statements += 1;
        }
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    pub(super) fn kind(&self, value: Value) -> Kind {
        self.values[value.index()].kind
    }

    /// The bits of a constant.
    pub(super) fn known(&self, value: Value) -> Option<u64> {
        match self.values[value.index()].op {
            Op::Constant(bits) => Some(bits),
            _ => None,
        }
    }

    /// Whether it may be used everywhere.
    pub(super) fn is_everywhere(&self, value: Value) -> bool {
        matches!(self.values[value.index()].op, Op::Constant(_) | Op::Builtin(_))
    }

    /// A value that a statement defines, or none needs to.
    pub(super) fn define(&mut self, kind: Kind, op: Op) -> Value {
        self.values.push(Definition { kind, op });
        Value(self.values.len() as u32 - 1)
    }

    /// A value that is computed here.
    pub(super) fn compute(&mut self, kind: Kind, op: Op) -> Value {
        let value = self.define(kind, op);
        self.push(Statement::Let(value));
        value
    }

    pub(super) fn constant(&mut self, kind: Kind, bits: u64) -> Value {
        if let Some(value) = self.constants.get(&(kind, bits)) {
            return *value;
        }
        let value = self.define(kind, Op::Constant(bits));
        self.constants.insert((kind, bits), value);
        value
    }

    pub(super) fn zero(&mut self, kind: Kind) -> Value {
        self.constant(kind, 0)
    }

    pub(super) fn bool(&mut self, is: bool) -> Value {
        self.constant(Kind::Bool, is.into())
    }

    pub(super) fn u32(&mut self, number: u32) -> Value {
        self.constant(Kind::U32, number.into())
    }

    /// A whole number of any kind.
    pub(super) fn integer(&mut self, kind: Kind, number: i64) -> Value {
        match kind {
            Kind::F32 => self.constant(kind, (number as f32).to_bits().into()),
            Kind::F64 => self.constant(kind, (number as f64).to_bits()),
            _ if kind.is_wide() => self.constant(kind, number as u64),
            _ => self.constant(kind, (number as u32).into()),
        }
    }

    /// A number of a kind of floats.
    pub(super) fn float(&mut self, kind: Kind, number: f64) -> Value {
        match kind {
            Kind::F64 => self.constant(kind, number.to_bits()),
            _ => self.constant(Kind::F32, (number as f32).to_bits().into()),
        }
    }

    pub(super) fn builtin(&mut self, builtin: Builtin) -> Value {
        self.subgroups |=
            matches!(builtin, Builtin::Lane | Builtin::SubgroupSize | Builtin::SubgroupId | Builtin::Subgroups);
        if let Some(value) = self.builtins.get(&builtin) {
            return *value;
        }
        let value = self.define(Kind::U32, Op::Builtin(builtin));
        self.builtins.insert(builtin, value);
        value
    }

    pub(super) fn variable(&mut self, kind: Kind) -> Variable {
        self.variables.push(kind);
        Variable(self.variables.len() as u32 - 1)
    }

    pub(super) fn get(&mut self, variable: Variable) -> Value {
        if let Some(value) = self.held.get(&variable) {
            return *value;
        }
        self.compute(self.variables[variable.index()], Op::Get(variable))
    }

    pub(super) fn set(&mut self, variable: Variable, value: Value) {
        self.push(Statement::Set(variable, value));
    }

    /// Whether statements only compute what is cheap, from what variables hold before them.
    fn can_be_chosen(&self, list: &Block) -> bool {
        let mut set = Vec::new();
        let reads_own = list.iter().any(|statement| match statement {
            Statement::Set(variable, _) => {
                set.push(*variable);
                false
            }
            Statement::Let(value) => {
                matches!(&self.values[value.index()].op, Op::Get(variable) if set.contains(variable))
            }
            _ => false,
        });
        !reads_own && is_cheap(&self.values, list)
    }

    /// Adds an `If`, or what it comes to without a jump.
    pub(super) fn branch(&mut self, condition: Value, accept: Block, reject: Block) {
        if accept.is_empty() && reject.is_empty() {
            return;
        }
        if accept.len() + reject.len() > SHORT || !self.can_be_chosen(&accept) || !self.can_be_chosen(&reject) {
            self.push(Statement::If { condition, accept, reject });
            return;
        }
        let mut set: Vec<(Variable, [Option<Value>; 2])> = Vec::new();
        for (way, list) in [accept, reject].into_iter().enumerate() {
            for statement in list {
                let Statement::Set(variable, value) = statement else {
                    self.push(statement);
                    continue;
                };
                match set.iter_mut().find(|(known, _)| *known == variable) {
                    Some((_, values)) => values[way] = Some(value),
                    None if way == 0 => set.push((variable, [Some(value), None])),
                    None => set.push((variable, [None, Some(value)])),
                }
            }
        }
        for (variable, ways) in set {
            let [accept, reject] = ways.map(|value| value.unwrap_or_else(|| self.get(variable)));
            let value = self.select(condition, accept, reject);
            self.set(variable, value);
        }
    }

    pub(super) fn unary(&mut self, op: Unary, x: Value) -> Value {
        let kind = match op {
            Unary::Convert(kind) | Unary::Bitcast(kind) if kind == self.kind(x) => return x,
            Unary::Convert(kind) | Unary::Bitcast(kind) => kind,
            Unary::HalfToBits => Kind::U32,
            Unary::HalfFromBits => Kind::F32,
            _ => self.kind(x),
        };
        self.compute(kind, Op::Unary(op, x))
    }

    pub(super) fn binary(&mut self, op: Binary, x: Value, y: Value) -> Value {
        let kind = if op.is_comparison() { Kind::Bool } else { self.kind(x) };
        self.compute(kind, Op::Binary(op, x, y))
    }

    /// `accept` where the condition is true, else `reject`.
    pub(super) fn select(&mut self, condition: Value, accept: Value, reject: Value) -> Value {
        match self.known(condition) {
            Some(0) => return reject,
            Some(_) => return accept,
            None if accept == reject => return accept,
            None => {}
        }
        let kind = self.kind(accept);
        if kind == Kind::Bool {
            match (self.known(accept), self.known(reject)) {
                (Some(0), _) => {
                    let not = self.unary(Unary::Not, condition);
                    return self.binary(Binary::And, not, reject);
                }
                (Some(_), _) => return self.binary(Binary::Or, condition, reject),
                (_, Some(0)) => return self.binary(Binary::And, condition, accept),
                (_, Some(_)) => {
                    let not = self.unary(Unary::Not, condition);
                    return self.binary(Binary::Or, not, accept);
                }
                _ => {}
            }
        }
        self.compute(kind, Op::Select(condition, accept, reject))
    }

    /// The number to which arithmetic of this type rounds.
    pub(super) fn rounded(&mut self, scalar: Scalar, x: Value) -> Value {
        if scalar.half { self.unary(Unary::RoundToHalf, x) } else { x }
    }

    /// Arithmetic of a type, rounded as the type is.
    pub(super) fn arithmetic(&mut self, scalar: Scalar, op: Binary, x: Value, y: Value) -> Value {
        let result = self.binary(op, x, y);
        self.rounded(scalar, result)
    }

    pub(super) fn add(&mut self, scalar: Scalar, x: Value, y: Value) -> Value {
        self.arithmetic(scalar, Binary::Add, x, y)
    }

    pub(super) fn subtract(&mut self, scalar: Scalar, x: Value, y: Value) -> Value {
        self.arithmetic(scalar, Binary::Subtract, x, y)
    }

    pub(super) fn multiply(&mut self, scalar: Scalar, x: Value, y: Value) -> Value {
        self.arithmetic(scalar, Binary::Multiply, x, y)
    }

    pub(super) fn divide(&mut self, scalar: Scalar, x: Value, y: Value) -> Value {
        self.arithmetic(scalar, Binary::Divide, x, y)
    }

    pub(super) fn min(&mut self, x: Value, y: Value) -> Value {
        self.binary(Binary::Min, x, y)
    }

    pub(super) fn max(&mut self, x: Value, y: Value) -> Value {
        self.binary(Binary::Max, x, y)
    }

    /// `min(max(x, low), high)`.
    pub(super) fn clamp(&mut self, x: Value, low: Value, high: Value) -> Value {
        let x = self.max(x, low);
        self.min(x, high)
    }

    pub(super) fn sqrt(&mut self, scalar: Scalar, x: Value) -> Value {
        let root = self.unary(Unary::Sqrt, x);
        self.rounded(scalar, root)
    }

    pub(super) fn call(&mut self, scalar: Scalar, function: Function, arguments: Vec<Value>) -> Value {
        let result = self.compute(scalar.kind, Op::Call(function, arguments));
        self.rounded(scalar, result)
    }

    pub(super) fn subgroup(&mut self, op: Subgroup, x: Value, y: Option<Value>) -> Value {
        self.subgroups = true;
        let kind = if op == Subgroup::Ballot { Kind::U32 } else { self.kind(x) };
        self.compute(kind, Op::Subgroup(op, x, y))
    }

    /// Shifts by a number of bits that is known.
    pub(super) fn shift_left(&mut self, x: Value, by: u32) -> Value {
        let by = self.u32(by);
        self.binary(Binary::ShiftLeft, x, by)
    }

    pub(super) fn shift_right(&mut self, x: Value, by: u32) -> Value {
        let by = self.u32(by);
        self.binary(Binary::ShiftRight, x, by)
    }

    /// The bits of `x` that the mask has.
    pub(super) fn masked(&mut self, x: Value, mask: i64) -> Value {
        let mask = self.integer(self.kind(x), mask);
        self.binary(Binary::And, x, mask)
    }

    /// Compares with a whole number.
    pub(super) fn compare(&mut self, op: Binary, x: Value, number: i64) -> Value {
        let number = self.integer(self.kind(x), number);
        self.binary(op, x, number)
    }
}
