//! The Consul client over TLS, against a real Consul with a CA of its own that asks for client
//! certificates.
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kneard::consul::{Client, ClientConfig, Consistency, Kind, Tls};
use serde_json::json;
use support::{
    binaries::{self, run_to_end},
    chain::{ACCOUNT, Chain},
    consul::{Consul, binary},
    election,
    kneard::Setup,
    pair::setup,
    ports::free_port,
    signatures::wait_for_signature,
    turn::turn,
    wait::{secs, wait_until},
};

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

/// A Consul that speaks HTTPS to those who have a certificate of its CA, and plain HTTP to the
/// test; its URL.
fn consul(certificates: &Certificates) -> (Consul, String) {
    let port = free_port();
    let consul = Consul::start_with(json!({
        "addresses": {"https": "127.0.0.1"},
        "ports": {"https": port},
        "ca_file": certificates.ca(),
        "cert_file": certificates.file("dc1-server-consul-0.pem"),
        "key_file": certificates.file("dc1-server-consul-0-key.pem"),
        "verify_incoming": true,
    }));
    (consul, format!("https://localhost:{port}"))
}

#[tokio::test]
async fn https_is_checked_both_ways() {
    let certificates = Certificates::make();
    let (_consul, url) = consul(&certificates);
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
    assert!(error.to_string().contains("--consul-ca-file"), "{error}");

    let anonymous = client(&url, &certificates.ca(), None);
    let error = anonymous.put("t/a", b"3", None, LIMIT).await.expect_err("no certificate");
    assert!(matches!(error.kind, Kind::Unknown | Kind::NotSent), "{error:?}");
    assert!(error.to_string().contains("--consul-cert-file"), "{error}");
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

/// kneard, the release after its death and doctor all speak to Consul with the same settings.
#[test]
fn every_program_uses_the_certificates() {
    let _turn = turn();
    let certificates = Certificates::make();
    let (consul, url) = consul(&certificates);
    let directory = tempfile::tempdir().expect("tempdir");
    let chain = Chain::start(directory.path());
    let mut good = setup(&chain, "kneard0", 0);
    good.consul_urls = vec![url];
    let flags = |ca: PathBuf, own: bool| {
        let mut flags = vec!["--consul-ca-file".into(), ca.into()];
        if own {
            for (flag, file) in [
                ("--consul-cert-file", "dc1-client-consul-0.pem"),
                ("--consul-key-file", "dc1-client-consul-0-key.pem"),
            ] {
                let file = certificates.file(file);
                flags.extend([flag.into(), file.into()]);
            }
        }
        flags
    };
    let key = certificates.file("dc1-client-consul-0-key.pem");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    good.more = flags(certificates.ca(), true);

    let strangers = Certificates::make();
    for (setup, expected) in [
        (good.clone(), None),
        (with(&good, flags(strangers.ca(), true)), Some("--consul-ca-file")),
        (with(&good, flags(certificates.ca(), false)), Some("--consul-cert-file")),
    ] {
        let found = doctor(&setup);
        match expected {
            None => assert_eq!(found, Vec::<String>::new()),
            Some(remedy) => {
                assert_eq!(found.len(), 1, "{found:?}");
                assert!(found[0].contains(remedy) && found[0].contains("https://"), "{found:?}");
            }
        }
        if let Some(remedy) = expected {
            // kneard itself goes on trying, and says once what is wrong.
            let kneard = setup.start();
            wait_until(secs(40), &format!("the log names {remedy}"), || {
                kneard.errors().iter().any(|line| line.contains(remedy)).then_some(())
            });
        }
    }

    let mut kneard = good.start();
    kneard.wait_for("Validating", secs(40));
    // Before that there may be no guard yet to run the release.
    wait_for_signature(&kneard.setup.home, Duration::ZERO, secs(20));
    let server = consul.servers()[0].http_addr();
    wait_until(secs(10), "it holds the lock", || {
        election::entry(server, ACCOUNT).filter(|entry| entry.session.is_some())
    });
    kneard.signal(nix::sys::signal::Signal::SIGKILL);
    kneard.wait_exit(secs(5));
    // Far sooner than the session would end: only the release can have done it.
    let entry = wait_until(secs(5), "the lock is given back", || {
        election::entry(server, ACCOUNT).filter(|entry| entry.session.is_none())
    });
    assert_eq!(entry.record().expect("a record")["reason"], "kneard died, neard was killed");
}

fn with(setup: &Setup, more: Vec<std::ffi::OsString>) -> Setup {
    Setup { more, ..setup.clone() }
}

/// What doctor finds wrong with Consul and the files for it.
fn doctor(setup: &Setup) -> Vec<String> {
    std::fs::create_dir_all(setup.runtime_directory()).expect("a directory");
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.args(["--json", "doctor"]).args(setup.command().get_args());
    let ended = run_to_end(command, secs(60));
    let report: serde_json::Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    let checks = report["checks"].as_array().expect("a list");
    let problems = checks.iter().filter(|check| check["level"] == "problem");
    problems.map(|check| format!("{}: {}", check["check"], check["message"])).collect()
}
