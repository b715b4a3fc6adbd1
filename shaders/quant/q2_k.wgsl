// Q2_K: 256 elements in 84 bytes, in groups of 16.
//     0: for each group a byte, the lower half its scale, the upper one its minimum
//     16: 64 bytes of four q each. 32 bytes hold 128 elements: their lowest bits the first 32, and so on.
//     80: half d    82: half dmin
// x = d * scale * q - dmin * minimum: the products have 11 bits by 4 by 2, and 11 by 4.
fn decode_eight(block: u32, part: u32) -> Eight {
    let at = block / 4u;
    let place = at + 4u + (part / 16u) * 8u + (part & 3u) * 2u;
    let shift = vec2<u32>(((part / 4u) & 3u) * 2u);
    let q = (vec2<u32>(weights[place], weights[place + 1u]) >> shift) & vec2<u32>(0x03030303u);
    let group = weights[at + part / 8u] >> (((part / 2u) & 3u) * 8u);
    let halves = weights[at + 20u];
    let scale = half_of(halves) * f32(i32(group & 0xfu));
    let minimum = half_of(halves >> 16u) * f32(i32((group >> 4u) & 0xfu));
    return Eight(numbers(q.x, 0.0) * scale - minimum, numbers(q.y, 0.0) * scale - minimum);
}
