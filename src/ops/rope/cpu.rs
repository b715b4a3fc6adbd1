//! Rotations on the CPU. Rows that lie in memory one element after another are rotated in vectors; others, and pairs
//! of neighbours, pass through small blocks.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::cast_ptr_alignment, reason = "the elements of a tensor are aligned")]

use std::marker::PhantomData;

use half::{bf16, f16};

use crate::cpu::convert::{self, BLOCK, Block};
use crate::cpu::simd::{Element, Kernel, Level, Simd};
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::DType;
use crate::shape::{Shape, Strides, merge_axes};

/// Below so many elements other threads cost more than they bring.
const ALONE: usize = 1 << 16;
/// About how many elements a thread takes at a time.
const CHUNK: usize = 1 << 16;
/// Results of at least so many bytes go past the caches, which could not keep them.
const STREAM: usize = 16 << 20;
/// The most pairs that are rotated in a block.
const PAIRS: usize = BLOCK / 2;

/// Rotates pairs of elements along the last axis of `x` by the tables, which have one element for each pair.
///
/// # Safety
/// `x` and `out` have one shape and type, a float; the tables are `float32`, have the same axes before the last, and
/// along the last at most half as many elements, one after another. There are elements. Those of the inputs are
/// readable; the output's are writable, each in a place of its own, and share no memory with the inputs.
pub(crate) unsafe fn rope(device: CpuDevice, interleaved: bool, x: View<'_>, tables: [View<'_>; 2], out: ViewMut<'_>) {
    let last = x.layout.ndim() - 1;
    let size = x.dtype.size() as isize;
    let layouts = [x.layout, tables[0].layout, tables[1].layout, out.layout];
    let sizes = [size, 4, 4, size];
    let bytes: [Strides; 4] =
        std::array::from_fn(|n| layouts[n].strides[..last].iter().map(|&stride| stride * sizes[n]).collect());
    let (shape, strides) = merge_axes(&x.layout.shape[..last], &bytes.each_ref().map(|strides| &strides[..]));
    let rows = Rows {
        shape,
        strides,
        starts: [x.start(), tables[0].start(), tables[1].start(), out.start().cast_const()],
        dtype: x.dtype,
        interleaved,
        steps: [x.layout.strides[last] * size, out.layout.strides[last] * size],
        pairs: tables[0].layout.shape[last],
        length: x.layout.shape[last],
        stream: x.layout.len() * x.dtype.size() >= STREAM,
    };
    let count: usize = rows.shape.iter().product();
    let chunk = (CHUNK / rows.length).max(1);
    let device = if count * rows.length <= ALONE { device.with_threads(1) } else { device };
    // SAFETY: rows are written apart from each other.
    let shared = unsafe { Shared::new(&rows) };
    device.for_each_chunk(count.div_ceil(chunk), |index| {
        let first = index * chunk;
        // SAFETY: the caller's promise.
        unsafe { shared.get().rotate(device.level(), first, chunk.min(count - first)) };
    });
}

/// Operands: x, cos, sin, out. Strides and steps are in bytes.
struct Rows {
    shape: Shape,
    strides: [Strides; 4],
    starts: [*const u8; 4],
    dtype: DType,
    interleaved: bool,
    /// From one element to the next, of x and of out.
    steps: [isize; 2],
    pairs: usize,
    length: usize,
    stream: bool,
}

/// Counts through rows.
struct Cursor<'a> {
    rows: &'a Rows,
    index: Shape,
    places: [*const u8; 4],
}

impl<'a> Cursor<'a> {
    fn new(rows: &'a Rows, first: usize) -> Self {
        let mut rest = first;
        let mut index = rows.shape.clone();
        let mut places = rows.starts;
        for axis in (0..rows.shape.len()).rev() {
            index[axis] = rest % rows.shape[axis];
            rest /= rows.shape[axis];
            for (place, strides) in places.iter_mut().zip(&rows.strides) {
                *place = place.wrapping_offset(index[axis] as isize * strides[axis]);
            }
        }
        Self { rows, index, places }
    }

