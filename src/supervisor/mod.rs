//! The shell around the election core: does what its actions say and tells it what happened.
//! It decides nothing.

mod agent;
mod consul_io;
pub mod election_key;
mod history;
mod key_swap;
mod keys;
mod manual;
mod nodes;
mod pause;
mod peers;
mod process;
mod questions;
mod release;
mod run;
mod runtime_file;
mod serve;
mod signals;
mod snapshot;
mod start;
mod status_line;

pub use history::{Takeovers, read as history};
pub use keys::Keys;
pub use manual::{ManualError, clean_up, manual};
pub use release::{Kneard, ReleaseError, release};
pub use run::run;
pub use snapshot::Snapshot;
pub use start::RunError;
pub(crate) use start::neard_options;
