//! From the lock to the key: what is waited for, in which order, and what goes wrong.

use super::harness::*;
use crate::election::{
    Action, Event, Outcome, RecordState, Refusal, Role, SignKey, State, Step, Write,
};

/// Takes the free lock of a predecessor that left this record, at 0 ms.
fn succeed(previous: &crate::election::Record) -> Node {
    let mut node = Node::standby();
    node.watched(0, entry(INDEX, None, previous));
    node.written(0, Outcome::Committed(50));
    node
}

#[test]
fn a_clean_release_is_waited_for_only_until_its_head_is_reached() {
    let mut released = record(7, 3, RecordState::Released);
    released.head = HEAD + 2;
    let mut node = succeed(&released);
    assert_eq!(node.machine.step(), Some(&Step::Waiting));
    // Somebody waits for the next answer, so it is asked for soon.
    assert_eq!(node.all(100, Event::Tick), [Action::AskStatus { id: 2 }]);
    assert_eq!(node.status(110, in_sync(HEAD + 1, SignKey::None)), []);
    assert_eq!(node.all(200, Event::Tick), [Action::AskStatus { id: 3 }]);
    assert_eq!(node.status(210, in_sync(HEAD + 2, SignKey::None)), [Action::TerminateNeard]);
}

#[test]
fn a_head_that_never_comes_is_waited_for_a_bounded_time() {
    let mut released = record(7, 3, RecordState::Released);
    released.head = HEAD + 2;
    let mut node = succeed(&released);
    let mut index = 50;
    for now in (1_000..5_000).step_by(1_000) {
        node.tick(now);
        index += 1;
        assert_eq!(node.written(now, Outcome::Committed(index)), []);
    }
    assert_eq!(node.tick(4_999), []);
    assert!(node.tick(5_000).contains(&Action::TerminateNeard));
}

#[test]
fn a_bound_on_the_head_is_waited_for_no_longer_than_blocks_travel() {
    let mut released = record(7, 3, RecordState::Released);
    released.head = HEAD + 2;
    released.head_is_bound = true;
    let mut node = succeed(&released);
    assert_eq!(node.tick(499), []);
    assert!(node.tick(500).contains(&Action::TerminateNeard));

    let mut node = succeed(&released);
    node.tick(100);
    let reached = node.status(110, in_sync(HEAD + 2, SignKey::None));
    assert!(reached.contains(&Action::TerminateNeard));
}

/// The predecessor is dead, and what it signed while alive is on its way to a node that lags.
#[test]
fn a_head_that_a_holder_has_told_is_waited_for_even_if_only_a_bound_is_known_now() {
    let mut node = Node::standby();
    let mut alive = record(7, 3, RecordState::Active);
    alive.head = HEAD + 4;
    node.watched(0, entry(INDEX, Some(&session("other")), &alive));
    let mut released = record(7, 4, RecordState::Released);
    released.head = HEAD + 20;
    released.head_is_bound = true;
    node.watched(100, entry(INDEX + 1, None, &released));
    node.written(100, Outcome::Committed(50));
    let mut index = 50;
    for now in (1_100..5_000).step_by(1_000) {
        assert!(!node.tick(now).contains(&Action::TerminateNeard), "{now}");
        index += 1;
        node.written(now, Outcome::Committed(index));
        node.status(now, in_sync(HEAD + 3, SignKey::None));
    }
    node.tick(4_200);
    let reached = node.status(4_200, in_sync(HEAD + 4, SignKey::None));
    assert!(reached.contains(&Action::TerminateNeard), "{reached:?}");
}

#[test]
fn the_guard_is_armed_before_neard_starts_with_the_key() {
    let mut node = Node::promoting();
    assert!(!node.machine.may_sign());
    assert_eq!(
        node.exited(100),
        [
            Action::StartNeard(Role::Validator { kill_at: at(LEASE_MS - KILL_MARGIN_MS) }),
            changed(State::Voting, State::Validating)
        ]
    );
    assert!(node.machine.may_sign());
    assert_eq!(node.tick(1_000).len(), 1);
    assert_eq!(
        node.written(1_005, Outcome::Committed(51)),
        [Action::ArmGuard(at(1_000 + LEASE_MS - KILL_MARGIN_MS))]
    );
}

#[test]
fn neard_does_not_start_with_the_key_on_the_rest_of_a_lease() {
    let mut node = Node::promoting();
    node.tick(1_000);
    assert_eq!(node.exited(3_001), [], "2.999 s of 6 s are left, and a beat is under way");
    assert_eq!(
        node.written(3_010, Outcome::Committed(51))[0],
        Action::StartNeard(Role::Validator { kill_at: at(1_000 + LEASE_MS - KILL_MARGIN_MS) })
    );
}

