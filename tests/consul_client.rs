//! The Consul client against a real Consul: every verb, and the facts that the lease protocol
//! builds on.
mod support;

use std::time::{Duration, Instant};

use kneard::consul::{
    Behavior, BlockingIndex, Client, ClientConfig, Consistency, Kind, KvEntry, Refusal, SessionId,
    SessionRequest, TxnOp,
};
use serde_json::json;
use support::consul::Consul;

const LIMIT: Duration = Duration::from_secs(10);
const GONE: &str = "00000000-0000-0000-0000-000000000000";

fn client(consul: &Consul) -> Client {
    Client::new(ClientConfig { addresses: consul.urls(), ..ClientConfig::default() })
        .expect("a client")
}

fn request(lock_delay: Duration) -> SessionRequest {
    SessionRequest {
        name: "test".to_owned(),
        node: None,
        ttl: Duration::from_secs(10),
        lock_delay,
        behavior: Behavior::Release,
        node_checks: Vec::new(),
    }
}

async fn session(client: &Client) -> SessionId {
    client.create_session(&request(Duration::from_secs(30)), LIMIT).await.expect("a session")
}

fn lock(key: &str, value: &str, session: &SessionId) -> TxnOp {
    TxnOp::Lock {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        flags: 0,
        session: session.clone(),
    }
}

fn unlock(key: &str, value: &str, session: &SessionId) -> TxnOp {
    TxnOp::Unlock {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        flags: 0,
        session: session.clone(),
    }
}

fn check_index(key: &str, index: u64) -> TxnOp {
    TxnOp::CheckIndex { key: key.to_owned(), index }
}

async fn entry(client: &Client, key: &str) -> KvEntry {
    let read = client.read(key, Consistency::Consistent, LIMIT).await.expect("a read");
    read.entry.unwrap_or_else(|| panic!("{key} is missing"))
}

#[tokio::test]
async fn sessions_are_created_renewed_described_and_destroyed() {
    let consul = Consul::start();
    let client = client(&consul);
    let id = session(&client).await;

    let info = client.renew_session(&id, LIMIT).await.expect("renewed");
    assert_eq!(info.id, id);
    assert_eq!(info.ttl, "10s");
    assert_eq!(info.lock_delay, 30_000_000_000);
    assert_eq!(info.behavior, Behavior::Release);
    assert_eq!(info.node, "consul0");
    let described =
        client.session_info(&id, Consistency::Consistent, LIMIT).await.expect("described");
    assert_eq!(described, Some(info));

    client.destroy_session(&id, LIMIT).await.expect("destroyed");
    client.destroy_session(&id, LIMIT).await.expect("twice is as good as once");
    let gone = client.renew_session(&id, LIMIT).await.expect_err("gone");
    assert_eq!(gone.kind, Kind::NotFound);
    assert!(gone.to_string().starts_with(&consul.url()), "{gone}");
    let gone = client.session_info(&id, Consistency::Consistent, LIMIT).await.expect("asked");
    assert_eq!(gone, None);
}

/// Gossip flapping must not cost the lock, so there must be no serfHealth check.
#[tokio::test]
async fn a_session_has_no_node_checks_unless_asked_for() {
    let consul = Consul::start();
    let client = client(&consul);
    let plain = session(&client).await;
    let checked = SessionRequest {
        node_checks: vec!["serfHealth".to_owned()],
        ..request(Duration::from_secs(1))
    };
    let checked = client.create_session(&checked, LIMIT).await.expect("a session");
    for (id, expected) in [(&plain, json!([])), (&checked, json!(["serfHealth"]))] {
        let path = format!("/v1/session/info/{id}");
        let (_, body) = consul.servers()[0].get(&path, None).expect("an answer");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body[0]["NodeChecks"], expected);
    }
}

