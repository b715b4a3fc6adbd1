// An operand that is the output itself, in any layout, several elements to a word. Other invocations may be changing
// their own elements of the word meanwhile.
alias this_Stored = u32;
fn this_load(quad: u32, four: Four) -> this_Native {
    let x = out_place(four.x);
    let y = out_place(four.y);
    let z = out_place(four.z);
    let w = out_place(four.w);
    return this_Native(
        this_element(atomicLoad(&out_data[x / this_PER_WORD]), x),
        this_element(atomicLoad(&out_data[y / this_PER_WORD]), y),
        this_element(atomicLoad(&out_data[z / this_PER_WORD]), z),
        this_element(atomicLoad(&out_data[w / this_PER_WORD]), w),
    );
}
