//! The Consul session: made, renewed, doubted.

use super::harness::*;
use crate::election::{Action, Event, Notice, Outcome, State};

#[test]
fn a_session_that_cannot_be_created_is_tried_again_after_a_second() {
    let mut node = Node::new();
    node.tick(0);
    node.status(0, in_sync(HEAD, crate::election::SignKey::None));
    assert_eq!(node.on(10, Event::SessionCreated(Err("no answer".to_owned()))), []);
    assert_eq!(node.tick(1_009), []);
    assert_eq!(node.tick(1_010), [Action::CreateSession]);
    assert!(node.logged("no answer"));
    node.on(1_020, Event::SessionCreated(Ok(own())));
    assert!(node.logged("Consul answers again"));
}

#[test]
fn a_consul_that_does_not_answer_is_logged_once() {
    let mut node = Node::holder();
    let errors = |node: &Node| node.log.iter().filter(|n| matches!(n, Notice::Error(_))).count();
    node.tick(1_000);
    // The texts differ: each names the addresses in another order, and other times.
    node.written(1_500, Outcome::Unknown("a: no answer within 333 ms; b: refused".to_owned()));
    node.read_failed_with(2_000, "b: refused; a: no answer within 332 ms");
    node.tick(2_100);
    node.read_failed_with(3_000, "a: no answer within 331 ms; b: refused");
    assert_eq!(errors(&node), 1, "{:?}", node.log);
}

#[test]
fn a_session_is_renewed_five_times_per_ttl() {
    let mut node = Node::voting();
    node.tick(100);
    assert_eq!(node.all(2_399, Event::Tick), []);
    assert_eq!(node.all(2_400, Event::Tick), [Action::RenewSession(own())]);
    assert_eq!(node.all(3_400, Event::Tick), [], "one at a time");
    node.on(4_500, Event::SessionRenewed(Ok(true)));
    node.tick(SAFE_MS);
    assert_eq!(node.all(6_899, Event::Tick), []);
    assert_eq!(node.all(6_900, Event::Tick), [Action::RenewSession(own())]);
}

#[test]
fn a_failed_renewal_is_repeated_and_loses_nothing() {
    let mut node = Node::holder();
    node.tick(4_000);
    assert_eq!(node.on(4_500, Event::SessionRenewed(Err("no answer".to_owned()))), []);
    assert_eq!(node.machine.state(), State::Validating);
    assert!(node.all(5_500, Event::Tick).contains(&Action::RenewSession(own())));
}

#[test]
fn a_standbys_lost_session_is_replaced() {
    let mut node = Node::voting();
    node.tick(4_000);
    assert_eq!(
        node.on(4_010, Event::SessionRenewed(Ok(false))),
        [Action::CreateSession, changed(State::Voting, State::Registering)]
    );
    assert_eq!(
        node.on(4_020, Event::SessionCreated(Ok(session("new")))),
        [changed(State::Registering, State::Voting)]
    );
    assert_eq!(node.machine.session(), Some(&session("new")));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut node = Node::voting();
    for stray in [
        Event::SessionRenewed(Ok(false)),
        Event::SessionCreated(Ok(session("stray"))),
        Event::SessionCreated(Err("no answer".to_owned())),
    ] {
        let before = node.machine.clone();
        assert_eq!(node.all(50, stray), []);
        assert_eq!(node.machine.session(), before.session());
    }
}
