// All rows are wanted, in their order.
fn row_of(i: u32) -> u32 { return i; }
