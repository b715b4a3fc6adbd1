// The bytes of quantised weights, and what several formats share. `this_data` is an array<u32>, declared elsewhere.
// Offsets count bytes. No word is loaded that has none of the bytes that are asked for.
//
// A format defines three functions of `block`, the offset of a block, and of `part`, which stands for the elements
// 8 * part .. 8 * part + 7 of it:
//     packed_eight: eight integers as signed bytes, the first of them the lowest
//     scaling: a scale and an offset, so that elements are scale * integer + offset
//     decode_eight: the elements. Formats that leave it out get it of `integers`.
// The integers may be multiples of a format's own numbers, and the scale then a fraction: 16 * (q - 8) takes fewer
// instructions than q - 8. Where there is nothing to be added the offset is -0, since 0 would change the sign of -0.
//
// What decode_eight of a format computes is exact, however a compiler contracts it: a product is one of a half and of
// small integers, which fits 24 bits, so that fma and a multiplication before an addition round alike. Formats of which
// that is not true say what they do. Nor do subnormal floats arise, which GPUs flush: the smallest half is 2^-24.
struct Eight { low: vec4<f32>, high: vec4<f32> }

// Four signed bytes, scaled.
fn four_of(packed: u32, scaling: vec2<f32>) -> vec4<f32> {
    // Flipping the upper bit of a signed byte adds 128.
    return numbers(packed ^ 0x80808080u, 128.0) * scaling.x + scaling.y;
}
fn eight_of(packed: vec2<u32>, scaling: vec2<f32>) -> Eight {
    return Eight(four_of(packed.x, scaling), four_of(packed.y, scaling));
}

fn byte_at(offset: u32) -> u32 {
    return (this_data[offset / 4u] >> ((offset & 3u) * 8u)) & 0xffu;
}

// Sixteen bits at an even offset, and whatever is above them.
fn sixteen_at(offset: u32) -> u32 {
    return this_data[offset / 4u] >> ((offset & 2u) * 8u);
}

// Two words of the array.
fn two_words(at: u32) -> vec2<u32> { return vec2<u32>(this_data[at], this_data[at + 1u]); }

// Below bytes are some words further than an offset. A compiler would not know that the words leave the alignment as it
// is, and compute it for every place anew.

// Four bytes, an even offset.
fn word_at_even(offset: u32, further: u32) -> u32 {
    let below = this_data[offset / 4u + further];
    let above = this_data[(offset + 3u) / 4u + further];
    return select(below, (below >> 16u) | (above << 16u), (offset & 2u) != 0u);
}

// Eight bytes, an even offset.
fn words_at_even(offset: u32, further: u32) -> vec2<u32> {
    let below = two_words(offset / 4u + further);
    let above = vec2<u32>(below.y, this_data[(offset + 7u) / 4u + further]);
    return select(below, (below >> vec2<u32>(16u)) | (above << vec2<u32>(16u)), (offset & 2u) != 0u);
}

// Eight bytes, any offset.
fn words_at(offset: u32, further: u32) -> vec2<u32> {
    let below = two_words(offset / 4u + further);
    let above = vec2<u32>(below.y, this_data[(offset + 7u) / 4u + further]);
    let shift = vec2<u32>((offset & 3u) * 8u);
    // In two steps, since the shift may be by 32.
    return (below >> shift) | ((above << (31u - shift)) << vec2<u32>(1u));
}

// The two halves of a word. Instructions that convert halves may flush subnormal ones.
fn halves_of(word: u32) -> vec2<f32> {
    let bits = vec2<u32>(word, word >> 16u);
    // A subnormal half is a multiple of 2^-24, here with its sign.
    let sizes = bitcast<vec2<f32>>((bits & vec2<u32>(0x3ffu)) | vec2<u32>(0x4b000000u)) - 0x1p+23;
    let units = bitcast<vec2<f32>>(((bits & vec2<u32>(0x8000u)) << vec2<u32>(16u)) | vec2<u32>(0x33800000u));
    return select(unpack2x16float(word), sizes * units, (bits & vec2<u32>(0x7c00u)) == vec2<u32>(0u));
}

// The half in the lower bits of a word.
fn half_of(bits: u32) -> f32 { return halves_of(bits).x; }

// A half at an even offset.
fn half_at(offset: u32) -> f32 { return half_of(sixteen_at(offset)); }

