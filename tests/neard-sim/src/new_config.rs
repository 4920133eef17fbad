//! The `config.json` that `init` and `localnet` write: nearcore's fields in nearcore's order, with
//! its defaults (nearcore 2.13, `Config::default` and the types in it).

use serde_json::{Value, json};

/// What a new node's `config.json` depends on.
#[derive(Debug)]
pub struct NewConfig {
    pub rpc_addr: String,
    pub enable_debug_rpc: bool,
    pub network_addr: String,
    pub boot_nodes: String,
    /// `key@ip:port`; addresses of this host's own are allowed when there are any.
    pub public_addrs: Vec<String>,
    /// Seconds between attempts to reach other validators.
    pub tier1_connect_interval: u64,
    pub min_num_peers: u64,
    pub skip_sync_wait: bool,
    /// `init --fast`.
    pub fast_blocks: bool,
    /// The longest wait for approvals, in milliseconds, unless blocks are fast.
    pub max_block_production_ms: u64,
    pub tracked_shards_config: Value,
    pub telemetry: Vec<String>,
    pub archival: bool,
    pub save_tx_outcomes: bool,
    pub max_gas_burnt_view: Option<u64>,
}

impl Default for NewConfig {
    /// As `neard init` writes it.
    fn default() -> Self {
        Self {
            rpc_addr: "0.0.0.0:3030".into(),
            enable_debug_rpc: false,
            network_addr: "0.0.0.0:24567".into(),
            boot_nodes: String::new(),
            public_addrs: Vec::new(),
            tier1_connect_interval: 60,
            min_num_peers: 3,
            skip_sync_wait: false,
            fast_blocks: false,
            max_block_production_ms: 2_000,
            tracked_shards_config: json!("AllShards"),
            telemetry: Vec::new(),
            archival: false,
            save_tx_outcomes: false,
            max_gas_burnt_view: None,
        }
    }
}

fn secs(secs: u64) -> Value {
    json!({"secs": secs, "nanos": 0})
}

fn millis(ms: u64) -> Value {
    json!({"secs": ms / 1_000, "nanos": ms % 1_000 * 1_000_000})
}

