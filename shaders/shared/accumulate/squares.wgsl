// Sums of squares of the elements as they are, and made smaller and larger by powers of two: one of the three is
// neither too large for a float nor loses what is small. LARGER² is itself a float, in case a compiler makes it one.
const SMALLER: f32 = 0x1p-96;
const LARGER: f32 = 0x1p63;
alias Accumulator = vec3<f32>;
fn identity() -> Accumulator { return vec3<f32>(0.0); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return a + b; }
fn lift(four: Numbers, at: u32) -> Accumulator {
    let smaller = four * SMALLER;
    let larger = four * LARGER;
    return vec3<f32>(dot(four, four), dot(smaller, smaller), dot(larger, larger));
}
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    return lift(select(vec4<f32>(0.0), four, valid), at);
}
