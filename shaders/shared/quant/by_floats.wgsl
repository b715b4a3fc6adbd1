// Products of quantised weights and vectors in floats, eight elements at a time.
const UNIT: u32 = 8u;
struct Weights { low: vec4<f32>, high: vec4<f32> }
struct Vector { low: vec4<f32>, high: vec4<f32>, left_out: u32 }

fn weights_at(block: u32, part: u32) -> Weights {
    let eight = decode_eight(block, part);
    return Weights(eight.low, eight.high);
}
fn vector_at(vector: u32, place: u32) -> Vector {
    let start = params.x_offset + vector * params.x_vector;
    let low = vec4<f32>(x_four(start, 1u, place, params.columns));
    return Vector(low, vec4<f32>(x_four(start, 1u, place + 4u, params.columns)), 0u);
}
fn times(w: Weights, x: Vector) -> f32 { return dot(w.low, x.low) + dot(w.high, x.high); }
// Nothing is left out.
fn others(row: u32, vector: u32, begin: u32, end: u32, step: u32) -> vec4<f32> { return vec4<f32>(); }
