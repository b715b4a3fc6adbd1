// Q5_1: 32 elements in 24 bytes.
//     0: half d    2: half m    4: 32 bits, the upper ones of q
//     8: 16 bytes, whose halves are the lower four bits of q: the lower halves of elements 0..15, the upper of 16..31
// x = d * q + m: the product has 11 bits by 5.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let at = block / 4u;
    let low = (two_words(at + 2u + (part & 1u) * 2u) >> vec2<u32>((part & 2u) * 2u)) & vec2<u32>(0x0f0f0f0fu);
    return low | spread(this_data[at + 1u] >> (part * 8u), 4u);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return halves_of(this_data[block / 4u]);
}
