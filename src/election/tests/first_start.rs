//! From nothing to standing by, and taking a key that nobody has ever held.

use super::harness::*;
use crate::election::{Action, Event, RecordState, Role, Seen, SignKey, State, Write};

#[test]
fn a_new_node_starts_neard_without_the_key_and_watches() {
    let mut node = Node::new();
    assert_eq!(
        node.all(0, Event::Tick),
        [Action::StartNeard(Role::Standby), Action::AskStatus { id: 1 }, Action::Watch(true)]
    );
    assert_eq!(node.machine.state(), State::Startup);
}

#[test]
fn a_session_is_created_once_neard_is_in_sync() {
    let mut node = Node::new();
    node.tick(0);
    let syncing = Ok(crate::election::NeardStatus {
        syncing: true,
        head: 5,
        key: SignKey::None,
        made_up_to: None,
    });
    assert_eq!(node.status(10, syncing), [changed(State::Startup, State::Syncing)]);
    node.tick(1_010);
    assert_eq!(
        node.status(1_020, in_sync(HEAD, SignKey::None)),
        [Action::CreateSession, changed(State::Syncing, State::Registering)]
    );
    assert_eq!(
        node.on(1_030, Event::SessionCreated(Ok(own()))),
        [changed(State::Registering, State::Voting)]
    );
}

#[test]
fn a_missing_key_is_taken_as_pending_once_the_longest_published_lease_is_known() {
    let mut node = Node::standby();
    assert_eq!(node.watched(0, Seen::Missing), [Action::ReadLeases]);

    let actions = node.on(30, Event::Leases(Ok(Some(ms(8_000)))));
    let mut pending = own_record(1, 0, RecordState::Pending);
    pending.head = 0;
    pending.lease_ms = 8_000;
    pending.reason = "the election key was missing or unreadable".to_owned();
    let write = Write::Acquire { index: None, session: own(), record: pending };
    assert_eq!(actions, [Action::Commit { id: 1, write }]);
}

#[test]
fn an_unseen_holder_is_waited_for_from_the_commit_on() {
    let mut node = Node::standby();
    node.watched(0, Seen::Missing);
    node.on(30, Event::Leases(Ok(Some(ms(8_000)))));
    node.written(40, crate::election::Outcome::Committed(10));
    let mut index = 10;
    // A record may have come and gone between the first sight and the commit, which was no later
    // than its answer: 8 s × 1.01 from there.
    for now in (1_030..8_120).step_by(1_000) {
        node.tick(now);
        index += 1;
        let actions = node.written(now, crate::election::Outcome::Committed(index));
        assert_eq!(actions, [], "{now} ms");
    }
    assert_eq!(node.tick(8_119), []);
    assert_eq!(node.tick(8_120), [Action::TerminateNeard]);
}

#[test]
fn with_no_published_lease_the_own_one_counts() {
    let mut node = Node::standby();
    node.watched(0, Seen::Missing);
    let actions = node.on(0, Event::Leases(Ok(None)));
    assert_eq!(Node::write_of(&actions).record().lease_ms, LEASE_MS);
}

#[test]
fn a_published_lease_that_no_node_can_have_keeps_nobody_waiting_for_years() {
    let mut node = Node::standby();
    node.watched(0, Seen::Missing);
    let actions = node.on(0, Event::Leases(Ok(Some(ms(u64::MAX)))));
    assert_eq!(Node::write_of(&actions).record().lease_ms, 60_000);
}

#[test]
fn published_leases_that_cannot_be_read_are_asked_for_again() {
    let mut node = Node::standby();
    node.watched(0, Seen::Missing);
    assert_eq!(node.on(10, Event::Leases(Err("no answer".to_owned()))), []);
    assert_eq!(node.tick(1_009), []);
    assert_eq!(node.tick(1_010), [Action::ReadLeases]);
}

#[test]
fn an_unreadable_record_under_lock_is_an_unknown_holder() {
    let mut node = Node::standby();
    assert_eq!(node.watched(0, garbage(30, Some(&session("other")))), [Action::ReadLeases]);
    assert_eq!(node.on(10, Event::Leases(Ok(Some(ms(LEASE_MS))))), []);
    assert_eq!(node.tick(SAFE_MS - 1), []);
    let actions = node.tick(SAFE_MS);
    assert!(matches!(Node::write_of(&actions), Write::Steal { index: 30, .. }), "{actions:?}");
}
