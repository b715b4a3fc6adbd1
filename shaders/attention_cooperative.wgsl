enable f16;
enable wgpu_cooperative_matrix;
// Attention for float16 operands whose widths are multiples of 16, by cooperative matrices of 16 by 16: see
// attention.wgsl for what it computes.
//
// All that share a head of keys, the queries of `group` heads, are rows that are taken together. A subgroup has 16 of
// them: their queries and what they have summed so far are matrices in its registers. Keys and values go through
// workgroup memory, KEYS at a time, for all subgroups of a workgroup; meanwhile the next are loaded into registers.
//
// Elements of a matrix cannot be reached, so scores go to workgroup memory, where the two invocations of a row turn
// them into probabilities. What is subtracted from a row's scores need not be its largest one: as long as that has not
// grown by more than GROWTH, probabilities are only larger, and the division in the end makes up for it. So sums are
// seldom scaled down, which takes a way through workgroup memory, too.
//! import attention/params

//! import dtype/half as q
//! import {Q_ACCESS} as q
//! import dtype/half as k
//! import {K_ACCESS} as k
//! import dtype/half as v
//! import {V_ACCESS} as v
//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> q_data: array<q_Stored>;
@group(0) @binding(1) var<storage, read> k_data: array<k_Stored>;
@group(0) @binding(2) var<storage, read> v_data: array<v_Stored>;
@group(0) @binding(3) var<storage, read> mask_data: array<u32>;
@group(0) @binding(5) var<storage, read_write> out_data: array<out_Stored>;

// Subgroups have 32 invocations.
override WORKGROUP: u32 = 128u;
override BLOCK_ROWS: u32 = 64u;
// How many keys are taken at once, and groups of four columns in rows of queries and keys, and of values: the numbers
// that the slots KEY_BLOCKS, K_BLOCKS and V_BLOCKS (16 to a block) say.
override KEYS: u32 = 32u;
override K_QUADS: u32 = 32u;
override V_QUADS: u32 = 32u;
// KEYS * (K_QUADS + 2 + V_QUADS + 2): rows are padded, so that those which are read together begin in different banks.
override TILES: u32 = 2176u;
// 16 * (KEYS / 4 + 1) and 16 * (KEYS / 4 + 2) for each subgroup.
override SCORES: u32 = 576u;
override PROBABILITIES: u32 = 640u;
// Whether the next keys and values are loaded into registers meanwhile.
override AHEAD: bool = true;
override SOFTCAP: bool = false;
// Whether sums over a part of the keys are written, for attention_merge.
override PARTIAL: bool = false;

//! import {LENGTHS}
//! import attention/scores
//! import {MASK_DTYPE} as mask
//! import {MASK}

const LOG2_E: f32 = 1.4426950408889634;
// Powers of two: probabilities are at most 2^15, and float16 reaches 65504. Small ones keep most of their bits, too.
const GROWTH: f32 = 8.0;
const HEADROOM: f32 = 7.0;

var<workgroup> tiles: array<vec4<f16>, TILES>;
var<workgroup> scores: array<vec4<f32>, SCORES>;
var<workgroup> probabilities: array<vec4<f16>, PROBABILITIES>;

