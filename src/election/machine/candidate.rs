//! Standing by: watching the key, and taking the lock when it is free or its holder is done.

use std::time::Duration;

use super::{Claim, Complaint, Finding, Machine, RETRY, SLOW_RETRY};
use crate::election::lease::{done_at, millis};
use crate::election::mutant::{self, Mutant};
use crate::election::settings::MAX_LOCK_DELAY;
use crate::election::tenure::{HeadRule, Signed, Tenure};
use crate::election::view::View;
use crate::election::{
    Action, Duties, Entry, Lease, Notice, Outcome, Record, RecordState, Refusal, Seen, SessionId,
    Step, Time, Write,
};

/// How long the node that an operator chose is left alone with a released key.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(2);
/// How long everybody else is, before the node that released it takes it back.
const OWN_RELEASE_WAIT: Duration = Duration::from_secs(3);

impl Machine {
    pub(super) fn candidate_timeouts(&self) -> Vec<Option<Time>> {
        if self.tenure.is_some() {
            return Vec::new();
        }
        let Some(view) = &self.view else { return vec![Some(self.retry_at)] };
        let ask_at = self.doppelganger.next_ask();
        vec![Some(self.retry_at), self.safe_at(view), self.gives_way_until(view), ask_at]
    }

    /// When every earlier holder is certainly done. `None`: not known yet.
    fn safe_at(&self, view: &View) -> Option<Time> {
        let known = self.past.longest_lease();
        let broken = mutant::safe_at(&self.settings, view, known);
        let safe_at = broken.or_else(|| view.safe_at(known))?;
        Some(safe_at.max(self.past.forgotten_until()))
    }

    pub(super) fn watched(&mut self, seen: Seen) {
        if self.tenure.is_some() || !self.watching {
            return;
        }
        match &mut self.view {
            Some(view) => view.observe(self.now, seen, &self.settings),
            None => self.view = Some(View::new(self.now, seen)),
        }
        if let Some(record) = self.view.as_ref().and_then(View::record) {
            self.doppelganger.observe(record.mark());
            self.highest_term = self.highest_term.max(record.term);
            self.past.observe(self.now, record);
        }
    }

    /// Asks the chain, once nobody can hold the key, whether it signs all the same.
    fn look_for_doppelganger(&mut self, out: &mut Vec<Action>) {
        let safe_at = self.view.as_ref().and_then(|view| self.safe_at(view));
        let Some(head) = self.neard.head() else { return };
        if safe_at.is_none_or(|at| self.now < at) {
            self.doppelganger.interrupt();
        } else if self.doppelganger.is_due(self.now, head) {
            out.push(Action::AskDuties);
        }
    }

    pub(super) fn duties(&mut self, result: Result<Option<Duties>, String>, out: &mut Vec<Action>) {
        let head = self.neard.head().unwrap_or_default();
        match self.doppelganger.answered(self.now, head, result) {
            Finding::Nothing => {}
            Finding::Found => {
                let text = "somebody signs with the validator key although no kneard holds it: \
                            this node does not take it; stop the neard that has it, or give this \
                            validator another key";
                out.push(Action::Log(Notice::Error(text.to_owned())));
            }
            Finding::Clear(why) => {
                let text = format!("the key may be taken: {why}");
                out.push(Action::Log(Notice::Info(text)));
            }
        }
    }

    pub(super) fn leases(
        &mut self,
        result: Result<Option<Duration>, String>,
        out: &mut Vec<Action>,
    ) {
        self.asking_leases = false;
        match result {
            Ok(longest) => {
                if let Some(view) = &mut self.view {
                    // A node that publishes more than it can be set to is wrong.
                    view.set_longest_lease(longest.unwrap_or_default().min(MAX_LOCK_DELAY));
                }
            }
            Err(why) => {
                self.retry_at = self.now + SLOW_RETRY;
                self.complain(Complaint::NoAnswer, why, out);
            }
        }
    }

