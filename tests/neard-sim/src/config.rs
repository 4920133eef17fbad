//! `config.json`: the fields that the stand-in obeys, and the file that `init` writes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// The fields of `config.json` that matter here; all others are tolerated and ignored.
#[derive(Debug, Clone)]
pub struct Config {
    pub genesis_file: String,
    pub validator_key_file: String,
    pub node_key_file: String,
    /// `None` when `rpc` is null: no RPC is served.
    pub rpc_addr: Option<SocketAddr>,
    /// `None` when `network.addr` is empty: the node does not listen.
    pub network_addr: Option<SocketAddr>,
    /// `key@ip:port`, separated by commas.
    pub boot_nodes: String,
    /// `key@ip:port` entries under which peers shall find this node.
    pub public_addrs: Vec<String>,
    pub skip_sync_wait: bool,
    pub min_num_peers: u64,
    pub min_block_production_delay: Duration,
    pub tracks_all_shards: bool,
    /// Height at which the node stops by itself.
    pub expected_shutdown: Option<u64>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    genesis_file: String,
    validator_key_file: String,
    node_key_file: String,
    rpc: Option<RawRpc>,
    network: RawNetwork,
    consensus: RawConsensus,
    tracked_shards_config: Option<Value>,
    tracked_shards: Vec<u64>,
    tracked_shadow_validator: Option<String>,
    expected_shutdown: Option<u64>,
}

#[derive(Deserialize)]
struct RawRpc {
    addr: SocketAddr,
}

#[derive(Deserialize)]
#[serde(default)]
struct RawNetwork {
    addr: String,
    boot_nodes: String,
    public_addrs: Vec<String>,
    skip_sync_wait: bool,
}

#[derive(Deserialize)]
#[serde(default)]
struct RawConsensus {
    min_num_peers: u64,
    min_block_production_delay: RawDuration,
}

#[derive(Deserialize)]
struct RawDuration {
    secs: u64,
    nanos: u32,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            genesis_file: "genesis.json".into(),
            validator_key_file: "validator_key.json".into(),
            node_key_file: "node_key.json".into(),
            rpc: Some(RawRpc { addr: SocketAddr::from(([0, 0, 0, 0], 3030)) }),
            network: RawNetwork::default(),
            consensus: RawConsensus::default(),
            tracked_shards_config: None,
            tracked_shards: Vec::new(),
            tracked_shadow_validator: None,
            expected_shutdown: None,
        }
    }
}

impl Default for RawNetwork {
    fn default() -> Self {
        Self {
            addr: "0.0.0.0:24567".into(),
            boot_nodes: String::new(),
            public_addrs: Vec::new(),
            skip_sync_wait: false,
        }
    }
}

impl Default for RawConsensus {
    fn default() -> Self {
        let min_block_production_delay = RawDuration { secs: 0, nanos: 600_000_000 };
        Self { min_num_peers: 3, min_block_production_delay }
    }
}

