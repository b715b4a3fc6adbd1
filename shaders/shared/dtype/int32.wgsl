// int32.
alias this_Quad = vec4<u32>;
alias this_Native = vec4<i32>;
const this_PER_WORD: u32 = 1u;
fn this_unpack(quad: this_Quad) -> this_Native { return bitcast<vec4<i32>>(quad); }
fn this_pack(value: this_Native) -> this_Quad { return bitcast<vec4<u32>>(value); }
fn this_element(word: u32, index: u32) -> i32 { return bitcast<i32>(word); }
fn this_bits(value: i32) -> u32 { return bitcast<u32>(value); }
