// How an operand of float16 comes into its tile (tiles/halves): four elements at a time.
// The line and the inner place, inside the tile, of the four elements that an invocation moves by its load number `load`.
fn this_spot(lane: u32, load: u32) -> vec2<u32> {
    let index = lane + load * THREADS;
    if (this_ALONG_INNER) { return vec2<u32>(index / (STEP / 4u), index % (STEP / 4u) * 4u); }
    return vec2<u32>(index % (this_LINES / 4u) * 4u, index / (this_LINES / 4u));
}
// What does not exist is loaded from the last place that does. For lines this will do, since their results are not
// stored. Behind the end of the inner axis there have to be zeros, which `this_cut` puts there: apart from the loads,
// and for the last step only, since a branch or a choice at each load costs a third of the speed.
fn this_fetch(start: u32, first: u32, lines: u32, begin: u32, end: u32, spot: vec2<u32>) -> vec4<f16> {
    let inner = begin + spot.y;
    if (this_ALONG_INNER) {
        let line = min(first + spot.x, lines - 1u);
        return this_four(start + line * params.this_outer, params.this_inner, min(inner, (end - 1u) / 4u * 4u), end);
    }
    let line = min(first + spot.x, (lines - 1u) / 4u * 4u);
    return this_four(start + min(inner, end - 1u) * params.this_inner, params.this_outer, line, lines);
}
fn this_cut(four: vec4<f16>, begin: u32, end: u32, spot: vec2<u32>) -> vec4<f16> {
    return select(vec4<f16>(), four, begin + spot.y < end);
}
fn this_stage(spot: vec2<u32>, four: vec4<f16>) {
    if (this_ALONG_INNER) {
        tiles[this_FIRST + spot.x * this_PITCH + spot.y / 4u] = four;
    } else {
        tiles[this_FIRST + spot.y * this_PITCH + spot.x / 4u] = four;
    }
}
