//! Random matrices against sums in `f64`.
#![expect(unsafe_code, reason = "operations take views, whose memory they trust")]

use super::*;
use crate::cpu::simd::Level;
use crate::cpu::testing::{Array, Random, Value, for_each_index};
use crate::dtype::Kind;

fn devices() -> Vec<CpuDevice> {
    let device = CpuDevice::new().unwrap();
    let levels = Level::available().into_iter().map(|level| device.with_level(level).unwrap());
    levels.flat_map(|device| [1, 2, 5].map(|threads| device.with_threads(threads))).collect()
}

fn product(device: CpuDevice, a: &Array, b: &Array, out: &mut Array, scale: f32) {
    // SAFETY: three arrays of their own, whose shapes the tests choose.
    unsafe { multiply(device, a.view(), b.view(), out.view_mut(), scale).unwrap() };
}

/// Compares every result with the sum of products, relative to the sum of their magnitudes.
fn check(a: &Array, b: &Array, out: &Array, scale: f32, what: &str) {
    let k = *a.layout.shape.last().unwrap();
    let flushed = a.dtype == DType::BFloat16 && b.dtype == DType::BFloat16;
    for_each_index(&out.layout.shape, |index| {
        let (lead, [row, column]) = index.split_last_chunk().unwrap();
        let (mut sum, mut magnitude, mut whole) = (0.0, 0.0, 0_i64);
        for i in 0..k {
            let (x, y) = (a.at(&[lead, &[*row, i]].concat()), b.at(&[lead, &[i, *column]].concat()));
            sum += f64::from(x.float()) * f64::from(y.float());
            magnitude += f64::from(x.float().abs()) * f64::from(y.float().abs());
            whole = whole.wrapping_add(x.int().wrapping_mul(y.int()));
        }
        match out.at(index) {
            Value::Int(_) => {
                let want = Array::new(out.dtype, &[1], || Value::Int(i64::from(whole as i32))).get(0);
                assert!(out.at(index).same(want), "{what}: {:?} at {index:?}, not {want:?}", out.at(index));
            }
            Value::Float(got) => {
                let (sum, magnitude) = (sum * f64::from(scale), magnitude * f64::from(scale.abs()));
                // Half results are the f32 result rounded.
                let unit = match out.dtype {
                    DType::Float16 => sum.abs() / 2048.0 + 1e-7,
                    DType::BFloat16 => sum.abs() / 256.0,
                    _ => 0.0,
                };
                // Instructions for bf16 take subnormal numbers for zeros.
                let lost = if flushed { 1e-37 } else { 0.0 };
                let error = (f64::from(got) - sum).abs();
                assert!(error <= 1.5e-6 * magnitude + unit + lost, "{what}: {got} at {index:?}, not {sum}");
            }
        }
    });
}

#[test]
fn the_smallest_proof_of_life() {
    let mut values = (1..=12).map(|i| Value::Float(i as f32));
    let a = Array::new(DType::Float32, &[2, 3], || values.next().unwrap());
    let b = Array::new(DType::Float32, &[3, 2], || values.next().unwrap());
    for device in devices() {
        let mut out = Array::new(DType::Float32, &[2, 2], || Value::Float(f32::NAN));
        product(device, &a, &b, &mut out, 1.0);
        assert_eq!([0, 1, 2, 3].map(|i| out.get(i).float()), [58.0, 64.0, 139.0, 154.0]);
    }
}

