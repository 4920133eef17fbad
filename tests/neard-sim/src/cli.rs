//! neard's command line. Options that do not matter to the stand-in are taken and ignored.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::localnet::{self, NewLocalnet, NewNode};
use crate::{info, node, version, warn};

/// NEAR Protocol Node (the stand-in that ships with kneard)
#[derive(Debug, Parser)]
#[command(name = "neard", version = version::LONG)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Neard {
    /// Directory for config and data; as in neard, it stands before the command
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Taken for compatibility; the stand-in starts fast anyway
    #[arg(long)]
    unsafe_fast_startup: bool,
    /// Taken for compatibility
    #[arg(long, value_name = "TARGET", num_args = 0..=1)]
    verbose: Option<Option<String>>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Initializes NEAR configuration
    Init(InitArgs),
    /// Runs NEAR node
    Run(RunArgs),
    /// Sets up local configuration with all necessary files (validator key, node key, genesis
    /// and config)
    Localnet(LocalnetArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Account ID for the validator key
    #[arg(long)]
    account_id: Option<String>,
    /// Chain ID, by default creates new random
    #[arg(long, value_parser(clap::builder::NonEmptyStringValueParser::new()))]
    chain_id: Option<String>,
    /// Specify private key generated from seed (TESTING ONLY)
    #[arg(long)]
    test_seed: Option<String>,
    /// Makes block production fast (TESTING ONLY)
    #[arg(long)]
    fast: bool,
    /// Genesis file to use
    #[arg(long)]
    genesis: Option<PathBuf>,
    /// Boot nodes in key@ip:port format separated by commas
    #[arg(long)]
    boot_nodes: Option<String>,
    #[arg(long, default_value_t = 1)]
    num_shards: u64,
    /// Taken, but nothing is downloaded: the stand-in has no real chain to join
    #[arg(long)]
    download_genesis: bool,
    /// As --download-genesis
    #[arg(long, num_args = 0..=1, default_missing_value = "validator")]
    download_config: Option<String>,
    #[arg(long)]
    download_genesis_url: Option<String>,
    #[arg(long)]
    download_records_url: Option<String>,
    #[arg(long)]
    download_config_url: Option<String>,
    #[arg(long)]
    max_gas_burnt_view: Option<u64>,
    #[arg(long, hide = true)]
    state_sync_bucket: Option<String>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Set the boot nodes to bootstrap network from
    #[arg(long)]
    boot_nodes: Option<String>,
    /// Customize RPC listening address
    #[arg(long)]
    rpc_addr: Option<SocketAddr>,
    /// Customize network listening address
    #[arg(long)]
    network_addr: Option<SocketAddr>,
    /// Minimum number of peers to start syncing/producing blocks
    #[arg(long)]
    min_peers: Option<u64>,
    /// Disable the RPC endpoint
    #[arg(long)]
    disable_rpc: bool,
    #[arg(long)]
    archive: bool,
    #[arg(long)]
    connect_to_reliable_peers_on_startup: Option<bool>,
    #[arg(long)]
    produce_empty_blocks: Option<bool>,
    #[arg(long)]
    rpc_prometheus_addr: Option<String>,
    #[arg(long)]
    telemetry_url: Option<String>,
    #[arg(long)]
    max_gas_burnt_view: Option<u64>,
}

