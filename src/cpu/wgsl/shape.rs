//! What invocations that run side by side share: which values are the same for all of them, and where their ways part.

use rustc_hash::FxHashSet;

use super::ir::{
    Binary, Block, Body, Builtin, Kind, Label, Memory, Op, Place, Statement, Subgroup, Unary, Value, Variable,
};
use super::liveness::{Key, Liveness, has_barrier};

/// How a value differs among the invocations of a group, which are those that run in the lanes of one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The same throughout the workgroup, and computed once for it where it has barriers.
    Workgroup,
    /// The same throughout the group.
    Group,
    /// That of the group's first invocation, and as much more for each further one. Of `I32` and `U32`, and it wraps.
    Affine(i32),
    Varying,
}

/// How far a decision holds: for the workgroup, for a group, or for each invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Workgroup,
    Group,
    Varying,
}

impl Shape {
    pub(super) fn level(self) -> Level {
        match self {
            Self::Workgroup => Level::Workgroup,
            Self::Group => Level::Group,
            Self::Affine(_) | Self::Varying => Level::Varying,
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Affine(a), Self::Affine(b)) if a == b => self,
            (a, b) => a.level().max(b.level()).into(),
        }
    }

    /// The same, but at least as different as what a level decides.
    fn raised(self, level: Level) -> Self {
        if level > self.level() { level.into() } else { self }
    }

    fn stride(self) -> Option<i32> {
        match self {
            Self::Workgroup | Self::Group => Some(0),
            Self::Affine(stride) => Some(stride),
            Self::Varying => None,
        }
    }
}

impl From<Level> for Shape {
    fn from(level: Level) -> Self {
        match level {
            Level::Workgroup => Self::Workgroup,
            Level::Group => Self::Group,
            Level::Varying => Self::Varying,
        }
    }
}

/// A number that grows by `stride` from lane to lane.
fn affine(stride: i32, lanes: usize) -> Shape {
    if stride == 0 || lanes == 1 { Shape::Group } else { Shape::Affine(stride) }
}

pub(super) struct Shapes {
    lanes: usize,
    /// Of values that were seen.
    values: Vec<Option<Shape>>,
    variables: Vec<Option<Shape>>,
    /// Who decides whether an invocation breaks to a label.
    labels: Vec<Level>,
    /// Where a variable is set while others wait that will read it.
    blended: FxHashSet<Key>,
}

impl Shapes {
    pub(super) fn new(body: &Body, liveness: &Liveness, lanes: usize) -> Self {
        let mut walk = Walk {
            body,
            liveness,
            found: Self {
                lanes,
                values: vec![None; body.values.len()],
                variables: vec![None; body.variables.len()],
                labels: vec![Level::Workgroup; body.labels as usize],
                blended: FxHashSet::default(),
            },
            frames: Vec::new(),
            changed: true,
        };
        for i in 0..body.variables.len() {
            // Zero.
            if liveness.entry.contains(Variable(i as u32)) {
                walk.found.variables[i] = Some(Shape::Workgroup);
            }
        }
        while std::mem::take(&mut walk.changed) {
            walk.list(&body.statements);
            if !walk.changed && body.statements.iter().any(has_barrier) {
                let collective = Collective { body, shapes: &walk.found };
                let mut demoted = Vec::new();
                collective.set_in_groups(&body.statements, &mut demoted);
                for variable in demoted {
                    walk.raise(variable, Shape::Group);
                }
            }
        }
        walk.found
    }

    pub(super) fn of(&self, body: &Body, value: Value) -> Shape {
        match body.op(value) {
            Op::Constant(_) => Shape::Workgroup,
            Op::Builtin(builtin) => builtin_shape(body, *builtin, self.lanes),
            // What is nowhere computed is used nowhere that is reached.
            _ => self.values[value.index()].unwrap_or(Shape::Workgroup),
        }
    }

    pub(super) fn variable(&self, variable: Variable) -> Shape {
        self.variables[variable.index()].unwrap_or(Shape::Workgroup)
    }

    pub(super) fn label(&self, label: Label) -> Level {
        self.labels[label.index()]
    }

