//! Random attention against sums in `f64`.
#![expect(unsafe_code, reason = "operations take views, whose memory they trust")]

use super::*;
use crate::cpu::simd::Level;
use crate::cpu::testing::{Array, Random, Value, for_each_index};
use crate::shape::Layout;

const FLOATS: [DType; 3] = [DType::Float32, DType::Float16, DType::BFloat16];
const EVERYTHING: Reach = Reach { causal: false, before: None, after: None };

fn devices() -> Vec<CpuDevice> {
    let device = CpuDevice::new().unwrap();
    let levels = Level::available().into_iter().map(|level| device.with_level(level).unwrap());
    levels.flat_map(|device| [1, 2, 5].map(|threads| device.with_threads(threads))).collect()
}

fn attend(device: CpuDevice, [q, k, v]: [&Array; 3], out: &mut Array, options: &Options<'_>) {
    // SAFETY: arrays of their own, whose shapes the tests choose.
    unsafe { attention(device, q.view(), k.view(), v.view(), out.view_mut(), options).unwrap() };
}

/// The result for one query: each number, and the sum of magnitudes that it is made of.
fn expected(
    [q, k, v]: [&Array; 3],
    mask: Option<&Array>,
    options: &Options<'_>,
    [batch, head, query]: [usize; 3],
) -> Vec<(f64, f64)> {
    let (t, d, dv) = (q.layout.shape[2], q.layout.shape[3], v.layout.shape[3]);
    let key_head = head / (q.layout.shape[1] / k.layout.shape[1]);
    let (from, to) = options.reach.keys(query, t, options.lengths[batch % options.lengths.len()]);
    let number = |array: &Array, index: [usize; 4]| f64::from(array.at(&index).float());
    let scores: Vec<f64> = (from..to)
        .map(|key| {
            let sum: f64 =
                (0..d).map(|i| number(q, [batch, head, query, i]) * number(k, [batch, key_head, key, i])).sum();
            let mut score = sum * f64::from(options.scale);
            if let Some(cap) = options.softcap {
                score = f64::from(cap) * (score / f64::from(cap)).tanh();
            }
            match mask {
                Some(mask) if mask.dtype == DType::Bool && number(mask, [batch, head, query, key]) == 0.0 => {
                    f64::NEG_INFINITY
                }
                Some(mask) if mask.dtype != DType::Bool => score + number(mask, [batch, head, query, key]),
                _ => score,
            }
        })
        .collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> =
        scores.iter().map(|score| if largest.is_finite() { (score - largest).exp() } else { 0.0 }).collect();
    let total: f64 = weights.iter().sum();
    let share = if total == 0.0 { 0.0 } else { 1.0 / total };
    (0..dv)
        .map(|column| {
            weights.iter().zip(from..to).fold((0.0, 0.0), |(sum, magnitude), (weight, key)| {
                let term = weight * share * number(v, [batch, key_head, key, column]);
                (sum + term, magnitude + term.abs())
            })
        })
        .collect()
}

fn check(operands: [&Array; 3], mask: Option<&Array>, out: &Array, options: &Options<'_>, what: &str) {
    let [batch, heads, t, dv] = std::array::from_fn(|axis| out.layout.shape[axis]);
    for_each_index(&[batch, heads, t], |index| {
        let index: [usize; 3] = index.try_into().unwrap();
        let row = expected(operands, mask, options, index);
        for (column, &(want, magnitude)) in row.iter().enumerate().take(dv) {
            let got = f64::from(out.at(&[&index[..], &[column]].concat()).float());
            // Half results are the f32 result rounded.
            let unit = match out.dtype {
                DType::Float16 => want.abs() / 2048.0 + 1e-7,
                DType::BFloat16 => want.abs() / 256.0,
                _ => 0.0,
            };
            let error = (got - want).abs();
            assert!(error <= 1e-5 * magnitude + unit, "{what}: {got} at {index:?}, {column}, not {want}");
        }
    });
}

