// Four results of any type by one store. The place is a multiple of four, and padding follows the last results.
alias this_Stored = this_Quad;
fn this_store_rows(place: u32, left: u32, rows: Accumulator) { this_data[place / 4u] = this_pack(this_Native(rows)); }
