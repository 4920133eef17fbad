//! The homes of a localnet: four validators, of which the fourth's keys go to two kneards.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::programs::{self, Program};
use crate::atomic_file;

/// The chain's nodes that run: three of four validators make blocks.
pub const NODES: usize = 3;
/// The validator whose keys the kneards share.
pub const VALIDATOR: &str = "node3";

/// Where everybody listens, on loopback.
#[derive(Debug, Clone)]
pub struct Ports {
    /// RPC and network port of each of the chain's nodes.
    pub nodes: [(u16, u16); NODES],
    /// RPC port of each kneard's neard; its network ports are kneard's flags.
    pub kneard_rpc: [u16; 2],
}

impl Ports {
    /// Those that the tutorial names.
    pub fn tutorial() -> Self {
        Ports {
            nodes: [(33300, 33301), (33302, 33303), (33304, 33305)],
            kneard_rpc: [33308, 33310],
        }
    }
}

/// Writes the homes `node0` … `node3`, `kneard0` and `kneard1` below `data`. Homes that are there
/// already stay as they are.
///
/// # Errors
/// neard cannot make them, or what the file system says.
pub fn init(neard: &Program, data: &Path, ports: &Ports) -> Result<()> {
    // The last thing that is written.
    if data.join("kneard1/config.json").exists() {
        return Ok(());
    }
    fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let output = Command::new(&neard.path)
        .arg("--home")
        .arg(data)
        .args(["localnet", "--shards", "1", "--validators", "4"])
        .output()
        .with_context(|| format!("cannot run {}", neard.path.display()))?;
    if !output.status.success() {
        let why = last_words(&String::from_utf8_lossy(&output.stderr));
        bail!(
            "{} localnet failed: {why}; a real neard needs a directory that it can write to and \
             the IPv6 loopback address ::1",
            neard.path.display()
        );
    }
    write_genesis(data)?;
    let boot_node = boot_node(data, ports)?;
    for (number, (rpc, network)) in ports.nodes.iter().enumerate() {
        let home = data.join(format!("node{number}"));
        let config = home.join("config.json");
        let mut json = read_json(&config)?;
        adapt(&mut json, *rpc, if number == 0 { "" } else { &boot_node });
        let address = format!("127.0.0.1:{network}");
        let key = node_key(&home)?;
        json["network"]["addr"] = json!(address);
        // Where the other validators look for this one.
        json["network"]["public_addrs"] = json!([format!("{key}@{address}")]);
        write_json(&config, &json)?;
    }
    for (number, rpc) in ports.kneard_rpc.iter().enumerate() {
        let home = data.join(format!("kneard{number}"));
        fs::create_dir_all(&home)?;
        fs::copy(data.join(VALIDATOR).join("genesis.json"), home.join("genesis.json"))?;
        let key = serde_json::to_vec_pretty(&new_node_key()?)?;
        atomic_file::write(&home.join("voter_node_key.json"), &key, 0o600)?;
        let mut json = read_json(&data.join(VALIDATOR).join("config.json"))?;
        adapt(&mut json, *rpc, "");
        shadow(&mut json);
        write_json(&home.join("config.json"), &json)?;
    }
    Ok(())
}

/// Becomes node `number`; the first to come writes the homes.
pub fn run_node(number: u8, data: &Path) -> Result<ExitCode> {
    let neard = programs::neard()?;
    fs::create_dir_all(data)?;
    let lock = fs::File::open(data)?;
    lock.lock().with_context(|| format!("cannot lock {}", data.display()))?;
    init(&neard, data, &Ports::tutorial())?;
    drop(lock);
    let error = node_command(&neard, &data.join(format!("node{number}"))).exec();
    bail!("cannot run {}: {error}", neard.path.display())
}

/// The command that runs the node of a home.
pub fn node_command(neard: &Program, home: &Path) -> Command {
    let mut command = Command::new(&neard.path);
    command.arg("--home").arg(home).arg("run");
    command
}

/// The first node as the others find it.
pub fn boot_node(data: &Path, ports: &Ports) -> Result<String> {
    let key = node_key(&data.join("node0"))?;
    Ok(format!("{key}@127.0.0.1:{}", ports.nodes[0].1))
}

