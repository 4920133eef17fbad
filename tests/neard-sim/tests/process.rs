//! Start, stop, signals, errors and faults of one process.

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{BOUND, Localnet, wait_for};
use neard_sim::hash::Hash;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

#[test]
fn the_version_and_the_first_log_line_say_that_it_is_a_stand_in() {
    let out = Command::new(env!("CARGO_BIN_EXE_neard")).arg("--version").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.starts_with("neard (release 2.13.1-standin) (build stand-in)"), "{text}");
    assert!(text.contains("(min_protocol 83) (protocol 85) (db 49)\nfeatures: ["), "{text}");
    let net = Localnet::new(1, 0);
    let node = net.start("node0");
    node.wait_status();
    let log = node.log();
    let mut lines = log.lines();
    assert!(lines.next().unwrap().contains("WARN neard: This is the stand-in"));
    assert!(
        lines.next().unwrap().contains(
            " INFO neard: version=\"2.13.1-standin\" build=\"stand-in\" latest_protocol=85"
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
    net.set_config("node1", |config| {
        config["rpc"]["addr"] = json!(first.rpc.to_string());
    });
    let mut third = net.start("node1");
    assert!(!third.wait_exit().success());
    assert!(third.log().contains("Address already in use"), "{}", third.log());
}

#[test]
fn a_signal_right_after_the_first_answer_kills_it() {
    let net = Localnet::new(1, 0);
    // On a busy machine a signal may come later than that: then it is tried again.
    let killed = (0..50).any(|_| {
        let mut node = net.start("node0");
        wait_for("an answer", BOUND, || std::net::TcpStream::connect(node.rpc).ok());
        let pid = nix::unistd::Pid::from_raw(node.child.id() as i32);
        nix::sys::signal::kill(pid, Signal::SIGHUP).unwrap();
        let late = Instant::now() + Duration::from_secs(1);
        let status = wait_for("an end", BOUND, || match node.child.try_wait().unwrap() {
            None if Instant::now() < late => None,
            status => Some(status),
        });
        status.is_some_and(|status| status.signal() == Some(Signal::SIGHUP as i32))
    });
    assert!(killed, "it heard every signal");
}

#[test]
fn the_expected_shutdown_stops_it_at_its_height_with_exit_0() {
    let net = Localnet::new(1, 0);
    let mut node = net.start("node0");
    node.wait_status();
    let height = node.height() + 5;
    net.set_config("node0", |config| config["expected_shutdown"] = json!(height));
    node.signal(Signal::SIGHUP);
    let value = format!("value=\"Some({height})\"}} 1");
    wait_for("the metric", BOUND, || {
        let (_, text) = node.get("/metrics")?;
        let field = "near_config_mutable_field{field_name=\"expected_shutdown\",";
        text.lines().any(|line| line.starts_with(field) && line.ends_with(&value)).then_some(())
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
    net.set_config("node0", |config| {
        config["tracked_shards_config"] = json!({"ShadowValidator": "node0"});
    });
    net.start("node0").wait_height(2);
}

#[test]
fn rpc_errors_have_nearcores_shape() {
    let net = Localnet::new(1, 0);
    let node = net.start("node0");
    node.wait_height(1);
    // Only a height below the head has a status of its own: it was there, or never will be.
    for (params, status, data) in [
        (json!({"block_id": 1_000_000}), 200, "BLOCK HEIGHT: 1000000"),
        (json!([1_000_000]), 200, "BLOCK HEIGHT: 1000000"),
        (json!({"block_id": Hash([7; 32]).to_string()}), 200, "BLOCK HEADER: "),
    ] {
        let (code, answer) = node.rpc("block", &params);
        let error = &answer["error"];
        assert_eq!(code, status, "{params}");
        assert_eq!((&error["name"], &error["code"]), (&json!("HANDLER_ERROR"), &json!(-32_000)));
        assert_eq!(error["cause"], json!({"name": "UNKNOWN_BLOCK", "info": {}}));
        let text = error["data"].as_str().unwrap();
        assert!(text.starts_with(&format!("DB Not Found Error: {data}")), "{text}");
        assert!(text.ends_with(" \n Cause: Unknown"), "{text}");
    }
    for (method, params) in [
        ("block", json!(null)),
        ("block", json!({"finality": "some"})),
        ("block", json!({"block_id": 1, "finality": "final"})),
        ("validators", json!(null)),
        ("validators", json!({"no": 1})),
        ("EXPERIMENTAL_maintenance_windows", json!({})),
    ] {
        let (code, answer) = node.rpc(method, &params);
        assert_eq!((code, &answer["error"]["code"]), (400, &json!(-32_700)), "{method} {params}");
        let cause = &answer["error"]["cause"];
        assert_eq!(cause["name"], "PARSE_ERROR");
        let message = cause["info"]["error_message"].as_str().unwrap();
        assert!(message.starts_with("Failed parsing args: "), "{message}");
    }
    let (code, answer) = node.rpc("no_such_method", &json!({}));
    assert_eq!(code, 400);
    assert_eq!(answer["error"]["cause"]["info"]["method_name"], "no_such_method");
    assert_eq!(answer["error"]["code"], -32_601);
    let unknown = json!({"epoch_id": Hash([7; 32]).to_string()});
    let (code, answer) = node.rpc("validators", &unknown);
    assert_eq!((code, &answer["error"]["cause"]), (200, &json!({"name": "UNKNOWN_EPOCH"})));
    assert_eq!(answer["error"]["data"], "Unknown Epoch");
}

#[test]
fn a_body_that_is_no_json_rpc_is_refused_before_it_is_one() {
    let net = Localnet::new(1, 0);
    let node = net.start("node0");
    node.wait_status();
    let good = r#"{"jsonrpc":"2.0","id":1,"method":"health","params":[]}"#;
    for (kind, body, status) in [
        ("application/json", good, 200),
        ("application/json; charset=utf-8", good, 200),
        ("text/plain", good, 415),
        ("application/json", "{", 400),
        ("application/json", "3", 422),
        ("application/json", r#"{"id":1,"method":"health"}"#, 422),
        ("application/json", r#"{"jsonrpc":"2.0","id":1,"method":"health","more":1}"#, 422),
        // A notification asks for nothing.
        ("application/json", r#"{"jsonrpc":"2.0","method":"health"}"#, 400),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: n\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (code, answer) = node.http(&request, Duration::from_secs(5)).unwrap();
        assert_eq!(code, status, "{kind} {body}: {answer}");
    }
}

#[test]
fn answers_have_the_fields_of_nearcore_and_no_others() {
    let net = Localnet::new(1, 0);
    let node = net.start("node0");
    node.wait_height(2);
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort_unstable();
        names
    };
    let status = node.wait_status();
    assert_eq!(
        names(&status),
        [
            "chain_id",
            "genesis_hash",
            "latest_protocol_version",
            "node_key",
            "node_public_key",
            "protocol_version",
            "rpc_addr",
            "sync_info",
            "uptime_sec",
            "validator_account_id",
            "validator_public_key",
            "validators",
            "version",
        ]
    );
    assert_eq!(
        names(&status["sync_info"]),
        [
            "earliest_block_hash",
            "earliest_block_height",
            "earliest_block_time",
            "epoch_id",
            "epoch_start_height",
            "latest_block_hash",
            "latest_block_height",
            "latest_block_time",
            "latest_state_root",
            "syncing",
        ]
    );
    assert_eq!(names(&status["version"]), ["build", "commit", "rustc_version", "version"]);
    let (_, answer) = node.rpc("validators", &json!([null]));
    let validators = &answer["result"];
    assert_eq!(
        names(validators),
        [
            "current_fishermen",
            "current_proposals",
            "current_validators",
            "epoch_height",
            "epoch_start_height",
            "next_fishermen",
            "next_validators",
            "prev_epoch_kickout",
            "validator_reward_paid_prev_epoch",
        ]
    );
    assert_eq!(names(&validators["current_validators"][0]).len(), 16);
    let (_, answer) =
        node.rpc("EXPERIMENTAL_maintenance_windows", &json!({"account_id": "nobody"}));
    let windows = answer["result"].as_array().unwrap();
    assert_eq!(windows.len(), 1);
    assert_eq!(
        (names(&windows[0]), &windows[0]["end"]),
        (vec!["end".into(), "start".into()], &json!(60))
    );
    let (code, info) = node.get("/network_info").unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(code, 200);
    assert_eq!(
        names(&info),
        [
            "active_peers",
            "known_producers",
            "num_active_peers",
            "peer_max_count",
            "received_bytes_per_sec",
            "sent_bytes_per_sec",
        ]
    );
    assert_eq!(node.rpc("network_info", &json!([])).1["result"]["num_active_peers"], 0);
    // What nothing has counted yet is not there.
    assert_eq!(node.metric("near_already_connected_account"), None);
    assert!(node.metric("near_largest_threshold_height") >= Some(2));
}

#[test]
fn init_writes_a_home_that_runs_and_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let init = |home: &str, args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_neard"))
            .arg("--home")
            .arg(dir.path().join(home))
            .arg("init")
            .args(args)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(init("own", &["--account-id", "a.near"]).0, Some(0));
    let read = |home: &str, file: &str| -> Value {
        let text = fs::read_to_string(dir.path().join(home).join(file)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let key = read("own", "validator_key.json");
    assert_eq!(read("own", "genesis.json")["validators"][0]["public_key"], key["public_key"]);
    assert_eq!(read("own", "node_key.json")["account_id"], "node");
    let config = read("own", "config.json");
    assert_eq!(config["tracked_shards_config"], "AllShards");
    assert_eq!(config["network"]["skip_sync_wait"], true);
    assert!(!dir.path().join("own/log_config.json").exists());

    assert_eq!(init("own", &[]).0, Some(1), "test.near is not whose key it is");
    assert_eq!(init("own", &["--account-id", "a.near"]).0, Some(0));
    assert_eq!(read("own", "validator_key.json"), key);

    let (code, error) = init("test", &["--chain-id", "testnet"]);
    assert!(code == Some(1) && error.contains("Genesis file is required for testnet"), "{error}");
    assert_eq!(init("main", &["--chain-id", "mainnet"]).0, Some(0));
    let config = read("main", "config.json");
    assert_eq!(config["network"]["skip_sync_wait"], false);
    assert_eq!(
        config["consensus"]["max_block_production_delay"],
        json!({"secs": 1, "nanos": 800_000_000})
    );
    assert!(!dir.path().join("main/validator_key.json").exists());
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

    set(r#"{"reload": "lose_one"}"#);
    wait_for("the fault in the log", BOUND, || node.log().contains("Some(LoseOne)").then_some(()));
    for reloads in [1, 2] {
        node.signal(Signal::SIGHUP);
        wait_for("the reload that is not lost", BOUND, || {
            (node.metric("near_config_reloads_total")? == reloads).then_some(())
        });
    }

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
