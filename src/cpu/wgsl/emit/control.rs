//! Statements, and who takes part in them.
//!
//! Where a condition differs among the lanes of a group, what follows is done under a mask. Where ways join again, the
//! lanes that came along them take part: behind a block all that took part before it, unless some have left for a label
//! further out. Code is never run for no lane at all: whoever finds the mask empty goes on at the `escape`, the nearest
//! place where lanes wait to take part again.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I32X4, I64};
use cranelift_codegen::ir::{self, InstBuilder};
use cranelift_frontend::Variable as Cell;
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::Emitter;
use super::lanes::{Lanes, Vectors, memory, scalar_type, vector_type, width};
use crate::cpu::wgsl::ir::{Binary, Block, Kind, Label, Op, SHORT, Statement, Unary, Value, Variable, is_cheap};
use crate::cpu::wgsl::region::{Region, Regions, Step, defines, parts_at, uses};
use crate::cpu::wgsl::shape::{Level, Shape, breaks_out};

/// A mask that changes.
type Mask = SmallVec<[Cell; 4]>;

/// Where a variable is kept.
#[derive(Debug, Clone)]
pub(super) enum Cells {
    One(Cell),
    /// Its first lane; each further one has as much more.
    Affine(Cell, i32),
    Many(Mask),
}

/// What is around the code that is added, and keeps lanes from jumping out of it together.
#[derive(Debug, Clone, Copy)]
pub(super) enum Frame {
    /// One way of several that lanes went.
    Way,
    /// A block; whether lanes leave it apart.
    Block(Label, bool),
}

/// Where a break goes.
#[derive(Debug, Clone)]
pub(super) enum Target {
    None,
    /// Within a region. Where lanes may leave the block for further out, it is noted who comes to its end: all
    /// together from one place, or one after another.
    Group {
        end: ir::Block,
        together: Option<Mask>,
        apart: Option<Mask>,
    },
    /// Around regions. Those that are gone lie in memory, for every group.
    Workgroup {
        end: ir::Block,
        gone: Option<u32>,
    },
}

/// How many statements are added twice at most.
pub(super) const COPYABLE: usize = 500;

/// How many statements there are in one, itself included.
fn size(statement: &Statement) -> usize {
    let mut count = 0;
    statement.any(&mut |_| {
        count += 1;
        false
    });
    count
}

impl<'a> Emitter<'a> {
    pub(super) fn declare_variables(&mut self) {
        for (i, &kind) in self.body.variables.iter().enumerate() {
            let cells = match self.shapes.variable(Variable(i as u32)) {
                Shape::Workgroup | Shape::Group => Cells::One(self.b.declare_var(scalar_type(kind))),
                Shape::Affine(stride) => Cells::Affine(self.b.declare_var(scalar_type(kind)), stride),
                Shape::Varying => Cells::Many(self.declare_many(kind)),
            };
            self.variables.push(cells);
        }
    }

    fn declare_many(&mut self, kind: Kind) -> Mask {
        (0..self.count(kind)).map(|_| self.b.declare_var(vector_type(kind))).collect()
    }

    /// Makes variables zero: those of the workgroup, or those of a group.
    fn reset_variables(&mut self, of_workgroup: bool) {
        let mut zeros: Vec<(ir::Type, ir::Value)> = Vec::new();
        for i in 0..self.variables.len() {
            if (self.shapes.variable(Variable(i as u32)) == Shape::Workgroup && self.is_cut) != of_workgroup {
                continue;
            }
            let kind = self.body.variables[i];
            let cells = match &self.variables[i] {
                Cells::One(cell) | Cells::Affine(cell, _) => SmallVec::from_slice(&[*cell]),
                Cells::Many(cells) => cells.clone(),
            };
            let is_many = matches!(self.variables[i], Cells::Many(_));
            let ty = if is_many { vector_type(kind) } else { scalar_type(kind) };
            let known = zeros.iter().find(|(known, _)| *known == ty).map(|(_, zero)| *zero);
            let zero = known.unwrap_or_else(|| {
                let zero = self.bits(ty, 0);
                zeros.push((ty, zero));
                zero
            });
            for cell in cells {
                self.b.def_var(cell, zero);
            }
        }
    }

    // ---- Around regions

