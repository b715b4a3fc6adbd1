//! What a call gives for each variable, checked against its type and brought into the form in which it is bound.

use super::Kernel;
use super::reflect::{Access, Binding};
use super::types::{Numbers, Scalar, Type};
use crate::device::Device;
use crate::dtype::{DType, Scalar as Number};
use crate::error::{Bytes, Result};
use crate::ops;
use crate::shape::{Layout, Shape, show};
use crate::tensor::{Storage, Tensor};

/// What a call gives for a variable.
pub enum Input {
    /// A tensor, which changes if the kernel writes it.
    Tensor(Tensor),
    /// An array in host memory, which does not change.
    Array(Tensor),
    /// An array in host memory, which changes if the kernel writes it. Where it is not bound in place the caller copies
    /// the result there.
    InPlace(Tensor),
    /// Bytes that lie as the variable's type says, and do not change.
    Bytes(Tensor),
    /// A new tensor of zeros.
    New(Shape, DType),
    /// The value of a uniform.
    Values(Vec<u8>),
}

impl Input {
    /// The tensor that was given, if one was.
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Tensor(tensor) | Self::Array(tensor) | Self::InPlace(tensor) | Self::Bytes(tensor) => Some(tensor),
            Self::New(..) | Self::Values(_) => None,
        }
    }
}

/// How an array fits a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    AsItIs,
    /// A fourth number has to follow every three.
    Padded,
}

/// Something ready to be bound.
pub(crate) enum Ready {
    Buffer {
        /// Row-major, and where the device can bind it.
        tensor: Tensor,
        /// What the kernel sees.
        bytes: u64,
        fit: Fit,
    },
    Values(Vec<u8>),
}

/// Checks what a call gives for a variable. Where nothing runs, it may be empty.
pub(super) fn check(kernel: &Kernel, binding: &Binding, input: &Input, runs: bool) -> Result<Fit> {
    let name = &binding.name;
    if let (Input::Tensor(tensor), Access::ReadWrite) = (input, binding.access)
        && tensor.layout().repeats()
    {
        let why = "it is written, and elements of it share memory, as in a broadcast view; give a copy()";
        return Err(kernel.refuse(format!("'{name}': {why}")));
    }
    if let (Input::Tensor(tensor), Access::ReadWrite) = (input, binding.access)
        && !tensor.is_writable()
    {
        let why = "it is written, and its memory is that of a read-only array; give a copy()";
        return Err(kernel.refuse(format!("'{name}': {why}")));
    }
    let fit = match input {
        Input::Tensor(tensor) | Input::Array(tensor) | Input::InPlace(tensor) => {
            fit(&binding.ty, tensor.dtype(), tensor.shape(), runs)
        }
        Input::Bytes(tensor) => fit_bytes(&binding.ty, tensor.len(), runs),
        Input::New(shape, dtype) => fit(&binding.ty, *dtype, shape, runs),
        Input::Values(bytes) => {
            debug_assert_eq!(bytes.len(), binding.ty.size());
            return Ok(Fit::AsItIs);
        }
    };
    fit.map_err(|why| kernel.refuse(format!("'{name}' ({}, {}): {why}", binding.access.name(), binding.ty)))
}

/// How an array of this dtype and shape fills a variable of this type, or why it does not.
fn fit(ty: &Type, dtype: DType, shape: &[usize], runs: bool) -> Result<Fit, String> {
    let count: usize = shape.iter().product();
    let (element, wanted) = match ty {
        Type::Array { of, count, .. } => (&**of, *count),
        other => (other, Some(1)),
    };
    let Some(numbers) = element.numbers() else { return fit_struct(ty, dtype, count, runs) };
    let Numbers { scalar, count: per, .. } = numbers;
    let padded = numbers.padded || matches!((ty, element), (Type::Array { .. }, Type::Vector { size: 3, .. }));
    if scalar.size() == 8 && dtype == DType::UInt32 {
        return fit_bytes(ty, count * 4, runs);
    }
    let packed = scalar == Scalar::U32 && matches!(dtype, DType::Float16 | DType::BFloat16);
    if !packed && dtype.name() != scalar.numpy() {
        return Err(wrong_dtype(dtype, scalar));
    }
    let of_shape = || format!("an array of shape {} ", show(shape));
    // Two to a word.
    let count = if packed { count.div_ceil(2) } else { count };
    let (elements, fit) = match (padded, shape.last()) {
        (true, Some(3)) if count.is_multiple_of(per) && !packed => (count / per, Fit::Padded),
        (true, Some(4)) if count.is_multiple_of(per / 3 * 4) => (count / (per / 3 * 4), Fit::AsItIs),
        (true, _) => {
            return Err(format!(
                "{}does not fit: {element} takes a fourth number for every three in memory. Give an array whose last \
                 axis has 3 elements, which is padded, or one whose last axis has 4, which is bound as it is",
                of_shape()
            ));
        }
        (false, _) if count.is_multiple_of(per) => (count / per, Fit::AsItIs),
        (false, _) => {
            return Err(format!(
                "{}has {count} elements, which is no multiple of {per}, of which {element} has so many",
                of_shape()
            ));
        }
    };
    match wanted {
        Some(wanted) if wanted != elements => {
            Err(format!("{}is {}, but {ty} has {}", of_shape(), counted(elements, element), counted(wanted, element)))
        }
        None if elements == 0 && runs => {
            Err(format!("{}has no element, and WGSL's arrays have at least one; threads=0 runs nothing", of_shape()))
        }
        _ => Ok(fit),
    }
}

