// A row's result, at its place in any layout.
fn store_total(row: u32, split: u32, total: Accumulator) {
    let steps = coordinates(row, params.shape) * params.out_strides;
    out_put(params.out_offset + steps.x + steps.y + steps.z + steps.w, out_bits(result(total)));
}
