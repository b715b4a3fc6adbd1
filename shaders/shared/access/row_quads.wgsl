// Four neighbouring results of a row by one store. Places are multiples of four, and four are left.
alias this_Stored = this_Quad;
fn this_store_four(start: u32, stride: u32, index: u32, begin: u32, end: u32, value: this_Native) {
    this_data[(start + index) / 4u] = this_pack(value);
}
