// bfloat16: the upper half of a float32. Rounded to the nearest, ties to even; a NaN stays a NaN.
alias this_Quad = vec2<u32>;
alias this_Native = vec4<f32>;
const this_PER_WORD: u32 = 2u;
fn this_unpack(quad: this_Quad) -> this_Native {
    return bitcast<vec4<f32>>(vec4<u32>(quad.x << 16u, quad.x & 0xffff0000u, quad.y << 16u, quad.y & 0xffff0000u));
}
fn this_round(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let rounded = (bits + 0x7fffu + ((bits >> vec4<u32>(16u)) & vec4<u32>(1u))) >> vec4<u32>(16u);
    // Compared as bits, since a compiler may assume that no NaN occurs.
    let is_nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    return select(rounded, (bits >> vec4<u32>(16u)) | vec4<u32>(0x40u), is_nan);
}
fn this_pack(value: this_Native) -> this_Quad {
    let bits = this_round(value);
    return vec2<u32>(bits.x | (bits.y << 16u), bits.z | (bits.w << 16u));
}
fn this_element(word: u32, index: u32) -> f32 {
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (index & 1u) == 1u));
}
fn this_bits(value: f32) -> u32 { return this_round(vec4<f32>(value)).x; }
