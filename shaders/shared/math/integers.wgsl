// Functions of four integers at once, for elementwise formulas. `Value` is vec4<i32>, or vec4<u32> where SIGNED is
// false. Arithmetic wraps around, and nothing is undefined.
fn absolute(x: Value) -> Value {
    return select(x, Value(0) - x, x < Value(0));
}
fn sign_of(x: Value) -> Value {
    return select(Value(0), Value(1), x > Value(0)) - select(Value(0), Value(1), x < Value(0));
}
// Rounded down. 0 where b is 0, as in NumPy.
fn floor_divide(a: Value, b: Value) -> Value {
    let zero = b == Value(0);
    // The smallest integer has no counterpart, so that -1 does not divide but negates.
    let minus_one = vec4<bool>(SIGNED) & (b == ~Value(0));
    let divisor = select(b, Value(1), zero | minus_one);
    let quotient = a / divisor;
    let rest = a - quotient * divisor;
    let down = (rest != Value(0)) & ((rest < Value(0)) != (divisor < Value(0)));
    return select(select(quotient - select(Value(0), Value(1), down), Value(0) - a, minus_one), Value(0), zero);
}
fn remainder(a: Value, b: Value) -> Value {
    return select(a - floor_divide(a, b) * b, Value(0), b == Value(0));
}
// By squaring. A negative power of a whole number is rounded towards zero: only ±1 has one that is not 0.
fn power(a: Value, b: Value) -> Value {
    var result = Value(1);
    var square = a;
    var left = bitcast<vec4<u32>>(b);
    for (var i = 0u; i < 32u; i += 1u) {
        result = select(result, result * square, (left & vec4<u32>(1u)) == vec4<u32>(1u));
        square *= square;
        left >>= vec4<u32>(1u);
    }
    let unit = (a == Value(1)) | (vec4<bool>(SIGNED) & (a == ~Value(0)));
    return select(result, Value(0), (b < Value(0)) & !unit);
}
// By the width or more, everything is shifted out. A negative distance counts as one that is too large.
fn shift_left(a: Value, b: Value) -> Value {
    let distance = bitcast<vec4<u32>>(b);
    return select(Value(0), a << min(distance, vec4<u32>(31u)), distance < vec4<u32>(32u));
}
fn shift_right(a: Value, b: Value) -> Value {
    let distance = bitcast<vec4<u32>>(b);
    let shifted = a >> min(distance, vec4<u32>(31u));
    return select(select(Value(0), ~Value(0), a < Value(0)), shifted, distance < vec4<u32>(32u));
}
