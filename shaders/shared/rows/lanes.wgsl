// How a workgroup is shared out: ROW_LANES invocations to each of ROWS rows, both powers of two. Neighbours belong to
// the same row where its elements lie side by side, and to neighbouring rows where those do.
override ROW_LANES: u32 = 64u;
override ROWS: u32 = 1u;
// How many values workgroup memory holds on the way to a total.
override GATHERED: u32 = 64u;
override ROWS_FASTEST: bool = false;
fn lane_in_row(index: u32) -> u32 {
    if (ROWS_FASTEST) { return index / ROWS; }
    return index % ROW_LANES;
}
fn row_in_group(index: u32) -> u32 {
    if (ROWS_FASTEST) { return index % ROWS; }
    return index / ROW_LANES;
}
