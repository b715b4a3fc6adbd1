// uint32. Copies of every 4-byte type use it too: bits go through unchanged.
alias this_Quad = vec4<u32>;
alias this_Native = vec4<u32>;
const this_PER_WORD: u32 = 1u;
fn this_unpack(quad: this_Quad) -> this_Native { return quad; }
fn this_pack(value: this_Native) -> this_Quad { return value; }
fn this_element(word: u32, index: u32) -> u32 { return word; }
fn this_bits(value: u32) -> u32 { return value; }
