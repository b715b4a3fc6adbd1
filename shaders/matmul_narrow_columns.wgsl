// out[b, v, i] = scale * sum over j of w[b, i, j] * x[b, v, j], for a few vectors x and matrices whose columns lie in
// memory one after another: matmul_vec_columns.wgsl for VECTORS vectors at once, so that w is read once for all of them.
//
// An invocation owns four neighbouring rows and walks `chunk` columns, so that a workgroup reads whole stretches of each
// column. `splits` of them share the rows, each writing its own partial sums. Parameters as in matmul_narrow.wgsl.
//! import tiles/params

// alias Element: f32 or i32; alias Accumulator: a vec4 of it; fn scaled(sums: Accumulator) -> Accumulator
//! import {ACCUMULATOR}
//! import {A} as w
//! import {A_ACCESS} as w
//! import {B} as x
//! import {B_ACCESS} as x
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> w_data: array<w_Stored>;
@group(0) @binding(1) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(2) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;
// The number that the slot VECTORS says.
override VECTORS: u32 = 8u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    let quads = (params.rows + 3u) / 4u;
    let blocks = (params.columns + VECTORS - 1u) / VECTORS;
    let strip = index / quads;
    let row = (index - strip * quads) * 4u;
    let block = strip % blocks;
    let split = strip / blocks % params.splits;
    let batch = strip / blocks / params.splits;
    if (batch >= params.batches) { return; }
    let begin = split * params.chunk;
    let end = min(begin + params.chunk, params.inner);
    let w_start = params.a_offset + batch * params.a_batch;
    let x_start = params.b_offset + batch * params.b_batch;
    //! repeat V {VECTORS}
    let x_start_{V} = x_start + min(block * VECTORS + {V}u, params.columns - 1u) * params.b_outer;
    var sum_{V} = Accumulator();
    //! end
    for (var j = begin; j < end; j += 4u) {
        let w_place = w_start + j * params.a_inner;
        let w_0 = Accumulator(w_four(w_place, 1u, row, params.rows));
        var w_1 = Accumulator();
        var w_2 = Accumulator();
        var w_3 = Accumulator();
        if (j + 1u < end) { w_1 = Accumulator(w_four(w_place + params.a_inner, 1u, row, params.rows)); }
        if (j + 2u < end) { w_2 = Accumulator(w_four(w_place + 2u * params.a_inner, 1u, row, params.rows)); }
        if (j + 3u < end) { w_3 = Accumulator(w_four(w_place + 3u * params.a_inner, 1u, row, params.rows)); }
        //! repeat V {VECTORS}
        {
            let x = Accumulator(x_four(x_start_{V}, params.b_inner, j, end));
            sum_{V} += w_0 * x.x + w_1 * x.y + w_2 * x.z + w_3 * x.w;
        }
        //! end
    }
    let out_start = params.out_offset + split * params.out_split + batch * params.out_batch;
    //! repeat V {VECTORS}
    {
        let vector = block * VECTORS + {V}u;
        if (vector < params.columns) {
            let place = out_start + vector * params.out_column;
            out_store_four(place, params.out_row, row, params.rows, out_Native(scaled(sum_{V})));
        }
    }
    //! end
}
