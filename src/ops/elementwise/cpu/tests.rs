//! Random arrays against one element at a time.
#![expect(unsafe_code, reason = "operations take views, whose memory they trust")]

use super::*;
use crate::cpu::simd::Simd;
use crate::cpu::testing::{Array, Random, Value, for_each_index, random_shape};
use crate::shape::Layout;

struct Same;

impl Elementwise<1> for Same {
    fn float<V: Simd>([x]: [V; 1]) -> V {
        x
    }
    fn int([x]: [i32; 1]) -> i32 {
        x
    }
    fn uint([x]: [u32; 1]) -> u32 {
        x
    }
    fn boolean([x]: [bool; 1]) -> bool {
        x
    }
}

struct Negative;

impl Elementwise<1> for Negative {
    fn float<V: Simd>([x]: [V; 1]) -> V {
        x.neg()
    }
    fn int([x]: [i32; 1]) -> i32 {
        x.wrapping_neg()
    }
    fn uint([x]: [u32; 1]) -> u32 {
        x.wrapping_neg()
    }
}

struct Subtract;

impl Elementwise<2> for Subtract {
    fn float<V: Simd>([a, b]: [V; 2]) -> V {
        a.sub(b)
    }
    fn int([a, b]: [i32; 2]) -> i32 {
        a.wrapping_sub(b)
    }
    fn uint([a, b]: [u32; 2]) -> u32 {
        a.wrapping_sub(b)
    }
}

struct Multiply;

impl Elementwise<2> for Multiply {
    fn float<V: Simd>([a, b]: [V; 2]) -> V {
        a.mul(b)
    }
    fn int([a, b]: [i32; 2]) -> i32 {
        a.wrapping_mul(b)
    }
    fn uint([a, b]: [u32; 2]) -> u32 {
        a.wrapping_mul(b)
    }
    fn boolean([a, b]: [bool; 2]) -> bool {
        a & b
    }
}

/// Truths of any types: `a < b`, which depends on the sign of integers.
struct Less;

impl Elementwise<2> for Less {
    fn float_test<V: Simd>([a, b]: [V; 2]) -> V::Mask {
        a.less(b)
    }
    fn int_test([a, b]: [i32; 2]) -> bool {
        a < b
    }
    fn uint_test([a, b]: [u32; 2]) -> bool {
        a < b
    }
    fn boolean([a, b]: [bool; 2]) -> bool {
        !a & b
    }
}

fn devices() -> impl Iterator<Item = CpuDevice> {
    let device = CpuDevice::new().unwrap();
    let levels = Level::available().into_iter().map(move |level| device.with_level(level).unwrap());
    levels.flat_map(|device| [1, 3].map(|threads| device.with_threads(threads)))
}

/// What an operation gives for one element.
fn scalar(out: DType, operands: &[Value], float: fn(&[f32]) -> f32, int: fn(&[i64]) -> i64) -> Value {
    match out.kind() {
        Kind::Float => Value::Float(float(&operands.iter().map(|v| v.float()).collect::<Vec<_>>())),
        _ => Value::Int(int(&operands.iter().map(|v| v.int()).collect::<Vec<_>>())),
    }
}

/// `value` as an element of `dtype`.
fn rounded(dtype: DType, value: Value) -> Value {
    Array::new(dtype, &[1], || value).get(0)
}

fn check(out: &Array, before: &Array, want: impl Fn(&[usize]) -> Value, what: &str) {
    let mut touched = std::collections::HashSet::new();
    for_each_index(&out.layout.shape, |index| {
        touched.insert(out.place(index));
        let (got, want) = (out.at(index), rounded(out.dtype, want(index)));
        assert!(got.same(want), "{what}: {got:?} at {index:?}, not {want:?}");
    });
    if let Some((low, high)) = out.layout.reach() {
        for place in (low..=high).filter(|place| !touched.contains(place)) {
            assert!(out.get(place).same(before.get(place)), "{what}: place {place} was touched");
        }
    }
}

