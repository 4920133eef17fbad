//! Hot swap: the key goes into a running neard and out of it again, and what is done when that
//! does not work.

use super::harness::*;
use crate::election::{
    Action, Event, NeardStatus, Outcome, Promotion, RecordState, Role, Settings, SignKey, State,
    Step, Write,
};

/// When neard is told to load the key.
const START_MS: u64 = 2_000;
/// When the key of [`holder`] is taken out softly, and when the guard kills for it.
const SOFT_MS: u64 = 2_010 + LEASE_MS - KILL_MARGIN_MS - 500;
const KILL_MS: u64 = 2_010 + LEASE_MS - KILL_MARGIN_MS;

fn swapping() -> Settings {
    let mut settings = settings();
    settings.promotion = Promotion::HotSwap;
    settings
}

fn unloaded(head: u64, made_up_to: Option<u64>) -> Result<NeardStatus, String> {
    Ok(NeardStatus { syncing: false, head, key: SignKey::None, made_up_to })
}

/// Has the lock since 2,000 ms after a clean release, term 8, ModifyIndex 50, and has told neard to
/// load the key.
fn loading() -> Node {
    let mut node = Node::standby_with(swapping());
    node.tick(1_000);
    node.status(1_000, in_sync(HEAD, SignKey::None));
    node.watched(START_MS, entry(INDEX, None, &record(7, 3, RecordState::Released)));
    let actions = node.written(START_MS, Outcome::Committed(50));
    let kill_at = at(START_MS + LEASE_MS - KILL_MARGIN_MS);
    let changed = changed(State::Voting, State::Validating);
    assert_eq!(actions, [Action::LoadKey { kill_at }, Action::Watch(false), changed]);
    node
}

/// The same, confirmed at 2,010 ms: active, record term 8 beat 1 at ModifyIndex 51, lease counted
/// from 2,010 ms.
fn holder() -> Node {
    let mut node = loading();
    node.tick(2_010);
    node.status(2_010, in_sync(HEAD, SignKey::Ours));
    assert_eq!(node.machine.step(), Some(&Step::Active));
    node.written(2_010, Outcome::Committed(51));
    node
}

/// The same, told to give the key back.
fn draining() -> Node {
    let mut node = holder();
    let actions = node.on(2_500, Event::Switchover { to: Some("node1".to_owned()) });
    assert_eq!(actions, [Action::UnloadKey, changed(State::Validating, State::Voting)]);
    node
}

fn release_of(actions: &[Action]) -> crate::election::Record {
    let write = Node::write_of(actions);
    assert!(matches!(write, Write::Release { .. }), "{actions:?}");
    write.record().clone()
}

#[test]
fn the_key_is_loaded_under_an_armed_guard_and_counts_as_loaded_from_the_order_on() {
    let node = loading();
    assert!(node.machine.may_sign());
    assert_eq!(node.machine.state(), State::Validating);
    assert_eq!(node.machine.record().map(|record| record.state), Some(RecordState::Pending));
}

#[test]
fn neard_is_not_told_to_reload_while_it_may_still_die_of_sighup() {
    let mut node = Node::standby_with(swapping());
    node.watched(0, entry(INDEX, None, &record(7, 3, RecordState::Released)));
    assert_eq!(node.written(0, Outcome::Committed(50)), [Action::Watch(false)]);
    assert_eq!(node.tick(999), []);
    let kill_at = at(LEASE_MS - KILL_MARGIN_MS);
    assert!(node.tick(1_000).contains(&Action::LoadKey { kill_at }));
}

#[test]
fn neard_is_asked_for_the_key_soon_although_nothing_else_happens() {
    let mut node = loading();
    assert_eq!(node.machine.next_timeout(), Some(at(START_MS + 10)));
    assert_eq!(node.all(START_MS + 10, Event::Tick).len(), 1, "a question");
    node.status(START_MS + 11, in_sync(HEAD, SignKey::None));
    assert_eq!(node.machine.next_timeout(), Some(at(START_MS + 20)));
}

