//! `config.json`: the fields that the stand-in obeys, read with nearcore's rules.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
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
    /// What is wrong with the network's addresses: looked at only at the start, not at a reload.
    pub start_error: Option<String>,
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

/// As nearcore's `Config`: what is missing here has a default, but the objects in it have fields
/// without one.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    genesis_file: String,
    validator_key_file: String,
    node_key_file: String,
    rpc: Option<RawRpc>,
    network: RawNetwork,
    consensus: RawConsensus,
    tracked_shards_config: Option<TrackedShards>,
    tracked_shards: Option<Vec<u64>>,
    tracked_accounts: Option<Vec<String>>,
    tracked_shadow_validator: Option<String>,
    tracked_shard_schedule: Option<Vec<Vec<u64>>>,
    expected_shutdown: Option<u64>,
}

/// The forms that nearcore knows; others are errors.
#[derive(Deserialize, PartialEq)]
enum TrackedShards {
    NoShards,
    Shards(IgnoredAny),
    AllShards,
    ShadowValidator(IgnoredAny),
    Schedule(IgnoredAny),
    Accounts(IgnoredAny),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read only so that a file without them is refused")]
struct RawRpc {
    addr: SocketAddr,
    cors_allowed_origins: Vec<String>,
    polling_config: IgnoredAny,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read only so that a file without them is refused")]
struct RawNetwork {
    addr: String,
    boot_nodes: String,
    #[serde(default)]
    public_addrs: Vec<String>,
    #[serde(default)]
    allow_private_ip_in_public_addrs: bool,
    skip_sync_wait: bool,
    handshake_timeout: RawDuration,
    ban_window: RawDuration,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read only so that a file without them is refused")]
struct RawConsensus {
    min_num_peers: u64,
    block_production_tracking_delay: RawDuration,
    min_block_production_delay: RawDuration,
    max_block_production_delay: RawDuration,
    max_block_wait_delay: RawDuration,
    produce_empty_blocks: bool,
    block_header_fetch_horizon: u64,
    catchup_step_period: RawDuration,
    chunk_request_retry_period: RawDuration,
}

#[derive(Deserialize)]
struct RawDuration {
    secs: u64,
    nanos: u32,
}

impl From<&RawDuration> for Duration {
    fn from(raw: &RawDuration) -> Self {
        Duration::new(raw.secs, raw.nanos)
    }
}

const fn ms(millis: u64) -> RawDuration {
    RawDuration { secs: millis / 1_000, nanos: (millis % 1_000) as u32 * 1_000_000 }
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            genesis_file: "genesis.json".into(),
            validator_key_file: "validator_key.json".into(),
            node_key_file: "node_key.json".into(),
            rpc: Some(RawRpc {
                addr: SocketAddr::from(([0, 0, 0, 0], 3030)),
                cors_allowed_origins: Vec::new(),
                polling_config: IgnoredAny,
            }),
            network: RawNetwork::default(),
            consensus: RawConsensus::default(),
            tracked_shards_config: None,
            tracked_shards: None,
            tracked_accounts: None,
            tracked_shadow_validator: None,
            tracked_shard_schedule: None,
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
            allow_private_ip_in_public_addrs: false,
            skip_sync_wait: false,
            handshake_timeout: ms(20_000),
            ban_window: ms(10_800_000),
        }
    }
}

impl Default for RawConsensus {
    fn default() -> Self {
        Self {
            min_num_peers: 3,
            block_production_tracking_delay: ms(10),
            min_block_production_delay: ms(600),
            max_block_production_delay: ms(2_000),
            max_block_wait_delay: ms(6_000),
            produce_empty_blocks: true,
            block_header_fetch_horizon: 50,
            catchup_step_period: ms(100),
            chunk_request_retry_period: ms(400),
        }
    }
}

impl Raw {
    /// What is well-formed and yet refused, at the start and at a reload (nearcore,
    /// `nearcore/src/config_validate.rs`).
    fn validate(&self) -> Result<(), String> {
        let mut errors = Vec::new();
        if self.tracked_shards_config.is_some() {
            let older = [
                ("tracked_shards", self.tracked_shards.is_some()),
                ("tracked_accounts", self.tracked_accounts.is_some()),
                ("tracked_shadow_validator", self.tracked_shadow_validator.is_some()),
                ("tracked_shard_schedule", self.tracked_shard_schedule.is_some()),
            ];
            for (field, _) in older.into_iter().filter(|(_, given)| *given) {
                errors.push(format!(
                    "config.json semantic issue: 'config.{field}' and \
                     'config.tracked_shards_config' cannot be both set. Please use \
                     'config.tracked_shards_config' only."
                ));
            }
        }
        let consensus = &self.consensus;
        let delay = Duration::from;
        let least = delay(&consensus.min_block_production_delay);
        for (name, longest) in [
            ("max_block_production_delay", delay(&consensus.max_block_production_delay)),
            ("max_block_wait_delay", delay(&consensus.max_block_wait_delay)),
        ] {
            if least > longest {
                errors.push(format!(
                    "config.json semantic issue: min_block_production_delay: {least:?} is greater \
                     than {name}: {longest:?}"
                ));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
    }

    fn tracks_all_shards(&self) -> bool {
        match &self.tracked_shards_config {
            Some(config) => *config == TrackedShards::AllShards,
            // The older field means all of them as soon as it names one, whatever the others say.
            None => self.tracked_shards.as_ref().is_some_and(|shards| !shards.is_empty()),
        }
    }
}

impl Config {
    /// Reads `config.json`, with comments, as nearcore does.
    ///
    /// # Errors
    /// One line in nearcore's words.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|_| {
            format!("config.json file issue: Failed to read config from {}", path.display())
        })?;
        let raw: Raw = serde_json::from_str(&strip_comments(&text)).map_err(|e| {
            format!(
                "config.json file issue: Failed to deserialize config from {}: {e:?}",
                path.display()
            )
        })?;
        Self::of(raw)
    }

