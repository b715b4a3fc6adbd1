// out[i] = sum over j of p[i, j] * v[j] / sum over j of p[i, j], where p[i, j] = exp(x[i, j] - largest x[i, ..]) and
// x[i, j] = q[i] . k[j] * scale, capped and masked; for each batch and head.
//
// A workgroup has a block of queries and walks the keys, a block at a time. Scores exist for one block alone: whenever
// the largest score of a row grows, what the row has summed so far is scaled down. Invocations lie in a rectangle,
// ACROSS by DOWN. Each has, in registers, ROWS by KEYS scores and then ROWS by QUADS groups of four columns of the
// result; these three are slots. Queries, keys and values go through workgroup memory in steps, so that they may be of
// any width. Columns that do not fit are another workgroup's, which computes the scores anew.
//! import attention/params

//! import {Q} as q
//! import {Q_ACCESS} as q
//! import {Q_FETCH} as q
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

override WORKGROUP: u32 = 128u;
override ACROSS: u32 = 16u;
override DOWN: u32 = 16u;
// Whether 32 neighbours lie in 8 by 4, turn by turn to the right and down.
override INTERLEAVED: bool = true;
// DOWN * {ROWS} and ACROSS * {KEYS}.
override BLOCK_ROWS: u32 = 64u;
override BLOCK_KEYS: u32 = 64u;
// A block's probabilities go through workgroup memory in parts of as many keys.
override PART: u32 = 64u;
// ACROSS * {QUADS}.
override SLICE_QUADS: u32 = 32u;
// How many groups of four columns of queries and keys are a step, 4 or 8, and how many values, a multiple of 4.
override STEP_QUADS: u32 = 4u;
override STEP_VALUES: u32 = 16u;
// BLOCK_ROWS * (PART / 4 + 1), and the largest of (BLOCK_ROWS + BLOCK_KEYS) * STEP_QUADS,
// STEP_VALUES * SLICE_QUADS and BLOCK_ROWS * ACROSS / 4.
override PROBABILITIES: u32 = 1088u;
override STAGE: u32 = 512u;
// Whether the widths are whole steps and slices.
override WHOLE: bool = false;
override SOFTCAP: bool = false;
// Whether sums over a part of the keys are written, for attention_merge.
override PARTIAL: bool = false;

//! import {LENGTHS}
//! import attention/scores
//! import {MASK_DTYPE} as mask
//! import {MASK}

var<workgroup> probabilities: array<vec4<f32>, PROBABILITIES>;
var<workgroup> stage: array<vec4<f32>, STAGE>;
// The largest score of each row, and what its sums so far are multiplied by.
var<workgroup> row_stats: array<vec2<f32>, BLOCK_ROWS>;

// Workgroup memory serves a load of four words by 32 invocations in fewer turns if neighbours read the same: those at 1
// from each other the same row of one operand, and those at 2 the same row of the other.
fn place_in_rectangle(lane: u32) -> vec2<u32> {
    if (!INTERLEAVED) { return vec2<u32>(lane % ACROSS, lane / ACROSS); }
    let near = vec2<u32>((lane & 1u) | (lane >> 1u & 2u) | (lane >> 2u & 4u), (lane >> 1u & 1u) | (lane >> 2u & 2u));
    let far = lane / 32u;
    let blocks = max(ACROSS / 8u, 1u);
    return near + vec2<u32>(far % blocks * 8u, far / blocks * 4u);
}

