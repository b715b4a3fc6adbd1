//! Users' kernels on the CPU device: compiled once, and run on host memory where it lies.
#![expect(unsafe_code, reason = "compiled kernels work on memory of tensors")]

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock};

use naga::back::pipeline_constants::process_overrides;
use naga::valid::Capabilities;
use naga::{Module, ResourceBinding};
use smallvec::SmallVec;

use super::CpuDevice;
use super::simd::Level;
use super::wgsl::{Bound, Code};
use crate::device::caps::Caps;
use crate::device::{Device, fork};
use crate::error::{Error, Result};
use crate::generations::{Generations, cached};
use crate::kernel::bind::{self, Ready};
use crate::kernel::compile::{check, on_deep_stack, parse, refuse_on_cpu};
use crate::kernel::grid::Grid;
use crate::kernel::source::Source as Text;
use crate::kernel::types::Type;
use crate::kernel::{Identity, Kernel, Program, Workgroup};
use crate::profile;

/// What the device does not run either, but shows where it stands, which naga cannot of types.
const REFUSED_IN_PLACE: Capabilities = Capabilities::COOPERATIVE_MATRIX.union(Capabilities::SHADER_INT16);

/// A program that the CPU device can run.
pub(crate) struct Compiled {
    device: CpuDevice,
    code: Arc<Code>,
}

impl Compiled {
    /// Compiles a program, unless that was done before, and refuses what the device does not run.
    pub(crate) fn new(device: CpuDevice, kernel: &Kernel, program: &Program) -> Result<Self> {
        let code = code(device, Source::Program(program.identity.clone()), |lanes| {
            let info = program.check(Caps::CPU.wgsl(program.trusted) | REFUSED_IN_PLACE)?;
            let most = Workgroup {
                invocations: Caps::CPU.workgroup,
                axes: [Caps::CPU.workgroup; 3],
                memory: Caps::CPU.shared,
            };
            program.check_workgroup(kernel, &Device::Cpu(device).id(), &most)?;
            on_deep_stack(&format!("kernel '{}'", kernel.name), || {
                Code::compile(&program.module, &info, device.level(), lanes)
                    .map_err(|unsupported| program.refuse_on_cpu(&unsupported.what, unsupported.span))
            })
        })?;
        Ok(Self { device, code })
    }

    /// What the address of something that is bound is a multiple of: what its largest scalar takes.
    pub(crate) fn alignment(ty: &Type) -> usize {
        ty.largest_scalar().max(4)
    }

    /// Refuses what is too large to be bound.
    pub(crate) fn check_sizes(&self, kernel: &Kernel, bytes: impl Iterator<Item = u64>) -> Result<()> {
        bind::check_sizes(kernel, &Device::Cpu(self.device).id(), Caps::CPU.binding, bytes)
    }

    /// Runs a launch to its end.
    pub(crate) fn launch(&self, kernel: &Kernel, ready: &[Ready], grid: Grid) -> Result<()> {
        let moved = kernel.bindings.iter().zip(ready).map(|(binding, ready)| match ready {
            Ready::Values(_) => 0,
            Ready::Buffer { bytes, .. } => bytes * binding.moves,
        });
        let mut values: SmallVec<[Values; 4]> = SmallVec::new();
        let bound: SmallVec<[Bound; 8]> = ready
            .iter()
            .map(|ready| match ready {
                Ready::Values(bytes) => {
                    values.push(Values::of(bytes));
                    values.last().expect("just pushed").bound(bytes.len())
                }
                Ready::Buffer { tensor, bytes, .. } => {
                    Bound { start: tensor.view().start().cast_mut(), bytes: *bytes as usize }
                }
            })
            .collect();
        // SAFETY: tensors are bound with all of their elements, aligned and in order. Those that are written are
        // writable, and share nothing with others.
        unsafe { run(&self.code, &kernel.name, self.device, &bound, grid.groups, moved.sum()) }
    }
}

