//! How many workgroups a call runs, and how more of them than a device counts are run all the same.
//!
//! A device launches some 65,535 workgroups along a dimension. Beyond that the grid is folded: workgroups are launched
//! as a rectangle, and the kernel's own ids are worked out from the place in it, by a few instructions that are put in
//! front of the compiled kernel. Those left over return at once.

use naga::{
    AddressSpace, BinaryOperator, Binding, Block, BuiltIn, Expression, Function, FunctionArgument, GlobalVariable,
    Handle, Literal, Module, ResourceBinding, Scalar, Span, Statement, Type, TypeInner, VectorSize,
};

use super::{Kernel, Program};
use crate::error::Result;
use crate::gpu::stream::fold;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Invocations along x, y and z: at least so many run.
    Threads([u64; 3]),
    /// Workgroups along x, y and z.
    Workgroups([u64; 3]),
}

/// Workgroups as the kernel sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) groups: [u32; 3],
}

impl Grid {
    /// The grid of a call; none where nothing runs.
    pub(crate) fn new(kernel: &Kernel, program: &Program, size: Size) -> Result<Option<Self>> {
        let (name, counts, per) = match size {
            Size::Threads(threads) => ("threads", threads, program.workgroup_size.map(u64::from)),
            Size::Workgroups(groups) => ("workgroups", groups, [1; 3]),
        };
        let groups: [u64; 3] = std::array::from_fn(|i| counts[i].div_ceil(per[i]));
        if groups.contains(&0) {
            return Ok(None);
        }
        let total = groups.iter().try_fold(1_u64, |total, &count| total.checked_mul(count));
        let ids_fit = (0..3).all(|i| groups[i].saturating_mul(u64::from(program.workgroup_size[i])) <= 1 << 32);
        match total {
            Some(total) if ids_fit && total < 1 << 32 => Ok(Some(Self { groups: groups.map(|count| count as u32) })),
            _ => {
                let [x, y, z] = counts;
                Err(kernel.refuse(format!(
                    "{name}=({x}, {y}, {z}) is more than 32-bit ids count; let each invocation do more, in a loop"
                )))
            }
        }
    }

    pub(crate) fn total(self) -> u32 {
        self.groups.iter().product()
    }

    /// The rectangle in which they are launched, on a device that counts so far: along three dimensions where each fits,
    /// and else along two, with a few left over.
    pub(crate) fn launched(self, most: u32) -> [u32; 3] {
        if !self.is_folded(most) {
            return self.groups;
        }
        let (x, y) = fold(self.total(), most);
        [x, y, 1]
    }

    pub(crate) fn is_folded(self, most: u32) -> bool {
        self.groups.iter().any(|&count| count > most)
    }

    /// What a folded kernel is given: the grid, and the number of workgroups in it.
    pub(crate) fn uniform(self) -> [u32; 4] {
        let [x, y, z] = self.groups;
        [x, y, z, self.total()]
    }
}

/// The module with its entry point wrapped: it gets the ids of a grid that is given as one more uniform, a vec4<u32>
/// at the binding behind the kernel's own.
pub(crate) fn folded(module: &Module, binding: u32) -> Module {
    let mut module = module.clone();
    let types = Types::insert(&mut module);
    let grid = module.global_variables.append(
        GlobalVariable {
            name: Some("gpukern_grid".into()),
            space: AddressSpace::Uniform,
            binding: Some(ResourceBinding { group: 0, binding }),
            ty: types.vec4,
            init: None,
            memory_decorations: naga::MemoryDecorations::empty(),
        },
        Span::UNDEFINED,
    );
    let entry = &mut module.entry_points[0];
    let workgroup_size = entry.workgroup_size;
    let mut inner = std::mem::take(&mut entry.function);
    let arguments = inner.arguments.clone();
    for argument in &mut inner.arguments {
        argument.binding = None;
    }
    inner.name = Some(format!("{}_unfolded", entry.name));
    let inner = module.functions.append(inner, Span::UNDEFINED);
    let wrapper = Wrapper::new(&module, &types, arguments);
    module.entry_points[0].function = wrapper.finish(&module, &types, grid, inner, workgroup_size);
    module
}

struct Types {
    vec3: Handle<Type>,
    vec4: Handle<Type>,
}

