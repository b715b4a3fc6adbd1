// What the lanes of a row have gathered, combined by halving through workgroup memory. Each of them gets the total.
struct Lanes { @builtin(local_invocation_index) index: u32 }
fn lane_index(lanes: Lanes) -> u32 { return lanes.index; }
var<workgroup> gathered: array<Accumulator, GATHERED>;
fn reduced(mine: Accumulator, lanes: Lanes) -> Accumulator {
    if (ROW_LANES == 1u) { return mine; }
    let lane = lane_in_row(lanes.index);
    let to_next = select(1u, ROWS, ROWS_FASTEST);
    gathered[lanes.index] = mine;
    workgroupBarrier();
    for (var half = ROW_LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            gathered[lanes.index] = combine(gathered[lanes.index], gathered[lanes.index + half * to_next]);
        }
        workgroupBarrier();
    }
    return gathered[lanes.index - lane * to_next];
}
