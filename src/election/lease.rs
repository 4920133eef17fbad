//! All arithmetic on leases. No other place adds a lease to an instant.

use std::time::Duration;

use super::Time;

/// ρ: by how much two hosts' clock *rates* may differ, in thousandths.
pub const MAX_DRIFT_PER_MILLE: u32 = 10;

/// The length that another host has to wait, by its own clock, to be sure that `length` has
/// passed by the clock of the host that measures it: `length × (1 + ρ)`, rounded up.
pub fn with_drift(length: Duration) -> Duration {
    let nanos = length.as_nanos();
    let extra = (nanos * u128::from(MAX_DRIFT_PER_MILLE)).div_ceil(1000);
    Duration::from_nanos(u64::try_from(nanos + extra).unwrap_or(u64::MAX))
}

/// For how long the holder may let neard sign after one successful write of the record.
///
/// Counted from the instant *before* the request was sent: the write was committed no earlier, so
/// whoever counts from its first sight of the record ends later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    sent: Time,
    length: Duration,
}

impl Lease {
    pub fn from_send(sent: Time, length: Duration) -> Self {
        Self { sent, length }
    }

    /// When others may take the key.
    pub fn expires(self) -> Time {
        self.sent + self.length
    }

    /// When the guard kills neard: early enough for a late guard to be in time.
    pub fn kill_at(self, kill_margin: Duration) -> Time {
        self.sent + self.length.saturating_sub(kill_margin)
    }

    /// What is left at `now`, zero once it has ended.
    pub fn remaining(self, now: Time) -> Duration {
        self.expires().since(now)
    }

    pub fn covers(self, now: Time) -> bool {
        now < self.expires()
    }
}

/// A length for the record: rounded up, so that nobody waits too short for its end.
pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// When a predecessor is certainly done, whose last record was first seen at `first_seen` and
/// grants `length`.
pub(super) fn done_at(first_seen: Time, length: Duration) -> Time {
    first_seen + with_drift(length)
}
