//! The stand-in (and so the model behind it) answers as a real Consul does: the same operations
//! go to both through the same client, and every answer is compared. docs/safety.md says what is
//! compared and which differences are allowed.
//!
//! `KNEARD_SEED=n` replays one round, `KNEARD_ROUNDS=n` runs more or fewer of them.
mod conformance;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use conformance::LIMIT;
use conformance::gap::Gap;
use conformance::rounds::Pair;
use conformance::side::Side;
use conformance::timed::{TTL, Timed};
use kneard::consul::model::Op;
use kneard::consul::{Behavior, Consistency, Refusal};
use serde_json::json;
use support::consul::Consul;

const ROUNDS: u64 = 250;
const OPERATIONS_A_ROUND: usize = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test]
async fn random_operations_are_answered_alike() {
    // Readers that are not woken leave their connections behind for a while.
    let consul = Consul::start_with(json!({"limits": {"http_max_conns_per_client": 4000}}));
    let mut pair = Pair::new(consul.url(), conformance::stand_in().await);
    let seeds = match number("KNEARD_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("KNEARD_ROUNDS").unwrap_or(ROUNDS),
    };
    for seed in seeds {
        let mut round = pair.round(seed, format!("KNEARD_SEED={seed}"));
        pair.steps(&mut round, OPERATIONS_A_ROUND).await;
    }
    println!("one server: {}, 0 differences", pair.counts);
}

/// When sessions end by their timer, what becomes of their locks, and for how long a lock is
/// delayed then: at the moment at which Consul does it, the model must allow it.
#[tokio::test]
async fn sessions_end_and_locks_are_delayed_when_the_model_allows_it() {
    let consul = Consul::start();
    let mut both = Timed::new(consul.url());
    let delay = Duration::from_secs(2);
    let other = both.create(Duration::from_secs(600), Duration::ZERO, Behavior::Release).await;
    let forgotten = both.create(TTL, delay, Behavior::Release).await;
    let deleting = both.create(TTL, 2 * delay, Behavior::Delete).await;
    let renewed = both.create(TTL, Duration::ZERO, Behavior::Release).await;
    let destroyed = both.create(TTL, delay, Behavior::Release).await;
    let sessions = [&other, &forgotten, &deleting, &renewed, &destroyed];
    let keys = ["t/other", "t/forgotten", "t/deleting", "t/renewed", "t/destroyed"];
    for (key, session) in keys.into_iter().zip(sessions) {
        assert_eq!(both.lock(key, session).await, Ok(()));
        assert_eq!(both.lock(key, session).await, Ok(()), "the holder may lock again");
    }
    for key in &keys[1..] {
        assert_eq!(both.lock(key, &other).await, Err(Refusal::LockHeld));
    }

    // Ended on purpose, the delay is the same; the one who waited gets the lock after it.
    both.destroy(&destroyed).await;
    let ended = both.now();
    assert_eq!(both.lock("t/destroyed", &destroyed).await, Err(Refusal::LockDelay));
    both.lock_after_delay("t/destroyed", &other, ended, delay).await;

    both.until(Duration::from_secs(4)).await;
    both.renew(&renewed).await;
    let ended = both.expires("t/forgotten", &forgotten).await;
    let deleted = both.expires("t/deleting", &deleting).await;
    both.lock_after_delay("t/forgotten", &other, ended, delay).await;
    both.lock_after_delay("t/deleting", &other, deleted, 2 * delay).await;
    both.expires("t/renewed", &renewed).await;
    // Without a delay the lock is free at once; the old session is not known any more.
    assert_eq!(both.lock("t/renewed", &renewed).await, Err(Refusal::InvalidSession));
    assert_eq!(both.lock("t/renewed", &other).await, Ok(()));
    for key in keys {
        both.same(key).await;
    }
    println!("expiries and lock delays: {} answers compared, 0 differences", both.compared);
}