impl Config {
    /// Reads `config.json`, with comments, as nearcore does.
    ///
    /// # Errors
    /// One line in nearcore's words.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path)
            .map_err(|e| format!("Failed to read config from {}: {e}", path.display()))?;
        Self::parse(&text)
            .map_err(|e| format!("Failed to deserialize config from {}: {e}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(&strip_comments(text)).map_err(|e| e.to_string())?;
        let network_addr = match raw.network.addr.as_str() {
            "" => None,
            addr => Some(addr.parse().map_err(|e| format!("network.addr `{addr}`: {e}"))?),
        };
        // The older field `tracked_shards` means all of them as soon as it names one.
        let tracks_all_shards = match &raw.tracked_shards_config {
            Some(config) => config == "AllShards",
            None => !raw.tracked_shards.is_empty() && raw.tracked_shadow_validator.is_none(),
        };
        let delay = &raw.consensus.min_block_production_delay;
        Ok(Self {
            genesis_file: raw.genesis_file,
            validator_key_file: raw.validator_key_file,
            node_key_file: raw.node_key_file,
            rpc_addr: raw.rpc.map(|rpc| rpc.addr),
            network_addr,
            boot_nodes: raw.network.boot_nodes,
            public_addrs: raw.network.public_addrs,
            skip_sync_wait: raw.network.skip_sync_wait,
            min_num_peers: raw.consensus.min_num_peers,
            min_block_production_delay: Duration::new(delay.secs, delay.nanos),
            tracks_all_shards,
            expected_shutdown: raw.expected_shutdown,
        })
    }
}

/// Removes `//` and `/* */` comments outside strings; nearcore allows them in all its files.
pub fn strip_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            match c {
                '\\' => out.extend(chars.next()),
                '"' => in_string = false,
                _ => {}
            }
        } else if c == '/' && chars.peek() == Some(&'/') {
            while chars.peek().is_some_and(|c| *c != '\n') {
                chars.next();
            }
        } else if c == '/' && chars.peek() == Some(&'*') {
            chars.next();
            let mut last = ' ';
            for c in chars.by_ref() {
                if last == '*' && c == '/' {
                    break;
                }
                last = c;
            }
            out.push(' ');
        } else {
            in_string = c == '"';
            out.push(c);
        }
    }
    out
}

/// What a new node's `config.json` depends on.
#[derive(Debug)]
pub struct NewConfig {
    pub rpc_addr: String,
    pub network_addr: String,
    pub boot_nodes: String,
    pub min_num_peers: u64,
    pub skip_sync_wait: bool,
    pub min_block_production_delay: Duration,
    pub archive: bool,
    pub tracked_shards_config: Value,
}

