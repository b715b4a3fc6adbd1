// Rows that the registers of their lanes hold: loaded once, reduced, mapped, stored once.
//
// Each lane has QUADS groups of four. Groups lie as memory does, in x and in the result alike, so that each is one load
// and one store: the first may begin before its row and the last end after it. SKIP is 3 then; elements of any other
// stride are taken one by one, and it is 0. WHOLE says that no group reaches out of its row and every lane has all of
// its groups.
override SKIP: u32 = 3u;
override WHOLE: bool = false;
override QUADS: u32 = 8u;

fn quad_lifted(four: vec4<f32>, at: u32) -> Accumulator {
    if (WHOLE) { return lift(four, at); }
    return lift_some(four, at, vec4<u32>(at, at + 1u, at + 2u, at + 3u) < vec4<u32>(params.length));
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    lanes: Lanes,
) {
    let first = (group.y * groups.x + group.x) * ROWS;
    if (first >= params.count) { return; }
    let index = lane_index(lanes);
    let lane = lane_in_row(index);
    let row = first + row_in_group(index);
    // Lanes without a row help with the last one, since all must reach the barriers.
    let start = places_of(min(row, params.count - 1u));
    let skip = start.x & SKIP;
    let x = start.x - skip;
    let out = start.out - skip;
    let end = skip + params.length;
    let step = ROW_LANES * 4u;
    let i_0 = lane * 4u;
    let i_1 = i_0 + step;
    let i_2 = i_1 + step;
    let i_3 = i_2 + step;
    let i_4 = i_3 + step;
    let i_5 = i_4 + step;
    let i_6 = i_5 + step;
    let i_7 = i_6 + step;
    // Written out, since an array with an index would not stay in registers.
    var x_0 = vec4<f32>();
    var x_1 = vec4<f32>();
    var x_2 = vec4<f32>();
    var x_3 = vec4<f32>();
    var x_4 = vec4<f32>();
    var x_5 = vec4<f32>();
    var x_6 = vec4<f32>();
    var x_7 = vec4<f32>();
    if (WHOLE || i_0 < end) { x_0 = x_four(x, params.x_stride, i_0, end); }
    if (QUADS > 1u && (WHOLE || i_1 < end)) { x_1 = x_four(x, params.x_stride, i_1, end); }
    if (QUADS > 2u && (WHOLE || i_2 < end)) { x_2 = x_four(x, params.x_stride, i_2, end); }
    if (QUADS > 3u && (WHOLE || i_3 < end)) { x_3 = x_four(x, params.x_stride, i_3, end); }
    if (QUADS > 4u && (WHOLE || i_4 < end)) { x_4 = x_four(x, params.x_stride, i_4, end); }
    if (QUADS > 5u && (WHOLE || i_5 < end)) { x_5 = x_four(x, params.x_stride, i_5, end); }
    if (QUADS > 6u && (WHOLE || i_6 < end)) { x_6 = x_four(x, params.x_stride, i_6, end); }
    if (QUADS > 7u && (WHOLE || i_7 < end)) { x_7 = x_four(x, params.x_stride, i_7, end); }
    var mine = quad_lifted(x_0, i_0 - skip);
    if (QUADS > 1u) { mine = combine(mine, quad_lifted(x_1, i_1 - skip)); }
    if (QUADS > 2u) { mine = combine(mine, quad_lifted(x_2, i_2 - skip)); }
    if (QUADS > 3u) { mine = combine(mine, quad_lifted(x_3, i_3 - skip)); }
    if (QUADS > 4u) { mine = combine(mine, quad_lifted(x_4, i_4 - skip)); }
    if (QUADS > 5u) { mine = combine(mine, quad_lifted(x_5, i_5 - skip)); }
    if (QUADS > 6u) { mine = combine(mine, quad_lifted(x_6, i_6 - skip)); }
    if (QUADS > 7u) { mine = combine(mine, quad_lifted(x_7, i_7 - skip)); }
    let row_stats = stats(reduced(mine, lanes));
    if (row >= params.count) { return; }
    if (WHOLE || i_0 < end) {
        out_store_four(out, params.out_stride, i_0, skip, end, mapped(x_0, row_stats, start.affine, i_0 - skip));
    }
    if (QUADS > 1u && (WHOLE || i_1 < end)) {
        out_store_four(out, params.out_stride, i_1, skip, end, mapped(x_1, row_stats, start.affine, i_1 - skip));
    }
    if (QUADS > 2u && (WHOLE || i_2 < end)) {
        out_store_four(out, params.out_stride, i_2, skip, end, mapped(x_2, row_stats, start.affine, i_2 - skip));
    }
    if (QUADS > 3u && (WHOLE || i_3 < end)) {
        out_store_four(out, params.out_stride, i_3, skip, end, mapped(x_3, row_stats, start.affine, i_3 - skip));
    }
    if (QUADS > 4u && (WHOLE || i_4 < end)) {
        out_store_four(out, params.out_stride, i_4, skip, end, mapped(x_4, row_stats, start.affine, i_4 - skip));
    }
    if (QUADS > 5u && (WHOLE || i_5 < end)) {
        out_store_four(out, params.out_stride, i_5, skip, end, mapped(x_5, row_stats, start.affine, i_5 - skip));
    }
    if (QUADS > 6u && (WHOLE || i_6 < end)) {
        out_store_four(out, params.out_stride, i_6, skip, end, mapped(x_6, row_stats, start.affine, i_6 - skip));
    }
    if (QUADS > 7u && (WHOLE || i_7 < end)) {
        out_store_four(out, params.out_stride, i_7, skip, end, mapped(x_7, row_stats, start.affine, i_7 - skip));
    }
}
