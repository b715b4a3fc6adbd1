// The sum over a workgroup, by halving through workgroup memory. The workgroup's size must be a power of two.
struct Lanes { @builtin(local_invocation_index) lane: u32 }
var<workgroup> partial_sums: array<Accumulator, WORKGROUP>;
fn workgroup_sum(value: Accumulator, lanes: Lanes) -> Accumulator {
    partial_sums[lanes.lane] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if (lanes.lane < half) { partial_sums[lanes.lane] += partial_sums[lanes.lane + half]; }
        workgroupBarrier();
    }
    return partial_sums[0];
}
