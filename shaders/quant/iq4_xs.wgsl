// IQ4_XS: 256 elements in 136 bytes, in groups of 32.
//     0: half d    2: 16 bits, the upper two of each group's scale    4: 4 bytes, whose halves are the lower four
//     8: for each group 16 bytes, whose lower halves are q of its elements 0..15, the upper ones of 16..31
// x = d * (scale - 32) * table[q]: 11 bits by 5 by 7, since the 32 that needs another bit is a power of two.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let q = two_words(block / 4u + 2u + (part / 4u) * 4u + (part & 1u) * 2u) >> vec2<u32>((part & 2u) * 2u);
    return vec2<u32>(looked_up(q.x, IQ4_TABLE), looked_up(q.y, IQ4_TABLE));
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    let group = part / 4u;
    let words = two_words(block / 4u);
    let low = (words.y >> (group * 4u)) & 0xfu;
    let high = (words.x >> (16u + group * 2u)) & 3u;
    return vec2<f32>(half_of(words.x) * number(low | (high << 4u), 32.0), -0.0);
}
