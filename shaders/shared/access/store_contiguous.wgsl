// A result without gaps: one store for four elements. The offset counts quads.
alias this_Stored = this_Quad;
fn this_store(quad: u32, four: Four, value: this_Native) { this_data[params.this_offset + quad] = this_pack(value); }
