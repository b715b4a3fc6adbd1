// Q6_K: 256 elements in 210 bytes, in groups of 16.
//     0: 128 bytes of the lower four bits of q. 64 of them hold 128 elements: their lower halves the first 64.
//     128: 64 bytes of the upper two. 32 of them hold 128 elements: their lowest bits the first 32, and so on.
//     192: for each group a signed byte, its scale    208: half d
// x = d * scale * (q - 32): 11 bits by 7 by 5, since the 128 and 32 that need another bit are powers of two.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let upper = part / 16u;
    let low = words_at_even(block, upper * 16u + (part & 7u) * 2u) >> vec2<u32>(((part / 8u) & 1u) * 4u);
    let high = words_at_even(block, 32u + upper * 8u + (part & 3u) * 2u) << vec2<u32>(6u - ((part / 4u) & 3u) * 2u);
    let bytes = ((low & vec2<u32>(0x0f0f0f0fu)) << vec2<u32>(2u)) | (high & vec2<u32>(0xc0c0c0c0u));
    // 4 * (q - 32)
    return bytes ^ vec2<u32>(0x80808080u);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    let place = block + 192u + part / 2u;
    // The byte as the uppermost one, and down again with its sign.
    let scale = f32(i32(this_data[place / 4u] << ((~place & 3u) * 8u)) >> 24u);
    return vec2<f32>(half_at(block + 208u) * scale * 0.25, -0.0);
}