#[test]
fn binary_of_any_types_and_strides() {
    let mut random = Random(11);
    let groups = [
        (DType::Float32, &DType::ALL[..]),
        (DType::Float16, &[DType::Float16, DType::Bool, DType::Float32]),
        (DType::BFloat16, &[DType::BFloat16, DType::Bool]),
        (DType::Int32, &[DType::Int32, DType::Int8, DType::UInt8, DType::Bool]),
        (DType::UInt32, &[DType::UInt32, DType::UInt8]),
        (DType::Int8, &[DType::Int8, DType::Bool]),
        (DType::UInt8, &[DType::UInt8]),
        (DType::Bool, &[DType::Bool]),
    ];
    for round in 0..400 {
        let (dtype, sources) = random.pick(&groups);
        let shape = random_shape(&mut random);
        let [a, b] = [0, 1].map(|_| {
            let source = if random.below(2) == 0 { dtype } else { random.pick(sources) };
            Array::scattered(&mut random, source, &shape, true, |random| Value::random(random, source))
        });
        let before = Array::scattered(&mut random, dtype, &shape, false, |_| Value::Int(1));
        for device in devices() {
            for (name, loops) in [("subtract", Loops::of::<Subtract>()), ("multiply", Loops::of::<Multiply>())] {
                if name == "subtract" && dtype == DType::Bool {
                    continue;
                }
                let mut out = before.clone();
                // SAFETY: arrays of their own, all of one shape.
                unsafe { binary(device, loops, dtype, a.view(), b.view(), out.view_mut()) };
                let want = |index: &[usize]| {
                    let operands = [a.at(index), b.at(index)];
                    match name {
                        "subtract" => scalar(dtype, &operands, |v| v[0] - v[1], |v| v[0].wrapping_sub(v[1])),
                        _ => scalar(dtype, &operands, |v| v[0] * v[1], |v| v[0].wrapping_mul(v[1])),
                    }
                };
                check(&out, &before, want, &format!("round {round}, {name} of {dtype} on {device:?}"));
            }
        }
    }
}

#[test]
fn unary_in_place_and_elsewhere() {
    let mut random = Random(12);
    for round in 0..200 {
        let dtype = random.pick(&DType::ALL);
        let shape = random_shape(&mut random);
        let x = Array::scattered(&mut random, dtype, &shape, false, |random| Value::random(random, dtype));
        for device in devices() {
            for (name, loops) in [("same", Loops::of::<Same>()), ("negative", Loops::of::<Negative>())] {
                if name == "negative" && dtype == DType::Bool {
                    continue;
                }
                let want = |index: &[usize]| match name {
                    "same" => x.at(index),
                    _ => scalar(dtype, &[x.at(index)], |v| -v[0], |v| v[0].wrapping_neg()),
                };
                let mut out = x.clone();
                let view = View { origin: out.view_mut().origin, ..x.view() };
                // SAFETY: the same elements, so that input and output may share memory.
                unsafe { unary(device, loops, dtype, view, out.view_mut()) };
                check(&out, &x, want, &format!("round {round}, {name} of {dtype} on {device:?}"));
            }
        }
    }
}

#[test]
fn tests_of_any_types_and_strides() {
    let mut random = Random(17);
    for round in 0..200 {
        let dtype = random.pick(&DType::ALL);
        let shape = random_shape(&mut random);
        let [a, b] = [0, 1].map(|_| {
            let source = if random.below(3) == 0 { DType::Bool } else { dtype };
            Array::scattered(&mut random, source, &shape, true, |random| Value::random(random, source))
        });
        let before = Array::scattered(&mut random, DType::Bool, &shape, false, |_| Value::Int(1));
        for device in devices() {
            let mut out = before.clone();
            // SAFETY: arrays of their own, all of one shape.
            unsafe { binary(device, Loops::testing::<Less>(), dtype, a.view(), b.view(), out.view_mut()) };
            let want = |index: &[usize]| {
                let (a, b) = (rounded(dtype, a.at(index)), rounded(dtype, b.at(index)));
                Value::Int(i64::from(match dtype.kind() {
                    Kind::Float => a.float() < b.float(),
                    _ => a.int() < b.int(),
                }))
            };
            check(&out, &before, want, &format!("round {round}, less of {dtype} on {device:?}"));
        }
    }
}

