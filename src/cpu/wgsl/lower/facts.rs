//! What has to be known about functions before they are lowered.

use std::collections::BTreeSet;
use std::rc::Rc;

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{
    Block, Expression, Function, GatherMode, GlobalVariable, Handle, Literal, LocalVariable, Module, Statement,
};

use super::types::{Shape, Type, Types};

/// What a function does to its variables and values.
#[derive(Default)]
pub(super) struct Facts {
    /// Variables that are indexed by what is not known.
    pub(super) locals: BTreeSet<Handle<LocalVariable>>,
    /// Arguments that are pointers to such.
    arguments: BTreeSet<u32>,
    /// Values, not variables, that are indexed so and are too large for choices.
    pub(super) spilled: BTreeSet<Handle<Expression>>,
    /// Whether the only return is the last statement.
    pub(super) returns_last: bool,
}

/// The facts of all functions, and private variables that are indexed by what is not known.
pub(super) struct AllFacts {
    pub(super) functions: Vec<Rc<Facts>>,
    pub(super) entry_point: Rc<Facts>,
    pub(super) globals: BTreeSet<Handle<GlobalVariable>>,
}

impl AllFacts {
    pub(super) fn new(module: &Module, info: &ModuleInfo, types: &Types<'_>) -> Self {
        let mut all = Self { functions: Vec::new(), entry_point: Rc::default(), globals: BTreeSet::new() };
        // Functions come before those that call them.
        for (handle, function) in module.functions.iter() {
            let facts = all.of(module, function, &info[handle], types);
            all.functions.push(facts);
        }
        all.entry_point = all.of(module, &module.entry_points[0].function, info.get_entry_point(0), types);
        all
    }

    fn of(&mut self, module: &Module, function: &Function, info: &FunctionInfo, types: &Types<'_>) -> Rc<Facts> {
        let mut facts = Facts::default();
        for (_, expression) in function.expressions.iter() {
            let Expression::Access { base, index } = *expression else { continue };
            if known_index(module, function, index).is_some() {
                continue;
            }
            let ty = info[base].ty.inner_with(&module.types);
            if ty.pointer_space().is_some() {
                self.mark(&mut facts, function, base);
            } else if types.of(ty).is_ok_and(|ty| !by_choices(&ty)) {
                facts.spilled.insert(base);
            }
        }
        let mut returns = 0;
        each_statement(&function.body, &mut |statement| match statement {
            Statement::Call { function: called, arguments, .. } => {
                let called = self.functions[called.index()].clone();
                for argument in &called.arguments {
                    self.mark(&mut facts, function, arguments[*argument as usize]);
                }
            }
            Statement::Return { .. } => returns += 1,
            _ => {}
        });
        facts.returns_last = returns == 1 && ends_in_return(&function.body);
        Rc::new(facts)
    }

    /// Notes that what the pointer leads to is indexed by what is not known.
    fn mark(&mut self, facts: &mut Facts, function: &Function, mut pointer: Handle<Expression>) {
        loop {
            match function.expressions[pointer] {
                Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => pointer = base,
                Expression::LocalVariable(variable) => break facts.locals.extend([variable]),
                Expression::GlobalVariable(variable) => break self.globals.extend([variable]),
                Expression::FunctionArgument(argument) => break facts.arguments.extend([argument]),
                _ => break,
            }
        }
    }
}

/// Whether an element of a value is chosen among all; others are looked up in memory.
pub(super) fn by_choices(ty: &Type) -> bool {
    match &ty.shape {
        Shape::Series { count, .. } => ty.scalars <= 16 && count.is_some_and(|count| count <= 4),
        _ => false,
    }
}

/// An index that is written down.
pub(super) fn known_index(module: &Module, function: &Function, index: Handle<Expression>) -> Option<u32> {
    let literal = match function.expressions[index] {
        Expression::Literal(literal) => literal,
        Expression::ZeroValue(_) => return Some(0),
        Expression::Constant(constant) => match module.global_expressions[module.constants[constant].init] {
            Expression::Literal(literal) => literal,
            Expression::ZeroValue(_) => return Some(0),
            _ => return None,
        },
        _ => return None,
    };
    match literal {
        Literal::U32(index) => Some(index),
        Literal::I32(index) => index.try_into().ok(),
        Literal::U64(index) => index.try_into().ok(),
        Literal::I64(index) => index.try_into().ok(),
        _ => None,
    }
}

