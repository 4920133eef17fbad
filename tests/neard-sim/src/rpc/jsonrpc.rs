//! JSON-RPC: the methods that kneard uses, and errors in nearcore's shape.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::chain::block::Block;
use crate::chain::duties;
use crate::clock;
use crate::hash::Hash;
use crate::rpc::View;
use crate::rpc::status::{self, epoch_id};
use crate::version;

/// An error as nearcore writes it: `name` and `cause` for programs, `code`, `message` and
/// `data` for old clients.
#[derive(Debug)]
struct Error {
    name: &'static str,
    cause: Value,
    code: i64,
    message: &'static str,
    data: Value,
    status: StatusCode,
}

impl Error {
    fn parse(what: String) -> Box<Self> {
        Box::new(Self {
            name: "REQUEST_VALIDATION_ERROR",
            cause: json!({"name": "PARSE_ERROR", "info": {"error_message": what}}),
            code: -32_700,
            message: "Parse error",
            data: json!(what),
            status: StatusCode::BAD_REQUEST,
        })
    }

    fn method_not_found(method: &str) -> Box<Self> {
        Box::new(Self {
            name: "REQUEST_VALIDATION_ERROR",
            cause: json!({"name": "METHOD_NOT_FOUND", "info": {"method_name": method}}),
            code: -32_601,
            message: "Method not found",
            data: json!(method),
            status: StatusCode::BAD_REQUEST,
        })
    }

    fn handler(cause: &str, info: Value, data: String, status: StatusCode) -> Box<Self> {
        Box::new(Self {
            name: "HANDLER_ERROR",
            cause: json!({"name": cause, "info": info}),
            code: -32_000,
            message: "Server error",
            data: json!(data),
            status,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "cause": self.cause,
            "code": self.code,
            "message": self.message,
            "data": self.data
        })
    }
}

/// Answers one request; a request that is no JSON-RPC gets a parse error.
pub fn answer(view: &View<'_>, body: &[u8]) -> (StatusCode, Value) {
    let request: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let id = request.get("id").cloned().unwrap_or(Value::Null);
    let result = match request.get("method").and_then(Value::as_str) {
        Some(method) => call(view, method, request.get("params").unwrap_or(&Value::Null)),
        None => Err(Error::parse("the request is not a JSON-RPC call".to_owned())),
    };
    match result {
        Ok(result) => (StatusCode::OK, json!({"jsonrpc": "2.0", "result": result, "id": id})),
        Err(e) => (e.status, json!({"jsonrpc": "2.0", "error": e.to_json(), "id": id})),
    }
}

fn call(view: &View<'_>, method: &str, params: &Value) -> Result<Value, Box<Error>> {
    match method {
        "status" => Ok(status::status(view)),
        "health" => Ok(Value::Null),
        "block" => block(view, params),
        "validators" => validators(view, params),
        "network_info" => Ok(network_info(view)),
        "EXPERIMENTAL_maintenance_windows" | "maintenance_windows" => {
            maintenance_windows(view, params)
        }
        _ => Err(Error::method_not_found(method)),
    }
}

fn find_block(view: &View<'_>, params: &Value) -> Result<Block, Box<Error>> {
    let store = &view.consensus.store;
    let wanted = match params {
        // The older form: `[id]`.
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other.get("block_id").unwrap_or(&Value::Null),
    };
    let (found, data) = match wanted {
        Value::Null if params.get("finality").is_some() => {
            let head = store.head();
            (store.get(&head.hash), format!("DB Not Found Error: BLOCK: {}", head.hash))
        }
        Value::Number(height) if height.is_u64() => (
            height.as_u64().and_then(|height| store.at(height)),
            format!("DB Not Found Error: BLOCK HEIGHT: {height} \n Cause: Unknown"),
        ),
        Value::String(text) => {
            let hash: Hash = text.parse().map_err(Error::parse)?;
            (store.get(&hash), format!("DB Not Found Error: BLOCK HEADER: {hash}"))
        }
        _ => return Err(Error::parse(format!("Failed parsing args: {params}"))),
    };
    let unknown =
        || Error::handler("UNKNOWN_BLOCK", json!({}), data, StatusCode::UNPROCESSABLE_ENTITY);
    found.map(|block| (**block).clone()).ok_or_else(unknown)
}

