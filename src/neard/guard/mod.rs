//! The guard: a small process between kneard and neard that ends neard at the lease's end, or
//! when kneard is gone.
//!
//! ```text
//!   kneard ──socketpair──▶ kneard guard ──PDEATHSIG──▶ neard
//!   (client)               (enforcer)
//! ```
//!
//! | what dies or hangs | who ends neard, and when |
//! |---|---|
//! | kneard dies | the guard, at the end of file on its socket; it then runs the release |
//! | kneard hangs | the guard, at the deadline last armed |
//! | the guard dies | the kernel (parent-death signal); kneard makes sure and reaps |
//! | the guard hangs | kneard: its ping stays unanswered, the caller calls [`Neard::kill`] |
//!
//! `client` is kneard's side, `enforcer` the guard's, `launch` the start of both children,
//! [`protocol`] what they say to each other over `socket`.

mod client;
mod enforcer;
mod launch;
mod pidfd;
mod priority;
pub mod protocol;
mod socket;

pub use client::{Exit, GuardEvent, Neard, NeardStatus, SpawnOptions, kill_orphan};
pub use enforcer::run;
pub use protocol::ExitReason;
