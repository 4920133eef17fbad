//! Holding the key: beats, leases, and losing the lock.

use super::harness::*;
use crate::election::{
    Action, Event, NeardStatus, Outcome, RecordState, Refusal, Seen, SignKey, State, Step, Write,
};

fn beat(index: u64, beat: u64) -> Write {
    let mut record = own_record(8, beat, RecordState::Active);
    record.reason = "node1 released the key: ".to_owned();
    Write::Beat { index, session: own(), record }
}

/// What follows from a lost lock: neard is killed at once, and the node stands by again.
fn demoted() -> Vec<Action> {
    vec![Action::KillNeard, Action::Watch(true), changed(State::Validating, State::Startup)]
}

#[test]
fn each_beat_is_sent_in_time_and_moves_the_guard() {
    let mut node = Node::holder();
    for n in 2..10 {
        let due = 200 + (n - 1) * 1_000;
        let write = beat(49 + n, n);
        assert_eq!(node.tick(due - 1), []);
        assert_eq!(node.tick(due), [Action::Commit { id: node.request, write }]);
        // The lease is counted from the sending, not from the answer.
        let kill_at = at(due + LEASE_MS - KILL_MARGIN_MS);
        let actions = node.written(due + 400, Outcome::Committed(50 + n));
        assert_eq!(actions, [Action::ArmGuard(kill_at)]);
        assert_eq!(node.machine.lease_expires(), Some(at(due + LEASE_MS)));
    }
}

#[test]
fn a_beat_tells_neards_head() {
    let mut node = Node::holder();
    node.tick(400);
    node.status(410, in_sync(HEAD + 7, SignKey::Ours));
    let actions = node.tick(1_200);
    assert_eq!(Node::write_of(&actions).record().head, HEAD + 7);
}

#[test]
fn a_slow_beat_is_followed_by_the_next_one_at_once() {
    let mut node = Node::holder();
    node.tick(1_200);
    assert_eq!(node.tick(2_200), [], "one request at a time");
    assert_eq!(
        node.written(2_900, Outcome::Committed(52)),
        [
            Action::ArmGuard(at(1_200 + LEASE_MS - KILL_MARGIN_MS)),
            Action::Commit { id: node.request, write: beat(52, 3) }
        ]
    );
}

#[test]
fn an_unknown_beat_is_read_before_the_next_is_written_and_the_old_deadline_stands() {
    let mut node = Node::holder();
    node.tick(1_200);
    assert_eq!(node.written(1_700, unknown()), []);
    assert_eq!(node.tick(1_799), []);
    assert_eq!(node.tick(1_800), [Action::ReadKey { id: node.request }]);
    assert_eq!(node.read_failed(1_900), []);
    assert_eq!(node.machine.lease_expires(), Some(at(200 + LEASE_MS)));
    assert_eq!(node.tick(2_000), [Action::ReadKey { id: node.request }]);
    // It did not come through.
    let last = beat(0, 1);
    assert_eq!(
        node.read(2_010, entry(51, Some(&own()), last.record())),
        [Action::Commit { id: node.request, write: beat(51, 2) }]
    );
}

#[test]
fn a_conflict_with_an_own_late_beat_is_no_loss_and_no_longer_lease() {
    let mut node = Node::holder();
    node.tick(1_200);
    node.written(1_700, unknown());
    node.tick(1_800);
    node.read(1_810, entry(51, Some(&own()), beat(0, 1).record()));
    // The first one, which was still under way, has come through in between.
    let refused = node.written(1_820, refused(Refusal::Conflict));
    assert_eq!(refused, [Action::ReadKey { id: node.request }]);
    assert_eq!(
        node.read(1_830, entry(52, Some(&own()), beat(0, 2).record())),
        [Action::Commit { id: node.request, write: beat(52, 3) }]
    );
    assert_eq!(node.machine.lease_expires(), Some(at(200 + LEASE_MS)));
}

#[test]
fn garbage_under_the_own_lock_is_mended_by_the_next_beat() {
    let mut node = Node::holder();
    node.tick(1_200);
    node.written(1_210, refused(Refusal::Conflict));
    assert_eq!(
        node.read(1_220, garbage(60, Some(&own()))),
        [Action::Commit { id: node.request, write: beat(60, 2) }]
    );
    assert_eq!(
        node.written(1_230, Outcome::Committed(61)),
        [Action::ArmGuard(at(1_220 + LEASE_MS - KILL_MARGIN_MS))]
    );
}

#[test]
fn an_older_own_record_of_a_restored_snapshot_is_written_over() {
    let mut node = Node::holder();
    node.tick(1_200);
    node.written(1_210, Outcome::Committed(52));
    node.tick(2_200);
    node.written(2_210, refused(Refusal::Conflict));
    assert_eq!(
        node.read(2_220, entry(51, Some(&own()), beat(0, 1).record())),
        [Action::Commit { id: node.request, write: beat(51, 3) }],
        "beats never go back"
    );
    node.written(2_230, refused(Refusal::Conflict));
    let older_term = own_record(0, 9, RecordState::Released);
    assert!(matches!(
        node.read(2_240, entry(40, Some(&own()), &older_term))[..],
        [Action::Commit { write: Write::Beat { index: 40, .. }, .. }]
    ));
}

#[test]
fn a_key_that_was_deleted_or_taken_or_freed_demotes_at_once() {
    let taken = entry(60, Some(&session("other")), &record(9, 0, RecordState::Pending));
    let freed = entry(60, None, beat(0, 1).record());
    let foreign = entry(60, Some(&own()), &record(7, 9, RecordState::Active));
    let freed_garbage = garbage(60, None);
    for seen in [Seen::Missing, taken, freed, foreign, freed_garbage] {
        let mut node = Node::holder();
        node.tick(1_200);
        assert_eq!(
            node.written(1_210, refused(Refusal::Conflict)),
            [Action::ReadKey { id: node.request }]
        );
        assert_eq!(node.read(1_220, seen.clone()), demoted(), "{seen:?}");
        assert!(node.machine.may_sign(), "until it is reaped");
        node.exited(1_230);
        assert!(!node.machine.may_sign());
    }
}

