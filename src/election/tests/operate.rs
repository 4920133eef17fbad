//! What operators order: pauses, and restarts that are planned.

use super::harness::*;
use crate::election::{
    Action, Event, Outcome, Promotion, RecordState, Role, SignKey, State, Step, Write,
};

/// When the neard of [`Node::holder`] can be told to reload.
const SETTLED_MS: u64 = 1_200;

/// A standby that may not take over, and has seen this record of its node `holder`, released and
/// unlocked.
fn paused_before_release(holder: &str) -> (Node, Vec<Action>) {
    let mut node = Node::standby();
    assert_eq!(node.on(0, Event::Paused(true)), []);
    let mut released = record(7, 3, RecordState::Released);
    holder.clone_into(&mut released.holder);
    let actions = node.watched(0, entry(INDEX, None, &released));
    (node, actions)
}

#[test]
fn while_paused_a_standby_claims_nothing_however_free_the_key_is() {
    let (mut node, actions) = paused_before_release("node1");
    assert_eq!(actions, []);
    assert_eq!(node.tick(900), []);
    let actions = node.on(1_000, Event::Paused(false));
    assert!(matches!(Node::write_of(&actions), Write::Acquire { .. }), "{actions:?}");
}

#[test]
fn while_paused_a_lease_that_ended_is_nobodys_either() {
    let mut node = Node::voting();
    node.on(0, Event::Paused(true));
    assert_eq!(node.tick(SAFE_MS + 1), []);
    node.status(SAFE_MS + 1, in_sync(HEAD, SignKey::None));
    let actions = node.on(SAFE_MS + 2, Event::Paused(false));
    assert!(matches!(Node::write_of(&actions), Write::Steal { .. }), "{actions:?}");
}

#[test]
fn while_paused_nobody_takes_a_key_that_nobody_is_known_to_have_held() {
    let mut node = Node::standby();
    node.on(0, Event::Paused(true));
    node.watched(0, crate::election::Seen::Missing);
    assert_eq!(node.on(0, Event::Leases(Ok(None))), []);
    let actions = node.on(10, Event::Paused(false));
    assert!(matches!(Node::write_of(&actions), Write::Acquire { .. }), "{actions:?}");
}

#[test]
fn while_paused_the_last_holder_may_come_back() {
    let (_, actions) = paused_before_release("node0");
    assert!(matches!(Node::write_of(&actions), Write::Acquire { .. }), "{actions:?}");
}

#[test]
fn while_paused_the_holder_goes_on_and_cannot_be_switched_over() {
    let mut node = Node::holder();
    let now = 300;
    assert_eq!(node.on(now, Event::Paused(true)), []);
    assert_eq!(node.on(now, Event::Switchover { to: None }), []);
    assert!(node.logged("no switchover"));
    assert_eq!(node.machine.step(), Some(&Step::Active));
}

#[test]
fn a_pause_is_told_in_the_log_once() {
    let mut node = Node::standby();
    for paused in [false, true, true, false] {
        node.on(0, Event::Paused(paused));
    }
    let told = node.log.iter().filter(|notice| notice.to_string().contains("takeovers"));
    assert_eq!(told.count(), 2);
}

#[test]
fn a_holder_whose_neard_ends_as_planned_keeps_the_lock_and_starts_it_with_the_key() {
    let mut node = Node::holder();
    let now = SETTLED_MS;
    let actions = node.on(now, Event::RestartPlanned(Some(HEAD + 5)));
    assert_eq!(actions[0], Action::ReloadNeard);
    node.written(now, Outcome::Committed(52));
    assert_eq!(node.machine.planned_restart(), Some(HEAD + 5));
    let actions = node.on(now + 10, Event::NeardFinished("neard exited with code 0".to_owned()));
    let start = actions.iter().find(|action| matches!(action, Action::StartNeard(_)));
    assert!(matches!(start, Some(Action::StartNeard(Role::Validator { .. }))), "{actions:?}");
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Commit { write: Write::Release { .. }, .. }))
    );
    assert_eq!(node.machine.planned_restart(), None);
    assert_eq!(node.machine.state(), State::Validating);
    node.status(now + 500, in_sync(HEAD + 5, SignKey::Ours));
    assert_eq!(node.machine.step(), Some(&Step::Active));
}

#[test]
fn a_holder_whose_neard_ends_unplanned_releases_the_lock() {
    for plan in [None, Some(HEAD + 5)] {
        let mut node = Node::holder();
        let now = SETTLED_MS;
        if plan.is_some() {
            node.on(now, Event::RestartPlanned(plan));
            node.on(now, Event::RestartPlanned(None));
        }
        node.tick(now);
        node.written(now, Outcome::Committed(52));
        let end = Event::NeardFinished("neard exited with code 0".to_owned());
        let actions = node.on(now + 10, end);
        assert!(matches!(Node::write_of(&actions), Write::Release { .. }), "{actions:?}");
    }
}

#[test]
fn a_crash_is_no_planned_end() {
    let mut node = Node::holder();
    let now = SETTLED_MS;
    node.on(now, Event::RestartPlanned(Some(HEAD + 5)));
    node.written(now, Outcome::Committed(52));
    let actions = node.exited(now + 10);
    assert!(matches!(Node::write_of(&actions), Write::Release { .. }), "{actions:?}");
    assert_eq!(node.machine.planned_restart(), None, "the next neard knows nothing of it");
}

#[test]
fn neard_is_not_told_to_reload_while_it_may_die_of_it() {
    let mut node = Node::standby();
    assert_eq!(node.on(500, Event::RestartPlanned(Some(7))), []);
    assert_eq!(node.machine.planned_restart(), None);
    assert_eq!(node.on(1_000, Event::RestartPlanned(Some(7))), [Action::ReloadNeard]);
}

#[test]
fn a_planned_end_that_comes_while_kneard_stops_is_followed_by_nothing() {
    let mut node = Node::holder();
    let now = SETTLED_MS;
    node.on(now, Event::RestartPlanned(Some(HEAD)));
    node.written(now, Outcome::Committed(52));
    node.on(now, Event::Stop);
    let actions = node.on(now + 10, Event::NeardFinished("neard exited with code 0".to_owned()));
    assert!(matches!(Node::write_of(&actions), Write::Release { .. }), "{actions:?}");
}

#[test]
fn a_standbys_neard_is_restarted_at_a_word_and_a_holders_is_not() {
    let mut node = Node::voting();
    let actions = node.on(100, Event::RestartNeard);
    assert_eq!(actions[0], Action::TerminateNeard);
    assert_eq!(node.exited(200)[0], Action::StartNeard(Role::Standby));

    let mut node = Node::holder();
    let now = 300;
    assert_eq!(node.on(now, Event::RestartNeard), []);
}

#[test]
fn a_planned_end_restarts_with_the_key_in_hot_swap_too() {
    let mut settings = settings();
    settings.promotion = Promotion::HotSwap;
    let mut node = Node::standby_with(settings);
    node.watched(1_000, entry(INDEX, None, &record(7, 3, RecordState::Released)));
    node.written(1_000, Outcome::Committed(50));
    node.tick(1_010);
    node.status(1_010, in_sync(HEAD, SignKey::Ours));
    node.written(1_010, Outcome::Committed(51));
    node.on(1_100, Event::RestartPlanned(Some(HEAD + 1)));
    let actions = node.on(1_200, Event::NeardFinished("neard exited with code 0".to_owned()));
    assert!(matches!(actions[0], Action::StartNeard(Role::Validator { .. })), "{actions:?}");
}
