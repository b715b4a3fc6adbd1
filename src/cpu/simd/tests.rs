//! Every level that the machine has against plain scalar code, and the fused portable vectors too.

use super::*;

/// Runs a kernel on every level, with the level's name for messages.
fn on_every_level<K: Kernel>(make: impl Fn(&'static str) -> K) {
    for level in Level::available() {
        level.run(make(level.name()));
    }
    make("fused").run::<portable::F32x8<true>>();
}

/// Copies elements through vectors, with a tail at the end.
struct Convert<'a, From, To>(&'a [From], &'a mut [To]);

impl<From: Element, To: Element> Kernel for Convert<'_, From, To> {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        let (from, to) = (self.0, self.1);
        assert_eq!(from.len(), to.len());
        let whole = from.len() / V::LANES * V::LANES;
        let rest = from.len() - whole;
        // SAFETY: both slices have `whole + rest` elements.
        unsafe {
            for i in (0..whole).step_by(V::LANES) {
                To::store(From::load::<V>(from.as_ptr().add(i)), to.as_mut_ptr().add(i));
            }
            if rest > 0 {
                To::store_tail(From::load_tail::<V>(from.as_ptr().add(whole), rest), to.as_mut_ptr().add(whole), rest);
            }
        }
    }
}

fn converted<From: Element, To: Element>(level: Level, from: &[From]) -> Vec<To> {
    let mut to = vec![To::ZERO; from.len()];
    level.run(Convert(from, &mut to));
    let mut fused = vec![To::ZERO; from.len()];
    Convert(from, &mut fused).run::<portable::F32x8<true>>();
    to
}

#[test]
fn every_half_becomes_the_right_float() {
    let f16s: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let bf16s: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    for level in Level::available() {
        for (got, from) in converted::<_, f32>(level, &f16s).iter().zip(&f16s) {
            let want = from.to_f32();
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{level}: {from:?} {got} {want}");
        }
        for (got, from) in converted::<_, f32>(level, &bf16s).iter().zip(&bf16s) {
            let want = from.to_f32();
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{level}: {from:?} {got} {want}");
        }
    }
}

/// Around every value that 16 bits can hold, and around the middle between it and the next.
fn hard_cases(value: impl Fn(u16) -> f32) -> Vec<f32> {
    let mut cases =
        vec![f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)];
    for bits in 0..=u16::MAX {
        let (here, next) = (value(bits), value(bits.wrapping_add(1)));
        for near in [here.to_bits(), f32::midpoint(here, next).to_bits()] {
            cases.extend([near.wrapping_sub(1), near, near.wrapping_add(1)].map(f32::from_bits));
        }
    }
    cases
}

#[test]
fn floats_round_to_the_nearest_half() {
    for level in Level::available() {
        let cases = hard_cases(|bits| f16::from_bits(bits).to_f32());
        for (got, from) in converted::<_, f16>(level, &cases).iter().zip(&cases) {
            let want = f16::from_f32_const(*from);
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{level}: {from:e} {got} {want}");
        }
        let cases = hard_cases(|bits| bf16::from_bits(bits).to_f32());
        for (got, from) in converted::<_, bf16>(level, &cases).iter().zip(&cases) {
            let want = bf16::from_f32(*from);
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{level}: {from:e} {got} {want}");
        }
    }
}

#[test]
fn tails_touch_what_they_should() {
    fn check<E: Element + PartialEq + std::fmt::Debug>(one: E) {
        for level in Level::available() {
            for count in 1..40 {
                let from = vec![one; count];
                let mut to = vec![E::ZERO; count + 20];
                level.run(Convert(&from, &mut to[..count]));
                assert!(to[..count].iter().all(|&e| e == one) && to[count..].iter().all(|&e| e == E::ZERO), "{level}");
            }
        }
    }
    check(1.5_f32);
    check(f16::ONE);
    check(bf16::ONE);
}

