// A result in any layout, a word an element. Offset and strides count elements and wrap around.
alias this_Stored = u32;
fn this_place(at: vec4<u32>) -> u32 {
    let steps = at * params.this_strides;
    return params.this_offset + steps.x + steps.y + steps.z + steps.w;
}
fn this_store(quad: u32, four: Four, value: this_Native) {
    let left = params.count - quad * 4u;
    this_data[this_place(four.x)] = this_bits(value.x);
    if (left > 1u) { this_data[this_place(four.y)] = this_bits(value.y); }
    if (left > 2u) { this_data[this_place(four.z)] = this_bits(value.z); }
    if (left > 3u) { this_data[this_place(four.w)] = this_bits(value.w); }
}
