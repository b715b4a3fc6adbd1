// MXFP4: 32 elements in 17 bytes.
//     0: exponent e    1: 16 bytes, whose lower halves are q of elements 0..15, the upper ones of 16..31
// x = 2^(e - 127) * q, where q has a sign, two bits of exponent and one of fraction: 0 0.5 1 1.5 2 3 4 6. There is no
// negative zero.
fn decode_eight(block: u32, part: u32) -> Eight {
    let words = words_at(block + 1u + (part & 1u) * 8u) >> vec2<u32>((part & 2u) * 2u);
    let q = words & vec2<u32>(0x0f0f0f0fu);
    let exponent = byte_at(block);
    if (exponent < 2u) { return Eight(smallest(q.x, exponent), smallest(q.y, exponent)); }
    // 2^(e - 128), as doubled values are integers.
    let scale = bitcast<f32>((exponent - 1u) << 23u);
    return Eight(numbers(doubled(q.x), 12.0) * scale, numbers(doubled(q.y), 12.0) * scale);
}

// For each of four bytes twice its value, with 12 added.
fn doubled(q: u32) -> u32 {
    // 0 1 2 3 are themselves, 4 5 6 7 are 4 6 8 12.
    let low = q & 0x03030303u;
    let large = (q >> 2u) & 0x01010101u;
    let largest = large & low & (low >> 1u);
    let size = low + (low & (large * 3u)) + (large << 2u) + (largest << 1u);
    // 15 - size is all four bits flipped.
    let negative = ((q >> 3u) & 0x01010101u) * 15u;
    return (size ^ negative) + 0x0c0c0c0cu - negative;
}

// Four elements, some of them subnormal, by integers. As the bits of floats sizes 0..7 go up in even steps where the
// exponent is 1, and where it is 0 in steps of half of that up to 4.
fn smallest(word: u32, exponent: u32) -> vec4<f32> {
    let q = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xfu);
    let size = q & vec4<u32>(7u);
    let halved = max(size << vec4<u32>(21u), (max(size, vec4<u32>(2u)) - 2u) << vec4<u32>(22u));
    let bits = select(halved, size << vec4<u32>(22u), exponent == 1u);
    return bitcast<vec4<f32>>(bits | select(vec4<u32>(0u), vec4<u32>(0x80000000u), q > vec4<u32>(8u)));
}
