//! Giving the lock back: after a death, on the way out, and what the successor is told.

use super::harness::*;
use crate::election::{
    Action, Event, ExitReason, NeardStatus, Outcome, RecordState, Refusal, Role, SignKey, State,
    Step, Write,
};

fn stop() -> Event {
    Event::Stop
}

/// neard was restarted with the key, and is far behind when it first answers.
#[test]
fn a_neard_that_is_catching_up_bounds_nothing_by_its_head() {
    let mut node = Node::starting_with_key();
    let behind =
        NeardStatus { syncing: true, head: HEAD - 50, key: SignKey::Ours, made_up_to: None };
    let actions = node.status(200, Ok(behind));
    let active = Node::write_of(&actions).record();
    assert_eq!((active.state, active.head_is_bound), (RecordState::Active, true));
    node.written(200, Outcome::Committed(51));
    let actions = node.exited(700);
    let released = Node::write_of(&actions).record();
    // By its last head that was the chain's: of the standby that it was, 0.7 s ago.
    assert_eq!((released.head, released.head_is_bound), (HEAD + 8, true));
}

#[test]
fn the_lock_is_released_at_once_when_neard_dies() {
    let mut node = Node::holder();
    let actions = node.exited(530);
    let mut released = own_record(8, 2, RecordState::Released);
    // /status said 100 when asked at 100 ms; 430 ms are at most 5 blocks, and one may be under way.
    released.head = HEAD + 6;
    released.head_is_bound = true;
    released.reason = "neard is gone: signal 9".to_owned();
    let write = Write::Release { index: 51, session: own(), record: released };
    assert_eq!(
        actions,
        [
            Action::StartNeard(Role::Standby),
            Action::Commit { id: node.request, write },
            changed(State::Validating, State::Startup)
        ]
    );
    assert_eq!(node.written(535, Outcome::Committed(52)), [Action::Watch(true)]);
    assert!(node.logged("released the lock: neard is gone: signal 9"));
}

#[test]
fn a_death_during_a_beat_is_released_right_after_it() {
    let mut node = Node::holder();
    node.tick(1_200);
    assert!(!node.exited(1_205).iter().any(|action| matches!(action, Action::Commit { .. })));
    let actions = node.written(1_210, Outcome::Committed(52));
    assert!(matches!(Node::write_of(&actions), Write::Release { index: 52, .. }), "{actions:?}");
}

#[test]
fn an_unknown_release_is_read_and_then_repeated_or_taken_as_done() {
    let in_doubt = || {
        let mut node = Node::holder();
        let last = node.machine.record().cloned();
        let release = Node::write_of(&node.exited(530)).record().clone();
        node.written(1_000, unknown());
        assert_eq!(node.tick(1_100), [Action::ReadKey { id: node.request }]);
        (node, last.expect("a holder has a record"), release)
    };
    let (mut node, last, _) = in_doubt();
    let actions = node.read(1_110, entry(51, Some(&own()), &last));
    assert!(matches!(Node::write_of(&actions), Write::Release { index: 51, .. }), "{actions:?}");

    let (mut node, _, release) = in_doubt();
    assert_eq!(node.read(1_110, entry(52, None, &release)), [Action::Watch(true)]);
    assert!(node.logged("released the lock"));
    assert!(!node.logged("lost the lock"));
}

#[test]
fn a_release_is_not_tried_beyond_the_leases_end() {
    let mut node = Node::holder();
    node.exited(530);
    node.written(1_000, unknown());
    let end = 200 + LEASE_MS;
    node.tick(1_100);
    node.read_failed(end - 1);
    assert_eq!(node.machine.step(), Some(&Step::Releasing));
    assert_eq!(node.tick(end), [Action::Watch(true)]);
    assert_eq!(node.machine.step(), None);
}

#[test]
fn a_release_before_safe_does_not_say_released() {
    let mut node = Node::voting();
    node.watched(900, entry(41, None, &record(7, 3, RecordState::Active)));
    node.written(910, Outcome::Committed(42));
    let actions = node.exited(1_000);
    let mut pending = own_record(8, 1, RecordState::Pending);
    pending.reason = "neard is gone: signal 9".to_owned();
    let write = Write::Release { index: 42, session: own(), record: pending };
    assert_eq!(Node::write_of(&actions), &write);
}

