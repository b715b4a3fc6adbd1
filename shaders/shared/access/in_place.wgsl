// An operand that is the output itself: a buffer cannot be bound twice.
alias this_Stored = u32;
fn this_load(quad: u32, four: Four) -> this_Native { return this_unpack(out_data[params.out_offset + quad]); }