/// Three servers, one of the followers asked. Their leader is killed in the middle: what was
/// there before is there after, writes meanwhile are done, refused or of unknown outcome but never
/// lied about, and the sessions' timers start anew.
#[tokio::test]
async fn a_leader_change_is_what_the_model_says() {
    let mut consul = Consul::cluster(3);
    let leader = consul.leader().expect("a leader");
    let asked = consul.servers()[(leader + 1) % 3].url();
    let mut pair = Pair::new(asked.clone(), conformance::stand_in().await);
    let mut both = Timed::new(asked);

    // One round goes on across the change, sessions, locks and indexes included.
    let mut across = pair.round(1, "three servers".to_owned());
    pair.steps(&mut across, 500).await;

    let start = both.now();
    let short = both.create(TTL, Duration::ZERO, Behavior::Release).await;
    let long = both.create(Duration::from_secs(600), Duration::ZERO, Behavior::Release).await;
    let ended =
        both.create(Duration::from_secs(600), Duration::from_secs(60), Behavior::Release).await;
    let keys = ["t/short", "t/long", "t/ended"];
    for (key, session) in keys.into_iter().zip([&short, &long, &ended]) {
        assert_eq!(both.lock(key, session).await, Ok(()));
    }
    both.destroy(&ended).await;
    both.until(start + TTL + Duration::from_secs(1)).await;

    let killed = both.now();
    consul.server(leader).kill();
    let gap = Gap::live_through(&both, "gap", ("t/long", &long.real)).await;
    println!("no leader for {:.1?}; meanwhile {gap}", both.now() - killed);
    // The new leader started the timers at some moment since the old one was killed.
    both.model.apply(killed, Op::LeaderChanged);
    both.uncertain = both.now() - killed;
    gap.check(&both).await;
    for key in keys {
        both.same(key).await;
    }
    assert_eq!(both.lock("t/ended", &long).await, Err(Refusal::LockDelay));
    assert_eq!(both.lock("t/long", &long).await, Ok(()));
    assert_eq!(both.lock("t/short", &long).await, Err(Refusal::LockHeld));
    pair.steps(&mut across, 500).await;

    both.expires("t/short", &short).await;
    assert_eq!(both.lock("t/short", &long).await, Ok(()));
    println!("three servers: {}, {} more by time, 0 differences", pair.counts, both.compared);
}

