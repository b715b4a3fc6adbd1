//! Where a kernel is cut at its barriers.
//!
//! Between two barriers lies a region. Each group of invocations runs through it alone, one group after another. What
//! the whole workgroup decides or shares is done around the regions, once. What a group has to remember from one region
//! to another lies in memory, in a slot.

use rustc_hash::{FxHashMap, FxHashSet};

use super::ir::{Block, Body, Label, Op, Part, Place, Statement, Value, Variable};
use super::liveness::{Key, Liveness, Variables, has_barrier};
use super::shape::{Collective, Doer, Level, Shape, Shapes, breaks_out};

/// What a workgroup does, one after another.
pub(super) enum Step<'a> {
    /// Computed once.
    Once(&'a Statement),
    /// Run by each group.
    Region(Region<'a>),
    /// Its condition may differ from invocation to invocation: then both lists run, each for some of them.
    If {
        condition: Value,
        accept: Vec<Step<'a>>,
        reject: Vec<Step<'a>>,
    },
    Block {
        label: Label,
        body: Vec<Step<'a>>,
    },
    Loop(Vec<Step<'a>>),
    Break(Label),
    Load(&'a Place, &'a [Part]),
}

pub(super) struct Region<'a> {
    pub(super) statements: Vec<&'a Statement>,
    /// The variables in slots that are read here before they are set, and those that are set.
    pub(super) loads: Vec<Variable>,
    pub(super) stores: Vec<Variable>,
    /// Values from other regions.
    pub(super) values: Vec<Value>,
    /// The labels around the region that some break to while others go on.
    pub(super) left: Vec<Label>,
}

/// A kernel, cut up.
pub(super) struct Regions<'a> {
    pub(super) steps: Vec<Step<'a>>,
    /// What needs a slot.
    pub(super) values: Vec<Value>,
    pub(super) variables: Vec<Variable>,
    /// Those among them that are read before they are set, if they are, and are zero then.
    pub(super) initial: Vec<Variable>,
    /// Whether invocations of the workgroup may be inactive, from one region to another, because their ways parted.
    pub(super) is_masked: bool,
    /// Whether it has several regions at all.
    pub(super) is_cut: bool,
}

impl<'a> Regions<'a> {
    /// With `whole`, there is one group only, which waits for nobody.
    pub(super) fn new(body: &'a Body, liveness: &mut Liveness, shapes: &Shapes, whole: bool) -> Self {
        if whole || !body.statements.iter().any(has_barrier) {
            let statements = body.statements.iter().collect();
            let region =
                Region { statements, loads: Vec::new(), stores: Vec::new(), values: Vec::new(), left: Vec::new() };
            return Self {
                steps: vec![Step::Region(region)],
                values: Vec::new(),
                variables: Vec::new(),
                initial: Vec::new(),
                is_masked: false,
                is_cut: false,
            };
        }
        let mut cut = Cut { body, collective: Collective { body, shapes }, is_masked: false };
        let mut steps = cut.list(&body.statements);
        let is_masked = cut.is_masked;
        let mut first = FxHashSet::default();
        first_statements(&steps, &mut first);
        let alive = liveness.before(body, first);
        let mut crossing = Crossing {
            body,
            alive,
            shapes,
            defined: FxHashMap::default(),
            region: 0,
            values: FxHashSet::default(),
            variables: FxHashSet::default(),
        };
        crossing.define(&steps);
        crossing.region = 0;
        crossing.note(&mut steps);
        let variables = crossing.variables.clone();
        keep_slots(&mut steps, &variables);
        let mut values: Vec<Value> = crossing.values.into_iter().collect();
        values.sort_unstable();
        let mut variables: Vec<Variable> = variables.into_iter().collect();
        variables.sort_unstable();
        let initial = variables.iter().copied().filter(|variable| liveness.entry.contains(*variable)).collect();
        Self { steps, values, variables, initial, is_masked, is_cut: true }
    }
}

struct Cut<'a, 'b> {
    body: &'a Body,
    collective: Collective<'b>,
    is_masked: bool,
}

