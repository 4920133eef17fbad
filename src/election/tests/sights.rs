//! First sights: from when on an earlier holder's lease is counted.

use super::harness::*;
use crate::election::{Action, Event, Outcome, Record, RecordState, Seen, Write};

fn other() -> crate::election::SessionId {
    session("other")
}

/// When the lock of `node`, locked by another, is stolen, trying every 10 ms from `from` on.
fn stolen_at(node: &mut Node, from: u64) -> u64 {
    let mut now = from;
    loop {
        let actions = node.tick(now);
        if actions
            .iter()
            .any(|action| matches!(action, Action::Commit { write: Write::Steal { .. }, .. }))
        {
            return now;
        }
        now += 10;
        assert!(now < from + 100_000, "never stolen");
    }
}

/// While this node was cut off, the lock went to another node, which signs; then an operator wrote
/// the record back that this node had seen last.
#[test]
fn the_same_record_written_again_is_seen_for_the_first_time() {
    let mut node = Node::voting();
    node.watched(5_000, entry(49, Some(&session("another")), &record(7, 3, RecordState::Active)));
    assert_eq!(stolen_at(&mut node, 5_000), 5_000 + SAFE_MS);
}

#[test]
fn the_same_record_seen_again_keeps_the_first_sight() {
    let mut node = Node::voting();
    node.watched(2_000, entry(INDEX, Some(&other()), &record(7, 3, RecordState::Active)));
    assert_eq!(stolen_at(&mut node, 2_000), SAFE_MS);
}

#[test]
fn a_new_beat_or_term_or_instance_is_seen_for_the_first_time() {
    let mut instance = record(7, 3, RecordState::Active);
    instance.instance.0 = "instance2".to_owned();
    for newer in [record(7, 4, RecordState::Active), record(8, 0, RecordState::Pending), instance] {
        let mut node = Node::voting();
        node.watched(2_000, entry(41, Some(&other()), &newer));
        assert_eq!(stolen_at(&mut node, 2_000), 2_000 + SAFE_MS, "{newer:?}");
    }
}

#[test]
fn an_older_beat_that_comes_back_is_seen_for_the_first_time() {
    let mut node = Node::voting();
    node.watched(2_000, entry(39, Some(&other()), &record(7, 2, RecordState::Active)));
    assert_eq!(stolen_at(&mut node, 2_000), 2_000 + SAFE_MS);
}

#[test]
fn an_unreadable_value_of_another_index_is_seen_for_the_first_time() {
    // Between the two somebody may have written records and signed.
    let mut node = Node::standby();
    node.watched(0, garbage(5, Some(&other())));
    node.on(0, Event::Leases(Ok(None)));
    node.watched(1_000, garbage(5, Some(&other())));
    assert_eq!(node.watched(2_000, garbage(9, Some(&other()))), [Action::ReadLeases]);
    node.on(2_010, Event::Leases(Ok(None)));
    assert_eq!(stolen_at(&mut node, 2_010), 2_000 + SAFE_MS);
}

#[test]
fn a_key_that_goes_missing_after_garbage_is_seen_for_the_first_time() {
    let mut node = Node::standby();
    node.watched(0, garbage(5, Some(&other())));
    node.on(0, Event::Leases(Ok(None)));
    assert_eq!(node.watched(2_000, Seen::Missing), [Action::ReadLeases]);
}

/// A snapshot of Consul is restored while another node validates in term 8: its record says that
/// term 7 was released, but the holder of term 8 may sign on until its lease ends.
#[test]
fn a_released_record_of_an_older_term_lets_nobody_in_at_once() {
    let mut node = Node::voting();
    let mut newest = record(8, 5, RecordState::Active);
    newest.lease_ms = 9_000;
    node.watched(1_000, entry(50, Some(&other()), &newest));
    let restored = entry(45, None, &record(7, 9, RecordState::Released));
    let actions = node.watched(2_000, restored);
    let write = Node::write_of(&actions);
    assert!(matches!(write, Write::Acquire { index: Some(45), .. }), "{write:?}");
    assert_eq!(write.record().term, 9, "terms go on from the highest one seen");
    assert_eq!(write.record().lease_ms, 9_000, "the longest lease that was ever seen");
    assert_eq!(node.written(2_020, Outcome::Committed(46)), [Action::Watch(false)]);
    let mut index = 46;
    for now in (3_000..2_000 + 9_090).step_by(1_000) {
        node.tick(now);
        index += 1;
        assert_eq!(node.written(now, Outcome::Committed(index)), [], "{now} ms");
    }
    assert!(node.tick(2_000 + 9_090).contains(&Action::TerminateNeard));
}

#[test]
fn the_lease_of_a_record_that_was_deleted_is_remembered() {
    let mut node = Node::standby();
    let mut longer = record(7, 3, RecordState::Active);
    longer.lease_ms = 20_000;
    node.watched(0, entry(INDEX, Some(&other()), &longer));
    node.watched(1_000, Seen::Missing);
    let actions = node.on(1_010, Event::Leases(Ok(Some(ms(LEASE_MS)))));
    assert_eq!(Node::write_of(&actions).record().lease_ms, 20_000);
}

#[test]
fn a_watch_that_was_ended_is_not_listened_to() {
    let mut node = Node::holder();
    let before = node.machine.clone();
    assert_eq!(node.watched(200, entry(99, None, &record(9, 0, RecordState::Released))), []);
    assert_eq!(node.machine, before);
}

#[test]
fn after_a_tenure_everything_is_seen_for_the_first_time() {
    let mut node = Node::holder();
    node.tick(1_200);
    let lost = refused(crate::election::Refusal::LockLost);
    assert!(node.written(1_210, lost).contains(&Action::Watch(true)));
    assert_eq!(node.machine.record(), None::<&Record>);
    node.exited(1_220);
    node.status(1_300, in_sync(HEAD, crate::election::SignKey::None));
    let seen = entry(60, Some(&other()), &record(9, 3, RecordState::Active));
    assert_eq!(node.watched(1_400, seen), []);
    assert_eq!(stolen_at(&mut node, 1_400), 1_400 + SAFE_MS);
}

/// Consul was restored from a backup in which somebody has just released the key, while another
/// whose record this node has seen since goes on signing.
#[test]
fn a_release_by_another_than_who_held_the_key_last_lets_nobody_in_at_once() {
    let mut node = Node::voting();
    let mut foreign = record(9, 1, RecordState::Released);
    foreign.instance = crate::election::InstanceId("instance2".to_owned());
    let actions = node.watched(1_000, entry(60, None, &foreign));
    assert!(matches!(actions[..], [Action::Commit { write: Write::Acquire { .. }, .. }]));
    let mut index = 61;
    node.written(1_010, Outcome::Committed(index));
    let safe = 1_000 + SAFE_MS;
    for now in (2_000..safe).step_by(1_000) {
        assert!(!node.tick(now).contains(&Action::TerminateNeard), "{now}");
        index += 1;
        node.written(now, Outcome::Committed(index));
    }
    assert!(node.tick(safe).contains(&Action::TerminateNeard));
}

#[test]
fn a_release_under_a_lock_lets_nobody_in_at_once() {
    let mut node = Node::voting();
    node.watched(1_000, entry(60, Some(&other()), &record(7, 4, RecordState::Released)));
    assert_eq!(stolen_at(&mut node, 1_000), 1_000 + SAFE_MS);
}