    /// A workgroup's whole way.
    pub(super) fn steps(&mut self, steps: &[Step<'a>], regions: &Regions<'a>) {
        let end = self.b.create_block();
        self.escape = end;
        self.reset_variables(true);
        for &variable in &regions.initial {
            let slot = self.variable_slots[&variable];
            let bytes = self.bytes_in_slot(self.body.variables[variable.index()], self.shapes.variable(variable));
            self.clear_scratch(slot, u64::from(bytes) * u64::from(self.groups));
        }
        if let Some(slot) = self.mask_slot {
            self.group_loop(|e| {
                let mask = e.first_mask().unwrap_or_else(|| e.whole_mask(true));
                e.store_mask(slot, &mask);
            });
        }
        if self.list_of_steps(steps) {
            self.b.ins().jump(end, &[]);
        }
        self.b.switch_to_block(end);
        self.b.seal_block(end);
    }

    /// Whether code can go on behind them; so it is with what follows.
    fn list_of_steps(&mut self, steps: &[Step<'a>]) -> bool {
        for step in steps {
            if !self.step(step) {
                return false;
            }
        }
        true
    }

    fn step(&mut self, step: &Step<'a>) -> bool {
        match step {
            Step::Once(statement) => {
                self.mask = None;
                return self.statement(statement);
            }
            Step::Region(region) => self.region(region),
            Step::If { condition, accept, reject } if self.shape(*condition) == Shape::Workgroup => {
                let condition = self.value(*condition);
                let condition = self.first(&condition, Kind::Bool);
                let [yes, no, end] = [(); 3].map(|()| self.b.create_block());
                self.b.ins().brif(condition, yes, &[], no, &[]);
                for (block, steps) in [(yes, accept), (no, reject)] {
                    self.b.switch_to_block(block);
                    self.b.seal_block(block);
                    if self.list_of_steps(steps) {
                        self.b.ins().jump(end, &[]);
                    }
                }
                return self.go_on_at(end);
            }
            Step::If { condition, accept, reject } => self.parted_steps(*condition, accept, reject),
            Step::Block { label, body } => {
                let end = self.b.create_block();
                let bytes = self.bytes_of_masks();
                let gone = parts_at(self.shapes, *label).then(|| self.room(bytes));
                let outer = self.escape;
                if let Some(gone) = gone {
                    self.clear_scratch(gone, bytes);
                    self.escape = end;
                }
                self.targets[label.index()] = Target::Workgroup { end, gone };
                if self.list_of_steps(body) {
                    self.b.ins().jump(end, &[]);
                }
                self.escape = outer;
                if !self.go_on_at(end) {
                    return false;
                }
                if let (Some(gone), Some(slot)) = (gone, self.mask_slot) {
                    // Some may have left for a label further out, and none be here.
                    self.merge_masks(slot, gone);
                }
            }
            Step::Loop(body) => {
                let head = self.b.create_block();
                self.b.ins().jump(head, &[]);
                self.b.switch_to_block(head);
                self.burn_fuel();
                if self.list_of_steps(body) {
                    self.b.ins().jump(head, &[]);
                }
                self.b.seal_block(head);
                return false;
            }
            Step::Break(label) => {
                let (Target::Workgroup { end, .. } | Target::Group { end, .. }) = self.targets[label.index()] else {
                    return true;
                };
                self.b.ins().jump(end, &[]);
                return false;
            }
            Step::Load(place, parts) => {
                self.mask = None;
                self.group = self.b.ins().iconst(ir::types::I32, 0);
                let indices: Vec<Value> = place.steps.iter().map(|step| step.index).collect();
                for index in indices {
                    if self.values[index.index()].is_none() && self.value_slots.contains_key(&index) {
                        let lanes = self.load_value(index);
                        self.set_value(index, lanes);
                        // Known here only.
                        self.regional.push(index);
                    }
                }
                self.load_uniform(place, parts);
                self.forget_region();
            }
        }
        true
    }

    /// Goes on at a block to which all jumps have been made, if there is any.
    fn go_on_at(&mut self, block: ir::Block) -> bool {
        self.b.switch_to_block(block);
        self.b.seal_block(block);
        if self.b.is_unreachable() {
            // It has to end somehow.
            let zero = self.b.ins().iconst(ir::types::I32, 0);
            self.b.ins().return_(&[zero]);
            return false;
        }
        true
    }

    /// Both ways of an `If` between regions, whose condition differs among invocations.
    fn parted_steps(&mut self, condition: Value, accept: &[Step<'a>], reject: &[Step<'a>]) {
        let Some(slot) = self.mask_slot else { return };
        let bytes = self.bytes_of_masks();
        let (rejected, accepted) = (self.room(bytes), self.room(bytes));
        let any_accept = self.flag();
        let any_reject = self.flag();
        self.group_loop(|e| {
            let decided = e.load_value(condition);
            let decided = e.vectors(&decided, Kind::Bool);
            let mask = e.load_mask(slot);
            let (yes, no) = (e.and(&mask, &decided), e.without(&mask, &decided));
            e.store_mask(slot, &yes);
            e.store_mask(rejected, &no);
            e.raise_flag(any_accept, &yes);
            e.raise_flag(any_reject, &no);
        });
        let (any_accept, any_reject) = (self.b.use_var(any_accept), self.b.use_var(any_reject));
        let outer = self.escape;
        self.way(any_accept, accept);
        self.copy_masks(slot, accepted);
        let (turn, end) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(any_reject, turn, &[], end, &[]);
        self.b.switch_to_block(turn);
        self.b.seal_block(turn);
        self.copy_masks(rejected, slot);
        let one = self.constant_i8(true);
        self.way(one, reject);
        self.b.ins().jump(end, &[]);
        self.b.switch_to_block(end);
        self.b.seal_block(end);
        self.escape = outer;
        self.merge_masks(slot, accepted);
    }

    /// Runs steps if somebody takes part in them, and comes back.
    fn way(&mut self, any: ir::Value, steps: &[Step<'a>]) {
        let (start, end) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(any, start, &[], end, &[]);
        self.b.switch_to_block(start);
        self.b.seal_block(start);
        self.escape = end;
        if self.list_of_steps(steps) {
            self.b.ins().jump(end, &[]);
        }
        self.b.switch_to_block(end);
        self.b.seal_block(end);
    }

    /// Adds the lanes of other masks to those that take part, and goes on if there are any.
    fn merge_masks(&mut self, slot: u32, other: u32) {
        let any = self.flag();
        self.group_loop(|e| {
            let (mask, more) = (e.load_mask(slot), e.load_mask(other));
            let mask = e.or(&mask, &more);
            e.store_mask(slot, &mask);
            e.raise_flag(any, &mask);
        });
        self.go_on_if(any);
    }

    fn copy_masks(&mut self, from: u32, to: u32) {
        self.group_loop(|e| {
            let mask = e.load_mask(from);
            e.store_mask(to, &mask);
        });
    }

    /// A flag that is not raised yet.
    fn flag(&mut self) -> Cell {
        let flag = self.b.declare_var(I8);
        let zero = self.constant_i8(false);
        self.b.def_var(flag, zero);
        flag
    }

    /// Raises a flag if a mask has any lane.
    fn raise_flag(&mut self, flag: Cell, mask: &[ir::Value]) {
        let any = self.any(mask);
        let before = self.b.use_var(flag);
        let after = self.b.ins().bor(before, any);
        self.b.def_var(flag, after);
    }

    fn go_on_if(&mut self, flag: Cell) {
        let any = self.b.use_var(flag);
        let go_on = self.b.create_block();
        self.b.ins().brif(any, go_on, &[], self.escape, &[]);
        self.b.switch_to_block(go_on);
        self.b.seal_block(go_on);
    }

    /// Adds code that every group runs.
    fn group_loop(&mut self, mut f: impl FnMut(&mut Self)) {
        use cranelift_codegen::ir::types::I32;
        let zero = self.b.ins().iconst(I32, 0);
        if self.groups == 1 {
            self.group = zero;
            f(self);
            return;
        }
        let (head, end) = (self.b.create_block(), self.b.create_block());
        let group = self.b.append_block_param(head, I32);
        self.b.ins().jump(head, &[zero.into()]);
        self.b.switch_to_block(head);
        self.group = group;
        f(self);
        let next = self.b.ins().iadd_imm_s(group, 1);
        let more = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, next, i64::from(self.groups));
        self.b.ins().brif(more, head, &[next.into()], end, &[]);
        self.b.seal_block(head);
        self.b.switch_to_block(end);
        self.b.seal_block(end);
    }

    fn region(&mut self, region: &Region<'a>) {
        let outer = self.escape;
        let alive = (!region.left.is_empty()).then(|| self.flag());
        self.group_loop(|e| {
            let (end, next) = (e.b.create_block(), e.b.create_block());
            e.forget_region();
            e.frames.clear();
            e.escape = end;
            e.mask = e.first_mask();
            if let Some(slot) = e.mask_slot {
                let mask = e.load_mask(slot);
                let (any, start) = (e.any(&mask), e.b.create_block());
                e.b.ins().brif(any, start, &[], next, &[]);
                e.b.switch_to_block(start);
                e.b.seal_block(start);
                e.mask = (e.lanes > 1).then_some(mask);
            }
            let before = e.mask.clone();
            e.reset_variables(false);
            for &variable in &region.loads {
                e.load_variable(variable);
            }
            for &value in &region.values {
                let lanes = if e.value_slots.contains_key(&value) { e.load_value(value) } else { e.compute(value) };
                e.set_value(value, lanes);
            }
            let mut goes_on = true;
            for statement in &region.statements {
                goes_on = goes_on && e.statement(statement);
            }
            if goes_on {
                e.b.ins().jump(end, &[]);
            }
            e.b.switch_to_block(end);
            e.b.seal_block(end);
            for &variable in &region.stores {
                e.store_variable(variable);
            }
            if let (Some(alive), Some(slot)) = (alive, e.mask_slot) {
                let mask = e.survivors(before.as_ref(), &region.left);
                e.store_mask(slot, &mask);
                e.raise_flag(alive, &mask);
            }
            e.b.ins().jump(next, &[]);
            e.b.switch_to_block(next);
            e.b.seal_block(next);
        });
        self.forget_region();
        self.mask = None;
        self.escape = outer;
        if let Some(alive) = alive {
            self.go_on_if(alive);
        }
    }

    /// The lanes of a group that have an invocation, where not all have.
    fn first_mask(&mut self) -> Option<Vectors> {
        let size = self.body.invocations();
        if size.is_multiple_of(self.lanes as u32) {
            return None;
        }
        let index = self.builtin(crate::cpu::wgsl::ir::Builtin::LocalIndex);
        let size = self.b.ins().iconst(ir::types::I32, i64::from(size));
        let is_less = self.compared(crate::cpu::wgsl::ir::Binary::Less, Kind::U32, &index, &Lanes::One(size));
        Some(self.vectors(&is_less, Kind::Bool))
    }

    // ---- Slots

    pub(super) fn bytes_in_slot(&self, kind: Kind, shape: Shape) -> u32 {
        let size = 16 / width(kind) as u32;
        if shape == Shape::Varying { 16 * self.count(kind) as u32 } else { size }
    }

    pub(super) fn bytes_of_masks(&self) -> u64 {
        16 * self.count(Kind::Bool) as u64 * u64::from(self.groups)
    }

    /// Where the group's part of a slot is.
    pub(super) fn slot(&mut self, slot: u32, bytes: u32) -> ir::Value {
        let start = self.scratch();
        let start = self.b.ins().iadd_imm_s(start, i64::from(slot));
        if self.groups == 1 {
            return start;
        }
        let group = self.b.ins().uextend(I64, self.group);
        let offset = self.b.ins().imul_imm_u(group, i64::from(bytes));
        self.b.ins().iadd(start, offset)
    }

    fn clear_scratch(&mut self, slot: u32, bytes: u64) {
        let start = self.scratch();
        let start = self.b.ins().iadd_imm_s(start, i64::from(slot));
        let bytes = self.b.ins().iconst(I64, bytes as i64);
        self.call(super::clear as *const () as usize, &[start, bytes], &[]);
    }

    fn load_mask(&mut self, slot: u32) -> Vectors {
        let count = self.count(Kind::Bool);
        let start = self.slot(slot, 16 * count as u32);
        (0..count).map(|i| self.b.ins().load(I32X4, memory(), start, 16 * i as i32)).collect()
    }

    fn store_mask(&mut self, slot: u32, mask: &[ir::Value]) {
        let start = self.slot(slot, 16 * mask.len() as u32);
        for (i, part) in mask.iter().enumerate() {
            self.b.ins().store(memory(), *part, start, 16 * i as i32);
        }
    }

    fn load_slot(&mut self, slot: u32, kind: Kind, shape: Shape) -> Lanes {
        let start = self.slot(slot, self.bytes_in_slot(kind, shape));
        match shape {
            Shape::Varying => Lanes::Many(
                (0..self.count(kind))
                    .map(|i| self.b.ins().load(vector_type(kind), memory(), start, 16 * i as i32))
                    .collect(),
            ),
            Shape::Affine(stride) => Lanes::Affine(self.b.ins().load(scalar_type(kind), memory(), start, 0), stride),
            Shape::Workgroup | Shape::Group => Lanes::One(self.b.ins().load(scalar_type(kind), memory(), start, 0)),
        }
    }

    fn store_slot(&mut self, slot: u32, kind: Kind, shape: Shape, lanes: &Lanes) {
        let start = self.slot(slot, self.bytes_in_slot(kind, shape));
        if shape == Shape::Varying {
            for (i, vector) in self.vectors(lanes, kind).into_iter().enumerate() {
                self.b.ins().store(memory(), vector, start, 16 * i as i32);
            }
        } else {
            let first = self.first(lanes, kind);
            self.b.ins().store(memory(), first, start, 0);
        }
    }

    /// A value from another region.
    fn load_value(&mut self, value: Value) -> Lanes {
        match self.value_slots.get(&value) {
            Some(&slot) => self.load_slot(slot, self.kind(value), self.shape(value)),
            None => self.value(value),
        }
    }

    fn load_variable(&mut self, variable: Variable) {
        let shape = self.shapes.variable(variable);
        let lanes = self.load_slot(self.variable_slots[&variable], self.body.variables[variable.index()], shape);
        self.define(variable, &lanes);
    }

    fn store_variable(&mut self, variable: Variable) {
        let lanes = self.get(variable);
        let shape = self.shapes.variable(variable);
        self.store_slot(self.variable_slots[&variable], self.body.variables[variable.index()], shape, &lanes);
    }

    // ---- Values and variables

    pub(super) fn shape(&self, value: Value) -> Shape {
        self.shapes.of(self.body, value)
    }

    /// A value where it is used.
    pub(super) fn value(&mut self, value: Value) -> Lanes {
        match self.body.op(value) {
            Op::Constant(bits) => Lanes::One(self.bits(scalar_type(self.kind(value)), *bits)),
            Op::Builtin(builtin) => self.builtin(*builtin),
            _ => self.values[value.index()].clone().unwrap_or_else(|| {
                debug_assert!(false, "{value:?} is used before it is computed:\n{}", self.body);
                Lanes::One(self.bits(scalar_type(self.kind(value)), 0))
            }),
        }
    }

    /// Makes a value known, and puts it into its slot if it has one.
    pub(super) fn set_value(&mut self, value: Value, lanes: Lanes) {
        self.values[value.index()] = Some(lanes);
        if self.shape(value) != Shape::Workgroup {
            self.regional.push(value);
        }
    }

    fn keep(&mut self, value: Value) {
        if let (Some(&slot), Some(lanes)) = (self.value_slots.get(&value), self.values[value.index()].clone()) {
            self.store_slot(slot, self.kind(value), self.shape(value), &lanes);
        }
    }

    /// Forgets values that other code than a region's cannot use.
    fn forget_region(&mut self) {
        for value in std::mem::take(&mut self.regional) {
            self.values[value.index()] = None;
        }
    }

    pub(super) fn get(&mut self, variable: Variable) -> Lanes {
        match self.variables[variable.index()].clone() {
            Cells::One(cell) => Lanes::One(self.b.use_var(cell)),
            Cells::Affine(cell, stride) => Lanes::Affine(self.b.use_var(cell), stride),
            Cells::Many(cells) => Lanes::Many(cells.iter().map(|cell| self.b.use_var(*cell)).collect()),
        }
    }

    fn define(&mut self, variable: Variable, lanes: &Lanes) {
        let kind = self.body.variables[variable.index()];
        match self.variables[variable.index()].clone() {
            Cells::One(cell) | Cells::Affine(cell, _) => {
                let first = self.first(lanes, kind);
                self.b.def_var(cell, first);
            }
            Cells::Many(cells) => {
                for (cell, vector) in cells.iter().zip(self.vectors(lanes, kind)) {
                    self.b.def_var(*cell, vector);
                }
            }
        }
    }

    // ---- Statements of a region

    fn list(&mut self, block: &'a Block) -> bool {
        block.iter().all(|statement| self.statement(statement))
    }

    /// Adds a statement. Whether code can go on behind it.
    pub(super) fn statement(&mut self, statement: &'a Statement) -> bool {
        match statement {
            Statement::Let(value) => {
                let lanes = self.compute(*value);
                self.set_value(*value, lanes);
                self.keep(*value);
            }
            Statement::Set(variable, value) => {
                let mut lanes = self.value(*value);
                let kind = self.kind(*value);
                if let (Some(mask), true) = (self.mask.clone(), self.shapes.is_blended(statement)) {
                    let (new, old) = (self.vectors(&lanes, kind), self.get(*variable));
                    let old = self.vectors(&old, kind);
                    let mask = self.mask_for(&mask, kind);
                    lanes = Lanes::Many(self.blend(&mask, &new, &old));
                }
                self.define(*variable, &lanes);
            }
            Statement::Load { place, parts } => {
                self.load(place, parts);
                for part in parts {
                    self.keep(part.value);
                }
            }
            Statement::UniformLoad { place, parts } => self.load_uniform(place, parts),
            Statement::Store { place, parts } => self.store(place, parts),
            Statement::Clear { offset, size } => self.clear_private(*offset, *size),
            Statement::Atomic { place, kind, op, operand, old } => {
                self.atomic(place, *kind, *op, *operand, *old);
                if let Some(old) = old {
                    self.keep(*old);
                }
            }
            Statement::If { condition, accept, reject } => return self.choice(statement, *condition, accept, reject),
            Statement::Block { label, body } => return self.block(statement, *label, body),
            Statement::Loop { body } => return self.turns(statement, body),
            Statement::Break(label) => {
                self.leave(*label);
                return false;
            }
            // One group does not wait for others.
            Statement::Barrier => {}
        }
        true
    }

    fn choice(&mut self, statement: &'a Statement, condition: Value, accept: &'a Block, reject: &'a Block) -> bool {
        let left = self.left_from(statement);
        let (way, holds) = if accept.is_empty() { (reject, false) } else { (accept, true) };
        if self.mask.is_none()
            && matches!(self.value(condition), Lanes::Many(_))
            // Where some leave, the others go on under a mask.
            && !matches!(way.as_slice(), [Statement::Break(_)])
            && let Some(rest) = self.copyable.checked_sub(size(statement))
            && let Some(all) = self.all_decide(condition, holds)
        {
            self.copyable = rest;
            let joins = !left.is_empty();
            return self.choice_of_all(all, way, joins, |e| e.parted_choice(condition, accept, reject, joins));
        }
        let decided = self.value(condition);
        let before = self.mask.clone();
        match decided {
            Lanes::One(condition) => {
                let end = self.b.create_block();
                let yes = if accept.is_empty() { end } else { self.b.create_block() };
                let no = if reject.is_empty() { end } else { self.b.create_block() };
                let after = (!left.is_empty()).then(|| self.changing_mask());
                self.b.ins().brif(condition, yes, &[], no, &[]);
                for (block, list) in [(yes, accept), (no, reject)] {
                    if block == end {
                        continue;
                    }
                    self.b.switch_to_block(block);
                    self.b.seal_block(block);
                    self.mask.clone_from(&before);
                    if self.list(list) {
                        if let Some(after) = &after {
                            self.define_mask(after);
                        }
                        self.b.ins().jump(end, &[]);
                    }
                }
                if !self.go_on_at(end) {
                    return false;
                }
                self.mask = after.map(|after| self.current_mask(&after)).or(before);
            }
            _ => self.parted_choice(condition, accept, reject, !left.is_empty()),
        }
        true
    }

    /// Both ways of a condition that differs among the lanes; `joins` if some may leave, so that who is left is asked.
    fn parted_choice(&mut self, condition: Value, accept: &'a Block, reject: &'a Block, joins: bool) {
        let before = self.mask.clone();
        let decided = self.value(condition);
        let yes = self.vectors(&decided, Kind::Bool);
        let all = before.clone().unwrap_or_else(|| self.whole_mask(true));
        let no = self.without(&all, &yes);
        let yes = if before.is_some() { self.and(&all, &yes) } else { yes };
        for (list, other, going, staying) in [(accept, reject, &yes, &no), (reject, accept, &no, &yes)] {
            if let ([Statement::Break(label)], true) = (list.as_slice(), other.is_empty()) {
                self.go(*label, Some(going));
                self.mask = Some(staying.clone());
                self.go_on_if_any(staying);
                return;
            }
        }
        let came = [(accept, yes), (reject, no)]
            .map(|(list, mask)| if list.is_empty() { mask } else { self.one_way(list, mask, joins) });
        self.mask = before;
        if joins {
            let mask = self.or(&came[0], &came[1]);
            self.go_on_if_any(&mask);
            self.mask = Some(mask);
        }
    }

    /// Where all lanes surely go the same way, as nearly all groups do where indices are compared with lengths, they go
    /// it without a mask; it is added once more for that.
    fn choice_of_all(&mut self, all: ir::Value, way: &'a Block, joins: bool, parted: impl FnOnce(&mut Self)) -> bool {
        let [together, apart, end] = [(); 3].map(|()| self.b.create_block());
        let after = joins.then(|| self.changing_mask());
        self.b.ins().brif(all, together, &[], apart, &[]);
        self.b.switch_to_block(together);
        self.b.seal_block(together);
        if self.list(way) {
            if let Some(after) = &after {
                self.define_mask(after);
            }
            self.b.ins().jump(end, &[]);
        }
        self.mask = None;
        self.rarely(apart, |e| {
            parted(e);
            if let Some(after) = &after {
                e.define_mask(after);
            }
            e.b.ins().jump(end, &[]);
        });
        if !self.go_on_at(end) {
            return false;
        }
        self.mask = after.map(|after| self.current_mask(&after));
        true
    }

    /// A scalar that is true only if a condition holds in all lanes, or in none: told from the first and the last lane,
    /// where what is compared grows evenly.
    fn all_decide(&mut self, condition: Value, holds: bool) -> Option<ir::Value> {
        match *self.body.op(condition) {
            Op::Unary(Unary::Not, inner) if self.is_known(inner) => self.all_decide(inner, !holds),
            Op::Binary(op @ (Binary::And | Binary::Or), a, b)
                if (op == Binary::And) == holds && self.is_known(a) && self.is_known(b) =>
            {
                let (a, b) = (self.all_decide(a, holds)?, self.all_decide(b, holds)?);
                Some(self.b.ins().band(a, b))
            }
            Op::Binary(op, a, b) if op.is_comparison() && self.is_known(a) && self.is_known(b) => {
                let kind = self.kind(a);
                let op = if holds { op } else { op.opposite() };
                let (a, b) = (self.value(a), self.value(b));
                match (a, b) {
                    (Lanes::Affine(first, stride), Lanes::One(bound)) => {
                        self.ends_compare(op, kind, first, stride, bound)
                    }
                    (Lanes::One(bound), Lanes::Affine(first, stride)) => {
                        self.ends_compare(op.mirrored(), kind, first, stride, bound)
                    }
                    (Lanes::One(_), Lanes::One(_)) => self.decided_by_all(condition, holds),
                    _ => None,
                }
            }
            _ => self.decided_by_all(condition, holds),
        }
    }

    /// Whether a value can be used here: what another region computed may be left there.
    fn is_known(&self, value: Value) -> bool {
        matches!(self.body.op(value), Op::Constant(_) | Op::Builtin(_)) || self.values[value.index()].is_some()
    }

    fn decided_by_all(&mut self, condition: Value, holds: bool) -> Option<ir::Value> {
        match self.value(condition) {
            Lanes::One(value) if holds => Some(value),
            Lanes::One(value) => Some(self.b.ins().bxor_imm_u(value, 1)),
            _ => None,
        }
    }

    /// Whether the first and the last lane are both so. In 64 bits nothing wraps; what would in 32 must not be taken for
    /// so, which is why not all directions will do.
    fn ends_compare(
        &mut self,
        op: Binary,
        kind: Kind,
        first: ir::Value,
        stride: i32,
        bound: ir::Value,
    ) -> Option<ir::Value> {
        let is_signed = kind.is_signed();
        // Without a sign, what is below zero is beyond every bound.
        let code = match (op, is_signed, stride > 0) {
            (Binary::Less, false, _) => IntCC::UnsignedLessThan,
            (Binary::LessEqual, false, _) => IntCC::UnsignedLessThanOrEqual,
            (Binary::Less, true, true) => IntCC::SignedLessThan,
            (Binary::LessEqual, true, true) => IntCC::SignedLessThanOrEqual,
            (Binary::Greater, _, false) => IntCC::SignedGreaterThan,
            (Binary::GreaterEqual, _, false) => IntCC::SignedGreaterThanOrEqual,
            _ => return None,
        };
        let wide =
            |e: &mut Self, value| if is_signed { e.b.ins().sextend(I64, value) } else { e.b.ins().uextend(I64, value) };
        let (first, bound) = (wide(self, first), wide(self, bound));
        let last = self.b.ins().iadd_imm_s(first, i64::from(stride) * (self.lanes as i64 - 1));
        let (first, last) = (self.b.ins().icmp(code, first, bound), self.b.ins().icmp(code, last, bound));
        Some(self.b.ins().band(first, last))
    }

    /// Runs statements for the lanes of a mask, if there are any. Returns those that come to their end, if that is
    /// asked for.
    fn one_way(&mut self, list: &'a Block, mask: Vectors, asked: bool) -> Vectors {
        let end = self.b.create_block();
        let came = asked.then(|| self.empty_mask());
        if list.len() > SHORT || !is_cheap(&self.body.values, list) {
            let (any, start) = (self.any(&mask), self.b.create_block());
            self.b.ins().brif(any, start, &[], end, &[]);
            self.b.switch_to_block(start);
            self.b.seal_block(start);
        }
        let outer = std::mem::replace(&mut self.escape, end);
        self.frames.push(Frame::Way);
        self.mask = Some(mask.clone());
        if self.list(list) {
            if let Some(came) = &came {
                self.define_mask(came);
            }
            self.b.ins().jump(end, &[]);
        }
        self.frames.pop();
        self.escape = outer;
        self.b.switch_to_block(end);
        self.b.seal_block(end);
        came.map_or(mask, |came| self.current_mask(&came))
    }

    fn block(&mut self, statement: &'a Statement, label: Label, body: &'a Block) -> bool {
        let end = self.b.create_block();
        let before = self.mask.clone();
        let outer = self.escape;
        let is_parted = self.shapes.label(label) == Level::Varying;
        let joins = !self.left_from(statement).is_empty();
        let together = joins.then(|| self.empty_mask());
        let apart = (joins && is_parted).then(|| self.empty_mask());
        if is_parted {
            self.escape = end;
        }
        self.targets[label.index()] = Target::Group { end, together: together.clone(), apart: apart.clone() };
        self.frames.push(Frame::Block(label, is_parted));
        if self.list(body) {
            if let Some(together) = &together {
                self.define_mask(together);
            }
            self.b.ins().jump(end, &[]);
        }
        self.frames.pop();
        self.escape = outer;
        if !self.go_on_at(end) {
            return false;
        }
        self.mask = before;
        if let Some(together) = together {
            let mut mask = self.current_mask(&together);
            if let Some(apart) = apart {
                let apart = self.current_mask(&apart);
                mask = self.or(&mask, &apart);
                self.go_on_if_any(&mask);
            }
            self.mask = Some(mask);
        }
        true
    }

    fn turns(&mut self, statement: &'a Statement, body: &'a Block) -> bool {
        let parted = !self.left_from(statement).is_empty();
        self.pin_what_stays(body);
        let head = self.b.create_block();
        let cells = parted.then(|| self.changing_mask());
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        self.burn_fuel();
        if let Some(cells) = &cells {
            self.mask = Some(self.current_mask(cells));
        }
        if self.list(body) {
            if let Some(cells) = &cells {
                self.define_mask(cells);
            }
            self.b.ins().jump(head, &[]);
        }
        self.b.seal_block(head);
        false
    }

    /// Keeps what is computed before a loop and used inside from being computed in every round: the code generator
    /// puts arithmetic where it is used, and takes it out of loops only if no constant is in it. What is stored has to
    /// be there before; nobody reads it. (A store over it, before an inner loop, would make it needless, but for the
    /// memory that is read between them, where each round burns fuel.)
    fn pin_what_stays(&mut self, body: &'a Block) {
        let (mut used, mut inside) = (Vec::new(), FxHashSet::default());
        for statement in body {
            statement.any(&mut |inner| {
                uses(self.body, inner, &mut |value| used.push(value));
                inside.extend(defines(inner));
                false
            });
        }
        used.retain(|value| !inside.contains(value));
        used.sort_unstable();
        used.dedup();
        let start = self.scratch();
        let discard = i64::from(self.discard);
        let start = self.b.ins().iadd_imm_s(start, discard);
        let mut at = 0;
        for value in used {
            let is_computed = match self.body.op(value) {
                Op::Builtin(_) => true,
                Op::Constant(_) | Op::Get(_) | Op::FromMemory | Op::Subgroup(..) | Op::Call(..) => false,
                _ => self.values[value.index()].is_some(),
            };
            if !is_computed {
                continue;
            }
            let lanes = self.value(value);
            let parts = match lanes {
                Lanes::One(scalar) | Lanes::Affine(scalar, _) => SmallVec::from_slice(&[scalar]),
                Lanes::Many(vectors) => vectors,
            };
            for part in parts {
                self.b.ins().store(memory(), part, start, at);
                // What is written over is not stored.
                at = (at + 16) % super::DISCARD as i32;
            }
        }
    }

    /// A mask that begins with those that take part now.
    fn changing_mask(&mut self) -> Mask {
        let cells = self.declare_many(Kind::Bool);
        self.define_mask(&cells);
        cells
    }

    /// A mask that begins with nobody.
    fn empty_mask(&mut self) -> Mask {
        let cells = self.declare_many(Kind::Bool);
        for (cell, none) in cells.iter().zip(self.whole_mask(false)) {
            self.b.def_var(*cell, none);
        }
        cells
    }

    fn current_mask(&mut self, cells: &[Cell]) -> Vectors {
        cells.iter().map(|cell| self.b.use_var(*cell)).collect()
    }

    fn define_mask(&mut self, cells: &[Cell]) {
        let mask = self.mask.clone().unwrap_or_else(|| self.whole_mask(true));
        for (cell, part) in cells.iter().zip(mask) {
            self.b.def_var(*cell, part);
        }
    }

    /// All that take part break to a label.
    fn leave(&mut self, label: Label) {
        if let (Target::Group { end, together, .. }, true) =
            (self.targets[label.index()].clone(), self.goes_together(label))
        {
            if let Some(together) = &together {
                self.define_mask(together);
            }
            self.b.ins().jump(end, &[]);
            return;
        }
        let mask = self.mask.clone();
        self.go(label, mask.as_ref());
        self.b.ins().jump(self.escape, &[]);
    }

    /// Whether nobody waits between here and the end of a label's block.
    fn goes_together(&self, label: Label) -> bool {
        for frame in self.frames.iter().rev() {
            match frame {
                Frame::Block(other, _) if *other == label => return true,
                Frame::Way | Frame::Block(_, true) => return false,
                Frame::Block(_, false) => {}
            }
        }
        false
    }

    /// Notes that lanes, or all, are gone to the end of a label's block.
    fn go(&mut self, label: Label, mask: Option<&Vectors>) {
        let going = mask.cloned().unwrap_or_else(|| self.whole_mask(true));
        match self.targets[label.index()].clone() {
            Target::Group { apart: Some(cells), .. } => {
                let before = self.current_mask(&cells);
                for (cell, part) in cells.iter().zip(self.or(&before, &going)) {
                    self.b.def_var(*cell, part);
                }
            }
            Target::Workgroup { gone: Some(slot), .. } => {
                let before = self.load_mask(slot);
                let after = self.or(&before, &going);
                self.store_mask(slot, &after);
            }
            // All that took part before its block do so behind it.
            _ => {}
        }
    }

    /// The labels outside a statement for which lanes leave apart.
    fn left_from(&self, statement: &Statement) -> SmallVec<[Label; 4]> {
        let is_parted = |label: &Label| match &self.targets[label.index()] {
            Target::Group { .. } => self.shapes.label(*label) == Level::Varying,
            Target::Workgroup { gone, .. } => gone.is_some(),
            Target::None => false,
        };
        breaks_out(statement).into_iter().filter(is_parted).collect()
    }

    /// Those of a mask that have not left the region for labels around it.
    fn survivors(&mut self, before: Option<&Vectors>, left: &[Label]) -> Vectors {
        let mut mask = before.cloned().unwrap_or_else(|| self.whole_mask(true));
        for label in left {
            if let Target::Workgroup { gone: Some(slot), .. } = self.targets[label.index()] {
                let gone = self.load_mask(slot);
                mask = self.without(&mask, &gone);
            }
        }
        mask
    }

    fn go_on_if_any(&mut self, mask: &Vectors) {
        let any = self.any(mask);
        let go_on = self.b.create_block();
        self.b.ins().brif(any, go_on, &[], self.escape, &[]);
        self.b.switch_to_block(go_on);
        self.b.seal_block(go_on);
    }
}
