//! gpukern: NumPy arrays computed on whatever GPU the machine has, and on the CPU where it has none.
//!
//! The map of the house, from the bottom up:
//!
//! | room | what is in it |
//! |---|---|
//! | [`error`], [`dtype`], [`shape`] | errors, element types, layouts: pure, no device |
//! | [`cpu`] | the CPU device: SIMD chosen at run time, threads, host memory |
//! | [`gpu`] | the wgpu engine: memory, transfers, recording, pipelines |
//! | [`device`] | which devices there are, what they can do, which one is chosen |
//! | [`tensor`] | storage, layout and type together |
//! | [`ops`] | what the operations mean: one file each |
//! | [`kernel`] | users' own kernels: reflected, bound, launched |
//! | [`files`] | what files of models say of themselves, and where their tensors lie |
//! | [`profile`] | which devices are timed, and what it gave |
//! | `python` | everything PyO3, and nothing else; only with the feature of that name |
//!
//! A call enters through a file of `python/ops/`, is checked in its own file under `ops/`, and then either recorded by
//! `gpu/stream.rs` or run by loops on the CPU. Each room is entered once.

pub mod cpu;
pub mod device;
pub mod dtype;
pub mod error;
pub mod files;
mod generations;
pub mod gpu;
pub mod interrupt;
pub mod kernel;
pub mod ops;
pub mod profile;
pub mod quant;
pub mod shape;
pub mod tensor;

#[cfg(feature = "python")]
mod python;

#[cfg(test)]
mod shader_tests;
