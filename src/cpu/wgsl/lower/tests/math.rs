//! Functions of numbers.

use half::f16;

use super::*;

/// Results of an expression of `x` over all numbers.
fn over<T: Word, R: Word>(x: &[T], ty: (&str, &str), expression: &str) -> Vec<R> {
    let body = format!("for (var i = 0u; i < {}; i++) {{ let x = x[i]; result[i] = {expression}; }}", x.len());
    results(x, ty, x.len(), &body)
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }).collect()
}

#[track_caller]
fn check_f32(x: &[f32], expression: &str, expected: impl Fn(f32) -> f32) {
    let got = over::<f32, f32>(x, ("f32", "f32"), expression);
    assert_eq!(bits(&got), bits(&x.iter().map(|x| expected(*x)).collect::<Vec<_>>()), "{expression} of {x:?}");
}

const FLOATS: [f32; 18] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -2.5,
    3.7,
    -0.3,
    1e-40,
    -3e-45,
    1.17e-38,
    3.4e38,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    123_456.79,
];

#[test]
fn functions_of_one_float() {
    check_f32(&FLOATS, "abs(x)", f32::abs);
    check_f32(&FLOATS, "-x", |x| -x);
    check_f32(&FLOATS, "floor(x)", f32::floor);
    check_f32(&FLOATS, "ceil(x)", f32::ceil);
    check_f32(&FLOATS, "trunc(x)", f32::trunc);
    check_f32(&FLOATS, "round(x)", f32::round_ties_even);
    check_f32(&FLOATS, "fract(x)", |x| x - x.floor());
    check_f32(&FLOATS, "sqrt(x)", f32::sqrt);
    check_f32(&FLOATS, "inverseSqrt(x)", |x| 1.0 / x.sqrt());
    check_f32(&FLOATS[..14], "saturate(x)", |x| if x < 0.0 { 0.0 } else { x.min(1.0) });
    check_f32(&FLOATS, "sign(x)", |x| if x > 0.0 { 1.0 } else { -f32::from(i8::from(x < 0.0)) + 0.0 });
    check_f32(&FLOATS, "radians(x)", |x| x * 0.017_453_292);
    check_f32(&FLOATS, "degrees(x)", |x| x * 57.295_78);
    check_f32(&FLOATS, "length(x)", f32::abs);
    check_f32(&FLOATS, "quantizeToF16(x)", |x| f16::from_f32(x).to_f32());
    let double = |f: fn(f64) -> f64| move |x: f32| f(x.into()) as f32;
    check_f32(&FLOATS, "exp(x)", double(f64::exp));
    check_f32(&FLOATS, "exp2(x)", double(f64::exp2));
    check_f32(&FLOATS, "log(x)", double(f64::ln));
    check_f32(&FLOATS, "log2(x)", double(f64::log2));
    check_f32(&FLOATS, "sin(x) + cos(x)", |x| double(f64::sin)(x) + double(f64::cos)(x));
    check_f32(&FLOATS, "tan(x)", double(f64::tan));
    check_f32(&FLOATS, "asin(x)", double(f64::asin));
    check_f32(&FLOATS, "acos(x)", double(f64::acos));
    check_f32(&FLOATS, "atan(x)", double(f64::atan));
    check_f32(&FLOATS, "sinh(x)", double(f64::sinh));
    check_f32(&FLOATS, "cosh(x)", double(f64::cosh));
    check_f32(&FLOATS, "tanh(x)", double(f64::tanh));
    check_f32(&FLOATS, "asinh(x)", double(f64::asinh));
    check_f32(&FLOATS, "acosh(x)", double(f64::acosh));
    check_f32(&FLOATS, "atanh(x)", double(f64::atanh));
}

