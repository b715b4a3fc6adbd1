//! Whether a body is as [`ir`](super::ir) says, for tests.

use super::ir::{
    Atomic, Binary, Block, Body, Count, Format, Function, Kind, Label, Memory, Op, Part, Place, Statement, Subgroup,
    Unary, Value, Variable,
};

/// What is wrong with it first.
pub(super) fn well_formed(body: &Body) -> Result<(), String> {
    let mut check = Check {
        body,
        defined: vec![false; body.values.len()],
        ever: vec![false; body.values.len()],
        labels: vec![false; body.labels as usize],
        around: Vec::new(),
        subgroups: false,
    };
    require(body.private_memory.is_multiple_of(8), || "private memory is no multiple of 8".into())?;
    require(body.workgroup_memory.is_multiple_of(16), || "workgroup memory is no multiple of 16".into())?;
    check.list(&body.statements)?;
    require(body.subgroups || !check.subgroups, || "subgroups are used without a word".into())
}

struct Check<'a> {
    body: &'a Body,
    /// What is in sight.
    defined: Vec<bool>,
    /// What was in sight once.
    ever: Vec<bool>,
    labels: Vec<bool>,
    around: Vec<Label>,
    subgroups: bool,
}

fn require(is: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is { Ok(()) } else { Err(what()) }
}

