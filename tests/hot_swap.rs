//! The key goes into a running neard and out of it again: no restart, no block missed.

mod support;

use nix::sys::signal::Signal;

use support::{
    pair::{Pair, TAKEOVER},
    signatures,
    wait::{boot_time, report, secs},
};

fn rounds() -> usize {
    std::env::var("KNEARD_TEST_ROUNDS").map_or(5, |n| n.parse().expect("a number"))
}

/// A neard that has just started is left alone for a second before it is told to reload.
fn wait_until_settled(pair: &Pair) {
    let rpc = pair.standby.setup.rpc;
    support::wait::wait_until(secs(20), "the standby's neard has run for a while", || {
        let status = support::http::get(rpc, "/status").ok()?;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        (status["uptime_sec"].as_u64()? >= 2).then_some(())
    });
}

fn hot() -> Pair {
    Pair::start_with(1, |setup| setup.more.extend(["--promotion", "hot-swap"].map(Into::into)))
}

#[test]
fn a_dead_kneard_is_followed_without_a_restart() {
    let mut pair = hot();
    let mut takeovers = Vec::new();
    for _ in 0..rounds() {
        wait_until_settled(&pair);
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
    let mut pair = hot();
    for _ in 0..rounds() {
        wait_until_settled(&pair);
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
