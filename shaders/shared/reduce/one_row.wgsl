// For kernels that reduce with a whole workgroup: import this, and reduce/shared or reduce/subgroups.
//
// They need an `override WORKGROUP`, which is the workgroup's size and a power of two, an `alias Accumulator`, an
// `fn identity() -> Accumulator` and an `fn combine(a: Accumulator, b: Accumulator) -> Accumulator`. The entry point takes
// an argument `lanes: Lanes`. In uniform control flow each invocation calls `reduced(mine, lanes)` and gets the total.
const ROWS: u32 = 1u;
const ROWS_FASTEST: bool = false;
override ROW_LANES: u32 = WORKGROUP;
override GATHERED: u32 = WORKGROUP;
fn lane_in_row(index: u32) -> u32 { return index; }