impl NewConfig {
    /// The file's content.
    pub fn to_json(&self) -> Value {
        let mut config = json!({
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
                "enable_debug_rpc": self.enable_debug_rpc,
                "experimental_debug_pages_src_path": null
            },
            "telemetry": {"endpoints": self.telemetry, "reporting_interval": secs(10)},
            "network": self.network(),
            "consensus": self.consensus(),
            "tracked_shards_config": self.tracked_shards_config,
            "log_summary_style": "colored",
            "log_summary_period": secs(10),
            "enable_multiline_logging": true,
            "gc_blocks_limit": 2,
            "gc_fork_clean_step": 100,
            "gc_num_epochs_to_keep": 5,
            "gc_step_period": millis(500),
            "view_client_threads": 4,
            "state_request_throttle_period": secs(30),
            "state_requests_per_throttle_period": 30,
            "state_request_server_threads": 4,
            "trie_viewer_state_size_limit": 50_000,
            "store": store(),
            "epoch_sync": {
                "epoch_sync_horizon_num_epochs": 2,
                "timeout_for_epoch_sync": secs(60)
            },
            "transaction_pool_size_limit": 100_000_000,
            "resharding_config": {
                "batch_size": "500.0 KB",
                "batch_delay": millis(5),
                "retry_delay": secs(10),
                "initial_delay": secs(0),
                "max_poll_time": secs(7_200),
                "catch_up_blocks": 20
            },
            "tx_routing_height_horizon": 4,
            "disable_tx_routing": false,
            "produce_chunk_add_transactions_time_limit": millis(200),
            "orphan_state_witness_pool_size": 25,
            "orphan_state_witness_max_size": "40.0 MB",
            "max_loaded_contracts": 256,
            "contract_cache_max_size": "128.0 GB",
            "save_latest_witnesses": false,
            "save_invalid_witnesses": false,
            "transaction_request_handler_threads": 4,
            "contract_cache_path": null
        });
        // nearcore leaves these out while they say nothing.
        if self.archival {
            config["archive"] = json!(true);
            config["save_trie_changes"] = json!(true);
            config["cold_store"] = store();
            config["cold_store"]["path"] = json!("cold-data");
            config["split_storage"] = json!({
                "enable_split_storage_view_client": true,
                "cold_store_loop_sleep_duration": secs(1),
                "num_cold_store_read_threads": 4
            });
        }
        if self.save_tx_outcomes {
            config["save_tx_outcomes"] = json!(true);
        }
        if let Some(gas) = self.max_gas_burnt_view {
            config["max_gas_burnt_view"] = json!(gas);
        }
        config
    }

    fn network(&self) -> Value {
        json!({
            "addr": self.network_addr,
            "boot_nodes": self.boot_nodes,
            "whitelist_nodes": "",
            "max_num_peers": 40,
            "minimum_outbound_peers": 5,
            "ideal_connections_lo": 30,
            "ideal_connections_hi": 35,
            "so_recv_buffer_size": 1_000_000,
            "so_send_buffer_size": 1_000_000,
            "peer_recent_time_window": secs(600),
            "safe_set_size": 20,
            "archival_peer_connections_lower_bound": 10,
            "handshake_timeout": secs(20),
            "skip_sync_wait": self.skip_sync_wait,
            "ban_window": secs(10_800),
            "blacklist": [],
            "ttl_account_id_router": secs(3_600),
            "peer_stats_period": secs(5),
            "monitor_peers_max_period": secs(60),
            "peer_states_cache_size": 1000,
            "snapshot_hosts_cache_size": 1000,
            "peer_expiration_duration": secs(604_800),
            "public_addrs": self.public_addrs,
            "allow_private_ip_in_public_addrs": !self.public_addrs.is_empty(),
            "trusted_stun_servers": [
                "stun.l.google.com:19302",
                "stun1.l.google.com:19302",
                "stun2.l.google.com:19302",
                "stun3.l.google.com:19302",
                "stun4.l.google.com:19302"
            ],
            "tier1": {
                "enable_inbound": true,
                "enable_outbound": true,
                "connect_interval": secs(self.tier1_connect_interval),
                "new_connections_per_attempt": 50,
                "advertise_proxies_interval": secs(900)
            },
            "experimental": {
                "inbound_disabled": false,
                "connect_only_to_boot_nodes": false,
                "skip_sending_tombstones_seconds": 0,
                "network_config_overrides": {
                    "connect_to_reliable_peers_on_startup": null,
                    "max_send_peers": null,
                    "routed_message_ttl": null,
                    "max_routes_to_store": null,
                    "highest_peer_horizon": null,
                    "push_info_period_millis": null,
                    "outbound_disabled": null,
                    "accounts_data_broadcast_rate_limit_burst": null,
                    "accounts_data_broadcast_rate_limit_qps": null,
                    "routing_table_update_rate_limit_burst": null,
                    "routing_table_update_rate_limit_qps": null,
                    "received_messages_rate_limits": null,
                    "routing_graph_max_edges_per_message": null,
                    "routing_graph_max_edges_per_source": null,
                    "routing_graph_max_peers": null,
                    "routing_graph_max_edges": null
                }
            }
        })
    }

    fn consensus(&self) -> Value {
        let (least, longest) =
            if self.fast_blocks { (120, 500) } else { (600, self.max_block_production_ms) };
        json!({
            "min_num_peers": self.min_num_peers,
            "block_production_tracking_delay": millis(10),
            "min_block_production_delay": millis(least),
            "max_block_production_delay": millis(longest),
            "max_block_wait_delay": secs(6),
            "chunk_wait_mult": [1, 3],
            "produce_empty_blocks": true,
            "block_header_fetch_horizon": 50,
            "catchup_step_period": millis(100),
            "chunk_request_retry_period": millis(400),
            "header_sync_initial_timeout": secs(10),
            "header_sync_progress_timeout": secs(2),
            "header_sync_stall_ban_timeout": secs(120),
            "state_sync_external_timeout": secs(60),
            "state_sync_p2p_timeout": secs(10),
            "state_sync_retry_backoff": secs(1),
            "state_sync_external_backoff": secs(60),
            "header_sync_expected_height_per_second": 10,
            "sync_check_period": secs(10),
            "sync_step_period": millis(10),
            "doomslug_step_period": millis(10),
            "sync_height_threshold": 1,
            "sync_max_block_requests": 10
        })
    }
}

fn store() -> Value {
    let prefetch = |receiver: &str, sender: &str, method: &str| json!([{"receiver": receiver, "sender": sender, "method_name": method}]);
    json!({
        "path": null,
        "enable_statistics": false,
        "enable_statistics_export": true,
        "max_open_files": 10_000,
        "col_state_cache_size": "536.9 MB",
        "col_flat_state_cache_size": "134.2 MB",
        "block_size": "16.4 KB",
        "trie_cache": {
            "default_max_bytes": "500.0 MB",
            "per_shard_max_bytes": {},
            "shard_cache_deletions_queue_capacity": 100_000
        },
        "view_trie_cache": {
            "default_max_bytes": "50.0 MB",
            "per_shard_max_bytes": {},
            "shard_cache_deletions_queue_capacity": 100_000
        },
        "enable_receipt_prefetching": true,
        "sweat_prefetch_receivers": ["token.sweat", "vfinal.token.sweat.testnet"],
        "sweat_prefetch_senders": ["oracle.sweat", "sweat_the_oracle.testnet"],
        "claim_sweat_prefetch_config":
            prefetch("claim.sweat", "token.sweat", "record_batch_for_hold"),
        "kaiching_prefetch_config":
            prefetch("earn.kaiching", "wallet.kaiching", "ft_on_transfer"),
        "load_mem_tries_for_shards": [],
        "load_mem_tries_for_tracked_shards": false,
        "state_snapshot_config": {"state_snapshot_type": "Enabled"}
    })
}
