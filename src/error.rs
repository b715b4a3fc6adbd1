//! Every way in which gpukern can fail, as one enum.
//!
//! A message names the operation, the argument, the offending value and what to do about it. The Python layer
//! turns each variant into an exception class of the same name (see `python/errors.rs`).

use std::fmt;

/// What went wrong. Cloning is cheap enough for an error path and lets a lost device repeat its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shapes that do not fit each other or the operation.
    #[error("{0}")]
    Shape(String),
    /// An element type that the operation does not take, or a value that its type cannot hold.
    #[error("{0}")]
    DType(String),
    /// An index outside its axis.
    #[error("{0}")]
    Bounds(String),
    /// An argument whose value makes no sense: a bad name, a read-only output, a malformed setting.
    #[error("{0}")]
    Argument(String),
    /// A device that failed, or operands that live on different devices.
    #[error("{0}")]
    Device(String),
    /// A device asked for by name that this machine does not have.
    #[error("{0}")]
    DeviceNotFound(String),
    /// The device went away, and everything on it.
    #[error("{0}")]
    DeviceLost(String),
    /// More memory than there is.
    #[error("{0}")]
    OutOfMemory(String),
    /// WGSL that does not compile or does not bind.
    #[error("{0}")]
    Kernel(String),
    /// A file of a model that is damaged, or that nothing here reads.
    #[error("{0}")]
    File(String),
    /// The caller asked to stop (Ctrl-C) during a wait.
    #[error("interrupted while waiting for the device")]
    Interrupted,
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The same error with `context: ` before its message, for failures far below the operation that the user called.
    #[must_use]
    pub fn within(self, context: &str) -> Self {
        let prefix = |message: String| format!("{context}: {message}");
        match self {
            Self::Shape(m) => Self::Shape(prefix(m)),
            Self::DType(m) => Self::DType(prefix(m)),
            Self::Bounds(m) => Self::Bounds(prefix(m)),
            Self::Argument(m) => Self::Argument(prefix(m)),
            Self::Device(m) => Self::Device(prefix(m)),
            Self::DeviceNotFound(m) => Self::DeviceNotFound(prefix(m)),
            Self::DeviceLost(m) => Self::DeviceLost(prefix(m)),
            Self::OutOfMemory(m) => Self::OutOfMemory(prefix(m)),
            Self::Kernel(m) => Self::Kernel(prefix(m)),
            Self::File(m) => Self::File(prefix(m)),
            Self::Interrupted => Self::Interrupted,
        }
    }
}

/// Bytes as a person reads them: `1.5 GiB`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if unit == 0 || value.fract() == 0.0 {
            write!(f, "{value:.0} {}", UNITS[unit])
        } else {
            write!(f, "{value:.1} {}", UNITS[unit])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        assert_eq!(Bytes(17).to_string(), "17 bytes");
        assert_eq!(Bytes(1 << 40).to_string(), "1 TiB");
        assert_eq!(Bytes(3 << 29).to_string(), "1.5 GiB");
    }
}
