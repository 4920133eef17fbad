//! The HTTP face: `/status`, `/health`, `/metrics` and JSON-RPC at `/`.
//!
//! The handlers hold no state: each request goes to the node's loop and waits for its answer,
//! so that a node whose loop hangs does not answer either.

pub mod jsonrpc;
pub mod metrics;
pub mod status;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::chain::consensus::Consensus;
use crate::keys::PublicKey;
use crate::network::Network;

/// What a client asks.
#[derive(Debug)]
pub enum Request {
    Status,
    Health,
    Metrics,
    /// The body of a JSON-RPC request.
    Rpc(Bytes),
    NetworkInfo,
}

/// An answer to be sent over HTTP.
#[derive(Debug)]
pub enum Answer {
    Json(StatusCode, Value),
    Text(String),
}

/// A request on its way to the node's loop.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    pub reply: oneshot::Sender<Answer>,
}

/// What the answers are made of.
#[derive(Debug)]
pub struct View<'a> {
    pub consensus: &'a Consensus,
    pub network: &'a Network,
    pub node_key: PublicKey,
    /// Reported instead of the loaded key (a fault).
    pub report_key: Option<PublicKey>,
    pub syncing: bool,
    pub version: &'a str,
    pub rpc_addr: String,
    pub uptime_sec: u64,
    pub expected_shutdown: Option<u64>,
    /// What neard last found itself to be, when it last logged its summary.
    pub is_validator: bool,
    /// There never were enough peers to begin.
    pub awaits_peers: bool,
    pub counters: &'a metrics::Counters,
}

/// Serves until its task is aborted.
pub async fn serve(listener: TcpListener, calls: mpsc::Sender<Call>) {
    let app = Router::new()
        .route("/", post(call))
        .route("/status", get(|State(calls)| ask(calls, Request::Status)))
        .route("/health", get(|State(calls)| ask(calls, Request::Health)))
        .route("/network_info", get(|State(calls)| ask(calls, Request::NetworkInfo)))
        .route("/metrics", get(|State(calls)| ask(calls, Request::Metrics)))
        .with_state(calls);
    if let Err(e) = axum::serve(listener, app).await {
        crate::error!("jsonrpc", "HTTP server ended: {e}");
    }
}

/// As the JSON extractor of nearcore's server: what is no JSON-RPC message never gets an answer in
/// that form.
async fn call(
    State(calls): State<mpsc::Sender<Call>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let why = "Expected request with `Content-Type: application/json`";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response();
    }
    match jsonrpc::check_message(&body) {
        Ok(()) => ask(calls, Request::Rpc(body)).await,
        Err((status, why)) => (status, why).into_response(),
    }
}

async fn ask(calls: mpsc::Sender<Call>, request: Request) -> Response {
    let (reply, answer) = oneshot::channel();
    if calls.send(Call { request, reply }).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match answer.await {
        Ok(Answer::Json(status, value)) => {
            (status, [(header::CONTENT_TYPE, "application/json")], value.to_string())
                .into_response()
        }
        Ok(Answer::Text(text)) => ([(header::CONTENT_TYPE, "text/plain")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The answer to `request`.
pub fn answer(view: &View<'_>, request: &Request) -> Answer {
    match request {
        Request::Status => Answer::Json(StatusCode::OK, status::status(view)),
        Request::Health if view.syncing => {
            Answer::Json(StatusCode::SERVICE_UNAVAILABLE, Value::Null)
        }
        Request::Health => Answer::Json(StatusCode::OK, Value::Null),
        Request::NetworkInfo => Answer::Json(StatusCode::OK, jsonrpc::network_info(view)),
        Request::Metrics => Answer::Text(metrics::text(view)),
        Request::Rpc(body) => {
            let (status, value) = jsonrpc::answer(view, body);
            Answer::Json(status, value)
        }
    }
}
