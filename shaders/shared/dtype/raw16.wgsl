// Two bytes an element, as unsigned bits: for copies of float16 and bfloat16, which must not touch NaNs or subnormals.
alias this_Quad = vec2<u32>;
alias this_Native = vec4<u32>;
const this_PER_WORD: u32 = 2u;
fn this_unpack(quad: this_Quad) -> this_Native {
    return vec4<u32>(quad.x & 0xffffu, quad.x >> 16u, quad.y & 0xffffu, quad.y >> 16u);
}
fn this_pack(value: this_Native) -> this_Quad {
    return vec2<u32>((value.x & 0xffffu) | (value.y << 16u), (value.z & 0xffffu) | (value.w << 16u));
}
fn this_element(word: u32, index: u32) -> u32 { return (word >> ((index & 1u) * 16u)) & 0xffffu; }
fn this_bits(value: u32) -> u32 { return value & 0xffffu; }
