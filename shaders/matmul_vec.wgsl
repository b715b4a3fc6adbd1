// out[b, i] = sum over j of w[b, i, j] * x[b, j], for matrices whose rows lie in memory one after another.
//
// A workgroup computes four rows at once (the rows of all batches counted through), so that every invocation has four
// loads of w in flight for each load of x. It walks `chunk` elements of the rows; `splits` workgroups share a row when
// there are few rows, each writing its own partial sum.
struct Params {
    // Places and strides count elements. Strides wrap around, so that they may be negative.
    w_offset: u32,
    w_batch: u32,
    w_row: u32,
    w_column: u32,
    x_offset: u32,
    x_batch: u32,
    x_column: u32,
    out_offset: u32,
    // From one split's results to the next one's.
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

// alias Element: f32 or i32; alias Accumulator: a vec4 of it; fn scaled(sums: Accumulator) -> Accumulator
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
// Whether to take two steps at a time: loads of 16-bit elements are short, and twice as many keep the memory busy.
override TWO_STEPS: bool = false;

fn identity() -> Accumulator { return Accumulator(); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return a + b; }
//! import rows/lanes
//! import {REDUCE}

fn add_up(value: Accumulator) -> Element { return (value.x + value.y) + (value.z + value.w); }

// Where a row of w begins, and the vector that it meets.
fn starts(row: u32) -> vec2<u32> {
    let batch = row / params.rows;
    return vec2<u32>(
        params.w_offset + batch * params.w_batch + (row - batch * params.rows) * params.w_row,
        params.x_offset + batch * params.x_batch,
    );
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    lanes: Lanes,
) {
    let lane = lane_index(lanes);
    let index = group.y * groups.x + group.x;
    let split = index % params.splits;
    let first = index / params.splits * 4u;
    let total = params.rows * params.batches;
    if (first >= total) { return; }
    let begin = split * params.chunk;
    let end = min(begin + params.chunk, params.columns);
    let start_0 = starts(first);
    let start_1 = starts(min(first + 1u, total - 1u));
    let start_2 = starts(min(first + 2u, total - 1u));
    let start_3 = starts(min(first + 3u, total - 1u));
    var sum_0 = Accumulator();
    var sum_1 = Accumulator();
    var sum_2 = Accumulator();
    var sum_3 = Accumulator();
    if (start_0.y == start_3.y) {
        // All four rows meet the same vector: read it once.
        let step = WORKGROUP * 4u;
        var i = begin + lane * 4u;
        for (; TWO_STEPS && i + step < end; i += 2u * step) {
            let x = Accumulator(x_four(start_0.y, params.x_column, i, end));
            let y = Accumulator(x_four(start_0.y, params.x_column, i + step, end));
            let w_0 = w_four(start_0.x, params.w_column, i, end);
            let w_1 = w_four(start_1.x, params.w_column, i, end);
            let w_2 = w_four(start_2.x, params.w_column, i, end);
            let w_3 = w_four(start_3.x, params.w_column, i, end);
            let v_0 = w_four(start_0.x, params.w_column, i + step, end);
            let v_1 = w_four(start_1.x, params.w_column, i + step, end);
            let v_2 = w_four(start_2.x, params.w_column, i + step, end);
            let v_3 = w_four(start_3.x, params.w_column, i + step, end);
            sum_0 += Accumulator(w_0) * x + Accumulator(v_0) * y;
            sum_1 += Accumulator(w_1) * x + Accumulator(v_1) * y;
            sum_2 += Accumulator(w_2) * x + Accumulator(v_2) * y;
            sum_3 += Accumulator(w_3) * x + Accumulator(v_3) * y;
        }
        for (; i < end; i += step) {
            let x = Accumulator(x_four(start_0.y, params.x_column, i, end));
            sum_0 += Accumulator(w_four(start_0.x, params.w_column, i, end)) * x;
            sum_1 += Accumulator(w_four(start_1.x, params.w_column, i, end)) * x;
            sum_2 += Accumulator(w_four(start_2.x, params.w_column, i, end)) * x;
            sum_3 += Accumulator(w_four(start_3.x, params.w_column, i, end)) * x;
        }
    } else {
        for (var i = begin + lane * 4u; i < end; i += WORKGROUP * 4u) {
            sum_0 += Accumulator(w_four(start_0.x, params.w_column, i, end))
                * Accumulator(x_four(start_0.y, params.x_column, i, end));
            sum_1 += Accumulator(w_four(start_1.x, params.w_column, i, end))
                * Accumulator(x_four(start_1.y, params.x_column, i, end));
            sum_2 += Accumulator(w_four(start_2.x, params.w_column, i, end))
                * Accumulator(x_four(start_2.y, params.x_column, i, end));
            sum_3 += Accumulator(w_four(start_3.x, params.w_column, i, end))
                * Accumulator(x_four(start_3.y, params.x_column, i, end));
        }
    }
    let mine = Accumulator(add_up(sum_0), add_up(sum_1), add_up(sum_2), add_up(sum_3));
    let sums = scaled(reduced(mine, lanes));
    if (lane == 0u) { out_store_rows(params.out_offset + split * params.out_split + first, total - first, sums); }
}
