// out[i] = sum over s of partial[s, i]: the last step of a sum that several workgroups shared.
struct Params {
    partial_offset: u32,
    out_offset: u32,
    count: u32,
    splits: u32,
}
var<immediate> params: Params;

//! import {ACCUMULATOR}

@group(0) @binding(0) var<storage, read> partial_data: array<u32>;
@group(0) @binding(1) var<storage, read_write> out_data: array<u32>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (index >= params.count) { return; }
    var sum = Element();
    for (var s = 0u; s < params.splits; s += 1u) {
        sum += bitcast<Element>(partial_data[params.partial_offset + s * params.count + index]);
    }
    out_data[params.out_offset + index] = bitcast<u32>(sum);
}
