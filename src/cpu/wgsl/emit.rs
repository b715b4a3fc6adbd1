//! From our IR to machine code.

use super::ir::Body;
use crate::cpu::simd::Level;

/// Machine code that stands anywhere.
pub(super) struct Emitted {
    pub(super) code: Vec<u8>,
    /// Bytes that a thread needs while it runs a workgroup.
    pub(super) scratch: usize,
    /// See `Code::cost`.
    pub(super) cost: Option<u64>,
}

pub(super) fn emit(body: &Body, lanes: usize, level: Level) -> Result<Emitted, String> {
    let _ = (body, lanes, level);
    Err("not yet".into())
}
