//! The answer of `/status`, field by field as nearcore 2.x gives it.

use serde_json::{Value, json};

use crate::chain::store::Tip;
use crate::clock;
use crate::genesis::Genesis;
use crate::hash::Hash;
use crate::rpc::View;
use crate::version;

/// The id of the epoch of `height`: any hash that changes with the epoch will do.
pub fn epoch_id(genesis: &Genesis, height: u64) -> Hash {
    Hash::of(&[b"epoch", &genesis.hash.0, &genesis.epoch_start(height).to_le_bytes()])
}

/// A stand-in for the roots that a chain without state does not have.
pub fn state_root(tip: &Tip) -> Hash {
    Hash::of(&[b"state", &tip.hash.0])
}

/// The object that `/status` and the RPC method `status` give.
pub fn status(view: &View<'_>) -> Value {
    let genesis = view.consensus.genesis();
    let head = view.consensus.head();
    let earliest = view.consensus.store.earliest();
    let validators: Vec<Value> =
        genesis.validators.iter().map(|v| json!({"account_id": v.account_id})).collect();
    let signer = view.consensus.signer();
    let key = signer.map(|signer| view.report_key.unwrap_or(signer.public_key));
    json!({
        "version": {
            "version": view.version,
            "build": version::BUILD,
            "commit": "none",
            "rustc_version": version::RUSTC
        },
        "chain_id": genesis.chain_id,
        "protocol_version": version::PROTOCOL,
        "latest_protocol_version": version::PROTOCOL,
        "rpc_addr": view.rpc_addr,
        "validators": validators,
        "sync_info": {
            "latest_block_hash": head.hash,
            "latest_block_height": head.height,
            "latest_state_root": state_root(&head),
            "latest_block_time": clock::rfc3339(head.timestamp),
            "syncing": view.syncing,
            "earliest_block_hash": earliest.hash,
            "earliest_block_height": earliest.height,
            "earliest_block_time": clock::rfc3339(earliest.timestamp),
            "epoch_id": epoch_id(genesis, head.height),
            "epoch_start_height": genesis.epoch_start(head.height)
        },
        "validator_account_id": signer.map(|signer| &signer.account_id),
        "validator_public_key": key,
        "node_public_key": view.node_key,
        "node_key": key,
        "uptime_sec": view.uptime_sec,
        "genesis_hash": genesis.hash
    })
}