#[test]
fn casts_between_all_types() {
    let mut random = Random(13);
    for round in 0..12 {
        for from in DType::ALL {
            for to in DType::ALL {
                let shape = random_shape(&mut random);
                let x = Array::scattered(&mut random, from, &shape, true, |random| Value::random(random, from));
                let before = Array::scattered(&mut random, to, &shape, false, |_| Value::Int(1));
                for device in devices() {
                    let mut out = before.clone();
                    // SAFETY: arrays of their own, of one shape.
                    unsafe { cast(device, x.view(), out.view_mut()) };
                    check(&out, &before, |index| x.at(index), &format!("round {round}, {from} to {to} on {device:?}"));
                }
            }
        }
    }
}

#[test]
fn large_results_by_threads_and_past_the_caches() {
    let mut random = Random(14);
    let len = (STREAM / 4 + 12_345) | 1;
    let a = Array::new(DType::Float32, &[len + 3], || Value::Float(random.unit()));
    let half = Array::new(DType::Float16, &[2 * len], || Value::Float(random.unit()));
    let one = Array::new(DType::Float32, &[1], || Value::Float(0.5));
    let from = |start: isize, stride: isize| Layout {
        shape: [len].as_slice().into(),
        strides: [stride].as_slice().into(),
        offset: start,
    };
    for device in devices() {
        for (first, second) in [(0, 0), (1, 2), (3, 1)] {
            let (layouts, repeated) = ([first, second].map(|start| from(start, 1)), from(0, 0));
            let mut out = Array::new(DType::Float32, &[len + 3], || Value::Float(7.0));
            out.layout = from(second, 1);
            let [x, y] = layouts.each_ref().map(|layout| View { layout, ..a.view() });
            // SAFETY: arrays of their own, of one shape.
            unsafe { binary(device, Loops::of::<Subtract>(), DType::Float32, x, y, out.view_mut()) };
            let value = |place: isize| a.get(place).float();
            for i in 0..len as isize {
                assert_eq!(out.get(i + second).float(), value(i + first) - value(i + second), "{i} on {device:?}");
            }
            let number = View { layout: &repeated, ..one.view() };
            // SAFETY: as above.
            unsafe { binary(device, Loops::of::<Multiply>(), DType::Float32, x, number, out.view_mut()) };
            for i in 0..len as isize {
                assert_eq!(out.get(i + second).float(), value(i + first) * 0.5, "{i} on {device:?}");
            }
            // SAFETY: as above.
            unsafe { cast(device, x, out.view_mut()) };
            for i in 0..len as isize {
                assert_eq!(out.get(i + second).float(), value(i + first), "{i} on {device:?}");
            }
            // SAFETY: as above.
            unsafe { cast(device, number, out.view_mut()) };
            assert!((0..len as isize).all(|i| out.get(i + second).float() == 0.5), "{device:?}");
            assert!([0, 1, 2].iter().all(|&i| i >= second || out.get(i).float() == 7.0), "{device:?}");
            let mut wide = Array::new(DType::Float32, &[len + 3], || Value::Float(7.0));
            wide.layout = from(second, 1);
            // SAFETY: as above.
            unsafe { cast(device, View { layout: &layouts[0], ..half.view() }, wide.view_mut()) };
            for i in 0..len as isize {
                assert_eq!(wide.get(i + second).float(), half.get(i + first).float(), "{i} on {device:?}");
            }
        }
    }
}

#[test]
fn large_transposes() {
    let mut random = Random(15);
    for dtype in [DType::Float32, DType::Float16, DType::Int8] {
        for (rows, columns) in [(700, 701), (2, 200_001), (200_001, 3), (129, 4000)] {
            let mut x = Array::new(dtype, &[columns, rows], || Value::random(&mut random, dtype));
            x.layout = x.layout.transposed();
            for device in devices() {
                let mut out = Array::new(dtype, &[rows, columns], || Value::Int(0));
                // SAFETY: arrays of their own, of one shape.
                unsafe { cast(device, x.view(), out.view_mut()) };
                for i in 0..rows {
                    for j in 0..columns {
                        assert!(out.at(&[i, j]).same(x.at(&[i, j])), "{dtype} at {i}, {j} on {device:?}");
                    }
                }
            }
        }
    }
}
