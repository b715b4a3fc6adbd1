// The weight that four neighbouring elements share.
alias this_Stored = u32;
fn this_affine(start: u32, index: u32) -> vec4<f32> {
    let place = params.this_offset + start + index / params.repeat;
    return vec4<f32>(this_element(this_data[place / this_PER_WORD], place));
}
