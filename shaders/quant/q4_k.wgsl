// Q4_K: 256 elements in 144 bytes, in groups of 32.
//     0: half d    2: half dmin    4: scales and minima, as scaling_of_group has them
//     16: 128 bytes. 32 of them hold 64 elements: their lower halves are q of the first 32.
// x = d * scale * q - dmin * minimum: the products have 11 bits by 6 by 4, and 11 by 6.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let words = two_words(block / 4u + 4u + (part / 8u) * 8u + (part & 3u) * 2u);
    return (words >> vec2<u32>(part & 4u)) & vec2<u32>(0x0f0f0f0fu);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return scaling_of_group(block, part / 4u);
}
