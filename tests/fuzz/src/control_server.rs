//! Whatever is written to the control socket: kneard answers two questions, and everything else
//! with an error.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use kneard::consul::{Client, ClientConfig};
use kneard::control::{Api, Failure, Status};
use kneard::election::{InstanceId, Machine, Promotion, Settings, Time};
use kneard::neard::home::Home;
use kneard::supervisor::{Keys, Snapshot};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// Far above what a question takes that is not about Consul; asking that is refused at once.
const BOUND: Duration = Duration::from_secs(10);

thread_local! {
    static SERVER: (Runtime, Api) = {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let config = ClientConfig {
            // Nobody listens there.
            addresses: vec!["http://127.0.0.1:1".to_owned()],
            ..ClientConfig::default()
        };
        let machine = Machine::new(
            Settings::new("node", InstanceId("instance".to_owned()), "host"),
            Time::default(),
        );
        let snapshot = Snapshot::take(&machine, Some(1), 0, None);
        let api = Api {
            consul: Client::new(config).expect("a client"),
            keys: Keys::new("a.near"),
            snapshot: tokio::sync::watch::channel(snapshot).1,
            // Nobody hears an order.
            events: tokio::sync::mpsc::channel(1).0,
            home: home(),
            promotion: Promotion::HotSwap,
            max_lag: 10,
            planning: Default::default(),
        };
        (runtime, api)
    };
}

/// A home whose neard does not run.
fn home() -> Home {
    let path = tempfile::tempdir().expect("a directory").keep();
    let config = r#"{"network": {}, "rpc": {"addr": "127.0.0.1:1"}}"#;
    std::fs::write(path.join("config.json"), config).expect("a config.json");
    Home::open(&path).expect("a home")
}

pub fn run(data: &[u8]) {
    // More than a socket holds would need somebody to write it bit by bit.
    if data.len() > 16 * 1024 {
        return;
    }
    let answer = SERVER.with(|(runtime, api)| {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        client.write_all(data).expect("it fits");
        client.shutdown(Shutdown::Write).expect("shut down");
        runtime.block_on(async {
            server.set_nonblocking(true).expect("not blocking");
            let server = tokio::net::UnixStream::from_std(server).expect("a stream");
            let serve = kneard::fuzzing::control::serve(server, api.clone());
            tokio::time::timeout(BOUND, serve).await.expect("the server hangs");
        });
        let mut answer = Vec::new();
        client.set_nonblocking(true).expect("not blocking");
        // A reset instead of an end is what a client gets that said too much.
        let _ = client.read_to_end(&mut answer);
        answer
    });
    let Some((head, body)) = split(&answer) else {
        assert!(answer.is_empty(), "{:?}", String::from_utf8_lossy(&answer));
        return;
    };
    let mut words = head.split_whitespace();
    assert!(words.next().is_some_and(|version| version.starts_with("HTTP/1.")), "{head}");
    let status: u16 = words.next().and_then(|status| status.parse().ok()).expect("a status");
    let asked = String::from_utf8_lossy(data);
    match status {
        // What has an answer without Consul and without neard.
        200 => {
            let known = ["/status", "/maintenance", "/follow", "/restart/cancel"];
            assert!(known.iter().any(|path| asked.contains(path)), "{asked}");
            if !body.is_empty() {
                let answer: Value = serde_json::from_slice(body).expect("JSON");
                if answer.get("sentence").is_some() {
                    let status: Status = serde_json::from_value(answer).expect("a status");
                    assert!(status.consul_error.is_some() && status.nodes.is_none());
                }
            }
        }
        400 | 404 | 409 | 503 if body.starts_with(b"{") => {
            let failure: Failure = serde_json::from_slice(body).expect("a reason");
            super::assert_one_line(&failure.error);
        }
        400 | 404 | 405 | 413 | 414 | 417 | 431 | 503 => {}
        _ => panic!("{status} to {asked:?}"),
    }
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&answer[..at]).ok()?, &answer[at + 4..]))
}