/// Compiles a shader of ours that has formulas of a user's, with values for its `override` constants.
pub(crate) fn compile_formulas(
    device: CpuDevice,
    source: &Text,
    constants: &[(Cow<'static, str>, f64)],
    lanes: Option<usize>,
) -> Result<Code> {
    let (mut module, _) = parse(source)?;
    renumber(&mut module);
    let info = check(source, &module, Caps::CPU.wgsl(false))?;
    let constants = constants.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    let (module, info) = process_overrides(&module, &info, None, &constants)
        .map_err(|error| Error::Kernel(format!("{}: its constants do not fit: {error}", source.what)))?;
    Code::compile(&module, &info, device.level(), lanes)
        .map_err(|unsupported| refuse_on_cpu(source, &unsupported.what, unsupported.span))
}

/// Numbers what is bound from 0 on in one group, in the order of the groups and of the numbers in them.
fn renumber(module: &mut Module) {
    let bindings = module.global_variables.iter().filter_map(|(_, variable)| variable.binding);
    let mut places: Vec<(u32, u32)> = bindings.map(|binding| (binding.group, binding.binding)).collect();
    places.sort_unstable();
    for (_, variable) in module.global_variables.iter_mut() {
        if let Some(binding) = &mut variable.binding {
            let place = places.iter().position(|place| *place == (binding.group, binding.binding));
            *binding = ResourceBinding { group: 0, binding: place.expect("among all of them") as u32 };
        }
    }
}

/// A few values in memory that is aligned for any type.
pub(crate) struct Values(Box<[u128]>);

impl Values {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut aligned = vec![0_u128; bytes.len().div_ceil(16)];
        bytemuck::cast_slice_mut(&mut aligned)[..bytes.len()].copy_from_slice(bytes);
        Self(aligned.into())
    }

    /// The first bytes of them. They stay where they are when the values are moved.
    pub(crate) fn bound(&self, bytes: usize) -> Bound {
        Bound { start: self.0.as_ptr().cast_mut().cast(), bytes }
    }
}

/// Runs compiled code on all of the device's threads. A profile calls it by its name, and counts the bytes as moved.
///
/// # Safety
/// As for [`Code::run`].
pub(crate) unsafe fn run(
    code: &Code,
    name: &str,
    device: CpuDevice,
    bound: &[Bound],
    groups: [u32; 3],
    moved: u64,
) -> Result<()> {
    profile::timed_launch(name, &Device::Cpu(device), moved, || {
        // SAFETY: the caller's promise.
        unsafe { code.run(name, device, bound, groups) }
    })
}

/// What code is compiled from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Program(Identity),
    /// A shader of ours with formulas of a user's, by the number under which it is kept.
    Shader(u64),
}

/// Code by what it was compiled from, for a level of SIMD and a number of lanes.
type Known = Mutex<Generations<(Source, Level, Option<usize>), Code>>;

/// The code of one process. After `fork` the child compiles anew: a thread that it does not have may hold the lock.
struct Codes {
    own: OnceLock<(u32, Known)>,
    of_child: OnceLock<Box<Self>>,
}

impl Codes {
    const fn new() -> Self {
        Self { own: OnceLock::new(), of_child: OnceLock::new() }
    }

    fn of_this_process() -> &'static Known {
        static FIRST: Codes = Codes::new();
        let process = fork::generation();
        let mut codes = &FIRST;
        loop {
            let (generation, known) = codes.own.get_or_init(|| (process, Known::default()));
            if *generation == process {
                return known;
            }
            codes = codes.of_child.get_or_init(|| Box::new(Self::new()));
        }
    }
}

/// The code for a device, from `compile` on first use, which gets the number of lanes that is asked for. Others go on
/// meanwhile.
pub(crate) fn code(
    device: CpuDevice,
    source: Source,
    compile: impl FnOnce(Option<usize>) -> Result<Code>,
) -> Result<Arc<Code>> {
    let lanes = lanes()?;
    cached(Codes::of_this_process(), &(source, device.level(), lanes), || compile(lanes))
}

/// How many invocations run at once, if `GPUKERN_LANES` says so: for tests.
fn lanes() -> Result<Option<usize>> {
    let text = std::env::var_os("GPUKERN_LANES").filter(|text| !text.is_empty());
    text.map(|text| parse_lanes(&text.to_string_lossy())).transpose()
}

fn parse_lanes(text: &str) -> Result<usize> {
    text.trim()
        .parse()
        .ok()
        .filter(|lanes| [1, 4, 8, 16].contains(lanes))
        .ok_or_else(|| Error::Argument(format!("GPUKERN_LANES is {text:?}; choose one of 1, 4, 8, 16")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_checked() {
        assert_eq!(parse_lanes(" 8 "), Ok(8));
        for text in ["0", "3", "32", "many"] {
            let message = parse_lanes(text).unwrap_err().to_string();
            assert!(message.contains("GPUKERN_LANES") && message.contains(text), "{message}");
        }
    }

    #[test]
    fn values_are_aligned() {
        for length in [0, 1, 16, 100] {
            let bytes: Vec<u8> = (0..length).collect();
            let values = Values::of(&bytes);
            assert!((values.bound(bytes.len()).start as usize).is_multiple_of(16));
            assert_eq!(&bytemuck::cast_slice::<u128, u8>(&values.0)[..bytes.len()], &bytes[..]);
        }
    }
}
