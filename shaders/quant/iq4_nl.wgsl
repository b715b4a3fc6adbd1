// IQ4_NL: 32 elements in 18 bytes.
//     0: half d    2: 16 bytes, whose lower halves are q of elements 0..15, the upper ones of 16..31
// x = d * table[q]: 11 bits by 7.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let q = words_at_even(block + 2u, (part & 1u) * 2u) >> vec2<u32>((part & 2u) * 2u);
    return vec2<u32>(looked_up(q.x, IQ4_TABLE), looked_up(q.y, IQ4_TABLE));
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), -0.0);
}
