//! The same elements under other axes. What comes back is a view, except where `Tensor::reshape` has to copy.

use smallvec::SmallVec;

use super::{check_axis, check_new_axis};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{Layout, MAX_AXES, checked_len, show};
use crate::tensor::{Storage, Tensor};

/// The order that `axes` gives to the axes of a shape, or the reverse one.
pub fn permutation(name: &str, shape: &[usize], axes: Option<&[isize]>) -> Result<SmallVec<[usize; 6]>> {
    let Some(axes) = axes else { return Ok((0..shape.len()).rev().collect()) };
    let order = axes.iter().map(|&axis| check_axis(name, axis, shape)).collect::<Result<SmallVec<[usize; 6]>>>()?;
    let each_once = order.len() == shape.len() && (0..shape.len()).all(|axis| order.contains(&axis));
    if !each_once {
        return Err(Error::Shape(format!(
            "{name}: axes {axes:?} must name each of the {} axes of shape {} once",
            shape.len(),
            show(shape)
        )));
    }
    Ok(order)
}

/// Refuses a shape with another number of elements.
pub fn check_reshape(from: &[usize], to: &[usize], size: usize) -> Result<()> {
    let count: usize = from.iter().product();
    if checked_len(to, size, "reshape")? == count {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "reshape: a tensor of shape {} has {count} elements and cannot take shape {}",
        show(from),
        show(to)
    )))
}

/// The bytes of x as elements of another type. Those of the last axis are put together or taken apart.
pub fn viewed(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let (from, to) = (x.dtype().size(), dtype.size());
    let fail = |why: &str| {
        let (shape, own) = (show(x.shape()), x.dtype());
        Err(Error::Shape(format!("view: x of shape {shape} and dtype {own} cannot be seen as {dtype}: {why}")))
    };
    let mut layout = x.layout().clone();
    if from != to {
        let Some(last) = layout.ndim().checked_sub(1) else { return fail("it has no axis") };
        if layout.strides[last] != 1 && layout.shape[last] != 1 {
            return fail("the elements of its last axis do not lie side by side; make a copy() first");
        }
        layout.strides[last] = 1;
        if from < to {
            let ratio = to / from;
            let whole = |&value: &isize| value % ratio as isize == 0;
            if !layout.shape[last].is_multiple_of(ratio) {
                return fail(&format!("the length of its last axis is no multiple of {ratio}"));
            }
            if !whole(&layout.offset) || !layout.strides[..last].iter().all(whole) {
                return fail(&format!("it does not lie at multiples of {to} bytes; make a copy() first"));
            }
            layout.shape[last] /= ratio;
            layout.offset /= ratio as isize;
            layout.strides[..last].iter_mut().for_each(|stride| *stride /= ratio as isize);
        } else {
            let ratio = from / to;
            layout.shape[last] *= ratio;
            layout.offset *= ratio as isize;
            layout.strides[..last].iter_mut().for_each(|stride| *stride *= ratio as isize);
        }
    }
    if let Storage::Host(buffer) = x.storage()
        && !(buffer.as_ptr() as usize).is_multiple_of(to)
    {
        return fail(&format!("it does not lie at multiples of {to} bytes; make a copy() first"));
    }
    Ok(Tensor::from_parts(x.device().clone(), x.storage().clone(), layout, dtype))
}

/// The order in which the last two axes have changed places.
pub fn matrix_transposition(name: &str, shape: &[usize]) -> Result<SmallVec<[usize; 6]>> {
    if shape.len() < 2 {
        return Err(Error::Shape(format!("{name}: a matrix has two axes or more, but x has shape {}", show(shape))));
    }
    let mut order: SmallVec<[usize; 6]> = (0..shape.len()).collect();
    order.swap(shape.len() - 2, shape.len() - 1);
    Ok(order)
}

/// A layout with an axis of length 1 more, at `axis` in the result.
pub fn expanded(name: &str, layout: &Layout, axis: isize) -> Result<Layout> {
    if layout.ndim() == MAX_AXES {
        return Err(Error::Shape(format!("{name}: more than the limit of {MAX_AXES} axes")));
    }
    Ok(layout.with_axis(check_new_axis(name, axis, &layout.shape)?))
}

/// A layout without the named axes, or without any, of length 1.
pub fn squeezed(name: &str, layout: &Layout, axes: Option<&[isize]>) -> Result<Layout> {
    let shape = &layout.shape;
    let dropped: SmallVec<[usize; 6]> = match axes {
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
        Some(axes) => axes.iter().map(|&axis| check_axis(name, axis, shape)).collect::<Result<_>>()?,
    };
    for (place, &axis) in dropped.iter().enumerate() {
        if shape[axis] != 1 {
            return Err(Error::Shape(format!(
                "{name}: axis {axis} has length {}, and only axes of length 1 can go; the shape is {}",
                shape[axis],
                show(shape)
            )));
        }
        if dropped[..place].contains(&axis) {
            return Err(Error::Shape(format!("{name}: axis {axis} is named twice; the shape is {}", show(shape))));
        }
    }
    let kept = (0..shape.len()).filter(|axis| !dropped.contains(axis));
    let kept: SmallVec<[usize; 6]> = kept.collect();
    Ok(layout.permuted(&kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_named_once_each() {
        assert_eq!(permutation("transpose", &[2, 3, 4], None).unwrap()[..], [2, 1, 0]);
        assert_eq!(permutation("transpose", &[2, 3, 4], Some(&[1, -1, 0])).unwrap()[..], [1, 2, 0]);
        for axes in [&[0, 1][..], &[0, 1, 1], &[0, 1, -2], &[0, 1, 2, 0]] {
            assert!(matches!(permutation("transpose", &[2, 3, 4], Some(axes)), Err(Error::Shape(_))), "{axes:?}");
        }
        assert!(matches!(permutation("transpose", &[2], Some(&[1])), Err(Error::Bounds(_))));
    }

    #[test]
    fn axes_come_and_go() {
        let layout = Layout::contiguous(&[2, 3]);
        for (axis, shape) in [(0, [1, 2, 3]), (-1, [2, 3, 1]), (1, [2, 1, 3]), (-3, [1, 2, 3])] {
            let view = expanded("expand_dims", &layout, axis).unwrap();
            assert_eq!(view.shape[..], shape);
            assert_eq!(squeezed("squeeze", &view, None).unwrap(), layout);
        }
        assert!(expanded("expand_dims", &layout, 3).is_err());
        assert!(squeezed("squeeze", &layout, Some(&[0])).is_err());
    }
}
