// IQ4_XS: 256 elements in 136 bytes, in groups of 32.
//     0: half d    2: 16 bits, the upper two of each group's scale    4: 4 bytes, whose halves are the lower four
//     8: for each group 16 bytes, whose lower halves are q of its elements 0..15, the upper ones of 16..31
// x = d * (scale - 32) * table[q]: 11 bits by 5 by 7, since the 32 that needs another bit is a power of two.
fn decode_eight(block: u32, part: u32) -> Eight {
    let at = block / 4u;
    let group = part / 4u;
    let place = at + 2u + group * 4u + (part & 1u) * 2u;
    let q = (vec2<u32>(weights[place], weights[place + 1u]) >> vec2<u32>((part & 2u) * 2u)) & vec2<u32>(0x0f0f0f0fu);
    let head = weights[at];
    let scale_low = (weights[at + 1u] >> (group * 4u)) & 0xfu;
    let scale_high = (head >> (16u + group * 2u)) & 3u;
    let scale = half_of(head) * f32(i32(scale_low | (scale_high << 4u)) - 32);
    return Eight(
        numbers(looked_up(q.x, IQ4_TABLE), 128.0) * scale,
        numbers(looked_up(q.y, IQ4_TABLE), 128.0) * scale,
    );
}
