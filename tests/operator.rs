//! What an operator asks and says: `kneard-ctl`, the exporter's other pages, and signals.

mod support;

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use support::{
    binaries::{self, Ended, run_to_end},
    chain::ACCOUNT,
    http,
    kneard::LEASE,
    pair::{Pair, TAKEOVER},
    wait::{millis, secs, wait_until},
};

fn socket(home: &Path) -> std::path::PathBuf {
    home.join("kuutamod.sock")
}

fn kneard_ctl(home: &Path, args: &[&str]) -> Ended {
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.arg("--control-socket").arg(socket(home)).args(args);
    run_to_end(command, secs(20))
}

fn json(home: &Path, command: &str) -> Value {
    let ended = kneard_ctl(home, &["--json", command]);
    assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stdout))
}

#[test]
fn an_operator_asks() {
    let mut pair = Pair::start();
    let homes = [&pair.holder, &pair.standby].map(|kneard| kneard.setup.home.clone());

    // Every node gives the same answer, as text and as JSON.
    for home in &homes {
        let validator = wait_until(secs(10), "the new neard has confirmed its key", || {
            let ended = kneard_ctl(home, &["active-validator"]);
            (ended.code == Some(0)).then_some(ended.stdout)
        });
        let validator_json = json(home, "active-validator");
        let object = validator_json.as_object().unwrap();
        assert_eq!(object.keys().collect::<Vec<_>>(), ["Name", "Node"]);
        assert_eq!(object["Name"], "kneard0");
        let node = object["Node"].as_str().unwrap();
        assert!(!node.is_empty());
        assert_eq!(validator, format!("Name: kneard0\nNode: {node}\n"));
    }

    let status = json(&homes[0], "status");
    assert_eq!(status["account_id"], ACCOUNT);
    assert_eq!(status["node"]["state"], "Validating");
    assert_eq!(status["neard"]["has_validator_key"], true);
    assert_eq!(status["neard"]["pid"], pair.holder.neard().pid);
    assert_eq!(status["neard"]["restarts"], 1);
    assert_eq!(status["record"]["state"], "active");
    assert_ne!(status["record"]["since"], "", "since when it has been so");
    let left = status["lease_left_ms"].as_u64().unwrap();
    assert!(left > 0 && u128::from(left) <= LEASE.as_millis(), "{left} ms of lease are left");
    let nodes = wait_until(secs(15), "both nodes are published", || {
        let nodes = json(&homes[1], "status")["nodes"].as_array()?.clone();
        (nodes.len() == 2).then_some(nodes)
    });
    let names: Vec<_> = nodes.iter().map(|node| node["node_id"].as_str().unwrap()).collect();
    assert_eq!(names, ["kneard0", "kneard1"]);
    assert!(nodes.iter().all(|node| node["neard_version"].is_string()), "{nodes:?}");

    let standby = json(&homes[1], "status");
    assert_eq!(standby["node"]["state"], "Voting");
    assert_eq!(standby["neard"]["has_validator_key"], false);
    assert_eq!(standby["lease_left_ms"], Value::Null);
    assert_eq!(standby["record"]["holder"], "kneard0");
    let text = kneard_ctl(&homes[1], &["status"]).stdout;
    for part in ["Account:", "Holder:    kneard0", "This node: kneard1", "Voting, standing by"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }

    let mode = socket(&homes[0]).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660, "only owner and group may ask");
    let exporter = pair.holder.setup.exporter;
    assert_eq!(http::get(exporter, "/health").unwrap(), "ok\n");
    let pid = http::get(exporter, "/neard-pid").unwrap();
    assert_eq!(pid.trim().parse(), Ok(pair.holder.neard().pid));

    // Nobody validates while nobody may.
    pair.standby.signal(Signal::SIGTERM);
    assert!(pair.standby.wait_exit(secs(20)).success());
    let gone = kneard_ctl(&homes[1], &["status"]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("is kneard running"), "the remedy: {}", gone.stderr);
    assert_eq!(gone.stderr.lines().count(), 1, "{}", gone.stderr);
}

#[test]
fn garbage_on_the_control_socket() {
    let pair = Pair::start();
    let home = &pair.holder.setup.home;
    for garbage in
        [&b"\xff\xfe\0\0garbage\r\n\r\n"[..], b"GET /", b"POST /status HTTP/9\r\n\r\n", b""]
    {
        let mut stream = UnixStream::connect(socket(home)).unwrap();
        stream.set_read_timeout(Some(secs(1))).unwrap();
        // It may hang up while we still write.
        let _ = stream.write_all(garbage);
        let _ = stream.read(&mut [0; 1024]);
    }
    let ended = kneard_ctl(home, &["active-validator"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(pair.holder.state().as_deref(), Some("Validating"));
}

#[test]
fn signals() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "11111111-2222-3333-4444-555555555555").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut pair = Pair::start_with(1, |setup| {
        setup.more = vec!["--consul-token-file".into(), token.clone().into()];
        if setup.node_id == "kneard1" {
            let faults = r#"{"ignore_term": true}"#;
            setup.environment.push(("NEARD_SIM_FAULTS".into(), faults.into()));
        }
    });

    for (signal, name) in [(Signal::SIGHUP, "SIGHUP"), (Signal::SIGUSR1, "SIGUSR1")] {
        pair.holder.signal(signal);
        wait_until(secs(5), &format!("{name} has the token read again"), || {
            pair.holder
                .log()
                .contains(&format!("{name} received: read the Consul token again"))
                .then_some(())
        });
    }
    std::fs::write(&token, "").unwrap();
    pair.holder.signal(Signal::SIGUSR1);
    wait_until(secs(5), "an empty token file is refused, the old token stays", || {
        pair.holder
            .errors()
            .iter()
            .any(|line| line.contains("the old Consul token stays"))
            .then_some(())
    });
    assert_eq!(pair.holder.state().as_deref(), Some("Validating"));

    // SIGTERM releases the lock, ends neard and is a success.
    pair.holder.signal(Signal::SIGTERM);
    assert!(pair.holder.wait_exit(secs(20)).success(), "{}", pair.holder.log());
    pair.standby.wait_for("Validating", TAKEOVER);
    let home = &pair.holder.setup.home;
    for left in ["validator_key.json", "kuutamod.sock", "kneard-lease.json"] {
        assert!(home.join(left).symlink_metadata().is_err(), "{left} is left behind");
    }
    let record = wait_until(secs(10), "the successor's neard has confirmed the key", || {
        let record = pair.entry()?.record()?;
        (record["holder"] == "kneard1" && record["state"] == "active").then_some(record)
    });
    assert!(
        record["reason"].as_str().unwrap().contains("kneard0 released the key"),
        "why it holds the key: {record}"
    );
    pair.assert_one_signer();

    // A second signal does not wait for a neard that does not stop.
    pair.exchange();
    let neard = pair.holder.neard();
    pair.holder.signal(Signal::SIGINT);
    wait_until(secs(5), "it is stopping", || {
        pair.holder.log().contains("SIGINT received").then_some(())
    });
    pair.holder.signal(Signal::SIGINT);
    assert!(pair.holder.wait_exit(secs(5)).success());
    neard.wait_dead(millis(100), "its neard");
}
