//! The innermost loops of elementwise operations, compiled for each operation, SIMD level and type in memory.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays of operands")]

use std::marker::PhantomData;

use half::{bf16, f16};

use crate::cpu::simd::{Element, Kernel, Level, Simd};
use crate::dtype::DType;

/// No loop takes more elements at a time.
pub(super) const STEP: usize = 64;

/// A function of `N` operands, which gives a number (`float`, `int`, `uint`) or a truth (`float_test` and so on). It is
/// only called for the kinds that the operation takes.
pub(crate) trait Elementwise<const N: usize> {
    /// Whether the formula for floats is so long that it is compiled for float32 alone. Shorter floats are converted.
    const LONG: bool = false;

    #[inline(always)]
    fn float<V: Simd>(_operands: [V; N]) -> V {
        unreachable!("an operation on floats that has none")
    }
    #[inline(always)]
    fn int(_operands: [i32; N]) -> i32 {
        unreachable!("an operation on integers that has none")
    }
    #[inline(always)]
    fn uint(_operands: [u32; N]) -> u32 {
        unreachable!("an operation on integers that has none")
    }
    #[inline(always)]
    fn float_test<V: Simd>(_operands: [V; N]) -> V::Mask {
        unreachable!("a test of floats that there is not")
    }
    #[inline(always)]
    fn int_test(_operands: [i32; N]) -> bool {
        unreachable!("a test of integers that there is not")
    }
    #[inline(always)]
    fn uint_test(_operands: [u32; N]) -> bool {
        unreachable!("a test of integers that there is not")
    }
    #[inline(always)]
    fn boolean(_operands: [bool; N]) -> bool {
        unreachable!("an operation on truths that has none")
    }
}

/// Computes results one after another: the operands, whether each steps (1) or is [`STEP`] copies of one element (0), the
/// output, how many, and whether to go past the caches. A [`Fence`] must follow then.
pub(super) type Loop<const N: usize> = unsafe fn(Level, [*const u8; N], [usize; N], *mut u8, usize, bool);

/// The loops of one operation, by what is in memory.
#[derive(Clone, Copy)]
pub(crate) struct Loops<const N: usize> {
    /// Whether results are truths, whatever the operands are.
    pub(super) tests: bool,
    /// Whether there are no loops for `f16` and `bf16`.
    long: bool,
    pub(super) f32: Loop<N>,
    pub(super) f16: Loop<N>,
    pub(super) bf16: Loop<N>,
    pub(super) i32: Loop<N>,
    pub(super) u32: Loop<N>,
    pub(super) i8: Loop<N>,
    pub(super) u8: Loop<N>,
    pub(super) bool: Loop<N>,
}

impl<const N: usize> Loops<N> {
    /// Of an operation that gives numbers.
    pub(crate) const fn of<O: Elementwise<N>>() -> Self {
        Self {
            tests: false,
            long: O::LONG,
            f32: floats::<f32, O, N>,
            f16: floats::<f16, O, N>,
            bf16: floats::<bf16, O, N>,
            i32: each::<Ints<i32>, O, N>,
            u32: each::<Ints<u32>, O, N>,
            i8: each::<Ints<i8>, O, N>,
            u8: each::<Ints<u8>, O, N>,
            bool: each::<Truths, O, N>,
        }
    }

    /// Of an operation that gives truths.
    pub(crate) const fn testing<O: Elementwise<N>>() -> Self {
        Self {
            tests: true,
            long: O::LONG,
            f32: test_floats::<f32, O, N>,
            f16: test_floats::<f16, O, N>,
            bf16: test_floats::<bf16, O, N>,
            i32: each::<Tests<i32>, O, N>,
            u32: each::<Tests<u32>, O, N>,
            i8: each::<Tests<i8>, O, N>,
            u8: each::<Tests<u8>, O, N>,
            bool: each::<Truths, O, N>,
        }
    }

    /// The loop for operands that are all of this type, if there is one.
    pub(super) fn of_dtype(&self, dtype: DType) -> Option<Loop<N>> {
        Some(match dtype {
            DType::Float16 | DType::BFloat16 if self.long => return None,
            DType::Float32 => self.f32,
            DType::Float16 => self.f16,
            DType::BFloat16 => self.bf16,
            DType::Int32 => self.i32,
            DType::UInt32 => self.u32,
            DType::Int8 => self.i8,
            DType::UInt8 => self.u8,
            DType::Bool => self.bool,
        })
    }
}

