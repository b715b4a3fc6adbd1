//! What happens to the scores of a panel of queries: a row for each key, a column, that is a lane, for each query.
#![expect(unsafe_code, reason = "panels are pointers")]

use crate::cpu::math::{exp2, tanh};
use crate::cpu::simd::{Kernel, Simd};

/// What is done to scores before they are compared.
pub(super) struct Edits {
    pub(super) scale: f32,
    pub(super) softcap: Option<f32>,
    /// Numbers laid out as the scores are. They are added, or, if so it says, hide the keys where they are zero.
    pub(super) mask: Option<(*const f32, bool)>,
    /// For each query the first key that it sees, then for each the one after the last.
    pub(super) reach: Option<*const f32>,
}

impl Edits {
    /// # Safety
    /// The promise to [`Weigh`].
    #[inline(always)]
    unsafe fn apply<V: Simd>(&self, panel: &Weigh, column: usize) {
        let hidden = V::splat(f32::NEG_INFINITY);
        let cap = self.softcap.map(|cap| [V::splat(1.0 / cap), V::splat(cap)]);
        for key in 0..panel.keys {
            // SAFETY: the caller's promise.
            unsafe {
                let place = key * panel.width + column;
                let mut score = V::load_f32(panel.scores.add(place)).mul(V::splat(self.scale));
                if let Some([share, cap]) = cap {
                    score = tanh(score.mul(share)).mul(cap);
                }
                if let Some((mask, hides)) = self.mask {
                    let mask = V::load_f32(mask.add(place));
                    score = if hides { V::select(mask.equal(V::splat(0.0)), hidden, score) } else { score.add(mask) };
                }
                if let Some(reach) = self.reach {
                    let key = V::splat(key as f32);
                    let after = V::load_f32(reach.add(column)).less_equal(key);
                    let before = key.less(V::load_f32(reach.add(panel.width + column)));
                    score = V::select(V::and(after, before), score, hidden);
                }
                score.store_f32(panel.scores.add(place));
            }
        }
    }
}

/// Turns scores into weights, relative to the largest score so far, and the state into what it is relative to that.
///
/// The pointers are what they say: `keys` rows of `width` scores; a state as [`super::Plan::state`] has it.
pub(super) struct Weigh {
    pub(super) scores: *mut f32,
    pub(super) keys: usize,
    pub(super) state: *mut f32,
    /// The rows of sums in the state.
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) factor: f32,
    pub(super) edits: Option<Edits>,
}

impl Kernel for Weigh {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let factor = V::splat(self.factor);
        for column in (0..self.width).step_by(V::LANES) {
            // SAFETY: whoever makes these promises what the type says.
            unsafe {
                if let Some(edits) = &self.edits {
                    edits.apply::<V>(&self, column);
                }
                let scores = self.scores.add(column);
                let largest = self.state.add(column);
                let old = V::load_f32(largest);
                let mut rows = [old; 4];
                let mut key = 0;
                while key + 4 <= self.keys {
                    for (i, row) in rows.iter_mut().enumerate() {
                        *row = V::load_f32(scores.add((key + i) * self.width)).max(*row);
                    }
                    key += 4;
                }
                while key < self.keys {
                    rows[0] = V::load_f32(scores.add(key * self.width)).max(rows[0]);
                    key += 1;
                }
                let new = rows[0].max(rows[1]).max(rows[2].max(rows[3]));
                let base = base(new);
                let mut sum = V::splat(0.0);
                for key in 0..self.keys {
                    let place = scores.add(key * self.width);
                    let weight = exp2(V::load_f32(place).sub(base).mul(factor));
                    weight.store_f32(place);
                    sum = sum.add(weight);
                }
                let keep = exp2(old.sub(base).mul(factor));
                new.store_f32(largest);
                let total = self.state.add(self.width + column);
                V::load_f32(total).fma(keep, sum).store_f32(total);
                if V::any(V::not(keep.equal(V::splat(1.0)))) {
                    for row in 0..self.rows {
                        let place = self.state.add((2 + row) * self.width + column);
                        V::load_f32(place).mul(keep).store_f32(place);
                    }
                }
            }
        }
    }
}

/// What scores are compared with: the largest. Where nothing was seen yet it is zero, so that hidden scores have no
/// weight. It is subtracted before anything is multiplied: masks of -1e30 have to leave equal scores equal.
#[inline(always)]
fn base<V: Simd>(largest: V) -> V {
    V::select(largest.equal(V::splat(f32::NEG_INFINITY)), V::splat(0.0), largest)
}

/// Adds one state to another.
///
/// Both are as [`super::Plan::state`] has it.
pub(super) struct Merge {
    pub(super) into: *mut f32,
    pub(super) from: *const f32,
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) factor: f32,
}

impl Kernel for Merge {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let factor = V::splat(self.factor);
        for column in (0..self.width).step_by(V::LANES) {
            // SAFETY: whoever makes these promises what the type says.
            unsafe {
                let (into, from) = (self.into.add(column), self.from.add(column));
                let (a, b) = (V::load_f32(into), V::load_f32(from));
                let largest = a.max(b);
                let base = base(largest);
                let [keep, take] = [a, b].map(|score| exp2(score.sub(base).mul(factor)));
                largest.store_f32(into);
                for row in 1..self.rows + 2 {
                    let place = into.add(row * self.width);
                    let taken = V::load_f32(from.add(row * self.width)).mul(take);
                    V::load_f32(place).fma(keep, taken).store_f32(place);
                }
            }
        }
    }
}
