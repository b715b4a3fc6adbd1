// x / sqrt(sum(x²) / divisor + eps), out of the sum of squares that is in range.
alias Stats = vec2<f32>;
fn stats(row: Accumulator) -> Stats {
    let plain = row.x / params.divisor + params.eps;
    if (plain > 1e36) {
        // The clamp, which changes nothing, keeps a compiler from making one factor of two: it would be 0.
        let smaller = row.y / params.divisor + max(params.eps * SMALLER, 0.0) * SMALLER;
        return vec2<f32>(SMALLER, inverseSqrt(smaller));
    }
    if (plain < 1e-18) {
        let larger = row.z / params.divisor + params.eps * LARGER * LARGER;
        return vec2<f32>(LARGER, inverseSqrt(larger));
    }
    return vec2<f32>(1.0, inverseSqrt(plain));
}
fn normalised(four: vec4<f32>, row: Stats) -> vec4<f32> { return (four * row.x) * row.y; }
