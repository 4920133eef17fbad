//! What the conformance test cannot see: time, and that the model is a value.

use std::collections::HashSet;

use super::*;

const TTL: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_secs(6);
const NOW: Duration = Duration::from_secs(1000);

fn create(model: &mut Model, behavior: Behavior) -> SessionId {
    let request = SessionRequest {
        name: "test".to_owned(),
        node: None,
        ttl: TTL,
        lock_delay: DELAY,
        behavior,
        node_checks: Vec::new(),
    };
    match model.apply(NOW, Op::CreateSession(request)) {
        Answer::Created(id) => id,
        other => panic!("{other:?}"),
    }
}

fn lock(session: &SessionId) -> Op {
    Op::Txn(vec![TxnOp::Lock {
        key: "k".to_owned(),
        value: b"v".to_vec(),
        flags: 0,
        session: session.clone(),
    }])
}

fn holder(model: &Model) -> Option<&SessionId> {
    model.get("k").1.and_then(|entry| entry.session.as_ref())
}

#[test]
fn a_session_may_expire_from_its_ttl_on_and_not_before() {
    let mut model = Model::new("node", 1);
    let id = create(&mut model, Behavior::Release);
    model.apply(NOW, lock(&id));
    let window: Vec<_> = model.expirations().collect();
    assert_eq!(window, [(&id, NOW + TTL, NOW + 2 * TTL)]);

    let early = NOW + TTL - Duration::from_millis(1);
    assert_eq!(model.apply(early, Op::Expire(id.clone())), Answer::Done(false));
    assert_eq!(holder(&model), Some(&id));
    assert_eq!(model.apply(NOW + TTL, Op::Expire(id.clone())), Answer::Done(true));
    assert_eq!(holder(&model), None);
    assert_eq!(model.apply(NOW + TTL, Op::Expire(id)), Answer::Done(false));
}

#[test]
fn a_renewal_and_a_new_leader_start_the_ttl_anew() {
    let mut model = Model::new("node", 1);
    let id = create(&mut model, Behavior::Release);
    let later = NOW + Duration::from_secs(7);
    model.apply(later, Op::RenewSession(id.clone()));
    assert_eq!(model.apply(NOW + TTL, Op::Expire(id.clone())), Answer::Done(false));
    model.apply(later + TTL, Op::LeaderChanged);
    assert_eq!(model.apply(later + TTL, Op::Expire(id.clone())), Answer::Done(false));
    assert_eq!(model.apply(later + 2 * TTL, Op::Expire(id)), Answer::Done(true));
}

#[test]
fn a_lock_delay_ends_with_its_time() {
    let mut model = Model::new("node", 1);
    let (one, two) = (create(&mut model, Behavior::Release), create(&mut model, Behavior::Release));
    model.apply(NOW, lock(&one));
    model.apply(NOW, Op::DestroySession(one));
    let just_before = NOW + DELAY - Duration::from_millis(1);
    assert_eq!(
        model.apply(just_before, lock(&two)),
        Answer::Refused(vec![(0, "failed to lock key \"k\" due to lock delay".to_owned())])
    );
    assert!(matches!(model.apply(NOW + DELAY, lock(&two)), Answer::Committed(_)));
    assert_eq!(holder(&model), Some(&two));
}

#[test]
fn with_delete_the_key_goes_with_its_session_and_the_lock_count_starts_anew() {
    let mut model = Model::new("node", 1);
    let (one, two) = (create(&mut model, Behavior::Delete), create(&mut model, Behavior::Release));
    model.apply(NOW, lock(&one));
    model.apply(NOW, Op::DestroySession(one));
    assert_eq!(model.get("k").1, None);
    model.apply(NOW + DELAY, lock(&two));
    assert_eq!(model.get("k").1.map(|entry| entry.lock_index), Some(1));
}

#[test]
fn equal_histories_are_equal_states_and_refused_transactions_leave_the_keys_alone() {
    let mut one = Model::new("node", 1);
    let id = create(&mut one, Behavior::Release);
    let mut other = one.clone();
    assert_eq!(one.apply(NOW, lock(&id)), other.apply(NOW, lock(&id)));
    assert_eq!(HashSet::from([one.clone(), other.clone()]).len(), 1);

    let set = TxnOp::Set { key: "k".to_owned(), value: b"new".to_vec(), flags: 0 };
    let check = TxnOp::CheckIndex { key: "k".to_owned(), index: 1 };
    let refused = other.apply(NOW, Op::Txn(vec![set, check]));
    assert!(matches!(refused, Answer::Refused(_)), "{refused:?}");
    assert_eq!(one.get("k"), other.get("k"));
}
