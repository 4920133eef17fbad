//! Serves the control socket.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use nix::sys::stat::{Mode, umask};
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::{ActiveValidator, Failure, NeardReport, NodeReport, Status};
use crate::consul::{Client, Consistency};
use crate::election::{Content, RecordState};
use crate::http_server;
use crate::supervisor::{Keys, Snapshot};

/// How long an operator waits for Consul.
const LIMIT: Duration = Duration::from_secs(3);

/// What the answers are made of.
#[derive(Clone)]
pub struct Api {
    pub consul: Client,
    pub keys: Keys,
    pub snapshot: watch::Receiver<Snapshot>,
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

/// Answers until it is dropped.
pub async fn serve(listener: UnixListener, api: Api) {
    http_server::serve(listener, router(api)).await;
}

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/active_validator", get(active_validator))
        .route("/status", get(status))
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

fn failure(code: StatusCode, error: String) -> Response {
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
        let info = self.consul.session_info(&session, Consistency::Default, LIMIT).await;
        match info.map_err(|error| error.to_string())? {
            Some(info) => Ok(ActiveValidator { name: record.holder, node: info.node }),
            None => Err(format!("nobody validates: the session of {} is gone", record.holder)),
        }
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
            record: snapshot.record.clone(),
            node: snapshot.report,
            nodes,
            consul_error,
        }
    }

    /// The nodes whose sessions live.
    async fn nodes(&self) -> Result<Vec<NodeReport>, String> {
        let prefix = self.keys.nodes();
        let entries = self.consul.read_prefix(&prefix, Consistency::Default, LIMIT).await;
        Ok(entries
            .map_err(|error| error.to_string())?
            .iter()
            .filter(|entry| entry.session.is_some())
            .filter_map(|entry| serde_json::from_slice(&entry.value).ok())
            .collect())
    }
}
