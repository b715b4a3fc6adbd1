// What a workgroup gathered of a row, to be combined with what others did.
alias out_Stored = Accumulator;
fn store_total(row: u32, split: u32, total: Accumulator) {
    out_data[params.out_offset + split * params.count + row] = total;
}