fn block(view: &View<'_>, params: &Value) -> Result<Value, Box<Error>> {
    let genesis = view.consensus.genesis();
    let block = find_block(view, params)?;
    let hash = block.hash();
    let epoch = epoch_id(genesis, block.height);
    let next = epoch_id(genesis, genesis.epoch_start(block.height) + genesis.epoch_length);
    let approvals: Vec<Option<String>> = (0..genesis.validators.len())
        .map(|i| block.approvals.iter().find(|(who, _)| *who == i).map(|(_, s)| s.to_string()))
        .collect();
    let chunks: Vec<Value> = block
        .chunk
        .iter()
        .map(|included| {
            json!({
                "chunk_hash": included.chunk.hash(),
                "prev_block_hash": included.chunk.prev,
                "height_created": included.chunk.height,
                "height_included": block.height,
                "shard_id": 0,
                "gas_used": 0,
                "gas_limit": 1_000_000_000_000_000_u64,
                "signature": included.chunk.signature.to_string()
            })
        })
        .collect();
    Ok(json!({
        "author": genesis.validators[block.producer].account_id,
        "header": {
            "height": block.height,
            "prev_height": block.prev_height,
            "epoch_id": epoch,
            "next_epoch_id": next,
            "hash": hash,
            "prev_hash": block.prev,
            "chunks_included": chunks.len(),
            "chunk_mask": [block.chunk.is_some()],
            "timestamp": block.timestamp,
            "timestamp_nanosec": block.timestamp.to_string(),
            "gas_price": "100000000",
            "total_supply": "4000000000000000000000000000000000",
            "last_final_block": block.prev,
            "approvals": approvals,
            "signature": block.signature.to_string(),
            "latest_protocol_version": version::PROTOCOL
        },
        "chunks": chunks
    }))
}

fn validators(view: &View<'_>, params: &Value) -> Result<Value, Box<Error>> {
    let genesis = view.consensus.genesis();
    let head = view.consensus.head().height;
    // Only the current epoch is counted; an id of another one is unknown, as in a node that
    // has collected its garbage.
    let wanted = params.get("epoch_id").and_then(Value::as_str);
    if wanted.is_some_and(|wanted| wanted != epoch_id(genesis, head).to_string()) {
        let data = "Validator info unavailable".to_owned();
        return Err(Error::handler("UNKNOWN_EPOCH", json!({}), data, StatusCode::OK));
    }
    let figures = duties::figures(genesis, &view.consensus.store);
    let current: Vec<Value> = genesis
        .validators
        .iter()
        .zip(&figures)
        .map(|(validator, f)| {
            json!({
                "account_id": validator.account_id,
                "public_key": validator.public_key,
                "is_slashed": false,
                "stake": validator.stake.to_string(),
                "shards": [0],
                "shards_endorsed": [0],
                "num_produced_blocks": f.produced_blocks,
                "num_expected_blocks": f.expected_blocks,
                "num_produced_chunks": f.produced_chunks,
                "num_expected_chunks": f.expected_chunks,
                "num_produced_chunks_per_shard": [f.produced_chunks],
                "num_expected_chunks_per_shard": [f.expected_chunks],
                "num_produced_endorsements": f.produced_endorsements,
                "num_expected_endorsements": f.expected_endorsements,
                "num_produced_endorsements_per_shard": [f.produced_endorsements],
                "num_expected_endorsements_per_shard": [f.expected_endorsements]
            })
        })
        .collect();
    let next: Vec<Value> = genesis
        .validators
        .iter()
        .map(|v| {
            json!({
                "account_id": v.account_id,
                "public_key": v.public_key,
                "stake": v.stake.to_string(),
                "shards": [0]
            })
        })
        .collect();
    let start = genesis.epoch_start(head);
    Ok(json!({
        "current_validators": current,
        "next_validators": next,
        "current_fishermen": [],
        "next_fishermen": [],
        "current_proposals": [],
        "prev_epoch_kickout": [],
        "epoch_start_height": start,
        "epoch_height": (start - genesis.height) / genesis.epoch_length + 1
    }))
}

fn maintenance_windows(view: &View<'_>, params: &Value) -> Result<Value, Box<Error>> {
    let genesis = view.consensus.genesis();
    let Some(account) = params.get("account_id").and_then(Value::as_str) else {
        return Err(Error::parse("Failed parsing args: missing field `account_id`".to_owned()));
    };
    let who = genesis.validators.iter().position(|v| v.account_id == account);
    let windows = duties::maintenance_windows(genesis, view.consensus.head().height, who);
    Ok(windows.iter().map(|(start, end)| json!({"start": start, "end": end})).collect())
}

fn network_info(view: &View<'_>) -> Value {
    let peers: Vec<_> = view.network.peers.values().collect();
    let active: Vec<Value> = peers
        .iter()
        .map(|p| json!({"id": p.key, "addr": p.addr, "account_id": p.account}))
        .collect();
    let producers: Vec<Value> = peers
        .iter()
        .filter(|p| p.account.is_some())
        .map(|p| {
            json!({"account_id": p.account, "addr": p.addr, "peer_id": p.key, "next_hops": null})
        })
        .collect();
    let seconds = view.uptime_sec.max(1);
    json!({
        "active_peers": active,
        "num_active_peers": peers.len(),
        "peer_max_count": 40,
        "highest_peer_height": view.network.best_height(),
        "sent_bytes_per_sec": view.network.sent_bytes / seconds,
        "received_bytes_per_sec": view.network.received_bytes / seconds,
        "known_producers": producers,
        "time": clock::rfc3339(clock::unix_ns())
    })
}
