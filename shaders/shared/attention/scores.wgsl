// What attention does to scores: `params` has `softcap`, `queries`, `left` and `right`.

// Scores begin above minus infinity, which is what masked ones are. So no difference of infinities occurs.
const LOWEST: f32 = -3.4028234e38;
fn minus_infinity() -> f32 {
    // A constant expression may not be infinite.
    var bits = 0xff800000u;
    return bitcast<f32>(bits);
}
// For x up to 0.
fn power_of_e(x: f32) -> f32 { return exp2(x * 1.4426950408889634); }

fn hyperbolic_tangent(x: f32) -> f32 {
    // tanh x = 1 - 2 / (e^2x + 1). Near zero it would cancel: a series is exact there.
    let large = 1.0 - 2.0 / (exp2(min(abs(x), 10.0) * 2.8853900817779268) + 1.0);
    let y = x * x;
    var series = fma(y, -0.008863235, 0.021869488);
    series = fma(series, y, -0.05396825);
    series = fma(series, y, 0.13333334);
    series = fma(series, y, -0.33333334);
    let small = fma(series * y, x, x);
    // NaN fails both comparisons, and goes through the series.
    return select(small, select(large, -large, x < 0.0), abs(x) > 0.4);
}
fn capped(score: f32) -> f32 {
    if (SOFTCAP) { return params.softcap * hyperbolic_tangent(score / params.softcap); }
    return score;
}

// The first and the last key that a query sees, of `length` keys. The last query stands at the last of them.
fn seen(query: u32, length: u32) -> vec2<i32> {
    let place = i32(length) - i32(params.queries) + i32(query);
    return vec2<i32>(max(0, place - params.left), min(i32(length) - 1, place + params.right));
}
