//! From the command line to a running node, with neard's errors on the way.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use tokio::sync::mpsc;

use crate::chain::consensus::Consensus;
use crate::chain::store::Store;
use crate::config::Config;
use crate::faults::Source;
use crate::genesis::Genesis;
use crate::journal::Journal;
use crate::keys::KeyFile;
use crate::network::{self, Identity, Network, parse_boot_nodes};
use crate::node::stats::Stats;
use crate::node::{Channels, Node, Signals, Timing};
use crate::reload::{self, CONFIG_FILE};
use crate::rpc::metrics::Counters;
use crate::{error, info, log, rpc};

const APPROVED_FILE: &str = "approved";
/// For how long the RPC answers before signals are heard.
const DEAF: Duration = Duration::from_millis(20);
/// RPC requests that may wait for the loop.
const CALLS: usize = 64;

/// The options of `neard run` that the stand-in obeys.
#[derive(Debug, Default)]
pub struct Options {
    pub boot_nodes: Option<String>,
    pub rpc_addr: Option<SocketAddr>,
    pub network_addr: Option<SocketAddr>,
    pub disable_rpc: bool,
    pub min_peers: Option<u64>,
}

/// Milliseconds from an environment variable.
fn millis(name: &str, default: u64) -> Duration {
    let value = match std::env::var(name) {
        Ok(text) => match text.trim().parse() {
            Ok(value) => value,
            Err(_) => {
                error!("stand-in", "{name}=`{text}` is not a number of milliseconds");
                std::process::exit(2);
            }
        },
        Err(_) => default,
    };
    Duration::from_millis(value)
}

/// Runs a node until it ends in good order; the caller exits with 0.
pub fn run(home: &Path, options: &Options) {
    let faults = match Source::open(home) {
        Ok(faults) => faults,
        Err(e) => {
            error!("stand-in", "{e}");
            std::process::exit(2);
        }
    };
    if let Some(code) = faults.now.exit_at_start {
        error!("stand-in", "exit with {code} at once, as the faults ask");
        std::process::exit(code);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(live(home, options, faults)),
        Err(e) => log::die(file!(), format_args!("no runtime: {e}")),
    }
}

struct Loaded {
    config: Config,
    genesis: Genesis,
    node_key: KeyFile,
}

/// Reads all files; like neard, names every invalid one but stops at once when `config.json`
/// cannot be read.
fn load(home: &Path, options: &Options) -> Result<Loaded, String> {
    let mut config = Config::load(&home.join(CONFIG_FILE))?;
    if let Some(addr) = options.rpc_addr {
        config.rpc_addr = Some(addr);
    }
    if options.disable_rpc {
        config.rpc_addr = None;
    }
    if let Some(addr) = options.network_addr {
        config.network_addr = Some(addr);
    }
    if let Some(boot_nodes) = options.boot_nodes.as_ref().filter(|b| !b.is_empty()) {
        config.boot_nodes.clone_from(boot_nodes);
    }
    if let Some(min_peers) = options.min_peers {
        config.min_num_peers = min_peers;
    }
    let mut errors = Vec::new();
    if let Err(e) = reload::load_validator_key(&home.join(&config.validator_key_file)) {
        errors.push(format!("validator_key.json file issue: {e}"));
    }
    let node_key_file = home.join(&config.node_key_file);
    let node_key = KeyFile::load(&node_key_file).map_err(|_| {
        let file = node_key_file.display();
        errors.push(format!("node_key.json file issue: Failed reading node key file from {file}"));
    });
    let genesis = Genesis::load(&home.join(&config.genesis_file))
        .map_err(|e| errors.push(format!("genesis.json file issue: {e}")));
    match (node_key, genesis) {
        (Ok(node_key), Ok(genesis)) if errors.is_empty() => match config.start_error.take() {
            Some(error) => Err(error),
            None => Ok(Loaded { config, genesis, node_key }),
        },
        _ => Err(format!(
            "\nThe following config checks failed:\n{}\nPlease fix the config json files and \
             validate again!",
            errors.join("\n")
        )),
    }
}

