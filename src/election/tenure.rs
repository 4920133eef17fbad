//! Holding the lock: the lease, what has to be waited for, and how far the promotion is.

use std::time::Duration;

use super::{Lease, Record, RecordState, SessionId, Time};

/// How far a holder has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The lock is held; the predecessor may not be done, or this node's head lags.
    Waiting,
    /// neard loads the key or is being restarted with it, and has not confirmed it yet.
    Promoting { since: Time },
    /// neard has confirmed the key.
    Active,
    /// The lease is nearly over and neard is to unload the key, so that the guard need not kill it.
    /// When it has, this node waits for a renewal or a successor.
    Suspending,
    /// neard unloads the key or is being stopped; the lease is renewed until it cannot sign.
    Draining,
    /// neard has no key (any more); the lock is being given back.
    Releasing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tenure {
    pub session: SessionId,
    /// ModifyIndex of our last write, which the next one checks.
    pub index: u64,
    /// Our last record.
    pub record: Record,
    /// From the last write that certainly succeeded.
    pub lease: Lease,
    /// When everyone before us is certainly done.
    pub safe_at: Time,
    pub head: HeadRule,
    pub next_write: Time,
    /// What the last write did is unknown, or it was refused: read before writing again.
    pub must_read: bool,
    pub step: Step,
    pub signed: Signed,
    /// Why the lock is given back.
    pub release_reason: String,
    /// Who is to take over then.
    pub successor: Option<String>,
}

/// What neard can have signed in this tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Signed {
    /// Nothing: it was not given the key.
    Nothing,
    /// Whatever its head allows; it has the key, or had it when it died.
    Unknown,
    /// Nothing above this height, which it told after it had unloaded the key: its head, or a bound
    /// on the block that it made last.
    UpTo { height: u64, is_bound: bool },
}

/// Not before our head has reached the predecessor's last one, so that nothing is signed twice,
/// but not for ever either: a block that nobody else has got cannot be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HeadRule {
    pub height: u64,
    pub until: Time,
    /// A head that some holder had: below a bound that may never be reached, and waited for longer.
    pub told: u64,
    pub told_until: Time,
}

impl HeadRule {
    pub fn is_met(&self, now: Time, head: Option<u64>) -> bool {
        let reached = |height| head.is_some_and(|head| head >= height);
        (reached(self.height) || now >= self.until)
            && (reached(self.told) || now >= self.told_until)
    }
}

impl Tenure {
    pub fn term(&self) -> u64 {
        self.record.term
    }

    /// Starts to give the lock back. The caller has made sure that neard has no key.
    pub fn release(&mut self, why: String, now: Time) {
        self.step = Step::Releasing;
        if self.release_reason.is_empty() {
            self.release_reason = why;
        }
        self.next_write = now;
    }

    /// neard was or is being given the key.
    pub fn is_promoted(&self) -> bool {
        matches!(self.step, Step::Promoting { .. } | Step::Active | Step::Suspending)
    }

    /// The next renewal's record. `head`: neard's, if it is the chain's too.
    pub fn beat_record(&self, own_lease_ms: u64, head: Option<u64>) -> Record {
        let mut record = self.record.next();
        if self.step == Step::Active {
            record.state = RecordState::Active;
            record.lease_ms = own_lease_ms;
            record.head = head.unwrap_or(record.head);
            record.head_is_bound = head.is_none();
        }
        record
    }

    /// The record that gives the lock back. It says "released", which lets the successor in at
    /// once, only when nobody before us can sign either; otherwise the successor has to wait as
    /// we would have had to. `bound`: how high a neard can have signed that died with the key.
    pub fn release_record(&self, now: Time, bound: Option<u64>) -> Record {
        let mut record = self.record.next();
        record.reason.clone_from(&self.release_reason);
        if now >= self.safe_at {
            record.state = RecordState::Released;
        }
        let signed = match self.signed {
            Signed::Nothing => None,
            Signed::Unknown => bound.map(|bound| (bound, true)),
            Signed::UpTo { height, is_bound } => Some((height, is_bound)),
        };
        if let Some((head, is_bound)) = signed
            && head >= record.head
        {
            record.head = head;
            record.head_is_bound = is_bound;
        }
        record.successor.clone_from(&self.successor);
        record
    }

    /// The guard's deadline by the newest lease.
    pub fn kill_at(&self, kill_margin: Duration) -> Time {
        self.lease.kill_at(kill_margin)
    }
}
