// float16 as WGSL's own f16, for devices that have it: the bits go to cooperative matrices as they are.
alias this_Quad = vec4<f16>;
alias this_Native = vec4<f16>;
const this_PER_WORD: u32 = 2u;
fn this_unpack(quad: this_Quad) -> this_Native { return quad; }
fn this_element(word: u32, index: u32) -> f16 {
    let pair = unpack2x16float(word);
    return f16(select(pair.x, pair.y, (index & 1u) == 1u));
}
