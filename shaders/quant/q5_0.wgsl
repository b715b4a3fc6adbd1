// Q5_0: 32 elements in 22 bytes.
//     0: half d    2: 32 bits, the upper ones of q
//     6: 16 bytes, whose halves are the lower four bits of q: the lower halves of elements 0..15, the upper of 16..31
// x = d * (q - 16): 11 bits by 5.
fn decode_eight(block: u32, part: u32) -> Eight {
    let low = (words_at_even(block + 6u + (part & 1u) * 8u) >> vec2<u32>((part & 2u) * 2u)) & vec2<u32>(0x0f0f0f0fu);
    let bits = byte_at(block + 2u + part);
    let q = low | (vec2<u32>(spread(bits), spread(bits >> 4u)) << vec2<u32>(4u));
    let d = half_at(block);
    return Eight(numbers(q.x, 16.0) * d, numbers(q.y, 16.0) * d);
}
