//! What the acceptance tests stand on: real processes (Consul, a chain of `neard` stand-ins,
//! kneards), watched from outside through /proc, HTTP and the stand-ins' signature logs.
//!
//! Everything that is started dies with the value that stands for it.
#![allow(dead_code, reason = "each test binary uses a part of the harness")]

pub mod binaries;
pub mod blocks;
pub mod chain;
pub mod consul;
pub mod counting_proxy;
pub mod election;
pub mod enclosure;
pub mod fake_server;
pub mod freezer;
pub mod http;
pub mod kneard;
pub mod lock;
pub mod netns;
pub mod operator;
pub mod pair;
pub mod ports;
pub mod process;
pub mod random;
pub mod signatures;
pub mod snapshot;
pub mod systemd;
pub mod tail;
pub mod turn;
pub mod wait;
