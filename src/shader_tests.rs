//! Every shader variant is parsed and validated, and its parameters are compared with their Rust twins, without a GPU.

use wgpu::naga;

use crate::gpu::pipeline::Spec;
use crate::gpu::wgsl::{MODULES, OURS, Slot, assemble};
use crate::kernel::source::LIBRARY;
use crate::ops::{
    attention, cumsum, elementwise, formulas, matmul, matmul_vec, norm, quantised, reduce, rope, softmax, take,
};

/// An operation's own file lists its variants.
fn all_specs() -> Vec<Spec> {
    let of_each = [
        attention::all_specs(),
        cumsum::all_specs(),
        elementwise::all_specs(),
        formulas::all_specs(),
        matmul::all_specs(),
        matmul_vec::all_specs(),
        norm::all_specs(),
        quantised::all_specs(),
        reduce::all_specs(),
        rope::all_specs(),
        softmax::all_specs(),
        take::all_specs(),
    ];
    of_each.into_iter().flatten().collect()
}

fn module_of(spec: &Spec, immediates: bool) -> naga::Module {
    let text = assemble(spec.source, &spec.slots, immediates).unwrap();
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|error| panic!("{}:\n{}\n{:?}", spec.label, error.emit_to_string(&text), spec.slots));
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}:\n{}\n{:?}", spec.label, error.emit_to_string(&text), spec.slots));
    module
}

#[test]
fn every_variant_is_valid_with_and_without_immediates() {
    let specs = all_specs();
    assert!(specs.len() > 500, "only {} variants", specs.len());
    for spec in &specs {
        for immediates in [true, false] {
            module_of(spec, immediates);
        }
        let declared = spec.constants().into_iter().map(|(name, _)| name);
        let module = module_of(spec, true);
        for name in declared {
            assert!(
                module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(&*name)),
                "{}: no override {name}",
                spec.label
            );
        }
    }
}

#[test]
fn every_variant_takes_its_constants() {
    for spec in all_specs() {
        let module = module_of(&spec, true);
        let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all())
            .validate(&module)
            .expect("validated above");
        let constants = spec.constants().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
            .unwrap_or_else(|error| panic!("{}: {error}\n{:?}", spec.label, spec.slots));
    }
}

#[test]
fn every_shared_module_is_used() {
    let specs = all_specs();
    for (name, text) in MODULES {
        let holds = |slot: &Slot| match slot {
            Slot::Module(module) => module == name,
            Slot::Text(slot) => slot.contains(text),
            Slot::Users(_) => false,
        };
        let by_slot = specs.iter().any(|spec| spec.slots.iter().any(|(_, slot)| holds(slot)));
        let by_name = specs.iter().any(|spec| spec.source.contains(&format!("//! import {name}")));
        let by_users = LIBRARY.contains(name);
        let by_formulas = formulas::WALKS.contains(name);
        assert!(by_slot || by_name || by_users || by_formulas, "nothing imports shaders/shared/{name}.wgsl");
    }
}

#[test]
fn parameters_lie_where_their_rust_twins_do() {
    for spec in all_specs() {
        let module = module_of(&spec, true);
        let params = module
            .types
            .iter()
            .find(|(_, ty)| ty.name.as_deref().is_some_and(|name| name.strip_prefix(OURS).unwrap_or(name) == "Params"));
        let Some(naga::TypeInner::Struct { members, span }) = params.map(|(_, ty)| &ty.inner) else {
            panic!("{} has no struct Params", spec.label);
        };
        assert_eq!(*span as usize, spec.params.size, "{}: size of Params", spec.label);
        let unused = |name: &str| name.starts_with("unused");
        let wgsl: Vec<(&str, usize)> = members
            .iter()
            .map(|member| (member.name.as_deref().unwrap_or_default(), member.offset as usize))
            .filter(|(name, _)| !unused(name))
            .collect();
        let rust: Vec<_> = spec.params.fields.iter().copied().filter(|(name, _)| !unused(name)).collect();
        assert_eq!(wgsl, rust, "{}", spec.label);
    }
}
