// TQ2_0: 256 elements in 66 bytes.
//     0: 64 bytes of four q each. 32 of them hold 128 elements: their lowest bits the first 32, and so on.
//     64: half d
// x = d * (q - 1): 11 bits by 2.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let words = words_at_even(block, (part / 16u) * 8u + (part & 3u) * 2u);
    let q = (words >> vec2<u32>(((part / 4u) & 3u) * 2u)) & vec2<u32>(0x03030303u);
    // q - 1, of which no byte borrows from the next.
    return (q + vec2<u32>(0x7f7f7f7fu)) ^ vec2<u32>(0x80808080u);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block + 64u), -0.0);
}
