//! Elementwise work cut into pieces, each of which one dispatch computes.
//!
//! A piece is a shape and, for each of N operands, strides and a place to begin at. What reaches too far to be bound is
//! halved along the axis that reaches farthest, until all of it fits.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::gpu::align_up;
use crate::shape::{Layout, Shape, Strides, merge_axes};

/// The most axes that shaders count through; pieces with more are cut.
pub(crate) const AXES: usize = 4;
/// The most elements of one dispatch, so that flat indices stay well inside 32 bits.
const MAX_COUNT: usize = 1 << 31;

/// A stretch of the work: what remains of the shape, and where each operand begins.
pub(crate) struct Piece<const N: usize> {
    pub(crate) shape: Shape,
    pub(crate) strides: [Strides; N],
    pub(crate) offsets: [isize; N],
}

impl<const N: usize> Piece<N> {
    /// All of the work, walked along `order`, an order of the axes. Axes are merged where every operand allows it.
    pub(crate) fn whole(shape: &[usize], order: &[usize], strides: [&[isize]; N], offsets: [isize; N]) -> Self {
        let sorted = strides.map(|strides| order.iter().map(|&axis| strides[axis]).collect::<Strides>());
        let shape: Shape = order.iter().map(|&axis| shape[axis]).collect();
        let (shape, strides) = merge_axes(&shape, &sorted.each_ref().map(|strides| &strides[..]));
        Self { shape, strides, offsets }
    }

    fn part(&self, axis: usize, from: usize, length: usize) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = length;
        let offsets = std::array::from_fn(|i| self.offsets[i] + self.strides[i][axis] * from as isize);
        let (shape, strides) = merge_axes(&shape, &self.strides.each_ref().map(|strides| &strides[..]));
        Self { shape, strides, offsets }
    }

    /// The stretch of its buffer that operand `i`, of elements of so many bytes, needs bound: where it starts and how
    /// long it is.
    pub(crate) fn window(&self, i: usize, size: usize, caps: &Caps) -> (u64, u64) {
        let layout = Layout { shape: self.shape.clone(), strides: self.strides[i].clone(), offset: self.offsets[i] };
        let (low, high) = layout.reach().expect("a piece has elements");
        let size = size as u64;
        let start = (low as u64 * size) & !(u64::from(caps.alignment) - 1);
        (start, align_up((high as u64 + 1) * size - start, 16))
    }

    /// Whether operand `i` lies without gaps, in the order in which the piece is walked, from a whole group of four on.
    pub(crate) fn is_flat(&self, i: usize) -> bool {
        let layout = Layout { shape: self.shape.clone(), strides: self.strides[i].clone(), offset: 0 };
        self.offsets[i] % 4 == 0 && layout.is_contiguous()
    }
}

/// Work on N operands that is recorded piece by piece.
pub(crate) trait Walk<const N: usize> {
    fn caps(&self) -> &Caps;

    /// Bytes an element of operand `i`; none where it lies in no buffer.
    fn size(&self, i: usize) -> Option<usize>;

    /// Records one dispatch, for a piece of so many elements that fits. It may cut the piece further.
    fn dispatch(&self, piece: &Piece<N>, count: usize) -> Result<()>;

    /// Records a piece, or halves it along the axis that makes it too large and does the same with both halves.
    fn cut(&self, piece: &Piece<N>) -> Result<()> {
        let caps = self.caps();
        let too_large = (0..N).find(|&i| self.size(i).is_some_and(|size| piece.window(i, size, caps).1 > caps.binding));
        let count: usize = piece.shape.iter().product();
        let axis = match too_large {
            Some(i) => (0..piece.shape.len())
                .max_by_key(|&axis| piece.strides[i][axis].unsigned_abs() * (piece.shape[axis] - 1))
                .expect("a piece has axes"),
            // The shortest axis makes the fewest pieces.
            None if piece.shape.len() > AXES => {
                (0..piece.shape.len()).min_by_key(|&axis| piece.shape[axis]).expect("a piece has axes")
            }
            None if count > MAX_COUNT => 0,
            None => return self.dispatch(piece, count),
        };
        let length = piece.shape[axis];
        // Halves that begin at whole groups keep the operands aligned.
        let half = if length >= 128 { (length / 2).next_multiple_of(64) } else { length.div_ceil(2) };
        self.halves(piece, axis, half)
    }

    /// Records two parts of a piece: the first `first` along an axis, and the rest.
    fn halves(&self, piece: &Piece<N>, axis: usize, first: usize) -> Result<()> {
        self.cut(&piece.part(axis, 0, first))?;
        self.cut(&piece.part(axis, first, piece.shape[axis] - first))
    }
}
