//! Holding the lock: renewing the lease, promoting neard, giving the lock back.

use std::time::Duration;

use super::{Machine, RETRY};
use crate::election::mutant::{self, Mutant};
use crate::election::neard::{Key, Process};
use crate::election::record::bound_on_head;
use crate::election::takeover;
use crate::election::tenure::Signed;
use crate::election::{
    Action, Entry, Lease, Notice, Outcome, Record, Refusal, Seen, Step, Time, Write,
};

impl Machine {
    pub(super) fn holder_timeouts(&self) -> Vec<Option<Time>> {
        let Some(tenure) = &self.tenure else { return Vec::new() };
        let step = match tenure.step {
            Step::Waiting => vec![tenure.safe_at, tenure.head.until, tenure.head.told_until]
                .into_iter()
                .map(Some)
                .collect(),
            Step::Promoting { since } => {
                vec![Some(since + self.settings.promotion_timeout), Some(tenure.lease.expires())]
            }
            Step::Releasing => vec![Some(tenure.lease.expires())],
            Step::Active | Step::Suspending | Step::Draining => Vec::new(),
        };
        step.into_iter().chain([Some(tenure.next_write)]).collect()
    }

    pub(super) fn drive_holder(&mut self, out: &mut Vec<Action>) {
        self.advance_promotion(out);
        self.abandon_late_release();
        let Some(tenure) = &mut self.tenure else { return };
        if self.request.is_some() || self.now < tenure.next_write {
            return;
        }
        if tenure.must_read {
            self.send_read(out);
            return;
        }
        let (index, session) = (tenure.index, tenure.session.clone());
        let write = match tenure.step {
            Step::Releasing => {
                // A dead neard's last block is not known, only how far it can have come.
                let bound = self
                    .neard
                    .synced_head
                    .map_or(u64::MAX, |(asked, head)| bound_on_head(self.now.since(asked), head));
                let bound = (!self.settings.has(Mutant::HeadNotBounded)).then_some(bound);
                let early = self.settings.has(Mutant::ReleasedTooEarly);
                let now = if early { self.now.max(tenure.safe_at) } else { self.now };
                Write::Release { index, session, record: tenure.release_record(now, bound) }
            }
            // It is dead or dying and cannot sign: if its death is never reported, the lease's
            // end lets a successor in.
            Step::Draining if matches!(self.neard.process, Process::Stopping { kill_at: None }) => {
                return;
            }
            Step::Waiting
            | Step::Promoting { .. }
            | Step::Active
            | Step::Suspending
            | Step::Draining => {
                let own = self.settings.lease_ms();
                let head = self.neard.head().filter(|_| self.neard.in_sync());
                let record = tenure.beat_record(own, head);
                tenure.next_write = self.now + self.settings.beat_interval();
                Write::Beat { index, session, record }
            }
        };
        self.send_write(write, None, out);
    }

    fn advance_promotion(&mut self, out: &mut Vec<Action>) {
        let Some(tenure) = &self.tenure else { return };
        match tenure.step {
            Step::Waiting if !self.neard.in_sync() => self.release(takeover::NOT_IN_SYNC),
            Step::Waiting => {
                let safe_at = tenure.safe_at;
                let may = self.neard.is_eligible()
                    && self.now >= safe_at
                    && tenure.head.is_met(self.now, self.neard.head())
                    && tenure.lease.remaining(self.now) >= self.settings.lease / 2
                    && (self.neard.is_settled(self.now) || !self.can_swap());
                if may {
                    self.promote(out);
                } else if self.now >= safe_at {
                    self.neard.hurry(self.now);
                }
            }
            Step::Promoting { .. } if self.neard.is_down() && !tenure.lease.covers(self.now) => {
                self.release("the lease ended before neard could be started with the key");
            }
            Step::Promoting { since } if self.now >= since + self.settings.promotion_timeout => {
                self.drain("neard did not confirm the validator key in time", out);
            }
            Step::Active if self.neard.out_of_sync_for(self.now) > self.sync_patience() => {
                self.drain(takeover::NOT_IN_SYNC, out);
            }
            Step::Promoting { .. }
            | Step::Active
            | Step::Suspending
            | Step::Draining
            | Step::Releasing => {}
        }
    }

    /// A neard that has just been restarted looks for its peers first: to give the key away for
    /// that would only have the next one look for its own.
    fn sync_patience(&self) -> Duration {
        if self.neard.was_in_sync {
            self.settings.sync_patience
        } else {
            self.settings.promotion_timeout
        }
    }

    fn promote(&mut self, out: &mut Vec<Action>) {
        let Some(tenure) = &mut self.tenure else { return };
        tenure.step = Step::Promoting { since: self.now };
        tenure.signed = Signed::Unknown;
        if self.can_swap() {
            self.load_key(out);
        } else {
            self.promote_by_restart(out);
        }
    }

    pub(super) fn promote_by_restart(&mut self, out: &mut Vec<Action>) {
        let Some(tenure) = &self.tenure else { return };
        let text = format!("restarting neard with the validator key, term {}", tenure.term());
        out.push(Action::Log(Notice::Info(text)));
        self.terminate_neard(self.settings.promotion_stop_timeout, out);
    }