/// Whether a loop is left out.
struct LeftOut<E, O, const N: usize>(PhantomData<(E, O)>);

impl<E: Element, O: Elementwise<N>, const N: usize> LeftOut<E, O, N> {
    const YES: bool = O::LONG && size_of::<E>() < 4;
}

pub(super) struct Fence;

impl Kernel for Fence {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        V::fence();
    }
}

/// # Safety
/// `out` has room for `len` elements, and each input has as many, or [`STEP`] copies of one where its step is 0.
unsafe fn floats<E: Element, O: Elementwise<N>, const N: usize>(
    level: Level,
    inputs: [*const u8; N],
    steps: [usize; N],
    out: *mut u8,
    len: usize,
    stream: bool,
) {
    if LeftOut::<E, O, N>::YES {
        unreachable!("a loop that is left out");
    } else {
        level.run(Floats::<E, O, N>(inputs, steps, out, len, stream, PhantomData));
    }
}

struct Floats<E, O, const N: usize>([*const u8; N], [usize; N], *mut u8, usize, bool, PhantomData<(E, O)>);

impl<E: Element, O: Elementwise<N>, const N: usize> Kernel for Floats<E, O, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self(inputs, steps, out, len, stream, _) = self;
        let out = out.cast::<E>();
        let mut i = 0;
        // SAFETY: the promise to `floats`; no vector has more than `STEP` lanes, and none ends after `len`.
        unsafe {
            let before = out.align_offset(size_of::<E>() * V::LANES);
            if stream && before < V::LANES.min(len) {
                if before > 0 {
                    part::<V, E, O, N>(inputs, [0; N], out, before);
                    i = before;
                }
                while i + V::LANES <= len {
                    E::stream(vector::<V, E, O, N>(inputs, scaled(steps, i)), out.add(i));
                    i += V::LANES;
                }
            }
            while i + V::LANES <= len {
                E::store(vector::<V, E, O, N>(inputs, scaled(steps, i)), out.add(i));
                i += V::LANES;
            }
            if i < len {
                part::<V, E, O, N>(inputs, scaled(steps, i), out.add(i), len - i);
            }
        }
    }
}

/// Where the inputs are after `i` elements.
#[inline(always)]
fn scaled<const N: usize>(steps: [usize; N], i: usize) -> [usize; N] {
    let mut places = steps;
    for place in &mut places {
        *place *= i;
    }
    places
}

/// One vector of results.
///
/// # Safety
/// Each input has a vector of elements at its place.
#[inline(always)]
unsafe fn vector<V: Simd, E: Element, O: Elementwise<N>, const N: usize>(inputs: [*const u8; N], at: [usize; N]) -> V {
    let mut operands = [V::splat(0.0); N];
    for n in 0..N {
        // SAFETY: the caller's promise.
        operands[n] = unsafe { E::load(inputs[n].cast::<E>().add(at[n])) };
    }
    O::float(operands)
}

/// Less than a vector of results.
///
/// # Safety
/// Each input has `count` elements at its place, and the output has room for them.
#[inline(always)]
unsafe fn part<V: Simd, E: Element, O: Elementwise<N>, const N: usize>(
    inputs: [*const u8; N],
    at: [usize; N],
    out: *mut E,
    count: usize,
) {
    let mut operands = [V::splat(0.0); N];
    // SAFETY: the caller's promise.
    unsafe {
        for n in 0..N {
            operands[n] = E::load_tail(inputs[n].cast::<E>().add(at[n]), count);
        }
        E::store_tail(O::float(operands), out, count);
    }
}

/// # Safety
/// As for [`floats`]; the output is of bytes.
unsafe fn test_floats<E: Element, O: Elementwise<N>, const N: usize>(
    level: Level,
    inputs: [*const u8; N],
    steps: [usize; N],
    out: *mut u8,
    len: usize,
    _stream: bool,
) {
    level.run(TestFloats::<E, O, N>(inputs, steps, out, len, PhantomData));
}

struct TestFloats<E, O, const N: usize>([*const u8; N], [usize; N], *mut u8, usize, PhantomData<(E, O)>);

