// Rotates pairs of elements in each row: (a, b) becomes (a·cos − b·sin, a·sin + b·cos), computed in f32.
//
// Pairs are elements i and i + pairs of a row, or 2i and 2i + 1 where rows are interleaved. An invocation rotates four
// pairs; what follows the pairs in a row is copied as it is, four elements to an invocation.
struct Params {
    shape: vec4<u32>,
    // From one row to the next along each axis. Places and strides count elements and wrap around.
    x_strides: vec4<u32>,
    cos_strides: vec4<u32>,
    sin_strides: vec4<u32>,
    out_strides: vec4<u32>,
    x_offset: u32,
    cos_offset: u32,
    sin_offset: u32,
    out_offset: u32,
    // From one element of a row to the next.
    x_step: u32,
    cos_step: u32,
    sin_step: u32,
    out_step: u32,
    pairs: u32,
    // Elements after the pairs.
    rest: u32,
    // Rows.
    count: u32,
    unused: u32,
}
var<immediate> params: Params;

//! import index
// Bits of elements, and their values.
//! import {RAW} as x
//! import {X_ACCESS} as x
//! import {VALUE} as value
//! import {TABLE} as cos
//! import {TABLE_ACCESS} as cos
//! import {TABLE} as sin
//! import {TABLE_ACCESS} as sin
//! import {RAW} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read> cos_data: array<cos_Stored>;
@group(0) @binding(2) var<storage, read> sin_data: array<sin_Stored>;
@group(0) @binding(3) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;
override INTERLEAVED: bool = false;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    let rotations = (params.pairs + 3u) / 4u;
    let tasks = rotations + (params.rest + 3u) / 4u;
    let row = index / tasks;
    if (row >= params.count) { return; }
    let task = index - row * tasks;
    let at = coordinates(row, params.shape);
    let x_start = params.x_offset + place(at, params.x_strides);
    let out_start = params.out_offset + place(at, params.out_strides);
    if (task >= rotations) {
        let i = (task - rotations) * 4u;
        let after = 2u * params.pairs;
        let bits = x_four(x_start + after * params.x_step, params.x_step, i, params.rest);
        out_store_four(out_start + after * params.out_step, params.out_step, i, params.rest, bits);
        return;
    }
    // The first elements of four pairs, and the second ones; interleaved, each holds two whole pairs.
    let i = task * 4u;
    var end = params.pairs;
    var first = i;
    var second = i;
    var x_second = x_start + params.pairs * params.x_step;
    var out_second = out_start + params.pairs * params.out_step;
    if (INTERLEAVED) {
        end = 2u * params.pairs;
        first = 2u * i;
        second = first + 4u;
        x_second = x_start;
        out_second = out_start;
    }
    var a = value_unpack(x_pack(x_four(x_start, params.x_step, first, end)));
    var b = value_unpack(x_pack(x_four(x_second, params.x_step, second, end)));
    let c = vec4<f32>(cos_four(params.cos_offset + place(at, params.cos_strides), params.cos_step, i, params.pairs));
    let s = vec4<f32>(sin_four(params.sin_offset + place(at, params.sin_strides), params.sin_step, i, params.pairs));
    if (INTERLEAVED) {
        let even = vec4<f32>(a.x, a.z, b.x, b.z);
        b = vec4<f32>(a.y, a.w, b.y, b.w);
        a = even;
    }
    var left = a * c - b * s;
    var right = a * s + b * c;
    if (INTERLEAVED) {
        let low = vec4<f32>(left.x, right.x, left.y, right.y);
        right = vec4<f32>(left.z, right.z, left.w, right.w);
        left = low;
    }
    out_store_four(out_start, params.out_step, first, end, x_unpack(value_pack(left)));
    out_store_four(out_second, params.out_step, second, end, x_unpack(value_pack(right)));
}
