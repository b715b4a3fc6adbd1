// One operand of a tiled matrix product, on its way from storage to workgroup memory. Its lines are the rows of the left
// operand or the columns of the right one; `inner` is the axis that is summed over.
//
// In workgroup memory all lines of one inner place lie side by side, four to a vector, because that is how they are
// used. From storage four neighbours are loaded along whichever axis lies in memory.
override this_ALONG_INNER: bool = true;
// Lines in a tile, vectors from one inner place to the next one, and vectors in one of the two buffers and in both.
override this_LINES: u32 = 128u;
override this_PITCH: u32 = 33u;
override this_BUFFER: u32 = 264u;
override this_BUFFERS: u32 = 528u;
var<workgroup> this_tile: array<Accumulator, this_BUFFERS>;

// The line and the inner place, inside the tile, of the four elements that an invocation moves by its load number `load`.
fn this_spot(lane: u32, load: u32) -> vec2<u32> {
    let index = lane + load * THREADS;
    if (this_ALONG_INNER) { return vec2<u32>(index / (STEP / 4u), index % (STEP / 4u) * 4u); }
    return vec2<u32>(index % (this_LINES / 4u) * 4u, index / (this_LINES / 4u));
}
// Lines that do not exist may have any value, since their results are not stored: they repeat the last ones. What lies
// behind the end of the inner axis has to be zero.
fn this_fetch(start: u32, first: u32, lines: u32, begin: u32, end: u32, spot: vec2<u32>) -> Accumulator {
    let inner = begin + spot.y;
    if (inner >= end) { return Accumulator(); }
    if (this_ALONG_INNER) {
        let line = min(first + spot.x, lines - 1u);
        return Accumulator(this_four(start + line * params.this_outer, params.this_inner, inner, end));
    }
    let line = min(first + spot.x, (lines - 1u) / 4u * 4u);
    return Accumulator(this_four(start + inner * params.this_inner, params.this_outer, line, lines));
}
fn this_stage(buffer: u32, spot: vec2<u32>, four: Accumulator) {
    let place = buffer + spot.y * this_PITCH + spot.x / 4u;
    if (this_ALONG_INNER) {
        let line = spot.x % 4u;
        this_tile[place][line] = four.x;
        this_tile[place + this_PITCH][line] = four.y;
        this_tile[place + 2u * this_PITCH][line] = four.z;
        this_tile[place + 3u * this_PITCH][line] = four.w;
    } else {
        this_tile[place] = four;
    }
}
