//! Requests that the client does not send, and that must not go through it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer, as far as it is compared.
pub struct Answer {
    pub status: u16,
    /// `X-Consul-Index`.
    pub index: Option<u64>,
    pub body: String,
}

/// One bare request on a connection of its own; none when there is no whole answer.
pub async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let index = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("x-consul-index"))
        .and_then(|(_, index)| index.parse().ok());
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, index, body: body.to_owned() })
}