#[test]
fn any_types_and_strides() {
    let mut random = Random(31);
    let lengths = [0, 1, 2, 3, 5, 8, 12, 15, 16, 17, 31, 33, 50, 64, 100, 130, 270];
    for round in 0..600 {
        let (dtype, a_type, b_type) = random.pick(&[
            (DType::Float32, DType::Float32, DType::Float32),
            (DType::Float32, DType::Float32, DType::Float32),
            (DType::Float16, DType::Float16, DType::Float16),
            (DType::BFloat16, DType::BFloat16, DType::BFloat16),
            (DType::Float32, DType::BFloat16, DType::BFloat16),
            (DType::Float32, DType::Float16, DType::BFloat16),
            (DType::Float32, DType::BFloat16, DType::Float32),
            (DType::Float32, DType::Int8, DType::Float32),
            (DType::Int32, DType::Int32, DType::Int32),
            (DType::UInt32, DType::Int32, DType::UInt32),
            (DType::Int8, DType::Int8, DType::UInt8),
            (DType::Bool, DType::Bool, DType::Int32),
        ]);
        let mut lead: Vec<usize> = (0..random.below(3)).map(|_| random.pick(&[1, 2, 3])).collect();
        let [mut m, n, k] = [0; 3].map(|_| random.pick(&lengths));
        if m * n * k > 300_000 {
            m = random.pick(&[1, 2, 9, 13]);
        }
        if m * n * k > 30_000 {
            lead.clear();
        } else if m * n * k < 1000 && random.below(3) == 0 {
            lead = vec![random.pick(&[16, 21])];
        }
        let scale = random.pick(&[1.0, 1.0, -0.375]);
        let element = |random: &mut Random, dtype: DType| match dtype.kind() {
            Kind::Float => Value::Float(random.unit()),
            _ => Value::random(random, dtype),
        };
        let a = Array::scattered(&mut random, a_type, &[&lead[..], &[m, k]].concat(), true, |r| element(r, a_type));
        let b = Array::scattered(&mut random, b_type, &[&lead[..], &[k, n]].concat(), true, |r| element(r, b_type));
        let before = Array::scattered(&mut random, dtype, &[&lead[..], &[m, n]].concat(), false, |_| Value::Int(1));
        let mut last: Option<(Level, Array)> = None;
        for device in devices() {
            let mut out = before.clone();
            product(device, &a, &b, &mut out, scale);
            let what = format!("round {round}, {a_type} {:?} by {b_type} {:?} on {device:?}", a.layout, b.layout);
            match &last {
                Some((level, one)) if *level == device.level() => same(one, &out, &what),
                _ => check(&a, &b, &out, scale, &what),
            }
            last = Some((device.level(), out));
        }
    }
}

fn same(one: &Array, other: &Array, what: &str) {
    for_each_index(&one.layout.shape, |index| {
        assert!(one.at(index).same(other.at(index)), "{what}: {index:?} depends on the number of threads");
    });
}

/// Products that several threads share: the same bits with any number of them, and for long sums an error that does
/// not grow. Some of the results are looked at.
#[test]
fn large_and_long() {
    let mut random = Random(32);
    let shapes = [(300, 500, 250), (40, 30, 70_001), (9, 700, 9000), (3100, 20, 600), (129, 3100, 64), (8, 1100, 1000)];
    for (m, n, k) in shapes {
        for (dtype, turned) in [(DType::Float32, false), (DType::Float32, true), (DType::BFloat16, false)] {
            // Equal signs and an inexact value are the hardest for a long sum.
            let mut element = || Value::Float(0.1 + random.unit() * 1e-3);
            let a = Array::new(dtype, &[m, k], &mut element);
            let mut b = Array::new(dtype, &if turned { [n, k] } else { [k, n] }, &mut element);
            if turned {
                b.layout = b.layout.transposed();
            }
            for level in Level::available() {
                let device = CpuDevice::new().unwrap().with_level(level).unwrap();
                let [one, two, five] = [1, 2, 5].map(|threads| {
                    let mut out = Array::new(DType::Float32, &[m, n], || Value::Float(f32::NAN));
                    product(device.with_threads(threads), &a, &b, &mut out, 1.0);
                    out
                });
                let what = format!("{dtype} {m} by {n} by {k}, turned: {turned}, on {level}");
                same(&one, &two, &what);
                same(&one, &five, &what);
                for _ in 0..100 {
                    let (row, column) = (random.below(m), random.below(n));
                    let sum: f64 = (0..k)
                        .map(|i| f64::from(a.at(&[row, i]).float()) * f64::from(b.at(&[i, column]).float()))
                        .sum();
                    let got = f64::from(one.at(&[row, column]).float());
                    assert!((got - sum).abs() <= 1.5e-6 * sum, "{what}: {got} at {row}, {column}, not {sum}");
                }
            }
        }
    }
}

#[test]
fn infinite_and_not_a_number() {
    let mut random = Random(33);
    for device in devices() {
        let mut a = Array::new(DType::Float32, &[37, 45], || Value::Float(random.unit()));
        let b = Array::new(DType::Float32, &[45, 50], || Value::Float(random.unit() + 2.0));
        a.set(3 * 45 + 44, Value::Float(f32::INFINITY));
        a.set(36 * 45 + 7, Value::Float(f32::NAN));
        let mut out = Array::new(DType::Float32, &[37, 50], || Value::Float(0.0));
        product(device, &a, &b, &mut out, 1.0);
        for_each_index(&[37, 50], |index| {
            let got = out.at(index).float();
            match index[0] {
                3 => assert_eq!(got, f32::INFINITY),
                36 => assert!(got.is_nan()),
                _ => assert!(got.is_finite()),
            }
        });
    }
}
