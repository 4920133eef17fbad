//! Taking the lock: when, with which transaction, and what a refusal means.

use super::harness::*;
use crate::election::{
    Action, Event, NeardStatus, Outcome, RecordState, Refusal, Seen, SignKey, State, Step, Write,
};

/// The first record of the next term after [`Node::voting`]'s.
fn claim(reason: &str) -> crate::election::Record {
    let mut pending = own_record(8, 0, RecordState::Pending);
    pending.reason = reason.to_owned();
    pending
}

fn take(index: u64, reason: &str) -> Write {
    Write::Acquire { index: Some(index), session: own(), record: claim(reason) }
}

#[test]
fn a_lock_that_its_holder_beats_is_left_alone() {
    let mut node = Node::voting();
    for beat in 4..20 {
        let now = beat * 1_000;
        let seen =
            entry(INDEX + beat, Some(&session("other")), &record(7, beat, RecordState::Active));
        assert_eq!(node.watched(now, seen), []);
        assert_eq!(node.tick(now + 999), []);
    }
}

#[test]
fn a_free_lock_is_taken_at_once_as_pending() {
    let mut node = Node::voting();
    let actions = node.watched(900, entry(41, None, &record(7, 3, RecordState::Active)));
    assert_eq!(actions, [Action::Commit { id: 1, write: take(41, "node1 lost its session") }]);
}

#[test]
fn a_free_lock_taken_before_safe_is_beaten_as_pending_and_neard_has_no_key() {
    let mut node = Node::voting();
    node.watched(900, entry(41, None, &record(7, 3, RecordState::Active)));
    assert_eq!(node.written(910, Outcome::Committed(42)), [Action::Watch(false)]);
    assert_eq!(node.machine.step(), Some(&Step::Waiting));
    assert_eq!(node.machine.state(), State::Voting);
    let mut pending = claim("node1 lost its session");
    let mut index = 42;
    // The first beat is counted from the claim's sending.
    for now in (1_900..900 + SAFE_MS).step_by(1_000) {
        pending.beat += 1;
        let write = Write::Beat { index, session: own(), record: pending.clone() };
        assert_eq!(node.tick(now - 1), []);
        assert_eq!(node.tick(now), [Action::Commit { id: node.request, write }]);
        index += 1;
        assert_eq!(node.written(now + 5, Outcome::Committed(index)), []);
        assert!(!node.machine.may_sign());
    }
    assert_eq!(node.tick(900 + SAFE_MS - 1), []);
    assert_eq!(node.tick(900 + SAFE_MS), [Action::TerminateNeard]);
}

#[test]
fn a_released_lock_needs_no_wait() {
    let mut node = Node::voting();
    let mut released = record(7, 4, RecordState::Released);
    released.reason = "kneard is stopping".to_owned();
    let actions = node.watched(900, entry(41, None, &released));
    let write = take(41, "node1 released the key: kneard is stopping");
    assert_eq!(actions, [Action::Commit { id: 1, write }]);
    assert_eq!(
        node.written(905, Outcome::Committed(42)),
        [Action::TerminateNeard, Action::Watch(false)]
    );
}

#[test]
fn a_lock_is_stolen_only_past_safe_and_with_the_last_entry_seen() {
    let mut node = Node::voting();
    assert_eq!(node.machine.next_timeout(), Some(at(100)), "the next status");
    assert_eq!(node.tick(SAFE_MS - 1), []);
    let write = Write::Steal {
        index: INDEX,
        from: session("other"),
        session: own(),
        record: claim("the lease of node1 ended"),
    };
    assert_eq!(node.tick(SAFE_MS), [Action::Commit { id: 1, write }]);
    assert_eq!(
        node.written(SAFE_MS + 5, Outcome::Committed(60)),
        [Action::TerminateNeard, Action::Watch(false)]
    );
}

#[test]
fn the_steal_waits_for_the_records_lease_not_for_the_own_one() {
    let mut node = Node::standby();
    let mut longer = record(7, 3, RecordState::Active);
    longer.lease_ms = 20_000;
    node.watched(0, entry(INDEX, Some(&session("other")), &longer));
    assert_eq!(node.tick(20_199), []);
    let actions = node.tick(20_200);
    assert!(matches!(Node::write_of(&actions), Write::Steal { .. }));
    assert_eq!(Node::write_of(&actions).record().lease_ms, 20_000, "passed on while pending");
}

