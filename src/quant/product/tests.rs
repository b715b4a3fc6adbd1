use super::super::tests::normal;
use super::*;

/// Blocks of some rows, one row after another.
struct Matrix {
    format: &'static Format,
    blocks: Vec<u8>,
    rows: usize,
    length: usize,
}

impl Matrix {
    fn normal(format: &'static Format, rows: usize, length: usize) -> Self {
        let mut blocks = vec![0; rows * length / format.elements * format.bytes];
        format.encode(Level::Scalar, &normal(rows * length), &mut blocks);
        Self { format, blocks, rows, length }
    }

    fn row_bytes(&self) -> usize {
        self.length / self.format.elements * self.format.bytes
    }

    fn decoded(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.length];
        self.format.decode(Level::Scalar, &self.blocks, &mut values);
        values
    }

    fn times(&self, device: CpuDevice, x: &[f32], exact: bool) -> Vec<f32> {
        let vectors = x.len() / self.length;
        let mut out = vec![f32::NAN; vectors * self.rows];
        let rows = Rows {
            format: self.format,
            start: self.blocks.as_ptr(),
            step: self.row_bytes() as isize,
            count: self.rows,
            length: self.length,
        };
        // SAFETY: there are so many blocks and results.
        unsafe { multiply(device, rows, x, vectors, out.as_mut_ptr(), self.rows, exact).unwrap() };
        out
    }

    /// The products in float64, and the sums of their magnitudes.
    fn expected(&self, x: &[f32]) -> Vec<(f64, f64)> {
        let weights = self.decoded();
        let mut sums = Vec::new();
        for x in x.chunks(self.length) {
            for w in weights.chunks(self.length) {
                let products = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
                sums.push((products.clone().sum(), products.map(f64::abs).sum()));
            }
        }
        sums
    }
}

fn devices() -> impl Iterator<Item = CpuDevice> {
    let device = CpuDevice::new().unwrap();
    Level::available().into_iter().map(move |level| device.with_level(level).unwrap().with_threads(2))
}

/// Lengths whose last blocks are and are not as many as are multiplied at once.
fn lengths(format: &Format) -> [usize; 3] {
    let whole = format.form.elements();
    [format.elements, 2 * whole, 5 * whole + (format.form.blocks - 1) * format.elements]
}

/// What a vector becomes as multiples of int8.
fn rounded(x: &[f32]) -> Vec<f32> {
    let round = |x: &[f32]| -> Vec<f32> {
        let scale = x.iter().fold(0.0, |most: f32, x| most.max(x.abs())) / 127.0;
        x.iter().map(|x| if scale == 0.0 { 0.0 } else { (x / scale).round_ties_even() * scale }).collect()
    };
    x.chunks(32).flat_map(round).collect()
}