impl<E: Element, O: Elementwise<N>, const N: usize> Kernel for TestFloats<E, O, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self(inputs, steps, out, len, _) = self;
        let mut i = 0;
        // SAFETY: the promise to `test_floats`; no vector ends after `len`.
        unsafe {
            while i + V::LANES <= len {
                let mut operands = [V::splat(0.0); N];
                for n in 0..N {
                    operands[n] = E::load(inputs[n].cast::<E>().add(steps[n] * i));
                }
                V::store_mask(O::float_test(operands), out.add(i));
                i += V::LANES;
            }
            if i < len {
                let mut operands = [V::splat(0.0); N];
                for n in 0..N {
                    operands[n] = E::load_tail(inputs[n].cast::<E>().add(steps[n] * i), len - i);
                }
                V::store_mask_tail(O::float_test(operands), out.add(i), len - i);
            }
        }
    }
}

/// How an operation works on whole numbers and truths as they are in memory.
trait Whole<O, const N: usize> {
    type Stored: Copy + Default;
    type Result: Copy + Default;
    fn of(operands: [Self::Stored; N]) -> Self::Result;
}

struct Ints<T>(PhantomData<T>);
struct Tests<T>(PhantomData<T>);

macro_rules! whole {
    ($($type:ty: $wide:ty, $number:ident, $test:ident;)+) => {$(
        impl<O: Elementwise<N>, const N: usize> Whole<O, N> for Ints<$type> {
            type Stored = $type;
            type Result = $type;
            #[inline(always)]
            fn of(operands: [$type; N]) -> $type {
                O::$number(operands.map(<$wide>::from)) as $type
            }
        }

        impl<O: Elementwise<N>, const N: usize> Whole<O, N> for Tests<$type> {
            type Stored = $type;
            type Result = u8;
            #[inline(always)]
            fn of(operands: [$type; N]) -> u8 {
                u8::from(O::$test(operands.map(<$wide>::from)))
            }
        }
    )+};
}
whole! {
    i32: i32, int, int_test;
    u32: u32, uint, uint_test;
    i8: i32, int, int_test;
    u8: u32, uint, uint_test;
}

struct Truths;

impl<O: Elementwise<N>, const N: usize> Whole<O, N> for Truths {
    type Stored = u8;
    type Result = u8;
    #[inline(always)]
    fn of(operands: [u8; N]) -> u8 {
        u8::from(O::boolean(operands.map(|operand| operand != 0)))
    }
}

/// # Safety
/// As for [`floats`].
unsafe fn each<W: Whole<O, N>, O, const N: usize>(
    level: Level,
    inputs: [*const u8; N],
    steps: [usize; N],
    out: *mut u8,
    len: usize,
    _stream: bool,
) {
    level.run(Each::<W, O, N>(inputs, steps, out, len, PhantomData));
}

struct Each<W, O, const N: usize>([*const u8; N], [usize; N], *mut u8, usize, PhantomData<(W, O)>);

impl<W: Whole<O, N>, O, const N: usize> Kernel for Each<W, O, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self(inputs, steps, out, len, _) = self;
        let inputs = inputs.map(<*const u8>::cast::<W::Stored>);
        let out = out.cast::<W::Result>();
        let mut i = 0;
        // SAFETY: the promise to `each`.
        unsafe {
            // The compiler makes vectors of whole steps. It need not know whether the output is one of the inputs,
            // because all of a step is read before any of it is written.
            while i + STEP <= len {
                let mut operands = [[W::Stored::default(); STEP]; N];
                let mut results = [W::Result::default(); STEP];
                for n in 0..N {
                    operands[n] = inputs[n].add(i * steps[n]).cast::<[W::Stored; STEP]>().read_unaligned();
                }
                for j in 0..STEP {
                    results[j] = W::of(pick(&operands, j));
                }
                out.add(i).cast::<[W::Result; STEP]>().write_unaligned(results);
                i += STEP;
            }
            while i < len {
                let mut operands = [[W::Stored::default()]; N];
                for n in 0..N {
                    operands[n] = [inputs[n].add(i * steps[n]).read_unaligned()];
                }
                out.add(i).write_unaligned(W::of(pick(&operands, 0)));
                i += 1;
            }
        }
    }
}

/// Element `i` of each operand.
#[inline(always)]
fn pick<T: Copy, const L: usize, const N: usize>(operands: &[[T; L]; N], i: usize) -> [T; N] {
    let mut picked = [operands[0][i]; N];
    for n in 1..N {
        picked[n] = operands[n][i];
    }
    picked
}
