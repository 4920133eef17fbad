//! Whatever answers on the control socket: `kneard-ctl` shows what a kneard said, or an error.

use std::fmt::Display;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use kneard::control::{Client, ClientError};
use kneard::fuzzing::control;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

const BOUND: Duration = Duration::from_secs(10);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

pub fn run(data: &[u8]) {
    if data.len() > 16 * 1024 {
        return;
    }
    let (client, mut server) = UnixStream::pair().expect("a pair");
    // Somebody who says this, whatever is asked, and is there until the end.
    server.write_all(data).expect("it fits");
    server.shutdown(Shutdown::Write).expect("shut down");
    client.set_nonblocking(true).expect("not blocking");
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let stream = tokio::net::UnixStream::from_std(client).expect("a stream");
            let asker = Client::new(Path::new("/socket"));
            let asked = async {
                if data.len().is_multiple_of(2) {
                    check(control::status(&asker, stream).await, data);
                } else {
                    check(control::active_validator(&asker, stream).await, data);
                }
            };
            tokio::time::timeout(BOUND, asked).await.expect("the client hangs");
        });
    });
    drop(server);
}

/// An answer is believed only from an HTTP server that says 200; it can be shown.
fn check<T: Display + Serialize>(answer: Result<T, ClientError>, data: &[u8]) {
    let said = String::from_utf8_lossy(data);
    match answer {
        Ok(answer) => {
            assert!(said.starts_with("HTTP/1.") && said.contains("200"), "{said:?}");
            assert!(!answer.to_string().is_empty());
            serde_json::to_string(&answer).expect("JSON for --json");
        }
        Err(ClientError::Refused(_)) => assert!(said.starts_with("HTTP/1."), "{said:?}"),
        Err(ClientError::Protocol { why, .. }) => super::assert_one_line(&why),
        Err(error @ (ClientError::Connect { .. } | ClientError::TimedOut { .. })) => {
            panic!("{error}")
        }
    }
}
