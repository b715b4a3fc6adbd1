//! Shapes, strides and views. Pure arithmetic: nothing here knows a device.

use smallvec::SmallVec;

use crate::error::{Error, Result};

/// The lengths of a tensor's axes.
pub type Shape = SmallVec<[usize; 6]>;
/// The distance from one element to the next along each axis, in elements; zero repeats, negative runs backwards.
pub type Strides = SmallVec<[isize; 6]>;

/// NumPy's own limit on axes.
pub const MAX_AXES: usize = 64;

/// Where the elements of a tensor lie in its storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Layout {
    pub shape: Shape,
    pub strides: Strides,
    /// The first element's place in the storage, in elements.
    pub offset: isize,
}

/// One entry of a subscript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    At(isize),
    Slice { start: Option<isize>, stop: Option<isize>, step: isize },
    NewAxis,
    Ellipsis,
}

impl Layout {
    /// Row-major, from the storage's beginning.
    #[must_use]
    pub fn contiguous(shape: &[usize]) -> Self {
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        let mut step = 1_isize;
        for (stride, &length) in strides.iter_mut().zip(shape).rev() {
            *stride = step;
            step = step.saturating_mul(length.max(1) as isize);
        }
        Self { shape: shape.into(), strides, offset: 0 }
    }

    /// Without gaps, from the storage's beginning, with the axes lying in memory in the given order, slowest first.
    #[must_use]
    pub fn dense(shape: &[usize], order: &[usize]) -> Self {
        let ordered: Shape = order.iter().map(|&axis| shape[axis]).collect();
        let mut inverse: SmallVec<[usize; 6]> = SmallVec::from_elem(0, order.len());
        for (place, &axis) in order.iter().enumerate() {
            inverse[axis] = place;
        }
        Self::contiguous(&ordered).permuted(&inverse)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    #[must_use]
    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Row-major without gaps, wherever it begins.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        if self.is_empty() {
            return true;
        }
        let mut step = 1_isize;
        for (&length, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if length != 1 {
                if stride != step {
                    return false;
                }
                step *= length as isize;
            }
        }
        true
    }

    /// The lowest and highest place that the view reaches, both inclusive; none when it is empty.
    #[must_use]
    pub fn reach(&self) -> Option<(isize, isize)> {
        if self.is_empty() {
            return None;
        }
        let (mut low, mut high) = (self.offset, self.offset);
        for (&length, &stride) in self.shape.iter().zip(&self.strides) {
            let far = stride * (length as isize - 1);
            if far < 0 {
                low += far;
            } else {
                high += far;
            }
        }
        Some((low, high))
    }

    /// Whether two views of one storage may share an element. Views that interleave count as sharing.
    #[must_use]
    pub fn may_overlap(&self, other: &Self) -> bool {
        match (self.reach(), other.reach()) {
            (Some((low, high)), Some((other_low, other_high))) => low <= other_high && other_low <= high,
            _ => false,
        }
    }

    /// Whether a view that is moved by so many elements shares one with itself.
    #[must_use]
    pub fn reaches_itself(&self, distance: isize) -> bool {
        fn reaches(distance: isize, axes: &[(isize, isize)]) -> bool {
            let Some((&(stride, last), rest)) = axes.split_first() else { return distance == 0 };
            // No more than this is left to the shorter strides.
            let left: isize = rest.iter().map(|(stride, last)| stride * last).sum();
            let low = -(left - distance).div_euclid(stride);
            let high = (distance + left).div_euclid(stride);
            (low.max(-last)..=high.min(last)).any(|steps| reaches(distance - steps * stride, rest))
        }
        let axes = self.shape.iter().zip(&self.strides).filter(|&(&length, &stride)| length > 1 && stride != 0);
        let mut axes: SmallVec<[(isize, isize); 6]> =
            axes.map(|(&length, &stride)| (stride.abs(), length as isize - 1)).collect();
        axes.sort_unstable_by(|a, b| b.cmp(a));
        !self.shape.contains(&0) && reaches(distance, &axes)
    }

