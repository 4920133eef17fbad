//! `/metrics`: the names that kneard and its alerts read, as nearcore names them.

use std::fmt::Write;

use crate::chain::duties::{self, Figures};
use crate::clock;
use crate::rpc::View;
use crate::version;

/// What only the node's loop can count.
#[derive(Debug, Default)]
pub struct Counters {
    /// One for the start and one for each valid SIGHUP.
    pub config_reloads: u64,
    /// Seconds since 1970.
    pub config_reload_at: u64,
    pub config_correct: bool,
    pub blocks_produced: u64,
    pub chunks_produced: u64,
}

type Figure = fn(&Figures) -> u64;

/// The page in the text format of Prometheus.
pub fn text(view: &View<'_>) -> String {
    let consensus = view.consensus;
    let genesis = consensus.genesis();
    let head = consensus.head();
    let counters = view.counters;
    let network = view.network;
    let mut out = String::new();
    let mut one = |kind: &str, name: &str, help: &str, value: u64| {
        // Writing to a String cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    one(
        "gauge",
        "near_block_height_head",
        "Height of the current head of the blockchain",
        head.height,
    );
    one(
        "gauge",
        "near_is_validator",
        "Bool to denote if it is validating in the current epoch",
        u64::from(view.is_validator),
    );
    one(
        "gauge",
        "near_is_block_producer",
        "Bool to denote if the node is a block producer in the current epoch",
        u64::from(view.is_validator),
    );
    one(
        "counter",
        "near_config_reloads_total",
        "Number of times the configs were reloaded during the current run of the process",
        counters.config_reloads,
    );
    one(
        "gauge",
        "near_config_reload_timestamp_seconds",
        "Timestamp of the last reload of the config",
        counters.config_reload_at,
    );
    one(
        "gauge",
        "near_config_correct",
        "Are the current dynamically loadable configs correct",
        u64::from(counters.config_correct),
    );
    // nearcore registers a counter when it first counts: until then the page has no such line.
    for (name, help, value) in [
        (
            "near_block_produced_total",
            "Total number of blocks produced since starting this node",
            counters.blocks_produced,
        ),
        (
            "near_chunk_produced_total",
            "Total number of chunks produced since starting this node",
            counters.chunks_produced,
        ),
        (
            "near_already_connected_account",
            "A second peer with the same validator key is trying to connect to our node. This means that the validator peer has invalid setup.",
            network.already_connected_account,
        ),
        ("near_peer_data_sent_bytes", "Total data sent to peers", network.sent_bytes),
        ("near_peer_data_received_bytes", "Total data received from peers", network.received_bytes),
    ] {
        if value > 0 {
            one("counter", name, help, value);
        }
    }
    one(
        "gauge",
        "near_peer_connections_total",
        "Number of connected peers",
        network.peers.len() as u64,
    );
    one(
        "gauge",
        "near_peer_reachable",
        "Total number of reachable peers",
        network.peers.len() as u64,
    );
    one(
        "gauge",
        "near_largest_target_height",
        "The largest height for which we sent an approval (or skip)",
        consensus.approved(),
    );
    one(
        "gauge",
        "near_largest_threshold_height",
        "The largest height where we got enough approvals",
        consensus.largest_threshold(),
    );
    one(
        "gauge",
        "near_boot_time_seconds",
        "Unix timestamp in seconds of the moment the client was started",
        clock::unix_ns() / 1_000_000_000 - view.uptime_sec,
    );
    // As nearcore numbers them: NoSync, AwaitingPeers, BlockSync.
    let sync = match (view.syncing, view.awaits_peers) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 7,
    };
    one("gauge", "near_sync_status", "Node sync status", sync);
    one(
        "gauge",
        "near_node_protocol_version",
        "Max protocol version supported by the node",
        u64::from(version::PROTOCOL),
    );
    one(
        "gauge",
        "near_epoch_height",
        "Height of the epoch at the head of the blockchain",
        (genesis.epoch_start(head.height) - genesis.height) / genesis.epoch_length + 1,
    );
    let figures = duties::figures(genesis, &consensus.store);
    let kinds: [(&str, &str, Figure); 4] = [
        ("near_validators_blocks_produced", "Number of blocks produced by a validator", |f| {
            f.produced_blocks
        }),
        (
            "near_validators_blocks_expected",
            "Number of blocks expected to be produced by a validator",
            |f| f.expected_blocks,
        ),
        ("near_validators_chunks_produced", "Number of chunks produced by a validator", |f| {
            f.produced_chunks
        }),
        (
            "near_validators_chunks_expected",
            "Number of chunks expected to be produced by a validator",
            |f| f.expected_chunks,
        ),
    ];
    for (name, help, value) in kinds {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (validator, figures) in genesis.validators.iter().zip(&figures) {
            let account = &validator.account_id;
            let _ = writeln!(out, "{name}{{account_id=\"{account}\"}} {}", value(figures));
        }
    }
    let _ = writeln!(
        out,
        "# HELP near_build_info Metric whose labels indicate node’s version; see \
         <https://www.robustperception.io/exposing-the-software-version-to-prometheus>.\n\
         # TYPE near_build_info gauge\n\
         near_build_info{{build=\"{}\",release=\"{}\",rustc_version=\"{}\"}} 1",
        version::BUILD,
        view.version,
        version::RUSTC
    );
    // What SIGHUP may change, as the label that nearcore's Debug output makes.
    let _ = writeln!(
        out,
        "# HELP near_config_mutable_field Timestamp and value of a mutable config field\n\
         # TYPE near_config_mutable_field gauge\n\
         near_config_mutable_field{{field_name=\"expected_shutdown\",timestamp=\"{}\",value=\"{:?}\"}} 1",
        counters.config_reload_at, view.expected_shutdown
    );
    out
}