#[test]
fn functions_of_several_floats() {
    let x = &FLOATS[..14];
    check_f32(x, "min(x, 0.7)", |x| x.min(0.7));
    check_f32(x, "max(x, 0.7)", |x| x.max(0.7));
    check_f32(x, "clamp(x, -0.2, 2.0)", |x| x.clamp(-0.2, 2.0));
    check_f32(x, "step(0.5, x)", |x| f32::from(u8::from(x >= 0.5)));
    check_f32(x, "mix(x, 3.0, 0.3)", |x| x * (1.0 - 0.3) + 3.0 * 0.3);
    check_f32(x, "fma(x, 3.1, 0.3)", |x| x.mul_add(3.1, 0.3));
    check_f32(x, "x * 3.1 + 0.3", |x| x * 3.1 + 0.3);
    check_f32(x, "x % 0.7", |x| x - 0.7 * (x / 0.7).trunc());
    check_f32(x, "pow(x, 3.0)", |x| f64::from(x).powi(3) as f32);
    check_f32(x, "atan2(x, 2.0)", |x| f64::from(x).atan2(2.0) as f32);
    check_f32(x, "distance(x, 1.0)", |x| (x - 1.0).abs());
    check_f32(x, "smoothstep(-1.0, 3.0, x)", |x| {
        let t = ((x + 1.0) / 4.0).clamp(0.0, 1.0);
        t * t * (3.0 - 2.0 * t)
    });
    check_f32(x, "select(x, 2.0, x < 1)", |x| if x < 1.0 { 2.0 } else { x });
    check_f32(x, "dot(mix(vec2(x, 1.0), vec2(2.0, x), 0.25), vec2(1.0, 2.0))", |x| {
        (x * 0.75 + 2.0 * 0.25) * 1.0 + (1.0 * 0.75 + x * 0.25) * 2.0
    });
}

#[test]
fn halves_of_floats() {
    check_f32(&FLOATS, "modf(x).whole", f32::trunc);
    check_f32(&FLOATS, "modf(x).fract", |x| if x.is_infinite() { 0.0 } else { x - x.trunc() });
    let parts = |x: f32| {
        if x == 0.0 || !x.is_finite() {
            return (x, 0);
        }
        let (mut fraction, mut power) = (f64::from(x), 0);
        while fraction.abs() >= 1.0 {
            (fraction, power) = (fraction / 2.0, power + 1);
        }
        while fraction.abs() < 0.5 {
            (fraction, power) = (fraction * 2.0, power - 1);
        }
        (fraction as f32, power)
    };
    check_f32(&FLOATS, "frexp(x).fract", |x| parts(x).0);
    let powers = over::<f32, i32>(&FLOATS, ("f32", "i32"), "frexp(x).exp");
    assert_eq!(powers, FLOATS.map(|x| parts(x).1));
    let x = FLOATS.map(f64::from);
    let powers = over::<f64, i32>(&x, ("f64", "i32"), "i32(frexp(vec2(x, x)).exp.y)");
    assert_eq!(powers, FLOATS.map(|x| parts(x).1));
    assert_eq!(over::<f64, f64>(&[5e-324, -12.0], ("f64", "f64"), "frexp(x).fract"), [0.5, -0.75]);
    assert_eq!(over::<f64, i32>(&[5e-324, -12.0], ("f64", "i32"), "i32(frexp(x).exp)"), [-1073, 4]);
}

#[test]
fn powers_of_two_are_applied_exactly() {
    for power in [
        0,
        1,
        -1,
        100,
        -100,
        127,
        128,
        140,
        277,
        300,
        -126,
        -127,
        -140,
        -149,
        -150,
        -200,
        -277,
        -300,
        i32::MAX,
        i32::MIN,
    ] {
        let exact = |x: f32| (f64::from(x) * 2_f64.powi(power.clamp(-600, 600))) as f32;
        check_f32(&FLOATS, &format!("ldexp(x, i32({power}))"), exact);
    }
    // Halfway between two of the smallest numbers, with something beyond it that a first rounding would lose.
    let x = [f32::from_bits(0x3fc0_0001), f32::from_bits(0x3f40_0001), 1.5, -2.5];
    check_f32(&x, "ldexp(x, -149)", |x| (f64::from(x) * 2_f64.powi(-149)) as f32);
    check_f32(&x, "ldexp(x, -150)", |x| (f64::from(x) * 2_f64.powi(-150)) as f32);
    check_f32(&x, "ldexp(x, -128)", |x| (f64::from(x) * 2_f64.powi(-128)) as f32);
    let doubles = over::<f64, f64>(&[1.5, 5e-324, 1e300], ("f64", "f64"), "ldexp(x, i32(-1074))");
    assert_eq!(doubles, [1e-323, 0.0, 1e300 * 5e-324]);
    assert_eq!(
        over::<f64, f64>(&[5e-324, -5e-324], ("f64", "f64"), "ldexp(x, i32(2097))"),
        [2_f64.powi(1023), -(2_f64.powi(1023))]
    );
}

