//! Attention for a few queries: as many scores as it takes, then weights, then the sum of values. The two products
//! read keys and values once for all queries of a head of keys, in place and at the memory's pace.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]

use super::{Heads, Options};
use crate::cpu::convert::{self, BLOCK, Block};
use crate::cpu::math::{exp2, tanh};
use crate::cpu::memory::HostBuffer;
use crate::cpu::simd::{Kernel, Level, Simd};
use crate::cpu::threads::Shared;
use crate::cpu::{CpuDevice, View, ViewMut};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::matmul_vec::cpu::matmul_vec;
use crate::shape::Layout;

/// About how many scores make a task, and how many are not worth a second thread.
const SCORES: usize = 1 << 12;

/// # Safety
/// As for [`super::attention`].
pub(super) unsafe fn attention(
    device: CpuDevice,
    q: View<'_>,
    k: View<'_>,
    v: View<'_>,
    out: ViewMut<'_>,
    options: &Options<'_>,
) -> Result<()> {
    let batch = q.layout.shape[0];
    let step = if options.lengths.len() == 1 { batch } else { 1 };
    for first in (0..batch).step_by(step) {
        // SAFETY: the caller's promise; these are batches of one length.
        unsafe { of_one_length(device, q, k, v, out, first, step, options)? };
    }
    Ok(())
}

/// # Safety
/// As for [`super::attention`].
#[expect(clippy::too_many_arguments, reason = "the operands, and which of the batches")]
unsafe fn of_one_length(
    device: CpuDevice,
    q: View<'_>,
    k: View<'_>,
    v: View<'_>,
    out: ViewMut<'_>,
    first: usize,
    count: usize,
    options: &Options<'_>,
) -> Result<()> {
    let (heads, key_heads, t) = (q.layout.shape[1], k.layout.shape[1], q.layout.shape[2]);
    let group = heads / key_heads;
    let length = options.lengths[first % options.lengths.len()];
    let (from, _) = options.reach.keys(0, t, length);
    let (_, to) = options.reach.keys(t - 1, t, length);
    let keys = to.saturating_sub(from);

    // Batch, key head, group, query; then what is left of keys and values.
    let of_queries = |layout: &Layout| {
        let mut layout = part(layout, 0, first, count);
        layout.shape[1] = key_heads;
        layout.shape.insert(2, group);
        layout.strides.insert(2, layout.strides[1]);
        layout.strides[1] *= group as isize;
        layout
    };
    let of_keys = |layout: &Layout, order: [usize; 2]| {
        let layout = part(&part(layout, 0, first, count), 2, from, keys);
        let mut extended = layout.clone();
        for (axis, old) in order.into_iter().enumerate() {
            extended.shape[2 + axis] = layout.shape[old];
            extended.strides[2 + axis] = layout.strides[old];
        }
        for length in [t, group] {
            extended.shape.insert(2, length);
            extended.strides.insert(2, 0);
        }
        extended
    };
    let [q_layout, out_layout] = [of_queries(q.layout), of_queries(out.layout)];
    let [k_layout, v_layout] = [of_keys(k.layout, [2, 3]), of_keys(v.layout, [3, 2])];
    let score_layout = Layout::contiguous(&[count, key_heads, group, t, keys]);
    let scores = HostBuffer::alloc(score_layout.len() * size_of::<f32>())?;
    let rows = Rows {
        options,
        mask: options.mask.map(Heads::new),
        scores: scores.as_mut_ptr().cast(),
        batch: first,
        heads,
        t,
        length,
        from,
        keys,
    };
    // SAFETY: the caller's promise; there is room for the scores.
    unsafe {
        let (q, k) = (View { layout: &q_layout, ..q }, View { layout: &k_layout, ..k });
        let (v, out) = (View { layout: &v_layout, ..v }, ViewMut { layout: &out_layout, ..out });
        let (origin, dtype, layout) = (scores.as_mut_ptr(), DType::Float32, &score_layout);
        matmul_vec(device, k, q, ViewMut { origin, dtype, layout }, options.scale)?;
        rows.weigh(device, count * heads * t);
        matmul_vec(device, v, View { origin, dtype, layout }, out, 1.0)
    }
}

/// Part of a layout along an axis.
fn part(layout: &Layout, axis: usize, first: usize, count: usize) -> Layout {
    let mut layout = layout.clone();
    layout.offset += layout.strides[axis] * first as isize;
    layout.shape[axis] = count;
    layout
}

/// The scores of all queries, a row for each.
struct Rows<'a> {
    options: &'a Options<'a>,
    mask: Option<Heads>,
    scores: *mut f32,
    /// The first of the batches.
    batch: usize,
    heads: usize,
    t: usize,
    length: usize,
    /// The first key that has a score, and how many have.
    from: usize,
    keys: usize,
}

