//! High availability for NEAR validators: kneard runs beside `neard`, elects one holder of the
//! validator key through Consul and never lets two nodes sign.
//!
//! Dependencies point one way: binaries → [`supervisor`], [`control`], [`localnet`] →
//! [`consul`], [`neard`] → [`election`], which is pure and imports nothing of the others.
#![deny(unsafe_code)]

/// The fuzz targets name the crate as everybody else does.
#[cfg(test)]
extern crate self as kneard;

mod atomic_file;
pub mod consul;
pub mod control;
pub mod election;
pub mod exporter;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http_server;
pub mod localnet;
pub mod logging;
pub mod neard;
mod programs;
pub mod settings;
pub mod supervisor;
