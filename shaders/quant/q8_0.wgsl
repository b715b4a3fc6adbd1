// Q8_0: 32 elements in 34 bytes.
//     0: half d    2: 32 signed bytes q
// x = d * q: 11 bits by 8.
fn decode_eight(block: u32, part: u32) -> Eight {
    let q = words_at_even(block + 2u + part * 8u) ^ vec2<u32>(0x80808080u);
    let d = half_at(block);
    return Eight(numbers(q.x, 128.0) * d, numbers(q.y, 128.0) * d);
}