#[test]
fn is_the_sum_of_products() {
    for format in Format::ALL {
        for length in lengths(format) {
            let matrix = Matrix::normal(format, 5, length);
            let all = normal(17 * length);
            let (exactly, rounded) = (matrix.expected(&all), matrix.expected(&rounded(&all)));
            for device in devices() {
                for vectors in [1, 2, 3, 5, 8, 16, 17] {
                    for exact in [true, false] {
                        let results = matrix.times(device, &all[..vectors * length], exact);
                        let expected = if exact || !device.level().has_dots_of_bytes() { &exactly } else { &rounded };
                        let most = if exact { 2e-6 } else { 2e-5 };
                        for (result, (expected, magnitude)) in results.iter().zip(expected) {
                            let error = (f64::from(*result) - expected).abs();
                            assert!(
                                error <= most * magnitude,
                                "{format:?} {} {length} {vectors} {exact}: {result} {expected}",
                                device.level()
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn rounded_vectors_make_small_errors() {
    for format in Format::ALL {
        let matrix = Matrix::normal(format, 64, 1024);
        let x: Vec<f32> = normal(65 * 1024).split_off(64 * 1024);
        let expected = matrix.expected(&x);
        for device in devices() {
            let results = matrix.times(device, &x, false);
            let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
            let errors = squares(&mut results.iter().zip(&expected).map(|(&y, (z, _))| f64::from(y) - z));
            let error = (errors / squares(&mut expected.iter().map(|(z, _)| *z))).sqrt();
            assert!(error < 0.01, "{format:?} {}: {error}", device.level());
        }
    }
}

#[test]
fn neither_threads_nor_other_vectors_change_a_result() {
    for format in Format::ALL {
        let matrix = Matrix::normal(format, 70, 1280);
        let x = normal(17 * 1280);
        for device in devices() {
            for exact in [true, false] {
                let results = matrix.times(device, &x, exact);
                assert_eq!(results, matrix.times(device.with_threads(1), &x, exact), "{format:?}");
                for (v, x) in x.chunks(1280).enumerate() {
                    assert_eq!(results[v * 70..][..70], matrix.times(device, x, exact), "{format:?} {v}");
                }
            }
        }
    }
}

#[test]
fn extremes_do_not_overflow() {
    for format in Format::ALL {
        let length = 2 * format.form.elements();
        for byte in [0, 0x55, 0x7f, 0x80, 0xaa, 0xff] {
            let mut matrix = Matrix::normal(format, 1, length);
            format.encode(Level::Scalar, &vec![1.0; length], &mut matrix.blocks);
            let keep = scale_bytes(format);
            for block in matrix.blocks.chunks_mut(format.bytes) {
                for (i, place) in block.iter_mut().enumerate() {
                    if !keep.contains(&i) {
                        *place = byte;
                    }
                }
            }
            for signs in 0..4 {
                let x: Vec<f32> = (0..length).map(|i| if i & signs == 0 { 127.0 } else { -127.0 }).collect();
                let expected = matrix.expected(&x);
                for device in devices() {
                    for exact in [true, false] {
                        let result = matrix.times(device, &x, exact)[0];
                        let (sum, magnitude) = expected[0];
                        let error = (f64::from(result) - sum).abs();
                        // The entries of NF4 are rounded to 16 bits.
                        let most = if format.name == "nf4" { 1e-4 } else { 2e-5 };
                        assert!(
                            error <= most * magnitude,
                            "{format:?} {} {byte} {signs} {exact}: {result} {sum}",
                            device.level()
                        );
                    }
                }
            }
        }
    }
}

/// Where a block has its float16 numbers, or its exponent.
fn scale_bytes(format: &Format) -> std::ops::Range<usize> {
    match format.name {
        "mxfp4" => 0..1,
        "q2_k" => 80..84,
        "q3_k" => 108..110,
        "q6_k" => 208..210,
        "tq1_0" => 52..54,
        "tq2_0" => 64..66,
        "q4_1" | "q5_1" | "q4_k" | "q5_k" | "int8" => 0..4,
        _ => 0..2,
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let alike = |a: f32, b: f32| a == b || a.is_nan() && b.is_nan();
    for format in Format::ALL {
        let length = 2 * format.form.elements();
        for bits in [0x7c00_u16, 0xfc00, 0x7e00] {
            let mut matrix = Matrix::normal(format, 4, length);
            let place = matrix.row_bytes() + scale_bytes(format).start;
            let bytes = if format.name == "mxfp4" { [0xff, 0xff] } else { bits.to_le_bytes() };
            matrix.blocks[place..place + 2].copy_from_slice(&bytes);
            let mut x = normal(3 * length);
            x[length + 1] = f32::from_bits(u32::from(bits) << 16 | 0x0380_0000);
            for device in devices() {
                let (exact, rounded) = (matrix.times(device, &x, true), matrix.times(device, &x, false));
                for (i, (&exact, &rounded)) in exact.iter().zip(&rounded).enumerate() {
                    let finite = i / 4 != 1 && i % 4 != 1;
                    assert_eq!(exact.is_finite(), finite, "{format:?} {bits:x} {i}: {exact}");
                    assert!(finite == rounded.is_finite() && (finite || alike(exact, rounded)), "{format:?} {i}");
                }
            }
        }
    }
}

#[test]
fn any_magnitude_is_taken() {
    for format in Format::ALL {
        let length = format.form.elements();
        let matrix = Matrix::normal(format, 3, length);
        for scale in [0.0, 1e-42, 1e-35, 1e-20, 1e20, 1e32] {
            let x: Vec<f32> = normal(length).into_iter().map(|x| x * scale).collect();
            let expected = matrix.expected(&x);
            for device in devices() {
                for (result, (expected, magnitude)) in matrix.times(device, &x, false).iter().zip(&expected) {
                    let error = (f64::from(*result) - expected).abs();
                    assert!(error <= 0.01 * magnitude + 1e-44, "{format:?} {scale}: {result} {expected}");
                }
            }
        }
    }
}

#[test]
fn rows_may_be_anywhere() {
    for format in Format::ALL {
        let length = 3 * format.elements;
        let matrix = Matrix::normal(format, 40, length);
        let x = normal(2 * length);
        let size = matrix.row_bytes();
        // Every third of a row's bytes at an odd address, from the last row to the first.
        let (gap, mut places) = (size + 3, vec![0xff; 40 * (size + 3) + 1]);
        for (i, row) in matrix.blocks.chunks(size).enumerate() {
            places[1 + (39 - i) * gap..][..size].copy_from_slice(row);
        }
        for device in devices() {
            for exact in [true, false] {
                let start = places[1 + 39 * gap..].as_ptr();
                let rows = Rows { format, start, step: -(gap as isize), count: 40, length };
                let mut out = vec![7.0; 2 * 41];
                // SAFETY: the rows are in there, and there is room for the results.
                unsafe { multiply(device, rows, &x, 2, out.as_mut_ptr(), 41, exact).unwrap() };
                let expected = matrix.times(device, &x, exact);
                assert_eq!((&out[..40], &out[41..81]), expected.split_at(40), "{format:?}");
                assert_eq!([out[40], out[81]], [7.0; 2]);
            }
        }
    }
}

#[test]
fn nothing_is_a_sum_of_nothing() {
    let format = Format::find("q4_0").unwrap();
    let matrix = Matrix { format, blocks: Vec::new(), rows: 3, length: 0 };
    for device in devices() {
        for exact in [true, false] {
            let rows = Rows { format, start: matrix.blocks.as_ptr(), step: 0, count: 3, length: 0 };
            let mut out = [1.0; 6];
            // SAFETY: there is room for the results.
            unsafe { multiply(device, rows, &[], 2, out.as_mut_ptr(), 3, exact).unwrap() };
            assert_eq!(out, [0.0; 6]);
        }
    }
}
