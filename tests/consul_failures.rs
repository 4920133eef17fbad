//! The Consul client against addresses that refuse, hang, break off or talk nonsense: what moves
//! on to the next address, what must not, and how long it takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kneard::consul::{
    Behavior, CONNECT_LIMIT, Client, ClientConfig, Consistency, Error, Kind, SessionId,
    SessionRequest, TxnOp,
};

const ENTRY: &str = concat!(
    r#"[{"LockIndex":0,"Key":"t/a","Flags":0,"Value":"b25l","#,
    r#""CreateIndex":5,"ModifyIndex":5}]"#
);
const INDEX: &str = "X-Consul-Index: 5\r\nX-Consul-KnownLeader: true\r\n";
const LOCKED: &str = concat!(
    r#"{"Results":[{"KV":{"LockIndex":1,"Key":"t/a","Flags":0,"Value":null,"#,
    r#""Session":"s","CreateIndex":5,"ModifyIndex":6}}],"Errors":null}"#
);
const LIMIT: Duration = Duration::from_secs(10);
/// How late a busy machine may be.
const SLACK: Duration = Duration::from_secs(3);

/// A server that reads one request per connection and answers it with fixed bytes, or, without
/// any, holds the connection open and says nothing.
struct Fake {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Fake {
    fn start(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("bound");
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                if !read_request(&mut stream) {
                    continue;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                match &answer {
                    Some(answer) => drop(stream.write_all(answer.as_bytes())),
                    None => held.push(stream),
                }
            }
        });
        Self { address, requests }
    }

    fn answering(status: &str, headers: &str, body: &str) -> Self {
        Self::start(Some(format!(
            "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )))
    }

    fn silent() -> Self {
        Self::start(None)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn read_request(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, length)| length.trim().parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return true;
        }
    }
}

/// An address that refuses connections: bound once, so that nobody else has it, and closed.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    format!("http://{}", listener.local_addr().expect("bound"))
}

fn client(addresses: Vec<String>) -> Client {
    Client::new(ClientConfig { addresses, ..ClientConfig::default() }).expect("a client")
}

async fn read(client: &Client, limit: Duration) -> Result<Vec<u8>, Error> {
    let read = client.read("t/a", Consistency::Consistent, limit).await?;
    Ok(read.entry.map(|entry| entry.value).unwrap_or_default())
}

async fn lock(client: &Client, limit: Duration) -> Result<u64, Error> {
    let lock = TxnOp::Lock {
        key: "t/a".to_owned(),
        value: b"one".to_vec(),
        flags: 0,
        session: SessionId("s".to_owned()),
    };
    client.txn(&[lock], limit).await.map(|results| results[0].modify_index)
}

#[tokio::test]
async fn a_refused_connection_was_certainly_not_sent() {
    let client = client(vec![refusing()]);
    let error = lock(&client, LIMIT).await.expect_err("refused");
    assert_eq!(error.kind, Kind::NotSent);
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let error = read(&client, LIMIT).await.expect_err("refused");
    assert_eq!(error.kind, Kind::NotSent);
}

#[tokio::test]
async fn both_reads_and_writes_move_on_from_an_address_that_refuses() {
    let good = Fake::answering("200 OK", INDEX, ENTRY);
    let client_of_reads = client(vec![refusing(), refusing(), good.url()]);
    assert_eq!(read(&client_of_reads, LIMIT).await.expect("from the third"), b"one");
    let good = Fake::answering("200 OK", "", LOCKED);
    let client_of_writes = client(vec![refusing(), good.url()]);
    assert_eq!(lock(&client_of_writes, LIMIT).await.expect("from the second"), 6);
    assert_eq!(good.requests(), 1);
}

#[tokio::test]
async fn reads_move_on_from_an_address_that_fails_in_any_way() {
    let half = format!("HTTP/1.1 200 OK\r\n{INDEX}Content-Length: 500\r\n\r\n{ENTRY}");
    for bad in [
        Fake::silent(),
        Fake::answering("500 Internal Server Error", "", "No cluster leader"),
        Fake::answering("200 OK", INDEX, "{\"half\":"),
        Fake::answering("404 Not Found", "", "<html>"),
        Fake::start(Some(half.clone())),
        Fake::start(Some(String::new())),
        Fake::start(Some("SSH-2.0-OpenSSH_9.2\r\n".to_owned())),
    ] {
        let good = Fake::answering("200 OK", INDEX, ENTRY);
        let client = client(vec![bad.url(), good.url()]);
        assert_eq!(read(&client, Duration::from_secs(4)).await.expect("from the second"), b"one");
        assert!(bad.requests() >= 1, "the first was not asked");
        assert_eq!(read(&client, LIMIT).await.expect("again"), b"one");
        assert_eq!((bad.requests(), good.requests()), (1, 2), "starts at the last good one");
    }
}

