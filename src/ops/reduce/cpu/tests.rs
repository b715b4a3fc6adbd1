//! Random arrays against one element at a time.
#![expect(unsafe_code, reason = "operations take views, whose memory they trust")]

use super::*;
use crate::cpu::testing::{Array, Random, Value, for_each_index, random_shape};
use crate::shape::{Layout, Strides};

const REDUCTIONS: [Reduction; 13] = [
    Reduction::Sum,
    Reduction::Mean,
    Reduction::Prod,
    Reduction::Max,
    Reduction::Min,
    Reduction::Any,
    Reduction::All,
    Reduction::ArgMax,
    Reduction::ArgMin,
    Reduction::Var { correction: 0.0 },
    Reduction::Var { correction: 1.5 },
    Reduction::Std { correction: 0.0 },
    Reduction::Std { correction: 1.0 },
];

fn devices() -> impl Iterator<Item = CpuDevice> {
    let device = CpuDevice::new().unwrap();
    let levels = Level::available().into_iter().map(move |level| device.with_level(level).unwrap());
    levels.flat_map(|device| [1, 3].map(|threads| device.with_threads(threads)))
}

fn result_type(reduction: Reduction, dtype: DType) -> DType {
    let is_float = dtype.kind() == Kind::Float;
    match reduction {
        Reduction::Any | Reduction::All => DType::Bool,
        Reduction::ArgMax | Reduction::ArgMin => DType::Int32,
        Reduction::Sum | Reduction::Prod if !is_float && dtype != DType::UInt32 => DType::Int32,
        Reduction::Mean | Reduction::Var { .. } | Reduction::Std { .. } if !is_float => DType::Float32,
        _ => dtype,
    }
}

/// What a row comes to, and how far from it a result may be.
fn expected(reduction: Reduction, dtype: DType, row: &[Value]) -> (f64, f64) {
    let n = row.len() as f64;
    let wide: Vec<f64> = row
        .iter()
        .map(|&value| match value {
            Value::Float(x) => f64::from(x),
            Value::Int(x) => x as f64,
        })
        .collect();
    let magnitude: f64 = wide.iter().map(|x| x.abs()).sum();
    let sum: f64 = wide.iter().sum();
    let whole = |start: i64, f: fn(i64, i64) -> i64| {
        let all = row.iter().fold(start, |a, b| i64::from(f(a, b.int()) as u32));
        if dtype == DType::UInt32 { all } else { i64::from(all as i32) }
    };
    // The first that no other is better than, and a NaN before all.
    let best = |better: fn(f64, f64) -> bool| {
        (1..wide.len()).fold(0, |a, b| {
            let wins = better(wide[b], wide[a]) || wide[b].is_nan();
            if wins && !wide[a].is_nan() { b } else { a }
        })
    };
    let variance = |correction: f64| {
        let squares: f64 = wide.iter().map(|x| (x - sum / n) * (x - sum / n)).sum();
        squares / (n - correction).max(0.0)
    };
    match reduction {
        Reduction::Sum if dtype.kind() != Kind::Float => (whole(0, i64::wrapping_add) as f64, 0.0),
        Reduction::Prod if dtype.kind() != Kind::Float => (whole(1, i64::wrapping_mul) as f64, 0.0),
        Reduction::Sum => (sum, 2e-6 * magnitude),
        Reduction::Mean => (sum / n, 2e-6 * magnitude / n),
        Reduction::Prod => (wide.iter().product(), 0.0),
        Reduction::Max => (wide[best(|a, b| a > b)], 0.0),
        Reduction::Min => (wide[best(|a, b| a < b)], 0.0),
        Reduction::ArgMax => (best(|a, b| a > b) as f64, 0.0),
        Reduction::ArgMin => (best(|a, b| a < b) as f64, 0.0),
        Reduction::Any => (f64::from(wide.iter().any(|&x| x != 0.0)), 0.0),
        Reduction::All => (f64::from(wide.iter().all(|&x| x != 0.0)), 0.0),
        Reduction::Var { correction } => (variance(correction), 2e-6 * variance(correction)),
        Reduction::Std { correction } => (variance(correction).sqrt(), 2e-6 * variance(correction).sqrt()),
    }
}

fn check(device: CpuDevice, reduction: Reduction, x: &Array, axes: &[usize], out: &mut Array) {
    let shape = x.layout.shape.clone();
    // SAFETY: the arrays are as large as they say.
    unsafe { reduce(device, reduction, x.view(), axes, out.view_mut()).unwrap() };
    let dtype = out.dtype;
    for_each_index(&out.layout.shape.clone(), |index| {
        let mut row = Vec::new();
        let inner: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        for_each_index(&inner, |within| {
            let mut place = index.to_vec();
            axes.iter().zip(within).for_each(|(&axis, &i)| place[axis] = i);
            row.push(x.at(&place));
        });
        let what = format!("{reduction:?} of {} {:?} along {axes:?} at {index:?}, {device:?}", x.dtype, x.layout);
        let (want, error) = expected(reduction, x.dtype, &row);
        let got = match out.at(index) {
            Value::Float(x) => f64::from(x),
            Value::Int(x) => x as f64,
        };
        let want = want.clamp(-1e300, 1e300);
        let unit = match dtype {
            DType::Float32 => f64::from(f32::EPSILON),
            DType::Float16 => 1.0 / 1024.0,
            DType::BFloat16 => 1.0 / 128.0,
            _ => 0.0,
        };
        let rounded = match Array::new(dtype, &[1], || Value::Float(want as f32)).get(0) {
            Value::Float(x) => f64::from(x),
            Value::Int(_) => want,
        };
        let close = (got - want).abs() <= error + 0.51 * unit * want.abs() + if unit > 0.0 { 1e-37 } else { 0.0 };
        assert!(close || got == rounded || got.is_nan() && rounded.is_nan(), "{what}: {got:e} is not {want:e}");
    });
}