    #[inline(always)]
    fn advance(&mut self) {
        for axis in (0..self.index.len()).rev() {
            self.index[axis] += 1;
            let carry = self.index[axis] == self.rows.shape[axis];
            let back = if carry { self.rows.shape[axis] as isize } else { 0 };
            for (place, strides) in self.places.iter_mut().zip(&self.rows.strides) {
                *place = place.wrapping_offset((1 - back) * strides[axis]);
            }
            if !carry {
                break;
            }
            self.index[axis] = 0;
        }
    }
}

impl Rows {
    /// # Safety
    /// The promise of [`rope`], and there are so many rows.
    unsafe fn rotate(&self, level: Level, first: usize, count: usize) {
        let mut cursor = Cursor::new(self, first);
        if self.steps == [self.dtype.size() as isize; 2] {
            match self.dtype {
                DType::Float16 => level.run(Dense::<f16>(cursor, count, PhantomData)),
                DType::BFloat16 => level.run(Dense::<bf16>(cursor, count, PhantomData)),
                _ => level.run(Dense::<f32>(cursor, count, PhantomData)),
            }
            return;
        }
        for _ in 0..count {
            // SAFETY: the caller's promise.
            unsafe { self.through_blocks(level, cursor.places) };
            cursor.advance();
        }
    }

    /// A row with any distance between its elements.
    ///
    /// # Safety
    /// The places are those of a row.
    unsafe fn through_blocks(&self, level: Level, [x, cos, sin, out]: [*const u8; 4]) {
        let [x_step, out_step] = self.steps;
        let (size, out) = (self.dtype.size(), out.cast_mut());
        let half = self.pairs as isize;
        // From pair to pair, and from the first element of a pair to the second.
        let (along, across) = if self.interleaved { (2, 1) } else { (1, half) };
        let mut blocks = [const { Block::new() }; 2];
        for first in (0..self.pairs).step_by(BLOCK) {
            let count = BLOCK.min(self.pairs - first);
            let at = first as isize * along;
            let [a, b] = blocks.each_mut().map(Block::as_mut_ptr::<f32>);
            // SAFETY: the caller's promise; blocks have room for `BLOCK` numbers.
            unsafe {
                for (block, place) in [(a, at), (b, at + across)] {
                    let from = x.wrapping_offset(place * x_step);
                    convert::load::<f32>(level, self.dtype, from, along * x_step, block, count);
                }
                level.run(Rotate { a, b, cos: cos.cast::<f32>().add(first), sin: sin.cast::<f32>().add(first), count });
                for (block, place) in [(a, at), (b, at + across)] {
                    let to = out.wrapping_offset(place * out_step);
                    convert::store::<f32>(level, self.dtype, block, to, along * out_step, count);
                }
            }
        }
        let [block, _] = blocks.each_mut().map(Block::as_mut_ptr::<u8>);
        for first in (2 * self.pairs..self.length).step_by(BLOCK) {
            let count = BLOCK.min(self.length - first);
            let [from, to] =
                [x.wrapping_offset(first as isize * x_step), out.wrapping_offset(first as isize * out_step)];
            // SAFETY: as above.
            unsafe {
                convert::gather(size, from, x_step, block, count);
                convert::scatter(size, block, to.cast_mut(), out_step, count);
            }
        }
    }
}

/// Turns numbers in place.
struct Rotate {
    a: *mut f32,
    b: *mut f32,
    cos: *const f32,
    sin: *const f32,
    count: usize,
}

impl Kernel for Rotate {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { a, b, cos, sin, count } = self;
        // SAFETY: there are `count` of each.
        unsafe {
            for i in (0..count).step_by(V::LANES) {
                halves::<V, f32, false>(
                    [a.add(i), b.add(i)],
                    [cos.add(i), sin.add(i)],
                    [a.add(i), b.add(i)],
                    count - i,
                );
            }
        }
    }
}

/// Rows whose elements lie one after another.
struct Dense<'a, E>(Cursor<'a>, usize, PhantomData<E>);

