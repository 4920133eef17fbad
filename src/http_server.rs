//! Serves HTTP so that no client, slow or many, can use up what kneard needs for Consul: file
//! descriptors above all.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 32;
/// How long one connection, which is one question and its answer, may take. Answers that ask
/// Consul are given up sooner.
const LIMIT: Duration = Duration::from_secs(15);

/// Answers until it is dropped.
pub async fn serve(listener: impl Listener, router: Router) {
    serve_within(listener, router, LIMIT).await;
}

async fn serve_within(mut listener: impl Listener, router: Router, limit: Duration) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    // Nobody closes the semaphore.
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        let (stream, _) = listener.accept().await;
        let connection = answer(stream, router.clone());
        tokio::spawn(async move {
            // What is wrong with a client is the client's to report.
            let _ = timeout(limit, connection).await;
            drop(permit);
        });
    }
}

/// One connection: one question and its answer.
pub(crate) async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let service = TowerToHyperService::new(router);
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn clients_that_say_nothing_do_not_keep_others_out_for_long() {
        let limit = Duration::from_millis(200);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/health", get(async || "ok\n"));
        tokio::spawn(serve_within(listener, router, limit));

        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let asked = Instant::now();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(limit * 50, client.read_to_string(&mut answer)).await.expect("no answer").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
        assert!(asked.elapsed() >= limit / 2, "answered beside as many as are allowed");

        let mut nothing = [0];
        for mut stream in silent {
            let read = timeout(limit * 50, stream.read(&mut nothing)).await;
            assert_eq!(read.expect("still open").unwrap(), 0);
        }
    }
}
