// The largest element and the sum of exp(x - largest).
//
// The largest begins at the lowest finite number: then no element that is -inf makes a NaN of inf - inf, and a row of
// nothing else still sums to 0, so that dividing by the sum gives the NaN that the formula does.
alias Accumulator = vec2<f32>;
fn identity() -> Accumulator { return vec2<f32>(-3.4028234663852886e38, 0.0); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator {
    let largest = max(a.x, b.x);
    return vec2<f32>(largest, a.y * exp(a.x - largest) + b.y * exp(b.x - largest));
}
fn lift(four: Numbers, at: u32) -> Accumulator {
    let largest = max(max(max(four.x, four.y), max(four.z, four.w)), -3.4028234663852886e38);
    let powers = exp(four - vec4<f32>(largest));
    return vec2<f32>(largest, (powers.x + powers.y) + (powers.z + powers.w));
}
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    let here = select(vec4<f32>(-3.4028234663852886e38), four, valid);
    let largest = max(max(max(here.x, here.y), max(here.z, here.w)), -3.4028234663852886e38);
    let powers = select(vec4<f32>(0.0), exp(here - vec4<f32>(largest)), valid);
    return vec2<f32>(largest, (powers.x + powers.y) + (powers.z + powers.w));
}
