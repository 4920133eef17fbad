//! The values that Consul's HTTP API takes and gives, and their JSON.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::right::Right;

pub use crate::election::SessionId;

/// What becomes of the keys that a session holds when the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behavior {
    /// The keys stay, unlocked.
    Release,
    /// The keys are deleted.
    Delete,
}

/// One entry of the KV store.
///
/// The results of a transaction carry no values (except for `get`), so `value` is empty there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KvEntry {
    /// Full path of the key.
    pub key: String,
    /// The stored bytes.
    #[serde(default, deserialize_with = "from_base64", serialize_with = "to_base64")]
    pub value: Vec<u8>,
    /// Opaque number stored with the value.
    #[serde(default)]
    pub flags: u64,
    /// Who holds the lock, if anyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// How many times the key's lock has been taken.
    pub lock_index: u64,
    /// Raft index of the entry's creation.
    pub create_index: u64,
    /// Raft index of the last change. A write that changes nothing does not raise it.
    pub modify_index: u64,
}

/// What a new session is to be. Consul accepts a TTL from 10 s to 24 h and a lock delay up to 60 s.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionRequest {
    /// For humans, in `consul` listings.
    pub name: String,
    /// The Consul node that the session belongs to; the answering agent's own when absent.
    pub node: Option<String>,
    /// Without a renewal for this long (up to twice this long), Consul ends the session.
    pub ttl: Duration,
    /// For this long after the session's end nobody else gets its locks.
    pub lock_delay: Duration,
    /// What becomes of the session's keys at its end.
    pub behavior: Behavior,
    /// Health checks of the node that end the session when critical. Sent as `[]` when empty:
    /// leaving the field out means `serfHealth`, which costs the lock whenever gossip flaps.
    pub node_checks: Vec<String>,
}

impl SessionRequest {
    /// The request's JSON body.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "Name": self.name,
            "TTL": go_duration(self.ttl),
            "LockDelay": go_duration(self.lock_delay),
            "Behavior": self.behavior,
            "NodeChecks": self.node_checks,
        });
        if let Some(node) = &self.node {
            body["Node"] = json!(node);
        }
        body
    }
}

/// A session as Consul describes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionInfo {
    /// The session's id.
    #[serde(rename = "ID")]
    pub id: SessionId,
    /// The name it was created with.
    #[serde(default)]
    pub name: String,
    /// The Consul node that it belongs to.
    #[serde(default)]
    pub node: String,
    /// Time to live in Go's notation, such as `10s`; empty without one.
    #[serde(rename = "TTL", default)]
    pub ttl: String,
    /// Lock delay in nanoseconds.
    #[serde(default)]
    pub lock_delay: u64,
    /// `release` or `delete`.
    pub behavior: Behavior,
    /// Raft index of its creation.
    #[serde(default)]
    pub create_index: u64,
}

/// One operation of a transaction. All of them apply, or none.
///
/// Consul's verbs are at <https://developer.hashicorp.com/consul/api-docs/txn>; the operations see
/// the effects of those before them in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TxnOp {
    /// Store a value, whatever is there. A lock stays as it is.
    Set { key: String, value: Vec<u8>, flags: u64 },
    /// Store a value if the entry's ModifyIndex is still `index` (0: if the key is not there).
    Cas { key: String, value: Vec<u8>, flags: u64, index: u64 },
    /// Take the lock, or write as the one who holds it.
    Lock { key: String, value: Vec<u8>, flags: u64, session: SessionId },
    /// Give the lock of `session` back, storing a value. Needs no right over that session.
    Unlock { key: String, value: Vec<u8>, flags: u64, session: SessionId },
    /// Read one key; the transaction fails when it is not there.
    Get { key: String },
    /// Read all keys under a prefix.
    GetTree { prefix: String },
    /// Fail unless the entry's ModifyIndex is `index`; fails for a missing key at any index.
    CheckIndex { key: String, index: u64 },
    /// Fail unless `session` holds the key's lock.
    CheckSession { key: String, session: SessionId },
    /// Fail if the key is there.
    CheckNotExists { key: String },
    /// Remove the key, if it is there.
    Delete { key: String },
    /// Remove the key if its ModifyIndex is still `index`; a missing key is no failure.
    DeleteCas { key: String, index: u64 },
    /// Remove all keys under a prefix.
    DeleteTree { prefix: String },
}