fn counted(count: usize, element: &Type) -> String {
    format!("{count} × {element}")
}

fn wrong_dtype(dtype: DType, scalar: Scalar) -> String {
    let name = scalar.numpy();
    let hint = match (scalar, dtype) {
        (Scalar::F64 | Scalar::I64 | Scalar::U64, _) => {
            return format!(
                "the dtype is {dtype}, but {scalar} is {name}, of which there are no tensors; give an array of it, or \
                 uint32 words as they lie in memory"
            );
        }
        (Scalar::I16 | Scalar::U16, _) => {
            return format!("the dtype is {dtype}, but {scalar} is {name}, of which devices have no arrays");
        }
        (Scalar::U32 | Scalar::I32, DType::UInt8 | DType::Int8) => {
            format!("convert it with .astype('{name}'), or view four elements as one with .view('{name}')")
        }
        _ => format!("convert it with .astype('{name}')"),
    };
    format!("the dtype is {dtype}, but {scalar} is {name}; {hint}")
}

/// An array of plain numbers given for structs: words as they lie.
fn fit_struct(ty: &Type, dtype: DType, count: usize, runs: bool) -> Result<Fit, String> {
    if dtype != DType::UInt32 && !only_of(ty, dtype) {
        return Err(format!(
            "the dtype is {dtype}; structs are given as a structured array whose fields have the members' names, or as \
             uint32 words as they lie in memory"
        ));
    }
    fit_bytes(ty, count * dtype.size(), runs)
}

/// Whether all numbers in a type are of this dtype.
fn only_of(ty: &Type, dtype: DType) -> bool {
    match ty {
        Type::Scalar(scalar) | Type::Atomic(scalar) | Type::Vector { scalar, .. } | Type::Matrix { scalar, .. } => {
            scalar.numpy() == dtype.name()
        }
        Type::Array { of, .. } => only_of(of, dtype),
        Type::Struct { fields, .. } => fields.iter().all(|field| only_of(&field.ty, dtype)),
    }
}

fn fit_bytes(ty: &Type, bytes: usize, runs: bool) -> Result<Fit, String> {
    let fixed = ty.size();
    let fits = match ty.tail() {
        None => bytes == fixed,
        Some((_, stride)) => bytes >= smallest(ty) && (bytes - fixed).is_multiple_of(stride),
    };
    if fits || bytes == 0 && ty.tail().is_some() && !runs {
        return Ok(Fit::AsItIs);
    }
    Err(match ty.tail() {
        None => format!("it has {} in all, but {ty} has {}", Bytes(bytes as u64), Bytes(fixed as u64)),
        Some((element, stride)) => format!(
            "it has {} in all, but {ty} has at least {}, of which each {element} is {stride}",
            Bytes(bytes as u64),
            Bytes(smallest(ty) as u64)
        ),
    })
}

/// The least bytes that a variable of this type is bound to.
pub(crate) fn smallest(ty: &Type) -> usize {
    match (ty, ty.tail()) {
        (Type::Struct { size, .. }, Some(_)) => *size,
        (_, Some((_, stride))) => stride,
        (_, None) => ty.size(),
    }
}

/// Refuses a call in which what is written is bound twice.
pub(super) fn check_aliases(kernel: &Kernel, inputs: &[Input]) -> Result<()> {
    for (i, binding) in kernel.bindings.iter().enumerate() {
        let (Access::ReadWrite, Some(tensor)) = (binding.access, inputs[i].tensor()) else { continue };
        for (j, other) in inputs.iter().enumerate() {
            if i != j
                && (i < j || kernel.bindings[j].access != Access::ReadWrite)
                && other.tensor().is_some_and(|other| tensor.shares_elements(other))
            {
                return Err(kernel.refuse(format!(
                    "'{}' is written, and '{}' is the same memory; give one of them a copy",
                    binding.name, kernel.bindings[j].name
                )));
            }
        }
    }
    Ok(())
}

