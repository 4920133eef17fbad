//! Start, stop, signals, errors and faults of one process.

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{BOUND, Localnet, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn set_config(net: &Localnet, name: &str, change: impl FnOnce(&mut Value)) {
    let path = net.home(name).join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(&path, config.to_string()).unwrap();
}

#[test]
fn the_version_and_the_first_log_line_say_that_it_is_a_stand_in() {
    let out = Command::new(env!("CARGO_BIN_EXE_neard")).arg("--version").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.starts_with("neard (release 2.13.1-standin) (build stand-in)"), "{text}");
    let net = Localnet::new(1, 0);
    let node = net.start("node0");
    node.wait_status();
    let log = node.log();
    let mut lines = log.lines();
    assert!(lines.next().unwrap().contains("WARN neard: This is the stand-in"));
    assert!(
        lines.next().unwrap().contains(
            " INFO neard: version=\"2.13.1-standin\" build=\"stand-in\" latest_protocol=84"
        )
    );
}

#[test]
fn term_and_int_stop_it_in_the_set_time_with_neards_words_and_exit_0() {
    for (signal, name) in [(Signal::SIGTERM, "SIGTERM"), (Signal::SIGINT, "SIGINT")] {
        let net = Localnet::new(1, 0);
        let mut node = net.start_with("node0", &[("NEARD_SIM_STOP_MS", "400")]);
        node.wait_height(1);
        let began = Instant::now();
        node.signal(signal);
        assert_eq!(node.wait_exit().code(), Some(0));
        assert!(began.elapsed() >= Duration::from_millis(390));
        let log = node.log();
        for line in [
            format!(" WARN neard: {name}, stopping... this may take a few minutes."),
            " INFO neard: Waiting for RocksDB to gracefully shutdown".to_owned(),
            " INFO db: Dropped a RocksDB instance. num_instances=0".to_owned(),
            " INFO db: All RocksDB instances performed a graceful shutdown".to_owned(),
        ] {
            assert!(log.contains(&line), "{line}");
        }
        let journal = fs::read_to_string(node.home.join("signatures.log")).unwrap();
        assert!(journal.lines().last().unwrap().contains("\"event\":\"exit\""));
    }
}

#[test]
fn files_that_are_missing_or_wrong_end_it_with_neards_words() {
    for (file, content, said) in [
        ("config.json", None, "config.json file issue: Failed to read config from"),
        ("config.json", Some("{"), "config.json file issue: Failed to deserialize config from"),
        ("node_key.json", None, "Failed reading node key file from"),
        ("genesis.json", Some("[]"), "genesis.json file issue"),
        ("validator_key.json", Some("{}"), "Failed initializing validator signer from"),
        ("log_config.json", Some("no"), "Error reading dynamic configs"),
    ] {
        let net = Localnet::new(1, 0);
        let path = net.home("node0").join(file);
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let mut node = net.start("node0");
        assert_eq!(node.wait_exit().signal(), Some(Signal::SIGABRT as i32), "{file}");
        assert!(node.log().contains(said), "{file}: {}", node.log());
    }
}

#[test]
fn a_second_process_on_one_home_and_a_port_in_use_end_it() {
    let net = Localnet::new(1, 1);
    let first = net.start("node0");
    first.wait_status();
    let mut second = net.start("node0");
    assert!(!second.wait_exit().success());
    assert!(second.log().contains("While lock file: "));
    set_config(&net, "node1", |config| {
        config["rpc"]["addr"] = json!(first.rpc.to_string());
    });
    let mut third = net.start("node1");
    assert!(!third.wait_exit().success());
    assert!(third.log().contains("Address already in use"), "{}", third.log());
}

#[test]
fn the_expected_shutdown_stops_it_at_its_height_with_exit_0() {
    let net = Localnet::new(1, 0);
    let mut node = net.start("node0");
    node.wait_status();
    let height = node.height() + 5;
    set_config(&net, "node0", |config| config["expected_shutdown"] = json!(height));
    node.signal(Signal::SIGHUP);
    wait_for("the metric", BOUND, || {
        (node.metric("near_block_expected_shutdown")? == height).then_some(())
    });
    assert_eq!(node.wait_exit().code(), Some(0));
    assert!(node.log().contains("Expected shutdown triggered"));
}

