//! The election: who may let neard sign, and until when.
//!
//! A pure state machine. Time, Consul's answers, neard's state and signals come in as [`Event`]s,
//! and what is to be done goes out as [`Action`]s; it has no clock, no sockets and no randomness,
//! so that the daemon, the tests, a simulation and a model checker all drive this very code.

mod action;
mod doppelganger;
mod event;
mod lease;
mod machine;
mod mutant;
mod neard;
mod record;
mod session;
mod settings;
mod takeover;
mod tenure;
mod time;
mod view;

#[cfg(test)]
mod tests;

pub use action::{Action, ExitReason, Notice, Role, Transition, Write};
pub use event::{Duties, Entry, Event, NeardStatus, Outcome, Refusal, Seen, SignKey};
pub use lease::{Lease, MAX_DRIFT_PER_MILLE, with_drift};
pub use machine::{Machine, State};
#[cfg(not(feature = "mutants"))]
use mutant::Mutant;
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
pub use record::{Content, InstanceId, Mark, Record, RecordState};
pub use session::SessionId;
pub use settings::{Promotion, Settings, SettingsError};
pub use takeover::{Chronicle, Takeover, TakeoverKind};
pub use tenure::Step;
pub use time::Time;
