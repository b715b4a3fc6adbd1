// How quantised weights come into their tile (tiles/halves): eight elements at a time, which share a scale. Fewer would
// need more scales, and with more of them the invocations of a subgroup load from more places at once.
alias this_Stored = u32;
struct this_Eight { low: vec4<f16>, high: vec4<f16> }

// The line and the inner place, inside the tile, of the elements that an invocation moves by its load number `load`.
fn this_spot(lane: u32, load: u32) -> vec2<u32> {
    let index = lane + load * THREADS;
    if (this_ALONG_INNER) { return vec2<u32>(index / (STEP / 8u), index % (STEP / 8u) * 8u); }
    return vec2<u32>(index % (this_LINES / 8u) * 8u, index / (this_LINES / 8u));
}
// As in tiles/halves_by_four: what does not exist is loaded from the last place that does.
fn this_fetch(start: u32, first: u32, lines: u32, begin: u32, end: u32, spot: vec2<u32>) -> this_Eight {
    if (this_ALONG_INNER) {
        let line = min(first + spot.x, lines - 1u);
        return this_eight(start + line * params.this_outer, min(begin + spot.y, end - 8u));
    }
    let inner = min(begin + spot.y, end - 1u);
    return this_eight(start + inner * params.this_inner, min(first + spot.x, lines - 8u));
}
fn this_eight(start: u32, index: u32) -> this_Eight {
    let eight = decode_eight(start + index / ELEMENTS * BYTES, index % ELEMENTS / 8u);
    return this_Eight(vec4<f16>(eight.low), vec4<f16>(eight.high));
}
fn this_cut(eight: this_Eight, begin: u32, end: u32, spot: vec2<u32>) -> this_Eight {
    if (begin + spot.y < end) { return eight; }
    return this_Eight();
}
fn this_stage(spot: vec2<u32>, eight: this_Eight) {
    var place = this_FIRST + spot.y * this_PITCH + spot.x / 4u;
    if (this_ALONG_INNER) { place = this_FIRST + spot.x * this_PITCH + spot.y / 4u; }
    tiles[place] = eight.low;
    tiles[place + 1u] = eight.high;
}
