// Products of quantised weights and vectors in floats, sixteen elements at a time.
struct Weights { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }
struct Vector { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

fn weights_at(block: u32, part: u32) -> Weights {
    let first = decode_eight(block, part * 2u);
    let second = decode_eight(block, part * 2u + 1u);
    return Weights(first.low, first.high, second.low, second.high);
}
fn vector_at(vector: u32, place: u32) -> Vector {
    let start = params.x_offset + vector * params.x_vector;
    return Vector(
        vec4<f32>(x_four(start, 1u, place, params.columns)),
        vec4<f32>(x_four(start, 1u, place + 4u, params.columns)),
        vec4<f32>(x_four(start, 1u, place + 8u, params.columns)),
        vec4<f32>(x_four(start, 1u, place + 12u, params.columns)),
    );
}
fn times(w: Weights, x: Vector) -> f32 {
    return (dot(w.a, x.a) + dot(w.b, x.b)) + (dot(w.c, x.c) + dot(w.d, x.d));
}
