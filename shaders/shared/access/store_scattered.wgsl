// A result in any layout, a word an element.
alias this_Stored = u32;
fn this_put(at: vec4<u32>, bits: u32) {
    let steps = at * params.this_strides;
    this_data[params.this_offset + steps.x + steps.y + steps.z + steps.w] = bits;
}
fn this_store(quad: u32, four: Four, value: this_Native) {
    let left = params.count - quad * 4u;
    this_put(four.x, this_bits(value.x));
    if (left > 1u) { this_put(four.y, this_bits(value.y)); }
    if (left > 2u) { this_put(four.z, this_bits(value.z)); }
    if (left > 3u) { this_put(four.w, this_bits(value.w)); }
}
