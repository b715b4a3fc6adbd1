//! Elements of any type to and from the numbers that operations compute with.
//!
//! Operations compute in `f32`, `i32` or truths. Operands of another type, or that are not one element after another,
//! pass through blocks small enough for the nearest cache: gathered, converted, worked on, converted, scattered.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "where nothing else is said it is the caller's promise")]

use std::mem::MaybeUninit;

use half::{bf16, f16};

use super::simd::{Element, Kernel, Level, Simd};
use crate::dtype::{DType, Kind};

/// The most elements in a block.
pub(crate) const BLOCK: usize = 512;

/// Room for a block of elements of any type.
#[repr(C, align(64))]
pub(crate) struct Block(MaybeUninit<[u32; BLOCK]>);

impl Block {
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    #[inline(always)]
    pub(crate) const fn as_mut_ptr<T>(&mut self) -> *mut T {
        const { assert!(size_of::<T>() <= 4) };
        self.0.as_mut_ptr().cast()
    }
}

/// What an operation computes with.
pub(crate) trait Number: Copy + 'static {
    const KIND: Kind;

    /// Whether memory of this type holds such numbers as they are. Signed and unsigned words are computed with alike.
    fn is_stored_in(dtype: DType) -> bool;

    /// Converts `count` elements that lie one after another. `stream` may take the result past the caches.
    ///
    /// # Safety
    /// `from` has `count` elements of `dtype`, and `to` has room for `count` numbers.
    unsafe fn load<V: Simd>(dtype: DType, from: *const u8, to: *mut Self, count: usize, stream: bool);

    /// The way back.
    ///
    /// # Safety
    /// `from` has `count` numbers, and `to` has room for `count` elements of `dtype`.
    unsafe fn store<V: Simd>(dtype: DType, from: *const Self, to: *mut u8, count: usize, stream: bool);
}

/// A boolean, as a byte that is 0 for false and anything else for true.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Truth(pub(crate) u8);

/// Calls `f` for each element, in a form that the compiler vectorises.
///
/// # Safety
/// As for [`Number::load`].
#[inline(always)]
unsafe fn each<From: Copy, To>(from: *const u8, to: *mut u8, count: usize, f: impl Fn(From) -> To) {
    let (from, to) = (from.cast::<From>(), to.cast::<To>());
    for i in 0..count {
        unsafe { to.add(i).write_unaligned(f(from.add(i).read_unaligned())) };
    }
}

/// Converts floats through vectors of `f32`, past the caches if `stream` says so.
///
/// # Safety
/// As for [`Number::load`].
#[inline(always)]
unsafe fn floats<V: Simd, From: Element, To: Element>(from: *const u8, to: *mut u8, count: usize, stream: bool) {
    let (from, to) = (from.cast::<From>(), to.cast::<To>());
    let mut i = 0;
    unsafe {
        let before = to.align_offset(size_of::<To>() * V::LANES);
        if stream && before < V::LANES.min(count) {
            if before > 0 {
                To::store_tail(From::load_tail::<V>(from, before), to, before);
                i = before;
            }
            while i + V::LANES <= count {
                To::stream(From::load::<V>(from.add(i)), to.add(i));
                i += V::LANES;
            }
            V::fence();
        }
        while i + V::LANES <= count {
            To::store(From::load::<V>(from.add(i)), to.add(i));
            i += V::LANES;
        }
        if i < count {
            To::store_tail(From::load_tail::<V>(from.add(i), count - i), to.add(i), count - i);
        }
    }
}

impl Number for f32 {
    const KIND: Kind = Kind::Float;

    fn is_stored_in(dtype: DType) -> bool {
        dtype == DType::Float32
    }

    #[inline(always)]
    unsafe fn load<V: Simd>(dtype: DType, from: *const u8, to: *mut Self, count: usize, stream: bool) {
        let to = to.cast();
        unsafe {
            match dtype {
                DType::Float32 => floats::<V, f32, f32>(from, to, count, stream),
                DType::Float16 => floats::<V, f16, f32>(from, to, count, stream),
                DType::BFloat16 => floats::<V, bf16, f32>(from, to, count, stream),
                DType::Int32 => each(from, to, count, |x: i32| x as f32),
                DType::UInt32 => each(from, to, count, |x: u32| x as f32),
                DType::Int8 => each(from, to, count, |x: i8| f32::from(x)),
                DType::UInt8 => each(from, to, count, |x: u8| f32::from(x)),
                DType::Bool => each(from, to, count, |x: u8| if x == 0 { 0.0_f32 } else { 1.0 }),
            }
        }
    }

