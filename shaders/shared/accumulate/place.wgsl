// Where the largest element is, or the smallest (SMALLEST); of equal ones the first, and before all others a NaN.
//
// An accumulator is a key and a place. Keys are integers in the order of the elements: comparing those is exact, and
// knows NaNs.
alias Accumulator = vec2<u32>;
fn identity() -> Accumulator { return vec2<u32>(0u, 0xffffffffu); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator {
    return select(a, b, b.x > a.x || (b.x == a.x && b.y < a.y));
}
fn keys(four: Numbers) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(four);
    var key = bits;
    if (KIND == FLOAT) {
        let negative = bits > vec4<u32>(0x80000000u);
        // Zeros of both signs are equal.
        key = select((bits & vec4<u32>(0x7fffffffu)) | vec4<u32>(0x80000000u), ~bits, negative);
    } else if (KIND == SIGNED) {
        key = bits ^ vec4<u32>(0x80000000u);
    }
    if (SMALLEST) { key = ~key; }
    if (KIND == FLOAT) {
        key = select(key, vec4<u32>(0xffffffffu), (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u));
    }
    return key;
}
fn lift(four: Numbers, at: u32) -> Accumulator {
    let key = keys(four);
    return combine(
        combine(vec2<u32>(key.x, at), vec2<u32>(key.y, at + 1u)),
        combine(vec2<u32>(key.z, at + 2u), vec2<u32>(key.w, at + 3u)),
    );
}
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    let key = select(vec4<u32>(0u), keys(four), valid);
    let place = select(vec4<u32>(0xffffffffu), vec4<u32>(at, at + 1u, at + 2u, at + 3u), valid);
    return combine(
        combine(vec2<u32>(key.x, place.x), vec2<u32>(key.y, place.y)),
        combine(vec2<u32>(key.z, place.z), vec2<u32>(key.w, place.w)),
    );
}
