// Functions of four floats at once, for elementwise formulas. Results are the same on every GPU, up to the rounding of
// its arithmetic: WGSL leaves its own functions too much room (sin is good to 2^-11 near zero, and to nothing far away).
//
// A compiler may assume that there is neither NaN nor infinity, so that both are recognised by their bits.

fn is_nan(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}
fn is_infinite(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) == vec4<u32>(0x7f800000u);
}
fn is_finite(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) < vec4<u32>(0x7f800000u);
}
fn is_true(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) != vec4<u32>(0u);
}
fn not_a_number() -> vec4<f32> {
    // A constant expression may not be NaN.
    var bits = vec4<u32>(0x7fc00000u);
    return bitcast<vec4<f32>>(bits);
}
fn infinity() -> vec4<f32> {
    var bits = vec4<u32>(0x7f800000u);
    return bitcast<vec4<f32>>(bits);
}
// The size of one with the sign of the other.
fn copy_sign(size: vec4<f32>, sign: vec4<f32>) -> vec4<f32> {
    let signs = bitcast<vec4<u32>>(sign) & vec4<u32>(0x80000000u);
    return bitcast<vec4<f32>>((bitcast<vec4<u32>>(size) & vec4<u32>(0x7fffffffu)) | signs);
}
fn sign_of(x: vec4<f32>) -> vec4<f32> {
    return select(select(x, vec4<f32>(1.0), x > vec4<f32>(0.0)), vec4<f32>(-1.0), x < vec4<f32>(0.0));
}
// max(x, 0), where NaN goes through: compared as bits, since a compiler may make a maximum of it.
fn positive_part(x: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(x);
    let is_negative = (bits > vec4<u32>(0x80000000u)) & (bits <= vec4<u32>(0xff800000u));
    return select(x, vec4<f32>(0.0), is_negative);
}

// NaN goes through, from either side.
fn larger(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(select(max(a, b), b, is_nan(b)), a, is_nan(a));
}
fn smaller(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(select(min(a, b), b, is_nan(b)), a, is_nan(a));
}

// x · 2^n for whole n from -252 to 254, in two steps, so that neither leaves the range of normal numbers by itself.
fn times_power_of_two(x: vec4<f32>, n: vec4<i32>) -> vec4<f32> {
    let first = n >> vec4<u32>(1u);
    let second = n - first;
    return x * bitcast<vec4<f32>>((first + 127) << vec4<u32>(23u)) * bitcast<vec4<f32>>((second + 127) << vec4<u32>(23u));
}

// e^r - 1 for |r| up to ln 2 / 2: r + r²·q(r), to a relative error of 3.1e-9 in e^r.
fn small_exponential_minus_one(r: vec4<f32>) -> vec4<f32> {
    var q = vec4<f32>(0.0013814538);
    q = fma(q, r, vec4<f32>(0.008368745));
    q = fma(q, r, vec4<f32>(0.04166839));
    q = fma(q, r, vec4<f32>(0.16666521));
    q = fma(q, r, vec4<f32>(0.49999994));
    return fma(q, r * r, r);
}
// x - n·ln 2, with ln 2 in two parts, of which the first has so few bits that its product with n is exact. What is left
// is below 1: the clamp changes nothing, but it keeps compilers from joining the two parts again.
fn without_powers_of_two(x: vec4<f32>, n: vec4<f32>) -> vec4<f32> {
    let rest = clamp(fma(n, vec4<f32>(-0.693359375), x), vec4<f32>(-1.0), vec4<f32>(1.0));
    return fma(n, vec4<f32>(2.1219444e-4), rest);
}
fn exponential(x: vec4<f32>) -> vec4<f32> {
    // Beyond these the result is 0 or infinity.
    let clamped = clamp(x, vec4<f32>(-104.0), vec4<f32>(104.0));
    let n = round(clamped * 1.442695);
    let one = small_exponential_minus_one(without_powers_of_two(clamped, n)) + 1.0;
    return select(times_power_of_two(one, vec4<i32>(n)), x, is_nan(x));
}
fn exponential_base_2(x: vec4<f32>) -> vec4<f32> {
    let clamped = clamp(x, vec4<f32>(-152.0), vec4<f32>(152.0));
    let n = round(clamped);
    let one = small_exponential_minus_one((clamped - n) * 0.6931472) + 1.0;
    return select(times_power_of_two(one, vec4<i32>(n)), x, is_nan(x));
}
fn exponential_minus_one(x: vec4<f32>) -> vec4<f32> {
    let clamped = clamp(x, vec4<f32>(-30.0), vec4<f32>(30.0));
    let n = round(clamped * 1.442695);
    let power = bitcast<vec4<f32>>((vec4<i32>(n) + 127) << vec4<u32>(23u));
    let near = fma(small_exponential_minus_one(without_powers_of_two(clamped, n)), power, power - 1.0);
    let result = select(near, exponential(x), x > vec4<f32>(30.0));
    // Around zero it is x itself, minus zero and NaN included.
    return select(result, x, is_nan(x) | (abs(x) < vec4<f32>(1e-8)));
}