async fn live(home: &Path, options: &Options, faults: Source) {
    let Loaded { config, genesis, node_key } = load(home, options).unwrap_or_else(|e| {
        log::die("neard/src/cli.rs", format_args!("Error loading config: {e}"))
    });
    let boot_nodes = parse_boot_nodes(&config.boot_nodes)
        .unwrap_or_else(|e| log::die("neard/src/cli.rs", format_args!("{e}")));
    let data = home.join("data");
    info!("near", "Opening store database at {data:?}");
    let lock = lock_data(&data);
    info!("db", "Created a new RocksDB instance. num_instances=1");
    info!("db", "Dropped a RocksDB instance. num_instances=0");
    let failed = |e: io::Error| -> ! {
        log::die("neard/src/cli.rs", format_args!("start_with_config: {}: {e}", data.display()))
    };
    // Before the key is read for use: from here on the journal knows this process.
    let journal = Rc::new(RefCell::new(Journal::open(home).unwrap_or_else(|e| failed(e))));
    let dynamic = reload::read(home).unwrap_or_else(|e| {
        log::die("neard/src/cli.rs", format_args!("Error reading dynamic configs: {e}"))
    });
    let store = Store::open(&genesis, &data).unwrap_or_else(|e| failed(e));
    info!("db", "Created a new RocksDB instance. num_instances=1");
    let (approved_file, approved) = open_approved(&data).unwrap_or_else(|e| failed(e));
    let block_ms =
        millis("NEARD_SIM_BLOCK_MS", config.min_block_production_delay.as_millis() as u64)
            .as_millis() as u64;
    let stop = millis("NEARD_SIM_STOP_MS", 1_000);
    let timing = Timing {
        start: millis("NEARD_SIM_START_MS", 200),
        stop,
        sign_after_term: millis("NEARD_SIM_SIGN_AFTER_TERM_MS", stop.as_millis() as u64 / 2),
    };
    let started = Instant::now();
    let identity = Identity {
        listen: listen_address(&config, &node_key),
        key: Arc::new(node_key.key),
        genesis: genesis.hash,
        account: None,
        height: store.head().height,
    };
    let public_key = identity.key.public();
    let (network, net) = Network::new(identity, &boot_nodes);
    let mut node = Node {
        home: PathBuf::from(home),
        timing,
        faults,
        consensus: Consensus::new(genesis, store, block_ms.max(1), approved, 0),
        network,
        journal,
        approved_file,
        approved_saved: approved,
        node_key: public_key,
        rpc_addr: config.rpc_addr.map(|addr| addr.to_string()).unwrap_or_default(),
        peers_to_start: if config.skip_sync_wait { 0 } else { config.min_num_peers },
        tracks_all_shards: config.tracks_all_shards,
        expected_shutdown: None,
        syncing: true,
        sync_started: false,
        is_validator: false,
        counters: Counters::default(),
        started,
        next_height_message: 0,
        next_gossip: 0,
        stats: Stats::default(),
        hanging: Vec::new(),
        reloading: None,
        lost_one: false,
        last_head: u64::MAX,
    };
    // The key is in memory from its first reading on, also while the rest still starts.
    node.count_reload();
    node.apply(dynamic);
    tokio::time::sleep(node.faults.now.start_ms.map_or(timing.start, Duration::from_millis)).await;
    info!(
        "near_network::peer_manager::peer_manager_actor",
        "Bandwidth stats total_bandwidth_used_by_all_peers=0 total_msg_received_count=0 \
         max_max_record_num_messages_in_progress=0"
    );
    let mut channels = open_ports(&config, net)
        .await
        .unwrap_or_else(|e| log::die("neard/src/cli.rs", format_args!("start_with_config: {e}")));
    // As late as in neard, which answers already: before this, HUP, INT and TERM kill it.
    node.turn(&mut channels, None, Some(Instant::now() + DEAF)).await;
    let mut signals = Signals::install().unwrap_or_else(|e| failed(e));
    let end = node.turn(&mut channels, Some(&mut signals), None).await;
    node.stop(channels, signals, end).await;
    drop(lock);
}

async fn open_ports(
    config: &Config,
    net: mpsc::Receiver<network::NetEvent>,
) -> Result<Channels, String> {
    let listener = match config.network_addr {
        Some(addr) => Some(network::listen(addr).await?),
        None => None,
    };
    let (send, calls) = mpsc::channel(CALLS);
    let rpc = match config.rpc_addr {
        Some(addr) => {
            let listener = network::listen(addr).await?;
            Some(tokio::spawn(rpc::serve(listener, send)))
        }
        None => None,
    };
    Ok(Channels { net, calls, listener, rpc })
}

/// Where peers shall find this node: a `public_addrs` entry of its own key, or its port.
fn listen_address(config: &Config, node_key: &KeyFile) -> Option<SocketAddr> {
    let own = format!("{}@", node_key.key.public());
    let public =
        config.public_addrs.iter().find_map(|entry| entry.strip_prefix(&own)?.parse().ok());
    public.or(config.network_addr)
}

/// The lock that RocksDB takes: a second process on one home cannot start.
fn lock_data(data: &Path) -> Flock<File> {
    let path = data.join("LOCK");
    let file = fs::create_dir_all(data)
        .and_then(|()| OpenOptions::new().write(true).create(true).truncate(false).open(&path));
    let locked = file.and_then(|file| {
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e.into())
    });
    locked.unwrap_or_else(|e| {
        log::die(
            "neard/src/cli.rs",
            format_args!("start_with_config: IO error: While lock file: {}: {e}", path.display()),
        )
    })
}

fn open_approved(data: &Path) -> io::Result<(File, u64)> {
    let path = data.join(APPROVED_FILE);
    let approved = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
    Ok((file, approved))
}

/// Overwrites the number in place; its width never changes.
pub(super) fn save_approved(file: &File, approved: u64) -> io::Result<()> {
    file.write_all_at(format!("{approved:020}\n").as_bytes(), 0)
}
