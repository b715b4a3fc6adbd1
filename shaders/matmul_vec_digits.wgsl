// Vectors as integers of three digits to base 256, from -128 to 127 each, in units of 32 elements that share a scale:
// for products with weights that are bytes. In `digits` all units' first digits lie one behind the other, of the first
// 16 elements and then of the others, then the second and the third ones likewise; and behind them for each unit its
// scale, the sums of both halves, and whether it was left out.
struct Params {
    // Places and strides count elements.
    x_offset: u32,
    x_vector: u32,
    columns: u32,
    vectors: u32,
}
var<immediate> params: Params;

//! import {X} as x
//! import {X_ACCESS} as x

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read_write> digits: array<u32>;

override WORKGROUP: u32 = 64u;
// The largest magnitude becomes this: 127 with two digits behind it.
const MOST: f32 = 8323072.0;

// Of four elements the largest magnitude, the sum of magnitudes, how many are not zero, and the sum.
var<workgroup> gathered: array<vec4<f32>, WORKGROUP>;
// Their largest bits: infinity and NaN are recognised by these, since a compiler may assume that there are none.
var<workgroup> gathered_bits: array<u32, WORKGROUP>;

// The digits of four numbers, from the highest to the lowest.
fn digits_of(numbers: vec4<f32>) -> vec3<u32> {
    let n = vec4<i32>(round(numbers));
    let low = ((n + 128) & vec4<i32>(255)) - 128;
    let rest = (n - low) >> vec4<u32>(8u);
    let middle = ((rest + 128) & vec4<i32>(255)) - 128;
    let high = (rest - middle) >> vec4<u32>(8u);
    return vec3<u32>(pack4xI8(high), pack4xI8(middle), pack4xI8(low));
}
fn add_up(numbers: vec4<f32>) -> f32 { return (numbers.x + numbers.y) + (numbers.z + numbers.w); }

// Eight invocations have a unit, four elements each.
@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    let of_each = params.columns / 32u;
    let all = params.vectors * of_each;
    let unit = index / 8u;
    let exists = unit < all;
    let place = index % 8u;
    let vector = min(unit / of_each, params.vectors - 1u);
    let column = min(unit - vector * of_each, of_each - 1u) * 32u + place * 4u;
    let x = vec4<f32>(x_four(params.x_offset + vector * params.x_vector, 1u, column, params.columns));
    let sizes = abs(x);
    let is_some = select(vec4<f32>(), vec4<f32>(1.0), x != vec4<f32>());
    let x_bits = bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
    let most_of_four = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
    gathered[lane] = vec4<f32>(most_of_four, add_up(sizes), add_up(is_some), add_up(x));
    gathered_bits[lane] = max(max(x_bits.x, x_bits.y), max(x_bits.z, x_bits.w));
    workgroupBarrier();
    let first = lane - place;
    var most = 0.0;
    var total = 0.0;
    var count = 0.0;
    var bits = 0u;
    var sums = vec2<f32>();
    for (var i = 0u; i < 8u; i += 1u) {
        let four = gathered[first + i];
        most = max(most, four.x);
        total += four.y;
        count += four.z;
        bits = max(bits, gathered_bits[first + i]);
        sums[i / 4u] += four.w;
    }
    // Where one number is far larger than the others, their last digits would be lost. Zeros have none.
    let even = total - most >= (count - 1.0) * most * 0.00390625;
    // From 2^-60 to 2^100 scales, and products with those of weights, stay far from what is too small or too large. All
    // zeros are fine.
    let left_out = bits != 0u && (!even || bits < 0x21800000u || bits > 0x71800000u);
    let words = digits_of(x * select(0.0, MOST / most, bits != 0u && !left_out));
    if (!exists) { return; }
    // A digit has two groups of four words for each unit.
    let at = (place / 4u * all + unit) * 4u + place % 4u;
    digits[at] = words.x;
    digits[at + 8u * all] = words.y;
    digits[at + 16u * all] = words.z;
    if (place < 4u) {
        let about = vec4<u32>(bitcast<u32>(most / MOST), bitcast<vec2<u32>>(sums), 0u);
        digits[(6u * all + unit) * 4u + place] = select(about, vec4<u32>(0u, 0u, 0u, 1u), vec4<bool>(left_out))[place];
    }
}
