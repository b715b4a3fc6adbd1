// The bytes of quantised weights, and what several formats share. `weights` is an array<u32>, declared elsewhere.
// Offsets count bytes. No word is loaded that has none of the bytes that are asked for.
//
// What decode_eight of a format computes is exact, however a compiler contracts it: a product is one of a half and of
// small integers, which fits 24 bits, so that fma and a multiplication before an addition round alike. Formats of which
// that is not true say what they do. Nor do subnormal floats arise, which GPUs flush: the smallest half is 2^-24.
struct Eight { low: vec4<f32>, high: vec4<f32> }

fn byte_at(offset: u32) -> u32 {
    return (weights[offset / 4u] >> ((offset & 3u) * 8u)) & 0xffu;
}

// Sixteen bits at an even offset, and whatever is above them.
fn sixteen_at(offset: u32) -> u32 {
    return weights[offset / 4u] >> ((offset & 2u) * 8u);
}

// Four bytes from any offset.
fn word_at(offset: u32) -> u32 {
    let shift = (offset & 3u) * 8u;
    // In two steps, since the shift may be by 32.
    return (weights[offset / 4u] >> shift) | ((weights[(offset + 3u) / 4u] << (31u - shift)) << 1u);
}

// Eight bytes from any offset.
fn words_at(offset: u32) -> vec2<u32> {
    let at = offset / 4u;
    let shift = vec2<u32>((offset & 3u) * 8u);
    let middle = weights[at + 1u];
    let above = vec2<u32>(middle, weights[(offset + 7u) / 4u]);
    return (vec2<u32>(weights[at], middle) >> shift) | ((above << (31u - shift)) << vec2<u32>(1u));
}

// Eight bytes from an even offset.
fn words_at_even(offset: u32) -> vec2<u32> {
    let at = offset / 4u;
    let below = vec2<u32>(weights[at], weights[at + 1u]);
    let above = vec2<u32>(below.y, weights[(offset + 7u) / 4u]);
    return select(below, (below >> vec2<u32>(16u)) | (above << vec2<u32>(16u)), (offset & 2u) != 0u);
}

// Eight bytes from an offset that is a multiple of 4.
fn words_at_whole(offset: u32) -> vec2<u32> {
    return vec2<u32>(weights[offset / 4u], weights[offset / 4u + 1u]);
}

// The half in the lower bits of a word. Instructions that convert halves may flush subnormal ones.
fn half_of(bits: u32) -> f32 {
    let size = bits & 0x7fffu;
    // The exponent's bias moves from 15 to 127, that of infinity and NaN from 31 to 255.
    let normal = (size << 13u) + select(0x38000000u, 0x70000000u, size >= 0x7c00u);
    let subnormal = bitcast<u32>(f32(size) * 0x1p-24);
    return bitcast<f32>(select(normal, subnormal, size < 0x400u) | ((bits & 0x8000u) << 16u));
}

// A half at an even offset.
fn half_at(offset: u32) -> f32 { return half_of(sixteen_at(offset)); }

// The four bytes of a word as numbers, less `zero`, a small integer. Where bytes are signed, give them with their upper
// bits flipped, and 128 for `zero`.
fn numbers(word: u32, zero: f32) -> vec4<f32> {
    // As the lowest bits of 2^23 they are floats already: GPUs add faster than they convert.
    let bytes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    return bitcast<vec4<f32>>(bytes | vec4<u32>(0x4b000000u)) - (0x1p+23 + zero);
}

// Four bits as the lowest ones of four bytes.
fn spread(bits: u32) -> u32 { return ((bits & 0xfu) * 0x204081u) & 0x01010101u; }

// For each of four bytes that are below 16 the byte of a table.
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

// The 16 values of IQ4: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, with 128 added.
const IQ4_TABLE: vec4<u32> = vec4<u32>(0x3f2d1801u, 0x766a5d4fu, 0xa6998d81u, 0xf1d9c5b5u);

// The scale and the minimum of a group of 32 elements, for q4_k and q5_k. A block begins with two halves, and with what
// they are multiplied by, 6 bits for each of eight groups:
//     4: 4 bytes, scales 0..3    8: 4 bytes, minima 0..3
//     12: 4 bytes, whose halves are the lower four bits of scales and minima 4..7
// The upper two bits of the bytes of scales 0..3 are those of scales 4..7, and so with minima.
fn scale_and_minimum(block: u32, group: u32) -> vec2<f32> {
    let at = block / 4u;
    let shift = (group & 3u) * 8u;
    let first = weights[at + 1u] >> shift;
    let second = weights[at + 2u] >> shift;
    let third = weights[at + 3u] >> shift;
    let both = vec2<u32>(first, second);
    let lower = vec2<u32>(third, third >> 4u) & vec2<u32>(0xfu);
    let upper = (both >> vec2<u32>(2u)) & vec2<u32>(0x30u);
    let sizes = select(both & vec2<u32>(0x3fu), lower | upper, group >= 4u);
    let halves = weights[at];
    return vec2<f32>(half_of(halves), half_of(halves >> 16u)) * vec2<f32>(vec2<i32>(sizes));
}