    /// Whether some place is reached by more than one index, so that writing through the view is ambiguous.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.shape.iter().zip(&self.strides).any(|(&length, &stride)| length > 1 && stride == 0)
    }

    /// Bytes of its elements of `size` bytes each: those that repeat, as along broadcast axes, count once.
    #[must_use]
    pub fn stored_bytes(&self, size: usize) -> u64 {
        stored_bytes(&self.shape, &self.strides, size)
    }

    /// The view stretched to `shape` by NumPy's rule.
    pub fn broadcast_to(&self, shape: &[usize], operation: &str) -> Result<Self> {
        let fail =
            || Error::Shape(format!("{operation}: shape {} does not broadcast to {}", show(&self.shape), show(shape)));
        let added = shape.len().checked_sub(self.ndim()).ok_or_else(fail)?;
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        for (axis, (&length, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            match (length, shape[added + axis]) {
                (from, to) if from == to => strides[added + axis] = stride,
                (1, _) => {}
                _ => return Err(fail()),
            }
        }
        Ok(Self { shape: shape.into(), strides, offset: self.offset })
    }

    /// The view with an axis of length 1 more.
    #[must_use]
    pub fn with_axis(&self, axis: usize) -> Self {
        let mut view = self.clone();
        view.shape.insert(axis, 1);
        view.strides.insert(axis, 0);
        view
    }

    /// The view of the first index along an axis, without that axis.
    #[must_use]
    pub fn without(&self, axis: usize) -> Self {
        let mut view = self.clone();
        view.shape.remove(axis);
        view.strides.remove(axis);
        view
    }

    /// The axes in reverse order.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self {
            shape: self.shape.iter().rev().copied().collect(),
            strides: self.strides.iter().rev().copied().collect(),
            offset: self.offset,
        }
    }

    /// The axes in the order that `axes` gives, which must be a permutation.
    #[must_use]
    pub fn permuted(&self, axes: &[usize]) -> Self {
        Self {
            shape: axes.iter().map(|&axis| self.shape[axis]).collect(),
            strides: axes.iter().map(|&axis| self.strides[axis]).collect(),
            offset: self.offset,
        }
    }

    /// If the elements fill one unbroken stretch in some order of the axes: that order, and the first place.
    ///
    /// Such a view (Fortran order, a transpose, axes swapped) can be moved between devices as raw bytes.
    #[must_use]
    pub fn dense_order(&self) -> Option<SmallVec<[usize; 6]>> {
        let mut axes: SmallVec<[usize; 6]> = (0..self.ndim()).collect();
        axes.sort_by_key(|&axis| std::cmp::Reverse((self.strides[axis], self.shape[axis])));
        self.permuted(&axes).is_contiguous().then_some(axes)
    }

    /// The view that a subscript selects, as NumPy's basic indexing does.
    pub fn index(&self, subscript: &[Index]) -> Result<Self> {
        let used = subscript.iter().filter(|i| matches!(i, Index::At(_) | Index::Slice { .. })).count();
        let ellipses = subscript.iter().filter(|i| matches!(i, Index::Ellipsis)).count();
        if ellipses > 1 {
            return Err(Error::Bounds("indexing: a subscript can hold only one ellipsis ('...')".into()));
        }
        if used > self.ndim() {
            return Err(Error::Bounds(format!(
                "indexing: {used} indices for a tensor of {} axes, shape {}",
                self.ndim(),
                show(&self.shape)
            )));
        }
        let added = subscript.iter().filter(|i| matches!(i, Index::NewAxis)).count();
        if self.ndim() + added > MAX_AXES {
            return Err(Error::Shape(format!("indexing: more than the limit of {MAX_AXES} axes")));
        }
        let mut view = Self { shape: Shape::new(), strides: Strides::new(), offset: self.offset };
        let mut axis = 0;
        let keep = |view: &mut Self, axis: &mut usize, count: usize| {
            view.shape.extend_from_slice(&self.shape[*axis..*axis + count]);
            view.strides.extend_from_slice(&self.strides[*axis..*axis + count]);
            *axis += count;
        };
        for &entry in subscript {
            match entry {
                Index::NewAxis => {
                    view.shape.push(1);
                    view.strides.push(0);
                }
                Index::Ellipsis => keep(&mut view, &mut axis, self.ndim() - used),
                Index::At(at) => {
                    let length = self.shape[axis] as isize;
                    if at < -length || at >= length {
                        return Err(Error::Bounds(format!(
                            "indexing: index {at} is out of range for axis {axis} of length {length}, shape {}",
                            show(&self.shape)
                        )));
                    }
                    view.offset += self.strides[axis] * if at < 0 { at + length } else { at };
                    axis += 1;
                }
                Index::Slice { start, stop, step } => {
                    let (first, count) = slice_bounds(start, stop, step, self.shape[axis])?;
                    if count > 0 {
                        view.offset += self.strides[axis] * first;
                    }
                    view.shape.push(count);
                    view.strides.push(self.strides[axis].saturating_mul(step));
                    axis += 1;
                }
            }
        }
        let rest = self.ndim() - axis;
        keep(&mut view, &mut axis, rest);
        Ok(view)
    }

    /// The same elements under another shape, if that needs no copy. The element counts must agree.
    #[must_use]
    pub fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        if self.is_empty() || self.is_contiguous() {
            return Some(Self { offset: self.offset, ..Self::contiguous(shape) });
        }
        // Walk both shapes from the right, matching runs of axes of equal size; a run must be evenly spaced.
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        let mut new = shape.len();
        let (merged, merged_strides) = merge_axes(&self.shape, &[&self.strides]);
        for (&length, &stride) in merged.iter().zip(&merged_strides[0]).rev() {
            let mut run = 1;
            while new > 0 && run < length {
                new -= 1;
                strides[new] = stride * run as isize;
                run *= shape[new];
            }
            if run != length {
                return None;
            }
        }
        (shape[..new].iter().all(|&length| length == 1)).then(|| Self {
            shape: shape.into(),
            strides,
            offset: self.offset,
        })
    }
}

