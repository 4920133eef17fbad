//! The daemon's flags and environment, checked before anything is touched.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::consul;
use crate::election::{self, InstanceId, Promotion, SettingsError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PromotionArg {
    Auto,
    Restart,
    HotSwap,
}

/// High availability for NEAR validators: runs neard, elects one holder of the validator key
/// through Consul and never lets two nodes sign.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "kneard", version)]
pub struct Args {
    /// Name of this node in the log and for other nodes; give each node its own
    #[arg(long, env = "KUUTAMO_NODE_ID", default_value = "node")]
    pub node_id: String,

    /// Account of the validator; must agree with the validator key file, which decides when unset
    #[arg(long, env = "KUUTAMO_ACCOUNT_ID")]
    pub account_id: Option<String>,

    /// Address of a Consul agent or server; several, separated by commas, are tried in turn
    #[arg(
        long,
        env = "KUUTAMO_CONSUL_URL",
        value_delimiter = ',',
        default_value = "http://localhost:8500"
    )]
    pub consul_url: Vec<String>,

    /// File with the Consul ACL token; read again on SIGUSR1 and SIGHUP
    #[arg(long, env = "KUUTAMO_CONSUL_TOKEN_FILE")]
    pub consul_token_file: Option<PathBuf>,

    /// PEM file with the CA that signed Consul's certificate, for https addresses
    #[arg(long, env = "KUUTAMO_CONSUL_CA_FILE")]
    pub consul_ca_file: Option<PathBuf>,

    /// PEM file with the client certificate for Consul
    #[arg(long, env = "KUUTAMO_CONSUL_CERT_FILE")]
    pub consul_cert_file: Option<PathBuf>,

    /// PEM file with the key of the client certificate for Consul
    #[arg(long, env = "KUUTAMO_CONSUL_KEY_FILE")]
    pub consul_key_file: Option<PathBuf>,

    /// Address that serves /metrics, /health and /neard-pid
    #[arg(long, env = "KUUTAMO_EXPORTER_ADDRESS", default_value = "127.0.0.1:2233")]
    pub exporter_address: String,

    /// The validator key [default: $CREDENTIALS_DIRECTORY/validator_key.json]
    #[arg(long, env = "KUUTAMO_VALIDATOR_KEY")]
    pub validator_key: Option<PathBuf>,

    /// Node key that neard uses while it validates, so that the node's identity moves with the
    /// validator key; not used with hot swap
    /// [default: $CREDENTIALS_DIRECTORY/validator_node_key.json]
    #[arg(long, env = "KUUTAMO_VALIDATOR_NODE_KEY")]
    pub validator_node_key: Option<PathBuf>,

    /// Node key that neard uses while it stands by
    /// [default: $CREDENTIALS_DIRECTORY/voter_node_key.json]
    #[arg(long, env = "KUUTAMO_VOTER_NODE_KEY")]
    pub voter_node_key: Option<PathBuf>,

    /// How neard gets the validator key: restarted with it, or loading it while it runs (neard 2.0
    /// or newer), which takes no restart. auto: restart if there is a validator node key, else hot
    /// swap
    #[arg(long, env = "KUUTAMO_PROMOTION", value_enum, default_value_t = PromotionArg::Auto)]
    pub promotion: PromotionArg,

    /// Do not ask the chain, before the first promotion, whether the key signs elsewhere
    #[arg(long, env = "KUUTAMO_NO_DOPPELGANGER_CHECK")]
    pub no_doppelganger_check: bool,

    /// Accept key files that others than their owner can read
    #[arg(long, env = "KUUTAMO_ALLOW_READABLE_KEYS")]
    pub allow_readable_keys: bool,

    /// neard's home directory, made by `neard init`
    #[arg(long, env = "KUUTAMO_NEARD_HOME", default_value = ".")]
    pub neard_home: PathBuf,

    /// The neard program
    #[arg(long, env = "KUUTAMO_NEARD_BINARY", default_value = "neard")]
    pub neard_binary: PathBuf,

    /// Boot nodes for neard, as KEY@IP:PORT separated by commas
    #[arg(long, env = "KUUTAMO_NEARD_BOOTNODES")]
    pub near_boot_nodes: Option<String>,

    /// Address that neard listens on for other nodes while it validates, with hot swap always
    #[arg(long, env = "KUUTAMO_VALIDATOR_NETWORK_ADDR", default_value = "0.0.0.0:24567")]
    pub validator_network_addr: String,

    /// Address that neard listens on for other nodes while it stands by
    #[arg(long, env = "KUUTAMO_VOTER_NETWORK_ADDR", default_value = "0.0.0.0:24568")]
    pub voter_network_addr: String,

    /// IP address under which other nodes reach this one
    #[arg(long, env = "KUUTAMO_PUBLIC_ADDRESS")]
    pub public_address: Option<String>,

    /// Unix socket for kneard-ctl [default: <neard-home>/kuutamod.sock]
    #[arg(long, env = "KUUTAMO_CONTROL_SOCKET")]
    pub control_socket: Option<PathBuf>,

    /// Directory for what `kneard release` needs after a crash
    /// [default: $RUNTIME_DIRECTORY, else neard's home]
    #[arg(long, env = "KUUTAMO_RUNTIME_DIR")]
    pub runtime_dir: Option<PathBuf>,

    /// How long neard may sign after a successful renewal: a standby takes over from a dead host
    /// after so long
    #[arg(long, env = "KUUTAMO_LEASE", default_value = "7s", value_name = "DURATION")]
    pub lease: String,

    /// How long before the lease's end neard is killed when it could not be renewed
    #[arg(long, env = "KUUTAMO_KILL_MARGIN", default_value = "500ms", value_name = "DURATION")]
    pub kill_margin: String,

    /// Blocks that a standby may lie behind the validator and still take over
    #[arg(long, env = "KUUTAMO_MAX_LAG", default_value_t = 10, value_name = "BLOCKS")]
    pub max_lag: u64,

    /// How long neard may take from its restart with the validator key until it answers; past that
    /// the key goes to another node
    #[arg(
        long,
        env = "KUUTAMO_PROMOTION_TIMEOUT",
        default_value = "10min",
        value_name = "DURATION"
    )]
    pub promotion_timeout: String,

    /// How long neard may take to stop before it is killed
    #[arg(long, env = "KUUTAMO_STOP_TIMEOUT", default_value = "10s", value_name = "DURATION")]
    pub stop_timeout: String,
}

