// Four neighbouring results of a 4-byte type: one store, but where the group reaches out of its row. `start` and
// `index` are multiples of four, and the row has the places from `begin` to before `end`.
alias this_Stored = this_Quad;
fn this_store_four(start: u32, stride: u32, index: u32, begin: u32, end: u32, value: this_Native) {
    let quad = this_pack(value);
    let place = (start + index) / 4u;
    if (index >= begin && index + 3u < end) {
        this_data[place] = quad;
    } else {
        if (index >= begin) { this_data[place].x = quad.x; }
        if (index + 1u >= begin && index + 1u < end) { this_data[place].y = quad.y; }
        if (index + 2u >= begin && index + 2u < end) { this_data[place].z = quad.z; }
        if (index + 3u >= begin && index + 3u < end) { this_data[place].w = quad.w; }
    }
}
