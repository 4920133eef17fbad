//! Answers recorded from Consul 1.8.7, and what must not pass for one.

use super::*;
use reqwest::header::HeaderMap;

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        address: "http://consul".to_owned(),
        status,
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    }
}

fn indexed(status: u16, body: &str) -> Answer {
    let mut answer = answer(status, body);
    answer.headers.insert("x-consul-index", "66".parse().expect("a header"));
    answer
}

fn lock(key: &str) -> TxnOp {
    TxnOp::Lock {
        key: key.to_owned(),
        value: Vec::new(),
        flags: 0,
        session: SessionId("b6c5c86a-6f57-726c-407e-89036399da90".to_owned()),
    }
}

/// Every wording as Consul 1.8.7 answered it.
#[test]
fn reasons_of_refused_transactions_are_told_apart() {
    for (what, expected) in [
        ("failed index check for key \"x/a\", current modify index 40 != 1", Refusal::Index),
        ("failed to set key \"x/a\", index is stale", Refusal::Index),
        ("failed to delete key \"x/a\", index is stale", Refusal::Index),
        ("failed to lock key \"x/a\", lock is already held", Refusal::LockHeld),
        ("failed to lock key \"x/a\" due to lock delay", Refusal::LockDelay),
        (
            "failed to unlock key \"x/a\", lock isn't held, or is held by another session",
            Refusal::LockNotHeld,
        ),
        (
            "failed session check for key \"x/a\", current session \
             \"574b8b04-87a1-db85-a79c-2bb43598f08b\" != \
             \"b6c5c86a-6f57-726c-407e-89036399da90\"",
            Refusal::LockNotHeld,
        ),
        ("invalid session \"00000000-0000-0000-0000-000000000000\"", Refusal::InvalidSession),
        ("failed session lookup: index error: UUID must be 36 characters", Refusal::InvalidSession),
        ("missing session", Refusal::InvalidSession),
        ("failed to check index, key \"x/nope\" doesn't exist", Refusal::Missing),
        ("failed to check session, key \"x/nope\" doesn't exist", Refusal::Missing),
        ("key \"x/nope\" doesn't exist", Refusal::Missing),
        ("key \"x/a\" exists", Refusal::Exists),
        ("Permission denied", Refusal::Denied),
        ("unknown KV verb \"bogus\"", Refusal::Other("unknown KV verb \"bogus\"".to_owned())),
    ] {
        assert_eq!(refusal(what), expected, "{what}");
    }
}

#[test]
fn a_refused_transaction_keeps_the_positions_and_says_everything_on_one_line() {
    let body = r#"{"Results":null,"Errors":[{"OpIndex":0,"What":"failed index check for key \"x/a\", current modify index 40 != 1"},{"OpIndex":1,"What":"failed to lock key \"x/a\", lock is already held"}]}"#;
    let ops = [TxnOp::CheckIndex { key: "x/a".to_owned(), index: 1 }, lock("x/a")];
    let failure = txn(&answer(409, body), &ops).expect_err("refused");
    let Kind::Refused(errors) = &failure.kind else { panic!("{failure:?}") };
    assert_eq!(errors[0].op_index, 0);
    assert_eq!(errors[0].refusal, Refusal::Index);
    assert_eq!(errors[1].op_index, 1);
    assert_eq!(errors[1].refusal, Refusal::LockHeld);
    assert!(failure.what.contains("current modify index 40 != 1; failed to lock"));
}