#[test]
fn a_confirmed_key_makes_it_active_and_costs_no_restart() {
    let mut node = loading();
    assert_eq!(node.status(2_005, in_sync(HEAD, SignKey::Ours)), [], "asked before the order");
    assert_eq!(node.all(2_010, Event::Tick), [Action::AskStatus { id: node.question }]);
    assert_eq!(node.status(2_012, in_sync(HEAD, SignKey::None)), [], "not yet");
    node.tick(2_022);
    let actions = node.status(2_024, in_sync(HEAD, SignKey::Ours));
    assert_eq!(Node::write_of(&actions).record().state, RecordState::Active);
}

#[test]
fn a_reload_is_asked_for_again_because_a_signal_may_be_lost() {
    let mut node = loading();
    node.tick(2_010);
    node.status(2_011, in_sync(HEAD, SignKey::None));
    assert!(!node.all(2_249, Event::Tick).contains(&Action::ReloadNeard));
    node.status(2_249, in_sync(HEAD, SignKey::None));
    assert_eq!(node.tick(2_250), [Action::ReloadNeard]);
    assert_eq!(node.tick(2_499), []);
    assert_eq!(node.tick(2_500), [Action::ReloadNeard]);
}

#[test]
fn a_switchover_takes_the_key_out_and_releases_with_the_head_that_neard_told_afterwards() {
    let mut node = draining();
    assert!(node.machine.may_sign(), "until it says that it has no key");
    assert_eq!(node.status(2_505, unloaded(HEAD, None)), [], "asked before the order");
    node.tick(2_510);
    assert_eq!(node.status(2_511, in_sync(HEAD + 1, SignKey::Ours)), [], "not yet");
    node.tick(2_521);
    let actions = node.status(2_522, unloaded(HEAD + 1, Some(HEAD + 1)));
    assert_eq!(actions[0], Action::DisarmGuard);
    assert!(!node.machine.may_sign());
    let released = release_of(&actions);
    assert_eq!(released.state, RecordState::Released);
    assert_eq!((released.head, released.head_is_bound), (HEAD + 1, false));
    assert_eq!(released.successor.as_deref(), Some("node1"));
    assert_eq!(released.reason, "switchover");
}

#[test]
fn a_block_that_neard_still_works_on_is_told_as_a_bound() {
    let mut node = draining();
    node.tick(2_510);
    let released = release_of(&node.status(2_511, unloaded(HEAD, Some(HEAD + 1))));
    assert_eq!((released.head, released.head_is_bound), (HEAD + 1, true));

    let mut node = draining();
    node.tick(2_510);
    let released = release_of(&node.status(2_511, unloaded(HEAD, None)));
    assert_eq!((released.head, released.head_is_bound), (HEAD + 1, true), "it does not tell");
}

#[test]
fn a_key_that_is_not_unloaded_in_time_ends_neard() {
    let mut node = draining();
    node.tick(2_510);
    node.status(2_511, in_sync(HEAD, SignKey::Ours));
    node.tick(3_010);
    node.written(3_011, Outcome::Committed(52));
    node.tick(4_010);
    node.written(4_011, Outcome::Committed(53));
    node.status(4_499, in_sync(HEAD, SignKey::Ours));
    assert!(node.machine.may_sign());
    assert!(node.tick(4_500).contains(&Action::TerminateNeard));
    let late = node.status(4_510, unloaded(HEAD, Some(HEAD)));
    assert_eq!(late, [], "what it says on its way out proves nothing");
    let released = release_of(&node.exited(5_000));
    assert!(released.head_is_bound);
    assert!(node.logged("neard did not unload the key within 2s"));
}

#[test]
fn a_key_that_cannot_be_taken_out_of_the_home_ends_neard_at_once() {
    let mut node = draining();
    let why = Event::KeyNotUnloaded("cannot remove validator_key.json".to_owned());
    assert_eq!(
        node.on(2_501, why),
        [Action::TerminateNeard, changed(State::Voting, State::Startup)]
    );
    release_of(&node.exited(3_000));
}

#[test]
fn a_load_that_was_not_confirmed_is_undone_by_death_alone() {
    let mut node = loading();
    let actions = node.on(2_100, Event::Stop);
    assert_eq!(actions[0], Action::TerminateNeard);
    assert!(!actions.contains(&Action::UnloadKey));
    assert_eq!(node.status(2_110, unloaded(HEAD, Some(HEAD))), []);
    assert!(node.machine.may_sign());
    release_of(&node.exited(2_200));
}

