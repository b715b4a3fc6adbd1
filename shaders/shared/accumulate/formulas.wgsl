// What a user's formulas gather: one of each element, one of two of what was gathered. No formula sees an element that
// is not there, since a loop over it might not end.
alias Accumulator = Number;
fn identity() -> Accumulator { return gpukern_user_identity(); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return gpukern_user_reduce(a, b); }
fn lift(four: Numbers, at: u32) -> Accumulator {
    return combine(
        combine(gpukern_user_map(four.x), gpukern_user_map(four.y)),
        combine(gpukern_user_map(four.z), gpukern_user_map(four.w)),
    );
}
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    var total = identity();
    if (valid.x) { total = combine(total, gpukern_user_map(four.x)); }
    if (valid.y) { total = combine(total, gpukern_user_map(four.y)); }
    if (valid.z) { total = combine(total, gpukern_user_map(four.z)); }
    if (valid.w) { total = combine(total, gpukern_user_map(four.w)); }
    return total;
}
