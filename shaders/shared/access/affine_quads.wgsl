// The weights of four neighbouring elements by one load: places are multiples of four.
alias this_Stored = this_Quad;
fn this_affine(start: u32, index: u32) -> vec4<f32> {
    return this_unpack(this_data[(params.this_offset + start + index) / 4u]);
}
