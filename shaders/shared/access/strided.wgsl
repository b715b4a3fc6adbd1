// An operand in any layout. Offset and strides count elements and wrap around, so that they may be negative.
alias this_Stored = u32;
fn this_place(at: vec4<u32>) -> u32 {
    let steps = at * params.this_strides;
    return params.this_offset + steps.x + steps.y + steps.z + steps.w;
}
fn this_load(quad: u32, four: Four) -> this_Native {
    let x = this_place(four.x);
    let y = this_place(four.y);
    let z = this_place(four.z);
    let w = this_place(four.w);
    return this_Native(
        this_element(this_data[x / this_PER_WORD], x),
        this_element(this_data[y / this_PER_WORD], y),
        this_element(this_data[z / this_PER_WORD], z),
        this_element(this_data[w / this_PER_WORD], w),
    );
}