#[test]
fn on_testnet_a_validator_that_tracks_all_shards_panics() {
    let net = Localnet::new(1, 0);
    let genesis = net.home("node0").join("genesis.json");
    let mut value: Value = serde_json::from_str(&fs::read_to_string(&genesis).unwrap()).unwrap();
    value["chain_id"] = json!("testnet");
    fs::write(&genesis, value.to_string()).unwrap();
    let mut node = net.start("node0");
    assert_eq!(node.wait_exit().signal(), Some(Signal::SIGABRT as i32));
    set_config(&net, "node0", |config| {
        config["tracked_shards_config"] = json!({"ShadowValidator": "node0"});
    });
    net.start("node0").wait_height(2);
}

#[test]
fn rpc_errors_have_nearcores_shape() {
    let net = Localnet::new(1, 0);
    let node = net.start("node0");
    node.wait_status();
    let (code, answer) = node.rpc("block", &json!({"block_id": 1_000_000}));
    assert_eq!(code, 422);
    assert_eq!(answer["error"]["name"], "HANDLER_ERROR");
    assert_eq!(answer["error"]["cause"]["name"], "UNKNOWN_BLOCK");
    assert_eq!(answer["error"]["code"], -32_000);
    let (_, answer) = node.rpc("no_such_method", &json!({}));
    assert_eq!(answer["error"]["cause"]["info"]["method_name"], "no_such_method");
    assert_eq!(answer["error"]["code"], -32_601);
    let (_, answer) =
        node.rpc("EXPERIMENTAL_maintenance_windows", &json!({"account_id": "nobody"}));
    let windows = answer["result"].as_array().unwrap();
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0]["end"], 500);
    let (_, answer) = node.rpc("network_info", &json!([]));
    assert_eq!(answer["result"]["num_active_peers"], 0);
    assert_eq!(node.get("/health").unwrap().0, 200);
}

#[test]
fn faults_come_and_go_with_their_file() {
    let net = Localnet::new(1, 0);
    let mut node = net.start("node0");
    node.wait_status();
    let faults = node.home.join("faults.json");
    let set = |text: &str| fs::write(&faults, text).unwrap();

    set(r#"{"status": "fail"}"#);
    wait_for("HTTP 500", BOUND, || (node.get("/status")?.0 == 500).then_some(()));
    set(r#"{"status": "hang"}"#);
    let request = "GET /status HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n";
    wait_for("no answer", BOUND, || {
        node.http(request, Duration::from_millis(300)).is_none().then_some(())
    });
    set(r#"{"never_synced": true}"#);
    wait_for("syncing", BOUND, || node.syncing().then_some(()));
    set(r#"{"reload": "unsupported"}"#);
    wait_for("the old version", BOUND, || {
        (node.status()?["version"]["version"] == "1.27.0-standin").then_some(())
    });
    node.signal(Signal::SIGHUP);
    fs::remove_file(&faults).unwrap();
    wait_for("no faults", BOUND, || (!node.syncing()).then_some(()));
    assert_eq!(node.metric("near_config_reloads_total"), Some(1), "HUP was not obeyed");

    set(r#"{"ignore_term": true}"#);
    wait_for("the fault in the log", BOUND, || {
        node.log().contains("ignore_term: true").then_some(())
    });
    node.signal(Signal::SIGTERM);
    node.wait_height(node.height() + 2);
    let height = node.height() + 3;
    set(&format!(r#"{{"crash_at": {height}}}"#));
    assert_eq!(node.wait_exit().signal(), Some(Signal::SIGABRT as i32));
}

#[test]
fn faults_at_the_start_come_from_the_environment() {
    let net = Localnet::new(1, 0);
    let mut node = net.start_with("node0", &[("NEARD_SIM_FAULTS", r#"{"exit_at_start": 7}"#)]);
    assert_eq!(node.wait_exit().code(), Some(7));
    let mut node = net.start_with("node0", &[("NEARD_SIM_FAULTS", "nonsense")]);
    assert_eq!(node.wait_exit().code(), Some(2));
    let began = Instant::now();
    let node = net.start_with("node0", &[("NEARD_SIM_FAULTS", r#"{"start_ms": 700}"#)]);
    node.wait_status();
    assert!(began.elapsed() >= Duration::from_millis(690));
}
