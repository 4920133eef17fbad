//! Both ends of the control socket, on connections that are made elsewhere.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::{ActiveValidator, Api, Client, ClientError, Status};
use crate::http_server;

/// Answers on one connection until it is closed, as the daemon does.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, api: Api) {
    http_server::answer(stream, super::server::router(api)).await;
}

/// What `kneard-ctl` makes of an answer to `status`.
///
/// # Errors
/// As [`Client::status`].
pub async fn status(client: &Client, stream: UnixStream) -> Result<Status, ClientError> {
    client.ask(stream, "/status").await
}

/// What `kneard-ctl` makes of an answer to `active-validator`.
///
/// # Errors
/// As [`Client::active_validator`].
pub async fn active_validator(
    client: &Client,
    stream: UnixStream,
) -> Result<ActiveValidator, ClientError> {
    client.ask(stream, "/active_validator").await
}
