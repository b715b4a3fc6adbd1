// Attention for few queries over many keys, as decoding needs it: see attention.wgsl for what it computes.
//
// All that share a head of keys, the queries of `group` heads, are rows. BLOCK_ROWS of them are taken together, so that
// keys and values are read once: it is memory that limits. A team of ROW_LANES invocations reads a key, four columns an
// invocation and that several times, and STEPS keys at once, to keep many loads in flight. Each team keeps its own
// account of the rows, and they are merged in the end. Keys are split over workgroups: attention_merge merges these.
//! import attention/params

//! import {Q} as q
//! import {Q_ACCESS} as q
//! import {K} as k
//! import {K_ACCESS} as k
//! import {K_FETCH} as k
//! import {V} as v
//! import {V_ACCESS} as v
//! import {V_FETCH} as v
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> q_data: array<q_Stored>;
@group(0) @binding(1) var<storage, read> k_data: array<k_Stored>;
@group(0) @binding(2) var<storage, read> v_data: array<v_Stored>;
@group(0) @binding(3) var<storage, read> mask_data: array<u32>;
@group(0) @binding(5) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 256u;
// How many rows are taken together.
override BLOCK_ROWS: u32 = 1u;
// Whether every invocation has columns in each of its groups.
override WHOLE: bool = false;
// How many keys a team reads at once.
override STEPS: u32 = 4u;
// Whether queries are kept in workgroup memory rather than in registers, and how many groups of four they are then.
override Q_SHARED: bool = false;
override K_QUADS: u32 = 4u;
// As the slots of these names.
override V_QUADS: u32 = 4u;
override Q_ROWS: u32 = 1u;
override SOFTCAP: bool = false;
// Whether sums over a part of the keys are written, for attention_merge.
override PARTIAL: bool = false;
// Whether teams lie in subgroups. Otherwise they share workgroup memory, and take turns.
override SUBGROUPS: bool = false;
// As many as teams for each row, and as many as V_QUADS * WORKGROUP for each row.
override TEAM_STATS: u32 = 16u;
override TEAM_SUMS: u32 = 256u;

//! import {LENGTHS}
//! import attention/scores
//! import {MASK_DTYPE} as mask
//! import {MASK}

// alias Accumulator: vec2<f32> or vec4<f32>, and Keys: as many i32, for the keys that a team reads at once
//! import {STEP_TYPES}
fn identity() -> Accumulator { return Accumulator(); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return a + b; }
//! import rows/lanes
//! import {REDUCE}