/// What the client does not send but an operator's `curl` does, and the wrong requests.
#[tokio::test]
async fn raw_requests_are_answered_alike() {
    let consul = Consul::start();
    let real = &consul.servers()[0];
    let model = conformance::stand_in().await;
    let model = model.trim_start_matches("http://").parse().expect("an address");
    for (method, path, body) in [
        ("GET", "/v1/kv/x/a?raw", ""),
        ("GET", "/v1/kv/x?keys", ""),
        ("PUT", "/v1/kv/x/a?flags=42", "hello"),
        ("GET", "/v1/kv/x/a?raw", ""),
        ("PUT", "/v1/kv/x/b/c?cas=0", "two"),
        ("PUT", "/v1/kv/x/b/c?cas=0", "three"),
        ("PUT", "/v1/kv/x/b/d", "four"),
        ("GET", "/v1/kv/x/?keys", ""),
        ("GET", "/v1/kv/x/?keys&separator=/", ""),
        ("GET", "/v1/kv/?keys", ""),
        ("PUT", "/v1/kv/x/a?release=00000000-0000-0000-0000-000000000000", "x"),
        ("PUT", "/v1/kv/x/a?acquire=00000000-0000-0000-0000-000000000000", "x"),
        ("PUT", "/v1/kv/x/a?acquire=nonsense", "x"),
        ("PUT", "/v1/kv/x/a?acquire=1&cas=0", "x"),
        ("PUT", "/v1/kv/", "x"),
        ("GET", "/v1/kv/", ""),
        ("GET", "/v1/kv/x/a?stale&consistent", ""),
        ("GET", "/v1/kv/x/a?index=abc", ""),
        ("GET", "/v1/kv/x/a?index=1&wait=abc", ""),
        ("POST", "/v1/kv/x/a", ""),
        ("DELETE", "/v1/kv/x/a?cas=1", ""),
        ("DELETE", "/v1/kv/x/nothing?cas=1", ""),
        ("DELETE", "/v1/kv/x/b?recurse", ""),
        ("GET", "/v1/kv/x/?keys", ""),
        ("GET", "/v1/nonsense", ""),
        ("PUT", "/v1/session/create", r#"{"TTL":"5s"}"#),
        ("PUT", "/v1/session/create", r#"{"TTL":"10s","Node":"elsewhere"}"#),
        ("PUT", "/v1/session/create", r#"{"TTL":"10s","Behavior":"foo"}"#),
        ("PUT", "/v1/session/create", r#"{"TTL":"10s","NodeChecks":["nope"]}"#),
        ("PUT", "/v1/session/renew/nonsense", ""),
        ("PUT", "/v1/session/renew/00000000-0000-0000-0000-000000000000", ""),
        ("PUT", "/v1/session/destroy/00000000-0000-0000-0000-000000000000", ""),
        ("GET", "/v1/session/info/00000000-0000-0000-0000-000000000000", ""),
        ("GET", "/v1/session/info/nonsense", ""),
        ("GET", "/v1/session/list", ""),
        ("GET", "/v1/session/create", ""),
        ("PUT", "/v1/txn", r#"[{"KV":{"Verb":"bogus","Key":"x/a"}}]"#),
        ("PUT", "/v1/txn", r#"[{"KV":{"Verb":"lock","Key":"x/a"}}]"#),
        ("PUT", "/v1/txn", r#"[{"KV":{"Verb":"set","Value":"eA=="}}]"#),
        ("PUT", "/v1/txn", "[]"),
        ("GET", "/v1/txn", ""),
    ] {
        let expected = raw(real.http_addr(), method, path, body).await;
        let answered = raw(model, method, path, body).await;
        let expected = expected.unwrap_or_else(|| panic!("Consul: {method} {path}"));
        let answered = answered.unwrap_or_else(|| panic!("the stand-in: {method} {path}"));
        assert_eq!(expected.0, answered.0, "{method} {path}: {expected:?} {answered:?}");
        // Consul adds what it says of reads to transactions that have no write.
        let text = |body: &str| body.split(",\"Index\":").next().unwrap_or_default().to_owned();
        let text = |body: &str| text(body).trim_end_matches('}').trim_end().to_owned();
        assert_eq!(text(&expected.1), text(&answered.1), "{method} {path}");
    }
    let body = "garbage";
    for path in ["/v1/txn", "/v1/session/create"] {
        let expected = raw(real.http_addr(), "PUT", path, body).await;
        let answered = raw(model, "PUT", path, body).await;
        // The rest is the JSON parser's own complaint.
        let head = |answer: Option<(u16, String)>| {
            answer.map(|(status, body)| (status, body.split(':').next().map(str::to_owned)))
        };
        assert_eq!(head(expected), head(answered), "{path}");
    }
}

async fn raw(
    address: SocketAddr,
    method: &'static str,
    path: &'static str,
    body: &'static str,
) -> Option<(u16, String)> {
    // The stand-in answers on this very thread.
    let asked = move || support::consul::http(address, method, path, None, body);
    tokio::task::spawn_blocking(asked).await.expect("asked")
}

#[tokio::test]
async fn the_stand_in_says_that_it_is_one() {
    let side = Side::new(conformance::stand_in().await);
    let agent = side.client.agent_self(LIMIT).await.expect("the agent");
    assert!(agent.version.ends_with("-standin"), "{}", agent.version);
    let leader = side.client.leader(LIMIT).await.expect("an answer");
    assert!(leader.is_some());
}

#[tokio::test]
async fn the_stand_in_wakes_a_watch_and_lets_it_go_when_the_wait_is_over() {
    let client = Side::new(conformance::stand_in().await).client;
    client.put("t/a", b"1", None, LIMIT).await.expect("written");
    let watch = |index, wait| client.watch("t/a", index, wait, Consistency::Default, LIMIT);
    let first = watch(0, Duration::from_secs(60)).await.expect("at once");
    let started = tokio::time::Instant::now();
    let same = watch(first.index, Duration::from_millis(200)).await.expect("an answer");
    assert_eq!(same.index, first.index);
    assert!(started.elapsed() >= Duration::from_millis(200));
    let (seen, written) = tokio::join!(
        watch(first.index, Duration::from_secs(60)),
        client.put("t/a", b"2", None, LIMIT)
    );
    assert!(written.expect("written"));
    assert_eq!(seen.expect("the change").entry.expect("an entry").value, b"2");
    assert!(started.elapsed() < Duration::from_secs(30));
}
