// Products of quantised weights and vectors in integers, 32 elements at a time: weights are bytes and a scale, vectors
// were cut into three digits of a byte each (matmul_vec_digits.wgsl), which is as exact as float32 is. Machines
// multiply four bytes at once.
const UNIT: u32 = 32u;
// For each half of the 32 elements a scale and an offset.
struct Weights { low: vec4<u32>, high: vec4<u32>, scaling: vec4<f32> }
// For each half three digits; what one is worth, and the sum of each half; whether the unit was left out.
struct Vector {
    a_low: vec4<u32>,
    a_high: vec4<u32>,
    b_low: vec4<u32>,
    b_high: vec4<u32>,
    c_low: vec4<u32>,
    c_high: vec4<u32>,
    scale: f32,
    sums: vec2<f32>,
    left_out: u32,
}

fn weights_at(block: u32, part: u32) -> Weights {
    let low = packed_sixteen(block, part);
    let high = packed_sixteen(block, part + 2u);
    let first = scaling_of_sixteen(block, part);
    if (GROUP == 32u) { return Weights(low, high, vec4<f32>(first, first)); }
    return Weights(low, high, vec4<f32>(first, scaling_of_sixteen(block, part + 2u)));
}
fn vector_at(vector: u32, place: u32) -> Vector {
    // Of a digit, all first halves lie before all second ones.
    let all = params.vectors * (params.columns / UNIT);
    let at = vector * (params.columns / UNIT) + place / UNIT;
    let about = digits[at + 6u * all];
    return Vector(
        digits[at],
        digits[at + all],
        digits[at + 2u * all],
        digits[at + 3u * all],
        digits[at + 4u * all],
        digits[at + 5u * all],
        bitcast<f32>(about.x),
        bitcast<vec2<f32>>(about.yz),
        about.w,
    );
}
fn sum(q: vec4<u32>, digit: vec4<u32>) -> i32 {
    let first = dot4I8Packed(q.x, digit.x) + dot4I8Packed(q.y, digit.y);
    return first + (dot4I8Packed(q.z, digit.z) + dot4I8Packed(q.w, digit.w));
}
fn number_of(a: i32, b: i32, c: i32) -> f32 { return fma(f32(a), 65536.0, fma(f32(b), 256.0, f32(c))); }
fn times(w: Weights, x: Vector) -> f32 {
    let a = vec2<i32>(sum(w.low, x.a_low), sum(w.high, x.a_high));
    let b = vec2<i32>(sum(w.low, x.b_low), sum(w.high, x.b_high));
    let c = vec2<i32>(sum(w.low, x.c_low), sum(w.high, x.c_high));
    if (GROUP == 32u) {
        let whole = number_of(a.x + a.y, b.x + b.y, c.x + c.y);
        return x.scale * (w.scaling.x * whole) + w.scaling.y * (x.sums.x + x.sums.y);
    }
    let whole = w.scaling.x * number_of(a.x, b.x, c.x) + w.scaling.z * number_of(a.y, b.y, c.y);
    return x.scale * whole + (w.scaling.y * x.sums.x + w.scaling.w * x.sums.y);
}
// The products of four rows with the units that digits do not hold well and that were left out, of every `step`
// elements.
fn others(row: u32, vector: u32, begin: u32, end: u32, step: u32) -> vec4<f32> {
    var total = vec4<f32>();
    let start = params.x_offset + vector * params.x_vector;
    for (var i = begin; i < end; i += step) {
        if (vector_at(vector, i).left_out == 0u) { continue; }
        for (var r = 0u; r < 4u; r += 1u) {
            let block = start_of_row(row + r) + i / ELEMENTS * BYTES;
            for (var e = 0u; e < 4u; e += 1u) {
                let eight = decode_eight(block, i % ELEMENTS / 8u + e);
                let place = i + e * 8u;
                total[r] += dot(eight.low, vec4<f32>(x_four(start, 1u, place, params.columns)));
                total[r] += dot(eight.high, vec4<f32>(x_four(start, 1u, place + 4u, params.columns)));
            }
        }
    }
    return total;
}
