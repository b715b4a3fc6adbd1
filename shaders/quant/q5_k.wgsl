// Q5_K: 256 elements in 176 bytes, in groups of 32.
//     0: half d    2: half dmin    4: scales and minima, as scale_and_minimum has them
//     16: 32 bytes of the upper bit of q: byte i has it for elements i, i + 32, and so on, from its lowest bit on
//     48: 128 bytes of the lower four bits. 32 of them hold 64 elements: their lower halves the first 32.
// x = d * scale * q - dmin * minimum: the products have 11 bits by 6 by 5, and 11 by 6.
fn decode_eight(block: u32, part: u32) -> Eight {
    let at = block / 4u + (part & 3u) * 2u;
    let place = at + 12u + (part / 8u) * 8u;
    let low = (vec2<u32>(weights[place], weights[place + 1u]) >> vec2<u32>(part & 4u)) & vec2<u32>(0x0f0f0f0fu);
    let high = vec2<u32>(weights[at + 4u], weights[at + 5u]) >> vec2<u32>(part / 4u);
    let q = low | ((high & vec2<u32>(0x01010101u)) << vec2<u32>(4u));
    let group = scale_and_minimum(block, part / 4u);
    return Eight(numbers(q.x, 0.0) * group.x - group.y, numbers(q.y, 0.0) * group.x - group.y);
}
