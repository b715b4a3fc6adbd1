//! Scales for blocks: those of the simple formats, and the search for those of the others.
//!
//! The simple formats take scales from the largest numbers, by the arithmetic that everybody uses, to the last bit.
//! For the others scales are searched for. A candidate rounds all numbers to levels, which gives the best scale for
//! these by least squares; the candidate that leaves the smallest sum of squared errors wins. All numbers weigh the
//! same, since nothing is known of what they will be multiplied by. Blocks have parts whose scales are small multiples
//! of one float16: once that is rounded, the multiples are chosen by their errors again.

use std::hint::black_box;

use super::bytes::Half;

/// What makes a float32 of up to 2^22 a whole number when it is added and taken away again.
const ROUNDER: f32 = 12_582_912.0;

/// The nearest whole number, ties to even, of less than 2^22.
#[inline(always)]
pub(super) fn nearest(x: f32) -> f32 {
    (x + ROUNDER) - ROUNDER
}

/// The nearest whole number from `least` to `most`. NaN becomes one of them too.
#[inline(always)]
pub(super) fn nearest_within(x: f32, least: f32, most: f32) -> f32 {
    let x = if x > least { x } else { least };
    nearest(if x < most { x } else { most })
}

/// 1 / x, but 0 for 0.
#[inline(always)]
pub(super) fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// Combines terms in eight lanes, which compilers make vectors of, in an order that no level changes.
#[inline(always)]
pub(super) fn fold<const N: usize>(first: f32, term: impl Fn(usize) -> f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [first; 8];
    for start in (0..N).step_by(8) {
        for (lane, value) in lanes.iter_mut().enumerate() {
            *value = combine(*value, term(start + lane));
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    combine(combine(combine(a, e), combine(c, g)), combine(combine(b, f), combine(d, h)))
}

/// Several sums of terms, each as [`fold`] has it.
#[inline(always)]
fn sums<const N: usize, const K: usize>(term: impl Fn(usize) -> [f32; K]) -> [f32; K] {
    let mut lanes = [[0.0; 8]; K];
    for start in (0..N).step_by(8) {
        for lane in 0..8 {
            for (sum, term) in lanes.iter_mut().zip(term(start + lane)) {
                sum[lane] += term;
            }
        }
    }
    // Compilers make vectors of what goes to memory together.
    black_box(lanes).map(|lanes| fold::<8>(0.0, |lane| lanes[lane], |a, b| a + b))
}

/// The largest value; NaN if there is one.
#[inline(always)]
pub(super) fn largest<const N: usize>(values: &[f32; N]) -> f32 {
    fold::<N>(f32::NEG_INFINITY, |i| values[i], |a, b| if a > b || a.is_nan() { a } else { b })
}

/// The smallest value; NaN if there is one.
#[inline(always)]
pub(super) fn smallest<const N: usize>(values: &[f32; N]) -> f32 {
    fold::<N>(f32::INFINITY, |i| values[i], |a, b| if a < b || a.is_nan() { a } else { b })
}

/// The largest magnitude; NaN if there is one.
#[inline(always)]
pub(super) fn magnitude<const N: usize>(values: &[f32; N]) -> f32 {
    fold::<N>(0.0, |i| values[i].abs(), |a: f32, b| if a > b || a.is_nan() { a } else { b })
}

/// The first value of the largest magnitude, with its sign; NaN if there is one.
#[inline(always)]
pub(super) fn peak<const N: usize>(values: &[f32; N]) -> f32 {
    let magnitude = magnitude(values);
    values.iter().copied().find(|value| value.abs() == magnitude).unwrap_or(magnitude)
}

/// A scale that takes the value of the largest magnitude to `-half`, and levels from 0 to `2 * half - 1`, of which
/// `half` stands for 0.
#[inline(always)]
pub(super) fn by_peak<const N: usize>(values: &[f32; N], half: u8) -> (Half, [u8; N]) {
    let scale = peak(values) / -f32::from(half);
    let inverse = inverse(scale);
    let mut levels = [0; N];
    for (level, &value) in levels.iter_mut().zip(values) {
        *level = ((value * inverse + (f32::from(half) + 0.5)) as u8).min(2 * half - 1);
    }
    (Half::nearest(scale), levels)
}

/// A scale, the smallest value, and levels from 0 to `most` above that.
#[inline(always)]
pub(super) fn by_range<const N: usize>(values: &[f32; N], most: u8) -> (Half, Half, [u8; N]) {
    let low = smallest(values);
    let scale = (largest(values) - low) / f32::from(most);
    let inverse = inverse(scale);
    let mut levels = [0; N];
    for (level, &value) in levels.iter_mut().zip(values) {
        *level = (((value - low) * inverse + 0.5) as u8).min(most);
    }
    (Half::nearest(scale), Half::nearest(low), levels)
}

/// The largest magnitude divided by `most` as the scale, and levels from `-most` to `most`, ties away from 0.
#[inline(always)]
pub(super) fn by_magnitude<const N: usize>(values: &[f32; N], most: i8) -> (Half, [i8; N]) {
    /// What is below 1/2: a sum with 1/2 itself would round up what is just below that.
    const HALF: f32 = 0.5f32.next_down();
    let scale = magnitude(values) / f32::from(most);
    let inverse = inverse(scale);
    let mut levels = [0; N];
    for (level, &value) in levels.iter_mut().zip(values) {
        let value = value * inverse;
        *level = ((value + HALF.copysign(value)) as i8).clamp(-most, most);
    }
    (Half::nearest(scale), levels)
}

/// Whether no sum of squares can overflow in a search. Scales of larger values would be infinite anyway.
#[inline(always)]
pub(super) fn is_moderate<const N: usize>(values: &[f32; N]) -> bool {
    magnitude(values) < 1e15
}

/// What values are rounded to once they are divided by a scale.
pub(super) trait Levels: Copy {
    /// Where the value of the largest magnitude may come to lie.
    const PEAKS: &'static [f32];

    /// The level nearest to `x`.
    fn nearest(self, x: f32) -> f32;
}

/// The scale by which values come closest to levels.
#[inline(always)]
pub(super) fn fit_scale<const N: usize, L: Levels>(values: &[f32; N], levels: L) -> f32 {
    let peak = peak(values);
    // A scale explains products² / squares of the sum of the values' squares.
    let (mut best, mut scale) = (0.0, 0.0);
    for at in L::PEAKS {
        let inverse = at / peak;
        let [products, squares] = sums::<N, 2>(|i| {
            let level = levels.nearest(values[i] * inverse);
            [values[i] * level, level * level]
        });
        let explained = products * products / squares;
        if explained > best {
            (best, scale) = (explained, products / squares);
        }
    }
    scale
}

/// The squared error of values as levels.
#[inline(always)]
fn error<const N: usize, L: Levels>(values: &[f32; N], scale: f32, levels: L) -> f32 {
    let inverse = inverse(scale);
    let [error] = sums::<N, 1>(|i| {
        let error = values[i] - scale * levels.nearest(values[i] * inverse);
        [error * error]
    });
    error
}

/// A float16, and for each part of a block what its levels are multiplied by besides.
pub(super) struct Scales<const S: usize> {
    pub(super) unit: Half,
    pub(super) multiples: [i8; S],
}

impl<const S: usize> Scales<S> {
    /// Scales that are multiples from `-half` to `half - 1`.
    #[inline(always)]
    pub(super) fn fit<const N: usize, L: Levels>(parts: &[[f32; N]; S], half: f32, levels: L) -> Self {
        if !parts.iter().all(is_moderate) {
            return Self { unit: Half::NAN, multiples: [0; S] };
        }
        let mut scales = [0.0; S];
        for (scale, part) in scales.iter_mut().zip(parts) {
            *scale = fit_scale(part, levels);
        }
        let unit = Half::nearest(peak(&scales) / -half);
        let inverse = inverse(unit.get());
        let mut multiples = [0; S];
        for ((multiple, part), scale) in multiples.iter_mut().zip(parts).zip(scales) {
            let middle = nearest_within(scale * inverse, -half, half - 1.0);
            let mut best = f32::INFINITY;
            for candidate in [middle, middle - 1.0, middle + 1.0] {
                let error = error(part, unit.get() * candidate, levels);
                if error < best && candidate >= -half && candidate < half {
                    (best, *multiple) = (error, candidate as i8);
                }
            }
        }
        Self { unit, multiples }
    }

    /// By which the values of a part are divided to become levels.
    #[inline(always)]
    pub(super) fn inverse(&self, part: usize) -> f32 {
        inverse(self.unit.get() * f32::from(self.multiples[part]))
    }
}

/// Levels from 0 on that are scaled, and from which a minimum is taken away that is not negative.
#[derive(Clone, Copy)]
struct Range {
    scale: f32,
    minimum: f32,
}

/// Two float16, and for each part of a block what its levels and its minimum are multiplied by besides.
pub(super) struct Ranges<const S: usize> {
    pub(super) unit: Half,
    pub(super) minimum: Half,
    pub(super) multiples: [u8; S],
    pub(super) minima: [u8; S],
}

impl Range {
    /// The range by which values come closest to levels up to `most`. `spans` are numbers of levels that they may
    /// reach over.
    #[inline(always)]
    fn fit<const N: usize>(values: &[f32; N], most: f32, spans: &[f32]) -> Self {
        let low = smallest(values).min(0.0);
        let width = largest(values) - low;
        let mut best = (f32::INFINITY, Self { scale: 0.0, minimum: -low });
        if width == 0.0 {
            return best.1;
        }
        for span in spans {
            let inverse = span / width;
            let [q, qq, x, qx] = sums::<N, 4>(|i| {
                let x = values[i] - low;
                let q = nearest_within(x * inverse, 0.0, most);
                [q, q * q, x, q * x]
            });
            // Least squares of x ≈ scale · q + offset.
            let count = N as f32;
            let scale = (count * qx - q * x) / (count * qq - q * q);
            let offset = (x - scale * q) / count;
            let minimum = -(low + offset);
            let range = if minimum >= 0.0 {
                Self { scale, minimum }
            } else {
                Self { scale: (qx + low * q) / qq, minimum: 0.0 }
            };
            let error = range.error(values, most);
            if error < best.0 && range.scale > 0.0 {
                best = (error, range);
            }
        }
        best.1
    }

    #[inline(always)]
    fn error<const N: usize>(self, values: &[f32; N], most: f32) -> f32 {
        let inverse = inverse(self.scale);
        let [error] = sums::<N, 1>(|i| {
            let q = nearest_within((values[i] + self.minimum) * inverse, 0.0, most);
            let error = self.scale * q - self.minimum - values[i];
            [error * error]
        });
        error
    }
}

impl<const S: usize> Ranges<S> {
    /// Ranges of levels up to `most`, with multiples up to `most_multiple`.
    #[inline(always)]
    pub(super) fn fit<const N: usize>(parts: &[[f32; N]; S], most: f32, most_multiple: f32, spans: &[f32]) -> Self {
        if !parts.iter().all(is_moderate) {
            return Self { unit: Half::NAN, minimum: Half::NAN, multiples: [0; S], minima: [0; S] };
        }
        let mut ranges = [Range { scale: 0.0, minimum: 0.0 }; S];
        for (range, part) in ranges.iter_mut().zip(parts) {
            *range = Range::fit(part, most, spans);
        }
        let unit = Half::nearest(ranges.iter().fold(0.0, |most, range| range.scale.max(most)) / most_multiple);
        let minimum = Half::nearest(ranges.iter().fold(0.0, |most, range| range.minimum.max(most)) / most_multiple);
        let mut all = Self { unit, minimum, multiples: [0; S], minima: [0; S] };
        for (s, (range, part)) in ranges.iter().zip(parts).enumerate() {
            let multiple = nearest_within(range.scale * inverse(unit.get()), 0.0, most_multiple);
            let minima = nearest_within(range.minimum * inverse(minimum.get()), 0.0, most_multiple);
            let mut best = f32::INFINITY;
            for multiple in [multiple, multiple - 1.0, multiple + 1.0] {
                for minima in [minima, minima - 1.0, minima + 1.0] {
                    if multiple.clamp(0.0, most_multiple) != multiple || minima.clamp(0.0, most_multiple) != minima {
                        continue;
                    }
                    let range = Range { scale: unit.get() * multiple, minimum: minimum.get() * minima };
                    let error = range.error(part, most);
                    if error < best {
                        best = error;
                        (all.multiples[s], all.minima[s]) = (multiple as u8, minima as u8);
                    }
                }
            }
        }
        all
    }

    /// The levels of the values of a part.
    #[inline(always)]
    pub(super) fn levels<const N: usize>(&self, part: usize, values: &[f32; N], most: f32) -> [u8; N] {
        let inverse = inverse(self.unit.get() * f32::from(self.multiples[part]));
        let minimum = self.minimum.get() * f32::from(self.minima[part]);
        let mut levels = [0; N];
        for (level, value) in levels.iter_mut().zip(values) {
            *level = nearest_within((value + minimum) * inverse, 0.0, most) as u8;
        }
        levels
    }
}
