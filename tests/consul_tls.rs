//! The Consul client over TLS, against a real Consul with a CA of its own that asks for client
//! certificates.
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kneard::consul::{Client, ClientConfig, Consistency, Kind, Tls};
use serde_json::json;
use support::consul::{Consul, binary};

const LIMIT: Duration = Duration::from_secs(10);

/// A CA, and a certificate and key of each role, made by `consul tls`.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        for arguments in [
            &["tls", "ca", "create"][..],
            &["tls", "cert", "create", "-server"],
            &["tls", "cert", "create", "-client"],
        ] {
            let output = Command::new(binary())
                .args(arguments)
                .current_dir(dir.path())
                .output()
                .expect("run consul");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.file("consul-agent-ca.pem")
    }
}

fn client(url: &str, ca: &Path, own: Option<(PathBuf, PathBuf)>) -> Client {
    let (cert_file, key_file) = own.unzip();
    let tls = Tls { ca_file: Some(ca.to_owned()), cert_file, key_file };
    Client::new(ClientConfig { addresses: vec![url.to_owned()], tls, ..ClientConfig::default() })
        .expect("a client")
}

#[tokio::test]
async fn https_is_checked_both_ways() {
    let certificates = Certificates::make();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let _consul = Consul::start_with(json!({
        "addresses": {"https": "127.0.0.1"},
        "ports": {"https": port},
        "ca_file": certificates.ca(),
        "cert_file": certificates.file("dc1-server-consul-0.pem"),
        "key_file": certificates.file("dc1-server-consul-0-key.pem"),
        "verify_incoming": true,
    }));
    let url = format!("https://localhost:{port}");
    let pair = (
        certificates.file("dc1-client-consul-0.pem"),
        certificates.file("dc1-client-consul-0-key.pem"),
    );

    let trusted = client(&url, &certificates.ca(), Some(pair.clone()));
    assert!(trusted.put("t/a", b"1", None, LIMIT).await.expect("written"));
    let read = trusted.read("t/a", Consistency::Consistent, LIMIT).await.expect("read");
    assert_eq!(read.entry.expect("an entry").value, b"1");

    // Another CA: the handshake fails, and nothing was sent.
    let other = Certificates::make();
    let stranger = client(&url, &other.ca(), Some(pair));
    let error = stranger.put("t/a", b"2", None, LIMIT).await.expect_err("another CA");
    assert_eq!(error.kind, Kind::NotSent, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    let anonymous = client(&url, &certificates.ca(), None);
    let error = anonymous.put("t/a", b"3", None, LIMIT).await.expect_err("no certificate");
    assert!(matches!(error.kind, Kind::Unknown | Kind::NotSent), "{error:?}");
    let read = trusted.read("t/a", Consistency::Consistent, LIMIT).await.expect("read");
    assert_eq!(read.entry.expect("an entry").value, b"1");
}

#[test]
fn wrong_tls_files_are_named() {
    let directory = tempfile::tempdir().expect("tempdir");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").expect("write");
    let missing = directory.path().join("missing.pem");
    let none = || Tls::default();
    for (tls, file) in [
        (Tls { ca_file: Some(missing.clone()), ..none() }, &missing),
        (Tls { ca_file: Some(empty.clone()), ..none() }, &empty),
    ] {
        let addresses = vec!["https://localhost:8501".to_owned()];
        let config = ClientConfig { addresses, tls, ..ClientConfig::default() };
        let Err(error) = Client::new(config) else { panic!("accepted {}", file.display()) };
        assert_eq!(error.kind, Kind::Invalid, "{error}");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}
