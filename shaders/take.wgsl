// out[o, j, i] = x[o, index[j], i], bit by bit.
//
// The output is counted flat; an invocation writes four neighbours. A table that no binding holds comes in windows
// along the indexed axis: an invocation whose index lies outside leaves the output as it was. Invocations own what they
// write, and windows follow one another, so nothing need be atomic.
struct Params {
    // The first four of a stretch of the output, counted in fours.
    out_quad: u32,
    // The elements of the stretch, counted from its first four: from here to before there.
    begin: u32,
    end: u32,
    // The row, among those of the first o, that the stretch begins with.
    first_row: u32,
    // Rows for each o, and elements of a row.
    rows: u32,
    inner: u32,
    index_offset: u32,
    x_offset: u32,
    x_outer: u32,
    x_axis: u32,
    x_inner: u32,
    // Length of the indexed axis, and the part of it that is bound.
    axis: u32,
    low: u32,
    high: u32,
    unused_1: u32,
    unused_2: u32,
}
var<immediate> params: Params;

//! import {RAW} as x
//! import {X_ACCESS} as x
//! import {RAW} as out

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read> index_data: array<u32>;
@group(0) @binding(2) var<storage, read_write> out_data: array<out_Quad>;

override WORKGROUP: u32 = 64u;
override SIGNED: bool = true;
// Whether four neighbours lie in one row, and in x one after another.
override QUADS: bool = false;
// Whether nothing but padding shares the fours of the stretch, and all of x is bound.
override WHOLE: bool = false;

// Negative indices count from the end; those out of range become the nearest.
fn resolve(bits: u32) -> u32 {
    if (SIGNED && bits >= 0x80000000u) {
        let back = 0u - bits;
        return select(params.axis - back, 0u, back > params.axis);
    }
    return min(bits, params.axis - 1u);
}

struct Place { at: u32, inside: bool }

// Where in x the element is that goes to a place of the stretch.
fn place(element: u32) -> Place {
    if (element < params.begin || element >= params.end) { return Place(0u, false); }
    let flat = element - params.begin;
    let row = flat / params.inner;
    let i = flat - row * params.inner;
    let counted = params.first_row + row;
    let o = counted / params.rows;
    let j = counted - o * params.rows;
    let index = resolve(index_data[params.index_offset + j]);
    let at = params.x_offset + o * params.x_outer + (index - params.low) * params.x_axis + i * params.x_inner;
    return Place(at, index >= params.low && index < params.high);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quad = (group.y * groups.x + group.x) * WORKGROUP + lane;
    let first = quad * 4u;
    if (first >= params.end) { return; }
    if (QUADS) {
        let start = place(first);
        if (start.inside) { out_data[params.out_quad + quad] = out_pack(x_four(start.at, 1u, 0u, 4u)); }
        return;
    }
    var four = vec4<u32>();
    if (!WHOLE) { four = out_unpack(out_data[params.out_quad + quad]); }
    let a = place(first);
    let b = place(first + 1u);
    let c = place(first + 2u);
    let d = place(first + 3u);
    if (a.inside) { four.x = x_four(a.at, 1u, 0u, 1u).x; }
    if (b.inside) { four.y = x_four(b.at, 1u, 0u, 1u).x; }
    if (c.inside) { four.z = x_four(c.at, 1u, 0u, 1u).x; }
    if (d.inside) { four.w = x_four(d.at, 1u, 0u, 1u).x; }
    out_data[params.out_quad + quad] = out_pack(four);
}
