//! The readers of neard's files and answers.

use std::net::SocketAddr;

use super::keys::{self, AccountId, KeyKind, PublicKey};
use super::{config, rpc};

/// What a key file holds.
///
/// # Errors
/// Why it is refused.
pub fn key_file(text: &[u8], kind: KeyKind) -> Result<(PublicKey, Option<AccountId>), String> {
    keys::read_text(text, kind)
}

pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    keys::same_secret_text(one, other)
}

pub fn blank_comments(text: &str) -> String {
    config::blank_comments(text)
}

/// Whether kneard can work with this `config.json`; the names of its key files.
///
/// # Errors
/// Why not.
pub fn config(text: &str) -> Result<(String, String), String> {
    config::NeardConfig::read(text).map(|config| (config.validator_key_file, config.node_key_file))
}

/// `config.json` with the two values that kneard owns.
///
/// # Errors
/// Why it cannot be.
pub fn with_network(text: &str, addr: &SocketAddr, public: &[String]) -> Result<String, String> {
    config::with_network(text, addr, public)
}

/// neard's answer to `/status`.
///
/// # Errors
/// Why it is none.
pub fn status(body: &[u8]) -> Result<rpc::Status, String> {
    rpc::parse_status(body)
}

/// neard's answer to what the account has signed.
///
/// # Errors
/// Why it is none.
pub fn duties(body: &[u8], account: &str) -> Result<Option<rpc::Duties>, String> {
    rpc::parse_duties(body, account)
}

/// A gauge out of neard's `/metrics`.
pub fn gauge(metrics: &str, name: &str) -> Option<u64> {
    rpc::gauge(metrics, name)
}
