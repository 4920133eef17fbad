//! The HTTP client: several addresses, a time limit per request, and outcomes told apart.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::answer;
use super::error::{Error, Kind};
use super::right::Right;
use super::transport::{Call, Effect, Transport};
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

/// TLS settings. Read only if an address is `https`.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file with the CA certificates that Consul's certificate must chain to; without it,
    /// those of the system.
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
    /// A server, not a client of some.
    pub is_server: bool,
    /// SIGTERM makes it leave the cluster, which ends the sessions of its node.
    pub leaves_on_terminate: bool,
    /// For a server: how long it does without a leader before it calls an election, as Consul
    /// prints it. Consul's shortest is `1s`.
    pub election_timeout: Option<String>,
}

/// A client of Consul. Cheap to clone; clones share token, connections and the last good address.
///
/// Every request has a `limit` for the whole of it, connecting included. How the limit is shared
/// among several addresses, and when a request moves on from one to the next, depends on whether
/// it may be repeated. Repeated after any failure: reads, [`renew_session`](Self::renew_session),
/// [`destroy_session`](Self::destroy_session), transactions that only read; each address gets an
/// equal share of the time that is left. Everything else moves on only when it certainly was not
/// sent (no connection within half a second), and has the whole rest of the limit once sent; a
/// doubtful outcome is [`Kind::Unknown`], and the next request starts at
/// the next address.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) transport: Transport,
}

