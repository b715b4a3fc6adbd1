// What one invocation gathers of a row of x: four groups of four at a time, so that several loads are under way, and in
// blocks, so that no long chain of roundings builds up.
//
// Groups lie as memory does, so that each is one load wherever its row begins: the first group may begin before the
// row, and the last end after it. SKIP is 3 then; elements of any other stride are loaded one by one, and it is 0.
override SKIP: u32 = 3u;
override WHOLE: bool = false;

fn numbers_lifted(four: Numbers, at: u32) -> Accumulator {
    if (WHOLE) { return lift(four, params.begin + at); }
    let valid = vec4<u32>(at, at + 1u, at + 2u, at + 3u) < vec4<u32>(params.length);
    return lift_some(four, params.begin + at, valid);
}

fn accumulated(row: u32, split: u32, lane: u32) -> Accumulator {
    let steps = coordinates(row, params.shape) * params.x_strides;
    let start = params.x_offset + steps.x + steps.y + steps.z + steps.w;
    let skip = start & SKIP;
    let base = start - skip;
    let end = skip + params.length;
    let stop = min((split + 1u) * params.chunk, end);
    let step = ROW_LANES * 4u;
    var i = split * params.chunk + lane * 4u;
    var total = identity();
    if (!WHOLE) {
        if (i < stop) { total = numbers_lifted(Numbers(x_four(base, params.x_stride, i, end)), i - skip); }
        i += step;
    }
    while (i + 3u * step + 4u <= stop) {
        var block = identity();
        for (var n = 0u; n < 16u && i + 3u * step + 4u <= stop; n += 1u) {
            let a = Numbers(x_whole_four(base, params.x_stride, i));
            let b = Numbers(x_whole_four(base, params.x_stride, i + step));
            let c = Numbers(x_whole_four(base, params.x_stride, i + 2u * step));
            let d = Numbers(x_whole_four(base, params.x_stride, i + 3u * step));
            let at = params.begin + i - skip;
            let first = combine(lift(a, at), lift(b, at + step));
            let second = combine(lift(c, at + 2u * step), lift(d, at + 3u * step));
            block = combine(block, combine(first, second));
            i += 4u * step;
        }
        total = combine(total, block);
    }
    for (; i < stop; i += step) {
        total = combine(total, numbers_lifted(Numbers(x_four(base, params.x_stride, i, end)), i - skip));
    }
    return total;
}
