// uint8, four to a word. Copies of every 1-byte type use it too.
alias this_Quad = u32;
alias this_Native = vec4<u32>;
const this_PER_WORD: u32 = 4u;
fn this_unpack(quad: this_Quad) -> this_Native {
    return (vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
}
fn this_pack(value: this_Native) -> this_Quad {
    let bits = value & vec4<u32>(0xffu);
    return bits.x | (bits.y << 8u) | (bits.z << 16u) | (bits.w << 24u);
}
fn this_element(word: u32, index: u32) -> u32 {
    return (word >> ((index & 3u) * 8u)) & 0xffu;
}
fn this_bits(value: u32) -> u32 { return value & 0xffu; }
