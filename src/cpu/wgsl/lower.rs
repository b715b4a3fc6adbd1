//! From naga's IR to ours.

use naga::Module;
use naga::valid::ModuleInfo;

use super::Unsupported;
use super::ir::Body;

/// What an invocation of the module's only entry point does. With `checked` false, indices are trusted.
pub(super) fn lower(module: &Module, info: &ModuleInfo, checked: bool) -> Result<Body, Unsupported> {
    let _ = (module, info, checked);
    Err(Unsupported { what: "everything".into(), span: naga::Span::UNDEFINED })
}
