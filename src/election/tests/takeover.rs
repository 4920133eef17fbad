//! What the history is made of.

use super::harness::*;
use crate::election::{
    Chronicle, Event, Outcome, Record, RecordState, Seen, SignKey, Takeover, TakeoverKind,
};

/// A standby, and what its chronicle tells.
struct Observed {
    node: Node,
    chronicle: Chronicle,
}

impl Observed {
    fn new() -> Self {
        Observed { node: Node::standby(), chronicle: Chronicle::default() }
    }

    fn tell(&mut self, now: u64, event: Event) -> Option<Takeover> {
        self.node.on(now, event);
        self.chronicle.observe(at(now), &self.node.machine)
    }

    fn sees(&mut self, now: u64, seen: Seen) {
        assert_eq!(self.tell(now, Event::Watched(seen)), None);
    }

    /// From the sight that lets it claim the key until its neard has confirmed it, 700 ms later.
    fn takes_over(&mut self, now: u64) -> Takeover {
        let committed = Event::Written { id: self.node.request, outcome: Outcome::Committed(50) };
        assert_eq!(self.tell(now, committed), None);
        if self.node.machine.step() == Some(&crate::election::Step::Waiting) {
            self.tell(now + 500, Event::Tick);
        }
        assert_eq!(self.tell(now + 600, Event::NeardExited("as asked".to_owned())), None);
        let status = in_sync(HEAD, SignKey::Ours);
        let id = self.node.question;
        let told = self.tell(now + 700, Event::Status { id, result: status.clone() });
        self.tell(now + 700, Event::Tick);
        assert_eq!(self.tell(now + 701, Event::Tick), None, "told once");
        told.expect("it took over")
    }
}

fn released(reason: &str) -> Record {
    let mut record = record(7, 4, RecordState::Released);
    reason.clone_into(&mut record.reason);
    record
}

fn active() -> Seen {
    entry(INDEX, Some(&session("other")), &record(7, 3, RecordState::Active))
}

#[test]
fn a_release_tells_why_and_is_where_the_time_without_a_signer_begins() {
    for (reason, kind) in [
        ("switchover", TakeoverKind::Switchover),
        ("kneard is stopping", TakeoverKind::Shutdown),
        ("neard is not in sync", TakeoverKind::OutOfSync),
        ("neard is gone: signal 9", TakeoverKind::Failure),
        ("kneard died, neard was killed", TakeoverKind::Failure),
    ] {
        let mut observed = Observed::new();
        observed.sees(0, active());
        observed.sees(100, entry(INDEX + 1, None, &released(reason)));
        let told = observed.takes_over(110);
        assert_eq!(told.kind, kind, "{reason}");
        assert_eq!((told.term, told.from.as_deref()), (8, Some("node1")));
        assert_eq!(told.to, "node0");
        assert_eq!(told.reason, format!("node1 released the key: {reason}"));
        assert_eq!(told.without_signer, Some(ms(710)));
    }
}

#[test]
fn silence_counts_from_the_last_beat() {
    let mut observed = Observed::new();
    observed.sees(0, active());
    let beat = record(7, 4, RecordState::Active);
    observed.sees(1_000, entry(INDEX + 1, Some(&session("other")), &beat));
    observed.sees(1_500, entry(INDEX + 2, None, &beat));
    // Free, and not safe before its lease has ended.
    let safe = 1_500 + SAFE_MS;
    let committed = Event::Written { id: observed.node.request, outcome: Outcome::Committed(50) };
    observed.tell(1_510, committed);
    for now in [2_510, 3_510, 4_510, 5_510, 6_510, 7_510] {
        observed.tell(now, Event::Tick);
        let id = observed.node.request;
        observed.tell(now, Event::Written { id, outcome: Outcome::Committed(now) });
    }
    let id = observed.node.question;
    observed.tell(7_520, Event::Status { id, result: in_sync(HEAD, SignKey::None) });
    observed.tell(safe, Event::Tick);
    observed.tell(safe + 100, Event::NeardExited("as asked".to_owned()));
    let id = observed.node.question;
    let result = in_sync(HEAD, SignKey::Ours);
    let told = observed.tell(safe + 200, Event::Status { id, result }).expect("it took over");
    assert_eq!(told.kind, TakeoverKind::Silence);
    assert_eq!(told.without_signer, Some(ms(safe + 200 - 1_000)));
}

#[test]
fn who_only_claimed_the_key_has_not_signed() {
    let mut claim = record(8, 1, RecordState::Pending);
    "node2".clone_into(&mut claim.holder);
    let mut observed = Observed::new();
    observed.sees(0, active());
    observed.sees(1_000, entry(INDEX + 1, Some(&session("third")), &claim));
    claim.state = RecordState::Released;
    claim.beat = 2;
    "neard is not in sync".clone_into(&mut claim.reason);
    observed.sees(2_000, entry(INDEX + 2, None, &claim));
    let told = observed.takes_over(2_010);
    assert_eq!(told.from.as_deref(), Some("node1"));
    assert_eq!(told.kind, TakeoverKind::Silence, "node1 never said a word");
    assert_eq!(told.without_signer, Some(ms(2_710)));
}

#[test]
fn without_a_predecessor_nothing_is_made_up() {
    let mut observed = Observed::new();
    observed.sees(0, Seen::Missing);
    observed.tell(0, Event::Leases(Ok(None)));
    let id = observed.node.request;
    observed.tell(10, Event::Written { id, outcome: Outcome::Committed(50) });
    for now in [1_010, 2_010, 3_010, 4_010, 5_010, 6_010] {
        observed.tell(now, Event::Tick);
        let id = observed.node.request;
        observed.tell(now, Event::Written { id, outcome: Outcome::Committed(now) });
        let id = observed.node.question;
        observed.tell(now, Event::Status { id, result: in_sync(HEAD, SignKey::None) });
    }
    observed.tell(6_100, Event::Tick);
    observed.tell(6_200, Event::NeardExited("as asked".to_owned()));
    let id = observed.node.question;
    let result = in_sync(HEAD, SignKey::Ours);
    let told = observed.tell(6_300, Event::Status { id, result }).expect("it took over");
    assert_eq!((told.kind, told.from, told.without_signer), (TakeoverKind::First, None, None));
}
