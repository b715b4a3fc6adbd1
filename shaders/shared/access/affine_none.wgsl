// No weights.
alias this_Stored = u32;
fn this_affine(start: u32, index: u32) -> vec4<f32> { return vec4<f32>(this_NONE); }
