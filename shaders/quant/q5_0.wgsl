// Q5_0: 32 elements in 22 bytes.
//     0: half d    2: 32 bits, the upper ones of q
//     6: 16 bytes, whose halves are the lower four bits of q: the lower halves of elements 0..15, the upper of 16..31
// x = d * (q - 16): 11 bits by 5.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let low = (words_at_even(block + 6u, (part & 1u) * 2u) >> vec2<u32>((part & 2u) * 2u)) & vec2<u32>(0x0f0f0f0fu);
    let bits = sixteen_at(block + 2u + (part & 2u)) >> ((part & 1u) * 8u);
    // 8 * (q - 16)
    return (low << vec2<u32>(3u)) | (spread(bits, 7u) ^ vec2<u32>(0x80808080u));
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block) * 0.125, -0.0);
}
