//! The chain's blocks, to count what was missed.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http;

/// What the chain lacks at heights `from..=to`: blocks, and chunks in the blocks that are there.
pub fn missed(rpc: SocketAddr, from: u64, to: u64) -> Vec<String> {
    (from..=to)
        .filter_map(|height| match block(rpc, height) {
            None => Some(format!("block {height}")),
            Some(block) if block["header"]["chunks_included"] == 0 => {
                Some(format!("chunk of block {height}"))
            }
            Some(_) => None,
        })
        .collect()
}

fn block(rpc: SocketAddr, height: u64) -> Option<Value> {
    let answer = http::json_rpc(rpc, "block", &json!({"block_id": height}))
        .unwrap_or_else(|e| panic!("{rpc} does not tell of block {height}: {e}"));
    answer.get("result").cloned()
}
