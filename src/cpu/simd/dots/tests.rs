use super::*;

/// Everything that vectors can do, of the same arguments.
struct All<'a>(&'a [u8; 64], &'a [u8; 64], &'a [i8; 64]);

impl DotKernel for All<'_> {
    type Output = Vec<(&'static str, Vec<f32>)>;

    #[inline(always)]
    fn run<D: Dots>(self) -> Self::Output {
        let Self(a, b, x) = self;
        let (halves, quarters) = (a.as_chunks::<32>().0, a.as_chunks::<16>().0);
        let bits = u64::from_le_bytes(*a.first_chunk().unwrap());
        let (va, vb) = (D::load(a), D::load(b));
        let mut bytes = vec![
            ("load", va),
            ("bytes", D::bytes(a[0])),
            ("twice", D::twice(&halves[1])),
            ("halves", D::halves([&halves[1], &halves[0]])),
            ("quarters", D::quarters([&quarters[2], &quarters[0], &quarters[3], &quarters[1]])),
            ("where_set", D::where_set(bits, 16)),
            ("and", D::and(va, vb)),
            ("or", D::or(va, vb)),
            ("xor", D::xor(va, vb)),
            ("thirds", D::thirds(va, &std::array::from_fn(|i| b[i].into()))),
            ("look_up", D::look_up(&quarters[0], D::and(vb, D::bytes(15)))),
        ];
        for (right, kept) in [([0, 4], 0x0f), ([-4, -2], 0x30), ([-3, 4], 0x08), ([5, 0], 0x07)] {
            bytes.push(("shift", D::and(D::shift(va, right), D::bytes(kept))));
        }
        let mut results = Vec::new();
        let x: *const u8 = x.as_ptr().cast();
        let seven = D::and(vb, D::bytes(127));
        let offsets: Vec<u8> = (0..16i32).flat_map(|i| (i * 1000 - 3000).to_ne_bytes()).collect();
        // SAFETY: there are as many bytes as are read.
        unsafe {
            for (name, bytes) in bytes {
                // Each byte counts by itself in one of four sums.
                for place in 0..4 {
                    let ones: [i8; 64] = std::array::from_fn(|i| i8::from(i % 4 == place));
                    let sums = D::dot(D::no_sums(), bytes, ones.as_ptr().cast(), true);
                    results.push((name, lanes::<D>(D::convert(sums))));
                }
            }
            let dots = D::dot(D::load_sums(offsets.as_ptr()), vb, x, true);
            results.push(("dot", lanes::<D>(D::convert(dots))));
            results.push(("times_256", lanes::<D>(D::convert(D::times_256(dots)))));
            results.push(("dot", lanes::<D>(D::convert(D::dot(dots, seven, x, false)))));
            let floats: Vec<u8> = (0..16).flat_map(|i| (i as f32 + 0.5).to_ne_bytes()).collect();
            for count in [4, 8, 16] {
                results.push(("load_floats", lanes::<D>(D::load_floats(floats.as_ptr(), count))));
            }
            let sixteen = D::load_floats(floats.as_ptr(), 16);
            for first in 0..8 {
                results.push(("quarter", lanes::<D>(D::quarter(va, first % 4))));
                results.push(("spread", lanes::<D>(D::spread(sixteen, first, 16))));
                results.push(("spread", lanes::<D>(D::spread(sixteen, 2 * first, 8))));
                results.push(("spread", lanes::<D>(D::spread(sixteen, first / 2 * 4, 4))));
            }
            results.push(("add", lanes::<D>(D::add(sixteen, D::splat(a[0].into())))));
            results.push(("mul", lanes::<D>(D::mul(sixteen, D::splat(a[0].into())))));
            results.push(("fma", lanes::<D>(D::fma(sixteen, D::splat(a[0].into()), sixteen))));
        }
        for half in [0, 1, 0x8001, 0x03ff, 0x3c00, 0xc123, 0x7bff, 0x7c00, 0xfc00] {
            results.push(("splat_half", lanes::<D>(D::splat_half(half))));
        }
        results.push(("four_halves", lanes::<D>(D::four_halves([0x3c00, 0x0001, 0xbc00, 0x5555]))));
        results.push(("four", lanes::<D>(D::four([1.5, -2.0, 3.0, 1e-40]))));
        results.push(("eight", lanes::<D>(D::eight(*a.first_chunk().unwrap()))));
        results.push(("sixteen", lanes::<D>(D::sixteen(quarters[1]))));
        results.push(("sixteen_signed", lanes::<D>(D::sixteen_signed(quarters[2].map(u8::cast_signed)))));
        results
    }
}

/// Each lane, by the sum of all when the others are zero.
#[inline(always)]
fn lanes<D: Dots>(floats: D::Floats) -> Vec<f32> {
    let mut lanes = Vec::new();
    for lane in 0..16 {
        // What is infinite makes NaN of every lane, at every level.
        let mut only = [0.0f32; 16];
        only[lane] = 1.0;
        // SAFETY: an array of sixteen.
        let only = unsafe { D::load_floats(only.as_ptr().cast(), 16) };
        lanes.push(D::total(D::mul(floats, only)));
    }
    lanes
}

#[test]
fn levels_agree() {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for round in 0..20 {
        let mut a = [0; 64].map(|_| next());
        let mut b = [0; 64].map(|_| next());
        let mut x = [0; 64].map(|_| next().cast_signed().max(-127));
        if round < 4 {
            (a, b, x) = ([255; 64], [255; 64], [if round % 2 == 0 { 127 } else { -127 }; 64]);
            b[1] = 128;
        }
        let expected = Level::Scalar.run_on_bytes(All(&a, &b, &x));
        for level in Level::available() {
            // NaN is unlike itself.
            for (result, expected) in level.run_on_bytes(All(&a, &b, &x)).iter().zip(&expected) {
                assert_eq!(format!("{result:?}"), format!("{expected:?}"), "{level}");
            }
        }
        let sums: Vec<f32> = (0..16)
            .map(|lane| {
                let products = (4 * lane..4 * lane + 4).map(|i| i32::from(b[i]) * i32::from(x[i]));
                (lane as i32 * 1000 - 3000 + products.sum::<i32>()) as f32
            })
            .collect();
        assert_eq!(expected.iter().find(|(name, _)| *name == "dot").unwrap().1, sums);
    }
}
