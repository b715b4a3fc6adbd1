// bool, a byte each, four to a word: 0 or 1 in memory, anything but 0 is true.
alias this_Quad = u32;
alias this_Native = vec4<u32>;
const this_PER_WORD: u32 = 4u;
fn this_unpack(quad: this_Quad) -> this_Native {
    return min((vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu), vec4<u32>(1u));
}
fn this_pack(value: this_Native) -> this_Quad {
    let bits = min(value, vec4<u32>(1u));
    return bits.x | (bits.y << 8u) | (bits.z << 16u) | (bits.w << 24u);
}
fn this_element(word: u32, index: u32) -> u32 {
    return min((word >> ((index & 3u) * 8u)) & 0xffu, 1u);
}
fn this_bits(value: u32) -> u32 { return min(value, 1u); }
