// float16, two to a word, computed in float32. No device feature is needed.
// Rounding is done here: pack2x16float may round either way and says nothing of overflow.
alias this_Quad = vec2<u32>;
alias this_Native = vec4<f32>;
const this_PER_WORD: u32 = 2u;
fn this_unpack(quad: this_Quad) -> this_Native {
    return vec4<f32>(unpack2x16float(quad.x), unpack2x16float(quad.y));
}
fn this_round(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let sign = (bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u);
    let size = bits & vec4<u32>(0x7fffffffu);
    // Normal results: move the exponent's bias from 127 to 15, round the 13 lost bits to the nearest even.
    let even = (size >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = (size - 0x38000000u + 0xfffu + even) >> vec4<u32>(13u);
    // Subnormal results (below 2^-14): shift the significand, implicit bit included, and round likewise.
    let shift = min(vec4<u32>(126u) - min(size >> vec4<u32>(23u), vec4<u32>(126u)), vec4<u32>(31u));
    let significand = (size & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    let kept = significand >> shift;
    let lost = significand & ((vec4<u32>(1u) << shift) - 1u);
    let half = vec4<u32>(1u) << (max(shift, vec4<u32>(1u)) - 1u);
    let up = (lost > half) | ((lost == half) & ((kept & vec4<u32>(1u)) == vec4<u32>(1u)));
    let subnormal = kept + select(vec4<u32>(0u), vec4<u32>(1u), up);
    var result = select(normal, subnormal, size < vec4<u32>(0x38800000u));
    // 65520 and above round to infinity; NaNs stay NaNs.
    result = select(result, vec4<u32>(0x7c00u), size >= vec4<u32>(0x477ff000u));
    result = select(result, vec4<u32>(0x7e00u), size > vec4<u32>(0x7f800000u));
    return result | sign;
}
fn this_pack(value: this_Native) -> this_Quad {
    let bits = this_round(value);
    return vec2<u32>(bits.x | (bits.y << 16u), bits.z | (bits.w << 16u));
}
fn this_element(word: u32, index: u32) -> f32 {
    let pair = unpack2x16float(word);
    return select(pair.x, pair.y, (index & 1u) == 1u);
}
fn this_bits(value: f32) -> u32 { return this_round(vec4<f32>(value)).x; }
