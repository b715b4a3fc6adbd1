// Every batch has its own number of keys that count.
@group(0) @binding(4) var<storage, read> lengths_data: array<u32>;
fn keys_that_count(batch: u32) -> u32 { return min(params.keys, lengths_data[batch]); }