    /// Whether a variable keeps its value, where it is set, in lanes that are not active.
    pub(super) fn is_blended(&self, statement: &Statement) -> bool {
        self.blended.contains(&std::ptr::from_ref(statement))
    }
}

/// Along which axis the invocations of a group differ, by one each, if along one only.
pub(super) fn group_axis(size: [u32; 3], lanes: usize) -> Option<usize> {
    let lanes = lanes as u32;
    let first = (0..3).find(|&axis| size[axis] != 1).unwrap_or(0);
    // The last axis that is longer than one may end within a group.
    let is_last = size[first + 1..].iter().all(|&length| length == 1);
    (size[first].is_multiple_of(lanes) || is_last).then_some(first)
}

fn builtin_shape(body: &Body, builtin: Builtin, lanes: usize) -> Shape {
    let size = body.workgroup_size;
    let local = |axis: u8| {
        let axis = usize::from(axis);
        if size[axis] == 1 {
            return Shape::Workgroup;
        }
        match group_axis(size, lanes) {
            _ if lanes == 1 => Shape::Group,
            Some(own) if own == axis => Shape::Affine(1),
            Some(_) => Shape::Group,
            None => Shape::Varying,
        }
    };
    match builtin {
        Builtin::LocalId(axis) | Builtin::GlobalId(axis) => local(axis),
        Builtin::LocalIndex | Builtin::Lane => affine(1, lanes),
        Builtin::SubgroupId => Shape::Group,
        Builtin::WorkgroupId(_) | Builtin::Workgroups(_) | Builtin::SubgroupSize | Builtin::Subgroups => {
            Shape::Workgroup
        }
    }
}

