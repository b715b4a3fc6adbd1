// Vectors as integers of three digits to base 256, from -128 to 127 each, in groups of 16 that share a scale: for products
// with weights that are bytes. The digits of a group are three vectors, in `digits` one behind the other for all groups,
// and a fourth has the scale, the sum of the group, and whether the group has to be taken as it is.
struct Params {
    // Places and strides count elements, groups 16 of them.
    x_offset: u32,
    x_vector: u32,
    columns: u32,
    vectors: u32,
}
var<immediate> params: Params;

//! import {X} as x
//! import {X_ACCESS} as x

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read_write> digits: array<vec4<u32>>;

override WORKGROUP: u32 = 64u;
// The largest magnitude becomes this: 127 with two digits behind it.
const MOST: f32 = 8323072.0;

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
fn ones(numbers: vec4<f32>) -> vec4<f32> { return select(vec4<f32>(), vec4<f32>(1.0), numbers != vec4<f32>()); }

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    let of_each = params.columns / 16u;
    let all = params.vectors * of_each;
    if (index >= all) { return; }
    let vector = index / of_each;
    let place = (index - vector * of_each) * 16u;
    let start = params.x_offset + vector * params.x_vector;
    let a = vec4<f32>(x_four(start, 1u, place, params.columns));
    let b = vec4<f32>(x_four(start, 1u, place + 4u, params.columns));
    let c = vec4<f32>(x_four(start, 1u, place + 8u, params.columns));
    let d = vec4<f32>(x_four(start, 1u, place + 12u, params.columns));
    let sizes = max(max(abs(a), abs(b)), max(abs(c), abs(d)));
    let most = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
    // Where one number is far larger than the others, their last digits would be lost. Zeros have none.
    let total = add_up(abs(a) + abs(b) + (abs(c) + abs(d)));
    let others = add_up(ones(a) + ones(b) + (ones(c) + ones(d))) - 1.0;
    let even = total - most >= others * most * 0.00390625;
    // Infinity and NaN are recognised by their bits, since a compiler may assume that there are none.
    let bits = max(
        max(bitcast<vec4<u32>>(a) & vec4<u32>(0x7fffffffu), bitcast<vec4<u32>>(b) & vec4<u32>(0x7fffffffu)),
        max(bitcast<vec4<u32>>(c) & vec4<u32>(0x7fffffffu), bitcast<vec4<u32>>(d) & vec4<u32>(0x7fffffffu)),
    );
    let largest = max(max(bits.x, bits.y), max(bits.z, bits.w));
    // From 2^-90 to 2^100: scales and products with them stay far from what is too small or too large. All zeros are fine.
    let as_is = largest != 0u && (!even || largest < 0x12800000u || largest > 0x71800000u);
    let factor = select(0.0, MOST / most, largest != 0u && !as_is);
    let digits_a = digits_of(a * factor);
    let digits_b = digits_of(b * factor);
    let digits_c = digits_of(c * factor);
    let digits_d = digits_of(d * factor);
    digits[index] = vec4<u32>(digits_a.x, digits_b.x, digits_c.x, digits_d.x);
    digits[all + index] = vec4<u32>(digits_a.y, digits_b.y, digits_c.y, digits_d.y);
    digits[2u * all + index] = vec4<u32>(digits_a.z, digits_b.z, digits_c.z, digits_d.z);
    digits[3u * all + index] = vec4<u32>(
        bitcast<u32>(most / MOST),
        bitcast<u32>(add_up((a + b) + (c + d))),
        select(0u, 1u, as_is),
        0u,
    );
}
