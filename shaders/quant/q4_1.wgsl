// Q4_1: 32 elements in 20 bytes.
//     0: half d    2: half m    4: 16 bytes, whose lower halves are q of elements 0..15, the upper ones of 16..31
// x = d * q + m: the product has 11 bits by 4.
fn decode_eight(block: u32, part: u32) -> Eight {
    let q = (words_at_whole(block + 4u + (part & 1u) * 8u) >> vec2<u32>((part & 2u) * 2u)) & vec2<u32>(0x0f0f0f0fu);
    let halves = weights[block / 4u];
    let d = half_of(halves);
    let m = half_of(halves >> 16u);
    return Eight(numbers(q.x, 0.0) * d + m, numbers(q.y, 0.0) * d + m);
}