    /// Takes the key from neard or stops it; the lock is given back once it cannot sign any more,
    /// or at once if it has no key yet.
    pub(super) fn drain(&mut self, why: &str, out: &mut Vec<Action>) {
        let Some(tenure) = self.tenure.as_mut().filter(|tenure| tenure.is_promoted()) else {
            return;
        };
        if !self.neard.keyed() {
            self.release(why);
            return;
        }
        out.push(Action::Log(Notice::Info(format!("giving the validator key back: {why}"))));
        tenure.step = Step::Draining;
        why.clone_into(&mut tenure.release_reason);
        if self.settings.has(Mutant::ReleaseBeforeReaped) {
            tenure.release(why.to_owned(), self.now);
        }
        match self.neard.key {
            Key::In if self.can_swap() && self.neard.is_settled(self.now) => self.unload_key(out),
            Key::Unloading { .. } => {}
            // A key that was not confirmed may be loaded late: only death undoes that.
            Key::In | Key::Loading { .. } | Key::Out => {
                self.terminate_neard(self.settings.stop_timeout, out);
            }
        }
    }

    /// Gives the lock back; neard has no key.
    pub(super) fn release(&mut self, why: &str) {
        if let Some(tenure) = &mut self.tenure
            && !self.neard.keyed()
            && tenure.step != Step::Releasing
        {
            tenure.release(why.to_owned(), self.now);
        }
    }

    /// The lock is gone: neard must not sign any more.
    pub(super) fn lose(&mut self, why: &str, out: &mut Vec<Action>) {
        if self.tenure.take().is_none() {
            return;
        }
        out.push(Action::Log(Notice::Error(format!("lost the lock: {why}"))));
        if self.neard.keyed() && !self.neard.is_down() {
            self.kill_neard(out);
        }
    }

    fn released(&mut self, out: &mut Vec<Action>) {
        if let Some(tenure) = self.tenure.take() {
            let text = format!("released the lock: {}", tenure.release_reason);
            out.push(Action::Log(Notice::Info(text)));
        }
    }

    /// Past the lease's end others help themselves.
    fn abandon_late_release(&mut self) {
        let now = self.now;
        self.tenure.take_if(|tenure| tenure.step == Step::Releasing && !tenure.lease.covers(now));
    }

    pub(super) fn holder_write_answered(
        &mut self,
        write: Write,
        sent: Time,
        outcome: Outcome,
        out: &mut Vec<Action>,
    ) {
        let Some(tenure) = &mut self.tenure else { return };
        let sent = if self.settings.has(Mutant::LeaseFromAnswer) { self.now } else { sent };
        let outcome = mutant::outcome(&self.settings, outcome, tenure.index);
        if write.record().instance != tenure.record.instance || write.record().term != tenure.term()
        {
            return;
        }
        match outcome {
            Outcome::Committed(index) => {
                tenure.index = index;
                if let Write::Release { .. } = write {
                    self.released(out);
                    return;
                }
                tenure.record = write.record().clone();
                tenure.lease = Lease::from_send(sent, self.settings.lease);
                self.arm(out);
            }
            Outcome::Refused(Refusal::LockLost, why) => self.lose(&why, out),
            Outcome::Refused(Refusal::Conflict | Refusal::LockDelay, _) => {
                tenure.must_read = true;
                tenure.next_write = self.now;
            }
            Outcome::Refused(Refusal::NotAllowed, _) | Outcome::Unknown(_) => {
                tenure.must_read = true;
                tenure.next_write = self.now + RETRY;
            }
        }
    }

    /// Our own write may have come through late; or the entry was damaged, which the next beat
    /// mends. Anything else is somebody else's.
    pub(super) fn holder_read(&mut self, seen: Seen, out: &mut Vec<Action>) {
        let Some(tenure) = &mut self.tenure else { return };
        // An older term of ours under our lock is a restored or a rewritten record.
        let is_ours = |record: &Record| {
            record.instance == tenure.record.instance && record.term <= tenure.term()
        };
        match seen {
            Seen::Entry(Entry { session: None, content, .. })
                if tenure.step == Step::Releasing && content.record().is_some_and(is_ours) =>
            {
                self.released(out);
            }
            Seen::Entry(Entry { index, session: Some(session), content })
                if session == tenure.session && content.record().is_none_or(is_ours) =>
            {
                tenure.index = index;
                if let Some(record) = content.record() {
                    tenure.record.beat = tenure.record.beat.max(record.beat);
                }
                tenure.must_read = false;
                tenure.next_write = self.now;
            }
            Seen::Missing => self.lose("the election key was deleted", out),
            Seen::Entry(_) => self.lose("the election key was taken or overwritten", out),
        }
    }

    fn arm(&mut self, out: &mut Vec<Action>) {
        let Some(tenure) = &self.tenure else { return };
        let kill_at = tenure.kill_at(self.settings.guard_margin());
        if self.neard.keyed() && self.armed.is_none_or(|armed| armed < kill_at) {
            self.armed = Some(kill_at);
            out.push(Action::ArmGuard(kill_at));
        }
    }
}
