// What an attention kernel is told.
struct Params {
    // Places and strides count elements. Strides wrap around, so that they may be negative.
    q_offset: u32,
    q_batch: u32,
    q_head: u32,
    q_row: u32,
    q_column: u32,
    k_offset: u32,
    k_batch: u32,
    k_head: u32,
    k_row: u32,
    k_column: u32,
    v_offset: u32,
    v_batch: u32,
    v_head: u32,
    v_row: u32,
    v_column: u32,
    mask_offset: u32,
    mask_batch: u32,
    mask_head: u32,
    mask_row: u32,
    mask_column: u32,
    out_offset: u32,
    queries: u32,
    // How many keys there are, or how many of them count in every batch.
    keys: u32,
    // The width of queries and keys in the low half, that of values in the high one.
    widths: u32,
    heads: u32,
    // How many heads share one head of keys.
    group: u32,
    // How many workgroups have work.
    count: u32,
    // How many keys a workgroup walks.
    chunk: u32,
    // How far before its own place a query sees keys, and how far after it.
    left: i32,
    right: i32,
    scale: f32,
    softcap: f32,
}
var<immediate> params: Params;
