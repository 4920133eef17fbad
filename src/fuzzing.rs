//! Doors into private parsers, for `tests/fuzz` and for nobody else: not part of any interface.

pub use crate::consul::fuzzing as consul;
pub use crate::control::fuzzing as control;
pub use crate::neard::fuzzing as neard;

/// The fuzz targets, so that every test run plays their corpus through them.
#[cfg(test)]
#[path = "../tests/fuzz/src/lib.rs"]
mod targets;