// ln(1 + f) for 1 + f between √½ and √2: with s = f / (2 + f) it is 2·artanh(s), whose first term is f - s·f.
fn small_logarithm(f: vec4<f32>) -> vec4<f32> {
    let s = f / (f + 2.0);
    let z = s * s;
    var series = vec4<f32>(0.22222222);
    series = fma(series, z, vec4<f32>(0.2857143));
    series = fma(series, z, vec4<f32>(0.4));
    series = fma(series, z, vec4<f32>(0.6666667));
    let half_square = 0.5 * f * f;
    return f - (half_square - s * fma(series, z, half_square));
}
struct Logarithm { exponent: vec4<f32>, rest: vec4<f32> }
// A positive finite number as 2^exponent · (1 + f), and ln(1 + f).
fn parts_of_logarithm(x: vec4<f32>) -> Logarithm {
    // Subnormal numbers are whole numbers of 2^-149. A GPU may take the float for zero, but not its bits.
    var bits = bitcast<vec4<i32>>(x);
    let is_subnormal = bits < vec4<i32>(0x800000);
    bits = select(bits, bitcast<vec4<i32>>(vec4<f32>(bits)), is_subnormal);
    let exponent = (bits - 0x3f3504f3) >> vec4<u32>(23u);
    let f = bitcast<vec4<f32>>(bits - (exponent << vec4<u32>(23u))) - 1.0;
    return Logarithm(vec4<f32>(exponent - select(vec4<i32>(0), vec4<i32>(149), is_subnormal)), small_logarithm(f));
}
// What a logarithm is where there is none: of zero, of negative numbers, of infinity and NaN.
fn checked_logarithm(x: vec4<f32>, value: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(x);
    var result = select(value, x, bits >= vec4<u32>(0x7f800000u));
    result = select(result, not_a_number(), bits > vec4<u32>(0x80000000u));
    return select(result, -infinity(), (bits & vec4<u32>(0x7fffffffu)) == vec4<u32>(0u));
}
fn logarithm(x: vec4<f32>) -> vec4<f32> {
    let parts = parts_of_logarithm(x);
    let value = fma(parts.exponent, vec4<f32>(0.693359375), fma(parts.exponent, vec4<f32>(-2.1219444e-4), parts.rest));
    return checked_logarithm(x, value);
}
fn logarithm_base_2(x: vec4<f32>) -> vec4<f32> {
    let parts = parts_of_logarithm(x);
    return checked_logarithm(x, fma(parts.rest, vec4<f32>(1.442695), parts.exponent));
}
fn logarithm_of_one_plus(x: vec4<f32>) -> vec4<f32> {
    let near = (x > vec4<f32>(-0.29)) & (x < vec4<f32>(0.41));
    let result = select(logarithm(1.0 + x), small_logarithm(x), near);
    return select(result, x, is_nan(x) | (abs(x) < vec4<f32>(1e-8)));
}

// 1 / (1 + e^-x), or e^x / (1 + e^x) of negative numbers, so that nothing overflows.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    let e = exponential(-abs(x));
    return select(vec4<f32>(1.0), e, x < vec4<f32>(0.0)) / (1.0 + e);
}
fn softplus(x: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(0.0), x, x > vec4<f32>(0.0)) + logarithm_of_one_plus(exponential(-abs(x)));
}
fn hyperbolic_tangent(x: vec4<f32>) -> vec4<f32> {
    let size = abs(x);
    // Up to 0.64 a polynomial in x², fitted to a relative error of 5e-9; beyond, 1 - 2 / (e^2x + 1).
    let z = x * x;
    var series = vec4<f32>(0.0020977086);
    series = fma(series, z, vec4<f32>(-0.008128985));
    series = fma(series, z, vec4<f32>(0.021681637));
    series = fma(series, z, vec4<f32>(-0.0539434));
    series = fma(series, z, vec4<f32>(0.1333318));
    series = fma(series, z, vec4<f32>(-0.3333333));
    let near = fma(series * z, x, x);
    let far = copy_sign(1.0 - 2.0 / (exponential(min(2.0 * size, vec4<f32>(30.0))) + 1.0), x);
    return select(select(far, near, size < vec4<f32>(0.64)), x, is_nan(x));
}

