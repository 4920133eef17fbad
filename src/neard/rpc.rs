//! The one question that kneard asks neard again and again: `GET /status`.
//!
//! neard's answers gain and lose fields between releases, so only the fields that decide something
//! are required, and everything else may be missing, null or new.

use super::keys::PublicKey;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// `/status` of a node with all validators of mainnet is about 50 kB, the list of what they signed a
/// few hundred.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// What neard says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// neard is catching up with the chain.
    pub syncing: bool,
    /// Height of the newest block that it knows.
    pub head: u64,
    /// When that block was made, by its maker's clock.
    pub head_time: Option<SystemTime>,
    /// `None`: it holds no validator key.
    pub validator_public_key: Option<PublicKey>,
    /// `None`: it holds no validator key.
    pub validator_account_id: Option<String>,
    pub node_public_key: Option<PublicKey>,
    /// Such as `2.6.1 (build …)`.
    pub version: Option<String>,
    pub chain_id: Option<String>,
    pub uptime_sec: Option<u64>,
}

/// Why there is no status. One line that names the address.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    #[error("neard at {addr} did not answer within {} ms", limit.as_millis())]
    TimedOut { addr: SocketAddr, limit: Duration },
    #[error("neard at {addr} cannot be reached: {source}")]
    Unreachable { addr: SocketAddr, source: std::io::Error },
    #[error("neard at {addr} broke off: {source}")]
    Broken { addr: SocketAddr, source: hyper::Error },
    #[error("neard at {addr} answered {code}")]
    Refused { addr: SocketAddr, code: u16 },
    #[error("neard at {addr} answered with something else: {why}")]
    Garbled { addr: SocketAddr, why: String },
}

/// neard's RPC server at one address. A connection per question: it is local, asked about once a
/// second, and a restarted neard must never be mistaken for a broken old connection.
#[derive(Clone, Copy, Debug)]
pub struct Rpc {
    addr: SocketAddr,
}

impl Rpc {
    /// `addr` as in neard's `rpc.addr`; an unspecified address is asked at loopback.
    pub fn new(mut addr: SocketAddr) -> Self {
        if addr.ip().is_unspecified() {
            addr.set_ip(loopback_like(addr.ip()));
        }
        Self { addr }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Asks for `/status`, within `limit` in all.
    ///
    /// # Errors
    /// See [`RpcError`]; neard may be starting, hanging, or not neard at all.
    pub async fn status(&self, limit: Duration) -> Result<Status, RpcError> {
        let addr = self.addr;
        let body = self.within(limit, self.get("/status")).await?;
        parse_status(&body).map_err(|why| RpcError::Garbled { addr, why })
    }

    /// A height above which neard has made no block, from `/metrics` (nearcore
    /// `chain/client/src/client_actor.rs`, `handle_block_production`, makes blocks up to it).
    /// `None`: this neard does not tell.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn made_up_to(&self, limit: Duration) -> Result<Option<u64>, RpcError> {
        let body = self.within(limit, self.get("/metrics")).await?;
        Ok(gauge(&String::from_utf8_lossy(&body), "near_largest_threshold_height"))
    }

    /// Asks the chain, through neard, what `account` has signed in the present epoch; `None` if it
    /// does not validate in it (nearcore `chain/jsonrpc`, method `validators`).
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn duties(&self, account: &str, limit: Duration) -> Result<Option<Duties>, RpcError> {
        let addr = self.addr;
        let question = r#"{"jsonrpc":"2.0","id":"kneard","method":"validators","params":[null]}"#;
        let body = self.within(limit, self.post("/", question.to_owned())).await?;
        parse_duties(&body, account).map_err(|why| RpcError::Garbled { addr, why })
    }

