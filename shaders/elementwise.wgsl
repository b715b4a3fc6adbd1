// out = operation(a, b, c), element by element, over any layouts that broadcast.
//
// An invocation computes QUADS groups of four neighbouring results. Where an operand lies without gaps, four of its
// elements are one load; otherwise their places are worked out from coordinates. The operation itself is imported.
struct Params {
    shape: vec4<u32>,
    a_strides: vec4<u32>,
    b_strides: vec4<u32>,
    c_strides: vec4<u32>,
    out_strides: vec4<u32>,
    a_offset: u32,
    b_offset: u32,
    c_offset: u32,
    out_offset: u32,
    a_scalar: u32,
    b_scalar: u32,
    c_scalar: u32,
    count: u32,
}
var<immediate> params: Params;

//! import index
//! import {A} as a
//! import {A_ACCESS} as a
//! import {B} as b
//! import {B_ACCESS} as b
//! import {C} as c
//! import {C_ACCESS} as c
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> a_data: array<a_Stored>;
@group(0) @binding(1) var<storage, read> b_data: array<b_Stored>;
@group(0) @binding(2) var<storage, read> c_data: array<c_Stored>;
@group(0) @binding(3) var<storage, read_write> out_data: array<out_Stored>;

// What the operation computes with: alias Value, and whether it has a sign.
//! import {VALUE}
//! import {MATH}
// fn apply(a: Value, b: Value, c: Value) -> out_Native
//! import {OPERATION}

override WORKGROUP: u32 = 64u;
override QUADS: u32 = 4u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * (WORKGROUP * QUADS) + lane;
    for (var i = 0u; i < QUADS; i += 1u) {
        let quad = first + i * WORKGROUP;
        if (quad * 4u < params.count) {
            let four = four_coordinates(quad * 4u, params.count, params.shape);
            let a = Value(a_load(quad, four));
            let b = Value(b_load(quad, four));
            let c = Value(c_load(quad, four));
            out_store(quad, four, apply(a, b, c));
        }
    }
}
