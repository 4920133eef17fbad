//! Supervision of neard: answers, crashes, keys that should not be there.

use super::harness::*;
use crate::election::{Action, Event, ExitReason, NeardStatus, Role, SignKey, State};

fn no_answer() -> Result<NeardStatus, String> {
    Err("connection refused".to_owned())
}

#[test]
fn a_starting_neard_is_asked_often_and_given_time() {
    let mut node = Node::new();
    node.tick(0);
    for n in 1..600 {
        assert_eq!(node.status(n * 100 - 50, no_answer()), []);
        assert_eq!(node.machine.next_timeout(), Some(at(n * 100)));
        assert_eq!(node.all(n * 100, Event::Tick), [Action::AskStatus { id: n + 1 }]);
    }
    assert_eq!(node.machine.state(), State::Startup);
}

#[test]
fn three_failed_answers_one_second_apart_mean_that_neard_hangs() {
    let mut node = Node::voting();
    let mut now = 100;
    for _ in 0..2 {
        assert_eq!(node.all(now, Event::Tick), [Action::AskStatus { id: node.question }]);
        assert_eq!(node.status(now, no_answer()), []);
        assert_eq!(node.all(now + 999, Event::Tick), []);
        now += 1_000;
    }
    node.tick(now);
    assert_eq!(
        node.status(now, no_answer()),
        [Action::KillNeard, changed(State::Voting, State::Startup)]
    );
    assert!(node.logged("Cannot reach neard status api: connection refused"));
    assert_eq!(node.exited(now + 10), [Action::StartNeard(Role::Standby)]);
}

#[test]
fn a_good_answer_in_between_counts_from_nought_again() {
    let mut node = Node::voting();
    for round in 0..10 {
        for step in 0..2 {
            let now = 100 + (round * 3 + step) * 1_000;
            node.tick(now);
            assert_eq!(node.status(now, no_answer()), []);
        }
        let now = 100 + (round * 3 + 2) * 1_000;
        node.tick(now);
        node.status(now, in_sync(HEAD, SignKey::None));
    }
    assert_eq!(node.machine.state(), State::Voting);
}

#[test]
fn even_a_neard_that_somebody_waits_for_gets_its_three_seconds() {
    let mut node = Node::standby();
    let mut ahead = record(7, 3, crate::election::RecordState::Released);
    ahead.head = HEAD + 2;
    node.watched(0, entry(INDEX, None, &ahead));
    node.written(0, crate::election::Outcome::Committed(50));
    node.tick(100);
    assert_eq!(node.status(100, no_answer()), []);
    assert_eq!(node.all(1_050, Event::Tick).len(), 1, "the beat only");
    assert_eq!(node.all(1_100, Event::Tick), [Action::AskStatus { id: 3 }]);
}

#[test]
fn an_answer_to_an_older_question_is_ignored() {
    let mut node = Node::voting();
    node.tick(100);
    let before = node.machine.clone();
    let old = Event::Status { id: node.question - 1, result: in_sync(5, SignKey::Ours) };
    assert_eq!(node.on(100, old), []);
    assert_eq!(node.machine, before);
}

#[test]
fn the_answer_of_a_process_that_is_gone_is_ignored() {
    let mut node = Node::voting();
    node.tick(100);
    let question = node.question;
    node.exited(110);
    let before = node.machine.clone();
    let late = Event::Status { id: question, result: in_sync(5, SignKey::Ours) };
    assert_eq!(node.on(110, late), []);
    assert_eq!(node.machine, before);
}

#[test]
fn a_standby_that_shows_a_key_is_killed() {
    for key in [SignKey::Ours, SignKey::Other] {
        let mut node = Node::voting();
        node.tick(100);
        assert_eq!(
            node.status(110, in_sync(HEAD, key)),
            [Action::KillNeard, changed(State::Voting, State::Startup)]
        );
        assert!(node.logged("check rpc.addr"));
        assert_eq!(node.exited(120), [Action::StartNeard(Role::Standby)]);
    }
}

#[test]
fn a_standby_that_shows_a_key_three_times_in_a_row_ends_kneard() {
    let mut node = Node::new();
    node.tick(0);
    for n in 1..3 {
        assert!(node.status(n * 10, in_sync(HEAD, SignKey::Other)).contains(&Action::KillNeard));
        assert_eq!(node.exited(n * 10 + 5), [Action::StartNeard(Role::Standby)]);
    }
    node.status(30, in_sync(HEAD, SignKey::Other));
    let actions = node.exited(35);
    let Some(Action::Exit(ExitReason::NeardDoesNotStart(why))) = actions.last() else {
        panic!("{actions:?}");
    };
    assert!(why.contains("rpc.addr"), "{why}");
    assert!(!actions.iter().any(|action| matches!(action, Action::StartNeard(_))), "{actions:?}");
}

#[test]
fn three_failed_starts_end_kneard_with_the_reason() {
    let mut node = Node::new();
    node.tick(0);
    assert_eq!(node.exited(10), [Action::StartNeard(Role::Standby)]);
    assert_eq!(node.exited(20), []);
    assert_eq!(node.machine.next_timeout(), Some(at(1_020)));
    assert_eq!(node.tick(1_020), [Action::StartNeard(Role::Standby)]);
    assert_eq!(
        node.on(1_030, Event::NeardNotStarted("no such file".to_owned())),
        [
            Action::Watch(false),
            changed(State::Startup, State::Shutdown),
            Action::Exit(ExitReason::NeardDoesNotStart("no such file".to_owned()))
        ]
    );
    assert_eq!(node.machine.next_timeout(), None);
}

#[test]
fn a_neard_that_once_answered_is_started_again_for_ever_with_growing_waits() {
    let mut node = Node::voting();
    let mut now = 100;
    for wait in [0, 1_000, 2_000, 4_000, 5_000, 5_000] {
        let actions = node.exited(now);
        if wait > 0 {
            assert!(!actions.contains(&Action::StartNeard(Role::Standby)), "{wait}: {actions:?}");
            assert_eq!(node.tick(now + wait - 1), []);
            now += wait;
            assert_eq!(node.tick(now), [Action::StartNeard(Role::Standby)]);
        } else {
            assert_eq!(actions[0], Action::StartNeard(Role::Standby));
        }
        now += 10;
    }
}

#[test]
fn a_neard_that_ran_for_a_minute_is_started_again_at_once() {
    let mut node = Node::voting();
    for n in 1..5 {
        assert_eq!(node.exited(n * 100_000)[0], Action::StartNeard(Role::Standby));
        node.status(n * 100_000 + 10, in_sync(HEAD, SignKey::None));
    }
}

#[test]
fn the_six_states_follow_from_what_is_known() {
    let mut node = Node::new();
    assert_eq!(node.machine.state(), State::Startup);
    node.tick(0);
    node.status(
        1,
        Ok(NeardStatus { syncing: true, head: 1, key: SignKey::None, made_up_to: None }),
    );
    assert_eq!(node.machine.state(), State::Syncing);
    node.tick(1_001);
    node.status(1_002, in_sync(HEAD, SignKey::None));
    assert_eq!(node.machine.state(), State::Registering);
    node.on(1_003, Event::SessionCreated(Ok(own())));
    assert_eq!(node.machine.state(), State::Voting);
    assert_eq!(Node::promoting().machine.state(), State::Voting);
    assert_eq!(Node::starting_with_key().machine.state(), State::Validating);
    let mut node = Node::holder();
    assert_eq!(node.machine.state(), State::Validating);
    node.on(300, Event::Stop);
    assert_eq!(node.machine.state(), State::Shutdown);
}
