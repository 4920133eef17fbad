//! `kneard release` as a service manager calls it after kneard's end.

mod support;

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use support::{
    binaries::{self, Ended, run_to_end},
    chain::ACCOUNT,
    http,
    pair::{Pair, TAKEOVER},
    wait::{secs, wait_until},
};

fn release(directory: &Path, flags: &[&str]) -> Ended {
    let mut command = binaries::clean(binaries::kneard());
    command.arg("release").arg("--runtime-dir").arg(directory).args(flags);
    run_to_end(command, secs(20))
}

/// The node's own entry in Consul.
fn published(pair: &Pair, name: &str) -> Value {
    let path = format!("/v1/kv/kuutamod-nodes/{ACCOUNT}/{name}?consistent");
    let text = http::get(pair.consul_address(), &path).unwrap_or_default();
    serde_json::from_str::<Value>(&text).map_or(Value::Null, |mut all| all[0].take())
}

#[test]
fn a_neard_that_was_left_behind_is_ended_before_the_lock_is_given_back() {
    // Its guard becomes our child: were there nobody above it in this session, the kernel would
    // continue it (POSIX: orphaned process groups), and it would do its work.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let mut pair = Pair::start();
    let directory = pair.holder.setup.runtime_directory();
    let name = pair.holder.setup.node_id.clone();
    wait_until(secs(20), "the holder publishes itself", || {
        published(&pair, &name)["Session"].is_string().then_some(())
    });
    let (guard, neard) = (pair.holder.guard(), pair.holder.neard());
    // Nobody is left to end neard.
    guard.signal(Signal::SIGSTOP);
    pair.holder.signal(Signal::SIGKILL);
    pair.holder.wait_exit(secs(5));

    let refused = release(&directory, &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains(&format!("alive with pid {}", neard.pid)),
        "{}",
        refused.stderr
    );
    assert!(neard.is_alive(), "killed by somebody who was not told that kneard has ended");

    let done = release(&directory, &["--kneard-ended"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!neard.is_alive(), "the lock was given back over a neard that lives");
    assert!(done.stderr.contains("unlocked"), "{}", done.stderr);
    // The next kneard of this host is listed once.
    let left = published(&pair, &name);
    assert!(left["Session"].is_null() && left["Value"].is_string(), "{left}");
    pair.standby.wait_for("Validating", TAKEOVER);
    pair.assert_one_signer();
}

#[test]
fn after_an_end_in_good_order_there_is_nothing_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let missing = release(directory.path(), &[]);
    assert_eq!(missing.code, Some(1), "{}", missing.stderr);
    assert!(missing.stderr.contains("kneard-lease.json"), "{}", missing.stderr);
    let done = release(directory.path(), &["--kneard-ended"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}
