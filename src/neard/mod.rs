//! Everything about one `neard` on this host: its [`home`] (keys, `config.json`, lock), its
//! [`rpc`], and the [`guard`] process that starts it and ends it when the lease does.
//!
//! Imports nothing of the rest of the crate.

pub mod boot_clock;
mod config;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guard;
pub mod home;
pub mod home_lock;
mod hot_swap;
pub mod keys;
mod planned_shutdown;
pub mod process;
pub mod quiet_moment;
pub mod rpc;

pub(crate) use config::parse_config;
pub(crate) use hot_swap::version_obstacle;
