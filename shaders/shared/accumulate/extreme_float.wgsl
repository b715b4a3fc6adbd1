// The largest of floats, or the smallest: `better` says which, and EXTREME holds the bits of what is worse than all
// others. Beside it the largest magnitude, as bits: it shows whether there was a NaN, whatever comparisons make of one.
alias Accumulator = vec2<u32>;
fn identity() -> Accumulator { return vec2<u32>(EXTREME, 0u); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator {
    return vec2<u32>(bitcast<u32>(better(bitcast<f32>(a.x), bitcast<f32>(b.x))), max(a.y, b.y));
}
fn lift(four: Numbers, at: u32) -> Accumulator {
    let sizes = bitcast<vec4<u32>>(four) & vec4<u32>(0x7fffffffu);
    let best = better(better(four.x, four.y), better(four.z, four.w));
    return vec2<u32>(bitcast<u32>(best), max(max(sizes.x, sizes.y), max(sizes.z, sizes.w)));
}
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    return lift(bitcast<vec4<f32>>(select(vec4<u32>(EXTREME), bitcast<vec4<u32>>(four), valid)), at);
}
