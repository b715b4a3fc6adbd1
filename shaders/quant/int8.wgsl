// int8: 128 elements in 132 bytes.
//     0: half minimum    2: half maximum    4: 128 bytes q
// x = minimum + q * ((maximum - minimum) / 255), each operation rounded to float32.
//
// The scaling is that up to rounding, for products.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    // q - 128
    return two_words(block / 4u + 1u + part * 2u) ^ vec2<u32>(0x80808080u);
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    let halves = halves_of(this_data[block / 4u]);
    let step = (halves.y - halves.x) * (1.0 / 255.0);
    return vec2<f32>(step, halves.x + step * 128.0);
}

// GPUs need not round divisions correctly, and may contract the rest, where the product does not fit 24 bits. So the
// step and the product are computed by integers: 24 bits by 8 fit 32, and conversions do round correctly. What is left
// are a product with a power of two and a sum.
fn decode_eight(block: u32, part: u32) -> Eight {
    let at = block / 4u;
    let halves = halves_of(this_data[at]);
    let minimum = halves.x;
    let range = halves.y - minimum;
    let bits = bitcast<u32>(range);
    // The range is significand * 2^(exponent - 150), and 256 / 255 of a significand has 24 bits or one more. That is
    // rounded to 24: no multiple of 1/255 or of 1/510 that can occur is a tie.
    let significand = (bits & 0x7fffffu) | 0x800000u;
    let wide = (significand * 256u + 127u) / 255u;
    let wider = wide > 0x1000000u;
    let step = select(wide, (significand * 128u + 127u) / 255u, wider);
    let exponent = ((bits >> 23u) & 0xffu) - select(31u, 30u, wider);
    // 2 to the power that the step needs. A range of zero keeps its sign, and one that is not finite stays so.
    let finite = bitcast<f32>(select(exponent << 23u, 0u, range == 0.0) | (bits & 0x80000000u));
    let power = select(finite, range, (bits & 0x7f800000u) == 0x7f800000u);
    let words = two_words(at + 1u + part * 2u);
    return Eight(
        vec4<f32>(unpack4xU8(words.x) * step) * power + minimum,
        vec4<f32>(unpack4xU8(words.y) * step) * power + minimum,
    );
}