#[test]
fn a_lock_that_is_not_held_any_more_demotes_at_once() {
    let mut node = Node::holder();
    node.tick(1_200);
    assert_eq!(node.written(1_210, refused(Refusal::LockLost)), demoted());
}

#[test]
fn a_session_that_is_gone_demotes_at_once() {
    let mut node = Node::holder();
    node.tick(4_000);
    assert_eq!(node.on(4_010, Event::SessionRenewed(Ok(false))), demoted());
    assert_eq!(node.machine.session(), None);
}

#[test]
fn answers_to_a_lost_tenures_requests_arm_nothing() {
    let mut node = Node::holder();
    node.tick(4_000);
    assert_eq!(node.on(4_010, Event::SessionRenewed(Ok(false))), demoted());
    assert_eq!(node.written(4_020, Outcome::Committed(52)), []);
}

#[test]
fn neard_is_killed_when_the_lease_could_not_be_renewed() {
    let mut node = Node::holder();
    node.tick(1_200);
    let armed = 200 + LEASE_MS - KILL_MARGIN_MS;
    assert_eq!(node.tick(armed - 1), []);
    assert_eq!(node.tick(armed), demoted());
    assert_eq!(node.tick(armed + 10), [], "killed once");
    // The answer comes when all is over.
    assert_eq!(node.written(armed + 20, Outcome::Committed(52)), []);
    assert!(node.exited(armed + 30).contains(&Action::StartNeard(crate::election::Role::Standby)));
}

#[test]
fn a_neard_that_outlives_its_lease_is_told_apart() {
    let mut node = Node::holder();
    node.tick(1_200);
    let end = 200 + LEASE_MS;
    assert_eq!(node.tick(end - KILL_MARGIN_MS), demoted());
    assert!(!node.machine.is_overdue(at(end - 1)), "it may be dying as it should");
    assert!(node.machine.is_overdue(at(end)));
    node.exited(end + 10);
    assert!(!node.machine.is_overdue(at(end + 10)));
}

#[test]
fn a_machine_that_slept_past_the_armed_instant_kills_whatever_it_is_told_first() {
    let late = 200 + LEASE_MS;
    let mut node = Node::holder();
    assert_eq!(node.status(late, in_sync(HEAD, SignKey::Ours)), demoted());
    let mut node = Node::holder();
    node.tick(1_200);
    assert_eq!(
        node.written(1_200 + LEASE_MS, Outcome::Committed(52)),
        [&[Action::ArmGuard(at(1_200 + LEASE_MS - KILL_MARGIN_MS))], &demoted()[..]].concat()
    );
}

#[test]
fn a_silent_guard_is_not_trusted_with_a_key() {
    let mut node = Node::holder();
    assert_eq!(
        node.on(300, Event::GuardSilent),
        [Action::KillNeard, changed(State::Validating, State::Startup)]
    );
    assert_eq!(node.machine.step(), Some(&Step::Draining));
    assert_eq!(node.tick(1_200), [], "a dying neard's lease is not renewed");
    let actions = node.exited(1_300);
    assert!(matches!(Node::write_of(&actions), Write::Release { .. }));
}

#[test]
fn a_dying_neard_that_is_never_reaped_lets_a_successor_in_by_its_lease() {
    let mut node = Node::holder();
    node.on(300, Event::GuardSilent);
    for now in (1_000..200 + LEASE_MS - KILL_MARGIN_MS).step_by(100) {
        assert_eq!(node.tick(now), []);
    }
    assert_eq!(node.tick(200 + LEASE_MS - KILL_MARGIN_MS), [Action::Watch(true)]);
    assert_eq!(node.machine.step(), None);
}

/// Keeps a neard out of sync, and its lease in force, from 1,200 ms on; returns when the key is
/// given back.
fn given_back_for_want_of_sync(node: &mut Node) -> u64 {
    let syncing =
        || Ok(NeardStatus { syncing: true, head: HEAD, key: SignKey::Ours, made_up_to: None });
    let mut index = 51;
    let mut now = 1_200;
    node.tick(now);
    assert_eq!(node.status(now, syncing()), []);
    while node.machine.step() != Some(&Step::Draining) {
        index += 1;
        node.written(now, Outcome::Committed(index));
        now += 1_000;
        assert!(now < 1_000_000, "never given away");
        node.tick(now);
        node.status(now, syncing());
    }
    assert!(node.logged("giving the validator key back: neard is not in sync"));
    now
}

#[test]
fn a_holder_that_falls_out_of_sync_for_long_gives_the_key_away() {
    let given_back = given_back_for_want_of_sync(&mut Node::holder());
    assert!((31_200..40_000).contains(&given_back), "its patience is 30 s: {given_back}");
}

#[test]
fn a_promoted_neard_that_still_looks_for_its_peers_keeps_the_key() {
    let mut node = Node::starting_with_key();
    let syncing = NeardStatus { syncing: true, head: HEAD, key: SignKey::Ours, made_up_to: None };
    node.status(200, Ok(syncing));
    assert_eq!(node.machine.step(), Some(&Step::Active));
    node.written(200, Outcome::Committed(51));
    let given_back = given_back_for_want_of_sync(&mut node);
    assert!(given_back > 600_000, "as long as a promotion may take: {given_back}");
}
