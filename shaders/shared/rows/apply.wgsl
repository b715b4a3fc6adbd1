// Rows that no registers hold: what reducing them gave is in `gathered_data`, and here they are read once more and
// mapped. Groups of four as in rows/whole; a workgroup takes `chunk` elements of each of its rows.
override SKIP: u32 = 3u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let block = group.y * groups.x + group.x;
    let split = block % params.splits;
    let row = block / params.splits * ROWS + row_in_group(index);
    if (row >= params.count) { return; }
    let row_stats = stats(gathered_data[row]);
    let start = places_of(row);
    let skip = start.x & SKIP;
    let x = start.x - skip;
    let out = start.out - skip;
    let end = skip + params.length;
    let stop = min((split + 1u) * params.chunk, end);
    let step = ROW_LANES * 4u;
    var i = split * params.chunk + lane_in_row(index) * 4u;
    for (; i + 3u * step < stop; i += 4u * step) {
        let x_0 = x_four(x, params.x_stride, i, end);
        let x_1 = x_four(x, params.x_stride, i + step, end);
        let x_2 = x_four(x, params.x_stride, i + 2u * step, end);
        let x_3 = x_four(x, params.x_stride, i + 3u * step, end);
        let at = params.begin + i - skip;
        let y_0 = mapped(x_0, row_stats, start.affine, at);
        let y_1 = mapped(x_1, row_stats, start.affine, at + step);
        let y_2 = mapped(x_2, row_stats, start.affine, at + 2u * step);
        let y_3 = mapped(x_3, row_stats, start.affine, at + 3u * step);
        out_store_four(out, params.out_stride, i, skip, end, y_0);
        out_store_four(out, params.out_stride, i + step, skip, end, y_1);
        out_store_four(out, params.out_stride, i + 2u * step, skip, end, y_2);
        out_store_four(out, params.out_stride, i + 3u * step, skip, end, y_3);
    }
    for (; i < stop; i += step) {
        let four = x_four(x, params.x_stride, i, end);
        let result = mapped(four, row_stats, start.affine, params.begin + i - skip);
        out_store_four(out, params.out_stride, i, skip, end, result);
    }
}
