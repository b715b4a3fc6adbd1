// out[v, i] = sum over j of w[i, j] * x[v, j], for a matrix w of quantised weights and a few vectors x, each of which
// lies one element after another. matmul_narrow.wgsl is the same for other matrices.
//
// ROW_LANES invocations compute four rows for VECTORS vectors. They walk `chunk` elements of the rows; `splits` such
// groups share the rows when there are few, each writing its own partial sums.
struct Params {
    // Places and strides of w count bytes, others elements.
    w_offset: u32,
    w_row: u32,
    x_offset: u32,
    x_vector: u32,
    out_offset: u32,
    out_row: u32,
    out_vector: u32,
    // From one split's results to the next one's.
    out_split: u32,
    rows: u32,
    vectors: u32,
    columns: u32,
    splits: u32,
    // How many columns a split takes: whole spans.
    chunk: u32,
    unused_x: u32,
    unused_y: u32,
    unused_z: u32,
}
var<immediate> params: Params;

alias Accumulator = vec4<f32>;
// const ELEMENTS, BYTES, GROUP: u32 and what decodes a block
//! import {WEIGHTS} as w
//! import {X} as x
//! import {X_ACCESS} as x
// packed_sixteen, scaling_of_sixteen
//! import {SIXTEENS}
// const UNIT: u32, and weights_at, vector_at, times, others
//! import {PRODUCTS}
//! import {OUT} as out
//! import {OUT_ACCESS} as out
// fn activated(x: vec4<f32>) -> vec4<f32>
//! import {ACTIVATION}

@group(0) @binding(0) var<storage, read> w_data: array<u32>;
@group(0) @binding(1) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(2) var<storage, read> digits: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;
// The numbers that the slots VECTORS and STEPS say. A span of the columns is as many steps of UNIT elements.
override VECTORS: u32 = 1u;
override STEPS: u32 = 1u;

fn identity() -> Accumulator { return Accumulator(); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return a + b; }
//! import rows/lanes
//! import {REDUCE}

fn start_of_row(row: u32) -> u32 { return params.w_offset + min(row, params.rows - 1u) * params.w_row; }

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    lanes: Lanes,
) {
    let index = lane_index(lanes);
    let lane = lane_in_row(index);
    // Neighbouring groups take the same rows for other vectors, then the next rows.
    let blocks = (params.vectors + VECTORS - 1u) / VECTORS;
    let strips = (params.rows + 3u) / 4u;
    let task = (group.y * groups.x + group.x) * ROWS + row_in_group(index);
    let block_of_vectors = task % blocks;
    let strip = task / blocks;
    let exists = strip < strips * params.splits;
    let split = min(strip / strips, params.splits - 1u);
    let row = strip % strips * 4u;
    let begin = split * params.chunk;
    let end = min(begin + params.chunk, params.columns);
    //! repeat R 4
    let w_start_{R} = start_of_row(row + {R}u);
    //! end
    //! repeat V {VECTORS}
    let vector_{V} = min(block_of_vectors * VECTORS + {V}u, params.vectors - 1u);
    var sum_{V} = Accumulator();
    var left_out_{V} = 0u;
    //! end
    for (var i = begin + lane * (STEPS * UNIT); i < end; i += ROW_LANES * (STEPS * UNIT)) {
        //! repeat S {STEPS}
        {
            let place = i + {S}u * UNIT;
            let block = place / ELEMENTS * BYTES;
            let part = place % ELEMENTS / UNIT * (UNIT / 8u);
            //! repeat R 4
            let w_{R} = weights_at(w_start_{R} + block, part);
            //! end
            //! repeat V {VECTORS}
            {
                let x = vector_at(vector_{V}, place);
                left_out_{V} |= x.left_out;
                sum_{V} += Accumulator(times(w_0, x), times(w_1, x), times(w_2, x), times(w_3, x));
            }
            //! end
        }
        //! end
    }
    //! repeat V {VECTORS}
    if (left_out_{V} != 0u) { sum_{V} += others(row, vector_{V}, begin + lane * UNIT, end, ROW_LANES * UNIT); }
    //! end
    let out_start = params.out_offset + split * params.out_split;
    //! repeat V {VECTORS}
    {
        let sums = reduced(sum_{V}, lanes);
        let vector = block_of_vectors * VECTORS + {V}u;
        if (lane == {V}u % ROW_LANES && exists && vector < params.vectors) {
            let place = out_start + vector * params.out_vector;
            out_store_four(place, params.out_row, row, params.rows, out_Native(activated(sums)));
        }
        // The next sums go through the same workgroup memory.
        workgroupBarrier();
    }
    //! end
}
