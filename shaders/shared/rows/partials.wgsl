// What one invocation gathers of a row's partial results, `length` of them, which lie behind those of the other rows.
alias x_Stored = Accumulator;
fn accumulated(row: u32, split: u32, lane: u32) -> Accumulator {
    let stop = min((split + 1u) * params.chunk, params.length);
    var total = identity();
    for (var i = split * params.chunk + lane; i < stop; i += ROW_LANES) {
        total = combine(total, x_data[i * params.count + row]);
    }
    return total;
}
