//! Restarts of neard that an operator plans.

mod support;

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use support::{
    chain::read_json,
    kneard::Kneard,
    operator::{json, kneard_ctl, refusal, wait_until_eligible, wait_until_settled},
    pair::Pair,
    wait::{secs, wait_until},
};

const NOTE: &str = "kneard-planned-shutdown.json";

fn config(kneard: &Kneard) -> Vec<u8> {
    fs::read(kneard.setup.home.join("config.json")).unwrap()
}

fn expected_shutdown(kneard: &Kneard) -> Value {
    read_json(&kneard.setup.home.join("config.json"))["expected_shutdown"].clone()
}

fn term(pair: &Pair) -> u64 {
    pair.entry().and_then(|entry| entry.term()).expect("there is a record")
}

#[test]
fn in_place_neard_ends_in_a_window_and_the_holder_keeps_the_key() {
    let pair = Pair::start();
    wait_until_eligible(&pair);
    let (before, term_before, text) = (pair.holder.neard(), term(&pair), config(&pair.holder));
    let status = json(&pair.holder, &["maintenance-status"]);
    assert_eq!((&status["validates"], &status["planned"]), (&Value::Bool(true), &Value::Null));
    assert!(!status["windows"].as_array().unwrap().is_empty(), "{status}");

    let ended = kneard_ctl(&pair.holder, &["restart", "1", "--wait"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("neard will end at height"), "{}", ended.stdout);
    assert!(ended.stdout.contains("kneard1 could take the key instead"), "{}", ended.stdout);
    assert!(ended.stdout.contains("neard is restarted; this node is Validating"));
    before.wait_dead(secs(1), "the neard that was to be restarted");
    assert_eq!(term(&pair), term_before, "the key changed hands");
    assert_eq!(pair.standby.state().as_deref(), Some("Voting"));
    assert_eq!(config(&pair.holder), text, "config.json is not as it was, to the byte");
    assert!(!pair.holder.setup.home.join(NOTE).exists());
    assert!(pair.holder.log().contains("as planned: restarting it"));
    assert!(
        pair.holder.log().contains("Expected shutdown triggered"),
        "it was not neard's own end"
    );
    pair.assert_one_signer();
}

#[test]
fn with_hot_swap_the_key_goes_to_a_standby_first() {
    let pair = Pair::hot();
    wait_until_eligible(&pair);
    let (before, successor) = (pair.holder.neard(), pair.standby.neard());
    let ended = kneard_ctl(&pair.holder, &["restart", "--wait"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("kneard1 holds the validator key"), "{}", ended.stdout);
    before.wait_dead(secs(1), "the neard that was to be restarted");
    assert_eq!(pair.standby.neard(), successor);
    assert_eq!(pair.standby.state().as_deref(), Some("Validating"));

    // Now it is a standby, whose neard can be restarted at any time.
    let before = pair.holder.neard();
    let why = refusal(&pair.holder, &["restart", "--schedule-at", "100000"]);
    assert!(why.contains("at any time"), "{why}");
    let answer = json(&pair.holder, &["restart"]);
    assert_eq!(answer["how"], "standby");
    before.wait_dead(secs(15), "the standby's neard");
    pair.assert_one_signer();
}

#[test]
fn a_planned_restart_is_shown_and_can_be_cancelled() {
    let mut pair = Pair::hot();
    wait_until_eligible(&pair);
    let (neard, text) = (pair.holder.neard(), config(&pair.holder));
    let why = refusal(&pair.holder, &["restart", "--schedule-at", "1"]);
    assert!(why.contains("height 1 is past"), "{why}");
    let why = refusal(&pair.holder, &["restart", "--in-place", "100000"]);
    assert!(why.contains("no window of 100000 blocks is left"), "{why}");
    assert_eq!(config(&pair.holder), text);

    let height = 100_000;
    let answer = json(&pair.holder, &["restart", "--schedule-at", "100000"]);
    assert_eq!((&answer["how"], &answer["height"]), (&"at_height".into(), &height.into()));
    assert_eq!(expected_shutdown(&pair.holder), height);
    assert_eq!(json(&pair.holder, &["maintenance-status"])["planned"], height);
    assert_eq!(json(&pair.holder, &["status"])["planned_restart"], height);
    let told = support::http::get(pair.holder.setup.rpc, "/metrics").unwrap();
    assert!(told.contains("Some(100000)") || told.contains("100000"), "neard does not know of it");
    let why = refusal(&pair.holder, &["restart", "--schedule-at", "100001"]);
    assert!(why.contains("planned at height 100000 already"), "{why}");
    let why = refusal(&pair.holder, &["switchover"]);
    assert!(why.contains("restart --cancel"), "{why}");

    let cancelled = json(&pair.holder, &["restart", "--cancel"]);
    assert_eq!(cancelled["height"], height);
    assert_eq!(config(&pair.holder), text);
    assert_eq!(json(&pair.holder, &["restart", "--cancel"])["height"], Value::Null);
    assert_eq!(pair.holder.neard(), neard);

    // A crash with a plan: the next start must not end at once.
    json(&pair.holder, &["restart", "--schedule-at", "100000"]);
    pair.holder.signal(Signal::SIGKILL);
    pair.holder.wait_exit(secs(5));
    assert_eq!(expected_shutdown(&pair.holder), height, "nobody could undo it");
    let setup = pair.holder.setup.clone();
    pair.holder = setup.start();
    pair.holder.wait_for("Voting", secs(60));
    assert_eq!(config(&pair.holder), text);
    assert!(!pair.holder.setup.home.join(NOTE).exists());
    pair.assert_one_signer();
}

#[test]
fn a_neard_that_does_not_confirm_is_not_left_with_a_plan() {
    let pair = Pair::start_with(1, |setup| {
        setup.more.extend(["--promotion", "restart"].map(Into::into));
        let faults = r#"{"reload": "broken"}"#;
        setup.environment.push(("NEARD_SIM_FAULTS".into(), faults.into()));
    });
    wait_until_settled(&pair.holder);
    let text = config(&pair.holder);
    let why = refusal(&pair.holder, &["restart", "--schedule-at", "100000"]);
    assert!(why.contains("neard does not confirm") && why.contains("Nothing is planned"), "{why}");
    assert_eq!(config(&pair.holder), text);
    wait_until(secs(5), "nothing is planned", || {
        json(&pair.holder, &["maintenance-status"])["planned"].is_null().then_some(())
    });
    assert_eq!(pair.holder.state().as_deref(), Some("Validating"));
}
