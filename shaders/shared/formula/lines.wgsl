// A workgroup computes a stretch of a line, which is what lies along the last axis. Where the line begins is worked out
// once, so that invocations count elements by one, and on the CPU are the lanes of vectors.
fn walk(number: u32, lane: u32) {
    let stretches = (params.shape.w - 1u) / (WORKGROUP * STEPS) + 1u;
    let line = number / stretches;
    let start = line * params.shape.w;
    if (start < params.count) {
        compute(coordinates(start, params.shape), (number - line * stretches) * (WORKGROUP * STEPS), lane);
    }
}
