// out[row, i] = sum of x[row, j] over j <= i.
//
// A workgroup walks a chunk of a row, tile by tile: an invocation sums sixteen neighbours, a scan over the workgroup
// says what came before them in the tile, and the sum so far goes from tile to tile. Where rows are short, or lie beside
// one another, an invocation walks a chunk by itself. Of rows in several chunks it is known beforehand, from
// cumsum_chunks.wgsl, what the chunks before come to. So sums are added in a fixed order, and in few steps, whatever the
// length.
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
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read> carry_data: array<u32>;
@group(0) @binding(2) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;
//! import {SCAN}

// Four elements, from `i` on.
fn load(start: u32, i: u32, end: u32) -> vec4<Element> {
    if (i >= end) { return vec4<Element>(); }
    return four(x_four(start, params.x_step, i, end));
}

// Sums up to each of four.
fn summed(value: vec4<Element>) -> vec4<Element> {
    let pair = value.x + value.y;
    return vec4<Element>(value.x, pair, pair + value.z, pair + (value.z + value.w));
}

fn store(start: u32, i: u32, end: u32, before: Element, value: vec4<Element>) {
    if (i < end) { out_store_four(start, params.out_step, i, end, out_Native(value + before)); }
}

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
    let out_start = params.out_offset + place(at, params.out_strides);
    let begin = chunk * params.chunk;
    let end = min(begin + params.chunk, params.length);
    var carry = Element();
    // carry_data[i] holds the sums of all chunks up to and including i.
    if (params.first + chunk > 0u) {
        let place = params.carry_offset + place(at, params.carry_strides) + (chunk - 1u) * params.carry_step;
        carry = bitcast<Element>(carry_data[place]);
    }
    for (var tile = begin; tile < end; tile += 16u * LANES) {
        let i = tile + 16u * lane;
        let a = summed(load(x_start, i, end));
        let b = summed(load(x_start, i + 4u, end));
        let c = summed(load(x_start, i + 8u, end));
        let d = summed(load(x_start, i + 12u, end));
        let half = a.w + b.w;
        let scan = scan_lanes(half + (c.w + d.w), lane);
        let before = carry + scan.before;
        store(out_start, i, end, before, a);
        store(out_start, i + 4u, end, before + a.w, b);
        store(out_start, i + 8u, end, before + half, c);
        store(out_start, i + 12u, end, before + (half + c.w), d);
        carry += scan.total;
    }
}