impl NewConfig {
    /// The file's content, with the fields of nearcore 2.x in nearcore's order.
    pub fn to_json(&self) -> Value {
        let secs = |secs: u64| json!({"secs": secs, "nanos": 0});
        let millis = |ms: u64| json!({"secs": ms / 1000, "nanos": ms % 1000 * 1_000_000});
        let block = self.min_block_production_delay.as_millis() as u64;
        json!({
            "genesis_file": "genesis.json",
            "genesis_records_file": null,
            "validator_key_file": "validator_key.json",
            "node_key_file": "node_key.json",
            "rpc": {
                "addr": self.rpc_addr,
                "prometheus_addr": null,
                "cors_allowed_origins": ["*"],
                "polling_config": {"polling_interval": millis(200), "polling_timeout": secs(10)},
                "limits_config": {"json_payload_max_size": 10_485_760},
                "enable_debug_rpc": true,
                "experimental_debug_pages_src_path": null
            },
            "telemetry": {"endpoints": [], "reporting_interval": secs(10)},
            "network": {
                "addr": self.network_addr,
                "boot_nodes": self.boot_nodes,
                "whitelist_nodes": "",
                "max_num_peers": 40,
                "minimum_outbound_peers": 5,
                "ideal_connections_lo": 30,
                "ideal_connections_hi": 35,
                "peer_recent_time_window": secs(600),
                "safe_set_size": 20,
                "archival_peer_connections_lower_bound": 10,
                "handshake_timeout": secs(20),
                "skip_sync_wait": self.skip_sync_wait,
                "peer_states_cache_size": 1000,
                "snapshot_hosts_cache_size": 1000,
                "ban_window": secs(10_800),
                "blacklist": [],
                "ttl_account_id_router": secs(3600),
                "peer_stats_period": secs(5),
                "monitor_peers_max_period": secs(60),
                "peer_expiration_duration": secs(604_800),
                "public_addrs": [],
                "allow_private_ip_in_public_addrs": false,
                "trusted_stun_servers": [],
                "experimental": {
                    "inbound_disabled": false,
                    "connect_only_to_boot_nodes": false,
                    "skip_sending_tombstones_seconds": 0,
                    "tier1_enable_inbound": true,
                    "tier1_enable_outbound": true
                }
            },
            "consensus": {
                "min_num_peers": self.min_num_peers,
                "block_production_tracking_delay": millis(10),
                "min_block_production_delay": millis(block),
                "max_block_production_delay": millis(block * 10 / 3),
                "max_block_wait_delay": secs(6),
                "produce_empty_blocks": true,
                "block_fetch_horizon": 50,
                "block_header_fetch_horizon": 50,
                "catchup_step_period": millis(100),
                "chunk_request_retry_period": millis(400),
                "header_sync_initial_timeout": secs(10),
                "header_sync_progress_timeout": secs(2),
                "header_sync_stall_ban_timeout": secs(120),
                "state_sync_external_timeout": secs(60),
                "header_sync_expected_height_per_second": 10,
                "sync_check_period": secs(10),
                "sync_step_period": millis(10),
                "doomslug_step_period": millis(10),
                "sync_height_threshold": 1,
                "sync_max_block_requests": 10
            },
            "tracked_shards_config": self.tracked_shards_config,
            "archive": self.archive,
            "save_trie_changes": null,
            "log_summary_style": "colored",
            "log_summary_period": secs(10),
            "gc_blocks_limit": 2,
            "gc_fork_clean_step": 100,
            "gc_num_epochs_to_keep": 5,
            "gc_step_period": secs(1),
            "view_client_threads": 4,
            "view_client_throttle_period": secs(30),
            "trie_viewer_state_size_limit": 50_000,
            "transaction_pool_size_limit": 100_000_000,
            "store": {
                "path": null,
                "enable_statistics": false,
                "max_open_files": 10_000,
                "col_state_cache_size": 536_870_912,
                "block_size": 16_384,
                "load_mem_tries_for_shards": [],
                "load_mem_tries_for_tracked_shards": false
            },
            "expected_shutdown": null
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Value {
        NewConfig {
            rpc_addr: "127.0.0.1:3030".into(),
            network_addr: "127.0.0.1:24567".into(),
            boot_nodes: String::new(),
            min_num_peers: 3,
            skip_sync_wait: false,
            min_block_production_delay: Duration::from_millis(600),
            archive: false,
            tracked_shards_config: json!("AllShards"),
        }
        .to_json()
    }

    #[test]
    fn the_written_file_is_read_back() {
        let config = Config::parse(&new().to_string()).unwrap();
        assert_eq!(config.rpc_addr, Some("127.0.0.1:3030".parse().unwrap()));
        assert_eq!(config.network_addr, Some("127.0.0.1:24567".parse().unwrap()));
        assert_eq!(config.min_block_production_delay, Duration::from_millis(600));
        assert!(config.tracks_all_shards);
        assert_eq!(config.expected_shutdown, None);
    }

    #[test]
    fn an_empty_object_gets_nearcores_defaults() {
        let config = Config::parse("{}").unwrap();
        assert_eq!(config.network_addr, Some("0.0.0.0:24567".parse().unwrap()));
        assert!(!config.tracks_all_shards);
    }

    #[test]
    fn a_shadow_validator_does_not_track_all_shards() {
        let shadow = r#"{"tracked_shards_config": {"ShadowValidator": "a.near"}}"#;
        assert!(!Config::parse(shadow).unwrap().tracks_all_shards);
        assert!(Config::parse(r#"{"tracked_shards": [0]}"#).unwrap().tracks_all_shards);
        let older = r#"{"tracked_shards": [0], "tracked_shadow_validator": "a.near"}"#;
        assert!(!Config::parse(older).unwrap().tracks_all_shards);
    }

    #[test]
    fn comments_are_removed_outside_strings_only() {
        let text = "{ // one\n \"a\": \"http://x /* y */\", /* two\n */ \"b\": \"\\\"//\" }";
        let value: Value = serde_json::from_str(&strip_comments(text)).unwrap();
        assert_eq!(value, json!({"a": "http://x /* y */", "b": "\"//"}));
    }

    #[test]
    fn not_json_and_wrong_types_are_refused() {
        for bad in ["", "{", "[]x", r#"{"rpc": {"addr": "nowhere"}}"#, r#"{"network": 3}"#] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }
}
