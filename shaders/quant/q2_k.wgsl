// Q2_K: 256 elements in 84 bytes, in groups of 16.
//     0: for each group a byte, the lower half its scale, the upper one its minimum
//     16: 64 bytes of four q each. 32 bytes hold 128 elements: their lowest bits the first 32, and so on.
//     80: half d    82: half dmin
// x = d * scale * q - dmin * minimum: the products have 11 bits by 4 by 2, and 11 by 4.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let words = two_words(block / 4u + 4u + (part / 16u) * 8u + (part & 3u) * 2u);
    return (words >> vec2<u32>(((part / 4u) & 3u) * 2u)) & vec2<u32>(0x03030303u);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    let at = block / 4u;
    let group = this_data[at + part / 8u] >> (((part / 2u) & 3u) * 8u);
    let halves = halves_of(this_data[at + 20u]);
    // The minimum stays where it is, 16 times as much.
    return vec2<f32>(halves.x * number(group & 0xfu, 0.0), halves.y * -0.0625 * number(group & 0xf0u, 0.0));
}