#[test]
fn a_beat_that_slips_in_before_the_claim_makes_the_wait_start_anew() {
    let mut node = Node::voting();
    node.tick(SAFE_MS);
    let read = node.written(SAFE_MS + 5, refused(Refusal::Conflict));
    assert_eq!(read, [Action::ReadKey { id: 2 }]);
    let seen = entry(41, Some(&session("other")), &record(7, 4, RecordState::Active));
    assert_eq!(node.read(SAFE_MS + 10, seen), []);
    assert_eq!(node.tick(SAFE_MS + 10 + SAFE_MS - 1), []);
    let actions = node.tick(SAFE_MS + 10 + SAFE_MS);
    assert!(matches!(Node::write_of(&actions), Write::Steal { index: 41, .. }));
}

#[test]
fn an_unknown_claim_is_read_before_anything_is_written() {
    let mut node = Node::voting();
    node.tick(SAFE_MS);
    assert_eq!(node.written(6_500, unknown()), []);
    assert_eq!(node.tick(6_599), []);
    assert_eq!(node.tick(6_600), [Action::ReadKey { id: 2 }]);
    assert_eq!(node.read_failed(6_700), []);
    assert_eq!(node.tick(6_800), [Action::ReadKey { id: 3 }]);
}

#[test]
fn an_unknown_claim_that_came_through_is_adopted_with_the_lease_of_its_sending() {
    let mut node = Node::voting();
    let claim = node.tick(SAFE_MS);
    let record = Node::write_of(&claim).record().clone();
    node.written(6_500, unknown());
    node.tick(6_600);
    assert_eq!(
        node.read(6_610, entry(60, Some(&own()), &record)),
        [Action::TerminateNeard, Action::Watch(false)]
    );
    assert_eq!(node.machine.lease_expires(), Some(at(SAFE_MS + LEASE_MS)));
}

#[test]
fn an_unknown_claim_that_did_not_come_through_is_tried_again() {
    let mut node = Node::voting();
    node.tick(SAFE_MS);
    node.written(6_500, unknown());
    node.tick(6_600);
    let same = entry(INDEX, Some(&session("other")), &record(7, 3, RecordState::Active));
    let actions = node.read(6_610, same);
    assert!(matches!(Node::write_of(&actions), Write::Steal { index: INDEX, .. }), "{actions:?}");
}

#[test]
fn the_second_try_of_a_claim_cannot_be_taken_for_the_first() {
    // The first one may still be under way. If its late commit were taken for the second one's,
    // the lease would be counted from after the commit.
    let mut node = Node::voting();
    let first = Node::write_of(&node.tick(SAFE_MS)).record().clone();
    node.written(6_500, unknown());
    node.tick(6_600);
    let same = entry(INDEX, Some(&session("other")), &record(7, 3, RecordState::Active));
    let second = Node::write_of(&node.read(8_000, same)).record().clone();
    assert_ne!(first.mark(), second.mark());

    node.written(8_500, unknown());
    node.tick(8_600);
    node.read(8_610, entry(60, Some(&own()), &first));
    assert_eq!(node.machine.step(), None, "it is not this node's by what it knows");
}

#[test]
fn a_refused_claim_that_had_come_through_before_is_adopted() {
    // The request was repeated on its way: the first copy was committed, the second refused.
    let mut node = Node::voting();
    let claim = Node::write_of(&node.tick(SAFE_MS)).record().clone();
    assert_eq!(node.written(6_070, refused(Refusal::Conflict)), [Action::ReadKey { id: 2 }]);
    assert_eq!(
        node.read(6_080, entry(60, Some(&own()), &claim)),
        [Action::TerminateNeard, Action::Watch(false)]
    );
    assert_eq!(node.machine.lease_expires(), Some(at(SAFE_MS + LEASE_MS)));
}

