// The results `index` to `index + 3` of a vector with any stride, a word each; none from `end` on.
alias this_Stored = u32;
fn this_store_four(start: u32, stride: u32, index: u32, end: u32, four: this_Native) {
    let place = start + index * stride;
    if (index < end) { this_data[place] = this_bits(four.x); }
    if (index + 1u < end) { this_data[place + stride] = this_bits(four.y); }
    if (index + 2u < end) { this_data[place + 2u * stride] = this_bits(four.z); }
    if (index + 3u < end) { this_data[place + 3u * stride] = this_bits(four.w); }
}
