//! `/metrics`: the names that kneard and its alerts read, as nearcore names them.

use std::fmt::Write;

use crate::chain::duties::{self, Figures};
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
    let validator = consensus.validator();
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
        "near_block_expected_shutdown",
        "Indicates the expected block height where the node will shutdown",
        view.expected_shutdown.unwrap_or(0),
    );
    one(
        "gauge",
        "near_is_validator",
        "Bool to denote if it is validating in the current epoch",
        u64::from(validator.is_some()),
    );
    one(
        "gauge",
        "near_is_block_producer",
        "Bool to denote if the node is a block producer in the current epoch",
        u64::from(validator.is_some()),
    );
    one(
        "counter",
        "near_block_produced_total",
        "Total number of blocks produced since starting this node",
        counters.blocks_produced,
    );
    one(
        "counter",
        "near_chunk_produced_total",
        "Total number of chunks produced since starting this node",
        counters.chunks_produced,
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
    one(
        "counter",
        "near_already_connected_account",
        "A second peer with the same validator key is trying to connect to our node. This means that the validator peer has invalid setup.",
        network.already_connected_account,
    );
    one(
        "gauge",
        "near_peer_connections_total",
        "Number of connected peers",
        network.peers.len() as u64,
    );
    one(
        "counter",
        "near_peer_connections_opened_total",
        "Connections since starting this node",
        network.connections_total,
    );
    one(
        "gauge",
        "near_peer_reachable",
        "Total number of reachable peers",
        network.peers.len() as u64,
    );
    one("counter", "near_sent_bytes_total", "Bytes sent to peers", network.sent_bytes);
    one(
        "counter",
        "near_received_bytes_total",
        "Bytes received from peers",
        network.received_bytes,
    );
    // 1 is NoSync, 3 is HeaderSync, 0 is AwaitingPeers in nearcore.
    let sync = if !view.syncing {
        1
    } else if network.peers.is_empty() {
        0
    } else {
        3
    };
    one("gauge", "near_sync_status", "Node sync status", sync);
    one(
        "gauge",
        "near_node_protocol_version",
        "Max protocol version supported by this binary",
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
        "# HELP near_build_info Metric whose labels indicate node's version\n\
         # TYPE near_build_info gauge\n\
         near_build_info{{build=\"{}\",release=\"{}\"}} 1",
        version::BUILD,
        view.version
    );
    out
}
