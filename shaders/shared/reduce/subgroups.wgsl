// What the lanes of a row have gathered, combined within subgroups first. Each of them gets the total. The lanes of a
// row are neighbours: a part of a subgroup, or the whole workgroup.
struct Lanes {
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
    @builtin(num_subgroups) subgroups: u32,
}
// Invocations need not lie in subgroups in the order of their own index.
fn lane_index(lanes: Lanes) -> u32 { return lanes.subgroup * (WORKGROUP / lanes.subgroups) + lanes.subgroup_lane; }
var<workgroup> gathered: array<Accumulator, GATHERED>;
fn over_subgroup(mine: Accumulator, size: u32) -> Accumulator {
    var total = mine;
    for (var mask = 1u; mask < size; mask *= 2u) { total = combine(total, subgroupShuffleXor(total, mask)); }
    return total;
}
fn reduced(mine: Accumulator, lanes: Lanes) -> Accumulator {
    if (ROW_LANES < WORKGROUP) { return over_subgroup(mine, ROW_LANES); }
    let size = WORKGROUP / lanes.subgroups;
    let total = over_subgroup(mine, size);
    if (lanes.subgroup_lane == 0u) { gathered[lanes.subgroup] = total; }
    workgroupBarrier();
    var all = identity();
    for (var i = lanes.subgroup_lane; i < lanes.subgroups; i += size) { all = combine(all, gathered[i]); }
    return over_subgroup(all, size);
}
