// (x - mean) / sqrt(mean((x - mean)²) + eps). The mean is a shift and what is left of it, so that elements far from 0
// keep their differences.
alias Stats = vec3<f32>;
fn stats(row: Accumulator) -> Stats {
    return vec3<f32>(row.y, row.z, inverseSqrt(row.w / params.divisor + params.eps));
}
fn normalised(four: vec4<f32>, row: Stats) -> vec4<f32> {
    return ((four - vec4<f32>(row.x)) - vec4<f32>(row.y)) * row.z;
}
