//! What naga writes for some backends as if it meant something else, and which is refused there.

use naga::{
    AddressSpace, ArraySize, Block, Expression, Function, Handle, Module, Statement, Type, TypeInner, VectorSize,
};
use rustc_hash::FxHashSet;

use super::guards::{named, operands};
use super::reflect::refuse_variable;
use super::source::{Complaint, Source};
use crate::error::Result;

/// Refuses loops whose `continuing` uses what their body has computed: in GLSL, MSL and HLSL that is computed anew, from
/// what variables hold by then.
pub(crate) fn refuse_loops(source: &Source, module: &Module) -> Result<()> {
    let functions = module.functions.iter().map(|(_, function)| function);
    for function in functions.chain(module.entry_points.iter().map(|entry| &entry.function)) {
        let Some(handle) = carried(function, &function.body) else { continue };
        let name = function.named_expressions.get(&handle).map_or_else(String::new, |name| format!(" '{name}'"));
        let place = function.expressions.get_span(handle).to_range();
        return Err(source.refuse(Complaint {
            message: format!("a loop's body computes{name}, and its continuing block uses it"),
            labels: place.into_iter().map(|place| (place, String::new())).collect(),
            notes: vec!["this backend would compute it anew there; declare it with var instead of let".into()],
        }));
    }
    Ok(())
}

/// The first expression of some loop's body that its continuing block uses.
fn carried(function: &Function, block: &Block) -> Option<Handle<Expression>> {
    for statement in block {
        if let Statement::Loop { body, continuing, break_if } = statement {
            let mut computed = FxHashSet::default();
            each(body, &mut |statement| computed.extend(results(statement)));
            let mut found = break_if.filter(|handle| computed.contains(handle));
            each(continuing, &mut |statement| {
                let used = uses(function, statement).into_iter().find(|handle| computed.contains(handle));
                found = found.or(used);
            });
            if found.is_some() {
                return found;
            }
        }
        for inner in blocks(statement) {
            if let Some(handle) = carried(function, inner) {
                return Some(handle);
            }
        }
    }
    None
}

fn blocks(statement: &Statement) -> Vec<&Block> {
    match statement {
        Statement::Block(inner) => vec![inner],
        Statement::If { accept, reject, .. } => vec![accept, reject],
        Statement::Switch { cases, .. } => cases.iter().map(|case| &case.body).collect(),
        Statement::Loop { body, continuing, .. } => vec![body, continuing],
        _ => Vec::new(),
    }
}

/// Calls a function with each statement, and each of those in it.
fn each(block: &Block, with: &mut impl FnMut(&Statement)) {
    for statement in block {
        with(statement);
        for inner in blocks(statement) {
            each(inner, with);
        }
    }
}

/// The expressions that have a value from a statement on.
fn results(statement: &Statement) -> Vec<Handle<Expression>> {
    match statement {
        Statement::Emit(range) => range.clone().collect(),
        Statement::Call { result, .. } | Statement::Atomic { result, .. } => result.iter().copied().collect(),
        Statement::WorkGroupUniformLoad { result, .. }
        | Statement::SubgroupBallot { result, .. }
        | Statement::SubgroupGather { result, .. }
        | Statement::SubgroupCollectiveOperation { result, .. } => vec![*result],
        _ => Vec::new(),
    }
}

/// The expressions that a statement makes use of.
fn uses(function: &Function, statement: &Statement) -> Vec<Handle<Expression>> {
    let own = results(statement);
    let mut handles: Vec<_> = match statement {
        Statement::Emit(range) => range
            .clone()
            .flat_map(|handle| {
                let mut expression = function.expressions[handle].clone();
                operands(&mut expression).unwrap_or_default().into_iter().map(|operand| *operand).collect::<Vec<_>>()
            })
            .collect(),
        // What is inside of these is looked at by itself.
        Statement::Block(_) => Vec::new(),
        Statement::If { condition, .. } => vec![*condition],
        Statement::Switch { selector, .. } => vec![*selector],
        Statement::Loop { break_if, .. } => break_if.iter().copied().collect(),
        other => named(&mut other.clone()).unwrap_or_default().into_iter().map(|handle| *handle).collect(),
    };
    handles.retain(|handle| !own.contains(handle));
    handles
}

/// Refuses buffers with fields that lie elsewhere in GLSL, where there is neither `@size` nor `@align`.
pub(crate) fn refuse_layouts(source: &Source, module: &Module) -> Result<()> {
    for (handle, variable) in module.global_variables.iter() {
        let uniform = match variable.space {
            AddressSpace::Uniform => true,
            AddressSpace::Storage { .. } => false,
            _ => continue,
        };
        if let Err(ty) = layout(module, variable.ty, uniform) {
            let name = module.types[ty].name.as_deref().unwrap_or_default();
            return Err(refuse_variable(
                source,
                module,
                handle,
                &format!(
                    "GL has no @size and no @align, by which fields of '{name}' lie elsewhere; make the gaps between \
                     them fields"
                ),
            ));
        }
    }
    Ok(())
}

