// Four neighbouring results by one store. `start` and `index` are multiples of four, `stride` is 1, and four are left.
alias this_Stored = this_Quad;
fn this_store_four(start: u32, stride: u32, index: u32, end: u32, four: this_Native) {
    this_data[(start + index) / 4u] = this_pack(four);
}
