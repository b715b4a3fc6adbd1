// An operand without gaps: one load for four elements. The offset counts quads.
alias this_Stored = this_Quad;
fn this_load(quad: u32, four: Four) -> this_Native { return this_unpack(this_data[params.this_offset + quad]); }
