//! What the machine is told.

use std::time::Duration;

use super::{Content, SessionId};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The process runs under its guard.
    NeardStarted,
    /// There is no process: it could not be spawned.
    NeardNotStarted(String),
    /// The process is dead and reaped: it certainly holds no key. Told once per start, and never
    /// on suspicion: the lock is given away on the strength of it.
    NeardExited(String),
    /// The same of a process that ended by itself, as if it had meant to.
    NeardFinished(String),
    /// What [`super::Action::LoadKey`] asks for cannot be done, and neard was certainly not told to
    /// load the key.
    KeyNotLoaded(String),
    /// The key could not be taken out of neard's home, or neard not be told.
    KeyNotUnloaded(String),
    /// The guard does not answer; it may not kill in time.
    GuardSilent,
    /// The answer to [`super::Action::AskStatus`].
    Status {
        id: u64,
        result: Result<NeardStatus, String>,
    },
    /// The answer to [`super::Action::AskDuties`]; `None`: the account does not validate.
    Duties(Result<Option<Duties>, String>),
    SessionCreated(Result<SessionId, String>),
    /// `Ok(false)`: Consul does not know the session any more.
    SessionRenewed(Result<bool, String>),
    /// What the watch saw.
    Watched(Seen),
    /// The answer to [`super::Action::ReadKey`], read with `?consistent`.
    Read {
        id: u64,
        result: Result<Seen, String>,
    },
    /// The answer to [`super::Action::Commit`].
    Written {
        id: u64,
        outcome: Outcome,
    },
    /// The answer to [`super::Action::ReadLeases`]: the longest lease that any node publishes.
    Leases(Result<Option<Duration>, String>),
    /// An operator wants another node to validate: this one, or whichever comes first.
    Switchover {
        to: Option<String>,
    },
    /// Whether an operator forbids takeovers: nobody but the last holder may claim the key.
    Paused(bool),
    /// neard is to read its configuration again, by which it ends at this height, to be started
    /// anew as what it was; `None`: it is not to end any more.
    RestartPlanned(Option<u64>),
    /// An operator wants a standby's neard to be restarted.
    RestartNeard,
    /// SIGTERM or SIGINT. A second one does not wait for neard.
    Stop,
}

/// The part of neard's `/status` that decisions need.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NeardStatus {
    pub syncing: bool,
    pub head: u64,
    pub key: SignKey,
    /// No block above this height was made, as neard says once it has given the key up: the block
    /// that it made last may be above its head for a moment.
    pub made_up_to: Option<u64>,
}

/// What the account has signed in the present epoch, as the chain counts it (nearcore RPC
/// `validators`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Duties {
    /// Height at which the epoch began.
    pub epoch: u64,
    /// Blocks, chunks and endorsements.
    pub signed: u64,
}

/// Which validator key neard says that it signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignKey {
    None,
    Ours,
    Other,
}

/// The election key as read from Consul.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "a missing entry is the exception")]
pub enum Seen {
    Missing,
    Entry(Entry),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Consul's ModifyIndex, which every write checks.
    pub index: u64,
    /// The session that holds the lock.
    pub session: Option<SessionId>,
    pub content: Content,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was committed; the entry's new ModifyIndex.
    Committed(u64),
    /// It was not committed and never will be.
    Refused(Refusal, String),
    /// It may have been committed, or may yet be.
    Unknown(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Somebody else has written the entry since it was read.
    Conflict,
    /// Another session holds the lock, or ours is gone.
    LockLost,
    /// Consul's lock delay after a session's end.
    LockDelay,
    /// The token lacks a right, or the request never left.
    NotAllowed,
}
