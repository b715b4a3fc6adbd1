// out[row, chunk] = sum of x[row, j] over the j of a chunk: what cumsum.wgsl has to know of the chunks before.
//
// A workgroup, or an invocation, sums a chunk. Parameters as in cumsum.wgsl.
struct Params {
    shape: vec4<u32>,
    // From one row to the next along each axis. Places and strides count elements and wrap around.
    x_strides: vec4<u32>,
    carry_strides: vec4<u32>,
    out_strides: vec4<u32>,
    x_offset: u32,
    carry_offset: u32,
    out_offset: u32,
    // From one element of a row to the next.
    x_step: u32,
    carry_step: u32,
    out_step: u32,
    // Elements of a row, from the first chunk of this dispatch on, and of a chunk.
    length: u32,
    chunk: u32,
    // The first chunk of this dispatch, and how many there are.
    first: u32,
    chunks: u32,
    // Rows.
    count: u32,
    unused: u32,
}
var<immediate> params: Params;

//! import index
// alias Element: what is summed; and fn four(x: x_Native) -> vec4<Element>
//! import {X} as x
//! import {X_ACCESS} as x
//! import {ELEMENT}

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read_write> out_data: array<u32>;

override WORKGROUP: u32 = 64u;
//! import {SCAN}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // let index: which chunk of which row; let lane: which of those that share it
    //! import {POSITION}
    let row = index / params.chunks;
    if (row >= params.count) { return; }
    let chunk = index - row * params.chunks;
    let at = coordinates(row, params.shape);
    let x_start = params.x_offset + place(at, params.x_strides);
    let begin = chunk * params.chunk;
    let end = min(begin + params.chunk, params.length);
    var sum = vec4<Element>();
    for (var i = begin + 4u * lane; i < end; i += 4u * LANES) {
        sum += four(x_four(x_start, params.x_step, i, end));
    }
    let scan = scan_lanes((sum.x + sum.y) + (sum.z + sum.w), lane);
    let place = params.out_offset + place(at, params.out_strides) + chunk * params.out_step;
    if (lane == 0u) { out_data[place] = bitcast<u32>(scan.total); }
}
