// Four neighbouring elements by one load, unpacked later: `start` and `index` are multiples of four, `stride` is 1.
alias this_Fetched = this_Quad;
fn this_fetch(start: u32, stride: u32, index: u32, end: u32) -> this_Fetched { return this_data[(start + index) / 4u]; }
fn this_opened(fetched: this_Fetched) -> this_Native { return this_unpack(fetched); }