// Four elements of a block of keys or values. What lies after the keys that count may be no number: the last key stands
// for it.
fn k_fetched(i: u32, block: i32, start: u32, length: u32) -> vec4<f16> {
    let key = min(u32(block) + i / K_QUADS, length - 1u);
    return k_four(start + key * params.k_row, params.k_column, i % K_QUADS * 4u, K_QUADS * 4u);
}
fn v_fetched(i: u32, block: i32, start: u32, length: u32, slice: u32) -> vec4<f16> {
    let key = min(u32(block) + i / V_QUADS, length - 1u);
    // The last slice may have fewer columns: the first ones are read again, and not stored.
    let column = (slice * V_QUADS + i % V_QUADS) * 4u;
    let v_width = params.widths >> 16u;
    return v_four(start + key * params.v_row, params.v_column, select(0u, column, column < v_width), v_width);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    let index = group.y * groups.x + group.x;
    if (index >= params.count) { return; }
    let v_width = params.widths >> 16u;
    let slices = (v_width / 4u + V_QUADS - 1u) / V_QUADS;
    let splits = (params.keys + params.chunk - 1u) / params.chunk;
    let rows = params.queries * params.group;
    let blocks = (rows + BLOCK_ROWS - 1u) / BLOCK_ROWS;
    // The last queries see the most keys: theirs are the first workgroups. Heads come one after another, and batches.
    let all_heads = params.count / (slices * splits * blocks);
    let head_index = index % all_heads;
    let rest = index / all_heads;
    let slice = rest % slices;
    let split = rest / slices % splits;
    let first_row = (blocks - 1u - rest / slices / splits) * BLOCK_ROWS;
    let last_row = min(first_row + BLOCK_ROWS, rows) - 1u;
    let key_heads = params.heads / params.group;
    let batch = head_index / key_heads;
    let key_head = head_index - batch * key_heads;
    let first_head = key_head * params.group;

    let q_start = params.q_offset + batch * params.q_batch + first_head * params.q_head;
    let k_start = params.k_offset + batch * params.k_batch + key_head * params.k_head;
    let v_start = params.v_offset + batch * params.v_batch + key_head * params.v_head;

    let length = keys_that_count(batch);
    let seen_first = seen(first_row / params.group, length);
    let seen_last = seen(last_row / params.group, length);
    // Keys that some of these queries see, and keys that all of them see.
    let begin = max(seen_first.x, i32(split * params.chunk));
    let end = min(seen_last.y + 1, i32((split + 1u) * params.chunk));
    let all_from = seen_last.x;
    let all_until = min(seen_first.y + 1, end);

    let k_pitch = K_QUADS + 2u;
    let v_pitch = V_QUADS + 2u;
    let v_first = KEYS * k_pitch;
    let score_pitch = KEYS / 4u + 1u;
    let probability_pitch = KEYS / 4u + 2u;
    let my_scores = subgroup * 16u * score_pitch;
    let my_probabilities = subgroup * 16u * probability_pitch;

    //! repeat D {K_BLOCKS}
    var q_{D} = coop_mat16x16<f16, A>();
    //! end
    // Queries go through the place of the probabilities, a matrix at a time.
    //! repeat D {K_BLOCKS}
    subgroupBarrier();
    for (var i = subgroup_lane; i < 64u; i += 32u) {
        let row = min(first_row + subgroup * 16u + i / 4u, last_row);
        let start = q_start + row % params.group * params.q_head + row / params.group * params.q_row;
        probabilities[my_probabilities + i / 4u * probability_pitch + i % 4u] =
            q_four(start, params.q_column, {D}u * 16u + i % 4u * 4u, K_QUADS * 4u);
    }
    subgroupBarrier();
    q_{D} = coopLoadT<coop_mat16x16<f16, A>>(&probabilities[my_probabilities], probability_pitch);
    //! end

    // The row whose scores this invocation turns into probabilities, and which half of them.
    let my_row = subgroup_lane % 16u;
    let half = subgroup_lane / 16u;
    let row = min(first_row + subgroup * 16u + my_row, last_row);
    let query = row / params.group;
    let head = first_head + row % params.group;
    let my_seen = seen(query, length);
    let my_keys = vec2<i32>(max(my_seen.x, begin), min(my_seen.y + 1, end));
    let mask_start = params.mask_offset + batch * params.mask_batch + head * params.mask_head + query * params.mask_row;
    // What is subtracted from scores, in powers of two, and the sum of this half's probabilities.
    var base = LOWEST;
    var total = 0.0;
    //! repeat D {V_BLOCKS}
    var sum_{D} = coop_mat16x16<f32, C>();
    //! end

    //! repeat N {K_LOADS}
    var k_next_{N} = vec4<f16>();
    //! end
    //! repeat N {V_LOADS}
    var v_next_{N} = vec4<f16>();
    //! end
    if (AHEAD && begin < end) {
        //! repeat N {K_LOADS}
        k_next_{N} = k_fetched(lane + {N}u * WORKGROUP, begin, k_start, length);
        //! end
        //! repeat N {V_LOADS}
        v_next_{N} = v_fetched(lane + {N}u * WORKGROUP, begin, v_start, length, slice);
        //! end
    }
    for (var block = begin; block < end; block += i32(KEYS)) {
        if (!AHEAD) {
            //! repeat N {K_LOADS}
            k_next_{N} = k_fetched(lane + {N}u * WORKGROUP, block, k_start, length);
            //! end
            //! repeat N {V_LOADS}
            v_next_{N} = v_fetched(lane + {N}u * WORKGROUP, block, v_start, length, slice);
            //! end
        }
        workgroupBarrier();
        //! repeat N {K_LOADS}
        {
            let i = lane + {N}u * WORKGROUP;
            if (i < KEYS * K_QUADS) { tiles[i / K_QUADS * k_pitch + i % K_QUADS] = k_next_{N}; }
        }
        //! end
        //! repeat N {V_LOADS}
        {
            let i = lane + {N}u * WORKGROUP;
            if (i < KEYS * V_QUADS) { tiles[v_first + i / V_QUADS * v_pitch + i % V_QUADS] = v_next_{N}; }
        }
        //! end
        workgroupBarrier();
        if (AHEAD && block + i32(KEYS) < end) {
            //! repeat N {K_LOADS}
            k_next_{N} = k_fetched(lane + {N}u * WORKGROUP, block + i32(KEYS), k_start, length);
            //! end
            //! repeat N {V_LOADS}
            v_next_{N} = v_fetched(lane + {N}u * WORKGROUP, block + i32(KEYS), v_start, length, slice);
            //! end
        }

        //! repeat COLUMN {KEY_BLOCKS}
        {
            var products = coop_mat16x16<f32, C>();
            //! repeat D {K_BLOCKS}
            {
                let keys = coopLoad<coop_mat16x16<f16, B>>(&tiles[{COLUMN}u * 16u * k_pitch + {D}u * 4u], k_pitch);
                products = coopMultiplyAdd(q_{D}, keys, products);
            }
            //! end
            // naga wants places of stores to be variables.
            let place = my_scores + {COLUMN}u * 4u;
            coopStoreT(products, &scores[place], score_pitch);
        }
        //! end
        subgroupBarrier();
        let my_place = my_scores + my_row * score_pitch + half * (KEYS / 8u);
        let first_key = block + i32(half * (KEYS / 2u));
        //! repeat I {LANE_QUADS}
        var x_{I} = scores[my_place + {I}u];
        if (SOFTCAP) {
            x_{I} *= params.scale;
            x_{I} = vec4<f32>(capped(x_{I}.x), capped(x_{I}.y), capped(x_{I}.z), capped(x_{I}.w)) * LOG2_E;
        } else {
            x_{I} *= params.scale * LOG2_E;
        }
        //! end
        // Blocks that every query sees whole need no looking at each key.
        if (MASKED || block < all_from || block + i32(KEYS) > all_until) {
            //! repeat I {LANE_QUADS}
            {
                let keys = vec4<i32>(first_key + {I} * 4) + vec4<i32>(0, 1, 2, 3);
                if (MASKED) {
                    let places = vec4<u32>(mask_start)
                        + vec4<u32>(min(keys, vec4<i32>(i32(length) - 1))) * params.mask_column;
                    x_{I} /= LOG2_E;
                    x_{I} = vec4<f32>(
                        masked(x_{I}.x, places.x),
                        masked(x_{I}.y, places.y),
                        masked(x_{I}.z, places.z),
                        masked(x_{I}.w, places.w),
                    );
                    // The lowest numbers are no infinities.
                    x_{I} = select(x_{I}, max(x_{I} * LOG2_E, vec4<f32>(LOWEST)), x_{I} >= vec4<f32>(LOWEST));
                }
                let visible = (keys >= vec4<i32>(my_keys.x)) & (keys < vec4<i32>(my_keys.y));
                x_{I} = select(vec4<f32>(minus_infinity()), x_{I}, visible);
            }
            //! end
        }
        var four = vec4<f32>(LOWEST);
        //! repeat I {LANE_QUADS}
        four = max(four, x_{I});
        //! end
        var most = max(max(four.x, four.y), max(four.z, four.w));
        most = max(most, subgroupShuffleXor(most, 16u));
        let grown = most > base + GROWTH;
        let factor = select(1.0, exp2(base - most), grown);
        base = select(base, most, grown);
        total *= factor;
        // A branch of the whole subgroup, but naga thinks that its invocations may part there, unless it is a loop.
        for (var scales = block > begin && subgroupAny(grown); scales; scales = false) {
            //! repeat D {V_BLOCKS}
            subgroupBarrier();
            coopStoreT(sum_{D}, &scores[my_scores], score_pitch);
            subgroupBarrier();
            scores[my_scores + my_row * score_pitch + half * 2u] *= factor;
            scores[my_scores + my_row * score_pitch + half * 2u + 1u] *= factor;
            subgroupBarrier();
            sum_{D} = coopLoadT<coop_mat16x16<f32, C>>(&scores[my_scores], score_pitch);
            //! end
        }
        let shift = base - HEADROOM;
        var added = vec4<f32>();
        //! repeat I {LANE_QUADS}
        {
            let p = exp2(x_{I} - shift);
            added += p;
            probabilities[my_probabilities + my_row * probability_pitch + half * (KEYS / 8u) + {I}u] = vec4<f16>(p);
        }
        //! end
        total += (added.x + added.y) + (added.z + added.w);
        subgroupBarrier();
        //! repeat COLUMN {KEY_BLOCKS}
        {
            let weights =
                coopLoadT<coop_mat16x16<f16, A>>(&probabilities[my_probabilities + {COLUMN}u * 4u], probability_pitch);
            //! repeat D {V_BLOCKS}
            {
                let place = v_first + {COLUMN}u * 16u * v_pitch + {D}u * 4u;
                let values = coopLoadT<coop_mat16x16<f16, B>>(&tiles[place], v_pitch);
                sum_{D} = coopMultiplyAdd(weights, values, sum_{D});
            }
            //! end
        }
        //! end
    }

    total += subgroupShuffleXor(total, 16u);
    let exists = first_row + subgroup * 16u + my_row <= last_row;
    let out_row = (batch * params.heads + head) * params.queries + query;
    let pitch = v_width + 4u;
    var out_start = params.out_offset + out_row * v_width;
    // Rows that see no key are zeros.
    var factor = select(0.0, 1.0 / total, total != 0.0);
    if (PARTIAL) {
        out_start = params.out_offset + (out_row * splits + split) * pitch;
        factor = 1.0;
        if (exists && half == 0u && slice == 0u) {
            // As a power of e.
            let largest = select(max((base - HEADROOM) / LOG2_E, LOWEST), LOWEST, base == LOWEST);
            out_store_four(out_start, 1u, v_width, pitch, vec4<f32>(largest, total, 0.0, 0.0));
        }
    }
    //! repeat D {V_BLOCKS}
    subgroupBarrier();
    coopStoreT(sum_{D}, &scores[my_scores], score_pitch);
    subgroupBarrier();
    {
        let column = slice * V_QUADS * 4u + {D}u * 16u + half * 8u;
        if (exists && column < v_width) {
            let place = my_scores + my_row * score_pitch + half * 2u;
            out_store_four(out_start, 1u, column, v_width, scores[place] * factor);
            out_store_four(out_start, 1u, column + 4u, v_width, scores[place + 1u] * factor);
        }
    }
    //! end
}
