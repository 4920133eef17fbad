//! `neard init` and `neard localnet`: the files of new nodes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::NewConfig;
use crate::genesis::{self, LOCALNET_STAKE, Validator};
use crate::info;
use crate::keys::{KeyFile, SecretKey, random_bytes};
use crate::reload::{CONFIG_FILE, LOG_CONFIG_FILE};

/// nearcore's usual epoch of a local chain, and that of `--fast`.
const EPOCH_LENGTH: u64 = 500;
const FAST_EPOCH_LENGTH: u64 = 60;
const BLOCK: Duration = Duration::from_millis(600);
const FAST_BLOCK: Duration = Duration::from_millis(120);

/// What `neard init` was asked for.
#[derive(Debug)]
pub struct NewNode {
    pub chain_id: Option<String>,
    pub account_id: Option<String>,
    pub test_seed: Option<String>,
    pub fast: bool,
    pub genesis: Option<PathBuf>,
    pub boot_nodes: String,
    pub shards: u64,
}

/// What `neard localnet` was asked for.
#[derive(Debug)]
pub struct NewLocalnet {
    pub shards: u64,
    pub validators: u64,
    pub archival: u64,
    pub others: u64,
    pub all_archival: bool,
    pub prefix: String,
    pub tracks_all_shards: bool,
}

/// Writes the files of one node. Files that are there stay as they are.
///
/// # Errors
/// One line that names the file.
pub fn init(home: &Path, new: &NewNode) -> Result<(), String> {
    make_dir(home)?;
    let chain_id = match &new.chain_id {
        Some(chain_id) => chain_id.clone(),
        None => format!("test-chain-{}", &bs58::encode(random_bytes()?).into_string()[..5]),
    };
    let node_key_file = home.join("node_key.json");
    if !node_key_file.exists() {
        write_key(&node_key_file, "node", SecretKey::random()?)?;
        info!("near", "Node key does not exist, generated {}", node_key_file.display());
    }
    let validator_file = home.join("validator_key.json");
    let real = matches!(chain_id.as_str(), "mainnet" | "testnet");
    // As nearcore: a node of a real chain becomes a validator only when it is told to.
    let account = match &new.account_id {
        Some(account) => Some(account.clone()),
        None if real => None,
        None => Some("test.near".to_owned()),
    };
    if let Some(account) = account.filter(|_| !validator_file.exists()) {
        let key = match &new.test_seed {
            Some(seed) => SecretKey::from_test_seed(seed)?,
            None => SecretKey::random()?,
        };
        write_key(&validator_file, &account, key)?;
        info!("near", "Generated validator key {} for {account}", validator_file.display());
    }
    let genesis_file = home.join("genesis.json");
    if !genesis_file.exists() {
        match &new.genesis {
            Some(from) => {
                fs::copy(from, &genesis_file).map_err(|e| format!("{}: {e}", from.display()))?;
            }
            None => write_json(&genesis_file, &new_genesis(&validator_file, &chain_id, new)?)?,
        }
    }
    let config = NewConfig {
        rpc_addr: "0.0.0.0:3030".into(),
        network_addr: "0.0.0.0:24567".into(),
        boot_nodes: new.boot_nodes.clone(),
        // One's own new chain has one validator, which needs nobody.
        min_num_peers: if real { 3 } else { 0 },
        skip_sync_wait: !real && new.genesis.is_none(),
        min_block_production_delay: if new.fast { FAST_BLOCK } else { BLOCK },
        archive: false,
        tracked_shards_config: json!("NoShards"),
    };
    write_new_json(&home.join(CONFIG_FILE), &config.to_json())?;
    write_new_json(&home.join(LOG_CONFIG_FILE), &log_config())
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
    let epoch = if new.fast { FAST_EPOCH_LENGTH } else { EPOCH_LENGTH };
    Ok(genesis::new_json(chain_id, epoch, new.shards, &[validator]))
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
    let nodes = new.validators + new.archival + new.others;
    let names: Vec<String> = (0..nodes).map(|i| format!("{}{i}", new.prefix)).collect();
    let mut validators = Vec::new();
    for name in &names[..new.validators as usize] {
        validators.push(Validator {
            account_id: name.clone(),
            public_key: SecretKey::from_test_seed(name)?.public(),
            stake: LOCALNET_STAKE,
        });
    }
    let chain_id = format!("test-chain-{}", &bs58::encode(random_bytes()?).into_string()[..5]);
    let genesis = genesis::new_json(&chain_id, EPOCH_LENGTH, new.shards, &validators);
    let ports = free_addresses(nodes as usize * 2)?;
    let boot_node = format!("{}@{}", SecretKey::from_test_seed(&names[0])?.public(), ports[0]);
    for (i, name) in names.iter().enumerate() {
        let home = dir.join(name);
        make_dir(&home)?;
        write_key(&home.join("validator_key.json"), name, SecretKey::from_test_seed(name)?)?;
        write_key(&home.join("node_key.json"), "node", SecretKey::from_test_seed(name)?)?;
        write_json(&home.join("genesis.json"), &genesis)?;
        let index = i as u64;
        let archival = (new.validators..new.validators + new.archival).contains(&index);
        let shards = if new.tracks_all_shards { "AllShards" } else { "NoShards" };
        let config = NewConfig {
            network_addr: ports[i * 2].to_string(),
            rpc_addr: ports[i * 2 + 1].to_string(),
            boot_nodes: if i == 0 { String::new() } else { boot_node.clone() },
            min_num_peers: 3.min(new.validators - 1),
            skip_sync_wait: new.validators == 1,
            min_block_production_delay: BLOCK,
            archive: archival || new.all_archival,
            tracked_shards_config: json!(shards),
        };
        write_json(&home.join(CONFIG_FILE), &config.to_json())?;
        write_json(&home.join(LOG_CONFIG_FILE), &log_config())?;
        info!("near", "Generated node key, validator key, genesis file in {}", home.display());
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
    json!({"opentelemetry": null, "rust_log": null, "verbose_module": null})
}

fn make_dir(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))
}

fn write_key(path: &Path, account_id: &str, key: SecretKey) -> Result<(), String> {
    let file = KeyFile { account_id: account_id.to_owned(), key };
    file.write(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write_new_json(path: &Path, value: &Value) -> Result<(), String> {
    if path.exists() { Ok(()) } else { write_json(path, value) }
}

fn write_json(path: &Path, value: &Value) -> Result<(), String> {
    let text = format!("{value:#}\n");
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