#[test]
fn a_load_that_is_not_confirmed_in_time_falls_back_to_a_restart_for_good() {
    let mut node = loading();
    node.tick(2_010);
    node.status(2_011, in_sync(HEAD, SignKey::None));
    let mut index = 50;
    for now in [3_000, 3_999] {
        node.tick(now);
        index += 1;
        node.written(now, Outcome::Committed(index));
        node.status(now, in_sync(HEAD, SignKey::None));
    }
    assert!(node.tick(4_000).contains(&Action::TerminateNeard));
    assert!(node.logged("neard did not load the key within 2s"));
    let actions = node.exited(4_300);
    assert!(matches!(actions[0], Action::StartNeard(Role::Validator { .. })), "{actions:?}");
    node.status(4_800, in_sync(HEAD, SignKey::Ours));
    assert_eq!(node.machine.step(), Some(&Step::Active));
    // Not trusted with an unload either.
    let actions = node.on(9_000, Event::Switchover { to: None });
    assert!(actions.contains(&Action::TerminateNeard), "{actions:?}");
}

#[test]
fn a_neard_that_had_to_be_killed_for_the_fallback_is_not_followed_by_itself() {
    let mut node = loading();
    node.tick(4_000);
    let actions = node.tick(14_000);
    assert_eq!(node.machine.step(), None, "its lease ended long before: {actions:?}");
    let mut settings = swapping();
    settings.stop_timeout = ms(500);
    let mut node = Node::standby_with(settings);
    node.tick(START_MS);
    node.status(START_MS, in_sync(HEAD, SignKey::None));
    node.watched(START_MS, entry(INDEX, None, &record(7, 3, RecordState::Released)));
    node.written(START_MS, Outcome::Committed(50));
    assert!(node.tick(4_000).contains(&Action::TerminateNeard));
    assert!(node.tick(4_500).contains(&Action::KillNeard));
    node.written(4_500, Outcome::Committed(51));
    let actions = node.exited(4_510);
    assert_eq!(actions[0], Action::StartNeard(Role::Standby), "it may have signed: {actions:?}");
    release_of(&actions);
}

#[test]
fn a_neard_that_cannot_be_given_the_key_is_restarted_with_it_at_once() {
    let mut node = loading();
    let actions = node.on(2_001, Event::KeyNotLoaded("config.json has neard track …".to_owned()));
    assert_eq!(
        actions,
        [Action::DisarmGuard, Action::TerminateNeard, changed(State::Validating, State::Voting)]
    );
    assert!(node.logged("no hot swap: config.json has"));
    assert!(!node.machine.may_sign());
    let actions = node.exited(2_100);
    assert!(matches!(actions[0], Action::StartNeard(Role::Validator { .. })), "{actions:?}");
}

#[test]
fn a_neard_that_dies_of_the_reload_is_not_swapped_again() {
    let mut node = loading();
    release_of(&node.exited(2_001));
    node.written(2_002, Outcome::Committed(51));
    node.status(2_003, in_sync(HEAD, SignKey::None));
    node.watched(5_000, entry(60, None, &record(9, 0, RecordState::Released)));
    let actions = node.written(5_001, Outcome::Committed(61));
    assert!(actions.contains(&Action::TerminateNeard), "{actions:?}");
}

#[test]
fn a_key_is_taken_out_softly_before_the_guard_would_kill_and_goes_back_in_with_the_next_beat() {
    let mut node = holder();
    node.tick(3_010);
    node.written(3_510, unknown());
    assert!(!node.tick(SOFT_MS - 1).contains(&Action::UnloadKey));
    assert!(node.tick(SOFT_MS).contains(&Action::UnloadKey));
    assert_eq!(node.machine.step(), Some(&Step::Suspending));
    node.tick(SOFT_MS + 10);
    assert!(node.status(SOFT_MS + 11, unloaded(HEAD, Some(HEAD))).contains(&Action::DisarmGuard));
    assert_eq!(node.machine.step(), Some(&Step::Waiting));
    assert!(!node.tick(KILL_MS + 1).contains(&Action::KillNeard), "neard lives on");
    // Consul answers again, and nobody has taken the lock.
    let last = node.machine.record().cloned().unwrap();
    node.read(9_000, entry(51, Some(&own()), &last));
    let actions = node.written(9_010, Outcome::Committed(52));
    let kill_at = at(9_000 + LEASE_MS - KILL_MARGIN_MS);
    assert!(actions.contains(&Action::LoadKey { kill_at }), "{actions:?}");
}

