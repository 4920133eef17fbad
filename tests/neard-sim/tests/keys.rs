//! Loading and unloading keys with SIGHUP, and what the checker makes of it.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{BOUND, Localnet, Neard, signature_check, wait_for};
use neard_sim::alive::Stamp;
use neard_sim::clock::boot_ns;
use neard_sim::keys::{KeyFile, SecretKey};
use nix::sys::signal::Signal;

/// A chain of node0 to node2, and node4 and node5 without a key: two homes for node3's key.
fn with_two_standbys() -> (Localnet, Vec<Neard>, Neard, Neard) {
    let net = Localnet::new(4, 2);
    for name in ["node4", "node5"] {
        fs::remove_file(net.key(name)).unwrap();
    }
    let nodes = net.start_all(&["node0", "node1", "node2"]);
    let (a, b) = (net.start("node4"), net.start("node5"));
    for node in [&a, &b] {
        wait_for("in sync", BOUND, || (!node.syncing() && node.height() > 2).then_some(()));
    }
    (net, nodes, a, b)
}

/// Puts a link to node3's key in, sends HUP and waits for `/status`; gives the time it took.
fn load(net: &Localnet, node: &Neard) -> Duration {
    symlink(net.key("node3"), node.home.join("validator_key.json")).unwrap();
    let began = Instant::now();
    node.signal(Signal::SIGHUP);
    wait_for("the key in /status", BOUND, || node.has_key().then_some(()));
    began.elapsed()
}

fn unload(node: &Neard) -> Duration {
    fs::remove_file(node.home.join("validator_key.json")).unwrap();
    let began = Instant::now();
    node.signal(Signal::SIGHUP);
    wait_for("no key in /status", BOUND, || (!node.has_key()).then_some(()));
    began.elapsed()
}

/// Waits until the process of `home` no longer shows life, and for as long as the checker
/// grants it beyond its last stamp.
fn wait_for_the_last_stamp(home: &Path) {
    wait_for("no more stamps", BOUND, || {
        let stamp = Stamp::read(home).unwrap()?;
        (boot_ns() > stamp.last + 50_000_000).then_some(())
    });
}

#[test]
fn a_key_is_loaded_and_unloaded_and_signs_meanwhile() {
    let (net, _nodes, a, _b) = with_two_standbys();
    assert!(!a.has_key());
    assert_eq!(a.metric("near_config_reloads_total"), Some(1));
    load(&net, &a);
    assert_eq!(a.wait_status()["validator_account_id"], "node3");
    assert_eq!(a.metric("near_config_reloads_total"), Some(2));
    wait_for("a block of node3", BOUND, || (a.blocks_produced() > 0).then_some(()));
    // neard finds out when it next logs its summary, every ten seconds.
    wait_for("near_is_validator", BOUND, || {
        (a.metric("near_is_validator") == Some(1)).then_some(())
    });
    unload(&a);
    assert!(a.wait_status()["validator_account_id"].is_null());
    assert!(a.log().contains("INFO neard: Hot loading validator key "));
    assert!(a.log().contains("INFO neard: No validator key "));
}

/// The fastest of ten: what it takes neard, and not what it waits for a processor.
#[test]
fn a_reload_takes_less_than_a_tenth_of_a_second() {
    let (net, _nodes, a, _b) = with_two_standbys();
    let (loading, unloading): (Vec<_>, Vec<_>) =
        (0..10).map(|_| (load(&net, &a), unload(&a))).unzip();
    println!("loading {loading:?}, unloading {unloading:?}");
    for times in [loading, unloading] {
        let fastest = times.into_iter().min().unwrap();
        assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    }
}

#[test]
fn an_invalid_file_keeps_the_key_and_is_seen_in_the_metrics() {
    let (net, _nodes, a, _b) = with_two_standbys();
    load(&net, &a);
    let config = a.home.join("config.json");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, "{").unwrap();
    fs::remove_file(a.home.join("validator_key.json")).unwrap();
    a.signal(Signal::SIGHUP);
    wait_for("near_config_correct 0", BOUND, || {
        (a.metric("near_config_correct")? == 0).then_some(())
    });
    assert!(a.has_key(), "an invalid reload must change nothing");
    assert!(a.log().contains("Dynamically updatable configs are not valid"));
    fs::write(&config, good).unwrap();
    a.signal(Signal::SIGHUP);
    wait_for("the key is gone", BOUND, || (!a.has_key()).then_some(()));
    assert_eq!(a.metric("near_config_correct"), Some(1));
}