impl Check<'_> {
    fn list(&mut self, list: &Block) -> Result<(), String> {
        let outside = self.defined.clone();
        for (i, statement) in list.iter().enumerate() {
            self.statement(statement).map_err(|what| format!("{what}\nin {statement:?}"))?;
            let is_last = i + 1 == list.len();
            require(is_last || !matches!(statement, Statement::Break(_)), || "something follows a break".into())?;
        }
        self.defined = outside;
        Ok(())
    }

    fn define(&mut self, value: Value) -> Result<(), String> {
        require(value.index() < self.ever.len(), || format!("{value:?} does not exist"))?;
        require(!self.ever[value.index()], || format!("{value:?} is defined twice"))?;
        self.ever[value.index()] = true;
        self.defined[value.index()] = true;
        Ok(())
    }

    /// The kind of a value that may be used here.
    fn kind(&mut self, value: Value) -> Result<Kind, String> {
        require(value.index() < self.ever.len(), || format!("{value:?} does not exist"))?;
        match self.body.op(value) {
            Op::Constant(bits) => {
                let kind = self.body.kind(value);
                let fits = match kind {
                    Kind::Bool => *bits <= 1,
                    _ if kind.is_wide() => true,
                    _ => u32::try_from(*bits).is_ok(),
                };
                require(fits, || format!("{value:?} is too large"))?;
            }
            Op::Builtin(builtin) => {
                use super::ir::Builtin as B;
                self.subgroups |= matches!(builtin, B::Lane | B::SubgroupSize | B::SubgroupId | B::Subgroups);
                require(self.body.kind(value) == Kind::U32, || format!("{value:?} is built in, but no U32"))?;
            }
            _ => require(self.defined[value.index()], || format!("{value:?} is not in sight"))?,
        }
        Ok(self.body.kind(value))
    }

    fn expect(&mut self, value: Value, kind: Kind) -> Result<(), String> {
        let is = self.kind(value)?;
        require(is == kind, || format!("{value:?} is {is:?}, not {kind:?}"))
    }

    fn variable(&self, variable: Variable) -> Result<Kind, String> {
        let kind = self.body.variables.get(variable.index()).copied();
        kind.ok_or_else(|| format!("{variable:?} does not exist"))
    }

    /// What kind the operation gives.
    fn op(&mut self, op: &Op, kind: Kind) -> Result<Kind, String> {
        match op {
            Op::Constant(_) | Op::Builtin(_) => Err("it needs no statement".into()),
            Op::FromMemory => Err("only loads and atomics define it".into()),
            Op::Get(variable) => self.variable(*variable),
            Op::Unary(op, x) => {
                let x = self.kind(*x)?;
                unary(*op, x).ok_or_else(|| format!("{op:?} of {x:?}"))
            }
            Op::Binary(op, x, y) => {
                let (x, y) = (self.kind(*x)?, self.kind(*y)?);
                binary(*op, x, y).ok_or_else(|| format!("{op:?} of {x:?} and {y:?}"))
            }
            Op::Fma(x, y, z) => {
                [x, y, z].into_iter().try_for_each(|x| self.expect(*x, kind))?;
                require(kind.is_float(), || format!("Fma of {kind:?}"))?;
                Ok(kind)
            }
            Op::Select(condition, x, y) => {
                self.expect(*condition, Kind::Bool)?;
                self.expect(*x, kind)?;
                self.expect(*y, kind)?;
                Ok(kind)
            }
            Op::Call(function, arguments) => {
                require(Function::ALL.contains(function), || format!("{function:?} is not among all"))?;
                require(arguments.len() == function.arguments(), || "so many arguments".into())?;
                require(kind.is_float(), || format!("{function:?} of {kind:?}"))?;
                arguments.iter().try_for_each(|x| self.expect(*x, kind))?;
                Ok(kind)
            }
            Op::Length { stride, .. } => {
                require(*stride > 0, || "no stride".into())?;
                Ok(Kind::U32)
            }
            Op::Subgroup(op, x, y) => self.subgroup(*op, *x, *y),
        }
    }

    fn subgroup(&mut self, op: Subgroup, x: Value, y: Option<Value>) -> Result<Kind, String> {
        self.subgroups = true;
        let kind = self.kind(x)?;
        let has_number =
            matches!(op, Subgroup::Shuffle | Subgroup::ShuffleXor | Subgroup::ShuffleUp | Subgroup::ShuffleDown);
        require(y.is_some() == has_number, || format!("operands of {op:?}"))?;
        y.iter().try_for_each(|y| self.expect(*y, Kind::U32))?;
        match op {
            Subgroup::Ballot => {
                self.expect(x, Kind::Bool)?;
                return Ok(Kind::U32);
            }
            Subgroup::Reduce(op) => {
                use Binary as B;
                let known = matches!(op, B::Add | B::Multiply | B::Min | B::Max | B::And | B::Or | B::Xor);
                require(known && binary(op, kind, kind).is_some(), || format!("{op:?} over {kind:?}"))?;
            }
            Subgroup::InclusiveScan(op) | Subgroup::ExclusiveScan(op) => {
                let known = matches!(op, Binary::Add | Binary::Multiply);
                require(known && kind != Kind::Bool, || format!("{op:?} over {kind:?}"))?;
            }
            _ => {}
        }
        Ok(kind)
    }

    fn place(&mut self, place: &Place, align: u32) -> Result<(), String> {
        for step in &place.steps {
            let kind = self.kind(step.index)?;
            require(matches!(kind, Kind::I32 | Kind::U32), || format!("an index is {kind:?}"))?;
            require(step.stride > 0 && step.stride.is_multiple_of(align), || "a stride that does not fit".into())?;
            if let Count::Runtime { .. } = step.count {
                let is_buffer = matches!(place.memory, Memory::Buffer { .. });
                require(is_buffer, || "only buffers know the length of an array".into())?;
            }
        }
        Ok(())
    }

    /// Whether the parts may lie at the place.
    fn parts(&mut self, place: &Place, parts: &[Part]) -> Result<(), String> {
        require(!parts.is_empty(), || "no parts".into())?;
        for part in parts {
            let size = part.format.size();
            self.place(place, size)?;
            let at = place.offset + part.offset;
            require(at.is_multiple_of(size), || format!("{:?} at {at}", part.format))?;
            let kind = self.body.kind(part.value);
            require(kind == part.format.kind(), || format!("{:?} is {kind:?}", part.value))?;
            let end = match place.memory {
                Memory::Buffer { .. } => continue,
                Memory::Workgroup => self.body.workgroup_memory,
                Memory::Private => self.body.private_memory,
            };
            let farthest = place.steps.iter().fold(u64::from(at + size), |farthest, step| match step.count {
                Count::Fixed(count) => farthest + u64::from(count - 1) * u64::from(step.stride),
                Count::Runtime { .. } => farthest,
            });
            require(farthest <= end.into(), || format!("byte {farthest} of {end}"))?;
            if place.memory == Memory::Private {
                require(matches!(part.format, Format::Plain(_)), || format!("{:?} in private memory", part.format))?;
            }
        }
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Let(value) => {
                require(value.index() < self.ever.len(), || format!("{value:?} does not exist"))?;
                let kind = self.body.kind(*value);
                let gives = self.op(self.body.op(*value), kind)?;
                require(gives == kind, || format!("{value:?} is {kind:?}, but computed as {gives:?}"))?;
                self.define(*value)
            }
            Statement::Set(variable, value) => {
                let kind = self.variable(*variable)?;
                self.expect(*value, kind)
            }
            Statement::Load { place, parts } | Statement::UniformLoad { place, parts } => {
                self.parts(place, parts)?;
                parts.iter().try_for_each(|part| self.define_from_memory(part.value))
            }
            Statement::Store { place, parts } => {
                if let Memory::Buffer { writable, .. } = place.memory {
                    require(writable, || "nothing can be stored there".into())?;
                }
                parts.iter().try_for_each(|part| self.kind(part.value).map(drop))?;
                self.parts(place, parts)
            }
            Statement::Clear { offset, size } => {
                require(size.is_multiple_of(4) && offset.is_multiple_of(4), || "parts of words".into())?;
                require(offset + size <= self.body.private_memory, || "more than there is".into())
            }
            Statement::Atomic { place, kind, op, operand, old } => {
                self.place(place, if kind.is_wide() { 8 } else { 4 })?;
                require(place.memory != Memory::Private, || "an atomic that nobody else sees".into())?;
                require(operand.is_none() == (*op == Atomic::Load), || "operands of an atomic".into())?;
                operand.iter().try_for_each(|x| self.expect(*x, *kind))?;
                if let Atomic::CompareExchange(expected) = op {
                    self.expect(*expected, *kind)?;
                }
                let known = match kind {
                    Kind::F32 => {
                        matches!(op, Atomic::Load | Atomic::Store | Atomic::Add | Atomic::Subtract | Atomic::Exchange)
                    }
                    Kind::Bool | Kind::F64 => false,
                    _ => true,
                };
                require(known, || format!("{op:?} of {kind:?}"))?;
                old.iter().try_for_each(|old| {
                    require(self.body.kind(*old) == *kind, || format!("{old:?} is not {kind:?}"))?;
                    self.define_from_memory(*old)
                })
            }
            Statement::If { condition, accept, reject } => {
                self.expect(*condition, Kind::Bool)?;
                self.list(accept)?;
                self.list(reject)
            }
            Statement::Block { label, body } => {
                let known = self.labels.get_mut(label.index());
                let twice = known.is_none_or(|used| std::mem::replace(used, true));
                require(!twice, || format!("{label:?} is used twice or does not exist"))?;
                self.around.push(*label);
                self.list(body)?;
                self.around.pop();
                Ok(())
            }
            Statement::Loop { body } => self.list(body),
            Statement::Break(label) => require(self.around.contains(label), || format!("{label:?} is not around")),
            Statement::Barrier => Ok(()),
        }
    }

    fn define_from_memory(&mut self, value: Value) -> Result<(), String> {
        require(matches!(self.body.op(value), Op::FromMemory), || format!("{value:?} is not from memory"))?;
        self.define(value)
    }
}