/// Refuses what is larger than a binding on the device `id`, which spans so many bytes at most.
pub(crate) fn check_sizes(kernel: &Kernel, id: &str, most: u64, bytes: impl Iterator<Item = u64>) -> Result<()> {
    for (binding, bytes) in kernel.bindings.iter().zip(bytes) {
        if binding.access.is_storage() && bytes > most {
            return Err(kernel.refuse(format!(
                "'{}' has {}, but a binding on {id} spans at most {}; give it in parts",
                binding.name,
                // A few bytes more than the most would read the same.
                if bytes < most + most / 8 { format!("{bytes} bytes") } else { Bytes(bytes).to_string() },
                Bytes(most)
            )));
        }
    }
    Ok(())
}

/// The bytes that are bound of what a call gives.
pub(crate) fn bytes(input: &Input, fit: Fit) -> u64 {
    let elements = match input {
        Input::Tensor(tensor) | Input::Array(tensor) | Input::InPlace(tensor) | Input::Bytes(tensor) => tensor.nbytes(),
        Input::New(shape, dtype) => shape.iter().product::<usize>() * dtype.size(),
        Input::Values(values) => return values.len() as u64,
    };
    (if fit == Fit::Padded { elements / 3 * 4 } else { elements } as u64).next_multiple_of(4)
}

/// Brings inputs to where the device binds them: on it, row-major, aligned, padded.
pub(super) fn prepare(
    kernel: &Kernel,
    device: &Device,
    alignment: impl Fn(&Type) -> usize,
    inputs: &mut [Input],
    fits: &[Fit],
) -> Result<Vec<Ready>> {
    let within = |i: usize| {
        move |error: crate::error::Error| {
            error.within(&format!("kernel '{}': '{}'", kernel.name, kernel.bindings[i].name))
        }
    };
    // GPUs bind no views of one buffer both ways, even where they lie apart.
    let written = |buffer: &Tensor, inputs: &[Input], i: usize| {
        matches!(device, Device::Gpu(_))
            && kernel.bindings[i].access == Access::Read
            && inputs.iter().zip(&kernel.bindings).any(|(other, binding)| match other {
                Input::Tensor(other) => binding.access == Access::ReadWrite && same_storage(buffer, other),
                _ => false,
            })
    };
    let mut ready = Vec::with_capacity(inputs.len());
    for i in 0..inputs.len() {
        let fit = fits[i];
        let bytes = bytes(&inputs[i], fit);
        if let Input::Values(values) = &mut inputs[i] {
            ready.push(Ready::Values(std::mem::take(values)));
            continue;
        }
        let tensor = match &inputs[i] {
            Input::New(shape, dtype) => zeros(device, shape, *dtype, fit).map_err(within(i))?,
            Input::Tensor(tensor) if written(tensor, inputs, i) => ops::copy(tensor).map_err(within(i))?,
            Input::Tensor(tensor) | Input::Array(tensor) | Input::InPlace(tensor) | Input::Bytes(tensor) => {
                tensor.to(device).map_err(within(i))?
            }
            Input::Values(_) => unreachable!("handled above"),
        };
        let is_new = matches!(inputs[i], Input::New(..));
        let alignment = alignment(&kernel.bindings[i].ty);
        let mut tensor = if is_new { tensor } else { bindable(&tensor, alignment, fit).map_err(within(i))? };
        // Memory of an array is bound in place where it can be, but what was given does not change.
        if let (Input::Array(given) | Input::Bytes(given), Access::ReadWrite) = (&inputs[i], kernel.bindings[i].access)
            && same_storage(&tensor, given)
        {
            tensor = ops::copy(&tensor).map_err(within(i))?;
        }
        ready.push(Ready::Buffer { tensor, bytes, fit });
    }
    Ok(ready)
}

fn same_storage(a: &Tensor, b: &Tensor) -> bool {
    match (a.storage(), b.storage()) {
        (Storage::Gpu(a), Storage::Gpu(b)) => std::sync::Arc::ptr_eq(a, b),
        (Storage::Host(a), Storage::Host(b)) => std::sync::Arc::ptr_eq(a, b),
        _ => false,
    }
}

fn zeros(device: &Device, shape: &[usize], dtype: DType, fit: Fit) -> Result<Tensor> {
    let shape = if fit == Fit::Padded { padded(shape) } else { shape.into() };
    ops::full("zeros", device, &shape, Number::Int(0), dtype)
}

fn padded(shape: &[usize]) -> Shape {
    let mut shape: Shape = shape.into();
    if let Some(last) = shape.last_mut() {
        *last = 4;
    }
    shape
}