#[derive(Debug, Args)]
struct LocalnetArgs {
    /// Number of shards to initialize the localnet with
    #[arg(short = 's', long, default_value_t = 1)]
    shards: u64,
    /// Number of validators to initialize the localnet with
    #[arg(short = 'v', long, alias = "v", default_value_t = 4)]
    validators: u64,
    /// Number of non-validators to initialize the localnet with
    #[arg(short = 'n', long, alias = "n", default_value_t = 0)]
    non_validators: u64,
    /// Number of non-validator archival nodes
    #[arg(long, default_value_t = 0)]
    non_validators_archival: u64,
    /// Number of non-validator RPC nodes
    #[arg(long, default_value_t = 0)]
    non_validators_rpc: u64,
    /// Prefix for the directory name for each node
    #[arg(long, default_value = "node")]
    prefix: String,
    /// `all` or `none`, or shards separated by commas
    #[arg(long, default_value = "all")]
    tracked_shards: String,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let neard = Neard::parse();
    warn!(
        "neard",
        "This is the stand-in for neard that ships with kneard, for tests and demos only; \
         it is not a NEAR node."
    );
    info!(
        "neard",
        "version=\"{}\" build=\"{}\" latest_protocol={}",
        version::VERSION,
        version::BUILD,
        version::PROTOCOL
    );
    let home = neard.home.unwrap_or_else(default_home);
    let done = match neard.command {
        Command::Init(args) => init(args, &home),
        Command::Localnet(args) => localnet::create(&home, &new_localnet(args)),
        Command::Run(args) => {
            node::run(&home, &run_options(args));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("Error: {e}");
            ExitCode::FAILURE
        }
    }
}

/// neard's default home.
fn default_home() -> PathBuf {
    if let Some(home) = std::env::var_os("NEAR_HOME") {
        return home.into();
    }
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from).join(".near")
}

fn init(args: InitArgs, home: &std::path::Path) -> Result<(), String> {
    if (args.download_genesis || args.download_genesis_url.is_some()) && args.genesis.is_some() {
        return Err("Please give either --genesis or --download-genesis, not both.".to_owned());
    }
    let new = NewNode {
        chain_id: args.chain_id,
        account_id: args.account_id,
        test_seed: args.test_seed,
        fast: args.fast,
        download_genesis: args.download_genesis || args.download_genesis_url.is_some(),
        genesis: args.genesis,
        boot_nodes: args.boot_nodes.unwrap_or_default(),
        shards: args.num_shards,
        max_gas_burnt_view: args.max_gas_burnt_view,
    };
    localnet::init(home, &new).map_err(|e| format!("Failed to initialize configs: {e}"))
}

fn run_options(args: RunArgs) -> node::Options {
    node::Options {
        boot_nodes: args.boot_nodes,
        rpc_addr: args.rpc_addr,
        network_addr: args.network_addr,
        disable_rpc: args.disable_rpc,
        min_peers: args.min_peers,
    }
}

fn new_localnet(args: LocalnetArgs) -> NewLocalnet {
    NewLocalnet {
        shards: args.shards,
        validators: args.validators,
        archival: args.non_validators_archival,
        rpc: args.non_validators_rpc,
        others: args.non_validators,
        prefix: args.prefix,
        tracks_all_shards: !args.tracked_shards.eq_ignore_ascii_case("none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Neard::command().debug_assert();
    }

    #[test]
    fn the_usual_calls_are_understood() {
        for call in [
            "neard --home h localnet --shards 1 --v 4",
            "neard --home h localnet --shards 1 --v 4 --n 2 --prefix kneard --tracked-shards none",
            "neard --home h localnet --non-validators-rpc 1 --non-validators-archival 1",
            "neard --home=h init --chain-id localnet --account-id a --test-seed s --fast",
            "neard --home h init --chain-id testnet --download-genesis --download-config",
            "neard --home h run --boot-nodes ed25519:x@127.0.0.1:1",
            "neard --home h run --rpc-addr 127.0.0.1:1 --network-addr 127.0.0.1:2",
        ] {
            assert!(Neard::try_parse_from(call.split(' ')).is_ok(), "{call}");
        }
    }

    #[test]
    fn what_neard_refuses_is_refused() {
        for call in [
            "neard",
            "neard run --home h",
            "neard --home h localnet --archival-nodes",
            "neard --home h init --chain-id=",
            "neard --home h run --boot-node ed25519:x@127.0.0.1:1",
        ] {
            assert!(Neard::try_parse_from(call.split(' ')).is_err(), "{call}");
        }
    }
}