/// What is around a statement and makes some wait while others go on.
#[derive(Clone, Copy)]
enum Frame<'a> {
    Accept(&'a Statement, Level),
    Reject(&'a Statement, Level),
    Block(&'a Statement, Label),
}

struct Walk<'a> {
    body: &'a Body,
    liveness: &'a Liveness,
    found: Shapes,
    frames: Vec<Frame<'a>>,
    changed: bool,
}

impl<'a> Walk<'a> {
    fn of(&self, value: Value) -> Option<Shape> {
        match self.body.op(value) {
            Op::Constant(_) | Op::Builtin(_) => Some(self.found.of(self.body, value)),
            _ => self.found.values[value.index()],
        }
    }

    /// What is not known yet decides nothing, and will be looked at again.
    fn level(&self, value: Value) -> Level {
        self.of(value).map_or(Level::Workgroup, Shape::level)
    }

    fn list(&mut self, block: &'a Block) {
        for statement in block {
            self.statement(statement);
        }
    }

    fn inside(&mut self, frame: Frame<'a>, block: &'a Block) {
        self.frames.push(frame);
        self.list(block);
        self.frames.pop();
    }

    fn statement(&mut self, statement: &'a Statement) {
        match statement {
            Statement::Let(value) => {
                if let Some(shape) = self.computed(*value) {
                    self.define(*value, shape);
                }
            }
            Statement::Set(variable, value) => {
                let Some(mut shape) = self.of(*value) else { return };
                let mut blended = false;
                for frame in &self.frames {
                    let (level, waiting) = match *frame {
                        Frame::Accept(outer, level) => (level, self.liveness.before_reject(outer)),
                        Frame::Reject(outer, level) => (level, self.liveness.after(outer)),
                        Frame::Block(outer, label) => (self.found.label(label), self.liveness.after(outer)),
                    };
                    if level > Level::Workgroup && waiting.contains(*variable) {
                        shape = shape.raised(level);
                        blended |= level == Level::Varying;
                    }
                }
                if blended {
                    self.found.blended.insert(statement);
                    shape = Shape::Varying;
                }
                self.raise(*variable, shape);
            }
            Statement::Load { place, parts } => {
                let shape = self.loaded(place);
                for part in parts {
                    self.define(part.value, shape);
                }
            }
            Statement::UniformLoad { parts, .. } => {
                for part in parts {
                    self.define(part.value, Shape::Workgroup);
                }
            }
            Statement::Atomic { old: Some(old), .. } => self.define(*old, self.apart()),
            Statement::If { condition, accept, reject } => {
                let level = self.level(*condition);
                self.inside(Frame::Accept(statement, level), accept);
                self.inside(Frame::Reject(statement, level), reject);
            }
            Statement::Block { label, body } => self.inside(Frame::Block(statement, *label), body),
            Statement::Loop { body } => self.list(body),
            Statement::Break(label) => {
                let mut level = Level::Workgroup;
                for frame in self.frames.iter().rev() {
                    match frame {
                        Frame::Accept(_, decided) | Frame::Reject(_, decided) => level = level.max(*decided),
                        Frame::Block(_, other) if other == label => break,
                        // Some may wait at its end, whom this jump must not leave behind.
                        Frame::Block(_, other) => level = level.max(self.found.label(*other)),
                    }
                }
                let known = &mut self.found.labels[label.index()];
                if level > *known {
                    *known = level;
                    self.changed = true;
                }
            }
            Statement::Store { .. }
            | Statement::Clear { .. }
            | Statement::Atomic { old: None, .. }
            | Statement::Barrier => {}
        }
    }

    /// The shape of what invocations do each for itself.
    fn apart(&self) -> Shape {
        if self.found.lanes == 1 { Shape::Group } else { Shape::Varying }
    }

    fn define(&mut self, value: Value, shape: Shape) {
        let known = &mut self.found.values[value.index()];
        let shape = known.map_or(shape, |known| known.join(shape));
        if *known != Some(shape) {
            *known = Some(shape);
            self.changed = true;
        }
    }

    fn raise(&mut self, variable: Variable, shape: Shape) {
        let known = &mut self.found.variables[variable.index()];
        let shape = known.map_or(shape, |known| known.join(shape));
        if *known != Some(shape) {
            *known = Some(shape);
            self.changed = true;
        }
    }

    fn loaded(&self, place: &Place) -> Shape {
        let level = place.steps.iter().map(|step| self.level(step.index)).max().unwrap_or(Level::Workgroup);
        match place.memory {
            _ if level == Level::Varying => Shape::Varying,
            Memory::Buffer { writable: false, .. } => level.into(),
            Memory::Buffer { .. } | Memory::Workgroup => Shape::Group,
            Memory::Private => self.apart(),
        }
    }

    /// The shape of a value; none while that of an operand is not known.
    fn computed(&self, value: Value) -> Option<Shape> {
        let mut is_known = true;
        self.body.op(value).operands(|operand| is_known &= self.of(operand).is_some());
        match self.body.op(value) {
            Op::Get(variable) => self.found.variables[variable.index()],
            op => is_known.then(|| self.computed_from(value, op)),
        }
    }

    fn computed_from(&self, value: Value, op: &Op) -> Shape {
        let kind = self.body.kind(value);
        let get = |value: Value| self.of(value).unwrap_or(Shape::Workgroup);
        let stride = |value: Value| get(value).stride();
        let lanes = self.found.lanes;
        match op {
            Op::Length { .. } => Shape::Workgroup,
            Op::Subgroup(op, _, b) => match op {
                Subgroup::Ballot | Subgroup::Reduce(_) | Subgroup::BroadcastFirst => Shape::Group,
                Subgroup::Shuffle if b.is_none_or(|index| self.level(index) < Level::Varying) => Shape::Group,
                _ => self.apart(),
            },
            Op::Binary(op, a, b) if matches!(kind, Kind::I32 | Kind::U32) && !op.is_comparison() => {
                let both = get(*a).join(get(*b));
                if both.level() < Level::Varying {
                    return both;
                }
                let stride = match op {
                    Binary::Add => stride(*a).zip(stride(*b)).map(|(a, b)| a.wrapping_add(b)),
                    Binary::Subtract => stride(*a).zip(stride(*b)).map(|(a, b)| a.wrapping_sub(b)),
                    Binary::Multiply => {
                        let by = |known: Value, other: Value| {
                            let factor = self.body.constant(known)? as i32;
                            Some(stride(other)?.wrapping_mul(factor))
                        };
                        by(*a, *b).or_else(|| by(*b, *a))
                    }
                    Binary::ShiftLeft => {
                        let by = self.body.constant(*b).filter(|by| *by < 32);
                        by.and_then(|by| Some(stride(*a)?.wrapping_shl(by as u32)))
                    }
                    _ => None,
                };
                stride.map_or(Shape::Varying, |stride| affine(stride, lanes))
            }
            Op::Unary(op, a) if matches!(get(*a), Shape::Affine(_)) => {
                let is_kept = matches!(kind, Kind::I32 | Kind::U32);
                match (op, stride(*a)) {
                    (Unary::Convert(_) | Unary::Bitcast(_), Some(stride)) if is_kept => affine(stride, lanes),
                    (Unary::Negate | Unary::Not, Some(stride)) => affine(stride.wrapping_neg(), lanes),
                    _ => Shape::Varying,
                }
            }
            op => {
                let mut level = Level::Workgroup;
                op.operands(|operand| level = level.max(self.level(operand)));
                // The same choice for all keeps what is chosen as it is.
                if let Op::Select(condition, a, b) = op
                    && self.level(*condition) < Level::Varying
                {
                    return get(*a).join(get(*b)).raised(self.level(*condition).min(Level::Group));
                }
                level.into()
            }
        }
    }
}

/// In a kernel with barriers, who does what: the workgroup once, or its groups one after another.
pub(super) struct Collective<'a> {
    pub(super) body: &'a Body,
    pub(super) shapes: &'a Shapes,
}