// e^(a²)·erfc(a) for a from 0 to 10.3: a polynomial in (a - 2) / (a + 2) over 1 + 2a, fitted to a relative error of
// 3.4e-8. Both quotients come from one division.
fn scaled_error_complement(a: vec4<f32>) -> vec4<f32> {
    let double = fma(a, vec4<f32>(2.0), vec4<f32>(1.0));
    let reciprocal = 1.0 / ((a + 2.0) * double);
    let t = (a - 2.0) * double * reciprocal;
    var series = vec4<f32>(-0.00039833641);
    series = fma(series, t, vec4<f32>(-0.0012261053));
    series = fma(series, t, vec4<f32>(0.0013130876));
    series = fma(series, t, vec4<f32>(0.008628525));
    series = fma(series, t, vec4<f32>(-0.008060404));
    series = fma(series, t, vec4<f32>(-0.05420347));
    series = fma(series, t, vec4<f32>(0.1640555));
    series = fma(series, t, vec4<f32>(-0.1660315));
    series = fma(series, t, vec4<f32>(-0.09276399));
    series = fma(series, t, vec4<f32>(1.2769784));
    return series * (a + 2.0) * reciprocal;
}
// e^(-a²/2). The square is taken in two parts, the first of them exact, because its rounding would be multiplied by a².
// The second is below 0.06.
fn bell(a: vec4<f32>) -> vec4<f32> {
    let high = bitcast<vec4<f32>>(bitcast<vec4<u32>>(a) & vec4<u32>(0xfffff000u));
    let rest = -0.5 * (a - high) * (a + high);
    let near_one = 1.0 + rest * (1.0 + rest * (0.5 + rest * (0.16666667 + rest * 0.041666668)));
    return exponential(-0.5 * high * high) * near_one;
}
fn error_function(x: vec4<f32>) -> vec4<f32> {
    let size = min(abs(x), vec4<f32>(4.0));
    // Up to 0.9 a polynomial in x², fitted to a relative error of 6e-8.
    let z = x * x;
    var series = vec4<f32>(8.538832e-05);
    series = fma(series, z, vec4<f32>(-0.00081819255));
    series = fma(series, z, vec4<f32>(0.005204436));
    series = fma(series, z, vec4<f32>(-0.026860753));
    series = fma(series, z, vec4<f32>(0.112837195));
    series = fma(series, z, vec4<f32>(-0.37612635));
    series = fma(series, z, vec4<f32>(1.1283792));
    let far = copy_sign(1.0 - exponential(-size * size) * scaled_error_complement(size), x);
    return select(select(far, series * x, size < vec4<f32>(0.9)), x, is_nan(x));
}
// x·Φ(x): the normal distribution's tail is computed by itself, so that negative results keep their digits.
fn gelu(x: vec4<f32>) -> vec4<f32> {
    let size = min(abs(x), vec4<f32>(14.5));
    let tail = 0.5 * bell(size) * scaled_error_complement(0.70710677 * size);
    return select(x * select(tail, 1.0 - tail, x > vec4<f32>(0.0)), x, is_nan(x));
}
fn gelu_tanh(x: vec4<f32>) -> vec4<f32> {
    // ½(1 + tanh u) is the sigmoid of 2u.
    return x * sigmoid(1.5957691 * fma(0.044715 * x * x, x, x));
}

