//! The node's Consul session: which one, and when to renew it.

use super::Time;

/// The id of a Consul session (<https://developer.hashicorp.com/consul/api-docs/session>).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct SessionId(pub String);

impl SessionId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Session {
    /// None, and none asked for before this instant.
    None {
        retry_at: Time,
    },
    Creating,
    Live {
        id: SessionId,
        renew_at: Time,
        renewing: bool,
    },
}

impl Session {
    pub fn id(&self) -> Option<&SessionId> {
        match self {
            Session::Live { id, .. } => Some(id),
            Session::None { .. } | Session::Creating => None,
        }
    }
}
