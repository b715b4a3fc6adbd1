// Whether any element is true, or all are (ALL). MASK has the bits that make one true: not a float's sign.
alias Accumulator = u32;
fn identity() -> Accumulator { return select(0u, 1u, ALL); }
fn combine(a: Accumulator, b: Accumulator) -> Accumulator { return select(a | b, a & b, ALL); }
fn lift(four: Numbers, at: u32) -> Accumulator {
    let is_true = (bitcast<vec4<u32>>(four) & vec4<u32>(MASK)) != vec4<u32>(0u);
    return select(0u, 1u, select(any(is_true), all(is_true), ALL));
}
fn lift_some(four: Numbers, at: u32, valid: vec4<bool>) -> Accumulator {
    let is_true = (bitcast<vec4<u32>>(four) & vec4<u32>(MASK)) != vec4<u32>(0u);
    return select(0u, 1u, select(any(is_true & valid), all(is_true | !valid), ALL));
}
