// out[i, j] = element j of row i of quantised weights, or of the row that the i-th index names. An invocation decodes
// eight elements.
struct Params {
    // Of the weights in bytes, from the row `low` on.
    w_offset: u32,
    w_row: u32,
    // How many times eight elements of how many rows are wanted.
    eights: u32,
    rows: u32,
    // Of the results in elements; both multiples of four.
    out_offset: u32,
    out_row: u32,
    index_offset: u32,
    // How many rows there are, and which of them are bound: what lies elsewhere is left to another launch.
    length: u32,
    low: u32,
    high: u32,
    unused_x: u32,
    unused_y: u32,
}
var<immediate> params: Params;

// const ELEMENTS, BYTES: u32 and what decodes a block
//! import {WEIGHTS} as w
//! import {OUT} as out
//! import access/vector_store_quads as out
// fn row_of(i: u32) -> u32
//! import {ROWS}

@group(0) @binding(0) var<storage, read> w_data: array<u32>;
@group(0) @binding(2) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;
@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    let i = index / params.eights;
    if (i >= params.rows) { return; }
    let eight = index - i * params.eights;
    let row = row_of(i);
    if (row < params.low || row >= params.high) { return; }
    let place = eight * 8u;
    let block = params.w_offset + (row - params.low) * params.w_row + place / ELEMENTS * BYTES;
    let decoded = decode_eight(block, place % ELEMENTS / 8u);
    let start = params.out_offset + i * params.out_row;
    let end = start + params.eights * 8u;
    out_store_four(start, 1u, place, end, out_Native(decoded.low));
    out_store_four(start, 1u, place + 4u, end, out_Native(decoded.high));
}