    pub(super) fn drive_candidate(&mut self, out: &mut Vec<Action>) {
        if self.tenure.is_some()
            || self.stopping
            || self.request.is_some()
            || self.now < self.retry_at
        {
            return;
        }
        if self.must_refresh {
            self.send_read(out);
            return;
        }
        let (Some(view), Some(session)) = (&self.view, self.session.id()) else { return };
        if view.needs_leases() {
            if !self.asking_leases {
                self.asking_leases = true;
                out.push(Action::ReadLeases);
            }
            return;
        }
        if !self.may_stand(view)
            || self.is_held_back(view)
            || self.gives_way_until(view).is_some_and(|at| self.now < at)
        {
            return;
        }
        if !self.doppelganger.is_clear() {
            self.look_for_doppelganger(out);
            return;
        }
        if let Some((write, claim)) = self.claim(view, session.clone()) {
            self.claims_sent += 1;
            self.send_write(write, Some(claim), out);
        }
    }

    /// Until when a released key is another's to take: the node's that an operator chose, or
    /// anybody's but this one's, which has just given it back.
    fn gives_way_until(&self, view: &View) -> Option<Time> {
        let record = view.record().filter(|record| record.state == RecordState::Released)?;
        if record.instance == self.settings.instance {
            return Some(view.first_seen() + OWN_RELEASE_WAIT);
        }
        let chosen = record.successor.as_ref()?;
        (*chosen != self.settings.node_id).then(|| view.first_seen() + SUCCESSOR_WAIT)
    }

    /// neard is fit to take over from this record's writer. The wall clock has no say: a chain
    /// that has halted must be restartable.
    fn may_stand(&self, view: &View) -> bool {
        let record_head = view.record().map_or(0, |record| {
            // A bound may never be reached; its writer's real head is lower.
            if record.head_is_bound { 0 } else { record.head }
        });
        self.neard.is_eligible()
            && self
                .neard
                .head()
                .is_some_and(|head| head.saturating_add(self.settings.max_lag) >= record_head)
    }

    fn claim(&self, view: &View, session: SessionId) -> Option<(Write, Claim)> {
        let safe_at = self.safe_at(view)?;
        let is_safe = self.now >= safe_at;
        let (record, head) = self.claim_record(view, safe_at)?;
        let forgets = self.settings.has(Mutant::UnseenHolderForgotten)
            || self.settings.has(Mutant::MissingIsFree);
        let claim = Claim {
            sent: self.now,
            session: session.clone(),
            record: record.clone(),
            safe_at,
            unseen: (view.index().is_none() && !forgets).then(|| record.lease()),
            head,
        };
        let write = match (view.session(), view.index()) {
            (None, index) => Write::Acquire { index, session, record },
            (Some(from), Some(index)) if is_safe => {
                Write::Steal { index, from: from.clone(), session, record }
            }
            (Some(_), _) => return None,
        };
        Some((write, claim))
    }

    /// The first record of the next term. It passes on what the predecessor's record demands, in
    /// case this node ends before it has the key.
    fn claim_record(&self, view: &View, safe_at: Time) -> Option<(Record, HeadRule)> {
        let settings = &self.settings;
        let mut record = Record::pending(
            &settings.node_id,
            &settings.instance,
            &settings.hostname,
            self.highest_term.saturating_add(1),
        );
        let granted = view.granted(self.past.longest_lease())?;
        let previous = view.record();
        let released = previous.is_some_and(|record| record.state == RecordState::Released);
        // Until all are done others have to wait as long as this node.
        record.lease_ms = if settings.has(Mutant::PendingGrantsOwnLease) {
            settings.lease_ms()
        } else if self.now < self.past.forgotten_until() {
            millis(granted.max(self.past.longest_lease()))
        } else if released {
            settings.lease_ms()
        } else {
            settings.lease_ms().max(millis(granted))
        };
        record.head = previous.map_or(0, |record| record.head);
        record.head_is_bound = previous.is_some_and(|record| record.head_is_bound);
        // No two attempts write the same record: what is read later tells which one came through,
        // and so from which sending the lease counts.
        record.beat = self.claims_sent;
        record.reason = match previous {
            None => "the election key was missing or unreadable".to_owned(),
            Some(previous) if released => {
                format!("{} released the key: {}", previous.holder, previous.reason)
            }
            Some(previous) if view.session().is_none() => {
                format!("{} lost its session", previous.holder)
            }
            Some(previous) => format!("the lease of {} ended", previous.holder),
        };
        let patience = match previous {
            Some(previous) if previous.head_is_bound => settings.propagation_delay,
            _ => settings.head_wait,
        };
        let from = safe_at.max(view.first_seen());
        let mut head = HeadRule {
            height: record.head,
            until: from + patience,
            told: self.past.head(),
            told_until: from + settings.head_wait,
        };
        if settings.has(Mutant::HeadNotWaitedFor) {
            (head.height, head.told) = (0, 0);
        }
        Some((record, head))
    }

