// Four neighbouring elements of quantised weights. `start` counts bytes and `index` elements, in fours; `stride` and
// `end` say nothing, since blocks are whole.
alias this_Stored = u32;
fn this_four(start: u32, stride: u32, index: u32, end: u32) -> this_Native {
    return this_Native(decode_four(start + index / ELEMENTS * BYTES, index % ELEMENTS / 8u, (index & 4u) != 0u));
}
