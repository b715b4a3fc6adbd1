//! What a device can do, and how to make it look smaller than it is.
//!
//! Every choice between variants of a kernel, and every cut of a large tensor, is made from a [`Caps`]. Lowering one
//! (`GPUKERN_CAPS="-subgroups,binding=64KiB"`) therefore exercises on any machine what a poorer device would do.

use std::fmt;

use naga::valid::Capabilities;

use crate::cpu::simd::Level;
use crate::error::{Error, Result};

/// The capabilities of a device that kernels are chosen by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caps {
    /// Subgroup operations in compute shaders.
    pub subgroups: bool,
    /// Barriers for a subgroup alone.
    pub subgroup_barrier: bool,
    /// The smallest and largest subgroup a pipeline may get.
    pub subgroup_size: (u32, u32),
    /// Arithmetic on 16-bit floats. Their storage works everywhere, packed.
    pub f16: bool,
    /// Products of 16 × 16 matrices of 16-bit floats, summed in 32 bits, by a whole subgroup at once.
    pub cooperative: bool,
    /// Products of four bytes at once. No driver says whether it has instructions for them: those of Vulkan and DX12
    /// are taken to, since other code is made of them there that is right, too.
    pub byte_products: bool,
    /// Integers of 64 bits, for users' kernels.
    pub int64: bool,
    /// Floats of 64 bits, for users' kernels. GPUs are not asked for them.
    pub f64: bool,
    /// Atomic sums of 32-bit floats, for users' kernels.
    pub float_atomics: bool,
    /// Parameters in the command stream. Without them they travel in a uniform buffer.
    pub immediates: bool,
    /// Timing of single kernels.
    pub timestamps: bool,
    /// The driver hands out compiled pipelines to keep on disk.
    pub pipeline_cache: bool,
    /// The most bytes one binding of a kernel can span.
    pub binding: u64,
    /// The most bytes one buffer can have.
    pub buffer: u64,
    /// The most invocations in a workgroup.
    pub workgroup: u32,
    /// Bytes of workgroup memory.
    pub shared: u32,
    /// Bindings begin at multiples of this many bytes.
    pub alignment: u32,
    /// The most workgroups along one dimension of a dispatch.
    pub groups: u32,
    /// The most storage variables of a kernel.
    pub variables: u32,
}

/// What kernels with cooperative matrices need.
const COOPERATIVE: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SUBGROUP_BARRIER);

/// Whether the shape of matrices that our kernels use is among those that the adapter multiplies.
fn multiplies_by_16(adapter: &wgpu::Adapter) -> bool {
    use wgpu::wgt::CooperativeScalarType::{F16, F32};
    adapter.cooperative_matrix_properties().iter().any(|shape| {
        [shape.m_size, shape.n_size, shape.k_size] == [16; 3] && shape.ab_type == F16 && shape.cr_type == F32
    })
}

/// Bytes of parameters that every device takes as immediates.
pub const IMMEDIATE_BYTES: u32 = 128;

impl Caps {
    /// A device that can do everything.
    pub const ANY: Self = Self {
        subgroups: true,
        subgroup_barrier: true,
        subgroup_size: (4, 128),
        f16: true,
        cooperative: true,
        byte_products: true,
        int64: true,
        f64: false,
        float_atomics: true,
        immediates: true,
        timestamps: true,
        pipeline_cache: true,
        binding: 1 << 31,
        buffer: 1 << 40,
        workgroup: 1024,
        shared: 1 << 16,
        alignment: 256,
        groups: 65535,
        variables: 8,
    };

    /// What users' kernels find on the CPU device. Its subgroups have 8 invocations, whatever lanes it computes with.
    pub const CPU: Self = Self {
        subgroups: true,
        subgroup_barrier: true,
        subgroup_size: (8, 8),
        f16: true,
        cooperative: false,
        byte_products: false,
        int64: true,
        f64: true,
        float_atomics: true,
        immediates: false,
        timestamps: true,
        pipeline_cache: false,
        binding: (1 << 31) - 16,
        buffer: 1 << 40,
        workgroup: 1024,
        shared: 1 << 20,
        alignment: 16,
        groups: u32::MAX,
        variables: u32::MAX,
    };