impl Client {
    /// Parse the addresses, read the token and certificates. Connects to nothing.
    ///
    /// # Errors
    /// [`Kind::Invalid`], naming the address or file that is at fault.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(config)? })
    }

    /// Read the token file again; without one, do nothing.
    ///
    /// # Errors
    /// The file cannot be read or is empty. The old token stays in use then.
    pub fn reload_token(&self) -> Result<(), Error> {
        self.transport.reload_token()
    }

    /// Create a session. One whose outcome is unknown may exist until its TTL ends it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a TTL, node or check that Consul does not take.
    pub async fn create_session(
        &self,
        request: &SessionRequest,
        limit: Duration,
    ) -> Result<SessionId, Error> {
        let body = request.to_json().to_string().into_bytes();
        let path = "/v1/session/create".to_owned();
        let call = put(path, body, Effect::Write, Right::SessionWrite);
        self.transport.send(&call, limit, answer::new_session).await
    }

    /// Start the session's TTL anew.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when Consul says that there is no such session.
    pub async fn renew_session(
        &self,
        id: &SessionId,
        limit: Duration,
    ) -> Result<SessionInfo, Error> {
        let path = format!("/v1/session/renew/{}", segment(id.as_str())?);
        let call = put(path, Vec::new(), Effect::Repeatable, Right::SessionWrite);
        self.transport.send(&call, limit, |answer| answer::renewed(answer, id)).await
    }

    /// End the session. Its locks are released and their lock delay starts. Ending one that is
    /// not there succeeds.
    ///
    /// # Errors
    /// As every request.
    pub async fn destroy_session(&self, id: &SessionId, limit: Duration) -> Result<(), Error> {
        let path = format!("/v1/session/destroy/{}", segment(id.as_str())?);
        let call = put(path, Vec::new(), Effect::Repeatable, Right::SessionWrite);
        self.transport.send(&call, limit, answer::boolean).await.map(|_| ())
    }

    /// The session, or none when there is no such session.
    ///
    /// # Errors
    /// As every request.
    pub async fn session_info(
        &self,
        id: &SessionId,
        consistency: Consistency,
        limit: Duration,
    ) -> Result<Option<SessionInfo>, Error> {
        let path = format!("/v1/session/info/{}", segment(id.as_str())?);
        let call = get(path, consistency.query().to_owned(), Right::SessionRead);
        self.transport.send(&call, limit, |answer| answer::session_info(answer, id)).await
    }

    /// Read one key.
    ///
    /// # Errors
    /// As every request; a missing key is none.
    pub async fn read(
        &self,
        key: &str,
        consistency: Consistency,
        limit: Duration,
    ) -> Result<Read, Error> {
        let call = get(key_path(key)?, consistency.query().to_owned(), key_read(key));
        self.transport.send(&call, limit, |answer| answer::read(answer, key)).await
    }

    /// All entries whose keys start with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// As every request.
    pub async fn read_prefix(
        &self,
        prefix: &str,
        consistency: Consistency,
        limit: Duration,
    ) -> Result<Vec<KvEntry>, Error> {
        let query = ["recurse", consistency.query()].join("&");
        let query = query.trim_end_matches('&').to_owned();
        let call = get(key_path(prefix)?, query, key_read(prefix));
        self.transport.send(&call, limit, |answer| answer::read_prefix(answer, prefix)).await
    }

    /// Read one key once its index is above `index`, or after `wait` (Consul's own bounds: 10
    /// minutes, and it adds up to a sixteenth). Keep the index in a
    /// [`BlockingIndex`](super::BlockingIndex); 0 does not wait.
    ///
    /// `limit` is for connecting and answering, on top of the wait.
    ///
    /// # Errors
    /// As every request.
    pub async fn watch(
        &self,
        key: &str,
        index: u64,
        wait: Duration,
        consistency: Consistency,
        limit: Duration,
    ) -> Result<Read, Error> {
        let mut query = format!("index={index}&wait={}ms", wait.as_millis().max(1));
        if !consistency.query().is_empty() {
            query.push('&');
            query.push_str(consistency.query());
        }
        let call = get(key_path(key)?, query, key_read(key));
        let blocked = if index == 0 { Duration::ZERO } else { wait + wait / 16 };
        self.transport.send_each(&call, blocked + limit, |answer| answer::read(answer, key)).await
    }

    /// Store a value; with `acquire`, only if that session gets or has the lock. False: somebody
    /// else has it, or its lock delay runs.
    ///
    /// # Errors
    /// [`Kind::InvalidSession`] when Consul does not know `acquire`.
    pub async fn put(
        &self,
        key: &str,
        value: &[u8],
        acquire: Option<&SessionId>,
        limit: Duration,
    ) -> Result<bool, Error> {
        let mut call = put(key_path(key)?, value.to_vec(), Effect::Write, key_write(key));
        if let Some(session) = acquire {
            call.query = format!("acquire={}", segment(session.as_str())?);
        }
        self.transport.send(&call, limit, answer::boolean).await
    }

    /// Remove a key. One that is not there is removed already.
    ///
    /// # Errors
    /// As every request.
    pub async fn delete(&self, key: &str, limit: Duration) -> Result<(), Error> {
        let call = Call {
            method: Method::DELETE,
            effect: Effect::Write,
            ..get(key_path(key)?, String::new(), key_write(key))
        };
        self.transport.send(&call, limit, answer::boolean).await.map(|_| ())
    }

    /// All of the operations, or none. The results are the entries that the operations leave
    /// behind, without values, in order; deletions and
    /// [`CheckNotExists`](TxnOp::CheckNotExists) have no result. A transaction that only reads is
    /// linearizable too.
    ///
    /// # Errors
    /// [`Kind::Refused`] with Consul's reasons.
    pub async fn txn(&self, ops: &[TxnOp], limit: Duration) -> Result<Vec<KvEntry>, Error> {
        let body = Value::Array(ops.iter().map(TxnOp::to_json).collect());
        let reads = ops.iter().all(TxnOp::is_read);
        let effect = if reads { Effect::Repeatable } else { Effect::Write };
        // Consul says which operation it refuses.
        let right = ops.first().map(TxnOp::right);
        let body = body.to_string().into_bytes();
        let mut call = put("/v1/txn".to_owned(), body, effect, right);
        if reads {
            call.query = Consistency::Consistent.query().to_owned();
        }
        self.transport.send(&call, limit, |answer| answer::txn(answer, ops)).await
    }

    /// The agent's name of itself, for sessions and for showing.
    ///
    /// # Errors
    /// [`Kind::Denied`] without `agent` read.
    pub async fn agent_self(&self, limit: Duration) -> Result<AgentSelf, Error> {
        let call = get("/v1/agent/self".to_owned(), String::new(), Right::AgentRead);
        let named = |answer: &_| {
            let agent = answer::agent_self(answer)?;
            self.transport.is_named(answer, &agent.node_name);
            Ok(agent)
        };
        self.transport.send(&call, limit, named).await
    }

    /// The leader's address (its server port), or none while there is no leader.
    ///
    /// # Errors
    /// As every request.
    pub async fn leader(&self, limit: Duration) -> Result<Option<String>, Error> {
        let call = get("/v1/status/leader".to_owned(), String::new(), None);
        let leader: String = self.transport.send(&call, limit, answer::json).await?;
        Ok(Some(leader).filter(|leader| !leader.is_empty()))
    }

    /// The addresses (of their server ports) of all servers that have a vote, up or not.
    ///
    /// # Errors
    /// As every request.
    pub async fn peers(&self, limit: Duration) -> Result<Vec<String>, Error> {
        let call = get("/v1/status/peers".to_owned(), String::new(), None);
        self.transport.send(&call, limit, answer::json).await
    }
}