/// Give the lock back that a dead kneard held, once its neard is proven dead
///
/// The guard runs it by itself. It refuses while that neard lives.
#[derive(Debug, Parser)]
#[command(name = "kneard release", version)]
pub struct ReleaseArgs {
    /// The directory that kneard ran with: its --runtime-dir
    #[arg(long, env = "KUUTAMO_RUNTIME_DIR")]
    pub runtime_dir: Option<PathBuf>,

    /// kneard has certainly ended, as a service manager knows: kill a neard that it left behind, and
    /// take a missing file for its end in good order
    #[arg(long)]
    pub kneard_ended: bool,
}

/// Runs neard with the validator key and without failover: for the day on which failover itself is
/// broken. Takes kneard's own flags and environment
#[derive(Debug, Parser)]
#[command(name = "kneard manual", version)]
pub struct ManualArgs {
    #[command(flatten)]
    pub args: Args,

    /// Start although another node may validate: true is your word that none does
    #[arg(long, env = "KNEARD_MANUAL_FORCE", default_value = "false", action = clap::ArgAction::Set)]
    pub force: bool,

    /// Only take the validator key out of neard's home again
    #[arg(long)]
    pub clean_up: bool,
}

/// What is wrong with the flags, in one line with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    #[error("{flag}: {value:?} is not {expected}")]
    Value { flag: &'static str, value: String, expected: &'static str },
    #[error(
        "{flag} is not set and $CREDENTIALS_DIRECTORY has no {file}: name the key file with {flag}"
    )]
    NoKey { flag: &'static str, file: &'static str },
    #[error(
        "--validator-node-key is set but --voter-node-key is not: a standby needs a node key of its own"
    )]
    NoVoterNodeKey,
    #[error(transparent)]
    Relation(#[from] SettingsError),
}

/// The flags, understood.
#[derive(Debug, Clone)]
pub struct Settings {
    pub election: election::Settings,
    pub account_id: Option<String>,
    pub consul: consul::ClientConfig,
    pub exporter_address: SocketAddr,
    pub validator_key: PathBuf,
    pub validator_node_key: Option<PathBuf>,
    pub voter_node_key: Option<PathBuf>,
    pub allow_readable_keys: bool,
    pub neard_home: PathBuf,
    pub neard_binary: PathBuf,
    pub boot_nodes: Option<String>,
    pub validator_network_addr: SocketAddr,
    pub voter_network_addr: SocketAddr,
    pub public_address: Option<IpAddr>,
    pub control_socket: PathBuf,
    pub runtime_dir: PathBuf,
}

