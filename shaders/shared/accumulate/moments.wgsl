// Mean and sum of squared differences from it: an accumulator is (count, shift, mean - shift, squares).
//
// The shift is an element, so that numbers far from 0 lose nothing: everything else is made of differences.
// Accumulators are merged as by Chan, Golub and LeVeque.
alias Accumulator = vec4<f32>;
fn identity() -> Accumulator { return vec4<f32>(0.0); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator {
    let count = a.x + b.x;
    let part = b.x / max(count, 1.0);
    let apart = (b.y - a.y) + (b.z - a.z);
    let both = vec4<f32>(count, a.y, a.z + apart * part, a.w + b.w + apart * apart * (a.x * part));
    return select(select(both, a, b.x == 0.0), b, a.x == 0.0);
}
fn lift(four: Numbers, at: u32) -> Accumulator {
    let apart = four - vec4<f32>(four.x);
    let mean = ((apart.x + apart.y) + (apart.z + apart.w)) * 0.25;
    let rest = apart - vec4<f32>(mean);
    return vec4<f32>(4.0, four.x, mean, dot(rest, rest));
}
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    let ones = select(vec4<f32>(0.0), vec4<f32>(1.0), valid);
    let count = (ones.x + ones.y) + (ones.z + ones.w);
    let shift = select(select(select(four.w, four.z, valid.z), four.y, valid.y), four.x, valid.x);
    let apart = select(vec4<f32>(0.0), four - vec4<f32>(shift), valid);
    let mean = ((apart.x + apart.y) + (apart.z + apart.w)) / max(count, 1.0);
    let rest = select(vec4<f32>(0.0), apart - vec4<f32>(mean), valid);
    return vec4<f32>(count, shift, mean, dot(rest, rest));
}
