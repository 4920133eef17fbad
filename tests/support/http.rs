//! A small HTTP client: one request, one connection, one limit.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// The body of a GET that was answered 200, within a second.
pub fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let answer = request("GET", address, path, "", Duration::from_secs(1))?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(io::Error::other(format!("{address}{path} answered {status}"))),
    }
}

/// neard's answer to a JSON-RPC method, result or error, within two seconds.
pub fn json_rpc(address: SocketAddr, method: &str, params: &Value) -> io::Result<Value> {
    let question = json!({"jsonrpc": "2.0", "id": "test", "method": method, "params": params});
    let limit = Duration::from_secs(2);
    let answer = request("POST", address, "/", &question.to_string(), limit)?;
    Ok(serde_json::from_str(&answer.body)?)
}

/// HTTP/1.0, so that no server answers in chunks or keeps the connection.
pub fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    body: &str,
    limit: Duration,
) -> io::Result<Answer> {
    let end = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_write_timeout(Some(limit))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => break,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok(Answer { status: status.ok_or(io::ErrorKind::InvalidData)?, body: body.to_owned() })
}
