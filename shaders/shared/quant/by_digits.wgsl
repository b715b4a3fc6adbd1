// Products of quantised weights and vectors in integers, sixteen elements at a time: weights are bytes and a scale, the
// vectors were cut into three digits of a byte each (matmul_vec_digits.wgsl), which is as exact as float32 is. Machines
// multiply four bytes at once.
struct Weights { q: vec4<u32>, scaling: vec2<f32>, block: u32, part: u32 }
struct Vector { high: vec4<u32>, middle: vec4<u32>, low: vec4<u32>, about: vec4<u32>, vector: u32, place: u32 }

fn weights_at(block: u32, part: u32) -> Weights {
    let q = vec4<u32>(packed_eight(block, part * 2u), packed_eight(block, part * 2u + 1u));
    return Weights(q, scaling(block, part * 2u), block, part);
}
fn vector_at(vector: u32, place: u32) -> Vector {
    let groups = params.columns / 16u;
    let digit = params.vectors * groups;
    let at = vector * groups + place / 16u;
    let two = digit + digit;
    return Vector(digits[at], digits[at + digit], digits[at + two], digits[at + two + digit], vector, place);
}
fn sum_of_products(q: vec4<u32>, digit: vec4<u32>) -> f32 {
    let first = dot4I8Packed(q.x, digit.x) + dot4I8Packed(q.y, digit.y);
    return f32(first + dot4I8Packed(q.z, digit.z) + dot4I8Packed(q.w, digit.w));
}
fn times(w: Weights, x: Vector) -> f32 {
    // What digits do not hold well is multiplied as it is.
    if (x.about.z != 0u) { return times_as_is(w, x); }
    let low = fma(sum_of_products(w.q, x.middle), 256.0, sum_of_products(w.q, x.low));
    let sum = fma(sum_of_products(w.q, x.high), 65536.0, low);
    return (w.scaling.x * bitcast<f32>(x.about.x)) * sum + w.scaling.y * bitcast<f32>(x.about.y);
}
fn times_as_is(w: Weights, x: Vector) -> f32 {
    let start = params.x_offset + x.vector * params.x_vector;
    var sum = 0.0;
    for (var i = 0u; i < 2u; i += 1u) {
        let eight = decode_eight(w.block, w.part * 2u + i);
        let place = x.place + i * 8u;
        sum += dot(eight.low, vec4<f32>(x_four(start, 1u, place, params.columns)));
        sum += dot(eight.high, vec4<f32>(x_four(start, 1u, place + 4u, params.columns)));
    }
    return sum;
}
