//! What has to be right before kneard starts, and what neard is started with.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::process::NeardOptions;
use super::runtime_file::RuntimeFile;
use crate::consul;
use crate::election::Promotion;
use crate::neard::guard::SpawnOptions;
use crate::neard::home::{self, HomeError};
use crate::neard::keys::{KeyError, KeyFile, KeyKind};
use crate::settings::Settings;
use crate::systemd::SocketError;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{flag}: {error}")]
    Key { flag: &'static str, error: KeyError },
    #[error("--neard-home: {0}")]
    Home(#[from] HomeError),
    #[error("--consul-url or --consul-token-file: {0}")]
    Consul(consul::Error),
    #[error(
        "--account-id {flag} is not the account of {key_file}, which is {key}: correct the one or the other"
    )]
    Account { flag: String, key_file: PathBuf, key: String },
    #[error(
        "--exporter-address {address}: {error}; stop what uses it or choose another --exporter-address"
    )]
    Exporter { address: SocketAddr, error: io::Error },
    #[error("--control-socket {path}: {error}; stop what uses it or choose another")]
    Control { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Sockets(#[from] SocketError),
    #[error("--neard-binary {0}: no such program; install neard or name where it is")]
    NoNeard(PathBuf),
    #[error("--runtime-dir {path}: {error}; it must be a directory that kneard can write to")]
    RuntimeDir { path: PathBuf, error: io::Error },
    #[error("--neard-binary {binary} does not start neard: {why}; see its log above")]
    NeardDoesNotStart { binary: PathBuf, why: String },
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    #[error("cannot count: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl RunError {
    /// The exit code: 2 for what the operator has to correct before a start can succeed, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Key { .. }
            | RunError::Consul(_)
            | RunError::Account { .. }
            | RunError::Sockets(_)
            | RunError::NoNeard(_) => 2,
            RunError::Home(HomeError::Locked { .. }) => 1,
            RunError::Home(_) => 2,
            RunError::Exporter { .. }
            | RunError::Control { .. }
            | RunError::RuntimeDir { .. }
            | RunError::NeardDoesNotStart { .. }
            | RunError::Metrics(_)
            | RunError::Signals(_) => 1,
        }
    }
}

/// Reads the keys and works out what neard is started with.
pub(crate) fn neard_options(settings: &Settings) -> Result<(NeardOptions, String), RunError> {
    let load = |flag, path: &PathBuf, kind| {
        KeyFile::load(path, kind, settings.allow_readable_keys)
            .map_err(|error| RunError::Key { flag, error })
    };
    let node_key = |flag, path: &Option<PathBuf>| {
        path.as_ref().map(|path| load(flag, path, KeyKind::NodeKey)).transpose()
    };
    let validator_key = load("--validator-key", &settings.validator_key, KeyKind::ValidatorKey)?;
    let validator_node_key = node_key("--validator-node-key", &settings.validator_node_key)?;
    let voter_node_key = node_key("--voter-node-key", &settings.voter_node_key)?;
    let account = validator_key.account_id.as_ref().map(|account| account.as_str().to_owned());
    let account = account.unwrap_or_default();
    if let Some(flag) = settings.account_id.as_ref().filter(|flag| **flag != account) {
        return Err(RunError::Account {
            flag: flag.clone(),
            key_file: settings.validator_key.clone(),
            key: account,
        });
    }
    let path = |key: Option<&KeyFile>| key.map(|key| key.path.clone());
    // A neard that gets the key while it runs keeps its identity.
    let swaps = settings.election.promotion == Promotion::HotSwap;
    let voter_node_key = path(voter_node_key.as_ref());
    let validator_node_key =
        path(validator_node_key.as_ref()).filter(|_| !swaps).or_else(|| voter_node_key.clone());
    let options = NeardOptions {
        binary: settings.neard_binary.clone(),
        boot_nodes: settings.boot_nodes.clone(),
        release_argv: vec![
            SpawnOptions::OWN_PROGRAM.into(),
            "release".into(),
            "--runtime-dir".into(),
            settings.runtime_dir.clone().into(),
        ],
        standby: home::Role::Standby {
            validator_key: validator_key.path.clone(),
            node_key: voter_node_key,
            network_addr: if swaps {
                settings.validator_network_addr
            } else {
                settings.voter_network_addr
            },
            public_address: settings.public_address.filter(|_| swaps),
        },
        validator: home::Role::Validator {
            validator_key: validator_key.path.clone(),
            node_key: validator_node_key,
            network_addr: settings.validator_network_addr,
            public_address: settings.public_address,
        },
        validator_public_key: validator_key.public_key,
        account: account.clone(),
    };
    Ok((options, account))
}

/// What `kneard release` will need after a crash.
pub(super) fn runtime_file(settings: &Settings, account: &str) -> RuntimeFile {
    let tls = &settings.consul.tls;
    RuntimeFile {
        account_id: account.to_owned(),
        instance: settings.election.instance.clone(),
        session: None,
        neard: None,
        consul_addresses: settings.consul.addresses.clone(),
        consul_token_file: settings.consul.token_file.clone(),
        consul_ca_file: tls.ca_file.clone(),
        consul_cert_file: tls.cert_file.clone(),
        consul_key_file: tls.key_file.clone(),
    }
}