#[test]
fn integers() {
    let x = [0, 1, -1, 7, -7, i32::MAX, i32::MIN, 0x0f0f_0000, 12_345_678];
    let check = |expression: &str, expected: &dyn Fn(i32) -> i32| {
        let got = over::<i32, i32>(&x, ("i32", "i32"), expression);
        assert_eq!(got, x.map(expected), "{expression}");
    };
    check("abs(x)", &i32::wrapping_abs);
    check("-x", &i32::wrapping_neg);
    check("~x", &|x| !x);
    check("sign(x)", &i32::signum);
    check("x * x + 3", &|x| x.wrapping_mul(x).wrapping_add(3));
    check("x / (x % 3)", &|x| x.checked_div(x % 3).unwrap_or(x));
    check("x % (x % 3)", &|x| x.checked_rem(x % 3).unwrap_or(0));
    check("clamp(x, -5, 6)", &|x| x.clamp(-5, 6));
    check("clamp(x, 6, -5)", &|_| -5);
    check("x << 3u", &|x| x << 3);
    check("x >> (u32(x) % 32u)", &|x| x >> (x as u32 % 32));
    check("countOneBits(x)", &|x| x.count_ones() as i32);
    check("countLeadingZeros(x)", &|x| x.leading_zeros() as i32);
    check("countTrailingZeros(x)", &|x| x.trailing_zeros() as i32);
    check("reverseBits(x)", &i32::reverse_bits);
    check("firstTrailingBit(x)", &|x| if x == 0 { -1 } else { x.trailing_zeros() as i32 });
    check("firstLeadingBit(x)", &|x| 31 - (if x < 0 { !x } else { x }).leading_zeros() as i32);
    check("(x & 0xff00) | (x ^ 5)", &|x| (x & 0xff00) | (x ^ 5));
    check("dot(vec3(x, 2, x), vec3(x, x, 1))", &|x| x.wrapping_mul(x).wrapping_add(x.wrapping_mul(2)).wrapping_add(x));
    let unsigned = over::<u32, u32>(&[0, 1, 0x8000_0000, 77], ("u32", "u32"), "firstLeadingBit(x) + abs(x)");
    assert_eq!(unsigned, [u32::MAX, 1, 31_u32.wrapping_add(0x8000_0000), 6 + 77]);
}

#[test]
fn bit_fields() {
    for (offset, count) in [(0, 32), (3, 5), (28, 10), (31, 1), (32, 4), (0, 0), (40, 40), (5, 27), (0, 1)] {
        let (start, length) = (offset.min(32), count.min(32 - offset.min(32)));
        let mask = if length == 0 { 0 } else { (u32::MAX >> (32 - length)) << start };
        let x = [0xdead_beef_u32, 0x1234_5678, u32::MAX, 0];
        let got = over::<u32, u32>(&x, ("u32", "u32"), &format!("extractBits(x, {offset}u, {count}u)"));
        assert_eq!(got, x.map(|x| if length == 0 { 0 } else { (x & mask) >> start }), "{offset} {count}");
        let got = over::<u32, i32>(&x, ("u32", "i32"), &format!("extractBits(bitcast<i32>(x), {offset}u, {count}u)"));
        let signed = |x: u32| if length == 0 { 0 } else { ((x << (32 - start - length)) as i32) >> (32 - length) };
        assert_eq!(got, x.map(signed), "{offset} {count}");
        let expected = x.map(|x| (x & !mask) | if length == 0 { 0 } else { ((x / 3) << start) & mask });
        let got = over::<u32, u32>(&x, ("u32", "u32"), &format!("insertBits(x, x / 3u, {offset}u, {count}u)"));
        assert_eq!(got, expected, "{offset} {count}");
        let expression = format!("u32(insertBits(i32(x), i32(x / 3u), {offset}u, {count}u))");
        assert_eq!(over::<u32, u32>(&x, ("u32", "u32"), &expression), expected, "{offset} {count}");
    }
}

