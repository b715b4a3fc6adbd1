//! Against plain loops in `f64`.
#![expect(unsafe_code, reason = "operations take views, whose memory they trust")]

use super::*;
use crate::cpu::simd::Level;
use crate::cpu::testing::{Array, Random, Value, for_each_index};

const FLOATS: [DType; 3] = [DType::Float32, DType::Float16, DType::BFloat16];

fn devices() -> impl Iterator<Item = CpuDevice> {
    let device = CpuDevice::new().unwrap();
    let levels = Level::available().into_iter().map(move |level| device.with_level(level).unwrap());
    levels.flat_map(|device| [1, 3].map(|threads| device.with_threads(threads)))
}

fn run(device: CpuDevice, logarithm: bool, x: &Array, axis: usize, out: &mut Array) {
    // SAFETY: the arrays are as large as they say.
    unsafe { softmax(device, logarithm, x.view(), axis, out.view_mut()).unwrap() };
}

/// The relative error of the type's rounding.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::Float32 => 1.0 / f64::from(1 << 24),
        DType::Float16 => 1.0 / f64::from(1 << 11),
        _ => 1.0 / f64::from(1 << 8),
    }
}

fn check(device: CpuDevice, logarithm: bool, x: &Array, axis: usize, out: &mut Array) {
    run(device, logarithm, x, axis, out);
    let shape = x.layout.shape.clone();
    let mut rows = shape.clone();
    rows[axis] = 1;
    for_each_index(&rows, |index| {
        let place = |i: usize| {
            let mut place = index.to_vec();
            place[axis] = i;
            place
        };
        let row: Vec<f64> = (0..shape[axis]).map(|i| f64::from(x.at(&place(i)).float())).collect();
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
        for (i, x) in row.iter().enumerate() {
            let want = if logarithm { x - max - sum.ln() } else { (x - max).exp() / sum };
            let got = f64::from(out.at(&place(i)).float());
            let smallest = if out.dtype == DType::Float16 { 6.2e-5 } else { 1.2e-38 };
            // Rounding, and 3 units in the last place of `f32` for what comes before it; the logarithm also has the
            // error of a sum, which is about 1 or more.
            let error = (want.abs() + smallest) * (rounding(out.dtype) + 6.0 * rounding(DType::Float32))
                + if logarithm { 6.0 * rounding(DType::Float32) } else { 0.0 };
            let is_right =
                (got - want).abs() <= error || got == f64::from(want as f32) || got.is_nan() && want.is_nan();
            assert!(is_right, "{device:?} {logarithm} {:?} {index:?} {i}: {got:e} is not {want:e}", out.layout);
        }
    });
}

#[test]
fn rows_and_columns_agree_with_plain_loops() {
    let mut random = Random(81);
    let shapes: [(&[usize], usize); 16] = [
        (&[1], 0),
        (&[3], 0),
        (&[77], 0),
        (&[5, 64], 1),
        (&[5, 64], 0),
        (&[40, 3], 1),
        (&[40, 3], 0),
        (&[3, 2, 33], 1),
        (&[2, 33, 5], 1),
        (&[130, 17], 0),
        (&[9, 1100], 1),
        (&[2, 17_003], 1),
        (&[17_003, 2], 0),
        (&[4500, 18], 0),
        (&[0, 4], 0),
        (&[1, 1, 1], 1),
    ];
    for (shape, axis) in shapes {
        for round in 0..3 {
            let dtype = random.pick(&FLOATS);
            let wide = random.pick(&[1.0, 10.0, 80.0]);
            let value = |random: &mut Random| Value::Float(random.unit() * wide);
            let x = match round {
                0 => Array::new(dtype, shape, || Value::Float(random.unit() * wide)),
                _ => Array::scattered(&mut random, dtype, shape, true, value),
            };
            let mut out = match round {
                2 => Array::scattered(&mut random, dtype, shape, false, |_| Value::Int(1)),
                _ => Array::new(dtype, shape, || Value::Int(1)),
            };
            for device in devices() {
                for logarithm in [false, true] {
                    check(device, logarithm, &x, axis, &mut out);
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mut random = Random(82);
    let device = CpuDevice::new().unwrap();
    for (shape, axis) in [([300, 500], 1), ([300, 500], 0), ([2, 70_000], 1), ([70_000, 2], 0)] {
        let x = Array::new(DType::Float32, &shape, || Value::Float(random.unit() * 9.0));
        for logarithm in [false, true] {
            let mut results: Vec<Array> = (0..2).map(|_| x.clone()).collect();
            for (threads, out) in [1, 5].into_iter().zip(&mut results) {
                run(device.with_threads(threads), logarithm, &x, axis, out);
            }
            for_each_index(&shape, |index| assert!(results[0].at(index).same(results[1].at(index))));
        }
    }
}

#[test]
fn special_values() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let rows: [&[f32]; 14] = [
        &[1000.0, 1001.0],
        &[-1000.0, -1001.0],
        &[-inf, -inf],
        &[0.0, -inf],
        &[-inf, 5.0, -80.0],
        &[inf, 1.0],
        &[inf, -inf],
        &[nan, 1.0],
        &[1.0, nan, -inf],
        &[3e38, 3e38, -3e38],
        &[1e5, 1e5 + 1.0, -1e5],
        &[20_000.0, 19_990.0, 5.0],
        &[-20_000.0, -19_990.0, -16_000.0],
        &[0.3, 0.3],
    ];
    for row in rows {
        // Alone, as columns, and so long that rows are gone through twice.
        for (repeats, columns) in [(1, 1), (1, 40), (9000, 1), (2500, 20)] {
            let shape = [row.len() * repeats, columns];
            let mut i = 0;
            let x = Array::new(DType::Float32, &shape, || {
                i += 1;
                Value::Float(row[(i - 1) / columns % row.len()])
            });
            let mut out = x.clone();
            for device in devices() {
                for logarithm in [false, true] {
                    check(device, logarithm, &x, 0, &mut out);
                    if logarithm {
                        for_each_index(&shape, |index| {
                            let value = out.at(index).float();
                            assert!(value <= 0.0 || value.is_nan(), "{row:?}");
                        });
                    }
                }
            }
        }
    }
    let equal = Array::new(DType::Float32, &[2], || Value::Float(0.3));
    let mut out = equal.clone();
    run(CpuDevice::new().unwrap(), false, &equal, 0, &mut out);
    assert_eq!([out.get(0).float(), out.get(1).float()], [0.5, 0.5]);
}
