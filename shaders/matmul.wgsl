// out[b, i, j] = scale * sum over p of a[b, i, p] * b[b, p, j], for operands with any strides.
//
// A workgroup computes a tile of the result, each invocation 4 ROW_QUADS rows by 4 COLUMN_QUADS columns of it in
// registers. It walks the inner axis in steps. Of each step, the parts of a and b that the tile needs lie in workgroup
// memory; meanwhile those of the next step are loaded into registers, and stored into a second buffer at the end of the
// step: so a step needs one barrier, and nobody waits for memory. `splits` workgroups share the inner axis of a tile,
// each writing its own partial result, when there are few tiles.
//! import tiles/params

// alias Element: f32 or i32; alias Accumulator: a vec4 of it; fn scaled(sums: Accumulator) -> Accumulator
//! import {ACCUMULATOR}
//! import {A} as a
//! import {A_ACCESS} as a
//! import {B} as b
//! import {B_ACCESS} as b
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> a_data: array<a_Stored>;
@group(0) @binding(1) var<storage, read> b_data: array<b_Stored>;
@group(0) @binding(2) var<storage, read_write> out_data: array<out_Stored>;

// How many invocations there are along the rows and the columns of a tile, and in all.
override THREAD_ROWS: u32 = 16u;
override THREAD_COLUMNS: u32 = 16u;
override THREADS: u32 = 256u;
// How many of them are neighbours along the columns. Eight by four of a subgroup need the fewest words of both operands.
override NEIGHBOURS: u32 = 8u;
// How much of the inner axis is in workgroup memory: the number that the slot STEP says.
override STEP: u32 = 8u;
// How many rows of tiles are visited together, column by column, so that they find each other's operands in the cache.
override BAND: u32 = 8u;

//! import tiles/band
//! import tiles/quads as a
//! import tiles/quads as b

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile_rows = (params.rows + a_LINES - 1u) / a_LINES;
    let tile_columns = (params.columns + b_LINES - 1u) / b_LINES;
    let tiles = tile_rows * tile_columns;
    let index = group.y * groups.x + group.x;
    let strip = index / tiles;
    let batch = strip / params.splits;
    let split = strip - batch * params.splits;
    if (batch >= params.batches) { return; }
    let tile = tile_in_band(index - strip * tiles, tile_rows, tile_columns);
    let first_row = tile.x * a_LINES;
    let first_column = tile.y * b_LINES;
    let a_start = params.a_offset + batch * params.a_batch;
    let b_start = params.b_offset + batch * params.b_batch;
    let begin = split * params.chunk;
    let end = min(begin + params.chunk, params.inner);

    let x = lane % NEIGHBOURS + lane / (NEIGHBOURS * THREAD_ROWS) * NEIGHBOURS;
    let y = lane / NEIGHBOURS % THREAD_ROWS;
    //! repeat R {ROW_QUADS}
    //! repeat C {COLUMN_QUADS}
    var sum_{R}_{C}_x = Accumulator();
    var sum_{R}_{C}_y = Accumulator();
    var sum_{R}_{C}_z = Accumulator();
    var sum_{R}_{C}_w = Accumulator();
    //! end
    //! end
    //! repeat L {A_LOADS}
    let a_spot_{L} = a_spot(lane, {L}u);
    var a_next_{L} = a_fetch(a_start, first_row, params.rows, begin, end, a_spot_{L});
    a_stage(0u, a_spot_{L}, a_next_{L});
    //! end
    //! repeat L {B_LOADS}
    let b_spot_{L} = b_spot(lane, {L}u);
    var b_next_{L} = b_fetch(b_start, first_column, params.columns, begin, end, b_spot_{L});
    b_stage(0u, b_spot_{L}, b_next_{L});
    //! end
    workgroupBarrier();
    var odd = 0u;
    for (var inner = begin; inner < end; inner += STEP) {
        let more = inner + STEP < end;
        if (more) {
            //! repeat L {A_LOADS}
            a_next_{L} = a_fetch(a_start, first_row, params.rows, inner + STEP, end, a_spot_{L});
            //! end
            //! repeat L {B_LOADS}
            b_next_{L} = b_fetch(b_start, first_column, params.columns, inner + STEP, end, b_spot_{L});
            //! end
        }
        let a_place = odd * a_BUFFER + y;
        let b_place = odd * b_BUFFER + x;
        //! repeat P {STEP}
        {
            //! repeat C {COLUMN_QUADS}
            let b_{C} = b_tile[b_place + {P}u * b_PITCH + {C}u * THREAD_COLUMNS];
            //! end
            //! repeat R {ROW_QUADS}
            let a_{R} = a_tile[a_place + {P}u * a_PITCH + {R}u * THREAD_ROWS];
            //! repeat C {COLUMN_QUADS}
            sum_{R}_{C}_x += a_{R}.x * b_{C};
            sum_{R}_{C}_y += a_{R}.y * b_{C};
            sum_{R}_{C}_z += a_{R}.z * b_{C};
            sum_{R}_{C}_w += a_{R}.w * b_{C};
            //! end
            //! end
        }
        //! end
        odd = 1u - odd;
        if (more) {
            //! repeat L {A_LOADS}
            a_stage(odd * a_BUFFER, a_spot_{L}, a_next_{L});
            //! end
            //! repeat L {B_LOADS}
            b_stage(odd * b_BUFFER, b_spot_{L}, b_next_{L});
            //! end
        }
        workgroupBarrier();
    }

    let out_start = params.out_offset + split * params.out_split + batch * params.out_batch;
    //! repeat R {ROW_QUADS}
    {
        let row = first_row + ({R}u * THREAD_ROWS + y) * 4u;
        //! repeat C {COLUMN_QUADS}
        {
            let column = first_column + ({C}u * THREAD_COLUMNS + x) * 4u;
            store(out_start, row, column, sum_{R}_{C}_x);
            store(out_start, row + 1u, column, sum_{R}_{C}_y);
            store(out_start, row + 2u, column, sum_{R}_{C}_z);
            store(out_start, row + 3u, column, sum_{R}_{C}_w);
        }
        //! end
    }
    //! end
}

fn store(start: u32, row: u32, column: u32, sums: Accumulator) {
    if (row >= params.rows || column >= params.columns) { return; }
    let place = start + row * params.out_row;
    out_store_four(place, params.out_column, column, params.columns, out_Native(scaled(sums)));
}
