//! A tensor: storage, the layout of its elements in it, and their type.

#![expect(unsafe_code, reason = "tensors hand the addresses of their elements to loops and transfers")]

use std::sync::Arc;

use crate::cpu::memory::HostBuffer;
use crate::cpu::{View, ViewMut};
use crate::device::Device;
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::gpu::memory::GpuBuffer;
use crate::ops;
use crate::shape::{Index, Layout, checked_len};

/// Where a tensor's bytes are.
#[derive(Clone)]
pub enum Storage {
    Host(Arc<HostBuffer>),
    Gpu(Arc<GpuBuffer>),
}

/// An n-dimensional array on a device. Cloning and slicing share the storage.
#[derive(Clone)]
pub struct Tensor {
    device: Device,
    storage: Storage,
    layout: Layout,
    dtype: DType,
}

impl Tensor {
    /// A tensor over storage that already exists. Every place that `layout` reaches must lie inside it.
    #[must_use]
    pub fn from_parts(device: Device, storage: Storage, layout: Layout, dtype: DType) -> Self {
        Self { device, storage, layout, dtype }
    }

    /// A new row-major tensor with unspecified contents.
    pub fn empty(device: &Device, shape: &[usize], dtype: DType, operation: &str) -> Result<Self> {
        Self::empty_like(device, Layout::contiguous(shape), dtype, operation)
    }

