// The sum over a workgroup: within subgroups first, then over their sums.
struct Lanes {
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
    @builtin(num_subgroups) subgroups: u32,
}
// No subgroup is smaller than four, so that a quarter of the workgroup's size holds a sum for each.
var<workgroup> partial_sums: array<Accumulator, WORKGROUP / 4u>;
fn workgroup_sum(value: Accumulator, lanes: Lanes) -> Accumulator {
    let sum = subgroupAdd(value);
    if (lanes.subgroup_lane == 0u) { partial_sums[lanes.subgroup] = sum; }
    workgroupBarrier();
    var total = partial_sums[0];
    for (var i = 1u; i < lanes.subgroups; i += 1u) { total += partial_sums[i]; }
    return total;
}