fn ends_in_return(block: &Block) -> bool {
    match block.last() {
        Some(Statement::Block(block)) => ends_in_return(block),
        Some(Statement::Return { .. }) => true,
        _ => false,
    }
}

/// Calls `f` with every list inside a statement.
fn each_block<'a>(statement: &'a Statement, f: &mut dyn FnMut(&'a Block)) {
    match statement {
        Statement::Block(block) => f(block),
        Statement::If { accept, reject, .. } => {
            f(accept);
            f(reject);
        }
        Statement::Switch { cases, .. } => cases.iter().for_each(|case| f(&case.body)),
        Statement::Loop { body, continuing, .. } => {
            f(body);
            f(continuing);
        }
        _ => {}
    }
}

fn each_statement<'a>(block: &'a Block, f: &mut dyn FnMut(&'a Statement)) {
    for statement in block {
        f(statement);
        each_block(statement, &mut |block| each_statement(block, f));
    }
}

/// Whether the body of a loop skips to its next round.
pub(super) fn has_continue(block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Continue => true,
        Statement::Loop { .. } => false,
        _ => {
            let mut found = false;
            each_block(statement, &mut |block| found = found || has_continue(block));
            found
        }
    })
}

/// What the statements use directly, or compute other values from.
pub(super) fn used(function: &Function, block: &Block) -> BTreeSet<Handle<Expression>> {
    let mut all = BTreeSet::new();
    each_statement(block, &mut |statement| {
        let mut one = |expression: Handle<Expression>| all.extend([expression]);
        match statement {
            Statement::Emit(range) => range.clone().for_each(|expression| {
                operands(&function.expressions[expression], &mut one);
            }),
            Statement::If { condition, .. } => one(*condition),
            Statement::Switch { selector, .. } => one(*selector),
            Statement::Loop { break_if, .. } => break_if.iter().for_each(|condition| one(*condition)),
            Statement::Store { pointer, value } => {
                one(*pointer);
                one(*value);
            }
            Statement::Atomic { pointer, fun, value, .. } => {
                one(*pointer);
                one(*value);
                if let naga::AtomicFunction::Exchange { compare: Some(compare) } = fun {
                    one(*compare);
                }
            }
            Statement::WorkGroupUniformLoad { pointer, .. } => one(*pointer),
            Statement::Call { arguments, .. } => arguments.iter().for_each(|argument| one(*argument)),
            Statement::SubgroupBallot { predicate, .. } => predicate.iter().for_each(|predicate| one(*predicate)),
            Statement::SubgroupCollectiveOperation { argument, .. } => one(*argument),
            Statement::SubgroupGather { mode, argument, .. } => {
                one(*argument);
                match mode {
                    GatherMode::Broadcast(index)
                    | GatherMode::Shuffle(index)
                    | GatherMode::ShuffleDown(index)
                    | GatherMode::ShuffleUp(index)
                    | GatherMode::ShuffleXor(index)
                    | GatherMode::QuadBroadcast(index) => one(*index),
                    GatherMode::BroadcastFirst | GatherMode::QuadSwap(_) => {}
                }
            }
            _ => {}
        }
    });
    all
}

fn operands(expression: &Expression, f: &mut dyn FnMut(Handle<Expression>)) {
    match *expression {
        Expression::Compose { ref components, .. } => components.iter().for_each(|component| f(*component)),
        Expression::Access { base: a, index: b } | Expression::Binary { left: a, right: b, .. } => {
            f(a);
            f(b);
        }
        Expression::AccessIndex { base: a, .. }
        | Expression::Splat { value: a, .. }
        | Expression::Swizzle { vector: a, .. }
        | Expression::Load { pointer: a }
        | Expression::Unary { expr: a, .. }
        | Expression::Relational { argument: a, .. }
        | Expression::As { expr: a, .. }
        | Expression::ArrayLength(a) => f(a),
        Expression::Select { condition, accept, reject } => [condition, accept, reject].into_iter().for_each(f),
        Expression::Math { arg, arg1, arg2, arg3, .. } => {
            [Some(arg), arg1, arg2, arg3].into_iter().flatten().for_each(f);
        }
        _ => {}
    }
}
