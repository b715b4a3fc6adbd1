// float32. Four elements are a vec4.
alias this_Quad = vec4<u32>;
alias this_Native = vec4<f32>;
const this_PER_WORD: u32 = 1u;
fn this_unpack(quad: this_Quad) -> this_Native { return bitcast<vec4<f32>>(quad); }
fn this_pack(value: this_Native) -> this_Quad { return bitcast<vec4<u32>>(value); }
fn this_element(word: u32, index: u32) -> f32 { return bitcast<f32>(word); }
fn this_bits(value: f32) -> u32 { return bitcast<u32>(value); }