#[tokio::test]
async fn sessions_that_consul_does_not_take_are_certainly_not_created() {
    let consul = Consul::start();
    let client = client(&consul);
    let plain = request(Duration::from_secs(1));
    for (wrong, says) in [
        (SessionRequest { ttl: Duration::from_secs(5), ..plain.clone() }, "Invalid Session TTL"),
        (
            SessionRequest { node: Some("elsewhere".to_owned()), ..plain.clone() },
            "Missing node registration",
        ),
        (SessionRequest { node_checks: vec!["nope".to_owned()], ..plain.clone() }, "Missing check"),
    ] {
        let error = client.create_session(&wrong, LIMIT).await.expect_err(says);
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn keys_are_written_read_listed_and_deleted() {
    let consul = Consul::start();
    let client = client(&consul);
    let missing = client.read("t/a", Consistency::Consistent, LIMIT).await.expect("a read");
    assert_eq!(missing.entry, None);
    assert!(missing.index >= 1);

    let odd = "t/ü b?c#d%e";
    assert!(client.put("t/a", b"one", None, LIMIT).await.expect("written"));
    assert!(client.put(odd, &[0, 255], None, LIMIT).await.expect("written"));
    for consistency in [Consistency::Default, Consistency::Consistent, Consistency::Stale] {
        let read = client.read("t/a", consistency, LIMIT).await.expect("a read");
        let entry = read.entry.expect("an entry");
        assert_eq!(entry.value, b"one");
        assert_eq!(entry.session, None);
        assert_eq!(read.index, entry.modify_index);
        assert!(read.known_leader);
        assert_eq!(read.address, consul.url());
    }
    let all = client.read_prefix("t/", Consistency::Consistent, LIMIT).await.expect("a list");
    let keys: Vec<&str> = all.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["t/a", odd]);
    assert_eq!(all[1].value, [0, 255]);

    client.delete("t/a", LIMIT).await.expect("deleted");
    client.delete("t/a", LIMIT).await.expect("deleted already");
    let gone = client.read("t/a", Consistency::Consistent, LIMIT).await.expect("a read");
    assert_eq!(gone.entry, None);
    let none = client.read_prefix("u/", Consistency::Default, LIMIT).await.expect("a list");
    assert_eq!(none, []);
}

#[tokio::test]
async fn put_with_acquire_tells_held_from_unknown_session() {
    let consul = Consul::start();
    let client = client(&consul);
    let (one, two) = (session(&client).await, session(&client).await);
    assert!(client.put("t/a", b"1", Some(&one), LIMIT).await.expect("acquired"));
    assert!(client.put("t/a", b"2", Some(&one), LIMIT).await.expect("written as the holder"));
    assert!(!client.put("t/a", b"3", Some(&two), LIMIT).await.expect("held"));
    assert_eq!(entry(&client, "t/a").await.value, b"2");
    for unknown in [GONE, "nonsense"] {
        let unknown = SessionId(unknown.to_owned());
        let error = client.put("t/a", b"4", Some(&unknown), LIMIT).await.expect_err("unknown");
        assert_eq!(error.kind, Kind::InvalidSession);
        assert!(error.is_invalid_session() && error.certainly_not_applied(), "{error}");
    }
}

/// The heart of the lease protocol: acquire a missing key, beat, steal, and see the late fail.
#[tokio::test]
async fn a_lock_is_taken_renewed_and_stolen_by_transactions() {
    let consul = Consul::start();
    let client = client(&consul);
    let (old, new) = (session(&client).await, session(&client).await);
    let key = "kuutamod-leader/a.near";

    let absent = TxnOp::CheckNotExists { key: key.to_owned() };
    let acquire = [absent, lock(key, "term 1", &old)];
    let taken = client.txn(&acquire, LIMIT).await.expect("acquired");
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].lock_index, taken[0].session.as_ref()), (1, Some(&old)));
    let again = client.txn(&acquire, LIMIT).await.expect_err("it is there now");
    assert!(again.refused_for(&Refusal::Exists), "{again}");

    let beat = [check_index(key, taken[0].modify_index), lock(key, "beat 2", &old)];
    let beaten = client.txn(&beat, LIMIT).await.expect("a beat");
    let last = beaten.last().expect("a result").modify_index;
    assert!(last > taken[0].modify_index);
    assert_eq!(beaten[1].lock_index, 1, "a beat is no new lock");
    let delayed = client.txn(&beat, LIMIT).await.expect_err("a repeated beat does nothing");
    assert!(delayed.refused_for(&Refusal::Index), "{delayed}");

    let seen_before_the_beat =
        [check_index(key, taken[0].modify_index), unlock(key, "", &old), lock(key, "2", &new)];
    let error = client.txn(&seen_before_the_beat, LIMIT).await.expect_err("the holder has beaten");
    assert!(error.refused_for(&Refusal::Index), "{error}");
    assert_eq!(entry(&client, key).await.value, b"beat 2", "all or nothing");

    let steal = [check_index(key, last), unlock(key, "", &old), lock(key, "term 2", &new)];
    client.txn(&steal, LIMIT).await.expect("stolen");
    let held = entry(&client, key).await;
    assert_eq!((held.value.as_slice(), held.session.as_ref()), (&b"term 2"[..], Some(&new)));
    assert_eq!(held.lock_index, 2);

    let late = [check_index(key, last), lock(key, "beat 3", &old)];
    let late = client.txn(&late, LIMIT).await.expect_err("the old holder has lost it");
    assert!(late.refused_for(&Refusal::LockHeld) && late.refused_for(&Refusal::Index), "{late}");
    assert_eq!(late.to_string().lines().count(), 1);

    let not_mine = client.txn(&[unlock(key, "", &old)], LIMIT).await.expect_err("not the holder");
    assert!(not_mine.refused_for(&Refusal::LockNotHeld), "{not_mine}");
    let unknown = SessionId(GONE.to_owned());
    let unknown = client.txn(&[lock(key, "", &unknown)], LIMIT).await.expect_err("no session");
    assert!(unknown.is_invalid_session() && unknown.certainly_not_applied(), "{unknown}");
}

