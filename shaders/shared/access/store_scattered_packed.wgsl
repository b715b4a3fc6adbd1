// A result in any layout, several elements to a word. Neighbours in a word may belong to other invocations or to
// other data, so each element's own bits are cleared and set atomically; the outcome does not depend on the order.
alias this_Stored = atomic<u32>;
fn this_place(at: vec4<u32>) -> u32 {
    let steps = at * params.this_strides;
    return params.this_offset + steps.x + steps.y + steps.z + steps.w;
}
fn this_put(place: u32, bits: u32) {
    let width = 32u / this_PER_WORD;
    let shift = (place % this_PER_WORD) * width;
    let mask = ((1u << width) - 1u) << shift;
    atomicAnd(&this_data[place / this_PER_WORD], ~mask);
    atomicOr(&this_data[place / this_PER_WORD], bits << shift);
}
fn this_store(quad: u32, four: Four, value: this_Native) {
    let left = params.count - quad * 4u;
    this_put(this_place(four.x), this_bits(value.x));
    if (left > 1u) { this_put(this_place(four.y), this_bits(value.y)); }
    if (left > 2u) { this_put(this_place(four.z), this_bits(value.z)); }
    if (left > 3u) { this_put(this_place(four.w), this_bits(value.w)); }
}
