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
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 32;
/// How long one connection, which is one question and its answer, may take. Answers that ask
/// Consul are given up sooner.
const LIMIT: Duration = Duration::from_secs(15);
/// How long those who are connected at the end get for their answer.
const GRACE: Duration = Duration::from_secs(1);

/// Answers until `end` comes true (or nobody can say so any more), and then those who are connected
/// already: systemd may keep the socket for the next kneard, and nobody is to notice the change.
pub async fn serve(listener: impl Listener, router: Router, end: watch::Receiver<bool>) {
    serve_within(listener, router, LIMIT, end).await;
}

async fn serve_within(
    mut listener: impl Listener,
    router: Router,
    limit: Duration,
    mut end: watch::Receiver<bool>,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            (permit, listener.accept().await.0)
        };
        let (permit, stream) = tokio::select! {
            biased;
            _ = end.wait_for(|end| *end) => break,
            next = next => next,
        };
        // Nobody closes the semaphore.
        let Ok(permit) = permit else { break };
        let connection = answer(stream, router.clone());
        tokio::spawn(async move {
            // What is wrong with a client is the client's to report.
            let _ = timeout(limit, connection).await;
            drop(permit);
        });
    }
    let _ = timeout(GRACE, free.acquire_many(CONNECTIONS as u32)).await;
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
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn clients_that_say_nothing_do_not_keep_others_out_for_long() {
        let limit = Duration::from_millis(200);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/health", get(async || "ok\n"));
        let (_going_on, end) = watch::channel(false);
        tokio::spawn(serve_within(listener, router, limit, end));

        let mut silent = Vec::new();
        let started = Instant::now();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(limit * 50, client.read_to_string(&mut answer)).await.expect("no answer").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
        assert!(started.elapsed() >= limit, "answered beside as many as are allowed");

        let mut nothing = [0];
        for mut stream in silent {
            let read = timeout(limit * 50, stream.read(&mut nothing)).await;
            assert_eq!(read.expect("still open").unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn at_the_end_who_is_connected_is_answered_and_nobody_more_is_let_in() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // systemd's copy: a connection that nobody accepts waits there for the next kneard.
        let listener = listener.into_std().unwrap();
        let kept = listener.try_clone().unwrap();
        let (answering, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait, tell) = (Arc::clone(&answering), Arc::clone(&begun));
        let slow = async move || {
            tell.notify_one();
            wait.notified().await;
            "ok\n"
        };
        let (end, ending) = watch::channel(false);
        let router = Router::new().route("/slow", get(slow));
        let serving = tokio::spawn(serve(TcpListener::from_std(listener).unwrap(), router, ending));

        let mut early = TcpStream::connect(address).await.unwrap();
        early.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        begun.notified().await;
        end.send_replace(true);
        tokio::task::yield_now().await;
        let _late = TcpStream::connect(address).await.unwrap();
        answering.notify_one();
        let mut answer = String::new();
        early.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");
        timeout(GRACE * 2, serving).await.expect("it goes on serving").unwrap();
        kept.accept().expect("the late one was let in");
    }
}
