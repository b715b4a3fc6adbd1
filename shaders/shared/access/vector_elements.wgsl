// The elements `index` to `index + 3` of a vector with any stride; zeros from `end` on.
alias this_Stored = u32;
fn this_four(start: u32, stride: u32, index: u32, end: u32) -> this_Native {
    var four = this_Native();
    let x = start + index * stride;
    let y = x + stride;
    let z = y + stride;
    let w = z + stride;
    if (index < end) { four.x = this_element(this_data[x / this_PER_WORD], x); }
    if (index + 1u < end) { four.y = this_element(this_data[y / this_PER_WORD], y); }
    if (index + 2u < end) { four.z = this_element(this_data[z / this_PER_WORD], z); }
    if (index + 3u < end) { four.w = this_element(this_data[w / this_PER_WORD], w); }
    return four;
}
// The same where all four are there.
fn this_whole_four(start: u32, stride: u32, index: u32) -> this_Native {
    let x = start + index * stride;
    let y = x + stride;
    let z = y + stride;
    let w = z + stride;
    return this_Native(
        this_element(this_data[x / this_PER_WORD], x),
        this_element(this_data[y / this_PER_WORD], y),
        this_element(this_data[z / this_PER_WORD], z),
        this_element(this_data[w / this_PER_WORD], w),
    );
}
