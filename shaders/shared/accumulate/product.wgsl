// Products.
alias Accumulator = Number;
fn identity() -> Accumulator { return Number(1); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return a * b; }
fn lift(four: Numbers, at: u32) -> Accumulator { return (four.x * four.y) * (four.z * four.w); }
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    return lift(select(Numbers(Number(1)), four, valid), at);
}
