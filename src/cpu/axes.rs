//! The leading axes along which an operation is repeated.

use crate::shape::{Shape, Strides};

/// Lengths, and for each of N operands the bytes from one place to the next.
pub(crate) struct Axes<const N: usize> {
    lengths: Shape,
    steps: [Strides; N],
}

impl<const N: usize> Axes<N> {
    pub(crate) fn new() -> Self {
        Self { lengths: Shape::new(), steps: std::array::from_fn(|_| Strides::new()) }
    }

    /// Adds the axis that moves fastest. One of length 1 goes without saying.
    pub(crate) fn push(&mut self, length: usize, steps: [isize; N]) {
        if length != 1 {
            self.lengths.push(length);
            for (all, step) in self.steps.iter_mut().zip(steps) {
                all.push(step);
            }
        }
    }

    /// The axis that moves fastest.
    pub(crate) fn last(&self) -> Option<(usize, [isize; N])> {
        let axis = self.lengths.len().checked_sub(1)?;
        Some((self.lengths[axis], std::array::from_fn(|operand| self.steps[operand][axis])))
    }

    /// Takes it away.
    pub(crate) fn pop(&mut self) {
        self.lengths.pop();
        for all in &mut self.steps {
            all.pop();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lengths.iter().product()
    }

    /// Bytes from the first places to those of an index.
    pub(crate) fn at(&self, mut index: usize) -> [isize; N] {
        let mut places = [0; N];
        for axis in (0..self.lengths.len()).rev() {
            let i = (index % self.lengths[axis]) as isize;
            index /= self.lengths[axis];
            for (place, steps) in places.iter_mut().zip(&self.steps) {
                *place += i * steps[axis];
            }
        }
        places
    }

    /// Exchanges two operands.
    pub(crate) fn swap(&mut self, first: usize, second: usize) {
        self.steps.swap(first, second);
    }
}