// 32 × 32 bits, the upper half.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let middle = a_high * b_low + ((a_low * b_low) >> 16u);
    return a_high * b_high + (middle >> 16u) + ((a_low * b_high + (middle & 0xffffu)) >> 16u);
}
// |x| as a whole number of quarter turns, of which only the last two bits count, and what is left, in radians, between
// -π/4 and π/4. In integers: x is multiplied by those bits of 2/π that matter.
struct Angle { quarters: u32, rest: f32 }
fn reduced_angle(x: f32) -> Angle {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    if (bits < 0x3f490fdbu || bits >= 0x7f800000u) { return Angle(0u, bitcast<f32>(bits)); }
    let significand = (bits & 0x7fffffu) | 0x800000u;
    // 2/π behind 32 zeros. The window of 96 bits begins where the product's weight is at most 4 quarter turns.
    var digits = array<u32, 8>(
        0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu,
    );
    let place = (bits >> 23u) - 120u;
    let word = place / 32u;
    let shift = place % 32u;
    let first = digits[word];
    let second = digits[word + 1u];
    let third = digits[word + 2u];
    var high = first;
    var middle = second;
    var low = third;
    if (shift > 0u) {
        high = (first << shift) | (second >> (32u - shift));
        middle = (second << shift) | (third >> (32u - shift));
        low = (third << shift) | (digits[word + 3u] >> (32u - shift));
    }
    // The fraction of significand · 0.high middle low, 64 bits of it.
    let tail = multiply_high(significand, low);
    let lower = significand * middle + tail;
    let carry = select(0u, 1u, lower < tail);
    let upper = significand * high + multiply_high(significand, middle) + carry;
    // The two bits before the point, then the fraction as a signed number, so that it lies around zero.
    let fraction_high = (upper << 2u) | (lower >> 30u);
    let fraction_low = lower << 2u;
    let quarters = (upper >> 30u) + (fraction_high >> 31u);
    let rest = f32(bitcast<i32>(fraction_high)) * 2.3283064e-10 + f32(fraction_low) * 5.4210109e-20;
    return Angle(quarters, rest * 1.5707964);
}
// sin and cos of a small angle, to relative errors of 3.3e-9 and an absolute one of 3.3e-10.
fn small_sine(r: f32) -> f32 {
    let z = r * r;
    return fma(r * z, fma(fma(fma(2.7179397e-06, z, -0.00019839295), z, 0.008333329), z, -0.16666667), r);
}
fn small_cosine(r: f32) -> f32 {
    let z = r * r;
    return 1.0 + fma(z * z, fma(fma(2.443484e-05, z, -0.0013887337), z, 0.041666646), -0.5 * z);
}
fn sine_of_quarters(angle: Angle) -> f32 {
    let value = select(small_sine(angle.rest), small_cosine(angle.rest), (angle.quarters & 1u) == 1u);
    return select(value, -value, (angle.quarters & 2u) == 2u);
}
fn sine(x: vec4<f32>) -> vec4<f32> {
    let sizes = vec4<f32>(
        sine_of_quarters(reduced_angle(x.x)),
        sine_of_quarters(reduced_angle(x.y)),
        sine_of_quarters(reduced_angle(x.z)),
        sine_of_quarters(reduced_angle(x.w)),
    );
    let signs = bitcast<vec4<u32>>(x) & vec4<u32>(0x80000000u);
    return select(bitcast<vec4<f32>>(bitcast<vec4<u32>>(sizes) ^ signs), not_a_number(), !is_finite(x));
}
fn cosine_of(x: f32) -> f32 {
    let angle = reduced_angle(x);
    return sine_of_quarters(Angle(angle.quarters + 1u, angle.rest));
}
fn cosine(x: vec4<f32>) -> vec4<f32> {
    let value = vec4<f32>(cosine_of(x.x), cosine_of(x.y), cosine_of(x.z), cosine_of(x.w));
    return select(value, not_a_number(), !is_finite(x));
}

// x^y, as C's pow has it. Small whole powers are products, so that x² is what x·x is; others are 2^(y·log₂|x|), whose
// relative error grows with the exponent, to about 1e-5.
fn power(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    let size = abs(x);
    let one = vec4<f32>(1.0);
    let whole = trunc(y) == y;
    // From 2^24 on every float is even.
    let odd = whole & (abs(y) < vec4<f32>(16777216.0)) & (fract(0.5 * y) != vec4<f32>(0.0));
    var result = exponential_base_2(y * logarithm_base_2(size));
    var product = one;
    var square = size;
    let times = abs(y);
    var left = vec4<u32>(min(times, vec4<f32>(64.0)));
    for (var i = 0u; i < 7u; i += 1u) {
        product = select(product, product * square, (left & vec4<u32>(1u)) == vec4<u32>(1u));
        square *= square;
        left >>= vec4<u32>(1u);
    }
    let few = whole & (times <= vec4<f32>(64.0)) & is_finite(product) & (product > vec4<f32>(1e-30));
    result = select(result, select(product, one / product, y < vec4<f32>(0.0)), few);
    result = select(result, one, size == one);
    result = select(result, -result, odd & ((bitcast<vec4<u32>>(x) >> vec4<u32>(31u)) == vec4<u32>(1u)));
    result = select(result, not_a_number(), (x < vec4<f32>(0.0)) & !whole & is_finite(x));
    result = select(result, x, is_nan(x));
    result = select(result, y, is_nan(y));
    return select(result, one, (x == one) | (y == vec4<f32>(0.0)));
}

