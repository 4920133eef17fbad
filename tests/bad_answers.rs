//! What kneard runs with misbehaves: a Consul that answers nonsense or not at all, a neard that
//! does not stay up. The daemon says so once, gives no key to neard, and stops as it should.

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use nix::sys::signal::Signal;

use support::{
    binaries::run_to_end,
    chain::Chain,
    consul::Consul,
    fake_server::{Behaviour, FakeServer},
    kneard::errors,
    pair::setup,
    ports::free_port,
    snapshot::{assert_unchanged, snapshot},
    turn::turn,
    wait::{secs, stays, wait_until},
};

fn http(status: &str, body: &str) -> Behaviour {
    let length = body.len();
    Behaviour::Answers(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"))
}

#[test]
fn consul_that_is_of_no_use() {
    let half =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"ID\"";
    // What is wrong, how the server behaves (none: nobody listens), what the error names.
    let cases = [
        ("refuses connections", None, "refused"),
        ("answers 500", Some(http("500 Internal Server Error", "No cluster leader")), "500"),
        ("answers 403", Some(http("403 Forbidden", "Permission denied")), "--consul-token-file"),
        ("answers garbage", Some(Behaviour::Answers("\u{1}\u{2}garbage\r\n\r\n".into())), ""),
        ("answers other JSON", Some(http("200 OK", "[1, {\"x\": null}]")), ""),
        ("answers half", Some(Behaviour::Answers(half.into())), ""),
        ("answers nothing", Some(Behaviour::Answers(String::new())), ""),
        ("never answers", Some(Behaviour::Silent), ""),
    ];
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let chain = Chain::start(directory.path());
    for (index, (case, behaviour, names)) in cases.into_iter().enumerate() {
        let server = behaviour.map(FakeServer::start);
        let address = match &server {
            Some(server) => server.address,
            None => ([127, 0, 0, 1], free_port()).into(),
        };
        let mut setup = setup(&chain, &format!("kneard{index}"), index % 2);
        setup.consul_urls = vec![format!("http://{address}")];
        let keys = setup.validator_key.parent().unwrap().to_owned();
        let home = setup.home.clone();
        let before = snapshot(&keys);
        let mut kneard = setup.start();
        let error = wait_until(secs(60), &format!("an error about a Consul that {case}"), || {
            kneard.errors().into_iter().next()
        });
        assert!(error.contains(&address.to_string()), "{case}: names the address: {error}");
        assert!(error.contains(names), "{case}: names {names}: {error}");
        kneard.wait_for("Registering", secs(30));
        let neard = kneard.neard();
        stays(secs(8), case, || {
            let unkeyed = !home.join("validator_key.json").exists();
            // Each right that the token lacks is named once.
            let most = if case == "answers 403" { 3 } else { 1 };
            let wrong = !unkeyed || !neard.is_alive() || kneard.errors().len() > most;
            wrong.then(|| format!("no key: {unkeyed}, {neard:?}, {:#?}", kneard.errors()))
        });
        if let Some(server) = server {
            let requests = server.requests();
            assert!(requests < 100, "{case}: {requests} requests in some ten seconds");
        }
        kneard.signal(Signal::SIGTERM);
        assert_eq!(kneard.wait_exit(secs(30)).code(), Some(0), "{case}: a graceful stop");
        assert!(!neard.is_alive(), "{case}: neard is stopped");
        assert_unchanged(&before, &keys, case);
    }
}

/// A neard that notes each start in `starts` and fails.
fn failing_neard(directory: &Path, script: &str) -> std::path::PathBuf {
    let program = directory.join("failing-neard");
    let starts = directory.join("starts");
    fs::write(&program, format!("#!/bin/sh\necho start >>{}\n{script}\n", starts.display()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn neard_that_exits_at_once() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let consul = Consul::start();
    let chain = Chain::start(directory.path());
    let mut setup = setup(&chain, "kneard0", 0);
    setup.consul_urls = consul.urls();
    setup.neard = failing_neard(directory.path(), "exit 3");
    fs::create_dir_all(setup.runtime_directory()).unwrap();
    let ended = run_to_end(setup.command(), secs(60));
    let said = [ended.stdout, ended.stderr].concat();
    assert_eq!(ended.code, Some(1), "{said}");
    let starts = fs::read_to_string(directory.path().join("starts")).unwrap();
    assert_eq!(starts.lines().count(), 3, "it gives up after three starts: {said}");
    let errors = errors(&said);
    assert_eq!(errors.len(), 1, "one clear error: {said}");
    assert!(errors[0].contains("failing-neard"), "names the program: {}", errors[0]);
    assert!(errors[0].contains('3'), "names the exit code and the starts: {}", errors[0]);
    assert!(!setup.home.join("validator_key.json").exists(), "no key is left behind");
}