/// A beat must change the value: Consul leaves the index alone when nothing changes.
#[tokio::test]
async fn writing_the_same_value_again_does_not_raise_the_index() {
    let consul = Consul::start();
    let client = client(&consul);
    let one = session(&client).await;
    let first = client.txn(&[lock("t/a", "same", &one)], LIMIT).await.expect("locked");
    let second = client.txn(&[lock("t/a", "same", &one)], LIMIT).await.expect("locked");
    assert_eq!(first[0].modify_index, second[0].modify_index);
    let third = client.txn(&[lock("t/a", "other", &one)], LIMIT).await.expect("locked");
    assert!(third[0].modify_index > second[0].modify_index);
}

#[tokio::test]
async fn transactions_of_every_kind_of_operation() {
    let consul = Consul::start();
    let client = client(&consul);
    let one = session(&client).await;
    let key = |name: &str| format!("t/{name}");
    let ops = [
        TxnOp::Set { key: key("a"), value: b"a".to_vec(), flags: 7 },
        TxnOp::Cas { key: key("b"), value: b"b".to_vec(), flags: 0, index: 0 },
        lock("t/c", "c", &one),
        TxnOp::CheckSession { key: key("c"), session: one.clone() },
        TxnOp::Delete { key: key("b") },
        TxnOp::DeleteCas { key: key("nothing"), index: 9 },
        TxnOp::DeleteTree { prefix: key("zzz") },
    ];
    let results = client.txn(&ops, LIMIT).await.expect("done");
    assert_eq!(results.len(), 4);
    let read = [TxnOp::Get { key: key("a") }, TxnOp::GetTree { prefix: "t/".to_owned() }];
    let results = client.txn(&read, LIMIT).await.expect("read");
    let values: Vec<&[u8]> = results.iter().map(|entry| entry.value.as_slice()).collect();
    assert_eq!(values, [b"a", b"a", b"c"]);
    assert_eq!(results[0].flags, 7);

    for (ops, refusal) in [
        (vec![TxnOp::Get { key: key("b") }], Refusal::Missing),
        (vec![check_index("t/b", 3)], Refusal::Missing),
        (vec![TxnOp::CheckSession { key: key("a"), session: one.clone() }], Refusal::LockNotHeld),
        (vec![TxnOp::Cas { key: key("a"), value: Vec::new(), flags: 0, index: 1 }], Refusal::Index),
        (vec![TxnOp::DeleteCas { key: key("a"), index: 1 }], Refusal::Index),
    ] {
        let error = client.txn(&ops, LIMIT).await.expect_err("refused");
        assert!(error.refused_for(&refusal), "{error:?}");
    }
}

