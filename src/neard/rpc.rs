//! The one question that kneard asks neard again and again: `GET /status`.
//!
//! neard's answers gain and lose fields between releases, so only the fields that decide something
//! are required, and everything else may be missing, null or new.

use super::keys::PublicKey;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// `/status` of a node with all validators of mainnet is about 50 kB.
const MAX_ANSWER: usize = 1024 * 1024;

/// What neard says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// neard is catching up with the chain.
    pub syncing: bool,
    /// Height of the newest block that it knows.
    pub head: u64,
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
    #[error("neard at {addr} answered {code} to /status")]
    Refused { addr: SocketAddr, code: u16 },
    #[error("neard at {addr} answered /status with something else: {why}")]
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
        let body = tokio::time::timeout(limit, self.get("/status"))
            .await
            .map_err(|_| RpcError::TimedOut { addr, limit })??;
        parse_status(&body).map_err(|why| RpcError::Garbled { addr, why })
    }

    async fn get(&self, path: &str) -> Result<Bytes, RpcError> {
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
        let request = hyper::Request::get(path)
            .header(header::HOST, addr.to_string())
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
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

/// The loopback address of the same family.
pub(super) fn loopback_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

fn parse_status(body: &[u8]) -> Result<Status, String> {
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
    }
    #[derive(Deserialize)]
    struct Version {
        version: Option<String>,
        build: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let version = answer.version.and_then(|Version { version, build }| match (version, build) {
        (Some(version), Some(build)) if build != version && !build.is_empty() => {
            Some(format!("{version} (build {build})"))
        }
        (version, _) => version,
    });
    Ok(Status {
        syncing: answer.sync_info.syncing,
        head: answer.sync_info.latest_block_height,
        validator_public_key: answer.validator_public_key,
        validator_account_id: answer.validator_account_id,
        node_public_key: answer.node_public_key,
        version,
        chain_id: answer.chain_id,
        uptime_sec: answer.uptime_sec,
    })
}
