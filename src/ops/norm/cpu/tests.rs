//! Against plain loops in `f64`.
#![expect(unsafe_code, reason = "operations take views, whose memory they trust")]

use super::*;
use crate::cpu::simd::Level;
use crate::cpu::testing::{Array, Random, Value, for_each_index};

const FLOATS: [DType; 3] = [DType::Float32, DType::Float16, DType::BFloat16];
const KINDS: [Norm; 3] = [Norm::Rms, Norm::Layer, Norm::L2];

fn devices() -> impl Iterator<Item = CpuDevice> {
    let device = CpuDevice::new().unwrap();
    let levels = Level::available().into_iter().map(move |level| device.with_level(level).unwrap());
    levels.flat_map(|device| [1, 3].map(|threads| device.with_threads(threads)))
}

/// An array seen in a shape that it broadcasts to.
struct Wide<'a>(&'a Array, Layout);

impl<'a> Wide<'a> {
    fn new(array: &'a Array, shape: &[usize]) -> Self {
        Self(array, array.layout.broadcast_to(shape, "norm").unwrap())
    }

    fn view(&self) -> View<'_> {
        View { layout: &self.1, ..self.0.view() }
    }

    fn at(&self, index: &[usize]) -> f64 {
        let place = index.iter().zip(&self.1.strides).map(|(&i, &s)| i as isize * s).sum::<isize>();
        f64::from(self.0.get(self.1.offset + place).float())
    }
}

struct Case<'a> {
    kind: Norm,
    x: &'a Array,
    axes: usize,
    weight: Option<Wide<'a>>,
    bias: Option<Wide<'a>>,
    eps: f32,
}

impl Case<'_> {
    fn run(&self, device: CpuDevice, out: &mut Array) {
        let affine = Affine { weight: self.weight.as_ref().map(Wide::view), bias: self.bias.as_ref().map(Wide::view) };
        // SAFETY: the arrays are as large as they say.
        unsafe { norm(device, self.kind, self.x.view(), self.axes, affine, self.eps, out.view_mut()).unwrap() };
    }

    fn check(&self, device: CpuDevice, out: &mut Array) {
        self.run(device, out);
        let shape = self.x.layout.shape.clone();
        let (outer, inner) = shape.split_at(shape.len() - self.axes);
        let unit = match out.dtype {
            DType::Float32 => 1.0 / f64::from(1 << 24),
            DType::Float16 => 1.0 / f64::from(1 << 11),
            _ => 1.0 / f64::from(1 << 8),
        };
        for_each_index(outer, |row| {
            let mut values = Vec::new();
            let place = |within: &[usize]| [row, within].concat();
            for_each_index(inner, |within| values.push(f64::from(self.x.at(&place(within)).float())));
            let n = values.len() as f64;
            let mean = if self.kind == Norm::Layer { values.iter().sum::<f64>() / n } else { 0.0 };
            let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
            let squares = if self.kind == Norm::L2 { squares } else { squares / n };
            let factor = 1.0 / (squares + f64::from(self.eps)).sqrt();
            let mut i = 0;
            for_each_index(inner, |within| {
                let index = place(within);
                let weight = self.weight.as_ref().map_or(1.0, |weight| weight.at(&index));
                let bias = self.bias.as_ref().map_or(0.0, |bias| bias.at(&index));
                let scaled = (values[i] - mean) * factor * weight;
                let (want, got) = (scaled + bias, f64::from(out.at(&index).float()));
                // The result's rounding, a few of `f32` before it, and the error of the mean.
                let near = if self.kind == Norm::Layer { weight.abs() } else { 0.0 };
                let error = want.abs() * unit
                    + (scaled.abs() + bias.abs() + near) * 8.0 / f64::from(1 << 24)
                    + if out.dtype == DType::Float16 { 3e-8 } else { 1e-40 };
                assert!(
                    (got - want).abs() <= error || got == want || got.is_nan() && want.is_nan(),
                    "{device:?} {:?} {} {:?} at {index:?}: {got:e} is not {want:e}",
                    self.kind,
                    self.x.dtype,
                    self.x.layout
                );
                i += 1;
            });
        });
    }
}