#[test]
fn wide_numbers() {
    let x = [0_i64, -1, i64::MIN, i64::MAX, 0x1234_5678_9abc_def0, -77];
    let check = |expression: &str, expected: &dyn Fn(i64) -> i64| {
        let got = over::<i64, i64>(&x, ("i64", "i64"), expression);
        assert_eq!(got, x.map(expected), "{expression}");
    };
    check("x * 3li - (x >> 5u)", &|x| x.wrapping_mul(3).wrapping_sub(x >> 5));
    check("abs(x) / 7li % 1000li", &|x| x.wrapping_abs() / 7 % 1000);
    check("i64(u64(x) >> 3u)", &|x| (x as u64 >> 3) as i64);
    check("i64(i32(x))", &|x| (x as i32).into());
    check("i64(f64(x))", &|x| x as f64 as i64);
    check("clamp(x, -5li, 0x7fffffffffli)", &|x| x.clamp(-5, 0x7f_ffff_ffff));
    check("bitcast<i64>(bitcast<f64>(x & 0x3fffffffffffffffli) * 2.0lf)", &|x| {
        (f64::from_bits((x & 0x3fff_ffff_ffff_ffff) as u64) * 2.0).to_bits() as i64
    });
    let x = [1.0 / 3.0, -2.5, 1e300, 0.0];
    let got = over::<f64, f64>(&x, ("f64", "f64"), "sqrt(abs(x)) * 3.0lf - floor(x) / max(x, 2.0lf)");
    assert_eq!(got, x.map(|x| x.abs().sqrt() * 3.0 - x.floor() / x.max(2.0)));
}

#[test]
fn conversions() {
    check_f32(&FLOATS, "f32(i32(x))", |x| x as i32 as f32);
    check_f32(&FLOATS, "f32(u32(x))", |x| x as u32 as f32);
    check_f32(&FLOATS, "f32(bool(x))", |x| f32::from(u8::from(x != 0.0)));
    check_f32(&FLOATS, "bitcast<f32>(bitcast<i32>(x) ^ 1)", |x| f32::from_bits(x.to_bits() ^ 1));
    check_f32(&FLOATS, "f32(f64(x) / 3.0lf)", |x| (f64::from(x) / 3.0) as f32);
    check_f32(&FLOATS, "f32(x < 1 && !(x >= 0.5) || x != x)", |x| {
        f32::from(u8::from(x < 1.0 && (x < 0.5 || x.is_nan()) || x.is_nan()))
    });
    let got = over::<u32, f32>(&[0, u32::MAX, 1 << 31], ("u32", "f32"), "f32(x) + f32(i32(x)) + f32(bool(x))");
    assert_eq!(got, [0.0, 4_294_967_296.0, 1.0]);
    let got =
        over::<u32, u32>(&[0, 3], ("u32", "u32"), "dot(vec2<u32>(vec2<f32>(vec2(x, x + 1u)) * 1.5), vec2(1u, 10u))");
    assert_eq!(got, [10, 64]);
}

#[test]
fn reductions_of_bools() {
    let body = "
        let v = vec3(x[0], x[1], x[2]) > vec3(1.0);
        result[0] = u32(all(v)) + 2 * u32(any(v));
        result[1] = u32(all(v | vec3(true))) + 2 * u32(any(v & vec3(false, true, false)));
        result[2] = u32(all(!v)) + 2 * u32(all(x[0] > 0));
        let picked = select(vec3(1u, 2, 3), vec3(4u, 5, 6), v);
        result[3] = picked.x * 100 + picked.y * 10 + picked.z;
        let both = select(vec2(1u, 2), vec2(7u, 8), x[0] > 1);
        result[4] = both.x + both.y;";
    assert_eq!(results::<f32, u32>(&[2.0, 0.0, 3.0], ("f32", "u32"), 5, body), [2, 1, 2, 426, 15]);
}

