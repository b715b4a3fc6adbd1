// An operand that is one number, among the parameters.
alias this_Stored = u32;
fn this_load(quad: u32, four: Four) -> this_Native { return this_Native(this_element(params.this_scalar, 0u)); }