/// How a statement of a list that has barriers is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doer {
    /// Once for the workgroup: it is computed from what all share.
    Once,
    /// By each group for itself, from its beginning to its end.
    Groups,
    /// Its parts one after another: there are barriers inside, or all leave the list together.
    Parts,
}

impl Collective<'_> {
    pub(super) fn doer(&self, statement: &Statement) -> Doer {
        if has_barrier(statement) || self.leaves(statement) {
            Doer::Parts
        } else if self.is_shared(statement) {
            Doer::Once
        } else {
            Doer::Groups
        }
    }

    /// Whether all leave together from inside, for a label outside.
    fn leaves(&self, statement: &Statement) -> bool {
        breaks_out(statement).iter().any(|label| self.shapes.label(*label) == Level::Workgroup)
    }

    fn is_shared(&self, statement: &Statement) -> bool {
        let shared = |value: Value| self.shapes.of(self.body, value) == Shape::Workgroup;
        match statement {
            Statement::Let(value) => shared(*value),
            Statement::Set(variable, _) => self.shapes.variable(*variable) == Shape::Workgroup,
            Statement::Load { parts, .. } => parts.iter().all(|part| shared(part.value)),
            Statement::If { condition, accept, reject } => {
                shared(*condition) && accept.iter().chain(reject).all(|inner| self.is_shared(inner))
            }
            Statement::Block { body, .. } | Statement::Loop { body } => body.iter().all(|inner| self.is_shared(inner)),
            Statement::Break(label) => self.shapes.label(*label) == Level::Workgroup,
            _ => false,
        }
    }

    /// The variables that would be shared, but are set by groups for themselves.
    fn set_in_groups(&self, block: &Block, found: &mut Vec<Variable>) {
        for statement in block {
            match self.doer(statement) {
                Doer::Once => {}
                Doer::Parts => statement.blocks(|inner| self.set_in_groups(inner, found)),
                Doer::Groups => {
                    statement.any(&mut |inner| {
                        if let Statement::Set(variable, _) = inner
                            && self.shapes.variable(*variable) == Shape::Workgroup
                        {
                            found.push(*variable);
                        }
                        false
                    });
                }
            }
        }
    }
}

/// The labels outside a statement that something inside breaks to.
pub(super) fn breaks_out(statement: &Statement) -> Vec<Label> {
    let mut inner = FxHashSet::default();
    let mut all = Vec::new();
    statement.any(&mut |statement| {
        match statement {
            Statement::Block { label, .. } => _ = inner.insert(*label),
            Statement::Break(label) => all.push(*label),
            _ => {}
        }
        false
    });
    all.retain(|label| !inner.contains(label));
    all.sort_unstable();
    all.dedup();
    all
}