fn unary(op: Unary, x: Kind) -> Option<Kind> {
    let is_integer = x != Kind::Bool && !x.is_float();
    let (fits, gives) = match op {
        Unary::Negate | Unary::Abs => (x != Kind::Bool, x),
        Unary::Not => (!x.is_float(), x),
        Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round | Unary::Sqrt => (x.is_float(), x),
        Unary::CountOnes | Unary::LeadingZeros | Unary::TrailingZeros | Unary::ReverseBits => (is_integer, x),
        Unary::RoundToHalf => (x == Kind::F32, x),
        Unary::HalfToBits => (x == Kind::F32, Kind::U32),
        Unary::HalfFromBits => (x == Kind::U32, Kind::F32),
        Unary::Convert(to) => (true, to),
        Unary::Bitcast(to) => (x != Kind::Bool && to != Kind::Bool && x.is_wide() == to.is_wide(), to),
    };
    fits.then_some(gives)
}

fn binary(op: Binary, x: Kind, y: Kind) -> Option<Kind> {
    let (fits, gives) = match op {
        Binary::Add
        | Binary::Subtract
        | Binary::Multiply
        | Binary::Divide
        | Binary::Remainder
        | Binary::Min
        | Binary::Max => (x != Kind::Bool, x),
        Binary::And | Binary::Or | Binary::Xor => (!x.is_float(), x),
        Binary::ShiftLeft | Binary::ShiftRight => {
            return (x != Kind::Bool && !x.is_float() && y == Kind::U32).then_some(x);
        }
        Binary::Equal | Binary::NotEqual => (true, Kind::Bool),
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => (x != Kind::Bool, Kind::Bool),
    };
    (fits && x == y).then_some(gives)
}