#[test]
fn a_claim_of_a_session_that_is_gone_is_worth_nothing() {
    let mut node = Node::voting();
    node.tick(SAFE_MS);
    let claim = node.request;
    assert_eq!(
        node.on(6_100, Event::SessionRenewed(Ok(false))),
        [Action::CreateSession, changed(State::Voting, State::Registering)]
    );
    node.on(6_110, Event::SessionCreated(Ok(session("new"))));
    let actions = node.on(6_120, Event::Written { id: claim, outcome: Outcome::Committed(60) });
    assert_eq!(actions, [Action::ReadKey { id: 2 }], "and what was seen is out of date");
    assert_eq!(node.machine.step(), None);
}

#[test]
fn consuls_lock_delay_is_sat_out_in_short_steps() {
    let mut node = Node::voting();
    let free = entry(41, None, &record(7, 3, RecordState::Active));
    node.watched(900, free);
    assert_eq!(node.written(910, refused(Refusal::LockDelay)), []);
    assert_eq!(node.tick(1_009), []);
    let mut write = take(41, "node1 lost its session");
    // No two attempts are alike, see the_second_try_of_a_claim_cannot_be_taken_for_the_first.
    write.record_mut().beat = 1;
    assert_eq!(node.tick(1_010), [Action::Commit { id: 2, write }]);
}

#[test]
fn a_lock_that_is_lost_to_another_makes_the_own_session_doubtful() {
    let mut node = Node::voting();
    node.watched(900, entry(41, None, &record(7, 3, RecordState::Active)));
    let id = node.request;
    let outcome = refused(Refusal::LockLost);
    assert_eq!(node.all(910, Event::Written { id, outcome }), [Action::RenewSession(own())]);
    assert_eq!(node.tick(1_010), [Action::ReadKey { id: 2 }]);
}

#[test]
fn a_claim_that_is_not_allowed_is_repeated_slowly_and_logged_once() {
    let mut node = Node::voting();
    node.watched(900, entry(41, None, &record(7, 3, RecordState::Active)));
    assert_eq!(node.written(910, refused(Refusal::NotAllowed)), []);
    assert_eq!(node.tick(1_909), []);
    assert_eq!(node.tick(1_910).len(), 1);
    node.written(1_920, refused(Refusal::NotAllowed));
    assert_eq!(node.log.iter().filter(|notice| notice.to_string() == "refused").count(), 1);
}

#[test]
fn a_node_that_does_not_answer_or_lags_does_not_stand() {
    let free = |head| {
        let mut record = record(7, 3, RecordState::Released);
        record.head = head;
        entry(41, None, &record)
    };
    let mut node = Node::voting();
    assert_eq!(node.watched(10, free(HEAD + 11)), [], "11 blocks behind");
    assert_eq!(node.watched(20, free(HEAD + 10)).len(), 1, "10 blocks behind");

    let mut node = Node::voting();
    node.tick(100);
    node.status(110, Err("no answer".to_owned()));
    assert_eq!(node.watched(120, free(HEAD)), []);
    node.tick(1_100);
    assert_eq!(node.status(1_110, in_sync(HEAD, SignKey::None)).len(), 1);

    let mut node = Node::voting();
    node.tick(100);
    let syncing =
        Ok(NeardStatus { syncing: true, head: HEAD, key: SignKey::None, made_up_to: None });
    assert_eq!(node.status(110, syncing), [changed(State::Voting, State::Syncing)]);
    assert_eq!(node.watched(120, free(HEAD)), []);
}

#[test]
fn a_bound_on_a_dead_predecessors_head_keeps_nobody_from_standing() {
    let mut node = Node::voting();
    let mut released = record(7, 4, RecordState::Released);
    released.head = HEAD + 1_000;
    released.head_is_bound = true;
    assert_eq!(node.watched(10, entry(41, None, &released)).len(), 1);
}

#[test]
fn a_late_or_repeated_answer_changes_nothing() {
    let mut node = Node::voting();
    node.tick(SAFE_MS);
    node.written(6_070, refused(Refusal::Conflict));
    let (before, read) = (node.machine.clone(), node.request);
    let late = Event::Written { id: read - 1, outcome: Outcome::Committed(99) };
    assert_eq!(node.on(6_070, late), []);
    assert_eq!(node.machine, before);
    let wrong = Event::Read { id: read + 1, result: Ok(Seen::Missing) };
    assert_eq!(node.on(6_070, wrong), []);
    assert_eq!(node.machine, before);
}
