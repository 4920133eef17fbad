//! JSON-RPC: the methods that kneard uses, and errors in nearcore's shape.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::chain::block::Block;
use crate::chain::duties;
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

    fn handler(cause: Value, data: String, status: StatusCode) -> Box<Self> {
        Box::new(Self {
            name: "HANDLER_ERROR",
            cause,
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

/// Whether the body is a message of JSON-RPC 2.0 at all.
///
/// # Errors
/// The HTTP status and the text that nearcore's server gives instead.
pub fn check_message(body: &[u8]) -> Result<(), (StatusCode, String)> {
    let message: Value = serde_json::from_slice(body).map_err(|e| {
        (StatusCode::BAD_REQUEST, format!("Failed to parse the request body as JSON: {e}"))
    })?;
    let is_message = match &message {
        Value::Object(fields) => {
            fields.get("jsonrpc").is_some_and(|version| version == "2.0")
                && fields.get("method").is_some_and(Value::is_string)
                && fields
                    .keys()
                    .all(|field| matches!(&**field, "jsonrpc" | "method" | "params" | "id"))
        }
        // A batch: taken, and answered by an error.
        Value::Array(_) => true,
        _ => false,
    };
    if is_message {
        return Ok(());
    }
    let why = "Failed to deserialize the JSON body into the target type: data did not match any \
               variant of untagged enum Message";
    Err((StatusCode::UNPROCESSABLE_ENTITY, why.to_owned()))
}

/// Answers one request, a body that [`check_message`] has passed. A message that asks nothing (no
/// id) or a batch gets a parse error.
pub fn answer(view: &View<'_>, body: &[u8]) -> (StatusCode, Value) {
    let request: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let id = request.get("id").cloned();
    let method = request.get("method").and_then(Value::as_str);
    let result = match method.filter(|_| id.is_some()) {
        Some(method) => call(view, method, request.get("params").unwrap_or(&Value::Null)),
        None => Err(Error::parse("JSON RPC Request format was expected".to_owned())),
    };
    let id = id.unwrap_or(Value::Null);
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

/// A block by height or hash, as the RPC names it.
#[derive(Debug)]
enum BlockId {
    Height(u64),
    Hash(Hash),
}

fn args_error(what: impl std::fmt::Display) -> Box<Error> {
    Error::parse(format!("Failed parsing args: {what}"))
}

fn block_id(value: &Value) -> Result<BlockId, Box<Error>> {
    let hash = |text: &str| text.parse().map(BlockId::Hash).ok();
    value
        .as_u64()
        .map(BlockId::Height)
        .or_else(|| value.as_str().and_then(hash))
        .ok_or_else(|| args_error("data did not match any variant of untagged enum BlockId"))
}

/// The one field that a reference to a block or an epoch consists of.
fn only_field(params: &Value) -> Result<(&str, &Value), Box<Error>> {
    match params {
        Value::String(name) => Ok((name, &Value::Null)),
        Value::Object(fields) if fields.len() == 1 => {
            let (name, value) = fields.iter().next().ok_or_else(|| args_error("no field"))?;
            Ok((name, value))
        }
        _ => Err(args_error(format!("invalid value: {params}, expected map with a single key"))),
    }
}

fn find_block(view: &View<'_>, params: &Value) -> Result<Block, Box<Error>> {
    let store = &view.consensus.store;
    let wanted = match params {
        // The older form: `[id]`.
        Value::Array(list) if list.len() == 1 => Some(block_id(&list[0])?),
        other => match only_field(other)? {
            ("block_id", id) => Some(block_id(id)?),
            ("finality", Value::String(finality))
                if matches!(&**finality, "optimistic" | "near-final" | "final") =>
            {
                None
            }
            ("sync_checkpoint", Value::String(which))
                if matches!(&**which, "genesis" | "earliest_available") =>
            {
                Some(BlockId::Hash(store.earliest().hash))
            }
            (field, value) => {
                return Err(args_error(format!("unknown variant `{field}`: {value}")));
            }
        },
    };
    let head = store.head();
    let (found, missing, status) = match wanted {
        None => (store.get(&head.hash), format!("BLOCK: {}", head.hash), StatusCode::OK),
        Some(BlockId::Height(height)) => {
            // Below the head it is skipped or collected: nearcore tells that by the status alone.
            let status = if height < head.height {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::OK
            };
            (store.at(height), format!("BLOCK HEIGHT: {height}"), status)
        }
        Some(BlockId::Hash(hash)) => {
            (store.get(&hash), format!("BLOCK HEADER: {hash}"), StatusCode::OK)
        }
    };
    let unknown = || {
        let data = format!("DB Not Found Error: {missing} \n Cause: Unknown");
        Error::handler(json!({"name": "UNKNOWN_BLOCK", "info": {}}), data, status)
    };
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
    // What a chain without state has no root of.
    let none = Hash([0; 32]);
    let chunks: Vec<Value> = block
        .chunk
        .iter()
        .map(|included| {
            json!({
                "chunk_hash": included.chunk.hash(),
                "prev_block_hash": included.chunk.prev,
                "outcome_root": none,
                "prev_state_root": none,
                "encoded_merkle_root": none,
                "encoded_length": 8,
                "height_created": included.chunk.height,
                "height_included": block.height,
                "shard_id": 0,
                "gas_used": 0,
                "gas_limit": 1_000_000_000_000_000_u64,
                "rent_paid": "0",
                "validator_reward": "0",
                "balance_burnt": "0",
                "outgoing_receipts_root": none,
                "tx_root": none,
                "validator_proposals": [],
                "congestion_info": {
                    "delayed_receipts_gas": "0",
                    "buffered_receipts_gas": "0",
                    "receipt_bytes": 0,
                    "allowed_shard": 0
                },
                "bandwidth_requests": {"V1": {"requests": []}},
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
            "prev_state_root": none,
            "block_body_hash": none,
            "chunk_receipts_root": none,
            "chunk_headers_root": none,
            "chunk_tx_root": none,
            "outcome_root": none,
            "chunks_included": chunks.len(),
            "challenges_root": none,
            "timestamp": block.timestamp,
            "timestamp_nanosec": block.timestamp.to_string(),
            "random_value": none,
            "validator_proposals": [],
            "chunk_mask": [block.chunk.is_some()],
            "gas_price": "100000000",
            "block_ordinal": block.height,
            "rent_paid": "0",
            "validator_reward": "0",
            "total_supply": "4000000000000000000000000000000000",
            "challenges_result": [],
            "last_final_block": block.prev,
            "last_ds_final_block": block.prev,
            "next_bp_hash": none,
            "block_merkle_root": none,
            "epoch_sync_data_hash": null,
            "approvals": approvals,
            "signature": block.signature.to_string(),
            "latest_protocol_version": version::PROTOCOL,
            "chunk_endorsements": [[]],
            "shard_split": null
        },
        "chunks": chunks
    }))
}

fn validators(view: &View<'_>, params: &Value) -> Result<Value, Box<Error>> {
    let genesis = view.consensus.genesis();
    let head = view.consensus.head().height;
    // Only the current epoch is counted; an id of another one is unknown, as in a node that
    // has collected its garbage.
    let wanted = match params {
        Value::Array(list) if list.len() == 1 => match &list[0] {
            Value::Null => None,
            id => Some(("block_id", id)),
        },
        other => match only_field(other)? {
            ("latest", Value::Null) => None,
            reference @ ("epoch_id" | "block_id", _) => Some(reference),
            (field, _) => return Err(args_error(format!("unknown variant `{field}`"))),
        },
    };
    match wanted {
        Some(("epoch_id", id)) if *id != epoch_id(genesis, head).to_string() => {
            let cause = json!({"name": "UNKNOWN_EPOCH"});
            return Err(Error::handler(cause, "Unknown Epoch".to_owned(), StatusCode::OK));
        }
        Some(("block_id", id)) => {
            // nearcore wants the last block of a past epoch.
            block_id(id)?;
            let cause = json!({"name": "VALIDATOR_INFO_UNAVAILABLE"});
            let data = "Validator info unavailable".to_owned();
            return Err(Error::handler(cause, data, StatusCode::OK));
        }
        _ => {}
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
        "epoch_height": (start - genesis.height) / genesis.epoch_length + 1,
        "validator_reward_paid_prev_epoch": {}
    }))
}

fn maintenance_windows(view: &View<'_>, params: &Value) -> Result<Value, Box<Error>> {
    let genesis = view.consensus.genesis();
    let Some(account) = params.get("account_id").and_then(Value::as_str) else {
        return Err(args_error("missing field `account_id`"));
    };
    let who = genesis.validators.iter().position(|v| v.account_id == account);
    let windows = duties::maintenance_windows(genesis, view.consensus.head().height, who);
    Ok(windows.iter().map(|(start, end)| json!({"start": start, "end": end})).collect())
}

/// The object that `/network_info` and the RPC method `network_info` give.
pub fn network_info(view: &View<'_>) -> Value {
    let peers: Vec<_> = view.network.peers.values().collect();
    let active: Vec<Value> = peers
        .iter()
        .map(|p| json!({"id": p.key, "addr": p.addr, "account_id": p.account}))
        .collect();
    let producers: Vec<Value> = peers
        .iter()
        .filter(|p| p.account.is_some())
        .map(|p| json!({"account_id": p.account, "addr": p.addr, "peer_id": p.key}))
        .collect();
    let seconds = view.uptime_sec.max(1);
    json!({
        "active_peers": active,
        "num_active_peers": peers.len(),
        "peer_max_count": 40,
        "sent_bytes_per_sec": view.network.sent_bytes / seconds,
        "received_bytes_per_sec": view.network.received_bytes / seconds,
        "known_producers": producers
    })
}