// An integer below 2^23 as a number, less `zero`, a small integer.
fn number(integer: u32, zero: f32) -> f32 {
    // As the lowest bits of 2^23 it is a float already: GPUs add faster than they convert.
    return bitcast<f32>(integer | 0x4b000000u) - (0x1p+23 + zero);
}

// The four bytes of a word likewise. The second one stays where it is, 256 times as much, and its float is divided.
fn numbers(word: u32, zero: f32) -> vec4<f32> {
    let bytes = vec4<u32>(word & 0xffu, word & 0xff00u, (word & 0xff0000u) >> 16u, word >> 24u);
    let floats = bitcast<vec4<f32>>(bytes | vec4<u32>(0x4b000000u));
    let others = floats.xzw - (0x1p+23 + zero);
    return vec4<f32>(others.x, floats.y * 0x1p-8 - (0x1p+15 + zero), others.yz);
}

// The lowest eight bits as bits of the bytes of two words: of each byte the bit `place`.
fn spread(bits: u32, place: u32) -> vec2<u32> {
    let copies = vec2<u32>(bits & 0xfu, (bits >> 4u) & 0xfu) * (0x204081u << place);
    return copies & vec2<u32>(0x01010101u << place);
}

// For the lower half of each of four bytes the byte of a table.
fn looked_up(codes: u32, table: vec4<u32>) -> u32 {
    // For each bit of the codes a mask that chooses between halves of what is left of the table.
    let bit_0 = (codes & 0x01010101u) * 0xffu;
    let bit_1 = ((codes >> 1u) & 0x01010101u) * 0xffu;
    let bit_2 = ((codes >> 2u) & 0x01010101u) * 0xffu;
    let bit_3 = ((codes >> 3u) & 0x01010101u) * 0xffu;
    // Each entry in all four bytes.
    let entries_0 = (table & vec4<u32>(0xffu)) * 0x01010101u;
    let entries_1 = ((table >> vec4<u32>(8u)) & vec4<u32>(0xffu)) * 0x01010101u;
    let entries_2 = ((table >> vec4<u32>(16u)) & vec4<u32>(0xffu)) * 0x01010101u;
    let entries_3 = (table >> vec4<u32>(24u)) * 0x01010101u;
    let of_two = entries_0 ^ ((entries_0 ^ entries_1) & vec4<u32>(bit_0));
    let of_other_two = entries_2 ^ ((entries_2 ^ entries_3) & vec4<u32>(bit_0));
    let of_four = of_two ^ ((of_two ^ of_other_two) & vec4<u32>(bit_1));
    let of_eight = of_four.xz ^ ((of_four.xz ^ of_four.yw) & vec2<u32>(bit_2));
    return of_eight.x ^ ((of_eight.x ^ of_eight.y) & bit_3);
}

// The 16 values of IQ4, signed bytes: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113.
const IQ4_TABLE: vec4<u32> = vec4<u32>(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);

// The scaling of a group of 32 elements, for q4_k and q5_k. A block begins with two halves, d and dmin, and with what
// they are multiplied by, a scale and a minimum of 6 bits for each of eight groups:
//     4: 4 bytes, scales 0..3    8: 4 bytes, minima 0..3
//     12: 4 bytes, whose halves are the lower four bits of scales and minima 4..7
// The upper two bits of the bytes of scales 0..3 are those of scales 4..7, and so with minima.
fn scaling_of_group(block: u32, group: u32) -> vec2<f32> {
    let at = block / 4u;
    return scaling_by_head(vec4<u32>(two_words(at), two_words(at + 2u)), group);
}
fn scaling_by_head(head: vec4<u32>, group: u32) -> vec2<f32> {
    let first = head.yz;
    let third = head.w;
    // Of all four groups at once, whose shifts are constants then.
    let lower = vec2<u32>(third, third >> 4u) & vec2<u32>(0x0f0f0f0fu);
    let second = lower | ((first >> vec2<u32>(2u)) & vec2<u32>(0x30303030u));
    let sizes = (select(first, second, group >= 4u) >> vec2<u32>((group & 3u) * 8u)) & vec2<u32>(0x3fu);
    let halves = halves_of(head.x);
    return vec2<f32>(halves.x * number(sizes.x, 0.0), -halves.y * number(sizes.y, 0.0));
}
