//! The HTTP client: several addresses, a time limit per request, and outcomes told apart.

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::types::{KvEntry, SessionId, SessionInfo, SessionRequest, TxnOp};

/// Where Consul is and how to speak to it.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    /// Base URLs such as `http://localhost:8500`, tried in turn. At least one.
    pub addresses: Vec<String>,
    /// File that holds the ACL token; read at start and by [`Client::reload_token`].
    pub token_file: Option<PathBuf>,
    /// For `https` addresses.
    pub tls: Tls,
}

/// TLS settings. The system's root certificates are not consulted: Consul's CA is a private one.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file with the CA certificates that Consul's certificate must chain to.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate chain, for `verify_incoming`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client certificate's private key.
    pub key_file: Option<PathBuf>,
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// The leader answers, from its lease: an old leader that is cut off may answer for a moment.
    #[default]
    Default,
    /// The leader answers after a quorum has confirmed it: linearizable.
    Consistent,
    /// Any server answers, however far behind.
    Stale,
}

/// The answer to a read of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The entry, or none when the key is not there.
    pub entry: Option<KvEntry>,
    /// `X-Consul-Index`: feed it to [`BlockingIndex::update`](super::BlockingIndex::update).
    pub index: u64,
    /// `X-Consul-KnownLeader`: whether the answering server knew a leader.
    pub known_leader: bool,
    /// `X-Consul-LastContact`: for how long the answering server had not heard of the leader.
    pub last_contact: Duration,
    /// The address that answered.
    pub address: String,
}

/// What the agent behind an address says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSelf {
    /// Its Consul node name.
    pub node_name: String,
    /// Its version; a stand-in's ends in `-standin`.
    pub version: String,
    /// Its datacenter.
    pub datacenter: String,
}

/// A client of Consul. Cheap to clone; clones share token, connections and the last good address.
#[derive(Clone, Debug)]
pub struct Client {}

#[allow(unused_variables, missing_docs, clippy::missing_errors_doc)]
impl Client {
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        unimplemented!()
    }
    pub fn reload_token(&self) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn create_session(
        &self,
        request: &SessionRequest,
        limit: Duration,
    ) -> Result<SessionId, Error> {
        unimplemented!()
    }
    pub async fn renew_session(
        &self,
        id: &SessionId,
        limit: Duration,
    ) -> Result<SessionInfo, Error> {
        unimplemented!()
    }
    pub async fn destroy_session(&self, id: &SessionId, limit: Duration) -> Result<(), Error> {
        unimplemented!()
    }
    /// None when there is no such session.
    pub async fn session_info(
        &self,
        id: &SessionId,
        consistency: Consistency,
        limit: Duration,
    ) -> Result<Option<SessionInfo>, Error> {
        unimplemented!()
    }
    pub async fn read(
        &self,
        key: &str,
        consistency: Consistency,
        limit: Duration,
    ) -> Result<Read, Error> {
        unimplemented!()
    }
    pub async fn read_prefix(
        &self,
        prefix: &str,
        consistency: Consistency,
        limit: Duration,
    ) -> Result<Vec<KvEntry>, Error> {
        unimplemented!()
    }
    /// `limit` is on top of `wait` (Consul adds up to wait/16 of its own jitter, covered too).
    pub async fn watch(
        &self,
        key: &str,
        index: u64,
        wait: Duration,
        consistency: Consistency,
        limit: Duration,
    ) -> Result<Read, Error> {
        unimplemented!()
    }
    pub async fn put(
        &self,
        key: &str,
        value: &[u8],
        acquire: Option<&SessionId>,
        limit: Duration,
    ) -> Result<bool, Error> {
        unimplemented!()
    }
    pub async fn delete(&self, key: &str, limit: Duration) -> Result<(), Error> {
        unimplemented!()
    }
    /// One result entry per operation that gives one (all but delete…).
    pub async fn txn(&self, ops: &[TxnOp], limit: Duration) -> Result<Vec<KvEntry>, Error> {
        unimplemented!()
    }
    pub async fn agent_self(&self, limit: Duration) -> Result<AgentSelf, Error> {
        unimplemented!()
    }
    /// None while there is no leader.
    pub async fn leader(&self, limit: Duration) -> Result<Option<String>, Error> {
        unimplemented!()
    }
}
