//! The daemon as a service of systemd's, which this test plays: what it is told, and when, and the
//! sockets that it passes on.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use nix::sys::signal::Signal;

use support::{
    binaries,
    chain::Chain,
    consul::Consul,
    http,
    kneard::{Kneard, Setup},
    pair::setup,
    process::Process,
    systemd::{Passed, Systemd},
    turn::turn,
    wait::{millis, secs, wait_until},
};

const WATCHDOG: Duration = Duration::from_millis(1500);
const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

fn ask(stream: &mut (impl Read + Write), path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn assert_knows_nothing_of_systemd(process: &Process, sockets: &[std::path::PathBuf]) {
    let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
    for variable in environment.split(|byte| *byte == 0) {
        let variable = String::from_utf8_lossy(variable);
        let name = variable.split('=').next().unwrap();
        assert!(!VARIABLES.contains(&name), "{process:?} inherited {variable}");
    }
    for entry in fs::read_dir(format!("/proc/{}/fd", process.pid)).unwrap() {
        // One that was closed meanwhile is none of them.
        let Ok(target) = fs::read_link(entry.unwrap().path()) else { continue };
        assert!(!sockets.contains(&target), "{process:?} inherited {target:?}");
    }
}

struct Stage {
    systemd: Systemd,
    setup: Setup,
    sockets: Vec<std::path::PathBuf>,
    chain: Chain,
    _consul: Consul,
    directory: tempfile::TempDir,
}

impl Stage {
    fn new(passed: Vec<Passed>, directory: tempfile::TempDir) -> Self {
        let consul = Consul::start();
        let chain = Chain::start(directory.path());
        let sockets = passed.iter().map(Passed::link).collect();
        let systemd = Systemd::new(directory.path(), passed, WATCHDOG);
        let mut setup = setup(&chain, "host-a", 0);
        setup.consul_urls = consul.urls();
        let token = directory.path().join("token");
        fs::write(&token, "first").unwrap();
        setup.more.extend(["--consul-token-file".into(), token.into()]);
        systemd.adopt(&mut setup);
        Self { systemd, setup, sockets, chain, _consul: consul, directory }
    }
}

#[test]
fn a_service_says_how_it_is_and_serves_the_sockets_that_it_was_given() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control.sock");
    let metrics = directory.path().join("exporter.sock");
    let (tcp, exporter) = Passed::tcp("exporter");
    let passed = vec![tcp, Passed::unix("control", &control), Passed::unix("exporter", &metrics)];
    let mut stage = Stage::new(passed, directory);
    stage.setup.exporter = exporter;

    // Asked before anybody is there to answer.
    let mut early = TcpStream::connect(exporter).unwrap();
    let mut kneard = stage.setup.clone().start();
    stage.systemd.wait_for(secs(30), "READY=1");
    let answer = ask(&mut UnixStream::connect(&control).unwrap(), "/status");
    assert!(answer.contains("\"pid\":"), "ready without a neard: {answer}");
    assert!(ask(&mut early, "/health").ends_with("ok\n"));
    assert!(ask(&mut UnixStream::connect(&metrics).unwrap(), "/health").ends_with("ok\n"));
    assert!(!kneard.setup.home.join("kuutamod.sock").exists(), "it bound a socket of its own");
    for process in [kneard.guard(), kneard.neard()] {
        assert_knows_nothing_of_systemd(&process, &stage.sockets);
    }

    states_are_told(&mut stage, &mut kneard);
    a_reload_is_told(&mut stage, &kneard);
    the_watchdog_hears_of_a_guard_that_hangs(&mut stage, &mut kneard);
    a_restart_loses_no_connection(&mut stage, kneard, &control);
}

fn states_are_told(stage: &mut Stage, kneard: &mut Kneard) {
    let is_status = |text: &str, status: &str| {
        text.strip_prefix("STATUS=").is_some_and(|said| said.starts_with(status))
    };
    kneard.wait_for("Validating", secs(40));
    let validating = "Validating as node3 since ";
    let systemd = &mut stage.systemd;
    let said = systemd.wait_until(secs(30), "STATUS= of a validator alone", |message| {
        is_status(&message.text, validating) && message.text.trim_end().ends_with(", no standby")
    });
    let status = said.get("STATUS").unwrap();
    let (time, rest) = status[validating.len()..].split_once(" UTC, height ").expect(status);
    assert_eq!(time.split(':').filter(|part| part.parse::<u8>().is_ok()).count(), 3, "{status}");
    rest.trim_end_matches(", no standby").parse::<u64>().expect(status);
    for earlier in ["Startup: starting neard", "Voting: standing by, ready to take over"] {
        let told = systemd.messages.iter().any(|message| is_status(&message.text, earlier));
        assert!(told, "never told: {earlier}");
    }

    let mut standby = setup(&stage.chain, "host-b", 1);
    standby.consul_urls.clone_from(&kneard.setup.consul_urls);
    let mut standby = standby.start();
    standby.wait_for("Voting", secs(40));
    systemd.wait_until(secs(30), "STATUS= names the standby", |message| {
        is_status(&message.text, validating) && message.text.contains(", standby: host-b")
    });
}

