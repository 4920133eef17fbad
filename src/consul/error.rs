//! What went wrong with a request to Consul, sorted by what the caller has to do about it.

use std::fmt;

use super::right::Right;

/// A failed request: one line that names the address, its answer and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The address that answered (or did not), or the file or setting at fault.
    pub address: String,
    /// What it answered, shortened to one line.
    pub what: String,
    /// What the caller has to do.
    pub kind: Kind,
}

/// What a failure means for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Consul refused the transaction (409): it certainly did not apply.
    Refused(Vec<TxnError>),
    /// There is no such session (404).
    NotFound,
    /// The token does not allow it, or Consul does not know the token (401, 403). Not applied.
    Denied,
    /// Consul does not know the session that the write names. The write did not apply.
    InvalidSession,
    /// Consul calls the request itself wrong (400, 405 …), or a local setting is. Not applied.
    Invalid,
    /// The request certainly did not reach any Consul. Not applied.
    NotSent,
    /// No telling whether the request applied: time-out, 5xx, broken connection, garbage.
    /// Read with [`Consistent`](super::Consistency::Consistent) before writing again.
    Unknown,
}

/// Why Consul refused one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnError {
    /// Position of the operation in the transaction, from 0.
    pub op_index: usize,
    /// The same, for programs.
    pub refusal: Refusal,
    /// Consul's own words.
    pub what: String,
}

/// Consul's reasons for a refusal, recognised by the wording of 1.8.7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The entry's ModifyIndex is another one: somebody wrote in between.
    Index,
    /// The key is missing where it must be there.
    Missing,
    /// The key is there where it must be missing.
    Exists,
    /// Another session holds the lock.
    LockHeld,
    /// The lock to give back, or to check, is not held by the session named.
    LockNotHeld,
    /// The lock's last session ended and its lock delay has not passed.
    LockDelay,
    /// Consul does not know the session.
    InvalidSession,
    /// The token does not allow the operation.
    Denied,
    /// Anything else, in Consul's words.
    Other(String),
}

impl Error {
    /// Whether the request certainly changed nothing.
    pub fn certainly_not_applied(&self) -> bool {
        self.kind != Kind::Unknown
    }

    /// Whether the transaction was refused for this reason, at any of its operations.
    pub fn refused_for(&self, refusal: &Refusal) -> bool {
        matches!(&self.kind, Kind::Refused(errors) if errors.iter().any(|e| e.refusal == *refusal))
    }

    /// Whether Consul said, in any of its ways, that it does not know the session.
    pub fn is_invalid_session(&self) -> bool {
        self.kind == Kind::InvalidSession || self.refused_for(&Refusal::InvalidSession)
    }
}

/// A failure of one attempt, before it is known at which address.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) what: String,
    /// What the token does not allow, where the answer tells.
    pub(super) lacking: Vec<Right>,
}

impl Failure {
    pub(super) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), lacking: Vec::new() }
    }

    pub(super) fn unknown(what: impl Into<String>) -> Self {
        Self::new(Kind::Unknown, what)
    }

    pub(super) fn at(self, address: &str) -> Error {
        Error { address: address.to_owned(), what: self.what, kind: self.kind }
    }
}

impl Error {
    /// Two addresses failed one after the other: one line for both, as sure as the less sure one.
    pub(super) fn and(self, later: Self) -> Self {
        let kind = match (self.kind, later.kind) {
            (Kind::Unknown, _) | (_, Kind::Unknown) => Kind::Unknown,
            (_, kind) => kind,
        };
        let what = format!("{}; {}: {}", self.what, later.address, later.what);
        Self { address: self.address, what, kind }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.what)
    }
}

impl std::error::Error for Error {}