#[test]
fn a_standby_that_ignores_sigterm_is_killed_soon() {
    let mut node = Node::promoting();
    assert_eq!(node.tick(299), []);
    assert_eq!(node.tick(300), [Action::KillNeard]);
    assert_eq!(node.machine.step(), Some(&Step::Promoting { since: at(0) }));
}

#[test]
fn the_record_says_active_only_once_neard_confirms_the_key() {
    let mut node = Node::starting_with_key();
    assert_eq!(node.machine.state(), State::Validating);
    let actions = node.tick(1_000);
    assert_eq!(Node::write_of(&actions).record().state, RecordState::Pending);
    node.written(1_010, Outcome::Committed(51));
    let actions = node.status(1_100, in_sync(HEAD, SignKey::Ours));
    let mut active = own_record(8, 2, RecordState::Active);
    active.reason = "node1 released the key: ".to_owned();
    let write = Write::Beat { index: 51, session: own(), record: active };
    assert_eq!(actions, [Action::Commit { id: node.request, write }]);
    assert_eq!(node.machine.step(), Some(&Step::Active));
}

#[test]
fn a_key_that_is_not_confirmed_in_time_is_given_back() {
    let mut node = Node::starting_with_key();
    let mut index = 50;
    let mut now = 0;
    while now < 599_000 {
        now += 1_000;
        node.tick(now);
        index += 1;
        node.written(now, Outcome::Committed(index));
        assert!(matches!(node.machine.step(), Some(Step::Promoting { .. })), "{now}");
    }
    let actions = node.tick(600_000);
    assert_eq!(actions[0], Action::TerminateNeard);
    assert!(matches!(Node::write_of(&actions), Write::Beat { .. }), "until it is dead");
    assert_eq!(actions[2..], [changed(State::Validating, State::Startup)]);
}

#[test]
fn another_key_than_ours_is_given_back() {
    for key in [SignKey::None, SignKey::Other] {
        let mut node = Node::starting_with_key();
        assert_eq!(
            node.status(200, in_sync(HEAD, key)),
            [Action::TerminateNeard, changed(State::Validating, State::Startup)]
        );
        assert_eq!(node.machine.step(), Some(&Step::Draining));
        let actions = node.exited(300);
        assert!(matches!(Node::write_of(&actions), Write::Release { .. }));
    }
}

#[test]
fn a_neard_that_cannot_be_spawned_with_the_key_gives_the_lock_back() {
    let mut node = Node::starting_with_key();
    let actions = node.on(110, Event::NeardNotStarted("no such file".to_owned()));
    let released = Node::write_of(&actions).record();
    assert_eq!(released.state, RecordState::Released);
    assert_eq!(released.reason, "neard is gone: no such file");
}

#[test]
fn a_lock_that_is_lost_between_the_two_processes_starts_a_standby() {
    let mut node = Node::promoting();
    node.tick(50);
    node.tick(1_000);
    assert_eq!(node.written(1_010, refused(Refusal::LockLost))[..1], [Action::Watch(true)]);
    assert_eq!(node.exited(1_020)[0], Action::StartNeard(Role::Standby));
    assert!(!node.machine.may_sign());
}

/// Consul does not answer from the moment on that the standby was stopped for its restart.
#[test]
fn a_promotion_whose_lease_ends_before_neard_starts_ends_in_a_standby() {
    let mut node = Node::promoting();
    node.tick(1_000);
    node.exited(3_001);
    let mut now = 3_001;
    while now < LEASE_MS {
        assert_eq!(node.tick(now), []);
        now += 100;
    }
    let actions = node.tick(LEASE_MS);
    assert_eq!(node.machine.step(), None, "{actions:?}");
    let started = actions.contains(&Action::StartNeard(Role::Standby))
        || node.tick(LEASE_MS + 1).contains(&Action::StartNeard(Role::Standby));
    assert!(started, "{actions:?}");
}

#[test]
fn a_holder_that_falls_out_of_sync_before_it_has_the_key_gives_the_lock_back() {
    let mut node = Node::standby();
    node.watched(0, entry(INDEX, None, &record(7, 3, RecordState::Active)));
    node.written(0, Outcome::Committed(50));
    node.tick(100);
    let syncing = crate::election::NeardStatus {
        syncing: true,
        head: HEAD,
        key: SignKey::None,
        made_up_to: None,
    };
    let actions = node.status(110, Ok(syncing));
    let write = Node::write_of(&actions);
    assert!(matches!(write, Write::Release { .. }));
    assert_eq!(write.record().state, RecordState::Pending, "the predecessor may still sign");
}
