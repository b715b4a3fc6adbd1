// Q5_1: 32 elements in 24 bytes.
//     0: half d    2: half m    4: 32 bits, the upper ones of q
//     8: 16 bytes, whose halves are the lower four bits of q: the lower halves of elements 0..15, the upper of 16..31
// x = d * q + m: the product has 11 bits by 5.
fn decode_eight(block: u32, part: u32) -> Eight {
    let low = (words_at_whole(block + 8u + (part & 1u) * 8u) >> vec2<u32>((part & 2u) * 2u)) & vec2<u32>(0x0f0f0f0fu);
    let bits = weights[block / 4u + 1u] >> (part * 8u);
    let q = low | (vec2<u32>(spread(bits), spread(bits >> 4u)) << vec2<u32>(4u));
    let halves = weights[block / 4u];
    let d = half_of(halves);
    let m = half_of(halves >> 16u);
    return Eight(numbers(q.x, 0.0) * d + m, numbers(q.y, 0.0) * d + m);
}
