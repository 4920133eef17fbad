//! `neard init` and `neard localnet`: the files of new nodes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::Config;
use crate::genesis::{Genesis, LOCALNET_STAKE, NewGenesis, Validator};
use crate::info;
use crate::keys::{KeyFile, PublicKey, SecretKey, random_bytes};
use crate::new_config::NewConfig;
use crate::reload::{CONFIG_FILE, LOG_CONFIG_FILE};

/// nearcore's epochs of a chain that `init` makes, and of one that `init --fast` or `localnet` does.
const EPOCH_LENGTH: u64 = 500;
const FAST_EPOCH_LENGTH: u64 = 60;
/// Where nodes of the real chains report to.
const TELEMETRY: &str = "https://telemetry.nearone.org/nodes";

/// What `neard init` was asked for.
#[derive(Debug)]
pub struct NewNode {
    pub chain_id: Option<String>,
    pub account_id: Option<String>,
    pub test_seed: Option<String>,
    pub fast: bool,
    pub genesis: Option<PathBuf>,
    /// Some download of a genesis was asked for; none is done.
    pub download_genesis: bool,
    pub boot_nodes: String,
    pub shards: u64,
    pub max_gas_burnt_view: Option<u64>,
}

/// What `neard localnet` was asked for.
#[derive(Debug)]
pub struct NewLocalnet {
    pub shards: u64,
    pub validators: u64,
    pub archival: u64,
    pub rpc: u64,
    pub others: u64,
    pub prefix: String,
    pub tracks_all_shards: bool,
}

/// Writes the files of one node. In a home that has a `config.json` already only missing keys are
/// made.
///
/// # Errors
/// One line that names the file.
pub fn init(home: &Path, new: &NewNode) -> Result<(), String> {
    make_dir(home)?;
    let chain_id = new.chain_id.clone().map_or_else(random_chain_id, Ok)?;
    let real = matches!(chain_id.as_str(), "mainnet" | "testnet");
    let config_file = home.join(CONFIG_FILE);
    if config_file.exists() {
        let config = Config::load(&config_file)
            .map_err(|e| format!("Failed to read config {}: {e}", home.display()))?;
        Genesis::load(&home.join(&config.genesis_file)).map_err(|e| {
            let (home, file) = (home.display(), &config.genesis_file);
            format!("Failed to read genesis config {home}/{file}: {e}")
        })?;
        return make_keys(home, &config.node_key_file, &config.validator_key_file, real, new);
    }
    make_keys(home, "node_key.json", "validator_key.json", real, new)?;
    if real && new.test_seed.is_some() {
        return Err(format!("Test seed is not supported for {chain_id}"));
    }
    let config = NewConfig {
        boot_nodes: new.boot_nodes.clone(),
        skip_sync_wait: !real,
        fast_blocks: new.fast && !real,
        max_block_production_ms: if real { 1_800 } else { 2_000 },
        telemetry: if real { vec![TELEMETRY.to_owned()] } else { Vec::new() },
        max_gas_burnt_view: new.max_gas_burnt_view,
        ..NewConfig::default()
    };
    write_json(&config_file, &config.to_json())?;
    let genesis_file = home.join("genesis.json");
    match &new.genesis {
        Some(from) if chain_id == "testnet" => {
            fs::copy(from, &genesis_file).map_err(|e| format!("{}: {e}", from.display()))?;
        }
        None if chain_id == "testnet" && !new.download_genesis => {
            return Err(format!(
                "Genesis file is required for {chain_id}.\nUse <--genesis|--download-genesis>"
            ));
        }
        _ => {
            let validator_file = home.join("validator_key.json");
            write_json(&genesis_file, &new_genesis(&validator_file, &chain_id, new)?)?;
        }
    }
    info!("near", "generated node key, validator key, genesis file dir={}", home.display());
    Ok(())
}

fn random_chain_id() -> Result<String, String> {
    Ok(format!("test-chain-{}", &bs58::encode(random_bytes()?).into_string()[..5]))
}

/// As nearcore: a node of a real chain becomes a validator only when it is told to.
fn make_keys(
    home: &Path,
    node_key: &str,
    validator_key: &str,
    real: bool,
    new: &NewNode,
) -> Result<(), String> {
    make_key(home, node_key, Some("node"), None)?;
    let account = match new.account_id.as_deref() {
        None if !real => Some("test.near"),
        given => given,
    };
    let seed = if real { None } else { new.test_seed.as_deref() };
    make_key(home, validator_key, account, seed)
}

/// A key that is there stays, if it is a key and of this account.
fn make_key(
    home: &Path,
    file: &str,
    account: Option<&str>,
    seed: Option<&str>,
) -> Result<(), String> {
    let path = home.join(file);
    if path.exists() {
        let key = KeyFile::load(&path)
            .map_err(|e| format!("Failed initializing signer from {}: {e}", path.display()))?;
        return match account {
            Some(account) if account != key.account_id => Err(format!(
                "‘{}’ contains key for {} but expecting key for {account}",
                path.display(),
                key.account_id
            )),
            _ => Ok(()),
        };
    }
    let Some(account) = account else { return Ok(()) };
    let key = match seed {
        Some(seed) => SecretKey::from_test_seed(seed)?,
        None => SecretKey::random()?,
    };
    write_key(&path, account, key)
}

