// For formats with a decode_eight of their own: the first or the second four elements of it.
fn decode_four(block: u32, part: u32, second: bool) -> vec4<f32> {
    let eight = decode_eight(block, part);
    return select(eight.low, eight.high, second);
}
