// Q4_0: 32 elements in 18 bytes.
//     0: half d    2: 16 bytes, whose lower halves are q of elements 0..15, the upper ones of 16..31
// x = d * (q - 8): 11 bits by 4.
fn decode_eight(block: u32, part: u32) -> Eight {
    let q = (words_at_even(block + 2u + (part & 1u) * 8u) >> vec2<u32>((part & 2u) * 2u)) & vec2<u32>(0x0f0f0f0fu);
    let d = half_at(block);
    return Eight(numbers(q.x, 8.0) * d, numbers(q.y, 8.0) * d);
}