impl<'a> Cut<'a, '_> {
    fn list(&mut self, block: &'a Block) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let mut open: Vec<&'a Statement> = Vec::new();
        for statement in block {
            match self.collective.doer(statement) {
                Doer::Groups => open.push(statement),
                Doer::Once => {
                    // It goes before the region, unless that looks at what it sets.
                    if open.iter().any(|earlier| self.reads_what_is_set(earlier, statement)) {
                        self.close(&mut open, &mut steps);
                    }
                    steps.push(Step::Once(statement));
                }
                Doer::Parts => {
                    self.close(&mut open, &mut steps);
                    self.parts(statement, &mut steps);
                }
            }
        }
        self.close(&mut open, &mut steps);
        steps
    }

    fn parts(&mut self, statement: &'a Statement, steps: &mut Vec<Step<'a>>) {
        match statement {
            Statement::If { condition, accept, reject } => {
                self.is_masked |= self.collective.shapes.of(self.body, *condition) != Shape::Workgroup;
                steps.push(Step::If { condition: *condition, accept: self.list(accept), reject: self.list(reject) });
            }
            Statement::Block { label, body } => steps.push(Step::Block { label: *label, body: self.list(body) }),
            Statement::Loop { body } => steps.push(Step::Loop(self.list(body))),
            Statement::Break(label) => steps.push(Step::Break(*label)),
            Statement::UniformLoad { place, parts } => steps.push(Step::Load(place, parts)),
            // Barriers have done their work by closing the region.
            _ => {}
        }
    }

    fn close(&mut self, open: &mut Vec<&'a Statement>, steps: &mut Vec<Step<'a>>) {
        if open.is_empty() {
            return;
        }
        let statements = std::mem::take(open);
        let mut left: Vec<Label> = statements.iter().flat_map(|statement| breaks_out(statement)).collect();
        left.sort_unstable();
        left.dedup();
        self.is_masked |= !left.is_empty();
        let region = Region { statements, loads: Vec::new(), stores: Vec::new(), values: Vec::new(), left };
        steps.push(Step::Region(region));
    }

    fn reads_what_is_set(&self, reader: &Statement, setter: &Statement) -> bool {
        let mut set = Vec::new();
        setter.any(&mut |inner| {
            if let Statement::Set(variable, _) = inner {
                set.push(*variable);
            }
            false
        });
        reader.any(&mut |inner| match inner {
            Statement::Let(value) => matches!(self.body.op(*value), Op::Get(variable) if set.contains(variable)),
            _ => false,
        })
    }
}

/// Finds what crosses from one region to another.
struct Crossing<'a> {
    body: &'a Body,
    /// What is alive where each region begins.
    alive: FxHashMap<Key, Variables>,
    shapes: &'a Shapes,
    /// The region that defines a value.
    defined: FxHashMap<Value, usize>,
    region: usize,
    values: FxHashSet<Value>,
    variables: FxHashSet<Variable>,
}

