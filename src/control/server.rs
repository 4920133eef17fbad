//! Serves the control socket.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use nix::sys::stat::{Mode, umask};
use tokio::net::UnixListener;
use tokio::sync::{Mutex, mpsc, watch};

use super::{ActiveValidator, Failure, NeardReport, NodeReport, Status, steer};
use crate::consul::{Client, Consistency};
use crate::election::{Content, Event, Promotion, RecordState, SessionId};
use crate::http_server;
use crate::neard::home::Home;
use crate::supervisor::{Keys, Snapshot};

/// How long an operator waits for Consul.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// What the answers are made of.
#[derive(Clone)]
pub struct Api {
    pub consul: Client,
    pub keys: Keys,
    pub snapshot: watch::Receiver<Snapshot>,
    /// To the supervisor's loop.
    pub events: mpsc::Sender<Event>,
    pub home: Home,
    pub promotion: Promotion,
    pub max_lag: u64,
    /// One plan for neard's end at a time.
    pub planning: Arc<Mutex<()>>,
}

/// Binds the socket, readable and writable for owner and group only. A socket that a dead kneard
/// left behind is replaced.
///
/// # Errors
/// Fails when somebody listens there, or with what bind(2) says.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "is not a socket"));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another kneard listens there"));
        }
        std::fs::remove_file(path)?;
    }
    // The mode is right from the start; no other thread creates files meanwhile.
    let before = umask(Mode::from_bits_truncate(0o117));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

/// Answers until `end` comes true.
pub async fn serve(listener: UnixListener, api: Api, end: watch::Receiver<bool>) {
    http_server::serve(listener, router(api), end).await;
}

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/active_validator", get(active_validator))
        .route("/status", get(status))
        .merge(steer::routes())
        .fallback(async || failure(StatusCode::NOT_FOUND, "no such question".to_owned()))
        .with_state(api)
}

async fn active_validator(Shared(api): Shared<Api>) -> Response {
    match api.active_validator().await {
        Ok(validator) => Json(validator).into_response(),
        Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, error),
    }
}

async fn status(Shared(api): Shared<Api>) -> Json<Status> {
    Json(api.status().await)
}

pub(super) fn failure(code: StatusCode, error: String) -> Response {
    (code, Json(Failure { error })).into_response()
}

impl Api {
    /// Asks Consul, so that a node that has lost touch does not answer from memory.
    async fn active_validator(&self) -> Result<ActiveValidator, String> {
        let key = self.keys.election();
        let read = self.consul.read(&key, Consistency::Default, LIMIT).await;
        let Some(entry) = read.map_err(|error| error.to_string())?.entry else {
            return Err(format!("nobody validates: Consul has no key {key} yet"));
        };
        let Content::Record(record) = Content::parse(&entry.value) else {
            return Err(format!("the record in Consul's key {key} is unreadable"));
        };
        let Some(session) = entry.session else {
            return Err(format!("nobody validates: {} gave the key back", record.holder));
        };
        if record.state != RecordState::Active {
            return Err(format!("nobody validates yet: {} is taking over", record.holder));
        }
        match self.consul_node(&session).await? {
            Some(node) => Ok(ActiveValidator { name: record.holder, node }),
            None => Err(format!(
                "{} validates, but the session of its lock is gone or not to be read",
                record.holder
            )),
        }
    }

    /// The Consul node that a session belongs to, from what the kneard of that session publishes:
    /// the token need not allow reading the sessions of other nodes.
    async fn consul_node(&self, session: &SessionId) -> Result<Option<String>, String> {
        let prefix = self.keys.nodes();
        let entries = self.consul.read_prefix(&prefix, Consistency::Default, LIMIT).await;
        let published = entries
            .map_err(|error| error.to_string())?
            .iter()
            .filter(|entry| entry.session.as_ref() == Some(session))
            .find_map(|entry| serde_json::from_slice::<NodeReport>(&entry.value).ok()?.consul_node);
        if published.is_some() {
            return Ok(published);
        }
        // It has just been locked, or its kneard is of an older version.
        let info = self.consul.session_info(session, Consistency::Default, LIMIT).await;
        Ok(info.map_err(|error| error.to_string())?.map(|info| info.node))
    }

    async fn status(&self) -> Status {
        let nodes = self.nodes().await;
        let snapshot = self.snapshot.borrow().clone();
        let (nodes, consul_error) = match nodes {
            Ok(nodes) => (Some(nodes), None),
            Err(error) => (None, Some(error)),
        };
        Status {
            account_id: self.keys.account().to_owned(),
            sentence: snapshot.state.sentence().to_owned(),
            neard: NeardReport {
                pid: snapshot.neard_pid,
                restarts: snapshot.neard_restarts,
                has_validator_key: snapshot.may_sign,
            },
            lease_left_ms: snapshot.lease_left().map(|left| left.as_millis() as u64),
            consul_session: snapshot.session.as_ref().map(ToString::to_string),
            locked: snapshot.locked,
            paused: snapshot.pause.clone(),
            planned_restart: snapshot.planned_restart,
            record: snapshot.record.clone(),
            node: snapshot.report,
            nodes,
            consul_error,
        }
    }

    /// The nodes whose sessions live.
    pub(super) async fn nodes(&self) -> Result<Vec<NodeReport>, String> {
        let prefix = self.keys.nodes();
        let entries = self.consul.read_prefix(&prefix, Consistency::Default, LIMIT).await;
        Ok(NodeReport::of_sessions(&entries.map_err(|error| error.to_string())?))
    }
}