/// `slice(start, stop, step)` on an axis: the first index and how many there are.
fn slice_bounds(start: Option<isize>, stop: Option<isize>, step: isize, length: usize) -> Result<(isize, usize)> {
    let length = length as isize;
    if step == 0 {
        return Err(Error::Argument("indexing: a slice's step cannot be zero".into()));
    }
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |index: isize| if index < 0 { (index + length).max(lowest) } else { index.min(highest) };
    let first = start.map_or(if step > 0 { lowest } else { highest }, clamp);
    let last = stop.map_or(if step > 0 { highest } else { lowest }, clamp);
    let distance = if step > 0 { last - first } else { first - last };
    let count = if distance <= 0 { 0 } else { (distance as usize - 1) / step.unsigned_abs() + 1 };
    Ok((first, count))
}

/// The shape that two shapes broadcast to.
pub fn broadcast_shapes(a: &[usize], b: &[usize], operation: &str, names: [&str; 2]) -> Result<Shape> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut shape: Shape = long.into();
    let added = long.len() - short.len();
    for (axis, &length) in short.iter().enumerate() {
        let target = &mut shape[added + axis];
        if *target == 1 {
            *target = length;
        } else if length != 1 && length != *target {
            return Err(Error::Shape(format!(
                "{operation}: {} of shape {} and {} of shape {} do not broadcast together",
                names[0],
                show(a),
                names[1],
                show(b)
            )));
        }
    }
    Ok(shape)
}

