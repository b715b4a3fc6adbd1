//! A tensor of quantised weights.

use super::Format;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{Index, Layout, Shape, checked_len, show};
use crate::tensor::Tensor;

/// Weights in blocks, as they lie in a file, on a device. Cloning and slicing share the storage.
///
/// The blocks of a row lie one after another; rows may lie anywhere.
#[derive(Clone)]
pub struct QuantTensor {
    format: &'static Format,
    /// uint8, with the bytes of a row as the last axis, which lies one after another.
    blocks: Tensor,
    /// Whether the last two axes are seen in the other order.
    transposed: bool,
}

impl QuantTensor {
    /// The weights of `shape` that the bytes of `blocks`, one after another, stand for. The bytes may have any shape.
    pub fn new(operation: &str, format: &'static Format, blocks: &Tensor, shape: &[usize]) -> Result<Self> {
        let layout = blocks_layout(operation, format, shape)?;
        if blocks.dtype() != DType::UInt8 {
            return Err(Error::DType(format!(
                "{operation}: blocks are bytes, of dtype uint8, not {}; give a view of them as such",
                blocks.dtype()
            )));
        }
        if blocks.len() != layout.len() {
            return Err(Error::Shape(format!(
                "{operation}: {} of shape {} takes {} bytes (blocks of {} for {} elements), but there are {}",
                format.name,
                show(shape),
                layout.len(),
                format.bytes,
                format.elements,
                blocks.len()
            )));
        }
        let mut blocks = blocks.reshape(&layout.shape)?;
        if blocks.layout().strides.last() != Some(&1) {
            blocks = crate::ops::contiguous(&blocks)?;
        }
        Self { format, blocks, transposed: false }.aligned()
    }

    /// New weights with unspecified contents.
    pub fn empty(operation: &str, device: &Device, format: &'static Format, shape: &[usize]) -> Result<Self> {
        let layout = blocks_layout(operation, format, shape)?;
        let blocks = Tensor::empty_like(device, layout, DType::UInt8, operation)?;
        Ok(Self { format, blocks, transposed: false })
    }

    /// The same weights with blocks that begin where kernels expect them: at whole blocks of the storage, on a GPU.
    fn aligned(self) -> Result<Self> {
        let Device::Gpu(_) = self.device() else { return Ok(self) };
        let layout = self.blocks.layout();
        // Formats whose blocks are whole groups of words, words or halves of them, read them so.
        let step = 1 << self.format.bytes.trailing_zeros().min(4);
        let outer = &layout.strides[..layout.ndim() - 1];
        if layout.offset % step == 0 && outer.iter().all(|stride| stride % step == 0) {
            return Ok(self);
        }
        self.copied()
    }