/// The alignment and the size of a type in GLSL, by std140 for uniforms and else by std430; or the struct whose fields
/// lie elsewhere.
fn layout(module: &Module, ty: Handle<Type>, uniform: bool) -> std::result::Result<(u32, u32), Handle<Type>> {
    let vector = |size: VectorSize, width: u8| {
        let width = u32::from(width);
        (if size == VectorSize::Bi { 2 } else { 4 } * width, size as u32 * width)
    };
    let least = if uniform { 16 } else { 1 };
    Ok(match module.types[ty].inner {
        TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => (scalar.width.into(), scalar.width.into()),
        TypeInner::Vector { size, scalar } => vector(size, scalar.width),
        TypeInner::Matrix { columns, rows, scalar } => {
            let (align, size) = vector(rows, scalar.width);
            let align = align.max(least);
            (align, size.next_multiple_of(align) * columns as u32)
        }
        TypeInner::Array { base, size, stride } => {
            let (align, of_one) = layout(module, base, uniform)?;
            let align = align.max(least);
            if of_one.next_multiple_of(align) != stride {
                return Err(base);
            }
            (align, if let ArraySize::Constant(length) = size { length.get().saturating_mul(stride) } else { 0 })
        }
        TypeInner::Struct { ref members, .. } => {
            let (mut align, mut end) = (least, 0_u32);
            for member in members {
                let (of_member, size) = layout(module, member.ty, uniform)?;
                if end.next_multiple_of(of_member) != member.offset {
                    return Err(ty);
                }
                align = align.max(of_member);
                end = member.offset.saturating_add(size);
            }
            (align, end.next_multiple_of(align))
        }
        _ => (1, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> Module {
        naga::front::wgsl::parse_str(text).unwrap()
    }

    #[test]
    fn what_a_loop_carries_is_found() {
        let name = |text: &str| {
            let text = format!(
                "@group(0) @binding(0) var<storage, read_write> y: array<i32>; var<workgroup> w: atomic<i32>;
                 fn twice(v: i32) -> i32 {{ return v + v; }}
                 @compute @workgroup_size(1) fn main() {{ var k = 0; {text} }}"
            );
            let module = module(&text);
            let function = &module.entry_points[0].function;
            let handle = carried(function, &function.body)?;
            Some(function.named_expressions.get(&handle).cloned().unwrap_or_default())
        };
        for text in [
            "loop { let t = y[k]; y[k] = 7; if t > 99 { break; } continuing { k = k + t; } }",
            "loop { let t = twice(k); continuing { k += t; break if k > 9; } }",
            "loop { let t = atomicAdd(&w, 1); continuing { break if t > 9; } }",
            "loop { if k > 3 { break; } loop { let t = k + y[0]; continuing { k += 1; if k > 1 { y[t] = 1; } break if k > 7; } } }",
        ] {
            assert_eq!(name(text).as_deref(), Some("t"), "{text}");
        }
        for text in [
            "for (var i = 0; i < 9; i += twice(i)) { let t = y[i]; y[i + 1] = t; }",
            "loop { var t = y[k]; y[k] = 7; if t > 99 { break; } continuing { k = k + t; } }",
            "let t = y[0]; loop { k += 1; continuing { let u = t + k; y[u] = u; break if u > 9; } }",
            "while k < 3 { let t = y[k]; k += t; }",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
    }

    #[test]
    fn fields_elsewhere_are_found() {
        let fits = |space: &str, text: &str| {
            let module = module(&format!("{text} @group(0) @binding(0) var<{space}> x: T;"));
            let (_, variable) = module.global_variables.iter().next().unwrap();
            layout(&module, variable.ty, space == "uniform").is_ok()
        };
        for text in [
            "struct T { a: f32, b: vec3<f32>, c: f32, d: vec2<u32>, e: mat3x3<f32>, f: array<vec4<i32>, 3>, g: vec3<u32> }",
            "struct U { a: vec3<f32>, b: u32 } struct T { x: f32, @align(16) u: U, v: array<U, 2>, w: f32 }",
            "struct U { @align(16) a: f32 } struct T { u: U, @align(16) v: f32 }",
            "alias T = array<vec4<f32>, 7>;",
        ] {
            assert!(fits("uniform", text), "{text}");
        }
        for text in [
            "struct T { a: f32, b: vec3<f32>, c: atomic<u32>, d: array<f32, 5>, e: mat4x2<f32>, f: array<vec3<f32>> }",
            "struct U { a: vec2<f32>, b: f32 } struct T { x: f32, u: U, v: array<U, 3>, w: array<array<f32, 3>, 2> }",
            "alias T = array<f32>;",
        ] {
            assert!(fits("storage, read_write", text), "{text}");
        }
        for (space, text) in [
            ("uniform", "struct T { @size(16) a: f32, b: f32 }"),
            ("storage", "struct T { @size(16) a: f32, b: f32 }"),
            ("storage", "struct T { a: f32, @align(16) b: f32 }"),
            ("storage", "struct U { @size(32) a: f32 } alias T = array<U, 2>;"),
            ("storage", "struct U { @size(8) a: f32 } struct T { u: U, b: f32 }"),
        ] {
            assert!(!fits(space, text), "{text}");
        }
    }
}
