//! The key goes into a running neard and out of it again: no restart, no block missed.

mod support;

use nix::sys::signal::Signal;

use serde_json::json;
use support::{
    chain::change_json,
    kneard::Setup,
    operator::wait_until_settled,
    pair::{Pair, TAKEOVER},
    signatures,
    wait::{boot_time, report, secs, wait_until},
};

fn rounds() -> usize {
    std::env::var("KNEARD_TEST_ROUNDS").map_or(5, |n| n.parse().expect("a number"))
}

#[test]
fn a_dead_kneard_is_followed_without_a_restart() {
    let mut pair = Pair::hot();
    let mut takeovers = Vec::new();
    for _ in 0..rounds() {
        wait_until_settled(&pair.standby);
        let standby = pair.standby.neard();
        let start = boot_time();
        pair.holder.signal(Signal::SIGKILL);
        pair.holder.wait_exit(secs(5));
        let home = pair.standby.setup.home.clone();
        pair.standby.wait_for("Validating", TAKEOVER);
        let signed = signatures::wait_for_signature(&home, start, TAKEOVER);
        takeovers.push(signed - start);
        assert_eq!(pair.standby.neard(), standby, "its neard was restarted");
        pair.exchange();
        pair.revive_standby();
    }
    pair.assert_one_signer();
    report("kill -9 of kneard, until the standby's first signature", &takeovers);
}

#[test]
fn a_stopped_kneard_hands_over_and_no_block_is_missed() {
    let mut pair = Pair::hot();
    for _ in 0..rounds() {
        wait_until_settled(&pair.standby);
        let standby = pair.standby.neard();
        pair.holder.signal(Signal::SIGTERM);
        pair.standby.wait_for("Validating", TAKEOVER);
        assert!(pair.holder.wait_exit(secs(20)).success());
        assert_eq!(pair.standby.neard(), standby, "its neard was restarted");
        pair.exchange();
        pair.revive_standby();
    }
    let verdict = pair.assert_one_signer();
    println!("{}", verdict.text);
}

/// The holder's kneard dies, and the standby takes over by a restart although it was to swap.
fn a_restart_because(mut pair: Pair, why: &str) {
    wait_until_settled(&pair.standby);
    let standby = pair.standby.neard();
    let start = boot_time();
    pair.holder.signal(Signal::SIGKILL);
    pair.holder.wait_exit(secs(5));
    pair.standby.wait_for("Validating", TAKEOVER);
    signatures::wait_for_signature(&pair.standby.setup.home, start, TAKEOVER);
    assert_ne!(pair.standby.neard(), standby, "its neard was not restarted");
    let log = pair.standby.log();
    let said = log.lines().find(|line| line.contains("hot swap") && line.contains(why));
    assert!(said.is_some(), "no line says that hot swap is left out because {why}:\n{log}");
    pair.assert_one_signer();
}

#[test]
fn a_neard_that_cannot_reload_is_restarted_and_the_log_says_why() {
    let old = json!({"reload": "unsupported"}).to_string();
    let pair = Pair::start_with(1, |setup| {
        Setup::swap_hot(setup);
        setup.environment.push(("NEARD_SIM_FAULTS".into(), old.clone().into()));
    });
    a_restart_because(pair, "cannot load a key while it runs; update neard");
}

#[test]
fn on_testnet_a_config_that_does_not_follow_the_account_is_named_and_neard_restarted() {
    let pair = Pair::start_as("testnet", |setup| {
        Setup::swap_hot(setup);
        change_json(&setup.home.join("config.json"), |config| {
            config["tracked_shards_config"] = json!("NoShards");
        });
    });
    a_restart_because(
        pair,
        "\\\"tracked_shards_config\\\": {\\\"ShadowValidator\\\": \\\"node3\\\"}",
    );
}

/// With all shards tracked, neard panics on testnet however it gets the key: kneard says so, tries
/// a restart, and another node takes the key.
#[test]
fn on_testnet_a_neard_that_tracks_all_shards_does_not_keep_the_key_from_others() {
    let mut pair = Pair::start_as("testnet", |setup| {
        Setup::swap_hot(setup);
        if setup.node_id == "kneard1" {
            change_json(&setup.home.join("config.json"), |config| {
                config["tracked_shards_config"] = json!("AllShards");
            });
        }
    });
    wait_until_settled(&pair.standby);
    pair.holder.signal(Signal::SIGKILL);
    pair.holder.wait_exit(secs(5));
    for said in ["no hot swap: ", "has neard track all shards, with which it panics on testnet"] {
        wait_until(TAKEOVER, &format!("the log says {said}"), || {
            pair.standby.log().contains(said).then_some(())
        });
    }
    let start = boot_time();
    pair.holder = pair.holder.setup.clone().start();
    signatures::wait_for_signature(&pair.holder.setup.home, start, secs(60));
    pair.assert_one_signer();
}
