// Q4_K: 256 elements in 144 bytes, in groups of 32.
//     0: half d    2: half dmin    4: scales and minima, as scale_and_minimum has them
//     16: 128 bytes. 32 of them hold 64 elements: their lower halves are q of the first 32.
// x = d * scale * q - dmin * minimum: the products have 11 bits by 6 by 4, and 11 by 6.
fn decode_eight(block: u32, part: u32) -> Eight {
    let place = block / 4u + 4u + (part / 8u) * 8u + (part & 3u) * 2u;
    let q = (vec2<u32>(weights[place], weights[place + 1u]) >> vec2<u32>(part & 4u)) & vec2<u32>(0x0f0f0f0fu);
    let group = scale_and_minimum(block, part / 4u);
    return Eight(numbers(q.x, 0.0) * group.x - group.y, numbers(q.y, 0.0) * group.x - group.y);
}