#[test]
fn a_key_that_does_not_go_softly_in_time_is_the_guards() {
    let mut node = holder();
    node.tick(3_010);
    node.written(3_510, unknown());
    node.tick(SOFT_MS);
    node.tick(SOFT_MS + 10);
    node.status(SOFT_MS + 11, in_sync(HEAD, SignKey::Ours));
    assert!(node.tick(KILL_MS).contains(&Action::KillNeard));
    assert!(node.machine.may_sign());
}

#[test]
fn a_lost_lock_kills_even_a_neard_that_is_unloading() {
    let mut node = draining();
    node.tick(3_010);
    let lost = node.written(3_011, refused(crate::election::Refusal::LockLost));
    assert!(lost.contains(&Action::KillNeard), "{lost:?}");
}

#[test]
fn a_neard_that_gave_the_key_up_is_restarted_once_another_validates() {
    let mut node = draining();
    node.tick(2_510);
    node.status(2_511, unloaded(HEAD, Some(HEAD)));
    assert_eq!(node.written(2_515, Outcome::Committed(52)), [Action::Watch(true)]);
    let other = session("other");
    assert_eq!(
        node.watched(2_520, entry(53, Some(&other), &record(9, 0, RecordState::Pending))),
        []
    );
    assert_eq!(
        node.watched(2_600, entry(54, Some(&other), &record(9, 1, RecordState::Active))),
        [Action::TerminateNeard, changed(State::Voting, State::Startup)]
    );
    assert_eq!(node.exited(3_000)[0], Action::StartNeard(Role::Standby));
}

#[test]
fn a_key_that_nobody_takes_goes_back_to_where_it_was() {
    let mut node = draining();
    node.tick(2_510);
    let released = release_of(&node.status(2_511, unloaded(HEAD, Some(HEAD))));
    node.written(2_515, Outcome::Committed(52));
    node.watched(2_520, entry(52, None, &released));
    node.status(2_600, in_sync(HEAD, SignKey::None));
    assert_eq!(node.tick(5_519), []);
    let actions = node.tick(5_520);
    assert!(matches!(Node::write_of(&actions), Write::Acquire { .. }), "{actions:?}");
    let actions = node.written(5_525, Outcome::Committed(53));
    assert!(actions.iter().any(|action| matches!(action, Action::LoadKey { .. })), "{actions:?}");
}

#[test]
fn others_leave_a_released_key_to_the_node_that_was_chosen() {
    let mut chosen = record(7, 3, RecordState::Released);
    chosen.successor = Some("node0".to_owned());
    let mut node = Node::standby();
    assert!(matches!(
        Node::write_of(&node.watched(0, entry(INDEX, None, &chosen))),
        Write::Acquire { .. }
    ));
    chosen.successor = Some("node2".to_owned());
    let mut node = Node::standby();
    assert_eq!(node.watched(0, entry(INDEX, None, &chosen)), []);
    assert_eq!(node.tick(1_999), []);
    assert!(matches!(Node::write_of(&node.tick(2_000)), Write::Acquire { .. }));
}

#[test]
fn a_stop_hands_the_key_over_before_neard_is_stopped() {
    let mut node = holder();
    assert_eq!(
        node.on(2_500, Event::Stop),
        [Action::UnloadKey, changed(State::Validating, State::Shutdown)]
    );
    node.tick(2_510);
    let actions = node.status(2_511, unloaded(HEAD, Some(HEAD)));
    let released = release_of(&actions);
    assert_eq!((released.head, released.head_is_bound), (HEAD, false));
    assert!(
        node.tick(2_512).contains(&Action::TerminateNeard)
            || actions.contains(&Action::TerminateNeard)
    );
}

#[test]
fn a_neard_that_was_just_restarted_with_the_key_is_stopped_not_unloaded() {
    let mut node = loading();
    node.on(2_001, Event::KeyNotLoaded("not yet".to_owned()));
    node.exited(2_100);
    node.status(2_600, in_sync(HEAD, SignKey::Ours));
    assert_eq!(node.machine.step(), Some(&Step::Active));
    let actions = node.on(2_700, Event::Switchover { to: None });
    assert!(actions.contains(&Action::TerminateNeard), "{actions:?}");
}