fn a_reload_is_told(stage: &mut Stage, kneard: &Kneard) {
    fs::write(stage.directory.path().join("token"), "second").unwrap();
    kneard.signal(Signal::SIGHUP);
    let reloading = stage.systemd.wait_for(secs(5), "RELOADING=1");
    let at = reloading.get("MONOTONIC_USEC").expect("the time of the reload");
    assert!(at.parse::<u64>().unwrap() > 0);
    stage.systemd.wait_for(secs(5), "READY=1");
    assert!(kneard.log().contains("SIGHUP received: read the Consul token again"));
}

/// The longest time between two signs of life, in the messages from `first` on.
fn longest_silence(systemd: &Systemd, first: usize) -> Duration {
    let signs =
        systemd.messages[first..].iter().filter(|message| message.get("WATCHDOG").is_some());
    let times: Vec<_> = signs.map(|message| message.at).collect();
    assert!(times.len() > 2, "hardly a sign of life");
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
}

fn the_watchdog_hears_of_a_guard_that_hangs(stage: &mut Stage, kneard: &mut Kneard) {
    let systemd = &mut stage.systemd;
    assert!(longest_silence(systemd, 0) < WATCHDOG, "systemd would have killed a healthy service");

    let (guard, first) = (kneard.guard(), systemd.messages.len());
    systemd.wait_for(secs(5), "WATCHDOG=1");
    guard.signal(Signal::SIGSTOP);
    systemd.wait_until(secs(30), "STATUS= of a service without neard", |message| {
        message.text.starts_with("STATUS=Startup")
    });
    systemd.wait_for(secs(5), "WATCHDOG=1");
    systemd.wait_for(secs(5), "WATCHDOG=1");
    let silence = longest_silence(systemd, first);
    assert!(silence > millis(800), "signs of life for a guard that hung: every {silence:?}");
    kneard.wait_for("Validating", secs(60));
}

fn a_restart_loses_no_connection(stage: &mut Stage, mut kneard: Kneard, control: &Path) {
    kneard.signal(Signal::SIGTERM);
    let stopping = stage.systemd.wait_for(secs(5), "STOPPING=1");
    assert!(stopping.get("EXTEND_TIMEOUT_USEC").unwrap().parse::<u64>().unwrap() >= 5_000_000);
    // Somebody asks all the time; the last question waits for the next kneard.
    let exporter = kneard.setup.exporter;
    let mut stream = loop {
        let mut stream = TcpStream::connect(exporter).expect("systemd keeps the socket");
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
        if !is_answered(&stream, || kneard.process.is_alive()) {
            break stream;
        }
    };
    let status = kneard.wait_exit(secs(20));
    assert!(status.success(), "{status}");
    assert!(control.exists(), "a socket of systemd's was removed");
    let _next = kneard.setup.clone().start();
    stream.set_read_timeout(Some(secs(30))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer:?}");
    stage.systemd.wait_for(secs(30), "READY=1");
    assert!(http::get(exporter, "/health").is_ok());
}

/// False if the daemon has ended without an answer.
fn is_answered(stream: &TcpStream, is_alive: impl Fn() -> bool) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let answered =
        wait_until(secs(30), "an answer, or the daemon's end", || match stream.peek(&mut byte) {
            Ok(length) => Some(length > 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                (!is_alive()).then_some(false)
            }
            Err(error) => panic!("a connection was broken: {error}"),
        });
    stream.set_nonblocking(false).unwrap();
    answered
}

#[test]
fn sockets_that_nobody_would_serve_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let cases = [
        (Passed::unix("kneard.socket", &path("a")), "named \"kneard.socket\""),
        (Passed::tcp("control").0, "socket control is not a listening Unix stream socket"),
        (Passed::datagram("exporter", &path("b")), "socket exporter is not a listening stream"),
    ];
    for (index, (passed, reason)) in cases.into_iter().enumerate() {
        let own = path(&index.to_string());
        fs::create_dir(&own).unwrap();
        let systemd = Systemd::new(&own, vec![passed], WATCHDOG);
        let mut setup = Setup::new("host-a", own.join("home"), ([127, 0, 0, 1], 1).into());
        setup.validator_key = own.join("key");
        setup.validator_node_key = own.join("key");
        systemd.adopt(&mut setup);
        let ended = binaries::run_to_end(setup.command(), secs(10));
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}
