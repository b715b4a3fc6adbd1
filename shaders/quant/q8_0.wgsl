// Q8_0: 32 elements in 34 bytes.
//     0: half d    2: 32 signed bytes q
// x = d * q: 11 bits by 8.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    return words_at_even(block + 2u, part * 2u);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), -0.0);
}
