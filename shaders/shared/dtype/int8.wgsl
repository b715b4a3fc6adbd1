// int8, four to a word.
alias this_Quad = u32;
alias this_Native = vec4<i32>;
const this_PER_WORD: u32 = 4u;
fn this_unpack(quad: this_Quad) -> this_Native {
    let bits = vec4<i32>(i32(quad), i32(quad), i32(quad), i32(quad));
    return (bits << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}
fn this_pack(value: this_Native) -> this_Quad {
    let bits = bitcast<vec4<u32>>(value) & vec4<u32>(0xffu);
    return bits.x | (bits.y << 8u) | (bits.z << 16u) | (bits.w << 24u);
}
fn this_element(word: u32, index: u32) -> i32 {
    return (i32(word) << (24u - (index & 3u) * 8u)) >> 24u;
}
fn this_bits(value: i32) -> u32 { return bitcast<u32>(value) & 0xffu; }
