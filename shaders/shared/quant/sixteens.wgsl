// Sixteen elements of a format as two times eight.
fn packed_sixteen(block: u32, part: u32) -> vec4<u32> {
    return vec4<u32>(packed_eight(block, part), packed_eight(block, part + 1u));
}
fn scaling_of_sixteen(block: u32, part: u32) -> vec2<f32> { return scaling(block, part); }