impl Rows<'_> {
    /// Turns all scores into weights.
    ///
    /// # Safety
    /// There are so many rows of them.
    unsafe fn weigh(&self, device: CpuDevice, rows: usize) {
        let group = (SCORES / self.keys.max(1)).clamp(1, rows);
        let device = if rows * self.keys <= SCORES { device.with_threads(1) } else { device };
        // SAFETY: tasks have rows of their own.
        let shared = unsafe { Shared::new(self) };
        device.for_each_chunk(rows.div_ceil(group), |task| {
            for row in task * group..rows.min((task + 1) * group) {
                // SAFETY: the caller's promise.
                unsafe { shared.get().weigh_row(device.level(), row) };
            }
        });
    }

    /// # Safety
    /// There is such a row.
    unsafe fn weigh_row(&self, level: Level, row: usize) {
        let (query, head) = (row % self.t, row / self.t % self.heads);
        let batch = self.batch + row / self.t / self.heads;
        // SAFETY: the caller's promise; the mask has an element for each score.
        unsafe {
            let scores = self.scores.add(row * self.keys);
            if let Some(cap) = self.options.softcap {
                level.run(Cap { scores, count: self.keys, most: cap });
            }
            if let Some(mask) = &self.mask {
                let start = mask.at([batch, head, query]).wrapping_offset(self.from as isize * mask.steps[3]);
                let mut block = Block::new();
                let numbers = block.as_mut_ptr::<f32>();
                for key in (0..self.keys).step_by(BLOCK) {
                    let count = BLOCK.min(self.keys - key);
                    let from = start.wrapping_offset(key as isize * mask.steps[3]);
                    convert::load::<f32>(level, mask.dtype, from, mask.steps[3], numbers, count);
                    for i in 0..count {
                        let (score, mask_is) = (scores.add(key + i), numbers.add(i).read());
                        if mask.dtype != DType::Bool {
                            *score += mask_is;
                        } else if mask_is == 0.0 {
                            *score = f32::NEG_INFINITY;
                        }
                    }
                }
            }
            let (from, to) = self.options.reach.keys(query, self.t, self.length);
            for key in (0..from - self.from).chain(to.max(self.from) - self.from..self.keys) {
                scores.add(key).write(f32::NEG_INFINITY);
            }
            level.run(Weigh { scores, count: self.keys });
        }
    }
}

/// Caps so many scores.
struct Cap {
    scores: *mut f32,
    count: usize,
    most: f32,
}

impl Kernel for Cap {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let cap = |score: V| tanh(score.mul(V::splat(1.0 / self.most))).mul(V::splat(self.most));
        // SAFETY: whoever makes these has so many scores.
        unsafe { change::<V>(self.scores, self.count, cap) };
    }
}

/// Makes so many scores weights that add up to one, or zeros where all are hidden.
struct Weigh {
    scores: *mut f32,
    count: usize,
}

impl Kernel for Weigh {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { scores, count } = self;
        let mut largest = V::splat(f32::NEG_INFINITY);
        // SAFETY: whoever makes these has so many scores.
        unsafe {
            let whole = count / V::LANES * V::LANES;
            each::<V>(scores, whole, |score| largest = score.max(largest));
            let mut most = largest.largest();
            for i in whole..count {
                most = scores.add(i).read().max(most);
            }
            // Subtracted before anything is multiplied: masks of -1e30 have to leave equal scores equal.
            let base = V::splat(if most == f32::NEG_INFINITY { 0.0 } else { most });
            let weigh = |score: V| exp2(score.sub(base).mul(V::splat(std::f32::consts::LOG2_E)));
            change::<V>(scores, count, weigh);
            let mut total = 0.0;
            for first in (0..count).step_by(BLOCK) {
                let mut sum = V::splat(0.0);
                each::<V>(scores.add(first), BLOCK.min(count - first), |weight| sum = sum.add(weight));
                total += f64::from(sum.sum());
            }
            let share = if total == 0.0 { 0.0 } else { (1.0 / total) as f32 };
            change::<V>(scores, count, |weight| weight.mul(V::splat(share)));
        }
    }
}

/// Makes other numbers of so many.
///
/// # Safety
/// There are so many.
#[inline(always)]
unsafe fn change<V: Simd>(numbers: *mut f32, count: usize, function: impl Fn(V) -> V) {
    let mut i = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while i + V::LANES <= count {
            function(V::load_f32(numbers.add(i))).store_f32(numbers.add(i));
            i += V::LANES;
        }
        if i < count {
            function(V::load_f32_tail(numbers.add(i), count - i)).store_f32_tail(numbers.add(i), count - i);
        }
    }
}

/// Shows so many numbers, and zeros after them.
///
/// # Safety
/// There are so many.
#[inline(always)]
unsafe fn each<V: Simd>(numbers: *const f32, count: usize, mut visit: impl FnMut(V)) {
    let mut i = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while i + V::LANES <= count {
            visit(V::load_f32(numbers.add(i)));
            i += V::LANES;
        }
        if i < count {
            visit(V::load_f32_tail(numbers.add(i), count - i));
        }
    }
}