    /// How often this neard has read its configuration without finding a fault, its start
    /// included, from `/metrics`; `None`: it does not tell.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn config_reloads(&self, limit: Duration) -> Result<Option<u64>, RpcError> {
        let body = self.within(limit, self.get("/metrics")).await?;
        Ok(gauge(&String::from_utf8_lossy(&body), "near_config_reloads_total"))
    }

    /// The heights, as (first, end), from now to the end of the epoch in which `account` makes
    /// neither block nor chunk (nearcore `EXPERIMENTAL_maintenance_windows`).
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn maintenance_windows(
        &self,
        account: &str,
        limit: Duration,
    ) -> Result<Vec<(u64, u64)>, RpcError> {
        let addr = self.addr;
        let question = serde_json::json!({
            "jsonrpc": "2.0",
            "id": "kneard",
            "method": "EXPERIMENTAL_maintenance_windows",
            "params": {"account_id": account},
        });
        let body = self.within(limit, self.post("/", question.to_string())).await?;
        parse_windows(&body).map_err(|why| RpcError::Garbled { addr, why })
    }

    async fn within(
        &self,
        limit: Duration,
        question: impl Future<Output = Result<Bytes, RpcError>>,
    ) -> Result<Bytes, RpcError> {
        let addr = self.addr;
        tokio::time::timeout(limit, question)
            .await
            .map_err(|_| RpcError::TimedOut { addr, limit })?
    }

    async fn get(&self, path: &str) -> Result<Bytes, RpcError> {
        self.exchange(hyper::Request::get(path), String::new()).await
    }

    async fn post(&self, path: &str, body: String) -> Result<Bytes, RpcError> {
        let request = hyper::Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.exchange(request, body).await
    }

    async fn exchange(
        &self,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<Bytes, RpcError> {
        let addr = self.addr;
        let broken = |source| RpcError::Broken { addr, source };
        let stream = TcpStream::connect(addr)
            .await
            .map_err(|source| RpcError::Unreachable { addr, source })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Drives the connection; ends with this function, whichever way that ends.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = request
            .header(header::HOST, addr.to_string())
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| RpcError::Garbled { addr, why: error.to_string() })?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let code = response.status();
        if !code.is_success() {
            return Err(RpcError::Refused { addr, code: code.as_u16() });
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok(body.map_err(|error| RpcError::Garbled { addr, why: error.to_string() })?.to_bytes())
    }
}

/// What an account has signed in the present epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duties {
    pub epoch_start_height: u64,
    /// Blocks, chunks and endorsements.
    pub signed: u64,
}

pub(super) fn parse_duties(body: &[u8], account: &str) -> Result<Option<Duties>, String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<Epoch>,
        error: Option<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Epoch {
        epoch_start_height: u64,
        current_validators: Vec<Validator>,
    }
    #[derive(Deserialize)]
    struct Validator {
        account_id: String,
        // Older releases count fewer things.
        #[serde(default)]
        num_produced_blocks: u64,
        #[serde(default)]
        num_produced_chunks: u64,
        #[serde(default)]
        num_produced_endorsements: u64,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let Some(epoch) = answer.result else {
        return Err(answer.error.unwrap_or_default().to_string());
    };
    let validator = epoch.current_validators.into_iter().find(|v| v.account_id == account);
    Ok(validator.map(|v| Duties {
        epoch_start_height: epoch.epoch_start_height,
        signed: v
            .num_produced_blocks
            .saturating_add(v.num_produced_chunks)
            .saturating_add(v.num_produced_endorsements),
    }))
}

/// The value of a gauge without labels, in Prometheus' text format.
pub(super) fn gauge(metrics: &str, name: &str) -> Option<u64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

/// The loopback address of the same family.
pub(super) fn loopback_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Pairs, or objects as nearcore 2.x answers.
fn parse_windows(body: &[u8]) -> Result<Vec<(u64, u64)>, String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<Vec<Window>>,
        error: Option<serde_json::Value>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Window {
        Pair(u64, u64),
        Range { start: u64, end: u64 },
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let windows = answer.result.ok_or_else(|| match &answer.error {
        Some(error) => format!("the error {error}"),
        None => "neither a result nor an error".to_owned(),
    })?;
    let range = |window| match window {
        Window::Pair(start, end) | Window::Range { start, end } => (start, end),
    };
    Ok(windows.into_iter().map(range).collect())
}

pub(super) fn parse_status(body: &[u8]) -> Result<Status, String> {
    #[derive(Deserialize)]
    struct Answer {
        sync_info: SyncInfo,
        validator_public_key: Option<PublicKey>,
        validator_account_id: Option<String>,
        node_public_key: Option<PublicKey>,
        version: Option<Version>,
        chain_id: Option<String>,
        uptime_sec: Option<u64>,
    }
    #[derive(Deserialize)]
    struct SyncInfo {
        syncing: bool,
        latest_block_height: u64,
        latest_block_time: Option<String>,
    }
    #[derive(Deserialize)]
    struct Version {
        version: Option<String>,
        build: Option<String>,
    }
    // The parser would take a list for a structure.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err("not a JSON object".to_owned());
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let version = answer.version.and_then(|Version { version, build }| match (version, build) {
        (Some(version), Some(build)) if build != version && !build.is_empty() => {
            Some(format!("{version} (build {build})"))
        }
        (version, _) => version,
    });
    let head_time = answer.sync_info.latest_block_time;
    Ok(Status {
        syncing: answer.sync_info.syncing,
        head: answer.sync_info.latest_block_height,
        head_time: head_time.and_then(|time| humantime::parse_rfc3339(&time).ok()),
        validator_public_key: answer.validator_public_key,
        validator_account_id: answer.validator_account_id,
        node_public_key: answer.node_public_key,
        version,
        chain_id: answer.chain_id,
        uptime_sec: answer.uptime_sec,
    })
}

#[cfg(test)]
mod tests;