    #[inline(always)]
    unsafe fn store<V: Simd>(dtype: DType, from: *const Self, to: *mut u8, count: usize, stream: bool) {
        let from = from.cast();
        unsafe {
            match dtype {
                DType::Float32 => floats::<V, f32, f32>(from, to, count, stream),
                DType::Float16 => floats::<V, f32, f16>(from, to, count, stream),
                DType::BFloat16 => floats::<V, f32, bf16>(from, to, count, stream),
                DType::Int32 => each(from, to, count, |x: f32| x as i32),
                DType::UInt32 => each(from, to, count, |x: f32| x as u32),
                DType::Int8 => each(from, to, count, |x: f32| x as i8),
                DType::UInt8 => each(from, to, count, |x: f32| x as u8),
                DType::Bool => each(from, to, count, |x: f32| u8::from(x != 0.0)),
            }
        }
    }
}

impl Number for i32 {
    const KIND: Kind = Kind::Int;

    fn is_stored_in(dtype: DType) -> bool {
        matches!(dtype, DType::Int32 | DType::UInt32)
    }

    #[inline(always)]
    unsafe fn load<V: Simd>(dtype: DType, from: *const u8, to: *mut Self, count: usize, _stream: bool) {
        let to = to.cast();
        unsafe {
            match dtype {
                DType::Int32 | DType::UInt32 => each(from, to, count, |x: i32| x),
                DType::Int8 => each(from, to, count, |x: i8| i32::from(x)),
                DType::UInt8 => each(from, to, count, |x: u8| i32::from(x)),
                DType::Bool => each(from, to, count, |x: u8| i32::from(x != 0)),
                DType::Float32 => each(from, to, count, |x: f32| x as i32),
                DType::Float16 => each(from, to, count, |x: f16| x.to_f32_const() as i32),
                DType::BFloat16 => each(from, to, count, |x: bf16| x.to_f32_const() as i32),
            }
        }
    }

    #[inline(always)]
    unsafe fn store<V: Simd>(dtype: DType, from: *const Self, to: *mut u8, count: usize, _stream: bool) {
        let from = from.cast();
        unsafe {
            match dtype {
                DType::Int32 | DType::UInt32 => each(from, to, count, |x: i32| x),
                DType::Int8 | DType::UInt8 => each(from, to, count, |x: i32| x as u8),
                DType::Bool => each(from, to, count, |x: i32| u8::from(x != 0)),
                DType::Float32 => each(from, to, count, |x: i32| x as f32),
                DType::Float16 => each(from, to, count, |x: i32| f16::from_f32_const(x as f32)),
                DType::BFloat16 => each(from, to, count, |x: i32| bf16::from_f32_const(x as f32)),
            }
        }
    }
}

impl Number for Truth {
    const KIND: Kind = Kind::Bool;

    fn is_stored_in(dtype: DType) -> bool {
        dtype == DType::Bool
    }

    #[inline(always)]
    unsafe fn load<V: Simd>(dtype: DType, from: *const u8, to: *mut Self, count: usize, _stream: bool) {
        let to = to.cast();
        unsafe {
            match dtype {
                DType::Bool | DType::Int8 | DType::UInt8 => each(from, to, count, |x: u8| u8::from(x != 0)),
                DType::Int32 | DType::UInt32 => each(from, to, count, |x: u32| u8::from(x != 0)),
                DType::Float32 => each(from, to, count, |x: f32| u8::from(x != 0.0)),
                // Minus zero is false too.
                DType::Float16 | DType::BFloat16 => each(from, to, count, |x: u16| u8::from(x & 0x7fff != 0)),
            }
        }
    }

    #[inline(always)]
    unsafe fn store<V: Simd>(dtype: DType, from: *const Self, to: *mut u8, count: usize, _stream: bool) {
        let from = from.cast();
        unsafe {
            match dtype {
                DType::Bool | DType::Int8 | DType::UInt8 => each(from, to, count, |x: u8| u8::from(x != 0)),
                DType::Int32 | DType::UInt32 => each(from, to, count, |x: u8| u32::from(x != 0)),
                DType::Float32 => each(from, to, count, |x: u8| if x == 0 { 0.0_f32 } else { 1.0 }),
                DType::Float16 => each(from, to, count, |x: u8| if x == 0 { f16::ZERO } else { f16::ONE }),
                DType::BFloat16 => each(from, to, count, |x: u8| if x == 0 { bf16::ZERO } else { bf16::ONE }),
            }
        }
    }
}

struct Load<T>(DType, *const u8, *mut T, usize, bool);

impl<T: Number> Kernel for Load<T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        // SAFETY: `load` below makes these only with what its caller promises.
        unsafe { T::load::<V>(self.0, self.1, self.2, self.3, self.4) }
    }
}

struct Store<T>(DType, *const T, *mut u8, usize, bool);