fn axes_of(random: &mut Random, shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).filter(|_| random.below(2) == 0).collect()
}

#[test]
fn reductions_agree_with_plain_loops() {
    let mut random = Random(71);
    for round in 0..400 {
        let reduction = random.pick(&REDUCTIONS);
        let dtype = random.pick(&DType::ALL);
        let shape = random_shape(&mut random);
        let axes = axes_of(&mut random, &shape);
        let needs_some = matches!(reduction, Reduction::Max | Reduction::Min | Reduction::ArgMax | Reduction::ArgMin);
        if needs_some && axes.iter().any(|&axis| shape[axis] == 0) {
            continue;
        }
        let special = needs_some || matches!(reduction, Reduction::Any | Reduction::All);
        let x = Array::scattered(&mut random, dtype, &shape, true, |random| match dtype.kind() {
            Kind::Float if special && round % 3 > 0 => Value::random(random, dtype),
            // Equal ones among them, and products that do not leave the range.
            Kind::Float => Value::Float((random.unit() * 64.0).round() / 32.0 + random.pick(&[0.0, 0.01])),
            _ => Value::random(random, dtype),
        });
        let mut short = shape.clone();
        for &axis in &axes {
            short[axis] = 1;
        }
        let result = result_type(reduction, dtype);
        let mut out = Array::scattered(&mut random, result, &short, false, |_| Value::Int(1));
        for device in devices() {
            check(device, reduction, &x, &axes, &mut out);
        }
    }
}

#[test]
fn large_arrays_are_shared_between_threads() {
    let mut random = Random(72);
    let device = CpuDevice::new().unwrap();
    let shapes: [(&[usize], &[&[usize]]); 5] = [
        (&[400_001], &[&[0]]),
        (&[3, 130_001], &[&[0], &[1], &[0, 1]]),
        (&[100_001, 3], &[&[0], &[1], &[0, 1]]),
        (&[601, 701], &[&[0], &[1], &[0, 1]]),
        (&[20, 133, 129], &[&[0, 2], &[1], &[0, 1]]),
    ];
    for (shape, choices) in shapes {
        for dtype in [DType::Float32, DType::BFloat16, DType::Int8] {
            let x = Array::new(dtype, shape, || match dtype.kind() {
                Kind::Float => Value::Float(random.unit() + 0.25),
                _ => Value::Int(random.next() as i64 % 100),
            });
            for &axes in choices {
                for reduction in REDUCTIONS {
                    let mut short = shape.to_vec();
                    for &axis in axes {
                        short[axis] = 1;
                    }
                    let result = result_type(reduction, dtype);
                    let mut out = Array::new(result, &short, || Value::Int(1));
                    if reduction == Reduction::Prod && dtype != DType::Int8 {
                        continue;
                    }
                    check(device.with_threads(2), reduction, &x, axes, &mut out);
                    // The number of threads changes nothing.
                    let mut again = Array::new(result, &short, || Value::Int(1));
                    // SAFETY: the arrays are as large as they say.
                    unsafe { reduce(device.with_threads(5), reduction, x.view(), axes, again.view_mut()).unwrap() };
                    for_each_index(&short, |index| assert!(out.at(index).same(again.at(index)), "{reduction:?}"));
                }
            }
        }
    }
}

/// Reduces all of a view.
fn of_all(device: CpuDevice, reduction: Reduction, x: View<'_>) -> f32 {
    let axes: Vec<usize> = (0..x.layout.ndim()).collect();
    let mut out = Array::new(DType::Float32, &vec![1; axes.len()], || Value::Float(7.0));
    // SAFETY: the arrays are as large as they say.
    unsafe { reduce(device, reduction, x, &axes, out.view_mut()).unwrap() };
    out.get(0).float()
}

