// out[b, i] = sum over j of w[b, i, j] * x[b, j], for matrices whose columns lie in memory one after another:
// transposed views and Fortran order.
//
// An invocation owns four neighbouring rows and walks `chunk` columns, so that a workgroup reads whole stretches of each
// column. `splits` of them share the rows, each writing its own partial sum. Parameters as in matmul_vec.wgsl.
struct Params {
    w_offset: u32,
    w_batch: u32,
    w_row: u32,
    w_column: u32,
    x_offset: u32,
    x_batch: u32,
    x_column: u32,
    out_offset: u32,
    out_split: u32,
    rows: u32,
    batches: u32,
    columns: u32,
    splits: u32,
    chunk: u32,
    // What every sum is multiplied by, but for those of integers.
    scale: f32,
    unused: u32,
}
var<immediate> params: Params;

//! import {ACCUMULATOR}
//! import {W} as w
//! import {W_ACCESS} as w
//! import {X} as x
//! import {X_ACCESS} as x
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> w_data: array<w_Stored>;
@group(0) @binding(1) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(2) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    let quads = (params.rows + 3u) / 4u;
    let strip = index / quads;
    let row = (index - strip * quads) * 4u;
    let batch = strip / params.splits;
    let split = strip - batch * params.splits;
    if (batch >= params.batches) { return; }
    let begin = split * params.chunk;
    let end = min(begin + params.chunk, params.columns);
    var w_place = params.w_offset + batch * params.w_batch + begin * params.w_column;
    let x_start = params.x_offset + batch * params.x_batch;
    // Two sums in turn, for shorter chains of rounding and of waiting.
    var even = Accumulator();
    var odd = Accumulator();
    for (var j = begin; j < end; j += 4u) {
        let x = Accumulator(x_four(x_start, params.x_column, j, end));
        even += Accumulator(w_four(w_place, 1u, row, params.rows)) * x.x;
        if (j + 1u < end) { odd += Accumulator(w_four(w_place + params.w_column, 1u, row, params.rows)) * x.y; }
        if (j + 2u < end) { even += Accumulator(w_four(w_place + 2u * params.w_column, 1u, row, params.rows)) * x.z; }
        if (j + 3u < end) { odd += Accumulator(w_four(w_place + 3u * params.w_column, 1u, row, params.rows)) * x.w; }
        w_place += 4u * params.w_column;
    }
    let sums = scaled(even + odd);
    let out = params.out_offset + split * params.out_split + batch * params.rows + row;
    out_store_rows(out, params.rows - row, sums);
}