    pub(super) fn claim_answered(&mut self, claim: Claim, outcome: Outcome, out: &mut Vec<Action>) {
        match outcome {
            Outcome::Committed(index) => self.take_office(claim, index, out),
            Outcome::Refused(Refusal::Conflict, _) => {
                self.doubt_claim(claim);
                self.retry_at = self.now;
            }
            Outcome::Refused(Refusal::LockLost, _) => {
                // Another's lock, or our session is gone.
                self.doubt_session();
                self.doubt_claim(claim);
                self.retry_at = self.now + RETRY;
            }
            Outcome::Refused(Refusal::LockDelay, _) => self.retry_at = self.now + RETRY,
            Outcome::Refused(Refusal::NotAllowed, _) => self.retry_at = self.now + SLOW_RETRY,
            Outcome::Unknown(_) => {
                self.doubt_claim(claim);
                self.retry_at = self.now + RETRY;
            }
        }
    }

    /// Read before the next attempt. A refused request is doubted too: if it was doubled on its
    /// way, the copy that was not answered may have been the one that came through.
    fn doubt_claim(&mut self, claim: Claim) {
        self.unknown_claim = Some(claim);
        self.must_refresh = true;
    }

    pub(super) fn candidate_read(&mut self, seen: Seen, out: &mut Vec<Action>) {
        self.must_refresh = false;
        let claim = self.unknown_claim.take();
        if let (Some(claim), Seen::Entry(Entry { index, session: Some(session), content })) =
            (claim, &seen)
            && *session == claim.session
            && content.record().is_some_and(|record| record.mark() == claim.record.mark())
        {
            self.take_office(claim, *index, out);
            return;
        }
        self.watched(seen);
    }

    fn take_office(&mut self, claim: Claim, index: u64, out: &mut Vec<Action>) {
        if self.session.id() != Some(&claim.session) {
            // The lock went with the session that it was taken with.
            self.must_refresh = true;
            return;
        }
        let text = format!("took the lock, term {}: {}", claim.record.term, claim.record.reason);
        out.push(Action::Log(Notice::Info(text)));
        // The answer came no earlier than the commit, and the commit no earlier than the last beat
        // of a record that is gone.
        let unseen = claim.unseen.map(|lease| done_at(self.now, lease));
        let safe_at = unseen.map_or(claim.safe_at, |at| at.max(claim.safe_at));
        self.highest_term = self.highest_term.max(claim.record.term);
        self.past.observe(self.now, &claim.record);
        let sent = if self.settings.has(Mutant::LeaseFromAnswer) { self.now } else { claim.sent };
        self.tenure = Some(Tenure {
            session: claim.session,
            index,
            record: claim.record,
            lease: Lease::from_send(sent, self.settings.lease),
            safe_at,
            head: claim.head,
            next_write: claim.sent + self.settings.beat_interval(),
            must_read: false,
            step: Step::Waiting,
            signed: Signed::Nothing,
            release_reason: String::new(),
            successor: None,
        });
    }
}