/// The public key by which other nodes know the node of a home.
fn node_key(home: &Path) -> Result<String> {
    let path = home.join("node_key.json");
    match read_json(&path)?["public_key"].as_str() {
        Some(key) => Ok(key.to_owned()),
        None => bail!("{} has no public_key", path.display()),
    }
}

/// What a failed neard complains of: the panic's message and not the backtrace below it.
fn last_words(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match lines.clone().position(|line| line.contains("panicked at")) {
        Some(panic) => lines.skip(panic).take(2).collect::<Vec<_>>().join(" "),
        None => lines.next_back().unwrap_or("it printed nothing").to_owned(),
    }
}

/// A chain of three validators out of four, one of which comes and goes, for a long evening.
/// neard's own localnet has epochs of 60 blocks (nearcore `core/chain-configs/src/test_utils.rs`),
/// kicks out whoever misses a tenth of its blocks, and has a node that is two epochs behind fetch
/// the state, which peers on so young a chain cannot give.
fn write_genesis(data: &Path) -> Result<()> {
    let mut genesis = read_json(&data.join("node0/genesis.json"))?;
    genesis["epoch_length"] = json!(10_000);
    for threshold in [
        "block_producer_kickout_threshold",
        "chunk_producer_kickout_threshold",
        "chunk_validator_only_kickout_threshold",
    ] {
        genesis[threshold] = json!(0);
    }
    for number in 0..=NODES {
        write_json(&data.join(format!("node{number}/genesis.json")), &genesis)?;
    }
    Ok(())
}

fn adapt(json: &mut Value, rpc: u16, boot_nodes: &str) {
    json["rpc"]["addr"] = json!(format!("127.0.0.1:{rpc}"));
    json["network"]["boot_nodes"] = json!(boot_nodes);
    // Three nodes have two peers each, and neard waits for three before it makes blocks.
    json["consensus"]["min_num_peers"] = json!(1);
    // Everybody is on loopback, and nothing asks for this machine's public address.
    json["network"]["trusted_stun_servers"] = json!([]);
    json["network"]["allow_private_ip_in_public_addrs"] = json!(true);
}

/// What a standby needs to sign from its first block on: to follow the validator's shards as the
/// validator itself does. neard's own localnet has every node track all, which lacks the state
/// transitions that a chunk's witness is made of (nearcore `chain/chain/src/chain.rs`,
/// `should_produce_state_witness_for_this_or_next_epoch`).
fn shadow(json: &mut Value) {
    if json.get("tracked_shards_config").is_some() {
        json["tracked_shards_config"] = json!({"ShadowValidator": VALIDATOR});
    } else {
        // Before nearcore 2.7.
        json["tracked_shards"] = json!([]);
        json["tracked_shadow_validator"] = json!(VALIDATOR);
    }
    json["store"]["load_mem_tries_for_tracked_shards"] = json!(true);
}

fn write_json(path: &Path, json: &Value) -> Result<()> {
    atomic_file::write(path, &serde_json::to_vec_pretty(json)?, 0o644)?;
    Ok(())
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// A new node key as neard writes it (nearcore `core/crypto/src/key_file.rs`).
fn new_node_key() -> Result<Value> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("no random numbers")?;
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let text = |bytes: &[u8]| format!("ed25519:{}", bs58::encode(bytes).into_string());
    Ok(json!({
        "account_id": "node",
        "public_key": text(key.verifying_key().as_bytes()),
        "secret_key": text(&key.to_keypair_bytes()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kneards_neard_follows_the_validators_shards() {
        let mut config = json!({"tracked_shards_config": "AllShards", "store": {"path": null}});
        shadow(&mut config);
        let shadowed = json!({"ShadowValidator": "node3"});
        let store = json!({"path": null, "load_mem_tries_for_tracked_shards": true});
        assert_eq!(config, json!({"tracked_shards_config": shadowed, "store": store}));

        let mut older = json!({"tracked_shards": [0], "store": {"path": null}});
        shadow(&mut older);
        assert_eq!(
            older,
            json!({"tracked_shards": [], "tracked_shadow_validator": "node3", "store": store})
        );
    }
}
