// The largest of integers, or the smallest: `better` says which, and EXTREME is worse than all others.
alias Accumulator = Number;
fn identity() -> Accumulator { return EXTREME; }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return better(a, b); }
fn lift(four: Numbers, at: u32) -> Accumulator { return better(better(four.x, four.y), better(four.z, four.w)); }
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    return lift(select(Numbers(EXTREME), four, valid), at);
}
