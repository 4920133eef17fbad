//! Deliberate defects of the protocol, one at a time, for the proofs to catch.
//!
//! With the feature `mutants` one can be set in [`Settings`]. Without it [`Settings::has`] is
//! always false, and the compiler leaves out every trace of them.

#[cfg(feature = "mutants")]
use std::fmt;
use std::time::Duration;

use super::view::View;
use super::{Outcome, RecordState, Settings, Time};

/// A rule of the protocol that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(not(feature = "mutants"), allow(dead_code, reason = "nobody can choose one"))]
pub enum Mutant {
    LeaseFromAnswer,
    UnknownIsCommitted,
    NoKillMargin,
    GuardArmedFromStart,
    DriftIgnored,
    PendingIsDone,
    FreeLockIsSafe,
    MissingIsFree,
    UnseenHolderForgotten,
    PendingGrantsOwnLease,
    FirstSightByMark,
    MarkByBeatOnly,
    ReleaseBeforeReaped,
    DisarmBeforeGone,
    ReleasedTooEarly,
    HeadNotWaitedFor,
    HeadNotBounded,
    // Those below are made where the core meets the world: the proofs' drivers ask for them.
    AcquireUnchecked,
    StealUnchecked,
    BeatUnchecked,
    WallClock,
    CrashReleaseWithoutProof,
    CrashReleasesPending,
}

#[cfg(feature = "mutants")]
impl Mutant {
    pub const ALL: [Mutant; 23] = [
        Mutant::LeaseFromAnswer,
        Mutant::UnknownIsCommitted,
        Mutant::NoKillMargin,
        Mutant::GuardArmedFromStart,
        Mutant::DriftIgnored,
        Mutant::PendingIsDone,
        Mutant::FreeLockIsSafe,
        Mutant::MissingIsFree,
        Mutant::UnseenHolderForgotten,
        Mutant::PendingGrantsOwnLease,
        Mutant::FirstSightByMark,
        Mutant::MarkByBeatOnly,
        Mutant::ReleaseBeforeReaped,
        Mutant::DisarmBeforeGone,
        Mutant::ReleasedTooEarly,
        Mutant::HeadNotWaitedFor,
        Mutant::HeadNotBounded,
        Mutant::AcquireUnchecked,
        Mutant::StealUnchecked,
        Mutant::BeatUnchecked,
        Mutant::WallClock,
        Mutant::CrashReleaseWithoutProof,
        Mutant::CrashReleasesPending,
    ];

    /// What is wrong, in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Mutant::LeaseFromAnswer => "the lease is counted from the answer to a beat",
            Mutant::UnknownIsCommitted => "a beat without an answer counts as committed",
            Mutant::NoKillMargin => "the guard kills at the lease's end, not before it",
            Mutant::GuardArmedFromStart => "neard's start with the key begins a lease of its own",
            Mutant::DriftIgnored => "a candidate waits for the lease without ρ",
            Mutant::PendingIsDone => "a pending predecessor is not waited for",
            Mutant::FreeLockIsSafe => "a free lock is taken to mean that its holder is done",
            Mutant::MissingIsFree => "a missing key is taken to mean that nobody signs",
            Mutant::UnseenHolderForgotten => {
                "whoever wrote a missing key and lost it unseen is not waited for"
            }
            Mutant::PendingGrantsOwnLease => {
                "a pending record grants its writer's lease, not the longer one before it"
            }
            Mutant::FirstSightByMark => "a record that was written again counts as seen before",
            Mutant::MarkByBeatOnly => "records are told apart by their beat alone",
            Mutant::ReleaseBeforeReaped => "the lock is given back while neard is still stopping",
            Mutant::DisarmBeforeGone => {
                "the guard is disarmed when neard is told to unload the key, not when it has"
            }
            Mutant::ReleasedTooEarly => {
                "a holder that never had the key says \"released\" while its predecessor may sign"
            }
            Mutant::HeadNotWaitedFor => "a successor does not wait for its predecessor's head",
            Mutant::HeadNotBounded => "the last head known is given out as the last one signed at",
            Mutant::AcquireUnchecked => "taking a free lock does not check the entry's index",
            Mutant::StealUnchecked => "stealing the lock does not check the entry's index",
            Mutant::BeatUnchecked => "a beat does not check the entry's index",
            Mutant::WallClock => "leases run by the wall clock, which is stepped back",
            Mutant::CrashReleaseWithoutProof => {
                "after a crash the lock is given back before neard is reaped"
            }
            Mutant::CrashReleasesPending => {
                "after a crash a record is \"released\" that never became active"
            }
        }
    }
}

/// The name in kebab case, as the proofs' command lines take it.
#[cfg(feature = "mutants")]
impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, letter) in format!("{self:?}").char_indices() {
            if position > 0 && letter.is_uppercase() {
                f.write_str("-")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

#[cfg(feature = "mutants")]
impl std::str::FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Mutant::ALL.into_iter().find(|mutant| mutant.to_string() == name);
        found.ok_or_else(|| {
            let all: Vec<String> = Mutant::ALL.iter().map(Mutant::to_string).collect();
            format!("no such mutant; there are {}", all.join(", "))
        })
    }
}

impl Settings {
    /// Whether this rule is to be broken.
    #[cfg(feature = "mutants")]
    pub fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub(super) const fn has(&self, _: Mutant) -> bool {
        false
    }
}

/// When a candidate with a defect takes the predecessor to be done.
pub(super) fn safe_at(settings: &Settings, view: &View, known: Duration) -> Option<Time> {
    let state = view.record().map(|record| record.state);
    let first_seen = view.first_seen();
    let at_once = settings.has(Mutant::PendingIsDone) && state == Some(RecordState::Pending)
        || settings.has(Mutant::FreeLockIsSafe) && view.session().is_none()
        || settings.has(Mutant::MissingIsFree) && view.index().is_none();
    if at_once {
        return Some(first_seen);
    }
    if settings.has(Mutant::DriftIgnored) && state != Some(RecordState::Released) {
        return Some(first_seen + view.granted(known)?);
    }
    None
}

/// What a holder with a defect makes of the answer to its write.
pub(super) fn outcome(settings: &Settings, outcome: Outcome, index: u64) -> Outcome {
    match outcome {
        Outcome::Unknown(_) if settings.has(Mutant::UnknownIsCommitted) => {
            Outcome::Committed(index)
        }
        other => other,
    }
}
