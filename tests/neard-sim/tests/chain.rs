//! Chains of real processes over real TCP.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{BOUND, Localnet, signature_check, wait_for};
use neard_sim::keys::SecretKey;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

#[test]
fn four_validators_make_progress_and_all_of_them_produce() {
    let net = Localnet::new(4, 0);
    let nodes = net.start_all(&["node0", "node1", "node2", "node3"]);
    for node in &nodes {
        node.wait_height(12);
        assert!(!node.syncing());
    }
    let (_, answer) = nodes[0].rpc("validators", &json!([null]));
    let validators = answer["result"]["current_validators"].as_array().unwrap().clone();
    assert_eq!(validators.len(), 4);
    for validator in &validators {
        for field in ["num_produced_blocks", "num_produced_chunks", "num_produced_endorsements"] {
            assert!(validator[field].as_u64().unwrap() > 0, "{field} of {validator}");
        }
    }
    let (code, block) = nodes[1].rpc("block", &json!({"finality": "final"}));
    assert_eq!(code, 200);
    let height = block["result"]["header"]["height"].as_u64().unwrap();
    let (_, same) = nodes[2].rpc("block", &json!({"block_id": height}));
    assert_eq!(same["result"]["header"]["hash"], block["result"]["header"]["hash"]);
    let homes: Vec<_> = nodes.into_iter().map(common::Neard::stop).collect();
    let homes: Vec<_> = homes.iter().map(|home| home.as_path()).collect();
    let (code, verdict) = signature_check(&homes);
    assert_eq!(
        (code, verdict.as_str()),
        (0, "verdict: 0 overlaps, 0 equivocations, 0 changes of signer, longest gap 0 ms")
    );
}

#[test]
fn the_chain_goes_on_without_one_of_four_and_that_one_has_missed_its_turns() {
    let net = Localnet::new(4, 0);
    let nodes = net.start_all(&["node0", "node1", "node2"]);
    nodes[0].wait_height(12);
    let (_, answer) = nodes[0].rpc("validators", &json!("latest"));
    let silent = &answer["result"]["current_validators"][3];
    assert_eq!(silent["account_id"], "node3");
    assert_eq!(silent["num_produced_blocks"], 0);
    assert!(silent["num_expected_blocks"].as_u64().unwrap() >= 2);
    assert_eq!(silent["num_produced_chunks"], 0);
    assert!(silent["num_expected_chunks"].as_u64().unwrap() >= 2);
}

#[test]
fn a_killed_validator_resumes_where_it_was_and_signs_nothing_twice() {
    let net = Localnet::new(4, 0);
    let mut nodes = net.start_all(&["node0", "node1", "node2", "node3"]);
    nodes[3].wait_height(6);
    let home = nodes.pop().unwrap().kill();
    // Not as many lines as heights: some are skipped while the nodes find each other.
    let stored = fs::read_to_string(home.join("data/chain.jsonl")).unwrap();
    let height = |line| serde_json::from_str::<Value>(line).ok()?["height"].as_u64();
    assert!(stored.lines().filter_map(height).max() >= Some(6), "{stored}");
    let again = net.start("node3");
    assert!(again.height() >= 6, "it began anew");
    let before = again.blocks_produced();
    again.wait_height(again.height() + 8);
    assert!(again.blocks_produced() > before);
    let (code, verdict) = signature_check(&[&home]);
    assert_eq!(code, 0, "{verdict}");
    assert!(verdict.contains("1 change of signer"), "{verdict}");
}