#[test]
fn what_sighup_reads_is_what_lay_there_at_that_moment() {
    let (net, _nodes, a, _b) = with_two_standbys();
    fs::write(a.home.join("faults.json"), r#"{"reload_ms": 400}"#).unwrap();
    wait_for("the fault", BOUND, || a.log().contains("reload_ms: 400").then_some(()));
    symlink(net.key("node3"), a.home.join("validator_key.json")).unwrap();
    a.signal(Signal::SIGHUP);
    // The counter counts the reading and not its effect.
    wait_for("the reading", BOUND, || (a.metric("near_config_reloads_total")? == 2).then_some(()));
    assert!(!a.has_key());
    fs::remove_file(a.home.join("validator_key.json")).unwrap();
    wait_for("the key", BOUND, || a.has_key().then_some(()));
}

#[test]
fn a_link_that_leads_nowhere_unloads_and_a_broken_file_does_not() {
    let (net, _nodes, a, _b) = with_two_standbys();
    load(&net, &a);
    let key = a.home.join("validator_key.json");
    fs::remove_file(&key).unwrap();
    fs::write(&key, "").unwrap();
    a.signal(Signal::SIGHUP);
    wait_for("near_config_correct 0", BOUND, || {
        (a.metric("near_config_correct")? == 0).then_some(())
    });
    assert!(a.has_key());
    fs::remove_file(&key).unwrap();
    symlink(a.home.join("nowhere"), &key).unwrap();
    a.signal(Signal::SIGHUP);
    wait_for("no key", BOUND, || (!a.has_key()).then_some(()));
}

#[test]
fn another_key_for_a_validators_account_is_a_panic() {
    let (_net, _nodes, mut a, _b) = with_two_standbys();
    let key = KeyFile { account_id: "node3".into(), key: SecretKey::random().unwrap() };
    key.write(&a.home.join("validator_key.json")).unwrap();
    a.signal(Signal::SIGHUP);
    assert_eq!(a.wait_exit().signal(), Some(Signal::SIGABRT as i32));
    assert!(a.log().contains("validator key mismatch for node3"));
}

#[test]
fn a_clean_hand_over_passes_the_check_and_a_shared_key_does_not() {
    let (net, _nodes, a, b) = with_two_standbys();
    load(&net, &a);
    wait_for("a block of node3", BOUND, || (a.blocks_produced() > 0).then_some(()));
    unload(&a);
    let head = a.height();
    b.wait_height(head);
    load(&net, &b);
    wait_for("a block of node3", BOUND, || (b.blocks_produced() > 0).then_some(()));
    let (code, verdict) = signature_check(&[&a.home, &b.home]);
    assert_eq!(code, 0, "{verdict}");
    assert!(verdict.starts_with("verdict: 0 overlaps, 0 equivocations, 1 change of signer"));

    load(&net, &a);
    wait_for("two things signed for one height", BOUND, || {
        let (code, verdict) = signature_check(&[&a.home, &b.home]);
        (code == 1 && !verdict.contains(" 0 equivocations")).then_some(())
    });
    let (_, verdict) = signature_check(&[&a.home, &b.home]);
    assert!(verdict.starts_with("verdict: 1 overlap, "), "{verdict}");
}

#[test]
fn a_killed_holder_and_a_later_one_do_not_overlap() {
    let (net, _nodes, a, b) = with_two_standbys();
    load(&net, &a);
    let killed = a.kill();
    wait_for_the_last_stamp(&killed);
    load(&net, &b);
    let (code, verdict) = signature_check(&[&killed, &b.home]);
    assert_eq!(code, 0, "{verdict}");
    assert!(verdict.contains("1 change of signer"), "{verdict}");
}

#[test]
fn a_stopped_holder_that_goes_on_beside_its_successor_is_found_out() {
    let (net, _nodes, a, b) = with_two_standbys();
    load(&net, &a);
    a.signal(Signal::SIGSTOP);
    wait_for_the_last_stamp(&a.home);
    load(&net, &b);
    let (code, verdict) = signature_check(&[&a.home, &b.home]);
    assert_eq!(code, 0, "it could not sign while it was stopped: {verdict}");
    a.signal(Signal::SIGCONT);
    wait_for("an overlap", BOUND, || {
        let (code, _) = signature_check(&[&a.home, &b.home]);
        (code == 1).then_some(())
    });
}
