struct Params {
    // Places and strides count elements. Strides wrap around, so that they may be negative. The outer axis of a is its
    // rows, that of b its columns; the inner one is summed over.
    a_offset: u32,
    a_batch: u32,
    a_outer: u32,
    a_inner: u32,
    b_offset: u32,
    b_batch: u32,
    b_outer: u32,
    b_inner: u32,
    out_offset: u32,
    out_batch: u32,
    out_row: u32,
    out_column: u32,
    // From one split's results to the next one's.
    out_split: u32,
    batches: u32,
    rows: u32,
    columns: u32,
    inner: u32,
    splits: u32,
    // How much of the inner axis a split takes: a multiple of sixteen.
    chunk: u32,
    scale: f32,
}
var<immediate> params: Params;
