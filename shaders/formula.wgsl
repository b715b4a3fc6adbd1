// The results of a user's formula for each element of any number of variables, over any layouts that broadcast.
//
// It is elementwise.wgsl for a number of variables that is open: v_0 and so on, the inputs first. Their parameters are
// too many for immediates.
struct Params {
    shape: vec4<u32>,
    index_strides: vec4<u32>,
//! repeat V {VARIABLES}
    v_{V}_strides: vec4<u32>,
//! end
//! repeat V {VARIABLES}
    v_{V}_offset: u32,
    v_{V}_scalar: u32,
//! end
    index_offset: u32,
    count: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

//! import index
// How each variable is loaded or stored, and what is bound of it.
//! import {ACCESS}
// const WORKGROUP, and const QUADS or STEPS
//! import {SIZES}
// fn gpukern_user_element, which calls the formula
//! import {USERS}
// fn compute, which computes some elements
//! import {COMPUTE}
// fn walk, which computes those of a workgroup
//! import {WALK}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    walk(group.y * groups.x + group.x, lane);
}
