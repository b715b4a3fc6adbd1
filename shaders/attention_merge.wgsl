// Merges what attention summed over parts of the keys: out = sum over parts of f * sums / sum over parts of f * total,
// where f = exp(largest score of the part - largest of all). The order is fixed.
//
// A row of a part has its sums, in whole groups of four, then its largest score and its total. A workgroup merges a
// row: teams of LANES invocations take the parts in turn, a group of four an invocation, and their sums are added up.
struct Params {
    partial_offset: u32,
    out_offset: u32,
    rows: u32,
    splits: u32,
    width: u32,
}
var<immediate> params: Params;

//! import {OUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> partial_data: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 256u;
// A power of two.
override LANES: u32 = 32u;

var<workgroup> all: array<vec4<f32>, WORKGROUP>;

fn power_of_e(x: f32) -> f32 { return exp2(x * 1.4426950408889634); }

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if (row >= params.rows) { return; }
    let quads = (params.width + 3u) / 4u;
    let pitch = quads + 1u;
    let start = params.partial_offset / 4u + row * params.splits * pitch;

    // The largest score and the total of this invocation's parts, then of all.
    var mine = vec4<f32>(partial_data[start + min(lane, params.splits - 1u) * pitch + quads].x, 0.0, 0.0, 0.0);
    for (var i = lane; i < params.splits; i += WORKGROUP) {
        let stats = partial_data[start + i * pitch + quads];
        // Parts without a visible key have the lowest score, and add zeros.
        let largest = max(mine.x, stats.x);
        mine.y = fma(mine.y, power_of_e(mine.x - largest), stats.y * power_of_e(stats.x - largest));
        mine.x = largest;
    }
    all[lane] = mine;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            let other = all[lane + half];
            let largest = max(mine.x, other.x);
            mine.y = mine.y * power_of_e(mine.x - largest) + other.y * power_of_e(other.x - largest);
            mine.x = largest;
            all[lane] = mine;
        }
        workgroupBarrier();
    }
    let largest = all[0].x;
    let total = all[0].y;
    // Rows that see no key are zeros.
    let scale = select(0.0, 1.0 / total, total != 0.0);

    for (var first = 0u; first < quads; first += LANES) {
        let quad = first + lane % LANES;
        var sum = vec4<f32>();
        if (quad < quads) {
            for (var i = lane / LANES; i < params.splits; i += WORKGROUP / LANES) {
                let factor = power_of_e(partial_data[start + i * pitch + quads].x - largest);
                sum = fma(partial_data[start + i * pitch + quad], vec4<f32>(factor), sum);
            }
        }
        workgroupBarrier();
        all[lane] = sum;
        workgroupBarrier();
        for (var half = WORKGROUP / 2u; half >= LANES; half /= 2u) {
            if (lane < half) {
                sum += all[lane + half];
                all[lane] = sum;
            }
            workgroupBarrier();
        }
        if (lane < LANES && quad < quads) {
            out_store_four(params.out_offset + row * params.width, 1u, quad * 4u, params.width, sum * scale);
        }
    }
}