// The largest score and the sum of each row, as each team has them.
var<workgroup> team_stats: array<vec2<f32>, TEAM_STATS>;
var<workgroup> q_rows: array<vec4<f32>, Q_ROWS>;
var<workgroup> team_sums: array<vec4<f32>, TEAM_SUMS>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    lanes: Lanes,
) {
    let index = group.y * groups.x + group.x;
    if (index >= params.count) { return; }
    let q_width = params.widths & 0xffffu;
    let v_width = params.widths >> 16u;
    let splits = (params.keys + params.chunk - 1u) / params.chunk;
    let rows = params.queries * params.group;
    let blocks = (rows + BLOCK_ROWS - 1u) / BLOCK_ROWS;
    let split = index % splits;
    let first_row = index / splits % blocks * BLOCK_ROWS;
    let head_index = index / splits / blocks;
    let key_heads = params.heads / params.group;
    let batch = head_index / key_heads;
    let key_head = head_index - batch * key_heads;

    let lane = lane_index(lanes);
    let team = lane / ROW_LANES;
    let column = lane % ROW_LANES * 4u;
    let k_start = params.k_offset + batch * params.k_batch + key_head * params.k_head;
    let v_start = params.v_offset + batch * params.v_batch + key_head * params.v_head;

    let length = keys_that_count(batch);
    let seen_first = seen(first_row / params.group, length);
    let seen_last = seen((min(first_row + BLOCK_ROWS, rows) - 1u) / params.group, length);
    let begin = max(seen_first.x, i32(split * params.chunk));
    let end = min(seen_last.y + 1, i32((split + 1u) * params.chunk));

    //! repeat ROW {ROWS}
    let row_{ROW} = min(first_row + {ROW}u, rows - 1u);
    let query_{ROW} = row_{ROW} / params.group;
    let head_{ROW} = key_head * params.group + row_{ROW} % params.group;
    let seen_{ROW} = seen(query_{ROW}, length);
    let mask_{ROW} = params.mask_offset + batch * params.mask_batch + head_{ROW} * params.mask_head
        + query_{ROW} * params.mask_row;
    let q_start_{ROW} = params.q_offset + batch * params.q_batch + head_{ROW} * params.q_head
        + query_{ROW} * params.q_row;
    //! repeat QUAD {K_QUADS}
    var q_{ROW}_{QUAD} = vec4<f32>();
    if (column + {QUAD}u * ROW_LANES * 4u < q_width) {
        q_{ROW}_{QUAD} = q_four(q_start_{ROW}, params.q_column, column + {QUAD}u * ROW_LANES * 4u, q_width);
    }
    //! end
    if (Q_SHARED && team == 0u) {
        //! repeat QUAD {K_QUADS}
        q_rows[({ROW}u * K_QUADS + {QUAD}u) * ROW_LANES + lane] = q_{ROW}_{QUAD};
        //! end
    }
    var largest_{ROW} = LOWEST;
    var total_{ROW} = 0.0;
    //! repeat QUAD {V_QUADS}
    var sum_{ROW}_{QUAD} = vec4<f32>();
    //! end
    //! end

    if (Q_SHARED) { workgroupBarrier(); }
    for (var first = begin; first < end; first += i32(ROWS * STEPS)) {
        var keys = Keys();
        //! repeat STEP {STEPS}
        keys[{STEP}] = first + i32(team + {STEP}u * ROWS);
        //! end
        let exists = keys < Keys(end);
        //! repeat STEP {STEPS}
        let key_{STEP} = u32(min(keys[{STEP}], end - 1));
        //! repeat QUAD {K_QUADS}
        var k_{STEP}_{QUAD} = k_Fetched();
        if (WHOLE || column + {QUAD}u * ROW_LANES * 4u < q_width) {
            k_{STEP}_{QUAD} = k_fetch(
                k_start + key_{STEP} * params.k_row, params.k_column, column + {QUAD}u * ROW_LANES * 4u, q_width);
        }
        //! end
        //! end
        //! repeat STEP {STEPS}
        //! repeat QUAD {V_QUADS}
        var v_{STEP}_{QUAD} = v_Fetched();
        if (WHOLE || column + {QUAD}u * ROW_LANES * 4u < v_width) {
            v_{STEP}_{QUAD} = v_fetch(
                v_start + key_{STEP} * params.v_row, params.v_column, column + {QUAD}u * ROW_LANES * 4u, v_width);
        }
        //! end
        //! end

        // Each element is unpacked once, for all rows.
        //! repeat ROW {ROWS}
        var products_{ROW} = Accumulator();
        //! end
        //! repeat QUAD {K_QUADS}
        {
            //! repeat STEP {STEPS}
            let four_{STEP} = k_opened(k_{STEP}_{QUAD});
            //! end
            //! repeat ROW {ROWS}
            {
                var mine = q_{ROW}_{QUAD};
                if (Q_SHARED) { mine = q_rows[({ROW}u * K_QUADS + {QUAD}u) * ROW_LANES + lane % ROW_LANES]; }
                //! repeat STEP {STEPS}
                products_{ROW}[{STEP}] = fma(mine.x, four_{STEP}.x, products_{ROW}[{STEP}]);
                products_{ROW}[{STEP}] = fma(mine.y, four_{STEP}.y, products_{ROW}[{STEP}]);
                products_{ROW}[{STEP}] = fma(mine.z, four_{STEP}.z, products_{ROW}[{STEP}]);
                products_{ROW}[{STEP}] = fma(mine.w, four_{STEP}.w, products_{ROW}[{STEP}]);
                //! end
            }
            //! end
        }
        //! end

        //! repeat ROW {ROWS}
        if (!SUBGROUPS) { workgroupBarrier(); }
        var scores_{ROW} = reduced(products_{ROW}, lanes) * params.scale;
        //! end
        //! repeat ROW {ROWS}
        //! repeat STEP {STEPS}
        scores_{ROW}[{STEP}] = capped(scores_{ROW}[{STEP}]);
        if (MASKED) {
            scores_{ROW}[{STEP}] = masked(scores_{ROW}[{STEP}], mask_{ROW} + key_{STEP} * params.mask_column);
        }
        //! end
        scores_{ROW} = select(
            Accumulator(minus_infinity()),
            scores_{ROW},
            exists & (keys >= Keys(seen_{ROW}.x)) & (keys <= Keys(seen_{ROW}.y)),
        );
        var now_{ROW} = largest_{ROW};
        //! repeat STEP {STEPS}
        now_{ROW} = max(now_{ROW}, scores_{ROW}[{STEP}]);
        //! end
        let correction_{ROW} = power_of_e(largest_{ROW} - now_{ROW});
        largest_{ROW} = now_{ROW};
        total_{ROW} *= correction_{ROW};
        //! repeat STEP {STEPS}
        let p_{ROW}_{STEP} = power_of_e(scores_{ROW}[{STEP}] - now_{ROW});
        total_{ROW} += p_{ROW}_{STEP};
        //! end
        //! end

        //! repeat QUAD {V_QUADS}
        //! repeat ROW {ROWS}
        sum_{ROW}_{QUAD} *= correction_{ROW};
        //! end
        //! repeat STEP {STEPS}
        {
            let value = v_opened(v_{STEP}_{QUAD});
            //! repeat ROW {ROWS}
            sum_{ROW}_{QUAD} = fma(vec4<f32>(p_{ROW}_{STEP}), value, sum_{ROW}_{QUAD});
            //! end
        }
        //! end
        //! end
    }

    // Merge what the teams have.
    //! repeat ROW {ROWS}
    if (column == 0u) { team_stats[{ROW}u * ROWS + team] = vec2<f32>(largest_{ROW}, total_{ROW}); }
    //! end
    let pitch = (v_width + 3u) / 4u * 4u + 4u;
    let columns = select(v_width, pitch - 4u, PARTIAL);
    workgroupBarrier();
    //! repeat ROW {ROWS}
    {
        var largest = LOWEST;
        for (var i = 0u; i < ROWS; i += 1u) { largest = max(largest, team_stats[{ROW}u * ROWS + i].x); }
        let factor = power_of_e(largest_{ROW} - largest);
        //! repeat QUAD {V_QUADS}
        team_sums[({ROW}u * V_QUADS + {QUAD}u) * WORKGROUP + lane] = sum_{ROW}_{QUAD} * factor;
        //! end
    }
    //! end
    workgroupBarrier();
    // Each invocation adds up groups of four columns, of whichever rows.
    for (var item = lane; item < BLOCK_ROWS * V_QUADS * ROW_LANES; item += WORKGROUP) {
        let row = first_row + item / (V_QUADS * ROW_LANES);
        let place = item % (V_QUADS * ROW_LANES) * 4u;
        if (row >= rows || place >= columns) { continue; }
        var largest = LOWEST;
        var total = 0.0;
        var sum = vec4<f32>();
        for (var i = 0u; i < ROWS; i += 1u) {
            let stats = team_stats[(row - first_row) * ROWS + i];
            let now = max(largest, stats.x);
            total = fma(total, power_of_e(largest - now), stats.y * power_of_e(stats.x - now));
            largest = now;
            sum += team_sums[item / ROW_LANES * WORKGROUP + i * ROW_LANES + item % ROW_LANES];
        }
        let head = key_head * params.group + row % params.group;
        let out_row = (batch * params.heads + head) * params.queries + row / params.group;
        if (PARTIAL) {
            let start = params.out_offset + (out_row * splits + split) * pitch;
            out_store_four(start, 1u, place, columns, sum);
            if (place == 0u) {
                out_store_four(start, 1u, pitch - 4u, pitch, vec4<f32>(largest, total, 0.0, 0.0));
            }
        } else {
            // Rows that see no key are zeros.
            let start = params.out_offset + out_row * v_width;
            out_store_four(start, 1u, place, columns, sum * select(0.0, 1.0 / total, total != 0.0));
        }
    }
}
