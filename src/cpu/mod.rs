//! The CPU as a device: which instructions it has, how many threads may run, and how its operations see memory.

pub(crate) mod axes;
pub(crate) mod convert;
pub mod math;
pub mod memory;
pub(crate) mod product;
pub(crate) mod program;
pub(crate) mod rows;
pub mod simd;
#[cfg(test)]
pub(crate) mod testing;
pub mod threads;
pub(crate) mod walk;
pub(crate) mod wgsl;

use std::sync::{Mutex, PoisonError};

use simd::Level;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Layout;

/// The CPU, seen as having one level of SIMD and a number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CpuDevice {
    /// One that the machine has.
    level: Level,
    threads: usize,
}

impl CpuDevice {
    /// The CPU as it is, or as `GPUKERN_SIMD` and `GPUKERN_THREADS` say.
    pub fn new() -> Result<Self> {
        let level = match std::env::var_os("GPUKERN_SIMD").filter(|value| !value.is_empty()) {
            None => Level::available()[0],
            Some(name) => parse_level(&name.to_string_lossy())?,
        };
        Ok(Self { level, threads: threads::default_count()? })
    }

    /// The same CPU with another level of SIMD, which the machine must have.
    pub fn with_level(self, level: Level) -> Result<Self> {
        if level.is_available() {
            Ok(Self { level, ..self })
        } else {
            Err(no_such_level("the SIMD level", level.name()))
        }
    }

    /// The same CPU with another number of threads, at least one.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    #[must_use]
    pub fn level(self) -> Level {
        self.level
    }

    #[must_use]
    pub fn threads(self) -> usize {
        self.threads
    }

    /// Calls `work` for every chunk below `count`, on all of the device's threads.
    pub(crate) fn for_each_chunk(self, count: usize, work: impl Fn(usize) + Sync) {
        threads::for_each_chunk(self.threads, count, work);
    }

    /// As [`CpuDevice::for_each_chunk`], for work that can fail. All chunks are tried.
    pub(crate) fn try_for_each_chunk(self, count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let outcome = Mutex::new(Ok(()));
        self.for_each_chunk(count, |chunk| {
            if let Err(error) = work(chunk) {
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse_level(name: &str) -> Result<Level> {
    let wanted = name.trim().to_ascii_lowercase();
    let level = Level::available().into_iter().find(|level| level.name() == wanted);
    level.ok_or_else(|| no_such_level("GPUKERN_SIMD", name))
}

fn no_such_level(what: &str, name: &str) -> Error {
    let choices: Vec<&str> = Level::available().into_iter().map(Level::name).collect();
    let known = Level::ALL.into_iter().any(|level| level.name() == name.trim().to_ascii_lowercase());
    let why = if known { ", which this machine does not have" } else { "" };
    Error::Argument(format!("{what} is {name:?}{why}; choose one of {}", choices.join(", ")))
}

/// A tensor that an operation reads. Element `i` lies `layout.offset + Σ iₐ·strideₐ` elements after `origin`; places
/// before `origin` are possible, in NumPy's memory.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub origin: *const u8,
    pub dtype: DType,
    pub layout: &'a Layout,
}

/// A tensor that an operation writes.
#[derive(Debug, Clone, Copy)]
pub struct ViewMut<'a> {
    pub origin: *mut u8,
    pub dtype: DType,
    pub layout: &'a Layout,
}

impl View<'_> {
    /// The element at index zero of every axis.
    pub(crate) fn start(&self) -> *const u8 {
        self.origin.wrapping_offset(self.layout.offset * self.dtype.size() as isize)
    }
}

impl ViewMut<'_> {
    /// The element at index zero of every axis.
    pub(crate) fn start(&self) -> *mut u8 {
        self.origin.wrapping_offset(self.layout.offset * self.dtype.size() as isize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        assert_eq!(parse_level(" Scalar ").unwrap(), Level::Scalar);
        let Err(Error::Argument(message)) = parse_level("sse9") else { panic!("sse9 was taken") };
        assert!(message.contains("GPUKERN_SIMD is \"sse9\"; choose one of") && message.contains("scalar"), "{message}");
        let absent = if cfg!(target_arch = "aarch64") { Level::Avx512 } else { Level::Neon };
        let Err(Error::Argument(message)) = parse_level(absent.name()) else { panic!("{absent} was taken") };
        assert!(message.contains("does not have"), "{message}");
        let device = CpuDevice { level: Level::Scalar, threads: 1 };
        assert!(device.with_level(absent).is_err());
        assert_eq!(device.with_threads(0).threads(), 1);
    }
}