impl Types {
    fn insert(module: &mut Module) -> Self {
        let mut vector = |size| {
            let inner = TypeInner::Vector { size, scalar: Scalar::U32 };
            module.types.insert(Type { name: None, inner }, Span::UNDEFINED)
        };
        Self { vec3: vector(VectorSize::Tri), vec4: vector(VectorSize::Quad) }
    }
}

/// The entry point under construction.
struct Wrapper {
    function: Function,
    /// The arguments of the kernel's own function, as they come from the device.
    own: Vec<FunctionArgument>,
    /// Where each builtin is among the arguments: the argument, and the member if it is a struct.
    builtins: Vec<(BuiltIn, usize, Option<u32>)>,
}

/// The ids that change, and the one that tells invocations of a workgroup apart.
const NEEDED: [BuiltIn; 3] = [BuiltIn::WorkGroupId, BuiltIn::NumWorkGroups, BuiltIn::LocalInvocationId];

impl Wrapper {
    fn new(module: &Module, types: &Types, own: Vec<FunctionArgument>) -> Self {
        let mut builtins = Vec::new();
        for (i, argument) in own.iter().enumerate() {
            match (&argument.binding, &module.types[argument.ty].inner) {
                (Some(Binding::BuiltIn(builtin)), _) => builtins.push((*builtin, i, None)),
                (_, TypeInner::Struct { members, .. }) => {
                    for (m, member) in members.iter().enumerate() {
                        if let Some(Binding::BuiltIn(builtin)) = member.binding {
                            builtins.push((builtin, i, Some(m as u32)));
                        }
                    }
                }
                _ => {}
            }
        }
        let mut arguments = own.clone();
        for builtin in NEEDED {
            if !builtins.iter().any(|(other, ..)| *other == builtin) {
                builtins.push((builtin, arguments.len(), None));
                arguments.push(FunctionArgument {
                    name: None,
                    ty: types.vec3,
                    binding: Some(Binding::BuiltIn(builtin)),
                });
            }
        }
        Self { function: Function { arguments, ..Function::default() }, own, builtins }
    }

    fn add(&mut self, expression: Expression) -> Handle<Expression> {
        self.function.expressions.append(expression, Span::UNDEFINED)
    }

