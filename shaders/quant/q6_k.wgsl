// Q6_K: 256 elements in 210 bytes, in groups of 16.
//     0: 128 bytes of the lower four bits of q. 64 of them hold 128 elements: their lower halves the first 64.
//     128: 64 bytes of the upper two. 32 of them hold 128 elements: their lowest bits the first 32, and so on.
//     192: for each group a signed byte, its scale    208: half d
// x = d * scale * (q - 32): 11 bits by 7 by 5, since the 128 and 32 that need another bit are powers of two.
fn decode_eight(block: u32, part: u32) -> Eight {
    let upper = part / 16u;
    let low = words_at_even(block + upper * 64u + (part & 7u) * 8u) >> vec2<u32>(((part / 8u) & 1u) * 4u);
    let high = words_at_even(block + 128u + upper * 32u + (part & 3u) * 8u) >> vec2<u32>(((part / 4u) & 3u) * 2u);
    let q = (low & vec2<u32>(0x0f0f0f0fu)) | ((high & vec2<u32>(0x03030303u)) << vec2<u32>(4u));
    let signed = i32(byte_at(block + 192u + part / 2u) << 24u) >> 24u;
    let scale = half_at(block + 208u) * f32(signed);
    return Eight(numbers(q.x, 32.0) * scale, numbers(q.y, 32.0) * scale);
}