    /// A new tensor in the given dense layout (any order of axes, offset zero), with unspecified contents.
    pub fn empty_like(device: &Device, layout: Layout, dtype: DType, operation: &str) -> Result<Self> {
        let bytes = checked_len(&layout.shape, dtype.size(), operation)? * dtype.size();
        let storage = match device {
            Device::Cpu(_) => Storage::Host(Arc::new(HostBuffer::alloc(bytes).map_err(|e| e.within(operation))?)),
            Device::Gpu(gpu) => Storage::Gpu(gpu.context()?.alloc(bytes as u64).map_err(|e| e.within(operation))?),
        };
        Ok(Self { device: device.clone(), storage, layout, dtype })
    }

    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layout.is_empty()
    }

    /// Bytes of its elements, whatever their layout.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// Bytes that it takes to hold its elements: those that repeat, as along broadcast axes, count once.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.layout.stored_bytes(self.dtype.size())
    }

    /// The same storage seen through another layout.
    #[must_use]
    pub fn with_layout(&self, layout: Layout) -> Self {
        Self { layout, ..self.clone() }
    }

    /// The axes in reverse order, as a view.
    #[must_use]
    pub fn transposed(&self) -> Self {
        self.with_layout(self.layout.transposed())
    }

    /// What a subscript selects, as a view.
    pub fn index(&self, subscript: &[Index]) -> Result<Self> {
        Ok(self.with_layout(self.layout.index(subscript)?))
    }

    /// The same elements under another shape: a view where that is possible, otherwise a copy.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        ops::views::check_reshape(self.shape(), shape, self.dtype.size())?;
        match self.layout.reshaped(shape) {
            Some(layout) => Ok(self.with_layout(layout)),
            None => ops::contiguous(self)?.reshape(shape),
        }
    }

    /// Whether both reach into the same storage at places that may coincide.
    #[must_use]
    pub fn may_overlap(&self, other: &Self) -> bool {
        let size = |tensor: &Self| tensor.dtype.size() as isize;
        match (&self.storage, &other.storage) {
            (Storage::Gpu(a), Storage::Gpu(b)) => Arc::ptr_eq(a, b) && self.layout.may_overlap(&other.layout),
            // Two aliases of one NumPy array are different buffers: compare addresses.
            (Storage::Host(a), Storage::Host(b)) => match (self.layout.reach(), other.layout.reach()) {
                (Some((low, high)), Some((other_low, other_high))) => {
                    let (start, other_start) = (a.as_ptr() as isize, b.as_ptr() as isize);
                    start + low * size(self) < other_start + (other_high + 1) * size(other)
                        && other_start + other_low * size(other) < start + (high + 1) * size(self)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether an element of one is an element of the other: exactly, if their strides are alike; else as
    /// [`Self::may_overlap`] says.
    #[must_use]
    pub fn shares_elements(&self, other: &Self) -> bool {
        let apart = match (&self.storage, &other.storage) {
            (Storage::Host(a), Storage::Host(b)) => {
                (b.as_ptr() as isize - a.as_ptr() as isize) / other.dtype.size() as isize
            }
            _ => 0,
        };
        let (a, b) = (&self.layout, &other.layout);
        let alike = self.dtype == other.dtype && a.shape == b.shape && a.strides == b.strides;
        self.may_overlap(other) && (!alike || a.reaches_itself(b.offset + apart - a.offset))
    }

    /// Whether both are the very same elements in the same order.
    #[must_use]
    pub fn same_elements(&self, other: &Self) -> bool {
        let same_start = match (&self.storage, &other.storage) {
            (Storage::Gpu(a), Storage::Gpu(b)) => Arc::ptr_eq(a, b) && self.layout.offset == other.layout.offset,
            (Storage::Host(a), Storage::Host(b)) => {
                let size = self.dtype.size() as isize;
                a.as_ptr() as isize + self.layout.offset * size == b.as_ptr() as isize + other.layout.offset * size
            }
            _ => false,
        };
        same_start
            && self.dtype == other.dtype
            && self.layout.shape == other.layout.shape
            && self.layout.strides == other.layout.strides
    }

    /// Its elements for the CPU's loops. Only for tensors in host memory.
    pub(crate) fn view(&self) -> View<'_> {
        let Storage::Host(buffer) = &self.storage else { unreachable!("a view of a tensor that is not on the CPU") };
        View { origin: buffer.as_ptr(), dtype: self.dtype, layout: &self.layout }
    }

    /// Its elements for the CPU's loops to write. Whoever calls this has checked that the storage is writable.
    pub(crate) fn view_mut(&self) -> ViewMut<'_> {
        let Storage::Host(buffer) = &self.storage else { unreachable!("a view of a tensor that is not on the CPU") };
        ViewMut { origin: buffer.as_ptr().cast_mut(), dtype: self.dtype, layout: &self.layout }
    }

    /// The GPU buffer that holds it. Only for tensors on a GPU.
    pub(crate) fn gpu_buffer(&self) -> &Arc<GpuBuffer> {
        let Storage::Gpu(buffer) = &self.storage else { unreachable!("a GPU buffer of a tensor that is not on a GPU") };
        buffer
    }

    /// Whether the storage may be written: false for read-only NumPy memory.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        match &self.storage {
            Storage::Host(buffer) => buffer.is_writable(),
            Storage::Gpu(_) => true,
        }
    }

    /// The tensor on another device; the same tensor if it is there already.
    pub fn to(&self, device: &Device) -> Result<Self> {
        if self.device == *device {
            return Ok(self.clone());
        }
        match (&self.storage, device) {
            (Storage::Host(_), Device::Cpu(_)) => Ok(Self { device: device.clone(), ..self.clone() }),
            (Storage::Host(_), Device::Gpu(_)) => self.upload(device),
            (Storage::Gpu(_), _) => {
                let host = self.to_host(device_for_host(device)?)?;
                host.to(device)
            }
        }
    }

    /// Copies a host tensor to a GPU, in one piece if its elements fill one stretch of memory.
    fn upload(&self, device: &Device) -> Result<Self> {
        let Some(order) = self.layout.dense_order() else {
            return ops::contiguous(self)?.upload(device);
        };
        let target = Self::empty_like(device, Layout::dense(self.shape(), &order), self.dtype, "to")?;
        let view = self.view();
        let buffer = target.gpu_buffer();
        // SAFETY: the elements of a dense layout are `nbytes` from its first one on, and the storage is alive.
        unsafe {
            let from = view.origin.offset(self.layout.offset * self.dtype.size() as isize);
            buffer.context().upload(buffer, from, self.nbytes())?;
        }
        Ok(target)
    }

    /// Copies the elements into new host memory, as a tensor on the CPU device. Waits for them.
    pub fn to_host(&self, cpu: Device) -> Result<Self> {
        let Storage::Gpu(_) = &self.storage else {
            return Ok(Self { device: cpu, ..ops::copy(self)? });
        };
        if self.layout.dense_order().is_none() {
            return ops::contiguous(self)?.to_host(cpu);
        }
        let host = Arc::new(HostBuffer::alloc(self.nbytes()).map_err(|error| error.within("read back"))?);
        // SAFETY: the new buffer has room for all elements.
        unsafe { self.read_into(host.as_mut_ptr())? };
        let layout = Layout { offset: 0, ..self.layout.clone() };
        Ok(Self { device: cpu, storage: Storage::Host(host), layout, dtype: self.dtype })
    }

    /// Copies the elements of a dense tensor on a GPU to host memory, in the order in which they lie. Waits for them.
    ///
    /// # Safety
    /// `to` must be writable for [`Self::nbytes`].
    pub(crate) unsafe fn read_into(&self, to: *mut u8) -> Result<()> {
        let buffer = self.gpu_buffer();
        let offset = self.layout.offset as u64 * self.dtype.size() as u64;
        // SAFETY: the caller's promise.
        unsafe { buffer.context().read_back(buffer, offset, to, self.nbytes()) }
    }

    /// Fills a new row-major host tensor from a function of the flat index.
    pub(crate) fn fill_host(&self, value: impl Fn(usize) -> Scalar) {
        let size = self.dtype.size();
        let origin = self.view_mut().origin;
        for i in 0..self.len() {
            let bytes = value(i).to_bytes(self.dtype);
            // SAFETY: element i of a row-major tensor from its storage's start.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), origin.add(i * size), size) };
        }
    }
}

/// The CPU device on which a tensor stops on its way between two GPUs, or ends.
fn device_for_host(device: &Device) -> Result<Device> {
    match device {
        Device::Cpu(_) => Ok(device.clone()),
        Device::Gpu(_) => crate::device::select::cpu(),
    }
}