#[test]
fn rows_agree_with_plain_loops() {
    let mut random = Random(91);
    // Shapes, how many axes make a row, and the weights' shape.
    let shapes: [(&[usize], usize, &[usize]); 14] = [
        (&[1], 1, &[1]),
        (&[5], 1, &[5]),
        (&[7, 64], 1, &[64]),
        (&[40, 3], 1, &[3]),
        (&[2, 3, 257], 1, &[257]),
        (&[9, 5000], 1, &[5000]),
        (&[2, 34_001], 1, &[34_001]),
        // Groups of channels.
        (&[2, 4, 3, 50], 2, &[4, 3, 1]),
        (&[2, 4, 3, 7], 2, &[4, 3, 1]),
        (&[3, 2, 6], 1, &[2, 6]),
        (&[1, 2, 3, 4, 40], 3, &[2, 3, 1, 1]),
        (&[1, 2, 10, 4000], 2, &[2, 10, 1]),
        (&[2, 1, 1, 60], 2, &[1, 1, 1]),
        (&[0, 4], 1, &[4]),
    ];
    for (shape, axes, side) in shapes {
        for round in 0..6 {
            let [dtype, result, side_type] = [0; 3].map(|_| random.pick(&FLOATS));
            let result = if round % 2 == 0 { dtype } else { result };
            let value = |random: &mut Random| Value::Float(random.unit() * 4.0 + 0.5);
            let x = match round {
                0 | 1 => Array::new(dtype, shape, || Value::Float(random.unit() * 4.0 + 0.5)),
                _ => Array::scattered(&mut random, dtype, shape, true, value),
            };
            let weight = Array::scattered(&mut random, side_type, side, false, value);
            let bias = Array::new(side_type, side, || Value::Float(random.unit()));
            let mut out = match round {
                5 => Array::scattered(&mut random, result, shape, false, |_| Value::Int(1)),
                _ => Array::new(result, shape, || Value::Int(1)),
            };
            for kind in KINDS {
                let case = Case {
                    kind,
                    x: &x,
                    axes,
                    weight: (round != 0).then(|| Wide::new(&weight, shape)),
                    bias: (round % 3 != 0).then(|| Wide::new(&bias, shape)),
                    eps: 1e-5,
                };
                for device in devices() {
                    case.check(device, &mut out);
                }
            }
        }
    }
}

#[test]
fn the_ends_of_the_range() {
    for dtype in [DType::Float32, DType::BFloat16] {
        for size in [1e19, 3e38, 1e-25, 1e-38, 1.0] {
            // In one part and in several.
            for len in [64, 40_000] {
                let mut sign = 1.0;
                let x = Array::new(dtype, &[2, len], || {
                    sign = -sign;
                    Value::Float(sign * size)
                });
                for kind in KINDS {
                    let case = Case { kind, x: &x, axes: 1, weight: None, bias: None, eps: 0.0 };
                    for device in devices() {
                        case.check(device, &mut x.clone());
                    }
                }
            }
        }
    }
    let x = Array::new(DType::Float16, &[3, 100], || Value::Float(65_504.0));
    for device in devices() {
        let case = Case { kind: Norm::Rms, x: &x, axes: 1, weight: None, bias: None, eps: 1e-5 };
        case.check(device, &mut x.clone());
    }
}

#[test]
fn a_large_mean_leaves_the_rest_alone() {
    for len in [256, 5000, 50_000] {
        let mut random = Random(92);
        let x = Array::new(DType::Float32, &[3, len], || Value::Float(1e4 + random.pick(&[-1.0, 1.0])));
        let case = Case { kind: Norm::Layer, x: &x, axes: 1, weight: None, bias: None, eps: 1e-5 };
        for device in devices() {
            case.check(device, &mut x.clone());
        }
    }
}

#[test]
fn special_values() {
    for special in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0] {
        for (len, eps) in [(40, 1e-5), (34_000, 1e-5), (40, 0.0)] {
            let mut i = 0;
            let x = Array::new(DType::Float32, &[1, len], || {
                i += 1;
                Value::Float(if i == 4 || special == 0.0 { special } else { 1.0 })
            });
            for kind in KINDS {
                let case = Case { kind, x: &x, axes: 1, weight: None, bias: None, eps };
                for device in devices() {
                    case.check(device, &mut x.clone());
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mut random = Random(93);
    let device = CpuDevice::new().unwrap();
    for shape in [[300, 500], [2, 100_000], [1, 200_001]] {
        let x = Array::new(DType::Float32, &shape, || Value::Float(random.unit() * 9.0));
        for kind in KINDS {
            let case = Case { kind, x: &x, axes: 1, weight: None, bias: None, eps: 1e-5 };
            let mut results: Vec<Array> = (0..2).map(|_| x.clone()).collect();
            for (threads, out) in [1, 5].into_iter().zip(&mut results) {
                case.run(device.with_threads(threads), out);
            }
            for_each_index(&shape, |index| assert!(results[0].at(index).same(results[1].at(index))));
        }
    }
}
