// Q3_K: 256 elements in 110 bytes, in groups of 16.
//     0: 32 bytes of the upper bit of q: byte i has it for elements i, i + 32, and so on, from its lowest bit on
//     32: 64 bytes of the lower two bits. 32 bytes hold 128 elements: their lowest bits the first 32, and so on.
//     96: scales. The halves of 8 bytes are their lower four bits: the lower halves of groups 0..7, the upper of 8..15.
//         The upper two bits are those of 4 bytes: their lowest bits of groups 0..3, and so on.
//     108: half d
// x = d * (scale - 32) * (q - 4): 11 bits by 6 by 3.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let first = (part & 3u) * 2u;
    let low = words_at_even(block, 8u + (part / 16u) * 8u + first) >> vec2<u32>(((part / 4u) & 3u) * 2u);
    let high = words_at_even(block, first) << vec2<u32>(7u - part / 4u);
    // 32 * (q - 4)
    return ((low & vec2<u32>(0x03030303u)) << vec2<u32>(5u)) | (~high & vec2<u32>(0x80808080u));
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    let group = part / 2u;
    let low = byte_at(block + 96u + (group & 7u)) >> ((group / 8u) * 4u);
    let high = byte_at(block + 104u + (group & 3u)) >> ((group / 4u) * 2u);
    let scale = number((low & 0xfu) | ((high & 3u) << 4u), 32.0);
    return vec2<f32>(half_at(block + 108u) * scale * 0.03125, -0.0);
}
