// The results `index` to `index + 3` of a vector with any stride, several to a word; none from `end` on. Neighbours in
// a word may belong to other invocations, so each result's own bits are cleared and set atomically.
alias this_Stored = atomic<u32>;
fn this_put(place: u32, bits: u32) {
    let width = 32u / this_PER_WORD;
    let shift = (place % this_PER_WORD) * width;
    let mask = ((1u << width) - 1u) << shift;
    atomicAnd(&this_data[place / this_PER_WORD], ~mask);
    atomicOr(&this_data[place / this_PER_WORD], bits << shift);
}
fn this_store_four(start: u32, stride: u32, index: u32, end: u32, four: this_Native) {
    let place = start + index * stride;
    if (index < end) { this_put(place, this_bits(four.x)); }
    if (index + 1u < end) { this_put(place + stride, this_bits(four.y)); }
    if (index + 2u < end) { this_put(place + 2u * stride, this_bits(four.z)); }
    if (index + 3u < end) { this_put(place + 3u * stride, this_bits(four.w)); }
}
