// Q5_K: 256 elements in 176 bytes, in groups of 32.
//     0: half d    2: half dmin    4: scales and minima, as scaling_of_group has them
//     16: 32 bytes of the upper bit of q: byte i has it for elements i, i + 32, and so on, from its lowest bit on
//     48: 128 bytes of the lower four bits. 32 of them hold 64 elements: their lower halves the first 32.
// x = d * scale * q - dmin * minimum: the products have 11 bits by 6 by 5, and 11 by 6.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let at = block / 4u + (part & 3u) * 2u;
    let low = (two_words(at + 12u + (part / 8u) * 8u) >> vec2<u32>(part & 4u)) & vec2<u32>(0x0f0f0f0fu);
    let high = (two_words(at + 4u) >> vec2<u32>(part / 4u)) & vec2<u32>(0x01010101u);
    return low | (high << vec2<u32>(4u));
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return scaling_of_group(block, part / 4u);
}