fn same(one: &Array, other: &Array, what: &str) {
    for_each_index(&one.layout.shape, |index| {
        assert!(one.at(index).same(other.at(index)), "{what}: {index:?} depends on the number of threads");
    });
}

#[test]
fn the_smallest_proof_of_life() {
    // Both keys are alike, so the result is the mean of the values.
    let array = |shape: &[usize], values: &[f32]| {
        let mut values = values.iter();
        Array::new(DType::Float32, shape, || Value::Float(*values.next().unwrap()))
    };
    let q = array(&[1, 1, 1, 2], &[3.0, 4.0]);
    let k = array(&[1, 1, 2, 2], &[1.0, 2.0, 1.0, 2.0]);
    let v = array(&[1, 1, 2, 1], &[5.0, 8.0]);
    for device in devices() {
        let mut out = array(&[1, 1, 1, 1], &[0.0]);
        let options = Options { mask: None, reach: EVERYTHING, scale: 1.0, softcap: None, lengths: &[2] };
        attend(device, [&q, &k, &v], &mut out, &options);
        assert_eq!(out.get(0).float(), 6.5);
    }
}

#[test]
fn any_types_strides_and_options() {
    let mut random = Random(41);
    for round in 0..120 {
        let (batch, key_heads, group) = (random.pick(&[1, 1, 2]), random.pick(&[1, 2]), random.pick(&[1, 1, 2, 3]));
        let (t, s) = (random.pick(&[1, 2, 4, 9, 17, 33, 70]), random.pick(&[1, 2, 7, 40, 129, 200]));
        let (d, dv) = (random.pick(&[1, 3, 8, 17, 40]), random.pick(&[1, 5, 12, 16, 33]));
        let heads = key_heads * group;
        let types = [0; 3].map(|_| random.pick(&FLOATS));
        let types = if random.below(2) == 0 { [types[0]; 3] } else { types };
        let mut operand = |dtype: DType, shape: &[usize]| {
            Array::scattered(&mut random, dtype, shape, true, |random| Value::Float(random.unit()))
        };
        let q = operand(types[0], &[batch, heads, t, d]);
        let k = operand(types[1], &[batch, key_heads, s, d]);
        let v = operand(types[2], &[batch, key_heads, s, dv]);
        let whole = [batch, heads, t, s];
        let mask = match random.below(5) {
            0 => Some(Array::scattered(&mut random, DType::Bool, &whole, true, |random| {
                Value::Int(random.below(2) as i64)
            })),
            1 => {
                let dtype = random.pick(&FLOATS);
                Some(Array::scattered(&mut random, dtype, &whole, true, |random| {
                    Value::Float(if random.below(4) == 0 { f32::NEG_INFINITY } else { random.unit() })
                }))
            }
            _ => None,
        };
        let limit = |random: &mut Random| random.pick(&[None, None, Some(0), Some(3), Some(50)]);
        let reach = Reach { causal: random.below(2) == 0, before: limit(&mut random), after: limit(&mut random) };
        let lengths: Vec<usize> = match random.below(3) {
            0 => vec![s],
            1 => vec![random.below(s + 1)],
            _ => (0..batch).map(|_| random.below(s + 1)).collect(),
        };
        let options = Options {
            mask: mask.as_ref().map(Array::view),
            reach,
            scale: random.pick(&[0.3, 1.0, 3.0, 0.0, -1.0]),
            softcap: random.pick(&[None, None, Some(2.0)]),
            lengths: &lengths,
        };
        let dtype = random.pick(&FLOATS);
        let before = Array::scattered(&mut random, dtype, &[batch, heads, t, dv], false, |_| Value::Float(f32::NAN));
        let mut last: Option<(Level, Array)> = None;
        for device in devices() {
            let mut out = before.clone();
            attend(device, [&q, &k, &v], &mut out, &options);
            let what = format!("round {round}, q {:?}, k {:?}, {lengths:?}, {reach:?}, {device:?}", q.layout, k.layout);
            match &last {
                Some((level, one)) if *level == device.level() => same(one, &out, &what),
                _ => check([&q, &k, &v], mask.as_ref(), &out, &options, &what),
            }
            last = Some((device.level(), out));
        }
    }
}