// A remainder, exactly, for finite positive numbers, given as bits, because a GPU may take subnormal numbers for zero:
// a long division of the significands, eight bits a step. `rest` is a - b·floor(a / b), and `missing` what is missing
// to b where there is a rest, all of it taken before anything is rounded.
struct Division { rest: f32, missing: f32, is_whole: bool }
fn divided(a: u32, b: u32) -> Division {
    if (a < b) { return Division(bitcast<f32>(a), bitcast<f32>(b) - bitcast<f32>(a), a == 0u); }
    let a_exponent = max(a >> 23u, 1u);
    let b_exponent = max(b >> 23u, 1u);
    let a_digits = (a & 0x7fffffu) | select(0u, 0x800000u, a >= 0x800000u);
    let b_digits = (b & 0x7fffffu) | select(0u, 0x800000u, b >= 0x800000u);
    var rest = a_digits % b_digits;
    for (var left = a_exponent - b_exponent; left > 0u; left -= min(left, 8u)) {
        rest = (rest << min(left, 8u)) % b_digits;
    }
    // Times 2^(exponent - 150), in two steps, since the power may be smaller than any float.
    let digits = vec4<f32>(f32(rest), f32(b_digits - rest), 0.0, 0.0);
    let scaled = times_power_of_two(digits, vec4<i32>(i32(b_exponent) - 150));
    return Division(scaled.x, scaled.y, rest == 0u);
}
struct Divisions { rest: vec4<f32>, missing: vec4<f32>, is_whole: vec4<bool> }
// The sizes of finite numbers divided, where that has a meaning.
fn divisions(a: vec4<f32>, b: vec4<f32>) -> Divisions {
    let usable = is_finite(a) & is_true(b) & is_finite(b);
    let one = vec4<u32>(0x3f800000u);
    let p = select(one, bitcast<vec4<u32>>(a) & vec4<u32>(0x7fffffffu), usable);
    let q = select(one, bitcast<vec4<u32>>(b) & vec4<u32>(0x7fffffffu), usable);
    let x = divided(p.x, q.x);
    let y = divided(p.y, q.y);
    let z = divided(p.z, q.z);
    let w = divided(p.w, q.w);
    let unbounded = is_finite(a) & is_infinite(b);
    let rest = select(not_a_number(), vec4<f32>(x.rest, y.rest, z.rest, w.rest), usable);
    let missing = select(not_a_number(), vec4<f32>(x.missing, y.missing, z.missing, w.missing), usable);
    return Divisions(
        select(rest, abs(a), unbounded),
        select(missing, infinity(), unbounded),
        select(vec4<bool>(x.is_whole, y.is_whole, z.is_whole, w.is_whole), !is_true(a), unbounded),
    );
}
fn signs_differ(a: vec4<f32>, b: vec4<f32>) -> vec4<bool> {
    return ((bitcast<vec4<u32>>(a) ^ bitcast<vec4<u32>>(b)) & vec4<u32>(0x80000000u)) != vec4<u32>(0u);
}
// The remainder with the sign of b.
fn remainder(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let parts = divisions(a, b);
    let size = select(parts.rest, parts.missing, signs_differ(a, b) & !parts.is_whole);
    return select(copy_sign(size, b), size, is_nan(size));
}
fn floor_divide(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let parts = divisions(a, b);
    let zero = vec4<f32>(0.0);
    // A GPU may divide by way of a reciprocal, which is lost where b is very large.
    let scale = select(vec4<f32>(1.0), vec4<f32>(5.421011e-20), abs(b) > vec4<f32>(1.8446744e19));
    // What the division leaves has been taken away, so that only its own rounding is to be put right.
    let quotient = select(round((abs(a) - parts.rest) * scale / (abs(b) * scale)), zero, is_infinite(b));
    let differ = signs_differ(a, b);
    let down = select(zero, vec4<f32>(1.0), differ & !parts.is_whole);
    let result = select(quotient, -(quotient + down), differ);
    return select(select(result, a / b, !is_true(b)), not_a_number(), is_nan(parts.rest) & is_true(b));
}
