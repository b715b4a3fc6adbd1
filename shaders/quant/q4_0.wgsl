// Q4_0: 32 elements in 18 bytes.
//     0: half d    2: 16 bytes, whose lower halves are q of elements 0..15, the upper ones of 16..31
// x = d * (q - 8): 11 bits by 4.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let words = words_at_even(block + 2u, (part & 1u) * 2u) << vec2<u32>(4u - (part & 2u) * 2u);
    // 16 * (q - 8)
    return (words & vec2<u32>(0xf0f0f0f0u)) ^ vec2<u32>(0x80808080u);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block) * 0.0625, -0.0);
}