#[test]
fn halves() {
    let x = [0.1, 1.0, -3.3, 1000.5, 60000.0, 6e-8, -0.0, 0.333].map(f16::from_f32);
    let check = |expression: &str, expected: &dyn Fn(f16) -> f16| {
        let got = over::<f16, f16>(&x, ("f16", "f16"), expression);
        assert_eq!(
            got.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            x.map(|x| expected(x).to_bits()),
            "{expression}"
        );
    };
    let one = |f: fn(f32) -> f32| move |x: f16| f16::from_f32(f(x.to_f32()));
    check("x * x", &one(|x| x * x));
    check("x + 0.1h", &|x| f16::from_f32(x.to_f32() + f16::from_f32(0.1).to_f32()));
    check("x * 3.0h - x / 7.0h", &|x| {
        let (a, b) = (f16::from_f32(x.to_f32() * 3.0), f16::from_f32(x.to_f32() / 7.0));
        f16::from_f32(a.to_f32() - b.to_f32())
    });
    check("sqrt(abs(x))", &one(|x| x.abs().sqrt()));
    check("sin(x)", &one(|x| f64::from(x).sin() as f32));
    check("f16(f32(x) * 1.2345)", &one(|x| x * 1.2345));
    check("f16(i32(x)) + f16(u32(123457))", &|x| {
        f16::from_f32(f16::from_f32(x.to_f32() as i32 as f32).to_f32() + f16::from_f32(123_457.0).to_f32())
    });
    check("f16(f64(x) / 3.0lf)", &|x| f16::from_f64(x.to_f64() / 3.0));
    check("f16(bool(x))", &|x| f16::from_f32(f32::from(u8::from(x.to_f32() != 0.0))));
    check("ldexp(x, -3)", &one(|x| x * 0.125));
    check("modf(x).fract", &one(|x| x - x.trunc()));
    check("dot(vec2(x, 0.1h), vec2(x, 3.0h))", &|x| {
        let (a, b) = (f16::from_f32(x.to_f32() * x.to_f32()), f16::from_f32(f16::from_f32(0.1).to_f32() * 3.0));
        f16::from_f32(a.to_f32() + b.to_f32())
    });
}

#[test]
fn packing() {
    let x: [[f32; 4]; 5] = [
        [0.0, 1.0, -1.0, 0.5],
        [2.0, -3.0, 0.25, -0.25],
        [0.999, -0.999, 1e-3, 0.1],
        [0.3, 0.6, 0.9, -0.7],
        [70000.0, 1e-7, -65504.0, 3.125],
    ];
    let flat: Vec<f32> = x.concat();
    let pack = |expression: &str| {
        let body = format!("for (var i = 0u; i < 5; i++) {{ result[i] = {expression}; }}");
        results::<f32, u32>(&flat, ("vec4f", "u32"), 5, &body)
    };
    let packed = |bits: u32, number: &dyn Fn(f32) -> i64| {
        x.map(|x| {
            (0..32 / bits)
                .map(|i| ((number(x[i as usize]) as u32) & ((1_u64 << bits) - 1) as u32) << (bits * i))
                .sum::<u32>()
        })
    };
    let norm = |low: f32, most: f32| move |x: f32| (0.5 + most * x.clamp(low, 1.0)).floor() as i64;
    assert_eq!(pack("pack4x8snorm(x[i])"), packed(8, &norm(-1.0, 127.0)));
    assert_eq!(pack("pack4x8unorm(x[i])"), packed(8, &norm(0.0, 255.0)));
    assert_eq!(pack("pack2x16snorm(x[i].xy)"), packed(16, &norm(-1.0, 32767.0)));
    assert_eq!(pack("pack2x16unorm(x[i].xy)"), packed(16, &norm(0.0, 65535.0)));
    assert_eq!(pack("pack2x16float(x[i].xy)"), packed(16, &|x| f16::from_f32(x).to_bits().into()));
    assert_eq!(pack("pack4xI8(vec4<i32>(x[i] * 100))"), packed(8, &|x| ((x * 100.0) as i32).into()));
    assert_eq!(pack("pack4xU8(vec4<u32>(x[i] * 100))"), packed(8, &|x| ((x * 100.0) as u32).into()));
    assert_eq!(pack("pack4xI8Clamp(vec4<i32>(x[i] * 100))"), packed(8, &|x| ((x * 100.0) as i64).clamp(-128, 127)));
    assert_eq!(pack("pack4xU8Clamp(vec4<u32>(x[i] * 100))"), packed(8, &|x| ((x * 100.0) as i64).clamp(0, 255)));
}

