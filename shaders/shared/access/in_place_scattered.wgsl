// An operand that is the output itself, in any layout, a word an element.
alias this_Stored = u32;
fn this_load(quad: u32, four: Four) -> this_Native {
    return this_Native(
        this_element(out_data[out_place(four.x)], 0u),
        this_element(out_data[out_place(four.y)], 0u),
        this_element(out_data[out_place(four.z)], 0u),
        this_element(out_data[out_place(four.w)], 0u),
    );
}
