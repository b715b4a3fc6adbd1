// MXFP4: 32 elements in 17 bytes.
//     0: exponent e    1: 16 bytes, whose lower halves are q of elements 0..15, the upper ones of 16..31
// x = 2^(e - 127) * q, where q has a sign, two bits of exponent and one of fraction: 0 0.5 1 1.5 2 3 4 6. There is no
// negative zero.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let q = codes(block, part);
    return vec2<u32>(doubled(q.x), doubled(q.y));
}

// 2^(e - 128), as doubled values are integers. Where e is 0 or 1 that is subnormal: a GPU that flushes it to zero loses
// elements below 2^-123, products with which are as good as zero.
fn scaling(block: u32, part: u32) -> vec2<f32> {
    let exponent = byte_at(block);
    return vec2<f32>(bitcast<f32>(select((exponent - 1u) << 23u, 0x200000u << exponent, exponent < 2u)), -0.0);
}

// That does not hold for elements themselves, which are exact.
fn decode_eight(block: u32, part: u32) -> Eight {
    let exponent = byte_at(block);
    if (exponent < 2u) {
        let q = codes(block, part);
        return Eight(smallest(q.x, exponent), smallest(q.y, exponent));
    }
    return eight_of(packed_eight(block, part), scaling(block, part));
}

// The lower half of each of eight bytes is q.
fn codes(block: u32, part: u32) -> vec2<u32> {
    return words_at(block + 1u, (part & 1u) * 2u) >> vec2<u32>((part & 2u) * 2u);
}

// For the lower half of each of four bytes twice its value, as a signed byte.
fn doubled(q: u32) -> u32 {
    // 0 1 2 3 are themselves, 4 5 6 7 are 4 6 8 12.
    let low = q & 0x03030303u;
    let large = (q >> 2u) & 0x01010101u;
    let largest = large & low & (low >> 1u);
    let size = low + (low & (large * 3u)) + (large << 2u) + (largest << 1u);
    // 15 - size is all four bits flipped. With 128 added no byte borrows from the next.
    let negative = ((q >> 3u) & 0x01010101u) * 15u;
    return ((size ^ negative) + 0x80808080u - negative) ^ 0x80808080u;
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
