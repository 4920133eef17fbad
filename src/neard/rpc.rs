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
use std::time::Duration;
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
        let body = tokio::time::timeout(limit, self.get("/status"))
            .await
            .map_err(|_| RpcError::TimedOut { addr, limit })??;
        parse_status(&body).map_err(|why| RpcError::Garbled { addr, why })
    }

    /// A height above which neard has made no block, from `/metrics` (nearcore
    /// `chain/client/src/client_actor.rs`, `handle_block_production`, makes blocks up to it).
    /// `None`: this neard does not tell.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn made_up_to(&self, limit: Duration) -> Result<Option<u64>, RpcError> {
        let addr = self.addr;
        let body = tokio::time::timeout(limit, self.get("/metrics"))
            .await
            .map_err(|_| RpcError::TimedOut { addr, limit })??;
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
        let request = hyper::Request::post("/")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from_static(question.as_bytes())));
        let body = tokio::time::timeout(limit, self.exchange(request))
            .await
            .map_err(|_| RpcError::TimedOut { addr, limit })??;
        parse_duties(&body, account).map_err(|why| RpcError::Garbled { addr, why })
    }

    async fn get(&self, path: &str) -> Result<Bytes, RpcError> {
        self.exchange(hyper::Request::get(path).body(Full::default())).await
    }

    async fn exchange(
        &self,
        request: Result<hyper::Request<Full<Bytes>>, hyper::http::Error>,
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
        let garbled = |why: String| RpcError::Garbled { addr, why };
        let mut request = request.map_err(|error| garbled(error.to_string()))?;
        let host = header::HeaderValue::from_str(&addr.to_string());
        let host = host.map_err(|error| garbled(error.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        let response = sender.send_request(request).await.map_err(broken)?;
        let code = response.status();
        if !code.is_success() {
            return Err(RpcError::Refused { addr, code: code.as_u16() });
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok(body.map_err(|error| garbled(error.to_string()))?.to_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Answers every connection with these bytes and closes it.
    async fn server(answer: impl Into<Vec<u8>>) -> Rpc {
        let answer = answer.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rpc = Rpc::new(listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /status HTTP/1.1\r\n"));
                // The client may have had enough before the end.
                let _ = stream.write_all(&answer).await;
            }
        });
        rpc
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    const SYNCED: &str = r#""sync_info":{"syncing":false,"latest_block_height":42,"new":[]}"#;

    #[tokio::test]
    async fn a_validators_status_is_read() {
        let body = format!(
            r#"{{"version":{{"version":"2.6.1","build":"nix","rustc_version":"1"}},
                "chain_id":"localnet","uptime_sec":7,"validator_account_id":"a.near",
                "validator_public_key":"ed25519:v","node_public_key":"ed25519:n",
                "validators":[{{"account_id":"a.near"}}],"added_in_3.0":{{}},{SYNCED}}}"#
        );
        let rpc = server(ok(&body)).await;
        for _ in 0..2 {
            let status = rpc.status(LIMIT).await.unwrap();
            assert_eq!((status.syncing, status.head, status.uptime_sec), (false, 42, Some(7)));
            assert_eq!(status.validator_public_key.unwrap().as_str(), "ed25519:v");
            assert_eq!(status.node_public_key.unwrap().as_str(), "ed25519:n");
            assert_eq!(status.validator_account_id.as_deref(), Some("a.near"));
            assert_eq!(status.version.as_deref(), Some("2.6.1 (build nix)"));
            assert_eq!(status.chain_id.as_deref(), Some("localnet"));
        }
    }

    #[tokio::test]
    async fn what_does_not_decide_anything_may_be_missing_or_null() {
        let rpc = server(ok(&format!(r#"{{"validator_public_key":null,{SYNCED}}}"#))).await;
        let status = rpc.status(LIMIT).await.unwrap();
        assert_eq!(status.validator_public_key, None);
        assert_eq!((status.version, status.node_public_key), (None, None));
    }

    #[tokio::test]
    async fn answers_that_are_no_status_are_refused_in_one_line_with_the_address() {
        let huge = format!("{{{SYNCED},\"x\":\"{}\"}}", "x".repeat(MAX_ANSWER));
        for (answer, expected) in [
            (ok("{}"), "missing field `sync_info`"),
            (ok(r#"{"sync_info":{"syncing":false}}"#), "missing field `latest_block_height`"),
            (ok(r#"{"sync_info":{"latest_block_height":1}}"#), "missing field `syncing`"),
            (ok("<html>"), "something else"),
            (
                ok(r#"[{"syncing":false,"latest_block_height":1},null,null,null,null,null,null]"#),
                "not a JSON object",
            ),
            (ok(&huge), "something else"),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_owned(), "answered 503"),
            ("SSH-2.0-OpenSSH\r\n".to_owned(), "broke off"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned(), "something else"),
            (String::new(), "broke off"),
        ] {
            let rpc = server(answer).await;
            let error = rpc.status(LIMIT).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
            assert!(error.contains(&rpc.addr().to_string()) && !error.contains('\n'), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_costs_the_limit_and_no_more() {
        // Accepted by the kernel, never by us.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rpc = Rpc::new(listener.local_addr().unwrap());
        let error = rpc.status(Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().ends_with("did not answer within 50 ms"), "{error}");
    }

    #[tokio::test]
    async fn nobody_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let error = Rpc::new(addr).status(LIMIT).await.unwrap_err();
        assert!(matches!(error, RpcError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn an_unspecified_address_is_asked_at_loopback() {
        assert_eq!(Rpc::new("0.0.0.0:3030".parse().unwrap()).addr().to_string(), "127.0.0.1:3030");
        assert_eq!(Rpc::new("[::]:3030".parse().unwrap()).addr().to_string(), "[::1]:3030");
    }

    #[test]
    fn what_an_account_signed_is_the_sum_of_what_the_chain_counts() {
        let validator = |account: &str| {
            serde_json::json!({
                "account_id": account, "public_key": "ed25519:x", "stake": "1", "shards": [0],
                "num_produced_blocks": 3, "num_expected_blocks": 4,
                "num_produced_chunks": 20, "num_expected_chunks": 20,
                "num_produced_endorsements": 100, "num_expected_endorsements": 101,
                "num_produced_chunks_per_shard": [20],
            })
        };
        let answer = serde_json::json!({"jsonrpc": "2.0", "id": "kneard", "result": {
            "current_validators": [validator("a.near"), validator("b.near")],
            "epoch_start_height": 77, "next_validators": [], "prev_epoch_kickout": [],
        }})
        .to_string();
        let duties = parse_duties(answer.as_bytes(), "b.near");
        assert_eq!(duties, Ok(Some(Duties { epoch_start_height: 77, signed: 123 })));
        assert_eq!(parse_duties(answer.as_bytes(), "c.near"), Ok(None));
        let refused = r#"{"jsonrpc":"2.0","id":"kneard","error":{"name":"HANDLER_ERROR"}}"#;
        assert_eq!(
            parse_duties(refused.as_bytes(), "b.near"),
            Err(r#"{"name":"HANDLER_ERROR"}"#.to_owned())
        );
    }

    #[test]
    fn a_gauge_is_read_by_its_whole_name() {
        let text = "# TYPE near_a gauge\nnear_ab 3\nnear_a 42\n";
        assert_eq!(gauge(text, "near_a"), Some(42));
        assert_eq!(gauge(text, "near_b"), None);
    }
}