// Where a group of four of a row lies. Eight rows in a row are read at once: this keeps them in different banks.
fn staged(row: u32, quad: u32) -> u32 {
    return row * STEP_QUADS + (quad ^ ((row * STEP_QUADS / 8u) & (STEP_QUADS - 1u)));
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    if (index >= params.count) { return; }
    let q_width = params.widths & 0xffffu;
    let v_width = params.widths >> 16u;
    let slices = (v_width + SLICE_QUADS * 4u - 1u) / (SLICE_QUADS * 4u);
    let splits = (params.keys + params.chunk - 1u) / params.chunk;
    let blocks = (params.queries + BLOCK_ROWS - 1u) / BLOCK_ROWS;
    // The last queries see the most keys: theirs are the first workgroups. Heads come one after another, and batches.
    let of_head = slices * splits * blocks;
    let all_heads = params.count / of_head;
    let head_index = index % all_heads;
    let rest = index / all_heads;
    let slice = rest % slices;
    let split = rest / slices % splits;
    let first_row = (blocks - 1u - rest / slices / splits) * BLOCK_ROWS;
    let batch = head_index / params.heads;
    let head = head_index - batch * params.heads;

    let at = place_in_rectangle(lane);
    let across = at.x;
    let down = at.y;

    let q_start = params.q_offset + batch * params.q_batch + head * params.q_head;
    let k_start = params.k_offset + batch * params.k_batch + head / params.group * params.k_head;
    let v_start = params.v_offset + batch * params.v_batch + head / params.group * params.v_head;
    let mask_start = params.mask_offset + batch * params.mask_batch + head * params.mask_head;

    let length = keys_that_count(batch);
    let last_row = min(first_row + BLOCK_ROWS, params.queries) - 1u;
    let seen_first = seen(first_row, length);
    let seen_last = seen(last_row, length);
    // Keys that some of these queries see, and keys that all of them see.
    let begin = max(seen_first.x, i32(split * params.chunk));
    let end = min(seen_last.y + 1, i32((split + 1u) * params.chunk));
    let all_from = seen_last.x;
    let all_until = min(seen_first.y + 1, end);

    //! repeat ROW {ROWS}
    //! repeat QUAD {QUADS}
    var sum_{ROW}_{QUAD} = vec4<f32>();
    //! end
    //! end
    // Each of the first invocations keeps a row's account.
    var largest = LOWEST;
    var total = 0.0;

    // What the next step needs is loaded during this one.
    //! repeat N {Q_LOADS}
    var q_next_{N} = q_Fetched();
    let q_row_{N} = q_start + min(first_row + (lane + {N}u * WORKGROUP) / STEP_QUADS, last_row) * params.q_row;
    //! end
    //! repeat N {K_LOADS}
    var k_next_{N} = k_Fetched();
    //! end
    //! repeat N {V_LOADS}
    var v_next_{N} = v_Fetched();
    //! end
    let my_column = lane % STEP_QUADS * 4u;
    if (begin < end) {
        if (WHOLE || my_column < q_width) {
            //! repeat N {Q_LOADS}
            q_next_{N} = q_fetch(q_row_{N}, params.q_column, my_column, q_width);
            //! end
            //! repeat N {K_LOADS}
            k_next_{N} = k_fetch(
                k_start + min(u32(begin) + (lane + {N}u * WORKGROUP) / STEP_QUADS, length - 1u) * params.k_row,
                params.k_column, my_column, q_width);
            //! end
        }
    }

    for (var block = begin; block < end; block += i32(BLOCK_KEYS)) {
        //! repeat ROW {ROWS}
        //! repeat KEY {KEYS}
        var score_{ROW}_{KEY} = 0.0;
        //! end
        //! end
        for (var depth = 0u; depth < q_width; depth += STEP_QUADS * 4u) {
            workgroupBarrier();
            //! repeat N {Q_LOADS}
            stage[staged((lane + {N}u * WORKGROUP) / STEP_QUADS, lane % STEP_QUADS)] = q_opened(q_next_{N});
            //! end
            //! repeat N {K_LOADS}
            stage[staged(BLOCK_ROWS + (lane + {N}u * WORKGROUP) / STEP_QUADS, lane % STEP_QUADS)] =
                k_opened(k_next_{N});
            //! end
            workgroupBarrier();
            let next = depth + STEP_QUADS * 4u;
            if (next < q_width) {
                //! repeat N {Q_LOADS}
                q_next_{N} = q_Fetched();
                //! end
                //! repeat N {K_LOADS}
                k_next_{N} = k_Fetched();
                //! end
                if (WHOLE || next + my_column < q_width) {
                    //! repeat N {Q_LOADS}
                    q_next_{N} = q_fetch(q_row_{N}, params.q_column, next + my_column, q_width);
                    //! end
                    //! repeat N {K_LOADS}
                    k_next_{N} = k_fetch(
                        k_start + min(u32(block) + (lane + {N}u * WORKGROUP) / STEP_QUADS, length - 1u) * params.k_row,
                        params.k_column, next + my_column, q_width);
                    //! end
                }
            } else {
                //! repeat N {V_LOADS}
                {
                    // What lies after the keys that count may be no number: the last key stands for it.
                    let key = min(u32(block) + (lane + {N}u * WORKGROUP) / SLICE_QUADS, length - 1u);
                    let column = (slice * SLICE_QUADS + (lane + {N}u * WORKGROUP) % SLICE_QUADS) * 4u;
                    v_next_{N} = v_Fetched();
                    if (WHOLE || column < v_width) {
                        v_next_{N} = v_fetch(v_start + key * params.v_row, params.v_column, column, v_width);
                    }
                }
                //! end
            }
            for (var quad = 0u; quad < STEP_QUADS; quad += 1u) {
                //! repeat KEY {KEYS}
                let k_{KEY} = stage[staged(BLOCK_ROWS + across + {KEY}u * ACROSS, quad)];
                //! end
                //! repeat ROW {ROWS}
                {
                    let q = stage[staged(down + {ROW}u * DOWN, quad)];
                    //! repeat KEY {KEYS}
                    score_{ROW}_{KEY} = fma(q.x, k_{KEY}.x, score_{ROW}_{KEY});
                    //! end
                    //! repeat KEY {KEYS}
                    score_{ROW}_{KEY} = fma(q.y, k_{KEY}.y, score_{ROW}_{KEY});
                    //! end
                    //! repeat KEY {KEYS}
                    score_{ROW}_{KEY} = fma(q.z, k_{KEY}.z, score_{ROW}_{KEY});
                    //! end
                    //! repeat KEY {KEYS}
                    score_{ROW}_{KEY} = fma(q.w, k_{KEY}.w, score_{ROW}_{KEY});
                    //! end
                }
                //! end
            }
        }

        //! repeat ROW {ROWS}
        //! repeat KEY {KEYS}
        score_{ROW}_{KEY} = capped(score_{ROW}_{KEY} * params.scale);
        //! end
        //! end
        // Blocks that every query sees whole need no looking at each key.
        if (MASKED || block < all_from || block + i32(BLOCK_KEYS) > all_until) {
            //! repeat ROW {ROWS}
            {
                let row = min(first_row + down + {ROW}u * DOWN, last_row);
                let keys = vec2<i32>(max(seen(row, length).x, begin), min(seen(row, length).y + 1, end));
                //! repeat KEY {KEYS}
                {
                    let key = block + i32(across + {KEY}u * ACROSS);
                    score_{ROW}_{KEY} = select(
                        minus_infinity(),
                        masked(score_{ROW}_{KEY}, mask_start + row * params.mask_row
                            + u32(min(key, i32(length) - 1)) * params.mask_column),
                        key >= keys.x && key < keys.y,
                    );
                }
                //! end
            }
            //! end
        }
        workgroupBarrier();
        //! repeat ROW {ROWS}
        {
            var most = LOWEST;
            //! repeat KEY {KEYS}
            most = max(most, score_{ROW}_{KEY});
            //! end
            let place = (down + {ROW}u * DOWN) * ACROSS + across;
            stage[place / 4u][place % 4u] = most;
        }
        //! end
        workgroupBarrier();
        if (lane < BLOCK_ROWS) {
            var most = vec4<f32>(largest);
            for (var i = 0u; i < ACROSS / 4u; i += 1u) { most = max(most, stage[lane * (ACROSS / 4u) + i]); }
            let now = max(max(most.x, most.y), max(most.z, most.w));
            let correction = power_of_e(largest - now);
            total *= correction;
            largest = now;
            row_stats[lane] = vec2<f32>(now, correction);
        }
        workgroupBarrier();
        let present = min(BLOCK_KEYS, u32(end - block));
        //! repeat ROW {ROWS}
        {
            let stats = row_stats[down + {ROW}u * DOWN];
            //! repeat QUAD {QUADS}
            sum_{ROW}_{QUAD} *= stats.y;
            //! end
            //! repeat KEY {KEYS}
            score_{ROW}_{KEY} = power_of_e(score_{ROW}_{KEY} - stats.x);
            //! end
        }
        //! end

        //! repeat PART {PARTS}
        if ({PART}u > 0u) { workgroupBarrier(); }
        //! repeat ROW {ROWS}
        //! repeat KEY {KEYS}
        if ({KEY}u * ACROSS / PART == {PART}u) {
            let key = across + {KEY}u * ACROSS - {PART}u * PART;
            let place = (down + {ROW}u * DOWN) * (PART / 4u + 1u) + key / 4u;
            probabilities[place][key % 4u] = score_{ROW}_{KEY};
        }
        //! end
        //! end
        for (var offset = {PART}u * PART; offset < min(present, {PART}u * PART + PART); offset += STEP_VALUES) {
            if (offset > {PART}u * PART) { workgroupBarrier(); }
            //! repeat N {V_LOADS}
            stage[lane + {N}u * WORKGROUP] = v_opened(v_next_{N});
            //! end
            workgroupBarrier();
            let next = offset + STEP_VALUES;
            if (next < present) {
                //! repeat N {V_LOADS}
                {
                    let key = min(u32(block) + next + (lane + {N}u * WORKGROUP) / SLICE_QUADS, length - 1u);
                    let column = (slice * SLICE_QUADS + (lane + {N}u * WORKGROUP) % SLICE_QUADS) * 4u;
                    v_next_{N} = v_Fetched();
                    if (WHOLE || column < v_width) {
                        v_next_{N} = v_fetch(v_start + key * params.v_row, params.v_column, column, v_width);
                    }
                }
                //! end
            } else if (WHOLE || my_column < q_width) {
                //! repeat N {Q_LOADS}
                q_next_{N} = q_fetch(q_row_{N}, params.q_column, my_column, q_width);
                //! end
                //! repeat N {K_LOADS}
                k_next_{N} = k_fetch(
                    k_start + min(u32(block) + BLOCK_KEYS + (lane + {N}u * WORKGROUP) / STEP_QUADS, length - 1u)
                        * params.k_row,
                    params.k_column, my_column, q_width);
                //! end
            }
            if (lane < BLOCK_ROWS) {
                for (var i = 0u; i < STEP_VALUES / 4u; i += 1u) {
                    let four = probabilities[lane * (PART / 4u + 1u) + (offset - {PART}u * PART) / 4u + i];
                    total += (four.x + four.y) + (four.z + four.w);
                }
            }
            for (var i = 0u; i < STEP_VALUES / 4u; i += 1u) {
                //! repeat ROW {ROWS}
                let p_{ROW} =
                    probabilities[(down + {ROW}u * DOWN) * (PART / 4u + 1u) + (offset - {PART}u * PART) / 4u + i];
                //! end
                //! repeat KEY 4
                {
                    //! repeat QUAD {QUADS}
                    let v_{QUAD} = stage[(i * 4u + {KEY}u) * SLICE_QUADS + across + {QUAD}u * ACROSS];
                    //! end
                    //! repeat ROW {ROWS}
                    //! repeat QUAD {QUADS}
                    sum_{ROW}_{QUAD} = fma(vec4<f32>(p_{ROW}[{KEY}]), v_{QUAD}, sum_{ROW}_{QUAD});
                    //! end
                    //! end
                }
                //! end
            }
        }
        //! end
    }

    // A partial row is followed by its largest score and its sum.
    let pitch = (v_width + 3u) / 4u * 4u + 4u;
    workgroupBarrier();
    if (lane < BLOCK_ROWS) {
        // Rows that see no key are zeros.
        row_stats[lane] = vec2<f32>(select(select(0.0, 1.0 / total, total != 0.0), 1.0, PARTIAL), 0.0);
        if (PARTIAL && slice == 0u && first_row + lane <= last_row) {
            let row = head_index * params.queries + first_row + lane;
            let start = params.out_offset + (row * splits + split) * pitch;
            out_store_four(start, 1u, pitch - 4u, pitch, vec4<f32>(largest, total, 0.0, 0.0));
        }
    }
    workgroupBarrier();
    //! repeat ROW {ROWS}
    {
        let row = first_row + down + {ROW}u * DOWN;
        if (row <= last_row) {
            let factor = row_stats[down + {ROW}u * DOWN].x;
            var start = params.out_offset + (head_index * params.queries + row) * v_width;
            if (PARTIAL) {
                start = params.out_offset + ((head_index * params.queries + row) * splits + split) * pitch;
            }
            let columns = select(v_width, pitch - 4u, PARTIAL);
            //! repeat QUAD {QUADS}
            {
                let column = (slice * SLICE_QUADS + across + {QUAD}u * ACROSS) * 4u;
                if (column < columns) { out_store_four(start, 1u, column, columns, sum_{ROW}_{QUAD} * factor); }
            }
            //! end
        }
    }
    //! end
}
