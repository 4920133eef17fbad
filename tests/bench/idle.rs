//! What an idle holder and an idle standby cost: `cargo bench --bench idle -- --seconds 300`.
//!
//! Two kneards on a real Consul and a stand-in chain; memory is the proportional set size of
//! kneard and guard together, processor time that of both, and requests are counted by proxies
//! before Consul and before each neard. Exits 1 when a figure is above its limit.

#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use support::{
    binaries,
    chain::Chain,
    consul::Consul,
    counting_proxy::CountingProxy,
    kneard::{Kneard, Setup},
    pair::setup,
    ports::free_port,
    process::Process,
    turn::turn,
    wait::secs,
};

/// The limits: bytes, percent of one core, requests a second.
const MEMORY: f64 = 15.0 * 1024.0 * 1024.0;
const CPU: f64 = 0.5;
const TO_CONSUL: f64 = 3.0;
const TO_NEARD: f64 = 2.0;

struct Measured {
    kneard: Kneard,
    to_consul: CountingProxy,
    to_neard: CountingProxy,
}

struct Reading {
    cpu: Duration,
    to_consul: u64,
    to_neard: u64,
}

impl Measured {
    fn start(mut setup: Setup, consul: &Consul) -> Self {
        let any = ([127, 0, 0, 1], 0).into();
        let to_consul = CountingProxy::start(any, consul.servers()[0].http_addr());
        setup.consul_urls = vec![format!("http://{}", to_consul.address)];
        // kneard asks neard at the address in config.json: the proxy is there, neard elsewhere.
        let moved = free_port();
        setup.neard = moved_neard(&setup.home.with_extension("neard"), moved);
        let to_neard = CountingProxy::start(setup.rpc, ([127, 0, 0, 1], moved).into());
        Self { kneard: setup.start(), to_consul, to_neard }
    }

    fn processes(&self) -> [Process; 2] {
        [self.kneard.process.clone(), self.kneard.guard()]
    }

    fn read(&self) -> Reading {
        Reading {
            cpu: self.processes().iter().map(Process::cpu_time).sum(),
            to_consul: self.to_consul.requests(),
            to_neard: self.to_neard.requests(),
        }
    }

    fn memory(&self) -> u64 {
        self.processes().iter().filter_map(Process::proportional_set_size).sum()
    }
}

/// A neard that serves its RPC on another port than its config.json says.
fn moved_neard(program: &Path, port: u16) -> std::path::PathBuf {
    let neard = binaries::neard();
    let script =
        format!("#!/bin/sh\nexec {} \"$@\" --rpc-addr 127.0.0.1:{port}\n", neard.display());
    fs::write(program, script).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    program.to_owned()
}

/// `--seconds N` of the arguments; cargo adds `--bench`.
fn seconds() -> u64 {
    let arguments: Vec<String> = std::env::args().collect();
    let value = arguments.iter().position(|a| a == "--seconds").and_then(|i| arguments.get(i + 1));
    value.map_or(300, |n| n.parse().expect("--seconds N"))
}

fn main() -> ExitCode {
    let seconds = seconds();
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let consul = Consul::start();
    let chain = Chain::start(directory.path());
    let mut holder = Measured::start(setup(&chain, "kneard0", 0), &consul);
    holder.kneard.wait_for("Validating", secs(40));
    let mut standby = Measured::start(setup(&chain, "kneard1", 1), &consul);
    standby.kneard.wait_for("Voting", secs(40));

    let measured = [("holder", &holder), ("standby", &standby)];
    println!("measuring for {seconds} s");
    let before = measured.map(|(_, node)| node.read());
    let start = Instant::now();
    let mut peaks = [0, 0];
    while start.elapsed() < secs(seconds) {
        thread::sleep(secs(1).min(secs(seconds).saturating_sub(start.elapsed())));
        for (peak, (_, node)) in peaks.iter_mut().zip(measured) {
            *peak = node.memory().max(*peak);
        }
    }
    let span = start.elapsed().as_secs_f64();
    let states = measured.map(|(_, node)| node.kneard.state());
    assert_eq!(states.map(Option::unwrap_or_default), ["Validating", "Voting"], "not idle");

    println!("| {:<7} | {:<22} | {:>7} | {:>5} |", "node", "cost", "is", "limit");
    println!("|---------|------------------------|---------|-------|");
    let mut kept = true;
    for (((name, node), before), peak) in measured.into_iter().zip(before).zip(peaks) {
        let now = node.read();
        let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
        let rows = [
            ("PSS, greatest, MiB", mib(peak as f64), mib(MEMORY)),
            ("CPU, % of a core", (now.cpu - before.cpu).as_secs_f64() / span * 100.0, CPU),
            ("requests/s to Consul", (now.to_consul - before.to_consul) as f64 / span, TO_CONSUL),
            ("requests/s to neard", (now.to_neard - before.to_neard) as f64 / span, TO_NEARD),
        ];
        for (cost, is, limit) in rows {
            kept &= is <= limit;
            println!("| {name:<7} | {cost:<22} | {is:>7.2} | {limit:>5.1} |");
        }
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
