//! Letting a caller break off a long wait (Ctrl-C). The engine asks now and then; whoever embeds it answers.

use std::sync::OnceLock;

use crate::error::{Error, Result};

static ASK: OnceLock<fn() -> bool> = OnceLock::new();

/// Sets how to find out whether the caller wants to stop. The first one set stays.
pub fn install(ask: fn() -> bool) {
    let _ = ASK.set(ask);
}

/// Fails with [`Error::Interrupted`] when the caller wants to stop.
pub(crate) fn check() -> Result<()> {
    match ASK.get() {
        Some(ask) if ask() => Err(Error::Interrupted),
        _ => Ok(()),
    }
}
