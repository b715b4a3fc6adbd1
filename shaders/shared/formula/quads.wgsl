// A workgroup computes groups of four elements that follow each other, QUADS to an invocation.
fn walk(number: u32, lane: u32) {
    let first = number * (WORKGROUP * QUADS) + lane;
    for (var i = 0u; i < QUADS; i += 1u) {
        let quad = first + i * WORKGROUP;
        if (quad * 4u < params.count) { compute(quad); }
    }
}