impl<E: Element> Kernel for Dense<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self(mut cursor, count, _) = self;
        let (pairs, length) = (cursor.rows.pairs, cursor.rows.length);
        let width = V::LANES * size_of::<E>();
        for _ in 0..count {
            let [x, cos, sin, out] = cursor.places;
            let (x, out) = (x.cast::<E>(), out.cast_mut().cast::<E>());
            let tables = [cos.cast::<f32>(), sin.cast::<f32>()];
            // SAFETY: the places are those of a row.
            unsafe {
                let aligned = cursor.rows.stream && out.addr().is_multiple_of(width) && pairs.is_multiple_of(V::LANES);
                match (cursor.rows.interleaved, aligned) {
                    (true, _) => neighbours::<V, E>(x, tables, out, pairs, cursor.rows.stream),
                    (false, true) => row::<V, E, true>(x, tables, out, pairs),
                    (false, false) => row::<V, E, false>(x, tables, out, pairs),
                }
                out.add(2 * pairs).copy_from_nonoverlapping(x.add(2 * pairs), length - 2 * pairs);
            }
            cursor.advance();
        }
        V::fence();
    }
}

/// Pairs half a row apart. `STREAM` asks for an output that is aligned, and whole vectors.
///
/// # Safety
/// The pointers are those of a row.
#[inline(always)]
unsafe fn row<V: Simd, E: Element, const STREAM: bool>(
    x: *const E,
    [cos, sin]: [*const f32; 2],
    out: *mut E,
    pairs: usize,
) {
    for i in (0..pairs).step_by(V::LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            halves::<V, E, STREAM>(
                [x.add(i), x.add(pairs + i)],
                [cos.add(i), sin.add(i)],
                [out.add(i), out.add(pairs + i)],
                pairs - i,
            );
        }
    }
}

/// A vector of pairs, or as many as are left.
///
/// # Safety
/// There are `left` elements at each place. All are read before any is written.
#[inline(always)]
unsafe fn halves<V: Simd, E: Element, const STREAM: bool>(
    [a, b]: [*const E; 2],
    [cos, sin]: [*const f32; 2],
    [out_a, out_b]: [*mut E; 2],
    left: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let whole = left >= V::LANES;
        let [a, b] = [a, b].map(|from| if whole { E::load::<V>(from) } else { E::load_tail::<V>(from, left) });
        let [c, s] = [cos, sin].map(|from| if whole { V::load_f32(from) } else { V::load_f32_tail(from, left) });
        let turned = [(a.mul(c).sub(b.mul(s)), out_a), (a.mul(s).add(b.mul(c)), out_b)];
        for (value, to) in turned {
            match (whole, STREAM) {
                (true, true) => E::stream(value, to),
                (true, false) => E::store(value, to),
                (false, _) => E::store_tail(value, to, left),
            }
        }
    }
}

/// Pairs of neighbours, by way of the nearest cache. The compiler makes vectors of the loop in the middle.
///
/// # Safety
/// The pointers are those of a row.
#[inline(always)]
unsafe fn neighbours<V: Simd, E: Element>(
    x: *const E,
    [cos, sin]: [*const f32; 2],
    out: *mut E,
    pairs: usize,
    stream: bool,
) {
    let (mut from, mut to) = (Block::new(), Block::new());
    let (from, to) = (from.as_mut_ptr::<f32>(), to.as_mut_ptr::<f32>());
    for first in (0..pairs).step_by(PAIRS) {
        let count = PAIRS.min(pairs - first);
        // SAFETY: the caller's promise; both blocks have room for `PAIRS` pairs.
        unsafe {
            copy::<V, E, f32, false>(x.add(2 * first), from, 2 * count);
            for i in 0..count {
                let (a, b) = (from.add(2 * i).read(), from.add(2 * i + 1).read());
                let (c, s) = (cos.add(first + i).read(), sin.add(first + i).read());
                to.add(2 * i).write(a * c - b * s);
                to.add(2 * i + 1).write(a * s + b * c);
            }
            let out = out.add(2 * first);
            if stream && out.addr().is_multiple_of(V::LANES * size_of::<E>()) {
                copy::<V, f32, E, true>(to, out, 2 * count);
            } else {
                copy::<V, f32, E, false>(to, out, 2 * count);
            }
        }
    }
}

