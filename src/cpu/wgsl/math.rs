//! Elementary functions that compiled code calls.

use super::ir::{Function, Kind};
use crate::cpu::simd::Level;

/// A function over as many numbers as there are lanes. They lie at the pointer, one argument's after another's, and
/// the results take the place of the first argument's. 16 bytes are aligned there.
pub(super) type Lanes = unsafe extern "C" fn(*mut u8);

/// The function for `F32` or `F64`, and for 1, 4, 8 or 16 lanes.
pub(super) fn function(function: Function, kind: Kind, lanes: usize, level: Level) -> Lanes {
    let _ = (function, kind, lanes, level);
    unimplemented!()
}
