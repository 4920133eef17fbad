//! Planned switchovers, as operators order them.

mod support;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use serde_json::Value;

use support::{
    blocks,
    kneard::Kneard,
    operator::{json, kneard_ctl, refusal, wait_until_eligible},
    pair::{Pair, TAKEOVER},
    signatures,
    wait::{boot_time, report, secs, wait_until},
};

fn rounds() -> usize {
    std::env::var("KNEARD_TEST_ROUNDS").map_or(5, |n| n.parse().expect("a number"))
}

/// What the control socket answers to any body.
fn post(kneard: &Kneard, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(kneard.setup.home.join("kuutamod.sock")).unwrap();
    stream.set_read_timeout(Some(secs(5))).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_hot_switchover_misses_no_block_and_restarts_only_the_predecessor_afterwards() {
    let mut pair = Pair::hot();
    let (mut silent, mut active, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    let mut missed = Vec::new();
    for _ in 0..rounds() {
        wait_until_eligible(&pair);
        let height = pair.chain.height().expect("the chain has a head");
        let (before, after) = (pair.holder.neard(), pair.standby.neard());
        let start = boot_time();
        let ended = json(&pair.holder, &["switchover", "--wait"]);
        let last = |kneard: &Kneard, event| signatures::last(&kneard.setup.home, event).unwrap();
        let (unload, load) =
            (last(&pair.holder, "key-unloaded"), last(&pair.standby, "key-loaded"));
        assert!(start < unload && unload <= load, "{start:?} {unload:?} {load:?}");
        silent.push(unload - start);
        active.push(load - start);
        assert_eq!(ended["holder"], pair.standby.setup.node_id.as_str());
        seconds.push(std::time::Duration::from_secs_f64(ended["seconds"].as_f64().unwrap()));
        assert_eq!(pair.standby.neard(), after, "the successor's neard was restarted");
        // Every validator has had a turn since.
        let end = pair.chain.height().expect("the chain has a head") + 5;
        pair.chain.wait_for_height(end);
        missed.extend(blocks::missed(pair.chain.rpc(0), height, end));
        before.wait_dead(secs(15), "the predecessor's neard, which is to be restarted");
        pair.exchange();
        pair.standby.wait_for("Voting", secs(30));
        assert_eq!(pair.holder.neard(), after);
    }
    let verdict = pair.assert_one_signer();
    println!("{}", verdict.text);
    println!("missed: {missed:?}");
    println!("hot switchover, from the start of the command");
    report("until the old signer has given the key up", &silent);
    report("until the new signer has the key", &active);
    report("until the old holder knows of it", &seconds);
    assert!(missed.is_empty(), "missed: {missed:?}");

    // What the new holder wrote of it.
    let history = json(&pair.holder, &["history", "--limit", "1"]);
    let last = &history[0];
    assert_eq!(last["to"], pair.holder.setup.node_id.as_str());
    assert_eq!(last["from"], pair.standby.setup.node_id.as_str());
    assert_eq!((&last["kind"], &last["planned"]), (&"switchover".into(), &true.into()));
    assert!(last["seconds_without_signer"].as_f64().unwrap() < 1.0, "{last}");
    assert_eq!(json(&pair.standby, &["history"])[0], *last, "every node tells the same");
    let table = kneard_ctl(&pair.holder, &["history"]).stdout;
    assert!(table.starts_with("TIME") && table.contains("switchover"), "{table}");
    let counted = pair.holder.metric(r#"kuutamod_takeovers_total{reason="switchover"}"#);
    assert!(counted >= Some(1.0), "{counted:?}");
    assert!(pair.holder.metric("kuutamod_last_takeover_seconds") < Some(60.0));
    assert!(pair.holder.metric("kuutamod_takeover_duration_seconds_count") >= Some(1.0));
}

#[test]
fn a_switchover_with_restarts_hands_over_to_the_named_node() {
    let pair = Pair::start();
    wait_until_eligible(&pair);
    let ended = json(&pair.holder, &["switchover", "--to", "kneard1", "--wait"]);
    assert_eq!(ended["holder"], "kneard1");
    pair.assert_one_signer();
}

#[test]
fn a_switchover_that_cannot_be_is_refused_with_the_reason() {
    let mut pair = Pair::hot();
    wait_until_eligible(&pair);
    let why = refusal(&pair.standby, &["switchover"]);
    assert!(why.contains("kneard0 on ") && why.contains("run this there"), "{why}");
    let why = refusal(&pair.holder, &["switchover", "--to", "kneard7"]);
    assert!(why.contains("no node \"kneard7\"; the nodes are kneard0, kneard1"), "{why}");
    let why = refusal(&pair.holder, &["switchover", "--to", "kneard0"]);
    assert!(why.contains("kneard0 holds the validator key already"), "{why}");
    assert_eq!(kneard_ctl(&pair.holder, &["switchover", "--too", "x"]).code, Some(2));

    for garbage in ["", "{", "[]", r#"{"to": 7}"#, r#"{"two": "kneard1"}"#] {
        let answer = post(&pair.holder, "/switchover", garbage);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{garbage}: {answer}");
        assert!(answer.contains(r#"{"error":"not an order that I know: "#), "{answer}");
    }

    pair.standby.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(pair.standby.wait_exit(secs(20)).success());
    let why = refusal(&pair.holder, &["switchover"]);
    assert!(why.contains("no other node is in Consul"), "{why}");
    assert_eq!(pair.holder.state().as_deref(), Some("Validating"));
    pair.assert_one_signer();
}

#[test]
fn a_key_that_nobody_takes_is_taken_back_and_the_command_says_so() {
    let pair = Pair::hot();
    wait_until_eligible(&pair);
    // It looks well for a while yet.
    pair.standby.signal(nix::sys::signal::Signal::SIGSTOP);
    let ended = kneard_ctl(&pair.holder, &["switchover", "--wait"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("kneard0 has taken it back"), "{}", ended.stderr);
    assert_eq!(pair.holder.state().as_deref(), Some("Validating"));
    pair.standby.signal(nix::sys::signal::Signal::SIGCONT);
    pair.assert_one_signer();
}

#[test]
fn while_paused_nobody_takes_over_and_afterwards_somebody_does() {
    let mut pair = Pair::start();
    wait_until_eligible(&pair);
    let answer = kneard_ctl(&pair.standby, &["pause", "work on the switch"]);
    assert_eq!(answer.code, Some(0), "{}\n{}", answer.stdout, answer.stderr);
    for kneard in [&pair.holder, &pair.standby] {
        assert_eq!(kneard.metric("kuutamod_paused"), Some(1.0));
        let status = json(kneard, &["status"]);
        assert_eq!(status["paused"]["reason"], "work on the switch");
    }
    let again = json(&pair.holder, &["pause", "something else"]);
    assert_eq!(again["already"], true);
    assert_eq!(again["pause"]["reason"], "work on the switch");
    let why = refusal(&pair.holder, &["switchover"]);
    assert!(why.contains("work on the switch") && why.contains("kneard-ctl resume"), "{why}");

    // The holder dies, and its guard gives the lock back: an invitation.
    pair.holder.signal(nix::sys::signal::Signal::SIGKILL);
    pair.holder.wait_exit(secs(5));
    wait_until(secs(10), "the lock is free", || {
        let entry = pair.entry()?;
        (entry.session.is_none() && entry.record()?["state"] == "released").then_some(())
    });
    let free = pair.entry().unwrap();
    let bound = std::time::Instant::now() + support::kneard::LEASE + secs(3);
    while std::time::Instant::now() < bound {
        assert_eq!(pair.entry().unwrap(), free, "somebody claimed the key");
        assert_eq!(pair.standby.state().as_deref(), Some("Voting"));
        std::thread::sleep(support::wait::millis(100));
    }

    // The last holder may come back.
    let setup = pair.holder.setup.clone();
    pair.holder = setup.start();
    pair.holder.wait_for("Validating", secs(60));
    wait_until(secs(30), "the return of the last holder is in the history", || {
        (json(&pair.standby, &["history"])[0]["from"] == "kneard0").then_some(())
    });

    pair.holder.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(pair.holder.wait_exit(secs(20)).success());
    assert_eq!(pair.standby.state().as_deref(), Some("Voting"));
    let answer = kneard_ctl(&pair.standby, &["resume"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    pair.standby.wait_for("Validating", TAKEOVER);
    assert_eq!(pair.standby.metric("kuutamod_paused"), Some(0.0));
    assert_eq!(json(&pair.standby, &["resume"])["pause"], Value::Null);

    let history = wait_until(secs(10), "the takeover is in the history", || {
        let history = json(&pair.standby, &["history"]);
        (history[0]["to"] == "kneard1").then_some(history)
    });
    let told: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["from"].as_str(), entry["to"].as_str(), entry["kind"].as_str()))
        .collect();
    let (zero, one) = (Some("kneard0"), Some("kneard1"));
    let wanted =
        [(zero, one, Some("shutdown")), (zero, zero, Some("failure")), (None, zero, Some("first"))];
    assert_eq!(told, wanted, "{history}");
    pair.assert_one_signer();
}
