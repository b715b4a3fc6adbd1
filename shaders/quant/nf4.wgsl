// NF4: 64 elements in 34 bytes.
//     0: half d    2: 32 bytes, whose lower halves are q of elements 0, 2, and so on, the upper ones of 1, 3, and so on
// x = d * table[q], rounded, which is the same everywhere, since it is one multiplication.
fn decode_eight(block: u32, part: u32) -> Eight {
    let word = word_at_even(block + 2u, part);
    let d = half_at(block);
    return Eight(
        of_table(vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) * d,
        of_table(vec4<u32>(word) >> vec4<u32>(16u, 20u, 24u, 28u)) * d,
    );
}

// The entries of the lowest four bits. Arrays that are indexed at run time lie in memory, so each bit chooses between
// halves of what is left of the table.
fn of_table(q: vec4<u32>) -> vec4<f32> {
    let bit_0 = (q & vec4<u32>(1u)) != vec4<u32>(0u);
    let bit_1 = (q & vec4<u32>(2u)) != vec4<u32>(0u);
    let bit_2 = (q & vec4<u32>(4u)) != vec4<u32>(0u);
    let bit_3 = (q & vec4<u32>(8u)) != vec4<u32>(0u);
    let at_0 = select(vec4<f32>(-1.0), vec4<f32>(-0.6961928), bit_0);
    let at_2 = select(vec4<f32>(-0.52507305), vec4<f32>(-0.3949175), bit_0);
    let at_4 = select(vec4<f32>(-0.28444138), vec4<f32>(-0.18477343), bit_0);
    let at_6 = select(vec4<f32>(-0.091050036), vec4<f32>(0.0), bit_0);
    let at_8 = select(vec4<f32>(0.0795803), vec4<f32>(0.1609302), bit_0);
    let at_10 = select(vec4<f32>(0.2461123), vec4<f32>(0.33791524), bit_0);
    let at_12 = select(vec4<f32>(0.44070983), vec4<f32>(0.562617), bit_0);
    let at_14 = select(vec4<f32>(0.72295684), vec4<f32>(1.0), bit_0);
    let below = select(select(at_0, at_2, bit_1), select(at_4, at_6, bit_1), bit_2);
    let above = select(select(at_8, at_10, bit_1), select(at_12, at_14, bit_1), bit_2);
    return select(below, above, bit_3);
}