struct Arithmetic(&'static str);

impl Kernel for Arithmetic {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        let lanes = |v: V| {
            let mut all = [0.0; MAX_LANES];
            // SAFETY: the array takes any vector.
            unsafe { v.store_f32(all.as_mut_ptr()) };
            all[..V::LANES].to_vec()
        };
        let values = |seed: u32| -> [f32; MAX_LANES] {
            std::array::from_fn(|i| ((i as u32 * 7 + seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0)
        };
        let (x, y, z) = (values(1), values(2), values(3));
        // SAFETY: the arrays are as long as any vector.
        let [a, b, c] = [x, y, z].map(|v| unsafe { V::load_f32(v.as_ptr()) });
        let check = |name: &str, got: V, want: &dyn Fn(usize) -> f32| {
            for (i, got) in lanes(got).into_iter().enumerate() {
                assert_eq!(got.to_bits(), want(i).to_bits(), "{} of {}, lane {i}: {got} {}", name, self.0, want(i));
            }
        };
        check("add", a.add(b), &|i| x[i] + y[i]);
        check("sub", a.sub(b), &|i| x[i] - y[i]);
        check("mul", a.mul(b), &|i| x[i] * y[i]);
        check("div", a.div(b), &|i| x[i] / y[i]);
        check("neg", a.neg(), &|i| -x[i]);
        check("abs", a.abs(), &|i| x[i].abs());
        check("min", a.min(b), &|i| x[i].min(y[i]));
        check("max", a.max(b), &|i| x[i].max(y[i]));
        check("min of NaN", V::splat(f32::NAN).min(b), &|i| y[i]);
        check("max of NaN", V::splat(f32::NAN).max(b), &|i| y[i]);
        assert!(lanes(a.max(V::splat(f32::NAN))).iter().all(|v| v.is_nan()), "{}", self.0);
        assert!(lanes(a.min(V::splat(f32::NAN))).iter().all(|v| v.is_nan()), "{}", self.0);
        check("select", V::select(a.less(b), c, a), &|i| if x[i] < y[i] { z[i] } else { x[i] });
        check("less than NaN", V::select(a.less(V::splat(f32::NAN)), c, a), &|i| x[i]);
        check("scale", V::splat(1.25).scale(V::splat(-149.0)), &|_| f32::from_bits(1));
        check("scale", V::splat(1.5).scale(V::splat(-149.0)), &|_| f32::from_bits(2));
        check("scale", V::splat(1.5).scale(V::splat(127.0)), &|_| 1.5 * 2.0_f32.powi(127));
        check("scale", V::splat(0.75).scale(V::splat(128.0)), &|_| 1.5 * 2.0_f32.powi(127));
        check("scale", V::splat(0.75).scale(V::splat(150.0)), &|_| f32::INFINITY);
        check("scale", V::splat(0.75).scale(V::splat(-151.0)), &|_| 0.0);
        for (i, got) in lanes(a.fma(b, c)).into_iter().enumerate() {
            let want = f64::from(x[i]) * f64::from(y[i]) + f64::from(z[i]);
            assert!((f64::from(got) - want).abs() < 1e-5, "fma of {}: {got} {want}", self.0);
        }
        check("copysign", a.copysign(b), &|i| x[i].copysign(y[i]));
        check("sqrt", a.abs().sqrt(), &|i| x[i].abs().sqrt());
        let truths = |mask: V::Mask| -> Vec<u8> {
            let mut bytes = [7; MAX_LANES + 1];
            // SAFETY: the array takes any vector, and one byte more; a tail is shorter.
            unsafe { V::store_mask(mask, bytes.as_mut_ptr().add(1)) };
            let mut tail = [7; MAX_LANES];
            // SAFETY: as above.
            unsafe { V::store_mask_tail(mask, tail.as_mut_ptr(), V::LANES - 1) };
            assert_eq!((&tail[..V::LANES - 1], tail[V::LANES - 1]), (&bytes[1..V::LANES], 7), "{}", self.0);
            assert!(bytes[V::LANES + 1..].iter().all(|&byte| byte == 7), "{}", self.0);
            bytes[1..=V::LANES].to_vec()
        };
        let check_mask = |name: &str, got: V::Mask, want: &dyn Fn(usize) -> bool| {
            let want: Vec<u8> = (0..V::LANES).map(|i| want(i).into()).collect();
            assert_eq!(truths(got), want, "{} of {}", name, self.0);
            assert_eq!(V::any(got), want.contains(&1), "{} of {}", name, self.0);
        };
        let (some, others, nan) = (a.less(b), a.less(c), V::splat(f32::NAN));
        check_mask("less", some, &|i| x[i] < y[i]);
        check_mask("less_equal", a.less_equal(a), &|_| true);
        check_mask("less_equal", a.less_equal(b), &|i| x[i] <= y[i]);
        check_mask("equal", a.equal(a), &|_| true);
        check_mask("equal", a.equal(b), &|_| false);
        check_mask("zeros", V::splat(0.0).equal(V::splat(-0.0)), &|_| true);
        check_mask("less than NaN", V::or(a.less(nan), nan.less(a)), &|_| false);
        check_mask("less_equal to NaN", V::or(a.less_equal(nan), nan.less_equal(nan)), &|_| false);
        check_mask("equal to NaN", V::or(a.equal(nan), nan.equal(nan)), &|_| false);
        check_mask("is_nan", V::select(some, nan, a).is_nan(), &|i| x[i] < y[i]);
        check_mask("and", V::and(some, others), &|i| x[i] < y[i] && x[i] < z[i]);
        check_mask("or", V::or(some, others), &|i| x[i] < y[i] || x[i] < z[i]);
        check_mask("xor", V::xor(some, others), &|i| (x[i] < y[i]) != (x[i] < z[i]));
        check_mask("not", V::not(some), &|i| x[i] >= y[i]);

        let (largest, smallest) = (x[..V::LANES].iter(), x[..V::LANES].iter());
        assert_eq!(a.largest(), largest.copied().fold(f32::NEG_INFINITY, f32::max), "{}", self.0);
        assert_eq!(a.smallest(), smallest.copied().fold(f32::INFINITY, f32::min), "{}", self.0);
        for nan in 0..V::LANES {
            let mut with_nan = x;
            with_nan[nan] = f32::NAN;
            // SAFETY: the array is as long as any vector.
            let vector = unsafe { V::load_f32(with_nan.as_ptr()) };
            assert!(vector.largest().is_nan() && vector.smallest().is_nan(), "{}", self.0);
        }
        let want: f64 = x[..V::LANES].iter().map(|&v| f64::from(v)).sum();
        assert!((f64::from(a.sum()) - want).abs() < 1e-5, "sum of {}: {} {want}", self.0, a.sum());
    }
}

#[test]
fn arithmetic_is_that_of_scalars() {
    on_every_level(Arithmetic);
}

/// What is made of one number, at every exponent and beside every whole number that rounding could get wrong.
struct Parts(&'static str);

impl Kernel for Parts {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        let mut cases = vec![0.0, f32::INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 0.75, 1.5, 1.499_999_9];
        cases.extend((0..=0x7f80_0000).step_by(30_011).map(f32::from_bits));
        for exponent in 0..26 {
            let power = (1 << exponent) as f32;
            for near in [power, power + 0.5, power + 1.0, power + 1.5] {
                cases.extend([near.next_down(), near, near.next_up()]);
            }
        }
        for x in cases {
            for x in [x, -x] {
                let first = |v: V| {
                    let mut all = [0.0_f32; MAX_LANES];
                    // SAFETY: the array takes any vector.
                    unsafe { v.store_f32(all.as_mut_ptr()) };
                    all[0]
                };
                let same = |name: &str, got: V, want: f32| {
                    let got = first(got);
                    let equal = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    assert!(equal, "{name} of {x:e} by {}: {got:e} {want:e}", self.0);
                };
                let v = V::splat(x);
                same("floor", v.floor(), x.floor());
                same("ceil", v.ceil(), x.ceil());
                same("trunc", v.trunc(), x.trunc());
                same("round", v.round(), x.round_ties_even());
                if x > 0.0 && x.is_finite() {
                    let (m, e) = v.split();
                    let (m, e) = (first(m), first(e));
                    assert!((0.75..1.5).contains(&m), "{x:e} by {}: {m}", self.0);
                    assert_eq!(f64::from(m) * 2.0_f64.powi(e as i32), f64::from(x), "{x:e} by {}", self.0);
                }
            }
        }
    }
}

#[test]
fn parts_of_numbers_are_those_of_scalars() {
    on_every_level(Parts);
}

#[test]
fn names_are_unique() {
    for level in Level::ALL {
        assert_eq!(Level::ALL.iter().filter(|other| other.name() == level.name()).count(), 1);
    }
    assert_eq!(Level::available().last(), Some(&Level::Scalar));
}

/// Products of pairs, against sums of exact products.
struct Dots(&'static str);

impl Kernel for Dots {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        let value = |i: usize, seed: f32| bf16::from_f32(((i as f32 + seed) * 0.7).sin() * 3.0);
        let a: [bf16; 2 * MAX_LANES] = std::array::from_fn(|i| value(i, 1.0));
        let b: [bf16; 2 * MAX_LANES] = std::array::from_fn(|i| value(i, 5.0));
        let mut sums: [f32; MAX_LANES] = std::array::from_fn(|i| i as f32 - 7.5);
        // SAFETY: the arrays take any vector.
        unsafe {
            let [x, y] = [&a, &b].map(|pairs| V::load_f32(pairs.as_ptr().cast()));
            x.dot_bf16(y, V::load_f32(sums.as_ptr())).store_f32(sums.as_mut_ptr());
        }
        for (lane, &got) in sums.iter().enumerate().take(V::LANES) {
            let products = [2 * lane, 2 * lane + 1].map(|i| a[i].to_f64() * b[i].to_f64());
            let want = lane as f64 - 7.5 + products[0] + products[1];
            assert!((f64::from(got) - want).abs() < 4e-6, "{}: {got} in lane {lane}, not {want}", self.0);
        }
    }
}

#[test]
fn pairs_are_multiplied_and_added() {
    /// Levels without the instruction.
    struct Plain(&'static str);
    impl Kernel for Plain {
        type Output = ();
        #[inline(always)]
        fn run<V: Simd>(self) {
            if V::LANES < MAX_LANES {
                Dots(self.0).run::<V>();
            }
        }
    }
    on_every_level(Plain);
    for level in Level::available().into_iter().filter(|level| level.has_dots()) {
        level.run_dots(Dots(level.name()));
    }
}
