//! A key that signs where kneard does not manage it is not taken, before a process's first
//! promotion.

use super::harness::*;
use crate::election::{Action, Duties, Event, RecordState, Seen, SignKey, Write};

/// A standby that makes sure, and has seen a released key at 0 ms.
fn asking() -> Node {
    let mut settings = settings();
    settings.doppelganger_check = true;
    let mut node = Node::standby_with(settings);
    let seen = entry(INDEX, None, &record(7, 3, RecordState::Released));
    assert_eq!(node.watched(0, seen), [Action::AskDuties]);
    node
}

fn signed(signed: u64) -> Event {
    Event::Duties(Ok(Some(Duties { epoch: 1, signed })))
}

/// neard's head is `head` at this moment, as an answer to `/status` says.
fn head(node: &mut Node, now: u64, head: u64) {
    node.tick(now);
    node.status(now, in_sync(head, SignKey::None));
}

/// Answers the question that was asked half a second after the last.
fn answer(node: &mut Node, now: u64, answer: Event) -> Vec<Action> {
    node.tick(now);
    node.on(now, answer)
}

fn claims(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Commit { write: Write::Acquire { .. }, .. }))
}

#[test]
fn a_key_that_signs_nothing_for_some_blocks_is_taken() {
    let mut node = asking();
    // What the last holder signed may still be counted: compared only from three blocks on.
    assert_eq!(node.on(10, signed(40)), []);
    assert_eq!(node.tick(509), []);
    assert_eq!(node.tick(510), [Action::AskDuties]);
    assert_eq!(answer(&mut node, 510, signed(42)), []);
    head(&mut node, 1_000, HEAD + 3);
    assert_eq!(answer(&mut node, 1_010, signed(43)), []);
    head(&mut node, 2_000, HEAD + 5);
    assert_eq!(answer(&mut node, 2_001, signed(43)), []);
    head(&mut node, 3_000, HEAD + 6);
    assert!(claims(&answer(&mut node, 3_001, signed(43))));
    assert!(!node.machine.signs_elsewhere());
}

#[test]
fn a_key_that_signs_elsewhere_is_not_taken_until_it_stops() {
    let mut node = asking();
    node.on(10, signed(40));
    head(&mut node, 1_000, HEAD + 3);
    let mut now = 1_010;
    let mut count = 43;
    answer(&mut node, now, signed(count));
    for _ in 0..30 {
        now += 500;
        count += 1;
        assert_eq!(answer(&mut node, now, signed(count)), []);
        assert!(node.machine.signs_elsewhere());
    }
    let said =
        |node: &Node| node.log.iter().filter(|n| n.to_string().contains("stop the neard")).count();
    assert_eq!(said(&node), 1);
    head(&mut node, now + 400, HEAD + 7);
    assert!(claims(&answer(&mut node, now + 500, signed(count))));
    assert!(!node.machine.signs_elsewhere());
}

#[test]
fn a_new_epoch_begins_the_comparison_anew() {
    let mut node = asking();
    node.on(10, signed(40));
    head(&mut node, 1_000, HEAD + 3);
    answer(&mut node, 1_010, signed(43));
    head(&mut node, 2_000, HEAD + 6);
    let next = Event::Duties(Ok(Some(Duties { epoch: 2, signed: 0 })));
    assert_eq!(answer(&mut node, 2_001, next), []);
    head(&mut node, 3_000, HEAD + 9);
    let more = Event::Duties(Ok(Some(Duties { epoch: 2, signed: 1 })));
    assert_eq!(answer(&mut node, 3_001, more), []);
    assert!(node.machine.signs_elsewhere());
}

#[test]
fn an_account_that_does_not_validate_signs_nowhere() {
    let mut node = asking();
    assert!(claims(&node.on(10, Event::Duties(Ok(None)))));
}

#[test]
fn a_halted_chain_is_waited_for_a_bounded_time() {
    let mut node = asking();
    let mut now = 10;
    node.on(now, signed(40));
    while now < 10_010 {
        now += 500;
        if now % 1_000 == 10 {
            head(&mut node, now - 1, HEAD);
        }
        let actions = answer(&mut node, now, signed(40));
        assert_eq!(claims(&actions), now >= 10_010, "{now}: {actions:?}");
    }
}

#[test]
fn a_neard_that_never_says_what_was_signed_is_waited_for_a_bounded_time() {
    let mut node = asking();
    let mut now = 10;
    node.on(now, Event::Duties(Err("method not found".to_owned())));
    while now < 10_010 {
        now += 500;
        if now % 1_000 == 10 {
            head(&mut node, now - 1, HEAD + now / 1_000);
        }
        let actions = answer(&mut node, now, Event::Duties(Err("method not found".to_owned())));
        assert_eq!(claims(&actions), now >= 10_010, "{now}: {actions:?}");
    }
    assert!(node.logged("not checked"));
}

#[test]
fn a_key_whose_record_was_seen_to_change_is_managed_and_costs_no_check() {
    let mut settings = settings();
    settings.doppelganger_check = true;
    let mut node = Node::standby_with(settings);
    let other = session("other");
    assert_eq!(node.watched(0, entry(INDEX, Some(&other), &record(7, 3, RecordState::Active))), []);
    // The holder's guard has released the key after its death.
    let released = entry(INDEX + 1, None, &record(7, 4, RecordState::Released));
    assert!(claims(&node.watched(500, released)));
}

#[test]
fn nothing_is_concluded_while_somebody_may_hold_the_key() {
    let mut settings = settings();
    settings.doppelganger_check = true;
    let mut node = Node::standby_with(settings);
    assert_eq!(node.watched(0, Seen::Missing), [Action::ReadLeases]);
    assert_eq!(node.on(10, Event::Leases(Ok(None))), []);
    assert_eq!(node.tick(SAFE_MS - 1), []);
    assert_eq!(node.tick(SAFE_MS), [Action::AskDuties]);
}