    fn binary(
        &mut self,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Handle<Expression> {
        self.add(Expression::Binary { op, left, right })
    }

    fn component(&mut self, base: Handle<Expression>, index: u32) -> Handle<Expression> {
        self.add(Expression::AccessIndex { base, index })
    }

    /// The value of a builtin as the device gives it.
    fn builtin(&mut self, arguments: &[Handle<Expression>], wanted: BuiltIn) -> Handle<Expression> {
        let &(_, argument, member) =
            self.builtins.iter().find(|(builtin, ..)| *builtin == wanted).expect("it was added if it was missing");
        match member {
            None => arguments[argument],
            Some(member) => self.component(arguments[argument], member),
        }
    }

    fn finish(
        mut self,
        module: &Module,
        types: &Types,
        grid: Handle<GlobalVariable>,
        inner: Handle<Function>,
        workgroup_size: [u32; 3],
    ) -> Function {
        // These need no emitting.
        let arguments: Vec<_> =
            (0..self.function.arguments.len()).map(|i| self.add(Expression::FunctionArgument(i as u32))).collect();
        let grid = self.add(Expression::GlobalVariable(grid));
        let sizes = workgroup_size.map(|size| self.add(Expression::Literal(Literal::U32(size))));

        // linear = id.x + id.y · groups.x, of `total` in all.
        let before = self.function.expressions.len();
        let id = self.builtin(&arguments, BuiltIn::WorkGroupId);
        let launched = self.builtin(&arguments, BuiltIn::NumWorkGroups);
        let lane = self.builtin(&arguments, BuiltIn::LocalInvocationId);
        let grid = self.add(Expression::Load { pointer: grid });
        let (id_x, id_y, launched_x) = (self.component(id, 0), self.component(id, 1), self.component(launched, 0));
        let rows = self.binary(BinaryOperator::Multiply, id_y, launched_x);
        let linear = self.binary(BinaryOperator::Add, id_x, rows);
        let total = self.component(grid, 3);
        let runs = self.binary(BinaryOperator::Less, linear, total);
        let head = self.function.expressions.range_from(before);

        // Its place in the grid, and that of the invocation.
        let before = self.function.expressions.len();
        let counts: [_; 3] = std::array::from_fn(|i| self.component(grid, i as u32));
        let x = self.binary(BinaryOperator::Modulo, linear, counts[0]);
        let rest = self.binary(BinaryOperator::Divide, linear, counts[0]);
        let y = self.binary(BinaryOperator::Modulo, rest, counts[1]);
        let z = self.binary(BinaryOperator::Divide, rest, counts[1]);
        let place = [x, y, z];
        let global: Vec<_> = (0..3)
            .map(|i| {
                let start = self.binary(BinaryOperator::Multiply, place[i], sizes[i]);
                let lane = self.component(lane, i as u32);
                self.binary(BinaryOperator::Add, start, lane)
            })
            .collect();
        let mut vec3 = |components: Vec<_>| self.add(Expression::Compose { ty: types.vec3, components });
        let ids = [
            (BuiltIn::WorkGroupId, vec3(place.to_vec())),
            (BuiltIn::NumWorkGroups, vec3(counts.to_vec())),
            (BuiltIn::GlobalInvocationId, vec3(global)),
        ];
        let new = |builtin: Option<&Binding>| match builtin {
            Some(Binding::BuiltIn(builtin)) => ids.iter().find(|(id, _)| id == builtin).map(|(_, value)| *value),
            _ => None,
        };
        let own = std::mem::take(&mut self.own);
        let mut passed = Vec::with_capacity(own.len());
        for (i, argument) in own.iter().enumerate() {
            passed.push(match (&argument.binding, &module.types[argument.ty].inner) {
                (binding @ Some(_), _) => new(binding.as_ref()).unwrap_or(arguments[i]),
                (None, TypeInner::Struct { members, .. }) => {
                    let components = members
                        .iter()
                        .enumerate()
                        .map(|(m, member)| {
                            new(member.binding.as_ref()).unwrap_or_else(|| self.component(arguments[i], m as u32))
                        })
                        .collect();
                    self.add(Expression::Compose { ty: argument.ty, components })
                }
                (None, _) => arguments[i],
            });
        }
        let tail = self.function.expressions.range_from(before);
        let mut accept = Block::new();
        accept.push(Statement::Emit(tail), Span::UNDEFINED);
        accept.push(Statement::Call { function: inner, arguments: passed, result: None }, Span::UNDEFINED);
        let body = &mut self.function.body;
        body.push(Statement::Emit(head), Span::UNDEFINED);
        body.push(Statement::If { condition: runs, accept, reject: Block::new() }, Span::UNDEFINED);
        body.push(Statement::Return { value: None }, Span::UNDEFINED);
        self.function
    }
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;

    #[test]
    fn folded_modules_are_valid() {
        let plain = "@compute @workgroup_size(8, 4) fn main() { f(); }";
        let ids = "@compute @workgroup_size(8) fn main(@builtin(global_invocation_id) i: vec3<u32>, \
                   @builtin(num_workgroups) n: vec3<u32>, @builtin(local_invocation_index) l: u32) \
                   { f(); workgroupBarrier(); y[i.x] = n.x + l; }";
        let members = "struct I { @builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) w: vec3<u32> } \
                       @compute @workgroup_size(8) fn main(i: I, @builtin(subgroup_size) s: u32) \
                       { f(); y[i.w.x] = i.l.x + s; }";
        for text in [plain, ids, members] {
            let text = format!(
                "@group(0) @binding(0) var<storage, read_write> y: array<u32>; fn f() {{ y[0] = 1u; }}\n{text}"
            );
            let module = naga::front::wgsl::parse_str(&text).unwrap();
            let wrapped = folded(&module, 1);
            Validator::new(ValidationFlags::all(), Capabilities::all())
                .validate(&wrapped)
                .unwrap_or_else(|error| panic!("{text}: {:?}", error.as_inner()));
        }
    }

    #[test]
    fn every_workgroup_is_launched() {
        for groups in [[70_000, 1, 1], [1, 65_536, 3], [1 << 24, 1, 1], [65_535, 65_535, 1]] {
            let grid = Grid { groups };
            let launched = grid.launched(65_535);
            let count: u64 = launched.iter().map(|&n| u64::from(n)).product();
            assert!(launched.iter().all(|&n| n <= 65_535));
            assert!(count >= u64::from(grid.total()) && count < u64::from(grid.total()) + u64::from(launched[1]));
        }
        assert_eq!(Grid { groups: [65_535, 2, 3] }.launched(65_535), [65_535, 2, 3]);
    }
}
