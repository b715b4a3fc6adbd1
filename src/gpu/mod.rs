//! The GPU engine: everything between an operation's launch and wgpu.
//!
//! An operation asks its [`context`] for a pipeline ([`pipeline`], assembled by [`wgsl`]) and for buffers ([`memory`]),
//! and records a dispatch ([`stream`]), which profiles time (`timestamps`). Users' kernels come by `program`. Bytes travel
//! by [`transfer`]. Nothing here knows what an operation means.

pub mod context;
pub mod memory;
pub mod pipeline;
pub(crate) mod program;
pub mod stream;
mod timestamps;
pub mod transfer;
pub mod wgsl;

#[cfg(test)]
mod tests;

/// `value` rounded up to a multiple of `step`, a power of two.
pub(crate) const fn align_up(value: u64, step: u64) -> u64 {
    (value + step - 1) & !(step - 1)
}
