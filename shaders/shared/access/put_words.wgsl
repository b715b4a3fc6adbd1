// Single elements of a 4-byte type.
alias this_Stored = u32;
fn this_put(place: u32, bits: u32) { this_data[place] = bits; }
