// Four neighbouring elements by one load. `start` and `index` are multiples of four, `stride` is 1, and four are left.
alias this_Stored = this_Quad;
fn this_four(start: u32, stride: u32, index: u32, end: u32) -> this_Native {
    return this_unpack(this_data[(start + index) / 4u]);
}
fn this_whole_four(start: u32, stride: u32, index: u32) -> this_Native {
    return this_unpack(this_data[(start + index) / 4u]);
}