    /// Words for what it can do, and users see.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.subgroups, "subgroups"),
            (self.f16, "f16"),
            (self.cooperative, "coop"),
            (self.byte_products, "byte-products"),
            (self.int64, "int64"),
            (self.f64, "f64"),
            (self.float_atomics, "float-atomics"),
            (self.immediates, "immediates"),
            (self.timestamps, "timestamps"),
            (self.pipeline_cache, "pipeline-cache"),
        ]
        .into_iter()
        .filter(|(have, _)| *have)
        .map(|(_, word)| word)
    }

    /// What WGSL can use on this device.
    pub fn wgsl(&self, trusted: bool) -> Capabilities {
        let mut all = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        for (have, capability) in [
            (self.f16, Capabilities::SHADER_FLOAT16),
            (self.subgroups, Capabilities::SUBGROUP),
            (self.subgroup_barrier, Capabilities::SUBGROUP_BARRIER),
            (self.int64, Capabilities::SHADER_INT64),
            (self.f64, Capabilities::FLOAT64),
            (self.float_atomics, Capabilities::SHADER_FLOAT32_ATOMIC),
            // Their shapes are checked by nobody.
            (self.cooperative && trusted, Capabilities::COOPERATIVE_MATRIX),
        ] {
            all.set(capability, have);
        }
        all
    }

    /// What an adapter offers.
    #[must_use]
    pub fn of(adapter: &wgpu::Adapter) -> Self {
        let (features, limits, info) = (adapter.features(), adapter.limits(), adapter.get_info());
        Self {
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            subgroup_barrier: features.contains(wgpu::Features::SUBGROUP | wgpu::Features::SUBGROUP_BARRIER),
            subgroup_size: (info.subgroup_min_size, info.subgroup_max_size),
            f16: features.contains(wgpu::Features::SHADER_F16),
            cooperative: features.contains(COOPERATIVE | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP)
                && multiplies_by_16(adapter),
            byte_products: matches!(info.backend, wgpu::Backend::Vulkan | wgpu::Backend::Dx12),
            int64: features.contains(wgpu::Features::SHADER_INT64),
            f64: false,
            float_atomics: features.contains(wgpu::Features::SHADER_FLOAT32_ATOMIC),
            immediates: features.contains(wgpu::Features::IMMEDIATES) && limits.max_immediate_size >= IMMEDIATE_BYTES,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            pipeline_cache: features.contains(wgpu::Features::PIPELINE_CACHE),
            // Whole 16-byte groups, so that every kernel's view of a binding divides evenly.
            // No more than places of 32 bits reach, which not every backend makes sure of.
            binding: (limits.max_storage_buffer_binding_size.min(1 << 31) - 16) & !15,
            buffer: limits.max_buffer_size & !15,
            workgroup: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            shared: limits.max_compute_workgroup_storage_size,
            alignment: limits.min_storage_buffer_offset_alignment.max(16),
            groups: limits.max_compute_workgroups_per_dimension,
            variables: limits.max_storage_buffers_per_shader_stage,
        }
    }

    /// What wgpu is asked for, so that its own validation holds us to these capabilities.
    #[must_use]
    pub fn requirements(&self, adapter: &wgpu::Adapter) -> (wgpu::Features, wgpu::Limits) {
        let mut features = wgpu::Features::empty();
        for (have, feature) in [
            (self.subgroups, wgpu::Features::SUBGROUP),
            (self.subgroup_barrier, wgpu::Features::SUBGROUP_BARRIER),
            (self.f16, wgpu::Features::SHADER_F16),
            (self.cooperative, COOPERATIVE),
            (self.int64, wgpu::Features::SHADER_INT64),
            (self.float_atomics, wgpu::Features::SHADER_FLOAT32_ATOMIC),
            (self.immediates, wgpu::Features::IMMEDIATES),
            (self.timestamps, wgpu::Features::TIMESTAMP_QUERY),
            (self.pipeline_cache, wgpu::Features::PIPELINE_CACHE),
        ] {
            features.set(feature, have);
        }
        let mut limits = adapter.limits();
        limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(self.binding);
        limits.max_buffer_size = limits.max_buffer_size.min(self.buffer.max(MIN_BUFFER));
        limits.max_compute_invocations_per_workgroup = self.workgroup;
        limits.max_compute_workgroup_size_x = limits.max_compute_workgroup_size_x.min(self.workgroup);
        limits.max_compute_workgroup_size_y = limits.max_compute_workgroup_size_y.min(self.workgroup);
        limits.max_compute_workgroup_size_z = limits.max_compute_workgroup_size_z.min(self.workgroup);
        limits.max_compute_workgroup_storage_size = self.shared;
        if !self.immediates {
            limits.max_immediate_size = 0;
        }
        (features, limits)
    }

    /// The same device with less, as `text` says.
    pub fn lowered(&self, text: &str) -> Result<Self> {
        let mut caps = self.clone();
        for word in words(text) {
            match word.split_once('=') {
                None => match word {
                    // Cooperative matrices belong to a subgroup, and their elements are 16-bit floats.
                    "-subgroups" => (caps.subgroups, caps.subgroup_barrier, caps.cooperative) = (false, false, false),
                    "-f16" => (caps.f16, caps.cooperative) = (false, false),
                    "-coop" => caps.cooperative = false,
                    "-byte-products" => caps.byte_products = false,
                    "-int64" => caps.int64 = false,
                    "-float-atomics" => caps.float_atomics = false,
                    "-immediates" => caps.immediates = false,
                    "-timestamps" => caps.timestamps = false,
                    "-pipeline-cache" => caps.pipeline_cache = false,
                    _ => return Err(unknown(word, GPU_WORDS)),
                },
                Some(("binding", value)) => caps.binding = caps.binding.min(bytes(word, value, 4096)? & !15),
                Some(("buffer", value)) => caps.buffer = caps.buffer.min(bytes(word, value, 4096)? & !15),
                Some(("shared", value)) => caps.shared = u64::from(caps.shared).min(bytes(word, value, 4096)?) as u32,
                Some(("workgroup", value)) => caps.workgroup = caps.workgroup.min(count(word, value, 16)?),
                Some(("groups", value)) => caps.groups = caps.groups.min(count(word, value, 1024)?),
                Some(_) => return Err(unknown(word, GPU_WORDS)),
            }
        }
        caps.binding = caps.binding.min(caps.buffer);
        Ok(caps)
    }

    /// The largest workgroup size, a power of two, up to `wanted`.
    #[must_use]
    pub fn workgroup_up_to(&self, wanted: u32) -> u32 {
        let most = self.workgroup.min(wanted).max(1);
        1 << most.ilog2()
    }
}