#[test]
fn unpacking() {
    let x = [0x80ff_7701_u32, 0x1234_5678, 0x7c00_3c01];
    let unpack = |count: usize, expression: &str| {
        let body = format!("for (var i = 0u; i < 3; i++) {{ result[i] = {expression}; }}");
        words::<f32>(&bytes(&results::<u32, f32>(
            &x,
            ("u32", if count == 4 { "vec4f" } else { "vec2f" }),
            3 * count,
            &body,
        )))
    };
    let bytes_of = |f: &dyn Fn(u8) -> f32| x.iter().flat_map(|x| x.to_le_bytes().map(f)).collect::<Vec<_>>();
    let shorts_of =
        |f: &dyn Fn(u16) -> f32| x.iter().flat_map(|x| [f(*x as u16), f((x >> 16) as u16)]).collect::<Vec<_>>();
    assert_eq!(unpack(4, "unpack4x8snorm(x[i])"), bytes_of(&|x| (f32::from(x as i8) / 127.0).max(-1.0)));
    assert_eq!(unpack(4, "unpack4x8unorm(x[i])"), bytes_of(&|x| f32::from(x) / 255.0));
    assert_eq!(unpack(2, "unpack2x16snorm(x[i])"), shorts_of(&|x| (f32::from(x as i16) / 32767.0).max(-1.0)));
    assert_eq!(unpack(2, "unpack2x16unorm(x[i])"), shorts_of(&|x| f32::from(x) / 65535.0));
    assert_eq!(unpack(2, "unpack2x16float(x[i])"), shorts_of(&|x| f16::from_bits(x).to_f32()));
    assert_eq!(unpack(4, "vec4f(unpack4xI8(x[i]))"), bytes_of(&|x| f32::from(x as i8)));
    assert_eq!(unpack(4, "vec4f(unpack4xU8(x[i]))"), bytes_of(&f32::from));
    let dot = |f: &dyn Fn(u8) -> i32| {
        let (a, b) = (x[0].to_le_bytes(), x[1].to_le_bytes());
        (0..4).map(|i| f(a[i]) * f(b[i])).sum::<i32>()
    };
    let body = "result[0] = dot4I8Packed(x[0], x[1]); result[1] = i32(dot4U8Packed(x[0], x[1]));";
    let expected = [dot(&|x| (x as i8).into()), dot(&|x| x.into())];
    assert_eq!(results::<u32, i32>(&x, ("u32", "i32"), 2, body), expected);
}