/// How many elements a shape has, refusing counts that no address space can hold.
pub fn checked_len(shape: &[usize], size: usize, operation: &str) -> Result<usize> {
    if shape.len() > MAX_AXES {
        return Err(Error::Shape(format!("{operation}: {} axes are more than the limit of {MAX_AXES}", shape.len())));
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1_usize, |product, &length| product.checked_mul(length))
        .filter(|&count| count.checked_mul(size).is_some_and(|bytes| isize::try_from(bytes).is_ok()))
        .ok_or_else(|| {
            Error::OutOfMemory(format!("{operation}: a tensor of shape {} is larger than any memory", show(shape)))
        })
}

/// Joins neighbouring axes that every one of the operands steps through evenly, and drops axes of length 1.
///
/// All strides belong to the same shape. What comes back walks the same elements in the same order with as few
/// axes as possible; at least one axis remains.
#[must_use]
pub fn merge_axes<const N: usize>(shape: &[usize], strides: &[&[isize]; N]) -> (Shape, [Strides; N]) {
    let mut merged = Shape::new();
    let mut merged_strides: [Strides; N] = std::array::from_fn(|_| Strides::new());
    for axis in 0..shape.len() {
        if shape[axis] == 1 {
            continue;
        }
        let joins = !merged.is_empty()
            && (0..N).all(|n| merged_strides[n].last() == Some(&(strides[n][axis] * shape[axis] as isize)));
        if joins {
            *merged.last_mut().expect("not empty") *= shape[axis];
            for n in 0..N {
                *merged_strides[n].last_mut().expect("not empty") = strides[n][axis];
            }
        } else {
            merged.push(shape[axis]);
            for n in 0..N {
                merged_strides[n].push(strides[n][axis]);
            }
        }
    }
    if merged.is_empty() {
        merged.push(1);
        for strides in &mut merged_strides {
            strides.push(0);
        }
    }
    (merged, merged_strides)
}