#[test]
fn a_transaction_counts_as_done_only_with_all_of_its_results() {
    let whole = r#"{"Results":[{"KV":{"LockIndex":1,"Key":"x/q","Flags":0,"Value":null,"Session":"574b8b04-87a1-db85-a79c-2bb43598f08b","CreateIndex":53,"ModifyIndex":53}}],"Errors":null}"#;
    let absent = TxnOp::CheckNotExists { key: "x/q".to_owned() };
    let results = txn(&answer(200, whole), &[absent, lock("x/q")]).expect("done");
    assert_eq!(results[0].modify_index, 53);
    assert_eq!(results[0].value, b"");
    for (status, body) in [
        (200, ""),
        (200, &whole[..whole.len() / 2]),
        (200, "true"),
        (200, "[]"),
        (200, r#"{"Results":[],"Errors":null}"#),
        (200, r#"{"Results":null,"Errors":[{"OpIndex":0,"What":"x"}]}"#),
        (200, &whole.replace("x/q", "x/other")),
        (200, "<html>sign in</html>"),
        (409, r#"{"Results":null,"Errors":null}"#),
        (409, r#"{"Results":null,"Errors":[{"OpIndex":9,"What":"x"}]}"#),
        (409, "Conflict"),
        (404, ""),
    ] {
        let failure = txn(&answer(status, body), &[lock("x/q")]).expect_err(body);
        assert_eq!(failure.kind, Kind::Unknown, "{status} {body}");
    }
}

#[test]
fn only_consuls_own_404_means_that_a_key_is_missing() {
    let read_x = |answer: &Answer| read(answer, "x/a");
    assert_eq!(read_x(&indexed(404, "")).expect("missing").entry, None);
    for bad in [
        answer(404, ""),
        indexed(404, "<html>no such page</html>"),
        answer(200, "[]"),
        indexed(200, "[]"),
        indexed(200, ""),
        indexed(200, r#"[{"LockIndex":2,"Key":"x/a","Flags":0,"Va"#),
        indexed(200, r#"[{"LockIndex":2,"Key":"x/b","CreateIndex":37,"ModifyIndex":66}]"#),
        indexed(200, r#"[{"Key":"x/a","CreateIndex":37}]"#),
    ] {
        let failure = read_x(&bad).expect_err("garbage");
        assert_eq!(failure.kind, Kind::Unknown, "{failure:?}");
    }
}

#[test]
fn an_entry_is_read_with_its_lock() {
    let body = r#"[{"LockIndex":1,"Key":"x/a","Flags":0,"Value":"b25lMg==","Session":"b6c5c86a-6f57-726c-407e-89036399da90","CreateIndex":37,"ModifyIndex":40}]"#;
    let read = read(&indexed(200, body), "x/a").expect("an entry");
    assert_eq!(read.index, 66);
    let entry = read.entry.expect("an entry");
    assert_eq!(entry.value, b"one2");
    assert_eq!(entry.session.expect("locked").as_str(), "b6c5c86a-6f57-726c-407e-89036399da90");
}

#[test]
fn a_session_is_gone_only_in_consuls_own_words() {
    let id = SessionId("00000000-0000-0000-0000-000000000000".to_owned());
    let own = "Session id '00000000-0000-0000-0000-000000000000' not found";
    assert_eq!(renewed(&answer(404, own), &id).expect_err("gone").kind, Kind::NotFound);
    for bad in [answer(404, ""), answer(404, "404 page not found"), answer(200, "[]")] {
        assert_eq!(renewed(&bad, &id).expect_err("garbage").kind, Kind::Unknown);
    }
}

#[test]
fn refusals_that_any_request_can_meet() {
    let unknown_session = "invalid session \"00000000-0000-0000-0000-000000000000\"";
    for (status, body, expected) in [
        (403, "Permission denied", Kind::Denied),
        (403, "ACL not found", Kind::Denied),
        (500, "rpc error making call: ACL not found", Kind::Denied),
        (500, unknown_session, Kind::InvalidSession),
        (500, "No cluster leader", Kind::Unknown),
        (500, "leadership lost while committing log", Kind::Unknown),
        (500, "Missing node registration", Kind::Invalid),
        (503, "", Kind::Unknown),
        (502, "<html>\nBad gateway\n</html>", Kind::Unknown),
        (301, "", Kind::Unknown),
        (204, "", Kind::Unknown),
        (400, "Missing key name", Kind::Invalid),
        (429, "Your IP is issuing too many concurrent connections", Kind::NotSent),
    ] {
        let failure = turned_away(&answer(status, body)).expect(body);
        assert_eq!(failure.kind, expected, "{status} {body}");
        assert!(!failure.what.contains('\n'), "{:?}", failure.what);
    }
}

/// 429 is Consul's word for servers that are not well, too; other words for it are no answer.
#[test]
fn the_servers_health_is_read_with_either_status() {
    let server = r#"{"ID": "a0", "Name": "consul1", "Address": "127.0.0.1:8300", "SerfStatus":
        "failed", "LastContact": "0s", "LastTerm": 0, "Healthy": false, "Voter": true}"#;
    let body =
        |servers| format!(r#"{{"Healthy": false, "FailureTolerance": 0, "Servers": {servers}}}"#);
    let sick = health(&answer(429, &body(format!("[{server}]")))).expect("health");
    assert_eq!((sick.failure_tolerance, sick.servers.len()), (0, 1));
    assert_eq!((&*sick.servers[0].name, sick.servers[0].healthy), ("consul1", false));
    // A leader that has not looked yet.
    assert_eq!(health(&answer(429, &body("null".to_owned()))).expect("health").servers, []);
    assert!(health(&answer(200, &body("[]".to_owned()))).is_ok());
    for (status, body) in [(429, "Your IP is issuing too many"), (200, "{}"), (404, "")] {
        assert!(health(&answer(status, body)).is_err(), "{status} {body}");
    }
}

#[test]
fn long_answers_are_shortened() {
    let line = one_line(&"word\n\u{7} ".repeat(500));
    assert!(line.chars().count() <= 201 && line.ends_with('…'), "{line}");
    assert!(!line.contains(char::is_control));
}
