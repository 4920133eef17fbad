//! What the machine asks for.

use std::fmt;

use super::{Record, SessionId, State, Time};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "few of them exist at a time, and none for long")]
pub enum Action {
    StartNeard(Role),
    /// SIGTERM.
    TerminateNeard,
    /// SIGKILL, and report when it is reaped.
    KillNeard,
    /// Ask neard's `/status`.
    AskStatus {
        id: u64,
    },
    /// Ask neard what the account has signed. One question at a time.
    AskDuties,
    /// The guard kills neard at this instant unless it is moved.
    ArmGuard(Time),
    /// neard has no key any more: the guard lets it run.
    DisarmGuard,
    /// Arm the guard until `kill_at` and, once it has confirmed that, have neard load the key: into
    /// its home, then SIGHUP. From now on neard may sign.
    LoadKey {
        kill_at: Time,
    },
    /// Take the key out of neard's home, then SIGHUP. neard signs on until it says that it has
    /// none.
    UnloadKey,
    /// SIGHUP again: the one before may be lost.
    ReloadNeard,
    CreateSession,
    RenewSession(SessionId),
    DestroySession(SessionId),
    Commit {
        id: u64,
        write: Write,
    },
    ReadKey {
        id: u64,
    },
    /// Read the leases that nodes publish.
    ReadLeases,
    /// Watch the election key from now on, or no longer.
    Watch(bool),
    Changed(Transition),
    Log(Notice),
    /// The last action.
    Exit(ExitReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Standby,
    /// With the validator key, under a guard that is armed before neard starts.
    Validator {
        kill_at: Time,
    },
}

/// A transaction on the election key. Each one checks the entry's ModifyIndex, so that the records
/// form one chain and a delayed or repeated request can do nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Write {
    /// Take the lock of a free entry, or of none (`index` is `None`).
    Acquire { index: Option<u64>, session: SessionId, record: Record },
    /// Unlock `from` and take the lock, in one.
    Steal { index: u64, from: SessionId, session: SessionId, record: Record },
    /// Renew the lease.
    Beat { index: u64, session: SessionId, record: Record },
    /// Give the lock back.
    Release { index: u64, session: SessionId, record: Record },
}

impl Write {
    pub fn record(&self) -> &Record {
        match self {
            Write::Acquire { record, .. }
            | Write::Steal { record, .. }
            | Write::Beat { record, .. }
            | Write::Release { record, .. } => record,
        }
    }

    pub fn record_mut(&mut self) -> &mut Record {
        match self {
            Write::Acquire { record, .. }
            | Write::Steal { record, .. }
            | Write::Beat { record, .. }
            | Write::Release { record, .. } => record,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transition {
    pub from: State,
    pub to: State,
}

/// Something an operator wants to read in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Notice {
    Info(String),
    Warning(String),
    Error(String),
    /// neard did not stop in time and is killed.
    StopOverdue,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Notice::Info(text) | Notice::Warning(text) | Notice::Error(text) => text,
            Notice::StopOverdue => "Termination timeout reached. Send SIGKILL to neard!",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// As asked.
    Stopped,
    /// neard has never answered in so many starts; what the last one said.
    NeardDoesNotStart(String),
}