#[test]
fn geometry() {
    let (a, b) = ([1.1_f32, -2.3, 0.7], [0.4_f32, 1.9, -3.3]);
    let x = [a, b].concat();
    let dot = |a: [f32; 3], b: [f32; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let check = |expression: &str, expected: [f32; 3]| {
        let body = format!(
            "let a = vec3(x[0], x[1], x[2]); let b = vec3(x[3], x[4], x[5]);
            let v = {expression}; result[0] = v.x; result[1] = v.y; result[2] = v.z;"
        );
        assert_eq!(results::<f32, f32>(&x, ("f32", "f32"), 3, &body), expected, "{expression}");
    };
    check("vec3(dot(a, b))", [dot(a, b); 3]);
    check("vec3(length(a))", [dot(a, a).sqrt(); 3]);
    let between = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    check("vec3(distance(a, b))", [dot(between, between).sqrt(); 3]);
    check("normalize(a)", a.map(|x| x / dot(a, a).sqrt()));
    let at = |i: usize, j: usize| a[i] * b[j] - a[j] * b[i];
    check("cross(a, b)", [at(1, 2), at(2, 0), at(0, 1)]);
    check("faceForward(a, b, a)", if dot(b, a) < 0.0 { a } else { a.map(|x| -x) });
    check("faceForward(a, a, a)", a.map(|x| -x));
    let twice = 2.0 * dot(b, a);
    check("reflect(a, b)", [0, 1, 2].map(|i| a[i] - twice * b[i]));
    let along = dot(b, a);
    let bend = |z: f32| {
        let k = 1.0 - z * z * (1.0 - along * along);
        [0, 1, 2].map(|i| if k < 0.0 { 0.0 } else { z * a[i] - (z * along + k.sqrt()) * b[i] })
    };
    check("refract(a, b, 0.3)", bend(0.3));
    let normal = [0.0_f32, 0.1, 0.0];
    let k = 1.0_f32 - 1.5 * 1.5 * (1.0 - (normal[1] * a[1]) * (normal[1] * a[1]));
    assert!(k < 0.0);
    check("refract(a, vec3(0, 0.1, 0), 1.5)", [0.0; 3]);
    check("a * 2.0 + b / a - 1.0", [0, 1, 2].map(|i| a[i] * 2.0 + b[i] / a[i] - 1.0));
    check("0.5 * -a", a.map(|x| 0.5 * -x));
}

#[test]
fn matrices() {
    let x: Vec<f32> = (0..16).map(|i| 0.37 * (i * i % 11) as f32 - 1.0).collect();
    let m = |c: usize, r: usize| x[c * 3 + r];
    let body = "
        let m = mat2x3f(x[0], x[1], x[2], x[3], x[4], x[5]);
        let n = mat3x2f(x[6], x[7], x[8], x[9], x[10], x[11]);
        let p = m * n;
        for (var c = 0; c < 3; c++) { var q = p; let v = q[c]; for (var r = 0; r < 3; r++) { result[3 * c + r] = v[r]; } }
        let v = m * vec2(x[12], x[13]);
        result[9] = v.x; result[10] = v.z;
        let w = vec3(x[12], x[13], x[14]) * m;
        result[11] = w.x; result[12] = w.y;
        let t = transpose(m);
        result[13] = t[2].y;
        let s = (m + m * 2.0 - 0.5 * m)[1];
        result[14] = s.y;";
    let mut expected: Vec<f32> = Vec::new();
    for c in 0..3 {
        for r in 0..3 {
            expected.push(m(0, r) * x[6 + 2 * c] + m(1, r) * x[7 + 2 * c]);
        }
    }
    let column = |r| m(0, r) * x[12] + m(1, r) * x[13];
    expected.extend([column(0), column(2)]);
    expected.extend([0, 1].map(|c| x[12] * m(c, 0) + x[13] * m(c, 1) + x[14] * m(c, 2)));
    expected.push(m(1, 2));
    expected.push(m(1, 1) + m(1, 1) * 2.0 - 0.5 * m(1, 1));
    assert_eq!(results::<f32, f32>(&x, ("f32", "f32"), 15, body), expected);
}

fn plain_determinant(m: &[f64], n: usize) -> f64 {
    if n == 1 {
        return m[0];
    }
    let minor = |skipped: usize| -> Vec<f64> {
        (1..n).flat_map(|c| (0..n).filter(move |r| *r != skipped).map(move |r| m[c * n + r])).collect()
    };
    (0..n).map(|r| m[r] * plain_determinant(&minor(r), n - 1) * if r % 2 == 0 { 1.0 } else { -1.0 }).sum()
}

#[test]
fn determinants() {
    let x: Vec<f64> = (0..16).map(|i| f64::from((i * i * 7 + 3 * i) % 13 - 5)).collect();
    let body = "
        result[0] = determinant(mat2x2f(x[0], x[1], x[2], x[3]));
        result[1] = determinant(mat3x3f(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8]));
        result[2] = determinant(mat4x4f(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15]));";
    // Whole numbers, of which nothing is rounded.
    let expected = [2, 3, 4].map(|n| plain_determinant(&x, n) as f32);
    let x: Vec<f32> = x.iter().map(|x| *x as f32).collect();
    assert_eq!(results::<f32, f32>(&x, ("f32", "f32"), 3, body), expected);
}