/// The tensor itself if a device can bind its elements as they lie, or else a copy.
fn bindable(tensor: &Tensor, alignment: usize, fit: Fit) -> Result<Tensor> {
    if fit == Fit::Padded {
        let target = zeros(tensor.device(), tensor.shape(), tensor.dtype(), fit)?;
        ops::assign(&unpadded(&target, fit), tensor.into())?;
        return Ok(target);
    }
    if !tensor.nbytes().is_multiple_of(4) {
        // The last word is bound whole, and may hold somebody else's elements. Zeros take their place.
        let per_word = 4 / tensor.dtype().size();
        let whole = [tensor.len().next_multiple_of(per_word)];
        let words = ops::full("zeros", tensor.device(), &whole, Number::Int(0), tensor.dtype())?;
        let own = words.with_layout(Layout::contiguous(tensor.shape()));
        ops::assign(&own, tensor.into())?;
        return Ok(own);
    }
    let start = match tensor.storage() {
        Storage::Host(_) => tensor.view().start() as usize,
        Storage::Gpu(_) => tensor.layout().offset as usize * tensor.dtype().size(),
    };
    if tensor.layout().is_contiguous() && start.is_multiple_of(alignment) {
        return Ok(tensor.clone());
    }
    ops::copy(tensor).and_then(|copy| ops::contiguous(&copy))
}

/// The elements of what was bound, without padding.
fn unpadded(tensor: &Tensor, fit: Fit) -> Tensor {
    match fit {
        Fit::AsItIs => tensor.clone(),
        Fit::Padded => ops::narrow(tensor, tensor.shape().len() - 1, 0, 3),
    }
}

/// What the kernel wrote, as results in the order of the variables: tensors that were given have changed.
pub(super) fn results(kernel: &Kernel, inputs: &[Input], ready: &[Ready]) -> Result<Vec<Tensor>> {
    let mut results = Vec::new();
    for ((binding, input), ready) in kernel.bindings.iter().zip(inputs).zip(ready) {
        let (Access::ReadWrite, Ready::Buffer { tensor, fit, .. }) = (binding.access, ready) else { continue };
        let result = unpadded(tensor, *fit);
        results.push(match input {
            Input::InPlace(given) if given.layout().repeats() || matches!(result.storage(), Storage::Gpu(_)) => result,
            Input::Tensor(given) | Input::InPlace(given) => {
                // An array is of no setting of the CPU device.
                let given = given.to(result.device())?;
                if !given.same_elements(&result) {
                    ops::assign(&given, (&result).into())?;
                }
                given
            }
            _ => result,
        });
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(text: &str) -> Type {
        let module = naga::front::wgsl::parse_str(&format!("var<private> x: {text};")).ok();
        let storage = format!("@group(0) @binding(0) var<storage> x: {text};");
        let module = module.unwrap_or_else(|| naga::front::wgsl::parse_str(&storage).unwrap());
        Type::of(&module, module.global_variables.iter().next().unwrap().1.ty).unwrap()
    }

    #[test]
    fn arrays_fit_by_dtype_and_count() {
        let fits = |ty: &str, dtype, shape: &[usize]| fit(&type_of(ty), dtype, shape, true);
        assert_eq!(fits("array<f32>", DType::Float32, &[2, 3]), Ok(Fit::AsItIs));
        assert_eq!(fits("array<vec4<f32>>", DType::Float32, &[8]), Ok(Fit::AsItIs));
        assert_eq!(fits("array<vec3<f32>>", DType::Float32, &[5, 3]), Ok(Fit::Padded));
        assert_eq!(fits("array<vec3<f32>>", DType::Float32, &[5, 4]), Ok(Fit::AsItIs));
        assert_eq!(fits("array<u32>", DType::Float16, &[5]), Ok(Fit::AsItIs));
        assert_eq!(fits("mat3x3<f32>", DType::Float32, &[3, 3]), Ok(Fit::Padded));
        for (ty, dtype, shape, words) in [
            ("array<f32>", DType::Int32, &[3][..], "astype('float32')"),
            ("array<u32>", DType::UInt8, &[4], ".view('uint32')"),
            ("array<f32, 4>", DType::Float32, &[3], "4 × f32"),
            ("array<vec4<f32>>", DType::Float32, &[6], "multiple of 4"),
            ("array<vec3<f32>>", DType::Float32, &[6], "last axis"),
            ("array<f32>", DType::Float32, &[0], "at least one"),
            ("f32", DType::Float32, &[2], "1 × f32"),
        ] {
            let message = fits(ty, dtype, shape).unwrap_err();
            assert!(message.contains(words), "{ty}: {message}");
        }
    }
}
