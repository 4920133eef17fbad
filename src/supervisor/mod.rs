//! The shell around the election core: does what its actions say and tells it what happened.
//! It decides nothing.

mod agent;
mod consul_io;
pub mod election_key;
mod history;
mod key_swap;
mod keys;
mod nodes;
mod pause;
mod process;
mod release;
mod run;
mod runtime_file;
mod signals;
mod snapshot;

pub use history::{Takeovers, read as history};
pub use keys::Keys;
pub use release::{ReleaseError, release};
pub(crate) use run::neard_options;
pub use run::{RunError, run};
pub use snapshot::Snapshot;
