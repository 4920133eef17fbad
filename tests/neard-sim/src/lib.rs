//! A stand-in for nearcore's `neard`: the same command line, files, RPC, log lines and signals,
//! with a chain that costs next to nothing. For kneard's tests and its local demo only.
//!
//! Every signature is written to the home's journal before it leaves the process
//! ([`journal`]), so that [`check`] can prove or refute afterwards that no two processes could
//! sign with one key at one time.
//!
//! Dependencies point one way: [`cli`] → [`node`] → [`rpc`], [`network`], [`chain`] →
//! [`journal`], [`keys`], [`config`], [`genesis`].
#![forbid(unsafe_code)]
// nearcore's config.json has many fields.
#![recursion_limit = "256"]

pub mod alive;
pub mod chain;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod faults;
pub mod genesis;
pub mod hash;
pub mod journal;
pub mod keys;
pub mod localnet;
pub mod log;
pub mod network;
pub mod new_config;
pub mod node;
pub mod reload;
pub mod rpc;
pub mod version;
