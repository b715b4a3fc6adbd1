// The parameters of every kernel that works on rows. Places and strides count elements and wrap around, so that
// strides may be negative.
struct Params {
    // The axes before the row.
    shape: vec4<u32>,
    x_strides: vec4<u32>,
    out_strides: vec4<u32>,
    affine_strides: vec4<u32>,
    x_offset: u32,
    out_offset: u32,
    weight_offset: u32,
    bias_offset: u32,
    // From one element of a row to the next.
    x_stride: u32,
    out_stride: u32,
    length: u32,
    // How many rows there are.
    count: u32,
    // How many workgroups share a row, and how many elements each of them takes.
    splits: u32,
    chunk: u32,
    // Where in the whole row these elements begin.
    begin: u32,
    // How many neighbouring elements share a weight.
    repeat: u32,
    divisor: f32,
    eps: f32,
    unused_1: u32,
    unused_2: u32,
}
var<immediate> params: Params;
