// The elements `index` to `index + 3` of a vector with any stride; zeros from `end` on.
alias this_Fetched = this_Native;
fn this_fetch(start: u32, stride: u32, index: u32, end: u32) -> this_Fetched {
    return this_four(start, stride, index, end);
}
fn this_opened(fetched: this_Fetched) -> this_Native { return fetched; }