/// Staging and parameters need buffers of this size even where tensors are capped lower.
pub const MIN_BUFFER: u64 = 32 << 20;

const GPU_WORDS: &str = "-subgroups, -f16, -coop, -byte-products, -int64, -float-atomics, -immediates, -timestamps, -pipeline-cache, binding=, buffer=, shared=, workgroup=, groups=";
const CPU_WORDS: &str = "simd=avx512|avx2|neon|scalar, threads=";

/// What the CPU device's capability words ask for. Words for GPUs say nothing about it and are passed over.
pub fn cpu_settings(text: &str) -> Result<(Option<Level>, Option<usize>)> {
    let (mut level, mut threads) = (None, None);
    for word in words(text) {
        match word.split_once('=') {
            Some(("simd", value)) => {
                level = Some(
                    Level::ALL
                        .into_iter()
                        .find(|level| level.name() == value)
                        .ok_or_else(|| unknown(word, CPU_WORDS))?,
                );
            }
            Some(("threads", value)) => threads = Some(count(word, value, 1)? as usize),
            _ => return Err(unknown(word, CPU_WORDS)),
        }
    }
    Ok((level, threads))
}

/// The words of `text` in one order and each once, so that equal settings compare equal.
#[must_use]
pub fn canonical(text: &str) -> String {
    let mut all: Vec<&str> = words(text).collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

/// `text` split in two: the words for GPUs and those for the CPU device.
#[must_use]
pub fn split(text: &str) -> (String, String) {
    let (cpu, gpu): (Vec<_>, Vec<_>) =
        words(text).partition(|word| word.starts_with("simd=") || word.starts_with("threads="));
    (gpu.join(","), cpu.join(","))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn unknown(word: &str, choices: &str) -> Error {
    Error::Argument(format!("capabilities: '{word}' is not understood; the words are {choices}"))
}

fn bytes(word: &str, value: &str, least: u64) -> Result<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    units
        .iter()
        .find_map(|&(unit, size)| value.strip_suffix(unit).map(|number| (number, size)))
        .and_then(|(number, size)| number.parse::<u64>().ok()?.checked_mul(size))
        .filter(|&bytes| bytes >= least)
        .ok_or_else(|| {
            Error::Argument(format!("capabilities: '{word}' needs a size of at least {least} bytes, as a number with KiB, MiB, GiB or nothing behind it"))
        })
}

fn count(word: &str, value: &str, least: u32) -> Result<u32> {
    value
        .parse()
        .ok()
        .filter(|&count| count >= least)
        .ok_or_else(|| Error::Argument(format!("capabilities: '{word}' needs a number of at least {least}")))
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |have: bool| if have { "yes" } else { "no" };
        write!(
            f,
            "subgroups {} ({} to {}), f16 arithmetic {}, cooperative matrices {}, bindings up to {}, workgroups up to {}",
            yes(self.subgroups),
            self.subgroup_size.0,
            self.subgroup_size.1,
            yes(self.f16),
            yes(self.cooperative),
            crate::error::Bytes(self.binding),
            self.workgroup
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps() -> Caps {
        Caps {
            subgroups: true,
            subgroup_barrier: true,
            subgroup_size: (8, 8),
            f16: true,
            cooperative: true,
            byte_products: true,
            int64: true,
            f64: false,
            float_atomics: true,
            immediates: true,
            timestamps: true,
            pipeline_cache: true,
            binding: 1 << 27,
            buffer: 1 << 31,
            workgroup: 1024,
            shared: 32768,
            alignment: 32,
            groups: 65535,
            variables: 8,
        }
    }

    #[test]
    fn words_lower_and_never_raise() {
        let lowered = caps().lowered(" -subgroups, binding=64KiB ,workgroup=64,shared=1GiB").unwrap();
        assert!(!lowered.subgroups && lowered.f16);
        assert_eq!((lowered.binding, lowered.workgroup, lowered.shared), (65536, 64, 32768));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in ["subgroups", "-warp", "binding=", "binding=64KB", "workgroup=0", "binding=7", "color=red"] {
            let message = caps().lowered(text).unwrap_err().to_string();
            assert!(message.contains(text), "{message}");
        }
    }

    #[test]
    fn workgroups_are_powers_of_two() {
        assert_eq!(caps().lowered("workgroup=100").unwrap().workgroup_up_to(256), 64);
        assert_eq!(caps().workgroup_up_to(256), 256);
    }
}