    #[cfg(test)]
    fn parse(text: &str) -> Result<Self, String> {
        Self::of(serde_json::from_str(&strip_comments(text)).map_err(|e| e.to_string())?)
    }

    fn of(raw: Raw) -> Result<Self, String> {
        raw.validate()?;
        let network_addr = match raw.network.addr.as_str() {
            "" => Ok(None),
            addr => addr.parse().map(Some).map_err(|e| format!("Failed to parse SocketAddr: {e}")),
        };
        let start_error = network_addr.as_ref().err().cloned();
        let start_error = start_error.or_else(|| check_public_addrs(&raw.network).err());
        let tracks_all_shards = raw.tracks_all_shards();
        Ok(Self {
            genesis_file: raw.genesis_file,
            validator_key_file: raw.validator_key_file,
            node_key_file: raw.node_key_file,
            rpc_addr: raw.rpc.map(|rpc| rpc.addr),
            network_addr: network_addr.unwrap_or(None),
            start_error,
            boot_nodes: raw.network.boot_nodes,
            public_addrs: raw.network.public_addrs,
            skip_sync_wait: raw.network.skip_sync_wait,
            min_num_peers: raw.consensus.min_num_peers,
            min_block_production_delay: (&raw.consensus.min_block_production_delay).into(),
            tracks_all_shards,
            expected_shutdown: raw.expected_shutdown,
        })
    }
}

/// nearcore refuses addresses that other hosts cannot reach, unless it is told that all are on one.
fn check_public_addrs(network: &RawNetwork) -> Result<(), String> {
    for entry in &network.public_addrs {
        let addr = entry.split_once('@').and_then(|(_, addr)| addr.parse::<SocketAddr>().ok());
        let ip = addr.ok_or_else(|| format!("public_addrs: {entry} is not KEY@IP:PORT"))?.ip();
        let private = matches!(ip, IpAddr::V4(ip) if ip.is_private()) || ip.is_loopback();
        if ip.is_unspecified() {
            return Err(format!("public_addrs: {ip} is not a valid IP."));
        }
        if private && !network.allow_private_ip_in_public_addrs {
            return Err(format!("public_addrs: {ip} is not a public IP."));
        }
    }
    Ok(())
}

