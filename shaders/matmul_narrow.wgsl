// out[b, v, i] = scale * sum over j of w[b, i, j] * x[b, v, j], for a few vectors x and matrices whose rows lie in memory
// one after another: matmul_vec.wgsl for VECTORS vectors at once, so that w is read once for all of them.
//
// ROW_LANES invocations compute 4 ROW_QUADS rows for each of the vectors. They walk `chunk` elements of the rows; `splits` such
// groups share the rows when there are few, each writing its own partial sums.
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
// The numbers that the slots VECTORS and ROW_QUADS say.
override VECTORS: u32 = 8u;
override ROW_QUADS: u32 = 1u;
// Whether to take two steps at a time: loads of 16-bit elements are short, and twice as many keep the memory busy.
override TWO_STEPS: bool = false;

fn identity() -> Accumulator { return Accumulator(); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return a + b; }
//! import rows/lanes
//! import {REDUCE}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    lanes: Lanes,
) {
    let index = lane_index(lanes);
    let lane = lane_in_row(index);
    // Neighbouring groups take the same rows for other vectors, then the next rows.
    let blocks = (params.columns + VECTORS - 1u) / VECTORS;
    let strips = (params.rows + 4u * ROW_QUADS - 1u) / (4u * ROW_QUADS);
    let task = (group.y * groups.x + group.x) * ROWS + row_in_group(index);
    let block = task % blocks;
    let strip = task / blocks / strips;
    let batch = min(strip / params.splits, params.batches - 1u);
    let split = strip % params.splits;
    let row = (task / blocks - strip * strips) * (4u * ROW_QUADS);
    let exists = strip / params.splits < params.batches;
    let begin = split * params.chunk;
    let end = min(begin + params.chunk, params.inner);

    let w_start = params.a_offset + batch * params.a_batch;
    let last = params.rows - 1u;
    //! repeat Q {ROW_QUADS}
    let w_start_{Q}_0 = w_start + min(row + {Q}u * 4u, last) * params.a_outer;
    let w_start_{Q}_1 = w_start + min(row + {Q}u * 4u + 1u, last) * params.a_outer;
    let w_start_{Q}_2 = w_start + min(row + {Q}u * 4u + 2u, last) * params.a_outer;
    let w_start_{Q}_3 = w_start + min(row + {Q}u * 4u + 3u, last) * params.a_outer;
    //! end
    let x_start = params.b_offset + batch * params.b_batch;
    //! repeat V {VECTORS}
    let x_start_{V} = x_start + min(block * VECTORS + {V}u, params.columns - 1u) * params.b_outer;
    //! repeat Q {ROW_QUADS}
    var sum_{Q}_{V} = Accumulator();
    //! end
    //! end
    let step = ROW_LANES * 4u;
    var i = begin + lane * 4u;
    for (; TWO_STEPS && i + step < end; i += 2u * step) {
        //! repeat Q {ROW_QUADS}
        let w_{Q}_0 = Accumulator(w_four(w_start_{Q}_0, params.a_inner, i, end));
        let w_{Q}_1 = Accumulator(w_four(w_start_{Q}_1, params.a_inner, i, end));
        let w_{Q}_2 = Accumulator(w_four(w_start_{Q}_2, params.a_inner, i, end));
        let w_{Q}_3 = Accumulator(w_four(w_start_{Q}_3, params.a_inner, i, end));
        //! end
        //! repeat Q {ROW_QUADS}
        let v_{Q}_0 = Accumulator(w_four(w_start_{Q}_0, params.a_inner, i + step, end));
        let v_{Q}_1 = Accumulator(w_four(w_start_{Q}_1, params.a_inner, i + step, end));
        let v_{Q}_2 = Accumulator(w_four(w_start_{Q}_2, params.a_inner, i + step, end));
        let v_{Q}_3 = Accumulator(w_four(w_start_{Q}_3, params.a_inner, i + step, end));
        //! end
        //! repeat V {VECTORS}
        {
            let x = Accumulator(x_four(x_start_{V}, params.b_inner, i, end));
            //! repeat Q {ROW_QUADS}
            sum_{Q}_{V} += Accumulator(dot(w_{Q}_0, x), dot(w_{Q}_1, x), dot(w_{Q}_2, x), dot(w_{Q}_3, x));
            //! end
            let y = Accumulator(x_four(x_start_{V}, params.b_inner, i + step, end));
            //! repeat Q {ROW_QUADS}
            sum_{Q}_{V} += Accumulator(dot(v_{Q}_0, y), dot(v_{Q}_1, y), dot(v_{Q}_2, y), dot(v_{Q}_3, y));
            //! end
        }
        //! end
    }
    for (; i < end; i += step) {
        //! repeat Q {ROW_QUADS}
        let w_{Q}_0 = Accumulator(w_four(w_start_{Q}_0, params.a_inner, i, end));
        let w_{Q}_1 = Accumulator(w_four(w_start_{Q}_1, params.a_inner, i, end));
        let w_{Q}_2 = Accumulator(w_four(w_start_{Q}_2, params.a_inner, i, end));
        let w_{Q}_3 = Accumulator(w_four(w_start_{Q}_3, params.a_inner, i, end));
        //! end
        //! repeat V {VECTORS}
        {
            let x = Accumulator(x_four(x_start_{V}, params.b_inner, i, end));
            //! repeat Q {ROW_QUADS}
            sum_{Q}_{V} += Accumulator(dot(w_{Q}_0, x), dot(w_{Q}_1, x), dot(w_{Q}_2, x), dot(w_{Q}_3, x));
            //! end
        }
        //! end
    }
    let out_start = params.out_offset + split * params.out_split + batch * params.out_batch;
    //! repeat V {VECTORS}
    //! repeat Q {ROW_QUADS}
    {
        let sums = reduced(sum_{Q}_{V}, lanes);
        let vector = block * VECTORS + {V}u;
        let first = row + {Q}u * 4u;
        if (lane == ({V}u * ROW_QUADS + {Q}u) % ROW_LANES && exists && vector < params.columns && first < params.rows) {
            let place = out_start + vector * params.out_column;
            out_store_four(place, params.out_row, first, params.rows, out_Native(scaled(sums)));
        }
        // The next sums go through the same workgroup memory.
        workgroupBarrier();
    }
    //! end
    //! end
}
