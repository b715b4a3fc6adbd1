// out[row] = what reducing x[row, ...] gives, for rows of any layout.
//
// A workgroup reduces ROWS rows with ROW_LANES invocations each. When rows are few or long, `splits` workgroups share
// each, write what they gathered, and this kernel combines that in another launch.
//! import rows/params

// alias Number, alias Numbers: what elements are converted to
//! import {NUMBERS}
//! import index
//! import {X} as x
//! import {X_ACCESS} as x
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;

// alias Accumulator, fn identity, combine, lift, lift_some
//! import {ACCUMULATE}
//! import rows/lanes
//! import {REDUCE}
// fn accumulated, from elements or from partial results
//! import {ROW}
// fn store_total
//! import {STORE}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    lanes: Lanes,
) {
    let block = group.y * groups.x + group.x;
    let split = block % params.splits;
    let first = block / params.splits * ROWS;
    if (first >= params.count) { return; }
    let index = lane_index(lanes);
    let lane = lane_in_row(index);
    let row = first + row_in_group(index);
    // Lanes without a row help with the last one, since all must reach the barriers.
    let total = reduced(accumulated(min(row, params.count - 1u), split, lane), lanes);
    if (lane == 0u && row < params.count) { store_total(row, split, total); }
}