#[test]
fn a_node_that_lost_its_peers_says_so_and_catches_up_when_they_return() {
    let net = Localnet::new(4, 1);
    let mut nodes = net.start_all(&["node0", "node1", "node2", "node3", "node4"]);
    nodes[4].wait_height(3);
    wait_for("in sync", BOUND, || (!nodes[4].syncing()).then_some(()));
    let observer = nodes.pop().unwrap();
    // Stopped, not killed: no FIN tells the observer that they are gone.
    for node in &nodes {
        node.signal(Signal::SIGSTOP);
    }
    wait_for("syncing", BOUND, || observer.syncing().then_some(()));
    // neard itself does not notice, as long as it hears of no higher block.
    fs::write(observer.home.join("faults.json"), r#"{"in_sync_without_peers": true}"#).unwrap();
    wait_for("in sync", BOUND, || (!observer.syncing()).then_some(()));
    let halted = observer.height();
    for node in &nodes {
        node.signal(Signal::SIGCONT);
    }
    wait_for("caught up", BOUND, || {
        (!observer.syncing() && observer.height() > halted + 5).then_some(())
    });
}

#[test]
fn a_late_node_fetches_the_blocks_that_it_missed() {
    let net = Localnet::new(4, 0);
    let nodes = net.start_all(&["node0", "node1", "node2"]);
    nodes[0].wait_height(15);
    let late = net.start("node3");
    wait_for("caught up", BOUND, || {
        let status = late.status()?;
        let sync = &status["sync_info"];
        (sync["syncing"] == false && sync["latest_block_height"].as_u64()? >= 15).then_some(())
    });
    // Heights at the very start may have been skipped while the nodes found each other.
    let oldest =
        (1..15).find(|height| nodes[0].rpc("block", &json!({"block_id": height})).0 == 200);
    let (code, block) = late.rpc("block", &json!({"block_id": oldest}));
    assert_eq!((code, block["result"]["header"]["height"].as_u64()), (200, oldest));
}

#[test]
fn a_single_validator_makes_blocks_alone() {
    let net = Localnet::new(1, 0);
    let node = net.start("node0");
    node.wait_height(5);
    assert!(!node.syncing());
}

#[test]
fn localnet_writes_files_as_nearcore_does() {
    let net = Localnet::new(2, 1);
    for name in ["node0", "node1", "node2"] {
        for file in ["validator_key.json", "node_key.json"] {
            let path = net.home(name).join(file);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path:?}");
            let key: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            for field in ["public_key", "secret_key"] {
                assert!(key[field].as_str().unwrap().starts_with("ed25519:"));
            }
        }
        assert!(net.home(name).join("genesis.json").exists());
    }
    let genesis: Value =
        serde_json::from_str(&fs::read_to_string(net.home("node0").join("genesis.json")).unwrap())
            .unwrap();
    assert_eq!(genesis["validators"].as_array().unwrap().len(), 2);
    assert_eq!(genesis["validators"][1]["account_id"], "node1");
    assert_eq!(genesis["epoch_length"], 60);
    // Two records each, the treasury's among them.
    assert_eq!(genesis["records"].as_array().unwrap().len(), 8);
    let config: Value =
        serde_json::from_str(&fs::read_to_string(net.home("node1").join("config.json")).unwrap())
            .unwrap();
    let key = SecretKey::from_test_seed("node1").unwrap().public();
    let own = format!("{key}@{}", config["network"]["addr"].as_str().unwrap());
    assert_eq!(config["network"]["public_addrs"], json!([own]));
    assert_eq!(config["network"]["allow_private_ip_in_public_addrs"], true);
    assert_eq!(config["tracked_shards_config"], "AllShards");
    assert_eq!(config["store"]["load_mem_tries_for_tracked_shards"], false);
}

#[test]
fn a_node_with_fewer_peers_than_it_wants_does_not_begin() {
    let net = Localnet::new(4, 0);
    net.set_config("node0", |config| config["consensus"]["min_num_peers"] = json!(2));
    let nodes = net.start_all(&["node0", "node1"]);
    wait_for("the peer", BOUND, || {
        (nodes[0].metric("near_peer_connections_total")? == 1).then_some(())
    });
    assert!(nodes[0].syncing());
    assert_eq!(nodes[0].metric("near_sync_status"), Some(1));
    assert_eq!(nodes[0].get("/health").unwrap().0, 503);
    let _third = net.start("node2");
    wait_for("in sync", BOUND, || (!nodes[0].syncing()).then_some(()));
    assert_eq!(nodes[0].get("/health").unwrap(), (200, "null".to_owned()));
}

#[test]
fn a_boot_node_with_another_key_is_not_accepted() {
    let net = Localnet::new(2, 0);
    let first = net.start("node0");
    first.wait_status();
    let path = net.home("node1").join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let boot = config["network"]["boot_nodes"].as_str().unwrap();
    let wrong = SecretKey::from_test_seed("somebody else").unwrap().public();
    let addr = boot.split_once('@').unwrap().1;
    fs::write(&path, text.replace(boot, &format!("{wrong}@{addr}"))).unwrap();
    let second = net.start("node1");
    second.wait_status();
    wait_for("the refusal in the log", Duration::from_secs(10), || {
        second.log().contains("the node there has another key").then_some(())
    });
    assert!(second.syncing());
    assert_eq!(second.metric("near_peer_connections_total"), Some(0));
}
