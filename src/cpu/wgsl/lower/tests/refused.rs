//! What is not supported, and how that is said.

use super::*;

/// What is not supported, and the text where it stands.
#[track_caller]
fn refused(source: &str) -> (String, String) {
    let error = try_lowered(source).expect_err("it is supported");
    let place = error.span.to_range().map_or("", |range| &source[range]);
    (error.what, place.into())
}

fn kernel(declarations: &str, statements: &str) -> String {
    format!(
        "{declarations}
        @group(0) @binding(0) var<storage, read_write> result: array<f32>;
        @compute @workgroup_size(1) fn main() {{ {statements} }}"
    )
}

#[track_caller]
fn check(declarations: &str, statements: &str, what: &str, place: &str) {
    let (said, stands) = refused(&kernel(declarations, statements));
    assert_eq!(said, what);
    assert!(stands.contains(place) && !stands.is_empty(), "{stands:?}");
}

#[test]
fn textures_and_samplers() {
    let texture = "@group(0) @binding(1) var t: texture_2d<f32>;";
    check(texture, "result[0] = textureLoad(t, vec2(0, 0), 0).x;", "texture 't'", "var t");
    let storage = "@group(0) @binding(1) var t: texture_storage_2d<r32float, write>;";
    check(storage, "textureStore(t, vec2(0, 0), vec4f());", "texture 't'", "var t");
    let sampler = "@group(0) @binding(1) var s: sampler; @group(0) @binding(2) var t: texture_2d<f32>;";
    check(sampler, "result[0] = textureSampleLevel(t, s, vec2f(), 0).x;", "sampler 's'", "var s");
    // What the entry point does not use does not matter.
    assert!(try_lowered(&kernel(texture, "result[0] = 1;")).is_ok());
}

#[test]
fn rays_and_arrays_of_bindings() {
    let rays = "enable wgpu_ray_query; @group(0) @binding(1) var a: acceleration_structure;";
    let query = "var q: ray_query; rayQueryInitialize(&q, a, RayDesc(0u, 0xffu, 0.1, 100.0, vec3f(), vec3f(0, 1, 0)));";
    check(rays, query, "acceleration structure 'a'", "var a");
    let bindings =
        "enable wgpu_binding_array; struct S { x: f32 } @group(0) @binding(1) var<storage> many: binding_array<S, 4>;";
    check(bindings, "result[0] = many[0].x;", "array of bindings 'many'", "many");
}

#[test]
fn cooperative_matrices() {
    let statements = "
        let a = coopLoad<coop_mat8x8<f32, A>>(&result[0]);
        let c = coopLoad<coop_mat8x8<f32, C>>(&result[4]);
        let b = coopLoad<coop_mat8x8<f32, B>>(&result[4]);
        let d = coopMultiplyAdd(a, b, c);
        coopStore(d, &result[0]);";
    check("enable wgpu_cooperative_matrix;", statements, "cooperative matrices", "coopLoad");
}

#[test]
fn small_integers() {
    let statements = "let x = i16(result[0]); result[1] = f32(x + i16(1));";
    check("enable wgpu_int16;", statements, "16-bit integers", "i16(result[0])");
    let declaration = "enable wgpu_int16; var<private> small: array<u16, 4>;";
    check(declaration, "result[0] = f32(small[1]);", "16-bit integers", "small");
}

#[test]
fn large_values() {
    let declaration = "
        var<workgroup> tile: array<f32, 65537>;
        var<workgroup> other: array<f32, 65537>;";
    check(declaration, "tile = other;", "a value of more than 65,536 numbers", "other");
    assert!(try_lowered(&kernel(declaration, "tile[u32(result[0])] = other[7];")).is_ok());
}

#[test]
fn calls_that_become_too_many() {
    let doubling = each(1..30, |i| format!("fn f{i}_(x: f32) -> f32 {{ return f{0}_(x) + f{0}_(x + 1); }}", i - 1));
    let functions = format!("fn f0_(x: f32) -> f32 {{ return x; }} {doubling}");
    let what = "a kernel that is so large once its calls are inlined";
    check(&functions, "result[0] = f29_(1);", what, "");
    // Even if they do nothing.
    let doubling = each(1..30, |i| format!("fn f{i}() {{ f{0}(); f{0}(); }}", i - 1));
    check(&format!("fn f0() {{}} {doubling}"), "f29();", what, "f");
}

#[test]
fn calls_and_statements_that_are_nested_too_deeply() {
    let chain = each(1..1500, |i| format!("fn f{i}_(x: f32) -> f32 {{ return f{}_(x); }}\n", i - 1));
    let declarations = format!("fn f0_(x: f32) -> f32 {{ return x; }}\n{chain}");
    let otherwise = each(0..1500, |i| format!("else if x == {i}.0 {{ result[0] = {i}; }}\n"));
    let statements = format!("let x = result[1]; if x < 0 {{ result[1] = 2; }} {otherwise}");
    let on_deep_stack = |work: fn(&(String, String)), texts: (String, String)| {
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(move || work(&texts));
        thread.unwrap().join().unwrap();
    };
    on_deep_stack(
        |(declarations, statements)| {
            let what = "calls and statements that are nested so deeply";
            check(declarations, "result[0] = f1499_(1);", what, "f");
            check("", statements, what, "result");
        },
        (declarations, statements),
    );
}
