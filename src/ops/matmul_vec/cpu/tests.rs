//! Random matrices against sums in `f64`.
#![expect(unsafe_code, reason = "operations take views, whose memory they trust")]

use super::*;
use crate::cpu::testing::{Array, Random, Value, for_each_index};

fn devices() -> Vec<CpuDevice> {
    let device = CpuDevice::new().unwrap();
    let levels = Level::available().into_iter().map(|level| device.with_level(level).unwrap());
    levels.flat_map(|device| [1, 3].map(|threads| device.with_threads(threads))).collect()
}

fn product(device: CpuDevice, w: &Array, x: &Array, out: &mut Array) {
    // SAFETY: three arrays of their own, whose shapes the tests choose.
    unsafe { matmul_vec(device, w.view(), x.view(), out.view_mut(), 1.0).unwrap() };
}

/// Compares every result with the sum of products, relative to the sum of their magnitudes.
fn check(w: &Array, x: &Array, out: &Array, tolerance: f64, what: &str) {
    let k = *x.layout.shape.last().unwrap();
    for_each_index(&out.layout.shape, |index| {
        let leading = index.len() - 1;
        let (mut sum, mut magnitude, mut whole) = (0.0, 0.0, 0_i64);
        for i in 0..k {
            let at_w = [index, &[i]].concat();
            let at_x = [&index[..leading], &[i]].concat();
            let (a, b) = (w.at(&at_w), x.at(&at_x));
            sum += f64::from(a.float()) * f64::from(b.float());
            magnitude += f64::from(a.float().abs()) * f64::from(b.float().abs());
            whole = whole.wrapping_add(a.int().wrapping_mul(b.int()));
        }
        match out.at(index) {
            Value::Int(_) => {
                let want = Array::new(out.dtype, &[1], || Value::Int(i64::from(whole as i32))).get(0);
                assert!(out.at(index).same(want), "{what}: {:?} at {index:?}, not {want:?}", out.at(index));
            }
            Value::Float(got) => {
                // Half results are the f32 result rounded.
                let unit = match out.dtype {
                    DType::Float16 => sum.abs() / 2048.0 + 1e-7,
                    DType::BFloat16 => sum.abs() / 256.0,
                    _ => 0.0,
                };
                let error = (f64::from(got) - sum).abs();
                assert!(error <= tolerance * magnitude + unit, "{what}: {got} at {index:?}, not {sum}");
            }
        }
    });
}

#[test]
fn the_smallest_proof_of_life() {
    let mut values = (1..=6).chain(1..=3).map(|i| Value::Float(i as f32));
    let w = Array::new(DType::Float32, &[2, 3], || values.next().unwrap());
    let x = Array::new(DType::Float32, &[3], || values.next().unwrap());
    for device in devices() {
        let mut out = Array::new(DType::Float32, &[2], || Value::Float(0.0));
        product(device, &w, &x, &mut out);
        assert_eq!([0, 1].map(|i| out.get(i).float()), [14.0, 32.0]);
    }
}

#[test]
fn any_types_and_strides() {
    let mut random = Random(21);
    let lengths = [0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 100, 130, 600, 1100];
    for round in 0..500 {
        let (dtype, w_type, x_type) = random.pick(&[
            (DType::Float32, DType::Float32, DType::Float32),
            (DType::Float16, DType::Float16, DType::Float16),
            (DType::BFloat16, DType::BFloat16, DType::BFloat16),
            (DType::Float32, DType::Float16, DType::Float32),
            (DType::Float32, DType::Int8, DType::BFloat16),
            (DType::Int32, DType::Int32, DType::Int32),
            (DType::UInt32, DType::UInt32, DType::UInt8),
            (DType::Int8, DType::Int8, DType::Int8),
            (DType::Int32, DType::UInt8, DType::Int32),
            (DType::Bool, DType::Bool, DType::Bool),
        ]);
        let mut leading: Vec<usize> = (0..random.below(3)).map(|_| random.pick(&[1, 2, 3])).collect();
        let (mut n, k) = (random.pick(&lengths), random.pick(&lengths));
        if n * k > 40_000 {
            n = 7;
        }
        if n * k > 3000 {
            leading.clear();
        }
        let element = |random: &mut Random, dtype: DType| match dtype.kind() {
            Kind::Float => Value::Float(random.unit()),
            _ => Value::random(random, dtype),
        };
        let w = Array::scattered(&mut random, w_type, &[&leading[..], &[n, k]].concat(), true, |r| element(r, w_type));
        let x = Array::scattered(&mut random, x_type, &[&leading[..], &[k]].concat(), true, |r| element(r, x_type));
        let before = Array::scattered(&mut random, dtype, &[&leading[..], &[n]].concat(), false, |_| Value::Int(1));
        for device in devices() {
            let mut out = before.clone();
            product(device, &w, &x, &mut out);
            let what = format!("round {round}, {w_type} {:?} by {x_type} on {device:?}", w.layout);
            check(&w, &x, &out, 1e-6, &what);
        }
    }
}

/// The same bits with any number of threads, and for long sums an error that does not grow.
#[test]
fn large_and_long() {
    let mut random = Random(22);
    let shapes = [(1, 1_000_003), (3, 300_001), (40, 70_001), (1000, 1000), (5000, 130), (100_001, 5), (300_001, 1)];
    for (n, k) in shapes {
        for (dtype, transposed) in
            [(DType::Float32, false), (DType::Float32, true), (DType::BFloat16, false), (DType::Float16, true)]
        {
            // Equal signs and an inexact value are the hardest for a long sum.
            let mut element = || Value::Float(0.1 + random.unit() * 1e-3);
            let mut w = Array::new(dtype, &if transposed { [k, n] } else { [n, k] }, &mut element);
            if transposed {
                w.layout = w.layout.transposed();
            }
            let x = Array::new(DType::Float32, &[k], &mut element);
            for level in Level::available() {
                let device = CpuDevice::new().unwrap().with_level(level).unwrap();
                let [one, three] = [1, 3].map(|threads| {
                    let mut out = Array::new(DType::Float32, &[n], || Value::Float(f32::NAN));
                    product(device.with_threads(threads), &w, &x, &mut out);
                    out
                });
                for i in 0..n as isize {
                    assert!(one.get(i).same(three.get(i)), "{n} by {k} on {level}: row {i} depends on threads");
                }
                check(&w, &x, &one, 1e-6, &format!("{dtype} {n} by {k}, transposed: {transposed}, on {level}"));
            }
        }
    }
}

#[test]
fn one_matrix_for_many_vectors() {
    let mut random = Random(23);
    for (vectors, n, k) in [(5000, 3, 4), (70, 200, 64), (3, 300, 1000)] {
        let mut w = Array::new(DType::Float32, &[n, k], || Value::Float(random.unit()));
        w.layout = w.layout.broadcast_to(&[vectors, n, k], "test").unwrap();
        let x = Array::new(DType::Float32, &[vectors, k], || Value::Float(random.unit()));
        for device in devices() {
            let mut out = Array::new(DType::Float32, &[vectors, n], || Value::Float(f32::NAN));
            product(device, &w, &x, &mut out);
            check(&w, &x, &out, 1e-6, &format!("{vectors} vectors, {n} by {k} on {device:?}"));
        }
    }
}
