//! Asks a running kneard through its control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{ActiveValidator, Failure, Status};

/// How long a whole question may take.
const LIMIT: Duration = Duration::from_secs(15);
/// No answer is longer.
const MAX_ANSWER: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "cannot connect to {path}: {error}; is kneard running, and is --control-socket its socket?"
    )]
    Connect { path: PathBuf, error: std::io::Error },
    #[error("{path} does not answer as a kneard does: {why}")]
    Protocol { path: PathBuf, why: String },
    #[error("{path} did not answer within {LIMIT:?}")]
    TimedOut { path: PathBuf },
    /// What kneard says.
    #[error("{0}")]
    Refused(String),
}

/// A kneard's control socket.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    pub fn new(path: &Path) -> Self {
        Client { path: path.to_owned() }
    }

    /// Who validates now.
    ///
    /// # Errors
    /// Nobody does, or kneard or Consul do not answer.
    pub async fn active_validator(&self) -> Result<ActiveValidator, ClientError> {
        self.get("/active_validator").await
    }

    /// The election as that kneard sees it.
    ///
    /// # Errors
    /// kneard does not answer.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/status").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|error| ClientError::Connect { path: self.path.clone(), error })?;
        self.ask(stream, path).await
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        stream: UnixStream,
        path: &str,
    ) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(LIMIT, exchange(stream, path));
        let (status, body) = answer
            .await
            .map_err(|_| ClientError::TimedOut { path: self.path.clone() })?
            .map_err(|error| self.protocol(error))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| self.protocol(error));
        }
        match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => Err(ClientError::Refused(failure.error)),
            Err(_) => Err(self.protocol(format!("status {status}"))),
        }
    }

    fn protocol(&self, why: impl ToString) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), why: why.to_string() }
    }
}

async fn exchange(
    stream: UnixStream,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header("Host", "kneard").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}
