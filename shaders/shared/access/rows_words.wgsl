// Four results of a 4-byte type, each stored by itself: the place is any, and only `left` of them exist.
alias this_Stored = u32;
fn this_store_rows(place: u32, left: u32, rows: Accumulator) {
    this_data[place] = bitcast<u32>(rows.x);
    if (left > 1u) { this_data[place + 1u] = bitcast<u32>(rows.y); }
    if (left > 2u) { this_data[place + 2u] = bitcast<u32>(rows.z); }
    if (left > 3u) { this_data[place + 3u] = bitcast<u32>(rows.w); }
}