impl Crossing<'_> {
    fn define(&mut self, steps: &[Step<'_>]) {
        for step in steps {
            match step {
                Step::Region(region) => {
                    for statement in &region.statements {
                        statement.any(&mut |inner| {
                            for value in defines(inner) {
                                self.defined.insert(value, self.region);
                            }
                            false
                        });
                    }
                    self.region += 1;
                }
                Step::If { accept, reject, .. } => {
                    self.define(accept);
                    self.define(reject);
                }
                Step::Block { body, .. } | Step::Loop(body) => self.define(body),
                Step::Once(_) | Step::Break(_) | Step::Load(..) => {}
            }
        }
    }

    fn note(&mut self, steps: &mut [Step<'_>]) {
        for step in steps {
            match step {
                Step::Region(region) => {
                    self.note_region(region);
                    self.region += 1;
                }
                Step::If { condition, accept, reject } => {
                    self.needs_slot(*condition);
                    self.note(accept);
                    self.note(reject);
                }
                Step::Block { body, .. } | Step::Loop(body) => self.note(body),
                Step::Load(place, _) => place.steps.iter().for_each(|step| self.needs_slot(step.index)),
                Step::Once(_) | Step::Break(_) => {}
            }
        }
    }

    /// A value of the groups that is used between regions.
    fn needs_slot(&mut self, value: Value) {
        if self.shapes.of(self.body, value) != Shape::Workgroup && self.defined.contains_key(&value) {
            self.values.insert(value);
        }
    }

    fn note_region(&mut self, region: &mut Region<'_>) {
        let mut used = Vec::new();
        let (mut read, mut set) = (FxHashSet::default(), FxHashSet::default());
        for statement in &region.statements {
            statement.any(&mut |inner| {
                uses(self.body, inner, &mut |value| used.push(value));
                match inner {
                    Statement::Set(variable, _) => _ = set.insert(*variable),
                    Statement::Let(value) => {
                        if let Op::Get(variable) = self.body.op(*value) {
                            read.insert(*variable);
                        }
                    }
                    _ => {}
                }
                false
            });
        }
        let alive = &self.alive[&std::ptr::from_ref(region.statements[0])];
        let is_own = |variable: &Variable| self.shapes.variable(*variable) != Shape::Workgroup;
        let mut loads: Vec<Variable> =
            read.union(&set).copied().filter(|variable| is_own(variable) && alive.contains(*variable)).collect();
        loads.sort_unstable();
        self.variables.extend(&loads);
        let mut stores: Vec<Variable> = set.into_iter().filter(is_own).collect();
        stores.sort_unstable();
        region.loads = loads;
        region.stores = stores;
        used.sort_unstable();
        used.dedup();
        for value in used {
            self.need(value, &mut region.values);
        }
    }

    /// Notes a value that a region uses: it lies in a slot, or is computed again from what does.
    fn need(&mut self, value: Value, values: &mut Vec<Value>) {
        let Some(&home) = self.defined.get(&value) else { return };
        if home == self.region || values.contains(&value) {
            return;
        }
        if is_cheap(self.body, self.shapes, value, CHEAP) {
            let mut operands = Vec::new();
            self.body.op(value).operands(|operand| operands.push(operand));
            for operand in operands {
                self.need(operand, values);
            }
        } else {
            self.values.insert(value);
        }
        values.push(value);
    }
}

/// How many operations deep a value may be that is computed again in every region that needs it.
const CHEAP: u32 = 6;

/// Whether a value is no more than a few instructions for all lanes together, from what every region has.
fn is_cheap(body: &Body, shapes: &Shapes, value: Value, depth: u32) -> bool {
    let is_simple = matches!(shapes.of(body, value), Shape::Group | Shape::Affine(_))
        && matches!(body.op(value), Op::Unary(..) | Op::Binary(..) | Op::Select(..));
    if !is_simple || depth == 0 {
        return false;
    }
    let mut all = true;
    body.op(value).operands(|operand| {
        all = all
            && match body.op(operand) {
                Op::Constant(_) | Op::Builtin(_) => true,
                _ => shapes.of(body, operand) == Shape::Workgroup || is_cheap(body, shapes, operand, depth - 1),
            };
    });
    all
}

/// The statement that each region begins with.
fn first_statements(steps: &[Step<'_>], found: &mut FxHashSet<Key>) {
    for step in steps {
        match step {
            Step::Region(region) => _ = found.insert(region.statements[0]),
            Step::If { accept, reject, .. } => {
                first_statements(accept, found);
                first_statements(reject, found);
            }
            Step::Block { body, .. } | Step::Loop(body) => first_statements(body, found),
            Step::Once(_) | Step::Break(_) | Step::Load(..) => {}
        }
    }
}

/// Leaves out what has no slot.
fn keep_slots(steps: &mut [Step<'_>], variables: &FxHashSet<Variable>) {
    for step in steps {
        match step {
            Step::Region(region) => region.stores.retain(|variable| variables.contains(variable)),
            Step::If { accept, reject, .. } => {
                keep_slots(accept, variables);
                keep_slots(reject, variables);
            }
            Step::Block { body, .. } | Step::Loop(body) => keep_slots(body, variables),
            Step::Once(_) | Step::Break(_) | Step::Load(..) => {}
        }
    }
}

/// The values that a statement itself defines.
pub(super) fn defines(statement: &Statement) -> Vec<Value> {
    match statement {
        Statement::Let(value) => vec![*value],
        Statement::Load { parts, .. } | Statement::UniformLoad { parts, .. } => {
            parts.iter().map(|part| part.value).collect()
        }
        Statement::Atomic { old, .. } => old.iter().copied().collect(),
        _ => Vec::new(),
    }
}

/// The values that a statement itself uses.
pub(super) fn uses(body: &Body, statement: &Statement, f: &mut dyn FnMut(Value)) {
    let mut indices = |place: &Place| place.steps.iter().for_each(|step| f(step.index));
    match statement {
        Statement::Let(value) => body.op(*value).operands(f),
        Statement::Set(_, value) => f(*value),
        Statement::Load { place, .. } | Statement::UniformLoad { place, .. } => indices(place),
        Statement::Store { place, parts } => {
            indices(place);
            for part in parts {
                f(part.value);
            }
        }
        Statement::Atomic { place, op, operand, .. } => {
            indices(place);
            if let Some(operand) = operand {
                f(*operand);
            }
            if let super::ir::Atomic::CompareExchange(expected) = op {
                f(*expected);
            }
        }
        Statement::If { condition, .. } => f(*condition),
        Statement::Clear { .. }
        | Statement::Block { .. }
        | Statement::Loop { .. }
        | Statement::Break(_)
        | Statement::Barrier => {}
    }
}

/// Whether some leave by a label while others go on.
pub(super) fn parts_at(shapes: &Shapes, label: Label) -> bool {
    shapes.label(label) > Level::Workgroup
}
