// Four results of a row with any stride, each stored by itself.
fn this_store_four(start: u32, stride: u32, index: u32, begin: u32, end: u32, value: this_Native) {
    let place = start + index * stride;
    this_put(place, this_bits(value.x));
    if (index + 1u < end) { this_put(place + stride, this_bits(value.y)); }
    if (index + 2u < end) { this_put(place + 2u * stride, this_bits(value.z)); }
    if (index + 3u < end) { this_put(place + 3u * stride, this_bits(value.w)); }
}
