// Vectors as integers of three digits to base 256, from -128 to 127 each, in units of 32 elements that share a scale: for
// products with weights that are bytes. In `digits` all units' first digits lie one behind the other, of the first 16 elements
// and then of the others, then the second and the third ones likewise; and behind them for each unit its scale, the sums of both
// halves, and whether it was left out.
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
    let of_each = params.columns / 32u;
    let all = params.vectors * of_each;
    if (index >= all) { return; }
    let vector = index / of_each;
    let place = (index - vector * of_each) * 32u;
    let start = params.x_offset + vector * params.x_vector;
    var sizes = vec4<f32>();
    var total = vec4<f32>();
    var count = vec4<f32>();
    // Infinity and NaN are recognised by their bits, since a compiler may assume that there are none.
    var bits = vec4<u32>();
    //! repeat F 8
    let x_{F} = vec4<f32>(x_four(start, 1u, place + {F}u * 4u, params.columns));
    sizes = max(sizes, abs(x_{F}));
    total += abs(x_{F});
    count += ones(x_{F});
    bits = max(bits, bitcast<vec4<u32>>(x_{F}) & vec4<u32>(0x7fffffffu));
    //! end
    let most = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
    // Where one number is far larger than the others, their last digits would be lost. Zeros have none.
    let even = add_up(total) - most >= (add_up(count) - 1.0) * most * 0.00390625;
    let largest = max(max(bits.x, bits.y), max(bits.z, bits.w));
    // From 2^-90 to 2^100: scales and products with them stay far from what is too small or too large. All zeros are fine.
    let left_out = largest != 0u && (!even || largest < 0x12800000u || largest > 0x71800000u);
    let factor = select(0.0, MOST / most, largest != 0u && !left_out);
    //! repeat F 8
    let digits_{F} = digits_of(x_{F} * factor);
    //! end
    digits[index] = vec4<u32>(digits_0.x, digits_1.x, digits_2.x, digits_3.x);
    digits[all + index] = vec4<u32>(digits_4.x, digits_5.x, digits_6.x, digits_7.x);
    digits[2u * all + index] = vec4<u32>(digits_0.y, digits_1.y, digits_2.y, digits_3.y);
    digits[3u * all + index] = vec4<u32>(digits_4.y, digits_5.y, digits_6.y, digits_7.y);
    digits[4u * all + index] = vec4<u32>(digits_0.z, digits_1.z, digits_2.z, digits_3.z);
    digits[5u * all + index] = vec4<u32>(digits_4.z, digits_5.z, digits_6.z, digits_7.z);
    let low = add_up((x_0 + x_1) + (x_2 + x_3));
    let high = add_up((x_4 + x_5) + (x_6 + x_7));
    let about = select(vec3<f32>(most / MOST, low, high), vec3<f32>(), left_out);
    digits[6u * all + index] = vec4<u32>(bitcast<vec3<u32>>(about), select(0u, 1u, left_out));
}