impl TxnOp {
    /// Whether the operation only reads. A transaction of such operations alone is a read and
    /// never goes through Consul's log.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Get { .. }
                | Self::GetTree { .. }
                | Self::CheckIndex { .. }
                | Self::CheckSession { .. }
                | Self::CheckNotExists { .. }
        )
    }

    /// The one key that the operation is about; none if it is about all keys under a prefix.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Set { key, .. }
            | Self::Cas { key, .. }
            | Self::Lock { key, .. }
            | Self::Unlock { key, .. }
            | Self::Get { key }
            | Self::CheckIndex { key, .. }
            | Self::CheckSession { key, .. }
            | Self::CheckNotExists { key }
            | Self::Delete { key }
            | Self::DeleteCas { key, .. } => Some(key),
            Self::GetTree { .. } | Self::DeleteTree { .. } => None,
        }
    }

    /// The key of the entry that the operation adds to the transaction's results, for those that
    /// add exactly one.
    pub fn result_key(&self) -> Option<&str> {
        match self {
            Self::Set { key, .. }
            | Self::Cas { key, .. }
            | Self::Lock { key, .. }
            | Self::Unlock { key, .. }
            | Self::Get { key }
            | Self::CheckIndex { key, .. }
            | Self::CheckSession { key, .. } => Some(key),
            Self::GetTree { .. }
            | Self::CheckNotExists { .. }
            | Self::Delete { .. }
            | Self::DeleteCas { .. }
            | Self::DeleteTree { .. } => None,
        }
    }

    /// What a token must allow for it.
    pub fn right(&self) -> Right {
        match self {
            Self::Set { key, .. }
            | Self::Cas { key, .. }
            | Self::Lock { key, .. }
            | Self::Unlock { key, .. }
            | Self::Delete { key }
            | Self::DeleteCas { key, .. }
            | Self::DeleteTree { prefix: key } => Right::KeyWrite(key.clone()),
            Self::Get { key }
            | Self::GetTree { prefix: key }
            | Self::CheckIndex { key, .. }
            | Self::CheckSession { key, .. }
            | Self::CheckNotExists { key } => Right::KeyRead(key.clone()),
        }
    }

    /// The operation's JSON.
    pub fn to_json(&self) -> Value {
        let kv = match self {
            Self::Set { key, value, flags } => {
                json!({"Verb": "set", "Key": key, "Value": BASE64.encode(value), "Flags": flags})
            }
            Self::Cas { key, value, flags, index } => json!({
                "Verb": "cas", "Key": key, "Value": BASE64.encode(value), "Flags": flags,
                "Index": index,
            }),
            Self::Lock { key, value, flags, session } => json!({
                "Verb": "lock", "Key": key, "Value": BASE64.encode(value), "Flags": flags,
                "Session": session,
            }),
            Self::Unlock { key, value, flags, session } => json!({
                "Verb": "unlock", "Key": key, "Value": BASE64.encode(value), "Flags": flags,
                "Session": session,
            }),
            Self::Get { key } => json!({"Verb": "get", "Key": key}),
            Self::GetTree { prefix } => json!({"Verb": "get-tree", "Key": prefix}),
            Self::CheckIndex { key, index } => {
                json!({"Verb": "check-index", "Key": key, "Index": index})
            }
            Self::CheckSession { key, session } => {
                json!({"Verb": "check-session", "Key": key, "Session": session})
            }
            Self::CheckNotExists { key } => json!({"Verb": "check-not-exists", "Key": key}),
            Self::Delete { key } => json!({"Verb": "delete", "Key": key}),
            Self::DeleteCas { key, index } => {
                json!({"Verb": "delete-cas", "Key": key, "Index": index})
            }
            Self::DeleteTree { prefix } => json!({"Verb": "delete-tree", "Key": prefix}),
        };
        json!({ "KV": kv })
    }
}

/// A duration as Go parses it. Whole milliseconds: Consul's own answers are coarser.
pub(crate) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(Vec::new()),
        Some(text) => BASE64.decode(text).map_err(serde::de::Error::custom),
    }
}

fn to_base64<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_empty() {
        serializer.serialize_none()
    } else {
        serializer.serialize_str(&BASE64.encode(value))
    }
}
