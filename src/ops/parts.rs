//! What large operands are cut into on GPUs, so that every part fits a binding; what products are summed in.

use crate::device::caps::Caps;
use crate::dtype::{DType, Kind};
use crate::gpu::stream::Binding;
use crate::gpu::wgsl::Slot;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// A binding, where in it the first element is, and how many bytes of it are wanted.
pub(super) struct Window<'a> {
    pub(super) binding: Binding<'a>,
    pub(super) offset: isize,
    pub(super) bytes: u64,
}

/// What to bind of a tensor for a piece of it.
pub(super) fn window<'a>(
    tensor: &'a Tensor,
    offset: isize,
    lengths: &[usize],
    strides: &[isize],
    alignment: u32,
) -> Window<'a> {
    let layout = Layout { shape: lengths.into(), strides: strides.into(), offset };
    let (binding, offset) = Binding::window_of(tensor, &layout, alignment);
    Window { binding, offset: offset as isize, bytes: layout.stored_bytes(tensor.dtype().size()) }
}

/// About half of a length, so that whole groups of four stay together where there are several.
pub(super) const fn halved(length: usize) -> usize {
    if length > 8 { (length / 2).next_multiple_of(4) } else { length.div_ceil(2) }
}

/// The most bytes of a window that can be bound, wherever it begins.
pub(super) fn room(caps: &Caps) -> usize {
    // Windows begin at aligned places, so leave room for one step. Flat indices must stay inside 32 bits, too.
    (caps.binding - u64::from(caps.alignment) - 16).min(4 << 30) as usize
}

/// The largest part of an index space of these lengths of which every operand has room. An operand is its strides along
/// the axes and the bytes of its elements. Of those that are too large, the axis that reaches farthest is halved.
pub(super) fn fit<const AXES: usize>(
    lengths: [usize; AXES],
    operands: &[([isize; AXES], usize)],
    room: usize,
) -> [usize; AXES] {
    fit_units(lengths, [1; AXES], operands, room)
}

/// As [`fit`], where only so many elements of an axis can be told apart.
pub(super) fn fit_units<const AXES: usize>(
    lengths: [usize; AXES],
    units: [usize; AXES],
    operands: &[([isize; AXES], usize)],
    room: usize,
) -> [usize; AXES] {
    let mut part = lengths;
    let reach =
        |part: &[usize; AXES], strides: &[isize; AXES], axis: usize| (part[axis] - 1) * strides[axis].unsigned_abs();
    loop {
        let too_large = operands.iter().filter(|(strides, size)| {
            ((0..AXES).map(|axis| reach(&part, strides, axis)).sum::<usize>() + 4).saturating_mul(*size) > room
        });
        let farthest = too_large
            .flat_map(|(strides, _)| (0..AXES).map(|axis| (reach(&part, strides, axis), axis)))
            .filter(|&(_, axis)| part[axis] > units[axis])
            .max_by_key(|&(reach, axis)| (reach, AXES - axis));
        match farthest {
            Some((reach, axis)) if reach > 0 => part[axis] = halved(part[axis].div_ceil(units[axis])) * units[axis],
            _ => return part,
        }
    }
}

/// The 4-byte type in which results of this type are summed.
pub(super) const fn word(dtype: DType) -> DType {
    match dtype.kind() {
        Kind::Float => DType::Float32,
        Kind::Int | Kind::Bool => DType::Int32,
    }
}

/// What products of this type are summed in.
pub(super) fn accumulator(dtype: DType) -> Slot {
    let (element, scaled) = if dtype.kind() == Kind::Float { ("f32", "sums * params.scale") } else { ("i32", "sums") };
    Slot::Text(format!(
        "alias Element = {element};\nalias Accumulator = vec4<{element}>;\n\
         fn scaled(sums: Accumulator) -> Accumulator {{ return {scaled}; }}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_and_only_what_is_too_large_is_cut() {
        // a[b, m, k] and b[b, k, n] as rows, in float32: strides along b, m, n, k.
        let a = ([0, 1000, 0, 1], 4);
        let b = ([0, 0, 1, 500], 4);
        assert_eq!(fit([1, 10, 500, 1000], &[a, b], 1 << 30), [1, 10, 500, 1000]);
        let [_, m, n, k] = fit([1, 10, 500, 1000], &[a, b], 1 << 20);
        assert!((m, n) == (10, 500) && k == 500, "{m} {n} {k}");
        let whole = fit([3, 5, 7, 9], &[a, b], 16);
        assert_eq!(whole, [3, 1, 1, 1]);
        // Where the longer axis cannot be cut, the other one is.
        assert_eq!(fit_units([100, 512], [1, 256], &[([1, 100], 4)], 102_100), [16, 256]);
    }
}
