//! Functions: their arguments, variables and results. Calls are inlined.

use std::rc::Rc;

use naga::valid::FunctionInfo;
use naga::{Binding, BuiltIn, Expression, Function, Handle, TypeInner};
use rustc_hash::FxHashMap;

use super::control::Targets;
use super::expressions::Operand;
use super::facts::Facts;
use super::places::{Pointer, check_size};
use super::{DEEPEST, Lowering, Result, Unsupported, Values, unsupported};
use crate::cpu::wgsl::ir::{Block, Builtin, Label, Statement, Value, Variable};

/// A function while it is lowered for one of its calls.
pub(super) struct Frame<'a> {
    pub(super) function: &'a Function,
    pub(super) info: &'a FunctionInfo,
    pub(super) facts: Rc<Facts>,
    pub(super) arguments: Vec<Operand>,
    pub(super) locals: Vec<Rc<Pointer>>,
    /// What expressions came to, by their handles.
    pub(super) known: Vec<Option<Operand>>,
    /// Where values lie that are indexed by what is not known.
    pub(super) spills: FxHashMap<Handle<Expression>, Rc<Pointer>>,
    pub(super) targets: Targets,
    /// Behind the function's body, and whether anything breaks to it.
    pub(super) end: Option<Label>,
    pub(super) result: Returned,
}

/// Where what a function returns is kept.
#[derive(Default)]
pub(super) enum Returned {
    #[default]
    Nothing,
    /// There is one return, at the end.
    Values(Values),
    /// There are several.
    Variables(Rc<[Variable]>),
}

impl<'a> Frame<'a> {
    pub(super) fn new(
        function: &'a Function,
        info: &'a FunctionInfo,
        facts: Rc<Facts>,
        arguments: Vec<Operand>,
    ) -> Self {
        Self {
            function,
            info,
            facts,
            arguments,
            locals: Vec::new(),
            known: vec![None; function.expressions.len()],
            spills: FxHashMap::default(),
            targets: Targets::default(),
            end: None,
            result: Returned::default(),
        }
    }
}

impl<'a> Lowering<'a> {
    /// All that an invocation does.
    pub(super) fn entry_point(&mut self) -> Result<Block> {
        let function = self.frame.function;
        let mut arguments = Vec::with_capacity(function.arguments.len());
        for argument in &function.arguments {
            let mut values = Vec::new();
            match (&argument.binding, &self.module.types[argument.ty].inner) {
                (Some(binding), _) => self.builtins(binding, &mut values)?,
                (None, TypeInner::Struct { members, .. }) => {
                    for member in members {
                        if let Some(binding) = &member.binding {
                            self.builtins(binding, &mut values)?;
                        }
                    }
                }
                _ => return unsupported("an argument of the entry point that is not built in"),
            }
            arguments.push(Operand::Values(values.into()));
        }
        self.build.open();
        self.run(Frame::new(function, self.frame.info, self.frame.facts.clone(), arguments), false)?;
        let statements = self.build.close();
        let mut all = std::mem::take(&mut self.prologue);
        all.extend(statements);
        Ok(all)
    }

    fn builtins(&mut self, binding: &Binding, values: &mut Vec<Value>) -> Result<()> {
        let vector: fn(u8) -> Builtin = match binding {
            Binding::BuiltIn(BuiltIn::GlobalInvocationId) => Builtin::GlobalId,
            Binding::BuiltIn(BuiltIn::LocalInvocationId) => Builtin::LocalId,
            Binding::BuiltIn(BuiltIn::WorkGroupId) => Builtin::WorkgroupId,
            Binding::BuiltIn(BuiltIn::NumWorkGroups) => Builtin::Workgroups,
            Binding::BuiltIn(BuiltIn::WorkGroupSize) => {
                values.extend(self.module.entry_points[0].workgroup_size.map(|size| self.build.u32(size)));
                return Ok(());
            }
            Binding::BuiltIn(builtin) => {
                let builtin = match builtin {
                    BuiltIn::LocalInvocationIndex => Builtin::LocalIndex,
                    BuiltIn::SubgroupInvocationId => Builtin::Lane,
                    BuiltIn::SubgroupSize => Builtin::SubgroupSize,
                    BuiltIn::SubgroupId => Builtin::SubgroupId,
                    BuiltIn::NumSubgroups => Builtin::Subgroups,
                    _ => return unsupported("a built-in value that compute shaders do not have"),
                };
                values.push(self.build.builtin(builtin));
                return Ok(());
            }
            Binding::Location { .. } => return unsupported("an argument of the entry point that is not built in"),
        };
        values.extend((0..3).map(|axis| self.build.builtin(vector(axis))));
        Ok(())
    }