    #[must_use]
    pub fn format(&self) -> &'static Format {
        self.format
    }

    /// The bytes, as uint8: with the axes of the weights before they were transposed, the last one in bytes.
    #[must_use]
    pub fn blocks(&self) -> &Tensor {
        &self.blocks
    }

    #[must_use]
    pub fn device(&self) -> &Device {
        self.blocks.device()
    }

    #[must_use]
    pub fn is_transposed(&self) -> bool {
        self.transposed
    }

    /// The lengths of the axes as they lie in memory: elements of a block along the last one.
    #[must_use]
    pub fn stored_shape(&self) -> Shape {
        let mut shape: Shape = self.blocks.shape().into();
        if let Some(last) = shape.last_mut() {
            *last = *last / self.format.bytes * self.format.elements;
        }
        shape
    }

    /// The lengths of the axes, in elements.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let mut shape = self.stored_shape();
        if self.transposed {
            let axes = shape.len();
            shape.swap(axes - 2, axes - 1);
        }
        shape
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stored_shape().iter().product()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Bytes of all blocks.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.blocks.nbytes()
    }

    /// The same weights on another device.
    pub fn to(&self, device: &Device) -> Result<Self> {
        Self { blocks: self.blocks.to(device)?, ..self.clone() }.aligned()
    }

    /// The same weights in memory of their own.
    pub fn copied(&self) -> Result<Self> {
        Ok(Self { blocks: crate::ops::copy(&self.blocks)?, ..self.clone() })
    }

    /// The last two axes in the other order, as a view.
    pub fn transposed(&self, operation: &str) -> Result<Self> {
        if self.blocks.shape().len() < 2 {
            return Err(Error::Shape(format!(
                "{operation}: the weights have shape {}; only those of two axes or more can be transposed",
                show(&self.shape())
            )));
        }
        Ok(Self { transposed: !self.transposed, ..self.clone() })
    }

    /// The rows that a subscript selects, as a view. The last axis stays whole, since blocks cannot be cut.
    pub fn index(&self, subscript: &[Index]) -> Result<Self> {
        if self.transposed {
            return Err(Error::Shape(
                "indexing: transposed weights are not sliced; slice the rows first, then transpose".into(),
            ));
        }
        let shape = self.stored_shape();
        let axes = shape.len();
        let length = shape[axes - 1];
        // The strides of the blocks with the lengths of elements: what this selects before the last axis is right.
        let mut layout = Layout { shape, ..self.blocks.layout().clone() }.index(subscript)?;
        let last = layout.ndim().wrapping_sub(1);
        if layout.shape.last() != Some(&length) || layout.strides[last] != 1 && length > 1 {
            return Err(Error::Shape(format!(
                "indexing: the last axis of {} weights of shape {} lies in blocks and stays whole; index the axes \
                 before it, or dequantize() first",
                self.format.name,
                show(&self.shape())
            )));
        }
        layout.shape[last] = self.blocks.shape()[axes - 1];
        Ok(Self { blocks: self.blocks.with_layout(layout), ..self.clone() })
    }

    /// The same weights with another axis before the last two, of length 1.
    #[must_use]
    pub(crate) fn repeated(&self) -> Self {
        let layout = self.blocks.layout();
        Self { blocks: self.blocks.with_layout(layout.with_axis(layout.ndim() - 2)), ..self.clone() }
    }

    /// The matrix at an index of the axes before the last two, which stays transposed if it is.
    pub(crate) fn matrix(&self, index: &[Index]) -> Result<Self> {
        Ok(Self { blocks: self.blocks.index(index)?, ..self.clone() })
    }

    /// Rows of a matrix, and part of its blocks along them.
    #[must_use]
    pub(crate) fn part(&self, rows: std::ops::Range<usize>, blocks: std::ops::Range<usize>) -> Self {
        let bytes = self.format.bytes;
        let rows = crate::ops::narrow(&self.blocks, 0, rows.start, rows.len());
        Self { blocks: crate::ops::narrow(&rows, 1, blocks.start * bytes, blocks.len() * bytes), ..self.clone() }
    }
}

/// How the bytes of weights of a shape lie.
fn blocks_layout(operation: &str, format: &Format, shape: &[usize]) -> Result<Layout> {
    let Some((&length, rows)) = shape.split_last() else {
        return Err(Error::Shape(format!("{operation}: quantised weights have an axis or more; the shape is ()")));
    };
    if !length.is_multiple_of(format.elements) {
        return Err(Error::Shape(format!(
            "{operation}: {} has blocks of {} elements along the last axis, and {length} is not a multiple of that; \
             the shape is {}; fill that axis up with zeros{}",
            format.name,
            format.elements,
            show(shape),
            if format.elements > 32 && length.is_multiple_of(32) { ", or take a format with blocks of 32" } else { "" }
        )));
    }
    // What the weights themselves may have.
    checked_len(shape, 1, operation)?;
    let mut bytes: Shape = rows.into();
    bytes.push(length / format.elements * format.bytes);
    checked_len(&bytes, 1, operation)?;
    Ok(Layout::contiguous(&bytes))
}