impl Consistency {
    fn query(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Consistent => "consistent",
            Self::Stale => "stale",
        }
    }
}

pub(super) fn get(path: String, query: String, right: impl Into<Option<Right>>) -> Call {
    let (method, effect) = (Method::GET, Effect::Repeatable);
    Call { method, path, query, body: None, effect, right: right.into(), says_429: false }
}

fn put(path: String, body: Vec<u8>, effect: Effect, right: impl Into<Option<Right>>) -> Call {
    let (method, query) = (Method::PUT, String::new());
    Call { method, path, query, body: Some(body), effect, right: right.into(), says_429: false }
}

fn key_read(key: &str) -> Right {
    Right::KeyRead(key.to_owned())
}

fn key_write(key: &str) -> Right {
    Right::KeyWrite(key.to_owned())
}

/// `/v1/kv/…` with every segment percent-encoded.
fn key_path(key: &str) -> Result<String, Error> {
    let trimmed = key.strip_suffix('/').unwrap_or(key);
    let segments: Result<Vec<String>, Error> = trimmed.split('/').map(segment).collect();
    let slash = if trimmed.len() < key.len() { "/" } else { "" };
    Ok(format!("/v1/kv/{}{slash}", segments?.join("/")))
}

/// One path segment, percent-encoded. Empty and dot segments are refused: servers and proxies
/// resolve them, and the request would go to another key.
fn segment(text: &str) -> Result<String, Error> {
    if matches!(text, "" | "." | "..") {
        return Err(Error {
            address: "consul".to_owned(),
            what: format!("a key or id has the part {text:?}, which no URL can carry"),
            kind: Kind::Invalid,
        });
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The supervisor spawns requests as tasks.
    #[test]
    fn requests_can_move_between_threads() {
        fn send<T: Send>(_: T) {}
        let addresses = vec!["http://localhost:8500".to_owned()];
        let client = Client::new(ClientConfig { addresses, ..ClientConfig::default() }).unwrap();
        let (id, limit) = (SessionId("s".to_owned()), Duration::from_secs(1));
        send(client.txn(&[], limit));
        send(client.renew_session(&id, limit));
        send(client.watch("k", 1, limit, Consistency::Default, limit));
        send(client.put("k", b"", Some(&id), limit));
    }

    #[test]
    fn keys_are_encoded_segment_by_segment() {
        assert_eq!(key_path("kuutamod-leader/a.near").unwrap(), "/v1/kv/kuutamod-leader/a.near");
        assert_eq!(key_path("a b/ü?#%").unwrap(), "/v1/kv/a%20b/%C3%BC%3F%23%25");
        assert_eq!(key_path("nodes/").unwrap(), "/v1/kv/nodes/");
    }

    #[test]
    fn keys_that_a_server_would_resolve_to_others_are_refused() {
        for key in ["", "/", "a//b", "a/../b", "./a", "a/..", "/a"] {
            assert_eq!(key_path(key).expect_err(key).kind, Kind::Invalid);
        }
    }
}