    pub(super) fn call(
        &mut self,
        called: Handle<Function>,
        arguments: &[Handle<Expression>],
        result: Option<Handle<Expression>>,
    ) -> Result<()> {
        let arguments = arguments.iter().map(|argument| self.operand(*argument)).collect::<Result<_>>()?;
        let facts = self.facts.functions[called.index()].clone();
        let frame = Frame::new(&self.module.functions[called], &self.info[called], facts, arguments);
        let values = self.run(frame, true)?;
        match result {
            Some(result) => self.bind(result, Operand::Values(values)),
            None => Ok(()),
        }
    }

    /// Lowers the body of a function, and tells what it returns; `again` if it may run more than once.
    fn run(&mut self, frame: Frame<'a>, again: bool) -> Result<Values> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return unsupported("calls and statements that are nested so deeply");
        }
        let outer = std::mem::replace(&mut self.frame, frame);
        let mark = self.private.mark();
        let function = self.frame.function;
        // Each call has a list of what they come to.
        self.visited += function.expressions.len() / 16;
        let facts = self.frame.facts.clone();
        if let (Some(result), false) = (&function.result, facts.returns_last) {
            let ty = self.types.get(result.ty)?;
            check_size(&ty)?;
            let variables = ty.kinds().into_iter().map(|kind| self.build.variable(kind)).collect();
            self.frame.result = Returned::Variables(variables);
        }
        for (handle, variable) in function.local_variables.iter() {
            let span = function.local_variables.get_span(handle);
            let ty = self.types.get(variable.ty).map_err(|what| Unsupported::from(what).at(span))?;
            let pointer = self.allocate(&ty, facts.locals.contains(&handle)).map_err(|error| error.at(span))?;
            let values = variable.init.map(|init| self.values(init)).transpose()?;
            self.initialise(&pointer, values.as_ref(), again)?;
            self.frame.locals.push(Rc::new(pointer));
        }
        for spilled in &facts.spilled {
            if matches!(function.expressions[*spilled], Expression::FunctionArgument(_)) {
                let argument = self.operand(*spilled)?;
                self.bind(*spilled, argument)?;
            }
        }
        self.build.open();
        self.body(&function.body)?;
        let body = self.build.close();
        match self.frame.end {
            Some(label) => self.build.push(Statement::Block { label, body }),
            None => body.into_iter().for_each(|statement| self.build.push(statement)),
        }
        let values = match std::mem::take(&mut self.frame.result) {
            Returned::Nothing => [].into(),
            Returned::Values(values) => values,
            Returned::Variables(variables) => variables.iter().map(|variable| self.build.get(*variable)).collect(),
        };
        self.private.release(mark);
        self.frame = outer;
        self.depth -= 1;
        Ok(values)
    }

    /// Returns from a function; `ends` if its body ends here anyway.
    pub(super) fn leave(&mut self, value: Option<Handle<Expression>>, ends: bool) -> Result<()> {
        if let Some(value) = value {
            let values = self.values(value)?;
            match &self.frame.result {
                Returned::Variables(variables) => {
                    let variables = variables.clone();
                    variables.iter().zip(values.iter()).for_each(|(variable, value)| self.build.set(*variable, *value));
                }
                _ => self.frame.result = Returned::Values(values),
            }
        }
        if !ends {
            let label = match self.frame.end {
                Some(label) => label,
                None => self.build.label(),
            };
            self.frame.end = Some(label);
            self.build.push(Statement::Break(label));
        }
        Ok(())
    }
}
