// Q4_1: 32 elements in 20 bytes.
//     0: half d    2: half m    4: 16 bytes, whose lower halves are q of elements 0..15, the upper ones of 16..31
// x = d * q + m: the product has 11 bits by 4.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    return (two_words(block / 4u + 1u + (part & 1u) * 2u) >> vec2<u32>((part & 2u) * 2u)) & vec2<u32>(0x0f0f0f0fu);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return halves_of(this_data[block / 4u]);
}