/// The one that matters for safety: a beat that may have been applied must not be sent again by
/// the client, only by the core, which reads first.
#[tokio::test]
async fn a_write_of_unknown_outcome_is_not_sent_elsewhere_but_the_next_request_is() {
    let half = format!("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{LOCKED}");
    for bad in [
        Fake::silent(),
        Fake::answering("500 Internal Server Error", "", "leadership lost while committing log"),
        Fake::answering("503 Service Unavailable", "", ""),
        Fake::answering("200 OK", "", "<html>"),
        Fake::answering("200 OK", "", &LOCKED[..40]),
        Fake::answering("200 OK", "", r#"{"Results":[],"Errors":null}"#),
        Fake::answering("409 Conflict", "", "Conflict"),
        Fake::answering("302 Found", "Location: /elsewhere\r\n", ""),
        Fake::start(Some(half.clone())),
        Fake::start(Some(String::new())),
        Fake::start(Some("SSH-2.0-OpenSSH_9.2\r\n".to_owned())),
    ] {
        let good = Fake::answering("200 OK", "", LOCKED);
        let client = client(vec![bad.url(), good.url()]);
        let error = lock(&client, Duration::from_secs(2)).await.expect_err("unknown");
        assert_eq!(error.kind, Kind::Unknown, "{error}");
        assert!(!error.certainly_not_applied());
        assert!(error.to_string().starts_with(&bad.url()), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
        assert_eq!((bad.requests(), good.requests()), (1, 0), "{error}");
        assert_eq!(lock(&client, LIMIT).await.expect("at the next address"), 6);
        assert_eq!((bad.requests(), good.requests()), (1, 1));
    }
}

#[tokio::test]
async fn definite_answers_do_not_move_on() {
    let cases = [
        ("403 Forbidden", "Permission denied", Kind::Denied),
        ("400 Bad Request", "Missing key name", Kind::Invalid),
    ];
    for (status, body, kind) in cases {
        let first = Fake::answering(status, "", body);
        let second = Fake::answering("200 OK", INDEX, ENTRY);
        let client = client(vec![first.url(), second.url()]);
        for outcome in
            [read(&client, LIMIT).await.map(|_| ()), lock(&client, LIMIT).await.map(|_| ())]
        {
            assert_eq!(outcome.expect_err(body).kind, kind);
        }
        assert_eq!((first.requests(), second.requests()), (2, 0));
    }
}

#[tokio::test]
async fn the_limit_is_kept_however_many_addresses_hang() {
    let hung: Vec<Fake> = (0..3).map(|_| Fake::silent()).collect();
    let client = client(hung.iter().map(Fake::url).collect());
    let limit = Duration::from_millis(600);
    let started = Instant::now();
    let error = read(&client, limit).await.expect_err("all hang");
    let took = started.elapsed();
    assert!(took >= limit && took < limit + SLACK, "{took:?}");
    assert_eq!(error.kind, Kind::Unknown);
    assert!(hung.iter().all(|fake| error.to_string().contains(&fake.url())), "{error}");
    let asked: Vec<usize> = hung.iter().map(Fake::requests).collect();
    assert_eq!(asked, [1, 1, 1], "each has its share");

    let started = Instant::now();
    let error = lock(&client, limit).await.expect_err("hangs");
    let took = started.elapsed();
    assert!(took >= limit && took < limit + SLACK, "{took:?}");
    assert_eq!(error.kind, Kind::Unknown);
}

/// A full backlog answers no SYN, as a host that is gone does.
#[tokio::test]
async fn a_write_moves_on_from_an_address_that_takes_no_connection() {
    let (blackhole, _fill) = blackhole();
    let good = Fake::answering("200 OK", "", LOCKED);
    let client = client(vec![format!("http://{blackhole}"), good.url()]);
    let started = Instant::now();
    assert_eq!(lock(&client, LIMIT).await.expect("from the second"), 6);
    let took = started.elapsed();
    assert!(took >= CONNECT_LIMIT && took < CONNECT_LIMIT + SLACK, "{took:?}");
}

/// A listener whose queue of connections is full, and what fills it.
fn blackhole() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    // A second listen() sets the length of the queue anew.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).expect("a backlog"))
        .expect("listen");
    let address = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queued.push(stream);
        assert!(queued.len() < 16, "the queue does not fill");
    }
    (address, (listener, queued))
}

#[tokio::test]
async fn a_session_is_not_created_twice_but_renewed_as_often_as_it_takes() {
    let bad = Fake::answering("500 Internal Server Error", "", "No cluster leader");
    let good = Fake::answering("200 OK", "", r#"{"ID":"s"}"#);
    let request = SessionRequest {
        name: "test".to_owned(),
        node: None,
        ttl: Duration::from_secs(10),
        lock_delay: Duration::ZERO,
        behavior: Behavior::Release,
        node_checks: Vec::new(),
    };
    let creating = client(vec![bad.url(), good.url()]);
    let error = creating.create_session(&request, LIMIT).await.expect_err("unknown");
    assert_eq!((error.kind, good.requests()), (Kind::Unknown, 0));

    let bad = Fake::answering("500 Internal Server Error", "", "No cluster leader");
    let good = Fake::answering("200 OK", "", r#"[{"ID":"s","Behavior":"release"}]"#);
    let renewing = client(vec![bad.url(), good.url()]);
    renewing.renew_session(&SessionId("s".to_owned()), LIMIT).await.expect("renewed");
    assert_eq!((bad.requests(), good.requests()), (1, 1));
}
