enable f16;
enable wgpu_cooperative_matrix;
// out[b, i, j] = scale * sum over p of a[b, i, p] * b[b, p, j], for float16 operands with any strides, summed in float32
// by cooperative matrices of 16 by 16.
//
// A workgroup computes a tile of the result, each subgroup ROW_BLOCKS by COLUMN_BLOCKS matrices of it in registers. It
// walks the inner axis in steps. Of each step, the parts of a and b that the tile needs lie in workgroup memory;
// meanwhile those of the next step are loaded into registers. (A second buffer would save one of the two barriers of a
// step. It took 1.7 times as long on an H200.) `splits` workgroups share the inner axis of a tile, each writing its own
// partial result, when there are few tiles. Parameters as in matmul.wgsl.
//! import tiles/params

//! import dtype/half as a
//! import {A_ACCESS} as a
//! import dtype/half as b
//! import {B_ACCESS} as b
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> a_data: array<a_Stored>;
@group(0) @binding(1) var<storage, read> b_data: array<b_Stored>;
@group(0) @binding(2) var<storage, read_write> out_data: array<out_Stored>;

override THREADS: u32 = 128u;
// How many subgroups share the columns of a tile.
override SUBGROUP_COLUMNS: u32 = 2u;
// The blocks of a subgroup and the inner axis in workgroup memory: the numbers that the slots ROW_BLOCKS,
// COLUMN_BLOCKS and STEP_BLOCKS (16 to a block) say.
override ROW_BLOCKS: u32 = 4u;
override COLUMN_BLOCKS: u32 = 4u;
override STEP: u32 = 32u;
// Vectors of four elements in the tiles of both operands, and vectors of results on their way out: 80 for each subgroup.
override TILES: u32 = 2368u;
override RESULTS: u32 = 320u;
// How many rows of tiles are visited together, column by column, so that they find each other's operands in the cache.
override BAND: u32 = 8u;

var<workgroup> tiles: array<vec4<f16>, TILES>;
var<workgroup> results: array<vec4<f32>, RESULTS>;

//! import tiles/band
//! import tiles/halves as a
//! import {A_FILLING} as a
//! import tiles/halves as b
//! import {B_FILLING} as b

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
    @builtin(subgroup_size) subgroup_size: u32,
) {
    let tile_rows = (params.rows + a_LINES - 1u) / a_LINES;
    let tile_columns = (params.columns + b_LINES - 1u) / b_LINES;
    let tile_count = tile_rows * tile_columns;
    let index = group.y * groups.x + group.x;
    let strip = index / tile_count;
    let batch = strip / params.splits;
    let split = strip - batch * params.splits;
    if (batch >= params.batches) { return; }
    let tile = tile_in_band(index - strip * tile_count, tile_rows, tile_columns);
    let first_row = tile.x * a_LINES;
    let first_column = tile.y * b_LINES;
    let a_start = params.a_offset + batch * params.a_batch;
    let b_start = params.b_offset + batch * params.b_batch;
    let begin = split * params.chunk;
    let end = min(begin + params.chunk, params.inner);

    // The subgroup's place inside the tile.
    let row = subgroup / SUBGROUP_COLUMNS * (ROW_BLOCKS * 16u);
    let column = subgroup % SUBGROUP_COLUMNS * (COLUMN_BLOCKS * 16u);
    //! repeat R {ROW_BLOCKS}
    //! repeat C {COLUMN_BLOCKS}
    var sum_{R}_{C} = coop_mat16x16<f32, C>();
    //! end
    //! end
    //! repeat L {A_LOADS}
    let a_spot_{L} = a_spot(lane, {L}u);
    let a_first_{L} = a_fetch(a_start, first_row, params.rows, begin, end, a_spot_{L});
    a_stage(a_spot_{L}, a_cut(a_first_{L}, begin, end, a_spot_{L}));
    //! end
    //! repeat L {B_LOADS}
    let b_spot_{L} = b_spot(lane, {L}u);
    let b_first_{L} = b_fetch(b_start, first_column, params.columns, begin, end, b_spot_{L});
    b_stage(b_spot_{L}, b_cut(b_first_{L}, begin, end, b_spot_{L}));
    //! end
    workgroupBarrier();
    for (var inner = begin; inner < end; inner += STEP) {
        // After the last step nothing is left to prefetch; what is fetched then is not used.
        //! repeat L {A_LOADS}
        var a_next_{L} = a_fetch(a_start, first_row, params.rows, inner + STEP, end, a_spot_{L});
        //! end
        //! repeat L {B_LOADS}
        var b_next_{L} = b_fetch(b_start, first_column, params.columns, inner + STEP, end, b_spot_{L});
        //! end
        //! repeat P {STEP_BLOCKS}
        {
            //! repeat C {COLUMN_BLOCKS}
            var b_{C}: coop_mat16x16<f16, B>;
            if (b_ALONG_INNER) {
                b_{C} = coopLoad<coop_mat16x16<f16, B>>(&tiles[b_matrix(column + {C}u * 16u, {P}u * 16u)], b_PITCH);
            } else {
                b_{C} = coopLoadT<coop_mat16x16<f16, B>>(&tiles[b_matrix(column + {C}u * 16u, {P}u * 16u)], b_PITCH);
            }
            //! end
            //! repeat R {ROW_BLOCKS}
            var a_{R}: coop_mat16x16<f16, A>;
            if (a_ALONG_INNER) {
                a_{R} = coopLoadT<coop_mat16x16<f16, A>>(&tiles[a_matrix(row + {R}u * 16u, {P}u * 16u)], a_PITCH);
            } else {
                a_{R} = coopLoad<coop_mat16x16<f16, A>>(&tiles[a_matrix(row + {R}u * 16u, {P}u * 16u)], a_PITCH);
            }
            //! repeat C {COLUMN_BLOCKS}
            sum_{R}_{C} = coopMultiplyAdd(a_{R}, b_{C}, sum_{R}_{C});
            //! end
            //! end
        }
        //! end
        workgroupBarrier();
        if (inner + 2u * STEP > end) {
            //! repeat L {A_LOADS}
            a_next_{L} = a_cut(a_next_{L}, inner + STEP, end, a_spot_{L});
            //! end
            //! repeat L {B_LOADS}
            b_next_{L} = b_cut(b_next_{L}, inner + STEP, end, b_spot_{L});
            //! end
        }
        //! repeat L {A_LOADS}
        a_stage(a_spot_{L}, a_next_{L});
        //! end
        //! repeat L {B_LOADS}
        b_stage(b_spot_{L}, b_next_{L});
        //! end
        workgroupBarrier();
    }

    let out_start = params.out_offset + split * params.out_split + batch * params.out_batch;
    //! repeat R {ROW_BLOCKS}
    //! repeat C {COLUMN_BLOCKS}
    // Every matrix goes through the subgroup's own part of workgroup memory, where any invocation can find any of it.
    coopStoreT(sum_{R}_{C}, &results[subgroup * 80u], 5u);
    workgroupBarrier();
    for (var i = subgroup_lane; i < 64u; i += subgroup_size) {
        store(
            out_start,
            first_row + row + {R}u * 16u + i / 4u,
            first_column + column + {C}u * 16u + i % 4u * 4u,
            results[subgroup * 80u + i / 4u * 5u + i % 4u],
        );
    }
    workgroupBarrier();
    //! end
    //! end
}

fn store(start: u32, row: u32, column: u32, sums: vec4<f32>) {
    if (row >= params.rows || column >= params.columns) { return; }
    let place = start + row * params.out_row;
    out_store_four(place, params.out_column, column, params.columns, sums * params.scale);
}