#[test]
fn a_release_past_safe_passes_the_predecessors_head_on() {
    let mut node = Node::standby();
    let mut previous = record(7, 3, RecordState::Released);
    previous.head = HEAD + 2;
    node.watched(0, entry(INDEX, None, &previous));
    node.written(0, Outcome::Committed(50));
    let actions = node.exited(10);
    let released = Node::write_of(&actions).record();
    assert_eq!(released.state, RecordState::Released);
    assert_eq!((released.head, released.head_is_bound), (HEAD + 2, false));
}

#[test]
fn a_standby_stops_neard_and_goes() {
    let mut node = Node::voting();
    assert_eq!(
        node.on(500, stop()),
        [Action::TerminateNeard, Action::Watch(false), changed(State::Voting, State::Shutdown)]
    );
    assert_eq!(
        node.exited(900),
        [Action::DestroySession(own()), Action::Exit(ExitReason::Stopped)]
    );
    assert_eq!(node.machine.next_timeout(), None);
    assert_eq!(node.tick(2_000), []);
}

#[test]
fn a_holder_stops_neard_then_releases_then_goes() {
    let mut node = Node::holder();
    assert_eq!(
        node.on(500, stop()),
        [Action::TerminateNeard, changed(State::Validating, State::Shutdown)]
    );
    // neard signs until it is gone, so the lease is renewed.
    assert!(matches!(Node::write_of(&node.tick(1_200)), Write::Beat { .. }));
    assert_eq!(
        node.written(1_205, Outcome::Committed(52)),
        [Action::ArmGuard(at(1_200 + LEASE_MS - KILL_MARGIN_MS))]
    );
    let actions = node.exited(1_900);
    let released = Node::write_of(&actions).record();
    assert_eq!(actions.len(), 1);
    assert_eq!(released.state, RecordState::Released);
    assert_eq!(released.reason, "kneard is stopping");
    assert_eq!(
        node.written(1_905, Outcome::Committed(53)),
        [Action::DestroySession(own()), Action::Exit(ExitReason::Stopped)]
    );
}

#[test]
fn a_stop_does_not_wait_for_a_neard_that_ignores_sigterm() {
    let mut node = Node::voting();
    node.on(500, stop());
    assert_eq!(node.tick(10_499), []);
    assert_eq!(node.tick(10_500), [Action::KillNeard]);
}

#[test]
fn a_second_stop_kills_neard() {
    let mut node = Node::holder();
    node.on(500, stop());
    assert_eq!(node.on(600, stop()), [Action::KillNeard]);
    let actions = node.exited(610);
    assert!(matches!(Node::write_of(&actions), Write::Release { .. }));
}

#[test]
fn a_stop_during_a_claim_waits_for_its_answer_and_gives_the_lock_back() {
    let mut node = Node::voting();
    node.watched(900, entry(41, None, &record(7, 3, RecordState::Active)));
    node.on(905, stop());
    assert_eq!(node.exited(910), [], "not before the claim is answered");
    let actions = node.written(920, Outcome::Committed(42));
    assert!(matches!(Node::write_of(&actions), Write::Release { index: 42, .. }), "{actions:?}");
    assert_eq!(
        node.written(930, Outcome::Committed(43)),
        [Action::DestroySession(own()), Action::Exit(ExitReason::Stopped)]
    );

    let mut node = Node::voting();
    node.watched(900, entry(41, None, &record(7, 3, RecordState::Active)));
    node.on(905, stop());
    node.exited(910);
    assert_eq!(
        node.written(920, refused(Refusal::Conflict)),
        [Action::DestroySession(own()), Action::Exit(ExitReason::Stopped)]
    );
}

#[test]
fn a_stop_while_neard_restarts_with_the_key_starts_nothing() {
    let mut node = Node::promoting();
    let actions = node.on(50, stop());
    assert!(matches!(Node::write_of(&actions), Write::Release { .. }), "it has no key yet");
    node.written(60, Outcome::Committed(51));
    assert_eq!(
        node.exited(100),
        [Action::DestroySession(own()), Action::Exit(ExitReason::Stopped)]
    );
}

#[test]
fn a_stop_before_the_keyed_neard_confirms_takes_it_down_first() {
    let mut node = Node::starting_with_key();
    assert_eq!(
        node.on(150, stop()),
        [Action::TerminateNeard, changed(State::Validating, State::Shutdown)]
    );
    node.status(160, in_sync(HEAD, SignKey::Ours));
    assert_eq!(node.machine.step(), Some(&Step::Draining), "a late answer promotes nobody");
    let actions = node.exited(170);
    assert!(matches!(Node::write_of(&actions), Write::Release { .. }));
}