/// A lost session blocks its keys for the lock delay, a transaction's unlock does not.
#[tokio::test]
async fn lock_delay_follows_a_destroyed_session_but_not_an_unlock() {
    let consul = Consul::start();
    let client = client(&consul);
    let delay = Duration::from_secs(2);
    let doomed = client.create_session(&request(delay), LIMIT).await.expect("a session");
    let other = session(&client).await;

    client.txn(&[lock("t/a", "1", &doomed)], LIMIT).await.expect("locked");
    client.txn(&[unlock("t/a", "2", &doomed)], LIMIT).await.expect("unlocked");
    client.txn(&[lock("t/a", "3", &other)], LIMIT).await.expect("free at once after an unlock");

    client.txn(&[lock("t/b", "1", &doomed)], LIMIT).await.expect("locked");
    let started = Instant::now();
    client.destroy_session(&doomed, LIMIT).await.expect("destroyed");
    let destroyed = Instant::now();
    let left = entry(&client, "t/b").await;
    assert_eq!((left.value.as_slice(), left.session), (&b"1"[..], None), "the record survives");
    let refused = client.txn(&[lock("t/b", "2", &other)], LIMIT).await.expect_err("lock delay");
    assert!(refused.refused_for(&Refusal::LockDelay), "{refused}");
    assert!(!client.put("t/b", b"2", Some(&other), LIMIT).await.expect("lock delay"));

    loop {
        match client.txn(&[lock("t/b", "2", &other)], LIMIT).await {
            Ok(_) => break,
            Err(error) => assert!(error.refused_for(&Refusal::LockDelay), "{error}"),
        }
        assert!(destroyed.elapsed() < delay + LIMIT, "the lock delay does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_watch_ends_when_the_key_changes_and_when_its_wait_is_over() {
    let consul = Consul::start();
    let client = client(&consul);
    client.put("t/a", b"1", None, LIMIT).await.expect("written");
    let mut index = BlockingIndex::new();
    let watch = |index: u64, wait| client.watch("t/a", index, wait, Consistency::Default, LIMIT);

    let first = watch(index.next(), Duration::from_secs(60)).await.expect("at once");
    index.update(first.index);
    let started = Instant::now();
    let unchanged = watch(index.next(), Duration::from_millis(300)).await.expect("an answer");
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(unchanged.index, index.next());

    let writer = client.clone();
    let (seen, written) = tokio::join!(watch(index.next(), Duration::from_secs(60)), async move {
        writer.put("t/a", b"2", None, LIMIT).await
    });
    assert!(written.expect("written"));
    let seen = seen.expect("the change");
    assert_eq!(seen.entry.expect("an entry").value, b"2");
    index.update(seen.index);

    let writer = client.clone();
    let (seen, deleted) = tokio::join!(watch(index.next(), Duration::from_secs(60)), async move {
        writer.delete("t/a", LIMIT).await
    });
    deleted.expect("deleted");
    assert_eq!(seen.expect("the deletion").entry, None);
    assert!(started.elapsed() < Duration::from_secs(50), "a watch slept through a change");
}

#[tokio::test]
async fn the_agent_and_the_leader_say_who_they_are() {
    let consul = Consul::start();
    let client = client(&consul);
    let agent = client.agent_self(LIMIT).await.expect("the agent");
    assert_eq!((agent.node_name.as_str(), agent.datacenter.as_str()), ("consul0", "dc1"));
    assert!(!agent.version.contains("standin"), "{}", agent.version);
    let leader = client.leader(LIMIT).await.expect("an answer").expect("a leader");
    assert!(leader.starts_with(&consul.servers()[0].ip().to_string()), "{leader}");
}

#[tokio::test]
async fn the_token_is_read_again_on_request_and_its_lack_is_denied() {
    let acl = json!({"acl": {
        "enabled": true, "default_policy": "deny", "tokens": {"master": "e95b599e-root"},
    }});
    let consul = Consul::start_with_token(acl, "e95b599e-root");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "not-a-known-token\n").expect("write");
    let client = Client::new(ClientConfig {
        addresses: consul.urls(),
        token_file: Some(file.path().to_owned()),
        ..ClientConfig::default()
    })
    .expect("a client");

    let request = request(Duration::from_secs(1));
    let denied = client.create_session(&request, LIMIT).await.expect_err("an unknown token");
    assert_eq!(denied.kind, Kind::Denied, "{denied}");
    let denied = client.txn(&[check_index("t/a", 1)], LIMIT).await.expect_err("an unknown token");
    assert_eq!(denied.kind, Kind::Denied, "{denied}");

    std::fs::write(file.path(), "\n").expect("write");
    let empty = client.reload_token().expect_err("an empty file");
    assert!(empty.to_string().contains(&file.path().display().to_string()), "{empty}");

    // The bootstrap of the master token is one of the leader's first duties.
    std::fs::write(file.path(), "e95b599e-root\n").expect("write");
    client.reload_token().expect("read again");
    let id = client.create_session(&request, LIMIT).await.expect("allowed");
    client.txn(&[lock("t/a", "1", &id)], LIMIT).await.expect("allowed");
    assert!(!format!("{client:?} {denied:?}").contains("e95b599e"));

    // Without a token: anonymous, and a transaction's operations are denied one by one.
    let anonymous = self::client(&consul);
    let denied = anonymous.txn(&[lock("t/a", "2", &id)], LIMIT).await.expect_err("anonymous");
    assert_eq!(denied.kind, Kind::Denied, "{denied}");
    let denied = anonymous.read("t/a", Consistency::Default, LIMIT).await.expect_err("anonymous");
    assert_eq!(denied.kind, Kind::Denied, "{denied}");
    assert_eq!(entry(&client, "t/a").await.value, b"1");
}

/// While no leader is there, no write may look refused; afterwards everything goes on.
#[tokio::test]
async fn the_death_of_the_leader_is_an_unknown_outcome_and_passes() {
    let mut consul = Consul::cluster(3);
    let client = client(&consul);
    let id = session(&client).await;
    client.txn(&[lock("t/a", "0", &id)], LIMIT).await.expect("locked");
    let leader = consul.leader().expect("a leader");
    consul.server(leader).kill();

    let started = Instant::now();
    let mut beat = 0;
    loop {
        beat += 1;
        let limit = Duration::from_millis(500);
        match client.txn(&[lock("t/a", &beat.to_string(), &id)], limit).await {
            Ok(_) => break,
            Err(error) => {
                assert!(matches!(error.kind, Kind::Unknown | Kind::NotSent), "{error:?}");
            }
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no second leader");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The value may be that of an earlier beat: one of unknown outcome can still come through.
    assert_eq!(entry(&client, "t/a").await.session.as_ref(), Some(&id));
    client.renew_session(&id, LIMIT).await.expect("the session lives on");
}