/// Converts elements one after another. `STREAM` asks for an aligned target.
///
/// # Safety
/// There are `count` of them on either side.
#[inline(always)]
unsafe fn copy<V: Simd, From: Element, To: Element, const STREAM: bool>(from: *const From, to: *mut To, count: usize) {
    let mut i = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while i + V::LANES <= count {
            let vector = From::load::<V>(from.add(i));
            if STREAM {
                To::stream(vector, to.add(i));
            } else {
                To::store(vector, to.add(i));
            }
            i += V::LANES;
        }
        if i < count {
            To::store_tail(From::load_tail::<V>(from.add(i), count - i), to.add(i), count - i);
        }
    }
}

/// Fills `[2, positions, frequencies]` with cosines and sines of positions times frequencies, which are in 2^-64 of a
/// turn.
///
/// # Safety
/// Positions are `float32`, `int32` or `uint32`, one after another. The output has room for both tables.
pub(crate) unsafe fn tables(device: CpuDevice, positions: View<'_>, frequencies: &[u64], out: ViewMut<'_>) {
    let (count, columns) = (positions.layout.len(), frequencies.len());
    let rows = (CHUNK / columns / 4).max(1);
    let device = if count * columns <= ALONE / 4 { device.with_threads(1) } else { device };
    // SAFETY: rows are written apart from each other.
    let shared = unsafe { Shared::new((positions.start(), out.start().cast::<f32>())) };
    let dtype = positions.dtype;
    device.for_each_chunk(count.div_ceil(rows), |chunk| {
        let (from, to) = shared.get();
        for row in chunk * rows..count.min((chunk + 1) * rows) {
            // SAFETY: the caller's promise.
            unsafe {
                let position = Position::read(dtype, from.add(row * 4));
                let cos = to.add(row * columns);
                let sin = cos.add(count * columns);
                device.level().run(Sines { position, frequencies, cos, sin });
            }
        }
    });
}

/// The magnitude of a position: its whole part, and its fraction in 2^-32.
struct Position {
    whole: u64,
    fraction: u64,
    negative: bool,
    finite: bool,
}

impl Position {
    /// # Safety
    /// An element of this type can be read there.
    unsafe fn read(dtype: DType, from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        let bits = unsafe { from.cast::<u32>().read_unaligned() };
        let integer = |value: i64| Self { whole: value.unsigned_abs(), fraction: 0, negative: value < 0, finite: true };
        match dtype {
            DType::Int32 => integer(i64::from(bits as i32)),
            DType::UInt32 => integer(i64::from(bits)),
            _ => {
                let value = f32::from_bits(bits);
                let whole = value.abs().trunc();
                // Beyond 2^87 a float is a multiple of 2^64.
                let whole_turns = if whole < 2.0_f32.powi(87) { whole as u128 as u64 } else { 0 };
                let fraction = ((value.abs() - whole) * 2.0_f32.powi(32)) as u64;
                Self { whole: whole_turns, fraction, negative: value < 0.0, finite: value.is_finite() }
            }
        }
    }
}

struct Sines<'a> {
    position: Position,
    frequencies: &'a [u64],
    cos: *mut f32,
    sin: *mut f32,
}