/// A shape as Python writes it: `(2, 3)`, `(4,)`, `()`.
#[must_use]
pub fn show(shape: &[usize]) -> String {
    match shape {
        [] => "()".into(),
        [only] => format!("({only},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// What [`Layout::stored_bytes`] says of a layout of these lengths and strides.
#[must_use]
pub fn stored_bytes(shape: &[usize], strides: &[isize], size: usize) -> u64 {
    let stored = |(&length, &stride): (&usize, &isize)| if stride == 0 { length.min(1) } else { length };
    (shape.iter().zip(strides).map(stored).product::<usize>() * size) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(layout: &Layout) -> Vec<isize> {
        let mut all = vec![layout.offset];
        for (&length, &stride) in layout.shape.iter().zip(&layout.strides) {
            all = all.iter().flat_map(|&p| (0..length as isize).map(move |i| p + i * stride)).collect();
        }
        all
    }

    #[test]
    fn elements_that_repeat_are_stored_once() {
        let column = Layout::contiguous(&[3, 1]);
        let broadcast = column.broadcast_to(&[2, 3, 4], "test").unwrap();
        assert_eq!([column.stored_bytes(4), broadcast.stored_bytes(4)], [12, 12]);
        assert_eq!(Layout::contiguous(&[3, 5]).transposed().stored_bytes(2), 30);
        assert_eq!([Layout::contiguous(&[3, 0]).stored_bytes(4), Layout::contiguous(&[]).stored_bytes(4)], [0, 4]);
    }

    #[test]
    fn slices_agree_with_a_walk() {
        let layout = Layout::contiguous(&[7]);
        for start in [None, Some(-9), Some(-3), Some(0), Some(2), Some(9)] {
            for stop in [None, Some(-9), Some(-1), Some(0), Some(5), Some(9)] {
                for step in [-3, -1, 1, 2] {
                    let got = places(&layout.index(&[Index::Slice { start, stop, step }]).unwrap());
                    // Python's definition, spelled out.
                    let clip = |i: isize| if i < 0 { i + 7 } else { i };
                    let mut i = start.map_or(if step > 0 { 0 } else { 6 }, |i| {
                        clip(i).clamp(if step > 0 { 0 } else { -1 }, if step > 0 { 7 } else { 6 })
                    });
                    let end = stop.map_or(if step > 0 { 7 } else { -1 }, |i| clip(i).clamp(-1, 7));
                    let mut want = vec![];
                    while (step > 0 && i < end) || (step < 0 && i > end) {
                        want.push(i);
                        i += step;
                    }
                    assert_eq!(got, want, "{start:?}:{stop:?}:{step}");
                }
            }
        }
    }

    #[test]
    fn reshape_is_a_view_exactly_when_places_stay_even() {
        let base = Layout::contiguous(&[4, 6]);
        let view = base.index(&[Index::Slice { start: None, stop: None, step: 2 }]).unwrap();
        let split = view.reshaped(&[2, 2, 3]);
        assert!(split.is_none() || places(&split.unwrap()) == places(&view));
        let split = view.reshaped(&[2, 3, 2]).unwrap();
        assert_eq!(places(&split), places(&view));
        assert!(base.transposed().reshaped(&[24]).is_none());
        assert!(base.transposed().reshaped(&[6, 2, 2]).is_some());
        assert_eq!(places(&base.reshaped(&[3, 1, 8]).unwrap()), places(&base));
    }

    #[test]
    fn merging_keeps_the_walk() {
        let base = Layout::contiguous(&[3, 1, 4, 5]);
        let (shape, [strides]) = merge_axes(&base.shape, &[&base.strides]);
        assert_eq!((shape.as_slice(), strides.as_slice()), (&[60][..], &[1][..]));
        let view = base.permuted(&[2, 3, 1, 0]);
        let (shape, [strides]) = merge_axes(&view.shape, &[&view.strides]);
        assert_eq!((shape.as_slice(), strides.as_slice()), (&[20, 3][..], &[1, 20][..]));
    }

    #[test]
    fn dense_orders() {
        let base = Layout::contiguous(&[3, 4]);
        assert_eq!(base.dense_order().unwrap().as_slice(), [0, 1]);
        assert_eq!(base.transposed().dense_order().unwrap().as_slice(), [1, 0]);
        let gap = base.index(&[Index::Ellipsis, Index::Slice { start: None, stop: Some(3), step: 1 }]).unwrap();
        assert!(gap.dense_order().is_none());
        let back = base.index(&[Index::Slice { start: None, stop: None, step: -1 }]).unwrap();
        assert!(back.dense_order().is_none());
        let none = Layout { shape: Shape::from_slice(&[0, 3]), strides: Strides::from_slice(&[1, 7]), offset: 0 };
        assert!(none.is_contiguous() && none.dense_order().is_some());
    }

    #[test]
    fn huge_shapes_are_refused_not_wrapped() {
        assert!(checked_len(&[usize::MAX, 2], 4, "zeros").is_err());
        assert_eq!(checked_len(&[usize::MAX, 0], 4, "zeros").unwrap(), 0);
    }

    #[test]
    fn a_moved_view_shares_an_element_with_itself_or_not() {
        for (shape, strides) in
            [(&[2, 3][..], &[6, 1][..]), (&[2, 3], &[3, 2]), (&[3, 2], &[-1, 5]), (&[2, 2, 2], &[9, 3, 0])]
        {
            let layout = Layout { shape: shape.into(), strides: strides.into(), offset: 0 };
            let own = places(&layout);
            for distance in -20..20 {
                let shares = own.iter().any(|place| own.contains(&(place + distance)));
                assert_eq!(layout.reaches_itself(distance), shares, "{shape:?} {strides:?} {distance}");
            }
        }
        assert!(!Layout::contiguous(&[0, 3]).reaches_itself(0));
    }
}