fn new_genesis(validator_file: &Path, chain_id: &str, new: &NewNode) -> Result<Value, String> {
    let loaded = if validator_file.exists() {
        KeyFile::load(validator_file).map_err(|e| format!("{}: {e}", validator_file.display()))?
    } else {
        // Nothing was downloaded, so the genesis is one that no real chain has.
        KeyFile { account_id: "test.near".into(), key: SecretKey::random()? }
    };
    let validator = Validator {
        account_id: loaded.account_id,
        public_key: loaded.key.public(),
        stake: LOCALNET_STAKE,
    };
    NewGenesis {
        chain_id,
        epoch_length: if new.fast { FAST_EPOCH_LENGTH } else { EPOCH_LENGTH },
        shards: new.shards,
        validators: std::slice::from_ref(&validator),
        others: &[],
        block_producer_seats: 50,
        treasury: &validator.account_id,
    }
    .to_json()
}

/// Writes the homes `<dir>/<prefix>0`, … of a new local chain: first the validators, then the
/// other nodes. As in nearcore, every node gets a validator key, the keys follow from the
/// names, the ports are free ones, and all others boot from the first node.
///
/// # Errors
/// One line that names the file.
pub fn create(dir: &Path, new: &NewLocalnet) -> Result<(), String> {
    if new.validators == 0 {
        return Err("No validators were added".to_owned());
    }
    let nodes = new.validators + new.archival + new.rpc + new.others;
    let names: Vec<String> = (0..nodes).map(|i| format!("{}{i}", new.prefix)).collect();
    let keys: Vec<PublicKey> = names
        .iter()
        .map(|name| Ok(SecretKey::from_test_seed(name)?.public()))
        .collect::<Result<_, String>>()?;
    let accounts = names.iter().cloned().zip(keys.iter().copied());
    let (validators, others): (Vec<_>, Vec<_>) =
        accounts.enumerate().partition(|(i, _)| (*i as u64) < new.validators);
    let validators: Vec<Validator> = validators
        .into_iter()
        .map(|(_, (account_id, public_key))| Validator {
            account_id,
            public_key,
            stake: LOCALNET_STAKE,
        })
        .collect();
    let others: Vec<(String, PublicKey)> = others.into_iter().map(|(_, account)| account).collect();
    let genesis = NewGenesis {
        chain_id: &random_chain_id()?,
        epoch_length: FAST_EPOCH_LENGTH,
        shards: new.shards,
        validators: &validators,
        others: &others,
        block_producer_seats: new.validators,
        treasury: "near",
    };
    let genesis = genesis.to_json()?;
    let ports = free_addresses(nodes as usize * 2)?;
    let boot_node = format!("{}@{}", keys[0], ports[0]);
    for (i, name) in names.iter().enumerate() {
        let home = dir.join(name);
        make_dir(&home)?;
        write_key(&home.join("validator_key.json"), name, SecretKey::from_test_seed(name)?)?;
        write_key(&home.join("node_key.json"), "node", SecretKey::from_test_seed(name)?)?;
        write_json(&home.join("genesis.json"), &genesis)?;
        // The order of nearcore: validators, archival nodes, RPC nodes, others.
        let after_validators = (i as u64).checked_sub(new.validators);
        let archival = after_validators.is_some_and(|i| i < new.archival);
        let tracks_all = after_validators.is_some_and(|i| i < new.archival + new.rpc);
        let config = NewConfig {
            network_addr: ports[i * 2].to_string(),
            rpc_addr: ports[i * 2 + 1].to_string(),
            enable_debug_rpc: true,
            boot_nodes: if i == 0 { String::new() } else { boot_node.clone() },
            public_addrs: vec![format!("{}@{}", keys[i], ports[i * 2])],
            tier1_connect_interval: 5,
            min_num_peers: 3.min(new.validators - 1),
            skip_sync_wait: new.validators == 1,
            archival,
            save_tx_outcomes: i == 0,
            tracked_shards_config: if tracks_all || new.tracks_all_shards {
                json!("AllShards")
            } else {
                json!("NoShards")
            },
            ..NewConfig::default()
        };
        write_json(&home.join(CONFIG_FILE), &config.to_json())?;
        write_json(&home.join(LOG_CONFIG_FILE), &log_config())?;
        info!(
            "near",
            "generated node key, validator key, genesis file node_dir={}",
            home.display()
        );
    }
    Ok(())
}

/// Where ports are looked for: below the range from which Linux takes the ports of outgoing
/// connections, so that they are still free when a node starts much later.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// Loopback addresses whose ports were free a moment ago.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, String> {
    // Somewhere else each time: several chains may be made at once.
    let random = random_bytes()?;
    let span = PORTS.end - PORTS.start;
    let first = u16::from_le_bytes([random[0], random[1]]) % span;
    let ports = (0..span).map(|i| PORTS.start + (first + i) % span);
    // All are held at once, so that none is given twice.
    let listeners: Vec<TcpListener> =
        ports.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).take(count).collect();
    if listeners.len() < count {
        return Err(format!("fewer than {count} free ports in {PORTS:?}"));
    }
    listeners.iter().map(|l| l.local_addr().map_err(|e| e.to_string())).collect()
}

fn log_config() -> Value {
    json!({
        "rust_log": null,
        "verbose_module": null,
        "opentelemetry": null,
        "expensive_metrics": null
    })
}

fn make_dir(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))
}

fn write_key(path: &Path, account_id: &str, key: SecretKey) -> Result<(), String> {
    let file = KeyFile { account_id: account_id.to_owned(), key };
    file.write(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write_json(path: &Path, value: &Value) -> Result<(), String> {
    fs::write(path, format!("{value:#}")).map_err(|e| format!("{}: {e}", path.display()))
}