impl Kernel for Sines<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        /// Radians in 2^-32 of a turn.
        const RADIANS: f32 = 1.462_918_1e-9;
        let Position { whole, fraction, negative, finite } = self.position;
        let sign = if negative { u32::MAX } else { 0 };
        let poison = if finite { 0.0 } else { f32::NAN };
        // The compiler makes vectors of this loop.
        for (i, &frequency) in self.frequencies.iter().enumerate() {
            let parts = fraction * (frequency >> 32) + ((fraction * (frequency & 0xffff_ffff)) >> 32);
            let turn = (whole.wrapping_mul(frequency).wrapping_add(parts) >> 32) as u32;
            let turn = (turn ^ sign).wrapping_sub(sign);
            let quarter = turn.wrapping_add(1 << 29) >> 30;
            let x = turn.wrapping_sub(quarter << 30) as i32 as f32 * RADIANS + poison;
            let z = x * x;
            // The best polynomials within an eighth of a turn, to 2e-9 and 1e-10.
            let sine = x + x * z * (-0.166_666_51 + z * (0.008_331_979 + z * -0.000_194_956_36));
            let cosine = 1.0 - 0.5 * z + z * z * (0.041_666_646 + z * (-0.001_388_736_8 + z * 2.443_845_2e-5));
            let swap = quarter & 1 == 1;
            let (c, s) = if swap { (sine, cosine) } else { (cosine, sine) };
            // The signs of the four quarters: cosine + − − +, sine + + − −.
            let c = f32::from_bits(c.to_bits() ^ ((quarter ^ (quarter >> 1)) & 1) << 31);
            let s = f32::from_bits(s.to_bits() ^ (quarter >> 1) << 31);
            // SAFETY: the tables have a place for each frequency.
            unsafe {
                self.cos.add(i).write(c);
                self.sin.add(i).write(s);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{Array, Random, Value, for_each_index};

    #[test]
    fn random_rows_against_one_pair_at_a_time() {
        let mut random = Random(7);
        for round in 0..300 {
            let dtype = random.pick(&[DType::Float32, DType::Float16, DType::BFloat16]);
            let pairs = random.pick(&[1, 2, 3, 8, 15, 16, 17, 32, 64, 300]);
            let length = 2 * pairs + random.pick(&[0, 0, 1, 7, 16]);
            let shape = [random.below(3) + 1, random.below(3) + 1, random.below(4) + 1, length];
            let table_shape = [shape[0], shape[1], shape[2], pairs];
            let interleaved = random.below(2) == 0;
            let value = |random: &mut Random| Value::Float(random.unit() * 4.0);
            let x = if random.below(2) == 0 {
                Array::new(dtype, &shape, || Value::Float(random.unit()))
            } else {
                Array::scattered(&mut random, dtype, &shape, true, value)
            };
            let mut tables = [0, 1].map(|_| Array::new(DType::Float32, &table_shape, || value(&mut random)));
            if random.below(2) == 0 {
                for table in &mut tables {
                    table.layout.strides[1] = 0;
                }
            }
            let before = if random.below(2) == 0 {
                Array::new(dtype, &shape, || Value::Int(1))
            } else {
                Array::scattered(&mut random, dtype, &shape, false, |_| Value::Int(1))
            };
            for level in Level::available() {
                let device = CpuDevice::new().unwrap().with_level(level).unwrap();
                let mut out = before.clone();
                let views = [tables[0].view(), tables[1].view()];
                // SAFETY: arrays of their own, with the shapes that are asked for.
                unsafe { rope(device, interleaved, x.view(), views, out.view_mut()) };
                for_each_index(&shape, |index| {
                    let (got, last) = (out.at(index).float(), index[3]);
                    let mut other = index.to_vec();
                    let mut pair = index.to_vec();
                    let is_first = if interleaved { last % 2 == 0 } else { last < pairs };
                    let partner = if interleaved { last ^ 1 } else { (last + pairs) % (2 * pairs) };
                    other[3] = if last < 2 * pairs { partner } else { last };
                    pair[3] = if last >= 2 * pairs {
                        0
                    } else if interleaved {
                        last / 2
                    } else {
                        last % pairs
                    };
                    let (mine, theirs) = (x.at(index).float(), x.at(&other).float());
                    let [c, s] = tables.each_ref().map(|table| table.at(&pair).float());
                    let want = if last >= 2 * pairs {
                        mine
                    } else if is_first {
                        mine * c - theirs * s
                    } else {
                        theirs * s + mine * c
                    };
                    let unit = match dtype {
                        DType::Float16 => 1e-3,
                        DType::BFloat16 => 8e-3,
                        _ => 2e-7,
                    };
                    let bound = unit * (mine.abs() + theirs.abs()) * (c.abs() + s.abs());
                    assert!((got - want).abs() <= bound, "{round} {level}: {got}, not {want} at {index:?}");
                });
                let touched: std::collections::HashSet<isize> = {
                    let mut all = std::collections::HashSet::new();
                    for_each_index(&shape, |index| _ = all.insert(out.place(index)));
                    all
                };
                if let Some((low, high)) = out.layout.reach() {
                    for place in (low..=high).filter(|place| !touched.contains(place)) {
                        assert!(out.get(place).same(before.get(place)), "{round} {level}: place {place} was touched");
                    }
                }
            }
        }
    }
}