/// What lies after the keys that count is never looked at.
#[test]
fn the_rest_of_a_cache_may_be_anything() {
    let mut random = Random(42);
    for t in [1, 40] {
        let [q, mut k, mut v] =
            [t, 90, 90].map(|rows| Array::new(DType::Float32, &[1, 2, rows, 20], || Value::Float(random.unit())));
        for cache in [&mut k, &mut v] {
            for_each_index(&[2, 30, 20], |index| {
                let place = cache.place(&[0, index[0], index[1] + 60, index[2]]);
                cache.set(place, Value::Float(f32::NAN));
            });
        }
        let options = Options { mask: None, reach: EVERYTHING, scale: 0.5, softcap: None, lengths: &[60] };
        for device in devices() {
            let mut out = Array::new(DType::Float32, &[1, 2, t, 20], || Value::Float(f32::NAN));
            attend(device, [&q, &k, &v], &mut out, &options);
            check([&q, &k, &v], None, &out, &options, &format!("{t} queries on {device:?}"));
        }
    }
}

/// Long rows of keys, cut into parts: the same bits with any number of threads, and an error that does not grow.
#[test]
fn many_keys() {
    let mut random = Random(43);
    for (t, s) in [(1, 100_003), (10, 100_003), (40, 5000)] {
        // Equal signs and an inexact value are the hardest for a long sum.
        let q = Array::new(DType::Float32, &[1, 1, t, 8], || Value::Float(random.unit()));
        let k = Array::new(DType::Float32, &[1, 1, s, 8], || Value::Float(random.unit()));
        let v = Array::new(DType::Float32, &[1, 1, s, 3], || Value::Float(0.1 + random.unit() * 1e-3));
        let reach = Reach { causal: true, ..EVERYTHING };
        let options = Options { mask: None, reach, scale: 1.0, softcap: None, lengths: &[s] };
        for level in Level::available() {
            let device = CpuDevice::new().unwrap().with_level(level).unwrap();
            let [one, two, five] = [1, 2, 5].map(|threads| {
                let mut out = Array::new(DType::Float32, &[1, 1, t, 3], || Value::Float(f32::NAN));
                attend(device.with_threads(threads), [&q, &k, &v], &mut out, &options);
                out
            });
            let what = format!("{t} queries of {s} keys on {level}");
            same(&one, &two, &what);
            same(&one, &five, &what);
            check([&q, &k, &v], None, &one, &options, &what);
        }
    }
}

/// Heads that share keys, with queries and keys in the middle of something larger.
#[test]
fn views_of_a_cache() {
    let mut random = Random(44);
    let mut cache = || Array::new(DType::Float16, &[2, 300, 2, 24], || Value::Float(random.unit()));
    let [mut k, mut v] = [cache(), cache()];
    for cache in [&mut k, &mut v] {
        // From [batch, place, head, column], a hundred places from the fiftieth on.
        let layout = cache.layout.permuted(&[0, 2, 1, 3]);
        let mut shape = layout.shape.clone();
        shape[2] = 100;
        cache.layout = Layout { shape, offset: 50 * layout.strides[2], ..layout };
    }
    let q = Array::new(DType::Float16, &[2, 8, 50, 24], || Value::Float(random.unit()));
    let reach = Reach { causal: true, before: Some(30), after: None };
    let options = Options { mask: None, reach, scale: 0.2, softcap: None, lengths: &[100, 70] };
    for device in devices() {
        let mut out = Array::new(DType::Float16, &[2, 8, 50, 24], || Value::Float(f32::NAN));
        attend(device, [&q, &k, &v], &mut out, &options);
        check([&q, &k, &v], None, &out, &options, &format!("{device:?}"));
    }
}
