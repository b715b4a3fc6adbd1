// Four neighbouring results of a 2-byte type, as row_edges does it. A word that the row shares with its neighbour is
// changed atomically.
alias this_Stored = atomic<u32>;
fn this_store_pair(place: u32, bits: u32, low: bool, high: bool) {
    if (low && high) {
        atomicStore(&this_data[place], bits);
    } else if (low || high) {
        let mask = select(0xffff0000u, 0xffffu, low);
        atomicAnd(&this_data[place], ~mask);
        atomicOr(&this_data[place], bits & mask);
    }
}
fn this_store_four(start: u32, stride: u32, index: u32, begin: u32, end: u32, value: this_Native) {
    let quad = this_pack(value);
    let place = (start + index) / 2u;
    this_store_pair(place, quad.x, index >= begin, index + 1u >= begin && index + 1u < end);
    this_store_pair(
        place + 1u,
        quad.y,
        index + 2u >= begin && index + 2u < end,
        index + 3u >= begin && index + 3u < end,
    );
}
