// What the elements of a format are that defines no decode_eight of its own: integers by its packed_eight, in the scale
// of its scaling.
fn decode_eight(block: u32, part: u32) -> Eight {
    return eight_of(packed_eight(block, part), scaling(block, part));
}
// The first or the second four of them.
fn decode_four(block: u32, part: u32, second: bool) -> vec4<f32> {
    let packed = packed_eight(block, part);
    return four_of(select(packed.x, packed.y, second), scaling(block, part));
}