/// Removes `//`, `#` and `/* */` comments outside strings; nearcore allows them in all its files.
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
        } else if c == '#' || (c == '/' && chars.peek() == Some(&'/')) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_config::NewConfig;
    use serde_json::{Value, json};

    #[test]
    fn the_written_file_is_read_back() {
        let config = NewConfig { fast_blocks: true, ..NewConfig::default() };
        let config = Config::parse(&config.to_json().to_string()).unwrap();
        assert_eq!(config.rpc_addr, Some("0.0.0.0:3030".parse().unwrap()));
        assert_eq!(config.network_addr, Some("0.0.0.0:24567".parse().unwrap()));
        assert_eq!(config.min_block_production_delay, Duration::from_millis(120));
        assert!(config.tracks_all_shards);
        assert_eq!((config.min_num_peers, config.expected_shutdown), (3, None));
    }

    #[test]
    fn what_nearcore_has_no_default_for_must_be_there() {
        let full = NewConfig::default().to_json();
        for (object, field) in [
            ("rpc", "addr"),
            ("rpc", "polling_config"),
            ("network", "addr"),
            ("network", "skip_sync_wait"),
            ("network", "ban_window"),
            ("consensus", "min_num_peers"),
            ("consensus", "max_block_wait_delay"),
        ] {
            let mut config = full.clone();
            config[object].as_object_mut().unwrap().remove(field);
            let error = Config::parse(&config.to_string()).unwrap_err();
            assert!(error.contains(&format!("missing field `{field}`")), "{error}");
        }
    }

    #[test]
    fn an_older_field_beside_its_successor_is_refused() {
        for older in [
            r#""tracked_shards": []"#,
            r#""tracked_accounts": ["a.near"]"#,
            r#""tracked_shadow_validator": "a.near""#,
            r#""tracked_shard_schedule": [[0]]"#,
        ] {
            let text = format!(r#"{{"tracked_shards_config": "NoShards", {older}}}"#);
            let error = Config::parse(&text).unwrap_err();
            assert!(error.contains("cannot be both set"), "{error}");
            assert!(Config::parse(&format!("{{{older}}}")).is_ok(), "{older} alone");
        }
    }

    #[test]
    fn an_address_that_others_cannot_reach_is_announced_only_when_told() {
        let with = |ip: &str, allow: bool| {
            let mut config = NewConfig::default().to_json();
            config["network"]["public_addrs"] = json!([format!("ed25519:x@{ip}:24567")]);
            config["network"]["allow_private_ip_in_public_addrs"] = json!(allow);
            Config::parse(&config.to_string()).unwrap().start_error.is_none()
        };
        for ip in ["127.0.0.1", "10.1.2.3", "192.168.1.1"] {
            assert!(!with(ip, false) && with(ip, true), "{ip}");
        }
        assert!(with("1.2.3.4", false));
        assert!(!with("0.0.0.0", true));
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
        let older = r#"{"tracked_shards": [], "tracked_shadow_validator": "a.near"}"#;
        assert!(!Config::parse(older).unwrap().tracks_all_shards);
        // A shard in the older list wins over the shadow validator.
        let both = r#"{"tracked_shards": [0], "tracked_shadow_validator": "a.near"}"#;
        assert!(Config::parse(both).unwrap().tracks_all_shards);
    }

    #[test]
    fn comments_are_removed_outside_strings_only() {
        let text =
            "{ // one\n \"a\": \"http://x /* y */\", /* two\n */ # three\n \"b\": \"\\\"//\" }";
        let value: Value = serde_json::from_str(&strip_comments(text)).unwrap();
        assert_eq!(value, json!({"a": "http://x /* y */", "b": "\"//"}));
    }

    #[test]
    fn not_json_and_wrong_types_are_refused() {
        for bad in [
            "",
            "{",
            "[]x",
            r#"{"rpc": {"addr": "nowhere"}}"#,
            r#"{"network": 3}"#,
            r#"{"validator_key_file": null}"#,
            r#"{"tracked_shards_config": "Everything"}"#,
        ] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }
}
