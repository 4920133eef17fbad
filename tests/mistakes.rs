//! Two kneards that an operator has set up as one: never two signers, one clear error.

mod support;

use support::{
    binaries::run_to_end,
    chain::Chain,
    consul::Consul,
    kneard::{Kneard, LEASE, Setup},
    pair::setup,
    ports::free_port,
    signatures::assert_one_signer,
    turn::{Turn, turn},
    wait::{secs, stays, wait_until},
};

struct Stage {
    first: Kneard,
    second: Setup,
    _chain: Chain,
    _consul: Consul,
    _directory: tempfile::TempDir,
    _turn: Turn,
}

/// A first kneard that validates, and a second one to be started with a mistake.
fn stage() -> Stage {
    let turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let consul = Consul::start();
    let chain = Chain::start(directory.path());
    let [first, second] = [0, 1].map(|index| {
        let mut setup = setup(&chain, &format!("kneard{index}"), index);
        setup.consul_urls = consul.urls();
        setup
    });
    let mut first = first.start();
    first.wait_for("Validating", secs(40));
    Stage { first, second, _chain: chain, _consul: consul, _directory: directory, _turn: turn }
}

#[test]
fn two_with_one_node_id() {
    let mut stage = stage();
    stage.second.node_id = stage.first.setup.node_id.clone();
    let second = stage.second.clone().start();
    let homes = [stage.first.setup.home.clone(), second.setup.home.clone()];
    let error = wait_until(secs(40), "the second says what is wrong", || {
        second.errors().into_iter().next()
    });
    assert!(error.contains(&second.setup.node_id), "names the node id: {error}");
    assert!(error.contains("--node-id"), "names the flag: {error}");
    stays(LEASE * 2, "two kneards with one node id", || {
        let states = (stage.first.state(), second.state());
        let first_holds = states.0.as_deref() == Some("Validating");
        let second_holds = states.1.as_deref() == Some("Validating");
        (!first_holds || second_holds).then(|| format!("{states:?}"))
    });
    let errors = [stage.first.errors(), second.errors()].concat();
    assert_eq!(errors.len(), 1, "one clear error: {errors:#?}");
    assert_one_signer(&homes);
}

#[test]
fn two_on_one_home() {
    let mut stage = stage();
    stage.second.home = stage.first.setup.home.clone();
    let home = stage.first.setup.home.clone();
    let mut command = stage.second.command();
    command.arg(format!("--control-socket={}", home.with_extension("second.sock").display()));
    let ended = run_to_end(command, secs(30));
    let error = ended.stderr;
    assert_eq!(ended.code, Some(1), "the second does not start: {error}");
    let lines: Vec<_> = error.lines().filter(|line| !line.starts_with("level=info")).collect();
    assert_eq!(lines.len(), 1, "one clear error: {error}");
    assert!(lines[0].contains(home.to_str().unwrap()), "names the home: {}", lines[0]);
    let pid = stage.first.process.pid.to_string();
    assert!(lines[0].contains(&pid), "names the process {pid} that has it: {}", lines[0]);
    stays(LEASE, "the first goes on", || match stage.first.state() {
        Some(state) if state == "Validating" => None,
        other => Some(format!("{other:?}")),
    });
    assert_eq!(stage.first.errors(), Vec::<String>::new());
    assert_one_signer(&[home]);
}

#[test]
fn second_on_one_home_starts_once_the_first_is_gone() {
    let mut stage = stage();
    let setup = stage.first.setup.clone();
    stage.first.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(stage.first.wait_exit(secs(30)).code(), Some(0), "a graceful stop");
    let mut second = Setup { exporter: ([127, 0, 0, 1], free_port()).into(), ..setup }.start();
    second.wait_for("Validating", secs(40));
    assert_one_signer(&[second.setup.home.clone()]);
}
