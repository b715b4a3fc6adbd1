//! Kernels in other shading languages: what drivers are given.

use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::{AddressSpace, Module, ShaderStage};
use rspirv::binary::Disassemble;

use super::compile::{check, on_deep_stack};
use super::guards::guarded;
use super::hints::plain;
use super::mistranslated;
use super::{Kernel, Program};
use crate::error::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Spirv,
    Msl,
    Hlsl,
    Glsl,
}

impl Language {
    pub const ALL: [Self; 4] = [Self::Spirv, Self::Msl, Self::Hlsl, Self::Glsl];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spirv => "spirv",
            Self::Msl => "msl",
            Self::Hlsl => "hlsl",
            Self::Glsl => "glsl",
        }
    }
}

/// A kernel in another language.
pub struct Emitted {
    pub text: String,
    /// The words of SPIR-V, of which the text is a listing.
    pub words: Vec<u32>,
}

/// Translates a kernel, with the bounds checks that it is compiled with.
pub fn emit(kernel: &Kernel, language: Language) -> Result<Emitted> {
    let program = kernel.program()?;
    let what = format!("kernel '{}': it cannot be translated to {}", kernel.name, language.name());
    on_deep_stack(&what, || translate(kernel, program, language))
}

fn translate(kernel: &Kernel, program: &Program, language: Language) -> Result<Emitted> {
    let fail = |error: &dyn std::fmt::Display| {
        kernel.refuse(format!("it cannot be translated to {}: {}", language.name(), plain(&error.to_string())))
    };
    let module = &program.module;
    let info = check(&program.source, module, naga::valid::Capabilities::all())?;
    let name = module.entry_points[0].name.clone();
    let stage = ShaderStage::Compute;
    if language != Language::Spirv {
        mistranslated::refuse_loops(&program.source, module)?;
    }
    if language == Language::Glsl {
        mistranslated::refuse_layouts(&program.source, module)?;
    }
    let policy = if program.trusted { BoundsCheckPolicy::Unchecked } else { BoundsCheckPolicy::Restrict };
    let policies = BoundsCheckPolicies { index: policy, buffer: policy, ..BoundsCheckPolicies::default() };
    let text = match language {
        Language::Spirv => {
            let options = spv::Options {
                lang_version: (1, 3),
                bounds_check_policies: policies,
                force_loop_bounding: !program.trusted,
                ..spv::Options::default()
            };
            let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: name };
            let words = spv::write_vec(module, &info, &options, Some(&pipeline)).map_err(|error| fail(&error))?;
            let text = rspirv::dr::load_words(&words).map_err(|error| fail(&error))?.disassemble() + "\n";
            return Ok(Emitted { text, words });
        }
        Language::Msl => {
            let options = msl::Options {
                lang_version: (2, 4),
                per_entry_point_map: [(name.clone(), metal_slots(module))].into_iter().collect(),
                bounds_check_policies: policies,
                force_loop_bounding: !program.trusted,
                ..msl::Options::default()
            };
            let pipeline = msl::PipelineOptions { entry_point: Some((stage, name)), ..msl::PipelineOptions::default() };
            msl::write_string(module, &info, &options, &pipeline).map_err(|error| fail(&error))?.0
        }
        Language::Hlsl => {
            let options = hlsl::Options {
                shader_model: hlsl::ShaderModel::V6_2,
                special_constants_binding: Some(hlsl::BindTarget { space: 1, ..hlsl::BindTarget::default() }),
                restrict_indexing: !program.trusted,
                force_loop_bounding: !program.trusted,
                ..hlsl::Options::default()
            };
            let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, name)) };
            let mut text = String::new();
            hlsl::Writer::new(&mut text, &options, &pipeline)
                .write(module, &info, None)
                .map_err(|error| fail(&error))?;
            text
        }
        Language::Glsl => {
            let options = glsl::Options { version: glsl::Version::Desktop(430), ..glsl::Options::default() };
            let pipeline = glsl::PipelineOptions { shader_stage: stage, entry_point: name, multiview: None };
            let module = guarded(module, &info, program.trusted);
            let info = check(&program.source, &module, naga::valid::Capabilities::all())?;
            let mut text = String::new();
            glsl::Writer::new(&mut text, &module, &info, &options, &pipeline, policies)
                .and_then(|mut writer| writer.write())
                .map_err(|error| fail(&error))?;
            text
        }
    };
    Ok(Emitted { text, words: Vec::new() })
}

/// Metal numbers buffers alone; the sizes of arrays come behind them.
fn metal_slots(module: &Module) -> msl::EntryPointResources {
    let bound = module.global_variables.iter().filter_map(|(_, variable)| Some((variable.binding?, variable.space)));
    let resources = bound.map(|(binding, space)| {
        let mutable = matches!(space, AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE));
        let target = msl::BindTarget { buffer: Some(binding.binding as u8), mutable, ..msl::BindTarget::default() };
        (binding, target)
    });
    let resources: msl::BindingMap = resources.collect();
    let sizes = resources.len() as u8;
    msl::EntryPointResources { resources, sizes_buffer: Some(sizes), ..msl::EntryPointResources::default() }
}