impl<T: Number> Kernel for Store<T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Simd>(self) {
        // SAFETY: `store` below makes these only with what its caller promises.
        unsafe { T::store::<V>(self.0, self.1, self.2, self.3, self.4) }
    }
}

/// Elements `step` bytes apart, converted to numbers one after another. At most [`BLOCK`] of them if they are not one
/// after another themselves.
///
/// # Safety
/// `from` has `count` elements of `dtype` at that step, and `to` has room for `count` numbers.
pub(crate) unsafe fn load<T: Number>(
    level: Level,
    dtype: DType,
    from: *const u8,
    step: isize,
    to: *mut T,
    count: usize,
) {
    let size = dtype.size();
    // SAFETY: the caller's promise; the block has room for all that is gathered.
    unsafe {
        if step == size as isize {
            level.run(Load(dtype, from, to, count, false));
        } else if T::is_stored_in(dtype) {
            gather(size, from, step, to.cast(), count);
        } else {
            debug_assert!(count <= BLOCK);
            let mut raw = Block::new();
            gather(size, from, step, raw.as_mut_ptr(), count);
            level.run(Load(dtype, raw.as_mut_ptr(), to, count, false));
        }
    }
}

/// Numbers one after another, converted to elements `step` bytes apart. At most [`BLOCK`] of them if those are not one
/// after another.
///
/// # Safety
/// `from` has `count` numbers, and `to` has room for `count` elements of `dtype` at that step.
pub(crate) unsafe fn store<T: Number>(
    level: Level,
    dtype: DType,
    from: *const T,
    to: *mut u8,
    step: isize,
    count: usize,
) {
    let size = dtype.size();
    // SAFETY: the caller's promise; the block has room for all that is scattered.
    unsafe {
        if step == size as isize {
            level.run(Store(dtype, from, to, count, false));
        } else if T::is_stored_in(dtype) && T::KIND != Kind::Bool {
            scatter(size, from.cast(), to, step, count);
        } else {
            debug_assert!(count <= BLOCK);
            let mut raw = Block::new();
            level.run(Store(dtype, from, raw.as_mut_ptr(), count, false));
            scatter(size, raw.as_mut_ptr(), to, step, count);
        }
    }
}

/// Elements one after another, converted from one type to another of which one is what `T` is stored in.
///
/// # Safety
/// `from` has `count` elements of its type, and `to` has room for as many of its.
pub(crate) unsafe fn between<T: Number>(
    level: Level,
    (source, from): (DType, *const u8),
    (target, to): (DType, *mut u8),
    count: usize,
    stream: bool,
) {
    debug_assert!(T::is_stored_in(source) || T::is_stored_in(target));
    if T::is_stored_in(source) {
        level.run(Store::<T>(target, from.cast(), to, count, stream));
    } else {
        level.run(Load::<T>(source, from, to.cast(), count, stream));
    }
}

/// Elements of `size` bytes that are `step` bytes apart, put one after another.
///
/// # Safety
/// `from` has `count` elements at that step, and `to` has room for as many, elsewhere.
pub(crate) unsafe fn gather(size: usize, from: *const u8, step: isize, to: *mut u8, count: usize) {
    /// # Safety
    /// As above.
    unsafe fn of<T: Copy>(mut from: *const u8, step: isize, to: *mut u8, count: usize) {
        let to = to.cast::<T>();
        if step == 0 && count > 0 {
            // A loop of its own is one that the compiler vectorises.
            let element = unsafe { from.cast::<T>().read_unaligned() };
            for i in 0..count {
                unsafe { to.add(i).write_unaligned(element) };
            }
            return;
        }
        for i in 0..count {
            unsafe { to.add(i).write_unaligned(from.cast::<T>().read_unaligned()) };
            from = from.wrapping_offset(step);
        }
    }
    unsafe {
        match size {
            1 => of::<u8>(from, step, to, count),
            2 => of::<u16>(from, step, to, count),
            _ => of::<u32>(from, step, to, count),
        }
    }
}

/// Elements of `size` bytes that lie one after another, put `step` bytes apart.
///
/// # Safety
/// `from` has `count` elements, and `to` has room for as many at that step, elsewhere.
pub(crate) unsafe fn scatter(size: usize, from: *const u8, to: *mut u8, step: isize, count: usize) {
    /// # Safety
    /// As above.
    unsafe fn of<T: Copy>(from: *const u8, mut to: *mut u8, step: isize, count: usize) {
        let from = from.cast::<T>();
        for i in 0..count {
            unsafe { to.cast::<T>().write_unaligned(from.add(i).read_unaligned()) };
            to = to.wrapping_offset(step);
        }
    }
    unsafe {
        match size {
            1 => of::<u8>(from, to, step, count),
            2 => of::<u16>(from, to, step, count),
            _ => of::<u32>(from, to, step, count),
        }
    }
}
