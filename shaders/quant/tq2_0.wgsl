// TQ2_0: 256 elements in 66 bytes.
//     0: 64 bytes of four q each. 32 of them hold 128 elements: their lowest bits the first 32, and so on.
//     64: half d
// x = d * (q - 1): 11 bits by 2.
fn decode_eight(block: u32, part: u32) -> Eight {
    let words = words_at_even(block + (part / 16u) * 32u + (part & 3u) * 8u);
    let q = (words >> vec2<u32>(((part / 4u) & 3u) * 2u)) & vec2<u32>(0x03030303u);
    let d = half_at(block + 64u);
    return Eight(numbers(q.x, 1.0) * d, numbers(q.y, 1.0) * d);
}