impl Settings {
    /// Understands the flags. `instance` tells this run of kneard from all others.
    ///
    /// # Errors
    /// Names the flag, its value and what would do.
    pub fn new(args: &Args, instance: InstanceId, hostname: &str) -> Result<Self, ArgsError> {
        let mut election = election::Settings::new(&args.node_id, instance, hostname);
        election.lease = duration("--lease", &args.lease)?;
        election.kill_margin = duration("--kill-margin", &args.kill_margin)?;
        election.stop_timeout = duration("--stop-timeout", &args.stop_timeout)?;
        election.promotion_timeout = duration("--promotion-timeout", &args.promotion_timeout)?;
        election.max_lag = args.max_lag;
        election.check()?;
        if !is_key_segment(&args.node_id) {
            return Err(ArgsError::Value {
                flag: "--node-id",
                value: args.node_id.clone(),
                expected: "a name of letters, digits, '-', '_' and '.'",
            });
        }
        let consul = consul::ClientConfig {
            addresses: args.consul_url.clone(),
            token_file: args.consul_token_file.clone(),
            tls: consul::Tls {
                ca_file: args.consul_ca_file.clone(),
                cert_file: args.consul_cert_file.clone(),
                key_file: args.consul_key_file.clone(),
            },
        };
        let exporter_address = socket_addr("--exporter-address", &args.exporter_address)?;
        let validator_network_addr =
            socket_addr("--validator-network-addr", &args.validator_network_addr)?;
        let voter_network_addr = socket_addr("--voter-network-addr", &args.voter_network_addr)?;
        let public_address = args.public_address.as_deref().map(ip_addr).transpose()?;
        let validator_node_key =
            key_path(args.validator_node_key.as_deref(), "validator_node_key.json");
        let voter_node_key = key_path(args.voter_node_key.as_deref(), "voter_node_key.json");
        if validator_node_key.is_some() && voter_node_key.is_none() {
            return Err(ArgsError::NoVoterNodeKey);
        }
        election.promotion = match args.promotion {
            PromotionArg::Restart => Promotion::Restart,
            PromotionArg::Auto if validator_node_key.is_some() => Promotion::Restart,
            PromotionArg::Auto | PromotionArg::HotSwap => Promotion::HotSwap,
        };
        election.doppelganger_check = !args.no_doppelganger_check;
        let home = args.neard_home.clone();
        Ok(Settings {
            election,
            account_id: args.account_id.clone(),
            consul,
            exporter_address,
            validator_key: key_path(args.validator_key.as_deref(), "validator_key.json")
                .ok_or(ArgsError::NoKey { flag: "--validator-key", file: "validator_key.json" })?,
            validator_node_key,
            voter_node_key,
            allow_readable_keys: args.allow_readable_keys,
            neard_binary: args.neard_binary.clone(),
            boot_nodes: args.near_boot_nodes.clone().filter(|nodes| !nodes.is_empty()),
            validator_network_addr,
            voter_network_addr,
            public_address,
            control_socket: args
                .control_socket
                .clone()
                .unwrap_or_else(|| home.join("kuutamod.sock")),
            runtime_dir: args
                .runtime_dir
                .clone()
                .or_else(|| env_dir("RUNTIME_DIRECTORY"))
                .unwrap_or_else(|| home.clone()),
            neard_home: home,
        })
    }
}

fn duration(flag: &'static str, text: &str) -> Result<Duration, ArgsError> {
    humantime::parse_duration(text).map_err(|_| ArgsError::Value {
        flag,
        value: text.to_owned(),
        expected: "a duration such as 6s or 500ms",
    })
}

fn socket_addr(flag: &'static str, text: &str) -> Result<SocketAddr, ArgsError> {
    text.parse().map_err(|_| ArgsError::Value {
        flag,
        value: text.to_owned(),
        expected: "an address such as 127.0.0.1:2233",
    })
}

fn ip_addr(text: &str) -> Result<IpAddr, ArgsError> {
    text.parse().map_err(|_| ArgsError::Value {
        flag: "--public-address",
        value: text.to_owned(),
        expected: "an IP address such as 192.0.2.1",
    })
}

/// The node id becomes a part of a key in Consul.
fn is_key_segment(text: &str) -> bool {
    !text.is_empty()
        && !text.contains("..")
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn key_path(flag: Option<&Path>, name: &str) -> Option<PathBuf> {
    flag.map(Path::to_owned).or_else(|| {
        let path = env_dir("CREDENTIALS_DIRECTORY")?.join(name);
        path.exists().then_some(path)
    })
}

fn env_dir(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
