//! What neard's RPC says of itself and its network, at any URL.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(5);

/// An RPC address, of the local neard or of somebody else's.
#[derive(Debug, Clone)]
pub struct NearRpc {
    url: String,
    http: reqwest::Client,
}

/// What a node tells; what it leaves out is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeStatus {
    pub head: Option<u64>,
    pub syncing: Option<bool>,
    pub chain_id: Option<String>,
    pub version: Option<String>,
    pub node_key: Option<String>,
    pub validator_account: Option<String>,
    pub validator_key: Option<String>,
    pub uptime: Option<Duration>,
    pub peers: Option<u64>,
}

impl NearRpc {
    /// # Errors
    /// The URL cannot be asked; one line.
    pub fn new(url: &str) -> Result<Self, String> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let parsed = reqwest::Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
            return Err(format!("{url}: not a URL such as http://127.0.0.1:3030"));
        }
        let tls = tls(parsed.scheme() == "https").map_err(|error| format!("{url}: {error}"))?;
        let http = reqwest::Client::builder()
            .timeout(LIMIT)
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| format!("{url}: {error}"))?;
        Ok(NearRpc { url: url.trim_end_matches('/').to_owned(), http })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for `/status` and `/network_info`; the latter may be closed to the public.
    ///
    /// # Errors
    /// The node does not answer, or not as neard does; one line that names it.
    pub async fn status(&self) -> Result<NodeStatus, String> {
        let (status, network) = tokio::join!(self.get("/status"), self.get("/network_info"));
        let status = status?;
        if !status["sync_info"].is_object() {
            return Err(format!("{}: no neard answers there", self.url));
        }
        let network = network.unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let sync = &status["sync_info"];
        Ok(NodeStatus {
            head: sync["latest_block_height"].as_u64(),
            syncing: sync["syncing"].as_bool(),
            chain_id: text(&status["chain_id"]),
            version: text(&status["version"]["version"]),
            node_key: text(&status["node_public_key"]),
            validator_account: text(&status["validator_account_id"]),
            validator_key: text(&status["validator_public_key"]),
            uptime: status["uptime_sec"].as_u64().map(Duration::from_secs),
            peers: network["num_active_peers"].as_u64(),
        })
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let failed = |error: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            format!("{}: {cause}; is neard running there?", self.url)
        };
        let url = format!("{}{path}", self.url);
        let answer = self.http.get(url).send().await.map_err(failed)?;
        let code = answer.status();
        if !code.is_success() {
            return Err(format!("{}: answered {code}", self.url));
        }
        let text = answer.text().await.map_err(failed)?;
        serde_json::from_str(&text).map_err(|_| format!("{}: no neard answers there", self.url))
    }
}

/// Trusts the system's CAs; for plain HTTP nobody, which saves loading them.
fn tls(encrypted: bool) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    if encrypted {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("the system has no CA certificates".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