#[test]
fn sums_stay_exact_however_long() {
    // 2^25 elements of which a thousand are in memory.
    for value in [1.0, 0.1, 1.1, 3e-30] {
        let short = Array::new(DType::Float32, &[1 << 10], || Value::Float(value));
        let shape = [1 << 15, 1 << 10];
        let layout = Layout { strides: Strides::from_slice(&[0, 1]), ..Layout::contiguous(&shape) };
        let long = View { layout: &layout, ..short.view() };
        for device in devices() {
            let got = f64::from(of_all(device, Reduction::Sum, long));
            let want = f64::from(value) * f64::from(1 << 25);
            assert!((got - want).abs() <= if value == 1.0 { 0.0 } else { 2e-6 * want }, "{device:?}: {got} {want}");
        }
    }
    let mut random = Random(73);
    for columns in [1, 40] {
        let x = Array::new(DType::Float32, &[30_000, columns], || Value::Float(0.1 + random.unit() * 1e-9));
        for device in devices() {
            check(device, Reduction::Sum, &x, &[0], &mut Array::new(DType::Float32, &[1, columns], || Value::Int(0)));
        }
    }
}

#[test]
fn variance_survives_a_large_mean() {
    for device in devices() {
        for (mean, apart) in [(1e4, 1.0), (1e7, 1.0), (-3e5, 0.25), (0.0, 1e-22), (0.0, 1e25)] {
            for shape in [vec![50_001], vec![1001, 50], vec![50, 1001]] {
                let mut sign = 1.0;
                let x = Array::new(DType::Float32, &shape, || {
                    sign = -sign;
                    Value::Float(mean + sign * apart)
                });
                let got = of_all(device, Reduction::Std { correction: 0.0 }, x.view());
                assert!((got / apart - 1.0).abs() < 1e-5, "{device:?}: {got} of {mean} and {apart}");
                let columns = shape.len() - 1;
                if shape[columns] % 2 == 0 {
                    // Each column has one number only.
                    let mut short = shape.clone();
                    short[0] = 1;
                    let mut out = Array::new(DType::Float32, &short, || Value::Int(1));
                    check(device, Reduction::Var { correction: 0.0 }, &x, &[0], &mut out);
                }
            }
        }
        // Half of it is far from the other half.
        let x = Array::new(DType::Float32, &[2, 5000], || Value::Float(0.0));
        let mut x = x;
        (0..5000).for_each(|i| x.set(i, Value::Float(1e4 + (i % 2) as f32)));
        check(
            device,
            Reduction::Var { correction: 0.0 },
            &x,
            &[0, 1],
            &mut Array::new(DType::Float32, &[1, 1], || Value::Int(0)),
        );
    }
}

#[test]
fn rows_of_nothing() {
    for device in devices() {
        for (reduction, want) in [
            (Reduction::Sum, 0.0),
            (Reduction::Prod, 1.0),
            (Reduction::Any, 0.0),
            (Reduction::All, 1.0),
            (Reduction::Mean, f32::NAN),
            (Reduction::Std { correction: 0.0 }, f32::NAN),
        ] {
            for dtype in DType::ALL {
                let x = Array::new(dtype, &[3, 0, 700], || Value::Int(0));
                let mut out = Array::new(result_type(reduction, dtype), &[3, 1, 700], || Value::Int(9));
                // SAFETY: the arrays are as large as they say.
                unsafe { reduce(device, reduction, x.view(), &[1], out.view_mut()).unwrap() };
                for_each_index(&[3, 1, 700], |index| {
                    let got = out.at(index).float();
                    assert!(got == want || got.is_nan() && want.is_nan(), "{reduction:?} of no {dtype} is {got}");
                });
            }
        }
        let none = Array::new(DType::Float32, &[0, 5], || Value::Int(0));
        let mut out = Array::new(DType::Float32, &[0, 1], || Value::Int(0));
        // SAFETY: there is nothing to read or write.
        unsafe { reduce(device, Reduction::Max, none.view(), &[1], out.view_mut()).unwrap() };
    }
}

#[test]
fn special_values() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let cases: [(&[f32], [f32; 4]); 6] = [
        // The largest, the smallest, and their places.
        (&[1.0, nan, 3.0, nan], [nan, nan, 1.0, 1.0]),
        (&[-inf, -inf], [-inf, -inf, 0.0, 0.0]),
        (&[inf, inf, -inf], [inf, -inf, 0.0, 2.0]),
        (&[-0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
        (&[2.0, 5.0, 5.0, 2.0], [5.0, 2.0, 1.0, 0.0]),
        (&[inf, nan], [nan, nan, 1.0, 1.0]),
    ];
    for (row, want) in cases {
        for repeats in [1, 50] {
            let mut values = row.iter().flat_map(|&value| std::iter::repeat_n(value, repeats));
            let x = Array::new(DType::Float32, &[row.len(), repeats], || Value::Float(values.next().unwrap()));
            for device in devices() {
                for (reduction, want) in
                    [Reduction::Max, Reduction::Min, Reduction::ArgMax, Reduction::ArgMin].into_iter().zip(want)
                {
                    let result = result_type(reduction, DType::Float32);
                    let mut out = Array::new(result, &[1, repeats], || Value::Int(3));
                    // SAFETY: the arrays are as large as they say.
                    unsafe { reduce(device, reduction, x.view(), &[0], out.view_mut()).unwrap() };
                    let got = out.at(&[0, repeats - 1]).float();
                    assert!(got == want || got.is_nan() && want.is_nan(), "{reduction:?} of {row:?} is {got}");
                }
            }
        }
    }
}
